//! Random writes, deletions, seals, restarts, crashes and faults against a plain list of exemplars. Whatever happens, the
//! store must have those that some prefix of what was written leaves, one that has all that is acknowledged as durable.

use std::{path::Path, sync::Arc};

use journal::{Disk as _, sim::SimDisk};
use model::{Exemplar, Matcher};
use proptest::prelude::*;

use super::tests::{Line, append, exemplar};
use crate::{
    tests::{DIR, at, open, options},
    *,
};

const SERIES: [&str; 4] = ["a", "b", "c", "d"];
const TRACES: [&str; 3] = ["", "1", "2"];
/// Exemplars are before it, samples there: deletions are of exemplars, and every series has samples throughout.
const SAMPLES_AT: i64 = 100_000;
const TIME_MS: i64 = 30;
const MAX: usize = 7;

/// Series, whether with a sample, and an exemplar.
type Written = (usize, bool, Option<Exemplar>);

#[derive(Debug, Clone)]
enum Op {
    Append(Vec<Written>),
    /// Series, from, to.
    Delete(usize, i64, i64),
    Sync,
    Seal,
    Maintain,
    Snapshot,
    Restart,
    Crash,
    CrashAfter(u64),
    FailSync,
    Capacity(Option<u64>),
}

fn op() -> impl Strategy<Value = Op> {
    let value = prop_oneof![Just(1.0), Just(2.0), Just(f64::NAN)];
    let exemplar = (0..TRACES.len(), 0..TIME_MS, value)
        .prop_map(|(trace, time, value)| exemplar(TRACES[trace], time, value));
    let written = (0..SERIES.len(), any::<bool>(), prop::option::of(exemplar));
    prop_oneof![
        16 => prop::collection::vec(written, 1..5).prop_map(Op::Append),
        1 => (0..SERIES.len(), 0..TIME_MS, 0..TIME_MS)
            .prop_map(|(series, from, to)| Op::Delete(series, from.min(to), from.max(to))),
        3 => Just(Op::Sync),
        3 => Just(Op::Seal),
        2 => Just(Op::Maintain),
        1 => Just(Op::Snapshot),
        1 => Just(Op::Restart),
        2 => Just(Op::Crash),
        3 => (1..40_u64).prop_map(Op::CrashAfter),
        1 => Just(Op::FailSync),
        1 => prop::option::of(0..2000_u64).prop_map(Op::Capacity),
    ]
}

/// What the ring should be, written down as simply as can be.
#[derive(Default)]
struct List {
    exemplars: Vec<(usize, Exemplar)>,
}

impl List {
    fn apply(&mut self, event: &Event) {
        match event {
            Event::Batch(batch) => {
                for (series, _, exemplar) in batch {
                    exemplar.iter().for_each(|new| self.add(*series, new));
                }
            }
            Event::Deleted(series, range) => {
                let gone = |exemplar: &Exemplar| range.contains(exemplar.at.millis());
                self.exemplars
                    .retain(|(of, exemplar)| of != series || !gone(exemplar));
            }
        }
    }

    fn add(&mut self, series: usize, new: &Exemplar) {
        let mut same = self.exemplars.iter().rev().filter(|(of, _)| *of == series);
        if let Some((_, newest)) = same.clone().next() {
            let older = new.at < newest.at || new.at == newest.at && new.value < newest.value;
            // Of one instant there are fewer here than are looked at.
            if older || same.any(|(_, known)| known == new) {
                return;
            }
        }
        self.exemplars.push((series, new.clone()));
        if self.exemplars.len() > MAX {
            self.exemplars.remove(0);
        }
    }

    fn by_series(&self) -> Vec<(usize, Vec<Exemplar>)> {
        let of = |series: usize| {
            let of = self.exemplars.iter().filter(move |(of, _)| *of == series);
            (series, of.map(|(_, exemplar)| exemplar.clone()).collect())
        };
        let all = (0..SERIES.len()).map(of);
        all.filter(|(_, exemplars): &(usize, Vec<_>)| !exemplars.is_empty())
            .collect()
    }
}

#[derive(Debug, Clone)]
enum Event {
    Batch(Vec<Written>),
    Deleted(usize, TimeRange),
}

