//! The parser against what Prometheus 3.14's own made of the same bytes: all cases of `../shared/exposition` when that
//! folder is beside the checkout, and some here that mean something anywhere.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use wire::exposition::{Entry, Format, Labels, Parser, parse_float};

fn labels(labels: &Labels<'_>) -> Value {
    labels
        .sorted()
        .iter()
        .map(|(name, value)| json!([name, value]))
        .collect()
}

/// Entries as the case file writes them, and whether the text ended in an error. Numbers are compared by bits.
fn read(format: Format, text: &[u8]) -> (Vec<Value>, Option<String>) {
    let mut parser = Parser::new(format, text);
    let mut entries = Vec::new();
    loop {
        let entry = match parser.next_entry() {
            Ok(Some(entry)) => entry,
            Ok(None) => return (entries, None),
            Err(error) => return (entries, Some(error.to_string())),
        };
        entries.push(match entry {
            Entry::Help { family, text } => json!({"kind": "help", "family": family, "text": text}),
            Entry::Type { family, kind } => json!({"kind": "type", "family": family, "type": kind.as_str()}),
            Entry::Unit { family, unit } => json!({"kind": "unit", "family": family, "unit": unit}),
            Entry::Comment { text } => json!({"kind": "comment", "text": text}),
            Entry::Sample(sample) => {
                let mut object = json!({
                    "kind": "sample", "labels": labels(&sample.labels), "value": sample.value.to_bits(),
                });
                if let Some(at) = sample.timestamp {
                    object["timestamp_ms"] = json!(at.millis());
                }
                if let Some(exemplar) = sample.exemplar {
                    let value = exemplar.value.to_bits();
                    object["exemplar"] = json!({"labels": labels(&exemplar.labels), "value": value});
                    if let Some(at) = exemplar.timestamp {
                        object["exemplar"]["timestamp_ms"] = json!(at.millis());
                    }
                }
                object
            }
        });
    }
}

fn bits(text: &Value) -> Value {
    json!(parse_float(text.as_str().unwrap()).unwrap().to_bits())
}

fn expected(entry: &Value) -> Value {
    let mut entry = entry.clone();
    if entry["kind"] == "sample" {
        entry["value"] = bits(&entry["value"]);
        if !entry["exemplar"].is_null() {
            entry["exemplar"]["value"] = bits(&entry["exemplar"]["value"]);
        }
    }
    entry
}

fn decode_base64(text: &str) -> Vec<u8> {
    const DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let digits = text
        .bytes()
        .filter_map(|byte| DIGITS.iter().position(|digit| *digit == byte));
    let (mut out, mut buffer, mut held) = (Vec::new(), 0_usize, 0);
    for digit in digits {
        buffer = (buffer << 6 | digit) & 0xffff;
        held += 6;
        if held >= 8 {
            held -= 8;
            out.push((buffer >> held) as u8);
        }
    }
    out
}

/// The case file in a folder `shared` beside the checkout, wherever the checkout is.
fn case_file() -> Option<PathBuf> {
    let folders = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors();
    folders
        .map(|folder| folder.join("shared/exposition/cases.jsonl"))
        .find(|path| path.is_file())
}

