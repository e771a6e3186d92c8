//! The store: its state, opening it, and writing to it.
//!
//! Locks, in the order in which they are taken: `merging` (one merge or retention at a time), `installing` (whoever changes
//! the manifest, or copies what it names), `catalogue`, `appending` (whoever writes to the log), `state`, `exemplars`. Readers
//! take `catalogue` and `state` shared and let go before they read parts. Nobody holds `state` during an fsync, `catalogue`
//! only where an append that brings new series closes a full log segment.
//!
//! A sample's way: log record and memory (`Store::append`), then a frozen head, then a part, then merged parts. At every
//! step the state of before stays readable until the next is installed, and on disk the log record is freed only after
//! the manifest that names the part is durable.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
};

use crate::{
    batch::{ColumnBatch, Columns, Records},
    catalogue::{Catalogue, HashedLabels, LabelHasher, UNKNOWN},
    changes::Watch,
    deletions::Deletions,
    error::{AppendError, RefusedReason, StoreError},
    exemplars::{Exemplars, ExemplarsAppended},
    head::Head,
    keys::SeriesKeys,
    manifest::Manifest,
    part::{BlockCache, Part, PartMeta},
    types::{Appended, Batch, Commit, RefusedSeries, SeriesKey, StoreOptions},
};
use hashbrown::HashTable;
use journal::{Disk, Journal, Urgency};
use model::{LabelSet, Metadata, Timestamp};

/// A time-series store in one folder; see the crate's header. Share it with `Arc`; every method takes `&self`.
pub struct Store {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) dir: PathBuf,
    pub(crate) options: StoreOptions,
    pub(crate) hash_key: [u8; 16],
    pub(crate) partition_ms: i64,
    /// Of all parts.
    pub(crate) cache: Arc<BlockCache>,
    pub(crate) wal: Journal,
    pub(crate) merging: Mutex<()>,
    pub(crate) installing: Mutex<()>,
    /// Which series there are. Held shared while samples are appended, so that no series is forgotten meanwhile.
    pub(crate) catalogue: RwLock<Catalogue>,
    /// Whoever writes to the log: its order is the order of `State::active`.
    pub(crate) appending: Mutex<()>,
    pub(crate) state: RwLock<State>,
    /// Changed by whoever holds `appending`, or takes some out.
    pub(crate) exemplars: RwLock<Exemplars>,
    /// What changed, for those who keep what they made from samples. Its lock is taken last.
    pub(crate) watch: Watch,
}

/// Invariant: every sample acknowledged is in `active`, in `frozen` or in `parts` (or `quarantined`), and their write
/// sequences rise in the order parts of one partition, frozen, active.
pub(crate) struct State {
    pub(crate) active: Head,
    /// Being sealed (or waiting for room to be), oldest first.
    pub(crate) frozen: Vec<Arc<Head>>,
    /// Ordered by (partition, write sequence).
    pub(crate) parts: Vec<Arc<Part>>,
    pub(crate) quarantined: Vec<(PartMeta, String)>,
    /// Replaced as a whole.
    pub(crate) deletions: Arc<Deletions>,
    pub(crate) sealed_through: u64,
    pub(crate) next_part: u64,
    /// Oldest and newest timestamp accepted, ms; set by maintenance.
    pub(crate) accepted: (i64, i64),
    /// What maintenance last saw of `active`.
    pub(crate) active_since: Option<Active>,
    /// Whether series may have lost their last sample since maintenance last looked for such.
    pub(crate) look_for_dead_series: bool,
    pub(crate) poisoned: Option<String>,
    pub(crate) samples_appended: u64,
    pub(crate) samples_refused: u64,
    pub(crate) records_lost: u64,
    /// Damage found since opening, in words.
    pub(crate) damage: Vec<String>,
}

/// How long memory has been written to.
pub(crate) struct Active {
    pub(crate) since: Timestamp,
    /// Rows when last looked at, and since when they are as many.
    pub(crate) rows: usize,
    pub(crate) quiet_since: Timestamp,
}

impl State {
    /// Notes damage. The first few are kept in words, all are counted.
    pub(crate) fn report(&mut self, records_lost: u64, what: String) {
        const REPORTS_MAX: usize = 20;
        self.records_lost += records_lost;
        if self.damage.len() < REPORTS_MAX {
            self.damage.push(what);
        }
    }
}

