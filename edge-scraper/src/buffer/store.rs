//! The buffer itself: open, append, evict, and the books.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use daemon::Clock;
use journal::{Disk, Journal, JournalError, Options, SyncPolicy};
use model::Timestamp;
use tokio::sync::watch;
use wire::edge_headers::SequenceRange;
use wire::line::LineEncoder;

use super::books::{Books, HubBook, HubCounts, settle_fault};
use super::cursor::{Cursor, Synced};
use super::eviction::EvictionPolicy;
use super::files::{
    State, cursor_file, guess_state, io_error, new_epoch, read_cursors, read_state, write_small,
};
use super::index::{Fault, Index, RecordMeta};
use super::record::Counts;
use super::replay::Replay;
use crate::planted::{self, Planted};

mod append;
mod room;

pub use append::Following;

const STATE_FILE: &str = "state";
const RESERVE_FILE: &str = "reserve";
/// Given up on a full disk so that there is room to write down what is being evicted. Less where there is no room for so much.
const RESERVE_BYTES: usize = 64 << 10;
const RESERVE_BYTES_MIN: usize = 8 << 10;
/// A segment is a sixteenth of the buffer, within these bounds: it goes whole when room is needed, and what describes its
/// series should be a small part of it.
const SEGMENT_BYTES: std::ops::RangeInclusive<u64> = (64 << 10)..=(16 << 20);
/// The entries of a segment are in memory while it is looked at.
const SEGMENT_RECORDS_MAX: u64 = 4096;
/// How many readers of the sessions in segments are kept.
pub(super) const REPLAYS_MAX: usize = 2;

/// How a buffer is kept.
#[derive(Clone, Debug)]
pub struct BufferOptions {
    /// Room for records on disk; over it the oldest go. At least four segments of 64 KiB are kept. Default 1 GiB.
    pub bytes_max: u64,
    /// What goes first. Default: the oldest.
    pub eviction: EvictionPolicy,
    /// Longest time between a scrape and its being synced. Zero: as soon as the disk can. None: only when
    /// [`Buffer::sync`] is called (tests). Default 1 s.
    pub sync_bound: Option<Duration>,
    /// Longest time between an acknowledgement and its being saved. Default 5 s.
    pub save_bound: Duration,
    /// A restart that takes less is no gap: it falls between two scrapes of a target. Default 1 min.
    pub downtime_least: Duration,
    /// Name of the edge, which the frames carry: visible ASCII characters. Default `edge`.
    pub edge: String,
    /// The epoch of a buffer that has to be made; None draws a random one. For tests.
    pub epoch_if_new: Option<u64>,
}

impl Default for BufferOptions {
    fn default() -> Self {
        BufferOptions {
            bytes_max: 1 << 30,
            eviction: EvictionPolicy::default(),
            sync_bound: Some(Duration::from_secs(1)),
            save_bound: Duration::from_secs(5),
            downtime_least: Duration::from_secs(60),
            edge: "edge".to_owned(),
            epoch_if_new: None,
        }
    }
}

/// What can go wrong with a buffer.
#[derive(Debug, Clone, thiserror::Error)]
pub enum BufferError {
    /// The journal refuses.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// A file of the buffer cannot be read or written.
    #[error("{operation} of {path} failed: {source}")]
    Io {
        /// What was tried.
        operation: &'static str,
        /// On which file.
        path: PathBuf,
        /// The system's answer.
        source: Arc<io::Error>,
    },
    /// A scrape came without labels that are not known here: it is to be handed over again with all of them.
    #[error("{}", wire::line::LabelsWanted)]
    LabelsWanted,
    /// A name that cannot be written into the cursor's file.
    #[error("hub name {hub:?} has a line break or another control character: give it another name")]
    BadHubName {
        /// The name.
        hub: String,
    },
    /// A hub that was not attached.
    #[error("hub {hub:?} is not known to the buffer: attach it first")]
    UnknownHub {
        /// Its name.
        hub: String,
    },
}

impl BufferError {
    /// Whether there was no room left on the disk.
    pub(super) fn is_disk_full(&self) -> bool {
        match self {
            BufferError::Journal(JournalError::DiskFull { .. }) => true,
            BufferError::Io { source, .. } => journal::is_disk_full(source),
            _ => false,
        }
    }
}

