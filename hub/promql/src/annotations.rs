//! Warnings and infos that an evaluation leaves beside its answer, each with the position of what it is about.
//!
//! The same text is kept once, with the position where it was met last, as in Prometheus.

use std::collections::BTreeMap;

use crate::ast::Span;
use crate::text::{format_general, quote};

/// What can be said about an evaluation.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Annotation<'a> {
    InvalidQuantile(f64),
    InvalidRatio {
        found: f64,
        used: f64,
    },
    BadBucketLabel {
        metric: &'a str,
        label: &'a str,
    },
    MixedFloatsHistograms {
        metric: &'a str,
    },
    MixedFloatsHistogramsInAggregation,
    MixedClassicNative {
        metric: &'a str,
    },
    NotCounter {
        metric: &'a str,
    },
    NotGauge {
        metric: &'a str,
    },
    MixedSchemas {
        metric: &'a str,
    },
    IncompatibleBuckets {
        operator: &'a str,
    },
    SortInRangeQuery,
    ResetCollision {
        operation: Operation,
    },
    StartTimeOverlap {
        metric: &'a str,
    },
    PossibleNonCounter {
        metric: &'a str,
    },
    PossibleNonCounterType {
        metric: &'a str,
        found: &'a str,
    },
    ForcedMonotonicity {
        metric: &'a str,
        at_ms: i64,
        lowest: f64,
        highest: f64,
        greatest: f64,
    },
    IncompatibleTypes {
        left: &'a str,
        operator: &'a str,
        right: &'a str,
    },
    IgnoredInAggregation {
        operator: &'a str,
    },
    IgnoredInMixedRange {
        metric: &'a str,
    },
    QuantileNanResult {
        metric: &'a str,
    },
    QuantileNanSkew {
        metric: &'a str,
    },
    FractionNan {
        metric: &'a str,
    },
    MismatchedCustomBuckets {
        operation: Operation,
    },
}

/// What was done with histograms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    Addition,
    Subtraction,
    Aggregation,
}

impl Operation {
    fn name(self) -> &'static str {
        match self {
            Operation::Addition => "addition",
            Operation::Subtraction => "subtraction",
            Operation::Aggregation => "aggregation",
        }
    }
}

/// What one text needs besides its position.
#[derive(Clone, Debug)]
enum Detail {
    None,
    Occurrences(u64),
    Monotonicity {
        from_ms: i64,
        to_ms: i64,
        lowest: f64,
        highest: f64,
        greatest: f64,
        samples: u64,
    },
}

#[derive(Clone, Debug)]
struct Entry {
    position: (usize, usize),
    detail: Detail,
}

/// The annotations of an evaluation.
#[derive(Clone, Debug, Default)]
pub(crate) struct Annotations {
    warnings: BTreeMap<String, Entry>,
    infos: BTreeMap<String, Entry>,
    storage: Vec<String>,
}

impl Annotations {
    /// Something that the storage says, without a position.
    pub(crate) fn add_storage_warning(&mut self, warning: String) {
        if !self.storage.contains(&warning) {
            self.storage.push(warning);
        }
    }

    pub(crate) fn add(&mut self, annotation: &Annotation<'_>, span: Span) {
        let (is_info, text) = text(annotation);
        let (kind, entries) = if is_info {
            ("PromQL info", &mut self.infos)
        } else {
            ("PromQL warning", &mut self.warnings)
        };
        let key = format!("{kind}: {text}");
        let detail = detail(annotation);
        let position = span.line_and_column();
        put(entries, key, Entry { position, detail });
    }

    /// Adds what was said elsewhere, later.
    pub(crate) fn merge(&mut self, later: Annotations) {
        for (mine, theirs) in [
            (&mut self.warnings, later.warnings),
            (&mut self.infos, later.infos),
        ] {
            for (key, entry) in theirs {
                put(mine, key, entry);
            }
        }
        later
            .storage
            .into_iter()
            .for_each(|warning| self.add_storage_warning(warning));
    }

    /// Warnings and infos as an answer shows them: at most `shown_max` of each, 0 for all, and the number of the rest.
    pub(crate) fn into_texts(self, shown_max: usize) -> (Vec<String>, Vec<String>) {
        let mut warnings = self.storage;
        warnings.extend(shown(self.warnings, "warning", shown_max));
        (warnings, shown(self.infos, "info", shown_max))
    }
}

/// The later position stands.
fn put(entries: &mut BTreeMap<String, Entry>, key: String, entry: Entry) {
    match entries.get_mut(&key) {
        Some(known) => {
            known.position = entry.position;
            known.detail = merged(&known.detail, entry.detail);
        }
        None => {
            entries.insert(key, entry);
        }
    }
}

