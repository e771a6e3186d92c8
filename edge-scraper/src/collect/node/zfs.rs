//! `/proc/spl/kstat/zfs`: ZFS's cache and pools. The names of the metrics are those in the files.

use std::path::Path;

use super::page::Page;
use super::roots::{PartError, Roots, Text, names};

/// Prefix of the metrics after `node_`, and file. Which files there are depends on the version of ZFS.
const FILES: [(&str, &str); 11] = [
    ("zfs_abd", "abdstats"),
    ("zfs_arc", "arcstats"),
    ("zfs_dbuf", "dbuf_stats"),
    ("zfs_dmu_tx", "dmu_tx"),
    ("zfs_dnode", "dnodestats"),
    ("zfs_fm", "fm"),
    ("zfs_vdev_cache", "vdev_cache_stats"),
    ("zfs_vdev_mirror", "vdev_mirror_stats"),
    ("zfs_xuio", "xuio_stats"),
    ("zfs_zfetch", "zfetchstats"),
    ("zfs_zil", "zil"),
];

const POOL_STATES: [&str; 6] = [
    "online", "degraded", "faulted", "offline", "removed", "unavail",
];

/// Datasets of one machine; each has its own file and seven series. A bound against snapshots gone wild.
const DATASETS_MAX: usize = 10_000;

pub(super) fn read(roots: &Roots, page: &mut Page) -> Result<(), PartError> {
    let folder = roots.proc.join("spl/kstat/zfs");
    if !folder.is_dir() {
        return Err(PartError::NoData);
    }
    for (subsystem, file) in FILES {
        if let Some(text) = Text::read_if_there(folder.join(file))? {
            kstat(&text, |name, value| {
                let (metric, help) = named(subsystem, file, name);
                page.untyped(&metric, &help).value(value);
            })?;
        }
    }
    for pool in names(&folder)? {
        let path = folder.join(&pool);
        if path.is_dir() {
            // A pool may be exported while we read: its files are gone then.
            match read_pool(&pool, &path, page) {
                Err(error) if error.is_missing() => {}
                result => result?,
            }
        }
    }
    Ok(())
}

fn read_pool(pool: &str, path: &Path, page: &mut Page) -> Result<(), PartError> {
    if let Some(text) = Text::read_if_there(path.join("io"))? {
        io(&text, pool, page)?;
    }
    let files = names(path)?;
    let datasets = files.iter().filter(|file| file.starts_with("objset-"));
    for file in datasets.take(DATASETS_MAX) {
        let text = Text::read(path.join(file))?;
        let name = text.lines().find_map(|line| {
            let mut fields = line.split_ascii_whitespace();
            (fields.next() == Some("dataset_name")).then(|| fields.nth(1))?
        });
        let Some(dataset) = name else {
            return Err(text.malformed("a line dataset_name", ""));
        };
        kstat(&text, |name, value| {
            let (metric, help) = named("zfs_zpool_dataset", "objset", name);
            page.untyped(&metric, &help)
                .row(&[("zpool", pool), ("dataset", dataset)], value);
        })?;
    }
    if let Some(text) = Text::read_if_there(path.join("state"))? {
        let now = text.trimmed().to_ascii_lowercase();
        for state in POOL_STATES {
            let value = if state == now { 1.0 } else { 0.0 };
            page.gauge("node_zfs_zpool_state", "kstat.zfs.misc.state")
                .row(&[("zpool", pool), ("state", state)], value);
        }
    }
    Ok(())
}

fn named(subsystem: &str, file: &str, name: &str) -> (String, String) {
    (
        format!("node_{subsystem}_{}", name.replace('-', "_")),
        format!("kstat.zfs.misc.{file}.{name}"),
    )
}

/// Lines of name, type and value below a head that says so; type 4 is an unsigned number, the others have no series.
fn kstat(text: &Text, mut found: impl FnMut(&str, f64)) -> Result<(), PartError> {
    let mut headed = false;
    for line in text.lines() {
        let mut fields = line.split_ascii_whitespace();
        let (name, kind, value) = (fields.next(), fields.next(), fields.next());
        if !headed {
            headed = (name, kind, value) == (Some("name"), Some("type"), Some("data"));
        } else if let (Some(name), Some("4")) = (name, kind) {
            found(name, text.number(value)?);
        }
    }
    if headed {
        Ok(())
    } else {
        Err(text.malformed("a line name type data", ""))
    }
}

