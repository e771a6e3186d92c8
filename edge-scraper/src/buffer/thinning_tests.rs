//! Eviction policies as a whole: what is left, what it costs in the books, and what a crash leaves.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use daemon::SimClock;
use journal::sim::SimDisk;
use model::{Exemplar, Histogram, LabelSet, Metadata, Sample, Series, Timestamp};
use wire::remote_write::{Limits, compress, decode};

use super::*;
use crate::planted::{Planted, while_planted};
use crate::scrape::{Class, Scrape};

const NOW: i64 = 1_700_000_000_000;
const SERIES: usize = 250;
const BYTES_MAX: u64 = 400 << 10;

fn labels(name: &str, job: &str, n: usize) -> LabelSet {
    LabelSet::from_pairs([("__name__", name), ("job", job), ("n", &n.to_string())]).unwrap()
}

fn series(name: &str, job: &str, n: usize) -> Series {
    labels(name, job, n).into()
}

/// Ordinary series, one that is kept, and a marker.
fn scrape(at: i64) -> Scrape {
    let at = Timestamp::from_millis(NOW + 1000 * at);
    let ordinary = (0..SERIES).map(|n| {
        let noise = (n as u64 + at.millis() as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 11;
        (series("m", "shop", n), Sample::float(at, noise as f64))
    });
    let kept = (series("sales", "pos", 0), Sample::float(at, 1.0));
    let ended = (series("ended", "shop", 0), Sample::stale(at));
    Scrape {
        at,
        target: 1,
        class: Class::Ordinary,
        series: ordinary.chain([kept, ended]).collect(),
        exemplars: Vec::new(),
        metadata: Vec::new(),
    }
}

fn open(disk: &SimDisk, thin_to_every: Option<u32>, keep: &[&str]) -> Buffer {
    let options = BufferOptions {
        bytes_max: BYTES_MAX,
        sync_bound: None,
        epoch_if_new: Some(77),
        eviction: EvictionPolicy {
            thin_to_every,
            keep: (keep.iter())
                .map(|text| wire::selector::parse(text).unwrap())
                .collect(),
        },
        ..BufferOptions::default()
    };
    let clock = Arc::new(SimClock::new(Timestamp::from_millis(NOW)));
    let buffer = Buffer::open(
        Arc::new(disk.clone()),
        Path::new("/d/buffer"),
        options,
        clock,
    );
    let buffer = buffer.unwrap();
    buffer.attach("hq").unwrap();
    buffer
}

const KEEP: &[&str] = &[r#"{job="pos"}"#];

/// Scrapes from `from` on until the policy has been at work `times` times, and one beyond.
fn fill(buffer: &Buffer, from: i64, until: impl Fn(&HubCounts) -> bool) -> i64 {
    for at in from..from + 5000 {
        buffer.append(&scrape(at)).unwrap();
        buffer.sync().unwrap();
        assert!(buffer.status().bytes <= BYTES_MAX);
        if until(&counts(buffer)) {
            return at + 1;
        }
    }
    panic!("it never came so far: {:?}", counts(buffer));
}

fn counts(buffer: &Buffer) -> HubCounts {
    let counts = buffer.counts("hq").unwrap();
    assert!(counts.balance(), "{counts:?}");
    counts
}

fn pending(buffer: &Buffer) -> Vec<RecordMeta> {
    let limits = BatchLimits {
        samples_max: u64::MAX,
        payload_bytes_max: u64::MAX,
        stored_bytes_max: u64::MAX,
        records_max: usize::MAX,
        target_once: false,
    };
    let nothing = SequenceSet::default();
    buffer
        .select("hq", Want::Oldest, &nothing, &limits)
        .unwrap()
}

/// The times at which series have samples (seconds after the start), by job and name.
fn contents(buffer: &Buffer) -> BTreeMap<(String, String), BTreeSet<i64>> {
    let mut found: BTreeMap<(String, String), BTreeSet<i64>> = BTreeMap::new();
    let records = pending(buffer);
    for record in &records {
        let batch = buffer.load(&[*record]).unwrap();
        assert_eq!(batch.records.len(), 1, "{record:?}");
        let request = decode(&compress(&batch.message), &Limits::default()).unwrap();
        let count = request
            .timeseries
            .iter()
            .map(|s| s.samples.len() + s.histograms.len());
        let said = record.counts.samples + record.counts.markers;
        assert_eq!(count.sum::<usize>() as u64, said, "{record:?}");
        for series in request.timeseries {
            let value = |name: &str| {
                let label = series.labels.iter().find(|label| label.name == name);
                label.map_or(String::new(), |label| label.value.clone())
            };
            let times = series.samples.iter().map(|sample| sample.timestamp);
            let times = times.chain(series.histograms.iter().map(|h| h.timestamp));
            let times = times.map(|at| (at - NOW) / 1000);
            found
                .entry((value("job"), value("__name__")))
                .or_default()
                .extend(times);
        }
    }
    found
}

fn of<'c>(
    contents: &'c BTreeMap<(String, String), BTreeSet<i64>>,
    job: &str,
    name: &str,
) -> &'c BTreeSet<i64> {
    &contents[&(job.to_owned(), name.to_owned())]
}

