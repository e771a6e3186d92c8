//! Finding ids by key and by labels: only writing needs it, and only for series that are not where they were expected.
//!
//! Both tables hold little more than ids and are compared through the key columns and the labels themselves. They are in
//! shards of unequal size: a table doubles when it is full, and shards of one size would all do so at once, which
//! would double the memory and delay whoever inserts. So sizes run evenly from 1 to 2: at any time the tables have
//! about 1.6 times the places they need.

use hashbrown::{HashTable, hash_table::Entry};
use model::LabelSet;

use super::{
    slots::{Slots, first_id},
    tail::PairHasher,
};

const SHARDS: usize = 64;
const SHARD_BITS: u32 = 12;
/// Below this many series a second thread costs more than it gains.
const PARALLEL_FROM: usize = 50_000;

/// Which shard a number of [`SHARD_BITS`] bits belongs to.
static SHARD_OF: [u8; 1 << SHARD_BITS] = shards();

const fn shards() -> [u8; 1 << SHARD_BITS] {
    /// The 64th root of 2: each shard is so much larger than the one before.
    const STEP: f64 = 1.010_889_286_051_700_5;
    let mut of = [0; 1 << SHARD_BITS];
    // The sizes add up to 1 / (STEP - 1).
    let unit = (STEP - 1.0) * of.len() as f64;
    let (mut shard, mut size) = (0, unit);
    let mut end = unit;
    let mut at = 0;
    while at < of.len() {
        while at as f64 >= end && shard + 1 < SHARDS {
            shard += 1;
            size *= STEP;
            end += size;
        }
        of[at] = shard as u8;
        at += 1;
    }
    of
}

pub(super) struct Tables {
    by_key: Vec<HashTable<u32>>,
    by_labels: Vec<HashTable<Labelled>>,
    /// Ids whose labels a later id has too; found when building.
    pub(super) shadowed: Vec<u32>,
}

/// An id under a hash of its labels.
#[derive(Clone, Copy)]
struct Labelled {
    hash: u32,
    id: u32,
}

fn shard_of_key(key: u128) -> usize {
    usize::from(SHARD_OF[(key >> (128 - SHARD_BITS)) as usize])
}

fn shard_of_hash(hash: u32) -> usize {
    usize::from(SHARD_OF[(hash >> (32 - SHARD_BITS)) as usize])
}

fn short(hash: u64) -> u32 {
    (hash.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) as u32
}

