//! Every decoder that reads bytes from outside or from disk, with valid bytes to start from, and the memory it may take for
//! a given number of bytes. A decoder answers or refuses; it never panics. Where two read the same bytes, they agree.

use std::{
    path::Path,
    sync::{Arc, LazyLock},
    time::Duration,
};

use crate::otlp;
use journal::{Disk, Journal, Options, read_file, sim::SimDisk};
use model::{
    Buckets, Exemplar, Histogram, LabelSet, Metadata, MetricType, Sample, Span, Timestamp, Value,
};
use tsdb::{Batch, BatchSeries, ColumnBatch, Columns, Store, StoreOptions, probe};
use wire::{
    alertmanager::{PostLimits, Webhook, parse_posted},
    edge_headers::{self, EdgeHeaders},
    exposition::{Entry, Format, Parser, protobuf},
    line, remote_read,
    remote_write::{
        self, Limits, Part, SeriesView, Walk, proto,
        v2::{self, SeriesViewV2, WalkV2},
    },
};

pub(crate) struct Target {
    pub(crate) name: &'static str,
    pub(crate) read: fn(&[u8]),
    /// Valid bytes.
    #[cfg_attr(not(test), expect(dead_code, reason = "libFuzzer finds its own"))]
    pub(crate) seeds: fn() -> Vec<Vec<u8>>,
    /// Bytes allocated at any one time: so many for each byte read, and so many besides.
    #[cfg_attr(not(test), expect(dead_code, reason = "libFuzzer has its own bound"))]
    pub(crate) bound: (usize, usize),
}

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;

