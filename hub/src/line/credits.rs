//! Who may send backlog, and how much of it without an answer: so that a thousand edges that come back at once do not delay
//! anybody's newest scrapes. So many edges have a turn at a time, the others wait for theirs; a turn ends when nothing is left, or
//! after a while if somebody waits. Edges that come when all turns are taken are put into the queue at random, not by who was
//! quickest.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

/// Edges that send at a time: enough that slow links together keep the hub busy.
const TURNS_MAX: usize = 64;
/// Bytes without an answer, all edges together.
const BYTES_MAX: u64 = 16 << 20;
/// Of one edge: enough for a fast link with a long round trip.
pub(super) const BYTES_EACH_MAX: u64 = 4 << 20;
/// How long a turn lasts when others wait.
const TURN: Duration = Duration::from_secs(5);
/// Within so much edges that come at once are put in a random order.
const JITTER_MS: u64 = 1_000;

/// The decisions, with the time as an argument.
#[derive(Debug)]
struct Credits {
    seats: BTreeMap<u64, Seat>,
    /// When its turn may begin at the earliest, and whose.
    waiting: BTreeSet<(Duration, u64)>,
    taken: BTreeSet<u64>,
    next: u64,
    random: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Seat {
    /// Has no backlog.
    Idle,
    /// Since its place in the queue.
    Waiting(Duration),
    /// Since then.
    Turn(Duration),
}

impl Credits {
    fn new(seed: u64) -> Self {
        Credits {
            seats: BTreeMap::new(),
            waiting: BTreeSet::new(),
            taken: BTreeSet::new(),
            next: 0,
            random: seed,
        }
    }

    fn join(&mut self) -> u64 {
        self.next += 1;
        self.seats.insert(self.next, Seat::Idle);
        self.next
    }

    fn leave(&mut self, id: u64, now: Duration) {
        self.stop(id);
        self.seats.remove(&id);
        self.share(now);
    }

    fn stop(&mut self, id: u64) {
        match self.seats.insert(id, Seat::Idle) {
            Some(Seat::Waiting(place)) => drop(self.waiting.remove(&(place, id))),
            Some(Seat::Turn(_)) => drop(self.taken.remove(&id)),
            Some(Seat::Idle) | None => {}
        }
    }

    /// Whether the edge has backlog.
    fn wants(&mut self, id: u64, wants: bool, now: Duration) {
        match (self.seats.get(&id), wants) {
            (Some(Seat::Idle), true) => {
                let full = self.taken.len() + self.waiting.len() >= TURNS_MAX;
                let jitter = if full { self.draw() % JITTER_MS } else { 0 };
                self.wait(id, now + Duration::from_millis(jitter));
            }
            (Some(Seat::Waiting(_) | Seat::Turn(_)), false) => self.stop(id),
            _ => {}
        }
        self.share(now);
    }

    fn wait(&mut self, id: u64, place: Duration) {
        self.seats.insert(id, Seat::Waiting(place));
        self.waiting.insert((place, id));
    }

    /// Ends turns that are over, and begins others.
    fn share(&mut self, now: Duration) {
        loop {
            let due = self
                .waiting
                .first()
                .copied()
                .filter(|(place, _)| *place <= now);
            let Some((place, id)) = due else { return };
            if self.taken.len() >= TURNS_MAX {
                let began = |id: &u64| match self.seats.get(id) {
                    Some(Seat::Turn(began)) => *began,
                    _ => Duration::ZERO,
                };
                let longest = self.taken.iter().map(|id| (began(id), *id)).min();
                let Some((began, longest)) = longest else {
                    return;
                };
                if now.saturating_sub(began) < TURN {
                    return;
                }
                self.taken.remove(&longest);
                self.wait(longest, now);
            }
            self.waiting.remove(&(place, id));
            self.seats.insert(id, Seat::Turn(now));
            self.taken.insert(id);
        }
    }

    /// Bytes that an edge may have without an answer.
    fn bytes(&self, id: u64) -> u64 {
        match self.seats.get(&id) {
            Some(Seat::Turn(_)) => (BYTES_MAX / self.taken.len().max(1) as u64).min(BYTES_EACH_MAX),
            _ => 0,
        }
    }

