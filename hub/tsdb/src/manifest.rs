//! The one small file that says what belongs to the store: replaced as a whole, so a crash leaves the old or the new
//! state, never a mixture (drawn in `FORMAT.md`). Whatever it does not name is left over, and is removed.

use std::path::Path;

use journal::{Disk, read_file, write_atomic};

use crate::{
    catalogue::SegmentMeta,
    codec::{Decoded, Input, Malformed, put_bytes, put_varint, put_zigzag},
    deletions::Deletions,
    error::StoreError,
    part::PartMeta,
};

pub(crate) const FILE: &str = "MANIFEST";
const TEMPORARY_FILE: &str = "MANIFEST.tmp";
pub(crate) const FORMAT_FILE: &str = "FORMAT";
pub(crate) const VERSION: u32 = 1;
const FORMAT_PREFIX: &str = "branchline store ";
const MAGIC: [u8; 8] = *b"BRLSTOR\n";
/// Far more than a manifest of 100,000 parts.
const BYTES_MAX: u64 = 64 << 20;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Manifest {
    /// Secret of the series hash.
    pub(crate) hash_key: [u8; 16],
    /// Width of a partition in ms.
    pub(crate) partition_ms: i64,
    /// Log records up to here are in parts.
    pub(crate) sealed_through: u64,
    /// The next part gets this number.
    pub(crate) next_part: u64,
    /// The next series gets at least this id.
    pub(crate) next_series: u32,
    /// Files of the catalogue, by number.
    pub(crate) catalogue: Vec<SegmentMeta>,
    /// In order of (partition, write sequence).
    pub(crate) parts: Vec<PartMeta>,
    /// Parts set aside, and why.
    pub(crate) quarantined: Vec<(PartMeta, String)>,
    pub(crate) deletions: Deletions,
}

impl Manifest {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut body = Vec::new();
        body.extend_from_slice(&self.hash_key);
        for number in [
            self.partition_ms as u64,
            self.sealed_through,
            self.next_part,
            u64::from(self.next_series),
        ] {
            put_varint(&mut body, number);
        }
        put_varint(&mut body, self.catalogue.len() as u64);
        self.catalogue
            .iter()
            .for_each(|segment| segment.put(&mut body));
        put_varint(&mut body, self.parts.len() as u64);
        for part in &self.parts {
            put_part(&mut body, part);
        }
        put_varint(&mut body, self.quarantined.len() as u64);
        for (part, reason) in &self.quarantined {
            put_part(&mut body, part);
            put_bytes(&mut body, reason.as_bytes());
        }
        self.deletions.put(&mut body);
        sealed(&body)
    }

    fn decode(bytes: &[u8]) -> Decoded<Self> {
        let mut input = Input(bytes);
        if input.take(8)? != MAGIC {
            return Err(Malformed("the magic of a manifest"));
        }
        // The FORMAT file has already refused other versions.
        if input.u32()? != VERSION {
            return Err(Malformed("manifest version 1"));
        }
        if input.u32()? != crc32c::crc32c(input.0) {
            return Err(Malformed("a manifest that passes its checksum"));
        }
        let mut manifest = Self {
            hash_key: input.u128()?.to_le_bytes(),
            partition_ms: input.varint()? as i64,
            sealed_through: input.varint()?,
            next_part: input.varint()?,
            next_series: input.varint_u32()?,
            catalogue: Vec::new(),
            parts: Vec::new(),
            quarantined: Vec::new(),
            deletions: Deletions::default(),
        };
        for _ in 0..input.count()? {
            manifest.catalogue.push(SegmentMeta::take(&mut input)?);
        }
        for _ in 0..input.count()? {
            manifest.parts.push(take_part(&mut input)?);
        }
        for _ in 0..input.count()? {
            manifest
                .quarantined
                .push((take_part(&mut input)?, input.str()?.to_owned()));
        }
        manifest.deletions = Deletions::take(&mut input)?;
        Ok(manifest)
    }

    /// `None` when there is none: the folder is new.
    pub(crate) fn load(disk: &dyn Disk, dir: &Path) -> Result<Option<Self>, StoreError> {
        let path = dir.join(FILE);
        let bytes = match read_file(disk, &path, BYTES_MAX) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            other => other.map_err(|e| StoreError::io("reading", &path, e))?,
        };
        let damaged = |e: Malformed| StoreError::Damaged {
            path,
            offset: 0,
            expected: e.0,
        };
        Self::decode(&bytes).map(Some).map_err(damaged)
    }

    pub(crate) fn save(&self, disk: &dyn Disk, dir: &Path) -> Result<(), SaveError> {
        let (path, temporary) = (dir.join(FILE), dir.join(TEMPORARY_FILE));
        let write = || {
            let file = disk.create(&temporary)?;
            file.append(&self.encode())?;
            file.sync()
        };
        write().map_err(|e| SaveError {
            error: StoreError::io("writing", &temporary, e),
            ambiguous: false,
        })?;
        let replace = || {
            disk.rename(&temporary, &path)
                .and_then(|()| disk.sync_dir(dir))
        };
        replace().map_err(|e| SaveError {
            error: StoreError::io("replacing", &path, e),
            ambiguous: true,
        })
    }
}

/// For fuzzing: how many files a manifest names that says `body`.
pub(crate) fn probe(body: &[u8]) -> Decoded<usize> {
    let manifest = Manifest::decode(&sealed(body))?;
    Ok(manifest.catalogue.len() + manifest.parts.len() + manifest.quarantined.len())
}

