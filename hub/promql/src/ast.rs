//! The syntax tree: one node type per construct, each with the span of input bytes that it came from.

use model::Matcher;

use crate::functions::Function;
use crate::stack::deep;

/// Input bytes `start..end` that a node came from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    /// First byte.
    pub start: usize,
    /// One past the last byte.
    pub end: usize,
    /// Line breaks before `start`, and the byte behind the last of them.
    line: (usize, usize),
}

impl Span {
    /// No place.
    pub(crate) const ZERO: Span = Span {
        start: 0,
        end: 0,
        line: (0, 0),
    };

    /// A span on the first line.
    pub(crate) fn new(start: usize, end: usize) -> Self {
        let line = (0, 0);
        Span { start, end, line }
    }

    /// Line and column of the start, both from 1, the column in bytes: the position that annotations name.
    pub fn line_and_column(&self) -> (usize, usize) {
        let (breaks, line_start) = self.line;
        (breaks + 1, self.start.saturating_sub(line_start) + 1)
    }
}

/// Notes in every span below `expr` the line that it stands on; `breaks` has the positions of all line breaks.
pub(crate) fn note_lines(expr: &mut Expr, breaks: &[usize]) {
    let note = |span: &mut Span| {
        let before = breaks.partition_point(|at| *at < span.start);
        span.line = (
            before,
            before.checked_sub(1).map_or(0, |last| breaks[last] + 1),
        );
    };
    deep(|| match expr {
        Expr::Number(node) => note(&mut node.span),
        Expr::String(node) => note(&mut node.span),
        Expr::Vector(node) => note(&mut node.span),
        Expr::Matrix(node) => {
            note(&mut node.span);
            note(&mut node.selector.span);
        }
        Expr::Subquery(node) => {
            note(&mut node.span);
            note_lines(&mut node.expr, breaks);
        }
        Expr::Call(node) => {
            note(&mut node.span);
            node.args.iter_mut().for_each(|arg| note_lines(arg, breaks));
        }
        Expr::Aggregate(node) => {
            note(&mut node.span);
            note_lines(&mut node.expr, breaks);
            if let Some(param) = &mut node.param {
                note_lines(param, breaks);
            }
        }
        Expr::Binary(node) => {
            note(&mut node.span);
            note_lines(&mut node.lhs, breaks);
            note_lines(&mut node.rhs, breaks);
        }
        Expr::Unary(node) => {
            note(&mut node.span);
            note_lines(&mut node.expr, breaks);
        }
        Expr::Paren(node) => {
            note(&mut node.span);
            note_lines(&mut node.expr, breaks);
        }
    });
}

/// What an expression evaluates to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ValueType {
    /// One number per step.
    Scalar,
    /// Per step one value for each of many series.
    Vector,
    /// Per step many values for each of many series.
    Matrix,
    /// A text.
    String,
}

impl ValueType {
    /// `scalar`, `vector`, `matrix`, `string`, as in the HTTP API.
    pub fn name(self) -> &'static str {
        match self {
            ValueType::Scalar => "scalar",
            ValueType::Vector => "vector",
            ValueType::Matrix => "matrix",
            ValueType::String => "string",
        }
    }

    /// As the documentation and error texts call it: `instant vector`, `range vector`.
    pub fn documented_name(self) -> &'static str {
        match self {
            ValueType::Vector => "instant vector",
            ValueType::Matrix => "range vector",
            other => other.name(),
        }
    }
}

/// A length of time with a sign, in nanoseconds. Evaluation uses whole milliseconds, cut towards zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct SignedDuration(i64);

impl SignedDuration {
    /// No time.
    pub const ZERO: SignedDuration = SignedDuration(0);

    /// From nanoseconds.
    pub const fn from_nanos(nanos: i64) -> Self {
        SignedDuration(nanos)
    }

    /// From milliseconds; saturates.
    pub const fn from_millis(millis: i64) -> Self {
        SignedDuration(millis.saturating_mul(1_000_000))
    }

    /// From seconds, rounded to the nearest nanosecond; saturates.
    pub fn from_seconds(seconds: f64) -> Self {
        SignedDuration((seconds * 1e9).round() as i64)
    }

