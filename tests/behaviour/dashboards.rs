//! Every query of the dashboards and the rules is asked: none may fail, none may be empty.

use std::collections::BTreeSet;
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tests::dashboards::{
    Expression, Filling, annotation_queries, panel_queries, rule_expressions, rule_files,
    selectors, variable_queries,
};
use tests::peers::{Peer, all_there};
use tests::server::{Answer, Server};
use tests::service::Service;
use tests::{http, wait};

use crate::setup::EdgeConfig;

#[test]
fn prometheus_understands_every_expression() {
    if !all_there(&[Peer::Prometheus, Peer::Promtool]) {
        return;
    }
    let checked = Command::new(Peer::Promtool.path())
        .args(["check", "rules"])
        .args(rule_files())
        .output()
        .expect("promtool runs");
    assert!(
        checked.status.success(),
        "{}",
        String::from_utf8_lossy(&checked.stderr)
    );

    let folder = tempfile::tempdir().expect("a folder");
    let prometheus = Service::prometheus(folder.path())
        .config("global: {scrape_interval: 1m}\n")
        .start();
    let api = prometheus.api();
    let filling = Filling {
        branch: "b01",
        instance: ".+",
        interval: "1m",
        range: "5m",
    };
    let mut all: Vec<Expression> = panel_queries(&filling);
    all.extend(annotation_queries(&filling));
    all.extend(
        variable_queries(&filling)
            .into_iter()
            .map(|(selector, _)| selector),
    );
    all.extend(rule_expressions());
    let refused: Vec<String> = all
        .iter()
        .filter_map(|expression| {
            api.query(&expression.text)
                .err()
                .map(|error| format!("{}: {error}", expression.place))
        })
        .collect();
    assert!(refused.is_empty(), "{}", refused.join("\n"));
}

/// What promtool is to test: the rules for branches, and those for machines.
const CASES: [&str; 2] = ["branches.yml", "nodes.yml"];

#[test]
fn the_rules_fire_when_they_should_and_only_then() {
    if !all_there(&[Peer::Promtool]) {
        return;
    }
    let folder = tests::checkout::root().join("tests/behaviour/rules");
    let tested = Command::new(Peer::Promtool.path())
        .args(["test", "rules"])
        .args(CASES.map(|file| folder.join(file)))
        .output()
        .expect("promtool runs");
    let said = String::from_utf8_lossy(&tested.stderr).into_owned();
    assert!(
        tested.status.success(),
        "{said}{}",
        String::from_utf8_lossy(&tested.stdout)
    );
}

/// For each alert there is a case in which it fires, and one in which it does not.
#[test]
fn every_alert_for_machines_is_tried_both_ways() {
    let read = |path: &std::path::Path| std::fs::read_to_string(path).expect("a rule file");
    let root = tests::checkout::root();
    let cases = CASES.map(|file| read(&root.join("tests/behaviour/rules").join(file)));
    let (mut fires, mut rests) = (BTreeSet::new(), BTreeSet::new());
    for text in &cases {
        let mut lines = text.lines().map(str::trim);
        while let Some(line) = lines.next() {
            if let Some(name) = line.strip_prefix("alertname: ") {
                match lines.next() {
                    Some("exp_alerts: []") => rests.insert(name),
                    _ => fires.insert(name),
                };
            }
        }
    }
    let rules = read(&root.join("dashboards/rules/nodes.yml"));
    let alerts: Vec<&str> = rules
        .lines()
        .filter_map(|line| line.trim().strip_prefix("- alert: "))
        .collect();
    assert!(alerts.len() > 30, "{alerts:?}");
    let untried: Vec<&&str> = alerts
        .iter()
        .filter(|name| !fires.contains(**name) || !rests.contains(**name))
        .collect();
    assert!(
        untried.is_empty(),
        "not tried both ways in tests/behaviour/rules: {untried:?}"
    );
}

