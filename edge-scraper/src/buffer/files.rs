//! The small files beside the journal: the buffer's state and the hubs' cursors. Their names are made here.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::io;
use std::path::Path;
use std::sync::Arc;

use journal::{Disk, Journal, read_file, write_atomic};

use super::cursor::{Cursor, parse_counts, seal, unseal};
use super::record::{self, Counts};
use super::store::BufferError;

const STATE_TITLE: &str = "branchline buffer 1";
const CURSOR_PREFIX: &str = "cursor-";
/// State and cursors are small; a larger file is not ours.
const SMALL_FILE_BYTES_MAX: u64 = 4 << 20;

/// What is known of the buffer apart from its records.
pub(super) struct State {
    pub(super) epoch: u64,
    pub(super) kept_from: u64,
    /// What the records before `kept_from` held.
    pub(super) before: Counts,
}

impl State {
    pub(super) fn encode(&self) -> Vec<u8> {
        let State {
            epoch,
            kept_from,
            before,
        } = self;
        seal(format!(
            "{STATE_TITLE}\nepoch {epoch}\nkept_from {kept_from}\nbefore_counts {} {}\n",
            before.samples, before.markers
        ))
    }

    fn decode(bytes: &[u8]) -> Option<State> {
        let mut lines = unseal(bytes)?.lines();
        let mut line = |key: &str| lines.next()?.strip_prefix(key);
        line(STATE_TITLE)?;
        Some(State {
            epoch: line("epoch ")?.parse().ok()?,
            kept_from: line("kept_from ")?
                .parse()
                .ok()
                .filter(|seq| (1..=u64::MAX / 2).contains(seq))?,
            before: parse_counts(line("before_counts ")?)?,
        })
    }
}

/// None when the file is missing or damaged.
pub(super) fn read_state(disk: &dyn Disk, path: &Path) -> Result<Option<State>, BufferError> {
    match read_file(disk, path, SMALL_FILE_BYTES_MAX) {
        Ok(bytes) => Ok(State::decode(&bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(io_error("reading", path)(error)),
    }
}

/// The state as the records tell it: epoch and running count stand in each of them.
pub(super) fn guess_state(journal: &Journal, epoch_if_none: Option<u64>) -> State {
    let kept_from = journal
        .segments()
        .first()
        .map_or(1, |first| first.first_seq);
    // A reader that meets a failing disk meets it again and again.
    let records = journal.read_from(1).take(1000).flatten();
    let header = records
        .filter_map(|(_, bytes)| record::decode_header(&bytes).ok())
        .next();
    match header {
        Some(header) => State {
            epoch: header.epoch,
            kept_from,
            before: header.cumulative.saturating_sub(header.counts),
        },
        None => State {
            epoch: epoch_if_none.unwrap_or_else(new_epoch),
            kept_from,
            before: Counts::default(),
        },
    }
}

/// All cursors that can be read, of whatever epoch; leftovers and damaged ones are left out with a warning.
pub(super) fn read_cursors(disk: &dyn Disk, dir: &Path) -> Result<Vec<Cursor>, BufferError> {
    let mut cursors = Vec::new();
    for name in disk.list(dir).map_err(io_error("listing", dir))? {
        if !name.starts_with(CURSOR_PREFIX) || name.ends_with(".tmp") {
            continue;
        }
        let path = dir.join(&name);
        let bytes =
            read_file(disk, &path, SMALL_FILE_BYTES_MAX).map_err(io_error("reading", &path))?;
        match Cursor::decode(&bytes) {
            Some(cursor) => cursors.push(cursor),
            None => {
                let path = path.display();
                tracing::warn!(%path, "a hub's cursor is damaged: everything in the buffer is sent to that hub again");
            }
        }
    }
    Ok(cursors)
}

/// The file of a hub's cursor: a hash, because a hub's name may hold anything.
pub(super) fn cursor_file(hub: &str) -> String {
    format!(
        "{CURSOR_PREFIX}{:016x}",
        model::LabelSet::from_pairs([("hub", hub)])
            .unwrap_or_default()
            .fingerprint()
    )
}

pub(super) fn write_small(disk: &dyn Disk, path: &Path, bytes: &[u8]) -> Result<(), BufferError> {
    write_atomic(disk, path, bytes).map_err(io_error("writing", path))
}

pub(super) fn io_error(
    operation: &'static str,
    path: &Path,
) -> impl FnOnce(io::Error) -> BufferError + use<> {
    let path = path.to_owned();
    move |source| BufferError::Io {
        operation,
        path,
        source: Arc::new(source),
    }
}

/// An identity that no other buffer has, but by a chance of one in 2^64.
pub(super) fn new_epoch() -> u64 {
    RandomState::new().build_hasher().finish()
}