#[test]
fn every_fourth_scrape_stays_and_markers_and_kept_series_do() {
    let disk = SimDisk::new(1);
    let buffer = open(&disk, Some(4), KEEP);
    let end = fill(&buffer, 0, |counts| counts.thinned.samples > 60_000);
    let books = counts(&buffer);
    // A header of 56 bytes, the frame with a kept series and a marker.
    let thinned = pending(&buffer).into_iter().take(40).skip(4);
    let sizes: Vec<(u64, u64)> = thinned
        .map(|record| (record.counts.samples, record.stored_bytes))
        .collect();
    assert!(
        sizes
            .iter()
            .all(|(samples, bytes)| *samples > 1 || *bytes < 90),
        "{sizes:?}"
    );
    let bytes = buffer.journal.segments()[0].bytes;
    assert!(bytes < 34 << 10, "{bytes} of about 64 KiB");
    assert_eq!(books.evicted, books.thinned);
    assert_eq!(books.evicted.markers, 0);
    let contents = contents(&buffer);
    assert_eq!(of(&contents, "pos", "sales").len() as i64, end);
    assert_eq!(of(&contents, "shop", "ended").len() as i64, end);
    let left: Vec<i64> = of(&contents, "shop", "m").iter().copied().collect();
    let gaps: Vec<i64> = left.windows(2).map(|pair| pair[1] - pair[0]).collect();
    let thinned = gaps.iter().filter(|gap| **gap == 4).count();
    // Segments follow each other without a seam; what is not thinned yet follows at a distance of 4 at most.
    assert!(
        gaps.iter().all(|gap| [1, 2, 3, 4].contains(gap)),
        "{gaps:?}"
    );
    assert!(
        gaps.iter().skip_while(|gap| **gap == 4).all(|gap| *gap < 4),
        "{gaps:?}"
    );
    assert!(thinned > 60, "{gaps:?}");
    let lost = buffer.lost_intervals("hq", &[], None).unwrap();
    assert_eq!(
        (lost.len(), lost[0].reason.as_str(), lost[0].samples),
        (1, "thinned", books.thinned.samples)
    );
}

#[test]
fn kept_series_go_last() {
    let disk = SimDisk::new(1);
    let buffer = open(&disk, Some(4), KEEP);
    fill(&buffer, 0, |counts| {
        counts.evicted.samples > counts.thinned.samples + 50_000
    });
    let found = contents(&buffer);
    let (kept, ordinary) = (of(&found, "pos", "sales"), of(&found, "shop", "m"));
    assert_eq!(kept.first(), Some(&0));
    assert!(ordinary.first() > Some(&100), "{ordinary:?}");
    // Until nothing else is left in closed segments.
    let buffer_was = counts(&buffer).evicted.markers;
    assert_eq!(buffer_was, 0);
    let next = 1 + kept.last().unwrap();
    fill(&buffer, next, |counts| counts.evicted.markers > 0);
    let found = contents(&buffer);
    let (kept, ordinary) = (of(&found, "pos", "sales"), of(&found, "shop", "m"));
    assert!(kept.first() > Some(&0));
    let newest = buffer
        .stretches()
        .last()
        .map(|stretch| stretch.first)
        .unwrap();
    let first_of_newest = pending(&buffer)
        .iter()
        .find(|record| record.seq >= newest)
        .unwrap()
        .at;
    let first_of_newest = (first_of_newest.millis() - NOW) / 1000;
    assert!(
        ordinary.first().is_none_or(|at| *at >= first_of_newest),
        "{ordinary:?}"
    );
    let reasons: BTreeSet<String> = buffer
        .lost_intervals("hq", &[], None)
        .unwrap()
        .into_iter()
        .map(|lost| lost.reason)
        .collect();
    assert_eq!(reasons, ["evicted".to_owned(), "thinned".to_owned()].into());
}

