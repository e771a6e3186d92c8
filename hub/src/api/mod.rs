//! The Prometheus HTTP API over the hub's store, as far as it is there: a path that is not answers 404.
//!
//! Handlers read parameters, call the engines off the async threads, and write JSON. When a client leaves, its
//! query stops.

mod admin;
mod cors;
mod error;
mod federate;
mod json;
mod labels;
mod params;
mod query;
mod remote_read;
mod rules;
mod status;
mod targets;

use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get, post};
use tower_http::compression::CompressionLayer;

pub(crate) use cors::cors;
pub(crate) use error::ApiError;
pub(crate) use params::Params;
pub(crate) use query::Queries;
pub(crate) use remote_read::{RemoteReads, routes as remote_read};

use crate::state::HubState;

/// All paths that read.
pub(crate) fn routes(state: &Arc<HubState>) -> Router {
    Router::new()
        .route("/api/v1/query", get(query::instant).post(query::instant))
        .route("/api/v1/query_range", get(query::range).post(query::range))
        .route(
            "/api/v1/query_exemplars",
            get(query::exemplars).post(query::exemplars),
        )
        .route(
            "/api/v1/format_query",
            get(query::format).post(query::format),
        )
        .route("/api/v1/parse_query", get(query::tree).post(query::tree))
        .route("/api/v1/series", get(labels::series).post(labels::series))
        .route("/api/v1/labels", get(labels::names).post(labels::names))
        .route("/api/v1/label/{name}/values", get(labels::values))
        .route("/api/v1/metadata", get(labels::metadata))
        .route("/api/v1/rules", get(rules::rules))
        .route("/api/v1/alerts", get(rules::alerts))
        .route("/api/v1/alertmanagers", get(rules::alertmanagers))
        .route("/api/v1/targets", get(targets::targets))
        .route("/api/v1/status/buildinfo", get(status::build_info))
        .route("/api/v1/status/runtimeinfo", get(status::runtime_info))
        .route("/api/v1/status/config", get(status::config))
        .route("/api/v1/status/flags", get(status::flags))
        .route("/api/v1/status/tsdb", get(status::tsdb))
        .route("/api/v1/status/walreplay", get(status::wal_replay))
        .route("/federate", get(federate::federate))
        .route("/version", get(status::version))
        .layer(CompressionLayer::new())
        .with_state(state.clone())
}

/// `/-/reload`: the same as SIGHUP.
pub(crate) fn lifecycle(state: &Arc<HubState>) -> Router {
    Router::new()
        .route(
            "/-/reload",
            post(status::reload)
                .put(status::reload)
                .get(status::reload_is_a_post),
        )
        .with_state(state.clone())
}

/// What changes the store by hand.
pub(crate) fn administration(state: &Arc<HubState>) -> Router {
    let routes: [(&str, MethodRouter<Arc<HubState>>); 3] = [
        (
            "delete_series",
            post(admin::delete_series).put(admin::delete_series),
        ),
        (
            "clean_tombstones",
            post(admin::clean_tombstones).put(admin::clean_tombstones),
        ),
        ("snapshot", post(admin::snapshot).put(admin::snapshot)),
    ];
    let mut router = Router::new();
    for (name, route) in routes {
        router = router.route(&format!("{}tsdb/{name}", admin::PATHS), route);
    }
    router.with_state(state.clone())
}

/// What there is not.
pub(crate) async fn not_found() -> (StatusCode, &'static str) {
    (StatusCode::NOT_FOUND, "404 page not found\n")
}

/// Paths for which reading needs no credential: writers have their own, and probes have none.
const OPEN_PATHS: [&str; 4] = [
    "/-/healthy",
    "/-/ready",
    "/api/v1/write",
    "/api/v1/otlp/v1/metrics",
];

/// What is posted there does something.
const ACTING_PATHS: [&str; 3] = ["/-/reload", "/api/v1/webhook", "/api/v2/alerts"];

/// Lets those in who may read. With no readers configured everybody may; a hub that listens beyond loopback
/// has refused to start that way unless told otherwise.
pub(crate) async fn readers_only(
    State(state): State<Arc<HubState>>,
    request: Request,
    next: Next,
) -> Response {
    let path = request.uri().path();
    let acts = ACTING_PATHS.contains(&path) && request.method() != Method::GET;
    let administers = path.starts_with(admin::PATHS) && state.loaded().admin_api;
    if administers && !state.may_administer(request.headers()) {
        let text = "no administrator has this token: give it as bearer token, or as the password of basic auth (branchline.admins of the hub)\n";
        return unauthorized(text);
    }
    let allowed = match acts {
        true => state.may_act(request.headers()),
        false => administers || OPEN_PATHS.contains(&path) || state.may_read(request.headers()),
    };
    if allowed {
        return next.run(request).await;
    }
    let text = "no reader has this token: give it as bearer token, or as the password of basic auth (branchline.readers of the hub)\n";
    unauthorized(text)
}

fn unauthorized(text: &'static str) -> Response {
    // Basic, so that a browser asks.
    let challenge = [(header::WWW_AUTHENTICATE, "Basic realm=\"branchline\"")];
    (StatusCode::UNAUTHORIZED, challenge, text).into_response()
}
