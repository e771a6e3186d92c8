//! How many samples a query looks at and reads, in all and, where that is asked for, by step. Counted as Prometheus does:
//!
//! - A sample counts as *looked at* for every step that sees it; as *read*, where a range slides over it, for the first one.
//! - What has the same value at every step is looked at for every step, and read for the first one.
//! - In a subquery that a function takes, what is looked at are the subquery's values. What is read for them counts for
//!   the first step of the query that takes them, and what falls between the ranges of two steps does not count.
//! - A native histogram counts for as many samples as it has room for.

use std::sync::Arc;

use super::Grid;
use super::row::{Row, is_absent};
use crate::histogram;
use crate::limits::{Budget, OverBudget, Weight};
use crate::result::StepSamples;

/// No step of the query takes it.
const NO_STEP: u32 = u32::MAX;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Counts {
    queryable: u64,
    read: u64,
    /// Looked at and read for each step of the query; empty if nobody asks.
    by_step: Vec<(u64, u64)>,
    place: Place,
}

/// Where in the query something is evaluated.
#[derive(Clone, Debug, Default)]
pub(super) struct Place {
    steps: Steps,
    /// In a subquery that a function takes.
    only_read: bool,
}

/// Which steps of the query those of the grid at hand count for.
#[derive(Clone, Debug, Default)]
enum Steps {
    /// They are the query's.
    #[default]
    Own,
    /// All of them for this one, or [`NO_STEP`].
    One(u32),
    /// Each for this one, or [`NO_STEP`].
    Each(Arc<[u32]>),
}

impl Steps {
    fn of(&self, step: usize) -> u32 {
        match self {
            Steps::Own => step as u32,
            Steps::One(to) => *to,
            Steps::Each(to) => to.get(step).copied().unwrap_or(NO_STEP),
        }
    }
}

/// A subquery, and when its values are taken.
pub(super) struct Taken {
    /// The steps that it is looked at from.
    pub(super) outer: Grid,
    /// Its own.
    pub(super) inner: Grid,
    pub(super) range_ms: i64,
    pub(super) offset_ms: i64,
    /// All steps look at the same of it.
    pub(super) fixed: bool,
}

impl Counts {
    /// What a query of so many steps needs to count them apart, on so many threads.
    pub(super) fn by_step(
        steps: usize,
        threads: usize,
        budget: &Budget,
    ) -> Result<Self, OverBudget> {
        let bytes = size_of::<(u64, u64)>().saturating_mul(steps);
        budget.take(Weight::bytes(bytes.saturating_mul(threads + 1)))?;
        Ok(Counts {
            by_step: vec![(0, 0); steps],
            ..Counts::default()
        })
    }

    /// For another thread, to be given back to [`Counts::add_all_of`].
    pub(super) fn sibling(&self) -> Self {
        Counts {
            by_step: vec![(0, 0); self.by_step.len()],
            place: self.place.clone(),
            ..Counts::default()
        }
    }

    pub(super) fn add_all_of(&mut self, sibling: Counts) {
        self.queryable += sibling.queryable;
        self.read += sibling.read;
        for (all, more) in self.by_step.iter_mut().zip(sibling.by_step) {
            *all = (all.0 + more.0, all.1 + more.1);
        }
    }

    /// Whether it matters which step something counts for; if not, [`Counts::add`] may be told of all steps at once.
    pub(super) fn tells_steps(&self) -> bool {
        !self.by_step.is_empty() || matches!(self.place.steps, Steps::Each(_) | Steps::One(NO_STEP))
    }

    /// Counts for a step of the grid at hand.
    pub(super) fn add(&mut self, step: usize, queryable: u64, read: u64) {
        let to = self.place.steps.of(step);
        let queryable = if self.place.only_read { 0 } else { queryable };
        let read = if to == NO_STEP { 0 } else { read };
        self.queryable += queryable;
        self.read += read;
        if let Some(all) = self.by_step.get_mut(to as usize) {
            *all = (all.0 + queryable, all.1 + read);
        }
    }

