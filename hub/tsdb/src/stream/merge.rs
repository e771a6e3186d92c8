//! The samples of one series after the other, from all that holds some.
//!
//! Nearly always the columns of a series follow each other in time and are plain numbers: then their values are decoded
//! one behind the other and that is the answer. Times are not copied either where they are those of the series
//! before, as with all series of a target. What is left, rewritten samples, deletions, histograms, start timestamps,
//! goes through [`Rows`], whose rule is that the later write wins.

use std::{mem::take, ops::Range};

use super::{
    FoundSeries,
    view::{SeriesView, ValuesView},
};
use crate::{
    head::Window,
    part::{PartCursor, PartError, TimesKey},
    rows::Rows,
    types::{Column, NO_START, TimeRange, Wanted},
};

/// Why a series could not be read.
pub(super) enum Failed {
    TooManySamples,
    /// Of the part with this index.
    Part(usize, PartError),
}

/// One thread's reading. Places must rise.
pub(super) struct Merge<'f> {
    found: &'f FoundSeries<'f>,
    cursors: Vec<PartCursor<'f>>,
    /// One for each view.
    windows: Vec<Window>,
    plain: Plain,
    rows: Rows,
    column: Rows,
}

/// A column that was looked at, so that the same times in the next series need no second look.
#[derive(PartialEq)]
struct Piece {
    /// Which times: of which part, which column of times in it, from where on in what is shown.
    times: (usize, TimesKey, usize),
    /// Its rows in the range, and how many come after them.
    rows: Range<usize>,
    after: usize,
}

/// Numbers whose times rise from column to column.
#[derive(Default)]
struct Plain {
    times: Vec<i64>,
    /// What the times are made of; so far, and behind that what is left of the series before.
    pieces: Vec<Piece>,
    pieces_len: usize,
    /// Samples so far. More times than that are those of the series before.
    len: usize,
    /// So far the times are those of the series shown last.
    same_times: bool,
    values: Vec<f64>,
    /// Values before the first that counts.
    skip: usize,
    /// Windows that are in it.
    windows: usize,
}

impl Plain {
    fn start(&mut self, before_is_shown: bool) {
        (self.len, self.skip, self.windows, self.pieces_len) = (0, 0, 0, 0);
        self.same_times = before_is_shown;
        self.values.clear();
    }

    /// What the series before had at this place, if it is the same column of times.
    fn piece(&self, times: (usize, TimesKey, usize)) -> Option<&Piece> {
        let piece = self.pieces.get(self.pieces_len)?;
        (self.same_times && piece.times == times).then_some(piece)
    }

    fn push_piece(&mut self, piece: Piece) {
        if !self.same_times {
            self.pieces.truncate(self.pieces_len);
        }
        match self.pieces.get_mut(self.pieces_len) {
            Some(before) => *before = piece,
            None => self.pieces.push(piece),
        }
    }

    fn goes_on_with(&self, times: &[i64]) -> bool {
        let last = self.len.checked_sub(1).map(|last| self.times[last]);
        last.is_none_or(|last| times.first().is_none_or(|first| last < *first))
    }

    /// Adds times; their values are to follow.
    fn push_times(&mut self, times: &[i64]) {
        let end = self.len + times.len();
        if !self.same_times || self.times.get(self.len..end) != Some(times) {
            self.same_times = false;
            self.times.truncate(self.len);
            self.times.extend_from_slice(times);
        }
        self.len = end;
    }

    /// Takes what is there as rows.
    fn rows(&self) -> Rows {
        let times = self.times[..self.len].to_vec();
        let values = self.values[self.skip..self.skip + self.len].to_vec();
        Rows::from_columns(times, Column::Floats(values), Vec::new())
    }
}

/// Rows `from..to` of rising times lie in the range.
fn within(times: &[i64], range: TimeRange) -> Range<usize> {
    let (start, end) = (range.start.millis(), range.end.millis());
    let from = match times.first() {
        Some(first) if *first >= start => 0,
        _ => times.partition_point(|at| *at < start),
    };
    let to = match times.last() {
        Some(last) if *last <= end => times.len(),
        _ => times.partition_point(|at| *at <= end),
    };
    from..to.max(from)
}

impl<'f> Merge<'f> {
    pub(super) fn new(found: &'f FoundSeries<'f>) -> Self {
        let parts = found.parts.iter();
        let cursors = parts.map(|(part, _)| PartCursor::new(part, found.range));
        let windows = found.views.iter().map(|_| Window::default());
        Self {
            found,
            cursors: cursors.collect(),
            windows: windows.collect(),
            plain: Plain::default(),
            rows: Rows::default(),
            column: Rows::default(),
        }
    }

    /// To be called before the series at these places are read.
    pub(super) fn fill_windows(&mut self, places: Range<usize>) {
        for (view, window) in self.found.views.iter().zip(&mut self.windows) {
            window.fill(view, &self.found.ids, places.clone(), self.found.range);
        }
    }

