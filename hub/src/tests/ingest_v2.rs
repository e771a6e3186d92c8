//! What senders of remote write 2.0 are told, and what is stored of what they send.

use model::{STALE_NAN_BITS, Value};
use tsdb::{SelectLimits, TimeRange};
use wire::remote_write::v2::{self, proto};

use super::harness::{Answer, START, TestHub, answer, body, native, series};

const CONTENT_TYPE: &str = "application/x-protobuf;proto=io.prometheus.write.v2.Request";

/// Builds a request as a sender would: each string once.
struct Request {
    symbols: Vec<String>,
    series: Vec<proto::TimeSeries>,
}

impl Request {
    fn new() -> Self {
        Request {
            symbols: vec![String::new()],
            series: Vec::new(),
        }
    }

    fn symbol(&mut self, text: &str) -> u32 {
        let known = self.symbols.iter().position(|symbol| symbol == text);
        known.unwrap_or_else(|| {
            self.symbols.push(text.to_owned());
            self.symbols.len() - 1
        }) as u32
    }

    fn refs(&mut self, labels: &[(&str, &str)]) -> Vec<u32> {
        let pairs = labels.iter().flat_map(|(name, value)| [*name, *value]);
        pairs.map(|text| self.symbol(text)).collect()
    }

    fn series(&mut self, labels: &[(&str, &str)], series: proto::TimeSeries) -> &mut Self {
        let labels_refs = self.refs(labels);
        self.series.push(proto::TimeSeries {
            labels_refs,
            ..series
        });
        self
    }

    fn floats(&mut self, labels: &[(&str, &str)], samples: &[(i64, f64)]) -> &mut Self {
        let samples = samples.iter().map(|(at, value)| sample(*at, *value));
        let samples = samples.collect();
        self.series(
            labels,
            proto::TimeSeries {
                samples,
                ..Default::default()
            },
        )
    }

    fn body(&self) -> Vec<u8> {
        v2::encode(&proto::Request {
            symbols: self.symbols.clone(),
            timeseries: self.series.clone(),
        })
    }

    async fn send(&self, hub: &TestHub) -> Answer {
        answer(request(hub, self.body())).await
    }
}

fn sample(at: i64, value: f64) -> proto::Sample {
    proto::Sample {
        value,
        timestamp: START + at,
        start_timestamp: 0,
    }
}

fn request(hub: &TestHub, body: Vec<u8>) -> reqwest::RequestBuilder {
    hub.request("POST", "/api/v1/write")
        .header("Content-Type", CONTENT_TYPE)
        .header("Content-Encoding", "snappy")
        .header("X-Prometheus-Remote-Write-Version", "2.0.0")
        .body(body)
}

fn written(answer: &Answer) -> [&str; 3] {
    ["Samples", "Histograms", "Exemplars"].map(|what| {
        let name = format!("x-prometheus-remote-write-{what}-written").to_lowercase();
        let value = answer.headers.get(&name);
        value.map_or("(missing)", |value| value.to_str().expect("text"))
    })
}

fn values(hub: &TestHub, name: &str) -> Vec<(i64, Value, i64)> {
    let matchers = [model::Matcher::equal("__name__", name)];
    let limits = SelectLimits::default();
    let store = &hub.hub.state().store;
    let found = store.select(&matchers, TimeRange::ALL, &limits, &|| false);
    let found = found.expect("a selection");
    let series = found.series.first().expect("a series");
    let start = |i: usize| series.starts.get(i).copied().unwrap_or(tsdb::NO_START);
    (0..series.timestamps.len())
        .map(|i| {
            let value = series.values.get(i).expect("a value");
            (series.timestamps[i] - START, value, start(i))
        })
        .collect()
}

#[tokio::test]
async fn samples_histograms_and_starts_are_stored_and_counted() {
    let hub = TestHub::start("").await;
    let mut request = Request::new();
    let stale = f64::from_bits(STALE_NAN_BITS);
    request
        .floats(
            &[("zone", "ü\n"), ("__name__", "plain")],
            &[(0, 1.0), (1, f64::NEG_INFINITY), (2, stale)],
        )
        .series(
            &[("__name__", "started_total")],
            proto::TimeSeries {
                samples: vec![proto::Sample {
                    start_timestamp: START - 5,
                    ..sample(0, 7.0)
                }],
                ..Default::default()
            },
        )
        .series(
            &[("__name__", "native")],
            proto::TimeSeries {
                histograms: vec![
                    native(0),
                    proto::Histogram {
                        start_timestamp: START - 9,
                        ..native(1)
                    },
                ],
                ..Default::default()
            },
        );
    let got = request.send(&hub).await;
    assert_eq!(got.status, 204, "{}", got.text());
    assert_eq!(written(&got), ["4", "2", "0"]);
    let plain = values(&hub, "plain");
    assert_eq!(plain[2].1, Value::Float(stale));
    assert_eq!(plain[1].1, Value::Float(f64::NEG_INFINITY));
    assert_eq!(values(&hub, "started_total")[0].2, START - 5);
    let native = values(&hub, "native");
    assert_eq!([native[0].2, native[1].2], [tsdb::NO_START, START - 9]);
    assert!(matches!(&native[0].1, Value::Histogram(h) if h.count == 3.0));
}

