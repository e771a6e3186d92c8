//! The store: its state, opening it, and writing to it.
//!
//! Locks, in the order in which they are taken: `merging` (one merge or retention at a time), `installing` (whoever changes
//! the manifest), `state`. Readers take `state` shared and let go before they read parts; nobody holds `state` during an
//! fsync except where an append closes a full log segment.
//!
//! A sample's way: log record and memory (`Store::append`), then a frozen head, then a part, then merged parts. At every
//! step the state of before stays readable until the next is installed, and on disk the log record is freed only after
//! the manifest that names the part is durable.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
};

use journal::{Disk, Journal};
use model::{LabelSet, Metadata, Sample};
use siphasher::sip128::{Hasher128 as _, SipHasher13};
use std::hash::Hasher as _;

use crate::{
    catalogue::Catalogue,
    chunk,
    error::{AppendError, RefusedReason, StoreError},
    frame::Frame,
    head::Head,
    manifest::Manifest,
    part::{BlockCache, Part, PartMeta},
    rows::Rows,
    types::{Appended, Batch, Commit, RefusedSeries, SeriesKey, StoreOptions},
};

/// A record of the log is closed when it reaches this.
const FRAME_BYTES: usize = 4 << 20;

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
    pub(crate) catalogue_log: Journal,
    pub(crate) merging: Mutex<()>,
    pub(crate) installing: Mutex<Installing>,
    pub(crate) state: RwLock<State>,
}

/// What only the holder of the lock changes.
#[derive(Default)]
pub(crate) struct Installing {
    /// Records for the catalogue's log that could not be written yet.
    pub(crate) catalogue_pending: Vec<Vec<u8>>,
}

/// Invariant: every sample acknowledged is in `active`, in `frozen` or in `parts` (or `quarantined`), and their write
/// sequences rise in the order parts of one partition, frozen, active.
pub(crate) struct State {
    pub(crate) catalogue: Catalogue,
    pub(crate) active: Head,
    /// Being sealed (or waiting for room to be), oldest first.
    pub(crate) frozen: Vec<Arc<Head>>,
    /// Ordered by (partition, write sequence).
    pub(crate) parts: Vec<Arc<Part>>,
    pub(crate) quarantined: Vec<(PartMeta, String)>,
    pub(crate) sealed_through: u64,
    pub(crate) catalogue_from: u64,
    pub(crate) next_part: u64,
    /// Oldest and newest timestamp accepted, ms; set by maintenance.
    pub(crate) accepted: (i64, i64),
    /// When maintenance first saw samples in `active`, ms.
    pub(crate) active_since: Option<i64>,
    /// Whether series may have lost their last sample since maintenance last looked for such.
    pub(crate) look_for_dead_series: bool,
    pub(crate) poisoned: Option<String>,
    pub(crate) samples_appended: u64,
    pub(crate) samples_refused: u64,
    pub(crate) records_lost: u64,
    /// Damage found since opening, in words.
    pub(crate) damage: Vec<String>,
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

/// A batch, resolved: what will be written.
#[derive(Default)]
struct Plan<'a> {
    runs: Vec<(u32, Rows)>,
    created: Vec<(SeriesKey, u32, LabelSet)>,
    aliases: Vec<(SeriesKey, u32)>,
    metadata: Vec<(&'a str, &'a Metadata)>,
    refused: Vec<RefusedSeries>,
    rows: u64,
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
        let mut hasher = SipHasher13::new_with_key(&self.hash_key);
        hasher.write(&(scope.len() as u64).to_le_bytes());
        hasher.write(scope.as_bytes());
        hasher.write(raw_label_bytes);
        SeriesKey(hasher.finish128().as_u128())
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
        let mut state = self.writable_state()?;
        let plan = self.plan(&state, batch);
        let records = plan.records(batch.scope);
        let commit = if records.is_empty() {
            Commit(None)
        } else {
            let slices: Vec<&[u8]> = records.iter().map(Vec::as_slice).collect();
            let appended = self.wal.append_all(&slices)?;
            state.active.cover(appended.seq, appended.last_seq);
            Commit(Some(appended.commit))
        };
        for (key, id, labels) in &plan.created {
            state.catalogue.insert(*key, *id, batch.scope, labels);
        }
        for (key, id) in plan.aliases {
            state.catalogue.insert_alias(key, id);
        }
        for (metric, metadata) in plan.metadata {
            state.catalogue.insert_metadata(
                metric,
                metadata,
                self.options.limits.metadata_metrics_max,
            );
        }
        for (id, rows) in plan.runs {
            state.active.append_rows(id, rows);
        }
        state.samples_appended += plan.rows;
        state.samples_refused += plan
            .refused
            .iter()
            .map(|refused| refused.samples)
            .sum::<u64>();
        drop(state);
        Ok(Appended {
            commit,
            samples: plan.rows,
            series_created: plan.created.len() as u64,
            refused: plan.refused,
        })
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

