//! A part: an immutable file of samples, sorted by series and time, of one partition of time and one range of write
//! sequences (drawn in `FORMAT.md`).
//!
//! Columns of neighbouring series share a block of about 32 KiB ([`block`]), because zstd over single columns earns nothing
//! (measured in the design). The index (which series, which blocks) stays in memory; blocks are read when asked for, checked
//! each time, and kept a while if there is a [`BlockCache`].

use std::{
    io,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use journal::{DIRTY_BYTES_MAX, Disk, DiskFile, read_exact_at, read_file};
use roaring::RoaringBitmap;
use zstd::bulk::{Compressor, Decompressor};

use crate::{
    chunk,
    codec::{Decoded, Input, Malformed, put_bytes, put_varint, put_zigzag},
    probe::Pieces,
    rows::Rows,
    types::{Column, TimeRange},
};

pub(crate) mod block;
pub(crate) mod block_cache;
mod cursor;
#[cfg(test)]
pub(crate) mod tests;

pub(crate) use block_cache::BlockCache;
pub(crate) use cursor::{PartCursor, TimesKey};

use block::{BlockBuilder, BlockWalk, Values};

pub(crate) const VERSION: u32 = 2;
const MAGIC: [u8; 8] = *b"BRLPART\n";
const END_MAGIC: [u8; 8] = *b"BRLPEND\n";
const HEADER_BYTES: usize = 16;
const FOOTER_BYTES: usize = 32;
/// Checksum before each block.
const CRC_BYTES: usize = 4;
/// A block is closed when it reaches this, uncompressed.
const BLOCK_BYTES: usize = 32 << 10;
/// No block is larger: one column of the largest histograms over a just unfilled block. What reading a block may allocate is
/// this at most, and what [`block`] says.
const BLOCK_BYTES_LIMIT: u32 = 256 << 20;
/// Blocks are written to the file in pieces of this size.
const WRITE_BYTES: usize = 256 << 10;
const ZSTD_LEVEL: i32 = 1;

/// What the manifest says of a part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PartMeta {
    /// Names the file; never used twice.
    pub(crate) number: u64,
    /// 0 from memory; one more than its inputs' highest from a merge.
    pub(crate) level: u8,
    /// Number of the partition: its time is `partition * width .. (partition + 1) * width`.
    pub(crate) partition: i64,
    /// Write sequences it holds, both inclusive.
    pub(crate) seq_first: u64,
    pub(crate) seq_last: u64,
    /// Smallest and largest timestamp.
    pub(crate) first: i64,
    pub(crate) last: i64,
    pub(crate) rows: u64,
    /// Size of the file.
    pub(crate) bytes: u64,
    /// Deletions up to this number are made in it, or are not about it: see [`crate::deletions`].
    pub(crate) deletions: u64,
}

impl PartMeta {
    /// From the smallest to the largest timestamp.
    pub(crate) fn time(&self) -> TimeRange {
        let at = model::Timestamp::from_millis;
        TimeRange::new(at(self.first), at(self.last))
    }
}

/// Where a block stands and what it holds. There is one for each 32 KiB of columns, always in memory: 40 bytes.
#[derive(Debug, Clone)]
struct Block {
    offset: u64,
    /// Smallest and largest timestamp.
    first: i64,
    last: i64,
    /// In the file, with the checksum.
    bytes: u32,
    raw_bytes: u32,
    first_id: u32,
    last_id: u32,
}

/// Why a part could not be read.
#[derive(Debug)]
pub(crate) enum PartError {
    /// The disk did not answer.
    Io(io::Error),
    /// The file is not what was written.
    Damaged { offset: u64, expected: &'static str },
    /// Of another release: nothing wrong with it.
    Version(u32),
}

impl From<io::Error> for PartError {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::UnexpectedEof || error.kind() == io::ErrorKind::NotFound {
            return Self::Damaged {
                offset: 0,
                expected: "a file as long as when it was written",
            };
        }
        Self::Io(error)
    }
}

pub(crate) fn file_name(number: u64) -> String {
    format!("{number:020}.part")
}

/// The inverse of [`file_name`].
pub(crate) fn parse_file_name(name: &str) -> Option<u64> {
    name.strip_suffix(".part")
        .filter(|digits| digits.len() == 20)?
        .parse()
        .ok()
}

