//! What senders are told.

use model::{STALE_NAN_BITS, Value};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tsdb::{SelectLimits, TimeRange};
use wire::remote_write::{self, proto::TimeSeries};

use super::harness::{TestHub, answer, body, label, metadata_body, native, series};

const TOKENS: &str = "branchline: {branches: [{name: b01, token: one}, {name: b02, token: two}]}";

#[tokio::test]
async fn bodies_that_are_none_are_refused_with_a_reason() {
    let hub = TestHub::start("").await;
    let good = body(vec![series(
        &[("__name__", "bad"), ("a", "b")],
        &[(0, 1.0)],
    )]);
    let limits = remote_write::Limits::default();
    let plain = remote_write::decompress(&good, &limits).unwrap();
    let claim = |bytes: &[u8]| [bytes, &[0; 30]].concat();
    let cases: Vec<(&str, Vec<u8>, u16, &str)> = vec![
        ("empty", Vec::new(), 400, "truncated"),
        ("not compressed", plain.clone(), 400, ""),
        (
            "framed",
            [b"\xff\x06\x00\x00sNaPpY", &plain[..]].concat(),
            400,
            "",
        ),
        ("cut", good[..good.len() - 4].to_vec(), 400, "truncated"),
        (
            "claims 4 GiB",
            claim(&[0xff, 0xff, 0xff, 0xff, 0x0f]),
            400,
            "claims 4294967295 bytes",
        ),
        (
            "claims 16 MiB in 30 bytes",
            claim(&[0x80, 0x80, 0x80, 0x08]),
            400,
            "truncated",
        ),
        (
            "message cut",
            remote_write::compress(&plain[..plain.len() - 3]),
            400,
            "bad protobuf at byte",
        ),
        (
            "no message",
            remote_write::compress(&[0x0a, 0x7f]),
            400,
            "bad protobuf at byte",
        ),
        (
            "33 MiB",
            vec![7; (32 << 20) + 1],
            413,
            "send smaller batches",
        ),
        (
            "33 MiB in little",
            remote_write::compress(&vec![0; (32 << 20) + 1]),
            400,
            "send smaller batches",
        ),
    ];
    for (what, bytes, status, reason) in cases {
        let refused = answer(hub.write_request(bytes)).await;
        assert_eq!(refused.status, status, "{what}: {}", refused.text());
        assert!(
            refused.text().contains(reason),
            "{what}: {}",
            refused.text()
        );
        assert!(refused.text().trim().len() > 10, "{what}: no reason");
        assert_eq!(refused.header("branchline-hub").len(), 16, "{what}");
    }
    let text = hub.get("/api/v1/labels").await;
    assert_eq!(text.text(), r#"{"status":"success","data":[]}"#);
    assert!(
        hub.hub.state().branches.list().is_empty(),
        "nobody knows whose they were"
    );
    assert_eq!(answer(hub.write_request(good)).await.status, 204);
    assert_eq!(hub.count("bad").await, 1);
}

#[tokio::test]
async fn other_encodings_and_types_are_415_whatever_the_body() {
    let hub = TestHub::start("").await;
    let good = body(vec![series(&[("__name__", "bad")], &[(0, 1.0)])]);
    let cases = [
        ("application/json", "snappy", 415, "application/json"),
        ("image/png", "snappy", 415, "image/png"),
        (
            "application/x-protobuf;proto=io.prometheus.write.v2.Request",
            "snappy",
            400,
            "remote write 1.0",
        ),
        (
            "application/x-protobuf;proto=what",
            "snappy",
            415,
            "\"what\"",
        ),
        ("application/x-protobuf", "gzip", 415, "gzip"),
        ("application/x-protobuf", "deflate", 415, "deflate"),
        (
            "application/x-protobuf;proto=prometheus.WriteRequest",
            "snappy",
            204,
            "",
        ),
    ];
    for (content_type, encoding, status, reason) in cases {
        for body in [good.clone(), b"{}".to_vec()] {
            let request = hub
                .request("POST", "/api/v1/write")
                .header("Content-Type", content_type)
                .header("Content-Encoding", encoding);
            let decodable = body.len() > 2;
            let got = answer(request.body(body)).await;
            if decodable || status == 415 {
                assert_eq!(got.status, status, "{content_type} {encoding}");
                assert!(got.text().contains(reason), "{}", got.text());
            }
        }
    }
    // Without either header it counts as remote write 1.0.
    let got = answer(hub.request("POST", "/api/v1/write").body(good)).await;
    assert_eq!(got.status, 204);
}

#[tokio::test]
async fn an_edge_sends_all_of_its_headers_or_none() {
    let hub = TestHub::start("").await;
    let request = hub
        .write_request(body(Vec::new()))
        .header("Branchline-Edge", "b01");
    let got = answer(request).await;
    assert_eq!(got.status, 400);
    assert!(got.text().contains("branchline-epoch"), "{}", got.text());
}

#[tokio::test]
async fn good_series_beside_bad_ones_are_stored_and_the_bad_ones_named() {
    let hub = TestHub::start("").await;
    let bad_histogram = TimeSeries {
        labels: vec![label(("__name__", "broken"))],
        histograms: vec![wire::remote_write::proto::Histogram {
            positive_deltas: vec![1, 2, 3],
            ..native(0)
        }],
        ..TimeSeries::default()
    };
    let long = "x".repeat(5000);
    let answer = hub
        .write(vec![
            series(&[("__name__", "good"), ("n", "1")], &[(0, 1.0)]),
            series(&[("job", "nameless")], &[(0, 1.0), (1, 1.0)]),
            series(
                &[("__name__", "twice"), ("a", "1"), ("a", "2")],
                &[(0, 1.0)],
            ),
            series(&[("__name__", "empty_name"), ("", "1")], &[(0, 1.0)]),
            series(&[("__name__", "long"), ("a", &long)], &[(0, 1.0)]),
            series(
                &[("n", "2"), ("__name__", "good")],
                &[(0, 1.0), (601_000, 2.0)],
            ),
            bad_histogram,
            series(&[("__name__", "good"), ("n", "3")], &[(0, 1.0)]),
        ])
        .await;
    assert_eq!(answer.status, 400, "{}", answer.text());
    let text = answer.text();
    assert!(text.starts_with("7 samples refused, 3 stored: "), "{text}");
    for part in [
        r#"good{n="2"} at 1800000601 is more than 10 minutes in the future"#,
        "native histogram of broken",
        r#"series {job="nameless"} has no metric name"#,
        r#"metric name "twice": duplicate label name "a""#,
        r#"metric name "empty_name": a label has an empty name"#,
        "and 1 more",
    ] {
        assert!(text.contains(part), "{part:?} not in {text}");
    }
    assert!(text.len() < 3000, "{} bytes", text.len());
    assert_eq!(hub.count("good").await, 3);
    assert_eq!(hub.count(r#"{__name__=~".+"}"#).await, 3);
    let long = series(&[("__name__", "long"), ("a", &long)], &[(0, 1.0)]);
    let text = hub.write(vec![long]).await;
    assert!(
        text.text().contains(r#"series long{a="xxx"#) && text.text().contains("limit is 4096"),
        "{}",
        text.text()
    );
}

#[tokio::test]
async fn the_token_is_the_branch() {
    let hub = TestHub::start(TOKENS).await;
    let send = async |token: &str, series: TimeSeries| {
        let request = hub.write_request(body(vec![series]));
        answer(request.header("Authorization", format!("Bearer {token}"))).await
    };
    for (metric, claimed) in [
        ("none", None),
        ("other", Some("b01")),
        ("same", Some("b02")),
    ] {
        let mut labels = vec![("__name__", metric)];
        labels.extend(claimed.map(|branch| ("branch", branch)));
        assert_eq!(send("two", series(&labels, &[(0, 1.0)])).await.status, 204);
    }
    let labels = async |metric: &str| hub.query(metric).await[0]["metric"].to_string();
    assert_eq!(
        labels("none").await,
        r#"{"__name__":"none","branch":"b02"}"#
    );
    assert_eq!(
        labels("other").await,
        r#"{"__name__":"other","branch":"b02","exported_branch":"b01"}"#
    );
    assert_eq!(
        labels("same").await,
        r#"{"__name__":"same","branch":"b02"}"#
    );
    // The same bytes from another branch are another series.
    let same = series(&[("__name__", "same"), ("branch", "b02")], &[(0, 2.0)]);
    assert_eq!(send("one", same).await.status, 204);
    assert_eq!(hub.count("same").await, 2);
}

#[tokio::test]
async fn a_wrong_token_writes_nothing_and_is_told_where_to_look() {
    let hub = TestHub::start(TOKENS).await;
    let refused = |request: reqwest::RequestBuilder| async {
        let refused = answer(request).await;
        assert_eq!(refused.status, 401);
        assert!(refused.text().contains("branchline.branches"));
        assert!(refused.header("www-authenticate").starts_with("Bearer"));
        assert_eq!(refused.header("branchline-hub").len(), 16);
    };
    let good = || body(vec![series(&[("__name__", "bad")], &[(0, 1.0)])]);
    refused(hub.write_request(good())).await;
    for token in ["Bearer three", "Bearer ", "Basic b25l", "one"] {
        refused(hub.write_request(good()).header("Authorization", token)).await;
    }
    // Before anything else is looked at: a stranger learns nothing about what would be taken.
    refused(hub.write_request(vec![7; (32 << 20) + 1])).await;
    refused(
        hub.request("POST", "/api/v1/write")
            .header("Content-Type", "image/png"),
    )
    .await;
    assert_eq!(hub.count("bad").await, 0);
    let metrics = hub.get("/metrics").await;
    assert!(
        metrics
            .text()
            .contains("branchline_ingest_requests_total{outcome=\"unauthorized\"} 7"),
        "{}",
        metrics.text()
    );
}

#[tokio::test]
async fn without_credentials_labels_stay_as_they_come() {
    let hub = TestHub::start("").await;
    let labels = [
        ("z", "1"),
        ("__name__", "free"),
        ("branch", "b07"),
        ("e", ""),
    ];
    hub.store(vec![series(&labels, &[(0, 1.0)])]).await;
    hub.store(vec![series(&[("__name__", "free")], &[(0, 1.0)])])
        .await;
    let found = hub.query("free").await;
    assert_eq!(found[0]["metric"].to_string(), r#"{"__name__":"free"}"#);
    assert_eq!(
        found[1]["metric"].to_string(),
        r#"{"__name__":"free","branch":"b07","z":"1"}"#
    );
    let names: Vec<String> = (hub.hub.state().branches.list().into_iter())
        .map(|branch| branch.name)
        .collect();
    assert_eq!(names, ["(no branch label)", "b07"]);
}

/// Prometheus sends metadata in requests of their own, which say nothing of any branch.
#[tokio::test]
async fn metadata_alone_makes_no_branch() {
    let hub = TestHub::start("").await;
    let metadata = wire::remote_write::proto::MetricMetadata {
        r#type: 1,
        metric_family_name: "requests_total".into(),
        help: "Requests".into(),
        unit: String::new(),
    };
    let got = answer(hub.write_request(metadata_body(vec![metadata]))).await;
    assert_eq!(got.status, 204, "{}", got.text());
    assert!(hub.hub.state().branches.list().is_empty());
    assert_eq!(
        hub.get("/api/v1/metadata").await.text(),
        r#"{"status":"success","data":{"requests_total":[{"type":"counter","help":"Requests","unit":""}]}}"#
    );
}

#[tokio::test]
async fn every_bit_of_a_value_is_kept() {
    let hub = TestHub::start("").await;
    let bits = [
        STALE_NAN_BITS,
        0x7ff8_0000_0000_0001,
        0xfff0_dead_beef_0001,
        f64::INFINITY.to_bits(),
        f64::NEG_INFINITY.to_bits(),
        f64::MIN_POSITIVE.to_bits(),
        1,
        f64::MAX.to_bits(),
    ];
    let samples: Vec<(i64, f64)> = (bits.iter().enumerate())
        .map(|(n, bits)| (n as i64, f64::from_bits(*bits)))
        .collect();
    let histograms = TimeSeries {
        labels: vec![label(("__name__", "native"))],
        histograms: vec![native(0)],
        ..TimeSeries::default()
    };
    hub.store(vec![series(&[("__name__", "bits")], &samples), histograms])
        .await;
    let select = |name: &str| {
        let matcher = [model::Matcher::equal("__name__", name)];
        let limits = SelectLimits::default();
        let store = &hub.hub.state().store;
        let found = store.select(&matcher, TimeRange::ALL, &limits, &|| false);
        found.unwrap().series.remove(0).values
    };
    let kept: Vec<u64> = (select("bits").iter())
        .map(|value| match value {
            Value::Float(value) => value.to_bits(),
            Value::Histogram(_) => panic!("a histogram"),
        })
        .collect();
    assert_eq!(kept, bits);
    let histogram = select("native").histogram(0).cloned().expect("a histogram");
    assert_eq!((histogram.count, histogram.sum), (3.0, 3.5));
    assert_eq!(histogram.positive.counts, [2.0, 1.0]);
    assert_eq!(
        hub.query("native").await.to_string(),
        r#"[{"histogram":[1800000000,{"buckets":[[0,"0.5","1","2"],[0,"1","2","1"]],"count":"3","sum":"3.5"}],"metric":{"__name__":"native"}}]"#
    );
    assert_eq!(hub.count("bits offset -7ms").await, 1);
    assert_eq!(hub.count("bits").await, 0, "the staleness marker ends it");
}

#[tokio::test]
async fn old_samples_and_other_values_are_ordinary_writes() {
    let hub = TestHub::start("").await;
    for samples in [
        vec![(0, 5.0), (-60_000, 4.0)],
        vec![(-3_600_000, 1.0)],
        vec![(0, 6.0)],
    ] {
        hub.store(vec![series(&[("__name__", "any")], &samples)])
            .await;
    }
    let all = hub.query("any[2h]").await;
    assert_eq!(
        all[0]["values"].to_string(),
        r#"[[1799996400,"1"],[1799999940,"4"],[1800000000,"6"]]"#
    );
    let old = series(&[("__name__", "any")], &[(-40 * 86_400_000, 1.0)]);
    super::harness::until("the first maintenance says what is too old", || async {
        let answer = hub.write(vec![old.clone()]).await;
        answer.status == 400 && answer.text().contains("outside of what is kept")
    })
    .await;
}

/// A sender that goes silent within its body.
async fn half_a_body(hub: &TestHub) -> TcpStream {
    let mut socket = TcpStream::connect(hub.hub.address()).await.unwrap();
    let text = "POST /api/v1/write HTTP/1.1\r\nHost: hub\r\nContent-Length: 100\r\n\r\nbegins";
    socket.write_all(text.as_bytes()).await.unwrap();
    socket
}

/// A link that goes silent in the middle of a body: nobody will ever send the rest.
#[tokio::test]
async fn a_body_that_stops_coming_is_given_up() {
    let hub = TestHub::start("").await;
    let mut socket = half_a_body(&hub).await;
    let answer = async {
        let mut text = String::new();
        let _ = socket.read_to_string(&mut text).await;
        text
    };
    let time_goes_on = async {
        loop {
            hub.clock.advance(std::time::Duration::from_secs(10));
            tokio::time::sleep(std::time::Duration::from_millis(2)).await;
        }
    };
    let text = tokio::select! {
        text = answer => text,
        () = time_goes_on => unreachable!("it goes on for ever"),
    };
    assert!(text.starts_with("HTTP/1.1 503"), "{text}");
    assert!(
        text.contains("retry-after: 5") && text.contains("nothing more of the body"),
        "{text}"
    );
}

#[tokio::test]
async fn a_silent_sender_does_not_hold_up_the_end() {
    let hub = TestHub::start("").await;
    let mut socket = half_a_body(&hub).await;
    // Its request has come as far as it will: a later one is answered.
    assert_eq!(hub.get("/-/healthy").await.status, 200);
    hub.hub.shutdown().await.expect("an orderly end, at once");
    let mut text = String::new();
    let _ = socket.read_to_string(&mut text).await;
    assert!(text.contains("the hub is shutting down"), "{text:?}");
}
