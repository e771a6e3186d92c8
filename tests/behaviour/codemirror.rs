//! Prometheus's own editor (`@prometheus-io/codemirror-promql`, from npm) asks the hub: its client every question that it has, and its
//! completion what to offer.

use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use tests::remote_write::{self, series};
use tests::service::Service;
use tests::{checkout, peers};
use wire::remote_write::encode;
use wire::remote_write::proto::{MetricMetadata, MetricType, WriteRequest};

fn labels_of(offers: &Value) -> Vec<&str> {
    let offers = offers.as_array().into_iter().flatten();
    offers.filter_map(|offer| offer["label"].as_str()).collect()
}

#[test]
fn the_editor_of_prometheus_completes_from_the_hub() {
    if !checkout::long_versions() {
        return;
    }
    let Some(packages) = peers::codemirror() else {
        let why = "needs codemirror-promql; tests/run --all brings it where there are node and npm";
        return peers::leave_out(why);
    };
    let folder = tempfile::tempdir().expect("a folder");
    let hub = Service::hub(&folder.path().join("hub")).start();
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("after 1970");
    let point = [(now.as_millis() as i64 - 5_000, 1.0)];
    let of = |name: &str, job: &str, code: &str| {
        series(&[("__name__", name), ("job", job), ("code", code)], &point)
    };
    let body = encode(&WriteRequest {
        timeseries: vec![
            of("requests_total", "web", "200"),
            of("requests_total", "web", "500"),
            of("requests_total", "api", "404"),
            series(&[("__name__", "temperature"), ("room", "käse")], &point),
        ],
        metadata: vec![MetricMetadata {
            r#type: MetricType::Counter as i32,
            metric_family_name: "requests_total".to_owned(),
            help: "Requests.".to_owned(),
            unit: String::new(),
        }],
    });
    let answer = remote_write::send(&hub.url("/api/v1/write"), None, &body).expect("an answer");
    assert_eq!(answer.status, 204, "{}", answer.text());

    let output = Command::new("node")
        .arg(checkout::root().join("tests/behaviour/codemirror.cjs"))
        .arg(hub.url(""))
        .env("NODE_PATH", packages)
        .output()
        .expect("node runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let told: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    for method in ["POST", "GET"] {
        let asked = &told["methods"][method];
        let check = |question: &str, expected: Value| {
            assert_eq!(asked[question], expected, "{method} {question}");
        };
        check("metricNames", json!(["requests_total", "temperature"]));
        check("labelNames", json!(["__name__", "code", "job", "room"]));
        check("labelNamesOf", json!(["__name__", "code", "job"]));
        check("labelValues", json!(["api", "web"]));
        check("labelValuesOf", json!(["200", "500"]));
        let about =
            json!({"requests_total": [{"type": "counter", "help": "Requests.", "unit": ""}]});
        check("metricMetadata", about);
        check(
            "series",
            json!([
                {"__name__": "requests_total", "code": "200", "job": "web"},
                {"__name__": "requests_total", "code": "500", "job": "web"},
            ]),
        );
        assert!(asked["flags"].is_object(), "{asked}");
    }
    // It shows what is wrong in the hub's words.
    let refusal = told["refusal"].as_str().unwrap_or_default();
    assert!(refusal.contains("match[]"), "{refusal}");

    let completed = &told["completed"];
    let metric = completed["req|"].as_array().into_iter().flatten();
    let mut metric = metric.filter(|offer| offer["label"] == "requests_total");
    let metric = metric.next().expect("the metric is offered");
    assert_eq!(
        (&metric["detail"], &metric["info"]),
        (&json!("counter"), &json!("Requests."))
    );
    let labels = labels_of(&completed["rate(requests_total{|})"]);
    assert_eq!(labels, ["code", "job"]);
    assert!(labels_of(&completed["sum by (|)"]).contains(&"room"));
    let values = labels_of(&completed["rate(requests_total{job=\"web\",code=\"|\"})"]);
    // Its cache asks for the metric alone, without the other matchers.
    assert_eq!(values, ["200", "404", "500"]);
}
