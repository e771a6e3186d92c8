//! The machine: room and speed of the disk under the data folder, and file descriptors.

use std::fs;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use daemon::Clock;
use daemon::config::ByteSize;

use super::report::Section;

/// With less, nothing works for long.
const FREE_MIN: u64 = 64 << 20;
/// Times that a small file is synced.
const SYNCS: usize = 5;
const SYNC_SLOW: Duration = Duration::from_millis(200);
/// The buffer promises to sync within about this.
const SYNC_MAX: Duration = Duration::from_secs(2);
/// File descriptors beside those of targets and hubs: listeners, journal, readers.
const DESCRIPTORS_BESIDE: u64 = 128;

/// `room`: how much more the buffer may grow.
pub(super) fn disk(section: &mut Section<'_>, folder: &Path, room: u64, clock: &dyn Clock) {
    // A folder that is not there yet will be on the disk of the nearest one that is.
    let whole = std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned());
    let folder = whole.as_path();
    let Some(there) = folder.ancestors().find(|path| path.is_dir()) else {
        let text = format!("{} is not there", folder.display());
        section.failure(
            "data folder",
            text,
            "give the folder of the edge with --data-dir",
        );
        return;
    };
    let shown = folder.display();
    if there != folder {
        let text = format!("{shown} is not there yet");
        section.warning(
            "data folder",
            text,
            "give the folder of the edge with --data-dir; a first start makes it",
        );
    }
    match rustix::fs::statvfs(there) {
        Err(error) => section.failure(
            "free space",
            format!("{shown}: {error}"),
            "mend the file system",
        ),
        Ok(about) => {
            let free = about.f_bavail.saturating_mul(about.f_frsize);
            let text = format!(
                "{} on the disk of {shown}",
                ByteSize::from_bytes(free / 1024 * 1024)
            );
            let way_out = "free some space, move the data folder (--data-dir) to a larger disk, or lower branchline.buffer.bytes_max: the oldest samples go when the disk is full";
            if free < FREE_MIN {
                section.failure("free space", text, way_out);
            } else if free < room {
                let text = format!(
                    "{text}, while the buffer may grow by {}",
                    ByteSize::from_bytes(room / 1024 * 1024)
                );
                section.warning("free space", text, way_out);
            } else {
                section.ok("free space", text);
            }
        }
    }
    match sync_time(there, clock) {
        Err(error) => section.failure(
            "fsync",
            format!("{shown} cannot be written: {error}"),
            "free some space, remount the file system, or mend the folder's owner and permissions",
        ),
        Ok(took) => {
            let text = format!(
                "{:.1} ms for a small file on the disk of {shown}",
                took.as_secs_f64() * 1000.0
            );
            match took {
                slow if slow > SYNC_MAX => section.failure("fsync", text, "this disk cannot keep the buffer: put the data folder on another"),
                slow if slow > SYNC_SLOW => section.warning("fsync", text, "the disk is slow or busy: put the data folder on another, or raise branchline.buffer.sync_within"),
                _ => section.ok("fsync", text),
            }
        }
    }
}

/// The median of a few.
fn sync_time(folder: &Path, clock: &dyn Clock) -> std::io::Result<Duration> {
    let path = folder.join(format!(".diagnose-{}", std::process::id()));
    let measured = measure(&path, clock);
    let removed = fs::remove_file(&path);
    let mut times = measured?;
    removed?;
    times.sort_unstable();
    Ok(times[times.len() / 2])
}

fn measure(path: &PathBuf, clock: &dyn Clock) -> std::io::Result<[Duration; SYNCS]> {
    let mut file = fs::File::create(path)?;
    let mut times = [Duration::ZERO; SYNCS];
    for time in &mut times {
        let began = clock.elapsed();
        file.write_all(&[0; 4096])?;
        file.sync_data()?;
        *time = clock.elapsed().saturating_sub(began);
    }
    Ok(times)
}

