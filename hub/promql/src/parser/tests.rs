use std::path::PathBuf;

use proptest::prelude::*;
use serde_json::Value;

use super::*;
use crate::printer::pretty;

/// A file of the shared test data beside the checkout, if it is there.
fn shared(path: &str) -> Option<PathBuf> {
    let crate_folder = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let found = crate_folder
        .ancestors()
        .map(|folder| folder.join("shared").join(path));
    found.into_iter().find(|path| path.exists())
}

fn check_error(input: &str, expected: &str) {
    let found = parse(input, &ParseOptions::all()).map(|e| e.to_string());
    let found = found.map_err(|e| e.to_string());
    assert_eq!(found, Err(expected.to_owned()), "{input}");
}

fn check_print(input: &str, expected: &str) {
    let expr = parse(input, &ParseOptions::all()).unwrap_or_else(|e| panic!("{input}: {e}"));
    assert_eq!(expr.to_string(), expected, "{input}");
}

#[test]
fn precedence() {
    check_print("-2^2", "-2 ^ 2");
    check_print("a offset -2^2", "a offset -2s ^ 2");
    check_print("a offset (1m) * 2", "a offset (1m) * 2");
    check_print("sum(a)by(b)/c", "sum by (b) (a) / c");
    check_print(
        "foo[5m:1m] @ start() offset 1h",
        "foo[5m:1m] @ start() offset 1h",
    );
}

#[test]
fn errors_name_the_place() {
    check_error(
        "sum(1 2)",
        "1:7: parse error: unexpected number \"2\" in aggregation",
    );
    check_error(
        "a\n + bool b",
        "2:2: parse error: bool modifier can only be used on comparison operators",
    );
    check_error(
        "foo{a=\"b\"",
        "1:10: parse error: unexpected end of input inside braces",
    );
    check_error(
        "foo[5m 5m]",
        "1:8: parse error: unexpected duration \"5m\" in subquery or range, expected \":\" or \"]\"",
    );
    check_error(
        "sum(a,)",
        "1:6: parse error: trailing commas not allowed in function call args",
    );
}

#[test]
fn selectors_for_match_parameters() {
    let matchers = parse_selector("up{job=~\"a|b\", \"x.y\"!=\"z\"}").unwrap();
    let texts: Vec<String> = matchers.iter().map(ToString::to_string).collect();
    assert_eq!(texts, ["job=~\"a|b\"", "\"x.y\"!=\"z\"", "__name__=\"up\""]);
    for bad in [
        "up[5m]",
        "",
        "rate(up[5m])",
        "up offset 5m",
        "1",
        "{a=\"b\"",
    ] {
        assert!(parse_selector(bad).is_err(), "{bad}");
    }
}

/// Deep and long inputs end in an answer: no overflow of a small stack, no running time out of proportion.
#[test]
fn hostile_inputs_end() {
    let run = || {
        let n = 200_000;
        let inputs = [
            "(".repeat(n),
            "-".repeat(n) + "1",
            "1+".repeat(n) + "1",
            "1^".repeat(n) + "1",
            "a or ".repeat(n) + "a",
            "abs(".repeat(n),
            "sum by (".repeat(n),
            "a[".to_owned() + &"(".repeat(n),
            "a[".to_owned() + &"1+".repeat(n) + "1]",
            "a[".to_owned() + &"-".repeat(n) + "1]",
            "a offset ".to_owned() + &"-(".repeat(n),
            "a".to_owned() + &"[1m:]".repeat(n),
            "a{".to_owned() + &"b=\"c\",".repeat(n),
            "x".repeat(2 << 20),
        ];
        for input in inputs {
            if let Ok(expr) = parse(&input, &ParseOptions::all()) {
                let _ = pretty(&expr);
            }
        }
        // The deepest that is taken can be printed, compared, copied and dropped.
        for input in [
            "1+".repeat(DEPTH_MAX - 1) + "1",
            "(".repeat(DEPTH_MAX - 1) + "1" + &")".repeat(DEPTH_MAX - 1),
            "a offset ".to_owned() + &"-(1".repeat(300) + &")".repeat(300),
        ] {
            let expr = parse(&input, &ParseOptions::all()).unwrap();
            assert_eq!(
                parse(&expr.to_string(), &ParseOptions::all())
                    .unwrap()
                    .to_string(),
                expr.to_string()
            );
            let _ = pretty(&expr.clone());
        }
    };
    let thread = std::thread::Builder::new().stack_size(2 << 20).spawn(run);
    thread.unwrap().join().unwrap();
}

