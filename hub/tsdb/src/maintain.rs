//! What keeps memory and disk bounded: sealing heads into parts, merging parts, retention, forgetting dead series,
//! setting damaged parts aside.

use std::{path::PathBuf, sync::Arc};

use model::{Matcher, Timestamp};
use roaring::RoaringBitmap;

use crate::{
    catalogue::{Unsaved, remove_files},
    compact::{self, Candidate, MergeError},
    deletions::Deletions,
    error::StoreError,
    head::Head,
    open::{CATALOGUE_DIR, PARTS_DIR},
    part::{self, Part, PartError, PartMeta, PartWriter},
    store::{State, Store},
    types::{Deleted, Maintained, TimeRange},
};

/// Merges in one call of `maintain`: the rest waits for the next one, so that retention has its turn.
const MERGES_PER_CALL: u64 = 64;
/// Timestamps beyond this year-2200 instant share a partition, as do those before 1970: hostile timestamps must not make
/// millions of parts.
const PARTITIONED_UNTIL_MS: i64 = 7_258_118_400_000;
/// Forgetting series rewrites the catalogue: done when at least one in this many is dead.
const DEAD_SERIES_FRACTION: usize = 4;
/// Tombstones are in memory and in each manifest. Half as many make maintenance rewrite parts.
const TOMBSTONES_MAX: usize = 1000;
const TOMBSTONE_BYTES_MAX: usize = 8 << 20;

impl Store {
    /// Does what is due at `now`: seals memory that is full or old, merges parts, drops what the retention says. To be called
    /// every few seconds, off the async threads; the work is bounded, but a merge may take seconds. Reads and
    /// appends go on meanwhile.
    ///
    /// It also sets which timestamps are accepted from now on (`Retention::age`, `Limits::future_max`).
    ///
    /// # Errors
    /// [`StoreError::DiskFull`]: tried again next time. Anything else poisons the store: reads go on.
    pub fn maintain(&self, now: Timestamp) -> Result<Maintained, StoreError> {
        let mut done = Maintained::default();
        {
            let mut state = self.write_state();
            check_poisoned(&state)?;
            let age = self.options.retention.age;
            let oldest = age.map_or(i64::MIN, |age| now.saturating_sub(age).millis());
            state.accepted = (
                oldest,
                now.saturating_add(self.options.limits.future_max).millis(),
            );
        }
        let sealed = self.seal_when_due(now);
        if let Err(error) = &sealed
            && !error.is_disk_full()
        {
            return Err(error.clone());
        }
        let _merging = self
            .merging
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        // On a full disk above all: this is what makes room.
        self.drop_expired(now, &mut done)?;
        done.rows_sealed = sealed?;
        while done.merges < MERGES_PER_CALL && self.merge_once()? {
            done.merges += 1;
        }
        if self.read_state().deletions.tombstones.len() > TOMBSTONES_MAX / 2 {
            self.clean_once()?;
        }
        done.series_dropped = self.forget_dead_series()?;
        Ok(done)
    }

    /// The caller holds `installing`, and installs a manifest afterwards: what it does not list is left over.
    pub(crate) fn save_catalogue(&self, what: Unsaved) -> Result<(), StoreError> {
        let images = self.read_catalogue().unsaved(what);
        let dir = self.dir.join(CATALOGUE_DIR);
        for image in images {
            let saved = image.write(&*self.disk, &dir)?;
            self.write_catalogue().mark_saved(saved);
        }
        Ok(())
    }

    pub(crate) fn partition_of(&self, at: i64) -> i64 {
        at.clamp(-1, PARTITIONED_UNTIL_MS)
            .div_euclid(self.partition_ms)
    }

    pub(crate) fn parts_dir(&self) -> PathBuf {
        self.dir.join(PARTS_DIR)
    }

    pub(crate) fn sync_parts_dir(&self) -> Result<(), StoreError> {
        let dir = self.parts_dir();
        self.disk
            .sync_dir(&dir)
            .map_err(|e| StoreError::io("fsync", &dir, e))
    }

