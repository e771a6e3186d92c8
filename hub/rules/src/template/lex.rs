//! Text to tokens, with the rules and error texts of Go's template lexer.

use super::TemplateError;

/// What a token is. The text itself is [`Token::text`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Text,
    LeftDelim,
    RightDelim,
    Space,
    Assign,
    Declare,
    Pipe,
    LeftParen,
    RightParen,
    Char,
    Dot,
    Field,
    Variable,
    Identifier,
    Bool,
    Nil,
    Number,
    CharConstant,
    String,
    RawString,
    Keyword,
    Eof,
}

/// One token. `text` is the source as written (a field begins with its dot, a string with its quote).
#[derive(Clone, Copy, Debug)]
pub(super) struct Token<'a> {
    pub(super) kind: Kind,
    pub(super) text: &'a str,
    /// Byte offset of `text` in the template.
    pub(super) pos: usize,
}

const LEFT: &str = "{{";
const RIGHT: &str = "}}";
const KEYWORDS: [&str; 10] = [
    "block", "break", "continue", "define", "else", "end", "if", "range", "template", "with",
];

/// Splits a whole template into tokens; the last one is always [`Kind::Eof`].
pub(super) fn tokens<'a>(name: &str, src: &'a str) -> Result<Vec<Token<'a>>, TemplateError> {
    let mut lexer = Lexer {
        name,
        src,
        at: 0,
        parens: 0,
        out: Vec::new(),
    };
    lexer.text()?;
    lexer.out.push(Token {
        kind: Kind::Eof,
        text: "",
        pos: src.len(),
    });
    Ok(lexer.out)
}

struct Lexer<'n, 'a> {
    name: &'n str,
    src: &'a str,
    at: usize,
    parens: usize,
    out: Vec<Token<'a>>,
}

fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\r' | '\n')
}

fn is_word(c: char) -> bool {
    c == '_' || c.is_alphanumeric()
}

/// Go's `%#U`.
fn show(c: char) -> String {
    if c.is_control() || c == '\u{a0}' {
        format!("U+{:04X}", c as u32)
    } else {
        format!("U+{:04X} '{c}'", c as u32)
    }
}

