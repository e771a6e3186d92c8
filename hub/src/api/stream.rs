//! Large answers leave piece by piece: the JSON is written on a thread of its own, a few pieces ahead of the client, so that a slow
//! client costs those and not the text of the whole answer. When the client leaves, or takes nothing for too long, writing stops.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use daemon::Clock;
use futures_util::stream;
use tokio::runtime::Handle;
use tokio::sync::mpsc;

use super::json::{Annotations, Json, success};

/// Text that makes a piece: large enough that handing it over costs nothing beside making it.
const PIECE_BYTES: usize = 64 << 10;
/// Pieces that are made before the client has taken them; then making waits.
const PIECES_MAX: usize = 2;
/// A client that takes nothing for so long has what it waits for taken away: the memory and the thread.
const STALL_MAX: Duration = Duration::from_secs(60);
/// Answers with fewer values are written at once: handing them to another thread would take longer.
const AT_ONCE_MAX: usize = 2_000;

/// Where the pieces of an answer go.
pub(super) struct Pieces {
    to: mpsc::Sender<Bytes>,
    clock: Arc<dyn Clock>,
    runtime: Handle,
    broken: bool,
}

/// Nobody takes the rest of the answer.
#[derive(Debug, thiserror::Error)]
#[error("the client has left, or took nothing for {} s", STALL_MAX.as_secs())]
struct Broken;

impl Pieces {
    /// Hands text over once it makes a piece.
    pub(super) fn take(&mut self, text: &mut String) {
        if text.len() < PIECE_BYTES {
            return;
        }
        let piece = std::mem::take(text);
        if self.broken {
            return;
        }
        let sent = self.runtime.block_on(async {
            tokio::select! {
                sent = self.to.send(Bytes::from(piece)) => sent.is_ok(),
                () = self.clock.sleep(STALL_MAX) => false,
            }
        });
        self.broken = !sent;
    }

    /// Whether what is still written goes nowhere.
    pub(super) fn are_broken(&self) -> bool {
        self.broken
    }
}

/// A successful answer whose `data`, of about so many values, is written by `data`.
pub(super) async fn success_of(
    values: usize,
    clock: &Arc<dyn Clock>,
    annotations: Annotations,
    data: impl FnOnce(&mut Json) + Send + 'static,
) -> Response {
    if values < AT_ONCE_MAX {
        return success(&annotations, data);
    }
    let (to, made) = mpsc::channel(PIECES_MAX);
    let mut pieces = Pieces {
        to,
        clock: clock.clone(),
        runtime: Handle::current(),
        broken: false,
    };
    let making = Box::pin(daemon::blocking(move || {
        let mut json = Json::in_pieces(&mut pieces);
        json.envelope(&annotations, data);
        let rest = std::mem::take(&mut json.text);
        match pieces.broken {
            true => Err(Broken),
            false => Ok(Bytes::from(rest)),
        }
    }));
    answer_of(made, making).await
}

/// The pieces that are made, and what `making` leaves of them at its end.
async fn answer_of(
    mut made: mpsc::Receiver<Bytes>,
    mut making: impl Future<Output = Result<Bytes, Broken>> + Send + Unpin + 'static,
) -> Response {
    let first = tokio::select! {
        biased;
        piece = made.recv() => piece,
        rest = &mut making => return at_once(made, rest),
    };
    let Some(first) = first else {
        return at_once(made, making.await);
    };
    let state = Some((Some(first), made, making));
    let all = stream::try_unfold(state, |state| async move {
        let Some((first, mut made, making)) = state else {
            return Ok(None);
        };
        if let Some(first) = first {
            return Ok(Some((first, Some((None, made, making)))));
        }
        if let Some(piece) = made.recv().await {
            return Ok(Some((piece, Some((None, made, making)))));
        }
        // An error breaks the connection, and so the client knows that this was not all.
        let rest = making
            .await
            .inspect_err(|error| tracing::warn!("an answer broke off: {error}"))?;
        Ok::<_, Broken>(Some((rest, None)))
    });
    json_response(Body::from_stream(all))
}

