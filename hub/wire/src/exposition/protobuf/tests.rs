use model::{Buckets, MetricType, Span, Value};
use proptest::prelude::*;
use prost::Message;

use super::*;

/// A family as a target writes it.
#[derive(Clone, PartialEq, Message)]
struct MetricFamily {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    help: String,
    #[prost(int32, tag = "3")]
    kind: i32,
    #[prost(message, repeated, tag = "4")]
    metric: Vec<proto::Metric>,
    #[prost(string, tag = "5")]
    unit: String,
}

fn family(name: &str, kind: i32, metric: proto::Metric) -> Vec<u8> {
    MetricFamily {
        name: name.into(),
        help: "Some help.".into(),
        kind,
        metric: vec![metric],
        unit: String::new(),
    }
    .encode_length_delimited_to_vec()
}

fn label(name: &str, value: &str) -> proto::LabelPair {
    proto::LabelPair {
        name: name.into(),
        value: value.into(),
    }
}

fn exemplar(id: &str, value: f64, seconds: Option<i64>) -> Option<proto::Exemplar> {
    Some(proto::Exemplar {
        label: vec![label("trace_id", id)],
        value,
        timestamp: seconds.map(|seconds| proto::Time {
            seconds,
            nanos: 500_000_000,
        }),
    })
}

/// All points of a page, one a line.
fn read(page: &[u8], choice: HistogramChoice) -> Result<Vec<String>, String> {
    let mut families = Families::new(page);
    let (mut lines, mut points) = (Vec::new(), Vec::new());
    while let Some(family) = families.next_family().map_err(|e| e.to_string())? {
        for metric in family.metrics() {
            let metric = metric.map_err(|e| e.to_string())?;
            metric
                .points_into(&family, choice, &mut points)
                .map_err(|e| e.to_string())?;
            for point in &points {
                let mut line = format!("{}{}", family.name, point.suffix);
                for (name, value) in metric.labels() {
                    line += &format!(" {name}={value}");
                }
                if let Some((name, value)) = &point.bound {
                    line += &format!(" {name}={value}");
                }
                match &point.value {
                    Value::Float(value) => line += &format!(" {value}"),
                    Value::Histogram(h) => line += &format!(" native({}, {})", h.count, h.schema),
                }
                if let Some(at) = point.timestamp {
                    line += &format!(" @{}", at.millis());
                }
                if let Some(start) = point.start {
                    line += &format!(" since {}", start.millis());
                }
                for e in &point.exemplars {
                    let at = e.timestamp.map(|at| at.millis());
                    line += &format!(" # {} {} {at:?}", e.labels, e.value);
                }
                lines.push(line);
            }
        }
    }
    Ok(lines)
}

fn native_and_classic() -> proto::Histogram {
    proto::Histogram {
        sample_count: 6,
        sample_sum: 12.5,
        schema: 1,
        zero_threshold: 0.001,
        zero_count: 1,
        positive_span: vec![proto::Span {
            offset: 0,
            length: 3,
        }],
        positive_delta: vec![2, -2, 3],
        created_timestamp: Some(proto::Time {
            seconds: 7,
            nanos: 0,
        }),
        bucket: vec![
            proto::Bucket {
                cumulative_count: 3,
                upper_bound: 1.0,
                exemplar: exemplar("timed", 0.5, Some(3)),
                ..Default::default()
            },
            proto::Bucket {
                cumulative_count: 5,
                upper_bound: 2.0,
                exemplar: exemplar("timeless", 1.5, None),
                ..Default::default()
            },
        ],
        ..Default::default()
    }
}

fn histogram_page() -> Vec<u8> {
    family(
        "h",
        4,
        proto::Metric {
            label: vec![label("a", "b")],
            histogram: Some(Box::new(native_and_classic())),
            ..Default::default()
        },
    )
}

const NATIVE: HistogramChoice = HistogramChoice {
    native: true,
    classic_too: false,
};

#[test]
fn counters_gauges_and_untyped() {
    let counter = proto::Metric {
        label: vec![label("x", "1")],
        counter: Some(proto::Counter {
            value: 3.0,
            exemplar: exemplar("t", 1.0, None),
            created_timestamp: Some(proto::Time {
                seconds: 2,
                nanos: 1_000_000,
            }),
        }),
        timestamp_ms: 99,
        ..Default::default()
    };
    let number = |value| Some(proto::Number { value });
    let gauge = proto::Metric {
        gauge: number(f64::from_bits(model::STALE_NAN_BITS)),
        ..Default::default()
    };
    let untyped = proto::Metric {
        untyped: number(4.5),
        ..Default::default()
    };
    let empty = MetricFamily {
        name: "nothing".into(),
        ..Default::default()
    };
    let page = [
        family("c_total", 0, counter),
        empty.encode_length_delimited_to_vec(),
        family("g", 1, gauge),
        family("u", 3, untyped),
    ]
    .concat();
    assert_eq!(
        read(&page, NATIVE).unwrap(),
        [
            "c_total x=1 3 @99 since 2001 # {trace_id=\"t\"} 1 None",
            "g NaN",
            "u 4.5"
        ]
    );
    let mut families = Families::new(&page);
    let first = families.next_family().unwrap().unwrap();
    assert_eq!(
        (first.help, first.kind),
        ("Some help.", MetricType::Counter)
    );
}

