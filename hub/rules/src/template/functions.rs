//! The functions that Prometheus adds to Go's, and the methods on times and durations.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use model::re2::Re2;

use super::builtins;
use super::exec::Environment;
use super::fmt::float;
use super::link::{graph_link, path_of, query_escape, table_link};
use super::time::{GoDuration, GoTime};
use super::value::{MapValue, Type, Value};

/// Parameters of a function; `variadic` is the type of any further ones.
#[derive(Clone, Copy)]
pub(super) struct Signature {
    pub(super) fixed: &'static [Type],
    pub(super) variadic: Option<Type>,
}

const fn fixed(fixed: &'static [Type]) -> Option<Signature> {
    Some(Signature {
        fixed,
        variadic: None,
    })
}

const fn variadic(fixed: &'static [Type]) -> Option<Signature> {
    Some(Signature {
        fixed,
        variadic: Some(Type::Any),
    })
}

/// As [`super::exec`] bounds strings; `reReplaceAll` can multiply them.
const REPLACED_BYTES_MAX: usize = 1 << 20;

pub(super) fn is_defined(name: &str) -> bool {
    signature(name).is_some()
}

/// None if there is no such function. `tmpl` exists in consoles only, as in Prometheus.
pub(super) fn signature(name: &str) -> Option<Signature> {
    use Type::{Any, Sample, Samples, String};
    match name {
        "query" => fixed(&[String]),
        "first" => fixed(&[Samples]),
        "label" => fixed(&[String, Sample]),
        "value" | "strvalue" => fixed(&[Sample]),
        "sortByLabel" => fixed(&[String, Samples]),
        "args" => variadic(&[]),
        "reReplaceAll" => fixed(&[String, String, String]),
        "match" => fixed(&[String, String]),
        "safeHtml" | "title" | "toUpper" | "toLower" | "graphLink" | "tableLink" | "stripPort"
        | "stripDomain" | "parseDuration" | "urlQueryEscape" => fixed(&[String]),
        "humanize" | "humanize1024" | "humanizeDuration" | "humanizePercentage"
        | "humanizeTimestamp" | "toTime" | "toDuration" => fixed(&[Any]),
        "now" | "pathPrefix" | "externalURL" => fixed(&[]),
        _ => builtins::signature(name),
    }
}

