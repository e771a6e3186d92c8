//! Alertmanager's formats: the v2 API's alerts, both ways, and the webhook message (version 4).

mod alerts;
mod time;
mod webhook;

pub use alerts::{
    AlertRefusal, AlertState, AlertStatus, BodyError, GettableAlert, PostLimits, PostableAlert,
    Posted, ReceiverName, format_fingerprint, parse_posted,
};
pub use time::{ZERO_TIME, format_rfc3339, parse_rfc3339};
pub use webhook::{Webhook, WebhookAlert};
