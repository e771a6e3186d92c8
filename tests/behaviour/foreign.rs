//! Remote write 2.0 to who reads it and to who does not: a hub gets by it what it gets by 1.0, bit for bit, and a Prometheus that knows 1.0 only
//! loses nothing, though it takes messages of 2.0 and stores nothing of them.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use model::{
    Buckets, CUSTOM_BUCKETS_SCHEMA, Histogram, LabelSet, MatchOp, Matcher, Metadata, MetricType,
    ResetHint, Sample, Timestamp, Value, stale_nan,
};
use serde_json::Value as Json;
use tests::peers::{Peer, all_there};
use tests::remote_read::chunks;
use tests::remote_write::{exact_body, send, series};
use tests::server::{Answer, Server};
use tests::service::Service;
use tests::{http, wait};
use wire::remote_read::{Query, chunk};
use wire::remote_write::convert::{metadata_to_proto, series_from_proto, series_to_proto};
use wire::remote_write::proto::{Exemplar, Label, TimeSeries, WriteRequest};
use wire::remote_write::{headers, v2};

use crate::setup::{Ticker, last_number, stored_numbers};

const LONG: Duration = Duration::from_secs(90);
/// Changes nothing, and keeps a hub of ours from being spoken to by the line.
const NO_LINE: &str = "write_relabel_configs: [{source_labels: [nosuch], regex: x, action: drop}]";

fn now_ms() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.expect("after 1970").as_millis() as i64
}

/// What the edge says of one of those it ships to.
fn shipping(edge: &Service, name: &str) -> Result<Json, String> {
    let answer = http::get(&edge.url("/api/v1/status/edge")).map_err(|error| error.to_string())?;
    let status: Json = serde_json::from_slice(&answer.body).map_err(|error| error.to_string())?;
    let hubs = status["data"]["hubs"].as_array().cloned();
    let found = hubs.unwrap_or_default().into_iter();
    let mut found = found.filter(|hub| hub["name"] == name);
    found.next().ok_or_else(|| status.to_string())
}

fn expect_protocol(edge: &Service, name: &str, protocol: &str) -> Json {
    wait::until(LONG, protocol, || {
        let hub = shipping(edge, name)?;
        match hub["protocol"] == protocol && hub["link"] == "up" {
            true => Ok(hub),
            false => Err(hub.to_string()),
        }
    })
}

