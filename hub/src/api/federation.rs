//! `/api/v1/federation/*`: which branches there are, and which of their time is here. Whoever may read sees all; a branch's
//! own token sees its own.

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use model::Timestamp;
use serde_json::{Value, json};

use super::error::ApiError;
use super::json::{Annotations, rfc3339, success};
use super::params::Params;
use super::query::END_BEFORE_START;
use super::result::TRUNCATED;
use crate::federation::ledger::{EdgeNow, LinkNow, Section};
use crate::federation::{Branch, Sender};
use crate::ingest::Identity;
use crate::state::{HubState, Wish};

type Answer = Result<Response, ApiError>;

/// Below here.
pub(super) const PATHS: &str = "/api/v1/federation/";
/// Intervals in an answer, if it does not ask for fewer.
const INTERVALS_MAX: usize = 50_000;
/// States that intervals may have.
const STATES: [&str; 4] = ["complete", "pending", "unknown", "lost"];

/// Which branches somebody may see.
enum Scope {
    All,
    Only(String),
}

impl Scope {
    fn of(state: &HubState, headers: &HeaderMap) -> Self {
        // Who came as a user of the web configuration has no token.
        let own = || match state.writers.identify(headers) {
            Some(Identity::Branch(branch)) => Some(branch),
            _ => None,
        };
        match state.token_allows(Wish::Read, headers) {
            true => Scope::All,
            false => own().map_or(Scope::All, Scope::Only),
        }
    }

    fn shows(&self, branch: &str) -> bool {
        match self {
            Scope::All => true,
            Scope::Only(own) => own == branch,
        }
    }
}

/// Whether a path may be asked with a branch's own token.
pub(super) fn is_own_token(state: &HubState, headers: &HeaderMap) -> bool {
    state.writers.are_checked() && state.writers.identify(headers).is_some()
}

pub(crate) async fn branches(
    State(state): State<Arc<HubState>>,
    headers: HeaderMap,
    params: Params,
) -> Answer {
    let scope = Scope::of(&state, &headers);
    let asked: BTreeSet<String> = params.all("branch").map(str::to_owned).collect();
    let list = daemon::blocking(move || state.branches.list()).await;
    let shown = list.iter().filter(|branch| {
        scope.shows(&branch.name) && (asked.is_empty() || asked.contains(&branch.name))
    });
    let branches: Vec<Value> = shown.map(branch_json).collect();
    Ok(success(&Annotations::default(), |json| {
        json.raw(&json!({ "branches": branches }).to_string());
    }))
}

fn branch_json(branch: &Branch) -> Value {
    json!({
        "branch": branch.name,
        "state": branch.link.name(),
        "sender": branch.sender.map(|sender| match sender {
            Sender::Edge => "edge",
            Sender::RemoteWrite => "remote_write",
        }),
        "lastSeen": branch.last_seen.map(rfc3339),
        "complete": branch.complete,
        "lagSeconds": branch.lag.map(|lag| lag.as_secs_f64()),
        "pendingSamples": branch.pending_samples,
        "pendingBytes": branch.pending_bytes,
        "oldestPending": branch.oldest_pending.map(rfc3339),
        "evictedSamples": branch.evicted_samples,
        "quarantinedSamples": branch.quarantined_samples,
        "lostSamples": branch.lost_samples,
        "clockOffsetSeconds": branch.clock_offset_ms.map(|offset| offset as f64 / 1e3),
        "clockCorrectionSeconds": branch.clock_correction_ms.map(|correction| correction as f64 / 1e3),
        "roundTripSeconds": branch.round_trip.map(|round_trip| round_trip.as_secs_f64()),
        "storedSamples": branch.stored_samples,
        "refusedRequests": branch.refused_requests,
        "lastRefusal": branch.last_refusal,
        "edges": branch.edges.iter().map(edge_json).collect::<Vec<_>>(),
    })
}

