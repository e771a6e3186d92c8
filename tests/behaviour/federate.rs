//! A real Prometheus federates from a hub in delimited protobuf: native histograms too, which no text has.

use std::time::Duration;

use model::{Buckets, CUSTOM_BUCKETS_SCHEMA, Histogram, LabelSet, Sample, Timestamp, Value};
use serde_json::Value as Json;
use tests::peers::{Peer, all_there};
use tests::remote_write;
use tests::service::Service;
use tests::wait;
use wire::remote_write::convert::series_to_proto;

const PATIENCE: Duration = Duration::from_secs(60);

fn series(name: &str, at: Timestamp, value: Value) -> (LabelSet, Vec<Sample>) {
    let labels = LabelSet::from_pairs([("__name__", name), ("job", "j"), ("instance", "i")]);
    let sample = Sample {
        at,
        start: None,
        value,
    };
    (labels.expect("labels"), vec![sample])
}

fn write(hub: &Service) {
    let now = std::time::SystemTime::now();
    let now = now.duration_since(std::time::UNIX_EPOCH).expect("a time");
    let at = Timestamp::from_millis(now.as_millis() as i64);
    let native = Histogram {
        schema: 0,
        count: 9.0,
        sum: 12.25,
        zero_threshold: 0.001,
        zero_count: 1.0,
        positive: Buckets::from_indexed([(-2, 3.0), (4, 2.5)]),
        negative: Buckets::from_indexed([(0, 2.5)]),
        ..Histogram::default()
    };
    let custom = Histogram {
        schema: CUSTOM_BUCKETS_SCHEMA,
        count: 6.0,
        sum: 5.0,
        positive: Buckets::from_indexed([(0, 1.0), (1, 3.0), (2, 2.0)]),
        custom_values: vec![0.5, 2.0],
        ..Histogram::default()
    };
    let all = [
        series("native", at, Value::Histogram(native.into())),
        series("custom", at, Value::Histogram(custom.into())),
        series("number", at, Value::Float(4.5)),
    ];
    let all = all
        .iter()
        .map(|(labels, samples)| series_to_proto(labels, samples));
    let body = remote_write::body(all.collect());
    let answer = remote_write::send(&hub.url("/api/v1/write"), None, &body).expect("an answer");
    assert!(answer.status < 300, "{}: {}", answer.status, answer.text());
}

#[test]
fn prometheus_federates_native_histograms() {
    if !all_there(&[Peer::Prometheus]) {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let hub = Service::hub(&folder.path().join("hub")).start();
    let config = format!(
        "scrape_configs:\n- job_name: federate\n  scrape_interval: 1s\n  honor_labels: true\n  metrics_path: /federate\n  \
         params: {{'match[]': ['{{job=\"j\"}}']}}\n  static_configs: [{{targets: ['{}']}}]\n",
        hub.address()
    );
    // With this it asks for protobuf.
    let prometheus = Service::prometheus(&folder.path().join("prometheus"))
        .argument("--enable-feature=native-histograms")
        .config(&config)
        .start();
    let ask = |server: &Service, query: &str| -> Result<Json, String> {
        let mut answer = server.api().post("/api/v1/query", &[("query", query)])?;
        Ok(answer["data"]["result"].take())
    };
    write(&hub);
    let federated = wait::until(PATIENCE, "the native histogram", || {
        let found = ask(&prometheus, "native")?;
        match found.as_array().map(Vec::len) {
            Some(1) => Ok(found),
            _ => Err(format!("{found}, targets: {:?}", ask(&prometheus, "up"))),
        }
    });
    let at_the_hub = ask(&hub, "native").expect("an answer");
    let said = |found: &Json| (found[0]["metric"].clone(), found[0]["histogram"][1].clone());
    assert_eq!(said(&federated), said(&at_the_hub));
    assert_eq!(federated[0]["histogram"][1]["count"], "9");
    // Its custom bounds make it a classic one.
    let value = |query: &str| prometheus.api().value(query).expect("a value");
    assert_eq!(value("number"), 4.5);
    assert_eq!(value("custom_count"), 6.0);
    assert_eq!(value("custom_sum"), 5.0);
    assert_eq!(
        value("custom_bucket{le=\"2.0\"} or custom_bucket{le=\"2\"}"),
        4.0
    );
    assert_eq!(value("custom_bucket{le=\"+Inf\"}"), 6.0);
    assert_eq!(value("min_over_time(up[1m])"), 1.0);
}
