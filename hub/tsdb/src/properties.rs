//! Random writes, deletions, seals, merges, restarts, crashes and faults against a plain map. Whatever happens, the store must
//! answer as some prefix of the batches and deletions does, one that has all that is acknowledged as durable.

use std::collections::BTreeMap;

use journal::sim::SimDisk;
use model::{LabelSet, Matcher, Sample, Timestamp, Value};
use proptest::prelude::*;

use crate::{
    rows::tests::value,
    tests::{at, labels, open, options},
    *,
};

const SERIES: [&str; 5] = [
    "up,job=a",
    "up,job=b",
    "up",
    "down,job=a,x=1",
    "down,job=b,x=2",
];
/// Five partitions of a minute.
const TIME_MS: i64 = 300_000;

#[derive(Debug, Clone)]
enum Op {
    /// (series, spelling, samples) of one batch.
    Append(Vec<(usize, u8, Vec<Sample>)>),
    /// Label `job`, or all series; from, to.
    Delete(Option<&'static str>, i64, i64),
    Clean,
    Sync,
    Seal,
    Maintain,
    Check(i64, i64),
    Restart,
    Crash,
    CrashAfter(u64),
    FailSync,
    Capacity(Option<u64>),
}

fn sample() -> impl Strategy<Value = Sample> {
    let start = prop_oneof![5 => Just(None), 1 => (0..TIME_MS).prop_map(|t| Some(at(t)))];
    // Few distinct times, so that writes meet.
    let time = prop_oneof![3 => (0..30_i64).prop_map(|t| t * 10_000), 1 => 0..TIME_MS];
    (time, start, value()).prop_map(|(time, start, value)| Sample {
        at: at(time),
        start,
        value,
    })
}

fn op() -> impl Strategy<Value = Op> {
    let series = (
        0..SERIES.len(),
        0..3_u8,
        prop::collection::vec(sample(), 0..8),
    );
    prop_oneof![
        16 => prop::collection::vec(series, 1..4).prop_map(Op::Append),
        2 => (prop::option::of(prop_oneof![Just("a"), Just("b"), Just("")]), 0..TIME_MS, 0..TIME_MS)
            .prop_map(|(job, from, to)| Op::Delete(job, from.min(to), from.max(to))),
        1 => Just(Op::Clean),
        3 => Just(Op::Sync),
        3 => Just(Op::Seal),
        3 => Just(Op::Maintain),
        3 => (0..TIME_MS, 0..TIME_MS).prop_map(|(from, to)| Op::Check(from, to)),
        1 => Just(Op::Restart),
        2 => Just(Op::Crash),
        3 => (1..40_u64).prop_map(Op::CrashAfter),
        1 => Just(Op::FailSync),
        1 => prop::option::of(0..2000_u64).prop_map(Op::Capacity),
    ]
}

type Map = BTreeMap<LabelSet, BTreeMap<i64, (Option<Timestamp>, Value)>>;

#[derive(Debug, Clone, PartialEq)]
enum Written {
    Batch(Vec<(usize, Vec<Sample>)>),
    Deleted(Vec<Matcher>, TimeRange),
}

struct Model {
    disk: SimDisk,
    options: StoreOptions,
    store: Option<Store>,
    /// Batches and deletions in the order of writing.
    batches: Vec<Written>,
    /// A deletion that may be found after a restart: nothing is written after it.
    unsure: Option<Written>,
    /// How many of them are acknowledged as durable.
    durable: usize,
    fsync_failed: bool,
}

impl Model {
    fn new(seed: u64) -> Self {
        let mut options = options();
        options.wal.segment_bytes_max = 600;
        options.seal.rows_max = 25;
        options.seal.merge_width = 2;
        let disk = SimDisk::new(seed);
        let store = Some(open(&disk, &options));
        Self {
            disk,
            options,
            store,
            batches: Vec::new(),
            unsure: None,
            durable: 0,
            fsync_failed: false,
        }
    }

    fn run(&mut self, ops: &[Op]) -> Result<(), String> {
        for (i, op) in ops.iter().enumerate() {
            self.step(op).map_err(|e| format!("op {i}: {e}"))?;
            if self.disk.is_down() {
                self.crash().map_err(|e| format!("crash in op {i}: {e}"))?;
            }
        }
        self.check(TimeRange::ALL)?;
        self.crash().map_err(|e| format!("last crash: {e}"))
    }

