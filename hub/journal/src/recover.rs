//! What `open` finds and repairs. The decisions are written in the crate's header.

use std::{
    collections::VecDeque,
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use crate::{
    disk::{Disk, DiskFile, read_exact_at},
    error::JournalError,
    replace::remove_leftovers,
    segment::{self, Cursor, HEADER_BYTES, Header, HeaderFault, Item},
    shared::Segment,
};

/// What [`crate::Journal::open`] found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Recovery {
    /// Segments kept.
    pub segments: usize,
    /// The sequence the next record gets.
    pub next_seq: u64,
    /// What an interrupted write left, and was cut: normal after a crash.
    pub torn_tail: Option<TornTail>,
    /// Records that should be there and are not. Empty in a healthy journal.
    pub damage: Vec<Damage>,
}

/// Bytes cut off the end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TornTail {
    /// The last segment.
    pub path: PathBuf,
    /// Where it was cut.
    pub offset: u64,
    /// How much was cut.
    pub bytes: u64,
}

/// A stretch of bytes that should be records and is not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// The segment.
    pub path: PathBuf,
    /// Where the damage starts.
    pub offset: u64,
    /// Its length; 0 where bytes are missing.
    pub bytes: u64,
    /// First lost sequence.
    pub lost_first: u64,
    /// Last lost sequence, inclusive; `lost_first - 1` when only a header is damaged and no record.
    pub lost_last: u64,
}

pub(crate) struct Recovered {
    pub(crate) segments: VecDeque<Segment>,
    pub(crate) active: Arc<dyn DiskFile>,
    pub(crate) report: Recovery,
}

/// Creates a segment, durably. On an error nothing of it is left where the disk allows that.
pub(crate) fn create_segment(
    disk: &dyn Disk,
    dir: &Path,
    header: Header,
) -> Result<(Segment, Arc<dyn DiskFile>), JournalError> {
    let path = dir.join(segment::file_name(header.first_seq));
    let create = || -> io::Result<Arc<dyn DiskFile>> {
        let file = disk.create(&path)?;
        file.append(&segment::encode_header(header))?;
        file.sync()?;
        disk.sync_dir(dir)?;
        Ok(file)
    };
    match create() {
        Ok(file) => {
            let segment = Segment {
                path,
                first_seq: header.first_seq,
                next_seq: header.first_seq,
                bytes: HEADER_BYTES,
                generation: 0,
            };
            Ok((segment, file))
        }
        Err(e) => {
            // Recovery removes a segment without records as well, should this fail.
            let _ = disk.remove(&path);
            Err(JournalError::io("creating", &path, e))
        }
    }
}

struct Found {
    path: PathBuf,
    file: Arc<dyn DiskFile>,
    bytes: u64,
    first_seq: u64,
    /// `None` when the header is damaged.
    header: Option<Header>,
}

pub(crate) fn recover(
    disk: &dyn Disk,
    dir: &Path,
    next_seq_min: u64,
) -> Result<Recovered, JournalError> {
    disk.create_dir_all(dir)
        .map_err(|e| JournalError::io("creating", dir, e))?;
    remove_leftovers(disk, dir)?;
    let mut report = Recovery::default();
    let mut found = find(disk, dir, &mut report)?;
    let torn_creation = remove_torn_creation(disk, dir, &mut found, &mut report)?;

    let mut segments: VecDeque<Segment> = VecDeque::with_capacity(found.len() + 1);
    for segment in &found {
        // The successor's header knows where this one ended; a damaged one is believed to follow directly.
        let previous_end = segment
            .header
            .map_or(segment.first_seq, |header| header.previous_next_seq);
        if let Some(previous) = segments.back_mut() {
            previous.next_seq = previous_end.clamp(previous.first_seq, segment.first_seq);
        }
        segments.push_back(Segment {
            path: segment.path.clone(),
            first_seq: segment.first_seq,
            next_seq: segment.first_seq,
            bytes: segment.bytes,
            generation: 0,
        });
    }
    let mut active = None;
    if let (Some(last), Some(segment)) = (found.pop(), segments.back_mut()) {
        scan_last(&last, segment, torn_creation, &mut report)?;
        active = Some(last.file);
    }
    let scanned = segments.back().map(|segment| segment.next_seq);
    if let (Some(end), Some(last)) = (torn_creation, segments.back_mut()) {
        // What a closed segment lacks is lost: whoever reads it is told, too.
        last.next_seq = last.next_seq.max(end);
    }
    let end = segments.back().map(|segment| segment.next_seq);
    let next_seq = end
        .unwrap_or(1)
        .max(next_seq_min)
        .max(torn_creation.unwrap_or(0));
    let active = match active {
        Some(active) if scanned == Some(next_seq) => active,
        _ => {
            let header = Header {
                first_seq: next_seq,
                previous_next_seq: end.unwrap_or(next_seq),
            };
            let (segment, file) = create_segment(disk, dir, header)?;
            segments.push_back(segment);
            file
        }
    };
    report.segments = segments.len();
    report.next_seq = next_seq;
    Ok(Recovered {
        segments,
        active,
        report,
    })
}