pub(crate) const TARGETS: &[Target] = &[
    Target {
        name: "remote_write_body",
        read: remote_write_body,
        seeds: || {
            messages()
                .iter()
                .map(|bytes| remote_write::compress(bytes))
                .collect()
        },
        // Snappy: at most 32 bytes for one; the walk's buffers: 16 bytes for a sample of two.
        bound: (32 + 32 * 24, 4 * KIB),
    },
    Target {
        name: "remote_write_message",
        read: remote_write_message,
        seeds: messages,
        // An empty series is two bytes on the wire and a hundred in memory, here twice, and vectors grow by doubling.
        bound: (600, 16 * KIB),
    },
    Target {
        name: "remote_write_v2",
        read: remote_write_v2,
        seeds: || vec![message_v2()],
        // A symbol of two bytes is sixteen in memory and in the message that prost makes; texts are referred to again and
        // again, within the limit that the target sets.
        bound: (600, 64 * KIB),
    },
    Target {
        name: "remote_read_request",
        read: |body| {
            let _ = remote_read::decode(body, &remote_read::Limits::default());
        },
        seeds: || vec![read_request()],
        // Snappy, and regular expressions, each compiled to 10 MiB at most.
        bound: (16 * KIB, 12 * MIB),
    },
    Target {
        name: "remote_read_chunk",
        read: remote_read_chunk,
        seeds: read_chunks,
        // A sample of two bits is forty bytes; of histograms a chunk may hold a million numbers.
        bound: (4 * 8 * 48, 24 * MIB),
    },
    Target {
        name: "remote_read_frame",
        read: |bytes| {
            let mut rest = bytes;
            while let Ok(Some((_, behind))) = remote_read::frame::decode(rest) {
                rest = behind;
            }
            // Behind a checksum that is right.
            let _ = remote_read::frame::decode(&remote_read::frame::of_data(bytes));
        },
        seeds: read_frames,
        // An empty chunk is two bytes on the wire; vectors grow by doubling.
        bound: (256, 4 * KIB),
    },
    Target {
        name: "otlp_message",
        read: otlp::message,
        seeds: otlp::messages,
        // An attribute of two bytes is fifty in memory, and vectors grow by doubling; labels are made for each point.
        bound: (600, 64 * KIB),
    },
    Target {
        name: "otlp_json",
        read: otlp::json,
        seeds: || vec![otlp::JSON.to_vec()],
        // A metric of three bytes is three hundred in memory, and as many again as protobuf's struct.
        bound: (1000, 64 * KIB),
    },
    Target {
        name: "exposition",
        read: |bytes| exposition(Format::Classic, bytes),
        seeds: || vec![CLASSIC.to_vec()],
        bound: (64, 4 * KIB),
    },
    Target {
        name: "openmetrics",
        read: |bytes| exposition(Format::OpenMetrics, bytes),
        seeds: || vec![OPENMETRICS.to_vec()],
        bound: (64, 4 * KIB),
    },
    Target {
        name: "exposition_protobuf",
        read: exposition_protobuf,
        seeds: || vec![PROTOBUF.to_vec()],
        // One metric at a time, of a mebibyte at most: a bucket of two bytes is ninety in memory, and one more as a point; an
        // exemplar in it as much again, and vectors grow by doubling.
        bound: (1000, 64 * KIB),
    },
    Target {
        name: "edge_headers",
        read: edge_headers,
        seeds: || vec![HEADERS.to_vec()],
        bound: (64, 4 * KIB),
    },
    Target {
        name: "line_batch",
        read: line_batch,
        seeds: line_frames,
        // A section shrinks to a 256th at most; an empty series in it takes a byte there and a hundred in memory, and vectors
        // grow by doubling. The limits that the target sets are below that.
        bound: (4 * KIB, 4 * MIB),
    },
    Target {
        name: "alertmanager",
        read: alertmanager,
        seeds: || vec![POSTED.to_vec(), WEBHOOK.to_vec()],
        bound: (256, 16 * KIB),
    },
    Target {
        name: "promql",
        read: promql,
        seeds: || {
            EXPRESSIONS
                .iter()
                .map(|text| text.as_bytes().to_vec())
                .collect()
        },
        // Regular expressions are compiled, each to 10 MiB at most.
        bound: (4 * KIB, 12 * MIB),
    },
    Target {
        name: "journal_segment",
        read: journal_segment,
        seeds: || vec![wal().0],
        // The simulated disk holds the file twice; two cursors read ahead by 256 KiB.
        bound: (8, 2 * MIB),
    },
    Target {
        name: "store_record",
        read: |bytes| {
            let _ = probe::read_record(bytes);
        },
        seeds: || wal().1,
        // A row takes 40 bytes; a constant column has 4,096 of them in fifteen bytes or so.
        bound: (16 * KIB, 256 * KIB),
    },
    Target {
        name: "store_chunk",
        read: |bytes| {
            let _ = probe::read_chunk(bytes);
        },
        seeds: || {
            // In a record: version, section, id of one byte, chunk.
            let is_rows = |record: &Vec<u8>| record.get(1) == Some(&3);
            wal()
                .1
                .into_iter()
                .filter(is_rows)
                .map(|record| record[3..].to_vec())
                .chain([Vec::new()])
                .collect()
        },
        bound: (256, 256 * KIB),
    },
    Target {
        name: "part_block",
        read: |bytes| {
            let _ = probe::read_block(bytes);
        },
        seeds: || parts().into_iter().flat_map(|part| part.blocks).collect(),
        // Eight slots of times and one column.
        bound: (64, MIB),
    },
    Target {
        name: "part_index",
        read: |bytes| {
            let _ = split_index(bytes).and_then(|(end, index)| probe::read_index(index, end));
        },
        seeds: || {
            let joined =
                |part: probe::Pieces| [&part.blocks_end.to_le_bytes(), &part.index[..]].concat();
            parts().into_iter().map(joined).collect()
        },
        // The set of series makes room for 65,536 containers, if that many are said, before it reads them.
        bound: (64, 4 * MIB),
    },
    Target {
        name: "catalogue_segment",
        read: |bytes| {
            let _ = probe::read_catalogue_segment(bytes);
        },
        seeds: || files("catalogue/0000000000.seg"),
        bound: (16 * 24 + 8, 2 * MIB + 64 * KIB * 24),
    },
    Target {
        name: "catalogue_metadata",
        read: |bytes| {
            let _ = probe::read_metadata(bytes);
        },
        seeds: || files("catalogue/metadata"),
        bound: (16 * 64, 64 * KIB * 24),
    },
    Target {
        name: "store_exemplars",
        read: |bytes| {
            let _ = probe::read_exemplars(bytes);
        },
        seeds: || files("exemplars"),
        // Unpacked 16 times the bytes; of those eleven are an exemplar of 60 bytes with its labels, or a label of one
        // byte, here a pair of texts, twice.
        bound: (16 * 80, 64 * KIB * 80),
    },
    Target {
        name: "manifest",
        read: |bytes| {
            let _ = probe::read_manifest(bytes);
        },
        seeds: || files("MANIFEST"),
        bound: (64, 4 * KIB),
    },
];

