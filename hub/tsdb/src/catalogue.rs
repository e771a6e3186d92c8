//! Which series are there, and under which keys and labels are they found?
//!
//! A series is its label set: whatever raw bytes or scope it comes from, it gets one id. Its *keys* (hashes of raw label
//! bytes) only spare parsing. A sender could make up ever new spellings of one label set, so only the first few are
//! remembered; the others are parsed each time. Ids are never used twice.

use std::{collections::BTreeMap, sync::Arc};

use hashbrown::HashMap;
use model::{LabelSet, Metadata};
use roaring::RoaringBitmap;

use crate::{
    batch::ColumnSeries,
    frame::Frame,
    postings::Postings,
    store::UNKNOWN,
    types::{MetadataByMetric, SeriesKey},
};

/// Keys remembered per series.
const KEYS_MAX: u8 = 8;
/// Different metadata remembered per metric name.
const METADATA_PER_METRIC_MAX: usize = 4;

struct SeriesEntry {
    labels: LabelSet,
    scope: Arc<str>,
    keys: u8,
}

#[derive(Default)]
pub(crate) struct Catalogue {
    by_key: HashMap<SeriesKey, u32>,
    by_labels: HashMap<LabelSet, u32>,
    series: HashMap<u32, SeriesEntry>,
    scopes: BTreeMap<Arc<str>, usize>,
    pub(crate) postings: Postings,
    metadata: MetadataByMetric,
    pub(crate) next_id: u32,
    /// Changed since [`Catalogue::take_unsaved`]: not yet in the catalogue's log.
    unsaved_keys: Vec<(SeriesKey, u32)>,
    unsaved_metadata: Vec<String>,
}

impl Catalogue {
    pub(crate) fn len(&self) -> usize {
        self.series.len()
    }

    pub(crate) fn id_of_key(&self, key: SeriesKey) -> Option<u32> {
        let id = self.by_key.get(&key).copied();
        // A series forgotten because its labels came back under another id may still have keys.
        id.filter(|id| self.series.contains_key(id))
    }

    /// The ids of these series, [`UNKNOWN`] for those that have none; whether all have one.
    pub(crate) fn resolve(&self, series: &[ColumnSeries], ids: &mut Vec<u32>) -> bool {
        ids.clear();
        ids.extend(
            series
                .iter()
                .map(|series| self.id_of_key(series.key).unwrap_or(UNKNOWN)),
        );
        !ids.contains(&UNKNOWN)
    }

    pub(crate) fn id_of_labels(&self, labels: &LabelSet) -> Option<u32> {
        self.by_labels.get(labels).copied()
    }

    pub(crate) fn labels(&self, id: u32) -> Option<&LabelSet> {
        self.series.get(&id).map(|entry| &entry.labels)
    }

    pub(crate) fn series_in_scope(&self, scope: &str) -> usize {
        self.scopes.get(scope).copied().unwrap_or(0)
    }

    pub(crate) fn scopes(&self) -> impl Iterator<Item = (&str, usize)> {
        self.scopes.iter().map(|(scope, count)| (&**scope, *count))
    }

    pub(crate) fn metadata(&self) -> &MetadataByMetric {
        &self.metadata
    }

    /// Whether another key of the series would be remembered.
    pub(crate) fn takes_alias(&self, id: u32) -> bool {
        self.series
            .get(&id)
            .is_some_and(|entry| entry.keys < KEYS_MAX)
    }

    /// Adds a series under an id that the caller took from `next_id`, or that a log says. Saying it again changes nothing.
    pub(crate) fn insert(&mut self, key: SeriesKey, id: u32, scope: &str, labels: &LabelSet) {
        self.next_id = self.next_id.max(id.saturating_add(1));
        if !self.series.contains_key(&id) {
            // Logs of before and after a series was forgotten can name its labels twice: the later id holds.
            if let Some(old) = self.by_labels.insert(labels.clone(), id) {
                self.forget(old);
                self.by_labels.insert(labels.clone(), id);
            }
            let (scope, count) = match self.scopes.get_key_value(scope) {
                Some((scope, count)) => (scope.clone(), count + 1),
                None => (Arc::from(scope), 1),
            };
            self.scopes.insert(scope.clone(), count);
            self.postings.insert(id, labels);
            self.series.insert(
                id,
                SeriesEntry {
                    labels: labels.clone(),
                    scope,
                    keys: 0,
                },
            );
        }
        self.insert_alias(key, id);
    }

