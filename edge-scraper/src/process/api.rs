//! What the edge answers over HTTP.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{Html, IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use daemon::http::common_routes;
use model::{LabelSet, Timestamp};
use reqwest::Url;
use serde_json::{Value, json};

use super::metrics::EdgeMetrics;
use super::{Drain, EdgeHandle, EdgeStatus, page};
use crate::buffer::Counts;
use crate::forward::{HubStatus, LinkState};
use crate::local::Local;
use crate::push::PushStatus;
use crate::scrape::{PoolStatus, TargetStatus};

/// `users` says whether names are checked before a request comes here.
pub(super) fn routes(edge: &EdgeHandle, users: bool) -> Router {
    let mut registry = daemon::metrics::registry("edge-scraper");
    registry.register_collector(Box::new(EdgeMetrics { edge: edge.clone() }));
    let text = Arc::new(move || daemon::metrics::encode(&registry));
    let not_get = || async {
        (
            StatusCode::METHOD_NOT_ALLOWED,
            "Only POST or PUT requests allowed",
        )
    };
    let inner = &edge.inner;
    let stopping = inner.http.token().clone();
    let local = Local::new(
        Arc::clone(&inner.buffer),
        Arc::clone(&inner.clock),
        stopping,
    );
    Router::new()
        .route("/", get(home))
        .route("/-/reload", post(reload).put(reload).get(not_get))
        .route("/-/retry_quarantined", post(retry).put(retry).get(not_get))
        .route("/api/v1/targets", get(targets))
        .route("/api/v1/status/edge", get(status))
        .with_state(edge.clone())
        .merge(crate::push::routes(Arc::clone(&inner.pushes), users))
        .merge(crate::local::routes(Arc::new(local)))
        .merge(common_routes(
            "Branchline Edge",
            edge.inner.health.clone(),
            text,
        ))
}

async fn reload(State(edge): State<EdgeHandle>) -> Response {
    match edge.reload_file().await {
        Ok(()) => StatusCode::OK.into_response(),
        Err(error) => {
            let text = format!("failed to reload config: {error}\n");
            (StatusCode::INTERNAL_SERVER_ERROR, text).into_response()
        }
    }
}

/// What hubs refused is sent again: whoever mended the reason says so.
async fn retry(State(edge): State<EdgeHandle>) -> Response {
    match daemon::blocking(move || edge.retry_quarantined()).await {
        Ok(released) => {
            let hubs = released.iter().map(|(hub, counts)| {
                json!({"hub": hub, "samples": counts.samples, "markers": counts.markers})
            });
            let hubs: Vec<Value> = hubs.collect();
            Json(json!({"status": "success", "data": hubs})).into_response()
        }
        Err(error) => {
            let text = format!("what was refused stays aside: {error}\n");
            (StatusCode::INTERNAL_SERVER_ERROR, text).into_response()
        }
    }
}

async fn home(State(edge): State<EdgeHandle>) -> Html<String> {
    let now = edge.inner.clock.now();
    let status = daemon::blocking(move || edge.status()).await;
    Html(page::home(&status, now))
}

/// Our own: the books of the buffer and of every hub.
async fn status(State(edge): State<EdgeHandle>) -> Json<Value> {
    let status = daemon::blocking(move || edge.status()).await;
    Json(json!({"status": "success", "data": edge_json(&status)}))
}

