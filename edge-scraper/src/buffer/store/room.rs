//! Making room: what goes by the policy, and how it is written down.
//!
//! A segment goes whole ([`Buffer::evict`]) or is rewritten with less ([`Buffer::rewrite`]). Either way what a hub lacks of it is counted as
//! evicted, in the cursor's file, before it goes. A rewriting has come about once the new file has the old one's name: until then cursors
//! and state say what it would take, and the mark in the records tells whether it did.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use journal::{JournalError, SegmentInfo};
use model::Timestamp;

use super::super::books::Books;
use super::super::cursor::{Cursor, Taking};
use super::super::eviction::{Candidate, Mark, Rewritten, Stage, Step, choose};
use super::super::files::State;
use super::super::losses::{Lost, Why};
use super::super::record::{self, Counts};
use super::super::thinning::{Thinner, Turns};
use super::{Buffer, BufferError, RESERVE_BYTES, SEGMENT_BYTES, STATE_FILE, lock};
use crate::planted::{self, Planted};

/// A rewriting is worth its trouble, and what it takes, when it frees this part of the segment at least: the next one is not due with the next
/// scrape.
const WORTH: u64 = 8;
/// A segment's mark is looked for in so many records.
const MARK_RECORDS_MAX: usize = 100;

/// What is remembered from one making of room to the next.
#[derive(Default)]
pub(super) struct Room {
    turns: Turns,
    /// Segments that could not be rewritten, or would not have become smaller by much: they count as rewritten.
    tried: BTreeMap<u64, Stage>,
}

/// What came of a rewriting.
enum Outcome {
    /// There is more room now.
    Done,
    /// It stays as it is: damaged, or it would free too little.
    Unfit,
    /// The disk has no room for the new one beside the old one.
    NoRoom,
}

/// A record that lost something.
struct Change {
    seq: u64,
    at: Timestamp,
    lost: Counts,
}

impl Buffer {
    pub(super) fn make_room(&self, bytes: u64) -> Result<(), BufferError> {
        while self.journal.bytes() + bytes > self.bytes_max() {
            if !self.free_some()? {
                break;
            }
        }
        Ok(())
    }

    /// Rewrites a segment when room becomes short, before scrapes have to wait for it. Takes seconds for a large one; to be called every few
    /// seconds.
    ///
    /// # Errors
    /// The disk's, or the journal is poisoned.
    pub fn tend(&self) -> Result<(), BufferError> {
        if !self.options.eviction.rewrites() {
            return Ok(());
        }
        let soon = 2 * self.segment_bytes_usual();
        let is_short = || {
            // On a disk that is full nothing can be rewritten any more, only evicted.
            let free = self.disk.free_bytes(&self.dir);
            self.journal.bytes() + soon > self.bytes_max()
                || free.is_ok_and(|free| free < soon + RESERVE_BYTES as u64)
        };
        let mut room = lock(&self.room);
        while is_short() {
            match self.rewrite_next(&mut room)? {
                Some(Outcome::Unfit) => {}
                None | Some(Outcome::Done | Outcome::NoRoom) => break,
            }
        }
        Ok(())
    }

    fn bytes_max(&self) -> u64 {
        self.options.bytes_max.max(4 * SEGMENT_BYTES.start())
    }

    /// Frees a segment, or a part of one. False when there is nothing to free.
    pub(super) fn free_some(&self) -> Result<bool, BufferError> {
        let bytes = self.journal.bytes();
        let mut room = lock(&self.room);
        if self.journal.bytes() < bytes {
            // While it was waited for.
            return Ok(true);
        }
        while let Some(outcome) = self.rewrite_next(&mut room)? {
            match outcome {
                Outcome::Done => return Ok(true),
                Outcome::Unfit => {}
                Outcome::NoRoom => break,
            }
        }
        self.evict_oldest()
    }

