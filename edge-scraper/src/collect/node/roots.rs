//! Where the kernel's files are read, and the bounded reading of them.

use std::fs::File;
use std::io::Read as _;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};

/// Folders that stand for `/proc`, `/sys` and `/`: tests pass fixture trees, a container the host's mounts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Roots {
    /// Normally `/proc`.
    pub proc: PathBuf,
    /// Normally `/sys`.
    pub sys: PathBuf,
    /// Normally `/`: prefix of mount points, and of `/etc`, `/usr/lib` and `/run`.
    pub root: PathBuf,
}

impl Default for Roots {
    fn default() -> Roots {
        Roots {
            proc: "/proc".into(),
            sys: "/sys".into(),
            root: "/".into(),
        }
    }
}

/// No file read here is bigger on any machine we know; a file that is, is refused rather than read into memory.
const FILE_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// Most files of `/proc` are shorter: two reads then, one of them to see the end.
const USUAL_BYTES: usize = 16 * 1024;

/// An attribute of sysfs has at most a page, which the kernel gives in one read.
const ATTRIBUTE_BYTES_MAX: usize = 4096;

/// Why one collector of the page has no (or not all) values.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PartError {
    /// The kernel or the hardware does not have this: normal, not worth a log line.
    #[error("nothing to collect on this machine")]
    NoData,
    #[error("{}: {source}", path.display())]
    Read {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("{}: expected {expected}, found {found:?}", path.display())]
    Malformed {
        path: PathBuf,
        expected: &'static str,
        found: String,
    },
}

impl PartError {
    pub(crate) fn is_missing(&self) -> bool {
        matches!(self, PartError::Read { source, .. } if source.kind() == std::io::ErrorKind::NotFound)
    }

    /// A missing file means that there is nothing to collect.
    pub(crate) fn or_no_data(self) -> PartError {
        if self.is_missing() {
            PartError::NoData
        } else {
            self
        }
    }
}

/// A file's text with its path, so that parse errors can name it.
pub(crate) struct Text {
    path: PathBuf,
    text: String,
}

impl Text {
    pub(crate) fn read(path: PathBuf) -> Result<Text, PartError> {
        let mut bytes = Vec::with_capacity(USUAL_BYTES);
        let result = std::fs::File::open(&path)
            .and_then(|file| file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes));
        match result {
            Ok(n) if n as u64 > FILE_BYTES_MAX => Err(PartError::Malformed {
                path,
                expected: "a file below 16 MiB",
                found: "more".to_owned(),
            }),
            // Not every name in /proc and /sys is UTF-8; a label value has to be.
            Ok(_) => Ok(Text {
                path,
                text: String::from_utf8_lossy(&bytes).into_owned(),
            }),
            Err(source) => Err(PartError::Read { path, source }),
        }
    }

    /// The same, where a missing file is an answer and not an error.
    pub(crate) fn read_if_there(path: PathBuf) -> Result<Option<Text>, PartError> {
        match Text::read(path) {
            Ok(text) => Ok(Some(text)),
            Err(error) if error.is_missing() => Ok(None),
            Err(error) => Err(error),
        }
    }

    pub(crate) fn lines(&self) -> impl Iterator<Item = &str> {
        self.text.lines()
    }

    pub(crate) fn trimmed(&self) -> &str {
        self.text.trim()
    }

    pub(crate) fn malformed(&self, expected: &'static str, found: &str) -> PartError {
        PartError::Malformed {
            path: self.path.clone(),
            expected,
            found: found.chars().take(80).collect(),
        }
    }

    /// A decimal field of this file.
    pub(crate) fn number(&self, field: Option<&str>) -> Result<f64, PartError> {
        let field = field.unwrap_or("");
        field
            .parse::<f64>()
            .map_err(|_| self.malformed("a number", field))
    }
}

/// The one trimmed value of a small attribute file; `None` if it is not there, may not be read, or the device has none
/// (sysfs answers EINVAL).
pub(crate) fn attribute(path: &Path) -> Option<String> {
    first_read(File::open(path).ok()?)
}

/// A small attribute file that holds an integer, decimal or `0x` hexadecimal.
pub(crate) fn integer_attribute(path: &Path) -> Option<i64> {
    integer(&attribute(path)?)
}

fn integer(text: &str) -> Option<i64> {
    match text.strip_prefix("0x") {
        Some(hex) => i64::from_str_radix(hex, 16).ok(),
        None => text.parse().ok(),
    }
}

/// A folder of sysfs whose attributes are read one by one: the way to it, through links and many levels, is gone once only.
pub(crate) struct Folder {
    folder: OwnedFd,
}

impl Folder {
    /// `None` if there is no such folder.
    pub(crate) fn open(path: &Path) -> Option<Folder> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let folder = rustix::fs::open(path, flags, Mode::empty()).ok()?;
        Some(Folder { folder })
    }

    /// As [`attribute`].
    pub(crate) fn attribute(&self, name: &str) -> Option<String> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&self.folder, name, flags, Mode::empty()).ok()?;
        first_read(File::from(file))
    }

    /// As [`integer_attribute`].
    pub(crate) fn integer(&self, name: &str) -> Option<i64> {
        integer(&self.attribute(name)?)
    }
}

fn first_read(mut file: File) -> Option<String> {
    let mut bytes = [0; ATTRIBUTE_BYTES_MAX];
    let read = file.read(&mut bytes).ok()?;
    Some(String::from_utf8_lossy(&bytes[..read]).trim().to_owned())
}

/// Names in a folder, sorted. A folder that is not there is empty.
pub(crate) fn names(path: &Path) -> Result<Vec<String>, PartError> {
    let read = |source| PartError::Read {
        path: path.to_path_buf(),
        source,
    };
    let entries = match std::fs::read_dir(path) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(read(error)),
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.map_err(read)?;
        names.push(entry.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names)
}
