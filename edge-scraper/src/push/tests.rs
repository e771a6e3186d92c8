//! Pushes on a simulated disk: what is answered, and what is in the buffer then.

use daemon::SimClock;
use journal::sim::SimDisk;
use model::{Sample, Timestamp};
use wire::otlp::body::{Encoding, Kind as BodyKind};
use wire::remote_write::convert::append_series;
use wire::remote_write::headers::Version;
use wire::remote_write::v2::proto as v2;
use wire::remote_write::{Limits, Part, SeriesView, Walk, compress};

use super::refused::Refused;
use super::*;
use crate::buffer::{BatchLimits, BufferOptions, SequenceSet, Want};

const NOW: i64 = 1_700_000_000_000;

struct Fixture {
    disk: Arc<SimDisk>,
    pushes: Pushes,
}

impl Fixture {
    fn new(text: &str, bytes_max: u64) -> Fixture {
        let disk = Arc::new(SimDisk::new(1));
        let clock = Arc::new(SimClock::new(Timestamp::from_millis(NOW)));
        let pushes = open(&disk, &clock, bytes_max);
        let config = EdgeConfig::parse(text, std::path::Path::new("edge.yml")).unwrap();
        pushes.configure(&config, vec!["hub".to_owned()]);
        pushes.buffer.attach("hub").unwrap();
        Fixture { disk, pushes }
    }

    fn write(&self, version: Version, body: &[u8]) -> Result<write::Taken, Refused> {
        self.pushes.check_room()?;
        write::take(&self.pushes, &source(), version, body, &Limits::default())
    }

    /// What is durable, one line a sample.
    fn stored(&self) -> Vec<String> {
        let clock = Arc::new(SimClock::new(Timestamp::from_millis(NOW)));
        self.disk.crash();
        let again = open(&self.disk, &clock, 16 << 20);
        again.buffer.attach("hub").unwrap();
        let limits = BatchLimits::default();
        let records = again
            .buffer
            .select("hub", Want::Oldest, &SequenceSet::default(), &limits)
            .unwrap();
        let batch = again.buffer.load(&records).unwrap();
        let (mut walk, mut view) = (Walk::new(&batch.message), SeriesView::new());
        let mut lines = Vec::new();
        while let Some(part) = walk.next_part(&mut view).unwrap() {
            if part == Part::Series {
                let labels = view.labels().unwrap();
                let samples = view.samples.iter();
                lines.extend(samples.map(|(at, value)| format!("{labels} {value} @{}", at - NOW)));
                lines.extend(view.histograms().map(|h| {
                    let at = h.unwrap().timestamp - NOW;
                    format!("{labels} histogram @{at}")
                }));
            }
        }
        lines
    }
}

fn open(disk: &Arc<SimDisk>, clock: &Arc<SimClock>, bytes_max: u64) -> Pushes {
    let options = BufferOptions {
        bytes_max,
        sync_bound: None,
        epoch_if_new: Some(7),
        ..BufferOptions::default()
    };
    let path = std::path::Path::new("/data/buffer");
    let buffer = Buffer::open(disk.clone(), path, options, clock.clone()).unwrap();
    let folder = std::path::Path::new("/data/pushgateway");
    let gateway = Gateway::open(disk.clone(), folder, clock.clone()).unwrap();
    Pushes::new(
        Arc::new(buffer),
        gateway,
        clock.clone(),
        CancellationToken::new(),
    )
}

fn source() -> Source {
    Source {
        kind: Kind::RemoteWrite,
        from: "10.0.0.7".to_owned(),
    }
}

fn labels(pairs: &[(&str, &str)]) -> LabelSet {
    LabelSet::from_pairs(pairs.iter().copied()).unwrap()
}

fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(NOW + millis)
}

const ON: &str = "global: {external_labels: {branch: b07, site: s}}\nbranchline: {remote_write_receiver: true, otlp_receiver: true}\n";

