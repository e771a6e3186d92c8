//! Series that expressions find: for each of their selectors one that it matches, so that answers are about something.

use std::collections::{BTreeMap, BTreeSet};

use model::{MatchOp, Matcher};
use wire::remote_write::proto::TimeSeries;

use crate::api::Labels;
use crate::remote_write;

/// Labels that joins of the field ask for: every series has them, unless its selector says otherwise.
const USUAL: [(&str, &str); 8] = [
    ("cluster", "one"),
    ("container", "c"),
    ("device", "sda"),
    ("instance", "i:9100"),
    ("job", "j"),
    ("namespace", "n"),
    ("node", "h"),
    ("pod", "p"),
];
/// Values that many regular expressions of the field match.
const WORDS: [&str; 16] = [
    "a", "1", "one", "0.5", "200", "500", "x-1", "a.b", "a/b", "eth0", "sda1", "prod", "GET", "/",
    "i:9100", "",
];
const BUCKETS: [&str; 4] = ["0.1", "1", "5", "+Inf"];

/// Labels of the series for these expressions, each once.
pub fn invented(expressions: impl Iterator<Item = promql::Expr>) -> BTreeSet<Labels> {
    let mut all = BTreeSet::new();
    for expr in expressions {
        for selector in expr.selectors() {
            let Some(labels) = labels_for(&selector.matchers) else {
                continue;
            };
            let is_bucket = labels["__name__"].ends_with("_bucket") && !labels.contains_key("le");
            let bounds = if is_bucket { &BUCKETS[..] } else { &[""] };
            for bound in bounds {
                let mut labels = labels.clone();
                if is_bucket {
                    labels.insert("le".to_owned(), (*bound).to_owned());
                }
                all.insert(labels);
            }
        }
    }
    all
}

/// Labels that all matchers accept, or None where no value comes to mind.
fn labels_for(matchers: &[Matcher]) -> Option<Labels> {
    let mut by_label: BTreeMap<&str, Vec<&Matcher>> = BTreeMap::new();
    for matcher in matchers {
        by_label.entry(matcher.name()).or_default().push(matcher);
    }
    let mut labels: Labels = USUAL
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
    for (name, matchers) in by_label {
        let usual = labels.get(name).cloned().into_iter();
        let guesses = matchers.iter().flat_map(|matcher| guesses(matcher));
        let words = WORDS.iter().map(|word| (*word).to_owned());
        let value = guesses
            .chain(usual)
            .chain(words)
            .find(|value| matchers.iter().all(|matcher| matcher.matches(value)))?;
        if value.is_empty() {
            labels.remove(name);
        } else {
            labels.insert(name.to_owned(), value);
        }
    }
    labels.contains_key("__name__").then_some(labels)
}

/// Values that a matcher itself suggests.
fn guesses(matcher: &Matcher) -> Vec<String> {
    match matcher.op() {
        MatchOp::Equal => vec![matcher.value().to_owned()],
        MatchOp::Regex => {
            let plain: String = matcher
                .value()
                .chars()
                .filter(|sign| !"()^$?\\".contains(*sign))
                .collect();
            let parts = plain.split('|').flat_map(|part| {
                [
                    part.to_owned(),
                    part.replace(".*", "").replace(".+", "x"),
                    part.replace(".*", "x").replace(".+", "x"),
                ]
            });
            parts.collect()
        }
        MatchOp::NotEqual | MatchOp::NotRegex => Vec::new(),
    }
}

/// Samples for them: counters grow at a pace of their own, every second gauge stands at one.
pub fn samples(all: &BTreeSet<Labels>, times: &[i64]) -> Vec<TimeSeries> {
    let series = all.iter().enumerate().map(|(n, labels)| {
        let name = &labels["__name__"];
        let counts = ["_total", "_count", "_sum", "_bucket"]
            .iter()
            .any(|end| name.ends_with(end));
        // Later buckets hold more than earlier ones.
        let bucket = labels
            .get("le")
            .and_then(|le| BUCKETS.iter().position(|bound| bound == le));
        let pace = match bucket {
            Some(bucket) => (bucket + 1) as f64,
            None => 1.0 + (n % 7) as f64,
        };
        let points: Vec<(i64, f64)> = times
            .iter()
            .enumerate()
            .map(|(at, time)| match counts || name.len().is_multiple_of(2) {
                // Far from zero, where extrapolation differs between versions.
                true => (*time, 1000.0 * pace + at as f64 * pace),
                false => (*time, 1.0),
            })
            .collect();
        let labels: Vec<(&str, &str)> = labels
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        remote_write::series(&labels, &points)
    });
    series.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_series_for_every_selector() {
        let check = |text: &str, series: usize| {
            let expr =
                promql::parse(text, &promql::ParseOptions::default()).expect("an expression");
            let all = invented(std::iter::once(expr.clone()));
            assert_eq!(all.len(), series, "{text}: {all:?}");
            for labels in &all {
                let matched = expr.selectors().iter().any(|selector| {
                    selector.matchers.iter().all(|matcher| {
                        matcher.matches(labels.get(matcher.name()).map_or("", String::as_str))
                    })
                });
                assert!(matched, "{text}: {labels:?}");
            }
        };
        check("up", 1);
        check(
            "x{a=\"b\", c!=\"d\", e=~\"f|g\", job!~\"j\", h=~\".+\", i=\"\"}",
            1,
        );
        check("rate(x_bucket[5m]) / y{k=~\"(a|b)-.*\"}", 5);
        check("x_bucket{le=\"3\"}", 1);
        check("{__name__=~\"job:.+:sum\"}", 1);
        check("x{a=~\"[^y]{9}\"}", 0);
    }
}