    /// Counts the samples of a row that came straight from storage, each for its step. A histogram whose time is all that is
    /// wanted is a number there.
    pub(super) fn add_row(&mut self, row: &Row) {
        self.add_newest(&row.floats, row.histograms.as_deref().unwrap_or_default());
    }

    /// The same of a row in parts.
    pub(super) fn add_newest(
        &mut self,
        floats: &[f64],
        histograms: &[Option<Arc<model::Histogram>>],
    ) {
        for (step, _) in floats.iter().enumerate().filter(|(_, v)| !is_absent(**v)) {
            self.add(step, 1, 1);
        }
        for (step, histogram) in histograms.iter().enumerate() {
            if let Some(histogram) = histogram {
                let weight = histogram::weight(histogram);
                self.add(step, weight, weight);
            }
        }
    }

    /// Takes over what was counted apart, at one instant, for something that is the same at so many steps.
    pub(super) fn add_invariant(&mut self, steps: usize, once: &Counts) {
        self.add(0, 0, once.read);
        if !self.tells_steps() {
            self.add(0, once.queryable * steps as u64, 0);
            return;
        }
        for step in 0..steps {
            self.add(step, once.queryable, 0);
        }
    }

    /// Goes into a subquery that is all that there is; gives the place to go back to.
    pub(super) fn enter_whole(&mut self) -> Place {
        let to = self.place.steps.of(0);
        let inside = Place {
            steps: Steps::One(to),
            only_read: self.place.only_read,
        };
        std::mem::replace(&mut self.place, inside)
    }

    /// Goes into a subquery that a function takes; gives the place to go back to, and what it holds.
    pub(super) fn enter(
        &mut self,
        taken: &Taken,
        budget: &Budget,
    ) -> Result<(Place, Weight), OverBudget> {
        let all_alike = match &self.place.steps {
            Steps::One(_) => true,
            Steps::Own => self.by_step.is_empty(),
            Steps::Each(_) => false,
        };
        let gaps = taken.outer.len > 1 && taken.outer.step > taken.range_ms;
        let mut held = Weight::default();
        let steps = if taken.fixed || taken.outer.len <= 1 || all_alike && !gaps {
            Steps::One(self.place.steps.of(0))
        } else {
            held = Weight::bytes(size_of::<u32>().saturating_mul(taken.inner.len));
            budget.take(held)?;
            let each = (0..taken.inner.len).map(|step| match taken.first_outer(step) {
                Some(outer) => self.place.steps.of(outer),
                None => NO_STEP,
            });
            Steps::Each(each.collect())
        };
        let inside = Place {
            steps,
            only_read: true,
        };
        Ok((std::mem::replace(&mut self.place, inside), held))
    }

    pub(super) fn go_back(&mut self, place: Place) {
        self.place = place;
    }

    /// Looked at, read, and both for each step of the query.
    pub(super) fn into_parts(self, grid: Grid) -> (u64, u64, Vec<StepSamples>) {
        let steps = self.by_step.into_iter().enumerate();
        let steps = steps.map(|(step, (queryable, read))| StepSamples {
            at: model::Timestamp::from_millis(grid.time(step)),
            queryable,
            read,
        });
        (self.queryable, self.read, steps.collect())
    }
}

impl Taken {
    /// The first outer step that takes the value at an inner one.
    fn first_outer(&self, step: usize) -> Option<usize> {
        let at = self.inner.time(step).saturating_add(self.offset_ms);
        let behind = at.saturating_sub(self.outer.start).max(0);
        let outer = behind / self.outer.step + i64::from(behind % self.outer.step > 0);
        let outer = usize::try_from(outer).ok()?.min(self.outer.len - 1);
        let after = self.outer.time(outer).saturating_sub(self.range_ms);
        (at > after).then_some(outer)
    }
}
