//! Alerting rules: how the elements of a result become alerts, and how alerts live.
//!
//! ```text
//!            in the result                 in it for `for`
//!  (none) ─────────────────▶ Pending ─────────────────────▶ Firing ◀─┐ not in it, but not yet for
//!     ▲                         │                             │  └───┘ `keep_firing_for`
//!     │     not in the result   │      not in the result      ▼
//!     ├─────────────────────────┘   Resolved ◀────────────────┘
//!     └─────────────────────────────────┘ after 15 minutes; if it comes back earlier, it is a new Pending
//! ```

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::time::Duration;

use model::{ALERT_NAME, Alert, LabelSet, METRIC_NAME, Sample, Timestamp, Value};

use crate::RuleError;
use crate::context::{RuleContext, RuleSample, TemplateQueries};
use crate::file::{AlertingSpec, RuleSpec};
use crate::template::{ExternalInfo, Template, table_link};

/// The series that tells which alerts are pending or firing.
pub const ALERTS: &str = "ALERTS";
/// The series whose value is since when (Unix seconds) an alert is active.
pub const ALERTS_FOR_STATE: &str = "ALERTS_FOR_STATE";
/// The label of [`ALERTS`] with the state.
pub const ALERT_STATE: &str = "alertstate";

/// How long a resolved alert is kept, and sent again: Alertmanager may have been away, or may forget it in a restart.
pub const RESOLVED_RETENTION: Duration = Duration::from_secs(15 * 60);

/// A firing alert is to be believed for this many resend delays (or intervals, if longer): two of them may be lost.
const VALID_FOR: u32 = 4;

/// One alert of a rule: an element of its result, past or present.
#[derive(Clone, Debug, PartialEq)]
pub struct ActiveAlert {
    /// Identity, `alertname` included.
    pub labels: LabelSet,
    /// As expanded at the last evaluation that had it in the result.
    pub annotations: BTreeMap<String, String>,
    /// The value then; 0 for a native histogram, as in Prometheus.
    pub value: f64,
    /// When it came into the result; moved after a restart by the time that was missed.
    pub active_at: Timestamp,
    /// Where it is in its life.
    pub state: AlertState,
}

/// The states of an alert.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AlertState {
    /// In the result, but not for long enough.
    Pending,
    /// To be acted upon.
    Firing {
        /// The evaluation that found it firing.
        fired_at: Timestamp,
        /// Since when it is not in the result any more, and fires only because of `keep_firing_for`.
        keep_firing_since: Option<Timestamp>,
        /// When it was last handed out to be sent.
        last_sent: Option<Timestamp>,
    },
    /// It was firing, and is over.
    Resolved {
        /// As when it was firing.
        fired_at: Timestamp,
        /// The evaluation that did not find it any more.
        resolved_at: Timestamp,
        /// When it was last handed out to be sent, firing or resolved.
        last_sent: Option<Timestamp>,
    },
}

impl AlertState {
    fn is_active(self) -> bool {
        !matches!(self, AlertState::Resolved { .. })
    }
}

/// The alerts of one rule, by identity.
#[derive(Clone, Debug, Default)]
pub(crate) struct Alerts {
    pub(crate) active: BTreeMap<LabelSet, ActiveAlert>,
}

/// What is the same for all rules of an evaluation.
pub(crate) struct Setting<'a> {
    pub(crate) now: Timestamp,
    /// `now` less the query offset: the time of the samples.
    pub(crate) at: Timestamp,
    pub(crate) external: &'a ExternalInfo,
    pub(crate) limit: Option<usize>,
    /// Whether `ALERTS` and `ALERTS_FOR_STATE` are written: not before state from before a restart is restored.
    pub(crate) write_series: bool,
}

impl Alerts {
    /// One evaluation, given the query's result. Returns the rule's series.
    pub(crate) fn evaluate(
        &mut self,
        spec: &RuleSpec,
        alerting: &AlertingSpec,
        result: Vec<(LabelSet, Value)>,
        setting: &Setting<'_>,
        context: &mut dyn RuleContext,
    ) -> Result<Vec<RuleSample>, RuleError> {
        let found = expand(spec, alerting, result, setting, context)?;
        let found = self.merge(found);
        let now = setting.now;
        self.active.retain(|labels, alert| {
            advance(alert, found.binary_search(labels).is_ok(), alerting, now)
        });

        let active = || self.active.values().filter(|a| a.state.is_active());
        let count = active().count();
        if let Some(limit) = setting.limit.filter(|limit| count > *limit) {
            self.active.clear();
            return Err(RuleError::Limit {
                limit,
                count,
                what: "alerts",
            });
        }
        if !setting.write_series {
            return Ok(Vec::new());
        }
        Ok(active()
            .flat_map(|alert| series(alert, setting.at))
            .collect())
    }

    /// Takes what is in the result into the alerts that there are; returns the identities, sorted.
    fn merge(&mut self, found: BTreeMap<LabelSet, ActiveAlert>) -> Vec<LabelSet> {
        let mut identities = Vec::with_capacity(found.len());
        for (labels, new) in found {
            identities.push(labels.clone());
            match self.active.entry(labels) {
                Entry::Occupied(mut old) if old.get().state.is_active() => {
                    let old = old.get_mut();
                    old.value = new.value;
                    old.annotations = new.annotations;
                }
                // A resolved one that comes back is a new alert.
                Entry::Occupied(mut old) => {
                    old.insert(new);
                }
                Entry::Vacant(place) => {
                    place.insert(new);
                }
            }
        }
        identities
    }

