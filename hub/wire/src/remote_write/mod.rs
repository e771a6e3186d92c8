//! Remote write 1.0 and 2.0 ([`v2`]), both ways: one protobuf message in one Snappy block.
//!
//! A body from outside is read in three steps, each with its own refusal:
//!
//! 1. [`headers::check`]: are content type, encoding and version what we read (415 otherwise)?
//! 2. [`decode`] or [`decompress`]: the Snappy block, whose claimed size is checked *before* anything of that size is
//!    allocated, then the protobuf (400, or 413 for what is too long).
//! 3. Series by series: [`SeriesView::labels`] and [`convert`] say which series cannot be stored and why; the others
//!    can, so a request with one bad series is not lost.
//!
//! [`Walk`] reads a decompressed request in place: no allocation per series or sample, label bytes as they stand in the
//! request (the store finds known series by them). The `prost` types of [`proto`] serve everything else; a property
//! test holds the two decoders together.

mod codec;
pub mod convert;
pub mod headers;
mod histogram;
pub mod proto;
pub mod v2;
mod walk;

pub use codec::{
    DecodeError, Limits, compress, decode, decode_message, decompress, decompress_into, encode,
    encode_message,
};
pub use convert::SeriesRefusal;
pub use histogram::{histogram_from_proto, histogram_to_proto};
pub(crate) use walk::{FieldValue, Fields, bad};
pub use walk::{Part, SeriesView, Walk, read_exemplar};
