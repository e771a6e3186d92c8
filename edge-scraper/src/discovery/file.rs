//! Targets in files, JSON or YAML: lists of `targets` and `labels`.
//!
//! The files are looked at by polling, every `refresh_interval` and at least every [`LOOK_EVERY`]: their times and sizes at each
//! look, their content only when those changed. No inotify: it does not see network file systems, where such files often are.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use daemon::config::load_yaml;

use super::{ADDRESS_LABEL, SourceStatus, each_target, glob};
use crate::config::{StaticConfig, TargetGroup};
use crate::kept::Kept;

/// A look is a stat per file; seeing a change within this is what Prometheus's users are used to.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// More files than that are a mistake in the pattern.
const FILES_MAX: usize = 10_000;

/// Label that tells which file a target comes from.
const FILE_PATH_LABEL: &str = "__meta_filepath";

/// Files of one `file_sd_configs` entry, and what was in them.
#[derive(Debug)]
pub(super) struct Files {
    patterns: Vec<PathBuf>,
    refresh: Duration,
    known: BTreeMap<PathBuf, Known>,
    /// Why the last look at the folders went wrong; said once.
    broken: Option<String>,
    /// Where the targets outlast the process, and as what.
    kept: Option<(Kept, String)>,
}

/// A file as it was read last.
#[derive(Debug)]
struct Known {
    /// None: it has not been read, its targets were kept on disk.
    stamp: Option<Stamp>,
    groups: Vec<TargetGroup>,
    /// Why it could not be read.
    error: Option<String>,
    /// The targets are those that were kept on disk.
    restored: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    modified: Option<SystemTime>,
    bytes: u64,
}

impl Files {
    pub(super) fn new(patterns: Vec<PathBuf>, refresh: Duration) -> Files {
        Files {
            patterns,
            refresh,
            known: BTreeMap::new(),
            broken: None,
            kept: None,
        }
    }

    /// What it is kept as.
    pub(super) fn key(&self, job: &str) -> String {
        format!("{job}\nfile {:?}", self.patterns)
    }

    /// Begins with what was kept, for files that cannot be read now; from now on keeps what is found.
    pub(super) fn restore(&mut self, kept: &Kept, job: &str) {
        if self.kept.is_some() {
            return;
        }
        let key = self.key(job);
        for mut labels in kept.targets(&key).unwrap_or_default() {
            let path = labels.get(FILE_PATH_LABEL).map(PathBuf::from);
            let (Some(path), Some(address)) = (path, labels.remove(ADDRESS_LABEL)) else {
                continue;
            };
            let known = self.known.entry(path).or_insert_with(|| Known {
                stamp: None,
                groups: Vec::new(),
                error: None,
                restored: true,
            });
            known.groups.push(TargetGroup {
                targets: vec![address],
                labels,
            });
        }
        self.kept = Some((kept.clone(), key));
    }

    /// How it is doing.
    pub(super) fn status(&self) -> SourceStatus {
        let patterns: Vec<String> = self
            .patterns
            .iter()
            .map(|p| p.display().to_string())
            .collect();
        let mut errors = self.known.values().filter_map(|known| known.error.clone());
        let from_disk = |known: &Known| known.restored;
        SourceStatus {
            mechanism: "file",
            source: patterns.join(", "),
            targets: self.groups().map(|group| group.targets.len()).sum(),
            from_disk: self.known.values().any(from_disk),
            answered_at: None,
            error: self.broken.clone().or_else(|| errors.next()),
        }
    }

    /// How long to wait between two looks.
    pub(super) fn look_every(&self) -> Duration {
        self.refresh.min(LOOK_EVERY)
    }

    /// Looks at the files; true if the targets changed. A file that cannot be read or parsed keeps the targets it had,
    /// a file that is gone loses them.
    pub(super) fn look(&mut self) -> bool {
        let mut paths = Vec::new();
        for pattern in &self.patterns {
            match glob::find(pattern, FILES_MAX) {
                Ok(found) => paths.extend(found),
                Err(error) => {
                    if self.broken.replace(error.clone()).is_none() {
                        tracing::error!(%error, "file discovery: keeping the targets as they are");
                    }
                    return false;
                }
            }
        }
        self.broken = None;
        let before = self.known.len();
        self.known.retain(|path, _| paths.contains(path));
        let mut changed = self.known.len() != before;
        for path in paths {
            let Some(stamp) = stamp(&path) else {
                continue; // gone since it was listed: the next look sees that
            };
            if self
                .known
                .get(&path)
                .is_some_and(|known| known.stamp == Some(stamp))
            {
                continue;
            }
            let before = self.known.get(&path);
            let new = match read(&path) {
                Ok(groups) => Known {
                    stamp: Some(stamp),
                    groups,
                    error: None,
                    restored: false,
                },
                Err(error) => {
                    tracing::error!(%error, "file discovery: keeping the targets that this file had");
                    Known {
                        // The new one, so that the same error is not logged at every look.
                        stamp: Some(stamp),
                        groups: before.map(|known| known.groups.clone()).unwrap_or_default(),
                        error: Some(error),
                        restored: before.is_some_and(|known| known.restored),
                    }
                }
            };
            changed |= before.is_none_or(|before| before.groups != new.groups);
            self.known.insert(path, new);
        }
        if changed && let Some((kept, key)) = &self.kept {
            let mut targets = Vec::new();
            for group in self.groups() {
                each_target(group, |target| targets.push(target));
            }
            kept.keep_targets(key, &targets);
        }
        changed
    }

