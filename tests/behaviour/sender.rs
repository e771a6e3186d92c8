//! Is what the edge sends what remote write asks of a sender? The checklist of Prometheus's compliance suite, held against every request that an
//! endpoint gets which is not ours: in 1.0 and in 2.0.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use model::{Buckets, CUSTOM_BUCKETS_SCHEMA, Histogram, LabelSet, Sample, Timestamp, stale_nan};
use tests::server::{Answer, Request, Server};
use tests::service::Service;
use tests::{remote_write, wait};
use wire::remote_write::convert::series_to_proto;
use wire::remote_write::headers::{self, Version};
use wire::remote_write::proto::{Histogram as Native, TimeSeries, WriteRequest};
use wire::remote_write::{Limits, decode_message, decompress, v2};

const LONG: Duration = Duration::from_secs(60);
/// Prometheus's default for a request.
const SAMPLES_MAX: usize = 2_000;

fn now_ms() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.expect("after 1970").as_millis() as i64
}

/// One series of a request.
#[derive(Debug, Clone, Default)]
struct Series {
    labels: Vec<(String, String)>,
    /// Milliseconds and bits.
    samples: Vec<(i64, u64)>,
    histograms: Vec<Native>,
    /// Label names and values, value.
    exemplars: Vec<(Vec<String>, f64)>,
    /// Type, help and unit.
    metadata: Option<(i32, String, String)>,
}

impl Series {
    fn name(&self) -> &str {
        let name = self.labels.iter().find(|(name, _)| name == "__name__");
        name.map_or("", |(_, value)| value)
    }

    fn label(&self, name: &str) -> &str {
        let found = self.labels.iter().find(|(n, _)| n == name);
        found.map_or("", |(_, value)| value)
    }
}

fn version_of(request: &Request) -> Version {
    let content_type = request.header("content-type");
    headers::check(content_type, request.header("content-encoding")).expect("a message of ours")
}

/// Checks what a request is by itself, and gives its series.
fn check(request: &Request) -> Vec<Series> {
    let header = |name: &str| request.header(name).unwrap_or_default();
    assert_eq!(request.method, "POST");
    assert_eq!(header("content-encoding"), "snappy");
    assert!(
        header("user-agent").starts_with("branchline/"),
        "{request:?}"
    );
    let message = decompress(&request.body, &Limits::default()).expect("a Snappy block");
    let version = header("x-prometheus-remote-write-version");
    let series = match version_of(request) {
        Version::V1 => {
            assert_eq!(
                (header("content-type"), version),
                ("application/x-protobuf", "0.1.0")
            );
            first(&message)
        }
        Version::V2 => {
            let content_type = "application/x-protobuf;proto=io.prometheus.write.v2.Request";
            assert_eq!((header("content-type"), version), (content_type, "2.0.0"));
            second(&message)
        }
    };
    let samples: usize = series
        .iter()
        .map(|s| s.samples.len() + s.histograms.len())
        .sum();
    assert!(samples <= SAMPLES_MAX, "{samples} samples in a request");
    for one in &series {
        let names: Vec<&String> = one.labels.iter().map(|(name, _)| name).collect();
        assert!(
            names.windows(2).all(|pair| pair[0] < pair[1]),
            "sorted, none twice: {one:?}"
        );
        assert!(
            one.labels
                .iter()
                .all(|(name, value)| !name.is_empty() && !value.is_empty())
        );
        assert!(!one.name().is_empty(), "{one:?}");
        let after = |pair: &[(i64, u64)]| pair[0].0 < pair[1].0;
        assert!(
            one.samples.windows(2).all(after),
            "older before newer: {one:?}"
        );
        for histogram in &one.histograms {
            let spans = |spans: &[wire::remote_write::proto::BucketSpan]| {
                spans.iter().map(|span| span.length as usize).sum::<usize>()
            };
            let positive = histogram.positive_deltas.len() + histogram.positive_counts.len();
            let negative = histogram.negative_deltas.len() + histogram.negative_counts.len();
            assert_eq!(spans(&histogram.positive_spans), positive, "{histogram:?}");
            assert_eq!(spans(&histogram.negative_spans), negative, "{histogram:?}");
            assert!(
                histogram.count.is_some() && histogram.timestamp != 0,
                "{histogram:?}"
            );
            assert_eq!(histogram.start_timestamp, 0, "the buffer has none");
        }
    }
    series
}

