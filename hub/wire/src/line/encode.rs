//! The edge's end of a session.

use std::collections::{HashMap, HashSet, VecDeque};

use model::{LabelSet, PackedLabels, Sample, Series, SeriesId, Value};

use super::VERSION;
use super::block::{Cell, Digest, Head, Layout, Shared};
use super::carry::{Carried, LineState};
use super::frame::{self, Begin, put_number, put_section};
use super::link::Known;
use super::range::Writer;
use crate::remote_write::convert::{append_series, put_label_bytes};

/// One record of the buffer: a scrape, or a part of one.
#[derive(Clone, Copy, Debug)]
pub struct LineScrape<'s> {
    /// Identity of the target.
    pub target: u64,
    /// Which part of a scrape that is too large for one record; 0 if it is whole.
    pub part: u32,
    /// Number of the record.
    pub seq: u64,
    /// Time of the scrape, milliseconds since 1970.
    pub at: i64,
    /// Its samples, best in the order of the scrape before.
    pub series: &'s [(Series, Sample)],
    /// What is no sample, as a `WriteRequest` of remote write 1.0: metadata, exemplars.
    pub beside: &'s [u8],
}

/// A series came without labels, and is not one that the encoder remembers: hand the scrape over again with all labels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a series came without its labels, and they are not known: hand them over")]
pub struct LabelsWanted;

/// See the [module](super). Memory: about 64 bytes for each series that was described and not forgotten, and what its
/// [packed labels](PackedLabels) take.
#[derive(Debug)]
pub struct LineEncoder {
    session: u32,
    number: u64,
    edge: String,
    epoch: u64,
    shared: Shared,
    layouts: Vec<Layout>,
    known: Vec<Described>,
    by_target: HashMap<(u64, u32), u32>,
    /// Numbers of layouts that were forgotten.
    free: Vec<u32>,
    /// What the next frame tells the hub to forget.
    forgotten: Vec<u32>,
    descriptions: Descriptions,
    /// Series of layouts that were forgotten to be described without those that are gone, until the target's next scrape: its series may come
    /// without labels.
    retired: HashMap<(u64, u32), Columns>,
    before: Option<Before>,
    /// What the session that this one follows left.
    carried: Option<Carried>,
    /// Session and number of the frame that would have come next in that one.
    carried_from: Option<(u32, u64)>,
    /// First scrapes as those can have them who read it up to there: number of the frame and its columns. Bounded by [`FOR_FOLLOWERS_MAX`].
    for_followers: Vec<(u64, Vec<u8>)>,
    /// Of all labels that are known.
    text_bytes: usize,
    cells: Vec<Cell>,
}

/// The session before this one, as it ended.
#[derive(Clone, Copy, Debug)]
struct Before {
    session: u32,
    number: u64,
    columns: u64,
    /// It used all layouts, so that whoever read it knows them all.
    is_complete: bool,
}

/// What only this end needs to know of a layout.
#[derive(Debug, Default)]
struct Described {
    target: (u64, u32),
    columns: Columns,
    /// Whether this session has described it.
    is_described: bool,
}

/// The series of a layout, by column.
#[derive(Clone, Debug, Default)]
struct Columns {
    ids: Vec<SeriesId>,
    labels: PackedLabels,
    last_at: i64,
}

/// What was described, one series after the other, for hubs that know a part of it from a session before.
#[derive(Debug, Default)]
struct Descriptions {
    /// Series described and layouts forgotten, ever.
    count: u64,
    /// The same when the session began.
    at_start: u64,
    /// What was described since something was forgotten, in order.
    log: VecDeque<Entry>,
    /// The count before the first entry of the log.
    log_from: u64,
    /// Sessions that know a beginning of the log, and from which count on.
    sessions: VecDeque<(u32, u64)>,
}

/// Series of a layout that were described together.
#[derive(Clone, Copy, Debug)]
struct Entry {
    layout: u32,
    first: u32,
    count: u32,
}

/// How a hub that knows an earlier session of this buffer can read this one: see [`Frame::taking_over`](super::Frame::taking_over).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Takeover {
    /// The session that the hub knows.
    pub(super) session: u32,
    /// How much was described to it.
    pub(super) described: u64,
    /// What was described since.
    pub(super) descriptions: Vec<u8>,
    /// It read that session up to where this one goes on: it can have the columns [for followers](LineEncoder::columns_for_followers).
    pub carries: bool,
}

