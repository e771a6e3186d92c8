//! State through reloads and restarts.

use super::*;

fn minutes(m: i64) -> Timestamp {
    seconds(m * 60)
}

const PENDING: &str =
    "groups: [{name: g, interval: 1m, rules: [{alert: A, expr: x > 0, for: 30m}]}]";

fn with_x(until: i64) -> Memory {
    let mut memory = Memory::default();
    for m in 0..=until {
        memory.put("x", minutes(m), 1.0);
    }
    memory
}

fn run(group: &mut RuleGroup, memory: &mut Memory, from: i64, to: i64) {
    for m in from..=to {
        group.evaluate(minutes(m), &options(), memory);
    }
}

fn active_at(group: &RuleGroup) -> i64 {
    alerting(group, 0).alerts[0].active_at.millis() / 60_000
}

#[test]
fn an_unchanged_group_goes_on() {
    let mut memory = with_x(40);
    let mut group = only_group(PENDING);
    run(&mut group, &mut memory, 0, 10);
    let mut loaded = load(vec![group], PENDING);
    let group = &mut loaded.groups[0];
    assert_eq!(
        (active_at(group), group.view().last_evaluation),
        (0, Some(minutes(10)))
    );
}

#[test]
fn a_changed_group_keeps_the_state_of_rules_that_stay() {
    let mut memory = with_x(60);
    let before = "groups: [{name: g, interval: 1m, rules: [{alert: A, expr: x > 0, for: 30m}, {record: r, expr: x * 2}, {record: kept, expr: x * 3}]}]";
    let mut group = only_group(before);
    run(&mut group, &mut memory, 0, 10);
    let after = "groups: [{name: g, interval: 1m, rules: [{record: kept, expr: x * 4}, {alert: A, expr: x > 0.5, for: 5m}]}]";
    let mut loaded = load(vec![group], after);
    assert!(loaded.removed.is_empty());
    let group = &mut loaded.groups[0];
    let evaluation = group.evaluate(minutes(11), &options(), &mut memory);
    assert_eq!(
        evaluation.alerts.len(),
        1,
        "11 minutes are enough for the new `for`"
    );
    assert_eq!(memory.at("r", minutes(11)).as_deref(), Some("stale"));
    assert_eq!(memory.at("kept", minutes(11)).as_deref(), Some("4"));
    // A longer `for` takes a firing alert back.
    let mut loaded = load(std::mem::take(&mut loaded.groups), PENDING);
    let group = &mut loaded.groups[0];
    group.evaluate(minutes(12), &options(), &mut memory);
    assert_eq!(
        (alerting(group, 0).state.as_str(), active_at(group)),
        ("pending", 0)
    );
}

#[test]
fn a_removed_group_leaves_markers() {
    let mut memory = with_x(20);
    let mut group = only_group(
        "groups: [{name: g, interval: 1m, rules: [{record: r, expr: x * 2}, {record: s, expr: x * 2}]}]",
    );
    run(&mut group, &mut memory, 0, 5);
    let mut loaded = load(
        vec![group],
        "groups: [{name: other, interval: 1m, rules: [{record: s, expr: x * 2}]}]",
    );
    let removed = loaded.removed.pop().unwrap();
    assert_eq!(
        (removed.key.as_str(), removed.wait),
        ("rules.yml;g", Duration::from_secs(120))
    );
    let removed_at = seconds(5 * 60 + 30);
    loaded.groups[0].evaluate(minutes(6), &options(), &mut memory);
    removed
        .mark_stale(removed_at, minutes(7), &mut memory)
        .unwrap();
    assert_eq!(memory.at("r", removed_at).as_deref(), Some("stale"));
    assert_eq!(
        memory.at("s", removed_at),
        None,
        "another group has taken it over"
    );
}

#[test]
fn pending_time_survives_a_restart() {
    let mut memory = with_x(60);
    let mut group = only_group(PENDING);
    run(&mut group, &mut memory, 0, 10);
    drop(group);
    // Down for 10 minutes.
    let file = RuleFile::parse("rules.yml", PENDING, &promql::ParseOptions::default()).unwrap();
    let mut loaded = reload(Vec::new(), vec![file], &ReloadOptions::default());
    let group = &mut loaded.groups[0];
    run(group, &mut memory, 20, 20);
    let series = "ALERTS_FOR_STATE{alertname=\"A\"}";
    assert_eq!(
        memory.at(series, minutes(20)),
        None,
        "nothing is written before the old state is read"
    );
    assert_eq!(active_at(group), 20);
    run(group, &mut memory, 21, 21);
    // Pending since 0, last seen at 10, read at 21: 11 minutes do not count.
    assert_eq!(active_at(group), 11);
    run(group, &mut memory, 22, 40);
    assert_eq!(alerting(group, 0).state.as_str(), "pending");
    assert_eq!(memory.at(series, minutes(22)).as_deref(), Some("660"));
    run(group, &mut memory, 41, 41);
    assert_eq!(alerting(group, 0).state.as_str(), "firing");
}

#[test]
fn what_fired_before_a_restart_fires_soon_after_it() {
    let mut memory = with_x(60);
    let mut group = only_group(PENDING);
    run(&mut group, &mut memory, 0, 35);
    let file = RuleFile::parse("rules.yml", PENDING, &promql::ParseOptions::default()).unwrap();
    let mut loaded = reload(Vec::new(), vec![file], &ReloadOptions::default());
    let group = &mut loaded.groups[0];
    run(group, &mut memory, 40, 41);
    let evaluation = group.evaluate(minutes(42), &options(), &mut memory);
    assert_eq!(
        (evaluation.alerts.len(), alerting(group, 0).state.as_str()),
        (1, "firing")
    );
}

#[test]
fn too_long_an_outage_is_a_new_start() {
    let mut memory = with_x(200);
    let mut group = only_group(PENDING);
    run(&mut group, &mut memory, 0, 35);
    let file = RuleFile::parse("rules.yml", PENDING, &promql::ParseOptions::default()).unwrap();
    let mut loaded = reload(Vec::new(), vec![file], &ReloadOptions::default());
    let group = &mut loaded.groups[0];
    run(group, &mut memory, 120, 122);
    assert_eq!(
        (active_at(group), alerting(group, 0).state.as_str()),
        (120, "pending")
    );
}
