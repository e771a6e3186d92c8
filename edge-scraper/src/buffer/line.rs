//! The buffer as a line needs it: records in order, their frames as they are on disk, and what is where in time.

use std::time::Duration;

use journal::{JournalError, Reader};
use model::Timestamp;
use wire::line::Frame;
use wire::line::link::{Has, INTERVALS_MAX, Interval};

use super::books::hub_mut;
use super::index::RecordMeta;
use super::losses::{Lost, Why};
use super::ranges::SequenceSet;
use super::record::{Counts, frame};
use super::store::{Buffer, BufferError};
use crate::planted::{self, Planted};

/// Why a hub lacks what it has refused, as reports say it.
const QUARANTINED: &str = "quarantined";
/// Pending records nearer in time than this are one stretch: a long scrape interval is no gap.
const APART: Duration = Duration::from_secs(300);
/// How far back a session is looked for.
const SEGMENTS_LOOKED_AT: usize = 4;

/// Reads frames, best one after the other.
#[derive(Default)]
pub struct FrameReader {
    reader: Option<Reader>,
}

/// What a frame was found to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FrameFound {
    /// Here it is.
    Here(Vec<u8>),
    /// The record was evicted.
    Gone,
    /// It cannot be read.
    Damaged,
}

impl Buffer {
    /// Durable records from one on, at most so many, in order. Empty when there is none yet, or that one is gone.
    ///
    /// # Errors
    /// A disk that cannot be read.
    pub fn records_from(&self, seq: u64, most: usize) -> Result<Vec<RecordMeta>, BufferError> {
        let through = match planted::is(Planted::SendsBeforeSync) {
            true => self.journal.last_seq(),
            false => self.synced().seq,
        };
        let Some(info) = self.journal.segment_of(seq).filter(|_| seq <= through) else {
            return Ok(Vec::new());
        };
        let mut books = self.books();
        let before = books.before;
        let segment = books.index.segment(&self.journal, &info, through, before)?;
        let records = segment.records.from(seq);
        Ok(records
            .take_while(|record| record.seq <= through)
            .take(most)
            .collect())
    }

    /// The first durable record that a reader of a session lacks, who wants frame `number` next. None when there is no such session among the
    /// last ones, or it has ended there.
    ///
    /// # Errors
    /// A disk that cannot be read.
    pub fn record_in_session(
        &self,
        session: u32,
        number: u64,
    ) -> Result<Option<RecordMeta>, BufferError> {
        let through = self.synced().seq;
        let mut books = self.books();
        for info in self
            .journal
            .segments()
            .iter()
            .rev()
            .take(SEGMENTS_LOOKED_AT)
        {
            let before = books.before;
            let segment = books.index.segment(&self.journal, info, through, before)?;
            let here = segment.records.iter().find(|record| {
                record.session == session
                    && u64::from(record.number) == number
                    && record.seq <= through
            });
            if here.is_some() {
                return Ok(here);
            }
        }
        Ok(None)
    }

    /// The last record that is durable; 0 if there is none.
    pub fn last_durable(&self) -> u64 {
        self.synced().seq
    }

    /// The frame of a durable record in a session. It is gone when the record is, and when its segment was thinned since: then the record has
    /// another frame, in another session.
    ///
    /// # Errors
    /// A disk that cannot be read.
    pub fn frame(
        &self,
        reader: &mut FrameReader,
        seq: u64,
        session: u32,
    ) -> Result<FrameFound, BufferError> {
        let is_of = |found: &FrameFound| match found {
            FrameFound::Here(frame) => Frame::place(frame).is_none_or(|(is, _)| is == session),
            FrameFound::Gone | FrameFound::Damaged => true,
        };
        let found = self.any_frame(reader, seq)?;
        if is_of(&found) || planted::is(Planted::MixesSessions) {
            return Ok(found);
        }
        // The reader may stand in a file that was replaced.
        reader.reader = None;
        let found = self.any_frame(reader, seq)?;
        Ok(if is_of(&found) {
            found
        } else {
            FrameFound::Gone
        })
    }

