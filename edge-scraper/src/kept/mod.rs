//! What outlasts an outage and a restart in it: the last good configuration with the files that it names, and what discovery found
//! last. An edge that starts while its configuration cannot be read and its discovery servers are gone scrapes what it
//! scraped before, and says so.
//!
//! # On disk
//!
//! In the folder `kept` of the data folder, for its owner only (folders 0700, files 0600):
//!
//! ```text
//! kept/configuration      the last configuration that was put in force, and the files that it was read with
//! kept/targets-HASH       what one source of one job found last
//! kept/files/HASH         a kept file as it was, for whoever needs a path: written when it is needed
//! ```
//!
//! The first two are
//!
//! ```text
//!  0  8 bytes  "BLKEPT1\n": what it is, and the version of the form
//!  8  u32      CRC-32C of the content
//! 12  u64      length of the content
//! 20           content: JSON
//! ```
//!
//! Numbers are little-endian. `configuration` holds `{"path", "at", "files": [{"path", "kind", "content"}]}`, contents in base64, kinds
//! `main`, `scrape` (of `scrape_config_files`, in their order) and `secret` (passwords, tokens, certificates, keys, kubeconfigs);
//! `targets-HASH` holds `{"key", "targets"}`, each target its labels, `__address__` among them. A file is written beside
//! the old one, synced and renamed: there is always a whole one. A damaged one counts as none, is said, and is replaced with the next
//! thing to keep.

mod configuration;
mod file;

use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

pub(crate) use configuration::{KeptConfiguration, KeptKind};
use file::KeptError;

use crate::discovery::Discovered;

/// The folder in the data folder.
const FOLDER: &str = "kept";
const CONFIGURATION: &str = "configuration";
const TARGETS_PREFIX: &str = "targets-";

/// What is kept of one edge. Without a folder nothing is.
#[derive(Debug, Clone, Default)]
pub struct Kept {
    folder: Option<Arc<PathBuf>>,
}

#[derive(Serialize)]
struct TargetsOut<'t> {
    key: &'t str,
    targets: &'t [Discovered],
}

#[derive(Deserialize)]
struct TargetsIn {
    key: String,
    targets: Vec<Discovered>,
}

impl Kept {
    /// What is kept in a data folder. Makes nothing yet.
    pub fn of(data_dir: &Path) -> Kept {
        Kept {
            folder: Some(Arc::new(data_dir.join(FOLDER))),
        }
    }

    /// What a source found last; `key` says which source. None also if it is damaged, which is logged.
    pub(crate) fn targets(&self, key: &str) -> Option<Vec<Discovered>> {
        let path = self.folder.as_ref()?.join(targets_name(key));
        let content = said(file::read(&path))??;
        match serde_json::from_slice::<TargetsIn>(&content) {
            Ok(kept) if kept.key == key => Some(kept.targets),
            // Another source's with the same hash: there is none of this one.
            Ok(_) => None,
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "kept targets cannot be read");
                None
            }
        }
    }

    /// Keeps what a source has found. A failure is logged: the edge works on without.
    pub(crate) fn keep_targets(&self, key: &str, targets: &[Discovered]) {
        let Some(folder) = &self.folder else {
            return;
        };
        let content = serde_json::to_vec(&TargetsOut { key, targets }).unwrap_or_default();
        let path = folder.join(targets_name(key));
        said(make(folder).and_then(|()| file::write(&path, &content)));
    }

    /// Removes what was kept for sources that are no more.
    pub(crate) fn retain_targets(&self, keys: &[String]) {
        let Some(folder) = &self.folder else {
            return;
        };
        let names: Vec<String> = keys.iter().map(|key| targets_name(key)).collect();
        let entries = std::fs::read_dir(folder.as_path()).into_iter().flatten();
        for entry in entries.flatten() {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            if name.starts_with(TARGETS_PREFIX) && !names.iter().any(|kept| *kept == name) {
                // Nothing depends on its being gone.
                let _ = std::fs::remove_file(entry.path());
            }
        }
    }

    /// The last configuration that was put in force. None also if it is damaged, which is logged.
    pub(crate) fn configuration(&self) -> Option<KeptConfiguration> {
        let folder = self.folder.as_ref()?;
        let content = said(file::read(&folder.join(CONFIGURATION)))??;
        KeptConfiguration::read(&content, folder)
    }

    /// Keeps a configuration that was put in force.
    pub(crate) fn keep_configuration(&self, kept: &KeptConfiguration) {
        let Some(folder) = &self.folder else {
            return;
        };
        let write = || {
            make(folder)?;
            file::write(&folder.join(CONFIGURATION), &kept.content())
        };
        said(write());
    }
}

/// See [`crate::probe`].
pub(crate) fn probe_targets(content: &[u8]) -> Option<usize> {
    let kept: TargetsIn = serde_json::from_slice(content).ok()?;
    Some(kept.targets.len())
}

/// See [`crate::probe`].
pub(crate) fn probe_configuration(content: &[u8]) -> bool {
    KeptConfiguration::read(content, Path::new(FOLDER)).is_some()
}

fn targets_name(key: &str) -> String {
    format!("{TARGETS_PREFIX}{:016x}", hash(key))
}

/// FNV-1a: the same in every release.
fn hash(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

fn make(folder: &Path) -> Result<(), KeptError> {
    let made = std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder);
    made.map_err(|source| KeptError::Io {
        path: folder.display().to_string(),
        source,
    })
}

fn said<T>(result: Result<T, KeptError>) -> Option<T> {
    match result {
        Ok(value) => Some(value),
        Err(error) => {
            tracing::warn!(%error, "what outlasts an outage");
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(address: &str) -> Discovered {
        Discovered::from([("__address__".to_owned(), address.to_owned())])
    }

    #[test]
    fn targets_outlast_the_process() {
        let folder = tempfile::tempdir().unwrap();
        let kept = Kept::of(folder.path());
        assert_eq!(kept.targets("a"), None);
        kept.keep_targets("a", &[target("x:1")]);
        kept.keep_targets("b", &[]);
        let again = Kept::of(folder.path());
        assert_eq!(again.targets("a"), Some(vec![target("x:1")]));
        assert_eq!(again.targets("b"), Some(Vec::new()));
        again.retain_targets(&["b".to_owned()]);
        assert_eq!(
            (again.targets("a"), again.targets("b")),
            (None, Some(Vec::new()))
        );
    }

    #[test]
    fn damage_counts_as_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let kept = Kept::of(folder.path());
        kept.keep_targets("a", &[target("x:1")]);
        let path = folder.path().join("kept").join(targets_name("a"));
        let mut bytes = std::fs::read(&path).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        std::fs::write(&path, bytes).unwrap();
        assert_eq!(kept.targets("a"), None);
        kept.keep_targets("a", &[target("y:1")]);
        assert_eq!(kept.targets("a"), Some(vec![target("y:1")]));
        assert_eq!(Kept::default().targets("a"), None);
        Kept::default().keep_targets("a", &[]);
    }
}
