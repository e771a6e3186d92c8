//! What a target showed before: the series of every line of its page and their stored labels, which series are alive, which exemplars and which
//! metadata were handed over.
//!
//! # How a line is found
//!
//! Pages hardly change their order. So lines are kept as the last good page had them, and the first guess for a line is the
//! one that stood at its place then: as many bytes as that one had are hashed and compared, and where they agree nobody
//! looks at names, braces or quotes. The comments before a family count as one line of this kind. Where they do not, a few lines further on are tried (one went), then an index over all
//! lines, which is made only for such a scrape and dropped at its end.
//!
//! The hash is keyed, 128 bits, and the key is made anew in each process: no page can be written so that two of its lines meet.
//!
//! # What it costs
//!
//! A line takes 24 bytes, its series 11 and its labels, packed, a tenth of their text; a test counts them. All lists are cut to size after
//! a page that changed them. Lines that a page stopped showing are forgotten with the next good scrape.
//!
//! A known series goes to the buffer without its labels, which is told them once, with its first sample: unpacking them for every scrape would
//! cost more than all the rest.

mod exemplars;
mod metadata;

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::time::Duration;

use model::{LabelSet, Metadata, MetricType, PackedLabels, Series, SeriesId};
use siphasher::sip128::{Hasher128 as _, SipHasher13};
use wire::exposition::PageFormat;

use exemplars::Exemplars;
use metadata::Descriptions;

/// Where a line's series is in [`Cache::ids`]; this value for lines that a rule drops.
const DROPPED: u32 = u32::MAX;
/// For comments that say no type.
const COMMENTS: u32 = u32::MAX - 1;
/// For comments that say a type: the first of [`TYPES`], and so on.
const TYPED_COMMENTS: u32 = COMMENTS - TYPES.len() as u32;

const TYPES: [MetricType; 8] = [
    MetricType::Counter,
    MetricType::Gauge,
    MetricType::Histogram,
    MetricType::GaugeHistogram,
    MetricType::Summary,
    MetricType::Info,
    MetricType::StateSet,
    MetricType::Unknown,
];

/// Failing pages may leave this many lines behind, beyond twice those of the last good page, before they are forgotten.
const LINES_SLACK: usize = 1000;

/// So many lines may go at one place without an index having to be made.
const LOOK_AHEAD: usize = 8;

/// What a line is known by.
pub(super) type Key = [u64; 2];

#[derive(Debug)]
pub(super) struct Cache {
    key: [u8; 16],
    /// Of the last page.
    format: Option<PageFormat>,
    /// The lines of the last good page, in its order.
    lines: Vec<Line>,
    /// How many lines the last good page had.
    lines_before: usize,
    /// How far in `lines` the page under way has come.
    next: usize,
    /// The lines of the page under way, once it has left the order of the one before.
    fresh: Option<Vec<Line>>,
    /// Places in `lines`, once the page under way has made that necessary.
    places: Option<HashMap<Key, u32>>,
    /// Ids of series; of no meaning at places that are free.
    ids: Vec<SeriesId>,
    /// [Lengths](Series::text_bytes) of their labels.
    text_bytes: Vec<u16>,
    /// What is so about each series.
    flags: Vec<u8>,
    /// Places that hold no series.
    free: Vec<u32>,
    /// Labels by place, as they were when the last page was over; none at places that were free.
    labels: PackedLabels,
    /// Labels that the page under way has added.
    added: HashMap<u32, LabelSet>,
    /// Time of the last sample of this scrape, of series whose page gave one.
    times: HashMap<u32, i64>,
    /// Series by id, only while a page with new lines is read.
    by_id: Option<HashMap<SeriesId, u32>>,
    exemplars: Exemplars,
    descriptions: Descriptions,
}

/// What stood at a place of the last good page: so many bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Expected {
    /// Of a sample.
    Sample(usize),
    /// Of comments, and the type that they say.
    Comments(usize, Option<MetricType>),
}

