//! A copy of the store at one moment, made of hard links: `snapshots/<name>`, a store folder of its own.
//!
//! Parts are never changed and files of the catalogue only replaced, so that a second name for each is a copy that costs
//! nothing. While it is made nobody installs a manifest; appends and reads go on. It is built under
//! `snapshots/<name>.tmp` and renamed when all of it is durable: after a crash there is the whole snapshot, or a
//! leftover that the next opening removes.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use journal::Disk;
use model::Timestamp;

use crate::{
    catalogue::Unsaved,
    error::StoreError,
    maintain::Change,
    manifest::{self, Manifest},
    open::{CATALOGUE_DIR, PARTS_DIR},
    part,
    store::Store,
};

const SNAPSHOTS_DIR: &str = "snapshots";
const UNFINISHED: &str = ".tmp";

/// What a snapshot holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SnapshotOf {
    /// Everything appended before the call: memory is sealed first. What is appended meanwhile may be in it too.
    Everything,
    /// What is in parts already.
    Parts,
}

impl Store {
    /// Makes a snapshot named after `now`; its name, a folder below `snapshots/` of the store's. It can be opened as a
    /// store, or copied elsewhere, and stays until somebody removes it. Durable when this returns.
    ///
    /// # Errors
    /// [`StoreError::NoHardLinks`], or as [`Store::maintain`]. There is no snapshot then.
    pub fn take_snapshot(&self, now: Timestamp, of: SnapshotOf) -> Result<String, StoreError> {
        let _installing = self.lock_installing();
        if of == SnapshotOf::Everything {
            self.seal_all()?;
            self.save_catalogue(Unsaved::All)
                .and_then(|()| self.install(Change::default()))
                .map_err(|error| self.poison_unless_full(error))?;
        }
        // Nobody replaces it, nor any file that it names, while `installing` is held.
        let path = self.dir.join(manifest::FILE);
        let Some(manifest) = Manifest::load(&*self.disk, &self.dir)? else {
            return Err(StoreError::io(
                "reading",
                &path,
                io::ErrorKind::NotFound.into(),
            ));
        };
        let name = name(now)?;
        let snapshots = self.dir.join(SNAPSHOTS_DIR);
        let unfinished = snapshots.join(format!("{name}{UNFINISHED}"));
        let made = self.fill(&unfinished, &manifest).and_then(|()| {
            let finished = snapshots.join(&name);
            self.disk
                .rename_dir(&unfinished, &finished)
                .and_then(|()| self.disk.sync_dir(&snapshots))
                .map_err(|e| StoreError::io("renaming", &unfinished, e))
        });
        if made.is_err() {
            // Left over otherwise; the next start removes it.
            let _ = self.disk.remove_dir_all(&unfinished);
        }
        made.map(|()| name)
    }

    fn fill(&self, dir: &Path, manifest: &Manifest) -> Result<(), StoreError> {
        let disk = &*self.disk;
        let (parts, catalogue) = (dir.join(PARTS_DIR), dir.join(CATALOGUE_DIR));
        for folder in [&parts, &catalogue] {
            disk.create_dir_all(folder)
                .map_err(|e| StoreError::io("creating", folder, e))?;
        }
        for meta in &manifest.parts {
            let name = part::file_name(meta.number);
            link(disk, &self.parts_dir().join(&name), &parts.join(&name))?;
        }
        for (meta, _) in &manifest.quarantined {
            let name = part::file_name(meta.number);
            link_if_there(disk, &self.parts_dir().join(&name), &parts.join(&name))?;
        }
        let ours = self.dir.join(CATALOGUE_DIR);
        for name in crate::catalogue::file_names(&manifest.catalogue) {
            // A missing file is damage, which the snapshot's catalogue reports as ours does.
            link_if_there(disk, &ours.join(&name), &catalogue.join(&name))?;
        }
        for folder in [&parts, &catalogue] {
            disk.sync_dir(folder)
                .map_err(|e| StoreError::io("fsync", folder, e))?;
        }
        manifest.save(disk, dir).map_err(|failed| failed.error)?;
        manifest::mark_format(disk, dir)
    }
}

