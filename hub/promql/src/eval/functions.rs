//! Functions of numbers and instant vectors.

use model::LabelSet;

use super::dates::date_function;
use super::numbers::{max, min};
use super::range::range_argument;
use super::row::{ABSENT, Row, is_absent};
use super::selector::When;
use super::{Eval, Evaluator, Grid, Out};
use crate::annotations::Annotation;
use crate::ast::{Call, Expr, VectorSelector};
use crate::functions::FunctionId;

impl Evaluator<'_> {
    /// Functions that give a scalar.
    pub(super) fn scalar_call(&mut self, call: &Call, grid: Grid) -> Eval<Vec<f64>> {
        let two = |evaluator: &mut Self, combine: fn(f64, f64) -> f64| {
            let a = evaluator.scalar(&call.args[0], grid)?;
            let b = evaluator.scalar(&call.args[1], grid)?;
            Ok(a.into_iter().zip(b).map(|(a, b)| combine(a, b)).collect())
        };
        match call.function.id {
            FunctionId::Time => Ok((0..grid.len)
                .map(|step| grid.time(step) as f64 / 1000.0)
                .collect()),
            FunctionId::Pi => Ok(vec![std::f64::consts::PI; grid.len]),
            FunctionId::MaxOf => two(self, max),
            FunctionId::MinOf => two(self, min),
            FunctionId::Scalar => {
                let rows = self.vector(&call.args[0], grid)?;
                self.release(&rows);
                let only = |step: usize| {
                    let mut values = rows.iter().map(|row| row.floats[step]);
                    let mut values = values.by_ref().filter(|value| !is_absent(*value));
                    match (values.next(), values.next()) {
                        (Some(value), None) => value,
                        _ => f64::NAN,
                    }
                };
                Ok((0..grid.len).map(only).collect())
            }
            _ => Err(super::unsupported("scalar")),
        }
    }

    /// Functions that give an instant vector.
    pub(super) fn vector_call(&mut self, call: &Call, grid: Grid) -> Eval<Vec<Row>> {
        let id = call.function.id;
        if let (FunctionId::Timestamp | FunctionId::StartTimestamp, Expr::Vector(selector)) =
            (id, call.args.first().map_or(&NOTHING, |arg| arg))
        {
            return self.times_of_samples(selector, grid, id == FunctionId::StartTimestamp);
        }
        if let Some(at) = range_argument(call) {
            return self.range_call(call, at, grid);
        }
        if let Some(change) = float_function(id) {
            let rows = self.vector(&call.args[0], grid)?;
            return self.map_floats(rows, grid, |_, value| Some(change(value)));
        }
        if let Some(of_date) = date_function(id) {
            return self.date_call(call, grid, of_date);
        }
        match id {
            FunctionId::Vector => {
                let values = self.scalar(&call.args[0], grid)?;
                Ok(vec![Row::of_floats(LabelSet::empty(), values)])
            }
            FunctionId::Absent => {
                let rows = self.vector(&call.args[0], grid)?;
                self.release(&rows);
                Ok(self.absent_of(&rows, &call.args[0], grid))
            }
            FunctionId::Clamp => {
                let rows = self.vector(&call.args[0], grid)?;
                let low = self.scalar(&call.args[1], grid)?;
                let high = self.scalar(&call.args[2], grid)?;
                self.clamp(rows, grid, |step| (low[step], high[step]))
            }
            FunctionId::ClampMin => {
                let rows = self.vector(&call.args[0], grid)?;
                let low = self.scalar(&call.args[1], grid)?;
                self.clamp(rows, grid, |step| (low[step], f64::INFINITY))
            }
            FunctionId::ClampMax => {
                let rows = self.vector(&call.args[0], grid)?;
                let high = self.scalar(&call.args[1], grid)?;
                self.clamp(rows, grid, |step| (f64::NEG_INFINITY, high[step]))
            }
            FunctionId::Round => {
                let rows = self.vector(&call.args[0], grid)?;
                let nearest = match call.args.get(1) {
                    Some(nearest) => self.scalar(nearest, grid)?,
                    None => vec![1.0; grid.len],
                };
                self.map_floats(rows, grid, |step, value| {
                    // Inverted, which loses less to rounding.
                    let inverse = 1.0 / nearest[step];
                    Some((value * inverse + 0.5).floor() / inverse)
                })
            }
            // Of anything but a selector: the time of evaluation.
            FunctionId::Timestamp => {
                let rows = self.vector(&call.args[0], grid)?;
                let changed = rows.into_iter().map(|row| {
                    let mut times = Row::empty(row.labels.clone(), grid.len);
                    for step in (0..grid.len).filter(|step| row.has(*step)) {
                        times.floats[step] = grid.time(step) as f64 / 1000.0;
                    }
                    times
                });
                let changed = changed.collect();
                self.map_floats(changed, grid, |_, value| Some(value))
            }
            FunctionId::StartTimestamp => {
                self.vector(&call.args[0], grid)?;
                Ok(Vec::new())
            }
            FunctionId::Sort
            | FunctionId::SortDesc
            | FunctionId::SortByLabel
            | FunctionId::SortByLabelDesc => {
                if grid.len > 1 {
                    self.annotate(&Annotation::SortInRangeQuery, call.span);
                }
                self.sort(call, grid)
            }
            FunctionId::LabelReplace => self.label_replace(call, grid),
            FunctionId::LabelJoin => self.label_join(call, grid),
            FunctionId::HistogramCount
            | FunctionId::HistogramSum
            | FunctionId::HistogramAvg
            | FunctionId::HistogramStddev
            | FunctionId::HistogramStdvar
            | FunctionId::HistogramFraction
            | FunctionId::HistogramQuantile
            | FunctionId::HistogramQuantiles => self.histogram_call(call, grid),
            FunctionId::Info => self.info(call, grid),
            _ => Err(super::execution(format!(
                "function {} is not supported here",
                call.function.name
            ))),
        }
    }

    /// Every number changed, histograms left out, the name dropped. None leaves the number out.
    pub(super) fn map_floats(
        &mut self,
        rows: Vec<Row>,
        grid: Grid,
        change: impl Fn(usize, f64) -> Option<f64>,
    ) -> Eval<Vec<Row>> {
        let mut changed = Vec::with_capacity(rows.len());
        for mut row in rows {
            row.histograms = None;
            for step in 0..grid.len {
                let value = row.floats[step];
                if !is_absent(value) {
                    row.floats[step] = change(step, value).unwrap_or(ABSENT);
                }
            }
            if !row.is_empty() {
                self.drop_name(&mut row);
                changed.push(row);
            }
        }
        self.settle(changed, grid)
    }

    fn clamp(
        &mut self,
        rows: Vec<Row>,
        grid: Grid,
        bounds: impl Fn(usize) -> (f64, f64),
    ) -> Eval<Vec<Row>> {
        self.map_floats(rows, grid, |step, value| {
            let (low, high) = bounds(step);
            if high < low {
                return None;
            }
            Some(max(low, min(high, value)))
        })
    }

    /// When the samples that a selector finds were taken, or since when they count.
    fn times_of_samples(
        &mut self,
        selector: &VectorSelector,
        grid: Grid,
        starts: bool,
    ) -> Eval<Vec<Row>> {
        let when = When::new(selector.at, selector.offset.millis());
        let with_starts = self.options.start_timestamps;
        let rows = self.newest(selector, when, grid, |row, step, series, at| {
            let time = if starts {
                series.starts.get(at).copied().unwrap_or(0)
            } else {
                series.timestamps[at]
            };
            row.set(step, Out::Float(time as f64 / 1000.0));
        })?;
        rows.iter().for_each(|row| self.counts.add_row(row));
        if starts && !with_starts {
            return Ok(Vec::new());
        }
        self.map_floats(rows, grid, |_, value| Some(value))
    }
}

