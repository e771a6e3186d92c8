//! What whoever is asked answers: the engine with all that it knows, an API with what its text shows.

use std::sync::Arc;

use model::{BucketBound, Histogram, LabelSet, Timestamp, Value};

use crate::result::{QueryResult, ResultValue};

/// An answer to one case.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The values.
    pub value: AnswerValue,
    /// In the order given.
    pub warnings: Vec<String>,
    /// In the order given.
    pub infos: Vec<String>,
}

/// The values of an answer.
#[derive(Clone, Debug)]
pub enum AnswerValue {
    /// One number.
    Scalar(f64),
    /// One text.
    String(String),
    /// One value a series, in the order given.
    Vector(Vec<(LabelSet, Found)>),
    /// Many.
    Matrix(Vec<AnswerSeries>),
}

/// Values of one series, each kind in the order of time.
#[derive(Clone, Debug)]
pub struct AnswerSeries {
    /// Which series.
    pub labels: LabelSet,
    /// Its numbers.
    pub floats: Vec<(Timestamp, f64)>,
    /// Its histograms.
    pub histograms: Vec<(Timestamp, FoundHistogram)>,
}

/// One value.
#[derive(Clone, Debug)]
pub enum Found {
    /// A number.
    Float(f64),
    /// A native histogram.
    Histogram(FoundHistogram),
}

/// A native histogram of an answer.
#[derive(Clone, Debug)]
pub enum FoundHistogram {
    /// As the engine has it.
    Whole(Arc<Histogram>),
    /// As the HTTP API shows it: neither schema nor reset hint, and empty buckets left out.
    Shown {
        /// All observations.
        count: f64,
        /// Their sum.
        sum: f64,
        /// From the lowest to the highest.
        buckets: Vec<BucketBound>,
    },
}

impl From<Value> for Found {
    fn from(value: Value) -> Self {
        match value {
            Value::Float(value) => Found::Float(value),
            Value::Histogram(histogram) => Found::Histogram(FoundHistogram::Whole(histogram)),
        }
    }
}

impl From<QueryResult> for Answer {
    fn from(result: QueryResult) -> Self {
        let value = match result.value {
            ResultValue::Scalar(_, value) => AnswerValue::Scalar(value),
            ResultValue::String(_, text) => AnswerValue::String(text),
            ResultValue::Vector(all) => {
                let found = all.into_iter().map(|one| (one.labels, one.value.into()));
                AnswerValue::Vector(found.collect())
            }
            ResultValue::Matrix(all) => {
                let whole = |(at, histogram)| (at, FoundHistogram::Whole(histogram));
                let series = all.into_iter().map(|series| AnswerSeries {
                    labels: series.labels,
                    floats: series.floats,
                    histograms: series.histograms.into_iter().map(whole).collect(),
                });
                AnswerValue::Matrix(series.collect())
            }
        };
        Answer {
            value,
            warnings: result.warnings,
            infos: result.infos,
        }
    }
}

impl AnswerSeries {
    pub(super) fn at(&self, at: Timestamp) -> Option<Found> {
        let float = self.floats.iter().find(|(t, _)| *t == at);
        let histogram = self.histograms.iter().find(|(t, _)| *t == at);
        match (float, histogram) {
            (Some((_, value)), _) => Some(Found::Float(*value)),
            (None, Some((_, histogram))) => Some(Found::Histogram(histogram.clone())),
            (None, None) => None,
        }
    }
}
