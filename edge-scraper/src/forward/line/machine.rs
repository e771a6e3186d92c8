//! What is sent on the line, when, and what answers mean. No I/O, no clock of its own.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::time::Duration;

use model::Timestamp;
use wire::edge_headers::Lane;
use wire::line::link::{BACKLOG_BYTES_FIRST, Has, Known, Reply};

use super::budget::Budget;
use super::clock::HubClock;
use super::lanes::Greeting;
use super::window::{Answer, Window};
use crate::buffer::{RecordMeta, SequenceSet};
use crate::forward::LinkState;
use crate::planted::{self, Planted};

/// How a line behaves.
#[derive(Clone, Debug, PartialEq)]
pub struct LineOptions {
    /// How often the edge reports. Default 2 s: a hub knows a cut link within 5 s.
    pub heartbeat: Duration,
    /// A hub that is silent for so long is not there. Default 6 s.
    pub silence: Duration,
    /// First pause after a failure; it doubles. Default 500 ms.
    pub backoff_first: Duration,
    /// Longest pause. Default 5 s: the link's return is noticed within that.
    pub backoff_max: Duration,
    /// A live lane that is so far behind starts again with what is scraped now. Default 10 s.
    pub live_gap: Duration,
    /// Bytes a second that both lanes may take; live goes first. None: as much as the link carries.
    pub bytes_per_second: Option<u64>,
}

impl Default for LineOptions {
    fn default() -> Self {
        LineOptions {
            heartbeat: Duration::from_secs(2),
            silence: Duration::from_secs(6),
            backoff_first: Duration::from_millis(500),
            backoff_max: Duration::from_secs(5),
            live_gap: Duration::from_secs(10),
            bytes_per_second: None,
        }
    }
}

/// What to do next.
#[derive(Clone, Debug, PartialEq)]
pub enum LineStep {
    /// Open a connection; then [`LineShipper::connected`] or [`LineShipper::closed`].
    Connect,
    /// Close the connection, and say why: [`LineShipper::closed`] has happened already.
    Close(String),
    /// Send a report with this number.
    Report(u64),
    /// Find out where the live lane goes on: [`LineShipper::resume`].
    Resume(Option<Known>, Option<Has>),
    /// Send live records from this one on: [`LineShipper::live_sent`] for each, or [`LineShipper::nothing_live`].
    Live(u64),
    /// Choose pending records before this one that are not in the set: [`LineShipper::chosen`].
    Choose(u64, SequenceSet),
    /// Send this record's frame in this session on the backlog lane: [`LineShipper::backlog_sent`] or
    /// [`LineShipper::backlog_unreadable`].
    Backlog(u64, u32),
    /// Nothing until then (elapsed time), or until a message or news.
    Wait(Option<Duration>),
}

/// What a reply means for records of the buffer.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Settled {
    /// On the hub's disk.
    pub acknowledged: Vec<RecordMeta>,
    /// Refused in part, for good; with the reason.
    pub quarantined: Vec<(RecordMeta, String)>,
    /// The number of the report that it answers.
    pub report: Option<u64>,
}

/// See the module.
#[derive(Debug)]
pub struct LineShipper {
    options: LineOptions,
    state: State,
    failures: u32,
    link: LinkState,
    budget: Budget,
    clock: HubClock,
    /// Of the connections so far: numbers rise over all of them.
    reports: u64,
    /// The session of the live lane, and the record that it began with.
    live_session: Option<(u32, u64)>,
}

#[derive(Debug)]
enum State {
    Down { retry_at: Duration },
    Connecting,
    Up(Box<Up>),
}

/// A connection.
#[derive(Debug)]
struct Up {
    heard: Duration,
    report_at: Duration,
    /// The first reply came and is not worked on yet.
    greeting: Option<(Option<Known>, Option<Has>)>,
    live: Option<Live>,
    backlog: Backlog,
    window: Window,
    flights: VecDeque<Flight>,
    in_flight_bytes: u64,
    /// When there was more to send than the window took.
    full_at: Option<Duration>,
    must_close: Option<(String, Duration)>,
}

#[derive(Debug)]
struct Live {
    /// The next record.
    next: u64,
    /// The first of this connection: what was before it is backlog.
    from: u64,
    /// There was nothing to send, and no news since.
    is_idle: bool,
    /// Since when a record waits for room.
    waiting_since: Option<Duration>,
}