#[test]
fn a_prometheus_that_reads_only_the_first_version_misses_nothing() {
    if !all_there(&[Peer::Prometheus]) {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let mut prometheus = Service::prometheus(&folder.path().join("prometheus"))
        .config("global: {}\n")
        .argument("--web.enable-remote-write-receiver")
        .start();
    let url = prometheus.url("/api/v1/write");
    // That is what it is about: all is well, it says, and has nothing.
    let (content_type, version) = headers::Version::V2.said();
    let trap = v2::proto::Request {
        symbols: ["", "__name__", "trap"].map(str::to_owned).to_vec(),
        timeseries: vec![v2::proto::TimeSeries {
            labels_refs: vec![1, 2],
            samples: vec![v2::proto::Sample {
                value: 1.0,
                timestamp: now_ms(),
                start_timestamp: 0,
            }],
            ..Default::default()
        }],
    };
    let said = [
        ("Content-Type", content_type),
        ("Content-Encoding", "snappy"),
        ("X-Prometheus-Remote-Write-Version", version),
    ];
    let answer = http::post(&url, &said, &v2::encode(&trap)).expect("an answer");
    let written = headers::Written::from_lookup(|name| answer.header(name));
    assert_eq!((answer.status, written), (204, None), "{}", answer.text());
    assert!(prometheus.api().value("trap").is_err());

    let ticker = Ticker::start();
    let mut edge = Service::edge(&folder.path().join("edge"))
        .config(&format!(
            "global: {{scrape_interval: 250ms, scrape_timeout: 250ms, external_labels: {{branch: b01}}}}\n\
             scrape_configs: [{{job_name: ticker, static_configs: [{{targets: ['{}']}}]}}]\n\
             remote_write: [{{url: '{url}', name: theirs, protobuf_message: {}}}]\n\
             branchline: {{edge: b01, node_collector: {{enabled: false}}}}\n",
            ticker.address(),
            headers::MESSAGE_2,
        ))
        .start();
    let hub = expect_protocol(&edge, "theirs", "remote write 1.0");
    assert_eq!(
        hub["insteadOf20"],
        Json::from("HTTP 204 without the headers that say how much was written")
    );
    let api = prometheus.api();
    let arrived = |least: u64| {
        wait::until(LONG, "what was scraped", || {
            match last_number(&api, "b01") {
                Ok(last) if last >= least => Ok(()),
                other => Err(format!("{other:?} of {least}")),
            }
        });
    };
    arrived(5);
    // It goes away, comes back, and gets what there was meanwhile, in order.
    prometheus.kill_9();
    let away = ticker.scrapes();
    wait::until_true(LONG, "scrapes meanwhile", || ticker.scrapes() >= away + 12);
    prometheus.start_again();
    arrived(ticker.scrapes());
    // An edge that starts anew asks anew, and sends nothing that is not stored.
    edge.kill_9();
    edge.start_again();
    arrived(ticker.scrapes() + 4);
    expect_protocol(&edge, "theirs", "remote write 1.0");
    edge.terminate();
    let stored = stored_numbers(&api, "b01").expect("an answer");
    assert_eq!(stored.len(), crate::setup::TICKER_SERIES);
    for (series, numbers) in stored {
        let all: Vec<u64> = (1..=numbers.last().copied().unwrap_or(0)).collect();
        assert_eq!(numbers, all, "{series}");
    }
}

fn native(integer: bool, factor: f64) -> Histogram {
    Histogram {
        schema: 2,
        zero_threshold: 0.001,
        zero_count: 2.0 * factor,
        count: 9.0 * factor,
        sum: -1.5,
        positive: Buckets::from_indexed([(-3, factor), (7, 2.0 * factor)]),
        negative: Buckets::from_indexed([(1, 4.0 * factor)]),
        integer,
        ..Histogram::default()
    }
}

fn custom() -> Histogram {
    Histogram {
        schema: CUSTOM_BUCKETS_SCHEMA,
        count: 5.0,
        sum: 1.25,
        positive: Buckets::from_indexed([(0, 2.0), (2, 3.0)]),
        custom_values: vec![0.5, 2.0],
        integer: true,
        ..Histogram::default()
    }
}

/// All that a message can hold, the last sample a few seconds old.
fn everything(start: i64) -> WriteRequest {
    let labels = |name: &str| {
        let pairs = [("__name__", name), ("job", "push"), ("text", "ä\n\"\\ 中")];
        LabelSet::from_pairs(pairs).expect("labels")
    };
    let at = |n: usize| Timestamp::from_millis(start + n as i64 * 100);
    let odd = [
        0.0,
        -0.0,
        1.0,
        f64::from_bits(0x7ff8_0000_0000_0001),
        stale_nan(),
        f64::INFINITY,
        f64::NEG_INFINITY,
        f64::MAX,
        f64::MIN,
        5e-324,
        0.1 + 0.2,
        stale_nan(),
    ];
    let floats = odd
        .iter()
        .enumerate()
        .map(|(n, value)| Sample::float(at(n), *value));
    let mut timeseries = vec![series_to_proto(
        &labels("pushed_odd"),
        &floats.collect::<Vec<_>>(),
    )];
    let natives = [
        ("pushed_native", vec![native(true, 1.0), native(true, 3.0)]),
        (
            "pushed_float",
            vec![native(false, 0.5), native(false, 0.75)],
        ),
        ("pushed_custom", vec![custom()]),
        (
            "pushed_empty",
            vec![Histogram {
                integer: true,
                ..Histogram::default()
            }],
        ),
        ("pushed_huge", vec![native(true, (1_u64 << 48) as f64)]),
    ];
    for (name, histograms) in natives {
        let samples = histograms.into_iter().enumerate();
        let samples: Vec<Sample> = samples.map(|(n, h)| Sample::histogram(at(n), h)).collect();
        timeseries.push(series_to_proto(&labels(name), &samples));
    }
    timeseries.push(TimeSeries {
        exemplars: vec![Exemplar {
            labels: vec![Label {
                name: "trace_id".to_owned(),
                value: "pushed".to_owned(),
            }],
            value: -0.5,
            timestamp: start + 7,
        }],
        ..series(
            &[("__name__", "pushed_total"), ("job", "push")],
            &[(start, 3.0)],
        )
    });
    let about = |kind, help: &str, unit: &str| Metadata {
        kind,
        help: help.to_owned(),
        unit: unit.to_owned(),
    };
    let metadata = [
        (
            "pushed_odd",
            about(MetricType::Gauge, "Odd \\ \"values\"\nof all kinds", ""),
        ),
        (
            "pushed_native",
            about(MetricType::Histogram, "whole", "seconds"),
        ),
        ("pushed_total", about(MetricType::Counter, "counted", "")),
    ];
    let metadata = metadata
        .iter()
        .map(|(family, about)| metadata_to_proto(family, about));
    WriteRequest {
        timeseries,
        metadata: metadata.collect(),
    }
}

/// Series and their samples: time, and bits or histogram.
type Stored = BTreeMap<String, Vec<(i64, String)>>;

fn text(sample: &Sample) -> (i64, String) {
    let value = match &sample.value {
        Value::Float(value) => format!("{:#018x}", value.to_bits()),
        Value::Histogram(histogram) => {
            // A chunk says of the second histogram in it that there was no reset before, whatever was sent.
            let mut histogram = Histogram::clone(histogram);
            histogram.reset_hint = ResetHint::Unknown;
            format!("{histogram:?}")
        }
    };
    (sample.at.millis(), value)
}

fn sent(request: &WriteRequest) -> Stored {
    let series = request.timeseries.iter().map(|series| {
        let series = series_from_proto(series).expect("a valid series");
        let samples = series.samples.iter().map(text).collect();
        (series.labels.to_string(), samples)
    });
    series.collect()
}

/// As the hub has it: chunks keep the sign of -0.
fn stored(hub: &Service, query: &Query) -> Result<Stored, String> {
    let mut stored = Stored::new();
    for series in chunks(&hub.url("/api/v1/read"), query)? {
        let pairs = series
            .labels
            .iter()
            .map(|(name, value)| (&**name, &**value));
        let labels = LabelSet::from_pairs(pairs.filter(|(name, _)| *name != "branch"));
        let samples = stored
            .entry(labels.expect("labels").to_string())
            .or_default();
        for chunk in &series.chunks {
            let read = chunk::decode(chunk).map_err(|error| error.to_string())?;
            samples.extend(read.iter().map(text));
        }
    }
    Ok(stored)
}

#[test]
fn a_hub_gets_by_the_second_version_what_it_gets_by_the_first() {
    let folder = tempfile::tempdir().expect("a folder");
    let hub = |name: &str| Service::hub(&folder.path().join(name)).start();
    let (first, second) = (hub("first"), hub("second"));
    let target = Server::start(|_| {
        Answer {
        status: 200,
        content_type: "application/openmetrics-text; version=1.0.0; charset=utf-8",
        headers: Vec::new(),
        body: "# TYPE took_seconds histogram\n# UNIT took_seconds seconds\n# HELP took_seconds How long \\\"it\\\" took.\n\
               took_seconds_bucket{le=\"0.5\"} 1 # {trace_id=\"b\"} 0.25\n\
               took_seconds_bucket{le=\"+Inf\"} 4\ntook_seconds_count 4\ntook_seconds_sum 3.5\n\
               # TYPE state stateset\nstate{state=\"a\"} 1\nstate{state=\"b\"} 0\n\
               # TYPE load gauge\n# HELP load How much.\nload 0.25\n# EOF\n"
            .to_owned(),
    }
    });
    let edge = Service::edge(&folder.path().join("edge"))
        .config(&format!(
            "global: {{scrape_interval: 1s, scrape_timeout: 1s}}\n\
             scrape_configs: [{{job_name: page, static_configs: [{{targets: ['{}']}}]}}]\n\
             remote_write:\n\
             - {{url: '{}', name: first, {NO_LINE}}}\n\
             - {{url: '{}', name: second, protobuf_message: {}, {NO_LINE}}}\n\
             branchline: {{edge: b07, node_collector: {{enabled: false}}, remote_write_receiver: true}}\n",
            target.address(),
            first.url("/api/v1/write"),
            second.url("/api/v1/write"),
            headers::MESSAGE_2,
        ))
        .start();
    expect_protocol(&edge, "first", "remote write 1.0");
    expect_protocol(&edge, "second", "remote write 2.0");
    let start = now_ms() - 5_000;
    let pushed = everything(start);
    let answer = send(&edge.url("/api/v1/write"), None, &exact_body(&pushed)).expect("an answer");
    assert_eq!(answer.status, 204, "{}", answer.text());

    let query = Query {
        start: Timestamp::from_millis(start - 1000),
        end: Timestamp::from_millis(start + 60_000),
        matchers: vec![Matcher::new(MatchOp::Regex, "__name__", "pushed_.*").expect("a matcher")],
    };
    let expected = sent(&pushed);
    for hub in [&first, &second] {
        wait::until(LONG, "what was pushed", || match stored(hub, &query)? {
            found if found == expected => Ok(()),
            found => Err(format!("{found:#?}\nexpected:\n{expected:#?}")),
        });
    }
    let same = |what: &str, ask: &dyn Fn(&Service) -> Result<Json, String>, least: usize| {
        wait::until(LONG, what, || {
            let (one, other) = (ask(&first)?, ask(&second)?);
            let length = one.as_array().map(Vec::len);
            let length = length.or(one.as_object().map(serde_json::Map::len));
            match one == other && length >= Some(least) {
                true => Ok(()),
                false => Err(format!("{one:#}\nby the second version:\n{other:#}")),
            }
        });
    };
    let exemplars = |service: &Service| -> Result<Json, String> {
        let form = [
            ("query", "{__name__=~\".+\"}"),
            ("start", "0"),
            ("end", "9999999999"),
        ];
        Ok(service.api().post("/api/v1/query_exemplars", &form)?["data"].take())
    };
    same("the same exemplars", &exemplars, 2);
    let metadata = |service: &Service| -> Result<Json, String> {
        let answer = http::get(&service.url("/api/v1/metadata")).map_err(|e| e.to_string())?;
        let mut answer: Json = serde_json::from_slice(&answer.body).map_err(|e| e.to_string())?;
        Ok(answer["data"].take())
    };
    same("the same metadata", &metadata, 6);
    let said = metadata(&second).expect("an answer");
    let took = serde_json::json!([{"type": "histogram", "help": "How long \"it\" took.", "unit": "seconds"}]);
    assert_eq!(said["took_seconds"], took, "{said:#}");
    assert_eq!(
        said["pushed_odd"][0]["help"],
        "Odd \\ \"values\"\nof all kinds"
    );
    let hub = shipping(&edge, "second").expect("an answer");
    assert_eq!(
        (&hub["balanced"], &hub["quarantined"]["samples"]),
        (&true.into(), &0.into())
    );
    assert_eq!(
        (&hub["unwrittenSamples"], &hub["exemplarsLeft"]),
        (&0.into(), &0.into())
    );
}
