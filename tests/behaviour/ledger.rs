//! What the hub says of a branch whose link is cut: within five seconds that it is silent, in queries that something is missing, and
//! after the link's return that all is there.

use std::time::{Duration, Instant};

use serde_json::Value;
use tests::link::Link;
use tests::service::Service;
use tests::wait;

use crate::setup::{EdgeConfig, Ticker, hub_config};

/// As promised; and what the test needs to see it on a busy machine.
const KNOWN_WITHIN: Duration = Duration::from_secs(5);
const SLACK: Duration = Duration::from_secs(2);

#[test]
fn a_cut_is_known_in_time_and_its_gap_is_told_until_it_is_filled() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut hub = Service::hub(&folder.path().join("hub"))
        .config(&hub_config(&[("b01", "one"), ("b02", "two")]))
        .start();
    let link = Link::to(hub.address());
    let straight = Link::to(hub.address());
    let ticker = Ticker::start();
    let edge = |branch: &'static str, token: &str, link: &Link| {
        let token_file = folder.path().join(branch);
        std::fs::write(&token_file, token).expect("a token");
        let config = EdgeConfig {
            branch,
            interval: "500ms",
            targets: &[("ticker", &ticker.address())],
            url: &link.url("/api/v1/write"),
            token_file: token_file.to_str(),
            node_collector: false,
        };
        Service::edge(&folder.path().join(format!("edge-{branch}")))
            .config(&config.text())
            .start()
    };
    let (_one, _two) = (edge("b01", "one", &link), edge("b02", "two", &straight));
    let api = hub.api();
    let branch = |name: &str| -> Result<Value, String> {
        let answer = api.get(&format!("/api/v1/federation/branches?branch={name}"))?;
        Ok(answer["data"]["branches"][0].clone())
    };
    let is = |name: &str, state: &str| {
        let found = branch(name)?;
        match found["state"] == state {
            true => Ok(found),
            false => Err(format!("{found}")),
        }
    };
    let warnings = |query: &str| -> Result<Vec<String>, String> {
        let answer = api.query_with(&[("query", query)])?;
        Ok(answer.warnings)
    };
    for name in ["b01", "b02"] {
        wait::until(
            Duration::from_secs(60),
            "both edges hold a connection",
            || {
                let found = is(name, "up")?;
                let stored = found["edges"][0]["storedSamples"]
                    .as_u64()
                    .unwrap_or_default();
                (stored > 20 && found["complete"] == true)
                    .then_some(())
                    .ok_or(format!("{found}"))
            },
        );
    }
    assert_eq!(warnings("up"), Ok(Vec::new()));

    link.go_silent();
    let cut = Instant::now();
    wait::until(Duration::from_secs(30), "the hub knows of the cut", || {
        is("b01", "silent")
    });
    let known = cut.elapsed();
    assert!(known <= KNOWN_WITHIN + SLACK, "known after {known:?}");
    wait::until(Duration::from_secs(10), "rules can ask", || {
        let silent = api.value("branchline_branch_state{branch=\"b01\",state=\"silent\"}")?;
        (silent == 1.0).then_some(()).ok_or(format!("{silent}"))
    });
    wait::until(Duration::from_secs(10), "answers say so", || {
        let found = warnings("up")?;
        let told =
            found.len() == 1 && found[0].contains("b01 unknown since") && !found[0].contains("b02");
        told.then_some(()).ok_or(format!("{found:?}"))
    });
    assert_eq!(warnings("up{branch=\"b02\"}"), Ok(Vec::new()));
    assert_eq!(
        branch("b02").map(|found| found["state"].clone()),
        Ok("up".into())
    );

    // A hub that is killed meanwhile remembers what it knew.
    hub.kill_9();
    hub.start_again();
    wait::until(Duration::from_secs(30), "it still knows", || {
        is("b01", "silent")
    });
    assert!(warnings("up{branch=\"b01\"}").is_ok_and(|found| found.len() == 1));

    link.mend();
    wait::until(Duration::from_secs(60), "the backlog is here", || {
        let found = is("b01", "up")?;
        (found["complete"] == true && found["pendingSamples"].as_u64() < Some(20))
            .then_some(())
            .ok_or(format!("{found}"))
    });
    wait::until(
        Duration::from_secs(30),
        "nothing is missing any more",
        || {
            let found = warnings("up")?;
            found.is_empty().then_some(()).ok_or(format!("{found:?}"))
        },
    );
    let ledger = api
        .get("/api/v1/federation/ledger?branch=b01")
        .expect("the ledger");
    let intervals = ledger["data"]["branches"][0]["intervals"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    // The hub may have heard of the edge before its first scrape.
    let (last, before) = intervals.split_last().expect("an interval");
    assert_eq!(last["state"], "complete", "{ledger}");
    assert!(before.len() <= 1, "one stretch, complete: {ledger}");
    if let Some(before) = before.first() {
        assert_eq!(
            (&before["state"], before["end"] == last["start"]),
            (&"unknown".into(), true),
            "{ledger}"
        );
    }
}
