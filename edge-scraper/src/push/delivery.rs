//! From pushed series to the buffer: records like those of scrapes, small enough for the memory of an edge, and durable before
//! anybody is told so.

use model::{LabelSet, Metadata, Sample, Timestamp};

use super::refused::{DISK_RETRY_SECONDS, Refused};
use super::{Pushes, Source};
use crate::scrape::{Class, Scrape};

/// Samples of one record, about.
const SAMPLES_MAX: usize = 5_000;
/// Text of their labels, about.
const LABEL_BYTES_MAX: usize = 1 << 20;

/// One request's samples on their way.
pub(super) struct Delivery<'p> {
    pushes: &'p Pushes,
    external: LabelSet,
    record: Scrape,
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
                metadata: Vec::new(),
            },
            label_bytes: 0,
            stored: 0,
        }
    }

    /// One more sample.
    pub(super) fn add(&mut self, labels: &LabelSet, sample: Sample) -> Result<(), Refused> {
        let labels = labels.filled_from(&self.external);
        self.label_bytes += labels.as_bytes().len();
        self.record.series.push((labels, sample));
        match self.record.series.len() >= SAMPLES_MAX || self.label_bytes >= LABEL_BYTES_MAX {
            true => self.flush(),
            false => Ok(()),
        }
    }

    pub(super) fn describe(&mut self, family: String, about: Metadata) {
        self.record.metadata.push((family, about));
    }

    fn flush(&mut self) -> Result<(), Refused> {
        if self.record.series.is_empty() && self.record.metadata.is_empty() {
            return Ok(());
        }
        let kept = self.pushes.buffer.append(&self.record);
        kept.map_err(|error| Refused::later(DISK_RETRY_SECONDS, error))?;
        self.stored += self.record.series.len() as u64;
        self.record.series.clear();
        self.record.metadata.clear();
        self.label_bytes = 0;
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
