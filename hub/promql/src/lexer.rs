//! Cuts an expression into tokens. A state machine rather than a table, since what a character means depends on
//! where it stands: inside braces words are label names, inside brackets they are durations.

use crate::text::{quote, quote_char, unicode};
use crate::token::{Keyword, Kind, Token, duration_keyword, keyword};

/// Reads tokens one by one; after an error token there is nothing more to read.
pub(crate) struct Lexer<'a> {
    input: &'a str,
    /// Where the next character is read.
    pos: usize,
    /// Where the token being read begins.
    start: usize,
    /// Width of the character read last, so that it can be put back once.
    width: usize,
    state: State,
    paren_depth: i64,
    brace_open: bool,
    bracket_open: bool,
    got_colon: bool,
    got_duration: bool,
    /// What is wrong, once an error token was returned.
    error: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Statements,
    /// Right after an opening bracket, until the first number.
    RangeStart,
}

impl<'a> Lexer<'a> {
    pub(crate) fn new(input: &'a str) -> Self {
        Lexer {
            input,
            pos: 0,
            start: 0,
            width: 0,
            state: State::Statements,
            paren_depth: 0,
            brace_open: false,
            bracket_open: false,
            got_colon: false,
            got_duration: false,
            error: None,
        }
    }

    /// Where the token that could not be read begins; meaningful after an error token.
    pub(crate) fn error_position(&self) -> usize {
        self.start
    }

    /// What is wrong; meaningful after an error token.
    pub(crate) fn error_message(&self) -> &str {
        self.error.as_deref().unwrap_or_default()
    }

