//! The file of the ring: written before the log is freed, read when the store is opened.

use std::{io, path::Path};

use journal::{Disk, write_atomic};
use model::Exemplar;
use roaring::RoaringBitmap;

use super::{Exemplars, bytes};
use crate::{
    error::StoreError,
    sealed::{check_version, set_aside},
    store::Store,
    types::TimeRange,
};

pub(crate) const FILE: &str = "exemplars";
/// Larger than that of any ring that fits the memory.
const FILE_BYTES_MAX: u64 = 1 << 30;

/// A state of the ring, to be written without a lock.
struct Image {
    /// It has what log records up to this one say.
    through: u64,
    exemplars: Vec<(u32, Exemplar)>,
    version: u64,
    /// Whether it has all that the ring has in this version.
    is_whole: bool,
}

/// What was found on the disk.
pub(crate) struct Loaded {
    pub(crate) exemplars: Exemplars,
    /// What is lost, in words.
    pub(crate) damage: Option<String>,
}

impl Exemplars {
    /// Reads the file, if there is one. One that is damaged is set aside under another name.
    ///
    /// # Errors
    /// The system's refusal, or a file of another version.
    pub(crate) fn load(disk: &dyn Disk, dir: &Path, max: usize) -> Result<Loaded, StoreError> {
        let mut loaded = Loaded {
            exemplars: Self::new(max),
            damage: None,
        };
        let path = dir.join(FILE);
        let found = match journal::read_file(disk, &path, FILE_BYTES_MAX) {
            Ok(found) => found,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(loaded),
            Err(e) => return Err(StoreError::io("reading", &path, e)),
        };
        check_version(&path, &found)?;
        match bytes::read_file(&found) {
            Ok((through, exemplars)) => {
                let ring = &mut loaded.exemplars;
                let count = exemplars.len();
                for (id, exemplar) in exemplars {
                    ring.push(id, 0, exemplar);
                }
                ring.is_saved = true;
                ring.saved_version = match ring.len() == count {
                    true => ring.version,
                    false => 0,
                };
                ring.saved_through = through;
            }
            Err(malformed) => {
                let aside = set_aside(disk, dir, FILE);
                loaded.damage = Some(format!(
                    "exemplars are lost: {} is damaged: expected {}{aside}",
                    path.display(),
                    malformed.0
                ));
            }
        }
        Ok(loaded)
    }

    /// Largest id that it speaks of.
    pub(crate) fn largest_id(&self) -> Option<u32> {
        self.newest.keys().copied().max()
    }

    /// Adds what a log record says, unless the file has it. What did not fit when it came does not fit now.
    pub(crate) fn replay(&mut self, seq: u64, exemplars: Vec<(u32, Exemplar)>) {
        if seq > self.saved_through {
            for (id, exemplar) in exemplars {
                self.insert(id, seq, exemplar);
            }
        }
    }

    /// After the replay of a log that ends here. If the file has more, the log has lost its end, or this is a copy of a
    /// store without it: what comes next gets numbers of records that the file would have us pass over, so it says
    /// otherwise from now on.
    ///
    /// # Errors
    /// The system's refusal.
    pub(crate) fn follow_log(
        &mut self,
        disk: &dyn Disk,
        dir: &Path,
        last_seq: u64,
    ) -> Result<(), StoreError> {
        if self.saved_through > last_seq {
            self.saved_through = last_seq;
            let image = self.image(last_seq, |_, _| true);
            image.write(disk, dir)?;
            self.mark_saved(&image);
        }
        Ok(())
    }

    /// What it has by this log record, but for those for which `keep` says no.
    fn image(&self, through: u64, keep: impl Fn(u32, &Exemplar) -> bool) -> Image {
        let through = through.max(self.saved_through);
        let by_then = self.ring.iter().filter(|slot| slot.seq <= through);
        let kept = by_then.filter(|slot| keep(slot.id, &slot.exemplar));
        let exemplars: Vec<_> = kept.map(|slot| (slot.id, slot.exemplar.clone())).collect();
        Image {
            through,
            is_whole: exemplars.len() == self.ring.len(),
            version: self.version,
            exemplars,
        }
    }

    fn mark_saved(&mut self, image: &Image) {
        self.is_saved = true;
        self.saved_through = image.through;
        if image.is_whole {
            self.saved_version = image.version;
        }
    }
}

impl Image {
    fn write(&self, disk: &dyn Disk, dir: &Path) -> Result<(), StoreError> {
        let exemplars = self.exemplars.iter();
        let file = bytes::file(
            self.through,
            exemplars.map(|(id, exemplar)| (*id, exemplar)),
        );
        let path = dir.join(FILE);
        write_atomic(disk, &path, &file).map_err(|e| StoreError::io("writing", &path, e))
    }
}

impl Store {
    /// Makes durable what the log says of exemplars up to this record, which may be freed then. The caller holds `installing`.
    pub(crate) fn save_exemplars(&self, through: u64) -> Result<(), StoreError> {
        let image = {
            let ring = self.read_exemplars();
            if ring.version == ring.saved_version {
                return Ok(());
            }
            let image = ring.image(through, |_, _| true);
            if image.exemplars.is_empty() && !ring.is_saved {
                return Ok(());
            }
            image
        };
        self.write_image(&image)?;
        self.write_exemplars().mark_saved(&image);
        Ok(())
    }

    /// The file never has what the log may still lose: their series, and the samples that they came with.
    fn write_image(&self, image: &Image) -> Result<(), StoreError> {
        self.wal.sync()?;
        image.write(&*self.disk, &self.dir)
    }

    /// Takes out the exemplars of these series in a range, as far as they are in no record of the log any more. Durable
    /// when it returns; on an error nothing has changed. The caller holds `installing`.
    pub(crate) fn forget_exemplars(
        &self,
        ids: &RoaringBitmap,
        range: TimeRange,
    ) -> Result<(), StoreError> {
        let sealed = self.read_state().sealed_through;
        let goes =
            |id: u32, exemplar: &Exemplar| range.contains(exemplar.at.millis()) && ids.contains(id);
        let image = {
            let ring = self.read_exemplars();
            let mut slots = ring.ring.iter().filter(|slot| slot.seq <= sealed);
            if !slots.any(|slot| goes(slot.id, &slot.exemplar)) {
                return Ok(());
            }
            ring.image(sealed, |id, exemplar| !goes(id, exemplar))
        };
        self.write_image(&image)?;
        let mut ring = self.write_exemplars();
        ring.mark_saved(&image);
        ring.retain(|id, seq, exemplar| seq > image.through || !goes(id, exemplar));
        Ok(())
    }
}
