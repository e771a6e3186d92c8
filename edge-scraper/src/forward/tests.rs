use std::collections::VecDeque;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use daemon::http::{Auth, ClientOptions, ExtraHeader, Secret, SignerOptions};
use daemon::{Clock, SimClock, SystemClock, Tasks};
use futures_util::future::BoxFuture;
use journal::sim::SimDisk;
use model::{LabelSet, Sample, Timestamp};
use reqwest::header::HeaderName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use wire::edge_headers::{EdgeHeaders, Lane};
use wire::remote_write::headers::Written;
use wire::remote_write::{Limits, decode};

use super::*;
use crate::buffer::{Buffer, BufferOptions, RecordMeta, Want};
use crate::scrape::{Class, Scrape};

pub(super) const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);

pub(super) fn scrape(at: Timestamp, samples: usize) -> Scrape {
    let series = (0..samples).map(|n| {
        let labels = LabelSet::from_pairs([("__name__", "m"), ("n", &n.to_string())]).unwrap();
        // Noise, so that a record is not compressed to nothing.
        let noise = (n as u64 + at.millis() as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 11;
        (labels.into(), Sample::float(at, noise as f64))
    });
    Scrape {
        at,
        target: 1,
        class: Class::Ordinary,
        series: series.collect(),
        exemplars: Vec::new(),
        metadata: Vec::new(),
    }
}

pub(super) fn answer(status: u16, hub: bool) -> Outcome {
    let hub = hub.then(|| "hq".to_owned());
    Outcome::Answered(Answer {
        status,
        hub,
        retry_after: None,
        text: "why".into(),
        is_page: false,
        series_limit: false,
        written: None,
    })
}

/// A record that no buffer holds: the shipper only passes them on.
pub(super) fn records(seqs: std::ops::RangeInclusive<u64>) -> Vec<RecordMeta> {
    let clock = Arc::new(SimClock::new(NOW));
    let options = BufferOptions {
        sync_bound: None,
        epoch_if_new: Some(7),
        ..BufferOptions::default()
    };
    let buffer = Buffer::open(Arc::new(SimDisk::new(1)), Path::new("/b"), options, clock).unwrap();
    buffer.attach("hq").unwrap();
    for at in 1..=*seqs.end() {
        buffer
            .append(&scrape(NOW.saturating_add(Duration::from_secs(at)), 10))
            .unwrap();
    }
    buffer.sync().unwrap();
    let all = buffer
        .select("hq", Want::Oldest, &Default::default(), &Default::default())
        .unwrap();
    all.into_iter()
        .filter(|record| seqs.contains(&record.seq))
        .collect()
}

/// A shipper with its time.
pub(super) struct Play {
    pub(super) shipper: Shipper,
    pub(super) now: Duration,
}

impl Play {
    pub(super) fn new() -> Play {
        Play {
            shipper: Shipper::new(ShipperOptions::default()),
            now: Duration::ZERO,
        }
    }

    pub(super) fn next(&mut self) -> Step {
        self.shipper.next(self.now, NOW)
    }

    pub(super) fn ask(&mut self) -> Ask {
        match self.next() {
            Step::Ask(ask) => ask,
            wait => panic!("{wait:?}"),
        }
    }

    /// Sends what is asked for with these records.
    pub(super) fn send(&mut self, records: Vec<RecordMeta>) -> (Ask, u64) {
        let ask = self.ask();
        let id = self
            .shipper
            .sent(&ask, records, Written::default(), self.now);
        (ask, id)
    }

    pub(super) fn settle(&mut self, id: u64, outcome: Outcome) -> Verdict {
        self.shipper.settle(id, &outcome, self.now, 1.0)
    }

    /// Up, with an own hub or a foreign endpoint.
    fn up(own: bool) -> Play {
        let mut play = Play::new();
        let (ask, id) = play.send(Vec::new());
        assert_eq!(ask.content, Content::Hello);
        play.settle(id, answer(204, own));
        play
    }
}

#[test]
fn an_own_hub_gets_two_lanes_and_live_goes_first() {
    let mut play = Play::up(true);
    assert_eq!(*play.shipper.peer(), Peer::Own { hub: "hq".into() });
    let (live, first) = play.send(records(8..=9));
    let (backlog, second) = play.send(records(1..=3));
    assert_eq!((live.lane, backlog.lane), (Lane::Live, Lane::Backlog));
    assert!(matches!(
        live.content,
        Content::Choose(Want::NewestSince(_))
    ));
    assert!(matches!(
        backlog.content,
        Content::Choose(Want::OldestBefore(_))
    ));
    assert_eq!(play.next(), Step::Wait(None), "one request a lane");
    assert_eq!(play.shipper.in_flight().to_string(), "1-3,8-9");
    assert_eq!(play.shipper.under_way(), (2, 50));
    assert_eq!(
        play.settle(first, answer(204, true)),
        Verdict::Acknowledged(records(8..=9))
    );
    assert_eq!(
        play.settle(first, answer(204, true)),
        Verdict::Kept,
        "an answer counts once"
    );
    assert_eq!(play.ask().lane, Lane::Live);
    assert_eq!(
        play.settle(second, answer(204, true)),
        Verdict::Acknowledged(records(1..=3))
    );
}

#[test]
fn a_foreign_endpoint_gets_everything_in_order_on_one_lane() {
    let mut play = Play::up(false);
    assert_eq!(*play.shipper.peer(), Peer::Foreign);
    let (ask, id) = play.send(records(1..=3));
    assert_eq!(
        (ask.content, ask.limits.samples_max),
        (Content::Choose(Want::Oldest), 2_000)
    );
    assert_eq!(play.next(), Step::Wait(None));
    assert_eq!(play.settle(id, answer(503, false)), Verdict::Kept);
    assert_eq!(play.next(), Step::Wait(Some(Duration::from_millis(500))));
    play.now = Duration::from_millis(500);
    let (ask, id) = play.send(records(1..=3));
    assert_eq!(ask.attempt, 1);
    assert_eq!(
        play.settle(id, answer(200, false)),
        Verdict::Acknowledged(records(1..=3))
    );
    let ask = play.ask();
    play.shipper.nothing(&ask, play.now);
    assert_eq!(
        play.next(),
        Step::Wait(None),
        "no sign of life to strangers"
    );
    play.shipper.news();
    assert!(matches!(play.next(), Step::Ask(_)));
}

#[test]
fn an_idle_link_to_a_hub_shows_a_sign_of_life() {
    let mut play = Play::up(true);
    for _ in 0..2 {
        let ask = play.ask();
        play.shipper.nothing(&ask, play.now);
    }
    assert_eq!(play.next(), Step::Wait(Some(Duration::from_secs(5))));
    play.now = Duration::from_secs(5);
    assert_eq!(play.ask().content, Content::Hello);
}

#[test]
fn a_lost_link_is_asked_with_pauses_that_grow_to_a_ceiling() {
    for (own, ceiling) in [(true, 5_000), (false, 30_000)] {
        let mut play = Play::up(own);
        let mut pauses = Vec::new();
        for _ in 0..9 {
            let (_, id) = play.send(Vec::new());
            assert_eq!(
                play.settle(id, Outcome::Failed("refused".into())),
                Verdict::Kept
            );
            let Step::Wait(Some(until)) = play.next() else {
                panic!()
            };
            pauses.push((until - play.now).as_millis());
            play.now = until;
        }
        assert_eq!(pauses[..3], [500, 1000, 2000]);
        assert_eq!(pauses[8], ceiling);
        assert_eq!(
            *play.shipper.link(),
            LinkState::Down {
                error: "refused".into()
            }
        );
        if own {
            let (ask, id) = play.send(Vec::new());
            assert_eq!(
                ask.content,
                Content::Hello,
                "the smallest request shows whether it is back"
            );
            play.settle(id, answer(204, true));
            let live = play.ask();
            assert_eq!(
                (live.lane, live.limits.stored_bytes_max),
                (Lane::Live, 128 << 10)
            );
        }
    }
}

#[test]
fn retry_after_is_honoured() {
    let mut play = Play::up(true);
    let (_, live) = play.send(records(3..=3));
    let (_, backlog) = play.send(records(1..=2));
    let busy = Answer {
        status: 429,
        hub: Some("hq".into()),
        retry_after: Some(Duration::from_secs(20)),
        text: String::new(),
        is_page: false,
        series_limit: false,
        written: None,
    };
    assert_eq!(play.settle(backlog, Outcome::Answered(busy)), Verdict::Kept);
    assert_eq!(*play.shipper.link(), LinkState::Up);
    play.settle(live, answer(204, true));
    let ask = play.ask();
    assert_eq!(
        ask.lane,
        Lane::Live,
        "a hub that has enough backlog still gets live scrapes"
    );
    play.shipper.nothing(&ask, play.now);
    assert_eq!(play.next(), Step::Wait(Some(Duration::from_secs(5))));
    play.now = Duration::from_secs(20);
    assert_eq!(play.ask().lane, Lane::Backlog);
}

/// Sends batch after batch to a hub that refuses those with a `bad` record; the quarantined sequences, and how many
/// requests it took.
fn isolate(batches: &[Vec<RecordMeta>], bad: impl Fn(u64) -> bool) -> (Vec<u64>, usize) {
    let mut play = Play::up(false);
    let (mut quarantined, mut taken, mut requests) = (Vec::new(), Vec::new(), 0);
    for batch in batches {
        let mut next = batch.clone();
        loop {
            requests += 1;
            let refused = next.iter().any(|record| bad(record.seq));
            let (_, id) = play.send(next);
            match play.settle(id, answer(if refused { 400 } else { 204 }, false)) {
                Verdict::Quarantined(records, why) => {
                    assert_eq!(why, "HTTP 400: why");
                    quarantined.extend(records.iter().map(|record| record.seq));
                }
                Verdict::Acknowledged(records) => {
                    taken.extend(records.iter().map(|record| record.seq))
                }
                Verdict::Kept => {}
            }
            let settled = taken.len() + quarantined.len();
            let aside = play
                .shipper
                .in_flight()
                .ranges()
                .map(|range| range.count())
                .sum::<u64>();
            if aside > 0 {
                let sent = batches
                    .iter()
                    .take_while(|other| *other != batch)
                    .flatten()
                    .count()
                    + batch.len();
                assert_eq!(
                    settled as u64 + aside,
                    sent as u64,
                    "parts are not chosen a second time"
                );
            }
            match play.ask().content {
                Content::Exactly(part) => next = part,
                _ => break,
            }
        }
    }
    let mut all: Vec<u64> = taken.iter().chain(&quarantined).copied().collect();
    all.sort_unstable();
    let mut sent: Vec<u64> = batches.iter().flatten().map(|record| record.seq).collect();
    sent.sort_unstable();
    assert_eq!(all, sent);
    assert!(taken.is_sorted(), "in order all the same");
    (quarantined, requests)
}

#[test]
fn a_refused_batch_is_split_until_the_bad_records_are_found() {
    let all = records(1..=40);
    assert_eq!(
        isolate(std::slice::from_ref(&all), |seq| seq == 17),
        (vec![17], 18)
    );
    assert_eq!(
        isolate(std::slice::from_ref(&all), |seq| seq == 3 || seq == 40),
        (vec![3, 40], 18)
    );
    let (first, second) = all.split_at(20);
    let every: Vec<u64> = (1..=40).collect();
    // 1 + 10 + 20 requests, and one for the batch that is not worth splitting.
    assert_eq!(
        isolate(&[first.to_vec(), second.to_vec()], |_| true),
        (every, 32)
    );
}

#[test]
fn what_is_too_large_is_split_until_it_is_single() {
    let mut play = Play::up(false);
    let (_, id) = play.send(records(1..=20));
    assert_eq!(play.settle(id, answer(413, false)), Verdict::Kept);
    let (mut singles, mut rounds) = (Vec::new(), 0);
    while let Content::Exactly(part) = play.ask().content {
        rounds += 1;
        let (_, id) = play.send(part);
        if let Verdict::Quarantined(records, _) = play.settle(id, answer(413, false)) {
            assert_eq!(records.len(), 1);
            singles.push(records[0].seq);
        }
    }
    assert_eq!((singles, rounds), ((1..=20).collect::<Vec<u64>>(), 30));
    assert_eq!(play.ask().limits.payload_bytes_max, 64 << 10);
}

#[test]
fn other_refusals_are_not_split() {
    let mut play = Play::up(false);
    let (_, id) = play.send(records(1..=3));
    let verdict = play.settle(id, answer(415, false));
    assert_eq!(
        verdict,
        Verdict::Quarantined(records(1..=3), "HTTP 415: why".into())
    );
}

#[test]
fn a_hub_that_refuses_how_we_speak_gets_no_scrapes_to_refuse() {
    for status in [400, 415] {
        let mut play = Play::new();
        let (_, id) = play.send(Vec::new());
        play.settle(id, answer(status, true));
        let error = format!("HTTP {status}: why");
        assert_eq!(*play.shipper.link(), LinkState::Down { error });
        play.now += Duration::from_secs(60);
        assert_eq!(play.ask().content, Content::Hello);
    }
}

#[test]
fn somebody_in_between_acknowledges_nothing() {
    let mut play = Play::up(true);
    let (_, id) = play.send(records(1..=3));
    assert_eq!(play.settle(id, answer(200, false)), Verdict::Kept);
    let LinkState::Down { error } = play.shipper.link() else {
        panic!()
    };
    assert_eq!(
        error,
        "HTTP 200: why (not from the hub: a proxy or portal on the way answers)"
    );
    let mut play = Play::new();
    let (_, id) = play.send(Vec::new());
    let page = Answer {
        status: 200,
        hub: None,
        retry_after: None,
        text: String::new(),
        is_page: true,
        series_limit: false,
        written: None,
    };
    play.settle(id, Outcome::Answered(page));
    assert_eq!(
        *play.shipper.peer(),
        Peer::Unknown,
        "a portal's page is no endpoint"
    );
    for status in [401, 404, 405, 418, 502] {
        play.now += Duration::from_secs(60);
        let (_, id) = play.send(Vec::new());
        play.settle(id, answer(status, false));
        let pause = play.next();
        assert!(
            matches!(pause, Step::Wait(Some(_))),
            "{status}: asked again after a pause"
        );
    }
}

#[test]
fn batches_follow_the_link() {
    let mut play = Play::up(true);
    let mut limits = Vec::new();
    for took in [10, 10, 10, 9, 9, 9].map(Duration::from_secs) {
        let large = records(1..=1).into_iter().map(|mut record| {
            record.stored_bytes = 1 << 20;
            record
        });
        let (ask, id) = play.send(large.collect());
        limits.push(ask.limits.stored_bytes_max >> 10);
        play.now += took;
        play.settle(id, answer(204, true));
    }
    assert_eq!(limits, [128, 64, 32, 16, 8, 4]);
    let (ask, id) = play.send(records(1..=1));
    play.settle(id, Outcome::TimedOut(ask.timeout));
    play.now += Duration::from_secs(60);
    let (hello, id) = play.send(Vec::new());
    assert_eq!(hello.timeout, Duration::from_secs(4));
    play.settle(id, answer(204, true));
    assert_eq!(
        play.ask().timeout,
        Duration::from_secs(20),
        "a single record gets more time"
    );
}

/// A hub behind a link that a test cuts and mends.
struct FakeHub {
    answers: Mutex<VecDeque<u16>>,
    cut: Mutex<bool>,
    received: Mutex<Vec<(EdgeHeaders, usize)>>,
}

impl Link for Arc<FakeHub> {
    fn send(&self, request: LinkRequest) -> BoxFuture<'static, Result<LinkResponse, LinkError>> {
        if *self.cut.lock().unwrap() {
            // The socket stays open and nothing comes.
            return Box::pin(std::future::pending());
        }
        let find = |name: &str| {
            request
                .headers
                .iter()
                .find(|(n, _)| *n == name)
                .map(|(_, value)| value.as_str())
        };
        let about = EdgeHeaders::from_lookup(find).unwrap().unwrap();
        let series = decode(&request.body, &Limits::default())
            .unwrap()
            .timeseries
            .len();
        self.received.lock().unwrap().push((about, series));
        let status = self.answers.lock().unwrap().pop_front().unwrap_or(204);
        let headers = vec![("branchline-hub".to_owned(), "hq".to_owned())];
        Box::pin(async move {
            Ok(LinkResponse {
                status,
                headers,
                body: String::new(),
            })
        })
    }

    fn address(&self) -> String {
        "fake".into()
    }
}

