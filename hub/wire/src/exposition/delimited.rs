//! Delimited protobuf: `io.prometheus.client.MetricFamily` messages, each after its length. The only format that has native
//! histograms. Written here as `/federate` gives it; `pushed` writes whole families.

use model::{
    CUSTOM_BUCKETS_SCHEMA, Histogram, INSTANCE, LabelSet, METRIC_NAME, Metadata, ResetHint,
    Timestamp, is_legacy_label_name, is_legacy_metric_name,
};
use prost::Message;

use super::encode::escaped_name;

/// Writes families. Samples of one metric name should come one after the other: a family ends where the name changes, or the kind.
#[derive(Debug)]
pub struct DelimitedEncoder {
    out: Vec<u8>,
    utf8_names: bool,
    family: Option<proto::MetricFamily>,
}

impl DelimitedEncoder {
    /// Nothing yet. Without `utf8_names`, characters that classic names do not have are written as `_`.
    pub fn new(utf8_names: bool) -> Self {
        DelimitedEncoder {
            out: Vec::new(),
            utf8_names,
            family: None,
        }
    }

    /// A number of a series with a name, untyped. A series without an instance gets an empty one, so that the scraper does not give it the
    /// instance of the federating server.
    pub fn federated(&mut self, labels: &LabelSet, value: f64, at: Timestamp) {
        let untyped = Some(proto::Number { value: Some(value) });
        let metric = proto::Metric {
            untyped,
            ..self.metric(labels, at)
        };
        self.push(labels, proto::MetricType::Untyped, metric);
    }

    /// A native histogram of a series with a name. One with custom bounds is written as a classic histogram.
    pub fn federated_histogram(&mut self, labels: &LabelSet, value: &Histogram, at: Timestamp) {
        let histogram = match value.schema {
            CUSTOM_BUCKETS_SCHEMA => classic(value),
            _ => native(value),
        };
        let metric = proto::Metric {
            histogram: Some(histogram),
            ..self.metric(labels, at)
        };
        let kind = match value.reset_hint {
            ResetHint::Gauge => proto::MetricType::GaugeHistogram,
            _ => proto::MetricType::Histogram,
        };
        self.push(labels, kind, metric);
    }

    /// The bytes.
    pub fn finish(mut self) -> Vec<u8> {
        self.end_family();
        self.out
    }

    fn metric(&self, labels: &LabelSet, at: Timestamp) -> proto::Metric {
        let others = labels.iter().filter(|(name, _)| *name != METRIC_NAME);
        let no_instance = labels.get(INSTANCE).is_none().then_some((INSTANCE, ""));
        let pair = |(name, value): (&str, &str)| proto::LabelPair {
            name: Some(self.name(name, is_legacy_label_name)),
            value: Some(value.to_owned()),
        };
        proto::Metric {
            label: others.chain(no_instance).map(pair).collect(),
            timestamp_ms: Some(at.millis()),
            ..proto::Metric::default()
        }
    }

    fn name(&self, name: &str, is_legacy: fn(&str) -> bool) -> String {
        match self.utf8_names || is_legacy(name) {
            true => name.to_owned(),
            false => escaped_name(name, is_legacy),
        }
    }

    fn push(&mut self, labels: &LabelSet, kind: proto::MetricType, metric: proto::Metric) {
        let name = self.name(labels.name().unwrap_or_default(), is_legacy_metric_name);
        let same = |family: &proto::MetricFamily| {
            family.name.as_deref() == Some(&name) && family.r#type == Some(kind as i32)
        };
        if !self.family.as_ref().is_some_and(same) {
            self.end_family();
        }
        let family = self.family.get_or_insert_with(|| proto::MetricFamily {
            name: Some(name),
            r#type: Some(kind as i32),
            ..proto::MetricFamily::default()
        });
        family.metric.push(metric);
    }

    /// A family in one piece.
    pub(super) fn family(&mut self, name: &str, about: &Metadata, metric: Vec<proto::Metric>) {
        use proto::MetricType;
        self.end_family();
        if metric.is_empty() {
            return;
        }
        let kind = match about.kind {
            model::MetricType::Counter => MetricType::Counter,
            model::MetricType::Gauge => MetricType::Gauge,
            model::MetricType::Summary => MetricType::Summary,
            model::MetricType::Histogram => MetricType::Histogram,
            model::MetricType::GaugeHistogram => MetricType::GaugeHistogram,
            _ => MetricType::Untyped,
        };
        self.family = Some(proto::MetricFamily {
            name: Some(self.name(name, is_legacy_metric_name)),
            help: Some(about.help.clone()).filter(|help| !help.is_empty()),
            r#type: Some(kind as i32),
            metric,
        });
        self.end_family();
    }

