//! The edge's metrics about itself.

use std::fmt;
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

use super::{Drain, EdgeHandle, EdgeStatus};
use crate::forward::{HubStatus, LinkState};
use crate::push::PushCounts;
use crate::scrape::{Count, Health, ScrapeMetrics, SourceStatus};

/// `branchline_edge_*`: about the process, its buffer, and, with the label `hub`, each hub.
pub(super) struct EdgeMetrics {
    pub(super) edge: EdgeHandle,
}

impl fmt::Debug for EdgeMetrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EdgeMetrics")
    }
}

type PushOf = (&'static str, &'static str, fn(&PushCounts) -> u64);
type CountOf = (&'static str, &'static str, fn(&ScrapeMetrics) -> &Count);
type NumberOf<T> = (&'static str, &'static str, fn(&T) -> f64);

/// The encoder adds `_total` to counters.
const SCRAPING: [CountOf; 7] = [
    (
        "branchline_edge_scrapes",
        "Scrapes, failed ones included",
        |m| &m.scrapes,
    ),
    (
        "branchline_edge_scrapes_failed",
        "Scrapes that failed",
        |m| &m.failed,
    ),
    (
        "branchline_edge_scrapes_missed",
        "Scrapes left out because the one before took too long",
        |m| &m.missed,
    ),
    (
        "branchline_edge_duplicate_samples",
        "Samples left out because their series had one for that time",
        |m| &m.duplicates,
    ),
    (
        "branchline_edge_future_samples",
        "Samples left out because their timestamp was too far ahead",
        |m| &m.ahead,
    ),
    (
        "branchline_edge_refused_exemplars",
        "Exemplars left out because of their labels or a timestamp too far ahead",
        |m| &m.exemplars_refused,
    ),
    (
        "branchline_edge_lost_samples",
        "Samples and staleness markers lost because the buffer could not take them",
        |m| &m.lost,
    ),
];

const BUFFER_COUNTERS: [NumberOf<EdgeStatus>; 3] = [
    (
        "branchline_edge_scraped_samples",
        "Samples synced to the buffer since it was made",
        |s| s.buffer.scraped.samples as f64,
    ),
    (
        "branchline_edge_scraped_markers",
        "Staleness markers synced to the buffer since it was made",
        |s| s.buffer.scraped.markers as f64,
    ),
    (
        "branchline_edge_refused_samples",
        "Samples that the buffer refused since the start",
        |s| s.buffer.refused.samples as f64,
    ),
];

const GAUGES: [NumberOf<EdgeStatus>; 5] = [
    (
        "branchline_edge_buffer_bytes",
        "Bytes of the buffer on disk",
        |s| s.buffer.bytes as f64,
    ),
    (
        "branchline_edge_buffer_bytes_max",
        "Most bytes that the buffer may have",
        |s| s.buffer.bytes_max as f64,
    ),
    (
        "branchline_edge_buffer_accepts",
        "Whether the buffer takes scrapes",
        |s| flag(s.buffer.poisoned.is_none()),
    ),
    (
        "branchline_edge_config_last_reload_successful",
        "Whether the last attempt to load the configuration worked",
        |s| flag(s.reload.success),
    ),
    (
        "branchline_edge_config_last_reload_success_timestamp_seconds",
        "When a configuration was last put in force",
        |s| s.reload.loaded_at.seconds_f64(),
    ),
];

const HUB_COUNTERS: [NumberOf<HubStatus>; 7] = [
    (
        "branchline_edge_acknowledged_samples",
        "Samples that the hub has acknowledged",
        |h| h.counts.acknowledged.samples as f64,
    ),
    (
        "branchline_edge_damaged_samples",
        "Samples damaged on disk before the hub had them",
        |h| h.counts.damaged.samples as f64,
    ),
    (
        "branchline_edge_requests",
        "Requests to the hub since the start",
        |h| h.requests as f64,
    ),
    (
        "branchline_edge_request_failures",
        "Requests that failed or were refused since the start",
        |h| h.failures as f64,
    ),
    (
        "branchline_edge_sent_bytes",
        "Compressed bytes sent to the hub since the start",
        |h| h.bytes_sent as f64,
    ),
    (
        "branchline_edge_unwritten_samples",
        "Acknowledged samples that a foreign endpoint, by its answers, has not written",
        |h| h.unwritten as f64,
    ),
    (
        "branchline_edge_exemplars_left",
        "Exemplars not sent by remote write 2.0, since their series was not in the same request",
        |h| h.exemplars_left as f64,
    ),
];