/// Calls a function whose arguments have been counted and checked against its signature.
pub(super) fn call(
    name: &str,
    args: Vec<Value>,
    env: &mut Environment<'_>,
) -> Result<Value, String> {
    let text = |i: usize| match args.get(i) {
        Some(Value::String(s)) => s.as_ref(),
        _ => "",
    };
    let string = |s: String| Ok(Value::string(s));
    match name {
        "query" => env.query.query(text(0)).map(super::samples),
        "first" => match &args[0] {
            Value::Samples(s) if !s.is_empty() => Ok(Value::Sample(Arc::clone(&s[0]))),
            _ => Err("first() called on vector with no elements".to_owned()),
        },
        "label" => match &args[1] {
            Value::Sample(s) => string(s.labels.get(text(0)).cloned().unwrap_or_default()),
            _ => Err(NIL.to_owned()),
        },
        "value" => match &args[0] {
            Value::Sample(s) => Ok(s.value.clone()),
            _ => Err(NIL.to_owned()),
        },
        "strvalue" => match &args[0] {
            Value::Sample(s) => string(s.labels.get("__value__").cloned().unwrap_or_default()),
            _ => Err(NIL.to_owned()),
        },
        "sortByLabel" => match &args[1] {
            Value::Samples(s) => {
                let mut sorted = s.to_vec();
                let key = text(0);
                sorted.sort_by(|a, b| a.labels.get(key).cmp(&b.labels.get(key)));
                Ok(Value::Samples(sorted.into()))
            }
            _ => Ok(Value::Samples(Arc::new([]))),
        },
        "args" => {
            let entries: BTreeMap<String, Value> = args
                .into_iter()
                .enumerate()
                .map(|(i, a)| (format!("arg{i}"), a))
                .collect();
            let map = MapValue::new(entries).ok_or("arguments nest too deep or are too many")?;
            Ok(Value::Map(Arc::new(map)))
        }
        "match" => Ok(Value::Bool(regex(text(0))?.is_match(text(1)))),
        "reReplaceAll" => re_replace_all(text(0), text(1), text(2)),
        "safeHtml" => Ok(args[0].clone()),
        "title" => string(title(text(0))),
        "toUpper" => string(model::letter_case::to_uppercase(text(0))),
        "toLower" => string(model::letter_case::to_lowercase(text(0))),
        "graphLink" => string(graph_link(text(0))),
        "tableLink" => string(table_link(text(0))),
        "urlQueryEscape" => string(query_escape(text(0))),
        "stripPort" => string(match split_host_port(text(0)) {
            Some((host, _)) => host.to_owned(),
            None => text(0).to_owned(),
        }),
        "stripDomain" => string(strip_domain(text(0))),
        "parseDuration" => parse_duration(text(0)).map(Value::Float),
        "humanize" => string(humanize(to_float(&args[0])?)),
        "humanize1024" => string(humanize_1024(to_float(&args[0])?)),
        "humanizeDuration" => string(humanize_duration(to_float(&args[0])?)),
        "humanizePercentage" => string(format!("{}%", g4(to_float(&args[0])? * 100.0))),
        "humanizeTimestamp" => {
            let seconds = to_float(&args[0])?;
            if !seconds.is_finite() {
                return string(g4(seconds));
            }
            string(GoTime::from_seconds(seconds)?.to_string())
        }
        "toTime" => GoTime::from_seconds(to_float(&args[0])?).map(Value::Time),
        "toDuration" => Ok(Value::Duration(GoDuration::from_seconds(to_float(
            &args[0],
        )?))),
        "now" => Ok(Value::Float(env.now.millis() as f64 / 1000.0)),
        "pathPrefix" => string(path_of(&env.external.url).to_owned()),
        "externalURL" => string(env.external.url.clone()),
        _ => builtins::call(name, &args),
    }
}

const NIL: &str = "runtime error: invalid memory address or nil pointer dereference";

fn regex(pattern: &str) -> Result<Re2, String> {
    Re2::new(pattern).map_err(|error| error.to_string())
}

fn re_replace_all(pattern: &str, with: &str, text: &str) -> Result<Value, String> {
    let regex = regex(pattern)?;
    let (mut out, mut end) = (String::new(), 0);
    for found in regex.captures_iter(text) {
        let Some(whole) = found.get(0) else { continue };
        out.push_str(&text[end..whole.start()]);
        regex.expand(with, &found, &mut out);
        end = whole.end();
        if out.len() > REPLACED_BYTES_MAX {
            return Err(format!("more than {REPLACED_BYTES_MAX} bytes"));
        }
    }
    out.push_str(&text[end..]);
    Ok(Value::string(out))
}

/// Numbers, and strings that are spelled like one.
fn to_float(value: &Value) -> Result<f64, String> {
    match value {
        Value::Float(f) => Ok(*f),
        Value::Int(n) => Ok(*n as f64),
        Value::Duration(d) => Ok(d.seconds()),
        Value::String(s) => go_float(s).ok_or_else(|| {
            format!(
                "strconv.ParseFloat: parsing {}: invalid syntax",
                super::quote::quote(s)
            )
        }),
        other => Err(format!("can't convert {} to float", other.type_name())),
    }
}

fn go_float(text: &str) -> Option<f64> {
    match text.to_ascii_lowercase().trim_start_matches(['+', '-']) {
        "inf" | "infinity" | "nan" => {}
        other if other.starts_with(|c: char| c.is_ascii_digit() || c == '.') => {}
        _ => return None,
    }
    text.parse().ok()
}

