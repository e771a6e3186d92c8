//! `/proc/net/softnet_stat`: packets processed and dropped by each CPU.

use super::page::Page;
use super::roots::{PartError, Roots, Text};

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
        let cpu = index.to_string();
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
}
