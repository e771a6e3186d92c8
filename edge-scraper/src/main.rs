//! The edge as a program: what the command line says, and how the process ends.

mod diagnose_command;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::anyhow;
use clap::{Parser, Subcommand};
use daemon::web::{Web, WebFlags};
use daemon::{Signal, Signals, SystemClock, Tasks};
use edge_scraper::collect::exporter::{self, ExporterFlags};
use edge_scraper::config::EdgeConfig;
use edge_scraper::{Edge, EdgeOptions, Kept};

/// Scrapes targets and this machine, keeps every sample on disk until the hub has it, and ships it there.
///
/// Without a configuration file: this machine, shipped to a hub on this machine (http://127.0.0.1:9490).
#[derive(Parser)]
#[command(
    name = "edge-scraper",
    version,
    max_term_width = 100,
    args_conflicts_with_subcommands = true
)]
struct Arguments {
    /// Configuration file in Prometheus's form; hubs stand under remote_write
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Where to answer: status page, /metrics, /-/ready, /-/reload
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9491")]
    listen: SocketAddr,
    /// Where the buffer is kept
    #[arg(long, value_name = "FOLDER", default_value = "data-edge")]
    data_dir: PathBuf,
    #[command(flatten)]
    web: WebFlags,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Shows this machine to whoever scrapes it, as node_exporter does and with its flags: for the branch's other hosts
    Node(Box<ExporterFlags>),
    /// Reads a configuration file, says what the edge would do with it or what is wrong, and ends
    CheckConfig {
        /// The file
        file: PathBuf,
    },
    /// Reads a web configuration file (--web.config.file), says what is wrong, and ends
    CheckWebConfig {
        /// The file
        file: PathBuf,
    },
    /// Says what is wrong with this edge and what to do about it: configuration, hubs, link, clock, disk, targets. Works
    /// with and without a running edge; exit code 1 if something is wrong
    Diagnose(Box<diagnose_command::Diagnose>),
}

/// Threads for reading pages, the disk and `/proc`. Bounds what hanging collectors and disks can take.
const BLOCKING_MAX: usize = 32;

/// Pages under way may take this long when `edge-scraper node` is stopped.
const NODE_STOPS_WITHIN: std::time::Duration = std::time::Duration::from_secs(5);

fn main() -> ExitCode {
    daemon::keep_allocator_thresholds(daemon::Heaps::One);
    let mut arguments = Arguments::parse();
    let result = match arguments.command.take() {
        Some(Command::Node(flags)) => run_node(*flags),
        Some(Command::Diagnose(what)) => return diagnose(*what, &arguments),
        Some(Command::CheckConfig { file }) => check_config(&file),
        Some(Command::CheckWebConfig { file }) => check_web_config(&file),
        None => run(arguments),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed(&error),
    }
}

fn failed(error: &anyhow::Error) -> ExitCode {
    // The messages carry their causes.
    eprintln!("edge-scraper: {error}");
    ExitCode::FAILURE
}

fn diagnose(what: diagnose_command::Diagnose, arguments: &Arguments) -> ExitCode {
    daemon::init_log_quiet();
    let (config, data_dir) = (arguments.config.clone(), arguments.data_dir.clone());
    let run = diagnose_command::run(what, config, data_dir, arguments.listen);
    match runtime().and_then(|threads| threads.block_on(run)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => failed(&error),
    }
}

fn check_config(file: &std::path::Path) -> anyhow::Result<()> {
    let config = EdgeConfig::load(file)?;
    print!("{}: OK\n{}", file.display(), config.summary());
    Ok(())
}

fn check_web_config(file: &std::path::Path) -> anyhow::Result<()> {
    println!("{}: OK: {}", file.display(), Web::check_file(file)?);
    Ok(())
}

fn run(arguments: Arguments) -> anyhow::Result<()> {
    // Read and refused before anything else happens.
    let config = match &arguments.config {
        // What was last in force, if the file cannot be used: nobody may be near who could mend it.
        Some(path) => EdgeConfig::load_or_kept(path, &Kept::of(&arguments.data_dir))?,
        None => EdgeConfig::without_file(),
    };
    let web = Web::load(&arguments.web)?;
    daemon::init_log();
    runtime()?.block_on(serve(arguments, config, web))
}

/// One thread waits for sockets and timers; what takes longer is done by the others. An edge does little, ten thousand times a
/// day: handing that from thread to thread was a tenth of its CPU time.
fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread()
        .max_blocking_threads(BLOCKING_MAX)
        .enable_all()
        .build()
        .map_err(|error| anyhow!("cannot start threads: {error}"))
}

fn run_node(flags: ExporterFlags) -> anyhow::Result<()> {
    let web = Web::load(flags.web())?;
    let options = flags.options(web)?;
    daemon::init_log();
    runtime()?.block_on(serve_node(options))
}

async fn serve_node(options: exporter::ExporterOptions) -> anyhow::Result<()> {
    let mut signals =
        Signals::listen().map_err(|error| anyhow!("cannot listen for signals: {error}"))?;
    let tasks = Tasks::new();
    exporter::start(options, &tasks).await?;
    let failure = loop {
        tokio::select! {
            signal = signals.next() => match signal {
                Signal::Stop => break None,
                // There is no file but the web configuration, and that is read anew when it changes.
                Signal::Reload => tracing::info!("nothing to reload: what is not in --web.config.file is on the command line"),
            },
            failure = tasks.failure() => break Some(failure),
        }
    };
    if let Err(stuck) = tasks.shutdown(NODE_STOPS_WITHIN).await {
        tracing::warn!("stopped while these went on: {}", stuck.join(", "));
    }
    match failure {
        None => Ok(()),
        Some(failure) => Err(failure.into()),
    }
}

async fn serve(arguments: Arguments, config: EdgeConfig, web: Web) -> anyhow::Result<()> {
    let mut signals =
        Signals::listen().map_err(|error| anyhow!("cannot listen for signals: {error}"))?;
    let tasks = Tasks::new();
    let options = EdgeOptions {
        config,
        data_dir: arguments.data_dir,
        listen: Some(arguments.listen),
        web,
        clock: Arc::new(SystemClock::new()),
        disk: Arc::new(journal::RealDisk),
        hubs: Vec::new(),
        collectors: Vec::new(),
    };
    let edge = Edge::start(options, &tasks).await?;
    let failure = loop {
        // All arms only wait; dropping them loses nothing.
        tokio::select! {
            signal = signals.next() => match signal {
                Signal::Stop => break None,
                // The outcome is logged, and the old configuration stays if it is a failure.
                Signal::Reload => drop(edge.reload_file().await),
            },
            failure = tasks.failure() => break Some(failure),
        }
    };
    tracing::info!("stopping");
    edge.shutdown().await;
    match failure {
        None => Ok(()),
        Some(failure) => Err(failure.into()),
    }
}
