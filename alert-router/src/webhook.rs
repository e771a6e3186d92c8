//! Splitting an Alertmanager's webhook message by branch: every contact sees its own branch's alerts only.

use std::collections::BTreeMap;

use model::BRANCH;
use wire::alertmanager::Webhook;

/// The message's alerts by branch, each a whole message again. Alerts without a `branch` label come under the empty name.
pub(crate) fn split(message: &Webhook) -> BTreeMap<String, Webhook> {
    let mut by_branch: BTreeMap<String, Webhook> = BTreeMap::new();
    for alert in &message.alerts {
        let branch = alert.labels.get(BRANCH).cloned().unwrap_or_default();
        let part = by_branch.entry(branch).or_insert_with(|| Webhook {
            alerts: Vec::new(),
            ..message.clone()
        });
        part.alerts.push(alert.clone());
    }
    by_branch.values_mut().for_each(summarize);
    by_branch
}

/// Makes status, common labels and common annotations follow from the message's alerts.
pub(crate) fn summarize(message: &mut Webhook) {
    let firing = message.alerts.iter().any(|alert| alert.status == "firing");
    message.status = if firing { "firing" } else { "resolved" }.to_owned();
    message.common_labels = common(message.alerts.iter().map(|a| &a.labels));
    message.common_annotations = common(message.alerts.iter().map(|a| &a.annotations));
}

fn common<'a>(
    mut maps: impl Iterator<Item = &'a BTreeMap<String, String>>,
) -> BTreeMap<String, String> {
    let mut shared = maps.next().cloned().unwrap_or_default();
    for map in maps {
        shared.retain(|name, value| map.get(name) == Some(value));
    }
    shared
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::{Alert, LabelSet, Timestamp};

    fn alert(branch: &str, name: &str, resolved: bool) -> Alert {
        let pairs = [("branch", branch), ("alertname", name), ("team", "infra")];
        Alert {
            labels: LabelSet::from_pairs(pairs).unwrap(),
            annotations: BTreeMap::new(),
            starts_at: Timestamp::from_millis(0),
            ends_at: resolved.then_some(Timestamp::from_millis(1)),
            generator_url: String::new(),
        }
    }

    #[test]
    fn every_branch_sees_its_own_alerts() {
        let alerts = [
            alert("b1", "A", false),
            alert("b2", "A", true),
            alert("b1", "B", true),
            alert("", "C", false),
        ];
        let now = Timestamp::from_millis(10);
        let message = Webhook::new("branches", "{}:{}", &LabelSet::empty(), &alerts, now);
        let parts = split(&message);
        let shown: Vec<_> = parts
            .iter()
            .map(|(b, m)| (b.as_str(), m.status.as_str(), m.alerts.len()))
            .collect();
        assert_eq!(
            shown,
            [
                ("", "firing", 1),
                ("b1", "firing", 2),
                ("b2", "resolved", 1)
            ]
        );
        let b1 = &parts["b1"];
        assert_eq!((b1.version.as_str(), b1.group_key.as_str()), ("4", "{}:{}"));
        assert_eq!(
            b1.common_labels.get("branch").map(String::as_str),
            Some("b1")
        );
        assert!(!b1.common_labels.contains_key("alertname"));
        assert_eq!(parts["b2"].common_labels["alertname"], "A");
    }
}
