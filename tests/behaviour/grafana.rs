//! What Grafana's Prometheus data source asks, in the order in which a person makes it ask: save and test, open the editor, type,
//! look at panels and alerts. The requests are those of `@grafana/prometheus` 13.2 and of Grafana's backend, which sends them
//! (see `../shared/http-api.md`, part 2); no Grafana is needed to send them again.

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value as Json, json};
use tests::http::{self, Response};
use tests::remote_write::{self, series};
use tests::service::Service;
use wire::remote_write::encode;
use wire::remote_write::proto::{
    BucketSpan, Exemplar, Histogram, Label, MetricMetadata, MetricType, WriteRequest, histogram,
};

const RULES: &str = "groups:\n- name: g\n  interval: 1s\n  rules:\n  - {record: 'job:requests:rate1m', expr: 'sum by (job) (rate(requests_total[1m]))', labels: {kind: recorded}}\n  - {alert: Busy, expr: 'requests_total > 0', labels: {severity: page}, annotations: {summary: 'busy'}}\n";
/// The data source's default, and always sent.
const LIMIT: &str = "40000";

struct Grafana {
    hub: Service,
    /// Of the panels, in seconds.
    start: String,
    end: String,
}

type Form<'a> = &'a [(&'a str, &'a str)];

impl Grafana {
    fn get(&self, path: &str, form: Form<'_>) -> Response {
        let query = http::form_encode(form);
        http::get(&self.hub.url(&format!("{path}?{query}"))).expect("an answer")
    }

    fn post(&self, path: &str, form: Form<'_>) -> Response {
        http::post_form(&self.hub.url(path), form).expect("an answer")
    }

    /// The `data` of a call that Grafana posts, and gets instead where it is configured so, or after a 400 or 405: both answer
    /// alike.
    fn both(&self, path: &str, form: Form<'_>) -> Json {
        let posted = data(&self.post(path, form));
        assert_eq!(posted, data(&self.get(path, form)), "{path} {form:?}");
        posted
    }

    fn ranged<'a>(&'a self, form: Form<'a>) -> Vec<(&'a str, &'a str)> {
        let range = [("start", self.start.as_str()), ("end", self.end.as_str())];
        [("limit", LIMIT)]
            .iter()
            .chain(&range)
            .chain(form)
            .copied()
            .collect()
    }
}

fn data(answer: &Response) -> Json {
    let mut envelope: Json = serde_json::from_slice(&answer.body)
        .unwrap_or_else(|error| panic!("{error}: {} {}", answer.status, answer.text()));
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.header("content-type"), Some("application/json"));
    assert_eq!(envelope["status"], "success");
    envelope["data"].take()
}

fn strings(data: &Json) -> Vec<&str> {
    let all = data.as_array().expect("an array");
    all.iter()
        .map(|text| text.as_str().expect("a string"))
        .collect()
}

fn native(timestamp: i64) -> Histogram {
    Histogram {
        count: Some(histogram::Count::Int(3)),
        sum: 3.5,
        zero_count: Some(histogram::ZeroCount::Int(0)),
        positive_spans: vec![BucketSpan {
            offset: 0,
            length: 2,
        }],
        positive_deltas: vec![2, -1],
        timestamp,
        ..Histogram::default()
    }
}

/// A hub with a counter, a classic and a native histogram, names in UTF-8, metadata, and rules.
fn grafana(folder: &std::path::Path) -> Grafana {
    let hub = folder.join("hub");
    std::fs::create_dir_all(&hub).expect("a folder");
    std::fs::write(hub.join("rules.yml"), RULES).expect("a file");
    let hub = Service::hub(&hub)
        .config("rule_files: [rules.yml]\n")
        .start();
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("after 1970");
    let now = now.as_secs() as i64;
    let points = |factor: f64| -> Vec<(i64, f64)> {
        let point = |n: i64| ((now - 600 + n * 15) * 1000 + 7, n as f64 * factor);
        (0..40).map(point).collect()
    };
    let mut all = Vec::new();
    for code in ["200", "500"] {
        let labels = [
            ("__name__", "requests_total"),
            ("job", "api"),
            ("code", code),
        ];
        all.push(series(&labels, &points(15.0)));
    }
    for le in ["0.1", "1", "+Inf"] {
        let labels = [
            ("__name__", "latency_seconds_bucket"),
            ("job", "api"),
            ("le", le),
        ];
        all.push(series(&labels, &points(1.0)));
    }
    let utf8 = [
        ("__name__", "http.requests"),
        ("job", "web"),
        ("service.name", "käse"),
    ];
    all.push(series(&utf8, &points(2.0)));
    let mut heat = series(&[("__name__", "heat"), ("job", "api")], &[]);
    heat.histograms = points(1.0).iter().map(|(at, _)| native(*at)).collect();
    all.push(heat);
    let about = |name: &str, kind: MetricType, help: &str| MetricMetadata {
        r#type: kind as i32,
        metric_family_name: name.to_owned(),
        help: help.to_owned(),
        unit: String::new(),
    };
    let body = encode(&WriteRequest {
        timeseries: all,
        metadata: vec![
            about("requests_total", MetricType::Counter, "Requests."),
            about("latency_seconds", MetricType::Histogram, "Latency."),
        ],
    });
    let answer = remote_write::send(&hub.url("/api/v1/write"), None, &body).expect("an answer");
    assert_eq!(answer.status, 204, "{}", answer.text());
    Grafana {
        hub,
        // Snapped to minutes, as the default level of caching does; the end is ahead of the newest sample.
        start: (now / 60 * 60 - 1800).to_string(),
        end: (now / 60 * 60 + 60).to_string(),
    }
}

