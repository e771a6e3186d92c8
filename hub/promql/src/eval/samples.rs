//! The samples of one series, in the forms that evaluation needs.

use std::sync::Arc;

use model::{Histogram, LabelSet, ResetHint, Value, is_stale};

use super::row::Out;
use crate::histogram;
use crate::storage::{Column, SeriesColumns};

/// A series with its numbers and its histograms apart, staleness markers left out: what windows slide over.
#[derive(Clone, Debug, Default)]
pub(super) struct Samples {
    pub(super) labels: LabelSet,
    pub(super) drop_name: bool,
    pub(super) floats: Run<f64>,
    pub(super) histograms: Run<Arc<Histogram>>,
}

/// Values of one kind with their times, by rising time.
#[derive(Clone, Debug)]
pub(super) struct Run<T> {
    pub(super) times: Vec<i64>,
    pub(super) values: Vec<T>,
    /// Start timestamps; empty when none is known.
    pub(super) starts: Vec<i64>,
}

/// A run that stands elsewhere.
pub(super) struct RunRef<'a, T> {
    pub(super) times: &'a [i64],
    pub(super) values: &'a [T],
    pub(super) starts: &'a [i64],
}

impl<T> Run<T> {
    pub(super) fn as_ref(&self) -> RunRef<'_, T> {
        RunRef {
            times: &self.times,
            values: &self.values,
            starts: &self.starts,
        }
    }
}

impl<T> Default for Run<T> {
    fn default() -> Self {
        Run {
            times: Vec::new(),
            values: Vec::new(),
            starts: Vec::new(),
        }
    }
}

impl Samples {
    /// How much the samples count against a budget.
    pub(super) fn weight(&self) -> u64 {
        let histograms = self.histograms.values.iter();
        self.floats.values.len() as u64 + histograms.map(|h| histogram::weight(h)).sum::<u64>()
    }
}

/// Numbers and histograms of a series apart, staleness markers left out.
pub(super) fn split(series: SeriesColumns) -> Samples {
    let mut samples = Samples {
        labels: series.labels,
        ..Samples::default()
    };
    let start = |at: usize| series.starts.get(at).copied();
    match series.values {
        Column::Floats(values) => {
            let run = &mut samples.floats;
            if values.iter().any(|value| is_stale(*value)) {
                for (at, value) in values.iter().enumerate().filter(|(_, v)| !is_stale(**v)) {
                    run.times.push(series.timestamps[at]);
                    run.values.push(*value);
                    run.starts.extend(start(at));
                }
            } else {
                run.times = series.timestamps;
                run.values = values;
                run.starts = series.starts;
            }
        }
        Column::Mixed(values) => {
            let values = values.into_iter().enumerate();
            for (at, value) in values.filter(|(_, v)| !v.is_stale()) {
                let time = series.timestamps[at];
                match value {
                    Value::Float(value) => {
                        samples.floats.times.push(time);
                        samples.floats.values.push(value);
                        samples.floats.starts.extend(start(at));
                    }
                    Value::Histogram(histogram) => {
                        samples.histograms.times.push(time);
                        samples.histograms.values.push(histogram);
                        samples.histograms.starts.extend(start(at));
                    }
                }
            }
        }
    }
    samples
}

/// Leaves only count and sum of each histogram, with a hint whether it is a reset.
pub(super) fn drop_buckets(values: &mut Column) {
    let Column::Mixed(values) = values else {
        return;
    };
    let mut before: Option<Arc<Histogram>> = None;
    for value in values {
        let Value::Histogram(histogram) = value else {
            continue;
        };
        let mut bare = Histogram {
            schema: histogram.schema,
            count: histogram.count,
            sum: histogram.sum,
            reset_hint: histogram.reset_hint,
            ..Histogram::default()
        };
        if !is_stale(histogram.sum) {
            if let (ResetHint::Unknown, Some(before)) = (bare.reset_hint, &before) {
                bare.reset_hint = if histogram::detect_reset(histogram, before) {
                    ResetHint::Reset
                } else {
                    ResetHint::NotReset
                };
            }
            before = Some(Arc::clone(histogram));
        }
        *histogram = Arc::new(bare);
    }
}

/// The value at a place.
pub(super) fn value_of(values: &Column, at: usize) -> Out {
    match values {
        Column::Floats(values) => Out::Float(values[at]),
        Column::Mixed(values) => match &values[at] {
            Value::Float(value) => Out::Float(*value),
            Value::Histogram(histogram) => Out::Histogram(Arc::clone(histogram)),
        },
    }
}

/// Whether a staleness marker is at a place.
pub(super) fn is_stale_at(values: &Column, at: usize) -> bool {
    match values {
        Column::Floats(values) => is_stale(values[at]),
        Column::Mixed(values) => values[at].is_stale(),
    }
}
