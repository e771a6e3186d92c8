//! Aggregations of numbers straight from storage: each series is folded into its group while it is read, stretch by
//! stretch on several threads, and what the stretches come to is joined in their order. Memory grows with groups and
//! steps, not with series.
//!
//! Which stretch a series is in is its own affair ([`crate::storage::SeriesSet::stretch`]), and a series without a value
//! changes nothing: so the value at a step depends on what there is at that step alone, bit for bit, however long
//! the range is that was asked for, and on however many threads.
//!
//! Native histograms do not join this way without changing what rounding gives: where one turns up, the aggregation is
//! done again, row by row. What it then says of steps with numbers only is what was found here.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::Ordering;

use model::{LabelSet, METRIC_NAME};

use super::chunks::whole_stretches;
use super::leaf::{Leaf, Scratch};
use super::numbers;
use super::row::{ABSENT, Row, is_absent, is_metric_label};
use super::{Eval, Evaluator};
use crate::ast::{Aggregate, AggregateOp};
use crate::kahan::{Mean, Sum};
use crate::storage::{Groups, NO_GROUP};

/// What groups have gathered, step by step of one group after the other.
enum Cells {
    Counts(Vec<f64>),
    /// [`ABSENT`] where nothing was gathered; so with the extremes.
    Sums(Vec<Sum>),
    Means(Vec<Mean>),
    Least(Vec<f64>),
    Greatest(Vec<f64>),
    Variances(Vec<Variance>),
    Values(Vec<Vec<f64>>),
}

/// Count, mean and sum of squared distances.
#[derive(Clone, Copy, Default)]
struct Variance {
    count: f64,
    mean: f64,
    squares: f64,
}

impl Variance {
    fn add(&mut self, value: f64) {
        self.count += 1.0;
        if self.count == 1.0 {
            self.mean = value;
            self.squares = if value.is_finite() { 0.0 } else { f64::NAN };
            return;
        }
        let delta = value - self.mean;
        self.mean += delta / self.count;
        self.squares += delta * (value - self.mean);
    }

    fn join(&mut self, later: Self) {
        if self.count == 0.0 || later.count == 0.0 {
            if self.count == 0.0 {
                *self = later;
            }
            return;
        }
        let count = self.count + later.count;
        let delta = later.mean - self.mean;
        self.squares += later.squares + delta * delta * (self.count * later.count / count);
        self.mean += delta * (later.count / count);
        self.count = count;
    }
}

impl Cells {
    fn new(op: AggregateOp) -> Option<Self> {
        Some(match op {
            AggregateOp::Count | AggregateOp::Group => Cells::Counts(Vec::new()),
            AggregateOp::Sum => Cells::Sums(Vec::new()),
            AggregateOp::Avg => Cells::Means(Vec::new()),
            AggregateOp::Min => Cells::Least(Vec::new()),
            AggregateOp::Max => Cells::Greatest(Vec::new()),
            AggregateOp::Stddev | AggregateOp::Stdvar => Cells::Variances(Vec::new()),
            AggregateOp::Quantile => Cells::Values(Vec::new()),
            _ => return None,
        })
    }

    /// Room for one more group.
    fn grow(&mut self, steps: usize) {
        fn more<T: Clone>(cells: &mut Vec<T>, steps: usize, empty: T) {
            cells.resize(cells.len() + steps, empty);
        }
        match self {
            Cells::Counts(cells) => more(cells, steps, 0.0),
            Cells::Sums(cells) => more(cells, steps, Sum::new(ABSENT)),
            Cells::Means(cells) => more(cells, steps, Mean::default()),
            Cells::Least(cells) | Cells::Greatest(cells) => more(cells, steps, ABSENT),
            Cells::Variances(cells) => more(cells, steps, Variance::default()),
            Cells::Values(cells) => more(cells, steps, Vec::new()),
        }
    }

    /// Gathers a row.
    fn add(&mut self, group: usize, row: &[f64]) {
        let cells = group * row.len()..(group + 1) * row.len();
        let values = row.iter().copied();
        fn each<T>(
            cells: &mut [T],
            values: impl Iterator<Item = f64>,
            mut add: impl FnMut(&mut T, f64),
        ) {
            for (cell, value) in cells.iter_mut().zip(values) {
                if !is_absent(value) {
                    add(cell, value);
                }
            }
        }
        match self {
            Cells::Counts(counts) => each(&mut counts[cells], values, |count, _| *count += 1.0),
            Cells::Sums(sums) => each(&mut sums[cells], values, |sum, value| {
                *sum = if is_absent(sum.value) {
                    Sum::new(value)
                } else {
                    sum.plus(value)
                };
            }),
            Cells::Means(means) => each(&mut means[cells], values, Mean::add),
            Cells::Least(all) => each(&mut all[cells], values, least),
            Cells::Greatest(all) => each(&mut all[cells], values, greatest),
            Cells::Variances(all) => each(&mut all[cells], values, Variance::add),
            Cells::Values(all) => each(&mut all[cells], values, Vec::push),
        }
    }