#[test]
fn save_and_test() {
    let folder = tempfile::tempdir().expect("a folder");
    let grafana = grafana(folder.path());
    let health = grafana.both("/api/v1/query", &[("query", "1+1"), ("time", "4")]);
    assert_eq!(health, json!({"resultType": "scalar", "result": [4, "2"]}));
    let build = data(&grafana.get("/api/v1/status/buildinfo", &[]));
    assert!(build["version"].is_string(), "{build}");
    let features = &build["features"];
    assert!(
        features.is_null() || features.as_object().is_some_and(|all| all.is_empty()),
        "Grafana takes the hub for Mimir: {build}"
    );
}

#[test]
fn opening_the_data_source_and_the_editor() {
    let folder = tempfile::tempdir().expect("a folder");
    let grafana = grafana(folder.path());
    // Recording rules, whose expansion the editor offers.
    let rules = data(&grafana.get("/api/v1/rules", &[]));
    let group = &rules["groups"][0];
    let (recorded, alert) = (&group["rules"][0], &group["rules"][1]);
    assert_eq!(
        (&recorded["type"], &recorded["name"], &recorded["labels"]),
        (
            &json!("recording"),
            &json!("job:requests:rate1m"),
            &json!({"kind": "recorded"})
        )
    );
    assert!(
        recorded["query"]
            .as_str()
            .is_some_and(|query| query.contains("rate(requests_total[1m])"))
    );
    assert_eq!(
        (&alert["type"], &alert["name"]),
        (&json!("alerting"), &json!("Busy"))
    );
    // Whether there are exemplars: times in milliseconds, which are dates far from now when read as seconds.
    let times = [
        format!("{}000", grafana.start),
        format!("{}000", grafana.end),
    ];
    let exemplars = [
        ("query", "test"),
        ("start", times[0].as_str()),
        ("end", times[1].as_str()),
    ];
    assert!(
        grafana
            .both("/api/v1/query_exemplars", &exemplars)
            .is_array()
    );

    let names = data(&grafana.get("/api/v1/label/__name__/values", &grafana.ranged(&[])));
    for name in [
        "heat",
        "http.requests",
        "latency_seconds_bucket",
        "requests_total",
    ] {
        assert!(strings(&names).contains(&name), "{name} of {names}");
    }
    let labels = grafana.both("/api/v1/labels", &grafana.ranged(&[]));
    for name in ["__name__", "code", "job", "le", "service.name"] {
        assert!(strings(&labels).contains(&name), "{name} of {labels}");
    }
    let metadata = data(&grafana.get("/api/v1/metadata", &[("limit", LIMIT)]));
    assert_eq!(
        metadata["requests_total"],
        json!([{"type": "counter", "help": "Requests.", "unit": ""}])
    );
    for (name, entries) in metadata.as_object().expect("by name") {
        assert!(
            entries[0]["type"].is_string(),
            "Grafana reads the first entry of each: {name} {entries}"
        );
    }
}

