//! From files to groups: at the start, and again when files have changed.
//!
//! A group is known by file and name. One that did not change goes on as it is. In one that did, rules with the same
//! name and labels keep their alerts and series (the first of several equal ones takes the first's, and so on); series
//! of rules that are gone are marked stale. So does a group that is gone, a little later: its rules may have moved.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::Duration;

use model::{LabelSet, Matcher, Timestamp};

use crate::context::RuleContext;
use crate::file::{RuleFile, RuleKind, RuleSpec};
use crate::group::{Rule, RuleGroup, stale};

/// What a load needs to know.
#[derive(Clone, Copy, Debug)]
pub struct ReloadOptions {
    /// For groups that name no interval. `evaluation_interval`, 1 m by default.
    pub interval: Duration,
    /// Whether new groups look for alert state from before a restart: true at the start only.
    pub restore: bool,
}

impl Default for ReloadOptions {
    fn default() -> Self {
        ReloadOptions {
            interval: Duration::from_secs(60),
            restore: true,
        }
    }
}

/// What a load gives.
#[derive(Debug, Default)]
pub struct Reloaded {
    /// By file, then name.
    pub groups: Vec<RuleGroup>,
    /// Groups that are gone and have left series behind.
    pub removed: Vec<RemovedGroup>,
}

/// A group that is not configured any more.
#[derive(Debug)]
pub struct RemovedGroup {
    /// `file;name`.
    pub key: String,
    /// How long to wait before [`RemovedGroup::mark_stale`]: two of its intervals, so that another group can have
    /// taken its rules over.
    pub wait: Duration,
    series: Vec<LabelSet>,
}

impl RemovedGroup {
    /// Marks its series stale as of `removed_at`, except those that have a newer sample by now.
    ///
    /// # Errors
    /// The store's, in its words.
    pub fn mark_stale(
        &self,
        removed_at: Timestamp,
        now: Timestamp,
        context: &mut dyn RuleContext,
    ) -> Result<(), String> {
        let mut markers = Vec::new();
        for labels in &self.series {
            let matchers: Vec<Matcher> = labels.iter().map(|(n, v)| Matcher::equal(n, v)).collect();
            let newer = context.newest(&matchers, removed_at, now)?;
            if !newer.iter().any(|(found, _)| found == labels) {
                markers.push(stale(labels, removed_at));
            }
        }
        if markers.is_empty() {
            Ok(())
        } else {
            context.append(markers)
        }
    }
}

/// Makes the groups of the files, with the state of the old ones.
pub fn reload(
    old: impl IntoIterator<Item = RuleGroup>,
    files: impl IntoIterator<Item = RuleFile>,
    options: &ReloadOptions,
) -> Reloaded {
    let mut old: BTreeMap<(String, String), RuleGroup> = old
        .into_iter()
        .map(|g| ((g.file.clone(), g.name.clone()), g))
        .collect();
    let mut groups = BTreeMap::new();
    for spec in files.into_iter().flat_map(|file| file.groups) {
        let key = (spec.file.clone(), spec.name.clone());
        let new = RuleGroup::new(spec, options.interval, options.restore);
        let group = match old.remove(&key) {
            Some(old) if unchanged(&old, &new) => old,
            Some(old) => carry_over(old, new),
            None => new,
        };
        groups.insert(key, group);
    }
    let removed = old
        .into_values()
        .map(RemovedGroup::from)
        .filter(|g| !g.series.is_empty());
    Reloaded {
        removed: removed.collect(),
        groups: groups.into_values().collect(),
    }
}

impl From<RuleGroup> for RemovedGroup {
    fn from(group: RuleGroup) -> Self {
        let key = group.key();
        let mut series = group.orphans;
        series.extend(group.rules.into_iter().flat_map(|rule| rule.series));
        RemovedGroup {
            key,
            wait: group.interval * 2,
            series,
        }
    }
}

fn unchanged(old: &RuleGroup, new: &RuleGroup) -> bool {
    old.interval == new.interval
        && old.query_offset == new.query_offset
        && old.limit == new.limit
        && old.rules.len() == new.rules.len()
        && old
            .rules
            .iter()
            .zip(&new.rules)
            .all(|(old, new)| same_rule(&old.spec, &new.spec))
}

fn same_rule(old: &RuleSpec, new: &RuleSpec) -> bool {
    let same_kind = match (&old.kind, &new.kind) {
        (RuleKind::Recording, RuleKind::Recording) => true,
        (RuleKind::Alerting(old), RuleKind::Alerting(new)) => {
            old.hold == new.hold
                && old.keep_firing_for == new.keep_firing_for
                && old.annotations == new.annotations
        }
        _ => false,
    };
    same_kind
        && old.name == new.name
        && old.labels == new.labels
        && old.expr.to_string() == new.expr.to_string()
}

fn carry_over(old: RuleGroup, mut new: RuleGroup) -> RuleGroup {
    new.evaluation_time = old.evaluation_time;
    new.last_evaluation = old.last_evaluation;
    new.orphans = old.orphans;
    new.restoring = old.restoring;
    let mut by_identity: HashMap<(String, LabelSet), VecDeque<Rule>> = HashMap::new();
    let identity = |spec: &RuleSpec| (spec.name.clone(), crate::file::label_set(&spec.labels));
    for rule in old.rules {
        by_identity
            .entry(identity(&rule.spec))
            .or_default()
            .push_back(rule);
    }
    for rule in &mut new.rules {
        let Some(from) = by_identity
            .get_mut(&identity(&rule.spec))
            .and_then(VecDeque::pop_front)
        else {
            continue;
        };
        rule.series = from.series;
        if let (RuleKind::Alerting(_), RuleKind::Alerting(_)) = (&from.spec.kind, &rule.spec.kind) {
            rule.alerts = from.alerts;
        }
    }
    let left = by_identity.into_values().flatten();
    new.orphans.extend(left.flat_map(|rule| rule.series));
    new
}
