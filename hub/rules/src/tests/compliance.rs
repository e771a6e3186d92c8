//! The scenarios of Prometheus's alert generator compliance suite: samples every 15 s, evaluations every 30 s, resend
//! delay 1 m, with a simulated clock.

use model::Alert;

use super::*;

const SAMPLE_S: i64 = 15;

/// One evaluation, as seen from outside.
struct Step {
    /// Which sample was the newest.
    sample: usize,
    at: Timestamp,
    states: Vec<StateView>,
    alerts: Vec<AlertView>,
    sent: Vec<Alert>,
}

/// `3, 5, 5x2` to a list of values; `-` is no sample.
fn values(text: &str) -> Vec<Option<f64>> {
    let mut out = Vec::new();
    for part in text.split(',').map(str::trim) {
        let (value, times) = part.split_once('x').unwrap_or((part, "1"));
        let value = value.parse().ok();
        out.extend(std::iter::repeat_n(value, times.parse().unwrap()));
    }
    out
}

fn run(rules: &str, series: &[(&str, &str)]) -> (Vec<Step>, Memory, RuleGroup) {
    let mut group = only_group(&format!(
        "groups:\n- name: g\n  interval: 30s\n  rules:\n{rules}"
    ));
    let series: Vec<_> = series.iter().map(|(s, v)| (*s, values(v))).collect();
    let mut memory = Memory::default();
    let mut steps = Vec::new();
    for sample in 0..series.iter().map(|(_, v)| v.len()).max().unwrap() {
        let at = seconds(sample as i64 * SAMPLE_S);
        for (series, values) in &series {
            if let Some(Some(value)) = values.get(sample) {
                memory.put(series, at, *value);
            }
        }
        if sample % 2 == 1 {
            continue;
        }
        let evaluation = group.evaluate(at, &options(), &mut memory);
        assert_eq!(evaluation.failures, []);
        let rules: Vec<_> = (0..group.rules().count())
            .map(|i| alerting(&group, i))
            .collect();
        for rule in &rules {
            for alert in &rule.alerts {
                check_series(&memory, alert, at);
            }
        }
        for alert in &evaluation.alerts {
            check_payload(alert, at);
        }
        steps.push(Step {
            sample,
            at,
            states: rules.iter().map(|r| r.state).collect(),
            alerts: rules.into_iter().flat_map(|r| r.alerts).collect(),
            sent: evaluation.alerts,
        });
    }
    (steps, memory, group)
}

/// Whatever the API shows as pending or firing is in `ALERTS` with that state, and not with the other one.
fn check_series(memory: &Memory, alert: &AlertView, at: Timestamp) {
    let series = |state| {
        let labels = alert
            .labels
            .builder()
            .set("__name__", ALERTS)
            .set(ALERT_STATE, state)
            .build();
        let value = memory
            .series
            .get(&labels)
            .and_then(|points| points.get(&at))
            .copied();
        value.filter(|v| !is_stale(*v))
    };
    let (yes, no) = match alert.state {
        StateView::Firing => ("firing", "pending"),
        _ => ("pending", "firing"),
    };
    assert_eq!(
        (series(yes), series(no)),
        (Some(1.0), None),
        "{} at {at}",
        alert.labels
    );
    let for_state = alert
        .labels
        .builder()
        .set("__name__", ALERTS_FOR_STATE)
        .build();
    let since = memory.series[&for_state][&at];
    assert_eq!(since, alert.active_at.seconds_f64());
}

fn check_payload(alert: &Alert, at: Timestamp) {
    assert!(
        alert
            .generator_url
            .starts_with("http://hub:9090/graph?g0.expr="),
        "{}",
        alert.generator_url
    );
    let ends_at = alert.ends_at.unwrap();
    let firing_until = at.saturating_add(Duration::from_secs(4 * 60));
    assert!(
        ends_at == firing_until || ends_at <= at,
        "{ends_at} at {at}"
    );
    assert!(alert.starts_at <= at);
}

