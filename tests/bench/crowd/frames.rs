//! Whose series, which frames, what is asked: what both ends of the measurement agree on.

use std::time::{SystemTime, UNIX_EPOCH};

use model::{LabelSet, Sample, Series, Timestamp};
use wire::line::{LineEncoder, LineScrape};

/// Between two scrapes of a backlog.
pub(super) const STEP_MS: i64 = 15_000;
/// The buffer of every edge.
pub(super) const EPOCH: u64 = 7;
/// Says when its scrape was due, in ms.
const DUE: &str = "bench_due_ms";

/// Makes the frames of one edge.
pub(super) struct Frames {
    encoder: LineEncoder,
    series: Vec<LabelSet>,
    due: LabelSet,
}

impl Frames {
    pub(super) fn new(branch: &str, session: u32, series: usize) -> Self {
        let label = |name: &str, n: &str| {
            LabelSet::from_pairs([("__name__", name), ("branch", branch), ("n", n)])
                .expect("names that are none twice")
        };
        Frames {
            encoder: LineEncoder::new(session, branch, EPOCH),
            series: (1..series)
                .map(|n| label("bench_value", &n.to_string()))
                .collect(),
            due: label(DUE, "0"),
        }
    }

    /// A scrape: half of the series stand still, the others count, each at its own pace.
    pub(super) fn scrape(&mut self, seq: u64, at: i64) -> Vec<u8> {
        let time = Timestamp::from_millis(at);
        let value = |n: usize| match n.is_multiple_of(2) {
            true => n as f64,
            false => (seq * n as u64) as f64,
        };
        let due = (self.due.clone().into(), Sample::float(time, at as f64));
        let others = self.series.iter().enumerate();
        let others =
            others.map(|(n, labels)| (labels.clone().into(), Sample::float(time, value(n))));
        let series: Vec<(Series, Sample)> = std::iter::once(due).chain(others).collect();
        let scrape = LineScrape {
            target: 1,
            part: 0,
            seq,
            at,
            series: &series,
            beside: &[],
        };
        self.encoder.encode(&scrape).expect("with labels")
    }
}

pub(super) fn crowd_name(n: usize) -> String {
    format!("crowd-{n:05}")
}

pub(super) fn other_name(n: usize) -> String {
    format!("other-{n:03}")
}

/// When the newest visible scrape of each of the others was due.
pub(super) fn newest_of_others() -> String {
    format!("{DUE}{{branch=~\"other-.*\"}}")
}

/// All samples of all edges, backlogs of so many scrapes among them.
pub(super) fn count(scrapes: usize) -> String {
    let seconds = scrapes as i64 * STEP_MS / 1_000 + 600;
    format!("sum(count_over_time({{__name__=~\"bench_.*\"}}[{seconds}s]))")
}

pub(super) fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    i64::try_from(since.unwrap_or_default().as_millis()).unwrap_or(i64::MAX)
}
