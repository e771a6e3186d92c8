//! The held connection of an edge, the ledger that its reports make, and what people see of it.

use std::time::Duration;

use axum::body::Bytes;
use tokio_tungstenite::tungstenite;
use wire::edge_headers::Lane;
use wire::line::link::{PROTOCOL, Records};
use wire::line::{Frame, LineDecoder, LineLimits, LineSink};

use super::harness::{START, TestHub, encode, until};
use super::line_edge::{LineEdge, Scrapes, open, pending, report};

const BRANCHES: &str = "branchline: {branches: [{name: b01, token: one}, {name: b02, token: two}]}";

async fn value(hub: &TestHub, expr: &str) -> String {
    let found = hub.query(expr).await;
    found[0]["value"][1].as_str().unwrap_or_default().to_owned()
}

#[tokio::test]
async fn scrapes_are_stored_under_the_tokens_branch_and_acknowledged_when_on_disk() {
    let hub = TestHub::start(BRANCHES).await;
    let mut edge = LineEdge::connect(&hub, "one", report("e1", 5)).await;
    let mut scrapes = Scrapes::new(77, "e1", 5);
    for at in 0..20 {
        let frame = scrapes.scrape(at * 1_000, 30);
        edge.send(Lane::Live, &frame).await;
    }
    edge.until_taken(20).await;
    assert!((1..=20).all(|seq| edge.has_taken(seq)), "{:?}", edge.taken);
    hub.clock.advance(Duration::from_secs(20));
    assert_eq!(
        value(
            &hub,
            "count(m{branch=\"b01\", exported_branch=\"payload\"})"
        )
        .await,
        "30"
    );
    assert_eq!(value(&hub, "sum(count_over_time(m[1m]))").await, "600");
    let hub = hub.crash().await;
    assert_eq!(value(&hub, "sum(count_over_time(m[1m]))").await, "600");
}

#[tokio::test]
async fn what_has_drained_keeps_no_session() {
    let hub = TestHub::start(BRANCHES).await;
    let mut first = report("e1", 5);
    first.pending_intervals = vec![pending(-60_000, -50_000, 50)];
    let mut edge = LineEdge::connect(&hub, "one", first).await;
    let mut old = Scrapes::new(76, "e1", 5);
    for at in 0..5 {
        edge.send(Lane::Backlog, &old.scrape(at * 1_000 - 60_000, 10))
            .await;
    }
    let mut fresh = Scrapes::new(77, "e1", 5);
    fresh.seq = 5;
    edge.send(Lane::Live, &fresh.scrape(0, 10)).await;
    for seq in 1..=6 {
        edge.until_taken(seq).await;
    }
    edge.report(|report| report.pending_intervals.clear()).await;
    drop(edge);
    let mut edge = LineEdge::connect(&hub, "one", report("e1", 5)).await;
    let known: Vec<_> = edge.first.known.iter().map(|known| known.session).collect();
    assert_eq!(known, [77]);
    // Should it go on after all, it is to come from its beginning.
    let frame = old.scrape(-1_000, 10);
    edge.send(Lane::Backlog, &frame).await;
    let reply = edge.until(|reply| !reply.unknown.is_empty()).await;
    assert_eq!((reply.unknown[0].session, reply.unknown[0].number), (76, 5));
    let mut again = Scrapes::new(78, "e1", 5);
    again.seq = 6;
    edge.send(Lane::Backlog, &again.scrape(-1_000, 10)).await;
    edge.until_taken(7).await;
}

