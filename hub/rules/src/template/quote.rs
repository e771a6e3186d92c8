//! Go string literals: reading them, and writing them for `%q`.

use std::fmt::Write as _;

/// Reads `"…"`, `'…'` or a raw string in backquotes. `None` if it is not one, or not UTF-8 once read.
pub(super) fn unquote(literal: &str) -> Option<String> {
    let mark = literal.chars().next()?;
    if literal.len() < 2 || !literal.ends_with(mark) {
        return None;
    }
    let inner = &literal[1..literal.len() - 1];
    if mark == '`' {
        return Some(inner.replace('\r', ""));
    }
    let mut out: Vec<u8> = Vec::with_capacity(inner.len());
    let mut chars = inner.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
            continue;
        }
        let plain = match chars.next()? {
            'a' => 7,
            'b' => 8,
            'f' => 12,
            'n' => b'\n',
            'r' => b'\r',
            't' => b'\t',
            'v' => 11,
            '\\' => b'\\',
            c if c == mark => c as u8,
            'x' => u8::try_from(take(&mut chars, 2, 16)?).ok()?,
            c @ '0'..='7' => {
                let rest = take(&mut chars, 2, 8)?;
                u8::try_from(c.to_digit(8)? * 64 + rest).ok()?
            }
            kind @ ('u' | 'U') => {
                let digits = if kind == 'u' { 4 } else { 8 };
                let c = char::from_u32(take(&mut chars, digits, 16)?)?;
                out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
                continue;
            }
            _ => return None,
        };
        out.push(plain);
    }
    String::from_utf8(out).ok()
}

fn take(chars: &mut std::str::Chars<'_>, digits: usize, radix: u32) -> Option<u32> {
    let mut value = 0u32;
    for _ in 0..digits {
        value = value
            .checked_mul(radix)?
            .checked_add(chars.next()?.to_digit(radix)?)?;
    }
    Some(value)
}

/// Go's `strconv.Quote`.
pub(super) fn quote(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\u{7}' => out.push_str("\\a"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{b}' => out.push_str("\\v"),
            c if (c as u32) < 0x80 && c.is_control() => {
                let _ = write!(out, "\\x{:02x}", c as u32);
            }
            c if c.is_control() || (c.is_whitespace() && c != ' ') => {
                let _ = write!(out, "\\u{:04x}", c as u32);
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literals_are_read_as_go_reads_them() {
        let check = |literal: &str, want: Option<&str>| {
            assert_eq!(unquote(literal).as_deref(), want, "{literal}");
        };
        check(r#""a\tb""#, Some("a\tb"));
        check(r#""\x41\u00e9\101""#, Some("AéA"));
        check(r#""\q""#, None);
        check(r#""\xff""#, None);
        check("`a\\b`", Some("a\\b"));
        check("\"", None);
        check(r"'\''", Some("'"));
    }

    #[test]
    fn quoting_escapes_what_does_not_print() {
        assert_eq!(quote("a\"b\\c\n\u{1}é\u{a0}"), r#""a\"b\\c\n\x01é\u00a0""#);
    }
}