#[test]
fn what_is_answered_survives_a_crash_with_external_labels() {
    let all = Fixture::new(ON, 16 << 20);
    let mut message = Vec::new();
    // Two of one series, in whatever order they come.
    let samples = [Sample::float(at(0), 2.0), Sample::float(at(-5), 1.0)];
    append_series(
        &mut message,
        &labels(&[("__name__", "a"), ("site", "own")]),
        &samples,
    );
    append_series(
        &mut message,
        &labels(&[("__name__", "b")]),
        &[Sample::stale(at(1))],
    );
    let taken = all.write(Version::V1, &compress(&message)).unwrap();
    assert_eq!((taken.stored, taken.refusals.is_empty()), (3, true));
    assert_eq!(
        all.stored(),
        [
            "a{branch=\"b07\", site=\"own\"} 1 @-5",
            "b{branch=\"b07\", site=\"s\"} NaN @1",
            "a{branch=\"b07\", site=\"own\"} 2 @0"
        ]
    );
}

#[test]
fn good_series_are_stored_and_bad_ones_named() {
    let all = Fixture::new(ON, 16 << 20);
    let mut message = Vec::new();
    append_series(
        &mut message,
        &labels(&[("__name__", "good")]),
        &[Sample::float(at(0), 1.0)],
    );
    append_series(
        &mut message,
        &labels(&[("x", "no name")]),
        &[Sample::float(at(0), 1.0)],
    );
    append_series(
        &mut message,
        &labels(&[("__name__", "late")]),
        &[Sample::float(at(600_001), 1.0)],
    );
    let taken = all.write(Version::V1, &compress(&message)).unwrap();
    let refused = taken.refusals.answer(taken.stored);
    assert_eq!(refused.status, 400);
    assert_eq!(
        refused.text,
        "2 samples refused, 1 stored: series {x=\"no name\"} has no metric name; sample of late at 1700000600.001 is more than 10 minutes in the future: set the sender's clock"
    );
    // Half a message stores nothing of its first half.
    let (half, whole) = (&compress(&message[..message.len() - 3]), all.stored());
    let error = Fixture::new(ON, 16 << 20)
        .write(Version::V1, half)
        .unwrap_err();
    assert_eq!(error.status, 400);
    assert_eq!(whole.len(), 1);
}

#[test]
fn version_2_with_histograms_and_metadata() {
    let all = Fixture::new(ON, 16 << 20);
    let symbols = ["", "__name__", "h", "help", "f"]
        .map(str::to_owned)
        .to_vec();
    let histogram = model::Histogram {
        count: 2.0,
        sum: 3.0,
        zero_count: 2.0,
        zero_threshold: 0.1,
        integer: true,
        ..model::Histogram::default()
    };
    let sent = wire::remote_write::histogram_to_proto(&histogram, at(0));
    let request = v2::Request {
        symbols,
        timeseries: vec![
            v2::TimeSeries {
                labels_refs: vec![1, 2],
                histograms: vec![sent],
                metadata: Some(v2::Metadata {
                    r#type: 3,
                    help_ref: 3,
                    ..Default::default()
                }),
                ..Default::default()
            },
            v2::TimeSeries {
                labels_refs: vec![1, 4],
                samples: vec![v2::Sample {
                    value: 5.0,
                    timestamp: NOW,
                    ..Default::default()
                }],
                ..Default::default()
            },
        ],
    };
    let body = wire::remote_write::v2::encode(&request);
    let taken = all.write(Version::V2, &body).unwrap();
    assert_eq!((taken.stored, taken.histograms), (2, 1));
    let mut stored = all.stored();
    stored.sort();
    assert_eq!(
        stored,
        [
            "f{branch=\"b07\", site=\"s\"} 5 @0",
            "h{branch=\"b07\", site=\"s\"} histogram @0"
        ]
    );
}

/// Many small series become several records, all of them there.
#[test]
fn a_large_request_is_stored_in_pieces() {
    let all = Fixture::new(ON, 64 << 20);
    let mut message = Vec::new();
    for n in 0..12_001 {
        let n = n.to_string();
        append_series(
            &mut message,
            &labels(&[("__name__", "m"), ("n", &n)]),
            &[Sample::float(at(0), 1.0)],
        );
    }
    let taken = all.write(Version::V1, &compress(&message)).unwrap();
    assert_eq!(taken.stored, 12_001);
    assert_eq!(all.pushes.buffer.status().scraped.samples, 12_001);
    let records = all.pushes.buffer.counts("hub").unwrap().pending.records;
    assert_eq!(records, 3);
}

