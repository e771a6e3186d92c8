//! What edge and hub say to each other on the held connection, beside the frames. The connection is a WebSocket
//! (RFC 6455) at [`PATH`] with the subprotocol [`PROTOCOL`]; every message is binary and begins with a byte that says what
//! follows. `FORMAT.md` draws them.

use bytes::Bytes;
use prost::Message;

use super::LineError;
use crate::edge_headers::{Lane, SequenceRange};

/// Where a hub takes the connection; beside `/api/v1/write`, with the same credentials.
pub const PATH: &str = "/api/v1/line";
/// The WebSocket subprotocol of this release.
pub const PROTOCOL: &str = "branchline.line.v1";
/// Longest [`Report`] or [`Reply`].
pub const TALK_BYTES_MAX: usize = 1 << 20;
/// Intervals of each kind in a [`Report`]; more are joined by whoever makes it.
pub const INTERVALS_MAX: usize = 64;
/// Why samples are lost that the hub had, before it came back from an older state, and that are gone from the buffer: see
/// [`Interval::reason`]. The interval begins where the hub knew no more; its own beginning says nothing.
pub const HUB_RESTORED: &str = "hub-restored";
/// Ranges in a [`Reply`].
pub const RANGES_MAX: usize = 4096;

const LIVE: u8 = 1;
const REPORT: u8 = 2;
const REPLY: u8 = 3;
const BACKLOG: u8 = 4;

/// A message of an edge.
#[derive(Clone, Debug, PartialEq)]
pub enum FromEdge {
    /// Scrapes: a [`Frame`](super::Frame), not yet checked, and the lane that it is for.
    Frame(Lane, Bytes),
    /// The edge's standing. The first message of a connection, and every heartbeat.
    Report(Box<Report>),
}

/// What an edge says of itself. Counts are samples without staleness markers.
#[derive(Clone, PartialEq, Message)]
pub struct Report {
    /// Name of the edge.
    #[prost(string, tag = "1")]
    pub edge: String,
    /// Identity of its buffer.
    #[prost(fixed64, tag = "2")]
    pub epoch: u64,
    /// Given back in [`Echo`]; rises by one in a connection.
    #[prost(uint64, tag = "3")]
    pub number: u64,
    /// The edge's clock, ms since 1970, when this was sent.
    #[prost(sint64, tag = "4")]
    pub sent_at_ms: i64,
    /// Samples ever synced to this buffer.
    #[prost(uint64, tag = "5")]
    pub scraped: u64,
    /// Of these, gone from the buffer before this hub was known to it.
    #[prost(uint64, tag = "6")]
    pub before: u64,
    /// Acknowledged by this hub.
    #[prost(uint64, tag = "7")]
    pub acknowledged: u64,
    /// Not acknowledged yet.
    #[prost(uint64, tag = "8")]
    pub pending: u64,
    /// Bytes of the pending ones in the buffer.
    #[prost(uint64, tag = "9")]
    pub pending_bytes: u64,
    /// Refused by this hub, kept in the buffer.
    #[prost(uint64, tag = "10")]
    pub quarantined: u64,
    /// Given up before this hub had them.
    #[prost(uint64, tag = "11")]
    pub evicted: u64,
    /// Damaged on the edge's disk before this hub had them.
    #[prost(uint64, tag = "12")]
    pub damaged: u64,
    /// Bytes in the buffer, and how many may be.
    #[prost(uint64, tag = "13")]
    pub buffer_bytes: u64,
    /// How many bytes the buffer may take.
    #[prost(uint64, tag = "14")]
    pub buffer_bytes_max: u64,
    /// Everything that was scraped up to then (ms since 1970) is synced in the buffer or was refused by a full disk. 0: not known.
    #[prost(sint64, tag = "15")]
    pub scraped_through_ms: i64,
    /// Since when this buffer knows everything that was scraped: its beginning. 0: not known.
    #[prost(sint64, tag = "16")]
    pub scraped_since_ms: i64,
    /// Stretches of time with pending samples, rising, not touching; at most [`INTERVALS_MAX`], the last ones joined.
    #[prost(message, repeated, tag = "17")]
    pub pending_intervals: Vec<Interval>,
    /// Stretches of time with samples that this hub will never get, rising; at most [`INTERVALS_MAX`], the first ones joined.
    #[prost(message, repeated, tag = "18")]
    pub lost_intervals: Vec<Interval>,
    /// Round trip of the report before, in microseconds; 0: not known.
    #[prost(uint64, tag = "19")]
    pub round_trip_us: u64,
    /// The hub's clock less the edge's, ms, by the quickest of the last round trips.
    #[prost(sint64, optional, tag = "20")]
    pub clock_offset_ms: Option<i64>,
    /// Reports of the last hundred without an answer in time.
    #[prost(uint32, tag = "21")]
    pub lost_percent: u32,
    /// Release of the edge.
    #[prost(string, tag = "22")]
    pub version: String,
    /// What tells its configuration from another.
    #[prost(string, tag = "23")]
    pub config: String,
    /// Scrapes are stamped so much later than the edge's clock says, ms. None: with the edge's clock.
    #[prost(sint64, optional, tag = "24")]
    pub clock_correction_ms: Option<i64>,
}

