//! The functions that every Go template has.

use std::cmp::Ordering;
use std::fmt::Write as _;
use std::sync::Arc;

use super::fmt::sprintf;
use super::functions::Signature;
use super::link::query_escape;
use super::value::{Type, Value};

/// None if there is no such function.
pub(super) fn signature(name: &str) -> Option<Signature> {
    use Type::{Any, String};
    let (fixed, more): (&'static [Type], bool) = match name {
        "and" | "or" | "eq" | "index" | "slice" | "call" => (&[Any], true),
        "ne" | "lt" | "le" | "gt" | "ge" => (&[Any, Any], false),
        "not" | "len" => (&[Any], false),
        "print" | "println" | "html" | "js" | "urlquery" => (&[], true),
        "printf" => (&[String], true),
        _ => return None,
    };
    Some(Signature {
        fixed,
        variadic: more.then_some(Any),
    })
}

pub(super) fn call(name: &str, args: &[Value]) -> Result<Value, String> {
    let string = |s: String| Ok(Value::string(s));
    match name {
        "not" => Ok(Value::Bool(!args[0].truth())),
        "len" => length(&args[0]),
        "index" => index(args),
        "slice" => slice(args),
        "print" => string(print(args, false)),
        "println" => string(print(args, true)),
        "printf" => match &args[0] {
            Value::String(format) => string(sprintf(format, &args[1..])),
            _ => Err("printf needs a format".to_owned()),
        },
        "html" => string(html(&evaluated(args))),
        "js" => string(js(&evaluated(args))),
        "urlquery" => string(query_escape(&evaluated(args))),
        "call" => Err(match &args[0] {
            Value::Nil => "call of nil".to_owned(),
            other => format!(
                "non-function {} of type {}",
                other.format_v(),
                other.type_name()
            ),
        }),
        "eq" => {
            if args.len() < 2 {
                return Err("missing argument for comparison".to_owned());
            }
            for other in &args[1..] {
                if equal(&args[0], other)? {
                    return Ok(Value::Bool(true));
                }
            }
            Ok(Value::Bool(false))
        }
        "ne" => Ok(Value::Bool(!equal(&args[0], &args[1])?)),
        "lt" => Ok(Value::Bool(
            compare(&args[0], &args[1])? == Some(Ordering::Less),
        )),
        "gt" => Ok(Value::Bool(
            compare(&args[0], &args[1])? == Some(Ordering::Greater),
        )),
        "le" => Ok(Value::Bool(matches!(
            compare(&args[0], &args[1])?,
            Some(Ordering::Less | Ordering::Equal)
        ))),
        "ge" => Ok(Value::Bool(matches!(
            compare(&args[0], &args[1])?,
            Some(Ordering::Greater | Ordering::Equal)
        ))),
        _ => Err(format!("{name:?} is not a defined function")),
    }
}

const INCOMPATIBLE: &str = "incompatible types for comparison";
const INVALID: &str = "invalid type for comparison";

fn equal(a: &Value, b: &Value) -> Result<bool, String> {
    match (a, b) {
        (Value::Nil, Value::Nil) => Ok(true),
        (Value::Nil, _) | (_, Value::Nil) => Ok(false),
        (Value::Bool(a), Value::Bool(b)) => Ok(a == b),
        (Value::Int(a), Value::Int(b)) => Ok(a == b),
        (Value::Float(a), Value::Float(b)) => Ok(a == b),
        (Value::String(a), Value::String(b)) => Ok(a == b),
        (Value::Labels(_) | Value::Map(_) | Value::Samples(_), _)
        | (_, Value::Labels(_) | Value::Map(_) | Value::Samples(_)) => Err(format!(
            "non-comparable type {}: {}",
            a.format_v(),
            a.type_name()
        )),
        (Value::Time(a), Value::Time(b)) => Ok(a == b),
        (Value::Duration(a), Value::Duration(b)) => Ok(a == b),
        (Value::Sample(a), Value::Sample(b)) => Ok(Arc::ptr_eq(a, b)),
        _ => Err(INCOMPATIBLE.to_owned()),
    }
}

/// None: one of them is NaN.
fn compare(a: &Value, b: &Value) -> Result<Option<Ordering>, String> {
    match (a, b) {
        (Value::Int(a), Value::Int(b)) => Ok(Some(a.cmp(b))),
        (Value::Float(a), Value::Float(b)) => Ok(a.partial_cmp(b)),
        (Value::String(a), Value::String(b)) => Ok(Some(a.cmp(b))),
        (Value::Duration(a), Value::Duration(b)) => Ok(a.partial_cmp(b)),
        (Value::Int(_) | Value::Float(_) | Value::String(_), _) => Err(INCOMPATIBLE.to_owned()),
        _ => Err(INVALID.to_owned()),
    }
}

