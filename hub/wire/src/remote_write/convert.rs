//! Between remote write's messages and the model's nouns.

use model::{
    Buckets, Histogram, HistogramError, LabelError, LabelSet, METRIC_NAME, Metadata, ResetHint,
    SCHEMA_MAX, Sample, Span, Timestamp, Value,
};
use prost::Message;
use prost::encoding::{WireType, encode_key, encode_varint, encoded_len_varint};

use super::proto::{self, histogram};
use super::{DecodeError, SeriesView};

/// Finest exponential schema that senders may use; above [`SCHEMA_MAX`] buckets are joined until it fits.
const SCHEMA_SENT_MAX: i32 = 52;
/// Buckets one side of a sent histogram may have, before any are made.
const BUCKETS_SENT_MAX: u64 = 100_000;

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
        label_set(&self.raw_labels()?)
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
            Value::Float(value) => proto::Sample {
                value: *value,
                timestamp: sample.at.millis(),
            }
            .encoded_len(),
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
            prost::encoding::message::encode(
                2,
                &proto::Sample {
                    value,
                    timestamp: sample.at.millis(),
                },
                message,
            );
        }
    }
    for histogram in &histograms {
        prost::encoding::message::encode(4, histogram, message);
    }
}

/// Appends the metadata of a family to an encoded request.
pub fn append_metadata(message: &mut Vec<u8>, family: &str, metadata: &Metadata) {
    prost::encoding::message::encode(3, &metadata_to_proto(family, metadata), message);
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
    use model::MetricType as Kind;
    let kind = match metadata.kind {
        Kind::Unknown => proto::MetricType::Unknown,
        Kind::Counter => proto::MetricType::Counter,
        Kind::Gauge => proto::MetricType::Gauge,
        Kind::Histogram => proto::MetricType::Histogram,
        Kind::GaugeHistogram => proto::MetricType::GaugeHistogram,
        Kind::Summary => proto::MetricType::Summary,
        Kind::Info => proto::MetricType::Info,
        Kind::StateSet => proto::MetricType::StateSet,
    };
    proto::MetricMetadata {
        r#type: kind as i32,
        metric_family_name: family.to_owned(),
        help: metadata.help.clone(),
        unit: metadata.unit.clone(),
    }
}

/// A native histogram in the model's form, checked; exponential schemas from 9 to 52 are reduced to 8.
///
/// # Errors
/// A histogram that contradicts itself.
pub fn histogram_from_proto(sent: &proto::Histogram) -> Result<Histogram, HistogramError> {
    let integer = matches!(sent.count, Some(histogram::Count::Int(_)));
    let mut value = Histogram {
        schema: sent.schema,
        zero_threshold: sent.zero_threshold,
        zero_count: match sent.zero_count {
            Some(histogram::ZeroCount::Int(count)) => count as f64,
            Some(histogram::ZeroCount::Float(count)) => count,
            None => 0.0,
        },
        count: match sent.count {
            Some(histogram::Count::Int(count)) => count as f64,
            Some(histogram::Count::Float(count)) => count,
            None => 0.0,
        },
        sum: sent.sum,
        positive: buckets(
            integer,
            &sent.positive_spans,
            &sent.positive_deltas,
            &sent.positive_counts,
        ),
        negative: buckets(
            integer,
            &sent.negative_spans,
            &sent.negative_deltas,
            &sent.negative_counts,
        ),
        custom_values: sent.custom_values.clone(),
        reset_hint: match sent.reset_hint() {
            histogram::ResetHint::Unknown => ResetHint::Unknown,
            histogram::ResetHint::Yes => ResetHint::Reset,
            histogram::ResetHint::No => ResetHint::NotReset,
            histogram::ResetHint::Gauge => ResetHint::Gauge,
        },
        integer,
    };
    if (SCHEMA_MAX + 1..=SCHEMA_SENT_MAX).contains(&value.schema) {
        let by = (value.schema - SCHEMA_MAX).min(31);
        value.positive = reduce(&value.positive, by)?;
        value.negative = reduce(&value.negative, by)?;
        value.schema = SCHEMA_MAX;
    }
    value.validate()?;
    Ok(value)
}

fn buckets(integer: bool, spans: &[proto::BucketSpan], deltas: &[i64], counts: &[f64]) -> Buckets {
    let counts = if integer {
        let running = deltas.iter().scan(0_i64, |count, delta| {
            *count = count.wrapping_add(*delta);
            Some(*count as f64)
        });
        running.collect()
    } else {
        counts.to_vec()
    };
    Buckets {
        spans: spans
            .iter()
            .map(|s| Span {
                offset: s.offset,
                length: s.length,
            })
            .collect(),
        counts,
    }
}

