//! When did what was scraped arrive? One series of every target, `up`, stands for its scrape: all samples of a scrape go together.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::Span;
use crate::latency::Latencies;

/// Arrivals by target and time of the scrape: the first counts, so that what is sent twice is one.
#[derive(Default)]
pub(super) struct Arrivals(Mutex<HashMap<String, BTreeMap<i64, i64>>>);

impl Arrivals {
    /// The scrape of `instance` at `scraped` is there. Both in milliseconds since the epoch.
    pub(super) fn add(&self, instance: &str, scraped: i64, arrived: i64) {
        let mut targets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !targets.contains_key(instance) {
            targets.insert(instance.to_owned(), BTreeMap::new());
        }
        if let Some(scrapes) = targets.get_mut(instance) {
            scrapes.entry(scraped).or_insert(arrived);
        }
    }

    /// How many scrapes of that time are there.
    pub(super) fn count(&self, scraped: Span) -> u64 {
        let targets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let counts = targets
            .values()
            .map(|scrapes| scrapes.range(scraped.from..scraped.to).count() as u64);
        counts.sum()
    }

    /// Arrival minus scrape of all scrapes of that time that are there.
    pub(super) fn delays(&self, scraped: Span) -> Latencies {
        let targets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut delays = Latencies::default();
        for scrapes in targets.values() {
            for (at, arrived) in scrapes.range(scraped.from..scraped.to) {
                let millis = u64::try_from(arrived - at).unwrap_or(0);
                delays.add(Duration::from_millis(millis));
            }
        }
        delays
    }

    /// When the first scrape made since `since` arrived that was no older then than `age_ms`.
    pub(super) fn first_fresh(&self, since: i64, age_ms: i64) -> Option<i64> {
        let targets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        targets
            .values()
            .flat_map(|scrapes| scrapes.range(since..))
            .filter(|(at, arrived)| *arrived - *at <= age_ms)
            .map(|(_, arrived)| *arrived)
            .min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_arrival_counts() {
        let arrivals = Arrivals::default();
        for (instance, scraped, arrived) in
            [("a", 10, 15), ("a", 10, 99), ("a", 20, 90), ("b", 30, 31)]
        {
            arrivals.add(instance, scraped, arrived);
        }
        let span = |from, to| Span { from, to };
        assert_eq!(arrivals.count(span(10, 30)), 2);
        assert_eq!(
            arrivals.delays(span(0, 100)).quantile(1.0),
            Some(Duration::from_millis(70))
        );
        assert_eq!(
            arrivals.delays(span(0, 20)).quantile(1.0),
            Some(Duration::from_millis(5))
        );
        assert_eq!(arrivals.first_fresh(15, 5), Some(31));
        assert_eq!(arrivals.first_fresh(15, 0), None);
    }
}
