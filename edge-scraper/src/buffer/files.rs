//! The small files beside the journal: the buffer's state and the hubs' cursors. Their names are made here.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io;
use std::path::Path;
use std::sync::Arc;

use journal::{Disk, Journal, read_file, write_atomic};

use super::cursor::{Cursor, parse_counts, seal, unseal};
use super::eviction::{Mark, Rewritten, Stage};
use super::record::{self, Counts, Header};
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
    /// Segments that were rewritten, by first sequence.
    pub(super) rewritten: BTreeMap<u64, Rewritten>,
    /// The same of one that was about to be: it was if its records have that mark.
    pub(super) rewriting: Option<(u64, Rewritten)>,
}

impl State {
    pub(super) fn encode(&self) -> Vec<u8> {
        let State {
            epoch,
            kept_from,
            before,
            rewritten,
            rewriting,
        } = self;
        let mut text = format!(
            "{STATE_TITLE}\nepoch {epoch}\nkept_from {kept_from}\nbefore_counts {} {}\n",
            before.samples, before.markers
        );
        let rewritten = rewritten
            .iter()
            .map(|(first, done)| ("rewritten", first, done));
        let rewriting = rewriting
            .iter()
            .map(|(first, new)| ("rewriting", first, new));
        for (key, first, Rewritten { mark, taken }) in rewritten.chain(rewriting) {
            let (stage, number) = (mark.stage.to_byte(), mark.number);
            let Counts { samples, markers } = taken;
            let _ = writeln!(text, "{key} {first} {stage} {number} {samples} {markers}");
        }
        seal(text)
    }

    fn decode(bytes: &[u8]) -> Option<State> {
        let mut lines = unseal(bytes)?.lines();
        let mut line = |key: &str| lines.next()?.strip_prefix(key);
        line(STATE_TITLE)?;
        let mut state = State {
            epoch: line("epoch ")?.parse().ok()?,
            kept_from: line("kept_from ")?
                .parse()
                .ok()
                .filter(|seq| (1..=u64::MAX / 2).contains(seq))?,
            before: parse_counts(line("before_counts ")?)?,
            rewritten: BTreeMap::new(),
            rewriting: None,
        };
        for line in lines {
            match line.split_once(' ')? {
                ("rewritten", text) => state.rewritten.extend([parse_rewritten(text)?]),
                ("rewriting", text) => state.rewriting = Some(parse_rewritten(text)?),
                // Of a later release.
                _ => {}
            }
        }
        Some(state)
    }
}

fn parse_rewritten(text: &str) -> Option<(u64, Rewritten)> {
    let mut numbers = text.splitn(4, ' ');
    let first = numbers.next()?.parse().ok()?;
    let mark = Mark {
        stage: Stage::from_byte(numbers.next()?.parse().ok()?),
        number: numbers.next()?.parse().ok()?,
    };
    let taken = parse_counts(numbers.next()?)?;
    Some((first, Rewritten { mark, taken }))
}

/// None when the file is missing or damaged.
pub(super) fn read_state(disk: &dyn Disk, path: &Path) -> Result<Option<State>, BufferError> {
    match read_file(disk, path, SMALL_FILE_BYTES_MAX) {
        Ok(bytes) => Ok(State::decode(&bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(io_error("reading", path)(error)),
    }
}

/// The state as the records tell it: epoch, running count and what a segment has been through stand in each of them. What was taken from
/// a segment is what lies between its last record and the first one behind it. Reads everything.
pub(super) fn guess_state(journal: &Journal, epoch_if_none: Option<u64>) -> State {
    let segments = journal.segments();
    let mut state = State {
        epoch: epoch_if_none.unwrap_or_else(new_epoch),
        kept_from: segments.first().map_or(1, |first| first.first_seq),
        before: Counts::default(),
        rewritten: BTreeMap::new(),
        rewriting: None,
    };
    let mut last: Option<(u64, Header)> = None;
    for info in &segments {
        let count = (info.last_seq + 1 - info.first_seq) as usize;
        // A reader that meets a failing disk meets it again and again.
        let records = journal
            .read_from(info.first_seq)
            .take(count.max(1))
            .flatten();
        let within = records.take_while(|(seq, _)| *seq <= info.last_seq);
        let headers = within.filter_map(|(_, bytes)| record::decode_header(&bytes).ok());
        for (number, header) in headers.enumerate() {
            let before = header.cumulative.saturating_sub(header.counts);
            match &last {
                None => (state.epoch, state.before) = (header.epoch, before),
                Some((first, last)) if number == 0 && last.mark.is_rewritten() => {
                    let taken = before.saturating_sub(last.cumulative);
                    let mark = last.mark;
                    state.rewritten.insert(*first, Rewritten { mark, taken });
                }
                Some(_) => {}
            }
            last = Some((info.first_seq, header));
        }
    }
    state
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
