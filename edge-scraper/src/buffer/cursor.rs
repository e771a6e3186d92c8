//! How far one hub is: which records it has acknowledged and how many samples were in them.
//!
//! A cursor is saved as a small text file, replaced atomically. A save that is lost with a crash only means that records
//! are sent again, which a hub stores once; ranges and counts are in one file, so they never disagree.
//!
//! ```text
//! branchline cursor 1
//! hub hq:9490
//! epoch 81985529216486895
//! kept_from 1200
//! acknowledged 1200-1999,2004
//! acknowledged_counts 91000 12
//! …
//! crc32c 1d9fbf11
//! ```

use std::fmt::Write as _;

use model::Timestamp;

use super::entries::Entries;
use super::index::RecordMeta;
use super::losses::{Losses, Lost, Why};
use super::ranges::SequenceSet;
use super::record::Counts;
use crate::planted::{self, Planted};

const TITLE: &str = "branchline cursor 1";

/// Records that cannot be sent, and what is known about how many samples they held.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Settled {
    pub(super) sequences: SequenceSet,
    pub(super) counts: Counts,
}

impl Settled {
    pub(super) fn add(&mut self, seq: u64, counts: Counts) {
        self.sequences.insert(seq);
        self.counts += counts;
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Cursor {
    pub(super) hub: String,
    pub(super) epoch: u64,
    /// Records before this are no longer on disk; the sets hold none of them.
    pub(super) kept_from: u64,
    /// What was scraped and gone before this hub was known: none of its business.
    pub(super) before: Counts,
    pub(super) acknowledged: Settled,
    /// Of records before `kept_from`: should the hub come back without them, it can be told so.
    pub(super) acknowledged_gone: SequenceSet,
    /// Refused for good by the hub; still on disk.
    pub(super) quarantined: Settled,
    /// Found damaged before they could be sent.
    pub(super) damaged: Settled,
    /// Evicted before this hub had them.
    pub(super) evicted: Counts,
    pub(super) evicted_records: u64,
    /// Of `evicted`, what went because scrapes were thinned.
    pub(super) thinned: Counts,
    /// What a rewriting takes that was begun and may not have come about: it counts once it has.
    pub(super) rewriting: Option<Taking>,
    /// When what it never got was scraped.
    pub(super) lost: Losses,
    /// What was durable when the cursor was saved: should the disk lose the last records, they are missed.
    pub(super) synced: Synced,
}

/// What the rewriting of a segment takes from a hub that lacks it. Saved before the new segment takes the old one's place; whether it did
/// is told by the mark that its records have, so that a crash in between counts nothing and nothing twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Taking {
    /// The segment's first record.
    pub(super) segment: u64,
    /// The rewriting's number.
    pub(super) number: u8,
    pub(super) counts: Counts,
    /// Of that, what the hub had refused.
    pub(super) quarantined: Counts,
    pub(super) lost: Lost,
}

/// Ranges of acknowledged records that are gone; of older ones a hub that lacks them is not asked.
const GONE_MAX: usize = 256;
/// The last durable record and what was scraped up to it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Synced {
    pub(super) seq: u64,
    pub(super) cumulative: Counts,
}

impl Cursor {
    /// A hub that has nothing yet of the records from `kept_from` on.
    pub(super) fn new(hub: &str, epoch: u64, kept_from: u64, before: Counts) -> Cursor {
        Cursor {
            hub: hub.to_owned(),
            epoch,
            kept_from,
            before,
            ..Cursor::default()
        }
    }

    /// Whether the record is no longer pending for this hub.
    pub(super) fn is_settled(&self, seq: u64) -> bool {
        seq < self.kept_from || self.sets().iter().any(|set| set.sequences.contains(seq))
    }

