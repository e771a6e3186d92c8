//! The plain map that a store is compared with.

use std::collections::BTreeMap;

use model::{LabelSet, Matcher, Sample, Timestamp, Value};

use crate::TimeRange;

pub(super) type Point = (Option<Timestamp>, Value);
pub(super) type Map = BTreeMap<LabelSet, BTreeMap<i64, Point>>;

/// What changes the answers of a store.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Written {
    /// A batch, and its last sequence in the log.
    Batch {
        seq: u64,
        lines: Vec<(LabelSet, Vec<Sample>)>,
    },
    Deleted(Vec<Matcher>, TimeRange),
    /// Retention by bytes: what was in parts (sequences up to `through`) of these times.
    Dropped {
        range: TimeRange,
        through: u64,
    },
}

/// Every value that a sample had since it was last deleted, with the sequence of its batch, the latest last.
#[derive(Debug, Clone, Default)]
pub(super) struct History(BTreeMap<LabelSet, BTreeMap<i64, Vec<(u64, Point)>>>);

impl History {
    pub(super) fn of(written: &[Written]) -> Self {
        let mut history = Self::default();
        written.iter().for_each(|written| history.add(written));
        history
    }

    pub(super) fn add(&mut self, written: &Written) {
        match written {
            Written::Batch { seq, lines } => {
                for (labels, samples) in lines {
                    let series = self.0.entry(labels.clone()).or_default();
                    for sample in samples {
                        let point = (sample.start, sample.value.clone());
                        let values = series.entry(sample.at.millis()).or_default();
                        values.push((*seq, point));
                    }
                }
            }
            Written::Deleted(matchers, gone) => {
                for (labels, samples) in &mut self.0 {
                    let fits = |matcher: &Matcher| {
                        matcher.matches(labels.get(matcher.name()).unwrap_or(""))
                    };
                    if matchers.iter().all(fits) {
                        samples.retain(|time, _| !gone.contains(*time));
                    }
                }
            }
            Written::Dropped { range, through } => {
                for samples in self.0.values_mut() {
                    for (time, values) in samples.iter_mut() {
                        if range.contains(*time) {
                            values.retain(|(seq, _)| seq > through);
                        }
                    }
                    samples.retain(|_, values| !values.is_empty());
                }
            }
        }
    }

    /// What a reader must see.
    pub(super) fn answer(&self, range: TimeRange) -> Map {
        let mut map = Map::new();
        for (labels, samples) in &self.0 {
            let samples: BTreeMap<i64, Point> = samples
                .iter()
                .filter(|(time, _)| range.contains(**time))
                .filter_map(|(time, values)| Some((*time, values.last()?.1.clone())))
                .collect();
            if !samples.is_empty() {
                map.insert(labels.clone(), samples);
            }
        }
        map
    }

    /// Whether a sample ever had this value since it was last deleted.
    pub(super) fn had(&self, labels: &LabelSet, time: i64, point: &Point) -> bool {
        self.values(labels, time)
            .iter()
            .any(|(_, had)| had == point)
    }

    /// Whether some value of a sample was written after this sequence.
    pub(super) fn written_after(&self, labels: &LabelSet, time: i64, seq: u64) -> bool {
        self.values(labels, time).iter().any(|(at, _)| *at > seq)
    }

    fn values(&self, labels: &LabelSet, time: i64) -> &[(u64, Point)] {
        self.0
            .get(labels)
            .and_then(|samples| samples.get(&time))
            .map_or(&[], |values| values)
    }
}
