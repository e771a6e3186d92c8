//! The servers that are measured: ours and the peers, each started for the same job on a data folder of its own.

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use clap::ValueEnum;
use tests::peers::Peer;
use tests::process::{Process, free_address};

use crate::client::Connection;
use crate::data::Shape;
use crate::push;

/// From the start to the first answer, on a machine that is busy; a Prometheus reads its whole WAL before.
const READY_WITHIN: Duration = Duration::from_secs(180);
/// Series that the hub takes without tokens: its limit for one scope.
const HUB_SERIES_WITHOUT_TOKENS: usize = 1_000_000;

/// Which server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(crate) enum Kind {
    /// Our hub.
    Hub,
    /// VictoriaMetrics, single node.
    #[value(name = "vm", alias = "victoria-metrics")]
    VictoriaMetrics,
    /// Prometheus, as a receiver of remote write.
    #[value(alias = "prom")]
    Prometheus,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Kind::Hub => "hub",
            Kind::VictoriaMetrics => "VictoriaMetrics",
            Kind::Prometheus => "Prometheus",
        })
    }
}

/// A server that can be started.
#[derive(Debug, Clone)]
pub(crate) struct System {
    pub(crate) kind: Kind,
    program: PathBuf,
    takes_old_samples: bool,
}

/// Where the programs are, as far as it was said.
#[derive(Debug, Clone, Default)]
pub(crate) struct Programs {
    pub(crate) hub: Option<PathBuf>,
    pub(crate) victoria_metrics: Option<PathBuf>,
    pub(crate) prometheus: Option<PathBuf>,
}

impl Programs {
    /// The wanted servers, or all that are there; what is not is said on stderr.
    ///
    /// # Errors
    /// When one that was named, or the hub, is not there.
    pub(crate) fn find(&self, wanted: &[Kind]) -> anyhow::Result<Vec<System>> {
        let mut systems = Vec::new();
        for kind in [Kind::Hub, Kind::VictoriaMetrics, Kind::Prometheus] {
            if !wanted.is_empty() && !wanted.contains(&kind) {
                continue;
            }
            match self.path(kind) {
                Ok(program) => systems.push(System {
                    kind,
                    program,
                    takes_old_samples: false,
                }),
                Err(error) if kind != Kind::Hub && wanted.is_empty() => {
                    eprintln!("left out: {error}");
                }
                Err(error) => return Err(error),
            }
        }
        Ok(systems)
    }

    fn path(&self, kind: Kind) -> anyhow::Result<PathBuf> {
        let (named, found, option, way_out) = match kind {
            Kind::Hub => (
                &self.hub,
                our_hub(),
                "--hub",
                "cargo build --release builds it",
            ),
            Kind::VictoriaMetrics => (
                &self.victoria_metrics,
                Peer::VictoriaMetrics.find(),
                "--victoria-metrics",
                "tests/run --peers brings it",
            ),
            Kind::Prometheus => (
                &self.prometheus,
                Peer::Prometheus.find(),
                "--prometheus",
                "tests/run --peers brings it",
            ),
        };
        if let Some(named) = named {
            let whole = std::path::absolute(named)?;
            ensure!(whole.is_file(), "{kind}: there is no {}", named.display());
            return Ok(whole);
        }
        found.with_context(|| {
            format!("{kind} is not here: {way_out}, or name one with {option} PATH")
        })
    }
}

/// The hub beside this binary: of the same build.
fn our_hub() -> Option<PathBuf> {
    let beside = std::env::current_exe().ok()?.with_file_name("hub");
    beside.is_file().then_some(beside)
}

/// The first line that a program says about its version, and for one that says nothing, its path.
pub(crate) fn version(program: &Path) -> String {
    let said = Command::new(program).arg("--version").output().ok();
    let line = said.and_then(|said| {
        let both = [said.stdout, said.stderr].concat();
        let text = String::from_utf8_lossy(&both).into_owned();
        text.lines().next().map(str::trim).map(str::to_owned)
    });
    line.filter(|line| !line.is_empty())
        .unwrap_or_else(|| program.display().to_string())
}

impl System {
    /// Set up for a backlog: a Prometheus refuses it otherwise. The others need nothing.
    pub(crate) fn taking_old_samples(&self) -> Self {
        Self {
            takes_old_samples: true,
            ..self.clone()
        }
    }

    /// Whether it is given a token for each branch.
    pub(crate) fn needs_tokens(&self, series: usize) -> bool {
        self.kind == Kind::Hub && series > HUB_SERIES_WITHOUT_TOKENS
    }

    /// [`version`] of its program.
    pub(crate) fn version(&self) -> String {
        version(&self.program)
    }

    /// Starts it on an empty folder and waits until it is ready.
    ///
    /// # Errors
    /// When it does not get ready.
    pub(crate) fn start(&self, folder: &Path, shape: &Shape) -> anyhow::Result<Running> {
        std::fs::create_dir_all(folder)?;
        let address = free_address();
        let command = self.command(folder, &address, shape)?;
        let mut running = Running {
            kind: self.kind,
            folder: folder.to_path_buf(),
            process: Process::start(&self.kind.to_string(), folder, &mut { command }),
            address,
            system: self.clone(),
        };
        running.wait_ready()?;
        Ok(running)
    }

