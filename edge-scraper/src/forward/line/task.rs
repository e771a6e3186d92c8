//! Does what [`LineShipper`] says.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use daemon::{Clock, Tasks, blocking};
use model::Timestamp;
use tokio::sync::mpsc::error::TrySendError;
use tokio_util::sync::CancellationToken;
use wire::edge_headers::Lane;
use wire::line::link::{FromEdge, Has, Known, Reply};

use super::lanes::{Lanes, Ready, resume};
use super::link::{LineConnection, LineLink, NoLine};
use super::machine::{LineShipper, LineStep, Settled};
use super::report::{LineFigures, report};
use crate::buffer::{BatchLimits, BufferError, FrameFound, RecordMeta, Want};
use crate::forward::status::LinkState;
use crate::forward::task::{Chance, Forwarder};

/// Why the line was given up.
#[derive(Debug)]
pub(in crate::forward) enum LineEnd {
    /// The edge stops.
    Stopped,
    /// The other end does not speak it.
    NotSpoken {
        why: String,
        /// It had been, since the line was begun.
        was_spoken: bool,
    },
}

/// Live records that are looked at together.
const LIVE_RECORDS: usize = 64;
/// How soon it is tried again when the hub's messages do not leave fast enough.
const FULL_PAUSE: Duration = Duration::from_millis(20);

/// What a connection carries with it.
struct Wire {
    connection: LineConnection,
    lanes: Lanes,
    /// Frames that were read and not sent yet.
    ready: std::collections::VecDeque<RecordMeta>,
}

