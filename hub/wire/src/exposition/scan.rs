use std::borrow::Cow;
use std::ops::Range;

use super::ParseError;

/// A position in a scrape's bytes.
#[derive(Clone, Debug)]
pub(super) struct Scan<'a> {
    pub(super) text: &'a [u8],
    /// The same as text when all of it is UTF-8, which then needs no second look at each name and value.
    utf8: Option<&'a str>,
    pub(super) at: usize,
    /// `text.len()`, or one more when a newline is thought to stand behind the text.
    end: usize,
}

/// Whether NUL bytes inside a quoted string are ordinary characters there.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Nul {
    Taken,
    Refused,
}

/// Whether line breaks inside a quoted string are ordinary characters there.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Newline {
    Taken,
    Refused,
}

impl<'a> Scan<'a> {
    pub(super) fn new(text: &'a [u8], newline_behind: bool) -> Self {
        let end = text.len() + usize::from(newline_behind);
        Scan {
            text,
            utf8: std::str::from_utf8(text).ok(),
            at: 0,
            end,
        }
    }

    #[inline]
    pub(super) fn byte_at(&self, at: usize) -> Option<u8> {
        match self.text.get(at) {
            Some(byte) => Some(*byte),
            None if at < self.end => Some(b'\n'),
            None => None,
        }
    }

    #[inline]
    pub(super) fn peek(&self) -> Option<u8> {
        self.byte_at(self.at)
    }

    /// Goes past the byte if it stands here.
    #[inline]
    pub(super) fn take(&mut self, byte: u8) -> bool {
        let here = self.peek() == Some(byte);
        self.at += usize::from(here);
        here
    }

    /// Goes past the word if it stands here.
    pub(super) fn take_word(&mut self, word: &[u8]) -> bool {
        let here = self
            .text
            .get(self.at..)
            .is_some_and(|rest| rest.starts_with(word));
        if here {
            self.at += word.len();
        }
        here
    }

    #[inline]
    pub(super) fn skip_blanks(&mut self) {
        while let Some(b' ' | b'\t') = self.peek() {
            self.at += 1;
        }
    }

    /// Whether a blank stands at `at`, and what follows the blanks there is no brace.
    pub(super) fn blank_and_no_brace(&self, at: usize) -> bool {
        let blank = |byte| matches!(byte, Some(b' ' | b'\t'));
        let mut behind = at;
        while blank(self.byte_at(behind)) {
            behind += 1;
        }
        behind > at && self.byte_at(behind) != Some(b'{')
    }

    /// Goes on while bytes fit; says over which range.
    #[inline]
    pub(super) fn run(&mut self, fits: impl Fn(u8) -> bool) -> Range<usize> {
        let start = self.at;
        let length = self
            .text
            .get(start..)
            .unwrap_or_default()
            .iter()
            .take_while(|byte| fits(**byte))
            .count();
        self.at = start + length;
        start..self.at
    }

    /// `[a-zA-Z_:][a-zA-Z0-9_:]*`, if it stands here.
    pub(super) fn metric_name(&mut self) -> Option<Range<usize>> {
        let first = self.peek()?;
        (is_letter(first) || first == b':')
            .then(|| self.run(|b| is_letter(b) || b.is_ascii_digit() || b == b':'))
    }

    /// `[a-zA-Z_][a-zA-Z0-9_]*`, if it stands here.
    pub(super) fn label_name(&mut self) -> Option<Range<usize>> {
        let first = self.peek()?;
        is_letter(first).then(|| self.run(|b| is_letter(b) || b.is_ascii_digit()))
    }

    /// A quoted string, if a whole one stands here: the range between the quotes. A backslash keeps the character
    /// behind it, save a line break, from ending the string.
    pub(super) fn quoted(&mut self, nul: Nul, newline: Newline) -> Option<Range<usize>> {
        if self.peek() != Some(b'"') {
            return None;
        }
        let start = self.at + 1;
        let mut at = start;
        loop {
            match self.byte_at(at)? {
                b'"' => {
                    self.at = at + 1;
                    return Some(start..at);
                }
                b'\\' => {
                    at += 1;
                    while nul == Nul::Taken && self.byte_at(at) == Some(0) {
                        at += 1;
                    }
                    if matches!(self.byte_at(at)?, b'\n' | 0) {
                        return None;
                    }
                }
                b'\n' if newline == Newline::Refused => return None,
                0 if nul == Nul::Refused => return None,
                _ => {}
            }
            at += 1;
        }
    }

    /// The rest of the line, without its newline, which stays. NUL bytes are ordinary characters save as the first.
    pub(super) fn rest_of_line(&mut self) -> Range<usize> {
        let start = self.at;
        if self.peek() != Some(0) {
            self.run(|byte| byte != b'\n');
        }
        start..self.at
    }

    /// The range as text; what is not UTF-8 was refused when it was read, or is replaced.
    pub(super) fn str(&self, range: Range<usize>) -> Cow<'a, str> {
        match self.utf8.and_then(|text| text.get(range.clone())) {
            Some(text) => Cow::Borrowed(text),
            None => String::from_utf8_lossy(self.bytes(range)),
        }
    }

    pub(super) fn bytes(&self, range: Range<usize>) -> &'a [u8] {
        let end = range.end.min(self.text.len());
        self.text.get(range.start..end).unwrap_or_default()
    }

    /// Refuses a range that is not UTF-8.
    pub(super) fn check_utf8(
        &self,
        range: &Range<usize>,
        expected: &'static str,
    ) -> Result<(), ParseError> {
        if self.utf8.is_none() && std::str::from_utf8(self.bytes(range.clone())).is_err() {
            return Err(self.error_at(range.start, expected));
        }
        Ok(())
    }

    /// An error at the present position.
    pub(super) fn error(&self, expected: &'static str) -> ParseError {
        self.error_at(self.at, expected)
    }

    /// An error at a position.
    #[cold]
    pub(super) fn error_at(&self, at: usize, expected: &'static str) -> ParseError {
        let before = &self.text[..at.min(self.text.len())];
        let line_start = before
            .iter()
            .rposition(|byte| *byte == b'\n')
            .map_or(0, |newline| newline + 1);
        let rest = self.text.get(at..).unwrap_or_default();
        let line = rest.split(|byte| *byte == b'\n').next().unwrap_or_default();
        let found = match (self.byte_at(at), line) {
            (None, _) => "the end of the text".to_owned(),
            (_, []) => "the end of the line".to_owned(),
            (_, line) => format!("{:?}", String::from_utf8_lossy(&line[..line.len().min(40)])),
        };
        ParseError {
            line: before.iter().filter(|byte| **byte == b'\n').count() + 1,
            column: before.len() - line_start + 1,
            expected,
            found,
        }
    }
}

fn is_letter(byte: u8) -> bool {
    byte.is_ascii_alphabetic() || byte == b'_'
}
