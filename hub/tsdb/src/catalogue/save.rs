//! The catalogue's folder: what is written when, and what is read back.
//!
//! A segment's file is replaced as a whole whenever its series changed: when it is full, before the log that still has
//! its series is freed, and after series died. Nothing is read or written while the catalogue's owner holds a lock: an
//! [`Image`] holds what it needs, and freezes and compacts it while writing. The owner's manifest names the files; one
//! that it does not name is left over. A file that is missing or damaged costs the names of its own series, no others.

use std::{
    io,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use journal::{Disk, read_file, write_atomic};

use super::{
    Catalogue,
    bits::Bits,
    file::{self, SegmentFile},
    metadata,
    segment::Segment,
    slots::{Form, SavedSlot, Slot, first_id},
    tail::PairHasher,
};
use crate::{
    codec::{Decoded, Input, put_varint},
    error::StoreError,
    types::MetadataByMetric,
};

const METADATA_FILE: &str = "metadata";
const SUFFIX: &str = ".seg";
const TEMPORARY: &str = ".tmp";
const DAMAGED: &str = ".damaged";
/// Larger than any file of a segment whose labels keep to sane limits.
const FILE_BYTES_MAX: u64 = 1 << 30;

/// What the manifest says of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SegmentMeta {
    /// Its ids are `number * 65536 .. (number + 1) * 65536`.
    pub(crate) number: u16,
    /// Series in its file; without any there is no file.
    pub(crate) series: u32,
    /// Series whose names were lost to damage.
    pub(crate) lost: u32,
}

impl SegmentMeta {
    pub(crate) fn put(self, out: &mut Vec<u8>) {
        put_varint(out, u64::from(self.number));
        put_varint(out, u64::from(self.series));
        put_varint(out, u64::from(self.lost));
    }

    pub(crate) fn take(input: &mut Input<'_>) -> Decoded<Self> {
        let number = u16::try_from(input.varint()?);
        Ok(Self {
            number: number.map_err(|_| crate::codec::Malformed("a segment number"))?,
            series: input.varint_u32()?,
            lost: input.varint_u32()?,
        })
    }
}

/// Which changes are to be saved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unsaved {
    /// Segments that will not grow any more.
    Full,
    /// All.
    All,
}

/// A state of one file, to be written without the catalogue.
pub struct Image(What);

enum What {
    Segment {
        number: u16,
        version: u64,
        keys: Arc<Vec<u128>>,
        live: Bits,
        form: Form,
        hasher: PairHasher,
    },
    Metadata {
        version: u64,
        known: Arc<MetadataByMetric>,
    },
}

/// An image that is on the disk: for [`Catalogue::mark_saved`].
pub struct Saved(Written);

enum Written {
    Segment {
        number: u16,
        saved: SavedSlot,
        segment: Arc<Segment>,
    },
    Metadata {
        version: u64,
        bytes: u64,
    },
}

impl Image {
    /// Writes the file so that a crash leaves the old or the new one. Durable when it returns.
    ///
    /// # Errors
    /// The system's refusal; the old file is there, but for a failed sync of the folder.
    pub fn write(self, disk: &dyn Disk, dir: &Path) -> Result<Saved, StoreError> {
        match self.0 {
            What::Segment {
                number,
                version,
                keys,
                live,
                form,
                hasher,
            } => {
                let segment = form.frozen(&live, &hasher);
                let bytes = file::encode(number, &segment, &live, &keys);
                write(disk, &dir.join(file_name(number)), &bytes)?;
                let saved = SavedSlot {
                    version,
                    series: live.len(),
                    bytes: bytes.len() as u64,
                };
                Ok(Saved(Written::Segment {
                    number,
                    saved,
                    segment,
                }))
            }
            What::Metadata { version, known } => {
                let bytes = metadata::encode(&known);
                write(disk, &dir.join(METADATA_FILE), &bytes)?;
                let bytes = bytes.len() as u64;
                Ok(Saved(Written::Metadata { version, bytes }))
            }
        }
    }
}

fn write(disk: &dyn Disk, path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
    write_atomic(disk, path, bytes).map_err(|e| StoreError::io("writing", path, e))
}

pub(super) fn file_name(number: u16) -> String {
    format!("{:010}{SUFFIX}", first_id(usize::from(number)))
}

/// The files of a catalogue of which the manifest lists these segments. There may be no metadata yet.
pub(crate) fn file_names(listed: &[SegmentMeta]) -> Vec<String> {
    let segments = listed.iter().filter(|meta| meta.series > 0);
    let names = segments.map(|meta| file_name(meta.number));
    names.chain([METADATA_FILE.to_owned()]).collect()
}

fn parse_file_name(name: &str) -> Option<u16> {
    let first: u32 = name.strip_suffix(SUFFIX)?.parse().ok()?;
    let number = (first >> 16) as u16;
    (file_name(number) == name).then_some(number)
}

