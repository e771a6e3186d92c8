//! A simulated disk that forgets what was not synced. One seed, one behaviour.
//!
//! What it promises is what POSIX promises, no more: file bytes survive a crash once [`DiskFile::sync`] returned, a name
//! (created, renamed, removed) once [`Disk::sync_dir`] of its folder returned. What was not synced survives in part: a
//! prefix of the operations on a file or folder, chosen by the seed, the last write perhaps torn in the middle, perhaps
//! as a hole of zeros. Folders made by [`Disk::create_dir_all`] are durable at once, as the trait says.
//!
//! Faults are switched on one by one: [`SimDisk::fail_syncs`], [`SimDisk::set_capacity`], [`SimDisk::flip_bit`],
//! [`SimDisk::crash_after`], [`SimDisk::ignore_syncs`] (a disk that lies, to show that a test would catch it).

mod seeds;

pub use seeds::seeds;

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsStr,
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use crate::disk::{Disk, DiskFile, DiskLock};

/// See the module. Clones are the same disk.
#[derive(Clone)]
pub struct SimDisk {
    state: Arc<Mutex<State>>,
}

#[derive(Clone)]
enum Write {
    Bytes { offset: usize, bytes: Vec<u8> },
    Truncate(usize),
}

#[derive(Clone, Default)]
struct Inode {
    durable: Vec<u8>,
    live: Vec<u8>,
    pending: Vec<Write>,
}

#[derive(Clone)]
enum NameChange {
    Link(String, u64),
    Unlink(String),
    Rename(String, String),
}

#[derive(Clone, Default)]
struct Folder {
    durable: BTreeMap<String, u64>,
    live: BTreeMap<String, u64>,
    pending: Vec<NameChange>,
}

#[derive(Clone)]
struct State {
    folders: BTreeMap<PathBuf, Folder>,
    inodes: BTreeMap<u64, Inode>,
    /// Renames of folders that are not durable: (from, to).
    folder_renames: Vec<(PathBuf, PathBuf)>,
    inode_next: u64,
    /// Handles of an earlier generation are dead: their process crashed.
    generation: u64,
    rng: Rng,
    capacity: Option<u64>,
    syncs_to_fail: u64,
    syncs_to_skip: u64,
    ignore_syncs: bool,
    /// Operations that change something, until the power goes.
    changes_until_down: Option<u64>,
    down: bool,
    locks: BTreeMap<PathBuf, u64>,
    syncs: u64,
    changes: u64,
}

/// splitmix64: small, and the same everywhere.
#[derive(Clone)]
struct Rng(u64);

impl Rng {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// 0 to `max`, both inclusive.
    fn up_to(&mut self, max: usize) -> usize {
        (self.next() % (max as u64 + 1)) as usize
    }
}

impl SimDisk {
    /// An empty disk without faults.
    pub fn new(seed: u64) -> Self {
        let mut folders = BTreeMap::new();
        folders.insert(PathBuf::from("/"), Folder::default());
        folders.insert(PathBuf::new(), Folder::default());
        let state = State {
            folders,
            inodes: BTreeMap::new(),
            folder_renames: Vec::new(),
            inode_next: 1,
            generation: 0,
            rng: Rng(seed),
            capacity: None,
            syncs_to_fail: 0,
            syncs_to_skip: 0,
            ignore_syncs: false,
            changes_until_down: None,
            down: false,
            locks: BTreeMap::new(),
            syncs: 0,
            changes: 0,
        };
        Self {
            state: Arc::new(Mutex::new(state)),
        }
    }

    fn lock_state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Another disk with the same bytes, synced or not, as of now: what a backup of a running machine is made from. `seed` is
    /// for what becomes of that one.
    pub fn copy(&self, seed: u64) -> SimDisk {
        let mut state = self.lock_state().clone();
        state.rng = Rng(seed);
        Self {
            state: Arc::new(Mutex::new(state)),
        }
    }

    /// The power goes and comes back: what was not synced is forgotten (see the module), open handles and locks are dead.
    pub fn crash(&self) {
        self.lock_state().crash();
    }

