//! Which samples of a segment stay, and the segment coded anew with them. No I/O.
//!
//! What goes is taken out of the records; the records themselves stay, as the numbers of records and frames rise by one without a gap. A record
//! of which nothing is left is a few dozen bytes.

use std::collections::HashMap;

use model::{LabelSet, METRIC_NAME, Sample, Series, Timestamp};
use wire::line::{Frame, LineDecoder, LineEncoder, LineLimits, LineScrape, LineSink};
use wire::remote_write::convert::{
    append_exemplar, append_float, append_metadata, metadata_from_proto,
};
use wire::remote_write::{Part, SeriesView, Walk};

use super::eviction::{EvictionPolicy, Mark, Stage};
use super::record::{self, Counts, Header, SAMPLE_BYTES, frame};
use crate::planted::{self, Planted};
use crate::scrape::Class;

/// Targets and series whose turn is remembered from segment to segment. With more it is counted anew: a few samples more stay.
const TURNS_MAX: usize = 500_000;
/// Layouts of their own for scrapes that were thinned, so that they do not spoil the ones of whole scrapes.
const THINNED_PART: u32 = 1 << 30;
const EMPTY_PART: u32 = u32::MAX;

/// Whose turn it is to stay. Goes on from segment to segment.
#[derive(Debug, Default)]
pub(super) struct Turns {
    targets: HashMap<u64, Turn>,
    /// The number of the last scrape that a series stayed in, by the series' fingerprint.
    series: HashMap<u64, u64>,
}

#[derive(Clone, Copy, Debug)]
struct Turn {
    at: Timestamp,
    number: u64,
    /// The record is so many behind the first one of its scrape.
    part: u32,
}

impl Turns {
    /// The number of a scrape among its target's, and of its record among the scrape's.
    fn of(&mut self, target: u64, at: Timestamp) -> Turn {
        if self.targets.len() + self.series.len() > TURNS_MAX {
            *self = Turns::default();
        }
        let turn = self.targets.entry(target);
        let turn = turn
            .and_modify(|turn| match turn.at == at {
                true => turn.part += 1,
                false => {
                    *turn = Turn {
                        at,
                        number: turn.number + 1,
                        part: 0,
                    };
                }
            })
            .or_insert(Turn {
                at,
                number: 0,
                part: 0,
            });
        *turn
    }
}

/// Why a segment cannot be rewritten: it goes whole when its turn comes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unfit {
    #[error("record {0} cannot be read: {1}")]
    Unreadable(u64, String),
    #[error("record {0} holds other samples than it says")]
    Miscounted(u64),
}

/// A record of a segment, as it was and as it is to be.
pub(super) struct Thinned {
    pub(super) record: Vec<u8>,
    pub(super) at: Timestamp,
    pub(super) before: Counts,
    pub(super) after: Counts,
}

/// Codes the records of a segment anew, one after the other.
pub(super) struct Thinner<'p> {
    policy: &'p EvictionPolicy,
    mark: Mark,
    turns: &'p mut Turns,
    decoder: LineDecoder<Known>,
    encoder: LineEncoder,
    /// What was scraped before the segment and is left of it so far.
    cumulative: Option<Counts>,
}

/// A series of the segment.
#[derive(Clone)]
struct Known {
    series: Series,
    is_kept: bool,
    fingerprint: u64,
}

