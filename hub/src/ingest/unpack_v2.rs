//! The same way for remote write 2.0. Its senders are few yet, so this is plain code: a series is looked up by the label
//! bytes that remote write 1.0 would have sent.

use std::collections::HashMap;

use model::{BRANCH, METRIC_NAME, Metadata, Sample, Timestamp};
use tsdb::{ColumnBatch, Columns, ExemplarRefusal, RefusedReason, Store, Urgency};
use wire::remote_write::v2::{SeriesViewV2, WalkV2};
use wire::remote_write::{self, Limits};

use super::Identity;
use super::exemplars::ExemplarTally;
use super::receive::Refused;
use super::unpack::{
    NO_BRANCH, Refusals, SERIES_SHOWN, Stored, TOO_FAR_AHEAD, append_error, decode_error,
    proven_labels,
};

/// What of a request has become columns. A series with floats and histograms has two of them, so that what the store
/// refuses can be told apart.
#[derive(Default)]
struct Unpacked {
    columns: Columns,
    /// By column: where the series is in the message.
    places: Vec<(usize, usize)>,
    /// By column: whether these are histograms.
    histograms: Vec<bool>,
    metadata: HashMap<String, Metadata>,
    refusals: Refusals,
    newest: Option<Timestamp>,
    histograms_sent: u64,
    exemplars: ExemplarTally,
    branch: Option<String>,
}

/// Stores a body. One that cannot be decoded stores nothing; of a decodable one what is good is stored.
pub(super) fn store(
    store: &Store,
    limits: &Limits,
    identity: &Identity,
    body: &[u8],
    latest: Timestamp,
) -> Result<Stored, Refused> {
    let message = remote_write::decompress(body, limits).map_err(|error| decode_error(&error))?;
    let mut walk = WalkV2::new(&message, limits).map_err(|error| decode_error(&error))?;
    let keys = store.series_keys(identity.scope());
    let (mut all, mut view) = (Unpacked::default(), SeriesViewV2::new());
    let symbols = walk.symbols().to_vec();
    while walk
        .next_series(&mut view)
        .map_err(|error| decode_error(&error))?
    {
        let key = keys.key(view.label_bytes());
        all.take(&view, &symbols, latest, |columns, samples| {
            columns.push_samples(key, samples);
        });
    }
    all.append(store, identity, &message, &symbols)
}

impl Unpacked {
    fn take(
        &mut self,
        view: &SeriesViewV2<'_>,
        symbols: &[&str],
        latest: Timestamp,
        mut push: impl FnMut(&mut Columns, &[Sample]),
    ) {
        let sent = (view.samples.len() + view.histogram_count()) as u64;
        let raw = view.raw_labels(symbols);
        if self.branch.is_none() {
            let branch = raw.iter().flatten().find(|(name, _)| *name == BRANCH);
            self.branch = Some(branch.map_or(NO_BRANCH, |(_, value)| value).to_owned());
        }
        let labels = match view.labels(symbols) {
            Ok(labels) => labels,
            Err(refusal) => return self.refusals.add(sent, refusal),
        };
        let name = || -> String { labels.to_string().chars().take(SERIES_SHOWN).collect() };
        // Prometheus sends exemplars as series of their own, in 2.0 too; its own receiver refuses those.
        if view.is_empty() && view.exemplar_count() == 0 {
            let why = "has neither a sample nor a histogram";
            return self.refusals.add(0, format!("series {} {why}", name()));
        }
        match view.metadata(labels.get(METRIC_NAME).unwrap_or_default(), symbols) {
            Ok(Some((family, metadata))) => drop(self.metadata.insert(family, metadata)),
            Ok(None) => {}
            Err(refusal) => self.refusals.add(0, refusal),
        }
        let in_time = |sample: &Sample, refusals: &mut Refusals| {
            let fine = sample.at <= latest;
            if !fine {
                let at = sample.at;
                refusals.add(
                    1,
                    format!("sample of {} at {at} is {TOO_FAR_AHEAD}", name()),
                );
            }
            fine
        };
        let mut floats: Vec<Sample> = view.floats().collect();
        floats.retain(|sample| in_time(sample, &mut self.refusals));
        let mut histograms = Vec::with_capacity(view.histogram_count());
        for histogram in view.histograms(&name) {
            match histogram {
                Ok(sample) if in_time(&sample, &mut self.refusals) => histograms.push(sample),
                Ok(_) => {}
                Err(refusal) => self.refusals.add(1, refusal),
            }
        }
        self.histograms_sent += histograms.len() as u64;
        let pushed = self.places.len();
        for (samples, are_histograms) in [(floats, false), (histograms, true)] {
            if samples.is_empty() {
                continue;
            }
            let newest = samples.iter().map(|sample| sample.at).max();
            self.newest = self.newest.max(newest);
            push(&mut self.columns, &samples);
            self.places.push(view.place());
            self.histograms.push(are_histograms);
        }
        if view.exemplar_count() > 0 {
            if self.places.len() == pushed {
                push(&mut self.columns, &[]);
                self.places.push(view.place());
                self.histograms.push(false);
            }
            let sent = view.exemplars(symbols);
            self.exemplars.push(&mut self.columns, sent, latest);
        }
    }

    fn append(
        mut self,
        store: &Store,
        identity: &Identity,
        message: &[u8],
        symbols: &[&str],
    ) -> Result<Stored, Refused> {
        let metadata: Vec<(&str, &Metadata)> = self
            .metadata
            .iter()
            .map(|(family, metadata)| (family.as_str(), metadata))
            .collect();
        let places = &self.places;
        let labels = |index: usize| {
            let view = SeriesViewV2::again(message, places[index], symbols)
                .map_err(|error| error.to_string())?;
            let labels = view.labels(symbols).map_err(|error| error.to_string())?;
            Ok(proven_labels(labels, identity))
        };
        let batch = ColumnBatch {
            scope: identity.scope(),
            labels: &labels,
            metadata: &metadata,
            urgency: Urgency::Now,
        };
        let appended = store
            .append_columns(&mut self.columns, batch)
            .map_err(|error| append_error(&error))?;
        let mut histograms = self.histograms_sent;
        for refused in &appended.refused {
            let limit = matches!(refused.reason, RefusedReason::SeriesLimit { .. });
            self.refusals.series_limit |= limit;
            if self.histograms.get(refused.index) == Some(&true) {
                histograms = histograms.saturating_sub(refused.samples);
            }
            let why = match &refused.reason {
                RefusedReason::Labels(why) => why.clone(),
                reason => {
                    let series = labels(refused.index).unwrap_or_default().to_string();
                    let series: String = series.chars().take(SERIES_SHOWN).collect();
                    format!("series {series}: {reason}")
                }
            };
            self.refusals.add(refused.samples, why);
        }
        self.exemplars.add(&appended.exemplars);
        // As Prometheus does. Of the others only the counts tell.
        for refused in &appended.exemplars.refused {
            if matches!(refused.reason, ExemplarRefusal::OutOfOrder { .. }) {
                self.refusals.add_with(0, || {
                    let series = labels(refused.index).unwrap_or_default().to_string();
                    let series: String = series.chars().take(SERIES_SHOWN).collect();
                    format!("exemplar of {series} at {}: {}", refused.at, refused.reason)
                });
            }
        }
        Ok(Stored {
            commit: appended.commit,
            seal_due: appended.seal_due,
            branch: self.branch,
            samples: appended.samples,
            histograms: histograms.min(appended.samples),
            exemplars: self.exemplars,
            newest: self.newest,
            refusals: self.refusals,
        })
    }
}
