//! One connection for each edge: a new one takes over from the old, which a cut may have left half open.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::OwnedMutexGuard;
use tokio_util::sync::CancellationToken;

/// Seats remembered before those without a connection are let go.
const SEATS_SWEPT: usize = 4_096;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Seats(Mutex<HashMap<(String, String), Seat>>);

#[derive(Clone, Debug, Default)]
struct Seat {
    /// Cancelled when another connection of the edge begins.
    holder: CancellationToken,
    taken: Arc<tokio::sync::Mutex<()>>,
}

/// A seat that was taken; it is free when dropped.
#[derive(Debug)]
pub(super) struct Taken {
    /// Cancelled when somebody else wants it.
    pub(super) wanted: CancellationToken,
    _guard: OwnedMutexGuard<()>,
}

impl Seats {
    /// Asks whoever has the seat to leave, and waits until it is free: until all that the other connection was told to store
    /// is settled. Who waits gives up the place to a third that comes; then None.
    pub(super) async fn take(&self, branch: &str, edge: &str) -> Option<Taken> {
        let wanted = CancellationToken::new();
        let taken = {
            let mut seats = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            if seats.len() >= SEATS_SWEPT {
                seats.retain(|_, seat| Arc::strong_count(&seat.taken) > 1);
            }
            let seat = seats
                .entry((branch.to_owned(), edge.to_owned()))
                .or_default();
            seat.holder.cancel();
            seat.holder = wanted.clone();
            seat.taken.clone()
        };
        let guard = wanted.run_until_cancelled(taken.lock_owned()).await?;
        Some(Taken {
            wanted,
            _guard: guard,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_last_one_has_the_seat() {
        let seats = Seats::default();
        let first = seats.take("b01", "e").await.unwrap();
        let other = seats.take("b02", "e").await.unwrap();
        let waits = seats.take("b01", "e");
        let comes_later = async {
            // By then the one before waits.
            assert!(first.wanted.is_cancelled());
            let third = seats.take("b01", "e");
            drop(first);
            third.await
        };
        let second = async {
            waits
                .await
                .is_none_or(|second| second.wanted.is_cancelled())
        };
        let (gave_way, third) = tokio::join!(second, comes_later);
        assert!(gave_way);
        assert!(third.is_some_and(|third| !third.wanted.is_cancelled()));
        assert!(!other.wanted.is_cancelled());
    }
}
