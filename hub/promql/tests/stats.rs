//! How many samples a query looks at and reads: Prometheus's published figures, and what holds for all.

use std::time::Duration;

use model::Timestamp;
use promql::script::{Command, MemoryTarget, Target, parse as parse_script};
use promql::{Engine, EngineOptions, ParseOptions, QueryOptions, QueryStats, parse};

/// One series, three, and one of native histograms that weigh 13 samples each, from 0 s to 1,000 s.
const SAMPLES: &str = r#"load 10s
  one 1+1x100
  three{a="1", b="1"} 1+1x100
  three{a="2", b="2"} 1+1x100
  three{a="3", b="2"} 1+1x100
  hist {{schema:1 count:5 sum:20 buckets:[1 2 1 1]}}+{{schema:1 count:10 sum:5 buckets:[1 2 3 4]}}x100
"#;

fn loaded(script: &str) -> MemoryTarget {
    let mut target = MemoryTarget::default();
    for command in parse_script(script).unwrap() {
        if let Command::Load(load) = command {
            target.load(&load).unwrap();
        }
    }
    target
}

/// When a query is asked, in seconds: at one instant, or from, to, and the step.
#[derive(Clone, Copy, Debug)]
enum When {
    At(i64),
    Over(i64, i64, u64),
}
use When::{At, Over};

fn stats(target: &MemoryTarget, text: &str, when: When, count_by_step: bool) -> QueryStats {
    let engine = Engine::new(EngineOptions::default());
    let options = QueryOptions {
        count_by_step,
        ..QueryOptions::default()
    };
    let expr = parse(text, &ParseOptions::all()).unwrap();
    let time = |seconds: i64| Timestamp::from_millis(seconds * 1000);
    let result = match when {
        At(at) => engine.instant(target, &expr, time(at), &options),
        Over(start, end, step) => {
            let step = Duration::from_secs(step);
            engine.range(target, &expr, time(start), time(end), step, &options)
        }
    };
    result
        .unwrap_or_else(|error| panic!("{text}: {error}"))
        .stats
}

/// What each step looks at, and what it reads.
fn check(target: &MemoryTarget, text: &str, when: When, looked_at: &[u64], read: &[u64]) {
    let found = stats(target, text, when, true);
    let steps = found.samples_by_step.iter();
    let by_step: (Vec<u64>, Vec<u64>) = steps.map(|step| (step.queryable, step.read)).unzip();
    assert_eq!(
        by_step,
        (looked_at.to_vec(), read.to_vec()),
        "{text} {when:?}"
    );
    let (start, step) = match when {
        At(at) => (at, 1),
        Over(start, _, step) => (start, step as i64),
    };
    for (place, found) in found.samples_by_step.iter().enumerate() {
        let expected = start + step * place as i64;
        assert_eq!(found.at.millis(), expected * 1000, "{text} {when:?}");
    }
    let all = (looked_at.iter().sum(), read.iter().sum());
    let found = (found.queryable_samples, found.samples_read);
    assert_eq!(found, all, "{text} {when:?}");
    let unasked = stats(target, text, when, false);
    let totals = (unasked.queryable_samples, unasked.samples_read);
    assert_eq!(totals, all, "{text} {when:?}, not by step");
    assert!(unasked.samples_by_step.is_empty());
}

#[test]
fn instants() {
    let target = loaded(SAMPLES);
    let check = |text, at, looked_at, read| check(&target, text, At(at), &[looked_at], &[read]);
    for (text, at, samples) in [
        ("\"text\"", 21, 0),
        ("1", 21, 0),
        ("one", 21, 1),
        ("one", 22, 1),
        ("one offset 10s", 21, 1),
        ("one @ 15", 21, 1),
        ("three", 21, 3),
        ("three{a=\"1\"} @ 19", 21, 1),
        ("three{a=\"1\"}[20s] @ 19", 21, 2),
        ("hist", 21, 13),
        ("timestamp(one)", 21, 1),
        ("timestamp(hist)", 21, 1),
        ("one[60s]", 201, 6),
        ("hist[60s]", 201, 78),
        ("one[60s] @ 30", 201, 4),
        ("hist[60s] @ 30", 201, 52),
        ("one[60s] offset 10s", 201, 6),
        ("three[60s]", 201, 18),
        ("max_over_time(one[60s])", 201, 6),
        ("absent_over_time(one[60s])", 201, 6),
        ("max_over_time(three[60s])", 201, 18),
        ("sum(max_over_time(three[60s] @ 30))", 201, 12),
        ("sum by (b) (max_over_time(three[60s] @ 30))", 201, 12),
        // Only count and sum of histograms are read where no more is needed.
        ("histogram_count(hist)", 21, 11),
        ("count(hist)", 21, 13),
    ] {
        check(text, at, samples, samples);
    }
}