#[test]
fn summaries() {
    let summary = proto::Metric {
        summary: Some(proto::Summary {
            sample_count: 2,
            sample_sum: 3.0,
            quantile: vec![proto::Quantile {
                quantile: 1.0,
                value: 2.5,
            }],
            created_timestamp: None,
        }),
        ..Default::default()
    };
    assert_eq!(
        read(&family("s", 2, summary), NATIVE).unwrap(),
        ["s_count 2", "s_sum 3", "s quantile=1.0 2.5"]
    );
}

#[test]
fn histograms_in_the_forms_that_are_asked_for() {
    let classic = [
        "h_count a=b 6 since 7000",
        "h_sum a=b 12.5 since 7000",
        "h_bucket a=b le=1.0 3 since 7000 # {trace_id=\"timed\"} 0.5 Some(3500)",
        "h_bucket a=b le=2.0 5 since 7000 # {trace_id=\"timeless\"} 1.5 None",
        "h_bucket a=b le=+Inf 6 since 7000",
    ];
    let native = "h a=b native(6, 1) since 7000 # {trace_id=\"timed\"} 0.5 Some(3500)";
    let page = histogram_page();
    assert_eq!(read(&page, NATIVE).unwrap(), [native]);
    assert_eq!(read(&page, HistogramChoice::default()).unwrap(), classic);
    let both = HistogramChoice {
        native: true,
        classic_too: true,
    };
    assert_eq!(
        read(&page, both).unwrap(),
        [&[native][..], &classic].concat()
    );
}

#[test]
fn native_histograms_are_compact_and_checked() {
    let point = |histogram: proto::Histogram, kind: i32| {
        let metric = proto::Metric {
            histogram: Some(Box::new(histogram)),
            ..Default::default()
        };
        let page = family("h", kind, metric);
        let family = Families::new(&page).next_family().unwrap().unwrap();
        let mut points = Vec::new();
        let metric = family.metrics().next().unwrap().unwrap();
        metric
            .points_into(&family, NATIVE, &mut points)
            .map(|()| points.remove(0).value)
    };
    let Ok(Value::Histogram(whole)) = point(native_and_classic(), 4) else {
        panic!("no native histogram");
    };
    assert_eq!(
        whole.positive,
        Buckets {
            spans: vec![
                Span {
                    offset: 0,
                    length: 1
                },
                Span {
                    offset: 1,
                    length: 1
                }
            ],
            counts: vec![2.0, 3.0]
        }
    );
    let float = proto::Histogram {
        sample_count_float: 2.5,
        zero_count_float: 0.5,
        zero_threshold: 1e-9,
        negative_span: vec![proto::Span {
            offset: 1,
            length: 1,
        }],
        negative_count: vec![2.0],
        ..Default::default()
    };
    let Ok(Value::Histogram(float)) = point(float, 5) else {
        panic!("no native histogram");
    };
    assert_eq!(
        (
            float.integer,
            float.reset_hint,
            float.negative.counts.as_slice()
        ),
        (false, model::ResetHint::Gauge, &[2.0][..])
    );
    let mut wrong = native_and_classic();
    wrong.sample_count = 7;
    let error = point(wrong, 4).unwrap_err().to_string();
    assert!(
        error.contains("native histogram \"h\"") && error.contains("count"),
        "{error}"
    );
}

#[test]
fn what_is_no_page_is_refused_with_its_place() {
    let check = |page: &[u8], said: &str| {
        let error = read(page, NATIVE).unwrap_err();
        assert!(error.contains(said), "{error}");
    };
    check(b"\xff", "at byte 0: expected the length");
    check(b"\x09ab", "of 9 bytes, but only 2 follow");
    check(b"# HELP a b\n", "of 35 bytes, but only 10 follow");
    let page = histogram_page();
    check(
        &[&page[..], &[5, 1]].concat(),
        &format!("at byte {}", page.len()),
    );
    let metric = proto::Metric::default();
    check(&family("", 1, metric.clone()), "without a name");
    check(&family("x", 9, metric.clone()), "unknown type 9");
    let unit = MetricFamily {
        name: "x_seconds".into(),
        unit: "bytes".into(),
        metric: vec![metric],
        ..Default::default()
    };
    check(
        &unit.encode_length_delimited_to_vec(),
        "unit \"bytes\" is not a suffix",
    );
    let long = proto::Metric {
        label: vec![label("x", &"y".repeat(METRIC_BYTES_MAX))],
        ..Default::default()
    };
    check(&family("x", 1, long), "at most 1048576 are read");
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
        let _ = read(&bytes, NATIVE);
    }

    #[test]
    fn no_change_of_a_page_makes_it_panic(at in 0..200_usize, byte: u8) {
        let mut page = histogram_page();
        let at = at % page.len();
        page[at] = byte;
        let _ = read(&page, HistogramChoice { native: true, classic_too: true });
    }
}
