//! What happens in a branch, and how does the hub learn of it? Discover, scrape, collect, buffer, ship.
//!
//! An edge reads a Prometheus configuration file ([`config`]), finds targets, scrapes them and the machine itself
//! ([`collect`]), takes what is pushed ([`push`]), keeps every scrape on disk until a hub has it, and ships it to every hub in the
//! file: over a line to hubs of ours, by remote write to all others.
//!
//! Not in here: any hub (storage, queries, rules, federation) and any alert routing. The edge uses `model`, `wire`,
//! `journal` and `daemon` and nothing else of the workspace.
//!
//! ```
//! use edge_scraper::config::EdgeConfig;
//! use std::path::Path;
//!
//! let text = "scrape_configs: [{job_name: pos, static_configs: [{targets: ['10.7.0.11:9100']}]}]
//! remote_write: [{url: 'http://hub.example:9490/api/v1/write'}]
//! branchline: {edge: b07}";
//! let config = EdgeConfig::parse(text, Path::new("edge.yml")).unwrap();
//! assert!(config.summary().starts_with("edge b07: 1 scrape job(s): pos\n"));
//!
//! let refused = EdgeConfig::parse("rule_files: [rules.yml]", Path::new("edge.yml")).unwrap_err().to_string();
//! assert!(refused.starts_with("edge.yml:1:") && refused.contains("rule_files is not supported by the edge"));
//! ```

pub mod buffer;
pub mod clock;
pub mod collect;
pub mod config;
pub mod diagnose;
mod discovery;
pub mod forward;
mod kept;
mod local;
mod planted;
pub mod probe;
mod process;
pub mod push;
pub mod scrape;

pub use kept::Kept;
pub use process::{
    Drain, Edge, EdgeHandle, EdgeOptions, EdgeStatus, HubError, InProcessHub, ReloadError,
    ReloadState, StartError,
};
