//! What a process uses, as the kernel counts it: CPU of all its threads, memory, and the disk under its data folder.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

/// The kernel's clock ticks a second in /proc: 100 on every Linux that programs can see.
const TICKS_PER_SECOND: u64 = 100;

/// CPU time of a process, user and system, all threads, also those that have ended.
///
/// # Errors
/// When there is no such process.
pub(crate) fn cpu(pid: u32) -> io::Result<Duration> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    ticks(&stat)
        .map(|ticks| Duration::from_millis(ticks * 1000 / TICKS_PER_SECOND))
        .ok_or_else(|| {
            io::Error::new(
                io::ErrorKind::InvalidData,
                format!("/proc/{pid}/stat: {stat}"),
            )
        })
}

/// utime and stime: fields 14 and 15. The name before them, in brackets, may contain anything.
fn ticks(stat: &str) -> Option<u64> {
    let (_, after_name) = stat.rsplit_once(')')?;
    let mut fields = after_name.split_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(user + system)
}

/// Memory of a process in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Memory {
    /// The highest resident size since the start.
    pub(crate) peak: u64,
    /// The resident size: with the pages of files that it has mapped, which the kernel takes back at any time.
    pub(crate) resident: u64,
    /// Without them.
    pub(crate) anonymous: u64,
}

/// # Errors
/// When there is no such process.
pub(crate) fn memory(pid: u32) -> io::Result<Memory> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    Ok(Memory {
        peak: kibibytes(&status, "VmHWM:"),
        resident: kibibytes(&status, "VmRSS:"),
        anonymous: kibibytes(&status, "RssAnon:"),
    })
}

/// The resident size with shared pages counted in part, as smaps tells it; 0 where the kernel does not.
pub(crate) fn proportional_memory(pid: u32) -> u64 {
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
    kibibytes(&rollup, "Pss:")
}

fn kibibytes(text: &str, key: &str) -> u64 {
    text.lines()
        .find_map(|line| line.strip_prefix(key))
        .and_then(|rest| rest.split_whitespace().next())
        .and_then(|number| number.parse().ok())
        .map_or(0, |kibibytes: u64| kibibytes * 1024)
}

/// Bytes that the files under a folder take on disk: their blocks, not their lengths, and a file with two names once. What goes
/// away while we look counts nothing.
pub(crate) fn disk(folder: &Path) -> u64 {
    let mut seen = std::collections::BTreeSet::new();
    let (mut bytes, mut folders) = (0, vec![folder.to_path_buf()]);
    while let Some(folder) = folders.pop() {
        let Ok(entries) = fs::read_dir(&folder) else {
            continue;
        };
        for entry in entries.flatten() {
            let Ok(metadata) = entry.metadata() else {
                continue;
            };
            if metadata.is_dir() {
                folders.push(entry.path());
            } else if metadata.is_file() && seen.insert((metadata.dev(), metadata.ino())) {
                bytes += metadata.blocks() * 512;
            }
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_stand_behind_any_name() {
        let stat = "7 (a) b (c) S 1 7 7 0 -1 4194304 100 0 0 0 250 31 0 0 20 0";
        assert_eq!(ticks(stat), Some(281));
        assert_eq!(ticks("7 (a"), None);
    }

    #[test]
    fn reads_itself() {
        let pid = std::process::id();
        assert!(cpu(pid).is_ok());
        let memory = memory(pid).expect("our own status");
        assert!(memory.peak >= memory.resident && memory.resident >= memory.anonymous);
        assert!(memory.anonymous > 0);
    }

    #[test]
    fn a_hard_link_takes_no_room() {
        let folder = tempfile::tempdir().expect("a folder");
        fs::write(folder.path().join("a"), vec![1; 10_000]).expect("written");
        let once = disk(folder.path());
        fs::hard_link(folder.path().join("a"), folder.path().join("b")).expect("linked");
        assert_eq!(disk(folder.path()), once);
        assert!(once >= 10_000);
    }
}
