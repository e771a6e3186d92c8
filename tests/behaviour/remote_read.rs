//! Prometheus reads what the hub stores: over its own remote read it answers queries as the hub does, and what the hub sends is
//! what Prometheus itself would send, bit for bit where that is promised.

use std::collections::BTreeSet;
use std::path::Path;

use model::{Buckets, Histogram, LabelSet, MatchOp, Matcher, Sample, Timestamp, Value, stale_nan};
use serde_json::Value as Json;
use tests::peers::{Peer, all_there};
use tests::remote_read::{ChunkedSeries, chunks, samples};
use tests::remote_write;
use tests::service::Service;
use wire::remote_read::Query;
use wire::remote_read::chunk::{self, Chunks, Values};
use wire::remote_write::convert::{series_from_proto, series_to_proto};

const STEP: i64 = 15_000;
const SAMPLES: i64 = 200;
/// When the samples end, in ms. Always the same, because Prometheus cuts its chunks at every second full hour: one lies in them.
const NOW: i64 = 1_750_004_400_000;
/// For both, because that is long ago.
const RETENTION: &str = "100y";

/// Samples are never on a full second: where a range begins or ends, newer and older Prometheus differ in whether that counts.
const OFF: i64 = 234;

fn labels(pairs: &[(&str, &str)]) -> LabelSet {
    LabelSet::from_pairs(pairs.iter().copied()).expect("labels")
}

fn histogram(integer: bool, n: i64) -> Histogram {
    // Falls to nothing now and then, and has new buckets as it goes.
    let n = n % 90 + 1;
    let count = |from: i64| (n - from).max(0) as f64;
    let buckets = [
        (-4, count(0)),
        (-1, 2.0 * count(0)),
        (0, count(20)),
        (7, count(50)),
    ];
    let positive = Buckets::from_indexed(buckets.into_iter().filter(|(_, count)| *count > 0.0));
    let negative = Buckets::from_indexed([(1, count(0))]);
    let zero_count = 3.0 * count(0);
    let all = positive.counts.iter().chain(&negative.counts);
    Histogram {
        schema: 2,
        zero_threshold: 2_f64.powi(-128),
        zero_count,
        count: zero_count + all.sum::<f64>(),
        sum: 0.25 * n as f64,
        positive,
        negative,
        integer,
        ..Histogram::default()
    }
}

type Series = (LabelSet, Vec<Sample>);

/// Samples that end before `now`.
fn make(now: i64, value: &dyn Fn(i64) -> Option<Value>) -> Vec<Sample> {
    let start = now - SAMPLES * STEP;
    let sample = |n| {
        Some(Sample {
            at: Timestamp::from_millis(start + n * STEP + OFF),
            start: None,
            value: value(n)?,
        })
    };
    (0..SAMPLES).filter_map(sample).collect()
}

fn histograms(now: i64) -> Vec<Series> {
    let series = |name, integer| {
        let labels = labels(&[("__name__", name), ("kind", "histogram")]);
        let value = |n| Some(Value::Histogram(histogram(integer, n).into()));
        (labels, make(now, &value))
    };
    vec![series("native", true), series("native_float", false)]
}

fn floats(now: i64) -> Vec<Series> {
    let make = |value: &dyn Fn(i64) -> Option<Value>| make(now, value);
    let float = |value: f64| Some(Value::Float(value));
    let mut all = Vec::new();
    for job in ["a", "b", "c"] {
        let factor = f64::from(job.as_bytes()[0]);
        let name = |name: &str| labels(&[("__name__", name), ("job", job)]);
        all.push((
            name("requests_total"),
            make(&|n| float((n % 120) as f64 * factor)),
        ));
        all.push((
            name("temperature"),
            make(&|n| float((n as f64 * factor).sin() * 20.0)),
        ));
        // Gone for a while, and said so.
        all.push((
            name("comes_and_goes"),
            make(&|n| match n % 50 {
                0..30 => float(n as f64),
                30 => float(stale_nan()),
                _ => None,
            }),
        ));
    }
    all.push((
        labels(&[("__name__", "odd_values"), ("text", "ä\n\"")]),
        make(&|n| {
            let odd = [
                0.0,
                -0.0,
                f64::NAN,
                f64::INFINITY,
                f64::NEG_INFINITY,
                1e-300,
            ];
            float(odd[n as usize % odd.len()])
        }),
    ));
    all
}

