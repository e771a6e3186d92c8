//! One record of the buffer: a scrape, or a part of a large one, as it stands in the journal.
//!
//! ```text
//!  0  u8   version, 2
//!  1  u8   class
//!  2  u8   0, or what the segment has been through when it was rewritten: 1 thinned, 2 only kept series and markers are left
//!  3  u8   0, or the number of that rewriting, to tell it from the one before
//!  4  u32  about how many bytes it is as a WriteRequest of remote write 1.0
//!  8  i64  time of the scrape, ms since 1970
//! 16  u64  target
//! 24  u64  epoch of the buffer
//! 32  u32  samples in this record
//! 36  u32  staleness markers in this record
//! 40  u64  samples in this and all records before it
//! 48  u64  staleness markers in this and all records before it
//! 56       a frame of a line session (`hub/wire/FORMAT.md`)
//! ```
//!
//! In a segment that was rewritten (`thinning`), 32 and 36 say what is left in the record, and 40 and 48 what was scraped before the segment and
//! is left of it up to this record: differences of neighbours are what the records between them still hold, so that damage is counted as
//! what it takes away. What was taken from the segment stands in the buffer's state; both together are what was scraped.
//!
//! Numbers are little-endian; the journal adds the checksum and the sequence. The first frame of a segment begins a session, so that
//! a segment needs nothing from the ones before it. Native histograms count as samples, exemplars do not.

use model::{Sample, Series, Timestamp};
use wire::line::Frame;
use wire::remote_write::convert::{append_exemplar, append_metadata};

use super::eviction::{Mark, Stage};
use crate::scrape::{Class, Scrape};

const VERSION: u8 = 2;
pub(super) const HEADER_BYTES: usize = 56;

/// A larger scrape is split over several records, so that a batch of one record is never too large for a receiver.
const MESSAGE_BYTES_MAX: usize = 4 << 20;
/// What a sample and the lengths around it take in a message, beside the text of its labels.
pub(super) const SAMPLE_BYTES: usize = 24;

/// Samples and, apart, staleness markers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Samples that are no staleness markers.
    pub samples: u64,
    /// Staleness markers.
    pub markers: u64,
}

impl std::ops::Add for Counts {
    type Output = Counts;
    fn add(self, other: Counts) -> Counts {
        Counts {
            samples: self.samples + other.samples,
            markers: self.markers + other.markers,
        }
    }
}

impl std::ops::AddAssign for Counts {
    fn add_assign(&mut self, other: Counts) {
        *self = *self + other;
    }
}

impl std::iter::Sum for Counts {
    fn sum<I: Iterator<Item = Counts>>(counts: I) -> Counts {
        counts.fold(Counts::default(), |sum, more| sum + more)
    }
}

impl Counts {
    pub(super) fn count(&mut self, sample: &Sample) {
        match sample.value.is_stale() {
            true => self.markers += 1,
            false => self.samples += 1,
        }
    }

    pub(super) fn at_most(self, other: Counts) -> Counts {
        Counts {
            samples: self.samples.min(other.samples),
            markers: self.markers.min(other.markers),
        }
    }

    pub(super) fn saturating_sub(self, other: Counts) -> Counts {
        Counts {
            samples: self.samples.saturating_sub(other.samples),
            markers: self.markers.saturating_sub(other.markers),
        }
    }
}

/// What stands before the frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) class: Class,
    pub(super) at: Timestamp,
    pub(super) target: u64,
    pub(super) epoch: u64,
    pub(super) counts: Counts,
    /// Of this and all records before it; less what was taken from its segment, if that was rewritten.
    pub(super) cumulative: Counts,
    pub(super) mark: Mark,
    /// About how long it is as a message of remote write.
    pub(super) message_bytes: u32,
}

/// Why a record's bytes are no record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum RecordFault {
    #[error("record of {0} bytes is shorter than its header")]
    Short(usize),
    #[error("record has version {0}, this release reads version {VERSION}")]
    Version(u8),
    #[error("record holds no frame of a session")]
    Frame,
}