#[test]
fn what_hubs_have_goes_before_anything_is_thinned() {
    let disk = SimDisk::new(1);
    let buffer = open(&disk, Some(4), KEEP);
    for at in 0..600 {
        buffer.append(&scrape(at)).unwrap();
        buffer.sync().unwrap();
        buffer.acknowledge("hq", &pending(&buffer)).unwrap();
    }
    let books = counts(&buffer);
    assert_eq!((books.evicted, books.thinned), Default::default());
    assert!(buffer.stretches()[0].first > 1);
}

#[test]
fn what_was_under_way_counts_as_it_was_sent() {
    let disk = SimDisk::new(1);
    let buffer = open(&disk, Some(4), KEEP);
    (0..3).for_each(|at| buffer.append(&scrape(at)).unwrap());
    buffer.sync().unwrap();
    let under_way = pending(&buffer);
    fill(&buffer, 3, |counts| counts.thinned.samples > 10_000);
    let before = counts(&buffer);
    // The second and third scrape were thinned meanwhile: what is left of them, and their frames, are others now.
    assert!(buffer.load(&under_way).unwrap().records.is_empty());
    let mut reader = FrameReader::default();
    let sent = &under_way[1];
    let frame =
        |reader: &mut FrameReader, session| buffer.frame(reader, sent.seq, session).unwrap();
    assert_eq!(frame(&mut reader, sent.session), FrameFound::Gone);
    let now = pending(&buffer)
        .iter()
        .find(|record| record.seq == sent.seq)
        .copied()
        .unwrap();
    assert!(matches!(
        frame(&mut reader, now.session),
        FrameFound::Here(_)
    ));
    assert_eq!(
        (now.counts.samples, sent.counts.samples),
        (1, SERIES as u64 + 1)
    );
    buffer.quarantine("hq", &under_way[2..]).unwrap();
    assert_eq!(
        counts(&buffer).quarantined,
        Counts {
            samples: 1,
            markers: 1
        }
    );
    buffer.acknowledge("hq", &under_way[..2]).unwrap();
    let after = counts(&buffer);
    assert_eq!(after.acknowledged.samples, 2 * (SERIES as u64 + 1));
    assert_eq!(
        before.thinned.samples - after.thinned.samples,
        SERIES as u64
    );
}

#[test]
fn a_reader_of_the_old_file_is_no_reader_of_the_new_one() {
    let disk = SimDisk::new(1);
    let buffer = open(&disk, Some(4), KEEP);
    (0..5).for_each(|at| buffer.append(&scrape(at)).unwrap());
    buffer.sync().unwrap();
    let old = pending(&buffer);
    fill(&buffer, 5, |counts| counts.pending.records > 100);
    let mut reader = FrameReader::default();
    // The segment is closed: the reader reads it to its end, whatever comes.
    assert!(matches!(
        buffer.frame(&mut reader, 1, old[0].session).unwrap(),
        FrameFound::Here(_)
    ));
    fill(&buffer, 1000, |counts| counts.thinned.samples > 0);
    let new = pending(&buffer);
    let (old, new) = (old[1], new[1]);
    assert_ne!(old.session, new.session);
    assert!(matches!(
        buffer.frame(&mut reader, 2, new.session).unwrap(),
        FrameFound::Here(_)
    ));
    let mut reader = FrameReader::default();
    let mixed = while_planted(Planted::MixesSessions, || {
        buffer.frame(&mut reader, 2, old.session)
    });
    assert!(
        matches!(mixed.unwrap(), FrameFound::Here(_)),
        "the check would be missed"
    );
}

