//! Text in, tree out. A hand-written parser: precedence climbing for operators, one function per construct. It
//! stops at the first error, which it words and places as Prometheus's parser does.

mod check;
mod duration;
mod expression;
mod modifiers;
pub(crate) mod number;
mod selector;
mod series;

pub use series::{SeriesDescription, SeriesValue, parse_series};

use model::Matcher;

use crate::ast::{Expr, Span, note_lines};
use crate::lexer::Lexer;
use crate::stack::DEPTH_MAX;
use crate::token::{Kind, Token, describe};

/// Longest expression taken, in bytes.
pub const EXPR_BYTES_MAX: usize = 1 << 20;

/// Which syntax is allowed beyond the stable language. The default is that of Prometheus 3.14.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ParseOptions {
    /// Functions and aggregations marked experimental. Off by default.
    pub experimental_functions: bool,
    /// Arithmetic in ranges, steps and offsets: `foo[step() * 2]`. On by default.
    pub duration_expressions: bool,
    /// `anchored` and `smoothed`. Off by default.
    pub extended_range_selectors: bool,
    /// `fill`, `fill_left`, `fill_right`. Off by default.
    pub fill_modifiers: bool,
}

impl Default for ParseOptions {
    fn default() -> Self {
        ParseOptions {
            experimental_functions: false,
            duration_expressions: true,
            extended_range_selectors: false,
            fill_modifiers: false,
        }
    }
}

impl ParseOptions {
    /// Everything on.
    pub const fn all() -> Self {
        ParseOptions {
            experimental_functions: true,
            duration_expressions: true,
            extended_range_selectors: true,
            fill_modifiers: true,
        }
    }

    /// Everything off.
    pub const fn stable() -> Self {
        ParseOptions {
            experimental_functions: false,
            duration_expressions: false,
            extended_range_selectors: false,
            fill_modifiers: false,
        }
    }
}

/// What is wrong with an expression and where. Prints as Prometheus does: `1:5: parse error: …`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseError {
    /// From 1; 0 for the empty input, which has no positions.
    pub line: usize,
    /// In bytes from 1; 0 for the empty input.
    pub column: usize,
    /// What is wrong, without the position.
    pub message: String,
}

impl std::error::Error for ParseError {}

impl std::fmt::Display for ParseError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let ParseError {
            line,
            column,
            message,
        } = self;
        if *line == 0 {
            write!(f, "unknown position: parse error: {message}")
        } else {
            write!(f, "{line}:{column}: parse error: {message}")
        }
    }
}

/// Line and column, both from 1 and the column in bytes, of a byte of the input; None for the empty input.
pub(crate) fn line_and_column(input: &str, at: usize) -> Option<(usize, usize)> {
    if input.is_empty() {
        return None;
    }
    let before = &input.as_bytes()[..at.min(input.len())];
    let line = 1 + before.iter().filter(|b| **b == b'\n').count();
    let line_start = before
        .iter()
        .rposition(|b| *b == b'\n')
        .map_or(0, |i| i + 1);
    Some((line, before.len() - line_start + 1))
}

/// Reads an expression and checks its types.
///
/// # Errors
/// The first error, worded and placed as by Prometheus; also an input above [`EXPR_BYTES_MAX`] or nested more
/// than a thousand levels deep.
pub fn parse(input: &str, options: &ParseOptions) -> Result<Expr, ParseError> {
    let mut parser = Parser::new(input, *options)?;
    let first = parser.peek()?;
    if first.kind == Kind::Eof {
        return Err(parser.error_at(0, "no expression found in input"));
    }
    let mut expr = parser.expression()?.expr;
    parser.expect_end()?;
    let breaks: Vec<usize> = input.match_indices('\n').map(|(at, _)| at).collect();
    if !breaks.is_empty() {
        note_lines(&mut expr, &breaks);
    }
    check::check(&mut expr, input).map_err(|(at, message)| parser.error_at(at, message))?;
    Ok(expr)
}

/// Reads a selector such as `up{job="node"}`, as the `match[]` parameters have it, and gives its matchers.
/// Whether one of them has to exclude the empty string is the caller's to decide.
///
/// # Errors
/// Anything that is not a plain selector.
pub fn parse_selector(input: &str) -> Result<Vec<Matcher>, ParseError> {
    let mut parser = Parser::new(input, ParseOptions::default())?;
    let first = parser.peek()?;
    let name = first.kind.is_metric_name().then_some(first);
    if name.is_some() {
        parser.advance()?;
    } else if first.kind != Kind::LeftBrace {
        return Err(parser.unexpected());
    }
    let selector = parser.vector_selector(name)?;
    parser.expect_end()?;
    Ok(selector.matchers)
}

/// An expression under construction, with the length of its longest path to a leaf.
struct Parsed {
    expr: Expr,
    depth: usize,
}

