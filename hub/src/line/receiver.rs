//! The hub's end of all sessions of one edge: which decoder a frame is for, and what it says. No I/O and no clock, so that one
//! seed can replay it together with the edge's machine.
//!
//! One session grows, on the live lane. When the link breaks it may be left unfinished: another one begins, live, and the rest of
//! the old one comes as backlog, in its order. So a frame finds its decoder by session and number, whatever its lane. One that
//! begins a session with what another one described and knew takes a copy of that one's decoder, as it was when the edge was told of it: the other
//! goes on, and may have done so before, as backlog. A frame that finds none is
//! answered "unknown": the edge sends that session from its beginning. Sessions stay when a connection ends, see [`super::kept`].

use std::collections::VecDeque;

use tsdb::{SeriesKey, SeriesKeys};
use wire::edge_headers::Lane;
use wire::line::link::{Known, UnknownFrame};
use wire::line::{Frame, LineDecoder, LineError, LineLimits};

use super::batch::{Batch, Sink, Unstored};
use super::planted::{self, Planted};

/// Sessions of an edge: the one that grows, and those that were left unfinished last.
const SESSIONS_MAX: usize = 3;
/// Memory of a decoder for each series that its session describes, key included, and without any.
const SERIES_BYTES: usize = 96;
const SESSION_BYTES: usize = 25_000;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Receiver {
    /// The one used last is the last.
    sessions: VecDeque<Session>,
    /// The live lane's.
    live: Option<u32>,
    /// That one as it was, if it has gone on as backlog since.
    told: Option<Session>,
    /// A series is the same in all sessions.
    unstored: Unstored,
}

#[derive(Clone, Debug, Default)]
struct Session {
    decoder: LineDecoder<SeriesKey>,
    epoch: u64,
}

/// What a frame is read with.
pub(super) struct Reading<'a> {
    pub(super) keys: &'a SeriesKeys,
    /// Samples up to then are taken, ms.
    pub(super) latest: i64,
    pub(super) limits: &'a LineLimits,
}

/// What became of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Read {
    /// Its samples are in the batch.
    Frame(FrameRead),
    /// It does not follow what is known. Nothing of it is in the batch.
    Unknown(UnknownFrame),
}

/// A frame that was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FrameRead {
    /// What is said if it has to come again.
    pub(super) frame: UnknownFrame,
    pub(super) epoch: u64,
    /// The record of the edge's buffer.
    pub(super) seq: u64,
}

impl Receiver {
    /// Reads one frame, as it came on a lane, into the batch.
    ///
    /// # Errors
    /// Bytes that are no frame, or none that an edge sends: the connection is over, and so are the sessions and the batch.
    pub(super) fn read(
        &mut self,
        lane: Lane,
        bytes: &[u8],
        with: &Reading<'_>,
        batch: &mut Batch,
    ) -> Result<Read, LineError> {
        let frame = Frame::read(bytes, with.limits)?;
        let unknown = UnknownFrame {
            session: frame.session,
            number: frame.number,
            live: lane == Lane::Live,
        };
        let Some(mut session) = self.take_session(lane, &frame) else {
            return Ok(Read::Unknown(unknown));
        };
        let mut sink = Sink {
            keys: with.keys,
            latest: with.latest,
            batch,
            unstored: &mut self.unstored,
        };
        match session.decoder.decode(&frame, with.limits, &mut sink) {
            Ok(decoded) => {
                session.epoch = decoded.epoch;
                self.put_session(lane, session);
                Ok(Read::Frame(FrameRead {
                    frame: unknown,
                    epoch: decoded.epoch,
                    seq: decoded.seq,
                }))
            }
            // A copy, or a new one: nothing is lost with it.
            Err(error) if error.is_session_unknown() => Ok(Read::Unknown(unknown)),
            Err(error) => {
                *self = Receiver::default();
                Err(error)
            }
        }
    }

    /// The session that a frame is for: its own, a copy of the one that it goes on with, or a new one.
    fn take_session(&mut self, lane: Lane, frame: &Frame<'_>) -> Option<Session> {
        let at = self.position(frame.session);
        if lane == Lane::Backlog && Some(frame.session) == self.live && self.told.is_none() {
            self.told = at.and_then(|at| self.sessions.get(at).cloned());
        }
        if frame.starts() {
            return Some(Session::default());
        }
        if let Some(other) = frame.followed() {
            let is = |session: &&Session| session.decoder.session() == Some(other);
            let told = self.told.take().filter(|told| is(&told));
            let told = told.filter(|_| !planted::is(Planted::ForgetsWhatItTold));
            return told.or_else(|| self.sessions.iter().find(is).cloned());
        }
        let follows = |at: &usize| {
            let session = self.sessions.get(*at);
            session.is_some_and(|session| session.decoder.next() == frame.number)
        };
        self.sessions.remove(at.filter(follows)?)
    }

    fn position(&self, id: u32) -> Option<usize> {
        let is = |session: &Session| session.decoder.session() == Some(id);
        self.sessions.iter().position(is)
    }

    fn put_session(&mut self, lane: Lane, session: Session) {
        let id = session.decoder.session();
        if lane == Lane::Live {
            self.live = id;
            self.told = None;
        }
        // A session that begins again ends what was known of it.
        self.sessions.retain(|other| other.decoder.session() != id);
        while self.sessions.len() >= SESSIONS_MAX {
            let live = self.live;
            let old = |other: &Session| other.decoder.session() != live;
            let Some(at) = self.sessions.iter().position(old) else {
                break;
            };
            self.sessions.remove(at);
        }
        self.sessions.push_back(session);
    }

    /// What of the series the store does not have yet.
    pub(super) fn unstored(&mut self) -> &mut Unstored {
        &mut self.unstored
    }

    /// A frame that was read could not be stored: only the edge knows its session as it was before.
    pub(super) fn forget_session(&mut self, of: &FrameRead) {
        let gone = Some(of.frame.session);
        self.sessions
            .retain(|session| session.decoder.session() != gone);
    }

    /// Sessions that this connection can go on with, whose edge is told of them now.
    pub(super) fn known(&mut self) -> Vec<Known> {
        self.told = None;
        let known = |session: &Session| {
            session
                .decoder
                .known(session.decoder.session() == self.live)
        };
        self.sessions.iter().filter_map(known).collect()
    }

    /// Nothing waits at the edge any more: of its sessions the live lane's goes on. Should another one do so after all, it is
    /// told that it is unknown, and comes from its beginning.
    pub(super) fn drained(&mut self) {
        if let Some(live) = self.live.filter(|live| self.position(*live).is_some()) {
            self.sessions
                .retain(|session| session.decoder.session() == Some(live));
        }
    }

    /// Lets go of sessions of another buffer.
    pub(super) fn retain_epoch(&mut self, epoch: u64) {
        self.sessions.retain(|session| session.epoch == epoch);
    }

    /// Memory that the sessions take, about.
    pub(super) fn bytes(&self) -> usize {
        let series: usize = self
            .sessions
            .iter()
            .map(|session| session.decoder.series())
            .sum();
        series * SERIES_BYTES + self.sessions.len() * SESSION_BYTES + self.unstored.bytes()
    }
}
