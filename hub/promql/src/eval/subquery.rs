//! Subqueries: an expression over a grid of its own, its values taken as samples.

use std::sync::Arc;

use model::{Histogram, ResetHint};

use super::counts::Taken;
use super::row::{Row, is_absent};
use super::samples::{Run, Samples};
use super::selector::When;
use super::{Buckets, Eval, Evaluator, Grid};
use crate::ast::Subquery;
use crate::result::RangeSeries;

/// Steps that one subquery may have.
const STEPS_MAX: i64 = 10_000_000;

impl Evaluator<'_> {
    /// The grid of a subquery that is looked at from every step of `outer`: multiples of its step, however the
    /// outer grid lies.
    fn subquery_grid(&self, subquery: &Subquery, outer: Grid) -> Eval<Grid> {
        let when = When::new(subquery.at, subquery.offset.millis());
        let (first, last) = when.bounds(outer);
        let mut step = subquery.step.millis();
        if subquery.step.is_zero() {
            step = i64::try_from(self.options.subquery_step.as_millis()).unwrap_or(i64::MAX);
        }
        let step = step.max(1);
        let behind = first.saturating_sub(subquery.range.millis());
        // The first multiple of the step after the start, which is left open.
        let mut start = (behind / step).saturating_mul(step);
        if start <= behind {
            start = start.saturating_add(step);
        }
        if last < start {
            return Ok(Grid::new(start, step, 0));
        }
        let steps = last.saturating_sub(start) / step;
        if steps >= STEPS_MAX {
            return Err(super::execution(format!(
                "a subquery has at most {STEPS_MAX} steps: give it a longer step or a shorter range"
            )));
        }
        Ok(Grid::new(start, step, steps as usize + 1))
    }

    /// The values of a subquery as samples that windows slide over.
    pub(super) fn subquery_samples(
        &mut self,
        subquery: &Subquery,
        outer: Grid,
    ) -> Eval<Vec<Samples>> {
        let grid = self.subquery_grid(subquery, outer)?;
        let taken = Taken {
            outer,
            inner: grid,
            range_ms: subquery.range.millis(),
            offset_ms: subquery.offset.millis(),
            fixed: subquery.at.is_some(),
        };
        let (place, held) = self.counts.enter(&taken, self.budget)?;
        // Its steps leave out samples: resets have to be found again, by the buckets.
        let buckets = std::mem::replace(&mut self.buckets, Buckets::Needed);
        let rows = self.vector(&subquery.expr, grid);
        self.counts.go_back(place);
        self.budget.release(held);
        self.buckets = buckets;
        let rows = rows?;
        Ok(rows.into_iter().map(|row| samples_of(row, grid)).collect())
    }

    /// A subquery that is the whole query.
    pub(super) fn whole_subquery(
        &mut self,
        subquery: &Subquery,
        outer: Grid,
    ) -> Eval<Vec<RangeSeries>> {
        let grid = self.subquery_grid(subquery, outer)?;
        if grid.len == 0 {
            return Ok(Vec::new());
        }
        let place = self.counts.enter_whole();
        let rows = self.whole(&subquery.expr, grid);
        self.counts.go_back(place);
        let rows = rows?;
        Ok(rows.into_iter().map(|row| row.into_points(grid)).collect())
    }
}

fn samples_of(row: Row, grid: Grid) -> Samples {
    let mut floats = Run::default();
    for (step, value) in row
        .floats
        .iter()
        .enumerate()
        .filter(|(_, v)| !is_absent(**v))
    {
        floats.times.push(grid.time(step));
        floats.values.push(*value);
    }
    let mut histograms = Run::default();
    for (step, histogram) in row.histograms.into_iter().flatten().enumerate() {
        if let Some(histogram) = histogram {
            histograms.times.push(grid.time(step));
            histograms.values.push(without_reset_hint(histogram));
        }
    }
    Samples {
        labels: row.labels,
        drop_name: row.drop_name,
        floats,
        histograms,
    }
}

/// The steps of a subquery leave out samples or take one twice, so that what a hint says of neighbours may be wrong.
fn without_reset_hint(histogram: Arc<Histogram>) -> Arc<Histogram> {
    match histogram.reset_hint {
        ResetHint::Reset | ResetHint::NotReset => Arc::new(Histogram {
            reset_hint: ResetHint::Unknown,
            ..Histogram::clone(&histogram)
        }),
        ResetHint::Unknown | ResetHint::Gauge => histogram,
    }
}
