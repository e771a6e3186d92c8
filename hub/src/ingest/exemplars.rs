//! Exemplars on their way to the store. What is wrong with one never refuses the samples that it came with, and in remote
//! write 1.0 nobody is told: so it is counted, each with what became of it.

use std::sync::atomic::{AtomicU64, Ordering};

use model::{Exemplar, Timestamp};
use tsdb::{Columns, ExemplarRefusal, ExemplarsAppended};
use wire::remote_write::SeriesRefusal;

/// What may become of an exemplar, by the names that `/metrics` has for it.
const OUTCOMES: [&str; 9] = [
    "stored",
    "duplicate",
    "out_of_order",
    "labels_too_long",
    "out_of_bounds",
    "unknown_series",
    "too_many",
    "disabled",
    "unreadable",
];
const STORED: usize = 0;
const DUPLICATE: usize = 1;
const TOO_LONG: usize = 3;
const OUT_OF_BOUNDS: usize = 4;
const TOO_MANY: usize = 6;
const UNREADABLE: usize = 8;

/// Since the start.
#[derive(Debug, Default)]
pub(crate) struct ExemplarCounts([AtomicU64; OUTCOMES.len()]);

/// In one request.
#[derive(Debug, Default)]
pub(super) struct ExemplarTally([u64; OUTCOMES.len()]);

impl ExemplarCounts {
    pub(crate) fn by_outcome(&self) -> [(&'static str, &AtomicU64); OUTCOMES.len()] {
        std::array::from_fn(|outcome| (OUTCOMES[outcome], &self.0[outcome]))
    }

    pub(super) fn add(&self, tally: &ExemplarTally) {
        for (count, more) in self.0.iter().zip(tally.0) {
            if more > 0 {
                count.fetch_add(more, Ordering::Relaxed);
            }
        }
    }
}

impl ExemplarTally {
    /// Adds exemplars to the series that came last into the columns, those that can be read and are not too far ahead.
    pub(super) fn push(
        &mut self,
        columns: &mut Columns,
        sent: impl Iterator<Item = Result<Exemplar, SeriesRefusal>>,
        latest: Timestamp,
    ) {
        for exemplar in sent {
            match exemplar {
                Ok(exemplar) if exemplar.at <= latest => columns.push_exemplar(exemplar),
                Ok(_) => self.0[OUT_OF_BOUNDS] += 1,
                Err(SeriesRefusal::ExemplarTooLong) => self.0[TOO_LONG] += 1,
                Err(refusal) => {
                    tracing::debug!("{refusal}");
                    self.0[UNREADABLE] += 1;
                }
            }
        }
    }

    /// Adds what the store says of those that it was given.
    pub(super) fn add(&mut self, appended: &ExemplarsAppended) {
        self.0[STORED] += appended.stored;
        self.0[DUPLICATE] += appended.repeated;
        self.0[TOO_MANY] += appended.too_many;
        for refused in &appended.refused {
            self.0[outcome_of(&refused.reason)] += 1;
        }
    }

    /// Those that the store has now.
    pub(super) fn written(&self) -> u64 {
        self.0[STORED] + self.0[DUPLICATE]
    }
}

fn outcome_of(reason: &ExemplarRefusal) -> usize {
    match reason {
        ExemplarRefusal::OutOfOrder { .. } => 2,
        ExemplarRefusal::TooLong => TOO_LONG,
        ExemplarRefusal::OutOfRange => OUT_OF_BOUNDS,
        ExemplarRefusal::NoSeries => 5,
        ExemplarRefusal::Off => 7,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_refusal_is_counted_by_its_name() {
        let check = |reason, name: &str| assert_eq!(OUTCOMES[outcome_of(&reason)], name);
        let newest = Timestamp::default();
        check(ExemplarRefusal::OutOfOrder { newest }, "out_of_order");
        check(ExemplarRefusal::TooLong, "labels_too_long");
        check(ExemplarRefusal::OutOfRange, "out_of_bounds");
        check(ExemplarRefusal::NoSeries, "unknown_series");
        check(ExemplarRefusal::Off, "disabled");
    }
}