    /// Nanoseconds.
    pub const fn nanos(self) -> i64 {
        self.0
    }

    /// Whole milliseconds.
    pub const fn millis(self) -> i64 {
        self.0 / 1_000_000
    }

    /// No time at all.
    pub const fn is_zero(self) -> bool {
        self.0 == 0
    }
}

/// An expression.
#[derive(Clone, Debug, PartialEq)]
pub enum Expr {
    /// `1.5`, `5m`
    Number(NumberLiteral),
    /// `"text"`
    String(StringLiteral),
    /// `up{job="node"} offset 5m`
    Vector(VectorSelector),
    /// `up[5m]`
    Matrix(MatrixSelector),
    /// `rate(x[5m])[1h:1m]`
    Subquery(Subquery),
    /// `rate(x[5m])`
    Call(Call),
    /// `sum by (job) (x)`
    Aggregate(Aggregate),
    /// `a + on (job) b`
    Binary(Binary),
    /// `-x`
    Unary(Unary),
    /// `(x)`
    Paren(Paren),
}

/// A number, perhaps written as a duration.
#[derive(Clone, Debug, PartialEq)]
pub struct NumberLiteral {
    /// The number; seconds if it was written as a duration.
    pub value: f64,
    /// Written as a duration: printed as one.
    pub is_duration: bool,
    /// Where.
    pub span: Span,
}

/// A text.
#[derive(Clone, Debug, PartialEq)]
pub struct StringLiteral {
    /// Without quotes and escapes; bytes that are not UTF-8 are replaced.
    pub value: String,
    /// The bytes, if they are not UTF-8.
    pub raw: Option<Vec<u8>>,
    /// Where.
    pub span: Span,
}

/// What `@` fixes the evaluation time to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum At {
    /// `@ 1609746000`, in milliseconds since the epoch.
    Time(i64),
    /// `@ start()`
    Start,
    /// `@ end()`
    End,
}

/// Whether a range also looks at the samples around it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RangeMode {
    /// Only the samples inside.
    #[default]
    Plain,
    /// `anchored`: values at both ends are those of the last sample before.
    Anchored,
    /// `smoothed`: values at both ends are interpolated.
    Smoothed,
}

/// Selects the newest sample of each series.
#[derive(Clone, Debug, PartialEq)]
pub struct VectorSelector {
    /// The metric name written outside the braces.
    pub name: Option<String>,
    /// All matchers in the order written; the one for `name` comes last.
    pub matchers: Vec<Matcher>,
    /// Time shift into the past.
    pub offset: SignedDuration,
    /// The shift, if it was written as an expression: it replaces `offset` once step and range are known.
    pub offset_expr: Option<Box<DurationExpr>>,
    /// Fixed evaluation time.
    pub at: Option<At>,
    /// `anchored` or `smoothed`.
    pub mode: RangeMode,
    /// Where.
    pub span: Span,
}

/// Selects the samples of a time range of each series.
#[derive(Clone, Debug, PartialEq)]
pub struct MatrixSelector {
    /// What is selected, with offset, `@` and mode.
    pub selector: VectorSelector,
    /// How far back.
    pub range: SignedDuration,
    /// The range, if it was written as an expression.
    pub range_expr: Option<Box<DurationExpr>>,
    /// Where.
    pub span: Span,
}

/// Evaluates an expression at regular times, as if the results were stored samples.
#[derive(Clone, Debug, PartialEq)]
pub struct Subquery {
    /// What is evaluated.
    pub expr: Box<Expr>,
    /// How far back.
    pub range: SignedDuration,
    /// The range, if it was written as an expression.
    pub range_expr: Option<Box<DurationExpr>>,
    /// Step; zero means the engine's default.
    pub step: SignedDuration,
    /// The step, if it was written as an expression.
    pub step_expr: Option<Box<DurationExpr>>,
    /// Time shift into the past.
    pub offset: SignedDuration,
    /// The shift, if it was written as an expression.
    pub offset_expr: Option<Box<DurationExpr>>,
    /// Fixed evaluation time.
    pub at: Option<At>,
    /// Where.
    pub span: Span,
}

