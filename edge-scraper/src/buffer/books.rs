//! The books: for every hub, which records are settled and what is pending.

use std::collections::BTreeMap;
use std::time::Duration;

use journal::{Journal, SegmentInfo};
use wire::line::link::Interval;

use super::cursor::{Cursor, Settled};
use super::entries::Entries;
use super::index::{Fault, Index, Pending, RecordMeta};
use super::losses::{Losses, Lost, Why};
use super::record::Counts;
use super::store::BufferError;

/// The books of one hub. See the module for how they add up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HubCounts {
    /// Synced to the buffer, ever, in this epoch, by what hub whatsoever.
    pub scraped: Counts,
    /// Of that, what was gone before this hub was known.
    pub before: Counts,
    /// What the hub acknowledged.
    pub acknowledged: Counts,
    /// What it has not.
    pub pending: Pending,
    /// What it refused for good; still on disk.
    pub quarantined: Counts,
    /// What was evicted before it had it.
    pub evicted: Counts,
    /// Of that, what went because scrapes were thinned.
    pub thinned: Counts,
    /// What was damaged on disk before it had it.
    pub damaged: Counts,
}

impl HubCounts {
    /// Whether the books add up.
    pub fn balance(&self) -> bool {
        let known = [
            self.before,
            self.acknowledged,
            self.pending.counts,
            self.quarantined,
            self.evicted,
            self.damaged,
        ];
        known.into_iter().sum::<Counts>() == self.scraped
    }
}

/// What changes when records are settled.
pub(super) struct Books {
    pub(super) index: Index,
    pub(super) hubs: BTreeMap<String, HubBook>,
    /// Records before this are gone, and what they held.
    pub(super) kept_from: u64,
    pub(super) before: Counts,
}

pub(super) struct HubBook {
    pub(super) cursor: Cursor,
    /// When the first acknowledgement came that is not saved yet.
    pub(super) dirty_since: Option<Duration>,
    /// What is pending in closed segments that are settled in part, by first sequence, with how many of its records were
    /// settled when it was counted.
    pub(super) partly: BTreeMap<u64, (u64, Pending)>,
    /// Where in time the quarantine lies, and of which one this is so.
    pub(super) quarantine: Option<(Settled, Vec<Interval>)>,
    /// What the report of that number tells is lost, until the hub has answered it.
    pub(super) telling: Option<(u64, Losses)>,
}

impl HubBook {
    pub(super) fn new(cursor: Cursor) -> HubBook {
        HubBook {
            cursor,
            dirty_since: None,
            partly: BTreeMap::new(),
            quarantine: None,
            telling: None,
        }
    }
}

impl Books {
    pub(super) fn hub(&self, hub: &str) -> Result<&HubBook, BufferError> {
        self.hubs.get(hub).ok_or_else(|| BufferError::UnknownHub {
            hub: hub.to_owned(),
        })
    }

    pub(super) fn hub_mut(&mut self, hub: &str) -> Result<&mut HubBook, BufferError> {
        hub_mut(&mut self.hubs, hub)
    }

    /// What was taken from a record since it was read; nothing if it is gone or cannot be read.
    pub(super) fn taken_since(
        &mut self,
        journal: &Journal,
        record: &RecordMeta,
    ) -> Result<Counts, BufferError> {
        if self.index.rewritten.is_empty() {
            return Ok(Counts::default());
        }
        let info = journal.segment_of(record.seq);
        let rewritten = &self.index.rewritten;
        let Some(info) = info.filter(|info| rewritten.contains_key(&info.first_seq)) else {
            return Ok(Counts::default());
        };
        let segment = self
            .index
            .segment(journal, &info, info.last_seq, self.before)?;
        let now = segment.records.get(record.seq);
        let taken = now
            .filter(|now| now.session != record.session)
            .map(|now| record.counts.saturating_sub(now.counts));
        Ok(taken.unwrap_or_default())
    }

    /// The readable records of a segment, and all hubs; unreadable ones are settled as damaged for every hub that lacks them.
    pub(super) fn read_segment(
        &mut self,
        journal: &Journal,
        info: &SegmentInfo,
        through: u64,
    ) -> Result<(&Entries, &mut BTreeMap<String, HubBook>), BufferError> {
        let segment = self.index.segment(journal, info, through, self.before)?;
        for fault in &segment.faults {
            settle_fault(&mut self.hubs, fault);
        }
        Ok((&segment.records, &mut self.hubs))
    }

    /// What is durable and not settled.
    pub(super) fn pending(
        &mut self,
        journal: &Journal,
        hub: &str,
        through: u64,
    ) -> Result<Pending, BufferError> {
        let mut sum = Pending::default();
        for info in journal.segments() {
            let last = info.last_seq.min(through);
            if last < info.first_seq {
                continue;
            }
            let closed = !info.active && last == info.last_seq;
            let count = last - info.first_seq + 1;
            let settled = self.hub(hub)?.cursor.settled_within(info.first_seq, last);
            if settled == count {
                continue;
            }
            if closed
                && settled == 0
                && let Some(totals) = self.index.totals(info.first_seq)
            {
                sum.merge(totals);
                continue;
            }
            if closed
                && let Some((settled_then, pending)) = self.hub(hub)?.partly.get(&info.first_seq)
                && *settled_then == settled
            {
                sum.merge(pending);
                continue;
            }
            let (records, hubs) = self.read_segment(journal, &info, last)?;
            let book = hub_mut(hubs, hub)?;
            let mut here = Pending::default();
            let open = book.cursor.open(records, info.first_seq, last);
            open.for_each(|record| here.add(&record));
            if closed {
                let settled = book.cursor.settled_within(info.first_seq, last);
                book.partly.insert(info.first_seq, (settled, here));
            }
            sum.merge(&here);
        }
        Ok(sum)
    }
}

/// The book of a hub.
pub(super) fn hub_mut<'h>(
    hubs: &'h mut BTreeMap<String, HubBook>,
    hub: &str,
) -> Result<&'h mut HubBook, BufferError> {
    hubs.get_mut(hub).ok_or_else(|| BufferError::UnknownHub {
        hub: hub.to_owned(),
    })
}

/// Counts unreadable records as damaged for every hub that lacks them.
pub(super) fn settle_fault(hubs: &mut BTreeMap<String, HubBook>, fault: &Fault) {
    let Fault {
        first,
        last,
        counts,
        times,
    } = *fault;
    for (name, hub) in hubs {
        let cursor = &mut hub.cursor;
        if cursor.settled_within(first, last) == last - first + 1 {
            continue;
        }
        if let Some((first, last)) = times {
            cursor.lose(Lost {
                first,
                last: last.max(first),
                samples: counts.samples,
                why: Why::Damaged,
            });
        }
        // Where a hub has some of them, all are counted: the readable rest does not say which held how much.
        cursor.damaged.counts += counts;
        for seq in first..=last {
            if !cursor.is_settled(seq) {
                cursor.damaged.sequences.insert(seq);
            }
        }
        let (records, samples) = (last - first + 1, counts.samples);
        tracing::warn!(hub = %name, records, samples, "records of the buffer are damaged on disk and cannot be sent");
    }
}
