//! What the lexer hands to the parser: kinds of tokens, the keyword table, and how error texts name a token.

use crate::ast::AggregateOp;
use crate::text::quote;

/// Kind of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Eof,
    Error,
    Comment,
    Identifier,
    MetricIdentifier,
    String,
    Number,
    Duration,
    LeftParen,
    RightParen,
    LeftBrace,
    RightBrace,
    LeftBracket,
    RightBracket,
    Comma,
    Colon,
    Assign,
    Add,
    Sub,
    Mul,
    Div,
    Mod,
    Pow,
    Equal,
    NotEqual,
    Less,
    LessEqual,
    Greater,
    GreaterEqual,
    TrimUpper,
    TrimLower,
    RegexMatch,
    RegexNoMatch,
    At,
    And,
    Or,
    Unless,
    Atan2,
    Aggregate(AggregateOp),
    Keyword(Keyword),
    Preprocessor(Preprocessor),
}

/// Words that shape an expression.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Keyword {
    Offset,
    Smoothed,
    Anchored,
    By,
    Without,
    On,
    Ignoring,
    GroupLeft,
    GroupRight,
    Fill,
    FillLeft,
    FillRight,
    Bool,
}

/// Words that stand for something known before evaluation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Preprocessor {
    Start,
    End,
    Step,
    Range,
    MaxOf,
    MinOf,
}

/// A token: its kind and where its text lies in the input, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Token {
    pub(crate) kind: Kind,
    pub(crate) start: usize,
    pub(crate) end: usize,
}

/// The keyword that a word is, whatever its case.
pub(crate) fn keyword(word: &str) -> Option<Kind> {
    /// Longest keyword: nothing longer needs to be lowered.
    const LENGTH_MAX: usize = 12;
    if word.len() > LENGTH_MAX {
        return None;
    }
    let word = word.to_ascii_lowercase();
    if let Some(op) = AggregateOp::from_name(&word) {
        return Some(Kind::Aggregate(op));
    }
    Some(match word.as_str() {
        "and" => Kind::And,
        "or" => Kind::Or,
        "unless" => Kind::Unless,
        "atan2" => Kind::Atan2,
        "offset" => Kind::Keyword(Keyword::Offset),
        "smoothed" => Kind::Keyword(Keyword::Smoothed),
        "anchored" => Kind::Keyword(Keyword::Anchored),
        "by" => Kind::Keyword(Keyword::By),
        "without" => Kind::Keyword(Keyword::Without),
        "on" => Kind::Keyword(Keyword::On),
        "ignoring" => Kind::Keyword(Keyword::Ignoring),
        "group_left" => Kind::Keyword(Keyword::GroupLeft),
        "group_right" => Kind::Keyword(Keyword::GroupRight),
        "fill" => Kind::Keyword(Keyword::Fill),
        "fill_left" => Kind::Keyword(Keyword::FillLeft),
        "fill_right" => Kind::Keyword(Keyword::FillRight),
        "bool" => Kind::Keyword(Keyword::Bool),
        "inf" | "nan" => Kind::Number,
        _ => return duration_keyword(&word),
    })
}

/// The words that may also stand inside the brackets of a range.
pub(crate) fn duration_keyword(word: &str) -> Option<Kind> {
    let preprocessor = match word.to_ascii_lowercase().as_str() {
        "start" => Preprocessor::Start,
        "end" => Preprocessor::End,
        "step" => Preprocessor::Step,
        "range" => Preprocessor::Range,
        "max_of" => Preprocessor::MaxOf,
        "min_of" => Preprocessor::MinOf,
        _ => return None,
    };
    Some(Kind::Preprocessor(preprocessor))
}

impl Kind {
    /// Whether the token can be the name of a metric outside braces.
    pub(crate) fn is_metric_name(self) -> bool {
        match self {
            Kind::Identifier
            | Kind::MetricIdentifier
            | Kind::And
            | Kind::Or
            | Kind::Unless
            | Kind::Aggregate(_)
            | Kind::Preprocessor(_) => true,
            Kind::Keyword(word) => !matches!(
                word,
                Keyword::On
                    | Keyword::Ignoring
                    | Keyword::GroupLeft
                    | Keyword::GroupRight
                    | Keyword::Bool
            ),
            _ => false,
        }
    }

    /// Whether the token can be a label in a grouping.
    pub(crate) fn is_grouping_label(self) -> bool {
        match self {
            Kind::Identifier
            | Kind::MetricIdentifier
            | Kind::And
            | Kind::Or
            | Kind::Unless
            | Kind::Atan2
            | Kind::Aggregate(_)
            | Kind::Preprocessor(_) => true,
            Kind::Keyword(word) => word != Keyword::Without,
            _ => false,
        }
    }

    /// Whether an expression can begin with the token.
    pub(crate) fn starts_expression(self) -> bool {
        self.is_metric_name()
            || matches!(
                self,
                Kind::Number
                    | Kind::Duration
                    | Kind::String
                    | Kind::LeftParen
                    | Kind::LeftBrace
                    | Kind::Add
                    | Kind::Sub
            )
    }
}

/// How an error text names the token: `identifier "foo"`, `<op:*>`, `"{"`, `end of input`.
pub(crate) fn describe(kind: Kind, text: &str) -> String {
    match kind {
        Kind::Eof => "end of input".to_owned(),
        Kind::Error => "error".to_owned(),
        Kind::Comment => format!("comment {}", shortened(text)),
        Kind::Identifier => format!("identifier {}", quote(text)),
        Kind::MetricIdentifier => format!("metric identifier {}", quote(text)),
        Kind::String => format!("string {}", shortened(text)),
        Kind::Number => format!("number {}", shortened(text)),
        Kind::Duration => format!("duration {}", shortened(text)),
        Kind::Keyword(_) => format!("<{text}>"),
        Kind::Aggregate(_) => format!("<aggr:{text}>"),
        Kind::LeftParen
        | Kind::RightParen
        | Kind::LeftBrace
        | Kind::RightBrace
        | Kind::LeftBracket
        | Kind::RightBracket
        | Kind::Comma
        | Kind::Colon
        | Kind::Assign
        | Kind::Preprocessor(_) => shortened(text),
        _ => format!("<op:{text}>"),
    }
}

/// The text quoted, cut after ten characters.
fn shortened(text: &str) -> String {
    const SHOWN: usize = 10;
    if text.len() <= SHOWN {
        return quote(text);
    }
    let cut: String = text.chars().take(SHOWN).collect();
    format!("{}...", quote(&cut))
}
