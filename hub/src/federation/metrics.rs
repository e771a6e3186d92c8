use std::fmt;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;

use super::{Branch, Branches, LinkState};

/// Targets of one branch by health.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct TargetCounts {
    pub(crate) branch: String,
    pub(crate) up: u64,
    pub(crate) down: u64,
}

/// Counts the targets of every branch; asked when metrics are read.
pub(crate) type CountTargets = Arc<dyn Fn() -> Vec<TargetCounts> + Send + Sync>;

/// `branchline_branch_*`: the branches' states as ordinary series.
pub(crate) struct BranchMetrics {
    pub(crate) branches: Branches,
    pub(crate) targets: CountTargets,
}

impl fmt::Debug for BranchMetrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BranchMetrics")
    }
}

/// A gauge of one branch: name, help, and its value where there is one.
type Gauge = (&'static str, &'static str, fn(&Branch) -> Option<f64>);

const GAUGES: [Gauge; 7] = [
    (
        "branchline_branch_up",
        "Whether the branch is heard: 1, or 0 when it is silent",
        |b| match b.link {
            LinkState::Up => Some(1.0),
            LinkState::Silent | LinkState::Unknown => Some(0.0),
        },
    ),
    (
        "branchline_branch_last_seen_timestamp_seconds",
        "When the branch was last heard, Unix time",
        |b| b.last_seen.map(|at| at.seconds_f64()),
    ),
    (
        "branchline_branch_lag_seconds",
        "How far the branch's newest sample is behind now",
        |b| b.lag.map(|lag| lag.as_secs_f64()),
    ),
    (
        "branchline_branch_pending_samples",
        "Samples that wait at the edge, by its last report",
        |b| b.sender.map(|_| b.pending_samples as f64),
    ),
    (
        "branchline_branch_pending_bytes",
        "Bytes of the edge's buffer that wait, by its last report",
        |b| b.sender.map(|_| b.pending_bytes as f64),
    ),
    (
        "branchline_branch_evicted_samples",
        "Samples that the edge had to give up, by its last report",
        |b| b.sender.map(|_| b.evicted_samples as f64),
    ),
    (
        "branchline_branch_stored_samples",
        "Samples stored from the branch since this hub started",
        |b| Some(b.stored_samples as f64),
    ),
];

impl Collector for BranchMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let all = self.branches.list();
        for (name, help, value_of) in GAUGES {
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            for branch in &all {
                if let Some(value) = value_of(branch) {
                    let labels = [("branch", branch.name.as_str())];
                    ConstGauge::new(value).encode(family.encode_family(&labels)?)?;
                }
            }
        }
        let help = "Targets of the branch by the health of their last scrape that arrived";
        let mut family = encoder.encode_descriptor(
            "branchline_branch_targets",
            help,
            None,
            MetricType::Gauge,
        )?;
        for counts in (self.targets)() {
            for (health, count) in [("up", counts.up), ("down", counts.down)] {
                let labels = [("branch", counts.branch.as_str()), ("health", health)];
                ConstGauge::new(count as f64).encode(family.encode_family(&labels)?)?;
            }
        }
        Ok(())
    }
}
