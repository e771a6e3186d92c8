use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::body::Bytes;
use axum::http::StatusCode;
use daemon::Clock;
use model::{BRANCH, LabelSet, Metadata, Sample, Timestamp};
use tokio::sync::oneshot;
use tsdb::{AppendError, Batch, BatchSeries, Store};
use wire::edge_headers::EdgeHeaders;
use wire::remote_write::{self, DecodeError, Limits, Part, SeriesRefusal, SeriesView, Walk};

use super::{Credentials, Identity};
use crate::federation::{Branches, Report};

/// Samples further ahead of our clock are refused, as Prometheus does: a sender whose clock is that wrong would
/// hide its own later samples.
const FUTURE_MAX: Duration = Duration::from_secs(10 * 60);
/// Refusals that an answer lists; then it says how many more there are.
const REFUSALS_SHOWN: usize = 5;
/// When to try again after the disk was full.
const DISK_RETRY_SECONDS: u32 = 30;

/// Takes remote-write bodies to the store and answers when they are on disk.
pub(crate) struct Ingest {
    store: Arc<Store>,
    branches: Branches,
    credentials: Credentials,
    clock: Arc<dyn Clock>,
    hub_id: String,
    limits: Limits,
    counts: Counts,
}

/// What happened since the start.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub(crate) requests_stored: AtomicU64,
    pub(crate) requests_refused: AtomicU64,
    pub(crate) requests_unauthorized: AtomicU64,
    pub(crate) requests_failed: AtomicU64,
    pub(crate) samples_stored: AtomicU64,
    pub(crate) samples_refused: AtomicU64,
}

/// What the sender is told.
#[derive(Debug)]
pub(crate) enum Answer {
    /// Everything is on disk: 204.
    Stored,
    /// Something is not.
    Refused(Refused),
}

#[derive(Debug)]
pub(crate) struct Refused {
    pub(crate) status: StatusCode,
    pub(crate) text: String,
    /// Seconds after which to try again.
    pub(crate) retry_after: Option<u32>,
}

impl Answer {
    pub(crate) fn refused(status: StatusCode, why: impl ToString) -> Self {
        Answer::Refused(Refused {
            status,
            text: why.to_string(),
            retry_after: None,
        })
    }
}

/// What the store took of one request.
struct Stored {
    commit: tsdb::Commit,
    branch: Option<String>,
    samples: u64,
    newest: Option<Timestamp>,
    refusals: Refusals,
}

#[derive(Default)]
struct Refusals {
    samples: u64,
    count: usize,
    shown: Vec<String>,
}

impl Refusals {
    fn add(&mut self, samples: u64, why: impl ToString) {
        (self.samples, self.count) = (self.samples + samples, self.count + 1);
        if self.shown.len() < REFUSALS_SHOWN {
            self.shown.push(why.to_string());
        }
    }

