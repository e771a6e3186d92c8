//! Places in a block at which a walk may begin, so that whoever wants one series need not pass over all columns before it.

use super::{BlockWalk, SLOTS, TimesPlace};
use crate::codec::Decoded;

/// Bytes between two marks, at least: few columns to pass over, and little memory beside the block.
const APART_BYTES: usize = 1024;

/// The marks of one block, in its order.
pub(crate) struct Marks(Box<[Mark]>);

/// What a [`BlockWalk`] knows between two columns.
struct Mark {
    /// Series of the column that follows.
    id: u32,
    /// And of the one before.
    before: u32,
    heads_at: u32,
    data_at: u32,
    slots: [TimesPlace; SLOTS],
    slots_used: u8,
    newest: u8,
    current: u8,
}

impl Marks {
    /// Walks through a block.
    pub(crate) fn of(block: &[u8]) -> Decoded<Self> {
        let mut walk = BlockWalk::default();
        walk.start(block)?;
        let mut marks = Vec::new();
        let mut last = walk.heads_at + walk.data_at;
        loop {
            walk.pass(block)?;
            let at = walk.heads_at + walk.data_at;
            let mark = (at >= last + APART_BYTES).then(|| Mark {
                id: 0,
                before: walk.id,
                heads_at: walk.heads_at as u32,
                data_at: walk.data_at as u32,
                slots: std::array::from_fn(|slot| walk.slots[slot].place),
                slots_used: walk.slots_used as u8,
                newest: walk.newest as u8,
                current: walk.current as u8,
            });
            let Some(id) = walk.next(block)? else {
                return Ok(Self(marks.into()));
            };
            if let Some(mark) = mark {
                marks.push(Mark { id, ..mark });
                last = at;
            }
        }
    }

    /// What the marks of a block may take.
    pub(crate) fn bytes_max(block_bytes: usize) -> usize {
        block_bytes / APART_BYTES * size_of::<Mark>()
    }
}

impl BlockWalk {
    fn pass(&mut self, block: &[u8]) -> Decoded<()> {
        let (mut heads, mut data) = self.streams(block)?;
        self.pass_values(&mut heads, &mut data)?;
        self.advance(block, &heads, &data);
        Ok(())
    }

    /// Goes on to the last mark before the columns of a series, unless it is there already; [`BlockWalk::next`] comes next.
    pub(crate) fn skip_to(&mut self, marks: &Marks, id: u32) {
        let after = marks.0.partition_point(|mark| mark.id < id);
        let Some(mark) = after.checked_sub(1).map(|at| &marks.0[at]) else {
            return;
        };
        if mark.heads_at as usize <= self.heads_at {
            return;
        }
        (self.heads_at, self.data_at) = (mark.heads_at as usize, mark.data_at as usize);
        (self.id, self.first, self.pending) = (mark.before, false, None);
        self.slots_used = usize::from(mark.slots_used);
        self.newest = usize::from(mark.newest);
        self.current = usize::from(mark.current);
        for (slot, place) in self.slots.iter_mut().zip(mark.slots) {
            // What it has read of the same times stays good.
            slot.read &= slot.place == place;
            slot.place = place;
        }
    }
}
