//! The hub process: how do samples of all branches come in, become queries' answers, recorded series and alerts,
//! and how do people see which branch is there?
//!
//! It joins what others do: `tsdb` stores, `promql` evaluates, `rules` decides, `alert-router` delivers, and
//! `edge-scraper` runs inside as the head office's own branch. Its own are [ingest](crate::Hub), the branches' states,
//! the Prometheus HTTP API, the schedule of rules, and the pages.
//!
//! Not here: how any of those engines work.

mod alerts;
mod api;
mod config;
mod demo;
mod features;
mod federation;
mod ingest;
mod line;
mod local_edge;
mod metrics;
mod notifications;
mod pages;
pub mod probe;
mod process;
mod query_log;
mod reload;
mod ruler;
mod state;
mod storage;
mod targets;
#[cfg(test)]
mod tests;

pub use api::CorsOrigin;
pub use config::HubConfig;
pub use demo::{Cut, DemoOptions, run as run_demo};
pub use features::Features;
pub use process::{Hub, HubOptions};
