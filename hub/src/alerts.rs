//! From the rules to the alert-router inside.

use std::path::Path;
use std::sync::Arc;

use alert_router::{Router, RouterHandle, RouterOptions};
use anyhow::Context;
use daemon::{Clock, Tasks};
use journal::Disk;
use model::Alert;
use prometheus_client::collector::Collector;
use tokio::sync::mpsc;

use crate::config::HubConfig;
use crate::ruler::SendAlerts;

/// Evaluations whose alerts wait for the outbox; beyond it, rule groups wait.
const BATCHES_MAX: usize = 64;

/// The router inside, and the way to it.
pub(crate) struct Alerts {
    router: RouterHandle,
    batches: mpsc::Sender<Vec<Alert>>,
}

impl Alerts {
    pub(crate) async fn start(
        config: &HubConfig,
        data_dir: &Path,
        disk: Arc<dyn Disk>,
        clock: Arc<dyn Clock>,
        tasks: &Tasks,
        router_tasks: &Tasks,
    ) -> anyhow::Result<Self> {
        let options = RouterOptions {
            config: config.router.clone(),
            data_dir: data_dir.join("router"),
            disk,
            clock,
            listen: None,
            web: daemon::web::Web::default(),
        };
        let router = Router::start(options, router_tasks)
            .await
            .context("starting the alert-router inside")?;
        let (batches, mut inbox) = mpsc::channel::<Vec<Alert>>(BATCHES_MAX);
        let (to, token) = (router.clone(), tasks.token().clone());
        tasks.spawn("alerts to the router", async move {
            while let Some(Some(alerts)) = token.run_until_cancelled(inbox.recv()).await {
                give(&to, alerts).await;
            }
            token.cancelled().await;
            // The rules have ended before this; what they said last is kept with the rest.
            while let Ok(alerts) = inbox.try_recv() {
                give(&to, alerts).await;
            }
        });
        Ok(Alerts { router, batches })
    }

    /// For rule groups, which run off the async threads.
    pub(crate) fn sender(&self) -> SendAlerts {
        let batches = self.batches.clone();
        Arc::new(move |alerts| {
            // Closed only when the hub is shutting down, and then the rules run again after the start.
            let _ = batches.blocking_send(alerts);
        })
    }

    /// The receiver of Alertmanager's webhook, and the router's own API.
    pub(crate) fn routes(&self) -> axum::Router {
        alert_router::routes(self.router.clone())
    }

    /// The router's metrics.
    pub(crate) fn metrics(&self) -> Box<dyn Collector> {
        alert_router::collector(self.router.clone())
    }

    pub(crate) async fn reload(&self, config: &HubConfig) {
        self.router.reload(config.router.clone()).await;
    }
}

/// Rules send what fires again and again, and what has resolved for 15 minutes: a refusal is not the end of an
/// alert.
async fn give(router: &RouterHandle, alerts: Vec<Alert>) {
    if let Err(error) = router.send(alerts).await {
        tracing::warn!("alerts not taken by the router, they will be sent again: {error}");
    }
}