impl Forwarder {
    /// Ships over the line until the edge stops, or the other end turns out not to speak it.
    pub(in crate::forward) async fn run_line(
        self: &Arc<Self>,
        line: &dyn LineLink,
        tasks: &Tasks,
        stop: &CancellationToken,
    ) -> LineEnd {
        let clock = self.buffer().clock().clone();
        let mut shipper = LineShipper::new(self.line_options().clone());
        let mut news = self.buffer().subscribe();
        let mut chance = Chance::new();
        let mut wire: Option<Wire> = None;
        let mut save_at: Option<Duration> = None;
        let mut full_until: Option<Duration> = None;
        let mut was_spoken = false;
        let end = loop {
            if stop.is_cancelled() {
                break LineEnd::Stopped;
            }
            let now = clock.elapsed();
            if save_at.is_some_and(|at| at <= now) {
                save_at = None;
                self.save().await;
            }
            let held_back = full_until.is_some_and(|until| now < until);
            let mut wake = match held_back {
                true => full_until,
                false => {
                    full_until = None;
                    match shipper.next(now) {
                        LineStep::Wait(wake) => wake,
                        LineStep::Connect => {
                            let connected = tokio::select! {
                                connected = line.connect(tasks) => connected,
                                () = stop.cancelled() => break LineEnd::Stopped,
                            };
                            match connected {
                                Ok(connection) => {
                                    was_spoken = true;
                                    shipper.connected(clock.elapsed());
                                    wire = Some(Wire::new(connection));
                                }
                                Err(NoLine::NotSpoken(why)) => {
                                    break LineEnd::NotSpoken { why, was_spoken };
                                }
                                Err(NoLine::Failed(error)) => {
                                    shipper.closed(&error, clock.elapsed(), chance.next());
                                    self.note_line(&shipper, Some(&error), clock.now());
                                }
                            }
                            continue;
                        }
                        LineStep::Close(reason) => {
                            wire = None;
                            self.note_line(&shipper, Some(&reason), clock.now());
                            continue;
                        }
                        step => {
                            let Some(wire) = &mut wire else { continue };
                            match self.step(&mut shipper, wire, step, &*clock).await {
                                Ok(Sent::Done) => {}
                                Ok(Sent::Full) => full_until = Some(clock.elapsed() + FULL_PAUSE),
                                Err(error) => {
                                    let hub = self.hub();
                                    tracing::warn!(hub, %error, "the buffer cannot be read: trying again");
                                    shipper.session_broken(&error.to_string());
                                }
                            }
                            self.note_line(&shipper, None, clock.now());
                            continue;
                        }
                    }
                }
            };
            wake = wake.into_iter().chain(save_at).min();
            let pause = wake.map(|wake| wake.saturating_sub(clock.elapsed()));
            let sleep = async {
                match pause {
                    Some(pause) => clock.sleep(pause).await,
                    None => std::future::pending().await,
                }
            };
            let message = async {
                match &mut wire {
                    Some(wire) => wire.connection.from_hub.recv().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = stop.cancelled() => break LineEnd::Stopped,
                message = message => {
                    let message = message.unwrap_or_else(|| Err("the connection ended".to_owned()));
                    match message.and_then(|bytes| Reply::from_bytes(&bytes).map_err(|error| error.to_string())) {
                        Ok(reply) => {
                            if !reply.hub.is_empty() {
                                self.note_hub(&reply.hub);
                            }
                            let settled = shipper.replied(&reply, clock.elapsed());
                            if let Some((offset, uncertain)) = shipper.measured_offset_ms() {
                                self.note_offset(offset, uncertain);
                            }
                            self.settle_line(settled, &*clock).await;
                            save_at.get_or_insert(clock.elapsed() + self.buffer().save_bound());
                            self.note_line(&shipper, None, clock.now());
                        }
                        Err(reason) => {
                            wire = None;
                            shipper.closed(&reason, clock.elapsed(), chance.next());
                            self.note_line(&shipper, Some(&reason), clock.now());
                        }
                    }
                }
                Ok(()) = news.changed() => shipper.news(),
                () = sleep => {}
            }
        };
        self.save().await;
        end
    }

    async fn step(
        self: &Arc<Self>,
        shipper: &mut LineShipper,
        wire: &mut Wire,
        step: LineStep,
        clock: &dyn Clock,
    ) -> Result<Sent, BufferError> {
        let buffer = self.buffer().clone();
        match step {
            LineStep::Report(number) => {
                let (hub, edge) = (self.hub().to_owned(), self.edge().to_owned());
                let line = LineFigures::of(shipper).at(self.machine_now(), self.correction_ms());
                let report = blocking(move || report(&buffer, &hub, &edge, number, &line)).await?;
                wire.send(FromEdge::Report(Box::new(report)).encode());
                Ok(Sent::Done)
            }
            LineStep::Resume(known, has) => {
                self.resume(shipper, wire, known, has, clock).await?;
                Ok(Sent::Done)
            }
            LineStep::Live(next) => self.send_live(shipper, wire, next, clock).await,
            LineStep::Choose(before, under_way) => {
                let hub = self.hub().to_owned();
                let chosen = blocking(move || {
                    let limits = BatchLimits::default();
                    buffer.select(&hub, Want::Before(before), &under_way, &limits)
                })
                .await?;
                shipper.chosen(chosen, clock.elapsed());
                Ok(Sent::Done)
            }
            LineStep::Backlog(seq, session) => {
                self.send_backlog(shipper, wire, (seq, session), clock)
                    .await
            }
            LineStep::Connect | LineStep::Close(_) | LineStep::Wait(_) => Ok(Sent::Done),
        }
    }

    async fn resume(
        &self,
        shipper: &mut LineShipper,
        wire: &mut Wire,
        known: Option<Known>,
        has: Option<Has>,
        clock: &dyn Clock,
    ) -> Result<(), BufferError> {
        let (buffer, hub) = (self.buffer().clone(), self.hub().to_owned());
        let greeting = shipper.greeting(known, has, clock.now());
        let resumed = blocking(move || resume(&buffer, &hub, &greeting)).await?;
        if resumed.again.samples > 0 {
            tracing::warn!(
                hub = self.hub(),
                samples = resumed.again.samples,
                "the hub does not know, as after a power cut or from a backup, that it has what it had acknowledged: sending it again; it stores once what it has"
            );
        }
        wire.lanes.resumed(&resumed, known);
        shipper.resume(resumed.seq);
        Ok(())
    }

    async fn send_live(
        &self,
        shipper: &mut LineShipper,
        wire: &mut Wire,
        next: u64,
        clock: &dyn Clock,
    ) -> Result<Sent, BufferError> {
        if !wire.has_room() {
            return Ok(Sent::Full);
        }
        let buffer = self.buffer();
        if wire.ready.front().is_none_or(|record| record.seq != next) {
            wire.ready = buffer.records_from(next, LIVE_RECORDS)?.into();
        }
        let Some(record) = wire.ready.front().copied() else {
            if buffer.last_durable() >= next {
                shipper.session_broken("a record of the live lane is gone from the buffer");
            }
            shipper.nothing_live();
            return Ok(Sent::Done);
        };
        match wire.lanes.live(buffer, &record)? {
            Ready::Frame(frame) => {
                let bytes = wire.send(FromEdge::Frame(Lane::Live, frame.into()).encode());
                wire.ready.pop_front();
                shipper.live_sent(record, bytes, clock.elapsed());
                self.note_sent(bytes);
            }
            Ready::Not(why) => shipper.session_broken(why),
        }
        Ok(Sent::Done)
    }

    async fn send_backlog(
        &self,
        shipper: &mut LineShipper,
        wire: &mut Wire,
        (seq, session): (u64, u32),
        clock: &dyn Clock,
    ) -> Result<Sent, BufferError> {
        if !wire.has_room() {
            return Ok(Sent::Full);
        }
        match wire.lanes.backlog(self.buffer(), seq, session)? {
            FrameFound::Here(frame) => {
                let bytes = wire.send(FromEdge::Frame(Lane::Backlog, frame.into()).encode());
                shipper.backlog_sent(seq, bytes, clock.elapsed());
                self.note_sent(bytes);
            }
            FrameFound::Gone => {
                // Evicted, or thinned and in another session: the books have it already.
                shipper.backlog_unreadable();
            }
            FrameFound::Damaged => self.buffer().give_up(&shipper.backlog_unreadable()),
        }
        Ok(Sent::Done)
    }

    async fn settle_line(&self, settled: Settled, clock: &dyn Clock) {
        let Settled {
            acknowledged,
            quarantined,
            report,
        } = settled;
        if let Some(number) = report
            && let Err(error) = self.buffer().told(self.hub(), number)
        {
            self.note_error(clock.now(), error.to_string());
        }
        if !acknowledged.is_empty() {
            self.note_taken(&acknowledged, None);
            let (buffer, hub) = (self.buffer().clone(), self.hub().to_owned());
            let written = blocking(move || buffer.acknowledge(&hub, &acknowledged)).await;
            self.note_written(written, clock.now());
        }
        for (record, reason) in quarantined {
            let samples = record.counts.samples;
            tracing::error!(
                hub = self.hub(), seq = record.seq, samples, %reason,
                "refused for good: kept in the buffer's quarantine, not sent again by itself"
            );
            self.note_error(clock.now(), reason);
            let (buffer, hub) = (self.buffer().clone(), self.hub().to_owned());
            let written = blocking(move || buffer.quarantine(&hub, &[record])).await;
            self.note_written(written, clock.now());
        }
    }

    /// Keeps the status up to date and logs changes of the link.
    fn note_line(&self, shipper: &LineShipper, error: Option<&str>, now: Timestamp) {
        let (requests, samples) = shipper.under_way();
        self.note_link(
            shipper.link(),
            shipper.round_trip(),
            (requests, samples),
            now,
        );
        if let Some(error) = error
            && *shipper.link() != LinkState::Up
        {
            self.note_error(now, error.to_owned());
        }
    }
}

/// What became of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sent {
    Done,
    /// The connection takes no more now.
    Full,
}

impl Wire {
    fn new(connection: LineConnection) -> Wire {
        Wire {
            connection,
            lanes: Lanes::default(),
            ready: std::collections::VecDeque::new(),
        }
    }

    fn has_room(&self) -> bool {
        // Reports want a place, too.
        self.connection.to_hub.capacity() > 4
    }

    /// Hands a message over; its length. A connection that has ended is noticed by its other channel.
    fn send(&self, message: Bytes) -> u64 {
        let bytes = message.len() as u64;
        if let Err(TrySendError::Full(_)) = self.connection.to_hub.try_send(message) {
            tracing::debug!("a report was left out: the connection takes nothing");
        }
        bytes
    }
}
