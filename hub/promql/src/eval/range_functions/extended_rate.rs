//! `rate`, `increase` and `delta` over `anchored` and `smoothed` ranges: the values at the borders of the window are
//! taken from the samples around it, so nothing is extrapolated.

use std::sync::Arc;

use model::{Histogram, ResetHint};

use super::rate::{added, subtracted};
use crate::annotations::Annotation;
use crate::ast::RangeMode;
use crate::eval::Evaluator;
use crate::eval::range::Window;
use crate::eval::row::Out;
use crate::eval::smoothed::interpolate;
use crate::histogram;

/// The samples that span a window: the last at or before its start (else the first), and the last one (when smoothed
/// the first at or behind its end). None if nothing lies inside.
fn spanning(times: &[i64], window: &Window<'_>) -> Option<(usize, usize)> {
    let mut last = times.len().checked_sub(1)?;
    let first = times[..last].partition_point(|t| *t <= window.start);
    let first = first.saturating_sub(1);
    let smoothed = window.mode == RangeMode::Smoothed;
    if smoothed {
        last = times[..last].partition_point(|t| *t < window.end);
    }
    let outside = times[last] <= window.start || (smoothed && times[first] > window.end);
    (!outside).then_some((first, last))
}

pub(super) fn of_floats(window: &Window<'_>, counter: bool, per_second: bool) -> Option<Out> {
    let (times, values) = (window.floats.times, window.floats.values);
    let smoothed = window.mode == RangeMode::Smoothed;
    let (mut first, last) = spanning(times, window)?;
    let sample = |at: usize| (times[at], values[at]);
    let left = if smoothed && times[first] < window.start && first + 1 < times.len() {
        interpolate(sample(first), sample(first + 1), window.start, counter)
    } else {
        values[first]
    };
    let right = if smoothed && last > 0 && times[last] > window.end {
        interpolate(sample(last - 1), sample(last), window.end, counter)
    } else {
        values[last]
    };
    let mut growth = right - left;
    if counter {
        // Resets around the borders are part of the interpolation already.
        if times[first] <= window.start {
            first += 1;
        }
        let behind = if times[last] >= window.end {
            last
        } else {
            last + 1
        };
        let mut before = left;
        for value in values.get(first..behind).unwrap_or_default() {
            if *value < before {
                growth += before;
            }
            before = *value;
        }
        if right < before {
            growth += before;
        }
    }
    if per_second {
        growth /= window.range_ms as f64 / 1000.0;
    }
    Some(Out::Float(growth))
}

pub(super) fn of_histograms(
    evaluator: &mut Evaluator<'_>,
    window: &Window<'_>,
    counter: bool,
    per_second: bool,
) -> Option<Out> {
    let (times, values) = (window.histograms.times, window.histograms.values);
    let smoothed = window.mode == RangeMode::Smoothed;
    let (first, last) = spanning(times, window)?;
    let metric = window.metric;
    let gauge = |histogram: &Histogram| histogram.reset_hint == ResetHint::Gauge;
    let used = &values[first..=last];
    for histogram in used {
        if histogram::is_custom(histogram) != histogram::is_custom(&used[0]) {
            evaluator.annotate(&Annotation::MixedSchemas { metric }, window.span);
            return None;
        }
        if counter && gauge(histogram) {
            evaluator.annotate(&Annotation::NotCounter { metric }, window.span);
        }
    }
    let sample = |at: usize| (times[at], &*values[at]);
    let left = if smoothed && times[first] < window.start && first + 1 < times.len() {
        let (a, b) = (sample(first), sample(first + 1));
        evaluator.interpolate_histograms(a, b, window.start, counter, window.span)?
    } else {
        Histogram::clone(&values[first])
    };
    let right = if smoothed && last > 0 && times[last] > window.end {
        let (a, b) = (sample(last - 1), sample(last));
        evaluator.interpolate_histograms(a, b, window.end, counter, window.span)?
    } else {
        Histogram::clone(&values[last])
    };
    let gauges = gauge(&left) && gauge(&right);
    if !counter && !gauges {
        evaluator.annotate(&Annotation::NotGauge { metric }, window.span);
    }
    let mut growth = subtracted(evaluator, window, &right, &left)?;
    if counter && let Some(lost) = lost_in_resets(evaluator, window, (first, last), &left, &right)?
    {
        growth = added(evaluator, window, &growth, &lost)?;
    }
    if per_second {
        growth = histogram::div(&growth, window.range_ms as f64 / 1000.0);
    }
    growth.reset_hint = ResetHint::Gauge;
    Some(Out::Histogram(Arc::new(histogram::compact(growth))))
}

/// The counts that resets between the borders took away, if there were any; None if they do not go together.
fn lost_in_resets(
    evaluator: &mut Evaluator<'_>,
    window: &Window<'_>,
    (first, last): (usize, usize),
    left: &Histogram,
    right: &Histogram,
) -> Option<Option<Histogram>> {
    let (times, values) = (window.histograms.times, window.histograms.values);
    let mut next = first + 1;
    let mut before = left;
    // The interpolated left border covers a reset right behind the first sample.
    if window.mode == RangeMode::Smoothed
        && times[first] < window.start
        && let Some(second) = values.get(first + 1)
        && histogram::detect_reset(second, &values[first])
    {
        before = second;
        next += 1;
    }
    // The last sample is represented by the right border.
    if next > last {
        return Some(None);
    }
    let mut lost: Option<Histogram> = None;
    let inside = values[next..last].iter().map(|histogram| &**histogram);
    for now in inside.chain([right]) {
        if histogram::detect_reset(now, before) {
            lost = Some(match lost {
                None => before.clone(),
                Some(lost) => added(evaluator, window, &lost, before)?,
            });
        }
        before = now;
    }
    Some(lost)
}
