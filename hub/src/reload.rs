//! Puts the configuration file in force again while everything runs. A task of its own does it, one request after
//! the other, so that a caller who goes away leaves nothing half done.

use std::net::SocketAddr;
use std::sync::{Arc, PoisonError};

use daemon::Tasks;
use tokio::sync::{mpsc, oneshot};

use crate::alerts::Alerts;
use crate::config::HubConfig;
use crate::ingest::Credentials;
use crate::notifications::RELOAD_FAILED;
use crate::process::{expect_branches, ruler_options};
use crate::query_log::LogFile;
use crate::state::{HubState, Loaded};

/// Reloads that wait; more callers wait in line.
pub(crate) const RELOADS_MAX: usize = 4;

/// Somebody asks for a reload and hears how it went.
pub(crate) type ReloadRequest = oneshot::Sender<anyhow::Result<()>>;

/// What a reload changes.
pub(crate) struct Reloader {
    pub(crate) state: Arc<HubState>,
    pub(crate) alerts: Alerts,
    /// The parent of the rule groups' tasks.
    pub(crate) rules: Tasks,
    /// The parent of what writes the query log.
    pub(crate) query_log: Tasks,
    pub(crate) address: SocketAddr,
}

impl Reloader {
    /// Answers requests until `tasks` is cancelled. One under way ends first; those that wait hear that the hub is
    /// shutting down.
    pub(crate) fn run(self, mut requests: mpsc::Receiver<ReloadRequest>, tasks: &Tasks) {
        let token = tasks.token().clone();
        tasks.spawn("reloads", async move {
            while let Some(Some(answer)) = token.run_until_cancelled(requests.recv()).await {
                let result = self.reload().await;
                self.state.mark_loaded(result.is_ok());
                let notifications = &self.state.notifications;
                notifications.set(RELOAD_FAILED, result.is_err());
                match &result {
                    Ok(()) => tracing::info!("configuration loaded again"),
                    Err(error) => {
                        tracing::error!("configuration not loaded, the old one stays: {error:#}");
                    }
                }
                // Nobody may be waiting any more.
                let _ = answer.send(result);
            }
            token.cancelled().await;
        });
    }

    /// All that can fail comes first: on an error everything stays as it was.
    async fn reload(&self) -> anyhow::Result<()> {
        let Some(path) = self.state.loaded().path else {
            return Ok(());
        };
        let features = self.state.features;
        let (config, write, read, admin, log) = daemon::blocking(move || {
            let config = HubConfig::load_with(&path, features)?;
            let load = |tokens| Credentials::load(tokens).map_err(anyhow::Error::msg);
            let (write, read) = (load(&config.branches)?, load(&config.readers)?);
            let admin = load(&config.admins)?;
            let log = config
                .query_log_file
                .as_deref()
                .map(LogFile::open)
                .transpose()?;
            anyhow::Ok((config, write, read, admin, log))
        })
        .await?;
        config.check_listen(self.address, &self.state.web)?;
        if let (Some(edge), Some(config)) = (&self.state.edge, &config.local_edge) {
            edge.reload(config.clone()).await?;
        }
        // At no moment is the interface on with the tokens of a configuration in which it is off, which may be none.
        let admin_api = config.admin_api;
        if admin_api {
            self.state.admins.set(admin.clone());
        }
        let loaded = Loaded::new(&config, self.state.clock.now());
        let old = std::mem::replace(
            &mut *self
                .state
                .loaded
                .write()
                .unwrap_or_else(PoisonError::into_inner),
            loaded.clone(),
        );
        for warning in config.warnings.iter().chain(&old.needs_restart(&loaded)) {
            tracing::warn!("{warning}");
        }
        if !admin_api {
            self.state.admins.set(admin);
        }
        self.state.query_log.set(log, &self.query_log);
        self.state.otlp.set(config.otlp_in_force());
        self.state.writers.set(write);
        self.state.readers.set(read);
        self.alerts.reload(&config).await;
        let (store, branches) = (self.state.store.clone(), self.state.branches.clone());
        let config = daemon::blocking(move || {
            expect_branches(&config, &store, &branches);
            config
        })
        .await;
        self.state
            .ruler
            .load(
                ruler_options(config, self.address, &self.state.web),
                &self.rules,
            )
            .await;
        Ok(())
    }
}
