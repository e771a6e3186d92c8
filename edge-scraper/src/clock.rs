//! Which time is it? The machine's clock, and what is done when it is not the hub's.
//!
//! A branch's machine may have a dead battery and no time server. What it stamps with that is found by no query, or refused as from the
//! future. The line measures how far the hub's clock is from the machine's; when that is more than is tolerated, scrapes are stamped
//! with the hub's time from then on, if the policy says so. Either way the hub is told, and shows it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use daemon::{Clock, Sleep};
use model::Timestamp;

/// What is done when the machine's clock is off.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WhenOff {
    /// Scrapes are stamped with the hub's time.
    #[default]
    Correct,
    /// Scrapes are stamped with the machine's time, and the hub says in its answers that it is off.
    Flag,
}

/// How the clock is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClockPolicy {
    /// What is done when it is off.
    pub when_off: WhenOff,
    /// So far it may be from the hub's. Default 2 s: no measurement over a slow link is much better.
    pub tolerance: Duration,
}

impl Default for ClockPolicy {
    fn default() -> Self {
        ClockPolicy {
            when_off: WhenOff::default(),
            tolerance: Duration::from_secs(2),
        }
    }
}

/// A clock that follows a hub's where the machine's is off. See the [module](self).
pub struct HubTime {
    machine: Arc<dyn Clock>,
    state: Mutex<State>,
}

#[derive(Clone, Debug)]
struct State {
    policy: ClockPolicy,
    /// The hub whose time counts.
    hub: Option<String>,
    /// The hub's time at some elapsed time, while it is followed: it goes on with the elapsed time, so that somebody who sets the
    /// machine's clock does not move it.
    follows: Option<(Timestamp, Duration)>,
}

/// What a measurement changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Scrapes are stamped with the hub's time from now on, or with a better guess of it.
    Follows,
    /// They are stamped with the machine's time again.
    TrustsMachine,
}

impl HubTime {
    /// The machine's clock until there is reason for another.
    pub fn new(machine: Arc<dyn Clock>, policy: ClockPolicy) -> HubTime {
        HubTime {
            machine,
            state: Mutex::new(State {
                policy,
                hub: None,
                follows: None,
            }),
        }
    }

    /// Another policy, or another hub, as of the next measurement. Of several hubs one counts: they may differ.
    pub fn set_policy(&self, policy: ClockPolicy, hub: Option<String>) {
        let mut state = self.state();
        (state.policy, state.hub) = (policy, hub);
    }

    /// How far the machine's clock may be off.
    pub fn tolerance(&self) -> Duration {
        self.state().policy.tolerance
    }

    /// The machine's own time: what the hub's is measured against.
    pub fn machine_now(&self) -> Timestamp {
        self.machine.now()
    }

    /// How much later than the machine's clock this one is, in milliseconds. None while it is the machine's.
    pub fn correction_ms(&self) -> Option<i64> {
        let ahead = |now: Timestamp| now.millis().saturating_sub(self.machine.now().millis());
        self.followed().map(ahead)
    }

    /// A hub's clock is so far ahead of the machine's, give or take `uncertain_ms`: half of a round trip may have been spent on one way.
    /// What the measurement does not prove changes nothing.
    pub fn measured(&self, hub: &str, offset_ms: i64, uncertain_ms: u64) -> Option<Change> {
        let (now, elapsed) = (self.machine.now(), self.machine.elapsed());
        let mut state = self.state();
        if state.hub.as_deref() != Some(hub) {
            return None;
        }
        let tolerance = state.policy.tolerance.as_millis() as u64;
        let is_tolerated = offset_ms.unsigned_abs() <= tolerance && uncertain_ms <= tolerance;
        if is_tolerated || state.policy.when_off == WhenOff::Flag {
            return state.follows.take().map(|_| Change::TrustsMachine);
        }
        if offset_ms.unsigned_abs() <= tolerance.saturating_add(uncertain_ms) {
            return None;
        }
        let hub = Timestamp::from_millis(now.millis().saturating_add(offset_ms));
        if let Some(known) = follow(&state, elapsed) {
            // A guess that is about right stays: time that goes back and forth is worse.
            let about = (tolerance / 2).saturating_add(uncertain_ms);
            if known.millis().abs_diff(hub.millis()) <= about {
                return None;
            }
        }
        state.follows = Some((hub, elapsed));
        Some(Change::Follows)
    }

