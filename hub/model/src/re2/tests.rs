//! Against Prometheus itself.

use super::*;

/// What the patterns of `verdicts.txt` are held against, by the number that it names them with.
const VALUES: &[&str] = &[
    "",
    "a",
    "b",
    "e",
    "z",
    "A",
    "Z",
    "K",
    "S",
    "k",
    "s",
    "0",
    "9",
    "7",
    "_",
    "é",
    "\u{c9}",
    "\u{661}",
    "\u{17f}",
    "\u{212a}",
    "\u{3b2}",
    "\u{3a9}",
    "\u{20ac}",
    "\u{a0}",
    " ",
    "\u{9}",
    "\u{a}",
    "\u{b}",
    "\u{c}",
    "\u{d}",
    "\u{7}",
    "\u{1}",
    "&",
    "-",
    "~",
    "[",
    "]",
    "a]",
    "b]",
    "[]",
    "&]",
    "^",
    "\\",
    "<",
    "{",
    "}",
    "a{",
    "a{,5}",
    "a{x}",
    "a{01}",
    "aaa",
    "aa",
    "aaaaa",
    "ab",
    "a-",
    "x y",
    "x\u{a0}y",
    "x\u{b}y",
    "a\u{a}b",
    "aé",
    "éa",
    "é{start}",
    "a{start}",
    "S7",
    "a.b",
    "a*",
    "a.b*",
    "\u{1f600}",
    "ab|",
    "\u{10400}",
];

/// Each line is a pattern, a tab, and what Prometheus 2.42 made of it in `label_replace` (with `.` for newlines
/// too, as Prometheus 3 has it): the numbers of the values that fit, or its error.
const VERDICTS: &str = include_str!("verdicts.txt");

fn verdict(pattern: &str) -> String {
    let regex = match Re2::anchored(pattern) {
        Ok(regex) => regex,
        Err(error) => return error.reason,
    };
    let mut runs: Vec<(usize, usize)> = Vec::new();
    for (number, value) in VALUES.iter().enumerate() {
        match (regex.is_match(value), runs.last_mut()) {
            (false, _) => {}
            (true, Some((_, last))) if *last + 1 == number => *last = number,
            (true, _) => runs.push((number, number)),
        }
    }
    let run = |&(first, last): &(usize, usize)| match first == last {
        true => first.to_string(),
        false => format!("{first}-{last}"),
    };
    match runs.is_empty() {
        true => "none".to_owned(),
        false => runs.iter().map(run).collect::<Vec<_>>().join(","),
    }
}

#[test]
fn fits_and_refuses_as_prometheus() {
    let mut wrong = Vec::new();
    for line in VERDICTS.lines() {
        let (pattern, theirs) = line.split_once('\t').unwrap();
        let ours = verdict(pattern);
        if ours != theirs {
            wrong.push(format!("{pattern}\n  ours   {ours}\n  theirs {theirs}"));
        }
    }
    assert!(VERDICTS.lines().count() > 300);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// What needs no other words stays as it is, and as fast.
#[test]
fn plain_patterns_stay() {
    for pattern in [
        "",
        "a|b",
        "node_.*",
        "(?:a|b)+c?",
        "^a$",
        "é-#&~ <",
        "(?i:x)(?s).",
        "a{2,5}?",
    ] {
        assert_eq!(translate::translate(pattern).unwrap().text, pattern);
    }
}

#[test]
fn what_only_parses_inside_a_group_is_none() {
    for pattern in ["a)(b", "a)|(b"] {
        let error = Re2::anchored(pattern).unwrap_err().to_string();
        assert_eq!(
            error,
            format!("error parsing regexp: unexpected ): `{pattern}`")
        );
    }
}

/// The crate's own limits speak where RE2's rules have nothing against a pattern.
#[test]
fn sizes_are_bounded() {
    for pattern in [
        "(".repeat(2000) + &")".repeat(2000),
        r"\pL{1000}".repeat(20),
        "a".repeat(PATTERN_BYTES_MAX + 1),
    ] {
        assert!(Re2::anchored(&pattern).is_err());
    }
}

/// What Prometheus 2.42 made of a replacement, in `label_replace` of `acd` by `(?P<n>a)(b)?(?P<1x>c)(?P<n>d)`.
const TEMPLATES: &[(&str, &str)] = &[
    ("$1", "a"),
    ("$01", ""),
    ("${01}", ""),
    ("$0", "acd"),
    ("${0}", "acd"),
    ("$00", ""),
    ("$1x", "c"),
    ("${1}x", "ax"),
    ("$1_", ""),
    ("$1-", "a-"),
    ("$n", "a"),
    ("${n}", "a"),
    ("$nn", ""),
    ("$2", ""),
    ("$3", "c"),
    ("$4", "d"),
    ("$5", ""),
    ("$9", ""),
    ("$99999999999999999999", ""),
    ("$$", "$"),
    ("$$1", "$1"),
    ("$", "$"),
    ("a$", "a$"),
    ("$-", "$-"),
    ("${", "${"),
    ("${1", "${1"),
    ("${}", "${}"),
    ("${1-}", "${1-}"),
    ("${n}$", "a$"),
    ("$1é", ""),
    ("$1é-", "-"),
    ("${1é}", ""),
    ("$é", ""),
    ("$ $1", "$ a"),
    ("$1$3", "ac"),
    ("$n$1x", "ac"),
    ("{$1}", "{a}"),
    ("$²", "$²"),
    ("$1²", "a²"),
    ("$_", ""),
    ("$x1", ""),
    ("${ 1}", "${ 1}"),
    ("$١", ""),
    ("$1١", ""),
    ("$1́", "á"),
];

#[test]
fn replacements_are_gos() {
    let of = |pattern: &str, text: &str, template: &str| {
        let regex = Re2::anchored(pattern).unwrap();
        let mut out = String::new();
        regex.expand(template, &regex.captures(text).unwrap(), &mut out);
        out
    };
    for (template, expected) in TEMPLATES {
        assert_eq!(
            of("(?P<n>a)(b)?(?P<1x>c)(?P<n>d)", "acd", template),
            *expected,
            "{template}"
        );
    }
}
