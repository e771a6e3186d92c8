//! A store on a disk that fails, beside the plain map that says what it must answer.

use std::{collections::BTreeMap, path::Path, sync::Arc};

use journal::sim::SimDisk;
use model::{LabelSet, Matcher, Sample, Timestamp};

use super::{
    history::{History, Map, Written},
    ops::{Line, Op, Setup, labels_of},
};
use crate::{
    tests::{DIR, at},
    *,
};

/// Where the clock of maintenance starts: half of the samples may be ahead of it.
const NOW_MS: i64 = 150_000;

pub(super) struct World {
    pub(super) disk: SimDisk,
    pub(super) options: StoreOptions,
    pub(super) store: Option<Store>,
    /// In the order of writing.
    pub(super) written: Vec<Written>,
    /// Of a deletion or retention that failed: what may be found after a restart, and behind how many of `written`.
    unsure: Vec<(usize, Written)>,
    /// How much of `written` is acknowledged as durable.
    pub(super) durable: usize,
    fsync_failed: bool,
    /// Changes after which the power goes again, once it went.
    crash_again: Option<u64>,
    now: i64,
    /// The retention by age, as the last maintenance had it: what is older may be gone.
    pub(super) oldest: i64,
    /// Times that the open store accepts.
    accepted: (i64, i64),
    /// Who brought a series first: whose limit it counts against.
    scopes: BTreeMap<LabelSet, &'static str>,
}

impl World {
    pub(super) fn new(setup: &Setup) -> Self {
        Self {
            disk: SimDisk::new(setup.disk),
            options: setup.options(),
            store: None,
            written: Vec::new(),
            unsure: Vec::new(),
            durable: 0,
            fsync_failed: false,
            crash_again: None,
            now: NOW_MS,
            oldest: i64::MIN,
            accepted: (i64::MIN, i64::MAX),
            scopes: BTreeMap::new(),
        }
    }

    /// The power goes in the middle of this change, and again so many changes later.
    pub(super) fn crash_at(&mut self, change: u64, again: Option<u64>) {
        self.disk.crash_after(Some(change));
        self.crash_again = again;
    }

    /// So many syncs work, then one fails.
    pub(super) fn fail_sync_at(&mut self, skip: u64) {
        self.fsync_failed = true;
        self.disk.fail_sync_after(skip);
    }

    pub(super) fn run(&mut self, ops: &[Op]) -> Result<(), String> {
        self.live(ops)?;
        self.crash().map_err(|e| format!("last crash: {e}"))
    }

    /// As `run`, and the store is left open.
    pub(super) fn live(&mut self, ops: &[Op]) -> Result<(), String> {
        if self.store.is_none() {
            self.reopen(0).map_err(|e| format!("first open: {e}"))?;
        }
        for (i, op) in ops.iter().enumerate() {
            self.step(op).map_err(|e| format!("op {i}: {e}"))?;
            if self.disk.is_down() {
                self.crash().map_err(|e| format!("crash in op {i}: {e}"))?;
            }
        }
        self.check(TimeRange::ALL)
    }

    fn store(&self) -> Result<&Store, String> {
        self.store.as_ref().ok_or_else(|| "no store".to_owned())
    }

