//! The YAML as it stands, before anything is checked.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::Deserialize;
use serde::de::{self, Deserializer, Visitor};
use serde_saphyr::Spanned;

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct File {
    pub(super) groups: Option<Vec<Spanned<Group>>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Group {
    pub(super) name: Text,
    pub(super) interval: Option<PromDuration>,
    pub(super) query_offset: Option<PromDuration>,
    pub(super) limit: Option<i64>,
    pub(super) labels: Option<BTreeMap<String, Spanned<Text>>>,
    pub(super) rules: Option<Vec<Spanned<Rule>>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Rule {
    pub(super) record: Option<Spanned<Text>>,
    pub(super) alert: Option<Spanned<Text>>,
    pub(super) expr: Option<Spanned<Text>>,
    #[serde(rename = "for")]
    pub(super) hold: Option<PromDuration>,
    pub(super) keep_firing_for: Option<PromDuration>,
    pub(super) labels: Option<BTreeMap<String, Spanned<Text>>>,
    pub(super) annotations: Option<BTreeMap<String, Spanned<Text>>>,
}

/// A string; numbers, booleans and nothing are taken as the text they are written as, as Go's YAML does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Text(pub(super) String);

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct AnyScalar;
        impl<'de> Visitor<'de> for AnyScalar {
            type Value = Text;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }
            fn visit_str<E>(self, v: &str) -> Result<Text, E> {
                Ok(Text(v.to_owned()))
            }
            fn visit_unit<E>(self) -> Result<Text, E> {
                Ok(Text::default())
            }
            fn visit_none<E>(self) -> Result<Text, E> {
                Ok(Text::default())
            }
            fn visit_some<D: Deserializer<'de>>(self, d: D) -> Result<Text, D::Error> {
                // As a string, so that the text stays as it is written (`1.50`, `010`).
                d.deserialize_str(self)
            }
        }
        deserializer.deserialize_option(AnyScalar)
    }
}

/// A duration in Prometheus's form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PromDuration(pub(super) Duration);

impl<'de> Deserialize<'de> for PromDuration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Text::deserialize(deserializer)?;
        model::duration::parse(&text.0)
            .map(PromDuration)
            .map_err(de::Error::custom)
    }
}