/// Go's `%.4g`.
fn g4(v: f64) -> String {
    float(v, 'g', Some(4))
}

const LARGE: [&str; 8] = ["k", "M", "G", "T", "P", "E", "Z", "Y"];
const LARGE_1024: [&str; 8] = ["ki", "Mi", "Gi", "Ti", "Pi", "Ei", "Zi", "Yi"];
const SMALL: [&str; 8] = ["m", "u", "n", "p", "f", "a", "z", "y"];

/// Divides by `base` until below it, and names what it was divided by.
fn large(mut v: f64, base: f64, prefixes: [&'static str; 8]) -> (f64, &'static str) {
    let mut prefix = "";
    for p in prefixes {
        if v.abs() < base {
            break;
        }
        prefix = p;
        v /= base;
    }
    (v, prefix)
}

fn small(mut v: f64) -> (f64, &'static str) {
    let mut prefix = "";
    for p in SMALL {
        if v.abs() >= 1.0 {
            break;
        }
        prefix = p;
        v *= 1000.0;
    }
    (v, prefix)
}

fn humanize(v: f64) -> String {
    if v == 0.0 || !v.is_finite() {
        return g4(v);
    }
    let (v, prefix) = if v.abs() >= 1.0 {
        large(v, 1000.0, LARGE)
    } else {
        small(v)
    };
    format!("{}{prefix}", g4(v))
}

fn humanize_1024(v: f64) -> String {
    if v.abs() <= 1.0 || !v.is_finite() {
        return g4(v);
    }
    let (v, prefix) = large(v, 1024.0, LARGE_1024);
    format!("{}{prefix}", g4(v))
}

fn humanize_duration(v: f64) -> String {
    if !v.is_finite() {
        return g4(v);
    }
    if v == 0.0 {
        return "0s".to_owned();
    }
    if v.abs() < 1.0 {
        let (v, prefix) = small(v);
        return format!("{}{prefix}s", g4(v));
    }
    let sign = if v < 0.0 { "-" } else { "" };
    let v = v.abs();
    let whole = v as i64;
    let (seconds, minutes, hours, days) = (
        whole % 60,
        whole / 60 % 60,
        whole / 3600 % 24,
        whole / 86_400,
    );
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{sign}{}s", g4(v)),
        (0, 0, _) => format!("{sign}{minutes}m {seconds}s"),
        (0, _, _) => format!("{sign}{hours}h {minutes}m {seconds}s"),
        _ => format!("{sign}{days}d {hours}h {minutes}m {seconds}s"),
    }
}

/// The first letter of every word in capitals; the other letters stay.
fn title(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut in_word = false;
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        if c.is_alphanumeric() || c == '_' {
            if in_word {
                out.push(c);
            } else {
                out.extend(c.to_uppercase());
            }
            in_word = true;
            continue;
        }
        // Between two letters, these do not end a word (`don't`, `node.example`).
        let joins = matches!(c, '\'' | '’' | '.' | ':' | '·')
            && in_word
            && chars.peek().is_some_and(|next| next.is_alphanumeric());
        in_word = joins;
        out.push(c);
    }
    out
}

/// Go's `net.SplitHostPort`; None where that is an error.
fn split_host_port(text: &str) -> Option<(&str, &str)> {
    let colon = text.rfind(':')?;
    let (host, port) = (&text[..colon], &text[colon + 1..]);
    let host = match host.strip_prefix('[') {
        Some(inner) => {
            let inner = inner.strip_suffix(']')?;
            if text.find(']')? + 1 != colon {
                return None;
            }
            inner
        }
        None if host.contains(':') => return None,
        None => host,
    };
    if host.contains(['[', ']']) || port.contains(['[', ']']) {
        return None;
    }
    Some((host, port))
}

