//! Bodies of requests, read within a bound: each of them, and all that are there at a time.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use futures_util::StreamExt;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

use crate::Clock;

/// Memory that is reserved for a body before it comes.
const RESERVED_BYTES_MAX: usize = 256 << 10;
/// A body that stops coming for so long is given up: after a silent cut its sender is not there any more, and what
/// it sent would take room for ever.
const SILENCE: Duration = Duration::from_secs(30);

/// Room for bodies. Clones share it.
#[derive(Clone)]
pub struct Bodies {
    /// A permit is a byte of a body.
    room: Arc<Semaphore>,
    clock: Arc<dyn Clock>,
    /// Bodies that are still coming then are given up.
    stopping: CancellationToken,
}

/// Why there is no body.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum BodyError {
    #[error("too many bodies at a time: try again")]
    Busy,
    #[error("body is longer than the limit of {limit} bytes: send smaller ones")]
    TooLong { limit: usize },
    #[error("body cannot be read to its end: {why}")]
    Broken { why: String },
    #[error("nothing more of the body came for {} s: try again", SILENCE.as_secs())]
    Silent,
    #[error("the process is shutting down: try again")]
    Stopping,
}

impl Bodies {
    /// Room for `bytes_max` bytes of all bodies together.
    pub fn new(bytes_max: usize, clock: Arc<dyn Clock>, stopping: CancellationToken) -> Bodies {
        Bodies {
            room: Arc::new(Semaphore::new(bytes_max)),
            clock,
            stopping,
        }
    }

    /// Reads a body of at most `limit` bytes. The permit is the room that it takes, until it is dropped.
    ///
    /// # Errors
    /// See [`BodyError`].
    pub async fn read(
        &self,
        body: Body,
        limit: usize,
    ) -> Result<(Bytes, OwnedSemaphorePermit), BodyError> {
        let mut room = self
            .room
            .clone()
            .try_acquire_owned()
            .map_err(|_| BodyError::Busy)?;
        // No more than the length that is said, and no more than is taken: growing would copy.
        let said = body.size_hint().exact().unwrap_or(0);
        let said = usize::try_from(said).unwrap_or(0).min(RESERVED_BYTES_MAX);
        let (mut bytes, mut chunks) = (Vec::with_capacity(said), body.into_data_stream());
        loop {
            let chunk = tokio::select! {
                chunk = chunks.next() => chunk,
                () = self.stopping.cancelled() => return Err(BodyError::Stopping),
                () = self.clock.sleep(SILENCE) => return Err(BodyError::Silent),
            };
            let Some(chunk) = chunk else {
                return Ok((bytes.into(), room));
            };
            let chunk = chunk.map_err(|error| BodyError::Broken {
                why: error.to_string(),
            })?;
            if bytes.len() + chunk.len() > limit {
                return Err(BodyError::TooLong { limit });
            }
            let more = u32::try_from(chunk.len()).unwrap_or(u32::MAX);
            let more = self.room.clone().try_acquire_many_owned(more);
            room.merge(more.map_err(|_| BodyError::Busy)?);
            bytes.extend_from_slice(&chunk);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SimClock;
    use model::Timestamp;

    #[tokio::test]
    async fn bodies_have_room_for_so_much_and_give_it_back() {
        let clock = Arc::new(SimClock::new(Timestamp::default()));
        let stopping = CancellationToken::new();
        let bodies = Bodies::new(10, clock, stopping.clone());
        let read = |bytes: usize| bodies.read(Body::from(vec![7; bytes]), 8);
        let (body, room) = read(8).await.expect("room");
        assert_eq!(body.len(), 8);
        assert_eq!(read(5).await.unwrap_err(), BodyError::Busy);
        drop(room);
        assert_eq!(read(9).await.unwrap_err(), BodyError::TooLong { limit: 8 });
        assert_eq!(bodies.room.available_permits(), 10);
        stopping.cancel();
        let never = Body::from_stream(futures_util::stream::pending::<std::io::Result<Bytes>>());
        assert_eq!(
            bodies.read(never, 8).await.unwrap_err(),
            BodyError::Stopping
        );
    }
}
