//! What a target showed before: the stored labels of every line of its page, which series are alive, and the metadata that
//! was handed over.
//!
//! A line is known by a keyed 128-bit hash of its name and labels as written, so a known line costs no look at labels. The key
//! is made anew in each process: no page can be written so that two of its lines meet. Per series the cache holds about 100 bytes
//! and one copy of the stored labels, and lines that a page stopped showing are forgotten with the next good scrape.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, BuildHasherDefault, Hasher, RandomState};
use std::time::Duration;

use model::{LabelSet, Metadata, MetricType};
use siphasher::sip128::{Hasher128 as _, SipHasher13};

/// Where a line's series is in [`Cache::series`]; this value for lines that a rule drops.
const DROPPED: u32 = u32::MAX;

/// Metadata is handed over again after this long, for hubs that came later or lost it.
const METADATA_AGAIN: Duration = Duration::from_secs(3600);

/// Failing pages may leave this many lines behind, beyond twice those of the last good page, before they are forgotten.
const LINES_SLACK: usize = 1000;

#[derive(Debug)]
pub(super) struct Cache {
    key: [u8; 16],
    lines: HashMap<u128, Line, BuildHasherDefault<Hashed>>,
    series: Vec<Series>,
    /// Places in `series` that hold none.
    free: Vec<u32>,
    /// Number of the scrape under way.
    scrape: u32,
    /// Lines of the last good page.
    lines_before: usize,
    /// Series by labels, only while a page with new lines is read.
    by_labels: Option<HashMap<LabelSet, u32>>,
    metadata: HashMap<u64, Known>,
    hasher: RandomState,
}

#[derive(Debug, Clone, Copy)]
struct Line {
    series: u32,
    /// The last scrape that showed it.
    seen: u32,
}

#[derive(Debug)]
struct Series {
    labels: LabelSet,
    /// The last scrape that stored a sample of it, and that sample's time.
    stored: u32,
    stored_at: i64,
    /// The last scrape that counts for staleness.
    tracked: u32,
    /// It had a sample that a staleness marker must follow.
    live: bool,
}

#[derive(Debug)]
struct Known {
    hash: u64,
    handed_over: Duration,
}

/// A known line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    Dropped,
    Series(u32),
}

/// What to do with a sample.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Store {
    Yes,
    /// The series has one for that time in this scrape already.
    Duplicate,
}

impl Cache {
    pub(super) fn new() -> Cache {
        let mut key = [0; 16];
        let (low, high) = (RandomState::new(), RandomState::new());
        key[..8].copy_from_slice(&low.hash_one(0).to_le_bytes());
        key[8..].copy_from_slice(&high.hash_one(1).to_le_bytes());
        Cache {
            key,
            lines: HashMap::default(),
            series: Vec::new(),
            free: Vec::new(),
            scrape: 0,
            lines_before: 0,
            by_labels: None,
            metadata: HashMap::new(),
            hasher: RandomState::new(),
        }
    }

    /// The rules by which lines become series have changed: no line is known any more. Series stay, so that those
    /// that do not come back become stale.
    pub(super) fn forget_lines(&mut self) {
        self.lines.clear();
    }

    pub(super) fn begin(&mut self) {
        // At one scrape a second it takes 136 years to come round.
        self.scrape = self.scrape.wrapping_add(1);
    }

    /// The key of a line; `kind` is the type of the `# TYPE` line before it, which decides how some labels are read.
    pub(super) fn line_key(&self, kind: MetricType, line: &[u8]) -> u128 {
        let mut hasher = SipHasher13::new_with_key(&self.key);
        hasher.write(kind.as_str().as_bytes());
        hasher.write(&[0]);
        hasher.write(line);
        hasher.finish128().as_u128()
    }

    /// The line, if it is known; it then counts as seen.
    pub(super) fn find(&mut self, line: u128) -> Option<Found> {
        let scrape = self.scrape;
        let line = self.lines.get_mut(&line)?;
        line.seen = scrape;
        Some(match line.series {
            DROPPED => Found::Dropped,
            series => Found::Series(series),
        })
    }

    pub(super) fn add_dropped(&mut self, line: u128) {
        let seen = self.scrape;
        self.lines.insert(
            line,
            Line {
                series: DROPPED,
                seen,
            },
        );
    }

