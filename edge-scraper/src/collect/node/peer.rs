//! Our page against that of Debian's node_exporter on the machine that runs the test.
//!
//! node_exporter is asked before and after we collect. What is equal both times must be equal in our page; what moved must
//! lie between. Gauges that go up and down may miss that by chance, so every series has many tries and needs one.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::fixture::Fixture;
use super::*;

/// Families of node_exporter that we leave out, by prefix; README.md says why.
const LEFT_OUT: [&str; 7] = [
    "go_",
    "process_",
    "promhttp_",
    "node_exporter_build_info",
    "node_infiniband_",
    "node_systemd_",
    "node_timex_",
];

/// What node_exporter shows from a later version on than Debian's, by prefix.
const NEWER: [&str; 8] = [
    "node_hwmon_freq_freq_mhz",
    "node_kernel_hung_",
    "node_netstat_TcpExt_TCPOFOQueue",
    "node_netstat_TcpExt_TCPRcvQDrop",
    "node_pressure_irq_",
    "node_softnet_backlog_len",
    "node_softnet_flow_limit_count_total",
    "node_softnet_received_rps_total",
];

const TRIES: usize = 200;

/// A page as a set of series: family types, and values by name and sorted labels.
#[derive(Debug, Default)]
struct Series {
    types: BTreeMap<String, String>,
    help: BTreeMap<String, String>,
    values: BTreeMap<String, f64>,
}

fn series(page: &str) -> Series {
    let mut series = Series::default();
    for line in page.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            series.types.insert(name.to_owned(), kind.to_owned());
        } else if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').unwrap_or((rest, ""));
            series.help.insert(name.to_owned(), help.to_owned());
        } else {
            let (key, value) = line.rsplit_once(' ').unwrap();
            series.values.insert(canonical(key), value.parse().unwrap());
        }
    }
    series.values.retain(|key, _| {
        !LEFT_OUT
            .iter()
            .chain(&NEWER)
            .any(|prefix| key.starts_with(prefix))
    });
    series
}

/// The same text for the same labels in any order.
fn canonical(key: &str) -> String {
    let Some((name, labels)) = key.split_once('{') else {
        return key.to_owned();
    };
    let mut pairs: Vec<&str> = labels.trim_end_matches('}').split("\",").collect();
    pairs
        .iter_mut()
        .for_each(|pair| *pair = pair.trim_end_matches('"'));
    pairs.sort_unstable();
    format!("{name}{{{}}}", pairs.join(","))
}

/// A row about a collector that only one of the two has.
fn is_of_another_collector(key: &str) -> bool {
    let collector = key
        .strip_prefix("node_scrape_collector_")
        .and_then(|key| key.split_once("collector="));
    collector.is_some_and(|(_, name)| {
        let name = name.trim_matches(|c| c == '"' || c == '}');
        name == "kernel_hung" || !COLLECTORS.iter().any(|switch| switch.name == name)
    })
}

/// What our page has wrong for good, and which series have not yet been between the two readings.
fn compare(before: &Series, ours: &Series, after: &Series) -> (Vec<String>, BTreeSet<String>) {
    let (mut wrong, mut open) = (Vec::new(), BTreeSet::new());
    let keys: BTreeSet<&String> = before.values.keys().chain(ours.values.keys()).collect();
    for key in keys {
        if is_of_another_collector(key) {
            continue;
        }
        let name = key.split('{').next().unwrap();
        let (Some(low), Some(value), Some(high)) = (
            before.values.get(key),
            ours.values.get(key),
            after.values.get(key),
        ) else {
            // A device or a mount may have come or gone in between: open, not wrong.
            open.insert(format!("{key}: only in one of the pages"));
            continue;
        };
        if before.types.get(name) != ours.types.get(name) {
            wrong.push(format!(
                "type of {name}: {:?}, theirs {:?}",
                ours.types.get(name),
                before.types.get(name)
            ));
        }
        if before.help.get(name) != ours.help.get(name) {
            wrong.push(format!(
                "help of {name}: {:?}, theirs {:?}",
                ours.help.get(name),
                before.help.get(name)
            ));
        }
        let is_duration = name == "node_scrape_collector_duration_seconds";
        // Of listening sockets netlink says how many connections may wait, which node_exporter adds up as bytes.
        let is_backlog = key.starts_with("node_tcp_connection_states{state=\"tx_queued_bytes");
        if !is_duration && !is_backlog && !(low.min(*high)..=low.max(*high)).contains(value) {
            open.insert(key.clone());
        }
    }
    (wrong, open)
}

