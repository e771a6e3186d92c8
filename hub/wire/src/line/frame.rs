//! The outside of a frame: version, session, what the edge says of itself, sections, checksum. See `FORMAT.md`.

use super::LineError;
use super::LineLimits;
use super::VERSION;

/// The frame needs nothing from before: a new session begins, all that the reader has of it is void.
pub(super) const STARTS: u8 = 1;
/// Values are coded anew; the series stay described.
pub(super) const RESETS: u8 = 2;
/// Of the backlog lane.
pub(super) const BACKLOG: u8 = 4;
/// Sections that are there.
pub(super) const DESCRIBES: u8 = 8;
pub(super) const HAS_REST: u8 = 16;
pub(super) const HAS_STANDING: u8 = 32;
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

    /// Whether it begins a session: it can be read without anything from before.
    pub fn starts(&self) -> bool {
        self.flags & STARTS != 0
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

/// zstd's usual level: descriptions are sent once, so bytes count more than time.
const ZSTD_LEVEL: i32 = 6;
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