    fn step(&mut self, op: &Op) -> Result<(), String> {
        match op {
            Op::Append(scope, lines) => self.append(scope, lines)?,
            Op::Delete(label, from, to) => {
                let matchers = label.map(|(name, value)| Matcher::equal(name, value));
                let matchers: Vec<Matcher> = matchers.into_iter().collect();
                let range = TimeRange::new(at(*from), at(*to));
                let result = self.store()?.delete(&matchers, range);
                let written = Written::Deleted(matchers, range);
                match result {
                    Ok(_) => {
                        self.written.push(written);
                        self.durable = self.written.len();
                    }
                    Err(_) if self.is_unsure() => self.unsure.push((self.written.len(), written)),
                    Err(_) => {}
                }
            }
            // As with maintenance.
            Op::Clean => drop(self.store()?.clean_tombstones()),
            Op::Sync => {
                if self.store()?.sync().is_ok() {
                    self.durable = self.written.len();
                }
            }
            Op::Seal => {
                if self.store()?.close().is_ok() {
                    self.durable = self.written.len();
                }
            }
            Op::Maintain(later) => self.maintain(*later)?,
            Op::Check(from, to) if !self.disk.is_down() => {
                self.check(TimeRange::new(at(*from), at(*to)))?;
            }
            Op::Check(..) => {}
            // After a failed fsync the kernel would show what the platter lacks.
            Op::Restart if self.fsync_failed => self.crash()?,
            Op::Restart => {
                self.store = None;
                self.disk.set_capacity(None);
                // The process ends and the machine goes on: nothing is lost, synced or not.
                self.reopen(self.written.len())?;
            }
            Op::Crash => self.crash()?,
            Op::CrashTwice(changes) => {
                self.crash_again = Some(*changes);
                self.crash()?;
            }
            Op::CrashAfter(changes) => self.disk.crash_after(Some(*changes)),
            Op::FailSync(skip) => self.fail_sync_at(*skip),
            Op::Capacity(room) => {
                let used = self.disk.used_bytes();
                self.disk.set_capacity(room.map(|room| used + room));
            }
        }
        Ok(())
    }

    fn is_unsure(&self) -> bool {
        self.disk.is_down() || self.fsync_failed
    }

    fn append(&mut self, scope: &'static str, lines: &[Line]) -> Result<(), String> {
        let store = self.store.as_ref().ok_or("no store")?;
        let names: Vec<LabelSet> = lines.iter().map(|l| labels_of(l.series, scope)).collect();
        let (kept, refused, created) = self.expect_refused(store, scope, lines, &names);
        let parsers: Vec<_> = names
            .iter()
            .map(|labels| move || Ok(labels.clone()))
            .collect();
        let series = lines.iter().zip(&parsers).map(|(line, labels)| {
            let bytes = format!("{}/{}", line.series, line.spelling);
            BatchSeries {
                key: store.series_key(scope, bytes.as_bytes()),
                labels,
                samples: &line.samples,
            }
        });
        let result = store.append(&Batch {
            scope,
            series: series.collect(),
            metadata: vec![],
        });
        match result {
            Ok(appended) => {
                let mut found: Vec<(usize, u64)> = appended
                    .refused
                    .iter()
                    .map(|refused| (refused.index, refused.samples))
                    .collect();
                found.sort_unstable();
                if found != refused {
                    let why = appended.refused;
                    return Err(format!("refused {why:?}, expected {refused:?}"));
                }
            }
            // The power went during the write: it may be there.
            Err(_) if self.disk.is_down() => {}
            Err(_) => return Ok(()),
        }
        let seq = match self.disk.is_down() {
            true => u64::MAX,
            false => store.wal.last_seq(),
        };
        if !kept.is_empty() {
            self.written.push(Written::Batch { seq, lines: kept });
        }
        for labels in created {
            self.scopes.insert(labels, scope);
        }
        Ok(())
    }

    /// What of a batch will be stored, (index, samples) of what will be refused, and the new series.
    #[expect(clippy::type_complexity, reason = "used once")]
    fn expect_refused(
        &self,
        store: &Store,
        scope: &'static str,
        lines: &[Line],
        names: &[LabelSet],
    ) -> (
        Vec<(LabelSet, Vec<Sample>)>,
        Vec<(usize, u64)>,
        Vec<LabelSet>,
    ) {
        let in_scope = store
            .stats()
            .series_by_scope
            .get(scope)
            .copied()
            .unwrap_or(0);
        let max = self.options.limits.series_per_scope_max as u64;
        let mut created = Vec::new();
        let (mut kept, mut refused) = (Vec::new(), Vec::new());
        for (index, (line, labels)) in lines.iter().zip(names).enumerate() {
            let (oldest, newest) = self.accepted;
            let fits = |sample: &&Sample| (oldest..=newest).contains(&sample.at.millis());
            let fit: Vec<Sample> = line.samples.iter().filter(fits).cloned().collect();
            if fit.len() < line.samples.len() {
                refused.push((index, (line.samples.len() - fit.len()) as u64));
            }
            if fit.is_empty() {
                continue;
            }
            let known = store.read_catalogue().id_of_labels(labels).is_some();
            if !known && !created.contains(labels) {
                if in_scope + created.len() as u64 >= max {
                    refused.push((index, fit.len() as u64));
                    continue;
                }
                created.push(labels.clone());
            }
            kept.push((labels.clone(), fit));
        }
        refused.sort_unstable();
        (kept, refused, created)
    }

