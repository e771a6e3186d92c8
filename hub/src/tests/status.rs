//! What the hub tells of itself, and what every answer has around it.

use super::harness::{TestHub, answer, series};

#[tokio::test]
async fn healthy_and_ready_by_get_and_head() {
    let hub = TestHub::start("").await;
    for (path, text) in [
        ("/-/healthy", "Branchline Hub is Healthy.\n"),
        ("/-/ready", "Branchline Hub is Ready.\n"),
    ] {
        let got = hub.get(path).await;
        assert_eq!((got.status, got.text()), (200, text));
        let head = answer(hub.request("HEAD", path)).await;
        assert_eq!((head.status, head.text()), (200, ""));
    }
}

#[tokio::test]
async fn status_answers() {
    let yaml = "branchline: {branches: [{name: b01, token: s3cret}]}\nstorage: {tsdb: {retention: {time: 30d, size: 10GiB}}}\n";
    let hub = TestHub::start(yaml).await;
    let data = async |path: &str| hub.get(&format!("/api/v1/{path}")).await.json()["data"].take();
    let build = data("status/buildinfo").await;
    for key in [
        "version",
        "revision",
        "branch",
        "buildUser",
        "buildDate",
        "goVersion",
    ] {
        assert!(build[key].is_string(), "{key}");
    }
    assert_eq!(hub.get("/version").await.json(), build);
    let runtime = data("status/runtimeinfo").await;
    assert_eq!(runtime["startTime"], "2027-01-15T08:00:00Z");
    assert_eq!(runtime["serverTime"], "2027-01-15T08:00:00Z");
    assert_eq!(runtime["lastConfigTime"], "2027-01-15T08:00:00Z");
    assert_eq!(runtime["reloadConfigSuccess"], true);
    assert_eq!(runtime["storageRetention"], "30d or 10GiB");
    assert_eq!(runtime["corruptionCount"], 0);
    let config = data("status/config").await;
    let shown = config["yaml"].as_str().unwrap();
    assert!(shown.contains("name: b01, token: <secret>}"), "{shown}");
    assert!(!shown.contains("s3cret"), "{shown}");
    assert_eq!(data("status/flags").await["listen"], "127.0.0.1:0");
    let replay = data("status/walreplay").await;
    assert_eq!(replay.to_string(), r#"{"current":0,"max":0,"min":0}"#);
    let tsdb = data("status/tsdb").await;
    assert_eq!(tsdb["headStats"]["numSeries"], 0);
    let none = data("targets?state=active").await;
    assert_eq!(
        none.to_string(),
        r#"{"activeTargets":[],"droppedTargetCounts":null,"droppedTargets":[]}"#
    );
    assert_eq!(
        data("targets").await.to_string(),
        r#"{"activeTargets":[],"droppedTargetCounts":{},"droppedTargets":[]}"#
    );
    assert_eq!(data("alerts").await.to_string(), r#"{"alerts":[]}"#);
    assert_eq!(
        data("alertmanagers").await.to_string(),
        r#"{"activeAlertmanagers":[],"droppedAlertmanagers":[]}"#
    );
}

#[tokio::test]
async fn a_page_from_elsewhere_may_read() {
    let hub = TestHub::start("branchline: {readers: [{name: grafana, token: t}]}").await;
    let headers = [
        ("access-control-allow-origin", "*"),
        ("access-control-allow-methods", "GET, POST, OPTIONS"),
        (
            "access-control-allow-headers",
            "Accept, Authorization, Content-Type, Origin",
        ),
        ("access-control-expose-headers", "Date"),
    ];
    // A browser asks first, and without credentials.
    for path in ["/api/v1/query", "/api/v1/write", "/api/v1/nowhere"] {
        let request = hub.request("OPTIONS", path).header("Origin", "http://x");
        let got = answer(request).await;
        assert_eq!((got.status, got.text()), (204, ""), "{path}");
        for (name, value) in headers {
            assert_eq!(got.header(name), value, "{path}");
        }
    }
    for (origin, token) in [(true, true), (true, false), (false, true)] {
        let mut request = hub.request("GET", "/api/v1/labels");
        if origin {
            request = request.header("Origin", "http://x");
        }
        if token {
            request = request.header("Authorization", "Bearer t");
        }
        let got = answer(request).await;
        assert_eq!(got.status, if token { 200 } else { 401 });
        for (name, value) in headers {
            assert_eq!(got.header(name), if origin { value } else { "" });
        }
        let vary: Vec<_> = got.headers.get_all("vary").iter().collect();
        assert!(vary.iter().any(|v| *v == "Origin"), "{vary:?}");
    }
    let page = answer(
        hub.request("GET", "/-/healthy")
            .header("Origin", "http://x"),
    )
    .await;
    assert_eq!(page.header("access-control-allow-origin"), "");
}

#[tokio::test]
async fn answers_are_compressed_for_who_takes_it() {
    let hub = TestHub::start("").await;
    let many = (0..50).map(|n| {
        let n = n.to_string();
        series(&[("__name__", "m"), ("n", &n)], &[(0, 1.0)])
    });
    hub.store(many.collect()).await;
    let url = format!("http://{}/api/v1/query?query=m", hub.hub.address());
    let plain = reqwest::Client::builder().no_gzip().build().unwrap();
    let mut packed = Vec::new();
    for (name, magic) in [
        ("gzip", &[0x1f, 0x8b][..]),
        ("deflate", &[0x78]),
        ("zstd", &[0x28, 0xb5, 0x2f, 0xfd]),
    ] {
        let got = answer(plain.get(&url).header("Accept-Encoding", name)).await;
        assert_eq!(got.header("content-encoding"), name);
        assert!(got.body.starts_with(magic), "{name}: {:?}", &got.body[..4]);
        packed.push(got.body.len());
    }
    let open = answer(plain.get(&url)).await;
    assert_eq!(open.header("content-encoding"), "");
    assert!(
        packed.iter().all(|bytes| bytes * 3 < open.body.len()),
        "{packed:?}"
    );
    assert_eq!(hub.count("m").await, 50);
}

/// A branch's name comes from outside and must not break the hub's own metrics.
#[tokio::test]
async fn metrics_can_be_read_whatever_branches_are_called() {
    let hub = TestHub::start("").await;
    let name = "a\"b\nc\\d";
    hub.store(vec![series(
        &[("__name__", "up"), ("branch", name), ("job", "node")],
        &[(0, 1.0)],
    )])
    .await;
    let metrics = hub.get("/metrics").await;
    let escaped = r#"branch="a\"b\nc\\d""#;
    for line in [
        format!("branchline_branch_up{{{escaped}}} 1.0"),
        format!("branchline_branch_targets{{{escaped},health=\"up\"}} 1.0"),
    ] {
        assert!(
            metrics.text().contains(&line),
            "{line} in {}",
            metrics.text()
        );
    }
}
