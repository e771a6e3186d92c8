//! Exemplars: written by any version of remote write, asked for as Grafana asks, there after a crash.

use serde_json::json;
use wire::remote_write::proto::{Exemplar, Label, TimeSeries};

use super::harness::{START, TestHub, encode, label, series};

fn exemplar(labels: &[(&str, &str)], at: i64, value: f64) -> Exemplar {
    let labels: Vec<Label> = labels.iter().copied().map(label).collect();
    Exemplar {
        labels,
        value,
        timestamp: START + at,
    }
}

fn with(series: TimeSeries, exemplars: Vec<Exemplar>) -> TimeSeries {
    TimeSeries {
        exemplars,
        ..series
    }
}

/// `data` of an answer.
async fn ask(hub: &TestHub, pairs: &[(&str, &str)]) -> serde_json::Value {
    let answer = hub.post("/api/v1/query_exemplars", &encode(pairs)).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let same = hub
        .get(&format!("/api/v1/query_exemplars?{}", encode(pairs)))
        .await;
    assert_eq!(same.text(), answer.text(), "GET and POST");
    answer.json()["data"].take()
}

async fn metric(hub: &TestHub, line: &str) -> String {
    let page = hub.get("/metrics").await;
    let mut lines = page.text().lines();
    let found = lines.find_map(|found| found.strip_prefix(line)?.strip_prefix(' '));
    found.unwrap_or("(missing)").to_owned()
}

#[tokio::test]
async fn they_are_answered_by_series_and_time_and_survive_a_crash() {
    let hub = TestHub::start("").await;
    let requests = [("__name__", "requests_total"), ("job", "b")];
    let bucket = [("__name__", "took_bucket"), ("le", "+Inf")];
    hub.store(vec![
        with(
            series(&requests, &[(0, 7.0)]),
            vec![
                exemplar(&[("trace_id", "1"), ("span", "ü\"")], -521, 6.0),
                exemplar(&[], 0, f64::INFINITY),
            ],
        ),
        // As Prometheus sends them.
        series(&bucket, &[(0, 7.0)]),
        with(
            series(&bucket, &[]),
            vec![exemplar(&[("id", "2")], 50, 1e-7)],
        ),
    ])
    .await;
    let (of_requests, of_bucket) = (
        json!({
            "seriesLabels": {"__name__": "requests_total", "job": "b"},
            "exemplars": [
                {"labels": {"span": "ü\"", "trace_id": "1"}, "value": "6", "timestamp": 1_799_999_999.479},
                {"labels": {}, "value": "+Inf", "timestamp": 1_800_000_000},
            ],
        }),
        json!({
            "seriesLabels": {"__name__": "took_bucket", "le": "+Inf"},
            "exemplars": [{"labels": {"id": "2"}, "value": "1e-07", "timestamp": 1_800_000_000.05}],
        }),
    );
    let both = json!([of_requests, of_bucket]);
    let query = "histogram_quantile(0.9, rate(took_bucket[5m])) / requests_total offset 1h";
    assert_eq!(ask(&hub, &[("query", query)]).await, both);
    let text = hub.get("/api/v1/query_exemplars?query=took_bucket").await;
    assert_eq!(
        text.text(),
        r#"{"status":"success","data":[{"seriesLabels":{"__name__":"took_bucket","le":"+Inf"},"exemplars":[{"labels":{"id":"2"},"value":"1e-07","timestamp":1800000000.050}]}]}"#
    );
    let range = [
        ("query", query),
        ("start", "1800000000.05"),
        ("end", "1800000001"),
    ];
    assert_eq!(ask(&hub, &range).await, json!([of_bucket]));
    let before = [("query", query), ("end", "2027-01-15T07:59:59Z")];
    assert_eq!(ask(&hub, &before).await, json!([]));
    assert_eq!(ask(&hub, &[("query", "nothing")]).await, json!([]));
    let hub = hub.crash().await;
    assert_eq!(ask(&hub, &[("query", query)]).await, both);
}