    pub(crate) fn insert_alias(&mut self, key: SeriesKey, id: u32) {
        let Some(entry) = self.series.get_mut(&id) else {
            return;
        };
        if self.by_key.insert(key, id) != Some(id) {
            entry.keys = entry.keys.saturating_add(1);
            self.unsaved_keys.push((key, id));
        }
    }

    /// Whether the metadata is news.
    pub(crate) fn insert_metadata(
        &mut self,
        metric: &str,
        metadata: &Metadata,
        metrics_max: usize,
    ) -> bool {
        if !self.is_news(metric, metadata, metrics_max) {
            return false;
        }
        let known = self.metadata.entry(metric.to_owned()).or_default();
        known.retain(|other| other != metadata);
        known.push(metadata.clone());
        if known.len() > METADATA_PER_METRIC_MAX {
            known.remove(0);
        }
        self.unsaved_metadata.push(metric.to_owned());
        true
    }

    pub(crate) fn is_news(&self, metric: &str, metadata: &Metadata, metrics_max: usize) -> bool {
        match self.metadata.get(metric) {
            Some(known) => !known.contains(metadata),
            None => self.metadata.len() < metrics_max,
        }
    }

    /// Removes a series from everything but the logs.
    fn forget(&mut self, id: u32) {
        let Some(entry) = self.series.remove(&id) else {
            return;
        };
        self.postings.remove(id, &entry.labels);
        if self.by_labels.get(&entry.labels) == Some(&id) {
            self.by_labels.remove(&entry.labels);
        }
        if let Some(count) = self.scopes.get_mut(&entry.scope) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.scopes.remove(&entry.scope);
            }
        }
    }

    /// Forgets all series but these; how many went.
    pub(crate) fn retain(&mut self, live: &RoaringBitmap) -> u64 {
        let dead: Vec<u32> = self
            .series
            .keys()
            .copied()
            .filter(|id| !live.contains(*id))
            .collect();
        for id in &dead {
            self.forget(*id);
        }
        let series = &self.series;
        self.by_key.retain(|_, id| series.contains_key(id));
        self.unsaved_keys.retain(|(_, id)| series.contains_key(id));
        dead.len() as u64
    }

    /// How many of the series are not in `live`.
    pub(crate) fn count_dead(&self, live: &RoaringBitmap) -> usize {
        self.series.keys().filter(|id| !live.contains(**id)).count()
    }

    /// Records for the catalogue's log: what changed since the last call.
    pub(crate) fn take_unsaved(&mut self) -> Vec<Vec<u8>> {
        let keys = std::mem::take(&mut self.unsaved_keys);
        let mut metrics = std::mem::take(&mut self.unsaved_metadata);
        metrics.sort_unstable();
        metrics.dedup();
        self.records(&keys, metrics.iter().map(String::as_str))
    }

    /// Records that hold all of it.
    pub(crate) fn snapshot(&self) -> Vec<Vec<u8>> {
        let mut keys: Vec<(SeriesKey, u32)> =
            self.by_key.iter().map(|(key, id)| (*key, *id)).collect();
        keys.sort_unstable_by_key(|(key, id)| (*id, *key));
        self.records(&keys, self.metadata.keys().map(String::as_str))
    }

    fn records<'a>(
        &self,
        keys: &[(SeriesKey, u32)],
        metrics: impl Iterator<Item = &'a str>,
    ) -> Vec<Vec<u8>> {
        /// Small enough that one damaged record does not take many series with it.
        const RECORD_BYTES: usize = 64 << 10;
        let mut records = Vec::new();
        let mut frame = Frame::new();
        let mut flush = |frame: &mut Frame, at_least: usize| {
            if !frame.is_empty() && frame.len() >= at_least {
                records.push(std::mem::replace(frame, Frame::new()).into_bytes());
            }
        };
        let mut written = RoaringBitmap::new();
        for (key, id) in keys {
            if written.insert(*id) {
                let Some(entry) = self.series.get(id) else {
                    continue;
                };
                frame.series(key.0, *id, &entry.scope, &entry.labels);
            } else {
                frame.alias(key.0, *id);
            }
            flush(&mut frame, RECORD_BYTES);
        }
        for metric in metrics {
            for metadata in self.metadata.get(metric).into_iter().flatten() {
                frame.metadata(metric, metadata);
            }
            flush(&mut frame, RECORD_BYTES);
        }
        flush(&mut frame, 0);
        records
    }
}
