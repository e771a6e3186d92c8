//! OTLP over HTTP: what senders are told, and what can be asked for afterwards. How metrics are translated: `wire`.

use std::io::Write;

use serde_json::json;
use wire::otlp;
use wire::otlp::proto::{self, metric::Data, *};

use super::harness::{Answer, START, TestHub, answer, encode};
use crate::Features;

const ON: &str = "branchline: {otlp_receiver: true}\n";
const PROTOBUF: &str = "application/x-protobuf";

fn nanos(at: i64) -> u64 {
    (START + at) as u64 * 1_000_000
}

fn attribute(key: &str, value: &str) -> KeyValue {
    let value = any_value::Value::String(value.to_owned());
    KeyValue {
        key: key.to_owned(),
        value: Some(AnyValue { value: Some(value) }),
    }
}

fn number(at: i64, value: i64) -> NumberPoint {
    NumberPoint {
        time_unix_nano: nanos(at),
        value: Some(Number::Int(value)),
        ..Default::default()
    }
}

fn metric(name: &str, unit: &str, data: Data) -> Metric {
    Metric {
        name: name.to_owned(),
        description: "Help.".to_owned(),
        unit: unit.to_owned(),
        data: Some(data),
    }
}

fn sum(points: Vec<NumberPoint>, temporality: Temporality) -> Data {
    Data::Sum(Sum {
        data_points: points,
        aggregation_temporality: temporality as i32,
        is_monotonic: true,
    })
}

fn gauge(points: Vec<NumberPoint>) -> Data {
    Data::Gauge(Gauge {
        data_points: points,
    })
}

fn message(metrics: Vec<Metric>) -> Vec<u8> {
    otlp::encode(&Request {
        resource_metrics: vec![ResourceMetrics {
            resource: Some(Resource {
                attributes: vec![
                    attribute("service.name", "till"),
                    attribute("deployment.environment", "prod"),
                ],
            }),
            scope_metrics: vec![ScopeMetrics {
                metrics,
                ..Default::default()
            }],
        }],
    })
}

fn request(hub: &TestHub, body: Vec<u8>) -> reqwest::RequestBuilder {
    hub.request("POST", "/api/v1/otlp/v1/metrics").body(body)
}

async fn send(hub: &TestHub, body: Vec<u8>) -> Answer {
    answer(request(hub, body).header("Content-Type", PROTOBUF)).await
}

fn check(answer: &Answer, status: u16, text: &str) {
    assert_eq!(answer.status, status, "{}", answer.text());
    assert!(answer.text().contains(text), "{}", answer.text());
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), Default::default());
    encoder.write_all(bytes).expect("memory");
    encoder.finish().expect("memory")
}

#[tokio::test]
async fn all_that_a_request_brings_can_be_asked_for() {
    let hub = TestHub::start(ON).await;
    let exemplar = proto::Exemplar {
        time_unix_nano: nanos(-500),
        value: Some(ExemplarValue::Double(2.5)),
        trace_id: vec![0xa1; 16],
        ..Default::default()
    };
    let native = ExponentialPoint {
        time_unix_nano: nanos(0),
        count: 3,
        sum: Some(3.5),
        // 2 in (0.5, 1], 1 in (1, 2].
        positive: Some(ExponentialBuckets {
            offset: -1,
            bucket_counts: vec![2, 1],
        }),
        ..Default::default()
    };
    let calls = NumberPoint {
        exemplars: vec![exemplar],
        start_time_unix_nano: nanos(-60_000),
        ..number(0, 7)
    };
    let metrics = vec![
        metric("calls", "", sum(vec![calls], Temporality::Cumulative)),
        metric(
            "took",
            "s",
            Data::ExponentialHistogram(ExponentialHistogram {
                data_points: vec![native],
                aggregation_temporality: Temporality::Cumulative as i32,
            }),
        ),
    ];
    let told = send(&hub, message(metrics)).await;
    assert_eq!((told.status, told.text()), (200, ""));
    assert!(!told.header("branchline-hub").is_empty());

    let labels = json!({"__name__": "calls_total", "job": "till"});
    let now = START / 1000;
    let expected = json!([{"metric": labels, "value": [now, "7"]}]);
    assert_eq!(hub.query("calls_total").await, expected);
    let expected = json!([{"metric": {"job": "till"}, "value": [now, "1"]}]);
    assert_eq!(
        hub.query("histogram_quantile(2/3, took_seconds)").await,
        expected
    );
    let info = "target_info{deployment_environment=\"prod\", job=\"till\"}";
    assert_eq!(hub.count(info).await, 1);
    let metadata = hub.get("/api/v1/metadata?metric=calls_total").await.json();
    let about = json!([{"type": "counter", "help": "Help.", "unit": ""}]);
    assert_eq!(metadata["data"]["calls_total"], about);
    let ask = encode(&[
        ("query", "calls_total"),
        ("start", &(now - 10).to_string()),
        ("end", &now.to_string()),
    ]);
    let found = hub
        .get(&format!("/api/v1/query_exemplars?{ask}"))
        .await
        .json();
    let trace = json!({"trace_id": "a1".repeat(16)});
    let found = &found["data"][0]["exemplars"][0];
    assert_eq!((&found["labels"], &found["value"]), (&trace, &json!("2.5")));
    // What was acknowledged is on disk.
    let hub = hub.crash().await;
    assert_eq!(hub.count("{job=\"till\"}").await, 3);
}

