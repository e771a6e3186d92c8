use std::collections::BTreeMap;
use std::time::Duration;

use model::{Alert, LabelError, LabelSet, Timestamp};
use serde::{Deserialize, Serialize};

use super::time::{format_rfc3339, parse_rfc3339};

/// An alert as it is posted to `/api/v2/alerts`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PostableAlert {
    /// Identity; at least one label.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// Text for people.
    #[serde(
        default,
        skip_serializing_if = "BTreeMap::is_empty",
        deserialize_with = "null_is_default"
    )]
    pub annotations: BTreeMap<String, String>,
    /// RFC 3339; empty or zero: when it arrives.
    #[serde(
        default,
        skip_serializing_if = "String::is_empty",
        deserialize_with = "null_is_default"
    )]
    pub starts_at: String,
    /// RFC 3339; empty or zero: the receiver's resolve timeout after it arrives.
    #[serde(
        default,
        skip_serializing_if = "String::is_empty",
        deserialize_with = "null_is_default"
    )]
    pub ends_at: String,
    /// Where a person can look.
    #[serde(
        default,
        rename = "generatorURL",
        skip_serializing_if = "String::is_empty",
        deserialize_with = "null_is_default"
    )]
    pub generator_url: String,
}

/// An alert that was taken in.
#[derive(Clone, Debug, PartialEq)]
pub struct Posted {
    /// The alert; `ends_at` is always there.
    pub alert: Alert,
    /// The sender said no end: `ends_at` is the resolve timeout's, and the next report moves it.
    pub end_is_timeout: bool,
}

/// How much of a posted body is taken in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PostLimits {
    /// Longest body in bytes. Default 8 MiB.
    pub body_bytes_max: usize,
    /// Most alerts in one body. Default 20,000.
    pub alerts_max: usize,
}

impl Default for PostLimits {
    fn default() -> Self {
        PostLimits {
            body_bytes_max: 8 << 20,
            alerts_max: 20_000,
        }
    }
}

/// Why a whole body is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    /// Too long.
    #[error(
        "body of {found} bytes is longer than the limit of {limit}: send fewer alerts at a time"
    )]
    TooLong {
        /// Length of the body.
        found: usize,
        /// The limit in force.
        limit: usize,
    },
    /// Too many alerts.
    #[error("{found} alerts in one body, more than the limit of {limit}: send fewer at a time")]
    TooMany {
        /// How many.
        found: usize,
        /// The limit in force.
        limit: usize,
    },
    /// Not the JSON that is expected.
    #[error("bad JSON at line {line}, column {column}: {reason}; expected an array of alerts")]
    Json {
        /// Line, from 1.
        line: usize,
        /// Column in bytes, from 1.
        column: usize,
        /// What the JSON reader said.
        reason: String,
    },
}

/// Why one alert is refused; the others of its body are not.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AlertRefusal {
    /// No labels (ones with an empty value do not count).
    #[error("alert {index}: at least one label pair required")]
    NoLabels {
        /// Which alert of the body, from 0.
        index: usize,
    },
    /// A label or annotation without a name.
    #[error("alert {index}: invalid {what} set: invalid name \"\"")]
    EmptyName {
        /// Which alert of the body, from 0.
        index: usize,
        /// `label` or `annotation`.
        what: &'static str,
    },
    /// A time that is no RFC 3339 time.
    #[error("alert {index}: {field}: {reason}")]
    BadTime {
        /// Which alert of the body, from 0.
        index: usize,
        /// The field.
        field: &'static str,
        /// What is wrong.
        reason: String,
    },
    /// It ends before it starts.
    #[error("alert {index}: start time must be before end time")]
    EndsBeforeStart {
        /// Which alert of the body, from 0.
        index: usize,
    },
}

/// Reads the body of a `POST /api/v2/alerts` as Alertmanager does: labels with an empty value are left out, a missing
/// start is `now`, a missing end is `now` plus the resolve timeout; bad alerts are refused one by one.
///
/// # Errors
/// A body that is no array of alerts, or too large.
pub fn parse_posted(
    body: &[u8],
    now: Timestamp,
    resolve_timeout: Duration,
    limits: &PostLimits,
) -> Result<Vec<Result<Posted, AlertRefusal>>, BodyError> {
    if body.len() > limits.body_bytes_max {
        return Err(BodyError::TooLong {
            found: body.len(),
            limit: limits.body_bytes_max,
        });
    }
    let alerts: Vec<PostableAlert> =
        serde_json::from_slice(body).map_err(|error| BodyError::Json {
            line: error.line(),
            column: error.column(),
            reason: strip_position(&error.to_string()),
        })?;
    if alerts.len() > limits.alerts_max {
        return Err(BodyError::TooMany {
            found: alerts.len(),
            limit: limits.alerts_max,
        });
    }
    Ok(alerts
        .into_iter()
        .enumerate()
        .map(|(index, alert)| alert.check(index, now, resolve_timeout))
        .collect())
}

