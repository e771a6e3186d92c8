//! What is measured: our edge and the peers, each with the same targets and one place to write to.

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use clap::ValueEnum;
use serde_json::Value;
use tests::http;
use tests::peers::Peer;
use tests::process::{Process, free_address};

use crate::systems;

const READY_WITHIN: Duration = Duration::from_secs(60);

/// Who scrapes and sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(crate) enum Kind {
    /// Our edge-scraper.
    Edge,
    /// VictoriaMetrics's agent.
    #[value(name = "vmagent")]
    VmAgent,
    /// Prometheus in agent mode.
    #[value(alias = "prom")]
    Prometheus,
}

impl Kind {
    pub(super) const ALL: [Kind; 3] = [Kind::Edge, Kind::VmAgent, Kind::Prometheus];
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Kind::Edge => "edge",
            Kind::VmAgent => "vmagent",
            Kind::Prometheus => "Prometheus",
        })
    }
}

/// A program that can be started.
#[derive(Debug, Clone)]
pub(super) struct Program {
    pub(super) kind: Kind,
    path: PathBuf,
}

impl Program {
    /// The program of that kind: the one that was named, or the one that is here.
    ///
    /// # Errors
    /// When there is none.
    pub(super) fn find(kind: Kind, named: Option<&Path>) -> anyhow::Result<Self> {
        if let Some(named) = named {
            let path = std::path::absolute(named)?;
            ensure!(path.is_file(), "{kind}: there is no {}", named.display());
            return Ok(Self { kind, path });
        }
        let (found, way_out) = match kind {
            Kind::Edge => (
                edge_here(),
                "cargo build --profile branch -p edge-scraper builds it, or name one with --edge PATH",
            ),
            Kind::VmAgent => (
                Peer::VmAgent.find(),
                "tests/run --peers brings it, or name one with --vmagent PATH",
            ),
            Kind::Prometheus => (
                Peer::Prometheus.find(),
                "tests/run --peers brings it, or name one with --prometheus PATH",
            ),
        };
        let path = found.with_context(|| format!("{kind} is not here: {way_out}"))?;
        Ok(Self { kind, path })
    }

    /// The first line that it says about its version, and where it is.
    pub(super) fn version(&self) -> String {
        let version = systems::version(&self.path);
        format!("{version} ({})", self.path.display())
    }

    /// Starts it; returns when it answers.
    ///
    /// # Errors
    /// When it ends at once or does not answer.
    pub(super) fn start(&self, job: &Job<'_>) -> anyhow::Result<Running> {
        std::fs::create_dir_all(job.folder)?;
        let (address, data) = (free_address(), job.folder.join("data"));
        let config = job.folder.join("config.yml");
        std::fs::write(&config, job.config(self.kind))?;
        let mut command = dying_with_us(&self.path);
        let config = config.display();
        match self.kind {
            Kind::Edge => {
                command
                    .args(["--listen", &address, "--data-dir"])
                    .arg(&data);
                command.args(["--config", &config.to_string()]);
            }
            Kind::VmAgent => {
                command
                    .arg(format!("-promscrape.config={config}"))
                    .arg(format!("-remoteWrite.url={}", job.write_to))
                    .arg(format!("-remoteWrite.tmpDataPath={}", data.display()))
                    .arg(format!("-httpListenAddr={address}"));
            }
            Kind::Prometheus => {
                command
                    .arg("--enable-feature=agent")
                    .arg(format!("--config.file={config}"))
                    .arg(format!("--storage.agent.path={}", data.display()))
                    .arg(format!("--web.listen-address={address}"));
            }
        }
        let mut running = Running {
            kind: self.kind,
            process: Process::start(&self.kind.to_string(), job.folder, &mut command),
            address,
            data,
        };
        running.wait_ready()?;
        Ok(running)
    }
}

/// What a sender is to do.
pub(super) struct Job<'a> {
    pub(super) folder: &'a Path,
    pub(super) targets: &'a [String],
    pub(super) interval: Duration,
    /// The remote-write URL at the near end of the link.
    pub(super) write_to: &'a str,
    /// More lines under the one `remote_write`, each with four spaces before it.
    pub(super) write_options: &'a str,
}

