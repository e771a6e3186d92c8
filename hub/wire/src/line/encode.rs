//! The edge's end of a session.

use std::collections::HashMap;

use prost::Message;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::block::{Cell, Digest, Head, Layout, Shared};
use super::frame::{self, put_number, put_section};
use super::range::Writer;
use super::{Standing, VERSION};
use crate::edge_headers::Lane;
use crate::remote_write::{DecodeError, Part, SeriesView, Walk};

/// One record of the buffer: a scrape, or a part of one, as a remote-write message.
#[derive(Clone, Copy, Debug)]
pub struct LineRecord<'m> {
    /// Identity of the target.
    pub target: u64,
    /// Number of the record.
    pub seq: u64,
    /// Time of the scrape, milliseconds since 1970.
    pub at: i64,
    /// A `WriteRequest` of remote write 1.0, not compressed.
    pub message: &'m [u8],
}

/// See the [module](super). Memory: about 85 bytes for each series that the session has described.
#[derive(Debug)]
pub struct LineEncoder {
    session: u32,
    number: u64,
    edge: String,
    epoch: u64,
    lane: Lane,
    fate: Fate,
    shared: Shared,
    layouts: Vec<Layout>,
    known: Vec<Known>,
    by_target: HashMap<(u64, u32), u32>,
    /// Numbers of layouts that were forgotten.
    free: Vec<u32>,
    /// What the next frame tells the hub to forget.
    forgotten: Vec<u32>,
    next: Building,
}

/// What became of the frame before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// Nothing was sent: the next one starts the session.
    New,
    Taken,
    /// Made, and not settled.
    Sent {
        described: bool,
    },
    /// Perhaps lost: values start anew.
    Unknown,
}

/// What only this end needs to know of a layout.
#[derive(Debug, Default)]
struct Known {
    target: (u64, u32),
    /// By column: hash of the label bytes, those with times of their own apart.
    keys: Vec<u64>,
    /// Made when the order is not that of the last scrape; gone at the end of the frame.
    places: Option<HashMap<u64, u32>>,
    last_at: i64,
}

/// The frame that is being filled.
#[derive(Debug, Default)]
struct Building {
    descriptions: Vec<u8>,
    rest: Vec<u8>,
    heads: Vec<(Head, usize)>,
    /// Of all scrapes; each has those that its layout had when it came.
    cells: Vec<Cell>,
    samples: usize,
}

/// A key of a column whose samples have times of their own.
const TIMED: u64 = 0x5bd1_e995_9d1f_3c7b;
/// Layouts of targets that have been gone for so long are forgotten.
const FORGET_AFTER_MS: i64 = 3_600_000;
/// A session that describes more begins anew rather than to grow on.
const COLUMNS_MAX: usize = 150_000;
/// Operations of descriptions.
pub(super) const EXTEND: u64 = 0;
pub(super) const FORGET: u64 = 1;

impl LineEncoder {
    /// A session that nobody knows yet. `session` should be drawn by chance; `edge` and `epoch` name the buffer.
    pub fn new(session: u32, edge: &str, epoch: u64, lane: Lane) -> Self {
        LineEncoder {
            session,
            number: 0,
            edge: edge.to_owned(),
            epoch,
            lane,
            fate: Fate::New,
            shared: Shared::new(),
            layouts: Vec::new(),
            known: Vec::new(),
            by_target: HashMap::new(),
            free: Vec::new(),
            forgotten: Vec::new(),
            next: Building::default(),
        }
    }

    /// The frame that was made last is with the hub.
    pub fn taken(&mut self) {
        if let Fate::Sent { .. } = self.fate {
            self.fate = Fate::Taken;
        }
    }

    /// Whether the hub has the frame that was made last is not known. `session` is used if a new one has to begin.
    pub fn lost(&mut self, session: u32) {
        match self.fate {
            Fate::Sent { described: false } => self.fate = Fate::Unknown,
            Fate::Sent { described: true } => self.begin(session),
            _ => {}
        }
    }

    /// The hub does not know the session: another one begins.
    pub fn begin(&mut self, session: u32) {
        *self = LineEncoder::new(session, &self.edge, self.epoch, self.lane);
    }

    /// The number of the session.
    pub fn session(&self) -> u32 {
        self.session
    }

    /// Samples in the columns of the frame that is being filled.
    pub fn samples(&self) -> usize {
        self.next.samples
    }

