//! Selectors: series read from storage, and their value at each step.

use std::sync::Arc;

use model::{Histogram, LabelSet, ResetHint, Timestamp, Value, is_stale};

use super::row::{Out, Row};
use super::{Buckets, Eval, Evaluator, Grid, Sink};
use crate::annotations::{Annotation, Operation};
use crate::ast::{At, MatrixSelector, RangeMode, Span, VectorSelector};
use crate::histogram;
use crate::result::RangeSeries;
use crate::storage::{Column, Hints, Select, SeriesColumns};

/// A series with its numbers and its histograms apart, staleness markers left out: what windows slide over.
#[derive(Clone, Debug, Default)]
pub(super) struct Samples {
    pub(super) labels: LabelSet,
    pub(super) drop_name: bool,
    pub(super) floats: Run<f64>,
    pub(super) histograms: Run<Arc<Histogram>>,
}

/// Values of one kind with their times, by rising time.
#[derive(Clone, Debug)]
pub(super) struct Run<T> {
    pub(super) times: Vec<i64>,
    pub(super) values: Vec<T>,
    /// Start timestamps; empty when none is known.
    pub(super) starts: Vec<i64>,
}

impl<T> Default for Run<T> {
    fn default() -> Self {
        Run {
            times: Vec::new(),
            values: Vec::new(),
            starts: Vec::new(),
        }
    }
}

impl Samples {
    /// How much the samples count against a budget.
    pub(super) fn weight(&self) -> u64 {
        let histograms = self.histograms.values.iter();
        self.floats.values.len() as u64 + histograms.map(|h| histogram::weight(h)).sum::<u64>()
    }
}

/// When a selector looks at samples: at which data time per step.
#[derive(Clone, Copy)]
pub(super) struct When {
    at: Option<i64>,
    offset_ms: i64,
}

impl When {
    pub(super) fn new(at: Option<At>, offset_ms: i64) -> Self {
        let at = match at {
            Some(At::Time(millis)) => Some(millis),
            // Others are times since the preparation.
            _ => None,
        };
        When { at, offset_ms }
    }

    /// The data time at evaluation time `now`.
    pub(super) fn time(self, now: i64) -> i64 {
        self.at.unwrap_or(now).saturating_sub(self.offset_ms)
    }

    /// First and last data time over a grid.
    pub(super) fn bounds(self, grid: Grid) -> (i64, i64) {
        (self.time(grid.start), self.time(grid.end()))
    }
}

