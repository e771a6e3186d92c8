//! What a metric says, as points: one for a number, several for a summary or a classic histogram, one for a native one.

use model::{
    BUCKET_LABEL, Buckets, Histogram, LabelSet, MetricType, QUANTILE_LABEL, Timestamp, Value,
};

use super::proto;
use super::{Family, Metric, ProtobufError, bad};
use crate::exposition::number::{NORMAL_NAN_BITS, format_open_metrics};
use crate::remote_write::{histogram_from_proto, proto as sent};

/// Which form of a histogram that has both is wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HistogramChoice {
    /// Native histograms are read; else they count as classic ones, with what classic buckets they have.
    pub native: bool,
    /// The classic form of a histogram that is native too is wanted as well.
    pub classic_too: bool,
}

/// One value of one series.
#[derive(Clone, Debug, PartialEq)]
pub struct Point {
    /// What follows the family's name: nothing, `_count`, `_sum` or `_bucket`.
    pub suffix: &'static str,
    /// The label that the metric's own do not have, `le` or `quantile`, and its value.
    pub bound: Option<(&'static str, String)>,
    /// The value. A NaN that stands for staleness in Prometheus's storage is an ordinary one here.
    pub value: Value,
    /// The time, where the target gave one.
    pub timestamp: Option<Timestamp>,
    /// Since when it counts, where the target says so.
    pub start: Option<Timestamp>,
    /// Exemplars; of a native histogram only those with a time.
    pub exemplars: Vec<PointExemplar>,
}

/// An exemplar. Its labels are a set already: where they are none, the exemplar is left out, as Prometheus does.
#[derive(Clone, Debug, PartialEq)]
pub struct PointExemplar {
    /// Its own labels.
    pub labels: LabelSet,
    /// The observed value.
    pub value: f64,
    /// When, where the target says so.
    pub timestamp: Option<Timestamp>,
}

impl Metric {
    /// Its points, in place of what `points` held.
    ///
    /// # Errors
    /// A metric without the value that its family's type asks for, or a native histogram that contradicts itself.
    pub fn points_into(
        &self,
        family: &Family<'_>,
        choice: HistogramChoice,
        points: &mut Vec<Point>,
    ) -> Result<(), ProtobufError> {
        points.clear();
        let metric = &self.inner;
        let timestamp = Some(metric.timestamp_ms)
            .filter(|at| *at != 0)
            .map(Timestamp::from_millis);
        let mut out = Out { timestamp, points };
        // A value of another type than the family's counts as 0 there, as with Prometheus.
        match family.kind {
            MetricType::Gauge => out.number(metric.gauge.unwrap_or_default().value),
            MetricType::Counter => out.counter(&metric.counter.clone().unwrap_or_default()),
            MetricType::Summary => out.summary(&metric.summary.clone().unwrap_or_default()),
            MetricType::Histogram | MetricType::GaugeHistogram => {
                let empty = proto::Histogram::default();
                let histogram = metric.histogram.as_deref().unwrap_or(&empty);
                let gauge = family.kind == MetricType::GaugeHistogram;
                let native = choice.native && is_native(histogram);
                if native {
                    let value = self.native(family, histogram, gauge)?;
                    out.native(histogram, value);
                }
                if !native || (choice.classic_too && !histogram.bucket.is_empty()) {
                    out.classic(histogram);
                }
            }
            _ => out.number(metric.untyped.unwrap_or_default().value),
        }
        Ok(())
    }

