//! A file that is written as a whole: a header that checks it, and, where that pays, a compressed body (drawn in `FORMAT.md`).
//!
//! Reading is total: whatever the bytes, an answer or [`Malformed`]. Memory is bounded: what is compressed may be at
//! most [`PACKED_FACTOR`] times the file's size (and 64 KiB). A writer whose text shrinks more than that writes it
//! uncompressed.

use std::path::Path;

use journal::Disk;

use crate::{
    codec::{Decoded, Input, Malformed, put_varint},
    error::StoreError,
};

const VERSION: u32 = 1;
const DAMAGED: &str = ".damaged";
const HEADER_BYTES: usize = 16;
const ZSTD_LEVEL: i32 = 1;
/// Fewer bytes are not worth it.
const PACK_FROM: usize = 512;
const PACKED_FACTOR: usize = 16;
const PACKED_FREE: usize = 64 << 10;

/// A header of 16 bytes and what it checks.
pub(crate) fn sealed(magic: [u8; 8], content: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEADER_BYTES + content.len());
    bytes.extend_from_slice(&magic);
    bytes.extend_from_slice(&VERSION.to_le_bytes());
    let checksum = crc32c::crc32c_append(crc32c::crc32c(&bytes), content);
    bytes.extend_from_slice(&checksum.to_le_bytes());
    bytes.extend_from_slice(content);
    bytes
}

fn checksum_passes(bytes: &[u8]) -> bool {
    let mut input = Input(bytes);
    let (Ok(head), Ok(checksum)) = (input.take(HEADER_BYTES - 4), input.u32()) else {
        return false;
    };
    crc32c::crc32c_append(crc32c::crc32c(head), input.0) == checksum
}

/// What stands behind a header, checked.
pub(crate) fn open_sealed(magic: [u8; 8], bytes: &[u8]) -> Decoded<Input<'_>> {
    let mut input = Input(bytes);
    if input.take(8)? != magic {
        return Err(Malformed("the magic of such a file"));
    }
    if !checksum_passes(bytes) {
        return Err(Malformed("a file that passes its checksum"));
    }
    if input.u32()? != VERSION {
        return Err(Malformed("version 1"));
    }
    input.u32()?;
    Ok(input)
}

/// The version of a whole file, if it is another one. All versions have version and checksum at this place.
fn other_version(bytes: &[u8]) -> Option<u32> {
    let version = Input(bytes.get(8..)?).u32().ok()?;
    (version != VERSION && checksum_passes(bytes)).then_some(version)
}

/// Writes `body` to the end of `out`: compressed, if the reader may unpack that much.
pub(crate) fn pack(out: &mut Vec<u8>, body: &[u8]) {
    put_varint(out, body.len() as u64);
    if body.len() >= PACK_FROM {
        let packed = zstd::bulk::compress(body, ZSTD_LEVEL).unwrap_or_default();
        let size = HEADER_BYTES + out.len() + packed.len();
        let readable = body.len() <= size * PACKED_FACTOR + PACKED_FREE;
        if readable && !packed.is_empty() && packed.len() < body.len() {
            out.extend_from_slice(&packed);
            return;
        }
    }
    out.extend_from_slice(body);
}

/// Reads what [`pack`] wrote, up to the end of a file of `file_bytes`.
pub(crate) fn unpack(mut input: Input<'_>, file_bytes: usize) -> Decoded<Vec<u8>> {
    let len = input.varint()?;
    let stored = input.0;
    if len == stored.len() as u64 {
        return Ok(stored.to_vec());
    }
    if len > (file_bytes * PACKED_FACTOR + PACKED_FREE) as u64 {
        return Err(Malformed("fewer bytes unpacked"));
    }
    let body = zstd::bulk::decompress(stored, len as usize);
    match body {
        Ok(body) if body.len() as u64 == len => Ok(body),
        _ => Err(Malformed("a zstd frame of the length that is said")),
    }
}

/// Refuses a whole file of another version.
pub(crate) fn check_version(path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
    match other_version(bytes) {
        None => Ok(()),
        Some(found) => Err(StoreError::UnknownVersion {
            path: path.to_owned(),
            found: found.to_string(),
            expected: VERSION,
        }),
    }
}

/// Keeps a damaged file for whoever wants to look at it; what to say of that.
pub(crate) fn set_aside(disk: &dyn Disk, dir: &Path, name: &str) -> String {
    let aside = format!("{name}{DAMAGED}");
    let moved = disk.rename(&dir.join(name), &dir.join(&aside));
    match moved.and_then(|()| disk.sync_dir(dir)) {
        Ok(()) => format!("; it is set aside as {aside}"),
        Err(_) => String::new(),
    }
}
