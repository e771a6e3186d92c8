//! The ledger's file on a disk that forgets what was not synced: what `journal::sim::SimDisk` is for files that only grow.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use redb::StorageBackend;

use super::random::Random;

/// Clones are the same file.
#[derive(Clone, Debug, Default)]
pub(crate) struct MemoryFile(Arc<Mutex<Image>>);

#[derive(Clone, Debug, Default)]
struct Image {
    durable: Vec<u8>,
    live: Vec<u8>,
    /// Since the last sync, in order.
    changes: Vec<Change>,
    /// Nothing can be written.
    is_full: bool,
}

#[derive(Clone, Debug)]
enum Change {
    Length(usize),
    Bytes(usize, Vec<u8>),
}

impl Change {
    fn apply(&self, to: &mut Vec<u8>) {
        match self {
            Change::Length(length) => to.resize(*length, 0),
            Change::Bytes(at, bytes) => {
                if to.len() < at + bytes.len() {
                    to.resize(at + bytes.len(), 0);
                }
                to[*at..at + bytes.len()].copy_from_slice(bytes);
            }
        }
    }
}

impl MemoryFile {
    fn image(&self) -> MutexGuard<'_, Image> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The file as a crash may leave it: a part of what was not synced is there, the last write of it torn. Who has this one
    /// open goes on with this one.
    pub(super) fn crashed(&self, random: &mut Random) -> MemoryFile {
        let image = self.image();
        let mut left = image.durable.clone();
        let kept = random.below(image.changes.len() as u64 + 1) as usize;
        let (whole, rest) = image.changes.split_at(kept);
        whole.iter().for_each(|change| change.apply(&mut left));
        if let Some(Change::Bytes(at, bytes)) = rest.first() {
            let torn = random.below(bytes.len() as u64) as usize;
            Change::Bytes(*at, bytes[..torn].to_vec()).apply(&mut left);
        }
        MemoryFile(Arc::new(Mutex::new(Image {
            durable: left.clone(),
            live: left,
            ..Image::default()
        })))
    }
}

impl StorageBackend for MemoryFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.image().live.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let image = self.image();
        let from = offset as usize;
        let bytes = image.live.get(from..from + out.len());
        out.copy_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.change(Change::Length(length as usize))
    }

    fn sync_data(&self) -> io::Result<()> {
        let image = &mut *self.image();
        image
            .changes
            .drain(..)
            .for_each(|change| change.apply(&mut image.durable));
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.change(Change::Bytes(offset as usize, data.to_vec()))
    }
}

impl MemoryFile {
    /// The disk that it is on is full, or has room again.
    pub(crate) fn set_full(&self, is_full: bool) {
        self.image().is_full = is_full;
    }

    fn change(&self, change: Change) -> io::Result<()> {
        let image = &mut *self.image();
        if image.is_full {
            return Err(io::ErrorKind::StorageFull.into());
        }
        change.apply(&mut image.live);
        image.changes.push(change);
        Ok(())
    }
}
