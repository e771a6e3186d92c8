//! Evaluation. Every node is evaluated over the whole grid of steps at once: series are read once, as columns, and
//! windows slide over them.

mod absent;
mod aggregate;
mod binary;
mod binary_elements;
mod chunks;
mod counts;
mod dates;
mod fold;
mod functions;
mod histogram_functions;
mod info;
mod label_functions;
mod leaf;
mod matching;
pub(crate) mod numbers;
pub(crate) mod prepare;
mod range;
mod range_functions;
mod row;
mod samples;
mod select_k;
mod selector;
mod smoothed;
mod sort;
mod subquery;

pub(crate) use range::range_argument;
pub(crate) use row::{Grid, Out, Point, Row};

use counts::Counts;
use leaf::Leaf;
use model::LabelSet;

use crate::annotations::{Annotation, Annotations};
use crate::ast::{Aggregate, AggregateOp, BinaryOp, Call, Expr, Span, ValueType};
use crate::engine::EngineOptions;
use crate::functions::FunctionId;
use crate::limits::{Budget, Cancel, Weight};
use crate::result::{QueryError, QueryStats, RangeSeries};
use crate::stack::deep;
use crate::storage::Storage;

type Eval<T> = Result<T, QueryError>;

/// Takes the rows of a vector one by one.
type Sink<'s> = dyn FnMut(&mut Evaluator<'_>, Row) -> Eval<()> + 's;

/// The function or aggregation around what is being evaluated: a hint for the storage.
#[derive(Clone, Default)]
struct Around {
    function: &'static str,
    grouping: Vec<String>,
    by: bool,
}

/// What of native histograms the functions around a selector use.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Buckets {
    /// Nothing special.
    Kept,
    /// Only counts and sums: the buckets are used up to tell resets, and then left out.
    Dropped,
    /// Something further out needs the buckets, whatever is further in.
    Needed,
}

/// Evaluates one query.
pub(crate) struct Evaluator<'a> {
    storage: &'a dyn Storage,
    options: &'a EngineOptions,
    lookback_ms: i64,
    cancel: &'a Cancel,
    budget: &'a Budget,
    annotations: Annotations,
    stats: QueryStats,
    counts: Counts,
    around: Around,
    buckets: Buckets,
}

impl Buckets {
    /// What is used inside a function.
    fn inside(self, function: FunctionId) -> Self {
        match function {
            _ if self == Buckets::Needed => self,
            FunctionId::HistogramCount | FunctionId::HistogramSum | FunctionId::HistogramAvg => {
                Buckets::Dropped
            }
            FunctionId::HistogramQuantile
            | FunctionId::HistogramQuantiles
            | FunctionId::HistogramFraction => Buckets::Needed,
            _ => self,
        }
    }
}

impl<'a> Evaluator<'a> {
    pub(crate) fn new(
        storage: &'a dyn Storage,
        options: &'a EngineOptions,
        lookback_ms: i64,
        cancel: &'a Cancel,
        budget: &'a Budget,
    ) -> Self {
        Evaluator {
            storage,
            options,
            lookback_ms,
            cancel,
            budget,
            annotations: Annotations::default(),
            stats: QueryStats::default(),
            counts: Counts::default(),
            around: Around::default(),
            buckets: Buckets::Kept,
        }
    }

    /// An evaluator of the same query for another thread.
    fn sibling(&self) -> Self {
        Evaluator {
            counts: self.counts.sibling(),
            ..Evaluator::new(
                self.storage,
                self.options,
                self.lookback_ms,
                self.cancel,
                self.budget,
            )
        }
    }

    /// From now on samples are counted for each of so many steps, too.
    pub(crate) fn count_by_step(&mut self, steps: usize) -> Eval<()> {
        let threads = self.options.threads.clamp(1, 64);
        self.counts = Counts::by_step(steps, threads, self.budget)?;
        Ok(())
    }

    /// Takes over what a sibling has to say.
    fn take_over(&mut self, (annotations, stats): (Annotations, QueryStats)) {
        self.annotations.merge(annotations);
        self.stats.series_read += stats.series_read;
        self.stats.histograms_read |= stats.histograms_read;
    }

    /// What there is to say so far, but for the counts of samples; from now on, what comes later.
    fn take_parts(&mut self) -> (Annotations, QueryStats) {
        (
            std::mem::take(&mut self.annotations),
            std::mem::take(&mut self.stats),
        )
    }

    /// All that there is to say of a query over these steps.
    pub(crate) fn into_parts(self, grid: Grid) -> (Annotations, QueryStats) {
        let mut stats = self.stats;
        (
            stats.queryable_samples,
            stats.samples_read,
            stats.samples_by_step,
        ) = self.counts.into_parts(grid);
        (self.annotations, stats)
    }

