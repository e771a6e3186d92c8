//! Answers of streamed chunks: frames, made as the reader takes them.

use axum::body::{Body, Bytes};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use futures_util::stream::{self, StreamExt};
use wire::remote_read::chunk::Chunks;
use wire::remote_read::{CHUNKS_CONTENT_TYPE, Query, frame};

use super::select::{ReadSeries, SeriesReader};
use super::{Asked, ReadError};
use crate::api::query::CancelOnDrop;

/// Frames of small series go together: handing each to the network alone would cost more than making it.
const PIECE_BYTES: usize = 64 << 10;

/// An answer under way.
struct Frames {
    asked: Asked,
    queries: std::iter::Enumerate<std::vec::IntoIter<Query>>,
    /// The query at hand and its series.
    open: Option<(usize, SeriesReader)>,
    /// The series at hand, and how many of its samples have been sent.
    series: Option<(ReadSeries, usize)>,
}

pub(super) async fn answer(asked: Asked, queries: Vec<Query>, guard: CancelOnDrop) -> Response {
    let frames = Frames {
        asked,
        queries: queries.into_iter().enumerate(),
        open: None,
        series: None,
    };
    // What goes wrong before the first piece still has a status.
    let (frames, first) = match piece(frames).await {
        Ok(Some((frames, first))) => (Some(frames), first),
        Ok(None) => (None, Bytes::new()),
        Err(error) => return error.into_response(),
    };
    let rest = stream::try_unfold((frames, guard), |(frames, guard)| async move {
        let Some(frames) = frames else {
            return Ok(None);
        };
        match piece(frames).await {
            Ok(Some((frames, piece))) => Ok(Some((piece, (Some(frames), guard)))),
            Ok(None) => Ok(None),
            // The connection breaks, and so the reader knows that this was not all.
            Err(error) => {
                tracing::warn!("remote read broke off: {error}");
                Err(error)
            }
        }
    });
    let body = Body::from_stream(stream::once(async { Ok(first) }).chain(rest));
    ([(header::CONTENT_TYPE, CHUNKS_CONTENT_TYPE)], body).into_response()
}

/// The next frames, off the async threads.
async fn piece(mut frames: Frames) -> Result<Option<(Frames, Bytes)>, ReadError> {
    daemon::blocking(move || {
        let mut piece = Vec::new();
        while piece.len() < PIECE_BYTES {
            match frames.next()? {
                Some(frame) if piece.is_empty() => piece = frame,
                Some(frame) => piece.extend_from_slice(&frame),
                None => break,
            }
        }
        Ok(match piece.is_empty() {
            true => None,
            false => Some((frames, Bytes::from(piece))),
        })
    })
    .await
}

impl Frames {
    fn next(&mut self) -> Result<Option<Vec<u8>>, ReadError> {
        loop {
            let Some((index, reader)) = &mut self.open else {
                let Some((index, query)) = self.queries.next() else {
                    return Ok(None);
                };
                self.open = Some((index, self.asked.open(&query)?));
                continue;
            };
            if self.asked.state.remote_reads.stopping.is_cancelled() {
                return Err(ReadError::Stopping);
            }
            let (series, sent) = match self.series.take() {
                Some(series) => series,
                None => match reader.next() {
                    Some(series) => {
                        self.asked.take(series.times.len())?;
                        (series, 0)
                    }
                    None => {
                        self.open = None;
                        continue;
                    }
                },
            };
            let mut chunks = Chunks::new(&series.times, series.values()).after(sent);
            if let Some(frame) = frame::of_series(*index, &series.labels, &mut chunks) {
                let sent = chunks.taken();
                self.series = Some((series, sent));
                return Ok(Some(frame));
            }
        }
    }
}
