//! `/api/v1/rules`, `/api/v1/alerts`, `/api/v1/alertmanagers`.

use std::collections::HashSet;
use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use model::{LabelSet, Matcher, Timestamp};
use rules::{
    AlertView, AlertingView, GroupView, RecordingView, RuleHealth, RuleView, StateView,
    exponent_form,
};
use serde_json::{Value, json};

use super::error::ApiError;
use super::json::{rfc3339, success_value};
use super::params::Params;
use crate::state::HubState;

type Answer = Result<Response, ApiError>;

pub(crate) async fn rules(State(state): State<Arc<HubState>>, params: Params) -> Answer {
    let filter = Filter::new(&params)?;
    let page = Page::new(&params)?;
    let mut views = state.ruler.views();
    views.sort_by(|a, b| (&a.file, &a.name).cmp(&(&b.file, &b.name)));
    let first = page.first(&views)?;
    let (mut groups, mut next) = (Vec::new(), None);
    for view in &views[first..] {
        let Some(shown) = group(view, &filter) else {
            continue;
        };
        if groups.len() >= page.groups_max {
            next = Some(token(view));
            break;
        }
        groups.push(shown);
    }
    let mut data = json!({"groups": groups});
    if let Some(next) = next {
        data["groupNextToken"] = next.into();
    }
    Ok(success_value(&data))
}

pub(crate) async fn alerts(State(state): State<Arc<HubState>>) -> Answer {
    let views = state.ruler.views();
    let alerts: Vec<Value> = views
        .iter()
        .flat_map(|view| &view.rules)
        .filter_map(|rule| match rule {
            RuleView::Alerting(rule) => Some(&rule.alerts),
            RuleView::Recording(_) => None,
        })
        .flatten()
        .map(alert)
        .collect();
    Ok(success_value(&json!({"alerts": alerts})))
}

pub(crate) async fn alertmanagers(State(state): State<Arc<HubState>>) -> Answer {
    let active: Vec<Value> = state
        .loaded()
        .alertmanager_urls
        .into_iter()
        .map(|url| json!({"url": url}))
        .collect();
    Ok(success_value(
        &json!({"activeAlertmanagers": active, "droppedAlertmanagers": []}),
    ))
}

/// Which part of the groups.
struct Page<'p> {
    groups_max: usize,
    /// Names the first group.
    token: Option<&'p str>,
}

impl<'p> Page<'p> {
    fn new(params: &'p Params) -> Result<Self, ApiError> {
        let bad = |why: String| Err(ApiError::bad_parameter("group_limit", why));
        let token = params.get("group_next_token");
        let groups_max = match params.get("group_limit") {
            None if token.is_some() => {
                return bad("needed to go on from a group_next_token".to_owned());
            }
            None => usize::MAX,
            Some(text) => match text.parse::<u32>() {
                Ok(limit) if limit > 0 => limit as usize,
                _ => return bad(format!("{text:?} is no number above 0")),
            },
        };
        Ok(Page { groups_max, token })
    }

    /// Where it begins.
    fn first(&self, views: &[Arc<GroupView>]) -> Result<usize, ApiError> {
        let Some(wanted) = self.token else {
            return Ok(0);
        };
        let found = views.iter().position(|view| token(view) == wanted);
        found.ok_or_else(|| {
            let why = format!("{wanted:?} names no group: have the rules changed? Begin anew");
            ApiError::bad_parameter("group_next_token", why)
        })
    }
}

/// Names a group: the SHA-256 of its file and name.
fn token(view: &GroupView) -> String {
    let text = format!("{};{}", view.file, view.name);
    let digest = ring::digest::digest(&ring::digest::SHA256, text.as_bytes());
    let hex = |byte: &u8| format!("{byte:02x}");
    digest.as_ref().iter().map(hex).collect()
}

/// What the caller wants to see; empty sets mean everything.
struct Filter {
    alerting: bool,
    recording: bool,
    names: HashSet<String>,
    groups: HashSet<String>,
    files: HashSet<String>,
    matchers: Vec<Vec<Matcher>>,
    exclude_alerts: bool,
}

