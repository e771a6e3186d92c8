//! The samples of some frames on their way to the store: columns, as remote write makes them.

use std::collections::{HashMap, HashSet};

use model::{LabelSet, Timestamp};
use tsdb::{ColumnBatch, Columns, Commit, RefusedReason, SeriesKey, SeriesKeys, Urgency};
use wire::edge_headers::REASON_SERIES_LIMIT;
use wire::line::LineSink;
use wire::remote_write::SeriesView;

use super::receiver::FrameRead;
use crate::ingest::{Identity, Ingest, proven_labels};

/// Bytes of labels that a session keeps of series that the store does not have: those beyond the limit of series, mostly. Of
/// more the samples are refused until the session describes them again.
const UNSTORED_BYTES_MAX: usize = 4 << 20;
/// Samples after which a batch is stored: enough that an append costs little beside them.
const SAMPLES_MAX: usize = 50_000;
/// Bytes of messages after which it is.
const REST_BYTES_MAX: usize = 4 << 20;
/// Why samples are refused, in a word: see `Refused` in `wire::line::link`.
const FUTURE: &str = "future";
const LABELS: &str = "labels";
const OTHER: &str = "invalid";
/// Refusals that a text lists.
const SHOWN_MAX: usize = 3;
/// Characters of each.
const SHOWN_CHARS_MAX: usize = 300;

/// Labels of series that a session has described and the store does not have yet, as they stand in remote write. Those that
/// it has cost nothing here: their key finds them.
#[derive(Clone, Debug, Default)]
pub(super) struct Unstored {
    labels: HashMap<SeriesKey, Box<[u8]>>,
    bytes: usize,
    /// Whether labels were let go: then an unknown key is no surprise.
    overflowed: bool,
}

impl Unstored {
    fn insert(&mut self, key: SeriesKey, labels: &[u8]) {
        if self.labels.insert(key, labels.into()).is_none() {
            self.bytes += labels.len();
        }
    }

    fn remove(&mut self, key: SeriesKey) {
        if let Some(labels) = self.labels.remove(&key) {
            self.bytes -= labels.len();
        }
        if self.labels.is_empty() {
            // A session's first frame describes all: that room is not needed again.
            self.labels.shrink_to_fit();
        }
    }

    fn trim(&mut self) {
        if self.bytes > UNSTORED_BYTES_MAX {
            *self = Unstored {
                overflowed: true,
                ..Unstored::default()
            };
        }
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes + self.labels.capacity() * 40
    }
}

/// What frames brought. After a frame that could not be read to its end it is worth nothing.
#[derive(Debug, Default)]
pub(super) struct Batch {
    urgency: Urgency,
    columns: Columns,
    /// The key of each sample in the columns, from the first on whose frame met series that the store may not have.
    keys: Vec<SeriesKey>,
    /// Samples in the columns that come before those in `keys`.
    keys_from: u32,
    /// Samples in the columns.
    pushed: u32,
    /// Which of them are staleness markers, rising.
    stale: Vec<u32>,
    /// Samples too far ahead, which are in no column.
    ahead: u64,
    newest: Option<i64>,
    /// Messages of remote write with what is in no column, and of which frame.
    rest: Vec<(usize, Vec<u8>)>,
    frames: Vec<FrameOf>,
}

/// One frame of a batch.
#[derive(Debug)]
struct FrameOf {
    read: FrameRead,
    held: bool,
    /// One behind its last sample in the columns.
    end: u32,
    ahead: u64,
}

/// What the store took of a batch.
#[derive(Debug)]
pub(super) struct BatchStored {
    /// All are to complete before anything is acknowledged.
    pub(super) commits: Vec<Commit>,
    pub(super) newest: Option<Timestamp>,
    pub(super) frames: Vec<FrameStored>,
}

/// What the store took of a frame.
#[derive(Debug)]
pub(super) struct FrameStored {
    pub(super) read: FrameRead,
    /// Samples, staleness markers apart.
    pub(super) samples: u64,
    pub(super) refused: Option<BatchRefused>,
    /// A series was forgotten by the store meanwhile, and its labels are not here: the session is to be described again.
    pub(super) forgotten: bool,
}

/// What it did not take, for good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct BatchRefused {
    pub(super) samples: u64,
    pub(super) reason: &'static str,
    pub(super) text: String,
}

/// Fills a batch.
pub(super) struct Sink<'a> {
    pub(super) keys: &'a SeriesKeys,
    /// Samples up to then are taken, ms.
    pub(super) latest: i64,
    pub(super) batch: &'a mut Batch,
    pub(super) unstored: &'a mut Unstored,
}

