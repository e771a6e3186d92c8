use prost::Message;

use super::Walk;
use super::proto::WriteRequest;

/// How much of a request is taken in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Longest compressed body in bytes. Default 32 MiB, as Prometheus's.
    pub compressed_bytes_max: usize,
    /// Longest decompressed message in bytes. Default 32 MiB, as Prometheus's.
    pub decompressed_bytes_max: usize,
    /// Most messages (series, labels, samples…) that [`decode`] turns into structs: an empty series takes two bytes
    /// on the wire and a hundred in memory. Default 4 million. [`Walk`] allocates none of them and has no such limit.
    pub messages_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            compressed_bytes_max: 32 << 20,
            decompressed_bytes_max: 32 << 20,
            messages_max: 4_000_000,
        }
    }
}

/// Why a body is not a remote-write request.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The compressed body is longer than the limit.
    #[error("body of {found} bytes is longer than the limit of {limit}: send smaller batches")]
    BodyTooLong {
        /// Length of the body.
        found: usize,
        /// The limit in force.
        limit: usize,
    },
    /// The body claims to decompress to more than the limit.
    #[error(
        "snappy block claims {found} bytes decompressed, more than the limit of {limit}: send smaller batches"
    )]
    ClaimTooLong {
        /// The claimed length.
        found: u64,
        /// The limit in force.
        limit: usize,
    },
    /// The body ends before the Snappy block does.
    #[error("snappy block is truncated after {found} bytes: the body was cut on its way")]
    Truncated {
        /// Length of the body.
        found: usize,
    },
    /// The body is no Snappy block.
    #[error(
        "body is not a snappy block ({reason}): remote write compresses with the block format, not the framed one"
    )]
    NotSnappy {
        /// What the decompressor said.
        reason: String,
    },
    /// The decompressed bytes are not the message.
    #[error("bad protobuf at byte {offset}: expected {expected}")]
    Protobuf {
        /// Where, in the decompressed message.
        offset: usize,
        /// What should have been there.
        expected: &'static str,
    },
    /// More messages than [`Limits::messages_max`].
    #[error("request holds more than {limit} series, labels and samples: send smaller batches")]
    TooManyMessages {
        /// The limit in force.
        limit: usize,
    },
    /// The references of a request of remote write 2.0 stand for more text than a message of 1.0 could hold.
    #[error("labels and metadata stand for more than {limit} bytes: send smaller batches")]
    TooMuchText {
        /// The limit in force.
        limit: usize,
    },
}

impl DecodeError {
    /// Whether the request is well formed so far but too large (HTTP 413 for the body itself, as Prometheus answers).
    pub fn is_body_too_long(&self) -> bool {
        matches!(self, DecodeError::BodyTooLong { .. })
    }
}

/// Decompresses a body, within the limits; the claimed length is checked before that much is allocated.
///
/// # Errors
/// All of [`DecodeError`] that concern Snappy.
pub fn decompress(body: &[u8], limits: &Limits) -> Result<Vec<u8>, DecodeError> {
    let mut message = Vec::new();
    let length = decompress_into(body, limits, &mut message)?;
    message.truncate(length);
    Ok(message)
}

/// [`decompress`] into memory that is used again: the message is the first so many bytes of `message`, which grows as
/// needed and never shrinks here. Fresh memory for each request costs more than the decompression.
///
/// # Errors
/// As [`decompress`].
pub fn decompress_into(
    body: &[u8],
    limits: &Limits,
    message: &mut Vec<u8>,
) -> Result<usize, DecodeError> {
    if body.len() > limits.compressed_bytes_max {
        return Err(DecodeError::BodyTooLong {
            found: body.len(),
            limit: limits.compressed_bytes_max,
        });
    }
    if body.is_empty() {
        return Err(DecodeError::Truncated { found: 0 });
    }
    // snap refuses claims above 4 GiB by itself, with an error of its own that names the size.
    let claimed = match snap::raw::decompress_len(body) {
        Ok(claimed) => claimed,
        Err(snap::Error::TooBig { given, .. }) => {
            return Err(DecodeError::ClaimTooLong {
                found: given,
                limit: limits.decompressed_bytes_max,
            });
        }
        Err(error) => {
            return Err(DecodeError::NotSnappy {
                reason: error.to_string(),
            });
        }
    };
    if claimed > limits.decompressed_bytes_max {
        return Err(DecodeError::ClaimTooLong {
            found: claimed as u64,
            limit: limits.decompressed_bytes_max,
        });
    }
    // A copy element of three bytes yields at most 64 bytes of output: a body cannot hold more than that, and a
    // claim beyond it is a lie told to make us allocate.
    if claimed > body.len().saturating_mul(EXPANSION_MAX) {
        return Err(DecodeError::Truncated { found: body.len() });
    }
    if message.len() < claimed {
        message.resize(claimed, 0);
    }
    match snap::raw::Decoder::new().decompress(body, message) {
        Ok(length) => Ok(length),
        Err(
            snap::Error::Literal { .. }
            | snap::Error::CopyRead { .. }
            | snap::Error::HeaderMismatch { .. },
        ) => Err(DecodeError::Truncated { found: body.len() }),
        Err(error) => Err(DecodeError::NotSnappy {
            reason: error.to_string(),
        }),
    }
}

