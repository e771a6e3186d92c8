//! A set of series of one segment: one bit for each of its ids.

use roaring::RoaringBitmap;

/// Ids in a segment.
pub(super) const SPAN: u32 = 1 << 16;
const WORDS: usize = SPAN as usize / 64;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Bits(Box<[u64; WORDS]>);

impl Bits {
    pub(super) fn new() -> Self {
        Self(Box::new([0; WORDS]))
    }

    pub(super) fn clear(&mut self) {
        self.0.fill(0);
    }

    pub(super) fn contains(&self, low: u16) -> bool {
        self.0[usize::from(low >> 6)] >> (low & 63) & 1 == 1
    }

    pub(super) fn insert(&mut self, low: u16) {
        self.0[usize::from(low >> 6)] |= 1 << (low & 63);
    }

    pub(super) fn remove(&mut self, low: u16) {
        self.0[usize::from(low >> 6)] &= !(1 << (low & 63));
    }

    /// Adds `from..to`, where `to` is at most [`SPAN`].
    pub(super) fn insert_range(&mut self, from: u32, to: u32) {
        if from >= to {
            return;
        }
        let (first, last) = ((from >> 6) as usize, ((to - 1) >> 6) as usize);
        let (head, tail) = (u64::MAX << (from & 63), u64::MAX >> (63 - ((to - 1) & 63)));
        if first == last {
            self.0[first] |= head & tail;
            return;
        }
        self.0[first] |= head;
        self.0[first + 1..last].fill(u64::MAX);
        self.0[last] |= tail;
    }

    pub(super) fn copy_from(&mut self, other: &Self) {
        self.0.copy_from_slice(&*other.0);
    }

    /// Keeps what is in both.
    pub(super) fn keep(&mut self, other: &Self) {
        for (word, other) in self.0.iter_mut().zip(other.0.iter()) {
            *word &= other;
        }
    }

    /// Takes away what is in `other`.
    pub(super) fn subtract(&mut self, other: &Self) {
        for (word, other) in self.0.iter_mut().zip(other.0.iter()) {
            *word &= !other;
        }
    }

    pub(super) fn len(&self) -> u32 {
        self.0.iter().map(|word| word.count_ones()).sum()
    }

    /// How many are in both.
    pub(super) fn common(&self, other: &Self) -> u32 {
        let words = self.0.iter().zip(other.0.iter());
        words.map(|(a, b)| (a & b).count_ones()).sum()
    }

    /// Rising.
    pub(super) fn iter(&self) -> impl Iterator<Item = u16> + Clone + '_ {
        self.0.iter().enumerate().flat_map(|(index, word)| {
            let mut left = *word;
            std::iter::from_fn(move || {
                let bit = left.trailing_zeros();
                (left != 0).then(|| {
                    left &= left - 1;
                    (index * 64) as u16 + bit as u16
                })
            })
        })
    }

    /// Stretches of neighbours `from..to`, rising.
    pub(super) fn stretches(&self) -> Vec<(u32, u32)> {
        let mut stretches: Vec<(u32, u32)> = Vec::new();
        for low in self.iter().map(u32::from) {
            match stretches.last_mut() {
                Some((_, to)) if *to == low => *to += 1,
                _ => stretches.push((low, low + 1)),
            }
        }
        stretches
    }

    /// The part of a set of ids that lies in the segment whose first id is `first`.
    pub(super) fn of_ids(first: u32, ids: &RoaringBitmap) -> Self {
        let mut bits = Self::new();
        let last = first + (SPAN - 1);
        if ids.contains_range(first..=last) {
            bits.0.fill(u64::MAX);
            return bits;
        }
        let mut ids = ids.range(first..=last);
        while let Some(run) = ids.next_range() {
            bits.insert_range(*run.start() - first, *run.end() - first + 1);
        }
        bits
    }

    /// Appends the set to one whose ids are all smaller, as ids of the segment whose first id is `first`.
    pub(super) fn append_to(&self, first: u32, ids: &mut RoaringBitmap) {
        /// Below this many, one by one is faster than by words.
        const FEW: u32 = 256;
        let len = self.len();
        if len == 0 {
            return;
        }
        if len < FEW {
            for low in self.iter() {
                ids.insert(first | u32::from(low));
            }
            return;
        }
        let mut bytes = [0; WORDS * 8];
        for (word, to) in self.0.iter().zip(bytes.as_chunks_mut().0) {
            *to = word.to_le_bytes();
        }
        *ids |= RoaringBitmap::from_lsb0_bytes(first, &bytes);
    }

    pub(super) fn bytes(&self) -> usize {
        size_of_val(&*self.0)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn as_a_set(
            ranges in prop::collection::vec((0..SPAN, 0..300_u32), 0..6),
            gone in prop::collection::vec(0..2000_u16, 0..20),
        ) {
            let (mut bits, mut set) = (Bits::new(), BTreeSet::new());
            for (from, len) in ranges {
                let to = (from + len).min(SPAN);
                bits.insert_range(from, to);
                set.extend(from..to);
            }
            for low in gone {
                bits.remove(low);
                set.remove(&u32::from(low));
                bits.insert(low ^ 0x55);
                set.insert(u32::from(low ^ 0x55));
            }
            prop_assert!(bits.iter().map(u32::from).eq(set.iter().copied()));
            prop_assert_eq!(bits.len() as usize, set.len());
            prop_assert!(set.iter().all(|low| bits.contains(*low as u16)));
            let flat = bits.stretches().into_iter().flat_map(|(from, to)| from..to);
            prop_assert!(flat.eq(set.iter().copied()));
            let mut ids = RoaringBitmap::from_iter([3]);
            bits.append_to(7 << 16, &mut ids);
            prop_assert!(ids.iter().skip(1).eq(set.iter().map(|low| (7 << 16) + low)));
            prop_assert_eq!(&Bits::of_ids(7 << 16, &ids), &bits);
            let mut other = Bits::new();
            other.insert_range(100, 1000);
            let common = set.range(100..1000).count();
            prop_assert_eq!(bits.common(&other) as usize, common);
            let mut less = bits.clone();
            less.subtract(&other);
            prop_assert_eq!(less.len() as usize, set.len() - common);
            bits.keep(&other);
            prop_assert_eq!(bits.len() as usize, common);
        }
    }

    #[test]
    fn the_last_segment_and_a_full_one() {
        let mut bits = Bits::new();
        bits.insert_range(0, SPAN);
        assert_eq!(bits.len(), SPAN);
        let mut ids = RoaringBitmap::new();
        bits.append_to(u32::MAX << 16, &mut ids);
        assert_eq!(ids.max(), Some(u32::MAX));
        assert_eq!(Bits::of_ids(u32::MAX << 16, &ids), bits);
        assert_eq!(bits.stretches(), [(0, SPAN)]);
    }
}