impl Catalogue {
    /// What is not on the disk yet. Cheap: shares what it can.
    pub fn unsaved(&self, which: Unsaved) -> Vec<Image> {
        let mut images = Vec::new();
        for (number, slot) in self.slots.iter() {
            if !slot.is_saved() && (which == Unsaved::All || !self.grows(number)) {
                images.push(Image(What::Segment {
                    number: number as u16,
                    version: slot.version,
                    keys: slot.keys.clone(),
                    live: slot.live.clone(),
                    form: slot.form.clone(),
                    hasher: self.hasher.clone(),
                }));
            }
        }
        let book = &self.metadata;
        if which == Unsaved::All && book.version != book.saved_version {
            images.push(Image(What::Metadata {
                version: book.version,
                known: book.known.clone(),
            }));
        }
        images
    }

    /// Whether a full segment waits to be saved; cheap enough to ask after each append.
    pub fn has_full_unsaved(&self) -> bool {
        self.full_unsaved
    }

    /// Takes note that an image was written. To be in the next manifest ([`Catalogue::listed`]).
    pub fn mark_saved(&mut self, saved: Saved) {
        match saved.0 {
            Written::Segment {
                number,
                saved,
                segment,
            } => {
                let grows = self.grows(usize::from(number));
                match self.slots.0.get_mut(usize::from(number)) {
                    Some(Some(slot)) => {
                        if slot.version == saved.version && !grows {
                            slot.form = Form::Frozen(segment);
                        }
                        slot.saved = Some(saved);
                    }
                    // All its series died meanwhile.
                    _ => self.removed.push(number),
                }
                self.full_unsaved = self
                    .slots
                    .iter()
                    .any(|(number, slot)| !slot.is_saved() && !self.grows(number));
            }
            Written::Metadata { version, bytes } => {
                self.metadata.saved_version = version;
                self.metadata.saved_bytes = bytes;
            }
        }
    }

    /// For the manifest: the files there are, in order.
    pub fn listed(&self) -> Vec<SegmentMeta> {
        let numbers = self.slots.0.len().max(
            self.lost
                .keys()
                .next_back()
                .map_or(0, |last| usize::from(*last) + 1),
        );
        (0..numbers)
            .map(|number| {
                let saved = self.slots.get(number).and_then(|slot| slot.saved);
                SegmentMeta {
                    number: number as u16,
                    series: saved.map_or(0, |saved| saved.series),
                    lost: self.lost.get(&(number as u16)).copied().unwrap_or(0),
                }
            })
            .filter(|meta| meta.series > 0 || meta.lost > 0)
            .collect()
    }

    /// Bytes of all files.
    pub fn file_bytes(&self) -> u64 {
        let saved = self.slots.iter().filter_map(|(_, slot)| slot.saved);
        saved.map(|saved| saved.bytes).sum::<u64>() + self.metadata.saved_bytes
    }

    /// Files to remove once a manifest without them is durable ([`remove_files`]).
    pub fn take_removed(&mut self) -> Vec<PathBuf> {
        let removed = std::mem::take(&mut self.removed);
        let gone = removed
            .into_iter()
            .filter(|number| self.slots.get(usize::from(*number)).is_none());
        gone.map(|number| file_name(number).into()).collect()
    }

    /// Reads the folder, which is created when absent. `listed` is what the manifest says; whatever else is there is left
    /// over, and removed. The second value says in words what is lost; a damaged file is set aside under another name.
    ///
    /// # Errors
    /// The system's refusal, or a file of another version.
    pub fn load(
        disk: &dyn Disk,
        dir: &Path,
        listed: &[SegmentMeta],
    ) -> Result<(Self, Vec<String>), StoreError> {
        disk.create_dir_all(dir)
            .map_err(|e| StoreError::io("creating", dir, e))?;
        remove_leftovers(disk, dir, listed);
        let mut catalogue = Self::default();
        let mut damage = Vec::new();
        let read = read_segments(disk, dir, listed);
        for (meta, read) in listed.iter().zip(read) {
            let path = dir.join(file_name(meta.number));
            let mut lost = meta.lost;
            let lost_words = |series: u32| format!("the names of {series} series are lost");
            if lost > 0 {
                damage.push(format!("{}: damage found earlier", lost_words(lost)));
            }
            match read? {
                Ok(Some((file, bytes))) => catalogue.install(file, bytes),
                Ok(None) => {}
                Err(expected) => {
                    lost = lost.saturating_add(meta.series);
                    let aside = set_aside(disk, dir, &file_name(meta.number));
                    damage.push(format!(
                        "{}: {} is damaged: expected {expected}{aside}",
                        lost_words(meta.series),
                        path.display()
                    ));
                }
            }
            if lost > 0 {
                catalogue.lost.insert(meta.number, lost);
                catalogue.reserve(first_id(usize::from(meta.number)) | 0xffff);
            }
        }
        let path = dir.join(METADATA_FILE);
        match read_file(disk, &path, FILE_BYTES_MAX) {
            Ok(bytes) => {
                check_version(&path, &bytes)?;
                match metadata::decode(&bytes) {
                    Ok(known) => {
                        catalogue.metadata.known = Arc::new(known);
                        catalogue.metadata.saved_bytes = bytes.len() as u64;
                    }
                    Err(malformed) => {
                        let aside = set_aside(disk, dir, METADATA_FILE);
                        damage.push(format!(
                            "metadata of metrics is lost: {} is damaged: expected {}{aside}",
                            path.display(),
                            malformed.0
                        ));
                    }
                }
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) => return Err(StoreError::io("reading", &path, e)),
        }
        Ok((catalogue, damage))
    }

