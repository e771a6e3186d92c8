//! A stretch of rows in the order in which they were written.

use roaring::RoaringBitmap;

use crate::{runs::Runs, types::TimeRange};

/// A block is closed when it has this many rows: half a megabyte that a reader shares instead of copying it.
pub(crate) const BLOCK_ROWS: u32 = 65_536;

/// Rows that are still being added to.
#[derive(Debug, Clone, Default)]
pub(crate) struct OpenBlock {
    /// Rows of the head before this block.
    pub(crate) base: u32,
    pub(crate) runs: Runs,
    pub(crate) values: Vec<f64>,
}

impl OpenBlock {
    pub(crate) fn push(&mut self, runs: &Runs, values: &[f64]) {
        if self.values.is_empty() {
            self.values
                .reserve_exact((BLOCK_ROWS as usize + BLOCK_ROWS as usize / 8).max(values.len()));
        }
        self.runs.extend(runs);
        self.values.extend_from_slice(values);
    }

    pub(crate) fn close(self) -> Block {
        let Self {
            base,
            mut runs,
            mut values,
        } = self;
        values.shrink_to_fit();
        runs.ids.shrink_to_fit();
        runs.times.shrink_to_fit();
        let mut by_id: Vec<u32> = (0..runs.ids.len() as u32).collect();
        by_id.sort_unstable_by_key(|run| (runs.ids[*run as usize].id, *run));
        let mut end = 0;
        let reach = by_id
            .iter()
            .map(|run| {
                end = end.max(runs.id_end(*run as usize));
                end
            })
            .collect();
        let mut ids = RoaringBitmap::new();
        runs.ids_within(TimeRange::ALL, &mut ids);
        let (first, last) = runs.time_range().unwrap_or((i64::MAX, i64::MIN));
        Block {
            base,
            runs,
            values,
            by_id,
            reach,
            ids,
            first,
            last,
        }
    }
}

/// Rows that stay as they are.
#[derive(Debug)]
pub(crate) struct Block {
    pub(crate) base: u32,
    pub(crate) runs: Runs,
    pub(crate) values: Vec<f64>,
    /// Runs of ids by their first id.
    by_id: Vec<u32>,
    /// One behind the largest id of the runs up to here, in the order of `by_id`.
    reach: Vec<u64>,
    /// Series with rows in here.
    pub(crate) ids: RoaringBitmap,
    /// Smallest and largest time.
    pub(crate) first: i64,
    pub(crate) last: i64,
}

impl Block {
    pub(crate) fn overlaps(&self, range: TimeRange) -> bool {
        range.overlaps(self.first, self.last)
    }

    /// The runs that may hold rows of these ids (rising), in the order of their rows.
    fn runs_of(&self, ids: &[u32]) -> Vec<u32> {
        let (Some(&first), Some(&last)) = (ids.first(), ids.last()) else {
            return Vec::new();
        };
        let mut found = Vec::new();
        let mut reaching = |first: u32, last: u32| {
            let after = self
                .by_id
                .partition_point(|run| self.runs.ids[*run as usize].id <= last);
            for at in (0..after).rev() {
                if self.reach[at] <= u64::from(first) {
                    break;
                }
                let run = self.by_id[at];
                if self.runs.id_end(run as usize) > u64::from(first) {
                    found.push(run);
                }
            }
        };
        // Looking each id up costs more than looking at all runs from the first to the last once there are many.
        if ids.len() * 4 > self.by_id.len() {
            reaching(first, last);
        } else {
            ids.iter().for_each(|id| reaching(*id, *id));
        }
        found.sort_unstable();
        found.dedup();
        found
    }

    /// Rows that a series with rows in here has, about.
    pub(crate) fn rows_per_series(&self) -> u64 {
        (self.values.len() as u64).div_ceil(self.ids.len().max(1))
    }

    /// Gives (index in `ids`, row, time, value) of the rows of `ids` (rising) in the range, in the order of writing.
    pub(crate) fn collect(
        &self,
        ids: &[u32],
        range: TimeRange,
        visit: &mut impl FnMut(usize, u32, i64, f64),
    ) {
        if !self.overlaps(range) {
            return;
        }
        for run in self.runs_of(ids) {
            collect_run(&self.runs, &self.values, run as usize, ids, range, visit);
        }
    }
}

/// Gives the rows of one run: see [`Block::collect`].
pub(crate) fn collect_run(
    runs: &Runs,
    values: &[f64],
    run: usize,
    ids: &[u32],
    range: TimeRange,
    visit: &mut impl FnMut(usize, u32, i64, f64),
) {
    let start = runs.ids[run];
    let mut index = ids.partition_point(|id| *id < start.id);
    let id_end = runs.id_end(run);
    let within = |id: &u32| u64::from(*id) < id_end;
    if !ids.get(index).is_some_and(within) {
        return;
    }
    let mut give = |index: usize, row: u32, at: i64| {
        if range.contains(at) {
            visit(index, row, at, values[row as usize]);
        }
    };
    if start.step == 0 {
        let rows = start.row..runs.ids_end(run);
        for (row, at) in rows.zip(runs.times_from(start.row)) {
            give(index, row, at);
        }
        return;
    }
    let row = start.row + (ids[index] - start.id);
    let mut times = runs.times_from(row);
    while let Some(id) = ids.get(index).copied().filter(|id| within(id)) {
        let row = start.row + (id - start.id);
        if let Some(at) = times.seek(row) {
            give(index, row, at);
        }
        index += 1;
    }
}