fn binary() -> Option<PathBuf> {
    if let Some(path) = std::env::var_os("BRANCHLINE_NODE_EXPORTER") {
        return Some(path.into());
    }
    let target = Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()?
        .join("target/peers");
    let names = [
        "usr/bin/prometheus-node-exporter",
        "bin/prometheus-node-exporter",
    ];
    names
        .iter()
        .map(|name| target.join(name))
        .find(|path| path.is_file())
}

struct Peer {
    child: Child,
    port: u16,
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Peer {
    fn start(binary: &Path, arguments: &[String]) -> Peer {
        let port = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let child = Command::new(binary)
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .arg("--web.disable-exporter-metrics")
            .args(["--collector.interrupts", "--collector.processes"])
            .args(arguments)
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let peer = Peer { child, port };
        let deadline = Instant::now() + Duration::from_secs(20);
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(Instant::now() < deadline, "node_exporter does not listen");
            std::thread::yield_now();
        }
        peer
    }

    fn page(&self) -> String {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        stream
            .write_all(b"GET /metrics HTTP/1.0\r\nHost: x\r\n\r\n")
            .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.contains("200 OK"), "{head}");
        body.to_owned()
    }
}

fn all_collectors(roots: Roots) -> NodeOptions {
    let off: Vec<String> = (COLLECTORS.iter().filter(|switch| !switch.on))
        .map(|switch| switch.name.to_owned())
        .collect();
    NodeOptions {
        roots,
        collectors: Switches::with(&off, &[]).unwrap(),
        ..NodeOptions::default()
    }
}

/// Files with metrics of every type, in a folder and as node_exporter's flag for it. One is not to be read.
fn text_files() -> (tempfile::TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    write(
        "a.prom",
        "# HELP apt_upgrades_pending Updates that wait.\n# TYPE apt_upgrades_pending gauge\n\
         apt_upgrades_pending{arch=\"all\",origin=\"x\"} 3\nbackup_plain 1.5\n\
         # TYPE backup_runs_total counter\nbackup_runs_total 7\n",
    );
    write(
        "b.prom",
        "# TYPE backup_plain untyped\nbackup_plain{of=\"b\"} 2\n\
         # HELP backup_took Seconds.\n# TYPE backup_took histogram\nbackup_took_bucket{le=\"0.5\"} 1\n\
         backup_took_bucket{le=\"+Inf\"} 2\nbackup_took_sum 1.5\nbackup_took_count 2\n\
         # HELP backup_size Bytes.\n# TYPE backup_size summary\nbackup_size{quantile=\"0.5\"} 10\n\
         backup_size_sum 30\nbackup_size_count 2\n",
    );
    write("c.prom", "not a metric\n");
    write("d.txt", "other_plain 1\n");
    let flag = format!("--collector.textfile.directory={}", folder.path().display());
    (folder, flag)
}

fn left_out() {
    println!(
        "left out: the node collector against node_exporter: set BRANCHLINE_NODE_EXPORTER or run tests/run --peers"
    );
}

