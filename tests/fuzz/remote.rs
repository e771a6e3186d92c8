//! Remote write and remote read.

use std::sync::Arc;

use model::{Buckets, Histogram, LabelSet, Span, Timestamp, Value};
use wire::{
    remote_read,
    remote_write::{
        self, Limits, Part, SeriesView, Walk, proto,
        v2::{self, SeriesViewV2, WalkV2},
    },
};

pub(crate) fn remote_write_body(body: &[u8]) {
    let mut message = Vec::new();
    let Ok(length) = remote_write::decompress_into(body, &Limits::default(), &mut message) else {
        return;
    };
    walk(&message[..length], |_| {});
}

/// Whether the message was walked to its end.
pub(crate) fn walk(message: &[u8], mut each: impl FnMut(&SeriesView<'_>)) -> bool {
    let (mut walk, mut view) = (Walk::new(message), SeriesView::new());
    loop {
        match walk.next_part(&mut view) {
            Ok(Some(Part::Series)) => {
                let _ = view.labels();
                each(&view);
            }
            Ok(Some(Part::Metadata(_))) => {}
            Ok(None) => return true,
            Err(_) => return false,
        }
    }
}

/// What the walk takes whole, prost takes as well, and both see the same.
pub(crate) fn remote_write_message(message: &[u8]) {
    let mut walked = Vec::new();
    let mut readable = true;
    readable &= walk(message, |view| {
        let mut series = proto::TimeSeries::default();
        match view.raw_labels() {
            Ok(labels) => {
                let label = |(name, value): &(&str, &str)| proto::Label {
                    name: (*name).to_owned(),
                    value: (*value).to_owned(),
                };
                series.labels = labels.iter().map(label).collect();
            }
            Err(_) => readable = false,
        }
        let sample = |&(timestamp, value): &(i64, f64)| proto::Sample { value, timestamp };
        series.samples = view.samples.iter().map(sample).collect();
        readable &=
            view.histograms().all(|each| each.is_ok()) && view.exemplars().all(|each| each.is_ok());
        series.histograms = view.histograms().flatten().collect();
        series.exemplars = view.exemplars().flatten().collect();
        assert!(view.checked_exemplars().flatten().all(|e| e.is_short()));
        walked.push(series);
    });
    let decoded = remote_write::decode_message(message, &Limits::default());
    if let (true, Ok(decoded)) = (readable, decoded) {
        // As bytes, because NaN is not itself.
        let bytes = |timeseries| {
            remote_write::encode_message(&proto::WriteRequest {
                timeseries,
                metadata: Vec::new(),
            })
        };
        assert!(
            bytes(walked) == bytes(decoded.timeseries),
            "walk and prost read the same message differently"
        );
    }
}

/// What the walk takes, `prost` takes, and both find the same references and samples.
pub(crate) fn remote_write_v2(message: &[u8]) {
    let limits = Limits {
        decompressed_bytes_max: message.len(),
        ..Limits::default()
    };
    let Ok(mut walk) = WalkV2::new(message, &limits) else {
        return;
    };
    let symbols = walk.symbols().to_vec();
    let (mut view, mut walked, mut readable) = (SeriesViewV2::new(), Vec::new(), true);
    loop {
        match walk.next_series(&mut view) {
            Ok(true) => {}
            Ok(false) => break,
            Err(_) => return,
        }
        let name = || String::from("fuzzed");
        if let Ok(labels) = view.labels(&symbols) {
            let _ = view.metadata(labels.name().unwrap_or_default(), &symbols);
        }
        readable &= view.histograms(&name).all(|each| each.is_ok());
        readable &= view.exemplars(&symbols).all(|each| each.is_ok());
        assert!(view.exemplars(&symbols).flatten().all(|e| e.is_short()));
        let again = SeriesViewV2::again(message, view.place(), &symbols).expect("read once");
        assert_eq!(again.label_bytes(), view.label_bytes());
        walked.push(view.samples.clone());
    }
    if let (true, Ok(decoded)) = (readable, v2::decode_message(message)) {
        let bits = |samples: &[v2::proto::Sample]| -> Vec<_> {
            let bits = |s: &v2::proto::Sample| (s.value.to_bits(), s.timestamp, s.start_timestamp);
            samples.iter().map(bits).collect()
        };
        let decoded = decoded
            .timeseries
            .iter()
            .map(|series| bits(&series.samples));
        assert!(
            walked.iter().map(|samples| bits(samples)).eq(decoded),
            "walk and prost read the same message differently"
        );
    }
}

/// A series: labels that have values, floats by their bits, and how many native histograms.
type Said = (Vec<(String, String)>, Vec<(i64, u64)>, usize);

/// What a message of 1.0 says, the message of 2.0 that is made of it says as well.
pub(crate) fn first_to_second(message: &[u8]) {
    let Some(second) = edge_scraper::probe::second_version(message) else {
        return;
    };
    let owned = |pairs: Vec<(&str, &str)>| {
        let there = pairs.into_iter().filter(|(_, value)| !value.is_empty());
        there
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect::<Vec<_>>()
    };
    let mut expected: Vec<Said> = Vec::new();
    let whole = walk(message, |view| {
        if view.samples.is_empty() && view.histogram_count() == 0 {
            return;
        }
        let labels = owned(view.raw_labels().expect("it was read"));
        let floats = view
            .samples
            .iter()
            .map(|(at, value)| (*at, value.to_bits()));
        let floats: Vec<_> = floats.collect();
        if !floats.is_empty() {
            expected.push((labels.clone(), floats, 0));
        }
        if view.histogram_count() > 0 {
            expected.push((labels, Vec::new(), view.histogram_count()));
        }
    });
    assert!(whole, "a message is made of one that cannot be read");
    let mut walk = WalkV2::new(&second, &Limits::default()).expect("our own");
    let symbols = walk.symbols().to_vec();
    let (mut view, mut found) = (SeriesViewV2::new(), Vec::<Said>::new());
    while walk.next_series(&mut view).expect("our own") {
        let labels = owned(view.raw_labels(&symbols).expect("our own"));
        let floats = view
            .samples
            .iter()
            .map(|s| (s.timestamp, s.value.to_bits()));
        found.push((labels, floats.collect(), view.histogram_count()));
    }
    assert!(found == expected, "{found:?} is made of {expected:?}");
    assert_eq!(symbols.first(), Some(&""));
    let unique: std::collections::BTreeSet<&str> = symbols.iter().copied().collect();
    assert_eq!(unique.len(), symbols.len(), "a symbol stands twice");
}

/// The encoding stands before the chunk. What is read is written and read again as the same.
pub(crate) fn remote_read_chunk(bytes: &[u8]) {
    let Some((kind, data)) = bytes.split_first() else {
        return;
    };
    let chunk = remote_read::proto::Chunk {
        r#type: i32::from(*kind),
        data: data.to_vec(),
        ..Default::default()
    };
    let Ok(samples) = remote_read::chunk::decode(&chunk) else {
        return;
    };
    let floats: Vec<(i64, f64)> = samples
        .iter()
        .filter_map(|sample| match sample.value {
            Value::Float(value) => Some((sample.at.millis(), value)),
            Value::Histogram(_) => None,
        })
        .collect();
    if floats.is_empty() || !floats.windows(2).all(|pair| pair[0].0 < pair[1].0) {
        return;
    }
    let (times, values): (Vec<i64>, Vec<f64>) = floats.into_iter().unzip();
    let again =
        remote_read::chunk::Chunks::new(&times, remote_read::chunk::Values::Floats(&values));
    let again = again.flat_map(|chunk| remote_read::chunk::decode(&chunk).expect("our own"));
    assert!(again.eq(samples), "floats are written as others");
}

pub(crate) fn read_request() -> Vec<u8> {
    use model::{MatchOp, Matcher};
    let query = remote_read::Query {
        start: Timestamp::from_millis(-5),
        end: Timestamp::from_millis(1_700_000_000_000),
        matchers: [
            MatchOp::Equal,
            MatchOp::NotEqual,
            MatchOp::Regex,
            MatchOp::NotRegex,
        ]
        .map(|op| Matcher::new(op, "job", "a|b.*").expect("a matcher"))
        .to_vec(),
    };
    remote_read::encode(&remote_read::Request {
        queries: vec![query.clone(), query],
        response: remote_read::ResponseType::StreamedXorChunks,
    })
}

/// Floats, integer and float histograms, with other samples between them.
pub(crate) fn read_samples() -> (Vec<i64>, Vec<Value>) {
    let histogram = |integer, count: f64| {
        let value = Histogram {
            schema: 3,
            count,
            sum: 1.5,
            positive: Buckets::from_indexed([(-2, count / 2.0), (3, count / 2.0)]),
            integer,
            ..Histogram::default()
        };
        Value::Histogram(Arc::new(value))
    };
    let floats = [1.0, 1.0, 2.5, f64::NAN, -1e300].map(Value::Float);
    let integers = [2.0, 4.0, 4.0, 100.0].map(|count| histogram(true, count));
    let others = [2.0, 4.5, 1.0].map(|count| histogram(false, count));
    let values: Vec<Value> = floats.into_iter().chain(integers).chain(others).collect();
    let times = (0..values.len() as i64).map(|n| 1_700_000_000_000 + n * 15_000 + n * n);
    (times.collect(), values)
}

pub(crate) fn read_chunks() -> Vec<Vec<u8>> {
    let (times, values) = read_samples();
    let chunks =
        remote_read::chunk::Chunks::new(&times, remote_read::chunk::Values::Mixed(&values));
    let bytes =
        |chunk: remote_read::proto::Chunk| [&[chunk.r#type as u8][..], &chunk.data].concat();
    chunks.map(bytes).collect()
}

pub(crate) fn read_frames() -> Vec<Vec<u8>> {
    let (times, values) = read_samples();
    let labels = LabelSet::from_pairs([("__name__", "m"), ("job", "a")]).expect("labels");
    let values = remote_read::chunk::Values::Mixed(&values);
    let mut chunks = remote_read::chunk::Chunks::new(&times, values);
    let frame = remote_read::frame::of_series(1, &labels, &mut chunks).expect("a frame");
    // Length of two bytes, checksum, data.
    let data = frame[6..].to_vec();
    assert_eq!(remote_read::frame::of_data(&data), frame);
    vec![[frame.clone(), frame].concat(), data]
}

pub(crate) fn histogram() -> Histogram {
    Histogram {
        schema: 1,
        zero_threshold: 0.5,
        zero_count: 1.0,
        count: 6.0,
        sum: 9.5,
        positive: Buckets {
            spans: vec![Span {
                offset: -1,
                length: 2,
            }],
            counts: vec![2.0, 3.0],
        },
        ..Histogram::default()
    }
}

pub(crate) fn message_v2() -> Vec<u8> {
    use v2::proto;
    let symbols = ["", "__name__", "up", "job", "node", "trace", "help"];
    let series = proto::TimeSeries {
        labels_refs: vec![1, 2, 3, 4],
        samples: vec![proto::Sample {
            value: 1.5,
            timestamp: 1_700_000_000_000,
            start_timestamp: 1_600_000_000_000,
        }],
        histograms: vec![remote_write::histogram_to_proto(
            &histogram(),
            Timestamp::from_millis(9),
        )],
        exemplars: vec![proto::Exemplar {
            labels_refs: vec![5, 4],
            value: 2.0,
            timestamp: 5,
        }],
        metadata: Some(proto::Metadata {
            r#type: 1,
            help_ref: 6,
            unit_ref: 0,
        }),
    };
    v2::encode_message(&proto::Request {
        symbols: symbols.map(str::to_owned).to_vec(),
        timeseries: vec![series.clone(), series],
    })
}

pub(crate) fn messages() -> Vec<Vec<u8>> {
    let label = |(name, value): (&str, &str)| proto::Label {
        name: name.to_owned(),
        value: value.to_owned(),
    };
    let series = |name: &str| proto::TimeSeries {
        labels: [("__name__", name), ("job", "node")].map(label).to_vec(),
        samples: vec![
            proto::Sample {
                value: 1.5,
                timestamp: 1_700_000_000_000,
            },
            proto::Sample {
                value: 0.0,
                timestamp: -1,
            },
        ],
        ..proto::TimeSeries::default()
    };
    let mut rich = series("rich");
    rich.exemplars.push(proto::Exemplar {
        labels: vec![label(("trace", "1"))],
        value: 2.0,
        timestamp: 5,
    });
    rich.histograms.push(remote_write::histogram_to_proto(
        &histogram(),
        Timestamp::from_millis(9),
    ));
    let metadata = proto::MetricMetadata {
        r#type: 1,
        metric_family_name: "up".to_owned(),
        help: "whether".to_owned(),
        unit: String::new(),
    };
    let encode = |timeseries, metadata| {
        remote_write::encode_message(&proto::WriteRequest {
            timeseries,
            metadata,
        })
    };
    vec![
        encode(vec![series("up"), series("down")], vec![]),
        encode(vec![series("up"), rich], vec![metadata]),
    ]
}
