//! A whole edge against a hub of the test's own: start, ship, reload, end.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicU16, AtomicUsize, Ordering};

use bytes::Bytes;
use daemon::SystemClock;
use daemon::http::serve;
use journal::RealDisk;

use super::*;

/// Takes every request, or refuses it.
async fn hub(tasks: &Tasks, status: u16) -> (SocketAddr, Arc<AtomicUsize>) {
    changing_hub(tasks, Arc::new(AtomicU16::new(status))).await
}

/// The same with another mind now and then.
async fn changing_hub(tasks: &Tasks, status: Arc<AtomicU16>) -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = listen("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let address = listener.local_addr().unwrap();
    let received = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&received);
    let handler = move |body: Bytes| {
        let (count, status) = (Arc::clone(&count), status.load(Ordering::SeqCst));
        async move {
            if body.len() > 1 {
                count.fetch_add(1, Ordering::SeqCst);
            }
            (
                axum::http::StatusCode::from_u16(status).unwrap(),
                [("branchline-hub", "h1")],
                "no entry",
            )
        }
    };
    serve(
        listener,
        axum::Router::new().route("/api/v1/write", axum::routing::post(handler)),
        tasks,
    );
    (address, received)
}

fn options(folder: &Path, text: &str) -> EdgeOptions {
    let path = folder.join("edge.yml");
    std::fs::write(&path, text).unwrap();
    EdgeOptions {
        config: EdgeConfig::load(&path).unwrap(),
        data_dir: folder.join("data"),
        listen: Some("127.0.0.1:0".parse().unwrap()),
        web: daemon::web::Web::default(),
        clock: Arc::new(SystemClock::new()),
        disk: Arc::new(RealDisk),
        hubs: Vec::new(),
        collectors: Vec::new(),
    }
}

fn client() -> reqwest::Client {
    daemon::http::client(&Default::default()).unwrap()
}

async fn get(edge: &EdgeHandle, path: &str) -> String {
    let url = format!("http://{}{path}", edge.address().unwrap());
    client()
        .get(url)
        .send()
        .await
        .unwrap()
        .text()
        .await
        .unwrap()
}

/// Looks every few milliseconds until it holds.
async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    for _ in 0..2000 {
        if holds().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("never: {what}");
}

