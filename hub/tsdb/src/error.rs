use std::{io, path::PathBuf, sync::Arc};

use journal::JournalError;
use model::{HistogramError, Timestamp};

/// Why the store could not be opened, or maintenance could not finish.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
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
    /// No room. What was being written was given up; reads go on, and it is tried again.
    #[error("no space left on the disk of {path}; free some space or lower the retention")]
    DiskFull {
        /// The file that could not grow.
        path: PathBuf,
    },
    /// The folder was written by a release this one does not know.
    #[error(
        "{path} has store format {found}, this release reads format {expected}; use the release that wrote it, or start with an empty folder"
    )]
    UnknownVersion {
        /// The file that says so.
        path: PathBuf,
        /// What it says.
        found: String,
        /// What this release reads.
        expected: u32,
    },
    /// A file without which nothing can be read does not pass its checksum.
    #[error(
        "{path} is damaged at offset {offset}: expected {expected}; restore it from a backup, or move the folder away and start with an empty one"
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where, in bytes.
        offset: u64,
        /// What should be there.
        expected: &'static str,
    },
    /// The write-ahead log or the catalogue.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// Too much was deleted that parts still hold.
    #[error(
        "{found} deletions are more than the limit of {max}, or their series take more than {bytes_max} bytes; rewrite the parts with clean_tombstones, then try again"
    )]
    TooManyDeletions {
        /// With the one that was refused.
        found: usize,
        /// Deletions that may wait for their parts to be rewritten.
        max: usize,
        /// Bytes that they may take.
        bytes_max: usize,
    },
    /// A snapshot shares files by hard links, and the file system makes none here.
    #[error(
        "no hard link from {from} to {to}: {source}; a snapshot needs both in one file system that has hard links: stop the process and copy the folder instead"
    )]
    NoHardLinks {
        /// The file to share.
        from: PathBuf,
        /// Its second name.
        to: PathBuf,
        /// The system's answer.
        source: Arc<io::Error>,
    },
    /// An earlier fsync failed, so nothing more is written. Reads go on.
    #[error("store accepts no more writes: {reason}; check the disk, then restart")]
    Poisoned {
        /// What failed first.
        reason: String,
    },
}

impl StoreError {
    /// Whether there was no room, so that the same may work later.
    pub(crate) fn is_disk_full(&self) -> bool {
        matches!(
            self,
            Self::DiskFull { .. } | Self::Journal(JournalError::DiskFull { .. })
        )
    }

    pub(crate) fn io(operation: &'static str, path: &std::path::Path, source: io::Error) -> Self {
        if journal::is_disk_full(&source) {
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

/// Why a batch was not stored. Nothing of it was.
#[derive(Debug, Clone, thiserror::Error)]
pub enum AppendError {
    /// No room on the disk: try the same batch again later. Reads go on.
    #[error(
        "no space left for new samples on the disk of {path}; free some space or lower the retention"
    )]
    DiskFull {
        /// The file that could not grow.
        path: PathBuf,
    },
    /// An earlier fsync failed, so nothing more is accepted. Reads go on.
    #[error("store accepts no more samples: {reason}; check the disk, then restart")]
    Poisoned {
        /// What failed first.
        reason: String,
    },
    /// The system refused the write; trying again may help.
    #[error("samples could not be written: {reason}")]
    Io {
        /// What failed.
        reason: String,
    },
}

impl From<JournalError> for AppendError {
    fn from(error: JournalError) -> Self {
        match error {
            JournalError::DiskFull { path } => Self::DiskFull { path },
            JournalError::Poisoned { reason } => Self::Poisoned { reason },
            other => Self::Io {
                reason: other.to_string(),
            },
        }
    }
}

impl From<StoreError> for AppendError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::DiskFull { path } => Self::DiskFull { path },
            StoreError::Poisoned { reason } => Self::Poisoned { reason },
            StoreError::Journal(error) => error.into(),
            other => Self::Io {
                reason: other.to_string(),
            },
        }
    }
}

/// Why some samples of a batch were refused while the rest was stored.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum RefusedReason {
    /// The labels are no label set, in the caller's words.
    #[error("invalid labels: {0}")]
    Labels(String),
    /// The scope has all the series it may have. Known series still take samples.
    #[error("series limit reached: scope {scope:?} may have {max} series")]
    SeriesLimit {
        /// The batch's scope.
        scope: String,
        /// `Limits::series_per_scope_max`.
        max: usize,
    },
    /// Too many labels in one set.
    #[error("{found} labels are more than the limit of {max}")]
    TooManyLabels {
        /// How many.
        found: usize,
        /// `Limits::labels_per_series_max`.
        max: usize,
    },
    /// A label name or value is too long.
    #[error("label {name:.64} has {found} bytes, the limit is {max}")]
    LabelTooLong {
        /// The label.
        name: String,
        /// Bytes of its name or value.
        found: usize,
        /// `Limits::label_bytes_max`.
        max: usize,
    },
    /// A native histogram does not fit together.
    #[error("invalid native histogram: {0}")]
    Histogram(HistogramError),
    /// The timestamp is older than the retention or too far in the future.
    #[error("timestamp {} ms is outside of what is kept: {} ms to {} ms", at.millis(), oldest.millis(), newest.millis())]
    OutOfRange {
        /// Of the sample.
        at: Timestamp,
        /// Oldest accepted.
        oldest: Timestamp,
        /// Newest accepted.
        newest: Timestamp,
    },
}

/// Why a read was not answered.
#[derive(Debug, Clone, thiserror::Error)]
pub enum SelectError {
    /// More series match than the limits allow.
    #[error("the selection has more than {max} series; use narrower matchers")]
    TooManySeries {
        /// `SelectLimits::series`.
        max: usize,
    },
    /// More samples would be read than the limits allow.
    #[error("the selection has more than {max} samples; use narrower matchers or a shorter range")]
    TooManySamples {
        /// `SelectLimits::samples`.
        max: u64,
    },
    /// The caller's `cancel` said so.
    #[error("the selection was canceled")]
    Canceled,
    /// A part turned out to be damaged while series were read: it was set aside, and the same question is answered without
    /// it.
    #[error("{path} is damaged ({reason}) and was set aside; ask again for what is left")]
    Changed {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The disk did not answer; trying again may help.
    #[error("reading {path} failed: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's answer.
        source: Arc<io::Error>,
    },
}
