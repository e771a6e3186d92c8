//! The hub's end of a session.

use super::block::{Cell, Digest, Head, Layout, Shared};
use super::encode::{EXTEND, FORGET};
use super::frame::{self, Bytes, Frame};
use super::range::Reader;
use super::{LineError, LineLimits, Standing};
use crate::edge_headers::{self, Lane, SequenceRange};

/// Where decoded samples go.
pub trait LineSink {
    /// What the receiver remembers of a series for the time of a session: its reference in a store.
    type Key: Clone;
    /// A series is described: its label fields as they stand in remote write 1.0.
    fn series(&mut self, labels: &[u8]) -> Self::Key;
    /// A sample of a series: milliseconds since 1970 and the value.
    fn sample(&mut self, key: &Self::Key, at: i64, value: f64);
    /// A `WriteRequest` with what is in no column.
    fn rest(&mut self, message: Vec<u8>);
}

/// What a frame said beside its samples.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LineDecoded {
    /// Name of the edge.
    pub edge: String,
    /// Identity of its buffer.
    pub epoch: u64,
    /// The lane.
    pub lane: Lane,
    /// Records of the buffer in this frame, rising; none for a sign of life.
    pub sequences: Vec<SequenceRange>,
    /// How the buffer stands, if it was said.
    pub standing: Option<Standing>,
    /// Samples in the columns, staleness markers among them.
    pub samples: u64,
}

/// See the [module](super). `K` is what the receiver remembers of a series. Memory: about 72 bytes and a `K` for each
/// series that the session has described.
#[derive(Clone, Debug)]
pub struct LineDecoder<K> {
    /// None before the first frame, and after a frame that could not be read to its end.
    session: Option<u32>,
    /// The number of the next frame.
    next: u64,
    edge: String,
    epoch: u64,
    shared: Shared,
    layouts: Vec<Layout>,
    keys: Vec<Vec<K>>,
    columns: usize,
    cells: Vec<Cell>,
}

impl<K: Clone> Default for LineDecoder<K> {
    fn default() -> Self {
        LineDecoder::new()
    }
}

impl<K: Clone> LineDecoder<K> {
    /// Knows no session.
    pub fn new() -> Self {
        LineDecoder {
            session: None,
            next: 0,
            edge: String::new(),
            epoch: 0,
            shared: Shared::new(),
            layouts: Vec::new(),
            keys: Vec::new(),
            columns: 0,
            cells: Vec::new(),
        }
    }

    /// The session that it knows.
    pub fn session(&self) -> Option<u32> {
        self.session
    }

    /// The number of the frame that comes next; a frame that codes values anew may leave some out.
    pub fn next(&self) -> u64 {
        self.next
    }

    /// Series that the session has described, and not told to forget.
    pub fn series(&self) -> usize {
        self.columns
    }

    /// Series that were described to this end, one after the other, since the edge began to count.
    pub fn described(&self) -> u64 {
        self.columns as u64
    }

    /// Decodes a frame. After an error what went into the sink counts for nothing, and the session is over, save for
    /// [`LineError::SessionUnknown`], which changes nothing.
    ///
    /// # Errors
    /// A frame that does not follow the last one, breaks a limit, or is none.
    pub fn decode(
        &mut self,
        frame: &Frame<'_>,
        limits: &LineLimits,
        sink: &mut impl LineSink<Key = K>,
    ) -> Result<LineDecoded, LineError> {
        if frame.starts() {
            *self = LineDecoder::new();
        } else {
            let follows = match frame.flags & frame::RESETS != 0 {
                true => frame.number >= self.next,
                false => frame.number == self.next,
            };
            if self.session != Some(frame.session) || !follows {
                return Err(LineError::SessionUnknown {
                    session: frame.session,
                    number: frame.number,
                });
            }
        }
        // Until it is known to be whole.
        self.session = None;
        let decoded = self.frame(frame, limits, sink)?;
        self.session = Some(frame.session);
        self.next = frame.number + 1;
        Ok(decoded)
    }

    fn frame(
        &mut self,
        frame: &Frame<'_>,
        limits: &LineLimits,
        sink: &mut impl LineSink<Key = K>,
    ) -> Result<LineDecoded, LineError> {
        let mut body = frame.body;
        let has = |flag: u8| frame.flags & flag != 0;
        if frame.number == u64::MAX {
            return Err(body.bad("a number below 2^64 - 1"));
        }
        if has(frame::STARTS) {
            self.epoch = u64::from_le_bytes(*body.array("an epoch")?);
            let length = body.number()?.min(1 << 20) as usize;
            let edge = std::str::from_utf8(body.take(length, "a name of an edge")?).unwrap_or("");
            if !edge_headers::is_valid_name(edge) {
                return Err(body.bad("an edge's name of 1 to 200 visible ASCII characters"));
            }
            self.edge = edge.to_owned();
        }
        if has(frame::RESETS) {
            self.shared = Shared::new();
            self.layouts.iter_mut().for_each(Layout::reset);
        }
        let standing = match has(frame::HAS_STANDING) {
            true => Some(Standing::read(&mut body)?),
            false => None,
        };
        if has(frame::DESCRIBES) {
            let at = body.at;
            let section = body.section("bytes of descriptions", limits.section_bytes_max)?;
            let described = self.describe(&section, limits, sink);
            // Places within a compressed section would lead nobody anywhere.
            described.map_err(|error| match error {
                LineError::Malformed { expected, .. } => LineError::Malformed { at, expected },
                error => error,
            })?;
        }
        if has(frame::HAS_REST) {
            sink.rest(body.section("bytes beside the columns", limits.section_bytes_max)?);
        }
        let count = body.number()?;
        let (mut sequences, mut samples) = (Vec::new(), 0);
        if count > 0 {
            samples = self.scrapes(count, &mut body, limits, sink, &mut sequences)?;
        } else if !body.rest.is_empty() {
            return Err(body.bad("the end of a frame without scrapes"));
        }
        Ok(LineDecoded {
            edge: self.edge.clone(),
            epoch: self.epoch,
            lane: match has(frame::BACKLOG) {
                true => Lane::Backlog,
                false => Lane::Live,
            },
            sequences,
            standing,
            samples,
        })
    }