/// serde_json ends its messages with the position, which we give as fields.
fn strip_position(message: &str) -> String {
    message
        .split(" at line ")
        .next()
        .unwrap_or(message)
        .to_owned()
}

impl PostableAlert {
    fn check(
        self,
        index: usize,
        now: Timestamp,
        resolve_timeout: Duration,
    ) -> Result<Posted, AlertRefusal> {
        let labels = LabelSet::from_pairs(&self.labels).map_err(|error| match error {
            // Names of a map are unique, so only an empty one can be wrong.
            LabelError::EmptyName { .. }
            | LabelError::DuplicateName { .. }
            | LabelError::NoMetricName => AlertRefusal::EmptyName {
                index,
                what: "label",
            },
        })?;
        if labels.is_empty() {
            return Err(AlertRefusal::NoLabels { index });
        }
        if self.annotations.contains_key("") {
            return Err(AlertRefusal::EmptyName {
                index,
                what: "annotation",
            });
        }
        let time = |field, text: &str| {
            parse_rfc3339(text).map_err(|reason| AlertRefusal::BadTime {
                index,
                field,
                reason,
            })
        };
        let starts_at = time("startsAt", &self.starts_at)?;
        let ends_at = time("endsAt", &self.ends_at)?;
        // As Alertmanager: an alert that only says its end and ended already starts at its end.
        let starts_at =
            starts_at.unwrap_or_else(|| ends_at.filter(|end| *end < now).unwrap_or(now));
        if ends_at.is_some_and(|end| end < starts_at) {
            return Err(AlertRefusal::EndsBeforeStart { index });
        }
        let alert = Alert {
            labels,
            annotations: self.annotations,
            starts_at,
            ends_at: Some(ends_at.unwrap_or_else(|| now.saturating_add(resolve_timeout))),
            generator_url: self.generator_url,
        };
        Ok(Posted {
            alert,
            end_is_timeout: ends_at.is_none(),
        })
    }
}

impl From<&Alert> for PostableAlert {
    fn from(alert: &Alert) -> Self {
        PostableAlert {
            labels: owned(&alert.labels),
            annotations: alert.annotations.clone(),
            starts_at: format_rfc3339(alert.starts_at),
            ends_at: alert.ends_at.map(format_rfc3339).unwrap_or_default(),
            generator_url: alert.generator_url.clone(),
        }
    }
}

/// An alert as `GET /api/v2/alerts` answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GettableAlert {
    /// Text for people.
    pub annotations: BTreeMap<String, String>,
    /// When it ends or ended.
    pub ends_at: String,
    /// 16 hexadecimal digits.
    pub fingerprint: String,
    /// Receivers that its routes name.
    pub receivers: Vec<ReceiverName>,
    /// When it began.
    pub starts_at: String,
    /// What is done with it.
    pub status: AlertStatus,
    /// When it was last reported.
    pub updated_at: String,
    /// Where a person can look.
    #[serde(
        rename = "generatorURL",
        default,
        skip_serializing_if = "String::is_empty"
    )]
    pub generator_url: String,
    /// Identity.
    pub labels: BTreeMap<String, String>,
}

/// The name of a receiver.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReceiverName {
    /// The name.
    pub name: String,
}

/// What is done with an alert.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AlertStatus {
    /// Fingerprints of alerts that inhibit it.
    #[serde(default)]
    pub inhibited_by: Vec<String>,
    /// Names of mute time intervals in force.
    #[serde(default)]
    pub muted_by: Vec<String>,
    /// Silences.
    #[serde(default)]
    pub silenced_by: Vec<String>,
    /// The outcome.
    pub state: AlertState,
}

/// Whether an alert notifies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AlertState {
    /// Not looked at yet.
    #[default]
    Unprocessed,
    /// It notifies.
    Active,
    /// Silenced, inhibited or muted.
    Suppressed,
}

impl GettableAlert {
    /// An alert as the API shows it, last reported at `updated_at`. An end that is not known is shown as Go's zero time.
    pub fn new(
        alert: &Alert,
        status: AlertStatus,
        receivers: Vec<ReceiverName>,
        updated_at: Timestamp,
    ) -> Self {
        GettableAlert {
            annotations: alert.annotations.clone(),
            ends_at: alert
                .ends_at
                .map_or_else(|| super::ZERO_TIME.to_owned(), format_rfc3339),
            fingerprint: format_fingerprint(alert.fingerprint()),
            receivers,
            starts_at: format_rfc3339(alert.starts_at),
            status,
            updated_at: format_rfc3339(updated_at),
            generator_url: alert.generator_url.clone(),
            labels: owned(&alert.labels),
        }
    }
}

/// A fingerprint as Alertmanager prints it.
pub fn format_fingerprint(fingerprint: u64) -> String {
    format!("{fingerprint:016x}")
}

