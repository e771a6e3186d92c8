//! Tables of templates with what Prometheus makes of them.

use super::*;

struct Answers(Vec<(LabelSet, model::Value)>);

impl TemplateQuery for Answers {
    fn query(&mut self, expr: &str) -> Result<Vec<(LabelSet, model::Value)>, String> {
        match expr {
            "missing" => Ok(Vec::new()),
            "bad(" => Err("1:5: parse error: unclosed left parenthesis".to_owned()),
            _ => Ok(self.0.clone()),
        }
    }
}

fn labels(pairs: &[(&str, &str)]) -> LabelSet {
    LabelSet::from_pairs(pairs.iter().copied()).unwrap()
}

fn expand(text: &str, value: f64) -> Result<String, TemplateError> {
    let mut query = Answers(vec![
        (
            labels(&[("__name__", "metric"), ("instance", "b")]),
            model::Value::Float(21.0),
        ),
        (
            labels(&[
                ("__name__", "metric"),
                ("instance", "a"),
                ("__value__", "v"),
            ]),
            model::Value::Float(11.0),
        ),
    ]);
    let external = ExternalInfo {
        labels: [("dc".to_owned(), "north".to_owned())].into(),
        url: "http://testhost:9090/path/prefix".to_owned(),
    };
    let labels = labels(&[
        ("__name__", "up"),
        ("instance", "host.example.com:9100"),
        ("job", "<node>"),
    ]);
    let now = Timestamp::from_millis(1_353_755_652_000);
    Template::parse("test", text)?.expand(
        &labels,
        &model::Value::Float(value),
        &external,
        now,
        &mut query,
    )
}

fn check(text: &str, want: &str) {
    match expand(text, 11.0) {
        Ok(got) => assert_eq!(got, want, "{text}"),
        Err(error) => panic!("{text}: {error}"),
    }
}

/// `want` is the error after the template's name, with columns as if the definitions were not there.
fn check_error(text: &str, want: &str) {
    let error = match expand(text, 11.0) {
        Err(error) => error.to_string(),
        Ok(out) => panic!("{text} gave {out}"),
    };
    let mut error = error
        .replace("template: __alert_test:", "")
        .replace("\"__alert_test\"", "main");
    if let Some((line, rest)) = error.clone().split_once(':')
        && let Some((column, rest)) = rest.split_once(':')
        && let (1, Ok(column)) = (line.parse().unwrap_or(0), column.parse::<usize>())
    {
        error = format!("{line}:{}:{rest}", column - DEFINITIONS.len());
    }
    assert_eq!(error, want, "{text}");
}

#[test]
fn text_and_data() {
    check("plain text", "plain text");
    check("{{ 1 }}", "1");
    check("{{ .Value }} {{ $value }}", "11 11");
    check(
        "{{ $labels.job }} {{ .Labels.instance }}",
        "<node> host.example.com:9100",
    );
    check("[{{ $labels.nothing }}]", "[]");
    check(
        "{{ $externalLabels.dc }} {{ .ExternalLabels.dc }} {{ $externalURL }}",
        "north north http://testhost:9090/path/prefix",
    );
    check("{{ \"<b>\" }} {{ `raw\\n` }} {{ 'a' }}", "<b> raw\\n 97");
    check(
        "{{ true }} {{ 0x10 }} {{ 1e3 }} {{ 1_000 }} {{ -2.50 }}",
        "true 16 1000 1000 -2.5",
    );
    check("{{/* nothing */}}a{{- /* trims */ -}} b", "ab");
    check("a {{- 1 -}} b {{ 2 -}}\n c", "a1b 2c");
    check("a\n{{- \"x\" }}", "ax");
    check(
        "{{ $labels }}",
        "map[__name__:up instance:host.example.com:9100 job:<node>]",
    );
    check("é{{ print \"日本\" }}", "é日本");
}

