//! A block of a part before compression: columns of neighbouring series, drawn in `FORMAT.md`.
//!
//! Series of one target have the same timestamps: a column of times is written once, and columns of values refer to one of
//! the last [`SLOTS`] that the block holds.
//!
//! Reading takes, beside the block, the times in the slots (32 KiB each) and what one column takes in the caller's buffers:
//! 4,096 times, values and start timestamps; histograms at most 16 times the
//! bytes of the block.

use crate::{
    chunk,
    codec::{Decoded, Input, Malformed, put_varint},
    columns::{
        floats::{self, Form},
        integers,
    },
    rows::Rows,
    types::{Column, NO_START},
};

/// Columns of times that a column of values can refer to.
const SLOTS: usize = 8;

mod marks;

pub(crate) use marks::Marks;

const FORM_MASK: u8 = 7;
const MIXED: u8 = 4;
const NEXT_ID: u8 = 8;
const TIMES_SHIFT: u32 = 4;
const TIMES_MASK: u8 = 3;
/// Those of the column before.
const TIMES_SAME: u8 = 0;
/// Those in the slot that the next byte of the head names.
const TIMES_SLOT: u8 = 1;
/// New ones: into the slot after the one that was filled last.
const TIMES_NEW: u8 = 2;
const HAS_STARTS: u8 = 64;
const RESERVED: u8 = 128;

/// Values of one column.
pub(crate) enum Values<'a> {
    Floats(&'a [f64]),
    Mixed(&'a [model::Value]),
}

/// Collects a block.
#[derive(Default)]
pub(crate) struct BlockBuilder {
    heads: Vec<u8>,
    data: Vec<u8>,
    /// Id of the last column.
    id: u32,
    slots: [Vec<i64>; SLOTS],
    slots_used: usize,
    /// The slot filled last, and the one that the last column used.
    newest: usize,
    current: usize,
    scratch: floats::Scratch,
    integers: Vec<i64>,
    mixed: Vec<u8>,
}

impl BlockBuilder {
    pub(crate) fn bytes(&self) -> usize {
        self.heads.len() + self.data.len()
    }

    /// Adds a column of 1 to 4,096 rows. Ids rise, or stay when the times go on rising. `starts` as long as `times`, or empty.
    pub(crate) fn add(&mut self, id: u32, times: &[i64], values: &Values<'_>, starts: &[i64]) {
        let gap = id.wrapping_sub(self.id);
        let tag_at = self.heads.len();
        self.heads.push(0);
        let mut tag = 0;
        if gap == 1 && tag_at > 0 {
            tag |= NEXT_ID;
        } else {
            put_varint(&mut self.heads, u64::from(gap));
        }
        self.id = id;
        tag |= self.put_times(times) << TIMES_SHIFT;
        if !starts.is_empty() {
            tag |= HAS_STARTS;
            self.integers.clear();
            self.integers.extend_from_slice(starts);
            integers::put(&mut self.heads, &mut self.data, &mut self.integers, 0);
        }
        tag |= match values {
            Values::Floats(values) => {
                floats::put(&mut self.heads, &mut self.data, values, &mut self.scratch) as u8
            }
            Values::Mixed(values) => {
                self.mixed.clear();
                chunk::put_mixed(&mut self.mixed, values);
                put_varint(&mut self.heads, self.mixed.len() as u64);
                self.data.extend_from_slice(&self.mixed);
                MIXED
            }
        };
        self.heads[tag_at] = tag;
    }

    fn put_times(&mut self, times: &[i64]) -> u8 {
        let same = |slot: &[i64]| slot.last() == times.last() && slot == times;
        if self.slots_used > 0 && same(&self.slots[self.current]) {
            return TIMES_SAME;
        }
        if let Some(slot) = self.slots[..self.slots_used]
            .iter()
            .position(|slot| same(slot))
        {
            self.heads.push(slot as u8);
            self.current = slot;
            return TIMES_SLOT;
        }
        self.newest = if self.slots_used == 0 {
            0
        } else {
            (self.newest + 1) % SLOTS
        };
        self.slots_used = self.slots_used.max(self.newest + 1);
        self.current = self.newest;
        let slot = &mut self.slots[self.newest];
        slot.clear();
        slot.extend_from_slice(times);
        put_varint(&mut self.heads, times.len() as u64);
        self.integers.clear();
        self.integers.extend_from_slice(times);
        integers::put(&mut self.heads, &mut self.data, &mut self.integers, 0);
        TIMES_NEW
    }

    /// Writes the block into `out`, which is emptied first, and starts the next one.
    pub(crate) fn take(&mut self, out: &mut Vec<u8>) {
        out.clear();
        put_varint(out, self.heads.len() as u64);
        out.extend_from_slice(&self.heads);
        out.extend_from_slice(&self.data);
        self.heads.clear();
        self.data.clear();
        self.id = 0;
        self.slots_used = 0;
    }
}

/// Times of one slot: where they stand, and once somebody asked, what they are.
#[derive(Default)]
struct Slot {
    place: TimesPlace,
    read: bool,
    times: Vec<i64>,
}

/// Where a column of times stands in a block.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct TimesPlace {
    heads_at: u32,
    data_at: u32,
    count: u16,
    head: u8,
}

