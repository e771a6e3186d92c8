//! Each kind of point against series worked out by hand.

use model::{STALE_NAN_BITS, Sample, Value};
use prost::Message as _;

use super::proto::metric::Data;
use super::proto::{self, *};
use super::*;
use crate::remote_write::{DecodeError, Limits};

const T: u64 = 1_700_000_000_123_456_789;
const SECOND: u64 = 1_000_000_000;

fn kv(key: &str, value: &str) -> KeyValue {
    let value = any_value::Value::String(value.to_owned());
    KeyValue {
        key: key.to_owned(),
        value: Some(AnyValue { value: Some(value) }),
    }
}

fn metric(name: &str, unit: &str, data: Data) -> proto::Metric {
    proto::Metric {
        name: name.to_owned(),
        description: format!("about {name}"),
        unit: unit.to_owned(),
        data: Some(data),
    }
}

fn number(value: f64) -> NumberPoint {
    NumberPoint {
        time_unix_nano: T,
        value: Some(Number::Double(value)),
        ..Default::default()
    }
}

fn gauge(points: Vec<NumberPoint>) -> Data {
    Data::Gauge(Gauge {
        data_points: points,
    })
}

fn sum(points: Vec<NumberPoint>, temporality: Temporality, is_monotonic: bool) -> Data {
    Data::Sum(Sum {
        data_points: points,
        aggregation_temporality: temporality as i32,
        is_monotonic,
    })
}

fn request(resource: &[KeyValue], metrics: Vec<proto::Metric>) -> Request {
    Request {
        resource_metrics: vec![ResourceMetrics {
            resource: Some(Resource {
                attributes: resource.to_vec(),
            }),
            scope_metrics: vec![ScopeMetrics {
                scope: Some(Scope {
                    name: "lib".into(),
                    version: "1.2".into(),
                    attributes: vec![kv("a.b", "c")],
                }),
                metrics,
                schema_url: "http://schema".into(),
            }],
        }],
    }
}

fn take(request: &Request, settings: &Settings) -> (Vec<TranslatedSample>, Translated) {
    let mut taken = Vec::new();
    let message = request.encode_to_vec();
    let all = translate(&message, settings, &Limits::default(), &mut |sample| {
        taken.push(sample);
    });
    (taken, all.expect("a message"))
}

/// Series as they are written here, without blanks between the labels.
fn name(labels: &model::LabelSet) -> String {
    labels.to_string().replace("\", ", "\",")
}

fn line(taken: &TranslatedSample) -> String {
    let Sample { at, start, value } = &taken.sample;
    let value = match value {
        Value::Float(value) if value.to_bits() == STALE_NAN_BITS => "stale".to_owned(),
        Value::Float(value) => value.to_string(),
        Value::Histogram(_) if value.is_stale() => "stale histogram".to_owned(),
        Value::Histogram(histogram) => format!("{histogram:?}"),
    };
    let start = start.map_or_else(String::new, |start| format!(" since {}", start.millis()));
    format!("{} {value} @{}{start}", name(&taken.labels), at.millis())
}

/// The samples as text, and no problem.
fn check(request: &Request, settings: &Settings, expected: &[&str]) {
    let (taken, all) = take(request, settings);
    assert_eq!(all.problems, [""; 0]);
    assert_eq!(taken.iter().map(line).collect::<Vec<_>>(), expected);
}

fn problem(request: &Request, settings: &Settings, expected: &str) {
    let (_, all) = take(request, settings);
    assert_eq!(all.problems, [expected]);
}

