//! What the handlers of the API and the pages share.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};

use axum::http::HeaderMap;
use daemon::Clock;
use daemon::web::Web;
use model::{LabelSet, Timestamp};
use tokio::sync::{mpsc, oneshot};
use tsdb::Store;

use crate::api::{Queries, RemoteReads};
use crate::config::HubConfig;
use crate::features::Features;
use crate::federation::Branches;
use crate::ingest::{Credentials, OtlpReceiver};
use crate::local_edge::LocalEdge;
use crate::notifications::Notifications;
use crate::query_log::QueryLog;
use crate::reload::ReloadRequest;
use crate::ruler::Ruler;

/// What a request wants, as far as credentials go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wish {
    /// To know whether the hub is there.
    Probe,
    /// To add samples.
    Write,
    /// To see something.
    Read,
    /// To make the hub do something, such as take alerts.
    Act,
    /// To change the store by hand.
    Administer,
}

/// One hub's parts, for whoever answers a request.
pub(crate) struct HubState {
    pub(crate) store: Arc<Store>,
    pub(crate) queries: Arc<Queries>,
    /// From the command line: a reload keeps them.
    pub(crate) features: Features,
    pub(crate) remote_reads: RemoteReads,
    pub(crate) query_log: Arc<QueryLog>,
    pub(crate) notifications: Notifications,
    pub(crate) branches: Branches,
    pub(crate) ruler: Arc<Ruler>,
    pub(crate) writers: Credentials,
    pub(crate) readers: Credentials,
    pub(crate) admins: Credentials,
    pub(crate) otlp: OtlpReceiver,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) started_at: Timestamp,
    /// The command line's flags, for `/api/v1/status/flags`.
    pub(crate) flags: BTreeMap<String, String>,
    pub(crate) loaded: RwLock<Loaded>,
    pub(crate) edge: Option<LocalEdge>,
    pub(crate) reloads: mpsc::Sender<ReloadRequest>,
    /// Users, beside the tokens.
    pub(crate) web: Web,
}

/// What the configuration in force says to the handlers.
#[derive(Clone, Debug)]
pub(crate) struct Loaded {
    pub(crate) path: Option<PathBuf>,
    pub(crate) yaml_without_secrets: String,
    pub(crate) external_labels: LabelSet,
    pub(crate) alertmanager_urls: Vec<String>,
    pub(crate) retention: tsdb::Retention,
    pub(crate) series_per_branch_max: usize,
    pub(crate) block_cache_bytes_max: usize,
    pub(crate) query_cache_bytes_max: u64,
    pub(crate) exemplars_max: usize,
    pub(crate) anonymous_reads: bool,
    pub(crate) remote_read_samples_max: u64,
    pub(crate) admin_api: bool,
    /// Whether the head office's own edge is to run, by the file.
    pub(crate) local_edge: bool,
    /// When it was put in force, and whether the last attempt to do so worked.
    pub(crate) loaded_at: Timestamp,
    pub(crate) success: bool,
}

