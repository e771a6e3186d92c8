//! Joins the store to PromQL: the evaluator's questions, put to `tsdb`.

use std::{ops::Range, sync::Arc};

use model::{LabelSet, Matcher, Timestamp, Value};
use promql::{
    Budget, Cancel, Groups, OverBudget, QueryError, Select, SeriesColumns, SeriesSet, SeriesView,
    StorageError, Weight,
};
use tsdb::{FoundSeries, NO_START, SelectError, SelectLimits, Store, TimeRange, Wanted};

/// Series that one selector may match.
const SERIES_MAX: usize = 2_000_000;

/// Series are folded in stretches of 1,024 ids: enough that joining them costs little, and few enough that some thousands
/// are work for all cores.
const STRETCH_BITS: u32 = 10;

/// The store as PromQL sees it.
#[derive(Clone)]
pub(crate) struct StoreReader {
    pub(crate) store: Arc<Store>,
}

impl StoreReader {
    fn found(
        &self,
        select: &Select<'_>,
        budget: &Budget,
        cancel: &Cancel,
    ) -> Result<Found<'_>, StorageError> {
        let limits = SelectLimits {
            series: SERIES_MAX,
            samples: budget.samples_max(),
        };
        let range = TimeRange::new(select.start, select.end);
        let wanted = match select.hints.times_only {
            true => Wanted::Times,
            false => Wanted::Samples,
        };
        let stopped = || cancel.check().is_err();
        self.store
            .open_series(select.matchers, range, wanted, &limits, &stopped)
            .map(Found)
            .map_err(|error| failed(error, cancel))
    }
}

/// The last sample of a series in a range.
#[derive(Clone, Debug)]
pub(crate) struct Newest {
    pub(crate) labels: LabelSet,
    pub(crate) at: Timestamp,
    pub(crate) value: Value,
}

impl StoreReader {
    /// The last sample in the range of each series that fits, in no order; nothing of the others is held. What is found counts
    /// against the budget as long as that is there.
    pub(crate) fn newest(
        &self,
        matchers: &[Matcher],
        range: TimeRange,
        budget: &Budget,
        cancel: &Cancel,
    ) -> Result<Vec<Newest>, QueryError> {
        loop {
            let mut taken = Weight::default();
            match self.try_newest(matchers, range, budget, cancel, &mut taken) {
                // Ends: each time there is one part less.
                Err(StorageError::Changed(_)) => budget.release(taken),
                result => return Ok(result?),
            }
        }
    }

    fn try_newest(
        &self,
        matchers: &[Matcher],
        range: TimeRange,
        budget: &Budget,
        cancel: &Cancel,
        taken: &mut Weight,
    ) -> Result<Vec<Newest>, StorageError> {
        let limits = SelectLimits {
            series: SERIES_MAX,
            samples: budget.samples_max(),
        };
        let stopped = || cancel.check().is_err();
        let found = self
            .store
            .open_series(matchers, range, Wanted::Samples, &limits, &stopped)
            .map_err(|error| failed(error, cancel))?;
        let mut all = Vec::new();
        let mut room = Ok(());
        let read = found.read(0..found.len(), &stopped, &mut |place, view| {
            let value = match view.values {
                tsdb::ValuesView::Floats(values) => values.last().copied().map(Value::Float),
                tsdb::ValuesView::Mixed(values) => values.last().cloned(),
            };
            // No labels: forgotten meanwhile, with all of its samples.
            if let (Some(at), Some(value), Some(labels)) =
                (view.times.last(), value, found.labels(place))
            {
                // Whoever asks sorts them, and prints them.
                let beside = match &value {
                    Value::Float(_) => 0,
                    Value::Histogram(histogram) => {
                        let counts =
                            histogram.positive.counts.len() + histogram.negative.counts.len();
                        32 * (counts + histogram.custom_values.len())
                    }
                };
                let size = 4 * labels.as_bytes().len() + 2 * size_of::<Newest>() + beside;
                let weight = Weight::bytes(size);
                *taken = *taken + weight;
                room = budget.take(weight);
                let at = Timestamp::from_millis(*at);
                all.push(Newest { labels, at, value });
            }
            room.is_ok()
        });
        read.map_err(|error| failed(error, cancel))?;
        room?;
        for warning in found.warnings() {
            tracing::warn!("{warning}");
        }
        Ok(all)
    }
}