impl LineSink for Sink<'_> {
    /// Hashed once, when it is described; the store knows its series by it, and says so when it does not any more.
    type Key = SeriesKey;

    fn series(&mut self, labels: &[u8]) -> SeriesKey {
        let key = self.keys.key(labels);
        self.unstored.insert(key, labels);
        key
    }

    fn sample(&mut self, key: &SeriesKey, at: i64, value: f64) {
        if at > self.latest {
            self.batch.ahead += 1;
            return;
        }
        let batch = &mut *self.batch;
        batch.columns.push_floats(*key, [(at, value)]);
        batch.newest = batch.newest.max(Some(at));
        if !batch.keys.is_empty() || !self.unstored.labels.is_empty() {
            if batch.keys.is_empty() {
                batch.keys_from = batch.pushed;
            }
            batch.keys.push(*key);
        }
        if model::is_stale(value) {
            batch.stale.push(batch.pushed);
        }
        batch.pushed += 1;
    }

    fn rest(&mut self, message: Vec<u8>) {
        let frame = self.batch.frames.len();
        self.batch.rest.push((frame, message));
    }
}

impl Batch {
    /// An empty one, for frames that have so much time.
    pub(super) fn of(urgency: Urgency) -> Self {
        Batch {
            urgency,
            ..Batch::default()
        }
    }

    /// What is in it; it is empty then.
    pub(super) fn take(&mut self) -> Self {
        let empty = Batch::of(self.urgency);
        std::mem::replace(self, empty)
    }

    /// A frame was read to its end.
    /// `held`: its record is on disk already. It changes nothing and counts nothing, but is read for what comes after it.
    pub(super) fn end_frame(&mut self, read: FrameRead, held: bool) {
        let ahead = std::mem::take(&mut self.ahead);
        self.frames.push(FrameOf {
            read,
            held,
            end: self.pushed,
            ahead,
        });
    }

    /// Whether no frame was read.
    pub(super) fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// Whether it is time to store it.
    pub(super) fn is_full(&self) -> bool {
        let rest: usize = self.rest.iter().map(|(_, message)| message.len()).sum();
        self.pushed as usize >= SAMPLES_MAX || rest >= REST_BYTES_MAX
    }

    pub(super) fn frames(&self) -> impl Iterator<Item = &FrameRead> {
        self.frames.iter().map(|frame| &frame.read)
    }

    /// Stores it, but for what the store refuses for good.
    ///
    /// # Errors
    /// Nothing, or only a part of it, was stored: its frames are to come again later. Storing them twice changes nothing.
    pub(super) fn store(
        &mut self,
        ingest: &Ingest,
        identity: &Identity,
        unstored: &mut Unstored,
    ) -> Result<BatchStored, String> {
        let mut refusals: Vec<Refusals> = self.frames.iter().map(Refusals::of).collect();
        let mut samples = self.samples_by_frame();
        let mut forgotten = vec![false; self.frames.len()];
        let mut commits = Vec::new();
        let mut newest = self.newest.map(Timestamp::from_millis);
        if self.pushed > 0 {
            let key_of = |index: usize| self.keys.get(index.checked_sub(self.keys_from as usize)?);
            let labels = |index: usize| {
                let labels = key_of(index).and_then(|key| unstored.labels.get(key));
                labels_of(labels.map(|labels| &**labels), identity)
            };
            let batch = ColumnBatch {
                scope: identity.scope(),
                labels: &labels,
                metadata: &[],
                urgency: self.urgency,
            };
            let appended = ingest.store().append_columns(&mut self.columns, batch);
            let appended = appended.map_err(|error| error.to_string())?;
            ingest.note_seal_due(appended.seal_due);
            commits.push(appended.commit);
            let mut kept: HashSet<SeriesKey> = HashSet::new();
            for refused in appended.refused {
                // A series in the columns is one sample.
                let at = refused.index as u32;
                let frame = self.frames.partition_point(|frame| frame.end <= at);
                let Some(of_frame) = refusals.get_mut(frame) else {
                    continue;
                };
                let counted = u64::from(self.stale.binary_search(&at).is_err());
                samples[frame] = samples[frame].saturating_sub(counted);
                let key = key_of(refused.index).copied();
                let labels = key.and_then(|key| unstored.labels.get(&key));
                let labels = labels.map(|labels| &**labels);
                forgotten[frame] |= !unstored.overflowed && is_no_labels(&refused.reason);
                kept.extend(key);
                let word = word_of(&refused.reason, unstored.overflowed);
                of_frame.add(counted, word, || {
                    format!("series {}: {}", series_name(labels), refused.reason)
                });
            }
            for key in self.keys.iter().filter(|key| !kept.contains(*key)) {
                unstored.remove(*key);
            }
        }
        unstored.trim();
        for (frame, message) in &self.rest {
            let taken = ingest
                .store_message(identity, message)
                .map_err(|refused| refused.text)?;
            commits.push(taken.commit);
            newest = newest.max(taken.newest);
            samples[*frame] += taken.samples;
            if taken.refusals.samples() > 0 {
                let word = if taken.refusals.series_limit {
                    REASON_SERIES_LIMIT
                } else {
                    OTHER
                };
                refusals[*frame].add(taken.refusals.samples(), word, || {
                    taken.refusals.text(taken.samples)
                });
            }
        }
        let frames = self.frames.iter().zip(refusals).zip(samples).zip(forgotten);
        let frames = frames.map(|(((frame, refusals), samples), forgotten)| FrameStored {
            read: frame.read,
            samples: if frame.held { 0 } else { samples },
            refused: refusals.finish().filter(|_| !frame.held),
            forgotten,
        });
        Ok(BatchStored {
            commits,
            newest,
            frames: frames.collect(),
        })
    }