/// The answer of one who is done: pieces may have come after the last look for one.
fn at_once(mut made: mpsc::Receiver<Bytes>, rest: Result<Bytes, Broken>) -> Response {
    let pieces = std::iter::from_fn(|| made.try_recv().ok());
    let mut all: Vec<Result<Bytes, Broken>> = pieces.map(Ok).collect();
    match (all.is_empty(), rest) {
        (true, Ok(rest)) => json_response(Body::from(rest)),
        (_, rest) => {
            all.push(rest);
            json_response(Body::from_stream(stream::iter(all)))
        }
    }
}

fn json_response(body: Body) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], body).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::to_bytes;
    use daemon::SimClock;
    use model::Timestamp;

    fn clock() -> (SimClock, Arc<dyn Clock>) {
        let clock = SimClock::new(Timestamp::from_millis(0));
        (clock.clone(), Arc::new(clock))
    }

    #[tokio::test]
    async fn many_pieces_make_one_answer() {
        let (_, clock) = clock();
        let numbers = 0..200_000;
        let answer = success_of(numbers.len(), &clock, Annotations::default(), move |json| {
            json.array(numbers, |json, number| {
                json.raw(&number.to_string());
            });
        });
        let body = to_bytes(answer.await.into_body(), usize::MAX)
            .await
            .unwrap();
        let answer: serde_json::Value = serde_json::from_slice(&body).unwrap();
        let data = answer["data"].as_array().unwrap();
        assert_eq!(data.len(), 200_000);
        assert_eq!(data[199_999], 199_999);
    }

    /// A piece comes, and the end, between the look for a piece and the look for the end: it was lost once.
    #[tokio::test]
    async fn pieces_that_come_with_the_end_are_not_lost() {
        let (to, made) = mpsc::channel(PIECES_MAX);
        let making = Box::pin(async move {
            for piece in ["the begin", "ning "] {
                to.send(Bytes::from(piece)).await.unwrap();
            }
            Ok(Bytes::from("and the end"))
        });
        let body = answer_of(made, making).await.into_body();
        let body = to_bytes(body, usize::MAX).await.unwrap();
        assert_eq!(body, "the beginning and the end");
        // Nor does what broke off look whole.
        let (_, made) = mpsc::channel(PIECES_MAX);
        let broken = Box::pin(async { Err(Broken) });
        let body = answer_of(made, broken).await.into_body();
        assert!(to_bytes(body, usize::MAX).await.is_err());
    }

    /// Fails with one buffer for all: nothing would be made while nobody reads, or everything would.
    #[tokio::test(flavor = "multi_thread")]
    async fn a_slow_client_costs_a_few_pieces_and_one_that_stops_nothing() {
        use std::sync::atomic::{AtomicUsize, Ordering};
        let (sim, clock) = clock();
        let written = Arc::new(AtomicUsize::new(0));
        let count = written.clone();
        let answer = success_of(usize::MAX, &clock, Annotations::default(), move |json| {
            json.array(0..10_000_000, |json, _| {
                json.raw("0123456789");
                count.fetch_add(11, Ordering::Relaxed);
            });
        });
        let answer = answer.await;
        // The one in hand, those in the queue, the one that waits.
        let most = PIECE_BYTES * (PIECES_MAX + 3);
        let began = std::time::Instant::now();
        while Arc::strong_count(&written) > 1 {
            assert!(began.elapsed().as_secs() < 30, "it writes for nobody");
            sim.advance(STALL_MAX);
            tokio::task::yield_now().await;
        }
        assert!(written.load(Ordering::Relaxed) <= most);
        // It takes what was made, and then hears that this was not all.
        assert!(to_bytes(answer.into_body(), usize::MAX).await.is_err());
    }
}
