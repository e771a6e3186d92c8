//! `load_with_nhcb`: native histograms with custom buckets made from classic ones.

use std::collections::BTreeMap;

use model::{
    BUCKET_LABEL, Buckets, CUSTOM_BUCKETS_SCHEMA, Histogram, LabelSet, METRIC_NAME, Sample,
    Timestamp, Value,
};

use super::command::LoadedSeries;

/// What is known of one histogram at one time.
#[derive(Default)]
struct Parts {
    /// Cumulative counts by upper bound, in rising order.
    buckets: Vec<(f64, f64)>,
    count: Option<f64>,
    sum: f64,
}

/// One series for each classic histogram among the series.
pub(super) fn convert(series: &[LoadedSeries]) -> Result<Vec<LoadedSeries>, String> {
    let mut found: BTreeMap<LabelSet, BTreeMap<Timestamp, Parts>> = BTreeMap::new();
    for one in series {
        let name = one.labels.name().unwrap_or_default();
        let Some((base, suffix)) = ["_bucket", "_count", "_sum"]
            .into_iter()
            .find_map(|suffix| Some((name.strip_suffix(suffix)?, suffix)))
        else {
            continue;
        };
        let bound = one.labels.get(BUCKET_LABEL).unwrap_or_default();
        let bound: f64 = match (suffix, bound.parse::<f64>()) {
            ("_bucket", Ok(bound)) if !bound.is_nan() => bound,
            ("_bucket", _) => continue,
            _ => 0.0,
        };
        let mut labels = one.labels.builder();
        labels.set(METRIC_NAME, base).del(BUCKET_LABEL);
        let times = found.entry(labels.build()).or_default();
        for sample in &one.samples {
            let Value::Float(value) = sample.value else {
                continue;
            };
            let parts = times.entry(sample.at).or_default();
            match suffix {
                "_bucket" => parts.buckets.push((bound, value)),
                "_count" => parts.count = Some(value),
                _ => parts.sum = value,
            }
        }
    }
    let mut converted = Vec::new();
    for (labels, times) in found {
        let mut samples = Vec::with_capacity(times.len());
        for (at, parts) in times {
            let histogram = parts.histogram().map_err(|e| format!("{labels}: {e}"))?;
            samples.push(Sample::histogram(at, histogram));
        }
        converted.push(LoadedSeries { labels, samples });
    }
    Ok(converted)
}

impl Parts {
    fn histogram(mut self) -> Result<Histogram, String> {
        self.buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
        self.buckets.dedup_by(|next, kept| next.0 == kept.0);
        let last = self.buckets.last().copied();
        let count = self.count.or(last.map(|(_, count)| count)).unwrap_or(0.0);
        if last.is_none_or(|(bound, _)| bound != f64::INFINITY) {
            self.buckets.push((f64::INFINITY, count));
        }
        let mut before = 0.0;
        let mut counts = Vec::with_capacity(self.buckets.len());
        for (_, cumulative) in &self.buckets {
            if *cumulative < before {
                return Err("counts of classic buckets fall".to_owned());
            }
            counts.push(cumulative - before);
            before = *cumulative;
        }
        if before != count {
            return Err(format!("count {count}, but the buckets hold {before}"));
        }
        let bounds = self.buckets.iter().map(|(bound, _)| *bound);
        let histogram = Histogram {
            schema: CUSTOM_BUCKETS_SCHEMA,
            count,
            sum: self.sum,
            positive: Buckets::from_indexed((0..).zip(counts)),
            custom_values: bounds.filter(|bound| bound.is_finite()).collect(),
            ..Histogram::default()
        };
        Ok(crate::histogram::compact(histogram))
    }
}
