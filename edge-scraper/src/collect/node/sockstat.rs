//! `/proc/net/sockstat` and `sockstat6`: sockets by protocol and state.

use super::page::Page;
use super::roots::{PartError, Roots, Text};

pub(super) fn read(roots: &Roots, page: &mut Page) -> Result<(), PartError> {
    for file in ["net/sockstat", "net/sockstat6"] {
        let Some(text) = Text::read_if_there(roots.proc.join(file))? else {
            continue; // that protocol version is off
        };
        for line in text.lines() {
            let mut fields = line.split_ascii_whitespace();
            let protocol = fields.next().unwrap_or("").trim_end_matches(':');
            while let Some(state) = fields.next() {
                let value = text.number(fields.next())?;
                if protocol == "sockets" {
                    page.gauge(
                        "node_sockstat_sockets_used",
                        "Number of IPv4 sockets in use.",
                    )
                    .value(value);
                    continue;
                }
                add(page, protocol, state, value);
                if state == "mem" {
                    // Counted in pages.
                    let page_bytes = rustix::param::page_size() as f64;
                    add(page, protocol, "mem_bytes", value * page_bytes);
                }
            }
        }
    }
    Ok(())
}

fn add(page: &mut Page, protocol: &str, state: &str, value: f64) {
    page.gauge(
        &format!("node_sockstat_{protocol}_{state}"),
        &format!("Number of {protocol} sockets in state {state}."),
    )
    .value(value);
}

#[cfg(test)]
mod tests {
    use super::super::fixture::check;

    #[test]
    fn pages_become_bytes() {
        let bytes = 2 * rustix::param::page_size();
        check(
            super::read,
            &[
                (
                    "proc/net/sockstat",
                    "sockets: used 229\nTCP: inuse 4 tw 5 mem 2\nFRAG: inuse 0 memory 0\n",
                ),
                ("proc/net/sockstat6", "TCP6: inuse 17\n"),
            ],
            &format!(
                "node_sockstat_FRAG_inuse 0\nnode_sockstat_FRAG_memory 0\nnode_sockstat_TCP6_inuse 17\nnode_sockstat_TCP_inuse 4\n\
                 node_sockstat_TCP_mem 2\nnode_sockstat_TCP_mem_bytes {bytes}\nnode_sockstat_TCP_tw 5\nnode_sockstat_sockets_used 229\n"
            ),
        );
    }
}
