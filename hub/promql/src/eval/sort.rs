//! `sort` and its kin: the order of an instant query's answer.

use std::cmp::Ordering;

use super::row::{Row, is_absent};
use super::{Eval, Evaluator, Grid};
use crate::ast::{Call, Expr};
use crate::functions::FunctionId;

impl Evaluator<'_> {
    pub(super) fn sort(&mut self, call: &Call, grid: Grid) -> Eval<Vec<Row>> {
        let mut rows = self.vector(&call.args[0], grid)?;
        let id = call.function.id;
        if matches!(id, FunctionId::Sort | FunctionId::SortDesc) {
            // Only numbers have an order.
            for row in &mut rows {
                row.histograms = None;
            }
            rows.retain(|row| !row.is_empty());
        }
        if grid.len > 1 {
            return Ok(rows);
        }
        let names: Vec<&str> = call.args[1..].iter().map(literal).collect();
        match id {
            FunctionId::Sort => rows.sort_by(|a, b| by_value(a, b, false)),
            FunctionId::SortDesc => rows.sort_by(|a, b| by_value(a, b, true)),
            FunctionId::SortByLabel => rows.sort_by(|a, b| by_labels(a, b, &names)),
            _ => rows.sort_by(|a, b| by_labels(b, a, &names)),
        }
        Ok(rows)
    }
}

/// A string argument.
pub(super) fn literal(arg: &Expr) -> &str {
    match arg {
        Expr::String(literal) => &literal.value,
        _ => "",
    }
}

/// NaN comes last either way.
fn by_value(a: &Row, b: &Row, descending: bool) -> Ordering {
    let (a, b) = (a.floats[0], b.floats[0]);
    debug_assert!(!is_absent(a) && !is_absent(b));
    match (a.is_nan(), b.is_nan()) {
        (true, true) => Ordering::Equal,
        (true, false) => Ordering::Greater,
        (false, true) => Ordering::Less,
        (false, false) if descending => b.total_cmp(&a),
        (false, false) => a.total_cmp(&b),
    }
}

fn by_labels(a: &Row, b: &Row, names: &[&str]) -> Ordering {
    for name in names {
        let a = a.labels.get(name).unwrap_or_default();
        let b = b.labels.get(name).unwrap_or_default();
        let order = natural(a, b);
        if order != Ordering::Equal {
            return order;
        }
    }
    a.labels.cmp(&b.labels)
}

/// Numbers inside texts are compared by what they are worth: `node2` before `node10`.
fn natural(a: &str, b: &str) -> Ordering {
    let (mut a_parts, mut b_parts) = (parts(a), parts(b));
    loop {
        let order = match (a_parts.next(), b_parts.next()) {
            (None, None) => return a.cmp(b),
            (None, Some(_)) => Ordering::Less,
            (Some(_), None) => Ordering::Greater,
            (Some((a, true)), Some((b, true))) => {
                let (a, b) = (a.trim_start_matches('0'), b.trim_start_matches('0'));
                a.len().cmp(&b.len()).then_with(|| a.cmp(b))
            }
            (Some((a, _)), Some((b, _))) => a.cmp(b),
        };
        if order != Ordering::Equal {
            return order;
        }
    }
}

/// The text cut into runs of digits and runs of everything else; whether each is of digits.
fn parts(text: &str) -> impl Iterator<Item = (&str, bool)> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let digits = rest.chars().next()?.is_ascii_digit();
        let end = rest
            .find(|c: char| c.is_ascii_digit() != digits)
            .unwrap_or(rest.len());
        let (part, behind) = rest.split_at(end);
        rest = behind;
        Some((part, digits))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn natural_order() {
        let check = |a: &str, b: &str, order| assert_eq!(natural(a, b), order, "{a} {b}");
        check("node2", "node10", Ordering::Less);
        check("a", "a1", Ordering::Less);
        check("1", "a", Ordering::Less);
        check("x01", "x1", Ordering::Less);
        check("é9", "é10", Ordering::Less);
        check("same", "same", Ordering::Equal);
    }
}
