//! Answers of streamed chunks: frames, made on a thread of their own and handed to the reader through a short queue.

use std::pin::Pin;

use axum::body::{Body, Bytes};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use futures_util::stream::{self, StreamExt};
use tokio::sync::mpsc;
use wire::remote_read::chunk::Chunks;
use wire::remote_read::{CHUNKS_CONTENT_TYPE, Query, frame};

use super::{Asked, ReadError};
use crate::api::query::CancelOnDrop;

/// Frames of small series go together: handing each to the network alone would cost more than making it.
const PIECE_BYTES: usize = 64 << 10;
/// Pieces, of about a frame at most, that are made before the reader has taken them; then making waits.
const PIECES_MAX: usize = 2;

/// How making the answer ends.
enum End {
    Later(Pin<Box<dyn Future<Output = Result<(), ReadError>> + Send>>),
    Known(Result<(), ReadError>),
}

impl End {
    async fn wait(self) -> Result<(), ReadError> {
        match self {
            End::Later(making) => making.await,
            End::Known(result) => result,
        }
    }
}

pub(super) async fn answer(asked: Asked, queries: Vec<Query>, guard: CancelOnDrop) -> Response {
    let (pieces, mut made) = mpsc::channel(PIECES_MAX);
    let mut making = Box::pin(daemon::blocking(move || make(asked, &queries, &pieces)));
    // What goes wrong before the first piece still has a status.
    let (first, end) = tokio::select! {
        piece = made.recv() => (piece, End::Later(making)),
        result = &mut making => (made.try_recv().ok(), End::Known(result)),
    };
    let Some(first) = first else {
        return match end.wait().await {
            Ok(()) => response(Body::empty()),
            Err(error) => error.into_response(),
        };
    };
    let rest = stream::try_unfold((made, end, guard), |(mut made, end, guard)| async move {
        if let Some(piece) = made.recv().await {
            return Ok(Some((piece, (made, end, guard))));
        }
        // An error breaks the connection, and so the reader knows that this was not all.
        end.wait()
            .await
            .inspect_err(|error| tracing::warn!("remote read broke off: {error}"))?;
        Ok::<_, ReadError>(None)
    });
    response(Body::from_stream(
        stream::once(async { Ok(first) }).chain(rest),
    ))
}

fn response(body: Body) -> Response {
    ([(header::CONTENT_TYPE, CHUNKS_CONTENT_TYPE)], body).into_response()
}

/// Makes all of the answer, as fast as the reader takes it.
fn make(
    mut asked: Asked,
    queries: &[Query],
    pieces: &mpsc::Sender<Bytes>,
) -> Result<(), ReadError> {
    let send = |piece: Vec<u8>| {
        let sent = pieces.blocking_send(Bytes::from(piece));
        sent.map_err(|_| ReadError::Gone)
    };
    let mut piece = Vec::new();
    for (index, query) in queries.iter().enumerate() {
        asked.read(query, &mut |series| {
            let mut chunks = Chunks::new(series.times, series.values);
            while let Some(frame) = frame::of_series(index, series.labels, &mut chunks) {
                piece.extend_from_slice(&frame);
                if piece.len() >= PIECE_BYTES {
                    send(std::mem::take(&mut piece))?;
                }
            }
            Ok(())
        })?;
    }
    match piece.is_empty() {
        true => Ok(()),
        false => send(piece),
    }
}
