//! How does an alert reach everybody who must know? What is firing gets to every Alertmanager, and what an Alertmanager
//! says about a branch gets to that branch's contact; neither a restart nor a dead destination loses a state on the way.
//!
//! Alerts come in by `POST /api/v2/alerts` (from a hub, or from any Prometheus or vmalert) or in process by
//! [`RouterHandle::send`]. They are confirmed once they are on disk and leave through the outbox ([`DestinationStatus`]
//! shows it), which keeps the *latest state* of every alert for every destination until that one has acknowledged it.
//! `endsAt` is passed on as it came: when a source dies, its alerts expire as a dead Prometheus's do.
//!
//! ```text
//!  POST /api/v2/alerts ──┐                      ┌──▶ every Alertmanager   POST …/api/v2/alerts
//!  RouterHandle::send ───┼─▶ outbox ─▶ deliver ─┤
//!  POST /api/v1/webhook ─┘     │                └──▶ a branch's contact   POST, webhook message v4
//!                           journal
//! ```
//!
//! ```
//! use alert_router::RouterConfig;
//! use std::path::Path;
//!
//! let text = "alertmanagers: [{static_configs: [{targets: ['localhost:9093']}]}]";
//! let config = RouterConfig::parse(text, Path::new("router.yml")).unwrap();
//! assert_eq!(config.destinations[0].url, "http://localhost:9093/api/v2/alerts");
//! ```
//!
//! Not here, on purpose: rules, and what Alertmanager does better: grouping, silences, notification channels.

mod config;
mod deliver;
mod metrics;
mod outbox;
mod receive;
mod router;
mod store;
mod webhook;

#[cfg(test)]
mod tests;

pub use config::{AlertmanagerYaml, ContactYaml, Destination, RouterConfig, RouterYaml};
pub use metrics::collector;
pub use outbox::{
    DestinationId, DestinationKind, DestinationStatus, EntryStatus, LaneState, Limits, OutboxStatus,
};
pub use receive::{routes, webhook_routes};
pub use router::{
    Forwarded, Router, RouterHandle, RouterOptions, RouterStatus, SendError, StartError,
};
