//! What the handlers of the API and the pages share.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};

use axum::http::HeaderMap;
use daemon::Clock;
use model::{LabelSet, Timestamp};
use tokio::sync::{mpsc, oneshot};
use tsdb::Store;

use crate::api::Queries;
use crate::federation::Branches;
use crate::ingest::Credentials;
use crate::local_edge::LocalEdge;
use crate::ruler::Ruler;

/// One hub's parts, for whoever answers a request.
pub(crate) struct HubState {
    pub(crate) store: Arc<Store>,
    pub(crate) queries: Queries,
    pub(crate) branches: Branches,
    pub(crate) ruler: Arc<Ruler>,
    pub(crate) writers: Credentials,
    pub(crate) readers: Credentials,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) started_at: Timestamp,
    /// The command line's flags, for `/api/v1/status/flags`.
    pub(crate) flags: BTreeMap<String, String>,
    pub(crate) loaded: RwLock<Loaded>,
    pub(crate) edge: Option<LocalEdge>,
    pub(crate) reloads: mpsc::Sender<ReloadRequest>,
}

/// Somebody asks for a reload and hears how it went.
pub(crate) type ReloadRequest = oneshot::Sender<anyhow::Result<()>>;

/// What the configuration in force says to the handlers.
#[derive(Clone, Debug)]
pub(crate) struct Loaded {
    pub(crate) path: Option<PathBuf>,
    pub(crate) yaml_without_secrets: String,
    pub(crate) external_labels: LabelSet,
    pub(crate) alertmanager_urls: Vec<String>,
    pub(crate) retention: tsdb::Retention,
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

    pub(crate) fn may_read(&self, headers: &HeaderMap) -> bool {
        self.readers.identify(headers).is_some()
    }

    /// Asks the process to read its configuration again, and waits for it.
    pub(crate) async fn reload(&self) -> anyhow::Result<()> {
        let (answer, heard) = oneshot::channel();
        let gone = || anyhow::anyhow!("the hub is shutting down");
        self.reloads.send(answer).await.map_err(|_| gone())?;
        heard.await.map_err(|_| gone())?
    }
}

impl Loaded {
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
