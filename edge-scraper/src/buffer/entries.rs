//! The entries of a segment, packed: a record mostly goes on where the one before it ended, so that what is new of it fits into a dozen bytes
//! instead of eighty. While the link is away several segments are remembered, and memory is to stay flat.

use model::Timestamp;
use prost::encoding::{decode_varint, encode_varint};

use super::eviction::{Mark, Stage};
use super::index::RecordMeta;
use super::record::Counts;

/// Entries that are unpacked to reach one of them, at most.
const BLOCK_ENTRIES: u32 = 64;

/// Entries in order of their sequences.
#[derive(Clone, Debug, Default)]
pub(super) struct Entries {
    blocks: Vec<Block>,
    last: Option<RecordMeta>,
}

#[derive(Clone, Debug)]
struct Block {
    first: RecordMeta,
    /// How many follow the first.
    following: u32,
    /// They, each as what differs from the one before.
    packed: Vec<u8>,
}

/// The record has the next sequence, and the next number of the same session.
const GOES_ON: u8 = 1;
/// Its running count is that of the record before and its own samples.
const ADDS_UP: u8 = 2;
/// It has no staleness markers.
const NO_MARKERS: u8 = 4;
/// It has the same mark.
const SAME_MARK: u8 = 8;

impl Entries {
    /// Adds one that is behind all others.
    pub(super) fn push(&mut self, record: RecordMeta) {
        match (self.blocks.last_mut(), self.last) {
            (Some(block), Some(before)) if block.following + 1 < BLOCK_ENTRIES => {
                block.push(&before, &record);
            }
            (full, _) => {
                if let Some(full) = full {
                    full.packed.shrink_to_fit();
                }
                self.blocks.push(Block {
                    first: record,
                    following: 0,
                    packed: Vec::new(),
                });
            }
        }
        self.last = Some(record);
    }

    pub(super) fn first(&self) -> Option<&RecordMeta> {
        self.blocks.first().map(|block| &block.first)
    }

    pub(super) fn last(&self) -> Option<&RecordMeta> {
        self.last.as_ref()
    }

    /// The entry of a record.
    pub(super) fn get(&self, seq: u64) -> Option<RecordMeta> {
        self.from(seq).next().filter(|record| record.seq == seq)
    }

    /// The last one before a record.
    pub(super) fn before(&self, seq: u64) -> Option<RecordMeta> {
        let block = self.blocks.partition_point(|block| block.first.seq < seq);
        let block = self.blocks[..block].last()?;
        block.iter().take_while(|record| record.seq < seq).last()
    }

    /// All, in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = RecordMeta> + '_ {
        self.blocks.iter().flat_map(Block::iter)
    }

    /// All from the last to the first.
    pub(super) fn iter_back(&self) -> impl Iterator<Item = RecordMeta> + '_ {
        self.blocks.iter().rev().flat_map(|block| {
            let mut records: Vec<RecordMeta> = block.iter().collect();
            records.reverse();
            records
        })
    }

    /// Those of a record and behind it.
    pub(super) fn from(&self, seq: u64) -> impl Iterator<Item = RecordMeta> + '_ {
        let begins = self.blocks.partition_point(|block| block.first.seq <= seq);
        self.blocks[begins.saturating_sub(1)..]
            .iter()
            .flat_map(Block::iter)
            .skip_while(move |record| record.seq < seq)
    }
}

impl Block {
    fn push(&mut self, before: &RecordMeta, record: &RecordMeta) {
        let follows = (
            before.seq + 1,
            before.session,
            before.number.wrapping_add(1),
        );
        let goes_on = (record.seq, record.session, record.number) == follows;
        let adds_up = record.cumulative == before.cumulative + record.counts;
        let flags = [
            (goes_on, GOES_ON),
            (adds_up, ADDS_UP),
            (record.counts.markers == 0, NO_MARKERS),
            (record.mark == before.mark, SAME_MARK),
        ];
        let set = flags.into_iter().filter(|(is_so, _)| *is_so);
        let out = &mut self.packed;
        out.push(set.map(|(_, flag)| flag).sum());
        out.extend(record.target.to_le_bytes());
        let number = |number: u64, out: &mut Vec<u8>| encode_varint(number, out);
        if !goes_on {
            number(record.seq.wrapping_sub(before.seq), out);
            number(record.session.into(), out);
            number(record.number.into(), out);
        }
        let later = record.at.millis().wrapping_sub(before.at.millis());
        number(((later << 1) ^ (later >> 63)) as u64, out);
        number(record.counts.samples, out);
        if record.counts.markers != 0 {
            number(record.counts.markers, out);
        }
        number(record.stored_bytes, out);
        number(record.message_bytes, out);
        if !adds_up {
            number(record.cumulative.samples, out);
            number(record.cumulative.markers, out);
        }
        if record.mark != before.mark {
            out.extend([record.mark.stage.to_byte(), record.mark.number]);
        }
        self.following += 1;
    }

    fn iter(&self) -> impl Iterator<Item = RecordMeta> + '_ {
        let mut rest = self.packed.as_slice();
        let following = (0..self.following).scan(self.first, move |before, _| {
            *before = unpack(before, &mut rest);
            Some(*before)
        });
        std::iter::once(self.first).chain(following)
    }
}

