//! A part: an immutable file of samples, sorted by series and time, of one partition of time and one range of write
//! sequences (drawn in `FORMAT.md`).
//!
//! Columns of neighbouring series share a block of about 64 KiB, because zstd over single columns earns nothing
//! (measured in the design). The index (which series, which blocks) stays in memory; blocks are read when asked for,
//! and checked each time.

use std::{
    io,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use journal::{Disk, DiskFile, read_exact_at};
use roaring::RoaringBitmap;

use crate::{
    chunk::{self, Effort},
    codec::{Decoded, Input, Malformed, put_bytes, put_varint, put_zigzag},
    rows::Rows,
    types::TimeRange,
};

pub(crate) const VERSION: u32 = 1;
const MAGIC: [u8; 8] = *b"BRLPART\n";
const END_MAGIC: [u8; 8] = *b"BRLPEND\n";
const HEADER_BYTES: usize = 16;
const FOOTER_BYTES: usize = 32;
/// A block is closed when it reaches this, uncompressed.
const BLOCK_BYTES: usize = 64 << 10;
/// No block is larger: one chunk of the largest histograms over a just unfilled block.
const BLOCK_BYTES_LIMIT: u64 = 1 << 30;
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
}

#[derive(Debug, Clone)]
struct Block {
    offset: u64,
    bytes: u32,
    raw_bytes: u32,
    crc: u32,
    first_id: u32,
    last_id: u32,
    first: i64,
    last: i64,
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
    ids: RoaringBitmap,
    blocks: Vec<Block>,
    raw: Vec<u8>,
    open: Option<Block>,
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
        file.append(&header)?;
        let meta = PartMeta {
            first: i64::MAX,
            last: i64::MIN,
            rows: 0,
            bytes: 0,
            ..meta
        };
        let (ids, blocks, raw) = Default::default();
        Ok(Self {
            disk,
            file,
            path,
            meta,
            ids,
            blocks,
            raw,
            open: None,
            offset: HEADER_BYTES as u64,
        })
    }

    /// Adds a series: ordered rows, not empty, all in the partition; `id` larger than the one before.
    pub(crate) fn add(&mut self, id: u32, rows: &Rows) -> io::Result<()> {
        debug_assert!(rows.ordered && self.ids.max().is_none_or(|last| last < id));
        self.ids.insert(id);
        self.meta.rows += rows.len() as u64;
        let mut to = 0;
        while to < rows.len() {
            let from = to;
            to = chunk::end(rows, from);
            let (first, last) = (rows.times[from], rows.times[to - 1]);
            self.meta.first = self.meta.first.min(first);
            self.meta.last = self.meta.last.max(last);
            let empty = Block {
                offset: 0,
                bytes: 0,
                raw_bytes: 0,
                crc: 0,
                first_id: id,
                last_id: id,
                first,
                last,
            };
            let block = self.open.get_or_insert(empty);
            block.last_id = id;
            block.first = block.first.min(first);
            block.last = block.last.max(last);
            put_varint(&mut self.raw, u64::from(id));
            put_zigzag(&mut self.raw, first);
            put_varint(&mut self.raw, last.wrapping_sub(first) as u64);
            let mut bytes = Vec::new();
            chunk::encode(&mut bytes, rows, from, to, Effort::Small);
            put_bytes(&mut self.raw, &bytes);
            if self.raw.len() >= BLOCK_BYTES {
                self.close_block()?;
            }
        }
        Ok(())
    }

    /// As [`PartWriter::add`], for numbers only.
    pub(crate) fn add_columns(&mut self, id: u32, times: &[i64], values: &[f64]) -> io::Result<()> {
        let values = crate::types::Column::Floats(values.to_vec());
        self.add(id, &Rows::from_columns(times.to_vec(), values, Vec::new()))
    }

    fn close_block(&mut self) -> io::Result<()> {
        let Some(mut block) = self.open.take() else {
            return Ok(());
        };
        let stored = zstd::bulk::compress(&self.raw, ZSTD_LEVEL)?;
        let too_large =
            || io::Error::new(io::ErrorKind::FileTooLarge, "a block of more than 4 GiB");
        block.offset = self.offset;
        block.bytes = u32::try_from(stored.len()).map_err(|_| too_large())?;
        block.raw_bytes = u32::try_from(self.raw.len()).map_err(|_| too_large())?;
        block.crc = crc32c::crc32c(&stored);
        self.file.append(&stored)?;
        self.offset += stored.len() as u64;
        self.raw.clear();
        self.blocks.push(block);
        Ok(())
    }

    /// Writes the index and syncs the file; its name is durable once the folder is synced.
    pub(crate) fn finish(mut self) -> io::Result<Part> {
        self.close_block()?;
        let mut index = Vec::new();
        put_index(&mut index, &self.meta, &self.ids, &self.blocks)?;
        self.file.append(&index)?;
        let mut footer = [0; FOOTER_BYTES];
        footer[..8].copy_from_slice(&self.offset.to_le_bytes());
        footer[8..16].copy_from_slice(&(index.len() as u64).to_le_bytes());
        footer[16..20].copy_from_slice(&crc32c::crc32c(&index).to_le_bytes());
        let crc = crc32c::crc32c(&footer[..20]);
        footer[20..24].copy_from_slice(&crc.to_le_bytes());
        footer[24..].copy_from_slice(&END_MAGIC);
        self.file.append(&footer)?;
        self.file.sync()?;
        self.meta.bytes = self.offset + index.len() as u64 + FOOTER_BYTES as u64;
        let obsolete = AtomicBool::new(false);
        Ok(Part {
            disk: self.disk,
            path: self.path,
            meta: self.meta,
            ids: self.ids,
            blocks: self.blocks,
            obsolete,
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
    let mut id_bytes = Vec::with_capacity(ids.serialized_size());
    ids.serialize_into(&mut id_bytes)?;
    put_bytes(out, &id_bytes);
    put_varint(out, blocks.len() as u64);
    for block in blocks {
        for number in [
            block.bytes,
            block.raw_bytes,
            block.first_id,
            block.last_id - block.first_id,
        ] {
            put_varint(out, u64::from(number));
        }
        put_zigzag(out, block.first);
        put_varint(out, block.last.wrapping_sub(block.first) as u64);
        out.extend_from_slice(&block.crc.to_le_bytes());
    }
    Ok(())
}

fn take_index(bytes: &[u8], meta: &PartMeta) -> Decoded<(RoaringBitmap, Vec<Block>)> {
    let mut input = Input(bytes);
    if (input.varint()?, input.varint()?) != (meta.number, meta.rows) {
        return Err(Malformed("the part that the manifest names"));
    }
    let ids = RoaringBitmap::deserialize_from(input.bytes()?)
        .map_err(|_| Malformed("a set of series"))?;
    let mut offset = HEADER_BYTES as u64;
    let mut blocks = Vec::new();
    for _ in 0..input.count()? {
        let [bytes, raw_bytes, first_id, ids] = [
            input.varint_u32()?,
            input.varint_u32()?,
            input.varint_u32()?,
            input.varint_u32()?,
        ];
        let last_id = first_id
            .checked_add(ids)
            .ok_or(Malformed("a range of series"))?;
        let first = input.zigzag()?;
        let last = first.wrapping_add(input.varint()? as i64);
        blocks.push(Block {
            offset,
            bytes,
            raw_bytes,
            crc: input.u32()?,
            first_id,
            last_id,
            first,
            last,
        });
        offset += u64::from(bytes);
    }
    Ok((ids, blocks))
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
    obsolete: AtomicBool,
}

impl Drop for Part {
    fn drop(&mut self) {
        if *self.obsolete.get_mut() {
            // Should this fail, the next start removes what the manifest does not name.
            let _ = self.disk.remove(&self.path);
        }
    }
}

/// One chunk of a block, not yet decoded.
struct Packed<'a> {
    id: u32,
    first: i64,
    last: i64,
    bytes: &'a [u8],
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
        let (ids, blocks) = take_index(&index, &meta).map_err(|e| damaged(index_at, e.0))?;
        Ok(Self {
            disk,
            path,
            meta,
            ids,
            blocks,
            obsolete: AtomicBool::new(false),
        })
    }

    /// The manifest no longer names it: remove the file when the last reader is gone.
    pub(crate) fn mark_obsolete(&self) {
        self.obsolete.store(true, Ordering::Relaxed);
    }

    pub(crate) fn overlaps(&self, range: TimeRange) -> bool {
        range.overlaps(self.meta.first, self.meta.last)
    }

    fn read_block(&self, file: &dyn DiskFile, block: &Block) -> Result<Vec<u8>, PartError> {
        let damaged = |expected| PartError::Damaged {
            offset: block.offset,
            expected,
        };
        if u64::from(block.raw_bytes) > BLOCK_BYTES_LIMIT {
            return Err(damaged("a block of at most 1 GiB"));
        }
        let mut stored = vec![0; block.bytes as usize];
        read_exact_at(file, &mut stored, block.offset)?;
        if crc32c::crc32c(&stored) != block.crc {
            return Err(damaged("a block that passes its checksum"));
        }
        let raw = zstd::bulk::decompress(&stored, block.raw_bytes as usize);
        raw.map_err(|_| damaged("a zstd frame"))
    }

    /// Gives the samples of the wanted series in the range, chunk by chunk: rising ids, rising times. `visit` returns
    /// whether to go on.
    pub(crate) fn read(
        &self,
        wanted: &RoaringBitmap,
        range: TimeRange,
        visit: &mut dyn FnMut(u32, Rows) -> bool,
    ) -> Result<(), PartError> {
        let wanted = wanted & &self.ids;
        let mut file = None;
        for block in &self.blocks {
            let none = wanted.range_cardinality(block.first_id..=block.last_id) == 0;
            if none || !range.overlaps(block.first, block.last) {
                continue;
            }
            let file = match &file {
                Some(file) => file,
                None => file.insert(self.disk.open(&self.path)?),
            };
            let raw = self.read_block(&**file, block)?;
            let damaged = |e: Malformed| PartError::Damaged {
                offset: block.offset,
                expected: e.0,
            };
            let mut input = Input(&raw);
            while !input.is_empty() {
                let packed = take_packed(&mut input).map_err(damaged)?;
                if wanted.contains(packed.id) && range.overlaps(packed.first, packed.last) {
                    let rows = unpack(&packed).map_err(damaged)?.within(range);
                    if !rows.is_empty() && !visit(packed.id, rows) {
                        return Ok(());
                    }
                }
            }
        }
        Ok(())
    }

    /// Walks all series in order, one at a time.
    pub(crate) fn scan(self: &Arc<Self>) -> Result<PartScan, PartError> {
        let file = self.disk.open(&self.path)?;
        Ok(PartScan {
            part: self.clone(),
            file,
            block: 0,
            chunks: Vec::new(),
            taken: 0,
        })
    }
}

