//! A thread apart for work that can hang in the kernel, where nothing can stop it.
//!
//! Tasks run one after the other. One that has not come back in time is left to itself with its thread, and the others go on on a new
//! one; whoever gave the tasks is told, and told again when the task comes back. A thread that has done its work waits for the
//! next: to make one for every page would be a good part of what a page costs.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Something to do.
pub(super) type Task<T> = Box<dyn FnOnce() -> T + Send>;

/// What is told of a task that hangs, by its place: first that it does, and some day, perhaps, that it has come back.
pub(super) trait Hanging: Send + Sync {
    fn hangs(&self, task: usize);
    fn is_back(&self, task: usize);
}

/// How long the first task that hangs may take, and how long each one after it: what hangs comes together.
#[derive(Debug, Clone, Copy)]
pub(super) struct Within {
    pub(super) first: Duration,
    pub(super) then: Duration,
}

pub(super) struct Aside<T> {
    name: &'static str,
    /// A thread that waits for work.
    idle: Mutex<Option<Arc<Lane<T>>>>,
}

/// A thread and those who wait for it.
struct Lane<T> {
    state: Mutex<State<T>>,
    changed: Condvar,
}

struct State<T> {
    /// What it has yet to take up.
    job: Option<Job<T>>,
    done: Vec<T>,
    /// Since when it has been at the task that comes next in `done`.
    begun: Instant,
    /// It has done all of its job, or panicked.
    finished: bool,
    /// Nobody waits for it any more.
    abandoned: bool,
}

struct Job<T> {
    tasks: Vec<Task<T>>,
    /// The place of the first of them among all.
    first: usize,
    hanging: Arc<dyn Hanging>,
}

impl<T: Send + 'static> Aside<T> {
    pub(super) fn new(name: &'static str) -> Aside<T> {
        Aside {
            name,
            idle: Mutex::new(None),
        }
    }

    /// What each task gave, in their order; `None` for those that hang or panicked, and for all if there is no thread to be had.
    pub(super) fn run(
        &self,
        tasks: Vec<Task<T>>,
        within: Within,
        hanging: &Arc<dyn Hanging>,
    ) -> Vec<Option<T>> {
        let all = tasks.len();
        let mut results = Vec::with_capacity(all);
        let mut limit = within.first;
        // Tasks are handed over as a whole; those behind one that hangs come back.
        let mut rest = tasks;
        while !rest.is_empty() {
            let Some(lane) = self.lane() else {
                break;
            };
            let first = results.len();
            lane.give(Job {
                tasks: std::mem::take(&mut rest),
                first,
                hanging: Arc::clone(hanging),
            });
            let (done, left) = lane.wait(first, limit, hanging.as_ref());
            results.extend(done.into_iter().map(Some));
            match left {
                Left::Nothing => self.keep(lane),
                Left::After(left) => {
                    results.push(None);
                    limit = within.then;
                    rest = left;
                }
            }
        }
        results.resize_with(all, || None);
        results
    }

    /// The thread that waits, or a new one.
    fn lane(&self) -> Option<Arc<Lane<T>>> {
        let idle = lock(&self.idle).take();
        if idle.is_some() {
            return idle;
        }
        let lane = Arc::new(Lane {
            state: Mutex::new(State {
                job: None,
                done: Vec::new(),
                begun: Instant::now(),
                finished: false,
                abandoned: false,
            }),
            changed: Condvar::new(),
        });
        let own = Arc::clone(&lane);
        let thread = std::thread::Builder::new().name(self.name.to_owned());
        match thread.spawn(move || own.work()) {
            Ok(_) => Some(lane),
            Err(error) => {
                tracing::warn!("{}: no thread to be had: {error}", self.name);
                None
            }
        }
    }

    /// One thread waits, no more: whoever asked at the same time lets his go.
    fn keep(&self, lane: Arc<Lane<T>>) {
        let mut idle = lock(&self.idle);
        match *idle {
            None => *idle = Some(lane),
            Some(_) => lane.let_go(),
        }
    }
}

