use std::{io, path::PathBuf, sync::Arc};

use crate::disk::is_disk_full;

/// What can go wrong with a journal. Cheap to clone, because one failed fsync answers many waiting commits.
#[derive(Debug, Clone, thiserror::Error)]
pub enum JournalError {
    /// The operating system refused an operation.
    #[error("{operation} of {path} failed: {source}")]
    Io {
        /// What was tried.
        operation: &'static str,
        /// On which file or folder.
        path: PathBuf,
        /// The system's answer.
        source: Arc<io::Error>,
    },
    /// No room for the record. Nothing of it was kept; appending works again once there is room.
    #[error(
        "no space left on the disk of {path}; free some space or lower the retention, then try again"
    )]
    DiskFull {
        /// The file that could not grow.
        path: PathBuf,
    },
    /// An earlier fsync (or the repair of a failed write) failed, so nothing more is accepted. Reads still work.
    #[error("journal accepts no more writes: {reason}; check the disk, then open the folder again")]
    Poisoned {
        /// What failed first.
        reason: String,
    },
    /// The record is larger than the options allow.
    #[error("record of {bytes} bytes is larger than the limit of {max} bytes")]
    RecordTooLarge {
        /// Size of the refused record.
        bytes: usize,
        /// `Options::record_bytes_max`.
        max: usize,
    },
    /// A segment was written by a release this one does not know.
    #[error(
        "{path} has journal format {found}, this release reads format {expected}; use the release that wrote it"
    )]
    UnknownVersion {
        /// The segment.
        path: PathBuf,
        /// Version in its header.
        found: u32,
        /// Version this release reads.
        expected: u32,
    },
    /// Records are gone: their bytes do not pass the checksum or are missing. Reading goes on behind them.
    #[error(
        "{path} is damaged at offset {offset}: records {lost_first} to {lost_last} are lost; restore them from another copy"
    )]
    Damaged {
        /// The segment.
        path: PathBuf,
        /// Where the damage starts, in bytes from the start of the segment.
        offset: u64,
        /// First lost sequence number.
        lost_first: u64,
        /// Last lost sequence number, inclusive.
        lost_last: u64,
    },
    /// The journal was closed while a commit was waiting, before its record was synced.
    #[error("journal was closed before the record was synced")]
    Closed,
}

impl JournalError {
    pub(crate) fn io(operation: &'static str, path: &std::path::Path, source: io::Error) -> Self {
        if is_disk_full(&source) {
            return Self::DiskFull {
                path: path.to_owned(),
            };
        }
        Self::Io {
            operation,
            path: path.to_owned(),
            source: Arc::new(source),
        }
    }
}
