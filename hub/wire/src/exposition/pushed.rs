//! Families as they were pushed, written again as protobuf: what the Pushgateway shows a scraper that asks for native histograms.

use std::collections::BTreeMap;
use std::sync::Arc;

use model::{
    BUCKET_LABEL, Histogram, INSTANCE, LabelSet, METRIC_NAME, Metadata, MetricType, QUANTILE_LABEL,
};

use super::DelimitedEncoder;
use super::delimited::{native, proto, whole};
use super::parse_float;

impl DelimitedEncoder {
    /// A whole family: numbers named as in text (`…_bucket` with `le`, `…_sum`, `…_count`, `quantile`), those of one metric in any order,
    /// and native histograms; a metric may have both forms. A series without an instance gets an empty one. A number that no metric
    /// of the family's type has a place for is written as an untyped one of its own name: read again, it is the same series.
    pub fn pushed(
        &mut self,
        name: &str,
        about: &Metadata,
        numbers: &[(LabelSet, f64)],
        natives: &[(LabelSet, Arc<Histogram>)],
    ) {
        let mut metrics = Metrics::default();
        let mut others: Vec<(&LabelSet, f64)> = Vec::new();
        for (labels, value) in numbers {
            match place(name, about.kind, labels, *value) {
                Some(place) => metrics.put(about.kind, labels, place, *value),
                None => others.push((labels, *value)),
            }
        }
        for (labels, value) in natives {
            let histogram = metrics.of(labels).histogram.get_or_insert_default();
            let both = native(value);
            *histogram = proto::Histogram {
                bucket: std::mem::take(&mut histogram.bucket),
                ..both
            };
        }
        for metric in &mut metrics.all {
            let buckets = metric.histogram.iter_mut().map(|h| &mut h.bucket);
            // Readers stop at the last bound.
            buckets.for_each(|all| all.sort_by(|a, b| a.upper_bound().total_cmp(&b.upper_bound())));
        }
        self.family(name, about, metrics.all);
        for (labels, value) in others {
            let mut metrics = Metrics::default();
            metrics.put(MetricType::Unknown, labels, Place::Number, value);
            let name = labels.name().unwrap_or_default();
            self.family(name, &Metadata::default(), metrics.all);
        }
    }
}

/// Where in a metric a number stands.
enum Place {
    Number,
    Sum,
    Count,
    Bucket(f64),
    Quantile(f64),
}

/// None where the family's type has no place for it.
fn place(family: &str, kind: MetricType, labels: &LabelSet, value: f64) -> Option<Place> {
    let suffix = labels.name()?.strip_prefix(family)?;
    let bound = |label: &str| labels.get(label).and_then(parse_float);
    // The format has whole counts, and others only above zero; of summaries whole ones alone.
    let counts = whole(value).is_some() || (value > 0.0 && value.is_finite());
    use MetricType::{GaugeHistogram, Histogram, Summary};
    match (kind, suffix) {
        (Histogram | GaugeHistogram, "_bucket") if counts => bound(BUCKET_LABEL).map(Place::Bucket),
        (Histogram | GaugeHistogram, "_count") if counts => Some(Place::Count),
        (Histogram | GaugeHistogram | Summary, "_sum") => Some(Place::Sum),
        (Summary, "_count") if whole(value).is_some() => Some(Place::Count),
        (Summary, "") => bound(QUANTILE_LABEL).map(Place::Quantile),
        (Histogram | GaugeHistogram | Summary, _) => None,
        (_, "") => Some(Place::Number),
        _ => None,
    }
}

/// Metrics by their labels, in the order in which they first came.
#[derive(Default)]
struct Metrics {
    all: Vec<proto::Metric>,
    known: BTreeMap<LabelSet, usize>,
}

impl Metrics {
    /// The metric with these labels, but for the name.
    fn of(&mut self, labels: &LabelSet) -> &mut proto::Metric {
        let key = labels.builder().del(METRIC_NAME).build();
        let all = &mut self.all;
        let index = *self.known.entry(key).or_insert_with_key(|key| {
            let no_instance = key.get(INSTANCE).is_none().then_some((INSTANCE, ""));
            let pair = |(name, value): (&str, &str)| proto::LabelPair {
                name: Some(name.to_owned()),
                value: Some(value.to_owned()),
            };
            all.push(proto::Metric {
                label: key.iter().chain(no_instance).map(pair).collect(),
                ..proto::Metric::default()
            });
            all.len() - 1
        });
        &mut self.all[index]
    }

    fn put(&mut self, kind: MetricType, labels: &LabelSet, place: Place, value: f64) {
        let bound = match place {
            Place::Bucket(_) => Some(BUCKET_LABEL),
            Place::Quantile(_) => Some(QUANTILE_LABEL),
            _ => None,
        };
        let metric = match bound {
            Some(label) => self.of(&labels.builder().del(label).build()),
            None => self.of(labels),
        };
        let number = Some(proto::Number { value: Some(value) });
        match (kind, place) {
            (MetricType::Counter, _) => metric.counter = number,
            (MetricType::Gauge, _) => metric.gauge = number,
            (MetricType::Summary, Place::Sum) => {
                metric.summary.get_or_insert_default().sample_sum = Some(value);
            }
            (MetricType::Summary, Place::Count) => {
                metric.summary.get_or_insert_default().sample_count = whole(value);
            }
            (_, Place::Quantile(quantile)) => {
                let summary = metric.summary.get_or_insert_default();
                summary.quantile.push(proto::Quantile {
                    quantile: Some(quantile),
                    value: Some(value),
                });
            }
            (_, Place::Sum) => {
                metric.histogram.get_or_insert_default().sample_sum = Some(value);
            }
            (_, Place::Count) => {
                let histogram = metric.histogram.get_or_insert_default();
                histogram.sample_count = whole(value);
                histogram.sample_count_float = whole(value).is_none().then_some(value);
            }
            (_, Place::Bucket(upper_bound)) => {
                let histogram = metric.histogram.get_or_insert_default();
                histogram.bucket.push(proto::Bucket {
                    cumulative_count: whole(value),
                    upper_bound: Some(upper_bound),
                    cumulative_count_float: whole(value).is_none().then_some(value),
                });
            }
            (_, Place::Number) => metric.untyped = number,
        }
    }
}