    /// The power goes in the middle of the `changes`-th change from now (1 = the next one): that one and all later
    /// operations fail until [`SimDisk::crash`]. `None` cancels.
    pub fn crash_after(&self, changes: Option<u64>) {
        self.lock_state().changes_until_down = changes;
    }

    /// Whether [`SimDisk::crash_after`] has struck.
    pub fn is_down(&self) -> bool {
        self.lock_state().down
    }

    /// The next `count` syncs of files and folders fail, and what they should have made durable never will be.
    pub fn fail_syncs(&self, count: u64) {
        let mut state = self.lock_state();
        state.syncs_to_skip = 0;
        state.syncs_to_fail = count;
    }

    /// `skip` more syncs work, then one fails as with [`SimDisk::fail_syncs`].
    pub fn fail_sync_after(&self, skip: u64) {
        let mut state = self.lock_state();
        state.syncs_to_skip = skip;
        state.syncs_to_fail = 1;
    }

    /// Syncs succeed and do nothing: the lying disk every crash test must catch.
    pub fn ignore_syncs(&self, ignore: bool) {
        self.lock_state().ignore_syncs = ignore;
    }

    /// Room for all files together; a write beyond it keeps what fits and fails with `StorageFull`. `None`: no bound.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.lock_state().capacity = bytes;
    }

    /// Bytes in all files.
    pub fn used_bytes(&self) -> u64 {
        self.lock_state().used()
    }

    /// Flips one bit of a file, in memory and on the platter. `bit` counts from the least significant of byte 0.
    ///
    /// # Errors
    /// `NotFound`, or `InvalidInput` when the file is shorter.
    pub fn flip_bit(&self, path: &Path, bit: u64) -> io::Result<()> {
        let mut state = self.lock_state();
        let inode = state.find(path)?;
        let inode = state
            .inodes
            .get_mut(&inode)
            .ok_or(io::ErrorKind::NotFound)?;
        let (byte, mask) = ((bit / 8) as usize, 1 << (bit % 8));
        *inode
            .live
            .get_mut(byte)
            .ok_or(io::ErrorKind::InvalidInput)? ^= mask;
        if let Some(durable) = inode.durable.get_mut(byte) {
            *durable ^= mask;
        }
        for write in &mut inode.pending {
            if let Write::Bytes { offset, bytes } = write
                && let Some(byte) = byte.checked_sub(*offset).and_then(|at| bytes.get_mut(at))
            {
                *byte ^= mask;
            }
        }
        Ok(())
    }

    /// All files, sorted by path, with their size.
    pub fn files(&self) -> Vec<(PathBuf, u64)> {
        let state = self.lock_state();
        let mut files = Vec::new();
        for (dir, folder) in &state.folders {
            for (name, inode) in &folder.live {
                files.push((
                    dir.join(name),
                    state
                        .inodes
                        .get(inode)
                        .map_or(0, |inode| inode.live.len() as u64),
                ));
            }
        }
        files
    }

    /// How often a file or folder was synced.
    pub fn syncs(&self) -> u64 {
        self.lock_state().syncs
    }

    /// How many operations changed something: the range for [`SimDisk::crash_after`].
    pub fn changes(&self) -> u64 {
        self.lock_state().changes
    }
}

fn down() -> io::Error {
    io::Error::other("simulated power cut")
}

fn split(path: &Path) -> io::Result<(&Path, String)> {
    let name = path
        .file_name()
        .and_then(OsStr::to_str)
        .ok_or(io::ErrorKind::InvalidInput)?;
    Ok((path.parent().unwrap_or(Path::new("")), name.to_owned()))
}

