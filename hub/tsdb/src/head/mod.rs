//! Samples in memory: what was written since the last seal, readable at once.
//!
//! Rows lie in the order in which they were written, in blocks: about 9 bytes each, and appending touches nothing but the
//! end. A full block never changes, so readers share it; only what they want of the open one is copied under the lock.
//! Native histograms and samples with a start timestamp are few, and kept by series beside the blocks.

mod block;
mod sort;
mod window;

use std::sync::Arc;

use hashbrown::HashMap;
use model::Value;
use roaring::RoaringBitmap;

use crate::{
    rows::Rows,
    runs::Runs,
    types::{NO_START, TimeRange},
};
use block::{BLOCK_ROWS, Block, OpenBlock, collect_run};
pub(crate) use sort::SeriesRows;
pub(crate) use window::Window;

/// Samples of the write sequences `seq_first..=seq_last`.
#[derive(Debug, Default)]
pub(crate) struct Head {
    full: Vec<Arc<Block>>,
    open: OpenBlock,
    mixed: HashMap<u32, Mixed>,
    pub(crate) rows: usize,
    /// Of log records that are about exemplars: they are not in here, but the log is freed with what is.
    pub(crate) exemplar_bytes: usize,
    /// 0 while empty.
    pub(crate) seq_first: u64,
    pub(crate) seq_last: u64,
    /// Smallest and largest timestamp, `None` while empty.
    pub(crate) time: Option<(i64, i64)>,
}

/// What blocks cannot hold of a series, in the order of writing.
#[derive(Debug, Clone, Default)]
struct Mixed {
    rows: Rows,
    /// For each row how many rows of blocks were written before it: of two equal times the later write wins.
    before: Vec<u32>,
}

impl Head {
    /// Whether no log record came to it, not even one without samples.
    pub(crate) fn is_unwritten(&self) -> bool {
        self.seq_last == 0
    }

    /// What it keeps of memory and log, in rows.
    pub(crate) fn weight(&self) -> usize {
        /// Of a row, in memory.
        const ROW_BYTES: usize = 10;
        self.rows + self.exemplar_bytes / ROW_BYTES
    }

    /// Rows in blocks.
    fn block_rows(&self) -> u32 {
        self.open.base + self.open.runs.rows
    }

    /// Adds samples that were written after all that is there.
    pub(crate) fn push(&mut self, runs: &Runs, values: &[f64]) {
        let Some(time) = runs.time_range() else {
            return;
        };
        self.cover_time(time);
        self.rows += values.len();
        self.open.push(runs, values);
        if self.open.runs.rows >= BLOCK_ROWS {
            let base = self.block_rows();
            let next = OpenBlock {
                base,
                ..OpenBlock::default()
            };
            let full = std::mem::replace(&mut self.open, next).close();
            self.full.push(Arc::new(full));
        }
    }

    /// Adds samples of one series, of any kind.
    pub(crate) fn push_mixed(&mut self, id: u32, rows: &Rows) {
        if rows.is_empty() {
            return;
        }
        self.cover_time((rows.first, rows.last));
        self.rows += rows.len();
        let before = self.block_rows();
        let mixed = self.mixed.entry(id).or_default();
        mixed.rows.extend(rows);
        mixed.before.resize(mixed.rows.len(), before);
    }

    fn cover_time(&mut self, (first, last): (i64, i64)) {
        let known = self.time.unwrap_or((first, last));
        self.time = Some((known.0.min(first), known.1.max(last)));
    }

    /// Records that everything up to here came from these log records.
    pub(crate) fn cover(&mut self, seq_first: u64, seq_last: u64) {
        if self.seq_first == 0 {
            self.seq_first = seq_first;
        }
        self.seq_last = self.seq_last.max(seq_last);
    }

    /// Series that have samples in a range (or may, as far as mixed rows go).
    pub(crate) fn ids(&self, range: TimeRange) -> RoaringBitmap {
        let mut ids = RoaringBitmap::new();
        if !self
            .time
            .is_some_and(|(first, last)| range.overlaps(first, last))
        {
            return ids;
        }
        for block in self.full.iter().filter(|block| block.overlaps(range)) {
            match range.contains(block.first) && range.contains(block.last) {
                true => ids |= &block.ids,
                false => block.runs.ids_within(range, &mut ids),
            }
        }
        self.open.runs.ids_within(range, &mut ids);
        let overlaps = |mixed: &Mixed| range.overlaps(mixed.rows.first, mixed.rows.last);
        let mixed = self.mixed.iter().filter(|(_, mixed)| overlaps(mixed));
        ids.extend(mixed.map(|(id, _)| *id));
        ids
    }

    /// Gives the time of every sample, repeated ones of a scrape once.
    pub(crate) fn for_each_time(&self, mut visit: impl FnMut(i64)) {
        let full = self.full.iter().map(|block| &block.runs);
        for runs in full.chain([&self.open.runs]) {
            for (index, run) in runs.times.iter().enumerate() {
                let rows = match run.step {
                    0 => 1,
                    _ => runs.times_end(index) - run.row,
                };
                (run.row..run.row + rows).for_each(|row| visit(run.time(row)));
            }
        }
        let mixed = self.mixed.values();
        mixed.for_each(|mixed| mixed.rows.times.iter().copied().for_each(&mut visit));
    }

    /// What is needed to read these series (rising ids) in the range.
    pub(crate) fn view(&self, ids: &[u32], range: TimeRange) -> View {
        let mut view = View::default();
        if !self
            .time
            .is_some_and(|(first, last)| range.overlaps(first, last))
        {
            return view;
        }
        let full = self.full.iter().filter(|block| block.overlaps(range));
        view.blocks = full.cloned().collect();
        let OpenBlock { base, runs, values } = &self.open;
        for run in 0..runs.ids.len() {
            let mut visit = |index: usize, row, at, value| {
                view.open.push((index as u32, base + row, at, value));
            };
            collect_run(runs, values, run, ids, range, &mut visit);
        }
        // Stable: the rows of a series stay in the order of writing.
        view.open.sort_by_key(|(index, ..)| *index);
        for (id, mixed) in &self.mixed {
            if let Ok(index) = ids.binary_search(id) {
                view.mixed.insert(index, mixed.clone());
            }
        }
        view
    }
}

/// Some of a head, to be read without a lock.
#[derive(Default)]
pub(crate) struct View {
    blocks: Vec<Arc<Block>>,
    /// Of the open block: (index of the series, row in the head, time, value), by series and then in the order of writing.
    open: Vec<(u32, u32, i64, f64)>,
    /// By index of the series.
    mixed: HashMap<usize, Mixed>,
}

impl View {
    pub(crate) fn is_empty(&self) -> bool {
        self.blocks.is_empty() && self.open.is_empty() && self.mixed.is_empty()
    }
}

impl Mixed {
    /// All rows of the series in the order of writing; `floats` are (row in the head, time, value).
    fn join(&self, floats: &[(u32, i64, f64)]) -> Rows {
        let mut joined = Rows::default();
        let mut floats = floats.iter().peekable();
        for (index, before) in self.before.iter().enumerate() {
            while let Some((_, at, value)) = floats.next_if(|(row, _, _)| row < before) {
                joined.push(*at, NO_START, Value::Float(*value));
            }
            joined.push_from(&self.rows, index);
        }
        for (_, at, value) in floats {
            joined.push(*at, NO_START, Value::Float(*value));
        }
        joined
    }
}

#[cfg(test)]
mod tests;
