//! `/proc/net/udp` and `udp6`: bytes queued in UDP sockets.

use super::page::Page;
use super::roots::{PartError, Roots, Text};

pub(super) fn read(roots: &Roots, page: &mut Page) -> Result<(), PartError> {
    let mut found = false;
    for (file, version) in [("net/udp", "v4"), ("net/udp6", "v6")] {
        let Some(text) = Text::read_if_there(roots.proc.join(file))? else {
            continue;
        };
        found = true;
        let (sent, received) = sums(&text)?;
        let family = page.gauge(
            "node_udp_queues",
            "Number of allocated memory in the kernel for UDP datagrams in bytes.",
        );
        family.row(&[("queue", "tx"), ("ip", version)], sent as f64);
        family.row(&[("queue", "rx"), ("ip", version)], received as f64);
    }
    if found {
        Ok(())
    } else {
        Err(PartError::NoData)
    }
}

/// Bytes waiting to be sent and to be read, over all sockets.
fn sums(text: &Text) -> Result<(u64, u64), PartError> {
    let mut sums = (0, 0);
    for line in text.lines().skip(1) {
        let queues = line.split_ascii_whitespace().nth(4);
        let pair = queues.and_then(|queues| {
            let (sent, received) = queues.split_once(':')?;
            let hex = |text| u64::from_str_radix(text, 16).ok();
            Some((hex(sent)?, hex(received)?))
        });
        let Some((sent, received)) = pair else {
            return Err(text.malformed("tx_queue:rx_queue in column 5", line));
        };
        sums = (sums.0 + sent, sums.1 + received);
    }
    Ok(sums)
}

#[cfg(test)]
mod tests {
    use super::super::fixture::check;

    #[test]
    fn sums_over_the_sockets() {
        check(
            super::read,
            &[(
                "proc/net/udp",
                "  sl  local_address rem_address   st tx_queue rx_queue tr\n   0: 0100007F:0016 00000000:0000 0A 00000015:00000000 00:00\n\
                 \u{20}  1: 0100007F:0017 00000000:0000 0A 00000001:0000000A 00:00\n",
            )],
            "node_udp_queues{queue=\"rx\",ip=\"v4\"} 10\nnode_udp_queues{queue=\"tx\",ip=\"v4\"} 22\n",
        );
        check(
            super::read,
            &[],
            "error nothing to collect on this machine\n",
        );
    }
}
