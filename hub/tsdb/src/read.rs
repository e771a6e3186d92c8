//! Reading: parts, frozen heads and the active head merged by write order.

use std::{collections::BTreeMap, io, sync::Arc};

use model::{LabelSet, Matcher, Metadata, Timestamp};
use roaring::RoaringBitmap;

use crate::{
    catalogue::Catalogue,
    deletions::Deletions,
    error::SelectError,
    head::{Head, View},
    part::{Part, PartError, PartMeta},
    rows::Rows,
    store::{State, Store},
    types::{MetadataByMetric, NO_START, SelectLimits, Selection, Series, Stats, TimeRange},
};

/// Series between two calls of the caller's `cancel`.
const CANCEL_EVERY: usize = 256;

/// Why one attempt gave no answer.
enum Attempt {
    /// A part turned out to be damaged: quarantine it and start over.
    Damaged {
        number: u64,
        reason: String,
    },
    Failed(SelectError),
}

impl From<SelectError> for Attempt {
    fn from(error: SelectError) -> Self {
        Self::Failed(error)
    }
}

/// What a selection needs of the state, so that the lock is not held while parts are read.
struct Snapshot {
    /// Rising ids.
    ids: Vec<u32>,
    wanted: RoaringBitmap,
    labels: Vec<LabelSet>,
    parts: Vec<Arc<Part>>,
    deletions: Arc<Deletions>,
    frozen: Vec<Arc<Head>>,
    /// Of the active head.
    recent: View,
    warnings: Vec<String>,
}

impl Store {
    /// The samples of all series that fit all matchers, in the range, with the later write for equal timestamps. Series
    /// come in the order of their label sets, samples in the order of time; a series without a sample in the range is left
    /// out. `cancel` is asked now and then whether to stop.
    ///
    /// A part found damaged is set aside, and the answer is given without it, with a warning.
    ///
    /// # Errors
    /// A limit, `cancel`, or a disk that does not answer.
    pub fn select(
        &self,
        matchers: &[Matcher],
        range: TimeRange,
        limits: &SelectLimits,
        cancel: &dyn Fn() -> bool,
    ) -> Result<Selection, SelectError> {
        let range = self.kept(range);
        loop {
            match self.try_select(matchers, range, limits, cancel) {
                Ok(selection) => return Ok(selection),
                Err(Attempt::Failed(error)) => return Err(error),
                // Ends: each time there is one part less.
                Err(Attempt::Damaged { number, reason }) => self.quarantine(number, reason),
            }
        }
    }

    fn try_select(
        &self,
        matchers: &[Matcher],
        range: TimeRange,
        limits: &SelectLimits,
        cancel: &dyn Fn() -> bool,
    ) -> Result<Selection, Attempt> {
        let mut budget = Budget {
            left: limits.samples,
            max: limits.samples,
        };
        let snapshot = self.snapshot(matchers, range, limits.series, cancel)?;
        let mut columns: Vec<Rows> = vec![Rows::default(); snapshot.ids.len()];
        // Parts are in the order of (partition, write sequence): columns grow at their end, except for rewritten samples.
        for part in &snapshot.parts {
            let mut stop = None;
            let mut since_cancel = 0;
            let deletions = snapshot.deletions.of(part);
            let mut visit = |id: u32, rows: &Rows| {
                since_cancel += 1;
                if since_cancel % CANCEL_EVERY == 0 && cancel() {
                    stop = Some(SelectError::Canceled);
                } else if let Err(error) = budget.take(rows.len()) {
                    stop = Some(error);
                } else if let Ok(index) = snapshot.ids.binary_search(&id) {
                    let column = &mut columns[index];
                    let left = deletions.left_of(id, rows);
                    let rows = left.as_ref().unwrap_or(rows);
                    if column.is_empty() || column.last < rows.first {
                        column.extend_later(rows, 0, rows.len());
                    } else {
                        column.overwrite_with(rows.clone());
                    }
                }
                stop.is_none()
            };
            let read = part.read(&snapshot.wanted, range, &mut visit);
            if let Some(error) = stop {
                return Err(error.into());
            }
            read.map_err(|error| part_error(part, error))?;
            if cancel() {
                return Err(SelectError::Canceled.into());
            }
        }
        let frozen = snapshot.frozen.iter();
        let views = frozen.map(|head| head.view(&snapshot.ids, range));
        for view in views.chain([snapshot.recent]) {
            if view.is_empty() {
                continue;
            }
            let newer = view.rows(&snapshot.ids, range, &mut |samples| match cancel() {
                true => Err(SelectError::Canceled),
                false => budget.take(samples),
            })?;
            for (column, newer) in columns.iter_mut().zip(newer) {
                column.overwrite_with(newer);
            }
        }
        let mut series = Vec::new();
        for (labels, rows) in snapshot.labels.into_iter().zip(columns) {
            if !rows.is_empty() {
                let any_start = rows.starts.iter().any(|start| *start != NO_START);
                series.push(Series {
                    labels,
                    timestamps: rows.times,
                    values: rows.values.normalised(),
                    starts: if any_start { rows.starts } else { Vec::new() },
                });
            }
        }
        series.sort_by(|a, b| a.labels.cmp(&b.labels));
        Ok(Selection {
            series,
            warnings: snapshot.warnings,
        })
    }