/// The values of our own metrics by name and labels.
async fn metrics(edge: &EdgeHandle) -> BTreeMap<String, f64> {
    let page = get(edge, "/metrics").await;
    let rows = page.lines().filter(|line| !line.starts_with('#'));
    rows.map(|line| {
        let (name, value) = line.rsplit_once(' ').unwrap();
        (name.to_owned(), value.parse().unwrap())
    })
    .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn it_ships_this_machine_and_ends_in_order() {
    let (tasks, folder) = (Tasks::new(), tempfile::tempdir().unwrap());
    let (address, received) = hub(&tasks, 204).await;
    let text = format!(
        "global: {{scrape_interval: 200ms, scrape_timeout: 200ms}}\nremote_write: [{{url: 'http://{address}/api/v1/write'}}]\nbranchline: {{edge: b07, buffer: {{sync_within: 20ms}}}}\n"
    );
    let edge = Edge::start(options(folder.path(), &text), &tasks.child())
        .await
        .unwrap();
    until("samples at the hub", async || {
        received.load(Ordering::SeqCst) > 2
    })
    .await;
    assert_eq!(get(&edge, "/-/ready").await, "Branchline Edge is Ready.\n");
    let metrics = metrics(&edge).await;
    let hub_label = format!("{{hub=\"{address}\"}}");
    assert_eq!(metrics[&format!("branchline_edge_link_up{hub_label}")], 1.0);
    assert!(metrics[&format!("branchline_edge_acknowledged_samples_total{hub_label}")] > 100.0);
    assert!(metrics["branchline_edge_scraped_samples_total"] > 100.0);
    assert_eq!(metrics["branchline_edge_targets{health=\"up\"}"], 1.0);
    let targets: serde_json::Value =
        serde_json::from_str(&get(&edge, "/api/v1/targets?state=active").await).unwrap();
    let target = &targets["data"]["activeTargets"][0];
    assert_eq!(
        (
            target["health"].as_str(),
            target["labels"]["instance"].as_str()
        ),
        (Some("up"), Some("b07"))
    );
    assert!(targets["data"]["droppedTargetCounts"].is_null());
    let page = get(&edge, "/").await;
    assert!(
        page.contains("Edge b07") && page.contains("collector://this-process/metrics"),
        "{page}"
    );

    edge.shutdown().await;
    let status = edge.status();
    let books = &status.hubs[0].counts;
    assert!(books.balance(), "{books:?}");
    assert_eq!(
        books.pending.records, 0,
        "the last scrapes were shipped too"
    );
    assert!(
        client()
            .get(format!("http://{}/", edge.address().unwrap()))
            .send()
            .await
            .is_err(),
        "it answers no more"
    );
    // The folder is free, and the books go on where they were.
    let scraped = status.buffer.scraped;
    drop(edge);
    let again = Edge::start(options(folder.path(), &text), &tasks.child())
        .await
        .unwrap();
    assert!(again.status().buffer.scraped.samples >= scraped.samples);
    again.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_adds_and_removes_and_a_bad_one_changes_nothing() {
    let (tasks, folder) = (Tasks::new(), tempfile::tempdir().unwrap());
    let (first, received) = hub(&tasks, 204).await;
    let (second, received_too) = hub(&tasks, 204).await;
    let head = "global: {scrape_interval: 200ms, scrape_timeout: 200ms}\n";
    let one = format!("{head}remote_write: [{{url: 'http://{first}/api/v1/write'}}]\n");
    let edge = Edge::start(options(folder.path(), &one), &tasks.child())
        .await
        .unwrap();
    until("samples at the first hub", async || {
        received.load(Ordering::SeqCst) > 0
    })
    .await;
    let write = |text: &str| std::fs::write(folder.path().join("edge.yml"), text).unwrap();
    let client = client();
    let reload = format!("http://{}/-/reload", edge.address().unwrap());
    write("remote_wrote: []\n");
    let answer = client.post(&reload).send().await.unwrap();
    assert_eq!(answer.status(), 500);
    let text = answer.text().await.unwrap();
    assert!(
        text.starts_with("failed to reload config: ")
            && text.contains("edge.yml:1:1")
            && text.contains("remote_wrote"),
        "{text}"
    );
    assert_eq!(
        metrics(&edge).await["branchline_edge_config_last_reload_successful"],
        0.0
    );
    write(&format!(
        "{one}scrape_configs: [{{job_name: a, tls_config: {{ca_file: /nonexistent}}}}]\n"
    ));
    assert_eq!(client.post(&reload).send().await.unwrap().status(), 500);
    assert_eq!(
        edge.status().pools.len(),
        1,
        "the node collector is still the only job"
    );
    assert!(get(&edge, "/").await.contains("not loaded"));

    write(&format!(
        "{head}remote_write: [{{url: 'http://{second}/api/v1/write', name: new}}]\nbranchline: {{node_collector: {{metric_relabel_configs: [{{action: keep, source_labels: [__name__], regex: node_load1}}]}}}}\n"
    ));
    assert_eq!(client.put(&reload).send().await.unwrap().status(), 200);
    until("samples at the second hub", async || {
        received_too.load(Ordering::SeqCst) > 0
    })
    .await;
    let hubs: Vec<String> = edge.status().hubs.into_iter().map(|hub| hub.name).collect();
    assert_eq!(hubs, ["new"]);
    assert_eq!(
        metrics(&edge).await["branchline_edge_config_last_reload_successful"],
        1.0
    );
    assert_eq!(client.get(&reload).send().await.unwrap().status(), 405);
    edge.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_in_the_way_of_a_start_is_said() {
    let (tasks, folder) = (Tasks::new(), tempfile::tempdir().unwrap());
    let quiet = "branchline: {node_collector: {enabled: false}}\n";
    let edge = Edge::start(options(folder.path(), quiet), &tasks.child())
        .await
        .unwrap();
    let error =
        |result: Result<EdgeHandle, StartError>| result.err().expect("a refusal").to_string();
    let locked = error(Edge::start(options(folder.path(), quiet), &tasks.child()).await);
    assert!(
        locked.contains("is in use by another process") && locked.contains("--data-dir"),
        "{locked}"
    );
    let other = tempfile::tempdir().unwrap();
    let mut busy = options(other.path(), quiet);
    busy.listen = edge.address();
    let busy = error(Edge::start(busy, &tasks.child()).await);
    assert!(
        busy.contains("is in use") && busy.contains("--listen"),
        "{busy}"
    );
    // A refused start lets go of the folder.
    let bad = error(
        Edge::start(
            options(
                other.path(),
                "remote_write: [{url: 'http://x', tls_config: {ca_file: /nonexistent}}]\n",
            ),
            &tasks.child(),
        )
        .await,
    );
    assert!(
        bad.contains("remote_write \"x:80\"") && bad.contains("/nonexistent"),
        "{bad}"
    );
    edge.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_token_is_shown_and_nothing_is_lost() {
    let (tasks, folder) = (Tasks::new(), tempfile::tempdir().unwrap());
    let (address, _) = hub(&tasks, 401).await;
    let text = format!(
        "global: {{scrape_interval: 200ms, scrape_timeout: 200ms}}\nremote_write: [{{url: 'http://{address}/api/v1/write'}}]\n"
    );
    let edge = Edge::start(options(folder.path(), &text), &tasks.child())
        .await
        .unwrap();
    until("the link shows why", async || {
        let handle = edge.clone();
        let hubs = daemon::blocking(move || handle.status().hubs).await;
        matches!(&hubs[0].link, crate::forward::LinkState::Down { error } if error.contains("401"))
    })
    .await;
    until("pending samples", async || {
        let metrics = metrics(&edge).await;
        metrics[&format!("branchline_edge_pending_samples{{hub=\"{address}\"}}")] > 0.0
    })
    .await;
    assert!(get(&edge, "/").await.contains("401"));
    edge.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_refused_is_sent_again_on_demand() {
    let (tasks, folder) = (Tasks::new(), tempfile::tempdir().unwrap());
    let status = Arc::new(AtomicU16::new(204));
    let (address, received) = changing_hub(&tasks, Arc::clone(&status)).await;
    let text = format!(
        "global: {{scrape_interval: 200ms, scrape_timeout: 200ms}}\nremote_write: [{{url: 'http://{address}/api/v1/write'}}]\n"
    );
    let edge = Edge::start(options(folder.path(), &text), &tasks.child())
        .await
        .unwrap();
    let quarantined = async || {
        let metrics = metrics(&edge).await;
        metrics[&format!("branchline_edge_quarantined_samples{{hub=\"{address}\"}}")]
    };
    until("a link", async || received.load(Ordering::SeqCst) > 0).await;
    status.store(400, Ordering::SeqCst);
    until("refused samples", async || quarantined().await > 0.0).await;
    status.store(204, Ordering::SeqCst);
    let retry = format!("http://{}/-/retry_quarantined", edge.address().unwrap());
    assert_eq!(client().get(&retry).send().await.unwrap().status(), 405);
    // A request may be under way that is refused yet.
    until("all is taken", async || {
        let answer = client().post(&retry).send().await.unwrap();
        let text = answer.text().await.unwrap();
        let answer: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(answer["data"][0]["hub"], address.to_string(), "{answer}");
        let handle = edge.clone();
        let hubs = daemon::blocking(move || handle.status().hubs).await;
        let counts = &hubs[0].counts;
        counts.quarantined.samples == 0
            && counts.acknowledged.samples > 0
            && counts.pending.counts.samples == 0
    })
    .await;
    edge.shutdown().await;
}
