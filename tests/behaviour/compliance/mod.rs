//! The hub answers PromQL as a real Prometheus does over the same samples: the queries of the compliance tester of the Prometheus
//! project, and random ones made from the grammar.
//!
//! The peer is Prometheus 2.42, the engine follows 3.14. Where the two differ by intention:
//!
//! - A range takes its left end in with 2.42 and not with 3.x. So no sample and no step of a subquery is ever on an end: samples come
//!   137 ms after whole seconds, queries ask 317 ms after them.
//! - `atan2` keeps the metric's name with 2.42, unlike every other arithmetic operator.
//! - `predict_linear` of a selector with `@`: in range queries 2.42 moves the window on with the steps, though `@` pins it.
//! - Filtering comparisons: 3.x refuses ambiguous matches even where no result is left of them (prometheus/prometheus#17668).
//! - A deviation of one value that is not finite: 0 with 2.42, NaN with 3.x. None of [`random`] is asked for.
//! - Counters that were near zero just before a window are extrapolated less far by 3.x. None of [`data`] begin near zero.
//! - What jumps (`round`, comparisons, the resets of a counter) makes a difference in the last bit of what it is applied to a visible
//!   one, and sums are added up in another order: the seeds of [`JUMPS`].
//! - 3.x takes any UTF-8 text for a label name; the compliance queries say which ([`Query::fails`]), the random ones use none.

mod data;
mod random;

use std::collections::BTreeMap;
use std::path::PathBuf;

use tests::api::{Answer, Api, Labels};
use tests::peers::{Peer, all_there};
use tests::service::Service;
use tests::{checkout, remote_write};

/// Random queries that are compared with every run, and with `tests/run --all`.
const RANDOM_QUERIES: u64 = 400;
const RANDOM_QUERIES_LONG: u64 = 20_000;

/// Seeds that apply what jumps to numbers that differ in their last bit: an average compared with itself, averages that are half a tenth before
/// they are rounded to tenths, and slopes that fall by the last bit, which `increase` takes for a reset.
const JUMPS: [u64; 3] = [15_582, 15_730, 18_078];

/// Points asked of each query, and the milliseconds between them: a step that is no multiple of the scrape interval.
const POINTS: i64 = 13;
const STEP_MS: i64 = 53_000;

/// Both with the same samples.
struct Both {
    hub: Service,
    prometheus: Service,
    /// Of the range that is asked, in milliseconds.
    start: i64,
}

impl Both {
    fn start(folder: &std::path::Path) -> Self {
        let per_step = "--enable-feature=promql-per-step-stats";
        let hub = Service::hub(&folder.join("hub")).argument(per_step).start();
        let prometheus = Service::prometheus(&folder.join("prometheus"))
            .config("scrape_configs: []\n")
            .argument("--web.enable-remote-write-receiver")
            .argument(per_step)
            .start();
        let data = data::Data::until_now();
        for batch in data.batches() {
            let body = remote_write::body(batch);
            for server in [&hub, &prometheus] {
                let answer = remote_write::send(&server.url("/api/v1/write"), None, &body);
                let answer = answer.expect("an answer to a remote write");
                assert_eq!(answer.status / 100, 2, "{}", answer.text());
            }
        }
        Self {
            hub,
            prometheus,
            start: data.asked_from(),
        }
    }

    /// Why the two do not answer alike. `fails`: whether the hub has to refuse it; if not known, as Prometheus does.
    fn compare(&self, query: &str, fails: Option<bool>) -> Result<bool, String> {
        let ask = |api: &Api| {
            let (start, step) = (self.start as f64 / 1000.0, STEP_MS as f64 / 1000.0);
            api.query_range(query, start, start + (POINTS - 1) as f64 * step, step)
        };
        let (ours, theirs) = (ask(&self.hub.api()), ask(&self.prometheus.api()));
        // What the hub keeps of the answer says the same.
        let again = ask(&self.hub.api());
        if format!("{again:?}") != format!("{ours:?}") {
            return Err(format!("asked again: {again:?}, before: {ours:?}"));
        }
        match (ours, theirs) {
            (Err(_), _) if fails == Some(true) => Ok(false),
            (Ok(_), _) if fails == Some(true) => Err("the hub answers it".to_owned()),
            (Ok(_), Err(_)) if fails == Some(false) => Ok(true),
            (Ok(ours), Ok(theirs)) => agree(&ours, &theirs),
            (Err(_), Err(_)) if fails.is_none() => Ok(false),
            (Err(error), Ok(_))
                if fails.is_none() && error.contains("multiple matches for labels") =>
            {
                Ok(false)
            }
            (Err(error), _) => Err(format!("the hub refuses it: {error}")),
            (Ok(_), Err(error)) => Err(format!("Prometheus refuses it: {error}")),
        }
    }
}

impl Both {
    /// Why the two do not say alike what each step of a query takes, if both answer it; whether there was anything to compare.
    fn compare_stats(&self, query: &str) -> Result<bool, String> {
        let (start, step) = (self.start as f64 / 1000.0, STEP_MS as f64 / 1000.0);
        let end = start + (POINTS - 1) as f64 * step;
        let (start, end, step) = (start.to_string(), end.to_string(), step.to_string());
        let form = [
            ("query", query),
            ("start", &start),
            ("end", &end),
            ("step", &step),
            ("stats", "all"),
        ];
        let ask = |api: &Api| {
            let answer = api.post("/api/v1/query_range", &form).ok()?;
            let samples = &answer["data"]["stats"]["samples"];
            Some(
                ["totalQueryableSamples", "totalQueryableSamplesPerStep"]
                    .map(|name| samples[name].clone()),
            )
        };
        let (Some(ours), Some(theirs)) = (ask(&self.hub.api()), ask(&self.prometheus.api())) else {
            return Ok(false);
        };
        if theirs[1].as_array().map(Vec::len) != Some(POINTS as usize) {
            return Err(format!("Prometheus counts no steps: {theirs:?}"));
        }
        match ours == theirs {
            true => Ok(theirs[0] != 0),
            false => Err(format!("{ours:?}, Prometheus: {theirs:?}")),
        }
    }
}