#[test]
fn control_structures() {
    check(
        "{{ if $labels.job }}y{{ else }}n{{ end }}{{ if $labels.x }}y{{ else }}n{{ end }}",
        "yn",
    );
    check(
        "{{ if false }}a{{ else if eq $labels.job \"x\" }}b{{ else if true }}c{{ else }}d{{ end }}",
        "c",
    );
    check(
        "{{ with $labels.job }}{{ . }}{{ end }}{{ with $labels.x }}a{{ else }}b{{ end }}",
        "<node>b",
    );
    check(
        "{{ with $labels.x }}a{{ else with $labels.job }}{{ . }}{{ end }}",
        "<node>",
    );
    check(
        "{{ range query \"m\" | sortByLabel \"instance\" }}{{ .Labels.instance }}:{{ .Value }}: {{ end }}",
        "a:11: b:21: ",
    );
    check(
        "{{ range $i, $s := query \"m\" }}{{ $i }}={{ $s.Value }} {{ end }}",
        "0=21 1=11 ",
    );
    check(
        "{{ range $s := query \"m\" }}{{ $s | value }} {{ end }}",
        "21 11 ",
    );
    check(
        "{{ range query \"missing\" }}a{{ else }}none{{ end }}",
        "none",
    );
    check(
        "{{ range $k, $v := $labels }}{{ $k }}={{ $v }};{{ end }}",
        "__name__=up;instance=host.example.com:9100;job=<node>;",
    );
    check(
        "{{ range 3 }}{{ . }}{{ if eq . 1 }}{{ break }}{{ end }}{{ end }}",
        "01",
    );
    check(
        "{{ range 4 }}{{ if eq . 1 }}{{ continue }}{{ end }}{{ . }}{{ end }}",
        "023",
    );
    check(
        "{{ $x := 1 }}{{ if true }}{{ $x = 2 }}{{ $x := 3 }}{{ end }}{{ $x }}",
        "2",
    );
    check(
        "{{ $n := 0 }}{{ range $n = query \"m\" }}{{ end }}{{ $n.Value }}",
        "11",
    );
    check("{{ range query \"m\" }}{{ $.Value }}{{ end }}", "1111");
    check(
        "{{define \"x\"}}{{.arg0}} {{.arg1}}{{.arg2}}{{end}}{{template \"x\" (args 1 \"2\")}}",
        "1 2<no value>",
    );
    check(
        "{{ define `t` }}[{{ . }}]{{ end }}{{ range query \"m\" }}{{ template `t` .Value }}{{ end }}",
        "[21][11]",
    );
    check(
        "{{ block \"b\" $labels.job }}({{ . }}){{ end }}",
        "(<node>)",
    );
    check(
        "{{ (query \"m\" | first).Value }} {{ (index (query \"m\") 1).Labels.instance }}",
        "21 a",
    );
}

#[test]
fn go_functions() {
    check(
        "{{ eq 1 1 }} {{ eq 1 2 3 1 }} {{ ne \"a\" \"b\" }} {{ lt 1 2 }} {{ le 2 2 }} {{ gt $value 10.0 }} {{ ge 1.5 2.0 }}",
        "true true true true true true false",
    );
    check(
        "{{ and 1 0 }} {{ and 1 2 }} {{ or 0 \"\" 3 }} {{ not 0 }} {{ or false (eq 1 1) }}",
        "0 2 3 true true",
    );
    check("{{ and false (index $labels 1) }}", "false");
    check(
        "{{ len \"héllo\" }} {{ len $labels }} {{ len (query \"m\") }}",
        "6 3 2",
    );
    check(
        "{{ index $labels \"job\" }} {{ index \"abc\" 1 }} {{ slice \"abcdef\" 1 3 }}",
        "<node> 98 bc",
    );
    check(
        "{{ print 1 2 \"a\" 3 }} {{ println 1 \"a\" }}",
        "1 2a3 1 a\n",
    );
    check(
        "{{ printf \"%.2f %s %d %q %v\" $value $labels.job 3 \"x\" true }}",
        "11.00 <node> 3 \"x\" true",
    );
    check("{{ printf \"%d\" $value }}", "%!d(float64=11)");
    check(
        "{{ $value | printf \"%.1f\" }} {{ \"a\" | printf \"%s-%s\" \"b\" }}",
        "11.0 b-a",
    );
    check(
        "{{ html $labels.job }} {{ js \"it's\" }} {{ urlquery \"a b&c\" }}",
        "&lt;node&gt; it\\'s a+b%26c",
    );
}

#[test]
fn query_functions() {
    check("{{ query \"m\" | first | value }}", "21");
    check("{{ query \"m\" | first | label \"instance\" }}", "b");
    check("[{{ query \"m\" | first | label \"foo\" }}]", "[]");
    check(
        "{{ query \"m\" | sortByLabel \"instance\" | first | strvalue }}",
        "v",
    );
    check("{{ $x := query \"m\" | first }}[{{ $x.Labels.foo }}]", "[]");
    check(
        "{{ query \"m\" | first }}",
        "{map[__name__:metric instance:b] 21}",
    );
}

