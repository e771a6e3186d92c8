//! What has changed since somebody last looked? For whoever keeps what was made from samples, such as answers to
//! queries, and has to know when it is no longer what the store would say.
//!
//! Changes are numbered. Whoever looks says how far into time ([`Store::watch`]) and gets the number of the last change;
//! later it asks what changed since ([`Store::changes`]). Writes behind the farthest time that anybody has looked at need
//! no note, and that is where nearly all of them are: live samples are newer than anything that is kept. So only late
//! samples cost something, and without a watcher nothing does.
//!
//! A note says in which minute a change was, and in which block of 256 series: as exact as it has to be, since the
//! series of one writer stand together. Deletions, and parts that go, are noted by their range of time, for all series.
//! Notes are bounded: when there are too many, all are forgotten, and everything counts as changed for those who looked
//! before.
//!
//! A write is noted after it is readable and before its append returns; a watcher raises its time before it reads. So a
//! watcher either reads a write, or finds the note of it.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicI64, Ordering},
    },
};

use model::{Matcher, Timestamp};
use roaring::RoaringBitmap;

use crate::{batch::Columns, store::Store, types::TimeRange};

/// Length of the times that notes tell apart.
const MINUTE_MS: i64 = 60_000;
/// Series of one block: this many bits of an id are not looked at.
const BLOCK_BITS: u32 = 8;
/// Notes of late samples; about 12 MiB of memory.
const NOTES_MAX: usize = 1 << 18;
/// Notes of deletions and of parts that went.
const RANGES_MAX: usize = 256;

/// What changed since the change with another number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Changes {
    /// Number of the last change that is looked at here.
    pub last: u64,
    /// Where.
    pub touched: Touched,
}

/// Times at which samples changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Touched {
    /// Ascending; none: nothing changed.
    Times(Vec<TimeRange>),
    /// Nobody knows any more.
    Everything,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Watch {
    /// The farthest time that anybody has looked at, ms.
    through: AtomicI64,
    notes: Mutex<Notes>,
}

#[derive(Debug, Default)]
struct Notes {
    last: u64,
    /// Of changes up to this one there are no notes.
    forgotten: u64,
    /// (minute, block): number of the last change.
    samples: BTreeMap<(i64, u32), u64>,
    /// Ascending by number.
    ranges: VecDeque<(u64, TimeRange)>,
}

impl Default for Watch {
    fn default() -> Self {
        Self {
            through: AtomicI64::new(i64::MIN),
            notes: Mutex::default(),
        }
    }
}

impl Watch {
    fn notes(&self) -> MutexGuard<'_, Notes> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes samples that are laid out and readable.
    pub(crate) fn note_written(&self, columns: &Columns) {
        let through = self.through.load(Ordering::SeqCst);
        if columns.first_time().is_none_or(|first| first > through) {
            return;
        }
        let mut notes = self.notes();
        notes.last += 1;
        let mut before = None;
        columns.each_row(&mut |id, at| {
            let place = (at.div_euclid(MINUTE_MS), id >> BLOCK_BITS);
            if at <= through && before != Some(place) {
                before = Some(place);
                let last = notes.last;
                notes.samples.insert(place, last);
            }
        });
        notes.bound();
    }

    /// Notes that anything may have changed in a range.
    pub(crate) fn note_range(&self, range: TimeRange) {
        if self.through.load(Ordering::SeqCst) < range.start.millis() {
            return;
        }
        let mut notes = self.notes();
        notes.last += 1;
        let last = notes.last;
        notes.ranges.push_back((last, range));
        notes.bound();
    }
}

impl Notes {
    fn bound(&mut self) {
        if self.samples.len() > NOTES_MAX || self.ranges.len() > RANGES_MAX {
            self.samples.clear();
            self.ranges.clear();
            self.forgotten = self.last;
        }
    }
}

impl Store {
    /// From now on changes up to this time are noted; the number of the last change so far. Samples that are read
    /// afterwards have all changes up to it.
    pub fn watch(&self, through: Timestamp) -> u64 {
        let through = through.millis();
        self.watch.through.fetch_max(through, Ordering::SeqCst);
        self.watch.notes().last
    }

    /// When, in a range that was watched, samples may have changed since the change numbered `since` among series that fit
    /// one of the selectors: to a minute, and next to exactly by series.
    pub fn changes(&self, since: u64, range: TimeRange, selectors: &[&[Matcher]]) -> Changes {
        let mut times: Vec<TimeRange> = Vec::new();
        let mut late: Vec<(i64, u32)> = Vec::new();
        let last = {
            let notes = self.watch.notes();
            let last = notes.last;
            if since < notes.forgotten {
                let touched = Touched::Everything;
                return Changes { last, touched };
            }
            if since >= last {
                let touched = Touched::Times(times);
                return Changes { last, touched };
            }
            let ranges = notes.ranges.iter().rev();
            let later = ranges.take_while(|(number, _)| *number > since);
            let overlap =
                |touched: &TimeRange| touched.overlaps(range.start.millis(), range.end.millis());
            times.extend(later.map(|(_, touched)| *touched).filter(overlap));
            let minute = |at: Timestamp| at.millis().div_euclid(MINUTE_MS);
            let (first, end) = (minute(range.start), minute(range.end));
            if first <= end {
                let noted = notes.samples.range((first, 0)..=(end, u32::MAX));
                let later = noted.filter(|(_, number)| **number > since);
                late.extend(later.map(|(place, _)| *place));
            }
            last
        };
        if !late.is_empty() {
            let blocks = self.blocks_of(selectors);
            late.retain(|(_, block)| blocks.contains(*block));
            late.dedup_by_key(|(minute, _)| *minute);
            times.extend(late.into_iter().map(|(minute, _)| {
                let first = minute.saturating_mul(MINUTE_MS);
                let time = Timestamp::from_millis;
                TimeRange::new(time(first), time(first.saturating_add(MINUTE_MS - 1)))
            }));
        }
        times.sort_by_key(|range| (range.start, range.end));
        let touched = Touched::Times(times);
        Changes { last, touched }
    }