/// The buffer as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BufferStatus {
    /// Its identity.
    pub epoch: u64,
    /// What was synced to it, ever.
    pub scraped: Counts,
    /// Scrapes refused since the start because the disk was full or failing.
    pub refused: Counts,
    /// Bytes of records on disk.
    pub bytes: u64,
    /// The cap.
    pub bytes_max: u64,
    /// Why nothing more is accepted, if so.
    pub poisoned: Option<String>,
}

/// See the [module](super). All methods block on the disk and may be called from any thread.
pub struct Buffer {
    pub(super) journal: Journal,
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    clock: Arc<dyn Clock>,
    options: BufferOptions,
    epoch: u64,
    appending: Mutex<Appending>,
    durable: Mutex<Durable>,
    /// Tells shippers that more became durable.
    news: watch::Sender<u64>,
    books: Mutex<Books>,
    replays: Mutex<Vec<Replay>>,
    followers: Arc<AtomicUsize>,
    room: Mutex<room::Room>,
    /// What the journal holds is only known once it is opened again: cursors are not saved until then, which costs nothing but that records
    /// are sent again.
    is_torn: AtomicBool,
}

/// Where a session is gone on with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The record that comes next.
    pub seq: u64,
    /// When it was scraped, if it is there already.
    pub waiting: Option<Timestamp>,
}

struct Appending {
    /// Of all records appended, synced or not.
    cumulative: Counts,
    refused: Counts,
    /// Time of the last record of the edge before this one, until this one has its first.
    before: Option<Timestamp>,
    /// Codes every record. Its session is that of the active segment's last record, if it has one.
    encoder: LineEncoder,
}

struct Durable {
    synced: Synced,
    /// Appended and not yet known to be durable, in order. Bounded by what the journal leaves unsynced.
    waiting: VecDeque<Synced>,
}

impl Buffer {
    /// Opens the buffer in `dir`, or makes one, and goes on where it ended. The caller holds the data folder's lock.
    ///
    /// # Errors
    /// The disk's refusal, or an unknown format of the journal. Damage is no error: it is counted.
    pub fn open(
        disk: Arc<dyn Disk>,
        dir: &Path,
        options: BufferOptions,
        clock: Arc<dyn Clock>,
    ) -> Result<Buffer, BufferError> {
        let journal_dir = dir.join("journal");
        disk.create_dir_all(&journal_dir)
            .map_err(io_error("creating", &journal_dir))?;
        let names = disk
            .list(&journal_dir)
            .map_err(io_error("listing", &journal_dir))?;
        let state = if names.iter().any(|name| name.ends_with(".seg")) {
            read_state(&*disk, &dir.join(STATE_FILE))?
        } else {
            // No records: a new buffer, or one that was wiped. What cursors say is of another epoch.
            let epoch = options.epoch_if_new.unwrap_or_else(new_epoch);
            let state = State {
                epoch,
                kept_from: 1,
                before: Counts::default(),
                rewritten: BTreeMap::new(),
                rewriting: None,
            };
            write_small(&*disk, &dir.join(STATE_FILE), &state.encode())?;
            Some(state)
        };
        let cursors = read_cursors(&*disk, dir)?;
        let seen = cursors.iter().map(Cursor::last_known).max().unwrap_or(0);
        let journal_options = Options {
            // Segments are closed here, when a session ends: never by the journal itself.
            segment_bytes_max: 1 << 30,
            record_bytes_max: 32 << 20,
            unsynced_bytes_max: 16 << 20,
            sync: match options.sync_bound {
                None => SyncPolicy::Manual,
                Some(Duration::ZERO) => SyncPolicy::Immediate,
                Some(bound) => SyncPolicy::Within(bound),
            },
            next_seq_min: seen.max(state.as_ref().map_or(0, |state| state.kept_from - 1)) + 1,
        };
        let (journal, recovery) = Journal::open(disk.clone(), &journal_dir, journal_options)?;
        if let Some(tail) = &recovery.torn_tail {
            tracing::info!(
                bytes = tail.bytes,
                "cut an unfinished scrape off the buffer: the edge was stopped hard"
            );
        }
        let state = match state {
            Some(state) => state,
            None => {
                let state = guess_state(&journal, options.epoch_if_new);
                tracing::warn!(
                    epoch = state.epoch,
                    "the buffer's state file is missing or damaged: read from its records"
                );
                write_small(&*disk, &dir.join(STATE_FILE), &state.encode())?;
                state
            }
        };
        let cursors = cursors
            .into_iter()
            .filter(|cursor| cursor.epoch == state.epoch);
        let edge = options.edge.clone();
        let buffer = Buffer {
            durable: Mutex::new(Durable {
                synced: Synced::default(),
                waiting: VecDeque::new(),
            }),
            news: watch::Sender::new(journal.synced_seq()),
            journal,
            disk,
            dir: dir.to_owned(),
            clock,
            options,
            epoch: state.epoch,
            appending: Mutex::new(Appending {
                cumulative: state.before,
                refused: Counts::default(),
                before: None,
                encoder: LineEncoder::new(0, &edge, state.epoch),
            }),
            replays: Mutex::default(),
            followers: Arc::default(),
            room: Mutex::default(),
            is_torn: AtomicBool::new(false),
            books: Mutex::new(Books {
                index: Index::new(state.epoch),
                hubs: cursors
                    .map(|cursor| (cursor.hub.clone(), HubBook::new(cursor)))
                    .collect(),
                kept_from: state.kept_from,
                before: state.before,
            }),
        };
        {
            let mut books = buffer.books();
            books.index.rewritten = state.rewritten;
            buffer.settle_rewriting(&mut books, state.rewriting);
        }
        buffer.resume()?;
        Ok(buffer)
    }