#[test]
fn a_gauge_with_its_resource() {
    let point = NumberPoint {
        attributes: vec![
            kv("http.method", "GET"),
            kv("empty", ""),
            kv("__name__", "x"),
        ],
        ..number(0.5)
    };
    let resource = [
        kv("service.name", "till"),
        kv("service.namespace", "shop"),
        kv("service.instance.id", "a:1"),
        kv("host.name", "h"),
    ];
    let metrics = vec![metric("queue.size", "By", gauge(vec![point]))];
    let all = request(&resource, metrics);
    check(
        &all,
        &Settings::default(),
        &[
            "queue_size_bytes{http_method=\"GET\",instance=\"a:1\",job=\"shop/till\"} 0.5 @1700000000123",
            "target_info{host_name=\"h\",instance=\"a:1\",job=\"shop/till\"} 1 @1700000000123",
        ],
    );
    let metadata = take(&all, &Settings::default()).1.metadata;
    let about = &metadata["queue_size_bytes"];
    assert_eq!(
        (
            about.kind.as_str(),
            about.help.as_str(),
            about.unit.as_str()
        ),
        ("gauge", "about queue.size", "bytes")
    );
    assert_eq!(metadata["target_info"].help, "Target metadata");
    let utf8 = Settings {
        strategy: Strategy::NoTranslation,
        promoted: Promoted::Only(["host.name".to_owned()].into()),
        keep_identifying: true,
        type_and_unit_labels: true,
        promote_scope: true,
        ..Settings::default()
    };
    check(
        &all,
        &utf8,
        &[
            "{\"queue.size\",__type__=\"gauge\",__unit__=\"bytes\",\"host.name\"=\"h\",\"http.method\"=\"GET\",\
             instance=\"a:1\",job=\"shop/till\",\"otel_scope_a.b\"=\"c\",otel_scope_name=\"lib\",\
             otel_scope_schema_url=\"http://schema\",otel_scope_version=\"1.2\"} 0.5 @1700000000123",
            "target_info{\"host.name\"=\"h\",instance=\"a:1\",job=\"shop/till\",\"service.instance.id\"=\"a:1\",\
             \"service.name\"=\"till\",\"service.namespace\"=\"shop\"} 1 @1700000000123",
        ],
    );
    let but = Settings {
        promoted: Promoted::AllBut(["host.name".to_owned(), "service.namespace".to_owned()].into()),
        ..Settings::default()
    };
    let (taken, _) = take(&all, &but);
    assert_eq!(
        name(&taken[0].labels),
        "queue_size_bytes{http_method=\"GET\",instance=\"a:1\",job=\"shop/till\",\
         service_instance_id=\"a:1\",service_name=\"till\"}"
    );
}

#[test]
fn who_is_not_identified_or_says_no_more_has_no_target_info() {
    let metrics = || vec![metric("x", "", gauge(vec![number(1.0)]))];
    let none = Settings::default();
    check(
        &request(&[kv("host", "h")], metrics()),
        &none,
        &["x 1 @1700000000123"],
    );
    check(
        &request(&[kv("service.name", "s")], metrics()),
        &none,
        &["x{job=\"s\"} 1 @1700000000123"],
    );
}

#[test]
fn target_info_is_there_all_the_time() {
    let points = [0, 400].map(|later| NumberPoint {
        time_unix_nano: T + later * SECOND,
        ..number(1.0)
    });
    let resource = [kv("service.name", "s"), kv("host", "h")];
    let all = request(&resource, vec![metric("x", "", gauge(points.to_vec()))]);
    let (taken, _) = take(&all, &Settings::default());
    let infos = taken
        .iter()
        .filter(|sample| sample.labels.name() == Some("target_info"));
    let times: Vec<i64> = infos
        .map(|sample| sample.sample.at.millis() - 1_700_000_000_123)
        .collect();
    assert_eq!(times, [0, 150_000, 300_000, 400_000]);
    let far = [0, T].map(|at| NumberPoint {
        time_unix_nano: at,
        ..number(1.0)
    });
    let all = request(&resource, vec![metric("x", "", gauge(far.to_vec()))]);
    let (taken, all) = take(&all, &Settings::default());
    assert_eq!(taken.len(), 2);
    assert!(
        all.problems[0].contains("too far apart"),
        "{:?}",
        all.problems
    );
}

