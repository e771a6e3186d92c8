//! `resets` and `changes`: how often neighbouring samples of a window differ in a certain way.

use std::sync::Arc;

use model::Histogram;

use super::rate::is_start_reset;
use super::{Args, float};
use crate::ast::RangeMode;
use crate::eval::range::Window;
use crate::eval::row::Out;
use crate::eval::{Eval, Evaluator};
use crate::histogram;

type Value = Eval<Option<Out>>;

/// A sample of either kind.
#[derive(Clone, Copy)]
struct Sample<'a> {
    time: i64,
    start: i64,
    value: Either<'a>,
}

#[derive(Clone, Copy)]
enum Either<'a> {
    Float(f64),
    Histogram(&'a Arc<Histogram>),
}

/// The samples of both kinds by time. With an anchored range: from the last one at or before its start on; none if
/// nothing lies behind that.
fn samples<'a>(window: &Window<'a>) -> Vec<Sample<'a>> {
    let (floats, histograms) = (&window.floats, &window.histograms);
    let start = |starts: &[i64], at: usize| starts.get(at).copied().unwrap_or(0);
    let mut all: Vec<Sample<'a>> = Vec::with_capacity(floats.len() + histograms.len());
    all.extend((0..floats.len()).map(|at| Sample {
        time: floats.times[at],
        start: start(floats.starts, at),
        value: Either::Float(floats.values[at]),
    }));
    all.extend((0..histograms.len()).map(|at| Sample {
        time: histograms.times[at],
        start: start(histograms.starts, at),
        value: Either::Histogram(&histograms.values[at]),
    }));
    if !floats.is_empty() && !histograms.is_empty() {
        all.sort_by_key(|sample| sample.time);
    }
    if window.mode == RangeMode::Anchored {
        let inside = all.partition_point(|sample| sample.time <= window.start);
        if inside == all.len() {
            return Vec::new();
        }
        all.drain(..inside.saturating_sub(1));
    }
    all
}

/// How many neighbours fulfil the condition.
fn count(window: &Window<'_>, differ: impl Fn(&Sample<'_>, &Sample<'_>) -> bool) -> Value {
    let all = samples(window);
    if all.is_empty() {
        return Ok(None);
    }
    let found = all.windows(2).filter(|pair| differ(&pair[0], &pair[1]));
    float(found.count() as f64)
}

pub(super) fn resets(_: &mut Evaluator<'_>, window: &Window<'_>, _: &Args<'_>) -> Value {
    count(window, |before, now| {
        let started = is_start_reset((before.start, before.time), (now.start, now.time));
        match (before.value, now.value) {
            (Either::Float(before), Either::Float(now)) => now < before || started,
            (Either::Histogram(before), Either::Histogram(now)) => {
                started || histogram::detect_reset(now, before)
            }
            _ => true,
        }
    })
}

pub(super) fn changes(_: &mut Evaluator<'_>, window: &Window<'_>, _: &Args<'_>) -> Value {
    count(window, |before, now| match (before.value, now.value) {
        (Either::Float(before), Either::Float(now)) => {
            now != before && !(now.is_nan() && before.is_nan())
        }
        (Either::Histogram(before), Either::Histogram(now)) => !histogram::equals(now, before),
        _ => true,
    })
}