#[tokio::test]
async fn a_cut_off_session_goes_on_and_fresh_scrapes_come_first() {
    let hub = TestHub::start(BRANCHES).await;
    let mut edge = LineEdge::connect(&hub, "one", report("e1", 5)).await;
    let mut scrapes = Scrapes::new(77, "e1", 5);
    let mut stood = LineDecoder::new();
    for at in [0, 1_000] {
        let frame = scrapes.scrape(at, 10);
        edge.send(Lane::Live, &frame).await;
        let (limits, mut nothing) = (LineLimits::default(), Nothing);
        let frame = Frame::read(&frame, &limits).expect("a frame");
        let read = stood.decode(&frame, &limits, &mut nothing);
        read.expect("a frame of the session");
    }
    edge.until_taken(2).await;
    drop(edge);

    // What it scraped while it was cut off is in the old session; it goes live with a new one.
    let left: Vec<Vec<u8>> = (2..8).map(|at| scrapes.scrape(at * 1_000, 11)).collect();
    let mut edge = LineEdge::connect(&hub, "one", report("e1", 5)).await;
    let known = edge.first.known.clone();
    assert_eq!(known.len(), 1);
    assert_eq!(
        (known[0].session, known[0].next, known[0].live),
        (77, 2, true)
    );
    let has = edge.first.has.clone().expect("books");
    assert_eq!(
        (has.epoch, has.records),
        (5, vec![Records { first: 1, last: 2 }])
    );
    // Backlog may come first, which moves the old session on: that must not confuse the new one, which begins where it was.
    for frame in &left[..2] {
        edge.send(Lane::Backlog, frame).await;
    }
    edge.until_taken(4).await;
    let stood = stood.into_state().expect("a session");
    scrapes.encoder.begin_after(78, stood);
    let takeover = scrapes
        .encoder
        .takeover(&known[0])
        .expect("the hub knows a part of it");
    let fresh = scrapes.scrape(9_000, 11);
    let columns = scrapes.encoder.columns_for_followers(0);
    assert!(takeover.carries && columns.is_some());
    let fresh = Frame::taking_over(&fresh, Some(&takeover), columns).expect("a frame");
    edge.send(Lane::Live, &fresh).await;
    edge.until_taken(9).await;
    for frame in &left[2..] {
        edge.send(Lane::Backlog, frame).await;
    }
    edge.send(
        Lane::Live,
        &Frame::taking_over(&scrapes.scrape(10_000, 11), None, None).unwrap(),
    )
    .await;
    edge.until_taken(8).await;
    edge.until_taken(10).await;
    hub.clock.advance(Duration::from_secs(11));
    assert_eq!(
        value(&hub, "sum(count_over_time(m[1m]))").await,
        (20 + 8 * 11).to_string()
    );
    let metrics = hub.get("/metrics").await;
    for line in [
        "branchline_line_frames_total{lane=\"backlog\"} 6",
        "branchline_line_frames_total{lane=\"live\"} 4",
        "branchline_line_samples_total{lane=\"backlog\"} 66",
        "branchline_line_unknown_frames_total 0",
        "branchline_line_connections 1",
    ] {
        assert!(metrics.text().contains(line), "{line}: {}", metrics.text());
    }
}

#[tokio::test]
async fn a_hub_that_forgot_asks_for_the_session_from_its_beginning_and_counts_nothing_twice() {
    let hub = TestHub::start(BRANCHES).await;
    let mut edge = LineEdge::connect(&hub, "one", report("e1", 5)).await;
    let mut scrapes = Scrapes::new(77, "e1", 5);
    let frames: Vec<Vec<u8>> = (0..5).map(|at| scrapes.scrape(at * 1_000, 10)).collect();
    for frame in &frames[..3] {
        edge.send(Lane::Live, frame).await;
    }
    edge.until_taken(3).await;
    let hub = hub.restart(Duration::from_secs(5)).await;
    let mut edge = LineEdge::connect(&hub, "one", report("e1", 5)).await;
    assert!(edge.first.known.is_empty());
    assert_eq!(
        edge.first.has.clone().unwrap().records,
        [Records { first: 1, last: 3 }]
    );
    edge.send(Lane::Live, &frames[3]).await;
    let reply = edge.until(|reply| !reply.unknown.is_empty()).await;
    let unknown = reply.unknown[0];
    assert_eq!(
        (unknown.session, unknown.number, unknown.live),
        (77, 3, true)
    );
    for frame in &frames {
        edge.send(Lane::Backlog, frame).await;
    }
    edge.until_taken(5).await;
    assert_eq!(value(&hub, "sum(count_over_time(m[1m]))").await, "50");
    let branches = hub
        .request("GET", "/api/v1/federation/branches")
        .bearer_auth("one");
    let branches = super::harness::answer(branches).await.json();
    let edge = &branches["data"]["branches"][0]["edges"][0];
    assert_eq!(edge["storedSamples"], 50, "{branches}");
    assert!(
        hub.get("/metrics")
            .await
            .text()
            .contains("branchline_line_repeated_frames_total 3")
    );
}