#[cfg(test)]
mod tests {
    use model::{Buckets, Value};

    use super::*;
    use crate::exposition::protobuf::{Families, HistogramChoice};

    fn set(text: &[(&str, &str)]) -> LabelSet {
        LabelSet::from_pairs(text.iter().copied()).unwrap()
    }

    /// What a scraper that wants both forms reads: one line a series.
    fn read(page: &[u8]) -> Vec<String> {
        let choice = HistogramChoice {
            native: true,
            classic_too: true,
        };
        let (mut lines, mut points) = (Vec::new(), Vec::new());
        let mut families = Families::new(page);
        while let Some(family) = families.next_family().unwrap() {
            for metric in family.metrics() {
                let metric = metric.unwrap();
                metric.points_into(&family, choice, &mut points).unwrap();
                for point in &points {
                    let labels: Vec<String> = metric
                        .labels()
                        .chain(point.bound.iter().map(|(n, v)| (*n, v.as_str())))
                        .map(|(name, value)| format!("{name}={value}"))
                        .collect();
                    let value = match &point.value {
                        Value::Float(value) => value.to_string(),
                        Value::Histogram(h) => {
                            format!(
                                "{}/{}/{}/{:?}",
                                h.count, h.schema, h.integer, h.positive.counts
                            )
                        }
                    };
                    let (kind, suffix) = (family.kind.as_str(), point.suffix);
                    lines.push(format!(
                        "{kind} {}{suffix} {} {value}",
                        family.name,
                        labels.join(",")
                    ));
                }
            }
        }
        lines
    }

    fn check(
        kind: MetricType,
        numbers: &[(&[(&str, &str)], f64)],
        natives: &[(LabelSet, Arc<Histogram>)],
        expected: &[&str],
    ) {
        let numbers: Vec<(LabelSet, f64)> = numbers.iter().map(|(l, v)| (set(l), *v)).collect();
        let mut page = DelimitedEncoder::new(true);
        let about = Metadata {
            kind,
            ..Metadata::default()
        };
        page.pushed("m", &about, &numbers, natives);
        assert_eq!(read(&page.finish()), expected);
    }

    const NAME: &str = METRIC_NAME;

    #[test]
    fn numbers_find_their_metric() {
        check(
            MetricType::Gauge,
            &[
                (&[(NAME, "m"), ("instance", "i")], f64::NAN),
                (&[(NAME, "m"), ("x", "1")], 2.5),
            ],
            &[],
            &["gauge m instance=i NaN", "gauge m x=1,instance= 2.5"],
        );
        check(
            MetricType::Histogram,
            &[
                (&[(NAME, "m_bucket"), ("le", "+Inf")], 3.0),
                (&[(NAME, "m_bucket"), ("le", "0.5")], 1.5),
                (&[(NAME, "m_sum")], 7.0),
                (&[(NAME, "m_count")], 3.0),
                (&[(NAME, "m_bucket"), ("le", "many")], 4.0),
                (&[(NAME, "m")], 5.0),
            ],
            &[],
            &[
                "histogram m_count instance= 3",
                "histogram m_sum instance= 7",
                "histogram m_bucket instance=,le=0.5 1.5",
                "histogram m_bucket instance=,le=+Inf 3",
                "unknown m_bucket le=many,instance= 4",
                "unknown m instance= 5",
            ],
        );
        check(
            MetricType::Summary,
            &[
                (&[(NAME, "m"), ("quantile", "0.5")], 1.0),
                (&[(NAME, "m_sum")], 7.0),
                (&[(NAME, "m_count")], 2.5),
            ],
            &[],
            &[
                "summary m_count instance= 0",
                "summary m_sum instance= 7",
                "summary m instance=,quantile=0.5 1",
                "unknown m_count instance= 2.5",
            ],
        );
    }

    #[test]
    fn native_histograms_with_and_without_the_classic_form() {
        let native = |integer, counts: [f64; 2]| Histogram {
            schema: 3,
            count: counts.iter().sum(),
            sum: 9.0,
            positive: Buckets::from_indexed([(1, counts[0]), (5, counts[1])]),
            integer,
            ..Histogram::default()
        };
        let natives = [
            (
                set(&[(NAME, "m"), ("x", "1")]),
                Arc::new(native(true, [4.0, 2.0])),
            ),
            (
                set(&[(NAME, "m"), ("x", "2")]),
                Arc::new(native(false, [0.5, 2.0])),
            ),
        ];
        check(
            MetricType::Histogram,
            &[
                (&[(NAME, "m_bucket"), ("x", "1"), ("le", "1.0")], 2.0),
                (&[(NAME, "m_count"), ("x", "1")], 6.0),
                (&[(NAME, "m_sum"), ("x", "1")], 9.0),
            ],
            &natives,
            &[
                "histogram m x=1,instance= 6/3/true/[4.0, 2.0]",
                "histogram m_count x=1,instance= 6",
                "histogram m_sum x=1,instance= 9",
                "histogram m_bucket x=1,instance=,le=1.0 2",
                "histogram m_bucket x=1,instance=,le=+Inf 6",
                "histogram m x=2,instance= 2.5/3/false/[0.5, 2.0]",
            ],
        );
    }
}
