//! How many bytes may be under way on the line without an answer.
//!
//! The window is what keeps live scrapes quick behind a backlog: it grows while answers come as fast as when nothing is under
//! way, and shrinks when they begin to take longer, that is when bytes stand in a queue somewhere on the link (delay-based
//! congestion control, as in LEDBAT, RFC 6817). How far is no guess: what was under way and how long it took tell what the
//! link carries, so that one answer is enough to find the window of a link that became slow.

use std::collections::VecDeque;
use std::time::Duration;

/// Answers may take so much longer than the quickest one: so long may bytes stand in a queue.
const QUEUE: Duration = Duration::from_millis(400);
/// What is aimed for once they took longer.
const QUEUE_AFTER: Duration = Duration::from_millis(200);
const LEAST: u64 = 4 << 10;
/// A link of 9,600 bytes a second is done with it in a second.
const FIRST: u64 = 8 << 10;
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

/// What is known of a message when its answer comes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Answer {
    pub(super) bytes: u64,
    pub(super) sent: Duration,
    /// Bytes without an answer when it was sent, its own among them.
    pub(super) under_way: u64,
    /// There was more to send than the window took.
    pub(super) was_full: bool,
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

    /// An answer came.
    pub(super) fn answered(&mut self, answer: Answer, now: Duration) {
        let Answer {
            bytes,
            sent,
            under_way,
            was_full,
        } = answer;
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
                let carried = under_way as f64 / delay.as_secs_f64();
                let fits = carried * (least + QUEUE_AFTER).as_secs_f64();
                self.bytes = (fits as u64).clamp(self.bytes / 8, self.bytes * 3 / 4);
                self.bytes = self.bytes.max(LEAST);
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

    /// A link of so many bytes a second and so much delay, from `from` to 200 s: what it carried a second, and the longest
    /// time that bytes stood in its queue.
    fn play(rate: u64, delay: Duration, from: u64) -> (u64, Duration) {
        let (mut window, mut now) = (Window::new(), Duration::ZERO);
        let mut free_at = Duration::ZERO;
        let mut flights: VecDeque<(Answer, Duration)> = VecDeque::new();
        let (mut sent, mut longest) = (0, Duration::ZERO);
        const FRAME: u64 = 600;
        while now < Duration::from_secs(200) {
            while flights.len() as u64 * FRAME + FRAME <= window.bytes() {
                free_at = free_at.max(now) + Duration::from_micros(FRAME * 1_000_000 / rate);
                let answer = Answer {
                    bytes: FRAME,
                    sent: now,
                    under_way: (flights.len() as u64 + 1) * FRAME,
                    was_full: true,
                };
                flights.push_back((answer, free_at + delay));
                sent += FRAME;
                if now > Duration::from_secs(from) {
                    longest = longest.max(free_at - now);
                }
            }
            let (answer, at) = flights.pop_front().unwrap();
            now = at.max(now);
            window.answered(answer, now);
        }
        (sent / 200, longest)
    }

    #[test]
    fn a_slow_link_is_used_and_its_queue_stays_short() {
        for (rate, delay) in [
            (9_000, 30),
            (12_000, 50),
            (12_000, 600),
            (200_000, 20),
            (1_000_000, 100),
        ] {
            // From the beginning: what was scraped when a link has just come back should not wait.
            for from in [5, 60] {
                let (used, queue) = play(rate, Duration::from_millis(delay), from);
                assert!(used * 100 > rate * 85, "{used} of {rate} bytes a second");
                assert!(
                    queue < Duration::from_millis(1200),
                    "{queue:?} in the queue at {rate} after {from} s"
                );
            }
        }
    }
}