/// A stretch of time and the samples in it.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Interval {
    /// Time of its first sample, ms since 1970.
    #[prost(sint64, tag = "1")]
    pub first_ms: i64,
    /// Time of its last sample.
    #[prost(sint64, tag = "2")]
    pub last_ms: i64,
    /// Samples.
    #[prost(uint64, tag = "3")]
    pub samples: u64,
    /// Why they are lost: `evicted`; `thinned` where others of that time were left; `edge-down` where no edge ran; or [`HUB_RESTORED`]
    /// (the last two without a number of samples). Empty for pending ones.
    #[prost(string, tag = "4")]
    pub reason: String,
}

/// What a hub answers.
#[derive(Clone, PartialEq, Message)]
pub struct Reply {
    /// Id of the hub; in the first reply of a connection.
    #[prost(string, tag = "1")]
    pub hub: String,
    /// Its release; in the first reply.
    #[prost(string, tag = "2")]
    pub version: String,
    /// To a report.
    #[prost(message, optional, tag = "3")]
    pub echo: Option<Echo>,
    /// Sessions that the hub can go on with; in the first reply.
    #[prost(message, repeated, tag = "4")]
    pub known: Vec<Known>,
    /// What the hub has on disk of this epoch; in the first reply. Of an edge that it never heard of it has nothing, and says so.
    #[prost(message, optional, tag = "5")]
    pub has: Option<Has>,
    /// Records of the buffer that are on the hub's disk now.
    #[prost(message, repeated, tag = "6")]
    pub taken: Vec<Records>,
    /// Records of which a part was refused for good; the rest of them is on disk.
    #[prost(message, repeated, tag = "7")]
    pub refused: Vec<Refused>,
    /// Frames that could not be read for want of what came before.
    #[prost(message, repeated, tag = "8")]
    pub unknown: Vec<UnknownFrame>,
    /// The hub cannot store now: what is not in `taken` is to be sent again after a pause.
    #[prost(message, optional, tag = "9")]
    pub later: Option<Later>,
    /// Bytes of backlog frames that may be without an answer from now on; 0: none. Missing: as before, at first
    /// [`BACKLOG_BYTES_FIRST`].
    #[prost(uint64, optional, tag = "10")]
    pub backlog_bytes: Option<u64>,
}

/// What an edge may send of its backlog before a hub says how much.
pub const BACKLOG_BYTES_FIRST: u64 = 64 << 10;

/// A report came back.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct Echo {
    /// Of the report.
    #[prost(uint64, tag = "1")]
    pub number: u64,
    /// Of the report: the edge's clock.
    #[prost(sint64, tag = "2")]
    pub sent_at_ms: i64,
    /// The hub's clock when it came.
    #[prost(sint64, tag = "3")]
    pub received_at_ms: i64,
    /// The hub's clock when this was sent.
    #[prost(sint64, tag = "4")]
    pub replied_at_ms: i64,
}

/// A session that the hub remembers.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct Known {
    /// Its number.
    #[prost(fixed32, tag = "1")]
    pub session: u32,
    /// The number of its next frame.
    #[prost(uint64, tag = "2")]
    pub next: u64,
    /// Series described so far: [`LineDecoder::described`](super::LineDecoder::described).
    #[prost(uint64, tag = "3")]
    pub described: u64,
    /// Series that it knows now: [`LineDecoder::series`](super::LineDecoder::series).
    #[prost(uint64, tag = "4")]
    pub series: u64,
    /// Whether it is the live lane's.
    #[prost(bool, tag = "5")]
    pub live: bool,
}

/// What the hub's books say that it has.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Has {
    /// Of which buffer.
    #[prost(fixed64, tag = "1")]
    pub epoch: u64,
    /// Rising, not touching. Where there are more than [`RANGES_MAX`], the newest.
    #[prost(message, repeated, tag = "2")]
    pub records: Vec<Records>,
    /// The first record that is spoken of; of those before it nothing is said.
    #[prost(uint64, tag = "3")]
    pub from: u64,
}

/// Records of a buffer, both ends included.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct Records {
    /// The first.
    #[prost(uint64, tag = "1")]
    pub first: u64,
    /// The last.
    #[prost(uint64, tag = "2")]
    pub last: u64,
}

/// A part of records was refused.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Refused {
    /// Which.
    #[prost(message, optional, tag = "1")]
    pub records: Option<Records>,
    /// How many samples.
    #[prost(uint64, tag = "2")]
    pub samples: u64,
    /// `series-limit`, `future`, or another word of the hub's.
    #[prost(string, tag = "3")]
    pub reason: String,
    /// For people.
    #[prost(string, tag = "4")]
    pub text: String,
}

