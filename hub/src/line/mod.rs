//! The held connection of an edge: `GET /api/v1/line`, a WebSocket on which line frames come, live and backlog, and reports; and
//! on which the hub says what is on disk. Messages: `wire::line::link`; bytes: `FORMAT.md` there.
//!
//! ```text
//! socket ─ messages ─▶ connection ─ frames ─▶ receiver (decodes) ─▶ batch (columns) ─▶ store
//!    ▲                   │  ▲  └ reports ─▶ ledger                                       │
//!    └──── replies ──────┘  └──────────────── "taken" once the commit is durable ◀───────┘
//! ```
//!
//! What a connection decides stands in a [machine] of its own, which waits for nothing: the plays drive it together with the edge's.
//! A connection takes live frames before backlog frames, whatever came first. Of all connections so many store at a time, and
//! fewer of them what takes long, in [turns]: frames that describe many series, and backlog. How much backlog may be on its way the
//! [desk](credits) grants, and it waits for the disk together ([`tsdb::Urgency`]). So live scrapes stay quick while a
//! thousand edges drain. The edge inside the hub has the same connection over two channels instead of a socket.
//!
//! What a client may cost: a connection has a bounded queue, a receiver three sessions within the limits of line batches, and
//! nothing is read from a socket while its queue is full.

mod batch;
mod connection;
mod counts;
mod credits;
mod kept;
mod machine;
pub(crate) mod planted;
#[cfg(test)]
pub(crate) mod plays;
mod receiver;
mod seats;
mod socket;
mod turns;
mod work;

use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use daemon::{Clock, Tasks};
use tokio::sync::{Semaphore, mpsc};
use wire::line::LineLimits;

use crate::federation::Branches;
use crate::federation::ledger::Ledger;
use crate::ingest::{Identity, Ingest};
use counts::LineCounts;
use credits::Desk;
use kept::Kept;
use seats::Seats;
use turns::Turns;

pub(crate) use counts::LineMetrics;
pub(crate) use socket::routes;

/// Connections that store backlog, or frames that describe many series, at a time: on few cores one, so that other live frames
/// always find one free.
const LONG_STORING_MAX: usize = 2;
/// Connections that store live frames at a time, beside those who store other things: requests of remote write may be large.
const LIVE_STORING_MAX: usize = 8;
/// Samples of a frame, which is a scrape or a part of one: what a hostile one makes us hold is bounded by it.
const SAMPLES_MAX: u64 = 1_000_000;
/// Messages between a connection and what stands before it, each way.
const MESSAGES_MAX: usize = 16;
/// How often turns for backlog may change hands.
const TURNS_INTERVAL: Duration = Duration::from_millis(250);

/// What all connections share.
pub(crate) struct LineHub {
    ingest: Arc<Ingest>,
    ledger: Arc<Ledger>,
    branches: Branches,
    clock: Arc<dyn Clock>,
    limits: LineLimits,
    desk: Arc<Desk>,
    kept: Kept,
    seats: Seats,
    counts: LineCounts,
    live_storing: Semaphore,
    turns: Arc<Turns>,
    tasks: Tasks,
}

impl LineHub {
    /// `tasks`: connections end with them.
    pub(crate) fn new(
        ingest: Arc<Ingest>,
        ledger: Arc<Ledger>,
        branches: Branches,
        clock: Arc<dyn Clock>,
        tasks: Tasks,
    ) -> Arc<Self> {
        let hub = Self::without_turns(ingest, ledger, branches, clock, tasks);
        hub.give_turns();
        hub
    }

    /// The same, with nobody who gives turns for backlog.
    fn without_turns(
        ingest: Arc<Ingest>,
        ledger: Arc<Ledger>,
        branches: Branches,
        clock: Arc<dyn Clock>,
        tasks: Tasks,
    ) -> Arc<Self> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let long_storing = cores.saturating_sub(1).clamp(1, LONG_STORING_MAX);
        // Only the order of those that wait depends on it.
        let seed = clock.now().millis() as u64;
        Arc::new(LineHub {
            ingest,
            ledger,
            branches,
            clock,
            limits: LineLimits {
                samples_max: SAMPLES_MAX,
                ..LineLimits::default()
            },
            desk: Desk::new(seed),
            kept: Kept::default(),
            seats: Seats::default(),
            counts: LineCounts::default(),
            live_storing: Semaphore::new(LIVE_STORING_MAX),
            turns: Turns::new(long_storing),
            tasks,
        })
    }

    /// A connection without a socket, for the edge inside: where its messages go, and where replies come from. It ends when
    /// either is dropped.
    #[cfg_attr(
        not(test),
        expect(dead_code, reason = "for the edge inside, once it speaks the line")
    )]
    pub(crate) fn connect_here(self: &Arc<Self>) -> (mpsc::Sender<Bytes>, mpsc::Receiver<Bytes>) {
        let (to_hub, incoming) = mpsc::channel(MESSAGES_MAX);
        let (outgoing, from_hub) = mpsc::channel(MESSAGES_MAX);
        let (hub, stop) = (self.clone(), self.tasks.token().clone());
        self.tasks.spawn_brief("line connection", async move {
            let ended = hub
                .serve(Identity::Unchecked, || true, incoming, outgoing, stop)
                .await;
            tracing::debug!("line connection inside ended: {ended}");
        });
        (to_hub, from_hub)
    }

    /// All turns for what takes long, until they are dropped.
    #[cfg(test)]
    pub(crate) async fn hold_turns(&self) -> Vec<impl Send + use<>> {
        let mut held = Vec::new();
        while self.turns.is_any_free() {
            held.push(self.turns.take(turns::Long::Backlog).await);
        }
        held
    }

    /// Backlog frames that were taken to the store since the start.
    #[cfg(test)]
    pub(crate) fn backlog_frames(&self) -> u64 {
        self.counts
            .backlog
            .frames
            .load(std::sync::atomic::Ordering::Relaxed)
    }

    fn give_turns(self: &Arc<Self>) {
        let (desk, clock, token) = (
            self.desk.clone(),
            self.clock.clone(),
            self.tasks.token().clone(),
        );
        self.tasks.spawn("backlog turns", async move {
            while token
                .run_until_cancelled(clock.sleep(TURNS_INTERVAL))
                .await
                .is_some()
            {
                desk.tick(clock.elapsed());
            }
        });
    }
}
