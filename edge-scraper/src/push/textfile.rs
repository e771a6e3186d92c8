//! The folder of text files: whoever can write a file can hand over metrics. As node_exporter's textfile collector: every `*.prom` file
//! is read at each scrape, `node_textfile_mtime_seconds` says how old each is, `node_textfile_scrape_error` whether one is not
//! as it should be. A file counts whole or not at all; when it goes, its series become stale.
//!
//! Write such a file under another name and rename it, so that nobody reads half of it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::UNIX_EPOCH;

use model::{LabelSet, METRIC_NAME, MetricType};
use wire::exposition::Encoder;

use super::families;
pub(crate) use super::families::Families;
use crate::collect::{CollectError, Collector};

/// Files that are read; of a folder with more, the first by name.
const FILES_MAX: usize = 1_000;
/// Longest file.
const FILE_BYTES_MAX: u64 = 4 << 20;
/// Of all files together.
const BYTES_MAX: u64 = 16 << 20;

pub(crate) const MTIME: &str = "node_textfile_mtime_seconds";
pub(crate) const MTIME_HELP: &str = "Unixtime mtime of textfiles successfully read.";
pub(crate) const ERROR: &str = "node_textfile_scrape_error";
pub(crate) const ERROR_HELP: &str =
    "1 if there was an error opening or reading a file, 0 otherwise";

/// The folder as a target.
pub(crate) struct Textfile {
    job: String,
    directory: PathBuf,
    /// What is wrong, by file: each is logged when it begins.
    broken: Mutex<BTreeMap<PathBuf, String>>,
}

impl Textfile {
    pub(crate) fn new(job: String, directory: PathBuf) -> Textfile {
        Textfile {
            job,
            directory,
            broken: Mutex::default(),
        }
    }

    fn files(&self) -> Result<Vec<PathBuf>, String> {
        let folder = fs::read_dir(&self.directory)
            .map_err(|error| format!("{} cannot be read: {error}", self.directory.display()))?;
        let mut files = BTreeSet::new();
        for entry in folder {
            let path = entry.map_err(|error| error.to_string())?.path();
            if path
                .extension()
                .is_some_and(|extension| extension == "prom")
            {
                files.insert(path);
            }
            // The last by name go first, so that the same ones stay.
            if files.len() > FILES_MAX {
                files.pop_last();
            }
        }
        Ok(files.into_iter().collect())
    }

    /// Says what is wrong when it begins and when it ends.
    fn report(&self, now_broken: BTreeMap<PathBuf, String>) {
        let mut broken = self.broken.lock().unwrap_or_else(PoisonError::into_inner);
        for (path, why) in &now_broken {
            if broken.get(path) != Some(why) {
                tracing::warn!(path = %path.display(), why, "a text file is left out");
            }
        }
        for path in broken.keys().filter(|path| !now_broken.contains_key(*path)) {
            tracing::info!(path = %path.display(), "no fault in this text file any more");
        }
        *broken = now_broken;
    }
}

/// A file's families, and when it was last changed.
fn read(path: &Path, room: u64) -> Result<(Families, f64, u64), String> {
    let about = fs::metadata(path).map_err(|error| error.to_string())?;
    // A pipe would be waited for.
    if !about.is_file() {
        return Err("it is no file".to_owned());
    }
    let limit = FILE_BYTES_MAX.min(room);
    let mut text = Vec::new();
    fs::File::open(path)
        .and_then(|file| file.take(limit + 1).read_to_end(&mut text))
        .map_err(|error| error.to_string())?;
    if text.len() as u64 > limit {
        return Err(format!(
            "it has more than {limit} bytes: {FILE_BYTES_MAX} may be in one file, {BYTES_MAX} in all"
        ));
    }
    let changed = about.modified().map_err(|error| error.to_string())?;
    let changed = changed
        .duration_since(UNIX_EPOCH)
        // Whole seconds, as node_exporter shows them.
        .map_or(0.0, |since| since.as_secs() as f64);
    let families = families::read(&text).map_err(|error| error.to_string())?;
    Ok((families, changed, text.len() as u64))
}

/// What the files say.
#[derive(Default)]
pub(crate) struct Found {
    pub(crate) families: Families,
    /// The files that were read, and when each was last changed, in seconds.
    pub(crate) times: Vec<(PathBuf, f64)>,
    /// The files that each family stands in.
    pub(crate) files: BTreeMap<String, Vec<PathBuf>>,
    /// Whether one of them is left out.
    pub(crate) broken: bool,
}

