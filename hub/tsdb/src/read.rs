//! Reading at once: what fits in memory, and what needs no samples.

use std::collections::BTreeMap;

use model::{LabelSet, Matcher, Metadata, Timestamp};
use roaring::RoaringBitmap;

use crate::{
    catalogue::{Cardinality, Catalogue},
    error::SelectError,
    part::{Part, PartMeta},
    store::{State, Store},
    stream::{SeriesView, ValuesView},
    types::{
        Column, MetadataByMetric, PartInfo, SelectLimits, Selection, Series, Stats, TimeRange,
        Wanted,
    },
};

/// Series between two calls of the caller's `cancel`.
const CANCEL_EVERY: usize = 256;

impl From<SeriesView<'_>> for Series {
    /// Without labels.
    fn from(view: SeriesView<'_>) -> Self {
        Self {
            labels: LabelSet::empty(),
            timestamps: view.times.to_vec(),
            values: match view.values {
                ValuesView::Floats(values) => Column::Floats(values.to_vec()),
                ValuesView::Mixed(values) => Column::Mixed(values.to_vec()),
            },
            starts: view.starts.to_vec(),
        }
    }
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
        loop {
            match self.try_select(matchers, range, limits, cancel) {
                // Ends: each time there is one part less.
                Err(SelectError::Changed { .. }) => {}
                result => return result,
            }
        }
    }

    fn try_select(
        &self,
        matchers: &[Matcher],
        range: TimeRange,
        limits: &SelectLimits,
        cancel: &dyn Fn() -> bool,
    ) -> Result<Selection, SelectError> {
        let found = self.open_series(matchers, range, Wanted::Samples, limits, cancel)?;
        let mut left = limits.samples;
        let mut enough = true;
        let mut read: Vec<(usize, Series)> = Vec::new();
        found.read(0..found.len(), cancel, &mut |place, view| {
            match left.checked_sub(view.times.len() as u64) {
                Some(fewer) => left = fewer,
                None => enough = false,
            }
            if enough {
                read.push((place, Series::from(view)));
            }
            enough
        })?;
        if !enough {
            let max = limits.samples;
            return Err(SelectError::TooManySamples { max });
        }
        let mut series = Vec::with_capacity(read.len());
        for (index, (place, mut read)) in read.into_iter().enumerate() {
            if index % CANCEL_EVERY == 0 && cancel() {
                return Err(SelectError::Canceled);
            }
            // None: forgotten meanwhile, with all of its samples.
            if let Some(labels) = found.labels(place) {
                read.labels = labels;
                series.push(read);
            }
        }
        series.sort_by(|a, b| a.labels.cmp(&b.labels));
        Ok(Selection {
            series,
            warnings: found.warnings().to_vec(),
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
    pub(crate) fn kept(&self, range: TimeRange) -> TimeRange {
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

    /// What there is most of: see [`Cardinality`]. Looks at every series: tens of milliseconds a million.
    pub fn cardinality(&self, limit: usize) -> Cardinality {
        self.read_catalogue().cardinality(limit)
    }

    /// The parts that are served, by time.
    pub fn parts(&self) -> Vec<PartInfo> {
        let state = self.read_state();
        let part = |part: &std::sync::Arc<Part>| PartInfo {
            number: part.meta.number,
            level: part.meta.level,
            first: Timestamp::from_millis(part.meta.first),
            last: Timestamp::from_millis(part.meta.last),
            samples: part.meta.rows,
            series: part.ids.len(),
            bytes: part.meta.bytes,
        };
        let mut parts: Vec<PartInfo> = state.parts.iter().map(part).collect();
        parts.sort_by_key(|part| (part.first, part.number));
        parts
    }

    /// What the store holds and has seen. Cheap enough for every scrape of the process's own metrics.
    pub fn stats(&self) -> Stats {
        let catalogue = self.read_catalogue();
        let state = self.read_state();
        let exemplars = self.read_exemplars();
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
            exemplars: exemplars.len() as u64,
            exemplar_series: exemplars.series() as u64,
            exemplars_oldest: exemplars.oldest(),
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
    pub(crate) fn found(&self, fitting: RoaringBitmap, range: TimeRange) -> RoaringBitmap {
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
    pub(crate) fn warnings(&self, range: TimeRange) -> Vec<String> {
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
