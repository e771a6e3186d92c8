//! `process_*` and a build's name: the process that makes the page, by the names that every Prometheus client library uses.
//! Dashboards of node_exporter have a row about it.

use super::page::Page;
use super::roots::{PartError, Roots, Text};

/// USER_HZ, as in `cpu.rs`.
const TICKS_PER_SECOND: f64 = 100.0;

/// What a limit that is none is shown as: the kernel's RLIM_INFINITY.
const UNLIMITED: f64 = u64::MAX as f64;

/// Reads this process's own files, wherever the machine's are: an edge in a container has its own `/proc/self`.
pub(super) fn read(page: &mut Page) -> Result<(), PartError> {
    read_from(&Roots::default(), page)
}

fn read_from(roots: &Roots, page: &mut Page) -> Result<(), PartError> {
    page.gauge(
        "node_exporter_build_info",
        "Which program shows node_exporter's metrics here, and its version.",
    )
    .row(
        &[
            ("implementation", "branchline"),
            ("version", daemon::VERSION),
        ],
        1.0,
    );
    let own = roots.proc.join("self");
    let text = Text::read(own.join("stat"))?;
    // The name stands in parentheses and may hold anything; the state behind it is field 3 of the file.
    let fields = text.trimmed().rsplit_once(')').map_or("", |(_, rest)| rest);
    let fields: Vec<&str> = fields.split_ascii_whitespace().collect();
    let field = |number: usize| text.number(fields.get(number - 3).copied());
    let cpu = (field(14)? + field(15)?) / TICKS_PER_SECOND;
    page.counter(
        "process_cpu_seconds_total",
        "Total user and system CPU time spent in seconds.",
    )
    .value(cpu);
    let start = boot_seconds(roots)? + field(22)? / TICKS_PER_SECOND;
    let page_bytes = rustix::param::page_size() as f64;
    let mut gauge = |name: &str, help: &str, value: f64| {
        page.gauge(&format!("process_{name}"), help).value(value);
    };
    gauge(
        "start_time_seconds",
        "Start time of the process since unix epoch in seconds.",
        start,
    );
    gauge(
        "virtual_memory_bytes",
        "Virtual memory size in bytes.",
        field(23)?,
    );
    gauge(
        "resident_memory_bytes",
        "Resident memory size in bytes.",
        field(24)? * page_bytes,
    );
    let limits = Text::read(own.join("limits"))?;
    gauge(
        "virtual_memory_max_bytes",
        "Maximum amount of virtual memory available in bytes.",
        limit(&limits, "Max address space")?,
    );
    gauge(
        "max_fds",
        "Maximum number of open file descriptors.",
        limit(&limits, "Max open files")?,
    );
    let open = std::fs::read_dir(own.join("fd")).map_or(0, Iterator::count);
    gauge("open_fds", "Number of open file descriptors.", open as f64);
    Ok(())
}

fn boot_seconds(roots: &Roots) -> Result<f64, PartError> {
    let text = Text::read(roots.proc.join("stat"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("btime "));
    text.number(line)
}

/// The soft limit of a line such as `Max open files  1024  524288  files`.
fn limit(text: &Text, name: &str) -> Result<f64, PartError> {
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    match line.and_then(|line| line.split_ascii_whitespace().next()) {
        Some("unlimited") => Ok(UNLIMITED),
        soft => text.number(soft),
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::check;
    use super::*;

    #[test]
    fn the_files_of_a_process() {
        let page_bytes = rustix::param::page_size();
        check(
            read_from,
            &[
                ("proc/stat", "cpu 1 2 3\nbtime 1418183276\n"),
                (
                    "proc/self/stat",
                    "7 (a (b) c) S 1 7 7 0 -1 4194560 1 2 3 4 150 50 7 8 20 0 3 0 4200 109604864 2507 0\n",
                ),
                (
                    "proc/self/limits",
                    "Limit Soft Hard Units\nMax open files            1024                 524288               files     \n\
                     Max address space         unlimited            unlimited            bytes     \n",
                ),
                ("proc/self/fd/0", ""),
                ("proc/self/fd/1", ""),
            ],
            &format!(
                "node_exporter_build_info{{implementation=\"branchline\",version={:?}}} 1\nprocess_cpu_seconds_total 2\n\
                 process_max_fds 1024\nprocess_open_fds 2\nprocess_resident_memory_bytes {}\nprocess_start_time_seconds 1418183318\n\
                 process_virtual_memory_bytes 109604864\nprocess_virtual_memory_max_bytes 18446744073709552000\n",
                daemon::VERSION,
                2507 * page_bytes
            ),
        );
    }
}