    /// Finishes an eviction that a crash interrupted, and finds the running count.
    fn resume(&self) -> Result<(), BufferError> {
        let mut books = self.books();
        let kept_from = books
            .hubs
            .values()
            .map(|hub| hub.cursor.kept_from)
            .fold(books.kept_from, u64::max);
        for info in self.journal.segments() {
            if !info.active && info.last_seq < kept_from {
                match self.evict(&mut books, &info) {
                    // It is settled for whoever counts it as evicted, and goes with the next eviction.
                    Err(error) if error.is_disk_full() => {
                        tracing::warn!(%error, "an eviction that was interrupted cannot be finished now");
                        break;
                    }
                    done => done?,
                }
            }
        }
        let mut last = Synced {
            seq: books.kept_from - 1,
            cumulative: books.before,
        };
        let mut newest = None;
        let through = self.journal.synced_seq();
        for info in self.journal.segments().iter().rev() {
            let before = books.before;
            let segment = books.index.segment(&self.journal, info, through, before)?;
            if let Some(record) = segment.records.last().copied() {
                newest = Some(record.at);
                last = Synced {
                    seq: record.seq,
                    cumulative: books.index.scraped_through(info.first_seq, &record),
                };
                break;
            }
        }
        let known = books
            .hubs
            .values()
            .map(|hub| hub.cursor.synced)
            .max_by_key(|synced| synced.seq);
        if let Some(known) = known.filter(|known| known.seq > last.seq) {
            // A disk that loses its last records cannot be told from an interrupted write, save by this.
            let fault = Fault {
                first: last.seq + 1,
                last: known.seq,
                counts: known.cumulative.saturating_sub(last.cumulative),
                // From then on no edge ran, as far as anybody can tell.
                times: newest.zip(newest),
            };
            settle_fault(&mut books.hubs, &fault);
            last = known;
        }
        drop(books);
        if !planted::is(Planted::ForgetsWhatWasScraped) {
            lock(&self.appending).cumulative = last.cumulative;
        }
        lock(&self.appending).before = newest;
        lock(&self.durable).synced = Synced {
            seq: last.seq.max(through),
            cumulative: last.cumulative,
        };
        self.write_reserve();
        Ok(())
    }