/// Moves time in steps while the forwarder works, until something is so. Its disk work is done by other threads, so a
/// busy machine may need more steps: what has to happen has a minute of simulated time.
async fn until(clock: &SimClock, step: Duration, mut is_so: impl FnMut() -> bool) {
    for _ in 0..60_000 / step.as_millis() {
        if is_so() {
            return;
        }
        clock.advance(step);
        for _ in 0..4 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
    panic!("it did not happen within a minute");
}

#[tokio::test]
async fn a_silent_link_is_noticed_and_live_comes_first_when_it_is_back() {
    let clock = SimClock::new(NOW);
    let options = BufferOptions {
        sync_bound: None,
        ..BufferOptions::default()
    };
    let buffer = Buffer::open(
        Arc::new(SimDisk::new(1)),
        Path::new("/b"),
        options,
        Arc::new(clock.clone()),
    )
    .unwrap();
    let buffer = Arc::new(buffer);
    let hub = Arc::new(FakeHub {
        answers: Mutex::default(),
        cut: Mutex::new(false),
        received: Mutex::default(),
    });
    let tasks = Tasks::new();
    let options = ForwardOptions {
        edge: "b07".into(),
        hub: "hq".into(),
        line: Default::default(),
        time: None,
        shipper: ShipperOptions::default(),
        write_relabel: Vec::new(),
        wanted: Wanted::default(),
    };
    let forwarder =
        Forwarder::start(options, buffer.clone(), Arc::new(hub.clone()), None, &tasks).unwrap();
    let take = |samples| {
        buffer.append(&scrape(clock.now(), samples)).unwrap();
        buffer.sync().unwrap();
    };
    take(3);
    let step = Duration::from_millis(250);
    let acknowledged = |samples| forwarder.status().counts.acknowledged.samples == samples;
    until(&clock, step, || acknowledged(3)).await;
    let status = forwarder.status();
    assert_eq!(status.link, LinkState::Up);
    assert_eq!(status.peer, Peer::Own { hub: "hq".into() });

    *hub.cut.lock().unwrap() = true;
    for _ in 0..20 {
        take(3);
        let next = clock.now().saturating_add(Duration::from_secs(15));
        until(&clock, Duration::from_secs(1), || clock.now() >= next).await;
    }
    let status = forwarder.status();
    assert!(matches!(status.link, LinkState::Down { .. }), "{status:?}");
    assert_eq!(status.counts.pending.counts.samples, 60);
    assert!(status.live_lag(clock.now()).unwrap() > Duration::from_secs(280));

    *hub.cut.lock().unwrap() = false;
    hub.received.lock().unwrap().clear();
    until(&clock, step, || acknowledged(63)).await;
    let received = hub.received.lock().unwrap().clone();
    let (hello, live, backlog) = (&received[0], &received[1], &received[2]);
    assert_eq!(
        (
            hello.0.sequences.len(),
            hello.0.pending_samples,
            hello.0.scraped_samples
        ),
        (0, 60, 63)
    );
    assert_eq!((live.0.lane, backlog.0.lane), (Lane::Live, Lane::Backlog));
    assert_eq!(live.0.sequences[0].last, 21, "the newest scrape: {live:?}");
    assert_eq!(backlog.0.sequences[0].first, 2);
    assert_eq!(live.1 + backlog.1, 60);
    assert!(forwarder.status().counts.balance());
    let sign_of_life = || {
        hub.received
            .lock()
            .unwrap()
            .last()
            .is_some_and(|(about, _)| about.sequences.is_empty())
    };
    until(&clock, step, sign_of_life).await;
    assert_eq!(tasks.shutdown(Duration::from_secs(5)).await, Ok(()));
}

#[tokio::test]
async fn http_carries_headers_and_brings_back_answers() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = Vec::new();
        while !request.ends_with(b"BODY") {
            assert!(stream.read_buf(&mut request).await.unwrap() > 0);
        }
        let body = "no such branch\n".repeat(200);
        let head = format!(
            "HTTP/1.1 403 Forbidden\r\nBranchline-Hub: hq\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.write_all(body.as_bytes()).await.unwrap();
        String::from_utf8(request).unwrap().to_ascii_lowercase()
    };
    let token = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(token.path(), "s3cret\n").unwrap();
    let options = HttpLinkOptions {
        url: format!("http://user:pw@{address}/api/v1/write")
            .parse()
            .unwrap(),
        client: ClientOptions {
            timeout: None,
            ..ClientOptions::default()
        },
        signer: SignerOptions {
            auth: Auth::HeaderFromFile {
                scheme: "Bearer".into(),
                credentials_file: token.path().into(),
            },
            headers: vec![ExtraHeader {
                name: HeaderName::from_static("x-branch"),
                value: Secret::Inline("seven".into()),
            }],
            oauth2: None,
        },
        headers: [("X-Scope-OrgID".to_owned(), "t1".to_owned())].into(),
    };
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let link = HttpLink::new(options, &clock).unwrap();
    assert_eq!(link.address(), format!("http://{address}/api/v1/write"));
    let request = LinkRequest {
        body: "BODY".into(),
        headers: vec![("branchline-edge", "b07".into())],
    };
    let (request, response) = tokio::join!(server, link.send(request));
    let response = response.unwrap();
    for header in [
        "post /api/v1/write ",
        "authorization: bearer s3cret",
        "x-scope-orgid: t1",
        "x-branch: seven",
        "branchline-edge: b07",
    ] {
        assert!(request.contains(header), "{header} in {request}");
    }
    assert!(request.contains("user-agent: branchline/"), "{request}");
    assert_eq!(
        (response.status, response.header("branchline-hub")),
        (403, Some("hq"))
    );
    assert_eq!(response.body.len(), LinkResponse::BODY_BYTES_MAX);
    let answer = Answer::read(&response, SystemClock::new().now());
    assert_eq!(answer.describe(), "HTTP 403: no such branch");
    drop(listener);
    let error = link
        .send(LinkRequest {
            body: "BODY".into(),
            headers: Vec::new(),
        })
        .await
        .unwrap_err();
    assert!(error.to_string().contains("onnect"), "{error}");
}