    /// Makes a line known as that of a series, which other lines may have made before.
    pub(super) fn add(&mut self, line: u128, labels: LabelSet) -> u32 {
        let series = &self.series;
        let by_labels = self.by_labels.get_or_insert_with(|| {
            let used = series
                .iter()
                .enumerate()
                .filter(|(_, series)| !series.labels.is_empty());
            used.map(|(index, series)| (series.labels.clone(), index as u32))
                .collect()
        });
        let index = match by_labels.get(&labels) {
            Some(index) => *index,
            None => {
                let new = Series {
                    labels: labels.clone(),
                    stored: self.scrape.wrapping_sub(1),
                    stored_at: 0,
                    tracked: self.scrape.wrapping_sub(1),
                    live: false,
                };
                let index = match self.free.pop() {
                    Some(index) => {
                        self.series[index as usize] = new;
                        index
                    }
                    None => {
                        self.series.push(new);
                        (self.series.len() - 1) as u32
                    }
                };
                by_labels.insert(labels, index);
                index
            }
        };
        self.lines.insert(
            line,
            Line {
                series: index,
                seen: self.scrape,
            },
        );
        index
    }

    pub(super) fn labels(&self, series: u32) -> &LabelSet {
        &self.series[series as usize].labels
    }

    /// A sample of the series at `at` is about to be stored. `track`: when the series goes, a marker must follow.
    pub(super) fn store(&mut self, series: u32, at: i64, track: bool) -> Store {
        let scrape = self.scrape;
        let series = &mut self.series[series as usize];
        if track {
            series.tracked = scrape;
        }
        if series.stored == scrape && series.stored_at == at {
            return Store::Duplicate;
        }
        series.stored = scrape;
        series.stored_at = at;
        Store::Yes
    }

    /// The page was good: series that it did not show are stale from now on, and returned.
    pub(super) fn finish(&mut self) -> Vec<LabelSet> {
        let scrape = self.scrape;
        let mut stale = Vec::new();
        for (index, series) in self.series.iter_mut().enumerate() {
            let shown = series.tracked == scrape;
            if series.live && !shown {
                stale.push(series.labels.clone());
            }
            series.live = shown;
            let used = shown || series.stored == scrape;
            if !used && !series.labels.is_empty() {
                series.labels = LabelSet::empty();
                self.free.push(index as u32);
            }
        }
        // A line without a sample stored (a duplicate of another line's series, or over a limit) has its series still.
        let series = &self.series;
        self.lines.retain(|_, line| {
            let there = line.series == DROPPED || !series[line.series as usize].labels.is_empty();
            line.seen == scrape && there
        });
        self.lines_before = self.lines.len();
        self.by_labels = None;
        self.shrink();
        stale
    }

    /// The scrape failed, or the target is gone: all series are stale from now on, and returned. Known lines stay known.
    pub(super) fn fail(&mut self) -> Vec<LabelSet> {
        let mut stale = Vec::new();
        for series in &mut self.series {
            if std::mem::take(&mut series.live) {
                stale.push(series.labels.clone());
            }
        }
        self.by_labels = None;
        if self.lines.len() > self.lines_before * 2 + LINES_SLACK {
            self.lines = HashMap::default();
            self.series = Vec::new();
            self.free = Vec::new();
        }
        stale
    }

    /// After a page that was much larger than pages are now, gives the memory back.
    fn shrink(&mut self) {
        if self.lines.capacity() > 4 * self.lines.len() + LINES_SLACK {
            self.lines.shrink_to_fit();
        }
        // Only the tail can go: lines hold places in `series`.
        while self
            .series
            .last()
            .is_some_and(|series| series.labels.is_empty())
        {
            self.series.pop();
        }
        let len = self.series.len() as u32;
        self.free.retain(|index| *index < len);
        if self.series.capacity() > 4 * self.series.len() + LINES_SLACK {
            self.series.shrink_to_fit();
        }
    }

    /// Those of the page's families whose metadata is new, has changed or was handed over long ago. `now` is monotonic.
    pub(super) fn changed_metadata(
        &mut self,
        page: Vec<(String, Metadata)>,
        now: Duration,
    ) -> Vec<(String, Metadata)> {
        let mut known = HashMap::with_capacity(page.len());
        let mut changed = Vec::new();
        for (family, metadata) in page {
            let name = self.hasher.hash_one(&family);
            let hash =
                self.hasher
                    .hash_one((metadata.kind.as_str(), &metadata.help, &metadata.unit));
            let handed_over = match self.metadata.get(&name) {
                Some(known) if known.hash == hash && now < known.handed_over + METADATA_AGAIN => {
                    known.handed_over
                }
                _ => {
                    changed.push((family, metadata));
                    now
                }
            };
            known.insert(name, Known { hash, handed_over });
        }
        self.metadata = known;
        changed
    }

    /// What was handed over last did not arrive: nothing counts as handed over.
    pub(super) fn forget_metadata(&mut self) {
        self.metadata.clear();
    }
}

/// Passes on keys that are hashes already.
#[derive(Debug, Default)]
struct Hashed(u64);

