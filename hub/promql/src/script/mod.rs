//! Test scripts: load series, evaluate expressions, compare. The language is that of Prometheus's promqltest.
//!
//! ```text
//! load 1m
//!   requests_total{job="api"} 0+10x10
//!
//! eval instant at 10m rate(requests_total[5m])
//!   {job="api"} 0.16666666666666666
//! ```
//!
//! A case is run in more forms than the one written: with `@` put on every selector and printed back, at other times of
//! evaluation, and as the middle step of a range query; all have to give the same. Scripts run against any storage
//! through [`Target`]; [`MemoryTarget`] is one that holds what a script loads. Whoever answers queries in another way, such
//! as an HTTP API, is a [`Subject`].

mod answer;
mod classic;
mod command;
mod compare;
mod expect;
mod memory;
mod run;

pub use answer::{Answer, AnswerSeries, AnswerValue, Found, FoundHistogram};
pub use command::{Command, Eval, EvalTime, Load, LoadedSeries, ScriptError, parse};
pub use expect::{Expectation, Expected, ExpectedSeries, Text};
pub use memory::MemoryTarget;
pub use run::{Failure, Report, Subject, Target, engine_options, run, run_with};

use std::path::PathBuf;

/// The folder of shared test data beside the checkout that this crate was built in, if it is there.
pub fn shared_folder() -> Option<PathBuf> {
    let crate_folder = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let mut folders = crate_folder.ancestors().map(|folder| folder.join("shared"));
    folders.find(|folder| folder.join("promqltest").is_dir())
}
