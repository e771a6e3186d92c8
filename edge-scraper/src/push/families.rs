//! Metric families as somebody wrote them down: read from a text that must be whole, joined with others, and written as a page.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use model::{BUCKET_LABEL, Histogram, LabelSet, METRIC_NAME, Metadata, MetricType};
use wire::exposition::{Entry, Format, Parser};

use crate::config::Histograms;

/// Families by name.
pub(crate) type Families = BTreeMap<String, Family>;

/// One family.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Family {
    pub(crate) about: Metadata,
    /// In the order written, each with its metric's name (`…_bucket`).
    pub(crate) samples: Vec<(LabelSet, f64)>,
    /// Native histograms, each with the family's name. Only protobuf has them.
    pub(crate) natives: Vec<(LabelSet, Arc<Histogram>)>,
}

impl Family {
    pub(crate) fn is_empty(&self) -> bool {
        self.samples.is_empty() && self.natives.is_empty()
    }

    pub(crate) fn series(&self) -> usize {
        self.samples.len() + self.natives.len()
    }

    /// Leaves of histograms that have both forms the one that is wanted, as a scrape with these settings would. A histogram that is
    /// native alone stays in any case.
    pub(crate) fn choose(&mut self, wanted: &Histograms) {
        if self.natives.is_empty() || (wanted.native && wanted.classic_too) {
            return;
        }
        let metric =
            |labels: &LabelSet| labels.builder().del(METRIC_NAME).del(BUCKET_LABEL).build();
        if wanted.native {
            let natives: BTreeSet<LabelSet> = self.natives.iter().map(|(l, _)| metric(l)).collect();
            self.samples
                .retain(|(labels, _)| !natives.contains(&metric(labels)));
        } else {
            let classic: BTreeSet<LabelSet> = self.samples.iter().map(|(l, _)| metric(l)).collect();
            self.natives
                .retain(|(labels, _)| !classic.contains(&metric(labels)));
        }
    }
}

/// Why a text is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unfit {
    /// It is not in the format.
    #[error("text format parsing error: {0}")]
    Format(String),
    /// It is, and says what it must not.
    #[error("{0}")]
    Content(String),
}

/// Reads a text in the classic format.
///
/// # Errors
/// What is wrong with it: not in the format, a timestamp, one series twice, labels that are none.
pub(crate) fn read(text: &[u8]) -> Result<Families, Unfit> {
    let mut families = read_all(text)?;
    families.retain(|_, family| !family.is_empty());
    Ok(families)
}

/// The same, with the families that have no samples.
///
/// # Errors
/// As [`read`].
pub(super) fn read_all(text: &[u8]) -> Result<Families, Unfit> {
    let format = |why: String| Unfit::Format(why);
    if let Some(at) = text.iter().position(|byte| *byte == 0) {
        // A scrape ends there, and what is behind it would be lost in silence.
        return Err(format(format!("a NUL byte at byte {at}")));
    }
    if std::str::from_utf8(text).is_err() {
        return Err(format("it is not UTF-8".to_owned()));
    }
    let mut families = Families::new();
    let mut seen = BTreeSet::new();
    let mut parser = Parser::new(Format::Classic, text);
    loop {
        let entry = parser
            .next_entry()
            .map_err(|error| format(error.to_string()))?;
        match entry {
            None => break,
            Some(Entry::Help { family, text }) => {
                let family = families.entry(family.into_owned()).or_default();
                family.about.help = text.into_owned();
            }
            Some(Entry::Type { family, kind }) => {
                let known = families.entry(family.clone().into_owned()).or_default();
                if !known.samples.is_empty() {
                    return Err(format(format!(
                        "the TYPE of {family} stands behind its samples"
                    )));
                }
                known.about.kind = kind;
            }
            Some(Entry::Unit { .. } | Entry::Comment { .. }) => {}
            Some(Entry::Sample(sample)) => {
                if sample.timestamp.is_some() {
                    return Err(Unfit::Content(format!(
                        "metrics must not have timestamps, and {} has one",
                        sample.labels.metric()
                    )));
                }
                let labels = sample.labels.iter().map(|(name, value)| match &*name {
                    // Blanks before a name are no part of it here.
                    METRIC_NAME => (name, value.trim_start().to_owned()),
                    _ => (name, value.into_owned()),
                });
                let labels =
                    LabelSet::from_pairs(labels).map_err(|error| format(error.to_string()))?;
                let name = labels.name().unwrap_or_default();
                if name.is_empty() {
                    return Err(format("a metric without a name".to_owned()));
                }
                if !seen.insert(labels.clone()) {
                    return Err(Unfit::Content(twice(&labels)));
                }
                let family = family_of(&families, name);
                let family = families.entry(family).or_default();
                family.samples.push((labels, sample.value));
            }
        }
    }
    Ok(families)
}

