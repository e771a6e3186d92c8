//! Real Prometheus, promtool and node_exporter work with ours as they work with each other.

use std::collections::BTreeMap;
use std::process::Command;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tests::peers::{Peer, all_there};
use tests::service::Service;
use tests::wait;

use crate::setup::EdgeConfig;

const LONG: Duration = Duration::from_secs(60);

/// What promtool shows: labels and time as it prints them, and the value.
type Shown = BTreeMap<(String, String), f64>;

/// Asks a server with promtool, as a person would.
fn promtool(arguments: &[&str]) -> Result<String, String> {
    let output = Command::new(Peer::Promtool.path())
        .arg("query")
        .args(arguments)
        .output()
        .expect("promtool runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() {
        Ok(text)
    } else {
        Err(String::from_utf8_lossy(&output.stderr).into_owned())
    }
}

/// `series => value @[time]`, and of a range one such tail a line under `series =>`.
fn read(text: &str) -> Shown {
    let mut shown = Shown::new();
    let mut series = String::new();
    for line in text.lines() {
        let point = match line.split_once(" =>") {
            Some((name, rest)) => {
                name.clone_into(&mut series);
                rest.trim()
            }
            None => line.trim(),
        };
        if let Some((value, time)) = point.split_once(" @[") {
            let value = value
                .parse()
                .unwrap_or_else(|_| panic!("not a value: {line}"));
            shown.insert((series.clone(), time.to_owned()), value);
        }
    }
    shown
}

/// Equal but for the order in which sums were added.
fn agree(ours: &Shown, theirs: &Shown) -> Result<(), String> {
    if theirs.is_empty() {
        return Err("Prometheus itself answers nothing".to_owned());
    }
    for (key, value) in theirs {
        let Some(found) = ours.get(key) else {
            return Err(format!(
                "{key:?} is missing; {} of {} there",
                ours.len(),
                theirs.len()
            ));
        };
        let same = found == value
            || (found.is_nan() && value.is_nan())
            || (found - value).abs() <= 1e-9 * value.abs().max(1e-9);
        if !same {
            return Err(format!("{key:?}: {found}, Prometheus says {value}"));
        }
    }
    match ours.keys().find(|key| !theirs.contains_key(*key)) {
        Some(extra) => Err(format!("{extra:?} is not Prometheus's")),
        None => Ok(()),
    }
}

fn now_seconds() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("after 1970")
        .as_secs()
}

/// A Prometheus that scrapes node_exporter every second, with any more configuration.
fn prometheus(folder: &std::path::Path, exporter: &Service, more: &str) -> Service {
    let config = format!(
        "global: {{scrape_interval: 1s, scrape_timeout: 1s}}\nscrape_configs:\n- job_name: node\n  static_configs: [{{targets: ['{}']}}]\n{more}",
        exporter.address()
    );
    Service::prometheus(folder).config(&config).start()
}