/// Whether there was anything to compare, if all series, times and values are equal.
pub(crate) fn agree(ours: &Answer, theirs: &Answer) -> Result<bool, String> {
    let by_labels = |answer: &Answer| -> BTreeMap<Labels, Vec<(f64, f64)>> {
        let series = answer.series.iter();
        series
            .map(|series| (series.labels.clone(), series.points.clone()))
            .collect()
    };
    let count = ours.series.len();
    let (mut ours, theirs) = (by_labels(ours), by_labels(theirs));
    if ours.len() != count {
        return Err("a series stands there twice".to_owned());
    }
    for (labels, expected) in &theirs {
        let found = ours
            .remove(labels)
            .ok_or_else(|| format!("{labels:?} is missing"))?;
        let times = |points: &[(f64, f64)]| points.iter().map(|point| point.0).collect::<Vec<_>>();
        if times(&found) != times(expected) {
            return Err(format!("{labels:?}: {found:?}, Prometheus: {expected:?}"));
        }
        for ((at, found), (_, expected)) in found.iter().zip(expected) {
            if !same(*found, *expected) {
                return Err(format!(
                    "{labels:?} at {at}: {found}, Prometheus: {expected}"
                ));
            }
        }
    }
    match ours.keys().next() {
        Some(more) => Err(format!("{more:?} is not Prometheus's")),
        None => Ok(!theirs.is_empty()),
    }
}

/// Equal but for the order in which numbers were added up; differences of nearly equal ones are known to their own scale only.
fn same(a: f64, b: f64) -> bool {
    let difference = (a - b).abs();
    a == b || (a.is_nan() && b.is_nan()) || difference <= (1e-9 * a.abs().max(b.abs())).max(1e-12)
}

/// One of `shared/promql-compliance/queries.jsonl`.
struct Query {
    text: String,
    /// With Prometheus 3.
    fails: bool,
}

fn queries(path: &PathBuf) -> Vec<Query> {
    let text =
        std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let read = |line: &str| {
        let query: serde_json::Value = serde_json::from_str(line).expect("a JSON object a line");
        let flag = |name: &str| query[name].as_bool();
        Query {
            text: query["query"].as_str().expect("a query").to_owned(),
            fails: flag("should_fail_prometheus_3")
                .or(flag("should_fail"))
                .unwrap_or(false),
        }
    };
    text.lines().map(read).collect()
}

#[test]
fn queries_of_the_compliance_tester_answer_as_prometheus_does() {
    let path = checkout::root().join("../shared/promql-compliance/queries.jsonl");
    if !path.is_file() {
        // Data that stands beside a checkout, or not.
        return;
    }
    if !all_there(&[Peer::Prometheus]) {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let both = Both::start(folder.path());
    let queries = queries(&path);
    let (mut answered, mut wrong) = (0, Vec::new());
    for Query { text, fails } in &queries {
        match both.compare(text, Some(*fails)) {
            Ok(something) => answered += usize::from(something),
            Err(why) => wrong.push(format!("{text}\n    {why}")),
        }
    }
    assert!(
        wrong.is_empty(),
        "{} of {}:\n{}",
        wrong.len(),
        queries.len(),
        wrong.join("\n")
    );
    assert!(
        answered * 10 > queries.len() * 8,
        "only {answered} of {} found data",
        queries.len()
    );
}

#[test]
fn random_queries_answer_as_prometheus_does() {
    if !all_there(&[Peer::Prometheus]) {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let both = Both::start(folder.path());
    let count = match checkout::long_versions() {
        true => RANDOM_QUERIES_LONG,
        false => RANDOM_QUERIES,
    };
    let (mut answered, mut wrong) = (0, Vec::new());
    for seed in (0..count).filter(|seed| !JUMPS.contains(seed)) {
        let query = random::query(seed);
        match both.compare(&query, None) {
            Ok(something) => answered += u64::from(something),
            Err(why) => wrong.push(format!("seed {seed}: {query}\n    {why}")),
        }
    }
    let shown: Vec<String> = wrong.iter().take(20).cloned().collect();
    assert!(
        wrong.is_empty(),
        "{} of {count}:\n{}",
        wrong.len(),
        shown.join("\n")
    );
    assert!(
        answered * 2 > count,
        "only {answered} of {count} found data"
    );
}

/// The samples that every step looks at. (What is read, and histograms, 2.42 does not count.)
#[test]
fn queries_take_as_much_as_in_prometheus() {
    if !all_there(&[Peer::Prometheus]) {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let both = Both::start(folder.path());
    let (mut compared, mut wrong) = (0, Vec::new());
    for seed in 0..RANDOM_QUERIES {
        let query = random::query(seed);
        match both.compare_stats(&query) {
            Ok(something) => compared += u64::from(something),
            Err(why) => wrong.push(format!("seed {seed}: {query}\n    {why}")),
        }
    }
    let shown: Vec<String> = wrong.iter().take(20).cloned().collect();
    assert!(wrong.is_empty(), "{}:\n{}", wrong.len(), shown.join("\n"));
    assert!(
        compared * 2 > RANDOM_QUERIES,
        "only {compared} of {RANDOM_QUERIES} took anything"
    );
}
