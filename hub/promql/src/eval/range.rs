//! Functions over ranges: a window slides over the samples of each series, from step to step.

use std::collections::HashSet;
use std::ops::Range;
use std::sync::Arc;

use model::{Histogram, LabelSet};

use super::range_functions::{Args, RangeFunction, range_function};
use super::row::{Out, Row, without_metric};
use super::samples::{RunRef, Samples};
use super::selector::When;
use super::{Eval, Evaluator, Grid, Sink};
use crate::ast::{Call, Expr, MatrixSelector, RangeMode, Span};
use crate::functions::FunctionId;
use crate::histogram;

/// Windows between two looks whether the query may go on.
const CANCEL_EVERY: usize = 64;

/// The samples of one series that a function sees at one step.
pub(super) struct Window<'a> {
    pub(super) floats: Part<'a, f64>,
    pub(super) histograms: Part<'a, Arc<Histogram>>,
    /// Where floats of a counter are below the one before; counted like `first`.
    pub(super) drops: &'a [usize],
    /// The first float's place in the series.
    pub(super) first: usize,
    /// The time of evaluation.
    pub(super) now: i64,
    /// The range is `(start, end]`; extended ranges also have samples around it.
    pub(super) start: i64,
    pub(super) end: i64,
    pub(super) range_ms: i64,
    pub(super) mode: RangeMode,
    /// The series' metric name, empty if it has none.
    pub(super) metric: &'a str,
    /// Of the range in the query.
    pub(super) span: Span,
}

/// The values of one kind in a window.
#[derive(Clone, Copy)]
pub(super) struct Part<'a, T> {
    pub(super) times: &'a [i64],
    pub(super) values: &'a [T],
    /// Start timestamps; empty when they are unknown or not wanted.
    pub(super) starts: &'a [i64],
}

impl<T> Part<'_, T> {
    pub(super) fn len(&self) -> usize {
        self.times.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.times.is_empty()
    }
}

/// A window's borders in a run; both only move forward.
#[derive(Default)]
struct Borders {
    from: usize,
    to: usize,
}

impl Borders {
    /// Moves on to the samples after `after` and up to `until`.
    fn slide(&mut self, times: &[i64], after: i64, until: i64) -> Range<usize> {
        while times.get(self.to).is_some_and(|t| *t <= until) {
            self.to += 1;
        }
        while self.from < self.to && times[self.from] <= after {
            self.from += 1;
        }
        self.from..self.to
    }
}

fn part<'a, T>(run: &RunRef<'a, T>, range: Range<usize>, with_starts: bool) -> Part<'a, T> {
    Part {
        times: &run.times[range.clone()],
        values: &run.values[range.clone()],
        starts: if with_starts {
            run.starts.get(range).unwrap_or_default()
        } else {
            &[]
        },
    }
}

/// One series, to be looked at through windows.
pub(super) struct SeriesRef<'a> {
    /// Its metric name; may be left out where there are only numbers without start timestamps.
    pub(super) metric: &'a str,
    pub(super) floats: RunRef<'a, f64>,
    pub(super) histograms: RunRef<'a, Arc<Histogram>>,
}

/// Whether the rows of its series are no rows of its own.
pub(super) fn is_absent_over_time(expr: &Expr) -> bool {
    matches!(expr.without_parens(), Expr::Call(call) if call.function.id == FunctionId::AbsentOverTime)
}