fn write(server: &Service, series: &[(LabelSet, Vec<Sample>)]) {
    let series = series
        .iter()
        .map(|(labels, samples)| series_to_proto(labels, samples));
    let body = remote_write::body(series.collect());
    let answer = remote_write::send(&server.url("/api/v1/write"), None, &body).expect("an answer");
    assert!(answer.status < 300, "{}: {}", answer.status, answer.text());
}

fn hub(folder: &Path) -> Service {
    let config = format!("storage: {{tsdb: {{retention: {{time: {RETENTION}}}}}}}\n");
    Service::hub(&folder.join("hub")).config(&config).start()
}

fn prometheus(folder: &Path, config: &str) -> Service {
    Service::prometheus(folder)
        .argument("--enable-feature=native-histograms")
        .argument("--web.enable-remote-write-receiver")
        .argument(format!("--storage.tsdb.retention.time={RETENTION}"))
        .config(config)
        .start()
}

/// The result of a query, vectors in a fixed order: theirs is any.
fn ask(server: &Service, path: &str, form: &[(&str, &str)]) -> Result<Vec<Json>, String> {
    let mut envelope = server.api().post(path, form)?;
    let result = envelope["data"]["result"].take();
    let Json::Array(mut all) = result else {
        return Ok(vec![result]);
    };
    all.sort_by_cached_key(Json::to_string);
    Ok(all)
}

/// Equal but for the last digits of numbers, which depend on the order of adding.
fn alike(a: &Json, b: &Json) -> bool {
    match (a, b) {
        (Json::Array(a), Json::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| alike(a, b))
        }
        (Json::Object(a), Json::Object(b)) => {
            a.len() == b.len()
                && a.iter()
                    .all(|(key, a)| b.get(key).is_some_and(|b| alike(a, b)))
        }
        (Json::String(a), Json::String(b)) if a != b => {
            match (a.parse::<f64>(), b.parse::<f64>()) {
                (Ok(a), Ok(b)) => (a - b).abs() <= 1e-9 * b.abs().max(1e-9),
                _ => false,
            }
        }
        _ => a == b,
    }
}

