//! What is sent to one hub, when, and what its answers mean. No I/O, no clock of its own.

use std::collections::VecDeque;
use std::time::Duration;

use model::Timestamp;
use wire::edge_headers::Lane;
use wire::remote_write::headers::{Version, Written};

use super::classify::{Answer, Heard, Meaning, classify, explain_written, heard};
use super::status::LinkState;
use crate::buffer::{BatchLimits, LIVE_WINDOW, RecordMeta, SequenceSet, Want};

/// How a shipper behaves.
#[derive(Clone, Debug, PartialEq)]
pub struct ShipperOptions {
    /// Who is there, when that is known. Default: found out by the first answer.
    pub peer: Peer,
    /// First pause after a failure; it doubles. Default 500 ms.
    pub backoff_first: Duration,
    /// Longest pause for an own hub. Default 5 s: the link's return is noticed within that.
    pub backoff_max_own: Duration,
    /// Longest pause for a foreign endpoint. Default 30 s.
    pub backoff_max_foreign: Duration,
    /// How long an own hub may take to answer. Default 10 s: a silent link is noticed within that.
    pub timeout_own: Duration,
    /// How long a foreign endpoint may take. Default 30 s.
    pub timeout_foreign: Duration,
    /// Longest silence towards an own hub. Default 5 s.
    pub sign_of_life: Duration,
    /// Most samples in a request to an own hub. Default 20,000.
    pub samples_max_own: u64,
    /// Most samples in a request to a foreign endpoint. Default 2,000, as Prometheus's.
    pub samples_max_foreign: u64,
    /// Which remote write is spoken, as long as the other end understands it. Default: 1.0.
    pub version: Version,
}

impl Default for ShipperOptions {
    fn default() -> Self {
        ShipperOptions {
            peer: Peer::Unknown,
            backoff_first: Duration::from_millis(500),
            backoff_max_own: Duration::from_secs(5),
            backoff_max_foreign: Duration::from_secs(30),
            timeout_own: Duration::from_secs(10),
            timeout_foreign: Duration::from_secs(30),
            sign_of_life: Duration::from_secs(5),
            samples_max_own: 20_000,
            samples_max_foreign: 2_000,
            version: Version::V1,
        }
    }
}

/// Who is at the other end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Peer {
    /// Nobody has answered yet.
    #[default]
    Unknown,
    /// One of our hubs.
    Own {
        /// Its id.
        hub: String,
    },
    /// Another remote-write endpoint.
    Foreign,
}

/// What to do next.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// Read records and send them; then call [`Shipper::sent`] or [`Shipper::nothing`].
    Ask(Ask),
    /// Nothing until then (elapsed time), or until an answer or news.
    Wait(Option<Duration>),
}

/// A request to be made.
#[derive(Clone, Debug, PartialEq)]
pub struct Ask {
    /// Which lane it is for.
    pub lane: Lane,
    /// What goes in.
    pub content: Content,
    /// How much.
    pub limits: BatchLimits,
    /// As which message.
    pub version: Version,
    /// How often requests on this lane have failed in a row.
    pub attempt: u32,
    /// When to give up waiting for its answer.
    pub timeout: Duration,
}

/// What goes into a request.
#[derive(Clone, Debug, PartialEq)]
pub enum Content {
    /// Nothing: a sign of life, or the question who is there.
    Hello,
    /// What the buffer chooses.
    Choose(Want),
    /// Just these, part of a batch that was refused.
    Exactly(Vec<RecordMeta>),
}

/// What became of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was answered.
    Answered(Answer),
    /// It was not: the error, for people.
    Failed(String),
    /// No answer within the time.
    TimedOut(Duration),
}

/// What an outcome means for the records that were sent.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// The hub has them.
    Acknowledged(Vec<RecordMeta>),
    /// They stay pending.
    Kept,
    /// They are refused for good, with the reason.
    Quarantined(Vec<RecordMeta>, String),
}

