//! What is pending, for whom, and why: the answer of `GET /api/v1/outbox`.

use std::collections::BTreeMap;

use model::{Alert, Timestamp};
use serde::Serialize;
use wire::alertmanager::format_rfc3339;

use super::lane::{DestinationId, Lane};
use super::{Entry, EntryId, Now, Outbox, Payload};

/// Entries listed for each destination; the count says how many there are.
const ENTRIES_SHOWN: usize = 100;

/// The outbox, for people and metrics.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct OutboxStatus {
    /// Alerts and notices known.
    pub entries: usize,
    /// Most that may be known.
    pub entries_max: usize,
    /// Their size.
    pub bytes: usize,
    /// Largest size.
    pub bytes_max: usize,
    /// By kind, then name.
    pub destinations: Vec<DestinationStatus>,
}

/// One destination.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DestinationStatus {
    /// `alertmanager` or `contact`, and its name.
    #[serde(flatten)]
    pub id: DestinationId,
    /// How it is doing.
    #[serde(flatten)]
    pub state: LaneState,
    /// Entries that it has not acknowledged.
    pub pending: usize,
    /// The longest time that one of them has been waiting, in seconds.
    pub oldest_pending_seconds: f64,
    /// Entries acknowledged since the start.
    pub delivered_total: u64,
    /// Requests that failed since the start.
    pub failures_total: u64,
    /// Entries that it refused for good since the start.
    pub refused_total: u64,
    /// Entries that ended before it took them, since the start.
    pub expired_total: u64,
    /// Why and when it last refused something.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_refusal: Option<String>,
    /// The first of the pending entries, oldest first.
    pub first_pending: Vec<EntryStatus>,
}

/// How a destination is doing.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "state", rename_all = "camelCase")]
pub enum LaneState {
    /// Its last answer was good, or it has not been needed yet.
    Ok,
    /// It does not take anything.
    #[serde(rename_all = "camelCase")]
    Failing {
        /// Since when.
        since: String,
        /// How often it was tried.
        attempts: u32,
        /// What happened last.
        reason: String,
        /// In how many seconds it is tried again.
        next_attempt_seconds: f64,
    },
}

/// One pending entry.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct EntryStatus {
    /// Of the alert.
    pub labels: BTreeMap<String, String>,
    /// `firing` or `resolved`.
    pub status: String,
    /// When its latest state came in.
    pub received_at: String,
    /// When it leaves even if it was not delivered.
    pub expires_at: String,
}

impl Outbox {
    pub(crate) fn status(&self, now: Now) -> OutboxStatus {
        OutboxStatus {
            entries: self.entries.len(),
            entries_max: self.limits.entries_max,
            bytes: self.bytes,
            bytes_max: self.limits.bytes_max,
            destinations: (self.lanes.iter())
                .map(|(id, lane)| destination(id, lane, &self.entries, now))
                .collect(),
        }
    }

    /// Alerts that are known, and when they were last reported.
    pub(crate) fn alerts(&self) -> impl Iterator<Item = (&Alert, Timestamp)> {
        self.entries
            .values()
            .filter_map(|entry| match &entry.payload {
                Payload::Alert(alert) => Some((alert, entry.received_at)),
                Payload::Notice { .. } => None,
            })
    }
}

fn destination(
    id: &DestinationId,
    lane: &Lane,
    entries: &BTreeMap<EntryId, Entry>,
    now: Now,
) -> DestinationStatus {
    let pending = || lane.pending.values().filter_map(|id| entries.get(id));
    let oldest = pending().map(|e| e.received_at).min();
    DestinationStatus {
        id: id.clone(),
        state: match &lane.failing {
            None => LaneState::Ok,
            Some(failing) => LaneState::Failing {
                since: format_rfc3339(failing.since),
                attempts: failing.attempts,
                reason: failing.reason.clone(),
                next_attempt_seconds: failing.next_at.saturating_sub(now.elapsed).as_secs_f64(),
            },
        },
        pending: lane.pending.len(),
        oldest_pending_seconds: oldest.map_or(0.0, |t| now.wall.saturating_since(t).as_secs_f64()),
        delivered_total: lane.delivered,
        failures_total: lane.failures,
        refused_total: lane.refused,
        expired_total: lane.expired,
        last_refusal: (lane.last_refusal.as_ref())
            .map(|(at, reason)| format!("{}: {reason}", format_rfc3339(*at))),
        first_pending: pending()
            .take(ENTRIES_SHOWN)
            .map(|e| entry(e, now))
            .collect(),
    }
}

fn entry(entry: &Entry, now: Now) -> EntryStatus {
    let (labels, status) = match &entry.payload {
        Payload::Alert(alert) => {
            let labels = alert
                .labels
                .iter()
                .map(|(n, v)| (n.to_owned(), v.to_owned()))
                .collect();
            let status = if alert.is_resolved(now.wall) {
                "resolved"
            } else {
                "firing"
            };
            (labels, status.to_owned())
        }
        Payload::Notice { alert, .. } => (alert.labels.clone(), alert.status.clone()),
    };
    EntryStatus {
        labels,
        status,
        received_at: format_rfc3339(entry.received_at),
        expires_at: format_rfc3339(entry.expires_at),
    }
}
