//! Our three processes and the peers, each with a folder, an address and a configuration of its own, so that it can be killed and
//! started again as what it was.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::Duration;

use crate::api::Api;
use crate::checkout;
use crate::peers::Peer;
use crate::process::{Process, free_address};

/// From the start to the first answer, on a machine that is busy with other tests.
const READY_WITHIN: Duration = Duration::from_secs(60);
/// From SIGTERM to the end.
const END_WITHIN: Duration = Duration::from_secs(30);

/// How one kind of program is told where to listen, where its data is, and what to do.
enum Kind {
    /// `--config F --listen A --data-dir D`.
    Ours,
    /// `node --listen A`.
    NodePage,
    Prometheus,
    Alertmanager,
    NodeExporter,
}

/// A program that can be started, killed and started again on the same address and data.
pub struct Service {
    kind: Kind,
    name: String,
    program: PathBuf,
    folder: PathBuf,
    address: String,
    has_config: bool,
    arguments: Vec<String>,
    /// Mount options of a file system of its own for its data folder.
    disk: Option<String>,
    process: Option<Process>,
}

impl Service {
    fn new(kind: Kind, name: &str, program: PathBuf, folder: &Path) -> Self {
        std::fs::create_dir_all(folder)
            .unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        Self {
            kind,
            name: name.to_owned(),
            program,
            folder: folder.to_path_buf(),
            address: free_address(),
            has_config: false,
            arguments: Vec::new(),
            disk: None,
            process: None,
        }
    }

    /// A hub with its files in `folder`. Without its local edge: tests that want one leave `--no-local-edge` out by [`Self::bare`].
    pub fn hub(folder: &Path) -> Self {
        Self::bare("hub", folder).argument("--no-local-edge")
    }

    /// One of our binaries with nothing but an address and a data folder.
    pub fn bare(program: &str, folder: &Path) -> Self {
        Self::new(Kind::Ours, program, checkout::binary(program), folder)
    }

    /// An edge.
    pub fn edge(folder: &Path) -> Self {
        Self::bare("edge-scraper", folder)
    }

    /// `edge-scraper node`: a machine's page alone.
    pub fn node_page(folder: &Path) -> Self {
        let program = checkout::binary("edge-scraper");
        Self::new(Kind::NodePage, "edge-scraper node", program, folder)
    }

    /// A router of its own.
    pub fn router(folder: &Path) -> Self {
        Self::bare("alert-router", folder)
    }

    /// Debian's Prometheus.
    pub fn prometheus(folder: &Path) -> Self {
        Self::new(
            Kind::Prometheus,
            "prometheus",
            Peer::Prometheus.path(),
            folder,
        )
    }

    /// Debian's Alertmanager, alone (no cluster).
    pub fn alertmanager(folder: &Path) -> Self {
        Self::new(
            Kind::Alertmanager,
            "alertmanager",
            Peer::Alertmanager.path(),
            folder,
        )
    }

    /// Debian's node_exporter.
    pub fn node_exporter(folder: &Path) -> Self {
        Self::new(
            Kind::NodeExporter,
            "node_exporter",
            Peer::NodeExporter.path(),
            folder,
        )
    }

    /// Writes its configuration file; used from the next start on, or by a reload.
    ///
    /// # Panics
    /// When the file cannot be written.
    #[must_use]
    pub fn config(mut self, text: &str) -> Self {
        self.write_config(text);
        self
    }