/// A function call.
#[derive(Clone, Debug, PartialEq)]
pub struct Call {
    /// Which.
    pub function: &'static Function,
    /// With what.
    pub args: Vec<Expr>,
    /// Where.
    pub span: Span,
}

/// An aggregation.
#[derive(Clone, Debug, PartialEq)]
pub struct Aggregate {
    /// Which.
    pub op: AggregateOp,
    /// Of what.
    pub expr: Box<Expr>,
    /// First argument of those that have two.
    pub param: Option<Box<Expr>>,
    /// The labels of `by` or `without`.
    pub grouping: Vec<String>,
    /// `without` rather than `by`.
    pub without: bool,
    /// Where.
    pub span: Span,
}

/// An operation on two operands.
#[derive(Clone, Debug, PartialEq)]
pub struct Binary {
    /// Which.
    pub op: BinaryOp,
    /// Left operand.
    pub lhs: Box<Expr>,
    /// Right operand.
    pub rhs: Box<Expr>,
    /// How series find their partners; None unless both operands are vectors.
    pub matching: Option<VectorMatching>,
    /// `bool`: a comparison gives 0 or 1 rather than filtering.
    pub return_bool: bool,
    /// Scalar if both operands are, else vector.
    pub value_type: ValueType,
    /// Where.
    pub span: Span,
}

/// A sign.
#[derive(Clone, Debug, PartialEq)]
pub struct Unary {
    /// Minus rather than plus.
    pub negative: bool,
    /// Of what.
    pub expr: Box<Expr>,
    /// Where.
    pub span: Span,
}

/// Parentheses.
#[derive(Clone, Debug, PartialEq)]
pub struct Paren {
    /// What is inside.
    pub expr: Box<Expr>,
    /// Where.
    pub span: Span,
}

/// How many series of one side may meet how many of the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cardinality {
    /// Without `group_left` and `group_right`.
    OneToOne,
    /// `group_left`
    ManyToOne,
    /// `group_right`
    OneToMany,
    /// Set operators.
    ManyToMany,
}

impl Cardinality {
    /// `one-to-one` and so on, as in the HTTP API.
    pub fn name(self) -> &'static str {
        match self {
            Cardinality::OneToOne => "one-to-one",
            Cardinality::ManyToOne => "many-to-one",
            Cardinality::OneToMany => "one-to-many",
            Cardinality::ManyToMany => "many-to-many",
        }
    }
}

/// How the series of two vectors find their partners.
#[derive(Clone, Debug, PartialEq)]
pub struct VectorMatching {
    /// How many to how many.
    pub cardinality: Cardinality,
    /// The labels of `on` or `ignoring`.
    pub labels: Vec<String>,
    /// `on` rather than `ignoring`.
    pub on: bool,
    /// The labels of `group_left` or `group_right`.
    pub include: Vec<String>,
    /// Value for left series that are missing.
    pub fill_left: Option<f64>,
    /// Value for right series that are missing.
    pub fill_right: Option<f64>,
}

/// A duration that is computed once step and range of the query are known.
#[derive(Clone, Debug, PartialEq)]
pub enum DurationExpr {
    /// A number of seconds, perhaps written as a duration.
    Number(NumberLiteral),
    /// An operation.
    Operation(DurationOperation),
}

/// An operation on durations.
#[derive(Clone, Debug, PartialEq)]
pub struct DurationOperation {
    /// Which.
    pub op: DurationOp,
    /// Left operand; None for a sign and for `step()` and `range()`.
    pub lhs: Option<Box<DurationExpr>>,
    /// Right or only operand.
    pub rhs: Option<Box<DurationExpr>>,
    /// Written in parentheses.
    pub wrapped: bool,
    /// Where.
    pub span: Span,
}

/// Operations on durations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DurationOp {
    /// `+`, also as a sign
    Add,
    /// `-`, also as a sign
    Sub,
    /// `*`
    Mul,
    /// `/`
    Div,
    /// `%`
    Mod,
    /// `^`
    Pow,
    /// `step()`
    Step,
    /// `range()`
    Range,
    /// `min_of(a, b)`
    MinOf,
    /// `max_of(a, b)`
    MaxOf,
}