#[test]
fn sums() {
    let point = NumberPoint {
        start_time_unix_nano: T - 60 * SECOND,
        value: Some(Number::Int(7)),
        ..Default::default()
    };
    let point = NumberPoint {
        time_unix_nano: T,
        ..point
    };
    let ended = NumberPoint {
        flags: NO_RECORDED_VALUE,
        ..point.clone()
    };
    let cumulative = Temporality::Cumulative;
    let metrics = vec![
        metric(
            "calls",
            "{call}",
            sum(vec![point.clone()], cumulative, true),
        ),
        metric("open", "", sum(vec![point.clone()], cumulative, false)),
        metric("gone", "", sum(vec![ended], cumulative, true)),
    ];
    let all = request(&[], metrics);
    check(
        &all,
        &Settings::default(),
        &[
            "calls_total 7 @1700000000123 since 1699999940123",
            "open 7 @1700000000123 since 1699999940123",
            "gone_total stale @1700000000123 since 1699999940123",
        ],
    );
    let metadata = take(&all, &Settings::default()).1.metadata;
    assert_eq!(metadata["calls_total"].kind.as_str(), "counter");
    assert_eq!(metadata["open"].kind.as_str(), "gauge");
    let delta = |temporality| {
        request(
            &[],
            vec![metric(
                "d.x",
                "",
                sum(vec![point.clone()], temporality, true),
            )],
        )
    };
    let refused = "invalid temporality and type combination for metric \"d.x\"";
    problem(&delta(Temporality::Delta), &Settings::default(), refused);
    problem(
        &delta(Temporality::Unspecified),
        &Settings::default(),
        refused,
    );
    let native = Settings {
        native_delta: true,
        ..Settings::default()
    };
    let taken = "d_x_total 7 @1700000000123 since 1699999940123";
    check(&delta(Temporality::Delta), &native, &[taken]);
    problem(&delta(Temporality::Unspecified), &native, refused);
    let (_, all) = take(&delta(Temporality::Delta), &native);
    assert_eq!(all.metadata["d_x_total"].kind.as_str(), "unknown");
}

fn histogram_point() -> HistogramPoint {
    HistogramPoint {
        time_unix_nano: T,
        count: 10,
        sum: Some(12.5),
        bucket_counts: vec![3, 0, 5, 2],
        explicit_bounds: vec![0.005, 1.0, 1e7],
        ..Default::default()
    }
}

fn histogram(point: HistogramPoint) -> Data {
    Data::Histogram(proto::Histogram {
        data_points: vec![point],
        aggregation_temporality: Temporality::Cumulative as i32,
    })
}

#[test]
fn classic_histograms() {
    let exemplar = |value: f64, later: u64| proto::Exemplar {
        time_unix_nano: T + later,
        value: Some(ExemplarValue::Double(value)),
        trace_id: vec![0xab; 16],
        span_id: vec![0; 8],
        filtered_attributes: vec![kv("user", "u")],
    };
    let point = HistogramPoint {
        attributes: vec![kv("le", "mine"), kv("a", "b")],
        // Not in the order of their buckets.
        exemplars: vec![exemplar(2e7, 0), exemplar(0.001, 0), exemplar(1.0, 0)],
        ..histogram_point()
    };
    let all = request(&[], vec![metric("size", "s", histogram(point.clone()))]);
    check(
        &all,
        &Settings::default(),
        &[
            "size_seconds_sum{a=\"b\",le=\"mine\"} 12.5 @1700000000123",
            "size_seconds_count{a=\"b\",le=\"mine\"} 10 @1700000000123",
            "size_seconds_bucket{a=\"b\",le=\"0.005\"} 3 @1700000000123",
            "size_seconds_bucket{a=\"b\",le=\"1\"} 3 @1700000000123",
            "size_seconds_bucket{a=\"b\",le=\"10000000\"} 8 @1700000000123",
            "size_seconds_bucket{a=\"b\",le=\"+Inf\"} 10 @1700000000123",
        ],
    );
    let (taken, found) = take(&all, &Settings::default());
    let exemplars = taken.iter().map(|sample| {
        let values = sample.exemplars.iter().flatten();
        values.map(|exemplar| exemplar.value).collect::<Vec<_>>()
    });
    let expected = [vec![], vec![], vec![0.001], vec![1.0], vec![], vec![2e7]];
    assert_eq!(exemplars.collect::<Vec<_>>(), expected);
    let first = taken[2].exemplars[0].as_ref().unwrap();
    let id = "ab".repeat(16);
    assert_eq!(
        name(&first.labels),
        format!("{{trace_id=\"{id}\",user=\"u\"}}")
    );
    assert_eq!(found.metadata["size_seconds"].kind.as_str(), "histogram");
    let ended = HistogramPoint {
        flags: NO_RECORDED_VALUE,
        sum: None,
        bucket_counts: vec![],
        explicit_bounds: vec![],
        ..histogram_point()
    };
    check(
        &request(&[], vec![metric("size", "", histogram(ended))]),
        &Settings::default(),
        &[
            "size_count stale @1700000000123",
            "size_bucket{le=\"+Inf\"} stale @1700000000123",
        ],
    );
}

