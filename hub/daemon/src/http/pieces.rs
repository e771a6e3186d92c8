//! Answers that are made piece by piece on a thread of their own, a few pieces ahead of who reads them: a slow reader costs
//! those and not an answer.

use std::fmt::Display;
use std::pin::Pin;

use axum::body::{Body, Bytes};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use futures_util::stream::{self, StreamExt};
use tokio::sync::mpsc;

/// Small parts go together: handing each to the network alone would cost more than making it.
const PIECE_BYTES: usize = 64 << 10;
/// Pieces that are made before the reader has taken them; then making waits.
const PIECES_MAX: usize = 2;

/// Where the parts of an answer go.
pub struct Pieces {
    piece: Vec<u8>,
    sender: mpsc::Sender<Bytes>,
}

/// The reader has left: nothing more need be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the reader has left")]
pub struct ReaderGone;

impl Pieces {
    /// One more part. Waits for the reader.
    ///
    /// # Errors
    /// [`ReaderGone`].
    pub fn push(&mut self, part: &[u8]) -> Result<(), ReaderGone> {
        self.piece.extend_from_slice(part);
        match self.piece.len() >= PIECE_BYTES {
            true => self.flush(),
            false => Ok(()),
        }
    }

    fn flush(&mut self) -> Result<(), ReaderGone> {
        let piece = std::mem::take(&mut self.piece);
        if piece.is_empty() {
            return Ok(());
        }
        let sent = self.sender.blocking_send(Bytes::from(piece));
        sent.map_err(|_| ReaderGone)
    }
}

/// How making the answer ends.
enum End<E> {
    Later(Pin<Box<dyn Future<Output = Result<(), E>> + Send>>),
    Known(Result<(), E>),
}

impl<E> End<E> {
    async fn wait(self) -> Result<(), E> {
        match self {
            End::Later(making) => making.await,
            End::Known(result) => result,
        }
    }
}

/// Answers 200 with what `make` pushes. An error before the first piece is the answer; a later one breaks the connection, so that
/// the reader knows that this was not all. `guard` is dropped with the answer.
pub async fn in_pieces<E, G>(
    content_type: &'static str,
    guard: G,
    make: impl FnOnce(&mut Pieces) -> Result<(), E> + Send + 'static,
) -> Response
where
    E: IntoResponse + Display + From<ReaderGone> + Send + Sync + std::error::Error + 'static,
    G: Send + 'static,
{
    let (sender, mut made) = mpsc::channel(PIECES_MAX);
    let mut making = Box::pin(crate::blocking(move || {
        let mut pieces = Pieces {
            piece: Vec::new(),
            sender,
        };
        make(&mut pieces)?;
        Ok::<_, E>(pieces.flush()?)
    }));
    // What goes wrong before the first piece still has a status.
    let (first, end) = tokio::select! {
        piece = made.recv() => (piece, End::Later(making)),
        result = &mut making => (made.try_recv().ok(), End::Known(result)),
    };
    let content_type = [(header::CONTENT_TYPE, content_type)];
    let Some(first) = first else {
        return match end.wait().await {
            Ok(()) => (content_type, Body::empty()).into_response(),
            Err(error) => error.into_response(),
        };
    };
    let rest = stream::try_unfold((made, end, guard), |(mut made, end, guard)| async move {
        if let Some(piece) = made.recv().await {
            return Ok(Some((piece, (made, end, guard))));
        }
        end.wait()
            .await
            .inspect_err(|error| tracing::warn!("an answer broke off: {error}"))?;
        Ok::<_, E>(None)
    });
    let all = stream::once(async { Ok(first) }).chain(rest);
    (content_type, Body::from_stream(all)).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::to_bytes;
    use axum::http::StatusCode;

    #[derive(Debug, thiserror::Error)]
    enum Failure {
        #[error("no luck")]
        Unlucky,
        #[error(transparent)]
        Gone(#[from] ReaderGone),
    }

    impl IntoResponse for Failure {
        fn into_response(self) -> Response {
            (StatusCode::IM_A_TEAPOT, self.to_string()).into_response()
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn parts_come_whole_and_failures_show() {
        let whole = in_pieces("text/x", (), |pieces| {
            for part in 0..5_000_u32 {
                pieces.push(&[part as u8; 100])?;
            }
            Ok::<_, Failure>(())
        });
        let whole = whole.await;
        assert_eq!(whole.headers()["content-type"], "text/x");
        let body = to_bytes(whole.into_body(), 1 << 20).await.unwrap();
        assert_eq!((body.len(), body[499_999]), (500_000, 4999_u32 as u8));
        let early = in_pieces("text/x", (), |_| Err(Failure::Unlucky)).await;
        assert_eq!(early.status(), 418);
        let late = in_pieces("text/x", (), |pieces| {
            pieces.push(&[7; PIECE_BYTES])?;
            Err(Failure::Unlucky)
        });
        let late = late.await;
        assert_eq!(late.status(), 200);
        assert!(
            to_bytes(late.into_body(), 1 << 20).await.is_err(),
            "broken off"
        );
    }
}