impl DurationOp {
    /// As it is written.
    pub fn symbol(self) -> &'static str {
        match self {
            DurationOp::Add => "+",
            DurationOp::Sub => "-",
            DurationOp::Mul => "*",
            DurationOp::Div => "/",
            DurationOp::Mod => "%",
            DurationOp::Pow => "^",
            DurationOp::Step => "step",
            DurationOp::Range => "range",
            DurationOp::MinOf => "min_of",
            DurationOp::MaxOf => "max_of",
        }
    }
}

impl DurationExpr {
    /// Where it stands.
    pub fn span(&self) -> Span {
        match self {
            DurationExpr::Number(number) => number.span,
            DurationExpr::Operation(operation) => operation.span,
        }
    }
}

/// Binary operators.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BinaryOp {
    /// `+`
    Add,
    /// `-`
    Sub,
    /// `*`
    Mul,
    /// `/`
    Div,
    /// `%`
    Mod,
    /// `^`
    Pow,
    /// `atan2`
    Atan2,
    /// `==`
    Equal,
    /// `!=`
    NotEqual,
    /// `<`
    Less,
    /// `<=`
    LessEqual,
    /// `>`
    Greater,
    /// `>=`
    GreaterEqual,
    /// `</`
    TrimUpper,
    /// `>/`
    TrimLower,
    /// `and`
    And,
    /// `or`
    Or,
    /// `unless`
    Unless,
}

impl BinaryOp {
    /// As PromQL writes it.
    pub fn symbol(self) -> &'static str {
        match self {
            BinaryOp::Add => "+",
            BinaryOp::Sub => "-",
            BinaryOp::Mul => "*",
            BinaryOp::Div => "/",
            BinaryOp::Mod => "%",
            BinaryOp::Pow => "^",
            BinaryOp::Atan2 => "atan2",
            BinaryOp::Equal => "==",
            BinaryOp::NotEqual => "!=",
            BinaryOp::Less => "<",
            BinaryOp::LessEqual => "<=",
            BinaryOp::Greater => ">",
            BinaryOp::GreaterEqual => ">=",
            BinaryOp::TrimUpper => "</",
            BinaryOp::TrimLower => ">/",
            BinaryOp::And => "and",
            BinaryOp::Or => "or",
            BinaryOp::Unless => "unless",
        }
    }

    /// Whether it compares.
    pub fn is_comparison(self) -> bool {
        matches!(
            self,
            BinaryOp::Equal
                | BinaryOp::NotEqual
                | BinaryOp::Less
                | BinaryOp::LessEqual
                | BinaryOp::Greater
                | BinaryOp::GreaterEqual
        )
    }

    /// Whether it works on sets of series.
    pub fn is_set(self) -> bool {
        matches!(self, BinaryOp::And | BinaryOp::Or | BinaryOp::Unless)
    }
}

/// Aggregation operators.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AggregateOp {
    /// `sum`
    Sum,
    /// `avg`
    Avg,
    /// `count`
    Count,
    /// `min`
    Min,
    /// `max`
    Max,
    /// `group`
    Group,
    /// `stddev`
    Stddev,
    /// `stdvar`
    Stdvar,
    /// `topk`
    Topk,
    /// `bottomk`
    Bottomk,
    /// `count_values`
    CountValues,
    /// `quantile`
    Quantile,
    /// `limitk`
    Limitk,
    /// `limit_ratio`
    LimitRatio,
}

impl AggregateOp {
    const ALL: [AggregateOp; 14] = [
        AggregateOp::Sum,
        AggregateOp::Avg,
        AggregateOp::Count,
        AggregateOp::Min,
        AggregateOp::Max,
        AggregateOp::Group,
        AggregateOp::Stddev,
        AggregateOp::Stdvar,
        AggregateOp::Topk,
        AggregateOp::Bottomk,
        AggregateOp::CountValues,
        AggregateOp::Quantile,
        AggregateOp::Limitk,
        AggregateOp::LimitRatio,
    ];