#[test]
fn a_quarantined_record_that_is_thinned_is_evicted_in_part() {
    let disk = SimDisk::new(1);
    let buffer = open(&disk, Some(4), KEEP);
    (0..3).for_each(|at| buffer.append(&scrape(at)).unwrap());
    buffer.sync().unwrap();
    buffer.quarantine("hq", &pending(&buffer)).unwrap();
    fill(&buffer, 3, |counts| counts.thinned.samples > 10_000);
    assert_eq!(counts(&buffer).quarantined.samples, SERIES as u64 + 3);
    buffer.release_quarantine("hq").unwrap();
    counts(&buffer);
}

#[test]
fn hubs_that_come_later_or_lost_what_they_had_balance() {
    let disk = SimDisk::new(1);
    let buffer = open(&disk, Some(4), KEEP);
    (0..20).for_each(|at| buffer.append(&scrape(at)).unwrap());
    buffer.sync().unwrap();
    buffer.acknowledge("hq", &pending(&buffer)[10..]).unwrap();
    let end = fill(&buffer, 20, |counts| counts.thinned.samples > 30_000);
    buffer.attach("late").unwrap();
    let late = buffer.counts("late").unwrap();
    assert!(late.balance() && late.before.samples > 30_000, "{late:?}");
    let has = wire::line::link::Has {
        epoch: 77,
        records: Vec::new(),
        from: 0,
    };
    let again = buffer.reconcile("hq", &has).unwrap();
    assert!(again.samples >= 10, "{again:?}");
    counts(&buffer);
    fill(&buffer, end, |counts| {
        counts.evicted.samples > counts.thinned.samples + 30_000
    });
    assert!(buffer.counts("late").unwrap().balance());
    drop(buffer);
    disk.crash();
    let buffer = open(&disk, None, &[]);
    let late = buffer.counts("late").unwrap();
    assert!(late.balance(), "{late:?}");
    buffer.attach("latest").unwrap();
    assert!(buffer.counts("latest").unwrap().balance());
}

#[test]
fn damage_in_a_thinned_segment_costs_what_it_held() {
    let filled = || {
        let disk = SimDisk::new(1);
        let buffer = open(&disk, Some(4), KEEP);
        fill(&buffer, 0, |counts| counts.thinned.samples > 30_000);
        let segments = buffer.journal.segments();
        (disk, counts(&buffer), segments)
    };
    let (_, _, segments) = filled();
    let (first, second) = (&segments[0], &segments[1]);
    // In the beginning, the middle and at the end of thinned segments; and one of which nothing can be read.
    let spots = [
        vec![(first, 60)],
        vec![(first, first.bytes / 2)],
        vec![(first, first.bytes - 30)],
        vec![(second, 60), (second, second.bytes - 30)],
        (0..second.bytes / 40)
            .map(|n| (second, 40 * n + 33))
            .collect(),
    ];
    for (number, spots) in spots.into_iter().enumerate() {
        let (disk, before, _) = filled();
        disk.crash();
        for (segment, byte) in spots {
            disk.flip_bit(&segment.path, 8 * byte).unwrap();
        }
        let buffer = open(&disk, Some(4), KEEP);
        let after = counts(&buffer);
        assert_eq!(
            (after.scraped, after.evicted),
            (before.scraped, before.evicted),
            "{number}"
        );
        assert!(after.damaged.samples > 0, "{number}: {after:?}");
        // It is not thinned once more, and goes in its turn.
        let from = 10_000;
        fill(&buffer, from, |counts| {
            counts.evicted.samples > counts.thinned.samples + 100_000
        });
    }
}

