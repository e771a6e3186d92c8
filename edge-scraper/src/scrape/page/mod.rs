//! From a page to a [`Scrape`]: parsing, labels, limits, duplicates, timestamps, staleness, and the target's own series.
//!
//! All or nothing: an error anywhere leaves of the page only `up` 0, the counts, and staleness markers.

mod append;
mod buckets;
mod families;
mod protobuf;
mod resolution;
mod text;

#[cfg(test)]
mod histograms_tests;
#[cfg(test)]
mod knowledge_tests;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use model::{Exemplar, LabelSet, Metadata, Sample, Series, Timestamp};
use wire::exposition::PageFormat;

use append::Append;

use super::cache::Cache;
use super::labels::LabelRules;
use super::{Class, Scrape};
use crate::config::{Histograms, JobConfig};

/// How pages of one target become scrapes.
#[derive(Debug, PartialEq)]
pub(super) struct Rules {
    pub(super) target: u64,
    pub(super) class: Class,
    pub(super) labels: LabelRules,
    pub(super) honor_timestamps: bool,
    pub(super) track_timestamps_staleness: bool,
    pub(super) sample_limit: Option<u64>,
    pub(super) histograms: Histograms,
    /// The timeout, if the extra series are wanted.
    pub(super) extra: Option<Duration>,
    reports: Reports,
}

/// Labels of the series that every scrape adds.
#[derive(Debug, PartialEq)]
struct Reports {
    always: [LabelSet; 5],
    extra: [LabelSet; 3],
}

const ALWAYS: [&str; 5] = [
    "up",
    "scrape_duration_seconds",
    "scrape_samples_scraped",
    "scrape_samples_post_metric_relabeling",
    "scrape_series_added",
];
const EXTRA: [&str; 3] = [
    "scrape_timeout_seconds",
    "scrape_sample_limit",
    "scrape_body_size_bytes",
];

impl Rules {
    pub(super) fn new(
        target: u64,
        labels: LabelRules,
        job: &JobConfig,
        timeout: Duration,
    ) -> Arc<Rules> {
        let reports = Reports {
            always: ALWAYS.map(|name| labels.report(name)),
            extra: EXTRA.map(|name| labels.report(name)),
        };
        Arc::new(Rules {
            target,
            class: job.class,
            labels,
            honor_timestamps: job.honor_timestamps,
            track_timestamps_staleness: job.track_timestamps_staleness,
            sample_limit: job.limits.samples,
            histograms: job.histograms,
            extra: job.extra_metrics.then_some(timeout),
            reports,
        })
    }

    /// Labels of the series that every scrape adds.
    pub(super) fn report_labels(&self) -> Vec<LabelSet> {
        let mut labels = self.reports.always.to_vec();
        if self.extra.is_some() {
            labels.extend(self.reports.extra.iter().cloned());
        }
        labels
    }
}

/// A page as it was fetched.
#[derive(Debug)]
pub(super) struct Body {
    pub(super) format: PageFormat,
    pub(super) bytes: Vec<u8>,
}

/// What a scrape brought, besides what is stored.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Counts {
    /// Samples on the page (up to an error).
    pub(super) scraped: u64,
    /// Of them, those that relabelling left.
    pub(super) kept: u64,
    /// Series that the page did not have before.
    pub(super) series_added: u64,
    /// Samples left out because the series had one for that time already.
    pub(super) duplicates: u64,
    /// Samples left out because their timestamp is too far ahead.
    pub(super) ahead: u64,
    /// Exemplars left out because their labels are too long or none, or their timestamp is too far ahead.
    pub(super) exemplars_refused: u64,
}

/// A scrape read from a page, without the target's own series yet.
#[derive(Debug)]
pub(super) struct Read {
    pub(super) counts: Counts,
    /// Why it failed.
    pub(super) error: Option<String>,
    series: Vec<(Series, Sample)>,
    exemplars: Vec<(LabelSet, Exemplar)>,
    metadata: Vec<(String, Metadata)>,
    /// -1: over the limit.
    body_bytes: i64,
}

