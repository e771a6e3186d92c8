//! `rate`, `increase`, `delta`: growth over a window, extrapolated to its borders; `irate`, `idelta`: growth between
//! the last two samples.

use std::sync::Arc;

use model::{Histogram, ResetHint};

use super::{Args, extended_rate};
use crate::annotations::{Annotation, Operation};
use crate::ast::RangeMode;
use crate::eval::range::{Part, Window};
use crate::eval::row::Out;
use crate::eval::{Eval, Evaluator};
use crate::histogram;

type Value = Eval<Option<Out>>;

pub(super) fn rate(evaluator: &mut Evaluator<'_>, window: &Window<'_>, _: &Args<'_>) -> Value {
    extrapolated(evaluator, window, true, true)
}

pub(super) fn increase(evaluator: &mut Evaluator<'_>, window: &Window<'_>, _: &Args<'_>) -> Value {
    extrapolated(evaluator, window, true, false)
}

pub(super) fn delta(evaluator: &mut Evaluator<'_>, window: &Window<'_>, _: &Args<'_>) -> Value {
    extrapolated(evaluator, window, false, false)
}

/// Whether the start timestamps (each with its sample's time) say that the count began anew between two samples.
pub(super) fn is_start_reset(
    (start_before, before): (i64, i64),
    (start_now, now): (i64, i64),
) -> bool {
    // Unknown, impossible, or OpenTelemetry's way to say unknown.
    if start_now == 0 || start_now >= now {
        return false;
    }
    if start_now != before {
        return start_now > before;
    }
    // A delta begins where the one before ended; so does a running count whose start was not known before.
    start_before <= before && start_before != 0 && start_before != before
}

/// Whether a sample claims to count since a time that the one before covers.
fn starts_overlap(start_before: i64, before: i64, start_now: i64) -> bool {
    start_now != 0 && start_now < before && start_now != start_before
}

/// Whether the start timestamps in a part show a reset before sample `at`.
fn reset_by_start<T>(part: &Part<'_, T>, at: usize) -> bool {
    match (part.starts.get(at - 1), part.starts.get(at)) {
        (Some(start_before), Some(start_now)) => is_start_reset(
            (*start_before, part.times[at - 1]),
            (*start_now, part.times[at]),
        ),
        _ => false,
    }
}

/// Says once per window that start timestamps overlap.
fn check_starts<T>(evaluator: &mut Evaluator<'_>, window: &Window<'_>, part: &Part<'_, T>) {
    let overlap = (1..part.starts.len())
        .any(|at| starts_overlap(part.starts[at - 1], part.times[at - 1], part.starts[at]));
    if overlap {
        let metric = window.metric;
        evaluator.annotate(&Annotation::StartTimeOverlap { metric }, window.span);
    }
}

fn extrapolated(
    evaluator: &mut Evaluator<'_>,
    window: &Window<'_>,
    counter: bool,
    per_second: bool,
) -> Value {
    let (floats, histograms) = (&window.floats, &window.histograms);
    if !floats.is_empty() && !histograms.is_empty() {
        let metric = window.metric;
        evaluator.annotate(&Annotation::MixedFloatsHistograms { metric }, window.span);
        return Ok(None);
    }
    if window.mode != RangeMode::Plain {
        return Ok(if floats.is_empty() {
            extended_rate::of_histograms(evaluator, window, counter, per_second)
        } else {
            extended_rate::of_floats(window, counter, per_second)
        });
    }
    if floats.is_empty() {
        return Ok(of_histograms(evaluator, window, counter, per_second));
    }
    let last = floats.len() - 1;
    let mut growth = floats.values[last] - floats.values[0];
    if counter {
        check_starts(evaluator, window, floats);
        if floats.starts.is_empty() {
            for at in window.drops {
                growth += floats.values[at - window.first - 1];
            }
        } else {
            for at in 1..=last {
                if floats.values[at] < floats.values[at - 1] || reset_by_start(floats, at) {
                    growth += floats.values[at - 1];
                }
            }
        }
    }
    let borders = Borders::new(window, floats, counter);
    let Some(borders) = borders else {
        return Ok(None);
    };
    if borders.from_start_timestamp {
        growth += floats.values[0];
    }
    let zero = |sampled: f64| {
        (growth > 0.0 && floats.values[0] >= 0.0).then(|| sampled * (floats.values[0] / growth))
    };
    let factor = borders.factor(window.range_ms, counter, per_second, zero);
    Ok(Some(Out::Float(growth * factor)))
}

/// What a window of two or more numbers comes to, whose plain growth is known: extrapolated to its borders.
#[inline(always)]
pub(super) fn growth_over_window<const COUNTER: bool, const PER_SECOND: bool>(
    growth: f64,
    (times, first): (&[i64], f64),
    (start, end): (i64, i64),
    range_ms: i64,
) -> f64 {
    let seconds = |ms: i64| ms as f64 / 1000.0;
    let last = times.len() - 1;
    let sampled = seconds(times[last] - times[0]);
    let borders = Borders {
        to_start: seconds(times[0] - start),
        to_end: seconds(end - times[last]),
        sampled,
        between: sampled / last as f64,
        from_start_timestamp: false,
    };
    let zero = |sampled: f64| (growth > 0.0 && first >= 0.0).then(|| sampled * (first / growth));
    growth * borders.factor(range_ms, COUNTER, PER_SECOND, zero)
}

