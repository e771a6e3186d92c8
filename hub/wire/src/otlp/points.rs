//! The points of each kind of metric, and the samples that they become.

use model::{Exemplar, LabelSet, LabelSetBuilder, METRIC_NAME, Sample, Timestamp, stale_nan};

use super::exemplars::exemplars;
use super::native;
use super::proto::{
    ExponentialPoint, HistogramPoint, NO_RECORDED_VALUE, Number, NumberPoint, SummaryPoint,
};
use super::translate::{Metric, Point, Sink};
use crate::remote_write::SeriesRefusal;

/// ms since 1970, as Prometheus makes them of ns.
pub(super) fn millis(nanos: u64) -> i64 {
    nanos as i64 / 1_000_000
}

/// What all points have.
struct Common {
    at: Timestamp,
    start: Option<Timestamp>,
    /// Nothing was measured: the series has ended.
    ended: bool,
}

impl Common {
    fn new(at: u64, start: u64, flags: u32) -> Self {
        let start = millis(start);
        Common {
            at: Timestamp::from_millis(millis(at)),
            start: (start != 0).then(|| Timestamp::from_millis(start)),
            ended: flags & NO_RECORDED_VALUE != 0,
        }
    }

    fn float(&self, value: f64) -> Sample {
        Sample {
            start: self.start,
            ..Sample::float(self.at, if self.ended { stale_nan() } else { value })
        }
    }

    fn histogram(&self, value: model::Histogram) -> Sample {
        Sample {
            start: self.start,
            ..Sample::histogram(self.at, value)
        }
    }
}

/// Adds the series of a family: its labels are those of the point, and a name.
struct Family<'a> {
    name: &'a str,
    base: LabelSetBuilder,
}

impl Family<'_> {
    fn labels(&self, suffix: &str) -> LabelSet {
        let mut labels = self.base.clone();
        labels
            .set(METRIC_NAME, format!("{}{suffix}", self.name))
            .build()
    }

    fn labels_with(&self, suffix: &str, label: &str, value: f64) -> LabelSet {
        let mut labels = self.base.clone();
        labels.set(label, plain(value));
        labels
            .set(METRIC_NAME, format!("{}{suffix}", self.name))
            .build()
    }
}

/// Plain notation in as few digits as say it; infinity as Prometheus writes it.
fn plain(value: f64) -> String {
    match value {
        v if v == f64::INFINITY => "+Inf".to_owned(),
        v if v == f64::NEG_INFINITY => "-Inf".to_owned(),
        v => v.to_string(),
    }
}

impl Point for NumberPoint {
    fn add(&self, metric: &Metric<'_>, sink: &mut Sink<'_, '_>) -> Result<(), String> {
        let base = sink.labels.of_point(&self.attributes, metric)?;
        let common = Common::new(self.time_unix_nano, self.start_time_unix_nano, self.flags);
        let value = match self.value {
            Some(Number::Double(value)) => value,
            Some(Number::Int(value)) => value as f64,
            None => 0.0,
        };
        let family = Family {
            name: &metric.name,
            base,
        };
        let found = match metric.is_sum {
            true => exemplars(&self.exemplars, common.at)?,
            false => Vec::new(),
        };
        sink.push(family.labels(""), common.float(value), found);
        Ok(())
    }
}

impl Point for HistogramPoint {
    fn add(&self, metric: &Metric<'_>, sink: &mut Sink<'_, '_>) -> Result<(), String> {
        let base = sink.labels.of_point(&self.attributes, metric)?;
        let common = Common::new(self.time_unix_nano, self.start_time_unix_nano, self.flags);
        let family = Family {
            name: &metric.name,
            base,
        };
        let found = exemplars(&self.exemplars, common.at)?;
        if sink.settings.convert_to_nhcb {
            let histogram = native::custom(self, metric.delta)
                .map_err(|error| format!("histogram {}: {error}", metric.name))?;
            sink.push(family.labels(""), common.histogram(histogram), found);
            return Ok(());
        }
        if let Some(sum) = self.sum {
            sink.push(family.labels("_sum"), common.float(sum), Vec::new());
        }
        let count = common.float(self.count as f64);
        sink.push(family.labels("_count"), count.clone(), Vec::new());
        let mut by_bucket = in_buckets(found, &self.explicit_bounds)
            .into_iter()
            .peekable();
        let mut take = |bucket: usize| {
            let inside = std::iter::from_fn(|| by_bucket.next_if(|(of, _)| *of <= bucket));
            inside.map(|(_, exemplar)| exemplar).collect()
        };
        let mut cumulative = 0_u64;
        let buckets = self.explicit_bounds.iter().zip(&self.bucket_counts);
        for (bucket, (bound, here)) in buckets.enumerate() {
            cumulative = cumulative.wrapping_add(*here);
            let labels = family.labels_with("_bucket", "le", *bound);
            sink.push(labels, common.float(cumulative as f64), take(bucket));
            if sink.overdrawn {
                return Ok(());
            }
        }
        let labels = family.labels_with("_bucket", "le", f64::INFINITY);
        sink.push(labels, count, take(usize::MAX));
        Ok(())
    }
}

type Sent = Result<Exemplar, SeriesRefusal>;

/// Each with the first bucket whose bound is not below it, in the order of buckets; those that cannot be kept are last.
fn in_buckets(exemplars: Vec<Sent>, bounds: &[f64]) -> Vec<(usize, Sent)> {
    let bucket = |exemplar: &Sent| match exemplar {
        Ok(exemplar) => bounds.partition_point(|bound| *bound < exemplar.value),
        Err(_) => bounds.len(),
    };
    let pairs = exemplars
        .into_iter()
        .map(|exemplar| (bucket(&exemplar), exemplar));
    let mut pairs: Vec<(usize, Sent)> = pairs.collect();
    pairs.sort_by_key(|(bucket, _)| *bucket);
    pairs
}

impl Point for ExponentialPoint {
    fn add(&self, metric: &Metric<'_>, sink: &mut Sink<'_, '_>) -> Result<(), String> {
        let histogram = native::exponential(self, metric.delta)
            .map_err(|error| format!("histogram {}: {error}", metric.name))?;
        let base = sink.labels.of_point(&self.attributes, metric)?;
        let common = Common::new(self.time_unix_nano, self.start_time_unix_nano, self.flags);
        let family = Family {
            name: &metric.name,
            base,
        };
        let found = exemplars(&self.exemplars, common.at)?;
        sink.push(family.labels(""), common.histogram(histogram), found);
        Ok(())
    }
}

impl Point for SummaryPoint {
    fn add(&self, metric: &Metric<'_>, sink: &mut Sink<'_, '_>) -> Result<(), String> {
        let base = sink.labels.of_point(&self.attributes, metric)?;
        let common = Common::new(self.time_unix_nano, self.start_time_unix_nano, self.flags);
        let family = Family {
            name: &metric.name,
            base,
        };
        sink.push(family.labels("_sum"), common.float(self.sum), Vec::new());
        let count = common.float(self.count as f64);
        sink.push(family.labels("_count"), count, Vec::new());
        for quantile in &self.quantile_values {
            let labels = family.labels_with("", "quantile", quantile.quantile);
            sink.push(labels, common.float(quantile.value), Vec::new());
            if sink.overdrawn {
                break;
            }
        }
        Ok(())
    }
}
