//! The buffer read from the outside, against what was put into it.

use std::collections::BTreeMap;
use std::path::Path;

use daemon::SimClock;
use journal::sim::SimDisk;
use model::{LabelSet, Matcher, Sample, Timestamp, Value};
use wire::remote_read::Query;

use super::federate::newest;
use super::read::select;
use super::*;
use crate::buffer::BufferOptions;
use crate::scrape::{Class, Scrape};

const START: i64 = 1_700_000_000_000;

struct Fixture {
    clock: Arc<SimClock>,
    buffer: Arc<Buffer>,
    local: Local,
    /// Everything, the last value written of each time.
    all: BTreeMap<LabelSet, BTreeMap<i64, Option<u64>>>,
}

impl Fixture {
    fn new() -> Fixture {
        let clock = Arc::new(SimClock::new(Timestamp::from_millis(START)));
        let options = BufferOptions {
            // Segments of 64 KiB.
            bytes_max: 1 << 20,
            sync_bound: None,
            ..BufferOptions::default()
        };
        let disk = Arc::new(SimDisk::new(1));
        let buffer = Buffer::open(disk, Path::new("/buffer"), options, clock.clone()).unwrap();
        let buffer = Arc::new(buffer);
        let local = Local::new(Arc::clone(&buffer), clock.clone(), CancellationToken::new());
        Fixture {
            clock,
            buffer,
            local,
            all: BTreeMap::new(),
        }
    }

    /// A scrape now.
    fn scrape(&mut self, series: Vec<(LabelSet, Sample)>) {
        for (labels, sample) in &series {
            let bits = match &sample.value {
                Value::Float(value) => Some(value.to_bits()),
                Value::Histogram(_) => None,
            };
            let times = self.all.entry(labels.clone()).or_default();
            times.insert(sample.at.millis(), bits);
        }
        let scrape = Scrape {
            at: self.clock.now(),
            target: 1,
            class: Class::Ordinary,
            series: series.into_iter().map(|(of, s)| (of.into(), s)).collect(),
            exemplars: Vec::new(),
            metadata: Vec::new(),
        };
        self.buffer.append(&scrape).unwrap();
        self.buffer.sync().unwrap();
    }

    fn stop(&self) -> Stop {
        Stop {
            gone: Arc::default(),
            clock: self.clock.clone(),
            until: Duration::MAX,
            stopping: CancellationToken::new(),
        }
    }

    fn federate(&self, selectors: &[&str]) -> Vec<String> {
        let selectors: Vec<_> = selectors
            .iter()
            .map(|s| selector::parse(s).unwrap())
            .collect();
        let newest = newest(&self.local, &selectors, &self.stop()).unwrap();
        let line = |(labels, at, value): (LabelSet, Timestamp, f64)| {
            format!("{labels} {value} @{}", at.millis() - START)
        };
        newest.into_iter().map(line).collect()
    }

    fn read(&self, matchers: Vec<Matcher>, start: i64, end: i64) -> Result<Answer, LocalError> {
        let query = Query {
            start: Timestamp::from_millis(start),
            end: Timestamp::from_millis(end),
            matchers,
        };
        let mut answer = Vec::new();
        select(&self.local, &query, &self.stop(), &mut |labels, found| {
            let sample = |(at, value)| match value {
                Value::Float(value) => (at, Some(value.to_bits())),
                Value::Histogram(_) => (at, None),
            };
            answer.push((labels.clone(), found.into_iter().map(sample).collect()));
            Ok(())
        })?;
        Ok(answer)
    }

    fn expected(&self, matchers: &[Matcher], start: i64, end: i64) -> Answer {
        let fits = |labels: &LabelSet| matchers.iter().all(|m| m.matches_labels(labels));
        let samples = |times: &BTreeMap<i64, Option<u64>>| -> Vec<(i64, Option<u64>)> {
            times
                .range(start..=end)
                .map(|(at, bits)| (*at, *bits))
                .collect()
        };
        let series = self.all.iter().filter(|(labels, _)| fits(labels));
        let series = series.map(|(labels, times)| (labels.clone(), samples(times)));
        series.filter(|(_, samples)| !samples.is_empty()).collect()
    }
}

type Answer = Vec<(LabelSet, Vec<(i64, Option<u64>)>)>;

fn labels(name: &str, n: &str) -> LabelSet {
    LabelSet::from_pairs([("__name__", name), ("n", n)]).unwrap()
}

use wire::selector;