impl Textfile {
    /// Reads the files.
    ///
    /// # Errors
    /// The folder's.
    pub(crate) fn gather(&self) -> Result<Found, String> {
        let files = self.files()?;
        let (mut all, mut seen, mut broken) = (Families::new(), BTreeSet::new(), BTreeMap::new());
        let (mut times, mut room) = (Vec::new(), BYTES_MAX);
        let mut files_of: BTreeMap<String, Vec<PathBuf>> = BTreeMap::new();
        for path in files {
            let found = read(&path, room).and_then(|(families, changed, bytes)| {
                fits(&all, &seen, &families)?;
                Ok((families, changed, bytes))
            });
            let (families, changed, bytes) = match found {
                Ok(found) => found,
                Err(why) => {
                    broken.insert(path, why);
                    continue;
                }
            };
            room -= bytes;
            times.push((path.clone(), changed));
            for (name, family) in families {
                files_of.entry(name.clone()).or_default().push(path.clone());
                let known = all.entry(name).or_default();
                known.about.kind = family.about.kind;
                if known.about.help.is_empty() {
                    known.about.help = family.about.help;
                }
                seen.extend(family.samples.iter().map(|(labels, _)| labels.clone()));
                known.samples.extend(family.samples);
            }
        }
        let is_broken = !broken.is_empty();
        self.report(broken);
        Ok(Found {
            families: all,
            times,
            files: files_of,
            broken: is_broken,
        })
    }

    /// Says once that there is nothing to read.
    pub(crate) fn unreadable(&self, why: String) {
        self.report(BTreeMap::from([(self.directory.clone(), why)]));
    }
}

impl Collector for Textfile {
    fn job(&self) -> &str {
        &self.job
    }

    fn collect(&self) -> Result<String, CollectError> {
        let found = self.gather().map_err(|reason| CollectError {
            collector: self.job.clone(),
            reason,
        })?;
        let mut page = Encoder::new(true);
        for (name, family) in &found.families {
            page.family(name, family.about.kind, &family.about.help);
            for (labels, value) in &family.samples {
                page.sample(labels, *value, None);
            }
        }
        if !found.times.is_empty() {
            page.family(MTIME, MetricType::Gauge, MTIME_HELP);
        }
        for (path, changed) in found.times {
            let path = path.display().to_string();
            let labels = LabelSet::from_pairs([(METRIC_NAME, MTIME), ("file", &path)]);
            page.sample(&labels.unwrap_or_default(), changed, None);
        }
        page.family(ERROR, MetricType::Gauge, ERROR_HELP);
        let labels = LabelSet::from_pairs([(METRIC_NAME, ERROR)]).unwrap_or_default();
        page.sample(&labels, if found.broken { 1.0 } else { 0.0 }, None);
        Ok(page.finish())
    }
}

/// Whether a file's families go with those of the files before it.
fn fits(all: &Families, seen: &BTreeSet<LabelSet>, new: &Families) -> Result<(), String> {
    for (name, family) in new {
        if name == MTIME || name == ERROR {
            return Err(format!("{name} is made here, and no file may have it"));
        }
        if let Some(known) = all.get(name)
            && known.about.kind != family.about.kind
        {
            return Err(format!(
                "{name} is a {} here and a {} in another file",
                family.about.kind.as_str(),
                known.about.kind.as_str()
            ));
        }
        if let Some((labels, _)) = family
            .samples
            .iter()
            .find(|(labels, _)| seen.contains(labels))
        {
            return Err(families::twice(labels));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_come_and_go_and_a_bad_one_hurts_itself_only() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
        let textfile = Textfile::new("textfile".to_owned(), folder.path().to_owned());
        let page = || {
            let page = textfile.collect().unwrap();
            let lines = page.lines().filter(|line| !line.contains("mtime"));
            lines.map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(page().last().unwrap(), "node_textfile_scrape_error 0");
        write("a.prom", "# HELP x of a\n# TYPE x gauge\nx{f=\"a\"} 1\n");
        write("b.prom", "# HELP x of b\n# TYPE x gauge\nx{f=\"b\"} 2\n");
        write("c.txt", "y 1\n");
        assert_eq!(
            page()[..4],
            [
                "# HELP x of a",
                "# TYPE x gauge",
                "x{f=\"a\"} 1",
                "x{f=\"b\"} 2"
            ]
        );
        assert_eq!(page().last().unwrap(), "node_textfile_scrape_error 0");
        let mtimes = textfile
            .collect()
            .unwrap()
            .matches("node_textfile_mtime_seconds{file=")
            .count();
        assert_eq!(mtimes, 2);
        for bad in [
            "x{f=\"b\"} 1\n",
            "# TYPE x counter\nx 1\n",
            "z 1 5\n",
            "z{",
            "node_textfile_scrape_error 0\n",
        ] {
            write("d.prom", bad);
            assert_eq!(page()[3], "x{f=\"b\"} 2", "{bad}");
            assert_eq!(
                page().last().unwrap(),
                "node_textfile_scrape_error 1",
                "{bad}"
            );
            assert!(!textfile.collect().unwrap().contains("d.prom"), "{bad}");
        }
        fs::remove_file(folder.path().join("d.prom")).unwrap();
        fs::remove_file(folder.path().join("b.prom")).unwrap();
        assert!(!page().iter().any(|line| line.contains("f=\"b\"")));
        fs::create_dir(folder.path().join("folder.prom")).unwrap();
        assert_eq!(page().last().unwrap(), "node_textfile_scrape_error 1");
        let gone = Textfile::new("t".to_owned(), folder.path().join("gone"));
        assert!(
            gone.collect()
                .unwrap_err()
                .to_string()
                .contains("gone cannot be read")
        );
    }
}