/// `process`: the running edge's; `connections`: targets and hubs.
pub(super) fn descriptors(section: &mut Section<'_>, process: Option<u32>, connections: u64) {
    let name = "file descriptors";
    let (limit, used) = match process {
        Some(id) => (limit_of(id), used_by(id)),
        None => (
            rustix::process::getrlimit(rustix::process::Resource::Nofile).current,
            None,
        ),
    };
    let need = connections + DESCRIPTORS_BESIDE;
    let way_out = "raise the limit (LimitNOFILE= in the service's unit, or ulimit -n)";
    match (limit, used) {
        (None, _) => section.ok(name, "no limit"),
        (Some(limit), _) if limit < need => {
            let text =
                format!("the limit is {limit}, and {connections} targets and hubs may need {need}");
            section.failure(name, text, way_out);
        }
        (Some(limit), Some(used)) if used > limit / 5 * 4 => {
            section.warning(name, format!("{used} of {limit} are in use"), way_out);
        }
        (Some(limit), Some(used)) => section.ok(name, format!("{used} of {limit} are in use")),
        (Some(limit), None) => section.ok(name, format!("the limit is {limit}")),
    }
}

fn limit_of(process: u32) -> Option<u64> {
    let limits = fs::read_to_string(format!("/proc/{process}/limits")).ok()?;
    let line = limits
        .lines()
        .find(|line| line.starts_with("Max open files"))?;
    line.split_whitespace().nth(3)?.parse().ok()
}

fn used_by(process: u32) -> Option<u64> {
    let open = fs::read_dir(format!("/proc/{process}/fd")).ok()?;
    Some(open.count() as u64)
}

/// The process that holds the data folder, if it runs.
pub(super) fn process_of(data_dir: &Path) -> Option<u32> {
    let lock = data_dir.join("LOCK");
    let id: u32 = fs::read_to_string(&lock).ok()?.trim().parse().ok()?;
    // Another process may have the number now.
    has_open(id, &lock)
        .unwrap_or_else(|| is_called_edge(id))
        .then_some(id)
}

/// None: who asks may not see that process's files.
fn has_open(process: u32, file: &Path) -> Option<bool> {
    let wanted = fs::metadata(file).ok()?;
    let mut open = fs::read_dir(format!("/proc/{process}/fd")).ok()?.flatten();
    Some(open.any(|entry| {
        let about = fs::metadata(entry.path());
        about.is_ok_and(|about| (about.dev(), about.ino()) == (wanted.dev(), wanted.ino()))
    }))
}

fn is_called_edge(process: u32) -> bool {
    let command = fs::read(format!("/proc/{process}/cmdline")).unwrap_or_default();
    let program = command.split(|byte| *byte == 0).next().unwrap_or_default();
    program.ends_with(b"edge-scraper")
}

#[cfg(test)]
mod tests {
    use daemon::SystemClock;

    use super::super::report::State;
    use super::*;

    #[test]
    fn a_good_disk_and_a_missing_folder() {
        let (clock, folder) = (SystemClock::new(), tempfile::tempdir().unwrap());
        let mut findings = Vec::new();
        let mut section = Section {
            findings: &mut findings,
            name: "machine".to_owned(),
        };
        disk(&mut section, folder.path(), 0, &clock);
        disk(&mut section, &folder.path().join("x"), u64::MAX, &clock);
        descriptors(&mut section, None, 0);
        descriptors(&mut section, None, u64::MAX / 2);
        let states: Vec<(&str, State)> = findings
            .iter()
            .map(|f| (f.name.as_str(), f.state))
            .collect();
        assert_eq!(states[0], ("free space", State::Ok));
        assert_eq!(states[2], ("data folder", State::Warning));
        assert_eq!(states[3], ("free space", State::Warning));
        assert_eq!(
            fs::read_dir(folder.path()).unwrap().count(),
            0,
            "nothing stays behind"
        );
        assert_eq!(process_of(folder.path()), None);
        // Whatever the program is called; and a number that another process has by now.
        let (lock, me) = (folder.path().join("LOCK"), std::process::id());
        fs::write(&lock, format!("{me}\n")).unwrap();
        assert_eq!(process_of(folder.path()), None);
        let held = fs::File::open(&lock).unwrap();
        assert_eq!(process_of(folder.path()), Some(me));
        drop(held);
        assert!(limit_of(std::process::id()).is_some() && used_by(std::process::id()).is_some());
    }
}
