//! The state that appenders, the syncing thread, commits and readers share.
//!
//! One mutex guards it and is never held during an fsync of the group (only the one that closes a full segment).
//! Invariants: `synced_seq < next_seq`; the last entry of `segments` is the active one and the only one that grows;
//! `unsynced_bytes()` is 0 when `synced_seq + 1 == next_seq`.

use std::{
    collections::{BTreeMap, VecDeque},
    fmt,
    path::PathBuf,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
};

use crate::{
    disk::{Disk, DiskFile},
    error::JournalError,
    log::{Options, PATIENCE, PATIENT_BYTES_MAX, SyncPolicy},
};

pub(crate) type OnDone = Box<dyn FnOnce(Result<(), JournalError>) + Send>;

#[derive(Clone)]
pub(crate) struct Segment {
    pub(crate) path: PathBuf,
    pub(crate) first_seq: u64,
    /// One behind its last record; for a segment that is not the last, as its successor's header has it.
    pub(crate) next_seq: u64,
    pub(crate) bytes: u64,
    /// How often its file was replaced since opening.
    pub(crate) generation: u32,
}

/// See [`State::thread`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Thread {
    /// It is at work.
    Working,
    /// Waits for anything to do.
    Idle,
    /// Waits for somebody who is in a hurry: what there is has time.
    Patient,
    /// Waits for as many records as came together last time.
    Gathering,
}

/// How far the log has come, or what of it is durable.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Extent {
    seq: u64,
    bytes: u64,
    urgent: u64,
}

pub(crate) struct State {
    pub(crate) segments: VecDeque<Segment>,
    pub(crate) active: Arc<dyn DiskFile>,
    pub(crate) next_seq: u64,
    /// Last durable sequence; 0 before the first.
    pub(crate) synced_seq: u64,
    /// Bytes appended and made durable since opening: their difference is what a crash now would lose.
    pub(crate) appended_bytes: u64,
    pub(crate) synced_bytes: u64,
    /// Of the records, those that were in a hurry: appended and made durable since opening.
    pub(crate) urgent_appended: u64,
    urgent_synced: u64,
    pub(crate) poisoned: Option<String>,
    pub(crate) closed: bool,
    /// An fsync of the active segment is under way. There is one at a time: the system tells of a failure once, and a
    /// second fsync beside it would be called a success.
    pub(crate) syncing: bool,
    /// Records in a hurry that were appended while the last fsync ran or waited for it: how many may come together.
    pub(crate) together: u64,
    /// What the syncing thread does, so that nobody wakes it for nothing: each wake-up costs two switches.
    pub(crate) thread: Thread,
    /// Someone waits: sync at once, whatever the policy's delay.
    pub(crate) hurry: bool,
    /// Callbacks by (sequence, order of registration).
    callbacks: BTreeMap<(u64, u64), OnDone>,
    callbacks_registered: u64,
    /// Reused for encoding.
    pub(crate) scratch: Vec<u8>,
}

impl State {
    pub(crate) fn new(
        segments: VecDeque<Segment>,
        active: Arc<dyn DiskFile>,
        next_seq: u64,
    ) -> Self {
        Self {
            segments,
            active,
            next_seq,
            synced_seq: next_seq - 1,
            appended_bytes: 0,
            synced_bytes: 0,
            urgent_appended: 0,
            urgent_synced: 0,
            poisoned: None,
            closed: false,
            syncing: false,
            together: 1,
            thread: Thread::Working,
            hurry: false,
            callbacks: BTreeMap::new(),
            callbacks_registered: 0,
            scratch: Vec::new(),
        }
    }

    pub(crate) fn unsynced_bytes(&self) -> u64 {
        self.appended_bytes - self.synced_bytes
    }

    /// Whether an append must wake the syncing thread.
    pub(crate) fn wakes_thread(&self) -> bool {
        match self.thread {
            Thread::Working => false,
            Thread::Idle => true,
            Thread::Patient => !self.has_time(),
            Thread::Gathering => self.unsynced_urgent() >= self.together,
        }
    }

    /// Records in a hurry that are not durable yet.
    fn unsynced_urgent(&self) -> u64 {
        self.urgent_appended - self.urgent_synced
    }

    /// Whether nothing that is not durable is in a hurry, and not too much of it waits.
    fn has_time(&self) -> bool {
        self.unsynced_urgent() == 0 && self.unsynced_bytes() < PATIENT_BYTES_MAX
    }

    /// All that there is.
    pub(crate) fn appended(&self) -> Extent {
        Extent {
            seq: self.next_seq - 1,
            bytes: self.appended_bytes,
            urgent: self.urgent_appended,
        }
    }

    fn has_unsynced(&self) -> bool {
        self.synced_seq + 1 < self.next_seq
    }

