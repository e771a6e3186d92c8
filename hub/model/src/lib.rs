//! The nouns that every other crate shares: what is a label set, a matcher, a sample, a native histogram,
//! a timestamp, a staleness marker, an exemplar, a relabelling rule, an alert?
//!
//! Not here, on purpose: anything that reads or writes (files, sockets, clocks), anything asynchronous, and
//! every outside format (`wire` knows protobuf, JSON and text; the services know YAML).
//!
//! ```
//! use model::{LabelSet, Matcher, MatchOp};
//!
//! let labels = LabelSet::from_pairs([("__name__", "up"), ("branch", "b07"), ("job", "node")]).unwrap();
//! let north = Matcher::new(MatchOp::Regex, "branch", "b0[1-9]").unwrap();
//! assert!(north.matches_labels(&labels));
//! assert_eq!(labels.to_string(), r#"up{branch="b07", job="node"}"#);
//! ```

mod alert;
pub mod duration;
mod exemplar;
mod histogram;
mod labels;
pub mod letter_case;
mod matcher;
mod metadata;
mod packed;
pub mod re2;
pub mod relabel;
mod sample;
mod series;
mod timestamp;

pub use alert::Alert;
pub use exemplar::Exemplar;
pub use histogram::{
    BucketBound, Buckets, CUSTOM_BUCKETS_SCHEMA, Histogram, HistogramError, ResetHint, SCHEMA_MAX,
    SCHEMA_MIN, Span,
};
pub use labels::{
    ALERT_NAME, BRANCH, BUCKET_LABEL, EncodedLabel, INSTANCE, JOB, LabelError, LabelSet,
    LabelSetBuilder, METRIC_NAME, QUANTILE_LABEL, SortedLabels, encode_label, is_legacy_label_name,
    is_legacy_metric_name,
};
pub use matcher::{MatchOp, Matcher, MatcherError};
pub use metadata::{Metadata, MetricType};
pub use packed::PackedLabels;
pub use sample::{STALE_NAN_BITS, Sample, Value, is_stale, stale_nan};
pub use series::{Series, SeriesId};
pub use timestamp::Timestamp;
