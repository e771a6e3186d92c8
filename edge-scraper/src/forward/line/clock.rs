//! How far the hub's clock is from this one, and how long a round trip takes: by the times in reports and their echoes, as NTP
//! does it (RFC 5905, section 8).

use std::collections::VecDeque;
use std::time::Duration;

use wire::line::link::Echo;

/// The quickest of so many round trips counts: its way there and back differ least.
const KEPT: usize = 8;
/// A clock that runs a little faster than the other is not set by anybody.
const STEP_LEAST: Duration = Duration::from_millis(50);
/// Reports of which it is known whether they were answered in time.
const JUDGED: usize = 100;

#[derive(Clone, Debug, Default)]
pub(super) struct HubClock {
    /// Reports without an echo: number and elapsed time.
    sent: VecDeque<(u64, Duration)>,
    trips: VecDeque<(Duration, i64)>,
    judged: VecDeque<bool>,
}

impl HubClock {
    /// A report was sent. Those before it have no answer in time.
    pub(super) fn sent(&mut self, number: u64, now: Duration) {
        if let Some((before, _)) = self.sent.back()
            && before + 1 == number
        {
            self.judge(false);
        }
        if self.sent.len() >= KEPT {
            self.sent.pop_front();
        }
        self.sent.push_back((number, now));
    }

    /// An echo came at `now`.
    pub(super) fn echoed(&mut self, echo: &Echo, now: Duration) {
        let Some(at) = self
            .sent
            .iter()
            .position(|(number, _)| *number == echo.number)
        else {
            return;
        };
        let is_last = at + 1 == self.sent.len();
        let sent = self.sent.remove(at).map_or(now, |(_, sent)| sent);
        if is_last {
            self.judge(true);
        }
        let held = (echo.replied_at_ms - echo.received_at_ms).max(0) as u64;
        let trip = now
            .saturating_sub(sent)
            .saturating_sub(Duration::from_millis(held));
        let there = trip.as_millis() as i64 / 2;
        let offset = echo.received_at_ms - echo.sent_at_ms - there;
        // No trip can have hidden that much: somebody has set a clock meanwhile.
        let is_stepped = |known: &(Duration, i64)| {
            let hidden = (known.0 + trip) / 2 + STEP_LEAST;
            u128::from(known.1.abs_diff(offset)) > hidden.as_millis()
        };
        if self.trips.iter().any(is_stepped) {
            self.trips.clear();
        }
        if self.trips.len() >= KEPT {
            self.trips.pop_front();
        }
        self.trips.push_back((trip, offset));
    }

    fn judge(&mut self, answered: bool) {
        if self.judged.len() >= JUDGED {
            self.judged.pop_front();
        }
        self.judged.push_back(answered);
    }

    /// The connection ended: what is under way gets no answer.
    pub(super) fn closed(&mut self) {
        if !self.sent.is_empty() {
            self.judge(false);
        }
        self.sent.clear();
    }

    pub(super) fn round_trip(&self) -> Option<Duration> {
        self.trips.back().map(|(trip, _)| *trip)
    }

    /// The hub's clock less this one, and how far that may be wrong, in milliseconds. One round trip alone tells nothing: another one has to agree.
    pub(super) fn offset_ms(&self) -> Option<(i64, u64)> {
        let quickest = self.trips.iter().min_by_key(|(trip, _)| *trip);
        let quickest = quickest.filter(|_| self.trips.len() > 1);
        quickest.map(|(trip, offset)| (*offset, trip.as_millis().div_ceil(2) as u64))
    }

    /// Reports without an answer before the next one was due, of a hundred.
    pub(super) fn lost_percent(&self) -> u32 {
        let lost = self.judged.iter().filter(|answered| !**answered).count();
        (lost * 100 / self.judged.len().max(1)) as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn the_quickest_trip_tells_the_time() {
        let mut clock = HubClock::default();
        // The hub is 5 s ahead. (sent, way there, way back)
        for (number, (there, back)) in [(20, 900), (20, 20), (700, 30)].into_iter().enumerate() {
            let number = number as u64;
            let sent = 10_000 * (number + 1);
            clock.sent(number, ms(sent));
            let received_at_ms = (sent + there) as i64 + 5_000;
            let echo = Echo {
                number,
                sent_at_ms: sent as i64,
                received_at_ms,
                replied_at_ms: received_at_ms + 3,
            };
            clock.echoed(&echo, ms(sent + there + 3 + back));
        }
        assert_eq!(clock.offset_ms(), Some((5_000, 20)));
        assert_eq!(clock.round_trip(), Some(ms(730)));
        assert_eq!(clock.lost_percent(), 0);
    }

    /// A bit of a report or its echo was turned on the way, or somebody has set a clock.
    #[test]
    fn one_trip_that_no_other_agrees_with_tells_nothing() {
        let mut clock = HubClock::default();
        let mut trip = |number: u64, ahead: i64| {
            let sent = 2_000 * number;
            clock.sent(number, ms(sent));
            let echo = Echo {
                number,
                sent_at_ms: sent as i64,
                received_at_ms: sent as i64 + 10 + ahead,
                replied_at_ms: sent as i64 + 10 + ahead,
            };
            clock.echoed(&echo, ms(sent + 20));
            clock.offset_ms()
        };
        assert_eq!(trip(1, 0), None);
        assert_eq!(trip(2, 0), Some((0, 10)));
        assert_eq!(trip(3, 1 << 24), None);
        assert_eq!(trip(4, 0), None);
        assert_eq!(trip(5, 0), Some((0, 10)));
        assert_eq!(
            (trip(6, 60_000), trip(7, 60_000)),
            (None, Some((60_000, 10)))
        );
    }

    #[test]
    fn what_is_not_answered_in_time_counts_as_lost() {
        let mut clock = HubClock::default();
        for number in 0..4 {
            clock.sent(number, ms(number * 2_000));
            if number % 2 == 0 {
                let echo = Echo {
                    number,
                    ..Echo::default()
                };
                clock.echoed(&echo, ms(number * 2_000 + 10));
            }
        }
        clock.closed();
        assert_eq!(clock.lost_percent(), 50);
        assert_eq!(HubClock::default().offset_ms(), None);
    }
}
