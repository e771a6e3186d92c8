//! Light edges: each a task with a socket, that sends, reports and reads what the hub says.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use futures_util::{SinkExt, StreamExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep, sleep_until};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};
use wire::edge_headers::Lane;
use wire::line::link::{BACKLOG_BYTES_FIRST, FromEdge, Interval, PATH, PROTOCOL, Reply, Report};

use super::figures::Shared;
use super::frames::{EPOCH, Frames, STEP_MS, crowd_name, now_ms, other_name};

/// As an edge does.
const REPORT_EVERY: Duration = Duration::from_secs(2);
const CROWD_LIVE_EVERY: Duration = Duration::from_millis(STEP_MS as u64);
const RETRY_FIRST: Duration = Duration::from_millis(500);
const RETRIES_MAX: u32 = 20;

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// A connection that has been greeted.
struct Line {
    socket: Socket,
    report: Report,
    granted: u64,
}

impl Line {
    /// Connects, with pauses as an edge makes them when the hub does not let it in.
    async fn connect(address: &str, report: Report, shared: &Shared) -> anyhow::Result<Self> {
        let mut last = None;
        for attempt in 0..RETRIES_MAX {
            match Self::try_connect(address, report.clone()).await {
                Ok(line) => return Ok(line),
                Err(error) => last = Some(error),
            }
            shared.retries.fetch_add(1, Ordering::SeqCst);
            sleep(RETRY_FIRST * 2_u32.pow(attempt.min(3))).await;
        }
        Err(last.context("no attempt")?).context("no connection to the hub")
    }

    async fn try_connect(address: &str, report: Report) -> anyhow::Result<Self> {
        let mut request = format!("ws://{address}{PATH}").into_client_request()?;
        let protocol = PROTOCOL.parse().context("a header")?;
        request
            .headers_mut()
            .insert("sec-websocket-protocol", protocol);
        let (socket, _) = tokio_tungstenite::connect_async(request).await?;
        let mut line = Line {
            socket,
            report,
            granted: BACKLOG_BYTES_FIRST,
        };
        line.send_report(|_| {}).await?;
        let first = line.reply().await?;
        ensure!(!first.hub.is_empty(), "the first reply names no hub");
        Ok(line)
    }

    async fn send_report(&mut self, change: impl FnOnce(&mut Report)) -> anyhow::Result<()> {
        change(&mut self.report);
        self.report.number += 1;
        self.report.sent_at_ms = now_ms();
        self.report.scraped_through_ms = self.report.sent_at_ms;
        let message = FromEdge::Report(Box::new(self.report.clone()));
        Ok(self.socket.send(Message::Binary(message.encode())).await?)
    }

    async fn send(&mut self, lane: Lane, frame: Vec<u8>) -> anyhow::Result<()> {
        let message = FromEdge::Frame(lane, frame.into()).encode();
        Ok(self.socket.send(Message::Binary(message)).await?)
    }

    /// The next reply. Safe to drop and to call again.
    async fn reply(&mut self) -> anyhow::Result<Reply> {
        loop {
            match self.socket.next().await.context("the hub closed")?? {
                Message::Binary(bytes) => {
                    let reply = Reply::from_bytes(&bytes)?;
                    ensure!(
                        reply.refused.is_empty() && reply.unknown.is_empty(),
                        "the hub refuses: {reply:?}"
                    );
                    if let Some(later) = &reply.later {
                        bail!("the hub stores nothing now: {}", later.text);
                    }
                    self.granted = reply.backlog_bytes.unwrap_or(self.granted);
                    return Ok(reply);
                }
                Message::Close(why) => bail!("the hub closed: {why:?}"),
                _ => {}
            }
        }
    }
}

fn report(edge: &str, since_ms: i64) -> Report {
    Report {
        edge: edge.to_owned(),
        epoch: EPOCH,
        scraped_since_ms: since_ms,
        version: "bench".to_owned(),
        ..Report::default()
    }
}

fn records(reply: &Reply) -> u64 {
    let taken = reply.taken.iter();
    taken.map(|records| records.last - records.first + 1).sum()
}

/// One of those that were there all the time.
pub(super) struct Other {
    name: String,
    frames: Frames,
    series: usize,
    every: Duration,
    offset: Duration,
}

impl Other {
    pub(super) fn new(n: usize, of: usize, series: usize, every: Duration) -> Self {
        let name = other_name(n);
        Other {
            frames: Frames::new(&name, 1, series),
            name,
            series,
            every,
            offset: every.mul_f64(n as f64 / of as f64),
        }
    }