/// Every upstream case: errors with positions, types, both printed forms.
#[test]
fn upstream_cases() {
    let Some(path) = shared("promql-parse/cases.jsonl") else {
        eprintln!("skipped: no shared/promql-parse beside the checkout");
        return;
    };
    let text = std::fs::read_to_string(path).unwrap();
    let mut wrong = Vec::new();
    let mut cases = 0;
    for line in text.lines() {
        let case: Value = serde_json::from_str(line).unwrap();
        let field = |name: &str| case[name].as_str().map(str::to_owned);
        let input = field("expr").unwrap();
        cases += 1;
        let mut differs = |what: &str, found: Option<String>, expected: Option<String>| {
            if found != expected {
                wrong.push(format!(
                    "{input:?} {what}\n   found {found:?}\n   want  {expected:?}"
                ));
            }
        };
        let parsed = parse(&input, &ParseOptions::all());
        differs(
            "error",
            parsed.as_ref().err().map(ToString::to_string),
            field("error"),
        );
        if let Ok(expr) = parsed {
            differs(
                "type",
                Some(expr.value_type().name().to_owned()),
                field("type"),
            );
            differs("string", Some(expr.to_string()), field("string"));
            differs("pretty", Some(pretty(&expr)), field("pretty"));
            let json = crate::ast_json(&expr);
            let error = json.as_ref().err().map(ToString::to_string);
            differs("ast error", error, field("ast_error"));
            if let Ok(json) = json {
                let json: Value = serde_json::from_str(&json).unwrap();
                differs(
                    "ast",
                    Some(numbers(&json).to_string()),
                    Some(numbers(&case["ast"]).to_string()),
                );
            }
            let stable = parse(&input, &ParseOptions::stable());
            differs(
                "without experimental",
                stable.err().map(|e| e.to_string()),
                field("error_without_experimental"),
            );
        }
    }
    assert!(
        wrong.is_empty(),
        "{} of {cases} wrong:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
    assert!(cases > 2000);
}

/// Whole numbers and fractions alike: `0.0` and `0` are one number in JSON.
fn numbers(value: &Value) -> Value {
    match value {
        Value::Array(items) => items.iter().map(numbers).collect(),
        Value::Object(fields) => {
            let fields = fields
                .iter()
                .map(|(name, value)| (name.clone(), numbers(value)));
            Value::Object(fields.collect())
        }
        Value::Number(number) if number.as_f64().is_some_and(|n| n.fract() == 0.0) => {
            Value::from(number.as_f64().unwrap_or_default() as i64)
        }
        other => other.clone(),
    }
}

/// Pieces that expressions are made of: joined at random they reach most of the grammar.
fn pieces() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "foo",
        "sum",
        "by",
        "(",
        ")",
        "{",
        "}",
        "[",
        "]",
        "5m",
        "1",
        "-",
        "+",
        "*",
        "^",
        "==",
        "bool",
        "on",
        "group_left",
        ",",
        "a",
        "=",
        "\"x\"",
        "=~",
        "offset",
        "@",
        "start",
        "()",
        ":",
        "rate",
        "and",
        "step",
        "max_of",
        "fill",
        "anchored",
        "</",
        "'",
        "#",
        "\n",
        "topk",
        "without",
        "1h",
        "time()",
        "0x",
        "_",
        ".",
        "histogram_quantile",
        "é",
        "info",
        "or",
        "!",
    ]);
    prop::collection::vec((piece, prop::bool::ANY), 0..14).prop_map(|parts| {
        parts
            .into_iter()
            .map(|(part, blank)| {
                if blank {
                    format!("{part} ")
                } else {
                    part.to_owned()
                }
            })
            .collect()
    })
}

/// Expressions that mostly parse.
fn expressions() -> impl Strategy<Value = String> {
    let leaf = prop::sample::select(vec![
        "1",
        "5m",
        "foo",
        "foo{a=\"b\"}",
        "foo offset 5m",
        "foo @ 12.5",
        "{\"x.y\"}",
        "foo offset -(1m+2s)",
        "rate(foo[5m])",
        "sum_over_time(foo[5m] anchored)",
        "vector(1)",
        "time()",
        "foo @ end() offset 1h",
        "rate(foo[step()*2])",
        "NaN",
        "(-Inf)",
    ])
    .prop_map(str::to_owned);
    leaf.prop_recursive(5, 40, 2, |inner| {
        let op = prop::sample::select(vec![
            "+",
            "-",
            "^",
            "atan2",
            "== bool",
            "> on(a)",
            "and",
            "or",
            "* ignoring(b) group_left(c)",
            "</",
            "+ on(a) fill(1)",
            "unless",
        ]);
        prop_oneof![
            (inner.clone(), op, inner.clone()).prop_map(|(l, op, r)| format!("{l} {op} {r}")),
            inner.clone().prop_map(|e| format!("({e})")),
            inner.clone().prop_map(|e| format!("-{e}")),
            inner.clone().prop_map(|e| format!("abs({e})")),
            inner.clone().prop_map(|e| format!("sum by (a) ({e})")),
            inner
                .clone()
                .prop_map(|e| format!("topk without (\"x.y\") (2, {e})")),
            inner.prop_map(|e| format!("max_over_time(({e})[1h:5m] offset 1m)")),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn any_text_is_an_answer(input in "\\PC{0,60}") {
        let _ = parse(&input, &ParseOptions::all());
        let _ = parse_selector(&input);
        let _ = parse_series(&input);
    }

    #[test]
    fn any_pieces_are_an_answer(input in pieces()) {
        if let Ok(expr) = parse(&input, &ParseOptions::all()) {
            let printed = expr.to_string();
            let again = parse(&printed, &ParseOptions::all());
            prop_assert_eq!(again.map(|e| e.to_string()).map_err(|e| e.to_string()), Ok(printed));
        }
    }

    #[test]
    fn what_is_printed_reads_back(input in expressions()) {
        if let Ok(expr) = parse(&input, &ParseOptions::all()) {
            for printed in [expr.to_string(), pretty(&expr)] {
                let again = parse(&printed, &ParseOptions::all());
                let again = again.map(|e| e.to_string()).map_err(|e| e.to_string());
                prop_assert_eq!(again, Ok(expr.to_string()), "{}", printed);
            }
        }
    }
}