    /// Joins what a later stretch has gathered for one group.
    fn join(&mut self, group: usize, later: &mut Self, theirs: usize, steps: usize) {
        fn each<T>(
            (cells, group): (&mut [T], usize),
            (later, theirs): (&mut [T], usize),
            steps: usize,
            mut join: impl FnMut(&mut T, &mut T),
        ) {
            let cells = &mut cells[group * steps..(group + 1) * steps];
            let later = &mut later[theirs * steps..(theirs + 1) * steps];
            for (cell, later) in cells.iter_mut().zip(later) {
                join(cell, later);
            }
        }
        let there = |later: &mut f64| (!is_absent(*later)).then_some(*later);
        match (self, later) {
            (Cells::Counts(cells), Cells::Counts(later)) => {
                each((cells, group), (later, theirs), steps, |a, b| *a += *b);
            }
            (Cells::Sums(cells), Cells::Sums(later)) => {
                each((cells, group), (later, theirs), steps, |a, b| {
                    if is_absent(a.value) {
                        *a = *b;
                    } else if !is_absent(b.value) {
                        *a = a.plus(b.value);
                        if a.value.is_finite() {
                            a.lost += b.lost;
                        }
                    }
                });
            }
            (Cells::Means(cells), Cells::Means(later)) => {
                each((cells, group), (later, theirs), steps, |a, b| a.join(*b));
            }
            (Cells::Least(cells), Cells::Least(later)) => {
                each((cells, group), (later, theirs), steps, |a, b| {
                    there(b).into_iter().for_each(|b| least(a, b));
                });
            }
            (Cells::Greatest(cells), Cells::Greatest(later)) => {
                each((cells, group), (later, theirs), steps, |a, b| {
                    there(b).into_iter().for_each(|b| greatest(a, b));
                });
            }
            (Cells::Variances(cells), Cells::Variances(later)) => {
                each((cells, group), (later, theirs), steps, |a, b| a.join(*b));
            }
            (Cells::Values(cells), Cells::Values(later)) => {
                each((cells, group), (later, theirs), steps, |a, b| a.append(b));
            }
            // Both are of the same operator.
            _ => {}
        }
    }

    /// What comes out of a group at each step; [`ABSENT`] where nothing was gathered.
    fn outcome(&mut self, op: AggregateOp, group: usize, steps: usize, q: &[f64]) -> Vec<f64> {
        let cells = group * steps..(group + 1) * steps;
        let or_absent = |there: bool, value: f64| if there { value } else { ABSENT };
        match self {
            Cells::Counts(counts) => (counts[cells].iter())
                .map(|count| {
                    let value = if op == AggregateOp::Group {
                        1.0
                    } else {
                        *count
                    };
                    or_absent(*count > 0.0, value)
                })
                .collect(),
            Cells::Sums(sums) => (sums[cells].iter())
                .map(|sum| or_absent(!is_absent(sum.value), sum.total()))
                .collect(),
            Cells::Means(means) => (means[cells].iter())
                .map(|mean| or_absent(!mean.is_empty(), mean.mean()))
                .collect(),
            Cells::Least(all) | Cells::Greatest(all) => all[cells].to_vec(),
            Cells::Variances(all) => (all[cells].iter())
                .map(|all| {
                    let variance = all.squares / all.count;
                    let deviation = op == AggregateOp::Stddev;
                    let value = if deviation { variance.sqrt() } else { variance };
                    or_absent(all.count > 0.0, value)
                })
                .collect(),
            Cells::Values(all) => (all[cells].iter_mut().enumerate())
                .map(|(step, values)| {
                    let q = q.get(step).copied().unwrap_or(f64::NAN);
                    or_absent(!values.is_empty(), numbers::quantile(q, values))
                })
                .collect(),
        }
    }
}

fn least(best: &mut f64, value: f64) {
    // Nothing gathered yet is NaN, too.
    if *best > value || best.is_nan() {
        *best = value;
    }
}

fn greatest(best: &mut f64, value: f64) {
    if *best < value || best.is_nan() {
        *best = value;
    }
}