fn take_packed<'a>(input: &mut Input<'a>) -> Decoded<Packed<'a>> {
    let id = input.varint_u32()?;
    let first = input.zigzag()?;
    let last = first.wrapping_add(input.varint()? as i64);
    Ok(Packed {
        id,
        first,
        last,
        bytes: input.bytes()?,
    })
}

fn unpack(packed: &Packed<'_>) -> Decoded<Rows> {
    let mut input = Input(packed.bytes);
    let rows = chunk::decode(&mut input)?;
    if !input.is_empty() || !rows.ordered || rows.is_empty() {
        return Err(Malformed("a chunk in order of time"));
    }
    Ok(rows)
}

/// Yields (id, all its rows), rising ids. Holds one block and one series at a time.
pub(crate) struct PartScan {
    part: Arc<Part>,
    file: Arc<dyn DiskFile>,
    block: usize,
    chunks: Vec<(u32, Rows)>,
    taken: usize,
}

impl PartScan {
    /// The id that `next` would yield.
    pub(crate) fn peek(&mut self) -> Result<Option<u32>, PartError> {
        while self.taken == self.chunks.len() {
            let Some(block) = self.part.blocks.get(self.block) else {
                return Ok(None);
            };
            let raw = self.part.read_block(&*self.file, block)?;
            let damaged = |e: Malformed| PartError::Damaged {
                offset: block.offset,
                expected: e.0,
            };
            let mut input = Input(&raw);
            self.chunks.clear();
            self.taken = 0;
            while !input.is_empty() {
                let packed = take_packed(&mut input).map_err(damaged)?;
                self.chunks
                    .push((packed.id, unpack(&packed).map_err(damaged)?));
            }
            self.block += 1;
        }
        Ok(self.chunks.get(self.taken).map(|(id, _)| *id))
    }

    pub(crate) fn next(&mut self) -> Result<Option<(u32, Rows)>, PartError> {
        let Some(id) = self.peek()? else {
            return Ok(None);
        };
        let mut rows = Rows::default();
        while self.peek()? == Some(id) {
            let chunk = std::mem::take(&mut self.chunks[self.taken].1);
            rows.overwrite_with(chunk);
            self.taken += 1;
        }
        Ok(Some((id, rows)))
    }
}