    fn blocks_of(&self, selectors: &[&[Matcher]]) -> RoaringBitmap {
        let mut blocks = RoaringBitmap::new();
        for matchers in selectors {
            let fitting = self.read_catalogue().select(matchers);
            let mut last = None;
            for id in fitting {
                let block = id >> BLOCK_BITS;
                if last.replace(block) != Some(block) {
                    blocks.insert(block);
                }
            }
        }
        blocks
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use journal::sim::SimDisk;

    use super::*;
    use crate::{
        tests::{append, at, open, options},
        types::Retention,
    };

    const MINUTE: i64 = MINUTE_MS;

    fn touched(store: &Store, since: u64, name: &str) -> Vec<(i64, i64)> {
        let matchers = [Matcher::equal("__name__", name)];
        let changes = store.changes(since, TimeRange::ALL, &[&matchers]);
        let millis = |range: &TimeRange| (range.start.millis(), range.end.millis());
        match changes.touched {
            Touched::Times(times) => times.iter().map(millis).collect(),
            Touched::Everything => vec![(i64::MIN, i64::MAX)],
        }
    }

    fn minute(number: i64) -> (i64, i64) {
        (number * MINUTE, number * MINUTE + MINUTE - 1)
    }

    #[test]
    fn late_samples_are_noted_by_minute_and_newer_ones_are_not() {
        let store = open(&SimDisk::new(1), &options());
        append(&store, "up", "1000:1");
        let before = store.watch(at(10 * MINUTE));
        assert_eq!(touched(&store, before, "up"), []);
        append(&store, "up", "720000:1 599999:1 60000:1 61000:2");
        append(&store, "up", "600001:1");
        assert_eq!(touched(&store, before, "up"), [minute(1), minute(9)]);
        let since = store.watch(at(0));
        assert_eq!(touched(&store, since, "up"), []);
        append(&store, "up", "60000:3");
        assert_eq!(touched(&store, since, "up"), [minute(1)]);
        assert_eq!(touched(&store, before, "up"), [minute(1), minute(9)]);
    }

    #[test]
    fn other_series_do_not_count() {
        let store = open(&SimDisk::new(1), &options());
        append(&store, "up,job=7", "1000:1");
        // So that the two are not of one block.
        for series in 0..1 << BLOCK_BITS {
            append(&store, &format!("filler,job={series}"), "1000:1");
        }
        append(&store, "down", "1000:1");
        let since = store.watch(at(10 * MINUTE));
        append(&store, "down", "60000:1");
        append(&store, "up,job=7", "120000:1");
        assert_eq!(touched(&store, since, "down"), [minute(1)]);
        assert_eq!(touched(&store, since, "up"), [minute(2)]);
        assert_eq!(touched(&store, since, "none"), []);
    }

    #[test]
    fn a_new_series_counts() {
        let store = open(&SimDisk::new(1), &options());
        let since = store.watch(at(10 * MINUTE));
        append(&store, "up", "60000:1");
        assert_eq!(touched(&store, since, "up"), [minute(1)]);
    }

    #[test]
    fn deletions_and_parts_that_go_count_for_all() {
        let mut options = options();
        options.retention = Retention {
            age: Some(Duration::from_secs(600)),
            ..Retention::default()
        };
        let store = open(&SimDisk::new(1), &options);
        append(&store, "up", "1000:1 70000:1");
        let since = store.watch(at(10 * MINUTE));
        let range = TimeRange::new(at(500), at(1500));
        store
            .delete(&[Matcher::equal("__name__", "up")], range)
            .unwrap();
        assert_eq!(touched(&store, since, "other"), [(500, 1500)]);
        let since = store.watch(at(0));
        store.maintain(at(100 * MINUTE)).unwrap();
        assert!(!touched(&store, since, "other").is_empty());
    }

    #[test]
    fn too_many_notes_are_forgotten_and_everything_has_changed() {
        let store = open(&SimDisk::new(1), &options());
        let since = store.watch(at(i64::MAX));
        let range = TimeRange::new(at(0), at(1));
        for _ in 0..RANGES_MAX {
            store.watch.note_range(range);
        }
        assert_eq!(touched(&store, since, "up").len(), RANGES_MAX);
        store.watch.note_range(range);
        assert_eq!(touched(&store, since, "up"), [(i64::MIN, i64::MAX)]);
        let since = store.watch(at(0));
        assert_eq!(touched(&store, since, "up"), []);
    }
}
