//! A differential test against `prometheus-parse` 0.2 on the part of the classic format that it gets right.
//!
//! Measured with 0.2.5, it loses or changes data without an error outside this subset, so the test generates only:
//!
//! - metric names of letters, digits and `_` (it loses names with `:`), label names likewise;
//! - label values without `,`, `=`, `"`, `\`, `{`, `}` and line breaks (it splits on the first two and keeps escapes);
//! - at least one label, no blanks in the braces, one blank between tokens, a newline after the last line;
//! - untyped series and no `le` or `quantile` labels (those it folds into values of their own);
//! - finite decimal values; a timestamp always (it fills a missing one with its own clock);
//! - no OpenMetrics, which it does not know.

use std::collections::BTreeMap;

use proptest::prelude::*;
use wire::exposition::{Entry, Format, Parser};

type Row = (String, BTreeMap<String, String>, u64, i64);

fn row() -> impl Strategy<Value = Row> {
    let labels = proptest::collection::btree_map(
        "[a-df-pr-z_][a-z0-9_]{0,6}",
        "[a-zA-Z0-9/._:ü-]{1,10}",
        1..4,
    );
    let value = any::<f64>().prop_filter("finite", |value| value.is_finite());
    (
        "[a-z_][a-z0-9_]{0,8}",
        labels,
        value,
        0..4_000_000_000_000_i64,
    )
        .prop_map(|(name, labels, value, at)| (name, labels, value.to_bits(), at))
}

fn ours(text: &str) -> Vec<Row> {
    let mut parser = Parser::new(Format::Classic, text.as_bytes());
    let mut rows = Vec::new();
    while let Some(entry) = parser.next_entry().unwrap() {
        if let Entry::Sample(sample) = entry {
            let mut labels: BTreeMap<String, String> = sample
                .labels
                .iter()
                .map(|(name, value)| (name.into_owned(), value.into_owned()))
                .collect();
            let name = labels.remove("__name__").unwrap();
            rows.push((
                name,
                labels,
                sample.value.to_bits(),
                sample.timestamp.unwrap().millis(),
            ));
        }
    }
    rows
}

fn theirs(text: &str) -> Vec<Row> {
    let lines = text.lines().map(|line| Ok(line.to_owned()));
    let scrape = prometheus_parse::Scrape::parse(lines).unwrap();
    let rows = scrape.samples.into_iter().map(|sample| {
        let value = match sample.value {
            prometheus_parse::Value::Untyped(value) => value,
            other => panic!("{other:?}"),
        };
        let labels = sample
            .labels
            .iter()
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect();
        (
            sample.metric,
            labels,
            value.to_bits(),
            sample.timestamp.timestamp_millis(),
        )
    });
    rows.collect()
}

proptest! {
    #[test]
    fn both_read_the_same(rows in proptest::collection::vec(row(), 0..6)) {
        let mut text = String::new();
        for (name, labels, bits, at) in &rows {
            let labels: Vec<String> = labels.iter().map(|(name, value)| format!("{name}=\"{value}\"")).collect();
            text += &format!("{name}{{{}}} {:e} {at}\n", labels.join(","), f64::from_bits(*bits));
        }
        prop_assert_eq!(ours(&text), rows.clone());
        prop_assert_eq!(theirs(&text), rows);
    }
}