    fn step(&mut self, op: &Op) -> Result<(), String> {
        let store = self.store.as_ref().ok_or("no store")?;
        match op {
            Op::Append(batch) => {
                let parsers: Vec<_> = batch
                    .iter()
                    .map(|(series, ..)| move || labels(SERIES[*series]))
                    .collect();
                let one =
                    |((series, spelling, samples), parse): (&(usize, u8, Vec<Sample>), &'_ _)| {
                        let key = store.series_key("s", format!("{series}/{spelling}").as_bytes());
                        (key, samples.clone(), *parse)
                    };
                let prepared: Vec<_> = batch.iter().zip(&parsers).map(one).collect();
                let series = prepared
                    .iter()
                    .map(|(key, samples, parse)| BatchSeries {
                        key: *key,
                        labels: parse,
                        samples,
                    })
                    .collect();
                let result = store.append(&Batch {
                    scope: "s",
                    series,
                    metadata: vec![],
                });
                let written = batch
                    .iter()
                    .map(|(series, _, samples)| (*series, samples.clone()));
                let written = Written::Batch(written.collect());
                match result {
                    Ok(appended) if appended.refused.is_empty() => self.batches.push(written),
                    Ok(appended) => return Err(format!("refused: {:?}", appended.refused)),
                    // The power went during the write: it may be there.
                    Err(_) if self.disk.is_down() => self.batches.push(written),
                    Err(_) => {}
                }
            }
            Op::Delete(job, from, to) => {
                let matchers = job.map(|job| Matcher::equal("job", job));
                let matchers: Vec<Matcher> = matchers.into_iter().collect();
                let range = TimeRange::new(at(*from), at(*to));
                let result = store.delete(&matchers, range);
                let written = Written::Deleted(matchers, range);
                match result {
                    Ok(_) => {
                        self.batches.push(written);
                        self.durable = self.batches.len();
                    }
                    Err(_) if self.disk.is_down() || self.fsync_failed => {
                        self.unsure.get_or_insert(written);
                    }
                    Err(_) => {}
                }
            }
            // As with maintenance below.
            Op::Clean => drop(store.clean_tombstones()),
            Op::Sync => {
                if store.sync().is_ok() {
                    self.durable = self.batches.len();
                }
            }
            Op::Seal => {
                if store.close().is_ok() {
                    self.durable = self.batches.len();
                }
            }
            // Disk full, a failed fsync or the power: told, and nothing is lost.
            Op::Maintain => drop(store.maintain(at(TIME_MS))),
            Op::Check(from, to) if !self.disk.is_down() => {
                self.check(TimeRange::new(at(*from), at(*to)))?
            }
            Op::Check(..) => {}
            // After a failed fsync the kernel would show what the platter lacks.
            Op::Restart if self.fsync_failed => self.crash()?,
            Op::Restart => {
                self.store = None;
                self.disk.set_capacity(None);
                self.reopen()?;
            }
            Op::Crash => self.crash()?,
            Op::CrashAfter(changes) => self.disk.crash_after(Some(*changes)),
            Op::FailSync => {
                self.fsync_failed = true;
                self.disk.fail_syncs(1);
            }
            Op::Capacity(room) => {
                let used = self.disk.used_bytes();
                self.disk.set_capacity(room.map(|room| used + room));
            }
        }
        Ok(())
    }

    fn crash(&mut self) -> Result<(), String> {
        self.disk.crash();
        self.disk.fail_syncs(0);
        self.disk.set_capacity(None);
        self.fsync_failed = false;
        self.store = None;
        self.reopen()
    }

    fn reopen(&mut self) -> Result<(), String> {
        let opened = Store::open(
            std::sync::Arc::new(self.disk.clone()),
            std::path::Path::new(crate::tests::DIR),
            self.options.clone(),
        );
        match opened {
            Ok(store) => self.store = Some(store),
            Err(_) if self.disk.is_down() => return self.crash(),
            Err(e) => return Err(format!("open: {e}")),
        }
        if self.disk.is_down() {
            return self.crash();
        }
        let found = self.found(TimeRange::ALL)?;
        let written = self.batches.len();
        self.batches.extend(self.unsure.take());
        let fits = (self.durable..=self.batches.len())
            .find(|count| self.expected(*count, TimeRange::ALL) == found);
        let Some(count) = fits else {
            let durable = self.durable;
            let expected = self.expected(durable, TimeRange::ALL);
            return Err(format!(
                "found what no prefix of {durable} to {written} batches gives:\n{found:?}\n{durable} would give\n{expected:?}"
            ));
        };
        self.batches.truncate(count);
        self.durable = count;
        Ok(())
    }

    fn check(&self, range: TimeRange) -> Result<(), String> {
        let (found, expected) = (self.found(range)?, self.expected(self.batches.len(), range));
        if found != expected {
            return Err(format!("found {found:?}\nexpected {expected:?}"));
        }
        Ok(())
    }

