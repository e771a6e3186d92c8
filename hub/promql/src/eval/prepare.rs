//! What is known before the evaluation: durations that are expressions get their value, `start()` and its kin become
//! numbers, `@ start()` becomes a time. And which parts have the same value at every step.

use super::Grid;
use crate::ast::{
    At, DurationExpr, DurationOp, Expr, NumberLiteral, SignedDuration, Span, VectorSelector,
};
use crate::functions::FunctionId;
use crate::result::QueryError;
use crate::stack::deep;

/// What durations and times depend on.
struct Known {
    start_ms: i64,
    end_ms: i64,
    /// Of a range query; 0 otherwise.
    step_ms: i64,
    range_ms: i64,
}

/// The expression with everything computed that does not need samples.
pub(crate) fn prepare(expr: &Expr, grid: Grid, range_ms: i64) -> Result<Expr, QueryError> {
    let known = Known {
        start_ms: grid.start,
        end_ms: grid.start.saturating_add(range_ms),
        step_ms: if range_ms == 0 && grid.len == 1 && grid.step == 1 {
            0
        } else {
            grid.step
        },
        range_ms,
    };
    let mut expr = expr.clone();
    known.prepare(&mut expr)?;
    Ok(expr)
}

impl Known {
    fn prepare(&self, expr: &mut Expr) -> Result<(), QueryError> {
        deep(|| {
            match expr {
                Expr::Number(_) | Expr::String(_) => {}
                Expr::Vector(selector) => self.prepare_selector(selector)?,
                Expr::Matrix(matrix) => {
                    self.prepare_selector(&mut matrix.selector)?;
                    if let Some(range) = &matrix.range_expr {
                        matrix.range = self.duration(range, false)?;
                    }
                }
                Expr::Subquery(subquery) => {
                    self.prepare(&mut subquery.expr)?;
                    self.prepare_at(&mut subquery.at);
                    if let Some(offset) = &subquery.offset_expr {
                        subquery.offset = self.duration(offset, true)?;
                    }
                    if let Some(step) = &subquery.step_expr {
                        subquery.step = self.duration(step, false)?;
                    }
                    if let Some(range) = &subquery.range_expr {
                        subquery.range = self.duration(range, false)?;
                    }
                }
                Expr::Call(call) => {
                    if let Some(value) = self.constant(call.function.id) {
                        *expr = Expr::Number(NumberLiteral {
                            value,
                            is_duration: false,
                            span: call.span,
                        });
                        return Ok(());
                    }
                    for arg in &mut call.args {
                        self.prepare(arg)?;
                        unwrap_parens(arg);
                    }
                }
                Expr::Aggregate(aggregate) => {
                    for operand in [Some(&mut aggregate.expr), aggregate.param.as_mut()]
                        .into_iter()
                        .flatten()
                    {
                        self.prepare(operand)?;
                        unwrap_parens(operand);
                    }
                }
                Expr::Binary(binary) => {
                    self.prepare(&mut binary.lhs)?;
                    self.prepare(&mut binary.rhs)?;
                }
                Expr::Unary(unary) => self.prepare(&mut unary.expr)?,
                Expr::Paren(paren) => self.prepare(&mut paren.expr)?,
            }
            Ok(())
        })
    }

    fn prepare_selector(&self, selector: &mut VectorSelector) -> Result<(), QueryError> {
        self.prepare_at(&mut selector.at);
        if let Some(offset) = &selector.offset_expr {
            selector.offset = self.duration(offset, true)?;
        }
        Ok(())
    }

    fn prepare_at(&self, at: &mut Option<At>) {
        *at = at.map(|at| match at {
            At::Start => At::Time(self.start_ms),
            At::End => At::Time(self.end_ms),
            at => at,
        });
    }

    /// The value of the functions that only depend on the query.
    fn constant(&self, function: FunctionId) -> Option<f64> {
        let seconds = |ms: i64| ms as f64 / 1000.0;
        match function {
            FunctionId::Start => Some(seconds(self.start_ms)),
            FunctionId::End => Some(seconds(self.end_ms)),
            FunctionId::Range => Some(seconds(self.range_ms)),
            FunctionId::Step => Some(if self.range_ms == 0 {
                0.0
            } else {
                seconds(self.step_ms)
            }),
            _ => None,
        }
    }

