//! Selectors as `match[]` carries them: a metric name, matchers in braces, or both. For who answers `/federate` and knows no
//! PromQL; the tests hold it against the engine's own parser.
//!
//! ```
//! let matchers = wire::selector::parse(r#"up{job=~"till.*", "a.b"!='x',}"#).unwrap();
//! assert_eq!(matchers.len(), 3);
//! assert!(wire::selector::parse("up{").unwrap_err().to_string().contains("byte 3"));
//! ```

use model::{METRIC_NAME, MatchOp, Matcher, MatcherError};

/// Longest selector in bytes.
const BYTES_MAX: usize = 64 << 10;
/// Most matchers in one.
const MATCHERS_MAX: usize = 100;

/// Why a text is no selector.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum SelectorError {
    #[error("selector: byte {at}: expected {expected}")]
    Syntax { at: usize, expected: &'static str },
    #[error("selector: {0}")]
    Matcher(#[from] MatcherError),
    #[error("selector is longer than {BYTES_MAX} bytes or has more than {MATCHERS_MAX} matchers")]
    TooLong,
}

/// Reads a selector. `{}` selects everything.
///
/// # Errors
/// Where it is none.
pub fn parse(text: &str) -> Result<Vec<Matcher>, SelectorError> {
    if text.len() > BYTES_MAX {
        return Err(SelectorError::TooLong);
    }
    let mut reader = Reader { text, at: 0 };
    let mut matchers = Vec::new();
    reader.blanks();
    if let Some(name) = reader.identifier(true) {
        if ["inf", "nan"]
            .iter()
            .any(|number| name.eq_ignore_ascii_case(number))
        {
            reader.at = 0;
            return Err(reader.expected("a metric name; a metric of that name is {__name__=\"…\"}"));
        }
        matchers.push(Matcher::equal(METRIC_NAME, name));
        reader.blanks();
    }
    if reader.take('{') {
        braces(&mut reader, &mut matchers)?;
        reader.blanks();
    } else if matchers.is_empty() {
        return Err(reader.expected("a metric name or {"));
    }
    if reader.at < text.len() {
        return Err(
            reader.expected("the end: a selector is a metric name with matchers, nothing else")
        );
    }
    Ok(matchers)
}

fn braces(reader: &mut Reader<'_>, matchers: &mut Vec<Matcher>) -> Result<(), SelectorError> {
    loop {
        reader.blanks();
        if reader.take('}') {
            return Ok(());
        }
        if matchers.len() >= MATCHERS_MAX {
            return Err(SelectorError::TooLong);
        }
        let quoted = reader.starts_quoted();
        let name = match quoted {
            true => reader.string()?,
            false => reader
                .identifier(false)
                .ok_or_else(|| reader.expected("a label name or }"))?
                .to_owned(),
        };
        reader.blanks();
        match reader.operator() {
            Some(op) => {
                reader.blanks();
                let value = reader.string()?;
                matchers.push(Matcher::new(op, name, value)?);
            }
            // A quoted text alone is the metric's name.
            None if quoted => matchers.push(Matcher::equal(METRIC_NAME, name)),
            None => return Err(reader.expected("one of =, !=, =~ and !~")),
        }
        reader.blanks();
        if !reader.take(',') && !reader.peeks('}') {
            return Err(reader.expected(", or }"));
        }
    }
}

struct Reader<'t> {
    text: &'t str,
    at: usize,
}