/// The samples at which a rule's state changed.
fn changes(steps: &[Step], rule: usize) -> Vec<(usize, &'static str)> {
    let mut out: Vec<(usize, &'static str)> = Vec::new();
    for step in steps {
        let state = step.states[rule].as_str();
        if out.last().is_none_or(|(_, last)| *last != state) {
            out.push((step.sample, state));
        }
    }
    out
}

/// Samples at which alerts of the name were sent, with `!` before those that were sent as resolved.
fn sends(steps: &[Step], name: &str) -> Vec<String> {
    let mut out = Vec::new();
    for step in steps {
        for alert in step
            .sent
            .iter()
            .filter(|a| a.labels.get("alertname") == Some(name))
        {
            let mark = if alert.is_resolved(step.at) { "!" } else { "" };
            out.push(format!("{mark}{}", step.sample));
        }
    }
    out
}

/// Every third evaluation (90 s) after the first: more than the resend delay of 60 s has to have passed.
fn every_third(mark: &str, from: usize, to: usize) -> Vec<String> {
    (from..=to)
        .step_by(6)
        .map(|s| format!("{mark}{s}"))
        .collect()
}

#[test]
fn pending_firing_resolved_again() {
    let (steps, memory, _) = run(
        "  - alert: PFR
    expr: suite{alertname=\"PFR\"} > 10
    for: 6m
    annotations: {text: 'v={{$value}} {{.Value}}'}
",
        &[(
            "suite{alertname=\"PFR\", rulegroup=\"g\"}",
            "3, 5, 5x2, 9, 9x3, 11, 11x12, 15, 15x31, 19, 19x15, 9, 9x19, 15, 15x44, 8, 8x15",
        )],
    );
    let want = [
        (0, "inactive"),
        (8, "pending"),
        (32, "firing"),
        (70, "inactive"),
        (90, "pending"),
        (114, "firing"),
        (134, "inactive"),
    ];
    assert_eq!(changes(&steps, 0), want);

    // Annotations and value follow the samples: while pending, and in what is sent again.
    let shown = |sample: usize| {
        let alert = &steps.iter().find(|s| s.sample == sample).unwrap().alerts[0];
        (alert.value, alert.annotations["text"].clone())
    };
    assert_eq!(shown(20), (11.0, "v=11 11".to_owned()));
    assert_eq!(shown(22), (15.0, "v=15 15".to_owned()));
    assert_eq!(shown(54), (19.0, "v=19 19".to_owned()));
    let sent_text = |sample: usize| {
        steps.iter().find(|s| s.sample == sample).unwrap().sent[0].annotations["text"].clone()
    };
    assert_eq!(
        (sent_text(32), sent_text(56)),
        ("v=15 15".to_owned(), "v=19 19".to_owned())
    );

    let mut want = every_third("", 32, 68);
    // Resolved at once, then again until a new alert takes its place.
    want.extend(every_third("!", 70, 88));
    want.extend(every_third("", 114, 132));
    want.extend(every_third("!", 134, 148));
    assert_eq!(sends(&steps, "PFR"), want);

    let first = &steps.iter().find(|s| s.sample == 32).unwrap().sent[0];
    assert_eq!(first.starts_at, seconds(32 * SAMPLE_S));
    let resolved = &steps.iter().find(|s| s.sample == 76).unwrap().sent[0];
    assert_eq!(
        resolved.starts_at,
        seconds(32 * SAMPLE_S),
        "startsAt stays when it was fired"
    );
    assert_eq!(
        resolved.ends_at,
        Some(seconds(70 * SAMPLE_S)),
        "endsAt is when it resolved"
    );
    assert_eq!(
        resolved.labels.to_string(),
        r#"{alertname="PFR", rulegroup="g"}"#
    );

    let stale = memory.at(
        r#"ALERTS{alertname="PFR", alertstate="firing", rulegroup="g"}"#,
        seconds(70 * SAMPLE_S),
    );
    assert_eq!(stale.as_deref(), Some("stale"));
    let stale = memory.at(
        r#"ALERTS{alertname="PFR", alertstate="pending", rulegroup="g"}"#,
        seconds(32 * SAMPLE_S),
    );
    assert_eq!(stale.as_deref(), Some("stale"));
}

#[test]
fn pending_resolved_and_always_inactive() {
    let (steps, ..) = run(
        "  - alert: PR
    expr: suite > 10
    for: 3m
  - alert: Never
    expr: suite > 99
",
        &[("suite", "3, 5, 5x2, 9, 9x3, 11, 11x10, 9, -x40")],
    );
    assert_eq!(
        changes(&steps, 0),
        [(0, "inactive"), (8, "pending"), (20, "inactive")]
    );
    assert_eq!(changes(&steps, 1), [(0, "inactive")]);
    assert!(steps.iter().all(|s| s.sent.is_empty()));
}

#[test]
fn zero_and_small_for() {
    let (steps, ..) = run(
        "  - alert: Zero
    expr: suite > 10
  - alert: Small
    expr: suite > 13
    for: 15s
",
        &[(
            "suite",
            "3, 5, 5x2, 9, 9x3, 15, 15x12, 9, 9x71, 11, 11x12, 9",
        )],
    );
    let want = [
        (0, "inactive"),
        (8, "firing"),
        (22, "inactive"),
        (94, "firing"),
        (106, "inactive"),
    ];
    assert_eq!(changes(&steps, 0), want);
    assert_eq!(
        changes(&steps, 1),
        [
            (0, "inactive"),
            (8, "pending"),
            (10, "firing"),
            (22, "inactive")
        ]
    );
    // Resolved at 330 s, so the last resolved one within 15 minutes (60 samples) is that of sample 82.
    let mut want = every_third("", 8, 20);
    want.extend(every_third("!", 22, 82));
    want.extend(every_third("", 94, 104));
    want.push("!106".to_owned());
    assert_eq!(sends(&steps, "Zero"), want);
    let mut want = every_third("", 10, 20);
    want.extend(every_third("!", 22, 82));
    assert_eq!(sends(&steps, "Small"), want);
}

#[test]
fn new_alerts_and_order() {
    let (steps, ..) = run(
        "  - alert: One
    expr: suite > 10
    for: 3m
    labels: {foo: bar, rulegroup: other}
    annotations: {text: '{{$labels.alertname}} {{.Labels.foo}} {{$labels.rulegroup}} {{$labels.variant}}'}
  - alert: Two
    expr: ALERTS{alertname=\"One\",alertstate=\"firing\",variant=\"one\"} + ignoring(variant) ALERTS{alertname=\"One\",alertstate=\"firing\",variant=\"two\"} == 2
    labels: {ba_dum: tss}
",
        &[
            ("suite{alertname=\"src\", foo=\"baz\", rulegroup=\"g\", variant=\"one\"}", "1, 1x7, 11, 11x64, 9, 9x20"),
            ("suite{alertname=\"src\", foo=\"baz\", rulegroup=\"g\", variant=\"two\"}", "1, 1x31, 11, 11x32, 9, 9x20"),
        ],
    );
    // The first alert is pending at 8 and fires at 20; the second one at 32 and 44.
    let state_of = |sample: usize, variant: &str| {
        let step = steps.iter().find(|s| s.sample == sample).unwrap();
        let alert = step
            .alerts
            .iter()
            .find(|a| a.labels.get("variant") == Some(variant));
        alert.map_or("none", |a| a.state.as_str())
    };
    assert_eq!(
        [
            state_of(6, "one"),
            state_of(8, "one"),
            state_of(18, "one"),
            state_of(20, "one")
        ],
        ["none", "pending", "pending", "firing"]
    );
    assert_eq!(
        [
            state_of(30, "two"),
            state_of(32, "two"),
            state_of(42, "two"),
            state_of(44, "two")
        ],
        ["none", "pending", "pending", "firing"]
    );
    // The second rule sees in the same cycle what the first one wrote, at the start and at the end.
    assert_eq!(
        changes(&steps, 1),
        [(0, "inactive"), (44, "firing"), (66, "inactive")]
    );

    // Templates see the element's labels, identity has the rule's.
    let step = steps.iter().find(|s| s.sample == 20).unwrap();
    assert_eq!(
        step.sent[0].labels.to_string(),
        r#"{alertname="One", foo="bar", rulegroup="other", variant="one"}"#
    );
    assert_eq!(step.sent[0].annotations["text"], "src baz g one");
    let step = steps.iter().find(|s| s.sample == 44).unwrap();
    let two = step
        .sent
        .iter()
        .find(|a| a.labels.get("alertname") == Some("Two"))
        .unwrap();
    assert_eq!(two.labels.get("ba_dum"), Some("tss"));
}

/// The suite's heavy templates: definitions, queries, and most of the functions.
#[test]
fn heavy_templates() {
    let rule = r#"  - alert: Heavy
    expr: suite > 10
    annotations:
      defined: '{{ define "t" }}{{ .arg0 }}:{{ .arg1 }}{{ end }}{{ template "t" (args $labels.instance 5) }}'
      queried: '{{ range query "others" | sortByLabel "instance" }}{{ .Labels.instance | stripPort }}={{ .Value | humanize }} {{ end }}'
      first: '{{ with query "sum(others)" }}{{ . | first | value | humanize1024 }}{{ end }} {{ query "others{instance=\"b:2\"}" | first | label "instance" | toUpper }}'
      numbers: '{{ humanizeDuration 4000 }} {{ humanizePercentage 0.5 }} {{ humanizeTimestamp 0 }} {{ parseDuration "1h" }}'
      text: '{{ title "a b" }} {{ toLower "AB" }} {{ match "a.c" "abc" }} {{ reReplaceAll "(.*)-x" "$1" "y-x" }}'
      logic: '{{ if and (gt $value 10.0) (eq $labels.instance "a:1") }}yes{{ else }}no{{ end }}'
"#;
    let (steps, ..) = run(
        rule,
        &[
            ("suite{instance=\"a:1\"}", "15"),
            ("others{instance=\"b:2\"}", "2048"),
            ("others{instance=\"a:1\"}", "1024"),
        ],
    );
    let annotations: Vec<_> = steps[0].sent[0]
        .annotations
        .iter()
        .map(|(n, v)| (n.as_str(), v.as_str()))
        .collect();
    let want = [
        ("defined", "a:1:5"),
        ("first", "3ki B:2"),
        ("logic", "yes"),
        (
            "numbers",
            "1h 6m 40s 50% 1970-01-01 00:00:00 +0000 UTC 3600",
        ),
        ("queried", "a=1.024k b=2.048k "),
        ("text", "A B ab true y"),
    ];
    assert_eq!(annotations, want);
}
