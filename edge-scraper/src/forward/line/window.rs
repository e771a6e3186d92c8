//! How many bytes may be under way on the line without an answer.
//!
//! The window is what keeps live scrapes quick behind a backlog: it grows while answers come as fast as when nothing is under
//! way, and shrinks when they begin to take longer, that is when bytes stand in a queue somewhere on the link (delay-based
//! congestion control, as in LEDBAT, RFC 6817).

use std::collections::VecDeque;
use std::time::Duration;

/// Answers may take so much longer than the quickest one. Half a second of a link's bytes.
const QUEUE: Duration = Duration::from_millis(400);
const LEAST: u64 = 4 << 10;
const FIRST: u64 = 32 << 10;
const MOST: u64 = 4 << 20;
/// How long the quickest answer is remembered: routes change.
const REMEMBERED: Duration = Duration::from_secs(600);

#[derive(Clone, Debug)]
pub(super) struct Window {
    bytes: u64,
    /// It doubles until the first queue.
    is_growing: bool,
    /// Times and delays of answers, of which none before a quicker one matters.
    quickest: VecDeque<(Duration, Duration)>,
    /// It shrinks once for what was under way together.
    shrunk_at: Duration,
}

impl Window {
    pub(super) fn new() -> Window {
        Window {
            bytes: FIRST,
            is_growing: true,
            quickest: VecDeque::new(),
            shrunk_at: Duration::ZERO,
        }
    }

    /// How much may be under way.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The answer to `bytes` that were sent at `sent` came; `was_full`: there was more to send than the window took.
    pub(super) fn answered(&mut self, bytes: u64, sent: Duration, now: Duration, was_full: bool) {
        let delay = now.saturating_sub(sent);
        while self
            .quickest
            .back()
            .is_some_and(|(_, known)| *known >= delay)
        {
            self.quickest.pop_back();
        }
        self.quickest.push_back((now, delay));
        while self
            .quickest
            .front()
            .is_some_and(|(at, _)| now.saturating_sub(*at) > REMEMBERED)
        {
            self.quickest.pop_front();
        }
        let least = self.quickest.front().map_or(delay, |(_, delay)| *delay);
        if delay > least + QUEUE {
            if sent >= self.shrunk_at {
                self.shrunk_at = now;
                self.is_growing = false;
                self.bytes = (self.bytes * 3 / 4).max(LEAST);
            }
        } else if was_full {
            let by = match self.is_growing {
                true => bytes,
                // Within a round trip a sixteenth and half a KiB more.
                false => bytes / 16 + bytes * 512 / self.bytes.max(1),
            };
            self.bytes = (self.bytes + by).min(MOST);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A link of so many bytes a second and so much delay: the longest time that bytes stood in its queue, late in the play.
    fn play(rate: u64, delay: Duration) -> (u64, Duration) {
        let (mut window, mut now) = (Window::new(), Duration::ZERO);
        let mut free_at = Duration::ZERO;
        let mut flights: VecDeque<(Duration, Duration)> = VecDeque::new();
        let (mut sent, mut longest) = (0, Duration::ZERO);
        const FRAME: u64 = 600;
        while now < Duration::from_secs(200) {
            while flights.len() as u64 * FRAME + FRAME <= window.bytes() {
                free_at = free_at.max(now) + Duration::from_micros(FRAME * 1_000_000 / rate);
                flights.push_back((now, free_at + delay));
                sent += FRAME;
                if now > Duration::from_secs(60) {
                    longest = longest.max(free_at - now);
                }
            }
            let (at, answer) = flights.pop_front().unwrap();
            now = answer.max(now);
            window.answered(FRAME, at, now, true);
        }
        (sent / 200, longest)
    }

    #[test]
    fn a_slow_link_is_used_and_its_queue_stays_short() {
        for (rate, delay) in [(12_000, 50), (12_000, 600), (200_000, 20), (1_000_000, 100)] {
            let (used, queue) = play(rate, Duration::from_millis(delay));
            assert!(used * 100 > rate * 85, "{used} of {rate} bytes a second");
            assert!(
                queue < Duration::from_millis(1200),
                "{queue:?} in the queue at {rate}"
            );
        }
    }
}