impl State {
    fn crash(&mut self) {
        let keep = self.rng_of_renames();
        for (from, to) in self.folder_renames.split_off(keep).into_iter().rev() {
            self.move_folder(&to, &from);
        }
        self.folder_renames.clear();
        for folder in self.folders.values_mut() {
            let keep = self.rng.up_to(folder.pending.len());
            for change in folder.pending.drain(..).take(keep) {
                change.apply(&mut folder.durable);
            }
            folder.live = folder.durable.clone();
        }
        for inode in self.inodes.values_mut() {
            let pending = std::mem::take(&mut inode.pending);
            let keep = self.rng.up_to(pending.len());
            for (i, mut write) in pending.into_iter().take(keep).enumerate() {
                if i + 1 == keep {
                    write.tear(&mut self.rng);
                }
                write.apply(&mut inode.durable);
            }
            inode.live = inode.durable.clone();
        }
        let linked: Vec<u64> = self
            .folders
            .values()
            .flat_map(|folder| folder.live.values().copied())
            .collect();
        self.inodes.retain(|id, _| linked.contains(id));
        self.generation += 1;
        self.locks.clear();
        self.down = false;
        self.changes_until_down = None;
    }

    /// How many renames of folders a crash keeps. Draws only if there are any.
    fn rng_of_renames(&mut self) -> usize {
        match self.folder_renames.len() {
            0 => 0,
            renames => self.rng.up_to(renames),
        }
    }

    fn move_folder(&mut self, from: &Path, to: &Path) {
        let inside = self.folders.keys().filter(|path| path.starts_with(from));
        for path in inside.cloned().collect::<Vec<_>>() {
            if let (Some(folder), Ok(rest)) = (self.folders.remove(&path), path.strip_prefix(from))
            {
                // Joining nothing would add a slash.
                let moved = match rest.as_os_str().is_empty() {
                    true => to.to_owned(),
                    false => to.join(rest),
                };
                self.folders.insert(moved, folder);
            }
        }
    }

    fn used(&self) -> u64 {
        // A file counts once, however many names it has.
        let linked: BTreeSet<u64> = self
            .folders
            .values()
            .flat_map(|folder| folder.live.values().copied())
            .collect();
        linked
            .iter()
            .filter_map(|id| self.inodes.get(id))
            .map(|inode| inode.live.len() as u64)
            .sum()
    }

    fn check_up(&self) -> io::Result<()> {
        if self.down { Err(down()) } else { Ok(()) }
    }

    /// Counts a change. `Ok(true)`: the power goes in the middle of this one.
    fn change(&mut self) -> io::Result<bool> {
        self.check_up()?;
        self.changes += 1;
        if let Some(left) = &mut self.changes_until_down {
            *left = left.saturating_sub(1);
            self.down = *left == 0;
        }
        Ok(self.down)
    }

    /// As `change`, for operations that happen whole or not at all: chosen by the seed.
    fn change_whole(&mut self) -> io::Result<()> {
        if self.change()? && self.rng.up_to(1) == 0 {
            Err(down())
        } else {
            Ok(())
        }
    }

    fn end_change(&self) -> io::Result<()> {
        self.check_up()
    }

    /// Counts a sync: whether it does anything.
    fn sync(&mut self) -> io::Result<bool> {
        self.change_whole()?;
        self.syncs += 1;
        if self.syncs_to_fail > 0 && self.syncs_to_skip > 0 {
            self.syncs_to_skip -= 1;
        } else if self.syncs_to_fail > 0 {
            self.syncs_to_fail -= 1;
            return Ok(false);
        }
        Ok(true)
    }

