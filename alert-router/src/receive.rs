//! What the router answers over HTTP.
//!
//! | path | who | answer |
//! |---|---|---|
//! | `POST /api/v2/alerts` | Prometheus, vmalert, other hubs | 200 once kept; 400 names alerts that are wrong (the others are taken); 503: try again |
//! | `GET /api/v2/alerts` | people, amtool | the alerts that are known |
//! | `POST /api/v1/webhook` | an Alertmanager's webhook receiver | 200 `{"forwarded":n,"unrouted":n}` once kept; 503: try again |
//! | `GET /api/v1/outbox` | people | what is pending, for whom, and why |

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use daemon::http::common_routes;
use wire::alertmanager::{
    AlertState, AlertStatus, BodyError, GettableAlert, PostLimits, Webhook, parse_posted,
};

use crate::metrics;
use crate::router::{RouterHandle, SendError};

/// The router's own paths, for a server of its own or for the hub's.
pub fn routes(router: RouterHandle) -> Router {
    let limits = PostLimits::default();
    Router::new()
        .route("/api/v2/alerts", post(post_alerts).get(get_alerts))
        .route("/api/v1/webhook", post(post_webhook))
        .route("/api/v1/outbox", get(get_outbox))
        .layer(DefaultBodyLimit::max(limits.body_bytes_max))
        .with_state(router)
}

/// The webhook receiver alone, for a hub that answers the other paths itself.
pub fn webhook_routes(router: RouterHandle) -> Router {
    Router::new()
        .route("/api/v1/webhook", post(post_webhook))
        .layer(DefaultBodyLimit::max(PostLimits::default().body_bytes_max))
        .with_state(router)
}

/// `/-/healthy`, `/-/ready`, `/metrics`.
pub(crate) fn common(router: RouterHandle) -> Router {
    let health = router.health().clone();
    let registry = Arc::new(metrics::registry(router));
    common_routes(
        "Alert Router",
        health,
        Arc::new(move || daemon::metrics::encode(&registry)),
    )
}

async fn post_alerts(State(router): State<RouterHandle>, body: Bytes) -> Response {
    let (now, timeout) = (router.now(), router.resolve_timeout());
    let parsed =
        daemon::blocking(move || parse_posted(&body, now, timeout, &PostLimits::default())).await;
    let parsed = match parsed {
        Ok(parsed) => parsed,
        Err(error @ BodyError::TooLong { .. }) => {
            return (StatusCode::PAYLOAD_TOO_LARGE, error.to_string()).into_response();
        }
        Err(error) => return (StatusCode::BAD_REQUEST, error.to_string()).into_response(),
    };
    let (mut alerts, mut wrong) = (Vec::new(), Vec::new());
    for alert in parsed {
        match alert {
            Ok(posted) => alerts.push(posted.alert),
            Err(refusal) => wrong.push(refusal.to_string()),
        }
    }
    if let Err(error) = router.send(alerts).await {
        return unavailable(&error);
    }
    match wrong.is_empty() {
        true => StatusCode::OK.into_response(),
        false => (StatusCode::BAD_REQUEST, wrong.join("; ")).into_response(),
    }
}

/// In no case may the sender take it for done.
fn unavailable(error: &SendError) -> Response {
    (StatusCode::SERVICE_UNAVAILABLE, error.to_string()).into_response()
}

async fn get_alerts(State(router): State<RouterHandle>) -> Response {
    let now = router.now();
    let known = router.alerts().await;
    let shown: Vec<GettableAlert> = (known.iter())
        .filter(|(alert, _)| !alert.is_resolved(now))
        .map(|(alert, updated_at)| {
            let status = AlertStatus {
                state: AlertState::Active,
                ..AlertStatus::default()
            };
            GettableAlert::new(alert, status, Vec::new(), *updated_at)
        })
        .collect();
    Json(shown).into_response()
}

async fn post_webhook(State(router): State<RouterHandle>, body: Bytes) -> Response {
    let message = match daemon::blocking(move || Webhook::parse(&body)).await {
        Ok(message) => message,
        Err(error) => return (StatusCode::BAD_REQUEST, error).into_response(),
    };
    match router.notify(message).await {
        Ok(forwarded) => Json(forwarded).into_response(),
        Err(error) => unavailable(&error),
    }
}

async fn get_outbox(State(router): State<RouterHandle>) -> Response {
    match router.status().await {
        Some(status) => Json(status).into_response(),
        None => unavailable(&SendError::Stopping),
    }
}
