//! Prometheus's remote read, both ways: somebody asks for the stored samples of some series, and gets them all.
//!
//! A request is one Snappy block like one of remote write; [`decode`] makes [`Query`]s of it, whose matchers are checked,
//! and chooses the first kind of answer that the reader names and we know ([`ResponseType`]):
//!
//! - *samples*: one `ReadResponse` in one Snappy block. [`SamplesBody`] writes it series by series, so that nobody holds
//!   it as structs;
//! - *streamed chunks*: [`frame`]s, one after the other, of a `ChunkedReadResponse` each. What is in them are the chunks of
//!   Prometheus's own store, as [`chunk`] writes and reads them.
//!
//! Hints (step, function, grouping) are skipped: they may make an answer smaller, and never have to.

pub mod chunk;
pub mod frame;
pub mod proto;
mod request;
mod samples;

pub use request::{
    Limits, Query, Request, RequestError, ResponseType, decode, encode, encode_message,
};
pub use samples::{SamplesBody, TooLong, decode_samples};

/// `Content-Type` of requests and of answers with samples.
pub const SAMPLES_CONTENT_TYPE: &str = "application/x-protobuf";
/// `Content-Type` of answers with streamed chunks. They have no `Content-Encoding`.
pub const CHUNKS_CONTENT_TYPE: &str =
    "application/x-streamed-protobuf; proto=prometheus.ChunkedReadResponse";
