//! What is measured, under one name in tables, ratios and JSON.

use std::collections::BTreeMap;

use crate::latency::median;

/// How a number is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unit {
    /// A second.
    Rate,
    Bytes,
    Millis,
    Seconds,
    Count,
    BytesASample,
    Percent,
    /// 1 marks an answer that is not Prometheus's.
    Mark,
}

/// One row of the table.
#[derive(Debug)]
pub(crate) struct Metric {
    pub(crate) key: &'static str,
    pub(crate) title: &'static str,
    pub(crate) unit: Unit,
}

const fn metric(key: &'static str, title: &'static str, unit: Unit) -> Metric {
    Metric { key, title, unit }
}

/// All rows, in the order of the table. A set shows those that it measured.
pub(crate) const METRICS: &[Metric] = &[
    metric("samples_per_second", "ingest: samples/s", Unit::Rate),
    metric(
        "samples_per_cpu_second",
        "ingest: samples per CPU-s",
        Unit::Rate,
    ),
    metric(
        "server_cpu_seconds",
        "ingest: CPU until settled",
        Unit::Seconds,
    ),
    metric(
        "client_cpu_seconds",
        "ingest: CPU of the client",
        Unit::Seconds,
    ),
    metric(
        "settle_seconds",
        "ingest: last write to rest",
        Unit::Seconds,
    ),
    metric("retries", "ingest: told to come later", Unit::Count),
    metric("not_found", "ingest: samples not found", Unit::Count),
    metric("memory_peak_bytes", "memory: peak RSS", Unit::Bytes),
    metric(
        "memory_peak_anonymous_bytes",
        "memory: peak, without files",
        Unit::Bytes,
    ),
    metric("memory_rest_bytes", "memory: RSS at rest", Unit::Bytes),
    metric(
        "memory_rest_anonymous_bytes",
        "memory: at rest, without files",
        Unit::Bytes,
    ),
    metric(
        "memory_rest_proportional_bytes",
        "memory: PSS at rest",
        Unit::Bytes,
    ),
    metric(
        "disk_bytes_per_sample",
        "disk: bytes per sample",
        Unit::BytesASample,
    ),
    metric("ack_p50_ms", "ack: p50", Unit::Millis),
    metric("ack_p99_ms", "ack: p99", Unit::Millis),
    metric("ack_p999_ms", "ack: p99.9", Unit::Millis),
    metric("ack_max_ms", "ack: longest", Unit::Millis),
    metric(
        "query_rate_ms",
        "query: rate by branch, range",
        Unit::Millis,
    ),
    metric(
        "query_rate_differs",
        "  differs from Prometheus",
        Unit::Mark,
    ),
    metric("query_count_ms", "query: count of all series", Unit::Millis),
    metric(
        "query_count_differs",
        "  differs from Prometheus",
        Unit::Mark,
    ),
    metric("query_values_ms", "query: values of a label", Unit::Millis),
    metric(
        "query_values_differs",
        "  differs from Prometheus",
        Unit::Mark,
    ),
    metric("query_series_ms", "query: one series, range", Unit::Millis),
    metric(
        "query_series_differs",
        "  differs from Prometheus",
        Unit::Mark,
    ),
    metric(
        "query_quantile_ms",
        "query: quantile of a histogram",
        Unit::Millis,
    ),
    metric(
        "query_quantile_differs",
        "  differs from Prometheus",
        Unit::Mark,
    ),
    metric(
        "restart_answer_seconds",
        "kill -9: to any answer",
        Unit::Seconds,
    ),
    metric(
        "restart_probe_seconds",
        "kill -9: to one series right",
        Unit::Seconds,
    ),
    metric(
        "restart_all_seconds",
        "kill -9: to all samples counted",
        Unit::Seconds,
    ),
    metric(
        "restart_count_seconds",
        "  of it the count itself",
        Unit::Seconds,
    ),
    metric(
        "restart_missing",
        "kill -9: acknowledged, missing",
        Unit::Count,
    ),
    metric(
        "backlog_samples_per_second",
        "backlog: samples/s",
        Unit::Rate,
    ),
    metric(
        "backlog_missing",
        "backlog: acknowledged, missing",
        Unit::Count,
    ),
    metric("live_alone_p99_ms", "live ack before it: p99", Unit::Millis),
    metric("live_p50_ms", "live ack during it: p50", Unit::Millis),
    metric("live_p99_ms", "live ack during it: p99", Unit::Millis),
    metric("live_p999_ms", "live ack during it: p99.9", Unit::Millis),
    metric("live_max_ms", "live ack during it: longest", Unit::Millis),
    metric(
        "live_queries_right_percent",
        "live queries that were right",
        Unit::Percent,
    ),
    metric(
        "live_late_max_ms",
        "live queries: most behind acks",
        Unit::Millis,
    ),
    metric("live_query_p99_ms", "live queries: p99", Unit::Millis),
    metric("edge_memory_rest", "memory: resident, live", Unit::Bytes),
    metric(
        "edge_memory_rest_anonymous",
        "  without mapped files",
        Unit::Bytes,
    ),
    metric(
        "edge_memory_cut",
        "memory: resident, end of the cut",
        Unit::Bytes,
    ),
    metric("edge_memory_grown", "  grown through it", Unit::Percent),
    metric(
        "edge_memory_drained",
        "memory: resident, drained",
        Unit::Bytes,
    ),
    metric("edge_memory_peak", "memory: peak", Unit::Bytes),
    metric(
        "edge_cpu_live",
        "CPU-s a million samples, live",
        Unit::Seconds,
    ),
    metric(
        "edge_cpu_cut",
        "CPU-s a million samples, cut",
        Unit::Seconds,
    ),
    metric(
        "edge_cpu_drain",
        "CPU-s a million samples, draining",
        Unit::Seconds,
    ),
    metric("edge_wire_live", "wire a sample, live", Unit::BytesASample),
    metric("edge_wire_live_back", "  the other way", Unit::BytesASample),
    metric(
        "edge_wire_drain",
        "wire a sample, draining, all",
        Unit::BytesASample,
    ),
    metric(
        "edge_wire_backlog",
        "  of the backlog alone",
        Unit::BytesASample,
    ),
    metric("edge_disk", "buffer on disk a sample", Unit::BytesASample),
    metric("edge_live_p50", "delay live: p50", Unit::Seconds),
    metric("edge_live_p99", "delay live: p99", Unit::Seconds),
    metric(
        "edge_link_rate",
        "link while draining, a second",
        Unit::Bytes,
    ),
    metric("edge_drain_seconds", "time to drain", Unit::Seconds),
    metric(
        "edge_blocked_seconds",
        "fresh samples blocked for",
        Unit::Seconds,
    ),
    metric(
        "edge_drain_p50",
        "delay from 10 s after the return: p50",
        Unit::Seconds,
    ),
    metric(
        "edge_drain_p99",
        "delay from 10 s after the return: p99",
        Unit::Seconds,
    ),
    metric(
        "edge_missing",
        "scrapes of the cut that never came",
        Unit::Count,
    ),
    metric("edge_unbalanced", "books that do not agree", Unit::Count),
    metric(
        "edge_small_bytes_a_day",
        "small node: bytes a day, TLS and TCP/IP",
        Unit::Bytes,
    ),
    metric(
        "edge_small_wire",
        "small node: wire a sample",
        Unit::BytesASample,
    ),
    metric(
        "edge_small_packets",
        "small node: packets a scrape, both ways",
        Unit::Count,
    ),
];