    /// Of a segment's records those from `first` to `last` that are pending, in order.
    pub(super) fn open<'e>(
        &'e self,
        records: &'e Entries,
        first: u64,
        last: u64,
    ) -> impl Iterator<Item = RecordMeta> + 'e {
        // Mostly the first ones are settled, and what follows them is not.
        let settled = self.sets().map(|set| set.sequences.first_gap(first));
        let begin = settled.into_iter().fold(first, u64::max);
        let records = records.from(begin);
        records
            .take_while(move |record| record.seq <= last)
            .filter(|record| !self.is_settled(record.seq))
    }

    /// How many records from `first` to `last` are settled.
    pub(super) fn settled_within(&self, first: u64, last: u64) -> u64 {
        let gone = self.kept_from.clamp(first, last + 1) - first;
        let from = first.max(self.kept_from);
        gone + self
            .sets()
            .iter()
            .map(|set| set.sequences.count_within(from, last))
            .sum::<u64>()
    }

    /// The last record of which anything is known.
    pub(super) fn last_known(&self) -> u64 {
        let last = self
            .sets()
            .iter()
            .filter_map(|set| set.sequences.last())
            .max();
        last.unwrap_or(0)
            .max(self.kept_from.saturating_sub(1))
            .max(self.synced.seq)
    }

    /// How scattered the sets are: their memory and the file's size.
    pub(super) fn range_count(&self) -> usize {
        self.sets()
            .iter()
            .map(|set| set.sequences.range_count())
            .sum()
    }

    /// Forgets the ranges of records before `kept_from`; counts stay.
    pub(super) fn forget_before(&mut self, kept_from: u64) {
        if kept_from > self.kept_from {
            self.kept_from = kept_from;
            let gone = self.acknowledged.sequences.ranges();
            for range in gone.filter(|range| range.first < kept_from) {
                let last = range.last.min(kept_from - 1);
                self.acknowledged_gone.insert_range(range.first, last);
            }
            while self.acknowledged_gone.range_count() > GONE_MAX {
                let oldest = self.acknowledged_gone.ranges().next();
                let Some(oldest) = oldest else { break };
                self.acknowledged_gone
                    .remove_range(oldest.first, oldest.last);
            }
            for set in [
                &mut self.acknowledged,
                &mut self.quarantined,
                &mut self.damaged,
            ] {
                set.sequences.remove_range(0, kept_from - 1);
            }
        }
    }

    /// The rewriting has come about: what it took is evicted.
    pub(super) fn take(&mut self) {
        let Some(taking) = self.rewriting.take() else {
            return;
        };
        if !planted::is(Planted::ThinsInSilence) {
            self.evicted += taking.counts;
        }
        if taking.lost.why == Why::Thinned {
            self.thinned += taking.counts;
        }
        let quarantined = &mut self.quarantined.counts;
        *quarantined = quarantined.saturating_sub(taking.quarantined);
        self.lose(taking.lost);
    }

    /// Samples of that time that count as evicted arrived after all.
    pub(super) fn arrived(&mut self, at: Timestamp, counts: Counts) {
        if counts == Counts::default() {
            return;
        }
        self.evicted = self.evicted.saturating_sub(counts);
        self.thinned = self.thinned.at_most(self.evicted);
        self.lost.take_back(at, counts.samples, self.evicted);
    }

    /// The same counts and losses, and no records.
    pub(super) fn without_records(&self) -> Cursor {
        Cursor {
            kept_from: self.kept_from,
            evicted: self.evicted,
            thinned: self.thinned,
            lost: self.lost.clone(),
            ..Cursor::default()
        }
    }

    /// Samples of that time are lost.
    pub(super) fn lose(&mut self, new: Lost) {
        self.lost.add(new);
    }

    fn sets(&self) -> [&Settled; 3] {
        [&self.acknowledged, &self.quarantined, &self.damaged]
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut text = format!(
            "{TITLE}\nhub {}\nepoch {}\nkept_from {}\n",
            self.hub, self.epoch, self.kept_from
        );
        for (name, set) in [
            ("acknowledged", &self.acknowledged),
            ("quarantined", &self.quarantined),
            ("damaged", &self.damaged),
        ] {
            let _ = writeln!(text, "{name} {}", set.sequences);
            let _ = writeln!(
                text,
                "{name}_counts {} {}",
                set.counts.samples, set.counts.markers
            );
        }
        let _ = writeln!(
            text,
            "evicted_counts {} {}",
            self.evicted.samples, self.evicted.markers
        );
        let _ = writeln!(text, "evicted_records {}", self.evicted_records);
        if self.thinned != Counts::default() {
            let Counts { samples, markers } = self.thinned;
            let _ = writeln!(text, "thinned_counts {samples} {markers}");
        }
        if !self.acknowledged_gone.is_empty() {
            let _ = writeln!(text, "acknowledged_gone {}", self.acknowledged_gone);
        }
        for lost in self.lost.iter() {
            let _ = writeln!(text, "lost {}", lost.line());
        }
        if let Some(taking) = &self.rewriting {
            let _ = writeln!(text, "rewriting {}", taking.line());
        }
        let _ = writeln!(
            text,
            "before_counts {} {}",
            self.before.samples, self.before.markers
        );
        let Synced { seq, cumulative } = self.synced;
        let _ = writeln!(text, "synced_seq {seq}");
        let _ = writeln!(
            text,
            "synced_counts {} {}",
            cumulative.samples, cumulative.markers
        );
        seal(text)
    }

    /// None when the bytes are damaged or of another format: the cursor then starts anew.
    pub(super) fn decode(bytes: &[u8]) -> Option<Cursor> {
        let text = unseal(bytes)?;
        let mut lines = text.lines();
        if lines.next() != Some(TITLE) {
            return None;
        }
        let mut cursor = Cursor::default();
        for line in lines {
            let (key, value) = line.split_once(' ').unwrap_or((line, ""));
            match key {
                "hub" => cursor.hub = value.to_owned(),
                "epoch" => cursor.epoch = value.parse().ok()?,
                "kept_from" => cursor.kept_from = value.parse().ok()?,
                "acknowledged" => cursor.acknowledged.sequences = value.parse().ok()?,
                "acknowledged_counts" => cursor.acknowledged.counts = parse_counts(value)?,
                "acknowledged_gone" => cursor.acknowledged_gone = value.parse().ok()?,
                "quarantined" => cursor.quarantined.sequences = value.parse().ok()?,
                "quarantined_counts" => cursor.quarantined.counts = parse_counts(value)?,
                "damaged" => cursor.damaged.sequences = value.parse().ok()?,
                "damaged_counts" => cursor.damaged.counts = parse_counts(value)?,
                "evicted_counts" => cursor.evicted = parse_counts(value)?,
                "thinned_counts" => cursor.thinned = parse_counts(value)?,
                "rewriting" => cursor.rewriting = Some(Taking::parse(value)?),
                "lost" => cursor.lost.push_saved(Lost::parse(value)?),
                "evicted_records" => cursor.evicted_records = value.parse().ok()?,
                "before_counts" => cursor.before = parse_counts(value)?,
                "synced_seq" => cursor.synced.seq = value.parse().ok()?,
                "synced_counts" => cursor.synced.cumulative = parse_counts(value)?,
                _ => return None,
            }
        }
        Some(cursor)
    }
}

