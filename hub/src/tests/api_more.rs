//! What the API has beside queries: pages of rules, the search, what the hub can, what it says while it stops.

use serde_json::{Value, json};

use crate::Features;

use super::harness::{TestHub, answer, metadata_body, native, series};

async fn data(hub: &TestHub, path: &str) -> Value {
    let answer = hub.get(path).await;
    assert_eq!(answer.status, 200, "{path}: {}", answer.text());
    answer.json()["data"].take()
}

#[tokio::test]
async fn a_hub_that_stops_says_so_on_all_but_a_few_paths() {
    let hub = TestHub::start("").await;
    hub.hub.health().set_ready(false);
    let check = async |stopping: &str| {
        for path in [
            "/api/v1/query?query=1",
            "/-/ready",
            "/federate",
            "/",
            "/none",
        ] {
            let got = hub.get(path).await;
            assert_eq!(
                (got.status, got.text()),
                (503, "Service Unavailable"),
                "{path}"
            );
            assert_eq!(got.header("x-prometheus-stopping"), stopping, "{path}");
        }
        for path in [
            "/-/healthy",
            "/metrics",
            "/version",
            "/api/v1/status/walreplay",
            "/api/v1/notifications",
        ] {
            assert_eq!(hub.get(path).await.status, 200, "{path}");
        }
    };
    check("false").await;
    hub.hub.health().set_stopping();
    check("true").await;
}

#[tokio::test]
async fn features_are_those_that_are_on() {
    let hub = TestHub::start("").await;
    let features = data(&hub, "/api/v1/features").await;
    assert_eq!(features["api"]["search"], false);
    assert_eq!(features["api"]["exclude_alerts"], true);
    assert_eq!(features["api"]["admin"], false);
    assert_eq!(features["promql"]["at_modifier"], true);
    assert_eq!(features["promql_functions"]["rate"], true);
    assert_eq!(features["promql_functions"]["mad_over_time"], false);
    for category in [
        "otlp_receiver",
        "prometheus",
        "promql_operators",
        "rules",
        "tsdb",
        "ui",
    ] {
        assert!(features[category].is_object(), "{category}");
    }
    let names = ["search-api", "promql-experimental-functions"];
    let on = Features::from_names(names).unwrap();
    let hub = TestHub::start_with("branchline: {admin_api: true}", on).await;
    let features = data(&hub, "/api/v1/features").await;
    assert_eq!(features["api"]["search_fuzz_alg_jarowinkler"], true);
    assert_eq!(features["api"]["admin"], true);
    assert_eq!(features["promql_functions"]["mad_over_time"], true);
    assert_eq!(features["promql_operators"]["limitk"], true);
}

/// A path that the document names and nobody answers, or the other way round, fails here.
#[tokio::test]
async fn every_path_of_the_document_is_there() {
    let hub = TestHub::start("").await;
    let document = hub.get("/api/v1/openapi.yaml?openapi_version=3.2").await;
    assert!(
        document
            .header("content-type")
            .starts_with("application/yaml")
    );
    let path = std::path::Path::new("openapi.yaml");
    let document: Value = daemon::config::parse_yaml(document.text(), path).unwrap();
    assert_eq!(document["openapi"], "3.2.0");
    let paths = document["paths"].as_object().unwrap();
    for (path, methods) in paths {
        let path = format!("/api/v1{}", path.replace("{name}", "job"));
        for method in methods.as_object().unwrap().keys() {
            // The one never ends, the other is off without a configuration that asks for it.
            if path.ends_with("/live") || path.ends_with("/otlp/v1/metrics") {
                continue;
            }
            let got = answer(hub.request(&method.to_uppercase(), &path)).await;
            assert!(
                ![404, 405].contains(&got.status),
                "{method} {path}: {}",
                got.status
            );
        }
    }
    let source = include_str!("../api/mod.rs");
    let routes = source.match_indices("\"/api/v1/").filter_map(|(at, _)| {
        let text = &source[at + "\"/api/v1".len()..];
        text.split_once('"').map(|(path, _)| path)
    });
    let unnamed: Vec<&str> = routes
        .filter(|path| !paths.contains_key(*path) && !["/webhook", "/admin/"].contains(path))
        .collect();
    assert!(unnamed.is_empty(), "{unnamed:?}");
    assert_eq!(
        hub.get("/api/v1/openapi.yaml?openapi_version=2")
            .await
            .status,
        400
    );
}

