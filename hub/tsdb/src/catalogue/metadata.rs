//! What was said of metrics: the last few things for each name, in one file of its own.

use std::sync::Arc;

use model::{Metadata, MetricType};

use crate::{
    codec::{Decoded, Input, Malformed, put_bytes},
    sealed::{open_sealed, pack, sealed, unpack},
    types::MetadataByMetric,
};

/// Different metadata remembered per metric name.
const PER_METRIC_MAX: usize = 4;
const MAGIC: [u8; 8] = *b"BRLMETA\n";

#[derive(Default)]
pub(super) struct MetadataBook {
    pub(super) known: Arc<MetadataByMetric>,
    /// Rises with every change.
    pub(super) version: u64,
    pub(super) saved_version: u64,
    pub(super) saved_bytes: u64,
}

impl MetadataBook {
    pub(super) fn is_news(&self, metric: &str, metadata: &Metadata, metrics_max: usize) -> bool {
        match self.known.get(metric) {
            Some(known) => !known.contains(metadata),
            None => self.known.len() < metrics_max,
        }
    }

    /// Whether it is news.
    pub(super) fn insert(&mut self, metric: &str, metadata: &Metadata, metrics_max: usize) -> bool {
        if !self.is_news(metric, metadata, metrics_max) {
            return false;
        }
        let all = Arc::make_mut(&mut self.known);
        let known = all.entry(metric.to_owned()).or_default();
        known.push(metadata.clone());
        if known.len() > PER_METRIC_MAX {
            known.remove(0);
        }
        self.version += 1;
        true
    }
}

pub(super) fn encode(known: &MetadataByMetric) -> Vec<u8> {
    let mut body = Vec::new();
    for (metric, known) in known {
        for metadata in known {
            put_bytes(&mut body, metric.as_bytes());
            put_bytes(&mut body, metadata.kind.as_str().as_bytes());
            put_bytes(&mut body, metadata.help.as_bytes());
            put_bytes(&mut body, metadata.unit.as_bytes());
        }
    }
    let mut content = Vec::new();
    pack(&mut content, &body);
    sealed(MAGIC, &content)
}

/// Total, and bounded as a segment's is.
pub(super) fn decode(bytes: &[u8]) -> Decoded<MetadataByMetric> {
    let input = open_sealed(MAGIC, bytes)?;
    let body = unpack(input, bytes.len())?;
    let mut input = Input(&body);
    let mut known = MetadataByMetric::new();
    while !input.is_empty() {
        let metric = input.str()?.to_owned();
        let kind = MetricType::from_word(input.str()?).ok_or(Malformed("a metric type"))?;
        let (help, unit) = (input.str()?.to_owned(), input.str()?.to_owned());
        let of_metric = known.entry(metric).or_default();
        of_metric.push(Metadata { kind, help, unit });
        if of_metric.len() > PER_METRIC_MAX {
            return Err(Malformed("at most 4 of a metric"));
        }
    }
    Ok(known)
}

/// For fuzzing: how many metrics a file says `content` of.
pub(crate) fn probe(content: &[u8]) -> Decoded<usize> {
    decode(&sealed(MAGIC, content)).map(|known| known.len())
}