/// In the words of Prometheus's client library.
pub(crate) fn twice(labels: &LabelSet) -> String {
    format!("collected metric {labels} was collected before with the same name and label values")
}

/// The family that a sample of this name belongs to.
fn family_of(families: &Families, name: &str) -> String {
    let of = |suffix: &str, kinds: &[MetricType]| {
        let family = name.strip_suffix(suffix)?;
        let known = families.get(family)?;
        kinds.contains(&known.about.kind).then_some(family)
    };
    use MetricType::{GaugeHistogram, Histogram, Summary};
    let both = [Histogram, GaugeHistogram, Summary];
    of("_bucket", &both[..2])
        .or_else(|| of("_sum", &both))
        .or_else(|| of("_count", &both))
        .unwrap_or(name)
        .to_owned()
}

/// Names of metrics that a family has besides its own.
pub(crate) fn other_names(name: &str, kind: MetricType) -> Vec<String> {
    let suffixes: &[&str] = match kind {
        MetricType::Histogram | MetricType::GaugeHistogram => &["_bucket", "_sum", "_count"],
        MetricType::Summary => &["_sum", "_count"],
        _ => &[],
    };
    suffixes
        .iter()
        .map(|suffix| format!("{name}{suffix}"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> String {
        match read(text.as_bytes()) {
            Err(error) => error.to_string(),
            Ok(families) => families
                .iter()
                .map(|(name, family)| {
                    let samples: Vec<String> = family
                        .samples
                        .iter()
                        .map(|(labels, value)| format!("{labels} {value}"))
                        .collect();
                    format!(
                        "{name}:{}:{}: {}",
                        family.about.kind.as_str(),
                        family.about.help,
                        samples.join(", ")
                    )
                })
                .collect::<Vec<_>>()
                .join("; "),
        }
    }

    #[test]
    fn samples_find_their_family() {
        assert_eq!(
            shown(
                "# TYPE h histogram\n# HELP h of time\nh_bucket{le=\"1\"} 1\nh_bucket{le=\"+Inf\"} 2\nh_sum 3\nh_count 2\n  a_count 1\n"
            ),
            "a_count:unknown:: a_count 1; h:histogram:of time: h_bucket{le=\"1.0\"} 1, h_bucket{le=\"+Inf\"} 2, h_sum 3, h_count 2"
        );
        assert_eq!(shown(""), "");
        assert_eq!(shown("# TYPE only gauge\n"), "");
    }

    #[test]
    fn what_is_refused() {
        let check = |text: &str, expected: &str| {
            let found = shown(text);
            assert!(found.contains(expected), "{text:?}: {found}");
        };
        check(
            "a 1 1700000000000\n",
            "must not have timestamps, and a has one",
        );
        check("a 1\na 2\n", "collected metric a was collected before");
        check("a{b=\"1\"", "text format parsing error: line 1");
        check("a 1\0b 2\n", "a NUL byte at byte 3");
        check("a 1\n# TYPE a gauge\n", "behind its samples");
        check("a{b=\"1\",b=\"2\"} 1\n", "duplicate label name");
        assert!(
            read(b"a{b=\"\xff\"} 1\n")
                .unwrap_err()
                .to_string()
                .contains("UTF-8")
        );
    }
}
