//! Connection tracking of the kernel's packet filter: table size, limit and counters.

use super::page::Page;
use super::roots::{PartError, Roots, Text};

/// Column of `/proc/net/stat/nf_conntrack` and what it counts.
const COUNTERS: [(&str, &str); 8] = [
    ("found", "Number of searched entries which were successful."),
    (
        "invalid",
        "Number of packets seen which can not be tracked.",
    ),
    (
        "ignore",
        "Number of packets seen which are already connected to a conntrack entry.",
    ),
    ("insert", "Number of entries inserted into the list."),
    (
        "insert_failed",
        "Number of entries for which list insertion was attempted but failed.",
    ),
    (
        "drop",
        "Number of packets dropped due to conntrack failure.",
    ),
    (
        "early_drop",
        "Number of dropped conntrack entries to make room for new ones, if maximum table size was reached.",
    ),
    (
        "search_restart",
        "Number of conntrack table lookups which had to be restarted due to hashtable resizes.",
    ),
];

pub(super) fn read(roots: &Roots, page: &mut Page) -> Result<(), PartError> {
    for (file, name, help) in [
        (
            "nf_conntrack_count",
            "node_nf_conntrack_entries",
            "Number of currently allocated flow entries for connection tracking.",
        ),
        (
            "nf_conntrack_max",
            "node_nf_conntrack_entries_limit",
            "Maximum size of connection tracking table.",
        ),
    ] {
        // Not there while the kernel module is not loaded.
        let text = Text::read(roots.proc.join("sys/net/netfilter").join(file))
            .map_err(PartError::or_no_data)?;
        let value = text.number(Some(text.trimmed()))?;
        page.gauge(name, help).value(value);
    }
    let text =
        Text::read(roots.proc.join("net/stat/nf_conntrack")).map_err(PartError::or_no_data)?;
    let mut lines = text.lines();
    let columns: Vec<&str> = lines
        .next()
        .unwrap_or("")
        .split_ascii_whitespace()
        .collect();
    let mut sums = [0_u64; COUNTERS.len()];
    for line in lines {
        for (column, field) in columns.iter().zip(line.split_ascii_whitespace()) {
            if let Some(slot) = COUNTERS.iter().position(|(name, _)| name == column) {
                let value = u64::from_str_radix(field, 16)
                    .map_err(|_| text.malformed("hexadecimal columns", line))?;
                sums[slot] += value;
            }
        }
    }
    for ((name, help), sum) in COUNTERS.iter().zip(sums) {
        // Counters by nature, gauges by node_exporter's word.
        page.gauge(&format!("node_nf_conntrack_stat_{name}"), help)
            .value(sum as f64);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::fixture::check;

    #[test]
    fn summed_over_the_cpus() {
        check(
            super::read,
            &[
                ("proc/sys/net/netfilter/nf_conntrack_count", "123\n"),
                ("proc/sys/net/netfilter/nf_conntrack_max", "65536\n"),
                (
                    "proc/net/stat/nf_conntrack",
                    "entries  clashres found new invalid ignore insert insert_failed drop early_drop search_restart\n\
                     00000021 00000000 0000000a 00 3 4 5 6 7 8 9\n00000021 00000000 00000001 00 1 1 1 1 1 1 1\n",
                ),
            ],
            "node_nf_conntrack_entries 123\nnode_nf_conntrack_entries_limit 65536\nnode_nf_conntrack_stat_drop 8\n\
             node_nf_conntrack_stat_early_drop 9\nnode_nf_conntrack_stat_found 11\nnode_nf_conntrack_stat_ignore 5\n\
             node_nf_conntrack_stat_insert 6\nnode_nf_conntrack_stat_insert_failed 7\nnode_nf_conntrack_stat_invalid 4\n\
             node_nf_conntrack_stat_search_restart 10\n",
        );
        check(
            super::read,
            &[],
            "error nothing to collect on this machine\n",
        );
    }
}
