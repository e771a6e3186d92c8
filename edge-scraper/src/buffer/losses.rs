//! The times of what a hub will never get, as its cursor keeps them and its reports tell them.

use std::time::Duration;

use model::Timestamp;
use wire::line::link::HUB_RESTORED;

use super::record::Counts;

/// With more stretches the oldest of those that the hub was told is forgotten here; where it was told none, near ones are joined.
const LOSSES_MAX: usize = 64;
/// Stretches nearer than this are one: an eviction takes a segment, and the next one goes on where it ended.
const APART: Duration = Duration::from_secs(120);

/// A stretch of time in which samples were lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Lost {
    pub(super) first: Timestamp,
    pub(super) last: Timestamp,
    pub(super) samples: u64,
    pub(super) why: Why,
}

/// Why samples were lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Why {
    /// There was no room.
    Evicted,
    /// There was no room, and scrapes were thinned: others of that time were left.
    Thinned,
    /// The disk does not give back what was written.
    Damaged,
    /// No edge ran: how many samples there would have been, nobody knows.
    EdgeDown,
    /// The hub had them, came back from an older state, and they were gone here by then.
    HubRestored,
}

/// Stretches by their beginning, bounded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Losses {
    all: Vec<Lost>,
    /// Those that the hub was told of since the start.
    told: Vec<Lost>,
}

impl Losses {
    /// As they were saved.
    pub(super) fn push_saved(&mut self, lost: Lost) {
        self.all.push(lost);
    }

    pub(super) fn iter(&self) -> impl ExactSizeIterator<Item = &Lost> {
        self.all.iter()
    }

    pub(super) fn add(&mut self, new: Lost) {
        let at = self.all.partition_point(|lost| lost.first <= new.first);
        self.all.insert(at, new);
        let mut joined: Vec<Lost> = Vec::with_capacity(self.all.len());
        for lost in self.all.drain(..) {
            match joined.last_mut() {
                Some(before) if before.goes_on_with(&lost) => before.join(&lost),
                _ => joined.push(lost),
            }
        }
        self.all = joined;
        while self.all.len() > LOSSES_MAX {
            let is_told = |lost: &Lost| self.told.contains(lost);
            match self.all.iter().position(is_told) {
                Some(oldest) => drop(self.all.remove(oldest)),
                None => self.join_nearest(),
            }
        }
        self.told.retain(|lost| self.all.contains(lost));
    }

    /// The hub was told of these.
    pub(super) fn told(&mut self, told: &Losses) {
        let is_here = |lost: &&Lost| self.all.contains(lost);
        self.told = told.iter().filter(is_here).copied().collect();
    }

    /// Samples of that time that count as evicted or thinned are with the hub after all. `left`: what counts so without them.
    pub(super) fn take_back(&mut self, at: Timestamp, samples: u64, left: Counts) {
        let mut samples = samples;
        let there =
            |lost: &&mut Lost| lost.why.is_eviction() && lost.first <= at && at <= lost.last;
        for lost in self.all.iter_mut().filter(there) {
            let back = samples.min(lost.samples);
            lost.samples -= back;
            samples -= back;
        }
        // A stretch without samples may be one of markers.
        let is_void = |lost: &Lost| match left.markers {
            0 => left.samples == 0 || lost.samples == 0,
            _ => false,
        };
        self.all
            .retain(|lost| !lost.why.is_eviction() || !is_void(lost));
    }

    /// Of the two of one kind with the least time between them one is made; what is between is called lost, too.
    fn join_nearest(&mut self) {
        let gap = |at: &usize| {
            let (one, next) = (self.all[*at], self.all[*at + 1]);
            (one.why != next.why, next.first.saturating_since(one.last))
        };
        let Some(at) = (0..self.all.len().saturating_sub(1)).min_by_key(gap) else {
            return;
        };
        let next = self.all.remove(at + 1);
        self.all[at].join(&next);
    }
}

impl Lost {
    /// Between two evictions near each other nothing is left, or little. Between two times without an edge there was one, and what it scraped
    /// is not lost.
    fn goes_on_with(&self, next: &Lost) -> bool {
        let apart = match self.why {
            Why::EdgeDown => Duration::from_millis(1),
            _ => APART,
        };
        self.why == next.why && next.first <= self.last.saturating_add(apart)
    }

    fn join(&mut self, other: &Lost) {
        self.first = self.first.min(other.first);
        self.last = self.last.max(other.last);
        self.samples += other.samples;
    }

    /// As cursors have it.
    pub(super) fn line(&self) -> String {
        let (first, last) = (self.first.millis(), self.last.millis());
        format!("{first} {last} {} {}", self.samples, self.why.word())
    }