/// What goes into one record.
#[derive(Debug)]
pub(super) struct Part<'s> {
    pub(super) series: &'s [(Series, Sample)],
    /// Metadata and exemplars, as a message.
    pub(super) beside: Vec<u8>,
    pub(super) counts: Counts,
    pub(super) message_bytes: u32,
}

/// The parts of a scrape: one, or several when it is large.
pub(super) fn parts(scrape: &Scrape) -> Vec<Part<'_>> {
    let mut besides = besides(scrape).into_iter();
    let mut beside = besides.next().unwrap_or_default();
    let mut parts = Vec::new();
    let mut rest = scrape.series.as_slice();
    while !rest.is_empty() || !beside.is_empty() {
        let (mut bytes, mut counts, mut taken) = (beside.len(), Counts::default(), 0);
        for (series, sample) in rest {
            if bytes >= MESSAGE_BYTES_MAX && taken > 0 {
                break;
            }
            bytes += usize::from(series.text_bytes) + SAMPLE_BYTES;
            counts.count(sample);
            taken += 1;
        }
        let (series, more) = rest.split_at(taken);
        rest = more;
        parts.push(Part {
            series,
            beside: std::mem::take(&mut beside),
            counts,
            message_bytes: bytes.min(u32::MAX as usize) as u32,
        });
    }
    parts.extend(besides.map(|beside| Part {
        series: &[],
        counts: Counts::default(),
        message_bytes: beside.len() as u32,
        beside,
    }));
    parts
}

/// What goes beside the samples, in messages that are not too long.
fn besides(scrape: &Scrape) -> Vec<Vec<u8>> {
    let mut messages = vec![Vec::new()];
    for (family, metadata) in &scrape.metadata {
        append_metadata(&mut messages[0], family, metadata);
    }
    for (labels, exemplar) in &scrape.exemplars {
        if messages
            .last()
            .is_some_and(|message| message.len() >= MESSAGE_BYTES_MAX)
        {
            messages.push(Vec::new());
        }
        if let Some(message) = messages.last_mut() {
            append_exemplar(message, labels, exemplar);
        }
    }
    messages
}

/// The record of a frame.
pub(super) fn encode(header: &Header, frame: &[u8]) -> Vec<u8> {
    let mut record = Vec::with_capacity(HEADER_BYTES + frame.len());
    let Mark { stage, number } = header.mark;
    record.extend_from_slice(&[VERSION, header.class.to_byte(), stage.to_byte(), number]);
    record.extend_from_slice(&header.message_bytes.to_le_bytes());
    record.extend_from_slice(&header.at.millis().to_le_bytes());
    record.extend_from_slice(&header.target.to_le_bytes());
    record.extend_from_slice(&header.epoch.to_le_bytes());
    record.extend_from_slice(&(header.counts.samples as u32).to_le_bytes());
    record.extend_from_slice(&(header.counts.markers as u32).to_le_bytes());
    record.extend_from_slice(&header.cumulative.samples.to_le_bytes());
    record.extend_from_slice(&header.cumulative.markers.to_le_bytes());
    record.extend_from_slice(frame);
    record
}

/// Reads what stands before the frame.
pub(super) fn decode_header(record: &[u8]) -> Result<Header, RecordFault> {
    let head = record
        .first_chunk::<HEADER_BYTES>()
        .ok_or(RecordFault::Short(record.len()))?;
    if head[0] != VERSION {
        return Err(RecordFault::Version(head[0]));
    }
    let u32_at = |at: usize| {
        u64::from(u32::from_le_bytes([
            head[at],
            head[at + 1],
            head[at + 2],
            head[at + 3],
        ]))
    };
    let u64_at = |at: usize| u32_at(at) | u32_at(at + 4) << 32;
    Ok(Header {
        class: Class::from_byte(head[1]),
        at: Timestamp::from_millis(u64_at(8) as i64),
        target: u64_at(16),
        epoch: u64_at(24),
        counts: Counts {
            samples: u32_at(32),
            markers: u32_at(36),
        },
        cumulative: Counts {
            samples: u64_at(40),
            markers: u64_at(48),
        },
        mark: Mark {
            stage: Stage::from_byte(head[2]),
            number: head[3],
        },
        message_bytes: u32_at(4) as u32,
    })
}

