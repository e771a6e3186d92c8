//! Selectors: series read from storage, and their value at each step.

use std::sync::Arc;

use model::Timestamp;

use super::row::Row;
use super::samples::{drop_buckets, is_stale_at, split};
use super::smoothed::extend;
use super::{Buckets, Eval, Evaluator, Grid, Sink};
use crate::ast::{At, MatrixSelector, RangeMode, VectorSelector};
use crate::result::RangeSeries;
use crate::storage::{Column, Hints, Select, Selection, SeriesColumns, SeriesSet};

/// When a selector looks at samples: at which data time per step.
#[derive(Clone, Copy)]
pub(super) struct When {
    at: Option<i64>,
    offset_ms: i64,
}

impl When {
    pub(super) fn new(at: Option<At>, offset_ms: i64) -> Self {
        let at = match at {
            Some(At::Time(millis)) => Some(millis),
            // Others are times since the preparation.
            _ => None,
        };
        When { at, offset_ms }
    }

    /// The data time at evaluation time `now`.
    pub(super) fn time(self, now: i64) -> i64 {
        self.at.unwrap_or(now).saturating_sub(self.offset_ms)
    }

    /// First and last data time over a grid.
    pub(super) fn bounds(self, grid: Grid) -> (i64, i64) {
        (self.time(grid.start), self.time(grid.end()))
    }
}

impl<'a> Evaluator<'a> {
    /// Reads the series of a selector from storage; both times are included.
    pub(super) fn select(
        &mut self,
        selector: &VectorSelector,
        (from, to): (i64, i64),
        range_ms: i64,
        grid: Grid,
    ) -> Eval<Vec<SeriesColumns>> {
        self.select_matchers(&selector.matchers, (from, to), range_ms, grid)
    }

    pub(super) fn select_matchers(
        &mut self,
        matchers: &[model::Matcher],
        (from, to): (i64, i64),
        range_ms: i64,
        grid: Grid,
    ) -> Eval<Vec<SeriesColumns>> {
        if from > to {
            // A range below a millisecond, or times that no 64 bits hold: nothing lies there.
            return Ok(Vec::new());
        }
        let select = Select {
            matchers,
            start: Timestamp::from_millis(from),
            end: Timestamp::from_millis(to),
            hints: self.hints(range_ms, grid, false),
        };
        let mut selection = self.storage.select(&select, self.budget, self.cancel)?;
        for warning in selection.warnings {
            self.annotations.add_storage_warning(warning);
        }
        self.stats.series_read += selection.series.len() as u64;
        for series in &selection.series {
            self.stats.histograms_read |= matches!(series.values, Column::Mixed(_));
        }
        if self.buckets == Buckets::Dropped {
            for series in &mut selection.series {
                let before = series.values.weight();
                drop_buckets(&mut series.values);
                let after = series.values.weight();
                self.budget.release(before.saturating_sub(after));
            }
        }
        Ok(selection.series)
    }

