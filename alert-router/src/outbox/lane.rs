//! One destination's part of the outbox: what it still has to get, and how it is doing.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use model::{Alert, Timestamp};
use serde::{Deserialize, Serialize};
use wire::alertmanager::Webhook;

use super::{Entry, EntryId, Key, Now, Payload, Version};

/// First and longest wait after a failure; each wait is between half of it and all of it.
const BACKOFF_MIN: Duration = Duration::from_secs(1);
const BACKOFF_MAX: Duration = Duration::from_secs(60);
/// About the largest request: Alertmanager reads a body whole before it takes anything of it.
const BATCH_BYTES_MAX: usize = 4 << 20;

/// Where something is to go. The name is stable through reloads, whatever else changes about the destination.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct DestinationId {
    /// What it is.
    pub kind: DestinationKind,
    /// An Alertmanager's URL, or the branch whose contact it is (empty for the default contact).
    pub name: String,
}

/// The two kinds of destinations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DestinationKind {
    /// Gets every alert, as `POST /api/v2/alerts`.
    Alertmanager,
    /// Gets its branch's notifications, as webhook messages.
    Contact,
}

impl DestinationKind {
    /// As it stands in JSON and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            DestinationKind::Alertmanager => "alertmanager",
            DestinationKind::Contact => "contact",
        }
    }
}

impl DestinationId {
    /// The Alertmanager at a URL.
    pub fn alertmanager(url: impl Into<String>) -> Self {
        DestinationId {
            kind: DestinationKind::Alertmanager,
            name: url.into(),
        }
    }

    /// The contact of a branch; the empty name is the default contact.
    pub fn contact(branch: impl Into<String>) -> Self {
        DestinationId {
            kind: DestinationKind::Contact,
            name: branch.into(),
        }
    }
}

impl fmt::Display for DestinationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.kind, self.name.as_str()) {
            (DestinationKind::Alertmanager, url) => write!(f, "Alertmanager {url}"),
            (DestinationKind::Contact, "") => f.write_str("the default contact"),
            (DestinationKind::Contact, branch) => write!(f, "the contact of branch {branch}"),
        }
    }
}

/// How a delivery ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// 2xx: it has it.
    Acknowledged,
    /// It has read the request and says that it is wrong; the same again will not help.
    Refused(String),
    /// It could not be reached, or could not take it now.
    Failed(String),
}

/// A request's worth of entries.
#[derive(Clone, Debug)]
pub(crate) struct Batch {
    pub(crate) entries: Vec<(EntryId, Version)>,
    pub(crate) content: Content,
}

/// What goes into the request.
#[derive(Clone, Debug)]
pub(crate) enum Content {
    Alerts(Vec<Alert>),
    Notice(Box<Webhook>),
}

impl Batch {
    /// None when there is nothing to send. All entries are of one kind; notices are of one group.
    pub(super) fn new(entries: &[(EntryId, &Entry)]) -> Option<Self> {
        let (_, newest) = entries.iter().max_by_key(|(_, e)| e.version)?;
        let content = match &newest.payload {
            Payload::Alert(_) => Content::Alerts(
                (entries.iter())
                    .filter_map(|(_, e)| match &e.payload {
                        Payload::Alert(alert) => Some(alert.clone()),
                        Payload::Notice { .. } => None,
                    })
                    .collect(),
            ),
            Payload::Notice { frame, .. } => {
                let mut message = Box::new(Webhook::clone(frame));
                message.alerts = (entries.iter())
                    .filter_map(|(_, e)| match &e.payload {
                        Payload::Notice { alert, .. } => Some(alert.clone()),
                        Payload::Alert(_) => None,
                    })
                    .collect();
                crate::webhook::summarize(&mut message);
                Content::Notice(message)
            }
        };
        let entries = entries.iter().map(|(id, e)| (*id, e.version)).collect();
        Some(Batch { entries, content })
    }
}

/// Why a destination is waited for.
#[derive(Clone, Debug)]
pub(super) struct Failing {
    pub(super) since: Timestamp,
    pub(super) attempts: u32,
    pub(super) reason: String,
    pub(super) next_at: Duration,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Lane {
    /// What is not acknowledged, oldest state first.
    pub(super) pending: BTreeMap<Version, EntryId>,
    /// The request under way; one at a time, so that states cannot overtake each other.
    pub(super) in_flight: Option<Vec<(EntryId, Version)>>,
    pub(super) failing: Option<Failing>,
    /// Entries of a refused batch, to be sent one by one.
    pub(super) alone: BTreeSet<EntryId>,
    /// It was away: it may have forgotten what it had acknowledged.
    pub(super) resend_when_back: bool,
    pub(super) last_refusal: Option<(Timestamp, String)>,
    pub(super) delivered: u64,
    pub(super) failures: u64,
    pub(super) refused: u64,
    pub(super) expired: u64,
}

impl Lane {
    pub(super) fn may_send(&self, now: Now) -> bool {
        self.in_flight.is_none()
            && !self.pending.is_empty()
            && self
                .failing
                .as_ref()
                .is_none_or(|f| f.next_at <= now.elapsed)
    }

    pub(super) fn wake_in(&self, now: Now) -> Option<Duration> {
        let failing = self.failing.as_ref()?;
        let waits = self.in_flight.is_none() && !self.pending.is_empty();
        waits.then(|| failing.next_at.saturating_sub(now.elapsed))
    }

    /// Whether it had been away.
    pub(super) fn succeeded(&mut self) -> bool {
        self.failing = None;
        std::mem::take(&mut self.resend_when_back)
    }

    pub(super) fn failed(&mut self, reason: String, now: Now, jitter: f64) {
        self.failures += 1;
        self.resend_when_back = true;
        let (since, attempts) = match &self.failing {
            Some(f) => (f.since, f.attempts.saturating_add(1)),
            None => (now.wall, 1),
        };
        let wait = BACKOFF_MIN
            .saturating_mul(1 << (attempts - 1).min(16))
            .min(BACKOFF_MAX);
        let next_at = now.elapsed + wait.mul_f64(0.5 + 0.5 * jitter);
        self.failing = Some(Failing {
            since,
            attempts,
            reason,
            next_at,
        });
    }

    /// The oldest entries that can go together.
    pub(super) fn next_batch(
        &self,
        entries: &BTreeMap<EntryId, Entry>,
        max: usize,
    ) -> Vec<EntryId> {
        let Some(first) = self.pending.values().next() else {
            return Vec::new();
        };
        if self.alone.contains(first) {
            return vec![*first];
        }
        let group = |id: &EntryId| match &entries.get(id)?.key {
            Key::Alert(_) => None,
            Key::Notice { group_key, .. } => Some(group_key),
        };
        let (mut batch, mut bytes) = (Vec::new(), 0);
        for id in self.pending.values() {
            let Some(entry) = entries.get(id) else {
                continue;
            };
            if self.alone.contains(id) || group(id) != group(first) {
                continue;
            }
            bytes += entry.bytes;
            if batch.len() == max || (bytes > BATCH_BYTES_MAX && !batch.is_empty()) {
                break;
            }
            batch.push(*id);
        }
        batch
    }
}
