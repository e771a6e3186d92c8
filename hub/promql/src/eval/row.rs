//! What an expression is while it is evaluated: rows of values over a grid of steps.

use std::collections::HashMap;
use std::sync::Arc;

use model::{Histogram, LabelSet, METRIC_NAME, STALE_NAN_BITS, Timestamp};

use crate::limits::Weight;
use crate::result::{QueryError, RangeSeries};

/// Evenly spaced instants, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Grid {
    pub(crate) start: i64,
    /// At least 1.
    pub(crate) step: i64,
    pub(crate) len: usize,
}

impl Grid {
    pub(crate) fn new(start: i64, step: i64, len: usize) -> Self {
        Grid { start, step, len }
    }

    pub(crate) fn instant(at: i64) -> Self {
        Grid::new(at, 1, 1)
    }

    pub(crate) fn time(self, step: usize) -> i64 {
        self.start
            .saturating_add(self.step.saturating_mul(step as i64))
    }

    /// The time of the last step.
    pub(crate) fn end(self) -> i64 {
        self.time(self.len.saturating_sub(1))
    }

    /// Only the first step.
    pub(crate) fn first(self) -> Self {
        Grid { len: 1, ..self }
    }
}

/// Marks a step without a number. The staleness marker ends series and never comes out of an evaluation, so its bits
/// are free.
pub(crate) const ABSENT: f64 = f64::from_bits(STALE_NAN_BITS);

pub(crate) fn is_absent(value: f64) -> bool {
    value.to_bits() == STALE_NAN_BITS
}

/// One series over the steps of a grid.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) labels: LabelSet,
    /// The metric name goes at the end of the evaluation.
    pub(crate) drop_name: bool,
    /// A number per step, or [`ABSENT`].
    pub(crate) floats: Vec<f64>,
    /// A histogram per step, if the series has any; such a step has no number.
    pub(crate) histograms: Option<Vec<Option<Arc<Histogram>>>>,
}

/// What a row without values counts against a budget.
pub(crate) fn empty_weight(len: usize) -> u64 {
    len.div_ceil(4) as u64
}

/// What a row has at a step.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Point<'a> {
    Float(f64),
    Histogram(&'a Arc<Histogram>),
}

/// A value on its way into a row.
#[derive(Clone, Debug)]
pub(crate) enum Out {
    Float(f64),
    Histogram(Arc<Histogram>),
}

impl From<Point<'_>> for Out {
    fn from(point: Point<'_>) -> Self {
        match point {
            Point::Float(value) => Out::Float(value),
            Point::Histogram(histogram) => Out::Histogram(Arc::clone(histogram)),
        }
    }
}

impl Row {
    /// A row without values.
    pub(crate) fn empty(labels: LabelSet, len: usize) -> Self {
        Row {
            labels,
            drop_name: false,
            floats: vec![ABSENT; len],
            histograms: None,
        }
    }

    /// A row of numbers.
    pub(crate) fn of_floats(labels: LabelSet, floats: Vec<f64>) -> Self {
        Row {
            labels,
            drop_name: false,
            floats,
            histograms: None,
        }
    }

