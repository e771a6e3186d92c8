//! Writes `branchline_branch_*` into the store, as ordinary series: rules and dashboards ask for them like for any others, and
//! they go on while a branch is cut off. No `job`, no `instance`: nobody scraped them.
//!
//! Where the head office's own edge runs, those of all branches; else of those whose edges hold a connection: a hub that only
//! takes remote write holds what was written to it, and nothing else.

use std::sync::Arc;
use std::time::Duration;

use daemon::{Clock, Tasks};
use model::{BRANCH, LabelSet, METRIC_NAME, Sample, Timestamp};
use tsdb::{Batch, BatchSeries, Store};

use super::{Branch, BranchMetrics};

/// How often every series has a sample.
const INTERVAL: Duration = Duration::from_secs(15);
/// How often it is seen whether a branch has changed its state; then all are written at once.
const LOOK: Duration = Duration::from_millis(250);
/// Whose series they are, for the store's limit.
const SCOPE: &str = "branchline hub";

/// Writes until the tasks end.
pub(crate) fn publish(
    metrics: BranchMetrics,
    of_all: bool,
    store: Arc<Store>,
    clock: Arc<dyn Clock>,
    seal_due: Arc<tokio::sync::Notify>,
    tasks: &Tasks,
) {
    let token = tasks.token().clone();
    tasks.spawn("branch series", async move {
        let (mut last, mut due) = (None, clock.elapsed());
        loop {
            let links = metrics.branches.links();
            let now = clock.elapsed();
            if now >= due || last.as_ref() != Some(&links) {
                (last, due) = (Some(links), now + INTERVAL);
                let (metrics, store, at) = (metrics.clone(), store.clone(), clock.now());
                let written = daemon::blocking(move || write(&metrics, of_all, &store, at)).await;
                match written {
                    Ok(true) => seal_due.notify_one(),
                    Ok(false) => {}
                    Err(error) => tracing::warn!("series of branches cannot be written: {error}"),
                }
            }
            if token.run_until_cancelled(clock.sleep(LOOK)).await.is_none() {
                return;
            }
        }
    });
}

/// Whether memory is to be sealed then. What is lost with the power is written anew 15 seconds later: nobody waits for the disk.
fn write(
    metrics: &BranchMetrics,
    of_all: bool,
    store: &Store,
    at: Timestamp,
) -> Result<bool, tsdb::AppendError> {
    let mut points: Vec<(LabelSet, [Sample; 1])> = Vec::new();
    let wanted = |branch: &Branch| of_all || !branch.edges.is_empty();
    metrics.each(wanted, |(name, branch, more, value)| {
        let labels = [(METRIC_NAME, name), (BRANCH, branch)]
            .into_iter()
            .chain(more);
        // Names are ours; a branch's name that is no label value has no series.
        if let Ok(labels) = LabelSet::from_pairs(labels) {
            points.push((labels, [Sample::float(at, value)]));
        }
    });
    let keys = store.series_keys(SCOPE);
    let labels: Vec<_> = points
        .iter()
        .map(|(labels, _)| move || Ok(labels.clone()))
        .collect();
    let series = points
        .iter()
        .zip(&labels)
        .map(|((known, samples), labels)| BatchSeries {
            key: keys.key(known.as_bytes()),
            labels,
            samples,
        });
    let batch = Batch {
        scope: SCOPE,
        series: series.collect(),
        metadata: Vec::new(),
    };
    Ok(store.append(&batch)?.seal_due)
}
