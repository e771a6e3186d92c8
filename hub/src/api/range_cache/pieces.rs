//! Stretches of an answer: cut where steps begin and end, and put together again.

use std::ops::Range;

use model::Timestamp;
use promql::{RangeSeries, StepReach, Weight};
use tsdb::TimeRange;

/// The steps of all range queries that have one step and may share what they come to: step `k` is at `phase + k * step`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Grid {
    pub(super) step_ms: i64,
    /// From 0 up to the step.
    pub(super) phase_ms: i64,
}

impl Grid {
    /// The grid of a query that begins here, and the number of its first step.
    pub(super) fn from(start_ms: i64, step_ms: i64) -> (Self, i64) {
        let phase_ms = start_ms.rem_euclid(step_ms);
        let grid = Grid { step_ms, phase_ms };
        (grid, start_ms.div_euclid(step_ms))
    }

    pub(super) fn time(self, step: i64) -> i64 {
        let since = step.saturating_mul(self.step_ms);
        since.saturating_add(self.phase_ms)
    }

    /// The last step that is not later.
    pub(super) fn last_until(self, ms: i64) -> i64 {
        ms.saturating_sub(self.phase_ms).div_euclid(self.step_ms)
    }

    /// The first step that is not earlier.
    pub(super) fn first_from(self, ms: i64) -> i64 {
        self.last_until(ms.saturating_sub(1)) + 1
    }

    /// The steps that depend on samples of these times.
    pub(super) fn touched(self, times: &TimeRange, reach: StepReach) -> Range<i64> {
        let first = times.start.millis().saturating_sub(reach.after_ms);
        let last = times.end.millis().saturating_add(reach.before_ms);
        self.first_from(first)..self.last_until(last) + 1
    }

    /// The times of the samples that these steps depend on.
    pub(super) fn reach(self, steps: &Range<i64>, reach: StepReach) -> TimeRange {
        let first = self.time(steps.start).saturating_sub(reach.before_ms);
        let last = self.time(steps.end - 1).saturating_add(reach.after_ms);
        TimeRange::new(Timestamp::from_millis(first), Timestamp::from_millis(last))
    }
}

/// What a query comes to at some steps: numbers only.
#[derive(Debug)]
pub(super) struct Piece {
    pub(super) steps: Range<i64>,
    /// In the order of their labels.
    pub(super) series: Vec<RangeSeries>,
}

impl Piece {
    /// What is there at fewer steps.
    pub(super) fn slice(&self, grid: Grid, steps: Range<i64>) -> Piece {
        Piece::of(&self.series, grid, steps)
    }

    /// What of these series is there at some steps.
    pub(super) fn of(series: &[RangeSeries], grid: Grid, steps: Range<i64>) -> Piece {
        let first = Timestamp::from_millis(grid.time(steps.start));
        let end = Timestamp::from_millis(grid.time(steps.end));
        let within = |series: &RangeSeries| {
            let from = series.floats.partition_point(|(at, _)| *at < first);
            let to = series.floats.partition_point(|(at, _)| *at < end);
            (from < to).then(|| RangeSeries {
                labels: series.labels.clone(),
                floats: series.floats[from..to].to_vec(),
                histograms: Vec::new(),
            })
        };
        Piece {
            series: series.iter().filter_map(within).collect(),
            steps,
        }
    }

    /// Memory that it takes, about.
    pub(super) fn bytes(&self) -> usize {
        let of = |series: &RangeSeries| {
            size_of::<RangeSeries>()
                + series.labels.as_bytes().len()
                + series.floats.capacity() * size_of::<(Timestamp, f64)>()
        };
        size_of::<Self>() + self.series.iter().map(of).sum::<usize>()
    }
}

/// How much series count as held by a query.
pub(super) fn weight(series: &[RangeSeries]) -> Weight {
    let of = |series: &RangeSeries| {
        let beside = 2 * series.labels.as_bytes().len() + size_of::<RangeSeries>();
        Weight::from(series.floats.len() as u64) + Weight::bytes(beside)
    };
    series.iter().map(of).sum()
}

