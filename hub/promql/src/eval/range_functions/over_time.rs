//! `sum_over_time` and its kin: all samples of a window folded into one.

use std::sync::Arc;

use model::{Histogram, ResetHint};

use super::{Args, float};
use crate::annotations::{Annotation, Operation};
use crate::eval::numbers;
use crate::eval::range::Window;
use crate::eval::row::Out;
use crate::eval::{Eval, Evaluator};
use crate::histogram::sum::HistogramMean;
use crate::histogram::{Accumulator, Incompatible};
use crate::kahan::{Mean, Sum};

type Value = Eval<Option<Out>>;

pub(super) fn count(_: &mut Evaluator<'_>, window: &Window<'_>, _: &Args<'_>) -> Value {
    float((window.floats.len() + window.histograms.len()) as f64)
}

pub(super) fn present(_: &mut Evaluator<'_>, _: &Window<'_>, _: &Args<'_>) -> Value {
    float(1.0)
}

/// Functions that work on floats or on histograms, not on both.
fn is_mixed(evaluator: &mut Evaluator<'_>, window: &Window<'_>) -> bool {
    let mixed = !window.floats.is_empty() && !window.histograms.is_empty();
    if mixed {
        let metric = window.metric;
        evaluator.annotate(&Annotation::MixedFloatsHistograms { metric }, window.span);
    }
    mixed
}

/// Functions that work on floats only: false if there are none. Histograms beside them are ignored.
fn has_floats(evaluator: &mut Evaluator<'_>, window: &Window<'_>) -> bool {
    if window.floats.is_empty() {
        return false;
    }
    if !window.histograms.is_empty() {
        let metric = window.metric;
        evaluator.annotate(&Annotation::IgnoredInMixedRange { metric }, window.span);
    }
    true
}

pub(super) fn sum(evaluator: &mut Evaluator<'_>, window: &Window<'_>, _: &Args<'_>) -> Value {
    if is_mixed(evaluator, window) {
        return Ok(None);
    }
    let Some((first, rest)) = window.histograms.values.split_first() else {
        let sum = Sum::of(window.floats.values);
        if sum.value.is_infinite() {
            return float(sum.value);
        }
        return float(sum.total());
    };
    let mut sum = Accumulator::new(first);
    let folded = fold(evaluator, window, rest, |histogram| {
        sum.add(histogram, 1.0).map(|added| added.reconciled)
    });
    Ok(folded.then(|| Out::Histogram(Arc::new(sum.total()))))
}

pub(super) fn avg(evaluator: &mut Evaluator<'_>, window: &Window<'_>, _: &Args<'_>) -> Value {
    if is_mixed(evaluator, window) {
        return Ok(None);
    }
    let Some((first, rest)) = window.histograms.values.split_first() else {
        return float(Mean::of(window.floats.values));
    };
    let mut mean = HistogramMean::new(first);
    let folded = fold(evaluator, window, rest, |histogram| {
        mean.add(histogram).map(|added| added.reconciled)
    });
    Ok(folded.then(|| Out::Histogram(Arc::new(mean.mean()))))
}

/// Folds the histograms behind the first one, and says what is odd about them; false if they do not go together.
fn fold(
    evaluator: &mut Evaluator<'_>,
    window: &Window<'_>,
    rest: &[Arc<Histogram>],
    mut add: impl FnMut(&Histogram) -> Result<bool, Incompatible>,
) -> bool {
    let operation = Operation::Aggregation;
    let mut reconciled = false;
    for histogram in rest {
        match add(histogram) {
            Ok(one) => reconciled |= one,
            Err(Incompatible) => {
                let metric = window.metric;
                evaluator.annotate(&Annotation::MixedSchemas { metric }, window.span);
                return false;
            }
        }
    }
    let hinted = |hint| {
        window
            .histograms
            .values
            .iter()
            .any(|h| h.reset_hint == hint)
    };
    if hinted(ResetHint::Reset) && hinted(ResetHint::NotReset) {
        evaluator.annotate(&Annotation::ResetCollision { operation }, window.span);
    }
    if reconciled {
        evaluator.annotate(
            &Annotation::MismatchedCustomBuckets { operation },
            window.span,
        );
    }
    true
}

/// The value that wins against all others; NaN loses against everything.
pub(super) fn extreme(values: &[f64], wins: impl Fn(f64, f64) -> bool) -> f64 {
    values.iter().skip(1).fold(values[0], |best, value| {
        if wins(*value, best) || best.is_nan() {
            *value
        } else {
            best
        }
    })
}

/// The time of the float that wins against all others, of the last one among equals.
fn best_time(window: &Window<'_>, wins: impl Fn(f64, f64) -> bool) -> i64 {
    let (times, values) = (window.floats.times, window.floats.values);
    let first = (values[0], times[0]);
    let best = values.iter().zip(times).fold(first, |best, (value, time)| {
        if wins(*value, best.0) || best.0.is_nan() {
            (*value, *time)
        } else {
            best
        }
    });
    best.1
}

