//! How long will a backlog take? What is pending for each hub is looked at every few seconds; how fast it shrank tells.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use model::Timestamp;

use crate::forward::HubStatus;

/// Between two looks.
pub(super) const LOOK_EVERY: Duration = Duration::from_secs(5);
/// Looks that are remembered: the estimate follows the last minute.
const LOOKS_MAX: usize = 12;
/// What is younger is on its way as ever, and no backlog.
const BACKLOG_FROM: Duration = Duration::from_secs(60);

/// When a hub will have what it lacks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Drain {
    /// It lacks nothing older than a minute.
    UpToDate,
    /// At the pace of the last minute, after so long.
    Within(Duration),
    /// The backlog does not become smaller.
    NotShrinking,
    /// Not looked at long enough.
    Unknown,
}

#[derive(Default)]
pub(super) struct Drains(Mutex<BTreeMap<String, VecDeque<(Duration, u64)>>>);

impl Drains {
    /// Notes what is pending now. `elapsed` is monotonic.
    pub(super) fn look(&self, elapsed: Duration, hubs: &[HubStatus]) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|name, _| hubs.iter().any(|hub| hub.name == *name));
        for hub in hubs {
            let looks = all.entry(hub.name.clone()).or_default();
            if looks.len() >= LOOKS_MAX {
                looks.pop_front();
            }
            looks.push_back((elapsed, hub.counts.pending.counts.samples));
        }
    }

    pub(super) fn estimate(&self, elapsed: Duration, now: Timestamp, hub: &HubStatus) -> Drain {
        let pending = &hub.counts.pending;
        let old = |oldest: Timestamp| now.saturating_since(oldest) >= BACKLOG_FROM;
        if !pending.oldest.is_some_and(old) {
            return Drain::UpToDate;
        }
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let first = all.get(&hub.name).and_then(|looks| looks.front().copied());
        let Some((at, then)) = first.filter(|(at, _)| elapsed >= *at + LOOK_EVERY) else {
            return Drain::Unknown;
        };
        let now = pending.counts.samples;
        match then.checked_sub(now) {
            None | Some(0) => Drain::NotShrinking,
            Some(gone) => {
                let pace = gone as f64 / (elapsed - at).as_secs_f64();
                Drain::Within(Duration::from_secs((now as f64 / pace).ceil() as u64))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::buffer::{Counts, HubCounts, Pending};

    fn hub(samples: u64, oldest: Option<i64>) -> HubStatus {
        let pending = Pending {
            counts: Counts {
                samples,
                markers: 0,
            },
            oldest: oldest.map(Timestamp::from_millis),
            ..Pending::default()
        };
        HubStatus {
            name: "h".to_owned(),
            counts: HubCounts {
                pending,
                ..HubCounts::default()
            },
            ..HubStatus::default()
        }
    }

    #[test]
    fn the_pace_of_the_last_minute_tells() {
        let drains = Drains::default();
        let secs = Duration::from_secs;
        let now = Timestamp::from_millis(1_000_000);
        let estimate = |elapsed, hub: &HubStatus| drains.estimate(secs(elapsed), now, hub);
        assert_eq!(estimate(0, &hub(0, None)), Drain::UpToDate);
        assert_eq!(estimate(0, &hub(500, Some(950_000))), Drain::UpToDate);
        assert_eq!(estimate(0, &hub(9000, Some(0))), Drain::Unknown);
        drains.look(secs(0), &[hub(10_000, Some(0))]);
        assert_eq!(estimate(3, &hub(9000, Some(0))), Drain::Unknown);
        assert_eq!(estimate(10, &hub(9000, Some(0))), Drain::Within(secs(90)));
        assert_eq!(estimate(10, &hub(10_001, Some(0))), Drain::NotShrinking);
        for at in 1..=LOOKS_MAX as u64 {
            drains.look(secs(5 * at), &[hub(10_000 + at, Some(0))]);
        }
        // The first look is forgotten.
        assert_eq!(
            estimate(65, &hub(10_000, Some(0))),
            Drain::Within(secs(600_000))
        );
        drains.look(secs(100), &[]);
        assert_eq!(estimate(200, &hub(1, Some(0))), Drain::Unknown);
    }
}
