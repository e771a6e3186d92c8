//! From the body of a request to the store, without an allocation per series or sample: decompressed into memory that is
//! used again, walked once, keys hashed on the way, everything else as columns. Labels are parsed for new series only.

use std::fmt::Write;
use std::sync::{Mutex, PoisonError};

use axum::http::StatusCode;
use model::{BRANCH, LabelSet, Metadata, Sample, Timestamp};
use tsdb::{AppendError, ColumnBatch, Columns, RefusedReason, Store, Urgency};
use wire::remote_write::{self, DecodeError, Limits, Part, SeriesRefusal, SeriesView, Walk};

use super::Identity;
use super::exemplars::ExemplarTally;
use super::receive::Refused;

/// Refusals that an answer lists; then it says how many more there are.
const REFUSALS_SHOWN: usize = 5;
/// When to try again after the disk was full.
const DISK_RETRY_SECONDS: u32 = 30;
/// When to try again with series beyond the limit: somebody must raise it, or the branch must send fewer.
const SERIES_LIMIT_RETRY_SECONDS: u32 = 60;
/// Who speaks in series that say no branch.
pub(super) const NO_BRANCH: &str = "(no branch label)";
/// Characters of a series's labels in a refusal.
pub(super) const SERIES_SHOWN: usize = 300;
/// As Prometheus refuses them.
pub(super) const TOO_FAR_AHEAD: &str = "more than 10 minutes in the future: set the sender's clock";
/// Memory that is kept between requests, all in all; larger requests give theirs back.
const KEPT_BYTES_MAX: usize = 4 << 20;
/// As many as are stored at a time.
const SCRATCHES_MAX: usize = 8;

/// What the store took of one request.
pub(crate) struct Stored {
    pub(crate) commit: tsdb::Commit,
    /// See [`tsdb::Appended::seal_due`].
    pub(crate) seal_due: bool,
    /// What the payload's first series says; None without any series.
    pub(super) branch: Option<String>,
    pub(crate) samples: u64,
    /// How many of them are native histograms: told to senders of remote write 2.0 only, and counted for them only.
    pub(super) histograms: u64,
    pub(super) exemplars: ExemplarTally,
    pub(crate) newest: Option<Timestamp>,
    pub(crate) refusals: Refusals,
}

#[derive(Default)]
pub(crate) struct Refusals {
    samples: u64,
    pub(super) count: usize,
    shown: Vec<String>,
    /// Some because their branch has all the series it may have.
    pub(crate) series_limit: bool,
}

impl Refusals {
    pub(super) fn add(&mut self, samples: u64, why: impl ToString) {
        (self.samples, self.count) = (self.samples + samples, self.count + 1);
        if self.shown.len() < REFUSALS_SHOWN {
            self.shown.push(why.to_string());
        }
    }

    /// The same, where it costs something to say why.
    pub(super) fn add_with(&mut self, samples: u64, why: impl FnOnce() -> String) {
        match self.shown.len() < REFUSALS_SHOWN {
            true => self.add(samples, why()),
            false => self.add(samples, ""),
        }
    }

    pub(crate) fn samples(&self) -> u64 {
        self.samples
    }

    /// 400, or 429 when waiting may help.
    pub(super) fn answer(&self, stored: u64) -> Refused {
        let text = self.text(stored);
        match self.series_limit {
            true => Refused::series_limit(SERIES_LIMIT_RETRY_SECONDS, text),
            false => Refused::new(StatusCode::BAD_REQUEST, text),
        }
    }

    pub(crate) fn text(&self, stored: u64) -> String {
        let mut text = format!(
            "{} samples refused, {stored} stored: {}",
            self.samples,
            self.shown.join("; ")
        );
        if self.count > self.shown.len() {
            let _ = write!(text, "; and {} more", self.count - self.shown.len());
        }
        text
    }
}

/// Memory for one request at a time.
#[derive(Default)]
pub(super) struct Scratch {
    message: Vec<u8>,
    columns: Columns,
    /// Where each series is in the message: offset and length.
    places: Vec<(u32, u32)>,
}

/// Scratches that wait for a request.
#[derive(Default)]
pub(super) struct Scratches(Mutex<Vec<Scratch>>);

impl Scratches {
    pub(super) fn take(&self) -> Scratch {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.pop().unwrap_or_default()
    }

    pub(super) fn give_back(&self, scratch: Scratch) {
        let kept = scratch.message.capacity() + scratch.columns.capacity_bytes();
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept <= KEPT_BYTES_MAX && waiting.len() < SCRATCHES_MAX {
            waiting.push(scratch);
        }
    }
}

impl Scratch {
    /// Stores a body. One that cannot be decoded stores nothing.
    pub(super) fn store(
        &mut self,
        store: &Store,
        limits: &Limits,
        identity: &Identity,
        body: &[u8],
        latest: Timestamp,
    ) -> Result<Stored, Refused> {
        let Scratch {
            message,
            columns,
            places,
        } = self;
        let length = remote_write::decompress_into(body, limits, message)
            .map_err(|error| decode_error(&error))?;
        store_message(columns, places, store, identity, &message[..length], latest)
    }

    /// Stores a message that comes without compression.
    pub(super) fn store_message(
        &mut self,
        store: &Store,
        identity: &Identity,
        message: &[u8],
        latest: Timestamp,
    ) -> Result<Stored, Refused> {
        let Scratch {
            columns, places, ..
        } = self;
        store_message(columns, places, store, identity, message, latest)
    }
}