    fn command(&self, folder: &Path, address: &str, shape: &Shape) -> anyhow::Result<Command> {
        let data = folder.join("data");
        let mut command = dying_with_us(&self.program);
        match self.kind {
            Kind::Hub => {
                command
                    .args(["--no-local-edge", "--listen", address])
                    .arg("--data-dir")
                    .arg(data);
                if self.needs_tokens(shape.series) {
                    let path = folder.join("hub.yml");
                    std::fs::write(&path, hub_config(shape))?;
                    command.arg("--config").arg(path);
                }
            }
            Kind::VictoriaMetrics => {
                command
                    .arg(format!("-storageDataPath={}", data.display()))
                    .arg(format!("-httpListenAddr={address}"))
                    .args([
                        "-retentionPeriod=10y",
                        "-search.disableCache",
                        "-search.latencyOffset=0s",
                        "-search.maxUniqueTimeseries=100000000",
                        "-search.maxSeries=100000000",
                        "-search.maxSamplesPerQuery=10000000000",
                        "-search.maxQueryDuration=150s",
                        "-search.maxQueryLen=1048576",
                    ]);
            }
            Kind::Prometheus => {
                let path = folder.join("prometheus.yml");
                let old = if self.takes_old_samples {
                    OLD_SAMPLES
                } else {
                    ""
                };
                std::fs::write(&path, format!("global: {{scrape_interval: 1h}}\n{old}"))?;
                command
                    .arg(format!("--config.file={}", path.display()))
                    .arg(format!("--storage.tsdb.path={}", data.display()))
                    .arg(format!("--web.listen-address={address}"))
                    .args([
                        "--web.enable-remote-write-receiver",
                        "--storage.tsdb.retention.time=10y",
                        "--query.max-samples=1000000000",
                        "--query.timeout=150s",
                    ]);
            }
        }
        Ok(command)
    }
}

/// A benchmark that is ended from outside, by a timeout say, runs no destructors: the kernel ends the server then. setpriv becomes
/// the program, whose process id stays ours to measure; that takes a millisecond. Without setpriv such a server is left behind.
pub(crate) fn dying_with_us(program: &Path) -> Command {
    let setpriv = Path::new("/usr/bin/setpriv");
    if !setpriv.is_file() {
        return Command::new(program);
    }
    let mut command = Command::new(setpriv);
    command.args(["--pdeathsig", "KILL", "--"]).arg(program);
    command
}

/// A Prometheus refuses what is older than its head, and a branch's backlog is, unless it is told otherwise.
const OLD_SAMPLES: &str = "storage: {tsdb: {out_of_order_time_window: 2d}}\n";

fn hub_config(shape: &Shape) -> String {
    let mut text = "branchline:\n  branches:\n".to_owned();
    for (branch, token) in push::tokens(shape) {
        text.push_str(&format!("  - {{name: {branch}, token: {token}}}\n"));
    }
    text
}

/// A server that runs. Killed when dropped.
pub(crate) struct Running {
    pub(crate) kind: Kind,
    pub(crate) address: String,
    folder: PathBuf,
    process: Process,
    system: System,
}

impl Running {
    pub(crate) fn pid(&self) -> u32 {
        self.process.id()
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    pub(crate) fn kill_9(&mut self) {
        self.process.kill_9();
    }

    /// Starts it again on the same address and data; does not wait.
    ///
    /// # Errors
    /// When its files cannot be written.
    pub(crate) fn start_again(&mut self, shape: &Shape) -> anyhow::Result<()> {
        let mut command = self.system.command(&self.folder, &self.address, shape)?;
        self.process = Process::start(&self.kind.to_string(), &self.folder, &mut command);
        Ok(())
    }

    /// What goes wrong is told with what it printed last.
    ///
    /// # Errors
    /// When it has ended.
    pub(crate) fn check_alive(&mut self) -> anyhow::Result<()> {
        if let Some(status) = self.process.exited() {
            bail!("{} ended: {status}\n{}", self.kind, self.last_lines());
        }
        Ok(())
    }

    pub(crate) fn last_lines(&self) -> String {
        let log = self.process.log();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(15)..].join("\n")
    }

    fn wait_ready(&mut self) -> anyhow::Result<()> {
        let path = match self.kind {
            Kind::VictoriaMetrics => "/health",
            Kind::Hub | Kind::Prometheus => "/-/ready",
        };
        let began = Instant::now();
        loop {
            self.check_alive()?;
            let answer = Connection::open(&self.address).and_then(|mut c| c.get(path));
            if answer.is_ok_and(|answer| answer.is_success()) {
                return Ok(());
            }
            if began.elapsed() > READY_WITHIN {
                bail!(
                    "{} is not ready after {READY_WITHIN:?}\n{}",
                    self.kind,
                    self.last_lines()
                );
            }
            thread::sleep(Duration::from_millis(20));
        }
    }
}