fn edge_json(status: &EdgeStatus) -> Value {
    let counts = |counts: &Counts| json!({"samples": counts.samples, "markers": counts.markers});
    let hub = |(hub, drain): (&HubStatus, &Drain)| {
        let (link, error) = match &hub.link {
            LinkState::Connecting => ("connecting", None),
            LinkState::Up => ("up", None),
            LinkState::Down { error } => ("down", Some(error)),
        };
        json!({
            "name": hub.name,
            "address": hub.address,
            "protocol": hub.protocol(),
            // Why it is 1.0 where 2.0 is configured.
            "insteadOf20": hub.instead_of_second,
            "link": link,
            "linkError": error,
            "since": hub.since.map(rfc3339),
            "lastError": hub.last_error.as_ref().map(|(at, error)| json!({"at": rfc3339(*at), "error": error})),
            "lastAnswer": hub.last_answer.map(rfc3339),
            "watermark": hub.watermark.map(rfc3339),
            "roundTripSeconds": hub.round_trip.map(|time| time.as_secs_f64()),
            "clockOffsetSeconds": hub.clock_offset_ms.map(|offset| offset as f64 / 1e3),
            "drain": match drain {
                Drain::UpToDate => "up to date",
                Drain::Within(_) => "draining",
                Drain::NotShrinking => "not shrinking",
                Drain::Unknown => "unknown",
            },
            "drainSeconds": match drain {
                Drain::UpToDate => Some(0),
                Drain::Within(time) => Some(time.as_secs()),
                Drain::NotShrinking | Drain::Unknown => None,
            },
            "scraped": counts(&hub.counts.scraped),
            "before": counts(&hub.counts.before),
            "acknowledged": counts(&hub.counts.acknowledged),
            "pending": counts(&hub.counts.pending.counts),
            "pendingBytes": hub.counts.pending.bytes,
            "oldestPending": hub.counts.pending.oldest.map(rfc3339),
            "quarantined": counts(&hub.counts.quarantined),
            "evicted": counts(&hub.counts.evicted),
            // Of the evicted ones: those that went because scrapes were thinned.
            "thinned": counts(&hub.counts.thinned),
            "damaged": counts(&hub.counts.damaged),
            // Of the acknowledged ones: the other end took their request, and did not say that it wrote them all.
            "unwrittenSamples": hub.unwritten,
            "exemplarsLeft": hub.exemplars_left,
            "balanced": hub.counts.balance(),
        })
    };
    json!({
        "edge": status.edge,
        "startTime": rfc3339(status.started_at),
        // As text: JSON's numbers end at 53 bits in many readers.
        "epoch": status.buffer.epoch.to_string(),
        "scraped": counts(&status.buffer.scraped),
        "refused": counts(&status.buffer.refused),
        "bufferBytes": status.buffer.bytes,
        "bufferBytesMax": status.buffer.bytes_max,
        "bufferOldest": status.oldest.map(rfc3339),
        "bufferError": status.buffer.poisoned,
        "clockCorrectionSeconds": status.clock_correction_ms.map(|correction| correction as f64 / 1e3),
        "configFromDisk": status.from_disk.as_ref().map(|from| json!({
            "at": rfc3339(from.at),
            "why": from.why,
            "whole": from.whole,
        })),
        "discovery": status.pools.iter().flat_map(sources_json).collect::<Vec<_>>(),
        "configLoaded": status.reload.success,
        "hubs": status.hubs.iter().zip(&status.drains).map(hub).collect::<Vec<_>>(),
        "push": push_json(&status.push),
    })
}

/// Groups and sources that are listed; counts are of all.
const LISTED_MAX: usize = 1000;

fn push_json(push: &PushStatus) -> Value {
    let sources = push.sources.iter().map(|source| {
        json!({
            "kind": source.kind.as_str(),
            "from": source.from,
            "requests": source.requests,
            "refused": source.refused,
            "samples": source.samples,
            "last": source.last.map(rfc3339),
            "lastError": source.last_error.as_ref().map(|(at, error)| json!({"at": rfc3339(*at), "error": error})),
        })
    });
    let groups = push.groups.iter().take(LISTED_MAX).map(|group| {
        json!({
            "labels": labels(&group.labels),
            "pushed": group.pushed.map(rfc3339),
            "failed": group.failed.map(rfc3339),
            "series": group.series,
        })
    });
    json!({
        "receivers": push.receivers.iter().map(|kind| kind.as_str()).collect::<Vec<_>>(),
        "sources": sources.collect::<Vec<_>>(),
        "groups": groups.collect::<Vec<_>>(),
        "groupCount": push.groups.len(),
    })
}