    /// Locks the state once there is room in memory.
    fn writable_state(&self) -> Result<RwLockWriteGuard<'_, State>, AppendError> {
        loop {
            let state = self.write_state();
            if let Some(reason) = &state.poisoned {
                return Err(AppendError::Poisoned {
                    reason: reason.clone(),
                });
            }
            if state.active.rows < self.options.seal.rows_max.saturating_mul(2).max(1) {
                return Ok(state);
            }
            drop(state);
            self.seal()?;
        }
    }

    fn plan<'a>(&self, state: &State, batch: &Batch<'a>) -> Plan<'a> {
        let mut plan = Plan::default();
        let mut keys = hashbrown::HashMap::new();
        let mut label_sets = hashbrown::HashMap::new();
        for (index, series) in batch.series.iter().enumerate() {
            let (rows, refused) = accept(series.samples, state.accepted);
            if let Some((samples, reason)) = refused {
                plan.refused.push(RefusedSeries {
                    index,
                    samples,
                    reason,
                });
            }
            if rows.is_empty() {
                continue;
            }
            let known = state
                .catalogue
                .id_of_key(series.key)
                .or_else(|| keys.get(&series.key).copied());
            let id = match known {
                Some(id) => id,
                None => match self.resolve(
                    state,
                    batch.scope,
                    series.labels,
                    &mut plan,
                    &mut label_sets,
                    series.key,
                ) {
                    Ok(id) => id,
                    Err(reason) => {
                        plan.refused.push(RefusedSeries {
                            index,
                            samples: rows.len() as u64,
                            reason,
                        });
                        continue;
                    }
                },
            };
            keys.insert(series.key, id);
            plan.rows += rows.len() as u64;
            plan.runs.push((id, rows));
        }
        let limits = &self.options.limits;
        for (metric, metadata) in &batch.metadata {
            let short = metric.len() <= limits.label_bytes_max
                && metadata.help.len() <= limits.label_bytes_max
                && metadata.unit.len() <= limits.label_bytes_max;
            if short
                && state
                    .catalogue
                    .is_news(metric, metadata, limits.metadata_metrics_max)
            {
                plan.metadata.push((metric, metadata));
            }
        }
        plan
    }

    /// The id of a series whose key is new.
    fn resolve(
        &self,
        state: &State,
        scope: &str,
        labels: &crate::types::LabelsFn<'_>,
        plan: &mut Plan<'_>,
        label_sets: &mut hashbrown::HashMap<LabelSet, u32>,
        key: SeriesKey,
    ) -> Result<u32, RefusedReason> {
        let limits = &self.options.limits;
        let labels = labels().map_err(RefusedReason::Labels)?;
        check_labels(
            &labels,
            limits.labels_per_series_max,
            limits.label_bytes_max,
        )?;
        if let Some(id) = state.catalogue.id_of_labels(&labels) {
            if state.catalogue.takes_alias(id) {
                plan.aliases.push((key, id));
            }
            return Ok(id);
        }
        if let Some(id) = label_sets.get(&labels) {
            return Ok(*id);
        }
        let max = limits.series_per_scope_max;
        let full = || RefusedReason::SeriesLimit {
            scope: scope.to_owned(),
            max,
        };
        if state.catalogue.series_in_scope(scope) + plan.created.len() >= max {
            return Err(full());
        }
        let id = state
            .catalogue
            .next_id
            .checked_add(plan.created.len() as u32)
            .ok_or_else(full)?;
        label_sets.insert(labels.clone(), id);
        plan.created.push((key, id, labels));
        Ok(id)
    }

    pub(crate) fn read_state(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn write_state(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn lock_installing(&self) -> MutexGuard<'_, Installing> {
        self.installing
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn manifest(&self, state: &State) -> Manifest {
        Manifest {
            hash_key: self.hash_key,
            partition_ms: self.partition_ms,
            sealed_through: state.sealed_through,
            catalogue_from: state.catalogue_from,
            catalogue_through: self.catalogue_log.synced_seq(),
            next_part: state.next_part,
            next_series: state.catalogue.next_id,
            parts: state.parts.iter().map(|part| part.meta.clone()).collect(),
            quarantined: state.quarantined.clone(),
        }
    }

    /// After any failed write but a full disk nothing more is written: what the disk holds is no longer known.
    pub(crate) fn poison_unless_full(&self, error: StoreError) -> StoreError {
        let full = matches!(
            error,
            StoreError::DiskFull { .. }
                | StoreError::Journal(journal::JournalError::DiskFull { .. })
        );
        if !full {
            self.write_state()
                .poisoned
                .get_or_insert_with(|| error.to_string());
        }
        error
    }
}

impl Plan<'_> {
    /// The log records: what names a series comes before its samples.
    fn records(&self, scope: &str) -> Vec<Vec<u8>> {
        let mut records = Vec::new();
        let mut frame = Frame::new();
        let mut flush = |frame: &mut Frame, at_least: usize| {
            if !frame.is_empty() && frame.len() >= at_least {
                records.push(std::mem::replace(frame, Frame::new()).into_bytes());
            }
        };
        for (key, id, labels) in &self.created {
            frame.series(key.0, *id, scope, labels);
            flush(&mut frame, FRAME_BYTES);
        }
        for (key, id) in &self.aliases {
            frame.alias(key.0, *id);
            flush(&mut frame, FRAME_BYTES);
        }
        for (metric, metadata) in &self.metadata {
            frame.metadata(metric, metadata);
            flush(&mut frame, FRAME_BYTES);
        }
        for (id, rows) in &self.runs {
            let mut to = 0;
            while to < rows.len() {
                let from = to;
                to = chunk::end(rows, from);
                frame.rows(*id, rows, from, to);
                flush(&mut frame, FRAME_BYTES);
            }
        }
        flush(&mut frame, 0);
        records
    }
}

/// The samples that can be taken; how many cannot, and why the first of them cannot.
fn accept(
    samples: &[Sample],
    (oldest, newest): (i64, i64),
) -> (Rows, Option<(u64, RefusedReason)>) {
    let mut rows = Rows::default();
    let mut refused: Option<(u64, RefusedReason)> = None;
    for sample in samples {
        let reason = if sample.at.millis() < oldest || sample.at.millis() > newest {
            let [oldest, newest] = [oldest, newest].map(model::Timestamp::from_millis);
            Some(RefusedReason::OutOfRange {
                at: sample.at,
                oldest,
                newest,
            })
        } else {
            match &sample.value {
                model::Value::Histogram(histogram) if !sample.value.is_stale() => {
                    histogram.validate().err().map(RefusedReason::Histogram)
                }
                _ => None,
            }
        };
        match (reason, &mut refused) {
            (None, _) => rows.push_sample(sample),
            (Some(_), Some((count, _))) => *count += 1,
            (Some(reason), None) => refused = Some((1, reason)),
        }
    }
    (rows, refused)
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
    let found = labels.len();
    if found > labels_max {
        return Err(RefusedReason::TooManyLabels {
            found,
            max: labels_max,
        });
    }
    for (name, value) in labels.iter() {
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
