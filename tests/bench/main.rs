//! How does the hub compare? `bench store` pushes branch-like data into the hub and into the peers that are there, and prints what it
//! cost each of them; `bench query` asks all of them the same questions; `bench edge` sets the edge-scraper beside the agents of the field.
//!
//! ```sh
//! tests/run --peers                                          # VictoriaMetrics and Prometheus
//! cargo build --release                                      # the hub
//! cargo run --release -p tests --bin bench -- store --quick  # does it run here?
//! cargo run --release -p tests --bin bench -- store --set 1m --json million.json
//! cargo run --release -p tests --bin bench -- query          # an hour of many series; --set 24h: a day of fewer
//! cargo run --release -p tests --bin bench -- edge           # the edge-scraper, vmagent and a Prometheus agent
//! cargo run --release -p tests --bin bench -- crowd         # a thousand edges come back at once: what becomes of the others?
//! cargo run --release -p tests --bin bench -- line      # needs none of them: bytes and time of line batches
//! ```
//!
//! Not here: benchmarks of one function; they stand beside its crate.

mod ask;
mod client;
mod crowd;
mod data;
mod edge;
mod encode;
mod latency;
mod line;
mod measured;
mod progress;
mod push;
mod query;
mod settle;
mod store;
mod systems;
mod table;
mod usage;

use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;
use clap::{Parser, Subcommand};

/// Benchmarks of Branchline against real peers.
#[derive(Parser)]
#[command(name = "bench")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// What storing costs: CPU, memory, disk, acknowledgements, queries, restarts.
    Store(store::Options),
    /// What dashboards and rules ask: time and CPU of twenty questions.
    Query(query::Options),
    /// What an edge costs: memory, CPU, bytes on the link and on disk, draining after a cut.
    Edge(edge::Options),
    /// What a thousand edges that come back at once do to the others.
    Crowd(crowd::Options),
    /// What line batches take: bytes a sample on the link, time at both ends.
    Line(line::Options),
}

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Store(options) => store::run(&options),
        Command::Query(options) => query::run(&options),
        Command::Edge(options) => edge::run(&options),
        Command::Crowd(options) => crowd::run(&options),
        Command::Line(options) => line::run(&options),
    };
    result.unwrap_or_else(|error| {
        eprintln!("bench: {error:#}");
        ExitCode::FAILURE
    })
}

/// A folder for the servers' data, in `parent` or in target; it goes when it is dropped.
fn folder(parent: Option<&Path>) -> anyhow::Result<tempfile::TempDir> {
    let parent = match parent {
        Some(folder) => folder.to_path_buf(),
        None => tests::checkout::root().join("target"),
    };
    std::fs::create_dir_all(&parent).with_context(|| parent.display().to_string())?;
    let parent = std::path::absolute(parent)?;
    remove_left_behind(&parent);
    let folder = tempfile::Builder::new()
        .prefix(&format!("bench-{}-", std::process::id()))
        .tempdir_in(&parent);
    folder.with_context(|| parent.display().to_string())
}

/// Takes away the data of benchmarks that were ended from outside: they can be large.
fn remove_left_behind(parent: &Path) {
    for entry in std::fs::read_dir(parent).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let process = name
            .to_str()
            .and_then(|name| name.strip_prefix("bench-"))
            .and_then(|rest| rest.split_once('-'))
            .and_then(|(process, _)| process.parse::<u32>().ok());
        if process.is_some_and(|process| !Path::new(&format!("/proc/{process}")).exists()) {
            // What cannot be taken away is in nobody's way.
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
}
