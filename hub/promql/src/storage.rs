//! What the evaluator asks of whoever holds the samples.
//!
//! In two steps. [`Storage::open`] finds the series, and holds none of their samples; the [`SeriesSet`] that it gives is
//! then read in stretches, by several threads at a time, each series as borrowed columns that live as long as one call
//! of the visitor. Labels are asked for only where the answer shows them; which group each series belongs to is asked
//! for all series at once, so that a storage can answer without making a label set for each.
//!
//! [`Storage::select`] gives everything at once, for storages and readers that want no more.

use std::collections::HashMap;
use std::ops::Range;

use model::{LabelSet, Matcher, Timestamp, Value};

use crate::limits::{Budget, Cancel, OverBudget, Stop};

/// Where series are read from. Called from any thread, and for several selectors of one query at once.
pub trait Storage: Sync {
    /// Finds the series that fit the matchers and may have samples in the range.
    ///
    /// # Errors
    /// See [`StorageError`].
    fn open<'s>(
        &'s self,
        select: &Select<'_>,
        budget: &Budget,
        cancel: &Cancel,
    ) -> Result<Box<dyn SeriesSet + 's>, StorageError> {
        Ok(Box::new(self.select(select, budget, cancel)?))
    }

    /// All series that fit the matchers and have a sample in the range, in the order of their labels, each with its
    /// samples in the range in the order of time; staleness markers included.
    ///
    /// The storage takes room for the samples from `budget` before it holds them, and looks at `cancel` between
    /// series.
    ///
    /// # Errors
    /// See [`StorageError`].
    fn select(
        &self,
        select: &Select<'_>,
        budget: &Budget,
        cancel: &Cancel,
    ) -> Result<Selection, StorageError>;
}

/// What to select.
#[derive(Clone, Copy, Debug)]
pub struct Select<'a> {
    /// Every one has to fit.
    pub matchers: &'a [Matcher],
    /// Earliest time, included.
    pub start: Timestamp,
    /// Latest time, included.
    pub end: Timestamp,
    /// What the samples are for: a storage may use it to read less, and may ignore it.
    pub hints: Hints<'a>,
}

/// What selected samples are used for.
#[derive(Clone, Copy, Debug, Default)]
pub struct Hints<'a> {
    /// Step of the evaluation in milliseconds; 0 for a single instant.
    pub step_ms: i64,
    /// Length of the range selector in milliseconds; 0 if it is none.
    pub range_ms: i64,
    /// Name of the function or aggregation directly around the selector; empty if there is none.
    pub function: &'a str,
    /// Labels that the aggregation directly around groups by or without.
    pub grouping: &'a [String],
    /// Whether `grouping` are the labels to keep rather than to drop.
    pub by: bool,
    /// Only times count: any number that is no staleness marker may stand for another one.
    pub times_only: bool,
}

/// Series that were found, to be read once or more. They stand at places `0..len()`; their order is the same whenever
/// the same storage is asked, and says nothing.
pub trait SeriesSet: Send + Sync {
    /// How many places there are. Some may turn out to have no samples.
    fn len(&self) -> usize;

    /// None at all.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The labels of the series at a place; none if it is gone since the set was opened.
    fn labels(&self, place: usize) -> Option<LabelSet>;

    /// The series sorted into groups of equal labels, as far as `keep` keeps them.
    fn groups(&self, keep: &dyn Fn(&str) -> bool) -> Groups {
        let mut groups = Groups::default();
        let mut numbers: HashMap<LabelSet, u32> = HashMap::new();
        for place in 0..self.len() {
            let number = self.labels(place).map_or(NO_GROUP, |labels| {
                let kept = labels.retain(keep);
                *numbers.entry(kept).or_insert_with_key(|kept| {
                    groups.labels.push(kept.clone());
                    groups.labels.len() as u32 - 1
                })
            });
            groups.of.push(number);
        }
        groups
    }

    /// Whether no two series have equal labels, as far as `keep` keeps them. `false` may also mean that finding out is
    /// too dear.
    fn are_distinct(&self, keep: &dyn Fn(&str) -> bool) -> bool {
        let mut seen = std::collections::HashSet::with_capacity(self.len());
        (0..self.len())
            .filter_map(|place| self.labels(place))
            .all(|labels| seen.insert(labels.retain(keep)))
    }

    /// Shows each series at these places that has samples in the range, by rising place; `visit` says whether to go on.
    /// Looks at `cancel` now and then.
    ///
    /// # Errors
    /// See [`StorageError`].
    fn read(
        &self,
        places: Range<usize>,
        cancel: &Cancel,
        visit: &mut dyn FnMut(usize, SeriesView<'_>) -> bool,
    ) -> Result<(), StorageError>;

    /// Which stretch a series belongs to; it does not fall from place to place. Aggregations fold each stretch by itself, on
    /// several threads, and join what they come to: so that the last bit of a sum does not hang on which other series
    /// were found, a series has to be in the same one whatever was asked for. In one stretch, nothing is joined.
    fn stretch(&self, _place: usize) -> u32 {
        0
    }

    /// For whoever asked: for instance that data of some branch are missing.
    fn warnings(&self) -> &[String];

    /// Whether it holds its samples and has taken room for them; then whoever reads a series for the first time gives
    /// that room back.
    fn holds_samples(&self) -> bool {
        false
    }
}

/// In [`Groups::of`]: the series is gone.
pub const NO_GROUP: u32 = u32::MAX;

/// Which group each series of a set belongs to.
#[derive(Clone, Debug, Default)]
pub struct Groups {
    /// By place: number of the group, or [`NO_GROUP`].
    pub of: Vec<u32>,
    /// What the series of a group have in common, by number; no label set twice.
    pub labels: Vec<LabelSet>,
}

/// The samples of one series, as columns of equal length.
#[derive(Clone, Copy, Debug)]
pub struct SeriesView<'a> {
    /// Milliseconds since the epoch, strictly rising.
    pub times: &'a [i64],
    /// The times are equal to those of the series shown before in the same call.
    pub same_times: bool,
    /// What was measured.
    pub values: ValuesView<'a>,
    /// Since when each sample counts, in milliseconds, 0 for unknown; empty when none is known.
    pub starts: &'a [i64],
}

