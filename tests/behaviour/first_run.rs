//! The first minute of a newcomer: the hub alone, no arguments that matter, and this machine's metrics are there.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use tests::api::{Api, Series};
use tests::peers::{Peer, all_there};
use tests::service::Service;
use tests::{http, wait};

/// What the issue promises to be there.
const FIRST: [&str; 4] = [
    "up",
    "node_cpu_seconds_total",
    "node_memory_MemAvailable_bytes",
    "node_filesystem_avail_bytes",
];

#[test]
fn a_bare_hub_shows_this_machine_within_15_seconds() {
    let folder = tempfile::tempdir().expect("a folder");
    let began = Instant::now();
    let hub = Service::bare("hub", folder.path()).start();
    let api = hub.api();
    wait::until(
        Duration::from_secs(15).saturating_sub(began.elapsed()),
        "this machine's metrics",
        || {
            for name in FIRST {
                if api.query(name)?.is_empty() {
                    return Err(format!("{name} is empty"));
                }
            }
            Ok(())
        },
    );
    for series in api.query("up").expect("an answer") {
        assert_eq!(series.label("branch"), "hq", "{:?}", series.labels);
        assert_eq!(series.points[0].1, 1.0, "{:?}", series.labels);
    }
    let page = http::get(&hub.url("/")).expect("a page");
    assert_eq!(page.status, 200);
    assert!(
        page.text().contains("hq"),
        "the first page lists the branch hq"
    );
    for path in ["/-/healthy", "/-/ready", "/metrics", "/query"] {
        assert_eq!(
            http::get(&hub.url(path)).expect("an answer").status,
            200,
            "{path}"
        );
    }
}

#[test]
fn it_ends_in_order_and_starts_again_with_what_it_had() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut hub = Service::bare("hub", folder.path()).start();
    let api = hub.api();
    let (at, load) = wait::until(Duration::from_secs(15), "a sample", || {
        let series = api.query("node_load1[5m]")?;
        let series = series.first().ok_or("none")?;
        series.points.first().copied().ok_or("none".to_owned())
    });
    let status = hub.terminate();
    assert!(status.success(), "SIGTERM ends it in order: {status}");
    hub.start_again();
    let again = api.query_at("node_load1", at).expect("an answer");
    assert_eq!(again.len(), 1);
    assert_eq!(
        again[0].points[0].1, load,
        "the same sample after the restart"
    );
}

/// node_exporter's page by series, without HELP and TYPE.
fn read_exporter(exporter: &Service) -> BTreeMap<String, f64> {
    let page = http::get(&exporter.url("/metrics")).expect("a page").text();
    page.lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| {
            let (series, value) = line.rsplit_once(' ')?;
            Some((series.to_owned(), value.parse().ok()?))
        })
        .collect()
}

/// A series as node_exporter's page writes it: without what scraping adds.
fn as_on_the_page(series: &Series) -> String {
    let labels: Vec<String> = series
        .labels
        .iter()
        .filter(|(name, _)| !["__name__", "job", "instance", "branch"].contains(&name.as_str()))
        .map(|(name, value)| format!("{name}=\"{value}\""))
        .collect();
    let name = series.label("__name__");
    if labels.is_empty() {
        name.to_owned()
    } else {
        format!("{name}{{{}}}", labels.join(","))
    }
}

fn samples_of(api: &Api, name: &str, after: f64) -> Result<Vec<Series>, String> {
    let series = api.query(&format!("{name}{{branch=\"hq\",job=\"node\"}}[1m]"))?;
    let fresh: Vec<Series> = series
        .into_iter()
        .filter_map(|mut series| {
            series.points.retain(|(at, _)| *at > after);
            (!series.points.is_empty()).then_some(series)
        })
        .collect();
    if fresh.is_empty() {
        Err(format!("no fresh {name}"))
    } else {
        Ok(fresh)
    }
}

#[test]
fn the_values_are_those_of_node_exporter() {
    if !all_there(&[Peer::NodeExporter]) {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let hub = Service::bare("hub", &folder.path().join("hub")).start();
    let exporter = Service::node_exporter(&folder.path().join("exporter")).start();
    let api = hub.api();

    let before = read_exporter(&exporter);
    let now = before["node_time_seconds"];
    let constant = [
        "node_memory_MemTotal_bytes",
        "node_memory_SwapTotal_bytes",
        "node_filesystem_size_bytes",
        "node_uname_info",
        "node_network_mtu_bytes",
    ];
    let moving = [
        "node_cpu_seconds_total",
        "node_context_switches_total",
        "node_network_receive_bytes_total",
        "node_pressure_cpu_waiting_seconds_total",
    ];
    let names: Vec<&str> = constant.iter().chain(&moving).copied().collect();
    let ours: BTreeMap<&str, Vec<Series>> = wait::until(
        Duration::from_secs(20),
        "a scrape after the first reading",
        || {
            names
                .iter()
                .map(|name| Ok((*name, samples_of(&api, name, now)?)))
                .collect()
        },
    );
    let after = read_exporter(&exporter);

    for name in names {
        let of_the_peer = before
            .keys()
            .filter(|series| series.split('{').next() == Some(name))
            .count();
        assert_eq!(
            ours[name].len(),
            of_the_peer,
            "{name}: as many series as node_exporter has"
        );
        for series in &ours[name] {
            let on_the_page = as_on_the_page(series);
            let value = series.points[0].1;
            let first = before
                .get(&on_the_page)
                .unwrap_or_else(|| panic!("node_exporter has no {on_the_page}"));
            let last = after[&on_the_page];
            if constant.contains(&name) {
                assert_eq!(value, *first, "{on_the_page}");
            } else {
                assert!(
                    *first <= value && value <= last,
                    "{on_the_page}: {value} is not between {first} and {last}"
                );
            }
        }
    }
}
