//! What was found, for people and for programs.

use std::fmt::Write;

use model::Timestamp;
use serde::Serialize;
use serde_json::{Value, json};

use crate::process::rfc3339;

/// How something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// As it should be.
    Ok,
    /// It works, and somebody should look at it.
    Warning,
    /// It is wrong.
    Failure,
    /// It was not looked at; the text says why.
    Skipped,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Finding {
    /// What it belongs to: `configuration`, `hub NAME`, `disk`, …
    pub section: String,
    /// What was looked at.
    pub name: String,
    /// How it is.
    pub state: State,
    /// What was found.
    pub text: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub way_out: Option<String>,
}

/// All that was found.
#[derive(Debug, Clone)]
pub struct Report {
    /// When.
    pub at: Timestamp,
    /// The edge's name, as far as known.
    pub edge: Option<String>,
    /// What the running edge says of itself (`/api/v1/status/edge`).
    pub running: Option<Value>,
    /// In the order of looking.
    pub findings: Vec<Finding>,
}

/// Gathers findings of one section.
pub(super) struct Section<'r> {
    pub(super) findings: &'r mut Vec<Finding>,
    pub(super) name: String,
}

impl Section<'_> {
    fn add(&mut self, name: &str, state: State, text: String, way_out: Option<String>) {
        self.findings.push(Finding {
            section: self.name.clone(),
            name: name.to_owned(),
            state,
            text,
            way_out,
        });
    }

    pub(super) fn ok(&mut self, name: &str, text: impl Into<String>) {
        self.add(name, State::Ok, text.into(), None);
    }

    pub(super) fn skipped(&mut self, name: &str, text: impl Into<String>) {
        self.add(name, State::Skipped, text.into(), None);
    }

    pub(super) fn warning(
        &mut self,
        name: &str,
        text: impl Into<String>,
        way_out: impl Into<String>,
    ) {
        self.add(name, State::Warning, text.into(), Some(way_out.into()));
    }

    pub(super) fn failure(
        &mut self,
        name: &str,
        text: impl Into<String>,
        way_out: impl Into<String>,
    ) {
        self.add(name, State::Failure, text.into(), Some(way_out.into()));
    }
}

impl Report {
    /// Whether nothing is wrong.
    pub fn healthy(&self) -> bool {
        self.with(State::Failure).next().is_none()
    }

    fn with(&self, state: State) -> impl Iterator<Item = &Finding> {
        self.findings
            .iter()
            .filter(move |finding| finding.state == state)
    }

    /// For programs.
    pub fn json(&self) -> Value {
        json!({
            "at": rfc3339(self.at),
            "version": daemon::VERSION,
            "edge": self.edge,
            "healthy": self.healthy(),
            "findings": self.findings,
            "running": self.running,
        })
    }

    /// Everything that was looked at, line by line.
    pub fn checks(&self) -> String {
        let mut text = format!(
            "edge {}, {}, edge-scraper {}\n",
            self.edge.as_deref().unwrap_or("(name not known)"),
            rfc3339(self.at),
            daemon::VERSION
        );
        let mut section = "";
        for finding in &self.findings {
            if finding.section != section {
                section = &finding.section;
                let _ = writeln!(text, "\n{section}");
            }
            let state = match finding.state {
                State::Ok => "ok  ",
                State::Warning => "WARN",
                State::Failure => "FAIL",
                State::Skipped => "-   ",
            };
            let _ = writeln!(text, "  {state}  {}: {}", finding.name, finding.text);
        }
        text
    }

    /// What is wrong, in sentences, each with its way out.
    pub fn explanation(&self) -> String {
        let mut text = String::new();
        for (title, state) in [
            ("What is wrong", State::Failure),
            ("What somebody should look at", State::Warning),
        ] {
            if self.with(state).next().is_none() {
                continue;
            }
            let _ = writeln!(text, "\n{title}");
            for (index, finding) in self.with(state).enumerate() {
                let _ = writeln!(
                    text,
                    "  {}. {}, {}: {}.",
                    index + 1,
                    finding.section,
                    finding.name,
                    finding.text
                );
                if let Some(way_out) = &finding.way_out {
                    let _ = writeln!(text, "     What to do: {way_out}.");
                }
            }
        }
        if self.healthy() {
            text.push_str("\nNothing is wrong.\n");
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_are_explained_and_decide() {
        let mut report = Report {
            at: Timestamp::from_millis(1_700_000_000_000),
            edge: Some("b07".to_owned()),
            running: None,
            findings: Vec::new(),
        };
        let mut section = Section {
            findings: &mut report.findings,
            name: "disk".to_owned(),
        };
        section.ok("free space", "9 GiB");
        section.warning("fsync", "300 ms", "use another disk");
        assert!(report.healthy());
        assert!(report.explanation().ends_with("Nothing is wrong.\n"));
        let mut section = Section {
            findings: &mut report.findings,
            name: "hub h".to_owned(),
        };
        section.failure("token", "the hub answers 401", "give it another");
        assert!(!report.healthy());
        assert_eq!(
            report.checks(),
            "edge b07, 2023-11-14T22:13:20Z, edge-scraper 0.1.0\n\ndisk\n  ok    free space: 9 GiB\n  WARN  fsync: 300 ms\n\nhub h\n  FAIL  token: the hub answers 401\n"
        );
        assert_eq!(
            report.explanation(),
            "\nWhat is wrong\n  1. hub h, token: the hub answers 401.\n     What to do: give it another.\n\nWhat somebody should look at\n  1. disk, fsync: 300 ms.\n     What to do: use another disk.\n"
        );
        let json = report.json();
        assert_eq!(
            (&json["healthy"], &json["findings"][1]["wayOut"]),
            (&json!(false), &json!("use another disk"))
        );
    }
}