    /// Its identity: another one after it was wiped.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// The wall and monotonic clock that the buffer goes by.
    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.clock
    }

    /// Longest time between an acknowledgement and its being saved.
    pub fn save_bound(&self) -> Duration {
        self.options.save_bound
    }

    /// Makes a hub known: from now on what it has not acknowledged is counted. A hub that was known before the last
    /// restart goes on where it was; a new one is owed everything that is still in the buffer.
    ///
    /// # Errors
    /// A name with control characters, or the disk's refusal to save its cursor.
    pub fn attach(&self, hub: &str) -> Result<(), BufferError> {
        if hub.chars().any(char::is_control) {
            return Err(BufferError::BadHubName {
                hub: hub.to_owned(),
            });
        }
        let mut books = self.books();
        if books.hubs.contains_key(hub) {
            return Ok(());
        }
        // What was taken from segments that are still here is gone as well.
        let taken = books.index.rewritten.values().map(|done| done.taken);
        let before = books.before + taken.sum::<Counts>();
        let mut cursor = Cursor::new(hub, self.epoch, books.kept_from, before);
        self.save_cursor(&mut cursor)?;
        books.hubs.insert(hub.to_owned(), HubBook::new(cursor));
        Ok(())
    }

    /// Forgets the hubs that are not in `hubs`: nothing is owed to them any more.
    ///
    /// # Errors
    /// The disk's refusal to remove a cursor.
    pub fn retain_hubs(&self, hubs: &[String]) -> Result<(), BufferError> {
        let mut books = self.books();
        let gone: Vec<String> = books
            .hubs
            .keys()
            .filter(|hub| !hubs.contains(hub))
            .cloned()
            .collect();
        for hub in gone {
            let path = self.dir.join(cursor_file(&hub));
            self.disk
                .remove(&path)
                .map_err(io_error("removing", &path))?;
            books.hubs.remove(&hub);
        }
        self.disk
            .sync_dir(&self.dir)
            .map_err(io_error("fsync", &self.dir))
    }

    /// Blocks until everything taken in is durable.
    ///
    /// # Errors
    /// A poisoned journal.
    pub fn sync(&self) -> Result<(), BufferError> {
        Ok(self.journal.sync()?)
    }

    /// Changes whenever more became durable: what can be sent.
    pub fn subscribe(&self) -> watch::Receiver<u64> {
        self.news.subscribe()
    }

    /// Where durability ends now.
    pub(super) fn synced(&self) -> Synced {
        let seq = self.journal.synced_seq();
        let mut durable = lock(&self.durable);
        while let Some(next) = durable
            .waiting
            .front()
            .copied()
            .filter(|next| next.seq <= seq)
        {
            durable.synced = next;
            durable.waiting.pop_front();
        }
        durable.synced
    }

    /// The buffer as a whole.
    pub fn status(&self) -> BufferStatus {
        BufferStatus {
            epoch: self.epoch,
            scraped: self.synced().cumulative,
            refused: lock(&self.appending).refused,
            bytes: self.journal.bytes(),
            bytes_max: self.options.bytes_max,
            poisoned: self.journal.poisoned(),
        }
    }

    /// The books of a hub. Walks the records that are pending, or uses what it remembers of them.
    ///
    /// # Errors
    /// A hub that is not attached, or a disk that cannot be read.
    pub fn counts(&self, hub: &str) -> Result<HubCounts, BufferError> {
        let mut books = self.books();
        let synced = self.synced();
        let pending = books.pending(&self.journal, hub, synced.seq)?;
        let cursor = &books.hub(hub)?.cursor;
        Ok(HubCounts {
            scraped: synced.cumulative,
            before: cursor.before,
            acknowledged: cursor.acknowledged.counts,
            pending,
            quarantined: cursor.quarantined.counts,
            evicted: cursor.evicted,
            thinned: cursor.thinned,
            damaged: cursor.damaged.counts,
        })
    }

    /// Which records the hub has acknowledged, of those still on disk.
    ///
    /// # Errors
    /// A hub that is not attached.
    pub fn acknowledged(&self, hub: &str) -> Result<Vec<SequenceRange>, BufferError> {
        Ok(self
            .books()
            .hub(hub)?
            .cursor
            .acknowledged
            .sequences
            .ranges()
            .collect())
    }

    /// How scattered a hub's acknowledgements are: many ranges take memory and make the cursor's file long.
    ///
    /// # Errors
    /// A hub that is not attached.
    pub fn range_count(&self, hub: &str) -> Result<usize, BufferError> {
        Ok(self.books().hub(hub)?.cursor.range_count())
    }

    /// The hub has these records, durably. An acknowledgement that comes late, for what was evicted or thinned while it was under
    /// way, takes it back out of `evicted`.
    ///
    /// # Errors
    /// A hub that is not attached, or a cursor that could not be saved (it will be tried again).
    pub fn acknowledge(&self, hub: &str, records: &[RecordMeta]) -> Result<(), BufferError> {
        self.settle(hub, records, |cursor, record, taken| {
            if record.seq < cursor.kept_from {
                cursor.arrived(record.at, record.counts);
                cursor.evicted_records = cursor.evicted_records.saturating_sub(1);
                cursor.acknowledged.counts += record.counts;
            } else if !cursor.is_settled(record.seq) {
                cursor.arrived(record.at, taken);
                cursor.acknowledged.add(record.seq, record.counts);
            }
        })
    }

    /// The hub refuses these records for good. They stay on disk and are not sent again until
    /// [`Buffer::release_quarantine`].
    ///
    /// # Errors
    /// As [`Buffer::acknowledge`].
    pub fn quarantine(&self, hub: &str, records: &[RecordMeta]) -> Result<(), BufferError> {
        self.settle(hub, records, |cursor, record, taken| {
            if !cursor.is_settled(record.seq) {
                let counts = record.counts.saturating_sub(taken);
                cursor.quarantined.add(record.seq, counts);
            }
        })
    }

    /// Makes what the hub refused pending again; says how much that is.
    ///
    /// # Errors
    /// As [`Buffer::acknowledge`].
    pub fn release_quarantine(&self, hub: &str) -> Result<Counts, BufferError> {
        let mut books = self.books();
        let book = books.hub_mut(hub)?;
        book.partly.clear();
        let released = std::mem::take(&mut book.cursor.quarantined).counts;
        self.save_cursor(&mut book.cursor)?;
        Ok(released)
    }

    fn settle(
        &self,
        hub: &str,
        records: &[RecordMeta],
        each: impl Fn(&mut Cursor, &RecordMeta, Counts),
    ) -> Result<(), BufferError> {
        let mut books = self.books();
        let now = self.clock.elapsed();
        books.hub(hub)?;
        for record in records {
            let taken = books.taken_since(&self.journal, record)?;
            each(&mut books.hub_mut(hub)?.cursor, record, taken);
        }
        let book = books.hub_mut(hub)?;
        let since = *book.dirty_since.get_or_insert(now);
        if now.saturating_sub(since) >= self.options.save_bound {
            self.save_cursor(&mut book.cursor)?;
            book.dirty_since = None;
        }
        Ok(())
    }

    /// Saves what hubs acknowledged. Called by the shippers when they stop; in between it happens by itself.
    ///
    /// # Errors
    /// The disk's.
    pub fn save(&self) -> Result<(), BufferError> {
        let mut books = self.books();
        for hub in books
            .hubs
            .values_mut()
            .filter(|hub| hub.dirty_since.is_some())
        {
            self.save_cursor(&mut hub.cursor)?;
            hub.dirty_since = None;
        }
        Ok(())
    }

    fn save_all(&self, books: &mut Books) -> Result<(), BufferError> {
        for hub in books.hubs.values_mut() {
            self.save_cursor(&mut hub.cursor)?;
            hub.dirty_since = None;
        }
        Ok(())
    }

    fn save_cursor(&self, cursor: &mut Cursor) -> Result<(), BufferError> {
        if self.is_torn.load(Ordering::Relaxed) {
            return Ok(());
        }
        let synced = self.synced();
        if synced.seq > cursor.synced.seq {
            cursor.synced = synced;
        }
        self.write_small(&self.dir.join(cursor_file(&cursor.hub)), &cursor.encode())
    }

    /// Replaces a small file; on a full disk gives up the reserve for it. What was replaced leaves room for another one, which has to be
    /// taken before scrapes take it: without a reserve nothing can be evicted any more.
    fn write_small(&self, path: &Path, bytes: &[u8]) -> Result<(), BufferError> {
        match write_small(&*self.disk, path, bytes) {
            Err(error) if error.is_disk_full() => {
                self.give_up_reserve();
                let outcome = write_small(&*self.disk, path, bytes);
                self.write_reserve();
                outcome
            }
            outcome => outcome,
        }
    }

    /// Makes room for the little that must be written to make more. It may be gone already; then the next write says so.
    fn give_up_reserve(&self) {
        let _ = self.disk.remove(&self.dir.join(RESERVE_FILE));
    }

    /// Sets room aside again, as much as there is.
    fn write_reserve(&self) {
        let path = self.dir.join(RESERVE_FILE);
        let size = self.disk.open(&path).and_then(|file| file.size());
        if size.is_ok_and(|size| size == RESERVE_BYTES as u64) {
            return;
        }
        let mut bytes = RESERVE_BYTES;
        while bytes >= RESERVE_BYTES_MIN {
            let file = self.disk.create(&path);
            match file.and_then(|file| file.append(&vec![0; bytes])) {
                Ok(()) => return,
                Err(error) => tracing::debug!(%error, bytes, "no room for the reserve"),
            }
            let _ = self.disk.remove(&path);
            bytes /= 2;
        }
    }

    pub(super) fn replays(&self) -> MutexGuard<'_, Vec<Replay>> {
        lock(&self.replays)
    }

    pub(super) fn books(&self) -> MutexGuard<'_, Books> {
        lock(&self.books)
    }
}

impl std::fmt::Debug for Buffer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Buffer")
            .field("dir", &self.dir)
            .field("epoch", &self.epoch)
            .finish_non_exhaustive()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