// Not a u128, which would have to stand at a multiple of 16 bytes.
#[derive(Debug, Clone, Copy)]
struct Line {
    key: Key,
    /// Bytes of name and labels as written; 0 if it has no text of its own.
    length: u32,
    series: u32,
}

/// A line of the page under way has it.
const SEEN: u8 = 1;
/// A sample of it has been stored in this scrape.
const STORED: u8 = 2;
/// This scrape counts for staleness.
const TRACKED: u8 = 4;
/// It had a sample that a staleness marker must follow.
const LIVE: u8 = 8;
/// It was not there before this scrape.
const NEW: u8 = 16;
/// There is a series at this place.
const USED: u8 = 32;

/// A known line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    Dropped,
    Series(u32),
    /// Comments, and the type that they say.
    Comments(Option<MetricType>),
}

/// The type that comments say.
fn said(comments: u32) -> Option<MetricType> {
    TYPES.get((comments - TYPED_COMMENTS) as usize).copied()
}

/// What to do with a sample.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Store {
    Yes,
    /// The series has one for that time in this scrape already.
    Duplicate,
}

impl Cache {
    pub(super) fn new() -> Cache {
        let mut key = [0; 16];
        let (low, high) = (RandomState::new(), RandomState::new());
        key[..8].copy_from_slice(&low.hash_one(0).to_le_bytes());
        key[8..].copy_from_slice(&high.hash_one(1).to_le_bytes());
        Cache {
            key,
            format: None,
            lines: Vec::new(),
            lines_before: 0,
            next: 0,
            fresh: None,
            places: None,
            ids: Vec::new(),
            text_bytes: Vec::new(),
            flags: Vec::new(),
            free: Vec::new(),
            labels: PackedLabels::default(),
            added: HashMap::new(),
            times: HashMap::new(),
            by_id: None,
            exemplars: Exemplars::default(),
            descriptions: Descriptions::default(),
        }
    }

    /// The rules by which lines become series have changed: no line is known any more. Series stay, so that those
    /// that do not come back become stale.
    pub(super) fn forget_lines(&mut self) {
        self.lines = Vec::new();
        self.next = 0;
    }

    /// A page of this format is read next. In another one than before the same bytes may mean something else: no line is known.
    pub(super) fn begin(&mut self, format: PageFormat) {
        if self
            .format
            .replace(format)
            .is_some_and(|before| before != format)
        {
            self.forget_lines();
        }
    }

    /// The key of a line; `kind` is the type of the `# TYPE` line before it, which decides how some labels are read.
    pub(super) fn key(&self, kind: MetricType, line: &[u8]) -> Key {
        let mut hasher = SipHasher13::new_with_key(&self.key);
        hasher.write_u8(kind as u8);
        hasher.write(line);
        let hash = hasher.finish128();
        [hash.h1, hash.h2]
    }

    /// The key of comments that stand one below the other.
    pub(super) fn key_of_comments(&self, lines: &[u8]) -> Key {
        let mut hasher = SipHasher13::new_with_key(&self.key);
        // No type's number.
        hasher.write_u8(u8::MAX);
        hasher.write(lines);
        let hash = hasher.finish128();
        [hash.h1, hash.h2]
    }

    /// What stood at this place of the last good page.
    pub(super) fn expected(&self) -> Option<Expected> {
        let line = self.lines.get(self.next)?;
        let length = line.length as usize;
        let expected = match line.series {
            TYPED_COMMENTS..=COMMENTS => Expected::Comments(length, said(line.series)),
            _ => Expected::Sample(length),
        };
        Some(expected).filter(|_| length > 0)
    }

    /// Whether it is these comments, by their key.
    pub(super) fn is_expected_key(&self, key: Key) -> bool {
        let expected = self.lines.get(self.next);
        expected.is_some_and(|expected| expected.key == key)
    }