impl Taking {
    fn line(&self) -> String {
        let Taking {
            segment,
            number,
            counts,
            quarantined,
            lost,
        } = self;
        format!(
            "{segment} {number} {} {} {} {} {}",
            counts.samples,
            counts.markers,
            quarantined.samples,
            quarantined.markers,
            lost.line()
        )
    }

    fn parse(text: &str) -> Option<Taking> {
        let mut parts = text.splitn(7, ' ');
        let segment = parts.next()?.parse().ok()?;
        let number = parts.next()?.parse().ok()?;
        let mut count = || parts.next()?.parse::<u64>().ok();
        let (samples, markers) = (count()?, count()?);
        let quarantined = Counts {
            samples: count()?,
            markers: count()?,
        };
        Some(Taking {
            segment,
            number,
            counts: Counts { samples, markers },
            quarantined,
            lost: Lost::parse(parts.next()?)?,
        })
    }
}

pub(super) fn parse_counts(text: &str) -> Option<Counts> {
    let (samples, markers) = text.split_once(' ')?;
    Some(Counts {
        samples: samples.parse().ok()?,
        markers: markers.parse().ok()?,
    })
}

/// Adds the line with the checksum of the lines before it.
pub(super) fn seal(mut text: String) -> Vec<u8> {
    let _ = writeln!(text, "crc32c {:08x}", crc32c::crc32c(text.as_bytes()));
    text.into_bytes()
}

