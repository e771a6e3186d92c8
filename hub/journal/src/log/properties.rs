//! Random operations, crashes and faults against a plain model of what a journal promises.

use std::{collections::BTreeMap, io, path::Path, sync::Arc};

use proptest::prelude::*;

use super::*;
use crate::{
    disk::{DiskFile, DiskLock},
    sim::SimDisk,
};

const DIR: &str = "/data/journal";

fn manual() -> Options {
    Options {
        sync: SyncPolicy::Manual,
        segment_bytes_max: 200,
        unsynced_bytes_max: 1000,
        ..Options::default()
    }
}

fn open(disk: &SimDisk, options: Options) -> (Journal, Recovery) {
    Journal::open(Arc::new(disk.clone()), Path::new(DIR), options).unwrap()
}

#[derive(Debug, Clone)]
enum Op {
    Append(Vec<u16>),
    Sync,
    Roll,
    /// Free through this fraction (in 16ths) of what is there.
    Free(u8),
    Crash,
    /// The power goes in the middle of the n-th change from here.
    CrashAfter(u8),
    Restart,
    FailSync,
    /// Room for so many bytes more; `None`: enough.
    Capacity(Option<u16>),
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        12 => prop::collection::vec(0..150_u16, 1..4).prop_map(Op::Append),
        4 => Just(Op::Sync),
        1 => Just(Op::Roll),
        1 => (0..=16_u8).prop_map(Op::Free),
        2 => Just(Op::Crash),
        2 => (1..12_u8).prop_map(Op::CrashAfter),
        1 => Just(Op::Restart),
        1 => Just(Op::FailSync),
        1 => prop::option::of(0..400_u16).prop_map(Op::Capacity),
    ]
}

/// What a journal must look like after `ops`, on a disk that may lie.
struct Model {
    disk: SimDisk,
    options: Options,
    journal: Option<Journal>,
    /// Everything appended and not known to be lost.
    written: BTreeMap<u64, Vec<u8>>,
    /// Commits that completed.
    durable_through: u64,
    freed_through: u64,
    fsync_failed: bool,
    counter: u8,
}

impl Model {
    fn new(seed: u64, options: Options) -> Self {
        let disk = SimDisk::new(seed);
        let journal = Some(open(&disk, options.clone()).0);
        let written = BTreeMap::new();
        Self {
            disk,
            options,
            journal,
            written,
            durable_through: 0,
            freed_through: 0,
            fsync_failed: false,
            counter: 0,
        }
    }

    fn run(&mut self, ops: &[Op]) -> Result<(), String> {
        for op in ops {
            self.step(op).map_err(|e| format!("{op:?}: {e}"))?;
            if self.disk.is_down() {
                self.crash()?;
            }
        }
        self.crash()
    }