/// Layouts of targets that have been gone for so long are forgotten.
const FORGET_AFTER_MS: i64 = 3_600_000;
/// Series that an encoder remembers; with more it begins anew.
const COLUMNS_MAX: usize = 400_000;
/// Entries of the log, and sessions that it is kept for.
const LOG_MAX: usize = 10_000;
const SESSIONS_MAX: usize = 64;
/// Bytes of columns for followers.
const FOR_FOLLOWERS_MAX: usize = 1 << 20;
/// Beside its labels, a series in a description takes about a byte once it is packed.
const TEXT_EXTRA: usize = 10;
/// Operations of descriptions.
pub(super) const EXTEND: u64 = 0;
pub(super) const FORGET: u64 = 1;

impl LineEncoder {
    /// A session that nobody knows yet. `session` should be drawn by chance; `edge` and `epoch` name the buffer.
    pub fn new(session: u32, edge: &str, epoch: u64) -> Self {
        LineEncoder {
            session,
            number: 0,
            edge: edge.to_owned(),
            epoch,
            shared: Shared::new(),
            layouts: Vec::new(),
            known: Vec::new(),
            by_target: HashMap::new(),
            free: Vec::new(),
            forgotten: Vec::new(),
            descriptions: Descriptions {
                sessions: VecDeque::from([(session, 0)]),
                ..Descriptions::default()
            },
            retired: HashMap::new(),
            before: None,
            carried: None,
            carried_from: None,
            for_followers: Vec::new(),
            text_bytes: 0,
            cells: Vec::new(),
        }
    }

    /// Begins another session: its first frame needs nothing from before, and each layout is described again with its first
    /// scrape. Who read the one before to its end can [take it over](LineEncoder::takeover) with its values.
    pub fn begin_after_this(&mut self, session: u32) {
        let from = (self.session, self.number);
        let anew = self.layouts.iter().map(Layout::anew).collect();
        let layouts = std::mem::replace(&mut self.layouts, anew);
        let shared = std::mem::replace(&mut self.shared, Shared::new());
        if self.start(session) {
            self.carry_from(from, shared, layouts);
        }
    }

    /// The same, for those who read a session of this buffer up to `state`. One that has just begun goes on being the one.
    pub fn begin_after(&mut self, session: u32, state: LineState) {
        if self.number == 0 || self.start(session) {
            self.carry_from((state.session, state.next), state.shared, state.layouts);
        }
    }

    /// The same, and nobody knows how values stood before.
    pub fn begin(&mut self, session: u32) {
        self.start(session);
    }

    /// The same, and the last frame was not kept: what it described nobody has read, not even who read all that there is.
    pub fn begin_after_loss(&mut self, session: u32) {
        self.start(session);
        self.before = None;
    }

    /// Of a session that has just begun: gives back the room for values that [`LineEncoder::begin`] keeps for the scrapes to come.
    pub fn give_back_room(&mut self) {
        if self.number == 0 {
            // One after the other: never all of them twice.
            self.layouts
                .iter_mut()
                .for_each(|layout| *layout = layout.anew());
        }
    }

    /// Columns that there is room for.
    #[cfg(test)]
    pub(super) fn room(&self) -> usize {
        self.layouts.iter().map(Layout::room).sum()
    }

    fn carry_from(&mut self, from: (u32, u64), shared: Shared, layouts: Vec<Layout>) {
        self.carried_from = Some(from);
        self.carried = Some(Carried::new(shared, layouts));
    }

    /// Whether the series of before are still known, without their values.
    fn start(&mut self, session: u32) -> bool {
        let columns: usize = self.known.iter().map(|known| known.columns.ids.len()).sum();
        if columns > COLUMNS_MAX {
            let mut anew = LineEncoder::new(session, &self.edge, self.epoch);
            let all = std::mem::take(&mut self.known).into_iter();
            anew.retired = all.map(|known| (known.target, known.columns)).collect();
            *self = anew;
            return false;
        }
        let is_known = |known: &Described| known.is_described || known.columns.ids.is_empty();
        self.before = Some(Before {
            session: self.session,
            number: self.number,
            columns: columns as u64,
            is_complete: self.known.iter().all(is_known),
        });
        (self.session, self.number) = (session, 0);
        (self.carried, self.carried_from) = (None, None);
        self.for_followers = Vec::new();
        for known in &mut self.known {
            known.is_described = false;
        }
        self.descriptions.begin(session);
        self.layouts.iter_mut().for_each(Layout::begin_anew);
        self.shared = Shared::new();
        true
    }