    pub(super) fn parse(text: &str) -> Option<Lost> {
        let mut numbers = text.split(' ');
        let lost = Lost {
            first: Timestamp::from_millis(numbers.next()?.parse().ok()?),
            last: Timestamp::from_millis(numbers.next()?.parse().ok()?),
            samples: numbers.next()?.parse().ok()?,
            why: Why::of(numbers.next()?)?,
        };
        numbers.next().is_none().then_some(lost)
    }
}

impl Why {
    const ALL: [Why; 5] = [
        Why::Evicted,
        Why::Thinned,
        Why::Damaged,
        Why::EdgeDown,
        Why::HubRestored,
    ];

    /// As cursors and reports have it.
    pub(super) fn word(self) -> &'static str {
        match self {
            Why::Evicted => "evicted",
            Why::Thinned => "thinned",
            Why::Damaged => "damaged",
            Why::EdgeDown => "edge-down",
            Why::HubRestored => HUB_RESTORED,
        }
    }

    fn of(word: &str) -> Option<Why> {
        Why::ALL.into_iter().find(|why| why.word() == word)
    }

    fn is_eviction(self) -> bool {
        matches!(self, Why::Evicted | Why::Thinned)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = 3_600_000;

    fn lost(first: i64, last: i64, samples: u64, why: Why) -> Lost {
        Lost {
            first: Timestamp::from_millis(first),
            last: Timestamp::from_millis(last),
            samples,
            why,
        }
    }

    fn shown(losses: &Losses) -> Vec<(i64, i64, u64)> {
        let all = losses.iter();
        all.map(|lost| (lost.first.millis(), lost.last.millis(), lost.samples))
            .collect()
    }

    #[test]
    fn one_scrape_between_two_times_without_an_edge_is_not_lost() {
        let mut losses = Losses::default();
        losses.add(lost(1_001, 99_999, 0, Why::EdgeDown));
        losses.add(lost(100_001, 199_999, 0, Why::EdgeDown));
        assert_eq!(shown(&losses), [(1_001, 99_999, 0), (100_001, 199_999, 0)]);
        // The scrape at its end was not on disk when the power went again.
        losses.add(lost(100_001, 299_999, 0, Why::EdgeDown));
        assert_eq!(shown(&losses), [(1_001, 99_999, 0), (100_001, 299_999, 0)]);
    }

    /// A branch that is switched off every night, for a year.
    #[test]
    fn days_between_nights_without_an_edge_are_not_lost() {
        let night = |day: i64| {
            let evening = day * 24 * HOUR + 20 * HOUR;
            lost(evening, evening + 10 * HOUR, 0, Why::EdgeDown)
        };
        let mut losses = Losses::default();
        for day in 0..365 {
            losses.add(night(day));
            let told = losses.clone();
            losses.told(&told);
            assert!(
                losses
                    .iter()
                    .all(|lost| lost.last.saturating_since(lost.first).as_secs() == 36_000)
            );
        }
        assert_eq!(losses.iter().len(), LOSSES_MAX);
        assert_eq!(losses.iter().last(), Some(&night(364)));
        // Nobody was told: nothing is left out, and what is joined is as short as can be.
        let mut losses = Losses::default();
        for day in 0..100 {
            losses.add(night(day));
        }
        losses.add(lost(50 * 24 * HOUR, 50 * 24 * HOUR + 7, 9, Why::Damaged));
        assert_eq!(losses.iter().len(), LOSSES_MAX);
        let all_nights = |day| {
            let Lost { first, last, .. } = night(day);
            losses
                .iter()
                .any(|lost| lost.first <= first && last <= lost.last)
        };
        assert!((0..100).all(all_nights));
        assert!(losses.iter().any(|lost| lost.samples == 9));
    }

    #[test]
    fn what_arrives_after_all_is_taken_back() {
        let mut losses = Losses::default();
        losses.add(lost(0, 100, 30, Why::Evicted));
        losses.add(lost(50, 50, 4, Why::Thinned));
        losses.add(lost(0, 100, 7, Why::Damaged));
        let left = |samples, markers| Counts { samples, markers };
        let at = Timestamp::from_millis(50);
        losses.take_back(at, 10, left(24, 3));
        assert_eq!(shown(&losses), [(0, 100, 20), (0, 100, 7), (50, 50, 4)]);
        losses.take_back(at, 24, left(0, 3));
        assert_eq!(
            shown(&losses),
            [(0, 100, 0), (0, 100, 7), (50, 50, 0)],
            "markers are lost yet"
        );
        losses.take_back(at, 0, left(0, 0));
        assert_eq!(shown(&losses), [(0, 100, 7)]);
    }
}
