//! What a binary operator makes of two values.

use std::sync::Arc;

use super::numbers::pow;
use super::row::{ABSENT, Out, Point, is_absent};
use crate::annotations::{Annotation, Operation};
use crate::ast::BinaryOp;
use crate::histogram;
use crate::histogram::trim::{Keep, trim};

/// The result for two values.
pub(super) struct Element {
    pub(super) value: Out,
    /// Whether a comparison holds; always true for arithmetic.
    pub(super) keep: bool,
    /// Beside a result.
    pub(super) note: Option<Annotation<'static>>,
}

/// Two numbers that both are scalars, or with `bool`.
pub(super) fn scalars(op: BinaryOp, left: f64, right: f64) -> f64 {
    match compare(op, left, right) {
        Some(holds) => f64::from(u8::from(holds)),
        None => arithmetic(op, left, right).unwrap_or(f64::NAN),
    }
}

fn arithmetic(op: BinaryOp, left: f64, right: f64) -> Option<f64> {
    Some(match op {
        BinaryOp::Add => left + right,
        BinaryOp::Sub => left - right,
        BinaryOp::Mul => left * right,
        BinaryOp::Div => left / right,
        BinaryOp::Mod => left % right,
        BinaryOp::Pow => pow(left, right),
        BinaryOp::Atan2 => left.atan2(right),
        _ => return None,
    })
}

fn compare(op: BinaryOp, left: f64, right: f64) -> Option<bool> {
    Some(match op {
        BinaryOp::Equal => left == right,
        BinaryOp::NotEqual => left != right,
        BinaryOp::Less => left < right,
        BinaryOp::LessEqual => left <= right,
        BinaryOp::Greater => left > right,
        BinaryOp::GreaterEqual => left >= right,
        _ => return None,
    })
}

/// Two columns of numbers: a result where both have one.
pub(super) fn columns(op: BinaryOp, return_bool: bool, left: &[f64], right: &[f64]) -> Vec<f64> {
    let each = |combine: &dyn Fn(f64, f64) -> f64| {
        let pairs = left.iter().zip(right);
        pairs
            .map(|(l, r)| {
                if is_absent(*l) || is_absent(*r) {
                    ABSENT
                } else {
                    combine(*l, *r)
                }
            })
            .collect()
    };
    match op {
        BinaryOp::Add => each(&|l, r| l + r),
        BinaryOp::Sub => each(&|l, r| l - r),
        BinaryOp::Mul => each(&|l, r| l * r),
        BinaryOp::Div => each(&|l, r| l / r),
        op if return_bool || !op.is_comparison() => each(&|l, r| scalars(op, l, r)),
        op => each(&|l, r| {
            if compare(op, l, r) == Some(true) {
                l
            } else {
                ABSENT
            }
        }),
    }
}

/// Two values of vectors; the error says why there is no result.
pub(super) fn elements(
    op: BinaryOp,
    left: Point<'_>,
    right: Point<'_>,
) -> Result<Element, Annotation<'static>> {
    let incompatible = |left, right| {
        Err(Annotation::IncompatibleTypes {
            left,
            operator: op.symbol(),
            right,
        })
    };
    let plain = |value: Out| {
        Ok(Element {
            value,
            keep: true,
            note: None,
        })
    };
    let compacted = |h| Out::Histogram(Arc::new(histogram::compact(h)));
    match (left, right) {
        (Point::Float(left), Point::Float(right)) => {
            if let Some(keep) = compare(op, left, right) {
                return Ok(Element {
                    value: Out::Float(left),
                    keep,
                    note: None,
                });
            }
            match arithmetic(op, left, right) {
                Some(value) => plain(Out::Float(value)),
                None => incompatible("float", "float"),
            }
        }
        (Point::Float(factor), Point::Histogram(h)) if op == BinaryOp::Mul => {
            plain(compacted(histogram::mul(h, factor)))
        }
        (Point::Float(_), Point::Histogram(_)) => incompatible("float", "histogram"),
        (Point::Histogram(h), Point::Float(number)) => match op {
            BinaryOp::Mul => plain(compacted(histogram::mul(h, number))),
            BinaryOp::Div => plain(compacted(histogram::div(h, number))),
            BinaryOp::TrimUpper => plain(Out::Histogram(Arc::new(trim(h, number, Keep::Below)))),
            BinaryOp::TrimLower => plain(Out::Histogram(Arc::new(trim(h, number, Keep::Above)))),
            _ => incompatible("histogram", "float"),
        },
        (Point::Histogram(left), Point::Histogram(right)) => match op {
            BinaryOp::Add | BinaryOp::Sub => {
                let (combined, operation) = if op == BinaryOp::Add {
                    (histogram::add(left, right), Operation::Addition)
                } else {
                    (histogram::sub(left, right), Operation::Subtraction)
                };
                let Ok(mut combined) = combined else {
                    let operator = op.symbol();
                    return Err(Annotation::IncompatibleBuckets { operator });
                };
                if combined.hints_collide {
                    return Err(Annotation::ResetCollision { operation });
                }
                if op == BinaryOp::Sub {
                    combined.histogram.reset_hint = model::ResetHint::Gauge;
                }
                let note = Annotation::MismatchedCustomBuckets { operation };
                Ok(Element {
                    value: compacted(combined.histogram),
                    keep: true,
                    note: combined.reconciled.then_some(note),
                })
            }
            BinaryOp::Equal | BinaryOp::NotEqual => Ok(Element {
                value: Out::Histogram(Arc::clone(left)),
                keep: histogram::equals(left, right) == (op == BinaryOp::Equal),
                note: None,
            }),
            _ => incompatible("histogram", "histogram"),
        },
    }
}
