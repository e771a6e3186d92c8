//! The peers are the real ones and run here: what the other modules take for granted.

use std::time::Duration;

use tests::peers::{Peer, all_there};
use tests::service::Service;
use tests::wait;

#[test]
fn prometheus_scrapes_node_exporter() {
    if !all_there(&[Peer::Prometheus, Peer::NodeExporter]) {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let exporter = Service::node_exporter(&folder.path().join("exporter")).start();
    let config = format!(
        "global: {{scrape_interval: 1s}}\nscrape_configs:\n- job_name: node\n  static_configs: [{{targets: ['{}']}}]\n",
        exporter.address()
    );
    let prometheus = Service::prometheus(&folder.path().join("prometheus"))
        .config(&config)
        .start();
    let api = prometheus.api();
    let cores = wait::until(Duration::from_secs(15), "a scraped core", || {
        let series = api.query("node_cpu_seconds_total{mode=\"idle\"}")?;
        if series.is_empty() {
            Err("none".to_owned())
        } else {
            Ok(series.len())
        }
    });
    let expected = std::thread::available_parallelism().expect("a machine has cores");
    assert_eq!(cores, expected.get());
}