fn strip_domain(text: &str) -> String {
    let (host, port) = split_host_port(text).unwrap_or((text, ""));
    if host.parse::<std::net::IpAddr>().is_ok() {
        return text.to_owned();
    }
    let host = host.split('.').next().unwrap_or_default();
    match port {
        "" => host.to_owned(),
        port if host.contains(':') => format!("[{host}]:{port}"),
        port => format!("{host}:{port}"),
    }
}

fn parse_duration(text: &str) -> Result<f64, String> {
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => (-1.0, digits),
        None => (1.0, text),
    };
    match model::duration::parse(digits) {
        Ok(d) => Ok(sign * d.as_secs_f64()),
        Err(_) if digits.is_empty() => Err("empty duration string".to_owned()),
        Err(_) => Err(format!(
            "not a valid duration string: {}",
            super::quote::quote(text)
        )),
    }
}

/// Methods of times and durations that templates can call.
pub(super) fn method(receiver: &Value, name: &str) -> Option<Signature> {
    use Type::{Duration, String};
    match receiver {
        Value::Time(_) => match name {
            "Format" => fixed(&[String]),
            "Add" => fixed(&[Duration]),
            "Unix" | "UnixMilli" | "UnixNano" | "String" | "UTC" | "Year" | "Month" | "Day"
            | "Hour" | "Minute" | "Second" | "Weekday" | "YearDay" => fixed(&[]),
            _ => None,
        },
        Value::Duration(_) => match name {
            "Hours" | "Minutes" | "Seconds" | "Milliseconds" | "Nanoseconds" | "String" => {
                fixed(&[])
            }
            "Round" | "Truncate" => fixed(&[Duration]),
            _ => None,
        },
        Value::Histogram(_) if name == "String" => fixed(&[]),
        _ => None,
    }
}

/// Calls what [`method`] knows.
pub(super) fn call_method(receiver: &Value, name: &str, args: &[Value]) -> Value {
    let by = match args.first() {
        Some(Value::Duration(d)) => *d,
        _ => GoDuration { nanos: 0 },
    };
    let text: Cow<'_, str> = match args.first() {
        Some(Value::String(s)) => Cow::Borrowed(s),
        _ => Cow::Borrowed(""),
    };
    match (receiver, name) {
        (Value::Time(t), "Format") => Value::string(t.format(&text)),
        (Value::Time(t), "Add") => Value::Time(t.add(by)),
        (Value::Time(t), "Unix") => Value::Int(t.unix()),
        (Value::Time(t), "UnixMilli") => Value::Int(t.unix_millis()),
        (Value::Time(t), "UnixNano") => Value::Int(t.unix_nanos()),
        (Value::Time(t), "Year") => Value::Int(t.year()),
        (Value::Time(t), "Month") => Value::string(t.month()),
        (Value::Time(t), "Day") => Value::Int(t.day()),
        (Value::Time(t), "Hour") => Value::Int(t.hour()),
        (Value::Time(t), "Minute") => Value::Int(t.minute()),
        (Value::Time(t), "Second") => Value::Int(t.second()),
        (Value::Time(t), "Weekday") => Value::string(t.weekday()),
        (Value::Time(t), "YearDay") => Value::Int(t.year_day()),
        (Value::Time(t), "UTC") => Value::Time(*t),
        (Value::Duration(d), "Hours") => Value::Float(d.seconds() / 3600.0),
        (Value::Duration(d), "Minutes") => Value::Float(d.seconds() / 60.0),
        (Value::Duration(d), "Seconds") => Value::Float(d.seconds()),
        (Value::Duration(d), "Milliseconds") => Value::Int(d.nanos / 1_000_000),
        (Value::Duration(d), "Nanoseconds") => Value::Int(d.nanos),
        (Value::Duration(d), "Round") => Value::Duration(d.round(by)),
        (Value::Duration(d), "Truncate") => Value::Duration(d.truncate(by)),
        (other, _) => Value::string(other.format_v()),
    }
}
