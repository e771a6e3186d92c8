//! Samples of one series as columns, and the rule that decides between two of the same timestamp: the later write wins.

use model::{Sample, Timestamp, Value};

use crate::types::{Column, NO_START, TimeRange};

/// Invariants: `values` is as long as `times`; `starts` is as long or empty (no start at all); `ordered` says that
/// `times` rise strictly; `first` and `last` are the smallest and largest time (meaningless when empty).
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Rows {
    pub(crate) times: Vec<i64>,
    pub(crate) values: Column,
    pub(crate) starts: Vec<i64>,
    pub(crate) ordered: bool,
    pub(crate) first: i64,
    pub(crate) last: i64,
}

impl Default for Rows {
    fn default() -> Self {
        let (times, values, starts) = Default::default();
        Self {
            times,
            values,
            starts,
            ordered: true,
            first: i64::MAX,
            last: i64::MIN,
        }
    }
}

impl Rows {
    pub(crate) fn len(&self) -> usize {
        self.times.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.times.is_empty()
    }

    pub(crate) fn push(&mut self, at: i64, start: i64, value: Value) {
        if start != NO_START && self.starts.is_empty() {
            self.starts = vec![NO_START; self.len()];
        }
        if start != NO_START || !self.starts.is_empty() {
            self.starts.push(start);
        }
        self.ordered &= self.times.is_empty() || at > self.last;
        self.first = self.first.min(at);
        self.last = self.last.max(at);
        self.times.push(at);
        self.values.push(value);
    }

    /// As `push`, for what nearly every sample is.
    pub(crate) fn push_float(&mut self, at: i64, value: f64) {
        match &mut self.values {
            Column::Floats(values) if self.starts.is_empty() => {
                self.ordered &= self.times.is_empty() || at > self.last;
                self.first = self.first.min(at);
                self.last = self.last.max(at);
                self.times.push(at);
                values.push(value);
            }
            _ => self.push(at, NO_START, Value::Float(value)),
        }
    }

    pub(crate) fn push_sample(&mut self, sample: &Sample) {
        let start = sample.start.map_or(NO_START, Timestamp::millis);
        self.push(sample.at.millis(), start, sample.value.clone());
    }

    pub(crate) fn push_from(&mut self, other: &Self, index: usize) {
        if let Some(value) = other.values.get(index) {
            self.push(
                other.times[index],
                other.starts.get(index).copied().unwrap_or(NO_START),
                value,
            );
        }
    }

    /// From columns; `starts` as long as `times`, or empty.
    pub(crate) fn from_columns(times: Vec<i64>, values: Column, starts: Vec<i64>) -> Self {
        debug_assert!(values.len() == times.len());
        debug_assert!(starts.is_empty() || starts.len() == times.len());
        let ordered = times.is_sorted_by(|a, b| a < b);
        let first = times.iter().copied().min().unwrap_or(i64::MAX);
        let last = times.iter().copied().max().unwrap_or(i64::MIN);
        Self {
            times,
            values,
            starts,
            ordered,
            first,
            last,
        }
    }

    /// Adds all rows of another at the end.
    pub(crate) fn extend(&mut self, other: &Self) {
        match (&mut self.values, &other.values) {
            (Column::Floats(values), Column::Floats(more))
                if self.starts.is_empty() && other.starts.is_empty() =>
            {
                values.extend_from_slice(more);
                self.ordered &= other.ordered && (self.times.is_empty() || other.first > self.last);
                self.first = self.first.min(other.first);
                self.last = self.last.max(other.last);
                self.times.extend_from_slice(&other.times);
            }
            _ => (0..other.len()).for_each(|index| self.push_from(other, index)),
        }
    }

    /// The rows of `range`, in the order they are held.
    pub(crate) fn within(&self, range: TimeRange) -> Self {
        if self.is_empty() || !range.overlaps(self.first, self.last) {
            return Self::default();
        }
        if range.contains(self.first) && range.contains(self.last) {
            return self.clone();
        }
        if self.ordered {
            let from = self.times.partition_point(|at| *at < range.start.millis());
            let to = self.times.partition_point(|at| *at <= range.end.millis());
            return self.slice(from, to.max(from));
        }
        let mut kept = Self::default();
        for index in 0..self.len() {
            if range.contains(self.times[index]) {
                kept.push_from(self, index);
            }
        }
        kept
    }