    /// The number of the session.
    pub fn session(&self) -> u32 {
        self.session
    }

    /// The number of the next frame.
    pub fn next(&self) -> u64 {
        self.number
    }

    /// About how many bytes a frame with all descriptions would have: what beginning a session costs.
    pub fn descriptions_bytes(&self) -> usize {
        // Text of labels shrinks to about a tenth.
        self.text_bytes / 10
    }

    /// What somebody knows who read the session before this one to its end. `all_before`: and all that was described before it.
    pub fn known_by_follower(&self, all_before: bool) -> Option<Known> {
        let before = self
            .before
            .filter(|before| before.is_complete || all_before)?;
        Some(Known {
            session: before.session,
            next: before.number,
            described: self.descriptions.at_start,
            series: before.columns,
            live: true,
        })
    }

    /// How a hub can read this session that knows so much of another one. None when it has to begin as everybody does.
    pub fn takeover(&self, known: &Known) -> Option<Takeover> {
        let (session, described) = (known.session, known.described);
        let descriptions = &self.descriptions;
        let since = descriptions
            .sessions
            .iter()
            .find(|(known, _)| *known == session)?
            .1;
        if session == self.session || described < since || described > descriptions.at_start {
            return None;
        }
        // Nothing was forgotten since, so all that came later is there. Who joined in the middle of things has met less.
        let columns: usize = self.layouts.iter().map(Layout::len).sum();
        if columns as u64 != known.series + (descriptions.count - described) {
            return None;
        }
        let (mut bytes, mut text) = (Vec::new(), Vec::new());
        let mut at = descriptions.log_from;
        for entry in &descriptions.log {
            let within = |count: u64| count.saturating_sub(at).min(u64::from(entry.count)) as u32;
            let (skip, take) = (within(described), within(descriptions.at_start));
            at += u64::from(entry.count);
            if skip >= take {
                continue;
            }
            let layout = entry.layout as usize;
            put_number(&mut bytes, (layout as u64) << 1 | EXTEND);
            put_number(&mut bytes, u64::from(take - skip));
            let (first, last) = (entry.first + skip, entry.first + take);
            let labels = &self.known.get(layout)?.columns.labels;
            if labels.len() < last as usize {
                return None;
            }
            let labels = labels.iter_from(first as usize);
            for (place, labels) in (first..last).zip(labels) {
                let timed = self.layouts[layout].has_times(place as usize);
                put_labels(&mut bytes, &mut text, &labels, timed);
            }
        }
        Some(Takeover {
            session,
            described,
            descriptions: bytes,
            carries: self.carried_from == Some((session, known.next)),
        })
    }

    /// The frame of a record. Whoever cannot keep it must [begin](LineEncoder::begin_after_loss) another session.
    ///
    /// # Errors
    /// [A series without labels](LineEncoder::lacks_labels). Another session must begin then, too.
    pub fn encode(&mut self, scrape: &LineScrape<'_>) -> Result<Vec<u8>, LabelsWanted> {
        let mut described = Vec::new();
        let described_before = self.descriptions.count;
        self.forget_what_is_due(&mut described);
        let layout = self.layout_of(scrape);
        let mut again = Vec::new();
        if !self.known[layout].is_described {
            self.known[layout].is_described = true;
            self.describe_again(layout, &mut again);
        }
        let mut rest = scrape.beside.to_vec();
        let news = self.fill(layout, scrape, &mut described, &mut rest)?;
        let mut flags = 0;
        let mut set = |flag: u8, on: bool| flags |= if on { flag } else { 0 };
        set(frame::STARTS, self.number == 0);
        set(frame::DESCRIBES_AGAIN, !again.is_empty());
        set(frame::DESCRIBES, !described.is_empty());
        set(frame::HAS_REST, !rest.is_empty());
        let mut bytes = vec![VERSION, flags];
        bytes.extend_from_slice(&self.session.to_le_bytes());
        put_number(&mut bytes, self.number);
        if self.number == 0 {
            let begin = Begin {
                epoch: self.epoch,
                edge: &self.edge,
                described: described_before,
            };
            begin.put(&mut bytes);
        }
        for section in [again, described, rest] {
            if !section.is_empty() {
                put_section(&mut bytes, &section);
            }
        }
        let head = Head {
            layout: layout as u32,
            seq: scrape.seq,
            at: scrape.at,
        };
        let (mut writer, mut digest) = (Writer::new(), Digest::default());
        self.shared.head(&mut writer, &mut self.layouts, head);
        // Only a reader meets rules that it does not know.
        let _ = self
            .shared
            .cells(&mut writer, &mut self.layouts[layout], &mut self.cells);
        digest.add(&head, &self.cells);
        self.carry(&head);
        bytes.extend(writer.finish());
        bytes.extend_from_slice(&digest.short().to_le_bytes());
        self.number += 1;
        self.carried = self
            .carried
            .take()
            .filter(|carried| !carried.is_over(self.number));
        self.known[layout].columns.last_at = scrape.at;
        if !self.retired.is_empty() {
            self.retired.remove(&self.known[layout].target);
        }
        if news > 0 {
            // Pages seldom grow: the room that was doubled is not needed again.
            self.known[layout].columns.shrink_to_fit();
        }
        let present = self.cells.iter().filter(|cell| cell.present).count();
        if news > 0 && self.cells.len() > 3 * present + 64 {
            // Mostly series that are gone: the target's next scrape describes a layout without them.
            let known = &self.known[layout];
            self.retired.insert(known.target, known.columns.clone());
            self.forget(layout);
        }
        Ok(frame::seal(bytes))
    }

