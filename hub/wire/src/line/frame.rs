//! The outside of a frame: version, session, whose it is, sections, checksum. See `FORMAT.md`.

use super::LineError;
use super::LineLimits;
use super::VERSION;
use super::encode::Takeover;
use crate::edge_headers;

/// The frame needs nothing from before: a new session begins.
pub(super) const STARTS: u8 = 1;
/// A new session begins, with what another one described.
pub(super) const FOLLOWS: u8 = 2;
/// Sections that are there.
pub(super) const DESCRIBES_AGAIN: u8 = 4;
pub(super) const DESCRIBES: u8 = 8;
pub(super) const HAS_REST: u8 = 16;
/// The columns are coded by what the session that is followed left.
pub(super) const CARRIES: u8 = 32;
const KNOWN: u8 = 63;

/// A frame whose checksum is right, not yet decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'b> {
    pub(super) flags: u8,
    /// The session that it belongs to.
    pub session: u32,
    /// Its number in the session, from 0.
    pub number: u64,
    pub(super) body: Bytes<'b>,
}

/// Numbers and sections, read from the front.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bytes<'b> {
    pub(super) rest: &'b [u8],
    /// Where `rest` begins in the frame.
    pub(super) at: usize,
}

const CHECKSUM_BYTES: usize = 4;