#[test]
fn without_its_state_the_buffer_reads_from_its_records_what_was_taken() {
    use journal::Disk as _;
    let disk = SimDisk::new(1);
    let buffer = open(&disk, Some(4), KEEP);
    fill(&buffer, 0, |counts| {
        counts.evicted.samples > counts.thinned.samples + 30_000
    });
    buffer.attach("late").unwrap();
    let expected = buffer.counts("late").unwrap();
    drop(buffer);
    disk.crash();
    disk.remove(Path::new("/d/buffer/state")).unwrap();
    let buffer = open(&disk, Some(4), KEEP);
    buffer.attach("latest").unwrap();
    assert_eq!(buffer.counts("latest").unwrap(), expected);
    assert!(expected.balance());
}

/// The power goes in the middle of every change of a rewriting in turn.
#[test]
fn a_crash_in_the_middle_counts_nothing_and_nothing_twice() {
    let (mut done, mut undone) = (0, 0);
    for change in 1..=30 {
        let disk = SimDisk::new(change);
        let buffer = open(&disk, Some(4), KEEP);
        // One scrape before the first rewriting.
        let mut at = 0;
        while buffer.status().bytes + 4500 < BYTES_MAX {
            buffer.append(&scrape(at)).unwrap();
            buffer.sync().unwrap();
            at += 1;
        }
        assert_eq!(counts(&buffer).thinned, Counts::default());
        let before = counts(&buffer).scraped;
        disk.crash_after(Some(change));
        while !disk.is_down() {
            let _ = buffer.append(&scrape(at));
            at += 1;
            assert!(at < 1000);
        }
        drop(buffer);
        disk.crash();
        let buffer = open(&disk, Some(4), KEEP);
        let after = counts(&buffer);
        assert!(after.scraped.samples >= before.samples);
        match after.thinned.samples {
            0 => undone += 1,
            _ => done += 1,
        }
        if change % 6 == 0 {
            fill(&buffer, 2000, |counts| counts.evicted != counts.thinned);
        }
    }
    assert!(done > 3 && undone > 3, "{done} {undone}");
}

#[test]
fn when_the_swap_fails_nothing_more_is_written_until_it_is_opened_again() {
    for skip in 0..12 {
        let disk = SimDisk::new(skip);
        let buffer = open(&disk, Some(4), KEEP);
        let mut at = 0;
        while buffer.status().bytes + 4500 < BYTES_MAX {
            buffer.append(&scrape(at)).unwrap();
            buffer.sync().unwrap();
            at += 1;
        }
        disk.fail_sync_after(skip);
        for _ in 0..20 {
            let _ = buffer.append(&scrape(at));
            at += 1;
        }
        let _ = buffer.sync();
        buffer.acknowledge("hq", &pending(&buffer)[..1]).unwrap();
        let _ = buffer.save();
        drop(buffer);
        disk.fail_syncs(0);
        disk.crash();
        let buffer = open(&disk, Some(4), KEEP);
        counts(&buffer);
        fill(&buffer, 2000, |counts| counts.thinned.samples > 20_000);
    }
}

#[test]
fn histograms_exemplars_and_metadata_follow_their_scrape() {
    let disk = SimDisk::new(1);
    let buffer = open(&disk, Some(2), KEEP);
    let with_all = |at: i64| {
        let mut scrape = scrape(at);
        let exemplar = Exemplar {
            labels: LabelSet::from_pairs([("trace_id", "x")]).unwrap(),
            value: 1.0,
            at: scrape.at,
        };
        for (name, job) in [("h", "shop"), ("h", "pos")] {
            let histogram = Sample::histogram(scrape.at, Histogram::default());
            scrape.series.push((series(name, job, 0), histogram));
        }
        scrape.exemplars = vec![
            (labels("m", "shop", 0), exemplar.clone()),
            (labels("sales", "pos", 0), exemplar),
        ];
        scrape.metadata = vec![("m".into(), Metadata::default())];
        scrape
    };
    (0..8).for_each(|at| buffer.append(&with_all(at)).unwrap());
    fill(&buffer, 8, |counts| counts.thinned.samples > 10_000);
    let found = contents(&buffer);
    assert_eq!(*of(&found, "shop", "h"), [0, 2, 4, 6].into());
    assert_eq!(*of(&found, "pos", "h"), (0..8).collect());
    for (number, record) in pending(&buffer)[..8].iter().enumerate() {
        let batch = buffer.load(&[*record]).unwrap();
        let request = decode(&compress(&batch.message), &Limits::default()).unwrap();
        let exemplars: usize = request.timeseries.iter().map(|s| s.exemplars.len()).sum();
        assert_eq!(
            (exemplars, request.metadata.len()),
            (2 - number % 2, 1),
            "{number}"
        );
    }
}