/// What is spoken.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Speech {
    /// Remote write 1.0. `instead_of_second`: why it is not 2.0, which was asked for.
    First { instead_of_second: Option<String> },
    /// Remote write 2.0. `understood`: the last answer said how much was written; nobody who does not read 2.0 says so.
    Second { understood: bool },
}

/// See the module.
#[derive(Clone, Debug)]
pub struct Shipper {
    options: ShipperOptions,
    peer: Peer,
    speech: Speech,
    link: LinkState,
    /// When the link may be tried again.
    retry_at: Duration,
    failures: u32,
    live: LaneState,
    backlog: LaneState,
    last_sent: Option<Duration>,
    next_id: u64,
    /// How often in a row samples were taken without a word of how many were written.
    doubts: u32,
    unwritten: u64,
}

#[derive(Clone, Debug)]
struct LaneState {
    in_flight: Option<Flight>,
    /// Parts of a refused batch, to be tried one by one.
    parts: VecDeque<Vec<RecordMeta>>,
    /// Whether any part of the batch that is being split was taken.
    part_taken: bool,
    /// No part of the last split batch was taken: the next one is not worth splitting.
    hopeless: bool,
    /// There was nothing to send, and no news since.
    idle: bool,
    retry_at: Duration,
    failures: u32,
    stored_bytes_max: u64,
    payload_bytes_max: u64,
    /// How many times the usual timeout: grows while even a single record takes longer.
    patience: u32,
}

#[derive(Clone, Debug)]
struct Flight {
    id: u64,
    records: Vec<RecordMeta>,
    version: Version,
    carried: Written,
    since: Duration,
    is_part: bool,
}

const STORED_BYTES: std::ops::RangeInclusive<u64> = (4 << 10)..=(1 << 20);
const STORED_BYTES_FIRST: u64 = 128 << 10;
/// Of a request before it is compressed, which a lane holds twice while it makes one. Less would be less memory, but the live lane asks for the
/// newest records first, and each further request of an interval makes the buffer read a session from its beginning again.
const PAYLOAD_BYTES_MAX: u64 = 4 << 20;
const PAYLOAD_BYTES_MIN: u64 = 64 << 10;
const PATIENCE_MAX: u32 = 8;
/// A request that took longer is followed by a smaller one.
const SLOW: Duration = Duration::from_secs(2);
/// A request that was answered sooner may be followed by a larger one.
const QUICK: Duration = Duration::from_millis(500);
/// How long the question whether a lost link is back may take.
const HELLO_TIMEOUT: Duration = Duration::from_secs(4);
/// Into how many parts a refused batch is split.
const PARTS: usize = 16;
const RETRY_AFTER_MAX_OWN: Duration = Duration::from_secs(60);
const RETRY_AFTER_MAX_FOREIGN: Duration = Duration::from_secs(600);
/// How often a lane without news looks again: time moves scrapes from the live lane's share to the backlog's.
const LOOK_AGAIN: Duration = Duration::from_secs(5);

impl LaneState {
    fn new() -> LaneState {
        LaneState {
            in_flight: None,
            parts: VecDeque::new(),
            part_taken: false,
            hopeless: false,
            idle: false,
            retry_at: Duration::ZERO,
            failures: 0,
            stored_bytes_max: STORED_BYTES_FIRST,
            payload_bytes_max: PAYLOAD_BYTES_MAX,
            patience: 1,
        }
    }

    fn shrink(&mut self) {
        self.stored_bytes_max = (self.stored_bytes_max / 2).max(*STORED_BYTES.start());
    }

    /// A batch that did not get through may have been too much for the link; a hello says nothing about that.
    fn shrink_after(&mut self, lost: &Flight) {
        if !lost.records.is_empty() {
            self.shrink();
        }
    }

    fn end_part(&mut self, is_part: bool, taken: bool) {
        self.part_taken |= taken;
        if taken {
            self.hopeless = false;
        } else if is_part && self.parts.is_empty() {
            self.hopeless = !self.part_taken;
        }
    }

