//! Writes an expression back as text: on one line, or over several where a line would get too long. What is
//! written reads back as the same expression.

use std::fmt::{self, Display, Formatter, Write};
use std::time::Duration;

use model::{METRIC_NAME, MatchOp, Matcher, is_legacy_label_name};

use crate::ast::{
    Aggregate, At, Binary, Cardinality, DurationExpr, DurationOp, DurationOperation, Expr,
    MatrixSelector, NumberLiteral, RangeMode, SignedDuration, Subquery, VectorMatching,
    VectorSelector,
};
use crate::stack::deep;
use crate::text::{format_float, format_general, quote, quote_bytes};

impl Display for Expr {
    /// On one line, as Prometheus prints it.
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        deep(|| match self {
            Expr::Number(number) => number.fmt(f),
            Expr::String(string) => {
                let bytes = string.raw.as_deref().unwrap_or(string.value.as_bytes());
                f.write_str(&quote_bytes(bytes))
            }
            Expr::Vector(selector) => selector.fmt(f),
            Expr::Matrix(matrix) => matrix.fmt(f),
            Expr::Subquery(subquery) => {
                write!(f, "{}{}", subquery.expr, SubquerySuffix(subquery))
            }
            Expr::Call(call) => {
                write!(f, "{}(", call.function.name)?;
                write_separated(f, &call.args)?;
                f.write_str(")")
            }
            Expr::Aggregate(aggregate) => {
                write!(f, "{}(", AggregateHead(aggregate))?;
                if let Some(param) = &aggregate.param {
                    write!(f, "{param}, ")?;
                }
                write!(f, "{})", aggregate.expr)
            }
            Expr::Binary(binary) => {
                write!(
                    f,
                    "{} {} {}",
                    binary.lhs,
                    BinaryOperator(binary),
                    binary.rhs
                )
            }
            Expr::Unary(unary) => {
                write!(
                    f,
                    "{}{}",
                    if unary.negative { "-" } else { "+" },
                    unary.expr
                )
            }
            Expr::Paren(paren) => write!(f, "({})", paren.expr),
        })
    }
}

impl Display for NumberLiteral {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if !self.is_duration {
            return f.write_str(&format_float(self.value));
        }
        if self.value < 0.0 {
            f.write_str("-")?;
        }
        let nanos = (self.value.abs() * 1e9) as u64;
        f.write_str(&model::duration::format(Duration::from_nanos(nanos)))
    }
}

impl Display for SignedDuration {
    /// `-1h30m`
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if self.nanos() < 0 {
            f.write_str("-")?;
        }
        let nanos = self.nanos().unsigned_abs();
        f.write_str(&model::duration::format(Duration::from_nanos(nanos)))
    }
}

impl Display for VectorSelector {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write_selection(f, self)?;
        write_at(f, self.at)?;
        write_mode(f, self.mode)?;
        write_offset(f, self.offset, self.offset_expr.as_deref())
    }
}

impl Display for MatrixSelector {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let selector = &self.selector;
        write_selection(f, selector)?;
        f.write_str("[")?;
        write_duration(f, self.range, self.range_expr.as_deref())?;
        f.write_str("]")?;
        write_mode(f, selector.mode)?;
        write_at(f, selector.at)?;
        write_offset(f, selector.offset, selector.offset_expr.as_deref())
    }
}

struct SubquerySuffix<'a>(&'a Subquery);

impl Display for SubquerySuffix<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let subquery = self.0;
        f.write_str("[")?;
        write_duration(f, subquery.range, subquery.range_expr.as_deref())?;
        f.write_str(":")?;
        if !subquery.step.is_zero() || subquery.step_expr.is_some() {
            write_duration(f, subquery.step, subquery.step_expr.as_deref())?;
        }
        f.write_str("]")?;
        write_at(f, subquery.at)?;
        write_offset(f, subquery.offset, subquery.offset_expr.as_deref())
    }
}

impl Display for DurationExpr {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        deep(|| match self {
            DurationExpr::Number(number) => number.fmt(f),
            DurationExpr::Operation(operation) => operation.fmt(f),
        })
    }
}

