//! `/proc/net/rpc/nfsd`: what this machine does as an NFS server.

use std::collections::BTreeMap;

use super::page::Page;
use super::roots::{PartError, Roots, Text};
use super::rpc::{NFS2, NFS3, numbers, procedures};

/// Operations of NFS 4 by their number, those that node_exporter shows.
const NFS4: [(usize, &str); 33] = [
    (3, "Access"),
    (4, "Close"),
    (5, "Commit"),
    (6, "Create"),
    (7, "DelegPurge"),
    (8, "DelegReturn"),
    (9, "GetAttr"),
    (10, "GetFH"),
    (11, "Link"),
    (12, "Lock"),
    (13, "Lockt"),
    (14, "Locku"),
    (15, "Lookup"),
    (16, "LookupRoot"),
    (17, "Nverify"),
    (18, "Open"),
    (19, "OpenAttr"),
    (20, "OpenConfirm"),
    (21, "OpenDgrd"),
    (22, "PutFH"),
    (25, "Read"),
    (26, "ReadDir"),
    (27, "ReadLink"),
    (28, "Remove"),
    (29, "Rename"),
    (30, "Renew"),
    (31, "RestoreFH"),
    (32, "SaveFH"),
    (33, "SecInfo"),
    (34, "SetAttr"),
    (35, "Verify"),
    (36, "Write"),
    (37, "RelLockOwner"),
];

/// One number of a line: keyword, position, name after `node_nfsd_`, help.
type Column = (&'static str, usize, &'static str, &'static str);

const COUNTERS: [Column; 9] = [
    (
        "rc",
        0,
        "reply_cache_hits_total",
        "Total number of NFSd Reply Cache hits (client lost server response).",
    ),
    (
        "rc",
        1,
        "reply_cache_misses_total",
        "Total number of NFSd Reply Cache an operation that requires caching (idempotent).",
    ),
    (
        "rc",
        2,
        "reply_cache_nocache_total",
        "Total number of NFSd Reply Cache non-idempotent operations (rename/delete/…).",
    ),
    (
        "fh",
        0,
        "file_handles_stale_total",
        "Total number of NFSd stale file handles",
    ),
    ("io", 0, "disk_bytes_read_total", "Total NFSd bytes read."),
    (
        "io",
        1,
        "disk_bytes_written_total",
        "Total NFSd bytes written.",
    ),
    (
        "ra",
        11,
        "read_ahead_cache_not_found_total",
        "Total number of NFSd read ahead cache not found.",
    ),
    (
        "net",
        3,
        "connections_total",
        "Total number of NFSd TCP connections.",
    ),
    ("rpc", 0, "server_rpcs_total", "Total number of NFSd RPCs."),
];

const GAUGES: [Column; 2] = [
    (
        "th",
        0,
        "server_threads",
        "Total number of NFSd kernel threads that are running.",
    ),
    (
        "ra",
        0,
        "read_ahead_cache_size_blocks",
        "How large the read ahead cache is in blocks.",
    ),
];

pub(super) fn read(roots: &Roots, page: &mut Page) -> Result<(), PartError> {
    let text = Text::read(roots.proc.join("net/rpc/nfsd")).map_err(PartError::or_no_data)?;
    let mut lines = BTreeMap::new();
    for line in text.lines() {
        let (keyword, fields) = line.split_once(' ').unwrap_or((line, ""));
        let mut found = numbers(&text, fields)?;
        if keyword.starts_with("proc") {
            found = procedures(&text, line, &found)?.to_vec();
        }
        lines.insert(keyword, found);
    }
    // What the kernel does not show counts as never called, as there; today's kernels have no read-ahead cache.
    let number = |keyword: &str, at: usize| {
        let line = lines.get(keyword);
        line.and_then(|line| line.get(at)).copied().unwrap_or(0.0)
    };
    for (keyword, at, name, help) in COUNTERS {
        page.counter(&format!("node_nfsd_{name}"), help)
            .value(number(keyword, at));
    }
    for (keyword, at, name, help) in GAUGES {
        page.gauge(&format!("node_nfsd_{name}"), help)
            .value(number(keyword, at));
    }
    for (protocol, at) in [("udp", 1), ("tcp", 2)] {
        page.counter(
            "node_nfsd_packets_total",
            "Total NFSd network packets (sent+received) by protocol type.",
        )
        .row(&[("proto", protocol)], number("net", at));
    }
    for (error, at) in [("fmt", 2), ("auth", 3), ("cInt", 4)] {
        page.counter(
            "node_nfsd_rpc_errors_total",
            "Total number of NFSd RPC errors by error type.",
        )
        .row(&[("error", error)], number("rpc", at));
    }
    let two = NFS2.iter().copied().enumerate().skip(1);
    let three = NFS3.iter().copied().enumerate().skip(1);
    let family = page.counter(
        "node_nfsd_requests_total",
        "Total number NFSd Requests by method and protocol.",
    );
    for (at, method) in two {
        family.row(&[("proto", "2"), ("method", method)], number("proc2", at));
    }
    for (at, method) in three {
        family.row(&[("proto", "3"), ("method", method)], number("proc3", at));
    }
    for (at, method) in NFS4 {
        family.row(
            &[("proto", "4"), ("method", method)],
            number("proc4ops", at),
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{Fixture, check};
    use super::*;

    #[test]
    fn lines_and_operations() {
        let ops: Vec<String> = (0..40).map(|n| n.to_string()).collect();
        let file = format!(
            "rc 0 6 18622\nfh 7 0 0 0 0\nio 157286400 72864\nth 8 0 0.000 0.000\nnet 18628 1 18629 6738\n\
             rpc 18628 5 2 3 4\nproc4 2 2 10853\nproc4ops 40 {}\nfuture 1\n",
            ops.join(" ")
        );
        let fixture = Fixture::new(&[("proc/net/rpc/nfsd", &file)]);
        let mut page = Page::default();
        read(&fixture.roots(), &mut page).unwrap();
        let page = page.text();
        for row in [
            "node_nfsd_reply_cache_nocache_total 18622\n",
            "node_nfsd_file_handles_stale_total 7\n",
            "node_nfsd_disk_bytes_written_total 72864\n",
            "node_nfsd_server_threads 8\n",
            "node_nfsd_packets_total{proto=\"udp\"} 1\n",
            "node_nfsd_rpc_errors_total{error=\"cInt\"} 4\n",
            "node_nfsd_read_ahead_cache_size_blocks 0\n",
            "{proto=\"4\",method=\"Access\"} 3\n",
            "{proto=\"4\",method=\"RelLockOwner\"} 37\n",
            "{proto=\"3\",method=\"GetAttr\"} 0\n",
        ] {
            assert!(page.contains(row), "{row} in {page}");
        }
        assert!(!page.contains("method=\"Null\""));
        check(
            super::read,
            &[],
            "error nothing to collect on this machine\n",
        );
        check(
            super::read,
            &[("proc/net/rpc/nfsd", "proc3 22 1 2\n")],
            "error proc/net/rpc/nfsd: expected a count and so many numbers, found \"proc3 22 1 2\"\n",
        );
    }
}
