//! How many bytes may be under way on the line without an answer.
//!
//! The window is what keeps live scrapes quick behind a backlog: it grows while answers come as fast as when nothing is under
//! way, and shrinks when they begin to take longer, that is when bytes stand in a queue somewhere on the link (delay-based
//! congestion control, as in LEDBAT, RFC 6817). How far is no guess: what was under way and how long it took tell what the
//! link carries, so that one answer is enough to find the window of a link that became slow.
//!
//! Answers are late by chance, too: on a mobile link, from a satellite, from a hub whose disk stalls. So what counts is the most that the link carried
//! lately (a bottleneck's rate is a maximum of short time: BBR, draft-ietf-ccwg-bbr): what fits in it is no queue of ours, however late one answer is. Where
//! others fill a queue the most is little, and the window gives way.

use std::time::Duration;

/// Answers may take so much longer than the quickest one: so long may bytes stand in a queue.
const QUEUE: Duration = Duration::from_millis(400);
/// What is aimed for once they took longer.
const QUEUE_AFTER: Duration = Duration::from_millis(300);
const LEAST: u64 = 4 << 10;
/// A link of 9,600 bytes a second is done with it in a second.
const FIRST: u64 = 8 << 10;
const MOST: u64 = 4 << 20;
/// How long the quickest answer is remembered: routes change.
const REMEMBERED: Duration = Duration::from_secs(600);
/// How long what the link carried is: a few round trips.
const LATELY: Duration = Duration::from_secs(4);

#[derive(Clone, Debug)]
pub(super) struct Window {
    bytes: u64,
    /// It doubles until the first queue.
    is_growing: bool,
    /// The quickest answer.
    quickest: Lately<Duration>,
    /// The most that the link carried, bytes a second.
    carried: Lately<f64>,
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
    /// While it was under way there was more to send than the window took.
    pub(super) was_full: bool,
}

