//! What a connection does with what comes on it, one thing after the other: messages in, frames to store and replies out. No I/O,
//! no clock of its own, no waiting: [`super::connection`] does all that, and a play from one seed in its place.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use tsdb::{AppendError, Urgency};
use wire::edge_headers::{self, Lane};
use wire::line::Frame;
use wire::line::link::{
    BACKLOG_BYTES_FIRST, Echo, FromEdge, Has, Later, RANGES_MAX, Records, Refused, Reply, Report,
};

use super::LineHub;
use super::batch::FrameStored;
use super::connection::Ended;
use super::counts::add;
use super::credits::CreditSeat;
use super::planted::{self, Planted};
use super::receiver::Receiver;
use super::turns::Long;
use super::work::{Done, Sender, Stored};
use crate::federation::ledger::{About, Account, Connection as LedgerEntry, Counts, Span};
use crate::ingest::Identity;

/// Frames of a lane that wait here; beyond it nothing is read.
const FRAMES_MAX: usize = 512;
/// Bytes of them.
const BYTES_MAX: usize = 8 << 20;
/// Frames that are taken to the store at a time: few enough that live ones do not wait long behind backlog. So many bytes are about
/// a hundred thousand samples, and some hundredths of a second.
const WORK_FRAMES_MAX: usize = 32;
const WORK_BYTES_MAX: usize = 64 << 10;
/// A live frame that describes no more than so many bytes of labels is stored at once: some dozens of series take half a
/// millisecond.
const DESCRIBED_BYTES_MAX: u64 = 2 << 10;
/// When to come again if the store takes nothing now.
const LATER: Duration = Duration::from_secs(30);
/// An edge has backlog when something is pending for so long: what is younger is on its way live.
const BACKLOG_AGE_MS: i64 = 3_000;

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

    /// The first frames, as many as are stored at a time; those that describe much only if they may.
    fn take(&mut self, may_describe: bool) -> Vec<Bytes> {
        let (mut taken, mut bytes) = (Vec::new(), 0);
        while taken.len() < WORK_FRAMES_MAX && bytes < WORK_BYTES_MAX {
            let fits = |frame: &mut Bytes| may_describe || !describes_much(frame);
            let Some(frame) = self.frames.pop_front_if(fits) else {
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

fn describes_much(frame: &Bytes) -> bool {
    Frame::described_bytes(frame) > DESCRIBED_BYTES_MAX
}

/// What is to be stored next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Due {
    /// Live frames, at once.
    Live,
    /// Frames that need a [turn](super::turns).
    Long(Long),
}

/// A connection under way.
pub(super) struct Machine {
    hub: Arc<LineHub>,
    sender: Arc<Sender>,
    ledger: LedgerEntry,
    pub(super) credit: CreditSeat,
    epoch: u64,
    /// None while it works.
    receiver: Option<Box<Receiver>>,
    live: Queue,
    backlog: Queue,
    /// All that waited at the edge is here, and its old sessions are not let go yet.
    drained: bool,
    /// Bytes of backlog frames that wait or are being stored.
    backlog_unanswered: u64,
    /// The most that was granted on this connection.
    granted_max: u64,
    /// What is to be said next.
    reply: Reply,
}

/// What is to be done off the async threads, with [`super::work::work`]; then [`Machine::worked`].
pub(super) struct Work {
    pub(super) hub: Arc<LineHub>,
    pub(super) sender: Arc<Sender>,
    pub(super) receiver: Box<Receiver>,
    pub(super) lane: Lane,
    pub(super) urgency: Urgency,
    pub(super) frames: Vec<Bytes>,
}

/// The first message of a connection.
///
/// # Errors
/// It is no report of an edge.
pub(super) fn first_report(message: Option<&Bytes>) -> Result<Box<Report>, Ended> {
    let report = match message.map(FromEdge::decode) {
        None => return Err(Ended::Left),
        Some(Ok(FromEdge::Report(report))) => report,
        Some(Ok(FromEdge::Frame(..))) => {
            let why = "a connection begins with a report, not with a frame";
            return Err(Ended::Refused(why.to_owned()));
        }
        Some(Err(error)) => return Err(Ended::Broken(error)),
    };
    if !edge_headers::is_valid_name(&report.edge) {
        let why = "the edge's name is not 1 to 200 visible ASCII characters";
        return Err(Ended::Refused(why.to_owned()));
    }
    Ok(report)
}

/// Whose branch an edge is.
pub(super) fn branch_of(identity: &Identity, edge: &str) -> String {
    match identity {
        Identity::Branch(branch) => branch.clone(),
        Identity::Unchecked => edge.to_owned(),
    }
}

impl Machine {
    /// A connection begins with its first report. Nobody else may have one for this edge.
    pub(super) fn new(hub: &Arc<LineHub>, identity: Identity, report: &Report) -> Self {
        let branch = branch_of(&identity, &report.edge);
        let mut receiver = hub.kept.take(&branch, &report.edge);
        receiver.retain_epoch(report.epoch);
        let sender = Sender {
            keys: hub.ingest.store().series_keys(identity.scope()),
            identity,
            branch: branch.clone(),
            edge: report.edge.clone(),
        };
        let mut machine = Machine {
            ledger: hub.ledger.connect(&branch, &report.edge),
            credit: hub.desk.join(),
            hub: hub.clone(),
            sender: Arc::new(sender),
            epoch: report.epoch,
            receiver: Some(Box::new(receiver)),
            live: Queue::default(),
            backlog: Queue::default(),
            drained: false,
            backlog_unanswered: 0,
            granted_max: BACKLOG_BYTES_FIRST,
            reply: Reply::default(),
        };
        machine.greet(report);
        machine
    }

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
            has: Some(has).filter(|_| !planted::is(Planted::SaysNothingOfWhatItHas)),
            ..Reply::default()
        };
        self.report(report);
        self.tell_grant();
    }

    /// What was granted has changed.
    pub(super) fn tell_grant(&mut self) {
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
        self.drained = !wants && (self.drained || self.credit.wanted());
        self.credit.wants(wants, self.hub.clock.elapsed());
        if self.drained
            && self.backlog.frames.is_empty()
            && let Some(receiver) = &mut self.receiver
        {
            receiver.drained();
            self.drained = false;
        }
        match account_of(report) {
            Some(account) => self.ledger.report(&account, about_of(report, now)),
            None => self.ledger.heard(),
        }
    }

    /// Whether what comes has to wait: live frames for the store, or all because the client does not read its replies. Backlog
    /// frames, which wait for live ones, must not keep these from being read: they are bounded by what is granted.
    pub(super) fn is_full(&self) -> bool {
        let replies = self.reply.taken.len() + self.reply.refused.len() + self.reply.unknown.len();
        self.live.is_full() || replies >= RANGES_MAX
    }

    /// A message came.
    ///
    /// # Errors
    /// The connection is over.
    pub(super) fn take(
        &mut self,
        message: &Bytes,
        allowed: &impl Fn() -> bool,
    ) -> Result<(), Ended> {
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

    /// What is to be stored next, live frames first; nothing while others are.
    pub(super) fn due(&self) -> Option<Due> {
        self.receiver.as_ref()?;
        match (self.live.frames.front(), self.backlog.frames.is_empty()) {
            (Some(frame), _) if describes_much(frame) => Some(Due::Long(Long::Describing)),
            (Some(_), _) => Some(Due::Live),
            (None, false) => Some(Due::Long(Long::Backlog)),
            (None, true) => None,
        }
    }

    /// Takes frames to be stored.
    pub(super) fn begin(&mut self, due: Due) -> Option<Work> {
        let receiver = self.receiver.take()?;
        let (lane, frames) = match due {
            Due::Live => (Lane::Live, self.live.take(false)),
            Due::Long(Long::Describing) => (Lane::Live, self.live.take(true)),
            Due::Long(Long::Backlog) => (Lane::Backlog, self.backlog.take(true)),
        };
        if lane == Lane::Backlog {
            let bytes: usize = frames.iter().map(Bytes::len).sum();
            self.backlog_unanswered = self.backlog_unanswered.saturating_sub(bytes as u64);
        }
        Some(Work {
            hub: self.hub.clone(),
            sender: self.sender.clone(),
            receiver,
            lane,
            urgency: match due {
                Due::Live => Urgency::Now,
                // Where only one comes back, it is as quick as others.
                Due::Long(Long::Describing) if !self.hub.turns.is_waited_for() => Urgency::Now,
                Due::Long(_) => Urgency::Patient,
            },
            frames,
        })
    }

    /// What became of them: what is in the store, to be settled when it is durable ([`Machine::settled`]), and whether the
    /// connection is over.
    pub(super) fn worked(
        &mut self,
        receiver: Box<Receiver>,
        done: Vec<Done>,
    ) -> (Vec<Stored>, Result<(), Ended>) {
        self.receiver = Some(receiver);
        let mut stored = Vec::new();
        for done in done {
            match done {
                Done::Stored(frames) => {
                    self.too_early(&frames);
                    stored.push(*frames);
                }
                Done::Unknown(unknown) => {
                    add(&self.hub.counts.unknown, 1);
                    self.reply.unknown.push(unknown);
                }
                Done::Later(text) => self.later(text),
                Done::Broken(error) => {
                    self.receiver = None;
                    return (stored, Err(Ended::Broken(error)));
                }
            }
        }
        (stored, Ok(()))
    }

    /// Faults that tests plant.
    fn too_early(&mut self, stored: &Stored) {
        for FrameStored { read, refused, .. } in &stored.frames {
            if planted::is(Planted::LedgerAheadOfStore) && refused.is_none() {
                self.ledger.stored(read.epoch, Some(read.seq), 0);
            }
            if planted::is(Planted::SaysTakenTooEarly) {
                self.say_taken(Records {
                    first: read.seq,
                    last: read.seq,
                });
            }
        }
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
    pub(super) fn settled(
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
                last: read.seq + u64::from(planted::is(Planted::SaysOneMore)),
            };
            samples += of_frame;
            match refused {
                None => {
                    self.ledger.stored(read.epoch, Some(read.seq), of_frame);
                    self.say_taken(records);
                }
                Some(refused) => {
                    let record =
                        Some(read.seq).filter(|_| planted::is(Planted::LedgerTakesRefused));
                    self.ledger.stored(read.epoch, record, of_frame);
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

    pub(super) fn has_reply(&self) -> bool {
        !self.reply.is_empty()
    }

    pub(super) fn take_reply(&mut self) -> Bytes {
        let mut reply = std::mem::take(&mut self.reply);
        if let Some(echo) = &mut reply.echo {
            echo.replied_at_ms = self.hub.clock.now().millis();
        }
        reply.to_bytes()
    }

    /// The connection has ended, and what was begun is settled. `sound`: what the decoders know is what is on disk.
    pub(super) fn end(mut self, sound: bool) {
        if let Some(receiver) = self.receiver.take().filter(|_| sound) {
            self.hub
                .kept
                .put(&self.sender.branch, &self.sender.edge, *receiver);
        }
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

/// `now`: when it came.
fn about_of(report: &Report, now: i64) -> About {
    let said_at = |offset: i64| report.sent_at_ms.saturating_add(offset).min(now);
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
        said_at_ms: report.clock_offset_ms.map(said_at),
    }
}
