//! An edge's end of a held connection, over a real WebSocket, moved by hand.

use std::time::Duration;

use axum::body::Bytes;
use futures_util::{SinkExt, StreamExt};
use model::{LabelSet, Sample, Series, Timestamp};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{self, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};
use wire::edge_headers::Lane;
use wire::line::link::{FromEdge, Interval, PATH, PROTOCOL, Records, Reply, Report};
use wire::line::{LineEncoder, LineScrape};

use super::harness::{START, TestHub};

/// Longest wait for a message.
const PATIENCE: Duration = Duration::from_secs(10);

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// One connection.
pub(super) struct LineEdge {
    socket: Socket,
    pub(super) report: Report,
    /// The first reply.
    pub(super) first: Reply,
    pub(super) taken: Vec<Records>,
}

/// Opens the socket; no report yet.
pub(super) async fn open(
    hub: &TestHub,
    token: &str,
    protocol: &str,
) -> Result<Socket, tungstenite::Error> {
    let url = format!("ws://{}{PATH}", hub.hub.address());
    let mut request = url.into_client_request().expect("a request");
    let headers = request.headers_mut();
    headers.insert("sec-websocket-protocol", protocol.parse().expect("a value"));
    if !token.is_empty() {
        let bearer = format!("Bearer {token}");
        headers.insert("authorization", bearer.parse().expect("a value"));
    }
    Ok(tokio_tungstenite::connect_async(request).await?.0)
}

pub(super) fn report(edge: &str, epoch: u64) -> Report {
    Report {
        edge: edge.to_owned(),
        epoch,
        scraped_since_ms: START - 60_000,
        scraped_through_ms: START,
        sent_at_ms: START,
        version: "9.9".to_owned(),
        ..Report::default()
    }
}

impl LineEdge {
    /// Connects with a token and a first report.
    pub(super) async fn connect(hub: &TestHub, token: &str, report: Report) -> Self {
        let mut socket = open(hub, token, PROTOCOL).await.expect("a socket");
        let message = FromEdge::Report(Box::new(report.clone())).encode();
        socket.send(Message::Binary(message)).await.expect("sent");
        let first = next(&mut socket).await.expect("a reply");
        assert!(!first.hub.is_empty() && first.echo.is_some(), "{first:?}");
        LineEdge {
            socket,
            report,
            first,
            taken: Vec::new(),
        }
    }

    pub(super) async fn send(&mut self, lane: Lane, frame: &[u8]) {
        let message = FromEdge::Frame(lane, Bytes::copy_from_slice(frame)).encode();
        self.send_bytes(message).await;
    }

    pub(super) async fn send_bytes(&mut self, message: Bytes) {
        self.socket
            .send(Message::Binary(message))
            .await
            .expect("sent");
    }

    /// Sends the report anew, after a change, and waits for its echo.
    pub(super) async fn report(&mut self, change: impl FnOnce(&mut Report)) -> Reply {
        self.report.number += 1;
        change(&mut self.report);
        let message = FromEdge::Report(Box::new(self.report.clone())).encode();
        self.send_bytes(message).await;
        let number = self.report.number;
        self.until(|reply| reply.echo.is_some_and(|echo| echo.number == number))
            .await
    }

    /// The next reply; or why the hub has closed.
    pub(super) async fn reply(&mut self) -> Result<Reply, String> {
        let reply = next(&mut self.socket).await?;
        self.taken.extend(&reply.taken);
        Ok(reply)
    }

    pub(super) async fn until(&mut self, mut so: impl FnMut(&Reply) -> bool) -> Reply {
        loop {
            let reply = self.reply().await.expect("a reply");
            if so(&reply) {
                return reply;
            }
        }
    }

    /// Waits until a record was taken.
    pub(super) async fn until_taken(&mut self, seq: u64) {
        while !self.has_taken(seq) {
            self.reply().await.expect("a reply");
        }
    }

    pub(super) fn has_taken(&self, seq: u64) -> bool {
        self.taken
            .iter()
            .any(|records| records.first <= seq && seq <= records.last)
    }
}

async fn next(socket: &mut Socket) -> Result<Reply, String> {
    loop {
        let message = tokio::time::timeout(PATIENCE, socket.next())
            .await
            .expect("a message in time");
        match message {
            Some(Ok(Message::Binary(bytes))) => {
                return Ok(Reply::from_bytes(&bytes).expect("a reply"));
            }
            Some(Ok(Message::Close(frame))) => {
                let frame = frame.expect("a reason");
                return Err(format!("{}: {}", u16::from(frame.code), frame.reason));
            }
            Some(Ok(_)) => {}
            other => return Err(format!("{other:?}")),
        }
    }
}

/// Makes the frames of one target.
pub(super) struct Scrapes {
    pub(super) encoder: LineEncoder,
    pub(super) seq: u64,
}

impl Scrapes {
    pub(super) fn new(session: u32, edge: &str, epoch: u64) -> Self {
        Scrapes {
            encoder: LineEncoder::new(session, edge, epoch),
            seq: 0,
        }
    }

    /// A scrape of so many series, at ms from the start.
    pub(super) fn scrape(&mut self, at: i64, series: usize) -> Vec<u8> {
        self.scrape_of(at, &(0..series).map(|n| n.to_string()).collect::<Vec<_>>())
    }

    /// The same with a branch of one's own.
    pub(super) fn scrape_at(&mut self, at: i64, branch: &str, series: usize) -> Vec<u8> {
        let names: Vec<String> = (0..series).map(|n| n.to_string()).collect();
        self.scrape_as(at, branch, &names)
    }

    pub(super) fn scrape_of(&mut self, at: i64, names: &[String]) -> Vec<u8> {
        self.scrape_as(at, "payload", names)
    }

    fn scrape_as(&mut self, at: i64, branch: &str, names: &[String]) -> Vec<u8> {
        self.seq += 1;
        let series: Vec<(Series, Sample)> = names
            .iter()
            .map(|n| {
                let labels =
                    LabelSet::from_pairs([("__name__", "m"), ("n", n), ("branch", branch)]);
                let sample = Sample::float(Timestamp::from_millis(START + at), self.seq as f64);
                (labels.expect("labels").into(), sample)
            })
            .collect();
        self.encoder
            .encode(&LineScrape {
                target: 7,
                part: 0,
                seq: self.seq,
                at: START + at,
                series: &series,
                beside: &[],
            })
            .expect("with labels")
    }
}

pub(super) fn pending(first: i64, last: i64, samples: u64) -> Interval {
    Interval {
        first_ms: START + first,
        last_ms: START + last,
        samples,
        reason: String::new(),
    }
}