    fn adapt(&mut self, took: Duration, stored: u64) {
        self.patience = 1;
        if took > SLOW {
            self.shrink();
        } else if took < QUICK && stored * 2 > self.stored_bytes_max {
            self.stored_bytes_max = (self.stored_bytes_max * 2).min(*STORED_BYTES.end());
        }
    }
}

impl Shipper {
    /// A shipper that has not sent anything.
    pub fn new(options: ShipperOptions) -> Shipper {
        Shipper {
            peer: options.peer.clone(),
            speech: match options.version {
                Version::V1 => Speech::First {
                    instead_of_second: None,
                },
                Version::V2 => Speech::Second { understood: false },
            },
            options,
            link: LinkState::Connecting,
            retry_at: Duration::ZERO,
            failures: 0,
            live: LaneState::new(),
            backlog: LaneState::new(),
            last_sent: None,
            next_id: 1,
            doubts: 0,
            unwritten: 0,
        }
    }

    /// Who is at the other end.
    pub fn peer(&self) -> &Peer {
        &self.peer
    }

    /// Which remote write is spoken.
    pub fn version(&self) -> Version {
        match self.speech {
            Speech::First { .. } => Version::V1,
            Speech::Second { .. } => Version::V2,
        }
    }

    /// Why 1.0 is spoken although 2.0 was asked for.
    pub fn instead_of_second(&self) -> Option<&str> {
        match &self.speech {
            Speech::First { instead_of_second } => instead_of_second.as_deref(),
            Speech::Second { .. } => None,
        }
    }

    /// Samples and native histograms of which a foreign endpoint has said that it took the request, and not that it wrote them.
    pub fn unwritten(&self) -> u64 {
        self.unwritten
    }

    /// How the link is.
    pub fn link(&self) -> &LinkState {
        &self.link
    }

    /// Records that are under way or set aside to be sent next: not to be chosen again.
    pub fn in_flight(&self) -> SequenceSet {
        let lanes = [&self.live, &self.backlog];
        let flying = lanes
            .iter()
            .flat_map(|lane| lane.in_flight.iter().flat_map(|flight| &flight.records));
        let parts = lanes.iter().flat_map(|lane| lane.parts.iter().flatten());
        flying.chain(parts).map(|record| record.seq).collect()
    }

    /// Requests under way, and the samples in them.
    pub fn under_way(&self) -> (usize, u64) {
        let flights = [&self.live, &self.backlog]
            .into_iter()
            .filter_map(|lane| lane.in_flight.as_ref());
        flights.fold((0, 0), |(requests, samples), flight| {
            (
                requests + 1,
                samples
                    + flight
                        .records
                        .iter()
                        .map(|record| record.counts.samples)
                        .sum::<u64>(),
            )
        })
    }

    /// When a request that is under way was sent.
    pub fn sent_at(&self, id: u64) -> Option<Duration> {
        let flights = [&self.live, &self.backlog]
            .into_iter()
            .filter_map(|lane| lane.in_flight.as_ref());
        flights
            .into_iter()
            .find(|flight| flight.id == id)
            .map(|flight| flight.since)
    }

    /// There is more in the buffer.
    pub fn news(&mut self) {
        self.live.idle = false;
        self.backlog.idle = false;
    }

    /// What to do at `now` (elapsed time), when the wall clock shows `wall`.
    pub fn next(&mut self, now: Duration, wall: Timestamp) -> Step {
        let up = matches!(self.link, LinkState::Up);
        if !up {
            if self.live.in_flight.is_some() || self.backlog.in_flight.is_some() {
                return Step::Wait(None);
            }
            if now < self.retry_at {
                return Step::Wait(Some(self.retry_at));
            }
        }
        match self.peer {
            Peer::Unknown => self.ask(Lane::Live, Content::Hello),
            Peer::Foreign => self.next_foreign(now),
            Peer::Own { .. } => self.next_own(now, wall, up),
        }
    }