    fn maintain(&mut self, later: i64) -> Result<(), String> {
        self.now += later;
        let store = self.store.as_ref().ok_or("no store")?;
        let partitions = || -> Vec<i64> {
            let state = store.read_state();
            state.parts.iter().map(|part| part.meta.partition).collect()
        };
        let poisoned = store.read_state().poisoned.is_some();
        // Disk full, a failed fsync or the power: told, and nothing is lost.
        let result = store.maintain(at(self.now));
        let after = partitions();
        if !poisoned {
            let age = self.options.retention.age;
            let oldest = age.map_or(i64::MIN, |age| at(self.now).saturating_sub(age).millis());
            let newest = at(self.now).saturating_add(self.options.limits.future_max);
            self.accepted = (oldest, newest.millis());
            self.oldest = self.oldest.max(oldest);
        }
        if self.options.retention.bytes_max.is_none() {
            return Ok(());
        }
        let width = store.partition_ms;
        let through = store.read_state().sealed_through;
        // What is in memory is not concerned, nor made durable.
        let is_sealed = |written: &Written| match written {
            Written::Batch { seq, .. } => *seq <= through,
            _ => true,
        };
        let sealed = self
            .written
            .iter()
            .rposition(is_sealed)
            .map_or(0, |at| at + 1);
        let dropped_before = |end: Timestamp| {
            let range = TimeRange::new(Timestamp::MIN, end);
            Written::Dropped { range, through }
        };
        let dropped = |until: i64| dropped_before(at((until + 1) * width - 1));
        // The oldest go first: nothing that was sealed is older than the oldest that is left. None is left where the newest samples
        // were deleted, and a merge has noticed.
        match (&result, after.first()) {
            (Ok(done), _) if done.parts_dropped == 0 => {}
            (Err(_), None) => {}
            (_, oldest) => {
                let all = || dropped_before(Timestamp::MAX);
                let gone = oldest.map_or_else(all, |oldest| dropped(oldest - 1));
                self.written.insert(sealed, gone);
                self.durable = self.durable.max(sealed) + 1;
            }
        }
        if result.is_err() && self.is_unsure() {
            let unsure = after.into_iter().map(|until| (sealed, dropped(until)));
            self.unsure.extend(unsure);
        }
        Ok(())
    }

    pub(super) fn crash(&mut self) -> Result<(), String> {
        self.disk.crash();
        self.disk.fail_syncs(0);
        self.disk.set_capacity(None);
        self.fsync_failed = false;
        self.store = None;
        self.disk.crash_after(self.crash_again.take());
        self.reopen(self.durable)
    }