#[tokio::test]
async fn what_is_refused_is_said_and_all_else_is_stored() {
    let yaml = "branchline: {series_per_branch_max: 10, branches: [{name: b01, token: one}]}";
    let hub = TestHub::start(yaml).await;
    let mut edge = LineEdge::connect(&hub, "one", report("e1", 5)).await;
    let mut scrapes = Scrapes::new(77, "e1", 5);
    edge.send(Lane::Live, &scrapes.scrape(0, 10)).await;
    edge.until_taken(1).await;
    // Five too many: today, and in the next scrape again.
    for at in [1_000, 2_000] {
        edge.send(Lane::Live, &scrapes.scrape(at, 15)).await;
        let reply = edge.until(|reply| !reply.refused.is_empty()).await;
        let refused = &reply.refused[0];
        assert_eq!(
            (refused.samples, refused.reason.as_str()),
            (5, "series-limit"),
            "{refused:?}"
        );
        assert!(refused.text.contains("may have 10 series"), "{refused:?}");
        assert_eq!(
            refused.records,
            Some(Records {
                first: scrapes.seq,
                last: scrapes.seq
            })
        );
    }
    // An hour ahead.
    edge.send(Lane::Live, &scrapes.scrape(3_600_000, 10)).await;
    let reply = edge.until(|reply| !reply.refused.is_empty()).await;
    assert_eq!(
        (reply.refused[0].samples, reply.refused[0].reason.as_str()),
        (10, "future")
    );
    edge.send(Lane::Live, &scrapes.scrape(3_000, 10)).await;
    edge.until_taken(5).await;
    hub.clock.advance(Duration::from_secs(4));
    assert_eq!(value(&hub, "sum(count_over_time(m[1m]))").await, "40");
    assert!(
        hub.get("/metrics")
            .await
            .text()
            .contains("branchline_line_refused_samples_total 20")
    );
}

#[tokio::test]
async fn a_full_disk_is_told_and_nothing_of_it_acknowledged() {
    let hub = TestHub::start(BRANCHES).await;
    let mut edge = LineEdge::connect(&hub, "one", report("e1", 5)).await;
    let mut scrapes = Scrapes::new(77, "e1", 5);
    let frames: Vec<Vec<u8>> = (0..3).map(|at| scrapes.scrape(at * 1_000, 10)).collect();
    edge.send(Lane::Live, &frames[0]).await;
    edge.until_taken(1).await;
    hub.disk.set_capacity(Some(hub.disk.used_bytes()));
    edge.send(Lane::Live, &frames[1]).await;
    let reply = edge.until(|reply| reply.later.is_some()).await;
    let later = reply.later.unwrap();
    assert!(
        later.text.contains("no space left") && later.after_ms == 30_000,
        "{later:?}"
    );
    hub.disk.set_capacity(None);
    for frame in &frames {
        edge.send(Lane::Live, frame).await;
    }
    edge.until_taken(3).await;
    hub.clock.advance(Duration::from_secs(3));
    assert_eq!(value(&hub, "sum(count_over_time(m[1m]))").await, "30");
}

