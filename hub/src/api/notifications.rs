//! `/api/v1/notifications` and `/api/v1/notifications/live`.

use std::collections::VecDeque;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use serde_json::Value;
use tokio::sync::broadcast::error::RecvError;

use super::json::success_value;
use crate::state::HubState;

pub(crate) async fn list(State(state): State<Arc<HubState>>) -> Response {
    let all = state.notifications.list();
    success_value(&all.iter().map(|one| one.json()).collect::<Value>())
}

/// Server-sent events: what is so now, then every change, until the client leaves or the hub stops.
pub(crate) async fn live(State(state): State<Arc<HubState>>) -> Response {
    let Some((now, news)) = state.notifications.listen() else {
        return StatusCode::NO_CONTENT.into_response();
    };
    let stopping = state.notifications.stopping.clone();
    let events = stream::unfold(
        (VecDeque::from(now), news, stopping),
        |(mut now, mut news, stopping)| async move {
            let next = match now.pop_front() {
                Some(next) => next,
                None => loop {
                    match stopping.run_until_cancelled(news.recv()).await? {
                        Ok(next) => break next,
                        Err(RecvError::Lagged(_)) => {}
                        Err(RecvError::Closed) => return None,
                    }
                },
            };
            let event = Ok::<_, std::convert::Infallible>(format!("data: {}\n\n", next.json()));
            Some((event, (now, news, stopping)))
        },
    );
    let headers = [
        (header::CONTENT_TYPE, "text/event-stream"),
        (header::CACHE_CONTROL, "no-cache"),
    ];
    (headers, Body::from_stream(events)).into_response()
}
