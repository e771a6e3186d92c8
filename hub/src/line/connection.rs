//! One held connection: waits for messages, for the store, for the disk, and lets a [machine](super::machine) decide. A socket
//! stands before it, or two channels of the edge inside the hub.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tsdb::AppendError;
use wire::line::LineError;

use super::LineHub;
use super::counts::add;
use super::machine::{Due, Machine, Work, branch_of, first_report};
use super::receiver::Receiver;
use super::turns::{Long, Turn};
use super::work::{Done, Stored, work};
use crate::ingest::{Identity, durable};

/// A client that says nothing for so long is gone: its end of the connection may hang half open.
const IDLE_MAX: Duration = Duration::from_secs(15);
/// Commits that may be under way.
const COMMITS_MAX: usize = 256;

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

type Working = Pin<Box<dyn Future<Output = (Box<Receiver>, Vec<Done>)> + Send>>;
type Waiting = Pin<Box<dyn Future<Output = Turn> + Send>>;
type Settling = Pin<Box<dyn Future<Output = (Stored, Result<(), AppendError>)> + Send>>;

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
        let report = match first_report(first.as_ref()) {
            Ok(report) => report,
            Err(ended) => return ended,
        };
        let branch = branch_of(&identity, &report.edge);
        // What an earlier connection brought is settled then.
        let seat = tokio::select! {
            seat = self.seats.take(&branch, &report.edge) => seat,
            () = stop.cancelled() => return Ended::Stopping,
        };
        let Some(seat) = seat else {
            return Ended::TakenOver;
        };
        let mut line = Line {
            hub: self.clone(),
            machine: Machine::new(self, identity, &report),
            work: None,
            turn: None,
            waits_for: None,
            settling: FuturesUnordered::new(),
        };
        let ended = line
            .run(&allowed, incoming, outgoing, stop, &seat.wanted)
            .await;
        let ended = line.finish(ended, outgoing).await;
        drop(seat);
        ended
    }
}

/// A connection under way, and what it waits for.
struct Line {
    hub: Arc<LineHub>,
    machine: Machine,
    work: Option<Working>,
    /// For what it waits to have a turn.
    turn: Option<Waiting>,
    waits_for: Option<Long>,
    settling: FuturesUnordered<Settling>,
}

impl Line {
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
                    self.work = None;
                    let (stored, so_far) = self.machine.worked(receiver, done);
                    self.settle(stored);
                    if let Err(ended) = so_far {
                        return ended;
                    }
                }
                Some((stored, result)) = self.settling.next(), if !self.settling.is_empty() => {
                    if let Err(error) = self.machine.settled(stored, result) {
                        return Ended::Failed(error);
                    }
                }
                permit = outgoing.reserve(), if self.machine.has_reply() => match permit {
                    Ok(permit) => permit.send(self.machine.take_reply()),
                    Err(_) => return Ended::Left,
                },
                turn = pending(&mut self.turn) => {
                    (self.turn, self.waits_for) = (None, None);
                    // Live frames may have come, and gone, since it was asked for.
                    if let Some(due) = self.machine.due() {
                        self.work_on(due, Some(turn));
                    }
                }
                // The desk lives as long as the hub.
                Ok(()) = self.machine.credit.granted.changed() => self.machine.tell_grant(),
                message = incoming.recv(), if !self.machine.is_full() => {
                    let Some(message) = message else { return Ended::Left };
                    last = clock.elapsed();
                    if let Err(ended) = self.machine.take(&message, allowed) {
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

    /// Live frames first. What takes long needs a turn, for which it waits while live frames pass.
    fn start_work(&mut self) {
        if self.work.is_some() || self.settling.len() >= COMMITS_MAX {
            return;
        }
        match self.machine.due() {
            Some(Due::Live) => self.work_on(Due::Live, None),
            Some(Due::Long(long)) if self.waits_for.is_none_or(|waits| long < waits) => {
                self.turn = Some(Box::pin(self.hub.turns.take(long)));
                self.waits_for = Some(long);
            }
            _ => {}
        }
    }

    fn work_on(&mut self, due: Due, turn: Option<Turn>) {
        let Some(begun) = self.machine.begin(due) else {
            return;
        };
        let Work {
            hub,
            sender,
            mut receiver,
            lane,
            urgency,
            frames,
        } = begun;
        self.work = Some(Box::pin(async move {
            let line = hub.clone();
            let storing = match &turn {
                None => line.live_storing.acquire().await.ok(),
                Some(_) => line.ingest.storing_turn().await,
            };
            let done = daemon::blocking(move || {
                let done = work(&hub, &sender, &mut receiver, (lane, urgency), frames);
                (receiver, done)
            })
            .await;
            drop((storing, turn));
            done
        }));
    }

    fn settle(&mut self, stored: Vec<Stored>) {
        for stored in stored {
            self.settling.push(Box::pin(async move {
                for commit in &stored.commits {
                    if let Err(error) = durable(commit).await {
                        return (stored, Err(error));
                    }
                }
                (stored, Ok(()))
            }));
        }
    }

    /// What was begun is settled, and said if somebody listens, before the edge may connect again.
    async fn finish(mut self, ended: Ended, outgoing: &mpsc::Sender<Bytes>) -> Ended {
        if let Some(work) = self.work.take() {
            let (receiver, done) = work.await;
            let (stored, _) = self.machine.worked(receiver, done);
            self.settle(stored);
        }
        let mut whole = true;
        while let Some((stored, result)) = self.settling.next().await {
            whole &= self.machine.settled(stored, result).is_ok();
        }
        if self.machine.has_reply() {
            // Full: nobody reads. What was taken is said in the first reply of the next connection.
            let _ = outgoing.try_send(self.machine.take_reply());
        }
        // After a failed commit or a frame that is none, what the decoders know is not what is on disk.
        let sound = whole && !matches!(ended, Ended::Broken(_) | Ended::Failed(_));
        self.machine.end(sound);
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
