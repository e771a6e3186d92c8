//! What groups do beside the compliance scenarios.

use super::*;

fn minutes(m: i64) -> Timestamp {
    seconds(m * 60)
}

fn group(rules: &str) -> RuleGroup {
    only_group(&format!("groups:\n- name: g\n  interval: 1m\n{rules}"))
}

#[test]
fn recorded_series_end_with_a_marker() {
    let mut group = group("  rules: [{record: twice, expr: x * 2, labels: {kind: r, gone: ''}}]");
    let mut memory = Memory::default();
    memory.put("x{a=\"1\", gone=\"y\"}", minutes(0), 1.0);
    memory.put("x{a=\"2\"}", minutes(0), 2.0);
    assert_eq!(
        group.evaluate(minutes(0), &options(), &mut memory).samples,
        2
    );
    let one = "twice{a=\"1\", kind=\"r\"}";
    assert_eq!(memory.at(one, minutes(0)).as_deref(), Some("2"));
    memory.put("x{a=\"1\", gone=\"y\"}", minutes(1), model::stale_nan());
    group.evaluate(minutes(1), &options(), &mut memory);
    assert_eq!(memory.at(one, minutes(1)).as_deref(), Some("stale"));
    assert_eq!(
        memory
            .at("twice{a=\"2\", kind=\"r\"}", minutes(1))
            .as_deref(),
        Some("4")
    );
    group.evaluate(minutes(2), &options(), &mut memory);
    assert_eq!(memory.at(one, minutes(2)), None, "one marker is enough");
}

#[test]
fn later_rules_see_what_earlier_ones_wrote() {
    let mut group =
        group("  rules:\n  - {record: two, expr: x * 2}\n  - {record: four, expr: two * 2}\n");
    let mut memory = Memory::default();
    memory.put("x", minutes(0), 1.0);
    group.evaluate(minutes(0), &options(), &mut memory);
    assert_eq!(memory.at("four", minutes(0)).as_deref(), Some("4"));
}

#[test]
fn a_marker_does_not_overwrite_another_rule() {
    // Two rules take turns with the same series.
    let mut group = group("  rules:\n  - {record: y, expr: a * 1}\n  - {record: y, expr: b * 1}\n");
    let mut memory = Memory::default();
    memory.put("b", minutes(0), 5.0);
    group.evaluate(minutes(0), &options(), &mut memory);
    memory.put("b", minutes(1), model::stale_nan());
    memory.put("a", minutes(1), 7.0);
    group.evaluate(minutes(1), &options(), &mut memory);
    assert_eq!(memory.at("y", minutes(1)).as_deref(), Some("7"));
}

#[test]
fn query_offset_moves_query_and_samples() {
    let mut group =
        group("  query_offset: 1m\n  rules: [{record: y, expr: x * 1}, {alert: A, expr: x > 0}]");
    let mut memory = Memory::default();
    memory.put("x", minutes(9), 3.0);
    memory.put("x", minutes(10), 4.0);
    let evaluation = group.evaluate(minutes(10), &options(), &mut memory);
    assert_eq!(memory.at("y", minutes(9)).as_deref(), Some("3"));
    assert_eq!(
        memory
            .at("ALERTS{alertname=\"A\", alertstate=\"firing\"}", minutes(9))
            .as_deref(),
        Some("1")
    );
    assert_eq!(
        evaluation.alerts[0].starts_at,
        minutes(10),
        "alerts live in the time of the evaluation"
    );
}

/// The engine's text begins with the series it is about.
fn last_part(error: &str) -> String {
    error.rsplit(';').next().unwrap_or_default().to_owned()
}

