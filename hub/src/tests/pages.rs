//! The pages for people.

use std::time::Duration;

use wire::remote_write::proto::WriteRequest;

use crate::features::Features;

use super::harness::{TestHub, answer, body, series};

/// A report as an edge sends it.
async fn edge_writes(hub: &TestHub, edge: &str, pending: u64, body: Vec<u8>) -> u16 {
    let headers = [
        ("Branchline-Edge", edge.to_owned()),
        ("Branchline-Epoch", "1".to_owned()),
        ("Branchline-Lane", "live".to_owned()),
        ("Branchline-Scraped-Samples", "500".to_owned()),
        ("Branchline-Pending-Samples", pending.to_string()),
        ("Branchline-Pending-Bytes", (pending * 3).to_string()),
        (
            "Branchline-Oldest-Pending",
            (super::harness::START - 90_000).to_string(),
        ),
        ("Branchline-Evicted-Samples", "3".to_owned()),
    ];
    let mut request = hub.write_request(body);
    for (name, value) in headers {
        request = request.header(name, value);
    }
    answer(request).await.status
}

fn sign_of_life() -> Vec<u8> {
    wire::remote_write::encode(&WriteRequest::default())
}

async fn rows(hub: &TestHub) -> Vec<String> {
    let table = hub.get("/?fragment=1").await;
    assert_eq!(table.status, 200);
    let body = table.text().split("<tbody>").nth(1).expect("a body");
    body.split("<tr>").skip(1).map(str::to_owned).collect()
}

fn check(row: &str, parts: &[&str]) {
    for part in parts {
        assert!(row.contains(part), "{part:?} not in {row}");
    }
}

#[tokio::test]
async fn branches_with_link_backlog_and_targets() {
    let yaml = "branchline: {local_edge: {enabled: false}, contacts: {}}";
    let hub = TestHub::start(yaml).await;
    let up = |instance: &str, value: f64| {
        let labels = [
            ("__name__", "up"),
            ("branch", "b01"),
            ("job", "tills"),
            ("instance", instance),
        ];
        series(&labels, &[(0, value)])
    };
    let two = body(vec![up("till-1:9100", 1.0), up("till-2:9100", 0.0)]);
    assert_eq!(edge_writes(&hub, "b01", 42, two).await, 204);
    hub.store(vec![series(
        &[("__name__", "m"), ("branch", "b02")],
        &[(-5000, 1.0)],
    )])
    .await;

    let page = hub.get("/").await;
    assert_eq!(page.header("content-type"), "text/html; charset=utf-8");
    check(
        page.text(),
        &[
            "<!DOCTYPE html>",
            "No credentials are configured",
            "2 branches",
            "0 alerts firing",
        ],
    );
    let all = rows(&hub).await;
    check(
        &all[0],
        &[
            "b01",
            "class=\"up\"",
            "0s ago",
            "40 samples",
            "from 1m30s ago",
            ">3<",
            "1/2 up",
            "till-2:9100",
        ],
    );
    check(&all[1], &["b02", "remote write", "class=\"up\"", "5s"]);

    hub.clock.advance(Duration::from_secs(16));
    check(
        &rows(&hub).await[0],
        &["silent", "16s ago", "not known", "40 when last heard"],
    );
    check(&rows(&hub).await[1], &["class=\"up\""]);
    assert_eq!(edge_writes(&hub, "b01", 0, sign_of_life()).await, 204);
    check(
        &rows(&hub).await[0],
        &["class=\"up\"", "0s ago", "0 samples"],
    );
    hub.clock.advance(Duration::from_secs(75));
    check(&rows(&hub).await[1], &["silent", "1m31s ago"]);
    let metrics = hub.get("/metrics").await;
    for line in [
        r#"branchline_branch_up{branch="b01"} 0.0"#,
        r#"branchline_branch_evicted_samples{branch="b01"} 3.0"#,
        r#"branchline_branch_stored_samples{branch="b01"} 2.0"#,
        r#"branchline_branch_last_seen_timestamp_seconds{branch="b01"} 1800000016.0"#,
    ] {
        check(metrics.text(), &[line]);
    }
}

