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
#[derive(Clone)]
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

const GAUGES: [Gauge; 14] = [
    (
        "branchline_branch_up",
        "Whether the branch is heard: 1, or 0 when it is silent",
        |b| match b.link {
            LinkState::Up | LinkState::Draining => Some(1.0),
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
        "How far behind now the branch is: what was scraped until then is known to its edge; of other senders, their newest sample",
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
        "branchline_branch_quarantined_samples",
        "Samples that the hub has refused and the edge keeps, by its last report",
        |b| b.complete.map(|_| b.quarantined_samples as f64),
    ),
    (
        "branchline_branch_lost_samples",
        "Samples that will never come, within the retention, for whatever reason",
        |b| b.sender.map(|_| b.lost_samples as f64),
    ),
    (
        "branchline_branch_complete",
        "Whether all that was scraped until a moment ago is here, save for what is lost",
        |b| b.complete.map(f64::from),
    ),
    (
        "branchline_branch_clock_offset_seconds",
        "The hub's clock less the edge's",
        |b| b.clock_offset_ms.map(|offset| offset as f64 / 1e3),
    ),
    (
        "branchline_branch_clock_correction_seconds",
        "How much later the edge stamps scrapes than its clock says, because that is not the hub's",
        |b| {
            b.clock_offset_ms
                .map(|_| b.clock_correction_ms.unwrap_or(0) as f64 / 1e3)
        },
    ),
    (
        "branchline_branch_round_trip_seconds",
        "Time of a heartbeat to the hub and back, as the edge measures it",
        |b| b.round_trip.map(|round_trip| round_trip.as_secs_f64()),
    ),
    (
        "branchline_branch_edges",
        "Edges with a held connection, now or within the retention",
        |b| b.complete.map(|_| b.edges.len() as f64),
    ),
    (
        "branchline_branch_stored_samples",
        "Samples stored from the branch since this hub started",
        |b| Some(b.stored_samples as f64),
    ),
];

/// Names of states, as the label `state` has them.
const STATES: [(LinkState, &str); 4] = [
    (LinkState::Up, "up"),
    (LinkState::Draining, "draining"),
    (LinkState::Silent, "silent"),
    (LinkState::Unknown, "unknown"),
];
const STATE: &str = "branchline_branch_state";
const TARGETS: &str = "branchline_branch_targets";

impl LinkState {
    /// Its name.
    pub(crate) fn name(self) -> &'static str {
        let named = STATES.iter().find(|(state, _)| *state == self);
        named.map_or("unknown", |(_, name)| name)
    }
}

/// One value of one branch: metric, a label beside `branch`, value.
pub(super) type Point<'b> = (
    &'static str,
    &'b str,
    Option<(&'static str, &'static str)>,
    f64,
);

impl BranchMetrics {
    /// All values of the branches that are wanted, of these names, for the store.
    pub(super) fn each(
        &self,
        named: impl Fn(&str) -> bool,
        wanted: impl Fn(&Branch) -> bool,
        mut put: impl FnMut(Point<'_>),
    ) {
        let mut list = self.branches.list_of(named);
        list.retain(wanted);
        for branch in &list {
            let name = branch.name.as_str();
            for (metric, _, value_of) in GAUGES {
                if let Some(value) = value_of(branch) {
                    put((metric, name, None, value));
                }
            }
            for (state, text) in STATES {
                put((
                    STATE,
                    name,
                    Some(("state", text)),
                    f64::from(branch.link == state),
                ));
            }
        }
        if list.is_empty() {
            return;
        }
        let is_listed = |name: &str| list.iter().any(|branch| branch.name == name);
        for counts in (self.targets)() {
            if !is_listed(&counts.branch) {
                continue;
            }
            for (health, count) in [("up", counts.up), ("down", counts.down)] {
                put((
                    TARGETS,
                    &counts.branch,
                    Some(("health", health)),
                    count as f64,
                ));
            }
        }
    }
}

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
        let help = "The state of the branch: 1 for the one that it is in";
        let mut family = encoder.encode_descriptor(STATE, help, None, MetricType::Gauge)?;
        for branch in &all {
            for (state, text) in STATES {
                let labels = [("branch", branch.name.as_str()), ("state", text)];
                let value = f64::from(branch.link == state);
                ConstGauge::new(value).encode(family.encode_family(&labels)?)?;
            }
        }
        let help = "Targets of the branch by the health of their last scrape that arrived";
        let mut family = encoder.encode_descriptor(TARGETS, help, None, MetricType::Gauge)?;
        for counts in (self.targets)() {
            for (health, count) in [("up", counts.up), ("down", counts.down)] {
                let labels = [("branch", counts.branch.as_str()), ("health", health)];
                ConstGauge::new(count as f64).encode(family.encode_family(&labels)?)?;
            }
        }
        Ok(())
    }
}