    /// Starts a part; its path too. Its name is durable after `sync_parts_dir`.
    pub(crate) fn create_part(
        &self,
        level: u8,
        partition: i64,
        (seq_first, seq_last): (u64, u64),
        deletions: u64,
    ) -> Result<(PartWriter, PathBuf), StoreError> {
        let number = {
            let mut state = self.write_state();
            let number = state.next_part;
            state.next_part += 1;
            number
        };
        let path = self.parts_dir().join(part::file_name(number));
        let meta = PartMeta {
            number,
            level,
            partition,
            seq_first,
            seq_last,
            first: 0,
            last: 0,
            rows: 0,
            bytes: 0,
            deletions,
        };
        match PartWriter::create(self.disk.clone(), path.clone(), meta) {
            Ok(writer) => Ok((writer, path)),
            Err(e) => {
                let _ = self.disk.remove(&path);
                Err(StoreError::io("creating", &path, e))
            }
        }
    }

    /// Writes and syncs one part. On an error its file is removed.
    fn write_part(
        &self,
        level: u8,
        partition: i64,
        seqs: (u64, u64),
        deletions: u64,
        fill: impl FnOnce(&mut PartWriter) -> std::io::Result<()>,
    ) -> Result<Part, StoreError> {
        let (mut writer, path) = self.create_part(level, partition, seqs, deletions)?;
        let written = fill(&mut writer)
            .and_then(|()| writer.finish())
            .map(|part| part.cached(&self.cache));
        written.map_err(|e| {
            // Left over otherwise; the next start removes it.
            let _ = self.disk.remove(&path);
            StoreError::io("writing", &path, e)
        })
    }

    /// Saves a manifest with the change made, then serves it. The caller holds `installing`. On an error nothing has
    /// changed, and new parts are removed unless the disk may name them.
    pub(crate) fn install(&self, change: Change) -> Result<(), StoreError> {
        let Change {
            old,
            new,
            sealed,
            deletions,
        } = change;
        check_poisoned(&self.read_state())?;
        // What goes is not listed. Should this fail, the next start removes it.
        let (mut manifest, removed) = self.manifest();
        manifest.parts.retain(|part| !old.contains(&part.number));
        manifest
            .quarantined
            .retain(|(part, _)| !old.contains(&part.number));
        manifest
            .parts
            .extend(new.iter().map(|part| part.meta.clone()));
        manifest
            .parts
            .sort_by_key(|part| (part.partition, part.seq_first));
        manifest.sealed_through = sealed
            .as_ref()
            .map_or(manifest.sealed_through, |head| head.seq_last);
        let kept = {
            let state = self.read_state();
            let deletions = deletions.unwrap_or_else(|| state.deletions.clone());
            let is_old = |number: u64| old.contains(&number);
            let parts = state.parts.iter().chain(&new);
            let quarantined = state.quarantined.iter().map(|(meta, _)| meta);
            let parts = parts.filter(|part| !is_old(part.meta.number));
            deletions.still_needed(parts, quarantined.filter(|meta| !is_old(meta.number)))
        };
        manifest.deletions = kept.clone();
        if let Err(failed) = manifest.save(&*self.disk, &self.dir) {
            if failed.ambiguous {
                let reason = failed.error.to_string();
                self.write_state().poisoned.get_or_insert(reason);
            } else {
                new.iter().for_each(|part| part.mark_obsolete());
            }
            return Err(failed.error);
        }
        let mut state = self.write_state();
        let is_old = |number: u64| old.contains(&number);
        for part in state.parts.iter().filter(|part| is_old(part.meta.number)) {
            part.mark_obsolete();
        }
        let dropped: Vec<u64> = state
            .quarantined
            .iter()
            .map(|(part, _)| part.number)
            .filter(|number| is_old(*number))
            .collect();
        state.parts.retain(|part| !is_old(part.meta.number));
        state.parts.extend(new);
        state
            .parts
            .sort_by_key(|part| (part.meta.partition, part.meta.seq_first));
        state.quarantined.retain(|(part, _)| !is_old(part.number));
        state.look_for_dead_series |= !old.is_empty() || kept.last > state.deletions.last;
        state.deletions = Arc::new(kept);
        state.sealed_through = manifest.sealed_through;
        if let Some(head) = sealed {
            state.frozen.retain(|frozen| !Arc::ptr_eq(frozen, &head));
        }
        drop(state);
        remove_files(&*self.disk, &self.dir.join(CATALOGUE_DIR), &removed);
        for number in dropped {
            // Left over otherwise; the next start removes it.
            let _ = self
                .disk
                .remove(&self.parts_dir().join(part::file_name(number)));
        }
        Ok(())
    }

