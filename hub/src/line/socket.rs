//! The WebSocket before a [connection](super::connection): pumps messages, bounded both ways.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade, close_code};
use axum::http::{HeaderMap, HeaderValue, header};
use axum::middleware;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use futures_util::{SinkExt, StreamExt};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use wire::edge_headers;
use wire::line::link::{PATH, PROTOCOL};

use super::connection::Ended;
use super::{LineHub, MESSAGES_MAX};
use crate::ingest::{Identity, identify};

/// A client that takes no reply for so long is gone.
const SENDING_MAX: Duration = Duration::from_secs(30);
/// How long the end of a connection may take to be said.
const CLOSING_MAX: Duration = Duration::from_secs(2);
/// A thousand connections are mostly quiet, and a scrape is a few kilobytes: what is longer grows it.
const READ_BUFFER_BYTES: usize = 4 << 10;

/// `GET /api/v1/line`.
pub(crate) fn routes(hub: Arc<LineHub>) -> Router {
    Router::new()
        .route(PATH, get(upgrade))
        .layer(middleware::from_fn_with_state(hub.clone(), name_hub))
        .with_state(hub)
}

async fn name_hub(
    State(hub): State<Arc<LineHub>>,
    request: axum::extract::Request,
    next: middleware::Next,
) -> Response {
    let mut response = next.run(request).await;
    if let Ok(id) = HeaderValue::from_str(hub.ingest.hub_id()) {
        response.headers_mut().insert(edge_headers::HUB, id);
    }
    response
}

/// Who it is is known before anything is upgraded.
async fn upgrade(
    State(hub): State<Arc<LineHub>>,
    headers: HeaderMap,
    upgrade: Result<WebSocketUpgrade, axum::extract::ws::rejection::WebSocketUpgradeRejection>,
) -> Response {
    let identity = match identify(&hub.ingest, &headers) {
        Ok(identity) => identity,
        Err(refused) => return refused.into_response(),
    };
    let upgrade = match upgrade {
        Ok(upgrade) => upgrade,
        Err(rejection) => return rejection.into_response(),
    };
    let upgrade = upgrade.protocols([PROTOCOL]);
    if upgrade.selected_protocol().is_none() {
        let why = format!(
            "the line needs the WebSocket subprotocol {PROTOCOL}: this hub knows no other\n"
        );
        return (axum::http::StatusCode::BAD_REQUEST, why).into_response();
    }
    // One byte says what kind of message it is.
    let longest = hub.limits.frame_bytes_max + 1;
    let mut credential = HeaderMap::new();
    if let Some(value) = headers.get(header::AUTHORIZATION) {
        credential.insert(header::AUTHORIZATION, value.clone());
    }
    upgrade
        .read_buffer_size(READ_BUFFER_BYTES)
        .write_buffer_size(0)
        .max_message_size(longest)
        .max_frame_size(longest)
        .on_upgrade(move |socket| async move {
            // A task of ours, not of the upgrade's.
            let tasks = hub.tasks.clone();
            tasks.spawn_brief("line connection", hold(hub, identity, credential, socket));
        })
}

async fn hold(hub: Arc<LineHub>, identity: Identity, credential: HeaderMap, socket: WebSocket) {
    let (mut to_client, mut from_client) = socket.split();
    let (read, incoming) = mpsc::channel::<Bytes>(MESSAGES_MAX);
    let (outgoing, mut written) = mpsc::channel::<Bytes>(MESSAGES_MAX);
    let name = match &identity {
        Identity::Branch(branch) => branch.clone(),
        Identity::Unchecked => "(unchecked)".to_owned(),
    };
    let allowed = {
        let (hub, identity) = (hub.clone(), identity.clone());
        move || hub.ingest.credentials().identify(&credential).as_ref() == Some(&identity)
    };
    let stop = hub.tasks.token().clone();
    let over = CancellationToken::new();
    let serving = async {
        let ended = hub.serve(identity, allowed, incoming, outgoing, stop).await;
        over.cancel();
        ended
    };
    let reading = over.run_until_cancelled(async {
        while let Some(Ok(message)) = from_client.next().await {
            let message = match message {
                Message::Binary(bytes) => bytes,
                // No message of ours: refused as one.
                Message::Text(_) => Bytes::new(),
                // Answered by the library.
                Message::Ping(_) | Message::Pong(_) => continue,
                Message::Close(_) => break,
            };
            if read.send(message).await.is_err() {
                // The connection is over: what still comes is not for anybody.
                break;
            }
        }
        drop(read);
    });
    let writing = async {
        while let Some(bytes) = written.recv().await {
            let sending = to_client.send(Message::Binary(bytes));
            let sent = tokio::select! {
                sent = sending => sent.is_ok(),
                () = hub.clock.sleep(SENDING_MAX) => false,
            };
            if !sent {
                break;
            }
        }
        // Nobody writes any more: the connection notices at its next reply.
        written.close();
        to_client
    };
    let (_, mut to_client, ended) = tokio::join!(reading, writing, serving);
    match &ended {
        Ended::Left | Ended::Stopping | Ended::Idle => {
            tracing::debug!(branch = name, "line connection ended: {ended}")
        }
        _ => tracing::warn!(branch = name, "line connection closed: {ended}"),
    }
    let close = Message::Close(Some(CloseFrame {
        code: code_of(&ended),
        reason: reason(&ended.to_string()).into(),
    }));
    tokio::select! {
        _ = to_client.send(close) => {}
        () = hub.clock.sleep(CLOSING_MAX) => {}
    }
}

fn code_of(ended: &Ended) -> u16 {
    match ended {
        Ended::Left => close_code::NORMAL,
        Ended::Stopping => close_code::RESTART,
        Ended::Idle | Ended::TakenOver => close_code::AWAY,
        Ended::Revoked | Ended::Refused(_) => close_code::POLICY,
        Ended::Broken(_) => close_code::INVALID,
        Ended::Failed(_) => close_code::ERROR,
    }
}

/// A control frame has room for so much.
fn reason(text: &str) -> String {
    const BYTES_MAX: usize = 123;
    let mut end = text.len().min(BYTES_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].to_owned()
}