#[test]
fn humanize_functions() {
    let each = |function: &str, inputs: &[&str], want: &str| {
        let text: String = inputs
            .iter()
            .map(|i| format!("{{{{ {function} {i} }}}}:"))
            .collect();
        check(&text, want);
    };
    each(
        "humanize",
        &[
            "0.0",
            "1.0",
            "1234567.0",
            ".12",
            "\"1234567.0\"",
            "-1",
            "9223372036854775807",
        ],
        "0:1:1.235M:120m:1.235M:-1:9.223E:",
    );
    each(
        "humanize1024",
        &[
            "0.0",
            "1.0",
            "1048576.0",
            ".12",
            "1234567",
            "9223372036854775807",
        ],
        "0:1:1Mi:0.12:1.177Mi:8Ei:",
    );
    each(
        "humanizeDuration",
        &[
            "0", "1", "60", "3600", "86400", "90000", "-183845", "899.99", "1234567",
        ],
        "0s:1s:1m 0s:1h 0m 0s:1d 0h 0m 0s:1d 1h 0m 0s:-2d 3h 4m 5s:14m 59s:14d 6h 56m 7s:",
    );
    each(
        "humanizeDuration",
        &[
            ".1", ".0001", ".12345", "60.1", "60.5", "1.2345", "12.345", "\"-1\"",
        ],
        "100ms:100us:123.5ms:1m 0s:1m 0s:1.234s:12.35s:-1s:",
    );
    each(
        "humanizePercentage",
        &[
            "-0.22222",
            "0.0",
            "0.1234567",
            "1.23456",
            "1234567",
            "\"0.5\"",
        ],
        "-22.22%:0%:12.35%:123.5%:1.235e+08%:50%:",
    );
    each(
        "humanizeTimestamp",
        &[
            "0",
            "-1",
            "1",
            "1234567",
            "9223372036",
            "1435065584.128",
            "\"1435065584.128\"",
        ],
        "1970-01-01 00:00:00 +0000 UTC:1969-12-31 23:59:59 +0000 UTC:1970-01-01 00:00:01 +0000 UTC:1970-01-15 06:56:07 +0000 UTC:2262-04-11 23:47:16 +0000 UTC:2015-06-23 13:19:44.128 +0000 UTC:2015-06-23 13:19:44.128 +0000 UTC:",
    );
    for function in [
        "humanize",
        "humanize1024",
        "humanizeDuration",
        "humanizeTimestamp",
    ] {
        each(
            function,
            &["\"+Inf\"", "\"-Inf\"", "\"NaN\""],
            "+Inf:-Inf:NaN:",
        );
    }
}

#[test]
fn time_functions() {
    check("{{ (1435065584.128 | toTime).Format \"2006\" }}", "2015");
    check(
        "{{ (\"1435065584.128\" | toTime).Format \"2006-01-02 15:04\" }}",
        "2015-06-23 13:19",
    );
    check(
        "{{ toTime 0 }} {{ (toTime 1.5).Unix }} {{ (toTime 0).Weekday }} {{ (toTime 0).Month }}",
        "1970-01-01 00:00:00 +0000 UTC 1 Thursday January",
    );
    check(
        "{{ toDuration 90 }} {{ (toDuration 90).Minutes }} {{ toDuration 3600 | humanizeDuration }}",
        "1m30s 1.5 1h 0m 0s",
    );
    check(
        "{{ ((toTime 0).Add (toDuration 60)).Format \"15:04:05\" }}",
        "00:01:00",
    );
    check(
        "{{ now }} {{ now | humanizeTimestamp }}",
        "1.353755652e+09 2012-11-24 11:14:12 +0000 UTC",
    );
    check(
        "{{ printf \"%0.2f\" (parseDuration \"1h2m10ms\") }} {{ parseDuration \"-1m\" }}",
        "3720.01 -60",
    );
}