    /// Adds a record to the next frame. A frame that was made and not settled counts as lost.
    ///
    /// # Errors
    /// A message that cannot be read: then nothing of it is in the frame.
    pub fn push(&mut self, record: &LineRecord<'_>) -> Result<(), DecodeError> {
        self.ready();
        // Structure is checked before anything changes.
        let (mut check, mut view) = (Walk::new(record.message), SeriesView::new());
        while check.next_part(&mut view)?.is_some() {}

        let layout = self.layout_of(record);
        let first = self.next.cells.len();
        let columns = self.known[layout].keys.len();
        self.next.cells.resize(first + columns, Cell::default());
        let mut described = Vec::new();
        let (mut walk, mut expected, mut news) = (Walk::new(record.message), 0, 0_u64);
        while let Some(part) = walk.next_part(&mut view)? {
            if let Part::Metadata(metadata) = part {
                self.next.rest.push(0x1a);
                put_number(&mut self.next.rest, metadata.encoded_len() as u64);
                self.next.rest.extend(metadata.encode_to_vec());
                continue;
            }
            let [(at, value)] = view.samples[..] else {
                self.push_rest(record, &view);
                continue;
            };
            if !view.has_only_samples() {
                self.push_rest(record, &view);
                continue;
            }
            let labels = view.label_bytes();
            let hash = xxh3_64_with_seed(labels, u64::from(self.session));
            let timed = at != record.at;
            let place = match self.known[layout].find(hash, timed, expected) {
                Some(place) => place,
                None => {
                    put_number(
                        &mut described,
                        (labels.len() as u64) << 1 | u64::from(timed),
                    );
                    described.extend_from_slice(labels);
                    news += 1;
                    self.layouts[layout].push(timed);
                    self.next.cells.push(Cell::default());
                    self.known[layout].push(if timed { hash ^ TIMED } else { hash })
                }
            };
            expected = place + 1;
            let cell = &mut self.next.cells[first + place];
            if cell.present {
                // The same series again.
                self.push_rest(record, &view);
                continue;
            }
            *cell = Cell {
                present: true,
                bits: value.to_bits(),
                offset: at.wrapping_sub(record.at),
            };
            self.next.samples += 1;
        }
        if news > 0 || columns == 0 {
            let descriptions = &mut self.next.descriptions;
            put_number(descriptions, (layout as u64) << 1 | EXTEND);
            put_number(descriptions, news);
            descriptions.extend(described);
        }
        let head = Head {
            layout: layout as u32,
            seq: record.seq,
            at: record.at,
        };
        self.next.heads.push((head, first));
        self.known[layout].last_at = record.at;
        let present = self.next.cells[first..]
            .iter()
            .filter(|cell| cell.present)
            .count();
        let total = self.known[layout].keys.len();
        if news > 0 && total > 3 * present + 64 {
            // Mostly series that are gone: the target's next scrape describes a layout without them.
            self.forget(layout);
        }
        Ok(())
    }

    /// Makes the frame of what was pushed. The next one is not made before this one is settled, by [`LineEncoder::taken`],
    /// [`LineEncoder::lost`] or [`LineEncoder::begin`].
    pub fn finish(&mut self, standing: Option<&Standing>) -> Vec<u8> {
        self.ready();
        let next = std::mem::take(&mut self.next);
        let mut flags = match self.lane {
            Lane::Live => 0,
            Lane::Backlog => frame::BACKLOG,
        };
        let mut set = |flag: u8, on: bool| flags |= if on { flag } else { 0 };
        set(frame::STARTS, self.fate == Fate::New);
        set(frame::RESETS, self.fate == Fate::Unknown);
        set(frame::DESCRIBES, !next.descriptions.is_empty());
        set(frame::HAS_REST, !next.rest.is_empty());
        set(frame::HAS_STANDING, standing.is_some());
        let mut bytes = vec![VERSION, flags];
        bytes.extend_from_slice(&self.session.to_le_bytes());
        put_number(&mut bytes, self.number);
        if self.fate == Fate::New {
            bytes.extend_from_slice(&self.epoch.to_le_bytes());
            put_number(&mut bytes, self.edge.len() as u64);
            bytes.extend_from_slice(self.edge.as_bytes());
        }
        if let Some(standing) = standing {
            standing.put(&mut bytes);
        }
        if !next.descriptions.is_empty() {
            put_section(&mut bytes, &next.descriptions);
        }
        if !next.rest.is_empty() {
            put_section(&mut bytes, &next.rest);
        }
        put_number(&mut bytes, next.heads.len() as u64);
        if !next.heads.is_empty() {
            let digest = self.columns(&next, &mut bytes);
            bytes.extend_from_slice(&digest.to_le_bytes());
        }
        self.fate = Fate::Sent {
            described: self.fate == Fate::New || flags & frame::DESCRIBES != 0,
        };
        self.number += 1;
        self.next.cells = next.cells;
        self.next.cells.clear();
        for known in &mut self.known {
            known.places = None;
        }
        frame::seal(bytes)
    }

