//! A kept configuration: the file and those that it was read with, as they were when it was put in force.

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use model::Timestamp;
use serde::{Deserialize, Serialize};

/// Where a kept file is as it was.
const FILES: &str = "files";
/// A larger file is no secret, and no configuration.
const FILE_BYTES_MAX: u64 = 16 << 20;

/// What a file is to the configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum KeptKind {
    /// The configuration file itself.
    Main,
    /// One of `scrape_config_files`.
    Scrape,
    /// A password, a token, a certificate, a key, a kubeconfig.
    Secret,
}

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct KeptConfiguration {
    /// When it was put in force.
    pub(crate) at: Timestamp,
    files: Vec<KeptFile>,
    /// The folder of everything kept.
    folder: PathBuf,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct KeptFile {
    path: PathBuf,
    kind: KeptKind,
    content: Vec<u8>,
}

#[derive(Serialize, Deserialize)]
struct Out {
    at: i64,
    files: Vec<FileOut>,
}

#[derive(Serialize, Deserialize)]
struct FileOut {
    path: PathBuf,
    kind: KeptKind,
    content: String,
}

impl KeptConfiguration {
    /// Reads the files as they are now; those that cannot be read are taken from `before`, or left out.
    pub(crate) fn gather(
        at: Timestamp,
        files: &[(PathBuf, KeptKind)],
        before: Option<&KeptConfiguration>,
    ) -> KeptConfiguration {
        let mut kept: Vec<KeptFile> = Vec::new();
        for (path, kind) in files {
            if kept.iter().any(|known| known.path == *path) {
                continue;
            }
            let small = std::fs::metadata(path).is_ok_and(|about| about.len() <= FILE_BYTES_MAX);
            let now = small.then(|| std::fs::read(path).ok()).flatten();
            let old = || {
                before?
                    .files
                    .iter()
                    .find(|old| old.path == *path)
                    .map(|old| old.content.clone())
            };
            if let Some(content) = now.or_else(old) {
                kept.push(KeptFile {
                    path: path.clone(),
                    kind: *kind,
                    content,
                });
            }
        }
        KeptConfiguration {
            at,
            files: kept,
            folder: PathBuf::new(),
        }
    }

    /// Whether it holds the same files as another.
    pub(crate) fn same_files(&self, other: &KeptConfiguration) -> bool {
        self.files == other.files
    }

    /// The text of the configuration file, if it is the one at this path.
    pub(crate) fn main(&self, path: &Path) -> Option<&str> {
        let main = self.files.iter().find(|file| file.kind == KeptKind::Main)?;
        std::str::from_utf8(&main.content)
            .ok()
            .filter(|_| main.path == path)
    }

    /// Path and text of each of `scrape_config_files`.
    pub(crate) fn scrape_files(&self) -> impl Iterator<Item = (&Path, &str)> {
        let scrape = self
            .files
            .iter()
            .filter(|file| file.kind == KeptKind::Scrape);
        scrape.filter_map(|file| {
            Some((
                file.path.as_path(),
                std::str::from_utf8(&file.content).ok()?,
            ))
        })
    }

    /// A path with the content that the file had; None if it is not kept, or cannot be written out.
    pub(crate) fn secret(&self, path: &Path) -> Option<PathBuf> {
        let kept = self
            .files
            .iter()
            .find(|file| file.path == path && file.kind == KeptKind::Secret)?;
        let folder = self.folder.join(FILES);
        super::make(&folder).ok()?;
        let out = folder.join(format!("{:016x}", super::hash(&path.to_string_lossy())));
        if std::fs::read(&out).is_ok_and(|content| content == kept.content) {
            return Some(out);
        }
        let beside = out.with_extension("new");
        let mut options = std::fs::OpenOptions::new();
        let mut file = options
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&beside)
            .ok()?;
        file.write_all(&kept.content).ok()?;
        std::fs::rename(&beside, &out).ok()?;
        Some(out)
    }

    /// As it is written.
    pub(super) fn content(&self) -> Vec<u8> {
        let out = Out {
            at: self.at.millis(),
            files: self
                .files
                .iter()
                .map(|file| FileOut {
                    path: file.path.clone(),
                    kind: file.kind,
                    content: STANDARD.encode(&file.content),
                })
                .collect(),
        };
        // Only a path that is not UTF-8 cannot be written; such a configuration is not kept.
        serde_json::to_vec(&out).unwrap_or_default()
    }

    /// As it was written in this folder.
    pub(super) fn read(content: &[u8], folder: &Path) -> Option<KeptConfiguration> {
        let out: Out = serde_json::from_slice(content).ok()?;
        let mut files = Vec::new();
        for file in out.files {
            files.push(KeptFile {
                path: file.path,
                kind: file.kind,
                content: STANDARD.decode(file.content).ok()?,
            });
        }
        Some(KeptConfiguration {
            at: Timestamp::from_millis(out.at),
            files,
            folder: folder.to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::kept::Kept;

    #[test]
    fn files_are_kept_as_they_were() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::fs::write(at("edge.yml"), "global: {}").unwrap();
        std::fs::write(at("jobs.yml"), "scrape_configs: []").unwrap();
        std::fs::write(at("token"), [0xff, 0]).unwrap();
        let files = [
            (at("edge.yml"), KeptKind::Main),
            (at("jobs.yml"), KeptKind::Scrape),
            (at("token"), KeptKind::Secret),
            (at("missing"), KeptKind::Secret),
        ];
        let kept = Kept::of(&at("data"));
        assert_eq!(kept.configuration(), None);
        kept.keep_configuration(&KeptConfiguration::gather(
            Timestamp::from_millis(7),
            &files,
            None,
        ));
        for (path, _) in &files {
            let _ = std::fs::remove_file(path);
        }
        let found = kept.configuration().unwrap();
        assert_eq!(found.at, Timestamp::from_millis(7));
        assert_eq!(found.main(&at("edge.yml")), Some("global: {}"));
        assert_eq!(found.main(&at("other.yml")), None);
        let scrape: Vec<_> = found.scrape_files().collect();
        assert_eq!(scrape, [(at("jobs.yml").as_path(), "scrape_configs: []")]);
        let secret = found.secret(&at("token")).unwrap();
        assert_eq!(std::fs::read(&secret).unwrap(), [0xff, 0]);
        assert_eq!(
            std::fs::metadata(&secret).unwrap().permissions().mode() & 0o777,
            0o600
        );
        assert_eq!(found.secret(&at("missing")), None);
        // What cannot be read now stays as it was.
        let again = KeptConfiguration::gather(Timestamp::from_millis(8), &files, Some(&found));
        assert!(again.same_files(&found));
    }
}