/// What the catalogue does not know yet.
#[derive(Default)]
struct News {
    /// That the scope has already.
    scope_series: usize,
    created: Vec<(SeriesKey, u32, LabelSet)>,
    aliases: Vec<(SeriesKey, u32)>,
    /// Indices into the batch's metadata.
    metadata: Vec<usize>,
}

/// A series of the batch whose key is new, and its labels.
struct Parsed {
    index: usize,
    labels: Result<HashedLabels, RefusedReason>,
}

impl Store {
    /// Opens the store in `dir`, which is created when absent. Nobody else may have it open.
    ///
    /// What an interrupted write left is repaired. Damaged parts, log records and catalogue records are set aside and
    /// reported in [`crate::Stats`] and [`crate::Selection::warnings`]; the rest is served.
    ///
    /// # Errors
    /// An unknown format, a damaged manifest, or the system's refusal.
    pub fn open(
        disk: Arc<dyn Disk>,
        dir: &Path,
        options: StoreOptions,
    ) -> Result<Self, StoreError> {
        crate::open::open(disk, dir, options)
    }

    /// The key of a series: see [`SeriesKey`]. `scope` is whose bytes these are, so that equal bytes of two branches (whose
    /// labels the caller completes differently) never meet.
    pub fn series_key(&self, scope: &str, raw_label_bytes: &[u8]) -> SeriesKey {
        self.series_keys(scope).key(raw_label_bytes)
    }

    /// What is the same in all keys of a scope, for those who need many.
    pub fn series_keys(&self, scope: &str) -> SeriesKeys {
        SeriesKeys::of(&self.hash_key, scope)
    }

    /// Stores a batch. Its samples are readable when this returns and durable when [`Appended::commit`] completes. What
    /// cannot be taken (see [`RefusedReason`]) is listed in [`Appended::refused`]; the rest is stored.
    ///
    /// Seldom it takes long: when memory is full it writes a part first.
    ///
    /// # Errors
    /// Nothing was stored, and nothing of it will be found after a restart, except after [`AppendError::Poisoned`], when
    /// that is unknown.
    pub fn append(&self, batch: &Batch<'_>) -> Result<Appended, AppendError> {
        self.append_with(batch, Urgency::Now)
    }

    /// [`Store::append`] for those who may have time.
    ///
    /// # Errors
    /// As [`Store::append`].
    pub fn append_with(
        &self,
        batch: &Batch<'_>,
        urgency: Urgency,
    ) -> Result<Appended, AppendError> {
        let labels = |index: usize| (batch.series[index].labels)();
        let columns = ColumnBatch {
            scope: batch.scope,
            labels: &labels,
            metadata: &batch.metadata,
            urgency,
        };
        self.append_columns(&mut batch.columns(), columns)
    }

    /// Whether damage was found: then answers have warnings, each for its own times.
    pub fn is_damaged(&self) -> bool {
        let state = self.read_state();
        !state.quarantined.is_empty() || !state.damage.is_empty()
    }

    /// The times that appends take now.
    pub fn accepted_times(&self) -> crate::TimeRange {
        let (oldest, newest) = self.read_state().accepted;
        crate::TimeRange::new(
            Timestamp::from_millis(oldest),
            Timestamp::from_millis(newest),
        )
    }