impl<'t> Reader<'t> {
    fn rest(&self) -> &'t str {
        &self.text[self.at..]
    }

    fn expected(&self, expected: &'static str) -> SelectorError {
        SelectorError::Syntax {
            at: self.at,
            expected,
        }
    }

    /// Blanks, and comments to the end of their line.
    fn blanks(&mut self) {
        loop {
            let rest = &self.text[self.at..];
            let blank = rest.len() - rest.trim_start_matches([' ', '\t', '\n', '\r']).len();
            self.at += blank;
            let rest = &self.text[self.at..];
            if !rest.starts_with('#') {
                return;
            }
            self.at += rest.find('\n').unwrap_or(rest.len());
        }
    }

    fn peeks(&self, character: char) -> bool {
        self.rest().starts_with(character)
    }

    fn take(&mut self, character: char) -> bool {
        let there = self.peeks(character);
        self.at += if there { character.len_utf8() } else { 0 };
        there
    }

    /// With `metric`, colons may stand in it.
    fn identifier(&mut self, metric: bool) -> Option<&'t str> {
        let rest = self.rest();
        let fits = |(at, byte): (usize, u8)| {
            byte.is_ascii_alphabetic()
                || byte == b'_'
                || (metric && byte == b':')
                || (at > 0 && byte.is_ascii_digit())
        };
        let length = rest
            .bytes()
            .enumerate()
            .take_while(|found| fits(*found))
            .count();
        self.at += length;
        (length > 0).then(|| &rest[..length])
    }

    fn operator(&mut self) -> Option<MatchOp> {
        let known = [
            MatchOp::Regex,
            MatchOp::NotRegex,
            MatchOp::NotEqual,
            MatchOp::Equal,
        ];
        let op = known
            .into_iter()
            .find(|op| self.rest().starts_with(op.symbol()))?;
        self.at += op.symbol().len();
        Some(op)
    }

    fn starts_quoted(&self) -> bool {
        self.rest().starts_with(['"', '\'', '`'])
    }

    /// A text in quotes, as Go writes it.
    fn string(&mut self) -> Result<String, SelectorError> {
        let quote = self
            .rest()
            .chars()
            .next()
            .filter(|first| matches!(first, '"' | '\'' | '`'))
            .ok_or_else(|| self.expected("a text in quotes"))?;
        self.at += 1;
        let mut bytes = Vec::new();
        loop {
            let Some(character) = self.rest().chars().next() else {
                return Err(self.expected("the quote that ends the text"));
            };
            if character == '\n' && quote != '`' {
                return Err(self.expected("no line break in a quoted text"));
            }
            self.at += character.len_utf8();
            if character == quote {
                break;
            }
            if character == '\\' && quote != '`' {
                self.escape(quote, &mut bytes)?;
            } else {
                bytes.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
            }
        }
        String::from_utf8(bytes).map_err(|_| self.expected("escapes that make UTF-8"))
    }

    fn escape(&mut self, quote: char, bytes: &mut Vec<u8>) -> Result<(), SelectorError> {
        let wrong = self.expected("an escape that there is");
        let Some(character) = self.rest().chars().next() else {
            return Err(wrong);
        };
        self.at += character.len_utf8();
        let plain = match character {
            'a' => Some(7),
            'b' => Some(8),
            'f' => Some(12),
            'n' => Some(b'\n'),
            'r' => Some(b'\r'),
            't' => Some(b'\t'),
            'v' => Some(11),
            '\\' => Some(b'\\'),
            found if found == quote => Some(found as u8),
            _ => None,
        };
        if let Some(byte) = plain {
            bytes.push(byte);
            return Ok(());
        }
        let (digits, radix) = match character {
            'x' => (2, 16),
            'u' => (4, 16),
            'U' => (8, 16),
            '0'..='7' => {
                self.at -= 1;
                (3, 8)
            }
            _ => return Err(wrong),
        };
        let text = self.rest().get(..digits).ok_or(wrong.clone())?;
        if !text.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
            return Err(wrong);
        }
        let code = u32::from_str_radix(text, radix).map_err(|_| wrong.clone())?;
        self.at += digits;
        if character == 'x' || radix == 8 {
            bytes.push(u8::try_from(code).map_err(|_| wrong)?);
        } else {
            let character = char::from_u32(code).ok_or(wrong)?;
            bytes.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn random_texts_do_not_panic(text in r#"([a-z{}=~!,"'`\\\\ xuU07é]|\\PC){0,40}"#) {
            let _ = parse(&text);
        }
    }

    fn shown(text: &str) -> String {
        match parse(text) {
            Ok(matchers) => matchers
                .iter()
                .map(|m| format!("{}{}{:?}", m.name(), m.op().symbol(), m.value()))
                .collect::<Vec<_>>()
                .join(" "),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn every_form() {
        let check = |text: &str, expected: &str| assert_eq!(shown(text), expected, "{text}");
        check("up", r#"__name__="up""#);
        check(" a:b:c { } ", r#"__name__="a:b:c""#);
        check(
            r#"up{job="a", x!='b',y=~`c\d`,z!~"",}"#,
            r#"__name__="up" job="a" x!="b" y=~"c\\d" z!~"""#,
        );
        check(r#"{"a b", "c.d"="e"}"#, r#"__name__="a b" c.d="e""#);
        check(r#"{by="1"}"#, r#"by="1""#);
        check(r#"{a="\n\"\x41\101é"}"#, r#"a="\n\"AAé""#);
        check("{}", "");
        // As Prometheus reads it: nothing is both.
        check(r#"up{"down"}"#, r#"__name__="up" __name__="down""#);
        check(r#"{__name__=~"a.*"}"#, r#"__name__=~"a.*""#);
    }

    #[test]
    fn what_is_none() {
        let check = |text: &str, expected: &str| {
            let found = shown(text);
            assert!(found.contains(expected), "{text}: {found}");
        };
        check("", "byte 0: expected a metric name");
        check("up{", "byte 3: expected a label name");
        check("up{a}", "byte 4: expected one of =");
        check("up{a=1}", "byte 5: expected a text in quotes");
        check(r#"up{a="1" b="2"}"#, "byte 9: expected , or }");
        check(r#"up{a="1}"#, "the quote that ends the text");
        check(r#"up{a=~"("}"#, "error parsing regexp");
        check(r#"up{a="\q"}"#, "an escape that there is");
        check(r#"up{a="\xff"}"#, "UTF-8");
        check("up[5m]", "expected the end");
        check("rate(up)", "expected the end");
        check(&"a".repeat(BYTES_MAX + 1), "longer than");
    }
}