    fn duration(
        &self,
        expr: &DurationExpr,
        may_be_negative: bool,
    ) -> Result<SignedDuration, QueryError> {
        const LIMIT: f64 = (1_u64 << 63) as f64 / 1e9;
        let fail = |what: &str| Err(placed(expr.span(), what));
        let seconds = self.seconds(expr)?;
        if !seconds.is_finite() {
            return fail("duration is NaN or infinite");
        }
        if seconds <= 0.0 && !may_be_negative {
            return fail("duration must be greater than 0");
        }
        if seconds.abs() > LIMIT {
            return fail("duration is out of range");
        }
        Ok(SignedDuration::from_millis((seconds * 1000.0) as i64))
    }

    fn seconds(&self, expr: &DurationExpr) -> Result<f64, QueryError> {
        let operation = match expr {
            DurationExpr::Number(number) => return Ok(number.value),
            DurationExpr::Operation(operation) => operation,
        };
        deep(|| {
            let operand = |side: &Option<Box<DurationExpr>>| match side {
                Some(side) => self.seconds(side),
                None => Ok(0.0),
            };
            let (left, right) = (operand(&operation.lhs)?, operand(&operation.rhs)?);
            Ok(match operation.op {
                DurationOp::Step => self.step_ms as f64 / 1000.0,
                DurationOp::Range => self.range_ms as f64 / 1000.0,
                DurationOp::MinOf => super::numbers::min(left, right),
                DurationOp::MaxOf => super::numbers::max(left, right),
                DurationOp::Add => left + right,
                DurationOp::Sub if operation.lhs.is_none() => -right,
                DurationOp::Sub => left - right,
                DurationOp::Mul => left * right,
                DurationOp::Div if right == 0.0 => {
                    return Err(placed(expr.span(), "division by zero"));
                }
                DurationOp::Div => left / right,
                DurationOp::Mod if right == 0.0 => {
                    return Err(placed(expr.span(), "modulo by zero"));
                }
                DurationOp::Mod => left % right,
                DurationOp::Pow => super::numbers::pow(left, right),
            })
        })
    }
}

fn placed(span: Span, what: &str) -> QueryError {
    QueryError::Execution(format!("{}:{}: {what}", span.start, span.end))
}

fn unwrap_parens(expr: &mut Expr) {
    while let Expr::Paren(paren) = expr {
        let filler = Expr::Number(NumberLiteral {
            value: 0.0,
            is_duration: false,
            span: paren.span,
        });
        *expr = std::mem::replace(&mut *paren.expr, filler);
    }
}

/// Whether the value is the same at every step, and whether evaluating it once is worth the while and safe: ranges
/// are, but have steps of their own, and literals cost nothing.
pub(crate) fn is_step_invariant(expr: &Expr) -> bool {
    matches!(invariance(expr), (true, true))
}

fn invariance(expr: &Expr) -> (bool, bool) {
    deep(|| match expr {
        Expr::Number(_) | Expr::String(_) => (true, false),
        Expr::Vector(selector) => (selector.at.is_some(), selector.at.is_some()),
        Expr::Matrix(matrix) => (matrix.selector.at.is_some(), false),
        Expr::Subquery(subquery) => (subquery.at.is_some(), false),
        Expr::Aggregate(aggregate) => invariance(&aggregate.expr),
        Expr::Paren(paren) => invariance(&paren.expr),
        Expr::Unary(unary) => invariance(&unary.expr),
        Expr::Binary(binary) => {
            let both = invariance(&binary.lhs).0 && invariance(&binary.rhs).0;
            (both, both)
        }
        Expr::Call(call) => {
            let args_are = call.args.iter().all(|arg| invariance(arg).0);
            let of_selectors = call.args.iter().all(|arg| matches!(arg, Expr::Vector(_)));
            let is = args_are
                && match call.function.id {
                    FunctionId::Timestamp => of_selectors,
                    id => !depends_on_time(id),
                };
            (is, is)
        }
    })
}

/// Functions whose value changes with the time of evaluation although their arguments do not.
fn depends_on_time(id: FunctionId) -> bool {
    matches!(
        id,
        FunctionId::DaysInMonth
            | FunctionId::DayOfMonth
            | FunctionId::DayOfWeek
            | FunctionId::DayOfYear
            | FunctionId::Hour
            | FunctionId::Minute
            | FunctionId::Month
            | FunctionId::Year
            | FunctionId::PredictLinear
            | FunctionId::Time
            | FunctionId::Timestamp
    )
}
