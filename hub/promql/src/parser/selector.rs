//! Vector selectors: a name, matchers in braces, or both.

use model::{METRIC_NAME, MatchOp, Matcher};

use super::{Parse, Parser};
use crate::ast::{RangeMode, SignedDuration, Span, VectorSelector};
use crate::lexer::unquote;
use crate::token::{Kind, Token};

const PLACE: &str = "label matching";

impl Parser<'_> {
    /// A selector whose name, if it has one, was just read; without one the next token is an opening brace.
    pub(super) fn vector_selector(&mut self, name: Option<Token>) -> Parse<VectorSelector> {
        let first = match name {
            Some(name) => name,
            None => self.peek()?,
        };
        let name = name.map(|name| self.text(name).to_owned());
        let mut end = first.end;
        let mut matchers = Vec::new();
        if self.peek_kind()? == Kind::LeftBrace {
            self.advance()?;
            matchers = self.matchers()?;
            end = self.last_end;
        }
        matchers.extend(name.clone().map(|name| Matcher::equal(METRIC_NAME, name)));
        Ok(VectorSelector {
            name,
            matchers,
            offset: SignedDuration::ZERO,
            offset_expr: None,
            at: None,
            mode: RangeMode::Plain,
            span: Span::new(first.start, end),
        })
    }

    /// Everything behind the opening brace, closing brace included.
    fn matchers(&mut self) -> Parse<Vec<Matcher>> {
        let mut matchers = Vec::new();
        loop {
            if self.take(Kind::RightBrace)?.is_some() {
                return Ok(matchers);
            }
            matchers.push(self.matcher()?);
            if self.take(Kind::Comma)?.is_none() {
                if self.take(Kind::RightBrace)?.is_some() {
                    return Ok(matchers);
                }
                return Err(self.unexpected_in(PLACE, "\",\" or \"}\""));
            }
        }
    }

    fn matcher(&mut self) -> Parse<Matcher> {
        let label = self.peek()?;
        let name = match label.kind {
            Kind::Identifier => self.text(label).to_owned(),
            Kind::String => unquote(self.text(label)),
            _ => return Err(self.unexpected_in(PLACE, "identifier or \"}\"")),
        };
        self.advance()?;
        let op = match self.peek_kind()? {
            Kind::Assign => MatchOp::Equal,
            Kind::NotEqual => MatchOp::NotEqual,
            Kind::RegexMatch => MatchOp::Regex,
            Kind::RegexNoMatch => MatchOp::NotRegex,
            // A quoted string alone is the metric name.
            _ if label.kind == Kind::String => return Ok(Matcher::equal(METRIC_NAME, name)),
            _ => return Err(self.unexpected_in(PLACE, "label matching operator")),
        };
        self.advance()?;
        let Some(value) = self.take(Kind::String)? else {
            return Err(self.unexpected_in(PLACE, "string"));
        };
        self.matcher_of(label, name, op, value)
    }

    fn matcher_of(&self, label: Token, name: String, op: MatchOp, value: Token) -> Parse<Matcher> {
        let value = unquote(self.text(value));
        Matcher::new(op, name, value).map_err(|error| self.error_at(label.start, error.to_string()))
    }
}
