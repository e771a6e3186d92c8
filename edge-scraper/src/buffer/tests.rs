use std::path::{Path, PathBuf};
use std::sync::Arc;

use daemon::SimClock;
use journal::sim::SimDisk;
use model::{LabelSet, Sample, Series, Timestamp};
use wire::line::link::Interval;
use wire::remote_write::{Limits, compress, decode};

use super::*;
use crate::scrape::{Class, Scrape};

const DIR: &str = "/data/buffer";
const NOW: i64 = 1_700_000_000_000;

/// A scrape of `samples` samples and a marker, `at` seconds after the start.
fn scrape(at: i64, samples: usize) -> Scrape {
    let at = Timestamp::from_millis(NOW + 1000 * at);
    let series = (0..samples).map(|n| {
        let labels = LabelSet::from_pairs([("__name__", "m"), ("n", &n.to_string())]).unwrap();
        // Noise, so that a record is not compressed to nothing.
        let noise = (n as u64 + at.millis() as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 11;
        (labels.into(), Sample::float(at, noise as f64))
    });
    let gone = (
        Series::from(LabelSet::from_pairs([("__name__", "gone")]).unwrap()),
        Sample::stale(at),
    );
    Scrape {
        at,
        target: 1,
        class: Class::Ordinary,
        series: series.chain([gone]).collect(),
        exemplars: Vec::new(),
        metadata: Vec::new(),
    }
}

fn options(bytes_max: u64) -> BufferOptions {
    BufferOptions {
        bytes_max,
        sync_bound: None,
        epoch_if_new: Some(77),
        ..BufferOptions::default()
    }
}

fn open_with(disk: &SimDisk, options: BufferOptions) -> Buffer {
    let clock = Arc::new(SimClock::new(Timestamp::from_millis(NOW)));
    Buffer::open(Arc::new(disk.clone()), Path::new(DIR), options, clock).unwrap()
}

fn open(disk: &SimDisk) -> Buffer {
    let buffer = open_with(disk, options(1 << 30));
    buffer.attach("hq").unwrap();
    buffer
}

fn select(buffer: &Buffer, want: Want, records_max: usize) -> Vec<RecordMeta> {
    let limits = BatchLimits {
        records_max,
        ..BatchLimits::default()
    };
    buffer
        .select("hq", want, &SequenceSet::default(), &limits)
        .unwrap()
}

fn seqs(records: &[RecordMeta]) -> Vec<u64> {
    records.iter().map(|record| record.seq).collect()
}

fn counts(buffer: &Buffer) -> HubCounts {
    let counts = buffer.counts("hq").unwrap();
    assert!(counts.balance(), "{counts:?}");
    counts
}

/// The only segment of the journal, and its size.
fn segment_file(disk: &SimDisk) -> (PathBuf, u64) {
    let mut files = disk.files().into_iter();
    files
        .find(|(path, _)| path.extension().is_some_and(|suffix| suffix == "seg"))
        .unwrap()
}

#[test]
fn scraped_counts_only_once_synced() {
    let disk = SimDisk::new(1);
    let buffer = open(&disk);
    buffer.append(&scrape(0, 3)).unwrap();
    assert_eq!(counts(&buffer).scraped, Counts::default());
    assert!(
        select(&buffer, Want::Oldest, 10).is_empty(),
        "what is not durable is not sent"
    );
    buffer.sync().unwrap();
    assert_eq!(
        counts(&buffer).scraped,
        Counts {
            samples: 3,
            markers: 1
        }
    );
    buffer.append(&scrape(1, 5)).unwrap();
    drop(buffer);
    disk.crash();
    let buffer = open(&disk);
    let kept = counts(&buffer).scraped.samples;
    assert!(kept == 3 || kept == 8, "{kept}");
}

#[test]
fn lanes_choose_newest_and_oldest() {
    let disk = SimDisk::new(1);
    let buffer = open(&disk);
    for at in 0..10 {
        buffer.append(&scrape(10 * at, 3)).unwrap();
    }
    buffer.sync().unwrap();
    let since = Timestamp::from_millis(NOW + 60_000);
    assert_eq!(
        seqs(&select(&buffer, Want::NewestSince(since), 100)),
        [7, 8, 9, 10]
    );
    assert_eq!(
        seqs(&select(&buffer, Want::NewestSince(since), 3)),
        [8, 9, 10]
    );
    assert_eq!(
        seqs(&select(&buffer, Want::OldestBefore(since), 100)),
        [1, 2, 3, 4, 5, 6]
    );
    assert_eq!(
        seqs(&select(&buffer, Want::Oldest, 8)),
        [1, 2, 3, 4, 5, 6, 7, 8]
    );
    let in_flight: SequenceSet = [2, 3, 9].into_iter().collect();
    let limits = BatchLimits {
        samples_max: 11,
        ..BatchLimits::default()
    };
    let oldest = buffer
        .select("hq", Want::Oldest, &in_flight, &limits)
        .unwrap();
    assert_eq!(seqs(&oldest), [1, 4], "four samples and markers each");
    buffer.acknowledge("hq", &oldest).unwrap();
    let newest = select(&buffer, Want::NewestSince(since), 2);
    buffer.acknowledge("hq", &newest).unwrap();
    assert_eq!(
        seqs(&select(&buffer, Want::Oldest, 100)),
        [2, 3, 5, 6, 7, 8]
    );
    let books = counts(&buffer);
    assert_eq!(
        (
            books.acknowledged.samples,
            books.pending.counts.samples,
            books.pending.records
        ),
        (12, 18, 6)
    );
    assert_eq!(
        books.pending.oldest,
        Some(Timestamp::from_millis(NOW + 10_000))
    );
}

#[test]
fn payloads_join_to_one_request() {
    let disk = SimDisk::new(1);
    let buffer = open(&disk);
    for at in 0..5 {
        buffer.append(&scrape(at, 2)).unwrap();
    }
    buffer.sync().unwrap();
    let mut records = select(&buffer, Want::Oldest, 100);
    records.remove(2);
    let batch = buffer.load(&records).unwrap();
    assert_eq!(seqs(&batch.records), [1, 2, 4, 5]);
    let request = decode(&compress(&batch.message), &Limits::default()).unwrap();
    assert_eq!(request.timeseries.len(), 12);
    assert_eq!(request.timeseries[3].samples[0].timestamp, NOW + 1000);
    assert_eq!(buffer.load(&[]).unwrap(), Batch::default());
}

#[test]
fn a_restart_goes_on_where_it_was() {
    let disk = SimDisk::new(1);
    let buffer = open(&disk);
    for at in 0..6 {
        buffer.append(&scrape(at, 4)).unwrap();
    }
    buffer.sync().unwrap();
    buffer
        .acknowledge("hq", &select(&buffer, Want::NewestSince(Timestamp::MIN), 2))
        .unwrap();
    buffer
        .quarantine("hq", &select(&buffer, Want::Oldest, 1))
        .unwrap();
    buffer.save().unwrap();
    let before = counts(&buffer);
    drop(buffer);
    disk.crash();
    let buffer = open(&disk);
    assert_eq!(counts(&buffer), before);
    assert_eq!(buffer.epoch(), 77);
    assert_eq!(seqs(&select(&buffer, Want::Oldest, 100)), [2, 3, 4]);
    // Where in time that is, reports say.
    let lost = buffer.lost_intervals("hq", &[], None).unwrap();
    let shown: Vec<(i64, u64, &str)> = lost
        .iter()
        .map(|lost| (lost.first_ms, lost.samples, &*lost.reason))
        .collect();
    let refused = scrape(0, 4).at.millis();
    assert_eq!(shown, [(refused, 4, "quarantined")]);
    assert_eq!(buffer.release_quarantine("hq").unwrap().samples, 4);
    assert_eq!(buffer.lost_intervals("hq", &[], None).unwrap(), []);
    assert_eq!(seqs(&select(&buffer, Want::Oldest, 100)), [1, 2, 3, 4]);
    buffer.attach("second").unwrap();
    assert_eq!(buffer.counts("second").unwrap().pending.records, 6);
    buffer.retain_hubs(&["second".to_owned()]).unwrap();
    assert!(matches!(
        buffer.counts("hq"),
        Err(BufferError::UnknownHub { .. })
    ));
}

#[test]
fn an_unsaved_acknowledgement_is_sent_again() {
    let disk = SimDisk::new(1);
    let buffer = open(&disk);
    buffer.append(&scrape(0, 4)).unwrap();
    buffer.sync().unwrap();
    buffer
        .acknowledge("hq", &select(&buffer, Want::Oldest, 1))
        .unwrap();
    assert_eq!(counts(&buffer).pending.records, 0);
    drop(buffer);
    disk.crash();
    assert_eq!(counts(&open(&disk)).pending.counts.samples, 4);
}

#[test]
fn a_wiped_buffer_has_another_epoch_and_owes_nothing() {
    let disk = SimDisk::new(1);
    let buffer = open(&disk);
    buffer.append(&scrape(0, 4)).unwrap();
    buffer.sync().unwrap();
    buffer
        .acknowledge("hq", &select(&buffer, Want::Oldest, 1))
        .unwrap();
    buffer.save().unwrap();
    drop(buffer);
    use journal::Disk as _;
    for (path, _) in disk.files() {
        if path.extension().is_some_and(|suffix| suffix == "seg") {
            disk.remove(&path).unwrap();
        }
    }
    let buffer = open_with(
        &disk,
        BufferOptions {
            epoch_if_new: Some(78),
            ..options(1 << 30)
        },
    );
    buffer.attach("hq").unwrap();
    assert_eq!(
        (buffer.epoch(), counts(&buffer)),
        (78, HubCounts::default())
    );
}

#[test]
fn over_the_cap_the_oldest_go_and_are_counted() {
    let disk = SimDisk::new(1);
    let buffer = open_with(&disk, options(400 << 10));
    for hub in ["hq", "dead"] {
        buffer.attach(hub).unwrap();
    }
    for at in 0..400 {
        buffer.append(&scrape(at, 300)).unwrap();
        buffer.sync().unwrap();
        if at == 20 {
            buffer
                .quarantine("hq", &select(&buffer, Want::Oldest, 3))
                .unwrap();
            buffer
                .acknowledge("hq", &select(&buffer, Want::Oldest, 5))
                .unwrap();
        }
        assert!(counts(&buffer).balance());
        assert!(buffer.status().bytes <= 400 << 10);
    }
    let (hq, dead) = (counts(&buffer), buffer.counts("dead").unwrap());
    assert!(hq.evicted.samples > 10_000, "{hq:?}");
    assert_eq!((hq.acknowledged.samples, hq.quarantined.samples), (1500, 0));
    assert_eq!(dead.evicted.samples, hq.evicted.samples + 1500);
    assert!(dead.balance());
    assert_eq!(
        buffer.acknowledged("hq").unwrap(),
        [],
        "ranges of what is gone are forgotten"
    );
    drop(buffer);
    disk.crash();
    let buffer = open_with(&disk, options(400 << 10));
    assert_eq!(
        (counts(&buffer).evicted, counts(&buffer).scraped),
        (hq.evicted, hq.scraped)
    );
}

#[test]
fn an_acknowledgement_for_what_was_evicted_under_way_counts() {
    let disk = SimDisk::new(1);
    let buffer = open_with(&disk, options(300 << 10));
    buffer.attach("hq").unwrap();
    buffer.append(&scrape(0, 300)).unwrap();
    buffer.sync().unwrap();
    let under_way = select(&buffer, Want::Oldest, 1);
    for at in 1..600 {
        buffer.append(&scrape(at, 300)).unwrap();
    }
    buffer.sync().unwrap();
    let before = counts(&buffer);
    assert!(before.evicted.samples >= 300);
    // A hub does not forget what it was told is lost: of what is under way it is told that it may come.
    let told = |under_way: &[RecordMeta]| {
        let sum = |intervals: Vec<Interval>| intervals.iter().map(|i| i.samples).sum::<u64>();
        let lost = buffer.lost_intervals("hq", under_way, None).unwrap();
        let pending = buffer.pending_intervals("hq", under_way).unwrap();
        assert_eq!(pending[0].first_ms == NOW, !under_way.is_empty());
        (sum(lost), sum(pending))
    };
    let (evicted, pending) = (before.evicted.samples, before.pending.counts.samples);
    assert_eq!(told(&under_way), (evicted - 300, pending + 300));
    assert_eq!(told(&[]), (evicted, pending), "nobody waits for an answer");
    buffer.acknowledge("hq", &under_way).unwrap();
    let after = counts(&buffer);
    assert_eq!(after.evicted.samples, evicted - 300);
    assert_eq!(after.acknowledged.samples, 300);
    assert_eq!(told(&[]), (evicted - 300, pending));
}

#[test]
fn a_full_disk_evicts_and_goes_on() {
    let disk = SimDisk::new(1);
    let buffer = open(&disk);
    disk.set_capacity(Some(700 << 10));
    let mut refused = 0;
    for at in 0..1500 {
        refused += u32::from(buffer.append(&scrape(at, 300)).is_err());
        buffer.sync().unwrap();
    }
    assert_eq!(refused, 0);
    assert!(counts(&buffer).evicted.samples > 0);
    assert_eq!(counts(&buffer).scraped.samples, 1500 * 300);
}

#[test]
fn damage_costs_the_rest_of_a_session_and_is_counted() {
    for (bit_of, seed) in [(0.4, 1), (0.6, 2), (0.95, 3)] {
        let disk = SimDisk::new(seed);
        let buffer = open(&disk);
        for at in 0..20 {
            buffer.append(&scrape(at, 50)).unwrap();
        }
        buffer.sync().unwrap();
        let known = select(&buffer, Want::Oldest, 100);
        let (path, bytes) = segment_file(&disk);
        let bit = (bytes as f64 * 8.0 * bit_of) as u64;
        disk.flip_bit(&path, bit).unwrap();
        buffer.begin_session(None);
        for at in 20..25 {
            buffer.append(&scrape(at, 50)).unwrap();
        }
        buffer.sync().unwrap();
        let expected = counts(&buffer).scraped;
        // Met while sending what was walked before…
        let batch = buffer.load(&known).unwrap();
        let whole = batch.records.len();
        assert!((1..20).contains(&whole), "{whole}");
        assert_eq!(batch.records, known[..whole]);
        let lost = 20 - whole as u64;
        let check = |buffer: &Buffer| {
            let left = select(buffer, Want::Oldest, 100);
            assert_eq!(left.len() as u64, 25 - lost);
            assert_eq!(buffer.load(&left).unwrap().records, left);
            let books = counts(buffer);
            assert!(books.balance(), "{books:?}");
            assert_eq!(
                (books.damaged.samples, books.scraped),
                (50 * lost, expected)
            );
            // The hub is told which time that is.
            let told = buffer.lost_intervals("hq", &[], None).unwrap();
            let [told] = &told[..] else {
                panic!("{told:?}")
            };
            let first_lost = NOW + 1000 * whole as i64;
            assert!(told.first_ms <= first_lost && told.last_ms >= NOW + 19_000);
            assert!(told.first_ms >= first_lost - 1000 && told.last_ms <= NOW + 20_000);
            assert_eq!((told.samples, &*told.reason), (50 * lost, "damaged"));
        };
        check(&buffer);
        drop(buffer);
        // …and met anew after a restart.
        check(&open(&disk));
    }
}

#[test]
fn the_time_without_an_edge_is_reported_as_lost() {
    let disk = SimDisk::new(1);
    let buffer = open(&disk);
    for at in [0, 15] {
        buffer.append(&scrape(at, 4)).unwrap();
    }
    buffer.sync().unwrap();
    drop(buffer);
    // A quick restart is none, a night is.
    let buffer = open(&disk);
    buffer.append(&scrape(60, 4)).unwrap();
    buffer.sync().unwrap();
    assert_eq!(buffer.lost_intervals("hq", &[], None).unwrap(), []);
    buffer.save().unwrap();
    drop(buffer);
    let buffer = open(&disk);
    buffer.append(&scrape(30_000, 4)).unwrap();
    buffer.append(&scrape(30_015, 4)).unwrap();
    buffer.sync().unwrap();
    buffer.save().unwrap();
    drop(buffer);
    let lost = open(&disk).lost_intervals("hq", &[], None).unwrap();
    let [lost] = &lost[..] else {
        panic!("{lost:?}")
    };
    assert_eq!(
        (
            lost.first_ms,
            lost.last_ms,
            lost.samples,
            lost.reason.as_str()
        ),
        (NOW + 60_001, NOW + 29_999_999, 0, "edge-down")
    );
}

#[test]
fn segments_can_be_read_without_the_ones_before() {
    let disk = SimDisk::new(1);
    let buffer = open_with(&disk, options(1 << 20));
    buffer.attach("hq").unwrap();
    for at in 0..60 {
        buffer.append(&scrape(at, 300)).unwrap();
    }
    buffer.sync().unwrap();
    let all = select(&buffer, Want::Oldest, 1000);
    let starts = all.iter().filter(|record| record.number == 0).count();
    assert!(starts > 1, "{starts} sessions");
    // From the end to the beginning, each on its own.
    for record in all.iter().rev() {
        let batch = buffer.load(&[*record]).unwrap();
        let request = decode(&compress(&batch.message), &Limits::default()).unwrap();
        assert_eq!(request.timeseries.len(), 301);
    }
    assert_eq!(all.len(), 60);
}

#[test]
fn last_records_that_the_disk_lost_are_missed() {
    for acknowledged in [true, false] {
        let disk = SimDisk::new(1);
        let buffer = open(&disk);
        for at in 0..3 {
            buffer.append(&scrape(at, 50)).unwrap();
        }
        buffer.sync().unwrap();
        let newest = select(&buffer, Want::NewestSince(Timestamp::MIN), 2);
        let has = if acknowledged { 2 } else { 1 };
        buffer.acknowledge("hq", &newest[..has]).unwrap();
        buffer.save().unwrap();
        let before = counts(&buffer);
        drop(buffer);
        let (path, bytes) = segment_file(&disk);
        disk.flip_bit(&path, 8 * (bytes - 10)).unwrap();
        for _ in 0..2 {
            let buffer = open(&disk);
            let after = counts(&buffer);
            assert_eq!(
                (after.scraped, after.acknowledged),
                (before.scraped, before.acknowledged)
            );
            assert_eq!(after.damaged.samples, if acknowledged { 0 } else { 50 });
            buffer.save().unwrap();
        }
        let buffer = open(&disk);
        buffer.append(&scrape(9, 50)).unwrap();
        buffer.sync().unwrap();
        let newest = select(&buffer, Want::NewestSince(Timestamp::MIN), 1);
        assert_eq!(
            seqs(&newest),
            [4],
            "the lost record's number is not used again"
        );
        assert_eq!(counts(&buffer).scraped.samples, 200);
    }
}

#[test]
fn lost_small_files_cost_no_record() {
    use journal::Disk as _;
    for lost in ["state", "cursor"] {
        let disk = SimDisk::new(1);
        let buffer = open(&disk);
        buffer.append(&scrape(0, 4)).unwrap();
        buffer.append(&scrape(1, 4)).unwrap();
        buffer.sync().unwrap();
        buffer
            .acknowledge("hq", &select(&buffer, Want::Oldest, 1))
            .unwrap();
        buffer.save().unwrap();
        drop(buffer);
        let files = disk.files();
        let (path, _) = files
            .iter()
            .find(|(path, _)| path.to_string_lossy().contains(&format!("/{lost}")))
            .unwrap();
        disk.remove(path).unwrap();
        let buffer = open(&disk);
        assert_eq!(buffer.epoch(), 77);
        let pending = if lost == "state" { 1 } else { 2 };
        assert_eq!(
            (
                counts(&buffer).pending.records,
                counts(&buffer).scraped.samples
            ),
            (pending, 8)
        );
    }
}

#[test]
fn a_failed_fsync_is_said() {
    let disk = SimDisk::new(1);
    let buffer = open(&disk);
    buffer.append(&scrape(0, 4)).unwrap();
    disk.fail_syncs(1);
    assert!(buffer.sync().is_err());
    assert!(buffer.append(&scrape(1, 4)).is_err());
    assert!(buffer.status().poisoned.is_some());
    assert_eq!(counts(&buffer).scraped, Counts::default());
}
