//! The Prometheus HTTP API over the hub's store, as far as it is there: a path that is not answers 404.
//!
//! Handlers read parameters, call the engines off the async threads, and write JSON. When a client leaves, its
//! query stops.

mod admin;
mod asker;
mod cors;
mod error;
mod features;
mod federate;
mod federation;
mod json;
mod labels;
mod missing;
mod notifications;
mod openapi;
mod params;
mod query;
mod range_cache;
mod remote_read;
mod result;
mod rules;
mod search;
mod self_metrics;
mod status;
mod stream;
mod targets;

use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get, post};
use daemon::config::yaml;
use daemon::web::SignIn;
use tower_http::compression::CompressionLayer;
use tower_http::compression::predicate::{DefaultPredicate, NotForContentType, Predicate};

use daemon::http::{Health, MetricsText};

pub use cors::CorsOrigin;
pub(crate) use cors::cors;
pub(crate) use error::ApiError;
pub(crate) use json::rfc3339;
pub(crate) use params::Params;
pub(crate) use query::Queries;
pub(crate) use range_cache::RangeCache;
pub(crate) use remote_read::{RemoteReads, routes as remote_read};
pub(crate) use result::stats_json;

use crate::state::{HubState, Wish};

/// All paths that read.
pub(crate) fn routes(state: &Arc<HubState>, metrics: MetricsText) -> Router {
    // Lines of a search are read as they come: packing would hold them back.
    let by_kind = DefaultPredicate::new().and(NotForContentType::new("application/x-ndjson"));
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
        .route("/api/v1/notifications", get(notifications::list))
        .route("/api/v1/notifications/live", get(notifications::live))
        .route("/api/v1/targets", get(targets::targets))
        .route("/api/v1/targets/metadata", get(targets::metadata))
        .route("/api/v1/targets/relabel_steps", get(targets::relabel_steps))
        .route("/api/v1/scrape_pools", get(targets::pools))
        .route("/api/v1/scrape_pools/config", get(targets::pool_config))
        .route(
            "/api/v1/search/metric_names",
            get(search::metric_names).post(search::metric_names),
        )
        .route(
            "/api/v1/search/label_names",
            get(search::label_names).post(search::label_names),
        )
        .route(
            "/api/v1/search/label_values",
            get(search::label_values).post(search::label_values),
        )
        .route("/api/v1/features", get(features::features))
        .route("/api/v1/openapi.yaml", get(openapi::document))
        .route("/api/v1/status/tsdb/blocks", get(status::blocks))
        .route("/api/v1/status/buildinfo", get(status::build_info))
        .route("/api/v1/status/runtimeinfo", get(status::runtime_info))
        .route("/api/v1/status/config", get(status::config))
        .route("/api/v1/status/flags", get(status::flags))
        .route("/api/v1/status/tsdb", get(status::tsdb))
        .route("/api/v1/status/walreplay", get(status::wal_replay))
        .route("/api/v1/federation/branches", get(federation::branches))
        .route("/api/v1/federation/ledger", get(federation::ledger))
        .route("/federate", get(federate::federate))
        .route("/version", get(status::version))
        .with_state(state.clone())
        .route(
            "/api/v1/status/self_metrics",
            get(status::self_metrics).with_state(metrics),
        )
        .layer(CompressionLayer::new().compress_when(by_kind))
}

/// `/-/reload`: the same as SIGHUP. `/-/quit` is not there to be used.
pub(crate) fn lifecycle(state: &Arc<HubState>) -> Router {
    Router::new()
        .route(
            "/-/reload",
            post(status::reload)
                .put(status::reload)
                .get(status::reload_is_a_post),
        )
        .route(
            "/-/quit",
            post(status::quit)
                .put(status::quit)
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
    let forget = post(admin::forget_edge).put(admin::forget_edge);
    router = router.route(&format!("{}federation/forget_edge", admin::PATHS), forget);
    router.with_state(state.clone())
}

/// What there is not.
pub(crate) async fn not_found() -> (StatusCode, &'static str) {
    (StatusCode::NOT_FOUND, "404 page not found\n")
}

/// Paths that answer also while the hub starts and stops.
const EARLY_PATHS: [&str; 7] = [
    "/-/healthy",
    "/-/ready",
    "/metrics",
    "/version",
    "/api/v1/status/walreplay",
    "/api/v1/notifications",
    "/api/v1/notifications/live",
];

/// While the hub starts and stops it answers 503, as Prometheus does, and says which it is.
pub(crate) async fn only_when_ready(
    State(health): State<Health>,
    request: Request,
    next: Next,
) -> Response {
    match health.is_ready() || EARLY_PATHS.contains(&request.uri().path()) {
        true => next.run(request).await,
        false => health.not_ready().into_response(),
    }
}

/// Probes have no credentials.
const OPEN_PATHS: [&str; 2] = ["/-/healthy", "/-/ready"];

/// Writers have credentials of their own, which the ingest looks at.
const WRITING_PATHS: [&str; 3] = [
    "/api/v1/write",
    "/api/v1/otlp/v1/metrics",
    wire::line::link::PATH,
];

/// What is posted there does something.
const ACTING_PATHS: [&str; 3] = ["/-/reload", "/api/v1/webhook", "/api/v2/alerts"];

fn wish(state: &HubState, path: &str, method: &Method) -> Wish {
    if path.starts_with(admin::PATHS) && state.loaded().admin_api {
        Wish::Administer
    } else if OPEN_PATHS.contains(&path) {
        Wish::Probe
    } else if WRITING_PATHS.contains(&path) {
        Wish::Write
    } else if ACTING_PATHS.contains(&path) && method != Method::GET {
        Wish::Act
    } else {
        Wish::Read
    }
}

/// Lets those in who may: by a token of the configuration, or as a user of the web configuration, whose password is
/// looked at last because that is slow. With neither readers nor users everybody may read; a hub that listens beyond
/// loopback has refused to start that way unless told otherwise.
pub(crate) async fn credentials_only(
    State(state): State<Arc<HubState>>,
    request: Request,
    next: Next,
) -> Response {
    let wish = wish(&state, request.uri().path(), request.method());
    if state.token_allows(wish, request.headers()) {
        return next.run(request).await;
    }
    // A branch sees what is known of itself.
    let of_branches = request.uri().path().starts_with(federation::PATHS);
    if of_branches && federation::is_own_token(&state, request.headers()) {
        return next.run(request).await;
    }
    if state.users_may(wish) {
        match state.web.sign_in(request.headers()).await {
            SignIn::User(_) => return next.run(request).await,
            SignIn::Busy => return SignIn::busy(),
            SignIn::NobodyAsked | SignIn::Refused => {}
        }
    }
    unauthorized(match wish {
        Wish::Administer => {
            "no administrator has this token: give it as bearer token, or as the password of basic auth (branchline.admins of the hub)\n"
        }
        _ => {
            "no reader has this token, and no user this password: give a token as bearer token, or as the password of basic auth (branchline.readers of the hub), or name and password of a user (basic_auth_users of its web configuration)\n"
        }
    })
}

fn unauthorized(text: &'static str) -> Response {
    // Basic, so that a browser asks.
    let challenge = [(header::WWW_AUTHENTICATE, "Basic realm=\"branchline\"")];
    (StatusCode::UNAUTHORIZED, challenge, text).into_response()
}
