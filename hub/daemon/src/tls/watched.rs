//! Something made from files, made again when one of them changes: certificates are renewed while a process runs.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// A file of certificates or of users that is larger than this is surely none.
const FILE_BYTES_MAX: u64 = 4 << 20;

/// What tells that a file is another one than last time: where it is, how long, and when it was written or replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    bytes: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    /// None: there is no file.
    fn of(path: &Path) -> Option<Stamp> {
        let found = std::fs::metadata(path).ok()?;
        Some(Stamp {
            device: found.dev(),
            inode: found.ino(),
            bytes: found.size(),
            modified: (found.mtime(), found.mtime_nsec()),
            changed: (found.ctime(), found.ctime_nsec()),
        })
    }
}

/// Reads files and remembers which, and what they were like just before.
#[derive(Debug, Default)]
pub(crate) struct Reader {
    seen: Vec<(PathBuf, Option<Stamp>)>,
}

impl Reader {
    pub(crate) fn read(&mut self, path: &Path) -> std::io::Result<Vec<u8>> {
        self.seen.push((path.to_owned(), Stamp::of(path)));
        let bytes = std::fs::metadata(path)?.len();
        if bytes > FILE_BYTES_MAX {
            let text = format!("{bytes} bytes, at most {FILE_BYTES_MAX} are read");
            return Err(std::io::Error::other(text));
        }
        std::fs::read(path)
    }

    fn anything_changed(&self) -> bool {
        let mut seen = self.seen.iter();
        seen.any(|(path, stamp)| Stamp::of(path) != *stamp)
    }
}

type Make<T> = Box<dyn Fn(&mut Reader) -> Result<T, String> + Send + Sync>;

/// A value made from files. While files are wrong, the last good value stays and the log says why.
pub(crate) struct Watched<T> {
    name: String,
    make: Make<T>,
    state: Mutex<State<T>>,
}

struct State<T> {
    current: Arc<T>,
    files: Reader,
    /// Whether the last attempt worked.
    good: bool,
}

impl<T> Watched<T> {
    /// Makes it for the first time; `name` is what logs call it.
    pub(crate) fn new<E: ToString>(
        name: impl Into<String>,
        make: impl Fn(&mut Reader) -> Result<T, E> + Send + Sync + 'static,
    ) -> Result<Self, E> {
        let mut files = Reader::default();
        let current = Arc::new(make(&mut files)?);
        Ok(Watched {
            name: name.into(),
            make: Box::new(move |files| make(files).map_err(|error| error.to_string())),
            state: Mutex::new(State {
                current,
                files,
                good: true,
            }),
        })
    }

    /// It as it is now. Looking whether files have changed takes microseconds; a change is read at once, on the calling
    /// thread, which takes about a millisecond and happens when somebody renews a certificate.
    pub(crate) fn current(&self) -> Arc<T> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.files.anything_changed() {
            let mut files = Reader::default();
            let made = (self.make)(&mut files);
            state.files = files;
            state.good = made.is_ok();
            match made {
                Ok(made) => {
                    state.current = Arc::new(made);
                    tracing::info!("{}: read again after a change", self.name);
                }
                Err(error) => {
                    tracing::error!(
                        "{}: what was read before stays in force: {error}",
                        self.name
                    );
                }
            }
        }
        state.current.clone()
    }

    /// Whether what is in force is what the files say.
    pub(crate) fn is_good(&self) -> bool {
        self.state
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .good
    }
}

impl<T> std::fmt::Debug for Watched<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_seen_and_a_fault_changes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("number");
        let write = |text: &str| {
            // As certificates are renewed: a new file is put in the place of the old one.
            std::fs::write(path.with_extension("new"), text).unwrap();
            std::fs::rename(path.with_extension("new"), &path).unwrap();
        };
        write("1");
        let read = path.clone();
        let watched = Watched::new("the number", move |files| {
            let bytes = files.read(&read).map_err(|error| error.to_string())?;
            let text = String::from_utf8_lossy(&bytes).into_owned();
            text.parse::<u32>().map_err(|error| error.to_string())
        })
        .unwrap();
        assert_eq!(*watched.current(), 1);
        write("2");
        assert_eq!(*watched.current(), 2);
        write("two");
        assert_eq!((*watched.current(), watched.is_good()), (2, false));
        std::fs::remove_file(&path).unwrap();
        assert_eq!((*watched.current(), watched.is_good()), (2, false));
        write("3");
        assert_eq!((*watched.current(), watched.is_good()), (3, true));
    }
}