    /// The samples of the series at a place, if it has any.
    pub(super) fn series(&mut self, place: usize) -> Result<Option<SeriesView<'_>>, Failed> {
        let is_plain = self.merge_plain(place)?;
        if !is_plain {
            self.merge_rows(place)?;
            // The times of the series before are no longer those shown last.
            self.plain.times.clear();
            return Ok(self.rows_view());
        }
        let plain = &mut self.plain;
        // Of times that are cut off below, nothing is known any more.
        plain.pieces.truncate(plain.pieces_len);
        if plain.len == 0 {
            return Ok(None);
        }
        let same_times = plain.same_times && plain.times.len() == plain.len;
        plain.times.truncate(plain.len);
        Ok(Some(SeriesView {
            times: &plain.times,
            same_times,
            values: ValuesView::Floats(&plain.values[plain.skip..plain.skip + plain.len]),
            starts: &[],
        }))
    }

    fn check(&self, samples: usize) -> Result<(), Failed> {
        match samples as u64 > self.found.samples_max {
            true => Err(Failed::TooManySamples),
            false => Ok(()),
        }
    }

    /// Joins columns of numbers for as long as they follow each other in time. False: what is left has to be merged as
    /// rows, after what `plain` has got.
    fn merge_plain(&mut self, place: usize) -> Result<bool, Failed> {
        let (found, id) = (self.found, self.found.ids[place]);
        let before_is_shown = !self.plain.times.is_empty();
        self.plain.start(before_is_shown);
        for index in 0..self.cursors.len() {
            let failed = |error| Failed::Part(index, error);
            let deletions = &found.parts[index].1;
            while self.cursors[index].seek(id).map_err(failed)? {
                self.check(self.plain.len + self.cursors[index].rows())?;
                let cursor = &mut self.cursors[index];
                if !cursor.is_plain() || deletions.concern(id) {
                    return Ok(false);
                }
                let plain = &mut self.plain;
                let (first, key) = (plain.len == 0, (index, cursor.times_key(), plain.len));
                let (rows, after) = match plain.piece(key) {
                    Some(piece) => {
                        let (rows, after) = (piece.rows.clone(), piece.after);
                        plain.len += rows.len();
                        (rows, after)
                    }
                    None => {
                        let times = cursor.times().map_err(failed)?;
                        let rows = within(times, found.range);
                        let after = times.len() - rows.end;
                        let times = &times[rows.clone()];
                        if !plain.goes_on_with(times) {
                            return Ok(false);
                        }
                        if !rows.is_empty() {
                            plain.push_times(times);
                        }
                        plain.push_piece(Piece {
                            times: key,
                            rows: rows.clone(),
                            after,
                        });
                        (rows, after)
                    }
                };
                plain.pieces_len += 1;
                if rows.is_empty() {
                    cursor.pass();
                    continue;
                }
                let start = plain.values.len();
                let any_number = found.wanted == Wanted::Times;
                let read = cursor.numbers_to(any_number, &mut plain.values);
                read.map_err(failed)?;
                plain.values.truncate(plain.values.len() - after);
                if first {
                    plain.skip = rows.start;
                } else {
                    plain.values.drain(start..start + rows.start);
                }
            }
        }
        for (view, window) in found.views.iter().zip(&self.windows) {
            let Some((times, values)) = window.numbers(view, place) else {
                return Ok(false);
            };
            if !self.plain.goes_on_with(times) {
                return Ok(false);
            }
            if !times.is_empty() {
                self.check(self.plain.len + times.len())?;
                self.plain.push_times(times);
                self.plain.values.extend_from_slice(values);
            }
            self.plain.windows += 1;
        }
        Ok(true)
    }

    /// Merges what is left into what `plain` has got.
    fn merge_rows(&mut self, place: usize) -> Result<(), Failed> {
        let (found, id) = (self.found, self.found.ids[place]);
        self.rows = self.plain.rows();
        let mut from_parts = self.rows.len();
        for index in 0..self.cursors.len() {
            let failed = |error| Failed::Part(index, error);
            let deletions = &found.parts[index].1;
            while self.cursors[index].seek(id).map_err(failed)? {
                from_parts += self.cursors[index].rows();
                self.check(from_parts)?;
                self.column.clear();
                let read = self.cursors[index].append_to(&mut self.column);
                read.map_err(failed)?;
                self.column.keep_within(found.range);
                match deletions.left_of(id, &self.column) {
                    Some(left) => self.rows.overwrite_with(left),
                    None => self.rows.overwrite_with(take(&mut self.column)),
                }
            }
        }
        let windows = found.views.iter().zip(&self.windows);
        for (view, window) in windows.skip(self.plain.windows) {
            let newer = window.series(view, place, found.range);
            self.check(from_parts + newer.len())?;
            self.rows.overwrite_with(newer);
        }
        self.rows.values = take(&mut self.rows.values).normalised();
        Ok(())
    }

    fn rows_view(&self) -> Option<SeriesView<'_>> {
        let rows = &self.rows;
        if rows.is_empty() {
            return None;
        }
        let starts = match rows.starts.iter().any(|start| *start != NO_START) {
            true => &rows.starts[..],
            false => &[],
        };
        Some(SeriesView {
            times: &rows.times,
            same_times: false,
            values: match &rows.values {
                Column::Floats(values) => ValuesView::Floats(values),
                Column::Mixed(values) => ValuesView::Mixed(values),
            },
            starts,
        })
    }
}
