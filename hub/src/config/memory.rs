//! How much memory may this process use? What a query may take of it is a part of that, so that one query too many is refused and
//! the kernel does not end the hub.

use std::fs::read_to_string;

/// Most that a query may hold, if nothing is configured.
const QUERY_MAX: u64 = 1 << 30;
/// Part of the whole that one query may hold.
const QUERY_PART: u64 = 4;

/// Most that answers which are kept may take, if nothing is configured.
const CACHE_MAX: u64 = 64 << 20;

/// What answers that are kept may take, if nothing is configured: a sixteenth of the whole.
pub(super) fn query_cache() -> u64 {
    (query_memory() / 4).min(CACHE_MAX)
}

/// What one query may hold, if nothing is configured.
pub(super) fn query_memory() -> u64 {
    let process = read_to_string("/proc/self/limits").unwrap_or_default();
    let of_process = |key| after(&process, key)?.parse().ok();
    // What `ulimit -v` and `ulimit -d` set: bytes, or "unlimited".
    let address_space = of_process("Max address space");
    let data = of_process("Max data size");
    let limits = [machine(), control_group(), address_space, data];
    let least = limits.into_iter().flatten().min();
    least.map_or(QUERY_MAX, |bytes| (bytes / QUERY_PART).min(QUERY_MAX))
}

fn machine() -> Option<u64> {
    let text = read_to_string("/proc/meminfo").ok()?;
    let kibibytes = after(&text, "MemTotal:")?.parse::<u64>().ok()?;
    kibibytes.checked_mul(1024)
}

/// In a container its own group is the root of what it sees; elsewhere /proc says which it is.
fn control_group() -> Option<u64> {
    let text = read_to_string("/proc/self/cgroup").unwrap_or_default();
    let own = text.lines().find_map(|line| line.strip_prefix("0::/"));
    let mut folder = std::path::PathBuf::from("/sys/fs/cgroup");
    let mut limits = vec![limit_of(&folder)];
    for name in own.unwrap_or_default().split('/').filter(|n| !n.is_empty()) {
        folder.push(name);
        limits.push(limit_of(&folder));
    }
    limits.into_iter().flatten().min()
}

/// "max" is none.
fn limit_of(folder: &std::path::Path) -> Option<u64> {
    let text = read_to_string(folder.join("memory.max")).ok()?;
    text.trim().parse().ok()
}

/// The word behind a key at the beginning of a line.
fn after<'t>(text: &'t str, key: &str) -> Option<&'t str> {
    let mut lines = text.lines();
    lines
        .find_map(|line| line.strip_prefix(key))?
        .split_whitespace()
        .next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn something_is_known_of_this_machine() {
        let query = query_memory();
        assert!((1 << 20..=QUERY_MAX).contains(&query), "{query}");
    }

    #[test]
    fn words_stand_behind_their_key() {
        let text =
            "Max data size  1 2 bytes\nMax address space         536870912  unlimited  bytes\n";
        assert_eq!(after(text, "Max address space"), Some("536870912"));
        assert_eq!(after(text, "Max stack size"), None);
    }
}
