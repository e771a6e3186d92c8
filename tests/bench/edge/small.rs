//! What does the link of one small node carry, everything counted? Edge and hub stand on two ends of a pair of network interfaces, the
//! hub in a network of its own, TLS between them; the kernel counts what passes, IP headers included.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use tests::certificates::Authority;
use tests::process::Process;

use super::report::Report;
use super::sender::{Job, Kind, Program, Running, dying_with_us};
use super::targets::Targets;
use super::{Options, Plan, Span, finish, now_ms};
use crate::measured::Measured;
use crate::progress::Progress;

const SERIES: usize = 500;
/// Of the block that is meant for benchmarks, so nobody else here should have them (RFC 2544).
const EDGE_ADDRESS: &str = "198.18.77.1";
const HUB_ADDRESS: &str = "198.18.77.2";
const PORT: u16 = 9490;
/// The kernel's counts of an interface have it, lines between offices do not.
const ETHERNET_HEADER: u64 = 14;
const FIRST_WITHIN: Duration = Duration::from_secs(60);

pub(super) fn run(options: &Options, hub: Option<&Path>) -> anyhow::Result<ExitCode> {
    let hub = hub.context("the hub is not here: cargo build --release builds it")?;
    let program = Program::find(Kind::Edge, options.edge.as_deref())?;
    let interval = options.interval;
    let plan = Plan {
        targets: 1,
        series: SERIES,
        interval,
        warm: interval * 6,
        live: interval * if options.quick { 6 } else { 24 },
        cut: Duration::ZERO,
    };
    let network = match Network::make() {
        Ok(network) => network,
        Err(error) => {
            println!("left out: {error:#}; --small needs root and ip (iproute2)");
            return Ok(ExitCode::SUCCESS);
        }
    };
    let folder = crate::folder(options.dir.as_deref())?;
    let mut progress = Progress::new();
    let measured = measure(&program, hub, &network, &plan, folder.path(), &mut progress)?;
    progress.clear();
    let report = Report {
        plan: &plan,
        measured: BTreeMap::from([(Kind::Edge, measured)]),
    };
    finish(options, &report)
}

fn measure(
    program: &Program,
    hub: &Path,
    network: &Network,
    plan: &Plan,
    folder: &Path,
    progress: &mut Progress,
) -> anyhow::Result<Measured> {
    let authority = Authority::new(&folder.join("certificates"), "ca");
    let (cert, key) = authority.issue("hub", &[HUB_ADDRESS]);
    let (config, web) = (folder.join("hub.yml"), folder.join("web.yml"));
    std::fs::write(
        &config,
        "branchline: {branches: [{name: b01, token: small-node-token}], anonymous_reads: true}\n",
    )?;
    let tls = format!(
        "tls_server_config: {{cert_file: {}, key_file: {}}}\n",
        cert.display(),
        key.display()
    );
    std::fs::write(&web, tls)?;
    let mut command = dying_with_us(Path::new("ip"));
    command
        .args(["netns", "exec", &network.name])
        .arg(hub)
        .args(["--no-local-edge", "--listen"])
        .arg(format!("{HUB_ADDRESS}:{PORT}"))
        .arg("--data-dir")
        .arg(folder.join("hub"))
        .arg("--config")
        .arg(&config)
        .arg("--web.config.file")
        .arg(&web);
    let mut hub = Process::start("hub", folder, &mut command);
    let targets = Targets::start(plan.targets, plan.series)?;
    let mut edge = program.start(&Job {
        folder: &folder.join("sender"),
        targets: &targets.addresses(),
        interval: plan.interval,
        write_to: &format!("https://{HUB_ADDRESS}:{PORT}/api/v1/write"),
        write_options: &format!(
            "    authorization: {{credentials: small-node-token}}\n    tls_config: {{ca_file: {}}}\n",
            authority.pem().display()
        ),
    })?;
    progress.phase("small node: first scrapes");
    wait_acknowledged(&mut edge, &mut hub)?;
    thread::sleep(plan.warm);
    progress.phase(format!("small node: live, {:?}", plan.live));
    let (from, before) = (now_ms(), network.counts()?);
    let acknowledged = edge.books().map_or(0.0, |books| books.acknowledged);
    thread::sleep(plan.live);
    let (to, after) = (now_ms(), network.counts()?);
    let books = edge.books().context("the edge does not answer")?;
    let came = books.acknowledged - acknowledged;
    let span = Span { from, to };
    let samples = targets.samples(span);
    ensure!(
        came >= samples * 0.9,
        "{came} of {samples} samples were acknowledged:\n{}",
        hub.log()
    );
    let bytes = (after.bytes - before.bytes) as f64;
    let packets = (after.packets - before.packets) as f64;
    let mut measured = Measured::default();
    measured.set("edge_small_wire", bytes / samples);
    let a_day = 86_400_000.0 / span.millis() as f64;
    measured.set("edge_small_bytes_a_day", bytes * a_day);
    let scrapes = targets.pages(span) as f64;
    measured.set("edge_small_packets", packets / scrapes);
    Ok(measured)
}

