//! What the engines ask of a file system, and the real one.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::FileExt as _,
    path::Path,
    sync::Arc,
};

/// A file system. Paths are used as given; a path's parent must exist ([`Disk::create_dir_all`]).
///
/// Nothing is durable until synced: bytes by [`DiskFile::sync`], the names in a folder (created, renamed, removed) by
/// [`Disk::sync_dir`]. Errors are the system's; a full disk is `io::ErrorKind::StorageFull` (see [`is_disk_full`]).
pub trait Disk: Send + Sync + 'static {
    /// Opens an existing file for reading and appending.
    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>>;
    /// Creates an empty file, or empties the one that is there, and opens it.
    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>>;
    /// Creates a folder and its parents. Durable when it returns.
    fn create_dir_all(&self, path: &Path) -> io::Result<()>;
    /// Names of the files in a folder (no folders), sorted.
    fn list(&self, dir: &Path) -> io::Result<Vec<String>>;
    /// Removes a file. Open handles stay readable.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Renames a file within its folder, atomically replacing what has the new name.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Gives a file a second name, in any folder of its file system, that is not taken. `CrossesDevices`, `Unsupported`
    /// or `PermissionDenied` where that cannot be.
    fn link(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Renames a folder within its parent, to a name that is not taken. Durable once the parent is synced.
    fn rename_dir(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a folder and all that is in it. An interruption may leave a part of it.
    fn remove_dir_all(&self, path: &Path) -> io::Result<()>;
    /// Names of the folders in a folder, sorted.
    fn list_dirs(&self, dir: &Path) -> io::Result<Vec<String>>;
    /// Makes the names in a folder durable.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;
    /// Bytes that an ordinary process may still write to the disk of `path`.
    fn free_bytes(&self, path: &Path) -> io::Result<u64>;
    /// Takes an exclusive lock on a file, which is created when absent and not removed afterwards. Held until the
    /// value is dropped or the process ends. `io::ErrorKind::WouldBlock` when someone else holds it.
    fn lock(&self, path: &Path) -> io::Result<Box<dyn DiskLock>>;
}

/// An open file. All methods may be called from any thread.
pub trait DiskFile: Send + Sync {
    /// Writes all bytes at the end. After an error an unknown part of them may be there.
    fn append(&self, bytes: &[u8]) -> io::Result<()>;
    /// Reads up to `buffer.len()` bytes at `offset`; 0 means end of file.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;
    /// Size in bytes.
    fn size(&self) -> io::Result<u64>;
    /// Cuts the file to `size` bytes.
    fn truncate(&self, size: u64) -> io::Result<()>;
    /// Makes all bytes written so far durable (fdatasync).
    fn sync(&self) -> io::Result<()>;
}

/// A held lock; released when dropped.
pub trait DiskLock: Send + Sync {}

/// Bytes that are written to a large file before it is synced. An fsync of another file waits for all that is dirty in new blocks, as ext4
/// keeps its order: so that appends to a log stay quick while a part of many megabytes is written beside it.
pub const DIRTY_BYTES_MAX: usize = 1 << 20;

/// Whether an error says that there is no room left (disk full or quota used up).
pub fn is_disk_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    )
}

/// Fills `buffer` from `offset`, or fails with `UnexpectedEof`.
pub fn read_exact_at(
    file: &dyn DiskFile,
    mut buffer: &mut [u8],
    mut offset: u64,
) -> io::Result<()> {
    while !buffer.is_empty() {
        let read = file.read_at(buffer, offset)?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        buffer = &mut buffer[read..];
        offset += read as u64;
    }
    Ok(())
}

/// Reads a whole file. `limit` bounds the memory: a larger file is `FileTooLarge`.
pub fn read_file(disk: &dyn Disk, path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    let file = disk.open(path)?;
    let size = file.size()?;
    if size > limit {
        return Err(io::Error::new(
            io::ErrorKind::FileTooLarge,
            format!("{size} bytes, expected at most {limit}"),
        ));
    }
    let mut bytes = vec![0; size as usize];
    read_exact_at(&*file, &mut bytes, 0)?;
    Ok(bytes)
}

/// Replaces a small file so that after a crash either the old or the new content is there, whole. Durable when it
/// returns. Uses `<path>.tmp` beside it; a leftover of that name is overwritten.
pub fn write_atomic(disk: &dyn Disk, path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".tmp");
    let temporary = Path::new(&temporary);
    let file = disk.create(temporary)?;
    for piece in bytes.chunks(DIRTY_BYTES_MAX) {
        file.append(piece)?;
        file.sync()?;
    }
    if bytes.is_empty() {
        file.sync()?;
    }
    disk.rename(temporary, path)?;
    match path.parent() {
        Some(dir) => disk.sync_dir(dir),
        None => Ok(()),
    }
}

/// The operating system's file system.
#[derive(Debug, Clone, Copy, Default)]
pub struct RealDisk;

struct RealFile(File);

struct RealLock {
    _file: File,
}

impl DiskLock for RealLock {}

