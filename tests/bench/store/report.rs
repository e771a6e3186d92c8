//! The results of one plan: a table for people, JSON for programs.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::ratios::{self, Verdict};
use crate::measured::{METRICS, Measured, Unit};
use crate::systems::Kind;
use crate::table::{Table, show};

/// What one plan measured.
pub(crate) struct Report {
    pub(crate) name: String,
    pub(crate) series: usize,
    pub(crate) samples: u64,
    /// Each server's runs.
    pub(crate) runs: BTreeMap<Kind, Vec<Measured>>,
}

impl Report {
    fn medians(&self) -> BTreeMap<Kind, Measured> {
        self.runs
            .iter()
            .map(|(kind, runs)| (*kind, Measured::medians(runs)))
            .collect()
    }

    pub(crate) fn verdicts(&self) -> Vec<Verdict> {
        ratios::verdicts(&self.name, self.series, &self.medians())
    }

    pub(crate) fn text(&self) -> String {
        let medians = self.medians();
        let runs = self.runs.values().map(Vec::len).max().unwrap_or(0);
        let of = if runs > 1 {
            format!(", medians of {runs} runs")
        } else {
            String::new()
        };
        let mut table = Table::default();
        let kinds = medians.keys().map(ToString::to_string);
        table.row(std::iter::once(String::new()).chain(kinds));
        for metric in METRICS {
            let numbers: Vec<_> = medians.values().map(|m| m.get(metric.key)).collect();
            let none = numbers.iter().all(Option::is_none);
            if none
                || (metric.unit == Unit::Mark && numbers.iter().all(|n| n.unwrap_or(0.0) == 0.0))
            {
                continue;
            }
            let shown = numbers.into_iter().map(|number| match number {
                Some(number) => show(number, metric.unit),
                None if metric.key.starts_with("restart") => "never".to_owned(),
                None => "-".to_owned(),
            });
            table.row(std::iter::once(metric.title.to_owned()).chain(shown));
        }
        let (series, samples) = (self.series, self.samples);
        let mut text = format!(
            "\n{}: {series} series, {samples} samples{of}\n\n{}",
            self.name,
            table.text()
        );
        let verdicts = self.verdicts();
        if !verdicts.is_empty() {
            text.push_str(&format!("\n{}", ratios::table(&verdicts)));
        }
        text
    }

    pub(crate) fn json(&self) -> Value {
        let numbers = |measured: &Measured| -> Value {
            measured
                .iter()
                .map(|(key, number)| (key.to_owned(), json!(number)))
                .collect()
        };
        let systems: serde_json::Map<String, Value> = self
            .runs
            .iter()
            .map(|(kind, runs)| {
                let each: Vec<Value> = runs.iter().map(numbers).collect();
                let both = json!({"median": numbers(&Measured::medians(runs)), "runs": each});
                (kind.to_string(), both)
            })
            .collect();
        let promises: Vec<Value> = self
            .verdicts()
            .iter()
            .map(|verdict| {
                json!({
                    "what": verdict.what, "value": verdict.value, "floor": verdict.floor(),
                    "aim": verdict.aim(), "holds": verdict.holds(),
                })
            })
            .collect();
        json!({
            "set": self.name, "series": self.series, "samples": self.samples,
            "systems": systems, "promises": promises,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_with_what_was_measured() {
        let run = |probe: Option<f64>| {
            let mut run = Measured::default();
            run.set("ack_p99_ms", 2.5);
            run.set_if("restart_probe_seconds", probe);
            run.set("query_rate_differs", 0.0);
            vec![run]
        };
        let runs = BTreeMap::from([(Kind::Hub, run(Some(0.1))), (Kind::Prometheus, run(None))]);
        let report = Report {
            name: "1h".to_owned(),
            series: 500,
            samples: 5_000,
            runs,
        };
        let text = report.text();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(
            lines[1..6],
            [
                "1h: 500 series, 5000 samples",
                "",
                "                                  hub  Prometheus",
                "ack: p99                      2.50 ms     2.50 ms",
                "kill -9: to one series right   0.10 s       never",
            ]
        );
        assert_eq!(report.json()["systems"]["hub"]["median"]["ack_p99_ms"], 2.5);
    }
}
