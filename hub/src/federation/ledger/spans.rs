//! Stretches of time with a number of samples: sorted, without overlaps, bounded.

use serde::{Deserialize, Serialize};

/// From `start`, included, to `end`, not included; milliseconds since 1970. Never empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Span {
    pub(crate) start: i64,
    pub(crate) end: i64,
    /// How many samples of it the entry is about, as far as that is known.
    pub(crate) samples: u64,
}

/// Most spans in a set: beyond it those with the smallest gaps between them become one. A day of cuts of a minute each
/// fits.
pub(crate) const SPANS_MAX: usize = 1_000;

/// Sorted by time; no two overlap or touch.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Spans(Vec<Span>);

impl Span {
    /// A report's interval, both ends included; None when it ends before it begins.
    pub(crate) fn of(first_ms: i64, last_ms: i64, samples: u64) -> Option<Self> {
        (first_ms <= last_ms).then(|| Span {
            start: first_ms,
            end: last_ms.saturating_add(1),
            samples,
        })
    }

    pub(crate) fn contains(&self, at: i64) -> bool {
        self.start <= at && at < self.end
    }
}

impl Spans {
    pub(crate) fn of(spans: impl IntoIterator<Item = Span>) -> Self {
        let mut all = Spans::default();
        for span in spans {
            all.add(span);
        }
        all
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Span> {
        self.0.iter()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn contains(&self, at: i64) -> bool {
        let after = self.0.partition_point(|span| span.start <= at);
        after > 0 && self.0[after - 1].contains(at)
    }

    pub(crate) fn samples(&self) -> u64 {
        self.0
            .iter()
            .fold(0, |sum, span| sum.saturating_add(span.samples))
    }

    /// Samples of the spans that lie in this time altogether.
    pub(crate) fn samples_within(&self, start: i64, end: i64) -> u64 {
        let inside = self
            .0
            .iter()
            .filter(|span| start <= span.start && span.end <= end);
        inside.fold(0, |sum, span| sum.saturating_add(span.samples))
    }

    pub(crate) fn start(&self) -> Option<i64> {
        self.0.first().map(|span| span.start)
    }

    /// Adds a span. One that overlaps what is there says again, and perhaps more, of the same samples: the larger count
    /// holds. One that only touches brings its own.
    pub(crate) fn add(&mut self, span: Span) {
        if span.start >= span.end {
            return;
        }
        let from = self.0.partition_point(|other| other.end < span.start);
        let to = self.0.partition_point(|other| other.start <= span.end);
        let mut joined = span;
        let (mut same, mut beside) = (0_u64, 0_u64);
        for other in &self.0[from..to] {
            joined.start = joined.start.min(other.start);
            joined.end = joined.end.max(other.end);
            match other.end == span.start || other.start == span.end {
                true => beside = beside.saturating_add(other.samples),
                false => same = same.saturating_add(other.samples),
            }
        }
        joined.samples = span.samples.max(same).saturating_add(beside);
        self.0.splice(from..to, [joined]);
        if self.0.len() > SPANS_MAX {
            self.join_nearest();
        }
    }

    /// Takes a stretch of time out. What is left of a span keeps its samples, on the earlier piece if there are two.
    pub(crate) fn remove(&mut self, start: i64, end: i64) {
        if start >= end {
            return;
        }
        let mut left = Vec::with_capacity(self.0.len() + 1);
        for span in self.0.drain(..) {
            let before = Span {
                end: span.end.min(start),
                ..span
            };
            let mut after = Span {
                start: span.start.max(end),
                ..span
            };
            if before.start < before.end {
                left.push(before);
                if span.end > start {
                    after.samples = 0;
                }
            }
            if after.start < after.end && span.end > end {
                left.push(after);
            }
        }
        self.0 = left;
    }

    /// Makes one of the two with the smallest gap between them.
    fn join_nearest(&mut self) {
        let gaps = self.0.windows(2).map(|two| two[1].start - two[0].end);
        let Some((at, _)) = gaps.enumerate().min_by_key(|(_, gap)| *gap) else {
            return;
        };
        let later = self.0.remove(at + 1);
        let earlier = &mut self.0[at];
        earlier.end = later.end;
        earlier.samples = earlier.samples.saturating_add(later.samples);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn span(start: i64, end: i64, samples: u64) -> Span {
        Span {
            start,
            end,
            samples,
        }
    }

    fn check(given: &[(i64, i64, u64)], expected: &[(i64, i64, u64)]) {
        let spans = Spans::of(given.iter().map(|(a, b, n)| span(*a, *b, *n)));
        let found: Vec<_> = spans.iter().map(|s| (s.start, s.end, s.samples)).collect();
        assert_eq!(found, expected, "{given:?}");
    }

    #[test]
    fn overlaps_join_and_count_once() {
        check(&[(10, 20, 5), (30, 40, 7)], &[(10, 20, 5), (30, 40, 7)]);
        check(&[(30, 40, 7), (10, 20, 5)], &[(10, 20, 5), (30, 40, 7)]);
        check(&[(10, 20, 5), (10, 20, 5)], &[(10, 20, 5)]);
        check(&[(10, 20, 5), (10, 30, 9)], &[(10, 30, 9)]);
        check(&[(10, 20, 5), (20, 30, 9)], &[(10, 30, 14)]);
        check(&[(10, 20, 5), (30, 40, 7), (15, 35, 3)], &[(10, 40, 12)]);
        check(&[(10, 10, 5)], &[]);
    }

    #[test]
    fn there_are_never_more_than_the_bound() {
        let many = (0..3_000).map(|n| span(n * 10, n * 10 + 5, 1));
        let spans = Spans::of(many);
        assert_eq!(spans.0.len(), SPANS_MAX);
        assert_eq!(spans.samples(), 3_000);
        assert!((0..3_000).all(|n| spans.contains(n * 10 + 4)));
    }

    fn any_span() -> impl Strategy<Value = Span> {
        (0..60_i64, 1..20_i64, 0..9_u64)
            .prop_map(|(start, length, n)| span(start, start + length, n))
    }

    proptest! {
        /// Adding and removing are what they are on a plain set of instants.
        #[test]
        fn as_a_set_of_instants(
            added in prop::collection::vec(any_span(), 0..12),
            removed in any_span(),
            more in prop::collection::vec(any_span(), 0..4),
        ) {
            let mut spans = Spans::of(added.iter().copied());
            spans.remove(removed.start, removed.end);
            more.iter().for_each(|span| spans.add(*span));
            for at in -1..90 {
                let inside = |all: &[Span]| all.iter().any(|span| span.contains(at));
                let expected = inside(&added) && !removed.contains(at) || inside(&more);
                prop_assert_eq!(spans.contains(at), expected, "{}", at);
            }
            prop_assert!(spans.iter().all(|span| span.start < span.end));
            let all: Vec<_> = spans.iter().collect();
            prop_assert!(all.windows(2).all(|two| two[0].end <= two[1].start));
        }
    }
}