    /// Whether the labels of some series of a scrape are neither there nor remembered. Then it cannot be coded without them.
    pub fn lacks_labels(&self, scrape: &LineScrape<'_>) -> bool {
        let known = self.by_target.get(&(scrape.target, scrape.part));
        let columns = known.map(|layout| &self.known[*layout as usize].columns);
        let (mut expected, mut elsewhere) = (0, None);
        for (series, _) in scrape.series {
            let found = columns.and_then(|columns| columns.near(expected, series.id));
            if let Some(place) = found {
                expected = place + 1;
            } else if series.labels.is_none() {
                let elsewhere = elsewhere.get_or_insert_with(|| self.ids_of(scrape.target));
                if !elsewhere.contains(&series.id) {
                    return true;
                }
            }
        }
        false
    }

    /// All columns of a target's scrapes: of each part, and those that are [retired](field@LineEncoder::retired).
    fn columns_of(&self, target: u64) -> impl Iterator<Item = &Columns> {
        let known = self.by_target.iter();
        let known = known.filter(move |((of, _), _)| *of == target);
        let retired = self.retired.iter();
        let retired = retired.filter(move |((of, _), _)| *of == target);
        known
            .map(|(_, layout)| &self.known[*layout as usize].columns)
            .chain(retired.map(|(_, columns)| columns))
    }

    fn ids_of(&self, target: u64) -> HashSet<SeriesId> {
        let columns = self.columns_of(target);
        columns
            .flat_map(|columns| columns.ids.iter().copied())
            .collect()
    }

    /// Labels by id. Only for a scrape whose parts have changed places, or one after a layout was forgotten.
    fn labels_of(&self, target: u64) -> HashMap<SeriesId, LabelSet> {
        let columns = self.columns_of(target);
        columns
            .flat_map(|columns| columns.ids.iter().copied().zip(columns.labels.iter_from(0)))
            .collect()
    }

    /// Codes a layout's first scrape once more, for those who know how the session before stood.
    fn carry(&mut self, head: &Head) {
        let Some(carried) = self
            .carried
            .as_mut()
            .filter(|carried| carried.has(head.layout))
        else {
            return;
        };
        let mut writer = Writer::new();
        carried.head(&mut writer, *head);
        let layout = &self.layouts[head.layout as usize];
        let _ = carried.cells(&mut writer, head.layout, layout, &mut self.cells);
        self.for_followers.push((self.number, writer.finish()));
        let bytes: usize = self
            .for_followers
            .iter()
            .map(|(_, columns)| columns.len())
            .sum();
        if bytes > FOR_FOLLOWERS_MAX {
            // Those who follow get the rest as everybody does.
            self.carried = None;
        }
    }

    /// The columns of a frame of this session as those can have them whose [takeover](Takeover::carries) says so, and who got all before: for
    /// [`Frame::taking_over`](super::Frame::taking_over). None: as everybody.
    pub fn columns_for_followers(&self, number: u64) -> Option<&[u8]> {
        let place = self
            .for_followers
            .binary_search_by_key(&number, |(number, _)| *number);
        place
            .ok()
            .map(|place| self.for_followers[place].1.as_slice())
    }

