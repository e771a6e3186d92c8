//! From pushed series to the buffer: records like those of scrapes, small enough for the memory of an edge, and durable before
//! anybody is told so.
//!
//! A record has each series once, as a scrape has: a request with several samples of a series becomes several records, in the order
//! of the samples. So a foreign endpoint gets them in order, and they are coded as columns.

use std::collections::HashMap;

use model::{Exemplar, LabelSet, Metadata, Sample, Series, Timestamp};

use super::refused::{DISK_RETRY_SECONDS, Refused};
use super::{Pushes, Source};
use crate::scrape::{Class, Scrape};

/// Samples that are held at a time, about.
const SAMPLES_MAX: usize = 5_000;
/// Text of their labels, about.
const LABEL_BYTES_MAX: usize = 1 << 20;

/// One request's samples on their way.
pub(super) struct Delivery<'p> {
    pushes: &'p Pushes,
    external: LabelSet,
    record: Scrape,
    /// The first sample of each series, the second, and so on.
    rounds: Vec<Vec<(Series, Sample)>>,
    /// How many of a series there are.
    seen: HashMap<LabelSet, usize>,
    held: usize,
    label_bytes: usize,
    stored: u64,
}

impl<'p> Delivery<'p> {
    pub(super) fn new(pushes: &'p Pushes, source: &Source, at: Timestamp) -> Delivery<'p> {
        Delivery {
            external: pushes.settings().external.clone(),
            pushes,
            record: Scrape {
                // When it came: what the samples say of themselves may be long ago, and is news all the same.
                at,
                target: source.target(),
                class: Class::Ordinary,
                series: Vec::new(),
                exemplars: Vec::new(),
                metadata: Vec::new(),
            },
            rounds: Vec::new(),
            seen: HashMap::new(),
            held: 0,
            label_bytes: 0,
            stored: 0,
        }
    }

    /// One more sample; those of a series come in the order of their times.
    pub(super) fn add(&mut self, labels: &LabelSet, sample: Sample) -> Result<(), Refused> {
        let labels = labels.filled_from(&self.external);
        self.label_bytes += labels.as_bytes().len();
        self.held += 1;
        let round = self.seen.entry(labels.clone()).or_default();
        if self.rounds.len() <= *round {
            self.rounds.push(Vec::new());
        }
        self.rounds[*round].push((labels.into(), sample));
        *round += 1;
        match self.held >= SAMPLES_MAX || self.label_bytes >= LABEL_BYTES_MAX {
            true => self.flush(),
            false => Ok(()),
        }
    }

    /// An exemplar of a series that has a sample in this request.
    pub(super) fn exemplar(&mut self, labels: &LabelSet, exemplar: Exemplar) {
        let labels = labels.filled_from(&self.external);
        self.label_bytes += labels.as_bytes().len() + exemplar.labels.as_bytes().len();
        self.record.exemplars.push((labels, exemplar));
    }

    pub(super) fn describe(&mut self, family: String, about: Metadata) {
        self.record.metadata.push((family, about));
    }

    fn flush(&mut self) -> Result<(), Refused> {
        let beside = !self.record.metadata.is_empty() || !self.record.exemplars.is_empty();
        if self.rounds.is_empty() && beside {
            self.rounds.push(Vec::new());
        }
        for round in std::mem::take(&mut self.rounds) {
            self.record.series = round;
            let kept = self.pushes.buffer.append(&self.record);
            kept.map_err(|error| Refused::later(DISK_RETRY_SECONDS, error))?;
            self.stored += self.record.series.len() as u64;
            self.record.series.clear();
            self.record.exemplars.clear();
            self.record.metadata.clear();
        }
        self.seen.clear();
        (self.held, self.label_bytes) = (0, 0);
        Ok(())
    }

    /// Everything is on disk when this returns; says how many samples.
    pub(super) fn finish(mut self) -> Result<u64, Refused> {
        self.flush()?;
        if self.stored > 0 {
            let synced = self.pushes.buffer.sync();
            synced.map_err(|error| Refused::later(DISK_RETRY_SECONDS, error))?;
        }
        Ok(self.stored)
    }
}