/// The values of a series.
#[derive(Clone, Copy, Debug)]
pub enum ValuesView<'a> {
    /// Only numbers.
    Floats(&'a [f64]),
    /// Histograms, perhaps among numbers.
    Mixed(&'a [Value]),
}

impl SeriesView<'_> {
    /// A copy that stays.
    pub fn to_columns(&self, labels: LabelSet) -> SeriesColumns {
        SeriesColumns {
            labels,
            timestamps: self.times.to_vec(),
            values: match self.values {
                ValuesView::Floats(values) => Column::Floats(values.to_vec()),
                ValuesView::Mixed(values) => Column::Mixed(values.to_vec()),
            },
            starts: self.starts.to_vec(),
        }
    }
}

impl ValuesView<'_> {
    /// How much the values count against a [`Budget`].
    pub fn weight(&self) -> u64 {
        match self {
            ValuesView::Floats(values) => values.len() as u64,
            ValuesView::Mixed(values) => weight(values),
        }
    }
}

fn weight(values: &[Value]) -> u64 {
    let weights = values.iter().map(|value| match value {
        Value::Float(_) => 1,
        Value::Histogram(histogram) => crate::histogram::weight(histogram),
    });
    weights.sum()
}

impl SeriesSet for Selection {
    fn len(&self) -> usize {
        self.series.len()
    }

    fn labels(&self, place: usize) -> Option<LabelSet> {
        self.series.get(place).map(|series| series.labels.clone())
    }

    fn read(
        &self,
        places: Range<usize>,
        cancel: &Cancel,
        visit: &mut dyn FnMut(usize, SeriesView<'_>) -> bool,
    ) -> Result<(), StorageError> {
        for (place, series) in self
            .series
            .iter()
            .enumerate()
            .take(places.end)
            .skip(places.start)
        {
            cancel.check()?;
            let view = SeriesView {
                times: &series.timestamps,
                same_times: place > places.start && {
                    self.series[place - 1].timestamps == series.timestamps
                },
                values: match &series.values {
                    Column::Floats(values) => ValuesView::Floats(values),
                    Column::Mixed(values) => ValuesView::Mixed(values),
                },
                starts: &series.starts,
            };
            if !visit(place, view) {
                break;
            }
        }
        Ok(())
    }

    fn warnings(&self) -> &[String] {
        &self.warnings
    }

    fn holds_samples(&self) -> bool {
        true
    }
}

/// What was selected.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    /// In the order of their labels; no label set twice.
    pub series: Vec<SeriesColumns>,
    /// For whoever asked: for instance that data of some branch are missing.
    pub warnings: Vec<String>,
}

/// A series as columns of equal length.
#[derive(Clone, Debug)]
pub struct SeriesColumns {
    /// Its labels.
    pub labels: LabelSet,
    /// Milliseconds since the epoch, strictly rising.
    pub timestamps: Vec<i64>,
    /// What was measured.
    pub values: Column,
    /// Since when each sample counts, in milliseconds, 0 for unknown; empty when none is known.
    pub starts: Vec<i64>,
}

/// The values of a series.
#[derive(Clone, Debug)]
pub enum Column {
    /// Only numbers: the common case.
    Floats(Vec<f64>),
    /// Histograms, perhaps among numbers.
    Mixed(Vec<Value>),
}

impl Column {
    /// How many values.
    pub fn len(&self) -> usize {
        match self {
            Column::Floats(values) => values.len(),
            Column::Mixed(values) => values.len(),
        }
    }

    /// None at all.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How much the values count against a [`Budget`].
    pub fn weight(&self) -> u64 {
        match self {
            Column::Floats(values) => values.len() as u64,
            Column::Mixed(values) => weight(values),
        }
    }
}

/// Why nothing was selected.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StorageError {
    /// The query was stopped.
    #[error("selection was stopped")]
    Stopped(Stop),
    /// The query's budget does not suffice.
    #[error("selection holds more than the query may")]
    OverBudget(OverBudget),
    /// What was found is no longer there, for instance because a damaged file was set aside: the query may begin anew.
    #[error("{0}, again and again")]
    Changed(String),
    /// Anything else, in words for whoever asked.
    #[error("{0}")]
    Failed(String),
}

impl From<Stop> for StorageError {
    fn from(stop: Stop) -> Self {
        StorageError::Stopped(stop)
    }
}

impl From<OverBudget> for StorageError {
    fn from(over: OverBudget) -> Self {
        StorageError::OverBudget(over)
    }
}