impl Evaluator<'_> {
    /// Reads the series of a selector from storage; both times are included.
    pub(super) fn select(
        &mut self,
        selector: &VectorSelector,
        (from, to): (i64, i64),
        range_ms: i64,
        grid: Grid,
    ) -> Eval<Vec<SeriesColumns>> {
        self.select_matchers(&selector.matchers, (from, to), range_ms, grid)
    }

    pub(super) fn select_matchers(
        &mut self,
        matchers: &[model::Matcher],
        (from, to): (i64, i64),
        range_ms: i64,
        grid: Grid,
    ) -> Eval<Vec<SeriesColumns>> {
        let select = Select {
            matchers,
            start: Timestamp::from_millis(from),
            end: Timestamp::from_millis(to),
            hints: Hints {
                step_ms: if grid.len > 1 { grid.step } else { 0 },
                range_ms,
                function: self.around.function,
                grouping: &self.around.grouping,
                by: self.around.by,
            },
        };
        let mut selection = self.storage.select(&select, self.budget, self.cancel)?;
        for warning in selection.warnings {
            self.annotations.add_storage_warning(warning);
        }
        self.stats.series_read += selection.series.len() as u64;
        for series in &selection.series {
            self.stats.samples_read += series.values.weight();
        }
        if self.buckets == Buckets::Dropped {
            for series in &mut selection.series {
                let before = series.values.weight();
                drop_buckets(&mut series.values);
                let after = series.values.weight();
                self.budget.release(before.saturating_sub(after));
            }
        }
        Ok(selection.series)
    }

    /// The newest sample of each series at each step.
    pub(super) fn vector_selector(
        &mut self,
        selector: &VectorSelector,
        grid: Grid,
    ) -> Eval<Vec<Row>> {
        if selector.mode == RangeMode::Smoothed {
            return self.smoothed_selector(selector, grid);
        }
        let when = When::new(selector.at, selector.offset.millis());
        let rows = self.newest(selector, when, grid, |row, step, series, at| {
            row.set(step, value_of(&series.values, at));
        })?;
        self.stats.queryable_samples += rows.iter().map(Row::weight).sum::<u64>();
        Ok(rows)
    }

    /// The same, row by row.
    pub(super) fn each_of_selector(
        &mut self,
        selector: &VectorSelector,
        grid: Grid,
        sink: &mut Sink<'_>,
    ) -> Eval<()> {
        let when = When::new(selector.at, selector.offset.millis());
        let put = |row: &mut Row, step, series: &SeriesColumns, at| {
            row.set(step, value_of(&series.values, at));
        };
        self.each_newest(
            &selector.matchers,
            when,
            grid,
            put,
            &mut |evaluator, row| {
                evaluator.stats.queryable_samples += row.weight();
                sink(evaluator, row)
            },
        )
    }

    /// For each series and step with a sample, calls `put` with the sample's index.
    pub(super) fn newest(
        &mut self,
        selector: &VectorSelector,
        when: When,
        grid: Grid,
        put: impl FnMut(&mut Row, usize, &SeriesColumns, usize),
    ) -> Eval<Vec<Row>> {
        self.newest_of(&selector.matchers, when, grid, put)
    }

    pub(super) fn newest_of(
        &mut self,
        matchers: &[model::Matcher],
        when: When,
        grid: Grid,
        put: impl FnMut(&mut Row, usize, &SeriesColumns, usize),
    ) -> Eval<Vec<Row>> {
        let mut rows = Vec::new();
        self.each_newest(matchers, when, grid, put, &mut |evaluator, row| {
            evaluator.budget.take(row.weight())?;
            rows.push(row);
            Ok(())
        })?;
        Ok(rows)
    }

    fn each_newest(
        &mut self,
        matchers: &[model::Matcher],
        when: When,
        grid: Grid,
        mut put: impl FnMut(&mut Row, usize, &SeriesColumns, usize),
        sink: &mut Sink<'_>,
    ) -> Eval<()> {
        let (first, last) = when.bounds(grid);
        let from = first.saturating_sub(self.lookback_ms).saturating_add(1);
        let selected = self.select_matchers(matchers, (from, last), 0, grid)?;
        for series in selected {
            self.cancel.check()?;
            let mut row = Row::empty(series.labels.clone(), grid.len);
            let mut next = 0;
            let mut any = false;
            for step in 0..grid.len {
                let time = when.time(grid.time(step));
                while series.timestamps.get(next).is_some_and(|t| *t <= time) {
                    next += 1;
                }
                let Some(at) = next.checked_sub(1) else {
                    continue;
                };
                let fresh = series.timestamps[at] > time.saturating_sub(self.lookback_ms);
                if fresh && !is_stale_at(&series.values, at) {
                    put(&mut row, step, &series, at);
                    any = true;
                }
            }
            self.budget.release(series.values.weight());
            drop(series);
            if any {
                sink(self, row)?;
            }
        }
        Ok(())
    }

    /// The value at each step interpolated between the samples around it.
    fn smoothed_selector(&mut self, selector: &VectorSelector, grid: Grid) -> Eval<Vec<Row>> {
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

    /// The samples of a range as the answer to a query.
    pub(super) fn matrix_selector(
        &mut self,
        matrix: &MatrixSelector,
        grid: Grid,
    ) -> Eval<Vec<RangeSeries>> {
        let selector = &matrix.selector;
        let end = When::new(selector.at, selector.offset.millis()).time(grid.start);
        let start = end.saturating_sub(matrix.range.millis());
        let (from, to) = self.reach(selector.mode, start, end);
        let selected = self.select(selector, (from, to), matrix.range.millis(), grid)?;
        let mut result = Vec::with_capacity(selected.len());
        for mut samples in selected.into_iter().map(split) {
            if selector.mode != RangeMode::Plain {
                let smoothed = selector.mode == RangeMode::Smoothed;
                if !samples.histograms.times.is_empty() {
                    let name = if smoothed { "smoothed" } else { "anchored" };
                    return Err(super::execution(format!(
                        "{name} modifier is not supported with histograms"
                    )));
                }
                samples.floats = extend(&samples.floats, start, end, smoothed);
            }
            let at = |t: &i64| Timestamp::from_millis(*t);
            let (floats, histograms) = (&samples.floats, &samples.histograms);
            self.stats.queryable_samples += (floats.times.len() + histograms.times.len()) as u64;
            result.push(RangeSeries {
                labels: samples.labels.clone(),
                floats: floats
                    .times
                    .iter()
                    .zip(&floats.values)
                    .map(|(t, v)| (at(t), *v))
                    .collect(),
                histograms: histograms
                    .times
                    .iter()
                    .zip(&histograms.values)
                    .map(|(t, h)| (at(t), Arc::clone(h)))
                    .collect(),
            });
        }
        Ok(result)
    }

    /// The times, both included, that a range `(start, end]` needs samples of.
    pub(super) fn reach(&self, mode: RangeMode, start: i64, end: i64) -> (i64, i64) {
        let (before, after) = match mode {
            RangeMode::Plain => (0, 0),
            RangeMode::Anchored => (self.lookback_ms, 0),
            RangeMode::Smoothed => (self.lookback_ms, self.lookback_ms),
        };
        (
            start.saturating_sub(before).saturating_add(1),
            end.saturating_add(after),
        )
    }
}