impl Display for DurationOperation {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if self.wrapped {
            f.write_str("(")?;
        }
        let symbol = self.op.symbol();
        match (&self.lhs, &self.rhs) {
            (Some(lhs), Some(rhs)) if matches!(self.op, DurationOp::MinOf | DurationOp::MaxOf) => {
                write!(f, "{symbol}({lhs}, {rhs})")?;
            }
            (Some(lhs), Some(rhs)) => write!(f, "{lhs} {symbol} {rhs}")?,
            (None, Some(rhs)) if self.op == DurationOp::Add => write!(f, "{rhs}")?,
            (None, Some(rhs)) => write!(f, "{symbol}{rhs}")?,
            (_, None) => write!(f, "{symbol}()")?,
        }
        if self.wrapped {
            f.write_str(")")?;
        }
        Ok(())
    }
}

/// `sum by (a) `, without a blank behind a bare name.
struct AggregateHead<'a>(&'a Aggregate);

impl Display for AggregateHead<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let aggregate = self.0;
        f.write_str(aggregate.op.name())?;
        if aggregate.without {
            f.write_str(" without ")?;
        } else if !aggregate.grouping.is_empty() {
            f.write_str(" by ")?;
        } else {
            return Ok(());
        }
        write_labels(f, &aggregate.grouping)?;
        f.write_str(" ")
    }
}

/// The operator with everything that stands between the operands.
struct BinaryOperator<'a>(&'a Binary);

impl Display for BinaryOperator<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.op.symbol())?;
        if self.0.return_bool {
            f.write_str(" bool")?;
        }
        match &self.0.matching {
            Some(matching) => write_matching(f, matching),
            None => Ok(()),
        }
    }
}

fn write_matching(f: &mut Formatter<'_>, matching: &VectorMatching) -> fmt::Result {
    let grouping = match matching.cardinality {
        Cardinality::ManyToOne => " group_left ",
        Cardinality::OneToMany => " group_right ",
        Cardinality::OneToOne | Cardinality::ManyToMany => "",
    };
    if !matching.labels.is_empty() || matching.on || !grouping.is_empty() {
        f.write_str(if matching.on { " on " } else { " ignoring " })?;
        write_labels(f, &matching.labels)?;
    }
    if !grouping.is_empty() {
        f.write_str(grouping)?;
        write_labels(f, &matching.include)?;
    }
    match (matching.fill_left, matching.fill_right) {
        (Some(left), Some(right)) if left == right => {
            write!(f, " fill ({})", format_general(left))
        }
        (left, right) => {
            if let Some(left) = left {
                write!(f, " fill_left ({})", format_general(left))?;
            }
            if let Some(right) = right {
                write!(f, " fill_right ({})", format_general(right))?;
            }
            Ok(())
        }
    }
}

fn write_labels(f: &mut Formatter<'_>, labels: &[String]) -> fmt::Result {
    f.write_str("(")?;
    for (at, label) in labels.iter().enumerate() {
        if at > 0 {
            f.write_str(", ")?;
        }
        if is_legacy_label_name(label) {
            f.write_str(label)?;
        } else {
            f.write_str(&quote(label))?;
        }
    }
    f.write_str(")")
}

fn write_separated(f: &mut Formatter<'_>, exprs: &[Expr]) -> fmt::Result {
    for (at, expr) in exprs.iter().enumerate() {
        if at > 0 {
            f.write_str(", ")?;
        }
        expr.fmt(f)?;
    }
    Ok(())
}

/// Name and matchers, without modifiers.
fn write_selection(f: &mut Formatter<'_>, selector: &VectorSelector) -> fmt::Result {
    let name = selector.name.as_deref().unwrap_or("");
    f.write_str(name)?;
    let is_name = |m: &Matcher| {
        m.name() == METRIC_NAME && m.op() == MatchOp::Equal && m.value() == name && !name.is_empty()
    };
    let mut texts: Vec<String> = selector
        .matchers
        .iter()
        .filter(|m| !is_name(m))
        .map(format_matcher)
        .collect();
    if texts.is_empty() {
        return Ok(());
    }
    texts.sort_unstable();
    write!(f, "{{{}}}", texts.join(","))
}

/// `name=~"value"`
pub(crate) fn format_matcher(matcher: &Matcher) -> String {
    let name = if is_legacy_label_name(matcher.name()) {
        matcher.name().to_owned()
    } else {
        quote(matcher.name())
    };
    format!("{name}{}{}", matcher.op().symbol(), quote(matcher.value()))
}

