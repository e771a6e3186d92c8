//! What goes into the next request.

use std::time::Duration;

use model::Timestamp;

use super::books::hub_mut;
use super::index::RecordMeta;
use super::losses::{Lost, Why};
use super::ranges::SequenceSet;
use super::replay::{Found, Replay};
use super::store::{Buffer, BufferError, REPLAYS_MAX};

/// Which records are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Want {
    /// The oldest pending ones, in order.
    Oldest,
    /// The oldest pending ones scraped before an instant, in order: what [`Want::Newest`] leaves.
    OldestBefore(Timestamp),
    /// The newest pending ones that were not scraped before an instant, in order.
    NewestSince(Timestamp),
    /// The oldest pending ones before a record, in order.
    Before(u64),
}

/// How much one request may hold. A single record is sent even when it is larger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchLimits {
    /// Most samples.
    pub samples_max: u64,
    /// Most bytes of the message before it is compressed for the link.
    pub payload_bytes_max: u64,
    /// Most bytes as they are in the buffer, which is close to what crosses the link.
    pub stored_bytes_max: u64,
    /// Most records.
    pub records_max: usize,
    /// Ends before the second record of a target, so that no series is in there twice. A receiver that takes the samples of a series in their
    /// order only can then be sent the same request, or a part of it, again: each sample is the newest of its series there, or was refused.
    pub target_once: bool,
}

impl Default for BatchLimits {
    fn default() -> Self {
        BatchLimits {
            samples_max: 20_000,
            payload_bytes_max: 4 << 20,
            stored_bytes_max: 1 << 20,
            records_max: 512,
            target_once: false,
        }
    }
}

/// A request's content.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    /// The joined payloads: one `WriteRequest`, not compressed.
    pub message: Vec<u8>,
    /// Whose payloads they are, in order.
    pub records: Vec<RecordMeta>,
}

/// The wall clock may jump back; then what is "newer than an instant" could be everything. No more than this many records
/// are looked at from the newest back.
const NEWEST_RECORDS_MAX: usize = 10_000;
/// Scrapes end in another order than they begin, so the first one that is too old is not the end of the new ones.
const OLDER_RECORDS_MAX: usize = 200;
/// Ranges in the header that names the records of a request.
const RANGES_MAX: usize = wire::edge_headers::RANGES_MAX;

/// Collects records until a limit is reached.
struct Filling<'l> {
    limits: &'l BatchLimits,
    records: Vec<RecordMeta>,
    samples: u64,
    payload: u64,
    stored: u64,
    ranges: usize,
}

impl<'l> Filling<'l> {
    fn new(limits: &'l BatchLimits) -> Self {
        Filling {
            limits,
            records: Vec::new(),
            samples: 0,
            payload: 0,
            stored: 0,
            ranges: 0,
        }
    }

    /// False when the record does not fit any more.
    fn add(&mut self, record: &RecordMeta) -> bool {
        let samples = self.samples + record.counts.samples + record.counts.markers;
        let payload = self.payload + record.message_bytes;
        let stored = self.stored + record.stored_bytes;
        let touches = self
            .records
            .last()
            .is_some_and(|last| last.seq.abs_diff(record.seq) == 1);
        let ranges = self.ranges + usize::from(!touches);
        let limits = self.limits;
        let fits = samples <= limits.samples_max
            && payload <= limits.payload_bytes_max
            && stored <= limits.stored_bytes_max
            && self.records.len() < limits.records_max
            && ranges <= RANGES_MAX
            && !(limits.target_once && self.records.iter().any(|r| r.target == record.target));
        if !fits && !self.records.is_empty() {
            return false;
        }
        (self.samples, self.payload, self.stored, self.ranges) = (samples, payload, stored, ranges);
        self.records.push(*record);
        true
    }
}

impl Buffer {
    /// Chooses durable records that the hub has not settled and that are not `in_flight`, up to the limits; rising.
    ///
    /// # Errors
    /// A hub that is not attached, or a disk that cannot be read.
    pub fn select(
        &self,
        hub: &str,
        want: Want,
        in_flight: &SequenceSet,
        limits: &BatchLimits,
    ) -> Result<Vec<RecordMeta>, BufferError> {
        match want {
            Want::Oldest => self.oldest(hub, Timestamp::MAX, u64::MAX, in_flight, limits),
            Want::OldestBefore(before) => self.oldest(hub, before, u64::MAX, in_flight, limits),
            Want::Before(seq) => self.oldest(hub, Timestamp::MAX, seq, in_flight, limits),
            Want::NewestSince(since) => self.newest(hub, since, in_flight, limits),
        }
    }

