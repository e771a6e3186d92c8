//! From memory to parts.

use std::{collections::BTreeSet, sync::Arc};

use journal::JournalError;
use model::Timestamp;

use crate::{
    catalogue::Unsaved,
    error::StoreError,
    head::{Head, SeriesRows},
    maintain::{Change, check_poisoned},
    part::Part,
    store::{Active, Store},
};

/// Parts that are written side by side: bounds the memory when samples of very many days come at once.
const PARTS_AT_A_TIME: usize = 32;

impl Store {
    /// Seals memory that is full, old, or no longer written to; how many rows. [`Store::maintain`] does it too, but may be
    /// busy with a merge: call this from another thread when [`crate::Appended::seal_due`] says so.
    ///
    /// # Errors
    /// As [`Store::maintain`].
    pub fn seal_when_due(&self, now: Timestamp) -> Result<u64, StoreError> {
        self.save_full_segments()?;
        let due = {
            let mut state = self.write_state();
            check_poisoned(&state)?;
            let options = &self.options.seal;
            if state.active.is_empty() {
                state.active_since = None;
            }
            let fresh = Active {
                since: now,
                rows: 0,
                quiet_since: now,
            };
            let rows = state.active.rows;
            let active = state.active_since.get_or_insert(fresh);
            if active.rows != rows {
                (active.rows, active.quiet_since) = (rows, now);
            }
            let old = now.saturating_since(active.since) >= options.age_max;
            let quiet = now.saturating_since(active.quiet_since) >= options.quiet_max;
            !state.frozen.is_empty()
                || rows >= options.rows_max
                || rows > 0 && old
                || rows >= options.quiet_rows_min && quiet
        };
        if due { self.seal() } else { Ok(0) }
    }

    /// Saves the catalogue as it grows, so that a restart finds most series there and not one by one in the log.
    fn save_full_segments(&self) -> Result<(), StoreError> {
        if !self.read_catalogue().has_full_unsaved() {
            return Ok(());
        }
        let _installing = self.lock_installing();
        let saved = self.save_catalogue(Unsaved::Full);
        saved
            .and_then(|()| self.install(Change::default()))
            .map_err(|error| self.poison_unless_full(error))
    }

    /// Writes what is in memory into parts, now; how many rows.
    ///
    /// # Errors
    /// As [`Store::maintain`].
    pub fn seal(&self) -> Result<u64, StoreError> {
        let _installing = self.lock_installing();
        self.seal_all()
    }

    /// Seals what was appended until now. What comes meanwhile may be sealed too or not: those who write without a pause must
    /// not keep it from ending. The caller holds `installing`.
    pub(crate) fn seal_all(&self) -> Result<u64, StoreError> {
        let through = {
            let _appending = self.lock_appending();
            self.wal.last_seq()
        };
        let mut rows = 0;
        while self.read_state().sealed_through < through {
            let Some(head) = self.seal_oldest()? else {
                break;
            };
            rows += head.rows as u64;
        }
        Ok(rows)
    }

    /// Seals the oldest head there is. The caller holds `installing`.
    fn seal_oldest(&self) -> Result<Option<Arc<Head>>, StoreError> {
        let Some(head) = self.freeze()? else {
            return Ok(None);
        };
        self.seal_head(&head)
            .map_err(|error| self.poison_unless_full(error))?;
        Ok(Some(head))
    }

    /// The oldest head that waits to be sealed; what is being written to, when there is no other.
    fn freeze(&self) -> Result<Option<Arc<Head>>, StoreError> {
        // Nothing may be in the log but not yet in the head.
        let _appending = self.lock_appending();
        let mut state = self.write_state();
        check_poisoned(&state)?;
        if state.frozen.is_empty() && !state.active.is_empty() {
            let head = Arc::new(std::mem::take(&mut state.active));
            state.frozen.push(head);
            state.active_since = None;
        }
        Ok(state.frozen.first().cloned())
    }

    fn seal_head(&self, head: &Arc<Head>) -> Result<(), StoreError> {
        // Series must be in the catalogue before a part relies on them. Those of the head are: who brings new ones holds the
        // catalogue until they are in there.
        self.save_catalogue(Unsaved::All)?;
        let mut parts: Vec<Arc<Part>> = Vec::new();
        for partitions in self.partitions_of(head).chunks(PARTS_AT_A_TIME) {
            match self.seal_partitions(head, partitions) {
                Ok(written) => parts.extend(written.into_iter().map(Arc::new)),
                Err(error) => {
                    parts.iter().for_each(|part| part.mark_obsolete());
                    return Err(error);
                }
            }
        }
        self.sync_parts_dir()?;
        let sealed_through = head.seq_last;
        self.install(Change {
            new: parts,
            sealed: Some(head.clone()),
            ..Change::default()
        })?;
        match self.wal.roll() {
            Ok(()) | Err(JournalError::DiskFull { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        self.wal.free_through(sealed_through)?;
        Ok(())
    }

    /// Partitions that a head has samples of, rising.
    fn partitions_of(&self, head: &Head) -> Vec<i64> {
        let mut partitions = BTreeSet::new();
        head.for_each_time(|at| {
            partitions.insert(self.partition_of(at));
        });
        partitions.into_iter().collect()
    }

    /// Writes one part for each of these neighbouring partitions of a head.
    fn seal_partitions(&self, head: &Head, partitions: &[i64]) -> Result<Vec<Part>, StoreError> {
        let mut writers = Vec::new();
        // Made of parts only: what is still in memory came later.
        let deletions = self.read_state().deletions.last;
        let seqs = (head.seq_first, head.seq_last);
        for partition in partitions {
            writers.push(self.create_part(0, *partition, seqs, deletions)?);
        }
        let index_of = |at: i64| partitions.binary_search(&self.partition_of(at)).ok();
        let written = head.for_each_series(|id, rows| {
            let times = match &rows {
                SeriesRows::Floats(times, _) => times,
                SeriesRows::Any(rows) => &rows.times[..],
            };
            let mut from = 0;
            while from < times.len() {
                let partition = self.partition_of(times[from]);
                let same = |at: &i64| self.partition_of(*at) == partition;
                let to = match times.last() {
                    Some(last) if same(last) => times.len(),
                    _ => from + times[from..].partition_point(same),
                };
                if let Some(index) = index_of(times[from]) {
                    let (writer, path) = &mut writers[index];
                    let added = match &rows {
                        SeriesRows::Floats(times, values) => {
                            writer.add_columns(id, &times[from..to], &values[from..to])
                        }
                        SeriesRows::Any(rows) => writer.add(id, &rows.slice(from, to)),
                    };
                    added.map_err(|e| StoreError::io("writing", path, e))?;
                }
                from = to;
            }
            Ok(())
        });
        let mut parts: Vec<Part> = Vec::new();
        let mut result = written;
        for (writer, path) in writers {
            let finished = result.and_then(|()| {
                let part = writer.finish();
                part.map_err(|e| StoreError::io("writing", &path, e))
            });
            result = finished.map(|part| parts.push(part.cached(&self.cache)));
            if result.is_err() {
                // Left over otherwise; the next start removes it.
                let _ = self.disk.remove(&path);
            }
        }
        if result.is_err() {
            parts.iter().for_each(Part::mark_obsolete);
        }
        result.map(|()| parts)
    }
}
