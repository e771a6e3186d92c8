//! The leaves of an expression: a selector, or a function over the range of one, evaluated series by series while the
//! series are read. Nothing is held but the series at hand and what comes out of it.
//!
//! Series of one target have the same times, so what depends on times only, which samples a step sees, is found
//! once for all of them.

use std::collections::HashSet;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use model::{Histogram, LabelSet, METRIC_NAME, Value, is_stale};

use super::chunks::even_chunks;
use super::range::{RangeCall, SeriesRef, range_argument};
use super::range_functions::kernels::{Kernel, kernel};
use super::row::{ABSENT, Out, Row, is_absent, without_metric};
use super::samples::{RunRef, drop_buckets};
use super::selector::When;
use super::{Buckets, Eval, Evaluator, Grid, Sink, prepare};
use crate::annotations::Annotation;
use crate::ast::{Expr, RangeMode, Span};
use crate::functions::FunctionId;
use crate::histogram;
use crate::storage::{Column, Groups, NO_GROUP, SeriesSet, SeriesView, ValuesView};

/// See the module.
pub(super) struct Leaf<'a> {
    pub(super) set: Box<dyn SeriesSet + 'a>,
    pub(super) grid: Grid,
    kind: Kind<'a>,
    /// The metric name goes at the end of the evaluation, if not at once.
    pub(super) drop_name: bool,
    drop_buckets: bool,
    /// The set still counts as holding its samples: see [`SeriesSet::holds_samples`].
    pub(super) holds: AtomicBool,
    /// Groups by metric name, if some of them do not look like counters and should; with what is said of them.
    pub(super) doubted: Option<(Groups, Span)>,
}

enum Kind<'a> {
    /// The newest sample at each step.
    Newest { when: When, lookback_ms: i64 },
    /// A function over a range, and the quick way for columns of numbers, if there is one.
    Range(RangeCall<'a>, Option<Kernel>),
}

/// What one thread needs to evaluate series one after the other.
#[derive(Default)]
pub(super) struct Scratch {
    /// The row at hand: a number per step, or [`ABSENT`].
    pub(super) floats: Vec<f64>,
    /// Its histograms: empty, or one per step.
    pub(super) histograms: Vec<Option<Arc<Histogram>>>,
    /// Which samples each step sees, of series with the times of the one before.
    windows: Vec<(u32, u32)>,
    windows_known: bool,
    windows_total: u64,
    /// Samples that any window sees, as far as none before it did.
    windows_new: u64,
    times: Vec<i64>,
    values: Vec<f64>,
    starts: Vec<i64>,
    histogram_times: Vec<i64>,
    histogram_values: Vec<Arc<Histogram>>,
    histogram_starts: Vec<i64>,
}

impl Leaf<'_> {
    /// The labels of a row made of a series.
    pub(super) fn row_labels(&self, place: usize, delayed: bool) -> Option<LabelSet> {
        let labels = self.set.labels(place)?;
        Some(if self.drop_name && !delayed {
            without_metric(&labels)
        } else {
            labels
        })
    }
}

