//! Aggregations that fold many series into one per group. Each series is folded into its group's steps as it comes, in
//! the order of the input, so that equal data give bit-equal answers.

use std::collections::HashMap;

use model::{LabelSet, METRIC_NAME, ResetHint};

use super::fold::Folded;
use super::row::{Out, Point, Row, empty_weight, is_absent};
use super::{Eval, Evaluator, Grid, Sink, execution};
use super::{numbers, range};
use crate::annotations::{Annotation, Operation};
use crate::ast::{Aggregate, AggregateOp, Expr, Span};
use crate::histogram::sum::HistogramMean;
use crate::histogram::{Accumulator, Incompatible};
use crate::kahan::{Mean, Sum};

/// Which group each row belongs to, and the labels of each group.
pub(super) struct Grouped {
    pub(super) of_row: Vec<usize>,
    pub(super) labels: Vec<LabelSet>,
}

impl Grouped {
    pub(super) fn new(rows: &[Row], aggregate: &Aggregate) -> Self {
        let mut numbers: HashMap<LabelSet, usize> = HashMap::new();
        let mut labels = Vec::new();
        let of_row = rows.iter().map(|row| {
            let group = group_labels(&row.labels, aggregate, None);
            *numbers.entry(group).or_insert_with_key(|group| {
                labels.push(group.clone());
                labels.len() - 1
            })
        });
        let of_row = of_row.collect();
        Grouped { of_row, labels }
    }
}

/// The labels of `by`, or all but those of `without` and the metric name; `also` counts as one of `by`.
fn group_labels(labels: &LabelSet, aggregate: &Aggregate, also: Option<&str>) -> LabelSet {
    let named = |name: &str| aggregate.grouping.iter().any(|label| label == name);
    if aggregate.without {
        labels.retain(|name| name != METRIC_NAME && !named(name))
    } else {
        labels.retain(|name| named(name) || Some(name) == also)
    }
}

/// A group that is being folded into.
struct Group {
    labels: LabelSet,
    /// One per step.
    cells: Vec<Cell>,
}

/// What a group has gathered at one step.
#[derive(Clone, Default)]
struct Cell {
    /// Something was gathered.
    seen: bool,
    has_float: bool,
    has_histogram: bool,
    /// The name of some series in the group is still to be dropped: then so is the group's.
    drop_name: bool,
    /// Histograms did not go together: nothing comes out.
    incompatible: bool,
    reset_seen: bool,
    no_reset_seen: bool,
    gathered: Gathered,
}

#[derive(Clone, Default)]
enum Gathered {
    #[default]
    Nothing,
    Count(f64),
    Sum(Sum),
    Mean(Mean),
    Extreme(f64),
    /// Count, mean and sum of squared distances.
    Variance(f64, f64, f64),
    Values(Vec<f64>),
    HistogramSum(Box<Accumulator>),
    HistogramMean(Box<HistogramMean>),
}

