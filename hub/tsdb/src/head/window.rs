//! From the order of writing to the order of series, for readers: the rows of a few neighbouring series at a time.

use std::ops::Range;

use super::View;
use crate::{rows::Rows, types::TimeRange};

/// Series of a window at most: as many as keep what it scatters to in the processor's cache.
const SERIES_MAX: usize = 4096;
/// Rows of a window, about: 2 MiB. More only if one series has more.
const ROWS: u64 = 128 << 10;

/// The rows that a view has of the series of one window. Used again for the next.
#[derive(Default)]
pub(crate) struct Window {
    /// Index of its first series.
    first: usize,
    /// Where the rows of a series start; one more than there are series.
    starts: Vec<u32>,
    times: Vec<i64>,
    values: Vec<f64>,
    /// Rows in the head; empty unless there are mixed ones.
    rows: Vec<u32>,
}

impl View {
    /// How many series a window may have.
    pub(crate) fn window_series(&self) -> usize {
        let blocks = self.blocks.iter().map(|block| block.rows_per_series());
        let each = blocks.sum::<u64>() + 1;
        (ROWS / each).clamp(1, SERIES_MAX as u64) as usize
    }
}

impl Window {
    /// Takes the rows in the range of the series at `indexes` of `ids` (as given to [`super::Head::view`]).
    pub(crate) fn fill(
        &mut self,
        view: &View,
        ids: &[u32],
        indexes: Range<usize>,
        range: TimeRange,
    ) {
        self.first = indexes.start;
        self.starts.clear();
        self.starts.resize(indexes.len() + 1, 0);
        let ids = &ids[indexes.clone()];
        let open = view
            .open
            .partition_point(|(index, ..)| (*index as usize) < indexes.start);
        let open_end = view
            .open
            .partition_point(|(index, ..)| (*index as usize) < indexes.end);
        let open = &view.open[open..open_end];

        for block in &view.blocks {
            block.collect(ids, range, &mut |index, _, _, _| {
                self.starts[index + 1] += 1
            });
        }
        for (index, ..) in open {
            self.starts[*index as usize - self.first + 1] += 1;
        }
        let mut sum = 0;
        for start in &mut self.starts {
            sum += *start;
            *start = sum;
        }
        self.times.resize(sum as usize, 0);
        self.values.resize(sum as usize, 0.0);
        let with_rows = !view.mixed.is_empty();
        self.rows
            .resize(if with_rows { sum as usize } else { 0 }, 0);

        let mut put = |index: usize, row: u32, at: i64, value: f64| {
            let place = self.starts[index] as usize;
            self.starts[index] += 1;
            self.times[place] = at;
            self.values[place] = value;
            if with_rows {
                self.rows[place] = row;
            }
        };
        for block in &view.blocks {
            block.collect(ids, range, &mut |index, row, at, value| {
                put(index, block.base + row, at, value);
            });
        }
        for (index, row, at, value) in open {
            put(*index as usize - self.first, *row, *at, *value);
        }
        // Each start has moved to the end of its rows: back.
        self.starts.rotate_right(1);
        self.starts[0] = 0;
    }

    fn places(&self, index: usize) -> Range<usize> {
        let at = index - self.first;
        self.starts[at] as usize..self.starts[at + 1] as usize
    }

    /// Numbers of a series, if their times rise strictly and it has nothing else.
    pub(crate) fn numbers(&self, view: &View, index: usize) -> Option<(&[i64], &[f64])> {
        if !view.mixed.is_empty() && view.mixed.contains_key(&index) {
            return None;
        }
        let places = self.places(index);
        let times = &self.times[places.clone()];
        times
            .is_sorted_by(|a, b| a < b)
            .then(|| (times, &self.values[places]))
    }

    /// All rows of a series, ordered.
    pub(crate) fn series(&self, view: &View, index: usize, range: TimeRange) -> Rows {
        let places = self.places(index);
        if let Some(mixed) = view.mixed.get(&index) {
            let floats: Vec<(u32, i64, f64)> = places
                .map(|place| (self.rows[place], self.times[place], self.values[place]))
                .collect();
            return mixed.join(&floats).within(range).into_ordered();
        }
        let mut rows = Rows::default();
        for place in places {
            rows.push_float(self.times[place], self.values[place]);
        }
        rows.into_ordered()
    }
}