    fn oldest(
        &self,
        hub: &str,
        before: Timestamp,
        before_seq: u64,
        in_flight: &SequenceSet,
        limits: &BatchLimits,
    ) -> Result<Vec<RecordMeta>, BufferError> {
        let mut filling = Filling::new(limits);
        let mut books = self.books();
        let through = self.synced().seq.min(before_seq.saturating_sub(1));
        // Records from further ahead were made before the wall clock was set back; nothing else would send them.
        let live_until = before.saturating_add(10 * LIVE_WINDOW);
        'segments: for info in self.journal.segments() {
            let last = info.last_seq.min(through);
            let cursor = &books.hub(hub)?.cursor;
            if last < info.first_seq
                || cursor.settled_within(info.first_seq, last) == last - info.first_seq + 1
            {
                continue;
            }
            let (records, hubs) = books.read_segment(&self.journal, &info, last)?;
            let cursor = &hub_mut(hubs, hub)?.cursor;
            for record in cursor.open(records, info.first_seq, last) {
                if (before..live_until).contains(&record.at) {
                    // The live lane's.
                    continue;
                }
                if !in_flight.contains(record.seq) && !filling.add(&record) {
                    break 'segments;
                }
            }
        }
        Ok(filling.records)
    }

    fn newest(
        &self,
        hub: &str,
        since: Timestamp,
        in_flight: &SequenceSet,
        limits: &BatchLimits,
    ) -> Result<Vec<RecordMeta>, BufferError> {
        let mut filling = Filling::new(limits);
        let mut books = self.books();
        let through = self.synced().seq;
        let (mut seen, mut older) = (0, 0);
        'segments: for info in self.journal.segments().iter().rev() {
            if info.first_seq > through {
                continue;
            }
            let (records, hubs) = books.read_segment(&self.journal, info, through)?;
            let cursor = &hub_mut(hubs, hub)?.cursor;
            for record in records.iter_back().filter(|record| record.seq <= through) {
                seen += 1;
                older += usize::from(record.at < since);
                if older > OLDER_RECORDS_MAX || seen > NEWEST_RECORDS_MAX {
                    break 'segments;
                }
                let open = record.at >= since
                    && !cursor.is_settled(record.seq)
                    && !in_flight.contains(record.seq);
                if open && !filling.add(&record) {
                    break 'segments;
                }
            }
        }
        filling.records.reverse();
        Ok(filling.records)
    }

    /// Reads the payloads of chosen records. A record that was evicted or thinned meanwhile, or turns out unreadable, is
    /// left out.
    ///
    /// # Errors
    /// A disk that cannot be read.
    pub fn load(&self, records: &[RecordMeta]) -> Result<Batch, BufferError> {
        let mut batch = Batch::default();
        let mut unreadable: Vec<(u64, u64)> = Vec::new();
        for record in records {
            if unreadable
                .last()
                .is_some_and(|(_, last)| *last >= record.seq)
            {
                continue;
            }
            let Some(mut replay) = self.replay(record)? else {
                continue;
            };
            let length = batch.message.len();
            match replay.read(record, &mut batch.message)? {
                Found::Here => {
                    batch.records.push(*record);
                    self.keep(replay);
                }
                Found::Gone => {}
                Found::Damaged(last) => {
                    batch.message.truncate(length);
                    // The rest of the session builds on it.
                    let rest = records
                        .iter()
                        .filter(|other| other.session == record.session);
                    let last = rest.map(|other| other.seq).fold(last, u64::max);
                    unreadable.push((record.seq, last));
                }
            }
        }
        self.forget_unreadable(&unreadable);
        Ok(batch)
    }

    /// Something that reads a record: one that stands before it in its session, or a new one. None when the record is gone, or was thinned
    /// since it was chosen.
    fn replay(&self, record: &RecordMeta) -> Result<Option<Replay>, BufferError> {
        let seq = record.seq;
        let Some(start) = self.session_start(record)? else {
            return Ok(None);
        };
        let mut replays = self.replays();
        let ready = replays
            .iter()
            .position(|replay| (start + 1..=seq).contains(&replay.next()));
        Ok(Some(match ready {
            Some(place) => replays.remove(place),
            None => {
                // Each holds the series of its session: first one goes, then another comes.
                if replays.len() >= REPLAYS_MAX {
                    replays.remove(0);
                }
                Replay::at(&self.journal, start)
            }
        }))
    }

    fn keep(&self, replay: Replay) {
        let mut replays = self.replays();
        if replays.len() >= REPLAYS_MAX {
            replays.remove(0);
        }
        replays.push(replay);
    }

    /// The record that begins the session of a record. None when either is gone, or the record is in another session by now.
    ///
    /// # Errors
    /// A disk that cannot be read.
    fn session_start(&self, wanted: &RecordMeta) -> Result<Option<u64>, BufferError> {
        let seq = wanted.seq;
        let mut books = self.books();
        let Some(info) = self.journal.segment_of(seq) else {
            return Ok(None);
        };
        let before = books.before;
        let segment = books.index.segment(&self.journal, &info, seq, before)?;
        Ok(segment
            .records
            .get(seq)
            .filter(|record| record.session == wanted.session)
            .map(|record| record.seq - u64::from(record.number)))
    }

    /// Records that could be walked before and cannot be read now: settled as damaged, with the counts known from then.
    pub(super) fn forget_unreadable(&self, unreadable: &[(u64, u64)]) {
        if unreadable.is_empty() {
            return;
        }
        let mut books = self.books();
        for (first, last) in unreadable {
            let known = books.index.remembered(*first, *last);
            for hub in books.hubs.values_mut() {
                for record in known
                    .iter()
                    .filter(|record| !hub.cursor.is_settled(record.seq))
                    .collect::<Vec<_>>()
                {
                    hub.cursor.damaged.add(record.seq, record.counts);
                    hub.cursor.lose(Lost {
                        first: record.at,
                        last: record.at,
                        samples: record.counts.samples,
                        why: Why::Damaged,
                    });
                }
            }
            books.index.forget_segment_of(&self.journal, *first);
        }
    }
}

/// How far back "live" reaches: long enough for one scrape of every target at the usual intervals.
pub(crate) const LIVE_WINDOW: Duration = Duration::from_secs(60);
