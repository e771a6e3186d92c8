//! Reads records in order while others append.

use std::{path::PathBuf, sync::Arc};

use crate::{
    error::JournalError,
    segment::{Cursor, Item},
    shared::Shared,
};

/// An iterator over (sequence, payload), made by [`crate::Journal::read_from`]. `None` means "no more for now": it may
/// be asked again later. After [`JournalError::Damaged`] it goes on behind the damage; after any other error it
/// tries the same place again. Segments freed meanwhile are skipped; the one
/// it stands in may still be read to its end, as it was if it was replaced.
pub struct Reader {
    shared: Arc<Shared>,
    /// The next sequence to yield is at least this.
    next_seq: u64,
    synced_only: bool,
    current: Option<Current>,
}

struct Current {
    path: PathBuf,
    first_seq: u64,
    generation: u32,
    cursor: Cursor,
    /// End of a segment that no longer grows: (bytes, next_seq).
    sealed: Option<(u64, u64)>,
}

impl Reader {
    pub(crate) fn new(shared: Arc<Shared>, seq: u64, synced_only: bool) -> Self {
        Self {
            shared,
            next_seq: seq.max(1),
            synced_only,
            current: None,
        }
    }

    /// The sequence the next record will have at least.
    pub fn next_seq(&self) -> u64 {
        self.next_seq
    }

    fn step(&mut self) -> Result<Option<(u64, Vec<u8>)>, JournalError> {
        loop {
            let Some((limit, limit_seq)) = self.position()? else {
                return Ok(None);
            };
            let synced_only = self.synced_only;
            let current = self.current.as_mut().expect("position() sets it");
            let error = |e| JournalError::io("reading", &current.path, e);
            let damaged = |offset, lost_first, lost_last| JournalError::Damaged {
                path: current.path.clone(),
                offset,
                lost_first,
                lost_last,
            };
            if synced_only && self.shared.lock().synced_seq < self.next_seq {
                return Ok(None);
            }
            match current.cursor.next(limit).map_err(error)? {
                Some(Item::Record { seq, payload }) => {
                    if seq < self.next_seq {
                        continue;
                    }
                    self.next_seq = seq + 1;
                    return Ok(Some((seq, payload)));
                }
                Some(Item::Damage {
                    offset,
                    lost_first,
                    lost_last,
                    ..
                }) => {
                    let first = lost_first.max(self.next_seq);
                    if lost_last >= first {
                        self.next_seq = lost_last + 1;
                        return Err(damaged(offset, first, lost_last));
                    }
                }
                Some(Item::Tail { offset, .. }) => {
                    let first = current.cursor.next_seq().max(self.next_seq);
                    current.cursor.resume_at(limit_seq);
                    if first < limit_seq {
                        self.next_seq = limit_seq;
                        return Err(damaged(offset, first, limit_seq - 1));
                    }
                }
                None => {
                    let Some((bytes, end)) = current.sealed else {
                        return Ok(None);
                    };
                    let first = current.cursor.next_seq().max(self.next_seq);
                    let lost = damaged(current.cursor.offset().min(bytes), first, end - 1);
                    self.current = None;
                    self.next_seq = self.next_seq.max(end);
                    if first < end {
                        return Err(lost);
                    }
                }
            }
        }
    }

    /// Stands in the segment of `next_seq`; the bytes readable in it and the sequence behind them, or `None` at the end
    /// of the journal.
    fn position(&mut self) -> Result<Option<(u64, u64)>, JournalError> {
        loop {
            let state = self.shared.lock();
            let active_first = state.segments.back().map(|active| active.first_seq);
            if let Some(current) = &mut self.current {
                if current.sealed.is_some() {
                    return Ok(current.sealed);
                }
                let found = state.segments.iter().find(|segment| {
                    (segment.first_seq, segment.generation)
                        == (current.first_seq, current.generation)
                });
                if let Some(segment) = found {
                    if active_first != Some(segment.first_seq) {
                        current.sealed = Some((segment.bytes, segment.next_seq));
                    }
                    return Ok(Some((segment.bytes, segment.next_seq)));
                }
                // Closed and freed since the last step, perhaps unread to its end; whoever freed it did not need it. Or replaced: then it
                // is read on in what stands there now.
                self.current = None;
            }
            let found = state.segments.iter().find(|segment| {
                segment.next_seq > self.next_seq || Some(segment.first_seq) == active_first
            });
            let Some(segment) = found.cloned() else {
                return Ok(None);
            };
            drop(state);
            let opened = self.shared.disk.open(&segment.path);
            let state = self.shared.lock();
            let is_same = |now: &&crate::shared::Segment| now.first_seq == segment.first_seq;
            let now = state.segments.iter().find(is_same);
            if now.is_none_or(|now| now.generation != segment.generation) {
                // Replaced, or freed, while it was being opened.
                continue;
            }
            drop(state);
            let file = opened.map_err(|e| JournalError::io("opening", &segment.path, e))?;
            self.next_seq = self.next_seq.max(segment.first_seq);
            let sealed = (active_first != Some(segment.first_seq))
                .then_some((segment.bytes, segment.next_seq));
            let cursor = Cursor::new(file, segment.first_seq);
            self.current = Some(Current {
                path: segment.path,
                first_seq: segment.first_seq,
                generation: segment.generation,
                cursor,
                sealed,
            });
            return Ok(Some((segment.bytes, segment.next_seq)));
        }
    }
}

impl Iterator for Reader {
    type Item = Result<(u64, Vec<u8>), JournalError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.step().transpose()
    }
}
