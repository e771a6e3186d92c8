//! The hub's end of a session.

use super::block::{Cell, Digest, Head, Layout, Shared};
use super::carry::{Carried, LineState};
use super::encode::{EXTEND, FORGET};
use super::frame::{self, Begin, Bytes, Frame};
use super::link::Known;
use super::range::{Reader, Writer};
use super::{LineError, LineLimits};

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
    /// The record of the buffer.
    pub seq: u64,
    /// Time of its scrape, milliseconds since 1970.
    pub at: i64,
    /// Samples in the columns, staleness markers among them.
    pub samples: u64,
}

/// See the [module](super). `K` is what the receiver remembers of a series. Memory: about 60 bytes and a `K` for each
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
    /// What the session that this one follows left.
    carried: Option<Carried>,
    keys: Vec<Vec<K>>,
    columns: usize,
    described: u64,
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
            carried: None,
            keys: Vec::new(),
            columns: 0,
            described: 0,
        }
    }

    /// The session that it knows.
    pub fn session(&self) -> Option<u32> {
        self.session
    }

    /// The number of the frame that comes next.
    pub fn next(&self) -> u64 {
        self.next
    }

    /// Series that the session has described, and not told to forget.
    pub fn series(&self) -> usize {
        self.columns
    }

    /// Series that were described to this end, one after the other, since the edge began to count.
    pub fn described(&self) -> u64 {
        self.described
    }

    /// What it can go on with, to be told to the edge: see [`LineEncoder::takeover`](super::LineEncoder::takeover).
    pub fn known(&self, live: bool) -> Option<Known> {
        Some(Known {
            session: self.session?,
            next: self.next,
            described: self.described,
            series: self.columns as u64,
            live,
        })
    }

    /// Decodes a frame. After an error what went into the sink counts for nothing, and the session is over, save for
    /// [`LineError::SessionUnknown`], which changes nothing. A frame that begins a session ends the one before.
    ///
    /// # Errors
    /// A frame that does not follow the last one, breaks a limit, or is none.
    pub fn decode(
        &mut self,
        frame: &Frame<'_>,
        limits: &LineLimits,
        sink: &mut impl LineSink<Key = K>,
    ) -> Result<LineDecoded, LineError> {
        let unknown = LineError::SessionUnknown {
            session: frame.session,
            number: frame.number,
        };
        let mut body = frame.body;
        if frame.starts() {
            *self = LineDecoder::new();
            self.begin(&Begin::read(&mut body)?);
        } else if frame.follows() {
            let begin = Begin::read(&mut body)?;
            let other = u32::from_le_bytes(*body.array("the session that is followed")?);
            let described = body.number()?;
            if self.session != Some(other) || self.described != described {
                return Err(unknown);
            }
            self.session = None;
            let anew = self.layouts.iter().map(Layout::anew).collect();
            let layouts = std::mem::replace(&mut self.layouts, anew);
            let shared = std::mem::replace(&mut self.shared, Shared::new());
            self.carried = Some(Carried::new(shared, layouts));
            self.descriptions(&mut body, limits, sink, Again::No)?;
            if self.described != begin.described {
                return Err(body.bad("as many descriptions as the session begins with"));
            }
            self.begin(&begin);
        } else if self.session != Some(frame.session) || frame.number != self.next {
            return Err(unknown);
        }
        // Until it is known to be whole.
        self.session = None;
        let decoded = self.frame(frame, body, limits, sink)?;
        self.session = Some(frame.session);
        self.next = frame.number + 1;
        self.carried = self
            .carried
            .take()
            .filter(|carried| !carried.is_over(self.next));
        Ok(decoded)
    }

    /// How the session stands, for an encoder to [go on from](super::LineEncoder::begin_after). None when it knows none.
    pub fn into_state(self) -> Option<LineState> {
        Some(LineState {
            session: self.session?,
            next: self.next,
            shared: self.shared,
            layouts: self.layouts,
        })
    }

    fn begin(&mut self, begin: &Begin<'_>) {
        (self.edge, self.epoch) = (begin.edge.to_owned(), begin.epoch);
        self.described = begin.described;
    }

    fn frame(
        &mut self,
        frame: &Frame<'_>,
        mut body: Bytes<'_>,
        limits: &LineLimits,
        sink: &mut impl LineSink<Key = K>,
    ) -> Result<LineDecoded, LineError> {
        let has = |flag: u8| frame.flags & flag != 0;
        if frame.number == u64::MAX {
            return Err(body.bad("a number below 2^64 - 1"));
        }
        if has(frame::DESCRIBES_AGAIN) {
            self.descriptions(&mut body, limits, sink, Again::Yes)?;
        }
        if has(frame::DESCRIBES) {
            self.descriptions(&mut body, limits, sink, Again::No)?;
        }
        if has(frame::HAS_REST) {
            sink.rest(body.section("bytes beside the columns", limits.section_bytes_max)?);
        }
        self.scrape(&mut body, has(frame::CARRIES), limits, sink)
    }

    fn descriptions(
        &mut self,
        body: &mut Bytes<'_>,
        limits: &LineLimits,
        sink: &mut impl LineSink<Key = K>,
        again: Again,
    ) -> Result<(), LineError> {
        let at = body.at;
        let section = body.section("bytes of descriptions", limits.section_bytes_max)?;
        let described = self.describe(&section, limits, sink, again);
        // Places within a compressed section would lead nobody anywhere.
        described.map_err(|error| match error {
            LineError::Malformed { expected, .. } => LineError::Malformed { at, expected },
            error => error,
        })
    }

    fn describe(
        &mut self,
        section: &[u8],
        limits: &LineLimits,
        sink: &mut impl LineSink<Key = K>,
        again: Again,
    ) -> Result<(), LineError> {
        let mut section = Bytes {
            rest: section,
            at: 0,
        };
        while !section.rest.is_empty() {
            let operation = section.number()?;
            let number = usize::try_from(operation >> 1).unwrap_or(usize::MAX);
            within(
                "layouts of a session",
                number.saturating_add(1),
                limits.layouts_max,
            )?;
            if number >= self.layouts.len() {
                self.layouts.resize_with(number + 1, Layout::new);
                self.keys.resize_with(number + 1, Vec::new);
            }
            let (layout, keys) = (&mut self.layouts[number], &mut self.keys[number]);
            if operation & 1 == FORGET {
                self.columns -= layout.len();
                self.described = self.described.wrapping_add(1);
                if let Some(carried) = &mut self.carried {
                    carried.forget(number as u32);
                }
                (*layout, *keys) = (Layout::new(), Vec::new());
                continue;
            }
            debug_assert_eq!(operation & 1, EXTEND);
            let is_known = again == Again::Yes && !keys.is_empty();
            for _ in 0..section.number()? {
                let length = section.number()?;
                let labels = usize::try_from(length >> 1).unwrap_or(usize::MAX);
                let labels = section.take(labels, "labels of the length that is said")?;
                if is_known {
                    continue;
                }
                self.columns += 1;
                within("series of a session", self.columns, limits.series_max)?;
                layout.push(length & 1 == 1);
                keys.push(sink.series(labels));
                if again == Again::No {
                    self.described = self.described.wrapping_add(1);
                }
            }
        }
        Ok(())
    }

    fn scrape(
        &mut self,
        body: &mut Bytes<'_>,
        carries: bool,
        limits: &LineLimits,
        sink: &mut impl LineSink<Key = K>,
    ) -> Result<LineDecoded, LineError> {
        let at = body.at;
        let bad = |reason| LineError::Scrape { at, reason };
        let (coded, expected) = body
            .rest
            .split_last_chunk::<2>()
            .ok_or(body.bad("columns and a digest"))?;
        let mut reader = Reader::new(coded);
        let mut carried = self.carried.as_mut().filter(|_| carries);
        let head = match &mut carried {
            Some(carried) => carried.head(&mut reader, Head::default()),
            None if carries => return Err(bad("the session before left nothing to build on")),
            None => self
                .shared
                .head(&mut reader, &mut self.layouts, Head::default()),
        };
        let head = head.ok_or(bad("its layout was not described"))?;
        let layout = self.layouts.get_mut(head.layout as usize);
        let layout = layout.ok_or(bad("its layout was not described"))?;
        if layout.len() as u64 > limits.samples_max {
            return Err(LineError::TooLong {
                what: "samples of a frame",
                found: layout.len() as u64,
                limit: limits.samples_max,
            });
        }
        // Not kept: most sessions are quiet most of the time, and it would be a quarter of their memory.
        let mut cells = vec![Cell::default(); layout.len()];
        let read = match &mut carried {
            Some(carried) => carried.cells(&mut reader, head.layout, layout, &mut cells),
            None => self.shared.cells(&mut reader, layout, &mut cells),
        };
        read.map_err(|_| bad("a rule for values that version 1 does not have"))?;
        if reader.is_past_end() {
            return Err(bad("it ends too early"));
        }
        let mut digest = Digest::default();
        digest.add(&head, &cells);
        if reader.left() > 0 || digest.short() != u16::from_le_bytes(*expected) {
            return Err(bad("its columns do not come out as the digest says"));
        }
        if carries {
            // From here on as one who read the frame that needs nothing from before.
            let mut anew = Writer::new();
            let _ = self.shared.head(&mut anew, &mut self.layouts, head);
            let layout = &mut self.layouts[head.layout as usize];
            let _ = self.shared.cells(&mut anew, layout, &mut cells);
        }
        let mut samples = 0;
        let keys = &self.keys[head.layout as usize];
        for (cell, key) in cells.iter().zip(keys).filter(|(cell, _)| cell.present) {
            sink.sample(
                key,
                head.at.wrapping_add(cell.offset),
                f64::from_bits(cell.bits),
            );
            samples += 1;
        }
        Ok(LineDecoded {
            edge: self.edge.clone(),
            epoch: self.epoch,
            seq: head.seq,
            at: head.at,
            samples,
        })
    }
}

/// Whether a section describes what is known to those who were there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Again {
    Yes,
    No,
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