    fn any_frame(&self, reader: &mut FrameReader, seq: u64) -> Result<FrameFound, BufferError> {
        let stands_before = reader
            .reader
            .as_ref()
            .is_some_and(|reader| reader.next_seq() <= seq && reader.next_seq() + 64 > seq);
        if !stands_before {
            reader.reader = Some(match planted::is(Planted::SendsBeforeSync) {
                true => self.journal.read_from(seq),
                false => self.journal.read_synced_from(seq),
            });
        }
        let Some(records) = &mut reader.reader else {
            return Ok(FrameFound::Gone);
        };
        loop {
            match records.next() {
                Some(Ok((read, _))) if read < seq => {}
                Some(Ok((read, record))) if read == seq => {
                    return Ok(FrameFound::Here(frame(&record).to_vec()));
                }
                None | Some(Ok(_)) => return Ok(FrameFound::Gone),
                Some(Err(JournalError::Damaged { .. })) => return Ok(FrameFound::Damaged),
                Some(Err(error)) => return Err(error.into()),
            }
        }
    }

    /// Records whose frames could not be read: settled as damaged.
    pub fn give_up(&self, records: &[RecordMeta]) {
        let unreadable: Vec<(u64, u64)> = records
            .iter()
            .map(|record| (record.seq, record.seq))
            .collect();
        self.forget_unreadable(&unreadable);
    }

    /// Stretches of time with samples that the hub lacks and may yet get, at most [`INTERVALS_MAX`]; also of what was evicted `under_way`. Walks the
    /// segments that are not settled.
    ///
    /// # Errors
    /// A hub that is not attached, or a disk that cannot be read.
    pub fn pending_intervals(
        &self,
        hub: &str,
        under_way: &[RecordMeta],
    ) -> Result<Vec<Interval>, BufferError> {
        let through = self.synced().seq;
        let mut books = self.books();
        let mut intervals: Vec<Interval> = Vec::new();
        let kept_from = books.hub(hub)?.cursor.kept_from;
        let gone = under_way.iter().filter(|record| record.seq < kept_from);
        let mut gone: Vec<&RecordMeta> = gone.collect();
        gone.sort_by_key(|record| record.at);
        for record in gone {
            add(&mut intervals, record.at, record.at, record.counts);
        }
        for info in self.journal.segments() {
            let last = info.last_seq.min(through);
            if last < info.first_seq {
                continue;
            }
            let count = last - info.first_seq + 1;
            let settled = books.hub(hub)?.cursor.settled_within(info.first_seq, last);
            if settled == count {
                continue;
            }
            let totals = books.index.totals(info.first_seq).copied();
            if let Some((totals, (oldest, newest))) = totals
                .filter(|_| settled == 0 && !info.active)
                .and_then(|totals| Some((totals, totals.oldest.zip(totals.newest)?)))
            {
                add(&mut intervals, oldest, newest, totals.counts);
                continue;
            }
            let (records, hubs) = books.read_segment(&self.journal, &info, last)?;
            let cursor = &hub_mut(hubs, hub)?.cursor;
            for record in cursor.open(records, info.first_seq, last) {
                add(&mut intervals, record.at, record.at, record.counts);
            }
        }
        while intervals.len() > INTERVALS_MAX {
            let Some(last) = intervals.pop() else { break };
            if let Some(before) = intervals.last_mut() {
                before.last_ms = before.last_ms.max(last.last_ms);
                before.samples += last.samples;
            }
        }
        Ok(intervals)
    }

