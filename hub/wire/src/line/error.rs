//! Why bytes are no frame, or a frame cannot be read here.

/// What is wrong with a frame, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LineError {
    /// Bytes changed on the way, or are cut off.
    #[error(
        "frame of {bytes} bytes: checksum is {found:08x}, should be {expected:08x}: send it again"
    )]
    Checksum {
        /// Length of the frame.
        bytes: usize,
        /// Of the bytes as they came.
        found: u32,
        /// As the frame says.
        expected: u32,
    },
    /// Another release's format.
    #[error(
        "frame has version {found}, this release reads version {}: update the older side, or send remote write",
        super::VERSION
    )]
    Version {
        /// Its version.
        found: u8,
    },
    /// It builds on what is not here: after a restart, or when a frame was lost.
    #[error(
        "frame {number} of session {session:08x} does not follow what is known here: send a self-contained frame"
    )]
    SessionUnknown {
        /// The session that it names.
        session: u32,
        /// The number that it has.
        number: u64,
    },
    /// More than the receiver takes.
    #[error("{what}: {found}, the limit is {limit}: send smaller batches")]
    TooLong {
        /// What is too long.
        what: &'static str,
        /// How much there is, or is claimed.
        found: u64,
        /// How much may be.
        limit: u64,
    },
    /// Bytes that no encoder writes.
    #[error("frame at byte {at}: expected {expected}")]
    Malformed {
        /// Where: byte of the frame.
        at: usize,
        /// What should be there.
        expected: &'static str,
    },
    /// The columns are not what an encoder writes.
    #[error("scrape at byte {at} of the frame: {reason}")]
    Scrape {
        /// Where its columns begin.
        at: usize,
        /// What is wrong with it.
        reason: &'static str,
    },
}

impl LineError {
    /// Whether a self-contained frame is what helps.
    pub fn is_session_unknown(&self) -> bool {
        matches!(self, LineError::SessionUnknown { .. })
    }
}
