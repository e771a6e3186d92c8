//! Remote read: what a reader gets, in both kinds of answer, and what it is told when there is none.

use std::time::Duration;

use futures_util::StreamExt;
use model::{LabelSet, MatchOp, Matcher, Sample, Timestamp};
use wire::remote_read::proto::{LabelMatcher, Query as ProtoQuery, ReadRequest};
use wire::remote_read::{self, Query, Request, ResponseType, chunk, frame};
use wire::remote_write::convert::series_from_proto;
use wire::remote_write::proto::{Histogram, TimeSeries};

use super::harness::{Answer, START, TestHub, answer, native, series, until};

const HOUR: i64 = 3_600_000;

fn query(start: i64, end: i64, matchers: &[(&str, MatchOp, &str)]) -> Query {
    Query {
        start: Timestamp::from_millis(START + start),
        end: Timestamp::from_millis(START + end),
        matchers: matchers
            .iter()
            .map(|(name, op, value)| Matcher::new(*op, *name, *value).expect("a matcher"))
            .collect(),
    }
}

fn named(name: &str) -> Query {
    query(-HOUR, HOUR, &[("__name__", MatchOp::Equal, name)])
}

fn post(hub: &TestHub, body: Vec<u8>) -> reqwest::RequestBuilder {
    hub.request("POST", "/api/v1/read")
        .header("Content-Type", "application/x-protobuf")
        .header("Content-Encoding", "snappy")
        .header("X-Prometheus-Remote-Read-Version", "0.1.0")
        .body(body)
}

fn request(response: ResponseType, queries: Vec<Query>) -> Vec<u8> {
    remote_read::encode(&Request { queries, response })
}

/// By query: the series in the order of the answer.
type Found = Vec<Vec<(LabelSet, Vec<Sample>)>>;

async fn samples(hub: &TestHub, queries: Vec<Query>) -> Found {
    let answer = answer(post(hub, request(ResponseType::Samples, queries))).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.header("content-type"), "application/x-protobuf");
    assert_eq!(answer.header("content-encoding"), "snappy");
    let read = remote_read::decode_samples(&answer.body, 1 << 24).expect("samples");
    let of_series = |series: &TimeSeries| {
        let series = series_from_proto(series).expect("a series");
        (series.labels, series.samples)
    };
    let results = read.results.iter();
    results
        .map(|result| result.timeseries.iter().map(of_series).collect())
        .collect()
}

async fn chunks(hub: &TestHub, queries: Vec<Query>) -> Found {
    let count = queries.len();
    let request = post(hub, request(ResponseType::StreamedXorChunks, queries));
    let answer = answer(request.header("Accept-Encoding", "gzip")).await;
    assert_eq!(
        (answer.status, answer.header("content-type")),
        (
            200,
            "application/x-streamed-protobuf; proto=prometheus.ChunkedReadResponse"
        )
    );
    assert_eq!(answer.headers.get("content-encoding"), None);
    read_frames(&answer.body, count)
}

fn read_frames(body: &[u8], queries: usize) -> Found {
    let mut found: Found = vec![Vec::new(); queries];
    let mut rest = body;
    while let Some((response, behind)) = frame::decode(rest).expect("a frame") {
        rest = behind;
        let [series] = &response.chunked_series[..] else {
            panic!("not one series a frame: {response:?}");
        };
        let labels = series
            .labels
            .iter()
            .map(|l| (l.name.as_str(), l.value.as_str()));
        let labels = LabelSet::from_pairs(labels).expect("labels");
        let all = &mut found[response.query_index as usize];
        if all.last().is_none_or(|(last, _)| *last != labels) {
            all.push((labels, Vec::new()));
        }
        for chunk in &series.chunks {
            let (_, samples) = all.last_mut().expect("a series");
            samples.extend(chunk::decode(chunk).expect("a chunk"));
        }
    }
    found
}