impl Evaluator<'_> {
    /// A call with a range among its arguments.
    pub(super) fn range_call(&mut self, call: &Call, at: usize, grid: Grid) -> Eval<Vec<Row>> {
        let mut rows = Vec::new();
        self.each_of_range(call, at, grid, &mut |evaluator, row| {
            evaluator.budget.take(row.weight())?;
            rows.push(row);
            Ok(())
        })?;
        if call.function.id == FunctionId::AbsentOverTime {
            self.release(&rows);
            return Ok(self.absent_of(&rows, &call.args[at], grid));
        }
        Ok(rows)
    }

    /// The same over a subquery, row by row.
    pub(super) fn each_of_range(
        &mut self,
        call: &Call,
        at: usize,
        grid: Grid,
        sink: &mut Sink<'_>,
    ) -> Eval<()> {
        let Expr::Subquery(subquery) = &call.args[at] else {
            return Err(super::unsupported("function over a subquery"));
        };
        // A subquery is evaluated before the other arguments are, a selector behind them.
        let series = self.subquery_samples(subquery, grid)?;
        let when = When::new(subquery.at, subquery.offset.millis());
        let range_ms = subquery.range.millis();
        let mut range = self.range_over(call, at, (when, range_ms, RangeMode::Plain), grid)?;
        range.of_subquery = true;
        // With names dropped here and now, two series may become one.
        let mut seen: HashSet<LabelSet> = HashSet::new();
        let drops_now = !self.options.delayed_name_removal;
        let threads = self.threads_for(series.len(), grid);
        let mut rest = series.into_iter();
        loop {
            let batch: Vec<Samples> = rest.by_ref().take(threads * BATCH_SERIES).collect();
            if batch.is_empty() {
                return Ok(());
            }
            for row in self.rows_of(&range, &batch, threads)? {
                let unique = !drops_now || seen.insert(row.labels.clone());
                if !unique && call.function.id != FunctionId::AbsentOverTime {
                    return Err(super::row::same_labels_error());
                }
                sink(self, row)?;
            }
            self.budget
                .release(batch.iter().map(Samples::weight).sum::<u64>());
        }
    }

    /// A function over the range of a selector, ready to be applied.
    pub(super) fn range_of_matrix<'c>(
        &mut self,
        call: &'c Call,
        at: usize,
        matrix: &MatrixSelector,
        grid: Grid,
    ) -> Eval<RangeCall<'c>> {
        let selector = &matrix.selector;
        let when = When::new(selector.at, selector.offset.millis());
        self.range_over(call, at, (when, matrix.range.millis(), selector.mode), grid)
    }

    fn range_over<'c>(
        &mut self,
        call: &'c Call,
        at: usize,
        (when, range_ms, mode): (When, i64, RangeMode),
        grid: Grid,
    ) -> Eval<RangeCall<'c>> {
        let id = call.function.id;
        let Some(function) = range_function(id) else {
            return Err(super::unsupported("function over a range"));
        };
        let mut scalars = Vec::new();
        for (other, arg) in call.args.iter().enumerate().filter(|(i, _)| *i != at) {
            scalars.push((other, self.scalar(arg, grid)?));
        }
        check_mode(mode, call.function.name)?;
        Ok(RangeCall {
            call,
            function,
            scalars,
            span: call.args[at].span(),
            when,
            range_ms,
            mode,
            grid,
            of_subquery: false,
            with_starts: self.options.start_timestamps
                && matches!(
                    id,
                    FunctionId::Rate
                        | FunctionId::Irate
                        | FunctionId::Increase
                        | FunctionId::Resets
                ),
        })
    }

    /// How many threads evaluate so many series: one unless it is worth the while.
    fn threads_for(&self, series: usize, grid: Grid) -> usize {
        /// Below this, starting a thread takes longer than it saves.
        const WINDOWS_MIN: usize = 50_000;
        if series.saturating_mul(grid.len) < WINDOWS_MIN {
            return 1;
        }
        self.options.threads.clamp(1, 64)
    }

    /// The rows of a batch, in its order. Threads share nothing but the budget; what they have to say is put together
    /// in the order of the series, so that the answer does not depend on how many there are.
    fn rows_of(
        &mut self,
        range: &RangeCall<'_>,
        batch: &[Samples],
        threads: usize,
    ) -> Eval<Vec<Row>> {
        if threads == 1 {
            return self.rows_in_turn(range, batch);
        }
        let share = batch.len().div_ceil(threads).max(1);
        std::thread::scope(|scope| {
            let mut workers = Vec::with_capacity(threads);
            for part in batch.chunks(share) {
                let mut worker = self.sibling();
                workers.push(scope.spawn(move || {
                    let rows = worker.rows_in_turn(range, part);
                    (rows, worker.take_parts(), worker.counts)
                }));
            }
            let mut rows = Ok(Vec::with_capacity(batch.len()));
            for worker in workers {
                let Ok((part, said, counts)) = worker.join() else {
                    return Err(super::execution("a thread of the evaluation failed"));
                };
                self.take_over(said);
                self.counts.add_all_of(counts);
                rows = rows.and_then(|mut rows: Vec<Row>| {
                    rows.extend(part?);
                    Ok(rows)
                });
            }
            rows
        })
    }

    fn rows_in_turn(&mut self, range: &RangeCall<'_>, batch: &[Samples]) -> Eval<Vec<Row>> {
        let mut rows = Vec::with_capacity(batch.len());
        for samples in batch {
            self.cancel.check()?;
            rows.extend(self.row_of(range, samples)?);
        }
        Ok(rows)
    }

    /// The row of one series, if it has any value.
    fn row_of(&mut self, range: &RangeCall<'_>, samples: &Samples) -> Eval<Option<Row>> {
        let id = range.call.function.id;
        let keeps_name = matches!(id, FunctionId::LastOverTime | FunctionId::FirstOverTime);
        let mut row = Row::empty(samples.labels.clone(), range.grid.len);
        row.drop_name = !keeps_name || samples.drop_name;
        let series = SeriesRef {
            metric: samples.labels.name().unwrap_or_default(),
            floats: samples.floats.as_ref(),
            histograms: samples.histograms.as_ref(),
        };
        if !self.fill_row(range, &series, &mut |step, value| row.set(step, value))? {
            return Ok(None);
        }
        if matches!(id, FunctionId::Rate | FunctionId::Increase) {
            self.doubt_counter(&samples.labels, &row.floats, range.span);
        }
        if row.drop_name && !self.options.delayed_name_removal {
            row.labels = without_metric(&row.labels);
        }
        Ok(Some(row))
    }

    /// The values of one series, step by step; whether there is any.
    pub(super) fn fill_row(
        &mut self,
        range: &RangeCall<'_>,
        series: &SeriesRef<'_>,
        set: &mut dyn FnMut(usize, Out),
    ) -> Eval<bool> {
        let id = range.call.function.id;
        let drops = if matches!(id, FunctionId::Rate | FunctionId::Increase) {
            drops_of(series.floats.values)
        } else {
            Vec::new()
        };
        let grid = range.grid;
        let weights = weights_until(series.histograms.values);
        let (mut floats, mut histograms) = (Borders::default(), Borders::default());
        let mut any = false;
        for step in 0..grid.len {
            // A window may be long, and a series have many.
            if step % CANCEL_EVERY == 0 {
                self.cancel.check()?;
            }
            let now = grid.time(step);
            let end = range.when.time(now);
            let start = end.saturating_sub(range.range_ms);
            let (first, last) = self.reach(range.mode, start, end);
            let after = first.saturating_sub(1);
            let (seen_floats, seen_histograms) = (floats.to, histograms.to);
            let inside = floats.slide(series.floats.times, after, last);
            let inside_histograms = histograms.slide(series.histograms.times, after, last);
            let looked_at = inside.len() as u64 + weight_in(&weights, &inside_histograms);
            let new = |inside: &Range<usize>, seen: usize| inside.start.max(seen)..inside.end;
            let read = match range.of_subquery {
                // What it is made of is counted where it is read.
                true => 0,
                false => {
                    new(&inside, seen_floats).len() as u64
                        + weight_in(&weights, &new(&inside_histograms, seen_histograms))
                }
            };
            let window = Window {
                drops: inside_drops(&drops, &inside),
                first: inside.start,
                floats: part(&series.floats, inside, range.with_starts),
                histograms: part(&series.histograms, inside_histograms, range.with_starts),
                now,
                start,
                end,
                range_ms: range.range_ms,
                mode: range.mode,
                metric: series.metric,
                span: range.span,
            };
            if window.floats.is_empty() && window.histograms.is_empty() {
                continue;
            }
            self.counts.add(step, looked_at, read);
            let args = Args {
                scalars: &range.scalars,
                step,
                call: range.call,
            };
            if let Some(value) = (range.function)(self, &window, &args)? {
                set(step, value);
                any = true;
            }
        }
        Ok(any)
    }
}

