//! Answers and errors of queries.

use std::sync::Arc;

use model::{Histogram, LabelSet, Timestamp, Value};

use crate::limits::{Budget, OverBudget, Stop};
use crate::parser::ParseError;
use crate::storage::StorageError;

/// The answer to a query.
#[derive(Clone, Debug)]
pub struct QueryResult {
    /// The values.
    pub value: ResultValue,
    /// What may make the answer wrong: `PromQL warning: … (1:5)`, and what the storage has to say.
    pub warnings: Vec<String>,
    /// What may be worth knowing: `PromQL info: … (1:5)`.
    pub infos: Vec<String>,
    /// What it took.
    pub stats: QueryStats,
    /// What it holds counts until this is dropped.
    pub held: Arc<Budget>,
}

/// The values of an answer.
#[derive(Clone, Debug, PartialEq)]
pub enum ResultValue {
    /// One number (instant queries only).
    Scalar(Timestamp, f64),
    /// One text (instant queries only).
    String(Timestamp, String),
    /// One value for each of many series (instant queries only); ordered if the query sorts.
    Vector(Vec<InstantSample>),
    /// Many values for each of many series, in the order of their labels. A scalar over a range is one series
    /// without labels.
    Matrix(Vec<RangeSeries>),
}

/// One series of an instant vector.
#[derive(Clone, Debug, PartialEq)]
pub struct InstantSample {
    /// Which series.
    pub labels: LabelSet,
    /// The time of evaluation.
    pub at: Timestamp,
    /// Its value.
    pub value: Value,
}

/// One series of a range vector.
#[derive(Clone, Debug, PartialEq)]
pub struct RangeSeries {
    /// Which series.
    pub labels: LabelSet,
    /// Its numbers in the order of time.
    pub floats: Vec<(Timestamp, f64)>,
    /// Its native histograms in the order of time.
    pub histograms: Vec<(Timestamp, Arc<Histogram>)>,
}

/// What a query took.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct QueryStats {
    /// Samples looked at, counted for every step that looked at them (`totalQueryableSamples`).
    pub queryable_samples: u64,
    /// Samples read; where ranges of several steps have some in common, these count once (`samplesRead`).
    pub samples_read: u64,
    /// Most samples held at a time (`peakSamples`).
    pub peak_samples: u64,
    /// Series read from storage.
    pub series_read: u64,
    /// Native histograms were among what was read.
    pub histograms_read: bool,
    /// Both for each step, if [`crate::QueryOptions::count_by_step`] asks for it.
    pub samples_by_step: Vec<StepSamples>,
}

/// What one step took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StepSamples {
    /// When it is evaluated.
    pub at: Timestamp,
    /// See [`QueryStats::queryable_samples`].
    pub queryable: u64,
    /// See [`QueryStats::samples_read`].
    pub read: u64,
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QueryError {
    /// The expression is wrong.
    #[error(transparent)]
    Parse(#[from] ParseError),
    /// The expression has no meaning over these samples, or takes too many of them.
    #[error("{0}")]
    Execution(String),
    /// Its time was up.
    #[error("query timed out in expression evaluation")]
    Timeout,
    /// It was canceled.
    #[error("query was canceled in expression evaluation")]
    Canceled,
    /// The storage failed.
    #[error("expanding series: {0}")]
    Storage(String),
    /// What the storage had found is no longer there, and the query may begin anew; the engine does so.
    #[error("expanding series: {0}, again and again")]
    Changed(String),
}

impl From<Stop> for QueryError {
    fn from(stop: Stop) -> Self {
        match stop {
            Stop::Canceled => QueryError::Canceled,
            Stop::TimedOut => QueryError::Timeout,
        }
    }
}

impl From<OverBudget> for QueryError {
    fn from(over: OverBudget) -> Self {
        QueryError::Execution(match over {
            OverBudget::Samples => {
                "query processing would load too many samples into memory in query execution"
                    .to_owned()
            }
            OverBudget::Memory { max } => format!(
                "query processing would take more than {} MiB of memory, which is what one query may: \
                 ask for fewer series, a shorter range or a longer step",
                max >> 20
            ),
            OverBudget::AllMemory { max } => format!(
                "queries that run together would take more than {} MiB of memory, which is what all may: ask again later, or for less",
                max >> 20
            ),
        })
    }
}

impl From<StorageError> for QueryError {
    fn from(error: StorageError) -> Self {
        match error {
            StorageError::Stopped(stop) => stop.into(),
            StorageError::OverBudget(over) => over.into(),
            StorageError::Changed(message) => QueryError::Changed(message),
            StorageError::Failed(message) => QueryError::Storage(message),
        }
    }
}