/// Both kinds of answer, which say the same but for what chunks know of resets.
async fn both(hub: &TestHub, queries: Vec<Query>) -> Found {
    let samples = samples(hub, queries.clone()).await;
    let chunks = chunks(hub, queries).await;
    let shown = |found: &Found| -> Vec<Vec<String>> {
        let of_series = |(labels, samples): &(LabelSet, Vec<Sample>)| {
            let samples = samples.iter().map(|sample| match &sample.value {
                model::Value::Float(value) => format!("{} {:x}", sample.at, value.to_bits()),
                model::Value::Histogram(value) => format!("{} {value}", sample.at),
            });
            format!("{labels} {:?}", samples.collect::<Vec<_>>())
        };
        found
            .iter()
            .map(|all| all.iter().map(of_series).collect())
            .collect()
    };
    assert_eq!(shown(&samples), shown(&chunks));
    samples
}

fn names(found: &[(LabelSet, Vec<Sample>)]) -> Vec<String> {
    found.iter().map(|(labels, _)| labels.to_string()).collect()
}

#[tokio::test]
async fn series_come_sorted_with_all_their_samples() {
    let hub = TestHub::start("").await;
    let stale = f64::from_bits(model::STALE_NAN_BITS);
    let points: Vec<(i64, f64)> = (0..300).map(|n| (n * 1000 - 300_000, n as f64)).collect();
    hub.store(vec![
        series(&[("__name__", "m"), ("job", "b")], &points),
        series(
            &[("__name__", "m"), ("job", "a")],
            &[(0, 1.5), (1000, stale), (2000, f64::NAN)],
        ),
        series(&[("__name__", "m"), ("A", "capital")], &[(0, -0.0)]),
        series(&[("__name__", "other")], &[(0, 1.0)]),
    ])
    .await;
    let found = both(&hub, vec![named("m")]).await;
    assert_eq!(
        names(&found[0]),
        [r#"m{A="capital"}"#, r#"m{job="a"}"#, r#"m{job="b"}"#]
    );
    assert_eq!(found[0][2].1.len(), 300);
    let expected = [1.5_f64.to_bits(), model::STALE_NAN_BITS, f64::NAN.to_bits()];
    let bits: Vec<u64> = found[0][1]
        .1
        .iter()
        .map(|sample| match sample.value {
            model::Value::Float(value) => value.to_bits(),
            model::Value::Histogram(_) => 0,
        })
        .collect();
    assert_eq!(bits, expected, "markers and NaNs as they are");
}

#[tokio::test]
async fn queries_are_answered_in_their_order_and_both_ends_count() {
    let hub = TestHub::start("").await;
    hub.store(vec![
        series(
            &[("__name__", "m"), ("job", "a")],
            &[(0, 1.0), (1000, 2.0), (2000, 3.0)],
        ),
        series(&[("__name__", "m"), ("job", "b")], &[(0, 4.0)]),
    ])
    .await;
    let job = |op, value| {
        query(
            0,
            1000,
            &[("__name__", MatchOp::Regex, "m|x"), ("job", op, value)],
        )
    };
    let found = both(
        &hub,
        vec![
            job(MatchOp::NotEqual, "a"),
            named("nothing"),
            job(MatchOp::Regex, "a|c"),
            job(MatchOp::NotRegex, "[bc]"),
            query(1000, 0, &[("job", MatchOp::Equal, "a")]),
            // Nothing said is nothing selected.
            query(0, 1000, &[]),
            query(0, 1000, &[("job", MatchOp::Regex, ".*")]),
        ],
    )
    .await;
    let names: Vec<Vec<String>> = found.iter().map(|all| names(all)).collect();
    let (a, b) = (r#"m{job="a"}"#.to_owned(), r#"m{job="b"}"#.to_owned());
    let one = |name: &String| vec![name.clone()];
    assert_eq!(
        names,
        [
            one(&b),
            vec![],
            one(&a),
            one(&a),
            vec![],
            vec![],
            vec![a, b]
        ]
    );
    assert_eq!(found[2][0].1.len(), 2, "0 and 1000, not 2000");
}

#[tokio::test]
async fn histograms_are_answered() {
    let hub = TestHub::start("").await;
    let stale = Histogram {
        sum: f64::from_bits(model::STALE_NAN_BITS),
        ..native(2000)
    };
    let mut all = series(&[("__name__", "h")], &[]);
    all.histograms = vec![native(0), native(1000), stale, native(3000)];
    hub.store(vec![all]).await;
    let samples = samples(&hub, vec![named("h")]).await;
    let chunks = chunks(&hub, vec![named("h")]).await;
    for found in [samples, chunks] {
        let stale: Vec<bool> = found[0][0].1.iter().map(|s| s.value.is_stale()).collect();
        assert_eq!(stale, [false, false, true, false]);
        let model::Value::Histogram(first) = &found[0][0].1[1].value else {
            panic!("no histogram: {found:?}");
        };
        assert_eq!(first.to_string(), "{count:3, sum:3.5, (0.5,1]:2, (1,2]:1}");
        assert!(first.integer);
    }
}

#[tokio::test]
async fn external_labels_are_part_of_the_answer() {
    let hub = TestHub::start("global: {external_labels: {region: north, b: x}}").await;
    hub.store(vec![
        series(&[("__name__", "m")], &[(0, 1.0)]),
        series(&[("__name__", "m"), ("c", "1")], &[(0, 2.0)]),
        series(&[("__name__", "m"), ("a", "1")], &[(0, 3.0)]),
        series(&[("__name__", "m"), ("region", "south")], &[(0, 4.0)]),
        // The same as the first one when it is answered: one series then, and its own label wins.
        series(
            &[("__name__", "m"), ("region", "north")],
            &[(0, 5.0), (1000, 6.0)],
        ),
    ])
    .await;
    let region = |value| {
        let name = ("__name__", MatchOp::Equal, "m");
        query(-HOUR, HOUR, &[name, ("region", MatchOp::Equal, value)])
    };
    let found = both(
        &hub,
        vec![region("north"), region("south"), named("m"), region("")],
    )
    .await;
    let north = [
        r#"m{a="1", b="x", region="north"}"#,
        r#"m{b="x", c="1", region="north"}"#,
        r#"m{b="x", region="north"}"#,
    ];
    assert_eq!(names(&found[0]), north);
    let merged: Vec<String> = found[0][2]
        .1
        .iter()
        .map(|s| format!("{:?}", s.value))
        .collect();
    assert_eq!(merged, ["Float(5.0)", "Float(6.0)"]);
    let south = r#"m{b="x", region="south"}"#;
    assert_eq!(names(&found[1]), [south]);
    assert_eq!(names(&found[2]), [&north[..], &[south]].concat());
    assert_eq!(names(&found[3]), [""; 0]);
}

#[tokio::test]
async fn what_cannot_be_answered_is_said() {
    let hub = TestHub::start("branchline: {remote_read_samples_max: 5}").await;
    let points: Vec<(i64, f64)> = (0..5).map(|n| (n, 1.0)).collect();
    hub.store(vec![
        series(&[("__name__", "five")], &points),
        series(&[("__name__", "one")], &[(0, 1.0)]),
    ])
    .await;
    let check = async |body: Vec<u8>, status: u16, text: &str| {
        let answer: Answer = answer(post(&hub, body)).await;
        assert_eq!(answer.status, status, "{answer:?}");
        assert!(answer.text().contains(text), "{}", answer.text());
        assert!(answer.header("content-type").starts_with("text/plain"));
    };
    let raw = |queries: Vec<ProtoQuery>, accepted_response_types| {
        let message = ReadRequest {
            queries,
            accepted_response_types,
        };
        wire::remote_read::encode_message(&message)
    };
    let with = |r#type: i32, value: &str| ProtoQuery {
        matchers: vec![LabelMatcher {
            r#type,
            name: "a".into(),
            value: value.into(),
        }],
        ..ProtoQuery::default()
    };
    check(b"no snappy".to_vec(), 400, "not a snappy block").await;
    check(
        wire::remote_write::compress(b"no protobuf"),
        400,
        "bad protobuf",
    )
    .await;
    check(raw(vec![with(2, "(")], vec![]), 400, "error parsing regexp").await;
    check(raw(vec![with(9, "")], vec![]), 400, "unknown type 9").await;
    check(raw(vec![with(0, "")], vec![7]), 400, "response types: [7]").await;
    for response in [ResponseType::Samples, ResponseType::StreamedXorChunks] {
        let limit = "exceeded sample limit (5)";
        let both = query(-HOUR, HOUR, &[("__name__", MatchOp::Regex, "one|five")]);
        check(request(response, vec![both]), 400, limit).await;
    }
    check(
        request(ResponseType::Samples, vec![named("five"), named("one")]),
        400,
        "exceeded",
    )
    .await;
    assert_eq!(both(&hub, vec![named("five")]).await[0][0].1.len(), 5);
    let get = hub.get("/api/v1/read").await;
    assert_eq!(get.status, 405);
}

#[tokio::test]
async fn only_readers_read() {
    let hub = TestHub::start("branchline: {readers: [{name: grafana, token: read}]}").await;
    let body = || request(ResponseType::Samples, vec![named("m")]);
    assert_eq!(answer(post(&hub, body())).await.status, 401);
    let with_token = post(&hub, body()).header("Authorization", "Bearer read");
    assert_eq!(answer(with_token).await.status, 200);
}

/// An answer far longer than what fits between hub and reader.
async fn long_answer(hub: &TestHub, queries: usize) -> Vec<u8> {
    let mut noise = 1_u64;
    let points: Vec<(i64, f64)> = (0..20_000)
        .map(|n| {
            noise = noise
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            (n * 7 - 200_000, noise as f64)
        })
        .collect();
    hub.store(vec![series(&[("__name__", "long")], &points)])
        .await;
    request(
        ResponseType::StreamedXorChunks,
        vec![named("long"); queries],
    )
}

#[tokio::test]
async fn a_reader_that_leaves_stops_its_answer() {
    let hub = TestHub::start("").await;
    let body = long_answer(&hub, 600).await;
    let running = hub.hub.state().remote_reads.running();
    let places = running.available_permits();
    let response = post(&hub, body).send().await.expect("an answer");
    let mut stream = response.bytes_stream();
    let first = stream.next().await.expect("bytes").expect("bytes");
    assert!(!first.is_empty());
    assert_eq!(running.available_permits(), places - 1);
    drop(stream);
    until("the place is free again", async || {
        running.available_permits() == places
    })
    .await;

    // And who reads on gets everything.
    let few = vec![named("long"); 60];
    let response = post(&hub, request(ResponseType::StreamedXorChunks, few))
        .send()
        .await
        .expect("an answer");
    let mut stream = response.bytes_stream();
    let mut all = Vec::new();
    while let Some(piece) = stream.next().await {
        all.extend_from_slice(&piece.expect("bytes"));
    }
    let found = read_frames(&all, 60);
    assert!(found.iter().all(|query| query[0].1.len() == 20_000));
    assert!(all.len() > 5 << 20, "{} bytes", all.len());
}

#[tokio::test]
async fn more_than_ten_wait() {
    let hub = TestHub::start("").await;
    hub.store(vec![series(&[("__name__", "m")], &[(0, 1.0)])])
        .await;
    let running = hub.hub.state().remote_reads.running();
    let all = running
        .clone()
        .acquire_many_owned(10)
        .await
        .expect("ten places");
    let waiting = both(&hub, vec![named("m")]);
    tokio::pin!(waiting);
    let early = tokio::time::timeout(Duration::from_millis(200), &mut waiting).await;
    assert!(early.is_err(), "answered without a place");
    drop(all);
    assert_eq!(waiting.await[0].len(), 1);
}

#[tokio::test]
async fn a_hub_that_stops_breaks_the_answer_off() {
    let hub = TestHub::start("").await;
    let body = long_answer(&hub, 600).await;
    let response = post(&hub, body).send().await.expect("an answer");
    let mut stream = response.bytes_stream();
    let first = stream.next().await.expect("bytes");
    assert!(first.is_ok());
    let reading = async {
        while let Some(piece) = stream.next().await {
            if piece.is_err() {
                return true;
            }
        }
        false
    };
    let (broken, stopped) = tokio::join!(reading, hub.hub.shutdown());
    assert!(broken, "the answer ended as if it were whole");
    stopped.expect("an orderly end");
}
