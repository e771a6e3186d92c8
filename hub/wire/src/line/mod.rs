//! The line batch: scrapes from an edge to our hub in under a byte a sample.
//!
//! A *session* is one ordered stream of frames that both ends remember: series are described once, by their layout (the
//! ordered series of a target); after that a scrape is its layout's number, its time and its values, coded against those
//! before. [`LineEncoder`] is the edge's end of a session, [`LineDecoder`] the hub's. An edge has a session for each lane: live
//! scrapes and backlog are two streams that wait for each other in no way. A backlog frame holds many scrapes, which is
//! all that makes it wide: the same columns, the same coder.
//!
//! A frame is sent, and sent again or settled, before the next one is made:
//!
//! - taken: both ends know it, the next frame builds on it;
//! - no answer: whether the hub has it is not known. The next frame codes values anew, or, if the lost one described series,
//!   begins a new session;
//! - "session unknown" (the hub was restarted, or forgot): a new session begins, with a frame that needs nothing from before.
//!
//! What is no plain float (native histograms, exemplars, metadata, further samples of one series) travels in the same frame as
//! a remote-write message beside the columns.
//!
//! Every byte is drawn in `FORMAT.md`. Everything that is decoded is bounded by [`LineLimits`] before it is allocated. Not in here:
//! sockets, files, clocks, who may send what.

mod block;
mod column;
mod decode;
mod encode;
mod error;
mod frame;
pub mod link;
mod range;
mod scale;

#[cfg(test)]
mod tests;

pub use decode::{LineDecoded, LineDecoder, LineSink};
pub use encode::{LineEncoder, LineRecord};
pub use error::LineError;
pub use frame::{Frame, seal as with_checksum};

/// Of the format. A reader refuses all others.
pub const VERSION: u8 = 1;

/// How much a reader takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LineLimits {
    /// Bytes of a frame. Default 16 MiB.
    pub frame_bytes_max: usize,
    /// Bytes of the descriptions in a frame, or of the messages beside its columns, once decompressed. Default 64 MiB.
    pub section_bytes_max: usize,
    /// Samples in the columns of a frame, and places for samples that are not there. Default 4 million.
    pub samples_max: u64,
    /// Series that a session describes, all layouts together. Default 1 million.
    pub series_max: usize,
    /// Layouts of a session. Default 65,536.
    pub layouts_max: usize,
}

impl Default for LineLimits {
    fn default() -> Self {
        LineLimits {
            frame_bytes_max: 16 << 20,
            section_bytes_max: 64 << 20,
            samples_max: 4_000_000,
            series_max: 1_000_000,
            layouts_max: 1 << 16,
        }
    }
}

/// What an edge says of its buffer beside the samples; the hub's books are made of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// Samples ever synced to this buffer (staleness markers apart).
    pub scraped_samples: u64,
    /// Samples that this hub has not acknowledged.
    pub pending_samples: u64,
    /// Bytes that they take in the buffer.
    pub pending_bytes: u64,
    /// Time of the oldest pending record, milliseconds since 1970.
    pub oldest_pending: Option<i64>,
    /// Samples evicted before this hub had them, since the buffer was made.
    pub evicted_samples: u64,
}