#[test]
fn string_functions() {
    check(
        "{{ \"aa bb CC\" | title }} {{ \"don't o_o foo.bar\" | title }}",
        "Aa Bb CC Don't O_o Foo.bar",
    );
    check(
        "{{ \"aa bb CC\" | toUpper }} {{ \"aA bB\" | toLower }}",
        "AA BB CC aa bb",
    );
    check(
        "{{ match \"a+\" \"aa\" }} {{ match \"a+\" \"b\" }} {{ match \"^a\" \"ba\" }}",
        "true false false",
    );
    check(
        "{{ reReplaceAll \"(a)b\" \"x$1\" \"ab\" }} {{ reReplaceAll \"(.*):.*\" \"$1\" $labels.instance }}",
        "xa host.example.com",
    );
    check(
        "{{ graphLink \"up\" }} {{ tableLink \"up > 1\" }}",
        "/graph?g0.expr=up&g0.tab=0 /graph?g0.expr=up+%3E+1&g0.tab=1",
    );
    check(
        "{{ pathPrefix }} {{ externalURL }} {{ safeHtml \"<b>\" }} {{ urlQueryEscape \"a b\" }}",
        "/path/prefix http://testhost:9090/path/prefix <b> a+b",
    );
    let each = |function: &str, cases: &[(&str, &str)]| {
        for (input, want) in cases {
            check(&format!("{{{{ \"{input}\" | {function} }}}}"), want);
        }
    };
    each(
        "stripPort",
        &[
            ("foo.example.com", "foo.example.com"),
            ("foo.example.com:12345", "foo.example.com"),
            ("192.0.2.1:12345", "192.0.2.1"),
            ("2001:0DB8::1", "2001:0DB8::1"),
            ("[2001:0DB8::1]:12345", "2001:0DB8::1"),
            ("[2001:0DB8::1]::12345", "[2001:0DB8::1]::12345"),
        ],
    );
    each(
        "stripDomain",
        &[
            ("foo.example.com", "foo"),
            ("foo.example.com:12345", "foo:12345"),
            ("192.0.2.1", "192.0.2.1"),
            ("192.0.2.1:12345", "192.0.2.1:12345"),
            ("2001:0DB8::1", "2001:0DB8::1"),
            ("[2001:0DB8::1]:12345", "[2001:0DB8::1]:12345"),
            ("[2001:0DB8::1]::12345", "[2001:0DB8::1]::12345"),
        ],
    );
}

#[test]
fn source_errors() {
    check_error("{{", "1: unclosed action");
    check_error("a\n{{ foo }}", "2: function \"foo\" not defined");
    check_error("{{\u{a0}}}", "1: unrecognized character in action: U+00A0");
    check_error("{{ $x }}", "1: undefined variable \"$x\"");
    check_error("{{ if true }}", "1: unexpected EOF");
    check_error("{{ end }}", "1: unexpected {{end}}");
    check_error("{{ else }}", "1: unexpected {{else}}");
    check_error("{{ \"a }}", "1: unterminated quoted string");
    check_error("{{ (1 }}", "1: unclosed left paren");
    check_error("{{ 1) }}", "1: unexpected \")\" in command");
    check_error("{{ if }}a{{ end }}", "1: missing value for if");
    check_error("{{}}", "1: missing value for command");
    check_error(
        "{{ 1 | 2 }}",
        "1: non executable command in pipeline stage 2",
    );
    check_error("{{ break }}", "1: {{break}} outside {{range}}");
    check_error("{{ 1.Foo }}", "1: bad number syntax: \"1.F\"");
    check_error("{{ /* a }}", "1: unexpected \"/\" in command");
    check_error("{{/* a }}", "1: unclosed comment");
    check_error("{{ tmpl \"a\" . }}", "1: function \"tmpl\" not defined");
}

#[test]
fn expansion_errors() {
    check_error(
        "{{ query \"missing\" | first }}",
        "1:21: executing main at <first>: error calling first: first() called on vector with no elements",
    );
    check_error(
        "{{ (query \"missing\").banana }}",
        "1:10: executing main at <\"missing\">: can't evaluate field banana in type template.queryResult",
    );
    check_error(
        "{{ humanize \"one\" }}",
        "1:3: executing main at <humanize \"one\">: error calling humanize: strconv.ParseFloat: parsing \"one\": invalid syntax",
    );
    check_error(
        "{{ \"one\" | humanizePercentage }}",
        "1:11: executing main at <humanizePercentage>: error calling humanizePercentage: strconv.ParseFloat: parsing \"one\": invalid syntax",
    );
    check_error(
        "{{ humanizeTimestamp -9223372036854775808 }}",
        "1:3: executing main at <humanizeTimestamp -9223372036854775808>: error calling humanizeTimestamp: -9.223372036854776e+18 cannot be represented as a nanoseconds timestamp since it overflows int64",
    );
    check_error(
        "{{ gt $value 1 }}",
        "1:3: executing main at <gt $value 1>: error calling gt: incompatible types for comparison",
    );
    check_error(
        "{{ .Foo }}",
        "1:3: executing main at <.Foo>: can't evaluate field Foo in type struct { Labels map[string]string; ExternalLabels map[string]string; ExternalURL string; Value interface {} }",
    );
    check_error(
        "{{ toUpper $value }}",
        "1:11: executing main at <$value>: wrong type for value; expected string; got float64",
    );
    check_error(
        "{{ toUpper 1 }}",
        "1:11: executing main at <1>: expected string; found 1",
    );
    check_error(
        "{{ title }}",
        "1:3: executing main at <title>: wrong number of args for title: want 1 got 0",
    );
    check_error(
        "{{ template \"x\" }}",
        "1:12: executing main at <{{template \"x\"}}>: template \"x\" not defined",
    );
    check_error(
        "{{ $labels.job 1 }}",
        "1:10: executing main at <$labels.job>: job is not a method but has arguments",
    );
    check_error(
        "{{ range $value }}{{ end }}",
        "1:9: executing main at <$value>: range can't iterate over 11",
    );
    check_error(
        "{{ query \"bad(\" }}",
        "1:3: executing main at <query \"bad(\">: error calling query: 1:5: parse error: unclosed left parenthesis",
    );
    check_error(
        "{{ humanize 18446744073709551615 }}",
        "1:12: executing main at <18446744073709551615>: 18446744073709551615 overflows int",
    );
    check_error(
        "{{ nil }}",
        "1:3: executing main at <nil>: nil is not a command",
    );
}