#[tokio::test]
async fn all_encodings_and_json() {
    let hub = TestHub::start(ON).await;
    let body = |name: &str| message(vec![metric(name, "", gauge(vec![number(0, 1)]))]);
    let json = |name: &str| {
        let point = format!("{{\"asInt\":\"1\",\"timeUnixNano\":\"{}\"}}", nanos(0));
        format!(
            "{{\"resourceMetrics\":[{{\"scopeMetrics\":[{{\"metrics\":[{{\"name\":\"{name}\",\"gauge\":{{\"dataPoints\":[{point}]}}}}]}}]}}]}}"
        )
        .into_bytes()
    };
    let zstd = |bytes: &[u8]| zstd::encode_all(bytes, 1).expect("memory");
    let cases = [
        ("a", PROTOBUF, "", body("a")),
        ("b", PROTOBUF, "identity", body("b")),
        ("c", PROTOBUF, "gzip", gzip(&body("c"))),
        ("d", PROTOBUF, "zstd", zstd(&body("d"))),
        ("e", "application/json", "", json("e")),
        (
            "f",
            "application/json; charset=utf-8",
            "gzip",
            gzip(&json("f")),
        ),
    ];
    for (name, kind, encoding, body) in cases {
        let mut request = request(&hub, body).header("Content-Type", kind);
        if !encoding.is_empty() {
            request = request.header("Content-Encoding", encoding);
        }
        check(&answer(request).await, 200, "");
        assert_eq!(hub.count(name).await, 1, "{name}");
    }
}

#[tokio::test]
async fn what_cannot_be_read_is_said() {
    let hub = TestHub::start(ON).await;
    let with = |kind: &'static str, encoding: &'static str, body: Vec<u8>| {
        request(&hub, body)
            .header("Content-Type", kind)
            .header("Content-Encoding", encoding)
    };
    let told = answer(with("text/plain", "gzip", vec![])).await;
    check(&told, 400, "unsupported content type: text/plain");
    let told = answer(with(PROTOBUF, "br", vec![])).await;
    check(&told, 400, "unsupported compression: br");
    check(
        &answer(with(PROTOBUF, "gzip", vec![1, 2])).await,
        400,
        "gzip:",
    );
    check(
        &answer(with(PROTOBUF, "zstd", vec![1, 2])).await,
        400,
        "zstd:",
    );
    let told = answer(with(PROTOBUF, "identity", vec![0x0a, 0x7f])).await;
    check(&told, 400, "bad protobuf at byte 2");
    let told = answer(with("application/json", "identity", b"{]".to_vec())).await;
    check(&told, 400, "bad OTLP JSON");
    // 33 MiB of nothing in some kilobytes.
    let zeros = vec![0; 33 << 20];
    let told = answer(with(PROTOBUF, "gzip", gzip(&zeros))).await;
    check(
        &told,
        400,
        "longer than the limit of 33554432 bytes once decompressed",
    );
    let packed = zstd::encode_all(&zeros[..], 1).expect("memory");
    let told = answer(with(PROTOBUF, "zstd", packed)).await;
    check(
        &told,
        400,
        "longer than the limit of 33554432 bytes once decompressed",
    );
    check(
        &send(&hub, zeros).await,
        413,
        "longer than the limit of 33554432 bytes",
    );
    assert_eq!(hub.get("/api/v1/otlp/v1/metrics").await.status, 405);
}

