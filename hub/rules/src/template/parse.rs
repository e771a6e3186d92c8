//! Tokens to tree, with the grammar and error texts of Go's template parser.

use std::collections::HashMap;
use std::sync::Arc;

use super::TemplateError;
use super::ast::{Branch, Node, Number, Operand, OperandKind, Pipe};
use super::functions;
use super::lex::{Kind, Token, line_of, tokens};

/// Deepest nesting of control structures and parentheses.
const NESTING_MAX: usize = 100;

/// Named template bodies; the main one has the template's own name.
pub(super) type Definitions = HashMap<String, Vec<Node>>;

pub(super) fn parse(name: &str, src: &str) -> Result<Definitions, TemplateError> {
    let tokens = tokens(name, src)?;
    let mut parser = Parser {
        name,
        src,
        tokens,
        at: 0,
        variables: vec!["$".to_owned()],
        nesting: 0,
        loops: 0,
        definitions: HashMap::new(),
    };
    let (main, _) = parser.list(true)?;
    parser.definitions.insert(name.to_owned(), main);
    Ok(parser.definitions)
}

struct Parser<'a> {
    name: &'a str,
    src: &'a str,
    tokens: Vec<Token<'a>>,
    at: usize,
    /// Variables in scope, with their `$`.
    variables: Vec<String>,
    nesting: usize,
    loops: usize,
    definitions: Definitions,
}

/// What ended a list of nodes.
enum Stop {
    Eof,
    End,
    Else,
}

type Parsed<T> = Result<T, TemplateError>;

impl<'a> Parser<'a> {
    fn error<T>(&self, message: impl Into<String>) -> Parsed<T> {
        let pos = self.tokens[self.at.min(self.tokens.len() - 1)].pos;
        Err(TemplateError::parse(
            self.name,
            line_of(self.src, pos),
            message,
        ))
    }

    fn unexpected<T>(&self, token: Token<'a>, context: &str) -> Parsed<T> {
        let what = match token.kind {
            Kind::Eof => "EOF".to_owned(),
            Kind::Keyword => format!("<{}>", token.text),
            Kind::RightDelim | Kind::LeftDelim => format!("{:?}", token.text),
            _ if token.text.len() > 10 => {
                format!("{:?}...", token.text.chars().take(10).collect::<String>())
            }
            _ => format!("{:?}", token.text),
        };
        let message = format!("unexpected {what} in {context}");
        Err(TemplateError::parse(
            self.name,
            line_of(self.src, token.pos),
            message,
        ))
    }