    fn describe(
        &mut self,
        section: &[u8],
        limits: &LineLimits,
        sink: &mut impl LineSink<Key = K>,
    ) -> Result<(), LineError> {
        let mut section = Bytes {
            rest: section,
            at: 0,
        };
        while !section.rest.is_empty() {
            let operation = section.number()?;
            let layout = usize::try_from(operation >> 1).unwrap_or(usize::MAX);
            if operation & 1 == FORGET {
                let known = self.layouts.get_mut(layout).zip(self.keys.get_mut(layout));
                let (layout, keys) = known.ok_or(section.bad("a known layout to forget"))?;
                self.columns -= layout.columns.len();
                (*layout, *keys) = (Layout::new(), Vec::new());
                continue;
            }
            debug_assert_eq!(operation & 1, EXTEND);
            if layout > self.layouts.len() {
                return Err(section.bad("a known layout, or the next one, to describe"));
            }
            if layout == self.layouts.len() {
                within("layouts of a session", layout + 1, limits.layouts_max)?;
                self.layouts.push(Layout::new());
                self.keys.push(Vec::new());
            }
            for _ in 0..section.number()? {
                let length = section.number()?;
                let labels = usize::try_from(length >> 1).unwrap_or(usize::MAX);
                let labels = section.take(labels, "labels of the length that is said")?;
                self.columns += 1;
                within("series of a session", self.columns, limits.series_max)?;
                self.layouts[layout].push(length & 1 == 1);
                self.keys[layout].push(sink.series(labels));
            }
        }
        Ok(())
    }

    fn scrapes(
        &mut self,
        count: u64,
        body: &mut Bytes<'_>,
        limits: &LineLimits,
        sink: &mut impl LineSink<Key = K>,
        sequences: &mut Vec<SequenceRange>,
    ) -> Result<u64, LineError> {
        let at = body.at;
        let (coded, expected) = body
            .rest
            .split_last_chunk::<2>()
            .ok_or(body.bad("columns and a digest"))?;
        let mut reader = Reader::new(coded);
        let (mut digest, mut samples, mut work) = (Digest::default(), 0, 0_u64);
        let mut cells = std::mem::take(&mut self.cells);
        for scrape in 0..count {
            let bad = |reason| LineError::Scrape { scrape, reason };
            let head = self
                .shared
                .head(&mut reader, &mut self.layouts, Head::default());
            let head = head.ok_or(bad("its layout was not described"))?;
            // It was found: there is such a layout.
            let layout = &mut self.layouts[head.layout as usize];
            work += layout.columns.len() as u64 + 1;
            if work > limits.samples_max {
                return Err(LineError::TooLong {
                    what: "samples of a frame",
                    found: work,
                    limit: limits.samples_max,
                });
            }
            cells.clear();
            cells.resize(layout.columns.len(), Cell::default());
            let read = self.shared.cells(&mut reader, layout, &mut cells);
            read.map_err(|_| bad("a rule for values that version 1 does not have"))?;
            if reader.is_past_end() {
                return Err(bad("it ends too early"));
            }
            digest.add(&head, &cells);
            let keys = &self.keys[head.layout as usize];
            for (cell, key) in cells.iter().zip(keys).filter(|(cell, _)| cell.present) {
                sink.sample(
                    key,
                    head.at.wrapping_add(cell.offset),
                    f64::from_bits(cell.bits),
                );
                samples += 1;
            }
            match sequences.last_mut() {
                Some(last) if last.last.checked_add(1) == Some(head.seq) => last.last = head.seq,
                Some(last) if last.last >= head.seq => return Err(bad("its record does not rise")),
                _ => sequences.push(SequenceRange {
                    first: head.seq,
                    last: head.seq,
                }),
            }
        }
        self.cells = cells;
        if reader.left() > 0 || digest.short() != u16::from_le_bytes(*expected) {
            return Err(LineError::Malformed {
                at,
                expected: "columns that come out as the digest says",
            });
        }
        Ok(samples)
    }
}

fn within(what: &'static str, found: usize, limit: usize) -> Result<(), LineError> {
    match found <= limit {
        true => Ok(()),
        false => Err(LineError::TooLong {
            what,
            found: found as u64,
            limit: limit as u64,
        }),
    }
}

impl Standing {
    fn read(body: &mut Bytes<'_>) -> Result<Self, LineError> {
        let mut number = || body.number();
        Ok(Standing {
            scraped_samples: number()?,
            pending_samples: number()?,
            pending_bytes: number()?,
            evicted_samples: number()?,
            oldest_pending: number()?.checked_sub(1).map(|at| at as i64),
        })
    }
}
