//! OTLP metrics as they are received over HTTP: protobuf or JSON, translated to series as Prometheus 3.14 does it.
//!
//! [`translate`] walks a message in place and takes one point at a time into memory, so that what a request may cost is
//! bounded by its length: an empty point takes two bytes on the wire, and a hundred as a struct. [`json::to_message`] makes
//! that message of JSON first. What contradicts itself (a name of which nothing is left, delta temporality, buckets that
//! do not add up) is said of each metric; who receives takes all or nothing.
//!
//! - [`body`]: what stands in an HTTP request; `section`: the section `otlp` of a configuration;
//! - [`proto`]: the messages. By hand, as those of remote write: the crate `opentelemetry-proto` brings tonic and the
//!   SDK's own types with it, and decodes only whole requests.
//! - `names`, `units`: metric and label names; `attributes`, `value`: labels;
//! - `points`, `native`, `exemplars`: what becomes samples; `translate`: the walk, and `target_info`.
//!
//! Where we differ from Prometheus, it loses or misplaces data: exemplars of classic histograms find their bucket in any
//! order, buckets that are joined because the scale is above 8 stay in their place behind empty ones, and a histogram
//! without buckets is taken with `convert_histograms_to_nhcb` too.

mod attributes;
pub mod body;
mod exemplars;
pub mod json;
mod names;
mod native;
mod points;
pub mod proto;
mod section;
mod translate;
mod units;
mod value;

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::time::Duration;

use prost::Message;
pub use section::Section;
pub use translate::{Translated, TranslatedSample, translate};

/// Encodes a request: the message that [`translate`] reads.
pub fn encode(request: &proto::Request) -> Vec<u8> {
    request.encode_to_vec()
}

/// How names become Prometheus's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Strategy {
    /// Letters, digits and underscores; unit and kind at the end.
    #[default]
    UnderscoreEscapingWithSuffixes,
    /// Letters, digits and underscores, nothing added.
    UnderscoreEscapingWithoutSuffixes,
    /// All characters stay; unit and kind at the end.
    NoUtf8EscapingWithSuffixes,
    /// Names stay as they are.
    NoTranslation,
}

impl Strategy {
    /// By its name in a configuration.
    pub fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "UnderscoreEscapingWithSuffixes" => Strategy::UnderscoreEscapingWithSuffixes,
            "UnderscoreEscapingWithoutSuffixes" => Strategy::UnderscoreEscapingWithoutSuffixes,
            "NoUTF8EscapingWithSuffixes" => Strategy::NoUtf8EscapingWithSuffixes,
            "NoTranslation" => Strategy::NoTranslation,
            _ => return None,
        })
    }

    fn escapes(self) -> bool {
        matches!(
            self,
            Strategy::UnderscoreEscapingWithSuffixes | Strategy::UnderscoreEscapingWithoutSuffixes
        )
    }
}

/// Which attributes of a resource become labels of all its series.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Promoted {
    /// These.
    Only(BTreeSet<String>),
    /// All but these.
    AllBut(BTreeSet<String>),
}

impl Promoted {
    fn has(&self, attribute: &str) -> bool {
        match self {
            Promoted::Only(these) => these.contains(attribute),
            Promoted::AllBut(others) => !others.contains(attribute),
        }
    }
}

/// How metrics are translated: the section `otlp` of a Prometheus configuration. The default is Prometheus's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// How names are made.
    pub strategy: Strategy,
    /// Which attributes of a resource become labels.
    pub promoted: Promoted,
    /// Whether `target_info` has the attributes too that `job` and `instance` are made of.
    pub keep_identifying: bool,
    /// Whether histograms with given bounds become native ones with custom buckets.
    pub convert_to_nhcb: bool,
    /// Whether name, version, schema and attributes of the scope become labels.
    pub promote_scope: bool,
    /// Whether label names that begin with one underscore get `key` before it.
    pub underscore_sanitization: bool,
    /// Whether several underscores in a row stay in label names.
    pub preserve_multiple_underscores: bool,
    /// Whether delta temporality is taken as it comes; otherwise it is refused.
    pub native_delta: bool,
    /// Whether series get the labels `__type__` and `__unit__`.
    pub type_and_unit_labels: bool,
    /// Time between samples of `target_info` where a request spans more: half of a query's lookback.
    pub info_interval: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            strategy: Strategy::default(),
            promoted: Promoted::Only(BTreeSet::new()),
            keep_identifying: false,
            convert_to_nhcb: false,
            promote_scope: false,
            underscore_sanitization: true,
            preserve_multiple_underscores: true,
            native_delta: false,
            type_and_unit_labels: false,
            info_interval: Duration::from_secs(150),
        }
    }
}
