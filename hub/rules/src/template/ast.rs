//! The tree of a parsed template. `Display` gives Go's own rendering of a node, which its error texts quote.

use std::fmt;
use std::sync::Arc;

/// A statement of a template.
#[derive(Debug)]
pub(super) enum Node {
    Text(String),
    Action(Pipe),
    If(Branch),
    With(Branch),
    Range(Branch),
    Template {
        pos: usize,
        name: String,
        pipe: Option<Pipe>,
    },
    Break,
    Continue,
}

/// `if`, `with` and `range` have the same parts.
#[derive(Debug)]
pub(super) struct Branch {
    pub(super) pipe: Pipe,
    pub(super) then: Vec<Node>,
    pub(super) otherwise: Vec<Node>,
}

/// Commands joined by `|`, perhaps with variables that take the value.
#[derive(Debug)]
pub(super) struct Pipe {
    pub(super) pos: usize,
    /// Names with their `$`.
    pub(super) variables: Vec<String>,
    /// `=` rather than `:=`.
    pub(super) assign: bool,
    pub(super) commands: Vec<Vec<Operand>>,
}

/// A word of a command.
#[derive(Debug)]
pub(super) struct Operand {
    pub(super) pos: usize,
    pub(super) kind: OperandKind,
}

#[derive(Debug)]
pub(super) enum OperandKind {
    Dot,
    Nil,
    Bool(bool),
    Number {
        text: String,
        value: Number,
    },
    String {
        quoted: String,
        value: Arc<str>,
    },
    /// `.A.B`
    Field(Vec<String>),
    /// `$x.A.B`: the first element is the name with its `$`.
    Variable(Vec<String>),
    Identifier(String),
    /// `(pipe)`
    Pipe(Box<Pipe>),
    /// `(pipe).A.B` or `function.A.B`
    Chain(Box<Operand>, Vec<String>),
}

/// A numeric constant; Go decides by its spelling.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Number {
    Int(i64),
    Float(f64),
    /// An integer that Go's `int` cannot hold: an error when it is evaluated.
    Overflow,
}

impl fmt::Display for Operand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            OperandKind::Dot => f.write_str("."),
            OperandKind::Nil => f.write_str("nil"),
            OperandKind::Bool(b) => write!(f, "{b}"),
            OperandKind::Number { text, .. } => f.write_str(text),
            OperandKind::String { quoted, .. } => f.write_str(quoted),
            OperandKind::Field(names) => names.iter().try_for_each(|n| write!(f, ".{n}")),
            OperandKind::Variable(names) => f.write_str(&names.join(".")),
            OperandKind::Identifier(name) => f.write_str(name),
            OperandKind::Pipe(pipe) => write!(f, "({pipe})"),
            OperandKind::Chain(of, names) => {
                write!(f, "{of}")?;
                names.iter().try_for_each(|n| write!(f, ".{n}"))
            }
        }
    }
}

impl fmt::Display for Pipe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.variables.is_empty() {
            let op = if self.assign { "=" } else { ":=" };
            write!(f, "{} {op} ", self.variables.join(", "))?;
        }
        for (i, command) in self.commands.iter().enumerate() {
            if i > 0 {
                f.write_str(" | ")?;
            }
            f.write_str(&show_command(command))?;
        }
        Ok(())
    }
}

/// The words of a command with blanks between them.
pub(super) fn show_command(words: &[Operand]) -> String {
    words
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(" ")
}