#[tokio::test]
async fn strangers_and_nonsense_are_told_why() {
    let hub = TestHub::start(BRANCHES).await;
    let status = |error| match error {
        tungstenite::Error::Http(response) => response.status().as_u16(),
        other => panic!("{other}"),
    };
    assert_eq!(
        status(open(&hub, "three", PROTOCOL).await.unwrap_err()),
        401
    );
    assert_eq!(status(open(&hub, "", PROTOCOL).await.unwrap_err()), 401);
    assert_eq!(
        status(open(&hub, "one", "branchline.line.v9").await.unwrap_err()),
        400
    );
    let plain = hub.request("GET", "/api/v1/line").bearer_auth("one");
    assert_eq!(super::harness::answer(plain).await.status, 400);

    let ends = async |message: &'static [u8]| {
        let mut edge = LineEdge::connect(&hub, "one", report("e1", 5)).await;
        edge.send_bytes(Bytes::from_static(message)).await;
        loop {
            if let Err(why) = edge.reply().await {
                return why;
            }
        }
    };
    let why = ends(b"\x09").await;
    assert!(
        why.starts_with("1007") && why.contains("a live frame (1), a report (2)"),
        "{why}"
    );
    let why = ends(b"\x01no frame").await;
    assert!(why.contains("version"), "{why}");
    let mut edge = LineEdge::connect(&hub, "one", report("e1", 5)).await;
    edge.report.edge = "e2".into();
    let message = wire::line::link::FromEdge::Report(Box::new(edge.report.clone()));
    edge.send_bytes(message.encode()).await;
    let why = edge.reply().await.unwrap_err();
    assert!(why.contains("another edge or another buffer"), "{why}");
    assert!(
        hub.get("/metrics")
            .await
            .text()
            .contains("branchline_line_broken_connections_total 3")
    );
}

#[tokio::test]
async fn a_new_connection_takes_over_and_a_revoked_token_ends_one() {
    let hub = TestHub::start(BRANCHES).await;
    let mut old = LineEdge::connect(&hub, "one", report("e1", 5)).await;
    let mut other = LineEdge::connect(&hub, "one", report("e2", 6)).await;
    let mut scrapes = Scrapes::new(77, "e1", 5);
    old.send(Lane::Live, &scrapes.scrape(0, 10)).await;
    old.until_taken(1).await;
    let mut new = LineEdge::connect(&hub, "one", report("e1", 5)).await;
    assert_eq!(new.first.known[0].next, 1);
    let why = old.reply().await.unwrap_err();
    assert!(why.contains("another connection of the same edge"), "{why}");
    new.report(|_| {}).await;
    other.report(|_| {}).await;
    hub.put_file(
        "hub.yml",
        "branchline: {branches: [{name: b01, token: three}]}",
    );
    assert_eq!(hub.post("/-/reload", "").await.status, 200);
    new.report.number += 1;
    let message = wire::line::link::FromEdge::Report(Box::new(new.report.clone()));
    new.send_bytes(message.encode()).await;
    let why = new.reply().await.unwrap_err();
    assert!(
        why.starts_with("1008") && why.contains("in force no more"),
        "{why}"
    );
}

async fn warnings(hub: &TestHub, query: &str) -> Vec<String> {
    let query = encode(&[("query", query)]);
    let answer = hub.get(&format!("/api/v1/query?{query}")).await.json();
    let warnings = answer["warnings"].as_array().cloned().unwrap_or_default();
    warnings
        .iter()
        .map(|w| w.as_str().unwrap_or_default().to_owned())
        .collect()
}