fn remote_write_body(body: &[u8]) {
    let mut message = Vec::new();
    let Ok(length) = remote_write::decompress_into(body, &Limits::default(), &mut message) else {
        return;
    };
    walk(&message[..length], |_| {});
}

/// Whether the message was walked to its end.
fn walk(message: &[u8], mut each: impl FnMut(&SeriesView<'_>)) -> bool {
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
fn remote_write_message(message: &[u8]) {
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
fn remote_write_v2(message: &[u8]) {
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

/// The encoding stands before the chunk. What is read is written and read again as the same.
fn remote_read_chunk(bytes: &[u8]) {
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

fn read_request() -> Vec<u8> {
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
fn read_samples() -> (Vec<i64>, Vec<Value>) {
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

fn read_chunks() -> Vec<Vec<u8>> {
    let (times, values) = read_samples();
    let chunks =
        remote_read::chunk::Chunks::new(&times, remote_read::chunk::Values::Mixed(&values));
    let bytes =
        |chunk: remote_read::proto::Chunk| [&[chunk.r#type as u8][..], &chunk.data].concat();
    chunks.map(bytes).collect()
}

fn read_frames() -> Vec<Vec<u8>> {
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

/// A counter with an exemplar and a start, a summary, a histogram that is classic and native.
const PROTOBUF: &[u8] = b">\x0a\x07c_total\x12\x04Help\x22-\x0a\x06\x0a\x01a\x12\x01b\x1a#\x09\0\0\0\0\0\0\x08@\x12\x14\x0a\x05\x0a\x01t\x12\0\x11\0\0\0\0\0\0\xf0?\x1a\x02\x08\x05\x1a\x02\x08\x02\
    \x1f\x0a\x01s\x18\x02\x22\x18\x22\x16\x08\x02\x1a\x12\x09\0\0\0\0\0\0\xe0?\x11\0\0\0\0\0\0\x14@\
    A\x0a\x01h\x18\x04\x22::8\x08\x07\x1a!\x08\x03\x11\0\0\0\0\0\0\xf0?\x1a\x14\x0a\x05\x0a\x01t\x12\0\x11\0\0\0\0\0\0\xf0?\x1a\x02\x08\x05(\x021\0\0\0\0\0\0\x10?b\x02\x10\x02h\x06h\x02";

fn exposition_protobuf(bytes: &[u8]) {
    let choice = protobuf::HistogramChoice {
        native: true,
        classic_too: true,
    };
    let mut families = protobuf::Families::new(bytes);
    let mut points = Vec::new();
    while let Ok(Some(family)) = families.next_family() {
        for metric in family.metrics().map_while(Result::ok) {
            if metric.points_into(&family, choice, &mut points).is_err() {
                return;
            }
        }
    }
}

fn exposition(format: Format, text: &[u8]) {
    let mut parser = Parser::new(format, text);
    while let Ok(Some(entry)) = parser.next_entry() {
        if let Entry::Sample(sample) = entry {
            let _ = sample.labels.to_label_set();
        }
    }
}

/// Lines of `name: value`.
fn edge_headers(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let _ = edge_headers::parse_hub(text);
    let lookup = |name: &str| {
        text.lines()
            .filter_map(|line| line.split_once(": "))
            .find(|(found, _)| *found == name)
            .map(|(_, value)| value)
    };
    if let Ok(Some(headers)) = EdgeHeaders::from_lookup(lookup) {
        let pairs = headers.to_pairs();
        let again = EdgeHeaders::from_lookup(|name| {
            let pair = pairs.iter().find(|(found, _)| *found == name);
            pair.map(|(_, value)| &**value)
        });
        assert_eq!(again, Ok(Some(headers)), "written and read again");
    }
}

fn alertmanager(body: &[u8]) {
    let _ = parse_posted(
        body,
        Timestamp::from_millis(1_700_000_000_000),
        Duration::from_secs(300),
        &PostLimits::default(),
    );
    if let Ok(message) = Webhook::parse(body) {
        for alert in &message.alerts {
            let _ = alert.to_alert();
        }
    }
}

/// An expression that is read is written as one that is read as the same.
fn promql(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let options = promql::ParseOptions::all();
    if let Ok(expr) = promql::parse(text, &options) {
        let written = expr.to_string();
        match promql::parse(&written, &options) {
            Ok(again) => assert_eq!(again.to_string(), written, "of {text:?}"),
            Err(error) => panic!("{text:?} is written as {written:?}: {error}"),
        }
    }
}

fn journal_segment(bytes: &[u8]) {
    let disk = SimDisk::new(1);
    let dir = Path::new("/wal");
    let written = disk
        .create_dir_all(dir)
        .and_then(|()| disk.create(&dir.join("00000000000000000001.seg")))
        .and_then(|file| file.append(bytes));
    assert!(written.is_ok());
    if let Ok((journal, _)) = Journal::open(Arc::new(disk), dir, Options::default()) {
        // Damaged stretches are errors, behind which reading goes on.
        let most = bytes.len() + 2;
        assert!(
            journal.read_from(1).take(most).count() < most,
            "reading comes to an end"
        );
    }
}

fn split_index(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let (end, index) = bytes.split_first_chunk::<8>()?;
    Some((u64::from_le_bytes(*end), index))
}

// ---- valid bytes ----

const STORE: &str = "/store";

fn histogram() -> Histogram {
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

fn append(store: &Store, scope: &str, names: &[&str], samples: &[Sample]) {
    let labels: Vec<_> = names
        .iter()
        .map(|name| {
            move || {
                LabelSet::from_pairs([("__name__", *name), ("branch", "b07")])
                    .map_err(|e| e.to_string())
            }
        })
        .collect();
    let series = names.iter().zip(&labels).map(|(name, labels)| BatchSeries {
        key: store.series_key(scope, name.as_bytes()),
        labels,
        samples,
    });
    let metadata = Metadata {
        kind: MetricType::Counter,
        help: "what it counts".to_owned(),
        unit: "s".to_owned(),
    };
    let appended = store.append(&Batch {
        scope,
        series: series.collect(),
        metadata: vec![(names[0], &metadata)],
    });
    assert!(appended.is_ok_and(|appended| appended.refused.is_empty()));
}

fn append_exemplars(store: &Store) {
    let mut columns = Columns::default();
    columns.push_floats(store.series_key("b07", b"a"), []);
    for at in 0..20 {
        let trace = format!("{at:016x}");
        let labels = LabelSet::from_pairs([("trace_id", &*trace), ("span_id", "7")]);
        columns.push_exemplar(Exemplar {
            labels: labels.unwrap_or_default(),
            value: 0.1 * at as f64,
            at: Timestamp::from_millis(at),
        });
    }
    let batch = ColumnBatch {
        scope: "b07",
        labels: &|_| Err("known".to_owned()),
        metadata: &[],
    };
    let appended = store.append_columns(&mut columns, batch);
    assert!(appended.is_ok_and(|appended| appended.exemplars.refused.len() != 20));
}

/// A store with parts, a catalogue, exemplars and a log, which has every kind of value.
fn store() -> SimDisk {
    let disk = SimDisk::new(1);
    let shared: Arc<dyn Disk> = Arc::new(disk.clone());
    let store = Store::open(shared, Path::new(STORE), StoreOptions::default());
    let Ok(store) = store else {
        unreachable!("an empty disk");
    };
    let floats = |values: &[f64], start: Option<i64>| -> Vec<Sample> {
        let sample = |(i, value): (usize, &f64)| Sample {
            at: Timestamp::from_millis(1000 + 15_000 * i as i64),
            start: start.map(Timestamp::from_millis),
            value: Value::Float(*value),
        };
        values.iter().enumerate().map(sample).collect()
    };
    for part in 0..2 {
        append(
            &store,
            "b07",
            &["a", "b", "c"],
            &floats(&[0.25, 0.5, -1.75], None),
        );
        append(
            &store,
            "b07",
            &["started"],
            &floats(&[1.0, 2.0, model::stale_nan()], Some(500)),
        );
        append(&store, "b08", &["constant"], &floats(&[7.0; 100], None));
        append(
            &store,
            "b08",
            &["random"],
            &floats(&[std::f64::consts::PI, std::f64::consts::E * 1e-9], None),
        );
        let mixed = [
            Sample::histogram(Timestamp::from_millis(5), histogram()),
            Sample::float(Timestamp::from_millis(6), 1.0),
        ];
        append(&store, "b08", &["latency"], &mixed);
        append_exemplars(&store);
        // What comes last stays in the log.
        assert!(if part == 0 {
            store.close().is_ok()
        } else {
            store.sync().is_ok()
        });
    }
    disk
}

/// The content of files behind a header of 16 bytes.
fn files(suffix: &str) -> Vec<Vec<u8>> {
    let disk = store();
    let paths = disk.files().into_iter().map(|(path, _)| path);
    let read = |path: std::path::PathBuf| {
        read_file(&disk, &path, u64::MAX).unwrap_or_default()[16..].to_vec()
    };
    paths
        .filter(|path| path.ends_with(suffix))
        .map(read)
        .collect()
}

fn parts() -> Vec<probe::Pieces> {
    let disk = store();
    let shared: Arc<dyn Disk> = Arc::new(disk.clone());
    let paths = disk.files().into_iter().map(|(path, _)| path);
    let parts = paths.filter(|path| path.extension().is_some_and(|end| end == "part"));
    parts
        .filter_map(|path| probe::pieces(&shared, &path))
        .collect()
}

/// A segment of a journal, and the records that a store wrote.
fn wal() -> (Vec<u8>, Vec<Vec<u8>>) {
    let disk: Arc<dyn Disk> = Arc::new(store());
    let dir = Path::new(STORE).join("wal");
    let records: Vec<Vec<u8>> = match Journal::open(disk, &dir, Options::default()) {
        Ok((journal, _)) => journal
            .read_from(1)
            .flatten()
            .map(|(_, record)| record)
            .collect(),
        Err(error) => unreachable!("{error}"),
    };
    let disk = SimDisk::new(1);
    let dir = Path::new("/wal");
    if let Ok((journal, _)) = Journal::open(Arc::new(disk.clone()), dir, Options::default()) {
        for record in &records {
            assert!(journal.append(record).is_ok());
        }
    }
    let path = dir.join("00000000000000000001.seg");
    (
        read_file(&disk, &path, u64::MAX).unwrap_or_default(),
        records,
    )
}

fn message_v2() -> Vec<u8> {
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

fn messages() -> Vec<Vec<u8>> {
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

const CLASSIC: &[u8] = b"# HELP up Whether \\\\ it \\n is\n# TYPE up gauge\nup{job=\"no\\\"de\",x=\"\"} 1 1700000000000\n\
    {\"utf8.name\",\"a b\"=\"c\"} NaN\n# TYPE h histogram\nh_bucket{le=\"+Inf\"} 1e3\nh_sum 0x1p-2\nh_count 3\n\n# a comment\nlast -Inf";

const OPENMETRICS: &[u8] = b"# TYPE a counter\n# HELP a help\n# UNIT a_seconds seconds\na_total{x=\"y\"} 1 1700000000.5 # {trace=\"1\"} 0.5 1.5\n\
    a_created 1.7e9\n# TYPE h histogram\nh_bucket{le=\"1.0\"} 1 # {} 1\nh_count 1\n# EOF\n";

const HEADERS: &[u8] = b"branchline-edge: b07\nbranchline-epoch: 9182736455463728190\nbranchline-sequence: 120-135,140\n\
    branchline-lane: live\nbranchline-scraped-samples: 91827\nbranchline-pending-samples: 1200\nbranchline-pending-bytes: 3400\n\
    branchline-oldest-pending: 1700000000000\nbranchline-evicted-samples: 0\n";

const POSTED: &[u8] = br#"[{"labels":{"alertname":"Down","empty":""},"annotations":{"summary":"s\u00e9"},"startsAt":"2026-01-02T15:04:05.999Z","endsAt":"2026-01-02T16:04:05+01:00","generatorURL":"http://hub/graph"}]"#;

const WEBHOOK: &[u8] = br#"{"version":"4","groupKey":"{}:{}","truncatedAlerts":0,"status":"firing","receiver":"r","groupLabels":{"a":"b"},"commonLabels":{},"commonAnnotations":{},"externalURL":"http://am","alerts":[{"status":"firing","labels":{"alertname":"Down"},"annotations":{},"startsAt":"2026-01-02T15:04:05Z","endsAt":"0001-01-01T00:00:00Z","generatorURL":"","fingerprint":"0123456789abcdef"}]}"#;

const EXPRESSIONS: &[&str] = &[
    r#"sum by (branch) (rate(requests_total{job=~"a|b.*",x!="y"}[5m] offset -1h30m)) / on (branch) group_left (z) up @ end()"#,
    "max_over_time(avg by () (up)[1h:5m] @ 1.5) + -2 ^ 0x1F % NaN or vector(1) unless bool_metric == bool 1",
    r#"label_replace({"utf8.name", a='b\n'}, "x", `$1`, "y", "(.*)") > 1e3 and topk without (a) (3, histogram_quantile(0.9, h))"#,
    "foo[step() * 2 + 5m] smoothed + absent(bar anchored offset (1m))",
];

/// Takes line batches and keeps nothing.
struct Nowhere;

impl line::LineSink for Nowhere {
    type Key = ();
    fn series(&mut self, _: &[u8]) {}
    fn sample(&mut self, (): &(), _: i64, _: f64) {}
    fn rest(&mut self, _: Vec<u8>) {}
}

/// As they come, behind a right checksum, and as the second frame of a session.
fn line_batch(bytes: &[u8]) {
    let limits = line::LineLimits {
        section_bytes_max: MIB,
        samples_max: 10_000,
        series_max: 10_000,
        layouts_max: 1_000,
        ..line::LineLimits::default()
    };
    let mut decoder = line::LineDecoder::new();
    let mut read = |bytes: &[u8]| {
        if let Ok(frame) = line::Frame::read(bytes, &limits) {
            let _ = decoder.decode(&frame, &limits, &mut Nowhere);
        }
    };
    read(bytes);
    let body = bytes
        .split_last_chunk::<4>()
        .map_or(bytes, |(body, _)| body);
    static SESSION: LazyLock<[Vec<u8>; 2]> = LazyLock::new(line_session);
    let [first, second] = &*SESSION;
    read(&line::with_checksum(body.to_vec()));
    read(first);
    read(&line::with_checksum(body.to_vec()));
    read(second);
}

fn line_frames() -> Vec<Vec<u8>> {
    line_session().to_vec()
}

fn line_session() -> [Vec<u8>; 2] {
    let mut encoder = line::LineEncoder::new(7, "b07", 1);
    let beside = messages().concat();
    [1, 2].map(|seq| {
        let series = ["a", "b", "c"].map(|name| {
            let labels = model::LabelSet::from_pairs([("__name__", name)]).unwrap_or_default();
            let at = Timestamp::from_millis(1_700_000_000_000 + seq as i64);
            (labels.into(), Sample::float(at, seq as f64 / 8.0))
        });
        let scrape = line::LineScrape {
            target: 1,
            part: 0,
            seq,
            at: 1_700_000_000_000,
            series: &series,
            beside: &beside,
        };
        encoder.encode(&scrape).unwrap_or_default()
    })
}
