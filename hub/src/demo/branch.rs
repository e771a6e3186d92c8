use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use daemon::{Clock, Tasks};
use edge_scraper::buffer::HubCounts;
use edge_scraper::config::EdgeConfig;
use edge_scraper::{Edge, EdgeHandle, EdgeOptions};
use journal::RealDisk;
use serde_json::Value;

use super::business;
use super::files::Folder;
use super::link::Link;
use super::tally::Tally;

/// Longer than any demo.
const TALLY_RANGE: &str = "30d";

/// A branch of the demo: its business, its edge, and the link to the hub.
pub(super) struct DemoBranch {
    pub(super) name: String,
    pub(super) link: Link,
    edge: EdgeHandle,
}

impl DemoBranch {
    pub(super) async fn start(
        name: &str,
        seed: u64,
        hub: SocketAddr,
        folder: &Folder,
        interval: Duration,
        clock: &Arc<dyn Clock>,
        tasks: &Tasks,
    ) -> anyhow::Result<Self> {
        let business = business::serve(seed, clock.clone(), tasks).await?;
        let link = Link::open(hub, tasks)
            .await
            .context("opening a port for a link")?;
        let config = folder.write_edge(name, link.address(), business, interval)?;
        let options = EdgeOptions {
            config: EdgeConfig::load(&config)?,
            data_dir: folder.path().join(name).join("data"),
            listen: None,
            web: daemon::web::Web::default(),
            clock: clock.clone(),
            disk: Arc::new(RealDisk),
            hubs: Vec::new(),
            collectors: Vec::new(),
        };
        let edge = Edge::start(options, tasks)
            .await
            .with_context(|| format!("starting the edge of {name}"))?;
        Ok(DemoBranch {
            name: name.to_owned(),
            link,
            edge,
        })
    }

    /// Samples that the hub has not acknowledged.
    pub(super) fn pending(&self) -> u64 {
        self.counts()
            .map_or(0, |counts| counts.pending.counts.samples)
    }

    /// The edge's books about the hub, its only one.
    fn counts(&self) -> Option<HubCounts> {
        let status = tokio::task::block_in_place(|| self.edge.status());
        status.hubs.into_iter().next().map(|hub| hub.counts)
    }

    pub(super) async fn stop_scraping(&self) {
        self.edge.stop_scraping().await;
    }

    pub(super) async fn shutdown(&self) {
        self.edge.shutdown().await;
    }

    /// Counts at both ends.
    pub(super) async fn tally(&self, hub: SocketAddr) -> anyhow::Result<Tally> {
        let counts = self.counts().context("the edge knows no hub")?;
        Ok(Tally {
            branch: self.name.clone(),
            scraped: counts.scraped.samples,
            stored: stored(hub, &self.name).await?,
            pending: counts.pending.counts.samples,
            evicted: counts.evicted.samples + counts.damaged.samples,
            quarantined: counts.quarantined.samples,
        })
    }
}

/// Asks the hub by PromQL how many samples it has of what the branch scraped: without what the hub itself says
/// about the branch, and without what rules made of its samples. One query a metric, because `count_over_time`
/// drops the name, and without it series of different metrics would be the same.
async fn stored(hub: SocketAddr, branch: &str) -> anyhow::Result<u64> {
    let client = daemon::http::client(&daemon::http::ClientOptions::default())?;
    let scraped = format!("{{branch={branch:?},__name__!~\"branchline_.*|ALERTS.*|.*:.*\"}}");
    let names = ask(
        &client,
        hub,
        "label/__name__/values",
        &[("match[]", &scraped)],
    )
    .await?;
    let mut total = 0.0;
    for name in names
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
    {
        let query = format!("sum(count_over_time({name}{{branch={branch:?}}}[{TALLY_RANGE}]))");
        let answer = ask(&client, hub, "query", &[("query", &query)]).await?;
        let count = answer["result"][0]["value"][1].as_str().unwrap_or("0");
        total += count
            .parse::<f64>()
            .context("the hub's answer is not a number")?;
    }
    Ok(total as u64)
}

/// The `data` of an answer of the hub's API.
async fn ask(
    client: &reqwest::Client,
    hub: SocketAddr,
    path: &str,
    parameters: &[(&str, &str)],
) -> anyhow::Result<Value> {
    let query = form_urlencoded::Serializer::new(String::new())
        .extend_pairs(parameters)
        .finish();
    let text = client
        .get(format!("http://{hub}/api/v1/{path}?{query}"))
        .send()
        .await?
        .text()
        .await?;
    let mut answer: Value = serde_json::from_str(&text).context("the hub's answer is not JSON")?;
    if let Some(error) = answer["error"].as_str() {
        bail!("asking the hub what it stored: {error}");
    }
    Ok(answer["data"].take())
}