fn edge_json(edge: &EdgeNow) -> Value {
    let time = |ms: i64| rfc3339(Timestamp::from_millis(ms));
    let (book, about) = (&edge.book, &edge.about);
    json!({
        "edge": edge.edge,
        "state": match edge.link {
            LinkNow::Up => "up",
            LinkNow::Draining => "draining",
            LinkNow::Silent => "silent",
        },
        "complete": edge.complete,
        "lastSeen": rfc3339(edge.heard_at),
        // 64 bits: more than a number of JSON holds everywhere.
        "epoch": book.epoch.to_string(),
        "since": book.watermark().map(|_| time(book.since)),
        "scrapedThrough": book.watermark().map(time),
        "oldestPending": book.oldest_pending().map(time),
        "scrapedSamples": book.counts.scraped,
        "unknownToHubSamples": book.counts.before,
        "acknowledgedSamples": book.counts.acknowledged,
        "pendingSamples": book.counts.pending,
        "pendingBytes": book.counts.pending_bytes,
        "quarantinedSamples": book.counts.quarantined,
        "evictedSamples": book.counts.evicted,
        "damagedSamples": book.counts.damaged,
        "storedSamples": book.stored_samples(),
        "lostSamples": book.lost_samples(),
        "bufferBytes": about.buffer_bytes,
        "bufferBytesMax": about.buffer_bytes_max,
        "version": about.version,
        "config": about.config,
        "roundTripSeconds": about.round_trip_us.map(|us| us as f64 / 1e6),
        "clockOffsetSeconds": about.clock_offset_ms.map(|offset| offset as f64 / 1e3),
        "clockCorrectionSeconds": about.clock_correction_ms.map(|correction| correction as f64 / 1e3),
        "lostReportsPercent": about.lost_percent,
    })
}

pub(crate) async fn ledger(
    State(state): State<Arc<HubState>>,
    headers: HeaderMap,
    params: Params,
) -> Answer {
    let now = state.clock.now();
    let start = params.time("start")?.unwrap_or(Timestamp::MIN);
    let end = params.time("end")?.unwrap_or(now);
    if end < start {
        return Err(ApiError::bad_parameter("end", END_BEFORE_START));
    }
    let wanted: BTreeSet<String> = params.all("state").map(str::to_owned).collect();
    if let Some(other) = wanted
        .iter()
        .find(|state| !STATES.contains(&state.as_str()))
    {
        let why = format!("{other:?} is none of {}", STATES.join(", "));
        return Err(ApiError::bad_parameter("state", why));
    }
    let limit = params.limit()?.unwrap_or(INTERVALS_MAX).min(INTERVALS_MAX);
    let scope = Scope::of(&state, &headers);
    let asked: BTreeSet<String> = params.all("branch").map(str::to_owned).collect();
    let (branches, truncated) = daemon::blocking(move || {
        let (mut left, mut truncated, mut branches) = (limit, false, Vec::new());
        for name in state.ledger.branches() {
            if !scope.shows(&name) || !(asked.is_empty() || asked.contains(&name)) {
                continue;
            }
            let mut sections = state.ledger.sections(&name, start, end);
            sections.retain(|s| wanted.is_empty() || wanted.contains(s.state.name()));
            truncated |= sections.len() > left;
            sections.truncate(left);
            left -= sections.len();
            let intervals: Vec<Value> = sections.iter().map(section_json).collect();
            branches.push(json!({"branch": name, "intervals": intervals}));
        }
        (branches, truncated)
    })
    .await;
    let annotations = Annotations {
        warnings: truncated
            .then(|| TRUNCATED.to_owned())
            .into_iter()
            .collect(),
        infos: Vec::new(),
    };
    Ok(success(&annotations, |json| {
        json.raw(&json!({ "branches": branches }).to_string());
    }))
}

/// From its first instant to the one after its last.
fn section_json(section: &Section) -> Value {
    let time = |ms: i64| rfc3339(Timestamp::from_millis(ms));
    json!({
        "state": section.state.name(),
        "start": time(section.start),
        "end": time(section.end),
        "samples": section.samples,
        "reasons": section.reasons,
    })
}
