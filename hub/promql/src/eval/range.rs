//! Functions over ranges: a window slides over the samples of each series, from step to step.

use std::collections::HashSet;
use std::ops::Range;
use std::sync::Arc;

use model::{Histogram, LabelSet};

use super::range_functions::{Args, RangeFunction, range_function};
use super::row::{Row, without_metric};
use super::samples::{Run, Samples, split};
use super::selector::When;
use super::{Eval, Evaluator, Grid, Sink};
use crate::annotations::Annotation;
use crate::ast::{Call, Expr, RangeMode, Span};
use crate::functions::FunctionId;

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

fn part<'a, T>(run: &'a Run<T>, range: Range<usize>, with_starts: bool) -> Part<'a, T> {
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

    /// The same, row by row.
    pub(super) fn each_of_range(
        &mut self,
        call: &Call,
        at: usize,
        grid: Grid,
        sink: &mut Sink<'_>,
    ) -> Eval<()> {
        let id = call.function.id;
        let Some(function) = range_function(id) else {
            return Err(super::unsupported("function over a range"));
        };
        let arg = &call.args[at];
        // A subquery is evaluated before the other arguments are, a selector behind them.
        let mut source = match arg {
            Expr::Subquery(_) => Some(self.range_source(arg, grid)?),
            _ => None,
        };
        let mut scalars = Vec::new();
        for (other, arg) in call.args.iter().enumerate().filter(|(i, _)| *i != at) {
            scalars.push((other, self.scalar(arg, grid)?));
        }
        let source = match source.take() {
            Some(source) => source,
            None => self.range_source(arg, grid)?,
        };
        check_mode(source.mode, call.function.name)?;
        let range = RangeCall {
            call,
            function,
            scalars,
            span: arg.span(),
            when: source.when,
            range_ms: source.range_ms,
            mode: source.mode,
            grid,
            with_starts: self.options.start_timestamps
                && matches!(
                    id,
                    FunctionId::Rate
                        | FunctionId::Irate
                        | FunctionId::Increase
                        | FunctionId::Resets
                ),
        };
        // With names dropped here and now, two series may become one.
        let mut seen: HashSet<LabelSet> = HashSet::new();
        let drops_now = !self.options.delayed_name_removal;
        let threads = self.threads_for(source.series.len(), grid);
        let mut rest = source.series.into_iter();
        loop {
            let batch: Vec<Samples> = rest.by_ref().take(threads * BATCH_SERIES).collect();
            if batch.is_empty() {
                return Ok(());
            }
            for row in self.rows_of(&range, &batch, threads)? {
                let unique = !drops_now || seen.insert(row.labels.clone());
                if !unique && id != FunctionId::AbsentOverTime {
                    return Err(super::row::same_labels_error());
                }
                sink(self, row)?;
            }
            self.budget.release(batch.iter().map(Samples::weight).sum());
        }
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
                    (rows, worker.into_parts())
                }));
            }
            let mut rows = Ok(Vec::with_capacity(batch.len()));
            for worker in workers {
                let Ok((part, said)) = worker.join() else {
                    return Err(super::execution("a thread of the evaluation failed"));
                };
                self.take_over(said);
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
        let counts = matches!(id, FunctionId::Rate | FunctionId::Increase);
        let drops = if counts {
            drops_of(&samples.floats.values)
        } else {
            Vec::new()
        };
        let keeps_name = matches!(id, FunctionId::LastOverTime | FunctionId::FirstOverTime);
        let grid = range.grid;
        let mut row = Row::empty(samples.labels.clone(), grid.len);
        row.drop_name = !keeps_name || samples.drop_name;
        let metric = samples.labels.name().unwrap_or_default();
        let (mut floats, mut histograms) = (Borders::default(), Borders::default());
        let mut any = false;
        for step in 0..grid.len {
            let now = grid.time(step);
            let end = range.when.time(now);
            let start = end.saturating_sub(range.range_ms);
            let (first, last) = self.reach(range.mode, start, end);
            let after = first.saturating_sub(1);
            let inside = floats.slide(&samples.floats.times, after, last);
            let window = Window {
                drops: inside_drops(&drops, &inside),
                first: inside.start,
                floats: part(&samples.floats, inside, range.with_starts),
                histograms: part(
                    &samples.histograms,
                    histograms.slide(&samples.histograms.times, after, last),
                    range.with_starts,
                ),
                now,
                start,
                end,
                range_ms: range.range_ms,
                mode: range.mode,
                metric,
                span: range.span,
            };
            if window.floats.is_empty() && window.histograms.is_empty() {
                continue;
            }
            self.stats.queryable_samples += (window.floats.len() + window.histograms.len()) as u64;
            let args = Args {
                scalars: &range.scalars,
                step,
                call: range.call,
            };
            if let Some(value) = (range.function)(self, &window, &args)? {
                row.set(step, value);
                any = true;
            }
        }
        if !any {
            return Ok(None);
        }
        if counts {
            self.doubt_counter(samples, &row, range.span);
        }
        if row.drop_name && !self.options.delayed_name_removal {
            row.labels = without_metric(&row.labels);
        }
        Ok(Some(row))
    }

    fn range_source(&mut self, arg: &Expr, grid: Grid) -> Eval<Source> {
        match arg {
            Expr::Matrix(matrix) => {
                let selector = &matrix.selector;
                let when = When::new(selector.at, selector.offset.millis());
                let range_ms = matrix.range.millis();
                let (first, last) = when.bounds(grid);
                let bounds = self.reach(selector.mode, first.saturating_sub(range_ms), last);
                let selected = self.select(selector, bounds, range_ms, grid)?;
                Ok(Source {
                    series: selected.into_iter().map(split).collect(),
                    when,
                    range_ms,
                    mode: selector.mode,
                })
            }
            Expr::Subquery(subquery) => {
                let series = self.subquery_samples(subquery, grid)?;
                Ok(Source {
                    series,
                    when: When::new(subquery.at, subquery.offset.millis()),
                    range_ms: subquery.range.millis(),
                    mode: RangeMode::Plain,
                })
            }
            _ => Err(super::unsupported("range vector")),
        }
    }

    /// Says so when something is treated as a counter that does not look like one.
    fn doubt_counter(&mut self, samples: &Samples, row: &Row, span: Span) {
        let Some(metric) = samples.labels.name() else {
            return;
        };
        if row.floats.iter().all(|value| super::row::is_absent(*value)) {
            return;
        }
        if self.options.type_and_unit_labels {
            let found = samples.labels.get("__type__").unwrap_or_default();
            if !matches!(found, "counter" | "histogram") {
                let annotation = Annotation::PossibleNonCounterType { metric, found };
                self.annotate(&annotation, span);
            }
            return;
        }
        const SUFFIXES: [&str; 4] = ["_total", "_sum", "_count", "_bucket"];
        if !SUFFIXES.iter().any(|suffix| metric.ends_with(suffix)) {
            self.annotate(&Annotation::PossibleNonCounter { metric }, span);
        }
    }
}

/// Series that one thread evaluates before their rows are passed on.
const BATCH_SERIES: usize = 256;

/// A call with a range, ready to be applied to one series after the other.
struct RangeCall<'c> {
    call: &'c Call,
    function: RangeFunction,
    /// The other arguments: place in the call and values per step.
    scalars: Vec<(usize, Vec<f64>)>,
    span: Span,
    when: When,
    range_ms: i64,
    mode: RangeMode,
    grid: Grid,
    with_starts: bool,
}

/// What a range function reads.
struct Source {
    series: Vec<Samples>,
    when: When,
    range_ms: i64,
    mode: RangeMode,
}

/// The place of the range among a call's arguments.
pub(super) fn range_argument(call: &Call) -> Option<usize> {
    let is_range = |arg: &Expr| matches!(arg, Expr::Matrix(_) | Expr::Subquery(_));
    call.args.iter().position(is_range)
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