fn write_at(f: &mut Formatter<'_>, at: Option<At>) -> fmt::Result {
    match at {
        None => Ok(()),
        Some(At::Start) => f.write_str(" @ start()"),
        Some(At::End) => f.write_str(" @ end()"),
        Some(At::Time(millis)) => write!(f, " @ {:.3}", millis as f64 / 1000.0),
    }
}

fn write_mode(f: &mut Formatter<'_>, mode: RangeMode) -> fmt::Result {
    f.write_str(match mode {
        RangeMode::Plain => "",
        RangeMode::Anchored => " anchored",
        RangeMode::Smoothed => " smoothed",
    })
}

fn write_offset(
    f: &mut Formatter<'_>,
    offset: SignedDuration,
    expr: Option<&DurationExpr>,
) -> fmt::Result {
    match expr {
        Some(expr) => write!(f, " offset {expr}"),
        None if offset.is_zero() => Ok(()),
        None => write!(f, " offset {offset}"),
    }
}

fn write_duration(
    f: &mut Formatter<'_>,
    fixed: SignedDuration,
    expr: Option<&DurationExpr>,
) -> fmt::Result {
    match expr {
        Some(expr) => expr.fmt(f),
        None => fixed.fmt(f),
    }
}

/// The expression over several lines where a line would be longer than 100 bytes, indented by two blanks a level:
/// what `/api/v1/format_query` answers.
pub fn pretty(expr: &Expr) -> String {
    let mut out = String::new();
    write_pretty(&mut out, expr, 0);
    out
}

/// Longest line that is not split.
const LINE_BYTES_MAX: usize = 100;

fn write_pretty(out: &mut String, expr: &Expr, level: usize) {
    deep(|| match expr {
        Expr::Subquery(subquery) => {
            if is_long(expr) {
                write_pretty(out, &subquery.expr, level);
                let _ = write!(out, "{}", SubquerySuffix(subquery));
            } else {
                // Prometheus leaves out the indent here.
                let _ = write!(out, "{expr}");
            }
        }
        Expr::Unary(unary) => {
            let mut operand = String::new();
            write_pretty(&mut operand, &unary.expr, level);
            indent(out, level);
            out.push(if unary.negative { '-' } else { '+' });
            out.push_str(operand.trim());
        }
        Expr::Binary(binary) if is_long(expr) => {
            write_pretty(out, &binary.lhs, level + 1);
            out.push('\n');
            indent(out, level);
            let _ = writeln!(out, "{}", BinaryOperator(binary));
            write_pretty(out, &binary.rhs, level + 1);
        }
        Expr::Aggregate(aggregate) if is_long(expr) => {
            indent(out, level);
            let _ = writeln!(out, "{}(", AggregateHead(aggregate));
            if let Some(param) = &aggregate.param {
                write_pretty(out, param, level + 1);
                out.push_str(",\n");
            }
            write_pretty(out, &aggregate.expr, level + 1);
            out.push('\n');
            indent(out, level);
            out.push(')');
        }
        Expr::Call(call) if is_long(expr) => {
            indent(out, level);
            let _ = writeln!(out, "{}(", call.function.name);
            for (at, arg) in call.args.iter().enumerate() {
                if at > 0 {
                    out.push_str(",\n");
                }
                write_pretty(out, arg, level + 1);
            }
            out.push('\n');
            indent(out, level);
            out.push(')');
        }
        Expr::Paren(paren) if is_long(expr) => {
            indent(out, level);
            out.push_str("(\n");
            write_pretty(out, &paren.expr, level + 1);
            out.push('\n');
            indent(out, level);
            out.push(')');
        }
        other => {
            indent(out, level);
            let _ = write!(out, "{other}");
        }
    });
}

fn indent(out: &mut String, level: usize) {
    for _ in 0..level {
        out.push_str("  ");
    }
}

/// Whether the expression needs more than one line; stops printing as soon as it knows.
fn is_long(expr: &Expr) -> bool {
    struct Room(usize);
    impl Write for Room {
        fn write_str(&mut self, text: &str) -> fmt::Result {
            self.0 = self.0.checked_sub(text.len()).ok_or(fmt::Error)?;
            Ok(())
        }
    }
    write!(Room(LINE_BYTES_MAX), "{expr}").is_err()
}