    /// Alerts that are due to be sent, marked as sent.
    pub(crate) fn due(
        &mut self,
        spec: &RuleSpec,
        now: Timestamp,
        resend_delay: Duration,
        interval: Duration,
        external: &ExternalInfo,
    ) -> Vec<Alert> {
        let valid_until = now.saturating_add(resend_delay.max(interval) * VALID_FOR);
        let generator_url = format!("{}{}", external.url, table_link(&spec.expr.to_string()));
        let mut due = Vec::new();
        for alert in self.active.values_mut() {
            let (starts_at, ends_at, last_sent) = match &mut alert.state {
                AlertState::Pending => continue,
                AlertState::Firing {
                    fired_at,
                    last_sent,
                    ..
                } => (*fired_at, valid_until, last_sent),
                AlertState::Resolved {
                    fired_at,
                    resolved_at,
                    last_sent,
                } => {
                    // The news that it is over does not wait.
                    if last_sent.is_some_and(|sent| *resolved_at > sent) {
                        *last_sent = None;
                    }
                    (*fired_at, *resolved_at, last_sent)
                }
            };
            // More than the delay has to have passed, as in Prometheus: with a delay of two intervals, every third
            // evaluation sends.
            if last_sent.is_some_and(|sent| now <= sent.saturating_add(resend_delay)) {
                continue;
            }
            *last_sent = Some(now);
            due.push(Alert {
                labels: alert.labels.clone(),
                annotations: alert.annotations.clone(),
                starts_at,
                ends_at: Some(ends_at),
                generator_url: generator_url.clone(),
            });
        }
        due
    }
}

/// The alerts that a result makes, all of them new.
fn expand(
    spec: &RuleSpec,
    alerting: &AlertingSpec,
    result: Vec<(LabelSet, Value)>,
    setting: &Setting<'_>,
    context: &mut dyn RuleContext,
) -> Result<BTreeMap<LabelSet, ActiveAlert>, RuleError> {
    let mut found = BTreeMap::new();
    let mut queries = TemplateQueries {
        context,
        at: setting.now,
    };
    for (element, value) in result {
        let mut text = |template: &Template| {
            template.expand_or_explain(
                &element,
                &value,
                setting.external,
                setting.now,
                &mut queries,
            )
        };
        let mut builder = element.builder();
        builder.del(METRIC_NAME);
        for (name, template) in &alerting.label_templates {
            builder.set(name.as_str(), text(template));
        }
        builder.set(ALERT_NAME, spec.name.as_str());
        let annotations = (alerting.annotation_templates.iter())
            .map(|(name, template)| (name.clone(), text(template)))
            .collect();
        let alert = ActiveAlert {
            labels: builder.build(),
            annotations,
            value: if let Value::Float(f) = value { f } else { 0.0 },
            active_at: setting.now,
            state: AlertState::Pending,
        };
        if found.insert(alert.labels.clone(), alert).is_some() {
            return Err(RuleError::DuplicateAlert);
        }
    }
    Ok(found)
}

/// Moves an alert on; false when it can be forgotten.
fn advance(alert: &mut ActiveAlert, in_result: bool, rule: &AlertingSpec, now: Timestamp) -> bool {
    let held = now.saturating_since(alert.active_at) >= rule.hold && now >= alert.active_at;
    match (&mut alert.state, in_result) {
        (AlertState::Pending, false) => return false,
        (AlertState::Pending, true) => {
            if held {
                alert.state = AlertState::Firing {
                    fired_at: now,
                    keep_firing_since: None,
                    last_sent: None,
                };
            }
        }
        (
            AlertState::Firing {
                keep_firing_since,
                fired_at,
                last_sent,
            },
            in_result,
        ) => {
            *keep_firing_since = match in_result {
                true => None,
                false if rule.keep_firing_for.is_zero() => None,
                false => keep_firing_since.or(Some(now)),
            };
            let kept = keep_firing_since
                .is_some_and(|since| now.saturating_since(since) < rule.keep_firing_for);
            if !in_result && !kept {
                alert.state = AlertState::Resolved {
                    fired_at: *fired_at,
                    resolved_at: now,
                    last_sent: *last_sent,
                };
            } else if !held {
                // `for` has become longer in a reload, or the time was restored.
                alert.state = AlertState::Pending;
            }
        }
        (AlertState::Resolved { resolved_at, .. }, _) => {
            return now.saturating_since(*resolved_at) <= RESOLVED_RETENTION;
        }
    }
    true
}

/// `ALERTS` and `ALERTS_FOR_STATE` of an active alert.
fn series(alert: &ActiveAlert, at: Timestamp) -> [RuleSample; 2] {
    let state = if alert.state == AlertState::Pending {
        "pending"
    } else {
        "firing"
    };
    let alerts = alert
        .labels
        .builder()
        .set(METRIC_NAME, ALERTS)
        .set(ALERT_STATE, state)
        .build();
    let for_state = alert
        .labels
        .builder()
        .set(METRIC_NAME, ALERTS_FOR_STATE)
        .build();
    let since = alert.active_at.millis().div_euclid(1000) as f64;
    [
        RuleSample {
            labels: alerts,
            sample: Sample::float(at, 1.0),
        },
        RuleSample {
            labels: for_state,
            sample: Sample::float(at, since),
        },
    ]
}