    fn folder(&mut self, dir: &Path) -> io::Result<&mut Folder> {
        self.folders
            .get_mut(dir)
            .ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn find(&mut self, path: &Path) -> io::Result<u64> {
        let (dir, name) = split(path)?;
        self.folder(dir)?
            .live
            .get(&name)
            .copied()
            .ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn rename(&mut self, dir: &Path, change: NameChange) -> io::Result<()> {
        let folder = self.folder(dir)?;
        change.apply(&mut folder.live);
        folder.pending.push(change);
        Ok(())
    }
}

impl NameChange {
    fn apply(&self, names: &mut BTreeMap<String, u64>) {
        match self {
            Self::Link(name, inode) => {
                names.insert(name.clone(), *inode);
            }
            Self::Unlink(name) => {
                names.remove(name);
            }
            Self::Rename(from, to) => {
                if let Some(inode) = names.remove(from) {
                    names.insert(to.clone(), inode);
                }
            }
        }
    }
}

impl Write {
    fn apply(&self, content: &mut Vec<u8>) {
        match self {
            Self::Truncate(size) => content.truncate(*size),
            Self::Bytes { offset, bytes } => {
                let end = offset + bytes.len();
                if content.len() < end {
                    content.resize(end, 0);
                }
                content[*offset..end].copy_from_slice(bytes);
            }
        }
    }

    /// What a crash leaves of the last write: all of it, its start, or its start and a hole of zeros.
    fn tear(&mut self, rng: &mut Rng) {
        if let Self::Bytes { bytes, .. } = self {
            let kept = rng.up_to(bytes.len());
            match rng.up_to(2) {
                0 => {}
                1 => bytes.truncate(kept),
                _ => bytes[kept..].fill(0),
            }
        }
    }
}

impl Disk for SimDisk {
    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let mut state = self.lock_state();
        state.check_up()?;
        let inode = state.find(path)?;
        Ok(Arc::new(SimFile {
            disk: self.clone(),
            inode,
            generation: state.generation,
        }))
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let (dir, name) = split(path)?;
        let mut state = self.lock_state();
        state.folder(dir)?;
        state.change_whole()?;
        let inode = match state.find(path) {
            Ok(inode) => {
                if let Some(inode) = state.inodes.get_mut(&inode) {
                    inode.live.clear();
                    inode.pending.push(Write::Truncate(0));
                }
                inode
            }
            Err(_) => {
                let inode = state.inode_next;
                state.inode_next += 1;
                state.inodes.insert(inode, Inode::default());
                state.rename(dir, NameChange::Link(name, inode))?;
                inode
            }
        };
        state.end_change()?;
        Ok(Arc::new(SimFile {
            disk: self.clone(),
            inode,
            generation: state.generation,
        }))
    }

    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        let mut state = self.lock_state();
        state.check_up()?;
        for dir in path.ancestors() {
            state.folders.entry(dir.to_owned()).or_default();
        }
        Ok(())
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let mut state = self.lock_state();
        state.check_up()?;
        Ok(state.folder(dir)?.live.keys().cloned().collect())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let (dir, name) = split(path)?;
        let mut state = self.lock_state();
        state.find(path)?;
        state.change_whole()?;
        state.rename(dir, NameChange::Unlink(name))?;
        state.end_change()
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let ((dir, from_name), (to_dir, to_name)) = (split(from)?, split(to)?);
        if dir != to_dir {
            return Err(io::ErrorKind::CrossesDevices.into());
        }
        let mut state = self.lock_state();
        state.find(from)?;
        state.change_whole()?;
        state.rename(dir, NameChange::Rename(from_name, to_name))?;
        state.end_change()
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        let (dir, name) = split(to)?;
        let mut state = self.lock_state();
        let inode = state.find(from)?;
        if state.find(to).is_ok() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        state.folder(dir)?;
        state.change_whole()?;
        state.rename(dir, NameChange::Link(name, inode))?;
        state.end_change()
    }

    fn rename_dir(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.lock_state();
        state.folder(from)?;
        if state.folders.contains_key(to) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        if from.parent() != to.parent() {
            return Err(io::ErrorKind::CrossesDevices.into());
        }
        state.change_whole()?;
        state.move_folder(from, to);
        state.folder_renames.push((from.to_owned(), to.to_owned()));
        state.end_change()
    }

    fn remove_dir_all(&self, path: &Path) -> io::Result<()> {
        let mut state = self.lock_state();
        state.folder(path)?;
        state.change_whole()?;
        state.folders.retain(|dir, _| !dir.starts_with(path));
        state.end_change()
    }

    fn list_dirs(&self, dir: &Path) -> io::Result<Vec<String>> {
        let mut state = self.lock_state();
        state.check_up()?;
        state.folder(dir)?;
        let inside = state
            .folders
            .keys()
            .filter(|path| path.parent() == Some(dir));
        let names = inside.filter_map(|path| path.file_name()?.to_str().map(str::to_owned));
        Ok(names.collect())
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut state = self.lock_state();
        state.folder(dir)?;
        let works = state.sync()?;
        if state.ignore_syncs {
            return Ok(());
        }
        if works {
            let pending = |(from, _): &(PathBuf, PathBuf)| from.parent() != Some(dir);
            state.folder_renames.retain(pending);
        }
        let folder = state.folder(dir)?;
        let pending = std::mem::take(&mut folder.pending);
        if !works {
            return Err(io::Error::other("simulated fsync failure"));
        }
        for change in pending {
            change.apply(&mut folder.durable);
        }
        state.end_change()
    }

