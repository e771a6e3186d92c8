//! Between remote write's messages and the model's nouns.

use model::{
    Exemplar, HistogramError, LabelError, LabelSet, METRIC_NAME, Metadata, Sample, Timestamp, Value,
};
use prost::Message;
use prost::encoding::{WireType, encode_key, encode_varint, encoded_len_varint};

use super::histogram::{histogram_from_proto, histogram_to_proto};
use super::proto;
use super::{DecodeError, SeriesView};

/// Why one series of a request cannot be stored; the other series can.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum SeriesRefusal {
    /// No label `__name__`, or an empty one.
    #[error("series {labels} has no metric name")]
    NoName {
        /// The labels that it has, shortened.
        labels: String,
    },
    /// The same label name twice.
    #[error("series with metric name {metric:?}: duplicate label name {name:?}")]
    DuplicateLabel {
        /// The metric name, as far as known.
        metric: String,
        /// The label name.
        name: String,
    },
    /// A label with an empty name.
    #[error("series with metric name {metric:?}: a label has an empty name")]
    EmptyLabelName {
        /// The metric name, as far as known.
        metric: String,
    },
    /// The bytes inside the labels are no labels.
    #[error("labels of a series cannot be read: {0}")]
    Malformed(#[from] DecodeError),
    /// References to symbols (remote write 2.0) that lead nowhere.
    #[error("a series cannot be read: {0}")]
    References(String),
    /// An exemplar whose labels are none.
    #[error("an exemplar cannot be read: {0}")]
    Exemplar(String),
    /// An exemplar with more label text than anybody takes.
    #[error(
        "labels of an exemplar have more than {} characters",
        Exemplar::LABEL_CHARS_MAX
    )]
    ExemplarTooLong,
    /// A native histogram that contradicts itself.
    #[error("native histogram of {series} at {at}: {error}")]
    Histogram {
        /// The series, shortened.
        series: String,
        /// The histogram's time.
        at: Timestamp,
        /// What is wrong.
        error: HistogramError,
    },
}

/// Checks an exemplar as it comes from outside, before anything is made of its labels.
pub(crate) fn exemplar(
    pairs: &[(&str, &str)],
    value: f64,
    timestamp: i64,
) -> Result<Exemplar, SeriesRefusal> {
    let bytes = pairs.iter().map(|(name, value)| name.len() + value.len());
    // A character has four bytes at most.
    if bytes.fold(0, usize::saturating_add) > 4 * Exemplar::LABEL_CHARS_MAX {
        return Err(SeriesRefusal::ExemplarTooLong);
    }
    let labels = LabelSet::from_pairs(pairs.iter().copied())
        .map_err(|error| SeriesRefusal::Exemplar(error.to_string()))?;
    let exemplar = Exemplar {
        labels,
        value,
        at: Timestamp::from_millis(timestamp),
    };
    match exemplar.is_short() {
        true => Ok(exemplar),
        false => Err(SeriesRefusal::ExemplarTooLong),
    }
}

/// A series in the model's nouns.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    /// Its labels, with a metric name.
    pub labels: LabelSet,
    /// Its floats in the order sent, then its native histograms in the order sent.
    pub samples: Vec<Sample>,
}

/// Checks labels as they come from outside: any order, with a metric name, no name twice. Labels with an empty value
/// are left out.
///
/// # Errors
/// The refusal of the series.
pub fn label_set(pairs: &[(&str, &str)]) -> Result<LabelSet, SeriesRefusal> {
    let metric = pairs
        .iter()
        .find(|(name, _)| *name == METRIC_NAME)
        .map_or("", |(_, value)| value);
    let labels = LabelSet::from_pairs(pairs.iter().copied()).map_err(|error| match error {
        LabelError::DuplicateName { name } => SeriesRefusal::DuplicateLabel {
            metric: shorten(metric),
            name: shorten(&name),
        },
        _ => SeriesRefusal::EmptyLabelName {
            metric: shorten(metric),
        },
    })?;
    if metric.is_empty() {
        return Err(SeriesRefusal::NoName {
            labels: shorten(&labels.to_string()),
        });
    }
    Ok(labels)
}