fn wait_acknowledged(edge: &mut Running, hub: &mut Process) -> anyhow::Result<()> {
    let began = Instant::now();
    while edge.books().is_none_or(|books| books.acknowledged == 0.0) {
        edge.check_alive()?;
        let ended = hub.exited();
        if ended.is_some() || began.elapsed() > FIRST_WITHIN {
            bail!("the hub has acknowledged nothing:\n{}", hub.log());
        }
        thread::sleep(Duration::from_millis(200));
    }
    Ok(())
}

/// A pair of interfaces, the far one in a network of its own. Goes away when dropped.
struct Network {
    name: String,
    near: String,
}

/// What has passed the near interface both ways.
struct Counts {
    /// Of IP packets.
    bytes: u64,
    packets: u64,
}

impl Network {
    fn make() -> anyhow::Result<Self> {
        let pid = std::process::id();
        let network = Self {
            name: format!("bench-{pid}"),
            near: format!("bench{pid}"),
        };
        let (name, near, far) = (&network.name, &network.near, format!("far{pid}"));
        let in_it = ["-n", name];
        ip(&["netns", "add", name])?;
        ip(&[
            "link", "add", near, "type", "veth", "peer", "name", &far, "netns", name,
        ])?;
        // Nothing but ours on it: IPv6 looks for neighbours and routers of its own accord.
        let quiet = format!("/proc/sys/net/ipv6/conf/{near}/disable_ipv6");
        let _ = std::fs::write(quiet, "1");
        ip(&["link", "set", near, "addrgenmode", "none"])?;
        ip(&[&in_it[..], &["link", "set", &far, "addrgenmode", "none"]].concat())?;
        ip(&["address", "add", &format!("{EDGE_ADDRESS}/30"), "dev", near])?;
        let hub_address = format!("{HUB_ADDRESS}/30");
        ip(&[&in_it[..], &["address", "add", &hub_address, "dev", &far]].concat())?;
        ip(&["link", "set", near, "up"])?;
        ip(&[&in_it[..], &["link", "set", &far, "up"]].concat())?;
        Ok(network)
    }

    fn counts(&self) -> anyhow::Result<Counts> {
        let read = |what: &str| {
            let path = format!("/sys/class/net/{}/statistics/{what}", self.near);
            let text = std::fs::read_to_string(&path).with_context(|| path.clone())?;
            text.trim().parse::<u64>().context(path)
        };
        let packets = read("tx_packets")? + read("rx_packets")?;
        let bytes = read("tx_bytes")? + read("rx_bytes")?;
        Ok(Counts {
            bytes: bytes.saturating_sub(packets * ETHERNET_HEADER),
            packets,
        })
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        // Its interface goes with it, and the other end with that.
        let _ = ip(&["link", "delete", &self.near]);
        let _ = ip(&["netns", "delete", &self.name]);
    }
}

fn ip(arguments: &[&str]) -> anyhow::Result<()> {
    let what = || format!("ip {}", arguments.join(" "));
    let output = Command::new("ip")
        .args(arguments)
        .output()
        .with_context(what)?;
    ensure!(
        output.status.success(),
        "{}: {}",
        what(),
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(())
}
