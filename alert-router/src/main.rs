//! The `alert-router` binary. Metrics, outbox and alerts are on its port; the library's header tells the rest.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use alert_router::{DestinationKind, Router, RouterConfig, RouterHandle, RouterOptions};
use anyhow::Context as _;
use clap::{Parser, Subcommand};
use daemon::web::{Web, WebFlags};
use daemon::{DataDir, Signal, Signals, SystemClock, Tasks};
use journal::RealDisk;

/// Version of the data folder.
const FORMAT: u32 = 1;
/// How long deliveries and requests under way may take when the process is told to stop.
const GRACE: Duration = Duration::from_secs(10);

/// Takes alerts from hubs and Prometheus servers, keeps their latest state on disk, and delivers it to every Alertmanager
/// and every branch's contact until each has acknowledged it.
#[derive(Parser)]
#[command(name = "alert-router", version = daemon::VERSION)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    /// Where alerts are to go (YAML); read again on SIGHUP
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Where to listen
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9493")]
    listen: SocketAddr,
    /// Where the outbox is kept
    #[arg(long, value_name = "FOLDER", default_value = "data/alert-router")]
    data_dir: PathBuf,
    #[command(flatten)]
    web: WebFlags,
}

#[derive(Subcommand)]
enum Command {
    /// Reads a configuration and says what is wrong with it
    CheckConfig {
        /// The file
        file: PathBuf,
    },
    /// Reads a web configuration file (--web.config.file) and says what is wrong with it
    CheckWebConfig {
        /// The file
        file: PathBuf,
    },
}

fn main() -> ExitCode {
    daemon::keep_allocator_thresholds(daemon::Heaps::One);
    let arguments = Arguments::parse();
    match &arguments.command {
        Some(Command::CheckConfig { file }) => return check_config(file),
        Some(Command::CheckWebConfig { file }) => return check_web_config(file),
        None => {}
    }
    daemon::init_log();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build();
    let result = runtime
        .context("cannot start the async runtime")
        .and_then(|r| r.block_on(run(arguments)));
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("alert-router: {}", explain(&error));
            ExitCode::FAILURE
        }
    }
}

fn check_config(file: &Path) -> ExitCode {
    match RouterConfig::load(file) {
        Ok(config) => {
            println!("{}: ok: {}", file.display(), describe(&config));
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn check_web_config(file: &Path) -> ExitCode {
    match Web::check_file(file) {
        Ok(what) => {
            println!("{}: ok: {what}", file.display());
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn describe(config: &RouterConfig) -> String {
    let count = |kind| {
        config
            .destinations
            .iter()
            .filter(|d| d.id.kind == kind)
            .count()
    };
    let (alertmanagers, contacts) = (
        count(DestinationKind::Alertmanager),
        count(DestinationKind::Contact),
    );
    format!("{alertmanagers} Alertmanagers, {contacts} contacts")
}

async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let config = load(arguments.config.as_deref())?;
    let web = Web::load(&arguments.web)?;
    let folder = DataDir::open(&arguments.data_dir, "alert-router", FORMAT)?;
    let mut signals = Signals::listen().context("cannot listen for signals")?;
    let tasks = Tasks::new();
    let what = describe(&config);
    if config.destinations.is_empty() {
        tracing::warn!(
            "no destinations: alerts are taken and go nowhere; name Alertmanagers in a file and pass it with --config"
        );
    }
    let options = RouterOptions {
        config,
        data_dir: folder.path().to_owned(),
        disk: Arc::new(RealDisk),
        clock: Arc::new(SystemClock::new()),
        listen: Some(arguments.listen),
        web: web.clone(),
    };
    let router = Router::start(options, &tasks).await?;
    let address = router.address().unwrap_or(arguments.listen);
    tracing::info!(
        "alert-router {} takes alerts on {}://{address}/api/v2/alerts for {what}",
        daemon::VERSION,
        web.scheme()
    );
    let failure = loop {
        tokio::select! {
            signal = signals.next() => match signal {
                Signal::Stop => break None,
                Signal::Reload => reload(arguments.config.as_deref(), &router).await,
            },
            failure = tasks.failure() => break Some(failure),
        }
    };
    router.health().set_ready(false);
    if let Err(stuck) = tasks.shutdown(GRACE).await {
        tracing::warn!("did not stop in time: {}", stuck.join(", "));
    }
    match failure {
        Some(failure) => Err(failure.into()),
        None => Ok(()),
    }
}

fn load(path: Option<&Path>) -> anyhow::Result<RouterConfig> {
    Ok(path
        .map(RouterConfig::load)
        .transpose()?
        .unwrap_or_default())
}

/// A wrong file changes nothing.
async fn reload(path: Option<&Path>, router: &RouterHandle) {
    match load(path) {
        Ok(config) => {
            tracing::info!("configuration read again: {}", describe(&config));
            router.reload(config).await;
        }
        Err(error) => {
            tracing::error!(
                "configuration not read again, the old one stays: {}",
                explain(&error)
            );
        }
    }
}

/// The error and its causes; our own errors name their cause themselves, so that none is said twice.
fn explain(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if text.is_empty() {
            text = cause;
        } else if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    text
}