impl<'b> Frame<'b> {
    /// Checks a frame from outside: length, checksum, version.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn read(bytes: &'b [u8], limits: &LineLimits) -> Result<Self, LineError> {
        let too_long = |found| LineError::TooLong {
            what: "bytes of a frame",
            found,
            limit: limits.frame_bytes_max as u64,
        };
        if bytes.len() > limits.frame_bytes_max {
            return Err(too_long(bytes.len() as u64));
        }
        let short = LineError::Malformed {
            at: bytes.len(),
            expected: "a version, a head and a checksum",
        };
        let (body, sum) = bytes
            .split_last_chunk::<CHECKSUM_BYTES>()
            .ok_or(short.clone())?;
        // Version first: another one may have another checksum.
        let version = *body.first().ok_or(short)?;
        if version != VERSION {
            return Err(LineError::Version { found: version });
        }
        let (found, expected) = (crc32c::crc32c(body), u32::from_le_bytes(*sum));
        if found != expected {
            return Err(LineError::Checksum {
                bytes: bytes.len(),
                found,
                expected,
            });
        }
        let mut body = Bytes { rest: body, at: 0 };
        let [_, flags, session @ ..] = *body.array::<6>("flags and a session")?;
        if flags & !KNOWN != 0 {
            return Err(body.bad("flags of version 1"));
        }
        Ok(Frame {
            flags,
            session: u32::from_le_bytes(session),
            number: body.number()?,
            body,
        })
    }

    /// Session and number of a frame that is known to be whole. None for bytes that are none of this version.
    pub fn place(bytes: &[u8]) -> Option<(u32, u64)> {
        let mut body = Bytes { rest: bytes, at: 0 };
        let [version, _, session @ ..] = *body.array::<6>("a head").ok()?;
        let number = body.number().ok()?;
        (version == VERSION).then_some((u32::from_le_bytes(session), number))
    }

    /// Bytes of labels that a frame says it describes, before anything of it is checked: how much work it may be. 0 for
    /// bytes that are none of this version.
    pub fn described_bytes(bytes: &[u8]) -> u64 {
        fn claims(bytes: &[u8]) -> Option<u64> {
            let mut body = Bytes { rest: bytes, at: 0 };
            let [version, flags, ..] = *body.array::<6>("a head").ok()?;
            body.number().ok()?;
            if version != VERSION {
                return None;
            }
            if flags & (STARTS | FOLLOWS) != 0 {
                Begin::read(&mut body).ok()?;
            }
            let mut claimed = 0_u64;
            if flags & FOLLOWS != 0 {
                body.array::<4>("a session").ok()?;
                body.number().ok()?;
                claimed = body.skip_section().ok()?;
            }
            for _ in [DESCRIBES_AGAIN, DESCRIBES]
                .iter()
                .filter(|flag| flags & **flag != 0)
            {
                claimed = claimed.saturating_add(body.skip_section().ok()?);
            }
            Some(claimed)
        }
        claims(bytes).unwrap_or(0)
    }

    /// Whether it begins a session: it can be read without anything from before.
    pub fn starts(&self) -> bool {
        self.flags & STARTS != 0
    }

    /// Whether it begins a session with the descriptions of another one.
    pub fn follows(&self) -> bool {
        self.flags & FOLLOWS != 0
    }

    /// Whether its values build on those of the session that its own one followed.
    pub fn carries(&self) -> bool {
        self.flags & CARRIES != 0
    }

    /// The session whose descriptions it goes on with, if it [`follows`](Frame::follows) one.
    pub fn followed(&self) -> Option<u32> {
        let mut body = self.body;
        self.follows().then_some(())?;
        Begin::read(&mut body).ok()?;
        let session = body.array("the session that is followed").ok()?;
        Some(u32::from_le_bytes(*session))
    }

    /// The frame for a hub that knows an earlier session: what that one described is left out. For the first frame of the
    /// session `takeover` says how; for the others it is `None`. `columns` are those that this hub
    /// [can have](super::LineEncoder::columns_for_followers). The frame itself, when there is nothing to leave out.
    pub fn taking_over(
        bytes: &[u8],
        takeover: Option<&Takeover>,
        columns: Option<&[u8]>,
    ) -> Result<Vec<u8>, LineError> {
        let frame = Frame::read(bytes, &LineLimits::default())?;
        let leaves_out = frame.flags & DESCRIBES_AGAIN != 0;
        if !leaves_out && takeover.is_none() && columns.is_none() {
            return Ok(bytes.to_vec());
        }
        let mut body = frame.body;
        let mut flags = frame.flags & !DESCRIBES_AGAIN;
        let begin = match frame.starts() {
            true => Begin::read(&mut body)?,
            false => Begin::default(),
        };
        if leaves_out {
            body.skip_section()?;
        }
        let mut made = vec![VERSION, 0];
        made.extend_from_slice(&frame.session.to_le_bytes());
        put_number(&mut made, frame.number);
        if frame.starts() {
            begin.put(&mut made);
        }
        if let Some(takeover) = takeover.filter(|_| frame.starts()) {
            flags = flags & !STARTS | FOLLOWS;
            made.extend_from_slice(&takeover.session.to_le_bytes());
            put_number(&mut made, takeover.described);
            put_section(&mut made, &takeover.descriptions);
        }
        match columns {
            None => made.extend_from_slice(body.rest),
            Some(columns) => {
                let after = body.rest;
                for section in [DESCRIBES, HAS_REST] {
                    if flags & section != 0 {
                        body.skip_section()?;
                    }
                }
                flags |= CARRIES;
                made.extend_from_slice(&after[..after.len() - body.rest.len()]);
                made.extend_from_slice(columns);
                made.extend_from_slice(
                    body.rest
                        .last_chunk::<2>()
                        .ok_or(body.bad("columns and a digest"))?,
                );
            }
        }
        made[1] = flags;
        Ok(seal(made))
    }
}

/// What stands in the first frame of a session.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Begin<'b> {
    pub(super) epoch: u64,
    pub(super) edge: &'b str,
    /// How much was described before it.
    pub(super) described: u64,
}

impl<'b> Begin<'b> {
    pub(super) fn read(body: &mut Bytes<'b>) -> Result<Self, LineError> {
        let epoch = u64::from_le_bytes(*body.array("an epoch")?);
        let length = body.number()?.min(1 << 20) as usize;
        let edge = std::str::from_utf8(body.take(length, "a name of an edge")?).unwrap_or("");
        if !edge_headers::is_valid_name(edge) {
            return Err(body.bad("an edge's name of 1 to 200 visible ASCII characters"));
        }
        Ok(Begin {
            epoch,
            edge,
            described: body.number()?,
        })
    }

    pub(super) fn put(&self, bytes: &mut Vec<u8>) {
        bytes.extend_from_slice(&self.epoch.to_le_bytes());
        put_number(bytes, self.edge.len() as u64);
        bytes.extend_from_slice(self.edge.as_bytes());
        put_number(bytes, self.described);
    }
}