    fn snapshot(
        &self,
        matchers: &[Matcher],
        range: TimeRange,
        series_max: usize,
        cancel: &dyn Fn() -> bool,
    ) -> Result<Snapshot, SelectError> {
        let catalogue = self.read_catalogue();
        let state = self.read_state();
        let wanted = state.found(catalogue.select(matchers), range);
        if wanted.len() > series_max as u64 {
            return Err(SelectError::TooManySeries { max: series_max });
        }
        let ids: Vec<u32> = wanted.iter().collect();
        let recent = state.active.view(&ids, range);
        let parts = state
            .parts
            .iter()
            .filter(|part| part.overlaps(range) && !part.ids.is_disjoint(&wanted));
        let parts = parts.cloned().collect();
        let (frozen, warnings) = (state.frozen.clone(), state.warnings(range));
        let deletions = state.deletions.clone();
        drop(state);
        let mut labels = Vec::with_capacity(ids.len());
        for (index, id) in ids.iter().enumerate() {
            if index % CANCEL_EVERY == 0 && cancel() {
                return Err(SelectError::Canceled);
            }
            labels.push(catalogue.labels(*id).unwrap_or_default());
        }
        Ok(Snapshot {
            parts,
            deletions,
            frozen,
            warnings,
            ids,
            wanted,
            labels,
            recent,
        })
    }

    /// Label sets of all series that fit all matchers and have (or may have, as exact as a part's time allows) samples in
    /// the range, sorted.
    ///
    /// # Errors
    /// [`SelectError::TooManySeries`].
    pub fn series(
        &self,
        matchers: &[Matcher],
        range: TimeRange,
        limits: &SelectLimits,
    ) -> Result<Vec<LabelSet>, SelectError> {
        let range = self.kept(range);
        let catalogue = self.read_catalogue();
        let found = self.found(&catalogue, matchers, range);
        if found.len() > limits.series as u64 {
            return Err(SelectError::TooManySeries { max: limits.series });
        }
        let mut labels: Vec<LabelSet> =
            found.iter().filter_map(|id| catalogue.labels(id)).collect();
        drop(catalogue);
        labels.sort_unstable();
        Ok(labels)
    }

    /// Names of the labels of those series (see [`Store::series`]), sorted.
    pub fn label_names(&self, matchers: &[Matcher], range: TimeRange) -> Vec<String> {
        let range = self.kept(range);
        let catalogue = self.read_catalogue();
        let found = self.found(&catalogue, matchers, range);
        catalogue.label_names(&found)
    }

    /// Values that those series (see [`Store::series`]) have for a label, sorted.
    pub fn label_values(&self, name: &str, matchers: &[Matcher], range: TimeRange) -> Vec<String> {
        let range = self.kept(range);
        let catalogue = self.read_catalogue();
        let found = self.found(&catalogue, matchers, range);
        catalogue.label_values(name, &found)
    }

    /// Of a range what the retention by age keeps: a part goes only when all of it is older.
    fn kept(&self, range: TimeRange) -> TimeRange {
        let oldest = Timestamp::from_millis(self.read_state().accepted.0);
        TimeRange::new(range.start.max(oldest), range.end)
    }

    fn found(
        &self,
        catalogue: &Catalogue,
        matchers: &[Matcher],
        range: TimeRange,
    ) -> RoaringBitmap {
        let fitting = catalogue.select(matchers);
        self.read_state().found(fitting, range)
    }

