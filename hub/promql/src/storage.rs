//! What the evaluator asks of whoever holds the samples.

use model::{LabelSet, Matcher, Timestamp, Value};

use crate::limits::{Budget, Cancel, Stop, TooManySamples};

/// Where series are read from. Called from any thread, and for several selectors of one query at once.
pub trait Storage: Sync {
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
            Column::Mixed(values) => values
                .iter()
                .map(|value| match value {
                    Value::Float(_) => 1,
                    Value::Histogram(histogram) => crate::histogram::weight(histogram),
                })
                .sum(),
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
    #[error("selection holds more samples than the query may")]
    TooManySamples,
    /// Anything else, in words for whoever asked.
    #[error("{0}")]
    Failed(String),
}

impl From<Stop> for StorageError {
    fn from(stop: Stop) -> Self {
        StorageError::Stopped(stop)
    }
}

impl From<TooManySamples> for StorageError {
    fn from(_: TooManySamples) -> Self {
        StorageError::TooManySamples
    }
}