    /// Replaces its configuration file.
    ///
    /// # Panics
    /// When the file cannot be written.
    pub fn write_config(&mut self, text: &str) {
        self.has_config = true;
        let path = self.config_path();
        std::fs::write(&path, text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    }

    /// One more argument.
    #[must_use]
    pub fn argument(mut self, argument: impl Into<String>) -> Self {
        self.arguments.push(argument.into());
        self
    }

    /// Puts its data folder on a disk of its own that is so small, in memory and seen by this process alone. Nothing of it is
    /// left when the process ends.
    #[must_use]
    pub fn disk_bytes(mut self, bytes: u64) -> Self {
        self.disk = Some(format!("size={bytes}"));
        self
    }

    /// Puts its data folder on a disk of its own that cannot be written.
    #[must_use]
    pub fn read_only_disk(mut self) -> Self {
        self.disk = Some("ro".to_owned());
        self
    }

    /// Listens on this address and no other.
    #[must_use]
    pub fn at(mut self, address: &str) -> Self {
        self.address = address.to_owned();
        self
    }

    /// Whether this machine lets an ordinary process have a file system of its own.
    pub fn small_disks_work() -> bool {
        Command::new("unshare")
            .args(["-rm", "true"])
            .output()
            .is_ok_and(|output| output.status.success())
    }

    /// Its configuration file, whether written or not.
    pub fn config_path(&self) -> PathBuf {
        self.folder.join("config.yml")
    }

    /// Its data folder.
    pub fn data_dir(&self) -> PathBuf {
        self.folder.join("data")
    }

    /// `127.0.0.1:PORT`.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// `http://127.0.0.1:PORT` followed by `path`.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Its Prometheus API.
    pub fn api(&self) -> Api {
        Api::at(self.url(""))
    }

    /// Starts it and waits until it is ready.
    ///
    /// # Panics
    /// When it does not become ready.
    #[must_use]
    pub fn start(mut self) -> Self {
        self.start_again();
        self
    }

    /// Starts it (again): same address, same data, the configuration file as it is now.
    ///
    /// # Panics
    /// When it does not become ready.
    pub fn start_again(&mut self) {
        self.launch();
        let url = match self.kind {
            Kind::NodeExporter => self.url("/"),
            _ => self.url("/-/ready"),
        };
        self.process().wait_ready(&url, READY_WITHIN);
    }

    /// Starts it without waiting: for what must fail.
    ///
    /// # Panics
    /// When it cannot even be started.
    pub fn launch(&mut self) {
        let mut command = self.command();
        self.process = Some(Process::start(&self.name, &self.folder, &mut command));
    }

    /// Starts it and waits for its end: (exit status, everything it printed).
    ///
    /// # Panics
    /// When it does not end by itself.
    pub fn run_to_end(&mut self, within: Duration) -> (ExitStatus, String) {
        self.launch();
        let status = self.process().wait_exit(within);
        (status, self.log())
    }

    /// `kill -9`.
    ///
    /// # Panics
    /// When it was never started.
    pub fn kill_9(&mut self) {
        self.process().kill_9();
    }

    /// SIGTERM and an ordered end.
    ///
    /// # Panics
    /// When it does not end, or was never started.
    pub fn terminate(&mut self) -> ExitStatus {
        self.process().terminate(END_WITHIN)
    }

    /// The running process.
    ///
    /// # Panics
    /// When it was never started.
    pub fn process(&mut self) -> &mut Process {
        self.process.as_mut().expect("the service has been started")
    }

    /// Everything it has printed.
    pub fn log(&self) -> String {
        self.process.as_ref().map(Process::log).unwrap_or_default()
    }

    /// The command line that starts it.
    pub fn command(&self) -> Command {
        let mut command = match &self.disk {
            None => Command::new(&self.program),
            Some(options) => {
                let data = self.data_dir();
                std::fs::create_dir_all(&data)
                    .unwrap_or_else(|error| panic!("{}: {error}", data.display()));
                let mut command = Command::new("unshare");
                // Both unshare and the shell become what they run: the process keeps its id.
                command
                    .args(["-rm", "sh", "-c"])
                    .arg("mount -t tmpfs -o \"$0\" tmpfs \"$1\" && shift && exec \"$@\"")
                    .arg(options)
                    .arg(&data)
                    .arg(&self.program);
                command
            }
        };
        let (address, data, config) = (&self.address, self.data_dir(), self.config_path());
        match self.kind {
            Kind::Ours => {
                command
                    .args(["--listen", address])
                    .arg("--data-dir")
                    .arg(data);
                if self.has_config {
                    command.arg("--config").arg(config);
                }
            }
            Kind::NodePage => {
                command.args(["node", "--listen", address]);
            }
            Kind::Prometheus => {
                command
                    .arg(format!("--config.file={}", config.display()))
                    .arg(format!("--storage.tsdb.path={}", data.display()))
                    .arg(format!("--web.listen-address={address}"))
                    .arg("--web.enable-lifecycle");
            }
            Kind::Alertmanager => {
                command
                    .arg(format!("--config.file={}", config.display()))
                    .arg(format!("--storage.path={}", data.display()))
                    .arg(format!("--web.listen-address={address}"))
                    .arg("--cluster.listen-address=");
            }
            Kind::NodeExporter => {
                command.arg(format!("--web.listen-address={address}"));
            }
        }
        command.args(&self.arguments).current_dir(&self.folder);
        if let Kind::Alertmanager = self.kind {
            // As unpacked by tests/run it finds its templates in the folder that it is started in.
            let templates = checkout::root().join("target/peers/usr/share/prometheus/alertmanager");
            if self.program.starts_with(checkout::root()) && templates.is_dir() {
                command.current_dir(templates);
            }
        }
        command
    }
}