    /// The text of a token.
    pub(crate) fn text(&self, token: Token) -> &'a str {
        &self.input[token.start..token.end]
    }

    /// The next token, comments left out.
    pub(crate) fn next_token(&mut self) -> Token {
        loop {
            if self.error.is_some() {
                return self.error_token();
            }
            let kind = match self.state {
                State::Statements if self.brace_open => self.inside_braces(),
                State::Statements => self.statement(),
                State::RangeStart => self.range_start(),
            };
            match kind {
                // White space: nothing was read yet.
                Ok(None) => self.start = self.pos,
                Ok(Some(kind)) => {
                    let token = Token {
                        kind,
                        start: self.start,
                        end: self.pos,
                    };
                    self.start = self.pos;
                    if kind != Kind::Comment {
                        return token;
                    }
                }
                Err(message) => {
                    self.error = Some(message);
                    return self.error_token();
                }
            }
            if self.error.is_some() {
                return self.error_token();
            }
        }
    }

    fn error_token(&self) -> Token {
        Token {
            kind: Kind::Error,
            start: self.start,
            end: self.start,
        }
    }

    fn next(&mut self) -> Option<char> {
        let c = self.input[self.pos..].chars().next();
        self.width = c.map_or(0, char::len_utf8);
        self.pos += self.width;
        c
    }

    fn back(&mut self) {
        self.pos -= self.width;
        self.width = 0;
    }

    fn peek(&self) -> Option<char> {
        self.input[self.pos..].chars().next()
    }

    fn accept(&mut self, valid: &str) -> bool {
        if self.is(valid) {
            self.next();
            return true;
        }
        self.width = 0;
        false
    }

    fn is(&self, valid: &str) -> bool {
        self.peek().is_some_and(|c| valid.contains(c))
    }

    fn accept_while(&mut self, fits: impl Fn(char) -> bool) {
        while self.peek().is_some_and(&fits) {
            self.next();
        }
    }

    /// Ends the token here and reports an error right behind it.
    fn error_after(&mut self, message: String) -> Result<Option<Kind>, String> {
        self.start = self.pos;
        Err(message)
    }

    fn statement(&mut self) -> Result<Option<Kind>, String> {
        let Some(c) = self.next() else {
            if self.paren_depth != 0 {
                return Err("unclosed left parenthesis".to_owned());
            }
            if self.bracket_open {
                return Err("unclosed left bracket".to_owned());
            }
            return Ok(Some(Kind::Eof));
        };
        let kind = match c {
            '#' => return self.comment(),
            ',' => Kind::Comma,
            c if is_space(c) => {
                self.accept_while(is_space);
                return Ok(None);
            }
            '*' => Kind::Mul,
            '/' => Kind::Div,
            '%' => Kind::Mod,
            '+' => Kind::Add,
            '-' => Kind::Sub,
            '^' => Kind::Pow,
            '=' => match self.peek() {
                Some('=') => {
                    self.next();
                    Kind::Equal
                }
                Some('~') => return Err("unexpected character after '=': '~'".to_owned()),
                _ => Kind::Assign,
            },
            '!' => match self.next() {
                Some('=') => Kind::NotEqual,
                other => {
                    return Err(format!(
                        "unexpected character after '!': {}",
                        quote_char(other)
                    ));
                }
            },
            '<' if self.accept("=") => Kind::LessEqual,
            '<' if self.accept("/") => Kind::TrimUpper,
            '<' => Kind::Less,
            '>' if self.accept("=") => Kind::GreaterEqual,
            '>' if self.accept("/") => Kind::TrimLower,
            '>' => Kind::Greater,
            c if self.starts_number(c) => {
                self.back();
                return self.number_or_duration();
            }
            '"' | '\'' => return self.string(c),
            '`' => return self.raw_string(),
            c if is_letter(c) || c == ':' => return self.word(c),
            '(' => {
                self.paren_depth += 1;
                Kind::LeftParen
            }
            ')' => return self.right_paren(),
            '{' => {
                self.brace_open = true;
                Kind::LeftBrace
            }
            '[' => {
                if self.bracket_open {
                    return Err("unexpected left bracket '['".to_owned());
                }
                self.got_colon = false;
                self.bracket_open = true;
                self.state = State::RangeStart;
                Kind::LeftBracket
            }
            ']' => {
                if !self.bracket_open {
                    return Err("unexpected right bracket ']'".to_owned());
                }
                self.bracket_open = false;
                Kind::RightBracket
            }
            '@' => Kind::At,
            c => return Err(format!("unexpected character: {}", quote_char(Some(c)))),
        };
        Ok(Some(kind))
    }

    fn inside_braces(&mut self) -> Result<Option<Kind>, String> {
        let Some(c) = self.next() else {
            return Err("unexpected end of input inside braces".to_owned());
        };
        let kind = match c {
            '#' => return self.comment(),
            c if is_space(c) => {
                self.accept_while(is_space);
                return Ok(None);
            }
            c if is_letter(c) => {
                self.accept_while(is_word);
                Kind::Identifier
            }
            ',' => Kind::Comma,
            '"' | '\'' => return self.string(c),
            '`' => return self.raw_string(),
            '=' if self.accept("~") => Kind::RegexMatch,
            '=' => Kind::Assign,
            '!' => match self.next() {
                Some('~') => Kind::RegexNoMatch,
                Some('=') => Kind::NotEqual,
                other => {
                    return Err(format!(
                        "unexpected character after '!' inside braces: {}",
                        quote_char(other)
                    ));
                }
            },
            '{' => return Err("unexpected left brace '{'".to_owned()),
            '}' => {
                self.brace_open = false;
                Kind::RightBrace
            }
            c => {
                return Err(format!(
                    "unexpected character inside braces: {}",
                    quote_char(Some(c))
                ));
            }
        };
        Ok(Some(kind))
    }

    fn range_start(&mut self) -> Result<Option<Kind>, String> {
        let Some(c) = self.next() else {
            return Err("unexpected end of input in duration expression".to_owned());
        };
        let kind = match c {
            ']' => {
                self.bracket_open = false;
                self.got_colon = false;
                self.state = State::Statements;
                Kind::RightBracket
            }
            ':' => {
                if !self.got_duration {
                    return self.error_after(
                        "unexpected colon before duration in duration expression".to_owned(),
                    );
                }
                if self.got_colon {
                    return self.error_after(
                        "unexpected repeated colon in duration expression".to_owned(),
                    );
                }
                self.got_colon = true;
                Kind::Colon
            }
            '(' => {
                self.paren_depth += 1;
                Kind::LeftParen
            }
            ')' => return self.right_paren(),
            c if is_space(c) => {
                self.accept_while(is_space);
                return Ok(None);
            }
            '+' => Kind::Add,
            '-' => Kind::Sub,
            '*' => Kind::Mul,
            '/' => Kind::Div,
            '%' => Kind::Mod,
            '^' => Kind::Pow,
            ',' => Kind::Comma,
            c if starts_duration_keyword(c) => match self.duration_word() {
                Some(kind) => kind,
                None => {
                    return Err(format!(
                        "unexpected character in duration expression: {}",
                        quote_char(Some(c))
                    ));
                }
            },
            c if self.starts_number(c) => {
                self.back();
                self.got_duration = true;
                self.state = State::Statements;
                return self.number_or_duration();
            }
            c => {
                return Err(format!(
                    "unexpected character in duration expression: {}",
                    quote_char(Some(c))
                ));
            }
        };
        Ok(Some(kind))
    }

    fn right_paren(&mut self) -> Result<Option<Kind>, String> {
        self.paren_depth -= 1;
        if self.paren_depth < 0 {
            return self.error_after("unexpected right parenthesis ')'".to_owned());
        }
        Ok(Some(Kind::RightParen))
    }

    fn comment(&mut self) -> Result<Option<Kind>, String> {
        self.accept_while(|c| c != '\n' && c != '\r');
        Ok(Some(Kind::Comment))
    }

    /// A name or keyword, or, between brackets, one of the words that durations know.
    fn word(&mut self, first: char) -> Result<Option<Kind>, String> {
        if self.bracket_open {
            if first == ':' {
                if self.got_colon {
                    return Err("unexpected colon ':'".to_owned());
                }
                self.got_colon = true;
                return Ok(Some(Kind::Colon));
            }
            if starts_duration_keyword(first)
                && let Some(kind) = self.duration_word()
            {
                return Ok(Some(kind));
            }
            return Err(format!(
                "unexpected character: {}, expected ':'",
                quote_char(Some(first))
            ));
        }
        self.accept_while(|c| is_word(c) || c == ':');
        let word = &self.input[self.start..self.pos];
        let kind = match keyword(word) {
            // `fill` and its kin are words of their own only before a parenthesis: they may be metric names.
            Some(Kind::Keyword(Keyword::Fill | Keyword::FillLeft | Keyword::FillRight))
                if !self.parenthesis_follows() =>
            {
                Kind::Identifier
            }
            Some(kind) => kind,
            None if word.contains(':') => Kind::MetricIdentifier,
            None => Kind::Identifier,
        };
        Ok(Some(kind))
    }

    fn duration_word(&mut self) -> Option<Kind> {
        self.accept_while(is_letter);
        match duration_keyword(&self.input[self.start..self.pos]) {
            // Both belong to the @ modifier and to functions, not to durations.
            Some(Kind::Preprocessor(
                crate::token::Preprocessor::Start | crate::token::Preprocessor::End,
            )) => None,
            kind => kind,
        }
    }

    fn parenthesis_follows(&self) -> bool {
        self.input[self.pos..]
            .trim_start_matches(is_space)
            .starts_with('(')
    }

    fn starts_number(&self, c: char) -> bool {
        c.is_ascii_digit() || (c == '.' && self.peek().is_some_and(|c| c.is_ascii_digit()))
    }

    fn number_or_duration(&mut self) -> Result<Option<Kind>, String> {
        if self.scan_number() {
            return Ok(Some(Kind::Number));
        }
        if self.scan_rest_of_duration() {
            self.back();
            return Ok(Some(Kind::Duration));
        }
        Err(format!(
            "bad number or duration syntax: {}",
            quote(&self.input[self.start..self.pos])
        ))
    }

    /// Units and further number-unit pairs; reads one character too many, which the caller puts back.
    fn scan_rest_of_duration(&mut self) -> bool {
        const DIGITS: &str = "0123456789";
        if !self.accept("smhdwy") {
            return false;
        }
        // The second letter of `ms`; other nonsense is found when the duration is parsed.
        self.accept("s");
        while self.accept(DIGITS) {
            while self.accept(DIGITS) {}
            if !self.accept("smhdw") {
                return false;
            }
            self.accept("s");
        }
        !self.next().is_some_and(is_word)
    }

    /// A decimal, octal or hexadecimal number, a fraction, an exponent, digits grouped by underscores.
    fn scan_number(&mut self) -> bool {
        let first = self.pos;
        let mut hexadecimal = false;
        if self.accept("0") && self.accept("xX") {
            self.accept("_");
            hexadecimal = true;
        }
        let is_digit = |c: char| {
            if hexadecimal {
                c.is_ascii_hexdigit()
            } else {
                c.is_ascii_digit()
            }
        };
        self.accept(".");
        if self.peek().is_some_and(is_digit) {
            self.next();
        }
        let (mut dot, mut exponent) = (false, false);
        while let Some(c) = self.peek() {
            if !(is_digit(c) || "._eE".contains(c)) {
                break;
            }
            if c == '.' && dot {
                self.next();
                return false;
            }
            if "eE".contains(c) && exponent {
                self.next();
                return false;
            }
            if self.accept(".") {
                dot = true;
                if self.accept("_.") || hexadecimal {
                    return false;
                }
            } else if self.accept("eE") {
                exponent = true;
                self.accept("+-");
                if self.accept("._eE") || self.peek().is_none() {
                    return false;
                }
            } else if self.accept("_") {
                if self.accept("._eE") || self.peek().is_none() {
                    return false;
                }
            } else {
                self.accept_while(is_digit);
            }
        }
        self.pos != first && !self.peek().is_some_and(is_word)
    }

    fn string(&mut self, quote: char) -> Result<Option<Kind>, String> {
        loop {
            match self.next() {
                None | Some('\n') => return Err("unterminated quoted string".to_owned()),
                Some(char::REPLACEMENT_CHARACTER) => return Err("invalid UTF-8 rune".to_owned()),
                Some('\\') => self.escape(quote)?,
                Some(c) if c == quote => return Ok(Some(Kind::String)),
                Some(_) => {}
            }
        }
    }

    fn raw_string(&mut self) -> Result<Option<Kind>, String> {
        loop {
            match self.next() {
                None => return Err("unterminated raw string".to_owned()),
                Some(char::REPLACEMENT_CHARACTER) => return Err("invalid UTF-8 rune".to_owned()),
                Some('`') => return Ok(Some(Kind::String)),
                Some(_) => {}
            }
        }
    }

    /// Checks an escape sequence behind its backslash.
    fn escape(&mut self, quote: char) -> Result<(), String> {
        let c = self.next();
        let (digits, base, greatest) = match c {
            Some('a' | 'b' | 'f' | 'n' | 'r' | 't' | 'v' | '\\') => return Ok(()),
            Some(c) if c == quote => return Ok(()),
            Some('0'..='7') => {
                self.back();
                (3, 8, 255)
            }
            Some('x') => (2, 16, 255),
            Some('u') => (4, 16, 0x10_ffff),
            Some('U') => (8, 16, 0x10_ffff),
            None => return Err("escape sequence not terminated".to_owned()),
            Some(c) => return Err(format!("unknown escape sequence {}", unicode(c))),
        };
        let mut value: u32 = 0;
        for _ in 0..digits {
            let Some(c) = self.next() else {
                return Err("escape sequence not terminated".to_owned());
            };
            let Some(digit) = c.to_digit(base) else {
                return Err(format!(
                    "illegal character {} in escape sequence",
                    unicode(c)
                ));
            };
            value = value.wrapping_mul(base).wrapping_add(digit);
        }
        if value > greatest || (0xd800..0xe000).contains(&value) {
            return Err("escape sequence is an invalid Unicode code point".to_owned());
        }
        Ok(())
    }
}

