//! `branchline_line_*`: what happens on the held connections.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use wire::edge_headers::Lane;

use super::LineHub;

/// Since the start.
#[derive(Debug, Default)]
pub(super) struct LineCounts {
    /// Connections now.
    pub(super) connections: AtomicU64,
    pub(super) live: LaneCounts,
    pub(super) backlog: LaneCounts,
    pub(super) reports: AtomicU64,
    /// Frames that did not follow what was known.
    pub(super) unknown: AtomicU64,
    /// Frames whose records were here already.
    pub(super) repeated: AtomicU64,
    /// Frames that could not be stored then.
    pub(super) later: AtomicU64,
    /// Connections that ended because of what came on them.
    pub(super) broken: AtomicU64,
    pub(super) refused_samples: AtomicU64,
}

#[derive(Debug, Default)]
pub(super) struct LaneCounts {
    pub(super) frames: AtomicU64,
    pub(super) bytes: AtomicU64,
    pub(super) samples: AtomicU64,
}

impl LineCounts {
    pub(super) fn lane(&self, lane: Lane) -> &LaneCounts {
        match lane {
            Lane::Live => &self.live,
            Lane::Backlog => &self.backlog,
        }
    }
}

pub(super) fn add(counter: &AtomicU64, more: u64) {
    counter.fetch_add(more, Ordering::Relaxed);
}

/// See the module.
pub(crate) struct LineMetrics(pub(crate) Arc<LineHub>);

impl fmt::Debug for LineMetrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LineMetrics")
    }
}

/// A counter of each lane: name, help, where it is.
type OfLane = (&'static str, &'static str, fn(&LaneCounts) -> &AtomicU64);

impl Collector for LineMetrics {
    fn encode(&self, mut out: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let counts = &self.0.counts;
        let lanes: [OfLane; 3] = [
            (
                "branchline_line_frames",
                "Frames that came on held connections",
                |lane| &lane.frames,
            ),
            ("branchline_line_bytes", "Bytes of these frames", |lane| {
                &lane.bytes
            }),
            (
                "branchline_line_samples",
                "Samples stored from them, staleness markers apart",
                |lane| &lane.samples,
            ),
        ];
        for (name, help, value) in lanes {
            let mut family = out.encode_descriptor(name, help, None, MetricType::Counter)?;
            for (lane, counts) in [("live", &counts.live), ("backlog", &counts.backlog)] {
                let counter = ConstCounter::new(value(counts).load(Ordering::Relaxed));
                counter.encode(family.encode_family(&[("lane", lane)])?)?;
            }
        }
        let counters = [
            (
                "branchline_line_reports",
                "Reports of edges",
                &counts.reports,
            ),
            (
                "branchline_line_unknown_frames",
                "Frames that did not follow what was known: sent again, described",
                &counts.unknown,
            ),
            (
                "branchline_line_repeated_frames",
                "Frames whose records were stored before",
                &counts.repeated,
            ),
            (
                "branchline_line_postponed_frames",
                "Frames that could not be stored when they came",
                &counts.later,
            ),
            (
                "branchline_line_broken_connections",
                "Connections closed because of what came on them",
                &counts.broken,
            ),
            (
                "branchline_line_refused_samples",
                "Samples that were refused for good",
                &counts.refused_samples,
            ),
        ];
        for (name, help, value) in counters {
            let counter = ConstCounter::new(value.load(Ordering::Relaxed));
            counter.encode(out.encode_descriptor(name, help, None, MetricType::Counter)?)?;
        }
        let (sending, waiting) = self.0.desk.counts();
        let gauges = [
            (
                "branchline_line_connections",
                "Held connections",
                counts.connections.load(Ordering::Relaxed),
            ),
            (
                "branchline_line_backlog_turns",
                "Edges that may send backlog now",
                sending as u64,
            ),
            (
                "branchline_line_backlog_waiting",
                "Edges that wait for their turn to send backlog",
                waiting as u64,
            ),
            (
                "branchline_line_kept_session_bytes",
                "Memory of sessions of edges that are not connected",
                self.0.kept.bytes() as u64,
            ),
        ];
        for (name, help, value) in gauges {
            let gauge = ConstGauge::new(value as f64);
            gauge.encode(out.encode_descriptor(name, help, None, MetricType::Gauge)?)?;
        }
        Ok(())
    }
}
