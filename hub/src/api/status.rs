//! `/api/v1/status/*`, `/version`, `/-/reload`.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::json::{rfc3339, success_value};
use crate::state::HubState;

/// Grafana looks at `version` to know what it may ask for, and takes a server with `features` for Mimir: so
/// there are none.
fn build() -> Value {
    json!({
        "version": PROMETHEUS_VERSION,
        "revision": daemon::VERSION,
        "branch": "branchline",
        "buildUser": "",
        "buildDate": "",
        "goVersion": "",
    })
}

/// The Prometheus release whose API this is.
const PROMETHEUS_VERSION: &str = "3.14.0";

pub(crate) async fn build_info() -> Response {
    success_value(&build())
}

pub(crate) async fn version() -> Response {
    axum::Json(build()).into_response()
}

pub(crate) async fn runtime_info(State(state): State<Arc<HubState>>) -> Response {
    let loaded = state.loaded();
    let store = state.store.clone();
    let stats = daemon::blocking(move || store.stats()).await;
    success_value(&json!({
        "startTime": rfc3339(state.started_at),
        "CWD": std::env::current_dir().map(|path| path.display().to_string()).unwrap_or_default(),
        "hostname": std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default().trim(),
        "serverTime": rfc3339(state.clock.now()),
        "reloadConfigSuccess": loaded.success,
        "lastConfigTime": rfc3339(loaded.loaded_at),
        "corruptionCount": stats.parts_quarantined + stats.records_lost,
        "goroutineCount": 0,
        "GOMAXPROCS": std::thread::available_parallelism().map_or(1, usize::from),
        "GOMEMLIMIT": 0,
        "GOGC": "",
        "GODEBUG": "",
        "storageRetention": loaded.retention_text(),
    }))
}

pub(crate) async fn config(State(state): State<Arc<HubState>>) -> Response {
    success_value(&json!({"yaml": state.loaded().yaml_without_secrets}))
}

pub(crate) async fn flags(State(state): State<Arc<HubState>>) -> Response {
    success_value(&json!(state.flags))
}

pub(crate) async fn tsdb(State(state): State<Arc<HubState>>) -> Response {
    let stats = daemon::blocking(move || state.store.stats()).await;
    let (oldest, newest) = stats
        .time
        .map_or((0, 0), |(first, last)| (first.millis(), last.millis()));
    let by_scope: Vec<_> = stats
        .series_by_scope
        .iter()
        .map(|(name, value)| json!({"name": name, "value": value}))
        .collect();
    success_value(&json!({
        "headStats": {
            "numSeries": stats.series,
            "numLabelPairs": 0,
            "chunkCount": stats.parts,
            "minTime": oldest,
            "maxTime": newest,
        },
        "seriesCountByMetricName": [],
        "labelValueCountByLabelName": [],
        "memoryInBytesByLabelName": [],
        "seriesCountByLabelValuePair": [],
        "seriesCountByBranch": by_scope,
    }))
}

pub(crate) async fn wal_replay() -> Response {
    success_value(&json!({"min": 0, "max": 0, "current": 0}))
}

pub(crate) async fn reload_is_a_post() -> Response {
    let text = "Only POST or PUT requests allowed\n";
    (StatusCode::METHOD_NOT_ALLOWED, text).into_response()
}

pub(crate) async fn reload(State(state): State<Arc<HubState>>) -> Response {
    match state.reload().await {
        Ok(()) => StatusCode::OK.into_response(),
        Err(error) => (
            StatusCode::INTERNAL_SERVER_ERROR,
            format!("failed to reload config: {error:#}\n"),
        )
            .into_response(),
    }
}