impl<T> Drop for Aside<T> {
    fn drop(&mut self) {
        if let Some(lane) = lock(&self.idle).take() {
            lane.let_go();
        }
    }
}

/// What a thread left undone.
enum Left<T> {
    Nothing,
    /// It hangs at a task or panicked; these are those behind it.
    After(Vec<Task<T>>),
}

impl<T> Lane<T> {
    fn state(&self) -> MutexGuard<'_, State<T>> {
        lock(&self.state)
    }

    fn give(&self, job: Job<T>) {
        let mut state = self.state();
        state.done = Vec::with_capacity(job.tasks.len());
        state.begun = Instant::now();
        state.finished = false;
        // The thread takes them from the end.
        let mut job = job;
        job.tasks.reverse();
        state.job = Some(job);
        self.changed.notify_all();
    }

    fn let_go(&self) {
        self.state().abandoned = true;
        self.changed.notify_all();
    }

    /// What it has done until it is finished, or hangs for longer than `limit` at one task.
    fn wait(&self, first: usize, limit: Duration, hanging: &dyn Hanging) -> (Vec<T>, Left<T>) {
        let mut state = self.state();
        loop {
            if state.finished {
                let done = std::mem::take(&mut state.done);
                let left = match state.job.take() {
                    None => Left::Nothing,
                    Some(mut job) => {
                        // It panicked: the thread is gone, and what was behind is for another.
                        job.tasks.reverse();
                        Left::After(job.tasks)
                    }
                };
                return (done, left);
            }
            let so_far = state.begun.elapsed();
            if so_far >= limit && state.job.is_some() {
                state.abandoned = true;
                hanging.hangs(first + state.done.len());
                let done = std::mem::take(&mut state.done);
                let mut left = state.job.as_mut().map(|job| std::mem::take(&mut job.tasks));
                if let Some(left) = &mut left {
                    left.reverse();
                }
                return (done, Left::After(left.unwrap_or_default()));
            }
            let rest = limit.saturating_sub(so_far).max(Duration::from_millis(1));
            let waited = self.changed.wait_timeout(state, rest);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// The thread: does jobs until it is let go.
    fn work(&self) {
        let mut state = self.state();
        loop {
            while state.job.is_none() && !state.abandoned {
                state = self
                    .changed
                    .wait(state)
                    .unwrap_or_else(PoisonError::into_inner);
            }
            let Some(job) = state.job.as_mut() else {
                return;
            };
            let Some(task) = job.tasks.pop() else {
                state.job = None;
                state.finished = true;
                self.changed.notify_all();
                continue;
            };
            let place = job.first + state.done.len();
            drop(state);
            let over = Over { lane: self, place };
            let result = task();
            std::mem::forget(over);
            state = self.state();
            if state.abandoned {
                if let Some(job) = &state.job {
                    job.hanging.is_back(place);
                }
                return;
            }
            state.done.push(result);
            state.begun = Instant::now();
        }
    }
}

/// Says that the thread is finished when a task panics, or that the task is back if nobody waits any more.
struct Over<'a, T> {
    lane: &'a Lane<T>,
    place: usize,
}

