//! Which samples were deleted, though a part still has them?
//!
//! Deletions are numbered. Memory is sealed before one is made, so that it is about parts only: a tombstone applies to the
//! parts that were sealed before it and were not written anew since, which [`PartMeta::deletions`] says. What is
//! written afterwards, with whatever timestamp, comes into later parts and is not touched.
//!
//! Pure values here; [`crate::Store::delete`] makes them, and the manifest keeps them.

use std::sync::Arc;

use roaring::RoaringBitmap;

use crate::{
    codec::{Decoded, Input, Malformed, put_bytes, put_varint, put_zigzag},
    part::{Part, PartMeta},
    rows::Rows,
    types::TimeRange,
};

/// All samples of these series in the range, in the parts that it applies to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Tombstone {
    pub(crate) number: u64,
    pub(crate) range: TimeRange,
    pub(crate) ids: RoaringBitmap,
}

/// What was deleted and is still in some part.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Deletions {
    /// Number of the last deletion ever made.
    pub(crate) last: u64,
    /// Numbers rise.
    pub(crate) tombstones: Vec<Arc<Tombstone>>,
}

impl Tombstone {
    fn applies_to(&self, part: &PartMeta) -> bool {
        part.deletions < self.number && self.range.overlaps(part.first, part.last)
    }

    /// Whether nothing between these times is left.
    fn covers(&self, first: i64, last: i64) -> bool {
        self.range.contains(first) && self.range.contains(last)
    }
}

impl Deletions {
    /// Those that a reader or a merge of this part has to apply.
    pub(crate) fn of(&self, part: &Part) -> PartDeletions {
        let applies = |stone: &&Arc<Tombstone>| {
            stone.applies_to(&part.meta) && !stone.ids.is_disjoint(&part.ids)
        };
        PartDeletions(self.tombstones.iter().filter(applies).cloned().collect())
    }

    /// Whether a part holds deleted samples, or may.
    pub(crate) fn concern(&self, part: &Part) -> bool {
        let mut stones = self.tombstones.iter();
        stones.any(|stone| stone.applies_to(&part.meta) && !stone.ids.is_disjoint(&part.ids))
    }

    /// The series of a part that may have samples in the range.
    pub(crate) fn left_of(&self, part: &Part, range: TimeRange) -> RoaringBitmap {
        let first = part.meta.first.max(range.start.millis());
        let last = part.meta.last.min(range.end.millis());
        let mut left = part.ids.clone();
        for stone in &self.tombstones {
            if stone.applies_to(&part.meta) && stone.covers(first, last) {
                left -= &stone.ids;
            }
        }
        left
    }

    /// One more. It is joined with an earlier one where that says the same in fewer words: `metas` are all parts there are.
    pub(crate) fn add<'a>(
        &mut self,
        range: TimeRange,
        mut ids: RoaringBitmap,
        metas: impl Iterator<Item = &'a PartMeta> + Clone,
    ) {
        self.last += 1;
        let number = self.last;
        ids.optimize();
        let mut new = Tombstone { number, range, ids };
        self.tombstones.retain(|old| {
            let said = new.covers(old.range.start.millis(), old.range.end.millis())
                && old.ids.is_subset(&new.ids);
            // A part of in between keeps what only the later one says.
            let same_parts = || {
                let mut between = metas.clone();
                !between.any(|part| (old.number..number).contains(&part.deletions))
            };
            if !said && old.range == new.range && same_parts() {
                new.ids |= &old.ids;
                return false;
            }
            if !said && old.ids == new.ids && touch(old.range, new.range) && same_parts() {
                new.range.start = new.range.start.min(old.range.start);
                new.range.end = new.range.end.max(old.range.end);
                return false;
            }
            !said
        });
        self.tombstones.push(Arc::new(new));
    }

    /// Without those that apply to none of these parts. Of `unread` parts the series are not known.
    pub(crate) fn still_needed<'a>(
        &self,
        parts: impl Iterator<Item = &'a Arc<Part>> + Clone,
        unread: impl Iterator<Item = &'a PartMeta> + Clone,
    ) -> Self {
        let needed = |stone: &&Arc<Tombstone>| {
            let holds = |part: &Arc<Part>| {
                stone.applies_to(&part.meta) && !stone.ids.is_disjoint(&part.ids)
            };
            parts.clone().any(holds) || unread.clone().any(|part| stone.applies_to(part))
        };
        Self {
            last: self.last,
            tombstones: self.tombstones.iter().filter(needed).cloned().collect(),
        }
    }

    /// Bytes in the manifest, about.
    pub(crate) fn bytes(&self) -> usize {
        let stones = self.tombstones.iter();
        stones.map(|stone| stone.ids.serialized_size() + 32).sum()
    }

    pub(crate) fn put(&self, out: &mut Vec<u8>) {
        put_varint(out, self.last);
        put_varint(out, self.tombstones.len() as u64);
        for stone in &self.tombstones {
            put_varint(out, stone.number);
            put_zigzag(out, stone.range.start.millis());
            put_zigzag(out, stone.range.end.millis());
            let mut ids = Vec::with_capacity(stone.ids.serialized_size());
            // Writing to memory does not fail.
            let _ = stone.ids.serialize_into(&mut ids);
            put_bytes(out, &ids);
        }
    }

    pub(crate) fn take(input: &mut Input<'_>) -> Decoded<Self> {
        let last = input.varint()?;
        let mut tombstones = Vec::new();
        for _ in 0..input.count()? {
            let number = input.varint()?;
            let mut time = || Ok(model::Timestamp::from_millis(input.zigzag()?));
            let range = TimeRange::new(time()?, time()?);
            let ids = RoaringBitmap::deserialize_from(input.bytes()?)
                .map_err(|_| Malformed("a set of series"))?;
            tombstones.push(Arc::new(Tombstone { number, range, ids }));
        }
        Ok(Self { last, tombstones })
    }
}

fn touch(a: TimeRange, b: TimeRange) -> bool {
    a.start.millis() <= b.end.millis().saturating_add(1)
        && b.start.millis() <= a.end.millis().saturating_add(1)
}

/// The tombstones that apply to one part.
#[derive(Debug, Default)]
pub(crate) struct PartDeletions(Vec<Arc<Tombstone>>);

impl PartDeletions {
    /// Whether samples of a series are deleted.
    pub(crate) fn concern(&self, id: u32) -> bool {
        self.0.iter().any(|stone| stone.ids.contains(id))
    }

    /// What is left of the rows (ordered) of a series. `None`: all.
    pub(crate) fn left_of(&self, id: u32, rows: &Rows) -> Option<Rows> {
        let gone = |range: &TimeRange| range.overlaps(rows.first, rows.last);
        let stones = self.0.iter().filter(|stone| stone.ids.contains(id));
        let ranges: Vec<TimeRange> = stones.map(|stone| stone.range).filter(gone).collect();
        if ranges.is_empty() {
            return None;
        }
        let mut left = Rows::default();
        let mut from = 0;
        while from < rows.len() {
            let is_gone = |at: &i64| ranges.iter().any(|range| range.contains(*at));
            let deleted = is_gone(&rows.times[from]);
            let same = rows.times[from..]
                .iter()
                .take_while(|at| is_gone(at) == deleted);
            let to = from + same.count();
            if !deleted {
                left.extend_later(rows, from, to);
            }
            from = to;
        }
        Some(left)
    }
}