    fn free_bytes(&self, _path: &Path) -> io::Result<u64> {
        let state = self.lock_state();
        state.check_up()?;
        Ok(state
            .capacity
            .map_or(u64::MAX, |capacity| capacity.saturating_sub(state.used())))
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn DiskLock>> {
        let mut state = self.lock_state();
        state.check_up()?;
        state.folder(split(path)?.0)?;
        let generation = state.generation;
        if state.locks.contains_key(path) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        state.locks.insert(path.to_owned(), generation);
        Ok(Box::new(SimLock {
            disk: self.clone(),
            path: path.to_owned(),
            generation,
        }))
    }
}

struct SimLock {
    disk: SimDisk,
    path: PathBuf,
    generation: u64,
}

impl DiskLock for SimLock {}

impl Drop for SimLock {
    fn drop(&mut self) {
        let mut state = self.disk.lock_state();
        if state.locks.get(&self.path) == Some(&self.generation) {
            state.locks.remove(&self.path);
        }
    }
}

struct SimFile {
    disk: SimDisk,
    inode: u64,
    generation: u64,
}

impl SimFile {
    fn with<T>(&self, f: impl FnOnce(&mut State, u64) -> io::Result<T>) -> io::Result<T> {
        let mut state = self.disk.lock_state();
        state.check_up()?;
        if self.generation != state.generation || !state.inodes.contains_key(&self.inode) {
            return Err(down());
        }
        f(&mut state, self.inode)
    }
}

impl DiskFile for SimFile {
    fn append(&self, bytes: &[u8]) -> io::Result<()> {
        self.with(|state, id| {
            let mut take = bytes.len();
            let mut result = Ok(());
            if let Some(capacity) = state.capacity {
                let free = capacity.saturating_sub(state.used()) as usize;
                if free < take {
                    take = free;
                    result = Err(io::ErrorKind::StorageFull.into());
                }
            }
            if state.change()? {
                take = state.rng.up_to(take);
                result = Err(down());
            }
            if let Some(inode) = state.inodes.get_mut(&id) {
                let write = Write::Bytes {
                    offset: inode.live.len(),
                    bytes: bytes[..take].to_vec(),
                };
                write.apply(&mut inode.live);
                inode.pending.push(write);
            }
            result
        })
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.with(|state, id| {
            let live = state.inodes.get(&id).map_or(&[][..], |inode| &inode.live);
            let rest = live.get(offset as usize..).unwrap_or(&[]);
            let read = rest.len().min(buffer.len());
            buffer[..read].copy_from_slice(&rest[..read]);
            Ok(read)
        })
    }

    fn size(&self) -> io::Result<u64> {
        self.with(|state, id| {
            Ok(state
                .inodes
                .get(&id)
                .map_or(0, |inode| inode.live.len() as u64))
        })
    }

    fn truncate(&self, size: u64) -> io::Result<()> {
        self.with(|state, id| {
            state.change_whole()?;
            if let Some(inode) = state.inodes.get_mut(&id) {
                let write = Write::Truncate(size as usize);
                write.apply(&mut inode.live);
                inode.pending.push(write);
            }
            state.end_change()
        })
    }

    fn sync(&self) -> io::Result<()> {
        self.with(|state, id| {
            let works = state.sync()?;
            if state.ignore_syncs {
                return Ok(());
            }
            if let Some(inode) = state.inodes.get_mut(&id) {
                let pending = std::mem::take(&mut inode.pending);
                if !works {
                    // As Linux does: the pages are clean now, the platter never saw them and never will.
                    return Err(io::Error::other("simulated fsync failure"));
                }
                for write in pending {
                    write.apply(&mut inode.durable);
                }
            }
            state.end_change()
        })
    }
}
