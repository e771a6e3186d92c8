//! From the order of writing to the order of series: what sealing needs.
//!
//! A stable counting sort over a window of ids at a time, so that what it scatters to stays in the processor's cache;
//! `shared/limits.md` has the figures. The order of writing is the order of time within nearly every series.

use super::Head;
use crate::{rows::Rows, runs::Runs};

/// Ids that are sorted at a time.
const WINDOW: u64 = 4096;

/// All rows of a series: times rise strictly.
pub(crate) enum SeriesRows<'a> {
    Floats(&'a [i64], &'a [f64]),
    Any(&'a Rows),
}

/// Part of a block: rows of some neighbouring ids. Without runs: a series that has mixed rows.
#[derive(Clone, Copy)]
struct Piece<'a> {
    first: u64,
    end: u64,
    /// Place in the order of writing.
    order: (u32, u32),
    rows: Option<(&'a Runs, &'a [f64], u32)>,
}

/// Rows of the ids of one window, by id.
#[derive(Default)]
struct Window {
    /// Where the rows of an id start; one more than there are ids.
    starts: Vec<u32>,
    times: Vec<i64>,
    values: Vec<f64>,
    /// Rows in the head; empty unless somebody needs them.
    rows: Vec<u32>,
}

impl Head {
    /// Gives every series once, ids rising.
    pub(crate) fn for_each_series<E>(
        &self,
        mut visit: impl FnMut(u32, SeriesRows<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let pieces = self.pieces();
        let mut window = Window::default();
        let mut active: Vec<Piece<'_>> = Vec::new();
        let mut next = 0;
        let mut scratch = (Vec::new(), Vec::new(), Vec::new());
        loop {
            let from = match (active.is_empty(), pieces.get(next)) {
                (false, _) => active.iter().map(|piece| piece.first).min().unwrap_or(0),
                (true, Some(piece)) => piece.first,
                (true, None) => return Ok(()),
            };
            let to = from + WINDOW;
            while let Some(piece) = pieces.get(next).filter(|piece| piece.first < to) {
                active.push(*piece);
                next += 1;
            }
            active.sort_unstable_by_key(|piece| piece.order);
            window.fill(from, to, &active, !self.mixed.is_empty());
            for index in 0..(to - from) as usize {
                let rows = window.starts[index] as usize..window.starts[index + 1] as usize;
                let id = (from + index as u64) as u32;
                if !self.mixed.is_empty()
                    && let Some(mixed) = self.mixed.get(&id)
                {
                    let floats: Vec<(u32, i64, f64)> = rows
                        .map(|row| (window.rows[row], window.times[row], window.values[row]))
                        .collect();
                    visit(id, SeriesRows::Any(&mixed.join(&floats).into_ordered()))?;
                    continue;
                }
                if rows.is_empty() {
                    continue;
                }
                let (times, values) = (&window.times[rows.clone()], &window.values[rows]);
                if times.is_sorted_by(|a, b| a < b) {
                    visit(id, SeriesRows::Floats(times, values))?;
                } else {
                    let (times, values) = ordered(times, values, &mut scratch);
                    visit(id, SeriesRows::Floats(times, values))?;
                }
            }
            active.retain_mut(|piece| {
                piece.first = piece.first.max(to);
                piece.first < piece.end
            });
        }
    }

    /// By first id.
    fn pieces(&self) -> Vec<Piece<'_>> {
        let blocks = self
            .full
            .iter()
            .map(|block| (block.base, &block.runs, &block.values[..]));
        let open = (self.open.base, &self.open.runs, &self.open.values[..]);
        let mut pieces = Vec::new();
        for (base, runs, values) in blocks.chain([open]) {
            for (index, run) in runs.ids.iter().enumerate() {
                pieces.push(Piece {
                    first: u64::from(run.id),
                    end: runs.id_end(index),
                    order: (base, index as u32),
                    rows: Some((runs, values, base)),
                });
            }
        }
        for id in self.mixed.keys() {
            pieces.push(Piece {
                first: u64::from(*id),
                end: u64::from(*id) + 1,
                order: (u32::MAX, *id),
                rows: None,
            });
        }
        pieces.sort_unstable_by_key(|piece| (piece.first, piece.order));
        pieces
    }
}

impl Window {
    /// Takes the rows of the ids `from..to`. The pieces are in the order of writing.
    fn fill(&mut self, from: u64, to: u64, pieces: &[Piece<'_>], with_rows: bool) {
        let ids = (to - from) as usize;
        self.starts.clear();
        self.starts.resize(ids + 1, 0);
        let clip = |piece: &Piece<'_>| {
            let (first, end) = (piece.first.max(from), piece.end.min(to));
            ((first - from) as usize, (end - from) as usize)
        };
        for piece in pieces {
            let Some((runs, _, _)) = piece.rows else {
                continue;
            };
            let run = piece.order.1 as usize;
            let (first, end) = clip(piece);
            let rows = match runs.ids[run].step {
                0 => runs.ids_end(run) - runs.ids[run].row,
                _ => 1,
            };
            self.starts[first + 1..=end]
                .iter_mut()
                .for_each(|count| *count += rows);
        }
        let mut sum = 0;
        for start in &mut self.starts {
            sum += *start;
            *start = sum;
        }
        self.times.resize(sum as usize, 0);
        self.values.resize(sum as usize, 0.0);
        self.rows
            .resize(if with_rows { sum as usize } else { 0 }, 0);
        for piece in pieces {
            let Some((runs, values, base)) = piece.rows else {
                continue;
            };
            let run = piece.order.1 as usize;
            let (first, end) = clip(piece);
            let start = runs.ids[run];
            let mut put = |index: usize, row: u32, at: i64| {
                let place = self.starts[index] as usize;
                self.starts[index] += 1;
                self.times[place] = at;
                self.values[place] = values[row as usize];
                if with_rows {
                    self.rows[place] = base + row;
                }
            };
            if start.step == 0 {
                let rows = start.row..runs.ids_end(run);
                let times = runs.times_from(start.row);
                rows.zip(times).for_each(|(row, at)| put(first, row, at));
            } else {
                let row = start.row + (first as u64 + from - u64::from(start.id)) as u32;
                let times = (row..).zip(runs.times_from(row));
                let indices = first..end;
                indices
                    .zip(times)
                    .for_each(|(index, (row, at))| put(index, row, at));
            }
        }
        // Each start has moved to the end of its rows: back.
        self.starts.rotate_right(1);
        self.starts[0] = 0;
    }
}

/// By time; of equal times the one written last.
fn ordered<'a>(
    times: &[i64],
    values: &[f64],
    (order, sorted_times, sorted_values): &'a mut (Vec<u32>, Vec<i64>, Vec<f64>),
) -> (&'a [i64], &'a [f64]) {
    order.clear();
    order.extend(0..times.len() as u32);
    // Stable: equal times stay in the order in which they were written.
    order.sort_by_key(|index| times[*index as usize]);
    sorted_times.clear();
    sorted_values.clear();
    for index in order.iter().map(|index| *index as usize) {
        if sorted_times.last() == Some(&times[index]) {
            sorted_times.pop();
            sorted_values.pop();
        }
        sorted_times.push(times[index]);
        sorted_values.push(values[index]);
    }
    (sorted_times, sorted_values)
}