    /// Samples of each frame in the columns, staleness markers apart.
    fn samples_by_frame(&self) -> Vec<u64> {
        let mut from = 0;
        let count = |frame: &FrameOf| {
            let first = self.stale.partition_point(|at| *at < from);
            let last = self.stale.partition_point(|at| *at < frame.end);
            let samples = u64::from(frame.end - from) - (last - first) as u64;
            from = frame.end;
            samples
        };
        self.frames.iter().map(count).collect()
    }
}

/// What the store is told of a series whose labels are not at hand.
const NO_LABELS: &str = "its labels were not kept";

fn is_no_labels(reason: &RefusedReason) -> bool {
    matches!(reason, RefusedReason::Labels(text) if text == NO_LABELS)
}

fn word_of(reason: &RefusedReason, overflowed: bool) -> &'static str {
    match reason {
        RefusedReason::SeriesLimit { .. } => REASON_SERIES_LIMIT,
        // So many were refused before that not all labels could be kept.
        reason if overflowed && is_no_labels(reason) => REASON_SERIES_LIMIT,
        RefusedReason::OutOfRange { .. } => "out-of-range",
        RefusedReason::Labels(_)
        | RefusedReason::TooManyLabels { .. }
        | RefusedReason::LabelTooLong { .. } => LABELS,
        RefusedReason::Histogram(_) => OTHER,
    }
}

fn labels_of(labels: Option<&[u8]>, identity: &Identity) -> Result<LabelSet, String> {
    let labels = labels.ok_or_else(|| NO_LABELS.to_owned())?;
    let view = SeriesView::again(labels, 0, labels.len()).map_err(|error| error.to_string())?;
    let labels = view.labels().map_err(|error| error.to_string())?;
    Ok(proven_labels(labels, identity))
}

fn series_name(labels: Option<&[u8]>) -> String {
    let labels = labels.and_then(|labels| labels_of(Some(labels), &Identity::Unchecked).ok());
    labels.map_or_else(
        || "(labels not kept)".to_owned(),
        |labels| labels.to_string(),
    )
}

#[derive(Default)]
struct Refusals {
    samples: u64,
    reason: Option<&'static str>,
    shown: Vec<String>,
    more: usize,
}

impl Refusals {
    fn of(frame: &FrameOf) -> Self {
        let mut refusals = Refusals::default();
        if frame.ahead > 0 {
            let text = "samples more than 10 minutes in the future: set the edge's clock";
            refusals.add(frame.ahead, FUTURE, || text.to_owned());
        }
        refusals
    }

    fn add(&mut self, samples: u64, reason: &'static str, text: impl FnOnce() -> String) {
        self.samples += samples;
        // What a person can mend by raising a limit is the word to know.
        if self.reason.is_none() || reason == REASON_SERIES_LIMIT {
            self.reason = Some(reason);
        }
        match self.shown.len() < SHOWN_MAX {
            true => self
                .shown
                .push(text().chars().take(SHOWN_CHARS_MAX).collect()),
            false => self.more += 1,
        }
    }