#[test]
fn exemplars_keep_to_their_length_and_their_time() {
    let sent = |chars: usize, at: u64| proto::Exemplar {
        time_unix_nano: at,
        value: Some(ExemplarValue::Int(3)),
        trace_id: vec![1; 16],
        span_id: vec![2; 8],
        filtered_attributes: vec![kv("k", &"v".repeat(chars))],
    };
    let point = NumberPoint {
        // 8 + 32 and 7 + 16 characters of ids; 1 of the name: 64 are left.
        exemplars: vec![sent(64, T - 1_000_000), sent(65, 0), sent(1, T - 2_000_000)],
        ..number(1.0)
    };
    let data = sum(vec![point], Temporality::Cumulative, true);
    let (taken, _) = take(
        &request(&[], vec![metric("x", "", data)]),
        &Settings::default(),
    );
    let found: Vec<(i64, usize)> = taken[0]
        .exemplars
        .iter()
        .map(|exemplar| exemplar.as_ref().unwrap())
        .map(|exemplar| {
            (
                exemplar.at.millis() - 1_700_000_000_123,
                exemplar.labels.len(),
            )
        })
        .collect();
    assert_eq!(found, [(-2, 3), (-1, 3), (0, 2)]);
    let point = NumberPoint {
        exemplars: vec![proto::Exemplar::default()],
        ..number(1.0)
    };
    let data = sum(vec![point], Temporality::Cumulative, true);
    let request = request(&[], vec![metric("x", "", data)]);
    problem(
        &request,
        &Settings::default(),
        "unsupported exemplar value type: Empty",
    );
}

#[test]
fn histograms_with_custom_buckets() {
    let nhcb = Settings {
        convert_to_nhcb: true,
        ..Settings::default()
    };
    let made = |point: HistogramPoint| {
        let (taken, all) = take(
            &request(&[], vec![metric("h", "", histogram(point))]),
            &nhcb,
        );
        assert_eq!(all.problems, [""; 0]);
        assert_eq!((taken.len(), name(&taken[0].labels).as_str()), (1, "h"));
        match taken[0].sample.value.clone() {
            Value::Histogram(histogram) => histogram,
            Value::Float(value) => panic!("{value}"),
        }
    };
    let found = made(histogram_point());
    assert_eq!((found.schema, found.count, found.sum), (-53, 10.0, 12.5));
    assert_eq!(found.custom_values, [0.005, 1.0, 1e7]);
    let buckets: Vec<(i32, f64)> = found.positive.iter().collect();
    assert_eq!(buckets, [(0, 3.0), (2, 5.0), (3, 2.0)]);
    let found = made(HistogramPoint {
        bucket_counts: vec![],
        explicit_bounds: vec![],
        ..histogram_point()
    });
    assert_eq!(found.positive.iter().collect::<Vec<_>>(), [(0, 10.0)]);
    let found = made(HistogramPoint {
        flags: NO_RECORDED_VALUE,
        ..histogram_point()
    });
    assert_eq!(found.sum.to_bits(), STALE_NAN_BITS);
    let wrong = HistogramPoint {
        count: 11,
        ..histogram_point()
    };
    problem(
        &request(&[], vec![metric("h", "", histogram(wrong))]),
        &nhcb,
        "histogram h: 10 observations in the buckets, but the count is 11",
    );
}

fn exponential(point: ExponentialPoint, temporality: Temporality) -> Request {
    let data = Data::ExponentialHistogram(proto::ExponentialHistogram {
        data_points: vec![point],
        aggregation_temporality: temporality as i32,
    });
    request(&[], vec![metric("latency", "ms", data)])
}