impl Disk for RealDisk {
    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let file = match OpenOptions::new().read(true).append(true).open(path) {
            // A read-only disk or file can still be read; an append will say what is wrong.
            Err(e)
                if matches!(
                    e.kind(),
                    io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::PermissionDenied
                ) =>
            {
                File::open(path)?
            }
            other => other?,
        };
        Ok(Arc::new(RealFile(file)))
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        // `append` and `truncate` cannot be asked for together.
        OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .open(path)?;
        self.open(path)
    }

    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        if path.is_dir() {
            return Ok(());
        }
        let parent = path
            .parent()
            .filter(|parent| !parent.as_os_str().is_empty());
        if let Some(parent) = parent {
            self.create_dir_all(parent)?;
        }
        match fs::create_dir(path) {
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => {}
            other => other?,
        }
        self.sync_dir(parent.unwrap_or(Path::new(".")))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        names_in(dir, false)
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::hard_link(from, to)
    }

    fn rename_dir(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove_dir_all(&self, path: &Path) -> io::Result<()> {
        fs::remove_dir_all(path)
    }

    fn list_dirs(&self, dir: &Path) -> io::Result<Vec<String>> {
        names_in(dir, true)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let dir = if dir.as_os_str().is_empty() {
            Path::new(".")
        } else {
            dir
        };
        File::open(dir)?.sync_all()
    }

    fn free_bytes(&self, path: &Path) -> io::Result<u64> {
        let stats = rustix::fs::statvfs(path)?;
        Ok(stats.f_bavail.saturating_mul(stats.f_frsize))
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn DiskLock>> {
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)?;
        match file.try_lock() {
            Ok(()) => Ok(Box::new(RealLock { _file: file })),
            Err(fs::TryLockError::WouldBlock) => Err(io::ErrorKind::WouldBlock.into()),
            Err(fs::TryLockError::Error(e)) => Err(e),
        }
    }
}

/// Names of the folders, or of all else, in a folder.
fn names_in(dir: &Path, folders: bool) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() == folders {
            // A name that is not UTF-8 is none of ours.
            names.extend(entry.file_name().into_string().ok());
        }
    }
    names.sort();
    Ok(names)
}

impl DiskFile for RealFile {
    fn append(&self, bytes: &[u8]) -> io::Result<()> {
        (&self.0).write_all(bytes)
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        loop {
            match self.0.read_at(buffer, offset) {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                other => return other,
            }
        }
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn truncate(&self, size: u64) -> io::Result<()> {
        self.0.set_len(size)
    }

    fn sync(&self) -> io::Result<()> {
        self.0.sync_data()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::SimDisk;

    fn check(disk: &dyn Disk, dir: &Path) {
        let dir = dir.join("a/b");
        disk.create_dir_all(&dir).unwrap();
        disk.create_dir_all(&dir).unwrap();
        let path = dir.join("f");
        let file = disk.create(&path).unwrap();
        file.append(b"hello ").unwrap();
        file.append(b"world").unwrap();
        file.sync().unwrap();
        assert_eq!(read_file(disk, &path, 100).unwrap(), b"hello world");
        assert_eq!(
            read_file(disk, &path, 5).unwrap_err().kind(),
            io::ErrorKind::FileTooLarge
        );
        file.truncate(5).unwrap();
        file.append(b"!").unwrap();
        assert_eq!(file.size().unwrap(), 6);
        let mut buffer = [0; 3];
        read_exact_at(&*file, &mut buffer, 3).unwrap();
        assert_eq!(&buffer, b"lo!");
        assert_eq!(file.read_at(&mut buffer, 6).unwrap(), 0);
        assert_eq!(
            read_exact_at(&*file, &mut buffer, 4).unwrap_err().kind(),
            io::ErrorKind::UnexpectedEof
        );
        write_atomic(disk, &dir.join("small"), b"one").unwrap();
        write_atomic(disk, &dir.join("small"), b"two").unwrap();
        assert_eq!(read_file(disk, &dir.join("small"), 100).unwrap(), b"two");
        assert_eq!(disk.list(&dir).unwrap(), ["f", "small"]);
        disk.rename(&path, &dir.join("g")).unwrap();
        assert_eq!(
            disk.open(&path).err().unwrap().kind(),
            io::ErrorKind::NotFound
        );
        disk.remove(&dir.join("g")).unwrap();
        assert_eq!(disk.list(&dir).unwrap(), ["small"]);
        disk.sync_dir(&dir).unwrap();
        assert_eq!(
            file.read_at(&mut buffer, 0).unwrap(),
            3,
            "a removed file stays readable through its handle"
        );
        assert!(disk.free_bytes(&dir).unwrap() > 0);
        let (other, renamed) = (dir.join("other.tmp"), dir.join("other"));
        disk.create_dir_all(&other.join("inner")).unwrap();
        disk.link(&dir.join("small"), &other.join("inner/second"))
            .unwrap();
        assert_eq!(
            disk.link(&dir.join("small"), &other.join("inner/second"))
                .unwrap_err()
                .kind(),
            io::ErrorKind::AlreadyExists
        );
        disk.remove(&dir.join("small")).unwrap();
        assert_eq!(disk.list_dirs(&dir).unwrap(), ["other.tmp"]);
        disk.rename_dir(&other, &renamed).unwrap();
        assert_eq!(
            read_file(disk, &renamed.join("inner/second"), 100).unwrap(),
            b"two"
        );
        assert_eq!(disk.list_dirs(&dir).unwrap(), ["other"]);
        disk.remove_dir_all(&renamed).unwrap();
        assert_eq!(disk.list_dirs(&dir).unwrap(), [""; 0]);
        assert!(disk.open(&renamed.join("inner/second")).is_err());
        let lock = disk.lock(&dir.join("lock")).unwrap();
        assert_eq!(
            disk.lock(&dir.join("lock")).err().unwrap().kind(),
            io::ErrorKind::WouldBlock
        );
        drop(lock);
        disk.lock(&dir.join("lock")).unwrap();
    }

    #[test]
    fn real_and_simulated_disk_behave_alike() {
        let dir = tempfile::tempdir().unwrap();
        check(&RealDisk, dir.path());
        check(&SimDisk::new(1), Path::new("/sim"));
    }
}
