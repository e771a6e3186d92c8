//! A batch as columns: the form that ingest fills without an allocation per series or sample.

use hashbrown::HashSet;
use journal::Urgency;
use model::{Exemplar, LabelSet, Metadata, Sample, Timestamp, Value};

use crate::{
    catalogue::UNKNOWN,
    chunk,
    error::RefusedReason,
    exemplars::batch::BatchExemplars,
    frame::Frame,
    rows::Rows,
    runs::Runs,
    types::{Batch, RefusedSeries, SeriesKey},
};

/// Samples of many series, to be filled anew for each append: clearing keeps the memory.
#[derive(Debug, Default)]
pub struct Columns {
    pub(crate) keys: Vec<SeriesKey>,
    /// For each series one behind its last row. It has its samples either there or in `mixed`.
    ends: Vec<u32>,
    pub(crate) times: Vec<i64>,
    pub(crate) values: Vec<f64>,
    /// (series, sample) that need more than a time and a number, rising by series.
    pub(crate) mixed: Vec<(u32, Sample)>,
    /// Smallest and largest time.
    time: Option<(i64, i64)>,
    /// By series, once resolved; [`UNKNOWN`] for those that are refused.
    pub(crate) ids: Vec<u32>,
    /// Ids and times of the rows, once laid out.
    pub(crate) runs: Runs,
    /// The same for what is in `mixed`.
    pub(crate) mixed_rows: Vec<(u32, Rows)>,
    pub(crate) exemplars: BatchExemplars,
    records: Records,
}

/// A record of the log is closed when it reaches this.
const RECORD_BYTES: usize = 4 << 20;

/// What the log is told: one record, save for very large batches.
#[derive(Debug, Default)]
pub(crate) struct Records {
    closed: Vec<Vec<u8>>,
    last: Frame,
}

impl Records {
    /// For one more section.
    pub(crate) fn frame(&mut self) -> &mut Frame {
        if self.last.len() >= RECORD_BYTES {
            self.closed
                .push(std::mem::take(&mut self.last).into_bytes());
        }
        &mut self.last
    }

    pub(crate) fn clear(&mut self) {
        self.closed.clear();
        self.last.clear();
    }

    pub(crate) fn capacity(&self) -> usize {
        self.last.capacity()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &[u8]> {
        let last = Some(self.last.bytes()).filter(|_| !self.last.is_empty());
        self.closed.iter().map(Vec::as_slice).chain(last)
    }
}

impl Columns {
    /// Forgets everything but the memory.
    pub fn clear(&mut self) {
        self.keys.clear();
        self.ends.clear();
        self.times.clear();
        self.values.clear();
        self.mixed.clear();
        self.time = None;
        self.ids.clear();
        self.runs.clear();
        self.mixed_rows.clear();
        self.exemplars.clear();
        self.records.clear();
    }

    /// Adds a series with numbers only.
    pub fn push_floats(&mut self, key: SeriesKey, samples: impl IntoIterator<Item = (i64, f64)>) {
        let (mut first, mut last) = self.time.unwrap_or((i64::MAX, i64::MIN));
        for (at, value) in samples {
            (first, last) = (first.min(at), last.max(at));
            self.times.push(at);
            self.values.push(value);
        }
        self.time = (first <= last).then_some((first, last));
        self.end_series(key);
    }

    /// Adds a series with samples of any kind.
    pub fn push_samples(&mut self, key: SeriesKey, samples: &[Sample]) {
        let plain = |sample: &Sample| match sample.value {
            Value::Float(value) if sample.start.is_none() => Some((sample.at.millis(), value)),
            _ => None,
        };
        if samples.iter().all(|sample| plain(sample).is_some()) {
            self.push_floats(key, samples.iter().filter_map(plain));
            return;
        }
        let series = self.keys.len() as u32;
        for sample in samples {
            let at = sample.at.millis();
            let (first, last) = self.time.unwrap_or((at, at));
            self.time = Some((first.min(at), last.max(at)));
            self.mixed.push((series, sample.clone()));
        }
        self.end_series(key);
    }