    /// The samples into `cells`, what is in no column into `rest`, series that are new into `described`; how many those are.
    fn fill(
        &mut self,
        layout: usize,
        scrape: &LineScrape<'_>,
        described: &mut Vec<u8>,
        rest: &mut Vec<u8>,
    ) -> Result<usize, LabelsWanted> {
        let columns = self.known[layout].columns.ids.len();
        self.cells.clear();
        self.cells.resize(columns, Cell::default());
        let mut added = Vec::new();
        let outcome = self.fill_cells(layout, scrape, &mut added, rest);
        // A layout without series is described, too, so that it is known.
        if !added.is_empty() || columns == 0 {
            put_number(described, (layout as u64) << 1 | EXTEND);
            put_number(described, added.len() as u64);
            let mut text = Vec::new();
            for (place, labels) in (columns..).zip(&added) {
                let timed = self.layouts[layout].has_times(place);
                put_labels(described, &mut text, labels, timed);
            }
        }
        if !added.is_empty() {
            self.descriptions.add(layout, columns, added.len());
            self.text_bytes += added.iter().map(text_bytes).sum::<usize>();
            self.known[layout].columns.labels.extend(&added);
        }
        outcome.map(|()| added.len())
    }

    fn fill_cells(
        &mut self,
        layout: usize,
        scrape: &LineScrape<'_>,
        added: &mut Vec<LabelSet>,
        rest: &mut Vec<u8>,
    ) -> Result<(), LabelsWanted> {
        let (mut expected, mut places) = (0, None);
        let mut remembered = Remembered::default();
        for (series, sample) in scrape.series {
            let Value::Float(value) = sample.value else {
                let labels = remembered.labels(self, scrape.target, series)?;
                append_series(rest, &labels, std::slice::from_ref(sample));
                continue;
            };
            let offset = sample.at.millis().wrapping_sub(scrape.at);
            let timed = offset != 0;
            let place = match self.near(layout, expected, series.id, timed) {
                Some(place) => place,
                None => {
                    let places = places.get_or_insert_with(|| self.places(layout));
                    match places.get(&(series.id, timed)) {
                        Some(place) => *place as usize,
                        None => {
                            added.push(remembered.labels(self, scrape.target, series)?);
                            let place = self.push(layout, series.id, timed);
                            places.insert((series.id, timed), place as u32);
                            if timed {
                                places.insert((series.id, false), place as u32);
                            }
                            place
                        }
                    }
                }
            };
            expected = place + 1;
            if self.cells[place].present {
                // The same series again.
                let labels = remembered.labels(self, scrape.target, series)?;
                append_series(rest, &labels, std::slice::from_ref(sample));
                continue;
            }
            self.cells[place] = Cell {
                present: true,
                bits: value.to_bits(),
                offset,
            };
        }
        Ok(())
    }

    /// The column of a series where the scrape before had it, or a little further.
    fn near(&self, layout: usize, expected: usize, id: SeriesId, timed: bool) -> Option<usize> {
        let place = self.known[layout].columns.near(expected, id)?;
        // A sample at the scrape's time fits a column with times too.
        (!timed || self.layouts[layout].has_times(place)).then_some(place)
    }

    /// All columns of a layout, by series and whether they have times of their own.
    fn places(&self, layout: usize) -> HashMap<(SeriesId, bool), u32> {
        let mut places = HashMap::new();
        for (place, id) in self.known[layout].columns.ids.iter().enumerate() {
            let timed = self.layouts[layout].has_times(place);
            places.insert((*id, timed), place as u32);
            if timed {
                places.entry((*id, false)).or_insert(place as u32);
            }
        }
        places
    }

    fn push(&mut self, layout: usize, id: SeriesId, timed: bool) -> usize {
        self.layouts[layout].push(timed);
        self.cells.push(Cell::default());
        let ids = &mut self.known[layout].columns.ids;
        ids.push(id);
        ids.len() - 1
    }

    /// A layout that the session has not described, as it was before.
    fn describe_again(&self, layout: usize, again: &mut Vec<u8>) {
        let labels = &self.known[layout].columns.labels;
        if labels.is_empty() {
            return;
        }
        put_number(again, (layout as u64) << 1 | EXTEND);
        put_number(again, labels.len() as u64);
        let mut text = Vec::new();
        for (place, labels) in labels.iter_from(0).enumerate() {
            let timed = self.layouts[layout].has_times(place);
            put_labels(again, &mut text, &labels, timed);
        }
    }

