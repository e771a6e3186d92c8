//! Frames of a streamed answer.
//!
//! ```text
//! ┌──────────────────┬───────────────────────────────┬──────────────────────────────┐
//! │ length <uvarint> │ CRC-32C of data <4 bytes, BE> │ data <ChunkedReadResponse>   │
//! └──────────────────┴───────────────────────────────┴──────────────────────────────┘
//! ```
//!
//! The answer ends with its body. One that broke off in the midst of a series looks like one that ended there: whoever
//! sends must break the connection then, and not end the body in order.

use model::LabelSet;
use prost::Message;
use prost::encoding::{encode_varint, encoded_len_varint};

use super::chunk::Chunks;
use super::proto::{ChunkedReadResponse, ChunkedSeries};
use crate::remote_write::proto::Label;

/// Bytes of a frame's data, about: the chunk that fills it is still in it. Prometheus's default.
pub const DATA_BYTES_MAX: usize = 1 << 20;
/// Longest data that a reader takes, fifty times as much as senders make by default, as Prometheus's reader.
pub const READ_BYTES_MAX: usize = 50 << 20;

/// Why bytes are no frame.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum FrameError {
    #[error("a frame is cut off: the answer broke off on its way")]
    Truncated,
    #[error("a frame claims {found} bytes, more than the limit of {limit}")]
    TooLong { found: u64, limit: usize },
    #[error("checksum of a frame is {found:08x}, expected {expected:08x}: damaged on its way")]
    Checksum { found: u32, expected: u32 },
    #[error("data of a frame is no ChunkedReadResponse")]
    Protobuf,
}

/// A whole frame.
pub fn encode(response: &ChunkedReadResponse) -> Vec<u8> {
    of_data(&response.encode_to_vec())
}

/// A frame of data that is encoded already.
pub fn of_data(data: &[u8]) -> Vec<u8> {
    let length = data.len() as u64;
    let mut frame = Vec::with_capacity(encoded_len_varint(length) + 4 + data.len());
    encode_varint(length, &mut frame);
    frame.extend_from_slice(&crc32c::crc32c(data).to_be_bytes());
    frame.extend_from_slice(data);
    frame
}

/// A frame with as many of a series' chunks as have room in it, at least one. None when no chunk is left.
pub fn of_series(
    query_index: usize,
    labels: &LabelSet,
    chunks: &mut Chunks<'_>,
) -> Option<Vec<u8>> {
    let first = chunks.next()?;
    let label = |(name, value): (&str, &str)| Label {
        name: name.to_owned(),
        value: value.to_owned(),
    };
    let mut series = ChunkedSeries {
        labels: labels.iter().map(label).collect(),
        chunks: vec![first],
    };
    let mut length = series.encoded_len();
    while length < DATA_BYTES_MAX {
        let Some(chunk) = chunks.next() else { break };
        let chunk_length = chunk.encoded_len();
        length += 1 + encoded_len_varint(chunk_length as u64) + chunk_length;
        series.chunks.push(chunk);
    }
    Some(encode(&ChunkedReadResponse {
        chunked_series: vec![series],
        query_index: query_index as i64,
    }))
}

/// The first frame of some bytes, and what stands behind it. None at their end.
///
/// # Errors
/// See [`FrameError`].
pub fn decode(bytes: &[u8]) -> Result<Option<(ChunkedReadResponse, &[u8])>, FrameError> {
    if bytes.is_empty() {
        return Ok(None);
    }
    let mut rest = bytes;
    let length = prost::encoding::decode_varint(&mut rest).map_err(|_| FrameError::Truncated)?;
    let data_bytes = usize::try_from(length)
        .ok()
        .filter(|length| *length <= READ_BYTES_MAX)
        .ok_or(FrameError::TooLong {
            found: length,
            limit: READ_BYTES_MAX,
        })?;
    let (expected, rest) = rest.split_first_chunk().ok_or(FrameError::Truncated)?;
    let (data, rest) = rest
        .split_at_checked(data_bytes)
        .ok_or(FrameError::Truncated)?;
    let (expected, found) = (u32::from_be_bytes(*expected), crc32c::crc32c(data));
    if expected != found {
        return Err(FrameError::Checksum { found, expected });
    }
    let response = ChunkedReadResponse::decode(data).map_err(|_| FrameError::Protobuf)?;
    Ok(Some((response, rest)))
}

#[cfg(test)]
mod tests {
    use super::super::chunk::Values;
    use super::super::proto::Chunk;
    use super::*;

    fn response() -> ChunkedReadResponse {
        ChunkedReadResponse {
            chunked_series: vec![ChunkedSeries {
                labels: Vec::new(),
                chunks: vec![Chunk {
                    min_time_ms: 1,
                    max_time_ms: 2,
                    r#type: 1,
                    data: vec![7; 200],
                }],
            }],
            query_index: 3,
        }
    }

    #[test]
    fn there_and_back() {
        let two = [encode(&response()), encode(&ChunkedReadResponse::default())].concat();
        let (first, rest) = decode(&two).unwrap().unwrap();
        assert_eq!(first, response());
        let (second, rest) = decode(rest).unwrap().unwrap();
        assert_eq!(second, ChunkedReadResponse::default());
        assert_eq!(decode(rest), Ok(None));
    }

    #[test]
    fn the_bytes_are_prometheuss() {
        // Length, checksum of "\x10\x01" (query index 1), data.
        let frame = encode(&ChunkedReadResponse {
            chunked_series: Vec::new(),
            query_index: 1,
        });
        let checksum = crc32c::crc32c(&[0x10, 1]).to_be_bytes();
        assert_eq!(frame, [&[2][..], &checksum, &[0x10, 1]].concat());
        // The check value of CRC-32C: Castagnoli, not the polynomial of zip.
        assert_eq!(crc32c::crc32c(b"123456789"), 0xe306_9283);
    }

    #[test]
    fn a_long_series_goes_over_several_frames() {
        let times: Vec<i64> = (0..400_000).map(|at| at * at % 977 + at * 1000).collect();
        let floats: Vec<f64> = times.iter().map(|at| (*at as f64).sqrt()).collect();
        let labels = LabelSet::from_pairs([("__name__", "m")]).unwrap();
        let mut chunks = Chunks::new(&times, Values::Floats(&floats));
        let (mut frames, mut samples) = (0, 0);
        while let Some(frame) = of_series(2, &labels, &mut chunks) {
            assert!(frame.len() < DATA_BYTES_MAX + 4096, "{}", frame.len());
            let (response, rest) = decode(&frame).unwrap().unwrap();
            assert!(rest.is_empty());
            assert_eq!(response.query_index, 2);
            let series = &response.chunked_series[0];
            assert_eq!(series.labels[0].value, "m");
            for chunk in &series.chunks {
                samples += super::super::chunk::decode(chunk).unwrap().len();
            }
            frames += 1;
        }
        assert_eq!(samples, times.len());
        assert!(frames > 2, "{frames}");
    }

    #[test]
    fn what_is_wrong_is_found() {
        let frame = encode(&response());
        for length in 1..frame.len() {
            assert_eq!(decode(&frame[..length]), Err(FrameError::Truncated));
        }
        let mut damaged = frame.clone();
        damaged[20] ^= 1;
        assert!(matches!(decode(&damaged), Err(FrameError::Checksum { .. })));
        let claim = [0xff, 0xff, 0xff, 0xff, 0x0f, 0, 0, 0, 0];
        assert!(matches!(decode(&claim), Err(FrameError::TooLong { .. })));
    }
}