impl SeriesView<'_> {
    /// The labels, checked.
    ///
    /// # Errors
    /// The refusal of the series.
    pub fn labels(&self) -> Result<LabelSet, SeriesRefusal> {
        match self.plain_labels() {
            Some(labels) => Ok(labels),
            None => label_set(&self.raw_labels()?),
        }
    }

    /// The exemplars in the model's form.
    pub fn checked_exemplars(&self) -> impl Iterator<Item = Result<Exemplar, SeriesRefusal>> + '_ {
        self.exemplars().map(|sent| {
            let sent = sent?;
            let labels = sent.labels.iter();
            let pairs: Vec<(&str, &str)> = labels.map(|l| (&*l.name, &*l.value)).collect();
            exemplar(&pairs, sent.value, sent.timestamp)
        })
    }

    /// The samples, floats first, appended to `samples`. A native histogram that is not valid is left out and its
    /// refusal appended to `refused`; `series` names the series in it and is only called then.
    pub fn samples_into(
        &self,
        samples: &mut Vec<Sample>,
        refused: &mut Vec<SeriesRefusal>,
        series: impl Fn() -> String,
    ) {
        samples.extend(
            self.samples
                .iter()
                .map(|(at, value)| Sample::float(Timestamp::from_millis(*at), *value)),
        );
        for histogram in self.histograms() {
            let converted = histogram
                .map_err(SeriesRefusal::from)
                .and_then(|histogram| {
                    let at = Timestamp::from_millis(histogram.timestamp);
                    histogram_from_proto(&histogram)
                        .map(|value| Sample::histogram(at, value))
                        .map_err(|error| SeriesRefusal::Histogram {
                            series: shorten(&series()),
                            at,
                            error,
                        })
                });
            match converted {
                Ok(sample) => samples.push(sample),
                Err(refusal) => refused.push(refusal),
            }
        }
    }
}

/// A decoded series in the model's nouns.
///
/// # Errors
/// The refusal of the series; a single bad histogram refuses all of it here ([`SeriesView::samples_into`] is finer).
pub fn series_from_proto(series: &proto::TimeSeries) -> Result<Series, SeriesRefusal> {
    let pairs: Vec<(&str, &str)> = series
        .labels
        .iter()
        .map(|l| (l.name.as_str(), l.value.as_str()))
        .collect();
    let labels = label_set(&pairs)?;
    let mut samples: Vec<Sample> = series
        .samples
        .iter()
        .map(|s| Sample::float(Timestamp::from_millis(s.timestamp), s.value))
        .collect();
    for histogram in &series.histograms {
        let at = Timestamp::from_millis(histogram.timestamp);
        let value = histogram_from_proto(histogram).map_err(|error| SeriesRefusal::Histogram {
            series: shorten(&labels.to_string()),
            at,
            error,
        })?;
        samples.push(Sample::histogram(at, value));
    }
    Ok(Series { labels, samples })
}

/// A series as remote write's message, labels sorted.
pub fn series_to_proto(labels: &LabelSet, samples: &[Sample]) -> proto::TimeSeries {
    let mut series = proto::TimeSeries {
        labels: labels
            .iter()
            .map(|(n, v)| proto::Label {
                name: n.to_owned(),
                value: v.to_owned(),
            })
            .collect(),
        ..proto::TimeSeries::default()
    };
    for sample in samples {
        match &sample.value {
            Value::Float(value) => {
                series.samples.push(proto::Sample {
                    value: *value,
                    timestamp: sample.at.millis(),
                });
            }
            Value::Histogram(value) => series.histograms.push(histogram_to_proto(value, sample.at)),
        }
    }
    series
}

/// The bytes of the labels of a series as they stand in a request: what the store finds a known series by. Replaces what
/// `bytes` holds.
pub fn put_label_bytes(labels: &LabelSet, bytes: &mut Vec<u8>) {
    bytes.clear();
    for (name, value) in labels {
        encode_key(1, WireType::LengthDelimited, bytes);
        encode_varint((string_len(name) + string_len(value)) as u64, bytes);
        append_string(bytes, 1, name);
        append_string(bytes, 2, value);
    }
}