fn of_histograms(
    evaluator: &mut Evaluator<'_>,
    window: &Window<'_>,
    counter: bool,
    per_second: bool,
) -> Option<Out> {
    let histograms = &window.histograms;
    let mut growth = None;
    if histograms.len() > 1 {
        growth = Some(histogram_growth(evaluator, window, counter)?);
    }
    let borders = Borders::new(window, histograms, counter)?;
    if borders.from_start_timestamp {
        let first = &histograms.values[0];
        growth = Some(match growth {
            None => Histogram::clone(first),
            Some(growth) => added(evaluator, window, &growth, first)?,
        });
    }
    let growth = growth?;
    let first_count = histograms.values[0].count;
    let zero = |sampled: f64| {
        (growth.count > 0.0 && first_count >= 0.0).then(|| sampled * (first_count / growth.count))
    };
    let factor = borders.factor(window.range_ms, counter, per_second, zero);
    Some(Out::Histogram(Arc::new(histogram::mul(&growth, factor))))
}

/// How far the samples of a window lie from its borders, in seconds.
struct Borders {
    to_start: f64,
    to_end: f64,
    sampled: f64,
    /// Between neighbouring samples, on average.
    between: f64,
    /// The first sample says since when it counts, and that lies inside the window: it was zero then.
    from_start_timestamp: bool,
}

impl Borders {
    /// None if there is no way to tell growth: one sample that does not say since when it counts.
    fn new<T>(window: &Window<'_>, part: &Part<'_, T>, counter: bool) -> Option<Self> {
        let (first, last) = (*part.times.first()?, *part.times.last()?);
        let seconds = |ms: i64| ms as f64 / 1000.0;
        let gaps = part.len() - 1;
        let mut borders = Borders {
            to_start: seconds(first - window.start),
            to_end: seconds(window.end - last),
            sampled: seconds(last - first),
            between: 0.0,
            from_start_timestamp: false,
        };
        if gaps > 0 {
            borders.between = borders.sampled / gaps as f64;
        }
        let start = part.starts.first().copied().unwrap_or(0);
        if counter && start != 0 && start > window.start && start < first {
            borders.from_start_timestamp = true;
            borders.to_start = 0.0;
            borders.sampled = seconds(last - start);
        } else if gaps == 0 {
            return None;
        }
        Some(borders)
    }

    /// What the growth between the samples is multiplied with. `to_zero` tells how long before the first sample a
    /// counter was zero, given the sampled time: it is not extrapolated beyond that.
    #[inline]
    fn factor(
        self,
        range_ms: i64,
        counter: bool,
        per_second: bool,
        to_zero: impl Fn(f64) -> Option<f64>,
    ) -> f64 {
        // A border this much further away than samples are from each other: the series begins or ends inside.
        let threshold = self.between * 1.1;
        let (mut to_start, mut to_end) = (self.to_start, self.to_end);
        if !self.from_start_timestamp {
            if to_start >= threshold {
                to_start = self.between / 2.0;
            }
            if counter
                && let Some(to_zero) = to_zero(self.sampled)
                && to_zero < to_start
            {
                to_start = to_zero;
            }
        }
        if to_end >= threshold {
            to_end = self.between / 2.0;
        }
        let mut factor = 1.0;
        if self.sampled != 0.0 {
            factor = (self.sampled + to_start + to_end) / self.sampled;
        }
        if per_second {
            factor /= range_ms as f64 / 1000.0;
        }
        factor
    }
}

/// The sum, with what is odd about it noted; None if the two do not go together.
pub(super) fn added(
    evaluator: &mut Evaluator<'_>,
    window: &Window<'_>,
    a: &Histogram,
    b: &Histogram,
) -> Option<Histogram> {
    noted(evaluator, window, histogram::add(a, b), Operation::Addition)
}

/// The difference, likewise.
pub(super) fn subtracted(
    evaluator: &mut Evaluator<'_>,
    window: &Window<'_>,
    a: &Histogram,
    b: &Histogram,
) -> Option<Histogram> {
    noted(
        evaluator,
        window,
        histogram::sub(a, b),
        Operation::Subtraction,
    )
}

fn noted(
    evaluator: &mut Evaluator<'_>,
    window: &Window<'_>,
    combined: Result<histogram::Combined, histogram::Incompatible>,
    operation: Operation,
) -> Option<Histogram> {
    match combined {
        Ok(combined) => {
            if combined.reconciled {
                let annotation = Annotation::MismatchedCustomBuckets { operation };
                evaluator.annotate(&annotation, window.span);
            }
            Some(combined.histogram)
        }
        Err(_) => {
            let metric = window.metric;
            evaluator.annotate(&Annotation::MixedSchemas { metric }, window.span);
            None
        }
    }
}