impl Evaluator<'_> {
    /// Everything but `topk` and its kin and `count_values`.
    pub(super) fn fold(&mut self, aggregate: &Aggregate, grid: Grid) -> Eval<Vec<Row>> {
        let quantiles = match &aggregate.param {
            Some(param) => self.quantile_param(param, grid)?,
            None => Vec::new(),
        };
        // What is absent shows only once all series have been read.
        let leaf = match range::is_absent_over_time(&aggregate.expr) {
            true => None,
            false => self.open_leaf(&aggregate.expr, grid)?,
        };
        let folded = match &leaf {
            Some(leaf) => self.fold_leaf(aggregate, leaf, &quantiles)?,
            None => Folded::Not,
        };
        let numbers = match folded {
            Folded::Rows(rows) => return Ok(rows),
            Folded::Numbers(numbers) => numbers,
            Folded::Not => HashMap::new(),
        };
        let counts = matches!(aggregate.op, AggregateOp::Count | AggregateOp::Group);
        let mut places: HashMap<LabelSet, usize> = HashMap::new();
        let mut groups: Vec<Group> = Vec::new();
        // A step of a group takes about as much room as two samples.
        let held = 2 * grid.len as u64;
        let (keeps_values, mut kept) = (aggregate.op == AggregateOp::Quantile, 0);
        let delayed = self.options.delayed_name_removal;
        let gather: &mut Sink<'_> = &mut |evaluator, row| {
            evaluator.cancel.check()?;
            if keeps_values {
                let samples = row.samples();
                evaluator.budget.take(samples)?;
                kept += samples;
            }
            let labels = group_labels(&row.labels, aggregate, None);
            let place = match places.get(&labels) {
                Some(place) => *place,
                None => {
                    evaluator.budget.take(held)?;
                    groups.push(Group {
                        labels: labels.clone(),
                        cells: vec![Cell::default(); grid.len],
                    });
                    places.insert(labels, groups.len() - 1);
                    groups.len() - 1
                }
            };
            let group = &mut groups[place];
            let metric = row.labels.name().unwrap_or_default();
            for (step, cell) in group.cells.iter_mut().enumerate() {
                if let Some(point) = row.point(step) {
                    evaluator.gather(aggregate, cell, point, metric);
                    // Names that are dropped at once are no part of a row any more: it joins those that never had one.
                    cell.drop_name |= delayed && row.drop_name;
                }
            }
            Ok(())
        };
        match &leaf {
            Some(leaf) => self.each_of_leaf(leaf, gather)?,
            None => self.each_row(&aggregate.expr, grid, gather)?,
        }
        let mut result = Vec::with_capacity(groups.len());
        for group in groups {
            // Steps at which the name is still to be dropped, and the others.
            let mut rows = [false, true].map(|drop_name| Row {
                drop_name,
                ..Row::empty(group.labels.clone(), grid.len)
            });
            self.budget.release(held);
            let cells = group.cells.into_iter().enumerate();
            for (step, cell) in cells.filter(|(_, cell)| cell.seen) {
                let q = quantiles.get(step).copied().unwrap_or(f64::NAN);
                let row = &mut rows[usize::from(cell.drop_name)];
                match self.outcome(aggregate, cell, q) {
                    // Histograms do not count in it: the same number as without any around, to the last bit.
                    Some(Out::Float(value)) if !counts => {
                        let number = numbers.get(&group.labels).map(|of| of[step]);
                        let number = number.filter(|number| !is_absent(*number));
                        row.set(step, Out::Float(number.unwrap_or(value)));
                    }
                    Some(value) => row.set(step, value),
                    None => {}
                }
            }
            result.extend(rows.into_iter().filter(|row| !row.is_empty()));
        }
        self.budget.release(kept);
        self.hold(&result)?;
        Ok(result)
    }

    /// The `q` of `quantile` at each step; says so if it is none.
    fn quantile_param(&mut self, param: &Expr, grid: Grid) -> Eval<Vec<f64>> {
        let values = self.scalar(param, grid)?;
        let least = values.iter().copied().fold(f64::INFINITY, f64::min);
        let greatest = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        if values.iter().any(|q| q.is_nan()) {
            self.annotate(&Annotation::InvalidQuantile(f64::NAN), param.span());
        }
        if greatest > 1.0 {
            self.annotate(&Annotation::InvalidQuantile(greatest), param.span());
        }
        if least < 0.0 {
            self.annotate(&Annotation::InvalidQuantile(least), param.span());
        }
        Ok(values)
    }

    fn gather(&mut self, aggregate: &Aggregate, cell: &mut Cell, point: Point<'_>, metric: &str) {
        let span = aggregate.expr.span();
        match aggregate.op {
            AggregateOp::Sum | AggregateOp::Avg => {
                self.gather_sum(aggregate, cell, point, metric);
            }
            AggregateOp::Count | AggregateOp::Group => {
                cell.seen = true;
                let count = match cell.gathered {
                    Gathered::Count(count) => count,
                    _ => 0.0,
                };
                cell.gathered = Gathered::Count(count + 1.0);
            }
            op => match point {
                Point::Histogram(_) => {
                    let operator = op.name();
                    self.annotate(&Annotation::IgnoredInAggregation { operator }, span);
                }
                Point::Float(value) => {
                    cell.seen = true;
                    gather_float(op, &mut cell.gathered, value);
                }
            },
        }
    }

    fn gather_sum(
        &mut self,
        aggregate: &Aggregate,
        cell: &mut Cell,
        point: Point<'_>,
        metric: &str,
    ) {
        let span = aggregate.expr.span();
        let average = aggregate.op == AggregateOp::Avg;
        let first = !cell.seen;
        cell.seen = true;
        if cell.incompatible {
            return;
        }
        let histogram = match point {
            Point::Float(value) => {
                cell.has_float = true;
                match &mut cell.gathered {
                    Gathered::Sum(sum) => *sum = sum.plus(value),
                    Gathered::Mean(mean) => mean.add(value),
                    Gathered::Nothing if average => {
                        let mut mean = Mean::default();
                        mean.add(value);
                        cell.gathered = Gathered::Mean(mean);
                    }
                    Gathered::Nothing => cell.gathered = Gathered::Sum(Sum::new(value)),
                    // Mixed: nothing comes out anyway.
                    _ => {}
                }
                return;
            }
            Point::Histogram(histogram) => histogram,
        };
        cell.has_histogram = true;
        if !first
            && !matches!(
                cell.gathered,
                Gathered::HistogramSum(_) | Gathered::HistogramMean(_)
            )
        {
            return;
        }
        match histogram.reset_hint {
            ResetHint::Reset => cell.reset_seen = true,
            ResetHint::NotReset => cell.no_reset_seen = true,
            ResetHint::Unknown | ResetHint::Gauge => {}
        }
        let added = match &mut cell.gathered {
            Gathered::HistogramSum(sum) => sum.add(histogram, 1.0),
            Gathered::HistogramMean(mean) => mean.add(histogram),
            empty if average => {
                *empty = Gathered::HistogramMean(Box::new(HistogramMean::new(histogram)));
                return;
            }
            empty => {
                *empty = Gathered::HistogramSum(Box::new(Accumulator::new(histogram)));
                return;
            }
        };
        match added {
            Ok(added) if added.reconciled => {
                let operation = Operation::Aggregation;
                self.annotate(&Annotation::MismatchedCustomBuckets { operation }, span);
            }
            Ok(_) => {}
            Err(Incompatible) => {
                self.annotate(&Annotation::MixedSchemas { metric }, span);
                cell.incompatible = true;
            }
        }
    }

    /// What comes out of a group at a step.
    fn outcome(&mut self, aggregate: &Aggregate, cell: Cell, q: f64) -> Option<Out> {
        if cell.has_float && cell.has_histogram {
            let annotation = Annotation::MixedFloatsHistogramsInAggregation;
            self.annotate(&annotation, aggregate.expr.span());
            return None;
        }
        if cell.incompatible {
            return None;
        }
        if cell.reset_seen && cell.no_reset_seen {
            let operation = Operation::Aggregation;
            self.annotate(
                &Annotation::ResetCollision { operation },
                span_of(aggregate),
            );
        }
        let compacted = |h| Some(Out::Histogram(crate::histogram::compact(h).into()));
        let value = match cell.gathered {
            Gathered::Nothing => return None,
            Gathered::Count(_) if aggregate.op == AggregateOp::Group => 1.0,
            Gathered::Count(count) => count,
            Gathered::Sum(sum) => sum.total(),
            Gathered::Mean(mean) => mean.mean(),
            Gathered::Extreme(value) => value,
            Gathered::Variance(count, _, squares) => {
                let variance = squares / count;
                if aggregate.op == AggregateOp::Stddev {
                    variance.sqrt()
                } else {
                    variance
                }
            }
            Gathered::Values(mut values) => numbers::quantile(q, &mut values),
            Gathered::HistogramSum(sum) => return compacted(sum.total()),
            Gathered::HistogramMean(mean) => return compacted(mean.mean()),
        };
        Some(Out::Float(value))
    }

    /// How many series have each value.
    pub(super) fn count_values(&mut self, aggregate: &Aggregate, grid: Grid) -> Eval<Vec<Row>> {
        let label = match aggregate.param.as_deref() {
            Some(Expr::String(label)) if label.raw.is_none() && !label.value.is_empty() => {
                label.value.as_str()
            }
            Some(other) => return Err(execution(format!("invalid label name {other}"))),
            None => return Err(super::unsupported("count_values with a label")),
        };
        let rows = self.vector(&aggregate.expr, grid)?;
        let mut places: HashMap<LabelSet, usize> = HashMap::new();
        let mut result: Vec<Row> = Vec::new();
        for row in &rows {
            self.cancel.check()?;
            for step in 0..grid.len {
                let text = match row.point(step) {
                    None => continue,
                    Some(Point::Float(value)) => crate::text::format_float(value),
                    Some(Point::Histogram(histogram)) => crate::text::format_histogram(histogram),
                };
                let mut labels = row.labels.builder();
                labels.set(label, text);
                let group = group_labels(&labels.build(), aggregate, Some(label));
                let place = match places.get(&group) {
                    Some(place) => *place,
                    None => {
                        self.budget.take(empty_weight(grid.len))?;
                        result.push(Row::empty(group.clone(), grid.len));
                        places.insert(group, result.len() - 1);
                        result.len() - 1
                    }
                };
                let row = &mut result[place];
                let count = match row.point(step) {
                    Some(Point::Float(count)) => count,
                    _ => 0.0,
                };
                row.set(step, Out::Float(count + 1.0));
            }
        }
        self.release(&rows);
        self.budget
            .release(empty_weight(grid.len) * result.len() as u64);
        // New series have no order of their own; this one does not depend on when each value was met first.
        result.sort_by(|a, b| a.labels.cmp(&b.labels));
        self.hold(&result)?;
        self.settle(result, grid)
    }
}

fn span_of(aggregate: &Aggregate) -> Span {
    aggregate.expr.span()
}

fn gather_float(op: AggregateOp, gathered: &mut Gathered, value: f64) {
    match gathered {
        Gathered::Nothing => {
            *gathered = match op {
                AggregateOp::Quantile => Gathered::Values(vec![value]),
                AggregateOp::Stddev | AggregateOp::Stdvar => {
                    let squares = if value.is_finite() { 0.0 } else { f64::NAN };
                    Gathered::Variance(1.0, value, squares)
                }
                _ => Gathered::Extreme(value),
            };
        }
        Gathered::Extreme(best) => {
            let better = if op == AggregateOp::Max {
                *best < value
            } else {
                *best > value
            };
            if better || best.is_nan() {
                *best = value;
            }
        }
        Gathered::Variance(count, mean, squares) => {
            *count += 1.0;
            let delta = value - *mean;
            *mean += delta / *count;
            *squares += delta * (value - *mean);
        }
        Gathered::Values(values) => values.push(value),
        // The others belong to other operators.
        _ => {}
    }
}