/// Joins buckets until the schema is `by` lower: the upper bound 2^(i/2^s) of bucket i decides where it goes.
fn reduce(fine: &Buckets, by: i32) -> Result<Buckets, HistogramError> {
    let claimed: u64 = fine.spans.iter().map(|span| u64::from(span.length)).sum();
    if claimed != fine.counts.len() as u64 {
        return Err(HistogramError::SpansDisagree {
            side: "one",
            spans: claimed,
            counts: fine.counts.len(),
        });
    }
    if claimed > BUCKETS_SENT_MAX {
        return Err(HistogramError::TooManyBuckets {
            found: claimed,
            at_most: BUCKETS_SENT_MAX,
        });
    }
    if let Some((number, span)) = fine
        .spans
        .iter()
        .enumerate()
        .skip(1)
        .find(|(_, span)| span.offset < 0)
    {
        return Err(HistogramError::NegativeOffset {
            side: "one",
            number,
            offset: span.offset,
        });
    }
    let mut joined: Vec<(i32, f64)> = Vec::new();
    for (index, count) in fine.iter() {
        let target = ((i64::from(index) - 1) >> by) as i32 + 1;
        match joined.last_mut() {
            Some((last, sum)) if *last == target => *sum += count,
            _ => joined.push((target, count)),
        }
    }
    Ok(Buckets::from_indexed(joined))
}

/// A native histogram as remote write's message.
pub fn histogram_to_proto(value: &Histogram, at: Timestamp) -> proto::Histogram {
    let spans = |buckets: &Buckets| {
        buckets
            .spans
            .iter()
            .map(|s| proto::BucketSpan {
                offset: s.offset,
                length: s.length,
            })
            .collect()
    };
    let deltas = |buckets: &Buckets| -> Vec<i64> {
        let mut before = 0_i64;
        let step = |count: &f64| {
            let count = *count as i64;
            let delta = count.wrapping_sub(before);
            before = count;
            delta
        };
        if value.integer {
            buckets.counts.iter().map(step).collect()
        } else {
            Vec::new()
        }
    };
    let counts = |buckets: &Buckets| {
        if value.integer {
            Vec::new()
        } else {
            buckets.counts.clone()
        }
    };
    let (count, zero_count) = if value.integer {
        (
            histogram::Count::Int(value.count as u64),
            histogram::ZeroCount::Int(value.zero_count as u64),
        )
    } else {
        (
            histogram::Count::Float(value.count),
            histogram::ZeroCount::Float(value.zero_count),
        )
    };
    proto::Histogram {
        count: Some(count),
        sum: value.sum,
        schema: value.schema,
        zero_threshold: value.zero_threshold,
        zero_count: Some(zero_count),
        negative_spans: spans(&value.negative),
        negative_deltas: deltas(&value.negative),
        negative_counts: counts(&value.negative),
        positive_spans: spans(&value.positive),
        positive_deltas: deltas(&value.positive),
        positive_counts: counts(&value.positive),
        reset_hint: match value.reset_hint {
            ResetHint::Unknown => histogram::ResetHint::Unknown,
            ResetHint::Reset => histogram::ResetHint::Yes,
            ResetHint::NotReset => histogram::ResetHint::No,
            ResetHint::Gauge => histogram::ResetHint::Gauge,
        } as i32,
        timestamp: at.millis(),
        custom_values: value.custom_values.clone(),
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
    use super::*;
    use proptest::prelude::*;

    fn histogram(integer: bool) -> Histogram {
        Histogram {
            schema: 3,
            zero_threshold: 1e-128,
            zero_count: 2.0,
            count: 12.0,
            sum: 18.4,
            positive: Buckets {
                spans: vec![
                    Span {
                        offset: -2,
                        length: 2,
                    },
                    Span {
                        offset: 1,
                        length: 1,
                    },
                ],
                counts: vec![1.0, 4.0, 2.0],
            },
            negative: Buckets {
                spans: vec![Span {
                    offset: 0,
                    length: 1,
                }],
                counts: vec![3.0],
            },
            integer,
            ..Histogram::default()
        }
    }

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
    fn histograms_both_ways() {
        for integer in [true, false] {
            let value = histogram(integer);
            let sent = histogram_to_proto(&value, Timestamp::from_millis(5));
            assert_eq!(
                sent.positive_deltas,
                if integer { vec![1, 3, -2] } else { vec![] }
            );
            assert_eq!(histogram_from_proto(&sent), Ok(value));
        }
        let mut sent = histogram_to_proto(&histogram(true), Timestamp::from_millis(5));
        sent.count = Some(histogram::Count::Int(13));
        assert!(matches!(
            histogram_from_proto(&sent),
            Err(HistogramError::CountMismatch { .. })
        ));
    }

    #[test]
    fn fine_schemas_are_reduced() {
        let fine = Histogram {
            schema: 9,
            count: 10.0,
            zero_count: 0.0,
            negative: Buckets::default(),
            positive: Buckets {
                // Buckets -1, 0, 1, 2, 3 of schema 9 are 0, 0, 1, 1, 2 of schema 8.
                spans: vec![Span {
                    offset: -1,
                    length: 5,
                }],
                counts: vec![1.0, 3.0, 2.0, 1.0, 3.0],
            },
            ..histogram(true)
        };
        let got =
            histogram_from_proto(&histogram_to_proto(&fine, Timestamp::from_millis(0))).unwrap();
        assert_eq!(
            (got.schema, &got.positive.counts[..]),
            (8, &[4.0, 3.0, 3.0][..])
        );
        assert_eq!(
            got.positive.spans,
            [Span {
                offset: 0,
                length: 3
            }]
        );
        let mut sent = histogram_to_proto(&fine, Timestamp::from_millis(0));
        sent.positive_spans[0].length = u32::MAX;
        assert!(histogram_from_proto(&sent).is_err());
        sent.schema = 53;
        assert!(histogram_from_proto(&sent).is_err());
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
