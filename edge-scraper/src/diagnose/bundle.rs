//! All that somebody else needs to look at an edge, in one file, without secrets.
//!
//! | in the bundle | |
//! |---|---|
//! | `report.txt`, `report.json` | what `diagnose` finds |
//! | `config/…` | the configuration and the files that it names, secrets masked |
//! | `status.json`, `targets.json`, `metrics.txt` | what the running edge says |
//! | `buffer.txt` | the files of the data folder, with sizes and times |
//! | `log.txt` | the end of the log |
//! | `machine.txt` | kernel, memory, load |
//!
//! Secrets are masked where they stand: by their keys, in parameters, in addresses. The configuration is written anew from what was read, so
//! that no comment tells one. Then every secret that was found is taken out of every file once more.

use std::fmt::Write as _;
use std::fs;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use daemon::config::{mask_text, parse_yaml, yaml};
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::Value;

use super::secrets::Secrets;
use super::{Report, Subject, machine};

/// Of the log.
const LOG_BYTES_MAX: u64 = 1 << 20;
/// Of one other file.
const FILE_BYTES_MAX: usize = 8 << 20;
/// Files of the data folder that are listed.
const LISTED_MAX: usize = 10_000;
/// Configuration files beside the main one.
const CONFIGS_MAX: usize = 100;

/// Why there is no bundle.
#[derive(Debug, thiserror::Error)]
#[error("the bundle {path} cannot be written: {source}: choose another place with --output")]
pub struct BundleError {
    path: String,
    source: io::Error,
}

/// Writes the bundle. `log`: the edge's log file, where it is not its standard error.
///
/// # Errors
/// A file that cannot be written. What cannot be read is left out, and the bundle says so.
pub async fn collect(
    subject: &Subject,
    report: &Report,
    log: Option<&Path>,
    output: &Path,
) -> Result<Vec<String>, BundleError> {
    let mut files: Vec<(String, String)> = Vec::new();
    let mut add = |name: &str, text: Result<String, String>| {
        let text = text.unwrap_or_else(|why| format!("not there: {why}\n"));
        files.push((name.to_owned(), text));
    };
    add("report.txt", Ok(report.checks() + &report.explanation()));
    add(
        "report.json",
        serde_json::to_string_pretty(&report.json()).map_err(|e| e.to_string()),
    );
    for (name, path) in [
        ("status.json", "/api/v1/status/edge"),
        ("targets.json", "/api/v1/targets"),
        ("metrics.txt", "/metrics"),
    ] {
        add(name, subject.address.get(path).await);
    }
    add("buffer.txt", Ok(listing(&subject.data_dir)));
    add("log.txt", tail_of_log(&subject.data_dir, log));
    add("machine.txt", Ok(machine_text()));
    let mut secrets = Secrets::default();
    if let Some(path) = &subject.config {
        configs(path, &mut secrets, &mut files);
    }
    for (name, text) in &mut files {
        // The configuration is masked already.
        if name.starts_with("config/") {
            continue;
        }
        *text = match serde_json::from_str::<Value>(text) {
            Ok(mut value) => {
                secrets.of_answer(&mut value);
                // Texts within it may tell of labels.
                mask_text(&format!("{value:#}"))
            }
            Err(_) => mask_text(text),
        };
    }
    let failed = |source| BundleError {
        path: output.display().to_string(),
        source,
    };
    let names = files.iter().map(|(name, _)| name.clone()).collect();
    let at = report.at.millis() / 1000;
    pack(output, &files, &secrets, at).map_err(failed)?;
    Ok(names)
}

fn pack(output: &Path, files: &[(String, String)], secrets: &Secrets, at: i64) -> io::Result<()> {
    let file = fs::File::create(output)?;
    let mut archive = tar::Builder::new(GzEncoder::new(file, Compression::default()));
    for (name, text) in files {
        let mut text = secrets.mask(text);
        if text.len() > FILE_BYTES_MAX {
            let end = text.floor_char_boundary(FILE_BYTES_MAX);
            text.truncate(end);
            text.push_str("\n(cut off here)\n");
        }
        let mut header = tar::Header::new_gnu();
        header.set_size(text.len() as u64);
        header.set_mode(0o600);
        header.set_mtime(u64::try_from(at).unwrap_or(0));
        let name = format!("edge-diagnosis/{}", secrets.mask(name));
        archive.append_data(&mut header, name, text.as_bytes())?;
    }
    let mut file = archive.into_inner()?.finish()?;
    file.flush()?;
    file.sync_all()
}