impl<'a> Evaluator<'a> {
    /// Opens a leaf, if the expression is one; what has the same value at every step is none.
    pub(super) fn open_leaf<'e>(&mut self, expr: &'e Expr, grid: Grid) -> Eval<Option<Leaf<'e>>>
    where
        'a: 'e,
    {
        if grid.len == 0 || grid.len > 1 && prepare::is_step_invariant(expr) {
            return Ok(None);
        }
        match expr.without_parens() {
            Expr::Vector(selector) if selector.mode != RangeMode::Smoothed => {
                let when = When::new(selector.at, selector.offset.millis());
                let (first, last) = when.bounds(grid);
                let from = first.saturating_sub(self.lookback_ms).saturating_add(1);
                let times_only = matches!(self.around.function, "count" | "group");
                let set = self.open(&selector.matchers, (from, last), 0, grid, times_only)?;
                Ok(Some(Leaf {
                    holds: AtomicBool::new(set.holds_samples()),
                    set,
                    grid,
                    kind: Kind::Newest {
                        when,
                        lookback_ms: self.lookback_ms,
                    },
                    drop_name: false,
                    drop_buckets: self.buckets == Buckets::Dropped,
                    doubted: None,
                }))
            }
            Expr::Call(call) => {
                let Some(at) = range_argument(call) else {
                    return Ok(None);
                };
                let Expr::Matrix(matrix) = &call.args[at] else {
                    return Ok(None);
                };
                let outside = self.around.function;
                self.in_call(call, |evaluator| {
                    let range = evaluator.range_of_matrix(call, at, matrix, grid)?;
                    let times_only = match call.function.id {
                        FunctionId::CountOverTime | FunctionId::PresentOverTime => true,
                        FunctionId::LastOverTime | FunctionId::FirstOverTime => {
                            matches!(outside, "count" | "group")
                        }
                        _ => false,
                    };
                    let (first, last) = range.when.bounds(grid);
                    let from = first.saturating_sub(range.range_ms);
                    let bounds = evaluator.reach(range.mode, from, last);
                    let matchers = &matrix.selector.matchers;
                    let set = evaluator.open(matchers, bounds, range.range_ms, grid, times_only)?;
                    let id = call.function.id;
                    let quick = (range.mode == RangeMode::Plain && !range.with_starts)
                        .then(|| kernel(id))
                        .flatten();
                    let mut leaf = Leaf {
                        holds: AtomicBool::new(set.holds_samples()),
                        set,
                        grid,
                        drop_name: !matches!(
                            id,
                            FunctionId::LastOverTime | FunctionId::FirstOverTime
                        ),
                        drop_buckets: evaluator.buckets == Buckets::Dropped,
                        doubted: None,
                        kind: Kind::Range(range, quick),
                    };
                    if matches!(id, FunctionId::Rate | FunctionId::Increase) {
                        leaf.doubted = evaluator.doubted(&*leaf.set, call.args[at].span());
                    }
                    Ok(Some(leaf))
                })
            }
            _ => Ok(None),
        }
    }

    /// Metric names that are treated as counters and do not look like it.
    fn doubted(&self, set: &dyn SeriesSet, span: Span) -> Option<(Groups, Span)> {
        let type_label = self.options.type_and_unit_labels;
        let mut groups =
            set.groups(&|name| name == METRIC_NAME || type_label && name == "__type__");
        let fine: Vec<bool> = (groups.labels.iter())
            .map(|labels| self.counter_doubt(labels).is_none())
            .collect();
        for group in &mut groups.of {
            if fine.get(*group as usize) == Some(&true) {
                *group = NO_GROUP;
            }
        }
        fine.contains(&false).then_some((groups, span))
    }

    /// What makes one doubt that series of these labels are counters.
    fn counter_doubt<'l>(&self, labels: &'l LabelSet) -> Option<Annotation<'l>> {
        let metric = labels.name()?;
        if self.options.type_and_unit_labels {
            let found = labels.get("__type__").unwrap_or_default();
            return (!matches!(found, "counter" | "histogram"))
                .then_some(Annotation::PossibleNonCounterType { metric, found });
        }
        const SUFFIXES: [&str; 4] = ["_total", "_sum", "_count", "_bucket"];
        let fits = SUFFIXES.iter().any(|suffix| metric.ends_with(suffix));
        (!fits).then_some(Annotation::PossibleNonCounter { metric })
    }

    /// Says so when something is treated as a counter that does not look like one.
    pub(super) fn doubt_counter(&mut self, labels: &LabelSet, row: &[f64], span: Span) {
        if row.iter().all(|value| is_absent(*value)) {
            return;
        }
        if let Some(annotation) = self.counter_doubt(labels) {
            self.annotate(&annotation, span);
        }
    }

    /// Evaluates the series at these places one by one; `visit` gets each that has a value at some step, in `scratch`.
    pub(super) fn each_series(
        &mut self,
        leaf: &Leaf<'_>,
        places: Range<usize>,
        scratch: &mut Scratch,
        visit: &mut dyn FnMut(&mut Self, usize, &mut Scratch) -> Eval<()>,
    ) -> Eval<()> {
        let cancel = self.cancel;
        let mut result = Ok(());
        scratch.windows_known = false;
        let holds = leaf.holds.load(Ordering::Relaxed);
        leaf.set.read(places, cancel, &mut |place, view| {
            if holds {
                self.budget.release(view.values.weight());
            }
            let evaluated = self.evaluate(leaf, place, view, scratch);
            result = evaluated.and_then(|any| match any {
                true => visit(self, place, scratch),
                false => Ok(()),
            });
            result.is_ok()
        })?;
        result
    }

    /// Fills the scratch with the row of a series; whether it has a value.
    fn evaluate(
        &mut self,
        leaf: &Leaf<'_>,
        place: usize,
        view: SeriesView<'_>,
        scratch: &mut Scratch,
    ) -> Eval<bool> {
        self.stats.series_read += 1;
        scratch.histograms.clear();
        scratch.floats.clear();
        scratch.floats.resize(leaf.grid.len, ABSENT);
        scratch.windows_known &= view.same_times;
        if let ValuesView::Floats(values) = view.values {
            match &leaf.kind {
                Kind::Newest { when, lookback_ms } => {
                    let any = newest_float(leaf.grid, *when, *lookback_ms, &view, values, scratch);
                    if self.counts.tells_steps() {
                        self.counts.add_newest(&scratch.floats, &[]);
                    } else {
                        self.counts.add(0, any, any);
                    }
                    return Ok(any > 0);
                }
                Kind::Range(range, Some(kernel)) => {
                    let stale = values.iter().any(|value| is_stale(*value));
                    if !stale {
                        return Ok(self.windowed(range, *kernel, view.times, values, scratch));
                    }
                    scratch.windows_known = false;
                    let (mut times, mut kept) = (
                        std::mem::take(&mut scratch.times),
                        std::mem::take(&mut scratch.values),
                    );
                    times.clear();
                    kept.clear();
                    for (time, value) in view.times.iter().zip(values) {
                        if !is_stale(*value) {
                            times.push(*time);
                            kept.push(*value);
                        }
                    }
                    let any = self.windowed(range, *kernel, &times, &kept, scratch);
                    scratch.windows_known = false;
                    (scratch.times, scratch.values) = (times, kept);
                    return Ok(any);
                }
                Kind::Range(_, None) => {}
            }
        }
        scratch.windows_known = false;
        self.evaluate_any(leaf, place, view, scratch)
    }

    /// A function with a quick way, over numbers among which is no staleness marker.
    fn windowed(
        &mut self,
        range: &RangeCall<'_>,
        kernel: Kernel,
        times: &[i64],
        values: &[f64],
        scratch: &mut Scratch,
    ) -> bool {
        if !scratch.windows_known {
            scratch.windows.clear();
            (scratch.windows_total, scratch.windows_new) = (0, 0);
            let (mut from, mut to) = (0, 0);
            for step in 0..range.grid.len {
                let end = range.when.time(range.grid.time(step));
                let after = end.saturating_sub(range.range_ms);
                let seen = to;
                while times.get(to).is_some_and(|time| *time <= end) {
                    to += 1;
                }
                while from < to && times[from] <= after {
                    from += 1;
                }
                scratch.windows.push((from as u32, to as u32));
                scratch.windows_total += (to - from) as u64;
                scratch.windows_new += (to - from.max(seen)) as u64;
            }
            scratch.windows_known = true;
        }
        if self.counts.tells_steps() {
            let mut seen = 0;
            for (step, (from, to)) in scratch.windows.iter().enumerate() {
                let new = to - from.max(&seen);
                self.counts.add(step, u64::from(to - from), u64::from(new));
                seen = *to;
            }
        } else {
            let (looked_at, read) = (scratch.windows_total, scratch.windows_new);
            self.counts.add(0, looked_at, read);
        }
        kernel(range, times, values, &scratch.windows, &mut scratch.floats)
    }

    /// Any series: histograms, start timestamps, functions without a quick way.
    fn evaluate_any(
        &mut self,
        leaf: &Leaf<'_>,
        place: usize,
        view: SeriesView<'_>,
        scratch: &mut Scratch,
    ) -> Eval<bool> {
        let mut thin = None;
        let values = match view.values {
            ValuesView::Mixed(values) => {
                self.stats.histograms_read = true;
                if leaf.drop_buckets {
                    let mut column = Column::Mixed(values.to_vec());
                    drop_buckets(&mut column);
                    thin = Some(column);
                }
                match &thin {
                    Some(Column::Mixed(values)) => ValuesView::Mixed(values),
                    _ => view.values,
                }
            }
            floats => floats,
        };
        match &leaf.kind {
            Kind::Newest { when, lookback_ms } => {
                let ValuesView::Mixed(values) = values else {
                    return Ok(false);
                };
                let mut any = false;
                each_newest(leaf.grid, *when, *lookback_ms, view.times, |step, at| {
                    if values[at].is_stale() {
                        return;
                    }
                    any = true;
                    let out = match &values[at] {
                        Value::Float(value) => Out::Float(*value),
                        Value::Histogram(histogram) => Out::Histogram(Arc::clone(histogram)),
                    };
                    scratch.set(step, out);
                });
                self.counts.add_newest(&scratch.floats, &scratch.histograms);
                Ok(any)
            }
            Kind::Range(range, _) => {
                scratch.split(view.times, values, view.starts);
                // Only what is said of odd samples names the metric.
                let odd = !scratch.histogram_times.is_empty() || !view.starts.is_empty();
                let labels = if odd { leaf.set.labels(place) } else { None };
                let metric = labels.as_ref().and_then(LabelSet::name).unwrap_or_default();
                let Scratch {
                    floats,
                    histograms,
                    times,
                    values,
                    starts,
                    histogram_times,
                    histogram_values,
                    histogram_starts,
                    ..
                } = scratch;
                let series = SeriesRef {
                    metric,
                    floats: RunRef {
                        times,
                        values,
                        starts,
                    },
                    histograms: RunRef {
                        times: histogram_times,
                        values: histogram_values,
                        starts: histogram_starts,
                    },
                };
                self.fill_row(range, &series, &mut |step, out| {
                    put(floats, histograms, step, out);
                })
            }
        }
    }

    /// The rows of all series, one by one and in no particular order of labels; they are made on several threads.
    pub(super) fn each_of_leaf(&mut self, leaf: &Leaf<'_>, sink: &mut Sink<'_>) -> Eval<()> {
        let delayed = self.options.delayed_name_removal;
        let mut seen: HashSet<LabelSet> = HashSet::new();
        let watch = self.may_collide(leaf);
        self.in_chunks(
            &even_chunks(leaf.set.len()),
            leaf.grid.len,
            Scratch::default,
            |scratch, evaluator, places| {
                let mut rows = Vec::new();
                evaluator.each_series(
                    leaf,
                    places,
                    scratch,
                    &mut |evaluator, place, scratch| {
                        let Some(labels) = leaf.row_labels(place, delayed) else {
                            return Ok(());
                        };
                        if let Some((names, span)) = &leaf.doubted
                            && let Some(labels) = names.labels.get(names.of[place] as usize)
                        {
                            evaluator.doubt_counter(labels, &scratch.floats, *span);
                        }
                        let row = Row {
                            labels,
                            drop_name: leaf.drop_name,
                            floats: scratch.floats.clone(),
                            histograms: (!scratch.histograms.is_empty())
                                .then(|| std::mem::take(&mut scratch.histograms)),
                        };
                        evaluator.budget.take(row.weight())?;
                        rows.push(row);
                        Ok(())
                    },
                )?;
                Ok(rows)
            },
            |evaluator, rows| {
                for row in rows {
                    evaluator.cancel.check()?;
                    evaluator.budget.release(row.weight());
                    if watch && !seen.insert(row.labels.clone()) {
                        return Err(super::row::same_labels_error());
                    }
                    sink(evaluator, row)?;
                }
                Ok(())
            },
        )?;
        leaf.holds.store(false, Ordering::Relaxed);
        Ok(())
    }

    /// Whether names that are dropped here and now may make one of two series.
    pub(super) fn may_collide(&self, leaf: &Leaf<'_>) -> bool {
        let Kind::Range(range, _) = &leaf.kind else {
            return false;
        };
        leaf.drop_name
            && !self.options.delayed_name_removal
            && range.call.function.id != FunctionId::AbsentOverTime
            && !leaf
                .set
                .are_distinct(&|name| !super::row::is_metric_label(name))
    }

    /// All rows of a leaf, in the order of their labels.
    pub(super) fn rows_of_leaf(&mut self, leaf: &Leaf<'_>) -> Eval<Vec<Row>> {
        let mut rows = Vec::new();
        self.each_of_leaf(leaf, &mut |evaluator, row| {
            evaluator.budget.take(row.weight())?;
            rows.push(row);
            Ok(())
        })?;
        if !rows.is_sorted_by(|a, b| a.labels <= b.labels) {
            rows.sort_by(|a, b| a.labels.cmp(&b.labels));
        }
        Ok(rows)
    }
}