/// The machine that has everything: what lies still must be the same to the last digit.
#[test]
fn the_same_page_of_a_machine_that_has_everything() {
    let Some(binary) = binary() else {
        return left_out();
    };
    let machine = Fixture::machine();
    let roots = machine.roots();
    let textfiles = text_files();
    let peer = Peer::start(
        &binary,
        &[
            format!("--path.procfs={}", roots.proc.display()),
            format!("--path.sysfs={}", roots.sys.display()),
            format!("--path.rootfs={}", roots.root.display()),
            format!("--path.udev.data={}/run/udev/data", roots.root.display()),
            textfiles.1.clone(),
            // From the kernel itself otherwise, whatever the folders say.
            "--no-collector.netdev.netlink".to_owned(),
        ],
    );
    let theirs = peer.page();
    let mut options = all_collectors(roots);
    options.collectors.set("tcpstat", false).unwrap();
    options.textfile_directory = Some(textfiles.0.path().to_owned());
    let ours = NodeCollector::new(DEFAULT_JOB, &options).page(Format::Classic, |_| true);
    let mut differences = Vec::new();
    let (theirs, ours) = (series(&theirs), series(&ours));
    // What moves meanwhile, and what node_exporter asks the kernel for where we read folders.
    let moves = |key: &str| {
        [
            "node_time_seconds",
            "node_scrape_collector_duration_seconds",
            "node_btrfs_device_errors_total",
            "node_filesystem_avail_bytes",
            "node_filesystem_files_free",
            "node_filesystem_free_bytes",
            "node_hwmon_sensor_label{chip=\"it8728,label=\"sclk",
            "node_network_receive_nohandler_total",
        ]
        .iter()
        .any(|prefix| key.starts_with(prefix))
    };
    let keys: BTreeSet<&String> = theirs.values.keys().chain(ours.values.keys()).collect();
    for key in keys.into_iter().filter(|key| !moves(key)) {
        let (a, b) = (theirs.values.get(key), ours.values.get(key));
        if a != b && !is_of_another_collector(key) {
            differences.push(format!("{key}: theirs {a:?}, ours {b:?}"));
        }
    }
    for (what, theirs, ours) in [
        ("type", &theirs.types, &ours.types),
        ("help", &theirs.help, &ours.help),
    ] {
        for (name, a) in theirs {
            let b = ours.get(name);
            let ours_alone = LEFT_OUT.iter().any(|prefix| name.starts_with(prefix));
            if b.is_some_and(|b| a != b) && !ours_alone {
                differences.push(format!("{what} of {name}: theirs {a:?}, ours {b:?}"));
            }
        }
    }
    assert!(differences.is_empty(), "{}", differences.join("\n"));
    assert!(ours.values.len() > 800, "{} series", ours.values.len());
}

#[test]
fn the_same_page_as_node_exporter() {
    let Some(binary) = binary() else {
        return left_out();
    };
    let textfiles = text_files();
    let flags = ["--collector.tcpstat".to_owned(), textfiles.1.clone()];
    let peer = Peer::start(&binary, &flags);
    let mut options = all_collectors(Roots::default());
    options.textfile_directory = Some(textfiles.0.path().to_owned());
    let collector = NodeCollector::new(DEFAULT_JOB, &options);
    let mut still_open: Option<BTreeSet<String>> = None;
    for _ in 0..TRIES {
        let before = series(&peer.page());
        // Reading their page costs a connection, which the sockets' counts see: ours is collected with one open too.
        let connection = TcpStream::connect(("127.0.0.1", peer.port)).unwrap();
        let ours = series(&collector.collect().unwrap());
        drop(connection);
        let after = series(&peer.page());
        let (wrong, open) = compare(&before, &ours, &after);
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
        let rest = match still_open {
            None => open,
            Some(rest) => rest.intersection(&open).cloned().collect(),
        };
        if rest.is_empty() {
            return;
        }
        still_open = Some(rest);
    }
    let rest: Vec<String> = still_open.unwrap_or_default().into_iter().collect();
    panic!(
        "never as node_exporter shows them, in {TRIES} tries:\n{}",
        rest.join("\n")
    );
}

#[test]
fn the_comparison_sees_what_differs() {
    let page = |value: f64, kind: &str| {
        series(&format!(
            "# HELP node_a x\n# TYPE node_a {kind}\nnode_a{{b=\"1\",a=\"2\"}} {value}\ngo_x 1\n"
        ))
    };
    let (low, high) = (page(1.0, "gauge"), page(3.0, "gauge"));
    assert_eq!(
        compare(&low, &page(2.0, "gauge"), &high),
        (vec![], BTreeSet::new())
    );
    let open = BTreeSet::from(["node_a{a=\"2,b=\"1}".to_owned()]);
    assert_eq!(compare(&low, &page(4.0, "gauge"), &high), (vec![], open));
    assert_eq!(compare(&low, &page(2.0, "counter"), &high).0.len(), 1);
    assert_eq!(compare(&low, &Series::default(), &high).1.len(), 1);
}
