//! The buffer read from the outside: all durable records, whatever hubs have of them.

use super::index::RecordMeta;
use super::store::{Buffer, BufferError};

/// A run of records that is kept or given up as one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stretch {
    /// Its first record.
    pub first: u64,
    /// Its last durable record.
    pub last: u64,
    /// Whether more records may join it.
    pub grows: bool,
}

impl Buffer {
    /// The stretches that have durable records, oldest first.
    pub fn stretches(&self) -> Vec<Stretch> {
        let through = self.synced().seq;
        let segments = self.journal.segments().into_iter();
        segments
            .map(|info| Stretch {
                first: info.first_seq,
                last: info.last_seq.min(through),
                grows: info.active || info.last_seq > through,
            })
            .filter(|stretch| stretch.last >= stretch.first)
            .collect()
    }

    /// The records of a stretch that can be read, in order; none if it was given up meanwhile. [`Buffer::load`] reads them.
    ///
    /// # Errors
    /// A disk that cannot be read.
    pub fn records_of(&self, stretch: &Stretch) -> Result<Vec<RecordMeta>, BufferError> {
        let segments = self.journal.segments();
        let info = segments.iter().find(|info| info.first_seq == stretch.first);
        let Some(info) = info else {
            return Ok(Vec::new());
        };
        let mut books = self.books();
        let (records, _) = books.read_segment(&self.journal, info, stretch.last)?;
        let records = records.iter();
        Ok(records
            .take_while(|record| record.seq <= stretch.last)
            .collect())
    }
}
