//! The targets of every branch, read from what their edges stored: the `up` series.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use model::{BRANCH, INSTANCE, JOB, METRIC_NAME, Matcher, Timestamp, Value, is_stale};
use tsdb::{SelectLimits, Store, TimeRange};

use crate::federation::TargetCounts;

/// A target whose `up` is older than this is not listed: PromQL's look-back.
const LOOKBACK: Duration = Duration::from_secs(5 * 60);
/// Targets read for one answer.
const TARGETS_MAX: usize = 200_000;

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
pub(crate) fn by_branch(store: &Store, now: Timestamp) -> BTreeMap<String, Vec<TargetState>> {
    let range = TimeRange::new(now.saturating_sub(LOOKBACK), now);
    let limits = SelectLimits {
        series: TARGETS_MAX,
        ..SelectLimits::default()
    };
    let matchers = [Matcher::equal(METRIC_NAME, "up")];
    let selection = match store.select(&matchers, range, &limits, &|| false) {
        Ok(selection) => selection,
        Err(error) => {
            tracing::warn!("targets cannot be listed: {error}");
            return BTreeMap::new();
        }
    };
    let mut all: BTreeMap<String, Vec<TargetState>> = BTreeMap::new();
    for series in selection.series {
        let label = |name| series.labels.get(name).unwrap_or_default().to_owned();
        let last = series.timestamps.len().saturating_sub(1);
        let Some(Value::Float(up)) = series.values.get(last) else {
            continue;
        };
        if is_stale(up) {
            continue;
        }
        all.entry(label(BRANCH)).or_default().push(TargetState {
            job: label(JOB),
            instance: label(INSTANCE),
            up: up != 0.0,
            at: Timestamp::from_millis(series.timestamps[last]),
        });
    }
    all
}

/// How many targets of each branch are up and down.
pub(crate) fn counts(store: &Arc<Store>, now: Timestamp) -> Vec<TargetCounts> {
    by_branch(store, now)
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