    fn next_foreign(&mut self, now: Duration) -> Step {
        if self.live.in_flight.is_some() {
            return Step::Wait(None);
        }
        if now < self.live.retry_at {
            return Step::Wait(Some(self.live.retry_at));
        }
        if self.has_to_ask_for_second() {
            return self.ask(Lane::Live, Content::Hello);
        }
        if let Some(part) = self.live.parts.front() {
            let part = part.clone();
            return self.ask(Lane::Live, Content::Exactly(part));
        }
        match self.live.idle {
            false => self.ask(Lane::Live, Content::Choose(Want::Oldest)),
            true => Step::Wait(None),
        }
    }

    fn next_own(&mut self, now: Duration, wall: Timestamp, up: bool) -> Step {
        if self.has_to_ask_for_second() && self.live.in_flight.is_some() {
            return Step::Wait(None);
        }
        if !up || self.has_to_ask_for_second() && now >= self.live.retry_at {
            // The smallest request there is shows first whether the link carries anything, and whether we are understood.
            return self.ask(Lane::Live, Content::Hello);
        }
        if self.has_to_ask_for_second() {
            return Step::Wait(Some(self.live.retry_at));
        }
        let border = wall.saturating_sub(LIVE_WINDOW);
        for (lane, want) in [
            (Lane::Live, Want::NewestSince(border)),
            (Lane::Backlog, Want::OldestBefore(border)),
        ] {
            let state = self.lane(lane);
            if state.in_flight.is_some() || now < state.retry_at {
                continue;
            }
            if let Some(part) = state.parts.front().cloned() {
                return self.ask(lane, Content::Exactly(part));
            }
            if !state.idle {
                return self.ask(lane, Content::Choose(want));
            }
        }
        if self.live.in_flight.is_some() {
            return Step::Wait(self.wake(now));
        }
        let due = self
            .last_sent
            .map_or(Duration::ZERO, |last| last + self.options.sign_of_life);
        let due = due.max(self.live.retry_at);
        if now >= due {
            return self.ask(Lane::Live, Content::Hello);
        }
        Step::Wait([Some(due), self.wake(now)].into_iter().flatten().min())
    }

    /// When a lane that waits for its pause, or sleeps, should be looked at again.
    fn wake(&self, now: Duration) -> Option<Duration> {
        let lanes = [&self.live, &self.backlog]
            .into_iter()
            .filter(|lane| lane.in_flight.is_none());
        let paused = lanes
            .filter(|lane| lane.retry_at > now)
            .map(|lane| lane.retry_at);
        paused.min()
    }

    fn ask(&self, lane: Lane, content: Content) -> Step {
        let foreign = self.peer == Peer::Foreign;
        let hello = content == Content::Hello;
        let state = self.lane(lane);
        let (samples_max, timeout) = match foreign {
            true => (
                self.options.samples_max_foreign,
                self.options.timeout_foreign,
            ),
            false => (self.options.samples_max_own, self.options.timeout_own),
        };
        Step::Ask(Ask {
            lane,
            content,
            limits: BatchLimits {
                samples_max,
                payload_bytes_max: state.payload_bytes_max,
                stored_bytes_max: state.stored_bytes_max,
                target_once: foreign,
                ..BatchLimits::default()
            },
            version: self.version(),
            attempt: state.failures.max(self.failures),
            timeout: match hello {
                // A silent link is asked often, and now and then with patience, should it only be slow.
                true if !self.failures.is_multiple_of(4) => timeout.min(HELLO_TIMEOUT),
                true => timeout,
                false => timeout * state.patience,
            },
        })
    }

