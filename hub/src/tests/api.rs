//! The query API's answers, to the byte.

use super::harness::{START, TestHub, encode, native, series};

/// Two series of a counter, a gauge and a native histogram, over the five minutes before [`START`].
async fn fed() -> TestHub {
    let hub = TestHub::start("").await;
    let counter = |instance: &str, step: f64| {
        let samples: Vec<(i64, f64)> = (0..=20)
            .map(|n| ((n - 20) * 15_000, step * n as f64))
            .collect();
        let labels = [("__name__", "requests_total"), ("instance", instance)];
        series(&labels, &samples)
    };
    let mut histogram = series(&[("__name__", "latency")], &[]);
    histogram.histograms = vec![native(-15_000), native(0)];
    hub.store(vec![
        counter("a", 1.5),
        counter("b", 3.0),
        series(&[("__name__", "up"), ("job", "node")], &[(0, 1.0)]),
        histogram,
    ])
    .await;
    hub
}

/// Asks by GET and by POST, which must answer alike.
async fn check(hub: &TestHub, path: &str, parameters: &[(&str, &str)], expected: &str) {
    let parameters = encode(parameters);
    let by_get = hub.get(&format!("{path}?{parameters}")).await;
    assert_eq!(by_get.text(), expected, "{path}?{parameters}");
    assert_eq!(by_get.status, 200);
    assert_eq!(by_get.header("content-type"), "application/json");
    let by_post = hub.post(path, &parameters).await;
    assert_eq!(by_post.text(), expected, "POST {path}");
    assert_eq!(by_post.status, 200);
}