#[derive(Debug)]
struct Backlog {
    /// Bytes that may be without an answer.
    credit: u64,
    in_flight_bytes: u64,
    /// The frame that the hub wants next, by session.
    positions: HashMap<u32, u64>,
    /// Records chosen, in order.
    chosen: VecDeque<RecordMeta>,
    /// Records before the first of them, already with the hub, that it has to read again to understand that one.
    context: VecDeque<u64>,
    is_idle: bool,
    look_again: Duration,
}

#[derive(Debug)]
struct Flight {
    seq: u64,
    /// None for a frame that is only sent again so that others can be read.
    record: Option<RecordMeta>,
    lane: Lane,
    bytes: u64,
    sent: Duration,
    /// Bytes without an answer then, its own among them.
    under_way: u64,
}

/// A lane without news looks again after so long.
const LOOK_AGAIN: Duration = Duration::from_secs(5);
/// Live frames may exceed the window by so much: they are few, and the first ones of a connection are large.
const LIVE_EXTRA: u64 = 64 << 10;
/// At most so many frames are under way.
const FLIGHTS_MAX: usize = 4096;
/// How soon a connection that was closed on purpose is opened again.
const AGAIN_SOON: Duration = Duration::from_millis(200);
/// Sessions whose position at the hub is remembered.
const POSITIONS_MAX: usize = 16;

impl LineShipper {
    /// A line that has not been opened.
    pub fn new(options: LineOptions) -> LineShipper {
        LineShipper {
            budget: Budget::new(options.bytes_per_second),
            options,
            state: State::Down {
                retry_at: Duration::ZERO,
            },
            failures: 0,
            link: LinkState::Connecting,
            clock: HubClock::default(),
            reports: 0,
            live_session: None,
        }
    }

    /// How the link is.
    pub fn link(&self) -> &LinkState {
        &self.link
    }

    /// Frames under way, and the samples in them.
    pub fn under_way(&self) -> (usize, u64) {
        let State::Up(up) = &self.state else {
            return (0, 0);
        };
        let records = up
            .flights
            .iter()
            .filter_map(|flight| flight.record.as_ref());
        (
            up.flights.len(),
            records.map(|record| record.counts.samples).sum(),
        )
    }

    /// How long the last report and its echo took.
    pub fn round_trip(&self) -> Option<Duration> {
        self.clock.round_trip()
    }

    /// The hub's clock less this one, in milliseconds.
    pub fn clock_offset_ms(&self) -> Option<i64> {
        self.clock.offset_ms().map(|(offset, _)| offset)
    }

    /// Of the last hundred reports, those without an answer before the next one was due.
    pub fn lost_percent(&self) -> u32 {
        self.clock.lost_percent()
    }

    /// There is more in the buffer.
    pub fn news(&mut self) {
        if let State::Up(up) = &mut self.state {
            up.backlog.is_idle = false;
            if let Some(live) = &mut up.live {
                live.is_idle = false;
            }
        }
    }

    /// The connection is open.
    pub fn connected(&mut self, now: Duration) {
        self.state = State::Up(Box::new(Up {
            heard: now,
            report_at: now,
            greeting: None,
            live: None,
            backlog: Backlog {
                credit: BACKLOG_BYTES_FIRST,
                in_flight_bytes: 0,
                positions: HashMap::new(),
                chosen: VecDeque::new(),
                context: VecDeque::new(),
                is_idle: false,
                look_again: now,
            },
            window: Window::new(),
            flights: VecDeque::new(),
            in_flight_bytes: 0,
            full_at: None,
            must_close: None,
        }));
    }

    /// The connection has ended, or did not come about. `random` from 0 to 1 spreads pauses.
    pub fn closed(&mut self, error: &str, now: Duration, random: f64) {
        self.clock.closed();
        let doubled = self
            .options
            .backoff_first
            .saturating_mul(1 << self.failures.min(10));
        let pause = doubled.min(self.options.backoff_max);
        self.failures = self.failures.saturating_add(1);
        self.link = LinkState::Down {
            error: error.to_owned(),
        };
        self.state = State::Down {
            retry_at: now + pause.mul_f64(0.5 + random.clamp(0.0, 1.0) / 2.0),
        };
    }

    /// Records that are under way.
    pub fn records_under_way(&self) -> Vec<RecordMeta> {
        match &self.state {
            State::Up(up) => up
                .flights
                .iter()
                .filter_map(|flight| flight.record)
                .collect(),
            _ => Vec::new(),
        }
    }

