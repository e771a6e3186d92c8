//! Whose turn it is to store what takes long: so that live frames, which wait for no turn, always find a processor.
//!
//! Two kinds of work take long. Live frames that describe many series, as the first one of a session does: a thousand edges that come
//! back at once send a thousand of them within a second. And backlog. Few of either are stored at a time, the former before the
//! latter, but for one in so many: so a client that describes without end holds up nobody's backlog for ever.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

/// After so many turns for descriptions backlog has one, if any waits.
const DESCRIBING_IN_A_ROW: u32 = 4;

/// What takes long.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Long {
    /// Live frames with much that is new.
    Describing,
    Backlog,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Turns(Mutex<Inner>);

#[derive(Debug)]
struct Inner {
    free: usize,
    describing: VecDeque<oneshot::Sender<Turn>>,
    backlog: VecDeque<oneshot::Sender<Turn>>,
    /// Turns for descriptions since the last one for backlog.
    in_a_row: u32,
}

/// A turn; it is over when dropped.
#[derive(Debug)]
pub(super) struct Turn(Option<Arc<Turns>>);

impl Turns {
    /// So many at a time.
    pub(super) fn new(at_a_time: usize) -> Arc<Self> {
        Arc::new(Turns(Mutex::new(Inner {
            free: at_a_time,
            describing: VecDeque::new(),
            backlog: VecDeque::new(),
            in_a_row: 0,
        })))
    }

    /// Waits for a turn. Whoever stops waiting has no turn, and takes none from others.
    pub(super) fn take(self: &Arc<Self>, long: Long) -> impl Future<Output = Turn> + Send + use<> {
        let (give, given) = oneshot::channel();
        let mut inner = self.lock();
        match long {
            Long::Describing => inner.describing.push_back(give),
            Long::Backlog => inner.backlog.push_back(give),
        }
        let is_free = inner.free > 0;
        inner.free -= usize::from(is_free);
        drop(inner);
        if is_free {
            self.pass_on();
        }
        async move {
            match given.await {
                Ok(turn) => turn,
                // It is kept until it is given.
                Err(_) => Turn(None),
            }
        }
    }

    /// Whether anybody waits for a turn.
    pub(super) fn is_waited_for(&self) -> bool {
        let inner = self.lock();
        !(inner.describing.is_empty() && inner.backlog.is_empty())
    }

    #[cfg(test)]
    pub(super) fn is_any_free(&self) -> bool {
        self.lock().free > 0
    }

    /// Gives a turn that nobody has to the next one.
    fn pass_on(self: &Arc<Self>) {
        loop {
            let next = {
                let mut inner = self.lock();
                let next = inner.next();
                inner.free += usize::from(next.is_none());
                next
            };
            let Some(next) = next else { return };
            match next.send(Turn(Some(self.clone()))) {
                Ok(()) => return,
                // Nobody waits there any more.
                Err(mut turn) => turn.0 = None,
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn next(&mut self) -> Option<oneshot::Sender<Turn>> {
        let backlog_is_due = self.in_a_row >= DESCRIBING_IN_A_ROW && !self.backlog.is_empty();
        let describing = match backlog_is_due {
            true => None,
            false => self.describing.pop_front(),
        };
        self.in_a_row = match &describing {
            Some(_) => self.in_a_row.saturating_add(1),
            None => 0,
        };
        describing.or_else(|| self.backlog.pop_front())
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if let Some(turns) = self.0.take() {
            turns.pass_on();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::{Pin, pin};
    use std::task::{Context, Poll, Waker};

    use super::*;

    /// What waits, in the order in which it came.
    struct Waits(Vec<(usize, Waiting)>);

    type Waiting = Pin<Box<dyn Future<Output = Turn> + Send>>;

    impl Waits {
        fn new(turns: &Arc<Turns>, longs: &[Long]) -> Self {
            let all = longs.iter().enumerate();
            Waits(
                all.map(|(n, long)| (n, Box::pin(turns.take(*long)) as _))
                    .collect(),
            )
        }

        /// Those that have a turn now.
        fn ready(&mut self) -> Vec<(usize, Turn)> {
            let mut context = Context::from_waker(Waker::noop());
            let mut ready = Vec::new();
            self.0
                .retain_mut(|(n, waits)| match waits.as_mut().poll(&mut context) {
                    Poll::Ready(turn) => {
                        ready.push((*n, turn));
                        false
                    }
                    Poll::Pending => true,
                });
            ready
        }

        /// The order in which they have their turns, one at a time.
        fn order(mut self) -> Vec<usize> {
            let mut order = Vec::new();
            loop {
                let mut ready = self.ready();
                let Some((n, turn)) = ready.pop() else {
                    return order;
                };
                assert!(ready.is_empty(), "one at a time");
                order.push(n);
                drop(turn);
            }
        }
    }

    use Long::{Backlog, Describing};

    #[test]
    fn descriptions_come_before_backlog_that_waits() {
        let turns = Turns::new(1);
        let held = pin!(turns.take(Backlog)).poll(&mut Context::from_waker(Waker::noop()));
        let waits = Waits::new(&turns, &[Backlog, Backlog, Describing, Describing]);
        drop(held);
        assert_eq!(waits.order(), [2, 3, 0, 1]);
    }

    #[test]
    fn descriptions_without_end_leave_backlog_a_turn() {
        let turns = Turns::new(1);
        let held = pin!(turns.take(Backlog)).poll(&mut Context::from_waker(Waker::noop()));
        let mut longs = vec![Backlog, Backlog];
        longs.extend([Describing; 10]);
        let waits = Waits::new(&turns, &longs);
        drop(held);
        assert_eq!(waits.order(), [2, 3, 4, 5, 0, 6, 7, 8, 9, 1, 10, 11]);
    }

    #[test]
    fn who_has_had_a_turn_is_behind_all_that_wait() {
        let turns = Turns::new(1);
        let mut waits = Waits::new(&turns, &[Backlog, Backlog, Backlog]);
        for n in [0, 1, 2, 0, 1, 2] {
            let mut ready = waits.ready();
            let (first, turn) = ready.pop().unwrap();
            assert_eq!((first, turns.is_waited_for()), (n, true));
            // It has more, as who has been away for long.
            waits.0.push((n, Box::pin(turns.take(Backlog))));
            drop(turn);
        }
    }

    #[test]
    fn as_many_at_a_time_as_there_are_turns() {
        let turns = Turns::new(2);
        let mut waits = Waits::new(&turns, &[Backlog, Describing, Backlog]);
        let held = waits.ready();
        assert_eq!(held.iter().map(|(n, _)| *n).collect::<Vec<_>>(), [0, 1]);
        assert!(waits.ready().is_empty());
        drop(held);
        assert_eq!(waits.ready().len(), 1);
    }

    #[test]
    fn who_left_takes_no_turn_from_others() {
        let turns = Turns::new(1);
        let mut waits = Waits::new(&turns, &[Backlog, Describing, Backlog]);
        let held = waits.ready();
        // One that waits leaves, and one that was given a turn and did not look.
        drop(waits.0.remove(0));
        drop(held);
        drop(waits);
        let mut again = Waits::new(&turns, &[Backlog]);
        assert_eq!(again.ready().len(), 1);
        assert_eq!(turns.lock().free, 1);
    }
}