/// Leaves only count and sum of each histogram, with a hint whether it is a reset.
fn drop_buckets(values: &mut Column) {
    let Column::Mixed(values) = values else {
        return;
    };
    let mut before: Option<Arc<Histogram>> = None;
    for value in values {
        let Value::Histogram(histogram) = value else {
            continue;
        };
        let mut bare = Histogram {
            schema: histogram.schema,
            count: histogram.count,
            sum: histogram.sum,
            reset_hint: histogram.reset_hint,
            ..Histogram::default()
        };
        if !is_stale(histogram.sum) {
            if let (ResetHint::Unknown, Some(before)) = (bare.reset_hint, &before) {
                bare.reset_hint = if histogram::detect_reset(histogram, before) {
                    ResetHint::Reset
                } else {
                    ResetHint::NotReset
                };
            }
            before = Some(Arc::clone(histogram));
        }
        *histogram = Arc::new(bare);
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
fn extend(floats: &Run<f64>, start: i64, end: i64, smoothed: bool) -> Run<f64> {
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

pub(super) fn value_of(values: &Column, at: usize) -> Out {
    match values {
        Column::Floats(values) => Out::Float(values[at]),
        Column::Mixed(values) => match &values[at] {
            Value::Float(value) => Out::Float(*value),
            Value::Histogram(histogram) => Out::Histogram(Arc::clone(histogram)),
        },
    }
}

fn is_stale_at(values: &Column, at: usize) -> bool {
    match values {
        Column::Floats(values) => is_stale(values[at]),
        Column::Mixed(values) => values[at].is_stale(),
    }
}

/// Numbers and histograms of a series apart, staleness markers left out.
pub(super) fn split(series: SeriesColumns) -> Samples {
    let mut samples = Samples {
        labels: series.labels,
        ..Samples::default()
    };
    let start = |at: usize| series.starts.get(at).copied();
    match series.values {
        Column::Floats(values) => {
            let run = &mut samples.floats;
            if values.iter().any(|value| is_stale(*value)) {
                for (at, value) in values.iter().enumerate().filter(|(_, v)| !is_stale(**v)) {
                    run.times.push(series.timestamps[at]);
                    run.values.push(*value);
                    run.starts.extend(start(at));
                }
            } else {
                run.times = series.timestamps;
                run.values = values;
                run.starts = series.starts;
            }
        }
        Column::Mixed(values) => {
            let values = values.into_iter().enumerate();
            for (at, value) in values.filter(|(_, v)| !v.is_stale()) {
                let time = series.timestamps[at];
                match value {
                    Value::Float(value) => {
                        samples.floats.times.push(time);
                        samples.floats.values.push(value);
                        samples.floats.starts.extend(start(at));
                    }
                    Value::Histogram(histogram) => {
                        samples.histograms.times.push(time);
                        samples.histograms.values.push(histogram);
                        samples.histograms.starts.extend(start(at));
                    }
                }
            }
        }
    }
    samples
}
