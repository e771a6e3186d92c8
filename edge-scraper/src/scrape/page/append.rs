//! What of a page is stored: known lines, new ones through the label rules, limits, duplicates, timestamps, exemplars.

use std::borrow::Cow;
use std::hash::{Hash, Hasher};
use std::time::Duration;

use model::{Exemplar, LabelSet, Sample, Timestamp, Value};
use wire::exposition::ExemplarEntry;

use super::resolution::fit;
use super::{Read, Rules};
use crate::scrape::cache::{Cache, Found, Key, Store};

/// A sample further ahead than this is dropped: a target with a broken clock must not write next year.
const AHEAD_MAX: Duration = Duration::from_secs(600);

/// Name and value of a page's label.
pub(super) type Pair<'a> = (Cow<'a, str>, Cow<'a, str>);

/// A page while it is read.
pub(super) struct Append<'r> {
    pub(super) cache: &'r mut Cache,
    pub(super) rules: &'r Rules,
    read: &'r mut Read,
    at: Timestamp,
    latest: Timestamp,
    stored: u64,
    /// A native histogram had more buckets than are allowed, and could not be made coarser.
    too_many_buckets: bool,
}

/// A line's series.
#[derive(Debug, Clone, Copy)]
pub(super) struct Line {
    found: Found,
    new: bool,
}

/// What a line says about its series.
pub(super) struct Observation {
    pub(super) value: Value,
    /// The time, where the target gave one.
    pub(super) time: Option<Timestamp>,
    /// Since when it counts, where the target says so.
    pub(super) start: Option<Timestamp>,
}

impl<'r> Append<'r> {
    pub(super) fn new(
        cache: &'r mut Cache,
        rules: &'r Rules,
        at: Timestamp,
        read: &'r mut Read,
    ) -> Append<'r> {
        Append {
            cache,
            rules,
            read,
            at,
            latest: at.saturating_add(AHEAD_MAX),
            stored: 0,
            too_many_buckets: false,
        }
    }

    /// The line that was expected has come.
    pub(super) fn expected_line(&mut self) -> Option<Line> {
        let found = self.cache.take_expected()?;
        self.read.counts.scraped += 1;
        Some(Line { found, new: false })
    }

    /// The line with this key and so many bytes; `labels` are those of the page, asked for only if it is not known.
    ///
    /// # Errors
    ///
    /// What makes the whole scrape fail, as [`LabelRules::series`](crate::scrape::labels::LabelRules::series) says.
    pub(super) fn line<'a>(
        &mut self,
        key: Key,
        length: usize,
        labels: impl FnOnce() -> Vec<Pair<'a>>,
    ) -> Result<Line, String> {
        self.read.counts.scraped += 1;
        if let Some(found) = self.cache.find(key) {
            return Ok(Line { found, new: false });
        }
        let found = match series(self.rules, labels())? {
            Some(labels) => Found::Series(self.cache.add(key, length, labels)),
            None => {
                self.cache.add_dropped(key, length);
                Found::Dropped
            }
        };
        Ok(Line { found, new: true })
    }

    /// Takes a sample; the series if it is stored, or is a duplicate of one that is.
    pub(super) fn sample(&mut self, line: Line, observed: Observation) -> Option<u32> {
        let series = match line.found {
            Found::Dropped | Found::Comments(_) => return None,
            Found::Series(series) => series,
        };
        self.read.counts.kept += 1;
        let own = observed.time.filter(|_| self.rules.honor_timestamps);
        let time = own.unwrap_or(self.at);
        if time > self.latest {
            self.read.counts.ahead += 1;
            return None;
        }
        let track = own.is_none() || self.rules.track_timestamps_staleness;
        let own = own.map(Timestamp::millis);
        if self.cache.store(series, self.at.millis(), own, track) == Store::Duplicate {
            self.read.counts.duplicates += 1;
            return Some(series);
        }
        self.stored += 1;
        if self.over_limit() {
            // Counted to the end, but not kept: the page may be huge.
            self.read.series.clear();
            return None;
        }
        let mut value = observed.value;
        if let Value::Histogram(histogram) = &mut value
            && !fit(histogram, &self.rules.histograms)
        {
            self.too_many_buckets = true;
            return None;
        }
        self.read.counts.series_added += u64::from(line.new);
        let sample = Sample {
            at: time,
            // A start after the sample is a broken clock's, and says nothing.
            start: observed.start.filter(|start| *start <= time),
            value,
        };
        // Native histograms are handed over with their labels each time.
        let known = match sample.value {
            Value::Float(_) => self.cache.known(series),
            Value::Histogram(_) => self.cache.with_labels(series),
        };
        self.read.series.push((known, sample));
        Some(series)
    }

    /// Takes an exemplar of a series that has a sample.
    pub(super) fn exemplar(
        &mut self,
        series: u32,
        labels: Option<LabelSet>,
        value: f64,
        time: Option<Timestamp>,
    ) {
        let at = time.unwrap_or(self.at);
        let exemplar = labels.map(|labels| Exemplar { labels, value, at });
        let Some(exemplar) = exemplar.filter(|e| e.is_short() && at <= self.latest) else {
            self.read.counts.exemplars_refused += 1;
            return;
        };
        // Without a time of its own it is the same one as long as it says the same.
        let identity = (
            &exemplar.labels,
            value.to_bits(),
            time.map(Timestamp::millis),
        );
        if self.cache.is_new_exemplar(series, identity)
            && let Some(labels) = self.cache.labels(series)
        {
            self.read.exemplars.push((labels, exemplar));
        }
    }

    /// The same, as it stands in a text.
    pub(super) fn text_exemplar(&mut self, series: u32, found: &ExemplarEntry<'_>) {
        let labels = found.labels.to_label_set().ok();
        self.exemplar(series, labels, found.value, found.timestamp);
    }

    fn over_limit(&self) -> bool {
        let limit = self.rules.sample_limit;
        limit.is_some_and(|limit| self.stored > limit)
    }

    /// The page is over.
    ///
    /// # Errors
    ///
    /// It had too many samples, or a histogram with too many buckets.
    pub(super) fn finish(self) -> Result<(), String> {
        if self.over_limit() {
            return Err("sample limit exceeded".to_owned());
        }
        match self.too_many_buckets {
            true => Err("histogram bucket limit exceeded".to_owned()),
            false => Ok(()),
        }
    }
}

fn series(rules: &Rules, labels: Vec<Pair<'_>>) -> Result<Option<LabelSet>, String> {
    // The rules' own labels must live as long as those of the page, which may be shorter.
    rules.labels.series(labels)
}

/// Adds parts to a hash such that no two rows of parts meet.
pub(super) fn hash_parts<'a>(hasher: &mut impl Hasher, parts: impl IntoIterator<Item = &'a str>) {
    for part in parts {
        part.hash(hasher);
    }
}