#[test]
fn subqueries_at_an_instant() {
    let target = loaded(SAMPLES);
    let check = |text, at, looked_at, read| check(&target, text, At(at), &[looked_at], &[read]);
    check("one[60s:5s]", 201, 12, 12);
    check("one[60s:5s] offset 10s", 201, 12, 12);
    check("max_over_time(one[60s])[20s:5s]", 201, 24, 8);
    check("max_over_time(one[61s])[20s:5s]", 201, 26, 8);
    check("max_over_time(hist[60s])[20s:5s]", 201, 312, 104);
    check("max_over_time(three[60s:5s])", 201, 36, 36);
    let sum = "sum(max_over_time(three[60s:5s])) + sum(max_over_time(three[60s:5s]))";
    check(sum, 201, 72, 72);
    check("max_over_time(one[20s:10s])", 201, 2, 2);
    check("sum_over_time(one[30s:30s])", 90, 1, 1);
    check("max_over_time(one[30s:2m])", 240, 1, 1);
    check("histogram_count(max_over_time(hist[20s:10s]))", 201, 26, 26);
    check("sum_over_time(three[20s:10s] @ 200)", 250, 6, 6);
    check("sum_over_time(one[20s:10s] offset 1m)", 240, 2, 2);
    check("sum_over_time(three[1m:10s] @ 200 offset 1m)", 300, 18, 18);
    // What is read for a subquery may be more than what is seen of it.
    check("rate(sum_over_time(one[30s])[1m:30s])", 240, 2, 6);
    let nested = "sum_over_time(max_over_time(three[60s] @ 300)[5m:1m] @ 600)[10m:2m]";
    check(nested, 800, 75, 18);
}

#[test]
fn ranges() {
    let target = loaded(SAMPLES);
    let check = |text, looked_at: &[u64], read: &[u64]| {
        check(&target, text, Over(201, 220, 5), looked_at, read);
    };
    check("three{a=\"1\"}", &[1; 4], &[1; 4]);
    check("three{a=\"1\"} offset 10s", &[1; 4], &[1; 4]);
    check("three", &[3; 4], &[3; 4]);
    check("hist", &[13; 4], &[13; 4]);
    check("timestamp(one)", &[1; 4], &[1; 4]);
    check("timestamp(hist)", &[1; 4], &[1; 4]);
    // What is the same at every step is read once.
    check("max_over_time(three[60s] @ 30)", &[12; 4], &[12, 0, 0, 0]);
    // And so is what several windows see.
    check("max_over_time(three[60s])", &[18; 4], &[18, 0, 3, 0]);
    check("max_over_time(three[60s:5s])", &[36; 4], &[36, 3, 3, 3]);
    let sum = "sum by (b) (max_over_time(one[60s:5s]))";
    check(sum, &[12; 4], &[12, 1, 1, 1]);
    let sum = "sum(max_over_time(three[60s:5s])) + sum(max_over_time(one[60s:5s]))";
    check(sum, &[48; 4], &[48, 4, 4, 4]);
    // Functions with and without a quick way count alike.
    check("rate(three[60s])", &[18; 4], &[18, 0, 3, 0]);
    check("stddev_over_time(three[60s])", &[18; 4], &[18, 0, 3, 0]);
    check("rate(hist[60s])", &[78; 4], &[78, 0, 13, 0]);
}

#[test]
fn ranges_of_other_steps() {
    let target = loaded(SAMPLES);
    let check = |text, when, looked_at: &[u64], read: &[u64]| {
        check(&target, text, when, looked_at, read);
    };
    let end = "max_over_time(three{a=\"1\"}[10s])";
    check(end, Over(991, 1021, 10), &[1, 1, 0, 0], &[1, 1, 0, 0]);
    let subquery = "max_over_time(one[30s:10s])";
    check(subquery, Over(201, 231, 30), &[3, 3], &[3, 3]);
    // What falls between two windows counts for none.
    check(subquery, Over(201, 261, 60), &[3, 3], &[3, 3]);
    let overlapping = "max_over_time(one[20s:10s])";
    let read = [2, 1, 1, 1, 1, 1, 1];
    check(overlapping, Over(201, 261, 10), &[2; 7], &read);
    let histograms = "avg_over_time(hist[2m:1m])";
    check(histograms, Over(120, 240, 60), &[26; 3], &[26, 13, 13]);
    let three = "max_over_time(three[60s:10s])";
    let read = [18, 9, 9, 9, 9, 9, 9];
    check(three, Over(200, 400, 30), &[18; 7], &read);
    // Not the same at every step, but of the same samples.
    let pinned = "predict_linear(one[60s] @ 100, 60)";
    check(pinned, Over(100, 300, 100), &[6; 3], &[6, 0, 0]);
}

/// In a subquery of a subquery, what counts is what reaches a step of the query, gaps of both left out.
#[test]
fn gaps_in_gaps() {
    let target = loaded(SAMPLES);
    // Each step takes two minutes of the outer subquery, and of the inner one ten seconds of each of these.
    let text = "sum_over_time(sum_over_time(one[10s:5s])[2m:1m])";
    check(&target, text, Over(300, 900, 300), &[2; 3], &[4; 3]);
    // Without gaps everything is read once.
    let text = "sum_over_time(sum_over_time(one[1m:5s])[5m:1m])";
    check(&target, text, Over(600, 900, 300), &[5; 2], &[60; 2]);
}

#[test]
fn info_series_count() {
    let script = "load 10s\n data{job=\"a\", instance=\"b\"} 1x10\n target_info{job=\"a\", instance=\"b\", x=\"y\"} 1x10\n";
    let target = loaded(script);
    check(&target, "info(data)", Over(50, 60, 10), &[2; 2], &[2; 2]);
}
