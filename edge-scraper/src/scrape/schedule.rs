//! When is a target scraped? Always at the same place in its interval, and samples are stamped with that time.
//!
//! Waiting is measured on the monotonic clock, timestamps come from the wall clock: when somebody sets the date, scrapes stay
//! evenly spaced and the timestamps follow the new date.

use std::time::Duration;

use model::Timestamp;

/// A scrape that begins this little off its time is stamped as if on time, at most a hundredth of the interval: evenly
/// spaced timestamps cost nothing on the link and on disk.
const TOLERANCE_MAX: Duration = Duration::from_millis(20);

/// The grid of one target's scrapes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Schedule {
    interval: Duration,
    /// The next scrape, on the monotonic clock.
    due: Duration,
    /// The same on the wall clock.
    aligned: Timestamp,
}

impl Schedule {
    /// The first scrape is at the next time that is `phase` into an interval of the wall clock, now at the earliest.
    pub(super) fn new(
        interval: Duration,
        phase: Duration,
        now: Timestamp,
        elapsed: Duration,
    ) -> Schedule {
        let interval_ms = interval.as_millis() as i64;
        let since = (now.millis() - phase.as_millis() as i64).rem_euclid(interval_ms);
        let wait = Duration::from_millis(((interval_ms - since) % interval_ms) as u64);
        Schedule {
            interval,
            due: elapsed + wait,
            aligned: now.saturating_add(wait),
        }
    }

    /// How long to wait for the next scrape.
    pub(super) fn wait(&self, elapsed: Duration) -> Duration {
        self.due.saturating_sub(elapsed)
    }

    /// The timestamp of a scrape that begins now, which is due.
    pub(super) fn stamp(&self, now: Timestamp) -> Timestamp {
        let tolerance = TOLERANCE_MAX.min(self.interval / 100);
        let off = now.millis().abs_diff(self.aligned.millis());
        if u128::from(off) <= tolerance.as_millis() {
            self.aligned
        } else {
            now
        }
    }

    /// Moves on to the next scrape that is not over; returns how many were missed.
    pub(super) fn advance(&mut self, now: Timestamp, elapsed: Duration) -> u64 {
        let mut missed = 0;
        self.step();
        while self.due <= elapsed {
            self.step();
            missed += 1;
        }
        // Where the grid says the wall clock will be then, and where it will be.
        let then = now.saturating_add(self.due - elapsed);
        let off = then.millis().abs_diff(self.aligned.millis());
        if u128::from(off) > self.interval.as_millis() / 2 {
            self.aligned = then;
        }
        missed
    }

    fn step(&mut self) {
        self.due += self.interval;
        self.aligned = self.aligned.saturating_add(self.interval);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    #[test]
    fn the_first_scrape_is_on_the_grid() {
        let check = |now: i64, phase: u64, expected: i64| {
            let schedule = Schedule::new(ms(1000), ms(phase), at(now), ms(70));
            assert_eq!(schedule.aligned, at(expected), "{now} {phase}");
            assert_eq!(schedule.wait(ms(70)), ms((expected - now) as u64));
        };
        check(5000, 0, 5000);
        check(5001, 0, 6000);
        check(5300, 200, 6200);
        check(5100, 200, 5200);
        check(-500, 200, 200);
    }

    #[test]
    fn small_delays_do_not_show_and_big_ones_do() {
        let schedule = Schedule::new(ms(1000), ms(0), at(5000), ms(0));
        assert_eq!(schedule.stamp(at(5000)), at(5000));
        assert_eq!(schedule.stamp(at(5010)), at(5000));
        assert_eq!(schedule.stamp(at(4990)), at(5000));
        assert_eq!(schedule.stamp(at(5011)), at(5011));
    }

    #[test]
    fn slow_scrapes_miss_times_but_keep_the_grid() {
        let mut schedule = Schedule::new(ms(1000), ms(0), at(5000), ms(0));
        assert_eq!(schedule.advance(at(5900), ms(900)), 0);
        assert_eq!(
            (schedule.wait(ms(900)), schedule.aligned),
            (ms(100), at(6000))
        );
        assert_eq!(
            schedule.advance(at(8500), ms(3500)),
            2,
            "7 s and 8 s went by"
        );
        assert_eq!(schedule.aligned, at(9000));
    }

    #[test]
    fn a_date_that_was_set_moves_timestamps_and_not_the_rhythm() {
        let mut schedule = Schedule::new(ms(1000), ms(0), at(5000), ms(0));
        schedule.advance(at(5100), ms(100));
        assert_eq!(schedule.wait(ms(1000)), ms(0));
        assert_eq!(
            schedule.stamp(at(900_300)),
            at(900_300),
            "set forward by a quarter of an hour"
        );
        schedule.advance(at(900_310), ms(1010));
        assert_eq!(
            (schedule.wait(ms(1010)), schedule.aligned),
            (ms(990), at(901_300))
        );
        schedule.advance(at(1_000), ms(2010));
        assert_eq!(
            (schedule.wait(ms(2010)), schedule.aligned),
            (ms(990), at(1_990)),
            "and back"
        );
    }
}
