//! Classic histograms as native ones with custom bounds (`convert_classic_histograms_to_nhcb`): buckets, count and sum of one
//! histogram become one sample.

use std::borrow::Cow;
use std::sync::Arc;

use model::{
    BUCKET_LABEL, Buckets, CUSTOM_BUCKETS_SCHEMA, Exemplar, Histogram, LabelSet, METRIC_NAME,
    MetricType, ResetHint, Timestamp, Value,
};
use wire::exposition::{SampleEntry, parse_float};

use super::append::{Append, Observation};

/// More buckets than that are no histogram of one metric.
const BUCKETS_MAX: usize = 10_000;

/// A classic histogram, as far as it is known.
#[derive(Debug, Default, Clone, PartialEq)]
pub(super) struct Classic {
    /// Upper bound and cumulative count, in the order of the page.
    buckets: Vec<(f64, f64)>,
    pub(super) count: Option<f64>,
    pub(super) sum: f64,
}

impl Classic {
    /// Adds a bucket; a bound that is no number makes it no histogram.
    pub(super) fn bucket(&mut self, bound: &str, cumulative: f64) {
        if self.buckets.len() <= BUCKETS_MAX {
            let bound = parse_float(bound).unwrap_or(f64::NAN);
            self.buckets.push((bound, cumulative));
        }
    }

    /// The native histogram; `None` if counts fall towards higher bounds, or nothing says how many observations there are.
    pub(super) fn histogram(mut self, kind: MetricType) -> Option<Histogram> {
        let bad =
            |(bound, count): &(f64, f64)| bound.is_nan() || !count.is_finite() || *count < 0.0;
        if self.buckets.len() > BUCKETS_MAX || self.buckets.iter().any(bad) {
            return None;
        }
        self.buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
        self.buckets.dedup_by(|a, b| a.0 == b.0);
        let last = self.buckets.last().copied();
        let all = last.filter(|(bound, _)| *bound == f64::INFINITY);
        let count = self.count.or(all.map(|(_, count)| count))?;
        if all.is_none() {
            self.buckets.push((f64::INFINITY, count));
        }
        let integer =
            self.buckets.iter().all(|(_, count)| count.fract() == 0.0) && count.fract() == 0.0;
        let mut before = 0.0;
        let mut counts = Vec::with_capacity(self.buckets.len());
        for (index, (_, cumulative)) in self.buckets.iter().enumerate() {
            if *cumulative < before {
                return None;
            }
            counts.push((index as i32, cumulative - before));
            before = *cumulative;
        }
        if before != count {
            return None;
        }
        self.buckets.pop();
        let histogram = Histogram {
            schema: CUSTOM_BUCKETS_SCHEMA,
            count,
            sum: self.sum,
            positive: Buckets::from_indexed(counts.into_iter().filter(|(_, count)| *count != 0.0)),
            custom_values: self.buckets.iter().map(|(bound, _)| *bound).collect(),
            reset_hint: match kind {
                MetricType::GaugeHistogram => ResetHint::Gauge,
                _ => ResetHint::Unknown,
            },
            integer,
            ..Histogram::default()
        };
        histogram.validate().is_ok().then_some(histogram)
    }
}

/// The conversion of a page of text: samples of one histogram stand together.
#[derive(Default)]
pub(super) struct Conversion {
    /// The family, while it is one of histograms.
    family: Option<(String, MetricType)>,
    group: Option<Group>,
}

/// Samples of one histogram so far.
struct Group {
    /// The labels without `le` and the name.
    labels: LabelSet,
    classic: Classic,
    time: Option<Timestamp>,
    exemplars: Vec<Exemplar>,
}

impl Conversion {
    /// Whether samples have to be shown to [`Conversion::take`].
    pub(super) fn is_on(&self) -> bool {
        self.family.is_some()
    }

    /// A family begins.
    pub(super) fn begin(&mut self, family: &str, kind: MetricType) {
        let converted = matches!(kind, MetricType::Histogram | MetricType::GaugeHistogram);
        self.family = converted.then(|| (family.to_owned(), kind));
    }

