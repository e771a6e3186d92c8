//! One record of the buffer: a scrape, or a part of a large one, as it stands in the journal.
//!
//! ```text
//!  0  u8   version, 1
//!  1  u8   class
//!  2  u8   coding of the payload: 0 as it is, 1 zstd
//!  3  u8   0
//!  4  u32  length of the payload before coding
//!  8  i64  time of the scrape, ms since 1970
//! 16  u64  target
//! 24  u64  epoch of the buffer
//! 32  u32  samples in this record
//! 36  u32  staleness markers in this record
//! 40  u64  samples in this and all records before it
//! 48  u64  staleness markers in this and all records before it
//! 56       payload: a WriteRequest of remote write 1.0
//! ```
//!
//! Numbers are little-endian; the journal adds the checksum and the sequence. Payloads stand alone and can be joined:
//! protobuf messages written one after the other are one message. Native histograms count as samples,
//! exemplars do not.

use model::Timestamp;
use wire::remote_write::convert::{append_exemplar, append_metadata, append_series};

use crate::scrape::{Class, Scrape};

const VERSION: u8 = 1;
const HEADER_BYTES: usize = 56;
const PLAIN: u8 = 0;
const ZSTD: u8 = 1;

/// zstd's fastest ordinary level: a page of one target shrinks to about a tenth, and a branch host has little CPU.
const ZSTD_LEVEL: i32 = 1;

/// A larger scrape is split over several records, so that a batch of one record is never too large for a receiver.
pub(super) const PAYLOAD_BYTES_MAX: usize = 4 << 20;

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
    pub(super) fn saturating_sub(self, other: Counts) -> Counts {
        Counts {
            samples: self.samples.saturating_sub(other.samples),
            markers: self.markers.saturating_sub(other.markers),
        }
    }
}

/// What stands before the payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) class: Class,
    pub(super) at: Timestamp,
    pub(super) target: u64,
    pub(super) epoch: u64,
    pub(super) counts: Counts,
    /// Of this and all records before it.
    pub(super) cumulative: Counts,
    /// Length of the payload once decoded.
    pub(super) payload_bytes: u32,
}

/// Why a record's bytes are no record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum RecordFault {
    #[error("record of {0} bytes is shorter than its header")]
    Short(usize),
    #[error("record has version {0}, this release reads version {VERSION}")]
    Version(u8),
    #[error("payload cannot be decoded")]
    Payload,
}

/// Encodes the payloads of a scrape: one, or several when it is large; with the counts of each.
pub(super) fn payloads(scrape: &Scrape) -> Vec<(Vec<u8>, Counts)> {
    let mut parts = Vec::new();
    let mut message = Vec::new();
    let mut counts = Counts::default();
    for (family, metadata) in &scrape.metadata {
        append_metadata(&mut message, family, metadata);
    }
    for (labels, sample) in &scrape.series {
        if message.len() >= PAYLOAD_BYTES_MAX {
            parts.push((std::mem::take(&mut message), std::mem::take(&mut counts)));
        }
        append_series(&mut message, labels, std::slice::from_ref(sample));
        match sample.value.is_stale() {
            true => counts.markers += 1,
            false => counts.samples += 1,
        }
    }
    for (labels, exemplar) in &scrape.exemplars {
        if message.len() >= PAYLOAD_BYTES_MAX {
            parts.push((std::mem::take(&mut message), std::mem::take(&mut counts)));
        }
        append_exemplar(&mut message, labels, exemplar);
    }
    if !message.is_empty() {
        parts.push((message, counts));
    }
    parts
}