    fn step(&mut self, op: &Op) -> Result<(), String> {
        let journal = self.journal.as_ref().ok_or("no journal")?;
        match op {
            Op::Append(sizes) => {
                let payload = |size: &u16| {
                    self.counter = self.counter.wrapping_add(1);
                    vec![self.counter; usize::from(*size)]
                };
                let payloads: Vec<Vec<u8>> = sizes.iter().map(payload).collect();
                let slices: Vec<&[u8]> = payloads.iter().map(Vec::as_slice).collect();
                let last = journal.last_seq();
                match journal.append_all(&slices) {
                    Ok(appended) => self.written.extend((appended.seq..).zip(payloads)),
                    Err(_) if journal.last_seq() != last => {
                        return Err("a refused append left something".to_owned());
                    }
                    // A crash in the middle may leave a part of what was refused.
                    Err(_) if self.disk.is_down() => {
                        self.written.extend((last + 1..).zip(payloads))
                    }
                    Err(_) => {}
                }
                // Closing a segment, or reaching the bound, completes commits too.
                if !self.disk.is_down() {
                    self.durable_through = self.durable_through.max(journal.synced_seq());
                }
            }
            Op::Sync => {
                if journal.sync().is_ok() {
                    self.durable_through = journal.last_seq();
                }
            }
            Op::Roll => {
                if journal.roll().is_ok() {
                    self.durable_through = journal.last_seq();
                }
            }
            Op::Free(part) => {
                let through = journal.last_seq() * u64::from(*part) / 16;
                let active = journal
                    .segments()
                    .last()
                    .map_or(0, |active| active.first_seq);
                if journal.free_through(through).is_ok() || self.disk.is_down() {
                    self.freed_through = self.freed_through.max(through.min(active - 1));
                }
            }
            Op::Crash => self.crash()?,
            Op::CrashAfter(changes) => self.disk.crash_after(Some(u64::from(*changes))),
            // After a failed fsync the kernel would show what the platter lacks.
            Op::Restart if self.fsync_failed => self.crash()?,
            Op::Restart => {
                self.journal = None;
                if self.disk.is_down() {
                    return self.crash();
                }
                self.reopen()?;
                self.durable_through = self
                    .written
                    .keys()
                    .last()
                    .copied()
                    .unwrap_or(0)
                    .max(self.durable_through);
            }
            Op::FailSync => {
                self.fsync_failed = true;
                self.disk.fail_syncs(1);
            }
            Op::Capacity(room) => {
                let used = self.disk.used_bytes();
                self.disk
                    .set_capacity(room.map(|room| used + u64::from(room)));
            }
        }
        Ok(())
    }

    fn crash(&mut self) -> Result<(), String> {
        self.disk.crash();
        self.disk.fail_syncs(0);
        self.disk.set_capacity(None);
        self.fsync_failed = false;
        self.journal = None;
        self.reopen()
    }

    fn reopen(&mut self) -> Result<(), String> {
        let opened = Journal::open(
            Arc::new(self.disk.clone()),
            Path::new(DIR),
            self.options.clone(),
        );
        let (journal, recovery) = match opened {
            Ok(opened) => opened,
            Err(_) if self.disk.is_down() => return self.crash(),
            // The disk is full or its fsync fails, as told: after that it works again.
            Err(_) => {
                self.disk.fail_syncs(0);
                self.disk.set_capacity(None);
                self.fsync_failed = false;
                let opened = Journal::open(
                    Arc::new(self.disk.clone()),
                    Path::new(DIR),
                    self.options.clone(),
                );
                opened.map_err(|e| format!("open: {e}"))?
            }
        };
        if !recovery.damage.is_empty() {
            return Err(format!("damage after a crash: {recovery:?}"));
        }
        let found: BTreeMap<u64, Vec<u8>> = journal
            .read_from(1)
            .collect::<Result<_, _>>()
            .map_err(|e| format!("read: {e}"))?;
        let last = found
            .keys()
            .last()
            .copied()
            .unwrap_or(recovery.next_seq - 1);
        for (seq, payload) in &self.written {
            match found.get(seq) {
                Some(same) if same == payload => {}
                Some(_) => return Err(format!("record {seq} changed")),
                None if *seq <= self.freed_through => {}
                None if *seq <= self.durable_through => {
                    return Err(format!("durable record {seq} is gone"));
                }
                None if *seq < last => {
                    return Err(format!("record {seq} is gone, {last} is there"));
                }
                None => {}
            }
        }
        if let Some(seq) = found.keys().find(|seq| !self.written.contains_key(seq)) {
            return Err(format!("record {seq} was never written"));
        }
        if recovery.next_seq != last + 1 {
            return Err(format!("next is {}, last is {last}", recovery.next_seq));
        }
        if recovery.next_seq <= self.durable_through {
            return Err(format!("sequence fell back to {}", recovery.next_seq));
        }
        self.written.split_off(&(last + 1));
        self.journal = Some(journal);
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn what_was_committed_survives_any_crash(seed: u64, ops in prop::collection::vec(op(), 1..60)) {
        let mut model = Model::new(seed, manual());
        prop_assert_eq!(model.run(&ops), Ok(()));
    }

    #[test]
    fn what_was_committed_survives_with_the_syncing_thread(seed: u64, ops in prop::collection::vec(op(), 1..30)) {
        let mut model = Model::new(seed, Options { sync: SyncPolicy::Immediate, ..manual() });
        prop_assert_eq!(model.run(&ops), Ok(()));
    }
}

/// The property above is worth something: on a disk whose fsync does nothing it fails.
#[test]
fn a_disk_that_does_not_sync_is_caught() {
    let caught = (0..20).filter(|&seed| {
        let mut model = Model::new(seed, manual());
        model.disk.ignore_syncs(true);
        let ops = [
            Op::Append(vec![50, 20]),
            Op::Sync,
            Op::Append(vec![90, 90]),
            Op::Sync,
            Op::Crash,
        ];
        model.run(&ops).is_err()
    });
    assert!(caught.count() >= 10);
}

/// A disk of which only the segment's fsync is left out, as if the journal forgot to call it.
struct ForgetsFileSync(SimDisk);

struct ForgetsSync(Arc<dyn DiskFile>);

impl DiskFile for ForgetsSync {
    fn append(&self, bytes: &[u8]) -> io::Result<()> {
        self.0.append(bytes)
    }
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.0.read_at(buffer, offset)
    }
    fn size(&self) -> io::Result<u64> {
        self.0.size()
    }
    fn truncate(&self, size: u64) -> io::Result<()> {
        self.0.truncate(size)
    }
    fn sync(&self) -> io::Result<()> {
        Ok(())
    }
}

