//! What does an edge cost? The same targets for our edge-scraper, vmagent and a Prometheus agent, one after the other, through a link
//! that counts bytes, is cut, and comes back with twice the room that the sender needs live.
//!
//! ```text
//! targets (here) --> sender (measured) --> link (here: counts, cuts, limits) --> a hub for our edge, a sink (here) for the peers
//! ```
//!
//! Bytes are those of the connection without TLS and TCP: HTTP or WebSocket, framing and payload. A sample is one that stands on a
//! target's page; what a scraper adds itself (`up` and the like) is sent, but not counted. A scrape has arrived when its `up` can be
//! read at the far end: in the hub by a query, which is asked five times a second.

mod arrivals;
mod http;
mod page;
mod phases;
mod receiver;
mod report;
mod sender;
mod sink;
mod small;
mod targets;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, ensure};
use clap::Args;
use report::Report;
use sender::{Kind, Program, beside_us};

use crate::progress::Progress;

/// What is measured, and with which programs.
#[derive(Args)]
pub(crate) struct Options {
    /// Senders, with commas between them; all that are here if none is named.
    #[arg(long, value_delimiter = ',', value_name = "SENDER")]
    only: Vec<Kind>,
    /// Another build of our edge-scraper.
    #[arg(long, value_name = "PATH")]
    edge: Option<PathBuf>,
    /// Another build of the hub that it sends to.
    #[arg(long, value_name = "PATH")]
    hub: Option<PathBuf>,
    /// Another vmagent.
    #[arg(long, value_name = "PATH")]
    vmagent: Option<PathBuf>,
    /// Another Prometheus.
    #[arg(long, value_name = "PATH")]
    prometheus: Option<PathBuf>,
    /// Targets.
    #[arg(long, default_value_t = 50)]
    targets: usize,
    /// Series of each target.
    #[arg(long, default_value_t = 1_000)]
    series: usize,
    /// Between two scrapes of a target.
    #[arg(long, default_value = "5s", value_parser = seconds)]
    interval: Duration,
    /// How long the link is cut; 0s: not at all.
    #[arg(long, default_value = "120s", value_parser = seconds)]
    cut: Duration,
    /// Ten targets and short phases: does everything work here?
    #[arg(long)]
    quick: bool,
    /// One node of 500 series with TLS, counted on a network interface: needs root and `ip`.
    #[arg(long)]
    small: bool,
    /// Where all numbers go, `-` for the terminal.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// The folder for data; target if not given.
    #[arg(long, value_name = "FOLDER")]
    dir: Option<PathBuf>,
}

/// How much, and how long.
pub(super) struct Plan {
    targets: usize,
    series: usize,
    interval: Duration,
    warm: Duration,
    live: Duration,
    cut: Duration,
}

impl Plan {
    fn whole(targets: usize, series: usize, interval: Duration, cut: Duration) -> Self {
        Self {
            targets,
            series,
            interval,
            cut,
            warm: Duration::from_secs(30).max(interval * 3),
            live: interval * 12,
        }
    }

    fn quick(series: usize, interval: Duration, cut: Duration) -> Self {
        Self {
            targets: 10,
            series,
            interval,
            cut: cut.min(Duration::from_secs(20)),
            warm: interval * 2,
            live: interval * 4,
        }
    }
}

/// A stretch of time in milliseconds since the epoch, its end not included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Span {
    from: i64,
    to: i64,
}

impl Span {
    fn contains(self, at: i64) -> bool {
        (self.from..self.to).contains(&at)
    }

    fn millis(self) -> i64 {
        self.to - self.from
    }
}

pub(crate) fn run(options: &Options) -> anyhow::Result<ExitCode> {
    let interval = Duration::from_millis(100)..=Duration::from_secs(300);
    ensure!(
        interval.contains(&options.interval),
        "--interval must be from 100ms to 300s"
    );
    ensure!(
        (1..=1_000).contains(&options.targets),
        "--targets must be from 1 to 1000"
    );
    ensure!(
        (1..=100_000).contains(&options.series),
        "--series must be from 1 to 100000"
    );
    let hub = match &options.hub {
        Some(path) => Some(std::path::absolute(path)?),
        None => beside_us("hub"),
    };
    if options.small {
        return small::run(options, hub.as_deref());
    }
    let (interval, cut) = (options.interval, options.cut);
    let plan = match options.quick {
        true => Plan::quick(options.series, interval, cut),
        false => Plan::whole(options.targets, options.series, interval, cut),
    };
    let programs = programs(options)?;
    ensure!(
        hub.is_some() || programs.iter().all(|program| program.kind != Kind::Edge),
        "the hub that our edge sends to is not here: cargo build --release builds it, or name one with --hub PATH"
    );
    let mut progress = Progress::new();
    let mut report = Report {
        plan: &plan,
        measured: BTreeMap::new(),
    };
    for (number, program) in (1..).zip(&programs) {
        progress.note(&format!("{}: {}", program.kind, program.version()));
        let folder = crate::folder(options.dir.as_deref())?;
        let numbers = phases::measure(program, hub.as_deref(), &plan, folder.path(), &mut progress)
            .with_context(|| program.kind.to_string())?;
        report.measured.insert(program.kind, numbers);
        if number < programs.len() {
            // A whole run takes half an hour: what ends it early must not take along what is known.
            progress.note(&format!("so far:\n{}", report.text()));
        }
    }
    progress.clear();
    finish(options, &report)
}

/// Prints it. Broken promises are for people to judge: a busy machine breaks some of them.
fn finish(options: &Options, report: &Report<'_>) -> anyhow::Result<ExitCode> {
    print!("{}", report.text());
    if let Some(path) = &options.json {
        let text = format!("{:#}\n", report.json());
        if path.as_os_str() == "-" {
            print!("{text}");
        } else {
            std::fs::write(path, text).with_context(|| path.display().to_string())?;
        }
    }
    if !report.holds() {
        eprintln!("not everything that is promised holds");
    }
    Ok(ExitCode::SUCCESS)
}

fn programs(options: &Options) -> anyhow::Result<Vec<Program>> {
    let mut programs = Vec::new();
    for kind in Kind::ALL {
        if !options.only.is_empty() && !options.only.contains(&kind) {
            continue;
        }
        let named = match kind {
            Kind::Edge => &options.edge,
            Kind::VmAgent => &options.vmagent,
            Kind::Prometheus => &options.prometheus,
        };
        match Program::find(kind, named.as_deref()) {
            Ok(program) => programs.push(program),
            Err(error) if kind != Kind::Edge && options.only.is_empty() => {
                eprintln!("left out: {error}");
            }
            Err(error) => return Err(error),
        }
    }
    Ok(programs)
}

/// `90s` or `2m`, as in a configuration file.
pub(crate) fn seconds(text: &str) -> Result<Duration, String> {
    model::duration::parse(text).map_err(|error| format!("{text}: {error}; write it as 5s or 2m"))
}

fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    i64::try_from(since.unwrap_or_default().as_millis()).unwrap_or(i64::MAX)
}
