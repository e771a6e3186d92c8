//! From a page to a [`Scrape`]: parsing, labels, limits, duplicates, timestamps, staleness, and the target's own series.
//!
//! All or nothing: an error anywhere leaves of the page only `up` 0, the counts, and staleness markers.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use model::{LabelSet, Metadata, MetricType, Sample, Timestamp};
use wire::exposition::{Entry, Format, Parser};

use super::cache::{Cache, Found, Store};
use super::labels::LabelRules;
use super::{Class, Scrape};
use crate::config::JobConfig;

/// A sample further ahead than this is dropped: a target with a broken clock must not write next year.
const AHEAD_MAX: Duration = Duration::from_secs(600);

/// Families of one page whose metadata is kept.
const FAMILIES_MAX: usize = 100_000;

/// How pages of one target become scrapes.
#[derive(Debug, PartialEq)]
pub(super) struct Rules {
    pub(super) target: u64,
    pub(super) class: Class,
    pub(super) labels: LabelRules,
    pub(super) honor_timestamps: bool,
    pub(super) track_timestamps_staleness: bool,
    pub(super) sample_limit: Option<u64>,
    /// The timeout, if the extra series are wanted.
    pub(super) extra: Option<Duration>,
    reports: Reports,
}

/// Labels of the series that every scrape adds.
#[derive(Debug, PartialEq)]
struct Reports {
    always: [LabelSet; 5],
    extra: [LabelSet; 3],
}

const ALWAYS: [&str; 5] = [
    "up",
    "scrape_duration_seconds",
    "scrape_samples_scraped",
    "scrape_samples_post_metric_relabeling",
    "scrape_series_added",
];
const EXTRA: [&str; 3] = [
    "scrape_timeout_seconds",
    "scrape_sample_limit",
    "scrape_body_size_bytes",
];

impl Rules {
    pub(super) fn new(
        target: u64,
        labels: LabelRules,
        job: &JobConfig,
        timeout: Duration,
    ) -> Arc<Rules> {
        let reports = Reports {
            always: ALWAYS.map(|name| labels.report(name)),
            extra: EXTRA.map(|name| labels.report(name)),
        };
        Arc::new(Rules {
            target,
            class: job.class,
            labels,
            honor_timestamps: job.honor_timestamps,
            track_timestamps_staleness: job.track_timestamps_staleness,
            sample_limit: job.limits.samples,
            extra: job.extra_metrics.then_some(timeout),
            reports,
        })
    }

    /// Labels of the series that every scrape adds.
    pub(super) fn report_labels(&self) -> Vec<LabelSet> {
        let mut labels = self.reports.always.to_vec();
        if self.extra.is_some() {
            labels.extend(self.reports.extra.iter().cloned());
        }
        labels
    }
}

/// A page as it was fetched.
#[derive(Debug)]
pub(super) struct Body {
    pub(super) format: Format,
    pub(super) bytes: Vec<u8>,
}

/// What a scrape brought, besides what is stored.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Counts {
    /// Samples on the page (up to an error).
    pub(super) scraped: u64,
    /// Of them, those that relabelling left.
    pub(super) kept: u64,
    /// Series that the page did not have before.
    pub(super) series_added: u64,
    /// Samples left out because the series had one for that time already.
    pub(super) duplicates: u64,
    /// Samples left out because their timestamp is too far ahead.
    pub(super) ahead: u64,
}

/// A scrape read from a page, without the target's own series yet.
#[derive(Debug)]
pub(super) struct Read {
    pub(super) counts: Counts,
    /// Why it failed.
    pub(super) error: Option<String>,
    series: Vec<(LabelSet, Sample)>,
    metadata: Vec<(String, Metadata)>,
    /// -1: over the limit.
    body_bytes: i64,
}

/// Why a page could not be fetched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct FetchError {
    pub(super) reason: String,
    pub(super) body_too_large: bool,
}

impl FetchError {
    pub(super) fn new(reason: impl Into<String>) -> FetchError {
        FetchError {
            reason: reason.into(),
            body_too_large: false,
        }
    }
}