#[test]
fn no_series_starves_that_is_not_in_every_scrape() {
    let disk = SimDisk::new(1);
    let buffer = open(&disk, Some(4), &[]);
    for at in 0..600 {
        // As somebody pushes half of the series with every second request.
        let mut scrape = scrape(at);
        let half = |n: usize| series(["even", "odd"][n], "shop", 0);
        scrape
            .series
            .push((half(at as usize % 2), Sample::float(scrape.at, 1.0)));
        buffer.append(&scrape).unwrap();
        buffer.sync().unwrap();
    }
    assert!(counts(&buffer).thinned.samples > 20_000);
    let found = contents(&buffer);
    for name in ["even", "odd"] {
        let times: Vec<i64> = of(&found, "shop", name).iter().copied().take(15).collect();
        assert!(
            times.windows(2).all(|pair| pair[1] - pair[0] <= 4),
            "{name}: {times:?}"
        );
    }
}

#[test]
fn a_critical_scrape_stays_whole() {
    let disk = SimDisk::new(1);
    let buffer = open(&disk, Some(4), KEEP);
    for at in 0..600 {
        let class = match at {
            3 => Class::Critical,
            _ => Class::Ordinary,
        };
        buffer
            .append(&Scrape {
                class,
                ..scrape(at)
            })
            .unwrap();
        buffer.sync().unwrap();
    }
    assert!(counts(&buffer).evicted.samples > 60_000);
    let records = pending(&buffer);
    assert_eq!(records[3].counts.samples, SERIES as u64 + 1);
    assert!(records[2].counts.samples <= 1);
}

/// Scrapes, answers and tending from threads of their own.
#[test]
fn tending_beside_scrapes_and_answers_counts_all() {
    let disk = SimDisk::new(1);
    let buffer = open(&disk, Some(4), KEEP);
    let is_over = std::sync::atomic::AtomicBool::new(false);
    let over = || is_over.load(std::sync::atomic::Ordering::Relaxed);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over() {
                buffer.tend().unwrap();
            }
        });
        scope.spawn(|| {
            while !over() {
                let mut some = pending(&buffer);
                some.retain(|record| record.seq % 5 == 0);
                let sent = buffer.load(&some).unwrap();
                buffer.acknowledge("hq", &sent.records).unwrap();
            }
        });
        for at in 0..400 {
            buffer.append(&scrape(at)).unwrap();
            buffer.sync().unwrap();
            counts(&buffer);
        }
        is_over.store(true, std::sync::atomic::Ordering::Relaxed);
    });
    let books = counts(&buffer);
    assert!(
        books.thinned.samples > 10_000 && books.acknowledged.samples > 1000,
        "{books:?}"
    );
    drop(buffer);
    disk.crash();
    counts(&open(&disk, Some(4), KEEP));
}

#[test]
fn whoever_tends_it_saves_scrapes_the_wait() {
    let disk = SimDisk::new(1);
    let buffer = open(&disk, Some(4), KEEP);
    let mut at = 0;
    while counts(&buffer).thinned.samples < 20_000 {
        buffer.append(&scrape(at)).unwrap();
        buffer.sync().unwrap();
        let before = (counts(&buffer).thinned, buffer.status().bytes);
        buffer.tend().unwrap();
        let after = (counts(&buffer).thinned, buffer.status().bytes);
        if before != after {
            assert!(before.1 > BYTES_MAX - 2 * (64 << 10) && before.1 > after.1);
            assert!(before.1 < BYTES_MAX - (32 << 10), "before it is full");
        }
        at += 1;
    }
    // What hubs have needs no tending.
    buffer.acknowledge("hq", &pending(&buffer)).unwrap();
    let before = buffer.status().bytes;
    buffer.tend().unwrap();
    assert_eq!(buffer.status().bytes, before);
}