fn shown(entries: BTreeMap<String, Entry>, kind: &str, shown_max: usize) -> Vec<String> {
    let shown_max = if shown_max == 0 {
        usize::MAX
    } else {
        shown_max
    };
    let omitted = entries.len().saturating_sub(shown_max);
    let mut texts: Vec<String> = entries
        .into_iter()
        .take(shown_max)
        .map(|(text, entry)| format_entry(&text, &entry))
        .collect();
    if omitted > 0 {
        texts.push(format!("{omitted} more {kind} annotations omitted"));
    }
    texts
}

fn format_entry(text: &str, entry: &Entry) -> String {
    let (line, column) = entry.position;
    match &entry.detail {
        Detail::None | Detail::Occurrences(1) => format!("{text} ({line}:{column})"),
        Detail::Occurrences(n) => format!("{text} ({n} occurrences) ({line}:{column})"),
        Detail::Monotonicity {
            from_ms,
            to_ms,
            lowest,
            highest,
            greatest,
            samples,
        } => format!(
            "{text}, from buckets {} to {}, with a max diff of {}, over {samples} samples from {} to {} ({line}:{column})",
            format_general(*lowest),
            format_general(*highest),
            two_digits(*greatest),
            crate::time::rfc3339(from_ms.div_euclid(1000)),
            crate::time::rfc3339(to_ms.div_euclid(1000)),
        ),
    }
}

/// Two significant digits: Go's `%.2g`.
fn two_digits(value: f64) -> String {
    let rounded: f64 = format!("{value:.1e}").parse().unwrap_or(value);
    let exponent = if rounded == 0.0 {
        0
    } else {
        rounded.abs().log10().floor() as i32
    };
    if (-4..2).contains(&exponent) {
        return format!("{rounded}");
    }
    let text = format!("{rounded:e}");
    let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{digits}e{sign}{:02}", exponent.abs())
}

fn detail(annotation: &Annotation<'_>) -> Detail {
    match *annotation {
        Annotation::StartTimeOverlap { .. } => Detail::Occurrences(1),
        Annotation::ForcedMonotonicity {
            at_ms,
            lowest,
            highest,
            greatest,
            ..
        } => Detail::Monotonicity {
            from_ms: at_ms,
            to_ms: at_ms,
            lowest,
            highest,
            greatest,
            samples: 1,
        },
        _ => Detail::None,
    }
}

fn merged(a: &Detail, b: Detail) -> Detail {
    match (a, b) {
        (Detail::Occurrences(a), Detail::Occurrences(b)) => Detail::Occurrences(a + b),
        (
            Detail::Monotonicity {
                from_ms,
                to_ms,
                lowest,
                highest,
                greatest,
                samples,
            },
            Detail::Monotonicity {
                from_ms: from_b,
                to_ms: to_b,
                lowest: lowest_b,
                highest: highest_b,
                greatest: greatest_b,
                samples: samples_b,
            },
        ) => Detail::Monotonicity {
            from_ms: from_b.min(*from_ms),
            to_ms: to_b.max(*to_ms),
            lowest: lowest_b.min(*lowest),
            highest: highest_b.max(*highest),
            greatest: greatest_b.max(*greatest),
            samples: samples + samples_b,
        },
        (_, b) => b,
    }
}