    /// Rewrites the segment whose turn it is. None: the oldest is to go, whole.
    fn rewrite_next(&self, room: &mut Room) -> Result<Option<Outcome>, BufferError> {
        let Some((info, stage)) = self.next_to_rewrite(room) else {
            return Ok(None);
        };
        let outcome = self.rewrite(&info, stage, room)?;
        if let Outcome::Unfit = outcome {
            room.tried.insert(info.first_seq, stage);
        }
        Ok(Some(outcome))
    }

    fn next_to_rewrite(&self, room: &mut Room) -> Option<(SegmentInfo, Stage)> {
        let policy = &self.options.eviction;
        if !policy.rewrites() {
            return None;
        }
        let mut segments = self.journal.segments();
        segments.retain(|info| !info.active);
        let first = segments.first()?.first_seq;
        room.tried = room.tried.split_off(&first);
        let books = self.books();
        let candidate = |info: &SegmentInfo| {
            let done = books.index.rewritten.get(&info.first_seq);
            let done = done.map_or(Stage::Whole, |done| done.mark.stage);
            let tried = room.tried.get(&info.first_seq).copied().unwrap_or_default();
            let count = info.last_seq + 1 - info.first_seq;
            let settled = |cursor: &Cursor| cursor.settled_within(info.first_seq, info.last_seq);
            Candidate {
                stage: done.max(tried),
                is_settled: books.hubs.values().all(|hub| settled(&hub.cursor) == count),
            }
        };
        let candidates: Vec<Candidate> = segments.iter().map(candidate).collect();
        match choose(policy, &candidates) {
            Step::Rewrite(number, stage) => Some((segments.swap_remove(number), stage)),
            Step::EvictOldest => None,
        }
    }

    /// Codes a closed segment anew with what is to stay, and puts it in the old one's place.
    fn rewrite(
        &self,
        info: &SegmentInfo,
        stage: Stage,
        room: &mut Room,
    ) -> Result<Outcome, BufferError> {
        self.check_whole()?;
        let free = self.disk.free_bytes(&self.dir);
        if free.is_ok_and(|free| free < info.bytes + RESERVE_BYTES as u64) {
            return Ok(Outcome::NoRoom);
        }
        let old = self.books().index.rewritten.get(&info.first_seq).copied();
        let old = old.unwrap_or_default();
        let mark = Mark {
            stage,
            number: old.mark.number % u8::MAX + 1,
        };
        match self.rewrite_as(info, mark, old.taken, room) {
            Err(error) if error.is_disk_full() => Ok(Outcome::NoRoom),
            Err(BufferError::Journal(error @ JournalError::Damaged { .. })) => {
                tracing::warn!(%error, "a segment of the buffer cannot be thinned: it goes whole when its turn comes");
                Ok(Outcome::Unfit)
            }
            outcome => outcome,
        }
    }

