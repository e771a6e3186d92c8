//! `edge-scraper diagnose` on the command line.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{anyhow, bail};
use clap::{Args, Subcommand};
use daemon::http::Auth;
use daemon::{Clock, SystemClock};
use edge_scraper::diagnose::{self, EdgeAddress, Subject};

/// Who is asked, and what.
#[derive(Args)]
pub(crate) struct Diagnose {
    /// The edge's configuration file
    #[arg(id = "its_config", long = "config", value_name = "FILE", global = true)]
    config: Option<PathBuf>,
    /// Where its buffer is kept
    #[arg(
        id = "its_data_dir",
        long = "data-dir",
        value_name = "FOLDER",
        global = true
    )]
    data_dir: Option<PathBuf>,
    /// Where it listens
    #[arg(
        id = "its_listen",
        long = "listen",
        value_name = "ADDRESS",
        global = true
    )]
    listen: Option<SocketAddr>,
    /// Where the running edge answers. Default: http:// and --listen
    #[arg(long, value_name = "URL", global = true)]
    edge_url: Option<String>,
    /// A user of the running edge's web configuration
    #[arg(long, value_name = "NAME", global = true)]
    user: Option<String>,
    /// Where that user's password is
    #[arg(long, value_name = "FILE", global = true, requires = "user")]
    password_file: Option<PathBuf>,
    /// Who signed the running edge's certificate
    #[arg(long, value_name = "FILE", global = true)]
    ca_file: Option<PathBuf>,
    /// Print JSON, for programs
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    what: Option<What>,
}

#[derive(Subcommand)]
enum What {
    /// What the running edge says of itself
    Get {
        /// Which part
        #[arg(value_enum, default_value = "status")]
        part: Part,
    },
    /// Looks at everything and lists it, without explanations
    Check,
    /// Packs everything that somebody else needs to look at this edge, without secrets
    Collect {
        /// The file to write
        #[arg(long, value_name = "FILE", default_value = "edge-diagnosis.tar.gz")]
        output: PathBuf,
        /// The edge's log, where its standard error goes to no file
        #[arg(long, value_name = "FILE")]
        log: Option<PathBuf>,
    },
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Part {
    /// Hubs, buffer, pushes
    Status,
    /// Targets and how their last scrape went
    Targets,
    /// Its own metrics
    Metrics,
}

/// True: nothing is wrong.
pub(crate) async fn run(
    arguments: Diagnose,
    config: Option<PathBuf>,
    data_dir: PathBuf,
    listen: SocketAddr,
) -> anyhow::Result<bool> {
    // They may stand on either side of the word diagnose.
    let config = arguments.config.or(config);
    let data_dir = arguments.data_dir.unwrap_or(data_dir);
    let default_url = format!("http://{}", arguments.listen.unwrap_or(listen));
    let auth = match (arguments.user, arguments.password_file) {
        (None, _) => Auth::None,
        (Some(username), Some(password_file)) => Auth::BasicFromFile {
            username,
            password_file,
        },
        (Some(_), None) => bail!("--user needs --password-file"),
    };
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let subject = Subject {
        config,
        data_dir,
        address: EdgeAddress {
            url: arguments.edge_url.unwrap_or(default_url),
            ca_file: arguments.ca_file,
            auth,
        },
        clock,
    };
    let json = arguments.json;
    match arguments.what {
        Some(What::Get { part }) => {
            let path = match part {
                Part::Status => "/api/v1/status/edge",
                Part::Targets => "/api/v1/targets",
                Part::Metrics => "/metrics",
            };
            let told = diagnose::ask(&subject.address, path).await;
            let told = told.map_err(|why| anyhow!("{}: {why}", subject.address.url));
            println!("{}", told?.trim_end());
            Ok(true)
        }
        Some(What::Check) => {
            let report = diagnose::check(&subject).await;
            match json {
                true => println!("{:#}", report.json()),
                false => print!("{}", report.checks()),
            }
            Ok(report.healthy())
        }
        Some(What::Collect { output, log }) => {
            let report = diagnose::check(&subject).await;
            let files = diagnose::collect(&subject, &report, log.as_deref(), &output).await?;
            match json {
                true => {
                    let files = serde_json::json!({"bundle": output, "files": files, "healthy": report.healthy()});
                    println!("{files:#}");
                }
                false => println!(
                    "{}: {} files; secrets are masked, look through it before you send it",
                    output.display(),
                    files.len()
                ),
            }
            // The bundle is there, whatever it says.
            Ok(true)
        }
        None => {
            let report = diagnose::check(&subject).await;
            match json {
                true => println!("{:#}", report.json()),
                false => print!("{}{}", report.checks(), report.explanation()),
            }
            Ok(report.healthy())
        }
    }
}
