//! What `/api/v1/rules` and `/api/v1/alerts` show, as plain structs; the hub turns them into JSON.

use std::collections::BTreeMap;
use std::time::Duration;

use model::{LabelSet, Timestamp};

use crate::alerting::{ActiveAlert, AlertState, Alerts};
use crate::file::RuleKind;
use crate::group::{Rule, RuleGroup, RuleHealth};

/// A group.
#[derive(Clone, Debug, PartialEq)]
pub struct GroupView {
    /// Its name.
    pub name: String,
    /// Its file.
    pub file: String,
    /// How often it is evaluated.
    pub interval: Duration,
    /// 0: none.
    pub limit: usize,
    /// In order.
    pub rules: Vec<RuleView>,
    /// How long the last evaluation took.
    pub evaluation_time: Duration,
    /// None: not yet.
    pub last_evaluation: Option<Timestamp>,
}

/// A rule of either kind.
#[derive(Clone, Debug, PartialEq)]
pub enum RuleView {
    /// `type: "alerting"`
    Alerting(AlertingView),
    /// `type: "recording"`
    Recording(RecordingView),
}

/// An alerting rule.
#[derive(Clone, Debug, PartialEq)]
pub struct AlertingView {
    /// The furthest state of any of its alerts.
    pub state: StateView,
    /// The alert's name.
    pub name: String,
    /// The expression, printed as PromQL prints it.
    pub query: String,
    /// `for`.
    pub duration: Duration,
    /// `keep_firing_for`.
    pub keep_firing_for: Duration,
    /// As configured, the group's included; templates are not expanded.
    pub labels: BTreeMap<String, String>,
    /// As configured; templates are not expanded.
    pub annotations: BTreeMap<String, String>,
    /// Pending and firing ones, by labels.
    pub alerts: Vec<AlertView>,
    /// How the last evaluation went; `lastError` is in it.
    pub health: RuleHealth,
    /// How long it took.
    pub evaluation_time: Duration,
    /// None: not yet.
    pub last_evaluation: Option<Timestamp>,
}

/// A recording rule.
#[derive(Clone, Debug, PartialEq)]
pub struct RecordingView {
    /// The metric.
    pub name: String,
    /// The expression, printed as PromQL prints it.
    pub query: String,
    /// As configured, the group's included.
    pub labels: BTreeMap<String, String>,
    /// How the last evaluation went; `lastError` is in it.
    pub health: RuleHealth,
    /// How long it took.
    pub evaluation_time: Duration,
    /// None: not yet.
    pub last_evaluation: Option<Timestamp>,
}

/// A pending or firing alert.
#[derive(Clone, Debug, PartialEq)]
pub struct AlertView {
    /// Identity.
    pub labels: LabelSet,
    /// Expanded.
    pub annotations: BTreeMap<String, String>,
    /// Pending or firing.
    pub state: StateView,
    /// Since when.
    pub active_at: Timestamp,
    /// Since when it fires only because of `keep_firing_for`.
    pub keep_firing_since: Option<Timestamp>,
    /// The expression's value; shown with [`exponent_form`].
    pub value: f64,
}

/// The states that the API knows, from least to most.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum StateView {
    /// Not evaluated yet.
    Unknown,
    /// No alert.
    Inactive,
    /// Waiting for `for`.
    Pending,
    /// Firing.
    Firing,
}

impl StateView {
    /// The API's word.
    pub fn as_str(self) -> &'static str {
        match self {
            StateView::Unknown => "unknown",
            StateView::Inactive => "inactive",
            StateView::Pending => "pending",
            StateView::Firing => "firing",
        }
    }
}

impl RuleHealth {
    /// The API's word.
    pub fn as_str(&self) -> &'static str {
        match self {
            RuleHealth::Unknown => "unknown",
            RuleHealth::Ok => "ok",
            RuleHealth::Err(_) => "err",
        }
    }

    /// `lastError`.
    pub fn last_error(&self) -> Option<String> {
        match self {
            RuleHealth::Err(error) => Some(error.to_string()),
            RuleHealth::Unknown | RuleHealth::Ok => None,
        }
    }
}

impl RuleGroup {
    /// The group as the API shows it.
    pub fn view(&self) -> GroupView {
        GroupView {
            name: self.name.clone(),
            file: self.file.clone(),
            interval: self.interval,
            limit: self.limit.unwrap_or(0),
            rules: self.rules.iter().map(rule).collect(),
            evaluation_time: self.evaluation_time,
            last_evaluation: self.last_evaluation,
        }
    }
}

fn rule(rule: &Rule) -> RuleView {
    let spec = &rule.spec;
    let (name, query, labels) = (
        spec.name.clone(),
        spec.expr.to_string(),
        spec.labels.clone(),
    );
    let (health, evaluation_time) = (rule.health.clone(), rule.evaluation_time);
    let last_evaluation = rule.last_evaluation;
    match &spec.kind {
        RuleKind::Recording => RuleView::Recording(RecordingView {
            name,
            query,
            labels,
            health,
            evaluation_time,
            last_evaluation,
        }),
        RuleKind::Alerting(alerting) => RuleView::Alerting(AlertingView {
            state: match last_evaluation {
                None => StateView::Unknown,
                Some(_) => furthest(&rule.alerts),
            },
            name,
            query,
            duration: alerting.hold,
            keep_firing_for: alerting.keep_firing_for,
            labels,
            annotations: alerting.annotations.clone(),
            alerts: rule.alerts.active.values().filter_map(alert).collect(),
            health,
            evaluation_time,
            last_evaluation,
        }),
    }
}

fn furthest(alerts: &Alerts) -> StateView {
    let states = alerts.active.values().filter_map(alert).map(|a| a.state);
    states.max().unwrap_or(StateView::Inactive)
}

/// None for a resolved one: the API does not show them.
fn alert(alert: &ActiveAlert) -> Option<AlertView> {
    let (state, keep_firing_since) = match alert.state {
        AlertState::Pending => (StateView::Pending, None),
        AlertState::Firing {
            keep_firing_since, ..
        } => (StateView::Firing, keep_firing_since),
        AlertState::Resolved { .. } => return None,
    };
    Some(AlertView {
        labels: alert.labels.clone(),
        annotations: alert.annotations.clone(),
        state,
        active_at: alert.active_at,
        keep_firing_since,
        value: alert.value,
    })
}

/// A float as the API shows an alert's value: shortest digits with an exponent, `1e+00`.
pub fn exponent_form(value: f64) -> String {
    if value.is_nan() {
        return "NaN".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    let text = format!("{value:e}");
    let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let (sign, exponent) = match exponent.strip_prefix('-') {
        Some(exponent) => ('-', exponent),
        None => ('+', exponent),
    };
    format!("{digits}e{sign}{exponent:0>2}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_have_an_exponent() {
        let check = |value: f64, want: &str| assert_eq!(exponent_form(value), want);
        check(1.0, "1e+00");
        check(0.0, "0e+00");
        check(-12.5, "-1.25e+01");
        check(1e-7, "1e-07");
        check(1e100, "1e+100");
        check(f64::INFINITY, "+Inf");
    }
}