#[test]
fn typing_labels_and_values() {
    let folder = tempfile::tempdir().expect("a folder");
    let grafana = grafana(folder.path());
    let values = |name: &str, form: Form<'_>| {
        let path = format!("/api/v1/label/{name}/values");
        data(&grafana.get(&path, &grafana.ranged(form)))
    };
    let requests = [("match[]", "{__name__=\"requests_total\"}")];
    assert_eq!(values("code", &requests), json!(["200", "500"]));
    assert_eq!(
        values("job", &[("match[]", "{job!=\"\"}")]),
        json!(["api", "web"])
    );
    let escaped = [("match[]", "{\"http.requests\", \"service.name\"=~\"k.*\"}")];
    assert_eq!(values("U__service_2e_name", &escaped), json!(["käse"]));
    assert_eq!(values("nothing", &[]), json!([]));
    let several = [
        ("match[]", "requests_total{code=\"500\"}"),
        ("match[]", "latency_seconds_bucket{le=\"1\"}"),
    ];
    let labels = grafana.both("/api/v1/labels", &grafana.ranged(&several));
    assert_eq!(labels, json!(["__name__", "code", "job", "le"]));
    // A data source that was told to use series, and variables with a bare selector; a custom parameter goes everywhere.
    for selector in [
        "{__name__!=\"\"}",
        "{__name__=\"requests_total\",job!=\"\"}",
    ] {
        let form = [("match[]", selector), ("tenant", "none of yours")];
        let series = grafana.both("/api/v1/series", &grafana.ranged(&form));
        let all = series.as_array().expect("an array");
        assert!(
            all.len() >= 2 && all.iter().all(|labels| labels["__name__"].is_string()),
            "{series}"
        );
    }
    // What is half typed: the page asks again with GET, and shows that answer.
    for path in ["/api/v1/labels", "/api/v1/series"] {
        let half = [("match[]", "{job=")];
        for answer in [grafana.post(path, &half), grafana.get(path, &half)] {
            let error: Json = serde_json::from_slice(&answer.body).expect("JSON");
            assert_eq!(
                (answer.status, &error["errorType"]),
                (400, &json!("bad_data")),
                "{error}"
            );
        }
    }
}

#[test]
fn panels_variables_and_heatmaps() {
    let folder = tempfile::tempdir().expect("a folder");
    let grafana = grafana(folder.path());
    let range = |query: &str, step: &str| {
        let form = [
            ("query", query),
            ("start", grafana.start.as_str()),
            ("end", grafana.end.as_str()),
            ("step", step),
            ("timeout", "60s"),
        ];
        let text = grafana.post("/api/v1/query_range", &form).text();
        let kind = text.find("\"resultType\"").expect("a type");
        assert!(
            kind < text.find("\"result\"").expect("a result"),
            "read fastest in this order: {text}"
        );
        let data = grafana.both("/api/v1/query_range", &form);
        assert_eq!(data["resultType"], "matrix");
        data["result"].clone()
    };
    let rates = range("sum by (code) (rate(requests_total[1m0s]))", "15");
    assert_eq!(rates[0]["metric"], json!({"code": "200"}));
    let point = &rates[0]["values"][5];
    let rate: Option<f64> = point[1].as_str().and_then(|text| text.parse().ok());
    assert!(
        point[0].is_number() && rate.is_some_and(|rate| (rate - 1.0).abs() < 1e-9),
        "{point}"
    );
    let heat = range("sum(heat)", "15.0");
    let bucket = &heat[0]["histograms"][0][1]["buckets"][0];
    assert_eq!(bucket, &json!([0, "0.5", "1", "2"]));
    let buckets = range("sum by (le) (rate(latency_seconds_bucket[1m]))", "60.0");
    assert_eq!(buckets.as_array().map(Vec::len), Some(3));
    assert_eq!(range("nothing_of_this_name", "60"), json!([]));
    // query_result(...) of a variable: an instant query at the end of the range.
    let form = [
        ("query", "topk(1, requests_total)"),
        ("time", grafana.end.as_str()),
    ];
    let vector = grafana.both("/api/v1/query", &form);
    assert_eq!(vector["resultType"], "vector");
    assert_eq!(vector["result"][0]["value"][1], "585");
    // What the panel says of a mistake: one of the statuses whose text Grafana shows.
    for (query, status) in [
        ("sum(", 400),
        ("requests_total + on (job) requests_total", 422),
    ] {
        let answer = grafana.post("/api/v1/query", &[("query", query), ("time", &grafana.end)]);
        let error: Json = serde_json::from_slice(&answer.body).expect("JSON");
        assert_eq!(
            (answer.status, &error["status"]),
            (status, &json!("error")),
            "{error}"
        );
        assert!(error["error"].as_str().is_some_and(|text| !text.is_empty()));
    }
}

