//! The router's metrics, read from its state whenever they are asked for.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;

use crate::outbox::{DestinationStatus, LaneState};
use crate::router::{RouterHandle, RouterStatus};

/// The process's metrics and the router's.
pub(crate) fn registry(router: RouterHandle) -> Registry {
    let mut registry = daemon::metrics::registry("alert-router");
    registry.register_collector(collector(router));
    registry
}

/// The router's own metrics, for a process that has others too. To be collected on a thread that may wait.
pub fn collector(router: RouterHandle) -> Box<dyn Collector> {
    Box::new(Metrics { router })
}

struct Metrics {
    router: RouterHandle,
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Metrics")
    }
}

impl Collector for Metrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let Some(status) = self.router.status_blocking() else {
            return Ok(());
        };
        totals(&mut encoder, &status)?;
        let all = &status.outbox.destinations;
        let mut gauge = |name: &str, help: &str, value: fn(&DestinationStatus) -> f64| {
            each(&mut encoder, name, help, all, |d| ConstGauge::new(value(d)))
        };
        gauge(
            "branchline_router_pending",
            "Entries that the destination has not acknowledged",
            |d| d.pending as f64,
        )?;
        gauge(
            "branchline_router_oldest_pending_seconds",
            "The longest time that an entry has been waiting for the destination",
            |d| d.oldest_pending_seconds,
        )?;
        gauge(
            "branchline_router_destination_up",
            "Whether the destination's last answer was good",
            |d| f64::from(u8::from(d.state == LaneState::Ok)),
        )?;
        let mut counter = |name: &str, help: &str, value: fn(&DestinationStatus) -> u64| {
            each(&mut encoder, name, help, all, |d| {
                ConstCounter::new(value(d))
            })
        };
        counter(
            "branchline_router_delivered",
            "Entries acknowledged by the destination",
            |d| d.delivered_total,
        )?;
        counter(
            "branchline_router_delivery_failures",
            "Requests to the destination that failed",
            |d| d.failures_total,
        )?;
        counter(
            "branchline_router_refused",
            "Entries that the destination refused for good",
            |d| d.refused_total,
        )?;
        counter(
            "branchline_router_expired",
            "Entries that ended before the destination took them",
            |d| d.expired_total,
        )
    }
}

fn totals(encoder: &mut DescriptorEncoder<'_>, status: &RouterStatus) -> fmt::Result {
    let mut gauge = |name: &str, help: &str, value: f64| {
        let gauge = ConstGauge::new(value);
        gauge.encode(encoder.encode_descriptor(name, help, None, gauge.metric_type())?)
    };
    gauge(
        "branchline_router_entries",
        "Alerts and notices known",
        status.outbox.entries as f64,
    )?;
    gauge(
        "branchline_router_entries_max",
        "Most alerts and notices that may be known",
        status.outbox.entries_max as f64,
    )?;
    gauge(
        "branchline_router_entries_bytes",
        "Size of the alerts and notices known",
        status.outbox.bytes as f64,
    )?;
    gauge(
        "branchline_router_journal_bytes",
        "Size of the outbox's journal",
        status.journal_bytes as f64,
    )?;
    let mut counter = |name: &str, help: &str, value: u64| {
        let counter = ConstCounter::new(value);
        counter.encode(encoder.encode_descriptor(name, help, None, counter.metric_type())?)
    };
    counter(
        "branchline_router_alerts_received",
        "Alerts reported",
        status.alerts_received_total,
    )?;
    counter(
        "branchline_router_full",
        "Entries not taken because the outbox was full",
        status.full_total,
    )?;
    let unrouted = status.unrouted_by_branch.values().sum();
    counter(
        "branchline_router_unrouted",
        "Alerts of webhook messages without a contact",
        unrouted,
    )
}

/// A family with one metric for every destination.
fn each<M: EncodeMetric>(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    destinations: &[DestinationStatus],
    metric: impl Fn(&DestinationStatus) -> M,
) -> fmt::Result {
    let Some(first) = destinations.first() else {
        return Ok(());
    };
    let mut family = encoder.encode_descriptor(name, help, None, metric(first).metric_type())?;
    for destination in destinations {
        let labels = [
            ("kind", destination.id.kind.as_str()),
            ("destination", destination.id.name.as_str()),
        ];
        metric(destination).encode(encode_family(&mut family, &labels)?)?;
    }
    Ok(())
}

fn encode_family<'a>(
    family: &'a mut prometheus_client::encoding::MetricEncoder<'_>,
    labels: &'a impl EncodeLabelSet,
) -> Result<prometheus_client::encoding::MetricEncoder<'a>, fmt::Error> {
    family.encode_family(labels)
}