    fn install(&mut self, file: SegmentFile, bytes: u64) {
        let number = usize::from(file.number);
        let last = file.keys.len().saturating_sub(1) as u32;
        self.reserve(first_id(number) | last);
        let count = file.live.len();
        let slot = Slot {
            keys: Arc::new(file.keys),
            live: file.live,
            count,
            form: Form::Frozen(Arc::new(file.segment)),
            version: 1,
            saved: Some(SavedSlot {
                version: 1,
                series: count,
                bytes,
            }),
        };
        self.len += count as usize;
        slot.for_scopes(|scope, count| super::count_scope(&mut self.scopes, scope, count as usize));
        if self.slots.0.len() <= number {
            self.slots.0.resize_with(number + 1, || None);
        }
        self.slots.0[number] = Some(slot);
    }
}

/// Removes files that [`Catalogue::take_removed`] named. Best effort: what stays is left over for the next load.
pub fn remove_files(disk: &dyn Disk, dir: &Path, removed: &[PathBuf]) {
    for name in removed {
        let _ = disk.remove(&dir.join(name));
    }
}

fn remove_leftovers(disk: &dyn Disk, dir: &Path, listed: &[SegmentMeta]) {
    let named = |number: u16| {
        let mut listed = listed.iter();
        listed.any(|meta| meta.number == number && meta.series > 0)
    };
    for name in disk.list(dir).unwrap_or_default() {
        let left_over = parse_file_name(&name).is_some_and(|number| !named(number));
        if left_over || name.ends_with(TEMPORARY) {
            let _ = disk.remove(&dir.join(name));
        }
    }
}

/// Keeps a damaged file for whoever wants to look at it; what to say of that.
fn set_aside(disk: &dyn Disk, dir: &Path, name: &str) -> String {
    let aside = format!("{name}{DAMAGED}");
    let moved = disk.rename(&dir.join(name), &dir.join(&aside));
    match moved.and_then(|()| disk.sync_dir(dir)) {
        Ok(()) => format!("; it is set aside as {aside}"),
        Err(_) => String::new(),
    }
}

fn check_version(path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
    match file::other_version(bytes) {
        None => Ok(()),
        Some(found) => Err(StoreError::UnknownVersion {
            path: path.to_owned(),
            found: found.to_string(),
            expected: file::VERSION,
        }),
    }
}

/// What a file holds (nothing is expected where there is none), or what is wrong with it.
type Read = Result<Result<Option<(SegmentFile, u64)>, &'static str>, StoreError>;

/// Reads the listed files, two at a time.
fn read_segments(disk: &dyn Disk, dir: &Path, listed: &[SegmentMeta]) -> Vec<Read> {
    const THREADS: usize = 2;
    let next = AtomicUsize::new(0);
    let work = || {
        let mut read = Vec::new();
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(meta) = listed.get(index) else {
                return read;
            };
            read.push((index, read_segment(disk, dir, *meta)));
        }
    };
    let mut all = std::thread::scope(|scope| {
        let others: Vec<_> = (1..THREADS.min(listed.len()))
            .map(|_| scope.spawn(work))
            .collect();
        let mut all = work();
        for other in others {
            let read = other.join();
            all.extend(read.unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        }
        all
    });
    all.sort_by_key(|(index, _)| *index);
    all.into_iter().map(|(_, read)| read).collect()
}

fn read_segment(disk: &dyn Disk, dir: &Path, meta: SegmentMeta) -> Read {
    if meta.series == 0 {
        return Ok(Ok(None));
    }
    let path = dir.join(file_name(meta.number));
    let bytes = match read_file(disk, &path, FILE_BYTES_MAX) {
        Ok(bytes) => bytes,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Err("the file")),
        Err(e) => return Err(StoreError::io("reading", &path, e)),
    };
    check_version(&path, &bytes)?;
    match file::decode(&bytes) {
        Ok(file) if file.number == meta.number => Ok(Ok(Some((file, bytes.len() as u64)))),
        Ok(_) => Ok(Err("the segment that its name says")),
        Err(malformed) => Ok(Err(malformed.0)),
    }
}