#[tokio::test]
async fn a_cut_link_is_known_within_five_seconds() {
    let hub = TestHub::start("").await;
    let mut edge = LineEdge::connect(&hub, "", report("b01", 5)).await;
    let mut other = LineEdge::connect(&hub, "", report("b02", 6)).await;
    edge.report(|_| {}).await;
    let state = async |branch: &str| {
        let path = format!("/api/v1/federation/branches?branch={branch}");
        let answer = hub.get(&path).await.json();
        answer["data"]["branches"][0]["state"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    };
    assert_eq!(state("b01").await, "up");
    assert_eq!(warnings(&hub, "m").await, [""; 0]);
    // The socket stays open, and nothing comes: five seconds, in steps that tasks can follow.
    for _ in 0..20 {
        hub.clock.advance(Duration::from_millis(250));
        let now = hub.clock_now();
        other.report(|report| report.scraped_through_ms = now).await;
    }
    assert_eq!(state("b01").await, "silent");
    assert_eq!(state("b02").await, "up");
    until("its series", async || {
        value(
            &hub,
            "branchline_branch_state{branch=\"b01\",state=\"silent\"}",
        )
        .await
            == "1"
            && value(&hub, "branchline_branch_complete{branch=\"b01\"}").await == "0"
            && value(&hub, "branchline_branch_complete{branch=\"b02\"}").await == "1"
            && value(&hub, "branchline_branch_up{branch=\"b01\"}").await == "0"
    })
    .await;
    let found = warnings(&hub, "sum(m)").await;
    assert_eq!(found.len(), 1);
    assert!(
        found[0].contains("b01 unknown since 2027-01-15T08:00:00Z;"),
        "{found:?}"
    );
    assert!(!found[0].contains("b02"), "{found:?}");
    assert_eq!(warnings(&hub, "m{branch=\"b02\"}").await, [""; 0]);
    assert_eq!(warnings(&hub, "branchline_branch_up").await, [""; 0]);
    assert_eq!(
        warnings(&hub, "m{branch=~\"b0[12]\"} offset 10m").await,
        [""; 0]
    );

    // It comes back, with what it scraped meanwhile.
    edge.report(|report| {
        report.scraped_through_ms = START + 5_000;
        report.pending = 40;
        report.pending_intervals = vec![pending(0, 4_000, 40)];
        report.sent_at_ms = START + 5_000;
    })
    .await;
    hub.clock.advance(Duration::from_secs(10));
    let now = hub.clock_now();
    edge.report(|report| report.scraped_through_ms = now).await;
    assert_eq!(state("b01").await, "draining");
    let found = warnings(&hub, "m{branch=\"b01\"}").await;
    assert!(
        found[0]
            .contains("b01 pending from 2027-01-15T08:00:00Z to 2027-01-15T08:00:04Z (40 samples)"),
        "{found:?}"
    );
    let path = format!(
        "/api/v1/federation/ledger?branch=b01&start={}",
        START / 1_000 - 30
    );
    let ledger = hub.get(&path).await.json();
    let intervals = &ledger["data"]["branches"][0]["intervals"];
    assert_eq!(intervals[0]["state"], "complete", "{ledger}");
    assert_eq!(intervals[0]["start"], "2027-01-15T07:59:30Z", "{ledger}");
    assert_eq!(intervals[1]["state"], "pending", "{ledger}");
    assert_eq!(intervals[1]["samples"], 40, "{ledger}");
    assert_eq!(intervals[1]["end"], "2027-01-15T08:00:04.001Z", "{ledger}");
    let bad = hub.get("/api/v1/federation/ledger?state=fine").await;
    assert_eq!(bad.status, 400);
    assert!(
        bad.text().contains("complete, pending, unknown, lost"),
        "{}",
        bad.text()
    );

    edge.report(|report| report.pending_intervals.clear()).await;
    assert_eq!(warnings(&hub, "m{branch=\"b01\"}").await, [""; 0]);
}

#[tokio::test]
async fn a_branch_sees_its_own_time_only() {
    let yaml = "branchline: {readers: [{name: g, token: read}], branches: [{name: b01, token: one}, {name: b02, token: two}]}";
    let hub = TestHub::start(yaml).await;
    let _one = LineEdge::connect(&hub, "one", report("e1", 5)).await;
    let _two = LineEdge::connect(&hub, "two", report("e2", 6)).await;
    let ask = async |path: &str, token: &str| {
        let request = hub
            .request("GET", &format!("/api/v1/federation/{path}"))
            .bearer_auth(token);
        super::harness::answer(request).await
    };
    for path in ["branches", "ledger"] {
        let names = |answer: super::harness::Answer| {
            let json = answer.json();
            let branches = json["data"]["branches"].as_array().unwrap();
            branches
                .iter()
                .map(|b| b["branch"].as_str().unwrap().to_owned())
                .collect::<Vec<_>>()
        };
        assert_eq!(names(ask(path, "read").await), ["b01", "b02"]);
        assert_eq!(names(ask(path, "one").await), ["b01"]);
        assert!(names(ask(&format!("{path}?branch=b02"), "one").await).is_empty());
        assert_eq!(ask(path, "three").await.status, 401);
    }
    let query = hub
        .request("GET", "/api/v1/query?query=1")
        .bearer_auth("one");
    assert_eq!(
        super::harness::answer(query).await.status,
        401,
        "nothing else"
    );
}

#[tokio::test]
async fn an_edge_that_is_gone_for_good_can_be_forgotten() {
    let hub = TestHub::start("branchline: {admin_api: true}").await;
    let mut new = LineEdge::connect(&hub, "", report("b01", 5)).await;
    let old = LineEdge::connect(&hub, "", report("b02", 6)).await;
    let forget = async |edge: &str| {
        let path = format!("/api/v1/admin/federation/forget_edge?branch={edge}&edge={edge}");
        hub.post(&path, "").await
    };
    let refused = forget("b02").await;
    assert!(
        refused.status == 400 && refused.text().contains("is connected"),
        "{}",
        refused.text()
    );
    assert!(forget("b03").await.text().contains("has no edge"));
    drop(old);
    hub.clock.advance(Duration::from_secs(1));
    until("the end of the connection", async || {
        warnings(&hub, "m").await.len() == 1
    })
    .await;
    assert_eq!(forget("b02").await.status, 204);
    new.report(|_| {}).await;
    assert_eq!(warnings(&hub, "m").await, [""; 0]);
    let hub = hub.restart(Duration::from_secs(1)).await;
    let branches = hub.get("/api/v1/federation/ledger").await.json();
    assert_eq!(
        branches["data"]["branches"].as_array().map(Vec::len),
        Some(1),
        "{branches}"
    );
}

#[tokio::test]
async fn backlog_is_granted_to_who_has_some() {
    let hub = TestHub::start("").await;
    let mut edge = LineEdge::connect(&hub, "", report("b01", 5)).await;
    assert_eq!(edge.first.backlog_bytes, Some(0));
    edge.report(|report| report.pending_intervals = vec![pending(-60_000, -30_000, 9)])
        .await;
    let granted =
        |reply: &wire::line::link::Reply| reply.backlog_bytes.is_some_and(|bytes| bytes > 1 << 20);
    let mut other = report("b02", 6);
    other.pending_intervals = vec![pending(-60_000, -30_000, 9)];
    let other = LineEdge::connect(&hub, "", other).await;
    assert!(granted(&other.first), "{:?}", other.first);
    // At once, or with the echo.
    edge.report(|report| report.pending_intervals.clear()).await;
    edge.until(|reply| reply.backlog_bytes == Some(0)).await;
}

#[tokio::test]
async fn a_clock_that_is_off_is_said_with_the_answer() {
    let hub = TestHub::start("").await;
    let mut edge = LineEdge::connect(&hub, "", report("b01", 5)).await;
    edge.report(|report| report.clock_offset_ms = Some(1_500))
        .await;
    assert_eq!(warnings(&hub, "m").await, [""; 0]);
    edge.report(|report| report.clock_offset_ms = Some(-61_000))
        .await;
    let found = warnings(&hub, "m{branch=\"b01\"}").await;
    assert!(
        found.len() == 1 && found[0].contains("b01 by 61.0 s ahead of the hub"),
        "{found:?}"
    );
    assert_eq!(warnings(&hub, "m{branch=\"b02\"}").await, [""; 0]);
    // It stamps with the hub's time.
    edge.report(|report| report.clock_correction_ms = Some(-61_000))
        .await;
    assert_eq!(warnings(&hub, "m").await, [""; 0]);
    let branches = hub.get("/api/v1/federation/branches").await.json();
    let branch = &branches["data"]["branches"][0];
    assert_eq!(branch["clockOffsetSeconds"], -61.0, "{branches}");
    assert_eq!(branch["clockCorrectionSeconds"], -61.0);
}

/// Reads a session, and keeps nothing.
struct Nothing;

impl LineSink for Nothing {
    type Key = ();
    fn series(&mut self, _: &[u8]) {}
    fn sample(&mut self, (): &(), _: i64, _: f64) {}
    fn rest(&mut self, _: Vec<u8>) {}
}