/// The configuration and what it names, masked; their secrets are gathered on the way.
fn configs(path: &Path, secrets: &mut Secrets, files: &mut Vec<(String, String)>) {
    let mut waiting = vec![path.to_owned()];
    let mut seen = 0;
    while let Some(path) = waiting.pop() {
        seen += 1;
        if seen > CONFIGS_MAX {
            break;
        }
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let name = format!("config/{seen:02}-{name}");
        let folder = path.parent().unwrap_or(Path::new(""));
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) => {
                files.push((name, format!("{}: {error}\n", path.display())));
                continue;
            }
        };
        match parse_yaml::<Value>(&text, &path) {
            Ok(mut value) => {
                secrets.of_config(&mut value, folder);
                let patterns = value["scrape_config_files"].as_array();
                for pattern in patterns.into_iter().flatten().filter_map(Value::as_str) {
                    let found = crate::config::find_files(&folder.join(pattern), CONFIGS_MAX);
                    waiting.extend(found.unwrap_or_default());
                }
                files.push((name, yaml::block(&value)));
            }
            // Nobody can say what is secret in it, and the error may quote it.
            Err(error) => files.push((
                name,
                mask_text(&format!("left out, because it cannot be read: {error}\n")),
            )),
        }
    }
}

/// Every file under the folder, with its size and age.
fn listing(folder: &Path) -> String {
    let mut text = format!("{}\n", folder.display());
    let mut waiting: Vec<PathBuf> = vec![folder.to_owned()];
    let mut listed = 0;
    while let Some(path) = waiting.pop() {
        let entries = match fs::read_dir(&path) {
            Ok(entries) => entries,
            Err(error) => {
                let _ = writeln!(text, "{}: {error}", path.display());
                continue;
            }
        };
        let mut entries: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
        entries.sort();
        for entry in entries {
            listed += 1;
            if listed > LISTED_MAX {
                let _ = writeln!(text, "(and more)");
                return text;
            }
            let Ok(about) = fs::symlink_metadata(&entry) else {
                continue;
            };
            let changed = about.modified().ok();
            let changed = changed.and_then(|at| jiff::Timestamp::try_from(at).ok());
            let changed = changed.map_or_else(String::new, |at| format!("{at:.0}"));
            let _ = writeln!(text, "{:>12} {changed} {}", about.len(), entry.display());
            if about.is_dir() {
                waiting.push(entry);
            }
        }
    }
    text
}

/// The end of the given file, or of the file that the running edge's standard error goes to.
fn tail_of_log(data_dir: &Path, log: Option<&Path>) -> Result<String, String> {
    let path = match (log, machine::process_of(data_dir)) {
        (Some(path), _) => path.to_owned(),
        (None, Some(id)) => PathBuf::from(format!("/proc/{id}/fd/2")),
        (None, None) => return Err("no edge runs, and no --log was given".to_owned()),
    };
    let shown = path.display();
    let about = fs::metadata(&path).map_err(|error| format!("{shown}: {error}"))?;
    if !about.is_file() {
        return Err(format!(
            "the edge's log goes to no file: get it from where it goes (journalctl -u …), or give --log ({shown})"
        ));
    }
    let read = || -> io::Result<Vec<u8>> {
        let mut file = fs::File::open(&path)?;
        file.seek(SeekFrom::Start(about.len().saturating_sub(LOG_BYTES_MAX)))?;
        let mut bytes = Vec::new();
        file.take(LOG_BYTES_MAX).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let bytes = read().map_err(|error| format!("{shown}: {error}"))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn machine_text() -> String {
    let name = rustix::system::uname();
    let mut text = format!(
        "{} {} {} {}\n",
        name.sysname().to_string_lossy(),
        name.release().to_string_lossy(),
        name.version().to_string_lossy(),
        name.machine().to_string_lossy()
    );
    for path in [
        "/proc/meminfo",
        "/proc/loadavg",
        "/proc/uptime",
        "/proc/mounts",
        "/etc/os-release",
    ] {
        let read = fs::read_to_string(path).unwrap_or_else(|error| format!("{error}\n"));
        let _ = write!(text, "\n{path}\n{read}");
    }
    text
}
