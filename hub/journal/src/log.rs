//! The journal as its users see it: open, append, sync, free.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    thread::JoinHandle,
    time::Duration,
};

use crate::{
    disk::Disk,
    error::JournalError,
    reader::Reader,
    recover::{self, Recovery},
    segment::{self, Header, RECORD_BYTES_LIMIT, RECORD_HEADER_BYTES},
    shared::{Commit, Segment, Shared, State},
};

/// When appended records are made durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SyncPolicy {
    /// As soon as the previous fsync has ended: appends that arrive during one share the next. A crash loses only what
    /// no commit has completed for.
    Immediate,
    /// As soon as as many appends wait as were under way at once lately, or when the oldest of them has waited so long: for
    /// senders that wait for their commit before they append again. One fsync serves all of them, and none of them waits
    /// for others that do not come. Only with this one [`Urgency::Patient`] makes a difference.
    Together(Duration),
    /// At most this long after the append (plus the fsync itself), so that a slow trickle costs few fsyncs. A crash loses
    /// at most this much time.
    Within(Duration),
    /// Only when someone calls [`Journal::sync`] or [`Commit::wait`], on that thread; no thread is started. For small
    /// logs written in one go, and for tests that must run the same way twice.
    Manual,
}

/// How soon an append is to be durable.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Urgency {
    /// As soon as the [`SyncPolicy`] says.
    #[default]
    Now,
    /// Together with the next one that is urgent, or once it has waited for [`PATIENCE`], or as soon as
    /// [`PATIENT_BYTES_MAX`] are waiting: for those who bring much and do not wait for each commit. Who is in a hurry waits for the
    /// fsync that is under way and for one more; so a disk that does nothing else halves that, and a bounded one keeps it short.
    Patient,
}

/// How long an append waits for its fsync that is [`Urgency::Patient`].
pub const PATIENCE: Duration = Duration::from_millis(50);
/// So much waits for the disk, and an append is not patient any more: that much is written in about the time of an fsync.
pub const PATIENT_BYTES_MAX: u64 = 1 << 20;

/// How a journal is kept. `Default` suits a write-ahead log on a server.
#[derive(Debug, Clone)]
pub struct Options {
    /// A segment that would grow beyond this is closed first (a single larger record still gets one of its own).
    /// Space is freed in whole segments. Default 64 MiB.
    pub segment_bytes_max: u64,
    /// Largest payload accepted; at most [`RECORD_BYTES_LIMIT`]. Default 64 MiB.
    pub record_bytes_max: usize,
    /// Appends wait for the disk while this much is not synced. Default 64 MiB.
    pub unsynced_bytes_max: u64,
    /// Default `Immediate`.
    pub sync: SyncPolicy,
    /// The next record gets at least this sequence. For owners who have stored, elsewhere, what came before it, and must
    /// never see an older number again, even if the log was lost. Default 1, the first number there is.
    pub next_seq_min: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            segment_bytes_max: 64 << 20,
            record_bytes_max: 64 << 20,
            unsynced_bytes_max: 64 << 20,
            sync: SyncPolicy::Immediate,
            next_seq_min: 1,
        }
    }
}

/// What an append returns.
#[derive(Debug, Clone)]
pub struct Appended {
    /// Sequence of the (first) record.
    pub seq: u64,
    /// Sequence of the last record; `seq - 1` when none was given.
    pub last_seq: u64,
    /// Completes when all of them are durable.
    pub commit: Commit,
}

/// One segment file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SegmentInfo {
    /// Where it is.
    pub path: PathBuf,
    /// Sequence of its first record.
    pub first_seq: u64,
    /// Sequence of its last record, inclusive; `first_seq - 1` while it has none.
    pub last_seq: u64,
    /// Its size.
    pub bytes: u64,
    /// Whether appends go to it. The active segment is always the last one and is never freed.
    pub active: bool,
}

/// What [`Journal::free_through`] removed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Freed {
    /// Whole segments removed.
    pub segments: usize,
    /// Their size.
    pub bytes: u64,
}

