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

/// The query holds as much as it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OverBudget {
    /// Too many samples.
    Samples,
    /// Too much memory.
    Memory {
        /// Bytes that it may hold.
        max: u64,
    },
}

/// Memory that a sample takes: as it is read, and as it stands in a result and in the text of an answer.
const SAMPLE_BYTES: u64 = 48;

/// What counts against a [`Budget`]. A number of samples is one, too.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Weight {
    /// A native histogram counts for as many as it has room for.
    pub samples: u64,
    /// All of it in memory.
    pub bytes: u64,
}

impl Weight {
    /// Only memory, and no samples.
    pub fn bytes(bytes: usize) -> Self {
        Weight {
            samples: 0,
            bytes: bytes as u64,
        }
    }
}

impl From<u64> for Weight {
    fn from(samples: u64) -> Self {
        Weight {
            samples,
            bytes: samples.saturating_mul(SAMPLE_BYTES),
        }
    }
}

impl std::ops::Add for Weight {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Weight {
            samples: self.samples.saturating_add(other.samples),
            bytes: self.bytes.saturating_add(other.bytes),
        }
    }
}

impl std::iter::Sum for Weight {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(Self::default(), |sum, one| sum + one)
    }
}

/// How many samples and how much memory a query may hold at a time. Shared by all threads that work for the query.
#[derive(Debug)]
pub struct Budget {
    samples_max: u64,
    bytes_max: u64,
    samples: AtomicU64,
    bytes: AtomicU64,
    peak: AtomicU64,
}

impl Budget {
    /// Room for so many samples, whatever memory they take.
    pub fn new(samples_max: u64) -> Self {
        Budget::with_memory(samples_max, u64::MAX)
    }

    /// Room for so many samples and so much memory.
    pub fn with_memory(samples_max: u64, bytes_max: u64) -> Self {
        Budget {
            samples_max,
            bytes_max,
            samples: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            peak: AtomicU64::new(0),
        }
    }

    /// Takes room for what is now held.
    ///
    /// # Errors
    /// There is not enough left.
    pub fn take(&self, weight: impl Into<Weight>) -> Result<(), OverBudget> {
        let weight = weight.into();
        let held = self.samples.fetch_add(weight.samples, Ordering::Relaxed);
        let held = held.saturating_add(weight.samples);
        self.peak.fetch_max(held, Ordering::Relaxed);
        let bytes = self.bytes.fetch_add(weight.bytes, Ordering::Relaxed);
        if held > self.samples_max {
            return Err(OverBudget::Samples);
        }
        if bytes.saturating_add(weight.bytes) > self.bytes_max {
            let max = self.bytes_max;
            return Err(OverBudget::Memory { max });
        }
        Ok(())
    }

    /// Gives room back.
    pub fn release(&self, weight: impl Into<Weight>) {
        let weight = weight.into();
        for (held, less) in [(&self.samples, weight.samples), (&self.bytes, weight.bytes)] {
            let _ = held.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |held| {
                Some(held.saturating_sub(less))
            });
        }
    }

    /// The most samples that were held at a time.
    pub fn peak(&self) -> u64 {
        self.peak.load(Ordering::Relaxed)
    }

    /// How many samples may be held.
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
        assert_eq!(budget.take(1), Err(OverBudget::Samples));
        assert_eq!(budget.peak(), 11);
        let budget = Budget::with_memory(10, 1_000);
        assert_eq!(budget.take(Weight::bytes(600)), Ok(()));
        let over = Err(OverBudget::Memory { max: 1_000 });
        assert_eq!(budget.take(Weight::bytes(401)), over);
        budget.release(Weight::bytes(1_001));
        assert_eq!(budget.take(10), Ok(()));
        assert_eq!(budget.peak(), 10);
    }
}