/// A line of names, then one of values. Versions from 2.1 on have no such file.
fn io(text: &Text, pool: &str, page: &mut Page) -> Result<(), PartError> {
    let mut lines = text.lines().skip_while(|line| !line.starts_with("nread"));
    let (Some(head), Some(values)) = (lines.next(), lines.next()) else {
        return Ok(());
    };
    let mut values = values.split_ascii_whitespace();
    for name in head.split_ascii_whitespace() {
        let (metric, help) = named("zfs_zpool", "io", name);
        page.untyped(&metric, &help)
            .row(&[("zpool", pool)], text.number(values.next())?);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::fixture::check;

    #[test]
    fn the_cache_and_a_pool() {
        check(
            super::read,
            &[
                (
                    "proc/spl/kstat/zfs/arcstats",
                    "6 1 0x01 91 4368 5266997922 97951858082072\nname                            type data\nhits                            4    8772612\nmemory_all-bytes 4 9\nl2_state 7 text\n",
                ),
                (
                    "proc/spl/kstat/zfs/tank/io",
                    "12 3 0x00 1 80 79205351707403 395818011156865\nnread    nwritten reads    writes   wtime wlentime wupdate rtime rlentime rupdate wcnt rcnt\n1884160  3206144  22       132      1 2 3 4 5 6 0 0\n",
                ),
                (
                    "proc/spl/kstat/zfs/tank/objset-0x36",
                    "23 1 0x01 7 2160 221578688875 6665999035587\nname type data\ndataset_name 7 tank/data\nwrites 4 4\n",
                ),
                ("proc/spl/kstat/zfs/tank/state", "DEGRADED\n"),
            ],
            "node_zfs_arc_hits 8772612\nnode_zfs_arc_memory_all_bytes 9\n\
             node_zfs_zpool_dataset_writes{zpool=\"tank\",dataset=\"tank/data\"} 4\n\
             node_zfs_zpool_nread{zpool=\"tank\"} 1884160\nnode_zfs_zpool_nwritten{zpool=\"tank\"} 3206144\n\
             node_zfs_zpool_rcnt{zpool=\"tank\"} 0\nnode_zfs_zpool_reads{zpool=\"tank\"} 22\n\
             node_zfs_zpool_rlentime{zpool=\"tank\"} 5\nnode_zfs_zpool_rtime{zpool=\"tank\"} 4\n\
             node_zfs_zpool_rupdate{zpool=\"tank\"} 6\n\
             node_zfs_zpool_state{zpool=\"tank\",state=\"degraded\"} 1\nnode_zfs_zpool_state{zpool=\"tank\",state=\"faulted\"} 0\n\
             node_zfs_zpool_state{zpool=\"tank\",state=\"offline\"} 0\nnode_zfs_zpool_state{zpool=\"tank\",state=\"online\"} 0\n\
             node_zfs_zpool_state{zpool=\"tank\",state=\"removed\"} 0\nnode_zfs_zpool_state{zpool=\"tank\",state=\"unavail\"} 0\n\
             node_zfs_zpool_wcnt{zpool=\"tank\"} 0\nnode_zfs_zpool_wlentime{zpool=\"tank\"} 2\n\
             node_zfs_zpool_writes{zpool=\"tank\"} 132\nnode_zfs_zpool_wtime{zpool=\"tank\"} 1\n\
             node_zfs_zpool_wupdate{zpool=\"tank\"} 3\n",
        );
    }

    #[test]
    fn what_is_wrong_is_named() {
        check(
            super::read,
            &[],
            "error nothing to collect on this machine\n",
        );
        check(
            super::read,
            &[("proc/spl/kstat/zfs/zil", "6 1 0x01\n")],
            "error proc/spl/kstat/zfs/zil: expected a line name type data, found \"\"\n",
        );
    }
}
