//! OpenMetrics text. Exactly one blank between tokens, none within labels, no free comments, `# EOF` at the end.

use std::ops::Range;

use model::MetricType;

use super::ParseError;
use super::entry::{Found, Kind, Pair};
use super::number::parse_float;
use super::scan::{Newline, Nul, Scan};

/// Reads one entry into `found`. None after `# EOF`. An error put into `pending` comes after the entry returned.
pub(super) fn next(
    scan: &mut Scan<'_>,
    found: &mut Found,
    pending: &mut Option<ParseError>,
) -> Result<Option<Kind>, ParseError> {
    let start = scan.at;
    match scan.peek() {
        None => Err(scan.error("a line, and # EOF as the last one")),
        Some(b'#') => comment(scan, found),
        Some(b'{') => {
            found.start_sample();
            scan.at += 1;
            let mut metric = None;
            labels(scan, &mut found.labels, Some(&mut metric))?;
            found.text = start..scan.at;
            let Some(metric) = metric else {
                return Err(scan.error_at(start, "a metric name in the braces"));
            };
            found.name = metric;
            suffix(scan, found, pending).map(Some)
        }
        Some(_) => {
            found.start_sample();
            let Some(name) = scan.metric_name() else {
                return Err(scan.error("a metric name, `{` or `# `"));
            };
            found.name = name.clone();
            if scan.take(b'{') {
                labels(scan, &mut found.labels, Some(&mut Some(name)))?;
            }
            found.text = start..scan.at;
            suffix(scan, found, pending).map(Some)
        }
    }
}

fn comment(scan: &mut Scan<'_>, found: &mut Found) -> Result<Option<Kind>, ParseError> {
    let start = scan.at;
    for (word, kind) in [
        (b"# HELP ", Kind::Help),
        (b"# TYPE ", Kind::Type),
        (b"# UNIT ", Kind::Unit),
    ] {
        if scan.take_word(word) {
            return metadata(scan, found, kind).map(Some);
        }
    }
    if !scan.take_word(b"# EOF") {
        return Err(scan.error_at(start, "# HELP, # TYPE, # UNIT or # EOF"));
    }
    scan.take(b'\n');
    match scan.peek() {
        None => Ok(None),
        Some(_) => Err(scan.error("nothing after # EOF")),
    }
}

fn metadata(scan: &mut Scan<'_>, found: &mut Found, kind: Kind) -> Result<Kind, ParseError> {
    let name = scan
        .quoted(Nul::Refused, Newline::Taken)
        .or_else(|| scan.metric_name());
    let Some(name) = name else {
        return Err(scan.error("a metric name after HELP, TYPE or UNIT"));
    };
    scan.check_utf8(&name, "a metric name in UTF-8")?;
    found.name = name;
    if !scan.take(b' ') {
        return Err(scan.error("one blank and a text"));
    }
    found.text = scan.run(|byte| byte != b'\n');
    match kind {
        Kind::Type => found.kind = metric_type(scan, &found.text)?,
        Kind::Unit => check_unit(scan, found)?,
        _ => scan.check_utf8(&found.text, "a help text in UTF-8")?,
    }
    if !scan.take(b'\n') {
        return Err(scan.error("the end of the line"));
    }
    found.help_quotes = true;
    Ok(kind)
}

fn metric_type(scan: &Scan<'_>, word: &Range<usize>) -> Result<MetricType, ParseError> {
    let text = scan.str(word.clone());
    // "untyped" is a word of the classic format only.
    MetricType::from_word(&text).filter(|_| text != "untyped").ok_or_else(|| {
        let expected = "one of counter, gauge, histogram, gaugehistogram, summary, info, stateset, unknown";
        scan.error_at(word.start, expected)
    })
}

fn check_unit(scan: &Scan<'_>, found: &Found) -> Result<(), ParseError> {
    let (family, unit) = (
        scan.bytes(found.name.clone()),
        scan.bytes(found.text.clone()),
    );
    let fits = family
        .strip_suffix(unit)
        .is_some_and(|stem| stem.ends_with(b"_"));
    if unit.is_empty() || fits {
        return scan.check_utf8(&found.text, "a unit in UTF-8");
    }
    Err(scan.error_at(
        found.text.start,
        "a unit that the family's name ends with, after a `_`",
    ))
}