impl Parsed {
    fn leaf(expr: Expr) -> Self {
        Parsed { expr, depth: 1 }
    }
}

/// The constructs that claim an unexpected token inside them: the innermost one words the error.
#[derive(Clone, Copy)]
struct Context {
    place: &'static str,
    expected: &'static str,
}

struct Parser<'a> {
    input: &'a str,
    lexer: Lexer<'a>,
    peeked: Option<Token>,
    /// Where the token taken last ends.
    last_end: usize,
    contexts: Vec<Context>,
    options: ParseOptions,
    /// How deeply expressions are nested here.
    nesting: usize,
    /// Operations in the duration being read: bounds its depth.
    duration_nodes: usize,
}

type Parse<T> = Result<T, ParseError>;

impl<'a> Parser<'a> {
    fn new(input: &'a str, options: ParseOptions) -> Parse<Self> {
        let parser = Parser {
            input,
            lexer: Lexer::new(input),
            peeked: None,
            last_end: 0,
            contexts: Vec::new(),
            options,
            nesting: 0,
            duration_nodes: 0,
        };
        if input.len() > EXPR_BYTES_MAX {
            let message = format!(
                "expression of {} bytes, at most {EXPR_BYTES_MAX} are taken",
                input.len()
            );
            return Err(parser.error_at(0, message));
        }
        Ok(parser)
    }

    fn error_at(&self, at: usize, message: impl Into<String>) -> ParseError {
        let (line, column) = line_and_column(self.input, at).unwrap_or((0, 0));
        ParseError {
            line,
            column,
            message: message.into(),
        }
    }

    /// The next token, left in place. A token that cannot be read is an error here and now.
    fn peek(&mut self) -> Parse<Token> {
        if let Some(token) = self.peeked {
            return Ok(token);
        }
        let token = self.lexer.next_token();
        if token.kind == Kind::Error {
            let message = self.lexer.error_message().to_owned();
            return Err(self.error_at(self.lexer.error_position(), message));
        }
        self.peeked = Some(token);
        Ok(token)
    }

    fn peek_kind(&mut self) -> Parse<Kind> {
        Ok(self.peek()?.kind)
    }

    fn advance(&mut self) -> Parse<Token> {
        let token = self.peek()?;
        self.peeked = None;
        self.last_end = token.end;
        Ok(token)
    }

    /// Takes the next token if it is of that kind.
    fn take(&mut self, kind: Kind) -> Parse<Option<Token>> {
        if self.peek_kind()? == kind {
            self.advance().map(Some)
        } else {
            Ok(None)
        }
    }

    /// Takes a token of that kind; anything else is unexpected.
    fn expect(&mut self, kind: Kind) -> Parse<Token> {
        match self.take(kind)? {
            Some(token) => Ok(token),
            None => Err(self.unexpected()),
        }
    }

    fn expect_end(&mut self) -> Parse<()> {
        self.expect(Kind::Eof).map(|_| ())
    }

    fn text(&self, token: Token) -> &'a str {
        self.lexer.text(token)
    }

    /// The error for the next token, worded by the innermost construct that claims it.
    fn unexpected(&mut self) -> ParseError {
        let context = self.contexts.last().copied().unwrap_or(Context {
            place: "",
            expected: "",
        });
        self.unexpected_in(context.place, context.expected)
    }

    fn unexpected_in(&mut self, place: &str, expected: &str) -> ParseError {
        let token = match self.peek() {
            Ok(token) => token,
            Err(error) => return error,
        };
        let mut message = format!("unexpected {}", describe(token.kind, self.text(token)));
        if !place.is_empty() {
            message.push_str(" in ");
            message.push_str(place);
        }
        if !expected.is_empty() {
            message.push_str(", expected ");
            message.push_str(expected);
        }
        self.error_at(token.start, message)
    }

    /// Runs `body` while unexpected tokens belong to `place`.
    fn within<T>(
        &mut self,
        place: &'static str,
        expected: &'static str,
        body: impl FnOnce(&mut Self) -> Parse<T>,
    ) -> Parse<T> {
        self.contexts.push(Context { place, expected });
        let result = body(self);
        self.contexts.pop();
        result
    }

    /// A node above others that are `depth` levels deep.
    fn node(&self, expr: Expr, depth: usize) -> Parse<Parsed> {
        let depth = depth + 1;
        if depth > DEPTH_MAX {
            return Err(self.too_deep(expr.span()));
        }
        Ok(Parsed { expr, depth })
    }

    fn too_deep(&self, span: Span) -> ParseError {
        self.error_at(
            span.start,
            format!("expression nested more than {DEPTH_MAX} levels deep"),
        )
    }
}

#[cfg(test)]
mod tests;