    fn text(&self, stored: u64) -> String {
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

impl Ingest {
    pub(crate) fn new(
        store: Arc<Store>,
        branches: Branches,
        credentials: Credentials,
        clock: Arc<dyn Clock>,
        hub_id: String,
    ) -> Self {
        let (limits, counts) = (Limits::default(), Counts::default());
        Ingest {
            store,
            branches,
            credentials,
            clock,
            hub_id,
            limits,
            counts,
        }
    }

    pub(crate) fn limits(&self) -> &Limits {
        &self.limits
    }

    pub(crate) fn credentials(&self) -> &Credentials {
        &self.credentials
    }

    pub(crate) fn hub_id(&self) -> &str {
        &self.hub_id
    }

    pub(crate) fn counts(&self) -> &Counts {
        &self.counts
    }

    pub(crate) fn count_unauthorized(&self) {
        self.counts
            .requests_unauthorized
            .fetch_add(1, Ordering::Relaxed);
    }

    /// Stores a body. An undecodable body stores nothing; of a decodable one the good series are stored even
    /// when others are refused.
    pub(crate) async fn receive(
        self: &Arc<Self>,
        identity: Identity,
        edge: Option<EdgeHeaders>,
        body: Bytes,
    ) -> Answer {
        let this = self.clone();
        let stored = daemon::blocking({
            let identity = identity.clone();
            move || this.store_body(&identity, &body)
        })
        .await;
        let stored = match stored {
            Ok(stored) => stored,
            Err(refused) => return self.refuse(&identity, edge.as_ref(), refused),
        };
        if let Err(error) = durable(&stored.commit).await {
            return self.refuse(&identity, edge.as_ref(), append_error(&error));
        }
        let branch = name_of(&identity, edge.as_ref(), stored.branch);
        self.counts
            .samples_stored
            .fetch_add(stored.samples, Ordering::Relaxed);
        self.counts
            .samples_refused
            .fetch_add(stored.refusals.samples, Ordering::Relaxed);
        let report = Report {
            edge,
            stored_samples: stored.samples,
            newest_sample: stored.newest,
        };
        self.branches.heard(&branch, &report);
        if stored.refusals.count > 0 {
            let text = stored.refusals.text(stored.samples);
            self.counts.requests_refused.fetch_add(1, Ordering::Relaxed);
            self.branches.refused(&branch, &text);
            return Answer::refused(StatusCode::BAD_REQUEST, text);
        }
        self.counts.requests_stored.fetch_add(1, Ordering::Relaxed);
        Answer::Stored
    }

    fn refuse(&self, identity: &Identity, edge: Option<&EdgeHeaders>, refused: Refused) -> Answer {
        let counter = match refused.status.is_server_error() {
            true => &self.counts.requests_failed,
            false => &self.counts.requests_refused,
        };
        counter.fetch_add(1, Ordering::Relaxed);
        let branch = name_of(identity, edge, None);
        tracing::warn!(
            branch,
            status = refused.status.as_u16(),
            "write refused: {}",
            refused.text
        );
        self.branches.refused(&branch, &refused.text);
        Answer::Refused(refused)
    }

    fn store_body(&self, identity: &Identity, body: &[u8]) -> Result<Stored, Refused> {
        let message = remote_write::decompress(body, &self.limits).map_err(|e| decode_error(&e))?;
        let (views, metadata) = walk(&message).map_err(|e| decode_error(&e))?;
        let mut refusals = Refusals::default();
        let latest = self.clock.now().saturating_add(FUTURE_MAX);
        let mut newest = None;
        let samples: Vec<Vec<Sample>> = views
            .iter()
            .map(|view| {
                let samples = samples_of(view, latest, &mut refusals);
                newest = newest.max(samples.iter().map(|sample| sample.at).max());
                samples
            })
            .collect();
        let scope = match identity {
            Identity::Branch(branch) => branch.as_str(),
            Identity::Unchecked => "",
        };
        let labels: Vec<_> = views
            .iter()
            .map(|view| move || labels_of(view, identity).map_err(|error| error.to_string()))
            .collect();
        let series = views
            .iter()
            .zip(&samples)
            .zip(&labels)
            // A series with nothing in it is not an error: edges and Prometheus do not send them.
            .filter(|((_, samples), _)| !samples.is_empty())
            .map(|((view, samples), labels)| BatchSeries {
                key: self.store.series_key(scope, view.label_bytes()),
                labels,
                samples,
            })
            .collect();
        let metadata = metadata
            .iter()
            .map(|(name, metadata)| (name.as_str(), metadata))
            .collect();
        let appended = self
            .store
            .append(&Batch {
                scope,
                series,
                metadata,
            })
            .map_err(|error| append_error(&error))?;
        for refused in &appended.refused {
            refusals.add(refused.samples, &refused.reason);
        }
        let branch = views.first().and_then(|view| {
            let labels = view.raw_labels().ok()?;
            labels
                .iter()
                .find(|(name, _)| *name == BRANCH)
                .map(|(_, value)| (*value).to_owned())
        });
        Ok(Stored {
            commit: appended.commit,
            branch,
            samples: appended.samples,
            newest,
            refusals,
        })
    }
}

type Walked<'a> = (Vec<SeriesView<'a>>, Vec<(String, Metadata)>);

fn walk(message: &[u8]) -> Result<Walked<'_>, DecodeError> {
    let (mut walk, mut views, mut metadata) = (Walk::new(message), Vec::new(), Vec::new());
    loop {
        let mut view = SeriesView::new();
        match walk.next_part(&mut view)? {
            None => return Ok((views, metadata)),
            Some(Part::Series) => views.push(view),
            Some(Part::Metadata(sent)) => {
                metadata.push(remote_write::convert::metadata_from_proto(&sent))
            }
        }
    }
}

fn samples_of(view: &SeriesView<'_>, latest: Timestamp, refusals: &mut Refusals) -> Vec<Sample> {
    let (mut samples, mut refused) = (Vec::with_capacity(view.samples.len()), Vec::new());
    let series = || {
        view.labels()
            .map(|labels| labels.to_string())
            .unwrap_or_default()
    };
    view.samples_into(&mut samples, &mut refused, series);
    for refusal in refused {
        refusals.add(1, refusal);
    }
    samples.retain(|sample| {
        let fine = sample.at <= latest;
        if !fine {
            let why = "more than 10 minutes in the future: set the sender's clock";
            refusals.add(
                1,
                format!("sample of {} at {} is {why}", series(), sample.at),
            );
        }
        fine
    });
    samples
}

/// The canonical labels: a proven branch replaces what the payload says, which is kept aside when it differs.
fn labels_of(view: &SeriesView<'_>, identity: &Identity) -> Result<LabelSet, SeriesRefusal> {
    let labels = view.labels()?;
    let Identity::Branch(branch) = identity else {
        return Ok(labels);
    };
    let mut builder = labels.builder();
    if let Some(other) = labels.get(BRANCH).filter(|other| other != branch) {
        builder.set("exported_branch", other);
    }
    Ok(builder.set(BRANCH, branch).build())
}

fn name_of(identity: &Identity, edge: Option<&EdgeHeaders>, payload: Option<String>) -> String {
    match (identity, edge) {
        (Identity::Branch(branch), _) => branch.clone(),
        (Identity::Unchecked, Some(edge)) => edge.edge.clone(),
        (Identity::Unchecked, None) => payload.unwrap_or_else(|| "(no branch label)".to_owned()),
    }
}

async fn durable(commit: &tsdb::Commit) -> Result<(), AppendError> {
    let (done, heard) = oneshot::channel();
    // The receiver is gone when the sender of the request is: then nobody is told.
    commit.on_done(move |result| {
        let _ = done.send(result);
    });
    heard.await.unwrap_or_else(|_| {
        Err(AppendError::Poisoned {
            reason: "the log ended before the samples were on disk".into(),
        })
    })
}

fn decode_error(error: &DecodeError) -> Refused {
    let status = match error.is_body_too_long() {
        true => StatusCode::PAYLOAD_TOO_LARGE,
        false => StatusCode::BAD_REQUEST,
    };
    Refused {
        status,
        text: error.to_string(),
        retry_after: None,
    }
}

/// All of them mean "keep it and try again".
fn append_error(error: &AppendError) -> Refused {
    let retry_after = Some(DISK_RETRY_SECONDS);
    Refused {
        status: StatusCode::SERVICE_UNAVAILABLE,
        text: error.to_string(),
        retry_after,
    }
}
