//! What is in a segment: one entry per record, found by walking the records' headers.
//!
//! Kept in memory only for the few segments that are being looked at; of the others only sums are kept, so that memory
//! does not grow with what is waiting.

use std::collections::{BTreeMap, VecDeque};

use journal::{Journal, JournalError, SegmentInfo};
use model::Timestamp;

use super::entries::Entries;
use super::eviction::{Mark, Rewritten};
use super::record::{Counts, Header, decode_header, place_in_session};

/// How many segments' entries are kept: the newest, the oldest pending, and a few that an interrupted link left half
/// acknowledged.
const SEGMENTS_MAX: usize = 8;

/// A record, without its payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordMeta {
    /// Its sequence.
    pub seq: u64,
    /// When the scrape was made.
    pub at: Timestamp,
    /// What it holds.
    pub counts: Counts,
    /// Its size in the buffer.
    pub stored_bytes: u64,
    /// About its size as a message of remote write.
    pub message_bytes: u64,
    /// The line session that its frame belongs to.
    pub session: u32,
    /// The number of its frame there; 0 begins the session.
    pub number: u32,
    /// Which target it is of, by two bytes of a hash: two targets that are alike here only make requests smaller.
    pub(super) target: u16,
    pub(super) cumulative: Counts,
    pub(super) mark: Mark,
}

impl RecordMeta {
    pub(super) fn new(seq: u64, header: &Header, place: (u32, u64), stored_bytes: u64) -> Self {
        RecordMeta {
            seq,
            at: header.at,
            counts: header.counts,
            stored_bytes,
            message_bytes: u64::from(header.message_bytes),
            session: place.0,
            number: u32::try_from(place.1).unwrap_or(u32::MAX),
            target: (0..4).fold(0, |hash, part| hash ^ (header.target >> (16 * part)) as u16),
            cumulative: header.cumulative,
            mark: header.mark,
        }
    }

    /// Whether its frame can be read by whoever read that of `before`.
    fn follows(&self, before: Option<&RecordMeta>) -> bool {
        self.number == 0
            || before.is_some_and(|before| {
                (before.session, before.number + 1, before.seq + 1)
                    == (self.session, self.number, self.seq)
            })
    }
}

/// Records that cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) first: u64,
    pub(super) last: u64,
    /// What they held, as far as the records around them tell.
    pub(super) counts: Counts,
    /// When they were scraped, by the same; None when there is none around them.
    pub(super) times: Option<(Timestamp, Timestamp)>,
}

/// The entries of one segment up to the last record walked.
#[derive(Clone, Debug, Default)]
pub(super) struct Segment {
    first: u64,
    /// The last sequence walked; `first - 1` when none was.
    through: u64,
    pub(super) records: Entries,
    pub(super) faults: Vec<Fault>,
}

/// Sums over records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pending {
    /// Records.
    pub records: u64,
    /// What they hold.
    pub counts: Counts,
    /// What they take on disk.
    pub bytes: u64,
    /// Time of the oldest one.
    pub oldest: Option<Timestamp>,
    /// Time of the newest one.
    pub newest: Option<Timestamp>,
}

impl Pending {
    pub(super) fn add(&mut self, record: &RecordMeta) {
        self.records += 1;
        self.counts += record.counts;
        self.bytes += record.stored_bytes;
        self.oldest = Some(
            self.oldest
                .map_or(record.at, |oldest| oldest.min(record.at)),
        );
        self.newest = self.newest.max(Some(record.at));
    }

    pub(super) fn merge(&mut self, other: &Pending) {
        self.records += other.records;
        self.counts += other.counts;
        self.bytes += other.bytes;
        self.oldest = self.oldest.into_iter().chain(other.oldest).min();
        self.newest = self.newest.max(other.newest);
    }
}

/// Walks segments and remembers the latest.
#[derive(Debug, Default)]
pub(super) struct Index {
    epoch: u64,
    recent: VecDeque<Segment>,
    /// Sums over whole closed segments without faults, by first sequence.
    totals: BTreeMap<u64, Pending>,
    /// Segments that were rewritten, by first sequence.
    pub(super) rewritten: BTreeMap<u64, Rewritten>,
}

impl Index {
    pub(super) fn new(epoch: u64) -> Index {
        Index {
            epoch,
            ..Index::default()
        }
    }