impl<T> Drop for Over<'_, T> {
    fn drop(&mut self) {
        let mut state = lock(&self.lane.state);
        state.finished = true;
        if state.abandoned
            && let Some(job) = &state.job
        {
            job.hanging.is_back(self.place);
        }
        self.lane.changed.notify_all();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, sync_channel};

    use super::*;

    #[derive(Default)]
    struct Told(Mutex<Vec<String>>);

    impl Told {
        fn so_far(&self) -> String {
            lock(&self.0).join(" ")
        }
    }

    impl Hanging for Told {
        fn hangs(&self, task: usize) {
            lock(&self.0).push(format!("hangs:{task}"));
        }

        fn is_back(&self, task: usize) {
            lock(&self.0).push(format!("back:{task}"));
        }
    }

    const SOON: Within = Within {
        first: Duration::from_millis(300),
        then: Duration::from_millis(300),
    };

    fn good(n: u32) -> Task<u32> {
        Box::new(move || n)
    }

    /// Ends when its sender is dropped.
    fn hanging(wait: Receiver<()>, n: u32) -> Task<u32> {
        Box::new(move || {
            let _ = wait.recv();
            n
        })
    }

    fn told() -> (Arc<Told>, Arc<dyn Hanging>) {
        let told = Arc::new(Told::default());
        (Arc::clone(&told), told)
    }

    #[test]
    fn the_same_thread_works_again() {
        let aside = Aside::new("test");
        let (told, hanging) = told();
        let thread = || -> Task<std::thread::ThreadId> { Box::new(|| std::thread::current().id()) };
        let first = aside.run(vec![thread(), thread()], SOON, &hanging);
        let second = aside.run(vec![thread()], SOON, &hanging);
        assert_eq!(first[0], first[1]);
        assert_eq!(first[0], second[0]);
        assert_ne!(first[0], Some(std::thread::current().id()));
        assert!(aside.run(Vec::new(), SOON, &hanging).is_empty());
        assert_eq!(told.so_far(), "");
    }

    #[test]
    fn the_others_go_on_when_one_hangs() {
        let aside = Aside::new("test");
        let (told, list) = told();
        let (first, wait) = sync_channel(0);
        let (second, wait_too) = sync_channel(0);
        let tasks = vec![
            good(1),
            hanging(wait, 2),
            good(3),
            hanging(wait_too, 4),
            good(5),
        ];
        let results = aside.run(tasks, SOON, &list);
        assert_eq!(results, [Some(1), None, Some(3), None, Some(5)]);
        assert_eq!(told.so_far(), "hangs:1 hangs:3");
        assert_eq!(aside.run(vec![good(6)], SOON, &list), [Some(6)]);
        for (sender, expected) in [
            (second, "hangs:1 hangs:3 back:3"),
            (first, "hangs:1 hangs:3 back:3 back:1"),
        ] {
            drop(sender);
            while told.so_far() != expected {
                std::thread::yield_now();
            }
        }
    }

    #[test]
    fn a_panic_costs_one_task() {
        let aside = Aside::new("test");
        let (told, list) = told();
        // To print where it panicked can take long.
        let late = Within {
            first: Duration::from_secs(60),
            then: Duration::from_secs(60),
        };
        let tasks: Vec<Task<u32>> = vec![good(1), Box::new(|| panic!("a bug")), good(3)];
        assert_eq!(aside.run(tasks, late, &list), [Some(1), None, Some(3)]);
        assert_eq!(told.so_far(), "");
        assert_eq!(aside.run(vec![good(4)], late, &list), [Some(4)]);
    }

    #[test]
    fn one_that_hangs_and_then_panics_is_back_too() {
        let aside = Aside::new("test");
        let (told, list) = told();
        let (sender, wait) = sync_channel::<()>(0);
        let task: Task<u32> = Box::new(move || {
            let _ = wait.recv();
            panic!("late");
        });
        assert_eq!(aside.run(vec![task], SOON, &list), [None]);
        drop(sender);
        while told.so_far() != "hangs:0 back:0" {
            std::thread::yield_now();
        }
    }

    #[test]
    fn several_at_a_time() {
        let aside = Aside::new("test");
        std::thread::scope(|scope| {
            for n in 0..8 {
                let aside = &aside;
                scope.spawn(move || {
                    let (_, list) = told();
                    for _ in 0..50 {
                        assert_eq!(aside.run(vec![good(n), good(n)], SOON, &list), [Some(n); 2]);
                    }
                });
            }
        });
    }
}
