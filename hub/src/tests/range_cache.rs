//! Answers that are kept say, byte for byte, what evaluating everything says: whatever is written, late or not, deleted or
//! expired in between.

use std::time::Duration;

use daemon::Clock;

use crate::Features;

use super::harness::{Answer, START, TestHub, encode, native, series};

const CONFIG: &str = "\
branchline: {admin_api: true}
storage: {tsdb: {retention: {time: 2h}}}
";

/// A small generator: the same numbers from the same seed.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, end: i64) -> i64 {
        (self.next() >> 8) as i64 % end
    }

    fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len() as i64) as usize]
    }
}

fn experimental() -> Features {
    Features::from_names(["promql-experimental-functions"]).unwrap()
}

/// All kinds of expressions, also such as must not be kept.
const QUERIES: [&str; 36] = [
    "a_total",
    "a_total{host=\"1\"}",
    "sum(rate(a_total[2m]))",
    "sum by (host) (increase(a_total[5m]))",
    "avg(b) by (zone)",
    "stddev(b)",
    "quantile(0.3, b)",
    "count(b) + on () group_left () sum(a_total)",
    "a_total / on (host) group_left () b",
    "max_over_time(b[3m])",
    "avg_over_time(b[4m] offset 7m)",
    "b offset -3m",
    "rate(a_total[1m] offset -2m)",
    "max_over_time(sum(rate(a_total[1m]))[5m:30s])",
    "avg_over_time(b[6m:])",
    "topk(2, b)",
    "bottomk by (zone) (1, a_total)",
    "limitk(2, b)",
    "absent(b{host=\"3\"})",
    "absent_over_time(b{host=\"2\"}[2m])",
    "b > 20",
    "b > bool 20 or a_total",
    "b unless b offset 5m",
    "label_replace(b, \"copy\", \"$1\", \"host\", \"(.*)\")",
    "count_values(\"value\", floor(b / 20))",
    "timestamp(b)",
    "hour(b) + time() % 7",
    "sum(b) - sum(b offset 10m)",
    "{host=\"2\"}",
    "sum(last_over_time({host=~\"1|2\"}[90s]))",
    // These stand for themselves.
    "b @ start()",
    "sum(b @ end()) + b",
    "sort(b)",
    "rate({host=\"1\"}[2m])",
    // With annotations, and with histograms.
    "rate(b[2m])",
    "sum(h or b)",
];

fn path(query: &str, (start, end, step): (i64, i64, i64), more: &[(&str, &str)]) -> String {
    let seconds = |ms: i64| format!("{}.{:03}", (START + ms) / 1000, (START + ms) % 1000);
    let (start, end) = (seconds(start), seconds(end));
    let step = format!("{}.{:03}", step / 1000, step % 1000);
    let mut pairs = vec![
        ("query", query),
        ("start", &start),
        ("end", &end),
        ("step", &step),
    ];
    pairs.extend(more);
    format!("/api/v1/query_range?{}", encode(&pairs))
}

async fn asked(
    hub: &TestHub,
    query: &str,
    grid: (i64, i64, i64),
    more: &[(&str, &str)],
) -> (Answer, Answer) {
    let uncached: Vec<_> = [more, &[("nocache", "1")]].concat();
    let kept = hub.get(&path(query, grid, more)).await;
    (kept, hub.get(&path(query, grid, &uncached)).await)
}

async fn metric(hub: &TestHub, name: &str) -> u64 {
    let metrics = hub.get("/metrics").await;
    let line = metrics.text().lines().find_map(|line| {
        let rest = line.strip_prefix(name)?;
        rest.trim().parse::<f64>().ok()
    });
    line.unwrap_or_else(|| panic!("{name}: {}", metrics.text())) as u64
}

async fn outcome(hub: &TestHub, outcome: &str) -> u64 {
    let name = format!("branchline_query_cache_requests_total{{outcome=\"{outcome}\"}}");
    metric(hub, &name).await
}

/// The store knows of it when this returns: what it keeps and takes from now on.
fn advance(hub: &TestHub, ms: i64) {
    hub.clock.advance(Duration::from_millis(ms.unsigned_abs()));
    hub.hub.state().store.maintain(hub.clock.now()).unwrap();
}