    fn forget_what_is_due(&mut self, described: &mut Vec<u8>) {
        for layout in std::mem::take(&mut self.forgotten) {
            put_number(described, u64::from(layout) << 1 | FORGET);
            if let Some(carried) = &mut self.carried {
                carried.forget(layout);
            }
            self.layouts[layout as usize] = Layout::new();
            // Nothing is left to be described again.
            let gone = std::mem::take(&mut self.known[layout as usize]);
            let labels = gone.columns.labels;
            self.text_bytes -= labels.text_bytes() + labels.len() * TEXT_EXTRA;
            self.free.push(layout);
            self.descriptions.forget(self.session);
        }
    }

    fn forget(&mut self, layout: usize) {
        if self.by_target.remove(&self.known[layout].target).is_some() {
            self.forgotten.push(layout as u32);
        }
    }

    fn layout_of(&mut self, scrape: &LineScrape<'_>) -> usize {
        let target = (scrape.target, scrape.part);
        if let Some(layout) = self.by_target.get(&target) {
            return *layout as usize;
        }
        let old = scrape.at.saturating_sub(FORGET_AFTER_MS);
        let gone = |(layout, known): (usize, &Described)| {
            let is_there = self.by_target.get(&known.target) == Some(&(layout as u32));
            (is_there && known.columns.last_at < old).then_some(layout)
        };
        let gone: Vec<usize> = self.known.iter().enumerate().filter_map(gone).collect();
        for layout in gone {
            self.forget(layout);
        }
        self.retired.retain(|_, columns| columns.last_at >= old);
        let layout = match self.free.pop() {
            Some(layout) => layout as usize,
            None => {
                self.layouts.push(Layout::new());
                self.known.push(Described::default());
                self.layouts.len() - 1
            }
        };
        self.known[layout].target = target;
        self.by_target.insert(target, layout as u32);
        layout
    }
}

/// Labels of a target's series that came without them, once they were asked for.
#[derive(Default)]
struct Remembered(Option<HashMap<SeriesId, LabelSet>>);

impl Remembered {
    fn labels(
        &mut self,
        encoder: &LineEncoder,
        target: u64,
        series: &Series,
    ) -> Result<LabelSet, LabelsWanted> {
        if let Some(labels) = &series.labels {
            return Ok(labels.clone());
        }
        let all = self.0.get_or_insert_with(|| encoder.labels_of(target));
        all.get(&series.id).cloned().ok_or(LabelsWanted)
    }
}

impl Columns {
    /// The column of a series, at a place or a little further.
    fn near(&self, expected: usize, id: SeriesId) -> Option<usize> {
        const AHEAD: usize = 64;
        let ahead = self.ids.get(expected..)?;
        let found = ahead.iter().take(AHEAD).position(|known| *known == id)?;
        Some(expected + found)
    }

    fn shrink_to_fit(&mut self) {
        self.ids.shrink_to_fit();
        self.labels.shrink_to_fit();
    }
}

impl Descriptions {
    fn begin(&mut self, session: u32) {
        self.at_start = self.count;
        if self.sessions.len() >= SESSIONS_MAX {
            self.sessions.pop_front();
        }
        self.sessions.push_back((session, self.log_from));
    }

    fn add(&mut self, layout: usize, first: usize, count: usize) {
        self.count += count as u64;
        self.log.push_back(Entry {
            layout: layout as u32,
            first: first as u32,
            count: count as u32,
        });
        if self.log.len() > LOG_MAX
            && let Some(entry) = self.log.pop_front()
        {
            self.log_from += u64::from(entry.count);
            for (_, since) in &mut self.sessions {
                *since = self.log_from.max(*since);
            }
        }
    }

    /// A layout is forgotten in `session`: what sessions before it know cannot be built on.
    fn forget(&mut self, session: u32) {
        self.count += 1;
        self.log.clear();
        self.log_from = self.count;
        self.sessions = VecDeque::from([(session, self.count)]);
    }
}

/// What a description of a series takes before it is packed, about.
fn text_bytes(labels: &LabelSet) -> usize {
    labels.as_bytes().len() + TEXT_EXTRA
}

/// A series in a description.
fn put_labels(bytes: &mut Vec<u8>, text: &mut Vec<u8>, labels: &LabelSet, timed: bool) {
    put_label_bytes(labels, text);
    put_number(bytes, (text.len() as u64) << 1 | u64::from(timed));
    bytes.extend_from_slice(text);
}