/// Appends an encoded series to an encoded request: the bytes of [`series_to_proto`]'s message as field 1, made
/// without building it. `message` stays a whole request after every call.
pub fn append_series(message: &mut Vec<u8>, labels: &LabelSet, samples: &[Sample]) {
    let label_len = |name: &str, value: &str| string_len(name) + string_len(value);
    let mut length = 0;
    for (name, value) in labels {
        length += delimited_len(label_len(name, value));
    }
    let mut histograms = Vec::new();
    for sample in samples {
        length += delimited_len(match &sample.value {
            Value::Float(value) => float_len(*value, sample.at),
            Value::Histogram(value) => {
                histograms.push(histogram_to_proto(value, sample.at));
                histograms.last().map_or(0, Message::encoded_len)
            }
        });
    }
    encode_key(1, WireType::LengthDelimited, message);
    encode_varint(length as u64, message);
    for (name, value) in labels {
        encode_key(1, WireType::LengthDelimited, message);
        encode_varint(label_len(name, value) as u64, message);
        append_string(message, 1, name);
        append_string(message, 2, value);
    }
    for sample in samples {
        if let Value::Float(value) = sample.value {
            put_float(message, sample.at, value);
        }
    }
    for histogram in &histograms {
        prost::encoding::message::encode(4, histogram, message);
    }
}

/// Appends an exemplar with the labels of its series to an encoded request: as a series of its own without samples, which is how
/// Prometheus sends them.
pub fn append_exemplar(message: &mut Vec<u8>, labels: &LabelSet, exemplar: &Exemplar) {
    let labels_to_proto = |labels: &LabelSet| {
        let pairs = labels.iter();
        pairs
            .map(|(name, value)| proto::Label {
                name: name.to_owned(),
                value: value.to_owned(),
            })
            .collect()
    };
    let series = proto::TimeSeries {
        labels: labels_to_proto(labels),
        exemplars: vec![proto::Exemplar {
            labels: labels_to_proto(&exemplar.labels),
            value: exemplar.value,
            timestamp: exemplar.at.millis(),
        }],
        ..proto::TimeSeries::default()
    };
    prost::encoding::message::encode(1, &series, message);
}

/// Appends a series whose label fields are encoded already, with one float.
pub fn append_float(message: &mut Vec<u8>, label_bytes: &[u8], at: Timestamp, value: f64) {
    let length = label_bytes.len() + delimited_len(float_len(value, at));
    encode_key(1, WireType::LengthDelimited, message);
    encode_varint(length as u64, message);
    message.extend_from_slice(label_bytes);
    put_float(message, at, value);
}

/// Appends a series whose label fields, exemplars and native histograms are encoded already.
pub fn append_parts(
    message: &mut Vec<u8>,
    label_bytes: &[u8],
    samples: &[(i64, f64)],
    exemplars: &[&[u8]],
    histograms: &[&[u8]],
) {
    let at = Timestamp::from_millis;
    let floats = samples
        .iter()
        .map(|(millis, value)| delimited_len(float_len(*value, at(*millis))));
    let others = exemplars.iter().chain(histograms);
    let others = others.map(|bytes| delimited_len(bytes.len()));
    let length = label_bytes.len() + floats.chain(others).sum::<usize>();
    encode_key(1, WireType::LengthDelimited, message);
    encode_varint(length as u64, message);
    message.extend_from_slice(label_bytes);
    for (millis, value) in samples {
        put_float(message, at(*millis), *value);
    }
    for (field, parts) in [(3, exemplars), (4, histograms)] {
        for part in parts {
            encode_key(field, WireType::LengthDelimited, message);
            encode_varint(part.len() as u64, message);
            message.extend_from_slice(part);
        }
    }
}

/// Appends the metadata of a family to an encoded request.
pub fn append_metadata(message: &mut Vec<u8>, family: &str, metadata: &Metadata) {
    prost::encoding::message::encode(3, &metadata_to_proto(family, metadata), message);
}

