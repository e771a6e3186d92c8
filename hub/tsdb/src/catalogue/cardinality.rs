//! How many series have which labels? Answered name by name, so that what is held at a time are the values of one.

use std::collections::{BTreeMap, BTreeSet};

use hashbrown::HashMap;
use model::METRIC_NAME;

use super::{
    Catalogue,
    slots::{Form, Slot},
    symbols::SCOPE,
};

/// What there is most of; each list largest first, and by name where equal.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cardinality {
    /// Distinct pairs of a name and a value.
    pub label_pairs: u64,
    /// Series of each metric.
    pub series_by_metric: Vec<(String, u64)>,
    /// Values of each label.
    pub values_by_label: Vec<(String, u64)>,
    /// Bytes of each label's values, each value once.
    pub bytes_by_label: Vec<(String, u64)>,
    /// Series of each `name=value`.
    pub series_by_pair: Vec<(String, u64)>,
}

/// The largest of many.
struct Top {
    limit: usize,
    all: BTreeSet<(std::cmp::Reverse<u64>, String)>,
}

impl Top {
    fn new(limit: usize) -> Self {
        Self {
            limit,
            all: BTreeSet::new(),
        }
    }

    fn put(&mut self, count: u64, name: impl FnOnce() -> String) {
        let least = self.all.last().map_or(0, |(count, _)| count.0);
        if self.all.len() >= self.limit && count < least {
            return;
        }
        self.all.insert((std::cmp::Reverse(count), name()));
        if self.all.len() > self.limit {
            self.all.pop_last();
        }
    }

    fn finish(self) -> Vec<(String, u64)> {
        let all = self.all.into_iter();
        all.map(|(count, name)| (name, count.0)).collect()
    }
}

impl Catalogue {
    /// At most `limit` of each.
    pub fn cardinality(&self, limit: usize) -> Cardinality {
        let slots: Vec<(&Slot, Vec<u32>)> = self
            .slots
            .iter()
            .map(|(_, slot)| (slot, slot.series_by_pair()))
            .collect();
        let mut names: BTreeMap<&str, ()> = BTreeMap::new();
        for (slot, _) in &slots {
            slot.form.for_names(|name| {
                names.insert(name, ());
            });
        }
        names.remove(SCOPE);
        let top = || Top::new(limit);
        let (mut metrics, mut values, mut bytes, mut pairs) = (top(), top(), top(), top());
        let mut label_pairs = 0;
        for name in names.into_keys() {
            let mut counts: HashMap<&str, u64> = HashMap::new();
            for (slot, by_pair) in &slots {
                slot.form.for_values(name, "", &mut |value, pair| {
                    let series = by_pair.get(pair as usize).copied().unwrap_or(0);
                    if series > 0 {
                        *counts.entry(value).or_default() += u64::from(series);
                    }
                });
            }
            if counts.is_empty() {
                continue;
            }
            label_pairs += counts.len() as u64;
            values.put(counts.len() as u64, || name.to_owned());
            let text: usize = counts.keys().map(|value| value.len()).sum();
            bytes.put(text as u64, || name.to_owned());
            for (value, series) in counts {
                if name == METRIC_NAME {
                    metrics.put(series, || value.to_owned());
                }
                pairs.put(series, || format!("{name}={value}"));
            }
        }
        Cardinality {
            label_pairs,
            series_by_metric: metrics.finish(),
            values_by_label: values.finish(),
            bytes_by_label: bytes.finish(),
            series_by_pair: pairs.finish(),
        }
    }
}

impl Slot {
    /// Living series of each pair, by its number.
    fn series_by_pair(&self) -> Vec<u32> {
        match &self.form {
            Form::Open(tail) => tail.series_by_pair(&self.live),
            Form::Frozen(segment) => segment.series_by_pair(&self.live),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_are_kept() {
        let mut top = Top::new(2);
        for (count, name) in [(3, "c"), (1, "a"), (3, "b"), (5, "d"), (3, "a")] {
            top.put(count, || name.to_owned());
        }
        assert_eq!(top.finish(), [("d".to_owned(), 5), ("a".to_owned(), 3)]);
    }
}
