//! `POST /api/v1/read`: a Prometheus, or whoever speaks its remote read, gets the stored samples of some series.
//!
//! As in Prometheus, external labels are part of what is answered and not of what is stored: [`external`]. An answer of
//! samples is made whole and then sent, within a limit of samples; one of chunks is made piece by piece, a few pieces ahead of the
//! reader, so that a slow reader costs those and not an answer. When a reader leaves, reading stops.

mod chunks;
mod external;
mod select;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use daemon::http::ReaderGone;
use promql::Cancel;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tsdb::SelectError;
use wire::remote_read::{
    self, Limits, Query, RequestError, ResponseType, SAMPLES_CONTENT_TYPE, SamplesBody, TooLong,
};

use self::external::External;
use self::select::ReadSeries;
use super::query::CancelOnDrop;
use crate::state::HubState;

/// Requests that are answered at a time, as in Prometheus; more wait.
const RUNNING_MAX: usize = 10;
/// A request is short. One that takes longer to come than that has lost its sender, and holds the place of another.
const BODY_TIME_MAX: Duration = Duration::from_secs(30);

/// How many are answered at a time, and whether any should be.
pub(crate) struct RemoteReads {
    running: Arc<Semaphore>,
    /// Cancelled when the hub stops answering: answers that are still being sent break off.
    stopping: CancellationToken,
}

impl RemoteReads {
    pub(crate) fn new(stopping: CancellationToken) -> Self {
        RemoteReads {
            running: Arc::new(Semaphore::new(RUNNING_MAX)),
            stopping,
        }
    }

    #[cfg(test)]
    pub(crate) fn running(&self) -> Arc<Semaphore> {
        self.running.clone()
    }
}

/// The path. Not among the others, whose answers are compressed for whoever takes gzip: here the kind of answer says how it
/// is compressed.
pub(crate) fn routes(state: &Arc<HubState>) -> Router {
    Router::new()
        .route("/api/v1/read", post(read))
        .with_state(state.clone())
}

/// Why there is no answer, or not more of it.
#[derive(Debug, thiserror::Error)]
enum ReadError {
    #[error(transparent)]
    Request(#[from] RequestError),
    #[error("body of a read request cannot be read to its end, or is over {limit} bytes")]
    Body { limit: usize },
    #[error("read request took more than {} s to come", BODY_TIME_MAX.as_secs())]
    Slow,
    /// In Prometheus's words.
    #[error("exceeded sample limit ({max})")]
    TooManySamples { max: u64 },
    #[error(transparent)]
    TooLong(#[from] TooLong),
    #[error("the hub is shutting down: try again")]
    Stopping,
    #[error(transparent)]
    Gone(#[from] ReaderGone),
    #[error("{0}")]
    Memory(promql::QueryError),
    #[error(transparent)]
    Store(#[from] SelectError),
}

impl ReadError {
    fn status(&self) -> StatusCode {
        match self {
            ReadError::Slow => StatusCode::REQUEST_TIMEOUT,
            ReadError::Stopping => StatusCode::SERVICE_UNAVAILABLE,
            ReadError::Store(SelectError::Io { .. }) => StatusCode::INTERNAL_SERVER_ERROR,
            _ => StatusCode::BAD_REQUEST,
        }
    }
}

impl IntoResponse for ReadError {
    fn into_response(self) -> Response {
        let status = self.status();
        if status.is_server_error() {
            tracing::warn!("remote read failed: {self}");
        }
        (status, format!("{self}\n")).into_response()
    }
}

/// What an answer is made from. It holds its place among those that are answered until it is dropped.
struct Asked {
    state: Arc<HubState>,
    external: External,
    /// Of the whole answer.
    samples_left: u64,
    samples_max: u64,
    cancel: Cancel,
    _turn: Option<OwnedSemaphorePermit>,
}

impl Asked {
    /// Shows the series of one query, each as long as the call lasts.
    fn read(
        &mut self,
        query: &Query,
        visit: &mut dyn FnMut(&ReadSeries<'_>) -> Result<(), ReadError>,
    ) -> Result<(), ReadError> {
        let (max, before) = (self.samples_max, self.samples_left);
        let (state, left) = (&self.state, &mut self.samples_left);
        let mut visit = |series: &ReadSeries<'_>| {
            if state.remote_reads.stopping.is_cancelled() {
                return Err(ReadError::Stopping);
            }
            let samples = series.times.len() as u64;
            *left = left
                .checked_sub(samples)
                .ok_or(ReadError::TooManySamples { max })?;
            visit(series)
        };
        let found = select::read(
            state,
            query,
            &self.external,
            before,
            &self.cancel,
            &mut visit,
        );
        found.map_err(|error| match error {
            ReadError::Store(SelectError::TooManySamples { .. }) => {
                ReadError::TooManySamples { max }
            }
            other => other,
        })
    }
}

async fn read(State(state): State<Arc<HubState>>, request: Request) -> Response {
    // The semaphore is never closed. First the place, so that bodies that wait take no memory.
    let turn = state
        .remote_reads
        .running
        .clone()
        .acquire_owned()
        .await
        .ok();
    let request = match take_request(&state, request.into_body()).await {
        Ok(request) => request,
        Err(error) => return error.into_response(),
    };
    let cancel = Cancel::new();
    let guard = CancelOnDrop(cancel.clone());
    let samples_max = state.remote_read_samples_max();
    let asked = Asked {
        external: External::new(state.external_labels()),
        state,
        samples_left: samples_max,
        samples_max,
        cancel,
        _turn: turn,
    };
    match request.response {
        ResponseType::Samples => samples(asked, request.queries, guard).await,
        ResponseType::StreamedXorChunks => chunks::answer(asked, request.queries, guard).await,
    }
}

async fn take_request(state: &HubState, body: Body) -> Result<remote_read::Request, ReadError> {
    let limits = Limits::default();
    let body = tokio::select! {
        body = to_bytes(body, limits.bytes_max) => body,
        () = state.clock.sleep(BODY_TIME_MAX) => return Err(ReadError::Slow),
    };
    let limit = limits.bytes_max;
    let body = body.map_err(|_| ReadError::Body { limit })?;
    // Regular expressions are compiled: that is work.
    Ok(daemon::blocking(move || remote_read::decode(&body, &limits)).await?)
}

async fn samples(mut asked: Asked, queries: Vec<Query>, _guard: CancelOnDrop) -> Response {
    let body = daemon::blocking(move || {
        let mut body = SamplesBody::new();
        for query in &queries {
            body.begin_query();
            asked.read(query, &mut |series| {
                Ok(body.series(series.labels, &series.samples())?)
            })?;
            body.end_query();
        }
        Ok::<_, ReadError>(body.finish())
    })
    .await;
    let headers = [
        (header::CONTENT_TYPE, SAMPLES_CONTENT_TYPE),
        (header::CONTENT_ENCODING, "snappy"),
    ];
    match body {
        Ok(body) => (headers, body).into_response(),
        Err(error) => error.into_response(),
    }
}
