//! OTLP: what any sender may post, and what a real OpenTelemetry SDK exports.

use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::json;
use tests::service::Service;
use tests::{checkout, http, peers};
use wire::otlp::{self, proto::metric::Data, proto::*};

const ON: &str = "branchline: {otlp_receiver: true, branches: [{name: b01, token: one}]}\n\
                  otlp: {promote_resource_attributes: [deployment.environment]}\n";

fn attribute(key: &str, value: &str) -> KeyValue {
    let value = any_value::Value::String(value.to_owned());
    KeyValue {
        key: key.to_owned(),
        value: Some(AnyValue { value: Some(value) }),
    }
}

#[test]
fn what_was_acknowledged_is_there_after_kill_9() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut hub = Service::hub(&folder.path().join("hub")).config(ON).start();
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("after 1970");
    let time_unix_nano = now.as_nanos() as u64;
    let point = HistogramPoint {
        time_unix_nano,
        start_time_unix_nano: time_unix_nano - 60_000_000_000,
        count: 6,
        sum: Some(9.0),
        bucket_counts: vec![1, 3, 2],
        explicit_bounds: vec![1.0, 2.5],
        attributes: vec![attribute("http.route", "/pay")],
        ..Default::default()
    };
    let request = Request {
        resource_metrics: vec![ResourceMetrics {
            resource: Some(Resource {
                attributes: vec![
                    attribute("service.name", "till"),
                    attribute("deployment.environment", "prod"),
                ],
            }),
            scope_metrics: vec![ScopeMetrics {
                metrics: vec![Metric {
                    name: "payment.duration".to_owned(),
                    unit: "s".to_owned(),
                    data: Some(Data::Histogram(Histogram {
                        data_points: vec![point],
                        aggregation_temporality: Temporality::Cumulative as i32,
                    })),
                    ..Default::default()
                }],
                ..Default::default()
            }],
        }],
    };
    let url = hub.url("/api/v1/otlp/v1/metrics");
    let kind = ("Content-Type", "application/x-protobuf");
    let body = otlp::encode(&request);
    let told = http::post(&url, &[kind], &body).expect("an answer");
    assert_eq!(told.status, 401, "{}", told.text());
    let token = ("Authorization", "Bearer one");
    let told = http::post(&url, &[kind, token], &body).expect("an answer");
    assert_eq!((told.status, told.body.len()), (200, 0), "{}", told.text());
    for _ in 0..2 {
        let api = hub.api();
        let of = "branch=\"b01\",job=\"till\",deployment_environment=\"prod\",http_route=\"/pay\"";
        let value = |expression: &str| api.value(expression).expect("a number");
        let bucket = |le: &str| {
            value(&format!(
                "payment_duration_seconds_bucket{{{of},le=\"{le}\"}}"
            ))
        };
        assert_eq!(["1", "2.5", "+Inf"].map(bucket), [1.0, 4.0, 6.0]);
        assert_eq!(value(&format!("payment_duration_seconds_sum{{{of}}}")), 9.0);
        let info = "target_info{branch=\"b01\",job=\"till\",deployment_environment=\"prod\"}";
        assert_eq!(value(info), 1.0);
        hub.kill_9();
        hub.start_again();
    }
}

/// In the long run only: the SDK comes from PyPI.
#[test]
fn what_the_python_sdk_exports_is_answered() {
    if !checkout::long_versions() {
        return;
    }
    let Some(python) = peers::opentelemetry_python() else {
        let why = "needs OpenTelemetry's SDK for Python; tests/run --all brings it where there are python3, venv and PyPI";
        return peers::leave_out(why);
    };
    let folder = tempfile::tempdir().expect("a folder");
    let hub = Service::hub(&folder.path().join("hub")).config(ON).start();
    let script = checkout::root().join("tests/behaviour/otlp_sdk.py");
    let output = Command::new(python)
        .arg(script)
        .args([&hub.url("/api/v1/otlp/v1/metrics"), "one"])
        .env("OTEL_METRICS_EXEMPLAR_FILTER", "always_on")
        .output()
        .expect("python runs");
    assert!(
        output.status.success(),
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    let api = hub.api();
    let identity = "branch=\"b01\",job=\"shop/till\",instance=\"till-1\"";
    let check = |expression: &str, expected: f64| {
        let expression = expression.replace("{}", &format!("{{{identity}}}"));
        let expression = expression.replace("{,", &format!("{{{identity},"));
        assert_eq!(api.value(&expression), Ok(expected), "{expression}");
    };
    // 100 observations of each, 0.01 to 1.00, half of them before the first of two exports.
    check("calls_total{,http_method=\"GET\"}", 50.0);
    check("sum(calls_total{})", 100.0);
    check(
        "calls_total{,http_method=\"GET\",deployment_environment=\"prod\"}",
        50.0,
    );
    check(
        "count_over_time(calls_total{,http_method=\"GET\"}[5m])",
        2.0,
    );
    check("open_payments{}", 3.0);
    check("queue_size_bytes{}", 4096.0);
    check("temperature_celsius{,room=\"cellar\"}", 11.5);
    check("request_duration_seconds_count{}", 100.0);
    check("request_duration_seconds_bucket{,le=\"0.25\"}", 25.0);
    check("request_duration_seconds_bucket{,le=\"0.5\"}", 50.0);
    check("request_duration_seconds_bucket{,le=\"+Inf\"}", 100.0);
    check("round(request_duration_seconds_sum{}, 0.01)", 50.5);
    check("histogram_count(payment_wait_seconds{})", 100.0);
    check("round(histogram_sum(payment_wait_seconds{}), 0.01)", 50.5);
    // Buckets are as fine as the SDK makes them: a part in 25 at least.
    check(
        "abs(histogram_quantile(0.5, payment_wait_seconds{}) - 0.5) < bool 0.02",
        1.0,
    );
    check(
        "target_info{,telemetry_sdk_language=\"python\",deployment_environment=\"prod\"}",
        1.0,
    );
    check(
        "calls_total{,http_method=\"GET\"} * on (job, instance) group_left (telemetry_sdk_name) target_info",
        50.0,
    );
    let metadata = api.get("/api/v1/metadata").expect("metadata");
    let about = &metadata["data"]["calls_total"][0];
    let expected = json!({"type": "counter", "help": "Calls that were taken.", "unit": ""});
    assert_eq!(about, &expected);
    let exemplars = [("query", "request_duration_seconds_bucket")];
    let found = api
        .post("/api/v1/query_exemplars", &exemplars)
        .expect("exemplars");
    let found = found["data"].as_array().expect("a list");
    assert!(!found.is_empty(), "the SDK sends exemplars");
}
