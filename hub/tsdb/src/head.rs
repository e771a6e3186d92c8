//! Samples in memory: what was written since the last seal, readable at once.

use hashbrown::HashMap;

use crate::{rows::Rows, types::TimeRange};

/// Samples of the write sequences `seq_first..=seq_last`, by series id, in the order in which they were written.
#[derive(Debug, Default)]
pub(crate) struct Head {
    pub(crate) series: HashMap<u32, Rows>,
    pub(crate) rows: usize,
    /// 0 while empty.
    pub(crate) seq_first: u64,
    pub(crate) seq_last: u64,
    /// Smallest and largest timestamp, `None` while empty.
    pub(crate) time: Option<(i64, i64)>,
}

impl Head {
    pub(crate) fn is_empty(&self) -> bool {
        self.rows == 0
    }

    /// Adds samples that were written after all that is there.
    pub(crate) fn append_rows(&mut self, id: u32, samples: Rows) {
        if samples.is_empty() {
            return;
        }
        self.rows += samples.len();
        let (first, last) = self.time.unwrap_or((samples.first, samples.last));
        self.time = Some((first.min(samples.first), last.max(samples.last)));
        let rows = self.series.entry(id).or_default();
        if rows.is_empty() {
            *rows = samples;
        } else {
            rows.extend(&samples);
        }
    }

    /// Records that everything up to here came from these log records.
    pub(crate) fn cover(&mut self, seq_first: u64, seq_last: u64) {
        if self.seq_first == 0 {
            self.seq_first = seq_first;
        }
        self.seq_last = self.seq_last.max(seq_last);
    }

    /// Samples of a series in a range, ordered; empty when it has none.
    pub(crate) fn select(&self, id: u32, range: TimeRange) -> Rows {
        self.series
            .get(&id)
            .map(|rows| rows.within(range).into_ordered())
            .unwrap_or_default()
    }

    /// Whether a series has (or may have) samples in a range.
    pub(crate) fn may_have(&self, id: u32, range: TimeRange) -> bool {
        self.series
            .get(&id)
            .is_some_and(|rows| !rows.is_empty() && range.overlaps(rows.first, rows.last))
    }
}
