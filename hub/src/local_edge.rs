//! The edge inside the hub: the head office is a branch like every other, without a port and without a network.

use std::path::PathBuf;
use std::sync::Arc;

use axum::http::StatusCode;
use daemon::http::MetricsText;
use daemon::{Clock, Tasks};
use edge_scraper::collect::{CollectError, Collector};
use edge_scraper::config::{EdgeConfig, JobConfig};
use edge_scraper::forward::{Link, LinkError, LinkRequest, LinkResponse};
use edge_scraper::scrape::PoolStatus;
use edge_scraper::{Edge, EdgeHandle, EdgeOptions, InProcessHub};
use futures_util::future::BoxFuture;
use journal::Disk;
use wire::edge_headers::{self, EdgeHeaders};

use crate::ingest::{Answer, Identity, Ingest};

/// The label `job` of the hub's own metrics.
const JOB: &str = "hub";

/// The running edge.
pub(crate) struct LocalEdge {
    handle: EdgeHandle,
}

/// What it is started with.
pub(crate) struct LocalEdgeOptions {
    pub(crate) config: EdgeConfig,
    pub(crate) data_dir: PathBuf,
    pub(crate) ingest: Arc<Ingest>,
    /// The hub's own metrics.
    pub(crate) metrics: MetricsText,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) disk: Arc<dyn Disk>,
}

impl LocalEdge {
    pub(crate) async fn start(options: LocalEdgeOptions, tasks: &Tasks) -> anyhow::Result<Self> {
        let LocalEdgeOptions {
            config,
            data_dir,
            ingest,
            metrics,
            clock,
            disk,
        } = options;
        let hub = InProcessHub {
            name: "this".into(),
            link: Arc::new(DirectLink { ingest }),
        };
        let collectors: Vec<Arc<dyn Collector>> = vec![Arc::new(OwnMetrics { text: metrics })];
        let options = EdgeOptions {
            config,
            data_dir,
            listen: None,
            web: daemon::web::Web::default(),
            clock,
            disk,
            hubs: vec![hub],
            collectors,
        };
        let handle = Edge::start(options, tasks).await?;
        Ok(LocalEdge { handle })
    }

    pub(crate) async fn reload(&self, config: EdgeConfig) -> anyhow::Result<()> {
        Ok(self.handle.reload(config).await?)
    }

    pub(crate) async fn shutdown(&self) {
        self.handle.shutdown().await;
    }

    /// The scrape jobs, with their targets.
    pub(crate) fn pools(&self) -> Vec<PoolStatus> {
        self.handle.pools()
    }

    /// The scrape jobs as configured.
    pub(crate) fn jobs(&self) -> Vec<JobConfig> {
        self.handle.config().jobs.clone()
    }

    /// The `data` of `/api/v1/targets`.
    pub(crate) fn targets(&self, state: &str, pool: Option<&str>) -> serde_json::Value {
        self.handle.targets_json(state, pool)
    }
}

/// Calls the hub where another edge would post to it. It is part of this process, so its labels are not checked.
struct DirectLink {
    ingest: Arc<Ingest>,
}

impl Link for DirectLink {
    fn send(&self, request: LinkRequest) -> BoxFuture<'static, Result<LinkResponse, LinkError>> {
        let ingest = self.ingest.clone();
        Box::pin(async move {
            let lookup = |name: &str| {
                request
                    .headers
                    .iter()
                    .find(|(n, _)| *n == name)
                    .map(|(_, value)| value.as_str())
            };
            let edge =
                EdgeHeaders::from_lookup(lookup).map_err(|error| LinkError(error.to_string()))?;
            let (status, body) = match ingest
                .receive(Identity::Unchecked, edge, request.body)
                .await
            {
                Answer::Stored => (StatusCode::NO_CONTENT, String::new()),
                Answer::Refused(refused) => (refused.status, refused.text),
            };
            let headers = vec![(edge_headers::HUB.to_owned(), ingest.hub_id().to_owned())];
            Ok(LinkResponse {
                status: status.as_u16(),
                headers,
                body,
            })
        })
    }

    fn address(&self) -> String {
        "the hub in this process".to_owned()
    }
}

struct OwnMetrics {
    text: MetricsText,
}

impl Collector for OwnMetrics {
    fn job(&self) -> &str {
        JOB
    }

    /// OpenMetrics text without exemplars and timestamps reads as classic text too.
    fn collect(&self) -> Result<String, CollectError> {
        Ok((self.text)())
    }
}
