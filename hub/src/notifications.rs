//! What people should know who look at this hub: `/api/v1/notifications`, and as it happens under `/live`.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use daemon::Clock;
use model::Timestamp;
use serde_json::{Value, json};
use tokio::sync::broadcast;
use tokio_util::sync::CancellationToken;

use crate::api::rfc3339;

/// In Prometheus's words.
pub(crate) const RELOAD_FAILED: &str = "Configuration reload has failed.";
/// In Prometheus's words.
pub(crate) const STOPPING: &str =
    "Prometheus is shutting down and gracefully stopping all operations.";
/// Who may listen at a time, as in Prometheus.
pub(crate) const LISTENERS_MAX: usize = 16;
/// News that a listener may be behind; one that is more loses the oldest.
const NEWS_MAX: usize = 32;

/// A text, since when it is so, and whether it still is.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Notification {
    text: &'static str,
    date: Timestamp,
    active: bool,
}

/// What is so now.
pub(crate) struct Notifications {
    active: Mutex<BTreeMap<&'static str, Timestamp>>,
    news: broadcast::Sender<Notification>,
    clock: Arc<dyn Clock>,
    /// Ends the listeners.
    pub(crate) stopping: CancellationToken,
}

impl Notification {
    pub(crate) fn json(&self) -> Value {
        json!({"text": self.text, "date": rfc3339(self.date), "active": self.active})
    }
}

impl Notifications {
    pub(crate) fn new(clock: Arc<dyn Clock>, stopping: CancellationToken) -> Self {
        Notifications {
            active: Mutex::default(),
            news: broadcast::channel(NEWS_MAX).0,
            clock,
            stopping,
        }
    }

    /// Says whether it is so from now on.
    pub(crate) fn set(&self, text: &'static str, active: bool) {
        let mut all = self.active.lock().unwrap_or_else(PoisonError::into_inner);
        let known = all.get(text).copied();
        if known.is_some() == active {
            return;
        }
        let date = known.unwrap_or_else(|| self.clock.now());
        match active {
            true => all.insert(text, date),
            false => all.remove(text),
        };
        // Nobody may be listening. In the order of the changes: the lock is held.
        let _ = self.news.send(Notification { text, date, active });
    }

    /// What is so now.
    pub(crate) fn list(&self) -> Vec<Notification> {
        let all = self.active.lock().unwrap_or_else(PoisonError::into_inner);
        listed(&all)
    }

    /// What is so now, and what comes; None when enough are listening.
    pub(crate) fn listen(&self) -> Option<(Vec<Notification>, broadcast::Receiver<Notification>)> {
        let all = self.active.lock().unwrap_or_else(PoisonError::into_inner);
        if self.news.receiver_count() >= LISTENERS_MAX {
            return None;
        }
        Some((listed(&all), self.news.subscribe()))
    }
}

fn listed(all: &BTreeMap<&'static str, Timestamp>) -> Vec<Notification> {
    let notification = |(text, date): (&&'static str, &Timestamp)| Notification {
        text,
        date: *date,
        active: true,
    };
    all.iter().map(notification).collect()
}