impl Disk for ForgetsFileSync {
    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        Ok(Arc::new(ForgetsSync(self.0.open(path)?)))
    }
    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        Ok(Arc::new(ForgetsSync(self.0.create(path)?)))
    }
    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        self.0.create_dir_all(path)
    }
    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        self.0.list(dir)
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        self.0.remove(path)
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.0.rename(from, to)
    }
    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.0.link(from, to)
    }
    fn rename_dir(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.0.rename_dir(from, to)
    }
    fn remove_dir_all(&self, path: &Path) -> io::Result<()> {
        self.0.remove_dir_all(path)
    }
    fn list_dirs(&self, dir: &Path) -> io::Result<Vec<String>> {
        self.0.list_dirs(dir)
    }
    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.0.sync_dir(dir)
    }
    fn free_bytes(&self, path: &Path) -> io::Result<u64> {
        self.0.free_bytes(path)
    }
    fn lock(&self, path: &Path) -> io::Result<Box<dyn DiskLock>> {
        self.0.lock(path)
    }
}

#[test]
fn a_journal_that_forgets_to_sync_its_segments_is_caught() {
    let caught = (0..20).filter(|&seed| {
        let disk = SimDisk::new(seed);
        let lying: Arc<dyn Disk> = Arc::new(ForgetsFileSync(disk.clone()));
        let (journal, _) = Journal::open(lying.clone(), Path::new(DIR), manual()).unwrap();
        journal.append(&[1; 40]).unwrap().commit.wait().unwrap();
        disk.crash();
        drop(journal);
        let (journal, _) = Journal::open(lying, Path::new(DIR), manual()).unwrap();
        journal.read_from(1).count() != 1
    });
    assert!(caught.count() >= 10);
}

#[test]
fn the_same_seed_gives_the_same_disk() {
    let run = || {
        let ops = [
            Op::Append(vec![50, 20]),
            Op::Append(vec![90, 90]),
            Op::CrashAfter(3),
            Op::Append(vec![9; 3]),
            Op::Crash,
        ];
        let mut model = Model::new(42, manual());
        model.run(&ops).unwrap();
        (
            model.written.clone(),
            model.disk.files(),
            model.disk.changes(),
        )
    };
    assert_eq!(run(), run());
}
