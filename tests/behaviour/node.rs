//! `edge-scraper node` in the place of node_exporter: promtool likes its page, a real Prometheus scrapes it, the values are those
//! of node_exporter beside it, and nothing that hangs holds it up.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use tests::peers::{Peer, all_there};
use tests::service::Service;
use tests::{http, wait};

const LONG: Duration = Duration::from_secs(60);

/// What promtool finds fault with in a page.
fn faults(page: &str) -> BTreeSet<String> {
    let mut promtool = Command::new(Peer::Promtool.path())
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool runs");
    let mut stdin = promtool.stdin.take().expect("piped");
    stdin.write_all(page.as_bytes()).expect("promtool reads");
    drop(stdin);
    let output = promtool.wait_with_output().expect("promtool ends");
    let text = String::from_utf8_lossy(&output.stderr).into_owned()
        + &String::from_utf8_lossy(&output.stdout);
    text.lines().map(str::to_owned).collect()
}

#[test]
fn promtool_finds_no_fault_that_node_exporter_has_not() {
    if !all_there(&[Peer::Promtool, Peer::NodeExporter]) {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let ours = Service::node_page(&folder.path().join("ours")).start();
    let theirs = Service::node_exporter(&folder.path().join("theirs")).start();
    let page = |service: &Service| http::get(&service.url("/metrics")).expect("a page").text();
    let mut found = faults(&page(&ours));
    let known = faults(&page(&theirs));
    // Fields of netstat have the kernel's names, there too; later versions show two more than Debian's.
    found.retain(|fault| !known.contains(fault) && !fault.starts_with("node_netstat_TcpExt_"));
    assert!(found.is_empty(), "{found:#?}");
    // It does find what is wrong.
    let wrong = faults("# TYPE a counter\na 1\na 1\n");
    assert!(!wrong.is_empty());
}

#[test]
fn a_prometheus_scrapes_it_and_sees_what_node_exporter_shows() {
    if !all_there(&[Peer::Prometheus, Peer::NodeExporter]) {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let ours = Service::node_page(&folder.path().join("ours")).start();
    let theirs = Service::node_exporter(&folder.path().join("theirs")).start();
    let job = |name: &str, service: &Service| {
        format!(
            "- job_name: {name}\n  static_configs: [{{targets: ['{}']}}]\n",
            service.address()
        )
    };
    let prometheus = Service::prometheus(&folder.path().join("prometheus"))
        .config(&format!(
            "global: {{scrape_interval: 1s}}\nscrape_configs:\n{}{}",
            job("ours", &ours),
            job("theirs", &theirs)
        ))
        .start();
    let api = prometheus.api();
    wait::until(LONG, "both are scraped", || match api.value("sum(up)")? {
        2.0 => Ok(()),
        up => Err(format!("{up} of 2 are up")),
    });
    // What stays as it is must be equal, label for label.
    for metric in [
        "node_boot_time_seconds",
        "node_uname_info",
        "node_os_info",
        "node_memory_MemTotal_bytes",
        "node_filesystem_size_bytes",
        "node_filesystem_readonly",
        "node_network_info",
        "node_filefd_maximum",
        "node_disk_info",
    ] {
        let of = |job: &str| format!("sum without (job, instance) ({metric}{{job=\"{job}\"}})");
        let (a, b) = (of("ours"), of("theirs"));
        let differ = format!("({a} != {b}) or ({a} unless {b}) or ({b} unless {a})");
        wait::until(LONG, metric, || {
            let count = api.query(&of("theirs"))?.len();
            let differences = api.query(&differ)?;
            match (count, differences.is_empty()) {
                (0, _) => Err("node_exporter shows none".to_owned()),
                (_, true) => Ok(()),
                _ => Err(format!("{differences:?}")),
            }
        });
    }
    // Every family of theirs is one of ours, but for those that the collector's README leaves out.
    let names = |job: &str| -> Result<BTreeSet<String>, String> {
        let found = api.query(&format!(
            "count by (__name__) ({{__name__=~\"node_.+\", job=\"{job}\"}})"
        ))?;
        Ok(found
            .iter()
            .map(|series| series.label("__name__").to_owned())
            .collect())
    };
    let (mine, other) = (
        names("ours").expect("an answer"),
        names("theirs").expect("an answer"),
    );
    let missing: Vec<&String> = other
        .difference(&mine)
        .filter(|name| {
            let left_out = ["node_systemd_", "node_textfile_", "node_timex_"];
            !left_out.iter().any(|prefix| name.starts_with(prefix))
        })
        .collect();
    assert!(
        missing.is_empty() && other.len() > 100,
        "{missing:?} of {}",
        other.len()
    );
}

/// A read that never returns, as of a sensor whose bus is stuck: a pipe that nobody writes to does the same.
#[test]
fn a_collector_that_hangs_costs_the_page_seconds_once() {
    let folder = tempfile::tempdir().expect("a folder");
    let proc = folder.path().join("proc");
    std::fs::create_dir_all(proc.join("net")).expect("a folder");
    for file in ["stat", "meminfo", "vmstat", "mounts"] {
        let text = std::fs::read(format!("/proc/{file}")).expect("a file of /proc");
        std::fs::write(proc.join(file), text).expect("a file");
    }
    let made = Command::new("mkfifo").arg(proc.join("loadavg")).status();
    assert!(made.expect("mkfifo runs").success());
    let mut page = Service::node_page(&folder.path().join("node"))
        .argument(format!("--path.procfs={}", proc.display()))
        .start();
    let url = page.url("/metrics");
    let ask = || {
        let begin = Instant::now();
        let text = http::get(&url).expect("a page").text();
        (begin.elapsed(), text)
    };
    let (first, text) = ask();
    assert!((4..9).contains(&first.as_secs()), "{first:?}");
    for (collector, success) in [("loadavg", 0), ("meminfo", 1), ("stat", 1), ("uname", 1)] {
        let row = format!("node_scrape_collector_success{{collector=\"{collector}\"}} {success}\n");
        assert!(text.contains(&row), "{row}");
    }
    assert!(text.contains("\nnode_memory_MemTotal_bytes "));
    let (second, text) = ask();
    assert!(second < Duration::from_secs(3), "{second:?}");
    assert!(text.contains("node_scrape_collector_success{collector=\"loadavg\"} 0\n"));
    // Somebody writes: it is back.
    std::fs::write(proc.join("loadavg"), "0.1 0.2 0.3 1/2 3\n").expect("the pipe");
    std::fs::remove_file(proc.join("loadavg")).expect("a file");
    std::fs::write(proc.join("loadavg"), "0.4 0.5 0.6 1/2 3\n").expect("a file");
    wait::until(LONG, "loadavg is back", || {
        match ask().1.contains("\nnode_load1 0.4\n") {
            true => Ok(()),
            false => Err("node_load1 is not there".to_owned()),
        }
    });
    assert!(page.terminate().success());
}

#[test]
fn it_asks_for_passwords_and_refuses_what_it_does_not_know() {
    let folder = tempfile::tempdir().expect("a folder");
    let web = folder.path().join("web.yml");
    let hash = "$2y$10$ARE4AVcuH0oxYQ6HCwiuqu7FezgJIamkQvmqdJiAf0y0Ajlmnjax.";
    std::fs::write(&web, format!("basic_auth_users: {{scraper: '{hash}'}}\n")).expect("a file");
    let page = Service::node_page(&folder.path().join("node"))
        .argument(format!("--web.config.file={}", web.display()))
        .start();
    assert_eq!(
        http::get(&page.url("/metrics")).expect("an answer").status,
        401
    );
    let (status, log) = Service::node_page(&folder.path().join("other"))
        .argument("--collector.nothing")
        .run_to_end(LONG);
    assert!(
        !status.success() && log.contains("--collector.nothing"),
        "{log}"
    );
    let (status, log) = Service::node_page(&folder.path().join("third"))
        .argument("--collector.vmstat.fields=(")
        .run_to_end(LONG);
    assert!(
        !status.success() && log.contains("vmstat.fields: regex parse error"),
        "{log}"
    );
}
