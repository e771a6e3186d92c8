//! Given now and query results: which samples and alerts come out?
//!
//! A [`RuleFile`] is Prometheus's, read and checked. [`reload`] turns files into [`RuleGroup`]s and carries the state
//! of what did not change. [`RuleGroup::evaluate`] runs the rules of a group once: it asks a [`RuleContext`] for query
//! results, writes samples back through it (so that later rules see what earlier ones wrote) and returns the alerts
//! that are due to be sent.
//!
//! Everything here is synchronous and pure: `now` comes in, there is no clock, no disk and no network, so that one
//! simulated day of evaluations replays exactly.
//!
//! Not here, on purpose: when a group runs (the hub's scheduler; [`RuleGroup::slot`] says at which times), where samples
//! are kept, external labels on samples or alerts, `alert_relabel_configs`, and the way to Alertmanager.
//!
//! ```
//! use rules::{GroupOptions, ReloadOptions, RuleFile};
//!
//! let text = "groups: [{name: g, rules: [{alert: Down, expr: up == 0, for: 5m}]}]";
//! let file = RuleFile::parse("rules.yml", text, &promql::ParseOptions::default()).unwrap();
//! let loaded = rules::reload(Vec::new(), vec![file], &ReloadOptions::default());
//! assert_eq!(loaded.groups[0].key(), "rules.yml;g");
//! ```

mod alerting;
mod context;
mod file;
mod group;
mod recording;
mod reload;
mod restore;
pub mod template;
mod view;

#[cfg(test)]
mod tests;

pub use alerting::{
    ALERT_STATE, ALERTS, ALERTS_FOR_STATE, ActiveAlert, AlertState, RESOLVED_RETENTION,
};
pub use context::{RuleContext, RuleSample};
pub use file::{
    AlertingSpec, GroupSpec, RuleFile, RuleFileError, RuleFileErrors, RuleKind, RuleSpec,
};
pub use group::{Evaluation, GroupOptions, RuleFailure, RuleGroup, RuleHealth};
pub use reload::{ReloadOptions, Reloaded, RemovedGroup, reload};
pub use template::ExternalInfo;
pub use view::{
    AlertView, AlertingView, GroupView, RecordingView, RuleView, StateView, exponent_form,
};

/// Why a rule could not be evaluated. The text is what `lastError` shows.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RuleError {
    /// The query failed; the text is the engine's.
    #[error("{0}")]
    Query(String),
    /// Two elements became the same alert once the rule's labels were set.
    #[error("vector contains metrics with the same labelset after applying alert labels")]
    DuplicateAlert,
    /// Two elements became the same series once the rule's labels were set.
    #[error("vector contains metrics with the same labelset after applying rule labels")]
    DuplicateSeries,
    /// More than the group's `limit`.
    #[error("exceeded limit of {limit} with {count} {what}")]
    Limit {
        /// The group's `limit`.
        limit: usize,
        /// How many there were.
        count: usize,
        /// `alerts` or `series`.
        what: &'static str,
    },
    /// The samples could not be written; the text is the store's.
    #[error("{0}")]
    Append(String),
}
