use super::*;

fn parse(text: &str) -> Result<RuleFile, String> {
    RuleFile::parse("rules.yml", text, &ParseOptions::default())
        .map_err(|errors| errors.to_string())
}

fn check_error(text: &str, want: &str) {
    assert_eq!(parse(text).unwrap_err(), want, "{text}");
}

/// A file with one group and the rule given.
fn one(rule: &str) -> String {
    format!("groups:\n- name: g\n  rules:\n{rule}")
}

#[test]
fn a_file_with_everything() {
    let file = parse(
        "
groups:
- name: first
  interval: 30s
  limit: 10
  query_offset: 1m
  labels: {team: infra, level: 1}
  rules:
  - record: job:up:sum
    expr: sum by (job) (up)
  - alert: Down
    expr: up == 0
    for: 5m
    keep_firing_for: 10m
    labels:
      level: page
      of: '{{ $labels.job }}'
    annotations:
      summary: \"{{ $labels.instance }} is down\"
- name: second
  rules:
",
    )
    .unwrap();
    let [first, second] = &file.groups[..] else {
        panic!()
    };
    assert_eq!(first.key(), "rules.yml;first");
    assert_eq!(first.interval, Some(Duration::from_secs(30)));
    assert_eq!(first.query_offset, Some(Duration::from_secs(60)));
    assert_eq!(first.limit, Some(10));
    assert_eq!(first.rules[0].name, "job:up:sum");
    assert_eq!(
        label_set(&first.rules[0].labels).to_string(),
        r#"{level="1", team="infra"}"#
    );
    let down = &first.rules[1];
    assert_eq!(
        label_set(&down.labels).to_string(),
        r#"{level="page", of="{{ $labels.job }}", team="infra"}"#
    );
    let RuleKind::Alerting(alerting) = &down.kind else {
        panic!()
    };
    assert_eq!(alerting.hold, Duration::from_secs(300));
    assert_eq!(alerting.keep_firing_for, Duration::from_secs(600));
    assert_eq!(alerting.label_templates.len(), 3);
    assert!(second.rules.is_empty() && second.interval.is_none() && second.limit.is_none());
}

#[test]
fn nothing_is_a_file_too() {
    for text in ["", "# only a comment\n", "groups:\n", "groups: []\n"] {
        assert!(parse(text).unwrap().groups.is_empty(), "{text:?}");
    }
}

#[test]
fn errors_say_where_and_what() {
    check_error(
        "groups:\n- nam: x\n",
        "rules.yml:2:3: unknown field `nam`, expected one of name, interval, query_offset, limit, labels, rules",
    );
    check_error(
        &one("  - record: a\n    exprs: b\n"),
        "rules.yml:5:5: unknown field `exprs`, expected one of record, alert, expr, for, keep_firing_for, labels, annotations",
    );
    check_error(
        "groups:\n- rules: []\n",
        "rules.yml:2:3: Groupname must not be empty",
    );
    check_error(
        "groups:\n- name: g\n- name: g\n",
        "rules.yml:3:3: groupname: \"g\" is repeated in the same file",
    );
    check_error(
        &one("  - record: a\n    expr: sum(\n"),
        "rules.yml:5:11: group \"g\", rule 1, \"a\": could not parse expression: 1:5: parse error: unclosed left parenthesis",
    );
    check_error(
        &one("  - expr: up\n"),
        "rules.yml:4:5: group \"g\", rule 1, \"\": one of 'record' or 'alert' must be set",
    );
    check_error(
        &one("  - record: a\n    alert: b\n    expr: up\n"),
        "rules.yml:4:13: group \"g\", rule 1, \"b\": only one of 'record' and 'alert' must be set",
    );
    check_error(
        &one("  - record: a\n"),
        "rules.yml:4:5: group \"g\", rule 1, \"a\": field 'expr' must be set in rule",
    );
    check_error(
        &one("  - record: a\n    expr: up\n    for: 1m\n"),
        "rules.yml:4:13: group \"g\", rule 1, \"a\": invalid field 'for' in recording rule",
    );
    check_error(
        &one("  - record: a{b}\n    expr: up\n"),
        "rules.yml:4:13: group \"g\", rule 1, \"a{b}\": braces present in the recording rule name; should it be in expr?: a{b}",
    );
    check_error(
        &one("  - alert: a\n    expr: up\n    labels: {__name__: x}\n"),
        "rules.yml:6:24: group \"g\", rule 1, \"a\": invalid label name: __name__",
    );
    check_error(
        &one("  - alert: a\n    expr: up\n    annotations:\n      text: '{{ foo }}'\n"),
        "rules.yml:7:13: group \"g\", rule 1, \"a\": annotation \"text\": template: __alert_a:1: function \"foo\" not defined",
    );
    let duration = parse(&one("  - alert: a\n    expr: up\n    for: 5 minutes\n")).unwrap_err();
    assert!(
        duration.starts_with("rules.yml:6:10: not a valid duration: \"5 minutes\""),
        "{duration}"
    );
}

#[test]
fn all_errors_are_reported_at_once() {
    let errors = parse(&one(
        "  - record: a\n    expr: sum(\n  - alert: b\n    expr: up{\n",
    ))
    .unwrap_err();
    assert_eq!(errors.lines().count(), 2, "{errors}");
}

#[test]
fn duplicates_are_found_across_groups() {
    let rule = "  - record: a\n    expr: up\n    labels: {x: y}\n";
    let text = format!("{}- name: h\n  rules:\n{rule}{rule}", one(rule));
    let twice = parse(&text).unwrap().duplicates();
    assert_eq!(
        twice,
        [("a".to_owned(), [("x".to_owned(), "y".to_owned())].into())]
    );
}

proptest::proptest! {
    #[test]
    fn no_text_panics(text in "[a-z0-9:{}\\[\\], \"'\n-]{0,80}") {
        let _ = parse(&text);
        let _ = parse(&format!("groups:\n- name: g\n  rules:\n  - alert: a\n    expr: {text}\n"));
    }
}