    /// Finds the series of a selector; both times are included.
    pub(super) fn open(
        &mut self,
        matchers: &[model::Matcher],
        (from, to): (i64, i64),
        range_ms: i64,
        grid: Grid,
        times_only: bool,
    ) -> Eval<Box<dyn SeriesSet + 'a>> {
        if from > to {
            // A range below a millisecond, or times that no 64 bits hold: nothing lies there.
            return Ok(Box::new(Selection::default()));
        }
        let select = Select {
            matchers,
            start: Timestamp::from_millis(from),
            end: Timestamp::from_millis(to),
            hints: self.hints(range_ms, grid, times_only),
        };
        let set = self.storage.open(&select, self.budget, self.cancel)?;
        for warning in set.warnings() {
            self.annotations.add_storage_warning(warning.clone());
        }
        Ok(set)
    }

    fn hints(&self, range_ms: i64, grid: Grid, times_only: bool) -> Hints<'_> {
        Hints {
            step_ms: if grid.len > 1 { grid.step } else { 0 },
            range_ms,
            function: self.around.function,
            grouping: &self.around.grouping,
            by: self.around.by,
            times_only,
        }
    }

    /// For each series and step with a sample, calls `put` with the sample's index.
    pub(super) fn newest(
        &mut self,
        selector: &VectorSelector,
        when: When,
        grid: Grid,
        put: impl FnMut(&mut Row, usize, &SeriesColumns, usize),
    ) -> Eval<Vec<Row>> {
        self.newest_of(&selector.matchers, when, grid, put)
    }

    pub(super) fn newest_of(
        &mut self,
        matchers: &[model::Matcher],
        when: When,
        grid: Grid,
        put: impl FnMut(&mut Row, usize, &SeriesColumns, usize),
    ) -> Eval<Vec<Row>> {
        let mut rows = Vec::new();
        self.each_newest(matchers, when, grid, put, &mut |evaluator, row| {
            evaluator.budget.take(row.weight())?;
            rows.push(row);
            Ok(())
        })?;
        Ok(rows)
    }

    fn each_newest(
        &mut self,
        matchers: &[model::Matcher],
        when: When,
        grid: Grid,
        mut put: impl FnMut(&mut Row, usize, &SeriesColumns, usize),
        sink: &mut Sink<'_>,
    ) -> Eval<()> {
        let (first, last) = when.bounds(grid);
        let from = first.saturating_sub(self.lookback_ms).saturating_add(1);
        let selected = self.select_matchers(matchers, (from, last), 0, grid)?;
        for series in selected {
            self.cancel.check()?;
            let mut row = Row::empty(series.labels.clone(), grid.len);
            let mut any = false;
            let times = &series.timestamps;
            super::leaf::each_newest(grid, when, self.lookback_ms, times, |step, at| {
                if !is_stale_at(&series.values, at) {
                    put(&mut row, step, &series, at);
                    any = true;
                }
            });
            self.budget.release(series.values.weight());
            drop(series);
            if any {
                sink(self, row)?;
            }
        }
        Ok(())
    }

    /// The samples of a range as the answer to a query.
    pub(super) fn matrix_selector(
        &mut self,
        matrix: &MatrixSelector,
        grid: Grid,
    ) -> Eval<Vec<RangeSeries>> {
        let selector = &matrix.selector;
        let end = When::new(selector.at, selector.offset.millis()).time(grid.start);
        let start = end.saturating_sub(matrix.range.millis());
        let (from, to) = self.reach(selector.mode, start, end);
        let selected = self.select(selector, (from, to), matrix.range.millis(), grid)?;
        let mut result = Vec::with_capacity(selected.len());
        for mut samples in selected.into_iter().map(split) {
            if selector.mode != RangeMode::Plain {
                let smoothed = selector.mode == RangeMode::Smoothed;
                if !samples.histograms.times.is_empty() {
                    let name = if smoothed { "smoothed" } else { "anchored" };
                    return Err(super::execution(format!(
                        "{name} modifier is not supported with histograms"
                    )));
                }
                samples.floats = extend(&samples.floats, start, end, smoothed);
            }
            let at = |t: &i64| Timestamp::from_millis(*t);
            let (floats, histograms) = (&samples.floats, &samples.histograms);
            let weight = samples.weight();
            self.counts.add(0, weight, weight);
            result.push(RangeSeries {
                labels: samples.labels.clone(),
                floats: floats
                    .times
                    .iter()
                    .zip(&floats.values)
                    .map(|(t, v)| (at(t), *v))
                    .collect(),
                histograms: histograms
                    .times
                    .iter()
                    .zip(&histograms.values)
                    .map(|(t, h)| (at(t), Arc::clone(h)))
                    .collect(),
            });
        }
        Ok(result)
    }

    /// The times, both included, that a range `(start, end]` needs samples of.
    pub(super) fn reach(&self, mode: RangeMode, start: i64, end: i64) -> (i64, i64) {
        let (before, after) = match mode {
            RangeMode::Plain => (0, 0),
            RangeMode::Anchored => (self.lookback_ms, 0),
            RangeMode::Smoothed => (self.lookback_ms, self.lookback_ms),
        };
        (
            start.saturating_sub(before).saturating_add(1),
            end.saturating_add(after),
        )
    }
}