    /// The entries of a segment at least up to the durable record `through`; a few behind it may be there too. `before`
    /// is what was scraped before the first record kept.
    pub(super) fn segment(
        &mut self,
        journal: &Journal,
        info: &SegmentInfo,
        through: u64,
        before: Counts,
    ) -> Result<&Segment, JournalError> {
        let last = info.last_seq.min(through);
        let mut segment = match self
            .recent
            .iter()
            .position(|segment| segment.first == info.first_seq)
        {
            Some(at) => self.recent.remove(at).unwrap_or_default(),
            None => Segment {
                first: info.first_seq,
                through: info.first_seq - 1,
                ..Segment::default()
            },
        };
        if segment.through < last {
            let walked = walk(journal, self.epoch, &mut segment, last);
            if walked.is_ok() {
                self.measure_faults(journal, &mut segment, before);
            }
            walked?;
        }
        let whole = !info.active && segment.through >= info.last_seq && segment.faults.is_empty();
        if whole && !self.totals.contains_key(&segment.first) {
            let mut sum = Pending::default();
            segment.records.iter().for_each(|record| sum.add(&record));
            self.totals.insert(segment.first, sum);
        }
        if self.recent.len() >= SEGMENTS_MAX {
            self.recent.pop_front();
        }
        self.recent.push_back(segment);
        Ok(&self.recent[self.recent.len() - 1])
    }

    /// A record was appended to the active segment, which begins with `first`. Saves walking over it, if all before it is known.
    pub(super) fn appended(&mut self, first: u64, record: RecordMeta) {
        let segment = match self
            .recent
            .iter_mut()
            .find(|segment| segment.first == first)
        {
            Some(segment) => segment,
            None if record.seq == first => {
                if self.recent.len() >= SEGMENTS_MAX {
                    self.recent.pop_front();
                }
                self.recent.push_back(Segment {
                    first,
                    through: first - 1,
                    ..Segment::default()
                });
                let last = self.recent.len() - 1;
                &mut self.recent[last]
            }
            None => return,
        };
        if segment.through + 1 == record.seq {
            segment.through = record.seq;
            segment.records.push(record);
        }
    }

    /// The sums over a closed segment, if it was walked before.
    pub(super) fn totals(&self, first: u64) -> Option<&Pending> {
        self.totals.get(&first)
    }

    /// Forgets segments whose records are all before `kept_from`.
    pub(super) fn forget_before(&mut self, kept_from: u64) {
        self.totals = self.totals.split_off(&kept_from);
        self.rewritten = self.rewritten.split_off(&kept_from);
        self.recent.retain(|segment| segment.first >= kept_from);
    }

    /// Another file stands in the segment's place.
    pub(super) fn replaced(&mut self, first: u64, rewritten: Rewritten) {
        self.totals.remove(&first);
        self.recent.retain(|segment| segment.first != first);
        self.rewritten.insert(first, rewritten);
    }

    /// What was taken from a segment when it was rewritten.
    pub(super) fn taken(&self, first: u64) -> Counts {
        let rewritten = self.rewritten.get(&first);
        rewritten.map_or(Counts::default(), |rewritten| rewritten.taken)
    }

    /// What was scraped before the segment that begins with `first` and is left of it up to this record of it. A record that came after the
    /// rewriting (its segment was the last one after a crash) counts all that was scraped.
    fn left_through(&self, first: u64, record: &RecordMeta) -> Counts {
        match record.mark.is_rewritten() {
            true => record.cumulative,
            false => record.cumulative.saturating_sub(self.taken(first)),
        }
    }

    /// What was scraped up to the end of a segment whose last record this is.
    pub(super) fn scraped_through(&self, first: u64, last: &RecordMeta) -> Counts {
        self.left_through(first, last) + self.taken(first)
    }

    /// Forgets the entries of the segment that holds `seq`: something in it turned out unreadable.
    pub(super) fn forget_segment_of(&mut self, journal: &Journal, seq: u64) {
        for info in journal.segments() {
            if (info.first_seq..=info.last_seq).contains(&seq) {
                self.totals.remove(&info.first_seq);
                self.recent
                    .retain(|segment| segment.first != info.first_seq);
            }
        }
    }

    /// The running count at the end of a segment.
    pub(super) fn end_of(&self, journal: &Journal, info: &SegmentInfo) -> Option<Counts> {
        let segment = self
            .recent
            .iter()
            .find(|segment| segment.first == info.first_seq)?;
        let last = segment.records.last();
        match segment.faults.last() {
            Some(fault) if last.is_none_or(|last| last.seq < fault.last) => {
                self.neighbour(journal, info.first_seq, Side::Behind)
            }
            _ => last.map(|last| self.scraped_through(info.first_seq, last)),
        }
    }

