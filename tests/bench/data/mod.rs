//! What do branches send? A data set that is the same in every run: branches of seven machines and one business application each,
//! all with 500 series, scraped every 15 s at an offset of their own. Its end is near now, because Prometheus takes nothing older
//! than its head.
//!
//! Not here: bytes ([`crate::encode`]) and how they are sent ([`crate::push`]).

mod node;
mod page;
mod random;
mod till;
mod value;

pub(crate) use page::Entry;
use page::Page;
pub(crate) use random::Random;
pub(crate) use value::{Moving, Scrape};

/// Series of one target.
pub(crate) const TARGET_SERIES: usize = 500;
/// Targets of one branch; the last one is the business application.
pub(crate) const BRANCH_TARGETS: usize = 8;
/// Between two scrapes.
pub(crate) const STEP_MS: i64 = 15_000;
/// A target that churns is replaced after so many scrapes.
pub(crate) const GENERATION_STEPS: usize = 20;

/// How much, and when.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Shape {
    /// A multiple of [`TARGET_SERIES`].
    pub(crate) series: usize,
    /// Of every series.
    pub(crate) scrapes: usize,
    /// Every sample is older than this: milliseconds since the epoch, a multiple of [`STEP_MS`].
    pub(crate) end_ms: i64,
    /// So many of 100 targets get new series every [`GENERATION_STEPS`] scrapes.
    pub(crate) churn_percent: usize,
    /// The number of the first branch.
    pub(crate) first_branch: usize,
}

impl Shape {
    /// The data set that ends before `end_ms`; `series` is rounded up to whole targets.
    pub(crate) fn new(series: usize, scrapes: usize, end_ms: i64) -> Self {
        Self {
            series: series.div_ceil(TARGET_SERIES) * TARGET_SERIES,
            scrapes,
            end_ms: end_ms - end_ms.rem_euclid(STEP_MS),
            churn_percent: 0,
            first_branch: 1,
        }
    }

    pub(crate) fn targets(&self) -> usize {
        self.series / TARGET_SERIES
    }

    pub(crate) fn branches(&self) -> usize {
        self.targets().div_ceil(BRANCH_TARGETS)
    }

    pub(crate) fn samples(&self) -> u64 {
        (self.series * self.scrapes) as u64
    }

    /// From before the first sample to [`Self::end_ms`], in seconds.
    pub(crate) fn span_s(&self) -> i64 {
        (i64::try_from(self.scrapes).unwrap_or(i64::MAX / STEP_MS) + 1) * STEP_MS / 1000
    }

    /// When the targets with that offset are scraped.
    pub(crate) fn at(&self, step: usize, offset_ms: i64) -> i64 {
        let back = i64::try_from(self.scrapes - step).unwrap_or(0);
        self.end_ms - back * STEP_MS + offset_ms
    }

    /// All targets, in the order in which they are scraped.
    pub(crate) fn target(&self, index: usize) -> TargetName {
        let (branch, place) = (index / BRANCH_TARGETS, index % BRANCH_TARGETS);
        let branch_number = self.first_branch + branch;
        let branch = branch_name(branch_number);
        let (job, host, port) = if place + 1 == BRANCH_TARGETS {
            ("till", "till-gateway".to_owned(), 8080)
        } else {
            ("node", format!("node-{place:02}"), 9100)
        };
        // By number, so that a branch is the same in every data set.
        let number = (branch_number * BRANCH_TARGETS + place) as u64;
        TargetName {
            instance: format!("{host}.{branch}.branches.example.com:{port}"),
            churns: (number * 37 % 100) < self.churn_percent as u64,
            offset_ms: i64::try_from(1 + number * 7_919 % 14_998).unwrap_or(1),
            branch,
            job,
            number,
        }
    }

    /// A machine whose series are asked for one by one.
    pub(crate) fn probe(&self) -> String {
        self.target(0).instance
    }
}

/// `b0001`, ...: the same length for all, so that they sort.
pub(crate) fn branch_name(number: usize) -> String {
    format!("b{number:04}")
}

/// Who is scraped.
#[derive(Debug, Clone)]
pub(crate) struct TargetName {
    pub(crate) branch: String,
    pub(crate) instance: String,
    pub(crate) job: &'static str,
    pub(crate) churns: bool,
    /// After the beginning of each step; never 0, so that no sample stands on the edge of a query's window.
    pub(crate) offset_ms: i64,
    number: u64,
}