    pub(super) async fn run(mut self, address: String, shared: Arc<Shared>) -> anyhow::Result<()> {
        let mut line = Line::connect(&address, report(&self.name, now_ms()), &shared).await?;
        let began = Instant::now() + self.offset;
        let mut live = interval_at(began, self.every);
        let mut reports = interval_at(began, REPORT_EVERY);
        // Late is late: what was due is not left out.
        live.set_missed_tick_behavior(MissedTickBehavior::Burst);
        let mut under_way = VecDeque::new();
        let mut seq = 0;
        loop {
            tokio::select! {
                () = shared.stop.cancelled() => return Ok(()),
                due = live.tick() => {
                    seq += 1;
                    let late = due.elapsed();
                    let at = now_ms() - i64::try_from(late.as_millis())?;
                    let frame = self.frames.scrape(seq, at);
                    line.send(Lane::Live, frame).await?;
                    shared.live_sent(due.into_std());
                    under_way.push_back((seq, due));
                }
                _ = reports.tick() => line.send_report(|_| {}).await?,
                reply = line.reply() => {
                    for taken in reply?.taken {
                        while let Some((_, due)) = under_way.front().filter(|(seq, _)| *seq <= taken.last) {
                            shared.live_acknowledged(due.into_std());
                            shared.acknowledged.fetch_add(self.series as u64, Ordering::SeqCst);
                            under_way.pop_front();
                        }
                    }
                }
            }
        }
    }
}

/// One that was cut off: its frames are on its disk.
pub(super) struct Away {
    name: String,
    backlog: Vec<Vec<u8>>,
    series: usize,
    first_ms: i64,
    last_ms: i64,
}

impl Away {
    /// `ended`: when the last scrape of its backlog was made.
    pub(super) fn new(n: usize, series: usize, scrapes: usize, ended: i64) -> Self {
        let name = crowd_name(n);
        let mut frames = Frames::new(&name, 1, series);
        let first_ms = ended - scrapes as i64 * STEP_MS;
        let backlog = (1..=scrapes as u64)
            .map(|seq| frames.scrape(seq, first_ms + seq as i64 * STEP_MS))
            .collect();
        Away {
            name,
            backlog,
            series,
            first_ms,
            last_ms: ended,
        }
    }
}

/// One that comes back.
pub(super) struct Crowd {
    away: Away,
    after: Duration,
}

impl Crowd {
    pub(super) fn new(away: Away, after: Duration) -> Self {
        Crowd { away, after }
    }

    pub(super) async fn run(self, address: String, shared: Arc<Shared>) -> anyhow::Result<()> {
        let Away {
            name,
            backlog,
            series,
            first_ms,
            last_ms,
        } = self.away;
        let returns = Instant::now() + self.after;
        sleep_until(returns).await;
        let scrapes = backlog.len() as u64;
        let mut first = report(&name, first_ms);
        first.pending_intervals = vec![Interval {
            first_ms: first_ms + STEP_MS,
            last_ms,
            samples: scrapes * series as u64,
            reason: String::new(),
        }];
        let mut line = Line::connect(&address, first, &shared).await?;
        shared.connected();
        let mut frames = Frames::new(&name, 2, series);
        let mut live = interval_at(returns + Duration::from_millis(50), CROWD_LIVE_EVERY);
        let mut reports = interval_at(returns + REPORT_EVERY, REPORT_EVERY);
        let mut backlog = VecDeque::from(backlog);
        let mut under_way = VecDeque::new();
        let (mut unanswered, mut live_seq, mut left) = (0, scrapes, scrapes);
        loop {
            let fits = backlog
                .front()
                .is_some_and(|frame| unanswered + frame.len() as u64 <= line.granted);
            if fits && let Some(frame) = backlog.pop_front() {
                unanswered += frame.len() as u64;
                under_way.push_back(frame.len() as u64);
                line.send(Lane::Backlog, frame).await?;
                continue;
            }
            tokio::select! {
                () = shared.stop.cancelled() => return Ok(()),
                _ = live.tick() => {
                    live_seq += 1;
                    let frame = frames.scrape(live_seq, now_ms());
                    line.send(Lane::Live, frame).await?;
                }
                _ = reports.tick() => {
                    line.send_report(|report| if left == 0 {
                        report.pending_intervals.clear();
                    }).await?;
                }
                reply = line.reply() => {
                    let reply = reply.with_context(|| name.clone())?;
                    shared.acknowledged.fetch_add(records(&reply) * series as u64, Ordering::SeqCst);
                    for taken in reply.taken.iter().filter(|taken| taken.first <= scrapes) {
                        for _ in taken.first..=taken.last.min(scrapes) {
                            unanswered -= under_way.pop_front().unwrap_or(0);
                            left -= 1;
                        }
                        if left == 0 {
                            shared.drained.fetch_add(1, Ordering::SeqCst);
                        }
                    }
                }
            }
        }
    }
}
