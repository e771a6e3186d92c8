//! What a template computes with: the few Go types that Prometheus's data and functions have.

use std::collections::BTreeMap;
use std::sync::Arc;

use model::Histogram;

use super::fmt::float_shortest;
use super::time::{GoDuration, GoTime};

/// An element of a query result, as a template sees it.
#[derive(Debug)]
pub(super) struct SampleValue {
    pub(super) labels: Labels,
    pub(super) value: Value,
}

/// Go's `map[string]string`; a missing key reads as the empty string.
pub(super) type Labels = Arc<BTreeMap<String, String>>;

/// The dot of an alert's templates.
#[derive(Debug)]
pub(super) struct AlertData {
    pub(super) labels: Labels,
    pub(super) external_labels: Labels,
    pub(super) external_url: Arc<str>,
    pub(super) value: Value,
}

/// Go's `map[string]interface{}`. Values nest only through this, so this is where nesting is bounded: a value
/// is shared when it is put in twice, but it is printed (and walked) twice.
#[derive(Debug)]
pub(super) struct MapValue {
    pub(super) entries: BTreeMap<String, Value>,
    depth: usize,
    size: usize,
}

impl MapValue {
    const DEPTH_MAX: usize = 16;
    const SIZE_MAX: usize = 10_000;

    /// None if it would nest too deep or hold too many values.
    pub(super) fn new(entries: BTreeMap<String, Value>) -> Option<Self> {
        let (mut depth, mut size) = (0, 1usize);
        for value in entries.values() {
            let (d, s) = match value {
                Value::Map(m) => (m.depth, m.size),
                _ => (0, 1),
            };
            depth = depth.max(d);
            size = size.saturating_add(s);
        }
        let map = MapValue {
            entries,
            depth: depth + 1,
            size,
        };
        (map.depth <= Self::DEPTH_MAX && map.size <= Self::SIZE_MAX).then_some(map)
    }
}

/// A value at run time.
#[derive(Clone, Debug)]
pub(super) enum Value {
    /// No value at all: a missing key of a map of anything, or the literal `nil`.
    Nil,
    Bool(bool),
    Int(i64),
    Float(f64),
    String(Arc<str>),
    Labels(Labels),
    /// What `args` makes.
    Map(Arc<MapValue>),
    Samples(Arc<[Arc<SampleValue>]>),
    Sample(Arc<SampleValue>),
    Histogram(Arc<Histogram>),
    Time(GoTime),
    Duration(GoDuration),
    Alert(Arc<AlertData>),
}

/// What a function wants for a parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Type {
    Any,
    String,
    Samples,
    Sample,
    Duration,
}

impl Type {
    /// Go's name of the type.
    pub(super) fn name(self) -> &'static str {
        match self {
            Type::Any => "interface {}",
            Type::String => "string",
            Type::Samples => "template.queryResult",
            Type::Sample => "*template.sample",
            Type::Duration => "time.Duration",
        }
    }

    /// Whether Go lets nil stand for a value of the type.
    pub(super) fn can_be_nil(self) -> bool {
        matches!(self, Type::Any | Type::Samples | Type::Sample)
    }

    pub(super) fn accepts(self, value: &Value) -> bool {
        matches!(
            (self, value),
            (Type::Any, _)
                | (Type::String, Value::String(_))
                | (Type::Samples, Value::Samples(_))
                | (Type::Sample, Value::Sample(_))
                | (Type::Duration, Value::Duration(_))
        )
    }
}

impl Value {
    pub(super) fn string(text: impl Into<Arc<str>>) -> Self {
        Value::String(text.into())
    }

    /// Go's name of the value's type, as error texts have it.
    pub(super) fn type_name(&self) -> &'static str {
        match self {
            Value::Nil => "<nil>",
            Value::Bool(_) => "bool",
            Value::Int(_) => "int",
            Value::Float(_) => "float64",
            Value::String(_) => "string",
            Value::Labels(_) => "map[string]string",
            Value::Map(_) => "map[string]interface {}",
            Value::Samples(_) => "template.queryResult",
            Value::Sample(_) => "*template.sample",
            Value::Histogram(_) => "*histogram.FloatHistogram",
            Value::Time(_) => "*time.Time",
            Value::Duration(_) => "*time.Duration",
            Value::Alert(_) => {
                "struct { Labels map[string]string; ExternalLabels map[string]string; ExternalURL string; Value interface {} }"
            }
        }
    }

    /// What `if`, `with`, `and`, `or` and `not` go by.
    pub(super) fn truth(&self) -> bool {
        match self {
            Value::Nil => false,
            Value::Bool(b) => *b,
            Value::Int(n) => *n != 0,
            Value::Float(f) => *f != 0.0,
            Value::String(s) => !s.is_empty(),
            Value::Labels(m) => !m.is_empty(),
            Value::Map(m) => !m.entries.is_empty(),
            Value::Samples(s) => !s.is_empty(),
            Value::Sample(_)
            | Value::Histogram(_)
            | Value::Time(_)
            | Value::Duration(_)
            | Value::Alert(_) => true,
        }
    }

    /// What `{{ value }}` prints.
    pub(super) fn print(&self) -> String {
        match self {
            Value::Nil => "<no value>".to_owned(),
            other => other.format_v(),
        }
    }

    /// Go's `%v`.
    pub(super) fn format_v(&self) -> String {
        match self {
            Value::Nil => "<nil>".to_owned(),
            Value::Bool(b) => b.to_string(),
            Value::Int(n) => n.to_string(),
            Value::Float(f) => float_shortest(*f),
            Value::String(s) => s.to_string(),
            Value::Labels(m) => map(m.iter().map(|(k, v)| (k, v.clone()))),
            Value::Map(m) => map(m.entries.iter().map(|(k, v)| (k, v.format_v()))),
            Value::Samples(s) => {
                let all: Vec<String> = s.iter().map(|s| sample(s)).collect();
                format!("[{}]", all.join(" "))
            }
            Value::Sample(s) => sample(s),
            Value::Histogram(h) => h.to_string(),
            Value::Time(t) => t.to_string(),
            Value::Duration(d) => d.to_string(),
            Value::Alert(a) => format!(
                "{{{} {} {} {}}}",
                Value::Labels(Arc::clone(&a.labels)).format_v(),
                Value::Labels(Arc::clone(&a.external_labels)).format_v(),
                a.external_url,
                a.value.format_v()
            ),
        }
    }
}

fn map<'a>(entries: impl Iterator<Item = (&'a String, String)>) -> String {
    let all: Vec<String> = entries.map(|(k, v)| format!("{k}:{v}")).collect();
    format!("map[{}]", all.join(" "))
}

fn sample(s: &SampleValue) -> String {
    format!(
        "{{{} {}}}",
        Value::Labels(Arc::clone(&s.labels)).format_v(),
        s.value.format_v()
    )
}
