//! What the journal keeps of the outbox: JSON, one record an entry's state or an acknowledgement. Replaying a log twice,
//! or a part of it after a snapshot of all entries, gives the same outbox. Drawn in FORMAT.md.

use std::sync::Arc;

use model::{LabelSet, Timestamp};
use serde::{Deserialize, Serialize};
use wire::alertmanager::{PostableAlert, Webhook, WebhookAlert, parse_rfc3339};

use super::lane::DestinationId;
use super::{Entry, EntryId, Key, Payload, Version};

/// A record.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Record {
    /// The latest state of an entry.
    Put(Box<Put>),
    /// A destination has these states, or has refused them for good.
    Acknowledged {
        destination: DestinationId,
        entries: Vec<(EntryId, Version)>,
    },
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Put {
    id: EntryId,
    version: Version,
    received_ms: i64,
    expires_ms: i64,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    firing: bool,
    pending: Vec<DestinationId>,
    #[serde(flatten)]
    what: What,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum What {
    Alert(PostableAlert),
    Notice {
        contact: DestinationId,
        frame: Box<Webhook>,
        alert: WebhookAlert,
    },
}

impl Record {
    pub(super) fn put(id: EntryId, entry: &Entry) -> Self {
        let what = match (&entry.payload, &entry.key) {
            (Payload::Notice { alert, frame }, Key::Notice { contact, .. }) => What::Notice {
                contact: contact.clone(),
                frame: Box::new(Webhook::clone(frame)),
                alert: alert.clone(),
            },
            (Payload::Notice { alert, frame }, Key::Alert(_)) => What::Notice {
                contact: DestinationId::contact(""),
                frame: Box::new(Webhook::clone(frame)),
                alert: alert.clone(),
            },
            (Payload::Alert(alert), _) => What::Alert(PostableAlert::from(alert)),
        };
        Record::Put(Box::new(Put {
            id,
            version: entry.version,
            received_ms: entry.received_at.millis(),
            expires_ms: entry.expires_at.millis(),
            firing: entry.firing,
            pending: entry.pending.iter().cloned().collect(),
            what,
        }))
    }

    pub(super) fn acknowledged(
        destination: DestinationId,
        entries: Vec<(EntryId, Version)>,
    ) -> Self {
        Record::Acknowledged {
            destination,
            entries,
        }
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        // Strings, numbers and maps with string keys: nothing that JSON lacks.
        serde_json::to_vec(self).unwrap_or_default()
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(bytes)
    }
}

impl Put {
    /// None for a state that cannot have been written by us.
    pub(super) fn into_entry(self) -> Option<(EntryId, Entry)> {
        let (key, payload) = match self.what {
            What::Alert(posted) => {
                let alert = model::Alert {
                    labels: LabelSet::from_pairs(&posted.labels).ok()?,
                    annotations: posted.annotations,
                    starts_at: parse_rfc3339(&posted.starts_at).ok()??,
                    ends_at: parse_rfc3339(&posted.ends_at).ok()?,
                    generator_url: posted.generator_url,
                };
                (Key::Alert(alert.labels.clone()), Payload::Alert(alert))
            }
            What::Notice {
                contact,
                frame,
                alert,
            } => {
                let key = Key::Notice {
                    contact,
                    group_key: frame.group_key.clone(),
                    labels: alert.labels.clone(),
                };
                (
                    key,
                    Payload::Notice {
                        alert,
                        frame: Arc::from(frame),
                    },
                )
            }
        };
        let bytes = payload_bytes(&payload);
        let entry = Entry {
            key,
            payload,
            version: self.version,
            received_at: Timestamp::from_millis(self.received_ms),
            expires_at: Timestamp::from_millis(self.expires_ms),
            firing: self.firing,
            bytes,
            pending: self.pending.into_iter().collect(),
        };
        Some((self.id, entry))
    }
}

/// About what the entry takes in memory, in the journal and on the wire.
pub(super) fn payload_bytes(payload: &Payload) -> usize {
    const FIXED: usize = 200;
    let map = |m: &std::collections::BTreeMap<String, String>| {
        m.iter().map(|(n, v)| n.len() + v.len() + 6).sum::<usize>()
    };
    FIXED
        + match payload {
            Payload::Alert(a) => {
                a.labels.as_bytes().len() + map(&a.annotations) + a.generator_url.len()
            }
            Payload::Notice { alert, frame } => {
                map(&alert.labels)
                    + map(&alert.annotations)
                    + alert.generator_url.len()
                    + map(&frame.group_labels)
                    + map(&frame.common_labels)
                    + map(&frame.common_annotations)
                    + frame.group_key.len()
                    + frame.external_url.len()
            }
        }
}