    /// Stretches of time with samples that the hub will never get, or has refused for good, rising; at most [`INTERVALS_MAX`]. What was evicted while it
    /// was `under_way` may be with the hub, which does not forget what it was told is lost: it is told once nobody waits for an answer.
    ///
    /// `number`: of the report that tells it, if the hub is going to believe that one: see [`Buffer::told`].
    ///
    /// # Errors
    /// A hub that is not attached, or a disk that cannot be read.
    pub fn lost_intervals(
        &self,
        hub: &str,
        under_way: &[RecordMeta],
        number: Option<u64>,
    ) -> Result<Vec<Interval>, BufferError> {
        let mut all = self.given_up_intervals(hub, under_way, number)?;
        // Stretches far apart are told of as one before any is left out.
        let room = INTERVALS_MAX.saturating_sub(all.len()).max(1);
        let mut refused = self.quarantined_intervals(hub)?;
        while refused.len() > room {
            let first = refused.remove(0);
            if let Some(next) = refused.first_mut() {
                next.first_ms = first.first_ms;
                next.samples += first.samples;
            }
        }
        all.extend(refused);
        all.sort_by_key(|interval| interval.first_ms);
        Ok(all)
    }

    /// Where in time samples lie that the hub has refused. Reads the segments that they are in whenever that changes.
    fn quarantined_intervals(&self, hub: &str) -> Result<Vec<Interval>, BufferError> {
        let through = self.synced().seq;
        let mut books = self.books();
        let refused = books.hub(hub)?.cursor.quarantined.clone();
        if let Some((known, intervals)) = &books.hub(hub)?.quarantine
            && *known == refused
        {
            return Ok(intervals.clone());
        }
        let mut intervals: Vec<Interval> = Vec::new();
        for info in self.journal.segments() {
            let last = info.last_seq.min(through);
            let mut ranges = refused.sequences.ranges();
            if !ranges.any(|range| range.first <= last && range.last >= info.first_seq) {
                continue;
            }
            let (records, _) = books.read_segment(&self.journal, &info, last)?;
            let records = records.iter();
            for record in records.filter(|record| refused.sequences.contains(record.seq)) {
                add(&mut intervals, record.at, record.at, record.counts);
            }
        }
        for interval in &mut intervals {
            interval.reason = QUARANTINED.to_owned();
        }
        books.hub_mut(hub)?.quarantine = Some((refused, intervals.clone()));
        Ok(intervals)
    }

    fn given_up_intervals(
        &self,
        hub: &str,
        under_way: &[RecordMeta],
        number: Option<u64>,
    ) -> Result<Vec<Interval>, BufferError> {
        let mut books = self.books();
        let mut cursor = books.hub(hub)?.cursor.without_records();
        if cursor.evicted != Counts::default() {
            for record in under_way {
                let evicted = match record.seq < cursor.kept_from {
                    true => record.counts,
                    false => books.taken_since(&self.journal, record)?,
                };
                cursor.arrived(record.at, evicted);
            }
        }
        let interval = |lost: &Lost| Interval {
            first_ms: lost.first.millis(),
            last_ms: lost.last.millis(),
            samples: lost.samples,
            reason: lost.why.word().to_owned(),
        };
        let intervals = cursor.lost.iter().map(interval).collect();
        books.hub_mut(hub)?.telling = number.map(|number| (number, cursor.lost));
        Ok(intervals)
    }

    /// The hub has answered the report of that number.
    ///
    /// # Errors
    /// A hub that is not attached.
    pub fn told(&self, hub: &str, number: u64) -> Result<(), BufferError> {
        let mut books = self.books();
        let book = books.hub_mut(hub)?;
        if let Some((_, lost)) = book.telling.take_if(|(telling, _)| *telling == number) {
            book.cursor.lost.told(&lost);
        }
        Ok(())
    }

