//! The ledger: which time of which branch is complete, pending, lost, or not known?
//!
//! Edges report what they hold and what they gave up; silence is judged here. [`book`] has the rules for one edge's time,
//! [`shelf`] all edges and who is heard, [`disk`] the file that survives a restart, [`warning`] what a query's answer says.
//! Bounded: so many edges, so many intervals each (then neighbours join, to the worse), nothing from before the retention.
//!
//! Plain remote-write senders are not in it: they say nothing of what they hold. When they were last heard is all there is.

pub(crate) mod book;
mod combine;
mod disk;
pub(crate) mod probe;
mod shelf;
mod spans;
#[cfg(test)]
mod tests;
mod warning;

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use daemon::{Clock, Tasks};
use model::Timestamp;
use wire::edge_headers::SequenceRange;

#[cfg(test)]
pub(crate) use book::State as SectionState;
pub(crate) use book::{Account, Counts, Section};
use disk::LedgerFile;
pub(crate) use shelf::{About, EdgeNow, Forgotten, LinkNow};
use shelf::{Now, Shelf};
pub(crate) use spans::Span;
pub(crate) use warning::{fold, fold_clocks};

/// How often what has changed is written. A crash loses no more than that of what edges say again anyway.
const WRITE_INTERVAL: Duration = Duration::from_secs(5);

/// Shared by whoever hears edges and whoever is asked about them.
pub(crate) struct Ledger {
    clock: Arc<dyn Clock>,
    shelf: Mutex<Shelf>,
    file: LedgerFile,
}

impl Ledger {
    /// Opens the ledger of a data folder.
    ///
    /// # Errors
    /// Another release's format, or the system's refusal.
    pub(crate) fn open(data_dir: &Path, clock: Arc<dyn Clock>) -> anyhow::Result<Self> {
        let (file, rows, warning) = LedgerFile::open(data_dir)?;
        if let Some(warning) = warning {
            tracing::warn!("{warning}");
        }
        let shelf = Mutex::new(Shelf::from_rows(rows));
        Ok(Ledger { clock, shelf, file })
    }

    /// The same on a file of a test's own making.
    #[cfg(test)]
    pub(crate) fn open_on(
        file: impl redb::StorageBackend + Clone,
        clock: Arc<dyn Clock>,
    ) -> anyhow::Result<Self> {
        let (file, rows) = LedgerFile::open_on(file)?;
        let shelf = Mutex::new(Shelf::from_rows(rows));
        Ok(Ledger { clock, shelf, file })
    }

    fn shelf(&self) -> MutexGuard<'_, Shelf> {
        self.shelf.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> Now {
        Now {
            at: self.clock.now(),
            elapsed: self.clock.elapsed(),
        }
    }

    /// A held connection of an edge begins; it ends when the returned value is dropped.
    pub(crate) fn connect(self: &Arc<Self>, branch: &str, edge: &str) -> Connection {
        self.shelf().connected(branch, edge, self.now());
        Connection {
            ledger: self.clone(),
            branch: branch.to_owned(),
            edge: edge.to_owned(),
        }
    }

    /// Whether all of these records of an edge's buffer are on disk.
    pub(crate) fn has_all(
        &self,
        branch: &str,
        edge: &str,
        epoch: u64,
        records: &[SequenceRange],
    ) -> bool {
        self.shelf()
            .book(branch, edge)
            .is_some_and(|book| book.has_all(epoch, records))
    }

    /// Records of an edge's buffer that are on disk.
    pub(crate) fn records(&self, branch: &str, edge: &str, epoch: u64) -> Vec<SequenceRange> {
        let shelf = self.shelf();
        let book = shelf.book(branch, edge);
        book.map_or_else(Vec::new, |book| book.records(epoch))
    }

    /// Records of an edge came by remote write, and are on disk.
    pub(crate) fn stored(
        &self,
        branch: &str,
        edge: &str,
        epoch: u64,
        records: &[SequenceRange],
        samples: u64,
    ) {
        let now = self.now();
        self.shelf()
            .stored(branch, edge, epoch, records, samples, now);
    }

    /// Branches for which edges speak, now or before.
    pub(crate) fn branches(&self) -> Vec<String> {
        self.shelf().branches()
    }