/// Puts pieces together that follow one another.
pub(super) fn join(pieces: Vec<Piece>) -> Vec<RangeSeries> {
    let mut all: Vec<RangeSeries> = Vec::new();
    let several = pieces.len() > 1;
    all.extend(pieces.into_iter().flat_map(|piece| piece.series));
    if several {
        // Stable: of one series, earlier steps stay before later ones.
        all.sort_by(|a, b| a.labels.cmp(&b.labels));
        all.dedup_by(|later, kept| {
            let same = later.labels == kept.labels;
            if same {
                kept.floats.append(&mut later.floats);
            }
            same
        });
    }
    all
}

/// What is left of `of` without `hole`: what is before, and what is behind.
pub(super) fn without(of: &Range<i64>, hole: &Range<i64>) -> [Range<i64>; 2] {
    if hole.is_empty() {
        return [of.clone(), of.end..of.end];
    }
    let before = of.start..of.end.min(hole.start);
    let behind = of.start.max(hole.end)..of.end;
    [before, behind]
}

pub(super) fn overlap(a: &Range<i64>, b: &Range<i64>) -> Range<i64> {
    a.start.max(b.start)..a.end.min(b.end)
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::LabelSet;

    #[test]
    fn steps_have_numbers_and_times() {
        let (grid, first) = Grid::from(1_007, 100);
        assert_eq!((grid.phase_ms, first, grid.time(first)), (7, 10, 1_007));
        assert_eq!((grid.last_until(1_006), grid.last_until(1_007)), (9, 10));
        assert_eq!((grid.first_from(1_007), grid.first_from(1_008)), (10, 11));
        let (grid, first) = Grid::from(-1_007, 100);
        assert_eq!(grid.time(first), -1_007);
    }

    #[test]
    fn a_sample_touches_the_steps_that_see_it() {
        let (grid, _) = Grid::from(0, 100);
        let reach = StepReach {
            before_ms: 250,
            after_ms: 0,
        };
        let at = |ms| Timestamp::from_millis(ms);
        assert_eq!(
            grid.touched(&TimeRange::new(at(1_000), at(1_001)), reach),
            10..13
        );
        // At 1300, the window begins after 1050.
        assert_eq!(
            grid.touched(&TimeRange::new(at(1_050), at(1_050)), reach),
            11..14
        );
        let range = grid.reach(&(10..13), reach);
        assert_eq!((range.start, range.end), (at(750), at(1_200)));
    }

    #[test]
    fn cut_and_joined_is_the_same() {
        let (grid, _) = Grid::from(0, 100);
        let series = |name: &str, steps: &[i64]| RangeSeries {
            labels: LabelSet::from_pairs([("__name__", name)]).unwrap(),
            floats: (steps.iter())
                .map(|step| (Timestamp::from_millis(grid.time(*step)), *step as f64))
                .collect(),
            histograms: Vec::new(),
        };
        let whole = Piece {
            steps: 0..6,
            series: vec![
                series("a", &[0, 1, 2, 3, 4, 5]),
                series("b", &[4, 5]),
                series("c", &[0]),
            ],
        };
        for cut in 0..=6 {
            let joined = join(vec![whole.slice(grid, 0..cut), whole.slice(grid, cut..6)]);
            assert_eq!(joined, whole.series, "{cut}");
        }
    }

    #[test]
    fn what_is_left_beside_a_hole() {
        let left =
            |hole| without(&(3..8), &hole).map(|range: Range<i64>| range.collect::<Vec<_>>());
        assert_eq!(left(4..6), [vec![3], vec![6, 7]]);
        assert_eq!(left(0..4), [vec![], vec![4, 5, 6, 7]]);
        assert_eq!(left(9..10), [vec![3, 4, 5, 6, 7], vec![]]);
        assert_eq!(left(5..5), [vec![3, 4, 5, 6, 7], vec![]]);
    }
}