    pub(crate) fn point(&self, step: usize) -> Option<Point<'_>> {
        let value = self.floats[step];
        if !is_absent(value) {
            return Some(Point::Float(value));
        }
        let histogram = self.histograms.as_ref()?[step].as_ref()?;
        Some(Point::Histogram(histogram))
    }

    pub(crate) fn has(&self, step: usize) -> bool {
        self.point(step).is_some()
    }

    pub(crate) fn set(&mut self, step: usize, value: Out) {
        match value {
            Out::Float(value) => self.floats[step] = value,
            Out::Histogram(histogram) => {
                let len = self.floats.len();
                self.histograms.get_or_insert_with(|| vec![None; len])[step] = Some(histogram);
                self.floats[step] = ABSENT;
            }
        }
    }

    pub(crate) fn clear(&mut self, step: usize) {
        self.floats[step] = ABSENT;
        if let Some(histograms) = &mut self.histograms {
            histograms[step] = None;
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        (0..self.floats.len()).all(|step| !self.has(step))
    }

    /// How many samples the values are worth.
    pub(crate) fn samples(&self) -> u64 {
        let floats = self.floats.iter().filter(|value| !is_absent(**value));
        let histograms = self.histograms.iter().flatten().flatten();
        floats.count() as u64 + histograms.map(|h| crate::histogram::weight(h)).sum::<u64>()
    }

    /// How much the row counts against a budget: as many samples as it has, but an empty step still takes a quarter
    /// of what a sample does.
    /// Labels take room here and in the answer.
    pub(crate) fn weight(&self) -> Weight {
        let samples = self.samples().max(empty_weight(self.floats.len()));
        let beside = 2 * self.labels.as_bytes().len() + size_of::<Self>();
        Weight::from(samples) + Weight::bytes(beside)
    }

    /// The first step's value at all `len` steps.
    pub(crate) fn spread(self, len: usize) -> Self {
        let first = self
            .histograms
            .and_then(|all| all.into_iter().next())
            .flatten();
        Row {
            floats: vec![self.floats[0]; len],
            histograms: first.map(|histogram| vec![Some(histogram); len]),
            ..self
        }
    }

    pub(crate) fn into_points(self, grid: Grid) -> RangeSeries {
        let at = |step: usize| Timestamp::from_millis(grid.time(step));
        let floats = self.floats.iter().enumerate();
        let histograms = self.histograms.into_iter().flatten().enumerate();
        RangeSeries {
            labels: self.labels,
            floats: floats
                .filter(|(_, value)| !is_absent(**value))
                .map(|(step, value)| (at(step), *value))
                .collect(),
            histograms: histograms
                .filter_map(|(step, histogram)| Some((at(step), histogram?)))
                .collect(),
        }
    }
}

/// The labels without those that describe the metric rather than the series: name, type and unit.
pub(crate) fn without_metric(labels: &LabelSet) -> LabelSet {
    labels.retain(|name| !is_metric_label(name))
}

/// Whether a label describes the metric rather than the series.
pub(crate) fn is_metric_label(name: &str) -> bool {
    matches!(name, METRIC_NAME | "__type__" | "__unit__")
}

pub(crate) fn same_labels_error() -> QueryError {
    QueryError::Execution("vector cannot contain metrics with the same labelset".to_owned())
}

/// Whether two rows have the same labels.
pub(crate) fn has_same_labels(rows: &[Row]) -> bool {
    let mut seen = std::collections::HashSet::with_capacity(rows.len());
    rows.len() > 1 && !rows.iter().all(|row| seen.insert(&row.labels))
}

/// Rows of equal labels become one; they may not have values at the same step.
pub(crate) fn merge_same_labels(rows: Vec<Row>) -> Result<Vec<Row>, QueryError> {
    merge(rows, |_| false)
}

/// The same, but a row whose name is still to be dropped stays apart from one that keeps it.
pub(crate) fn merge_same_series(rows: Vec<Row>) -> Result<Vec<Row>, QueryError> {
    merge(rows, |row| row.drop_name)
}

fn merge(rows: Vec<Row>, apart: impl Fn(&Row) -> bool) -> Result<Vec<Row>, QueryError> {
    if !has_same_labels(&rows) {
        return Ok(rows);
    }
    let mut merged: Vec<Row> = Vec::with_capacity(rows.len());
    let mut places: HashMap<(LabelSet, bool), usize> = HashMap::with_capacity(rows.len());
    for row in rows {
        let key = (row.labels.clone(), apart(&row));
        let Some(place) = places.get(&key) else {
            places.insert(key, merged.len());
            merged.push(row);
            continue;
        };
        let kept = &mut merged[*place];
        for step in 0..row.floats.len() {
            let Some(point) = row.point(step) else {
                continue;
            };
            if kept.has(step) {
                return Err(same_labels_error());
            }
            kept.set(step, point.into());
        }
    }
    Ok(merged)
}
