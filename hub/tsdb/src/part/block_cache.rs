//! Blocks as they are after checksum and decompression, kept for the next query: dashboards ask for the same again.
//!
//! Bounded by bytes. Which block makes room is decided by second chance: a hand goes round, spares what was used since it
//! last came by, and takes what was not. A block is put in only by reads; merges, which see every block once, pass by.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
};

use hashbrown::HashMap;

use super::block::Marks;
use crate::codec::Decoded;

/// Locks, so that queries do not wait for each other.
const SHARDS: usize = 8;
/// What a block takes beside its bytes, about.
const OVERHEAD_BYTES: usize = 128;

/// What the cache of a store may hold, unless told otherwise.
pub(crate) const BYTES_MAX: usize = 32 << 20;

/// Number of the part, number of the block in it.
pub(crate) type BlockKey = (u64, u32);

/// A block, and where a walk through it may begin: found when first asked for.
pub(crate) struct CachedBlock {
    pub(crate) bytes: Vec<u8>,
    marks: OnceLock<Marks>,
}

impl CachedBlock {
    pub(crate) fn new(bytes: Vec<u8>) -> Self {
        let marks = OnceLock::new();
        Self { bytes, marks }
    }

    pub(crate) fn marks(&self) -> Decoded<&Marks> {
        match self.marks.get() {
            Some(marks) => Ok(marks),
            None => {
                let marks = Marks::of(&self.bytes)?;
                Ok(self.marks.get_or_init(|| marks))
            }
        }
    }
}

/// Blocks of one store's parts.
pub(crate) struct BlockCache {
    shards: [Mutex<Shard>; SHARDS],
    /// Of each shard.
    bytes_max: usize,
}

#[derive(Default)]
struct Shard {
    blocks: HashMap<BlockKey, Cached>,
    /// Every key of `blocks`, once; the hand stands before the first.
    hand: VecDeque<BlockKey>,
    bytes: usize,
}

struct Cached {
    block: Arc<CachedBlock>,
    used: bool,
}

fn size(block: &CachedBlock) -> usize {
    let bytes = block.bytes.len();
    bytes + Marks::bytes_max(bytes) + OVERHEAD_BYTES
}

impl BlockCache {
    /// Holds at most `bytes_max`. A block that is larger than an eighth of it is never kept.
    pub(crate) fn new(bytes_max: usize) -> Self {
        Self {
            shards: Default::default(),
            bytes_max: bytes_max / SHARDS,
        }
    }

    fn shard(&self, (part, block): BlockKey) -> MutexGuard<'_, Shard> {
        let mixed = (part ^ u64::from(block)).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 61;
        self.shards[mixed as usize % SHARDS]
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn get(&self, key: BlockKey) -> Option<Arc<CachedBlock>> {
        let mut shard = self.shard(key);
        let cached = shard.blocks.get_mut(&key)?;
        cached.used = true;
        Some(cached.block.clone())
    }

    pub(crate) fn put(&self, key: BlockKey, block: &Arc<CachedBlock>) {
        let new = size(block);
        if new > self.bytes_max {
            return;
        }
        let mut shard = self.shard(key);
        let shard = &mut *shard;
        if shard.blocks.contains_key(&key) {
            return;
        }
        while shard.bytes + new > self.bytes_max {
            let Some(oldest) = shard.hand.pop_front() else {
                break;
            };
            match shard.blocks.get_mut(&oldest) {
                Some(cached) if cached.used => {
                    cached.used = false;
                    shard.hand.push_back(oldest);
                }
                Some(_) => shard.remove(oldest),
                None => {}
            }
        }
        let cached = Cached {
            block: block.clone(),
            used: false,
        };
        shard.bytes += new;
        shard.blocks.insert(key, cached);
        shard.hand.push_back(key);
    }

    /// Drops what it holds of a part.
    pub(crate) fn forget(&self, part: u64) {
        for shard in &self.shards {
            let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            let Shard {
                blocks,
                hand,
                bytes,
            } = &mut *shard;
            blocks.retain(|key, cached| {
                let keep = key.0 != part;
                *bytes -= if keep { 0 } else { size(&cached.block) };
                keep
            });
            hand.retain(|key| key.0 != part);
        }
    }

    #[cfg(test)]
    fn bytes(&self) -> usize {
        self.shards
            .iter()
            .map(|shard| shard.lock().unwrap().bytes)
            .sum()
    }
}

impl Shard {
    fn remove(&mut self, key: BlockKey) {
        if let Some(cached) = self.blocks.remove(&key) {
            self.bytes -= size(&cached.block);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(bytes: usize) -> Arc<CachedBlock> {
        Arc::new(CachedBlock::new(vec![0; bytes]))
    }

    fn size_of(bytes: usize) -> usize {
        size(&block(bytes))
    }

    #[test]
    fn bytes_are_bounded_and_what_is_used_stays() {
        let room = 10 * size_of(1000);
        let cache = BlockCache::new(SHARDS * room);
        cache.put((1, 0), &block(1000));
        for number in 0..1000 {
            assert!(cache.get((1, 0)).is_some(), "used all the time");
            cache.put((2, number), &block(1000));
            assert!(cache.bytes() <= SHARDS * room);
        }
        assert!(cache.get((2, 0)).is_none() && cache.get((2, 999)).is_some());
        cache.put((3, 0), &block(room));
        assert!(cache.get((3, 0)).is_none(), "too large");
    }

    #[test]
    fn a_forgotten_part_takes_no_room() {
        let cache = BlockCache::new(1 << 20);
        for number in 0..20 {
            cache.put((1, number), &block(100));
            cache.put((2, number), &block(100));
            cache.put((2, number), &block(100));
        }
        cache.forget(1);
        assert_eq!(cache.bytes(), 20 * size_of(100));
        cache.forget(2);
        assert_eq!(cache.bytes(), 0);
        assert!(cache.get((1, 3)).is_none());
    }
}
