//! Goes through the columns of a part that hold wanted series, and past the rest: blocks without them are not read, columns
//! before them not looked at.

use std::sync::Arc;

use roaring::RoaringBitmap;

use super::{BlockReader, Part, PartError, block::BlockWalk, block_cache::CachedBlock};
use crate::{
    codec::{Decoded, Malformed},
    rows::Rows,
    types::TimeRange,
};

/// No column is left.
const END: u64 = u64::MAX;
/// As far as that, passing over columns is cheaper than looking for a mark.
const NEAR: u64 = 8;

/// Names a column of times in a part.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct TimesKey {
    block: usize,
    at: u32,
}

/// See the module. Holds one block at a time.
pub(crate) struct PartCursor<'p> {
    part: &'p Part,
    range: TimeRange,
    reader: BlockReader,
    walk: BlockWalk,
    /// The block that it is in.
    block: Option<Arc<CachedBlock>>,
    /// That block, or the next one to look at.
    index: usize,
    /// The series of the column at which it stands; or the columns that it passed over are all of lower ones.
    at: u64,
    /// It stands at a column.
    stands: bool,
}

impl<'p> PartCursor<'p> {
    /// Before the first column. Of what is outside of the range it gives some or nothing.
    pub(crate) fn new(part: &'p Part, range: TimeRange) -> Self {
        Self {
            part,
            range,
            reader: BlockReader::default(),
            walk: BlockWalk::default(),
            block: None,
            index: 0,
            at: 0,
            stands: false,
        }
    }

    /// Goes to the next column of a series; false if there is none. No smaller one than before may be asked for.
    #[inline]
    pub(crate) fn seek(&mut self, id: u32) -> Result<bool, PartError> {
        if self.at > u64::from(id) {
            return Ok(false);
        }
        if self.stands && self.at == u64::from(id) {
            return Ok(true);
        }
        self.go_to(id)
    }

    fn go_to(&mut self, id: u32) -> Result<bool, PartError> {
        loop {
            let block = match self.block.take() {
                Some(block) => block,
                None => match self.enter_block(id)? {
                    Some(block) => block,
                    None => return Ok(false),
                },
            };
            self.stands = false;
            let ends = self.part.blocks[self.index].last_id;
            if ends >= id {
                let found = self.find_in(&block, id);
                if let Some(found) = found.map_err(|e| self.damaged(&e))? {
                    if found > ends {
                        return Err(self.damaged(&Malformed("the series that the index names")));
                    }
                    (self.at, self.stands, self.block) = (u64::from(found), true, Some(block));
                    return Ok(found == id);
                }
            }
            self.index += 1;
        }
    }

    /// The first series from `id` on in the block.
    fn find_in(&mut self, block: &CachedBlock, id: u32) -> Decoded<Option<u32>> {
        if u64::from(id) > self.at + NEAR {
            self.walk.skip_to(block.marks()?, id);
        }
        while let Some(found) = self.walk.next(&block.bytes)? {
            if found >= id {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// Reads the block that may hold the series, if there is one.
    fn enter_block(&mut self, id: u32) -> Result<Option<Arc<CachedBlock>>, PartError> {
        let blocks = &self.part.blocks;
        let more = |block: &super::Block| block.last_id < id;
        if blocks.get(self.index).is_some_and(more) {
            self.index += blocks[self.index..].partition_point(more);
        }
        let outside = |block: &&super::Block| !self.range.overlaps(block.first, block.last);
        self.index += blocks[self.index..].iter().take_while(outside).count();
        let Some(block) = blocks.get(self.index) else {
            self.at = END;
            return Ok(None);
        };
        if block.first_id > id {
            self.at = u64::from(block.first_id);
            return Ok(None);
        }
        if !self.part.ids.contains(id) {
            self.at = u64::from(id) + 1;
            return Ok(None);
        }
        self.at = u64::from(block.first_id);
        let block = self.part.cached_block(&mut self.reader, self.index)?;
        let started = self.walk.start(&block.bytes);
        started.map_err(|e| self.damaged(&e))?;
        Ok(Some(block))
    }

    fn damaged(&self, e: &Malformed) -> PartError {
        let block = self.part.blocks.get(self.index);
        PartError::Damaged {
            offset: block.map_or(0, |block| block.offset),
            expected: e.0,
        }
    }

    /// What `read` makes of the column at which it stands.
    fn column<'c, T>(
        &'c mut self,
        read: impl FnOnce(&'c mut BlockWalk, &[u8]) -> Decoded<T>,
    ) -> Result<T, PartError> {
        let offset = self.part.blocks.get(self.index).map_or(0, |b| b.offset);
        let damaged = |e: Malformed| PartError::Damaged {
            offset,
            expected: e.0,
        };
        match &self.block {
            Some(block) if self.stands => read(&mut self.walk, &block.bytes).map_err(damaged),
            _ => Err(damaged(Malformed("a column that was not read yet"))),
        }
    }

    /// Rows of the column at which it stands.
    pub(crate) fn rows(&self) -> usize {
        self.walk.count()
    }

    /// Which times it has: columns of equal keys have equal ones.
    pub(crate) fn times_key(&self) -> TimesKey {
        TimesKey {
            block: self.index,
            at: self.walk.times_at(),
        }
    }

    /// Its times: not empty, rising strictly.
    pub(crate) fn times(&mut self) -> Result<&[i64], PartError> {
        self.column(|walk, block| walk.times(block))
    }

    /// See [`BlockWalk::is_plain`].
    pub(crate) fn is_plain(&self) -> bool {
        self.walk.is_plain()
    }

    /// See [`BlockWalk::numbers_to`]; the column is done then.
    pub(crate) fn numbers_to(
        &mut self,
        any_number: bool,
        values: &mut Vec<f64>,
    ) -> Result<(), PartError> {
        let read = self.column(|walk, block| walk.numbers_to(block, any_number, values));
        self.stands = false;
        read
    }

    /// Adds the column to the end of `rows`, whose times must be before it; the column is done then.
    pub(crate) fn append_to(&mut self, rows: &mut Rows) -> Result<(), PartError> {
        let read = self.column(|walk, block| walk.append_to(block, rows));
        self.stands = false;
        read
    }

    /// Goes on without reading the column.
    pub(crate) fn pass(&mut self) {
        self.stands = false;
    }
}

impl Part {
    /// Gives the samples of the wanted series in the range, column by column: rising ids, rising times. `visit` gets rows that
    /// are used again for the next column, and returns whether to go on.
    pub(crate) fn read(
        &self,
        wanted: &RoaringBitmap,
        range: TimeRange,
        visit: &mut dyn FnMut(u32, &Rows) -> bool,
    ) -> Result<(), PartError> {
        let mut cursor = PartCursor::new(self, range);
        let mut rows = Rows::default();
        for id in &(wanted & &self.ids) {
            while cursor.seek(id)? {
                rows.clear();
                cursor.append_to(&mut rows)?;
                rows.keep_within(range);
                if !rows.is_empty() && !visit(id, &rows) {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    fn cached_block(
        &self,
        reader: &mut BlockReader,
        index: usize,
    ) -> Result<Arc<CachedBlock>, PartError> {
        let key = (self.meta.number, index as u32);
        if let Some(block) = self.cache.as_ref().and_then(|cache| cache.get(key)) {
            return Ok(block);
        }
        let mut raw = Vec::new();
        reader.read(self, index, &mut raw)?;
        let block = Arc::new(CachedBlock::new(raw));
        if let Some(cache) = &self.cache {
            cache.put(key, &block);
        }
        Ok(block)
    }
}
