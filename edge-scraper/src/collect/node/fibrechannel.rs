//! `/sys/class/fc_host`: Fibre Channel adapters, their links and errors.

use super::page::Page;
use super::roots::{PartError, Roots, attribute, names};

/// Files of the labels of `node_fibrechannel_info`, in its order, and whether the value begins with `0x`, which is left out.
const INFO: [(&str, bool); 10] = [
    ("speed", false),
    ("port_state", false),
    ("port_type", false),
    ("port_id", true),
    ("port_name", true),
    ("fabric_name", true),
    ("symbolic_name", false),
    ("supported_classes", false),
    ("supported_speeds", false),
    ("dev_loss_tmo", false),
];

/// File below `statistics`, name after `node_fibrechannel_`, help.
const COUNTERS: [(&str, &str, &str); 14] = [
    (
        "dumped_frames",
        "dumped_frames_total",
        "Number of dumped frames",
    ),
    (
        "error_frames",
        "error_frames_total",
        "Number of errors in frames",
    ),
    (
        "invalid_crc_count",
        "invalid_crc_total",
        "Invalid Cyclic Redundancy Check count",
    ),
    ("rx_frames", "rx_frames_total", "Number of frames received"),
    (
        "rx_words",
        "rx_words_total",
        "Number of words received by host port",
    ),
    (
        "tx_frames",
        "tx_frames_total",
        "Number of frames transmitted by host port",
    ),
    (
        "tx_words",
        "tx_words_total",
        "Number of words transmitted by host port",
    ),
    (
        "seconds_since_last_reset",
        "seconds_since_last_reset_total",
        "Number of seconds since last host port reset",
    ),
    (
        "invalid_tx_word_count",
        "invalid_tx_words_total",
        "Number of invalid words transmitted by host port",
    ),
    (
        "link_failure_count",
        "link_failure_total",
        "Number of times the host port link has failed",
    ),
    (
        "loss_of_sync_count",
        "loss_of_sync_total",
        "Number of failures on either bit or transmission word boundaries",
    ),
    (
        "loss_of_signal_count",
        "loss_of_signal_total",
        "Number of times signal has been lost",
    ),
    (
        "nos_count",
        "nos_total",
        "Number Not_Operational Primitive Sequence received by host port",
    ),
    (
        "fcp_packet_aborts",
        "fcp_packet_aborts_total",
        "Number of aborted packets",
    ),
];

pub(super) fn read(roots: &Roots, page: &mut Page) -> Result<(), PartError> {
    let folder = roots.sys.join("class/fc_host");
    if !folder.is_dir() {
        return Err(PartError::NoData);
    }
    for host in names(&folder)? {
        let path = folder.join(&host);
        let values = INFO.map(|(file, hex)| {
            let text = attribute(&path.join(file)).unwrap_or_default();
            match text.strip_prefix("0x") {
                Some(rest) if hex => rest.to_owned(),
                _ => text,
            }
        });
        let mut labels = vec![("fc_host", host.as_str())];
        labels.extend(
            INFO.iter()
                .zip(&values)
                .map(|((name, _), value)| (*name, value.as_str())),
        );
        page.gauge(
            "node_fibrechannel_info",
            "Non-numeric data from /sys/class/fc_host/<host>, value is always 1.",
        )
        .row(&labels, 1.0);
        for (file, name, help) in COUNTERS {
            let count = attribute(&path.join("statistics").join(file));
            // All ones: the adapter does not count this.
            if let Some(count) = count
                .and_then(|text| unsigned(&text))
                .filter(|n| *n != u64::MAX)
            {
                page.counter(&format!("node_fibrechannel_{name}"), help)
                    .row(&[("fc_host", &host)], count as f64);
            }
        }
    }
    Ok(())
}

fn unsigned(text: &str) -> Option<u64> {
    match text.strip_prefix("0x") {
        Some(hex) => u64::from_str_radix(hex, 16).ok(),
        None => text.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::check;

    #[test]
    fn an_adapter() {
        check(
            super::read,
            &[
                ("sys/class/fc_host/host0/speed", "16 Gbit\n"),
                ("sys/class/fc_host/host0/port_id", "0x000002\n"),
                ("sys/class/fc_host/host0/statistics/rx_frames", "0x3\n"),
                ("sys/class/fc_host/host0/statistics/error_frames", "0\n"),
                (
                    "sys/class/fc_host/host0/statistics/nos_count",
                    "0xffffffffffffffff\n",
                ),
            ],
            "node_fibrechannel_error_frames_total{fc_host=\"host0\"} 0\n\
             node_fibrechannel_info{fc_host=\"host0\",speed=\"16 Gbit\",port_state=\"\",port_type=\"\",port_id=\"000002\",port_name=\"\",\
             fabric_name=\"\",symbolic_name=\"\",supported_classes=\"\",supported_speeds=\"\",dev_loss_tmo=\"\"} 1\n\
             node_fibrechannel_rx_frames_total{fc_host=\"host0\"} 3\n",
        );
        check(
            super::read,
            &[],
            "error nothing to collect on this machine\n",
        );
    }
}