#[test]
fn errors_are_the_rules_own() {
    let mut group = group(
        "  limit: 1
  rules:
  - {record: same, expr: x * 1, labels: {a: ''}}
  - {alert: Same, expr: x > 0, labels: {a: b}}
  - {alert: Many, expr: x > 0}
  - {record: many, expr: x * 1}
  - {record: bad, expr: x + on() x}
  - {record: good, expr: one * 1}
",
    );
    let mut memory = Memory::default();
    memory.put("x{a=\"1\"}", minutes(0), 1.0);
    memory.put("x{a=\"2\"}", minutes(0), 1.0);
    memory.put("one", minutes(0), 1.0);
    let evaluation = group.evaluate(minutes(0), &options(), &mut memory);
    let errors: Vec<_> = evaluation
        .failures
        .iter()
        .map(|f| last_part(&f.error.to_string()))
        .collect();
    assert_eq!(
        errors,
        [
            "vector contains metrics with the same labelset after applying rule labels",
            "vector contains metrics with the same labelset after applying alert labels",
            "exceeded limit of 1 with 2 alerts",
            "exceeded limit of 1 with 2 series",
            "many-to-many matching not allowed: matching labels must be unique on one side",
        ]
    );
    assert!(evaluation.alerts.is_empty());
    assert_eq!(memory.at("good", minutes(0)).as_deref(), Some("1"));
    assert_eq!(memory.series.len(), 4, "failed rules write nothing");
    let view = group.view();
    let RuleView::Recording(bad) = &view.rules[4] else {
        panic!()
    };
    assert_eq!(
        (
            bad.health.as_str(),
            last_part(&bad.health.last_error().unwrap())
        ),
        ("err", errors[4].clone())
    );
    let RuleView::Recording(good) = &view.rules[5] else {
        panic!()
    };
    assert_eq!(
        (good.health.as_str(), good.health.last_error()),
        ("ok", None)
    );
}

#[test]
fn a_store_that_refuses_shows_in_the_health_but_alerts_go_out() {
    let mut group = group("  rules: [{alert: A, expr: x > 0}]");
    let mut memory = Memory {
        refuse_writes: true,
        ..Memory::default()
    };
    memory.put("x", minutes(0), 1.0);
    let evaluation = group.evaluate(minutes(0), &options(), &mut memory);
    assert_eq!(evaluation.alerts.len(), 1);
    assert_eq!(
        alerting(&group, 0).health.last_error().as_deref(),
        Some("disk full")
    );
}

#[test]
fn keep_firing_for_bridges_gaps() {
    let mut group = group("  rules: [{alert: A, expr: x > 0, keep_firing_for: 3m}]");
    let mut memory = Memory::default();
    let mut shown = Vec::new();
    for (m, value) in [1.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0]
        .into_iter()
        .enumerate()
    {
        let now = minutes(m as i64);
        memory.put("x", now, value);
        group.evaluate(now, &options(), &mut memory);
        let view = alerting(&group, 0);
        let since = view
            .alerts
            .first()
            .and_then(|a| a.keep_firing_since)
            .map(|t| t.millis() / 60_000);
        shown.push((view.state.as_str(), since));
    }
    let firing = |since| ("firing", since);
    let want = [
        firing(None),
        firing(Some(1)),
        firing(Some(1)),
        firing(None),
        firing(Some(4)),
        firing(Some(4)),
        firing(Some(4)),
        ("inactive", None),
    ];
    assert_eq!(shown, want);
}

#[test]
fn templates_ask_the_same_store_and_know_external_labels() {
    let rule = "  rules:
  - alert: A
    expr: x > 0
    annotations:
      text: '{{ range query \"y\" }}{{ .Labels.z }}={{ .Value }} {{ end }}{{ $externalLabels.dc }} {{ query \"sum(\" }}'
";
    let mut group = group(rule);
    let mut memory = Memory::default();
    memory.put("x", minutes(0), 1.0);
    memory.put("y{z=\"a\"}", minutes(0), 2.0);
    let evaluation = group.evaluate(minutes(0), &options(), &mut memory);
    let text = &evaluation.alerts[0].annotations["text"];
    assert!(
        text.starts_with("<error expanding template: error executing template __alert_A: "),
        "{text}"
    );
    assert!(
        text.ends_with("error calling query: 1:5: parse error: unclosed left parenthesis>"),
        "{text}"
    );
}

#[test]
fn not_evaluated_yet_is_unknown() {
    let group = group("  rules: [{alert: A, expr: x > 0}]");
    let view = alerting(&group, 0);
    assert_eq!(
        (view.state.as_str(), view.health.as_str()),
        ("unknown", "unknown")
    );
    assert_eq!(group.view().last_evaluation, None);
}

#[test]
fn slots_are_one_interval_apart_and_never_in_the_future() {
    let group = group("  rules: []");
    let now = Timestamp::from_millis(1_700_000_000_123);
    let slot = group.slot(now);
    assert!(slot <= now && now.saturating_since(slot) < group.interval());
    assert_eq!(group.slot(slot), slot);
    let before = Timestamp::from_millis(slot.millis() - 1);
    assert_eq!(slot.saturating_since(group.slot(before)), group.interval());
}