/// Writes a part, series by series in rising order of id.
pub(crate) struct PartWriter {
    disk: Arc<dyn Disk>,
    file: Arc<dyn DiskFile>,
    path: PathBuf,
    meta: PartMeta,
    /// Runs of ids without a gap, both ends inclusive: usually few.
    ids: Vec<(u32, u32)>,
    blocks: Vec<Block>,
    builder: BlockBuilder,
    open: Option<Block>,
    block_bytes: usize,
    zstd: Compressor<'static>,
    raw: Vec<u8>,
    stored: Vec<u8>,
    /// Not yet in the file.
    unwritten: Vec<u8>,
    /// Bytes in the file that are not synced.
    unsynced: usize,
    offset: u64,
}

impl PartWriter {
    /// `meta` gives number, level, partition and sequences; the rest is counted.
    pub(crate) fn create(disk: Arc<dyn Disk>, path: PathBuf, meta: PartMeta) -> io::Result<Self> {
        let file = disk.create(&path)?;
        let mut header = [0; HEADER_BYTES];
        header[..8].copy_from_slice(&MAGIC);
        header[8..12].copy_from_slice(&VERSION.to_le_bytes());
        let crc = crc32c::crc32c(&header[..12]);
        header[12..].copy_from_slice(&crc.to_le_bytes());
        let meta = PartMeta {
            first: i64::MAX,
            last: i64::MIN,
            rows: 0,
            bytes: 0,
            ..meta
        };
        let (ids, blocks, builder, raw, stored) = Default::default();
        Ok(Self {
            disk,
            file,
            path,
            meta,
            ids,
            blocks,
            builder,
            open: None,
            block_bytes: BLOCK_BYTES,
            zstd: Compressor::new(ZSTD_LEVEL)?,
            raw,
            stored,
            unwritten: header.to_vec(),
            unsynced: 0,
            offset: HEADER_BYTES as u64,
        })
    }

    /// Adds a series: ordered rows, not empty, all in the partition; `id` larger than the one before, or the same when all
    /// times are later than the ones before.
    pub(crate) fn add(&mut self, id: u32, rows: &Rows) -> io::Result<()> {
        debug_assert!(rows.ordered);
        match &rows.values {
            Column::Floats(values) => self.add_floats(id, &rows.times, values, &rows.starts),
            Column::Mixed(values) => {
                let mut to = 0;
                while to < rows.len() {
                    let from = to;
                    to = chunk::end(rows, from);
                    let starts = rows.starts.get(from..to).unwrap_or_default();
                    let values = Values::Mixed(&values[from..to]);
                    self.put(id, &rows.times[from..to], &values, starts)?;
                }
                Ok(())
            }
        }
    }

    /// As [`PartWriter::add`], for floats without start timestamps.
    pub(crate) fn add_columns(&mut self, id: u32, times: &[i64], values: &[f64]) -> io::Result<()> {
        self.add_floats(id, times, values, &[])
    }

    fn add_floats(
        &mut self,
        id: u32,
        times: &[i64],
        values: &[f64],
        starts: &[i64],
    ) -> io::Result<()> {
        debug_assert!(times.len() == values.len());
        // Columns of about one length, rather than long ones and what is left over.
        let columns = times.len().div_ceil(chunk::CHUNK_ROWS_MAX).max(1);
        let rows = times.len().div_ceil(columns).max(1);
        let columns = times.chunks(rows).zip(values.chunks(rows));
        for (index, (times, values)) in columns.enumerate() {
            let from = index * rows;
            let starts = starts.get(from..from + times.len()).unwrap_or_default();
            self.put(id, times, &Values::Floats(values), starts)?;
        }
        Ok(())
    }