    /// Whether it is this text.
    pub(super) fn is_expected(&self, kind: MetricType, line: &[u8]) -> bool {
        let expected = self.lines.get(self.next);
        expected.is_some_and(|expected| expected.key == self.key(kind, line))
    }

    /// The line expected here has come.
    pub(super) fn take_expected(&mut self) -> Option<Found> {
        let line = *self.lines.get(self.next)?;
        Some(self.came(self.next, line))
    }

    /// The line, if it is known; it then counts as seen.
    pub(super) fn find(&mut self, key: Key) -> Option<Found> {
        let place = self.place(key)?;
        let line = *self.lines.get(place)?;
        Some(self.came(place, line))
    }

    fn place(&mut self, key: Key) -> Option<usize> {
        let near = self.lines.iter().skip(self.next).take(1 + LOOK_AHEAD);
        if let Some(ahead) = near.into_iter().position(|line| line.key == key) {
            return Some(self.next + ahead);
        }
        if self.lines.is_empty() {
            return None;
        }
        let lines = &self.lines;
        let places = self.places.get_or_insert_with(|| {
            let all = lines.iter().enumerate();
            all.map(|(place, line)| (line.key, place as u32)).collect()
        });
        places.get(&key).map(|place| *place as usize)
    }

    fn came(&mut self, place: usize, line: Line) -> Found {
        if place == self.next && self.fresh.is_none() {
            self.next += 1;
        } else {
            self.note(line);
            self.next = place + 1;
        }
        match line.series {
            DROPPED => Found::Dropped,
            comments @ TYPED_COMMENTS..=COMMENTS => Found::Comments(said(comments)),
            series => {
                self.flags[series as usize] |= SEEN;
                Found::Series(series)
            }
        }
    }

    /// Adds a line to those of this page, which is not in the order of the one before.
    fn note(&mut self, line: Line) {
        let (lines, next) = (&self.lines, self.next);
        self.fresh
            .get_or_insert_with(|| lines[..next].to_vec())
            .push(line);
    }

    pub(super) fn add_dropped(&mut self, key: Key, length: usize) {
        self.note(Line {
            key,
            length: length as u32,
            series: DROPPED,
        });
    }

    /// Comments of so many bytes have come, that say a type or none.
    pub(super) fn comments(&mut self, key: Key, length: usize, said: Option<MetricType>) {
        if self.find(key).is_some() {
            return;
        }
        let said = said.and_then(|said| TYPES.iter().position(|kind| *kind == said));
        self.note(Line {
            key,
            length: length as u32,
            series: said.map_or(COMMENTS, |said| TYPED_COMMENTS + said as u32),
        });
    }

    /// Makes a line of so many bytes known as that of a series, which other lines may have made before.
    pub(super) fn add(&mut self, key: Key, length: usize, labels: LabelSet) -> u32 {
        let series = self.series_with(labels);
        self.flags[series as usize] |= SEEN;
        self.note(Line {
            key,
            length: length as u32,
            series,
        });
        series
    }

    /// The series with these labels: the one that has them, or a new one.
    fn series_with(&mut self, labels: LabelSet) -> u32 {
        let mut id = SeriesId::of(&labels);
        let mut by_id = self.by_id.take().unwrap_or_else(|| {
            let used = self.flags.iter().zip(&self.ids).enumerate();
            used.filter(|(_, (flags, _))| *flags & USED != 0)
                .map(|(place, (_, id))| (*id, place as u32))
                .collect()
        });
        let series = loop {
            match by_id.get(&id) {
                Some(series) if self.labels(*series).as_ref() == Some(&labels) => break *series,
                Some(_) => id = id.next(),
                None => {
                    let series = self.add_series(id, labels);
                    by_id.insert(id, series);
                    break series;
                }
            }
        };
        self.by_id = Some(by_id);
        series
    }