    fn peek(&self) -> Token<'a> {
        self.tokens[self.at]
    }

    /// Never goes beyond the end token.
    fn next(&mut self) -> Token<'a> {
        let token = self.tokens[self.at];
        if self.at + 1 < self.tokens.len() {
            self.at += 1;
        }
        token
    }

    fn skip_space(&mut self) {
        while self.peek().kind == Kind::Space {
            self.at += 1;
        }
    }

    fn next_non_space(&mut self) -> Token<'a> {
        self.skip_space();
        self.next()
    }

    fn peek_non_space(&mut self) -> Token<'a> {
        self.skip_space();
        self.peek()
    }

    fn nested<T>(&mut self, f: impl FnOnce(&mut Self) -> Parsed<T>) -> Parsed<T> {
        self.nesting += 1;
        if self.nesting > NESTING_MAX {
            return self.error(format!(
                "template is nested deeper than {NESTING_MAX} levels"
            ));
        }
        let out = f(self);
        self.nesting -= 1;
        out
    }

    /// Nodes up to `end`, `else` or the end of the text. Only the top level may define templates.
    fn list(&mut self, top: bool) -> Parsed<(Vec<Node>, Stop)> {
        let mut nodes = Vec::new();
        loop {
            let token = self.next();
            match token.kind {
                Kind::Eof => return Ok((nodes, Stop::Eof)),
                Kind::Text => nodes.push(Node::Text(token.text.to_owned())),
                Kind::LeftDelim => {
                    let first = self.peek_non_space();
                    if first.kind != Kind::Keyword {
                        let pipe = self.pipeline("command", Kind::RightDelim)?;
                        nodes.push(Node::Action(pipe));
                        continue;
                    }
                    self.next();
                    match first.text {
                        "end" => {
                            self.close("end")?;
                            if top {
                                return self.error("unexpected {{end}}");
                            }
                            return Ok((nodes, Stop::End));
                        }
                        "else" => {
                            if top {
                                return self.error("unexpected {{else}}");
                            }
                            return Ok((nodes, Stop::Else));
                        }
                        "define" if top => self.define()?,
                        "define" => return self.unexpected(first, "command"),
                        _ => nodes.push(self.nested(|p| p.keyword(first))?),
                    }
                }
                _ => return self.unexpected(token, "input"),
            }
        }
    }

    fn close(&mut self, context: &str) -> Parsed<()> {
        let token = self.next_non_space();
        if token.kind == Kind::RightDelim {
            Ok(())
        } else {
            self.unexpected(token, context)
        }
    }

    fn keyword(&mut self, token: Token<'a>) -> Parsed<Node> {
        match token.text {
            "if" => Ok(Node::If(self.branch("if")?)),
            "with" => Ok(Node::With(self.branch("with")?)),
            "range" => Ok(Node::Range(self.branch("range")?)),
            "template" => {
                let pos = self.peek_non_space().pos;
                let name = self.template_name("template clause")?;
                let pipe = if self.peek_non_space().kind == Kind::RightDelim {
                    self.next();
                    None
                } else {
                    Some(self.pipeline("template clause", Kind::RightDelim)?)
                };
                Ok(Node::Template { pos, name, pipe })
            }
            "block" => {
                let pos = self.peek_non_space().pos;
                let name = self.template_name("block clause")?;
                let pipe = self.pipeline("block clause", Kind::RightDelim)?;
                let body = self.body("block")?;
                self.define_as(&name, body)?;
                Ok(Node::Template {
                    pos,
                    name,
                    pipe: Some(pipe),
                })
            }
            word @ ("break" | "continue") => {
                self.close(word)?;
                if self.loops == 0 {
                    return self.error(format!("{{{{{word}}}}} outside {{{{range}}}}"));
                }
                Ok(if word == "break" {
                    Node::Break
                } else {
                    Node::Continue
                })
            }
            _ => self.unexpected(token, "command"),
        }
    }

    fn template_name(&mut self, context: &str) -> Parsed<String> {
        let token = self.next_non_space();
        match token.kind {
            Kind::String | Kind::RawString => self.unquote(token),
            _ => self.unexpected(token, context),
        }
    }

    fn define(&mut self) -> Parsed<()> {
        let name = self.template_name("define clause")?;
        self.close("define clause")?;
        let body = self.nested(|p| p.body("define"))?;
        self.define_as(&name, body)
    }

    /// The body of `define` or `block`: a template of its own, with no outer variables.
    fn body(&mut self, context: &str) -> Parsed<Vec<Node>> {
        let outer = std::mem::replace(&mut self.variables, vec!["$".to_owned()]);
        let loops = std::mem::take(&mut self.loops);
        let (nodes, end) = self.list(false)?;
        self.variables = outer;
        self.loops = loops;
        match end {
            Stop::End => Ok(nodes),
            Stop::Eof => self.error("unexpected EOF"),
            Stop::Else => self.error(format!("unexpected {{{{else}}}} in {context} clause")),
        }
    }

    fn define_as(&mut self, name: &str, body: Vec<Node>) -> Parsed<()> {
        let blank = |nodes: &[Node]| {
            nodes
                .iter()
                .all(|n| matches!(n, Node::Text(t) if t.trim().is_empty()))
        };
        match self.definitions.get(name) {
            Some(old) if !blank(old) && !blank(&body) => self.error(format!(
                "template: multiple definition of template {name:?}"
            )),
            Some(old) if !blank(old) => Ok(()),
            _ => {
                self.definitions.insert(name.to_owned(), body);
                Ok(())
            }
        }
    }

    fn branch(&mut self, context: &'static str) -> Parsed<Branch> {
        let scope = self.variables.len();
        let pipe = self.pipeline(context, Kind::RightDelim)?;
        if context == "range" {
            self.loops += 1;
        }
        let (then, end) = self.list(false)?;
        if context == "range" {
            self.loops -= 1;
        }
        let mut otherwise = Vec::new();
        match end {
            Stop::End => {}
            Stop::Eof => return self.error("unexpected EOF"),
            Stop::Else => {
                let next = self.peek_non_space();
                let chained =
                    next.kind == Kind::Keyword && next.text == context && context != "range";
                if chained {
                    // `else if` and `else with` share the `end` of the outer one.
                    self.next();
                    let inner = self.nested(|p| p.branch(context))?;
                    otherwise.push(if context == "if" {
                        Node::If(inner)
                    } else {
                        Node::With(inner)
                    });
                } else {
                    self.close("else")?;
                    let (nodes, end) = self.list(false)?;
                    otherwise = nodes;
                    match end {
                        Stop::End => {}
                        Stop::Eof => return self.error("unexpected EOF"),
                        Stop::Else => return self.error("expected end; found {{else}}"),
                    }
                }
            }
        }
        self.variables.truncate(scope);
        Ok(Branch {
            pipe,
            then,
            otherwise,
        })
    }

    fn pipeline(&mut self, context: &str, end: Kind) -> Parsed<Pipe> {
        let pos = self.peek_non_space().pos;
        let mut pipe = Pipe {
            pos,
            variables: Vec::new(),
            assign: false,
            commands: Vec::new(),
        };
        self.declarations(&mut pipe, context)?;
        loop {
            let token = self.next_non_space();
            match token.kind {
                kind if kind == end => break,
                Kind::Bool
                | Kind::CharConstant
                | Kind::Dot
                | Kind::Field
                | Kind::Identifier
                | Kind::Number
                | Kind::Nil
                | Kind::RawString
                | Kind::String
                | Kind::Variable
                | Kind::LeftParen => {
                    self.at -= 1;
                    let command = self.command()?;
                    pipe.commands.push(command);
                }
                _ => return self.unexpected(token, context),
            }
        }
        if pipe.commands.is_empty() {
            return self.error(format!("missing value for {context}"));
        }
        for (i, command) in pipe.commands.iter().enumerate().skip(1) {
            use OperandKind::{Bool, Dot, Nil, Number, String};
            if matches!(
                command[0].kind,
                Bool(_) | Dot | Nil | Number { .. } | String { .. }
            ) {
                return self.error(format!(
                    "non executable command in pipeline stage {}",
                    i + 1
                ));
            }
        }
        if !pipe.assign {
            self.variables.extend(pipe.variables.iter().cloned());
        }
        Ok(pipe)
    }

    /// `$x :=`, `$x =`, `$i, $x :=` at the head of a pipeline; nothing is taken if there is none.
    fn declarations(&mut self, pipe: &mut Pipe, context: &str) -> Parsed<()> {
        loop {
            let start = self.at;
            let variable = self.peek_non_space();
            if variable.kind != Kind::Variable {
                self.at = start;
                return Ok(());
            }
            self.next();
            let next = self.peek_non_space();
            match next.kind {
                Kind::Assign | Kind::Declare => {
                    self.next();
                    pipe.assign = next.kind == Kind::Assign;
                    if pipe.assign {
                        self.need_variable(variable.text)?;
                    }
                    pipe.variables.push(variable.text.to_owned());
                    return Ok(());
                }
                Kind::Char if next.text == "," => {
                    self.next();
                    pipe.variables.push(variable.text.to_owned());
                    if context != "range" || pipe.variables.len() > 1 {
                        return self.error(format!("too many declarations in {context}"));
                    }
                    if self.peek_non_space().kind != Kind::Variable {
                        return self.error("range can only initialize variables");
                    }
                }
                _ => {
                    self.at = start;
                    return Ok(());
                }
            }
        }
    }

    fn need_variable(&self, name: &str) -> Parsed<()> {
        if self.variables.iter().any(|v| v == name) {
            return Ok(());
        }
        self.error(format!("undefined variable {name:?}"))
    }

    fn command(&mut self) -> Parsed<Vec<Operand>> {
        let mut words = Vec::new();
        loop {
            self.skip_space();
            if let Some(operand) = self.operand()? {
                words.push(operand);
            }
            let token = self.peek();
            match token.kind {
                Kind::Space => continue,
                Kind::RightDelim | Kind::RightParen => {}
                Kind::Pipe => {
                    self.next();
                    // Something must follow the bar.
                    let after = self.peek_non_space();
                    if matches!(after.kind, Kind::RightDelim | Kind::RightParen) {
                        return self.error("missing value for command");
                    }
                }
                _ => {
                    self.next();
                    return self.unexpected(token, "operand");
                }
            }
            break;
        }
        if words.is_empty() {
            self.error("empty command")
        } else {
            Ok(words)
        }
    }

    fn operand(&mut self) -> Parsed<Option<Operand>> {
        let Some(mut operand) = self.term()? else {
            return Ok(None);
        };
        if self.peek().kind != Kind::Field {
            return Ok(Some(operand));
        }
        // Errors point at the first field, as Go's do.
        let start = std::mem::replace(&mut operand.pos, self.peek().pos);
        let mut fields = Vec::new();
        while self.peek().kind == Kind::Field {
            fields.push(self.next().text[1..].to_owned());
        }
        operand.kind = match operand.kind {
            OperandKind::Field(mut names) => {
                names.extend(fields);
                OperandKind::Field(names)
            }
            OperandKind::Variable(mut names) => {
                names.extend(fields);
                OperandKind::Variable(names)
            }
            kind @ (OperandKind::Pipe(_) | OperandKind::Identifier(_)) => {
                let of = Operand { pos: start, kind };
                OperandKind::Chain(Box::new(of), fields)
            }
            kind => {
                let term = Operand {
                    pos: operand.pos,
                    kind,
                };
                return self.error(format!("unexpected . after term {:?}", term.to_string()));
            }
        };
        Ok(Some(operand))
    }

    fn term(&mut self) -> Parsed<Option<Operand>> {
        let token = self.next_non_space();
        let text = token.text;
        let kind = match token.kind {
            Kind::Identifier => {
                if !functions::is_defined(text) {
                    return self.error(format!("function {text:?} not defined"));
                }
                OperandKind::Identifier(text.to_owned())
            }
            Kind::Dot => OperandKind::Dot,
            Kind::Nil => OperandKind::Nil,
            Kind::Bool => OperandKind::Bool(text == "true"),
            Kind::Variable => {
                self.need_variable(text)?;
                OperandKind::Variable(vec![text.to_owned()])
            }
            Kind::Field => OperandKind::Field(vec![text[1..].to_owned()]),
            Kind::Number => match number(text) {
                Some(value) => OperandKind::Number {
                    text: text.to_owned(),
                    value,
                },
                None => return self.error(format!("bad number syntax: {text:?}")),
            },
            Kind::CharConstant => match super::quote::unquote(text) {
                Some(s) if s.chars().count() == 1 => {
                    let c = s.chars().next().unwrap_or_default();
                    let value = Number::Int(i64::from(u32::from(c)));
                    OperandKind::Number {
                        text: text.to_owned(),
                        value,
                    }
                }
                _ => return self.error(format!("malformed character constant: {text}")),
            },
            Kind::String | Kind::RawString => {
                let value: Arc<str> = self.unquote(token)?.into();
                OperandKind::String {
                    quoted: text.to_owned(),
                    value,
                }
            }
            Kind::LeftParen => {
                let pipe =
                    self.nested(|p| p.pipeline("parenthesized pipeline", Kind::RightParen))?;
                OperandKind::Pipe(Box::new(pipe))
            }
            Kind::Eof => return self.error("unexpected EOF"),
            _ => {
                self.at -= 1;
                return Ok(None);
            }
        };
        Ok(Some(Operand {
            pos: token.pos,
            kind,
        }))
    }

    fn unquote(&self, token: Token<'a>) -> Parsed<String> {
        match super::quote::unquote(token.text) {
            Some(s) => Ok(s),
            None => self.error("invalid syntax"),
        }
    }
}

/// Go's constants: an integer unless it is spelled as a float.
fn number(text: &str) -> Option<Number> {
    let clean = text.replace('_', "");
    let (negative, digits) = match clean.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, clean.strip_prefix('+').unwrap_or(&clean)),
    };
    let lower = digits.to_ascii_lowercase();
    let radix = match lower.get(..2) {
        Some("0x") => Some(16),
        Some("0o") => Some(8),
        Some("0b") => Some(2),
        _ => None,
    };
    let unsigned = match radix {
        Some(radix) => i128::from_str_radix(&lower[2..], radix).ok(),
        // An old-style octal constant, as in Go.
        None if lower.len() > 1 && lower.starts_with('0') && !lower.contains(['.', 'e']) => {
            i128::from_str_radix(&lower[1..], 8).ok()
        }
        None => lower.parse::<i128>().ok(),
    };
    if let Some(n) = unsigned {
        let n = if negative { -n } else { n };
        return Some(i64::try_from(n).map_or(Number::Overflow, Number::Int));
    }
    if radix.is_some() || !lower.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
        return None;
    }
    let f: f64 = lower.parse().ok()?;
    Some(Number::Float(if negative { -f } else { f }))
}
