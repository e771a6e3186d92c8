use std::collections::BTreeMap;

use model::{Alert, LabelError, LabelSet, Timestamp};
use serde::{Deserialize, Serialize};

use super::ZERO_TIME;
use super::alerts::{format_fingerprint, owned};
use super::time::{format_rfc3339, parse_rfc3339};

/// The message of Alertmanager's webhook receiver, version "4".
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Webhook {
    /// Name of the receiver.
    pub receiver: String,
    /// `firing` when any alert of the group fires, else `resolved`.
    pub status: String,
    /// The alerts of the group.
    pub alerts: Vec<WebhookAlert>,
    /// Labels that the route groups by.
    pub group_labels: BTreeMap<String, String>,
    /// Labels that all alerts share.
    pub common_labels: BTreeMap<String, String>,
    /// Annotations that all alerts share.
    pub common_annotations: BTreeMap<String, String>,
    /// Where Alertmanager's own pages are.
    #[serde(rename = "externalURL")]
    pub external_url: String,
    /// Always "4".
    pub version: String,
    /// Names the group.
    pub group_key: String,
    /// Alerts left out because of the receiver's limit.
    #[serde(default)]
    pub truncated_alerts: u64,
}

/// One alert of a webhook message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WebhookAlert {
    /// `firing` or `resolved`.
    pub status: String,
    /// Identity.
    pub labels: BTreeMap<String, String>,
    /// Text for people.
    pub annotations: BTreeMap<String, String>,
    /// RFC 3339.
    pub starts_at: String,
    /// RFC 3339; Go's zero time while it fires.
    pub ends_at: String,
    /// Where a person can look.
    #[serde(rename = "generatorURL")]
    pub generator_url: String,
    /// 16 hexadecimal digits.
    pub fingerprint: String,
}

impl Webhook {
    /// Reads a message.
    ///
    /// # Errors
    /// What is wrong, with line and column; other versions than "4" are refused by name.
    pub fn parse(body: &[u8]) -> Result<Self, String> {
        let message: Webhook = serde_json::from_slice(body)
            .map_err(|error| format!("bad webhook message: {error}"))?;
        if message.version != "4" {
            return Err(format!(
                "webhook message version {:?} is not supported: expected \"4\"",
                message.version
            ));
        }
        Ok(message)
    }

    /// A message about `alerts`; status, common labels and common annotations follow from them.
    pub fn new(
        receiver: &str,
        group_key: &str,
        group_labels: &LabelSet,
        alerts: &[Alert],
        now: Timestamp,
    ) -> Self {
        let firing = alerts.iter().any(|alert| !alert.is_resolved(now));
        Webhook {
            receiver: receiver.to_owned(),
            status: status(firing),
            group_labels: owned(group_labels),
            common_labels: common(alerts.iter().map(|alert| owned(&alert.labels))),
            common_annotations: common(alerts.iter().map(|alert| alert.annotations.clone())),
            alerts: alerts
                .iter()
                .map(|alert| WebhookAlert::new(alert, now))
                .collect(),
            external_url: String::new(),
            version: "4".to_owned(),
            group_key: group_key.to_owned(),
            truncated_alerts: 0,
        }
    }
}

impl WebhookAlert {
    /// An alert as the webhook says it.
    pub fn new(alert: &Alert, now: Timestamp) -> Self {
        let resolved = alert.is_resolved(now);
        WebhookAlert {
            status: status(!resolved),
            labels: owned(&alert.labels),
            annotations: alert.annotations.clone(),
            starts_at: format_rfc3339(alert.starts_at),
            ends_at: match alert.ends_at {
                Some(end) if resolved => format_rfc3339(end),
                _ => ZERO_TIME.to_owned(),
            },
            generator_url: alert.generator_url.clone(),
            fingerprint: format_fingerprint(alert.fingerprint()),
        }
    }

    /// The alert in the model's form.
    ///
    /// # Errors
    /// Bad labels or times, in words.
    pub fn to_alert(&self) -> Result<Alert, String> {
        Ok(Alert {
            labels: LabelSet::from_pairs(&self.labels)
                .map_err(|error: LabelError| error.to_string())?,
            annotations: self.annotations.clone(),
            starts_at: parse_rfc3339(&self.starts_at)?.ok_or("startsAt is missing")?,
            ends_at: parse_rfc3339(&self.ends_at)?,
            generator_url: self.generator_url.clone(),
        })
    }
}

fn status(firing: bool) -> String {
    if firing { "firing" } else { "resolved" }.to_owned()
}

fn common(mut maps: impl Iterator<Item = BTreeMap<String, String>>) -> BTreeMap<String, String> {
    let mut shared = maps.next().unwrap_or_default();
    for map in maps {
        shared.retain(|name, value| map.get(name) == Some(value));
    }
    shared
}

#[cfg(test)]
mod tests {
    use super::*;

    fn alert(instance: &str, ends_at: Option<i64>) -> Alert {
        Alert {
            labels: LabelSet::from_pairs([("alertname", "Down"), ("instance", instance)]).unwrap(),
            annotations: BTreeMap::from([("summary".to_owned(), "x".to_owned())]),
            starts_at: Timestamp::from_millis(1000),
            ends_at: ends_at.map(Timestamp::from_millis),
            generator_url: "http://p/".into(),
        }
    }

    #[test]
    fn both_directions() {
        let now = Timestamp::from_millis(10_000);
        let alerts = [
            alert("a", Some(5000)),
            alert("b", Some(20_000)),
            alert("c", None),
        ];
        let message = Webhook::new("hook", "{}:{}", &LabelSet::empty(), &alerts, now);
        assert_eq!(message.status, "firing");
        assert_eq!(
            message.common_labels,
            BTreeMap::from([("alertname".to_owned(), "Down".to_owned())])
        );
        let statuses: Vec<&str> = message.alerts.iter().map(|a| a.status.as_str()).collect();
        assert_eq!(statuses, ["resolved", "firing", "firing"]);
        let body = serde_json::to_vec(&message).unwrap();
        let back = Webhook::parse(&body).unwrap();
        assert_eq!(back, message);
        assert_eq!(back.alerts[0].to_alert(), Ok(alert("a", Some(5000))));
        assert_eq!(back.alerts[1].to_alert(), Ok(alert("b", None)));
    }

    #[test]
    fn refuses_what_is_no_message() {
        let check = |body: &str, text: &str| {
            let error = Webhook::parse(body.as_bytes()).unwrap_err();
            assert!(error.contains(text), "{error}");
        };
        check("{", "line 1");
        check("{}", "missing field `receiver`");
        let now = Timestamp::from_millis(0);
        let mut message = Webhook::new("hook", "k", &LabelSet::empty(), &[], now);
        message.version = "3".into();
        check(&serde_json::to_string(&message).unwrap(), "version \"3\"");
    }
}