pub(super) fn owned(labels: &LabelSet) -> BTreeMap<String, String> {
    labels
        .iter()
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

fn null_is_default<'de, D: serde::Deserializer<'de>, T: Default + Deserialize<'de>>(
    from: D,
) -> Result<T, D::Error> {
    Ok(Option::<T>::deserialize(from)?.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);

    fn posted(body: &str) -> Vec<Result<Posted, AlertRefusal>> {
        parse_posted(
            body.as_bytes(),
            NOW,
            Duration::from_secs(300),
            &PostLimits::default(),
        )
        .unwrap()
    }

    #[test]
    fn takes_what_prometheus_posts() {
        let body = r#"[{"annotations":{"summary":"down"},"endsAt":"2023-11-14T22:17:20.000Z",
            "startsAt":"2023-11-14T22:13:20.500Z","generatorURL":"http://p/graph",
            "labels":{"alertname":"Down","branch":"b07","empty":""}}]"#;
        let got = posted(body).remove(0).unwrap();
        assert_eq!(
            got.alert.labels.to_string(),
            r#"{alertname="Down", branch="b07"}"#
        );
        assert_eq!(got.alert.starts_at.millis(), 1_700_000_000_500);
        assert_eq!(
            got.alert.ends_at.map(Timestamp::millis),
            Some(1_700_000_240_000)
        );
        assert!(!got.end_is_timeout);
        let again = serde_json::to_string(&[PostableAlert::from(&got.alert)]).unwrap();
        assert_eq!(posted(&again), [Ok(got)]);
    }

    #[test]
    fn missing_times_are_filled_in() {
        let got =
            posted(r#"[{"labels":{"a":"1"},"annotations":null,"endsAt":"0001-01-01T00:00:00Z"}]"#);
        let got = got[0].as_ref().unwrap();
        assert_eq!((got.alert.starts_at, got.end_is_timeout), (NOW, true));
        assert_eq!(
            got.alert.ends_at,
            Some(NOW.saturating_add(Duration::from_secs(300)))
        );
        let ended = posted(r#"[{"labels":{"a":"1"},"endsAt":"2020-01-01T00:00:00Z"}]"#);
        let ended = &ended[0].as_ref().unwrap().alert;
        assert_eq!(Some(ended.starts_at), ended.ends_at);
    }

    #[test]
    fn refuses_alerts_one_by_one() {
        let body = r#"[{"labels":{}},{"labels":{"a":"1"}},{"labels":{"a":""}},{"labels":{"":"x"}},
            {"labels":{"a":"1"},"startsAt":"soon"},{"labels":{"a":"1"},"annotations":{"":"x"}},
            {"labels":{"a":"1"},"startsAt":"2023-11-14T22:13:20Z","endsAt":"2023-11-14T22:13:19Z"}]"#;
        let got: Vec<String> = posted(body)
            .into_iter()
            .map(|r| r.map_or_else(|e| e.to_string(), |_| "ok".into()))
            .collect();
        let expected = [
            "alert 0: at least one label pair required",
            "ok",
            "alert 2: at least one label pair required",
            "alert 3: invalid label set: invalid name \"\"",
            "alert 4: startsAt: \"soon\" is not an RFC 3339 time like 2026-01-02T15:04:05.999Z",
            "alert 5: invalid annotation set: invalid name \"\"",
            "alert 6: start time must be before end time",
        ];
        assert_eq!(got, expected);
    }

    #[test]
    fn refuses_bodies() {
        let check = |body: &[u8], text: &str| {
            let limits = PostLimits {
                body_bytes_max: 60,
                alerts_max: 2,
            };
            let error = parse_posted(body, NOW, Duration::ZERO, &limits)
                .unwrap_err()
                .to_string();
            assert!(error.contains(text), "{error}");
        };
        check(b"", "line 1, column 0");
        check(b"{}", "expected a sequence");
        check(b"[{\"labels\":\n1}]", "line 2, column 1");
        check(b"[\xff]", "line 1");
        check(&[b'['; 61], "longer than the limit of 60");
        check(b"[{},{},{}]", "3 alerts");
        check(&[b'['; 60], "bad JSON");
    }

    #[test]
    fn shows_alerts_as_alertmanager_does() {
        let mut alert = posted(r#"[{"labels":{"a":"1"}}]"#).remove(0).unwrap().alert;
        alert.ends_at = None;
        let status = AlertStatus {
            state: AlertState::Active,
            ..AlertStatus::default()
        };
        let shown = GettableAlert::new(
            &alert,
            status,
            vec![ReceiverName { name: "ops".into() }],
            NOW,
        );
        let json = serde_json::to_value(&shown).unwrap();
        assert_eq!(json["status"]["state"], "active");
        assert_eq!(json["endsAt"], "0001-01-01T00:00:00Z");
        assert_eq!(json["fingerprint"].as_str().map(str::len), Some(16));
        assert_eq!(json["receivers"][0]["name"], "ops");
        assert_eq!(
            serde_json::from_value::<GettableAlert>(json).unwrap(),
            shown
        );
    }

    proptest::proptest! {
        #[test]
        fn random_bytes_do_not_panic(body in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..80)) {
            let _ = parse_posted(&body, NOW, Duration::ZERO, &PostLimits::default());
        }
    }
}