/// The entry after `before`. What was packed here is whole: what cannot happen reads as 0.
fn unpack(before: &RecordMeta, rest: &mut &[u8]) -> RecordMeta {
    let number = |rest: &mut &[u8]| decode_varint(rest).unwrap_or(0);
    let flags = byte(rest);
    let has = |flag: u8| flags & flag != 0;
    let target = u16::from_le_bytes([byte(rest), byte(rest)]);
    let (seq, session, in_session) = match has(GOES_ON) {
        true => (
            before.seq + 1,
            before.session,
            before.number.wrapping_add(1),
        ),
        false => {
            let seq = before.seq.wrapping_add(number(rest));
            (seq, number(rest) as u32, number(rest) as u32)
        }
    };
    let later = number(rest);
    let later = (later >> 1) as i64 ^ -((later & 1) as i64);
    let at = Timestamp::from_millis(before.at.millis().wrapping_add(later));
    let samples = number(rest);
    let markers = if has(NO_MARKERS) { 0 } else { number(rest) };
    let counts = Counts { samples, markers };
    let (stored_bytes, message_bytes) = (number(rest), number(rest));
    let cumulative = match has(ADDS_UP) {
        true => before.cumulative + counts,
        false => Counts {
            samples: number(rest),
            markers: number(rest),
        },
    };
    let mark = match has(SAME_MARK) {
        true => before.mark,
        false => Mark {
            stage: Stage::from_byte(byte(rest)),
            number: byte(rest),
        },
    };
    RecordMeta {
        seq,
        at,
        counts,
        stored_bytes,
        message_bytes,
        session,
        number: in_session,
        target,
        cumulative,
        mark,
    }
}

fn byte(rest: &mut &[u8]) -> u8 {
    let Some((first, others)) = rest.split_first() else {
        return 0;
    };
    *rest = others;
    *first
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn counts() -> impl Strategy<Value = Counts> {
        let markers = prop_oneof![Just(0), any::<u64>().prop_map(|markers| markers >> 8)];
        (0..u64::MAX >> 8, markers).prop_map(|(samples, markers)| Counts { samples, markers })
    }

    fn mark() -> impl Strategy<Value = Mark> {
        (0..3_u8, any::<u8>()).prop_map(|(stage, number)| Mark {
            stage: Stage::from_byte(stage),
            number,
        })
    }

    prop_compose! {
        /// One of any kind, and how it goes on from the one before.
        fn record()(
            ahead in 1..1000_u64, at in any::<i64>(), counts in counts(), bytes in any::<(u64, u64)>(), target in any::<u16>(),
            place in any::<(u32, u32)>(), cumulative in counts(), mark in mark(), same in any::<[bool; 3]>(),
        ) -> ([bool; 3], u64, RecordMeta) {
            (same, ahead, RecordMeta {
                seq: 0, at: Timestamp::from_millis(at), counts, stored_bytes: bytes.0, message_bytes: bytes.1,
                session: place.0, number: place.1, target, cumulative, mark,
            })
        }
    }

    proptest! {
        #[test]
        fn all_come_out_as_they_went_in(given in proptest::collection::vec(record(), 0..300), asked in 0..3000_u64) {
            let mut plain: Vec<RecordMeta> = Vec::new();
            let mut entries = Entries::default();
            for ([goes_on, adds_up, same_mark], ahead, mut record) in given {
                let before = plain.last().copied().unwrap_or(record);
                record.seq = before.seq + ahead;
                if goes_on {
                    (record.seq, record.session, record.number) = (before.seq + 1, before.session, before.number.wrapping_add(1));
                }
                if adds_up && before.cumulative.samples < u64::MAX >> 1 && before.cumulative.markers < u64::MAX >> 1 {
                    record.cumulative = before.cumulative + record.counts;
                }
                if same_mark {
                    record.mark = before.mark;
                }
                plain.push(record);
                entries.push(record);
            }
            prop_assert_eq!(&entries.iter().collect::<Vec<_>>(), &plain);
            prop_assert_eq!(entries.first(), plain.first());
            prop_assert_eq!(entries.last(), plain.last());
            let mut back: Vec<RecordMeta> = entries.iter_back().collect();
            back.reverse();
            prop_assert_eq!(&back, &plain);
            let here = plain.partition_point(|record| record.seq < asked);
            prop_assert_eq!(entries.from(asked).collect::<Vec<_>>(), plain[here..].to_vec());
            prop_assert_eq!(entries.before(asked), here.checked_sub(1).map(|here| plain[here]));
            prop_assert_eq!(entries.get(asked), plain.get(here).filter(|record| record.seq == asked).copied());
        }
    }

    #[test]
    fn a_scrape_after_the_other_takes_little_more_than_a_dozen_bytes() {
        let mut entries = Entries::default();
        for seq in 1..=4096 {
            entries.push(RecordMeta {
                seq,
                at: Timestamp::from_millis(1_700_000_000_000 + seq as i64 * 300),
                counts: Counts {
                    samples: 1005,
                    markers: 0,
                },
                stored_bytes: 450 + seq % 40,
                message_bytes: 110_000,
                session: 77,
                number: seq as u32,
                target: seq as u16,
                cumulative: Counts {
                    samples: 1005 * seq,
                    markers: 0,
                },
                mark: Mark::default(),
            });
        }
        let bytes: usize = entries
            .blocks
            .iter()
            .map(|block| size_of::<Block>() + block.packed.capacity())
            .sum();
        assert!(bytes <= 4096 * 16, "{} bytes each", bytes / 4096);
    }
}