impl Scratch {
    fn set(&mut self, step: usize, value: Out) {
        put(&mut self.floats, &mut self.histograms, step, value);
    }

    pub(super) fn samples(&self) -> u64 {
        let floats = self
            .floats
            .iter()
            .filter(|value| !is_absent(**value))
            .count() as u64;
        let histograms = self.histograms.iter().flatten();
        floats + histograms.map(|h| histogram::weight(h)).sum::<u64>()
    }

    /// Numbers and histograms of a series apart, staleness markers left out.
    fn split(&mut self, times: &[i64], values: ValuesView<'_>, starts: &[i64]) {
        self.times.clear();
        self.values.clear();
        self.starts.clear();
        self.histogram_times.clear();
        self.histogram_values.clear();
        self.histogram_starts.clear();
        let start = |at: usize| starts.get(at).copied();
        match values {
            ValuesView::Floats(values) => {
                for (at, value) in values.iter().enumerate().filter(|(_, v)| !is_stale(**v)) {
                    self.times.push(times[at]);
                    self.values.push(*value);
                    self.starts.extend(start(at));
                }
            }
            ValuesView::Mixed(values) => {
                for (at, value) in values.iter().enumerate().filter(|(_, v)| !v.is_stale()) {
                    match value {
                        Value::Float(value) => {
                            self.times.push(times[at]);
                            self.values.push(*value);
                            self.starts.extend(start(at));
                        }
                        Value::Histogram(histogram) => {
                            self.histogram_times.push(times[at]);
                            self.histogram_values.push(Arc::clone(histogram));
                            self.histogram_starts.extend(start(at));
                        }
                    }
                }
            }
        }
    }
}

