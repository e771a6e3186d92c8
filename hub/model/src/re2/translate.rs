//! Reads a pattern by RE2's rules and writes what means the same to the `regex` crate. One pass, without recursion.

use super::class::{self, Items};
use super::{Re2Error, escape};

/// Highest count of a repetition, those of its repeated inside multiplied.
const REPEAT_MAX: u64 = 1000;

/// A pattern of the crate's, and the names of its groups, which are left out of it.
pub(super) struct Translated {
    pub(super) text: String,
    pub(super) names: Vec<String>,
}

/// What stands before the place read: what a repetition would repeat.
#[derive(Clone, Copy)]
enum Before<'p> {
    /// Nothing.
    Start,
    /// A piece, in which things are repeated so many times.
    Piece(u64),
    /// A repetition, from here on: a second one on top is none of RE2's.
    Repeated(&'p str, u64),
}

impl Before<'_> {
    fn times(self) -> u64 {
        match self {
            Before::Start => 1,
            Before::Piece(times) | Before::Repeated(_, times) => times,
        }
    }
}

struct Translator<'p> {
    pattern: &'p str,
    out: String,
    names: Vec<String>,
    before: Before<'p>,
    /// The most repetitions within the group so far.
    times: u64,
    /// The same of the groups around it.
    outer: Vec<u64>,
}

pub(super) fn translate(pattern: &str) -> Result<Translated, Re2Error> {
    let mut translator = Translator {
        pattern,
        out: String::with_capacity(pattern.len()),
        names: Vec::new(),
        before: Before::Start,
        times: 1,
        outer: Vec::new(),
    };
    let mut rest = pattern;
    while let Some(c) = rest.chars().next() {
        rest = translator.step(c, rest)?;
    }
    if !translator.outer.is_empty() {
        return Err(Re2Error::at("missing closing )", pattern));
    }
    Ok(Translated {
        text: translator.out,
        names: translator.names,
    })
}

impl<'p> Translator<'p> {
    /// Takes what `rest` begins with; its first character is `c`.
    fn step(&mut self, c: char, rest: &'p str) -> Result<&'p str, Re2Error> {
        let after = &rest[c.len_utf8()..];
        match c {
            '(' => return self.open(rest),
            ')' => {
                let Some(outer) = self.outer.pop() else {
                    return Err(Re2Error::at("unexpected )", self.pattern));
                };
                self.out.push(')');
                self.before = Before::Piece(self.times);
                self.times = self.times.max(outer);
            }
            '|' => {
                self.out.push('|');
                self.before = Before::Start;
            }
            '*' | '+' | '?' => return self.repeat(rest, after, 1),
            '{' => {
                if let Some((range, tail)) = count(after) {
                    let whole = &rest[..rest.len() - tail.len()];
                    let times = range.times();
                    if !range.is_valid() {
                        return Err(Re2Error::at("invalid repeat count", whole));
                    }
                    return self.repeat(rest, tail, times);
                }
                self.piece(r"\{");
            }
            '[' => {
                let (class, tail) = class::class(rest)?;
                self.piece(&class);
                return Ok(tail);
            }
            '\\' => return self.backslash(rest),
            _ => self.literal(c),
        }
        Ok(after)
    }

    fn piece(&mut self, text: &str) {
        self.out.push_str(text);
        self.before = Before::Piece(1);
    }

    fn literal(&mut self, c: char) {
        if matches!(c, '}' | ']') {
            self.out.push('\\');
        }
        self.out.push(c);
        self.before = Before::Piece(1);
    }

    /// A character that stands for itself.
    fn quoted(&mut self, c: char) {
        let mut buffer = [0; 4];
        self.piece(&regex::escape(c.encode_utf8(&mut buffer)));
    }

    /// A repetition that ends where `tail` begins, or behind the `?` that makes it lazy.
    fn repeat(&mut self, rest: &'p str, tail: &'p str, times: u64) -> Result<&'p str, Re2Error> {
        let operator = &rest[..rest.len() - tail.len()];
        let lazy = tail.strip_prefix('?');
        let tail = lazy.unwrap_or(tail);
        match self.before {
            Before::Start => {
                let what = "missing argument to repetition operator";
                return Err(Re2Error::at(what, operator));
            }
            Before::Repeated(from, _) => {
                let both = &from[..from.len() - tail.len()];
                return Err(Re2Error::at("invalid nested repetition operator", both));
            }
            Before::Piece(_) => {}
        }
        let times = self.before.times().saturating_mul(times);
        if times > REPEAT_MAX {
            return Err(Re2Error::at("invalid repeat count", operator));
        }
        self.times = self.times.max(times);
        self.out.push_str(&rest[..rest.len() - tail.len()]);
        self.before = Before::Repeated(rest, times);
        Ok(tail)
    }

