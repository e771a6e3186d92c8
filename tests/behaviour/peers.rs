//! The peers are the real ones and run here: what the other modules take for granted.

use std::process::Command;
use std::time::Duration;

use tests::api::Api;
use tests::peers::{Peer, all_there};
use tests::process::{Process, free_address};
use tests::wait;

#[test]
fn prometheus_scrapes_node_exporter() {
    if !all_there(&[Peer::Prometheus, Peer::NodeExporter]) {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let exporter_address = free_address();
    let mut exporter = Process::start(
        "node_exporter",
        folder.path(),
        Command::new(Peer::NodeExporter.path())
            .arg(format!("--web.listen-address={exporter_address}")),
    );
    exporter.wait_ready(
        &format!("http://{exporter_address}/"),
        Duration::from_secs(15),
    );

    let config = folder.path().join("prometheus.yml");
    let text = format!(
        "global: {{scrape_interval: 1s}}\nscrape_configs:\n- job_name: node\n  static_configs: [{{targets: ['{exporter_address}']}}]\n"
    );
    std::fs::write(&config, text).expect("a configuration");
    let address = free_address();
    let mut prometheus = Process::start(
        "prometheus",
        folder.path(),
        Command::new(Peer::Prometheus.path())
            .arg(format!("--config.file={}", config.display()))
            .arg(format!(
                "--storage.tsdb.path={}",
                folder.path().join("data").display()
            ))
            .arg(format!("--web.listen-address={address}")),
    );
    prometheus.wait_ready(
        &format!("http://{address}/-/ready"),
        Duration::from_secs(30),
    );

    let api = Api::at(format!("http://{address}"));
    let cores = wait::until(Duration::from_secs(15), "a scraped core", || {
        let series = api.query("node_cpu_seconds_total{mode=\"idle\"}")?;
        if series.is_empty() {
            Err("none".to_owned())
        } else {
            Ok(series.len())
        }
    });
    assert_eq!(
        cores,
        std::thread::available_parallelism()
            .expect("a machine has cores")
            .get()
    );
}