#[tokio::test]
async fn quitting_over_http_is_refused() {
    let hub = TestHub::start("").await;
    let refused = answer(hub.request("POST", "/-/quit")).await;
    assert_eq!(
        (refused.status, refused.text()),
        (403, "Lifecycle API is not enabled.\n")
    );
    assert_eq!(hub.get("/-/quit").await.status, 405);
}

#[tokio::test]
async fn the_search_is_off_unless_asked_for() {
    let hub = TestHub::start("").await;
    let off = hub.get("/api/v1/search/metric_names?search[]=up").await;
    assert_eq!(off.status, 500);
    assert_eq!(off.json()["errorType"], "unavailable");
}

#[tokio::test]
async fn the_search_finds_batch_by_batch() {
    let features = Features::from_names(["search-api"]).unwrap();
    let hub = TestHub::start_with("", features).await;
    let named = |name: &str, job: &str| series(&[("__name__", name), ("job", job)], &[(0, 1.0)]);
    let names = [
        "node_cpu_seconds_total",
        "node_load1",
        "up",
        "requests_total",
    ];
    hub.store(names.map(|name| named(name, "node")).to_vec())
        .await;
    let about = wire::remote_write::proto::MetricMetadata {
        r#type: 1,
        metric_family_name: "requests_total".to_owned(),
        help: "Requests.".to_owned(),
        unit: String::new(),
    };
    let sent = answer(hub.write_request(metadata_body(vec![about]))).await;
    assert_eq!(sent.status, 204);
    let ask = async |path: &str| -> Vec<Value> {
        let got = hub.get(&format!("/api/v1/search/{path}")).await;
        assert_eq!(got.status, 200, "{path}: {}", got.text());
        assert_eq!(
            got.header("content-type"),
            "application/x-ndjson; charset=utf-8"
        );
        assert_eq!(got.header("content-encoding"), "");
        let lines = got.text().lines();
        lines
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    };
    let end = |more: bool| json!({"status": "success", "has_more": more});
    let all = ask("metric_names?batch_size=3").await;
    assert_eq!(all.len(), 3);
    assert_eq!(
        all[0]["results"][0],
        json!({"name": "node_cpu_seconds_total"})
    );
    assert_eq!(all[1]["results"], json!([{"name": "up"}]));
    assert_eq!(all[2], end(false));
    // Grafana's.
    let grafana = ask("metric_names?search[]=REQUETS_total&sort_by=score&fuzz_alg=jarowinkler&fuzz_threshold=80&case_sensitive=false&include_metadata=true&include_score=true&limit=10000&batch_size=100").await;
    let first = &grafana[0]["results"][0];
    assert_eq!(
        (&first["name"], &first["type"], &first["help"]),
        (
            &json!("requests_total"),
            &json!("counter"),
            &json!("Requests.")
        )
    );
    assert!(
        first["score"]
            .as_f64()
            .is_some_and(|score| score > 0.8 && score < 1.0),
        "{first}"
    );
    let best = ask("metric_names?search[]=node&search[]=up&sort_by=score&limit=1").await;
    assert_eq!(best, [json!({"results": [{"name": "up"}]}), end(true)]);
    assert_eq!(
        ask("metric_names?search[]=zzz").await,
        [json!({"results": []}), end(false)]
    );
    let labels = ask("label_names?sort_dir=dsc&match[]=up").await;
    assert_eq!(
        labels[0]["results"],
        json!([{"name": "job"}, {"name": "__name__"}])
    );
    let values = ask("label_values?label=job&search[]=nd").await;
    assert_eq!(values[0]["results"], json!([{"value": "node"}]));
    let late = ask("metric_names?start=1700000000&end=1700000001").await;
    assert_eq!(late[0]["results"], json!([]));
    for bad in [
        "label_values",
        "metric_names?sort_by=score",
        "metric_names?limit=0",
        "metric_names?limit=10001",
        "metric_names?fuzz_threshold=101",
        "metric_names?fuzz_alg=soundex",
        "metric_names?sort_by=score&sort_dir=asc&search[]=a",
        "metric_names?match[]={",
    ] {
        let got = hub.get(&format!("/api/v1/search/{bad}")).await;
        assert_eq!(
            (got.status, &got.json()["errorType"]),
            (400, &json!("bad_data")),
            "{bad}"
        );
    }
}

