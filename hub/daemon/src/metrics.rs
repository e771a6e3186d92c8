//! Metrics about ourselves, on `prometheus-client`: each service registers its own, and every one carries the
//! process's.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

/// What [`encode`] writes: OpenMetrics text.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// A registry that already has `branchline_build_info` and the `process_*` metrics.
pub fn registry(service: &'static str) -> Registry {
    let mut registry = Registry::default();
    let build = Info::new(vec![("service", service), ("version", crate::VERSION)]);
    // The encoder adds `_info`.
    registry.register("branchline_build", "Which build this is", build);
    registry.register_collector(Box::new(Process));
    registry
}

/// All metrics of the registry as OpenMetrics text.
pub fn encode(registry: &Registry) -> String {
    let mut text = String::new();
    // Writing to a string fails only when a collector reports that it cannot encode; what is there stays.
    if prometheus_client::encoding::text::encode(&mut text, registry).is_err() {
        tracing::warn!("some own metrics could not be encoded");
    }
    text
}

/// `process_*`, by the names that every Prometheus client library uses, read when asked for.
#[derive(Debug)]
struct Process;

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        if let Some(stat) = Stat::read() {
            let ticks = rustix::param::clock_ticks_per_second() as f64;
            let cpu = ConstCounter::new((stat.user_ticks + stat.system_ticks) as f64 / ticks);
            let help = "Total user and system CPU time spent in seconds";
            cpu.encode(encoder.encode_descriptor(
                "process_cpu_seconds",
                help,
                None,
                cpu.metric_type(),
            )?)?;
            let mut gauge = |name: &str, help: &str, value: f64| {
                let gauge = ConstGauge::new(value);
                gauge.encode(encoder.encode_descriptor(name, help, None, gauge.metric_type())?)
            };
            let resident = stat.resident_pages as f64 * rustix::param::page_size() as f64;
            gauge(
                "process_resident_memory_bytes",
                "Resident memory size in bytes",
                resident,
            )?;
            gauge(
                "process_virtual_memory_bytes",
                "Virtual memory size in bytes",
                stat.virtual_bytes as f64,
            )?;
            gauge("process_threads", "Number of threads", stat.threads as f64)?;
            if let Some(boot) = boot_seconds() {
                let start = boot as f64 + stat.start_ticks as f64 / ticks;
                gauge(
                    "process_start_time_seconds",
                    "Start time of the process since unix epoch in seconds",
                    start,
                )?;
            }
        }
        if let Ok(open) = std::fs::read_dir("/proc/self/fd") {
            let gauge = ConstGauge::new(open.count() as f64);
            let help = "Number of open file descriptors";
            gauge.encode(encoder.encode_descriptor(
                "process_open_fds",
                help,
                None,
                gauge.metric_type(),
            )?)?;
        }
        Ok(())
    }
}

/// The part of `/proc/self/stat` that is shown (proc_pid_stat(5)). Four numbers do not pay for a library.
#[derive(Debug, PartialEq, Eq)]
struct Stat {
    user_ticks: u64,
    system_ticks: u64,
    threads: u64,
    start_ticks: u64,
    virtual_bytes: u64,
    resident_pages: u64,
}

impl Stat {
    fn read() -> Option<Self> {
        Self::parse(&std::fs::read_to_string("/proc/self/stat").ok()?)
    }

    fn parse(text: &str) -> Option<Self> {
        // The second field is the program's name in brackets, which may hold blanks and brackets; counted is from
        // the third.
        let (_, rest) = text.rsplit_once(')')?;
        let fields: Vec<&str> = rest.split_whitespace().collect();
        let field = |number: usize| fields.get(number - 3)?.parse().ok();
        Some(Stat {
            user_ticks: field(14)?,
            system_ticks: field(15)?,
            threads: field(20)?,
            start_ticks: field(22)?,
            virtual_bytes: field(23)?,
            resident_pages: field(24)?,
        })
    }
}

/// When the machine was started, in Unix seconds.
fn boot_seconds() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/stat").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("btime "))?;
    line.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_process_says_what_it_is_and_takes() {
        let text = encode(&registry("hub"));
        assert!(
            text.contains("branchline_build_info{service=\"hub\""),
            "{text}"
        );
        for name in [
            "process_cpu_seconds_total ",
            "process_resident_memory_bytes ",
            "process_open_fds ",
        ] {
            assert!(text.contains(name), "{name} in {text}");
        }
        assert!(text.ends_with("# EOF\n"));
    }

    #[test]
    fn a_name_with_brackets_and_blanks_does_not_move_the_fields() {
        let numbers: Vec<String> = (4..=52).map(|number| number.to_string()).collect();
        let stat = Stat::parse(&format!("7 (a) b (c) S {}", numbers.join(" "))).unwrap();
        let expected = Stat {
            user_ticks: 14,
            system_ticks: 15,
            threads: 20,
            start_ticks: 22,
            virtual_bytes: 23,
            resident_pages: 24,
        };
        assert_eq!(stat, expected);
        assert_eq!(Stat::parse("7 (a) S 1 2"), None);
    }
}