#[test]
fn prometheus_answers_queries_from_what_it_reads_at_the_hub() {
    if !all_there(&[Peer::Prometheus]) {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let hub = hub(folder.path());
    let config = format!(
        "remote_read: [{{url: '{}', read_recent: true}}]\n",
        hub.url("/api/v1/read")
    );
    let prometheus = prometheus(&folder.path().join("prometheus"), &config);
    let now = NOW;
    write(&hub, &floats(now));
    let end = (now / 1000).to_string();
    let start = ((now - SAMPLES * STEP) / 1000 - 120).to_string();
    for query in [
        "requests_total",
        "{__name__=~\"requests.*|temperature\", job!=\"b\"}",
        "{job!~\"a|b|\"}",
        "{job=\"c\", instance=\"\"}",
        "rate(requests_total[5m])",
        "increase(requests_total{job=~\"a|c\"}[17m])",
        "sum by (job) (rate(requests_total[3m])) / 2",
        "max_over_time(temperature[10m])",
        "topk(2, temperature)",
        "comes_and_goes",
        "count_over_time(comes_and_goes[20m])",
        "absent(comes_and_goes{job=\"a\"})",
        "requests_total offset 20m",
        "requests_total @ end() - requests_total",
        "odd_values",
        "count({__name__=~\".+\"})",
        "nothing_of_this_name",
    ] {
        let instant: &[(&str, &str)] = &[("query", query), ("time", &end)];
        let range: &[(&str, &str)] = &[
            ("query", query),
            ("start", &start),
            ("end", &end),
            ("step", "60"),
        ];
        for (path, form) in [("/api/v1/query", instant), ("/api/v1/query_range", range)] {
            let ours = ask(&hub, path, form).unwrap_or_else(|e| panic!("hub: {query}: {e}"));
            let theirs =
                ask(&prometheus, path, form).unwrap_or_else(|e| panic!("Prometheus: {query}: {e}"));
            let same =
                ours.len() == theirs.len() && ours.iter().zip(&theirs).all(|(a, b)| alike(a, b));
            assert!(
                same,
                "{path} {query}\n  hub: {}\n  Prometheus: {}",
                Json::from(ours.clone()),
                Json::from(theirs)
            );
            // What has gone is not there in the end, but was in between.
            let finds = !query.starts_with("nothing") && path.ends_with("range");
            assert!(!finds || !ours.is_empty(), "{path} {query} finds nothing");
        }
    }
}

type Matchers<'a> = &'a [(&'a str, MatchOp, &'a str)];

fn query(now: i64, matchers: Matchers<'_>) -> Query {
    Query {
        start: Timestamp::from_millis(now - 150 * STEP),
        end: Timestamp::from_millis(now - 10 * STEP + OFF),
        matchers: matchers
            .iter()
            .map(|(name, op, value)| Matcher::new(*op, *name, *value).expect("a matcher"))
            .collect(),
    }
}

/// What a sample shows: bits of floats, and of histograms all but what is known of resets.
fn shown(sample: &Sample) -> String {
    match &sample.value {
        Value::Float(value) => format!("{} {:016x}", sample.at, value.to_bits()),
        Value::Histogram(h) if sample.value.is_stale() => {
            format!("{} stale {}", sample.at, h.integer)
        }
        Value::Histogram(h) => format!(
            "{} {h} {} {:e} {:016x} {}",
            sample.at,
            h.schema,
            h.zero_threshold,
            h.sum.to_bits(),
            h.integer
        ),
    }
}

fn of_samples(url: &str, query: &Query) -> Vec<String> {
    let found = samples(url, query).unwrap_or_else(|error| panic!("{url}: {error}"));
    let lines = found.iter().flat_map(|series| {
        let series = series_from_proto(series).expect("a series");
        let lines = series
            .samples
            .iter()
            .map(|sample| format!("{} {}", series.labels, shown(sample)));
        lines.collect::<Vec<_>>()
    });
    lines.collect()
}

fn of_chunks(found: &[ChunkedSeries], query: &Query) -> Vec<String> {
    let mut lines = Vec::new();
    for series in found {
        let pairs = series
            .labels
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()));
        let labels = LabelSet::from_pairs(pairs).expect("labels");
        for chunk in &series.chunks {
            let samples = chunk::decode(chunk).expect("a chunk");
            let asked = samples
                .iter()
                .filter(|s| (query.start..=query.end).contains(&s.at));
            lines.extend(asked.map(|sample| format!("{labels} {}", shown(sample))));
        }
    }
    lines
}

/// Fails with the first line in which they differ.
fn same(found: &[String], expected: &[String], what: &str, query: &Query) {
    let lines = found.len().max(expected.len());
    if let Some(line) = (0..lines).find(|line| found.get(*line) != expected.get(*line)) {
        panic!(
            "{what}, {query:?}, line {line} of {} and {}:\n  {:?}\nPrometheus's samples:\n  {:?}",
            found.len(),
            expected.len(),
            found.get(line),
            expected.get(line)
        );
    }
}