    fn native(
        &self,
        family: &Family<'_>,
        given: &proto::Histogram,
        gauge: bool,
    ) -> Result<Histogram, ProtobufError> {
        let float = given.sample_count_float > 0.0 || given.zero_count_float > 0.0;
        let hint = match gauge {
            true => sent::histogram::ResetHint::Gauge,
            false => sent::histogram::ResetHint::Unknown,
        };
        let (count, zero_count) = match float {
            true => (
                sent::histogram::Count::Float(given.sample_count_float),
                sent::histogram::ZeroCount::Float(given.zero_count_float),
            ),
            false => (
                sent::histogram::Count::Int(given.sample_count),
                sent::histogram::ZeroCount::Int(given.zero_count),
            ),
        };
        // The same message as remote write's, with other numbers: one set of checks for both.
        let message = sent::Histogram {
            count: Some(count),
            sum: ordinary(given.sample_sum),
            schema: given.schema,
            zero_threshold: given.zero_threshold,
            zero_count: Some(zero_count),
            negative_spans: spans(&given.negative_span),
            negative_deltas: given.negative_delta.clone(),
            negative_counts: given.negative_count.clone(),
            positive_spans: spans(&given.positive_span),
            positive_deltas: given.positive_delta.clone(),
            positive_counts: given.positive_count.clone(),
            reset_hint: hint as i32,
            ..sent::Histogram::default()
        };
        let mut histogram = histogram_from_proto(&message).map_err(|error| {
            bad(
                self.offset,
                format!("native histogram {:?}: {error}", family.name),
            )
        })?;
        histogram.positive = compact(&histogram.positive);
        histogram.negative = compact(&histogram.negative);
        Ok(histogram)
    }
}

/// As Prometheus tells them apart: a native histogram without observations has a zero threshold or an empty span.
fn is_native(histogram: &proto::Histogram) -> bool {
    !histogram.positive_span.is_empty()
        || !histogram.negative_span.is_empty()
        || histogram.zero_threshold > 0.0
        || histogram.zero_count > 0
}

fn spans(given: &[proto::Span]) -> Vec<sent::BucketSpan> {
    let span = |span: &proto::Span| sent::BucketSpan {
        offset: span.offset,
        length: span.length,
    };
    given.iter().map(span).collect()
}

/// Without empty buckets.
fn compact(buckets: &Buckets) -> Buckets {
    Buckets::from_indexed(buckets.iter().filter(|(_, count)| *count != 0.0))
}

/// A target must not end series by the bits of a NaN.
fn ordinary(value: f64) -> f64 {
    match model::is_stale(value) {
        true => f64::from_bits(NORMAL_NAN_BITS),
        false => value,
    }
}

fn time(given: proto::Time) -> Timestamp {
    let millis = given.seconds.saturating_mul(1000);
    Timestamp::from_millis(millis.saturating_add(i64::from(given.nanos / 1_000_000)))
}

fn exemplar(given: &proto::Exemplar) -> Option<PointExemplar> {
    let pairs = given.label.iter();
    let labels = LabelSet::from_pairs(pairs.map(|pair| (&pair.name, &pair.value))).ok()?;
    Some(PointExemplar {
        labels,
        value: given.value,
        timestamp: given.timestamp.map(time),
    })
}

/// The float field if it is used, else the whole number.
fn count(float: f64, whole: u64) -> f64 {
    if float == 0.0 { whole as f64 } else { float }
}

struct Out<'p> {
    timestamp: Option<Timestamp>,
    points: &'p mut Vec<Point>,
}

impl Out<'_> {
    fn push(
        &mut self,
        suffix: &'static str,
        bound: Option<(&'static str, String)>,
        value: f64,
        start: Option<proto::Time>,
    ) -> &mut Point {
        self.points.push(Point {
            suffix,
            bound,
            value: Value::Float(ordinary(value)),
            timestamp: self.timestamp,
            start: start.map(time),
            exemplars: Vec::new(),
        });
        let last = self.points.len() - 1;
        &mut self.points[last]
    }

    fn number(&mut self, value: f64) {
        self.push("", None, value, None);
    }

    fn counter(&mut self, counter: &proto::Counter) {
        let point = self.push("", None, counter.value, counter.created_timestamp);
        point
            .exemplars
            .extend(counter.exemplar.as_ref().and_then(exemplar));
    }

    fn summary(&mut self, summary: &proto::Summary) {
        let start = summary.created_timestamp;
        self.push("_count", None, summary.sample_count as f64, start);
        self.push("_sum", None, summary.sample_sum, start);
        for given in &summary.quantile {
            let bound = (QUANTILE_LABEL, format_open_metrics(given.quantile));
            self.push("", Some(bound), given.value, start);
        }
    }

    fn classic(&mut self, histogram: &proto::Histogram) {
        let start = histogram.created_timestamp;
        let whole = count(histogram.sample_count_float, histogram.sample_count);
        self.push("_count", None, whole, start);
        self.push("_sum", None, histogram.sample_sum, start);
        let mut complete = false;
        for bucket in &histogram.bucket {
            let value = count(bucket.cumulative_count_float, bucket.cumulative_count);
            let bound = (BUCKET_LABEL, format_open_metrics(bucket.upper_bound));
            let point = self.push("_bucket", Some(bound), value, start);
            point
                .exemplars
                .extend(bucket.exemplar.as_ref().and_then(exemplar));
            complete = bucket.upper_bound == f64::INFINITY;
            if complete {
                break;
            }
        }
        if !complete {
            // The bucket that holds all may be left out.
            let bound = (BUCKET_LABEL, format_open_metrics(f64::INFINITY));
            self.push("_bucket", Some(bound), whole, start);
        }
    }

    fn native(&mut self, given: &proto::Histogram, value: Histogram) {
        let start = given.created_timestamp.map(time);
        let exemplars: Vec<&proto::Exemplar> = match given.exemplars.is_empty() {
            false => given.exemplars.iter().collect(),
            true => {
                let buckets = given.bucket.iter();
                buckets.filter_map(|b| b.exemplar.as_ref()).collect()
            }
        };
        let timed = exemplars.into_iter().filter(|e| e.timestamp.is_some());
        self.points.push(Point {
            suffix: "",
            bound: None,
            value: Value::Histogram(std::sync::Arc::new(value)),
            timestamp: self.timestamp,
            start,
            exemplars: timed.filter_map(exemplar).collect(),
        });
    }
}