fn length(value: &Value) -> Result<Value, String> {
    let n = match value {
        Value::String(s) => s.len(),
        Value::Labels(m) => m.len(),
        Value::Map(m) => m.entries.len(),
        Value::Samples(s) => s.len(),
        Value::Nil => return Err("len of nil pointer".to_owned()),
        other => return Err(format!("len of type {}", other.type_name())),
    };
    Ok(Value::Int(i64::try_from(n).unwrap_or(i64::MAX)))
}

fn position(i: &Value, len: usize) -> Result<usize, String> {
    match i {
        Value::Int(n) => usize::try_from(*n)
            .ok()
            .filter(|n| *n < len)
            .ok_or_else(|| format!("index out of range: {n}")),
        Value::Nil => Err("cannot index slice/array with nil".to_owned()),
        other => Err(format!(
            "cannot index slice/array with type {}",
            other.type_name()
        )),
    }
}

fn index(args: &[Value]) -> Result<Value, String> {
    let mut value = args[0].clone();
    for i in &args[1..] {
        value = match (&value, i) {
            (Value::Nil, _) => return Err("index of untyped nil".to_owned()),
            (Value::Labels(m), Value::String(key)) => {
                Value::string(m.get(key.as_ref()).map_or("", String::as_str))
            }
            (Value::Map(m), Value::String(key)) => {
                m.entries.get(key.as_ref()).cloned().unwrap_or(Value::Nil)
            }
            (Value::Labels(_) | Value::Map(_), other) => {
                return Err(format!(
                    "value has type {}; should be string",
                    other.type_name()
                ));
            }
            (Value::Samples(s), i) => Value::Sample(Arc::clone(&s[position(i, s.len())?])),
            (Value::String(s), i) => Value::Int(s.as_bytes()[position(i, s.len())?].into()),
            (other, _) => return Err(format!("can't index item of type {}", other.type_name())),
        };
    }
    Ok(value)
}

fn slice(args: &[Value]) -> Result<Value, String> {
    let len = match &args[0] {
        Value::String(s) => s.len(),
        Value::Samples(s) => s.len(),
        Value::Nil => return Err("slice of untyped nil".to_owned()),
        other => return Err(format!("can't slice item of type {}", other.type_name())),
    };
    if args.len() > 3 {
        return Err(match args[0] {
            Value::String(_) => "cannot 3-index slice a string".to_owned(),
            _ => format!("too many slice indexes: {}", args.len() - 1),
        });
    }
    let bound = |i: usize, default: usize| match args.get(i) {
        None => Ok(default),
        Some(v) => position(v, len + 1),
    };
    let (from, to) = (bound(1, 0)?, bound(2, len)?);
    if from > to {
        return Err(format!("invalid slice index: {from} > {to}"));
    }
    match &args[0] {
        Value::String(s) => match s.get(from..to) {
            Some(part) => Ok(Value::string(part)),
            None => Err("slice is not within whole characters".to_owned()),
        },
        Value::Samples(s) => Ok(Value::Samples(s[from..to].into())),
        _ => Ok(Value::Nil),
    }
}

/// `print` puts a blank between two operands when neither is a string, `println` always.
fn print(args: &[Value], line: bool) -> String {
    let mut out = String::new();
    let mut before_is_string = true;
    for (i, arg) in args.iter().enumerate() {
        let is_string = matches!(arg, Value::String(_));
        if i > 0 && (line || (!is_string && !before_is_string)) {
            out.push(' ');
        }
        out.push_str(&arg.format_v());
        before_is_string = is_string;
    }
    if line {
        out.push('\n');
    }
    out
}

/// What the escapers escape: all arguments as `print` shows them.
fn evaluated(args: &[Value]) -> String {
    match args {
        [Value::String(s)] => s.to_string(),
        [Value::Nil] => "<no value>".to_owned(),
        _ => print(args, false),
    }
}

fn html(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '"' => out.push_str("&#34;"),
            '\'' => out.push_str("&#39;"),
            '\0' => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

fn js(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '\'' => out.push_str("\\'"),
            '"' => out.push_str("\\\""),
            '<' | '>' | '&' | '=' => {
                let _ = write!(out, "\\u{:04X}", c as u32);
            }
            c if c.is_control() => {
                let _ = write!(out, "\\u{:04X}", c as u32);
            }
            c => out.push(c),
        }
    }
    out
}
