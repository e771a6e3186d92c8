//! The records of a time range, oldest first, as the messages that they hold.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use model::Timestamp;

use super::{LocalError, Stop};
use crate::buffer::{Buffer, RecordMeta};

/// A record holds samples of any age, and none further ahead of it than that: nobody takes such samples.
const AHEAD_MAX: Duration = Duration::from_secs(600);
/// Records are loaded so much at a time; a longer one alone.
const LOADED_BYTES: u64 = 1 << 20;

pub(super) struct History {
    buffer: Arc<Buffer>,
    /// Time of the newest record of each stretch that does not grow any more, by its first record.
    newest: Mutex<BTreeMap<u64, Timestamp>>,
}

impl History {
    pub(super) fn new(buffer: Arc<Buffer>) -> History {
        History {
            buffer,
            newest: Mutex::default(),
        }
    }

    /// Shows every message that may hold samples from `start` on.
    pub(super) fn walk(
        &self,
        start: Timestamp,
        stop: &Stop,
        visit: &mut dyn FnMut(&[u8]) -> Result<(), LocalError>,
    ) -> Result<(), LocalError> {
        let in_range = |at: Timestamp| at.saturating_add(AHEAD_MAX) >= start;
        let stretches = self.buffer.stretches();
        if let Some(oldest) = stretches.first() {
            let mut newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
            *newest = newest.split_off(&oldest.first);
        }
        for stretch in stretches {
            stop.check()?;
            let known = {
                let newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
                newest.get(&stretch.first).copied()
            };
            if known.is_some_and(|at| !in_range(at)) {
                continue;
            }
            let records = self.buffer.records_of(&stretch)?;
            if let Some(newest) = records.iter().map(|record| record.at).max()
                && !stretch.grows
            {
                let mut known = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
                known.insert(stretch.first, newest);
            }
            let wanted: Vec<RecordMeta> = records
                .into_iter()
                .filter(|record| in_range(record.at))
                .collect();
            let missed = self.show(&wanted, stop, visit)?;
            if !missed.is_empty() {
                // Evicted, or thinned while it was read: then the rest of it is in other frames now.
                let mut now = self.buffer.records_of(&stretch)?;
                now.retain(|record| missed.contains(&record.seq));
                self.show(&now, stop, visit)?;
            }
        }
        Ok(())
    }

    /// Shows the messages of records. Those that are gone, or are not what they were, are returned.
    fn show(
        &self,
        records: &[RecordMeta],
        stop: &Stop,
        visit: &mut dyn FnMut(&[u8]) -> Result<(), LocalError>,
    ) -> Result<BTreeSet<u64>, LocalError> {
        let (mut rest, mut missed) = (records, BTreeSet::new());
        while !rest.is_empty() {
            stop.check()?;
            let mut bytes = 0;
            let fits = |record: &&RecordMeta| {
                bytes += record.message_bytes;
                bytes <= LOADED_BYTES
            };
            let length = rest.iter().take_while(fits).count().max(1);
            let batch = self.buffer.load(&rest[..length])?;
            visit(&batch.message)?;
            if batch.records.len() < length {
                let shown = batch.records.iter().map(|record| record.seq);
                let shown: BTreeSet<u64> = shown.collect();
                let asked = rest[..length].iter().map(|record| record.seq);
                missed.extend(asked.filter(|seq| !shown.contains(seq)));
            }
            rest = &rest[length..];
        }
        Ok(missed)
    }
}