/// The two kinds of pages, written once.
pub(crate) struct Pages {
    node: Page,
    till: Page,
}

/// The labels of a series, sorted by name, `__name__` among them.
pub(crate) type Labels<'a> = Vec<(&'a str, &'a str)>;

impl Pages {
    pub(crate) fn new() -> Self {
        Self {
            node: node::page().with_series(TARGET_SERIES),
            till: till::page().with_series(TARGET_SERIES),
        }
    }

    fn of(&self, target: &TargetName) -> &Page {
        if target.job == "till" {
            &self.till
        } else {
            &self.node
        }
    }

    /// The labels of the target's series, in the order of its page. `pod` is the name of what may be replaced.
    pub(crate) fn labels<'a>(
        &'a self,
        target: &'a TargetName,
        pod: Option<&'a str>,
    ) -> impl Iterator<Item = Labels<'a>> {
        self.of(target).entries.iter().map(move |entry| {
            let mut labels = vec![
                ("__name__", entry.name.as_str()),
                ("branch", &target.branch),
                ("instance", &target.instance),
                ("job", target.job),
            ];
            labels.extend(pod.map(|pod| ("pod", pod)));
            labels.extend(
                entry
                    .labels
                    .iter()
                    .map(|(name, value)| (*name, value.as_str())),
            );
            labels.sort_unstable();
            labels
        })
    }

    /// The target's series before the first scrape, and the chance that moves them.
    pub(crate) fn start(&self, target: &TargetName) -> (Vec<Moving>, Random) {
        let mut random = Random::stream(target.number);
        (self.of(target).series(&mut random), random)
    }
}

/// What one target of that number exposes: a machine and a business application in turn, [`TARGET_SERIES`] of each, so that about half
/// of its series never change however many there are. The series stand as (block, entry), the values before the first scrape beside
/// them. Blocks have series of the same name and labels: who shows them tells the blocks apart.
pub(crate) fn exposed(number: u64, series: usize) -> (Vec<(usize, Entry)>, Vec<Moving>, Random) {
    let kinds = [node::page as fn() -> Page, till::page];
    let mut random = Random::stream(number);
    let (mut entries, mut values) = (Vec::new(), Vec::new());
    for block in 0..series.div_ceil(TARGET_SERIES) {
        let left = series - block * TARGET_SERIES;
        let page = kinds[block % kinds.len()]().exposed();
        let page = page.with_series(left.min(TARGET_SERIES));
        values.extend(page.series(&mut random));
        entries.extend(page.entries.into_iter().map(|entry| (block, entry)));
    }
    (entries, values, random)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    const SHAPE: fn() -> Shape = || Shape::new(7_900, 10, 1_700_000_007_000);

    #[test]
    fn whole_targets_whole_steps() {
        let shape = SHAPE();
        assert_eq!(
            (shape.series, shape.targets(), shape.branches()),
            (8_000, 16, 2)
        );
        assert_eq!(shape.end_ms % STEP_MS, 0);
        assert!(shape.at(9, 14_999) < shape.end_ms);
        assert!(shape.at(0, 1) > shape.end_ms - shape.span_s() * 1000);
    }

    #[test]
    fn no_series_twice() {
        let (shape, pages) = (SHAPE(), Pages::new());
        let mut seen = BTreeSet::new();
        for index in 0..shape.targets() {
            let target = shape.target(index);
            for labels in pages.labels(&target, None) {
                assert!(labels.is_sorted());
                assert!(seen.insert(format!("{labels:?}")), "{labels:?}");
            }
        }
        assert_eq!(seen.len(), shape.series);
    }

    #[test]
    fn what_a_target_exposes_is_half_constant_and_not_the_scrapers() {
        let (entries, values, _) = exposed(3, 1_000);
        assert_eq!((entries.len(), values.len()), (1_000, 1_000));
        assert!(entries.iter().all(|(_, entry)| entry.name != "up"));
        let constant = values.iter().filter(|series| !series.moves()).count();
        assert!((400..=650).contains(&constant), "{constant} of 1000");
    }

    #[test]
    fn about_half_of_the_series_never_change() {
        let (shape, pages) = (SHAPE(), Pages::new());
        for index in [0, BRANCH_TARGETS - 1] {
            let (series, _) = pages.start(&shape.target(index));
            let constant = series.iter().filter(|series| !series.moves()).count();
            let percent = constant * 100 / series.len();
            assert!(
                (40..=65).contains(&percent),
                "{percent} % of target {index}"
            );
        }
    }
}
