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
        let Ok(me) = procfs::process::Process::myself() else {
            return Ok(());
        };
        if let Ok(stat) = me.stat() {
            let ticks = procfs::ticks_per_second() as f64;
            let cpu = ConstCounter::new((stat.utime + stat.stime) as f64 / ticks);
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
            let resident = stat.rss as f64 * procfs::page_size() as f64;
            gauge(
                "process_resident_memory_bytes",
                "Resident memory size in bytes",
                resident,
            )?;
            gauge(
                "process_virtual_memory_bytes",
                "Virtual memory size in bytes",
                stat.vsize as f64,
            )?;
            gauge(
                "process_threads",
                "Number of threads",
                stat.num_threads as f64,
            )?;
            if let Ok(boot) = procfs::boot_time_secs() {
                let start = boot as f64 + stat.starttime as f64 / ticks;
                gauge(
                    "process_start_time_seconds",
                    "Start time of the process since unix epoch in seconds",
                    start,
                )?;
            }
        }
        if let Ok(open) = me.fd_count() {
            let gauge = ConstGauge::new(open as f64);
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
}