#[tokio::test]
async fn a_sender_that_changes_the_version_goes_on_with_its_series() {
    let hub = TestHub::start("").await;
    let labels = [("__name__", "same"), ("job", "a")];
    hub.store(vec![series(&labels, &[(0, 1.0)])]).await;
    let got = Request::new().floats(&labels, &[(1, 2.0)]).send(&hub).await;
    assert_eq!(got.status, 204);
    assert_eq!(values(&hub, "same").len(), 2);
    assert_eq!(hub.hub.state().store.stats().series, 1);
}

#[tokio::test]
async fn what_is_good_is_stored_and_what_is_not_is_named_and_not_counted() {
    let hub = TestHub::start("").await;
    let mut request = Request::new();
    let one = |at| proto::TimeSeries {
        samples: vec![sample(at, 1.0)],
        ..Default::default()
    };
    request
        .series(&[("__name__", "good")], one(0))
        .series(&[("job", "nameless")], one(0))
        .series(&[("__name__", "")], one(0))
        .series(&[("__name__", "twice"), ("a", "1"), ("a", "2")], one(0))
        .series(&[("__name__", "empty")], proto::TimeSeries::default())
        .series(&[("__name__", "ahead")], one(601_000))
        .series(
            &[("__name__", "native")],
            proto::TimeSeries {
                histograms: vec![
                    native(0),
                    proto::Histogram {
                        positive_deltas: vec![1, 2, 3],
                        ..native(1)
                    },
                ],
                ..Default::default()
            },
        );
    request.series.push(proto::TimeSeries {
        labels_refs: vec![1, 2, 3],
        ..one(0)
    });
    request.series.push(proto::TimeSeries {
        labels_refs: vec![1, 99],
        ..one(0)
    });
    let got = request.send(&hub).await;
    assert_eq!(got.status, 400);
    assert_eq!(written(&got), ["1", "1", "0"]);
    let text = got.text();
    for part in ["7 samples refused, 2 stored", "no metric name", "twice"] {
        assert!(text.contains(part), "{part:?} not in {text}");
    }
    assert_eq!(hub.count("good").await, 1);
    assert_eq!(hub.count(r#"{__name__=~".+"}"#).await, 2);
}

#[tokio::test]
async fn metadata_comes_with_the_series() {
    let hub = TestHub::start("").await;
    let mut request = Request::new();
    let (help, unit) = (
        request.symbol("Time, \"all\"\nof it."),
        request.symbol("seconds"),
    );
    let metadata = Some(proto::Metadata {
        r#type: proto::MetricType::Histogram as i32,
        help_ref: help,
        unit_ref: unit,
    });
    for name in ["took_seconds_bucket", "took_seconds_sum"] {
        request.series(
            &[("__name__", name)],
            proto::TimeSeries {
                samples: vec![sample(0, 1.0)],
                metadata,
                ..Default::default()
            },
        );
    }
    assert_eq!(request.send(&hub).await.status, 204);
    let shown = hub.get("/api/v1/metadata").await.json();
    let expected = serde_json::json!({"took_seconds": [
        {"type": "histogram", "help": "Time, \"all\"\nof it.", "unit": "seconds"}
    ]});
    assert_eq!(shown["data"], expected);
}

#[tokio::test]
async fn every_answer_to_it_says_how_much_was_written() {
    let yaml = "branchline: {branches: [{name: b01, token: one}], series_per_branch_max: 1}";
    let hub = TestHub::start(yaml).await;
    let sent = Request::new()
        .floats(&[("__name__", "a"), ("branch", "other")], &[(0, 1.0)])
        .floats(&[("__name__", "b")], &[(0, 1.0), (1, 1.0)])
        .body();
    let refused = answer(request(&hub, sent.clone())).await;
    assert_eq!((refused.status, written(&refused)), (401, ["0", "0", "0"]));
    let limited = answer(request(&hub, sent).bearer_auth("one")).await;
    assert_eq!((limited.status, written(&limited)), (429, ["1", "0", "0"]));
    assert_eq!(
        hub.query("a").await[0]["metric"],
        serde_json::json!({"__name__": "a", "branch": "b01", "exported_branch": "other"})
    );
    let first = body(vec![series(&[("__name__", "a")], &[(5, 1.0)])]);
    for bad in [b"{}".to_vec(), first] {
        let refused = answer(request(&hub, bad).bearer_auth("one")).await;
        assert_eq!((refused.status, written(&refused)), (400, ["0", "0", "0"]));
    }
    // 1.0 is not told, as in Prometheus.
    let old = answer(hub.write_request(body(Vec::new())).bearer_auth("one")).await;
    assert_eq!((old.status, written(&old)[0]), (204, "(missing)"));
}
