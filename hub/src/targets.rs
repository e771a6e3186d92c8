//! The targets of every branch, read from what their edges stored: the `up` series.

use std::collections::BTreeMap;
use std::time::Duration;

use model::{BRANCH, INSTANCE, JOB, LabelSet, METRIC_NAME, Matcher, Timestamp, Value, is_stale};
use promql::{Cancel, Engine};
use tsdb::TimeRange;

use crate::federation::TargetCounts;
use crate::storage::StoreReader;

/// A target whose `up` is older than this is not listed: PromQL's look-back.
const LOOKBACK: Duration = Duration::from_secs(5 * 60);

/// One target as it was last heard of.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct TargetState {
    pub(crate) job: String,
    pub(crate) instance: String,
    pub(crate) up: bool,
    pub(crate) at: Timestamp,
}

/// The targets of all branches at `now`, by branch; a series without the label counts for the empty name. A
/// branch that is silent keeps what it had when it was last heard, for as long as the look-back.
pub(crate) fn by_branch(
    reader: &StoreReader,
    engine: &Engine,
    now: Timestamp,
) -> BTreeMap<String, Vec<TargetState>> {
    let range = TimeRange::new(now.saturating_sub(LOOKBACK), now);
    let matchers = [Matcher::equal(METRIC_NAME, "up")];
    let budget = engine.budget();
    let found = match reader.newest(&matchers, range, &budget, &Cancel::new()) {
        Ok(found) => found,
        Err(error) => {
            tracing::warn!("targets cannot be listed: {error}");
            return BTreeMap::new();
        }
    };
    let mut all: BTreeMap<String, Vec<(LabelSet, TargetState)>> = BTreeMap::new();
    for newest in found {
        let label = |name| newest.labels.get(name).unwrap_or_default().to_owned();
        let Value::Float(up) = newest.value else {
            continue;
        };
        if is_stale(up) {
            continue;
        }
        let target = TargetState {
            job: label(JOB),
            instance: label(INSTANCE),
            up: up != 0.0,
            at: newest.at,
        };
        let branch = label(BRANCH);
        all.entry(branch).or_default().push((newest.labels, target));
    }
    let sorted = all.into_iter().map(|(branch, mut targets)| {
        targets.sort_by(|a, b| a.0.cmp(&b.0));
        (
            branch,
            targets.into_iter().map(|(_, target)| target).collect(),
        )
    });
    sorted.collect()
}

/// How many targets of each branch are up and down.
pub(crate) fn counts(reader: &StoreReader, engine: &Engine, now: Timestamp) -> Vec<TargetCounts> {
    by_branch(reader, engine, now)
        .into_iter()
        .map(|(branch, targets)| {
            let up = targets.iter().filter(|target| target.up).count() as u64;
            TargetCounts {
                branch,
                up,
                down: targets.len() as u64 - up,
            }
        })
        .collect()
}
