//! Straight lines and smoothed curves through the floats of a window.

use super::{Args, float};
use crate::annotations::Annotation;
use crate::eval::range::Window;
use crate::eval::row::Out;
use crate::eval::{Eval, Evaluator, execution};
use crate::kahan::Sum;

type Value = Eval<Option<Out>>;

/// Slope per second and value at `origin` of the line with the least squares.
fn line(window: &Window<'_>, origin: i64) -> (f64, f64) {
    let (times, values) = (window.floats.times, window.floats.values);
    let first = values[0];
    if values.iter().all(|value| *value == first) {
        return if first.is_infinite() {
            (f64::NAN, f64::NAN)
        } else {
            (0.0, first)
        };
    }
    let n = values.len() as f64;
    let [mut x_sum, mut y_sum, mut xy_sum, mut x2_sum] = [Sum::default(); 4];
    for (time, y) in times.iter().zip(values) {
        let x = time.saturating_sub(origin) as f64 / 1e3;
        x_sum = x_sum.plus(x);
        y_sum = y_sum.plus(*y);
        xy_sum = xy_sum.plus(x * y);
        x2_sum = x2_sum.plus(x * x);
    }
    let (x, y) = (x_sum.total(), y_sum.total());
    let covariance = xy_sum.total() - x * y / n;
    let variance = x2_sum.total() - x * x / n;
    let slope = covariance / variance;
    (slope, y / n - slope * x / n)
}

/// Whether there are two floats; says so if histograms are ignored beside any.
fn has_two_floats(evaluator: &mut Evaluator<'_>, window: &Window<'_>) -> bool {
    if !window.floats.is_empty() && !window.histograms.is_empty() {
        let metric = window.metric;
        evaluator.annotate(&Annotation::IgnoredInMixedRange { metric }, window.span);
    }
    window.floats.len() >= 2
}

pub(super) fn deriv(evaluator: &mut Evaluator<'_>, window: &Window<'_>, _: &Args<'_>) -> Value {
    if !has_two_floats(evaluator, window) {
        return Ok(None);
    }
    // An origin near the samples keeps the numbers small.
    float(line(window, window.floats.times[0]).0)
}

pub(super) fn predict_linear(
    evaluator: &mut Evaluator<'_>,
    window: &Window<'_>,
    args: &Args<'_>,
) -> Value {
    if !has_two_floats(evaluator, window) {
        return Ok(None);
    }
    let (slope, now) = line(window, window.now);
    float(slope * args.scalar(0) + now)
}

pub(super) fn double_exponential_smoothing(
    evaluator: &mut Evaluator<'_>,
    window: &Window<'_>,
    args: &Args<'_>,
) -> Value {
    let (smoothing, trend) = (args.scalar(0), args.scalar(1));
    let check = |factor: f64, name: &str| {
        let letter = &name[..1];
        if factor <= 0.0 || factor >= 1.0 {
            return Err(execution(format!(
                "invalid {name} factor. Expected: 0 < {letter}f < 1, got: {factor:.6}"
            )));
        }
        Ok(())
    };
    check(smoothing, "smoothing")?;
    check(trend, "trend")?;
    if !has_two_floats(evaluator, window) {
        return Ok(None);
    }
    let values = window.floats.values;
    let (mut before, mut smoothed) = (0.0, values[0]);
    let mut slope = values[1] - values[0];
    for (at, value) in values.iter().enumerate().skip(1) {
        if at > 1 {
            slope = trend * (smoothed - before) + (1.0 - trend) * slope;
        }
        let next = smoothing * value + (1.0 - smoothing) * (smoothed + slope);
        (before, smoothed) = (smoothed, next);
    }
    float(smoothed)
}