    fn add_series(&mut self, id: SeriesId, labels: LabelSet) -> u32 {
        let series = self.free.pop().unwrap_or_else(|| {
            self.ids.push(id);
            self.text_bytes.push(0);
            self.flags.push(0);
            (self.ids.len() - 1) as u32
        });
        let place = series as usize;
        self.ids[place] = id;
        self.text_bytes[place] = Series::text_bytes(&labels);
        self.flags[place] = NEW | USED;
        self.added.insert(series, labels);
        series
    }

    /// How many series there may be.
    pub(super) fn series(&self) -> usize {
        self.ids.len()
    }

    /// The labels of a series.
    pub(super) fn labels(&self, series: u32) -> Option<LabelSet> {
        match self.added.get(&series) {
            Some(labels) => Some(labels.clone()),
            None => self.labels.get(series as usize),
        }
    }

    /// A series as it is handed over: with its labels if the page under way has added it.
    pub(super) fn known(&self, series: u32) -> Series {
        let place = series as usize;
        let is_new = self.flags[place] & NEW != 0;
        Series {
            id: self.ids[place],
            text_bytes: self.text_bytes[place],
            labels: is_new.then(|| self.added.get(&series).cloned()).flatten(),
        }
    }

    /// The same, with its labels in any case.
    pub(super) fn with_labels(&self, series: u32) -> Series {
        let mut known = self.known(series);
        if known.labels.is_none() {
            known.labels = self.labels(series);
        }
        known
    }

