use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

/// A service's data folder: made if it was missing, held by a lock for as long as this lives, and known to be
/// of a format that this build reads.
///
/// On disk: `LOCK` (locked, holds the owner's process id) and `FORMAT` (`branchline SERVICE VERSION`).
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    // The lock is the open file's: the kernel lets go of it however the process ends.
    _lock: File,
}

/// Why a data folder cannot be used.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum DataDirError {
    #[error(
        "data folder {path} is in use by another process ({owner}): stop that one, or choose another folder with --data-dir"
    )]
    Locked { path: String, owner: String },
    #[error(
        "data folder {path} cannot be made or written: {source}: check its owner and permissions, or choose another with --data-dir"
    )]
    NotWritable {
        path: String,
        source: std::io::Error,
    },
    #[error(
        "data folder {path} is on a file system mounted read-only: remount it, or choose another with --data-dir"
    )]
    ReadOnly { path: String },
    #[error(
        "no room to write in data folder {path}: free some space, or choose another with --data-dir"
    )]
    Full { path: String },
    #[error(
        "data folder {path} has format {found:?}, this build of {service} reads {expected:?}: run the release that wrote it, or choose another folder with --data-dir"
    )]
    OtherFormat {
        path: String,
        service: String,
        found: String,
        expected: String,
    },
}

impl DataDir {
    /// Makes, locks and checks the folder `path` of `service`, whose data has format `version`.
    ///
    /// # Errors
    /// See [`DataDirError`]; each says the way out.
    pub fn open(path: &Path, service: &str, version: u32) -> Result<Self, DataDirError> {
        let failed = |source| io_error(path, source);
        fs::create_dir_all(path).map_err(failed)?;
        let lock_path = path.join("LOCK");
        let mut lock = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&lock_path)
            .map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(fs::TryLockError::WouldBlock) => {
                let mut owner = String::new();
                let _ = lock.read_to_string(&mut owner);
                let owner = match owner.trim() {
                    "" => "its process id is not known".to_owned(),
                    id => format!("process {id}"),
                };
                return Err(DataDirError::Locked {
                    path: path.display().to_string(),
                    owner,
                });
            }
            Err(fs::TryLockError::Error(source)) => return Err(failed(source)),
        }
        lock.set_len(0)
            .and_then(|()| lock.seek(SeekFrom::Start(0)))
            .map_err(failed)?;
        writeln!(lock, "{}", std::process::id())
            .and_then(|()| lock.sync_all())
            .map_err(failed)?;
        check_format(path, service, version)?;
        Ok(DataDir {
            path: path.to_owned(),
            _lock: lock,
        })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

fn check_format(path: &Path, service: &str, version: u32) -> Result<(), DataDirError> {
    let failed = |source| io_error(path, source);
    let file = path.join("FORMAT");
    let expected = format!("branchline {service} {version}");
    match fs::read_to_string(&file) {
        Ok(found) if found.trim() == expected => Ok(()),
        Ok(found) => Err(DataDirError::OtherFormat {
            path: path.display().to_string(),
            service: service.to_owned(),
            found: found.trim().to_owned(),
            expected,
        }),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let mut new = File::create(&file).map_err(failed)?;
            writeln!(new, "{expected}")
                .and_then(|()| new.sync_all())
                .map_err(failed)?;
            File::open(path)
                .and_then(|folder| folder.sync_all())
                .map_err(failed)
        }
        Err(error) => Err(failed(error)),
    }
}

fn io_error(path: &Path, source: std::io::Error) -> DataDirError {
    let path = path.display().to_string();
    match source.kind() {
        ErrorKind::ReadOnlyFilesystem => DataDirError::ReadOnly { path },
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => DataDirError::Full { path },
        _ => DataDirError::NotWritable { path, source },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_owner_at_a_time() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("a/b");
        let first = DataDir::open(&path, "hub", 1).unwrap();
        let second = DataDir::open(&path, "hub", 1).unwrap_err().to_string();
        assert!(
            second.contains(&format!("process {}", std::process::id())),
            "{second}"
        );
        assert!(second.contains("--data-dir"), "{second}");
        drop(first);
        DataDir::open(&path, "hub", 1).unwrap();
    }

    #[test]
    fn other_formats_are_refused() {
        let temp = tempfile::tempdir().unwrap();
        drop(DataDir::open(temp.path(), "hub", 1).unwrap());
        let other = DataDir::open(temp.path(), "edge-scraper", 1)
            .unwrap_err()
            .to_string();
        assert!(
            other.contains("branchline hub 1") && other.contains("branchline edge-scraper 1"),
            "{other}"
        );
        let newer = DataDir::open(temp.path(), "hub", 2)
            .unwrap_err()
            .to_string();
        assert!(newer.contains("run the release that wrote it"), "{newer}");
    }

    #[test]
    fn a_file_in_the_way_is_said() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("file");
        fs::write(&path, "x").unwrap();
        let error = DataDir::open(&path, "hub", 1).unwrap_err().to_string();
        assert!(error.contains("cannot be made or written"), "{error}");
    }
}