#[test]
fn federation_shows_the_newest_and_nothing_stale() {
    let mut all = Fixture::new();
    let now = |all: &Fixture| all.clock.now();
    let at = now(&all);
    let histogram = model::Histogram::default();
    all.scrape(vec![
        (labels("old", "1"), Sample::float(at, 1.0)),
        (labels("up", "1"), Sample::float(at, 1.0)),
        (labels("gone", "1"), Sample::float(at, 1.0)),
        (labels("native", "1"), Sample::float(at, 1.0)),
        (
            labels("own_time", "1"),
            Sample::float(at.saturating_sub(Duration::from_secs(200)), 3.0),
        ),
    ]);
    all.clock.advance(Duration::from_secs(15));
    let at = now(&all);
    all.scrape(vec![
        (labels("up", "1"), Sample::float(at, 0.0)),
        (labels("up", "2"), Sample::float(at, f64::NAN)),
        (labels("gone", "1"), Sample::stale(at)),
        (labels("native", "1"), Sample::histogram(at, histogram)),
        (
            labels("ahead", "1"),
            Sample::float(at.saturating_add(Duration::from_secs(60)), 1.0),
        ),
    ]);
    assert_eq!(
        all.federate(&["{__name__=~\".+\"}"]),
        [
            "old{n=\"1\"} 1 @0",
            "own_time{n=\"1\"} 3 @-200000",
            "up{n=\"1\"} 0 @15000",
            "up{n=\"2\"} NaN @15000"
        ]
    );
    assert_eq!(
        all.federate(&["up{n=\"1\"}", "old"]),
        ["old{n=\"1\"} 1 @0", "up{n=\"1\"} 0 @15000"]
    );
    assert_eq!(all.federate(&[]), [""; 0]);
    // Five minutes after the first scrape, and a bit.
    all.clock.advance(Duration::from_secs(286));
    assert_eq!(
        all.federate(&["{n=\"1\"}"]),
        ["ahead{n=\"1\"} 1 @75000", "up{n=\"1\"} 0 @15000"]
    );
}

#[test]
fn remote_read_finds_everything_however_little_is_held() {
    let mut all = Fixture::new();
    let mut random = 7_u64;
    for scrape in 0..200 {
        all.clock.advance(Duration::from_secs(15));
        let at = all.clock.now();
        let mut series: Vec<(LabelSet, Sample)> = Vec::new();
        for n in 0..40 {
            random = random
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            let name = if n % 3 == 0 { "b" } else { "a" };
            let sample = match (n, scrape % 50) {
                (7, 9) => continue,
                (8, 9) => Sample::stale(at),
                (9, _) => Sample::histogram(at, model::Histogram::default()),
                _ => Sample::float(at, random as f64),
            };
            series.push((labels(name, &n.to_string()), sample));
        }
        // Late, twice for the same time, and ahead of the record.
        let late = at.saturating_sub(Duration::from_secs(15 * (random % 30)));
        series.push((labels("pushed", "x"), Sample::float(late, scrape as f64)));
        let ahead = at.saturating_add(Duration::from_secs(300));
        series.push((labels("ahead", "x"), Sample::float(ahead, 1.0)));
        all.scrape(series);
    }
    let stretches = all.buffer.stretches();
    assert!(stretches.len() > 1, "{stretches:?}");
    let everything = || vec![Matcher::new(model::MatchOp::Regex, "__name__", ".+").unwrap()];
    let ranges = [
        (i64::MIN, i64::MAX),
        (START + 1_000_000, START + 1_500_000),
        (START + 2_900_000, START + 9_000_000),
        (START - 10, START - 5),
    ];
    for held_max in [HELD_MAX, 1000, 1] {
        all.local.held_max = held_max;
        for (start, end) in ranges {
            let found = all.read(everything(), start, end).unwrap();
            assert!(
                found == all.expected(&everything(), start, end),
                "{held_max} {start} {end}"
            );
        }
        let some = || vec![Matcher::equal("__name__", "a"), Matcher::equal("n", "8")];
        let found = all.read(some(), START, i64::MAX).unwrap();
        assert_eq!(found.len(), 1);
        assert!(found == all.expected(&some(), START, i64::MAX));
    }
    assert_eq!(all.read(Vec::new(), i64::MIN, i64::MAX).unwrap(), []);
}

#[test]
fn an_answer_ends_when_it_is_given_up() {
    let mut all = Fixture::new();
    let at = all.clock.now();
    all.scrape(vec![(labels("up", "1"), Sample::float(at, 1.0))]);
    let selectors = [selector::parse("up").unwrap()];
    let check = |change: &dyn Fn(&mut Stop), expected: &str| {
        let mut stop = all.stop();
        change(&mut stop);
        let error = newest(&all.local, &selectors, &stop).unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
    };
    check(&|stop| stop.gone.store(true, Ordering::Relaxed), "has left");
    check(&|stop| stop.stopping.cancel(), "shutting down");
    all.clock.advance(Duration::from_secs(1));
    check(
        &|stop| stop.until = Duration::ZERO,
        "not answered within 60 s",
    );
}