/// Reads labels up to and with the closing brace. In a sample a quoted name that no `=` follows is the metric name;
/// `metric` says whether there is one yet. An exemplar has none.
fn labels(
    scan: &mut Scan<'_>,
    pairs: &mut Vec<Pair>,
    mut metric: Option<&mut Option<Range<usize>>>,
) -> Result<(), ParseError> {
    let in_exemplar = metric.is_none();
    let (name_newline, value_nul) = match in_exemplar {
        true => (Newline::Refused, Nul::Refused),
        false => (Newline::Taken, Nul::Taken),
    };
    loop {
        if scan.take(b'}') {
            return Ok(());
        }
        let quoted = scan.quoted(Nul::Refused, name_newline);
        let is_quoted = quoted.is_some();
        let Some(name) = quoted.or_else(|| scan.label_name()) else {
            return Err(scan.error("a label name or `}`"));
        };
        scan.check_utf8(&name, "a name in UTF-8")?;
        if is_quoted && matches!(scan.peek(), Some(b',' | b'}')) {
            match metric.as_deref_mut() {
                Some(metric @ None) => *metric = Some(name),
                Some(Some(_)) => return Err(scan.error_at(name.start, "only one metric name")),
                None => return Err(scan.error("`=` after a label name")),
            }
            if scan.take(b'}') {
                return Ok(());
            }
            scan.at += 1;
            continue;
        }
        if !scan.take(b'=') {
            return Err(scan.error("`=` after a label name"));
        }
        let Some(value) = scan.quoted(value_nul, Newline::Refused) else {
            return Err(scan.error("a label value in double quotes"));
        };
        scan.check_utf8(&value, "a label value in UTF-8")?;
        pairs.push(Pair { name, value });
        if !scan.take(b',') && scan.peek() != Some(b'}') {
            return Err(scan.error("`,` or `}` after a label"));
        }
    }
}

/// One blank and what follows it up to the next blank or the end of the line; None, going nowhere, if that is nothing.
fn word(scan: &mut Scan<'_>) -> Option<Range<usize>> {
    let start = scan.at;
    if scan.take(b' ') {
        let word = scan.run(|byte| !matches!(byte, b' ' | b'\n' | 0));
        if !word.is_empty() {
            return Some(word);
        }
    }
    scan.at = start;
    None
}

fn value(scan: &mut Scan<'_>) -> Result<f64, ParseError> {
    let Some(value) = word(scan) else {
        return Err(scan.error("one blank and a value"));
    };
    let number = parse_float(&scan.str(value.clone()));
    number.ok_or_else(|| scan.error_at(value.start, "a value: a decimal number, Inf or NaN"))
}

/// Seconds with a fraction, cut to milliseconds.
fn timestamp(scan: &Scan<'_>, word: &Range<usize>) -> Result<i64, ParseError> {
    let seconds = parse_float(&scan.str(word.clone())).filter(|seconds| seconds.is_finite());
    let seconds = seconds.ok_or_else(|| scan.error_at(word.start, "a timestamp in seconds"))?;
    Ok((seconds * 1000.0) as i64)
}

pub(super) fn suffix(
    scan: &mut Scan<'_>,
    found: &mut Found,
    pending: &mut Option<ParseError>,
) -> Result<Kind, ParseError> {
    found.value = value(scan)?;
    if scan.take_word(b" # {") {
        return exemplar(scan, found);
    }
    if let Some(word) = word(scan) {
        found.timestamp = Some(timestamp(scan, &word)?);
        if scan.take_word(b" # {") {
            return exemplar(scan, found);
        }
        return end_of_line(scan);
    }
    match end_of_line(scan) {
        // Prometheus hands out the sample and trips over the rest of its line one entry later.
        Err(error) if scan.peek().is_some() => {
            *pending = Some(error);
            Ok(Kind::Sample)
        }
        end => end,
    }
}

fn exemplar(scan: &mut Scan<'_>, found: &mut Found) -> Result<Kind, ParseError> {
    labels(scan, &mut found.exemplar_labels, None)?;
    let value = value(scan)?;
    let at = match word(scan) {
        Some(word) => Some(timestamp(scan, &word)?),
        None => None,
    };
    found.exemplar = Some((value, at));
    end_of_line(scan)
}

fn end_of_line(scan: &mut Scan<'_>) -> Result<Kind, ParseError> {
    if scan.take(b'\n') {
        Ok(Kind::Sample)
    } else {
        Err(scan.error("the end of the line"))
    }
}
