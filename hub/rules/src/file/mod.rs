//! Prometheus rule files: read, checked, and turned into rules that cannot be wrong any more.
//!
//! Everything is checked at load: keys, names, durations, expressions (parsed by `promql`) and templates. All that
//! is wrong is reported at once, in Prometheus's words, with the place in the file.

mod raw;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::time::Duration;

use model::{LabelSet, METRIC_NAME};
use promql::{Expr, ParseOptions};
use serde_saphyr::Spanned;

use crate::template::Template;
use raw::Text;

/// A rule file without errors.
#[derive(Debug)]
pub struct RuleFile {
    /// Path or other name; part of the identity of its groups.
    pub path: String,
    /// In the file's order; names differ.
    pub groups: Vec<GroupSpec>,
}

/// A group as it is configured.
#[derive(Debug)]
pub struct GroupSpec {
    /// Not empty, unique in its file.
    pub name: String,
    /// The file's path.
    pub file: String,
    /// None: the server's evaluation interval.
    pub interval: Option<Duration>,
    /// How far back the rules look and write; None: the server's.
    pub query_offset: Option<Duration>,
    /// Most series or alerts that one rule may make; None: no limit.
    pub limit: Option<usize>,
    /// In the file's order, which is the order of evaluation.
    pub rules: Vec<RuleSpec>,
}

/// A rule as it is configured.
#[derive(Debug)]
pub struct RuleSpec {
    /// The metric that it records, or the alert's name.
    pub name: String,
    /// What it evaluates.
    pub expr: Expr,
    /// The group's labels and its own; its own win. Values of alerting rules are templates.
    pub labels: BTreeMap<String, String>,
    /// What only one of the two kinds has.
    pub kind: RuleKind,
}

/// The two kinds of rules.
#[derive(Debug)]
pub enum RuleKind {
    /// `record:`
    Recording,
    /// `alert:`
    Alerting(AlertingSpec),
}

/// What only alerting rules have.
#[derive(Debug)]
pub struct AlertingSpec {
    /// `for`: how long an element has to be in the result before its alert fires.
    pub hold: Duration,
    /// How long an alert goes on firing after its element has left the result.
    pub keep_firing_for: Duration,
    /// As configured.
    pub annotations: BTreeMap<String, String>,
    /// Parsed values of the rule's labels, in the order of their names.
    pub(crate) label_templates: Vec<(String, Template)>,
    /// Parsed values of the annotations, in the order of their names.
    pub(crate) annotation_templates: Vec<(String, Template)>,
}

/// One thing that is wrong with a rule file. Line and column count from 1.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{file}:{line}:{column}: {message}")]
pub struct RuleFileError {
    /// The file's path.
    pub file: String,
    /// Where it stands.
    pub line: u64,
    /// Where it stands.
    pub column: u64,
    /// What is wrong, with group, rule and rule name where it is a rule's.
    pub message: String,
}

/// All that is wrong with a rule file; prints one line each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleFileErrors(pub Vec<RuleFileError>);

impl fmt::Display for RuleFileErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, error) in self.0.iter().enumerate() {
            if i > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{error}")?;
        }
        Ok(())
    }
}

impl std::error::Error for RuleFileErrors {}

impl RuleFile {
    /// Reads and checks the text of a rule file. `path` is for messages and for the groups' identity.
    ///
    /// # Errors
    /// Everything that is wrong; nothing of a file with errors is used.
    pub fn parse(path: &str, text: &str, options: &ParseOptions) -> Result<Self, RuleFileErrors> {
        let mut check = Check {
            path,
            options,
            errors: Vec::new(),
        };
        let raw = read(path, text).map_err(|error| RuleFileErrors(vec![error]))?;
        let mut names = HashSet::new();
        let mut groups = Vec::new();
        for group in raw.groups.unwrap_or_default() {
            let name = &group.value.name.0;
            if name.is_empty() {
                check.add(&group, "Groupname must not be empty".to_owned());
            }
            if !names.insert(name.clone()) {
                check.add(
                    &group,
                    format!("groupname: {name:?} is repeated in the same file"),
                );
            }
            groups.push(check.group(group.value));
        }
        if check.errors.is_empty() {
            Ok(RuleFile {
                path: path.to_owned(),
                groups,
            })
        } else {
            Err(RuleFileErrors(check.errors))
        }
    }

