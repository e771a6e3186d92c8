//! The outbox on its journal: what the state machine wants kept is appended, what it needs after a restart is replayed,
//! and the log is rewritten from the state when most of it is history.

use std::path::Path;
use std::sync::Arc;

use journal::{Commit, Disk, Journal, JournalError, Options, Recovery};

use crate::outbox::{Action, Batch, DestinationId, Event, Limits, Now, Outbox, Record, Step};

/// The log is rewritten when it is larger than this and than [`HISTORY_FACTOR`] times the state.
const REWRITE_BYTES_MIN: u64 = 4 << 20;
const HISTORY_FACTOR: u64 = 4;
/// Records of a rewrite that go into one append.
const REWRITE_CHUNK: usize = 1_000;

/// What an event led to, its records already handed to the journal.
pub(crate) struct Performed {
    /// To be delivered.
    pub(crate) sends: Vec<(DestinationId, Batch)>,
    pub(crate) step: Step,
    /// Completes when the event is durable; None when nothing had to be kept. An error keeps the deliveries going, but
    /// nobody may be told that the event is kept.
    pub(crate) commit: Result<Option<Commit>, JournalError>,
}

/// What opening found.
#[derive(Debug, Default)]
pub(crate) struct Found {
    pub(crate) recovery: Recovery,
    /// Records that could not be read, each with why. What they said is lost; sources report again.
    pub(crate) unreadable: Vec<String>,
}

pub(crate) struct Store {
    pub(crate) outbox: Outbox,
    journal: Journal,
}

impl Store {
    /// Opens the journal in `dir`, and the outbox as it was.
    pub(crate) fn open(
        disk: Arc<dyn Disk>,
        dir: &Path,
        limits: Limits,
        seed: u64,
        destinations: Vec<DestinationId>,
        now: Now,
    ) -> Result<(Self, Performed, Found), JournalError> {
        let options = Options {
            segment_bytes_max: 8 << 20,
            ..Options::default()
        };
        let (journal, recovery) = Journal::open(disk, dir, options)?;
        let mut unreadable = Vec::new();
        let mut records = Vec::new();
        for item in journal.read_from(1) {
            match item {
                Ok((seq, bytes)) => match Record::decode(&bytes) {
                    Ok(record) => records.push(record),
                    Err(error) => unreadable.push(format!("record {seq}: {error}")),
                },
                Err(error @ JournalError::Damaged { .. }) => unreadable.push(error.to_string()),
                Err(error) => return Err(error),
            }
        }
        let (outbox, step) = Outbox::restored(limits, seed, records, destinations, now);
        let mut store = Store { outbox, journal };
        let performed = store.perform(step);
        Ok((
            store,
            performed,
            Found {
                recovery,
                unreadable,
            },
        ))
    }

    /// Takes an event. Nothing of it may be confirmed to its sender before the commit completes.
    pub(crate) fn handle(&mut self, event: Event, now: Now) -> Performed {
        let step = self.outbox.handle(event, now);
        self.perform(step)
    }

    fn perform(&mut self, mut step: Step) -> Performed {
        let (mut records, mut sends) = (Vec::new(), Vec::new());
        for action in std::mem::take(&mut step.actions) {
            match action {
                Action::Write(record) => records.push(record.encode()),
                Action::Send { destination, batch } => sends.push((destination, batch)),
            }
        }
        let commit = match records.is_empty() {
            true => Ok(None),
            false => {
                let records: Vec<&[u8]> = records.iter().map(Vec::as_slice).collect();
                self.journal
                    .append_all(&records)
                    .map(|appended| Some(appended.commit))
            }
        };
        Performed {
            sends,
            step,
            commit,
        }
    }

    /// Rewrites the log if it is worth it; blocks until that is durable. Whether it was.
    pub(crate) fn rewrite_if_worth(&mut self) -> Result<bool, JournalError> {
        let state = self.outbox.bytes() as u64;
        let log = self.journal.bytes();
        if log < REWRITE_BYTES_MIN || log < state.saturating_mul(HISTORY_FACTOR) {
            return Ok(false);
        }
        self.rewrite()?;
        Ok(true)
    }

    /// All entries once more at the end, then the history before them away: whatever a crash leaves of this restores
    /// the same entries, because records are states and replaying an older one before a newer one changes nothing.
    pub(crate) fn rewrite(&mut self) -> Result<(), JournalError> {
        let history = self.journal.last_seq();
        self.journal.roll()?;
        let mut records = self.outbox.snapshot().peekable();
        while records.peek().is_some() {
            let chunk: Vec<Vec<u8>> = records
                .by_ref()
                .take(REWRITE_CHUNK)
                .map(|r| r.encode())
                .collect();
            self.journal
                .append_all(&chunk.iter().map(Vec::as_slice).collect::<Vec<_>>())?;
        }
        drop(records);
        self.journal.sync()?;
        self.journal.free_through(history)?;
        Ok(())
    }

    /// Bytes of the log.
    pub(crate) fn log_bytes(&self) -> u64 {
        self.journal.bytes()
    }

    /// Why nothing more can be kept, if so.
    pub(crate) fn poisoned(&self) -> Option<String> {
        self.journal.poisoned()
    }
}
