use std::borrow::Cow;
use std::ops::Range;

use model::{
    BUCKET_LABEL, LabelError, LabelSet, METRIC_NAME, MetricType, QUANTILE_LABEL, Timestamp,
};

use super::number::{format_open_metrics, parse_bound};
use super::scan::Scan;

/// One line of an exposition.
#[derive(Clone, Debug)]
pub enum Entry<'p> {
    /// `# HELP family text`.
    Help {
        /// The metric family.
        family: Cow<'p, str>,
        /// The text, unescaped.
        text: Cow<'p, str>,
    },
    /// `# TYPE family type`.
    Type {
        /// The metric family.
        family: Cow<'p, str>,
        /// Its type; the classic format's `untyped` is unknown.
        kind: MetricType,
    },
    /// `# UNIT family unit`, OpenMetrics only.
    Unit {
        /// The metric family.
        family: Cow<'p, str>,
        /// The unit; may be empty.
        unit: Cow<'p, str>,
    },
    /// Any other line that begins with `#`, classic format only, the `#` included.
    Comment {
        /// The line; bytes that are not UTF-8 are replaced.
        text: Cow<'p, str>,
    },
    /// A sample.
    Sample(SampleEntry<'p>),
}

/// A sample as it stands in the text.
#[derive(Clone, Debug)]
pub struct SampleEntry<'p> {
    /// The bytes of name and labels as written. Equal bytes under the same `# TYPE` mean equal labels: a scrape loop
    /// may find known series by them without looking at labels.
    pub series: &'p [u8],
    /// Its labels.
    pub labels: Labels<'p>,
    /// The value; every NaN has the same bits, those of Prometheus's ordinary NaN, never the staleness marker's.
    pub value: f64,
    /// The time, where the target gave one.
    pub timestamp: Option<Timestamp>,
    /// The exemplar, where there is one (OpenMetrics).
    pub exemplar: Option<ExemplarEntry<'p>>,
}

/// A sample of a series that the caller knows: what stands behind name and labels.
#[derive(Clone, Debug)]
pub struct KnownSample<'p> {
    /// As [`SampleEntry::value`].
    pub value: f64,
    /// As [`SampleEntry::timestamp`].
    pub timestamp: Option<Timestamp>,
    /// As [`SampleEntry::exemplar`].
    pub exemplar: Option<ExemplarEntry<'p>>,
}

/// An exemplar as it stands in the text.
#[derive(Clone, Debug)]
pub struct ExemplarEntry<'p> {
    /// Its labels, without a metric name.
    pub labels: Labels<'p>,
    /// The observed value.
    pub value: f64,
    /// When, where the target says so.
    pub timestamp: Option<Timestamp>,
}

/// Why a text is not in its format. Lines and columns count from 1, columns in bytes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}, byte {column}: expected {expected}, found {found}")]
pub struct ParseError {
    /// The line.
    pub line: usize,
    /// The byte in that line.
    pub column: usize,
    /// What should have stood there.
    pub expected: &'static str,
    /// What stood there, shortened.
    pub found: String,
}

/// The labels of a sample or exemplar, not yet unescaped. They may hold a name twice: the format allows it, a label set
/// does not.
#[derive(Clone, Debug)]
pub struct Labels<'p> {
    scan: &'p Scan<'p>,
    metric: Option<Range<usize>>,
    pairs: &'p [Pair],
    /// The type of the latest `# TYPE` line, which decides how `le` and `quantile` are written.
    kind: MetricType,
    escaped: bool,
}

impl<'p> Labels<'p> {
    /// Name and value in the order written, the metric name first, as `__name__`.
    pub fn iter(&self) -> impl Iterator<Item = (Cow<'p, str>, Cow<'p, str>)> + '_ {
        let metric = self
            .metric
            .iter()
            .map(|name| (Cow::Borrowed(METRIC_NAME), self.text(name)));
        metric.chain(self.pairs.iter().map(|pair| {
            let name = self.text(&pair.name);
            let value = self.normalized(&name, self.text(&pair.value));
            (name, value)
        }))
    }

    /// Name and value in order of names; pairs of the same name in the order written.
    pub fn sorted(&self) -> Vec<(Cow<'p, str>, Cow<'p, str>)> {
        let mut pairs: Vec<_> = self.iter().collect();
        pairs.sort_by(|a, b| a.0.cmp(&b.0));
        pairs
    }

    /// The metric name; empty for an exemplar.
    pub fn metric(&self) -> Cow<'p, str> {
        self.metric
            .as_ref()
            .map_or(Cow::Borrowed(""), |name| self.text(name))
    }

    /// How many labels, the metric name included.
    pub fn len(&self) -> usize {
        self.pairs.len() + usize::from(self.metric.is_some())
    }

    /// Whether there is no label at all.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The labels as a set.
    ///
    /// # Errors
    /// A name that occurs twice, or an empty name.
    pub fn to_label_set(&self) -> Result<LabelSet, LabelError> {
        LabelSet::from_pairs(self.iter())
    }

    fn text(&self, range: &Range<usize>) -> Cow<'p, str> {
        let text = self.scan.str(range.clone());
        if self.escaped {
            unescape(text, true)
        } else {
            text
        }
    }

    /// `le` of a histogram and `quantile` of a summary are the same label whether a target writes 1, 1.0 or 1e0.
    fn normalized(&self, name: &str, value: Cow<'p, str>) -> Cow<'p, str> {
        let bound = match self.kind {
            MetricType::Histogram => name == BUCKET_LABEL,
            MetricType::Summary => name == QUANTILE_LABEL,
            _ => false,
        };
        if !bound {
            return value;
        }
        match parse_bound(&value) {
            Some(number) => Cow::Owned(format_open_metrics(number)),
            None => value,
        }
    }
}