/// Whether it is only an info, and its text.
fn text(annotation: &Annotation<'_>) -> (bool, String) {
    let named = |text: &str, metric: &str| {
        if metric.is_empty() {
            text.to_owned()
        } else {
            format!("{text} for metric name {}", quote(metric))
        }
    };
    let warning = |text: String| (false, text);
    let info = |text: String| (true, text);
    match annotation {
        Annotation::InvalidQuantile(q) => warning(format!(
            "quantile value should be between 0 and 1, got {}",
            format_general(*q)
        )),
        Annotation::InvalidRatio { found, used } => warning(format!(
            "ratio value should be between -1 and 1, got {}, capping to {}",
            format_general(*found),
            format_general(*used)
        )),
        Annotation::BadBucketLabel { metric, label } => warning(named(
            &format!(
                "bucket label \"le\" is missing or has a malformed value of {}",
                quote(label)
            ),
            metric,
        )),
        Annotation::MixedFloatsHistograms { metric } => warning(format!(
            "encountered a mix of histograms and floats for metric name {}",
            quote(metric)
        )),
        Annotation::MixedFloatsHistogramsInAggregation => {
            warning("encountered a mix of histograms and floats for aggregation".to_owned())
        }
        Annotation::MixedClassicNative { metric } => warning(named(
            "vector contains a mix of classic and native histograms",
            metric,
        )),
        Annotation::NotCounter { metric } => warning(format!(
            "this native histogram metric is not a counter: {}",
            quote(metric)
        )),
        Annotation::NotGauge { metric } => warning(format!(
            "this native histogram metric is not a gauge: {}",
            quote(metric)
        )),
        Annotation::MixedSchemas { metric } => warning(format!(
            "vector contains a mix of histograms with exponential and custom buckets schemas for metric name {}",
            quote(metric)
        )),
        Annotation::IncompatibleBuckets { operator } => warning(format!(
            "incompatible bucket layout encountered for binary operator {operator}"
        )),
        Annotation::SortInRangeQuery => warning(
            "sort is ineffective for range queries since results are always ordered by labels"
                .to_owned(),
        ),
        Annotation::ResetCollision { operation } => warning(format!(
            "conflicting counter resets during histogram {}",
            operation.name()
        )),
        Annotation::StartTimeOverlap { metric } => warning(format!(
            "sample has start time that overlaps with previous sample timestamp for metric {}",
            quote(metric)
        )),
        Annotation::PossibleNonCounter { metric } => info(format!(
            "metric might not be a counter, name does not end in _total/_sum/_count/_bucket: {}",
            quote(metric)
        )),
        Annotation::PossibleNonCounterType { metric, found } => info(format!(
            "metric might not be a counter, __type__ label is not set to \"counter\" or \"histogram\", got {}: {}",
            quote(found),
            quote(metric)
        )),
        Annotation::ForcedMonotonicity { metric, .. } => info(named(
            "input to histogram_quantile needed to be fixed for monotonicity (see https://prometheus.io/docs/prometheus/latest/querying/functions/#histogram_quantile)",
            metric,
        )),
        Annotation::IncompatibleTypes {
            left,
            operator,
            right,
        } => info(format!(
            "incompatible sample types encountered for binary operator {}: {left} {operator} {right}",
            quote(operator)
        )),
        Annotation::IgnoredInAggregation { operator } => {
            info(format!("ignored histogram in {operator} aggregation"))
        }
        Annotation::IgnoredInMixedRange { metric } => info(format!(
            "ignored histograms in a range containing both floats and histograms for metric name {}",
            quote(metric)
        )),
        Annotation::QuantileNanResult { metric } => info(named(
            "input to histogram_quantile has NaN observations, result is NaN",
            metric,
        )),
        Annotation::QuantileNanSkew { metric } => info(named(
            "input to histogram_quantile has NaN observations, result is skewed higher",
            metric,
        )),
        Annotation::FractionNan { metric } => info(named(
            "input to histogram_fraction has NaN observations, which are excluded from all fractions",
            metric,
        )),
        Annotation::MismatchedCustomBuckets { operation } => info(format!(
            "mismatched custom buckets were reconciled during {}",
            operation.name()
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_text_is_kept_once() {
        let mut annotations = Annotations::default();
        annotations.add(
            &Annotation::PossibleNonCounter { metric: "up" },
            Span::new(5, 9),
        );
        annotations.add(
            &Annotation::PossibleNonCounter { metric: "up" },
            Span::new(15, 19),
        );
        annotations.add(&Annotation::InvalidQuantile(1.5), Span::new(0, 1));
        let (warnings, infos) = annotations.into_texts(10);
        assert_eq!(
            warnings,
            ["PromQL warning: quantile value should be between 0 and 1, got 1.5 (1:1)"]
        );
        assert_eq!(
            infos,
            [
                "PromQL info: metric might not be a counter, name does not end in _total/_sum/_count/_bucket: \"up\" (1:16)"
            ]
        );
    }

    #[test]
    fn too_many_are_counted() {
        let mut annotations = Annotations::default();
        for n in 0..13 {
            annotations.add(
                &Annotation::NotGauge {
                    metric: &n.to_string(),
                },
                Span::default(),
            );
        }
        let (warnings, _) = annotations.into_texts(10);
        assert_eq!(warnings.len(), 11);
        assert_eq!(warnings[10], "3 more warning annotations omitted");
    }

    #[test]
    fn two_digits_as_go_writes_them() {
        let check = |value: f64, text: &str| assert_eq!(two_digits(value), text);
        check(2.0, "2");
        check(0.123, "0.12");
        check(1234.0, "1.2e+03");
        check(99.9, "1e+02");
    }
}