    /// Merges one run of neighbours, if there is one to merge. The caller holds `merging`.
    fn merge_once(&self) -> Result<bool, StoreError> {
        let (inputs, deletions) = {
            let state = self.read_state();
            check_poisoned(&state)?;
            let inputs = state.choose_merge(
                self.options.seal.merge_width,
                self.options.seal.merge_rows_max,
            );
            (inputs, state.deletions.clone())
        };
        let level = inputs.iter().map(|part| part.meta.level).max();
        self.rewrite(&inputs, level.unwrap_or(0).saturating_add(1), &deletions)
    }

    /// Writes one part with what is left of neighbours, in their place; false when there are none. The caller holds `merging`.
    fn rewrite(
        &self,
        inputs: &[Arc<Part>],
        level: u8,
        deletions: &Deletions,
    ) -> Result<bool, StoreError> {
        let (Some(first), Some(last)) = (inputs.first(), inputs.last()) else {
            return Ok(false);
        };
        let (partition, seq_first, seq_last) = (
            first.meta.partition,
            first.meta.seq_first,
            last.meta.seq_last,
        );
        let mut bad_input = None;
        let written = self.write_part(
            level,
            partition,
            (seq_first, seq_last),
            deletions.last,
            |writer| match compact::merge(inputs, deletions, |id, rows| writer.add(id, rows)) {
                Ok(()) => Ok(()),
                Err(MergeError::Output(error)) => Err(error),
                Err(MergeError::Input(index, error)) => {
                    bad_input = Some((index, error));
                    Err(std::io::ErrorKind::InvalidData.into())
                }
            },
        );
        match bad_input {
            Some((index, PartError::Io(e))) => {
                return Err(StoreError::io("reading", &inputs[index].path, e));
            }
            Some((index, PartError::Damaged { offset, expected })) => {
                self.quarantine(
                    inputs[index].meta.number,
                    format!("at offset {offset}: expected {expected}"),
                );
                return Ok(true);
            }
            Some((index, PartError::Version(found))) => {
                self.quarantine(
                    inputs[index].meta.number,
                    format!("unknown version {found}"),
                );
                return Ok(true);
            }
            None => {}
        }
        let merged = written.map_err(|error| self.poison_unless_full(error))?;
        let installing = self.lock_installing();
        let numbers: Vec<u64> = inputs.iter().map(|part| part.meta.number).collect();
        let all_there = {
            let state = self.read_state();
            numbers
                .iter()
                .all(|number| state.parts.iter().any(|part| part.meta.number == *number))
        };
        if !all_there {
            // A reader found one of them damaged meanwhile.
            merged.mark_obsolete();
            return Ok(true);
        }
        // All of it may be deleted.
        let new = match merged.meta.rows {
            0 => {
                merged.mark_obsolete();
                Vec::new()
            }
            _ => vec![Arc::new(merged)],
        };
        let merged = Change {
            old: numbers,
            new,
            ..Change::default()
        };
        let installed = self.sync_parts_dir().and_then(|()| self.install(merged));
        drop(installing);
        installed.map_err(|error| self.poison_unless_full(error))?;
        Ok(true)
    }

    /// Deletes all samples in the range of the series that fit all matchers (of all series without a matcher): those that
    /// were appended before. What is written afterwards is kept, with whatever timestamp. When this returns, the
    /// deletion is durable, and so is everything appended before.
    ///
    /// Exemplars in the range go with them.
    ///
    /// Their room is given back when parts are merged, or by [`Store::clean_tombstones`]. Seals what is in memory.
    ///
    /// # Errors
    /// [`StoreError::TooManyDeletions`], or as [`Store::maintain`]: nothing was deleted, but after
    /// [`StoreError::Poisoned`] a restart may find that it was. Exemplars come last: those may be left then.
    pub fn delete(&self, matchers: &[Matcher], range: TimeRange) -> Result<Deleted, StoreError> {
        let _installing = self.lock_installing();
        self.seal_all()?;
        let fitting = self.read_catalogue().select(matchers);
        let deleted = self.delete_samples(&fitting, range)?;
        self.forget_exemplars(&fitting, range)
            .map_err(|error| self.poison_unless_full(error))?;
        Ok(deleted)
    }