    fn put(
        &mut self,
        id: u32,
        times: &[i64],
        values: &Values<'_>,
        starts: &[i64],
    ) -> io::Result<()> {
        let (Some(&first), Some(&last)) = (times.first(), times.last()) else {
            return Ok(());
        };
        match self.ids.last_mut() {
            Some((_, end)) if *end == id => {}
            Some((_, end)) if end.checked_add(1) == Some(id) => *end = id,
            end => {
                debug_assert!(end.is_none_or(|(_, end)| *end < id), "ids rise");
                self.ids.push((id, id));
            }
        }
        self.meta.rows += times.len() as u64;
        self.meta.first = self.meta.first.min(first);
        self.meta.last = self.meta.last.max(last);
        let empty = Block {
            offset: 0,
            first,
            last,
            bytes: 0,
            raw_bytes: 0,
            first_id: id,
            last_id: id,
        };
        let block = self.open.get_or_insert(empty);
        block.last_id = id;
        block.first = block.first.min(first);
        block.last = block.last.max(last);
        self.builder.add(id, times, values, starts);
        if self.builder.bytes() >= self.block_bytes {
            self.close_block()?;
        }
        Ok(())
    }

    fn close_block(&mut self) -> io::Result<()> {
        let Some(mut block) = self.open.take() else {
            return Ok(());
        };
        self.builder.take(&mut self.raw);
        let too_large = || io::Error::new(io::ErrorKind::FileTooLarge, "a block of over 256 MiB");
        block.raw_bytes = u32::try_from(self.raw.len())
            .ok()
            .filter(|bytes| *bytes <= BLOCK_BYTES_LIMIT)
            .ok_or_else(too_large)?;
        self.stored.clear();
        self.stored
            .reserve(zstd::zstd_safe::compress_bound(self.raw.len()));
        self.zstd.compress_to_buffer(&self.raw, &mut self.stored)?;
        block.offset = self.offset;
        block.bytes = u32::try_from(CRC_BYTES + self.stored.len()).map_err(|_| too_large())?;
        let crc = crc32c::crc32c(&self.stored);
        self.unwritten.extend_from_slice(&crc.to_le_bytes());
        self.unwritten.extend_from_slice(&self.stored);
        self.offset += u64::from(block.bytes);
        self.blocks.push(block);
        if self.unwritten.len() >= WRITE_BYTES {
            self.file.append(&self.unwritten)?;
            self.unsynced += self.unwritten.len();
            self.unwritten.clear();
            if self.unsynced >= DIRTY_BYTES_MAX {
                self.file.sync()?;
                self.unsynced = 0;
            }
        }
        Ok(())
    }

    /// Writes the index and syncs the file; its name is durable once the folder is synced.
    pub(crate) fn finish(mut self) -> io::Result<Part> {
        self.close_block()?;
        let mut ids = RoaringBitmap::new();
        for &(first, last) in &self.ids {
            if first == last {
                // At the end, which is the quick way; ids rise, so that it succeeds.
                let _ = ids.try_push(first);
            } else {
                ids.insert_range(first..=last);
            }
        }
        ids.optimize();
        self.blocks.shrink_to_fit();
        let mut index = Vec::new();
        put_index(&mut index, &self.meta, &ids, &self.blocks)?;
        let mut footer = [0; FOOTER_BYTES];
        footer[..8].copy_from_slice(&self.offset.to_le_bytes());
        footer[8..16].copy_from_slice(&(index.len() as u64).to_le_bytes());
        footer[16..20].copy_from_slice(&crc32c::crc32c(&index).to_le_bytes());
        let crc = crc32c::crc32c(&footer[..20]);
        footer[20..24].copy_from_slice(&crc.to_le_bytes());
        footer[24..].copy_from_slice(&END_MAGIC);
        self.unwritten.extend_from_slice(&index);
        self.unwritten.extend_from_slice(&footer);
        self.file.append(&self.unwritten)?;
        self.file.sync()?;
        self.meta.bytes = self.offset + index.len() as u64 + FOOTER_BYTES as u64;
        Ok(Part {
            disk: self.disk,
            path: self.path,
            meta: self.meta,
            ids,
            blocks: self.blocks,
            cache: None,
            obsolete: AtomicBool::new(false),
        })
    }
}

fn put_index(
    out: &mut Vec<u8>,
    meta: &PartMeta,
    ids: &RoaringBitmap,
    blocks: &[Block],
) -> io::Result<()> {
    put_varint(out, meta.number);
    put_varint(out, meta.rows);
    put_zigzag(out, meta.first);
    put_varint(out, meta.last.wrapping_sub(meta.first) as u64);
    let mut id_bytes = Vec::with_capacity(ids.serialized_size());
    ids.serialize_into(&mut id_bytes)?;
    put_bytes(out, &id_bytes);
    put_varint(out, blocks.len() as u64);
    let mut id = 0;
    for block in blocks {
        for number in [
            block.bytes,
            block.raw_bytes,
            block.first_id - id,
            block.last_id - block.first_id,
        ] {
            put_varint(out, u64::from(number));
        }
        put_varint(out, block.first.wrapping_sub(meta.first) as u64);
        put_varint(out, block.last.wrapping_sub(block.first) as u64);
        id = block.last_id;
    }
    Ok(())
}

