//! Remote write 2.0, both ways: strings stand once in a table of symbols, everything else refers to it.
//!
//! [`RequestWriter`] makes a request series by series, so that whoever has a message of 1.0 turns it into one of 2.0 while walking it.
//!
//! [`WalkV2`] reads a decompressed request in place, series by series. What concerns one series only (references outside
//! of the table, bad labels, a histogram that contradicts itself) refuses that series or sample; only bytes that are no
//! such message refuse the request. The label bytes that it gives for a series are those that remote write 1.0 would have
//! sent, so that a sender who changes the version goes on writing to the series that the store knows by them.

pub mod proto;
mod walk;
mod write;

pub use walk::{SeriesViewV2, WalkV2};
pub use write::{RequestWriter, SeriesWriter};

use prost::Message;

use super::DecodeError;

/// Encodes and compresses a request: a body for the wire.
pub fn encode(request: &proto::Request) -> Vec<u8> {
    super::compress(&encode_message(request))
}

/// Encodes a request; [`super::compress`] makes a body of it.
pub fn encode_message(request: &proto::Request) -> Vec<u8> {
    request.encode_to_vec()
}

/// Decodes a decompressed message that one trusts: an empty series takes two bytes on the wire and a hundred and more here.
/// What receives uses [`WalkV2`].
///
/// # Errors
/// Bytes that are no such message.
pub fn decode_message(message: &[u8]) -> Result<proto::Request, DecodeError> {
    proto::Request::decode(message).map_err(|_| DecodeError::Protobuf {
        offset: 0,
        expected: "a Request of remote write 2.0 that prost can read",
    })
}