/// Writes some samples around a time, in ms from the start.
async fn write(hub: &TestHub, random: &mut Random, around: i64) {
    let hosts = ["1", "2", "3"];
    let mut all = Vec::new();
    for _ in 0..=random.below(3) {
        let host = *random.pick(&hosts);
        let zone = if host == "1" { "x" } else { "y" };
        let name = *random.pick(&["a_total", "b"]);
        let first = around - random.below(120_000);
        let samples: Vec<(i64, f64)> = (0..=random.below(12))
            .map(|place| {
                let value = match random.below(40) {
                    0 => model::stale_nan(),
                    1 => f64::NAN,
                    2 => 1e17,
                    n => n as f64 / 7.0 + random.below(50) as f64,
                };
                (first + place * 10_000 + random.below(3_000), value)
            })
            .filter(|(at, _)| *at <= around)
            .collect();
        let labels = [("__name__", name), ("host", host), ("zone", zone)];
        all.push(series(&labels, &samples));
    }
    if random.below(12) == 0 {
        let mut histogram = series(&[("__name__", "h"), ("host", "1")], &[]);
        histogram.histograms.push(native(around));
        all.push(histogram);
    }
    let answer = hub.write(all).await;
    // Late ones may be too old.
    assert!([204, 400].contains(&answer.status), "{}", answer.text());
}

async fn delete(hub: &TestHub, random: &mut Random, now: i64) {
    let from = now - random.below(3_600_000);
    let seconds = |ms: i64| ((START + ms) / 1000).to_string();
    let (start, end) = (seconds(from), seconds(from + random.below(600_000)));
    let query = encode(&[
        ("match[]", *random.pick(&["a_total", "b", "{host=\"2\"}"])),
        ("start", &start),
        ("end", &end),
    ]);
    let path = format!("/api/v1/admin/tsdb/delete_series?{query}");
    assert_eq!(hub.post(&path, "").await.status, 204);
}