    /// [`Store::append`] for samples that are columns already. The columns are left with what was stored.
    ///
    /// # Errors
    /// As [`Store::append`].
    pub fn append_columns(
        &self,
        columns: &mut Columns,
        batch: ColumnBatch<'_>,
    ) -> Result<Appended, AppendError> {
        let (oldest, newest) = self.make_room()?;
        let mut refused = columns.refuse_unfit(oldest, newest);
        if !columns.exemplars.is_empty() {
            let max = self.options.limits.exemplars_max;
            columns.exemplars.refuse_unfit(max, oldest, newest);
        }
        let catalogue = self.read_catalogue();
        catalogue.resolve(&columns.keys, &mut columns.ids);
        let known = !columns.ids.contains(&UNKNOWN);
        let max = self.options.limits.metadata_metrics_max;
        let is_news = |catalogue: &Catalogue, metric: &str, metadata: &Metadata| {
            self.is_short(metric, metadata) && catalogue.is_news(metric, metadata, max)
        };
        let mut news = batch.metadata.iter();
        if known && !news.any(|(metric, about)| is_news(&catalogue, metric, about)) {
            columns.lay_out();
            let written = self.write(columns, batch.urgency, |_| (), &refused)?;
            return Ok(written.into_appended(0, refused));
        }
        let (hasher, series_gone) = (catalogue.label_hasher(), catalogue.series_gone());
        drop(catalogue);
        // Reading labels is most of the work, and needs no lock.
        let mut unknown = self.parse_unknown(columns, batch, &hasher);
        // New series are in the log before anyone else can know their ids: the lock is held until then.
        let mut catalogue = self.write_catalogue();
        if catalogue.series_gone() != series_gone {
            // Perhaps some of which nobody has read the labels.
            catalogue.resolve(&columns.keys, &mut columns.ids);
            unknown = self.parse_unknown(columns, batch, &hasher);
        }
        let mut news = self.resolve_news(&catalogue, columns, batch.scope, unknown, &mut refused);
        let metadata = batch.metadata.iter().enumerate();
        let metadata = metadata.filter(|(_, (metric, about))| is_news(&catalogue, metric, about));
        news.metadata = metadata.map(|(index, _)| index).collect();
        columns.lay_out();
        let put_news = |records: &mut Records| news.put(batch, records);
        let mut written = self.write(columns, batch.urgency, put_news, &refused)?;
        for (key, id, labels) in &news.created {
            catalogue.insert(*key, *id, batch.scope, labels);
        }
        for (key, id) in &news.aliases {
            catalogue.insert_alias(*key, *id);
        }
        for index in &news.metadata {
            let (metric, about) = batch.metadata[*index];
            catalogue.insert_metadata(metric, about, max);
        }
        written.seal_due |= catalogue.has_full_unsaved();
        drop(catalogue);
        refused.sort_by_key(|refused| refused.index);
        Ok(written.into_appended(news.created.len() as u64, refused))
    }

    /// Writes the columns as they are laid out, after what is news.
    fn write(
        &self,
        columns: &mut Columns,
        urgency: Urgency,
        put_news: impl FnOnce(&mut Records),
        refused: &[RefusedSeries],
    ) -> Result<Written, AppendError> {
        columns.encode(put_news);
        if !columns.exemplars.is_empty() {
            columns.exemplars.encode(&columns.ids);
        }
        // Exemplars are in records of their own, after the series that they are of.
        let exemplars = columns.exemplars.records();
        let exemplar_bytes = exemplars.map(<[u8]>::len).sum::<usize>();
        let records = columns.records().chain(columns.exemplars.records());
        let slices: Vec<&[u8]> = records.collect();
        let samples = columns.rows();
        if slices.is_empty() {
            self.write_state().samples_refused += count(refused);
            return Ok(Written {
                commit: Commit(None),
                samples,
                exemplars: columns.exemplars.take_outcome(),
                seal_due: false,
            });
        }
        let _appending = self.lock_appending();
        check_writable(&self.read_state())?;
        let appended = self.wal.append_with(&slices, urgency)?;
        let mut state = self.write_state();
        state.active.cover(appended.seq, appended.last_seq);
        state.active.push(&columns.runs, &columns.values);
        for (id, rows) in &columns.mixed_rows {
            state.active.push_mixed(*id, rows);
        }
        state.samples_appended += samples;
        state.active.exemplar_bytes += exemplar_bytes;
        state.samples_refused += count(refused);
        let seal_due = state.active.weight() >= self.options.seal.rows_max;
        drop(state);
        self.watch.note_written(columns);
        if !columns.exemplars.is_empty() {
            let mut ring = self.write_exemplars();
            let last = appended.last_seq;
            columns.exemplars.insert_into(&mut ring, &columns.ids, last);
        }
        Ok(Written {
            commit: Commit(Some(appended.commit)),
            samples,
            exemplars: columns.exemplars.take_outcome(),
            seal_due,
        })
    }

    /// Makes ready what only writes need, and the first of them would wait for otherwise. Once after opening, on a thread
    /// where that may take a moment.
    pub fn prepare_writes(&self) {
        self.read_catalogue().build_tables();
    }

    /// Blocks until everything appended so far is durable, without waiting out the policy's delay.
    ///
    /// # Errors
    /// [`AppendError::Poisoned`].
    pub fn sync(&self) -> Result<(), AppendError> {
        Ok(self.wal.sync()?)
    }

    /// Makes everything appended durable and seals what is in memory, so that the next start replays nothing. Appends
    /// are still possible afterwards.
    ///
    /// # Errors
    /// What could not be written stays in the log; nothing is lost.
    pub fn close(&self) -> Result<(), StoreError> {
        self.wal.sync()?;
        self.seal().map(|_| ())
    }