impl Filter {
    fn new(params: &Params) -> Result<Self, ApiError> {
        let kind = params.get("type");
        if !matches!(kind, None | Some("alert" | "record")) {
            let why = format!("not supported value {:?}", kind.unwrap_or_default());
            return Err(ApiError::bad_parameter("type", why));
        }
        let set = |name: &str| params.all(name).map(str::to_owned).collect();
        let exclude_alerts = match params.get("exclude_alerts") {
            None | Some("false" | "0") => false,
            Some("true" | "1") => true,
            Some(other) => {
                let why = format!("cannot parse {other:?} as true or false");
                return Err(ApiError::bad_parameter("exclude_alerts", why));
            }
        };
        Ok(Filter {
            alerting: kind != Some("record"),
            recording: kind != Some("alert"),
            names: set("rule_name[]"),
            groups: set("rule_group[]"),
            files: set("file[]"),
            matchers: params.matchers()?,
            exclude_alerts,
        })
    }

    fn is_empty(&self) -> bool {
        self.alerting && self.recording && self.names.is_empty() && self.matchers.is_empty()
    }

    fn rule(&self, name: &str, labels: &std::collections::BTreeMap<String, String>) -> bool {
        let named = self.names.is_empty() || self.names.contains(name);
        let labels = LabelSet::from_pairs(labels).unwrap_or_default();
        let fits = |matchers: &Vec<Matcher>| matchers.iter().all(|m| m.matches_labels(&labels));
        named && (self.matchers.is_empty() || self.matchers.iter().any(fits))
    }
}

fn group(view: &GroupView, filter: &Filter) -> Option<Value> {
    let wanted = |set: &HashSet<String>, name: &String| set.is_empty() || set.contains(name);
    if !wanted(&filter.groups, &view.name) || !wanted(&filter.files, &view.file) {
        return None;
    }
    let rules: Vec<Value> = view
        .rules
        .iter()
        .filter_map(|rule| self::rule(rule, filter))
        .collect();
    if rules.is_empty() && !filter.is_empty() {
        return None;
    }
    Some(json!({
        "name": view.name,
        "file": view.file,
        "interval": view.interval.as_secs_f64(),
        "limit": view.limit,
        "evaluationTime": view.evaluation_time.as_secs_f64(),
        "lastEvaluation": time(view.last_evaluation),
        "rules": rules,
    }))
}

fn rule(view: &RuleView, filter: &Filter) -> Option<Value> {
    match view {
        RuleView::Alerting(rule) if filter.alerting && filter.rule(&rule.name, &rule.labels) => {
            Some(alerting(rule, filter.exclude_alerts))
        }
        RuleView::Recording(rule) if filter.recording && filter.rule(&rule.name, &rule.labels) => {
            Some(recording(rule))
        }
        _ => None,
    }
}

fn alerting(rule: &AlertingView, exclude_alerts: bool) -> Value {
    let alerts: Option<Vec<Value>> =
        (!exclude_alerts).then(|| rule.alerts.iter().map(alert).collect());
    let mut value = json!({
        "state": rule.state.as_str(),
        "name": rule.name,
        "query": rule.query,
        "duration": rule.duration.as_secs_f64(),
        "keepFiringFor": rule.keep_firing_for.as_secs_f64(),
        "labels": rule.labels,
        "annotations": rule.annotations,
        "alerts": alerts,
        "health": rule.health.as_str(),
        "evaluationTime": rule.evaluation_time.as_secs_f64(),
        "lastEvaluation": time(rule.last_evaluation),
        "type": "alerting",
    });
    add_error(&mut value, &rule.health);
    value
}

fn recording(rule: &RecordingView) -> Value {
    let mut value = json!({
        "name": rule.name,
        "query": rule.query,
        "labels": rule.labels,
        "health": rule.health.as_str(),
        "evaluationTime": rule.evaluation_time.as_secs_f64(),
        "lastEvaluation": time(rule.last_evaluation),
        "type": "recording",
    });
    add_error(&mut value, &rule.health);
    value
}

fn add_error(value: &mut Value, health: &RuleHealth) {
    if let Some(error) = health.last_error() {
        value["lastError"] = error.into();
    }
}

fn alert(view: &AlertView) -> Value {
    let labels: std::collections::BTreeMap<&str, &str> = view.labels.iter().collect();
    let mut value = json!({
        "labels": labels,
        "annotations": view.annotations,
        "state": match view.state {
            StateView::Firing => "firing",
            _ => "pending",
        },
        "activeAt": rfc3339(view.active_at),
        "value": exponent_form(view.value),
    });
    if let Some(since) = view.keep_firing_since {
        value["keepFiringSince"] = rfc3339(since).into();
    }
    value
}

/// Go's zero time where there was none yet, as Prometheus shows it.
fn time(at: Option<Timestamp>) -> String {
    at.map_or_else(|| "0001-01-01T00:00:00Z".to_owned(), rfc3339)
}
