//! The line over a WebSocket. The connection is made by the HTTP client, so that TLS, proxies and credentials are those of every other
//! request; once it is upgraded it carries WebSocket messages.

use std::time::Duration;

use bytes::Bytes;
use daemon::{Clock, Tasks};
use futures_util::future::BoxFuture;
use futures_util::{SinkExt, StreamExt};
use reqwest::{StatusCode, Version};
use std::sync::Arc;
use tokio::sync::mpsc;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};
use wire::edge_headers::HUB;
use wire::line::link::{PROTOCOL, TALK_BYTES_MAX};

use super::link::{LineConnection, LineLink, MESSAGES_MAX, NoLine};
use crate::forward::http::{HttpLink, explain};

/// How long a hub may take to let a connection in.
const UPGRADE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a socket may take no byte before the connection counts as broken.
const SEND_TIMEOUT: Duration = Duration::from_secs(10);
/// The key of the handshake proves that the other side speaks WebSocket; it needs not be secret, nor another one each time (RFC 6455, 1.3).
const KEY: &str = "YnJhbmNobGluZSBsaW5lIQ==";

/// A hub at the other end of a WebSocket.
pub struct SocketLink {
    http: Arc<HttpLink>,
    clock: Arc<dyn Clock>,
}

impl SocketLink {
    /// The line of the hub that takes remote write at the link's address. None where that is no address of ours.
    pub fn beside(http: Arc<HttpLink>, clock: Arc<dyn Clock>) -> Option<SocketLink> {
        http.line_url()?;
        Some(SocketLink { http, clock })
    }
}

impl LineLink for SocketLink {
    fn connect(&self, tasks: &Tasks) -> BoxFuture<'static, Result<LineConnection, NoLine>> {
        let (http, clock, tasks) = (self.http.clone(), self.clock.clone(), tasks.clone());
        Box::pin(async move {
            let open = open(&http);
            let socket = tokio::select! {
                socket = open => socket?,
                () = clock.sleep(UPGRADE_TIMEOUT) => {
                    return Err(NoLine::Failed(format!("no answer within {UPGRADE_TIMEOUT:?}")));
                }
            };
            let (to_hub, out) = mpsc::channel(MESSAGES_MAX);
            let (into, from_hub) = mpsc::channel(MESSAGES_MAX);
            tasks.spawn_brief("line socket", carry(socket, out, into, clock));
            Ok(LineConnection { to_hub, from_hub })
        })
    }
}

async fn open(http: &HttpLink) -> Result<WebSocketStream<reqwest::Upgraded>, NoLine> {
    let url = http
        .line_url()
        .ok_or_else(|| NoLine::NotSpoken("the address is not a hub's".into()))?;
    let make = |client: &reqwest::Client| {
        client
            .get(url.clone())
            .version(Version::HTTP_11)
            .header("connection", "Upgrade")
            .header("upgrade", "websocket")
            .header("sec-websocket-version", "13")
            .header("sec-websocket-key", KEY)
            .header("sec-websocket-protocol", PROTOCOL)
    };
    let failed = |error: &reqwest::Error| NoLine::Failed(explain(error));
    let response = http.ask(make).await.map_err(NoLine::Failed)?;
    let is_ours = response.headers().contains_key(HUB);
    match response.status() {
        StatusCode::SWITCHING_PROTOCOLS if is_ours => {}
        StatusCode::SWITCHING_PROTOCOLS => {
            return Err(NoLine::NotSpoken("what answers is no hub of ours".into()));
        }
        // Ours, and not now, or not to us; or a portal or proxy in between.
        status if is_ours => {
            let text = response.text().await.unwrap_or_default();
            let line: String = text
                .lines()
                .next()
                .unwrap_or_default()
                .chars()
                .take(300)
                .collect();
            return Err(NoLine::Failed(format!("HTTP {}: {line}", status.as_u16())));
        }
        status if status.is_server_error() => {
            return Err(NoLine::Failed(format!("HTTP {}", status.as_u16())));
        }
        status => return Err(NoLine::NotSpoken(format!("HTTP {}", status.as_u16()))),
    }
    let upgraded = response.upgrade().await.map_err(|error| failed(&error))?;
    let config = WebSocketConfig::default()
        .max_message_size(Some(TALK_BYTES_MAX + 16))
        .max_frame_size(Some(TALK_BYTES_MAX + 16));
    Ok(WebSocketStream::from_raw_socket(upgraded, Role::Client, Some(config)).await)
}

/// Carries messages until either side is done.
async fn carry(
    socket: WebSocketStream<reqwest::Upgraded>,
    mut out: mpsc::Receiver<Bytes>,
    into: mpsc::Sender<Result<Bytes, String>>,
    clock: Arc<dyn Clock>,
) {
    let (mut sink, mut stream) = socket.split();
    let sending = async {
        while let Some(message) = out.recv().await {
            let sent = async {
                sink.feed(Message::Binary(message)).await?;
                // Several that wait leave together.
                if out.is_empty() {
                    sink.flush().await?;
                }
                Ok::<(), tokio_tungstenite::tungstenite::Error>(())
            };
            tokio::select! {
                sent = sent => sent.map_err(|error| error.to_string())?,
                () = clock.sleep(SEND_TIMEOUT) => {
                    return Err(format!("nothing could be sent for {SEND_TIMEOUT:?}"));
                }
            }
        }
        let _ = sink.close().await;
        Ok::<(), String>(())
    };
    let receiving = async {
        loop {
            match stream.next().await {
                Some(Ok(Message::Binary(message))) => {
                    if into.send(Ok(message)).await.is_err() {
                        return Ok(());
                    }
                }
                Some(Ok(Message::Close(frame))) => {
                    let reason = frame.map(|frame| frame.reason.to_string());
                    let reason = reason.filter(|reason| !reason.is_empty());
                    return Err(reason.unwrap_or_else(|| "closed by the hub".to_owned()));
                }
                Some(Ok(_)) => {}
                Some(Err(error)) => return Err(error.to_string()),
                None => return Err("closed by the hub".to_owned()),
            }
        }
    };
    let ended: Result<(), String> = tokio::select! {
        ended = sending => ended,
        ended = receiving => ended,
    };
    if let Err(reason) = ended {
        let _ = into.send(Err(reason)).await;
    }
}
