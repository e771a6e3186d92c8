//! A rule group: its rules in order, at one time, each seeing what the ones before it wrote.

use std::collections::{BTreeSet, HashSet};
use std::time::Duration;

use model::{Alert, LabelSet, Sample, Timestamp};

use crate::RuleError;
use crate::alerting::{Alerts, Setting};
use crate::context::{RuleContext, RuleSample};
use crate::file::{GroupSpec, RuleKind, RuleSpec};
use crate::template::ExternalInfo;
use crate::{recording, restore};

/// What the server's configuration says about all groups.
#[derive(Clone, Debug)]
pub struct GroupOptions {
    /// A firing or resolved alert is sent again when more than this has passed. Prometheus's
    /// `--rules.alert.resend-delay`, 1 m by default.
    pub resend_delay: Duration,
    /// An alert whose state was last written longer ago starts anew. `--rules.alert.for-outage-tolerance`, 1 h.
    pub outage_tolerance: Duration,
    /// After a restart, a restored alert fires no earlier than this, and rules with a shorter `for` are not restored.
    /// `--rules.alert.for-grace-period`, 10 m.
    pub for_grace_period: Duration,
    /// For groups that name none. `rule_query_offset`, 0 by default.
    pub query_offset: Duration,
    /// External labels and URL, for templates and generator URLs.
    pub external: ExternalInfo,
}

impl Default for GroupOptions {
    fn default() -> Self {
        GroupOptions {
            resend_delay: Duration::from_secs(60),
            outage_tolerance: Duration::from_secs(3600),
            for_grace_period: Duration::from_secs(600),
            query_offset: Duration::ZERO,
            external: ExternalInfo {
                labels: Default::default(),
                url: String::new(),
            },
        }
    }
}

/// How a rule fared at its last evaluation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum RuleHealth {
    /// Not evaluated yet.
    #[default]
    Unknown,
    /// It worked.
    Ok,
    /// It did not.
    Err(RuleError),
}

/// A rule that failed in an evaluation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleFailure {
    /// Position in the group, from 0.
    pub rule: usize,
    /// The rule's name.
    pub name: String,
    /// Why.
    pub error: RuleError,
}

/// What came out of one evaluation of a group.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Evaluation {
    /// Alerts to be sent now, in the rules' order. External labels are not on them.
    pub alerts: Vec<Alert>,
    /// Samples of the rules' results, staleness markers not counted.
    pub samples: usize,
    /// Rules that failed; the others were evaluated all the same.
    pub failures: Vec<RuleFailure>,
    /// State from before a restart could not be read: its rules start anew. The text is the store's.
    pub restore_error: Option<String>,
}

/// A rule with its state.
#[derive(Debug)]
pub(crate) struct Rule {
    pub(crate) spec: RuleSpec,
    pub(crate) alerts: Alerts,
    pub(crate) health: RuleHealth,
    /// Series of the last evaluation that could be written; what is missing from the next one becomes stale.
    pub(crate) series: BTreeSet<LabelSet>,
    pub(crate) evaluation_time: Duration,
    pub(crate) last_evaluation: Option<Timestamp>,
}

impl Rule {
    pub(crate) fn new(spec: RuleSpec) -> Self {
        Rule {
            spec,
            alerts: Alerts::default(),
            health: RuleHealth::Unknown,
            series: BTreeSet::new(),
            evaluation_time: Duration::ZERO,
            last_evaluation: None,
        }
    }
}

/// Whether alert state from before a restart is still to be looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Restoring {
    /// After the second evaluation: the first one may come before data does.
    AfterEvaluations(u8),
    /// Done, or not wanted.
    No,
}

/// A group of rules with their state.
#[derive(Debug)]
pub struct RuleGroup {
    pub(crate) name: String,
    pub(crate) file: String,
    pub(crate) interval: Duration,
    pub(crate) query_offset: Option<Duration>,
    pub(crate) limit: Option<usize>,
    pub(crate) rules: Vec<Rule>,
    /// Series of rules that are gone; the next evaluation marks them stale.
    pub(crate) orphans: Vec<LabelSet>,
    pub(crate) restoring: Restoring,
    pub(crate) evaluation_time: Duration,
    pub(crate) last_evaluation: Option<Timestamp>,
}

impl RuleGroup {
    pub(crate) fn new(spec: GroupSpec, default_interval: Duration, restore: bool) -> Self {
        RuleGroup {
            name: spec.name,
            file: spec.file,
            interval: spec.interval.unwrap_or(default_interval),
            query_offset: spec.query_offset,
            limit: spec.limit,
            rules: spec.rules.into_iter().map(Rule::new).collect(),
            orphans: Vec::new(),
            restoring: if restore {
                Restoring::AfterEvaluations(2)
            } else {
                Restoring::No
            },
            evaluation_time: Duration::ZERO,
            last_evaluation: None,
        }
    }

    /// What tells groups apart: `file;name`.
    pub fn key(&self) -> String {
        format!("{};{}", self.file, self.name)
    }

    /// How often it is to be evaluated.
    pub fn interval(&self) -> Duration {
        self.interval
    }

    /// The rules' configuration, in order.
    pub fn rules(&self) -> impl Iterator<Item = &RuleSpec> {
        self.rules.iter().map(|rule| &rule.spec)
    }

