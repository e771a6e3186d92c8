//! `/proc/stat` without its CPU lines: boot time, context switches, forks, interrupts, processes.

use super::page::Page;
use super::roots::{PartError, Roots, Text};

pub(super) fn read(roots: &Roots, page: &mut Page) -> Result<(), PartError> {
    let text = Text::read(roots.proc.join("stat"))?;
    let mut found = [0.0; 6];
    for line in text.lines() {
        let mut fields = line.split_ascii_whitespace();
        let slot = match fields.next() {
            Some("intr") => 0,
            Some("ctxt") => 1,
            Some("processes") => 2,
            Some("btime") => 3,
            Some("procs_running") => 4,
            Some("procs_blocked") => 5,
            _ => continue,
        };
        found[slot] = text.number(fields.next())?;
    }
    let [interrupts, switches, forks, boot, running, blocked] = found;
    page.counter("node_intr_total", "Total number of interrupts serviced.")
        .value(interrupts);
    page.counter(
        "node_context_switches_total",
        "Total number of context switches.",
    )
    .value(switches);
    page.counter("node_forks_total", "Total number of forks.")
        .value(forks);
    page.gauge("node_boot_time_seconds", "Node boot time, in unixtime.")
        .value(boot);
    page.gauge(
        "node_procs_running",
        "Number of processes in runnable state.",
    )
    .value(running);
    page.gauge(
        "node_procs_blocked",
        "Number of processes blocked waiting for I/O to complete.",
    )
    .value(blocked);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::fixture::check;

    #[test]
    fn the_lines_after_the_cpus() {
        check(
            super::read,
            &[(
                "proc/stat",
                "cpu  1 2 3\nintr 8885917 17 0\nctxt 38014093\nbtime 1418183276\nprocesses 26442\nprocs_running 2\nprocs_blocked 1\nsoftirq 5 6\n",
            )],
            "node_boot_time_seconds 1418183276\nnode_context_switches_total 38014093\nnode_forks_total 26442\n\
             node_intr_total 8885917\nnode_procs_blocked 1\nnode_procs_running 2\n",
        );
    }
}