    /// The request was made with these records (none for a hello), whose message carries so much (if it is one of 2.0); its id.
    pub fn sent(
        &mut self,
        ask: &Ask,
        records: Vec<RecordMeta>,
        carried: Written,
        now: Duration,
    ) -> u64 {
        let id = self.next_id;
        self.next_id += 1;
        self.last_sent = Some(now);
        let is_part = matches!(ask.content, Content::Exactly(_));
        let lane = self.lane_mut(ask.lane);
        if is_part {
            lane.parts.pop_front();
        }
        lane.in_flight = Some(Flight {
            id,
            records,
            version: ask.version,
            carried,
            since: now,
            is_part,
        });
        id
    }

    /// There was nothing to send.
    pub fn nothing(&mut self, ask: &Ask, now: Duration) {
        let lane = self.lane_mut(ask.lane);
        match ask.content {
            Content::Exactly(_) => {
                lane.parts.pop_front();
            }
            _ => lane.idle = true,
        }
        lane.retry_at = lane.retry_at.max(now);
    }

    /// The buffer could not be read: try again a little later.
    pub fn unreadable(&mut self, ask: &Ask, now: Duration) {
        self.lane_mut(ask.lane).retry_at = now + LOOK_AGAIN;
    }

    /// The outcome of request `id`. `random` from 0 to 1 spreads pauses. An id that is not under way (any more) changes
    /// nothing: an answer counts once.
    pub fn settle(&mut self, id: u64, outcome: &Outcome, now: Duration, random: f64) -> Verdict {
        let lane = match () {
            () if self
                .live
                .in_flight
                .as_ref()
                .is_some_and(|flight| flight.id == id) =>
            {
                Lane::Live
            }
            () if self
                .backlog
                .in_flight
                .as_ref()
                .is_some_and(|flight| flight.id == id) =>
            {
                Lane::Backlog
            }
            () => return Verdict::Kept,
        };
        let Some(flight) = self.lane_mut(lane).in_flight.take() else {
            return Verdict::Kept;
        };
        let answer = match outcome {
            Outcome::Failed(error) => {
                self.lane_mut(lane).shrink_after(&flight);
                self.keep(lane, flight);
                self.lose_link(error.clone(), None, now, random);
                return Verdict::Kept;
            }
            Outcome::TimedOut(after) => {
                let state = self.lane_mut(lane);
                state.shrink_after(&flight);
                if flight.records.len() == 1 {
                    state.patience = (state.patience * 2).min(PATIENCE_MAX);
                }
                self.keep(lane, flight);
                self.lose_link(
                    format!("no answer within {} s", after.as_secs()),
                    None,
                    now,
                    random,
                );
                return Verdict::Kept;
            }
            Outcome::Answered(answer) => answer,
        };
        if flight.version == Version::V2 && !self.is_between(answer) {
            match heard(answer, flight.records.is_empty()) {
                Heard::Understood => self.understood(),
                Heard::NotSpoken { retry } => {
                    self.speak_first(answer);
                    if retry {
                        self.keep(lane, flight);
                        return Verdict::Kept;
                    }
                }
                Heard::Unsaid => {}
                Heard::Doubtful => {
                    self.keep(lane, flight);
                    self.doubt(answer, now, random);
                    return Verdict::Kept;
                }
            }
        }
        if let Some(hub) = &answer.hub {
            self.peer = Peer::Own { hub: hub.clone() };
        } else if self.peer == Peer::Unknown
            && !answer.is_page
            && matches!(answer.status, 200..=299 | 400 | 413 | 415 | 422)
        {
            // It reads our requests, or says why it does not, and is no hub of ours.
            self.peer = Peer::Foreign;
        }
        if self.peer == Peer::Unknown {
            // Only a hello was sent, and this says neither who is there nor that it would be heard.
            self.lose_link(self.explain(answer), answer.retry_after, now, random);
            return Verdict::Kept;
        }
        match classify(&self.peer, answer) {
            Meaning::Later { link } => {
                self.keep(lane, flight);
                match link {
                    true => self.lose_link(self.explain(answer), answer.retry_after, now, random),
                    false => {
                        self.have_link();
                        self.pause(lane, answer, now, random);
                    }
                }
                Verdict::Kept
            }
            // A hello holds nothing that could be refused: our hub refuses the way we speak. Scrapes would be refused
            // just so; they wait until one of the two is mended.
            Meaning::Never { .. }
                if flight.records.is_empty()
                    && (self.peer != Peer::Foreign || self.has_to_ask_for_second()) =>
            {
                self.keep(lane, flight);
                self.lose_link(self.explain(answer), answer.retry_after, now, random);
                Verdict::Kept
            }
            _ if flight.records.is_empty() => {
                self.have_link();
                self.lane_mut(lane).failures = 0;
                self.news();
                Verdict::Kept
            }
            Meaning::Taken if self.wrote_nothing(&flight, answer) => {
                self.have_link();
                let state = self.lane_mut(lane);
                state.failures = 0;
                state.end_part(flight.is_part, false);
                Verdict::Quarantined(flight.records, explain_written(&flight.carried, answer))
            }
            Meaning::Taken => {
                self.have_link();
                self.note_unwritten(&flight, answer);
                let stored = flight
                    .records
                    .iter()
                    .map(|record| record.stored_bytes)
                    .sum();
                let state = self.lane_mut(lane);
                state.failures = 0;
                state.adapt(now.saturating_sub(flight.since), stored);
                state.end_part(flight.is_part, true);
                Verdict::Acknowledged(flight.records)
            }
            Meaning::Never { parts, too_large } => {
                self.have_link();
                let wrote_all = self.wrote_all(&flight, answer);
                let state = self.lane_mut(lane);
                state.failures = 0;
                if wrote_all {
                    // It is about exemplars or metadata.
                    state.end_part(flight.is_part, true);
                    return Verdict::Acknowledged(flight.records);
                }
                if too_large {
                    state.payload_bytes_max = (state.payload_bytes_max / 2).max(PAYLOAD_BYTES_MIN);
                }
                if parts && flight.records.len() > 1 && (too_large || !state.hopeless) {
                    if !flight.is_part {
                        state.part_taken = false;
                    }
                    let size = flight.records.len().div_ceil(PARTS);
                    for part in flight.records.chunks(size).rev() {
                        state.parts.push_front(part.to_vec());
                    }
                    return Verdict::Kept;
                }
                state.end_part(flight.is_part, false);
                Verdict::Quarantined(flight.records, explain_written(&flight.carried, answer))
            }
        }
    }