#[test]
fn exponential_histograms() {
    let point = |scale: i32| ExponentialPoint {
        time_unix_nano: T,
        start_time_unix_nano: T - SECOND,
        count: 17,
        sum: Some(40.0),
        scale,
        zero_count: 2,
        positive: Some(ExponentialBuckets {
            offset: 1,
            bucket_counts: vec![4, 0, 3, 1],
        }),
        negative: Some(ExponentialBuckets {
            offset: -2,
            bucket_counts: vec![7],
        }),
        ..Default::default()
    };
    let made = |scale, temporality| {
        let native = Settings {
            native_delta: true,
            ..Settings::default()
        };
        let (taken, all) = take(&exponential(point(scale), temporality), &native);
        assert_eq!(all.problems, [""; 0]);
        assert_eq!(name(&taken[0].labels), "latency_milliseconds");
        assert_eq!(
            taken[0].sample.start.map(|start| start.millis()),
            Some(1_699_999_999_123)
        );
        match taken[0].sample.value.clone() {
            Value::Histogram(histogram) => histogram,
            Value::Float(value) => panic!("{value}"),
        }
    };
    let found = made(3, Temporality::Cumulative);
    assert_eq!((found.schema, found.count, found.sum), (3, 17.0, 40.0));
    assert_eq!((found.zero_count, found.zero_threshold), (2.0, 1e-128));
    assert_eq!(found.reset_hint, model::ResetHint::Unknown);
    let buckets: Vec<(i32, f64)> = found.positive.iter().collect();
    assert_eq!(buckets, [(2, 4.0), (4, 3.0), (5, 1.0)]);
    assert_eq!(found.negative.iter().collect::<Vec<_>>(), [(-1, 7.0)]);
    // Two finer than the finest: four become one. 1 to 3 are 0, 4 is 1; -2 is -1.
    let found = made(10, Temporality::Delta);
    assert_eq!(found.schema, 8);
    assert_eq!(
        found.positive.iter().collect::<Vec<_>>(),
        [(1, 7.0), (2, 1.0)]
    );
    assert_eq!(found.negative.iter().collect::<Vec<_>>(), [(0, 7.0)]);
    assert_eq!(found.reset_hint, model::ResetHint::Gauge);
    problem(
        &exponential(point(-5), Temporality::Cumulative),
        &Settings::default(),
        "histogram latency_milliseconds: cannot convert exponential to native histogram. Scale must be >= -4, was -5",
    );
    let ended = ExponentialPoint {
        flags: NO_RECORDED_VALUE,
        start_time_unix_nano: 0,
        ..point(0)
    };
    check(
        &exponential(ended, Temporality::Cumulative),
        &Settings::default(),
        &["latency_milliseconds stale histogram @1700000000123"],
    );
}

#[test]
fn summaries() {
    let quantile = |quantile, value| QuantileValue { quantile, value };
    let point = SummaryPoint {
        time_unix_nano: T,
        count: 4,
        sum: 10.0,
        quantile_values: vec![quantile(0.5, 2.0), quantile(1.0, f64::NAN)],
        ..Default::default()
    };
    let data = Data::Summary(Summary {
        data_points: vec![point],
    });
    let all = request(&[], vec![metric("wait", "s", data)]);
    check(
        &all,
        &Settings::default(),
        &[
            "wait_seconds_sum 10 @1700000000123",
            "wait_seconds_count 4 @1700000000123",
            "wait_seconds{quantile=\"0.5\"} 2 @1700000000123",
            "wait_seconds{quantile=\"1\"} NaN @1700000000123",
        ],
    );
}

#[test]
fn attributes_that_become_one_label_are_joined_in_order() {
    let point = NumberPoint {
        attributes: vec![kv("a_b", "2"), kv("a.b", "1"), kv("a-b", "")],
        ..number(1.0)
    };
    let all = request(&[], vec![metric("x", "", gauge(vec![point]))]);
    check(
        &all,
        &Settings::default(),
        &["x{a_b=\"1;2\"} 1 @1700000000123"],
    );
    let (_, found) = take(&all, &Settings::default());
    assert!(
        found.warnings[0].contains("joined with ';'"),
        "{:?}",
        found.warnings
    );
    let bad = NumberPoint {
        attributes: vec![kv("..", "x")],
        ..number(1.0)
    };
    problem(
        &request(&[], vec![metric("x", "", gauge(vec![bad]))]),
        &Settings::default(),
        "normalization for label name \"..\" resulted in invalid name \"__\"",
    );
}