/// Prometheus's own chunks, read by our decoder and written by our encoder, are the same bytes again.
fn written_alike(found: &[ChunkedSeries]) -> usize {
    let mut compared = 0;
    for chunk in found.iter().flat_map(|series| &series.chunks) {
        let samples = chunk::decode(chunk).expect("a chunk of Prometheus's");
        let times: Vec<i64> = samples.iter().map(|sample| sample.at.millis()).collect();
        let values: Vec<Value> = samples.iter().map(|sample| sample.value.clone()).collect();
        let ours: Vec<_> = Chunks::new(&times, Values::Mixed(&values)).collect();
        let (mut first, mut theirs) = (ours[0].data.clone(), chunk.data.clone());
        if chunk.r#type != 1 {
            // What the chunk before it says of this one's first sample we were not told.
            first[2] &= 0b0011_1111;
            theirs[2] &= 0b0011_1111;
        }
        if samples.len() > 120 {
            // Prometheus stretches a chunk to the end of its two hours. Ours has the first samples of it: but for their number
            // and the padding at the end the same bytes.
            first.pop();
            theirs.truncate(first.len());
            theirs[..2].copy_from_slice(&first[..2]);
        } else if theirs.len() == first.len() + 1 && theirs.ends_with(&[0]) {
            // Its writer of bits leaves a byte of padding behind samples that end with a byte.
            theirs.pop();
        }
        assert_eq!(first, theirs, "{samples:?}");
        assert_eq!(ours.len(), samples.len().div_ceil(120), "{samples:?}");
        compared += 1;
    }
    compared
}

#[test]
fn the_hub_answers_reads_as_prometheus_does() {
    if !all_there(&[Peer::Prometheus]) {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let hub = hub(folder.path());
    let prometheus = prometheus(&folder.path().join("prometheus"), "{}");
    let now = NOW;
    let all = [floats(now), histograms(now)].concat();
    for server in [&hub, &prometheus] {
        write(server, &all);
    }
    let (ours, theirs) = (hub.url("/api/v1/read"), prometheus.url("/api/v1/read"));
    use MatchOp::{Equal, NotEqual, NotRegex, Regex};
    let matchers: [(Matchers<'_>, usize); 6] = [
        (&[("__name__", Equal, "requests_total")], 3),
        (&[("job", NotEqual, "a"), ("kind", Equal, "")], 7),
        (&[("__name__", Regex, ".*s.*"), ("job", NotRegex, "a|b")], 3),
        (
            &[("kind", NotEqual, "histogram"), ("__name__", NotEqual, "")],
            10,
        ),
        (&[("__name__", Equal, "nothing")], 0),
        (&[], 0),
    ];
    let mut compared = 0;
    for (matchers, series) in matchers {
        let query = query(now, matchers);
        let expected = of_samples(&theirs, &query);
        let found: BTreeSet<&str> = expected
            .iter()
            .filter_map(|l| l.split("} ").next())
            .collect();
        assert_eq!(
            found.len(),
            series,
            "Prometheus finds other series: {query:?}"
        );
        same(
            &of_samples(&ours, &query),
            &expected,
            "samples of the hub",
            &query,
        );
        let our_chunks = chunks(&ours, &query).expect("chunks of the hub");
        same(
            &of_chunks(&our_chunks, &query),
            &expected,
            "chunks of the hub",
            &query,
        );
        let their_chunks = chunks(&theirs, &query).expect("chunks of Prometheus");
        same(
            &of_chunks(&their_chunks, &query),
            &expected,
            "chunks of Prometheus",
            &query,
        );
        compared += written_alike(&their_chunks);
    }
    assert!(
        compared > 20,
        "only {compared} chunks of floats were compared"
    );
    // Debian's Prometheus has no histograms in answers of samples, and breaks off at gauges: chunks of the others.
    let query = Query {
        start: Timestamp::from_millis(now - 2 * SAMPLES * STEP),
        end: Timestamp::from_millis(now),
        ..query(now, &[("kind", Equal, "histogram")])
    };
    let their_chunks = chunks(&theirs, &query).expect("chunks of Prometheus");
    let expected = of_chunks(&their_chunks, &query);
    assert_eq!(expected.len() as i64, 2 * SAMPLES);
    let our_chunks = chunks(&ours, &query).expect("chunks of the hub");
    same(
        &of_chunks(&our_chunks, &query),
        &expected,
        "chunks of the hub",
        &query,
    );
    same(
        &of_samples(&ours, &query),
        &expected,
        "samples of the hub",
        &query,
    );
    let compared = written_alike(&their_chunks);
    assert!(
        compared > 4,
        "only {compared} chunks of histograms were compared"
    );
}
