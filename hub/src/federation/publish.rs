//! Writes `branchline_branch_*` into the store, as ordinary series: rules and dashboards ask for them like for any others, and
//! they go on while a branch is cut off. No `job`, no `instance`: nobody scraped them.
//!
//! Where the head office's own edge runs, those of all branches; else of those whose edges hold a connection: a hub that only
//! takes remote write holds what was written to it, and nothing else.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use daemon::{Clock, Tasks};
use model::{BRANCH, LabelSet, METRIC_NAME, Sample, Timestamp};
use tsdb::{Batch, BatchSeries, Store, Urgency};

use super::{Branch, BranchMetrics, LinkState};

/// How often every series has a sample.
const INTERVAL: Duration = Duration::from_secs(15);
/// How often it is seen whether a branch has changed its state; then what there is to say of it is written at once.
const LOOK: Duration = Duration::from_millis(250);
/// Series that are written at a time: those of a thousand branches are some ten thousand, and live scrapes must not wait for them.
const SERIES_AT_A_TIME: usize = 1_000;
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
        let (mut last, mut due) = (Links::new(), clock.elapsed());
        loop {
            let links = metrics.branches.links();
            let now = clock.elapsed();
            let which = match now >= due {
                true => Which::All,
                false => Which::These(changed(&last, &links)),
            };
            if which != Which::These(BTreeSet::new()) {
                if which == Which::All {
                    due = now + INTERVAL;
                }
                last = links;
                let (metrics, store, at) = (metrics.clone(), store.clone(), clock.now());
                let written = daemon::blocking(move || {
                    let of = |branch: &Branch| of_all || !branch.edges.is_empty();
                    write(&metrics, &which, of, &store, at)
                });
                let written = written.await;
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

type Links = BTreeMap<String, LinkState>;

/// Branches whose series are written.
#[derive(Debug, PartialEq, Eq)]
enum Which {
    All,
    These(BTreeSet<String>),
}

/// Those whose state is not what it was. One that is forgotten has no state to write.
fn changed(last: &Links, links: &Links) -> BTreeSet<String> {
    let news = links
        .iter()
        .filter(|(name, link)| last.get(*name) != Some(link));
    news.map(|(name, _)| name.clone()).collect()
}

/// Whether memory is to be sealed then. What is lost with the power is written anew 15 seconds later: nobody waits for the disk.
fn write(
    metrics: &BranchMetrics,
    which: &Which,
    wanted: impl Fn(&Branch) -> bool,
    store: &Store,
    at: Timestamp,
) -> Result<bool, tsdb::AppendError> {
    let mut points: Vec<(LabelSet, [Sample; 1])> = Vec::new();
    let named = |name: &str| match which {
        Which::All => true,
        Which::These(names) => names.contains(name),
    };
    metrics.each(named, wanted, |(name, branch, more, value)| {
        let labels = [(METRIC_NAME, name), (BRANCH, branch)]
            .into_iter()
            .chain(more);
        // Names are ours; a branch's name that is no label value has no series.
        if let Ok(labels) = LabelSet::from_pairs(labels) {
            points.push((labels, [Sample::float(at, value)]));
        }
    });
    let mut seal_due = false;
    for points in points.chunks(SERIES_AT_A_TIME) {
        seal_due |= append(points, store)?;
    }
    Ok(seal_due)
}

fn append(points: &[(LabelSet, [Sample; 1])], store: &Store) -> Result<bool, tsdb::AppendError> {
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
    Ok(store.append_with(&batch, Urgency::Patient)?.seal_due)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::federation::Branches;
    use daemon::SimClock;
    use journal::sim::SimDisk;

    fn links(of: &[(&str, LinkState)]) -> Links {
        of.iter()
            .map(|(name, link)| ((*name).to_owned(), *link))
            .collect()
    }

    #[test]
    fn who_changed_is_written_and_who_is_forgotten_is_not() {
        use LinkState::{Draining, Silent, Up};
        let last = links(&[("b01", Up), ("b02", Up), ("b03", Silent)]);
        let now = links(&[("b01", Up), ("b02", Draining), ("b04", Up)]);
        let names = changed(&last, &now).into_iter().collect::<Vec<_>>();
        assert_eq!(names, ["b02", "b04"]);
        assert!(changed(&now, &now).is_empty());
    }

    #[test]
    fn one_that_changes_costs_its_own_series() {
        let disk = Arc::new(SimDisk::new(1));
        let store = Store::open(disk, "/store".as_ref(), Default::default()).unwrap();
        let branches = Branches::new(Arc::new(SimClock::new(Timestamp::from_millis(1_000))));
        for n in 0..500 {
            branches.expect(&format!("b{n:03}"));
        }
        let metrics = BranchMetrics {
            branches,
            targets: Arc::new(Vec::new),
        };
        let mut before = 0;
        let mut samples = |which| {
            let at = Timestamp::from_millis(2_000);
            write(&metrics, &which, |_| true, &store, at).unwrap();
            let all = store.stats().samples_appended;
            all - std::mem::replace(&mut before, all)
        };
        let all = samples(Which::All);
        assert!(all > 2 * SERIES_AT_A_TIME as u64 && all % 500 == 0, "{all}");
        let these = ["b007", "b008", "b999"].map(str::to_owned);
        assert_eq!(samples(Which::These(these.into())), all / 500 * 2);
    }
}