#[test]
fn metrics_without_points_are_left_out() {
    let (taken, all) = take(
        &request(&[], vec![metric("x", "", gauge(vec![]))]),
        &Settings::default(),
    );
    assert_eq!(taken.len(), 0);
    assert_eq!(all.warnings, ["empty data points. x is dropped"]);
    let nothing = proto::Metric {
        data: None,
        ..metric("x", "", gauge(vec![]))
    };
    problem(
        &request(&[], vec![nothing]),
        &Settings::default(),
        "could not get aggregation temporality for x as it has unsupported metric type Empty",
    );
}

#[test]
fn fields_in_any_order() {
    let all = request(
        &[kv("service.name", "s")],
        vec![metric("x", "", gauge(vec![number(1.0)]))],
    );
    let one = &all.resource_metrics[0];
    let resource = one.resource.clone().unwrap().encode_to_vec();
    let scope = one.scope_metrics[0].encode_to_vec();
    let mut backward = Vec::new();
    for (key, part) in [(0x12, scope), (0x0a, resource)] {
        backward.push(key);
        prost::encoding::encode_varint(part.len() as u64, &mut backward);
        backward.extend(part);
    }
    let mut message = vec![0x0a];
    prost::encoding::encode_varint(backward.len() as u64, &mut message);
    message.extend(backward);
    let mut lines = Vec::new();
    translate(
        &message,
        &Settings::default(),
        &Limits::default(),
        &mut |sample| {
            lines.push(line(&sample));
        },
    )
    .unwrap();
    assert_eq!(lines, ["x{job=\"s\"} 1 @1700000000123"]);
}

#[test]
fn what_a_message_stands_for_is_bounded() {
    let small = Limits {
        decompressed_bytes_max: 1000,
        ..Limits::default()
    };
    let all = request(
        &[kv("service.name", &"s".repeat(900))],
        vec![metric("x", "", gauge(vec![number(1.0); 10]))],
    );
    let mut count = 0;
    let found = translate(
        &all.encode_to_vec(),
        &Settings::default(),
        &small,
        &mut |_| count += 1,
    );
    assert_eq!(found.unwrap_err(), DecodeError::TooMuchText { limit: 4000 });
    assert_eq!(count, 3);
    // Each of fifty thousand buckets would have the name again: 50 GB.
    let buckets = HistogramPoint {
        bucket_counts: vec![0; 50_000],
        explicit_bounds: (0..50_000).map(f64::from).collect(),
        ..histogram_point()
    };
    let long = vec![metric(&"n".repeat(1 << 20), "", histogram(buckets))];
    let long = request(&[], long).encode_to_vec();
    let mut count = 0;
    let found = translate(&long, &Settings::default(), &Limits::default(), &mut |_| {
        count += 1
    });
    assert_eq!(
        found.unwrap_err(),
        DecodeError::TooMuchText { limit: 128 << 20 }
    );
    assert!(count < 128, "{count}");
    let long = request(&[kv("x", &"s".repeat(2 << 20))], vec![]).encode_to_vec();
    let found = translate(&long, &Settings::default(), &Limits::default(), &mut |_| ());
    assert!(found.unwrap_err().to_string().contains("at most 1 MiB"));
    for bytes in [&b"\x08\x01"[..], b"\x0a\x05abc", b"abc"] {
        assert!(translate(bytes, &Settings::default(), &small, &mut |_| ()).is_err());
    }
}

