//! `/proc/net/dev`: traffic and errors by network device.

use super::options::Filter;
use super::page::Page;
use super::roots::{PartError, Roots, Text, integer_attribute};

/// Columns in file order: eight of receiving, eight of sending.
const COLUMNS: [&str; 16] = [
    "receive_bytes",
    "receive_packets",
    "receive_errs",
    "receive_drop",
    "receive_fifo",
    "receive_frame",
    "receive_compressed",
    "receive_multicast",
    "transmit_bytes",
    "transmit_packets",
    "transmit_errs",
    "transmit_drop",
    "transmit_fifo",
    "transmit_colls",
    "transmit_carrier",
    "transmit_compressed",
];

pub(super) fn read(devices: &Filter, roots: &Roots, page: &mut Page) -> Result<(), PartError> {
    let text = Text::read(roots.proc.join("net/dev"))?;
    for line in text.lines().skip(2) {
        // A device name may hold a colon (an alias), the numbers cannot.
        let Some((device, numbers)) = line.rsplit_once(':') else {
            return Err(text.malformed("a device and a colon", line));
        };
        let device = device.trim();
        if !devices.takes(device) {
            continue;
        }
        let mut numbers = numbers.split_ascii_whitespace();
        for column in COLUMNS {
            add(page, column, device, text.number(numbers.next())?);
        }
        let statistics = roots.sys.join("class/net").join(device).join("statistics");
        if let Some(value) = integer_attribute(&statistics.join("rx_nohandler")) {
            add(page, "receive_nohandler", device, value as f64);
        }
    }
    Ok(())
}

fn add(page: &mut Page, statistic: &str, device: &str, value: f64) {
    page.counter(
        &format!("node_network_{statistic}_total"),
        &format!("Network device statistic {statistic}."),
    )
    .row(&[("device", device)], value);
}

#[cfg(test)]
mod tests {
    use super::super::fixture::check;
    use super::super::options::Patterns;

    #[test]
    fn all_devices_but_loopback() {
        let head = "Inter-|   Receive  |  Transmit\n face |bytes\n";
        let page = format!(
            "{head}    lo: 1 1 0 0 0 0 0 0 1 1 0 0 0 0 0 0\n  eth0:10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25\n"
        );
        check(
            |roots: &_, page: &mut _| {
                super::read(&Patterns::default().filter("netdev.device"), roots, page)
            },
            &[
                ("proc/net/dev", &page),
                ("sys/class/net/eth0/statistics/rx_nohandler", "7\n"),
            ],
            "node_network_receive_bytes_total{device=\"eth0\"} 10\n\
             node_network_receive_compressed_total{device=\"eth0\"} 16\n\
             node_network_receive_drop_total{device=\"eth0\"} 13\n\
             node_network_receive_errs_total{device=\"eth0\"} 12\n\
             node_network_receive_fifo_total{device=\"eth0\"} 14\n\
             node_network_receive_frame_total{device=\"eth0\"} 15\n\
             node_network_receive_multicast_total{device=\"eth0\"} 17\n\
             node_network_receive_nohandler_total{device=\"eth0\"} 7\n\
             node_network_receive_packets_total{device=\"eth0\"} 11\n\
             node_network_transmit_bytes_total{device=\"eth0\"} 18\n\
             node_network_transmit_carrier_total{device=\"eth0\"} 24\n\
             node_network_transmit_colls_total{device=\"eth0\"} 23\n\
             node_network_transmit_compressed_total{device=\"eth0\"} 25\n\
             node_network_transmit_drop_total{device=\"eth0\"} 21\n\
             node_network_transmit_errs_total{device=\"eth0\"} 20\n\
             node_network_transmit_fifo_total{device=\"eth0\"} 22\n\
             node_network_transmit_packets_total{device=\"eth0\"} 19\n",
        );
    }
}