/// Closes a frame: appends the checksum of what stands before it.
pub fn seal(mut bytes: Vec<u8>) -> Vec<u8> {
    let sum = crc32c::crc32c(&bytes);
    bytes.extend_from_slice(&sum.to_le_bytes());
    bytes
}

pub(super) fn put_number(bytes: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}

/// Descriptions are so alike that a higher level saves one byte in forty, and takes twice the memory while it works.
const ZSTD_LEVEL: i32 = 1;
/// A section is sent as it is when it would shrink to less than one in so many bytes: so a reader knows how much a few bytes may claim.
const RATIO_MAX: usize = 256;

/// Appends a section: length, length as sent (0: as it is), bytes.
pub(super) fn put_section(bytes: &mut Vec<u8>, section: &[u8]) {
    put_number(bytes, section.len() as u64);
    let coded = zstd::bulk::compress(section, ZSTD_LEVEL).ok();
    let fits =
        |coded: &Vec<u8>| coded.len() < section.len() && section.len() <= coded.len() * RATIO_MAX;
    match coded.filter(fits) {
        Some(coded) => {
            put_number(bytes, coded.len() as u64);
            bytes.extend_from_slice(&coded);
        }
        None => {
            put_number(bytes, 0);
            bytes.extend_from_slice(section);
        }
    }
}

impl<'b> Bytes<'b> {
    pub(super) fn bad(&self, expected: &'static str) -> LineError {
        LineError::Malformed {
            at: self.at,
            expected,
        }
    }

    pub(super) fn take(
        &mut self,
        length: usize,
        expected: &'static str,
    ) -> Result<&'b [u8], LineError> {
        let (taken, rest) = self
            .rest
            .split_at_checked(length)
            .ok_or(self.bad(expected))?;
        (self.rest, self.at) = (rest, self.at + length);
        Ok(taken)
    }

    pub(super) fn array<const N: usize>(
        &mut self,
        expected: &'static str,
    ) -> Result<&'b [u8; N], LineError> {
        let (taken, rest) = self
            .rest
            .split_first_chunk::<N>()
            .ok_or(self.bad(expected))?;
        (self.rest, self.at) = (rest, self.at + N);
        Ok(taken)
    }

    pub(super) fn number(&mut self) -> Result<u64, LineError> {
        let mut number = 0_u64;
        for (place, byte) in self.rest.iter().enumerate().take(10) {
            let part = u64::from(byte & 0x7f);
            if place == 9 && part > 1 {
                break;
            }
            number |= part << (7 * place);
            if *byte < 0x80 {
                (self.rest, self.at) = (&self.rest[place + 1..], self.at + place + 1);
                return Ok(number);
            }
        }
        Err(self.bad("a number of at most 64 bits"))
    }

    /// Passes over a section without reading it; how long it says that it is.
    fn skip_section(&mut self) -> Result<u64, LineError> {
        let (claimed, sent) = (self.number()?, self.number()?);
        let length = if sent == 0 { claimed } else { sent };
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        self.take(length, "as many bytes as the section says")?;
        Ok(claimed)
    }

    /// Reads a section; nothing of its size is allocated before its claim is checked.
    pub(super) fn section(
        &mut self,
        what: &'static str,
        limit: usize,
    ) -> Result<Vec<u8>, LineError> {
        let claimed = self.number()?;
        let sent = self.number()?;
        if claimed > limit as u64 {
            return Err(LineError::TooLong {
                what,
                found: claimed,
                limit: limit as u64,
            });
        }
        let length = claimed as usize;
        if sent == 0 {
            return Ok(self
                .take(length, "as many bytes as the section says")?
                .to_vec());
        }
        let sent = usize::try_from(sent).unwrap_or(usize::MAX);
        let coded = self.take(sent, "as many bytes as the section says")?;
        if length > coded.len().saturating_mul(RATIO_MAX) {
            return Err(self.bad("a section that is not shrunk beyond 256 to 1"));
        }
        let section = zstd::bulk::decompress(coded, length).unwrap_or_default();
        match section.len() == length {
            true => Ok(section),
            false => Err(self.bad("a zstd frame of the claimed length")),
        }
    }
}