/// Walks over the columns of a block. It keeps no reference to the block: each call takes the same bytes again.
#[derive(Default)]
pub(crate) struct BlockWalk {
    heads_at: usize,
    heads_end: usize,
    data_at: usize,
    id: u32,
    first: bool,
    /// Tag of the column whose values were not read yet.
    pending: Option<u8>,
    slots: [Slot; SLOTS],
    slots_used: usize,
    newest: usize,
    current: usize,
}

impl BlockWalk {
    /// Goes to the start of a block.
    pub(crate) fn start(&mut self, block: &[u8]) -> Decoded<()> {
        let mut input = Input(block);
        let heads = input.bytes()?;
        // No part has a larger one; so places fit 32 bits.
        if u32::try_from(block.len()).is_err() {
            return Err(Malformed("a block of at most 256 MiB"));
        }
        self.data_at = block.len() - input.0.len();
        self.heads_at = self.data_at - heads.len();
        self.heads_end = self.data_at;
        (self.id, self.first, self.pending) = (0, true, None);
        (self.slots_used, self.newest, self.current) = (0, 0, 0);
        // Times that stand at the same place of another block are others.
        self.slots.iter_mut().for_each(|slot| slot.read = false);
        Ok(())
    }

    fn streams<'a>(&self, block: &'a [u8]) -> Decoded<(Input<'a>, Input<'a>)> {
        let heads = block.get(self.heads_at..self.heads_end);
        let data = block.get(self.data_at..);
        match (heads, data) {
            (Some(heads), Some(data)) => Ok((Input(heads), Input(data))),
            _ => Err(Malformed("the block that the walk started with")),
        }
    }

    fn advance(&mut self, block: &[u8], heads: &Input<'_>, data: &Input<'_>) {
        self.heads_at = self.heads_end - heads.0.len();
        self.data_at = block.len() - data.0.len();
    }

    /// Goes over the values of the current column if they were not read.
    fn pass_values(&mut self, heads: &mut Input<'_>, data: &mut Input<'_>) -> Decoded<()> {
        let Some(tag) = self.pending.take() else {
            return Ok(());
        };
        let count = self.count();
        if tag & HAS_STARTS != 0 {
            integers::skip(heads.u8()?, heads, data, count)?;
        }
        match float_form(tag)? {
            Some(form) => floats::skip(form, heads, data, count),
            None => {
                let bytes = heads.varint()?;
                data.take(usize::try_from(bytes).unwrap_or(usize::MAX))?;
                Ok(())
            }
        }
    }

    /// Goes to the next column, over the values of the one before if they were not read. Returns its series; none at the
    /// end.
    pub(crate) fn next(&mut self, block: &[u8]) -> Decoded<Option<u32>> {
        let (mut heads, mut data) = self.streams(block)?;
        self.pass_values(&mut heads, &mut data)?;
        if heads.is_empty() {
            if !data.is_empty() {
                return Err(Malformed("the end of the block"));
            }
            self.advance(block, &heads, &data);
            return Ok(None);
        }
        let tag = heads.u8()?;
        let gap = if tag & NEXT_ID != 0 {
            1
        } else {
            heads.varint_u32()?
        };
        if self.first && tag & NEXT_ID != 0 {
            return Err(Malformed("the id of the first series"));
        }
        self.id = self
            .id
            .checked_add(gap)
            .ok_or(Malformed("an id of 32 bits"))?;
        match tag >> TIMES_SHIFT & TIMES_MASK {
            TIMES_SAME => {}
            TIMES_SLOT => {
                let slot = usize::from(heads.u8()?);
                if slot >= self.slots_used {
                    return Err(Malformed("times that the block holds"));
                }
                self.current = slot;
            }
            TIMES_NEW => {
                self.newest = if self.first {
                    0
                } else {
                    (self.newest + 1) % SLOTS
                };
                self.slots_used = self.slots_used.max(self.newest + 1);
                self.current = self.newest;
                let count = heads.varint()?;
                if !(1..=chunk::CHUNK_ROWS_MAX as u64).contains(&count) {
                    return Err(Malformed("a column of 1 to 4,096 rows"));
                }
                let head = heads.u8()?;
                let place = TimesPlace {
                    heads_at: (self.heads_end - heads.0.len()) as u32,
                    data_at: (block.len() - data.0.len()) as u32,
                    count: count as u16,
                    head,
                };
                let slot = &mut self.slots[self.newest];
                (slot.place, slot.read) = (place, false);
                integers::skip(head, &mut heads, &mut data, count as usize)?;
            }
            _ => return Err(Malformed("a known place of the times")),
        }
        if self.slots_used == 0 || tag & RESERVED != 0 {
            return Err(Malformed("a column with times"));
        }
        self.first = false;
        self.pending = Some(tag);
        self.advance(block, &heads, &data);
        Ok(Some(self.id))
    }

    /// Rows of the current column.
    pub(crate) fn count(&self) -> usize {
        usize::from(self.slots[self.current].place.count)
    }

    /// Where the times of the current column stand: no other times of the block stand there.
    pub(crate) fn times_at(&self) -> u32 {
        self.slots[self.current].place.data_at
    }

    /// Times of the current column: not empty, rising strictly.
    pub(crate) fn times(&mut self, block: &[u8]) -> Decoded<&[i64]> {
        let heads_end = self.heads_end;
        let slot = &mut self.slots[self.current];
        if !slot.read {
            let place = slot.place;
            let (heads, data) = (
                block.get(place.heads_at as usize..heads_end),
                block.get(place.data_at as usize..),
            );
            let mut heads = Input(heads.unwrap_or_default());
            let mut data = Input(data.unwrap_or_default());
            slot.times.clear();
            let times = &mut slot.times;
            let count = usize::from(place.count);
            integers::take(place.head, &mut heads, &mut data, count, |some| {
                times.extend_from_slice(some);
            })?;
            if !times.is_sorted_by(|a, b| a < b) {
                return Err(Malformed("times in order"));
            }
            slot.read = true;
        }
        Ok(&slot.times)
    }

    /// Whether the current column, not read yet, is numbers without start timestamps: what nearly every column is.
    pub(crate) fn is_plain(&self) -> bool {
        self.pending
            .is_some_and(|tag| tag & (HAS_STARTS | RESERVED) == 0 && tag & FORM_MASK < MIXED)
    }

    /// Adds the values of the current column, which must be [plain](BlockWalk::is_plain), to the end of `values`. With
    /// `any_number` zeros stand in for numbers that need not be decoded to know that they are no NaN.
    pub(crate) fn numbers_to(
        &mut self,
        block: &[u8],
        any_number: bool,
        values: &mut Vec<f64>,
    ) -> Decoded<()> {
        let form = match self.pending.take() {
            Some(tag) => float_form(tag)?,
            None => None,
        };
        let form = form.ok_or(Malformed("a column of numbers that was not read yet"))?;
        let count = self.count();
        let (mut heads, mut data) = self.streams(block)?;
        if any_number && form == Form::Integers {
            floats::skip(form, &mut heads, &mut data, count)?;
            values.resize(values.len() + count, 0.0);
        } else {
            floats::take(form, &mut heads, &mut data, count, values)?;
        }
        self.advance(block, &heads, &data);
        Ok(())
    }

    /// Adds the current column to the end of `rows`, whose times must be before it. To be called once for each column; after
    /// an error `rows` are no longer of use.
    pub(crate) fn append_to(&mut self, block: &[u8], rows: &mut Rows) -> Decoded<()> {
        let Some(tag) = self.pending.take() else {
            return Err(Malformed("a column that was not read yet"));
        };
        let count = self.count();
        let times = self.times(block)?;
        let (Some(&first), Some(&last)) = (times.first(), times.last()) else {
            return Err(Malformed("a column that is not empty"));
        };
        if !rows.is_empty() && first <= rows.last {
            return Err(Malformed("columns in order of time"));
        }
        let before = rows.len();
        rows.times.extend_from_slice(times);
        rows.first = rows.first.min(first);
        rows.last = last;
        let (mut heads, mut data) = self.streams(block)?;
        if tag & HAS_STARTS != 0 {
            rows.starts.resize(before, NO_START);
            let starts = &mut rows.starts;
            integers::take(heads.u8()?, &mut heads, &mut data, count, |some| {
                starts.extend_from_slice(some);
            })?;
        } else if !rows.starts.is_empty() {
            rows.starts.resize(rows.times.len(), NO_START);
        }
        match (float_form(tag)?, &mut rows.values) {
            (Some(form), Column::Floats(values)) => {
                floats::take(form, &mut heads, &mut data, count, values)?;
            }
            (Some(form), Column::Mixed(values)) => {
                let mut floats = Vec::new();
                floats::take(form, &mut heads, &mut data, count, &mut floats)?;
                values.extend(floats.into_iter().map(model::Value::Float));
            }
            (None, values) => {
                let bytes = heads.varint()?;
                let mut mixed = Input(data.take(usize::try_from(bytes).unwrap_or(usize::MAX))?);
                for _ in 0..count {
                    values.push(chunk::take_mixed(&mut mixed)?);
                }
                if !mixed.is_empty() {
                    return Err(Malformed("the end of a column"));
                }
            }
        }
        self.advance(block, &heads, &data);
        Ok(())
    }
}

/// None for mixed values.
fn float_form(tag: u8) -> Decoded<Option<Form>> {
    Ok(Some(match tag & FORM_MASK {
        0 => Form::Integers,
        1 => Form::Exceptions,
        2 => Form::Xor,
        3 => Form::Constant,
        MIXED => return Ok(None),
        _ => return Err(Malformed("a known form of values")),
    }))
}