/// Most bytes that one byte of a Snappy block can stand for (a two-byte copy element of 11 bytes, a three-byte one
/// of 64), rounded up.
const EXPANSION_MAX: usize = 32;

/// Decompresses and decodes a body into the `prost` message.
///
/// # Errors
/// All of [`DecodeError`].
pub fn decode(body: &[u8], limits: &Limits) -> Result<WriteRequest, DecodeError> {
    decode_message(&decompress(body, limits)?, limits)
}

/// Decodes a decompressed message.
///
/// # Errors
/// Those of [`DecodeError`] that concern protobuf.
pub fn decode_message(message: &[u8], limits: &Limits) -> Result<WriteRequest, DecodeError> {
    if Walk::count_messages(message)? > limits.messages_max {
        return Err(DecodeError::TooManyMessages {
            limit: limits.messages_max,
        });
    }
    WriteRequest::decode(message).map_err(|_| DecodeError::Protobuf {
        offset: 0,
        expected: "a WriteRequest that prost can read",
    })
}

/// Encodes a request; [`compress`] makes a body of it.
pub fn encode_message(request: &WriteRequest) -> Vec<u8> {
    request.encode_to_vec()
}

/// Encodes and compresses a request: a body for the wire.
pub fn encode(request: &WriteRequest) -> Vec<u8> {
    compress(&request.encode_to_vec())
}

/// Compresses an encoded request, or several joined, into one Snappy block.
///
/// # Panics
/// When the message is longer than 4 GiB less a sixth, which no batch with a byte bound is.
pub fn compress(message: &[u8]) -> Vec<u8> {
    snap::raw::Encoder::new()
        .compress_vec(message)
        .expect("a batch has a byte bound far below what snappy can hold")
}

#[cfg(test)]
mod tests {
    use super::super::proto::{Label, Sample, TimeSeries};
    use super::*;
    use proptest::prelude::*;

    fn request() -> WriteRequest {
        WriteRequest {
            timeseries: vec![TimeSeries {
                labels: vec![Label {
                    name: "__name__".into(),
                    value: "up".into(),
                }],
                samples: vec![Sample {
                    value: 1.0,
                    timestamp: 1_700_000_000_000,
                }],
                ..TimeSeries::default()
            }],
            metadata: Vec::new(),
        }
    }

    #[test]
    fn round_trip_and_empty() {
        let limits = Limits::default();
        assert_eq!(decode(&encode(&request()), &limits), Ok(request()));
        // The sign of life of an idle edge: an empty request.
        assert_eq!(encode(&WriteRequest::default()), [0]);
        assert_eq!(decode(&[0], &limits), Ok(WriteRequest::default()));
    }

    #[test]
    fn joined_messages_are_one_request() {
        let one = request().encode_to_vec();
        let joined = decode(&compress(&[one.clone(), one].concat()), &Limits::default()).unwrap();
        assert_eq!(joined.timeseries.len(), 2);
    }

    #[test]
    fn says_what_is_wrong() {
        let check = |body: &[u8], text: &str| {
            let error = decode(body, &Limits::default()).unwrap_err().to_string();
            assert!(error.contains(text), "{error}");
        };
        check(b"", "truncated");
        let body = encode(&request());
        check(&body[..body.len() - 3], "truncated");
        // 30 bytes that claim 4 GiB - 1, and 40 GiB.
        let claim = [&[0xff, 0xff, 0xff, 0xff, 0x0f][..], &[0; 25]].concat();
        check(&claim, "claims 4294967295 bytes");
        check(
            &[&[0xff, 0xff, 0xff, 0xff, 0xff, 0x0f][..], &[0; 25]].concat(),
            "",
        );
        // 16 MiB is within the limit, but not from 30 bytes.
        check(
            &[&[0x80, 0x80, 0x80, 0x08][..], &[0; 26]].concat(),
            "truncated",
        );
        check(b"\xff\x06\x00\x00sNaPpY", "");
        check(&compress(b"\x0a\x05abc"), "bad protobuf at byte 2");
        check(&compress(b"\xff"), "bad protobuf at byte 0");
    }

    #[test]
    fn too_long_is_told_apart() {
        let limits = Limits {
            compressed_bytes_max: 4,
            ..Limits::default()
        };
        assert!(
            decode(&encode(&request()), &limits)
                .unwrap_err()
                .is_body_too_long()
        );
        let limits = Limits {
            messages_max: 2,
            ..Limits::default()
        };
        assert_eq!(
            decode(&encode(&request()), &limits),
            Err(DecodeError::TooManyMessages { limit: 2 })
        );
    }

    #[test]
    fn a_block_of_copies_is_within_the_expansion_bound() {
        let zeros = vec![0; 1 << 20];
        assert_eq!(decompress(&compress(&zeros), &Limits::default()), Ok(zeros));
    }

    proptest! {
        #[test]
        fn random_bytes_do_not_panic(body in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = decode(&body, &Limits::default());
            let _ = decode(&compress(&body), &Limits::default());
        }
    }
}