fn find(disk: &dyn Disk, dir: &Path, report: &mut Recovery) -> Result<Vec<Found>, JournalError> {
    let names = disk
        .list(dir)
        .map_err(|e| JournalError::io("listing", dir, e))?;
    let mut found = Vec::new();
    for (name, first_seq) in names
        .iter()
        .filter_map(|name| Some((name, segment::parse_file_name(name)?)))
    {
        let path = dir.join(name);
        let open = || -> io::Result<(Arc<dyn DiskFile>, u64, Vec<u8>)> {
            let file = disk.open(&path)?;
            let bytes = file.size()?;
            let mut header = vec![0; bytes.min(HEADER_BYTES) as usize];
            read_exact_at(&*file, &mut header, 0)?;
            Ok((file, bytes, header))
        };
        let (file, bytes, header) = open().map_err(|e| JournalError::io("opening", &path, e))?;
        let header = match segment::decode_header(&header) {
            Err(HeaderFault::Version(found)) => {
                return Err(JournalError::UnknownVersion {
                    path,
                    found,
                    expected: segment::VERSION,
                });
            }
            Ok(header)
                if header.first_seq == first_seq && header.previous_next_seq <= first_seq =>
            {
                Some(header)
            }
            Ok(_) | Err(HeaderFault::Damaged) => None,
        };
        found.push(Found {
            path,
            file,
            bytes,
            first_seq,
            header,
        });
    }
    let last = found.len().saturating_sub(1);
    for (i, segment) in found.iter().enumerate() {
        if segment.header.is_none() && i < last {
            report.damage.push(header_damage(segment));
        }
    }
    Ok(found)
}

fn header_damage(segment: &Found) -> Damage {
    Damage {
        path: segment.path.clone(),
        offset: 0,
        bytes: segment.bytes.min(HEADER_BYTES),
        lost_first: segment.first_seq,
        lost_last: segment.first_seq.saturating_sub(1),
    }
}

/// A last segment without header and records was being created; its predecessor is whole up to its first sequence,
/// which is returned.
fn remove_torn_creation(
    disk: &dyn Disk,
    dir: &Path,
    found: &mut Vec<Found>,
    report: &mut Recovery,
) -> Result<Option<u64>, JournalError> {
    let Some(last) = found.last().filter(|last| last.header.is_none()) else {
        return Ok(None);
    };
    let mut cursor = Cursor::new(last.file.clone(), last.first_seq);
    let first = cursor
        .next(last.bytes)
        .map_err(|e| JournalError::io("reading", &last.path, e))?;
    if matches!(first, Some(Item::Record { .. } | Item::Damage { .. })) {
        report.damage.push(header_damage(last));
        return Ok(None);
    }
    disk.remove(&last.path)
        .map_err(|e| JournalError::io("removing", &last.path, e))?;
    disk.sync_dir(dir)
        .map_err(|e| JournalError::io("syncing", dir, e))?;
    report.torn_tail = Some(TornTail {
        path: last.path.clone(),
        offset: 0,
        bytes: last.bytes,
    });
    Ok(found.pop().map(|last| last.first_seq))
}

/// Reads the last segment whole, cuts its torn tail, and sets where it ends.
fn scan_last(
    last: &Found,
    segment: &mut Segment,
    torn_creation: Option<u64>,
    report: &mut Recovery,
) -> Result<(), JournalError> {
    let mut cursor = Cursor::new(last.file.clone(), last.first_seq);
    while let Some(item) = cursor
        .next(last.bytes)
        .map_err(|e| JournalError::io("reading", &last.path, e))?
    {
        match item {
            Item::Record { .. } => {}
            Item::Damage {
                offset,
                bytes,
                lost_first,
                lost_last,
            } => {
                report.damage.push(Damage {
                    path: last.path.clone(),
                    offset,
                    bytes,
                    lost_first,
                    lost_last,
                });
            }
            Item::Tail { offset, bytes } => {
                last.file
                    .truncate(offset)
                    .map_err(|e| JournalError::io("cutting the torn tail of", &last.path, e))?;
                segment.bytes = offset;
                if torn_creation.is_none() {
                    report.torn_tail = Some(TornTail {
                        path: last.path.clone(),
                        offset,
                        bytes,
                    });
                }
            }
        }
    }
    // A killed process leaves whole records that no fsync has seen; from here on they count as durable.
    last.file
        .sync()
        .map_err(|e| JournalError::io("fsync", &last.path, e))?;
    segment.next_seq = cursor.next_seq();
    // This segment was closed, hence synced: what it lacks was lost, not torn.
    if let Some(end) = torn_creation.filter(|&end| end > segment.next_seq) {
        let (lost_first, lost_last) = (segment.next_seq, end - 1);
        let bytes = last.bytes - segment.bytes;
        report.damage.push(Damage {
            path: last.path.clone(),
            offset: segment.bytes,
            bytes,
            lost_first,
            lost_last,
        });
    }
    Ok(())
}