/// The table's own bits: its lowest say the place, its highest are compared there.
fn spread(hash: u32) -> u64 {
    u64::from(hash).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

impl Tables {
    /// From the segments, with two threads when it is worth it: 20 to 40 ns a series.
    pub(super) fn build(slots: &Slots, hasher: &PairHasher, series: usize) -> Self {
        let by_labels = || Self::build_by_labels(slots, hasher, series);
        let ((by_labels, shadowed), by_key) = if series < PARALLEL_FROM {
            (by_labels(), Self::build_by_key(slots, series))
        } else {
            std::thread::scope(|scope| {
                let other = scope.spawn(by_labels);
                let by_key = Self::build_by_key(slots, series);
                let by_labels = other
                    .join()
                    .unwrap_or_else(|panic| std::panic::resume_unwind(panic));
                (by_labels, by_key)
            })
        };
        Self {
            by_key,
            by_labels,
            shadowed,
        }
    }

    fn build_by_key(slots: &Slots, series: usize) -> Vec<HashTable<u32>> {
        let mut counts = [0_usize; SHARDS];
        if series > 0 {
            for (_, slot) in slots.iter() {
                for key in slot.keys.iter().filter(|key| **key != 0) {
                    counts[shard_of_key(*key)] += 1;
                }
            }
        }
        let mut shards: Vec<HashTable<u32>> = counts
            .iter()
            .map(|count| HashTable::with_capacity(*count))
            .collect();
        for (number, slot) in slots.iter() {
            for (low, key) in slot.keys.iter().enumerate().filter(|(_, key)| **key != 0) {
                insert_key(&mut shards, slots, *key, first_id(number) | low as u32);
            }
        }
        shards
    }

    fn build_by_labels(
        slots: &Slots,
        hasher: &PairHasher,
        series: usize,
    ) -> (Vec<HashTable<Labelled>>, Vec<u32>) {
        let mut hashes: Vec<Labelled> = Vec::with_capacity(series);
        for (number, slot) in slots.iter() {
            slot.form.for_hashes(&slot.live, hasher, |low, hash| {
                hashes.push(Labelled {
                    hash: short(hash),
                    id: first_id(number) | u32::from(low),
                });
            });
        }
        let mut counts = [0_usize; SHARDS];
        for labelled in &hashes {
            counts[shard_of_hash(labelled.hash)] += 1;
        }
        let mut shards: Vec<HashTable<Labelled>> = counts
            .iter()
            .map(|count| HashTable::with_capacity(*count))
            .collect();
        let mut shadowed = Vec::new();
        for new in hashes {
            let same = |old: &Labelled| {
                old.hash == new.hash
                    && slots
                        .labels(new.id)
                        .is_some_and(|labels| slots.has_labels(old.id, &labels))
            };
            let shard = &mut shards[shard_of_hash(new.hash)];
            match shard.entry(spread(new.hash), same, |other| spread(other.hash)) {
                Entry::Occupied(mut old) => {
                    shadowed.push(std::mem::replace(old.get_mut(), new).id);
                }
                Entry::Vacant(place) => {
                    place.insert(new);
                }
            }
        }
        (shards, shadowed)
    }

    #[inline]
    pub(super) fn id_of_key(&self, slots: &Slots, key: u128) -> Option<u32> {
        let shard = &self.by_key[shard_of_key(key)];
        shard.find(key as u64, |id| slots.key(*id) == key).copied()
    }

    /// An id that may well have this key, found without looking at its key.
    #[inline]
    pub(super) fn guess(&self, key: u128) -> Option<u32> {
        self.by_key[shard_of_key(key)]
            .find(key as u64, |_| true)
            .copied()
    }

    pub(super) fn id_of_labels(&self, slots: &Slots, hash: u64, labels: &LabelSet) -> Option<u32> {
        let hash = short(hash);
        let found = self.by_labels[shard_of_hash(hash)].find(spread(hash), |labelled| {
            labelled.hash == hash && slots.has_labels(labelled.id, labels)
        });
        found.map(|labelled| labelled.id)
    }

    /// Adds a series. Another one with these labels is given back: it is no longer found by them.
    pub(super) fn insert(
        &mut self,
        slots: &Slots,
        (key, id): (u128, u32),
        hash: u64,
        labels: &LabelSet,
    ) -> Option<u32> {
        insert_key(&mut self.by_key, slots, key, id);
        let hash = short(hash);
        let same = |other: &Labelled| other.hash == hash && slots.has_labels(other.id, labels);
        let shard = &mut self.by_labels[shard_of_hash(hash)];
        match shard.entry(spread(hash), same, |other| spread(other.hash)) {
            Entry::Occupied(mut old) => {
                Some(std::mem::replace(old.get_mut(), Labelled { hash, id }).id)
            }
            Entry::Vacant(place) => {
                place.insert(Labelled { hash, id });
                None
            }
        }
    }

    /// Drops the ids that no longer live.
    pub(super) fn retain_live(&mut self, slots: &Slots) {
        for shard in &mut self.by_key {
            shard.retain(|id| slots.contains(*id));
        }
        for shard in &mut self.by_labels {
            shard.retain(|labelled| slots.contains(labelled.id));
        }
    }

    /// Drops the key of one id.
    pub(super) fn remove_key(&mut self, key: u128, id: u32) {
        let shard = &mut self.by_key[shard_of_key(key)];
        if let Ok(entry) = shard.find_entry(key as u64, |other| *other == id) {
            entry.remove();
        }
    }

    pub(super) fn bytes(&self) -> usize {
        let by_key = self.by_key.iter().map(HashTable::allocation_size);
        let by_labels = self.by_labels.iter().map(HashTable::allocation_size);
        by_key.chain(by_labels).sum()
    }
}

/// Of two ids with one key the later one holds.
fn insert_key(shards: &mut [HashTable<u32>], slots: &Slots, key: u128, id: u32) {
    let shard = &mut shards[shard_of_key(key)];
    let same = |other: &u32| slots.key(*other) == key;
    match shard.entry(key as u64, same, |other| slots.key(*other) as u64) {
        Entry::Occupied(mut other) => *other.get_mut() = id,
        Entry::Vacant(place) => {
            place.insert(id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_grow_evenly_from_one_to_two() {
        let mut sizes = [0_u32; SHARDS];
        for shard in SHARD_OF {
            sizes[usize::from(shard)] += 1;
        }
        assert!(SHARD_OF.is_sorted());
        assert!(sizes.is_sorted_by(|a, b| a <= &(b + 1)), "{sizes:?}");
        assert_eq!((sizes[0], sizes[SHARDS - 1]), (45, 88));
    }
}
