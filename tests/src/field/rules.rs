//! Rule files: plain ones, and those in a manifest.

use serde_json::{Value, json};

use crate::dashboards::Expression;

/// The groups of a document, if it has groups of rules.
pub(super) fn groups(document: &Value) -> Option<&Vec<Value>> {
    let groups = document["groups"]
        .as_array()
        .or_else(|| document["spec"]["groups"].as_array())?;
    groups
        .iter()
        .all(|group| group["rules"].is_array())
        .then_some(groups)
}

/// The expressions, and the rule file without what stood around it.
pub(super) fn read(place: &str, groups: &[Value]) -> (Vec<Expression>, Value) {
    let rules = groups
        .iter()
        .flat_map(|group| group["rules"].as_array().into_iter().flatten());
    let expressions = rules.filter_map(|rule| {
        let name = rule["alert"].as_str().or(rule["record"].as_str())?;
        Some(Expression {
            place: format!("{place}: {name}"),
            // YAML takes an expression that is a number for one.
            text: match &rule["expr"] {
                Value::String(text) => text.clone(),
                Value::Number(number) => number.to_string(),
                _ => return None,
            },
        })
    });
    (expressions.collect(), json!({"groups": groups}))
}