#[test]
fn agrees_with_prometheus() {
    let Some(path) = case_file() else {
        println!("skipped: no shared/exposition/cases.jsonl beside the checkout");
        return;
    };
    let mut wrong = Vec::new();
    let mut count = 0;
    for line in std::fs::read_to_string(path).unwrap().lines() {
        let case: Value = serde_json::from_str(line).unwrap();
        count += 1;
        let text = match case["text"].as_str() {
            Some(text) => text.as_bytes().to_vec(),
            None => decode_base64(case["text_base64"].as_str().unwrap()),
        };
        let format = match case["format"].as_str() {
            Some("prometheus") => Format::Classic,
            Some("openmetrics") => Format::OpenMetrics,
            other => panic!("format {other:?}"),
        };
        let (entries, error) = read(format, &text);
        let theirs: Vec<Value> = case["prometheus"]["entries"]
            .as_array()
            .unwrap()
            .iter()
            .map(expected)
            .collect();
        let their_error = case["prometheus"]["error"].as_str();
        if entries != theirs || error.is_some() != their_error.is_some() {
            let at = entries
                .iter()
                .zip(&theirs)
                .take_while(|(a, b)| a == b)
                .count();
            wrong.push(format!(
                "{}: {:?}\n  entry {at}: ours {:?}, theirs {:?}\n  error: ours {error:?}, theirs {their_error:?}",
                case["id"], String::from_utf8_lossy(&text), entries.get(at), theirs.get(at),
            ));
        }
    }
    assert!(
        wrong.is_empty(),
        "{} of {count} cases differ:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
    assert!(count >= 359, "{count} cases");
}

/// One line per entry, an error as the last.
fn outline(format: Format, text: &str) -> String {
    let (entries, error) = read(format, text.as_bytes());
    let lines = entries.iter().map(|entry| match entry["kind"].as_str() {
        Some("sample") => {
            let value = f64::from_bits(entry["value"].as_u64().unwrap());
            let pairs: Vec<String> = entry["labels"]
                .as_array()
                .unwrap()
                .iter()
                .map(|p| format!("{}={}", p[0], p[1]))
                .collect();
            format!(
                "{} {value} {} {}",
                pairs.join(" "),
                entry["timestamp_ms"],
                entry["exemplar"]["labels"]
            )
        }
        _ => entry.to_string(),
    });
    lines.chain(error).collect::<Vec<_>>().join("\n")
}

fn check(format: Format, text: &str, expected: &str) {
    assert_eq!(outline(format, text), expected, "{text:?}");
}

#[test]
fn classic_text() {
    let check = |text, expected| check(Format::Classic, text, expected);
    check("", "");
    check("a 1", r#""__name__"="a" 1 null null"#);
    check(
        "a{x=\"y\" z=\"\\\\\\n\\\"\\t\",} -.5 12 \n",
        r#""__name__"="a" "x"="y" "z"="\\\n\"\\t" -0.5 12 null"#,
    );
    check(
        "{\"a b\",\"c d\"=\"e\"}1",
        r#""__name__"="a b" "c d"="e" 1 null null"#,
    );
    check(
        "# TYPE h histogram\nh_bucket{le=\"1\"} 1\n# TYPE g gauge\ng{le=\"1\"} 1\n",
        concat!(
            r#"{"family":"h","kind":"type","type":"histogram"}"#,
            "\n",
            r#""__name__"="h_bucket" "le"="1.0" 1 null null"#,
            "\n",
            r#"{"family":"g","kind":"type","type":"gauge"}"#,
            "\n",
            r#""__name__"="g" "le"="1" 1 null null"#,
        ),
    );
    check(
        "#x\n# HELP a  b\\nc\n",
        concat!(
            r##"{"kind":"comment","text":"#x"}"##,
            "\n",
            r#"{"family":"a","kind":"help","text":" b\nc"}"#,
        ),
    );
    check(
        "a 1\n b\n",
        concat!(
            r#""__name__"="a" 1 null null"#,
            "\n",
            "line 2, byte 3: expected a value, found the end of the line"
        ),
    );
    check(
        "a{b='c'} 1\n",
        r#"line 1, byte 5: expected a label value in double quotes, found "'c'} 1""#,
    );
    check(
        "a 0x1p-3\n",
        r#"line 1, byte 3: expected a value: a decimal number, Inf or NaN, found "0x1p-3""#,
    );
    check(
        "a 1 99999999999999999999\n",
        r#"line 1, byte 5: expected a timestamp below 9223372036854775808, found "99999999999999999999""#,
    );
    check(
        "{} 1\n",
        r#"line 1, byte 1: expected a metric name in the braces, found "{} 1""#,
    );
}

#[test]
fn open_metrics_text() {
    let check = |text, expected| check(Format::OpenMetrics, text, expected);
    check("# EOF", "");
    check(
        "",
        "line 1, byte 1: expected a line, and # EOF as the last one, found the end of the text",
    );
    check(
        "a_total{x=\"y\"} 1 1.5 # {t=\"u\"} 2 3\n# EOF\n",
        r#""__name__"="a_total" "x"="y" 1 1500 [["t","u"]]"#,
    );
    check(
        "# UNIT a_s s\n# TYPE a_s stateset\n# EOF\n",
        concat!(
            r#"{"family":"a_s","kind":"unit","unit":"s"}"#,
            "\n",
            r#"{"family":"a_s","kind":"type","type":"stateset"}"#,
        ),
    );
    check(
        "# UNIT as s\n# EOF\n",
        "line 1, byte 11: expected a unit that the family's name ends with, after a `_`, found \"s\"",
    );
    check(
        "a{x=\"y\", z=\"w\"} 1\n# EOF\n",
        r#"line 1, byte 9: expected a label name or `}`, found " z=\"w\"} 1""#,
    );
    check(
        "a 1\n",
        concat!(
            r#""__name__"="a" 1 null null"#,
            "\n",
            "line 2, byte 1: expected a line, and # EOF as the last one, found the end of the text"
        ),
    );
    check(
        "# EOF\na 1\n",
        "line 2, byte 1: expected nothing after # EOF, found \"a 1\"",
    );
    check(
        "# comment\n",
        r##"line 1, byte 1: expected # HELP, # TYPE, # UNIT or # EOF, found "# comment""##,
    );
}

proptest::proptest! {
    #[test]
    fn random_bytes_do_not_panic(
        bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..120),
        text in "(#( |  )(HELP|TYPE|UNIT|EOF)|[a{}=\", \\\\#\n\u{0}1.e-])*",
    ) {
        for format in [Format::Classic, Format::OpenMetrics] {
            for input in [&bytes, text.as_bytes()] {
                let (entries, _) = read(format, input);
                proptest::prop_assert!(entries.len() <= input.len());
            }
        }
    }
}

/// Entries as text; samples by the bytes of their series. `before` are the series of another reading: where one stands
/// again at its place, its labels are not read.
fn read_again(format: Format, text: &[u8], before: &[Vec<u8>]) -> (Vec<String>, Vec<Vec<u8>>) {
    let mut parser = Parser::new(format, text);
    let (mut entries, mut series) = (Vec::new(), Vec::new());
    let mut place = 0;
    loop {
        if let Some(known) = before.get(place) {
            match parser.next_known(known.len(), |bytes| bytes == known) {
                Ok(Some(found)) => {
                    let exemplar = exemplar_text(found.exemplar);
                    entries.push(sample_text(known, found.value, found.timestamp, &exemplar));
                    series.push(known.clone());
                    place += 1;
                    continue;
                }
                Ok(None) => {}
                Err(error) => {
                    entries.push(error.to_string());
                    return (entries, series);
                }
            }
        }
        match parser.next_entry() {
            Ok(Some(Entry::Sample(found))) => {
                let exemplar = exemplar_text(found.exemplar);
                entries.push(sample_text(
                    found.series,
                    found.value,
                    found.timestamp,
                    &exemplar,
                ));
                series.push(found.series.to_vec());
                place += 1;
            }
            Ok(Some(other)) => entries.push(format!("{other:?}")),
            Ok(None) => return (entries, series),
            Err(error) => {
                entries.push(error.to_string());
                return (entries, series);
            }
        }
    }
}

fn sample_text(series: &[u8], value: f64, at: Option<model::Timestamp>, exemplar: &str) -> String {
    format!("{series:?} {:x} {at:?} {exemplar}", value.to_bits())
}

fn exemplar_text(exemplar: Option<wire::exposition::ExemplarEntry<'_>>) -> String {
    exemplar.map_or(String::new(), |exemplar| {
        let (value, at) = (exemplar.value.to_bits(), exemplar.timestamp);
        format!("{:?} {value:x} {at:?}", exemplar.labels.sorted())
    })
}

/// Every case, read with the knowledge of an earlier reading of it, and of a reading of it with one byte changed: the same
/// as without.
#[test]
fn known_series_read_the_same() {
    let Some(path) = case_file() else {
        println!("skipped: no shared/exposition/cases.jsonl beside the checkout");
        return;
    };
    let mut hits = 0;
    for line in std::fs::read_to_string(path).unwrap().lines() {
        let case: Value = serde_json::from_str(line).unwrap();
        let text = match case["text"].as_str() {
            Some(text) => text.as_bytes().to_vec(),
            None => decode_base64(case["text_base64"].as_str().unwrap()),
        };
        let format = match case["format"].as_str() {
            Some("prometheus") => Format::Classic,
            _ => Format::OpenMetrics,
        };
        let (plain, series) = read_again(format, &text, &[]);
        assert_eq!(
            read_again(format, &text, &series).0,
            plain,
            "{}",
            case["id"]
        );
        hits += series.len();
        for at in 0..text.len().min(400) {
            for byte in [b' ', b'{', b'}', b'"', b'\n', b'a', b'1', b'\\', 0, 0xff] {
                let mut changed = text.clone();
                changed[at] = byte;
                let plain = read_again(format, &changed, &[]).0;
                assert_eq!(
                    read_again(format, &changed, &series).0,
                    plain,
                    "{:?}",
                    String::from_utf8_lossy(&changed)
                );
            }
        }
    }
    assert!(hits > 300, "{hits} series");
}
