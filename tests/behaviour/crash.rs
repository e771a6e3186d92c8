//! The link is cut, and both ends are killed in the middle of it. Afterwards every scrape that was synced at the edge is
//! stored once, none twice, in each of its series.

use std::collections::BTreeSet;
use std::time::Duration;

use tests::checkout::long_versions;
use tests::http;
use tests::link::Link;
use tests::service::Service;
use tests::wait;

use crate::setup::{EdgeConfig, TICKER_SERIES, Ticker, hub_config, last_number, stored_numbers};

const INTERVAL_MILLIS: u64 = 250;
/// The declared bound within which a scrape is on disk: what a crash of the edge may cost.
const SYNC_MILLIS: u64 = 1_000;

#[derive(Clone, Copy, PartialEq)]
enum Cut {
    Silent,
    Refused,
}

#[test]
fn a_silent_cut_with_both_ends_killed_loses_nothing() {
    cut_and_kill(Cut::Silent);
}

#[test]
fn a_refusing_link_with_both_ends_killed_loses_nothing() {
    cut_and_kill(Cut::Refused);
}

fn cut_and_kill(cut: Cut) {
    let folder = tempfile::tempdir().expect("a folder");
    let mut hub = Service::hub(&folder.path().join("hub"))
        .config(&hub_config(&[("b01", "secret")]))
        .start();
    let link = Link::to(hub.address());
    let ticker = Ticker::start();
    let token_file = folder.path().join("token");
    std::fs::write(&token_file, "secret").expect("a token");
    let config = EdgeConfig {
        branch: "b01",
        interval: &format!("{INTERVAL_MILLIS}ms"),
        targets: &[("ticker", &ticker.address())],
        url: &link.url("/api/v1/write"),
        token_file: token_file.to_str(),
        node_collector: false,
    };
    let mut edge = Service::edge(&folder.path().join("edge"))
        .config(&config.text())
        .start();
    let api = hub.api();
    let more_scrapes = |count: u64| {
        let until = ticker.scrapes() + count;
        wait::until_true(Duration::from_secs(60), "more scrapes", || {
            ticker.scrapes() >= until
        });
    };
    let rounds = if long_versions() { 6 } else { 2 };
    // The number of the last scrape answered when the edge was killed.
    let mut kills = Vec::new();

    for _ in 0..rounds {
        let until = ticker.scrapes() + 4;
        wait::until(Duration::from_secs(60), "samples flow", || {
            let last = last_number(&api, "b01")?;
            if last >= until {
                Ok(())
            } else {
                Err(format!("{last} of {until}"))
            }
        });
        match cut {
            Cut::Silent => link.go_silent(),
            Cut::Refused => link.refuse(),
        }
        more_scrapes(6);
        edge.kill_9();
        kills.push(ticker.scrapes());
        edge.start_again();
        more_scrapes(4);
        hub.kill_9();
        more_scrapes(4);
        hub.start_again();
        more_scrapes(2);
        link.mend();
        // Once more while the backlog drains.
        hub.kill_9();
        hub.start_again();
    }

    // Nothing more is scraped: now both sides can be counted.
    let no_targets = EdgeConfig {
        targets: &[],
        ..config
    };
    edge.write_config(&no_targets.text());
    let reloaded = http::post(&edge.url("/-/reload"), &[], &[]).expect("an answer");
    assert_eq!(reloaded.status, 200, "{}", reloaded.text());
    let last = ticker.scrapes();
    wait::until(Duration::from_secs(120), "the backlog is drained", || {
        let stored = last_number(&api, "b01")?;
        let pending = metric(&edge, "branchline_edge_pending_samples")?;
        // The very last answer may have come after the reload took the target away.
        if stored + 1 >= last && pending == 0.0 {
            Ok(())
        } else {
            Err(format!(
                "number {stored} of {last} stored, {pending} samples pending"
            ))
        }
    });

    let stored = stored_numbers(&api, "b01").expect("an answer");
    assert_eq!(stored.len(), TICKER_SERIES, "every series is there");
    let first = stored.values().next().expect("a series").clone();
    for (series, numbers) in &stored {
        assert_eq!(numbers, &first, "series {series} has what the others have");
    }
    let unique: BTreeSet<u64> = first.iter().copied().collect();
    assert_eq!(
        unique.len(),
        first.len(),
        "no scrape is stored twice: {first:?}"
    );
    assert!(
        first.is_sorted(),
        "in the order of their times the numbers rise: {first:?}"
    );
    // A scrape that was answered but not yet synced when the edge was killed is lost by the kill, within the declared bound.
    let bound = SYNC_MILLIS / INTERVAL_MILLIS + 2;
    let excused: BTreeSet<u64> = kills
        .iter()
        .flat_map(|kill| kill.saturating_sub(bound)..=*kill)
        .collect();
    let missing: Vec<u64> = (1..=*first.last().expect("scrapes"))
        .filter(|number| !unique.contains(number) && !excused.contains(number))
        .collect();
    assert!(
        missing.is_empty(),
        "scrapes {missing:?} are missing; the edge was killed at {kills:?}"
    );

    // Counted independently: by the edge when it synced them, by the hub out of its store.
    let scraped = metric(&edge, "branchline_edge_scraped_samples_total").expect("the edge's count");
    // What the hub itself says of the branch is not from there.
    let all = api
        .query("{branch=\"b01\",__name__!~\"branchline_branch_.+\"}[1h]")
        .expect("an answer");
    let counted: usize = all.iter().map(|series| series.points.len()).sum();
    assert_eq!(
        counted as f64, scraped,
        "stored at the hub, and synced at the edge"
    );
}

/// A metric of a process of ours without regard to labels: the sum of its series.
fn metric(service: &Service, name: &str) -> Result<f64, String> {
    let page = http::get(&service.url("/metrics"))
        .map_err(|error| error.to_string())?
        .text();
    let values: Vec<f64> = page
        .lines()
        .filter(|line| line.starts_with(name) && line[name.len()..].starts_with(['{', ' ']))
        .filter_map(|line| line.rsplit_once(' ')?.1.parse().ok())
        .collect();
    if values.is_empty() {
        Err(format!("no {name} in /metrics"))
    } else {
        Ok(values.iter().sum())
    }
}
