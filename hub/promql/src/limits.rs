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
    /// Too much memory together with the others that run.
    AllMemory {
        /// Bytes that all may hold.
        max: u64,
    },
}

/// Memory that all queries of an engine share.
#[derive(Debug)]
pub struct Pool {
    bytes_max: u64,
    bytes: AtomicU64,
}

impl Pool {
    /// Room for so many bytes.
    pub fn new(bytes_max: u64) -> Self {
        Pool {
            bytes_max,
            bytes: AtomicU64::new(0),
        }
    }

    /// How many bytes are held.
    pub fn held(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }
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
    pool: Option<Arc<Pool>>,
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
            pool: None,
        }
    }

    /// The memory is taken from what all queries share, too; what is left of it goes back when the budget is dropped.
    #[must_use]
    pub fn sharing(mut self, pool: &Arc<Pool>) -> Self {
        self.pool = Some(pool.clone());
        self
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
        let over_all = self.pool.as_ref().is_some_and(|pool| {
            let all = pool.bytes.fetch_add(weight.bytes, Ordering::Relaxed);
            all.saturating_add(weight.bytes) > pool.bytes_max
        });
        if held > self.samples_max {
            return Err(OverBudget::Samples);
        }
        if bytes.saturating_add(weight.bytes) > self.bytes_max {
            let max = self.bytes_max;
            return Err(OverBudget::Memory { max });
        }
        if over_all {
            let max = self.pool.as_ref().map_or(0, |pool| pool.bytes_max);
            return Err(OverBudget::AllMemory { max });
        }
        Ok(())
    }

    /// Gives room back.
    pub fn release(&self, weight: impl Into<Weight>) {
        let weight = weight.into();
        lessen(&self.samples, weight.samples);
        let bytes = lessen(&self.bytes, weight.bytes);
        if let Some(pool) = &self.pool {
            pool.bytes.fetch_sub(bytes, Ordering::Relaxed);
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

impl Drop for Budget {
    fn drop(&mut self) {
        if let Some(pool) = &self.pool {
            pool.bytes
                .fetch_sub(*self.bytes.get_mut(), Ordering::Relaxed);
        }
    }
}

/// Takes off as much as is there; how much that was.
fn lessen(held: &AtomicU64, less: u64) -> u64 {
    let before = held.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |held| {
        Some(held.saturating_sub(less))
    });
    before.map_or(0, |before| before.min(less))
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

    #[test]
    fn queries_share_memory() {
        let pool = Arc::new(Pool::new(1_000));
        let budget = || Budget::with_memory(10, 900).sharing(&pool);
        let (one, other) = (budget(), budget());
        assert_eq!(one.take(Weight::bytes(600)), Ok(()));
        let over = Err(OverBudget::AllMemory { max: 1_000 });
        assert_eq!(other.take(Weight::bytes(401)), over);
        drop(other);
        assert_eq!(pool.held(), 600);
        one.release(Weight::bytes(10_000));
        assert_eq!(pool.held(), 0);
        assert_eq!(budget().take(Weight::bytes(900)), Ok(()));
        assert_eq!(pool.held(), 0);
    }
}
