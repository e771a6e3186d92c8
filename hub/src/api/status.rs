//! `/api/v1/status/*`, `/version`, `/-/reload`.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use daemon::http::MetricsText;
use serde_json::{Value, json};

use super::error::ApiError;
use super::json::{rfc3339, success_value};
use super::params::Params;
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

/// Entries of each list of `/status/tsdb`, as in Prometheus.
const TOP_DEFAULT: usize = 10;
const TOP_MAX: usize = 10_000;

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

/// Of everything stored: the hub's store has no head that would be apart.
pub(crate) async fn tsdb(
    State(state): State<Arc<HubState>>,
    params: Params,
) -> Result<Response, ApiError> {
    let limit = match params.get("limit").map(str::parse::<usize>) {
        None => TOP_DEFAULT,
        Some(Ok(limit)) if (1..=TOP_MAX).contains(&limit) => limit,
        Some(_) => {
            let why = format!("must be a number from 1 to {TOP_MAX}");
            return Err(ApiError::bad_parameter("limit", why));
        }
    };
    let (stats, top) =
        daemon::blocking(move || (state.store.stats(), state.store.cardinality(limit))).await;
    let list = |all: &[(String, u64)]| -> Vec<Value> {
        let all = all.iter();
        all.map(|(name, value)| json!({"name": name, "value": value}))
            .collect()
    };
    let (oldest, newest) = stats
        .time
        .map_or((0, 0), |(first, last)| (first.millis(), last.millis()));
    let by_scope: Vec<_> = stats
        .series_by_scope
        .iter()
        .map(|(name, value)| json!({"name": name, "value": value}))
        .collect();
    Ok(success_value(&json!({
        "headStats": {
            "numSeries": stats.series,
            "numLabelPairs": top.label_pairs,
            "chunkCount": stats.parts,
            "minTime": oldest,
            "maxTime": newest,
        },
        "seriesCountByMetricName": list(&top.series_by_metric),
        "labelValueCountByLabelName": list(&top.values_by_label),
        "memoryInBytesByLabelName": list(&top.bytes_by_label),
        "seriesCountByLabelValuePair": list(&top.series_by_pair),
        "seriesCountByBranch": by_scope,
    })))
}

/// The parts, which are this store's blocks.
pub(crate) async fn blocks(State(state): State<Arc<HubState>>) -> Response {
    let parts = daemon::blocking(move || state.store.parts()).await;
    let block = |part: &tsdb::PartInfo| {
        let ulid = ulid(part.first.millis(), part.number);
        json!({
            "ulid": ulid,
            "minTime": part.first.millis(),
            // As in Prometheus: the first millisecond behind it.
            "maxTime": part.last.millis().saturating_add(1),
            "stats": {"numSamples": part.samples, "numSeries": part.series, "numBytes": part.bytes},
            "compaction": {"level": u32::from(part.level) + 1, "sources": [ulid]},
            "version": 1,
        })
    };
    let blocks: Vec<Value> = parts.iter().map(block).collect();
    success_value(&json!({"blocks": blocks}))
}

/// A ULID: 48 bits of time, then 80 that tell parts apart. 26 digits to the base of 32.
fn ulid(millis: i64, number: u64) -> String {
    const DIGITS: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
    let time = u128::try_from(millis).unwrap_or(0) & ((1 << 48) - 1);
    let bits = time << 80 | u128::from(number);
    let digit = |at: u32| char::from(DIGITS[(bits >> (5 * at)) as usize & 31]);
    (0..26).rev().map(digit).collect()
}

/// The hub's own metrics that the pattern names, as the JSON of the protobuf messages that a scrape would get.
pub(crate) async fn self_metrics(
    State(metrics): State<MetricsText>,
    params: Params,
) -> Result<Response, ApiError> {
    let pattern = params.get("metric_name_pattern").unwrap_or(".*");
    let pattern = model::re2::Re2::anchored(pattern)
        .map_err(|error| ApiError::bad_parameter("metric_name_pattern", error))?;
    let text = daemon::blocking(move || metrics()).await;
    Ok(success_value(&super::self_metrics::families(
        &text, &pattern,
    )))
}

pub(crate) async fn wal_replay() -> Response {
    success_value(&json!({"min": 0, "max": 0, "current": 0}))
}

pub(crate) async fn reload_is_a_post() -> Response {
    let text = "Only POST or PUT requests allowed\n";
    (StatusCode::METHOD_NOT_ALLOWED, text).into_response()
}

/// `/-/quit`: the hub ends by a signal, and over HTTP for nobody.
pub(crate) async fn quit() -> Response {
    let text = "Lifecycle API is not enabled.\n";
    (StatusCode::FORBIDDEN, text).into_response()
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
