//! `/sys/fs/bcache`: caches of SSDs before slow disks. The expensive `priority_stats` are left out, as by default there.

use std::path::Path;

use super::page::{Kind, Page};
use super::roots::{PartError, Roots, Text, attribute, names};

/// File, name after `node_bcache_`, kind, factor, help.
type Column = (&'static str, &'static str, Kind, f64, &'static str);

const SET: [Column; 10] = [
    (
        "average_key_size",
        "average_key_size_sectors",
        Kind::Gauge,
        1.0,
        "Average data per key in the btree (sectors).",
    ),
    (
        "btree_cache_size",
        "btree_cache_size_bytes",
        Kind::Gauge,
        1.0,
        "Amount of memory currently used by the btree cache.",
    ),
    (
        "cache_available_percent",
        "cache_available_percent",
        Kind::Gauge,
        1.0,
        "Percentage of cache device without dirty data, usable for writeback (may contain clean cached data).",
    ),
    ("congested", "congested", Kind::Gauge, 1.0, "Congestion."),
    (
        "root_usage_percent",
        "root_usage_percent",
        Kind::Gauge,
        1.0,
        "Percentage of the root btree node in use (tree depth increases if too high).",
    ),
    (
        "tree_depth",
        "tree_depth",
        Kind::Gauge,
        1.0,
        "Depth of the btree.",
    ),
    (
        "internal/active_journal_entries",
        "active_journal_entries",
        Kind::Gauge,
        1.0,
        "Number of journal entries that are newer than the index.",
    ),
    (
        "internal/btree_nodes",
        "btree_nodes",
        Kind::Gauge,
        1.0,
        "Total nodes in the btree.",
    ),
    // In the file's name microseconds, for node_exporter nanoseconds: the same value as there.
    (
        "internal/btree_read_average_duration_us",
        "btree_read_average_duration_seconds",
        Kind::Gauge,
        1e-9,
        "Average btree read duration.",
    ),
    (
        "internal/cache_read_races",
        "cache_read_races_total",
        Kind::Counter,
        1.0,
        "Counts instances where while data was being read from the cache, the bucket was reused and invalidated - i.e. where the pointer was stale after the read completed.",
    ),
];

const BACKING: [Column; 8] = [
    (
        "dirty_data",
        "dirty_data_bytes",
        Kind::Gauge,
        1.0,
        "Amount of dirty data for this backing device in the cache.",
    ),
    (
        "stats_total/bypassed",
        "bypassed_bytes_total",
        Kind::Counter,
        1.0,
        "Amount of IO (both reads and writes) that has bypassed the cache.",
    ),
    (
        "stats_total/cache_hits",
        "cache_hits_total",
        Kind::Counter,
        1.0,
        "Hits counted per individual IO as bcache sees them.",
    ),
    (
        "stats_total/cache_misses",
        "cache_misses_total",
        Kind::Counter,
        1.0,
        "Misses counted per individual IO as bcache sees them.",
    ),
    (
        "stats_total/cache_bypass_hits",
        "cache_bypass_hits_total",
        Kind::Counter,
        1.0,
        "Hits for IO intended to skip the cache.",
    ),
    (
        "stats_total/cache_bypass_misses",
        "cache_bypass_misses_total",
        Kind::Counter,
        1.0,
        "Misses for IO intended to skip the cache.",
    ),
    (
        "stats_total/cache_miss_collisions",
        "cache_miss_collisions_total",
        Kind::Counter,
        1.0,
        "Instances where data insertion from cache miss raced with write (data already present).",
    ),
    (
        "stats_total/cache_readaheads",
        "cache_readaheads_total",
        Kind::Counter,
        1.0,
        "Count of times readahead occurred.",
    ),
];

/// Lines of a backing device's `writeback_rate_debug`.
const WRITEBACK: [(&str, &str, &str); 5] = [
    (
        "target:",
        "dirty_target_bytes",
        "Current dirty data target threshold for this backing device in bytes.",
    ),
    (
        "rate:",
        "writeback_rate",
        "Current writeback rate for this backing device in bytes.",
    ),
    (
        "proportional:",
        "writeback_rate_proportional_term",
        "Current result of proportional controller, part of writeback rate",
    ),
    (
        "integral:",
        "writeback_rate_integral_term",
        "Current result of integral controller, part of writeback rate",
    ),
    (
        "change:",
        "writeback_change",
        "Last writeback rate change step for this backing device.",
    ),
];

const CACHE: [Column; 3] = [
    (
        "io_errors",
        "io_errors",
        Kind::Gauge,
        1.0,
        "Number of errors that have occurred, decayed by io_error_halflife.",
    ),
    (
        "metadata_written",
        "metadata_written_bytes_total",
        Kind::Counter,
        1.0,
        "Sum of all non data writes (btree writes and all other metadata).",
    ),
    (
        "written",
        "written_bytes_total",
        Kind::Counter,
        1.0,
        "Sum of all data that has been written to the cache.",
    ),
];

pub(super) fn read(roots: &Roots, page: &mut Page) -> Result<(), PartError> {
    let folder = roots.sys.join("fs/bcache");
    for uuid in names(&folder)? {
        let path = folder.join(&uuid);
        // Beside the sets, named by UUID, there are control files.
        if !uuid.contains('-') || !path.is_dir() {
            continue;
        }
        columns(&path, &SET, &[("uuid", &uuid)], page)?;
        for device in names(&path)? {
            let below = path.join(&device);
            let numbered = |prefix: &str| {
                let rest = device.strip_prefix(prefix);
                rest.is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
            };
            if numbered("bdev") {
                let labels = [("uuid", uuid.as_str()), ("backing_device", &device)];
                columns(&below, &BACKING, &labels, page)?;
                writeback(&below, &labels, page)?;
            } else if numbered("cache") {
                let labels = [("uuid", uuid.as_str()), ("cache_device", &device)];
                columns(&below, &CACHE, &labels, page)?;
            }
        }
    }
    Ok(())
}

fn columns(
    folder: &Path,
    columns: &[Column],
    labels: &[(&str, &str)],
    page: &mut Page,
) -> Result<(), PartError> {
    for (file, name, kind, factor, help) in columns {
        // What the kernel does not show counts as 0, as in node_exporter.
        let path = folder.join(file);
        let value = match attribute(&path) {
            None => 0.0,
            Some(text) => plain(&text).ok_or_else(|| PartError::Malformed {
                path,
                expected: "a size such as 4.5k",
                found: text.chars().take(80).collect(),
            })?,
        };
        page.of(*kind, &format!("node_bcache_{name}"), help)
            .row(labels, value * factor);
    }
    Ok(())
}

fn writeback(folder: &Path, labels: &[(&str, &str)], page: &mut Page) -> Result<(), PartError> {
    let Some(text) = Text::read_if_there(folder.join("writeback_rate_debug"))? else {
        return Ok(());
    };
    for (keyword, name, help) in WRITEBACK {
        let line = text.lines().find_map(|line| line.strip_prefix(keyword));
        let Some(line) = line else { continue };
        let field = line.trim().trim_end_matches("/sec");
        let value = plain(field).ok_or_else(|| text.malformed("a size such as 4.5k", field))?;
        page.gauge(&format!("node_bcache_{name}"), help)
            .row(labels, value);
    }
    Ok(())
}

/// A number as the kernel writes it for people, `-1.5k`. What stands behind the point are 1024ths of ten: `.5` to `.9` and up
/// to `.10`, so that 1.9k is 1 + 9/10.24.
fn plain(text: &str) -> Option<f64> {
    let (sign, text) = match text.strip_prefix('-') {
        Some(rest) => (-1.0, rest),
        None => (1.0, text),
    };
    let unit = text.chars().last()?;
    let power = "kMGTPEZY".find(unit).map_or(0, |at| at as i32 + 1);
    if power == 0 {
        return Some(sign * text.parse::<f64>().ok()?.trunc());
    }
    let number = &text[..text.len() - unit.len_utf8()];
    let (whole, part) = number.split_once('.').unwrap_or((number, "0"));
    let mantissa = whole.parse::<f64>().ok()? + part.parse::<f64>().ok()? / 10.24;
    Some(sign * (mantissa * 1024f64.powi(power)).trunc())
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{Fixture, check};
    use super::*;

    #[test]
    fn a_set_with_a_backing_device_and_a_cache() {
        let set = "sys/fs/bcache/deaddd54-c735-46d5-868e-f331c5fd7c74";
        let at = |file: &str| format!("{set}/{file}");
        let files = [
            (at("btree_cache_size"), "4.5k\n"),
            (at("internal/btree_read_average_duration_us"), "1305\n"),
            (at("bdev0/dirty_data"), "1.9M\n"),
            (at("bdev0/stats_total/cache_hits"), "546\n"),
            (
                at("bdev0/writeback_rate_debug"),
                "rate:\t\t1.1M/sec\ndirty:\t\t20.4G\ntarget:\t\t20.4G\nproportional:\t427.5k\nintegral:\t790.0k\nchange:\t\t-321.5k/sec\nnext io:\t17ms\n",
            ),
            (at("cache0/written"), "512\n"),
            ("sys/fs/bcache/register".to_owned(), ""),
        ];
        let files: Vec<(&str, &str)> = files
            .iter()
            .map(|(path, text)| (path.as_str(), *text))
            .collect();
        let fixture = Fixture::new(&files);
        let mut page = Page::default();
        read(&fixture.roots(), &mut page).unwrap();
        let page = page.text().replace(set.rsplit_once('/').unwrap().1, "U");
        for row in [
            "node_bcache_btree_cache_size_bytes{uuid=\"U\"} 4596\n",
            "node_bcache_btree_read_average_duration_seconds{uuid=\"U\"} 0.000001305\n",
            "node_bcache_congested{uuid=\"U\"} 0\n",
            "node_bcache_dirty_data_bytes{uuid=\"U\",backing_device=\"bdev0\"} 1970176\n",
            "node_bcache_cache_hits_total{uuid=\"U\",backing_device=\"bdev0\"} 546\n",
            "node_bcache_writeback_rate{uuid=\"U\",backing_device=\"bdev0\"} 1150976\n",
            "node_bcache_writeback_change{uuid=\"U\",backing_device=\"bdev0\"} -329204\n",
            "node_bcache_written_bytes_total{uuid=\"U\",cache_device=\"cache0\"} 512\n",
        ] {
            assert!(page.contains(row), "{row} in {page}");
        }
        check(super::read, &[], "");
    }

    #[test]
    fn what_is_wrong_is_named() {
        check(
            super::read,
            &[("sys/fs/bcache/a-b/average_key_size", "k\n")],
            "error sys/fs/bcache/a-b/average_key_size: expected a size such as 4.5k, found \"k\"\n",
        );
    }
}
