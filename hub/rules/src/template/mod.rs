//! The part of Go's `text/template` that Prometheus rule files use, with Prometheus's functions.
//!
//! Our own, because no Rust crate fits: the most complete one (`gotmpl` 0.6) wants functions that live for ever
//! (a rule's `query` borrows the evaluation), prints `<no value>` for a missing label where a Go
//! `map[string]string` gives nothing, has no methods on times, and bounds neither steps nor output.
//!
//! A [`Template`] is parsed once, when its rule file is loaded, and expanded for every alert. Error texts are
//! Go's, positions included, since people compare them with what their Prometheus says.
//!
//! Bounds: nesting of the source, depth of `template` calls, steps, bytes of output and of any string on the way.

mod ast;
mod builtins;
mod exec;
mod fmt;
mod functions;
mod lex;
mod link;
mod parse;
mod quote;
mod time;
mod value;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use model::{LabelSet, Timestamp};

pub use link::{graph_link, query_escape, table_link};

use value::{AlertData, SampleValue, Value};

/// What Prometheus puts before every template of an alert; it shows in the columns of error texts.
const DEFINITIONS: &str = "{{$labels := .Labels}}{{$externalLabels := .ExternalLabels}}\
{{$externalURL := .ExternalURL}}{{$value := .Value}}";

/// Why a template cannot be used, or not be expanded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// The text is not a template.
    #[error("template: {name}:{line}: {message}")]
    Parse {
        /// The template's name, `__alert_` and the alert's.
        name: String,
        /// Line within the text, from 1.
        line: usize,
        /// What was wrong, as Go says it.
        message: String,
    },
    /// It is one, but running it failed.
    #[error("template: {place}: executing {template:?} at <{node}>: {message}")]
    Execute {
        /// `name:line:column`.
        place: String,
        /// Which of the defined templates.
        template: String,
        /// The part of the source that failed.
        node: String,
        /// What was wrong, as Go says it.
        message: String,
    },
    /// A bound was reached: the template is not to be trusted with more.
    #[error("template: {name}: {message}")]
    Bound {
        /// The template's name.
        name: String,
        /// Which bound, and how much it allows.
        message: String,
    },
}

impl TemplateError {
    fn parse(name: &str, line: usize, message: impl Into<String>) -> Self {
        TemplateError::Parse {
            name: name.to_owned(),
            line,
            message: message.into(),
        }
    }
}

/// Answers `query` inside a template.
pub trait TemplateQuery {
    /// The instant vector of an expression; the time is the evaluation's. The error becomes part of the text.
    fn query(&mut self, expr: &str) -> Result<Vec<(LabelSet, model::Value)>, String>;
}

/// What is the same for all templates of an evaluation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExternalInfo {
    /// `$externalLabels`.
    pub labels: BTreeMap<String, String>,
    /// `$externalURL`, without a slash at the end: where people reach this hub.
    pub url: String,
}

/// A label or annotation value of an alerting rule.
#[derive(Debug)]
pub struct Template {
    name: String,
    /// With the definitions before it.
    source: String,
    parsed: Parsed,
}

#[derive(Debug)]
enum Parsed {
    /// No action in it: most labels are plain words.
    Plain(String),
    Actions(parse::Definitions),
}

impl Template {
    /// Parses a label or annotation of the alert named.
    ///
    /// # Errors
    /// [`TemplateError::Parse`], in Go's words.
    pub fn parse(alert: &str, text: &str) -> Result<Self, TemplateError> {
        let name = format!("__alert_{alert}");
        let source = format!("{DEFINITIONS}{text}");
        let parsed = if text.contains("{{") {
            Parsed::Actions(parse::parse(&name, &source)?)
        } else {
            Parsed::Plain(text.to_owned())
        };
        Ok(Template {
            name,
            source,
            parsed,
        })
    }

    /// Expands for one element of a rule's result. `labels` are the element's own, `now` the evaluation's time.
    ///
    /// # Errors
    /// [`TemplateError::Execute`] and [`TemplateError::Bound`].
    pub fn expand(
        &self,
        labels: &LabelSet,
        value: &model::Value,
        external: &ExternalInfo,
        now: Timestamp,
        query: &mut dyn TemplateQuery,
    ) -> Result<String, TemplateError> {
        let definitions = match &self.parsed {
            Parsed::Plain(text) => return Ok(text.clone()),
            Parsed::Actions(definitions) => definitions,
        };
        let data = Value::Alert(Arc::new(AlertData {
            labels: label_map(labels),
            external_labels: Arc::new(external.labels.clone()),
            external_url: external.url.as_str().into(),
            value: value_of(value),
        }));
        let source = exec::Source {
            name: &self.name,
            text: &self.source,
            definitions,
        };
        exec::run(
            &source,
            data,
            exec::Environment {
                external,
                now,
                query,
            },
        )
    }

    /// As [`Template::expand`], with Prometheus's text in place of what failed.
    pub fn expand_or_explain(
        &self,
        labels: &LabelSet,
        value: &model::Value,
        external: &ExternalInfo,
        now: Timestamp,
        query: &mut dyn TemplateQuery,
    ) -> String {
        self.expand(labels, value, external, now, query)
            .unwrap_or_else(|error| {
                let name = &self.name;
                format!("<error expanding template: error executing template {name}: {error}>")
            })
    }
}

fn label_map(labels: &LabelSet) -> value::Labels {
    Arc::new(
        labels
            .iter()
            .map(|(n, v)| (n.to_owned(), v.to_owned()))
            .collect(),
    )
}

fn value_of(value: &model::Value) -> Value {
    match value {
        model::Value::Float(f) => Value::Float(*f),
        model::Value::Histogram(h) => Value::Histogram(Arc::clone(h)),
    }
}

fn samples(result: Vec<(LabelSet, model::Value)>) -> Value {
    let sample = |(labels, value): (LabelSet, model::Value)| {
        Arc::new(SampleValue {
            labels: label_map(&labels),
            value: value_of(&value),
        })
    };
    Value::Samples(result.into_iter().map(sample).collect())
}