/// Reads what [`put_index`] wrote of a part whose blocks end at `blocks_end`. Takes at most 8 times the bytes, and as much
/// again for the set of series: up to 4 MiB more where that says more than it has.
fn take_index(
    bytes: &[u8],
    meta: &PartMeta,
    blocks_end: u64,
) -> Decoded<(RoaringBitmap, Vec<Block>)> {
    let mut input = Input(bytes);
    let (number, rows, first) = (input.varint()?, input.varint()?, input.zigzag()?);
    let last = first.wrapping_add(input.varint()? as i64);
    if (number, rows, first, last) != (meta.number, meta.rows, meta.first, meta.last) {
        return Err(Malformed("the part that the manifest names"));
    }
    let ids = RoaringBitmap::deserialize_from(input.bytes()?)
        .map_err(|_| Malformed("a set of series"))?;
    let mut offset = HEADER_BYTES as u64;
    let count = input.count()?;
    // Each takes 6 bytes at least.
    let mut blocks = Vec::with_capacity(count.min(input.0.len() / 6));
    let mut id = 0_u32;
    for _ in 0..count {
        let (bytes, raw_bytes) = (input.varint_u32()?, input.varint_u32()?);
        let mut further = |id: u32| -> Decoded<u32> {
            id.checked_add(input.varint_u32()?)
                .ok_or(Malformed("a range of series"))
        };
        let first_id = further(id)?;
        let last_id = further(first_id)?;
        let first = meta.first.wrapping_add(input.varint()? as i64);
        let last = first.wrapping_add(input.varint()? as i64);
        blocks.push(Block {
            offset,
            first,
            last,
            bytes,
            raw_bytes,
            first_id,
            last_id,
        });
        id = last_id;
        offset += u64::from(bytes);
    }
    if offset != blocks_end || !input.is_empty() {
        return Err(Malformed("blocks up to the index"));
    }
    Ok((ids, blocks))
}

/// For fuzzing: how many blocks an index lists, whatever part it is of.
pub(crate) fn probe_index(bytes: &[u8], blocks_end: u64) -> Decoded<usize> {
    let meta = probe_meta(bytes)?;
    take_index(bytes, &meta, blocks_end).map(|(_, blocks)| blocks.len())
}

fn probe_meta(index: &[u8]) -> Decoded<PartMeta> {
    let mut input = Input(index);
    let (number, rows, first) = (input.varint()?, input.varint()?, input.zigzag()?);
    let last = first.wrapping_add(input.varint()? as i64);
    Ok(PartMeta {
        number,
        level: 0,
        partition: 0,
        seq_first: 0,
        seq_last: 0,
        first,
        last,
        rows,
        bytes: 0,
        deletions: 0,
    })
}

/// For fuzzing: a part's blocks and index.
pub(crate) fn pieces(disk: &Arc<dyn Disk>, path: &Path) -> Result<Pieces, PartError> {
    let damaged = |e: Malformed| PartError::Damaged {
        offset: 0,
        expected: e.0,
    };
    let bytes = read_file(&**disk, path, u64::MAX)?;
    let footer = bytes.len().saturating_sub(FOOTER_BYTES);
    let blocks_end = Input(&bytes[footer..]).u64().map_err(damaged)?;
    let index = usize::try_from(blocks_end).ok();
    let index = index.and_then(|from| bytes.get(from..footer));
    let index = index.unwrap_or_default().to_vec();
    let mut meta = probe_meta(&index).map_err(damaged)?;
    meta.bytes = bytes.len() as u64;
    let part = Part::open(disk.clone(), path.to_owned(), meta)?;
    let mut reader = BlockReader::default();
    let mut blocks = vec![Vec::new(); part.blocks.len()];
    for (number, block) in blocks.iter_mut().enumerate() {
        reader.read(&part, number, block)?;
    }
    Ok(Pieces {
        blocks,
        index,
        blocks_end,
    })
}

