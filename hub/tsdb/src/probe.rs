//! Ways in for fuzzing and for measuring (`examples/columns.rs`). No part of the crate's interface: anything here may change.

use std::{io, path::Path, sync::Arc};

use journal::Disk;
use roaring::RoaringBitmap;

use crate::{
    catalogue, chunk,
    codec::{Decoded, Input},
    columns::floats::{self, Form},
    compact,
    deletions::Deletions,
    exemplars, frame, manifest,
    part::{self, BlockCache, Part, PartMeta, PartWriter},
    rows::Rows,
    types::TimeRange,
};

/// Reads bytes as a block of a part; how many rows it has. Total, whatever the bytes are.
pub fn read_block(bytes: &[u8]) -> Option<usize> {
    let mut walk = part::block::BlockWalk::default();
    let mut rows = Rows::default();
    let mut read = || -> Decoded<usize> {
        walk.start(bytes)?;
        let mut count = 0;
        while walk.next(bytes)?.is_some() {
            rows.clear();
            walk.append_to(bytes, &mut rows)?;
            count += rows.len();
        }
        Ok(count)
    };
    read().ok()
}

/// Reads bytes as the index of a part whose blocks end at `blocks_end`; how many blocks. Total.
pub fn read_index(bytes: &[u8], blocks_end: u64) -> Option<usize> {
    part::probe_index(bytes, blocks_end).ok()
}

/// Reads bytes as a chunk of the log; how many rows. Total.
pub fn read_chunk(bytes: &[u8]) -> Option<usize> {
    chunk::decode(&mut Input(bytes)).ok().map(|rows| rows.len())
}

/// Reads bytes as a record of the log; how many things it says. Total.
pub fn read_record(bytes: &[u8]) -> Option<usize> {
    frame::decode(bytes).ok().map(|entries| entries.len())
}

/// Reads bytes as what stands behind the header of a manifest, whose checksum is made to fit; how many files it names.
/// Total.
pub fn read_manifest(content: &[u8]) -> Option<usize> {
    manifest::probe(content).ok()
}

/// Reads bytes as what stands behind the header of a segment of the catalogue, whose checksum is made to fit; how many
/// series. Total.
pub fn read_catalogue_segment(content: &[u8]) -> Option<u32> {
    catalogue::probe_segment(content).ok()
}

/// The same with the metadata of the catalogue; how many metrics.
pub fn read_metadata(content: &[u8]) -> Option<usize> {
    catalogue::probe_metadata(content).ok()
}

/// The same with the file of the exemplars; how many.
pub fn read_exemplars(content: &[u8]) -> Option<usize> {
    exemplars::bytes::probe(content).ok()
}

/// What a part is made of, to start fuzzing from.
pub struct Pieces {
    /// The blocks, decompressed.
    pub blocks: Vec<Vec<u8>>,
    /// The index.
    pub index: Vec<u8>,
    /// Where the blocks end.
    pub blocks_end: u64,
}

/// Takes a part apart that is not damaged.
pub fn pieces(disk: &Arc<dyn Disk>, path: &Path) -> Option<Pieces> {
    part::pieces(disk, path).ok()
}

/// A column of values as bytes.
#[derive(Default)]
pub struct EncodedColumn {
    heads: Vec<u8>,
    data: Vec<u8>,
    form: Option<Form>,
    scratch: floats::Scratch,
}

impl EncodedColumn {
    /// Encodes 1 to 4,096 values; bytes they take.
    pub fn encode(&mut self, values: &[f64]) -> usize {
        self.heads.clear();
        self.data.clear();
        self.form = Some(floats::put(
            &mut self.heads,
            &mut self.data,
            values,
            &mut self.scratch,
        ));
        self.heads.len() + self.data.len()
    }

    /// Decodes `count` values, as many as were encoded, to the end of `values`.
    pub fn decode(&self, count: usize, values: &mut Vec<f64>) -> bool {
        let (mut heads, mut data) = (Input(&self.heads), Input(&self.data));
        self.form
            .is_some_and(|form| floats::take(form, &mut heads, &mut data, count, values).is_ok())
    }
}

/// A part outside of any store.
pub struct LoosePart(Arc<Part>);

fn meta(number: u64) -> PartMeta {
    PartMeta {
        number,
        level: 0,
        partition: 0,
        seq_first: number,
        seq_last: number,
        first: 0,
        last: 0,
        rows: 0,
        bytes: 0,
        deletions: 0,
    }
}

/// Takes a series: id, times, values.
pub type AddColumns<'a> = dyn FnMut(u32, &[i64], &[f64]) -> io::Result<()> + 'a;

impl LoosePart {
    /// Writes a part of what `fill` gives, in the order of ids.
    ///
    /// # Errors
    /// The disk's.
    pub fn write(
        disk: &Arc<dyn Disk>,
        path: &Path,
        number: u64,
        fill: impl FnOnce(&mut AddColumns<'_>) -> io::Result<()>,
    ) -> io::Result<Self> {
        let mut writer = PartWriter::create(disk.clone(), path.to_owned(), meta(number))?;
        fill(&mut |id, times, values| writer.add_columns(id, times, values))?;
        Ok(Self(Arc::new(writer.finish()?)))
    }

    /// Merges parts, the oldest write first.
    ///
    /// # Errors
    /// The disk's.
    pub fn merge(
        inputs: &[Self],
        disk: &Arc<dyn Disk>,
        path: &Path,
        number: u64,
    ) -> io::Result<Self> {
        let inputs: Vec<Arc<Part>> = inputs.iter().map(|part| part.0.clone()).collect();
        let mut writer = PartWriter::create(disk.clone(), path.to_owned(), meta(number))?;
        compact::merge(&inputs, &Deletions::default(), |id, rows| {
            writer.add(id, rows)
        })
        .map_err(|_| io::Error::from(io::ErrorKind::InvalidData))?;
        Ok(Self(Arc::new(writer.finish()?)))
    }

    /// Opens a part that was written, with a cache of so many bytes.
    pub fn reopen(&self, disk: &Arc<dyn Disk>, cache_bytes: usize) -> Option<Self> {
        let (path, meta) = (self.0.path.clone(), self.0.meta.clone());
        let part = Part::open(disk.clone(), path, meta).ok()?;
        let cache = Arc::new(BlockCache::new(cache_bytes));
        Some(Self(Arc::new(part.cached(&cache))))
    }

    /// Bytes of the file.
    pub fn bytes(&self) -> u64 {
        self.0.meta.bytes
    }

    /// Rows it holds.
    pub fn rows(&self) -> u64 {
        self.0.meta.rows
    }

    /// Reads series; how many rows.
    pub fn read(&self, ids: impl IntoIterator<Item = u32>) -> Option<u64> {
        let wanted: RoaringBitmap = ids.into_iter().collect();
        let mut count = 0;
        let mut visit = |_, rows: &Rows| {
            count += rows.len() as u64;
            true
        };
        let read = self.0.read(&wanted, TimeRange::ALL, &mut visit);
        read.ok().map(|()| count)
    }
}