/// What becomes of an attempt.
pub(super) enum Folded {
    /// The operator does not fold.
    Not,
    /// The answer.
    Rows(Vec<Row>),
    /// There were histograms: what the numbers alone come to, by group.
    Numbers(HashMap<LabelSet, Vec<f64>>),
}

/// What one stretch of series comes to.
struct Partial {
    stretch: u32,
    /// The groups that it has, in the order in which they were met.
    groups: Vec<u32>,
    cells: Cells,
    /// Groups of metric names that do not look like counters and had a value.
    doubted: Vec<u32>,
    /// Of series that may turn out to have the labels of another one.
    labels: Vec<LabelSet>,
    /// Values that are kept one by one.
    kept: u64,
}

impl Partial {
    fn new(stretch: u32, cells: Cells) -> Self {
        Partial {
            stretch,
            groups: Vec::new(),
            cells,
            doubted: Vec::new(),
            labels: Vec::new(),
            kept: 0,
        }
    }
}

/// Numbers groups anew, those that are met only.
#[derive(Default)]
struct Numbers(Vec<u32>);

impl Numbers {
    /// The new number of a group, and whether it is new in `met`.
    fn of(&mut self, group: u32, met: &mut Vec<u32>) -> (usize, bool) {
        let group_at = group as usize;
        if self.0.len() <= group_at {
            self.0.resize(group_at + 1, u32::MAX);
        }
        let known = self.0[group_at];
        if known != u32::MAX {
            return (known as usize, false);
        }
        met.push(group);
        self.0[group_at] = met.len() as u32 - 1;
        (met.len() - 1, true)
    }

    fn forget(&mut self, met: &[u32]) {
        for group in met {
            self.0[*group as usize] = u32::MAX;
        }
    }
}

