//! Pages of protobuf: native histograms, exemplars and start timestamps.

use std::borrow::Cow;
use std::hash::Hasher;
use std::sync::Arc;

use model::{METRIC_NAME, Metadata, MetricType, Value};
use wire::exposition::protobuf::{Families as Pages, Family, HistogramChoice, Metric, Point};

use super::append::{Append, Line, Observation, Pair, hash_parts};
use super::buckets::Classic;
use super::families::Families;

/// Reads the samples of a page; the result is a hash of what it says about its families.
///
/// # Errors
///
/// The first place that is not in the format, or a series that cannot be.
pub(super) fn read(append: &mut Append<'_>, bytes: &[u8]) -> Result<u64, String> {
    let mut described = append.cache.metadata_hasher();
    let wanted = append.rules.histograms;
    let choice = HistogramChoice {
        native: wanted.native,
        classic_too: wanted.classic_too,
    };
    let mut reader = Reader::default();
    let mut pages = Pages::new(bytes);
    while let Some(family) = pages.next_family().map_err(|error| error.to_string())? {
        let kind = family.kind.as_str();
        hash_parts(
            &mut described,
            [family.name, family.help, kind, family.unit],
        );
        for metric in family.metrics() {
            let metric = metric.map_err(|error| error.to_string())?;
            metric
                .points_into(&family, choice, &mut reader.points)
                .map_err(|error| error.to_string())?;
            reader.metric(append, &family, &metric)?;
        }
    }
    Ok(described.finish())
}

/// What a page says about its families.
///
/// # Errors
///
/// None after [`read`], which has read the same page.
pub(super) fn families(bytes: &[u8]) -> Result<Vec<(String, Metadata)>, String> {
    let mut families = Families::default();
    let mut pages = Pages::new(bytes);
    while let Some(family) = pages.next_family().map_err(|error| error.to_string())? {
        families.describe(family.name, |known| {
            *known = Metadata {
                kind: family.kind,
                help: family.help.to_owned(),
                unit: family.unit.to_owned(),
            }
        });
    }
    Ok(families.into_vec())
}

/// Buffers that are used again for every metric.
#[derive(Default)]
struct Reader {
    points: Vec<Point>,
    key: Vec<u8>,
}

impl Reader {
    fn metric(
        &mut self,
        append: &mut Append<'_>,
        family: &Family<'_>,
        metric: &Metric,
    ) -> Result<(), String> {
        let wanted = append.rules.histograms;
        let is_histogram = matches!(
            family.kind,
            MetricType::Histogram | MetricType::GaugeHistogram
        );
        let is_native = matches!(
            self.points.first(),
            Some(Point {
                value: Value::Histogram(_),
                ..
            })
        );
        let convert = wanted.to_custom_buckets && is_histogram && !is_native;
        let points = std::mem::take(&mut self.points);
        if !convert || wanted.classic_too {
            for point in &points {
                self.point(append, family, metric, point)?;
            }
        }
        if convert {
            self.custom_buckets(append, family, metric, &points)?;
        }
        self.points = points;
        Ok(())
    }

    fn point(
        &mut self,
        append: &mut Append<'_>,
        family: &Family<'_>,
        metric: &Metric,
        point: &Point,
    ) -> Result<(), String> {
        let bound = point.bound.as_ref();
        let line = self.line(append, family, metric, point.suffix, bound)?;
        let observed = Observation {
            value: point.value.clone(),
            time: point.timestamp,
            start: point.start,
        };
        if let Some(series) = append.sample(line, observed) {
            for exemplar in &point.exemplars {
                let labels = Some(exemplar.labels.clone());
                append.exemplar(series, labels, exemplar.value, exemplar.timestamp);
            }
        }
        Ok(())
    }

    /// A classic histogram as a native one with its bounds.
    fn custom_buckets(
        &mut self,
        append: &mut Append<'_>,
        family: &Family<'_>,
        metric: &Metric,
        points: &[Point],
    ) -> Result<(), String> {
        let mut classic = Classic::default();
        for point in points {
            let Value::Float(value) = point.value else {
                continue;
            };
            match (point.suffix, &point.bound) {
                ("_count", _) => classic.count = Some(value),
                ("_sum", _) => classic.sum = value,
                (_, Some((_, bound))) => classic.bucket(bound, value),
                _ => {}
            }
        }
        let Some(histogram) = classic.histogram(family.kind) else {
            return Ok(());
        };
        let line = self.line(append, family, metric, "", None)?;
        let (time, start) = points
            .first()
            .map_or((None, None), |p| (p.timestamp, p.start));
        let observed = Observation {
            value: Value::Histogram(Arc::new(histogram)),
            time,
            start,
        };
        if let Some(series) = append.sample(line, observed) {
            let timed = points.iter().flat_map(|point| &point.exemplars);
            for exemplar in timed.filter(|exemplar| exemplar.timestamp.is_some()) {
                let labels = Some(exemplar.labels.clone());
                append.exemplar(series, labels, exemplar.value, exemplar.timestamp);
            }
        }
        Ok(())
    }

    fn line(
        &mut self,
        append: &mut Append<'_>,
        family: &Family<'_>,
        metric: &Metric,
        suffix: &'static str,
        bound: Option<&(&'static str, String)>,
    ) -> Result<Line, String> {
        self.key.clear();
        let bound = || bound.map(|(name, value)| (*name, value.as_str()));
        for text in [family.name, suffix]
            .into_iter()
            .chain(metric.labels().chain(bound()).flat_map(|(n, v)| [n, v]))
        {
            self.key.extend_from_slice(text.as_bytes());
            // No UTF-8 text has this byte.
            self.key.push(0xff);
        }
        let key = append.cache.key(family.kind, &self.key);
        append.line(key, 0, || {
            let name: Pair<'_> = (
                METRIC_NAME.into(),
                format!("{}{suffix}", family.name).into(),
            );
            let labels = metric.labels().chain(bound());
            let labels = labels.map(|(n, v)| (Cow::Borrowed(n), Cow::Borrowed(v)));
            std::iter::once(name).chain(labels).collect()
        })
    }
}