    pub(super) fn groups(&self) -> impl Iterator<Item = &TargetGroup> {
        self.known.values().flat_map(|known| &known.groups)
    }
}

fn stamp(path: &Path) -> Option<Stamp> {
    let metadata = std::fs::metadata(path).ok()?;
    Some(Stamp {
        modified: metadata.modified().ok(),
        bytes: metadata.len(),
    })
}

/// JSON is read as the YAML that it is.
fn read(path: &Path) -> Result<Vec<TargetGroup>, String> {
    let blank = std::fs::read_to_string(path).is_ok_and(|text| text.trim().is_empty());
    if blank {
        return Ok(Vec::new());
    }
    let given: Vec<StaticConfig> = load_yaml(path).map_err(|error| error.to_string())?;
    let mut groups = Vec::new();
    for (index, given) in given.into_iter().enumerate() {
        let mut group = TargetGroup::new(given)
            .map_err(|error| format!("{}: group {index}: {error}", path.display()))?;
        group.labels.insert(
            FILE_PATH_LABEL.to_owned(),
            path.to_string_lossy().into_owned(),
        );
        groups.push(group);
    }
    Ok(groups)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_are_seen_and_mistakes_keep_what_was() {
        let folder = tempfile::tempdir().unwrap();
        let write =
            |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
        let mut files = Files::new(
            vec![folder.path().join("*.json"), folder.path().join("one.yml")],
            Duration::from_secs(300),
        );
        let targets = |files: &Files| {
            files
                .groups()
                .flat_map(|g| g.targets.clone())
                .collect::<Vec<_>>()
        };
        assert!(!files.look(), "nothing there yet");
        write(
            "a.json",
            r#"[{"targets": ["a:1", "a:2"], "labels": {"x": "y"}}]"#,
        );
        write("one.yml", "- targets: [c:3]\n");
        assert!(files.look());
        assert_eq!(targets(&files), ["a:1", "a:2", "c:3"]);
        let labels = &files.groups().next().unwrap().labels;
        assert_eq!(
            (labels["x"].as_str(), labels[FILE_PATH_LABEL].as_str()),
            ("y", folder.path().join("a.json").to_str().unwrap())
        );
        assert!(!files.look(), "nothing changed");
        write("a.json", r#"[{"targets": ["a:1"], "#);
        assert!(!files.look(), "half written: the old targets stay");
        assert_eq!(targets(&files).len(), 3);
        write("a.json", r#"[{"targets": ["a:9"]}]"#);
        assert!(files.look());
        assert_eq!(targets(&files), ["a:9", "c:3"]);
        std::fs::remove_file(folder.path().join("one.yml")).unwrap();
        write("a.json", "");
        assert!(files.look());
        assert_eq!(targets(&files), [""; 0]);
        assert_eq!(files.look_every(), LOOK_EVERY);
    }

    #[test]
    fn a_file_that_is_broken_at_the_start_has_its_last_targets() {
        let folder = tempfile::tempdir().unwrap();
        let (path, kept) = (folder.path().join("a.json"), Kept::of(folder.path()));
        let start = || {
            let mut files = Files::new(vec![path.clone()], Duration::from_secs(300));
            files.restore(&kept, "job");
            files.look();
            files
        };
        let addresses = |files: &Files| -> Vec<String> {
            files
                .groups()
                .flat_map(|group| group.targets.clone())
                .collect()
        };
        let good = r#"[{"targets": ["a:1", "a:2"], "labels": {"x": "y"}}]"#;
        std::fs::write(&path, good).unwrap();
        assert!(!start().status().from_disk);
        std::fs::write(&path, "[{").unwrap();
        let mut files = start();
        assert_eq!(addresses(&files), ["a:1", "a:2"]);
        assert_eq!(files.groups().next().unwrap().labels["x"], "y");
        assert!(files.status().from_disk && files.status().error.is_some());
        std::fs::write(&path, r#"[{"targets": ["b:1"]}]"#).unwrap();
        assert!(files.look());
        assert_eq!(addresses(&files), ["b:1"]);
        assert!(!files.status().from_disk && files.status().error.is_none());
        std::fs::remove_file(&path).unwrap();
        assert_eq!(addresses(&start()), [""; 0], "gone is gone");
    }
}