    /// Waits until there is room in memory; the times accepted now.
    fn make_room(&self) -> Result<(i64, i64), AppendError> {
        loop {
            {
                let state = self.read_state();
                check_writable(&state)?;
                if state.active.weight() < self.options.seal.rows_max.saturating_mul(2).max(1) {
                    return Ok(state.accepted);
                }
            }
            self.seal()?;
        }
    }

    /// The labels of the series whose key is new, rising by index.
    fn parse_unknown(
        &self,
        columns: &Columns,
        batch: ColumnBatch<'_>,
        hasher: &LabelHasher,
    ) -> Vec<Parsed> {
        let limits = &self.options.limits;
        let mut parsed = Vec::new();
        for (index, id) in columns.ids.iter().enumerate() {
            if *id != UNKNOWN
                || columns.is_empty_series(index) && !columns.exemplars.has(index as u32)
            {
                continue;
            }
            let labels = (batch.labels)(index).map_err(RefusedReason::Labels);
            let labels = labels.and_then(|labels| {
                check_labels(
                    &labels,
                    limits.labels_per_series_max,
                    limits.label_bytes_max,
                )?;
                Ok(hasher.hash(labels))
            });
            parsed.push(Parsed { index, labels });
        }
        parsed
    }

    /// Gives ids to the series that have none yet; those that cannot have one are refused, and lose their samples.
    fn resolve_news(
        &self,
        catalogue: &Catalogue,
        columns: &mut Columns,
        scope: &str,
        unknown: Vec<Parsed>,
        refused: &mut Vec<RefusedSeries>,
    ) -> News {
        let mut news = News {
            scope_series: catalogue.series_in_scope(scope),
            ..News::default()
        };
        // Of the created ones, by their labels.
        let mut created = HashTable::with_capacity(unknown.len());
        let mut exemplars_only = Vec::new();
        for Parsed { index, labels } in unknown {
            let key = columns.keys[index];
            if columns.is_empty_series(index) {
                exemplars_only.push((index, labels));
                continue;
            }
            let id = match catalogue.id_of_key(key) {
                // Somebody else brought it meanwhile.
                Some(id) => Ok(id),
                None => labels.and_then(|labels| {
                    self.resolve(catalogue, scope, key, labels, &mut news, &mut created)
                }),
            };
            match id {
                Ok(id) => columns.ids[index] = id,
                Err(reason) => refused.push(RefusedSeries {
                    index,
                    samples: columns.samples_of(index),
                    reason,
                }),
            }
        }
        for (index, labels) in exemplars_only {
            let known = catalogue.id_of_key(columns.keys[index]).or_else(|| {
                let labels = labels.ok()?;
                let known = catalogue.id_of_hashed(&labels);
                known.or_else(|| news.id_of(&labels, &created, catalogue.next_id()))
            });
            columns.ids[index] = known.unwrap_or(UNKNOWN);
        }
        news
    }

    /// The id of a series whose key is new.
    fn resolve(
        &self,
        catalogue: &Catalogue,
        scope: &str,
        key: SeriesKey,
        labels: HashedLabels,
        news: &mut News,
        created: &mut HashTable<(u64, u32)>,
    ) -> Result<u32, RefusedReason> {
        if let Some(id) = catalogue.id_of_hashed(&labels) {
            if catalogue.takes_alias(id) {
                news.aliases.push((key, id));
            }
            return Ok(id);
        }
        let first = catalogue.next_id();
        if let Some(id) = news.id_of(&labels, created, first) {
            return Ok(id);
        }
        let HashedLabels { labels, hash } = labels;
        let max = self.options.limits.series_per_scope_max;
        let full = || RefusedReason::SeriesLimit {
            scope: scope.to_owned(),
            max,
        };
        if news.scope_series + news.created.len() >= max {
            return Err(full());
        }
        let id = first
            .checked_add(news.created.len() as u32)
            .filter(|id| *id != UNKNOWN)
            .ok_or_else(full)?;
        created.insert_unique(hash, (hash, id), |(hash, _)| *hash);
        news.created.push((key, id, labels));
        Ok(id)
    }

    fn is_short(&self, metric: &str, metadata: &Metadata) -> bool {
        let max = self.options.limits.label_bytes_max;
        metric.len() <= max && metadata.help.len() <= max && metadata.unit.len() <= max
    }