    /// Rows `from..to`.
    pub(crate) fn slice(&self, from: usize, to: usize) -> Self {
        let values = match &self.values {
            Column::Floats(values) => Column::Floats(values[from..to].to_vec()),
            Column::Mixed(values) => Column::Mixed(values[from..to].to_vec()),
        };
        let starts = self
            .starts
            .get(from..to)
            .map(<[i64]>::to_vec)
            .unwrap_or_default();
        Self::from_columns(self.times[from..to].to_vec(), values, starts)
    }

    /// As new, but for the room it has.
    pub(crate) fn clear(&mut self) {
        let Self {
            times,
            values,
            starts,
            ..
        } = &mut *self;
        times.clear();
        starts.clear();
        match values {
            Column::Floats(values) => values.clear(),
            Column::Mixed(_) => *values = Column::default(),
        }
        (self.ordered, self.first, self.last) = (true, i64::MAX, i64::MIN);
    }

    /// Drops the rows outside of `range`; the rows must be ordered.
    pub(crate) fn keep_within(&mut self, range: TimeRange) {
        if range.contains(self.first) && range.contains(self.last) {
            return;
        }
        let from = self.times.partition_point(|at| *at < range.start.millis());
        let to = self.times.partition_point(|at| *at <= range.end.millis());
        fn keep<T>(column: &mut Vec<T>, from: usize, to: usize) {
            column.truncate(to.max(from));
            column.drain(..from.min(column.len()));
        }
        keep(&mut self.times, from, to);
        keep(&mut self.starts, from, to);
        match &mut self.values {
            Column::Floats(values) => keep(values, from, to),
            Column::Mixed(values) => keep(values, from, to),
        }
        self.first = self.times.first().copied().unwrap_or(i64::MAX);
        self.last = self.times.last().copied().unwrap_or(i64::MIN);
    }

    /// Adds rows `from..to` of another at the end; both are ordered, and the other's come later.
    pub(crate) fn extend_later(&mut self, other: &Self, from: usize, to: usize) {
        match (&mut self.values, &other.values) {
            (Column::Floats(values), Column::Floats(more))
                if self.starts.is_empty() && other.starts.is_empty() && from < to =>
            {
                values.extend_from_slice(&more[from..to]);
                self.times.extend_from_slice(&other.times[from..to]);
                self.first = self.first.min(other.times[from]);
                self.last = other.times[to - 1];
            }
            _ => (from..to).for_each(|index| self.push_from(other, index)),
        }
    }

    /// Sorted by time; of equal times the one written last.
    pub(crate) fn into_ordered(self) -> Self {
        if self.ordered {
            return self;
        }
        let mut order: Vec<u32> = (0..self.len() as u32).collect();
        // Stable: equal times stay in the order in which they were written.
        order.sort_by_key(|&index| self.times[index as usize]);
        let mut kept = Self::default();
        for (i, &index) in order.iter().enumerate() {
            let superseded = order
                .get(i + 1)
                .is_some_and(|&next| self.times[next as usize] == self.times[index as usize]);
            if !superseded {
                kept.push_from(&self, index as usize);
            }
        }
        kept
    }