    fn finish(self) -> Option<BatchRefused> {
        let mut text = self.shown.join("; ");
        if self.more > 0 {
            text.push_str(&format!("; and {} more", self.more));
        }
        Some(BatchRefused {
            samples: self.samples,
            reason: self.reason?,
            text,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use daemon::SimClock;
    use journal::sim::SimDisk;
    use model::Sample;
    use tsdb::Store;
    use wire::edge_headers::Lane;
    use wire::line::{LineEncoder, LineLimits, LineScrape};

    use super::super::receiver::{Read, Reading, Receiver};
    use super::*;
    use crate::federation::Branches;
    use crate::ingest::Credentials;

    fn ingest() -> Ingest {
        let disk = Arc::new(SimDisk::new(1));
        let store = Store::open(disk, "/store".as_ref(), Default::default()).unwrap();
        let clock = Arc::new(SimClock::new(Timestamp::from_millis(1_000_000)));
        let (branches, id) = (Branches::new(clock.clone()), "h".to_owned());
        let stopping = Default::default();
        Ingest::new(
            Arc::new(store),
            branches,
            Credentials::default(),
            clock,
            id,
            stopping,
        )
    }

    fn scrape(encoder: &mut LineEncoder, seq: u64, series: u64) -> Vec<u8> {
        let one = |n: u64| {
            let labels = LabelSet::from_pairs([("__name__", "m"), ("n", &n.to_string())]);
            let value = if n == 0 { model::stale_nan() } else { n as f64 };
            (
                labels.unwrap().into(),
                Sample::float(Timestamp::from_millis(1_000 * seq as i64), value),
            )
        };
        let series: Vec<_> = (0..series).map(one).collect();
        encoder
            .encode(&LineScrape {
                target: 1,
                part: 0,
                seq,
                at: 1_000 * seq as i64,
                series: &series,
                beside: &[],
            })
            .unwrap()
    }

    /// A series that was deleted by hand is found by nobody's key any more.
    #[test]
    fn a_store_that_forgot_a_series_asks_for_its_labels() {
        let (before, after) = (ingest(), ingest());
        let identity = Identity::Branch("b01".into());
        let mut encoder = LineEncoder::new(7, "e", 1);
        let frames: Vec<Vec<u8>> = (1..=4).map(|seq| scrape(&mut encoder, seq, 5)).collect();
        let (keys, limits) = (before.store().series_keys("b01"), LineLimits::default());
        let with = Reading {
            keys: &keys,
            latest: i64::MAX,
            limits: &limits,
        };
        let mut receiver = Receiver::default();
        let mut put = |ingest: &Ingest, frames: &[Vec<u8>]| {
            let mut batch = Batch::default();
            for frame in frames {
                match receiver.read(Lane::Live, frame, &with, &mut batch).unwrap() {
                    Read::Frame(read) => batch.end_frame(read, false),
                    Read::Unknown(unknown) => panic!("{unknown:?}"),
                }
            }
            let stored = batch.store(ingest, &identity, receiver.unstored()).unwrap();
            (stored, receiver.unstored().labels.len())
        };
        // Staleness markers are stored, and not counted.
        let (stored, unstored) = put(&before, &frames[..2]);
        assert!(
            stored
                .frames
                .iter()
                .all(|f| f.samples == 4 && f.refused.is_none() && !f.forgotten)
        );
        assert_eq!(unstored, 0, "labels of known series are let go");
        let (stored, _) = put(&before, &frames[2..3]);
        assert!(!stored.frames[0].forgotten);
        let (stored, _) = put(&after, &frames[3..]);
        assert!(stored.frames[0].forgotten);
        assert_eq!(stored.frames[0].samples, 0);
    }

    #[test]
    fn labels_of_what_is_refused_are_bounded() {
        let mut unstored = Unstored::default();
        let ingest = ingest();
        let keys = ingest.store().series_keys("");
        for n in 0..UNSTORED_BYTES_MAX / 1_000 + 2 {
            let labels = vec![n as u8; 1_000 + n % 2];
            unstored.insert(keys.key(&n.to_le_bytes()), &labels);
        }
        assert!(unstored.bytes > UNSTORED_BYTES_MAX);
        unstored.trim();
        assert_eq!((unstored.bytes(), unstored.overflowed), (0, true));
        let no_labels = RefusedReason::Labels(NO_LABELS.to_owned());
        assert_eq!(word_of(&no_labels, true), REASON_SERIES_LIMIT);
    }
}