    fn end_family(&mut self) {
        if let Some(family) = self.family.take() {
            self.out
                .extend_from_slice(&family.encode_length_delimited_to_vec());
        }
    }
}

pub(super) fn native(value: &Histogram) -> proto::Histogram {
    let spans = |spans: &[model::Span]| -> Vec<proto::BucketSpan> {
        let span = |span: &model::Span| proto::BucketSpan {
            offset: Some(span.offset),
            length: Some(span.length),
        };
        spans.iter().map(span).collect()
    };
    let mut positive_span = spans(&value.positive.spans);
    let negative_span = spans(&value.negative.spans);
    if positive_span.is_empty() && negative_span.is_empty() && value.zero_threshold == 0.0 {
        // What tells it from a classic histogram without buckets.
        positive_span.push(proto::BucketSpan {
            offset: Some(0),
            length: Some(0),
        });
    }
    let common = proto::Histogram {
        sample_sum: Some(value.sum),
        schema: Some(value.schema),
        zero_threshold: Some(value.zero_threshold),
        positive_span,
        negative_span,
        ..proto::Histogram::default()
    };
    if value.integer
        && let (Some(count), Some(zero_count)) = (whole(value.count), whole(value.zero_count))
    {
        return proto::Histogram {
            sample_count: Some(count),
            zero_count: Some(zero_count),
            positive_delta: deltas(&value.positive.counts),
            negative_delta: deltas(&value.negative.counts),
            ..common
        };
    }
    proto::Histogram {
        sample_count_float: Some(value.count),
        zero_count_float: Some(value.zero_count),
        positive_count: value.positive.counts.clone(),
        negative_count: value.negative.counts.clone(),
        ..common
    }
}

/// Each count less the one before.
fn deltas(counts: &[f64]) -> Vec<i64> {
    let before = std::iter::once(&0.0).chain(counts);
    let pairs = counts.iter().zip(before);
    pairs
        .map(|(count, before)| *count as i64 - *before as i64)
        .collect()
}

/// The bucket without an upper bound goes without saying.
fn classic(value: &Histogram) -> proto::Histogram {
    let bucket = |(upper_bound, count)| proto::Bucket {
        cumulative_count: whole(count),
        upper_bound: Some(upper_bound),
        cumulative_count_float: Some(count),
    };
    proto::Histogram {
        sample_count: whole(value.count),
        sample_count_float: Some(value.count),
        sample_sum: Some(value.sum),
        bucket: cumulative(value).into_iter().map(bucket).collect(),
        ..proto::Histogram::default()
    }
}

/// Readers as old as Prometheus 2.42 look at whole counts only; newer ones at both.
pub(super) fn whole(count: f64) -> Option<u64> {
    const EXACT: f64 = (1_u64 << 53) as f64;
    (count.trunc() == count && (0.0..=EXACT).contains(&count)).then_some(count as u64)
}

/// Each custom bound, and how many observations are not above it.
pub(super) fn cumulative(value: &Histogram) -> Vec<(f64, f64)> {
    let mut buckets = value.positive.iter().peekable();
    let mut count = 0.0;
    let bounds = value.custom_values.iter().zip(0..);
    let up_to = bounds.map(|(bound, index)| {
        while let Some((_, more)) = buckets.next_if(|(at, _)| *at <= index) {
            count += more;
        }
        (*bound, count)
    });
    up_to.collect()
}

