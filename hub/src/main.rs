//! The `hub` command.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;
use clap::{Parser, Subcommand};
use daemon::SystemClock;
use daemon::web::{Web, WebFlags};
use hub::{CorsOrigin, DemoOptions, Features, Hub, HubConfig, HubOptions};
use journal::RealDisk;

/// Branchline's hub: stores the metrics of all branches, answers the Prometheus API, evaluates rules.
#[derive(Parser)]
#[command(name = "hub", version, args_conflicts_with_subcommands = true)]
struct Cli {
    /// Configuration file of Prometheus's form, our own keys under `branchline`. Without one: this machine as
    /// branch hq, no rules, no Alertmanager.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Address to listen on.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9490")]
    listen: SocketAddr,
    /// Where everything is kept.
    #[arg(long, value_name = "FOLDER", default_value = "./data")]
    data_dir: PathBuf,
    /// Do not scrape this machine and this hub.
    #[arg(long)]
    no_local_edge: bool,
    #[command(flatten)]
    web: WebFlags,
    /// Whose pages may read what the API answers: a regular expression for all of an origin, such as https?://(a|b)\.example
    #[arg(long = "web.cors.origin", value_name = "REGEX", default_value = ".*")]
    cors_origin: String,
    /// What is off by default, by Prometheus's names and separated by commas: promql-experimental-functions, ...
    #[arg(long, value_name = "NAMES", value_delimiter = ',', global = true)]
    enable_feature: Vec<String>,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Check a configuration file and the files that it names.
    CheckConfig {
        /// The file.
        file: PathBuf,
    },
    /// Check a web configuration file (--web.config.file).
    CheckWebConfig {
        /// The file.
        file: PathBuf,
    },
    /// Show what happens when links fail: a hub and some branches on this machine.
    Demo(DemoOptions),
}

fn main() -> ExitCode {
    daemon::keep_allocator_thresholds(daemon::Heaps::Many);
    daemon::raise_open_files();
    let cli = Cli::parse();
    let result = runtime().and_then(|runtime| {
        runtime.block_on(async {
            match cli.command {
                Some(Command::CheckConfig { file }) => check_config(&file, &cli.enable_feature),
                Some(Command::CheckWebConfig { file }) => check_web_config(&file),
                Some(Command::Demo(options)) => hub::run_demo(options).await,
                None => serve(cli).await.map(|()| true),
            }
        })
    });
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("hub: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Workers only carry bytes between sockets and the threads that store and evaluate: half of the cores are enough for
/// that, and each worker more is woken, and finds nothing to do, for every request.
fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get());
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(cores.div_ceil(2))
        .enable_all()
        .build()
        .context("cannot start threads")
}

fn features(names: &[String]) -> anyhow::Result<Features> {
    let names = names.iter().map(|name| name.trim());
    Features::from_names(names.filter(|name| !name.is_empty()))
        .map_err(anyhow::Error::msg)
        .context("--enable-feature")
}

fn check_config(file: &std::path::Path, enabled: &[String]) -> anyhow::Result<bool> {
    let config = HubConfig::load_with(file, features(enabled)?)?;
    print!("{} is fine\n{}", file.display(), config.summary());
    Ok(true)
}

fn check_web_config(file: &std::path::Path) -> anyhow::Result<bool> {
    println!("{} is fine: {}", file.display(), Web::check_file(file)?);
    Ok(true)
}

async fn serve(cli: Cli) -> anyhow::Result<()> {
    daemon::init_log();
    let features = features(&cli.enable_feature)?;
    let mut config = match &cli.config {
        Some(path) => HubConfig::load_with(path, features)?,
        None => HubConfig::without_file()?,
    };
    config.features = features;
    for warning in &config.warnings {
        tracing::warn!("{warning}");
    }
    let flags = BTreeMap::from([
        (
            "config".to_owned(),
            cli.config
                .as_ref()
                .map(|path| path.display().to_string())
                .unwrap_or_default(),
        ),
        ("listen".to_owned(), cli.listen.to_string()),
        ("data-dir".to_owned(), cli.data_dir.display().to_string()),
        ("no-local-edge".to_owned(), cli.no_local_edge.to_string()),
        ("enable-feature".to_owned(), cli.enable_feature.join(",")),
        (
            "web.config.file".to_owned(),
            cli.web
                .config_file
                .as_ref()
                .map(|path| path.display().to_string())
                .unwrap_or_default(),
        ),
        ("web.cors.origin".to_owned(), cli.cors_origin.clone()),
        (
            "web.behind-proxy".to_owned(),
            cli.web.behind_proxy.to_string(),
        ),
    ]);
    let cors_origin = CorsOrigin::matching(&cli.cors_origin)
        .map_err(anyhow::Error::msg)
        .context("--web.cors.origin is no regular expression")?;
    let web = Web::load(&cli.web)?;
    let hub = Hub::start(HubOptions {
        config,
        listen: cli.listen,
        web,
        data_dir: cli.data_dir,
        cors_origin,
        local_edge: !cli.no_local_edge,
        clock: Arc::new(SystemClock::new()),
        disk: Arc::new(RealDisk),
        flags,
    })
    .await?;
    hub.run_until_stopped().await
}