#[tokio::test]
async fn what_is_wrong_with_them_never_refuses_samples_and_is_counted() {
    let hub = TestHub::start("storage: {exemplars: {max_exemplars: 3}}").await;
    let name = [("__name__", "a")];
    let long = "x".repeat(121);
    let ok = |at| exemplar(&[("id", "1")], at, 1.0);
    hub.store(vec![
        with(
            series(&name, &[(0, 1.0)]),
            vec![
                ok(0),
                ok(0),
                ok(-1),
                exemplar(&[("trace_id", &long)], 1, 1.0),
                exemplar(&[("trace_id", &"ü".repeat(500))], 1, 1.0),
                exemplar(&[("id", "1"), ("id", "2")], 1, 1.0),
                ok(601_000),
                ok(-16 * 24 * 3_600_000),
            ],
        ),
        with(series(&[("__name__", "unknown")], &[]), vec![ok(0)]),
    ])
    .await;
    let outcome =
        |outcome: &str| format!("branchline_ingest_exemplars_total{{outcome=\"{outcome}\"}}");
    // The retention is known to the store from its first maintenance on.
    for (name, expected) in [
        ("stored", "1"),
        ("duplicate", "1"),
        ("labels_too_long", "2"),
        ("unreadable", "1"),
        ("unknown_series", "1"),
        ("too_many", "0"),
        ("disabled", "0"),
    ] {
        assert_eq!(metric(&hub, &outcome(name)).await, expected, "{name}");
    }
    let times: Vec<i64> = (1..6).collect();
    let more = times.iter().map(|at| ok(*at)).collect();
    hub.store(vec![with(series(&name, &[]), more)]).await;
    assert_eq!(
        ask(&hub, &[("query", "a")]).await[0]["exemplars"]
            .as_array()
            .unwrap()
            .len(),
        3
    );
    assert_eq!(metric(&hub, "branchline_store_exemplars").await, "3.0");
    assert_eq!(metric(&hub, "branchline_store_exemplars_max").await, "3.0");
    assert_eq!(
        metric(&hub, "branchline_store_exemplar_series").await,
        "1.0"
    );
    let oldest = "branchline_store_exemplars_oldest_timestamp_seconds";
    assert_eq!(metric(&hub, oldest).await, "1800000000.003");
    assert_eq!(hub.count("{__name__=~\".+\"}").await, 1);
}

#[tokio::test]
async fn they_can_be_switched_off() {
    let hub = TestHub::start("storage: {exemplars: {max_exemplars: 0}}").await;
    let sent = with(
        series(&[("__name__", "a")], &[(0, 1.0)]),
        vec![exemplar(&[], 0, 1.0)],
    );
    hub.store(vec![sent]).await;
    assert_eq!(ask(&hub, &[("query", "a")]).await, json!([]));
    let refused = "branchline_ingest_exemplars_total{outcome=\"disabled\"}";
    assert_eq!(metric(&hub, refused).await, "1");
}

/// Equal bytes of two branches are two series, each with its own.
#[tokio::test]
async fn branches_have_their_own() {
    let hub = TestHub::start(
        "branchline: {branches: [{name: b01, token: one}, {name: b02, token: two}]}",
    )
    .await;
    for (token, trace) in [("one", "1"), ("two", "2")] {
        let sent = with(
            series(&[("__name__", "a")], &[(0, 1.0)]),
            vec![exemplar(&[("trace_id", trace)], 0, 1.0)],
        );
        let body = super::harness::body(vec![sent]);
        let got = super::harness::answer(hub.write_request(body).bearer_auth(token)).await;
        assert_eq!(got.status, 204, "{}", got.text());
    }
    let found = ask(&hub, &[("query", "a")]).await;
    for (index, (branch, trace)) in [("b01", "1"), ("b02", "2")].into_iter().enumerate() {
        assert_eq!(found[index]["seriesLabels"]["branch"], branch);
        assert_eq!(found[index]["exemplars"][0]["labels"]["trace_id"], trace);
    }
    let one = ask(&hub, &[("query", "a{branch=\"b02\"}")]).await;
    assert_eq!(one.as_array().unwrap().len(), 1);
}