    /// The same, and those that are chosen to follow: a frame that is open for reading is sent even if its segment goes meanwhile.
    pub fn records_that_may_arrive(&self) -> Vec<RecordMeta> {
        let mut records = self.records_under_way();
        if let State::Up(up) = &self.state {
            records.extend(up.backlog.chosen.iter().copied());
        }
        records
    }

    /// The same, and how far it may be wrong.
    pub(super) fn measured_offset_ms(&self) -> Option<(i64, u64)> {
        self.clock.offset_ms()
    }

    /// What to do at `now` (elapsed time).
    pub fn next(&mut self, now: Duration) -> LineStep {
        let up = match &mut self.state {
            State::Down { retry_at } if now < *retry_at => {
                return LineStep::Wait(Some(*retry_at));
            }
            State::Down { .. } => {
                self.state = State::Connecting;
                return LineStep::Connect;
            }
            State::Connecting => return LineStep::Wait(None),
            State::Up(up) => up,
        };
        if up.must_close.is_none() && now.saturating_sub(up.heard) > self.options.silence {
            let silence = self.options.silence.as_secs();
            up.must_close = Some((
                format!("no word from the hub for {silence} s"),
                Duration::ZERO,
            ));
        }
        if let Some((reason, pause)) = up.must_close.take() {
            self.closed(&reason, now, 1.0);
            if pause > Duration::ZERO {
                self.state = State::Down {
                    retry_at: now + pause,
                };
            }
            return LineStep::Close(reason);
        }
        if now >= up.report_at {
            up.report_at = now + self.options.heartbeat;
            self.reports += 1;
            self.clock.sent(self.reports, now);
            return LineStep::Report(self.reports);
        }
        if let Some((known, has)) = up.greeting.take() {
            return LineStep::Resume(known, has);
        }
        let mut wake = [up.report_at, up.heard + self.options.silence]
            .into_iter()
            .min();
        if up.live.is_some() && up.flights.len() < FLIGHTS_MAX {
            match up.next_frame(now, &mut self.budget, self.options.live_gap) {
                LineStep::Wait(until) => wake = wake.into_iter().chain(until).min(),
                step => return step,
            }
        }
        LineStep::Wait(wake)
    }

    /// Where the live lane goes on: with the record that the hub's session lacks (`Some`), if that is not too old, or with
    /// `next`, which begins a session.
    pub fn resume(&mut self, next: u64) {
        if let State::Up(up) = &mut self.state {
            up.live = Some(Live {
                next,
                from: next,
                is_idle: false,
                waiting_since: None,
            });
            // What is said of time from now on goes by what the hub has.
            up.report_at = Duration::ZERO;
        }
    }

    /// Whether the hub's first reply of this connection was taken into account.
    pub fn knows_hub(&self) -> bool {
        matches!(&self.state, State::Up(up) if up.live.is_some())
    }

    /// The hub's first reply, with what is needed to find out where the live lane goes on.
    pub fn greeting(&self, known: Option<Known>, has: Option<Has>, now: Timestamp) -> Greeting {
        let session = known.zip(self.live_session);
        Greeting {
            known,
            has,
            session_start: session
                .and_then(|(known, (session, start))| (known.session == session).then_some(start)),
            live_gap: self.options.live_gap,
            now,
        }
    }

    /// A live frame was sent.
    pub fn live_sent(&mut self, record: RecordMeta, bytes: u64, now: Duration) {
        if let State::Up(up) = &mut self.state {
            self.budget.spend(bytes, now);
            self.live_session = Some((record.session, record.seq - u64::from(record.number)));
            if let Some(live) = &mut up.live {
                live.next = record.seq + 1;
                live.waiting_since = None;
            }
            up.sent(record.seq, Some(record), Lane::Live, bytes, now);
        }
    }

    /// There is nothing live to send.
    pub fn nothing_live(&mut self) {
        if let State::Up(up) = &mut self.state
            && let Some(live) = &mut up.live
        {
            live.is_idle = true;
            live.waiting_since = None;
        }
    }

    /// The session cannot be gone on with: a record of it is gone, or cannot be read.
    pub fn session_broken(&mut self, why: &str) {
        if let State::Up(up) = &mut self.state {
            up.must_close = Some((why.to_owned(), AGAIN_SOON));
        }
    }