impl HubState {
    pub(crate) fn loaded(&self) -> Loaded {
        self.loaded
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    pub(crate) fn external_labels(&self) -> LabelSet {
        self.loaded
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .external_labels
            .clone()
    }

    pub(crate) fn remote_read_samples_max(&self) -> u64 {
        self.loaded
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .remote_read_samples_max
    }

    /// Whether the token in these headers, or none, is enough for this. If not, a user of the web configuration may be:
    /// see [`HubState::users_may`].
    pub(crate) fn token_allows(&self, what: Wish, headers: &HeaderMap) -> bool {
        let proved =
            |tokens: &Credentials| tokens.are_checked() && tokens.identify(headers).is_some();
        // Whether anybody is asked, beside the branches.
        let asked = self.readers.are_checked() || self.web.has_users();
        match what {
            Wish::Probe => true,
            // Without tokens of branches a user is enough; with them, the ingest looks whose it is.
            Wish::Write => self.writers.are_checked() || !self.web.has_users(),
            Wish::Read => self.anonymous_reads() || proved(&self.readers) || !asked,
            Wish::Act if asked => proved(&self.readers),
            // Where everybody may read, not everybody may make the hub do something.
            Wish::Act => !self.anonymous_reads() || self.writers.identify(headers).is_some(),
            // Without tokens for it the configuration has no tokens at all.
            Wish::Administer if self.admins.are_checked() => proved(&self.admins),
            Wish::Administer => !self.web.has_users(),
        }
    }

    /// Whether this is open to users of the web configuration: all but what tokens of administrators guard.
    pub(crate) fn users_may(&self, what: Wish) -> bool {
        what != Wish::Administer || !self.admins.are_checked()
    }

    fn anonymous_reads(&self) -> bool {
        self.loaded
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .anonymous_reads
    }

    /// Notes how an attempt to load the configuration went.
    pub(crate) fn mark_loaded(&self, success: bool) {
        let mut loaded = self.loaded.write().unwrap_or_else(PoisonError::into_inner);
        loaded.success = success;
    }

    /// Asks the process to read its configuration again, and waits for it.
    pub(crate) async fn reload(&self) -> anyhow::Result<()> {
        let (answer, heard) = oneshot::channel();
        let gone = || anyhow::anyhow!("the hub is shutting down");
        self.reloads.send(answer).await.map_err(|_| gone())?;
        heard.await.map_err(|_| gone())?
    }

    /// The same without waiting: how it goes is in the log. When reloads wait already, one of them will do.
    pub(crate) fn request_reload(&self) {
        let _ = self.reloads.try_send(oneshot::channel().0);
    }
}

impl Loaded {
    pub(crate) fn new(config: &HubConfig, now: Timestamp) -> Self {
        Loaded {
            path: config.path.clone(),
            yaml_without_secrets: config.yaml_without_secrets.clone(),
            external_labels: config.external_labels.clone(),
            alertmanager_urls: config
                .router
                .alertmanager_urls()
                .map(str::to_owned)
                .collect(),
            retention: config.retention,
            series_per_branch_max: config.series_per_branch_max,
            block_cache_bytes_max: config.block_cache_bytes_max,
            query_cache_bytes_max: config.query_cache_bytes_max,
            exemplars_max: config.exemplars_max,
            anonymous_reads: config.anonymous_reads,
            remote_read_samples_max: config.remote_read_samples_max,
            admin_api: config.admin_api,
            local_edge: config.local_edge.is_some(),
            loaded_at: now,
            success: true,
        }
    }

    /// What of `new` a reload does not put in force.
    pub(crate) fn needs_restart(&self, new: &Loaded) -> Vec<String> {
        let keys = [
            (
                "storage.tsdb.retention",
                self.retention_text() != new.retention_text(),
            ),
            (
                "storage.exemplars.max_exemplars",
                self.exemplars_max != new.exemplars_max,
            ),
            (
                "branchline.series_per_branch_max",
                self.series_per_branch_max != new.series_per_branch_max,
            ),
            (
                "branchline.block_cache_bytes",
                self.block_cache_bytes_max != new.block_cache_bytes_max,
            ),
            (
                "branchline.query_cache_bytes",
                self.query_cache_bytes_max != new.query_cache_bytes_max,
            ),
            (
                "branchline.local_edge.enabled",
                self.local_edge != new.local_edge,
            ),
        ];
        let changed = keys.into_iter().filter(|(_, changed)| *changed);
        changed
            .map(|(key, _)| format!("{key} has changed: it takes effect at the next start"))
            .collect()
    }

    /// `15d`, `10GiB`, or both, as Prometheus shows its retention.
    pub(crate) fn retention_text(&self) -> String {
        let age = self.retention.age.map(model::duration::format);
        let bytes = self
            .retention
            .bytes_max
            .map(|bytes| daemon::config::ByteSize::from_bytes(bytes).to_string());
        [age, bytes]
            .into_iter()
            .flatten()
            .collect::<Vec<_>>()
            .join(" or ")
    }
}