fn store_message(
    columns: &mut Columns,
    places: &mut Vec<(u32, u32)>,
    store: &Store,
    identity: &Identity,
    message: &[u8],
    latest: Timestamp,
) -> Result<Stored, Refused> {
    columns.clear();
    places.clear();
    let scope = identity.scope();
    let keys = store.series_keys(scope);
    let (mut refusals, mut exemplars) = (Refusals::default(), ExemplarTally::default());
    let (mut newest, mut metadata) = (None, Vec::new());
    let (mut walk, mut view) = (Walk::new(message), SeriesView::new());
    while let Some(part) = walk
        .next_part(&mut view)
        .map_err(|error| decode_error(&error))?
    {
        if let Part::Metadata(sent) = part {
            metadata.push(remote_write::convert::metadata_from_proto(&sent));
            continue;
        }
        // Lengths fit: the message is shorter than 4 GiB, see `Limits`.
        places.push((view.offset() as u32, view.length() as u32));
        let key = keys.key(view.label_bytes());
        let newest_here = view.samples.iter().map(|(at, _)| *at).max();
        let newest_here = newest_here.map(Timestamp::from_millis);
        if view.has_only_samples() && newest_here.is_none_or(|at| at <= latest) {
            columns.push_floats(key, view.samples.iter().copied());
            newest = newest.max(newest_here);
        } else {
            let samples = samples_of(&view, latest, &mut refusals);
            newest = newest.max(samples.iter().map(|sample| sample.at).max());
            columns.push_samples(key, &samples);
            exemplars.push(columns, view.checked_exemplars(), latest);
        }
    }
    let again = |index: usize| {
        let (offset, length) = places[index];
        SeriesView::again(message, offset as usize, length as usize)
    };
    let metadata: Vec<(&str, &Metadata)> = metadata
        .iter()
        .map(|(name, metadata)| (name.as_str(), metadata))
        .collect();
    let labels = |index: usize| {
        let labels = again(index).map_err(SeriesRefusal::from);
        let labels = labels.and_then(|view| labels_of(&view, identity));
        labels.map_err(|error| error.to_string())
    };
    let batch = ColumnBatch {
        scope,
        labels: &labels,
        metadata: &metadata,
        urgency: Urgency::Now,
    };
    let appended = store
        .append_columns(columns, batch)
        .map_err(|error| append_error(&error))?;
    exemplars.add(&appended.exemplars);
    for refused in &appended.refused {
        refusals.series_limit |= matches!(refused.reason, RefusedReason::SeriesLimit { .. });
        let why = match (&refused.reason, again(refused.index)) {
            (RefusedReason::Labels(why), _) => why.clone(),
            (reason, Ok(view)) => format!("series {}: {reason}", series_name(&view)),
            (reason, Err(_)) => reason.to_string(),
        };
        refusals.add(refused.samples, why);
    }
    let branch = (!places.is_empty()).then(|| {
        let view = again(0).unwrap_or_default();
        let labels = view.raw_labels().unwrap_or_default();
        let branch = labels.iter().find(|(name, _)| *name == BRANCH);
        branch.map_or_else(|| NO_BRANCH.to_owned(), |(_, value)| (*value).to_owned())
    });
    Ok(Stored {
        commit: appended.commit,
        seal_due: appended.seal_due,
        branch,
        samples: appended.samples,
        histograms: 0,
        exemplars,
        newest,
        refusals,
    })
}

fn samples_of(view: &SeriesView<'_>, latest: Timestamp, refusals: &mut Refusals) -> Vec<Sample> {
    let (mut samples, mut refused) = (Vec::with_capacity(view.samples.len()), Vec::new());
    view.samples_into(&mut samples, &mut refused, || series_name(view));
    for refusal in refused {
        refusals.add(1, refusal);
    }
    samples.retain(|sample| {
        let fine = sample.at <= latest;
        if !fine {
            let (series, at) = (series_name(view), sample.at);
            refusals.add(1, format!("sample of {series} at {at} is {TOO_FAR_AHEAD}"));
        }
        fine
    });
    samples
}

/// A series in a refusal, shortened.
fn series_name(view: &SeriesView<'_>) -> String {
    let labels = view.labels().map(|labels| labels.to_string());
    let labels = labels.unwrap_or_else(|_| "(labels that are none)".to_owned());
    labels.chars().take(SERIES_SHOWN).collect()
}

/// The canonical labels: a proven branch replaces what the payload says, which is kept aside when it differs.
fn labels_of(view: &SeriesView<'_>, identity: &Identity) -> Result<LabelSet, SeriesRefusal> {
    Ok(proven_labels(view.labels()?, identity))
}

pub(crate) fn proven_labels(labels: LabelSet, identity: &Identity) -> LabelSet {
    let Identity::Branch(branch) = identity else {
        return labels;
    };
    let said = labels.get(BRANCH);
    if said == Some(branch) {
        return labels;
    }
    let mut builder = labels.builder();
    if let Some(other) = said {
        builder.set("exported_branch", other);
    }
    builder.set(BRANCH, branch).build()
}

pub(super) fn decode_error(error: &DecodeError) -> Refused {
    let status = match error.is_body_too_long() {
        true => StatusCode::PAYLOAD_TOO_LARGE,
        false => StatusCode::BAD_REQUEST,
    };
    Refused::new(status, error)
}

/// All of them mean "keep it and try again".
pub(super) fn append_error(error: &AppendError) -> Refused {
    Refused::later(DISK_RETRY_SECONDS, error)
}
