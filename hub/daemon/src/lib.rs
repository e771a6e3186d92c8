//! What does every process of Branchline need? A clock that tests can replace, a tree of tasks that all end,
//! a configuration file that is refused with file, line and key, a data folder that only one process opens,
//! metrics about itself, logs, signals, and HTTP both ways, with TLS and credentials.
//!
//! Not here: anything that only one of the services does, and any outside format of metrics (`wire`).
//!
//! ```
//! use daemon::Clock;
//! use std::time::Duration;
//!
//! let clock = daemon::SimClock::new(model::Timestamp::from_millis(1_000));
//! clock.advance(Duration::from_secs(5));
//! assert_eq!(clock.now().millis(), 6_000);
//! ```

mod allocator;
mod clock;
pub mod config;
mod data_dir;
pub mod http;
mod log;
pub mod metrics;
mod open_files;
mod signals;
mod tasks;
pub mod tls;
pub mod web;

pub use allocator::{Heaps, keep_thresholds as keep_allocator_thresholds};
pub use clock::{Clock, SimClock, Sleep, SystemClock};
pub use data_dir::{DataDir, DataDirError};
pub use log::{init as init_log, init_quiet as init_log_quiet};
pub use open_files::raise_open_files;
pub use signals::{Signal, Signals};
pub use tasks::{TaskFailure, Tasks, blocking};

/// The version of this build, as `branchline_build_info` and `/api/v1/status/buildinfo` show it.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