/// The record of a payload; `header.payload_bytes` is filled in.
pub(super) fn encode(header: &Header, payload: &[u8]) -> Vec<u8> {
    let coded = zstd::bulk::compress(payload, ZSTD_LEVEL)
        .ok()
        .filter(|coded| coded.len() < payload.len());
    let (coding, body) = match &coded {
        Some(coded) => (ZSTD, coded.as_slice()),
        None => (PLAIN, payload),
    };
    let mut record = Vec::with_capacity(HEADER_BYTES + body.len());
    record.extend_from_slice(&[VERSION, header.class.to_byte(), coding, 0]);
    record.extend_from_slice(&(payload.len() as u32).to_le_bytes());
    record.extend_from_slice(&header.at.millis().to_le_bytes());
    record.extend_from_slice(&header.target.to_le_bytes());
    record.extend_from_slice(&header.epoch.to_le_bytes());
    record.extend_from_slice(&(header.counts.samples as u32).to_le_bytes());
    record.extend_from_slice(&(header.counts.markers as u32).to_le_bytes());
    record.extend_from_slice(&header.cumulative.samples.to_le_bytes());
    record.extend_from_slice(&header.cumulative.markers.to_le_bytes());
    record.extend_from_slice(body);
    record
}

/// Reads what stands before the payload.
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
        payload_bytes: u32_at(4) as u32,
    })
}

/// Appends the decoded payload of a record to a message.
pub(super) fn append_payload(record: &[u8], message: &mut Vec<u8>) -> Result<(), RecordFault> {
    let header = decode_header(record)?;
    let body = &record[HEADER_BYTES..];
    let length = header.payload_bytes as usize;
    match record[2] {
        PLAIN if body.len() == length => message.extend_from_slice(body),
        // The length is ours, and twice the most that is ever written is still no harm.
        ZSTD if length <= 2 * PAYLOAD_BYTES_MAX + (64 << 20) => {
            let decoded = zstd::bulk::decompress(body, length).map_err(|_| RecordFault::Payload)?;
            if decoded.len() != length {
                return Err(RecordFault::Payload);
            }
            message.extend_from_slice(&decoded);
        }
        _ => return Err(RecordFault::Payload),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::{LabelSet, Metadata, Sample};
    use wire::remote_write::{Limits, compress, decode};

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
            (labels(n), sample)
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
        let [(payload, counts)] = &payloads(&scrape)[..] else {
            panic!("one record")
        };
        assert_eq!(
            *counts,
            Counts {
                samples: 20,
                markers: 10
            }
        );
        let header = Header {
            class: Class::Critical,
            at: scrape.at,
            target: u64::MAX - 1,
            epoch: u64::MAX - 2,
            counts: *counts,
            cumulative: Counts {
                samples: u64::MAX - 3,
                markers: 1 << 40,
            },
            payload_bytes: payload.len() as u32,
        };
        for payload in [payload.as_slice(), b"", b"x"] {
            let header = Header {
                payload_bytes: payload.len() as u32,
                ..header
            };
            let record = encode(&header, payload);
            assert_eq!(decode_header(&record), Ok(header));
            let mut message = b"before".to_vec();
            append_payload(&record, &mut message).unwrap();
            assert_eq!(message, [b"before", payload].concat());
        }
        assert!(encode(&header, payload).len() < payload.len() / 3);
    }

    #[test]
    fn a_large_scrape_is_split_and_nothing_is_lost() {
        let scrape = scrape(20_000, &"long ".repeat(250));
        let parts = payloads(&scrape);
        assert!(parts.len() > 2);
        assert_eq!(
            parts
                .iter()
                .map(|(_, counts)| *counts)
                .sum::<Counts>()
                .samples,
            scrape.counts().0
        );
        let joined: Vec<u8> = parts.into_iter().flat_map(|(payload, _)| payload).collect();
        let decoded = decode(&compress(&joined), &Limits::default());
        assert_eq!(decoded.unwrap().timeseries.len(), 20_000);
    }

    #[test]
    fn damage_is_said() {
        assert_eq!(decode_header(&[1; 55]), Err(RecordFault::Short(55)));
        assert_eq!(decode_header(&[9; 56]), Err(RecordFault::Version(9)));
        let record = [&[1, 0, ZSTD, 0, 5][..], &[0; 60]].concat();
        assert_eq!(
            append_payload(&record, &mut Vec::new()),
            Err(RecordFault::Payload)
        );
    }
}