    /// Adds an exemplar of the series that was added last, which may have no samples: then it must be a known one.
    pub fn push_exemplar(&mut self, exemplar: Exemplar) {
        if let Some(series) = self.keys.len().checked_sub(1) {
            self.exemplars.push(series as u32, exemplar);
        }
    }

    fn end_series(&mut self, key: SeriesKey) {
        self.keys.push(key);
        self.ends.push(self.times.len() as u32);
    }

    /// Bytes of memory that it keeps.
    pub fn capacity_bytes(&self) -> usize {
        self.keys.capacity() * (size_of::<SeriesKey>() + 8)
            + (self.times.capacity() + self.values.capacity()) * 8
            + self.mixed.capacity() * size_of::<(u32, Sample)>()
            + self.records.capacity()
            + self.exemplars.capacity_bytes()
    }

    /// Drops samples outside of these times and histograms that contradict themselves; what went, by series.
    pub(crate) fn refuse_unfit(&mut self, oldest: i64, newest: i64) -> Vec<RefusedSeries> {
        let mut refused = Refused::default();
        let outside = |at: i64| {
            (at < oldest || at > newest).then(|| RefusedReason::OutOfRange {
                at: Timestamp::from_millis(at),
                oldest: Timestamp::from_millis(oldest),
                newest: Timestamp::from_millis(newest),
            })
        };
        self.mixed.retain(|(series, sample)| {
            let reason = outside(sample.at.millis()).or_else(|| match &sample.value {
                Value::Histogram(histogram) if !sample.value.is_stale() => {
                    histogram.validate().err().map(RefusedReason::Histogram)
                }
                _ => None,
            });
            refused.note(*series as usize, reason)
        });
        let all_fit = |(first, last): (i64, i64)| oldest <= first && last <= newest;
        if !self.time.is_none_or(all_fit) {
            self.retain_rows(|series, at| refused.note(series, outside(at)));
        }
        refused.0.sort_by_key(|refused| refused.index);
        refused.0
    }

    /// Keeps the rows for which `keep(series, time)`.
    fn retain_rows(&mut self, mut keep: impl FnMut(usize, i64) -> bool) {
        let (mut from, mut kept) = (0, 0);
        for (index, series_end) in self.ends.iter_mut().enumerate() {
            let end = *series_end as usize;
            for row in from..end {
                let at = self.times[row];
                if keep(index, at) {
                    (self.times[kept], self.values[kept]) = (at, self.values[row]);
                    kept += 1;
                }
            }
            (from, *series_end) = (end, kept as u32);
        }
        self.times.truncate(kept);
        self.values.truncate(kept);
    }

    /// Whether a series has no samples (left).
    pub(crate) fn is_empty_series(&self, index: usize) -> bool {
        self.samples_of(index) == 0
    }

    pub(crate) fn samples_of(&self, index: usize) -> u64 {
        let from = index.checked_sub(1).map_or(0, |before| self.ends[before]);
        let series = index as u32;
        let first = self.mixed.partition_point(|(of, _)| *of < series);
        let mixed = self.mixed[first..]
            .iter()
            .take_while(|(of, _)| *of == series);
        u64::from(self.ends[index] - from) + mixed.count() as u64
    }

    /// From series to rows, once the ids are known; series without one lose their rows.
    pub(crate) fn lay_out(&mut self) {
        let ids = std::mem::take(&mut self.ids);
        if ids.contains(&UNKNOWN) {
            self.retain_rows(|series, _| ids[series] != UNKNOWN);
            self.mixed
                .retain(|(series, _)| ids[*series as usize] != UNKNOWN);
        }
        self.ids = ids;
        if !self.mixed.is_empty() {
            self.lay_out_mixed();
        }
        self.runs.clear();
        let mut from = 0;
        for (end, id) in self.ends.iter().zip(&self.ids) {
            self.runs.push_id(*id, end - from);
            from = *end;
        }
        for at in &self.times {
            self.runs.push_time(*at);
        }
    }

