//! Answers with samples: one `ReadResponse` in one Snappy block, written as it is read from the store.

use model::{LabelSet, Sample};
use prost::Message;
use prost::encoding::{WireType, encode_key};

use super::proto::ReadResponse;
use crate::remote_write::{self, DecodeError, compress, convert};

/// Longest message: fifty million floats, Prometheus's default limit, fit.
const MESSAGE_BYTES_MAX: usize = 1 << 30;
/// Bytes of the length of a result, as many whatever it is: it is known last, and the message should not move then.
const LENGTH_BYTES: usize = 5;

/// An answer of samples is longer than one may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "answer is longer than {MESSAGE_BYTES_MAX} bytes: ask for less, or accept STREAMED_XOR_CHUNKS, which has no such limit"
)]
pub struct TooLong;

/// An answer being written: queries one after the other, series after series, each encoded at once.
#[derive(Clone, Debug, Default)]
pub struct SamplesBody {
    message: Vec<u8>,
    /// Where the length of the result at hand stands.
    length_at: usize,
}

impl SamplesBody {
    /// A body without results.
    pub fn new() -> Self {
        SamplesBody::default()
    }

    /// Begins the result of the next query.
    pub fn begin_query(&mut self) {
        encode_key(1, WireType::LengthDelimited, &mut self.message);
        self.length_at = self.message.len();
        self.message.extend_from_slice(&[0; LENGTH_BYTES]);
    }

    /// One more series of the query at hand.
    ///
    /// # Errors
    /// [`TooLong`].
    pub fn series(&mut self, labels: &LabelSet, samples: &[Sample]) -> Result<(), TooLong> {
        // Series are field 1 of a result as they are of a write request.
        convert::append_series(&mut self.message, labels, samples);
        match self.message.len() > MESSAGE_BYTES_MAX {
            true => Err(TooLong),
            false => Ok(()),
        }
    }

    /// Ends the result of the query at hand.
    pub fn end_query(&mut self) {
        let length = self.message.len() - self.length_at - LENGTH_BYTES;
        for (index, byte) in self.message[self.length_at..][..LENGTH_BYTES]
            .iter_mut()
            .enumerate()
        {
            let more = if index + 1 < LENGTH_BYTES { 0x80 } else { 0 };
            *byte = (length >> (7 * index)) as u8 & 0x7f | more;
        }
    }

    /// The whole body.
    pub fn finish(self) -> Vec<u8> {
        compress(&self.message)
    }
}

/// Reads an answer of samples: for those who asked. Bodies longer than `bytes_max`, compressed or not, are refused.
///
/// # Errors
/// Bytes that are no such answer.
pub fn decode_samples(body: &[u8], bytes_max: usize) -> Result<ReadResponse, DecodeError> {
    let limits = remote_write::Limits {
        compressed_bytes_max: bytes_max,
        decompressed_bytes_max: bytes_max,
        ..remote_write::Limits::default()
    };
    let message = remote_write::decompress(body, &limits)?;
    ReadResponse::decode(&message[..]).map_err(|_| DecodeError::Protobuf {
        offset: 0,
        expected: "a ReadResponse that prost can read",
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::Timestamp;

    #[test]
    fn there_and_back() {
        let labels = LabelSet::from_pairs([("__name__", "up"), ("job", "a")]).unwrap();
        let samples: Vec<Sample> = (0..200)
            .map(|at| Sample::float(Timestamp::from_millis(at), at as f64))
            .collect();
        let mut body = SamplesBody::new();
        for queries in [2, 0, 1] {
            body.begin_query();
            for _ in 0..queries {
                body.series(&labels, &samples).unwrap();
            }
            body.end_query();
        }
        let read = decode_samples(&body.finish(), 1 << 20).unwrap();
        let lengths: Vec<usize> = read.results.iter().map(|r| r.timeseries.len()).collect();
        assert_eq!(lengths, [2, 0, 1]);
        let series = convert::series_from_proto(&read.results[2].timeseries[0]).unwrap();
        assert_eq!((series.labels, series.samples), (labels, samples));
        let nothing = SamplesBody::new().finish();
        assert_eq!(decode_samples(&nothing, 10), Ok(ReadResponse::default()));
        assert!(decode_samples(&nothing[..0], 10).is_err());
    }
}