/// Length of a `Sample`. By hand, since prost takes -0 for the default and leaves it out.
fn float_len(value: f64, at: Timestamp) -> usize {
    let at = match at.millis() {
        0 => 0,
        at => 1 + encoded_len_varint(at as u64),
    };
    at + if value.to_bits() == 0 { 0 } else { 9 }
}

pub(super) fn put_float(message: &mut Vec<u8>, at: Timestamp, value: f64) {
    encode_key(2, WireType::LengthDelimited, message);
    encode_varint(float_len(value, at) as u64, message);
    if value.to_bits() != 0 {
        encode_key(1, WireType::SixtyFourBit, message);
        message.extend_from_slice(&value.to_le_bytes());
    }
    if at.millis() != 0 {
        encode_key(2, WireType::Varint, message);
        encode_varint(at.millis() as u64, message);
    }
}

fn delimited_len(length: usize) -> usize {
    1 + encoded_len_varint(length as u64) + length
}

fn string_len(text: &str) -> usize {
    if text.is_empty() {
        0
    } else {
        delimited_len(text.len())
    }
}

fn append_string(message: &mut Vec<u8>, tag: u32, text: &str) {
    if !text.is_empty() {
        encode_key(tag, WireType::LengthDelimited, message);
        encode_varint(text.len() as u64, message);
        message.extend_from_slice(text.as_bytes());
    }
}

/// Metadata of a family: its name and what is said of it. Numbers of types that we do not know read as unknown.
pub fn metadata_from_proto(metadata: &proto::MetricMetadata) -> (String, Metadata) {
    use model::MetricType as Kind;
    let kind = match metadata.r#type() {
        proto::MetricType::Unknown => Kind::Unknown,
        proto::MetricType::Counter => Kind::Counter,
        proto::MetricType::Gauge => Kind::Gauge,
        proto::MetricType::Histogram => Kind::Histogram,
        proto::MetricType::GaugeHistogram => Kind::GaugeHistogram,
        proto::MetricType::Summary => Kind::Summary,
        proto::MetricType::Info => Kind::Info,
        proto::MetricType::StateSet => Kind::StateSet,
    };
    let about = Metadata {
        kind,
        help: metadata.help.clone(),
        unit: metadata.unit.clone(),
    };
    (metadata.metric_family_name.clone(), about)
}

/// Metadata of a family as remote write's message.
pub fn metadata_to_proto(family: &str, metadata: &Metadata) -> proto::MetricMetadata {
    proto::MetricMetadata {
        r#type: kind_to_proto(metadata.kind) as i32,
        metric_family_name: family.to_owned(),
        help: metadata.help.clone(),
        unit: metadata.unit.clone(),
    }
}

pub(super) fn kind_to_proto(kind: model::MetricType) -> proto::MetricType {
    use model::MetricType as Kind;
    match kind {
        Kind::Unknown => proto::MetricType::Unknown,
        Kind::Counter => proto::MetricType::Counter,
        Kind::Gauge => proto::MetricType::Gauge,
        Kind::Histogram => proto::MetricType::Histogram,
        Kind::GaugeHistogram => proto::MetricType::GaugeHistogram,
        Kind::Summary => proto::MetricType::Summary,
        Kind::Info => proto::MetricType::Info,
        Kind::StateSet => proto::MetricType::StateSet,
    }
}

