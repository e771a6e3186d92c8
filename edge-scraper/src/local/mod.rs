//! What can the branch see of itself, hub or no hub? `/federate` and Prometheus's remote read over the samples that are in this
//! edge's buffer: a Prometheus or a Grafana behind one in the branch asks here while the link is down.
//!
//! Series have the labels that they are shipped with, external labels among them. What the buffer gave up for lack of room is
//! gone here too.
//!
//! # Bounds
//!
//! The buffer is sorted by time, and an answer by series. So records are walked, oldest first, and only what the answer needs of
//! them is held: for `/federate` the newest sample of each series, for remote read the samples of as many series as there
//! is room for ([`select`]), walked again for the next ones. One request is answered at a time, within [`WITHIN`].
//!
//! There is no index: a request costs a walk over the records of its time range, about a second for ten million samples.

mod federate;
mod read;
mod select;
mod walk;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use daemon::Clock;
use daemon::http::{Bodies, BodyError, ReaderGone};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use wire::remote_read::{RequestError, TooLong};
use wire::selector::SelectorError;

use self::walk::History;
use crate::buffer::{Buffer, BufferError};

/// Requests that are answered at a time; more wait.
const RUNNING_MAX: usize = 1;
/// Requests that wait; more are told to come again.
const WAITING_MAX: usize = 8;
/// Longest time for an answer, from when it is begun.
const WITHIN: Duration = Duration::from_secs(60);
/// Samples that a remote read holds at a time: 24 bytes each.
const HELD_MAX: usize = 250_000;
/// Bodies of requests that are there at a time.
const BODIES_BYTES_MAX: usize = 4 << 20;

/// The buffer as others may read it.
pub(crate) struct Local {
    history: History,
    held_max: usize,
    clock: Arc<dyn Clock>,
    bodies: Bodies,
    places: Arc<Semaphore>,
    running: Arc<Semaphore>,
    stopping: CancellationToken,
}

/// Why there is no answer, or not more of it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LocalError {
    #[error(transparent)]
    Request(#[from] RequestError),
    #[error(transparent)]
    Selector(#[from] SelectorError),
    #[error(transparent)]
    Body(#[from] BodyError),
    #[error("too many requests wait already: try again")]
    Busy,
    #[error(
        "more than {max} series or {bytes_max} bytes of their labels are selected: ask for fewer"
    )]
    TooManySeries { max: usize, bytes_max: usize },
    /// In Prometheus's words.
    #[error(
        "exceeded sample limit ({max}): ask for less, or accept STREAMED_XOR_CHUNKS, which has no such limit"
    )]
    TooManySamples { max: usize },
    #[error("series {series} has more than {max} samples in the time asked for: ask for less")]
    LongSeries { series: String, max: usize },
    #[error(transparent)]
    TooLong(#[from] TooLong),
    #[error("not answered within {} s: ask for a shorter time or fewer series", WITHIN.as_secs())]
    Deadline,
    #[error("the edge is shutting down: try again")]
    Stopping,
    #[error(transparent)]
    Gone(#[from] ReaderGone),
    #[error("the buffer cannot be read: {0}")]
    Buffer(#[from] BufferError),
}

impl LocalError {
    fn status(&self) -> StatusCode {
        match self {
            LocalError::Buffer(_) => StatusCode::INTERNAL_SERVER_ERROR,
            LocalError::Body(BodyError::TooLong { .. }) => StatusCode::PAYLOAD_TOO_LARGE,
            LocalError::Body(BodyError::Broken { .. }) => StatusCode::BAD_REQUEST,
            LocalError::Busy
            | LocalError::Stopping
            | LocalError::Deadline
            | LocalError::Body(_) => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::BAD_REQUEST,
        }
    }
}

impl IntoResponse for LocalError {
    fn into_response(self) -> Response {
        let status = self.status();
        if status.is_server_error() {
            tracing::warn!("a local reader got no answer: {self}");
        }
        (status, format!("{self}\n")).into_response()
    }
}

/// When an answer is to be given up: its reader is gone, its time is over, or the process ends.
#[derive(Clone)]
struct Stop {
    gone: Arc<AtomicBool>,
    clock: Arc<dyn Clock>,
    until: Duration,
    stopping: CancellationToken,
}

impl Stop {
    fn check(&self) -> Result<(), LocalError> {
        if self.gone.load(Ordering::Relaxed) {
            return Err(ReaderGone.into());
        }
        if self.stopping.is_cancelled() {
            return Err(LocalError::Stopping);
        }
        match self.clock.elapsed() > self.until {
            true => Err(LocalError::Deadline),
            false => Ok(()),
        }
    }
}

/// Held by whoever waits for the answer; dropped with the connection.
struct Reader {
    gone: Arc<AtomicBool>,
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.gone.store(true, Ordering::Relaxed);
    }
}

/// A place among those that are answered.
struct Turn {
    stop: Stop,
    _permits: (OwnedSemaphorePermit, OwnedSemaphorePermit),
}

impl Local {
    pub(crate) fn new(
        buffer: Arc<Buffer>,
        clock: Arc<dyn Clock>,
        stopping: CancellationToken,
    ) -> Local {
        Local {
            history: History::new(buffer),
            held_max: HELD_MAX,
            bodies: Bodies::new(BODIES_BYTES_MAX, Arc::clone(&clock), stopping.clone()),
            clock,
            places: Arc::new(Semaphore::new(RUNNING_MAX + WAITING_MAX)),
            running: Arc::new(Semaphore::new(RUNNING_MAX)),
            stopping,
        }
    }

    /// Waits for a turn.
    async fn turn(&self) -> Result<(Turn, Reader), LocalError> {
        let place = Arc::clone(&self.places).try_acquire_owned();
        let place = place.map_err(|_| LocalError::Busy)?;
        // Never closed.
        let running = Arc::clone(&self.running).acquire_owned().await;
        let running = running.map_err(|_| LocalError::Stopping)?;
        let gone = Arc::new(AtomicBool::new(false));
        let stop = Stop {
            gone: Arc::clone(&gone),
            clock: Arc::clone(&self.clock),
            until: self.clock.elapsed() + WITHIN,
            stopping: self.stopping.clone(),
        };
        let turn = Turn {
            stop,
            _permits: (place, running),
        };
        Ok((turn, Reader { gone }))
    }
}

/// The paths.
pub(crate) fn routes(local: Arc<Local>) -> Router {
    Router::new()
        .route("/federate", get(federate::federate))
        .route("/api/v1/read", post(read::read))
        .with_state(local)
}
