//! A storage for scripts: a sorted map.

use std::collections::BTreeMap;

use model::{LabelSet, Sample, Value};

use super::command::Load;
use super::run::Target;
use crate::histogram::note_resets;
use crate::limits::{Budget, Cancel};
use crate::storage::{Column, Select, Selection, SeriesColumns, Storage, StorageError};

/// Holds what a script loads, in memory.
///
/// Reset hints of native histograms are kept as Prometheus's chunks keep them: inside a run without a reset they say
/// so, the first of a run says nothing.
#[derive(Clone, Debug, Default)]
pub struct MemoryTarget {
    series: BTreeMap<LabelSet, Vec<Sample>>,
}

impl Target for MemoryTarget {
    fn clear(&mut self) {
        self.series.clear();
    }

    fn load(&mut self, load: &Load) -> Result<(), String> {
        for series in &load.series {
            let samples = self.series.entry(series.labels.clone()).or_default();
            samples.extend(series.samples.iter().cloned());
            samples.sort_by_key(|sample| sample.at);
            // The later one stands.
            samples.reverse();
            samples.dedup_by_key(|sample| sample.at);
            samples.reverse();
            note_resets(samples.iter_mut().map(|sample| &mut sample.value));
        }
        Ok(())
    }

    fn storage(&self) -> &dyn Storage {
        self
    }
}

impl Storage for MemoryTarget {
    fn select(
        &self,
        select: &Select<'_>,
        budget: &Budget,
        cancel: &Cancel,
    ) -> Result<Selection, StorageError> {
        let mut selection = Selection::default();
        for (labels, samples) in &self.series {
            cancel.check()?;
            if !select.matchers.iter().all(|m| m.matches_labels(labels)) {
                continue;
            }
            let from = samples.partition_point(|sample| sample.at < select.start);
            let to = samples.partition_point(|sample| sample.at <= select.end);
            if from >= to {
                continue;
            }
            let columns = columns(labels, &samples[from..to]);
            budget.take(columns.values.weight())?;
            selection.series.push(columns);
        }
        Ok(selection)
    }
}

fn columns(labels: &LabelSet, samples: &[Sample]) -> SeriesColumns {
    let floats: Option<Vec<f64>> = samples
        .iter()
        .map(|sample| match sample.value {
            Value::Float(value) => Some(value),
            Value::Histogram(_) => None,
        })
        .collect();
    let starts = if samples.iter().any(|sample| sample.start.is_some()) {
        let start = |sample: &Sample| sample.start.map_or(0, |start| start.millis());
        samples.iter().map(start).collect()
    } else {
        Vec::new()
    };
    SeriesColumns {
        labels: labels.clone(),
        timestamps: samples.iter().map(|sample| sample.at.millis()).collect(),
        values: match floats {
            Some(floats) => Column::Floats(floats),
            None => Column::Mixed(samples.iter().map(|sample| sample.value.clone()).collect()),
        },
        starts,
    }
}