fn first(message: &[u8]) -> Vec<Series> {
    let request = decode_message(message, &Limits::default()).expect("a message of 1.0");
    // Nothing but its own fields: a message of 2.0 has others.
    assert_eq!(
        wire::remote_write::encode_message(&request).len(),
        message.len() - negative_zeros(&request)
    );
    let series = request.timeseries.into_iter().map(|series| Series {
        labels: series
            .labels
            .into_iter()
            .map(|l| (l.name, l.value))
            .collect(),
        samples: series
            .samples
            .iter()
            .map(|s| (s.timestamp, s.value.to_bits()))
            .collect(),
        histograms: series.histograms,
        exemplars: series
            .exemplars
            .into_iter()
            .map(|e| {
                let texts = e.labels.into_iter().flat_map(|l| [l.name, l.value]);
                (texts.collect(), e.value)
            })
            .collect(),
        metadata: None,
    });
    let mut series: Vec<Series> = series.collect();
    // Metadata goes separately: to whom it belongs is said by the family's name.
    for about in request.metadata {
        let said = (about.r#type, about.help, about.unit);
        for one in series
            .iter_mut()
            .filter(|one| one.name().starts_with(&about.metric_family_name))
        {
            one.metadata = Some(said.clone());
        }
    }
    series
}

/// Bytes that `prost` would leave out.
fn negative_zeros(request: &WriteRequest) -> usize {
    let samples = request.timeseries.iter().flat_map(|series| &series.samples);
    9 * samples
        .filter(|s| s.value.to_bits() == (-0.0_f64).to_bits())
        .count()
}

fn second(message: &[u8]) -> Vec<Series> {
    let request = v2::decode_message(message).expect("a message of 2.0");
    assert_eq!(request.symbols.first().map(String::as_str), Some(""));
    let unique: BTreeSet<&String> = request.symbols.iter().collect();
    assert_eq!(unique.len(), request.symbols.len(), "no symbol twice");
    let symbol = |at: u32| -> String {
        let symbol = request.symbols.get(at as usize);
        symbol.expect("a reference within the table").clone()
    };
    let texts = |refs: &[u32]| -> Vec<String> {
        assert!(refs.len().is_multiple_of(2), "{refs:?}");
        refs.iter().map(|at| symbol(*at)).collect()
    };
    let mut used: BTreeSet<u32> = [0].into();
    let mut families: BTreeMap<String, (i32, String, String)> = BTreeMap::new();
    let mut all = Vec::new();
    for series in &request.timeseries {
        used.extend(&series.labels_refs);
        used.extend(series.exemplars.iter().flat_map(|e| &e.labels_refs));
        used.extend(
            series
                .metadata
                .iter()
                .flat_map(|m| [m.help_ref, m.unit_ref]),
        );
        assert!(
            series.samples.is_empty() != series.histograms.is_empty(),
            "samples or histograms: {series:?}"
        );
        assert!(
            series.samples.iter().all(|s| s.start_timestamp == 0),
            "the buffer has none"
        );
        let labels = texts(&series.labels_refs);
        let one = Series {
            labels: labels
                .chunks(2)
                .map(|pair| (pair[0].clone(), pair[1].clone()))
                .collect(),
            samples: series
                .samples
                .iter()
                .map(|s| (s.timestamp, s.value.to_bits()))
                .collect(),
            histograms: series.histograms.clone(),
            exemplars: series
                .exemplars
                .iter()
                .map(|e| (texts(&e.labels_refs), e.value))
                .collect(),
            metadata: series
                .metadata
                .map(|m| (m.r#type, symbol(m.help_ref), symbol(m.unit_ref))),
        };
        let suffixes = ["_bucket", "_count", "_sum", "_gcount", "_gsum", "_created"];
        let family = suffixes
            .iter()
            .find_map(|suffix| one.name().strip_suffix(suffix));
        if let Some(said) = &one.metadata {
            let family = family.unwrap_or(one.name()).to_owned();
            let before = families.insert(family, said.clone());
            assert!(
                before.is_none_or(|before| before == *said),
                "the same on all of a family"
            );
        }
        all.push(one);
    }
    assert_eq!(
        used.len(),
        request.symbols.len(),
        "nothing in the table that nobody refers to"
    );
    all
}

/// An endpoint that reads both versions, or says that it does not.
struct Endpoint {
    server: Server,
    /// Statuses for the next requests with series in them; then 204.
    script: Arc<Mutex<VecDeque<u16>>>,
}

impl Endpoint {
    fn start() -> Endpoint {
        let script: Arc<Mutex<VecDeque<u16>>> = Arc::default();
        let (next, not_second) = (Arc::clone(&script), Arc::new(Mutex::new(false)));
        let server = Server::start(move |request| {
            let (version, series) = (version_of(request), check(request));
            let mut not_second = not_second.lock().expect("nobody panics with it");
            let mut status = 204;
            if !series.is_empty() {
                let mut script = next.lock().expect("nobody panics with it");
                status = script.pop_front().unwrap_or(204);
            }
            *not_second |= status == 415;
            if *not_second && version == Version::V2 {
                status = 415;
            }
            let mut answer = Answer::status(status, "as the script says\nand more");
            if version == Version::V2 && status != 415 {
                let count = |of: fn(&Series) -> usize| match status {
                    200..=299 => series.iter().map(of).sum::<usize>().to_string(),
                    _ => "0".to_owned(),
                };
                answer.headers = vec![
                    (headers::SAMPLES_WRITTEN, count(|s| s.samples.len())),
                    (headers::HISTOGRAMS_WRITTEN, count(|s| s.histograms.len())),
                    (headers::EXEMPLARS_WRITTEN, count(|s| s.exemplars.len())),
                ];
            }
            answer
        });
        Endpoint { server, script }
    }

    /// The series of every request so far, in order; those that were not refused last come once.
    fn requests(&self) -> Vec<(Request, Vec<Series>)> {
        let requests = self.server.requests().into_iter();
        let checked = requests.map(|request| {
            let series = check(&request);
            (request, series)
        });
        checked.filter(|(_, series)| !series.is_empty()).collect()
    }
}

const LONG_NAME: &str = "a_name_that_is_very_long_indeed_and_goes_on_and_on_and_on_and_on_and_on_and_on_and_on_and_on_and_on_and_on";

/// Metrics of all types, labels of all kinds, and every tenth scrape one series less.
fn page(scrape: u64) -> String {
    let labels: Vec<String> = (0..40).map(|n| format!("label_{n:02}=\"v{n}\"")).collect();
    let value = "x".repeat(10_000);
    let goes = if scrape % 10 < 5 { "goes 1\n" } else { "" };
    format!(
        "# TYPE calls counter\n# HELP calls Calls, \\\\ \\\"quoted\\\" and\\nof two lines.\n\
         calls_total{{code=\"200\"}} {scrape} # {{trace_id=\"t{scrape}\",span_id=\"s\"}} {scrape}.5\n\
         # TYPE took_seconds histogram\n# UNIT took_seconds seconds\n# HELP took_seconds How long.\n\
         took_seconds_bucket{{le=\"0.1\"}} {scrape} # {{trace_id=\"b{scrape}\"}} 0.05\n\
         took_seconds_bucket{{le=\"+Inf\"}} {scrape}\ntook_seconds_count {scrape}\ntook_seconds_sum {scrape}\n\
         # TYPE asked summary\nasked{{quantile=\"0.5\"}} 1\nasked{{quantile=\"0.9\"}} 2\nasked_sum 3\nasked_count 2\n\
         # TYPE build info\nbuild_info{{version=\"1\"}} 1\n\
         # TYPE mode stateset\nmode{{mode=\"a\"}} 1\nmode{{mode=\"b\"}} 0\n\
         # TYPE load gauge\nload{{text=\"ä 中 \\\"q\\\" \\\\ \\n end\",empty=\"\"}} 0.1\n\
         many{{{}}} 1\nlong{{value=\"{value}\"}} 1\n{LONG_NAME}{{{LONG_NAME}=\"1\"}} 1\nwith:colons:rate5m 1\n{goes}# EOF\n",
        labels.join(",")
    )
}

const ODD: [f64; 12] = [
    0.0,
    -0.0,
    42.0,
    -7.0,
    f64::INFINITY,
    f64::NEG_INFINITY,
    f64::NAN,
    f64::MAX,
    f64::MIN_POSITIVE,
    5e-324,
    1.5e-10,
    9_007_199_254_740_993.0,
];

/// What no page of text can show.
fn pushed(at: i64) -> Vec<TimeSeries> {
    let labels =
        |name: &str| LabelSet::from_pairs([("__name__", name), ("job", "push")]).expect("labels");
    let times = |n: usize| Timestamp::from_millis(at + n as i64);
    let odd: Vec<Sample> = ODD
        .iter()
        .enumerate()
        .map(|(n, value)| Sample::float(times(n), *value))
        .collect();
    let histogram = |count: f64, integer: bool| Histogram {
        schema: 3,
        zero_count: count,
        count: 4.0 * count,
        sum: 1.0,
        positive: Buckets::from_indexed(
            [(-2, count), (5, count)]
                .into_iter()
                .filter(|(_, c)| *c > 0.0),
        ),
        negative: Buckets::from_indexed([(0, count)].into_iter().filter(|(_, c)| *c > 0.0)),
        integer,
        ..Histogram::default()
    };
    let custom = Histogram {
        schema: CUSTOM_BUCKETS_SCHEMA,
        count: 3.0,
        positive: Buckets::from_indexed([(0, 1.0), (1, 2.0)]),
        custom_values: vec![1.0],
        integer: true,
        ..Histogram::default()
    };
    let natives = [
        histogram(1.0, true),
        histogram(0.5, false),
        histogram(0.0, true),
        histogram((1_u64 << 50) as f64, true),
        custom,
    ];
    let natives = natives.into_iter().enumerate();
    let natives: Vec<Sample> = natives
        .map(|(n, h)| Sample::histogram(times(n), h))
        .collect();
    let ahead = Sample::float(times(60_000), 1.0);
    vec![
        series_to_proto(&labels("odd"), &odd),
        series_to_proto(&labels("native"), &natives),
        series_to_proto(&labels("ahead"), &[ahead]),
        series_to_proto(
            &labels("at_zero"),
            &[Sample::float(Timestamp::from_millis(0), 1.0)],
        ),
    ]
}

fn edge(
    folder: &std::path::Path,
    target: &Server,
    endpoints: &[(&str, &Endpoint, &str)],
) -> Service {
    let endpoints = endpoints.iter().map(|(name, endpoint, message)| {
        format!(
            "- {{url: '{}', name: {name}, protobuf_message: {message}, queue_config: {{min_backoff: 100ms, max_backoff: 1s}}}}\n",
            endpoint.server.url("/receive")
        )
    });
    Service::edge(folder)
        .config(&format!(
            "global: {{scrape_interval: 200ms, scrape_timeout: 200ms}}\n\
             scrape_configs: [{{job_name: page, static_configs: [{{targets: ['{}']}}]}}]\n\
             remote_write:\n{}\
             branchline: {{edge: b07, node_collector: {{enabled: false}}, remote_write_receiver: true}}\n",
            target.address(),
            endpoints.collect::<String>()
        ))
        .start()
}

fn target() -> Server {
    let scrapes = Mutex::new(0);
    Server::start(move |_| {
        let mut scrapes = scrapes.lock().expect("nobody panics with it");
        *scrapes += 1;
        Answer {
            status: 200,
            content_type: "application/openmetrics-text; version=1.0.0; charset=utf-8",
            headers: Vec::new(),
            body: page(*scrapes),
        }
    })
}

#[test]
fn what_is_sent_is_what_the_checklist_asks_for() {
    let folder = tempfile::tempdir().expect("a folder");
    let target = target();
    let endpoints = [Endpoint::start(), Endpoint::start()];
    let edge = edge(
        &folder.path().join("edge"),
        &target,
        &[
            ("first", &endpoints[0], headers::MESSAGE_1),
            ("second", &endpoints[1], headers::MESSAGE_2),
        ],
    );
    let at = now_ms();
    let pushed = pushed(at);
    let body = remote_write::exact_body(&WriteRequest {
        timeseries: pushed.clone(),
        metadata: Vec::new(),
    });
    let answer = remote_write::send(&edge.url("/api/v1/write"), None, &body);
    assert_eq!(answer.expect("an answer").status, 204);
    for (endpoint, version) in endpoints.iter().zip([Version::V1, Version::V2]) {
        let all = wait::until(LONG, "two dozen scrapes and what was pushed", || {
            let requests = endpoint.requests();
            let all: Vec<Series> = requests
                .iter()
                .flat_map(|(_, series)| series.clone())
                .collect();
            let scrapes = all.iter().filter(|s| s.name() == "up").count();
            let pushed = all.iter().any(|s| s.name() == "at_zero");
            match scrapes > 24 && pushed {
                true => Ok(requests),
                false => Err(format!("{scrapes} scrapes, pushed: {pushed}")),
            }
        });
        assert!(
            all.iter()
                .all(|(request, _)| version_of(request) == version)
        );
        assert!(
            all.iter()
                .all(|(request, _)| request.header("retry-attempt").is_none())
        );
        seen(version, &all, &pushed, at);
    }
}

/// What must be among it all.
fn seen(version: Version, all: &[(Request, Vec<Series>)], pushed: &[TimeSeries], at: i64) {
    // Of each series older samples come before newer ones, over requests too.
    let mut newest: BTreeMap<Vec<(String, String)>, i64> = BTreeMap::new();
    let mut by_name: BTreeMap<&str, Vec<&Series>> = BTreeMap::new();
    for series in all.iter().flat_map(|(_, series)| series) {
        let floats = series.samples.iter().map(|(at, _)| *at);
        for at in floats.chain(series.histograms.iter().map(|h| h.timestamp)) {
            let before = newest.insert(series.labels.clone(), at);
            assert!(
                before.is_none_or(|before| before < at),
                "{} at {at} after {before:?}",
                series.name()
            );
        }
        by_name.entry(series.name()).or_default().push(series);
    }
    let of = |name: &str| by_name.get(name).map_or(&[][..], Vec::as_slice);
    let scraped = [
        "up",
        "calls_total",
        "took_seconds_bucket",
        "took_seconds_count",
        "took_seconds_sum",
        "asked",
        "asked_sum",
        "asked_count",
        "build_info",
        "mode",
        "load",
        "many",
        "long",
        LONG_NAME,
        "with:colons:rate5m",
        "goes",
    ];
    for name in scraped {
        let series = of(name);
        assert!(!series.is_empty(), "{name}");
        assert!(
            series
                .iter()
                .all(|s| s.label("job") == "page" && !s.label("instance").is_empty())
        );
        let times = series.iter().flat_map(|s| &s.samples);
        assert!(
            times
                .into_iter()
                .all(|(time, _)| (at - 60_000..at + 120_000).contains(time))
        );
    }
    assert_eq!(of("load")[0].label("text"), "ä 中 \"q\" \\ \n end");
    assert_eq!(of("load")[0].labels.len(), 4, "no empty label");
    assert_eq!(of("many")[0].labels.len(), 43);
    assert_eq!(of("long")[0].label("value").len(), 10_000);
    assert_eq!(of(LONG_NAME)[0].label(LONG_NAME), "1");
    let gone = of("goes").iter().flat_map(|s| &s.samples);
    let markers = gone.filter(|(_, bits)| *bits == stale_nan().to_bits());
    assert!(markers.count() > 0, "staleness markers, bit for bit");
    let several = all.iter().any(|(_, series)| {
        let names: BTreeSet<&str> = series.iter().map(Series::name).collect();
        names.contains("calls_total")
            && names.contains("took_seconds_sum")
            && names.contains("mode")
    });
    assert!(several, "metrics of different types in one request");

    let odd: Vec<u64> = of("odd")
        .iter()
        .flat_map(|s| &s.samples)
        .map(|(_, bits)| *bits)
        .collect();
    assert_eq!(odd, ODD.map(f64::to_bits));
    let natives: Vec<&Native> = of("native").iter().flat_map(|s| &s.histograms).collect();
    assert_eq!(natives, pushed[1].histograms.iter().collect::<Vec<_>>());
    assert_eq!(of("ahead")[0].samples[0].0, at + 60_000);
    assert_eq!(of("at_zero")[0].samples[0].0, 0);

    for name in ["calls_total", "took_seconds_bucket"] {
        let exemplars: Vec<_> = of(name).iter().flat_map(|s| &s.exemplars).collect();
        assert!(exemplars.len() > 3, "{name}: {exemplars:?}");
        let sorted = |texts: &[String]| {
            let names: Vec<&String> = texts.iter().step_by(2).collect();
            names.windows(2).all(|pair| pair[0] < pair[1])
        };
        for (texts, value) in exemplars {
            assert!(sorted(texts) && value.is_finite(), "{texts:?} {value}");
            assert!(texts.contains(&"trace_id".to_owned()), "{texts:?}");
        }
    }
    let said = |name: &str, kind: i32, help: &str, unit: &str| {
        let mut said = of(name).iter().map(|s| s.metadata.as_ref());
        let expected = (kind, help.to_owned(), unit.to_owned());
        match version {
            // Beside every series.
            Version::V2 => assert!(
                said.all(|said| said == Some(&expected)),
                "{name}: {:?}",
                of(name)[0]
            ),
            // Once, and again when it changes.
            Version::V1 => assert!(said.any(|said| said == Some(&expected)), "{name}"),
        }
    };
    let help = "Calls, \\ \"quoted\" and\nof two lines.";
    said("calls_total", 1, help, "");
    for part in [
        "took_seconds_bucket",
        "took_seconds_sum",
        "took_seconds_count",
    ] {
        said(part, 3, "How long.", "seconds");
    }
    for (name, kind) in [
        ("asked", 5),
        ("asked_sum", 5),
        ("asked_count", 5),
        ("mode", 7),
        ("build_info", 6),
        ("load", 2),
    ] {
        said(name, kind, "", "");
    }
}

/// The times of the page's scrapes in each request.
fn scrapes(series: &[Series]) -> Vec<i64> {
    let up = series.iter().filter(|s| s.name() == "up");
    up.flat_map(|s| s.samples.iter().map(|(at, _)| *at))
        .collect()
}

#[test]
fn answers_are_heeded() {
    let folder = tempfile::tempdir().expect("a folder");
    let target = target();
    let endpoint = Endpoint::start();
    let script = [500, 503, 502, 504, 429, 200, 400, 404, 401, 204, 415, 204];
    endpoint
        .script
        .lock()
        .expect("nobody panics with it")
        .extend(script);
    let mut edge = edge(
        &folder.path().join("edge"),
        &target,
        &[("theirs", &endpoint, headers::MESSAGE_2)],
    );
    let requests = wait::until(LONG, "all of the script and more", || {
        let requests = endpoint.requests();
        match requests.len() > script.len() + 5 {
            true => Ok(requests),
            false => Err(format!("{} requests", requests.len())),
        }
    });
    // Retried until it is taken: the same, and it says how often.
    let retries = &requests[..6];
    for (attempt, (request, _)) in retries.iter().enumerate() {
        assert_eq!(request.body, retries[0].0.body);
        let said = request.header("retry-attempt").map(str::to_owned);
        assert_eq!(said, (attempt > 0).then(|| attempt.to_string()));
    }
    // Refused for good: once, and then the next.
    let times: Vec<Vec<i64>> = requests.iter().map(|(_, series)| scrapes(series)).collect();
    for refused in &times[6..9] {
        let again = times.iter().filter(|times| times.contains(&refused[0]));
        assert_eq!(again.count(), 1, "{refused:?} is sent once");
    }
    // Another type: the same samples as messages of 1.0, and all from then on.
    let versions: Vec<Version> = requests
        .iter()
        .map(|(request, _)| version_of(request))
        .collect();
    let fallback = versions.iter().position(|version| *version == Version::V1);
    let fallback = fallback.expect("messages of 1.0");
    assert_eq!(fallback, 11, "{versions:?}");
    assert_eq!(times[fallback], times[fallback - 1]);
    assert!(
        versions[fallback..]
            .iter()
            .all(|version| *version == Version::V1)
    );
    edge.terminate();
    // Every scrape that was not refused for good was taken, once, in order.
    let taken: Vec<i64> = requests
        .iter()
        .zip(script.iter().copied().chain(std::iter::repeat(204)))
        .filter(|(_, status)| (200..300).contains(status))
        .flat_map(|((_, series), _)| scrapes(series))
        .collect();
    assert!(taken.windows(2).all(|pair| pair[0] < pair[1]), "{taken:?}");
}