    /// What the buffer chose for the backlog lane; nothing: there is none.
    pub fn chosen(&mut self, records: Vec<RecordMeta>, now: Duration) {
        if let State::Up(up) = &mut self.state {
            up.backlog.is_idle = records.is_empty();
            up.backlog.look_again = now + LOOK_AGAIN;
            up.backlog.chosen = records.into();
            up.backlog.plan();
        }
    }

    /// A backlog frame was sent.
    pub fn backlog_sent(&mut self, seq: u64, bytes: u64, now: Duration) {
        let State::Up(up) = &mut self.state else {
            return;
        };
        self.budget.spend(bytes, now);
        let record = match up.backlog.context.front() {
            Some(context) if *context == seq => {
                up.backlog.context.pop_front();
                None
            }
            _ => up.backlog.chosen.pop_front(),
        };
        if let Some(record) = &record {
            let next = u64::from(record.number) + 1;
            up.backlog.positions.insert(record.session, next);
        }
        up.backlog.in_flight_bytes += bytes;
        up.sent(seq, record, Lane::Backlog, bytes, now);
        up.backlog.plan();
    }

    /// The frame that was to be sent is not there, or cannot be read. The record that it was for, and those of its session
    /// behind it, cannot be sent either.
    pub fn backlog_unreadable(&mut self) -> Vec<RecordMeta> {
        let State::Up(up) = &mut self.state else {
            return Vec::new();
        };
        up.backlog.context.clear();
        let Some(first) = up.backlog.chosen.front().copied() else {
            return Vec::new();
        };
        let (lost, rest): (Vec<_>, Vec<_>) = up
            .backlog
            .chosen
            .drain(..)
            .partition(|record| record.session == first.session);
        up.backlog.chosen = rest.into();
        up.backlog.plan();
        lost
    }

    /// A message of the hub came.
    pub fn replied(&mut self, reply: &Reply, now: Duration) -> Settled {
        let mut settled = Settled::default();
        let State::Up(up) = &mut self.state else {
            return settled;
        };
        up.heard = now;
        if let Some(echo) = &reply.echo {
            self.clock.echoed(echo, now);
            settled.report = Some(echo.number);
        }
        if self.link != LinkState::Up {
            // The first reply tells what the hub knows.
            self.link = LinkState::Up;
            self.failures = 0;
            let live = reply.known.iter().find(|known| known.live).copied();
            let others = reply.known.iter().take(POSITIONS_MAX);
            up.backlog.positions = others.map(|known| (known.session, known.next)).collect();
            up.greeting = Some((live, reply.has.clone()));
        }
        if let Some(credit) = reply.backlog_bytes {
            up.backlog.credit = credit;
        }
        for refused in &reply.refused {
            let Some(records) = &refused.records else {
                continue;
            };
            for record in up.answered(records.first, records.last, now) {
                let reason = match refused.text.as_str() {
                    "" => refused.reason.clone(),
                    text => format!("{}: {text}", refused.reason),
                };
                if planted::is(Planted::AcknowledgesRefused) {
                    settled.acknowledged.push(record);
                    continue;
                }
                settled.quarantined.push((record, reason));
            }
        }
        for taken in &reply.taken {
            let last = taken.last + u64::from(planted::is(Planted::AcknowledgesOneMore));
            settled
                .acknowledged
                .extend(up.answered(taken.first, last, now));
        }
        for unknown in &reply.unknown {
            match unknown.live {
                true => {
                    let why = "the hub has lost the session of the live lane";
                    up.must_close = Some((why.to_owned(), AGAIN_SOON));
                }
                false if planted::is(Planted::IgnoresUnknownSessions) => {}
                false => up.forget_session(unknown.session),
            }
        }
        if let Some(later) = &reply.later {
            let pause =
                Duration::from_millis(later.after_ms).clamp(AGAIN_SOON, Duration::from_secs(60));
            up.must_close = Some((format!("the hub cannot store now: {}", later.text), pause));
        }
        settled
    }
}