impl promql::Storage for StoreReader {
    fn open<'s>(
        &'s self,
        select: &Select<'_>,
        budget: &Budget,
        cancel: &Cancel,
    ) -> Result<Box<dyn SeriesSet + 's>, StorageError> {
        Ok(Box::new(self.found(select, budget, cancel)?))
    }

    fn select(
        &self,
        select: &Select<'_>,
        budget: &Budget,
        cancel: &Cancel,
    ) -> Result<promql::Selection, StorageError> {
        let found = self.found(select, budget, cancel)?;
        let mut series: Vec<SeriesColumns> = Vec::new();
        let mut taken = Ok(());
        found.read(0..found.len(), cancel, &mut |place, view| {
            // None: forgotten meanwhile, with all of its samples.
            let Some(labels) = found.labels(place) else {
                return true;
            };
            let beside = 2 * labels.as_bytes().len() + size_of::<SeriesColumns>();
            taken = budget
                .take(view.values.weight())
                .and_then(|()| budget.take(Weight::bytes(beside)));
            if taken.is_ok() {
                series.push(view.to_columns(labels));
            }
            taken.is_ok()
        })?;
        taken?;
        series.sort_by(|a, b| a.labels.cmp(&b.labels));
        Ok(promql::Selection {
            series,
            warnings: found.warnings().to_vec(),
        })
    }
}

/// Series of the store as PromQL sees them.
struct Found<'s>(FoundSeries<'s>);

impl SeriesSet for Found<'_> {
    fn len(&self) -> usize {
        self.0.len()
    }

    fn labels(&self, place: usize) -> Option<LabelSet> {
        self.0.labels(place)
    }

    fn groups(&self, keep: &dyn Fn(&str) -> bool) -> Groups {
        let tsdb::SeriesGroups { of, labels } = self.0.groups(keep);
        const { assert!(tsdb::NO_GROUP == promql::NO_GROUP) };
        Groups { of, labels }
    }

    fn are_distinct(&self, keep: &dyn Fn(&str) -> bool) -> bool {
        self.0.are_distinct(keep)
    }

    fn read(
        &self,
        places: Range<usize>,
        cancel: &Cancel,
        visit: &mut dyn FnMut(usize, SeriesView<'_>) -> bool,
    ) -> Result<(), StorageError> {
        let stopped = || cancel.check().is_err();
        let (mut starts, mut noted) = (Vec::new(), Vec::new());
        let read = self.0.read(places, &stopped, &mut |place, view| {
            starts.clear();
            let known = |at: &i64| if *at == NO_START { 0 } else { *at };
            starts.extend(view.starts.iter().map(known));
            let view = SeriesView {
                times: view.times,
                same_times: view.same_times,
                values: match view.values {
                    tsdb::ValuesView::Floats(values) => promql::ValuesView::Floats(values),
                    tsdb::ValuesView::Mixed(values) => {
                        noted.clear();
                        noted.extend_from_slice(values);
                        promql::note_resets(&mut noted);
                        promql::ValuesView::Mixed(&noted)
                    }
                },
                starts: &starts,
            };
            visit(place, view)
        });
        read.map_err(|error| failed(error, cancel))
    }

    fn stretch(&self, place: usize) -> u32 {
        self.0.id(place).unwrap_or(u32::MAX) >> STRETCH_BITS
    }

    fn warnings(&self) -> &[String] {
        self.0.warnings()
    }
}

fn failed(error: SelectError, cancel: &Cancel) -> StorageError {
    match (error, cancel.check()) {
        (SelectError::Canceled, Err(stop)) => StorageError::Stopped(stop),
        (SelectError::TooManySamples { .. }, _) => OverBudget::Samples.into(),
        (changed @ SelectError::Changed { .. }, _) => StorageError::Changed(changed.to_string()),
        (other, _) => StorageError::Failed(other.to_string()),
    }
}
