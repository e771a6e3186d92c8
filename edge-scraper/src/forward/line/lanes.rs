//! Which frames go on a connection, and how: what the two lanes remember of it. Reads the buffer, sends nothing.

use std::time::Duration;

use model::Timestamp;
use wire::line::Frame;
use wire::line::link::{Has, Known};

use crate::buffer::{Buffer, BufferError, Counts, Following, FrameFound, FrameReader, RecordMeta};

/// What a connection has been told.
#[derive(Default)]
pub struct Lanes {
    live: FrameReader,
    backlog: FrameReader,
    /// What the hub knows, until the first live frame is made with it.
    known: Option<Known>,
    /// The live session took over: descriptions that are repeated are left out.
    takes_over: bool,
    /// And the hub knows how values stood before it.
    carries: bool,
    /// Live frames were sent on this connection.
    follows: Option<Following>,
    /// The hub knows all that was described.
    knows_all: bool,
}

/// What the hub said in its first reply, and what is needed to make use of it.
#[derive(Clone, Debug)]
pub struct Greeting {
    /// The hub's live session.
    pub known: Option<Known>,
    /// The records that it has.
    pub has: Option<Has>,
    /// The record that the hub's live session began with.
    pub session_start: Option<u64>,
    /// A record older than that is left to the backlog lane.
    pub live_gap: Duration,
    /// By the edge's clock.
    pub now: Timestamp,
}

/// Where the live lane goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resumed {
    /// With this record.
    pub seq: u64,
    /// It begins a session.
    pub is_anew: bool,
    /// What the hub had acknowledged and lacks: it is pending again.
    pub again: Counts,
}

/// What became of a record that was to be sent.
pub enum Ready {
    /// Its frame, for this hub.
    Frame(Vec<u8>),
    /// It cannot be sent; why.
    Not(&'static str),
}

/// Where the live lane goes on: where the hub stands, if that is not long ago, or with a new session. Reads the disk.
///
/// # Errors
/// A disk that cannot be read.
pub fn resume(buffer: &Buffer, hub: &str, greeting: &Greeting) -> Result<Resumed, BufferError> {
    let again = match greeting.has.as_ref() {
        Some(has) if has.epoch == buffer.epoch() => buffer.reconcile(hub, has)?,
        _ => Counts::default(),
    };
    let place = match greeting.known {
        Some(known) => buffer.resume_at(known.session, known.next)?,
        None => None,
    };
    let is_recent = |at| greeting.now.saturating_since(at) <= greeting.live_gap;
    if let Some(place) = place.filter(|place| place.waiting.is_none_or(is_recent)) {
        return Ok(Resumed {
            seq: place.seq,
            is_anew: false,
            again,
        });
    }
    let state = match (greeting.known, greeting.session_start) {
        (Some(known), Some(start)) => {
            buffer.let_go_of_session();
            buffer.session_state(start, &known)?
        }
        _ => None,
    };
    Ok(Resumed {
        seq: buffer.begin_session(state),
        is_anew: true,
        again,
    })
}

impl Lanes {
    /// The live lane goes on there.
    pub fn resumed(&mut self, resumed: &Resumed, known: Option<Known>) {
        match resumed.is_anew {
            true => self.known = known,
            // What it took over before, it still has.
            false => self.knows_all = false,
        }
    }

    /// The frame of the live lane's next record. A damaged one is settled as that.
    ///
    /// # Errors
    /// A disk that cannot be read.
    pub fn live(&mut self, buffer: &Buffer, record: &RecordMeta) -> Result<Ready, BufferError> {
        let frame = match buffer.frame(&mut self.live, record.seq, record.session)? {
            FrameFound::Here(frame) => frame,
            FrameFound::Gone => {
                return Ok(Ready::Not(
                    "a record of the live lane is gone from the buffer",
                ));
            }
            FrameFound::Damaged => {
                buffer.give_up(&[*record]);
                return Ok(Ready::Not("a record of the live lane is damaged"));
            }
        };
        let mut takeover = None;
        if record.number == 0 {
            takeover = match self.known.take() {
                Some(known) => buffer.takeover(record.session, &known),
                // On this connection it has read the session before, to its end.
                None if self.follows.is_some() => {
                    buffer.takeover_by_follower(record.session, self.knows_all)
                }
                None => None,
            };
            self.takes_over = takeover.is_some();
            self.carries = takeover.as_ref().is_some_and(|takeover| takeover.carries);
            // Without one it begins with what this session describes.
            self.knows_all = takeover.is_some();
        }
        self.follows.get_or_insert_with(|| buffer.follow());
        if !self.takes_over {
            return Ok(Ready::Frame(frame));
        }
        let columns = match self.carries {
            true => buffer.columns_for_followers(record.session, u64::from(record.number)),
            false => None,
        };
        let short = Frame::taking_over(&frame, takeover.as_ref(), columns.as_deref());
        Ok(Ready::Frame(short.unwrap_or(frame)))
    }

    /// The frame of a record of the backlog in a session.
    ///
    /// # Errors
    /// A disk that cannot be read.
    pub fn backlog(
        &mut self,
        buffer: &Buffer,
        seq: u64,
        session: u32,
    ) -> Result<FrameFound, BufferError> {
        buffer.frame(&mut self.backlog, seq, session)
    }
}