    /// The scrapes, one after the other in one stream of the range coder.
    fn columns(&mut self, next: &Building, bytes: &mut Vec<u8>) -> u16 {
        let (mut writer, mut digest, mut cells) = (Writer::new(), Digest::default(), Vec::new());
        let ends = next.heads.iter().skip(1).map(|(_, first)| *first);
        for ((head, first), end) in next.heads.iter().zip(ends.chain([next.cells.len()])) {
            self.shared.head(&mut writer, &mut self.layouts, *head);
            let layout = &mut self.layouts[head.layout as usize];
            cells.clear();
            cells.extend_from_slice(&next.cells[*first..end]);
            // Series that came later in this frame.
            cells.resize(layout.columns.len(), Cell::default());
            // Only a reader meets rules that it does not know.
            let _ = self.shared.cells(&mut writer, layout, &mut cells);
            digest.add(head, &cells);
        }
        bytes.extend(writer.finish());
        digest.short()
    }

    /// Makes the encoder ready for another frame.
    fn ready(&mut self) {
        if matches!(self.fate, Fate::Sent { .. }) {
            self.lost(self.session.wrapping_add(1));
        }
        if !self.next.heads.is_empty() {
            return;
        }
        if self
            .known
            .iter()
            .map(|known| known.keys.len())
            .sum::<usize>()
            > COLUMNS_MAX
        {
            self.begin(self.session.wrapping_add(1));
        }
        if self.fate == Fate::Unknown {
            self.shared = Shared::new();
            self.layouts.iter_mut().for_each(Layout::reset);
        }
        for layout in std::mem::take(&mut self.forgotten) {
            put_number(&mut self.next.descriptions, u64::from(layout) << 1 | FORGET);
            self.layouts[layout as usize] = Layout::new();
            self.known[layout as usize] = Known::default();
            self.free.push(layout);
        }
    }

    fn forget(&mut self, layout: usize) {
        if self.by_target.remove(&self.known[layout].target).is_some() {
            self.forgotten.push(layout as u32);
        }
    }

    fn layout_of(&mut self, record: &LineRecord<'_>) -> usize {
        // A large scrape has several records; each part has a layout of its own.
        let parts = self.next.heads.iter().rev();
        let same = |head: &Head| {
            head.at == record.at && self.known[head.layout as usize].target.0 == record.target
        };
        let part = parts.take_while(|(head, _)| same(head)).count() as u32;
        let target = (record.target, part);
        if let Some(layout) = self.by_target.get(&target) {
            return *layout as usize;
        }
        let old = record.at.saturating_sub(FORGET_AFTER_MS);
        let gone = |(layout, known): (usize, &Known)| {
            (known.last_at < old && !known.keys.is_empty()).then_some(layout)
        };
        let gone: Vec<usize> = self.known.iter().enumerate().filter_map(gone).collect();
        for layout in gone {
            self.forget(layout);
        }
        let layout = match self.free.pop() {
            Some(layout) => layout as usize,
            None => {
                self.layouts.push(Layout::new());
                self.known.push(Known::default());
                self.layouts.len() - 1
            }
        };
        self.known[layout].target = target;
        self.by_target.insert(target, layout as u32);
        layout
    }

    fn push_rest(&mut self, record: &LineRecord<'_>, view: &SeriesView<'_>) {
        let series = &record.message[view.offset()..view.offset() + view.length()];
        self.next.rest.push(0x0a);
        put_number(&mut self.next.rest, series.len() as u64);
        self.next.rest.extend_from_slice(series);
    }
}

impl Known {
    /// The column of a series: usually the one that follows the last.
    fn find(&mut self, hash: u64, timed: bool, expected: usize) -> Option<usize> {
        // A sample at the scrape's time fits a column with times too.
        let fits = |key: u64| key == hash ^ TIMED || !timed && key == hash;
        let near = self
            .keys
            .iter()
            .skip(expected)
            .take(4)
            .position(|key| fits(*key));
        if let Some(near) = near {
            return Some(expected + near);
        }
        let places = self.places.get_or_insert_with(|| {
            let numbered = self.keys.iter().zip(0..);
            numbered.map(|(key, place)| (*key, place)).collect()
        });
        let plain = places.get(&hash).filter(|_| !timed);
        plain
            .or_else(|| places.get(&(hash ^ TIMED)))
            .map(|place| *place as usize)
    }

    fn push(&mut self, key: u64) -> usize {
        let place = self.keys.len();
        self.keys.push(key);
        if let Some(places) = &mut self.places {
            places.insert(key, place as u32);
        }
        place
    }
}

impl Standing {
    fn put(&self, bytes: &mut Vec<u8>) {
        let oldest = self.oldest_pending.map_or(0, |at| at.max(0) as u64 + 1);
        let numbers = [
            self.scraped_samples,
            self.pending_samples,
            self.pending_bytes,
            self.evicted_samples,
            oldest,
        ];
        for number in numbers {
            put_number(bytes, number);
        }
    }
}
