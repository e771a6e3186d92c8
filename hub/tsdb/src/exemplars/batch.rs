//! Exemplars on their way from a batch into log and ring.

use model::{Exemplar, Timestamp};

use super::{Exemplars, Verdict};
use crate::{batch::Records, catalogue::UNKNOWN};

/// As many as are taken with one batch.
const BATCH_MAX: usize = 100_000;
/// As many as stand in one section of a record.
const SECTION_MAX: usize = 1_000;

/// What became of the exemplars of a batch.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ExemplarsAppended {
    /// New ones.
    pub stored: u64,
    /// Those that were there already.
    pub repeated: u64,
    /// The others, in the order of the batch.
    pub refused: Vec<RefusedExemplar>,
    /// Refused without a look, because there were 100,000 before them in the batch.
    pub too_many: u64,
}

/// An exemplar that was not stored.
#[derive(Debug, Clone, PartialEq)]
pub struct RefusedExemplar {
    /// Index of its series in the batch.
    pub index: usize,
    /// When it was made.
    pub at: Timestamp,
    /// Why.
    pub reason: ExemplarRefusal,
}

/// Why an exemplar was not stored. Never refuses what it came with.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ExemplarRefusal {
    /// `Limits::exemplars_max` is 0.
    #[error("exemplars are switched off")]
    Off,
    /// Its labels have more than [`Exemplar::LABEL_CHARS_MAX`] characters.
    #[error("its labels have more than {} characters", Exemplar::LABEL_CHARS_MAX)]
    TooLong,
    /// Its timestamp is older than the retention or too far in the future.
    #[error("its timestamp is outside of what is kept")]
    OutOfRange,
    /// There is no such series: exemplars do not make one.
    #[error("there is no such series")]
    NoSeries,
    /// Those of a series come in the order of time.
    #[error("out of order exemplar: the newest of its series is of {} ms", newest.millis())]
    OutOfOrder {
        /// When that was made.
        newest: Timestamp,
    },
}

/// The exemplars of a batch, by index of their series, and what became of them.
#[derive(Debug, Default)]
pub(crate) struct BatchExemplars {
    waiting: Vec<(u32, Exemplar)>,
    outcome: ExemplarsAppended,
    records: Records,
}

impl BatchExemplars {
    pub(crate) fn clear(&mut self) {
        self.waiting.clear();
        self.outcome = ExemplarsAppended::default();
        self.records.clear();
    }

    /// Whether none waits any more.
    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    pub(crate) fn capacity_bytes(&self) -> usize {
        self.waiting.capacity() * size_of::<(u32, Exemplar)>() + self.records.capacity()
    }

    /// Adds one of a series that is not before that of the last one.
    pub(crate) fn push(&mut self, series: u32, exemplar: Exemplar) {
        match self.waiting.len() < BATCH_MAX {
            true => self.waiting.push((series, exemplar)),
            false => self.outcome.too_many += 1,
        }
    }

    /// Whether the series has any.
    pub(crate) fn has(&self, series: u32) -> bool {
        let of = |(series, _): &(u32, Exemplar)| *series;
        !self.waiting.is_empty() && self.waiting.binary_search_by_key(&series, of).is_ok()
    }

    /// Refuses what no store with these limits takes.
    pub(crate) fn refuse_unfit(&mut self, max: usize, oldest: i64, newest: i64) {
        let outcome = &mut self.outcome;
        self.waiting.retain(|(series, exemplar)| {
            let reason = if max == 0 {
                ExemplarRefusal::Off
            } else if !exemplar.is_short() {
                ExemplarRefusal::TooLong
            } else if !(oldest..=newest).contains(&exemplar.at.millis()) {
                ExemplarRefusal::OutOfRange
            } else {
                return true;
            };
            outcome.refuse(*series, exemplar, reason);
            false
        });
    }

    /// Makes the log records, once the ids of the series are known. All are logged: whether one fits is seen when it goes
    /// into the ring, and by a restart, which reads the same, in the same way.
    pub(crate) fn encode(&mut self, ids: &[u32]) {
        let outcome = &mut self.outcome;
        self.waiting.retain(|(series, exemplar)| {
            let known = ids[*series as usize] != UNKNOWN;
            if !known {
                outcome.refuse(*series, exemplar, ExemplarRefusal::NoSeries);
            }
            known
        });
        self.records.clear();
        for some in self.waiting.chunks(SECTION_MAX) {
            let some = some.iter();
            let some = some.map(|(series, exemplar)| (ids[*series as usize], exemplar));
            self.records.frame().exemplars(some);
        }
    }

    pub(crate) fn records(&self) -> impl Iterator<Item = &[u8]> {
        self.records.iter()
    }

    /// Adds what [`BatchExemplars::encode`] wrote, once it is in the log under this sequence.
    pub(crate) fn insert_into(&mut self, ring: &mut Exemplars, ids: &[u32], seq: u64) {
        for (series, exemplar) in self.waiting.drain(..) {
            match ring.insert(ids[series as usize], seq, exemplar.clone()) {
                Verdict::Stored => self.outcome.stored += 1,
                Verdict::Repeated => self.outcome.repeated += 1,
                Verdict::OutOfOrder(newest) => {
                    let reason = ExemplarRefusal::OutOfOrder { newest };
                    self.outcome.refuse(series, &exemplar, reason);
                }
            }
        }
        self.records.clear();
    }

    /// What became of all.
    pub(crate) fn take_outcome(&mut self) -> ExemplarsAppended {
        let mut outcome = std::mem::take(&mut self.outcome);
        outcome.refused.sort_by_key(|refused| refused.index);
        outcome
    }
}

impl ExemplarsAppended {
    fn refuse(&mut self, series: u32, exemplar: &Exemplar, reason: ExemplarRefusal) {
        self.refused.push(RefusedExemplar {
            index: series as usize,
            at: exemplar.at,
            reason,
        });
    }
}
