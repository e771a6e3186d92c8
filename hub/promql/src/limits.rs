//! What stops a query: how much it may hold, and whoever asked not wanting the answer any more.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

/// Why a query was stopped from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// Its client left, or the process shuts down.
    Canceled,
    /// Its time is up.
    TimedOut,
}

/// Stops a running query from another thread. Clones act on the same query. The engine reads no clock: whoever starts
/// a query with a deadline calls [`Cancel::time_out`] when it has passed.
#[derive(Clone, Debug, Default)]
pub struct Cancel {
    state: Arc<AtomicU8>,
}

const CANCELED: u8 = 1;
const TIMED_OUT: u8 = 2;

impl Cancel {
    /// For a query that runs.
    pub fn new() -> Self {
        Cancel::default()
    }

    /// Nobody wants the answer any more.
    pub fn cancel(&self) {
        self.stop(CANCELED);
    }

    /// The query's time is up.
    pub fn time_out(&self) {
        self.stop(TIMED_OUT);
    }

    /// The first reason stands.
    fn stop(&self, reason: u8) {
        let _ = self
            .state
            .compare_exchange(0, reason, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// Whether the query may go on.
    ///
    /// # Errors
    /// Why it may not.
    pub fn check(&self) -> Result<(), Stop> {
        match self.state.load(Ordering::Relaxed) {
            0 => Ok(()),
            CANCELED => Err(Stop::Canceled),
            _ => Err(Stop::TimedOut),
        }
    }
}

/// The query holds as many samples as it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooManySamples;

/// How many samples a query may hold at a time; a native histogram counts for as many as it has room for. Shared by
/// all threads that work for the query.
#[derive(Debug)]
pub struct Budget {
    samples_max: u64,
    samples: AtomicU64,
    peak: AtomicU64,
}

impl Budget {
    /// Room for so many samples.
    pub fn new(samples_max: u64) -> Self {
        Budget {
            samples_max,
            samples: AtomicU64::new(0),
            peak: AtomicU64::new(0),
        }
    }

    /// Takes room for samples that are now held.
    ///
    /// # Errors
    /// There is not enough left.
    pub fn take(&self, samples: u64) -> Result<(), TooManySamples> {
        let held = self.samples.fetch_add(samples, Ordering::Relaxed);
        let held = held.saturating_add(samples);
        self.peak.fetch_max(held, Ordering::Relaxed);
        if held > self.samples_max {
            return Err(TooManySamples);
        }
        Ok(())
    }

    /// Gives room back.
    pub fn release(&self, samples: u64) {
        let _ = self
            .samples
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |held| {
                Some(held.saturating_sub(samples))
            });
    }

    /// The most that was held at a time.
    pub fn peak(&self) -> u64 {
        self.peak.load(Ordering::Relaxed)
    }

    /// How much may be held.
    pub fn samples_max(&self) -> u64 {
        self.samples_max
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_reason_stands() {
        let cancel = Cancel::new();
        assert_eq!(cancel.check(), Ok(()));
        cancel.clone().time_out();
        cancel.cancel();
        assert_eq!(cancel.check(), Err(Stop::TimedOut));
    }

    #[test]
    fn budget() {
        let budget = Budget::new(10);
        assert_eq!(budget.take(8), Ok(()));
        budget.release(4);
        assert_eq!(budget.take(6), Ok(()));
        assert_eq!(budget.take(1), Err(TooManySamples));
        assert_eq!(budget.peak(), 11);
    }
}