fn put(floats: &mut [f64], histograms: &mut Vec<Option<Arc<Histogram>>>, step: usize, value: Out) {
    match value {
        Out::Float(value) => floats[step] = value,
        Out::Histogram(histogram) => {
            histograms.resize(floats.len(), None);
            histograms[step] = Some(histogram);
        }
    }
}

/// Calls with the place of the newest sample of each step that is fresh enough.
pub(super) fn each_newest(
    grid: Grid,
    when: When,
    lookback_ms: i64,
    times: &[i64],
    mut found: impl FnMut(usize, usize),
) {
    let mut next = 0;
    for step in 0..grid.len {
        let time = when.time(grid.time(step));
        if grid.len == 1 {
            next = times.partition_point(|t| *t <= time);
        }
        while times.get(next).is_some_and(|t| *t <= time) {
            next += 1;
        }
        if let Some(at) = next.checked_sub(1)
            && times[at] > time.saturating_sub(lookback_ms)
        {
            found(step, at);
        }
    }
}

/// The newest number of each step; how many there are.
fn newest_float(
    grid: Grid,
    when: When,
    lookback_ms: i64,
    view: &SeriesView<'_>,
    values: &[f64],
    scratch: &mut Scratch,
) -> u64 {
    if !scratch.windows_known {
        // (step, place)
        let windows = &mut scratch.windows;
        windows.clear();
        each_newest(grid, when, lookback_ms, view.times, |step, at| {
            windows.push((step as u32, at as u32));
        });
        scratch.windows_known = true;
    }
    let mut count = 0;
    for (step, at) in &scratch.windows {
        // A staleness marker is the sign of no value, too.
        let value = values[*at as usize];
        scratch.floats[*step as usize] = value;
        count += u64::from(!is_stale(value));
    }
    count
}