    /// The newest of the group's evaluation times that is not after `now`. They are one interval apart, at an offset
    /// that follows from file and name: groups spread over the interval, and keep their times through restarts.
    pub fn slot(&self, now: Timestamp) -> Timestamp {
        let interval = i64::try_from(self.interval.as_millis())
            .unwrap_or(i64::MAX)
            .max(1);
        let identity = LabelSet::from_pairs([("name", &self.name), ("file", &self.file)]);
        let hash = identity.map_or(0, |labels| labels.fingerprint());
        let offset = (hash % interval.unsigned_abs()) as i64;
        let into = (now.millis().saturating_sub(offset)).rem_euclid(interval);
        Timestamp::from_millis(now.millis().saturating_sub(into))
    }

    /// Evaluates all rules at `now`.
    pub fn evaluate(
        &mut self,
        now: Timestamp,
        options: &GroupOptions,
        context: &mut dyn RuleContext,
    ) -> Evaluation {
        let began = context.elapsed();
        let at = now.saturating_sub(self.query_offset.unwrap_or(options.query_offset));
        let setting = Setting {
            now,
            at,
            external: &options.external,
            limit: self.limit,
            write_series: self.restoring == Restoring::No,
        };
        let mut out = Evaluation::default();
        // What rules of this group have written at this time: no other rule's staleness marker may overwrite it.
        let mut written = HashSet::new();
        for (i, rule) in self.rules.iter_mut().enumerate() {
            let began = context.elapsed();
            let result = evaluate_rule(rule, &setting, context);
            let result = result.and_then(|samples| {
                out.samples += samples.len();
                if let RuleKind::Alerting(_) = rule.spec.kind {
                    let Rule { alerts, spec, .. } = rule;
                    let external = &options.external;
                    let due = alerts.due(spec, now, options.resend_delay, self.interval, external);
                    out.alerts.extend(due);
                }
                write(rule, samples, at, &mut written, context)
            });
            rule.evaluation_time = context.elapsed().saturating_sub(began);
            rule.last_evaluation = Some(now);
            rule.health = match result {
                Ok(()) => RuleHealth::Ok,
                Err(error) => {
                    let name = rule.spec.name.clone();
                    out.failures.push(RuleFailure {
                        rule: i,
                        name,
                        error: error.clone(),
                    });
                    RuleHealth::Err(error)
                }
            };
        }
        self.mark_orphans(at, &written, context);
        self.restore(now, options, context, &mut out);
        self.evaluation_time = context.elapsed().saturating_sub(began);
        self.last_evaluation = Some(now);
        out
    }

    fn mark_orphans(
        &mut self,
        at: Timestamp,
        written: &HashSet<LabelSet>,
        context: &mut dyn RuleContext,
    ) {
        if self.orphans.is_empty() {
            return;
        }
        let gone = self
            .orphans
            .iter()
            .filter(|labels| !written.contains(*labels));
        // A failure is tried again at the next evaluation.
        if context
            .append(gone.map(|labels| stale(labels, at)).collect())
            .is_ok()
        {
            self.orphans = Vec::new();
        }
    }

    fn restore(
        &mut self,
        now: Timestamp,
        options: &GroupOptions,
        context: &mut dyn RuleContext,
        out: &mut Evaluation,
    ) {
        match self.restoring {
            Restoring::No => return,
            Restoring::AfterEvaluations(n) if n > 1 => {
                self.restoring = Restoring::AfterEvaluations(n - 1);
                return;
            }
            Restoring::AfterEvaluations(_) => self.restoring = Restoring::No,
        }
        for rule in &mut self.rules {
            let Rule { spec, alerts, .. } = rule;
            if let RuleKind::Alerting(alerting) = &spec.kind
                && let Err(error) = restore::restore(alerts, spec, alerting, now, options, context)
            {
                out.restore_error = Some(error);
            }
        }
    }
}

fn evaluate_rule(
    rule: &mut Rule,
    setting: &Setting<'_>,
    context: &mut dyn RuleContext,
) -> Result<Vec<RuleSample>, RuleError> {
    let result = context
        .query(&rule.spec.expr, setting.at)
        .map_err(RuleError::Query)?;
    match &rule.spec.kind {
        RuleKind::Recording => recording::record(&rule.spec, result, setting.at, setting.limit),
        RuleKind::Alerting(alerting) => rule
            .alerts
            .evaluate(&rule.spec, alerting, result, setting, context),
    }
}

/// Writes a rule's samples, and a staleness marker for every series that it made last time and not now.
fn write(
    rule: &mut Rule,
    mut samples: Vec<RuleSample>,
    at: Timestamp,
    written: &mut HashSet<LabelSet>,
    context: &mut dyn RuleContext,
) -> Result<(), RuleError> {
    let series: BTreeSet<LabelSet> = samples.iter().map(|s| s.labels.clone()).collect();
    let gone = rule
        .series
        .difference(&series)
        .filter(|labels| !written.contains(*labels));
    samples.extend(gone.map(|labels| stale(labels, at)));
    if !samples.is_empty() {
        context.append(samples).map_err(RuleError::Append)?;
    }
    written.extend(series.iter().cloned());
    rule.series = series;
    Ok(())
}

pub(crate) fn stale(labels: &LabelSet, at: Timestamp) -> RuleSample {
    RuleSample {
        labels: labels.clone(),
        sample: Sample::stale(at),
    }
}