/// Resolves `\\`, `\n` and, where quotes are escaped, `\"`; any other backslash stays as it is.
pub(super) fn unescape(text: Cow<'_, str>, quotes: bool) -> Cow<'_, str> {
    if !text.contains('\\') {
        return text;
    }
    let mut out = String::with_capacity(text.len());
    let mut rest: &str = &text;
    while let Some(at) = rest.find('\\') {
        out.push_str(&rest[..at]);
        let (character, length) = match rest.as_bytes().get(at + 1) {
            Some(b'\\') => ('\\', 2),
            Some(b'n') => ('\n', 2),
            Some(b'"') if quotes => ('"', 2),
            _ => ('\\', 1),
        };
        out.push(character);
        rest = &rest[at + length..];
    }
    out.push_str(rest);
    Cow::Owned(out)
}

/// Where a label stands, without quotes.
#[derive(Clone, Debug)]
pub(super) struct Pair {
    pub(super) name: Range<usize>,
    pub(super) value: Range<usize>,
}

/// What the two readers found in the entry just read, as places in the text; used again for every entry.
#[derive(Clone, Debug, Default)]
pub(super) struct Found {
    /// HELP, TYPE, UNIT: the family. Samples: the metric name.
    pub(super) name: Range<usize>,
    /// HELP, UNIT: the text. Comment: the line. Samples: name and labels.
    pub(super) text: Range<usize>,
    /// Of the latest `# TYPE` line, across entries.
    pub(super) kind: MetricType,
    pub(super) labels: Vec<Pair>,
    pub(super) value: f64,
    pub(super) timestamp: Option<i64>,
    pub(super) exemplar: Option<(f64, Option<i64>)>,
    pub(super) exemplar_labels: Vec<Pair>,
    /// Quotes in HELP texts are escaped (OpenMetrics).
    pub(super) help_quotes: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Help,
    Type,
    Unit,
    Comment,
    Sample,
}

impl Found {
    pub(super) fn start_sample(&mut self) {
        self.labels.clear();
        self.exemplar_labels.clear();
        self.timestamp = None;
        self.exemplar = None;
    }

    pub(super) fn entry<'p>(&'p self, kind: Kind, scan: &'p Scan<'p>) -> Entry<'p> {
        let family = || scan.str(self.name.clone());
        let text = || scan.str(self.text.clone());
        match kind {
            Kind::Help => Entry::Help {
                family: family(),
                text: unescape(text(), self.help_quotes),
            },
            Kind::Type => Entry::Type {
                family: family(),
                kind: self.kind,
            },
            Kind::Unit => Entry::Unit {
                family: family(),
                unit: text(),
            },
            Kind::Comment => Entry::Comment { text: text() },
            Kind::Sample => Entry::Sample(SampleEntry {
                series: scan.bytes(self.text.clone()),
                labels: Labels {
                    scan,
                    metric: Some(self.name.clone()),
                    pairs: &self.labels,
                    kind: self.kind,
                    escaped: true,
                },
                value: self.value,
                timestamp: self.timestamp.map(Timestamp::from_millis),
                exemplar: self.exemplar_entry(scan),
            }),
        }
    }
    /// What stands behind a known series.
    pub(super) fn known<'p>(&'p self, scan: &'p Scan<'p>) -> KnownSample<'p> {
        KnownSample {
            value: self.value,
            timestamp: self.timestamp.map(Timestamp::from_millis),
            exemplar: self.exemplar_entry(scan),
        }
    }

    fn exemplar_entry<'p>(&'p self, scan: &'p Scan<'p>) -> Option<ExemplarEntry<'p>> {
        self.exemplar.map(|(value, at)| ExemplarEntry {
            labels: Labels {
                scan,
                metric: None,
                pairs: &self.exemplar_labels,
                kind: MetricType::Unknown,
                escaped: false,
            },
            value,
            timestamp: at.map(Timestamp::from_millis),
        })
    }
}
