//! `[…]`: characters, ranges and named classes; no classes within classes and no set operations, as the crate has.

use std::fmt::Write;

use super::Re2Error;
use super::escape;

const POSIX: &str =
    " alnum alpha ascii blank cntrl digit graph lower print punct space upper word xdigit ";

/// What stands between the brackets of a class, as the crate writes it.
#[derive(Default)]
pub(super) struct Items {
    text: String,
}

impl Items {
    /// A class of its own, which may be the opposite of its members.
    pub(super) fn new(members: &str, negated: bool) -> Self {
        let text = match (members.is_empty(), negated) {
            (true, true) => r"\x00-\x{10FFFF}".to_owned(),
            (_, true) => format!("[^{members}]"),
            (_, false) => members.to_owned(),
        };
        Items { text }
    }

    /// The bracketed class; one without members matches nothing.
    pub(super) fn bracketed(&self, negated: bool) -> String {
        match (self.text.is_empty(), negated) {
            (true, false) => r"[^\x00-\x{10FFFF}]".to_owned(),
            (true, true) => r"[\x00-\x{10FFFF}]".to_owned(),
            (false, false) => format!("[{}]", self.text),
            (false, true) => format!("[^{}]", self.text),
        }
    }

    /// The characters from `low` to `high`. RE2 takes surrogates, which no text holds: they are left out.
    fn add_range(&mut self, low: u32, high: u32) {
        let first = char::from_u32(low).unwrap_or('\u{e000}');
        let last = char::from_u32(high).unwrap_or('\u{d7ff}');
        if first > last {
            return;
        }
        self.add(first);
        if first < last {
            self.text.push('-');
            self.add(last);
        }
    }

    fn add(&mut self, c: char) {
        if c.is_ascii() && !c.is_ascii_alphanumeric() {
            // By number, so that none of them is an operator of the crate's.
            let _ = write!(self.text, r"\x{:02X}", u32::from(c));
        } else {
            self.text.push(c);
        }
    }
}

/// The class that `text` begins with, as the crate writes it, and the rest of the text.
pub(super) fn class(text: &str) -> Result<(String, &str), Re2Error> {
    let inner = &text[1..];
    let (negated, mut rest) = match inner.strip_prefix('^') {
        Some(inner) => (true, inner),
        None => (false, inner),
    };
    let mut items = Items::default();
    let mut first = true;
    // A `]` that comes first is one of the characters.
    while first || !rest.starts_with(']') {
        first = false;
        let named = match posix_class(rest)? {
            Some(found) => Some(found),
            None => escape::unicode_class(rest)?.or_else(|| escape::perl_class(rest)),
        };
        if let Some((more, tail)) = named {
            items.text.push_str(&more.text);
            rest = tail;
            continue;
        }
        let range = rest;
        let (low, tail) = member(rest, text)?;
        rest = tail;
        let mut high = low;
        // A `-` that comes last is one of the characters.
        if let Some(end) = rest.strip_prefix('-')
            && !end.is_empty()
            && !end.starts_with(']')
        {
            (high, rest) = member(end, text)?;
            if high < low {
                let range = &range[..range.len() - rest.len()];
                return Err(Re2Error::at("invalid character class range", range));
            }
        }
        items.add_range(low, high);
    }
    Ok((items.bracketed(negated), &rest[1..]))
}

/// `[:alpha:]`, `[:^alpha:]`: of ASCII in both syntaxes.
fn posix_class(text: &str) -> Result<Option<(Items, &str)>, Re2Error> {
    let Some((name, rest)) = text.strip_prefix("[:").and_then(|t| t.split_once(":]")) else {
        return Ok(None);
    };
    let whole = &text[..text.len() - rest.len()];
    let word = name.strip_prefix('^').unwrap_or(name);
    let known = !word.is_empty() && !word.contains(' ') && POSIX.contains(&format!(" {word} "));
    if !known {
        return Err(Re2Error::at("invalid character class range", whole));
    }
    Ok(Some((Items::new(whole, false), rest)))
}

/// One character of a class, by its number.
fn member<'t>(text: &'t str, class: &str) -> Result<(u32, &'t str), Re2Error> {
    match text.chars().next() {
        None => Err(Re2Error::at("missing closing ]", class)),
        Some('\\') => escape::character(text),
        Some(c) => Ok((u32::from(c), &text[c.len_utf8()..])),
    }
}