/// A part that can be read. The file is opened for each read, so that years of parts need no open files; a part that is
/// no longer wanted removes its file once nobody reads it.
pub(crate) struct Part {
    disk: Arc<dyn Disk>,
    pub(crate) path: PathBuf,
    pub(crate) meta: PartMeta,
    /// The series it has samples of.
    pub(crate) ids: RoaringBitmap,
    blocks: Vec<Block>,
    cache: Option<Arc<BlockCache>>,
    obsolete: AtomicBool,
}

impl Drop for Part {
    fn drop(&mut self) {
        if *self.obsolete.get_mut() {
            if let Some(cache) = &self.cache {
                cache.forget(self.meta.number);
            }
            // Should this fail, the next start removes what the manifest does not name.
            let _ = self.disk.remove(&self.path);
        }
    }
}

impl Part {
    /// Opens what [`PartWriter::finish`] wrote, and checks all but the blocks.
    pub(crate) fn open(
        disk: Arc<dyn Disk>,
        path: PathBuf,
        meta: PartMeta,
    ) -> Result<Self, PartError> {
        let damaged = |offset, expected| PartError::Damaged { offset, expected };
        let file = disk.open(&path)?;
        let mut header = [0; HEADER_BYTES];
        read_exact_at(&*file, &mut header, 0)?;
        let mut fields = Input(&header[8..]);
        let (version, crc) = (fields.u32().unwrap_or(0), fields.u32().unwrap_or(0));
        if header[..8] != MAGIC || crc != crc32c::crc32c(&header[..12]) {
            return Err(damaged(0, "a part's header"));
        }
        if version != VERSION {
            return Err(PartError::Version(version));
        }
        let size = file.size()?;
        if size != meta.bytes || size < (HEADER_BYTES + FOOTER_BYTES) as u64 {
            return Err(damaged(size, "a file as long as when it was written"));
        }
        let mut footer = [0; FOOTER_BYTES];
        let footer_at = size - FOOTER_BYTES as u64;
        read_exact_at(&*file, &mut footer, footer_at)?;
        let mut fields = Input(&footer);
        let mut number = || fields.u64().unwrap_or(0);
        let (index_at, index_bytes) = (number(), number());
        let (index_crc, crc) = (fields.u32().unwrap_or(0), fields.u32().unwrap_or(0));
        if footer[24..] != END_MAGIC || crc != crc32c::crc32c(&footer[..20]) {
            return Err(damaged(footer_at, "a part's footer"));
        }
        if index_at.checked_add(index_bytes) != Some(footer_at) {
            return Err(damaged(footer_at, "an index before the footer"));
        }
        let mut index = vec![0; index_bytes as usize];
        read_exact_at(&*file, &mut index, index_at)?;
        if crc32c::crc32c(&index) != index_crc {
            return Err(damaged(index_at, "an index that passes its checksum"));
        }
        let (ids, blocks) =
            take_index(&index, &meta, index_at).map_err(|e| damaged(index_at, e.0))?;
        Ok(Self {
            disk,
            path,
            meta,
            ids,
            blocks,
            cache: None,
            obsolete: AtomicBool::new(false),
        })
    }

    /// Keeps blocks that [`Part::read`] reads in `cache`, which all parts of a store may share.
    pub(crate) fn cached(mut self, cache: &Arc<BlockCache>) -> Self {
        self.cache = Some(cache.clone());
        self
    }

    /// The manifest no longer names it: remove the file when the last reader is gone.
    pub(crate) fn mark_obsolete(&self) {
        self.obsolete.store(true, Ordering::Relaxed);
    }

    pub(crate) fn overlaps(&self, range: TimeRange) -> bool {
        range.overlaps(self.meta.first, self.meta.last)
    }

    /// Walks all columns in order, one at a time, past the cache.
    pub(crate) fn scan(self: &Arc<Self>) -> Result<PartScan, PartError> {
        let reader = BlockReader {
            file: Some(self.disk.open(&self.path)?),
            ..BlockReader::default()
        };
        Ok(PartScan {
            part: self.clone(),
            reader,
            walk: BlockWalk::default(),
            block: Vec::new(),
            started: 0,
            id: None,
            before: None,
        })
    }
}