    /// All edges, by branch and name.
    #[cfg(test)]
    pub(crate) fn edges(&self) -> Vec<EdgeNow> {
        self.edges_of(|_| true)
    }

    /// Those of the branches that are wanted.
    pub(crate) fn edges_of(&self, wanted: impl Fn(&str) -> bool) -> Vec<EdgeNow> {
        self.shelf().edges(self.now(), wanted)
    }

    /// The same without what they hold.
    pub(crate) fn links(&self) -> Vec<(String, LinkNow)> {
        self.shelf().links(self.now())
    }

    /// The time of a branch between two instants (the end not included), in order, without gaps and overlaps, as far as its
    /// edges' time goes.
    pub(crate) fn sections(&self, branch: &str, start: Timestamp, end: Timestamp) -> Vec<Section> {
        self.shelf()
            .sections(branch, start.millis(), end.millis(), self.now())
    }

    /// Branches whose edge stamps samples with a clock that is off, and by how many ms.
    pub(crate) fn clocks_off(&self, wanted: impl Fn(&str) -> bool) -> Vec<(String, i64)> {
        self.shelf().clocks_off(self.now(), wanted)
    }

    /// Branches that may miss something between two instants, with where.
    pub(crate) fn gaps(
        &self,
        start: Timestamp,
        end: Timestamp,
        wanted: impl Fn(&str) -> bool,
    ) -> Vec<(String, Vec<Section>)> {
        self.shelf()
            .gaps(start.millis(), end.millis(), self.now(), wanted)
    }

    /// Forgets an edge that will not come back.
    pub(crate) fn forget(&self, branch: &str, edge: &str) -> Forgotten {
        self.shelf().forget(branch, edge)
    }

    /// Writes what has changed. Blocks.
    pub(crate) fn write(&self, retention: Option<Duration>) {
        let (rows, gone) = {
            let mut shelf = self.shelf();
            if let Some(age) = retention {
                let age = i64::try_from(age.as_millis()).unwrap_or(i64::MAX);
                let horizon = self.clock.now().millis().saturating_sub(age);
                shelf.forget_before(Timestamp::from_millis(horizon));
            }
            shelf.take_changed()
        };
        if rows.is_empty() && gone.is_empty() {
            return;
        }
        if let Err(error) = self.file.write(&rows, &gone) {
            tracing::error!("{error}: it is tried again");
            self.shelf().put_back(&rows, gone);
        }
    }

    /// Lets go of the file, once nobody writes any more.
    pub(crate) fn close(&self) {
        self.file.close();
    }

    /// Keeps the file up to date until the tasks end, and once more then.
    pub(crate) fn keep_written(self: &Arc<Self>, retention: Option<Duration>, tasks: &Tasks) {
        let (ledger, token) = (self.clone(), tasks.token().clone());
        tasks.spawn("ledger", async move {
            loop {
                let pause = ledger.clock.sleep(WRITE_INTERVAL);
                let ended = token.run_until_cancelled(pause).await.is_none();
                let ledger = ledger.clone();
                daemon::blocking(move || ledger.write(retention)).await;
                if ended {
                    return;
                }
            }
        });
    }
}

/// A held connection of an edge, for the ledger.
pub(crate) struct Connection {
    ledger: Arc<Ledger>,
    branch: String,
    edge: String,
}

impl Connection {
    /// Something came.
    pub(crate) fn heard(&self) {
        let now = self.ledger.now();
        self.ledger.shelf().heard(&self.branch, &self.edge, now);
    }

    /// A frame is on disk; `samples` of it were not before. Its record, if all of it is.
    pub(crate) fn stored(&self, epoch: u64, record: Option<u64>, samples: u64) {
        let record = record.map(|seq| SequenceRange {
            first: seq,
            last: seq,
        });
        let records = record.as_slice();
        self.ledger
            .stored(&self.branch, &self.edge, epoch, records, samples);
    }

    /// What came was a report.
    pub(crate) fn report(&self, account: &Account, about: About) {
        let now = self.ledger.now();
        self.ledger
            .shelf()
            .report(&self.branch, &self.edge, account, about, now);
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.ledger.shelf().disconnected(&self.branch, &self.edge);
    }
}