    /// Adds rows that were written later. Both must be ordered, and so is the result.
    pub(crate) fn overwrite_with(&mut self, newer: Self) {
        if newer.is_empty() {
            return;
        }
        if self.is_empty() {
            *self = newer;
        } else if newer.first > self.last {
            self.extend(&newer);
        } else {
            let older = std::mem::take(self);
            let (mut i, mut j) = (0, 0);
            while i < older.len() || j < newer.len() {
                let (old, new) = (older.times.get(i), newer.times.get(j));
                match (old, new) {
                    (Some(old), Some(new)) if old < new => {
                        self.push_from(&older, i);
                        i += 1;
                    }
                    (Some(_), None) => {
                        self.push_from(&older, i);
                        i += 1;
                    }
                    (old, _) => {
                        i += usize::from(old == new);
                        self.push_from(&newer, j);
                        j += 1;
                    }
                }
            }
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::{collections::BTreeMap, sync::Arc};

    use model::{Buckets, Histogram, ResetHint, stale_nan};
    use proptest::prelude::*;

    use super::*;

    /// Values of every kind the store must keep bit for bit.
    pub(crate) fn value() -> impl Strategy<Value = Value> {
        prop_oneof![
            4 => (-1000..1000_i32).prop_map(|v| Value::Float(f64::from(v))),
            4 => (-100_000..100_000_i32).prop_map(|v| Value::Float(f64::from(v) / 1000.0)),
            2 => any::<u64>().prop_map(|bits| Value::Float(f64::from_bits(bits))),
            1 => Just(Value::Float(stale_nan())),
            1 => Just(Value::Float(-0.0)),
            2 => histogram().prop_map(|histogram| Value::Histogram(Arc::new(histogram))),
        ]
    }

    fn histogram() -> impl Strategy<Value = Histogram> {
        let counts = || {
            prop::collection::vec(
                prop_oneof![
                    (0..50_u32).prop_map(f64::from),
                    (0..40_u32).prop_map(|c| f64::from(c) / 4.0)
                ],
                0..6,
            )
        };
        let hint = prop_oneof![
            Just(ResetHint::Unknown),
            Just(ResetHint::Reset),
            Just(ResetHint::NotReset),
            Just(ResetHint::Gauge)
        ];
        (
            counts(),
            counts(),
            -4..=8_i32,
            any::<bool>(),
            hint,
            any::<u64>(),
        )
            .prop_map(|(positive, negative, schema, integer, reset_hint, sum)| {
                let buckets = |counts: Vec<f64>| {
                    Buckets::from_indexed(
                        counts
                            .into_iter()
                            .enumerate()
                            .map(|(i, c)| (i as i32 * 2 - 3, c)),
                    )
                };
                let (positive, negative) = (buckets(positive), buckets(negative));
                let all = positive.counts.iter().chain(&negative.counts).sum::<f64>();
                Histogram {
                    schema,
                    zero_threshold: 1e-128,
                    zero_count: 2.0,
                    count: all + 2.0,
                    sum: f64::from_bits(sum),
                    positive,
                    negative,
                    custom_values: Vec::new(),
                    reset_hint,
                    integer,
                }
            })
    }

    pub(crate) fn rows(
        times: std::ops::Range<i64>,
        count: std::ops::Range<usize>,
    ) -> impl Strategy<Value = Rows> {
        let row = (
            times,
            prop_oneof![3 => Just(NO_START), 1 => -50..50_i64],
            value(),
        );
        prop::collection::vec(row, count).prop_map(|all| {
            let mut rows = Rows::default();
            for (at, start, value) in all {
                rows.push(at, start, value);
            }
            rows
        })
    }

    fn as_map(rows: &Rows) -> BTreeMap<i64, (i64, String)> {
        let start = |i| rows.starts.get(i).copied().unwrap_or(NO_START);
        (0..rows.len())
            .map(|i| {
                (
                    rows.times[i],
                    (start(i), format!("{:?}", rows.values.get(i))),
                )
            })
            .collect()
    }

    proptest! {
        #[test]
        fn the_later_write_wins(a in rows(0..30, 0..20), b in rows(0..30, 0..20), from in 0..30_i64, len in 0..30_i64) {
            let mut expected = as_map(&a);
            expected.extend(as_map(&b));
            let mut merged = a.clone().into_ordered();
            prop_assert_eq!(as_map(&merged), as_map(&a));
            merged.overwrite_with(b.into_ordered());
            prop_assert!(merged.ordered && merged.times.is_sorted_by(|x, y| x < y));
            prop_assert_eq!(as_map(&merged), expected.clone());
            let range = TimeRange::new(Timestamp::from_millis(from), Timestamp::from_millis(from + len));
            expected.retain(|at, _| range.contains(*at));
            prop_assert_eq!(as_map(&merged.within(range)), expected);
        }
    }
}