/// Stands for an argument that is not there.
static NOTHING: Expr = Expr::Number(crate::ast::NumberLiteral {
    value: 0.0,
    is_duration: false,
    span: crate::ast::Span::ZERO,
});

fn float_function(id: FunctionId) -> Option<fn(f64) -> f64> {
    Some(match id {
        FunctionId::Abs => f64::abs,
        FunctionId::Ceil => f64::ceil,
        FunctionId::Floor => f64::floor,
        FunctionId::Exp => f64::exp,
        FunctionId::Sqrt => f64::sqrt,
        FunctionId::Ln => f64::ln,
        FunctionId::Log2 => f64::log2,
        FunctionId::Log10 => f64::log10,
        FunctionId::Sin => f64::sin,
        FunctionId::Cos => f64::cos,
        FunctionId::Tan => f64::tan,
        FunctionId::Asin => f64::asin,
        FunctionId::Acos => f64::acos,
        FunctionId::Atan => f64::atan,
        FunctionId::Sinh => f64::sinh,
        FunctionId::Cosh => f64::cosh,
        FunctionId::Tanh => f64::tanh,
        FunctionId::Asinh => f64::asinh,
        FunctionId::Acosh => f64::acosh,
        FunctionId::Atanh => f64::atanh,
        FunctionId::Rad => |value| value * std::f64::consts::PI / 180.0,
        FunctionId::Deg => |value| value * 180.0 / std::f64::consts::PI,
        FunctionId::Sgn => |value| match value {
            value if value < 0.0 => -1.0,
            value if value > 0.0 => 1.0,
            value => value,
        },
        _ => return None,
    })
}