#[tokio::test]
async fn what_there_is_most_of() {
    let hub = TestHub::start("").await;
    let one = |name: &str, n: &str| series(&[("__name__", name), ("n", n)], &[(0, 1.0)]);
    hub.store(vec![
        one("a", "1"),
        one("a", "2"),
        one("a", "30"),
        one("b", "1"),
    ])
    .await;
    let found = data(&hub, "/api/v1/status/tsdb?limit=2").await;
    assert_eq!(found["headStats"]["numLabelPairs"], 5);
    let check = |key: &str, expected: Value| assert_eq!(found[key], expected, "{key}");
    let entry = |name: &str, value: u64| json!({"name": name, "value": value});
    check(
        "seriesCountByMetricName",
        json!([entry("a", 3), entry("b", 1)]),
    );
    check(
        "labelValueCountByLabelName",
        json!([entry("n", 3), entry("__name__", 2)]),
    );
    check(
        "memoryInBytesByLabelName",
        json!([entry("n", 4), entry("__name__", 2)]),
    );
    check(
        "seriesCountByLabelValuePair",
        json!([entry("__name__=a", 3), entry("n=1", 2)]),
    );
    for limit in ["0", "10001", "x"] {
        let path = format!("/api/v1/status/tsdb?limit={limit}");
        assert_eq!(hub.get(&path).await.status, 400);
    }
    assert_eq!(
        data(&hub, "/api/v1/status/tsdb/blocks").await,
        json!({"blocks": []})
    );
    let store = hub.hub.state().store.clone();
    store.seal().unwrap();
    let blocks = data(&hub, "/api/v1/status/tsdb/blocks").await;
    let block = &blocks["blocks"][0];
    assert_eq!(block["ulid"].as_str().map(str::len), Some(26));
    assert_eq!(block["stats"]["numSeries"], 4);
    assert_eq!(
        block["maxTime"].as_i64(),
        block["minTime"].as_i64().map(|time| time + 1)
    );
    // The same, of the frozen form.
    let again = data(&hub, "/api/v1/status/tsdb?limit=2").await;
    assert_eq!(
        again["seriesCountByLabelValuePair"],
        found["seriesCountByLabelValuePair"]
    );
}

#[tokio::test]
async fn its_own_metrics_as_json() {
    let hub = TestHub::start("").await;
    let path = "/api/v1/status/self_metrics?metric_name_pattern=branchline_store_(series|parts)";
    let found = data(&hub, path).await;
    let names: Vec<&Value> = found
        .as_array()
        .unwrap()
        .iter()
        .map(|f| &f["name"])
        .collect();
    assert_eq!(names, ["branchline_store_parts", "branchline_store_series"]);
    assert_eq!(found[1]["type"], "GAUGE");
    assert_eq!(found[1]["metric"][0]["gauge"]["value"], 0.0);
    assert_eq!(
        hub.get("/api/v1/status/self_metrics?metric_name_pattern=(")
            .await
            .status,
        400
    );
}

#[tokio::test]
async fn how_far_back_a_query_looks_and_what_else_it_says() {
    let hub = TestHub::start("").await;
    let mut histogram = series(&[("__name__", "h")], &[]);
    histogram.histograms = vec![native(0)];
    hub.store(vec![
        series(&[("__name__", "old")], &[(-400_000, 7.0)]),
        histogram,
    ])
    .await;
    let ask =
        async |parameters: &str| data(&hub, &format!("/api/v1/query?query=old{parameters}")).await;
    assert_eq!(ask("").await["result"], json!([]));
    assert_eq!(ask("&lookback_delta=0").await["result"], json!([]));
    assert_eq!(
        ask("&lookback_delta=7m").await["result"][0]["value"][1],
        "7"
    );
    let odd = hub.get("/api/v1/query?query=1&stats=yes").await.json();
    assert!(odd["data"]["stats"]["timings"]["innerEvalTime"].is_number());
    assert!(
        odd["warnings"][0]
            .as_str()
            .is_some_and(|text| text.contains("deprecated")),
        "{odd}"
    );
}

/// What federation finds counts like what queries hold.
#[tokio::test]
async fn federation_that_would_take_too_much_memory_is_refused() {
    let hub = TestHub::start("branchline: {query_memory_bytes: 1MiB}").await;
    let one = |n: usize| {
        let n = format!("{n:0>100}");
        series(&[("__name__", "m"), ("n", &n)], &[(0, 1.0)])
    };
    hub.store((0..20).map(one).collect()).await;
    let few = hub.get("/federate?match[]=m").await;
    assert_eq!((few.status, few.text().lines().count()), (200, 21));
    hub.store((0..4_000).map(one).collect()).await;
    let many = hub.get("/federate?match[]=m").await;
    assert_eq!(many.status, 500);
    assert!(
        many.text().contains("more than 1 MiB of memory"),
        "{}",
        many.text()
    );
}