    /// `(`, `(?:`, `(?P<name>`, `(?<name>`, `(?i)`, `(?i:`.
    fn open(&mut self, rest: &'p str) -> Result<&'p str, Re2Error> {
        let Some(inner) = rest.strip_prefix("(?") else {
            self.names.push(String::new());
            self.group("(");
            return Ok(&rest[1..]);
        };
        if let Some(named) = inner.strip_prefix("P<").or_else(|| inner.strip_prefix('<'))
            // Those look behind, which RE2 cannot: told as what they are.
            && !inner.starts_with("<=")
            && !inner.starts_with("<!")
        {
            let what = "invalid named capture";
            let (name, tail) = named
                .split_once('>')
                .ok_or_else(|| Re2Error::at(what, rest))?;
            let valid = |c: char| c == '_' || c.is_ascii_alphanumeric();
            if name.is_empty() || !name.chars().all(valid) {
                return Err(Re2Error::at(what, &rest[..rest.len() - tail.len()]));
            }
            self.names.push(name.to_owned());
            self.group("(");
            return Ok(tail);
        }
        self.flags(rest, inner)
    }

    fn group(&mut self, opening: &str) {
        self.out.push_str(opening);
        self.outer.push(self.times);
        self.times = 1;
        self.before = Before::Start;
    }

    fn flags(&mut self, rest: &'p str, inner: &'p str) -> Result<&'p str, Re2Error> {
        let (mut minus, mut any_after_minus) = (false, false);
        for (at, c) in inner.char_indices() {
            let tail = &inner[at + c.len_utf8()..];
            let part = &rest[..rest.len() - tail.len()];
            match c {
                'i' | 'm' | 's' | 'U' => any_after_minus = minus,
                '-' if !minus => minus = true,
                ':' | ')' if !minus || any_after_minus => {
                    let empty = c == ')' && at == 0;
                    if c == ':' {
                        self.group(part);
                    } else if !empty {
                        self.out.push_str(part);
                        // What comes next starts anew: RE2 would repeat the piece before the flags.
                        self.before = Before::Start;
                    }
                    return Ok(tail);
                }
                _ => return Err(Re2Error::at("invalid or unsupported Perl syntax", part)),
            }
        }
        Err(Re2Error::at("missing closing )", self.pattern))
    }

    fn backslash(&mut self, rest: &'p str) -> Result<&'p str, Re2Error> {
        let assertion = match rest.as_bytes().get(1) {
            Some(b'A') => Some(r"\A"),
            Some(b'z') => Some(r"\z"),
            Some(b'b') => Some(r"(?-u:\b)"),
            Some(b'B') => Some(r"(?-u:\B)"),
            _ => None,
        };
        if let Some(assertion) = assertion {
            self.piece(assertion);
            return Ok(&rest[2..]);
        }
        if let Some(quoted) = rest.strip_prefix(r"\Q") {
            let (text, tail) = quoted.split_once(r"\E").unwrap_or((quoted, ""));
            text.chars().for_each(|c| self.quoted(c));
            return Ok(tail);
        }
        let class = match escape::unicode_class(rest)? {
            Some(found) => Some(found),
            None => escape::perl_class(rest),
        };
        if let Some((items, tail)) = class {
            self.piece(&items.bracketed(false));
            return Ok(tail);
        }
        let (code, tail) = escape::character(rest)?;
        match char::from_u32(code) {
            Some(c) => self.quoted(c),
            // A surrogate, which no text holds.
            None => self.piece(&Items::default().bracketed(false)),
        }
        Ok(tail)
    }
}

/// The counts of `{2}`, `{2,}`, `{2,5}`.
struct Count {
    min: u64,
    max: Option<u64>,
}

impl Count {
    fn is_valid(&self) -> bool {
        let max = self.max.unwrap_or(self.min);
        self.min <= max && max <= REPEAT_MAX
    }

    /// What it adds to the limit: nothing, when it repeats none.
    fn times(&self) -> u64 {
        self.max.unwrap_or(self.min).max(1)
    }
}

/// The counts, behind the `{`, and the rest of the text. None: the brace stands for itself.
fn count(text: &str) -> Option<(Count, &str)> {
    let (min, rest) = integer(text)?;
    if let Some(rest) = rest.strip_prefix('}') {
        return Some((
            Count {
                min,
                max: Some(min),
            },
            rest,
        ));
    }
    let rest = rest.strip_prefix(',')?;
    if let Some(rest) = rest.strip_prefix('}') {
        return Some((Count { min, max: None }, rest));
    }
    let (max, rest) = integer(rest)?;
    let range = Count {
        min,
        max: Some(max),
    };
    Some((range, rest.strip_prefix('}')?))
}

/// A number without leading zeros.
fn integer(text: &str) -> Option<(u64, &str)> {
    let end = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (digits, rest) = text.split_at(end);
    if digits.is_empty() || (digits.len() > 1 && digits.starts_with('0')) {
        return None;
    }
    Some((digits.parse().unwrap_or(u64::MAX), rest))
}
