//! Series, label names and values, metadata, and `/federate`.

use wire::remote_write::proto::MetricMetadata;

use super::harness::{TestHub, answer, encode, metadata_body, native, series};

async fn fed() -> TestHub {
    let hub = TestHub::start("").await;
    hub.store(vec![
        series(&[("__name__", "up"), ("job", "node")], &[(0, 1.0)]),
        series(&[("__name__", "up"), ("job", "tills")], &[(-1000, 0.0)]),
        series(
            &[("__name__", "disk.free"), ("mount point", "/été")],
            &[(-7_200_000, 5.0)],
        ),
    ])
    .await;
    hub
}

async fn check(hub: &TestHub, path: &str, parameters: &[(&str, &str)], rest: &str) {
    let parameters = encode(parameters);
    let expected = format!(r#"{{"status":"success","data":{rest}}}"#);
    let by_get = hub.get(&format!("{path}?{parameters}")).await;
    assert_eq!(by_get.text(), expected, "{path}?{parameters}");
    if path != "/api/v1/metadata" && !path.contains("/label/") {
        assert_eq!(hub.post(path, &parameters).await.text(), expected);
    }
}

#[tokio::test]
async fn series_by_selector_and_time() {
    let hub = fed().await;
    let path = "/api/v1/series";
    let node = r#"{"__name__":"up","job":"node"}"#;
    let tills = r#"{"__name__":"up","job":"tills"}"#;
    let all = format!("[{node},{tills}]");
    check(&hub, path, &[("match[]", "up")], &all).await;
    // A union, and each only once.
    let both = [
        ("match[]", r#"up{job="tills"}"#),
        ("match[]", r#"{job=~"node|tills"}"#),
    ];
    check(&hub, path, &both, &all).await;
    let old = [("match[]", "up"), ("end", "1799990000")];
    check(&hub, path, &old, "[]").await;
    let cut = [("match[]", "up"), ("limit", "1")];
    let cut_answer = hub.get(&format!("{path}?{}", encode(&cut))).await;
    assert_eq!(
        cut_answer.text(),
        format!(
            r#"{{"status":"success","data":[{node}],"warnings":["results truncated due to limit"]}}"#
        )
    );
    let enough = [("match[]", "up"), ("limit", "2")];
    check(&hub, path, &enough, &all).await;
}

#[tokio::test]
async fn label_names_and_values() {
    let hub = fed().await;
    check(
        &hub,
        "/api/v1/labels",
        &[],
        r#"["__name__","job","mount point"]"#,
    )
    .await;
    check(
        &hub,
        "/api/v1/labels",
        &[("match[]", "up")],
        r#"["__name__","job"]"#,
    )
    .await;
    check(
        &hub,
        "/api/v1/labels",
        &[("start", "1799999000")],
        r#"["__name__","job"]"#,
    )
    .await;
    let values = "/api/v1/label/job/values";
    check(&hub, values, &[], r#"["node","tills"]"#).await;
    let one = [("match[]", r#"up{job!="node"}"#)];
    check(&hub, values, &one, r#"["tills"]"#).await;
    check(&hub, "/api/v1/label/none/values", &[], "[]").await;
    for name in ["mount%20point", "U__mount_20_point"] {
        let path = format!("/api/v1/label/{name}/values");
        check(&hub, &path, &[], r#"["/été"]"#).await;
    }
    let cut = hub.get("/api/v1/label/job/values?limit=1").await;
    assert_eq!(
        cut.text(),
        r#"{"status":"success","data":["node"],"warnings":["results truncated due to limit"]}"#
    );
}

#[tokio::test]
async fn metadata_with_its_own_idea_of_limits() {
    let hub = TestHub::start("").await;
    let one = |name: &str, kind: i32, help: &str| MetricMetadata {
        r#type: kind,
        metric_family_name: name.into(),
        help: help.into(),
        unit: "s".into(),
    };
    let all = vec![
        one("a_total", 1, "A"),
        one("b", 2, "B"),
        one("b", 2, "another \"B\"\n"),
    ];
    let got = answer(hub.write_request(metadata_body(all))).await;
    assert_eq!(got.status, 204);
    let path = "/api/v1/metadata";
    let a = r#""a_total":[{"type":"counter","help":"A","unit":"s"}]"#;
    let first = r#"{"type":"gauge","help":"B","unit":"s"}"#;
    let second = r#"{"type":"gauge","help":"another \"B\"\n","unit":"s"}"#;
    let all = format!(r#"{{{a},"b":[{first},{second}]}}"#);
    check(&hub, path, &[], &all).await;
    check(&hub, path, &[("limit", "-1")], &all).await;
    check(&hub, path, &[("limit", "0")], "{}").await;
    check(&hub, path, &[("limit", "1")], &format!("{{{a}}}")).await;
    check(
        &hub,
        path,
        &[("metric", "b"), ("limit_per_metric", "1")],
        &format!(r#"{{"b":[{first}]}}"#),
    )
    .await;
    check(&hub, path, &[("metric", "none")], "{}").await;
}

#[tokio::test]
async fn a_prometheus_above_can_federate() {
    let hub = TestHub::start("global: {external_labels: {site: north, job: other}}").await;
    let mut histogram = series(&[("__name__", "native")], &[]);
    histogram.histograms = vec![native(0)];
    hub.store(vec![
        // A label in capitals sorts before the metric's name, and must not tear the family apart.
        series(&[("__name__", "b"), ("A", "1")], &[(-2000, 1.0), (0, 2.5)]),
        series(&[("__name__", "a"), ("instance", "i")], &[(-1000, 1.0)]),
        series(&[("__name__", "b"), ("job", "node")], &[(0, f64::INFINITY)]),
        series(
            &[("__name__", "gone")],
            &[(-1000, 1.0), (0, model::stale_nan())],
        ),
        series(&[("__name__", "old")], &[(-301_000, 1.0)]),
        histogram,
    ])
    .await;
    let all = encode(&[("match[]", r#"{__name__=~".+"}"#), ("match[]", "a")]);
    let got = hub.get(&format!("/federate?{all}")).await;
    assert_eq!(got.status, 200);
    assert!(
        got.header("content-type")
            .starts_with("text/plain; version=0.0.4"),
        "{}",
        got.header("content-type")
    );
    let lines: Vec<&str> = got.text().lines().collect();
    assert_eq!(
        lines,
        [
            "# TYPE a untyped",
            r#"a{instance="i",job="other",site="north"} 1 1799999999000"#,
            "# TYPE b untyped",
            r#"b{A="1",job="other",site="north",instance=""} 2.5 1800000000000"#,
            r#"b{job="node",site="north",instance=""} +Inf 1800000000000"#,
        ]
    );
    // Whoever asks for protobuf gets the native histogram, too.
    let accept = "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited;q=0.6,text/plain;q=0.5";
    let path = format!("/federate?{all}");
    let got = answer(hub.request("GET", &path).header("Accept", accept)).await;
    assert_eq!(
        got.header("content-type"),
        "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited"
    );
    let has = |name: &str| {
        let name = [&[0x0a, name.len() as u8], name.as_bytes()].concat();
        got.body.windows(name.len()).any(|bytes| bytes == name)
    };
    assert!(has("a") && has("b") && has("native") && !has("gone") && !has("old"));
    let nothing = hub.get("/federate").await;
    assert_eq!((nothing.status, nothing.text()), (200, ""));
    let bad = hub.get("/federate?match[]=up%7B").await;
    assert_eq!(bad.status, 400);
    assert!(bad.text().contains("parse error"), "{}", bad.text());
    assert!(bad.header("content-type").starts_with("text/plain"));
}