    /// Evaluates at the first step what is the same at all of them.
    fn once<T>(&mut self, grid: Grid, body: impl FnOnce(&mut Self, Grid) -> Eval<T>) -> Eval<T> {
        let counts = std::mem::take(&mut self.counts);
        let result = body(self, grid.first());
        let once = std::mem::replace(&mut self.counts, counts);
        self.counts.add_invariant(grid.len, &once);
        result
    }

    /// An expression that is the whole query: names that are to go are gone. A scalar is a row without labels.
    pub(crate) fn whole(&mut self, expr: &Expr, grid: Grid) -> Eval<Vec<Row>> {
        if expr.value_type() == ValueType::Scalar {
            let values = self.scalar(expr, grid)?;
            return Ok(vec![Row::of_floats(LabelSet::empty(), values)]);
        }
        let mut rows = self.vector(expr, grid)?;
        if !self.options.delayed_name_removal {
            return Ok(rows);
        }
        for row in rows.iter_mut().filter(|row| row.drop_name) {
            row.labels = row::without_metric(&row.labels);
        }
        rows.retain(|row| !row.is_empty());
        row::merge_same_labels(rows)
    }

    /// A range vector that is the whole query.
    pub(crate) fn matrix(&mut self, expr: &Expr, grid: Grid) -> Eval<Vec<RangeSeries>> {
        let mut series = match expr.without_parens() {
            Expr::Matrix(matrix) => self.matrix_selector(matrix, grid)?,
            Expr::Subquery(subquery) => self.whole_subquery(subquery, grid)?,
            _ => return Err(unsupported("range vector")),
        };
        series.retain(|series| !series.floats.is_empty() || !series.histograms.is_empty());
        series.sort_by(|a, b| a.labels.cmp(&b.labels));
        Ok(series)
    }

    /// A scalar: a number per step.
    pub(crate) fn scalar(&mut self, expr: &Expr, grid: Grid) -> Eval<Vec<f64>> {
        self.cancel.check()?;
        if grid.len > 1 && prepare::is_step_invariant(expr) {
            let first = self.once(grid, |evaluator, first| evaluator.scalar(expr, first))?;
            return Ok(vec![first[0]; grid.len]);
        }
        deep(|| match expr {
            Expr::Number(number) => Ok(vec![number.value; grid.len]),
            Expr::Paren(paren) => self.scalar(&paren.expr, grid),
            Expr::Unary(unary) => {
                let mut values = self.scalar(&unary.expr, grid)?;
                if unary.negative {
                    values.iter_mut().for_each(|value| *value = -*value);
                }
                Ok(values)
            }
            Expr::Binary(binary) => self.scalar_binary(binary, grid),
            Expr::Call(call) => self.scalar_call(call, grid),
            _ => Err(unsupported("scalar")),
        })
    }

    /// An instant vector: a row per series.
    pub(crate) fn vector(&mut self, expr: &Expr, grid: Grid) -> Eval<Vec<Row>> {
        self.cancel.check()?;
        if grid.len == 0 {
            return Ok(Vec::new());
        }
        if grid.len > 1 && prepare::is_step_invariant(expr) {
            let rows = self.once(grid, |evaluator, first| evaluator.vector(expr, first))?;
            let rows: Vec<Row> = rows.into_iter().map(|row| row.spread(grid.len)).collect();
            self.hold(&rows)?;
            return Ok(rows);
        }
        deep(|| match expr {
            Expr::Vector(_) | Expr::Call(_) if let Some(leaf) = self.open_leaf(expr, grid)? => {
                self.rows_of_vector(expr, &leaf)
            }
            Expr::Vector(selector) => self.smoothed_selector(selector, grid),
            Expr::Paren(paren) => self.vector(&paren.expr, grid),
            Expr::Unary(unary) => {
                let rows = self.vector(&unary.expr, grid)?;
                if unary.negative {
                    self.negate(rows)
                } else {
                    Ok(rows)
                }
            }
            Expr::Binary(binary) => {
                let around = std::mem::take(&mut self.around);
                let buckets = self.buckets;
                if matches!(binary.op, BinaryOp::TrimUpper | BinaryOp::TrimLower) {
                    self.buckets = Buckets::Needed;
                }
                let rows = self.vector_binary(binary, grid);
                self.around = around;
                self.buckets = buckets;
                rows
            }
            Expr::Aggregate(aggregate) => self.aggregate(aggregate, grid),
            Expr::Call(call) => self.in_call(call, |evaluator| evaluator.vector_call(call, grid)),
            _ => Err(unsupported("instant vector")),
        })
    }