#[test]
fn json_says_the_same() {
    let text = r#"{"resourceMetrics":[{"resource":{"attributes":[
        {"key":"service.name","value":{"stringValue":"s"}},{"key":"n","value":{"intValue":"5"}},
        {"key":"l","value":{"arrayValue":{"values":[{"boolValue":true},{"doubleValue":0.5}]}}},
        {"key":"b","value":{"bytesValue":"AQI="}},{"key":"m","value":{"kvlistValue":{"values":[{"key":"k"}]}}}]},
      "scopeMetrics":[{"scope":{"name":"lib"},"unknown":{},"metrics":[
        {"name":"c","unit":"By","sum":{"isMonotonic":true,"aggregationTemporality":2,"dataPoints":[
          {"asInt":"9007199254740993","timeUnixNano":"1700000000123456789","startTimeUnixNano":1600000000000000000,
           "exemplars":[{"asDouble":1,"timeUnixNano":"1700000000000000000","traceId":"0102030405060708090A0b0c0d0e0f10","spanId":""}]}]}},
        {"name":"g","gauge":{"dataPoints":[{"asDouble":"NaN","timeUnixNano":"1700000000000000000","flags":0}]}},
        {"name":"h","histogram":{"aggregationTemporality":"AGGREGATION_TEMPORALITY_CUMULATIVE","dataPoints":[
          {"count":"3","sum":1.5,"bucketCounts":["1","2"],"explicitBounds":[0.5],"timeUnixNano":"1700000000000000000"}]}},
        {"name":"e","exponentialHistogram":{"aggregationTemporality":2,"dataPoints":[
          {"count":"2","sum":1,"scale":-1,"zeroCount":"1","positive":{"offset":-3,"bucketCounts":["1"]},"timeUnixNano":"1700000000000000000"}]}},
        {"name":"s","summary":{"dataPoints":[
          {"count":1,"sum":2,"quantileValues":[{"quantile":0.9,"value":2}],"timeUnixNano":"1700000000000000000"}]}}]}]}]}"#;
    let message = json::to_message(text.as_bytes()).unwrap();
    let mut lines = Vec::new();
    let mut exemplars = Vec::new();
    let all = translate(
        &message,
        &Settings::default(),
        &Limits::default(),
        &mut |sample| {
            if !matches!(sample.sample.value, Value::Histogram(_)) {
                lines.push(line(&sample));
            }
            exemplars.extend(sample.exemplars);
        },
    )
    .unwrap();
    assert_eq!(all.problems, [""; 0]);
    assert_eq!(
        lines,
        [
            "c_bytes_total{job=\"s\"} 9007199254740992 @1700000000123 since 1600000000000",
            "g{job=\"s\"} NaN @1700000000000",
            "h_sum{job=\"s\"} 1.5 @1700000000000",
            "h_count{job=\"s\"} 3 @1700000000000",
            "h_bucket{job=\"s\",le=\"0.5\"} 1 @1700000000000",
            "h_bucket{job=\"s\",le=\"+Inf\"} 3 @1700000000000",
            "s_sum{job=\"s\"} 2 @1700000000000",
            "s_count{job=\"s\"} 1 @1700000000000",
            "s{job=\"s\",quantile=\"0.9\"} 2 @1700000000000",
            "target_info{b=\"AQI=\",job=\"s\",l=\"[true,0.5]\",m=\"{\\\"k\\\":null}\",n=\"5\"} 1 @1700000000000",
            "target_info{b=\"AQI=\",job=\"s\",l=\"[true,0.5]\",m=\"{\\\"k\\\":null}\",n=\"5\"} 1 @1700000000123",
        ]
    );
    let id = exemplars[0].as_ref().unwrap().labels.get("trace_id");
    assert_eq!(id, Some("0102030405060708090a0b0c0d0e0f10"));
}

#[test]
fn json_that_is_none_is_refused() {
    let check = |text: &str, why: &str| {
        let error = json::to_message(text.as_bytes()).unwrap_err().to_string();
        assert!(error.contains(why), "{error}");
    };
    check("{", "bad OTLP JSON: EOF");
    check("[1]", "bad OTLP JSON");
    check(r#"{"resourceMetrics":5}"#, "invalid type");
    let point = |point: &str| {
        format!(
            r#"{{"resourceMetrics":[{{"scopeMetrics":[{{"metrics":[{{"gauge":{{"dataPoints":[{point}]}}}}]}}]}}]}}"#
        )
    };
    check(
        &point(r#"{"timeUnixNano":"x"}"#),
        "\"x\" is no whole number",
    );
    check(&point(r#"{"timeUnixNano":"-1"}"#), "out of range");
    check(
        &point(r#"{"exemplars":[{"traceId":"0g"}]}"#),
        "no id in hexadecimal",
    );
    check(&"[".repeat(600_000), "more than 500000");
    assert!(json::to_message(b"{}").unwrap().is_empty());
}

proptest::proptest! {
    #[test]
    fn random_bytes_do_not_panic(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..300)) {
        let _ = translate(&bytes, &Settings::default(), &Limits::default(), &mut |_| ());
        let _ = json::to_message(&bytes);
    }
}
