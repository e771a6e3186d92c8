//! One kept file: a checksummed whole, replaced at once or not at all, readable by its owner only.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// What a file begins with; the number is the version of the form.
const MAGIC: &[u8; 8] = b"BLKEPT1\n";
/// Magic, checksum, length.
const HEADER_BYTES: usize = 8 + 4 + 8;
/// Longer content is not kept and not read.
pub(super) const BYTES_MAX: usize = 256 << 20;

/// Why a kept file cannot be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum KeptError {
    #[error("{path}: {source}")]
    Io {
        path: String,
        source: std::io::Error,
    },
    #[error(
        "{path}: {what}: the file is damaged, or of another version; it is replaced with the next thing to keep"
    )]
    Damaged { path: String, what: &'static str },
    #[error("{path}: {bytes} bytes are too many to keep: at most {BYTES_MAX}")]
    TooLong { path: String, bytes: usize },
}

/// Puts the content in the file's place: written beside it, synced, renamed.
///
/// # Errors
/// The disk's; the file is then what it was.
pub(super) fn write(path: &Path, content: &[u8]) -> Result<(), KeptError> {
    let failed = |source| KeptError::Io {
        path: path.display().to_string(),
        source,
    };
    if content.len() > BYTES_MAX {
        return Err(KeptError::TooLong {
            path: path.display().to_string(),
            bytes: content.len(),
        });
    }
    let beside = path.with_extension("new");
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    let mut file = options.open(&beside).map_err(failed)?;
    let mut header = Vec::with_capacity(HEADER_BYTES);
    header.extend_from_slice(MAGIC);
    header.extend_from_slice(&crc32c::crc32c(content).to_le_bytes());
    header.extend_from_slice(&(content.len() as u64).to_le_bytes());
    file.write_all(&header)
        .and_then(|()| file.write_all(content))
        .and_then(|()| file.sync_all())
        .and_then(|()| std::fs::rename(&beside, path))
        .and_then(|()| match path.parent() {
            // The new name is durable once the folder is.
            Some(folder) => File::open(folder)?.sync_all(),
            None => Ok(()),
        })
        .map_err(failed)
}

/// The content; None if there is no such file.
///
/// # Errors
/// It cannot be read, or is not what was written.
pub(super) fn read(path: &Path) -> Result<Option<Vec<u8>>, KeptError> {
    let failed = |source| KeptError::Io {
        path: path.display().to_string(),
        source,
    };
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    let mut bytes = Vec::new();
    file.take((HEADER_BYTES + BYTES_MAX) as u64)
        .read_to_end(&mut bytes)
        .map_err(failed)?;
    let damaged = |what| KeptError::Damaged {
        path: path.display().to_string(),
        what,
    };
    let Some((header, content)) = bytes.split_first_chunk::<HEADER_BYTES>() else {
        return Err(damaged("shorter than its header"));
    };
    if header[..8] != *MAGIC {
        return Err(damaged("no kept file"));
    }
    let (mut sum, mut length) = ([0; 4], [0; 8]);
    sum.copy_from_slice(&header[8..12]);
    length.copy_from_slice(&header[12..20]);
    if u64::from_le_bytes(length) != content.len() as u64 {
        return Err(damaged("not as long as its header says"));
    }
    if u32::from_le_bytes(sum) != crc32c::crc32c(content) {
        return Err(damaged("its checksum does not fit"));
    }
    Ok(Some(bytes.split_off(HEADER_BYTES)))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn what_was_written_is_read_and_damage_is_seen() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        assert!(read(&path).unwrap().is_none());
        for content in [&b"one"[..], b"", b"longer than before"] {
            write(&path, content).unwrap();
            assert_eq!(read(&path).unwrap().as_deref(), Some(content));
        }
        assert_eq!(
            std::fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
        let good = std::fs::read(&path).unwrap();
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 1;
            std::fs::write(&path, &bad).unwrap();
            assert!(read(&path).is_err(), "byte {at}");
            std::fs::write(&path, &good[..at]).unwrap();
            assert!(read(&path).is_err(), "{at} bytes");
        }
        std::fs::write(&path, [&good[..], b"x"].concat()).unwrap();
        assert!(read(&path).is_err());
    }
}