#[test]
fn prometheus_writes_to_the_hub_and_promtool_reads_the_same_back() {
    if !all_there(&[Peer::Prometheus, Peer::Promtool, Peer::NodeExporter]) {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let hub = Service::hub(&folder.path().join("hub")).start();
    let exporter = Service::node_exporter(&folder.path().join("exporter")).start();
    let write = format!("remote_write: [{{url: '{}'}}]\n", hub.url("/api/v1/write"));
    let prometheus = prometheus(&folder.path().join("prometheus"), &exporter, &write);
    let began = now_seconds();
    wait::until(LONG, "fifteen seconds of scrapes", || {
        let scrapes = prometheus.api().value("count_over_time(up[1m])")?;
        if scrapes >= 15.0 {
            Ok(())
        } else {
            Err(format!("{scrapes} scrapes"))
        }
    });
    // Fixed times in the past: both sides converge on the same answer, however late the last samples are written.
    let (start, end) = ((began + 5).to_string(), (began + 12).to_string());
    let (hub_url, prometheus_url) = (hub.url(""), prometheus.url(""));

    let instant = [
        "up",
        "node_cpu_seconds_total",
        "node_memory_MemAvailable_bytes",
        "node_load1 offset 2s",
        "rate(node_cpu_seconds_total{mode!=\"idle\"}[8s])",
        "increase(node_context_switches_total[8s])",
        "irate(node_network_receive_bytes_total[8s])",
        "delta(node_memory_MemFree_bytes[8s])",
        "sum by (mode) (rate(node_cpu_seconds_total[8s]))",
        "avg without (cpu) (node_cpu_seconds_total)",
        "topk(2, node_filesystem_size_bytes)",
        "count(node_cpu_seconds_total)",
        "stddev(node_network_mtu_bytes)",
        "quantile(0.9, node_filesystem_size_bytes)",
        "count_values(\"bytes\", node_network_mtu_bytes)",
        "max_over_time(node_load1[8s])",
        "avg_over_time(node_memory_MemFree_bytes[8s:1s])",
        "1 - node_filesystem_avail_bytes / node_filesystem_size_bytes",
        "node_load1 / on (instance) group_left () count by (instance) (node_cpu_seconds_total{mode=\"idle\"})",
        "node_memory_MemTotal_bytes > 1e6 and node_memory_MemFree_bytes >= 0",
        "histogram_quantile(0.5, sum by (le) (rate(prometheus_http_request_duration_seconds_bucket[8s]))) or vector(3)",
        "absent(nothing_of_this_name)",
        "label_replace(up, \"a\", \"$1\", \"job\", \"(.).*\")",
        "changes(node_time_seconds[8s])",
        "predict_linear(node_time_seconds[8s], 60)",
        "time()",
    ];
    for expression in instant {
        wait::until(LONG, expression, || {
            let ask = |url: &str| {
                promtool(&["instant", "--time", &end, url, expression])
                    .map(|text| read_instant(&text))
            };
            agree(&ask(&hub_url)?, &ask(&prometheus_url)?)
        });
    }
    for expression in [
        "node_load1",
        "rate(node_cpu_seconds_total{mode=\"user\"}[5s])",
        "sum(up) + 1",
    ] {
        wait::until(LONG, expression, || {
            let ask = |url: &str| {
                let text = promtool(&[
                    "range", "--start", &start, "--end", &end, "--step", "1s", url, expression,
                ]);
                text.map(|text| read(&text))
            };
            agree(&ask(&hub_url)?, &ask(&prometheus_url)?)
        });
    }
    for arguments in [
        ["series", "--match", "node_cpu_seconds_total"].as_slice(),
        &["labels", "mode"],
    ] {
        wait::until(LONG, arguments[0], || {
            let ask = |url: &str| {
                let (kind, rest) = arguments.split_first().expect("a kind of query");
                let mut all = vec![*kind];
                if *kind == "labels" {
                    all.push(url);
                    all.extend(rest);
                } else {
                    all.extend(rest);
                    all.push(url);
                }
                promtool(&all)
            };
            let (ours, theirs) = (ask(&hub_url)?, ask(&prometheus_url)?);
            if ours == theirs && !ours.trim().is_empty() {
                Ok(())
            } else {
                Err(format!("{ours}\nPrometheus:\n{theirs}"))
            }
        });
    }
}

/// A scalar is shown without a series: `scalar: 5 @[1]`.
fn read_instant(text: &str) -> Shown {
    match text.strip_prefix("scalar: ") {
        Some(scalar) => read(&format!("scalar => {scalar}")),
        None => read(text),
    }
}

#[test]
fn an_edge_scrapes_node_exporter_and_prometheus_federates_from_the_hub() {
    if !all_there(&[Peer::Prometheus, Peer::NodeExporter]) {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let hub = Service::hub(&folder.path().join("hub")).start();
    let exporter = Service::node_exporter(&folder.path().join("exporter")).start();
    let edge_config = EdgeConfig {
        branch: "b01",
        interval: "1s",
        targets: &[("node", exporter.address())],
        url: &hub.url("/api/v1/write"),
        token_file: None,
        node_collector: false,
    };
    let _edge = Service::edge(&folder.path().join("edge"))
        .config(&edge_config.text())
        .start();
    let config = format!(
        "scrape_configs:\n- job_name: federate\n  scrape_interval: 1s\n  honor_labels: true\n  metrics_path: /federate\n  \
         params: {{'match[]': ['{{branch=\"b01\"}}']}}\n  static_configs: [{{targets: ['{}']}}]\n",
        hub.address()
    );
    let prometheus = Service::prometheus(&folder.path().join("prometheus"))
        .config(&config)
        .start();
    let federated = wait::until(LONG, "Prometheus has what the edge scraped", || {
        let series = prometheus.api().query("node_load1[1m]")?;
        match series.into_iter().next() {
            Some(series) if series.points.len() >= 5 => Ok(series),
            other => Err(format!("{other:?}")),
        }
    });
    assert_eq!(
        (
            federated.label("branch"),
            federated.label("job"),
            federated.label("instance")
        ),
        ("b01", "node", exporter.address()),
        "labels are those of the edge"
    );
    let at_the_hub = hub
        .api()
        .query("node_load1{branch=\"b01\"}[2m]")
        .expect("an answer");
    assert_eq!(at_the_hub.len(), 1);
    for point in &federated.points {
        assert!(
            at_the_hub[0].points.contains(point),
            "{point:?} has its time and value from the hub"
        );
    }
    // The federated scrape itself is whole: no line was refused.
    let up = prometheus
        .api()
        .value("min_over_time(up{job=\"federate\"}[1m])")
        .expect("an answer");
    assert_eq!(up, 1.0, "no scrape of /federate failed");
    let exported = prometheus
        .api()
        .value("count({branch=\"b01\"})")
        .expect("an answer");
    assert!(
        exported > 300.0,
        "node_exporter's page has hundreds of series: {exported}"
    );
}
