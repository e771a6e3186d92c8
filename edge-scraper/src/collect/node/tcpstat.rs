//! TCP connections by state, and what waits in their queues. Off by default, as in node_exporter.
//!
//! From `/proc/net/tcp` and `tcp6`, line by line: a server with a hundred thousand connections has many megabytes of them.
//! node_exporter asks by netlink, which counts the same sockets.

use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;

use super::page::Page;
use super::roots::{PartError, Roots};

/// The kernel numbers them from 1. The twelfth, TCP_NEW_SYN_RECV, is shown as `syn_recv` by the kernel itself.
const STATES: [&str; 11] = [
    "established",
    "syn_sent",
    "syn_recv",
    "fin_wait1",
    "fin_wait2",
    "time_wait",
    "close",
    "close_wait",
    "last_ack",
    "listen",
    "closing",
];

#[derive(Default)]
struct Counts {
    states: [u64; STATES.len()],
    /// Sent by us, not acknowledged.
    tx_queued: u64,
    /// Received, not yet read; of a listening socket, connections that nobody has accepted.
    rx_queued: u64,
}

pub(super) fn read(roots: &Roots, page: &mut Page) -> Result<(), PartError> {
    let mut counts = Counts::default();
    let path = roots.proc.join("net/tcp");
    if !path.exists() {
        return Err(PartError::NoData);
    }
    counts.add(path)?;
    let path = roots.proc.join("net/tcp6");
    if path.exists() {
        counts.add(path)?;
    }
    let family = page.gauge("node_tcp_connection_states", "Number of connection states.");
    let sockets: u64 = counts.states.iter().sum();
    for (state, count) in STATES.iter().zip(counts.states) {
        // A state that no socket is in has no series, as there.
        if count > 0 {
            family.row(&[("state", state)], count as f64);
        }
    }
    if sockets > 0 {
        family.row(&[("state", "rx_queued_bytes")], counts.rx_queued as f64);
        family.row(&[("state", "tx_queued_bytes")], counts.tx_queued as f64);
    }
    Ok(())
}

impl Counts {
    fn add(&mut self, path: PathBuf) -> Result<(), PartError> {
        let failed = |path: &PathBuf, source| PartError::Read {
            path: path.clone(),
            source,
        };
        let file = std::fs::File::open(&path).map_err(|error| failed(&path, error))?;
        let mut reader = BufReader::with_capacity(64 * 1024, file);
        let mut line = Vec::new();
        let mut head = true;
        loop {
            line.clear();
            let read = reader
                .read_until(b'\n', &mut line)
                .map_err(|error| failed(&path, error))?;
            if read == 0 {
                return Ok(());
            }
            if !std::mem::take(&mut head) && !self.add_line(&line) {
                return Err(PartError::Malformed {
                    path,
                    expected: "a state and two queues in hexadecimal",
                    found: String::from_utf8_lossy(&line[..line.len().min(80)])
                        .trim()
                        .to_owned(),
                });
            }
        }
    }

    /// ` sl local remote st tx_queue:rx_queue ...`, all in hexadecimal.
    fn add_line(&mut self, line: &[u8]) -> bool {
        let mut fields = line
            .split(u8::is_ascii_whitespace)
            .filter(|field| !field.is_empty());
        let Some((state, queues)) = fields.nth(3).zip(fields.next()) else {
            return false;
        };
        let hex = |digits: &[u8]| u64::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok();
        let Some(colon) = queues.iter().position(|byte| *byte == b':') else {
            return false;
        };
        let (Some(state), Some(tx), Some(rx)) =
            (hex(state), hex(&queues[..colon]), hex(&queues[colon + 1..]))
        else {
            return false;
        };
        let slot = (state as usize).wrapping_sub(1);
        let slot = if state == 12 { 2 } else { slot };
        let Some(count) = self.states.get_mut(slot) else {
            return false;
        };
        *count += 1;
        self.tx_queued = self.tx_queued.saturating_add(tx);
        self.rx_queued = self.rx_queued.saturating_add(rx);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::check;

    const HEAD: &str = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when\n";

    #[test]
    fn states_of_both_families() {
        let four = format!(
            "{HEAD}   0: 0100007F:1538 00000000:0000 0A 00000000:00000002 00:00000000\n   1: 0F02000A:0016 0202000A:8B6B 01 00000015:00000001 02:000AC99B\n"
        );
        let six = format!(
            "{HEAD}   0: 00000000000000000000000000000000:0016 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000\n"
        );
        check(
            super::read,
            &[("proc/net/tcp", &four), ("proc/net/tcp6", &six)],
            "node_tcp_connection_states{state=\"established\"} 1\nnode_tcp_connection_states{state=\"listen\"} 2\n\
             node_tcp_connection_states{state=\"rx_queued_bytes\"} 3\nnode_tcp_connection_states{state=\"tx_queued_bytes\"} 21\n",
        );
        check(super::read, &[("proc/net/tcp", HEAD)], "");
        check(
            super::read,
            &[],
            "error nothing to collect on this machine\n",
        );
        for wrong in [
            "x",
            "0: a b FF 0:0",
            "0: a b 00 0:0",
            "0: a b 01 0",
            "0: a b 01 0:z",
        ] {
            let page = format!("{HEAD}{wrong}\n");
            check(
                super::read,
                &[("proc/net/tcp", &page)],
                &format!(
                    "error proc/net/tcp: expected a state and two queues in hexadecimal, found {wrong:?}\n"
                ),
            );
        }
    }
}
