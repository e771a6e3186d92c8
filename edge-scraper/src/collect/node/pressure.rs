//! `/proc/pressure`: time lost waiting for CPU, disk and memory (kernel 4.20 and later).

use super::page::Page;
use super::roots::{PartError, Roots, Text};

/// File, line of it, family and help.
const TOTALS: [(&str, &str, &str, &str); 6] = [
    (
        "cpu",
        "some",
        "cpu_waiting",
        "Total time in seconds that processes have waited for CPU time",
    ),
    (
        "io",
        "some",
        "io_waiting",
        "Total time in seconds that processes have waited due to IO congestion",
    ),
    (
        "io",
        "full",
        "io_stalled",
        "Total time in seconds no process could make progress due to IO congestion",
    ),
    (
        "memory",
        "some",
        "memory_waiting",
        "Total time in seconds that processes have waited for memory",
    ),
    (
        "memory",
        "full",
        "memory_stalled",
        "Total time in seconds no process could make progress due to memory congestion",
    ),
    (
        "irq",
        "full",
        "irq_stalled",
        "Total time in seconds no process could make progress due to IRQ congestion",
    ),
];

pub(super) fn read(roots: &Roots, page: &mut Page) -> Result<(), PartError> {
    for (file, kind, name, help) in TOTALS {
        let text = match Text::read(roots.proc.join("pressure").join(file)) {
            Ok(text) => text,
            // There, but switched off: the kernel answers EOPNOTSUPP.
            Err(PartError::Read { source, .. })
                if source.kind() == std::io::ErrorKind::Unsupported =>
            {
                return Err(PartError::NoData);
            }
            // Linux before 6.1.
            Err(error) if file == "irq" && error.is_missing() => continue,
            Err(error) => return Err(error.or_no_data()),
        };
        let line = text.lines().find(|line| line.starts_with(kind));
        let total = line
            .and_then(|line| line.rsplit_once("total="))
            .map(|(_, total)| total);
        let micros = text.number(total)?;
        page.counter(&format!("node_pressure_{name}_seconds_total"), help)
            .value(micros / 1000.0 / 1000.0);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::fixture::check;

    #[test]
    fn totals_in_seconds() {
        let both = "some avg10=0.10 avg60=2.00 avg300=3.85 total=1500000\nfull avg10=0.20 avg60=3.00 avg300=4.95 total=25\n";
        check(
            super::read,
            &[
                (
                    "proc/pressure/cpu",
                    "some avg10=0.10 avg60=2.00 avg300=3.85 total=250000\n",
                ),
                ("proc/pressure/io", both),
                ("proc/pressure/memory", both),
            ],
            "node_pressure_cpu_waiting_seconds_total 0.25\nnode_pressure_io_stalled_seconds_total 0.000025\n\
             node_pressure_io_waiting_seconds_total 1.5\nnode_pressure_memory_stalled_seconds_total 0.000025\n\
             node_pressure_memory_waiting_seconds_total 1.5\n",
        );
        check(
            super::read,
            &[],
            "error nothing to collect on this machine\n",
        );
    }
}