fn shorten(text: &str) -> String {
    match text.char_indices().nth(200) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Walk;
    use super::super::histogram::tests::histogram;
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn refuses_series_by_name() {
        let check = |pairs: &[(&str, &str)], text: &str| {
            let error = label_set(pairs).unwrap_err().to_string();
            assert!(error.contains(text), "{error}");
        };
        check(&[], "series {} has no metric name");
        check(&[("job", "a")], r#"series {job="a"} has no metric name"#);
        check(&[("__name__", "")], "no metric name");
        check(
            &[("__name__", "up"), ("a", "1"), ("a", "1")],
            r#""up": duplicate label name "a""#,
        );
        check(&[("__name__", "up"), ("", "1")], "empty name");
        let any_order =
            label_set(&[("z", "1"), ("__name__", "ü p"), ("a", "\n"), ("gone", "")]).unwrap();
        assert_eq!(
            any_order.iter().collect::<Vec<_>>(),
            [("__name__", "ü p"), ("a", "\n"), ("z", "1")]
        );
    }

    #[test]
    fn a_bad_histogram_refuses_itself_only() {
        let labels = LabelSet::from_pairs([("__name__", "h")]).unwrap();
        let at = Timestamp::from_millis;
        let mut wrong = histogram(true);
        wrong.count = 1.0;
        let samples = [
            Sample::histogram(at(1), wrong),
            Sample::histogram(at(2), histogram(true)),
        ];
        let mut message = Vec::new();
        append_series(&mut message, &labels, &samples);
        let mut view = SeriesView::new();
        Walk::new(&message).next_part(&mut view).unwrap();
        let (mut good, mut refused) = (Vec::new(), Vec::new());
        view.samples_into(&mut good, &mut refused, || "h".into());
        assert_eq!(good, samples[1..]);
        assert!(
            refused[0]
                .to_string()
                .starts_with("native histogram of h at 0.001: "),
            "{}",
            refused[0]
        );
    }

    #[test]
    fn exemplars_both_ways() {
        let labels = LabelSet::from_pairs([("__name__", "a"), ("job", "x")]).unwrap();
        let given = Exemplar {
            labels: LabelSet::from_pairs([("trace_id", "7")]).unwrap(),
            value: 0.5,
            at: Timestamp::from_millis(1234),
        };
        let mut message = Vec::new();
        append_exemplar(&mut message, &labels, &given);
        let mut view = SeriesView::new();
        Walk::new(&message).next_part(&mut view).unwrap();
        assert_eq!(view.labels(), Ok(labels));
        let found: Vec<_> = view.checked_exemplars().collect();
        assert_eq!(found, [Ok(given)]);
        assert!(view.samples.is_empty());
    }

    #[test]
    fn metadata_both_ways() {
        let about = Metadata {
            kind: model::MetricType::GaugeHistogram,
            help: "h\n".into(),
            unit: "s".into(),
        };
        assert_eq!(
            metadata_from_proto(&metadata_to_proto("f", &about)),
            ("f".into(), about)
        );
        let odd = proto::MetricMetadata {
            r#type: 99,
            ..proto::MetricMetadata::default()
        };
        assert_eq!(metadata_from_proto(&odd).1.kind, model::MetricType::Unknown);
    }

    fn sample() -> impl Strategy<Value = Sample> {
        (any::<i64>(), any::<u64>(), 0..8_u8).prop_map(|(at, bits, kind)| {
            let at = Timestamp::from_millis(at);
            match kind {
                0 => Sample::stale(at),
                1 => Sample::histogram(at, histogram(true)),
                2 => Sample::histogram(at, histogram(false)),
                _ => Sample::float(at, f64::from_bits(bits)),
            }
        })
    }

    proptest! {
        #[test]
        fn appended_bytes_are_prosts(
            labels in proptest::collection::btree_map(".{1,6}", ".{0,200}", 0..5),
            samples in proptest::collection::vec(sample(), 0..6),
        ) {
            let labels = LabelSet::from_pairs(&labels).unwrap();
            let mut message = Vec::new();
            append_series(&mut message, &labels, &samples);
            let request = proto::WriteRequest { timeseries: vec![series_to_proto(&labels, &samples)], metadata: vec![] };
            prop_assert_eq!(&message, &request.encode_to_vec());
            let named = labels.builder().set("__name__", "m").build();
            let back = series_from_proto(&series_to_proto(&named, &samples)).unwrap();
            let floats = samples.iter().filter(|s| matches!(s.value, Value::Float(_)));
            let rest = samples.iter().filter(|s| matches!(s.value, Value::Histogram(_)));
            prop_assert_eq!(back.samples, floats.chain(rest).cloned().collect::<Vec<_>>());
            prop_assert_eq!(back.labels, named);
        }
    }
}