impl Window {
    pub(super) fn new() -> Window {
        Window {
            bytes: FIRST,
            is_growing: true,
            quickest: Lately::new(REMEMBERED, Duration::min),
            carried: Lately::new(LATELY, f64::max),
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
        let least = self.quickest.with(delay, now);
        let carried = under_way as f64 / delay.as_secs_f64().max(1e-3);
        let most = self.carried.with(carried, now);
        // So late is nobody by chance: the link has become slow.
        let is_slow = delay > (least + QUEUE) * 2;
        let carries = if is_slow { carried } else { most };
        if delay > least + QUEUE {
            if sent >= self.shrunk_at {
                self.shrunk_at = now;
                self.is_growing = false;
                let fits = carries * (least + QUEUE_AFTER).as_secs_f64();
                self.bytes = (fits as u64).clamp(self.bytes / 8, self.bytes);
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

/// The best of what was seen in some time, of which the first half goes at once.
#[derive(Clone, Debug)]
struct Lately<T> {
    half: Duration,
    better: fn(T, T) -> T,
    began: Duration,
    now: Option<T>,
    before: Option<T>,
}

impl<T: Copy> Lately<T> {
    fn new(within: Duration, better: fn(T, T) -> T) -> Lately<T> {
        Lately {
            half: within / 2,
            better,
            began: Duration::ZERO,
            now: None,
            before: None,
        }
    }

    /// With one more.
    fn with(&mut self, seen: T, at: Duration) -> T {
        let passed = at.saturating_sub(self.began);
        if passed > self.half {
            let is_old = passed > self.half * 2;
            (self.before, self.now) = (self.now.filter(|_| !is_old), None);
            self.began = at;
        }
        let now = self.now.map_or(seen, |now| (self.better)(now, seen));
        self.now = Some(now);
        self.before.map_or(now, |before| (self.better)(before, now))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use super::*;

    const FRAME: u64 = 600;

    /// A link of so many bytes a second, and so much delay.
    struct Link {
        rate: u64,
        delay: Duration,
        /// So much later answers may be by chance, each way; none overtakes another.
        jitter: Duration,
        /// So long others make everything wait, from the given time on.
        others: (Duration, Duration),
        /// From then on it carries a tenth.
        slow_from: Duration,
    }

    impl Link {
        fn new(rate: u64, delay_ms: u64) -> Link {
            Link {
                rate,
                delay: Duration::from_millis(delay_ms),
                jitter: Duration::ZERO,
                others: (Duration::ZERO, Duration::MAX),
                slow_from: Duration::MAX,
            }
        }

        /// From `from` to 200 s: what it carried a second, and the longest time that bytes stood in its queue.
        fn play(&self, from: Duration) -> (u64, Duration) {
            const UNTIL: Duration = Duration::from_secs(200);
            let (mut window, mut now) = (Window::new(), Duration::ZERO);
            let (mut free_at, mut there_at) = (Duration::ZERO, Duration::ZERO);
            let mut flights: VecDeque<(Answer, Duration)> = VecDeque::new();
            let (mut sent, mut longest) = (0, Duration::ZERO);
            let mut random = 7_u64;
            let mut by_chance = || {
                random = random
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1_442_695_040_888_963_407);
                self.jitter
                    .mul_f64((random >> 33) as f64 / (1_u64 << 31) as f64)
            };
            while now < UNTIL {
                while flights.len() as u64 * FRAME + FRAME <= window.bytes() {
                    let rate = self.rate / if now >= self.slow_from { 10 } else { 1 };
                    free_at = free_at.max(now) + Duration::from_micros(FRAME * 1_000_000 / rate);
                    let answer = Answer {
                        bytes: FRAME,
                        sent: now,
                        under_way: (flights.len() as u64 + 1) * FRAME,
                        was_full: true,
                    };
                    let others = match self.others {
                        (wait, since) if now >= since => wait,
                        _ => Duration::ZERO,
                    };
                    let at = free_at + self.delay + others + by_chance() + by_chance();
                    there_at = there_at.max(at);
                    flights.push_back((answer, there_at));
                    if now > from {
                        sent += FRAME;
                        longest = longest.max(free_at - now);
                    }
                }
                let (answer, at) = flights.pop_front().unwrap();
                now = at.max(now);
                window.answered(answer, now);
            }
            (sent / (UNTIL - from).as_secs(), longest)
        }
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
                let (used, queue) = Link::new(rate, delay).play(Duration::from_secs(from));
                println!("{rate} B/s, {delay} ms, after {from} s: {used} B/s, {queue:?}");
                assert!(used * 100 > rate * 95, "{used} of {rate} bytes a second");
                assert!(
                    queue < Duration::from_millis(800),
                    "{queue:?} in the queue at {rate} after {from} s"
                );
            }
        }
    }

    /// A mobile link, a satellite, or a hub whose disk stalls.
    #[test]
    fn a_link_that_is_late_by_chance_is_used() {
        for (rate, delay, jitter, least) in [
            (12_000, 60, 300, 11_000),
            (100_000, 60, 150, 95_000),
            (100_000, 60, 300, 95_000),
            (1_000_000, 60, 300, 900_000),
            (1_000_000, 300, 400, 40_000),
        ] {
            let jitter = Duration::from_millis(jitter);
            let link = Link {
                jitter,
                ..Link::new(rate, delay)
            };
            let (used, queue) = link.play(Duration::from_secs(20));
            println!("{rate} B/s, {delay} ms + 2 x {jitter:?}: {used} B/s, {queue:?}");
            assert!(used > least, "{used} of {rate} bytes a second");
            assert!(queue < Duration::from_secs(1), "{queue:?} in the queue");
        }
    }

    #[test]
    fn the_window_gives_way_to_others() {
        let link = Link {
            others: (Duration::from_secs(1), Duration::from_secs(50)),
            ..Link::new(100_000, 60)
        };
        let (used, queue) = link.play(Duration::from_secs(60));
        println!("{used} B/s, {queue:?}");
        assert!(used < 10_000 && queue < Duration::from_millis(100));
    }

    #[test]
    fn the_window_of_a_link_that_becomes_slow_is_found() {
        let slow = Duration::from_secs(100);
        let link = Link {
            slow_from: slow,
            ..Link::new(100_000, 60)
        };
        // What was under way is to be carried first.
        let (used, queue) = link.play(slow + Duration::from_secs(6));
        println!("{used} B/s, {queue:?}");
        assert!(used > 9_500 && queue < Duration::from_millis(800));
    }
}