    /// Rules that have the same name and labels as another one of the file, each named once, as `promtool` lints.
    pub fn duplicates(&self) -> Vec<(String, BTreeMap<String, String>)> {
        let mut all: Vec<_> = (self.groups.iter().flat_map(|g| &g.rules))
            .map(|r| (r.name.clone(), r.labels.clone()))
            .collect();
        all.sort();
        let mut twice: Vec<_> = all
            .windows(2)
            .filter(|w| w[0] == w[1])
            .map(|w| w[0].clone())
            .collect();
        twice.dedup();
        twice
    }
}

impl GroupSpec {
    /// What tells groups apart: `file;name`.
    pub fn key(&self) -> String {
        format!("{};{}", self.file, self.name)
    }
}

fn read(path: &str, text: &str) -> Result<raw::File, RuleFileError> {
    let blank = |line: &str| {
        let line = line.trim();
        line.is_empty() || line.starts_with('#') || line == "---"
    };
    if text.lines().all(blank) {
        return Ok(raw::File::default());
    }
    serde_saphyr::from_str(text).map_err(|error| {
        let error = error.without_snippet();
        let (line, column) = error
            .location()
            .map_or((1, 1), |at| (at.line(), at.column()));
        let message = error.to_string();
        let message = message.lines().next().unwrap_or_default();
        // The place stands in front already.
        let message = message.split(" at line ").next().unwrap_or_default();
        let message = message.trim_end_matches([',', ' ']).to_owned();
        RuleFileError {
            file: path.to_owned(),
            line,
            column,
            message,
        }
    })
}

struct Check<'a> {
    path: &'a str,
    options: &'a ParseOptions,
    errors: Vec<RuleFileError>,
}

/// Where an error of a rule is shown, and how the rule is called.
struct Place {
    line: u64,
    column: u64,
    prefix: String,
}

