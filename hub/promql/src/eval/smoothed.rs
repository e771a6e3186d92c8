//! Values between samples: `smoothed` selectors, and the made-up ends of extended ranges.

use std::sync::Arc;

use model::Histogram;

use super::row::{Out, Row};
use super::samples::{Run, Samples, split};
use super::selector::When;
use super::{Eval, Evaluator, Grid};
use crate::annotations::{Annotation, Operation};
use crate::ast::{Span, VectorSelector};
use crate::histogram;

impl Evaluator<'_> {
    /// The value at each step interpolated between the samples around it.
    pub(super) fn smoothed_selector(
        &mut self,
        selector: &VectorSelector,
        grid: Grid,
    ) -> Eval<Vec<Row>> {
        let when = When::new(selector.at, selector.offset.millis());
        let (first, last) = when.bounds(grid);
        let reach = self.lookback_ms;
        let bounds = (
            first.saturating_sub(reach).saturating_add(1),
            last.saturating_add(reach),
        );
        let selected = self.select(selector, bounds, 0, grid)?;
        let mut rows = Vec::new();
        for series in selected {
            self.cancel.check()?;
            self.budget.release(series.values.weight());
            let samples = split(series);
            let mut row = Row::empty(samples.labels.clone(), grid.len);
            for step in 0..grid.len {
                let time = when.time(grid.time(step));
                let value = self.smoothed_at(&samples, time, selector.span);
                if let Some(value) = value {
                    row.set(step, value);
                }
            }
            if !row.is_empty() {
                rows.push(row);
            }
        }
        self.hold(&rows)?;
        Ok(rows)
    }

    fn smoothed_at(&mut self, samples: &Samples, time: i64, span: Span) -> Option<Out> {
        let reach = self.lookback_ms;
        let within = |times: &[i64]| {
            let from = times.partition_point(|t| *t <= time.saturating_sub(reach));
            let to = times.partition_point(|t| *t <= time.saturating_add(reach));
            from..to
        };
        let floats = within(&samples.floats.times);
        let histograms = within(&samples.histograms.times);
        let metric = samples.labels.name().unwrap_or_default();
        if !floats.is_empty() && !histograms.is_empty() {
            self.annotate(&Annotation::MixedFloatsHistograms { metric }, span);
            return None;
        }
        if !floats.is_empty() {
            let times = &samples.floats.times[floats.clone()];
            let values = &samples.floats.values[floats];
            let next = times.partition_point(|t| *t < time);
            return match (next.checked_sub(1), times.get(next)) {
                (_, Some(at)) if *at == time => Some(Out::Float(values[next])),
                (Some(before), Some(at)) => Some(Out::Float(interpolate(
                    (times[before], values[before]),
                    (*at, values[next]),
                    time,
                    false,
                ))),
                (Some(before), None) => Some(Out::Float(values[before])),
                (None, _) => None,
            };
        }
        let times = &samples.histograms.times[histograms.clone()];
        let values = &samples.histograms.values[histograms];
        let next = times.partition_point(|t| *t < time);
        match (next.checked_sub(1), times.get(next)) {
            (_, Some(at)) if *at == time => Some(Out::Histogram(Arc::clone(&values[next]))),
            (Some(before), Some(at)) => {
                let (a, b) = (&values[before], &values[next]);
                if histogram::is_custom(a) != histogram::is_custom(b) {
                    self.annotate(&Annotation::MixedSchemas { metric }, span);
                    return None;
                }
                let gauge = model::ResetHint::Gauge;
                let counter = a.reset_hint != gauge || b.reset_hint != gauge;
                self.interpolate_histograms((times[before], a), (*at, b), time, counter, span)
                    .map(|histogram| Out::Histogram(Arc::new(histogram)))
            }
            (Some(before), None) => {
                let mut histogram = Histogram::clone(&values[before]);
                histogram.reset_hint = model::ResetHint::Unknown;
                Some(Out::Histogram(Arc::new(histogram)))
            }
            (None, _) => None,
        }
    }

    /// The histogram between two at a time between theirs; a counter that was reset starts from zero.
    pub(super) fn interpolate_histograms(
        &mut self,
        (from, a): (i64, &Histogram),
        (to, b): (i64, &Histogram),
        time: i64,
        counter: bool,
        span: Span,
    ) -> Option<Histogram> {
        if time == from {
            return Some(a.clone());
        }
        if time == to {
            return Some(b.clone());
        }
        let part = (time - from) as f64 / (to - from) as f64;
        if counter && histogram::detect_reset(b, a) {
            return Some(histogram::mul(b, part));
        }
        let difference = histogram::sub(b, a).ok()?;
        let operation = Operation::Subtraction;
        if difference.reconciled {
            self.annotate(&Annotation::MismatchedCustomBuckets { operation }, span);
        }
        let scaled = histogram::mul(&difference.histogram, part);
        let sum = histogram::add(&scaled, a).ok()?;
        let operation = Operation::Addition;
        if sum.reconciled {
            self.annotate(&Annotation::MismatchedCustomBuckets { operation }, span);
        }
        Some(sum.histogram)
    }
}

/// The value between two samples; a counter that was reset starts from zero.
pub(super) fn interpolate(
    (from, mut a): (i64, f64),
    (to, b): (i64, f64),
    time: i64,
    counter: bool,
) -> f64 {
    if counter && b < a {
        a = 0.0;
    }
    a + (b - a) * (time - from) as f64 / (to - from) as f64
}

/// A range with values made up at both ends.
pub(super) fn extend(floats: &Run<f64>, start: i64, end: i64, smoothed: bool) -> Run<f64> {
    let (times, values) = (&floats.times, &floats.values);
    let Some(mut last) = times.len().checked_sub(1) else {
        return Run::default();
    };
    let mut first = times[..last]
        .partition_point(|t| *t <= start)
        .saturating_sub(1);
    if smoothed {
        last = times[..last].partition_point(|t| *t < end);
    }
    if times[last] <= start {
        return Run::default();
    }
    let sample = |at: usize| (times[at], values[at]);
    let left = if smoothed && times[first] < start && first + 1 < times.len() {
        interpolate(sample(first), sample(first + 1), start, false)
    } else {
        values[first]
    };
    let right = if smoothed && last > 0 && times[last] > end {
        interpolate(sample(last - 1), sample(last), end, false)
    } else {
        values[last]
    };
    if times[first] <= start {
        first += 1;
    }
    let behind = if times[last] >= end { last } else { last + 1 };
    let mut result = Run {
        times: vec![start],
        values: vec![left],
        starts: Vec::new(),
    };
    if first < behind {
        result.times.extend(&times[first..behind]);
        result.values.extend(&values[first..behind]);
    }
    result.times.push(end);
    result.values.push(right);
    result
}
