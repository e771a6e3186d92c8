//! Native histograms, exemplars and start timestamps, from pages of protobuf and of text.

use model::{LabelSet, Sample, Value};
use prost::Message;
use wire::exposition::{Format, PageFormat};

use super::tests::Target;
use crate::scrape::Scrape;

#[derive(Clone, PartialEq, Message)]
struct Family {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(int32, tag = "3")]
    kind: i32,
    #[prost(message, repeated, tag = "4")]
    metric: Vec<Metric>,
}

#[derive(Clone, PartialEq, Message)]
struct Metric {
    #[prost(message, repeated, tag = "1")]
    label: Vec<Label>,
    #[prost(message, optional, tag = "3")]
    counter: Option<Counter>,
    #[prost(message, optional, tag = "7")]
    histogram: Option<Histogram>,
}

#[derive(Clone, PartialEq, Message)]
struct Label {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    value: String,
}

#[derive(Clone, PartialEq, Message)]
struct Counter {
    #[prost(double, tag = "1")]
    value: f64,
    #[prost(message, optional, tag = "2")]
    exemplar: Option<Exemplar>,
    #[prost(message, optional, tag = "3")]
    created: Option<Time>,
}

#[derive(Clone, PartialEq, Message)]
struct Exemplar {
    #[prost(message, repeated, tag = "1")]
    label: Vec<Label>,
    #[prost(double, tag = "2")]
    value: f64,
    #[prost(message, optional, tag = "3")]
    timestamp: Option<Time>,
}

#[derive(Clone, Copy, PartialEq, Message)]
struct Time {
    #[prost(int64, tag = "1")]
    seconds: i64,
}

#[derive(Clone, PartialEq, Message)]
struct Histogram {
    #[prost(uint64, tag = "1")]
    count: u64,
    #[prost(double, tag = "2")]
    sum: f64,
    #[prost(message, repeated, tag = "3")]
    bucket: Vec<Bucket>,
    #[prost(double, tag = "6")]
    zero_threshold: f64,
    #[prost(uint64, tag = "7")]
    zero_count: u64,
}

#[derive(Clone, PartialEq, Message)]
struct Bucket {
    #[prost(uint64, tag = "1")]
    cumulative: u64,
    #[prost(double, tag = "2")]
    bound: f64,
}

fn label(name: &str, value: &str) -> Label {
    Label {
        name: name.into(),
        value: value.into(),
    }
}

/// A counter with an exemplar, and a histogram that is classic and native.
fn page(trace: &str, value: f64) -> Vec<u8> {
    let counter = Family {
        name: "c_total".into(),
        kind: 0,
        metric: vec![Metric {
            label: vec![label("x", "1")],
            counter: Some(Counter {
                value,
                exemplar: Some(Exemplar {
                    label: vec![label("trace_id", trace)],
                    value: 2.5,
                    timestamp: Some(Time { seconds: 3 }),
                }),
                created: Some(Time { seconds: 1 }),
            }),
            ..Metric::default()
        }],
    };
    let bucket = |bound, cumulative| Bucket { bound, cumulative };
    let histogram = Family {
        name: "h".into(),
        kind: 4,
        metric: vec![Metric {
            histogram: Some(Histogram {
                count: 4,
                sum: 0.5,
                bucket: vec![bucket(0.5, 1), bucket(2.0, 3)],
                zero_threshold: 1e-9,
                zero_count: 4,
            }),
            ..Metric::default()
        }],
    };
    [counter, histogram]
        .iter()
        .flat_map(Message::encode_length_delimited_to_vec)
        .collect()
}

/// Series and exemplars of the page, without `up` and the like and without the label `job`.
fn lines(scrape: &Scrape) -> Vec<String> {
    let plain = |labels: &LabelSet| labels.builder().del("job").build();
    let own = scrape.series.len() - 5;
    assert_eq!(scrape.series[own].1.value, Value::Float(1.0), "up");
    let value = |sample: &Sample| match &sample.value {
        Value::Float(value) if model::is_stale(*value) => "stale".to_owned(),
        Value::Float(value) => value.to_string(),
        Value::Histogram(h) => format!(
            "count {} sum {} zero {} buckets {:?} {:?}",
            h.count, h.sum, h.zero_count, h.positive.counts, h.custom_values
        ),
    };
    let mut lines: Vec<String> = scrape.series[..own]
        .iter()
        .map(|(series, sample)| {
            let labels = series.labels.as_ref().expect("completed");
            let start = sample.start.map(|start| start.millis());
            format!("{} {} since {start:?}", plain(labels), value(sample))
        })
        .collect();
    lines.extend(scrape.exemplars.iter().map(|(labels, exemplar)| {
        let at = exemplar.at.millis();
        format!(
            "{} # {} {} @{at}",
            plain(labels),
            exemplar.labels,
            exemplar.value
        )
    }));
    lines
}

const CLASSIC: [&str; 5] = [
    "h_count 4 since None",
    "h_sum 0.5 since None",
    "h_bucket{le=\"0.5\"} 1 since None",
    "h_bucket{le=\"2.0\"} 3 since None",
    "h_bucket{le=\"+Inf\"} 4 since None",
];
const NATIVE: &str = "h count 4 sum 0.5 zero 4 buckets [] [] since None";
const CONVERTED: &str = "h count 4 sum 0.5 zero 0 buckets [1.0, 2.0, 1.0] [0.5, 2.0] since None";

