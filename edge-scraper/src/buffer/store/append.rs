//! Taking scrapes in: coding, segments, sessions.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use journal::JournalError;
use model::Timestamp;
use wire::line::link::Known;
use wire::line::{LabelsWanted, LineEncoder, LineScrape, LineState, Takeover};

use super::super::eviction::Mark;
use super::super::index::RecordMeta;
use super::super::losses::{Lost, Why};
use super::super::record::{self, Header, Part};
use super::super::replay::state_before;
use super::{
    Appending, Buffer, BufferError, Place, SEGMENT_BYTES, SEGMENT_RECORDS_MAX, Synced, lock,
};
use crate::planted::{self, Planted};
use crate::scrape::Scrape;

/// What the journal puts before a record, and before the first one of a segment.
const JOURNAL_EXTRA: u64 = 48;

/// See [`Buffer::follow`]; ends when it is dropped.
#[derive(Debug)]
pub struct Following(Arc<AtomicUsize>);

impl Drop for Following {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Buffer {
    /// Takes a scrape in. It is readable at once and counts as scraped once synced, at the latest after the sync bound.
    /// Evicts the oldest records when there is no room.
    ///
    /// # Errors
    /// [`BufferError::LabelsWanted`], before anything else: it is to be handed over again with all labels. Otherwise the scrape was not kept: the
    /// disk is full even after evicting, or the journal is poisoned. It is counted as refused.
    pub fn append(&self, scrape: &Scrape) -> Result<(), BufferError> {
        let parts = record::parts(scrape);
        let mut appending = lock(&self.appending);
        if lacks_labels(&appending.encoder, scrape, &parts) {
            return Err(BufferError::LabelsWanted);
        }
        for (number, part) in parts.iter().enumerate() {
            let header = Header {
                class: scrape.class,
                at: scrape.at,
                target: scrape.target,
                epoch: self.epoch,
                counts: part.counts,
                cumulative: appending.cumulative + part.counts,
                mark: Mark::default(),
                message_bytes: part.message_bytes,
            };
            match self.append_part(&mut appending, &header, number as u32, part) {
                Ok(appended) => {
                    appending.cumulative = header.cumulative;
                    if let Some(before) = appending.before.take() {
                        self.note_downtime(before, scrape.at);
                    }
                    let now = Synced {
                        seq: appended.last_seq,
                        cumulative: header.cumulative,
                    };
                    // Under the lock of appending: in order of the records.
                    lock(&self.durable).waiting.push_back(now);
                    let news = self.news.clone();
                    appended.commit.on_done(move |outcome| {
                        if outcome.is_ok() {
                            news.send_replace(now.seq);
                        }
                    });
                }
                Err(error) => {
                    // What was coded may be in no record: what comes next must not build on it.
                    if !planted::is(Planted::GoesOnAfterARefusal) {
                        appending.encoder.begin_after_loss(0);
                    }
                    appending.refused += part.counts;
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    /// Between the last record before a restart and the first one after it nobody scraped: a hub has to know that nothing of
    /// that time will come.
    fn note_downtime(&self, first: Timestamp, last: Timestamp) {
        if last.saturating_since(first) < self.options.downtime_least {
            return;
        }
        let now = self.clock.elapsed();
        // These two are there.
        let (first, last) = (first.millis() + 1, last.millis() - 1);
        for hub in self.books().hubs.values_mut() {
            hub.cursor.lose(Lost {
                first: Timestamp::from_millis(first),
                last: Timestamp::from_millis(last),
                samples: 0,
                why: Why::EdgeDown,
            });
            hub.dirty_since.get_or_insert(now);
        }
    }

    /// Codes a record and hands it to the journal. A frame that could not be kept leaves the session unreadable from there
    /// on, so another one begins.
    fn append_part(
        &self,
        appending: &mut Appending,
        header: &Header,
        number: u32,
        part: &Part<'_>,
    ) -> Result<journal::Appended, BufferError> {
        let mut whole = true;
        loop {
            self.close_segment_when_due(&appending.encoder)?;
            let seq = self.journal.last_seq() + 1;
            let first = self.journal.active().first_seq;
            let is_first = first == seq && !planted::is(Planted::SegmentNeedsTheOneBefore);
            let has_gap = !whole && !planted::is(Planted::GoesOnAfterAGap);
            if has_gap || appending.encoder.session() == 0 {
                appending.encoder.begin_after_loss(self.session_at(seq));
            } else if is_first && self.is_followed() {
                appending.encoder.begin_after_this(self.session_at(seq));
            } else if is_first {
                appending.encoder.begin(self.session_at(seq));
            }
            let place = (appending.encoder.session(), appending.encoder.next());
            let frame = appending.encoder.encode(&LineScrape {
                target: header.target,
                part: number,
                seq,
                at: header.at.millis(),
                series: part.series,
                beside: &part.beside,
            });
            let frame = match frame {
                Ok(frame) => frame,
                Err(LabelsWanted) => return Err(BufferError::LabelsWanted),
            };
            let record = record::encode(header, &frame);
            whole = false;
            self.make_room(record.len() as u64 + JOURNAL_EXTRA)?;
            if self.journal.active().first_seq != first {
                // Making room closed the segment that the frame was made for.
                continue;
            }
            match self.journal.append(&record) {
                Ok(appended) => {
                    let record = RecordMeta::new(seq, header, place, record.len() as u64);
                    self.books().index.appended(first, record);
                    return Ok(appended);
                }
                Err(error @ JournalError::DiskFull { .. }) => {
                    if !self.free_some()? {
                        return Err(error.into());
                    }
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn close_segment_when_due(&self, encoder: &LineEncoder) -> Result<(), BufferError> {
        let active = self.journal.active();
        let (least, most) = (*SEGMENT_BYTES.start(), *SEGMENT_BYTES.end());
        let usual = self.segment_bytes_usual();
        // A few targets make few bytes: their segment need not wait for sixteen MiB to go.
        let worth = (40 * encoder.descriptions_bytes() as u64).clamp(least.max(1 << 20), most);
        let records = active.last_seq + 1 - active.first_seq;
        if active.bytes >= usual.min(worth) || records >= SEGMENT_RECORDS_MAX {
            match self.journal.roll() {
                // Then it grows on until room is made.
                Err(JournalError::DiskFull { .. }) => {}
                outcome => outcome?,
            }
        }
        Ok(())
    }

    pub(super) fn segment_bytes_usual(&self) -> u64 {
        (self.options.bytes_max / 16).clamp(*SEGMENT_BYTES.start(), *SEGMENT_BYTES.end())
    }

    /// The number of a session that begins with a record: never 0, and another one with every record.
    pub(super) fn session_at(&self, seq: u64) -> u32 {
        let mixed = (self.epoch ^ seq.wrapping_mul(0x9e37_79b9_7f4a_7c15)).rotate_left(29);
        (mixed.wrapping_mul(0xd6e8_feb8_6659_fd93) >> 32) as u32 | 1
    }

    /// From the next record on another session: its first frame can be read by a hub that has nothing of what came before; one that
    /// stands at `state` gets less. Which record that will be.
    pub fn begin_session(&self, state: Option<LineState>) -> u64 {
        let mut appending = lock(&self.appending);
        let seq = self.journal.last_seq() + 1;
        let session = self.session_at(seq);
        match state {
            Some(state) => appending.encoder.begin_after(session, state),
            None if appending.encoder.next() == 0 => {}
            None => appending.encoder.begin_after_this(session),
        }
        seq
    }

    /// The same, and what was remembered of the values so far is let go of: before another session's is read, so that there are never both.
    pub fn let_go_of_session(&self) {
        let mut appending = lock(&self.appending);
        if appending.encoder.next() > 0 {
            let session = self.session_at(self.journal.last_seq() + 1);
            appending.encoder.begin(session);
        }
        appending.encoder.give_back_room();
    }

    /// Somebody reads sessions to their end: while there is such a one, each session is begun in a way that is cheap for followers, at the
    /// cost of some memory.
    pub fn follow(&self) -> Following {
        self.followers.fetch_add(1, Ordering::Relaxed);
        Following(Arc::clone(&self.followers))
    }

    fn is_followed(&self) -> bool {
        self.followers.load(Ordering::Relaxed) > 0
    }

    /// How a session that began with the record `start` stood before the frame that a reader of it wants next. None when it is not
    /// there any more. Reads at most a segment.
    ///
    /// # Errors
    /// A disk that cannot be read.
    pub fn session_state(
        &self,
        start: u64,
        known: &Known,
    ) -> Result<Option<LineState>, BufferError> {
        Ok(state_before(
            &self.journal,
            start,
            known.session,
            known.next,
        )?)
    }

    /// The first scrape of a layout in a session, for a hub that has taken over the values of the session before.
    pub fn columns_for_followers(&self, session: u32, number: u64) -> Option<Vec<u8>> {
        let appending = lock(&self.appending);
        let encoder = (appending.encoder.session() == session).then_some(&appending.encoder)?;
        encoder.columns_for_followers(number).map(<[u8]>::to_vec)
    }

    /// Where somebody goes on who has read a session up to a frame. None when that session is not there, or ended before.
    ///
    /// # Errors
    /// A disk that cannot be read.
    pub fn resume_at(&self, session: u32, next: u64) -> Result<Option<Place>, BufferError> {
        let at_end = {
            let appending = lock(&self.appending);
            let encoder = &appending.encoder;
            (encoder.session() == session && encoder.next() == next)
                .then(|| self.journal.last_seq() + 1)
        };
        if let Some(seq) = at_end {
            return Ok(Some(Place { seq, waiting: None }));
        }
        let record = self.record_in_session(session, next)?;
        Ok(record.map(|record| Place {
            seq: record.seq,
            waiting: Some(record.at),
        }))
    }

    /// Everything that was scraped up to then is durable. None when nothing was scraped yet.
    pub fn scraped_through(&self) -> Option<Timestamp> {
        let now = self.clock.now();
        let synced = self.synced();
        if lock(&self.durable).waiting.is_empty() {
            return Some(now);
        }
        let record = self.records_from(synced.seq, 1).ok()?.pop()?;
        Some(record.at)
    }

    /// When the buffer began: the oldest record, as long as none was evicted. None when that is not known.
    ///
    /// # Errors
    /// A disk that cannot be read.
    pub fn scraped_since(&self) -> Result<Option<Timestamp>, BufferError> {
        let first = self
            .journal
            .segments()
            .first()
            .map_or(1, |info| info.first_seq);
        if first > 1 {
            return Ok(None);
        }
        Ok(self.records_from(1, 1)?.first().map(|record| record.at))
    }

    /// How a hub that knows so much can go on with a session, if that is the one of the records that are appended now.
    pub fn takeover(&self, session: u32, known: &Known) -> Option<Takeover> {
        let appending = lock(&self.appending);
        let is_current = appending.encoder.session() == session;
        is_current.then(|| appending.encoder.takeover(known))?
    }

    /// The same for a hub that read the session before to its end; `all_before`: and knows all that was described before that one.
    pub fn takeover_by_follower(&self, session: u32, all_before: bool) -> Option<Takeover> {
        let known = lock(&self.appending)
            .encoder
            .known_by_follower(all_before)?;
        self.takeover(session, &known)
    }
}

/// Whether labels were left out that are not known here: whoever left them out knows them.
fn lacks_labels(encoder: &LineEncoder, scrape: &Scrape, parts: &[Part<'_>]) -> bool {
    parts.iter().enumerate().any(|(number, part)| {
        encoder.lacks_labels(&LineScrape {
            target: scrape.target,
            part: number as u32,
            seq: 0,
            at: scrape.at.millis(),
            series: part.series,
            beside: &[],
        })
    })
}
