//! The quick way of the most used functions: all windows of a column of numbers at once. Each gives, bit for bit, what its
//! function gives for one window after the other.

use crate::eval::range::RangeCall;
use crate::functions::FunctionId;
use crate::kahan::{Mean, Sum};

use super::over_time::extreme;
use super::rate::growth_over_window;

/// Takes times and values without staleness markers, and which of them each step sees (`from..to`); sets the steps that
/// have a value, and returns whether there is one.
pub(in crate::eval) type Kernel =
    fn(&RangeCall<'_>, &[i64], &[f64], &[(u32, u32)], &mut [f64]) -> bool;

pub(in crate::eval) fn kernel(id: FunctionId) -> Option<Kernel> {
    Some(match id {
        FunctionId::Rate => |range, times, values, windows, row| {
            growth::<true, true>(range, times, values, windows, row)
        },
        FunctionId::Increase => |range, times, values, windows, row| {
            growth::<true, false>(range, times, values, windows, row)
        },
        FunctionId::Delta => |range, times, values, windows, row| {
            growth::<false, false>(range, times, values, windows, row)
        },
        FunctionId::CountOverTime => |_, _, _, windows, row| {
            let mut any = false;
            for ((from, to), out) in windows.iter().zip(row) {
                if to > from {
                    *out = f64::from(to - from);
                    any = true;
                }
            }
            any
        },
        FunctionId::PresentOverTime | FunctionId::AbsentOverTime => {
            |_, _, values, windows, row| each(values, windows, row, |_| 1.0)
        }
        FunctionId::LastOverTime => |_, _, values, windows, row| {
            each(values, windows, row, |window| window[window.len() - 1])
        },
        FunctionId::FirstOverTime => {
            |_, _, values, windows, row| each(values, windows, row, |window| window[0])
        }
        FunctionId::SumOverTime => |_, _, values, windows, row| {
            each(values, windows, row, |window| {
                let sum = Sum::of(window);
                if sum.value.is_infinite() {
                    sum.value
                } else {
                    sum.total()
                }
            })
        },
        FunctionId::AvgOverTime => {
            |_, _, values, windows, row| each(values, windows, row, Mean::of)
        }
        FunctionId::MinOverTime => |_, _, values, windows, row| {
            each(values, windows, row, |window| {
                extreme(window, |value, best| value < best)
            })
        },
        FunctionId::MaxOverTime => |_, _, values, windows, row| {
            each(values, windows, row, |window| {
                extreme(window, |value, best| value > best)
            })
        },
        _ => return None,
    })
}

#[inline(always)]
fn each(
    values: &[f64],
    windows: &[(u32, u32)],
    row: &mut [f64],
    value: impl Fn(&[f64]) -> f64,
) -> bool {
    let mut any = false;
    for ((from, to), out) in windows.iter().zip(row) {
        if from < to {
            *out = value(&values[*from as usize..*to as usize]);
            any = true;
        }
    }
    any
}

fn growth<const COUNTER: bool, const PER_SECOND: bool>(
    range: &RangeCall<'_>,
    times: &[i64],
    values: &[f64],
    windows: &[(u32, u32)],
    row: &mut [f64],
) -> bool {
    // Counters hardly ever fall.
    let falls = COUNTER && values.windows(2).any(|pair| pair[1] < pair[0]);
    let mut any = false;
    for (step, ((from, to), out)) in windows.iter().zip(row).enumerate() {
        let (from, to) = (*from as usize, *to as usize);
        if to - from < 2 {
            continue;
        }
        let window = &values[from..to];
        let mut growth = window[window.len() - 1] - window[0];
        if falls {
            for pair in window.windows(2).filter(|pair| pair[1] < pair[0]) {
                growth += pair[0];
            }
        }
        let end = range.when.time(range.grid.time(step));
        let start = end.saturating_sub(range.range_ms);
        let inside = (&times[from..to], window[0]);
        *out =
            growth_over_window::<COUNTER, PER_SECOND>(growth, inside, (start, end), range.range_ms);
        any = true;
    }
    any
}
