//! The syntax tree as JSON: what `/api/v1/parse_query` answers. Written by hand, since the crate knows no outside
//! format but this one.

use std::fmt::Write;

use crate::ast::{At, DurationExpr, Expr, NumberLiteral, RangeMode, VectorSelector};
use crate::functions::Function;
use crate::stack::deep;
use crate::text::format_float;

/// Why a tree cannot be written: JSON has no such number.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("json: unsupported value: {value}")]
pub struct AstJsonError {
    /// `NaN`, `+Inf` or `-Inf`.
    pub value: String,
}

type Written = Result<(), AstJsonError>;

/// The tree as a JSON text.
///
/// # Errors
/// A value to fill in that is no finite number; Prometheus has no JSON for that either.
pub fn ast_json(expr: &Expr) -> Result<String, AstJsonError> {
    let mut out = String::new();
    write_expr(&mut out, expr)?;
    Ok(out)
}

fn write_expr(out: &mut String, expr: &Expr) -> Written {
    deep(|| {
        match expr {
            Expr::Number(number) => write_number(out, number, false),
            Expr::String(string) => {
                out.push_str(r#"{"type":"stringLiteral","val":"#);
                write_text(out, &string.value);
                out.push('}');
            }
            Expr::Vector(selector) => {
                out.push_str(r#"{"type":"vectorSelector""#);
                write_selector(out, selector);
                out.push('}');
            }
            Expr::Matrix(matrix) => {
                out.push_str(r#"{"type":"matrixSelector""#);
                write_selector(out, &matrix.selector);
                let _ = write!(out, r#","range":{}"#, matrix.range.millis());
                write_duration(out, "rangeExpr", matrix.range_expr.as_deref());
                out.push('}');
            }
            Expr::Subquery(subquery) => {
                out.push_str(r#"{"type":"subquery","expr":"#);
                write_expr(out, &subquery.expr)?;
                for (name, duration, expr) in [
                    ("range", subquery.range, &subquery.range_expr),
                    ("step", subquery.step, &subquery.step_expr),
                    ("offset", subquery.offset, &subquery.offset_expr),
                ] {
                    let _ = write!(out, r#","{name}":{}"#, duration.millis());
                    write_duration(out, &format!("{name}Expr"), expr.as_deref());
                }
                write_at(out, subquery.at);
                out.push('}');
            }
            Expr::Call(call) => {
                out.push_str(r#"{"type":"call","func":"#);
                write_function(out, call.function);
                out.push_str(r#","args":["#);
                for (at, arg) in call.args.iter().enumerate() {
                    out.push_str(if at > 0 { "," } else { "" });
                    write_expr(out, arg)?;
                }
                out.push_str("]}");
            }
            Expr::Aggregate(aggregate) => {
                let (op, without) = (aggregate.op.name(), aggregate.without);
                let _ = write!(
                    out,
                    r#"{{"type":"aggregation","op":"{op}","without":{without},"grouping":"#
                );
                write_texts(out, &aggregate.grouping);
                out.push_str(r#","expr":"#);
                write_expr(out, &aggregate.expr)?;
                out.push_str(r#","param":"#);
                match &aggregate.param {
                    Some(param) => write_expr(out, param)?,
                    None => out.push_str("null"),
                }
                out.push('}');
            }
            Expr::Binary(binary) => {
                let (op, returns_bool) = (binary.op.symbol(), binary.return_bool);
                let _ = write!(
                    out,
                    r#"{{"type":"binaryExpr","op":"{op}","bool":{returns_bool},"matching":"#
                );
                match &binary.matching {
                    None => out.push_str("null"),
                    Some(matching) => {
                        let card = matching.cardinality.name();
                        let on = matching.on;
                        let _ = write!(out, r#"{{"card":"{card}","on":{on},"labels":"#);
                        write_texts(out, &matching.labels);
                        out.push_str(r#","include":"#);
                        write_texts(out, &matching.include);
                        out.push_str(r#","fillValues":{"lhs":"#);
                        write_fill(out, matching.fill_left)?;
                        out.push_str(r#","rhs":"#);
                        write_fill(out, matching.fill_right)?;
                        out.push_str("}}");
                    }
                }
                out.push_str(r#","lhs":"#);
                write_expr(out, &binary.lhs)?;
                out.push_str(r#","rhs":"#);
                write_expr(out, &binary.rhs)?;
                out.push('}');
            }
            Expr::Unary(unary) => {
                let op = if unary.negative { '-' } else { '+' };
                let _ = write!(out, r#"{{"type":"unaryExpr","op":"{op}","expr":"#);
                write_expr(out, &unary.expr)?;
                out.push('}');
            }
            Expr::Paren(paren) => {
                out.push_str(r#"{"type":"parenExpr","expr":"#);
                write_expr(out, &paren.expr)?;
                out.push('}');
            }
        }
        Ok(())
    })
}

/// Inside durations a number also says whether it was written as one.
fn write_number(out: &mut String, number: &NumberLiteral, in_duration: bool) {
    let value = format_float(number.value);
    let _ = write!(out, r#"{{"type":"numberLiteral","val":"{value}""#);
    if in_duration {
        let _ = write!(out, r#","duration":{}"#, number.is_duration);
    }
    out.push('}');
}

/// All fields of a selector, each behind a comma.
fn write_selector(out: &mut String, selector: &VectorSelector) {
    out.push_str(r#","name":"#);
    write_text(out, selector.name.as_deref().unwrap_or_default());
    out.push_str(r#","matchers":["#);
    for (at, matcher) in selector.matchers.iter().enumerate() {
        out.push_str(if at > 0 { "," } else { "" });
        out.push_str(r#"{"name":"#);
        write_text(out, matcher.name());
        let _ = write!(out, r#","type":"{}","value":"#, matcher.op().symbol());
        write_text(out, matcher.value());
        out.push('}');
    }
    let _ = write!(out, r#"],"offset":{}"#, selector.offset.millis());
    write_duration(out, "offsetExpr", selector.offset_expr.as_deref());
    write_at(out, selector.at);
    let _ = write!(
        out,
        r#","anchored":{},"smoothed":{}"#,
        selector.mode == RangeMode::Anchored,
        selector.mode == RangeMode::Smoothed
    );
}

fn write_at(out: &mut String, at: Option<At>) {
    let (timestamp, border) = match at {
        Some(At::Time(millis)) => (millis.to_string(), "null"),
        Some(At::Start) => ("null".to_owned(), r#""start""#),
        Some(At::End) => ("null".to_owned(), r#""end""#),
        None => ("null".to_owned(), "null"),
    };
    let _ = write!(out, r#","timestamp":{timestamp},"startOrEnd":{border}"#);
}

fn write_duration(out: &mut String, name: &str, expr: Option<&DurationExpr>) {
    let _ = write!(out, r#","{name}":"#);
    write_duration_expr(out, expr);
}

fn write_duration_expr(out: &mut String, expr: Option<&DurationExpr>) {
    deep(|| match expr {
        None => out.push_str("null"),
        Some(DurationExpr::Number(number)) => write_number(out, number, true),
        Some(DurationExpr::Operation(operation)) => {
            let (op, wrapped) = (operation.op.symbol(), operation.wrapped);
            let _ = write!(
                out,
                r#"{{"type":"durationExpr","op":"{op}","wrapped":{wrapped},"lhs":"#
            );
            write_duration_expr(out, operation.lhs.as_deref());
            out.push_str(r#","rhs":"#);
            write_duration_expr(out, operation.rhs.as_deref());
            out.push('}');
        }
    });
}

fn write_function(out: &mut String, function: &Function) {
    let types: Vec<String> = function
        .args
        .iter()
        .map(|arg| format!("\"{}\"", arg.name()))
        .collect();
    let _ = write!(
        out,
        r#"{{"name":"{}","argTypes":[{}],"variadic":{},"returnType":"{}"}}"#,
        function.name,
        types.join(","),
        function.variadic,
        function.returns.name()
    );
}

fn write_fill(out: &mut String, value: Option<f64>) -> Written {
    match value {
        None => out.push_str("null"),
        Some(value) if value.is_finite() => out.push_str(&format_float(value)),
        Some(value) => {
            let value = format_float(value);
            return Err(AstJsonError { value });
        }
    }
    Ok(())
}

fn write_texts(out: &mut String, texts: &[String]) {
    out.push('[');
    for (at, text) in texts.iter().enumerate() {
        out.push_str(if at > 0 { "," } else { "" });
        write_text(out, text);
    }
    out.push(']');
}

fn write_text(out: &mut String, text: &str) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c < ' ' => {
                let _ = write!(out, "\\u{:04x}", c as u32);
            }
            c => out.push(c),
        }
    }
    out.push('"');
}