impl<'a> Lexer<'_, 'a> {
    fn rest(&self) -> &'a str {
        &self.src[self.at..]
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn error<T>(&self, message: impl Into<String>) -> Result<T, TemplateError> {
        Err(TemplateError::parse(
            self.name,
            line_of(self.src, self.at),
            message,
        ))
    }

    fn emit(&mut self, kind: Kind, from: usize) {
        self.out.push(Token {
            kind,
            text: &self.src[from..self.at],
            pos: from,
        });
    }

    /// Text and actions by turns, until the end.
    fn text(&mut self) -> Result<(), TemplateError> {
        loop {
            let from = self.at;
            let Some(offset) = self.rest().find(LEFT) else {
                self.at = self.src.len();
                if self.at > from {
                    self.emit(Kind::Text, from);
                }
                return Ok(());
            };
            let delim = self.at + offset;
            let trimmed = has_left_trim(&self.src[delim + LEFT.len()..]);
            let raw = &self.src[from..delim];
            let text = if trimmed {
                raw.trim_end_matches(is_space)
            } else {
                raw
            };
            if !text.is_empty() {
                self.out.push(Token {
                    kind: Kind::Text,
                    text,
                    pos: from,
                });
            }
            self.at = delim;
            let after = delim + LEFT.len() + if trimmed { 2 } else { 0 };
            if self.src[after..].starts_with("/*") {
                self.comment(after)?;
                continue;
            }
            self.at = delim + LEFT.len();
            self.emit(Kind::LeftDelim, delim);
            self.at = after;
            self.action()?;
        }
    }

    fn comment(&mut self, from: usize) -> Result<(), TemplateError> {
        let Some(end) = self.src[from..].find("*/") else {
            return self.error("unclosed comment");
        };
        self.at = from + end + 2;
        if let Some(rest) = self.rest().strip_prefix(RIGHT) {
            self.at = self.src.len() - rest.len();
        } else if has_right_trim(self.rest()) {
            self.at += 2 + RIGHT.len();
            self.skip_space();
        } else {
            return self.error("comment ends before closing delimiter");
        }
        Ok(())
    }

    fn skip_space(&mut self) {
        self.at = self.src.len() - self.rest().trim_start_matches(is_space).len();
    }

    fn action(&mut self) -> Result<(), TemplateError> {
        self.parens = 0;
        loop {
            let from = self.at;
            let trim = has_right_trim(self.rest());
            if trim || self.rest().starts_with(RIGHT) {
                if self.parens > 0 {
                    return self.error("unclosed left paren");
                }
                if trim {
                    self.at += 2;
                }
                let from = self.at;
                self.at += RIGHT.len();
                self.emit(Kind::RightDelim, from);
                if trim {
                    self.skip_space();
                }
                return Ok(());
            }
            let Some(c) = self.peek() else {
                return self.error("unclosed action");
            };
            match c {
                c if is_space(c) => self.space(),
                '=' => self.one(Kind::Assign),
                ':' => {
                    self.at += 1;
                    if self.peek() != Some('=') {
                        return self.error("expected :=");
                    }
                    self.at += 1;
                    self.emit(Kind::Declare, from);
                }
                '|' => self.one(Kind::Pipe),
                '"' => self.quote('"', Kind::String, "unterminated quoted string")?,
                '\'' => self.quote('\'', Kind::CharConstant, "unterminated character constant")?,
                '`' => self.raw_quote()?,
                '$' => self.word(Kind::Variable)?,
                '.' if !self.rest()[1..].starts_with(|c: char| c.is_ascii_digit()) => {
                    self.word(Kind::Field)?;
                }
                '.' | '+' | '-' => self.number()?,
                c if c.is_ascii_digit() => self.number()?,
                c if is_word(c) => self.identifier()?,
                '(' => {
                    self.parens += 1;
                    self.one(Kind::LeftParen);
                }
                ')' => {
                    // One too many is for the parser to refuse.
                    self.parens = self.parens.saturating_sub(1);
                    self.one(Kind::RightParen);
                }
                c if c.is_ascii_graphic() => self.one(Kind::Char),
                c => {
                    return self.error(format!("unrecognized character in action: {}", show(c)));
                }
            }
        }
    }

    fn one(&mut self, kind: Kind) {
        let from = self.at;
        self.at += 1;
        self.emit(kind, from);
    }

    fn space(&mut self) {
        let from = self.at;
        // A space that begins a closing trim marker belongs to the marker.
        while self.peek().is_some_and(is_space) && !(self.at > from && has_right_trim(self.rest()))
        {
            self.at += 1;
        }
        self.emit(Kind::Space, from);
    }

    fn quote(&mut self, mark: char, kind: Kind, unterminated: &str) -> Result<(), TemplateError> {
        let from = self.at;
        let mut escaped = false;
        for (offset, c) in self.rest().char_indices().skip(1) {
            match c {
                '\n' => break,
                _ if escaped => escaped = false,
                '\\' => escaped = true,
                c if c == mark => {
                    self.at += offset + 1;
                    self.emit(kind, from);
                    return Ok(());
                }
                _ => {}
            }
        }
        self.error(unterminated)
    }

    fn raw_quote(&mut self) -> Result<(), TemplateError> {
        let from = self.at;
        let Some(len) = self.rest()[1..].find('`') else {
            return self.error("unterminated raw quoted string");
        };
        self.at += len + 2;
        self.emit(Kind::RawString, from);
        Ok(())
    }

    /// A variable or field: one mark, then a word that may be empty (`$` and `.` alone).
    fn word(&mut self, kind: Kind) -> Result<(), TemplateError> {
        let from = self.at;
        self.at += 1;
        if self.at_terminator() {
            self.emit(if kind == Kind::Field { Kind::Dot } else { kind }, from);
            return Ok(());
        }
        self.advance_word();
        self.need_terminator()?;
        self.emit(kind, from);
        Ok(())
    }

    fn identifier(&mut self) -> Result<(), TemplateError> {
        let from = self.at;
        self.advance_word();
        let word = &self.src[from..self.at];
        self.need_terminator()?;
        let kind = match word {
            "true" | "false" => Kind::Bool,
            "nil" => Kind::Nil,
            w if KEYWORDS.contains(&w) => Kind::Keyword,
            _ => Kind::Identifier,
        };
        self.emit(kind, from);
        Ok(())
    }

    fn number(&mut self) -> Result<(), TemplateError> {
        let from = self.at;
        if matches!(self.peek(), Some('+' | '-')) {
            self.at += 1;
        }
        let rest = self.rest();
        let (skip, digits): (usize, fn(char) -> bool) = match rest.get(..2) {
            Some("0x" | "0X") => (2, |c| c.is_ascii_hexdigit() || c == '_'),
            Some("0o" | "0O") => (2, |c| matches!(c, '0'..='7' | '_')),
            Some("0b" | "0B") => (2, |c| matches!(c, '0' | '1' | '_')),
            _ => (0, |c| c.is_ascii_digit() || c == '_'),
        };
        self.at += skip;
        self.advance(digits);
        if self.peek() == Some('.') {
            self.at += 1;
            self.advance(digits);
        }
        if skip == 0 && matches!(self.peek(), Some('e' | 'E')) {
            self.at += 1;
            if matches!(self.peek(), Some('+' | '-')) {
                self.at += 1;
            }
            self.advance(|c| c.is_ascii_digit() || c == '_');
        }
        if let Some(c) = self.peek().filter(|c| is_word(*c)) {
            self.at += c.len_utf8();
            return self.error(format!("bad number syntax: {:?}", &self.src[from..self.at]));
        }
        self.emit(Kind::Number, from);
        Ok(())
    }

    fn advance(&mut self, belongs: impl Fn(char) -> bool) {
        while let Some(c) = self.peek().filter(|c| belongs(*c)) {
            self.at += c.len_utf8();
        }
    }

    fn advance_word(&mut self) {
        self.advance(is_word);
    }

    fn at_terminator(&self) -> bool {
        match self.peek() {
            None => true,
            Some(c) if is_space(c) => true,
            Some('.' | ',' | '|' | ':' | ')' | '(') => true,
            Some(_) => self.rest().starts_with(RIGHT),
        }
    }

    fn need_terminator(&self) -> Result<(), TemplateError> {
        match self.peek() {
            Some(c) if !self.at_terminator() => self.error(format!("bad character {}", show(c))),
            _ => Ok(()),
        }
    }
}

/// `{{- `: a dash, then a space that belongs to the marker.
fn has_left_trim(after_delim: &str) -> bool {
    let mut chars = after_delim.chars();
    chars.next() == Some('-') && chars.next().is_some_and(is_space)
}

/// ` -}}`: a space, a dash, the closing delimiter.
fn has_right_trim(text: &str) -> bool {
    let mut chars = text.chars();
    chars.next().is_some_and(is_space)
        && chars.next() == Some('-')
        && chars.as_str().starts_with(RIGHT)
}

/// Line of a byte offset, from 1.
pub(super) fn line_of(src: &str, pos: usize) -> usize {
    1 + src.as_bytes()[..pos.min(src.len())]
        .iter()
        .filter(|b| **b == b'\n')
        .count()
}
