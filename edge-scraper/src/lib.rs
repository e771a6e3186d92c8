//! What happens in a branch, and how does the hub learn of it? Discover, scrape, collect, buffer, ship.
//!
//! An edge reads a Prometheus configuration file ([`config`]), finds targets, scrapes them and the machine itself
//! ([`collect`]), keeps every scrape on disk until a hub has it, and remote-writes it to every hub in the file.
//!
//! Not in here: any hub (storage, queries, rules, federation) and any alert routing. The edge uses `model`, `wire`,
//! `journal` and `daemon` and nothing else of the workspace.

pub mod buffer;
pub mod collect;
pub mod config;
mod discovery;
pub mod forward;
mod process;
pub mod scrape;

pub use process::{
    Edge, EdgeHandle, EdgeOptions, EdgeStatus, HubError, InProcessHub, ReloadError, ReloadState,
    StartError,
};