/// Numbers by key. What was not measured, or never came true, has none.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Measured(BTreeMap<&'static str, f64>);

impl Measured {
    /// # Panics
    /// When no row has that key: a number that nobody would see.
    pub(crate) fn set(&mut self, key: &'static str, number: f64) {
        assert!(METRICS.iter().any(|metric| metric.key == key), "{key}");
        self.0.insert(key, number);
    }

    pub(crate) fn set_if(&mut self, key: &'static str, number: Option<f64>) {
        if let Some(number) = number {
            self.set(key, number);
        }
    }

    pub(crate) fn get(&self, key: &str) -> Option<f64> {
        self.0.get(key).copied()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&'static str, f64)> {
        self.0.iter().map(|(key, number)| (*key, *number))
    }

    /// Adds what another phase measured.
    pub(crate) fn join(&mut self, other: Self) {
        self.0.extend(other.0);
    }

    /// The median of each number over the runs. One that some run has not reached has none: never is not a time.
    pub(crate) fn medians(runs: &[Self]) -> Self {
        let mut medians = Self::default();
        for metric in METRICS {
            let numbers: Vec<f64> = runs.iter().filter_map(|run| run.get(metric.key)).collect();
            if numbers.len() == runs.len() {
                medians.set_if(metric.key, median(&numbers));
            }
        }
        medians
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_median_needs_every_run() {
        let run = |ack: f64, restart: Option<f64>| {
            let mut run = Measured::default();
            run.set("ack_p99_ms", ack);
            run.set_if("restart_all_seconds", restart);
            run
        };
        let medians =
            Measured::medians(&[run(3.0, Some(1.0)), run(1.0, None), run(2.0, Some(1.0))]);
        assert_eq!(medians.get("ack_p99_ms"), Some(2.0));
        assert_eq!(medians.get("restart_all_seconds"), None);
    }
}