impl Check<'_> {
    fn add<T>(&mut self, at: &Spanned<T>, message: String) {
        let (line, column) = (at.referenced.line(), at.referenced.column());
        self.errors.push(RuleFileError {
            file: self.path.to_owned(),
            line,
            column,
            message,
        });
    }

    fn add_rule(&mut self, place: &Place, message: impl fmt::Display) {
        let message = format!("{}{message}", place.prefix);
        let Place { line, column, .. } = *place;
        self.errors.push(RuleFileError {
            file: self.path.to_owned(),
            line,
            column,
            message,
        });
    }

    fn group(&mut self, group: raw::Group) -> GroupSpec {
        let mut group_labels = BTreeMap::new();
        for (name, value) in group.labels.unwrap_or_default() {
            if name.is_empty() || name == METRIC_NAME {
                self.add(&value, format!("invalid label name: {name}"));
            }
            group_labels.insert(name, value.value.0);
        }
        let rules = group.rules.unwrap_or_default();
        let rules = (rules.into_iter().enumerate())
            .filter_map(|(i, rule)| self.rule(&group.name.0, i + 1, rule, &group_labels))
            .collect();
        GroupSpec {
            name: group.name.0,
            file: self.path.to_owned(),
            interval: group.interval.map(|d| d.0).filter(|d| !d.is_zero()),
            query_offset: group.query_offset.map(|d| d.0),
            limit: group
                .limit
                .and_then(|n| usize::try_from(n).ok())
                .filter(|n| *n > 0),
            rules,
        }
    }

    /// None when something was wrong with it.
    fn rule(
        &mut self,
        group: &str,
        number: usize,
        rule: Spanned<raw::Rule>,
        group_labels: &BTreeMap<String, String>,
    ) -> Option<RuleSpec> {
        let before = self.errors.len();
        let at = rule.referenced;
        let rule = rule.value;
        let given = |text: &Option<Spanned<Text>>| {
            text.as_ref().map_or(String::new(), |t| t.value.0.clone())
        };
        let (record, alert, query) = (given(&rule.record), given(&rule.alert), given(&rule.expr));
        let name = if alert.is_empty() {
            record.clone()
        } else {
            alert.clone()
        };
        let prefix = format!("group {group:?}, rule {number}, {name:?}: ");
        let place = |text: &Option<Spanned<Text>>| {
            let at = text.as_ref().map_or(at, |t| t.referenced);
            Place {
                line: at.line(),
                column: at.column(),
                prefix: prefix.clone(),
            }
        };
        let whole = place(&None);

        if !record.is_empty() && !alert.is_empty() {
            self.add_rule(
                &place(&rule.record),
                "only one of 'record' and 'alert' must be set",
            );
        }
        if record.is_empty() && alert.is_empty() {
            self.add_rule(&whole, "one of 'record' or 'alert' must be set");
        }
        let mut expr = None;
        if query.is_empty() {
            self.add_rule(&whole, "field 'expr' must be set in rule");
        } else {
            match promql::parse(&query, self.options) {
                Ok(parsed) => expr = Some(parsed),
                Err(error) => {
                    self.add_rule(
                        &place(&rule.expr),
                        format!("could not parse expression: {error}"),
                    );
                }
            }
        }
        if !record.is_empty() {
            self.recording(&rule, &record, &place(&rule.record));
        }
        let own_labels = rule.labels.unwrap_or_default();
        for name in own_labels
            .keys()
            .filter(|n| n.is_empty() || *n == METRIC_NAME)
        {
            self.add_rule(
                &place(&own_labels.get(name).cloned()),
                format!("invalid label name: {name}"),
            );
        }
        let annotations = rule.annotations.unwrap_or_default();
        if let Some(value) = annotations.get("") {
            self.add_rule(&place(&Some(value.clone())), "invalid annotation name: ");
        }

        let mut labels = group_labels.clone();
        let mut label_templates = Vec::new();
        let mut annotation_templates = Vec::new();
        if alert.is_empty() {
            labels.extend(own_labels.into_iter().map(|(n, v)| (n, v.value.0)));
        } else {
            let mut template = |kind: &str, name: &str, text: &str, place: &Place| {
                Template::parse(&alert, text)
                    .map_err(|error| self.add_rule(place, format!("{kind} {name:?}: {error}")))
                    .ok()
                    .map(|t| (name.to_owned(), t))
            };
            for (name, value) in group_labels
                .iter()
                .filter(|(n, _)| !own_labels.contains_key(*n))
            {
                label_templates.extend(template("label", name, value, &whole));
            }
            for (name, value) in own_labels {
                let place = place(&Some(value.clone()));
                label_templates.extend(template("label", &name, &value.value.0, &place));
                labels.insert(name, value.value.0);
            }
            for (name, value) in &annotations {
                let place = place(&Some(value.clone()));
                annotation_templates.extend(template("annotation", name, &value.value.0, &place));
            }
            label_templates.sort_by(|a, b| a.0.cmp(&b.0));
        }
        if self.errors.len() > before {
            return None;
        }
        let kind = if alert.is_empty() {
            RuleKind::Recording
        } else {
            RuleKind::Alerting(AlertingSpec {
                hold: rule.hold.map_or(Duration::ZERO, |d| d.0),
                keep_firing_for: rule.keep_firing_for.map_or(Duration::ZERO, |d| d.0),
                annotations: annotations
                    .into_iter()
                    .map(|(n, v)| (n, v.value.0))
                    .collect(),
                label_templates,
                annotation_templates,
            })
        };
        Some(RuleSpec {
            name,
            expr: expr?,
            labels,
            kind,
        })
    }

    fn recording(&mut self, rule: &raw::Rule, record: &str, place: &Place) {
        if rule.annotations.as_ref().is_some_and(|a| !a.is_empty()) {
            self.add_rule(place, "invalid field 'annotations' in recording rule");
        }
        if rule.hold.is_some_and(|d| !d.0.is_zero()) {
            self.add_rule(place, "invalid field 'for' in recording rule");
        }
        if rule.keep_firing_for.is_some_and(|d| !d.0.is_zero()) {
            self.add_rule(place, "invalid field 'keep_firing_for' in recording rule");
        }
        if record.contains(['{', '}']) {
            let why = "braces present in the recording rule name; should it be in expr?";
            self.add_rule(place, format!("{why}: {record}"));
        }
    }
}

/// Labels as a set, for the API and for matching; empty values drop out.
pub(crate) fn label_set(labels: &BTreeMap<String, String>) -> LabelSet {
    let mut builder = LabelSet::empty().builder();
    for (name, value) in labels {
        builder.set(name.as_str(), value.as_str());
    }
    builder.build()
}