/// Series that one thread evaluates before their rows are passed on.
const BATCH_SERIES: usize = 256;

/// A call with a range, ready to be applied to one series after the other.
pub(super) struct RangeCall<'c> {
    pub(super) call: &'c Call,
    function: RangeFunction,
    /// The other arguments: place in the call and values per step.
    scalars: Vec<(usize, Vec<f64>)>,
    span: Span,
    pub(super) when: When,
    pub(super) range_ms: i64,
    pub(super) mode: RangeMode,
    pub(super) grid: Grid,
    pub(super) with_starts: bool,
    /// Not of samples as they are stored.
    of_subquery: bool,
}

/// The place of the range among a call's arguments.
pub(crate) fn range_argument(call: &Call) -> Option<usize> {
    let is_range = |arg: &Expr| matches!(arg, Expr::Matrix(_) | Expr::Subquery(_));
    call.args.iter().position(is_range)
}

/// How much the histograms before each place weigh, and all of them; nothing if there are none.
fn weights_until(histograms: &[Arc<Histogram>]) -> Vec<u64> {
    if histograms.is_empty() {
        return Vec::new();
    }
    let mut sum = 0;
    let sums = histograms.iter().map(|histogram| {
        sum += histogram::weight(histogram);
        sum
    });
    std::iter::once(0).chain(sums).collect()
}

fn weight_in(weights_until: &[u64], places: &Range<usize>) -> u64 {
    let until = |place: usize| weights_until.get(place).copied().unwrap_or(0);
    until(places.end).saturating_sub(until(places.start))
}

/// The drops between samples of a window.
fn inside_drops<'d>(drops: &'d [usize], inside: &Range<usize>) -> &'d [usize] {
    if drops.is_empty() {
        return drops;
    }
    let from = drops.partition_point(|at| *at <= inside.start);
    let to = drops.partition_point(|at| *at < inside.end);
    drops.get(from..to).unwrap_or_default()
}

/// Where the values of a counter fall.
fn drops_of(values: &[f64]) -> Vec<usize> {
    let pairs = values.windows(2).enumerate();
    pairs
        .filter(|(_, pair)| pair[1] < pair[0])
        .map(|(at, _)| at + 1)
        .collect()
}

/// Extended ranges have samples outside of their bounds, which few functions know how to treat.
fn check_mode(mode: RangeMode, function: &str) -> Eval<()> {
    const ANCHORED: [&str; 5] = ["changes", "delta", "increase", "rate", "resets"];
    const SMOOTHED: [&str; 3] = ["delta", "increase", "rate"];
    let (name, fit): (&str, &[&str]) = match mode {
        RangeMode::Plain => return Ok(()),
        RangeMode::Anchored => ("anchored", &ANCHORED),
        RangeMode::Smoothed => ("smoothed", &SMOOTHED),
    };
    if fit.contains(&function) {
        return Ok(());
    }
    Err(super::execution(format!(
        "{name} modifier can only be used with: {} - not with {function}",
        fit.join(", ")
    )))
}