const HUB_GAUGES: [NumberOf<HubStatus>; 8] = [
    ("branchline_edge_link_up", "Whether the hub answers", |h| {
        flag(h.link == LinkState::Up)
    }),
    (
        "branchline_edge_falls_back_to_remote_write_1",
        "Remote write 2.0 is configured, and the other end does not read it",
        |h| flag(h.instead_of_second.is_some()),
    ),
    (
        "branchline_edge_pending_samples",
        "Samples that the hub does not have yet",
        |h| h.counts.pending.counts.samples as f64,
    ),
    (
        "branchline_edge_pending_bytes",
        "Bytes of the buffer that the hub does not have yet",
        |h| h.counts.pending.bytes as f64,
    ),
    (
        "branchline_edge_quarantined_samples",
        "Samples that the hub has refused; they stay in the buffer",
        |h| h.counts.quarantined.samples as f64,
    ),
    (
        "branchline_edge_in_flight_samples",
        "Samples on their way to the hub",
        |h| h.in_flight_samples as f64,
    ),
    (
        "branchline_edge_round_trip_seconds",
        "How long the last acknowledged request took",
        |h| seconds(h.round_trip),
    ),
    (
        "branchline_edge_clock_offset_seconds",
        "The hub's clock less this machine's; 0 while it is not known",
        |h| h.clock_offset_ms.unwrap_or(0) as f64 / 1e3,
    ),
];

const PUSHES: [PushOf; 4] = [
    (
        "branchline_edge_push_requests",
        "Pushes since the start, refused ones included",
        |c| c.requests,
    ),
    (
        "branchline_edge_push_refused_requests",
        "Pushes that were refused, in part or whole",
        |c| c.refused,
    ),
    (
        "branchline_edge_push_samples",
        "Pushed samples taken; of groups, series",
        |c| c.samples,
    ),
    (
        "branchline_edge_push_refused_samples",
        "Samples refused while others of their request were taken",
        |c| c.samples_refused,
    ),
];

/// What keeps an edge going while it is cut off.
fn going(status: &EdgeStatus) -> [(&'static str, &'static str, f64); 5] {
    let sources = || status.pools.iter().flat_map(|pool| &pool.sources);
    let count = |wanted: fn(&SourceStatus) -> bool| sources().filter(|s| wanted(s)).count() as f64;
    [
        (
            "branchline_edge_clock_correction_seconds",
            "How much later scrapes are stamped than this machine's clock says, because it is not the hub's",
            status.clock_correction_ms.unwrap_or(0) as f64 / 1e3,
        ),
        (
            "branchline_edge_config_from_disk",
            "Whether the configuration in force, or files that it names, are those kept on disk, because they cannot be used as they are now",
            flag(status.from_disk.is_some()),
        ),
        (
            "branchline_edge_discovery_sources",
            "Files and servers that targets come from",
            count(|_| true),
        ),
        (
            "branchline_edge_discovery_sources_failing",
            "Of them, those that could not be read or asked the last time",
            count(|source| source.error.is_some()),
        ),
        (
            "branchline_edge_discovery_sources_from_disk",
            "Of them, those whose targets are those kept on disk from an earlier start",
            count(|source| source.from_disk),
        ),
    ]
}

fn flag(value: bool) -> f64 {
    if value { 1.0 } else { 0.0 }
}

fn seconds(value: Option<Duration>) -> f64 {
    value.map_or(f64::NAN, |value| value.as_secs_f64())
}