/// Reads what was fetched for the scrape stamped `at`. `elapsed` is monotonic.
pub(super) fn read(
    cache: &mut Cache,
    rules: &Rules,
    at: Timestamp,
    elapsed: Duration,
    fetched: &Result<Body, FetchError>,
) -> Read {
    cache.begin();
    let mut read = Read {
        counts: Counts::default(),
        error: None,
        series: Vec::new(),
        metadata: Vec::new(),
        body_bytes: 0,
    };
    match fetched {
        Ok(body) => {
            read.body_bytes = body.bytes.len() as i64;
            read.error = page(cache, rules, at, body, &mut read).err();
        }
        Err(error) => {
            read.body_bytes = if error.body_too_large { -1 } else { 0 };
            read.error = Some(error.reason.clone());
        }
    }
    let stale = match read.error {
        None => {
            read.metadata = cache.changed_metadata(std::mem::take(&mut read.metadata), elapsed);
            cache.finish()
        }
        Some(_) => {
            read.series.clear();
            read.metadata.clear();
            cache.fail()
        }
    };
    read.series
        .extend(stale.into_iter().map(|labels| (labels, Sample::stale(at))));
    read
}

fn page(
    cache: &mut Cache,
    rules: &Rules,
    at: Timestamp,
    body: &Body,
    read: &mut Read,
) -> Result<(), String> {
    let mut parser = Parser::new(body.format, &body.bytes);
    let mut kind = MetricType::Unknown;
    let mut metadata: BTreeMap<String, Metadata> = BTreeMap::new();
    let latest = at.saturating_add(AHEAD_MAX);
    let mut stored = 0;
    while let Some(entry) = parser.next_entry().map_err(|error| error.to_string())? {
        let sample = match entry {
            Entry::Sample(sample) => sample,
            Entry::Help { family, text } => {
                describe(&mut metadata, &family, |known| {
                    known.help = text.into_owned()
                });
                continue;
            }
            Entry::Type {
                family,
                kind: found,
            } => {
                kind = found;
                describe(&mut metadata, &family, |known| known.kind = found);
                continue;
            }
            Entry::Unit { family, unit } => {
                describe(&mut metadata, &family, |known| {
                    known.unit = unit.into_owned()
                });
                continue;
            }
            Entry::Comment { .. } => continue,
        };
        read.counts.scraped += 1;
        let own_time = sample.timestamp.filter(|_| rules.honor_timestamps);
        let line = cache.line_key(kind, sample.series);
        let (series, new) = match cache.find(line) {
            Some(Found::Dropped) => continue,
            Some(Found::Series(series)) => (series, false),
            None => match rules.labels.series(sample.labels.iter().collect())? {
                Some(labels) => (cache.add(line, labels), true),
                None => {
                    cache.add_dropped(line);
                    continue;
                }
            },
        };
        read.counts.kept += 1;
        let time = own_time.unwrap_or(at);
        if time > latest {
            read.counts.ahead += 1;
            continue;
        }
        let track = own_time.is_none() || rules.track_timestamps_staleness;
        if cache.store(series, time.millis(), track) == Store::Duplicate {
            read.counts.duplicates += 1;
            continue;
        }
        stored += 1;
        if rules.sample_limit.is_some_and(|limit| stored > limit) {
            // Counted to the end, but not kept: the page may be huge.
            read.series.clear();
            continue;
        }
        read.counts.series_added += u64::from(new);
        read.series.push((
            cache.labels(series).clone(),
            Sample::float(time, sample.value),
        ));
    }
    if rules.sample_limit.is_some_and(|limit| stored > limit) {
        return Err("sample limit exceeded".to_owned());
    }
    read.metadata = metadata.into_iter().collect();
    Ok(())
}

fn describe(
    metadata: &mut BTreeMap<String, Metadata>,
    family: &str,
    change: impl FnOnce(&mut Metadata),
) {
    if let Some(known) = metadata.get_mut(family) {
        change(known);
    } else if metadata.len() < FAMILIES_MAX {
        let mut new = Metadata {
            kind: MetricType::Unknown,
            help: String::new(),
            unit: String::new(),
        };
        change(&mut new);
        metadata.insert(family.to_owned(), new);
    }
}

/// Completes the scrape with the target's own series.
pub(super) fn report(rules: &Rules, at: Timestamp, took: Duration, read: Read) -> Scrape {
    let up = if read.error.is_none() { 1.0 } else { 0.0 };
    let counts = &read.counts;
    let values = [
        up,
        took.as_secs_f64(),
        counts.scraped as f64,
        counts.kept as f64,
        counts.series_added as f64,
    ];
    let mut series = read.series;
    let mut add =
        |labels: &LabelSet, value: f64| series.push((labels.clone(), Sample::float(at, value)));
    for (labels, value) in rules.reports.always.iter().zip(values) {
        add(labels, value);
    }
    if let Some(timeout) = rules.extra {
        let limit = rules.sample_limit.unwrap_or(0) as f64;
        let values = [timeout.as_secs_f64(), limit, read.body_bytes as f64];
        for (labels, value) in rules.reports.extra.iter().zip(values) {
            add(labels, value);
        }
    }
    Scrape {
        at,
        target: rules.target,
        class: rules.class,
        series,
        metadata: read.metadata,
    }
}