    fn rewrite_as(
        &self,
        info: &SegmentInfo,
        mark: Mark,
        taken_before: Counts,
        room: &mut Room,
    ) -> Result<Outcome, BufferError> {
        let session = self.session_at(info.first_seq ^ u64::from(mark.number) << 48);
        let (policy, edge) = (&self.options.eviction, &self.options.edge);
        let mut none = Turns::default();
        let turns = match mark.stage {
            Stage::Thinned => &mut room.turns,
            Stage::Whole | Stage::KeptOnly => &mut none,
        };
        let mut thinner = Thinner::new(policy, mark, turns, session, edge, self.epoch);
        let mut new = self.journal.replacement_of(info)?;
        let (mut changes, mut taken) = (Vec::new(), taken_before);
        for record in self.journal.read_synced_from(info.first_seq) {
            let (seq, bytes) = record?;
            if seq > info.last_seq {
                break;
            }
            let thinned = match thinner.record(seq, &bytes) {
                Ok(thinned) => thinned,
                Err(unfit) => {
                    tracing::warn!(%unfit, "a segment of the buffer cannot be thinned: it goes whole when its turn comes");
                    return Ok(Outcome::Unfit);
                }
            };
            new.push(&thinned.record)?;
            let lost = thinned.before.saturating_sub(thinned.after);
            if lost != Counts::default() {
                taken += lost;
                let at = thinned.at;
                changes.push(Change { seq, at, lost });
            }
            if seq == info.last_seq {
                break;
            }
        }
        if new.bytes() > info.bytes - info.bytes / WORTH {
            return Ok(Outcome::Unfit);
        }
        // What is left to do needs next to no room.
        new.finish()?;
        let mut books = self.books();
        let now = self.journal.segment_of(info.first_seq);
        if now.is_none_or(|now| now != *info) {
            return Ok(Outcome::Done);
        }
        for hub in books.hubs.values_mut() {
            hub.cursor.rewriting = taking(&hub.cursor, info.first_seq, mark, &changes);
        }
        let rewritten = Rewritten { mark, taken };
        let saved = match planted::is(Planted::ThinsBeforeSaving) {
            true => Ok(()),
            false => self.save_all(&mut books),
        };
        let saved = saved
            .and_then(|()| self.write_state(&books, Some((info.first_seq, rewritten))))
            .and_then(|()| Ok(self.journal.replace(new)?));
        if let Err(error) = saved {
            // A journal that is poisoned may have the one or the other: nothing is saved any more, and the next opening will see.
            let is_torn = self.journal.poisoned().is_some();
            self.is_torn.fetch_or(is_torn, Ordering::Relaxed);
            for hub in books.hubs.values_mut() {
                hub.cursor.rewriting = None;
            }
            return Err(error);
        }
        let now = self.clock.elapsed();
        for (name, hub) in &mut books.hubs {
            hub.partly.remove(&info.first_seq);
            hub.dirty_since.get_or_insert(now);
            if let Some(taking) = &hub.cursor.rewriting {
                let (samples, why) = (taking.counts.samples, taking.lost.why.word());
                tracing::warn!(hub = %name, samples, why, "buffer is full: samples go before the hub has them");
            }
            hub.cursor.take();
        }
        books.index.replaced(info.first_seq, rewritten);
        self.replays().clear();
        Ok(Outcome::Done)
    }

    /// Whether the rewritings that were under way when the buffer was closed have come about: what they took counts then.
    pub(super) fn settle_rewriting(&self, books: &mut Books, rewriting: Option<(u64, Rewritten)>) {
        if let Some((first, new)) = rewriting
            && self.mark_of(first).is_some_and(|mark| mark == new.mark)
        {
            books.index.rewritten.insert(first, new);
        }
        for hub in books.hubs.values_mut() {
            let Some(taking) = &hub.cursor.rewriting else {
                continue;
            };
            let mark = self.mark_of(taking.segment);
            let came_about = mark.is_some_and(|mark| mark.number == taking.number);
            match came_about || planted::is(Planted::CountsThinningAnyway) {
                true => hub.cursor.take(),
                false => hub.cursor.rewriting = None,
            }
        }
    }

    /// The mark in the records of the segment that begins with `first`.
    fn mark_of(&self, first: u64) -> Option<Mark> {
        let info = self.journal.segment_of(first)?;
        let records = self.journal.read_from(first).take(MARK_RECORDS_MAX);
        let within = records
            .flatten()
            .take_while(|(seq, _)| *seq <= info.last_seq);
        let mut headers = within.filter_map(|(_, bytes)| record::decode_header(&bytes).ok());
        headers.next().map(|header| header.mark)
    }

    /// Nothing may be written down any more once it is not known what the journal holds.
    fn check_whole(&self) -> Result<(), BufferError> {
        match self.journal.poisoned() {
            Some(reason) => Err(JournalError::Poisoned { reason }.into()),
            None => Ok(()),
        }
    }

    fn write_state(
        &self,
        books: &Books,
        rewriting: Option<(u64, Rewritten)>,
    ) -> Result<(), BufferError> {
        let state = State {
            epoch: self.epoch,
            kept_from: books.kept_from,
            before: books.before,
            rewritten: books.index.rewritten.clone(),
            rewriting,
        };
        self.write_small(&self.dir.join(STATE_FILE), &state.encode())
    }

