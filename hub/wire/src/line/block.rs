//! One scrape as a block: layout, record, time, which series are there, their values. One function for both directions.

use super::column::{Models, Neighbour, Track, UnknownRule};
use super::range::{Bit, Coder};

/// What both ends remember of a target: its series in order.
#[derive(Clone, Debug)]
pub(super) struct Layout {
    len: u32,
    /// Of the first of its series; those of the others are made with the next scrape, in the room of the session before where
    /// that was kept.
    columns: Vec<Track>,
    /// Columns whose samples have times of their own, in order.
    timed: Vec<u32>,
    /// How far these times are from the scrape's.
    offsets: Vec<Track>,
    /// Times of its scrapes.
    at: Track,
    /// The layout whose scrape came after this one's, the last time.
    next: u32,
}

/// One sample of a scrape that is being coded.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Cell {
    pub(super) present: bool,
    pub(super) bits: u64,
    /// Milliseconds from the scrape's time to the sample's.
    pub(super) offset: i64,
}

/// What stands before the values of a scrape.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) layout: u32,
    /// Number of the buffer's record.
    pub(super) seq: u64,
    /// Milliseconds since 1970.
    pub(super) at: i64,
}

/// What both ends remember beside the layouts.
#[derive(Clone, Debug)]
pub(super) struct Shared {
    models: Models,
    /// Apart from those of values: their numbers are of another kind.
    heads: Models,
    follows: Bit,
    regular: [Bit; 2],
    was_regular: bool,
    seq: Track,
    layout: Track,
    last_layout: u32,
}

impl Layout {
    pub(super) fn new() -> Self {
        Layout {
            len: 0,
            columns: Vec::new(),
            timed: Vec::new(),
            offsets: Vec::new(),
            at: Track::default(),
            next: 0,
        }
    }

    /// How many series.
    pub(super) fn len(&self) -> usize {
        self.len as usize
    }

    pub(super) fn push(&mut self, has_times: bool) {
        if has_times {
            self.timed.push(self.len);
        }
        self.len += 1;
    }

    /// Whether the samples of a column have times of their own.
    pub(super) fn has_times(&self, place: usize) -> bool {
        let find = |timed: &u32| (*timed as usize).cmp(&place);
        self.timed.binary_search_by(find).is_ok()
    }

    /// Its series with all that is remembered of them; none are left here.
    pub(super) fn take_series(&mut self) -> Layout {
        let taken = std::mem::replace(self, Layout::new());
        (self.at, self.next) = (taken.at.clone(), taken.next);
        taken
    }

    /// The same series, without what is remembered of their values.
    pub(super) fn anew(&self) -> Layout {
        Layout {
            len: self.len,
            timed: self.timed.clone(),
            ..Layout::new()
        }
    }

    /// Forgets what is remembered of values, and keeps the room for it: a buffer begins a session with every segment, and an allocator that is
    /// given so much back, in pieces between others, is left with holes.
    pub(super) fn begin_anew(&mut self) {
        self.columns.clear();
        self.offsets.clear();
        (self.at, self.next) = (Track::default(), 0);
    }

    #[cfg(test)]
    pub(super) fn room(&self) -> usize {
        self.columns.capacity()
    }

    /// Makes the columns that are not there yet.
    fn make_columns(&mut self) {
        let missing = self.len() - self.columns.len();
        if missing > 0 {
            let mut track = Track::default();
            // Never seen is as good as absent before.
            track.set_absent(true);
            self.columns.reserve_exact(missing);
            self.columns.resize(self.len(), track);
            self.offsets.resize(self.timed.len(), Track::default());
        }
    }
}

impl Shared {
    pub(super) fn new() -> Self {
        Shared {
            models: Models::new(),
            heads: Models::new(),
            follows: Bit::EVEN,
            regular: [Bit::EVEN; 2],
            was_regular: true,
            seq: Track::default(),
            layout: Track::default(),
            last_layout: 0,
        }
    }

    /// The layout of the next scrape, its record and its time. None when the layout is not known.
    pub(super) fn head<C: Coder>(
        &mut self,
        coder: &mut C,
        layouts: &mut [Layout],
        head: Head,
    ) -> Option<Head> {
        let before = self.last_layout as usize;
        let expected = layouts.get(before).map_or(0, |layout| layout.next);
        let layout = match coder.bit(&mut self.follows, head.layout == expected) {
            true => expected,
            false => {
                let mut alone = Neighbour::default();
                let whole = i64::from(head.layout);
                let whole = self
                    .layout
                    .integer(coder, &mut self.heads, &mut alone, whole);
                u32::try_from(whole).ok()?
            }
        };
        if let Some(before) = layouts.get_mut(before) {
            before.next = layout;
        }
        self.last_layout = layout;
        let of = layouts.get_mut(layout as usize)?;
        let (mut alone, heads) = (Neighbour::default(), &mut self.heads);
        let seq = self.seq.integer(coder, heads, &mut alone, head.seq as i64) as u64;
        let mut alone = Neighbour::default();
        let at = of.at.integer(coder, heads, &mut alone, head.at);
        Some(Head { layout, seq, at })
    }

    /// The values of a scrape: as many cells as the layout has series.
    pub(super) fn cells<C: Coder>(
        &mut self,
        coder: &mut C,
        layout: &mut Layout,
        cells: &mut [Cell],
    ) -> Result<(), UnknownRule> {
        layout.make_columns();
        let mut pairs = layout.columns.iter().zip(cells.iter());
        let regular = C::WRITES && pairs.all(|(column, cell)| cell.present != column.is_absent());
        let context = usize::from(self.was_regular);
        let regular = coder.bit(&mut self.regular[context], regular);
        self.was_regular = regular;
        let mut neighbour = Neighbour::default();
        let mut absent_before = false;
        let mut offsets = layout.timed.iter().zip(&mut layout.offsets).peekable();
        for (place, (column, cell)) in layout.columns.iter_mut().zip(cells).enumerate() {
            let offset = offsets.next_if(|(timed, _)| **timed as usize == place);
            let was_absent = column.is_absent();
            let mut absent = was_absent;
            if !regular {
                let context = usize::from(was_absent) << 1 | usize::from(absent_before);
                absent = coder.bit(&mut self.models.absent[context], !cell.present);
                absent_before = absent;
                column.set_absent(absent);
            }
            cell.present = !absent;
            if absent {
                continue;
            }
            cell.bits = column.value(coder, &mut self.models, &mut neighbour, cell.bits)?;
            if let Some((_, offset)) = offset {
                let mut alone = Neighbour::default();
                cell.offset = offset.integer(coder, &mut self.heads, &mut alone, cell.offset);
            }
        }
        Ok(())
    }
}

/// A number over values: both ends make it, so that nothing is stored that was not meant.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Digest(u64);

impl Digest {
    pub(super) fn add(&mut self, head: &Head, cells: &[Cell]) {
        let mut sum = self.0;
        let mut mix =
            |number: u64| sum = (sum.rotate_left(7) ^ number).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        mix(head.seq);
        mix(head.at as u64);
        for cell in cells.iter().filter(|cell| cell.present) {
            mix(cell.bits ^ cell.offset as u64);
        }
        self.0 = sum;
    }

    pub(super) fn short(self) -> u16 {
        (self.0 >> 48) as u16
    }
}