/// An open journal. All methods take `&self` and may be called from many threads. Dropping it syncs what was appended
/// (not with `SyncPolicy::Manual`).
pub struct Journal {
    pub(crate) shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Journal {
    /// Opens the journal in `dir` (created when absent), repairs what an interrupted write left, and says what it found.
    ///
    /// Nobody else may have it open: see [`Disk::lock`].
    ///
    /// # Errors
    /// An unknown format version or the system's refusal. Damaged records are no error here; see [`Recovery`].
    pub fn open(
        disk: Arc<dyn Disk>,
        dir: &Path,
        options: Options,
    ) -> Result<(Self, Recovery), JournalError> {
        let options = Options {
            record_bytes_max: options.record_bytes_max.min(RECORD_BYTES_LIMIT),
            ..options
        };
        let recovered = recover::recover(&*disk, dir, options.next_seq_min.max(1))?;
        let state = State::new(
            recovered.segments,
            recovered.active,
            recovered.report.next_seq,
        );
        let manual = options.sync == SyncPolicy::Manual;
        let shared = Arc::new(Shared::new(disk, dir.to_owned(), options, state));
        let thread = if manual {
            None
        } else {
            let shared = shared.clone();
            let spawned = std::thread::Builder::new()
                .name("journal-sync".to_owned())
                .spawn(move || shared.sync_loop());
            Some(spawned.map_err(|e| JournalError::io("starting the syncing thread", dir, e))?)
        };
        Ok((Self { shared, thread }, recovered.report))
    }

    /// Appends one record; see [`Journal::append_all`].
    ///
    /// # Errors
    /// As [`Journal::append_all`].
    pub fn append(&self, record: &[u8]) -> Result<Appended, JournalError> {
        self.append_all(&[record])
    }

    /// Appends records under consecutive sequences, in one write. They can be read when it returns and are durable when
    /// the commit completes; a crash before that may keep the first few of them. Blocks only while
    /// `Options::unsynced_bytes_max` is reached or a full segment is closed.
    ///
    /// # Errors
    /// On an error none of them was kept. [`JournalError::DiskFull`] and [`JournalError::RecordTooLarge`] leave the
    /// journal usable, [`JournalError::Poisoned`] does not.
    pub fn append_all(&self, records: &[&[u8]]) -> Result<Appended, JournalError> {
        self.append_with(records, Urgency::Now)
    }

    /// [`Journal::append_all`] of records that may have time.
    ///
    /// # Errors
    /// As [`Journal::append_all`].
    pub fn append_with(
        &self,
        records: &[&[u8]],
        urgency: Urgency,
    ) -> Result<Appended, JournalError> {
        let max = self.shared.options.record_bytes_max;
        if let Some(large) = records.iter().find(|record| record.len() > max) {
            return Err(JournalError::RecordTooLarge {
                bytes: large.len(),
                max,
            });
        }
        let bytes: u64 = records
            .iter()
            .map(|record| RECORD_HEADER_BYTES + record.len() as u64)
            .sum();
        let mut state = self.shared.lock();
        loop {
            state.check_writable()?;
            let unsynced = state.unsynced_bytes();
            if unsynced > 0 && unsynced + bytes > self.shared.options.unsynced_bytes_max {
                if self.thread.is_none() {
                    drop(state);
                    self.shared.sync_once();
                    state = self.shared.lock();
                } else {
                    state.hurry = true;
                    self.shared.work.notify_one();
                    state = self.shared.wait_done(state);
                }
            } else if state.syncing && self.is_full(&state, bytes) {
                state = self.shared.wait_done(state);
            } else {
                break;
            }
        }
        let seq = state.next_seq;
        if !records.is_empty() {
            self.write(&mut state, records, bytes)?;
            if urgency == Urgency::Now {
                state.urgent_appended += records.len() as u64;
            }
        }
        let last_seq = state.next_seq - 1;
        let wakes = state.wakes_thread();
        drop(state);
        if wakes {
            self.shared.work.notify_one();
        }
        Ok(Appended {
            seq,
            last_seq,
            commit: Commit {
                shared: self.shared.clone(),
                seq: last_seq,
            },
        })
    }

    /// Whether `bytes` more belong in a new segment.
    fn is_full(&self, state: &State, bytes: u64) -> bool {
        state.segments.back().is_some_and(|active| {
            active.next_seq > active.first_seq
                && active.bytes + bytes > self.shared.options.segment_bytes_max
        })
    }

    fn write(&self, state: &mut State, records: &[&[u8]], bytes: u64) -> Result<(), JournalError> {
        if self.is_full(state, bytes) {
            self.roll_locked(state)?;
        }
        let mut scratch = std::mem::take(&mut state.scratch);
        scratch.clear();
        for (seq, record) in (state.next_seq..).zip(records) {
            segment::encode_record(&mut scratch, seq, record);
        }
        let written = state.active.append(&scratch);
        // One huge record must not hold its memory for ever.
        if scratch.capacity() <= 4 << 20 {
            state.scratch = scratch;
        }
        let active = state
            .segments
            .back_mut()
            .expect("invariant: a journal has an active segment");
        if let Err(e) = written {
            let error = JournalError::io("appending to", &active.path, e);
            let (path, keep) = (active.path.clone(), active.bytes);
            // Synced, so that no crash brings back what was refused: its sequence is going to be used again.
            if let Err(e) = state
                .active
                .truncate(keep)
                .and_then(|()| state.active.sync())
            {
                self.shared.poison(
                    state,
                    &JournalError::io("cutting off a failed write of", &path, e),
                );
            }
            return Err(error);
        }
        active.bytes += bytes;
        active.next_seq += records.len() as u64;
        state.next_seq += records.len() as u64;
        state.appended_bytes += bytes;
        Ok(())
    }

    /// Closes the active segment, so that [`Journal::free_through`] can free it, and starts the next one. Does nothing
    /// when it has no records.
    ///
    /// # Errors
    /// As [`Journal::append_all`]; on `DiskFull` the old segment stays active.
    pub fn roll(&self) -> Result<(), JournalError> {
        let mut state = self.shared.lock();
        while state.syncing {
            state = self.shared.wait_done(state);
        }
        state.check_writable()?;
        let empty = state
            .segments
            .back()
            .is_none_or(|active| active.next_seq == active.first_seq);
        let result = if empty {
            Ok(())
        } else {
            self.roll_locked(&mut state)
        };
        drop(state);
        // Commits of the closed segment are complete: let the thread answer them.
        self.shared.done.notify_all();
        self.shared.work.notify_one();
        result
    }

    /// A segment is whole on disk before its successor exists; recovery relies on it. Not while `state.syncing`.
    fn roll_locked(&self, state: &mut State) -> Result<(), JournalError> {
        let old = state
            .segments
            .back()
            .expect("invariant: a journal has an active segment");
        if let Err(e) = state.active.sync() {
            let error = JournalError::Io {
                operation: "fsync",
                path: old.path.clone(),
                source: Arc::new(e),
            };
            self.shared.poison(state, &error);
            return Err(error);
        }
        let all = state.appended();
        state.mark_synced(all);
        self.shared.done.notify_all();
        let header = Header {
            first_seq: state.next_seq,
            previous_next_seq: state.next_seq,
        };
        match recover::create_segment(&*self.shared.disk, &self.shared.dir, header) {
            Ok((segment, file)) => {
                state.segments.push_back(segment);
                state.active = file;
                Ok(())
            }
            Err(error @ JournalError::DiskFull { .. }) => Err(error),
            Err(error) => {
                // Whether the new file is there is unknown; appending to the old one beside it could lose records.
                self.shared.poison(state, &error);
                Err(error)
            }
        }
    }

    /// Blocks until everything appended so far is durable, without waiting out the policy's delay.
    ///
    /// # Errors
    /// [`JournalError::Poisoned`].
    pub fn sync(&self) -> Result<(), JournalError> {
        let last = self.last_seq();
        self.shared.wait_for(last, true)
    }

    /// Reads all records from `seq` on (or from the first one kept, if that is later), also those not yet durable.
    /// The reader ends where the journal ends now and goes on when asked again after more was appended.
    pub fn read_from(&self, seq: u64) -> Reader {
        Reader::new(self.shared.clone(), seq, false)
    }

    /// As [`Journal::read_from`], but ends at the last durable record: what it yields survives a crash.
    pub fn read_synced_from(&self, seq: u64) -> Reader {
        Reader::new(self.shared.clone(), seq, true)
    }

    /// Sequence of the last record appended; one less than the next.
    pub fn last_seq(&self) -> u64 {
        self.shared.lock().next_seq - 1
    }

    /// Sequence up to which all records are durable.
    pub fn synced_seq(&self) -> u64 {
        self.shared.lock().synced_seq
    }

    /// Why nothing more is accepted, if so.
    pub fn poisoned(&self) -> Option<String> {
        self.shared.lock().poisoned.clone()
    }

    /// All segments, oldest first. Never empty.
    pub fn segments(&self) -> Vec<SegmentInfo> {
        let state = self.shared.lock();
        let active = state.segments.len() - 1;
        let segments = state.segments.iter().enumerate();
        segments
            .map(|(i, segment)| info(segment, i == active))
            .collect()
    }

    /// The segment that appends go to: the last of [`Journal::segments`].
    pub fn active(&self) -> SegmentInfo {
        let state = self.shared.lock();
        info(&state.segments[state.segments.len() - 1], true)
    }

    /// The segment that holds a record.
    pub fn segment_of(&self, seq: u64) -> Option<SegmentInfo> {
        let state = self.shared.lock();
        let active = state.segments.len() - 1;
        let at = state
            .segments
            .partition_point(|segment| segment.next_seq <= seq);
        let segment = state.segments.get(at)?;
        (segment.first_seq <= seq).then(|| info(segment, at == active))
    }

    /// Size of all segments.
    pub fn bytes(&self) -> u64 {
        self.shared
            .lock()
            .segments
            .iter()
            .map(|segment| segment.bytes)
            .sum()
    }

    /// Removes the whole segments whose records are all at or before `seq`, oldest first; never the active one
    /// ([`Journal::roll`] closes it).
    ///
    /// # Errors
    /// The system's; what was removed before stays removed. A failed fsync of the folder poisons the journal (a segment
    /// that comes back after a crash, behind ones that were freed later, would look like damage), and a poisoned
    /// journal frees nothing.
    pub fn free_through(&self, seq: u64) -> Result<Freed, JournalError> {
        let mut freed = Freed::default();
        loop {
            let mut state = self.shared.lock();
            state.check_writable()?;
            let first = state
                .segments
                .front()
                .filter(|first| state.segments.len() > 1 && first.next_seq - 1 <= seq);
            let Some(first) = first.cloned() else { break };
            self.shared
                .disk
                .remove(&first.path)
                .map_err(|e| JournalError::io("removing", &first.path, e))?;
            state.segments.pop_front();
            freed.segments += 1;
            freed.bytes += first.bytes;
        }
        if freed.segments > 0 {
            let dir = &self.shared.dir;
            if let Err(e) = self.shared.disk.sync_dir(dir) {
                let error = JournalError::io("fsync", dir, e);
                self.shared.poison(&mut self.shared.lock(), &error);
                return Err(error);
            }
        }
        Ok(freed)
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        self.shared.lock().closed = true;
        self.shared.work.notify_one();
        if let Some(thread) = self.thread.take() {
            // A panic in the thread was already turned into `poisoned`.
            let _ = thread.join();
        }
        self.shared.done.notify_all();
    }
}

#[cfg(test)]
mod tests;

#[cfg(test)]
mod properties;

fn info(segment: &Segment, active: bool) -> SegmentInfo {
    SegmentInfo {
        path: segment.path.clone(),
        first_seq: segment.first_seq,
        last_seq: segment.next_seq - 1,
        bytes: segment.bytes,
        active,
    }
}