/// Why a page could not be fetched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct FetchError {
    pub(super) reason: String,
    pub(super) body_too_large: bool,
}

impl FetchError {
    pub(super) fn new(reason: impl Into<String>) -> FetchError {
        FetchError {
            reason: reason.into(),
            body_too_large: false,
        }
    }
}

/// Series that a target has beside those of its page.
const REPORTS_MAX: usize = 8;

/// Reads what was fetched for the scrape stamped `at`. `elapsed` is monotonic.
pub(super) fn read(
    cache: &mut Cache,
    rules: &Rules,
    at: Timestamp,
    elapsed: Duration,
    fetched: &Result<Body, FetchError>,
) -> Read {
    let mut read = Read {
        counts: Counts::default(),
        error: None,
        series: Vec::with_capacity(cache.series() + REPORTS_MAX),
        exemplars: Vec::new(),
        metadata: Vec::new(),
        body_bytes: 0,
    };
    match fetched {
        Ok(body) => {
            read.body_bytes = body.bytes.len() as i64;
            read.error = page(cache, rules, at, elapsed, body, &mut read).err();
        }
        Err(error) => {
            read.body_bytes = if error.body_too_large { -1 } else { 0 };
            read.error = Some(error.reason.clone());
        }
    }
    let stale = match read.error {
        None => cache.finish(),
        Some(_) => {
            read.series = Vec::new();
            read.exemplars = Vec::new();
            // Exemplars of this page count as handed over, and are not.
            cache.forget_handed_over();
            cache.fail()
        }
    };
    read.series
        .extend(stale.into_iter().map(|series| (series, Sample::stale(at))));
    read
}

fn page(
    cache: &mut Cache,
    rules: &Rules,
    at: Timestamp,
    elapsed: Duration,
    body: &Body,
    read: &mut Read,
) -> Result<(), String> {
    cache.begin(body.format);
    let mut append = Append::new(cache, rules, at, read);
    let described = match body.format {
        PageFormat::Text(format) => text::read(&mut append, format, &body.bytes)?,
        PageFormat::Protobuf => protobuf::read(&mut append, &body.bytes)?,
    };
    append.finish()?;
    if !cache.knows_metadata(described, elapsed) {
        let families = match body.format {
            PageFormat::Text(format) => text::families(format, &body.bytes)?,
            PageFormat::Protobuf => protobuf::families(&body.bytes)?,
        };
        read.metadata = cache.changed_metadata(described, families, elapsed);
    }
    Ok(())
}

/// Completes the scrape with the target's own series.
pub(super) fn report(rules: &Rules, at: Timestamp, took: Duration, read: Read) -> Scrape {
    let up = if read.error.is_none() { 1.0 } else { 0.0 };
    let counts = &read.counts;
    let values = [
        up,
        took.as_secs_f64(),
        counts.scraped as f64,
        counts.kept as f64,
        counts.series_added as f64,
    ];
    let mut series = read.series;
    let mut add = |labels: &LabelSet, value: f64| {
        series.push((labels.clone().into(), Sample::float(at, value)))
    };
    for (labels, value) in rules.reports.always.iter().zip(values) {
        add(labels, value);
    }
    if let Some(timeout) = rules.extra {
        let limit = rules.sample_limit.unwrap_or(0) as f64;
        let values = [timeout.as_secs_f64(), limit, read.body_bytes as f64];
        for (labels, value) in rules.reports.extra.iter().zip(values) {
            add(labels, value);
        }
    }
    Scrape {
        at,
        target: rules.target,
        class: rules.class,
        series,
        exemplars: read.exemplars,
        metadata: read.metadata,
    }
}

/// The target is gone: staleness markers for its series and its own ones.
pub(super) fn farewell(cache: &mut Cache, rules: &Rules, at: Timestamp) -> Scrape {
    let mut series = cache.fail();
    series.extend(rules.report_labels().into_iter().map(Series::from));
    Scrape {
        at,
        target: rules.target,
        class: rules.class,
        series: series
            .into_iter()
            .map(|series| (series, Sample::stale(at)))
            .collect(),
        exemplars: Vec::new(),
        metadata: Vec::new(),
    }
}