#[test]
fn alerting_pages() {
    let folder = tempfile::tempdir().expect("a folder");
    let grafana = grafana(folder.path());
    tests::wait::until(
        std::time::Duration::from_secs(30),
        "an alert that fires",
        || {
            let alerts = data(&grafana.get("/api/v1/alerts", &[]));
            match alerts["alerts"].as_array().map(Vec::len) {
                Some(2) => Ok(()),
                other => Err(format!("{other:?} alerts")),
            }
        },
    );
    let alerts = data(&grafana.get("/api/v1/alerts", &[]));
    let first = &alerts["alerts"][0];
    assert_eq!(
        (&first["state"], &first["labels"]["severity"]),
        (&json!("firing"), &json!("page"))
    );
    assert!(
        first["activeAt"].is_string() && first["value"].is_string(),
        "{first}"
    );
    let only = data(&grafana.get("/api/v1/rules", &[("type", "alert"), ("group_limit", "40")]));
    let rules = only["groups"][0]["rules"].as_array().expect("rules");
    assert!(
        rules.iter().all(|rule| rule["type"] == "alerting"),
        "{only}"
    );
    assert_eq!(rules[0]["alerts"].as_array().map(Vec::len), Some(2));
}

#[test]
fn variables_of_every_kind_and_no_limit() {
    let folder = tempfile::tempdir().expect("a folder");
    let grafana = grafana(folder.path());
    // metrics(regex): names by a pattern.
    let form = [("match[]", "{__name__=~\"req.*|lat.*\"}")];
    let names = data(&grafana.get("/api/v1/label/__name__/values", &grafana.ranged(&form)));
    assert_eq!(names, json!(["latency_seconds_bucket", "requests_total"]));
    // query_result of a number: the page reads result[1].
    let form = [
        ("query", "scalar(count(requests_total))"),
        ("time", grafana.end.as_str()),
    ];
    let scalar = grafana.both("/api/v1/query", &form);
    assert_eq!(
        (&scalar["resultType"], &scalar["result"][1]),
        (&json!("scalar"), &json!("2"))
    );
    // A bare selector: series, with no limit.
    let form = [
        ("match[]", "requests_total"),
        ("start", grafana.start.as_str()),
        ("end", grafana.end.as_str()),
    ];
    let series = grafana.both("/api/v1/series", &form);
    assert_eq!(series.as_array().map(Vec::len), Some(2), "{series}");
    // A series limit of 0 in the data source means everything, and a small one cuts and says so.
    for path in ["/api/v1/labels", "/api/v1/label/code/values"] {
        let all = data(&grafana.get(path, &[("limit", "0")]));
        assert!(all.as_array().is_some_and(|all| all.len() > 1), "{all}");
        let cut: Json =
            serde_json::from_slice(&grafana.get(path, &[("limit", "1")]).body).expect("JSON");
        assert_eq!(cut["data"].as_array().map(Vec::len), Some(1), "{cut}");
        assert_eq!(cut["warnings"], json!(["results truncated due to limit"]));
    }
}

#[test]
fn exemplars_beside_a_graph() {
    let folder = tempfile::tempdir().expect("a folder");
    let grafana = grafana(folder.path());
    let end: i64 = grafana.end.parse().expect("seconds");
    let at = (end - 120) * 1000 + 500;
    let mut traced = series(
        &[
            ("__name__", "requests_total"),
            ("job", "api"),
            ("code", "418"),
        ],
        &[(at, 1.0)],
    );
    traced.exemplars = vec![Exemplar {
        labels: vec![Label {
            name: "trace_id".to_owned(),
            value: "4bf92f35".to_owned(),
        }],
        value: 0.25,
        timestamp: at,
    }];
    let body = remote_write::body(vec![traced]);
    let url = grafana.hub.url("/api/v1/write");
    let answer = remote_write::send(&url, None, &body).expect("an answer");
    assert_eq!(answer.status, 204, "{}", answer.text());
    // The panel's own expression, and its times as float seconds.
    let (from, to) = (format!("{}.5", grafana.start), format!("{end}.25"));
    let form = [
        (
            "query",
            "sum by (code) (rate(requests_total{job=\"api\"}[1m0s]))",
        ),
        ("start", from.as_str()),
        ("end", to.as_str()),
    ];
    let found = grafana.both("/api/v1/query_exemplars", &form);
    assert_eq!(
        found,
        json!([{
            "seriesLabels": {"__name__": "requests_total", "code": "418", "job": "api"},
            "exemplars": [{"labels": {"trace_id": "4bf92f35"}, "value": "0.25", "timestamp": at as f64 / 1000.0}],
        }])
    );
}
