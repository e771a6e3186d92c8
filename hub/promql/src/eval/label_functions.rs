//! `label_replace` and `label_join`: labels made from labels.

use model::METRIC_NAME;
use model::re2::Re2;

use super::row::{Row, merge_same_labels};
use super::sort::literal;
use super::{Eval, Evaluator, Grid, execution};
use crate::ast::{Call, Expr};

impl Evaluator<'_> {
    pub(super) fn label_replace(&mut self, call: &Call, grid: Grid) -> Eval<Vec<Row>> {
        let [_, target, replacement, source, pattern] = &call.args[..] else {
            return Err(super::unsupported("label_replace with five arguments"));
        };
        let pattern = literal(pattern);
        let Ok(regex) = Re2::anchored(pattern) else {
            return Err(execution(format!(
                "invalid regular expression in label_replace(): {pattern}"
            )));
        };
        let target = label_name(target, "destination", "label_replace")?;
        let (replacement, source) = (literal(replacement), literal(source));
        let mut rows = self.vector(&call.args[0], grid)?;
        for row in &mut rows {
            let value = row.labels.get(source).unwrap_or_default();
            let Some(captures) = regex.captures(value) else {
                continue;
            };
            let mut replaced = String::new();
            regex.expand(replacement, &captures, &mut replaced);
            set_label(row, target, &replaced);
        }
        merge_same_labels(rows)
    }

    pub(super) fn label_join(&mut self, call: &Call, grid: Grid) -> Eval<Vec<Row>> {
        let [_, target, separator, sources @ ..] = &call.args[..] else {
            return Err(super::unsupported("label_join with three arguments"));
        };
        let mut names = Vec::with_capacity(sources.len());
        for source in sources {
            names.push(label_name(source, "source", "label_join")?);
        }
        let target = label_name(target, "destination", "label_join")?;
        let mut rows = self.vector(&call.args[0], grid)?;
        for row in &mut rows {
            let values: Vec<&str> = names
                .iter()
                .map(|name| row.labels.get(name).unwrap_or_default())
                .collect();
            let joined = values.join(literal(separator));
            set_label(row, target, &joined);
        }
        merge_same_labels(rows)
    }
}

/// A name that is set is not to be dropped.
fn set_label(row: &mut Row, name: &str, value: &str) {
    let mut labels = row.labels.builder();
    labels.set(name, value);
    row.labels = labels.build();
    if name == METRIC_NAME {
        row.drop_name = false;
    }
}

/// A string argument that is a label's name: any UTF-8 except nothing.
fn label_name<'a>(arg: &'a Expr, role: &str, function: &str) -> Eval<&'a str> {
    match arg {
        Expr::String(name) if name.raw.is_none() && !name.value.is_empty() => Ok(&name.value),
        other => Err(execution(format!(
            "invalid {role} label name in {function}(): {}",
            literal(other)
        ))),
    }
}