    fn rows_of_vector(&mut self, expr: &Expr, leaf: &Leaf<'_>) -> Eval<Vec<Row>> {
        let rows = self.rows_of_leaf(leaf)?;
        if let Expr::Call(call) = expr.without_parens()
            && call.function.id == FunctionId::AbsentOverTime
            && let Some(at) = range::range_argument(call)
        {
            self.release(&rows);
            return Ok(self.absent_of(&rows, &call.args[at], leaf.grid));
        }
        Ok(rows)
    }

    /// An instant vector, row by row where it can be had so: nothing but the row at hand is held.
    fn each_row(&mut self, expr: &Expr, grid: Grid, sink: &mut Sink<'_>) -> Eval<()> {
        self.cancel.check()?;
        let whole_at_once = grid.len == 0 || grid.len > 1 && prepare::is_step_invariant(expr);
        if let Expr::Call(call) = expr.without_parens()
            && !whole_at_once
            && call.function.id != FunctionId::AbsentOverTime
            && let Some(at) = range::range_argument(call)
            && matches!(call.args[at], Expr::Subquery(_))
        {
            return self.in_call(call, |evaluator| {
                evaluator.each_of_range(call, at, grid, sink)
            });
        }
        let mut rows = self.vector(expr, grid)?;
        self.release(&rows);
        // Folding in one order gives bit-equal answers, however the rows came about.
        if !rows.is_sorted_by(|a, b| a.labels <= b.labels) {
            rows.sort_by(|a, b| a.labels.cmp(&b.labels));
        }
        rows.into_iter().try_for_each(|row| sink(self, row))
    }

    /// Evaluates inside a call: what is further in knows what it is for.
    fn in_call<T>(&mut self, call: &Call, body: impl FnOnce(&mut Self) -> Eval<T>) -> Eval<T> {
        let around = Around {
            function: call.function.name,
            ..Around::default()
        };
        let around = std::mem::replace(&mut self.around, around);
        let buckets = self.buckets;
        self.buckets = buckets.inside(call.function.id);
        let result = body(self);
        self.around = around;
        self.buckets = buckets;
        result
    }

    fn aggregate(&mut self, aggregate: &Aggregate, grid: Grid) -> Eval<Vec<Row>> {
        let around = Around {
            function: aggregate.op.name(),
            grouping: aggregate.grouping.clone(),
            by: !aggregate.without,
        };
        let around = std::mem::replace(&mut self.around, around);
        let rows = match aggregate.op {
            AggregateOp::Topk
            | AggregateOp::Bottomk
            | AggregateOp::Limitk
            | AggregateOp::LimitRatio => self.select_k(aggregate, grid),
            AggregateOp::CountValues => self.count_values(aggregate, grid),
            _ => self.fold(aggregate, grid),
        };
        self.around = around;
        rows
    }

    fn negate(&mut self, mut rows: Vec<Row>) -> Eval<Vec<Row>> {
        for row in &mut rows {
            self.drop_name(row);
            for value in row.floats.iter_mut().filter(|v| !row::is_absent(**v)) {
                *value = -*value;
            }
            for histogram in row.histograms.iter_mut().flatten().flatten() {
                *histogram = crate::histogram::mul(histogram, -1.0).into();
            }
        }
        if self.options.delayed_name_removal {
            Ok(rows)
        } else {
            row::merge_same_labels(rows)
        }
    }

    /// The metric name goes: now, or at the end of the evaluation.
    fn drop_name(&self, row: &mut Row) {
        if !self.options.delayed_name_removal {
            row.labels = row::without_metric(&row.labels);
        }
        row.drop_name = true;
    }

    /// Rows whose labels may have become equal: merged, or an error if both have a value at a step. A single instant
    /// with delayed name removal keeps them apart until the end, as Prometheus does.
    fn settle(&self, rows: Vec<Row>, grid: Grid) -> Eval<Vec<Row>> {
        if self.options.delayed_name_removal {
            return if grid.len > 1 {
                row::merge_same_series(rows)
            } else {
                Ok(rows)
            };
        }
        if grid.len > 1 {
            return row::merge_same_labels(rows);
        }
        if row::has_same_labels(&rows) {
            return Err(row::same_labels_error());
        }
        Ok(rows)
    }

    /// Counts rows that are now held.
    fn hold(&self, rows: &[Row]) -> Eval<()> {
        let weight: Weight = rows.iter().map(Row::weight).sum();
        Ok(self.budget.take(weight)?)
    }

    /// Rows that are not needed any more.
    fn release(&self, rows: &[Row]) {
        self.budget
            .release(rows.iter().map(Row::weight).sum::<Weight>());
    }

    fn annotate(&mut self, annotation: &Annotation<'_>, span: Span) {
        self.annotations.add(annotation, span);
    }
}

/// The parser lets nothing through that ends here.
fn unsupported(wanted: &str) -> QueryError {
    QueryError::Execution(format!("expression is no {wanted}"))
}

fn execution(message: impl Into<String>) -> QueryError {
    QueryError::Execution(message.into())
}
