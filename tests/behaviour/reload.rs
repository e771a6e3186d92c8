//! A reload changes what is new and disturbs nothing that stays: not one scrape of an unchanged target is missed.

use std::time::Duration;

use rustix::process::Signal;
use tests::service::Service;
use tests::{http, wait};

use crate::setup::{EdgeConfig, Ticker, stored_numbers};

const LONG: Duration = Duration::from_secs(60);

#[test]
fn an_edge_reloads_without_a_missed_scrape() {
    let folder = tempfile::tempdir().expect("a folder");
    let hub = Service::hub(&folder.path().join("hub")).start();
    let (stays, comes) = (Ticker::start(), Ticker::start());
    let (stays_address, comes_address) = (stays.address(), comes.address());
    let one = [("stays", stays_address.as_str())];
    let two = [
        ("stays", stays_address.as_str()),
        ("comes", comes_address.as_str()),
    ];
    let url = hub.url("/api/v1/write");
    let config = |targets| {
        EdgeConfig {
            branch: "b01",
            interval: "250ms",
            targets,
            url: &url,
            token_file: None,
            node_collector: false,
        }
        .text()
    };
    let mut edge = Service::edge(&folder.path().join("edge"))
        .config(&config(&one))
        .start();
    let more_scrapes = |count: u64| {
        let until = stays.scrapes() + count;
        wait::until_true(LONG, "more scrapes", || stays.scrapes() >= until);
    };
    more_scrapes(3);
    // A second target comes by a signal, goes by a request, and a file that is wrong changes nothing.
    edge.write_config(&config(&two));
    edge.process().signal(Signal::HUP);
    wait::until_true(LONG, "the new target is scraped", || comes.scrapes() >= 3);
    edge.write_config("scrape_configs: 7\n");
    let refused = http::post(&edge.url("/-/reload"), &[], &[]).expect("an answer");
    assert_eq!(refused.status, 500, "{}", refused.text());
    assert!(
        refused.text().contains("config.yml:1:") && refused.text().contains("scrape_configs"),
        "it says why: {}",
        refused.text()
    );
    let before = comes.scrapes();
    wait::until_true(LONG, "scraped on after the wrong file", || {
        comes.scrapes() > before + 2
    });
    edge.write_config(&config(&one));
    let accepted = http::post(&edge.url("/-/reload"), &[], &[]).expect("an answer");
    assert_eq!(accepted.status, 200, "{}", accepted.text());
    more_scrapes(4);

    let api = hub.api();
    let last = stays.scrapes();
    let numbers = wait::until(LONG, "everything is stored", || {
        let series = api.query("scrape_number{job=\"stays\",series=\"00\"}[10m]")?;
        let series = series.first().ok_or("nothing")?;
        match series.points.last() {
            Some((_, number)) if *number >= last as f64 => Ok(series.points.clone()),
            other => Err(format!("{other:?} of {last}")),
        }
    });
    for (index, (_, number)) in numbers.iter().enumerate() {
        assert_eq!(
            *number,
            (index + 1) as f64,
            "every scrape is there: {numbers:?}"
        );
    }
    for pair in numbers.windows(2) {
        let gap = pair[1].0 - pair[0].0;
        assert!(
            (0.2..0.4).contains(&gap),
            "{gap} s between two scrapes, 0.25 s is the interval: {numbers:?}"
        );
    }
    // The target that went is stale at once, not after the look-back of five minutes.
    wait::until(LONG, "the target that went is stale", || {
        let left = api.query("scrape_number{job=\"comes\"}")?;
        if left.is_empty() {
            Ok(())
        } else {
            Err(format!("{} series", left.len()))
        }
    });
    assert!(stored_numbers(&api, "b01").expect("an answer").len() >= 20);
}

#[test]
fn a_hub_reloads_its_rules_and_tokens() {
    let folder = tempfile::tempdir().expect("a folder");
    let rules = folder.path().join("rules.yml");
    let rule = |name: &str| {
        format!(
            "groups:\n- name: g\n  interval: 1s\n  rules:\n  - {{record: '{name}', expr: vector(1)}}\n"
        )
    };
    std::fs::write(&rules, rule("before:reload")).expect("rules");
    let mut hub = Service::hub(&folder.path().join("hub"))
        .config(&format!("rule_files: ['{}']\n", rules.display()))
        .start();
    let api = hub.api();
    let recorded = |name: &str| {
        let name = name.to_owned();
        let api = api.clone();
        wait::until(LONG, &name.clone(), move || {
            if api.query(&name)?.is_empty() {
                Err("not recorded".to_owned())
            } else {
                Ok(())
            }
        });
    };
    recorded("before:reload");
    std::fs::write(&rules, rule("after:reload")).expect("rules");
    hub.process().signal(Signal::HUP);
    recorded("after:reload");
    wait::until(LONG, "what the old rule recorded is stale", || {
        if api.query("before:reload")?.is_empty() {
            Ok(())
        } else {
            Err("still there".to_owned())
        }
    });
    std::fs::write(
        &rules,
        "groups:\n- name: g\n  rules:\n  - {record: r, expr: 'sum('}\n",
    )
    .expect("rules");
    let refused = http::post(&hub.url("/-/reload"), &[], &[]).expect("an answer");
    assert_eq!(refused.status, 500, "{}", refused.text());
    assert!(
        refused.text().contains("rules.yml"),
        "it names the file: {}",
        refused.text()
    );
    recorded("after:reload");
}
