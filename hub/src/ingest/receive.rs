use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use axum::http::StatusCode;
use daemon::Clock;
use futures_util::StreamExt;
use model::Timestamp;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, SemaphorePermit, oneshot};
use tokio_util::sync::CancellationToken;
use tsdb::{AppendError, Store};
use wire::edge_headers::{self, EdgeHeaders};
use wire::remote_write::Limits;

use super::exemplars::ExemplarCounts;
use super::unpack::{Scratches, Stored, append_error};
use super::{Credentials, Identity, OtlpReceiver, unpack_v2};
use crate::federation::{Branches, Report};

/// Samples further ahead of our clock are refused, as Prometheus does: a sender whose clock is that wrong would
/// hide its own later samples.
const FUTURE_MAX: Duration = Duration::from_secs(10 * 60);
/// Bodies that are being received or wait to be stored, all senders together; beyond it they are told to come
/// again. With [`STORING_MAX`] it bounds what ingest takes of the memory.
const BODIES_BYTES_MAX: usize = 256 << 20;
/// Memory that is reserved for a body before it comes.
const RESERVED_BYTES_MAX: usize = 256 << 10;
/// A body that stops coming for so long is given up: after a silent cut its sender is not there any more, and what
/// it sent would take room for ever.
const BODY_SILENCE: Duration = Duration::from_secs(30);
/// When to try again after that.
const BUSY_RETRY_SECONDS: u32 = 5;
/// Bodies that are decompressed and stored at a time; more wait.
const STORING_MAX: usize = 8;

/// Takes bodies of remote write and OTLP to the store and answers when they are on disk.
pub(crate) struct Ingest {
    store: Arc<Store>,
    branches: Branches,
    credentials: Credentials,
    clock: Arc<dyn Clock>,
    hub_id: String,
    limits: Limits,
    otlp: OtlpReceiver,
    counts: Counts,
    /// A permit is a byte of a body.
    room: Arc<Semaphore>,
    storing: Semaphore,
    scratches: Scratches,
    /// Told when the store's memory is full enough to be sealed.
    seal_due: Arc<Notify>,
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
    pub(crate) exemplars: ExemplarCounts,
}

/// What the sender is told.
#[derive(Debug)]
pub(crate) enum Answer {
    /// Everything is on disk: 204.
    Stored,
    /// Something is not.
    Refused(Refused),
}

/// How much of a request is on disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Written {
    /// Numbers, without the histograms.
    pub(crate) samples: u64,
    pub(crate) histograms: u64,
    pub(crate) exemplars: u64,
}