    fn found(&self, range: TimeRange) -> Result<Map, String> {
        let store = self.store.as_ref().ok_or("no store")?;
        let selection = store
            .select(&[], range, &SelectLimits::default(), &|| false)
            .map_err(|e| format!("select: {e}"))?;
        if !selection.warnings.is_empty() {
            return Err(format!("warnings: {:?}", selection.warnings));
        }
        if !selection.series.is_sorted_by(|a, b| a.labels < b.labels) {
            return Err("not in label order".to_owned());
        }
        crate::stream::tests::check(store, range, &selection)?;
        let mut found = Map::new();
        let listed = store.series(&[], range, &SelectLimits::default());
        let listed = listed.map_err(|e| format!("series: {e}"))?;
        let unlisted = |series: &&Series| !listed.contains(&series.labels);
        if let Some(series) = selection.series.iter().find(unlisted) {
            return Err(format!("not listed: {}", series.labels));
        }
        for series in selection.series {
            if !series.timestamps.is_sorted_by(|a, b| a < b) {
                return Err("not in order of time".to_owned());
            }
            let start = |i: usize| {
                series
                    .starts
                    .get(i)
                    .copied()
                    .filter(|s| *s != NO_START)
                    .map(at)
            };
            let values = series
                .timestamps
                .iter()
                .zip(series.values.iter())
                .enumerate();
            found.insert(
                series.labels.clone(),
                values
                    .map(|(i, (time, value))| (*time, (start(i), value)))
                    .collect(),
            );
        }
        Ok(found)
    }

    fn expected(&self, count: usize, range: TimeRange) -> Map {
        let mut map = Map::new();
        for written in &self.batches[..count] {
            self.expect(&mut map, written, range);
        }
        map.retain(|_, samples| !samples.is_empty());
        map
    }

    fn expect(&self, map: &mut Map, written: &Written, range: TimeRange) {
        let batch = match written {
            Written::Batch(batch) => batch,
            Written::Deleted(matchers, gone) => {
                for (labels, samples) in map {
                    let fits = |matcher: &Matcher| {
                        matcher.matches(labels.get(matcher.name()).unwrap_or(""))
                    };
                    if matchers.iter().all(fits) {
                        samples.retain(|time, _| !gone.contains(*time));
                    }
                }
                return;
            }
        };
        for (series, samples) in batch {
            for sample in samples
                .iter()
                .filter(|sample| range.start <= sample.at && sample.at <= range.end)
            {
                let series = map
                    .entry(labels(SERIES[*series]).unwrap_or_default())
                    .or_default();
                series.insert(sample.at.millis(), (sample.start, sample.value.clone()));
            }
        }
    }
}

/// As many as take a few seconds; with BRANCHLINE_TESTS_ALL=true 10,000, or what PROPTEST_CASES says if
/// that is more.
fn cases() -> u32 {
    let all = std::env::var("BRANCHLINE_TESTS_ALL").is_ok_and(|all| all == "true");
    match all {
        true => ProptestConfig::default().cases.max(10_000),
        false => 300,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), ..ProptestConfig::default() })]

    #[test]
    fn the_store_answers_as_a_map_does(seed: u64, ops in prop::collection::vec(op(), 1..60)) {
        let mut model = Model::new(seed);
        prop_assert_eq!(model.run(&ops), Ok(()));
    }
}

/// The property above is worth something: on a disk whose fsync does nothing it fails.
#[test]
fn a_disk_that_does_not_sync_is_caught() {
    let caught = (0..20).filter(|&seed| {
        let mut model = Model::new(seed);
        model.disk.ignore_syncs(true);
        let append = |time| Op::Append(vec![(0, 0, vec![Sample::float(at(time), 1.0)])]);
        let ops = [
            append(1),
            Op::Sync,
            append(2),
            Op::Seal,
            append(3),
            Op::Sync,
            Op::Crash,
        ];
        model.run(&ops).is_err()
    });
    assert!(caught.count() >= 10);
}

#[test]
fn the_same_seed_gives_the_same_store() {
    let run = || {
        let mut model = Model::new(42);
        let append = |time| Op::Append(vec![(0, 0, vec![Sample::float(at(time), 1.0)])]);
        let ops = [
            append(1),
            Op::Seal,
            append(2),
            Op::Sync,
            append(3),
            Op::CrashAfter(7),
            Op::Seal,
            append(4),
            Op::Maintain,
        ];
        model.run(&ops).unwrap();
        (model.batches, model.disk.files(), model.disk.changes())
    };
    assert_eq!(run(), run());
}
