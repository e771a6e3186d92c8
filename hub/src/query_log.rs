//! `global.query_log_file`: every query that was run, one line of JSON each, in Prometheus's form.
//!
//! No query waits for the disk: lines go through a queue of bounded size, and what finds it full, or cannot be written, is lost and
//! counted. A reload opens the file anew, so that one that was moved away is let go of.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use daemon::Tasks;
use model::Timestamp;
use serde_json::{Map, Value, json};
use tokio::sync::mpsc;

use crate::api::rfc3339;

/// Lines that wait to be written.
const LINES_MAX: usize = 4096;
/// Bytes of them: a query may be a mebibyte long.
const BYTES_MAX: usize = 8 << 20;
/// Lines that are written together.
const TOGETHER: usize = 256;

/// Takes lines. One for the whole process.
#[derive(Debug, Default)]
pub(crate) struct QueryLog {
    to: Mutex<Option<mpsc::Sender<String>>>,
    waiting_bytes: Arc<AtomicUsize>,
    lost: Arc<AtomicU64>,
}

/// A file that can be written.
#[derive(Debug)]
pub(crate) struct LogFile {
    file: File,
    path: PathBuf,
}

/// What is said of one query.
pub(crate) struct Entry<'a> {
    pub(crate) at: Timestamp,
    pub(crate) query: &'a str,
    pub(crate) start: Timestamp,
    pub(crate) end: Timestamp,
    /// 0 for an instant query.
    pub(crate) step_ms: i64,
    pub(crate) stats: Value,
    pub(crate) error: Option<String>,
    /// `httpRequest` or `ruleGroup`, and what stands there.
    pub(crate) origin: (&'static str, Value),
}

impl LogFile {
    /// Opens it to be added to.
    ///
    /// # Errors
    /// Names the key and the file.
    pub(crate) fn open(path: &Path) -> anyhow::Result<Self> {
        let file = OpenOptions::new().append(true).create(true).open(path);
        let file = file.map_err(|error| {
            anyhow::anyhow!(
                "global.query_log_file: {} cannot be written: {error}",
                path.display()
            )
        })?;
        Ok(LogFile {
            file,
            path: path.to_owned(),
        })
    }
}

impl QueryLog {
    /// Writes to this file from now on; None: nowhere. What still waits goes to the file of before.
    pub(crate) fn set(&self, file: Option<LogFile>, tasks: &Tasks) {
        let to = file.map(|file| {
            let (to, lines) = mpsc::channel(LINES_MAX);
            let (waiting, lost) = (self.waiting_bytes.clone(), self.lost.clone());
            tasks.spawn_brief("query log", write(file, lines, waiting, lost));
            to
        });
        *self.to.lock().unwrap_or_else(PoisonError::into_inner) = to;
    }

    /// Whether anybody wants to know.
    pub(crate) fn is_on(&self) -> bool {
        self.sender().is_some()
    }

    /// Lines that were not written.
    pub(crate) fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    /// Notes a query. Does not wait.
    pub(crate) fn put(&self, entry: Entry<'_>) {
        let Some(to) = self.sender() else {
            return;
        };
        let line = line(entry);
        let bytes = line.len();
        let waiting = self.waiting_bytes.fetch_add(bytes, Ordering::Relaxed);
        if waiting + bytes > BYTES_MAX || to.try_send(line).is_err() {
            self.waiting_bytes.fetch_sub(bytes, Ordering::Relaxed);
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn sender(&self) -> Option<mpsc::Sender<String>> {
        let to = self.to.lock().unwrap_or_else(PoisonError::into_inner);
        to.clone()
    }
}

fn line(entry: Entry<'_>) -> String {
    let mut line = Map::new();
    line.insert("time".to_owned(), rfc3339(entry.at).into());
    line.insert("level".to_owned(), "INFO".into());
    line.insert("source".to_owned(), "query_log.rs".into());
    line.insert("msg".to_owned(), "promql query logged".into());
    let params = json!({
        "query": entry.query,
        "start": rfc3339(entry.start),
        "end": rfc3339(entry.end),
        // As in Prometheus: whole seconds.
        "step": entry.step_ms / 1000,
    });
    line.insert("params".to_owned(), params);
    line.insert("stats".to_owned(), entry.stats);
    if let Some(error) = entry.error {
        line.insert("error".to_owned(), error.into());
    }
    line.insert(entry.origin.0.to_owned(), entry.origin.1);
    Value::Object(line).to_string() + "\n"
}

/// Until nobody sends any more.
async fn write(
    file: LogFile,
    mut lines: mpsc::Receiver<String>,
    waiting: Arc<AtomicUsize>,
    lost: Arc<AtomicU64>,
) {
    let file = Arc::new(file);
    let mut some = Vec::new();
    let mut fails = false;
    while lines.recv_many(&mut some, TOGETHER).await > 0 {
        let count = some.len() as u64;
        let text = some.concat();
        some.clear();
        let bytes = text.len();
        let to = file.clone();
        let written = daemon::blocking(move || (&to.file).write_all(text.as_bytes())).await;
        waiting.fetch_sub(bytes, Ordering::Relaxed);
        match written {
            Ok(()) => fails = false,
            Err(error) => {
                lost.fetch_add(count, Ordering::Relaxed);
                // Once, not for every query.
                if !std::mem::replace(&mut fails, true) {
                    let path = file.path.display();
                    tracing::warn!("query log {path} cannot be written, lines are lost: {error}");
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(log: &QueryLog, query: &str) {
        log.put(Entry {
            at: Timestamp::from_millis(1_800_000_000_000),
            query,
            start: Timestamp::from_millis(1_800_000_000_250),
            end: Timestamp::from_millis(1_800_000_001_000),
            step_ms: 15_000,
            stats: json!({}),
            error: None,
            origin: ("httpRequest", json!({"path": "/api/v1/query"})),
        });
    }

    #[tokio::test]
    async fn lines_are_written_and_those_that_find_no_room_are_counted() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("queries.log");
        let (log, tasks) = (QueryLog::default(), Tasks::new());
        assert!(!log.is_on());
        put(&log, "nobody hears this");
        log.set(Some(LogFile::open(&path).unwrap()), &tasks);
        put(&log, "up");
        // On this one thread nothing is written before the next await.
        put(&log, &"x".repeat(BYTES_MAX));
        for _ in 0..LINES_MAX {
            put(&log, "1");
        }
        assert_eq!(log.lost(), 2);
        log.set(None, &tasks);
        tasks
            .shutdown(std::time::Duration::from_secs(10))
            .await
            .unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text.lines().count(), LINES_MAX);
        assert_eq!(log.waiting_bytes.load(Ordering::Relaxed), 0);
        let first: Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
        assert_eq!(first["params"]["query"], "up");
        assert_eq!(first["params"]["start"], "2027-01-15T08:00:00.25Z");
        assert_eq!(first["params"]["step"], 15);
        assert_eq!(first["httpRequest"]["path"], "/api/v1/query");
    }

    #[test]
    fn a_file_that_cannot_be_is_named() {
        let error = LogFile::open(Path::new("/nowhere/at/all")).unwrap_err();
        let error = error.to_string();
        assert!(
            error.contains("global.query_log_file: /nowhere/at/all"),
            "{error}"
        );
    }
}
