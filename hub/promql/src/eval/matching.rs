//! Which series of two vectors belong together.

use std::collections::HashMap;

use model::{LabelSet, METRIC_NAME};

use super::row::{Row, without_metric};
use crate::ast::{BinaryOp, Cardinality, VectorMatching};

/// The match group of each row, as a number, for both sides.
pub(super) struct Groups {
    pub(super) left: Vec<usize>,
    pub(super) right: Vec<usize>,
    pub(super) count: usize,
}

impl Groups {
    pub(super) fn new(left: &[Row], right: &[Row], matching: &VectorMatching) -> Self {
        let mut numbers: HashMap<LabelSet, usize> = HashMap::new();
        let mut number = |row: &Row| {
            let next = numbers.len();
            *numbers
                .entry(match_labels(&row.labels, matching))
                .or_insert(next)
        };
        let left = left.iter().map(&mut number).collect();
        let right = right.iter().map(&mut number).collect();
        Groups {
            left,
            right,
            count: numbers.len(),
        }
    }
}

/// The labels that decide: those of `on`, or all but those of `ignoring` and the metric name.
pub(super) fn match_labels(labels: &LabelSet, matching: &VectorMatching) -> LabelSet {
    let named = |name: &str| matching.labels.iter().any(|label| label == name);
    if matching.on {
        labels.retain(named)
    } else {
        labels.retain(|name| name != METRIC_NAME && !named(name))
    }
}

/// The labels of a result: those of the side with many series, and what `group_left` or `group_right` includes from
/// the other.
pub(super) fn result_labels(
    many: &LabelSet,
    one: &LabelSet,
    op: BinaryOp,
    matching: &VectorMatching,
    drop_name: bool,
) -> LabelSet {
    let mut labels = if drop_name || changes_meaning(op) {
        without_metric(many)
    } else {
        many.clone()
    };
    if matching.cardinality == Cardinality::OneToOne {
        let named = |name: &str| matching.labels.iter().any(|label| label == name);
        labels = labels.retain(|name| named(name) == matching.on);
    }
    if matching.include.is_empty() {
        return labels;
    }
    let mut builder = labels.builder();
    for name in &matching.include {
        builder.set(name.as_str(), one.get(name).unwrap_or_default());
    }
    builder.build()
}

/// Whether the result is another metric than the operand: arithmetic, not comparisons.
pub(super) fn changes_meaning(op: BinaryOp) -> bool {
    matches!(
        op,
        BinaryOp::Add
            | BinaryOp::Sub
            | BinaryOp::Mul
            | BinaryOp::Div
            | BinaryOp::Mod
            | BinaryOp::Pow
            | BinaryOp::Atan2
    )
}