/// The value of a string token that the lexer accepted, quotes included in `token`; bytes that are not UTF-8 are
/// replaced.
pub(crate) fn unquote(token: &str) -> String {
    unquote_bytes(token).0
}

/// As [`unquote`], with the bytes beside it if they are not UTF-8.
pub(crate) fn unquote_bytes(token: &str) -> (String, Option<Vec<u8>>) {
    let inner = token
        .get(1..token.len().saturating_sub(1))
        .unwrap_or_default();
    if token.starts_with('`') || !inner.contains('\\') {
        return (inner.to_owned(), None);
    }
    // Bytes first: `\xff` is a byte, and several of them may make up one character.
    let mut out: Vec<u8> = Vec::with_capacity(inner.len());
    let mut chars = inner.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            push_char(&mut out, c);
            continue;
        }
        let Some(escaped) = chars.next() else { break };
        let mut number = |first: u32, digits: usize, base: u32| {
            (0..digits).fold(first, |value, _| {
                let digit = chars.next().and_then(|c| c.to_digit(base)).unwrap_or(0);
                value.wrapping_mul(base).wrapping_add(digit)
            })
        };
        match escaped {
            'a' => out.push(7),
            'b' => out.push(8),
            'f' => out.push(12),
            'n' => out.push(b'\n'),
            'r' => out.push(b'\r'),
            't' => out.push(b'\t'),
            'v' => out.push(11),
            'x' => out.push(number(0, 2, 16) as u8),
            '0'..='7' => out.push(number(escaped.to_digit(8).unwrap_or(0), 2, 8) as u8),
            'u' => push_code_point(&mut out, number(0, 4, 16)),
            'U' => push_code_point(&mut out, number(0, 8, 16)),
            other => push_char(&mut out, other),
        }
    }
    match String::from_utf8(out) {
        Ok(text) => (text, None),
        Err(e) => (
            String::from_utf8_lossy(e.as_bytes()).into_owned(),
            Some(e.into_bytes()),
        ),
    }
}