#[derive(Debug)]
pub(crate) struct Refused {
    pub(crate) status: StatusCode,
    pub(crate) text: String,
    /// Seconds after which to try again.
    pub(crate) retry_after: Option<u32>,
    /// Which of the refusals that an edge knows, if it is one.
    pub(crate) reason: Option<&'static str>,
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
            reason: None,
        }
    }

    /// 429: the branch has as many series as it may have. An edge keeps what was not stored and sends the rest.
    pub(super) fn series_limit(seconds: u32, why: impl ToString) -> Self {
        Refused {
            retry_after: Some(seconds),
            reason: Some(edge_headers::REASON_SERIES_LIMIT),
            ..Refused::new(StatusCode::TOO_MANY_REQUESTS, why)
        }
    }

    /// 503: keep it, and try again after so many seconds.
    pub(super) fn later(seconds: u32, why: impl ToString) -> Self {
        Refused {
            retry_after: Some(seconds),
            ..Refused::new(StatusCode::SERVICE_UNAVAILABLE, why)
        }
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
            otlp: OtlpReceiver::default(),
            counts,
            room: Arc::new(Semaphore::new(BODIES_BYTES_MAX)),
            storing: Semaphore::new(STORING_MAX),
            scratches: Scratches::default(),
            seal_due: Arc::default(),
            stopping,
        }
    }

    pub(crate) fn credentials(&self) -> &Credentials {
        &self.credentials
    }

    /// Off until it is set.
    pub(crate) fn otlp(&self) -> &OtlpReceiver {
        &self.otlp
    }

    pub(crate) fn store(&self) -> &Store {
        &self.store
    }

    pub(super) fn limits(&self) -> &Limits {
        &self.limits
    }

    pub(crate) fn hub_id(&self) -> &str {
        &self.hub_id
    }

    /// Notified when [`Store::seal_when_due`] has something to do.
    pub(crate) fn seal_due(&self) -> Arc<Notify> {
        self.seal_due.clone()
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
        // No more than the length that is said, and no more than is taken: growing would copy.
        let said = body.size_hint().exact().unwrap_or(0);
        let said = usize::try_from(said).unwrap_or(0).min(RESERVED_BYTES_MAX);
        let (mut bytes, mut chunks) = (Vec::with_capacity(said), body.into_data_stream());
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
        let store = move |this: &Self, identity: &Identity| this.store_body(identity, &body);
        self.receive_with(identity, edge, store).await.0
    }

    /// The same for any protocol: `store` takes the request to the store, off the async threads.
    pub(super) async fn receive_with(
        self: &Arc<Self>,
        identity: Identity,
        edge: Option<EdgeHeaders>,
        store: impl FnOnce(&Self, &Identity) -> Result<Stored, Refused> + Send + 'static,
    ) -> (Answer, Written) {
        // The semaphore is never closed.
        let turn = self.storing.acquire().await;
        let this = self.clone();
        let stored = daemon::blocking({
            let identity = identity.clone();
            move || store(&this, &identity)
        })
        .await;
        drop(turn);
        let nothing = Written::default();
        let stored = match stored {
            Ok(stored) => stored,
            Err(refused) => return (self.refuse(&identity, edge.as_ref(), refused), nothing),
        };
        if stored.seal_due {
            self.seal_due.notify_one();
        }
        if let Err(error) = durable(&stored.commit).await {
            let refused = self.refuse(&identity, edge.as_ref(), append_error(&error));
            return (refused, nothing);
        }
        let written = Written {
            samples: stored.samples - stored.histograms,
            histograms: stored.histograms,
            exemplars: stored.exemplars.written(),
        };
        let branch = name_of(&identity, edge.as_ref(), stored.branch);
        self.counts
            .samples_stored
            .fetch_add(stored.samples, Ordering::Relaxed);
        self.counts
            .samples_refused
            .fetch_add(stored.refusals.samples(), Ordering::Relaxed);
        self.counts.exemplars.add(&stored.exemplars);
        // Records of which a part was refused are not on disk as a whole.
        let whole = stored.refusals.count == 0;
        let edge = edge.map(|edge| match whole {
            true => edge,
            false => EdgeHeaders {
                sequences: Vec::new(),
                ..edge
            },
        });
        let report = Report {
            edge,
            stored_samples: stored.samples,
            newest_sample: stored.newest,
        };
        if let Some(branch) = &branch {
            self.branches.heard(branch, &report);
        }
        if stored.refusals.count > 0 {
            let refused = stored.refusals.answer(stored.samples);
            return (self.refused(branch, refused), written);
        }
        self.counts.requests_stored.fetch_add(1, Ordering::Relaxed);
        (Answer::Stored, written)
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

    /// A body of remote write 2.0.
    pub(super) fn store_body_v2(
        &self,
        identity: &Identity,
        body: &[u8],
    ) -> Result<Stored, Refused> {
        let latest = self.latest();
        unpack_v2::store(&self.store, &self.limits, identity, body, latest)
    }

    /// Samples up to then are taken.
    pub(crate) fn latest(&self) -> Timestamp {
        self.clock.now().saturating_add(FUTURE_MAX)
    }

    /// Stores a message of remote write 1.0 that is not compressed. Blocks.
    ///
    /// # Errors
    /// It cannot be read (400), or cannot be stored now (503).
    pub(crate) fn store_message(
        &self,
        identity: &Identity,
        message: &[u8],
    ) -> Result<Stored, Refused> {
        let mut scratch = self.scratches.take();
        let stored = scratch.store_message(&self.store, identity, message, self.latest());
        self.scratches.give_back(scratch);
        let stored = stored?;
        self.note_seal_due(stored.seal_due);
        self.counts.exemplars.add(&stored.exemplars);
        Ok(stored)
    }

    /// Samples that came otherwise than by a request.
    pub(crate) fn count_samples(&self, stored: u64, refused: u64) {
        self.counts
            .samples_stored
            .fetch_add(stored, Ordering::Relaxed);
        self.counts
            .samples_refused
            .fetch_add(refused, Ordering::Relaxed);
    }

    /// Whoever seals is told when it is time.
    pub(crate) fn note_seal_due(&self, due: bool) {
        if due {
            self.seal_due.notify_one();
        }
    }

    /// One of so many that store at a time.
    pub(crate) async fn storing_turn(&self) -> Option<SemaphorePermit<'_>> {
        // The semaphore is never closed.
        self.storing.acquire().await.ok()
    }

    fn store_body(&self, identity: &Identity, body: &[u8]) -> Result<Stored, Refused> {
        let mut scratch = self.scratches.take();
        let latest = self.latest();
        let stored = scratch.store(&self.store, &self.limits, identity, body, latest);
        self.scratches.give_back(scratch);
        stored
    }
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

pub(crate) async fn durable(commit: &tsdb::Commit) -> Result<(), AppendError> {
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