    /// As PromQL writes it.
    pub fn name(self) -> &'static str {
        match self {
            AggregateOp::Sum => "sum",
            AggregateOp::Avg => "avg",
            AggregateOp::Count => "count",
            AggregateOp::Min => "min",
            AggregateOp::Max => "max",
            AggregateOp::Group => "group",
            AggregateOp::Stddev => "stddev",
            AggregateOp::Stdvar => "stdvar",
            AggregateOp::Topk => "topk",
            AggregateOp::Bottomk => "bottomk",
            AggregateOp::CountValues => "count_values",
            AggregateOp::Quantile => "quantile",
            AggregateOp::Limitk => "limitk",
            AggregateOp::LimitRatio => "limit_ratio",
        }
    }

    /// By its name in lower case.
    pub(crate) fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|op| op.name() == name)
    }

    /// Whether it takes a parameter before the vector.
    pub fn has_param(self) -> bool {
        matches!(
            self,
            AggregateOp::Topk
                | AggregateOp::Bottomk
                | AggregateOp::CountValues
                | AggregateOp::Quantile
                | AggregateOp::Limitk
                | AggregateOp::LimitRatio
        )
    }

    /// Whether it has to be switched on.
    pub fn is_experimental(self) -> bool {
        matches!(self, AggregateOp::Limitk | AggregateOp::LimitRatio)
    }
}

impl Expr {
    /// Where it stands.
    pub fn span(&self) -> Span {
        match self {
            Expr::Number(node) => node.span,
            Expr::String(node) => node.span,
            Expr::Vector(node) => node.span,
            Expr::Matrix(node) => node.span,
            Expr::Subquery(node) => node.span,
            Expr::Call(node) => node.span,
            Expr::Aggregate(node) => node.span,
            Expr::Binary(node) => node.span,
            Expr::Unary(node) => node.span,
            Expr::Paren(node) => node.span,
        }
    }

    /// What it evaluates to.
    pub fn value_type(&self) -> ValueType {
        let mut expr = self;
        loop {
            return match expr {
                Expr::Number(_) => ValueType::Scalar,
                Expr::String(_) => ValueType::String,
                Expr::Vector(_) | Expr::Aggregate(_) => ValueType::Vector,
                Expr::Matrix(_) | Expr::Subquery(_) => ValueType::Matrix,
                Expr::Call(call) => call.function.returns,
                Expr::Binary(binary) => binary.value_type,
                Expr::Unary(unary) => {
                    expr = &unary.expr;
                    continue;
                }
                Expr::Paren(paren) => {
                    expr = &paren.expr;
                    continue;
                }
            };
        }
    }

    /// The expression inside any parentheses around it.
    pub fn without_parens(&self) -> &Expr {
        let mut expr = self;
        while let Expr::Paren(paren) = expr {
            expr = &paren.expr;
        }
        expr
    }

    /// Direct operands and arguments, in the order of evaluation; a range selector's vector selector is not one.
    pub fn children(&self) -> Vec<&Expr> {
        match self {
            Expr::Number(_) | Expr::String(_) | Expr::Vector(_) | Expr::Matrix(_) => Vec::new(),
            Expr::Subquery(node) => vec![&node.expr],
            Expr::Call(node) => node.args.iter().collect(),
            Expr::Aggregate(node) => {
                let mut all: Vec<&Expr> = vec![&node.expr];
                all.extend(node.param.as_deref());
                all
            }
            Expr::Binary(node) => vec![&node.lhs, &node.rhs],
            Expr::Unary(node) => vec![&node.expr],
            Expr::Paren(node) => vec![&node.expr],
        }
    }

    /// All selectors in the expression, those of ranges included, from left to right.
    pub fn selectors(&self) -> Vec<&VectorSelector> {
        let mut found = Vec::new();
        let mut todo = vec![self];
        while let Some(expr) = todo.pop() {
            match expr {
                Expr::Vector(selector) => found.push(selector),
                Expr::Matrix(matrix) => found.push(&matrix.selector),
                other => todo.extend(other.children().into_iter().rev()),
            }
        }
        found.sort_by_key(|selector| selector.span.start);
        found
    }
}