    /// The caller holds `installing`, and has sealed memory.
    fn delete_samples(
        &self,
        fitting: &RoaringBitmap,
        range: TimeRange,
    ) -> Result<Deleted, StoreError> {
        let (deletions, deleted) = {
            let state = self.read_state();
            let mut ids = RoaringBitmap::new();
            for part in state.parts.iter().filter(|part| part.overlaps(range)) {
                ids |= fitting & state.deletions.left_of(part, range);
            }
            let deleted = Deleted { series: ids.len() };
            let mut unread = state.quarantined.iter().map(|(meta, _)| meta);
            if unread.any(|meta| range.overlaps(meta.first, meta.last)) {
                // It may be put back one day.
                ids = fitting.clone();
            }
            if ids.is_empty() {
                return Ok(deleted);
            }
            let mut deletions = Deletions::clone(&state.deletions);
            let quarantined = state.quarantined.iter().map(|(meta, _)| meta);
            let metas = state.parts.iter().map(|part| &part.meta).chain(quarantined);
            deletions.add(range, ids, metas);
            (deletions, deleted)
        };
        let found = deletions.tombstones.len();
        if found > TOMBSTONES_MAX || deletions.bytes() > TOMBSTONE_BYTES_MAX {
            return Err(StoreError::TooManyDeletions {
                found,
                max: TOMBSTONES_MAX,
                bytes_max: TOMBSTONE_BYTES_MAX,
            });
        }
        let change = Change {
            deletions: Some(Arc::new(deletions)),
            ..Change::default()
        };
        self.install(change)
            .map_err(|error| self.poison_unless_full(error))?;
        self.watch.note_range(range);
        Ok(deleted)
    }

    /// Rewrites the parts that hold deleted samples, now; how many. Takes long when they are large: reads and
    /// appends go on meanwhile.
    ///
    /// # Errors
    /// As [`Store::maintain`].
    pub fn clean_tombstones(&self) -> Result<u64, StoreError> {
        let _merging = self
            .merging
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        let mut rewritten = 0;
        while self.clean_once()? {
            rewritten += 1;
        }
        self.forget_dead_series()?;
        Ok(rewritten)
    }

    /// Rewrites one part without what is deleted, if there is one. The caller holds `merging`.
    fn clean_once(&self) -> Result<bool, StoreError> {
        let (part, deletions) = {
            let state = self.read_state();
            check_poisoned(&state)?;
            let mut parts = state.parts.iter();
            let part = parts.find(|part| state.deletions.concern(part)).cloned();
            (part, state.deletions.clone())
        };
        let level = part.as_ref().map_or(0, |part| part.meta.level);
        self.rewrite(part.as_slice(), level, &deletions)
    }

    /// Drops what the retention says. The caller holds `merging`.
    fn drop_expired(&self, now: Timestamp, done: &mut Maintained) -> Result<(), StoreError> {
        let retention = self.options.retention;
        let installing = self.lock_installing();
        let catalogue_bytes = self.read_catalogue().file_bytes();
        let (old, rows, times) = {
            let state = self.read_state();
            let metas = || {
                state
                    .parts
                    .iter()
                    .map(|part| &part.meta)
                    .chain(state.quarantined.iter().map(|(part, _)| part))
            };
            let mut old = Vec::new();
            if let Some(age) = retention.age {
                old.extend(compact::choose_expired(
                    metas(),
                    now.saturating_sub(age).millis(),
                ));
            }
            if let Some(bytes_max) = retention.bytes_max {
                let other = self.wal.bytes() + catalogue_bytes;
                old.extend(compact::choose_oldest(
                    metas().filter(|part| !old.contains(&part.number)),
                    other,
                    bytes_max,
                ));
            }
            let going = || metas().filter(|part| old.contains(&part.number));
            let rows = going().map(|part| part.rows).sum();
            let times: Vec<TimeRange> = going().map(PartMeta::time).collect();
            (old, rows, times)
        };
        if old.is_empty() {
            return Ok(());
        }
        done.parts_dropped = old.len() as u64;
        done.rows_dropped = rows;
        let installed = self.install(Change {
            old,
            ..Change::default()
        });
        drop(installing);
        times
            .into_iter()
            .for_each(|time| self.watch.note_range(time));
        installed.map_err(|error| self.poison_unless_full(error))
    }