    /// splitmix64.
    fn draw(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.random;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

/// The desk where credits are given out.
#[derive(Debug)]
pub(super) struct Desk {
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    credits: Credits,
    told: HashMap<u64, watch::Sender<u64>>,
}

impl Desk {
    pub(super) fn new(seed: u64) -> Arc<Self> {
        let inner = Inner {
            credits: Credits::new(seed),
            told: HashMap::new(),
        };
        Arc::new(Desk {
            inner: Mutex::new(inner),
        })
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A connection begins.
    pub(super) fn join(self: &Arc<Self>) -> CreditSeat {
        let mut inner = self.lock();
        let id = inner.credits.join();
        let (tell, granted) = watch::channel(0);
        inner.told.insert(id, tell);
        drop(inner);
        CreditSeat {
            desk: self.clone(),
            id,
            granted,
            wanted: false,
            last: Duration::ZERO,
        }
    }

    /// Turns end and begin as time goes by.
    pub(super) fn tick(&self, now: Duration) {
        let mut inner = self.lock();
        inner.credits.share(now);
        inner.tell();
    }

    /// Edges whose turn it is, and those that wait.
    pub(super) fn counts(&self) -> (usize, usize) {
        let inner = self.lock();
        (inner.credits.taken.len(), inner.credits.waiting.len())
    }
}

impl Inner {
    fn tell(&self) {
        for (id, told) in &self.told {
            let bytes = self.credits.bytes(*id);
            told.send_if_modified(|granted| std::mem::replace(granted, bytes) != bytes);
        }
    }
}

/// One connection at the desk; it leaves when dropped.
#[derive(Debug)]
pub(super) struct CreditSeat {
    desk: Arc<Desk>,
    id: u64,
    /// Bytes of backlog that it may have without an answer.
    pub(super) granted: watch::Receiver<u64>,
    wanted: bool,
    last: Duration,
}

impl CreditSeat {
    /// Whether it had backlog when it was last asked.
    pub(super) fn wanted(&self) -> bool {
        self.wanted
    }

    /// Whether the edge has backlog.
    pub(super) fn wants(&mut self, wants: bool, now: Duration) {
        self.last = now;
        if std::mem::replace(&mut self.wanted, wants) == wants {
            return;
        }
        let mut inner = self.desk.lock();
        inner.credits.wants(self.id, wants, now);
        inner.tell();
    }
}

impl Drop for CreditSeat {
    fn drop(&mut self) {
        let mut inner = self.desk.lock();
        inner.told.remove(&self.id);
        inner.credits.leave(self.id, self.last);
        inner.tell();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn a_few_edges_have_their_turn_at_once() {
        let mut credits = Credits::new(1);
        let (one, two) = (credits.join(), credits.join());
        assert_eq!(credits.bytes(one), 0);
        credits.wants(one, true, at(0));
        assert_eq!(
            (credits.bytes(one), credits.bytes(two)),
            (BYTES_EACH_MAX, 0)
        );
        credits.wants(two, true, at(1));
        assert_eq!(
            (credits.bytes(one), credits.bytes(two)),
            (BYTES_EACH_MAX, BYTES_EACH_MAX)
        );
        credits.share(at(600_000));
        assert_eq!(credits.bytes(one), BYTES_EACH_MAX, "nobody waits");
        credits.wants(one, false, at(600_001));
        assert_eq!(credits.bytes(one), 0);
        credits.leave(two, at(600_002));
        assert_eq!((credits.taken.len(), credits.waiting.len()), (0, 0));
    }

    #[test]
    fn a_thousand_edges_take_turns() {
        let mut credits = Credits::new(7);
        let all: Vec<u64> = (0..1_000).map(|_| credits.join()).collect();
        all.iter().for_each(|id| credits.wants(*id, true, at(0)));
        let mut turns = vec![0_u64; all.len()];
        let mut order = Vec::new();
        for tick in 0..2_000 {
            credits.share(at(tick * 250));
            let bytes: Vec<u64> = all.iter().map(|id| credits.bytes(*id)).collect();
            assert!(bytes.iter().sum::<u64>() <= BYTES_MAX);
            assert!(bytes.iter().filter(|bytes| **bytes > 0).count() <= TURNS_MAX);
            for (place, id) in all.iter().enumerate() {
                if credits.seats[id] == Seat::Turn(at(tick * 250)) {
                    turns[place] += 1;
                    order.push(place);
                }
            }
        }
        let (fewest, most) = (turns.iter().min().unwrap(), turns.iter().max().unwrap());
        assert!(
            *fewest >= 5 && most - fewest <= 1,
            "{fewest} to {most} turns"
        );
        // Not by who came first, but for those that found a free turn.
        assert!(
            order[TURNS_MAX..1_000]
                .windows(2)
                .any(|two| two[0] > two[1])
        );
    }

    #[test]
    fn what_was_granted_is_told() {
        let desk = Desk::new(3);
        let mut seats: Vec<CreditSeat> = (0..TURNS_MAX + 1).map(|_| desk.join()).collect();
        seats.iter_mut().for_each(|seat| seat.wants(true, at(0)));
        let last = seats.pop().unwrap();
        assert_eq!(*last.granted.borrow(), 0);
        assert_eq!(desk.counts(), (TURNS_MAX, 1));
        desk.tick(at(JITTER_MS));
        drop(seats.pop());
        desk.tick(at(JITTER_MS));
        assert_eq!(*last.granted.borrow(), BYTES_MAX / TURNS_MAX as u64);
    }
}