impl Job<'_> {
    fn config(&self, kind: Kind) -> String {
        let interval = format!("{}ms", self.interval.as_millis());
        let mut text = format!(
            "global: {{scrape_interval: {interval}, scrape_timeout: {interval}}}\n\
             scrape_configs:\n  - job_name: bench\n    static_configs:\n      - targets:\n"
        );
        for target in self.targets {
            text.push_str(&format!("          - {target}\n"));
        }
        // vmagent is told on its command line.
        if kind != Kind::VmAgent {
            let (url, options) = (self.write_to, self.write_options);
            text.push_str(&format!("remote_write:\n  - url: {url}\n{options}"));
        }
        if kind == Kind::Edge {
            text.push_str("branchline: {edge: bench}\n");
        }
        text
    }
}

/// A sender that runs. Killed when dropped.
pub(super) struct Running {
    kind: Kind,
    process: Process,
    address: String,
    data: PathBuf,
}

/// Our edge's own books, as far as they are compared with what was counted outside.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Books {
    pub(super) scraped: f64,
    pub(super) acknowledged: f64,
    pub(super) pending: f64,
    /// Scraped, acknowledged, pending and evicted agree.
    pub(super) is_balanced: bool,
}

impl Running {
    pub(super) fn pid(&self) -> u32 {
        self.process.id()
    }

    pub(super) fn data(&self) -> &Path {
        &self.data
    }

    /// # Errors
    /// With the end of its log, when it has ended.
    pub(super) fn check_alive(&mut self) -> anyhow::Result<()> {
        if let Some(status) = self.process.exited() {
            let log = self.process.log();
            let lines: Vec<&str> = log.lines().collect();
            let last = lines[lines.len().saturating_sub(15)..].join("\n");
            bail!("{} ended: {status}\n{last}", self.kind);
        }
        Ok(())
    }

    /// `None` for the peers, and when it does not answer.
    pub(super) fn books(&self) -> Option<Books> {
        if self.kind != Kind::Edge {
            return None;
        }
        let answer = http::get(&format!("http://{}/api/v1/status/edge", self.address)).ok()?;
        let answer: Value = serde_json::from_slice(&answer.body).ok()?;
        let hub = answer["data"]["hubs"].get(0)?;
        let samples = |what: &str| hub[what]["samples"].as_f64();
        Some(Books {
            scraped: samples("scraped")?,
            acknowledged: samples("acknowledged")?,
            pending: samples("pending")?,
            is_balanced: hub["balanced"].as_bool()?,
        })
    }

    fn wait_ready(&mut self) -> anyhow::Result<()> {
        let path = match self.kind {
            Kind::VmAgent => "/health",
            Kind::Edge | Kind::Prometheus => "/-/ready",
        };
        let url = format!("http://{}{path}", self.address);
        let began = std::time::Instant::now();
        loop {
            self.check_alive()?;
            if http::get(&url).is_ok_and(|answer| answer.status == 200) {
                return Ok(());
            }
            ensure!(
                began.elapsed() < READY_WITHIN,
                "{} is not ready after {READY_WITHIN:?}:\n{}",
                self.kind,
                self.process.log()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// Our edge: the program that branches run, or the one of the same build as this.
fn edge_here() -> Option<PathBuf> {
    let ours = std::env::current_exe().ok()?;
    let branch = ours.parent()?.with_file_name("branch/edge-scraper");
    match branch.is_file() {
        true => Some(branch),
        false => beside_us("edge-scraper"),
    }
}

/// A program of ours, of the same build as this one.
pub(super) fn beside_us(name: &str) -> Option<PathBuf> {
    let beside = std::env::current_exe().ok()?.with_file_name(name);
    beside.is_file().then_some(beside)
}

pub(super) fn dying_with_us(program: &Path) -> Command {
    systems::dying_with_us(program)
}