pub(super) fn min(evaluator: &mut Evaluator<'_>, window: &Window<'_>, _: &Args<'_>) -> Value {
    if !has_floats(evaluator, window) {
        return Ok(None);
    }
    float(extreme(window.floats.values, |value, best| value < best))
}

pub(super) fn max(evaluator: &mut Evaluator<'_>, window: &Window<'_>, _: &Args<'_>) -> Value {
    if !has_floats(evaluator, window) {
        return Ok(None);
    }
    float(extreme(window.floats.values, |value, best| value > best))
}

pub(super) fn ts_of_min(evaluator: &mut Evaluator<'_>, window: &Window<'_>, _: &Args<'_>) -> Value {
    if !has_floats(evaluator, window) {
        return Ok(None);
    }
    float(best_time(window, |value, best| value <= best) as f64 / 1000.0)
}

pub(super) fn ts_of_max(evaluator: &mut Evaluator<'_>, window: &Window<'_>, _: &Args<'_>) -> Value {
    if !has_floats(evaluator, window) {
        return Ok(None);
    }
    float(best_time(window, |value, best| value >= best) as f64 / 1000.0)
}

pub(super) fn first(_: &mut Evaluator<'_>, window: &Window<'_>, _: &Args<'_>) -> Value {
    let (floats, histograms) = (&window.floats, &window.histograms);
    Ok(match (floats.times.first(), histograms.times.first()) {
        (Some(f), Some(h)) if f >= h => Some(Out::Histogram(Arc::clone(&histograms.values[0]))),
        (Some(_), _) => Some(Out::Float(floats.values[0])),
        (None, Some(_)) => Some(Out::Histogram(Arc::clone(&histograms.values[0]))),
        (None, None) => None,
    })
}

pub(super) fn last(_: &mut Evaluator<'_>, window: &Window<'_>, _: &Args<'_>) -> Value {
    let (floats, histograms) = (&window.floats, &window.histograms);
    let histogram = || {
        histograms
            .values
            .last()
            .map(|h| Out::Histogram(Arc::clone(h)))
    };
    Ok(match (floats.times.last(), histograms.times.last()) {
        (Some(f), Some(h)) if f <= h => histogram(),
        (Some(_), _) => floats.values.last().map(|value| Out::Float(*value)),
        (None, _) => histogram(),
    })
}

pub(super) fn ts_of_first(_: &mut Evaluator<'_>, window: &Window<'_>, _: &Args<'_>) -> Value {
    let times = [window.floats.times.first(), window.histograms.times.first()];
    Ok(times
        .into_iter()
        .flatten()
        .min()
        .map(|t| Out::Float(*t as f64 / 1000.0)))
}

pub(super) fn ts_of_last(_: &mut Evaluator<'_>, window: &Window<'_>, _: &Args<'_>) -> Value {
    let times = [window.floats.times.last(), window.histograms.times.last()];
    Ok(times
        .into_iter()
        .flatten()
        .max()
        .map(|t| Out::Float(*t as f64 / 1000.0)))
}

fn variance(values: &[f64]) -> f64 {
    let (mut count, mut mean, mut squares) = (0.0, Sum::default(), Sum::default());
    for value in values {
        count += 1.0;
        let delta = value - mean.total();
        mean = mean.plus(delta / count);
        squares = squares.plus(delta * (value - mean.total()));
    }
    squares.total() / count
}

pub(super) fn stdvar(evaluator: &mut Evaluator<'_>, window: &Window<'_>, _: &Args<'_>) -> Value {
    if !has_floats(evaluator, window) {
        return Ok(None);
    }
    float(variance(window.floats.values))
}

pub(super) fn stddev(evaluator: &mut Evaluator<'_>, window: &Window<'_>, _: &Args<'_>) -> Value {
    if !has_floats(evaluator, window) {
        return Ok(None);
    }
    float(variance(window.floats.values).sqrt())
}

pub(super) fn quantile(
    evaluator: &mut Evaluator<'_>,
    window: &Window<'_>,
    args: &Args<'_>,
) -> Value {
    if window.floats.is_empty() {
        return Ok(None);
    }
    let q = args.scalar(0);
    if !(0.0..=1.0).contains(&q) {
        evaluator.annotate(&Annotation::InvalidQuantile(q), args.span(0));
    }
    if !window.histograms.is_empty() {
        let metric = window.metric;
        evaluator.annotate(&Annotation::IgnoredInMixedRange { metric }, args.span(0));
    }
    float(numbers::quantile(q, &mut window.floats.values.to_vec()))
}

/// The median of the distances from the median.
pub(super) fn mad(evaluator: &mut Evaluator<'_>, window: &Window<'_>, _: &Args<'_>) -> Value {
    if !has_floats(evaluator, window) {
        return Ok(None);
    }
    let mut values = window.floats.values.to_vec();
    if values.iter().any(|value| value.is_nan()) {
        return float(f64::NAN);
    }
    let median = numbers::quantile(0.5, &mut values);
    for value in &mut values {
        *value = (*value - median).abs();
    }
    float(numbers::quantile(0.5, &mut values))
}
