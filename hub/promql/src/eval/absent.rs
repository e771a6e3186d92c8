//! `absent` and `absent_over_time`: a series where there is none.

use model::{LabelSet, METRIC_NAME, MatchOp, Matcher};

use super::row::{ABSENT, Row};
use super::{Evaluator, Grid};
use crate::ast::Expr;

impl Evaluator<'_> {
    /// 1 at every step at which none of the rows has a value, with the labels that `arg` asks for.
    pub(super) fn absent_of(&self, rows: &[Row], arg: &Expr, grid: Grid) -> Vec<Row> {
        let absent = |step: usize| {
            if rows.iter().any(|row| row.has(step)) {
                ABSENT
            } else {
                1.0
            }
        };
        let row = Row::of_floats(labels_of(arg), (0..grid.len).map(absent).collect());
        if row.is_empty() {
            Vec::new()
        } else {
            vec![row]
        }
    }
}

/// The labels that a selector pins down by `=`, each by one matcher only.
fn labels_of(arg: &Expr) -> LabelSet {
    let matchers: &[Matcher] = match arg {
        Expr::Vector(selector) => &selector.matchers,
        Expr::Matrix(matrix) => &matrix.selector.matchers,
        _ => &[],
    };
    let mut labels = LabelSet::empty().builder();
    let mut seen: Vec<&str> = Vec::new();
    for matcher in matchers.iter().filter(|m| m.name() != METRIC_NAME) {
        if matcher.op() == MatchOp::Equal && !seen.contains(&matcher.name()) {
            labels.set(matcher.name(), matcher.value());
            seen.push(matcher.name());
        } else {
            labels.del(matcher.name());
        }
    }
    labels.build()
}