/// The target is gone: staleness markers for its series and its own ones.
pub(super) fn farewell(cache: &mut Cache, rules: &Rules, at: Timestamp) -> Scrape {
    let mut labels = cache.fail();
    labels.extend(rules.report_labels());
    Scrape {
        at,
        target: rules.target,
        class: rules.class,
        series: labels
            .into_iter()
            .map(|labels| (labels, Sample::stale(at)))
            .collect(),
        metadata: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use model::Value;

    use super::*;
    use crate::config::EdgeConfig;

    struct Target {
        cache: Cache,
        rules: Arc<Rules>,
    }

    impl Target {
        /// A target of a job with these lines.
        fn new(lines: &str) -> Target {
            let text = format!("scrape_configs:\n- job_name: a\n{lines}");
            let config = EdgeConfig::parse(&text, std::path::Path::new("x")).unwrap();
            Target {
                cache: Cache::new(),
                rules: rules(&config.jobs[0]),
            }
        }

        /// Scrapes a page at `at` seconds and prints what is stored, without `up` and the like if the scrape went well.
        fn scrape(&mut self, at: i64, page: Result<&str, &str>) -> Vec<String> {
            let fetched = page
                .map(|text| Body {
                    format: Format::Classic,
                    bytes: text.as_bytes().to_vec(),
                })
                .map_err(FetchError::new);
            let at = Timestamp::from_millis(at * 1000);
            let read = read(&mut self.cache, &self.rules, at, Duration::ZERO, &fetched);
            let error = read.error.clone();
            let counts = read.counts.clone();
            let scrape = report(&self.rules, at, Duration::from_millis(250), read);
            let mut lines: Vec<String> = scrape
                .series
                .iter()
                .map(|(labels, sample)| {
                    let value = match &sample.value {
                        Value::Float(value) if model::is_stale(*value) => "stale".to_owned(),
                        value => match value {
                            Value::Float(value) => value.to_string(),
                            other => format!("{other:?}"),
                        },
                    };
                    let labels = labels.builder().del("job").build();
                    format!("{labels} {value} @{}", sample.at.millis())
                })
                .collect();
            let ours = lines.split_off(lines.len() - 5);
            assert!(
                ours[0].starts_with(if error.is_none() { "up 1" } else { "up 0" }),
                "{ours:?}"
            );
            assert!(
                ours[1].starts_with("scrape_duration_seconds 0.25 "),
                "{ours:?}"
            );
            let counted = [counts.scraped, counts.kept, counts.series_added];
            for (line, count) in ours[2..].iter().zip(counted) {
                assert!(
                    line.contains(&format!(" {count} @")),
                    "{ours:?} {counted:?}"
                );
            }
            lines.extend(error);
            lines
        }
    }

    fn rules(job: &JobConfig) -> Arc<Rules> {
        let labels = LabelRules {
            target: LabelSet::from_pairs([("job", "a")]).unwrap(),
            honor: job.honor_labels,
            metric_relabel: job.metric_relabel.clone(),
            legacy_names: job.legacy_names,
            limits: job.limits,
            external: LabelSet::empty(),
        };
        Rules::new(7, labels, job, Duration::from_secs(10))
    }

    #[test]
    fn a_series_that_vanishes_is_marked_once() {
        let mut target = Target::new("");
        assert_eq!(
            target.scrape(1, Ok("a 1\nb{x=\"y\"} 2\n")),
            ["a 1 @1000", "b{x=\"y\"} 2 @1000"]
        );
        assert_eq!(
            target.scrape(2, Ok("a 3\n")),
            ["a 3 @2000", "b{x=\"y\"} stale @2000"]
        );
        assert_eq!(target.scrape(3, Ok("a 3\n")), ["a 3 @3000"]);
    }

    #[test]
    fn a_failed_scrape_stores_nothing_of_the_page() {
        let mut target = Target::new("");
        target.scrape(1, Ok("a 1\n"));
        assert_eq!(
            target.scrape(2, Err("connection refused")),
            ["a stale @2000", "connection refused"]
        );
        assert_eq!(target.scrape(3, Err("again")), ["again"]);
        assert_eq!(target.scrape(4, Ok("a 1\n")), ["a 1 @4000"]);
        let broken = target.scrape(5, Ok("a 1\nb 2\nc nonsense\n"));
        assert_eq!(broken[0], "a stale @5000");
        assert!(broken[1].starts_with("line 3"), "{broken:?}");
    }

    #[test]
    fn duplicates_keep_the_first() {
        let mut target = Target::new("");
        assert_eq!(target.scrape(1, Ok("a 1\na 2\na{} 3\n")), ["a 1 @1000"]);
        assert_eq!(target.scrape(2, Ok("a{} 4\na 5\n")), ["a 4 @2000"]);
        assert_eq!(target.scrape(3, Ok("a 6\n")), ["a 6 @3000"]);
    }

    #[test]
    fn relabelled_into_one_series() {
        let mut target = Target::new("  metric_relabel_configs: [{action: labeldrop, regex: x}]\n");
        assert_eq!(
            target.scrape(1, Ok("a{x=\"1\"} 1\na{x=\"2\"} 2\n")),
            ["a 1 @1000"]
        );
        assert_eq!(
            target.scrape(2, Ok("a{x=\"2\"} 3\n")),
            ["a 3 @2000"],
            "the other line stands in: not stale"
        );
        assert_eq!(target.scrape(3, Ok("")), ["a stale @3000"]);
    }

    #[test]
    fn timestamps_of_the_target() {
        let mut target = Target::new("");
        assert_eq!(
            target.scrape(100, Ok("a 1 99000\na 2 99500\nb 1 900000\n")),
            ["a 1 @99000", "a 2 @99500"],
            "b is too far ahead"
        );
        assert_eq!(
            target.scrape(200, Ok("")),
            [""; 0],
            "series with their own time do not become stale"
        );
        let mut ignoring = Target::new("  honor_timestamps: false\n");
        assert_eq!(ignoring.scrape(100, Ok("a 1 99000\n")), ["a 1 @100000"]);
        let mut tracking = Target::new("  track_timestamps_staleness: true\n");
        assert_eq!(tracking.scrape(100, Ok("a 1 99000\n")), ["a 1 @99000"]);
        assert_eq!(tracking.scrape(200, Ok("")), ["a stale @200000"]);
    }

    #[test]
    fn limits_fail_the_scrape_but_count_the_page() {
        let mut target = Target::new(
            "  sample_limit: 2\n  metric_relabel_configs: [{action: drop, source_labels: [__name__], regex: x}]\n",
        );
        assert_eq!(
            target.scrape(1, Ok("a 1\nx 2\nb 2\n")),
            ["a 1 @1000", "b 2 @1000"],
            "after relabelling"
        );
        assert_eq!(
            target.scrape(2, Ok("a 1\nb 2\nc 3\nd 4\n")),
            ["a stale @2000", "b stale @2000", "sample limit exceeded"]
        );
        let mut target = Target::new("  label_limit: 2\n");
        assert_eq!(
            target.scrape(1, Ok("a{b=\"c\"} 1\n")),
            ["label_limit exceeded (metric: a, number of labels: 3, limit: 2)"]
        );
    }

    #[test]
    fn metadata_and_farewell() {
        let mut target = Target::new("  extra_scrape_metrics: true\n");
        let page = "# HELP a_total Some help.\n# TYPE a_total counter\na_total 1\n";
        let mut metadata = |elapsed| {
            let body = Ok(Body {
                format: Format::Classic,
                bytes: page.into(),
            });
            let read = read(
                &mut target.cache,
                &target.rules,
                Timestamp::from_millis(0),
                Duration::from_secs(elapsed),
                &body,
            );
            let scrape = report(
                &target.rules,
                Timestamp::from_millis(0),
                Duration::ZERO,
                read,
            );
            assert_eq!(scrape.series.len(), 9);
            assert_eq!(scrape.series[8].1.value, Value::Float(page.len() as f64));
            scrape.metadata
        };
        let expected = Metadata {
            kind: MetricType::Counter,
            help: "Some help.".into(),
            unit: String::new(),
        };
        assert_eq!(metadata(0), [("a_total".to_owned(), expected)]);
        assert_eq!(metadata(60), []);
        let farewell = farewell(&mut target.cache, &target.rules, Timestamp::from_millis(5));
        assert_eq!(farewell.counts(), (0, 9));
    }
}