/// The frame of a record.
pub(super) fn frame(record: &[u8]) -> &[u8] {
    record.get(HEADER_BYTES..).unwrap_or_default()
}

/// Session and number of a record's frame.
pub(super) fn place_in_session(record: &[u8]) -> Result<(u32, u64), RecordFault> {
    Frame::place(frame(record)).ok_or(RecordFault::Frame)
}

#[cfg(test)]
mod tests {
    use model::{LabelSet, Metadata};

    use super::*;

    fn scrape(series: usize, value: &str) -> Scrape {
        let at = Timestamp::from_millis(1_700_000_000_000);
        let labels = |n: usize| {
            LabelSet::from_pairs([("__name__", "m"), ("n", &n.to_string()), ("text", value)])
                .unwrap()
        };
        let series = (0..series).map(|n| {
            let sample = if n % 3 == 0 {
                Sample::stale(at)
            } else {
                Sample::float(at, n as f64)
            };
            (labels(n).into(), sample)
        });
        Scrape {
            at,
            target: 7,
            class: Class::Critical,
            series: series.collect(),
            exemplars: Vec::new(),
            metadata: vec![("m".into(), Metadata::default())],
        }
    }

    #[test]
    fn both_directions() {
        let scrape = scrape(30, "x");
        let [part] = &parts(&scrape)[..] else {
            panic!("one record")
        };
        let expected = Counts {
            samples: 20,
            markers: 10,
        };
        assert_eq!((part.counts, part.series.len()), (expected, 30));
        let header = Header {
            class: Class::Critical,
            at: scrape.at,
            target: u64::MAX - 1,
            epoch: u64::MAX - 2,
            counts: part.counts,
            cumulative: Counts {
                samples: u64::MAX - 3,
                markers: 1 << 40,
            },
            mark: Mark {
                stage: Stage::KeptOnly,
                number: 201,
            },
            message_bytes: part.message_bytes,
        };
        let record = encode(&header, b"frame");
        assert_eq!(decode_header(&record), Ok(header));
        assert_eq!(frame(&record), b"frame");
        assert_eq!(place_in_session(&record), Err(RecordFault::Frame));
    }

    #[test]
    fn a_large_scrape_is_split_and_nothing_is_left_out() {
        let scrape = scrape(20_000, &"long ".repeat(250));
        let parts = parts(&scrape);
        assert!(parts.len() > 2);
        let sum = parts.iter().map(|part| part.counts).sum::<Counts>();
        assert_eq!((sum.samples, sum.markers), scrape.counts());
        let series: usize = parts.iter().map(|part| part.series.len()).sum();
        assert_eq!(series, 20_000);
        assert!(parts[1..].iter().all(|part| part.beside.is_empty()));
    }

    #[test]
    fn exemplars_go_beside_the_samples() {
        let mut scrape = scrape(3, "x");
        let exemplar = model::Exemplar {
            labels: LabelSet::from_pairs([("trace_id", "x".repeat(100))]).unwrap(),
            value: 1.0,
            at: scrape.at,
        };
        let labels = scrape.series[0].0.labels.clone().unwrap();
        scrape.exemplars = vec![(labels.clone(), exemplar.clone())];
        assert_eq!(parts(&scrape).len(), 1);
        scrape.exemplars = vec![(labels, exemplar); 60_000];
        let many = parts(&scrape);
        let bytes: usize = many.iter().map(|part| part.beside.len()).sum();
        assert!(
            many.len() > 1 && bytes > 60_000 * 100,
            "{} parts, {bytes} bytes",
            many.len()
        );
        assert!(
            many.iter()
                .all(|part| part.beside.len() < MESSAGE_BYTES_MAX + 1000)
        );
        assert_eq!(many.iter().map(|part| part.series.len()).sum::<usize>(), 3);
    }

    #[test]
    fn damage_is_said() {
        assert_eq!(decode_header(&[1; 55]), Err(RecordFault::Short(55)));
        assert_eq!(decode_header(&[9; 56]), Err(RecordFault::Version(9)));
    }
}
