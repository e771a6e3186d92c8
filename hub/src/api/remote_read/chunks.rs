//! Answers of streamed chunks: frames, made piece by piece.

use axum::response::Response;
use daemon::http::{Pieces, in_pieces};
use wire::remote_read::chunk::Chunks;
use wire::remote_read::{CHUNKS_CONTENT_TYPE, Query, frame};

use super::{Asked, ReadError};
use crate::api::query::CancelOnDrop;

pub(super) async fn answer(asked: Asked, queries: Vec<Query>, guard: CancelOnDrop) -> Response {
    let make = move |pieces: &mut Pieces| make(asked, &queries, pieces);
    in_pieces(CHUNKS_CONTENT_TYPE, guard, make).await
}

/// Makes all of the answer, as fast as the reader takes it.
fn make(mut asked: Asked, queries: &[Query], pieces: &mut Pieces) -> Result<(), ReadError> {
    for (index, query) in queries.iter().enumerate() {
        asked.read(query, &mut |series| {
            let mut chunks = Chunks::new(series.times, series.values);
            while let Some(frame) = frame::of_series(index, series.labels, &mut chunks) {
                pieces.push(&frame)?;
            }
            Ok(())
        })?;
    }
    Ok(())
}
