use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use model::Timestamp;
use tokio::sync::oneshot;

/// The future of [`Clock::sleep`].
pub type Sleep = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Time as a value that is passed in, so that a test can run a day in a second and one seed can replay a run.
pub trait Clock: Send + Sync + 'static {
    /// The wall clock: what samples are stamped with. It may jump.
    fn now(&self) -> Timestamp;

    /// Time since some fixed start: what intervals and timeouts are measured with. It never goes back.
    fn elapsed(&self) -> Duration;

    /// Completes after `duration` of [`Clock::elapsed`] time. Dropping it is fine.
    fn sleep(&self, duration: Duration) -> Sleep;
}

/// The machine's clocks.
#[derive(Clone, Debug)]
pub struct SystemClock {
    start: Instant,
}

impl SystemClock {
    /// A clock whose elapsed time starts now.
    #[expect(clippy::new_without_default, reason = "creating one reads the clock")]
    pub fn new() -> Self {
        SystemClock {
            start: Instant::now(),
        }
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        let since = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        Timestamp::from_millis(since.as_millis() as i64)
    }

    fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }

    fn sleep(&self, duration: Duration) -> Sleep {
        Box::pin(tokio::time::sleep(duration))
    }
}

/// A clock that stands still until a test moves it. Clones share the time.
#[derive(Clone, Debug)]
pub struct SimClock {
    state: Arc<Mutex<SimState>>,
}

#[derive(Debug)]
struct SimState {
    now: Timestamp,
    elapsed: Duration,
    next_id: u64,
    sleepers: BTreeMap<(Duration, u64), oneshot::Sender<()>>,
}

impl SimClock {
    /// A clock that shows `now`.
    pub fn new(now: Timestamp) -> Self {
        let state = SimState {
            now,
            elapsed: Duration::ZERO,
            next_id: 0,
            sleepers: BTreeMap::new(),
        };
        SimClock {
            state: Arc::new(Mutex::new(state)),
        }
    }

    /// Moves both clocks and wakes who slept until then, in the order of their deadlines.
    pub fn advance(&self, by: Duration) {
        let mut state = self.lock();
        state.now = state.now.saturating_add(by);
        state.elapsed += by;
        let elapsed = state.elapsed;
        while let Some(entry) = state.sleepers.first_entry() {
            if entry.key().0 > elapsed {
                break;
            }
            // A sleeper that was dropped is not there to hear it.
            let _ = entry.remove().send(());
        }
    }

    /// Makes the wall clock jump while elapsed time stands: somebody set the date.
    pub fn step_wall_clock(&self, to: Timestamp) {
        self.lock().now = to;
    }

    /// When the next sleeper wakes, in elapsed time: a simulation moves there.
    pub fn next_wake(&self) -> Option<Duration> {
        let mut state = self.lock();
        state.sleepers.retain(|_, waker| !waker.is_closed());
        state.sleepers.keys().next().map(|(deadline, _)| *deadline)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, SimState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Clock for SimClock {
    fn now(&self) -> Timestamp {
        self.lock().now
    }

    fn elapsed(&self) -> Duration {
        self.lock().elapsed
    }

    fn sleep(&self, duration: Duration) -> Sleep {
        let mut state = self.lock();
        if duration.is_zero() {
            return Box::pin(std::future::ready(()));
        }
        let (waker, woken) = oneshot::channel();
        let key = (state.elapsed.saturating_add(duration), state.next_id);
        state.next_id += 1;
        state.sleepers.insert(key, waker);
        Box::pin(async move {
            // The clock itself is gone: nobody will move time again, so neither does the sleeper.
            if woken.await.is_err() {
                std::future::pending::<()>().await;
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn sleepers_wake_in_order_and_not_early() {
        let clock = SimClock::new(Timestamp::from_millis(0));
        let late = clock.sleep(Duration::from_secs(10));
        let early = clock.sleep(Duration::from_secs(5));
        assert_eq!(clock.next_wake(), Some(Duration::from_secs(5)));
        clock.advance(Duration::from_secs(5));
        early.await;
        assert_eq!(clock.next_wake(), Some(Duration::from_secs(10)));
        drop(late);
        assert_eq!(clock.next_wake(), None, "a dropped sleeper is forgotten");
        assert_eq!(clock.now(), Timestamp::from_millis(5_000));
    }

    #[test]
    fn the_wall_clock_may_jump() {
        let clock = SimClock::new(Timestamp::from_millis(1_000_000));
        clock.advance(Duration::from_secs(1));
        clock.step_wall_clock(Timestamp::from_millis(0));
        assert_eq!(
            (clock.now().millis(), clock.elapsed()),
            (0, Duration::from_secs(1))
        );
    }
}