    /// Whether somebody between us and a hub of ours answers.
    fn is_between(&self, answer: &Answer) -> bool {
        matches!(self.peer, Peer::Own { .. }) && answer.hub.is_none()
    }

    /// Whoever does not read remote write 2.0 may take it all the same, and store nothing. An empty request shows it before there is anything
    /// to lose.
    fn has_to_ask_for_second(&self) -> bool {
        self.speech == (Speech::Second { understood: false })
    }

    fn understood(&mut self) {
        if let Speech::Second { understood } = &mut self.speech {
            *understood = true;
        }
    }

    fn speak_first(&mut self, answer: &Answer) {
        if let Speech::Second { .. } = self.speech {
            let why = match answer.status {
                200..=299 => format!(
                    "HTTP {} without the headers that say how much was written",
                    answer.status
                ),
                _ => answer.describe(),
            };
            self.speech = Speech::First {
                instead_of_second: Some(why),
            };
        }
    }

    /// Samples were taken, and nobody said that they were written: perhaps somebody else answers by now. Asked with an empty request, after a
    /// pause that grows until samples are confirmed again.
    fn doubt(&mut self, answer: &Answer, now: Duration, random: f64) {
        if let Speech::Second { understood } = &mut self.speech {
            *understood = false;
        }
        self.doubts = self.doubts.saturating_add(1);
        let error = format!(
            "HTTP {} without the headers that say how much was written: whether remote write 2.0 is understood is asked again",
            answer.status
        );
        self.lose_link(error, answer.retry_after, now, random);
        self.retry_at = now + self.pause_of(self.doubts, answer.retry_after, random);
    }