    pub(crate) fn read_catalogue(&self) -> RwLockReadGuard<'_, Catalogue> {
        self.catalogue
            .read()
            .unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn write_catalogue(&self) -> RwLockWriteGuard<'_, Catalogue> {
        self.catalogue
            .write()
            .unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn lock_appending(&self) -> MutexGuard<'_, ()> {
        self.appending
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn read_state(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn write_state(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn read_exemplars(&self) -> RwLockReadGuard<'_, Exemplars> {
        self.exemplars
            .read()
            .unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn write_exemplars(&self) -> RwLockWriteGuard<'_, Exemplars> {
        self.exemplars
            .write()
            .unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn lock_installing(&self) -> MutexGuard<'_, ()> {
        self.installing
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// What is there now, and files that it no longer lists.
    pub(crate) fn manifest(&self) -> (Manifest, Vec<PathBuf>) {
        let mut catalogue = self.write_catalogue();
        let (next_series, listed) = (catalogue.next_id(), catalogue.listed());
        let removed = catalogue.take_removed();
        drop(catalogue);
        let state = self.read_state();
        let manifest = Manifest {
            hash_key: self.hash_key,
            partition_ms: self.partition_ms,
            sealed_through: state.sealed_through,
            next_part: state.next_part,
            next_series,
            parts: state.parts.iter().map(|part| part.meta.clone()).collect(),
            quarantined: state.quarantined.clone(),
            deletions: Deletions::clone(&state.deletions),
            catalogue: listed,
        };
        (manifest, removed)
    }

    /// After any failed write but a full disk nothing more is written: what the disk holds is no longer known.
    pub(crate) fn poison_unless_full(&self, error: StoreError) -> StoreError {
        if !error.is_disk_full() {
            self.write_state()
                .poisoned
                .get_or_insert_with(|| error.to_string());
        }
        error
    }
}

/// What one write put into the log.
struct Written {
    commit: Commit,
    samples: u64,
    exemplars: ExemplarsAppended,
    seal_due: bool,
}

impl Written {
    fn into_appended(self, series_created: u64, refused: Vec<RefusedSeries>) -> Appended {
        Appended {
            commit: self.commit,
            samples: self.samples,
            series_created,
            refused,
            exemplars: self.exemplars,
            seal_due: self.seal_due,
        }
    }
}

impl News {
    /// The created series with these labels; the first one has the id `first`.
    fn id_of(
        &self,
        labels: &HashedLabels,
        created: &HashTable<(u64, u32)>,
        first: u32,
    ) -> Option<u32> {
        let same = |(hash, id): &(u64, u32)| {
            *hash == labels.hash && self.created[(id - first) as usize].2 == labels.labels
        };
        created.find(labels.hash, same).map(|(_, id)| *id)
    }

    /// What names a series comes in the log before its samples.
    fn put(&self, batch: ColumnBatch<'_>, records: &mut Records) {
        for (key, id, labels) in &self.created {
            records.frame().series(key.0, *id, batch.scope, labels);
        }
        for (key, id) in &self.aliases {
            records.frame().alias(key.0, *id);
        }
        for index in &self.metadata {
            let (metric, about) = batch.metadata[*index];
            records.frame().metadata(metric, about);
        }
    }
}

fn count(refused: &[RefusedSeries]) -> u64 {
    refused.iter().map(|refused| refused.samples).sum()
}

fn check_writable(state: &State) -> Result<(), AppendError> {
    match &state.poisoned {
        Some(reason) => Err(AppendError::Poisoned {
            reason: reason.clone(),
        }),
        None => Ok(()),
    }
}

fn check_labels(
    labels: &LabelSet,
    labels_max: usize,
    bytes_max: usize,
) -> Result<(), RefusedReason> {
    if labels.is_empty() {
        return Err(RefusedReason::Labels(
            "a series needs at least one label".to_owned(),
        ));
    }
    let mut count = 0;
    for (name, value) in labels.iter() {
        count += 1;
        if count > labels_max {
            return Err(RefusedReason::TooManyLabels {
                found: labels.len(),
                max: labels_max,
            });
        }
        let found = name.len().max(value.len());
        if found > bytes_max {
            return Err(RefusedReason::LabelTooLong {
                name: name.to_owned(),
                found,
                max: bytes_max,
            });
        }
    }
    Ok(())
}
