//! One held connection: messages in, replies out. A socket stands before it, or two channels of the edge inside the hub.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio_util::sync::CancellationToken;
use tsdb::AppendError;
use wire::edge_headers::{self, Lane};
use wire::line::LineError;
use wire::line::link::{
    BACKLOG_BYTES_FIRST, Echo, FromEdge, Has, Later, RANGES_MAX, Records, Refused, Reply, Report,
};

use super::LineHub;
use super::batch::FrameStored;
use super::counts::add;
use super::credits::CreditSeat;
use super::receiver::Receiver;
use super::work::{Done, Sender, Stored, work};
use crate::federation::ledger::{About, Account, Connection as LedgerEntry, Counts, Span};
use crate::ingest::{Identity, durable};

/// A client that says nothing for so long is gone: its end of the connection may hang half open.
const IDLE_MAX: Duration = Duration::from_secs(15);
/// Frames of a lane that wait here; beyond it nothing is read.
const FRAMES_MAX: usize = 512;
/// Bytes of them.
const BYTES_MAX: usize = 8 << 20;
/// Frames that are taken to the store at a time: few enough that live ones do not wait long behind backlog.
const WORK_FRAMES_MAX: usize = 32;
const WORK_BYTES_MAX: usize = 256 << 10;
/// Commits that may be under way.
const COMMITS_MAX: usize = 256;
/// When to come again if the store takes nothing now.
const LATER: Duration = Duration::from_secs(30);
/// An edge has backlog when something is pending for so long: what is younger is on its way live.
const BACKLOG_AGE_MS: i64 = 3_000;

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Ended {
    /// The client left, or its socket broke.
    #[error("the client left")]
    Left,
    /// The hub is shutting down.
    #[error("the hub is shutting down")]
    Stopping,
    /// The edge has another connection now.
    #[error(
        "another connection of the same edge has begun: one connection for an edge; two edges need names of their own"
    )]
    TakenOver,
    /// Its credential is in force no more.
    #[error("the credential of this connection is in force no more: connect with another")]
    Revoked,
    /// Nothing came.
    #[error("nothing came for {} s: connect again", IDLE_MAX.as_secs())]
    Idle,
    /// What came is no message of an edge.
    #[error("{0}")]
    Broken(#[from] LineError),
    /// What came makes no sense here.
    #[error("{0}")]
    Refused(String),
    /// The store failed under what was taken already.
    #[error("{0}")]
    Failed(#[from] AppendError),
}

type Work = Pin<Box<dyn Future<Output = (Box<Receiver>, Vec<Done>)> + Send>>;
type BacklogTurn = Pin<Box<dyn Future<Output = Option<OwnedSemaphorePermit>> + Send>>;
type Settling = Pin<Box<dyn Future<Output = (Box<Stored>, Result<(), AppendError>)> + Send>>;

/// Frames of one lane that wait.
#[derive(Default)]
struct Queue {
    frames: VecDeque<Bytes>,
    bytes: usize,
}

impl Queue {
    fn is_full(&self) -> bool {
        self.frames.len() >= FRAMES_MAX || self.bytes >= BYTES_MAX
    }

    fn push(&mut self, frame: Bytes) {
        self.bytes += frame.len();
        self.frames.push_back(frame);
    }

    fn take(&mut self) -> Vec<Bytes> {
        let (mut taken, mut bytes) = (Vec::new(), 0);
        while taken.len() < WORK_FRAMES_MAX && bytes < WORK_BYTES_MAX {
            let Some(frame) = self.frames.pop_front() else {
                break;
            };
            bytes += frame.len();
            taken.push(frame);
        }
        self.bytes -= bytes;
        taken
    }

    fn clear(&mut self) {
        *self = Queue::default();
    }
}

impl LineHub {
    /// Serves a connection whose client has proved `identity`, until it ends; `allowed` says whether that still holds.
    pub(crate) async fn serve(
        self: &Arc<Self>,
        identity: Identity,
        allowed: impl Fn() -> bool + Send,
        mut incoming: mpsc::Receiver<Bytes>,
        outgoing: mpsc::Sender<Bytes>,
        stop: CancellationToken,
    ) -> Ended {
        add(&self.counts.connections, 1);
        let ended = self
            .greet_and_serve(identity, allowed, &mut incoming, &outgoing, &stop)
            .await;
        self.counts
            .connections
            .fetch_sub(1, std::sync::atomic::Ordering::Relaxed);
        if matches!(ended, Ended::Broken(_) | Ended::Refused(_)) {
            add(&self.counts.broken, 1);
        }
        ended
    }

    async fn greet_and_serve(
        self: &Arc<Self>,
        identity: Identity,
        allowed: impl Fn() -> bool + Send,
        incoming: &mut mpsc::Receiver<Bytes>,
        outgoing: &mpsc::Sender<Bytes>,
        stop: &CancellationToken,
    ) -> Ended {
        let first = tokio::select! {
            message = incoming.recv() => message,
            () = stop.cancelled() => return Ended::Stopping,
            () = self.clock.sleep(IDLE_MAX) => return Ended::Idle,
        };
        let report = match first.as_ref().map(FromEdge::decode) {
            None => return Ended::Left,
            Some(Ok(FromEdge::Report(report))) => report,
            Some(Ok(FromEdge::Frame(..))) => {
                return Ended::Refused(
                    "a connection begins with a report, not with a frame".to_owned(),
                );
            }
            Some(Err(error)) => return Ended::Broken(error),
        };
        if !edge_headers::is_valid_name(&report.edge) {
            let why = "the edge's name is not 1 to 200 visible ASCII characters";
            return Ended::Refused(why.to_owned());
        }
        let branch = match &identity {
            Identity::Branch(branch) => branch.clone(),
            Identity::Unchecked => report.edge.clone(),
        };
        // What an earlier connection brought is settled then.
        let seat = tokio::select! {
            seat = self.seats.take(&branch, &report.edge) => seat,
            () = stop.cancelled() => return Ended::Stopping,
        };
        let Some(seat) = seat else {
            return Ended::TakenOver;
        };
        let mut receiver = self.kept.take(&branch, &report.edge);
        receiver.retain_epoch(report.epoch);
        let sender = Sender {
            keys: self.ingest.store().series_keys(identity.scope()),
            identity,
            branch: branch.clone(),
            edge: report.edge.clone(),
        };
        let mut line = Line {
            ledger: self.ledger.connect(&branch, &report.edge),
            credit: self.desk.join(),
            hub: self.clone(),
            sender: Arc::new(sender),
            epoch: report.epoch,
            receiver: Some(Box::new(receiver)),
            live: Queue::default(),
            backlog: Queue::default(),
            backlog_unanswered: 0,
            granted_max: BACKLOG_BYTES_FIRST,
            work: None,
            turn: None,
            settling: FuturesUnordered::new(),
            reply: Reply::default(),
        };
        line.greet(&report);
        let ended = line
            .run(&allowed, incoming, outgoing, stop, &seat.wanted)
            .await;
        let ended = line.finish(ended, outgoing).await;
        drop(seat);
        ended
    }
}

/// A connection under way.
struct Line {
    hub: Arc<LineHub>,
    sender: Arc<Sender>,
    ledger: LedgerEntry,
    credit: CreditSeat,
    epoch: u64,
    /// None while it works.
    receiver: Option<Box<Receiver>>,
    live: Queue,
    backlog: Queue,
    /// Bytes of backlog frames that wait or are being stored.
    backlog_unanswered: u64,
    /// The most that was granted on this connection.
    granted_max: u64,
    work: Option<Work>,
    turn: Option<BacklogTurn>,
    settling: FuturesUnordered<Settling>,
    /// What is to be said next.
    reply: Reply,
}

impl Line {
    /// The first reply says who we are and what we have.
    fn greet(&mut self, report: &Report) {
        let known = self.receiver.as_deref_mut().map(Receiver::known);
        let Sender { branch, edge, .. } = &*self.sender;
        // Of an edge that was never heard of there is nothing, and that is said too.
        let records = self.hub.ledger.records(branch, edge, report.epoch);
        let is_cut = records.len() >= RANGES_MAX;
        let has = Has {
            epoch: report.epoch,
            from: records
                .first()
                .filter(|_| is_cut)
                .map_or(0, |first| first.first),
            records: records.into_iter().map(Records::from).collect(),
        };
        self.reply = Reply {
            hub: self.hub.ingest.hub_id().to_owned(),
            version: daemon::VERSION.to_owned(),
            known: known.unwrap_or_default(),
            has: Some(has),
            ..Reply::default()
        };
        self.report(report);
        self.tell_grant();
    }

    fn tell_grant(&mut self) {
        let granted = *self.credit.granted.borrow_and_update();
        self.granted_max = self.granted_max.max(granted);
        self.reply.backlog_bytes = Some(granted);
    }

    fn report(&mut self, report: &Report) {
        add(&self.hub.counts.reports, 1);
        let now = self.hub.clock.now().millis();
        self.reply.echo = Some(Echo {
            number: report.number,
            sent_at_ms: report.sent_at_ms,
            received_at_ms: now,
            replied_at_ms: now,
        });
        let oldest = report
            .pending_intervals
            .first()
            .map(|interval| interval.first_ms);
        let wants =
            oldest.is_some_and(|oldest| oldest < report.sent_at_ms.saturating_sub(BACKLOG_AGE_MS));
        self.credit.wants(wants, self.hub.clock.elapsed());
        match account_of(report) {
            Some(account) => self.ledger.report(&account, about_of(report)),
            None => self.ledger.heard(),
        }
    }

    async fn run(
        &mut self,
        allowed: &(impl Fn() -> bool + Send),
        incoming: &mut mpsc::Receiver<Bytes>,
        outgoing: &mpsc::Sender<Bytes>,
        stop: &CancellationToken,
        wanted: &CancellationToken,
    ) -> Ended {
        let clock = self.hub.clock.clone();
        let (mut last, mut idle) = (clock.elapsed(), clock.sleep(IDLE_MAX));
        loop {
            self.start_work();
            tokio::select! {
                biased;
                () = stop.cancelled() => return Ended::Stopping,
                () = wanted.cancelled() => return Ended::TakenOver,
                (receiver, done) = pending(&mut self.work) => {
                    (self.work, self.receiver) = (None, Some(receiver));
                    for done in done {
                        if let Err(ended) = self.done(done) {
                            return ended;
                        }
                    }
                }
                Some((stored, result)) = self.settling.next(), if !self.settling.is_empty() => {
                    if let Err(error) = self.settled(*stored, result) {
                        return Ended::Failed(error);
                    }
                }
                permit = outgoing.reserve(), if !self.reply.is_empty() => match permit {
                    Ok(permit) => permit.send(self.take_reply()),
                    Err(_) => return Ended::Left,
                },
                permit = pending(&mut self.turn) => {
                    self.turn = None;
                    self.work_on(Lane::Backlog, permit);
                }
                // The desk lives as long as the hub.
                Ok(()) = self.credit.granted.changed() => self.tell_grant(),
                message = incoming.recv(), if !self.is_full() => {
                    let Some(message) = message else { return Ended::Left };
                    last = clock.elapsed();
                    if let Err(ended) = self.take(&message, allowed) {
                        return ended;
                    }
                }
                () = &mut idle => {
                    let quiet = clock.elapsed().saturating_sub(last);
                    if quiet >= IDLE_MAX {
                        return Ended::Idle;
                    }
                    idle = clock.sleep(IDLE_MAX.saturating_sub(quiet));
                }
            }
        }
    }

    /// Whether what comes has to wait: live frames for the store, or all because the client does not read its replies. Backlog
    /// frames, which wait for live ones, must not keep these from being read: they are bounded by what is granted.
    fn is_full(&self) -> bool {
        let replies = self.reply.taken.len() + self.reply.refused.len() + self.reply.unknown.len();
        self.live.is_full() || replies >= RANGES_MAX
    }

    fn take(&mut self, message: &Bytes, allowed: &impl Fn() -> bool) -> Result<(), Ended> {
        if !allowed() {
            return Err(Ended::Revoked);
        }
        match FromEdge::decode(message)? {
            FromEdge::Report(report) => {
                if (&report.edge, report.epoch) != (&self.sender.edge, self.epoch) {
                    let why = "another edge or another buffer than at the start of the connection: connect again";
                    return Err(Ended::Refused(why.to_owned()));
                }
                self.report(&report);
            }
            FromEdge::Frame(lane, frame) => {
                self.ledger.heard();
                if lane == Lane::Live {
                    self.live.push(frame);
                    return Ok(());
                }
                // What was on its way when a grant was taken back, and one frame more, is fine.
                let (found, max) = (self.backlog_unanswered, self.granted_max);
                if found > max {
                    let why =
                        format!("{found} bytes of backlog without an answer, {max} were granted");
                    return Err(Ended::Refused(why));
                }
                self.backlog_unanswered += frame.len() as u64;
                self.backlog.push(frame);
            }
        }
        Ok(())
    }

    /// Live frames first. Backlog frames need a turn, for which they wait while live ones pass.
    fn start_work(&mut self) {
        if self.work.is_some() || self.receiver.is_none() || self.settling.len() >= COMMITS_MAX {
            return;
        }
        if !self.live.frames.is_empty() {
            self.work_on(Lane::Live, None);
        } else if !self.backlog.frames.is_empty() && self.turn.is_none() {
            let turns = self.hub.backlog_storing.clone();
            // The semaphore is never closed.
            self.turn = Some(Box::pin(async move { turns.acquire_owned().await.ok() }));
        }
    }

    fn work_on(&mut self, lane: Lane, turn: Option<OwnedSemaphorePermit>) {
        let queue = match lane {
            Lane::Live => &mut self.live,
            Lane::Backlog => &mut self.backlog,
        };
        let Some(mut receiver) = self.receiver.take() else {
            return;
        };
        let frames = queue.take();
        if lane == Lane::Backlog {
            let bytes: usize = frames.iter().map(Bytes::len).sum();
            self.backlog_unanswered = self.backlog_unanswered.saturating_sub(bytes as u64);
        }
        let (hub, sender) = (self.hub.clone(), self.sender.clone());
        self.work = Some(Box::pin(async move {
            let ingest = hub.ingest.clone();
            let storing = ingest.storing_turn().await;
            let done = daemon::blocking(move || {
                let done = work(&hub, &sender, &mut receiver, lane, frames);
                (receiver, done)
            })
            .await;
            drop((storing, turn));
            done
        }));
    }

    fn done(&mut self, done: Done) -> Result<(), Ended> {
        match done {
            Done::Stored(stored) => {
                self.settling.push(Box::pin(async move {
                    for commit in &stored.commits {
                        if let Err(error) = durable(commit).await {
                            return (stored, Err(error));
                        }
                    }
                    (stored, Ok(()))
                }));
            }
            Done::Unknown(unknown) => {
                add(&self.hub.counts.unknown, 1);
                self.reply.unknown.push(unknown);
            }
            Done::Later(text) => self.later(text),
            Done::Broken(error) => return Err(Ended::Broken(error)),
        }
        Ok(())
    }

    /// What waits here is sent again anyway.
    fn later(&mut self, text: String) {
        add(&self.hub.counts.later, 1);
        tracing::warn!(
            branch = self.sender.branch,
            edge = self.sender.edge,
            "frames cannot be stored now: {text}"
        );
        self.hub.branches.refused(&self.sender.branch, &text);
        self.live.clear();
        self.backlog.clear();
        self.backlog_unanswered = 0;
        self.reply.later = Some(Later {
            after_ms: LATER.as_millis() as u64,
            text,
        });
    }

    /// Frames are on disk, or never will be.
    fn settled(
        &mut self,
        stored: Stored,
        result: Result<(), AppendError>,
    ) -> Result<(), AppendError> {
        if let Err(error) = result {
            self.later(error.to_string());
            return Err(error);
        }
        let (mut samples, mut refused_samples, mut last_text) = (0, 0, None);
        for FrameStored {
            read,
            samples: of_frame,
            refused,
            ..
        } in stored.frames
        {
            let records = Records {
                first: read.seq,
                last: read.seq,
            };
            samples += of_frame;
            match refused {
                None => {
                    self.ledger.stored(read.epoch, Some(read.seq), of_frame);
                    self.say_taken(records);
                }
                Some(refused) => {
                    self.ledger.stored(read.epoch, None, of_frame);
                    refused_samples += refused.samples;
                    last_text = Some(refused.text.clone());
                    self.reply.refused.push(Refused {
                        records: Some(records),
                        samples: refused.samples,
                        reason: refused.reason.to_owned(),
                        text: refused.text,
                    });
                }
            }
        }
        add(&self.hub.counts.lane(stored.lane).samples, samples);
        add(&self.hub.counts.refused_samples, refused_samples);
        self.hub.ingest.count_samples(samples, refused_samples);
        let Sender { branch, edge, .. } = &*self.sender;
        self.hub
            .branches
            .stored_by_line(branch, samples, stored.newest);
        if let Some(text) = last_text {
            tracing::warn!(branch, edge, "{refused_samples} samples refused: {text}");
            self.hub.branches.refused(branch, &text);
        }
        Ok(())
    }

    fn say_taken(&mut self, records: Records) {
        match self.reply.taken.last_mut() {
            Some(last) if last.last.checked_add(1) == Some(records.first) => {
                last.last = records.last
            }
            _ => self.reply.taken.push(records),
        }
    }

    fn take_reply(&mut self) -> Bytes {
        let mut reply = std::mem::take(&mut self.reply);
        if let Some(echo) = &mut reply.echo {
            echo.replied_at_ms = self.hub.clock.now().millis();
        }
        reply.to_bytes()
    }

    /// What was begun is settled, and said if somebody listens, before the edge may connect again.
    async fn finish(mut self, ended: Ended, outgoing: &mpsc::Sender<Bytes>) -> Ended {
        if let Some(work) = self.work.take() {
            let (receiver, done) = work.await;
            self.receiver = Some(receiver);
            for done in done {
                if self.done(done).is_err() {
                    self.receiver = None;
                }
            }
        }
        let mut whole = true;
        while let Some((stored, result)) = self.settling.next().await {
            whole &= self.settled(*stored, result).is_ok();
        }
        if !self.reply.is_empty() {
            // Full: nobody reads. What was taken is said in the first reply of the next connection.
            let _ = outgoing.try_send(self.take_reply());
        }
        // After a failed commit or a frame that is none, what the decoders know is not what is on disk.
        let sound = whole && !matches!(ended, Ended::Broken(_) | Ended::Failed(_));
        if let Some(receiver) = self.receiver.take().filter(|_| sound) {
            self.hub
                .kept
                .put(&self.sender.branch, &self.sender.edge, *receiver);
        }
        ended
    }
}

/// The output of a future that may not be there; never, when it is not.
async fn pending<T>(future: &mut Option<Pin<Box<dyn Future<Output = T> + Send>>>) -> T {
    match future {
        Some(future) => future.await,
        None => std::future::pending().await,
    }
}

/// What the ledger takes of a report; None from an edge that does not know yet what it has.
fn account_of(report: &Report) -> Option<Account> {
    if report.scraped_through_ms == 0 {
        return None;
    }
    let span = |interval: &wire::line::link::Interval| {
        Span::of(interval.first_ms, interval.last_ms, interval.samples)
    };
    let lost = report.lost_intervals.iter();
    let lost = lost.filter_map(|interval| Some((interval.reason.clone(), span(interval)?)));
    Some(Account {
        epoch: report.epoch,
        complete_through_ms: report.scraped_through_ms,
        since_ms: Some(report.scraped_since_ms).filter(|since| *since != 0),
        pending: report.pending_intervals.iter().filter_map(span).collect(),
        lost: lost.collect(),
        counts: Counts {
            scraped: report.scraped,
            before: report.before,
            acknowledged: report.acknowledged,
            pending: report.pending,
            pending_bytes: report.pending_bytes,
            quarantined: report.quarantined,
            evicted: report.evicted,
            damaged: report.damaged,
        },
    })
}

fn about_of(report: &Report) -> About {
    let short = |text: &str| text.chars().take(100).collect();
    About {
        version: short(&report.version),
        config: short(&report.config),
        buffer_bytes: report.buffer_bytes,
        buffer_bytes_max: report.buffer_bytes_max,
        round_trip_us: Some(report.round_trip_us).filter(|round_trip| *round_trip > 0),
        clock_offset_ms: report.clock_offset_ms,
        clock_correction_ms: report.clock_correction_ms,
        lost_percent: report.lost_percent,
    }
}
