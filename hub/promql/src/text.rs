//! How Go writes strings, characters and numbers: error texts, printed expressions and label values made from
//! numbers must read exactly as Prometheus's do.

use std::fmt::Write;

use model::Histogram;

/// A string in double quotes with Go's escapes.
pub(crate) fn quote(text: &str) -> String {
    quote_bytes(text.as_bytes())
}

/// The same for bytes that may not be UTF-8.
pub(crate) fn quote_bytes(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len() + 2);
    out.push('"');
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            if c == '"' {
                out.push_str("\\\"");
            } else {
                push_escaped(&mut out, c);
            }
        }
        for byte in chunk.invalid() {
            let _ = write!(out, "\\x{byte:02x}");
        }
    }
    out.push('"');
    out
}

/// A character in single quotes; the end of the input shows as the replacement character.
pub(crate) fn quote_char(c: Option<char>) -> String {
    let mut out = String::from("'");
    match c.unwrap_or(char::REPLACEMENT_CHARACTER) {
        '\'' => out.push_str("\\'"),
        c => push_escaped(&mut out, c),
    }
    out.push('\'');
    out
}

/// `U+002E '.'`, without the character when it cannot be shown.
pub(crate) fn unicode(c: char) -> String {
    let mut out = format!("U+{:04X}", c as u32);
    if is_printable(c) {
        let _ = write!(out, " '{c}'");
    }
    out
}

fn push_escaped(out: &mut String, c: char) {
    match c {
        '\\' => out.push_str("\\\\"),
        '\u{7}' => out.push_str("\\a"),
        '\u{8}' => out.push_str("\\b"),
        '\u{c}' => out.push_str("\\f"),
        '\n' => out.push_str("\\n"),
        '\r' => out.push_str("\\r"),
        '\t' => out.push_str("\\t"),
        '\u{b}' => out.push_str("\\v"),
        c if is_printable(c) => out.push(c),
        c if (c as u32) < 0x80 => {
            let _ = write!(out, "\\x{:02x}", c as u32);
        }
        c if (c as u32) < 0x1_0000 => {
            let _ = write!(out, "\\u{:04x}", c as u32);
        }
        c => {
            let _ = write!(out, "\\U{:08x}", c as u32);
        }
    }
}

/// Whether a character can be shown as it is. The standard library's own table decides; it is asked with a letter
/// in front, so that combining marks count as printable, as they do in Go.
fn is_printable(c: char) -> bool {
    match c {
        ' '..='~' => true,
        '\u{0}'..='\u{a0}' => false,
        c => {
            let text: String = ['a', c].iter().collect();
            text.escape_debug().nth(1) == Some(c)
        }
    }
}

/// The shortest decimal that reads back equal, never with an exponent: `strconv.FormatFloat(f, 'f', -1, 64)`.
pub fn format_float(value: f64) -> String {
    match special(value) {
        Some(text) => text.to_owned(),
        None => format!("{value}"),
    }
}

/// The shortest decimal that reads back equal, with an exponent below 1e-4 and from 1e6 on: Go's `%v`.
pub(crate) fn format_general(value: f64) -> String {
    if let Some(text) = special(value) {
        return text.to_owned();
    }
    let scientific = format!("{value:e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if value != 0.0 && !(-4..6).contains(&exponent) {
        let sign = if exponent < 0 { '-' } else { '+' };
        return format!("{digits}e{sign}{:02}", exponent.abs());
    }
    format!("{value}")
}

/// A number as a label's value in the way of OpenMetrics: always with a point or an exponent.
pub(crate) fn format_open_metrics(value: f64) -> String {
    let text = format_general(value);
    if value.is_finite() && !text.contains(['.', 'e']) {
        return format!("{text}.0");
    }
    text
}

/// A native histogram as Prometheus prints it: `{count:3, sum:1.5, (0.5,1]:3}`.
pub(crate) fn format_histogram(histogram: &Histogram) -> String {
    let number = |value: f64| format_general(value);
    let mut out = format!(
        "{{count:{}, sum:{}",
        number(histogram.count),
        number(histogram.sum)
    );
    for bucket in histogram.all_buckets() {
        let open = if bucket.lower_inclusive { '[' } else { '(' };
        let close = if bucket.upper_inclusive { ']' } else { ')' };
        let (lower, upper) = (number(bucket.lower), number(bucket.upper));
        let _ = write!(
            out,
            ", {open}{lower},{upper}{close}:{}",
            number(bucket.count)
        );
    }
    out.push('}');
    out
}

fn special(value: f64) -> Option<&'static str> {
    if value.is_nan() {
        Some("NaN")
    } else if value == f64::INFINITY {
        Some("+Inf")
    } else if value == f64::NEG_INFINITY {
        Some("-Inf")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_as_go_does() {
        let check = |text: &str, quoted: &str| assert_eq!(quote(text), quoted);
        check("a\"b\\\n\t", r#""a\"b\\\n\t""#);
        check("日本", "\"日本\"");
        check("\u{0}\u{7f}\u{200b}", r#""\x00\x7f\u200b""#);
        assert_eq!(quote_char(Some('\'')), r"'\''");
        assert_eq!(quote_char(None), "'\u{fffd}'");
        assert_eq!(unicode('.'), "U+002E '.'");
    }

    #[test]
    fn numbers_as_go_does() {
        let check = |value: f64, text: &str| assert_eq!(format_float(value), text);
        check(0.1, "0.1");
        check(1e21, "1000000000000000000000");
        check(-0.0, "-0");
        check(f64::NEG_INFINITY, "-Inf");
    }
}