fn sources_json(pool: &PoolStatus) -> impl Iterator<Item = Value> + '_ {
    pool.sources.iter().map(|source| {
        json!({
            "scrapePool": pool.name,
            "mechanism": source.mechanism,
            "source": source.source,
            "targets": source.targets,
            "fromDisk": source.from_disk,
            "answeredAt": source.answered_at.map(rfc3339),
            "error": source.error,
        })
    })
}

/// Prometheus's: which targets there are and how their last scrape went.
async fn targets(
    State(edge): State<EdgeHandle>,
    Query(parameters): Query<BTreeMap<String, String>>,
) -> Json<Value> {
    let state = parameters
        .get("state")
        .map(|state| state.to_ascii_lowercase())
        .unwrap_or_default();
    let pool = parameters.get("scrapePool").cloned();
    let data = daemon::blocking(move || edge.targets_json(&state, pool.as_deref())).await;
    Json(json!({"status": "success", "data": data}))
}

pub(super) fn targets_json(pools: &[PoolStatus], state: &str, wanted: &str) -> Value {
    let pools: Vec<&PoolStatus> = pools
        .iter()
        .filter(|pool| wanted.is_empty() || pool.name == wanted)
        .collect();
    let (mut active, mut dropped) = (Vec::new(), Vec::new());
    let mut counts = None;
    if matches!(state, "" | "any" | "active") {
        for pool in &pools {
            active.extend(
                pool.active
                    .iter()
                    .map(|target| target_json(&pool.name, target)),
            );
        }
    }
    if matches!(state, "" | "any" | "dropped") {
        counts = Some(
            pools
                .iter()
                .map(|pool| (pool.name.clone(), pool.dropped_count))
                .collect::<BTreeMap<_, _>>(),
        );
        for pool in &pools {
            let entries = pool.dropped.iter();
            dropped.extend(
                entries.map(
                    |found| json!({"discoveredLabels": labels(found), "scrapePool": pool.name}),
                ),
            );
        }
    }
    json!({"activeTargets": active, "droppedTargets": dropped, "droppedTargetCounts": counts})
}

fn target_json(pool: &str, target: &TargetStatus) -> Value {
    let never = || "0001-01-01T00:00:00Z".to_owned();
    json!({
        "discoveredLabels": labels(&target.discovered),
        "labels": labels(&target.labels),
        "scrapePool": pool,
        "scrapeUrl": target.url.as_str(),
        "globalUrl": global_url(&target.url),
        "lastError": target.last_error.as_deref().unwrap_or_default(),
        "lastScrape": target.last_scrape.map_or_else(never, rfc3339),
        "lastScrapeDuration": target.last_duration.as_secs_f64(),
        "health": target.health.as_str(),
        "scrapeInterval": model::duration::format(target.interval),
        "scrapeTimeout": model::duration::format(target.timeout),
    })
}

fn labels(labels: &LabelSet) -> BTreeMap<&str, &str> {
    labels.iter().collect()
}

/// The URL as others reach it: this machine by its name.
fn global_url(url: &Url) -> String {
    let local = matches!(url.host_str(), Some("localhost" | "127.0.0.1" | "[::1]"));
    let mut global = url.clone();
    if local {
        let name = rustix::system::uname()
            .nodename()
            .to_string_lossy()
            .into_owned();
        // A name that is no host stays out of the URL.
        let _ = global.set_host(Some(&name));
    }
    global.to_string()
}

/// `2026-01-31T12:00:00.25Z`; beyond the years that have one, the milliseconds.
pub(crate) fn rfc3339(at: Timestamp) -> String {
    match jiff::Timestamp::from_millisecond(at.millis()) {
        Ok(at) => at.to_string(),
        Err(_) => at.millis().to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_urls() {
        assert_eq!(
            rfc3339(Timestamp::from_millis(1_435_781_451_250)),
            "2015-07-01T20:10:51.25Z"
        );
        let url = |text: &str| global_url(&Url::parse(text).unwrap());
        assert_eq!(url("http://h:1/metrics"), "http://h:1/metrics");
        assert!(!url("http://localhost:1/metrics").contains("localhost"));
        assert_eq!(
            url("collector://this-process/metrics"),
            "collector://this-process/metrics"
        );
    }
}