async fn ask(hub: &TestHub, random: &mut Random, queries: &[&str], now: i64, seed: u64) {
    let query = *random.pick(queries);
    let step = *random.pick(&[15_000, 30_000, 60_000, 61_500]);
    let length = *random.pick(&[0, 1, 20, 60, 60, 90]) * step;
    let behind = random.below(3) * random.below(40) * step;
    // Most lie alike, so that they meet.
    let phase = if random.below(6) == 0 { 7_250 } else { 0 };
    let end = (now - behind).div_euclid(step) * step + phase;
    let grid = (end - length, end, step);
    let limit = [("limit", "2")];
    let more: &[(&str, &str)] = match random.below(8) {
        0 => &limit,
        1 => &[("lookback_delta", "90")],
        _ => &[],
    };
    let (kept, evaluated) = asked(hub, query, grid, more).await;
    assert_eq!(
        (kept.status, kept.text()),
        (evaluated.status, evaluated.text()),
        "seed {seed}, at {now}: {query} {grid:?} {more:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_kept_is_what_evaluating_says() {
    let all = std::env::var("BRANCHLINE_TESTS_ALL").is_ok_and(|all| all == "true");
    let runs = if all { 400 } else { 12 };
    let (mut hits, mut partial) = (0, 0);
    for seed in 1..=runs {
        let mut random = Random(0x9e37_79b9_7f4a_7c15_u64.wrapping_mul(seed));
        let hub = TestHub::start_with(CONFIG, experimental()).await;
        // A few queries a run, so that they are asked again.
        let queries: Vec<&str> = (0..4).map(|_| *random.pick(&QUERIES)).collect();
        let mut now = 0;
        for _ in 0..150 {
            match random.below(10) {
                0..=2 => {
                    let forward = random.below(90_000);
                    now += forward;
                    advance(&hub, forward);
                    write(&hub, &mut random, now).await;
                }
                3 => {
                    let around = now - random.below(3_600_000);
                    write(&hub, &mut random, around).await;
                }
                4 if random.below(4) == 0 => delete(&hub, &mut random, now).await,
                4 if random.below(6) == 0 => {
                    now += 1_500_000;
                    advance(&hub, 1_500_000);
                }
                _ => ask(&hub, &mut random, &queries, now, seed).await,
            }
        }
        hits += outcome(&hub, "hit").await;
        partial += outcome(&hub, "partial").await;
        hub.hub.shutdown().await.unwrap();
    }
    // Otherwise nothing was tried.
    assert!(hits > 2 * runs && partial > 10 * runs, "{hits} {partial}");
}

#[tokio::test]
async fn a_late_sample_is_evaluated_and_the_rest_is_kept() {
    let hub = TestHub::start("").await;
    let labels = [("__name__", "b"), ("host", "1")];
    let samples: Vec<(i64, f64)> = (0..240).map(|n| (n * 15_000, n as f64)).collect();
    advance(&hub, 3_600_000);
    hub.store(vec![series(&labels, &samples)]).await;
    // So that what comes now is not of the same block of series.
    let filler: Vec<_> = (0..300)
        .map(|n| {
            series(
                &[("__name__", "c"), ("n", &n.to_string())],
                &[(60_000, 1.0)],
            )
        })
        .collect();
    hub.store(filler).await;
    let grid = (0, 3_300_000, 15_000);
    let counts = async || {
        let (hits, partial) = (outcome(&hub, "hit").await, outcome(&hub, "partial").await);
        (hits, partial, outcome(&hub, "miss").await)
    };
    let ask = async || {
        let (kept, evaluated) = asked(&hub, "sum(b)", grid, &[]).await;
        assert_eq!(kept.text(), evaluated.text());
        kept.text().to_owned()
    };
    let before = ask().await;
    assert_eq!(counts().await, (0, 0, 1));
    ask().await;
    assert_eq!(counts().await, (1, 0, 1));
    assert!(metric(&hub, "branchline_query_cache_bytes").await > 1_000);
    // Late samples of other series, and live ones of this, change nothing.
    let other = [("__name__", "d")];
    hub.store(vec![series(&other, &[(600_000, 1.0)])]).await;
    hub.store(vec![series(&labels, &[(3_600_000, 1.0)])]).await;
    ask().await;
    assert_eq!(counts().await, (2, 0, 1));
    let late = [("__name__", "b"), ("host", "2")];
    hub.store(vec![series(&late, &[(600_000, 1_000.0)])]).await;
    assert_ne!(ask().await, before);
    assert_eq!(counts().await, (2, 1, 1));
    ask().await;
    assert_eq!(counts().await, (3, 1, 1));
    // A longer range has only what is new evaluated; other steps, or another lookback, have nothing in common with it.
    for (grid, more) in [
        ((0, 3_500_000, 15_000), vec![]),
        ((1, 3_300_001, 15_000), vec![]),
        ((0, 3_300_000, 30_000), vec![]),
        (grid, vec![("lookback_delta", "1m")]),
    ] {
        let (kept, evaluated) = asked(&hub, "sum(b)", grid, &more).await;
        assert_eq!(kept.text(), evaluated.text());
    }
    assert_eq!(counts().await, (3, 2, 4));
    // What a query takes is told of the whole query.
    let bypassed = outcome(&hub, "bypass").await;
    hub.get(&path("sum(b)", grid, &[("stats", "true")])).await;
    assert_eq!(outcome(&hub, "bypass").await, bypassed + 1);
}

#[tokio::test]
async fn nothing_is_kept_where_there_is_no_room() {
    let hub = TestHub::start("branchline: {query_cache_bytes: 0}").await;
    advance(&hub, 3_600_000);
    for _ in 0..2 {
        hub.get(&path("b", (0, 600_000, 15_000), &[])).await;
    }
    assert_eq!(outcome(&hub, "bypass").await, 2);
    assert_eq!(metric(&hub, "branchline_query_cache_bytes").await, 0);
    assert_eq!(metric(&hub, "branchline_query_cache_bytes_max").await, 0);
}

/// Thousands of series are summed in stretches on several threads, and which of them are found hangs on the range that is
/// asked for. The sum at a step must not.
#[tokio::test]
async fn the_last_bit_of_a_sum_does_not_hang_on_the_range() {
    let hub = TestHub::start("").await;
    let samples = |n: i64| -> Vec<(i64, f64)> {
        // Most come and go, each in its own minute.
        let first = if n % 3 == 0 { 0 } else { n % 10 };
        let last = if n % 3 == 0 { 30 } else { first + 1 };
        let value = |minute: i64| 0.1 * n as f64 + 1e-3 * minute as f64;
        (first..last).map(|m| (m * 60_000, value(m))).collect()
    };
    let mut all: Vec<_> = (0..5_000)
        .map(|n| series(&[("__name__", "many"), ("n", &n.to_string())], &samples(n)))
        .collect();
    // Where there is a histogram, all is folded in another way.
    all[17].samples.clear();
    all[17].histograms.push(native(13 * 60_000));
    advance(&hub, 3_600_000);
    hub.store(all).await;
    for query in [
        "sum(many)",
        "avg(many)",
        "stddev(many)",
        "sum(rate(many[5m]))",
        // Its name may be all that tells a series apart.
        "sum(rate({n=~\".+\"}[5m]))",
    ] {
        let values = async |from: i64, to: i64| {
            let more = [("nocache", "1"), ("lookback_delta", "60s")];
            let answer = hub
                .get(&path(query, (from * 60_000, to * 60_000, 60_000), &more))
                .await;
            let values = answer.json()["data"]["result"][0]["values"].take();
            values.as_array().unwrap().clone()
        };
        let whole = values(0, 25).await;
        let mut pieces = Vec::new();
        for from in (0..=25).step_by(2) {
            pieces.extend(values(from, (from + 1).min(25)).await);
        }
        assert_eq!(whole, pieces, "{query}");
        assert!(whole.len() >= 20, "{query}");
    }
}