    /// Takes a sample of a histogram. False if it is none, or is wanted as it is as well.
    ///
    /// # Errors
    ///
    /// Labels that no series may have.
    pub(super) fn take(
        &mut self,
        append: &mut Append<'_>,
        sample: &SampleEntry<'_>,
    ) -> Result<bool, String> {
        let Some((family, _)) = &self.family else {
            return Ok(false);
        };
        let name = sample.labels.metric();
        let suffix = match name.strip_prefix(family.as_str()) {
            Some(suffix @ ("_bucket" | "_count" | "_sum" | "_gcount" | "_gsum")) => suffix,
            _ => return Ok(false),
        };
        let labels = sample.labels.iter();
        let others = labels.filter(|(name, _)| name != METRIC_NAME && name != BUCKET_LABEL);
        let others = LabelSet::from_pairs(others).map_err(|error| error.to_string())?;
        if self
            .group
            .as_ref()
            .is_none_or(|group| group.labels != others)
        {
            self.flush(append)?;
        }
        let group = self.group.get_or_insert_with(|| Group {
            labels: others,
            classic: Classic::default(),
            time: sample.timestamp,
            exemplars: Vec::new(),
        });
        match suffix {
            "_bucket" => {
                let bound = sample.labels.iter().find(|(name, _)| name == BUCKET_LABEL);
                let bound = bound.map_or(Cow::Borrowed(""), |(_, bound)| bound);
                group.classic.bucket(&bound, sample.value);
            }
            "_count" | "_gcount" => group.classic.count = Some(sample.value),
            _ => group.classic.sum = sample.value,
        }
        if let Some(exemplar) = &sample.exemplar
            && let (Some(at), Ok(labels)) = (exemplar.timestamp, exemplar.labels.to_label_set())
            && group.exemplars.len() < BUCKETS_MAX
        {
            group.exemplars.push(Exemplar {
                labels,
                value: exemplar.value,
                at,
            });
        }
        Ok(!append.rules.histograms.classic_too)
    }

    /// The histogram under way is over.
    ///
    /// # Errors
    ///
    /// Labels that no series may have.
    pub(super) fn flush(&mut self, append: &mut Append<'_>) -> Result<(), String> {
        let (Some(group), Some((family, kind))) = (self.group.take(), &self.family) else {
            return Ok(());
        };
        let Some(histogram) = group.classic.histogram(*kind) else {
            return Ok(());
        };
        let mut text = format!("{family}\n").into_bytes();
        text.extend_from_slice(group.labels.as_bytes());
        let key = append.cache.key(*kind, &text);
        let line = append.line(key, 0, || {
            let labels = group.labels.iter();
            let labels = labels.map(|(n, v)| (Cow::Borrowed(n), Cow::Borrowed(v)));
            let name = (METRIC_NAME.into(), Cow::Borrowed(family.as_str()));
            std::iter::once(name).chain(labels).collect()
        })?;
        let observed = Observation {
            value: Value::Histogram(Arc::new(histogram)),
            time: group.time,
            start: None,
        };
        if let Some(series) = append.sample(line, observed) {
            for exemplar in group.exemplars {
                append.exemplar(
                    series,
                    Some(exemplar.labels),
                    exemplar.value,
                    Some(exemplar.at),
                );
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn classic(buckets: &[(&str, f64)], count: Option<f64>) -> Option<Histogram> {
        let mut classic = Classic {
            count,
            sum: 4.5,
            ..Classic::default()
        };
        for (bound, cumulative) in buckets {
            classic.bucket(bound, *cumulative);
        }
        classic.histogram(MetricType::Histogram)
    }

    #[test]
    fn cumulative_counts_become_buckets() {
        let found = classic(
            &[("+Inf", 7.0), ("0.5", 2.0), ("1.0", 2.0), ("2.5", 6.0)],
            Some(7.0),
        );
        let found = found.unwrap();
        assert_eq!(found.custom_values, [0.5, 1.0, 2.5]);
        let counts: Vec<_> = found.positive.iter().collect();
        assert_eq!(counts, [(0, 2.0), (2, 4.0), (3, 1.0)]);
        assert!(found.integer && found.count == 7.0 && found.sum == 4.5);
        let fraction = classic(&[("1", 0.5)], Some(1.5)).unwrap();
        assert!(!fraction.integer);
        assert_eq!(
            classic(&[("1", 3.0), ("+Inf", 4.0)], None).unwrap().count,
            4.0
        );
        let bare = classic(&[], Some(3.0)).unwrap();
        assert_eq!((bare.count, bare.custom_values.len()), (3.0, 0));
    }

    #[test]
    fn what_is_no_histogram() {
        for (buckets, count) in [
            (&[("1", 3.0), ("2", 2.0)][..], Some(3.0)),
            (&[("1", 3.0)], None),
            (&[("x", 3.0)], Some(3.0)),
            (&[("1", 3.0), ("+Inf", 4.0)], Some(5.0)),
            (&[("1", f64::NAN)], Some(1.0)),
            (&[("1", -1.0)], Some(1.0)),
        ] {
            assert_eq!(classic(buckets, count), None, "{buckets:?}");
        }
    }
}