#[tokio::test]
async fn all_or_nothing() {
    let hub = TestHub::start(
        "storage: {tsdb: {retention: {time: 1d}}}\nbranchline: {otlp_receiver: true}\n",
    )
    .await;
    let delta = || sum(vec![number(0, 1)], Temporality::Delta);
    let good = || metric("good", "", gauge(vec![number(0, 1)]));
    let told = send(&hub, message(vec![good(), metric("a.b", "", delta())])).await;
    check(
        &told,
        500,
        "invalid temporality and type combination for metric \"a.b\"",
    );
    for (at, text) in [
        (601_000, "more than 10 minutes in the future"),
        (-90_000_000, "series bad{job"),
    ] {
        let bad = metric("bad", "", gauge(vec![number(at, 1)]));
        let told = send(&hub, message(vec![good(), bad, metric("a.b", "", delta())])).await;
        check(&told, 400, text);
        check(&told, 400, "0 stored");
    }
    assert_eq!(hub.count("{__name__!=\"\"}").await, 0);
    let feature = Features::from_names(["otlp-native-delta-ingestion"]).expect("a feature");
    let hub = TestHub::start_with(ON, feature).await;
    check(
        &send(&hub, message(vec![metric("a.b", "", delta())])).await,
        200,
        "",
    );
    assert_eq!(hub.count("a_b_total").await, 1);
}

#[tokio::test]
async fn tokens_and_limits_are_those_of_all_writers() {
    let yaml = "branchline: {otlp_receiver: true, series_per_branch_max: 2, branches: [{name: b01, token: one}], readers: [{name: r, token: r}]}\n";
    let hub = TestHub::start(yaml).await;
    let body = |names: &[&str]| {
        let point = NumberPoint {
            attributes: vec![attribute("branch", "b77")],
            ..number(0, 1)
        };
        let metrics = names
            .iter()
            .map(|name| metric(name, "", gauge(vec![point.clone()])));
        message(metrics.collect())
    };
    check(
        &send(&hub, body(&["a"])).await,
        401,
        "no branch has this bearer token",
    );
    let send = async |names: &[&str]| {
        let request = request(&hub, body(names)).header("Content-Type", PROTOBUF);
        answer(request.bearer_auth("one")).await
    };
    // And target_info.
    check(&send(&["a"]).await, 200, "");
    let labels = hub
        .hub
        .state()
        .store
        .label_values("branch", &[], tsdb::TimeRange::ALL);
    assert_eq!(labels, ["b01"]);
    let labels = hub
        .hub
        .state()
        .store
        .label_values("exported_branch", &[], tsdb::TimeRange::ALL);
    assert_eq!(labels, ["b77"]);
    let told = send(&["a", "b"]).await;
    check(&told, 429, "1 samples refused, 2 stored");
    assert_eq!(told.header("branchline-reason"), "series-limit");
    assert_eq!(told.header("retry-after"), "60");
}

#[tokio::test]
async fn off_unless_asked_for_and_a_reload_changes_it() {
    let hub = TestHub::start("").await;
    let body = || message(vec![metric("http.calls", "", gauge(vec![number(0, 1)]))]);
    check(
        &send(&hub, body()).await,
        404,
        "set branchline.otlp_receiver: true",
    );
    let yaml = format!(
        "{ON}otlp: {{translation_strategy: NoTranslation, promote_resource_attributes: [deployment.environment]}}\n"
    );
    hub.put_file("hub.yml", &yaml);
    assert_eq!(hub.post("/-/reload", "").await.status, 200);
    check(&send(&hub, body()).await, 200, "");
    let found = "{\"http.calls\", \"deployment.environment\"=\"prod\"}";
    assert_eq!(hub.count(found).await, 1);
    hub.put_file("hub.yml", "");
    assert_eq!(hub.post("/-/reload", "").await.status, 200);
    assert_eq!(send(&hub, body()).await.status, 404);
}