    /// The entries from `first` to `last` that are in memory.
    pub(super) fn remembered(&self, first: u64, last: u64) -> Vec<RecordMeta> {
        let segments = self.recent.iter();
        let behind = segments.flat_map(|segment| segment.records.from(first));
        behind.filter(|record| record.seq <= last).collect()
    }

    /// How many samples unreadable records held: what the readable ones around them leave open.
    fn measure_faults(&mut self, journal: &Journal, segment: &mut Segment, before: Counts) {
        let Segment {
            first,
            records,
            faults,
            ..
        } = segment;
        for fault in faults {
            let previous = match records.before(fault.first) {
                Some(record) => Some(self.left_through(*first, &record)),
                None => self
                    .neighbour(journal, *first, Side::Before)
                    .or(Some(before)),
            };
            let next = match records.from(fault.last + 1).next() {
                Some(record) => Some(
                    self.left_through(*first, &record)
                        .saturating_sub(record.counts),
                ),
                None => self
                    .neighbour(journal, *first, Side::Behind)
                    .map(|scraped| scraped.saturating_sub(self.taken(*first))),
            };
            if let (Some(previous), Some(next)) = (previous, next) {
                fault.counts = next.saturating_sub(previous);
            }
            let at = |record: RecordMeta| record.at;
            let beyond = |side| {
                self.record_beyond(journal, *first, side)
                    .map(|(_, of)| of.at)
            };
            let from = records.before(fault.first).map(at);
            let from = from.or_else(|| beyond(Side::Before));
            let to = records.from(fault.last + 1).next();
            let to = to.map(at).or_else(|| beyond(Side::Behind));
            fault.times = from.or(to).zip(to.or(from));
        }
    }

    /// The running count at the border to the segment before or behind the one that starts at `first`.
    fn neighbour(&self, journal: &Journal, first: u64, side: Side) -> Option<Counts> {
        let (segment, record) = self.record_beyond(journal, first, side)?;
        Some(match side {
            Side::Before => self.scraped_through(segment, &record),
            Side::Behind => record.cumulative.saturating_sub(record.counts),
        })
    }

    /// The record on the other side of the border to the segment before or behind the one that starts at `first`, and where its segment does.
    fn record_beyond(
        &self,
        journal: &Journal,
        first: u64,
        side: Side,
    ) -> Option<(u64, RecordMeta)> {
        let segments = journal.segments();
        let at = segments.iter().position(|info| info.first_seq == first)?;
        let info = match side {
            Side::Before => segments.get(at.checked_sub(1)?)?,
            Side::Behind => segments.get(at + 1)?,
        };
        let mut other = Segment {
            first: info.first_seq,
            through: info.first_seq - 1,
            ..Segment::default()
        };
        walk(
            journal,
            self.epoch,
            &mut other,
            info.last_seq.min(journal.synced_seq()),
        )
        .ok()?;
        let record = match side {
            Side::Before => other.records.last(),
            Side::Behind => other.records.first(),
        };
        record.map(|record| (info.first_seq, *record))
    }
}

#[derive(Clone, Copy)]
enum Side {
    Before,
    Behind,
}

/// Walks on from where `segment` ends to `last`.
fn walk(
    journal: &Journal,
    epoch: u64,
    segment: &mut Segment,
    last: u64,
) -> Result<(), JournalError> {
    let unreadable = |segment: &mut Segment, first: u64, last: u64| {
        match segment.faults.last_mut() {
            Some(before) if before.last + 1 == first => before.last = last,
            _ => segment.faults.push(Fault {
                first,
                last,
                counts: Counts::default(),
                times: None,
            }),
        }
        segment.through = last;
    };
    for record in journal.read_synced_from(segment.through + 1) {
        match record {
            Ok((seq, _)) if seq > last => break,
            Ok((seq, bytes)) => match (decode_header(&bytes), place_in_session(&bytes)) {
                (Ok(header), Ok(place)) if header.epoch == epoch => {
                    let record = RecordMeta::new(seq, &header, place, bytes.len() as u64);
                    match record.follows(segment.records.last()) {
                        true => segment.records.push(record),
                        // It builds on one that is damaged.
                        false => unreadable(segment, seq, seq),
                    }
                    segment.through = seq;
                }
                _ => unreadable(segment, seq, seq),
            },
            Err(JournalError::Damaged {
                lost_first,
                lost_last,
                ..
            }) => {
                if lost_first > last {
                    break;
                }
                unreadable(segment, lost_first, lost_last.min(last));
            }
            Err(error) => return Err(error),
        }
        if segment.through >= last {
            break;
        }
    }
    segment.through = segment.through.max(last);
    Ok(())
}