    /// Groups what is in `mixed` by id. Rows of `mixed` count as written after all others of the batch, so what the batch
    /// says later of the same series goes with them.
    fn lay_out_mixed(&mut self) {
        let mut mixed: HashSet<u32> = HashSet::new();
        let mut extra: Vec<(u32, Sample)> = Vec::new();
        let mut waiting = std::mem::take(&mut self.mixed).into_iter().peekable();
        let mut moved: HashSet<usize> = HashSet::new();
        let mut from = 0;
        for (index, end) in self.ends.iter().enumerate() {
            let (id, rows) = (self.ids[index], from..*end as usize);
            from = *end as usize;
            while let Some((_, sample)) = waiting.next_if(|(of, _)| *of as usize == index) {
                mixed.insert(id);
                extra.push((id, sample));
            }
            if !rows.is_empty() && mixed.contains(&id) {
                moved.insert(index);
                extra.extend(rows.map(|row| {
                    let at = Timestamp::from_millis(self.times[row]);
                    (id, Sample::float(at, self.values[row]))
                }));
            }
        }
        if !moved.is_empty() {
            self.retain_rows(|series, _| !moved.contains(&series));
        }
        // Stable: the order of writing stays within a series.
        extra.sort_by_key(|(id, _)| *id);
        self.mixed_rows.clear();
        for (id, sample) in &extra {
            match self.mixed_rows.last_mut() {
                Some((last, rows)) if last == id => rows.push_sample(sample),
                _ => {
                    let mut rows = Rows::default();
                    rows.push_sample(sample);
                    self.mixed_rows.push((*id, rows));
                }
            }
        }
    }

    /// The earliest time of those that were pushed, refused ones too.
    pub(crate) fn first_time(&self) -> Option<i64> {
        self.time.map(|(first, _)| first)
    }

    /// Shows (id, time) of all samples that are laid out.
    pub(crate) fn each_row(&self, visit: &mut dyn FnMut(u32, i64)) {
        let mut from = 0;
        for (end, id) in self.ends.iter().zip(&self.ids) {
            let end = *end as usize;
            self.times[from..end].iter().for_each(|at| visit(*id, *at));
            from = end;
        }
        for (id, rows) in &self.mixed_rows {
            rows.times.iter().for_each(|at| visit(*id, *at));
        }
    }

    /// Samples that are laid out.
    pub(crate) fn rows(&self) -> u64 {
        let mixed: usize = self.mixed_rows.iter().map(|(_, rows)| rows.len()).sum();
        (self.values.len() + mixed) as u64
    }

    /// Makes the log records of what is laid out, after those that `put_news` makes.
    pub(crate) fn encode(&mut self, put_news: impl FnOnce(&mut Records)) {
        self.records.clear();
        put_news(&mut self.records);
        if !self.values.is_empty() {
            self.records.frame().columns(&self.runs, &self.values);
        }
        for (id, rows) in &self.mixed_rows {
            let mut to = 0;
            while to < rows.len() {
                let from = to;
                to = chunk::end(rows, from);
                self.records.frame().rows(*id, rows, from, to);
            }
        }
    }

    pub(crate) fn records(&self) -> impl Iterator<Item = &[u8]> {
        self.records.iter()
    }
}

/// Collects refusals: one for each series, with its first reason.
#[derive(Default)]
struct Refused(Vec<RefusedSeries>);

impl Refused {
    /// Whether the sample is fine.
    fn note(&mut self, index: usize, reason: Option<RefusedReason>) -> bool {
        let Some(reason) = reason else { return true };
        match self.0.last_mut() {
            Some(last) if last.index == index => last.samples += 1,
            _ => self.0.push(RefusedSeries {
                index,
                samples: 1,
                reason,
            }),
        }
        false
    }
}

/// What an append of [`Columns`] needs beside them.
#[derive(Clone, Copy)]
pub struct ColumnBatch<'a> {
    /// See [`Batch::scope`].
    pub scope: &'a str,
    /// The labels of the series with this index; called only for keys that are new, see [`crate::LabelsFn`].
    pub labels: &'a dyn Fn(usize) -> Result<LabelSet, String>,
    /// See [`Batch::metadata`].
    pub metadata: &'a [(&'a str, &'a Metadata)],
    /// How soon it is to be durable.
    pub urgency: Urgency,
}

impl Batch<'_> {
    pub(crate) fn columns(&self) -> Columns {
        let mut columns = Columns::default();
        for series in &self.series {
            columns.push_samples(series.key, series.samples);
        }
        columns
    }
}
