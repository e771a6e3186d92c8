//! After a restart: since when had alerts been pending? Their `ALERTS_FOR_STATE` series know.

use std::collections::HashMap;
use std::time::Duration;

use model::{ALERT_NAME, LabelSet, METRIC_NAME, MatchOp, Matcher, Sample, Timestamp, Value};

use crate::alerting::{ALERTS_FOR_STATE, Alerts};
use crate::context::RuleContext;
use crate::file::{AlertingSpec, RuleSpec};
use crate::group::GroupOptions;

/// Moves `active_at` of the alerts that were active before the restart, so that the time they had spent pending
/// counts and the time that we were away does not. An error leaves them as they are: they fire, only later.
pub(crate) fn restore(
    alerts: &mut Alerts,
    spec: &RuleSpec,
    alerting: &AlertingSpec,
    now: Timestamp,
    options: &GroupOptions,
    context: &mut dyn RuleContext,
) -> Result<(), String> {
    // A shorter `for` than the grace period would only wait longer for being restored.
    if alerting.hold < options.for_grace_period || alerts.active.is_empty() {
        return Ok(());
    }
    let from = now.saturating_sub(options.outage_tolerance);
    let before = context.newest(&matchers(spec), from, now)?;
    let by_labels: HashMap<LabelSet, Sample> = before
        .into_iter()
        .map(|(labels, sample)| (labels.without_name(), sample))
        .collect();
    for alert in alerts.active.values_mut() {
        let Some(sample) = by_labels.get(&alert.labels) else {
            continue;
        };
        let Value::Float(since) = sample.value else {
            continue;
        };
        if model::is_stale(since) || !since.is_finite() {
            continue;
        }
        let active_at = Timestamp::from_millis((since as i64).saturating_mul(1000));
        alert.active_at = restored(
            active_at,
            sample.at,
            now,
            alerting.hold,
            options.for_grace_period,
        );
    }
    Ok(())
}

/// When an alert counts as active that was active since `active_at` and last seen at `down_at`.
fn restored(
    active_at: Timestamp,
    down_at: Timestamp,
    now: Timestamp,
    hold: Duration,
    grace: Duration,
) -> Timestamp {
    let pending_for = down_at.saturating_since(active_at);
    let remaining = hold.saturating_sub(pending_for);
    if remaining.is_zero() {
        // It was firing; it fires again at the next evaluation that still finds it.
        active_at
    } else if remaining < grace {
        // It may fire at the end of the grace period, not before.
        now.saturating_add(grace).saturating_sub(hold)
    } else {
        active_at.saturating_add(now.saturating_since(down_at))
    }
}

/// The rule's own series; labels that are templates differ from alert to alert.
fn matchers(spec: &RuleSpec) -> Vec<Matcher> {
    let mut matchers = vec![
        Matcher::equal(METRIC_NAME, ALERTS_FOR_STATE),
        Matcher::equal(ALERT_NAME, spec.name.as_str()),
    ];
    for (name, value) in &spec.labels {
        let own = name == METRIC_NAME || name == ALERT_NAME;
        if own || value.contains("{{") {
            continue;
        }
        matchers.extend(Matcher::new(MatchOp::Equal, name.as_str(), value.as_str()));
    }
    matchers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_spent_pending_counts_time_away_does_not() {
        let minute = |m: i64| Timestamp::from_millis(m * 60_000);
        let check = |active_at: i64, down_at: i64, now: i64, want: i64| {
            let hold = Duration::from_secs(30 * 60);
            let grace = Duration::from_secs(10 * 60);
            let got = restored(minute(active_at), minute(down_at), minute(now), hold, grace);
            assert_eq!(got, minute(want));
        };
        // Was firing: as before.
        check(0, 30, 60, 0);
        // 5 minutes were missing: the grace period, 10 minutes from now.
        check(0, 25, 60, 40);
        // 20 minutes were missing: they still are.
        check(0, 10, 60, 50);
    }
}
