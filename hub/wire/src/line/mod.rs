//! The line batch: scrapes from an edge to our hub in under a byte a sample.
//!
//! A *session* is one ordered stream of frames that both ends remember: series are described once, by their layout (the
//! ordered series of a target); after that a scrape is its layout's number, its time and its values, coded against those
//! before. [`LineEncoder`] is the edge's end of a session, [`LineDecoder`] the hub's. A frame is one scrape.
//!
//! The edge codes a scrape once: the frame stands in its buffer, and the same frame crosses the link, be it at once or after an outage. So
//! the hub follows several sessions of an edge: the one that grows, and one that was left unfinished when the link broke. What has to be live again at once
//! begins a new session, and the rest of the old one comes as backlog. On disk a new session costs descriptions and values anew (a few scrapes'
//! worth of bytes); what of that a hub knows from a session before is left out on the link: [`Takeover`] says how.
//!
//! A reader that lacks what a frame builds on says "session unknown" and gets the session from its beginning.
//!
//! What is no plain float (native histograms, exemplars, metadata, further samples of one series) travels in the same frame as
//! a remote-write message beside the columns.
//!
//! Every byte is drawn in `FORMAT.md`. Everything that is decoded is bounded by [`LineLimits`] before it is allocated. Not in here:
//! sockets, files, clocks, who may send what.

mod block;
mod carry;
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

pub use carry::LineState;
pub use decode::{LineDecoded, LineDecoder, LineSink};
pub use encode::{LabelsWanted, LineEncoder, LineScrape, Takeover};
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
