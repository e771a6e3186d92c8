//! Opening a store: the manifest says what is there, the catalogue and the parts' indexes are read, the log is replayed
//! from where the parts end.
//!
//! Damage, case by case. The torn end of the log: normal, cut by the journal. A damaged record in its middle, or a damaged
//! file of the catalogue: counted, said in words, the rest is used. A part that does not pass its checks: quarantined, the rest is served. A damaged
//! or missing manifest, or an unknown version of anything: refused, because nothing else says what belongs together.

use std::{
    path::Path,
    sync::{Arc, Mutex, RwLock},
};

use journal::{Disk, Journal, JournalError, Options};

use crate::{
    catalogue::Catalogue,
    changes::Watch,
    deletions::Deletions,
    error::StoreError,
    exemplars::{self, Exemplars},
    frame::{self, Entry},
    head::Head,
    manifest::{self, Manifest},
    part::{self, BlockCache, Part, PartError},
    store::{State, Store},
    types::{SeriesKey, StoreOptions},
};

pub(crate) const PARTS_DIR: &str = "parts";
const WAL_DIR: &str = "wal";
pub(crate) const CATALOGUE_DIR: &str = "catalogue";
/// The longest time one part may cover is bounded below, so that hostile timestamps cannot make millions of parts.
const PARTITION_MS_MIN: i64 = 60_000;

pub(crate) fn open(
    disk: Arc<dyn Disk>,
    dir: &Path,
    options: StoreOptions,
) -> Result<Store, StoreError> {
    let parts_dir = dir.join(PARTS_DIR);
    disk.create_dir_all(&parts_dir)
        .map_err(|e| StoreError::io("creating", &parts_dir, e))?;
    manifest::check_format(&*disk, dir)?;
    let manifest = match Manifest::load(&*disk, dir)? {
        Some(manifest) => manifest,
        None => create(&*disk, dir, &options)?,
    };

    let (wal, _) = Journal::open(
        disk.clone(),
        &dir.join(WAL_DIR),
        Options {
            sync: options.wal.sync,
            segment_bytes_max: options.wal.segment_bytes_max,
            next_seq_min: manifest.sealed_through + 1,
            ..Options::default()
        },
    )?;
    let (mut catalogue, damage) =
        Catalogue::load(&*disk, &dir.join(CATALOGUE_DIR), &manifest.catalogue)?;

    let mut state = State {
        active: Head::default(),
        frozen: Vec::new(),
        parts: Vec::new(),
        quarantined: manifest.quarantined.clone(),
        deletions: Arc::new(manifest.deletions.clone()),
        sealed_through: manifest.sealed_through,
        next_part: manifest.next_part,
        accepted: (i64::MIN, i64::MAX),
        active_since: None,
        look_for_dead_series: true,
        poisoned: None,
        samples_appended: 0,
        samples_refused: 0,
        records_lost: 0,
        damage: Vec::new(),
    };
    let max = options.limits.exemplars_max;
    let exemplars::Loaded {
        mut exemplars,
        damage: exemplars_damage,
    } = Exemplars::load(&*disk, dir, max)?;
    for what in damage.into_iter().chain(exemplars_damage) {
        state.report(1, what);
    }
    let cache = Arc::new(BlockCache::new(options.block_cache_bytes_max));
    open_parts(&disk, dir, &manifest, &cache, &mut state, &mut catalogue)?;
    replay(
        &mut state,
        &mut catalogue,
        &mut exemplars,
        &wal,
        manifest.sealed_through + 1,
        "write-ahead log",
    )?;
    if wal.last_seq() > manifest.sealed_through {
        state
            .active
            .cover(manifest.sealed_through + 1, wal.last_seq());
    }
    catalogue.reserve(manifest.next_series.saturating_sub(1));
    if let Some(id) = exemplars.largest_id() {
        // The log may have lost what says the series: nobody else gets its id.
        catalogue.reserve(id);
    }
    exemplars.retain(|id, _, _| catalogue.contains_id(id));
    exemplars.follow_log(&*disk, dir, wal.last_seq())?;
    // Segments that were to be freed when the process ended.
    wal.free_through(manifest.sealed_through)?;
    remove_leftovers(&*disk, dir, &state);
    crate::snapshot::remove_unfinished(&*disk, dir);
    let store = Store {
        disk,
        dir: dir.to_owned(),
        options,
        hash_key: manifest.hash_key,
        partition_ms: manifest.partition_ms,
        cache,
        wal,
        merging: Mutex::new(()),
        installing: Mutex::new(()),
        catalogue: RwLock::new(catalogue),
        appending: Mutex::new(()),
        state: RwLock::new(state),
        exemplars: RwLock::new(exemplars),
        watch: Watch::default(),
    };
    if store.read_state().quarantined.len() > manifest.quarantined.len() {
        store.save_quarantine();
    }
    Ok(store)
}