#[test]
fn a_failing_disk_and_a_full_buffer_are_503() {
    let mut message = Vec::new();
    append_series(
        &mut message,
        &labels(&[("__name__", "a")]),
        &[Sample::float(at(0), 1.0)],
    );
    let body = compress(&message);
    let all = Fixture::new(ON, 16 << 20);
    all.disk.fail_syncs(1);
    assert_eq!(all.write(Version::V1, &body).unwrap_err().status, 503);
    // Poisoned: it stays so until the edge is started again.
    assert_eq!(all.write(Version::V1, &body).unwrap_err().status, 503);

    let all = Fixture::new(ON, 16 << 20);
    let mut fill = 0_u64;
    let refused = loop {
        // Values that do not compress.
        let mut message = Vec::new();
        for _ in 0..4_000 {
            fill = fill
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            let name = format!("{fill:016x}{:016x}", fill.rotate_left(17) ^ 0x5bd1_e995);
            let value = f64::from_bits(fill >> 2);
            append_series(
                &mut message,
                &labels(&[("__name__", "m"), ("n", &name)]),
                &[Sample::float(at(0), value)],
            );
        }
        *all.pushes.room.lock().unwrap() = None;
        match all.write(Version::V1, &compress(&message)) {
            Ok(_) => {}
            Err(refused) => break refused,
        }
    };
    assert_eq!(refused.status, 503);
    assert!(
        refused.text.contains("branchline.buffer.bytes_max"),
        "{}",
        refused.text
    );
    let counts = all.pushes.buffer.counts("hub").unwrap();
    assert_eq!(counts.evicted.samples, 0, "nothing made room for a push");
    // Nobody is owed anything: the oldest may go.
    let config = EdgeConfig::parse(ON, std::path::Path::new("x")).unwrap();
    all.pushes.configure(&config, Vec::new());
    *all.pushes.room.lock().unwrap() = None;
    all.write(Version::V1, &body).unwrap();
}

#[test]
fn otlp_is_stored_whole_or_not_at_all() {
    let all = Fixture::new(ON, 16 << 20);
    let settings = all.pushes.settings().otlp.clone().unwrap();
    let take = |json: &str| {
        let form = (BodyKind::Json, Encoding::Plain);
        otlp::take(
            &all.pushes,
            &source(),
            &settings,
            form,
            json.as_bytes(),
            &Limits::default(),
        )
    };
    let request = |sum: &str, at: i64| {
        format!(
            r#"{{"resourceMetrics":[{{"resource":{{"attributes":[{{"key":"service.name","value":{{"stringValue":"till"}}}}]}},"scopeMetrics":[{{"metrics":[
            {{"name":"queue","gauge":{{"dataPoints":[{{"asInt":"3","timeUnixNano":"{at}000000"}}]}}}},{sum}]}}]}}]}}"#
        )
    };
    let bad = format!(
        r#"{{"name":"sold","sum":{{"aggregationTemporality":1,"isMonotonic":true,"dataPoints":[{{"asInt":"3","timeUnixNano":"{NOW}000000"}}]}}}}"#
    );
    let good = bad.replace(
        "\"aggregationTemporality\":1",
        "\"aggregationTemporality\":2",
    );
    let error = take(&request(&bad, NOW)).unwrap_err();
    assert!(
        error.status == 400 && error.text.contains("temporality"),
        "{error:?}"
    );
    let error = take(&request(&good, NOW + 700_000)).unwrap_err();
    assert!(error.text.contains("in the future"), "{error:?}");
    assert_eq!(take("{").unwrap_err().status, 400);
    assert_eq!(all.pushes.buffer.status().scraped.samples, 0);
    assert_eq!(take(&request(&good, NOW)).unwrap(), 2);
    let mut stored = all.stored();
    stored.sort();
    assert_eq!(
        stored,
        [
            "queue{branch=\"b07\", job=\"till\", site=\"s\"} 3 @0",
            "sold_total{branch=\"b07\", job=\"till\", site=\"s\"} 3 @0"
        ]
    );
}