impl<'p> Thinner<'p> {
    /// Before the first record of a segment. `session`: which no other session of the buffer is called.
    pub(super) fn new(
        policy: &'p EvictionPolicy,
        mark: Mark,
        turns: &'p mut Turns,
        session: u32,
        edge: &str,
        epoch: u64,
    ) -> Thinner<'p> {
        Thinner {
            policy,
            mark,
            turns,
            decoder: LineDecoder::new(),
            encoder: LineEncoder::new(session, edge, epoch),
            cumulative: None,
        }
    }

    /// The next record.
    ///
    /// # Errors
    /// The segment has to stay as it is.
    pub(super) fn record(&mut self, seq: u64, bytes: &[u8]) -> Result<Thinned, Unfit> {
        let unreadable = |why: String| Unfit::Unreadable(seq, why);
        let header = record::decode_header(bytes).map_err(|fault| unreadable(fault.to_string()))?;
        let mut decoded = Decoded {
            policy: self.policy,
            series: Vec::new(),
            rest: Vec::new(),
            is_odd: false,
        };
        let limits = LineLimits::default();
        Frame::read(frame(bytes), &limits)
            .and_then(|frame| self.decoder.decode(&frame, &limits, &mut decoded))
            .map_err(|fault| unreadable(fault.to_string()))?;
        if decoded.is_odd {
            return Err(unreadable("labels that are none".into()));
        }
        let turn = self.turns.of(header.target, header.at);
        let left = self
            .left(&header, turn.number, decoded)
            .map_err(unreadable)?;
        if left.before != header.counts {
            return Err(Unfit::Miscounted(seq));
        }
        let before = header.cumulative.saturating_sub(header.counts);
        let cumulative = *self.cumulative.get_or_insert(before) + left.after;
        self.cumulative = Some(cumulative);
        let part = match left.after == left.before {
            true => turn.part,
            false if left.series.is_empty() => EMPTY_PART,
            false => THINNED_PART | turn.part,
        };
        let frame = self.encoder.encode(&LineScrape {
            target: header.target,
            part,
            seq,
            at: header.at.millis(),
            series: &left.series,
            beside: &left.beside,
        });
        let frame = frame.map_err(|wanted| unreadable(wanted.to_string()))?;
        let text = left
            .series
            .iter()
            .map(|(series, _)| usize::from(series.text_bytes) + SAMPLE_BYTES);
        let message_bytes = text.sum::<usize>() + left.beside.len();
        let new = Header {
            mark: self.mark,
            counts: left.after,
            cumulative,
            message_bytes: message_bytes.min(u32::MAX as usize) as u32,
            ..header
        };
        Ok(Thinned {
            record: record::encode(&new, &frame),
            at: header.at,
            before: left.before,
            after: left.after,
        })
    }

    /// What is left of a scrape.
    fn left(&mut self, header: &Header, number: u64, decoded: Decoded<'_>) -> Result<Left, String> {
        let every = u64::from(self.policy.thin_to_every.unwrap_or(1).max(1));
        let thins = self.mark.stage == Stage::Thinned;
        let is_whole = header.class == Class::Critical || thins && number.is_multiple_of(every);
        let last_turns = &mut self.turns.series;
        let mut stays = |known: &Known, sample: &Sample| {
            let is_kept = known.is_kept && !planted::is(Planted::ThinsKeptSeries);
            // Without its marker a series would look alive.
            let is_marker = sample.value.is_stale() && !planted::is(Planted::ThinsMarkers);
            if is_kept || is_marker || !thins {
                return is_kept || is_marker || is_whole;
            }
            let last = last_turns.get(&known.fingerprint).copied();
            let is_due = |last: u64| last == number || last.abs_diff(number) >= every;
            let stays = is_whole || last.is_none_or(is_due);
            if stays && last != Some(number) {
                last_turns.insert(known.fingerprint, number);
            }
            stays
        };
        let mut left = Left::default();
        for (known, sample) in decoded.series {
            left.before.count(&sample);
            if stays(&known, &sample) {
                left.after.count(&sample);
                left.series.push((known.series, sample));
            }
        }
        for message in decoded.rest {
            let (mut walk, mut view) = (Walk::new(&message), SeriesView::new());
            while let Some(part) = walk.next_part(&mut view).map_err(|e| e.to_string())? {
                match part {
                    Part::Metadata(metadata) => {
                        let (family, metadata) = metadata_from_proto(&metadata);
                        append_metadata(&mut left.beside, &family, &metadata);
                    }
                    Part::Series => {
                        let labels = view.labels().map_err(|e| e.to_string())?;
                        let known = Known::new(labels.clone(), self.policy);
                        let (mut samples, mut refused) = (Vec::new(), Vec::new());
                        view.samples_into(&mut samples, &mut refused, String::new);
                        if let Some(refusal) = refused.first() {
                            return Err(refusal.to_string());
                        }
                        for sample in samples {
                            left.before.count(&sample);
                            if stays(&known, &sample) {
                                left.after.count(&sample);
                                left.series.push((known.series.clone(), sample));
                            }
                        }
                        for exemplar in view.checked_exemplars() {
                            let exemplar = exemplar.map_err(|e| e.to_string())?;
                            if known.is_kept || is_whole {
                                append_exemplar(&mut left.beside, &labels, &exemplar);
                            }
                        }
                    }
                }
            }
        }
        Ok(left)
    }
}

/// What is left of a record.
#[derive(Default)]
struct Left {
    series: Vec<(Series, Sample)>,
    beside: Vec<u8>,
    before: Counts,
    after: Counts,
}

impl Known {
    fn new(labels: LabelSet, policy: &EvictionPolicy) -> Known {
        Known {
            is_kept: policy.keeps(&labels),
            fingerprint: labels.fingerprint(),
            series: labels.into(),
        }
    }
}

/// What a frame holds.
struct Decoded<'p> {
    policy: &'p EvictionPolicy,
    series: Vec<(Known, Sample)>,
    rest: Vec<Vec<u8>>,
    /// A description could not be read.
    is_odd: bool,
}

impl LineSink for Decoded<'_> {
    type Key = Known;

    fn series(&mut self, labels: &[u8]) -> Known {
        let labels = read_labels(labels);
        self.is_odd |= labels.is_none();
        Known::new(labels.unwrap_or_else(LabelSet::empty), self.policy)
    }

    fn sample(&mut self, key: &Known, at: i64, value: f64) {
        let sample = Sample::float(Timestamp::from_millis(at), value);
        self.series.push((key.clone(), sample));
    }

    fn rest(&mut self, message: Vec<u8>) {
        self.rest.push(message);
    }
}

/// Label fields as they stand in remote write 1.0.
fn read_labels(fields: &[u8]) -> Option<LabelSet> {
    let (mut message, mut view) = (Vec::new(), SeriesView::new());
    append_float(&mut message, fields, Timestamp::from_millis(0), 0.0);
    let part = Walk::new(&message).next_part(&mut view).ok()?;
    let labels = view.labels().ok()?;
    (matches!(part, Some(Part::Series)) && labels.get(METRIC_NAME).is_some()).then_some(labels)
}