    /// What was said of metrics: of one, or of all.
    pub fn metadata(&self, metric: Option<&str>) -> MetadataByMetric {
        let catalogue = self.read_catalogue();
        let all = catalogue.metadata();
        match metric {
            None => all.clone(),
            Some(metric) => {
                let known: Option<(&String, &Vec<Metadata>)> = all.get_key_value(metric);
                known
                    .map(|(metric, known)| (metric.clone(), known.clone()))
                    .into_iter()
                    .collect()
            }
        }
    }

    /// What the store holds and has seen. Cheap enough for every scrape of the process's own metrics.
    pub fn stats(&self) -> Stats {
        let catalogue = self.read_catalogue();
        let state = self.read_state();
        let heads = || {
            state
                .frozen
                .iter()
                .map(|head| &**head)
                .chain([&state.active])
        };
        let parts = || state.parts.iter().map(|part| &part.meta);
        let times = heads()
            .filter_map(|head| head.time)
            .chain(parts().map(|part| (part.first, part.last)));
        let time = times.reduce(|a, b| (a.0.min(b.0), a.1.max(b.1)));
        let by_scope: BTreeMap<String, u64> = catalogue
            .scopes()
            .map(|(scope, count)| (scope.to_owned(), count as u64))
            .collect();
        Stats {
            series: catalogue.len() as u64,
            series_by_scope: by_scope,
            memory_rows: heads().map(|head| head.rows as u64).sum(),
            parts: state.parts.len() as u64,
            part_rows: parts().map(|part| part.rows).sum(),
            part_bytes: parts().map(|part| part.bytes).sum(),
            wal_bytes: self.wal.bytes(),
            catalogue_bytes: catalogue.file_bytes(),
            samples_appended: state.samples_appended,
            samples_refused: state.samples_refused,
            time: time
                .map(|(first, last)| (Timestamp::from_millis(first), Timestamp::from_millis(last))),
            tombstones: state.deletions.tombstones.len() as u64,
            parts_quarantined: state.quarantined.len() as u64,
            records_lost: state.records_lost,
            poisoned: state.poisoned.clone().or_else(|| self.wal.poisoned()),
            warnings: state.warnings(TimeRange::ALL),
        }
    }
}

impl State {
    /// Those of the fitting series that may have samples in the range.
    fn found(&self, fitting: RoaringBitmap, range: TimeRange) -> RoaringBitmap {
        let mut found = RoaringBitmap::new();
        for part in self.parts.iter().filter(|part| part.overlaps(range)) {
            found |= &fitting & self.deletions.left_of(part, range);
        }
        for head in self.frozen.iter().map(|head| &**head).chain([&self.active]) {
            found |= &fitting & head.ids(range);
        }
        found
    }

    /// What the reader of an answer must know.
    fn warnings(&self, range: TimeRange) -> Vec<String> {
        let overlapping = |(meta, _): &&(PartMeta, String)| range.overlaps(meta.first, meta.last);
        let part = |(meta, reason): &(PartMeta, String)| {
            format!(
                "samples between {} and {} (Unix seconds) may be missing: part {} is damaged and set aside ({reason})",
                meta.first as f64 / 1000.0,
                meta.last as f64 / 1000.0,
                meta.number
            )
        };
        self.quarantined
            .iter()
            .filter(overlapping)
            .map(part)
            .chain(self.damage.iter().cloned())
            .collect()
    }
}

struct Budget {
    left: u64,
    max: u64,
}

impl Budget {
    fn take(&mut self, samples: usize) -> Result<(), SelectError> {
        self.left = self
            .left
            .checked_sub(samples as u64)
            .ok_or(SelectError::TooManySamples { max: self.max })?;
        Ok(())
    }
}

fn part_error(part: &Part, error: PartError) -> Attempt {
    let damaged = |reason: String| Attempt::Damaged {
        number: part.meta.number,
        reason,
    };
    match error {
        PartError::Damaged { offset, expected } => {
            damaged(format!("at offset {offset}: expected {expected}"))
        }
        PartError::Version(found) => damaged(format!("unknown version {found}")),
        PartError::Io(source) => {
            let source: Arc<io::Error> = Arc::new(source);
            SelectError::Io {
                path: part.path.clone(),
                source,
            }
            .into()
        }
    }
}
