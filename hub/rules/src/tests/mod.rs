//! Evaluations against a store in memory, with a simulated clock.

mod compliance;
mod groups;
mod reloads;

use std::collections::BTreeMap;
use std::time::Duration;

use model::{LabelSet, Matcher, Sample, Timestamp, Value, is_stale};
use promql::{
    Budget, Cancel, Column, Engine, Expr, QueryOptions, ResultValue, Select, Selection,
    SeriesColumns, Storage, StorageError,
};

use crate::*;

/// A store of floats.
#[derive(Default)]
struct Memory {
    series: BTreeMap<LabelSet, BTreeMap<Timestamp, f64>>,
    refuse_writes: bool,
}

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
}

impl Storage for Memory {
    fn select(
        &self,
        select: &Select<'_>,
        budget: &Budget,
        _: &Cancel,
    ) -> Result<Selection, StorageError> {
        let mut selection = Selection::default();
        for (labels, points) in &self.series {
            if !select.matchers.iter().all(|m| m.matches_labels(labels)) {
                continue;
            }
            let points = points.range(select.start..=select.end);
            let (timestamps, values): (Vec<i64>, Vec<f64>) =
                points.map(|(at, value)| (at.millis(), *value)).unzip();
            if timestamps.is_empty() {
                continue;
            }
            budget.take(values.len() as u64)?;
            selection.series.push(SeriesColumns {
                labels: labels.clone(),
                timestamps,
                values: Column::Floats(values),
                starts: Vec::new(),
            });
        }
        Ok(selection)
    }
}

impl RuleContext for Memory {
    fn query(&mut self, expr: &Expr, at: Timestamp) -> Result<Vec<(LabelSet, Value)>, String> {
        let result = Engine::default().instant(self, expr, at, &QueryOptions::default());
        match result.map_err(|error| error.to_string())?.value {
            ResultValue::Vector(all) => Ok(all.into_iter().map(|s| (s.labels, s.value)).collect()),
            ResultValue::Scalar(_, value) => Ok(vec![(LabelSet::empty(), Value::Float(value))]),
            _ => Err("rule result is not a vector or scalar".to_owned()),
        }
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
