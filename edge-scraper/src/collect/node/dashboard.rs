//! The dashboard "Node Exporter Full" (grafana.com, 1860): every metric that it asks for is on our page of a machine that has
//! everything, or stands in `README.md` with the reason.

use std::collections::BTreeSet;

use wire::exposition::{Entry, Parser};

use super::fixture::Fixture;
use super::*;

/// Every metric that the dashboard's queries name, one a line.
const ASKED: &str = include_str!("fixtures/dashboard-1860.txt");
const README: &str = include_str!("README.md");

/// What stands in the README's list of the dashboard's gaps. A name ending in `*` is a prefix.
fn left_out() -> Vec<&'static str> {
    let (_, list) = README
        .split_once("## What the dashboard asks for in vain")
        .expect("the README's section");
    let list = list.split("\n## ").next().unwrap();
    let rows = list.lines().filter(|line| line.starts_with("| `"));
    rows.flat_map(|row| {
        let names = row.split('|').nth(1).unwrap();
        names.split('`').skip(1).step_by(2)
    })
    .collect()
}

#[test]
fn every_metric_is_there_or_left_out_with_a_reason() {
    let machine = Fixture::machine();
    let _asked = super::fake_bus::start(&machine.path().join("root").join(super::systemd::SOCKET));
    let names: Vec<String> = COLLECTORS
        .iter()
        .map(|switch| switch.name.to_owned())
        .collect();
    let options = NodeOptions {
        roots: machine.roots(),
        collectors: Switches::with(&names, &[]).unwrap(),
        ..NodeOptions::default()
    };
    let page = NodeCollector::new(DEFAULT_JOB, &options).page(Format::Classic, |_| true);
    let families: BTreeSet<&str> = page
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next())
        .collect();
    let left_out = left_out();
    let is_left_out = |name: &str| {
        left_out.iter().any(|gap| match gap.strip_suffix('*') {
            Some(prefix) => name.starts_with(prefix),
            None => name == *gap,
        })
    };
    assert!(ASKED.lines().count() > 200);
    let missing: Vec<&str> = ASKED
        .lines()
        .filter(|name| !families.contains(name) && !is_left_out(name))
        .collect();
    assert!(
        missing.is_empty(),
        "the dashboard asks for these; collect them, or say in README.md why not:\n{}",
        missing.join("\n")
    );
    let needless: Vec<&str> = ASKED
        .lines()
        .filter(|name| families.contains(name) && is_left_out(name))
        .collect();
    assert!(
        needless.is_empty(),
        "README.md says that these are not there, and they are:\n{}",
        needless.join("\n")
    );
    for gap in left_out {
        let prefix = gap.trim_end_matches('*');
        assert!(
            ASKED.lines().any(|name| name.starts_with(prefix)),
            "README.md: the dashboard does not ask for {gap}"
        );
    }
}

/// A counter's samples end in `_total` in OpenMetrics: if a name did not, it would change with the format that is asked for.
#[test]
fn both_formats_have_the_same_series() {
    let machine = Fixture::machine();
    let options = NodeOptions {
        roots: machine.roots(),
        ..NodeOptions::default()
    };
    let collector = NodeCollector::new(DEFAULT_JOB, &options);
    let series = |format| {
        let page = collector.page(format, |_| true);
        let mut parser = Parser::new(format, page.as_bytes());
        let mut found = BTreeSet::new();
        while let Some(entry) = parser.next_entry().unwrap() {
            if let Entry::Sample(sample) = entry {
                assert!(found.insert(sample.labels.to_label_set().unwrap()));
            }
        }
        found
    };
    let classic = series(Format::Classic);
    assert!(classic.len() > 800);
    assert_eq!(classic, series(Format::OpenMetrics));
}