#[test]
fn pages_of_protobuf() {
    let check = |settings: &str, expected: &[&str]| {
        let mut target = Target::new(settings);
        for value in [3.0, 4.0] {
            let scrape = target.scrape_as(10, PageFormat::Protobuf, &page("a", value));
            let mut found = lines(&scrape);
            assert_eq!(
                found.remove(0),
                format!("c_total{{x=\"1\"}} {value} since Some(1000)")
            );
            if value == 3.0 {
                let exemplar = "c_total{x=\"1\"} # {trace_id=\"a\"} 2.5 @3000";
                assert_eq!(found.pop().as_deref(), Some(exemplar), "handed over once");
                assert_eq!(scrape.metadata.len(), 2);
            }
            assert_eq!(found, expected, "{settings}");
        }
        let other = target.scrape_as(20, PageFormat::Protobuf, &page("b", 5.0));
        assert_eq!(other.exemplars.len(), 1, "another exemplar");
    };
    check("", &CLASSIC);
    check("  scrape_native_histograms: true\n", &[NATIVE]);
    let both = [&[NATIVE][..], &CLASSIC].concat();
    check(
        "  scrape_native_histograms: true\n  always_scrape_classic_histograms: true\n",
        &both,
    );
    check("  convert_classic_histograms_to_nhcb: true\n", &[CONVERTED]);
    check(
        "  scrape_native_histograms: true\n  convert_classic_histograms_to_nhcb: true\n",
        &[NATIVE],
    );
}

#[test]
fn what_is_known_of_one_format_is_not_taken_for_another() {
    let mut target = Target::new("");
    let up = |scrape: Scrape| scrape.series[scrape.series.len() - 5].1.value.clone();
    let classic = b"a{x = \"y\"} 1\n";
    let text = |format| PageFormat::Text(format);
    for _ in 0..2 {
        let scrape = target.scrape_as(10, text(Format::Classic), classic);
        assert_eq!(up(scrape), Value::Float(1.0));
    }
    // OpenMetrics allows no blanks there.
    let page = [&classic[..], b"# EOF\n"].concat();
    let scrape = target.scrape_as(20, text(Format::OpenMetrics), &page);
    assert_eq!(up(scrape), Value::Float(0.0));
}

#[test]
fn a_page_that_is_no_protobuf_fails() {
    let mut target = Target::new("");
    let scrape = target.scrape_as(10, PageFormat::Protobuf, b"# HELP a b\n");
    assert_eq!(scrape.series[0].1.value, Value::Float(0.0), "up");
}

#[test]
fn pages_of_text_with_exemplars() {
    let text = |number: u32| {
        format!(
            "# TYPE a counter\na_total {number} # {{trace_id=\"x\"}} 0.5\n\
             # TYPE h histogram\n\
             h_bucket{{le=\"0.5\"}} 1 # {{trace_id=\"y\"}} 0.4 3.5\nh_bucket{{le=\"2\"}} 3\nh_bucket{{le=\"+Inf\"}} 4\n\
             h_count 4\nh_sum 0.5\na_created 1.0\n# EOF\n"
        )
    };
    let format = PageFormat::Text(Format::OpenMetrics);
    let mut target = Target::new("");
    let first = lines(&target.scrape_as(10, format, text(1).as_bytes()));
    assert_eq!(
        first[7..],
        [
            "a_total # {trace_id=\"x\"} 0.5 @10000",
            "h_bucket{le=\"0.5\"} # {trace_id=\"y\"} 0.4 @3500"
        ]
    );
    let second = lines(&target.scrape_as(20, format, text(2).as_bytes()));
    assert_eq!(
        (second[0].as_str(), second.len()),
        ("a_total 2 since None", 7)
    );
    let long = text(3).replace("\"x\"", &format!("\"{}\"", "x".repeat(200)));
    assert_eq!(
        lines(&target.scrape_as(30, format, long.as_bytes())).len(),
        7,
        "too long"
    );

    let mut target = Target::new("  convert_classic_histograms_to_nhcb: true\n");
    for at in [10, 20] {
        let found = lines(&target.scrape_as(at, format, text(1).as_bytes()));
        assert_eq!(
            found[..3],
            ["a_total 1 since None", "a_created 1 since None", CONVERTED]
        );
    }
    let gone = lines(&target.scrape_as(30, format, b"# EOF\n"));
    assert_eq!(gone.len(), 3, "all stale: {gone:?}");
    let both =
        "  convert_classic_histograms_to_nhcb: true\n  always_scrape_classic_histograms: true\n";
    let mut target = Target::new(both);
    for at in [10, 20] {
        let found = lines(&target.scrape_as(at, format, text(1).as_bytes()));
        assert_eq!(
            found.iter().filter(|line| line.starts_with("h_")).count(),
            6 - at as usize / 20
        );
    }
}

#[test]
fn a_histogram_with_too_many_buckets_fails_the_scrape() {
    let settings = |limit: u32| {
        format!(
            "  convert_classic_histograms_to_nhcb: true\n  native_histogram_bucket_limit: {limit}\n"
        )
    };
    let mut target = Target::new(&settings(3));
    let scrape = target.scrape_as(10, PageFormat::Protobuf, &page("a", 1.0));
    assert!(lines(&scrape).contains(&CONVERTED.to_owned()));
    let mut target = Target::new(&settings(2));
    let scrape = target.scrape_as(10, PageFormat::Protobuf, &page("a", 1.0));
    assert_eq!(scrape.series[0].1.value, Value::Float(0.0), "up");
    assert_eq!(scrape.series.len(), 5, "nothing else");
}
