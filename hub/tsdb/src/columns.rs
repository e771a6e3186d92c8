//! Columns of numbers as bytes: what a part's blocks are made of (drawn in `FORMAT.md`).
//!
//! A column's bytes stand in two streams: *heads* say what follows, *data* holds the numbers. A block keeps the streams
//! apart, so that the heads of neighbours lie side by side, where zstd sees that they are alike.
//!
//! Every decoder here is total: bytes that no encoder wrote are [`Malformed`](crate::codec::Malformed), never a panic, and
//! a column of `count` numbers takes `count` places in the caller's buffer and nothing else.

pub(crate) mod bits;
pub(crate) mod floats;
pub(crate) mod integers;
