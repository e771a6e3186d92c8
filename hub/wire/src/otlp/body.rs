//! From the bytes of a body to a protobuf message, no longer than the limit however small the body is.

use std::borrow::Cow;
use std::io::Read;

use flate2::read::MultiGzDecoder;

use super::json;
use crate::remote_write::Limits;

/// The largest window of zstd, as a power of two: what the decoder allocates before the first byte is out.
const ZSTD_WINDOW_LOG_MAX: u32 = 25;

/// Why there is no message: it cannot be decompressed, becomes too long, or is no such JSON.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BodyError(String);

/// What the decompressed bytes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `application/x-protobuf`.
    Protobuf,
    /// `application/json`.
    Json,
}

/// How the body is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// Not at all.
    Plain,
    /// `gzip`.
    Gzip,
    /// `zstd`.
    Zstd,
}

/// What the headers `Content-Type` and `Content-Encoding` say of a body.
///
/// # Errors
/// What is neither, in the words of Prometheus.
pub fn form_of(
    content_type: Option<&str>,
    content_encoding: Option<&str>,
) -> Result<(Kind, Encoding), BodyError> {
    let said = content_type.unwrap_or_default();
    let media = said.split(';').next().unwrap_or_default().trim();
    let kind = match media {
        "application/x-protobuf" => Kind::Protobuf,
        "application/json" => Kind::Json,
        _ => {
            let known = "[application/json, application/x-protobuf]";
            return Err(BodyError(format!(
                "unsupported content type: {said}, supported: {known}"
            )));
        }
    };
    let encoding = match content_encoding.unwrap_or_default() {
        "" | "identity" => Encoding::Plain,
        "gzip" => Encoding::Gzip,
        "zstd" => Encoding::Zstd,
        other => {
            let known = "Only \"gzip\", \"zstd\" or no compression supported";
            return Err(BodyError(format!(
                "unsupported compression: {other}. {known}"
            )));
        }
    };
    Ok((kind, encoding))
}

/// The message.
///
/// # Errors
/// See [`BodyError`].
pub fn message<'b>(
    body: &'b [u8],
    kind: Kind,
    encoding: Encoding,
    limits: &Limits,
) -> Result<Cow<'b, [u8]>, BodyError> {
    let limit = limits.decompressed_bytes_max;
    let plain = match encoding {
        Encoding::Plain => Cow::Borrowed(body),
        Encoding::Gzip => {
            let read = read_to(MultiGzDecoder::new(body), limit);
            Cow::Owned(read.map_err(|why| BodyError(format!("gzip: {why}")))?)
        }
        Encoding::Zstd => {
            let read = zstd::stream::read::Decoder::new(body)
                .and_then(|mut decoder| {
                    decoder.window_log_max(ZSTD_WINDOW_LOG_MAX)?;
                    Ok(decoder)
                })
                .map_err(|error| error.to_string())
                .and_then(|decoder| read_to(decoder, limit));
            Cow::Owned(read.map_err(|why| BodyError(format!("zstd: {why}")))?)
        }
    };
    match kind {
        Kind::Protobuf => Ok(plain),
        Kind::Json => json::to_message(&plain)
            .map(Cow::Owned)
            .map_err(|error| BodyError(error.to_string())),
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