fn push_code_point(out: &mut Vec<u8>, value: u32) {
    push_char(
        out,
        char::from_u32(value).unwrap_or(char::REPLACEMENT_CHARACTER),
    );
}

fn push_char(out: &mut Vec<u8>, c: char) {
    out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
}

pub(crate) fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\n' | '\r')
}

fn is_letter(c: char) -> bool {
    c == '_' || c.is_ascii_alphabetic()
}

fn is_word(c: char) -> bool {
    is_letter(c) || c.is_ascii_digit()
}

fn starts_duration_keyword(c: char) -> bool {
    matches!(c.to_ascii_lowercase(), 's' | 'r' | 'm')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(input: &str) -> Vec<Kind> {
        let mut lexer = Lexer::new(input);
        let mut all = Vec::new();
        loop {
            let token = lexer.next_token();
            all.push(token.kind);
            if matches!(token.kind, Kind::Eof | Kind::Error) {
                return all;
            }
        }
    }

    #[test]
    fn cuts() {
        use Kind::*;
        let check = |input: &str, expected: &[Kind]| assert_eq!(kinds(input), expected, "{input}");
        check("", &[Eof]);
        check("a:b c # rest", &[MetricIdentifier, Identifier, Eof]);
        check(
            "0x1F 1_000 1e-3 .5 5m1s inf",
            &[Number, Number, Number, Number, Duration, Number, Eof],
        );
        check(
            "fill fill (",
            &[
                Identifier,
                Keyword(crate::token::Keyword::Fill),
                LeftParen,
                Error,
            ],
        );
        check(
            r#"{sum=~"a"}"#,
            &[LeftBrace, Identifier, RegexMatch, String, RightBrace, Eof],
        );
        check(
            "a[5m:1s]",
            &[
                Identifier,
                LeftBracket,
                Duration,
                Colon,
                Duration,
                RightBracket,
                Eof,
            ],
        );
        check(
            "a</b>/c",
            &[
                Identifier, TrimUpper, Identifier, TrimLower, Identifier, Eof,
            ],
        );
        check("\"a\\q\"", &[Error]);
    }

    #[test]
    fn unquotes() {
        let check = |token: &str, text: &str| assert_eq!(unquote(token), text);
        check(r#""a\"\\\n\u00e9\xc3\xa9\101""#, "a\"\\\néé\u{41}");
        check("`a\\n`", "a\\n");
        check(r"'\''", "'");
    }
}
