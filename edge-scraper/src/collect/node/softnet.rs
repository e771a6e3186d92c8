//! `/proc/net/softnet_stat`: packets processed and dropped by each CPU.

use super::page::Page;
use super::roots::{PartError, Roots, Text};

/// Columns that came with later kernels; node_exporter shows them from 1.6 on.
const RECEIVED_RPS: usize = 9;
const FLOW_LIMIT: usize = 10;
const BACKLOG: usize = 11;
const CPU: usize = 12;

pub(super) fn read(roots: &Roots, page: &mut Page) -> Result<(), PartError> {
    let text = Text::read(roots.proc.join("net/softnet_stat"))?;
    for (index, line) in text.lines().enumerate() {
        let mut columns = Vec::with_capacity(16);
        for field in line.split_ascii_whitespace() {
            match u32::from_str_radix(field, 16) {
                Ok(value) => columns.push(value),
                Err(_) => return Err(text.malformed("hexadecimal columns", line)),
            }
        }
        let &[processed, dropped, squeezed, ..] = columns.as_slice() else {
            return Err(text.malformed("at least 3 columns", line));
        };
        // From Linux 5.10 on the CPU stands in the line: one that is offline has none.
        let cpu = columns
            .get(CPU)
            .map_or(index, |cpu| *cpu as usize)
            .to_string();
        for (name, help, value) in [
            ("processed", "Number of processed packets", processed),
            ("dropped", "Number of dropped packets", dropped),
            (
                "times_squeezed",
                "Number of times processing packets ran out of quota",
                squeezed,
            ),
        ] {
            page.counter(&format!("node_softnet_{name}_total"), help)
                .row(&[("cpu", &cpu)], f64::from(value));
        }
        let later = |column: usize| columns.get(column).copied().map(f64::from);
        if let Some(value) = later(RECEIVED_RPS) {
            page.counter(
                "node_softnet_received_rps_total",
                "Number of times cpu woken up received_rps",
            )
            .row(&[("cpu", &cpu)], value);
        }
        if let Some(value) = later(FLOW_LIMIT) {
            page.counter(
                "node_softnet_flow_limit_count_total",
                "Number of times flow limit has been reached",
            )
            .row(&[("cpu", &cpu)], value);
        }
        if let Some(value) = later(BACKLOG) {
            page.gauge("node_softnet_backlog_len", "Softnet backlog status")
                .row(&[("cpu", &cpu)], value);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::fixture::check;

    #[test]
    fn one_line_a_cpu() {
        check(
            super::read,
            &[(
                "proc/net/softnet_stat",
                "00049279 00000000 00000001 00000000\n000dfb82 00000029 0000000a\n",
            )],
            "node_softnet_dropped_total{cpu=\"0\"} 0\nnode_softnet_dropped_total{cpu=\"1\"} 41\n\
             node_softnet_processed_total{cpu=\"0\"} 299641\nnode_softnet_processed_total{cpu=\"1\"} 916354\n\
             node_softnet_times_squeezed_total{cpu=\"0\"} 1\nnode_softnet_times_squeezed_total{cpu=\"1\"} 10\n",
        );
    }

    #[test]
    fn the_columns_of_later_kernels() {
        check(
            super::read,
            &[(
                "proc/net/softnet_stat",
                "1 2 3 0 0 0 0 0 0 4 5 6 00000007\n",
            )],
            "node_softnet_backlog_len{cpu=\"7\"} 6\nnode_softnet_dropped_total{cpu=\"7\"} 2\n\
             node_softnet_flow_limit_count_total{cpu=\"7\"} 5\nnode_softnet_processed_total{cpu=\"7\"} 1\n\
             node_softnet_received_rps_total{cpu=\"7\"} 4\nnode_softnet_times_squeezed_total{cpu=\"7\"} 3\n",
        );
    }
}