fn create(disk: &dyn Disk, dir: &Path, options: &StoreOptions) -> Result<Manifest, StoreError> {
    // Without a manifest everything else would look left over, and be removed.
    let parts = disk.list(&dir.join(PARTS_DIR)).unwrap_or_default();
    let wal = disk.list(&dir.join(WAL_DIR)).unwrap_or_default();
    let catalogue = disk.list(&dir.join(CATALOGUE_DIR)).unwrap_or_default();
    if parts
        .iter()
        .any(|name| part::parse_file_name(name).is_some())
        || !wal.is_empty()
        || !catalogue.is_empty()
    {
        let path = dir.join(manifest::FILE);
        return Err(StoreError::Damaged {
            path,
            offset: 0,
            expected: "a manifest, because there are parts or log segments",
        });
    }
    let hash_key = match options.create.hash_key {
        Some(key) => key,
        None => {
            let mut key = [0; 16];
            getrandom::fill(&mut key).map_err(|e| {
                StoreError::io(
                    "making a random key for",
                    dir,
                    std::io::Error::other(e.to_string()),
                )
            })?;
            key
        }
    };
    let partition_ms = i64::try_from(options.create.partition.as_millis())
        .unwrap_or(i64::MAX)
        .max(PARTITION_MS_MIN);
    let manifest = Manifest {
        hash_key,
        partition_ms,
        sealed_through: 0,
        next_part: 1,
        next_series: 1,
        catalogue: Vec::new(),
        parts: Vec::new(),
        quarantined: Vec::new(),
        deletions: Deletions::default(),
    };
    manifest.save(disk, dir).map_err(|e| e.error)?;
    Ok(manifest)
}

/// Applies the records of a log from a sequence on; the last sequence read.
fn replay(
    state: &mut State,
    catalogue: &mut Catalogue,
    exemplars: &mut Exemplars,
    log: &Journal,
    from: u64,
    name: &str,
) -> Result<u64, StoreError> {
    let mut last = 0;
    for record in log.read_from(from) {
        let (seq, bytes) = match record {
            Ok(record) => record,
            Err(JournalError::Damaged {
                path,
                offset,
                lost_first,
                lost_last,
            }) => {
                let lost = lost_last - lost_first + 1;
                let place = format!("{} at offset {offset}", path.display());
                state.report(
                    lost,
                    format!("the {name} is damaged ({place}): {lost} records are lost"),
                );
                last = lost_last;
                continue;
            }
            Err(e) => return Err(e.into()),
        };
        last = seq;
        match frame::decode(&bytes) {
            Ok(entries) => {
                for entry in entries {
                    if let Entry::Exemplars(new) = entry {
                        state.active.exemplar_bytes += bytes.len();
                        exemplars.replay(seq, new);
                    } else {
                        apply(state, catalogue, entry);
                    }
                }
            }
            Err(e) => state.report(
                1,
                format!(
                    "record {seq} of the {name} is not readable: expected {}",
                    e.0
                ),
            ),
        }
    }
    Ok(last)
}

fn apply(state: &mut State, catalogue: &mut Catalogue, entry: Entry) {
    match entry {
        Entry::Series {
            key,
            id,
            scope,
            labels,
        } => catalogue.insert(SeriesKey(key), id, &scope, &labels),
        Entry::Alias { key, id } => catalogue.insert_alias(SeriesKey(key), id),
        Entry::Rows { id, rows } => {
            catalogue.reserve(id);
            state.active.push_mixed(id, &rows);
        }
        Entry::Columns { runs, values } => {
            let last = (0..runs.ids.len()).map(|run| runs.id_end(run)).max();
            if let Some(last) = last.and_then(|end| u32::try_from(end - 1).ok()) {
                catalogue.reserve(last);
            }
            state.active.push(&runs, &values);
        }
        Entry::Metadata { metric, metadata } => {
            catalogue.insert_metadata(&metric, &metadata, usize::MAX);
        }
        // Not here: they are not of the state.
        Entry::Exemplars(_) => {}
    }
}

fn open_parts(
    disk: &Arc<dyn Disk>,
    dir: &Path,
    manifest: &Manifest,
    cache: &Arc<BlockCache>,
    state: &mut State,
    catalogue: &mut Catalogue,
) -> Result<(), StoreError> {
    for meta in &manifest.parts {
        let path = dir.join(PARTS_DIR).join(part::file_name(meta.number));
        match Part::open(disk.clone(), path.clone(), meta.clone()) {
            Ok(part) => {
                if let Some(id) = part.ids.max() {
                    catalogue.reserve(id);
                }
                state.parts.push(Arc::new(part.cached(cache)));
            }
            Err(PartError::Damaged { offset, expected }) => {
                state.quarantined.push((
                    meta.clone(),
                    format!("at offset {offset}: expected {expected}"),
                ));
            }
            Err(PartError::Version(found)) => {
                let (found, expected) = (found.to_string(), part::VERSION);
                return Err(StoreError::UnknownVersion {
                    path,
                    found,
                    expected,
                });
            }
            Err(PartError::Io(e)) => return Err(StoreError::io("opening", &path, e)),
        }
    }
    Ok(())
}

/// Removes parts that no manifest names: of a seal or merge that was interrupted, or replaced by a merge. Best effort.
fn remove_leftovers(disk: &dyn Disk, dir: &Path, state: &State) {
    let parts_dir = dir.join(PARTS_DIR);
    for name in disk.list(&parts_dir).unwrap_or_default() {
        let Some(number) = part::parse_file_name(&name) else {
            continue;
        };
        let named = state.parts.iter().any(|part| part.meta.number == number)
            || state
                .quarantined
                .iter()
                .any(|(meta, _)| meta.number == number);
        if !named {
            let _ = disk.remove(&parts_dir.join(name));
        }
    }
}
