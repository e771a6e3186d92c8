//! From the bytes of a body to a protobuf message, no longer than the limit however small the body is.

use std::borrow::Cow;
use std::io::Read;

use axum::http::StatusCode;
use flate2::read::MultiGzDecoder;
use wire::otlp::json;
use wire::remote_write::Limits;

use super::super::receive::Refused;

/// The largest window of zstd, as a power of two: what the decoder allocates before the first byte is out.
const ZSTD_WINDOW_LOG_MAX: u32 = 25;

/// What the decompressed bytes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Protobuf,
    Json,
}

/// How the body is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Encoding {
    Plain,
    Gzip,
    Zstd,
}

/// The message.
///
/// # Errors
/// 400: it cannot be decompressed, becomes too long, or is no such JSON.
pub(super) fn message<'b>(
    body: &'b [u8],
    kind: Kind,
    encoding: Encoding,
    limits: &Limits,
) -> Result<Cow<'b, [u8]>, Refused> {
    let bad = |why: String| Refused::new(StatusCode::BAD_REQUEST, why);
    let limit = limits.decompressed_bytes_max;
    let plain = match encoding {
        Encoding::Plain => Cow::Borrowed(body),
        Encoding::Gzip => {
            let read = read_to(MultiGzDecoder::new(body), limit);
            Cow::Owned(read.map_err(|why| bad(format!("gzip: {why}")))?)
        }
        Encoding::Zstd => {
            let read = zstd::stream::read::Decoder::new(body)
                .and_then(|mut decoder| {
                    decoder.window_log_max(ZSTD_WINDOW_LOG_MAX)?;
                    Ok(decoder)
                })
                .map_err(|error| error.to_string())
                .and_then(|decoder| read_to(decoder, limit));
            Cow::Owned(read.map_err(|why| bad(format!("zstd: {why}")))?)
        }
    };
    match kind {
        Kind::Protobuf => Ok(plain),
        Kind::Json => json::to_message(&plain)
            .map(Cow::Owned)
            .map_err(|error| bad(error.to_string())),
    }
}

fn read_to(reader: impl Read, limit: usize) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    let end = (limit as u64).saturating_add(1);
    let read = reader.take(end).read_to_end(&mut bytes);
    read.map_err(|error| error.to_string())?;
    match bytes.len() > limit {
        true => Err(format!(
            "body is longer than the limit of {limit} bytes once decompressed: send smaller batches"
        )),
        false => Ok(bytes),
    }
}