#[tokio::test]
async fn instant_queries() {
    let hub = fed().await;
    let ask = async |query: &str, more: &[(&str, &str)], data: &str| {
        let expected = format!(r#"{{"status":"success","data":{data}}}"#);
        let parameters = [&[("query", query)], more].concat();
        check(&hub, "/api/v1/query", &parameters, &expected).await;
    };
    ask(
        "up",
        &[],
        r#"{"resultType":"vector","result":[{"metric":{"__name__":"up","job":"node"},"value":[1800000000,"1"]}]}"#,
    )
    .await;
    ask(
        "sum(requests_total)",
        &[("time", "1799999985.050")],
        r#"{"resultType":"vector","result":[{"metric":{},"value":[1799999985.050,"85.5"]}]}"#,
    )
    .await;
    ask(
        r#"requests_total{instance="a"}[31s]"#,
        &[("time", "2027-01-15T08:00:00Z")],
        r#"{"resultType":"matrix","result":[{"metric":{"__name__":"requests_total","instance":"a"},"values":[[1799999970,"27"],[1799999985,"28.5"],[1800000000,"30"]]}]}"#,
    )
    .await;
    ask(
        "latency[16s]",
        &[],
        r#"{"resultType":"matrix","result":[{"metric":{"__name__":"latency"},"histograms":[[1799999985,{"count":"3","sum":"3.5","buckets":[[0,"0.5","1","2"],[0,"1","2","1"]]}],[1800000000,{"count":"3","sum":"3.5","buckets":[[0,"0.5","1","2"],[0,"1","2","1"]]}]]}]}"#,
    )
    .await;
    ask(
        "-1e-7 / 3",
        &[("time", "-1.5")],
        r#"{"resultType":"scalar","result":[-1.500,"-3.3333333333333334e-08"]}"#,
    )
    .await;
    ask(
        r#""a\"b""#,
        &[],
        r#"{"resultType":"string","result":[1800000000,"a\"b"]}"#,
    )
    .await;
    ask(
        "absent_metric",
        &[],
        r#"{"resultType":"vector","result":[]}"#,
    )
    .await;
    // What nobody knows is not looked at.
    ask(
        "absent_metric",
        &[("custom", "x"), ("timeout", "1m"), ("lookback_delta", "10")],
        r#"{"resultType":"vector","result":[]}"#,
    )
    .await;
}

#[tokio::test]
async fn range_queries() {
    let hub = fed().await;
    let ask = async |query: &str, range: [&str; 3], result: &str| {
        let [start, end, step] = range;
        let parameters = [
            ("query", query),
            ("start", start),
            ("end", end),
            ("step", step),
        ];
        let data = format!(r#"{{"resultType":"matrix","result":{result}}}"#);
        let expected = format!(r#"{{"status":"success","data":{data}}}"#);
        check(&hub, "/api/v1/query_range", &parameters, &expected).await;
    };
    ask(
        "sum by (instance) (rate(requests_total[1m]))",
        ["1799999970", "1800000000", "30s"],
        r#"[{"metric":{"instance":"a"},"values":[[1799999970,"0.09999999999999999"],[1800000000,"0.09999999999999999"]]},{"metric":{"instance":"b"},"values":[[1799999970,"0.19999999999999998"],[1800000000,"0.19999999999999998"]]}]"#,
    )
    .await;
    ask(
        "1 + 1",
        ["1800000000.5", "1800000001", "0.25"],
        r#"[{"metric":{},"values":[[1800000000.500,"2"],[1800000000.750,"2"],[1800000001,"2"]]}]"#,
    )
    .await;
    ask("none", ["0", "1", "1"], "[]").await;
}

#[tokio::test]
async fn what_is_cut_and_what_is_odd_is_said() {
    let hub = fed().await;
    check(
        &hub,
        "/api/v1/query",
        &[("query", "sort(requests_total)"), ("limit", "1")],
        r#"{"status":"success","data":{"resultType":"vector","result":[{"metric":{"__name__":"requests_total","instance":"a"},"value":[1800000000,"30"]}]},"warnings":["results truncated due to limit"]}"#,
    )
    .await;
    check(
        &hub,
        "/api/v1/query",
        &[("query", "rate(up[1m])"), ("limit", "0")],
        r#"{"status":"success","data":{"resultType":"vector","result":[]}}"#,
    )
    .await;
    let answer = hub
        .get("/api/v1/query_range?query=requests_total&start=1799999999&end=1800000000&step=1&limit=1")
        .await
        .json();
    assert_eq!(answer["data"]["result"].as_array().unwrap().len(), 1);
    assert_eq!(answer["warnings"][0], "results truncated due to limit");
    let odd = hub
        .get("/api/v1/query?query=rate(latency[1m])+or+rate(requests_total[1m])+or+quantile(2,up)")
        .await;
    assert!(
        odd.json()["warnings"][0]
            .as_str()
            .unwrap()
            .contains("quantile"),
        "{}",
        odd.text()
    );
}

#[tokio::test]
async fn statistics_on_demand() {
    let hub = fed().await;
    let answer = hub.get("/api/v1/query?query=up&stats=all").await.json();
    let stats = &answer["data"]["stats"];
    assert_eq!(stats["samples"]["totalQueryableSamples"], 1);
    assert_eq!(stats["samples"]["peakSamples"], 1);
    for key in ["evalTotalTime", "execQueueTime", "execTotalTime"] {
        assert!(stats["timings"][key].is_f64(), "{key} in {stats}");
    }
    let answer = hub.get("/api/v1/query?query=up").await.json();
    assert!(answer["data"]["stats"].is_null());
}

/// What Grafana asks before it asks anything.
#[tokio::test]
async fn grafanas_probes() {
    let hub = TestHub::start("").await;
    check(
        &hub,
        "/api/v1/query",
        &[("query", "1+1"), ("time", "4")],
        r#"{"status":"success","data":{"resultType":"scalar","result":[4,"2"]}}"#,
    )
    .await;
    let millis = (START.to_string(), (START + 3_600_000).to_string());
    check(
        &hub,
        "/api/v1/query_exemplars",
        &[("query", "test"), ("start", &millis.0), ("end", &millis.1)],
        r#"{"status":"success","data":[]}"#,
    )
    .await;
    let build = hub.get("/api/v1/status/buildinfo").await.json();
    assert!(build["data"]["features"].is_null());
    assert!(build["data"]["version"].as_str().unwrap().starts_with("3."));
    assert_eq!(
        hub.get("/api/v1/rules").await.text(),
        r#"{"status":"success","data":{"groups":[]}}"#
    );
    // Without a selector there is nothing that could have exemplars.
    let none = hub.get("/api/v1/query_exemplars?query=1").await;
    assert_eq!((none.status, none.text()), (204, ""));
}

#[tokio::test]
async fn texts_of_queries() {
    let hub = TestHub::start("").await;
    check(
        &hub,
        "/api/v1/format_query",
        &[("query", "foo/bar")],
        r#"{"status":"success","data":"foo / bar"}"#,
    )
    .await;
    let tree = hub.get("/api/v1/parse_query?query=1").await.json();
    let expected = serde_json::json!({"type": "numberLiteral", "val": "1"});
    assert_eq!(tree["data"], expected);
}

#[tokio::test]
async fn the_form_comes_before_the_address() {
    let hub = TestHub::start("").await;
    let answer = hub.post("/api/v1/query?query=1", "query=2&time=4").await;
    assert_eq!(answer.json()["data"]["result"].to_string(), r#"[4,"2"]"#);
}

#[tokio::test]
async fn time_is_up() {
    let hub = fed().await;
    let answer = hub.get("/api/v1/query?query=up&timeout=0").await;
    assert_eq!(answer.status, 503);
    assert_eq!(
        answer.text(),
        r#"{"error":"query timed out in expression evaluation","errorType":"timeout","status":"error"}"#
    );
}
