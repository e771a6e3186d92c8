//! How does the hub compare? `bench store` pushes branch-like data into the hub and into the peers that are there, and prints what it
//! cost each of them.
//!
//! ```sh
//! tests/run --peers                                          # VictoriaMetrics and Prometheus
//! cargo build --release                                      # the hub
//! cargo run --release -p tests --bin bench -- store --quick  # does it run here?
//! cargo run --release -p tests --bin bench -- store --set 1m --json million.json
//! ```
//!
//! Not here: benchmarks of one function; they stand beside its crate.

mod ask;
mod client;
mod data;
mod encode;
mod latency;
mod measured;
mod progress;
mod push;
mod settle;
mod store;
mod systems;
mod table;
mod usage;

use std::process::ExitCode;

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
}

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Store(options) => store::run(&options),
    };
    result.unwrap_or_else(|error| {
        eprintln!("bench: {error:#}");
        ExitCode::FAILURE
    })
}