/// The growth from the first to the last histogram, resets accounted for.
fn histogram_growth(
    evaluator: &mut Evaluator<'_>,
    window: &Window<'_>,
    counter: bool,
) -> Option<Histogram> {
    let part = &window.histograms;
    let values = part.values;
    let (first, last) = (values.first()?, values.last()?);
    let metric = window.metric;
    let gauge = |histogram: &Histogram| histogram.reset_hint == ResetHint::Gauge;
    if counter && values.iter().any(|histogram| gauge(histogram)) {
        evaluator.annotate(&Annotation::NotCounter { metric }, window.span);
    }
    // A reset right behind the first one: its shape does not matter, nor whether it fits the others.
    let mut base = Arc::clone(first);
    if counter
        && let Some(second) = values.get(1)
        && (reset_by_start(part, 1) || histogram::detect_reset(second, first))
    {
        base = Arc::new(Histogram {
            schema: second.schema,
            custom_values: second.custom_values.clone(),
            ..Histogram::default()
        });
    }
    let custom = histogram::is_custom(&base);
    let middle = &values[1..values.len() - 1];
    let fits = |h: &Histogram| histogram::is_custom(h) == custom;
    if !fits(last) || (counter && !middle.iter().all(|h| fits(h))) {
        evaluator.annotate(&Annotation::MixedSchemas { metric }, window.span);
        return None;
    }
    let mut growth = subtracted(evaluator, window, last, &base)?;
    if counter {
        check_starts(evaluator, window, part);
        let mut before: &Histogram = &base;
        for (at, now) in values.iter().enumerate().skip(1) {
            if reset_by_start(part, at) || histogram::detect_reset(now, before) {
                growth = added(evaluator, window, &growth, before)?;
            }
            before = now;
        }
    } else if !gauge(first) || !gauge(last) {
        evaluator.annotate(&Annotation::NotGauge { metric }, window.span);
    }
    growth.reset_hint = ResetHint::Gauge;
    Some(histogram::compact(growth))
}

pub(super) fn irate(evaluator: &mut Evaluator<'_>, window: &Window<'_>, args: &Args<'_>) -> Value {
    Ok(instant(evaluator, window, args, true))
}

pub(super) fn idelta(evaluator: &mut Evaluator<'_>, window: &Window<'_>, args: &Args<'_>) -> Value {
    Ok(instant(evaluator, window, args, false))
}

/// One of the last two samples of a window.
#[derive(Clone)]
struct Last {
    time: i64,
    start: i64,
    value: Out,
}

fn last_two(window: &Window<'_>) -> Option<(Last, Last)> {
    let mut last: Vec<Last> = Vec::with_capacity(4);
    let floats = &window.floats;
    for at in floats.len().saturating_sub(2)..floats.len() {
        last.push(Last {
            time: floats.times[at],
            start: floats.starts.get(at).copied().unwrap_or(0),
            value: Out::Float(floats.values[at]),
        });
    }
    let histograms = &window.histograms;
    for at in histograms.len().saturating_sub(2)..histograms.len() {
        last.push(Last {
            time: histograms.times[at],
            start: histograms.starts.get(at).copied().unwrap_or(0),
            value: Out::Histogram(Arc::clone(&histograms.values[at])),
        });
    }
    last.sort_by_key(|sample| sample.time);
    let now = last.pop()?;
    let before = last.pop()?;
    Some((before, now))
}

fn instant(
    evaluator: &mut Evaluator<'_>,
    window: &Window<'_>,
    args: &Args<'_>,
    per_second: bool,
) -> Option<Out> {
    let (before, now) = last_two(window)?;
    let elapsed = (now.time - before.time) as f64 / 1000.0;
    if elapsed == 0.0 {
        return None;
    }
    let counter = per_second;
    let started = is_start_reset((before.start, before.time), (now.start, now.time));
    let metric = window.metric;
    let span = args.whole_span();
    match (before.value, now.value) {
        (Out::Float(before), Out::Float(now)) => {
            let reset = counter && (now < before || started);
            let growth = if reset { now } else { now - before };
            Some(Out::Float(if per_second {
                growth / elapsed
            } else {
                growth
            }))
        }
        (Out::Histogram(before), Out::Histogram(now)) => {
            let gauge = |histogram: &Histogram| histogram.reset_hint == ResetHint::Gauge;
            if counter && (gauge(&before) || gauge(&now)) {
                evaluator.annotate(&Annotation::NotCounter { metric }, span);
            }
            let gauges = gauge(&before) && gauge(&now);
            if !counter && !gauges {
                evaluator.annotate(&Annotation::NotGauge { metric }, span);
            }
            let mut growth = Histogram::clone(&now);
            if !counter || !(started || histogram::detect_reset(&now, &before)) {
                growth = subtracted(evaluator, window, &now, &before)?;
            }
            growth.reset_hint = ResetHint::Gauge;
            growth = histogram::compact(growth);
            if per_second {
                growth = histogram::div(&growth, elapsed);
            }
            Some(Out::Histogram(Arc::new(growth)))
        }
        _ => {
            evaluator.annotate(&Annotation::MixedFloatsHistograms { metric }, span);
            None
        }
    }
}
