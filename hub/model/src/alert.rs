use std::collections::BTreeMap;

use crate::{LabelSet, Timestamp};

/// An alert as it travels to Alertmanager: what is wrong, since when, and until when it is to be believed.
#[derive(Clone, Debug, PartialEq)]
pub struct Alert {
    /// Identity, `alertname` included.
    pub labels: LabelSet,
    /// Text for people.
    pub annotations: BTreeMap<String, String>,
    /// When it began to fire.
    pub starts_at: Timestamp,
    /// When it ended, or until when a firing alert lives unless it is sent again. None: not said by the
    /// source; the receiver's resolve timeout then decides.
    pub ends_at: Option<Timestamp>,
    /// Where a person can look at the expression; empty when not said.
    pub generator_url: String,
}

impl Alert {
    /// Whether it has ended by `now`.
    pub fn is_resolved(&self, now: Timestamp) -> bool {
        self.ends_at.is_some_and(|end| end <= now)
    }

    /// What two reports of the same alert have in common.
    pub fn fingerprint(&self) -> u64 {
        self.labels.fingerprint()
    }
}