/// A frame that does not follow what the hub knows.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct UnknownFrame {
    /// Its session.
    #[prost(fixed32, tag = "1")]
    pub session: u32,
    /// Its number.
    #[prost(uint64, tag = "2")]
    pub number: u64,
    /// Whether it came on the live lane.
    #[prost(bool, tag = "3")]
    pub live: bool,
}

/// Not now.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Later {
    /// When to try again.
    #[prost(uint64, tag = "1")]
    pub after_ms: u64,
    /// For people.
    #[prost(string, tag = "2")]
    pub text: String,
}

impl From<SequenceRange> for Records {
    fn from(range: SequenceRange) -> Self {
        Records {
            first: range.first,
            last: range.last,
        }
    }
}

impl FromEdge {
    /// The message's bytes.
    pub fn encode(&self) -> Bytes {
        match self {
            FromEdge::Frame(lane, frame) => {
                let mut bytes = Vec::with_capacity(frame.len() + 1);
                bytes.push(match lane {
                    Lane::Live => LIVE,
                    Lane::Backlog => BACKLOG,
                });
                bytes.extend_from_slice(frame);
                bytes.into()
            }
            FromEdge::Report(report) => talk(REPORT, &**report),
        }
    }

    /// Reads a message.
    ///
    /// # Errors
    /// Another kind of message, or a report that is none.
    pub fn decode(bytes: &Bytes) -> Result<Self, LineError> {
        match bytes.first() {
            Some(&LIVE) => Ok(FromEdge::Frame(Lane::Live, bytes.slice(1..))),
            Some(&BACKLOG) => Ok(FromEdge::Frame(Lane::Backlog, bytes.slice(1..))),
            Some(&REPORT) => Ok(FromEdge::Report(Box::new(read(bytes, "a report")?))),
            _ => Err(LineError::Malformed {
                at: 0,
                expected: "a live frame (1), a report (2) or a backlog frame (4)",
            }),
        }
    }
}

impl Reply {
    /// The message's bytes.
    pub fn to_bytes(&self) -> Bytes {
        talk(REPLY, self)
    }

    /// Reads a message of a hub.
    ///
    /// # Errors
    /// Another kind of message, or a reply that is none.
    pub fn from_bytes(bytes: &Bytes) -> Result<Self, LineError> {
        match bytes.first() {
            Some(&REPLY) => read(bytes, "a reply"),
            _ => Err(LineError::Malformed {
                at: 0,
                expected: "a reply (3)",
            }),
        }
    }

    /// Whether it says nothing.
    pub fn is_empty(&self) -> bool {
        *self == Reply::default()
    }
}

fn talk(kind: u8, message: &impl Message) -> Bytes {
    let mut bytes = Vec::with_capacity(message.encoded_len() + 1);
    bytes.push(kind);
    // Room for it was made: a vector grows.
    let _ = message.encode(&mut bytes);
    bytes.into()
}

fn read<M: Message + Default>(bytes: &Bytes, expected: &'static str) -> Result<M, LineError> {
    if bytes.len() > TALK_BYTES_MAX {
        return Err(LineError::TooLong {
            what: "bytes of a message",
            found: bytes.len() as u64,
            limit: TALK_BYTES_MAX as u64,
        });
    }
    M::decode(&bytes[1..]).map_err(|_| LineError::Malformed { at: 1, expected })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_come_back() {
        let report = Report {
            edge: "b07".into(),
            epoch: u64::MAX,
            sent_at_ms: -5,
            clock_offset_ms: Some(0),
            pending_intervals: vec![Interval {
                first_ms: 1,
                last_ms: 2,
                samples: 3,
                reason: String::new(),
            }],
            ..Report::default()
        };
        for message in [
            FromEdge::Report(Box::new(report)),
            FromEdge::Frame(Lane::Live, Bytes::from_static(b"frame")),
            FromEdge::Frame(Lane::Backlog, Bytes::new()),
        ] {
            assert_eq!(FromEdge::decode(&message.encode()), Ok(message));
        }
        let reply = Reply {
            hub: "hq".into(),
            backlog_bytes: Some(0),
            taken: vec![Records { first: 1, last: 9 }],
            ..Reply::default()
        };
        assert_eq!(Reply::from_bytes(&reply.to_bytes()), Ok(reply));
        assert!(Reply::default().is_empty());
    }

    #[test]
    fn other_bytes_are_refused() {
        for bytes in [&b""[..], b"\x09", b"\x02\xff", b"\x03\x0a\x05x"] {
            let bytes = Bytes::copy_from_slice(bytes);
            assert!(FromEdge::decode(&bytes).is_err());
            assert!(Reply::from_bytes(&bytes).is_err());
        }
        let long = Bytes::from(vec![REPLY; TALK_BYTES_MAX + 1]);
        assert!(matches!(
            Reply::from_bytes(&long),
            Err(LineError::TooLong { .. })
        ));
    }
}