/// Gets blocks from a part's file.
#[derive(Default)]
struct BlockReader {
    file: Option<Arc<dyn DiskFile>>,
    zstd: Option<Decompressor<'static>>,
    stored: Vec<u8>,
}

impl BlockReader {
    fn read(&mut self, part: &Part, index: usize, raw: &mut Vec<u8>) -> Result<(), PartError> {
        let Some(block) = part.blocks.get(index) else {
            return Ok(());
        };
        let damaged = |expected| PartError::Damaged {
            offset: block.offset,
            expected,
        };
        if block.raw_bytes > BLOCK_BYTES_LIMIT {
            return Err(damaged("a block of at most 256 MiB"));
        }
        let file = match &self.file {
            Some(file) => file,
            None => self.file.insert(part.disk.open(&part.path)?),
        };
        let zstd = match &mut self.zstd {
            Some(zstd) => zstd,
            None => self.zstd.insert(Decompressor::new()?),
        };
        self.stored.resize(block.bytes as usize, 0);
        read_exact_at(&**file, &mut self.stored, block.offset)?;
        let checked = self.stored.split_first_chunk::<CRC_BYTES>();
        let (crc, frame) = checked.ok_or_else(|| damaged("a block with its checksum"))?;
        if crc32c::crc32c(frame) != u32::from_le_bytes(*crc) {
            return Err(damaged("a block that passes its checksum"));
        }
        raw.clear();
        raw.reserve(block.raw_bytes as usize);
        let bytes = zstd.decompress_to_buffer(frame, raw);
        if bytes.ok() != Some(block.raw_bytes as usize) {
            return Err(damaged("a zstd frame"));
        }
        Ok(())
    }
}

/// Walks a part column by column: rising ids, rising times. Holds one block at a time.
pub(crate) struct PartScan {
    part: Arc<Part>,
    reader: BlockReader,
    walk: BlockWalk,
    block: Vec<u8>,
    /// Blocks that were started.
    started: usize,
    /// Series of the column at which it stands.
    id: Option<u32>,
    /// Series and last time of the column before.
    before: Option<(u32, i64)>,
}

impl PartScan {
    fn damaged(&self, e: Malformed) -> PartError {
        let block = self.part.blocks.get(self.started.saturating_sub(1));
        PartError::Damaged {
            offset: block.map_or(0, |block| block.offset),
            expected: e.0,
        }
    }

    /// Series of the column at which it stands; none at the end.
    pub(crate) fn peek(&mut self) -> Result<Option<u32>, PartError> {
        while self.id.is_none() {
            let next = if self.started == 0 {
                None
            } else {
                self.walk.next(&self.block).map_err(|e| self.damaged(e))?
            };
            if let Some(id) = next {
                if self.before.is_some_and(|(before, _)| id < before) {
                    return Err(self.damaged(Malformed("series in order")));
                }
                self.id = Some(id);
            } else if self.started == self.part.blocks.len() {
                return Ok(None);
            } else {
                self.reader
                    .read(&self.part, self.started, &mut self.block)?;
                self.started += 1;
                self.walk.start(&self.block).map_err(|e| self.damaged(e))?;
            }
        }
        Ok(self.id)
    }

    /// First and last time of the column at which it stands; [`PartScan::peek`] must have returned one.
    pub(crate) fn times(&mut self) -> Result<(i64, i64), PartError> {
        let times = match self.walk.times(&self.block) {
            Ok(times) => times.first().copied().zip(times.last().copied()),
            Err(e) => return Err(self.damaged(e)),
        };
        times.ok_or_else(|| self.damaged(Malformed("a column that is not empty")))
    }

    /// Adds that column to the end of `rows`, whose times must be before it, and goes on to the next one.
    pub(crate) fn append_to(&mut self, rows: &mut Rows) -> Result<(), PartError> {
        let (first, last) = self.times()?;
        let id = self.id.take();
        let goes_on = |(before, last): (u32, i64)| Some(before) == id && last >= first;
        if self.before.is_some_and(goes_on) {
            return Err(self.damaged(Malformed("columns in order of time")));
        }
        self.before = id.map(|id| (id, last));
        self.walk
            .append_to(&self.block, rows)
            .map_err(|e| self.damaged(e))
    }
}
