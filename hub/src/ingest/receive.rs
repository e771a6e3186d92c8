use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::StatusCode;
use daemon::Clock;
use futures_util::StreamExt;
use model::{BRANCH, LabelSet, Metadata, Sample, Timestamp};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio_util::sync::CancellationToken;
use tsdb::{AppendError, Batch, BatchSeries, RefusedReason, Store};
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
/// Bodies that are being received or wait to be stored, all senders together; beyond it they are told to come
/// again. With [`STORING_MAX`] it bounds what ingest takes of the memory.
const BODIES_BYTES_MAX: usize = 256 << 20;
/// A body that stops coming for so long is given up: after a silent cut its sender is not there any more, and what
/// it sent would take room for ever.
const BODY_SILENCE: Duration = Duration::from_secs(30);
/// When to try again after that.
const BUSY_RETRY_SECONDS: u32 = 5;
/// Bodies that are decompressed and stored at a time; more wait.
const STORING_MAX: usize = 8;
/// Who speaks in series that say no branch.
const NO_BRANCH: &str = "(no branch label)";
/// Characters of a series's labels in a refusal.
const SERIES_SHOWN: usize = 300;

/// Takes remote-write bodies to the store and answers when they are on disk.
pub(crate) struct Ingest {
    store: Arc<Store>,
    branches: Branches,
    credentials: Credentials,
    clock: Arc<dyn Clock>,
    hub_id: String,
    limits: Limits,
    counts: Counts,
    /// A permit is a byte of a body.
    room: Arc<Semaphore>,
    storing: Semaphore,
    /// Cancelled when the hub stops answering: bodies that are still coming are given up.
    stopping: CancellationToken,
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
        Answer::Refused(Refused::new(status, why))
    }
}

impl Refused {
    pub(crate) fn new(status: StatusCode, why: impl ToString) -> Self {
        Refused {
            status,
            text: why.to_string(),
            retry_after: None,
        }
    }

    /// 503: keep it, and try again after so many seconds.
    fn later(seconds: u32, why: impl ToString) -> Self {
        Refused {
            retry_after: Some(seconds),
            ..Refused::new(StatusCode::SERVICE_UNAVAILABLE, why)
        }
    }
}