    fn followed(&self) -> Option<Timestamp> {
        follow(&self.state(), self.machine.elapsed())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn follow(state: &State, elapsed: Duration) -> Option<Timestamp> {
    let (then, at) = state.follows?;
    Some(then.saturating_add(elapsed.saturating_sub(at)))
}

impl Clock for HubTime {
    fn now(&self) -> Timestamp {
        self.followed().unwrap_or_else(|| self.machine.now())
    }

    fn elapsed(&self) -> Duration {
        self.machine.elapsed()
    }

    fn sleep(&self, duration: Duration) -> Sleep {
        self.machine.sleep(duration)
    }
}

impl std::fmt::Debug for HubTime {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HubTime")
            .field("state", &*self.state())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use daemon::SimClock;

    fn clock(when_off: WhenOff) -> (SimClock, HubTime) {
        let machine = SimClock::new(Timestamp::from_millis(1_000_000));
        let policy = ClockPolicy {
            when_off,
            ..ClockPolicy::default()
        };
        let time = HubTime::new(Arc::new(machine.clone()), policy);
        time.set_policy(policy, Some("hq".to_owned()));
        assert_eq!(time.measured("other", 1_000_000, 0), None);
        (machine, time)
    }

    #[test]
    fn the_hub_s_time_is_followed_where_the_machine_s_is_off() {
        let (machine, time) = clock(WhenOff::Correct);
        assert_eq!(time.measured("hq", 1_999, 0), None);
        assert_eq!(
            (time.now().millis(), time.correction_ms()),
            (1_000_000, None)
        );
        assert_eq!(time.measured("hq", -60_000, 0), Some(Change::Follows));
        machine.advance(Duration::from_secs(3));
        assert_eq!(
            (time.now().millis(), time.correction_ms()),
            (943_000, Some(-60_000))
        );
        // About the same: nothing moves.
        assert_eq!(time.measured("hq", -60_900, 0), None);
        assert_eq!(time.now().millis(), 943_000);
        assert_eq!(time.measured("hq", -62_000, 0), Some(Change::Follows));
        assert_eq!(time.now().millis(), 941_000);
        // Somebody sets the machine's clock right.
        machine.step_wall_clock(Timestamp::from_millis(941_100));
        assert_eq!(time.now().millis(), 941_000);
        assert_eq!(time.measured("hq", -100, 0), Some(Change::TrustsMachine));
        assert_eq!((time.now().millis(), time.correction_ms()), (941_100, None));
    }

    #[test]
    fn what_a_slow_link_measures_proves_nothing() {
        let (_, time) = clock(WhenOff::Correct);
        // Five seconds on the way there, none back.
        assert_eq!(time.measured("hq", 2_500, 2_500), None);
        assert_eq!(time.measured("hq", 4_500, 2_500), None);
        assert_eq!(time.correction_ms(), None);
        assert_eq!(time.measured("hq", 4_501, 2_500), Some(Change::Follows));
        // Nor that the machine is right, nor what the time is to the second.
        assert_eq!(time.measured("hq", 0, 2_500), None);
        assert_eq!(time.measured("hq", 7_900, 2_500), None);
        assert_eq!(time.correction_ms(), Some(4_501));
        assert_eq!(time.measured("hq", 1_000, 500), Some(Change::TrustsMachine));
    }

    #[test]
    fn a_policy_that_flags_moves_nothing() {
        let (_, time) = clock(WhenOff::Flag);
        assert_eq!(time.measured("hq", 1_000_000_000, 0), None);
        assert_eq!(time.now().millis(), 1_000_000);
        let hub = || Some("hq".to_owned());
        time.set_policy(ClockPolicy::default(), hub());
        assert_eq!(time.measured("hq", 1_000_000_000, 0), Some(Change::Follows));
        let flag = ClockPolicy {
            when_off: WhenOff::Flag,
            ..ClockPolicy::default()
        };
        time.set_policy(flag, hub());
        assert_eq!(
            time.measured("hq", 1_000_000_000, 0),
            Some(Change::TrustsMachine)
        );
    }
}