    pub(crate) fn check_writable(&self) -> Result<(), JournalError> {
        match &self.poisoned {
            Some(reason) => Err(JournalError::Poisoned {
                reason: reason.clone(),
            }),
            None if self.closed => Err(JournalError::Closed),
            None => Ok(()),
        }
    }

    /// `None` while the record may still become durable.
    fn outcome(&self, seq: u64) -> Option<Result<(), JournalError>> {
        if seq <= self.synced_seq {
            return Some(Ok(()));
        }
        self.poisoned.as_ref().map(|reason| {
            Err(JournalError::Poisoned {
                reason: reason.clone(),
            })
        })
    }

    /// Marks everything up to there durable.
    pub(crate) fn mark_synced(&mut self, through: Extent) {
        self.synced_seq = self.synced_seq.max(through.seq);
        self.synced_bytes = self.synced_bytes.max(through.bytes);
        self.urgent_synced = self.urgent_synced.max(through.urgent);
    }

    /// Takes the callbacks that have an outcome.
    fn take_done(&mut self) -> Vec<(OnDone, Result<(), JournalError>)> {
        let pending = match self.poisoned {
            Some(_) => BTreeMap::new(),
            None => self.callbacks.split_off(&(self.synced_seq + 1, 0)),
        };
        let done = std::mem::replace(&mut self.callbacks, pending);
        done.into_iter()
            .filter_map(|((seq, _), callback)| Some((callback, self.outcome(seq)?)))
            .collect()
    }
}

pub(crate) struct Shared {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) dir: PathBuf,
    pub(crate) options: Options,
    state: Mutex<State>,
    /// Wakes the syncing thread.
    pub(crate) work: Condvar,
    /// Wakes those who wait for a commit or for room.
    pub(crate) done: Condvar,
}

impl Shared {
    pub(crate) fn new(disk: Arc<dyn Disk>, dir: PathBuf, options: Options, state: State) -> Self {
        Self {
            disk,
            dir,
            options,
            state: Mutex::new(state),
            work: Condvar::new(),
            done: Condvar::new(),
        }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        // A panic elsewhere cannot leave the state half changed: nothing between two changes that belong together panics.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn wait_done<'a>(&self, state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        self.done
            .wait(state)
            .unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn poison(&self, state: &mut State, error: &JournalError) {
        state.poisoned.get_or_insert_with(|| error.to_string());
        self.done.notify_all();
        self.work.notify_one();
    }

    /// Syncs what was appended so far, then answers everyone whose record is durable (or never will be).
    pub(crate) fn sync_once(&self) {
        let (file, path, through, needed) = {
            let mut state = self.lock();
            while state.syncing {
                state = self.wait_done(state);
            }
            let path = state
                .segments
                .back()
                .map(|segment| segment.path.clone())
                .unwrap_or_default();
            let needed = state.has_unsynced() && state.poisoned.is_none();
            state.syncing = needed;
            (state.active.clone(), path, state.appended(), needed)
        };
        let result = if needed { file.sync() } else { Ok(()) };
        let mut state = self.lock();
        if needed {
            state.syncing = false;
        }
        match result {
            Ok(()) if needed && state.poisoned.is_none() => {
                // What waited before, and what came meanwhile.
                state.together = state.unsynced_urgent();
                state.mark_synced(through)
            }
            Ok(()) => {}
            Err(e) => {
                let error = JournalError::Io {
                    operation: "fsync",
                    path,
                    source: Arc::new(e),
                };
                self.poison(&mut state, &error);
            }
        }
        let answers = state.take_done();
        drop(state);
        self.done.notify_all();
        for (callback, outcome) in answers {
            callback(outcome);
        }
    }

    /// Blocks until the record is durable or never will be. `hurry`: do not wait out the policy's delay.
    pub(crate) fn wait_for(&self, seq: u64, hurry: bool) -> Result<(), JournalError> {
        if self.options.sync == SyncPolicy::Manual {
            if self.lock().outcome(seq).is_none() {
                self.sync_once();
            }
            return self
                .lock()
                .outcome(seq)
                .unwrap_or(Err(JournalError::Closed));
        }
        let mut state = self.lock();
        loop {
            if let Some(outcome) = state.outcome(seq) {
                return outcome;
            }
            if state.closed && !state.has_unsynced() {
                return Err(JournalError::Closed);
            }
            if hurry && !state.hurry {
                state.hurry = true;
                self.work.notify_one();
            }
            state = self.wait_done(state);
        }
    }

    /// The syncing thread: one fsync for all that was appended meanwhile, until closed.
    pub(crate) fn sync_loop(&self) {
        // Should a callback panic, nobody would sync any more: say so instead of letting everyone wait.
        struct StoppedGuard<'a>(&'a Shared);
        impl Drop for StoppedGuard<'_> {
            fn drop(&mut self) {
                let mut state = self.0.lock();
                state.syncing = false;
                if !state.closed || state.has_unsynced() {
                    state
                        .poisoned
                        .get_or_insert_with(|| "the syncing thread stopped".to_owned());
                }
                drop(state);
                self.0.done.notify_all();
            }
        }
        let guard = StoppedGuard(self);
        let idle = |state: &mut State| {
            !state.closed
                && (!state.has_unsynced() || state.poisoned.is_some())
                && state.callbacks.is_empty()
        };
        loop {
            let mut state = self.lock();
            state.thread = Thread::Idle;
            let mut state = self
                .work
                .wait_while(state, idle)
                .unwrap_or_else(PoisonError::into_inner);
            if let SyncPolicy::Within(delay) = self.options.sync {
                let patient =
                    |state: &mut State| !state.closed && !state.hurry && state.poisoned.is_none();
                (state, _) = self
                    .work
                    .wait_timeout_while(state, delay, patient)
                    .unwrap_or_else(PoisonError::into_inner);
            }
            if let SyncPolicy::Together(longest) = self.options.sync {
                let waits =
                    |state: &State| !state.closed && !state.hurry && state.poisoned.is_none();
                state.thread = Thread::Patient;
                let patient = |state: &mut State| waits(state) && state.has_time();
                (state, _) = self
                    .work
                    .wait_timeout_while(state, PATIENCE, patient)
                    .unwrap_or_else(PoisonError::into_inner);
                state.thread = Thread::Gathering;
                let alone = |state: &mut State| {
                    waits(state)
                        && state.unsynced_urgent() > 0
                        && state.unsynced_urgent() < state.together
                };
                (state, _) = self
                    .work
                    .wait_timeout_while(state, longest, alone)
                    .unwrap_or_else(PoisonError::into_inner);
            }
            state.thread = Thread::Working;
            state.hurry = false;
            let closed = state.closed;
            drop(state);
            self.sync_once();
            if closed {
                break;
            }
        }
        drop(guard);
    }
}

