//! What came of it: a table beside what is promised, and JSON.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};

use super::Plan;
use super::sender::Kind;
use crate::measured::{METRICS, Measured, Unit};
use crate::table::{Table, show};

/// At most so much: the floor holds, the aim is hoped for.
struct Promise {
    key: &'static str,
    what: &'static str,
    unit: Unit,
    floor: f64,
    aim: Option<f64>,
}

const MIB: f64 = 1024.0 * 1024.0;
/// From loopback to loopback, on a machine that does other things too.
const ROUND_TRIP: Duration = Duration::from_millis(500);

/// They hold for this much; fewer series and shorter intervals say nothing about them.
const PROMISED_TARGETS: usize = 50;
const PROMISED_SERIES: usize = 1_000;

fn promises(plan: &Plan) -> Vec<Promise> {
    let promise = |key, what, unit, floor, aim| Promise {
        key,
        what,
        unit,
        floor,
        aim,
    };
    let current = (plan.interval + ROUND_TRIP).as_secs_f64();
    vec![
        promise(
            "edge_memory_peak",
            "memory, peak",
            Unit::Bytes,
            24.0 * MIB,
            Some(16.0 * MIB),
        ),
        promise(
            "edge_memory_grown",
            "memory grown through the cut",
            Unit::Percent,
            5.0,
            None,
        ),
        promise(
            "edge_cpu_live",
            "CPU-s a million samples",
            Unit::Seconds,
            0.8,
            Some(0.4),
        ),
        promise(
            "edge_wire_live",
            "wire a sample, live",
            Unit::BytesASample,
            1.0,
            None,
        ),
        promise(
            "edge_wire_backlog",
            "wire a sample, backlog",
            Unit::BytesASample,
            0.8,
            None,
        ),
        promise(
            "edge_disk",
            "buffer on disk a sample",
            Unit::BytesASample,
            1.0,
            None,
        ),
        promise(
            "edge_drain_p99",
            "live delay p99 from 10 s after the return",
            Unit::Seconds,
            current,
            Some(5.0),
        ),
        promise(
            "edge_missing",
            "scrapes of the cut that never came",
            Unit::Count,
            0.0,
            None,
        ),
        promise(
            "edge_unbalanced",
            "books that do not agree",
            Unit::Count,
            0.0,
            None,
        ),
    ]
}

/// The results of one plan, by sender.
pub(super) struct Report<'a> {
    pub(super) plan: &'a Plan,
    pub(super) measured: BTreeMap<Kind, Measured>,
}

impl Report<'_> {
    pub(super) fn text(&self) -> String {
        let mut table = Table::default();
        let kinds = self.measured.keys().map(ToString::to_string);
        table.row(std::iter::once(String::new()).chain(kinds));
        for metric in METRICS {
            let numbers: Vec<_> = self.measured.values().map(|m| m.get(metric.key)).collect();
            if numbers.iter().all(Option::is_none) {
                continue;
            }
            let shown = numbers
                .into_iter()
                .map(|number| number.map_or("-".to_owned(), |number| show(number, metric.unit)));
            table.row(std::iter::once(metric.title.to_owned()).chain(shown));
        }
        let plan = self.plan;
        let mut text = format!(
            "\n{} targets x {} series every {:?}\n\n{}",
            plan.targets,
            plan.series,
            plan.interval,
            table.text()
        );
        let verdicts = self.verdicts();
        if !verdicts.is_empty() {
            let mut table = Table::default();
            table.row(["promised of the edge", "", "at most", "aim", ""].map(str::to_owned));
            for (promise, number) in &verdicts {
                let aim = promise
                    .aim
                    .map_or(String::new(), |aim| show(aim, promise.unit));
                table.row([
                    promise.what.to_owned(),
                    show(*number, promise.unit),
                    show(promise.floor, promise.unit),
                    aim,
                    word(promise, *number).to_owned(),
                ]);
            }
            text.push_str(&format!("\n{}", table.text()));
            if !self.plan.is_promised() {
                text.push_str(&format!(
                    "promised for {PROMISED_TARGETS} targets x {PROMISED_SERIES} series\n"
                ));
            }
        }
        text
    }

    fn verdicts(&self) -> Vec<(Promise, f64)> {
        let Some(edge) = self.measured.get(&Kind::Edge) else {
            return Vec::new();
        };
        promises(self.plan)
            .into_iter()
            .filter_map(|promise| edge.get(promise.key).map(|number| (promise, number)))
            .collect()
    }

    /// Whether everything promised holds that is promised for such a plan.
    pub(super) fn holds(&self) -> bool {
        !self.plan.is_promised() || self.verdicts().iter().all(|(p, n)| *n <= p.floor)
    }

    pub(super) fn json(&self) -> Value {
        let plan = self.plan;
        let senders: BTreeMap<String, BTreeMap<&str, f64>> = self
            .measured
            .iter()
            .map(|(kind, measured)| (kind.to_string(), measured.iter().collect()))
            .collect();
        let promises: Vec<Value> = self
            .verdicts()
            .iter()
            .map(|(promise, number)| {
                json!({
                    "what": promise.what, "value": number, "floor": promise.floor,
                    "aim": promise.aim, "holds": *number <= promise.floor,
                })
            })
            .collect();
        json!({
            "targets": plan.targets, "series": plan.series,
            "intervalSeconds": plan.interval.as_secs_f64(),
            "cutSeconds": plan.cut.as_secs_f64(),
            "senders": senders, "promises": promises,
        })
    }
}

fn word(promise: &Promise, number: f64) -> &'static str {
    match promise.aim {
        _ if number > promise.floor => "ABOVE THE FLOOR",
        Some(aim) if number <= aim => "aim reached",
        _ => "holds",
    }
}

impl Plan {
    fn is_promised(&self) -> bool {
        self.targets >= PROMISED_TARGETS && self.series >= PROMISED_SERIES
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_promise_that_is_broken_is_shown() {
        let mut edge = Measured::default();
        edge.set("edge_wire_live", 1.25);
        edge.set("edge_disk", 0.5);
        let plan = Plan::whole(50, 1_000, Duration::from_secs(5), Duration::ZERO);
        let report = Report {
            plan: &plan,
            measured: BTreeMap::from([(Kind::Edge, edge)]),
        };
        let text = report.text();
        let line = |what: &str| {
            text.lines()
                .rfind(|line| line.starts_with(what))
                .unwrap_or("")
        };
        assert!(
            line("wire a sample, live").ends_with("ABOVE THE FLOOR"),
            "{text}"
        );
        assert!(line("buffer on disk").ends_with("holds"), "{text}");
        assert!(!report.holds());
        assert_eq!(report.json()["senders"]["edge"]["edge_disk"], 0.5);
        let small = Plan::whole(5, 1_000, Duration::from_secs(5), Duration::ZERO);
        let report = Report {
            plan: &small,
            ..report
        };
        assert!(report.holds(), "nothing is promised for so few");
    }
}