    /// A hub tells what it has on disk: what it had acknowledged and lacks now, and is still here, becomes pending again. Records that it does not
    /// speak of stay as they are. How many samples that is.
    ///
    /// # Errors
    /// A hub that is not attached, or a disk that cannot be read.
    pub fn reconcile(&self, hub: &str, has: &Has) -> Result<Counts, BufferError> {
        if planted::is(Planted::BelievesInBackups) {
            return Ok(Counts::default());
        }
        let first = has.from.max(1);
        let mut there = SequenceSet::default();
        for records in has
            .records
            .iter()
            .filter(|records| records.first <= records.last)
        {
            there.insert_range(records.first, records.last);
        }
        self.lose_for_good(hub, first, &there)?;
        let mut books = self.books();
        let mut again = Counts::default();
        let lacks: Vec<(u64, u64)> = {
            let acknowledged = &books.hub(hub)?.cursor.acknowledged.sequences;
            acknowledged
                .ranges()
                .filter(|range| range.last >= first)
                .flat_map(|range| holes(&there, range.first.max(first), range.last))
                .collect()
        };
        for (from, to) in lacks {
            let mut at = from;
            while at <= to {
                let Some(info) = self.journal.segment_of(at) else {
                    break;
                };
                let (records, hubs) = books.read_segment(&self.journal, &info, info.last_seq)?;
                let book = hub_mut(hubs, hub)?;
                for record in records.from(at).take_while(|record| record.seq <= to) {
                    let acknowledged = &mut book.cursor.acknowledged;
                    if acknowledged.sequences.contains(record.seq) {
                        acknowledged.sequences.remove_range(record.seq, record.seq);
                        acknowledged.counts = acknowledged.counts.saturating_sub(record.counts);
                        again += record.counts;
                    }
                }
                book.partly.remove(&info.first_seq);
                at = info.last_seq + 1;
            }
        }
        Ok(again)
    }

    /// A hub may lack acknowledged records that are here no more: they were made before the oldest one that is. Where their time
    /// begins only the hub can tell, from what it knew; how many samples they were, nobody.
    fn lose_for_good(&self, hub: &str, first: u64, there: &SequenceSet) -> Result<(), BufferError> {
        let lacks: Vec<(u64, u64)> = {
            let books = self.books();
            let gone = books.hub(hub)?.cursor.acknowledged_gone.ranges();
            gone.filter(|range| range.last >= first)
                .flat_map(|range| holes(there, range.first.max(first), range.last))
                .collect()
        };
        if lacks.is_empty() {
            return Ok(());
        }
        let kept_from = self
            .journal
            .segments()
            .first()
            .map_or(1, |info| info.first_seq);
        let oldest = self.records_from(kept_from, 1)?;
        let before = oldest.first().map(|record| record.at.millis());
        let before = before.unwrap_or_else(|| self.clock().now().millis());
        let now = self.clock().elapsed();
        let mut books = self.books();
        let book = books.hub_mut(hub)?;
        for (from, to) in lacks {
            book.cursor.acknowledged_gone.remove_range(from, to);
        }
        book.cursor.lose(Lost {
            first: Timestamp::from_millis(0),
            last: Timestamp::from_millis(before - 1),
            samples: 0,
            why: Why::HubRestored,
        });
        book.dirty_since.get_or_insert(now);
        Ok(())
    }
}

/// What of a stretch of records is not there.
fn holes(there: &SequenceSet, first: u64, last: u64) -> Vec<(u64, u64)> {
    let (mut holes, mut at) = (Vec::new(), first);
    for range in there.ranges() {
        if range.last < at {
            continue;
        }
        if range.first > last {
            break;
        }
        if range.first > at {
            holes.push((at, range.first - 1));
        }
        at = range.last + 1;
    }
    if at <= last {
        holes.push((at, last));
    }
    holes
}

/// Appends to rising stretches.
fn add(intervals: &mut Vec<Interval>, first: Timestamp, last: Timestamp, counts: Counts) {
    let apart = APART.as_millis() as i64;
    let (first_ms, last_ms) = (first.millis(), last.millis());
    match intervals.last_mut() {
        Some(before) if first_ms <= before.last_ms + apart => {
            before.first_ms = before.first_ms.min(first_ms);
            before.last_ms = before.last_ms.max(last_ms);
            before.samples += counts.samples;
        }
        _ => intervals.push(Interval {
            first_ms,
            last_ms,
            samples: counts.samples,
            reason: String::new(),
        }),
    }
}
