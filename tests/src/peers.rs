//! The real programs of the field that ours must work with: Prometheus, Alertmanager, node_exporter, as `tests/run` brings them;
//! OpenTelemetry's SDK for Python, as `tests/run --all` brings it; and VictoriaMetrics, which `tests/run --peers` brings for the benchmarks to compare with.

use std::io::Write;
use std::path::PathBuf;

use crate::checkout;

/// A program that is not ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Peer {
    /// The Prometheus server.
    Prometheus,
    /// Its tool: queries, rule checks.
    Promtool,
    /// The Alertmanager server.
    Alertmanager,
    /// Its tool: shows alerts.
    Amtool,
    /// The exporter of a machine's own metrics.
    NodeExporter,
    /// The single-node server, for benchmarks only.
    VictoriaMetrics,
}

impl Peer {
    /// The names it goes by: Debian's and upstream's.
    fn names(self) -> &'static [&'static str] {
        match self {
            Peer::Prometheus => &["prometheus"],
            Peer::Promtool => &["promtool"],
            Peer::Alertmanager => &["prometheus-alertmanager", "alertmanager"],
            Peer::Amtool => &["amtool"],
            Peer::NodeExporter => &["prometheus-node-exporter", "node_exporter"],
            Peer::VictoriaMetrics => &["victoria-metrics", "victoria-metrics-prod"],
        }
    }

    /// Where it is: under `target/peers` as `tests/run` unpacks it, or on PATH.
    pub fn find(self) -> Option<PathBuf> {
        let unpacked = checkout::root().join("target/peers/usr/bin");
        let path = std::env::var_os("PATH").unwrap_or_default();
        let folders: Vec<PathBuf> = std::iter::once(unpacked)
            .chain(std::env::split_paths(&path))
            .collect();
        self.names()
            .iter()
            .flat_map(|name| folders.iter().map(move |folder| folder.join(name)))
            .find(|candidate| candidate.is_file())
    }

    /// Its path.
    ///
    /// # Panics
    /// When it is not there: ask [`all_there`] first.
    pub fn path(self) -> PathBuf {
        self.find()
            .unwrap_or_else(|| panic!("{self:?} is not there: run tests/run --peers"))
    }
}

/// Chromium and its WebDriver, installed or as `tests/run` unpacks them.
#[derive(Debug, Clone)]
pub struct Chromium {
    /// The program that drives it.
    pub driver: PathBuf,
    /// The browser itself.
    pub browser: PathBuf,
    /// Where an unpacked one has those of its libraries that this machine has not.
    pub libraries: Option<PathBuf>,
}

impl Chromium {
    /// Where it is.
    pub fn find() -> Option<Self> {
        let unpacked = checkout::root().join("target/peers/chromium");
        let chromium = Chromium {
            driver: unpacked.join("usr/lib/chromium/chromedriver"),
            browser: unpacked.join("usr/lib/chromium/chromium"),
            libraries: Some(unpacked.join("libraries")),
        };
        if chromium.driver.is_file() && chromium.browser.is_file() {
            return Some(chromium);
        }
        let on_path = |name: &str| {
            let path = std::env::var_os("PATH").unwrap_or_default();
            std::env::split_paths(&path)
                .map(|folder| folder.join(name))
                .find(|candidate| candidate.is_file())
        };
        Some(Chromium {
            driver: on_path("chromedriver")?,
            browser: on_path("chromium").or_else(|| on_path("google-chrome"))?,
            libraries: None,
        })
    }
}

/// Whether a test that needs a browser can run; if not, says so as [`all_there`] does.
///
/// # Panics
/// With CI=true a test may not be left out.
pub fn browser_is_there() -> bool {
    let there = Chromium::find().is_some();
    if !there {
        leave_out("needs chromium and chromedriver; tests/run --peers brings them");
    }
    there
}

/// The interpreter in whose environment OpenTelemetry's SDK and its OTLP exporter are, as `tests/run --all` makes it.
pub fn opentelemetry_python() -> Option<PathBuf> {
    let python = checkout::root().join("target/peers/opentelemetry/bin/python");
    python.is_file().then_some(python)
}

/// The folder of packages with Prometheus's own editor, as `tests/run --all` installs it from npm.
pub fn codemirror() -> Option<PathBuf> {
    let packages = checkout::root().join("target/peers/codemirror/node_modules");
    let editor = packages.join("@prometheus-io/codemirror-promql/package.json");
    editor.is_file().then_some(packages)
}

/// Whether a test that needs these peers can run. If not, says so where `tests/run` reads it: the test then returns at once.
///
/// # Panics
/// With CI=true a test may not be left out.
pub fn all_there(needed: &[Peer]) -> bool {
    let missing: Vec<&Peer> = needed.iter().filter(|peer| peer.find().is_none()).collect();
    if missing.is_empty() {
        return true;
    }
    leave_out(&format!("needs {missing:?}; tests/run --peers brings them"));
    false
}

/// Says that the running test is left out, where `tests/run` reads it.
///
/// # Panics
/// With CI=true.
pub fn leave_out(why: &str) {
    let test = std::thread::current().name().unwrap_or("a test").to_owned();
    assert!(
        !checkout::in_ci(),
        "{test} {why}, and CI=true leaves nothing out"
    );
    // Not println!, which the test runner keeps to itself when a test passes; and in one piece, because tests run side by side.
    let line = format!("\nleft out: {test}: {why}\n");
    let _ = std::io::stderr().write_all(line.as_bytes());
}