/// A header and what it checks.
fn sealed(body: &[u8]) -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    bytes.extend_from_slice(&VERSION.to_le_bytes());
    bytes.extend_from_slice(&crc32c::crc32c(body).to_le_bytes());
    bytes.extend_from_slice(body);
    bytes
}

/// Why a manifest was not saved.
pub(crate) struct SaveError {
    pub(crate) error: StoreError,
    /// Whether the old or the new one will be found after a restart is unknown: what either names must stay.
    pub(crate) ambiguous: bool,
}

/// Refuses a folder of another format; marks a new one.
pub(crate) fn check_format(disk: &dyn Disk, dir: &Path) -> Result<(), StoreError> {
    let path = dir.join(FORMAT_FILE);
    let ours = format!("{FORMAT_PREFIX}{VERSION}\n");
    match read_file(disk, &path, 1024) {
        Ok(bytes) if bytes == ours.as_bytes() => Ok(()),
        Ok(bytes) => {
            let found = String::from_utf8_lossy(&bytes).trim().to_owned();
            Err(StoreError::UnknownVersion {
                path,
                found,
                expected: VERSION,
            })
        }
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            if Manifest::load(disk, dir)?.is_some() {
                return Err(StoreError::UnknownVersion {
                    path,
                    found: "none".to_owned(),
                    expected: VERSION,
                });
            }
            mark_format(disk, dir)
        }
        Err(e) => Err(StoreError::io("reading", &path, e)),
    }
}

/// Says which format a folder has. Durable when it returns.
pub(crate) fn mark_format(disk: &dyn Disk, dir: &Path) -> Result<(), StoreError> {
    let path = dir.join(FORMAT_FILE);
    let ours = format!("{FORMAT_PREFIX}{VERSION}\n");
    write_atomic(disk, &path, ours.as_bytes()).map_err(|e| StoreError::io("writing", &path, e))
}

fn put_part(out: &mut Vec<u8>, part: &PartMeta) {
    put_varint(out, part.number);
    out.push(part.level);
    put_zigzag(out, part.partition);
    put_varint(out, part.seq_first);
    put_varint(out, part.seq_last);
    put_zigzag(out, part.first);
    put_zigzag(out, part.last);
    put_varint(out, part.rows);
    put_varint(out, part.bytes);
    put_varint(out, part.deletions);
}

fn take_part(input: &mut Input<'_>) -> Decoded<PartMeta> {
    Ok(PartMeta {
        number: input.varint()?,
        level: input.u8()?,
        partition: input.zigzag()?,
        seq_first: input.varint()?,
        seq_last: input.varint()?,
        first: input.zigzag()?,
        last: input.zigzag()?,
        rows: input.varint()?,
        bytes: input.varint()?,
        deletions: input.varint()?,
    })
}

#[cfg(test)]
mod tests {
    use journal::sim::SimDisk;
    use model::Timestamp;

    use super::*;
    use crate::types::TimeRange;

    fn part(number: u64) -> PartMeta {
        PartMeta {
            number,
            level: 2,
            partition: -3,
            seq_first: 4,
            seq_last: 900,
            first: -7,
            last: 8,
            rows: 9,
            bytes: 10,
            deletions: 4,
        }
    }

    #[test]
    fn manifest_is_read_back_and_damage_is_refused() {
        let mut deletions = Deletions::default();
        for series in [1..3, 7..9] {
            let range = TimeRange::new(Timestamp::MIN, Timestamp::from_millis(series.start.into()));
            deletions.add(range, series.collect(), [].iter());
        }
        assert_eq!(deletions.tombstones.len(), 2);
        let manifest = Manifest {
            hash_key: *b"0123456789abcdef",
            partition_ms: 86_400_000,
            sealed_through: 5,
            next_part: 7,
            next_series: u32::MAX,
            catalogue: vec![SegmentMeta {
                number: 3,
                series: 65_536,
                lost: 1,
            }],
            parts: vec![part(1), part(2)],
            quarantined: vec![(part(3), "because".to_owned())],
            deletions,
        };
        let disk = SimDisk::new(1);
        let dir = Path::new("/s");
        disk.create_dir_all(dir).unwrap();
        assert!(Manifest::load(&disk, dir).unwrap().is_none());
        assert!(manifest.save(&disk, dir).is_ok());
        assert_eq!(Manifest::load(&disk, dir).unwrap(), Some(manifest.clone()));
        for bit in 0..manifest.encode().len() as u64 * 8 {
            disk.flip_bit(&dir.join(FILE), bit).unwrap();
            let error = Manifest::load(&disk, dir).unwrap_err();
            assert!(
                matches!(error, StoreError::Damaged { .. }),
                "bit {bit}: {error}"
            );
            disk.flip_bit(&dir.join(FILE), bit).unwrap();
        }
    }

    #[test]
    fn another_format_is_refused_with_the_way_out() {
        let disk = SimDisk::new(1);
        let dir = Path::new("/s");
        disk.create_dir_all(dir).unwrap();
        check_format(&disk, dir).unwrap();
        check_format(&disk, dir).unwrap();
        write_atomic(&disk, &dir.join(FORMAT_FILE), b"branchline store 7\n").unwrap();
        assert_eq!(
            check_format(&disk, dir).unwrap_err().to_string(),
            "/s/FORMAT has store format branchline store 7, this release reads format 1; use the release that wrote it, \
             or start with an empty folder"
        );
    }
}