    /// A foreign endpoint took a request, and says that it has written nothing of it.
    fn wrote_nothing(&self, flight: &Flight, answer: &Answer) -> bool {
        let held = |written: &Written| written.values() + written.exemplars;
        self.peer == Peer::Foreign
            && held(&flight.carried) > 0
            && answer.written.is_some_and(|written| held(&written) == 0)
    }

    /// A foreign endpoint refused a request, and says that all samples and native histograms are written.
    fn wrote_all(&self, flight: &Flight, answer: &Answer) -> bool {
        let values = flight.carried.values();
        self.peer == Peer::Foreign
            && values > 0
            && answer
                .written
                .is_some_and(|written| written.values() >= values)
    }

    fn note_unwritten(&mut self, flight: &Flight, answer: &Answer) {
        self.doubts = 0;
        if let (Peer::Foreign, Some(written)) = (&self.peer, answer.written) {
            self.unwritten += flight.carried.values().saturating_sub(written.values());
        }
    }

    /// What was sent has to be sent again: a part first of all, the rest is chosen anew.
    fn keep(&mut self, lane: Lane, flight: Flight) {
        let state = self.lane_mut(lane);
        state.idle = false;
        if flight.is_part {
            state.parts.push_front(flight.records);
        }
    }

    fn explain(&self, answer: &Answer) -> String {
        let text = answer.describe();
        match self.peer {
            Peer::Own { .. } if answer.hub.is_none() => {
                format!("{text} (not from the hub: a proxy or portal on the way answers)")
            }
            _ if answer.is_page => {
                format!("{text} (a web page: a portal or proxy on the way answers)")
            }
            _ => text,
        }
    }

    fn have_link(&mut self) {
        self.failures = 0;
        if self.link != LinkState::Up {
            self.link = LinkState::Up;
            // Whatever waited for the link: now.
            self.news();
        }
    }

    fn lose_link(
        &mut self,
        error: String,
        retry_after: Option<Duration>,
        now: Duration,
        random: f64,
    ) {
        self.failures = self.failures.saturating_add(1);
        self.retry_at = now + self.pause_of(self.failures, retry_after, random);
        self.link = LinkState::Down { error };
    }

    fn pause(&mut self, lane: Lane, answer: &Answer, now: Duration, random: f64) {
        let failures = self.lane(lane).failures.saturating_add(1);
        let pause = self.pause_of(failures, answer.retry_after, random);
        let state = self.lane_mut(lane);
        state.failures = failures;
        state.retry_at = now + pause;
    }

    /// Doubling from the first pause to the ceiling, half of it by chance; not shorter than the other end asks for.
    fn pause_of(&self, failures: u32, retry_after: Option<Duration>, random: f64) -> Duration {
        let foreign = self.peer == Peer::Foreign;
        let (longest, asked_max) = match foreign {
            true => (self.options.backoff_max_foreign, RETRY_AFTER_MAX_FOREIGN),
            false => (self.options.backoff_max_own, RETRY_AFTER_MAX_OWN),
        };
        let doubled = self
            .options
            .backoff_first
            .saturating_mul(1 << failures.saturating_sub(1).min(20));
        let pause = doubled
            .min(longest)
            .mul_f64(0.5 + random.clamp(0.0, 1.0) / 2.0);
        pause.max(retry_after.unwrap_or_default().min(asked_max))
    }

    fn lane(&self, lane: Lane) -> &LaneState {
        match lane {
            Lane::Live => &self.live,
            Lane::Backlog => &self.backlog,
        }
    }

    fn lane_mut(&mut self, lane: Lane) -> &mut LaneState {
        match lane {
            Lane::Live => &mut self.live,
            Lane::Backlog => &mut self.backlog,
        }
    }
}