impl Evaluator<'_> {
    /// Folds a leaf.
    pub(super) fn fold_leaf(
        &mut self,
        aggregate: &Aggregate,
        leaf: &Leaf<'_>,
        quantiles: &[f64],
    ) -> Eval<Folded> {
        let (op, steps) = (aggregate.op, leaf.grid.len);
        let Some(cells) = Cells::new(op) else {
            return Ok(Folded::Not);
        };
        if leaf.set.is_empty() {
            return Ok(Folded::Rows(Vec::new()));
        }
        let watch = self.may_collide(leaf);
        let mut seen: HashSet<LabelSet> = HashSet::new();
        let mut any_histograms = false;
        let groups = self.groups_of(aggregate, leaf);
        // A step of a group takes about as much room as two samples.
        let held = 2 * steps as u64;
        let mut all = Partial::new(0, cells);
        let mut numbers = Numbers::default();
        let (mut attempt, budget) = (self.sibling(), self.budget);
        attempt.in_chunks(
            &whole_stretches(&*leaf.set),
            steps,
            <(Scratch, Numbers)>::default,
            |(scratch, numbers), evaluator, places| {
                let mut partials: Vec<Partial> = Vec::new();
                let mut has_histograms = false;
                let visit =
                    &mut |evaluator: &mut Evaluator<'_>, place: usize, row: &mut Scratch| {
                        has_histograms |= !row.histograms.is_empty();
                        let group = groups.of[place];
                        if group == NO_GROUP {
                            return Ok(());
                        }
                        let stretch = leaf.set.stretch(place);
                        if partials.last().is_none_or(|last| last.stretch != stretch) {
                            if let Some(last) = partials.last() {
                                numbers.forget(&last.groups);
                            }
                            let Some(cells) = Cells::new(op) else {
                                return Err(super::unsupported("aggregation"));
                            };
                            partials.push(Partial::new(stretch, cells));
                        }
                        let Some(partial) = partials.last_mut() else {
                            return Ok(());
                        };
                        let (group, is_new) = numbers.of(group, &mut partial.groups);
                        if is_new {
                            evaluator.budget.take(held)?;
                            partial.cells.grow(steps);
                        }
                        if matches!(partial.cells, Cells::Values(_)) {
                            let kept = row.samples();
                            evaluator.budget.take(kept)?;
                            partial.kept += kept;
                        }
                        partial.cells.add(group, &row.floats);
                        if watch {
                            partial.labels.extend(leaf.row_labels(place, false));
                        }
                        if let Some((names, _)) = &leaf.doubted {
                            let name = names.of[place];
                            if name != NO_GROUP && !partial.doubted.contains(&name) {
                                partial.doubted.push(name);
                            }
                        }
                        Ok(())
                    };
                let result = evaluator.each_series(leaf, places, scratch, visit);
                if let Some(last) = partials.last() {
                    numbers.forget(&last.groups);
                }
                result.map(|()| (partials, has_histograms))
            },
            |_, (partials, has_histograms)| {
                any_histograms |= has_histograms;
                for mut partial in partials {
                    if !partial.labels.into_iter().all(|labels| seen.insert(labels)) {
                        return Err(super::row::same_labels_error());
                    }
                    all.kept += partial.kept;
                    for (theirs, group) in partial.groups.iter().enumerate() {
                        let (group, is_new) = numbers.of(*group, &mut all.groups);
                        if is_new {
                            all.cells.grow(steps);
                        } else {
                            budget.release(held);
                        }
                        all.cells.join(group, &mut partial.cells, theirs, steps);
                    }
                    for name in partial.doubted {
                        if !all.doubted.contains(&name) {
                            all.doubted.push(name);
                        }
                    }
                }
                Ok(())
            },
        )?;
        leaf.holds.store(false, Ordering::Relaxed);
        budget.release(held * all.groups.len() as u64 + all.kept);
        if any_histograms {
            let rows = self.rows_of_cells(aggregate, leaf, &groups, &mut all, quantiles)?;
            let numbers = rows.into_iter().map(|row| (row.labels, row.floats));
            return Ok(Folded::Numbers(numbers.collect()));
        }
        self.take_over(attempt.take_parts());
        self.counts.add_all_of(attempt.counts);
        if let Some((names, span)) = &leaf.doubted {
            for name in &all.doubted {
                self.doubt_counter(&names.labels[*name as usize], &[1.0], *span);
            }
        }
        let rows = self.rows_of_cells(aggregate, leaf, &groups, &mut all, quantiles)?;
        Ok(Folded::Rows(rows))
    }

    /// The rows of all groups, which are held then.
    fn rows_of_cells(
        &mut self,
        aggregate: &Aggregate,
        leaf: &Leaf<'_>,
        groups: &Groups,
        all: &mut Partial,
        quantiles: &[f64],
    ) -> Eval<Vec<Row>> {
        let (op, steps) = (aggregate.op, leaf.grid.len);
        let mut rows = Vec::with_capacity(all.groups.len());
        for (at, group) in all.groups.iter().enumerate() {
            let row = Row {
                drop_name: leaf.drop_name,
                ..Row::of_floats(
                    groups.labels[*group as usize].clone(),
                    all.cells.outcome(op, at, steps, quantiles),
                )
            };
            if !row.is_empty() {
                rows.push(row);
            }
        }
        rows.sort_by(|a, b| a.labels.cmp(&b.labels));
        self.hold(&rows)?;
        Ok(rows)
    }

    fn groups_of(&self, aggregate: &Aggregate, leaf: &Leaf<'_>) -> Groups {
        let without_metric = leaf.drop_name && !self.options.delayed_name_removal;
        let named = |name: &str| aggregate.grouping.iter().any(|label| label == name);
        leaf.set.groups(&|name| {
            if without_metric && is_metric_label(name) {
                false
            } else if aggregate.without {
                name != METRIC_NAME && !named(name)
            } else {
                named(name)
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whatever the stretches, the same comes out as of all values in a row, up to rounding.
    #[test]
    fn joined_is_as_folded_at_once() {
        let values: Vec<f64> = (0..40)
            .map(|i| f64::from(i * 7919 % 101) / 8.0 - 3.0)
            .collect();
        for op in [
            AggregateOp::Count,
            AggregateOp::Group,
            AggregateOp::Sum,
            AggregateOp::Avg,
            AggregateOp::Min,
            AggregateOp::Max,
            AggregateOp::Stddev,
            AggregateOp::Stdvar,
            AggregateOp::Quantile,
        ] {
            let fold = |stretch: &[f64]| {
                let mut cells = Cells::new(op).unwrap();
                cells.grow(2);
                for value in stretch {
                    // The second step has every other value only.
                    let second = if *value > 0.0 { *value } else { ABSENT };
                    cells.add(0, &[*value, second]);
                }
                cells
            };
            let expected = fold(&values).outcome(op, 0, 2, &[0.3, 0.9]);
            for cut in [0, 1, 20, 40] {
                let (first, second) = values.split_at(cut);
                let (mut cells, mut later) = (fold(first), fold(second));
                cells.join(0, &mut later, 0, 2);
                let joined = cells.outcome(op, 0, 2, &[0.3, 0.9]);
                for (joined, expected) in joined.iter().zip(&expected) {
                    assert!(
                        (joined - expected).abs() < 1e-12,
                        "{op:?} {joined} {expected}"
                    );
                }
            }
        }
    }
}