/// The lines before the checksum, if it is right.
pub(super) fn unseal(bytes: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(bytes).ok()?;
    let at = text.rfind("crc32c ")?;
    let (body, sum) = text.split_at(at);
    let sum = u32::from_str_radix(sum.strip_prefix("crc32c ")?.strip_suffix('\n')?, 16).ok()?;
    (crc32c::crc32c(body.as_bytes()) == sum).then_some(body)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cursor() -> Cursor {
        let mut cursor = Cursor::new(
            "http://hq:9490/ ü",
            7,
            3,
            Counts {
                samples: 5,
                markers: 6,
            },
        );
        for (seq, samples) in [(4, 10), (5, 11), (9, 12)] {
            cursor.acknowledged.add(
                seq,
                Counts {
                    samples,
                    markers: 1,
                },
            );
        }
        cursor.quarantined.add(
            6,
            Counts {
                samples: 4,
                markers: 0,
            },
        );
        cursor.evicted = Counts {
            samples: 99,
            markers: 2,
        };
        for first in [900_000, 0, 60_000] {
            cursor.lose(Lost {
                first: Timestamp::from_millis(first),
                last: Timestamp::from_millis(first + 9),
                samples: 5,
                why: Why::Evicted,
            });
        }
        cursor.lose(Lost {
            first: Timestamp::from_millis(60_000),
            last: Timestamp::from_millis(120_000),
            samples: 0,
            why: Why::EdgeDown,
        });
        let lost: Vec<u64> = cursor.lost.iter().map(|lost| lost.samples).collect();
        assert_eq!(lost, [10, 0, 5]);
        cursor.synced = Synced {
            seq: 12,
            cumulative: cursor.evicted,
        };
        cursor
    }

    #[test]
    fn is_read_back_or_refused() {
        let cursor = cursor();
        let bytes = cursor.encode();
        assert_eq!(Cursor::decode(&bytes), Some(cursor));
        for at in 0..bytes.len() {
            let mut bad = bytes.clone();
            bad[at] ^= 1;
            assert_eq!(Cursor::decode(&bad), None, "byte {at}");
            assert_eq!(Cursor::decode(&bytes[..at]), None, "cut at {at}");
        }
    }

    #[test]
    fn knows_what_is_settled() {
        let mut cursor = cursor();
        let settled: Vec<u64> = (1..12).filter(|seq| cursor.is_settled(*seq)).collect();
        assert_eq!(settled, [1, 2, 4, 5, 6, 9]);
        assert_eq!(
            (
                cursor.settled_within(1, 11),
                cursor.settled_within(5, 8),
                cursor.last_known()
            ),
            (6, 2, 12)
        );
        cursor.forget_before(6);
        assert_eq!(
            (
                cursor.settled_within(1, 11),
                cursor.acknowledged.sequences.to_string()
            ),
            (7, "9".into())
        );
        assert_eq!(cursor.acknowledged.counts.samples, 33);
        cursor.forget_before(4);
        assert_eq!(cursor.kept_from, 6);
        cursor.forget_before(40);
        assert_eq!((cursor.last_known(), cursor.range_count()), (39, 0));
    }
}