    /// Removes the oldest segment. False when there is nothing to remove.
    fn evict_oldest(&self) -> Result<bool, BufferError> {
        let mut books = self.books();
        let mut segments = self.journal.segments();
        if let [only] = &segments[..] {
            if only.last_seq < only.first_seq {
                return Ok(false);
            }
            match self.journal.roll() {
                Err(JournalError::DiskFull { .. }) => {
                    self.give_up_reserve();
                    self.journal.roll()?;
                }
                outcome => outcome?,
            }
            segments = self.journal.segments();
        }
        let Some(oldest) = segments.first().filter(|oldest| !oldest.active) else {
            return Ok(false);
        };
        self.evict(&mut books, oldest)?;
        Ok(true)
    }

    /// Writes down what goes, then removes it. Safe to repeat after a crash at any point: a cursor that has been saved
    /// counts nothing twice, because it knows up to where records are gone for it.
    pub(super) fn evict(&self, books: &mut Books, info: &SegmentInfo) -> Result<(), BufferError> {
        self.check_whole()?;
        let kept_from = info.last_seq + 1;
        let (records, hubs) = books.read_segment(&self.journal, info, info.last_seq)?;
        for (name, hub) in hubs {
            let cursor = &mut hub.cursor;
            let mut lost = Counts::default();
            let mut times: Option<(Timestamp, Timestamp)> = None;
            for record in records.from(cursor.kept_from) {
                if cursor.quarantined.sequences.contains(record.seq) {
                    cursor.quarantined.counts =
                        cursor.quarantined.counts.saturating_sub(record.counts);
                } else if cursor.is_settled(record.seq) {
                    continue;
                }
                lost += record.counts;
                cursor.evicted_records += 1;
                times = Some(times.map_or((record.at, record.at), |(first, last)| {
                    (first.min(record.at), last.max(record.at))
                }));
            }
            if !planted::is(Planted::EvictsInSilence) {
                cursor.evicted += lost;
            }
            if let Some((first, last)) = times {
                cursor.lose(Lost {
                    first,
                    last,
                    samples: lost.samples,
                    why: Why::Evicted,
                });
            }
            cursor.forget_before(kept_from);
            hub.partly.retain(|first, _| *first >= kept_from);
            if lost != Counts::default() {
                let samples = lost.samples;
                tracing::warn!(hub = %name, samples, "buffer is full: the oldest samples go before the hub has them");
            }
        }
        if let Some(end) = books.index.end_of(&self.journal, info) {
            books.before = end;
        }
        books.kept_from = books.kept_from.max(kept_from);
        if !planted::is(Planted::EvictsBeforeSaving) {
            self.save_all(books)?;
        }
        self.write_state(books, None)?;
        self.journal.free_through(info.last_seq)?;
        books.index.forget_before(kept_from);
        self.write_reserve();
        Ok(())
    }
}

/// What a rewriting takes from a hub that lacks some of it.
fn taking(cursor: &Cursor, segment: u64, mark: Mark, changes: &[Change]) -> Option<Taking> {
    let (mut counts, mut quarantined) = (Counts::default(), Counts::default());
    let mut times: Option<(Timestamp, Timestamp)> = None;
    for change in changes {
        if cursor.quarantined.sequences.contains(change.seq) {
            quarantined += change.lost;
        } else if cursor.is_settled(change.seq) {
            continue;
        }
        counts += change.lost;
        times = Some(times.map_or((change.at, change.at), |(first, last)| {
            (first.min(change.at), last.max(change.at))
        }));
    }
    let (first, last) = times?;
    let why = match mark.stage {
        Stage::Thinned => Why::Thinned,
        Stage::Whole | Stage::KeptOnly => Why::Evicted,
    };
    let lost = Lost {
        first,
        last,
        samples: counts.samples,
        why,
    };
    Some(Taking {
        segment,
        number: mark.number,
        counts,
        quarantined,
        lost,
    })
}