impl Hasher for Hashed {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u128(&mut self, value: u128) {
        self.0 = value as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One page: lines with their series' names; returns the stale series, sorted.
    fn page(cache: &mut Cache, lines: &[(&str, &str)]) -> Vec<String> {
        cache.begin();
        for (line, name) in lines {
            let key = cache.line_key(MetricType::Gauge, line.as_bytes());
            let series = match cache.find(key) {
                Some(Found::Series(series)) => series,
                Some(Found::Dropped) => continue,
                None => cache.add(key, LabelSet::from_pairs([("__name__", *name)]).unwrap()),
            };
            assert_eq!(cache.labels(series).name(), Some(*name));
            cache.store(series, 5, true);
        }
        let mut stale: Vec<String> = cache.finish().iter().map(ToString::to_string).collect();
        stale.sort();
        stale
    }

    #[test]
    fn series_that_are_not_shown_become_stale_once() {
        let mut cache = Cache::new();
        assert_eq!(page(&mut cache, &[("a", "a"), ("b", "b")]), [""; 0]);
        assert_eq!(page(&mut cache, &[("a", "a")]), ["b"]);
        assert_eq!(page(&mut cache, &[("a", "a"), ("b", "b")]), [""; 0]);
        assert_eq!(page(&mut cache, &[]), ["a", "b"]);
        assert_eq!(page(&mut cache, &[]), [""; 0]);
        assert!(cache.lines.is_empty() && cache.series.is_empty() && cache.free.is_empty());
    }

    #[test]
    fn two_lines_of_one_series_are_duplicates() {
        let mut cache = Cache::new();
        cache.begin();
        let labels = LabelSet::from_pairs([("__name__", "a")]).unwrap();
        let (one, two) = (
            cache.line_key(MetricType::Gauge, b"a"),
            cache.line_key(MetricType::Gauge, b"a{}"),
        );
        let first = cache.add(one, labels.clone());
        assert_eq!(cache.store(first, 5, true), Store::Yes);
        let second = cache.add(two, labels);
        assert_eq!(
            (first, cache.store(second, 5, true)),
            (second, Store::Duplicate)
        );
        assert_eq!(
            cache.store(second, 6, true),
            Store::Yes,
            "another time is another sample"
        );
        assert!(cache.finish().is_empty());
        // The first line goes, the second stands for the series.
        assert_eq!(page(&mut cache, &[("a{}", "a")]), [""; 0]);
    }

    #[test]
    fn a_type_is_part_of_a_line() {
        let cache = Cache::new();
        assert_ne!(
            cache.line_key(MetricType::Gauge, b"a"),
            cache.line_key(MetricType::Histogram, b"a")
        );
        assert_ne!(
            cache.line_key(MetricType::Gauge, b"a"),
            Cache::new().line_key(MetricType::Gauge, b"a"),
            "keyed"
        );
    }

    #[test]
    fn a_failed_scrape_makes_all_stale_and_keeps_lines() {
        let mut cache = Cache::new();
        page(&mut cache, &[("a", "a"), ("b", "b")]);
        cache.begin();
        assert_eq!(cache.fail().len(), 2);
        assert_eq!(cache.lines.len(), 2);
        cache.begin();
        assert_eq!(cache.fail().len(), 0);
        assert_eq!(
            page(&mut cache, &[("a", "a")]),
            [""; 0],
            "b was stale already"
        );
    }

    #[test]
    fn pages_that_always_fail_take_bounded_memory() {
        let mut cache = Cache::new();
        for scrape in 0..10 {
            cache.begin();
            for line in 0..500 {
                let name = format!("s{scrape}_{line}");
                let key = cache.line_key(MetricType::Gauge, name.as_bytes());
                cache.add(key, LabelSet::from_pairs([("__name__", name)]).unwrap());
            }
            cache.fail();
            assert!(cache.lines.len() <= LINES_SLACK && cache.series.len() <= LINES_SLACK);
        }
    }

    #[test]
    fn metadata_is_handed_over_when_new_changed_or_old() {
        let mut cache = Cache::new();
        let page = |help: &str| {
            let metadata = Metadata {
                kind: MetricType::Gauge,
                help: help.into(),
                unit: String::new(),
            };
            vec![("a".to_owned(), metadata)]
        };
        let secs = Duration::from_secs;
        assert_eq!(cache.changed_metadata(page("x"), secs(0)).len(), 1);
        assert_eq!(cache.changed_metadata(page("x"), secs(10)).len(), 0);
        assert_eq!(cache.changed_metadata(page("y"), secs(20)).len(), 1);
        assert_eq!(cache.changed_metadata(page("y"), secs(3619)).len(), 0);
        assert_eq!(cache.changed_metadata(page("y"), secs(3620)).len(), 1);
        cache.forget_metadata();
        assert_eq!(cache.changed_metadata(page("y"), secs(3621)).len(), 1);
    }
}