/// What the store took of one request.
struct Stored {
    commit: tsdb::Commit,
    /// What the payload's first series says; None without any series.
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
        stopping: CancellationToken,
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
            room: Arc::new(Semaphore::new(BODIES_BYTES_MAX)),
            storing: Semaphore::new(STORING_MAX),
            stopping,
        }
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

    /// Reads a body, which is within the limits then. The permit is the room that it takes.
    ///
    /// # Errors
    /// 413: too long; 400: it ends too early; 503: too many bodies at a time, or it stops coming.
    pub(crate) async fn read(&self, body: Body) -> Result<(Bytes, OwnedSemaphorePermit), Refused> {
        let busy = || Refused::later(BUSY_RETRY_SECONDS, "too many writes at a time: try again");
        let mut room = self.room.clone().try_acquire_owned().map_err(|_| busy())?;
        let (mut bytes, mut chunks) = (Vec::new(), body.into_data_stream());
        loop {
            let chunk = tokio::select! {
                chunk = chunks.next() => chunk,
                () = self.stopping.cancelled() => {
                    let why = "the hub is shutting down: try again";
                    return Err(Refused::later(BUSY_RETRY_SECONDS, why));
                }
                () = self.clock.sleep(BODY_SILENCE) => {
                    let seconds = BODY_SILENCE.as_secs();
                    let why = format!("nothing more of the body came for {seconds} s: try again");
                    return Err(Refused::later(BUSY_RETRY_SECONDS, why));
                }
            };
            let Some(chunk) = chunk else {
                return Ok((bytes.into(), room));
            };
            let chunk = chunk.map_err(|error| {
                let why = format!("body cannot be read to its end: {error}");
                Refused::new(StatusCode::BAD_REQUEST, why)
            })?;
            let (found, limit) = (bytes.len() + chunk.len(), self.limits.compressed_bytes_max);
            if found > limit {
                let why =
                    format!("body is longer than the limit of {limit} bytes: send smaller batches");
                return Err(Refused::new(StatusCode::PAYLOAD_TOO_LARGE, why));
            }
            let more = u32::try_from(chunk.len()).unwrap_or(u32::MAX);
            let more = self.room.clone().try_acquire_many_owned(more);
            room.merge(more.map_err(|_| busy())?);
            bytes.extend_from_slice(&chunk);
        }
    }

    /// Stores a body. An undecodable body stores nothing; of a decodable one the good series are stored even
    /// when others are refused.
    pub(crate) async fn receive(
        self: &Arc<Self>,
        identity: Identity,
        edge: Option<EdgeHeaders>,
        body: Bytes,
    ) -> Answer {
        // The semaphore is never closed.
        let turn = self.storing.acquire().await;
        let this = self.clone();
        let stored = daemon::blocking({
            let identity = identity.clone();
            move || this.store_body(&identity, &body)
        })
        .await;
        drop(turn);
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
        if let Some(branch) = &branch {
            self.branches.heard(branch, &report);
        }
        if stored.refusals.count > 0 {
            let text = stored.refusals.text(stored.samples);
            return self.refused(branch, Refused::new(StatusCode::BAD_REQUEST, text));
        }
        self.counts.requests_stored.fetch_add(1, Ordering::Relaxed);
        Answer::Stored
    }

    pub(crate) fn refuse(
        &self,
        identity: &Identity,
        edge: Option<&EdgeHeaders>,
        refused: Refused,
    ) -> Answer {
        self.refused(name_of(identity, edge, None), refused)
    }

    /// Counts it, shows it where the branch is shown, and logs it.
    fn refused(&self, branch: Option<String>, refused: Refused) -> Answer {
        let counter = match refused.status.is_server_error() {
            true => &self.counts.requests_failed,
            false => &self.counts.requests_refused,
        };
        counter.fetch_add(1, Ordering::Relaxed);
        tracing::warn!(
            branch = branch.as_deref().unwrap_or("(unknown)"),
            status = refused.status.as_u16(),
            "write refused: {}",
            refused.text
        );
        if let Some(branch) = &branch {
            self.branches.refused(branch, &refused.text);
        }
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
            let why = match &refused.reason {
                RefusedReason::Labels(why) => why.clone(),
                reason => format!("series {}: {reason}", series_name(&views[refused.index])),
            };
            refusals.add(refused.samples, why);
        }
        let branch = views.first().map(|view| {
            let labels = view.raw_labels().unwrap_or_default();
            let branch = labels.iter().find(|(name, _)| *name == BRANCH);
            branch.map_or_else(|| NO_BRANCH.to_owned(), |(_, value)| (*value).to_owned())
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
    view.samples_into(&mut samples, &mut refused, || series_name(view));
    for refusal in refused {
        refusals.add(1, refusal);
    }
    samples.retain(|sample| {
        let fine = sample.at <= latest;
        if !fine {
            let why = "more than 10 minutes in the future: set the sender's clock";
            refusals.add(
                1,
                format!("sample of {} at {} is {why}", series_name(view), sample.at),
            );
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

/// Which branch a request speaks for, as far as that is known: a request of metadata only, or one that cannot be
/// read, does not say.
fn name_of(
    identity: &Identity,
    edge: Option<&EdgeHeaders>,
    payload: Option<String>,
) -> Option<String> {
    match (identity, edge) {
        (Identity::Branch(branch), _) => Some(branch.clone()),
        (Identity::Unchecked, Some(edge)) => Some(edge.edge.clone()),
        (Identity::Unchecked, None) => payload,
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
    Refused::new(status, error)
}

/// All of them mean "keep it and try again".
fn append_error(error: &AppendError) -> Refused {
    Refused::later(DISK_RETRY_SECONDS, error)
}

#[cfg(test)]
mod tests {
    use super::*;
    use daemon::SimClock;
    use journal::sim::SimDisk;

    #[tokio::test]
    async fn bodies_have_room_for_so_much_and_give_it_back() {
        let disk = Arc::new(SimDisk::new(1));
        let store = Store::open(disk, "/store".as_ref(), Default::default()).unwrap();
        let clock = Arc::new(SimClock::new(Timestamp::default()));
        let branches = Branches::new(clock.clone());
        let credentials = Credentials::default();
        let (id, stopping) = ("h".to_owned(), CancellationToken::new());
        let ingest = Ingest::new(Arc::new(store), branches, credentials, clock, id, stopping);
        let others = ingest.room.try_acquire_many(BODIES_BYTES_MAX as u32 - 10);
        let read = |bytes: usize| ingest.read(Body::from(vec![7; bytes]));
        let (body, room) = read(9).await.expect("room");
        assert_eq!(body.len(), 9);
        assert_eq!(read(0).await.unwrap_err().status, 503);
        drop(room);
        let refused = read(10).await.unwrap_err();
        assert_eq!(
            (refused.status.as_u16(), refused.retry_after),
            (503, Some(5))
        );
        drop(others);
        assert!(read(10).await.is_ok());
        assert_eq!(ingest.room.available_permits(), BODIES_BYTES_MAX);
    }
}