impl Collector for EdgeMetrics {
    fn encode(&self, mut out: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let status = self.edge.status();
        for (name, help, count) in SCRAPING {
            let counter = ConstCounter::new(count(self.edge.scrape_metrics()).get());
            counter.encode(out.encode_descriptor(name, help, None, MetricType::Counter)?)?;
        }
        for (name, help, value) in BUFFER_COUNTERS {
            let counter = ConstCounter::new(value(&status));
            counter.encode(out.encode_descriptor(name, help, None, MetricType::Counter)?)?;
        }
        for (name, help, value) in GAUGES {
            ConstGauge::new(value(&status)).encode(out.encode_descriptor(
                name,
                help,
                None,
                MetricType::Gauge,
            )?)?;
        }
        for (name, help, value) in self::going(&status) {
            ConstGauge::new(value).encode(out.encode_descriptor(
                name,
                help,
                None,
                MetricType::Gauge,
            )?)?;
        }
        let help = "Targets by the health of their last scrape";
        let mut family =
            out.encode_descriptor("branchline_edge_targets", help, None, MetricType::Gauge)?;
        for health in [Health::Up, Health::Down, Health::Unknown] {
            let targets = status.pools.iter().flat_map(|pool| &pool.active);
            let count = targets.filter(|target| target.health == health).count();
            ConstGauge::new(count as f64)
                .encode(family.encode_family(&[("health", health.as_str())])?)?;
        }
        for (name, help, value) in HUB_COUNTERS {
            let mut family = out.encode_descriptor(name, help, None, MetricType::Counter)?;
            for hub in &status.hubs {
                ConstCounter::new(value(hub))
                    .encode(family.encode_family(&[("hub", hub.name.as_str())])?)?;
            }
        }
        let (name, help) = (
            "branchline_edge_evicted_samples",
            "Samples that made room before the hub had them: the oldest ones, or others of their series were left (thinned)",
        );
        let mut family = out.encode_descriptor(name, help, None, MetricType::Counter)?;
        for hub in &status.hubs {
            let (all, thinned) = (hub.counts.evicted.samples, hub.counts.thinned.samples);
            let reasons = [
                ("oldest", all.saturating_sub(thinned)),
                ("thinned", thinned),
            ];
            for (reason, samples) in reasons {
                let labels = [("hub", hub.name.as_str()), ("reason", reason)];
                ConstCounter::new(samples as f64).encode(family.encode_family(&labels)?)?;
            }
        }
        for (name, help, count) in PUSHES {
            let mut family = out.encode_descriptor(name, help, None, MetricType::Counter)?;
            for (kind, counts) in &status.push.counts {
                ConstCounter::new(count(counts))
                    .encode(family.encode_family(&[("kind", kind.as_str())])?)?;
            }
        }
        let (name, help) = ("branchline_edge_push_groups", "Groups of the Pushgateway");
        ConstGauge::new(status.push.groups.len() as f64).encode(out.encode_descriptor(
            name,
            help,
            None,
            MetricType::Gauge,
        )?)?;
        let (name, help) = (
            "branchline_edge_drain_seconds",
            "When the hub will have its backlog, at the pace of the last minute; not there while that cannot be said",
        );
        let mut family = out.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for (hub, drain) in status.hubs.iter().zip(&status.drains) {
            let seconds = match drain {
                Drain::UpToDate => 0.0,
                Drain::Within(time) => time.as_secs_f64(),
                Drain::NotShrinking | Drain::Unknown => continue,
            };
            ConstGauge::new(seconds)
                .encode(family.encode_family(&[("hub", hub.name.as_str())])?)?;
        }
        for (name, help, value) in HUB_GAUGES {
            let mut family = out.encode_descriptor(name, help, None, MetricType::Gauge)?;
            for hub in &status.hubs {
                let value = value(hub);
                if !value.is_nan() {
                    ConstGauge::new(value)
                        .encode(family.encode_family(&[("hub", hub.name.as_str())])?)?;
                }
            }
        }
        Ok(())
    }
}