    /// Opens the store, and finds out which prefix of what was written is there: at least `least`.
    pub(super) fn reopen(&mut self, least: usize) -> Result<(), String> {
        let disk = Arc::new(self.disk.clone());
        self.accepted = (i64::MIN, i64::MAX);
        match Store::open(disk, Path::new(DIR), self.options.clone()) {
            Ok(store) => self.store = Some(store),
            Err(_) if self.disk.is_down() => return self.crash(),
            Err(e) => return Err(format!("open: {e}")),
        }
        if self.disk.is_down() {
            return self.crash();
        }
        let found = self.found(self.kept())?;
        let kept = self.kept();
        let fits = |written: &[Written]| History::of(written).answer(kept) == found;
        let count = (least..=self.written.len()).find(|count| fits(&self.written[..*count]));
        let unsure = std::mem::take(&mut self.unsure);
        let count = count.or_else(|| {
            unsure.into_iter().find_map(|(at, written)| {
                let mut all = self.written.clone();
                all.insert(at, written);
                let count = (least.max(at) + 1..=all.len()).find(|count| fits(&all[..*count]))?;
                self.written = all;
                Some(count)
            })
        });
        let Some(count) = count else {
            let expected = History::of(&self.written[..least]).answer(self.kept());
            let all = self.written.len();
            return Err(format!(
                "found what no prefix of {least} to {all} writes gives:\n{found:?}\n{least} would give\n{expected:?}"
            ));
        };
        self.written.truncate(count);
        // All that is there counts as durable: opening syncs it.
        self.durable = count;
        let last_seq = self.store()?.wal.last_seq();
        for written in &mut self.written {
            if let Written::Batch { seq, .. } = written {
                *seq = (*seq).min(last_seq);
            }
        }
        Ok(())
    }

    /// What retention by age keeps for sure. Without maintenance since the start older samples may be seen.
    pub(super) fn kept(&self) -> TimeRange {
        TimeRange::new(at(self.oldest), Timestamp::MAX)
    }

    pub(super) fn check(&self, range: TimeRange) -> Result<(), String> {
        let asked = match self.accepted.0 >= self.oldest {
            true => range,
            false => TimeRange::new(range.start.max(at(self.oldest)), range.end),
        };
        let exact = TimeRange::new(range.start.max(at(self.oldest)), range.end);
        let found = self.found(asked)?;
        let expected = History::of(&self.written).answer(exact);
        if found != expected {
            return Err(format!("found {found:?}\nexpected {expected:?}"));
        }
        self.check_scopes()
    }

    /// Each series counts against the limit of who brought it.
    fn check_scopes(&self) -> Result<(), String> {
        let store = self.store()?;
        let mut expected = BTreeMap::new();
        for (labels, scope) in &self.scopes {
            if store.read_catalogue().id_of_labels(labels).is_some() {
                *expected.entry((*scope).to_owned()).or_insert(0) += 1;
            }
        }
        let found = store.stats().series_by_scope;
        let found: BTreeMap<String, u64> = found.into_iter().filter(|(_, n)| *n > 0).collect();
        match found == expected {
            true => Ok(()),
            false => Err(format!("series by scope {found:?}, expected {expected:?}")),
        }
    }

    fn found(&self, range: TimeRange) -> Result<Map, String> {
        let (found, warnings) = answer(self.store()?, range)?;
        match warnings.is_empty() {
            true => Ok(found),
            false => Err(format!("warnings: {warnings:?}")),
        }
    }
}

/// What a store answers, and its warnings.
pub(super) fn answer(store: &Store, range: TimeRange) -> Result<(Map, Vec<String>), String> {
    let selection = store
        .select(&[], range, &SelectLimits::default(), &|| false)
        .map_err(|e| format!("select: {e}"))?;
    if !selection.series.is_sorted_by(|a, b| a.labels < b.labels) {
        return Err("not in label order".to_owned());
    }
    crate::stream::tests::check(store, range, &selection)?;
    let listed = store.series(&[], range, &SelectLimits::default());
    let listed = listed.map_err(|e| format!("series: {e}"))?;
    let unlisted = |series: &&Series| !listed.contains(&series.labels);
    if let Some(series) = selection.series.iter().find(unlisted) {
        return Err(format!("not listed: {}", series.labels));
    }
    let mut found = Map::new();
    for series in selection.series {
        if !series.timestamps.is_sorted_by(|a, b| a < b) {
            return Err("not in order of time".to_owned());
        }
        let start = |i: usize| {
            let start = series.starts.get(i).copied();
            start.filter(|start| *start != NO_START).map(at)
        };
        let times = series.timestamps.iter().zip(series.values.iter());
        let samples = times
            .enumerate()
            .map(|(i, (time, value))| (*time, (start(i), value)));
        found.insert(series.labels.clone(), samples.collect());
    }
    Ok((found, selection.warnings))
}