impl Up {
    fn next_frame(&mut self, now: Duration, budget: &mut Budget, live_gap: Duration) -> LineStep {
        let room = self.window.bytes();
        let Some(live) = &mut self.live else {
            return LineStep::Wait(None);
        };
        if !live.is_idle {
            if self.in_flight_bytes < room + LIVE_EXTRA && budget.live_may(now) {
                return LineStep::Live(live.next);
            }
            let since = *live.waiting_since.get_or_insert(now);
            if now.saturating_sub(since) > live_gap {
                let why = "the live lane fell behind";
                self.must_close = Some((why.to_owned(), AGAIN_SOON));
                return LineStep::Wait(Some(now));
            }
            return LineStep::Wait(Some((since + live_gap).min(now + budget.pause())));
        }
        let backlog = &mut self.backlog;
        if backlog.chosen.is_empty() {
            if backlog.is_idle && now < backlog.look_again {
                return LineStep::Wait(Some(backlog.look_again));
            }
            let under_way = self.flights.iter().map(|flight| flight.seq).collect();
            let early = u64::from(planted::is(Planted::BacklogEndsOneTooEarly));
            return LineStep::Choose(live.from.saturating_sub(early), under_way);
        }
        let fits = self.in_flight_bytes < room && backlog.in_flight_bytes < backlog.credit;
        if !fits {
            // It is the window, or the hub, that holds the rest back.
            if self.in_flight_bytes >= room {
                self.full_at = Some(now);
            }
            return LineStep::Wait(None);
        }
        if let Err(pause) = budget.backlog_may(now) {
            return LineStep::Wait(Some(now + pause));
        }
        match backlog.chosen.front() {
            Some(record) => {
                let context = backlog.context.front().copied();
                LineStep::Backlog(context.unwrap_or(record.seq), record.session)
            }
            None => LineStep::Wait(None),
        }
    }

    fn sent(
        &mut self,
        seq: u64,
        record: Option<RecordMeta>,
        lane: Lane,
        bytes: u64,
        now: Duration,
    ) {
        self.in_flight_bytes += bytes;
        self.flights.push_back(Flight {
            seq,
            record,
            lane,
            bytes,
            sent: now,
            under_way: self.in_flight_bytes,
        });
    }

    /// The records in a stretch that were under way.
    fn answered(&mut self, first: u64, last: u64, now: Duration) -> Vec<RecordMeta> {
        let mut records = Vec::new();
        let mut left = VecDeque::with_capacity(self.flights.len());
        for flight in self.flights.drain(..) {
            if !(first..=last).contains(&flight.seq) {
                left.push_back(flight);
                continue;
            }
            self.in_flight_bytes -= flight.bytes;
            if flight.lane == Lane::Backlog {
                self.backlog.in_flight_bytes -= flight.bytes;
            }
            let answer = Answer {
                bytes: flight.bytes,
                sent: flight.sent,
                under_way: flight.under_way,
                was_full: self.full_at >= Some(flight.sent),
            };
            self.window.answered(answer, now);
            records.extend(flight.record);
        }
        self.flights = left;
        records
    }

    /// The hub cannot read a session of the backlog where it was thought to be: what was sent of it is sent again, with what
    /// comes before.
    fn forget_session(&mut self, session: u32) {
        self.backlog.positions.remove(&session);
        let is_of = |flight: &Flight| {
            flight.lane == Lane::Backlog
                && flight.record.is_none_or(|record| record.session == session)
        };
        let gone: BTreeSet<u64> = self
            .flights
            .iter()
            .filter(|flight| is_of(flight))
            .map(|flight| flight.seq)
            .collect();
        let mut freed = 0;
        self.flights.retain(|flight| {
            let goes = flight.lane == Lane::Backlog && gone.contains(&flight.seq);
            freed += if goes { flight.bytes } else { 0 };
            !goes
        });
        self.in_flight_bytes -= freed;
        self.backlog.in_flight_bytes -= freed;
        self.backlog.chosen.clear();
        self.backlog.context.clear();
        self.backlog.is_idle = false;
    }
}

impl Backlog {
    /// What the hub has to read before the first record that is chosen.
    fn plan(&mut self) {
        if !self.context.is_empty() {
            return;
        }
        let Some(record) = self.chosen.front() else {
            return;
        };
        let number = u64::from(record.number);
        let stands_at = self.positions.get(&record.session).copied();
        let from = match stands_at {
            Some(position) if position <= number => position,
            // It has read beyond: from the beginning again.
            _ => 0,
        };
        self.context = (from..number)
            .map(|before| record.seq - (number - before))
            .collect();
        // Until then it stands before this record.
        if self.positions.len() >= POSITIONS_MAX && !self.positions.contains_key(&record.session) {
            self.positions.clear();
        }
        self.positions.insert(record.session, number);
    }
}
