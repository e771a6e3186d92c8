//! Times beside times, and how they compare in the whole.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::measured::Unit;
use crate::systems::Kind;
use crate::table::{Table, show};

/// What one server took for one question.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Took {
    /// Median, until the whole answer was there.
    pub(super) millis: f64,
    /// The server's CPU, in the mean.
    pub(super) cpu_millis: f64,
    /// The answer is Prometheus's.
    pub(super) agrees: bool,
}

/// What all took for one question.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) title: &'static str,
    pub(super) query: String,
    pub(super) took: BTreeMap<Kind, Took>,
}

impl Line {
    /// Ours in relation to a peer's, by what is read off; none unless our answer is right.
    fn ratio(&self, peer: Kind, of: fn(&Took) -> f64) -> Option<f64> {
        let (ours, theirs) = (self.took.get(&Kind::Hub)?, self.took.get(&peer)?);
        (ours.agrees && of(theirs) > 0.0 && of(ours) > 0.0).then(|| of(ours) / of(theirs))
    }
}

fn geometric_mean(ratios: &[f64]) -> Option<f64> {
    if ratios.is_empty() {
        return None;
    }
    #[expect(clippy::cast_precision_loss, reason = "some twenty")]
    let count = ratios.len() as f64;
    Some((ratios.iter().map(|ratio| ratio.ln()).sum::<f64>() / count).exp())
}

const PEERS: [Kind; 2] = [Kind::VictoriaMetrics, Kind::Prometheus];

/// For people.
pub(super) fn text(lines: &[Line]) -> String {
    let mut table = Table::default();
    let kinds: Vec<Kind> = lines
        .first()
        .map_or(Vec::new(), |line| line.took.keys().copied().collect());
    let mut head = vec![String::new()];
    for kind in &kinds {
        head.push(kind.to_string());
        head.push("CPU".to_owned());
    }
    table.row(head);
    for line in lines {
        let mut row = vec![line.title.to_owned()];
        for (kind, took) in &line.took {
            row.push(match (took.agrees, kind) {
                (true, _) => show(took.millis, Unit::Millis),
                // It does not extrapolate rates, for one: said, and shown all the same.
                (false, Kind::VictoriaMetrics) => {
                    format!("differs {}", show(took.millis, Unit::Millis))
                }
                (false, _) => "WRONG".to_owned(),
            });
            row.push(show(took.cpu_millis, Unit::Millis));
        }
        table.row(row);
    }
    let mut text = format!("\n{}\n", table.text());
    for peer in PEERS {
        for (what, of) in COMPARED {
            let ratios: Vec<f64> = lines.iter().filter_map(|l| l.ratio(peer, of)).collect();
            if let Some(mean) = geometric_mean(&ratios) {
                let count = ratios.len();
                text.push_str(&format!(
                    "hub / {peer}, {what}, geometric mean of {count}: {mean:.3}\n"
                ));
            }
        }
    }
    text
}

/// What is compared: its name, and how it is read off.
type Compared = (&'static str, fn(&Took) -> f64);

const COMPARED: [Compared; 2] = [
    ("time", |took| took.millis),
    ("CPU", |took| took.cpu_millis),
];

/// For programs.
pub(super) fn json(lines: &[Line]) -> Value {
    let questions: Vec<Value> = lines
        .iter()
        .map(|line| {
            let took: serde_json::Map<String, Value> = (line.took.iter())
                .map(|(kind, took)| {
                    let time =
                        (took.agrees || *kind == Kind::VictoriaMetrics).then_some(took.millis);
                    let one = json!({"ms": time, "cpu_ms": took.cpu_millis, "agrees": took.agrees});
                    (kind.to_string(), one)
                })
                .collect();
            json!({"title": line.title, "query": line.query, "took": took})
        })
        .collect();
    let mut means = serde_json::Map::new();
    for peer in PEERS {
        for (what, of) in COMPARED {
            let ratios: Vec<f64> = lines.iter().filter_map(|l| l.ratio(peer, of)).collect();
            means.insert(format!("hub/{peer} {what}"), json!(geometric_mean(&ratios)));
        }
    }
    json!({"questions": questions, "geometric_means": means})
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(hub: f64, agrees: bool) -> Line {
        let took = |millis, agrees| Took {
            millis,
            cpu_millis: 2.0 * millis,
            agrees,
        };
        Line {
            title: "rule",
            query: "up == 0".to_owned(),
            took: BTreeMap::from([
                (Kind::Hub, took(hub, agrees)),
                (Kind::VictoriaMetrics, took(8.0, false)),
                (Kind::Prometheus, took(16.0, true)),
            ]),
        }
    }

    #[test]
    fn a_wrong_answer_has_no_time() {
        let text = text(&[line(1.0, true), line(4.0, true), line(0.5, false)]);
        assert!(text.contains("WRONG"), "{text}");
        assert!(!text.contains("0.50 ms"), "{text}");
        assert!(text.contains("differs 8 ms"), "{text}");
        assert!(
            text.contains("hub / VictoriaMetrics, time, geometric mean of 2: 0.250"),
            "{text}"
        );
    }
}