    /// Forgets series of which no sample is kept, once there are enough of them. The caller holds `merging`.
    fn forget_dead_series(&self) -> Result<u64, StoreError> {
        let installing = self.lock_installing();
        let dropped = {
            let mut catalogue = self.write_catalogue();
            let live = {
                let mut state = self.write_state();
                // The series of a damaged part are not known for sure.
                if !state.quarantined.is_empty() || !state.look_for_dead_series {
                    return Ok(0);
                }
                state.look_for_dead_series = false;
                state.live_series()
            };
            let dead = catalogue.count_dead(&live);
            if dead == 0 || dead * DEAD_SERIES_FRACTION < catalogue.len() {
                return Ok(0);
            }
            let dropped = catalogue.retain(&live);
            let mut exemplars = self.write_exemplars();
            exemplars.retain(|id, _, _| catalogue.contains_id(id));
            dropped
        };
        let through = self.read_state().sealed_through;
        // Should this fail, the forgotten series are back after a restart, without samples: harmless.
        let rewritten = self
            .save_catalogue(Unsaved::All)
            .and_then(|()| self.save_exemplars(through))
            .and_then(|()| self.install(Change::default()));
        drop(installing);
        rewritten.map_err(|error| self.poison_unless_full(error))?;
        Ok(dropped)
    }

    /// Sets a damaged part aside: it is no longer read, its file stays where it is, and everyone is told.
    pub(crate) fn quarantine(&self, number: u64, reason: String) {
        let installing = self.lock_installing();
        let found = {
            let mut state = self.write_state();
            let found = state
                .parts
                .iter()
                .position(|part| part.meta.number == number);
            let found = found.map(|index| (state.parts.remove(index).meta.clone(), reason));
            state.quarantined.extend(found.clone());
            found
        };
        if let Some((meta, _)) = &found {
            self.watch.note_range(meta.time());
        }
        drop(installing);
        if found.is_some() {
            self.save_quarantine();
        }
    }

    /// Writes down which parts are set aside. Best effort: if it fails, the damage is found again after a restart.
    pub(crate) fn save_quarantine(&self) {
        let _installing = self.lock_installing();
        let _ = self.install(Change::default());
    }
}

/// What `install` does.
#[derive(Default)]
pub(crate) struct Change {
    /// Parts (quarantined ones too) that go.
    pub(crate) old: Vec<u64>,
    /// Parts that come.
    pub(crate) new: Vec<Arc<Part>>,
    /// A head that is in parts now.
    pub(crate) sealed: Option<Arc<Head>>,
    /// What is deleted from now on.
    pub(crate) deletions: Option<Arc<Deletions>>,
}

impl State {
    fn choose_merge(&self, width: usize, rows_max: u64) -> Vec<Arc<Part>> {
        let candidate = |meta: &PartMeta, barrier| Candidate {
            partition: meta.partition,
            level: meta.level,
            rows: meta.rows,
            barrier,
        };
        let mut all: Vec<(&PartMeta, Option<&Arc<Part>>)> = self
            .parts
            .iter()
            .map(|part| (&part.meta, Some(part)))
            .collect();
        all.extend(self.quarantined.iter().map(|(meta, _)| (meta, None)));
        all.sort_by_key(|(meta, _)| (meta.partition, meta.seq_first));
        let candidates: Vec<Candidate> = all
            .iter()
            .map(|(meta, part)| candidate(meta, part.is_none()))
            .collect();
        let chosen = compact::choose_merge(&candidates, width, rows_max).unwrap_or(0..0);
        all[chosen]
            .iter()
            .filter_map(|(_, part)| part.cloned())
            .collect()
    }

    fn live_series(&self) -> RoaringBitmap {
        let mut live = RoaringBitmap::new();
        for part in &self.parts {
            live |= self.deletions.left_of(part, TimeRange::ALL);
        }
        for head in self.frozen.iter().map(|head| &**head).chain([&self.active]) {
            live |= head.ids(TimeRange::ALL);
        }
        live
    }
}

pub(crate) fn check_poisoned(state: &State) -> Result<(), StoreError> {
    match &state.poisoned {
        Some(reason) => Err(StoreError::Poisoned {
            reason: reason.clone(),
        }),
        None => Ok(()),
    }
}