struct Model {
    disk: SimDisk,
    options: StoreOptions,
    store: Option<Store>,
    /// In the order of writing.
    events: Vec<Event>,
    /// A deletion that may be found after a restart: nothing is written after it.
    unsure: Option<Event>,
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
        options.limits.exemplars_max = MAX;
        let disk = SimDisk::new(seed);
        let store = open(&disk, &options);
        let lines = SERIES.map(|series| -> Line<'_> { (series, &[SAMPLES_AT], &[]) });
        let known = append(&store, &lines).map(|_| store.close().is_ok());
        assert!(known.is_ok_and(|closed| closed));
        Self {
            disk,
            options,
            store: Some(store),
            events: Vec::new(),
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
            } else {
                self.check().map_err(|e| format!("after op {i}: {e}"))?;
            }
        }
        self.crash().map_err(|e| format!("last crash: {e}"))
    }

    fn step(&mut self, op: &Op) -> Result<(), String> {
        let store = self.store.as_ref().ok_or("no store")?;
        match op {
            Op::Append(batch) => {
                let line = |(series, sample, exemplar): &'_ Written| -> (_, &[i64], Vec<_>) {
                    let times: &[i64] = if *sample { &[SAMPLES_AT] } else { &[] };
                    (SERIES[*series], times, exemplar.iter().cloned().collect())
                };
                let lines: Vec<_> = batch.iter().map(line).collect();
                let lines: Vec<Line<'_>> = lines.iter().map(|(s, t, e)| (*s, *t, &e[..])).collect();
                let result = append(store, &lines);
                let written = Event::Batch(batch.clone());
                match result {
                    Ok(_) => self.events.push(written),
                    // The power went during the write: it may be there.
                    Err(_) if self.disk.is_down() => self.events.push(written),
                    Err(_) => {}
                }
            }
            Op::Delete(series, from, to) => {
                let matchers = [Matcher::equal("__name__", SERIES[*series])];
                let range = TimeRange::new(at(*from), at(*to));
                let result = store.delete(&matchers, range);
                let deleted = Event::Deleted(*series, range);
                match result {
                    Ok(_) => {
                        self.events.push(deleted);
                        self.durable = self.events.len();
                    }
                    Err(_) if self.disk.is_down() || self.fsync_failed => {
                        self.unsure.get_or_insert(deleted);
                    }
                    Err(_) => {}
                }
            }
            Op::Sync => {
                if store.sync().is_ok() {
                    self.durable = self.events.len();
                }
            }
            Op::Seal => {
                if store.close().is_ok() {
                    self.durable = self.events.len();
                }
            }
            // Disk full, a failed fsync or the power: told, and nothing is lost.
            Op::Maintain => drop(store.maintain(at(SAMPLES_AT))),
            Op::Snapshot => {
                let made = store.take_snapshot(at(0), SnapshotOf::Everything);
                if let Ok(name) = made
                    && !self.disk.is_down()
                {
                    let dir = Path::new(DIR).join("snapshots").join(name);
                    let copy = Store::open(Arc::new(self.disk.clone()), &dir, self.options.clone());
                    match copy {
                        Ok(copy) => same(&found(&copy)?, &self.expected(self.events.len()))?,
                        // No room, or no power, for the log of the copy.
                        Err(_) => drop(self.disk.remove_dir_all(&dir)),
                    }
                }
            }
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
        let disk = Arc::new(self.disk.clone());
        match Store::open(disk, Path::new(DIR), self.options.clone()) {
            Ok(store) => self.store = Some(store),
            Err(_) if self.disk.is_down() => return self.crash(),
            Err(e) => return Err(format!("open: {e}")),
        }
        if self.disk.is_down() {
            return self.crash();
        }
        let found = found(self.store.as_ref().ok_or("no store")?)?;
        self.events.extend(self.unsure.take());
        let fits = |count: &usize| same(&found, &self.expected(*count)).is_ok();
        let Some(count) = (self.durable..=self.events.len()).find(fits) else {
            let durable = self.durable;
            let expected = self.expected(durable);
            return Err(format!(
                "found what no prefix of {durable} to {} events gives:\n{found:?}\n{durable} would give\n{expected:?}",
                self.events.len()
            ));
        };
        self.events.truncate(count);
        self.durable = count;
        Ok(())
    }

    fn check(&self) -> Result<(), String> {
        let found = found(self.store.as_ref().ok_or("no store")?)?;
        same(&found, &self.expected(self.events.len()))
    }

    fn expected(&self, count: usize) -> List {
        let mut list = List::default();
        self.events[..count]
            .iter()
            .for_each(|event| list.apply(event));
        list
    }
}

fn found(store: &Store) -> Result<Vec<SeriesExemplars>, String> {
    let found = store.select_exemplars(&[&[]], TimeRange::ALL);
    match found.warnings.is_empty() {
        true => Ok(found.series),
        false => Err(format!("warnings: {:?}", found.warnings)),
    }
}

fn same(found: &[SeriesExemplars], expected: &List) -> Result<(), String> {
    let named = |series: &SeriesExemplars| (series.labels.to_string(), series.exemplars.clone());
    let found: Vec<_> = found.iter().map(named).collect();
    let expected = expected.by_series().into_iter();
    let expected: Vec<_> = expected
        .map(|(series, exemplars)| (SERIES[series].to_owned(), exemplars))
        .collect();
    match found == expected {
        true => Ok(()),
        false => Err(format!("found {found:?}\nexpected {expected:?}")),
    }
}

impl std::fmt::Debug for List {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.exemplars.fmt(f)
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
    fn the_store_has_the_exemplars_that_a_list_has(seed: u64, ops in prop::collection::vec(op(), 1..60)) {
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
        let append = |time| Op::Append(vec![(0, true, Some(exemplar("1", time, 1.0)))]);
        let ops = [
            append(1),
            Op::Seal,
            append(2),
            Op::Sync,
            append(3),
            Op::Sync,
            Op::Crash,
        ];
        model.run(&ops).is_err()
    });
    assert!(caught.count() >= 10);
}
