use model::{MetricType, Value};
use wire::exposition::Format;

use super::*;
use crate::config::EdgeConfig;
use crate::scrape::told::Told;

pub(super) struct Target {
    cache: Cache,
    told: Told,
    rules: Arc<Rules>,
}

impl Target {
    /// A target of a job with these lines.
    pub(super) fn new(lines: &str) -> Target {
        let text = format!("scrape_configs:\n- job_name: a\n{lines}");
        let config = EdgeConfig::parse(&text, std::path::Path::new("x")).unwrap();
        Target {
            cache: Cache::new(),
            told: Told::default(),
            rules: rules(&config.jobs[0]),
        }
    }

    /// Scrapes a page in another format at `at` seconds.
    pub(super) fn scrape_as(&mut self, at: i64, format: PageFormat, page: &[u8]) -> Scrape {
        let at = Timestamp::from_millis(at * 1000);
        let body = Ok(Body {
            format,
            bytes: page.to_vec(),
        });
        let read = read(&mut self.cache, &self.rules, at, Duration::ZERO, &body);
        let mut scrape = report(&self.rules, at, Duration::ZERO, read);
        if let Ok(completed) = self.told.completed(&scrape) {
            return completed;
        }
        // As for the buffer: a page that failed half way took labels along.
        let all = scrape.series.iter_mut().map(|(series, _)| series);
        self.cache.complete(all);
        self.told.completed(&scrape).expect("told")
    }

    /// Scrapes a page at `at` seconds and prints what is stored, without `up` and the like if the scrape went well.
    fn scrape(&mut self, at: i64, page: Result<&str, &str>) -> Vec<String> {
        let fetched = page
            .map(|text| Body {
                format: PageFormat::Text(Format::Classic),
                bytes: text.as_bytes().to_vec(),
            })
            .map_err(FetchError::new);
        let at = Timestamp::from_millis(at * 1000);
        let read = read(&mut self.cache, &self.rules, at, Duration::ZERO, &fetched);
        let error = read.error.clone();
        let counts = read.counts.clone();
        let scrape = report(&self.rules, at, Duration::from_millis(250), read);
        let scrape = self.told.completed(&scrape).expect("told");
        let mut lines: Vec<String> = scrape
            .series
            .iter()
            .map(|(series, sample)| {
                let labels = series.labels.as_ref().expect("completed");
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
            format: PageFormat::Text(Format::Classic),
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
