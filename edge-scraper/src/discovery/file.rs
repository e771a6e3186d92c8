//! Targets in files, JSON or YAML: lists of `targets` and `labels`.
//!
//! The files are looked at by polling, every `refresh_interval` and at least every [`LOOK_EVERY`]: their times and sizes at each
//! look, their content only when those changed. No inotify: it does not see network file systems, where such files often are.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use daemon::config::load_yaml;

use super::glob;
use crate::config::{StaticConfig, TargetGroup};

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
    /// The last look went wrong; said once.
    broken: bool,
}

/// A file as it was read last.
#[derive(Debug)]
struct Known {
    stamp: Stamp,
    groups: Vec<TargetGroup>,
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
            broken: false,
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
                    if !std::mem::replace(&mut self.broken, true) {
                        tracing::error!(%error, "file discovery: keeping the targets as they are");
                    }
                    return false;
                }
            }
        }
        self.broken = false;
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
                .is_some_and(|known| known.stamp == stamp)
            {
                continue;
            }
            let groups = match read(&path) {
                Ok(groups) => groups,
                Err(error) => {
                    tracing::error!(%error, "file discovery: keeping the targets that this file had");
                    // With the new stamp, so that the same error is not logged at every look.
                    self.known
                        .get(&path)
                        .map(|known| known.groups.clone())
                        .unwrap_or_default()
                }
            };
            changed |= self
                .known
                .get(&path)
                .is_none_or(|known| known.groups != groups);
            self.known.insert(path, Known { stamp, groups });
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
}