/// Completes once a record, and every record before it, is durable.
#[derive(Clone)]
pub struct Commit {
    pub(crate) shared: Arc<Shared>,
    pub(crate) seq: u64,
}

impl Commit {
    /// Blocks until the record is durable. With `SyncPolicy::Within` this waits out the delay ([`crate::Journal::sync`]
    /// does not); with `SyncPolicy::Manual` it syncs on the calling thread.
    ///
    /// # Errors
    /// [`JournalError::Poisoned`] when it will never be durable in this journal; whether it is found after the next
    /// open is unknown.
    pub fn wait(&self) -> Result<(), JournalError> {
        self.shared.wait_for(self.seq, false)
    }

    /// Whether the record is durable by now.
    pub fn is_durable(&self) -> bool {
        self.seq <= self.shared.lock().synced_seq
    }

    /// Calls `callback` once with what [`Commit::wait`] would return: at once on this thread when that is known, else on
    /// the thread that syncs, in order of sequence. It must be short, must not panic and must not wait for a commit.
    pub fn on_done(&self, callback: impl FnOnce(Result<(), JournalError>) + Send + 'static) {
        let mut state = self.shared.lock();
        let outcome = match state.outcome(self.seq) {
            None if state.closed => Some(Err(JournalError::Closed)),
            known => known,
        };
        match outcome {
            Some(outcome) => {
                drop(state);
                callback(outcome);
            }
            None => {
                state.callbacks_registered += 1;
                let key = (self.seq, state.callbacks_registered);
                state.callbacks.insert(key, Box::new(callback));
            }
        }
    }
}

impl fmt::Debug for Commit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Commit")
            .field("seq", &self.seq)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::SimDisk;

    #[test]
    fn only_who_is_in_a_hurry_or_brings_much_wakes_the_thread() {
        let file = SimDisk::new(1).create("/log".as_ref()).unwrap();
        let mut state = State::new(VecDeque::new(), file, 1);
        state.thread = Thread::Patient;
        let append = |state: &mut State, bytes, urgent| {
            state.next_seq += 1;
            state.appended_bytes += bytes;
            state.urgent_appended += u64::from(urgent);
        };
        append(&mut state, PATIENT_BYTES_MAX - 1, false);
        assert!(!state.wakes_thread());
        append(&mut state, 1, false);
        assert!(state.wakes_thread(), "much waits");
        let all = state.appended();
        state.mark_synced(all);
        append(&mut state, 1, false);
        assert!(!state.wakes_thread());
        append(&mut state, 1, true);
        assert!(state.wakes_thread(), "somebody is in a hurry");
        // What came with an fsync under way is not of it.
        state.mark_synced(all);
        assert!(state.wakes_thread());
    }
}
