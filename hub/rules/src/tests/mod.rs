//! Evaluations against a store in memory, with a simulated clock.

mod compliance;
mod groups;
mod reloads;

use std::collections::BTreeMap;
use std::time::Duration;

use model::{LabelSet, Matcher, Sample, Timestamp, Value, is_stale};
use promql::Expr;
use promql::ast::{Binary, BinaryOp, VectorSelector};

use crate::*;

/// A store of floats, with as much of PromQL as the tests' rules use.
#[derive(Default)]
struct Memory {
    series: BTreeMap<LabelSet, BTreeMap<Timestamp, f64>>,
    refuse_writes: bool,
}

enum Evaluated {
    Scalar(f64),
    Vector(Vec<(LabelSet, f64)>),
}

const LOOKBACK: Duration = Duration::from_secs(300);

fn labels(text: &str) -> LabelSet {
    let matchers = promql::parse_selector(text).unwrap();
    LabelSet::from_pairs(matchers.iter().map(|m| (m.name(), m.value()))).unwrap()
}

fn seconds(s: i64) -> Timestamp {
    Timestamp::from_millis(s * 1000)
}

impl Memory {
    fn put(&mut self, series: &str, at: Timestamp, value: f64) {
        self.series
            .entry(labels(series))
            .or_default()
            .insert(at, value);
    }

    /// What a series holds, staleness markers as `stale`.
    fn at(&self, series: &str, at: Timestamp) -> Option<String> {
        let value = self.series.get(&labels(series))?.get(&at)?;
        Some(if is_stale(*value) {
            "stale".to_owned()
        } else {
            value.to_string()
        })
    }

    fn select(&self, selector: &VectorSelector, at: Timestamp) -> Vec<(LabelSet, f64)> {
        let from = at.saturating_sub(LOOKBACK);
        let newest = |points: &BTreeMap<Timestamp, f64>| {
            points
                .range(from..=at)
                .next_back()
                .map(|(t, v)| (*t, *v))
                .filter(|(t, v)| *t > from && !is_stale(*v))
        };
        (self.series.iter())
            .filter(|(labels, _)| selector.matchers.iter().all(|m| m.matches_labels(labels)))
            .filter_map(|(labels, points)| Some((labels.clone(), newest(points)?.1)))
            .collect()
    }

    fn eval(&self, expr: &Expr, at: Timestamp) -> Result<Evaluated, String> {
        match expr {
            Expr::Number(n) => Ok(Evaluated::Scalar(n.value)),
            Expr::Paren(p) => self.eval(&p.expr, at),
            Expr::Vector(v) => Ok(Evaluated::Vector(self.select(v, at))),
            Expr::Binary(b) => self.binary(b, at),
            other => Err(format!("the tests' store cannot evaluate {other}")),
        }
    }

    fn binary(&self, b: &Binary, at: Timestamp) -> Result<Evaluated, String> {
        let (lhs, rhs) = (self.eval(&b.lhs, at)?, self.eval(&b.rhs, at)?);
        let Evaluated::Vector(lhs) = lhs else {
            return Err("vector wanted".to_owned());
        };
        let compare = |a: f64, b_: f64| match b.op {
            BinaryOp::Greater => Some(a > b_),
            BinaryOp::Less => Some(a < b_),
            BinaryOp::Equal => Some(a == b_),
            _ => None,
        };
        let out = match rhs {
            Evaluated::Scalar(s) if b.op == BinaryOp::Mul => lhs
                .into_iter()
                .map(|(l, v)| (l.without_name(), v * s))
                .collect(),
            Evaluated::Scalar(s) => lhs
                .into_iter()
                .filter(|(_, v)| compare(*v, s) == Some(true))
                .collect(),
            Evaluated::Vector(rhs) => {
                let ignored = &b.matching.as_ref().unwrap().labels;
                let key =
                    |l: &LabelSet| l.without_name().retain(|n| !ignored.iter().any(|i| i == n));
                let rhs: BTreeMap<LabelSet, f64> =
                    rhs.into_iter().map(|(l, v)| (key(&l), v)).collect();
                lhs.into_iter()
                    .filter_map(|(l, v)| Some((key(&l), v + rhs.get(&key(&l))?)))
                    .collect()
            }
        };
        Ok(Evaluated::Vector(out))
    }
}

impl RuleContext for Memory {
    fn query(&mut self, expr: &Expr, at: Timestamp) -> Result<Vec<(LabelSet, Value)>, String> {
        let float = |(labels, v)| (labels, Value::Float(v));
        Ok(match self.eval(expr, at)? {
            Evaluated::Scalar(s) => vec![(LabelSet::empty(), Value::Float(s))],
            Evaluated::Vector(v) => v.into_iter().map(float).collect(),
        })
    }

    fn append(&mut self, samples: Vec<RuleSample>) -> Result<(), String> {
        if self.refuse_writes {
            return Err("disk full".to_owned());
        }
        for RuleSample { labels, sample } in samples {
            let Value::Float(v) = sample.value else {
                return Err("floats only".to_owned());
            };
            self.series.entry(labels).or_default().insert(sample.at, v);
        }
        Ok(())
    }

    fn newest(
        &mut self,
        matchers: &[Matcher],
        from: Timestamp,
        to: Timestamp,
    ) -> Result<Vec<(LabelSet, Sample)>, String> {
        Ok((self.series.iter())
            .filter(|(labels, _)| matchers.iter().all(|m| m.matches_labels(labels)))
            .filter_map(|(labels, points)| {
                let (at, v) = points.range(from..=to).next_back()?;
                Some((labels.clone(), Sample::float(*at, *v)))
            })
            .collect())
    }
}

/// Groups of one file named `rules.yml`, as at the start or (with old ones) after a reload.
fn load(old: Vec<RuleGroup>, text: &str) -> Reloaded {
    let file = RuleFile::parse("rules.yml", text, &promql::ParseOptions::default());
    let options = ReloadOptions {
        interval: Duration::from_secs(30),
        restore: false,
    };
    reload(old, vec![file.unwrap()], &options)
}

fn only_group(text: &str) -> RuleGroup {
    load(Vec::new(), text).groups.pop().unwrap()
}

fn options() -> GroupOptions {
    GroupOptions {
        external: ExternalInfo {
            labels: [("dc".to_owned(), "north".to_owned())].into(),
            url: "http://hub:9090".to_owned(),
        },
        ..GroupOptions::default()
    }
}

fn alerting(group: &RuleGroup, rule: usize) -> AlertingView {
    match &group.view().rules[rule] {
        RuleView::Alerting(view) => view.clone(),
        RuleView::Recording(_) => panic!("not an alerting rule"),
    }
}