/// A call centre whose calls end while it is watched.
fn call_centre() -> Server {
    let calls = AtomicU64::new(0);
    Server::start(move |_| {
        let calls = calls.fetch_add(3, Ordering::SeqCst) + 3;
        let mut page = String::from("# TYPE call_center_calls_waiting gauge\n");
        for queue in ["billing", "sales", "support"] {
            page.push_str(&format!(
                "call_center_calls_waiting{{queue=\"{queue}\"}} {}\n",
                calls % 7
            ));
        }
        page.push_str("call_center_seats_busy 17\ncall_center_seats_total 24\n");
        page.push_str("# TYPE call_center_call_duration_seconds histogram\n");
        for (bound, share) in [("60", 1), ("240", 2), ("960", 3), ("+Inf", 3)] {
            page.push_str(&format!(
                "call_center_call_duration_seconds_bucket{{le=\"{bound}\"}} {}\n",
                calls / 3 * share
            ));
        }
        page.push_str(&format!(
            "call_center_call_duration_seconds_sum {}\ncall_center_call_duration_seconds_count {calls}\n",
            calls * 150
        ));
        Answer::metrics(page)
    })
}

#[test]
fn a_hub_that_an_edge_has_fed_answers_every_query() {
    let folder = tempfile::tempdir().expect("a folder");
    let own_rule = folder.path().join("own.yml");
    let text = "groups:\n- name: own\n  interval: 1s\n  rules:\n  - alert: CallCentreIsThere\n    \
                expr: up{job=\"business\"} == 1\n    labels: {severity: info}\n";
    std::fs::write(&own_rule, text).expect("a rule file");
    let mut config = "rule_files:\n".to_owned();
    for file in rule_files().iter().chain([&own_rule]) {
        config.push_str(&format!("- '{}'\n", file.display()));
    }
    // With its own branch hq: the hub's own metrics come in by it.
    let hub = Service::bare("hub", &folder.path().join("hub"))
        .config(&config)
        .start();
    let business = call_centre();
    let edge_config = EdgeConfig {
        branch: "b01",
        interval: "1s",
        targets: &[("business", &business.address())],
        url: &hub.url("/api/v1/write"),
        token_file: None,
        node_collector: true,
    };
    // The edge reads a machine that has everything: rules about hardware that this one lacks must find their series too.
    let machine = folder.path().join("machine");
    tests::machine::unpack(&machine);
    let here = "node_collector: {enabled: true}";
    let there = format!(
        "node_collector: {{procfs: {0}/proc, sysfs: {0}/sys, rootfs: {0}/root}}",
        machine.display()
    );
    let edge_config = edge_config.text();
    assert!(edge_config.contains(here), "{edge_config}");
    let _edge = Service::edge(&folder.path().join("edge"))
        .config(&edge_config.replace(here, &there))
        .start();

    let api = hub.api();
    let filling = Filling {
        branch: "b01",
        instance: ".+",
        interval: "20s",
        range: "5m",
    };
    let mut must_answer = panel_queries(&filling);
    must_answer.extend(rule_expressions().into_iter().flat_map(|rule| {
        let selectors =
            selectors(&rule.text).unwrap_or_else(|error| panic!("{}: {error}", rule.place));
        selectors.into_iter().map(move |text| Expression {
            place: rule.place.clone(),
            text,
        })
    }));
    wait::until(Duration::from_secs(120), "an answer to everything", || {
        let empty: Vec<String> = must_answer
            .iter()
            .filter_map(|expression| match api.query(&expression.text) {
                Ok(series) if series.is_empty() => {
                    Some(format!("{}: empty: {}", expression.place, expression.text))
                }
                Ok(_) => None,
                Err(error) => Some(format!(
                    "{}: {error}: {}",
                    expression.place, expression.text
                )),
            })
            .collect();
        if empty.is_empty() {
            Ok(())
        } else {
            Err(empty.join("\n"))
        }
    });
    for expression in annotation_queries(&filling) {
        if let Err(error) = api.query(&expression.text) {
            panic!("{}: {error}", expression.place);
        }
    }
    for (selector, label) in variable_queries(&filling) {
        let path = format!(
            "/api/v1/label/{label}/values?match[]={}",
            http::percent_encode(&selector.text)
        );
        let values = api
            .get(&path)
            .unwrap_or_else(|error| panic!("{}: {error}", selector.place));
        assert!(
            !values["data"].as_array().is_none_or(Vec::is_empty),
            "{}: no values",
            selector.place
        );
    }
    // As panels ask: over a range too.
    let now = api.value("time()").expect("a clock");
    for expression in panel_queries(&filling) {
        let answer = api.query_range(&expression.text, now - 60.0, now, 15.0);
        match answer {
            Ok(answer) => assert!(
                !answer.series.is_empty(),
                "{}: empty over a range",
                expression.place
            ),
            Err(error) => panic!("{}: {error}", expression.place),
        }
    }
}