#[test]
fn what_failed_shows_in_the_text() {
    let template = Template::parse("A", "{{ query \"missing\" | first }}").unwrap();
    let external = ExternalInfo {
        labels: BTreeMap::new(),
        url: String::new(),
    };
    let text = template.expand_or_explain(
        &LabelSet::empty(),
        &model::Value::Float(1.0),
        &external,
        Timestamp::from_millis(0),
        &mut Answers(Vec::new()),
    );
    let want = "<error expanding template: error executing template __alert_A: template: __alert_A:1:133: executing \"__alert_A\" at <first>: error calling first: first() called on vector with no elements>";
    assert_eq!(text, want);
}

#[test]
fn a_template_cannot_run_away() {
    let bounded = |text: &str| match expand(text, 1.0) {
        Err(
            TemplateError::Bound { .. }
            | TemplateError::Execute { .. }
            | TemplateError::Parse { .. },
        ) => {}
        other => panic!("{}: {other:?}", &text[..text.len().min(60)]),
    };
    bounded("{{ define \"x\" }}{{ template \"x\" . }}{{ end }}{{ template \"x\" . }}");
    bounded(
        "{{ define \"x\" }}{{ if lt (len .) 90 }}{{ template \"x\" (print . \"a\") }}{{ template \"x\" (print . \"a\") }}{{ end }}{{ end }}{{ template \"x\" \"\" }}",
    );
    bounded("{{ range 100000000 }}{{ end }}");
    bounded("{{ range 1000000 }}0123456789{{ end }}");
    bounded("{{ $x := \"ab\" }}{{ range 60 }}{{ $x = print $x $x }}{{ end }}");
    bounded("{{ $x := args }}{{ range 60 }}{{ $x = args $x $x }}{{ end }}");
    bounded(
        "{{ $x := \"ab\" }}{{ range 19 }}{{ $x = print $x $x }}{{ end }}{{ reReplaceAll \"b\" $x $x }}",
    );
    bounded(&"{{ if true }}".repeat(10_000));
    bounded(&format!("{{{{ {} }}}}", "(".repeat(100_000)));
    bounded(&"{{ if true }}{{ else if true }}".repeat(5_000));
}

/// Pieces that make templates of all kinds, right and wrong ones.
const PIECES: [&str; 44] = [
    "{{",
    "}}",
    "{{-",
    "-}}",
    " ",
    "\n",
    "text",
    "é",
    "{{ if true }}",
    "{{ else }}",
    "{{ end }}",
    "{{ range query \"m\" }}",
    "{{ with $labels.job }}",
    "{{ define \"t\" }}",
    "{{ template \"t\" . }}",
    "$x",
    ":=",
    "=",
    "|",
    ",",
    "(",
    ")",
    ".",
    ".Labels",
    ".Value",
    "$labels",
    "$value",
    "\"a\"",
    "`r`",
    "'c'",
    "1",
    "1.5e3",
    "-0x1F",
    "print",
    "printf",
    "humanize",
    "index",
    "len",
    "slice",
    "args",
    "first",
    "toTime",
    ".Format",
    "/*",
];

proptest::proptest! {
    #[test]
    fn no_template_panics(pieces in proptest::collection::vec(0..PIECES.len(), 0..30), value: f64) {
        let text: String = pieces.iter().flat_map(|i| [PIECES[*i], " "]).collect();
        let _ = expand(&text, value);
        let _ = expand(&text.replace(' ', ""), value);
    }

    #[test]
    fn no_text_panics(text in ".{0,60}", layout in ".{0,30}", value: f64) {
        let _ = expand(&text, value);
        let _ = expand(&format!("{{{{ {text} }}}}"), value);
        let _ = time::GoTime::from_seconds(value).map(|t| t.format(&layout));
        let _ = fmt::sprintf(&text, &[Value::Float(value), Value::string(layout)]);
    }
}