#[tokio::test]
async fn a_branch_of_before_the_restart_is_listed() {
    let hub = TestHub::start("").await;
    hub.store(vec![series(
        &[("__name__", "m"), ("branch", "b05")],
        &[(0, 1.0)],
    )])
    .await;
    let hub = hub.restart(Duration::ZERO).await;
    check(&rows(&hub).await[0], &["b05", "not heard yet"]);
}

#[tokio::test]
async fn what_comes_from_outside_is_escaped() {
    let hub = TestHub::start("").await;
    let evil = "<script>alert(1)</script>";
    let labels = [
        ("__name__", "up"),
        ("branch", evil),
        ("job", "<b>"),
        ("instance", "\" onclick=\"x"),
    ];
    hub.store(vec![series(&labels, &[(0, 1.0)])]).await;
    let bad = series(
        &[("__name__", "m"), ("branch", evil), ("a", "<i>"), ("a", "")],
        &[(0, 1.0)],
    );
    assert_eq!(hub.write(vec![bad]).await.status, 400);
    for path in ["/", "/?fragment=1"] {
        let page = hub.get(path).await;
        check(
            page.text(),
            &["&lt;script&gt;alert(1)", "&lt;b&gt;", "1 refused"],
        );
        for part in ["<script>alert", "<b>", "<i>", "\" onclick"] {
            assert!(!page.text().contains(part), "{part}");
        }
    }
}

#[tokio::test]
async fn a_query_page() {
    let hub = TestHub::start("").await;
    for path in ["/query", "/query?expr=<script>", "/graph"] {
        let page = hub.get(path).await;
        assert_eq!(page.status, 200);
        check(page.text(), &["id=\"query\"", "/api/v1/query", "main.js"]);
        assert!(!page.text().contains("expr=<script>"));
    }
    let head = answer(hub.request("HEAD", "/")).await;
    assert_eq!((head.status, head.text()), (200, ""));
}

#[tokio::test]
async fn pages_run_only_what_the_hub_serves() {
    let hub = TestHub::start("").await;
    for path in ["/", "/query"] {
        let page = hub.get(path).await;
        let policy = page.header("content-security-policy");
        check(policy, &["default-src 'none'", "script-src 'self'"]);
        assert!(!policy.contains("unsafe"), "{policy}");
        let text = page.text();
        // Scripts have an address; nothing stands within the page, and nothing comes from elsewhere.
        for tag in text.split("<script").skip(1) {
            check(&tag[..tag.find('>').expect("an end")], &["src=\"assets/"]);
        }
        for part in [" onclick=", " style=", "http://", "https://"] {
            assert!(!text.contains(part), "{path}: {part}");
        }
    }
}

#[tokio::test]
async fn scripts_and_styles_are_kept_by_the_browser() {
    let hub = TestHub::start("").await;
    let page = hub.get("/query").await;
    let addresses = page.text().split("\"assets/").skip(1);
    let addresses: Vec<&str> = addresses
        .filter_map(|rest| rest.split('"').next())
        .collect();
    assert!(addresses.len() > 15, "{addresses:?}");
    for address in addresses {
        let asset = hub.get(&format!("/assets/{address}")).await;
        assert_eq!(asset.status, 200, "{address}");
        check(asset.header("cache-control"), &["immutable", "private"]);
        let kind = match address.rsplit('.').next() {
            Some("js") => "text/javascript",
            Some("css") => "text/css",
            _ => "image/svg+xml",
        };
        check(asset.header("content-type"), &[kind]);
    }
    for address in ["/assets/0/main.js", "/assets/main.js", "/assets/0/../query"] {
        assert_eq!(hub.get(address).await.status, 404, "{address}");
    }
}

#[tokio::test]
async fn the_editors_words_are_those_of_the_engine() {
    for known in [false, true] {
        let mut features = Features::default();
        features.parse.experimental_functions = known;
        let hub = TestHub::start_with("", features).await;
        let words = hub.get("/query/words").await;
        let words: serde_json::Value = serde_json::from_str(words.text()).expect("JSON");
        let words = words["data"].as_array().expect("words");
        let of = |name: &str| words.iter().find(|word| word["label"] == name);
        let rate = of("rate").expect("rate");
        assert_eq!(rate["signature"], "rate(range vector) → instant vector");
        assert!(
            rate["help"]
                .as_str()
                .is_some_and(|help| help.contains("counter"))
        );
        assert_eq!(of("mad_over_time").is_some(), known);
    }
}
