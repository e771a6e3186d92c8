//! A thousand edges come back at once, with a backlog each: what becomes of the newest scrapes of the others?

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Bytes;
use futures_util::future::join_all;
use tokio::sync::mpsc;
use wire::edge_headers::Lane;
use wire::line::link::{BACKLOG_BYTES_FIRST, FromEdge, Reply};

use super::harness::TestHub;
use super::line_edge::{Scrapes, pending, report};
use crate::line::LineHub;

const RETURNING: usize = 1_000;
const BACKLOG_FRAMES: usize = 10;
const SERIES: usize = 10;
const LIVE: usize = 8;
/// Backlog frames that may be stored while a live frame waits, of 10,000: a few times what one connection takes at
/// a time, which on a busy machine may go by before a live frame has its turn on a processor.
const PASSED_MAX: u64 = 1_000;

/// An edge's connection without a socket.
struct Here {
    to_hub: mpsc::Sender<Bytes>,
    from_hub: mpsc::Receiver<Bytes>,
    granted: u64,
    taken: u64,
}

impl Here {
    async fn connect(line: &Arc<LineHub>, name: &str, backlog: bool) -> Self {
        let (to_hub, from_hub) = line.connect_here();
        let mut first = report(name, 5);
        if backlog {
            first.pending_intervals = vec![pending(-50_000, -10_000, 400)];
        }
        let first = FromEdge::Report(Box::new(first)).encode();
        to_hub.send(first).await.expect("sent");
        let mut here = Here {
            to_hub,
            from_hub,
            granted: BACKLOG_BYTES_FIRST,
            taken: 0,
        };
        here.reply().await;
        here
    }

    async fn send(&self, lane: Lane, frame: Bytes) {
        self.to_hub
            .send(FromEdge::Frame(lane, frame).encode())
            .await
            .expect("sent");
    }

    async fn reply(&mut self) {
        let bytes = self.from_hub.recv().await.expect("a reply");
        let reply = Reply::from_bytes(&bytes).expect("a reply");
        assert!(
            reply.refused.is_empty() && reply.unknown.is_empty() && reply.later.is_none(),
            "{reply:?}"
        );
        self.granted = reply.backlog_bytes.unwrap_or(self.granted);
        self.taken += reply
            .taken
            .iter()
            .map(|records| records.last - records.first + 1)
            .sum::<u64>();
    }

    /// Sends its backlog as it is granted, until all is taken.
    async fn drain(mut self, frames: Vec<Vec<u8>>) {
        let sizes: Vec<u64> = frames.iter().map(|frame| frame.len() as u64).collect();
        let mut sent = 0;
        while self.taken < frames.len() as u64 {
            let unanswered = |from: u64, to: usize| sizes[from as usize..to].iter().sum::<u64>();
            while sent < frames.len() && unanswered(self.taken, sent) + sizes[sent] <= self.granted
            {
                self.send(Lane::Backlog, Bytes::copy_from_slice(&frames[sent]))
                    .await;
                sent += 1;
            }
            self.reply().await;
        }
    }
}

/// How long live frames took, and how many backlog frames went by meanwhile.
async fn live(
    line: &Arc<LineHub>,
    name: &str,
    frames: Vec<Vec<u8>>,
    pause: Duration,
) -> Vec<(Duration, u64)> {
    let mut here = Here::connect(line, name, false).await;
    let mut seen = Vec::new();
    for (number, frame) in frames.into_iter().enumerate() {
        let (began, before) = (Instant::now(), line.backlog_frames());
        here.send(Lane::Live, frame.into()).await;
        while here.taken <= number as u64 {
            here.reply().await;
        }
        seen.push((began.elapsed(), line.backlog_frames() - before));
        tokio::time::sleep(pause).await;
    }
    seen
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_edges_that_come_back_at_once_do_not_delay_others() {
    let hub = TestHub::start("").await;
    let line = hub.hub.state().line.clone();
    let frames = |name: &str, count: usize, from: i64| -> Vec<Vec<u8>> {
        let mut scrapes = Scrapes::new(77, name, 5);
        (0..count)
            .map(|at| scrapes.scrape_at(from + at as i64 * 1_000, name, SERIES))
            .collect()
    };
    // Places in the queue come up by the clock. Slower than ours: nobody here reports every two seconds.
    let clock = hub.clock.clone();
    let moving = async {
        loop {
            tokio::time::sleep(Duration::from_millis(20)).await;
            clock.advance(Duration::from_millis(4));
        }
    };
    let work = async {
        let draining = join_all((0..RETURNING).map(|n| {
            let (name, line) = (format!("r{n:04}"), line.clone());
            let frames = frames(&name, BACKLOG_FRAMES, -60_000);
            async move {
                let here = Here::connect(&line, &name, true).await;
                here.drain(frames).await;
            }
        }));
        let others = join_all((0..LIVE).map(|n| {
            let name = format!("l{n}");
            let frames = frames(&name, 100, 0);
            let line = line.clone();
            async move { live(&line, &name, frames, Duration::from_millis(10)).await }
        }));
        tokio::join!(draining, others).1
    };
    let seen = tokio::select! {
        seen = work => seen,
        () = moving => unreachable!("it never ends"),
    };
    let mut delays: Vec<Duration> = seen.iter().flatten().map(|(delay, _)| *delay).collect();
    delays.sort();
    let passed = seen
        .iter()
        .flatten()
        .map(|(_, passed)| *passed)
        .max()
        .unwrap_or_default();
    println!(
        "live delay p50 {:?}, p99 {:?}, at most {passed} backlog frames went by",
        delays[delays.len() / 2],
        delays[delays.len() * 99 / 100],
    );
    assert_eq!(line.backlog_frames(), (RETURNING * BACKLOG_FRAMES) as u64);
    assert!(
        passed <= PASSED_MAX,
        "{passed} backlog frames were stored while a live one waited"
    );
    hub.clock.advance(Duration::from_secs(60));
    let stored = hub
        .query("sum(count_over_time(m{branch=~\"r.*\"}[10m]))")
        .await;
    assert_eq!(
        stored[0]["value"][1],
        (RETURNING * BACKLOG_FRAMES * SERIES).to_string()
    );
}