    /// Adds the labels of those that lack them.
    pub(super) fn complete<'s>(&self, all: impl IntoIterator<Item = &'s mut Series>) {
        let used = self
            .flags
            .iter()
            .zip(&self.ids)
            .zip(self.labels.iter_from(0));
        let used = used.filter(|((flags, _), _)| *flags & USED != 0);
        let labels: HashMap<SeriesId, LabelSet> =
            used.map(|((_, id), labels)| (*id, labels)).collect();
        for series in all {
            if series.labels.is_none() {
                series.labels = labels.get(&series.id).cloned();
            }
        }
    }

    /// A sample of the series is about to be stored, for its `own` time or for that of the scrape, `at`. `track`: when the
    /// series goes, a marker must follow.
    pub(super) fn store(&mut self, series: u32, at: i64, own: Option<i64>, track: bool) -> Store {
        let flags = &mut self.flags[series as usize];
        if track {
            *flags |= TRACKED;
        }
        let again = *flags & STORED != 0;
        *flags |= STORED;
        if !again && own.is_none() {
            return Store::Yes;
        }
        let time = own.unwrap_or(at);
        if again && *self.times.get(&series).unwrap_or(&at) == time {
            return Store::Duplicate;
        }
        self.times.insert(series, time);
        Store::Yes
    }

    /// The page was good: series that it did not show are stale from now on, and returned.
    pub(super) fn finish(&mut self) -> Vec<Series> {
        match self.fresh.take() {
            Some(mut fresh) => {
                fresh.shrink_to_fit();
                self.lines = fresh;
            }
            None => self.lines.truncate(self.next),
        }
        self.lines_before = self.lines.len();
        let mut stale = Vec::new();
        let mut changed = false;
        for place in 0..self.flags.len() {
            let was = self.flags[place];
            if was & (LIVE | TRACKED) == LIVE {
                stale.push(self.with_labels(place as u32));
            }
            self.flags[place] = was & USED | if was & TRACKED != 0 { LIVE } else { 0 };
            changed |= was & NEW != 0;
            // Every line of the page has set SEEN: no line is left of a series without it.
            if was & SEEN == 0 && was & USED != 0 {
                self.flags[place] = 0;
                self.free.push(place as u32);
                self.exemplars.forget(place as u32);
                changed = true;
            }
        }
        self.end(changed);
        stale
    }

    /// The scrape failed, or the target is gone: all series are stale from now on, and returned. Known lines stay known, those
    /// that the failed page added too: it may well fail again.
    pub(super) fn fail(&mut self) -> Vec<Series> {
        let mut stale = Vec::new();
        for place in 0..self.flags.len() {
            if self.flags[place] & LIVE != 0 {
                stale.push(self.known(place as u32));
            }
            self.flags[place] &= USED;
        }
        if let Some(mut fresh) = self.fresh.take() {
            fresh.extend_from_slice(self.lines.get(self.next..).unwrap_or_default());
            self.lines = fresh;
        }
        let mut changed = !self.added.is_empty();
        if self.lines.len() > 2 * self.lines_before + LINES_SLACK {
            self.complete(&mut stale);
            self.lines = Vec::new();
            (self.ids, self.text_bytes, self.flags) = (Vec::new(), Vec::new(), Vec::new());
            self.free = Vec::new();
            self.labels = PackedLabels::default();
            self.added = HashMap::new();
            self.exemplars = Exemplars::default();
            changed = false;
        }
        self.end(changed);
        stale
    }

    fn end(&mut self, changed: bool) {
        self.next = 0;
        self.places = None;
        self.by_id = None;
        if !self.times.is_empty() {
            self.times = HashMap::new();
        }
        if !changed {
            return;
        }
        // Only the tail can go: lines hold places.
        while self.flags.last().is_some_and(|flags| flags & USED == 0) {
            self.flags.pop();
        }
        let len = self.flags.len();
        self.ids.truncate(len);
        self.text_bytes.truncate(len);
        self.free.retain(|place| (*place as usize) < len);
        self.pack_labels();
        self.ids.shrink_to_fit();
        self.text_bytes.shrink_to_fit();
        self.flags.shrink_to_fit();
        self.free.shrink_to_fit();
        self.exemplars.shrink();
    }

    fn pack_labels(&mut self) {
        let mut added = std::mem::take(&mut self.added);
        let before = self.labels.iter_from(0).map(Some);
        let before = before.chain(std::iter::repeat(None));
        let labels = self.flags.iter().zip(before).enumerate();
        let labels: Vec<LabelSet> = labels
            .map(|(place, (flags, before))| {
                let labels = added.remove(&(place as u32)).or(before);
                labels
                    .filter(|_| flags & USED != 0)
                    .unwrap_or_else(LabelSet::empty)
            })
            .collect();
        self.labels = labels.iter().collect();
    }

    /// Whether an exemplar is another than the series had last; it counts as handed over then.
    pub(super) fn is_new_exemplar(&mut self, series: u32, exemplar: impl std::hash::Hash) -> bool {
        self.exemplars.is_new(series, exemplar)
    }

    /// Whether a page whose description lines have this hash says nothing new and was handed over not long ago. `now` is
    /// monotonic.
    pub(super) fn knows_metadata(&self, page: u64, now: Duration) -> bool {
        self.descriptions.knows(page, now)
    }

    /// Hashes description lines for [`Cache::knows_metadata`].
    pub(super) fn metadata_hasher(&self) -> impl std::hash::Hasher + use<> {
        self.descriptions.hasher()
    }

    /// Those of the page's families whose metadata is new, has changed or was handed over long ago.
    pub(super) fn changed_metadata(
        &mut self,
        page: u64,
        families: Vec<(String, Metadata)>,
        now: Duration,
    ) -> Vec<(String, Metadata)> {
        self.descriptions.changed(page, families, now)
    }

    /// What was handed over last did not arrive: no metadata and no exemplar counts as handed over.
    pub(super) fn forget_handed_over(&mut self) {
        self.descriptions.forget();
        self.exemplars = Exemplars::default();
    }

    /// Bytes that it holds, without metadata and allocators' overhead.
    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        self.lines.capacity() * size_of::<Line>()
            + self.ids.capacity() * size_of::<SeriesId>()
            + self.text_bytes.capacity() * size_of::<u16>()
            + self.flags.capacity()
            + self.free.capacity() * size_of::<u32>()
            + self.labels.held_bytes()
    }
}
