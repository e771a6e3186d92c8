//! The classic Prometheus text format. Blanks and tabs may stand between any two tokens; a comment is any line whose
//! first character is `#`; nothing says where the text ends.

use model::MetricType;

use super::ParseError;
use super::entry::{Found, Kind, Pair};
use super::number::parse_float;
use super::scan::{Newline, Nul, Scan};

/// Reads one entry into `found`. None at the end of the text, and, as in Prometheus, at a NUL byte that stands where an
/// entry would begin or within a comment that has no blank behind its `#`.
pub(super) fn next(scan: &mut Scan<'_>, found: &mut Found) -> Result<Option<Kind>, ParseError> {
    loop {
        let start = scan.at;
        scan.skip_blanks();
        match scan.peek() {
            None | Some(0) => return Ok(None),
            Some(b'\n') => scan.at += 1,
            Some(b'#') => return comment(scan, found),
            Some(b'{') => {
                found.start_sample();
                let mut metric = None;
                scan.at += 1;
                labels(scan, found, &mut metric)?;
                found.text = start..scan.at;
                let Some(metric) = metric else {
                    return Err(scan.error_at(start, "a metric name in the braces"));
                };
                found.name = metric;
                return suffix(scan, found).map(Some);
            }
            Some(_) => {
                found.start_sample();
                let Some(name) = scan.metric_name() else {
                    return Err(scan.error("a metric name, `{` or `#`"));
                };
                // Prometheus counts blanks at the beginning of a line as part of the name; such a series is then its
                // own, not another spelling of the one without blanks.
                found.name = start..name.end;
                found.text = start..name.end;
                scan.skip_blanks();
                if scan.take(b'{') {
                    let mut metric = Some(found.name.clone());
                    labels(scan, found, &mut metric)?;
                    found.text = start..scan.at;
                }
                return suffix(scan, found).map(Some);
            }
        }
    }
}

fn comment(scan: &mut Scan<'_>, found: &mut Found) -> Result<Option<Kind>, ParseError> {
    let start = scan.at;
    scan.at += 1;
    let blank = matches!(scan.peek(), Some(b' ' | b'\t'));
    scan.skip_blanks();
    if blank {
        for (word, kind) in [(b"HELP", Kind::Help), (b"TYPE", Kind::Type)] {
            let before = scan.at;
            if scan.take_word(word) {
                if matches!(scan.peek(), Some(b' ' | b'\t')) {
                    scan.skip_blanks();
                    return metadata(scan, found, kind).map(Some);
                }
                scan.at = before;
            }
        }
    }
    if scan.peek() == Some(0) {
        return Ok(None);
    }
    let line = scan.run(|byte| byte != b'\n');
    if !blank && scan.bytes(line).contains(&0) {
        return Ok(None);
    }
    found.text = start..scan.at;
    scan.at += 1;
    Ok(Some(Kind::Comment))
}

fn metadata(scan: &mut Scan<'_>, found: &mut Found, kind: Kind) -> Result<Kind, ParseError> {
    let name = scan
        .quoted(Nul::Refused, Newline::Taken)
        .or_else(|| scan.metric_name());
    let Some(name) = name else {
        return Err(scan.error("a metric name after HELP or TYPE"));
    };
    scan.check_utf8(&name, "a metric name in UTF-8")?;
    found.name = name;
    let line = scan.rest_of_line();
    // The one character between name and text is not looked at.
    found.text = (line.start + 1).min(line.end)..line.end;
    match kind {
        Kind::Type => {
            found.kind = match scan.bytes(found.text.clone()) {
                b"counter" => MetricType::Counter,
                b"gauge" => MetricType::Gauge,
                b"histogram" => MetricType::Histogram,
                b"summary" => MetricType::Summary,
                b"untyped" => MetricType::Unknown,
                _ => {
                    let expected = "one of counter, gauge, histogram, summary, untyped";
                    return Err(scan.error_at(found.text.start, expected));
                }
            };
        }
        _ => scan.check_utf8(&found.text, "a help text in UTF-8")?,
    }
    if !scan.take(b'\n') {
        return Err(scan.error("the end of the line"));
    }
    found.help_quotes = false;
    Ok(kind)
}

/// Reads labels up to and with the closing brace. A quoted name that no `=` follows is the metric name.
fn labels(
    scan: &mut Scan<'_>,
    found: &mut Found,
    metric: &mut Option<std::ops::Range<usize>>,
) -> Result<(), ParseError> {
    loop {
        scan.skip_blanks();
        if scan.take(b'}') {
            return Ok(());
        }
        let quoted = scan.quoted(Nul::Refused, Newline::Taken);
        let is_quoted = quoted.is_some();
        let Some(name) = quoted.or_else(|| scan.label_name()) else {
            return Err(scan.error("a label name or `}`"));
        };
        scan.check_utf8(&name, "a name in UTF-8")?;
        scan.skip_blanks();
        if is_quoted && matches!(scan.peek(), Some(b',' | b'}')) {
            if metric.is_some() {
                return Err(scan.error_at(name.start, "only one metric name"));
            }
            *metric = Some(name);
            if scan.take(b'}') {
                return Ok(());
            }
            scan.at += 1;
            continue;
        }
        if !scan.take(b'=') {
            return Err(scan.error("`=` after a label name"));
        }
        scan.skip_blanks();
        let Some(value) = scan.quoted(Nul::Taken, Newline::Taken) else {
            return Err(scan.error("a label value in double quotes"));
        };
        scan.check_utf8(&value, "a label value in UTF-8")?;
        found.labels.push(Pair { name, value });
        // The comma may be left out.
        scan.skip_blanks();
        scan.take(b',');
    }
}

pub(super) fn suffix(scan: &mut Scan<'_>, found: &mut Found) -> Result<Kind, ParseError> {
    scan.skip_blanks();
    let value = scan.run(|byte| !matches!(byte, b'{' | b' ' | b'\t' | b'\n' | 0));
    match parse_float(&scan.str(value.clone())) {
        Some(number) => found.value = number,
        None if value.is_empty() => return Err(scan.error("a value")),
        None => return Err(scan.error_at(value.start, "a value: a decimal number, Inf or NaN")),
    }
    scan.skip_blanks();
    let digits = scan.run(|byte| byte.is_ascii_digit());
    if !digits.is_empty() {
        let text = scan.str(digits.clone());
        let millis = text
            .parse()
            .map_err(|_| scan.error_at(digits.start, "a timestamp below 9223372036854775808"))?;
        found.timestamp = Some(millis);
        scan.skip_blanks();
    }
    if scan.take(b'\n') {
        return Ok(Kind::Sample);
    }
    Err(scan.error(if digits.is_empty() {
        "a timestamp in ms or the end of the line"
    } else {
        "the end of the line"
    }))
}