fn link(disk: &dyn Disk, from: &Path, to: &Path) -> Result<(), StoreError> {
    disk.link(from, to).map_err(|e| match e.kind() {
        // What Linux says where names cannot be shared: another file system, or one without hard links.
        io::ErrorKind::CrossesDevices
        | io::ErrorKind::Unsupported
        | io::ErrorKind::PermissionDenied => StoreError::NoHardLinks {
            from: from.to_owned(),
            to: to.to_owned(),
            source: Arc::new(e),
        },
        _ => StoreError::io("linking", from, e),
    })
}

fn link_if_there(disk: &dyn Disk, from: &Path, to: &Path) -> Result<(), StoreError> {
    match link(disk, from, to) {
        Err(StoreError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// Removes snapshots that were not finished. Best effort.
pub(crate) fn remove_unfinished(disk: &dyn Disk, dir: &Path) {
    let snapshots: PathBuf = dir.join(SNAPSHOTS_DIR);
    for name in disk.list_dirs(&snapshots).unwrap_or_default() {
        if name.ends_with(UNFINISHED) {
            let _ = disk.remove_dir_all(&snapshots.join(name));
        }
    }
}

/// `20171210T211224Z-2be650b6d019eb54`: the second, and a random number, so that names never meet.
fn name(now: Timestamp) -> Result<String, StoreError> {
    let mut random = [0; 8];
    getrandom::fill(&mut random).map_err(|e| {
        let error = io::Error::other(e.to_string());
        StoreError::io("making a random name in", Path::new(SNAPSHOTS_DIR), error)
    })?;
    let random = u64::from_le_bytes(random);
    Ok(format!("{}-{random:016x}", basic_time(now)))
}

/// ISO 8601 in its basic form, UTC.
fn basic_time(at: Timestamp) -> String {
    let seconds = at.millis().div_euclid(1000);
    let (days, of_day) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    // Years begin in March here, so that the leap day is the last of its year; eras of 400 years are alike.
    let day = days + 719_468;
    let (era, day) = (day.div_euclid(146_097), day.rem_euclid(146_097));
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let date = day - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = year + era * 400 + i64::from(month <= 2);
    let (hour, minute, second) = (of_day / 3600, of_day / 60 % 60, of_day % 60);
    format!("{year:04}{month:02}{date:02}T{hour:02}{minute:02}{second:02}Z")
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use journal::{RealDisk, sim::SimDisk};
    use model::Sample;

    use super::*;
    use crate::{
        tests::{DIR, append_samples, at, options},
        *,
    };

    fn open(disk: &Arc<dyn Disk>, dir: &Path) -> Store {
        Store::open(disk.clone(), dir, options()).unwrap()
    }

    fn append(store: &Store, series: &str, times: std::ops::Range<i64>) {
        let samples: Vec<Sample> = times.map(|t| Sample::float(at(t), t as f64)).collect();
        append_samples(store, "s", series, &samples).unwrap();
    }

    fn all(store: &Store) -> Vec<Series> {
        let limits = SelectLimits::default();
        let all = store
            .select(&[], TimeRange::ALL, &limits, &|| false)
            .unwrap();
        assert_eq!(all.warnings, [""; 0]);
        all.series
    }

    #[test]
    fn names_begin_with_the_second() {
        let check = |millis, expected: &str| assert_eq!(basic_time(at(millis)), expected);
        check(1_512_940_344_999, "20171210T211224Z");
        check(0, "19700101T000000Z");
        check(-1, "19691231T235959Z");
        check(951_782_400_000, "20000229T000000Z");
        check(4_107_542_400_000, "21000301T000000Z");
    }

    fn a_snapshot_is_a_store(disk: Arc<dyn Disk>, dir: &Path) {
        let store = open(&disk, dir);
        append(&store, "up,job=a", 0..3);
        store.seal().unwrap();
        append(&store, "up,job=b", 60_000..60_003);
        let parts_only = store.take_snapshot(at(0), SnapshotOf::Parts).unwrap();
        let name = store
            .take_snapshot(at(1_512_940_344_000), SnapshotOf::Everything)
            .unwrap();
        assert_eq!(name.len(), 33);
        assert!(name.starts_with("20171210T211224Z-"), "{name}");
        let before = all(&store);
        append(&store, "up,job=a", 5..6);
        store.delete(&[], TimeRange::new(at(0), at(1))).unwrap();
        store.clean_tombstones().unwrap();
        let after = all(&store);
        drop(store);
        let snapshots = dir.join(SNAPSHOTS_DIR);
        for _ in 0..2 {
            assert_eq!(all(&open(&disk, &snapshots.join(&name))), before);
            assert_eq!(all(&open(&disk, &snapshots.join(&parts_only))), before[..1]);
            assert_eq!(all(&open(&disk, dir)), after);
        }
        let copy = open(&disk, &snapshots.join(&name));
        append(&copy, "up,job=c", 1..2);
        assert_eq!(all(&copy).len(), 3);
        assert_eq!(
            all(&open(&disk, dir)),
            after,
            "the copy is a store of its own"
        );
    }

    #[test]
    fn it_holds_what_was_there_and_nothing_later() {
        let dir = tempfile::tempdir().unwrap();
        a_snapshot_is_a_store(Arc::new(RealDisk), dir.path());
        a_snapshot_is_a_store(Arc::new(SimDisk::new(1)), Path::new(DIR));
    }

    #[test]
    fn a_crash_at_any_step_leaves_a_whole_snapshot_or_none() {
        let (mut none, mut whole) = (0, 0);
        for step in 1.. {
            let sim = SimDisk::new(step);
            let disk: Arc<dyn Disk> = Arc::new(sim.clone());
            let store = open(&disk, Path::new(DIR));
            append(&store, "up,job=a", 0..3);
            store.seal().unwrap();
            append(&store, "up,job=b", 60_000..60_003);
            store.sync().unwrap();
            let before = all(&store);
            sim.crash_after(Some(step));
            let made = store.take_snapshot(at(0), SnapshotOf::Everything);
            let struck = sim.is_down();
            sim.crash();
            drop(store);
            assert_eq!(all(&open(&disk, Path::new(DIR))), before, "step {step}");
            let snapshots = Path::new(DIR).join(SNAPSHOTS_DIR);
            let found = disk.list_dirs(&snapshots).unwrap_or_default();
            assert!(
                found.len() <= 1 && found.len() >= usize::from(made.is_ok()),
                "step {step}"
            );
            for name in found {
                assert!(!name.ends_with(UNFINISHED), "step {step}: {name}");
                assert_eq!(
                    all(&open(&disk, &snapshots.join(name))),
                    before,
                    "step {step}"
                );
                whole += 1;
            }
            none += usize::from(made.is_err());
            if !struck {
                break;
            }
        }
        assert!(none > 10 && whole > 0, "{none} {whole}");
    }

    #[test]
    fn writes_go_on_and_what_was_acknowledged_before_is_in_it() {
        let dir = tempfile::tempdir().unwrap();
        let disk: Arc<dyn Disk> = Arc::new(RealDisk);
        let store = open(&disk, dir.path());
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for time in 0.. {
                    append(&store, "w", time..time + 1);
                    if stop.load(Ordering::Relaxed) {
                        return;
                    }
                }
            });
            for _ in 0..5 {
                let before = all(&store);
                let name = store.take_snapshot(at(0), SnapshotOf::Everything).unwrap();
                let copy = all(&open(&disk, &dir.path().join(SNAPSHOTS_DIR).join(name)));
                let before = before.first().map_or(0, |series| series.timestamps.len());
                let copied = copy
                    .first()
                    .map_or(vec![], |series| series.timestamps.clone());
                assert!(copied.len() >= before);
                assert!(
                    copied.iter().copied().eq(0..copied.len() as i64),
                    "a prefix"
                );
            }
            stop.store(true, Ordering::Relaxed);
        });
    }
}
