//! `scrape_failure_log_file`: every failed scrape as a line of JSON in Prometheus's form, for whoever looks for targets that fail now and then.
//!
//! Other than Prometheus's a file does not grow for ever: nobody visits an edge, and a target may be down for months. One that has
//! reached [`BYTES_MAX`] is renamed to `NAME.1`, in the place of the one before. Scraping never depends on the file: one that cannot be
//! written is said once in the log, tried again with every line, and costs only these lines.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use model::Timestamp;
use serde_json::json;

/// Some 40,000 failures.
const BYTES_MAX: u64 = 10 << 20;

/// Where the failures of a job go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct FailureLog {
    pub(super) path: PathBuf,
    pub(super) job: String,
}

/// The files of all jobs, each opened once.
#[derive(Debug, Default)]
pub(super) struct FailureLogs {
    files: Mutex<BTreeMap<PathBuf, Open>>,
}

#[derive(Debug, Default)]
struct Open {
    file: Option<File>,
    bytes: u64,
    fails: bool,
}

impl FailureLogs {
    /// The next line opens its file anew: one that was moved away is let go of.
    pub(super) fn reopen(&self) {
        let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        files.clear();
    }

    /// Writes a failure down. Not for async threads.
    pub(super) fn note(&self, log: &FailureLog, now: Timestamp, target: &str, error: &str) {
        let line = json!({
            "time": jiff::Timestamp::from_millisecond(now.millis()).unwrap_or_default().to_string(),
            "level": "ERROR",
            "source": "scrape_loop.rs",
            "msg": error,
            "job_name": log.job,
            "target": target,
        });
        let line = line.to_string() + "\n";
        let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        let open = files.entry(log.path.clone()).or_default();
        match open.write(&log.path, line.as_bytes()) {
            Ok(()) => open.fails = false,
            Err(error) => {
                open.file = None;
                if !std::mem::replace(&mut open.fails, true) {
                    let path = log.path.display();
                    tracing::warn!(%path, %error, "scrape_failure_log_file cannot be written: failed scrapes are not written down until this is mended");
                }
            }
        }
    }
}

impl Open {
    fn write(&mut self, path: &Path, line: &[u8]) -> std::io::Result<()> {
        if self.file.is_some() && self.bytes + line.len() as u64 > BYTES_MAX {
            self.file = None;
            let mut older = path.as_os_str().to_owned();
            older.push(".1");
            std::fs::rename(path, older)?;
        }
        let file = match &mut self.file {
            Some(file) => file,
            none => {
                let file = OpenOptions::new().append(true).create(true).open(path)?;
                self.bytes = file.metadata()?.len();
                none.insert(file)
            }
        };
        file.write_all(line)?;
        self.bytes += line.len() as u64;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);

    #[test]
    fn lines_are_prometheus_s_and_a_file_that_was_moved_away_is_let_go_of() {
        let folder = tempfile::tempdir().unwrap();
        let log = FailureLog {
            path: folder.path().join("failures.log"),
            job: "pos".to_owned(),
        };
        let logs = FailureLogs::default();
        logs.note(&log, NOW, "http://a/metrics", "cannot \"connect\"");
        let text = std::fs::read_to_string(&log.path).unwrap();
        let line: serde_json::Value = serde_json::from_str(text.trim_end()).unwrap();
        assert_eq!(
            line,
            json!({"time": "2023-11-14T22:13:20Z", "level": "ERROR", "source": "scrape_loop.rs",
                "msg": "cannot \"connect\"", "job_name": "pos", "target": "http://a/metrics"})
        );
        let moved = folder.path().join("moved");
        std::fs::rename(&log.path, &moved).unwrap();
        logs.note(&log, NOW, "b", "x");
        assert!(!log.path.exists());
        logs.reopen();
        logs.note(&log, NOW, "c", "x");
        let lines = |path: &Path| std::fs::read_to_string(path).unwrap().lines().count();
        assert_eq!((lines(&moved), lines(&log.path)), (2, 1));
    }

    #[test]
    fn a_full_file_makes_room_and_one_that_cannot_be_written_is_tried_again() {
        let folder = tempfile::tempdir().unwrap();
        let log = FailureLog {
            path: folder.path().join("sub/failures.log"),
            job: "pos".to_owned(),
        };
        let logs = FailureLogs::default();
        logs.note(&log, NOW, "a", "no folder");
        std::fs::create_dir(folder.path().join("sub")).unwrap();
        let long = "x".repeat(1 << 20);
        for _ in 0..25 {
            logs.note(&log, NOW, "a", &long);
        }
        let bytes = |name: &str| {
            std::fs::metadata(folder.path().join("sub").join(name))
                .unwrap()
                .len()
        };
        assert!(bytes("failures.log") <= BYTES_MAX && bytes("failures.log.1") <= BYTES_MAX);
        assert!(bytes("failures.log.1") > BYTES_MAX / 2);
        assert_eq!(
            std::fs::read_dir(folder.path().join("sub"))
                .unwrap()
                .count(),
            2
        );
    }
}
