//! A real edge on a machine whose clock is wrong.

use std::sync::Arc;
use std::time::Duration;

use daemon::{SystemClock, Tasks};
use edge_scraper::config::EdgeConfig;
use edge_scraper::{Edge, EdgeHandle, EdgeOptions};

use super::harness::{START, TestHub, until};

/// An edge that reads a text file, and ships it to the hub. The hub's clock stands at [`START`], months from this machine's.
async fn edge(hub: &TestHub, when_off: &str, tasks: &Tasks) -> (tempfile::TempDir, EdgeHandle) {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("a.prom"), "sales 7\n").unwrap();
    let text = format!(
        "global: {{scrape_interval: 200ms, scrape_timeout: 200ms}}
remote_write: [{{url: '{}/api/v1/write'}}]
branchline:
  edge: b01
  buffer: {{sync_within: 20ms}}
  node_collector: {{enabled: false}}
  clock: {{when_off: {when_off}}}
  textfile: {{directory: '{}'}}
",
        format_args!("http://{}", hub.hub.address()),
        folder.path().display()
    );
    let path = folder.path().join("edge.yml");
    std::fs::write(&path, text).unwrap();
    let options = EdgeOptions {
        config: EdgeConfig::load(&path).unwrap(),
        data_dir: folder.path().join("data"),
        listen: None,
        web: daemon::web::Web::default(),
        clock: Arc::new(SystemClock::new()),
        disk: Arc::new(journal::RealDisk),
        hubs: Vec::new(),
        collectors: Vec::new(),
    };
    let edge = Edge::start(options, &tasks.child()).await.unwrap();
    (folder, edge)
}

#[tokio::test(flavor = "multi_thread")]
async fn scrapes_get_the_hub_s_time() {
    let (hub, tasks) = (TestHub::start("").await, Tasks::new());
    let (_folder, edge) = edge(&hub, "correct", &tasks).await;
    // The hub's clock stands still while the edge's goes on from it.
    until("a sample of about now", async || {
        let found = hub
            .query("timestamp(last_over_time(sales[1m] offset -1m))")
            .await;
        let at = found[0]["value"][1]
            .as_str()
            .and_then(|at| at.parse::<f64>().ok());
        at.is_some_and(|at| (at - START as f64 / 1e3).abs() < 30.0)
    })
    .await;
    let status = tokio::task::block_in_place(|| edge.status());
    let offset = status.hubs[0].clock_offset_ms.unwrap();
    assert!(offset.abs() > 86_400_000, "{offset}");
    assert!(
        status.clock_correction_ms.unwrap().abs_diff(offset) < 60_000,
        "{status:?}"
    );
    edge.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_that_flags_leaves_the_machine_s_time() {
    let (hub, tasks) = (TestHub::start("").await, Tasks::new());
    let (_folder, edge) = edge(&hub, "flag", &tasks).await;
    until("the hub says so", async || {
        let answer = hub.get("/api/v1/query?query=sales").await.json();
        let text = answer["warnings"][0]
            .as_str()
            .unwrap_or_default()
            .to_owned()
            + answer["warnings"][1].as_str().unwrap_or_default();
        text.contains("samples are stamped by clocks that are off: b01 by")
    })
    .await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    let status = tokio::task::block_in_place(|| edge.status());
    assert_eq!(status.clock_correction_ms, None);
    edge.shutdown().await;
}