/// What of the format is written; the numbers are those of Prometheus's `metrics.proto`.
pub(super) mod proto {
    #[derive(Clone, Copy, Debug, PartialEq, Eq, prost::Enumeration)]
    #[repr(i32)]
    pub(in crate::exposition) enum MetricType {
        Counter = 0,
        Gauge = 1,
        Summary = 2,
        Untyped = 3,
        Histogram = 4,
        GaugeHistogram = 5,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(in crate::exposition) struct MetricFamily {
        #[prost(string, optional, tag = "1")]
        pub(in crate::exposition) name: Option<String>,
        #[prost(string, optional, tag = "2")]
        pub(in crate::exposition) help: Option<String>,
        #[prost(enumeration = "MetricType", optional, tag = "3")]
        pub(in crate::exposition) r#type: Option<i32>,
        #[prost(message, repeated, tag = "4")]
        pub(in crate::exposition) metric: Vec<Metric>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(in crate::exposition) struct Metric {
        #[prost(message, repeated, tag = "1")]
        pub(in crate::exposition) label: Vec<LabelPair>,
        #[prost(message, optional, tag = "2")]
        pub(in crate::exposition) gauge: Option<Number>,
        #[prost(message, optional, tag = "3")]
        pub(in crate::exposition) counter: Option<Number>,
        #[prost(message, optional, tag = "4")]
        pub(in crate::exposition) summary: Option<Summary>,
        #[prost(message, optional, tag = "5")]
        pub(in crate::exposition) untyped: Option<Number>,
        #[prost(int64, optional, tag = "6")]
        pub(in crate::exposition) timestamp_ms: Option<i64>,
        #[prost(message, optional, tag = "7")]
        pub(in crate::exposition) histogram: Option<Histogram>,
    }

    #[derive(Clone, PartialEq, Eq, Hash, prost::Message)]
    pub(in crate::exposition) struct LabelPair {
        #[prost(string, optional, tag = "1")]
        pub(in crate::exposition) name: Option<String>,
        #[prost(string, optional, tag = "2")]
        pub(in crate::exposition) value: Option<String>,
    }

    /// `Gauge`, `Counter` or `Untyped`.
    #[derive(Clone, Copy, PartialEq, prost::Message)]
    pub(in crate::exposition) struct Number {
        #[prost(double, optional, tag = "1")]
        pub(in crate::exposition) value: Option<f64>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(in crate::exposition) struct Summary {
        #[prost(uint64, optional, tag = "1")]
        pub(in crate::exposition) sample_count: Option<u64>,
        #[prost(double, optional, tag = "2")]
        pub(in crate::exposition) sample_sum: Option<f64>,
        #[prost(message, repeated, tag = "3")]
        pub(in crate::exposition) quantile: Vec<Quantile>,
    }

    #[derive(Clone, Copy, PartialEq, prost::Message)]
    pub(in crate::exposition) struct Quantile {
        #[prost(double, optional, tag = "1")]
        pub(in crate::exposition) quantile: Option<f64>,
        #[prost(double, optional, tag = "2")]
        pub(in crate::exposition) value: Option<f64>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(in crate::exposition) struct Histogram {
        #[prost(uint64, optional, tag = "1")]
        pub(in crate::exposition) sample_count: Option<u64>,
        #[prost(double, optional, tag = "2")]
        pub(in crate::exposition) sample_sum: Option<f64>,
        #[prost(message, repeated, tag = "3")]
        pub(in crate::exposition) bucket: Vec<Bucket>,
        #[prost(double, optional, tag = "4")]
        pub(in crate::exposition) sample_count_float: Option<f64>,
        #[prost(sint32, optional, tag = "5")]
        pub(in crate::exposition) schema: Option<i32>,
        #[prost(double, optional, tag = "6")]
        pub(in crate::exposition) zero_threshold: Option<f64>,
        #[prost(uint64, optional, tag = "7")]
        pub(in crate::exposition) zero_count: Option<u64>,
        #[prost(double, optional, tag = "8")]
        pub(in crate::exposition) zero_count_float: Option<f64>,
        #[prost(message, repeated, tag = "9")]
        pub(in crate::exposition) negative_span: Vec<BucketSpan>,
        #[prost(sint64, repeated, tag = "10")]
        pub(in crate::exposition) negative_delta: Vec<i64>,
        #[prost(double, repeated, tag = "11")]
        pub(in crate::exposition) negative_count: Vec<f64>,
        #[prost(message, repeated, tag = "12")]
        pub(in crate::exposition) positive_span: Vec<BucketSpan>,
        #[prost(sint64, repeated, tag = "13")]
        pub(in crate::exposition) positive_delta: Vec<i64>,
        #[prost(double, repeated, tag = "14")]
        pub(in crate::exposition) positive_count: Vec<f64>,
    }

    #[derive(Clone, Copy, PartialEq, prost::Message)]
    pub(in crate::exposition) struct Bucket {
        #[prost(uint64, optional, tag = "1")]
        pub(in crate::exposition) cumulative_count: Option<u64>,
        #[prost(double, optional, tag = "2")]
        pub(in crate::exposition) upper_bound: Option<f64>,
        #[prost(double, optional, tag = "4")]
        pub(in crate::exposition) cumulative_count_float: Option<f64>,
    }

    #[derive(Clone, Copy, PartialEq, Eq, Hash, prost::Message)]
    pub(in crate::exposition) struct BucketSpan {
        #[prost(sint32, optional, tag = "1")]
        pub(in crate::exposition) offset: Option<i32>,
        #[prost(uint32, optional, tag = "2")]
        pub(in crate::exposition) length: Option<u32>,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::Buckets;

    fn set(pairs: &[(&str, &str)]) -> LabelSet {
        LabelSet::from_pairs(pairs.iter().copied()).unwrap()
    }

    fn read(mut bytes: &[u8]) -> Vec<proto::MetricFamily> {
        let mut families = Vec::new();
        while !bytes.is_empty() {
            families.push(proto::MetricFamily::decode_length_delimited(&mut bytes).unwrap());
        }
        families
    }

    fn histogram(schema: i32, reset_hint: ResetHint) -> Histogram {
        Histogram {
            schema,
            count: 6.0,
            sum: 9.5,
            positive: Buckets::from_indexed([(0, 1.0), (2, 5.0)]),
            custom_values: match schema {
                CUSTOM_BUCKETS_SCHEMA => vec![0.5, 1.0, 2.0, 4.0],
                _ => Vec::new(),
            },
            reset_hint,
            ..Histogram::default()
        }
    }

    #[test]
    fn the_bytes_are_prometheus_s() {
        let mut page = DelimitedEncoder::new(true);
        let at = Timestamp::from_millis(5);
        page.federated(&set(&[("__name__", "a"), ("instance", "i")]), 0.0, at);
        let expected = b"\x23\x0a\x01a\x18\x03\x22\x1c\x0a\x0d\x0a\x08instance\x12\x01i\x2a\x09\x09\0\0\0\0\0\0\0\0\x30\x05";
        assert_eq!(page.finish(), expected);
    }

    #[test]
    fn a_family_for_each_name_and_kind() {
        let mut page = DelimitedEncoder::new(false);
        let at = Timestamp::from_millis(5);
        let a = set(&[("__name__", "a.b"), ("x", "1")]);
        page.federated(&a, 1.0, at);
        page.federated(&a, f64::NAN, at);
        page.federated_histogram(&a, &histogram(0, ResetHint::Unknown), at);
        page.federated_histogram(&a, &histogram(0, ResetHint::Gauge), at);
        let custom = histogram(CUSTOM_BUCKETS_SCHEMA, ResetHint::Unknown);
        page.federated_histogram(&set(&[("__name__", "c")]), &custom, at);
        let families = read(&page.finish());
        let of = |family: &proto::MetricFamily| {
            let name = family.name.clone().unwrap_or_default();
            (name, family.r#type(), family.metric.len())
        };
        use proto::MetricType::{GaugeHistogram, Histogram, Untyped};
        let expected = [
            ("a_b".to_owned(), Untyped, 2),
            ("a_b".to_owned(), Histogram, 1),
            ("a_b".to_owned(), GaugeHistogram, 1),
            ("c".to_owned(), Histogram, 1),
        ];
        assert_eq!(families.iter().map(of).collect::<Vec<_>>(), expected);
        let labels = &families[0].metric[0].label;
        let last = labels.last().unwrap();
        assert_eq!((last.name(), last.value()), ("instance", ""));
        let native = families[1].metric[0].histogram.as_ref().unwrap();
        assert_eq!((native.sample_count_float(), native.schema), (6.0, Some(0)));
        assert_eq!(native.positive_count, [1.0, 5.0]);
        assert_eq!(native.positive_span.len(), 2);
        let classic = families[3].metric[0].histogram.as_ref().unwrap();
        let bucket =
            |bucket: &proto::Bucket| (bucket.upper_bound(), bucket.cumulative_count_float());
        let buckets: Vec<_> = classic.bucket.iter().map(bucket).collect();
        assert_eq!(buckets, [(0.5, 1.0), (1.0, 1.0), (2.0, 6.0), (4.0, 6.0)]);
        assert_eq!((classic.schema, classic.positive_count.len()), (None, 0));
        assert_eq!((classic.sample_count(), whole(2.5)), (6, None));
    }

    #[test]
    fn an_empty_native_histogram_is_none_of_the_classic_kind() {
        let mut page = DelimitedEncoder::new(true);
        let at = Timestamp::from_millis(5);
        page.federated_histogram(&set(&[("__name__", "a")]), &Histogram::default(), at);
        let families = read(&page.finish());
        let empty = families[0].metric[0].histogram.as_ref().unwrap();
        assert_eq!(empty.positive_span.len(), 1);
    }
}
