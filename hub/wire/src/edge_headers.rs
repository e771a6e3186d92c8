//! The headers with which an edge says which part of its buffer a remote-write request carries, and how it stands.
//!
//! ```text
//! Branchline-Edge: b07                      the edge's name; the credential, not this, decides the branch
//! Branchline-Epoch: 9182736455463728190     identity of the buffer; another one after the buffer was wiped
//! Branchline-Sequence: 120-135,140          records of the buffer in this request, both ends included, rising
//! Branchline-Lane: live                     or backlog
//! Branchline-Scraped-Samples: 91827         ever synced to this buffer, staleness markers not counted
//! Branchline-Pending-Samples: 1200          not yet acknowledged by this hub, this request's included
//! Branchline-Pending-Bytes: 3400            what they take in the buffer
//! Branchline-Oldest-Pending: 1700000000000  time of the oldest of them, ms since 1970; left out when none is pending
//! Branchline-Evicted-Samples: 0             ever evicted before this hub had them
//! ```
//!
//! A hub answers every such request with `Branchline-Hub: <hub id>`; that is how an edge knows its own hub from a
//! foreign endpoint. `Branchline-Reason: series-limit` beside 429 says that the branch has as many series as it may have:
//! all others are stored, so the edge keeps what is about them aside and goes on. A request without sequences and without series is a sign of life.

use std::fmt;
use std::str::FromStr;

use model::Timestamp;

/// Name of the header with the edge's name.
pub const EDGE: &str = "branchline-edge";
/// Name of the header with the buffer's epoch.
pub const EPOCH: &str = "branchline-epoch";
/// Name of the header with the sequences carried.
pub const SEQUENCE: &str = "branchline-sequence";
/// Name of the header with the lane.
pub const LANE: &str = "branchline-lane";
/// Name of the header with the number of samples ever scraped.
pub const SCRAPED_SAMPLES: &str = "branchline-scraped-samples";
/// Name of the header with the number of pending samples.
pub const PENDING_SAMPLES: &str = "branchline-pending-samples";
/// Name of the header with the bytes that pending samples take.
pub const PENDING_BYTES: &str = "branchline-pending-bytes";
/// Name of the header with the time of the oldest pending record.
pub const OLDEST_PENDING: &str = "branchline-oldest-pending";
/// Name of the header with the number of evicted samples.
pub const EVICTED_SAMPLES: &str = "branchline-evicted-samples";
/// Name of the header in a hub's answer.
pub const HUB: &str = "branchline-hub";

/// Name of the header in a hub's refusal that says why, in a word that an edge knows.
pub const REASON: &str = "branchline-reason";
/// With 429: some series were not stored because the branch has as many as it may have; all others were.
pub const REASON_SERIES_LIMIT: &str = "series-limit";

/// Most ranges in one [`SEQUENCE`] header: keeps the header within what HTTP servers take (8 KiB).
pub const RANGES_MAX: usize = 128;
/// Longest edge name or hub id in bytes.
pub const NAME_BYTES_MAX: usize = 200;

/// Which of the two streams a request belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Lane {
    /// The newest scrapes, as they come.
    Live,
    /// What was left behind, oldest first.
    Backlog,
}

/// What an edge says beside the samples.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EdgeHeaders {
    /// Name of the edge, 1 to [`NAME_BYTES_MAX`] visible ASCII characters.
    pub edge: String,
    /// Identity of its buffer.
    pub epoch: u64,
    /// Records carried by this request: none for a sign of life.
    pub sequences: Vec<SequenceRange>,
    /// The lane.
    pub lane: Lane,
    /// Samples ever synced to this buffer (staleness markers apart).
    pub scraped_samples: u64,
    /// Samples that this hub has not acknowledged.
    pub pending_samples: u64,
    /// Bytes that they take in the buffer.
    pub pending_bytes: u64,
    /// Time of the oldest pending record.
    pub oldest_pending: Option<Timestamp>,
    /// Samples evicted before this hub had them, since the buffer was made.
    pub evicted_samples: u64,
}

/// Sequences from `first` to `last`, both included; `first <= last`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SequenceRange {
    /// The first sequence.
    pub first: u64,
    /// The last sequence.
    pub last: u64,
}

/// Why headers are not those of an edge.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// A header is missing though others are there.
    #[error("header {name} is missing: an edge sends all of its headers")]
    Missing {
        /// Name of the header.
        name: &'static str,
    },
    /// A header does not parse.
    #[error("header {name}: {found:?} is not {expected}")]
    Invalid {
        /// Name of the header.
        name: &'static str,
        /// Its value, shortened.
        found: String,
        /// What should stand there.
        expected: &'static str,
    },
}

impl EdgeHeaders {
    /// The headers, name and value.
    pub fn to_pairs(&self) -> Vec<(&'static str, String)> {
        let mut pairs = vec![
            (EDGE, self.edge.clone()),
            (EPOCH, self.epoch.to_string()),
            (LANE, self.lane.to_string()),
            (SCRAPED_SAMPLES, self.scraped_samples.to_string()),
            (PENDING_SAMPLES, self.pending_samples.to_string()),
            (PENDING_BYTES, self.pending_bytes.to_string()),
            (EVICTED_SAMPLES, self.evicted_samples.to_string()),
        ];
        if !self.sequences.is_empty() {
            pairs.push((SEQUENCE, write_ranges(&self.sequences)));
        }
        if let Some(oldest) = self.oldest_pending {
            pairs.push((OLDEST_PENDING, oldest.millis().to_string()));
        }
        pairs
    }

    /// Reads the headers through a look-up by lower-case name. None when there is no [`EDGE`] header: then the sender
    /// is not an edge but an ordinary remote-write client.
    ///
    /// # Errors
    /// A missing or malformed header.
    pub fn from_lookup<'h>(
        lookup: impl Fn(&str) -> Option<&'h str>,
    ) -> Result<Option<Self>, HeaderError> {
        let Some(edge) = lookup(EDGE) else {
            return Ok(None);
        };
        let number = |name| {
            let text = lookup(name).ok_or(HeaderError::Missing { name })?;
            parse(name, text, "a number from 0 to 18446744073709551615")
        };
        Ok(Some(EdgeHeaders {
            edge: check_name(EDGE, edge)?,
            epoch: number(EPOCH)?,
            sequences: lookup(SEQUENCE)
                .map(parse_ranges)
                .transpose()?
                .unwrap_or_default(),
            lane: parse(
                LANE,
                lookup(LANE).ok_or(HeaderError::Missing { name: LANE })?,
                "live or backlog",
            )?,
            scraped_samples: number(SCRAPED_SAMPLES)?,
            pending_samples: number(PENDING_SAMPLES)?,
            pending_bytes: number(PENDING_BYTES)?,
            oldest_pending: lookup(OLDEST_PENDING)
                .map(|text| {
                    parse(OLDEST_PENDING, text, "milliseconds since 1970")
                        .map(Timestamp::from_millis)
                })
                .transpose()?,
            evicted_samples: number(EVICTED_SAMPLES)?,
        }))
    }
}

/// The hub id in an answer's [`HUB`] header, if it is one.
///
/// # Errors
/// A value that is empty, too long or not visible ASCII.
pub fn parse_hub(value: &str) -> Result<String, HeaderError> {
    check_name(HUB, value)
}

/// Whether a text can be an edge's name or a hub's id: 1 to [`NAME_BYTES_MAX`] visible ASCII characters.
pub fn is_valid_name(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= NAME_BYTES_MAX
        && name.bytes().all(|byte| byte.is_ascii_graphic())
}

impl SequenceRange {
    /// How many sequences: `last - first + 1`, at most `u64::MAX`.
    pub fn count(self) -> u64 {
        (self.last - self.first).saturating_add(1)
    }
}

impl fmt::Display for Lane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Lane::Live => "live",
            Lane::Backlog => "backlog",
        })
    }
}

impl FromStr for Lane {
    type Err = ();
    fn from_str(text: &str) -> Result<Self, ()> {
        match text {
            "live" => Ok(Lane::Live),
            "backlog" => Ok(Lane::Backlog),
            _ => Err(()),
        }
    }
}

impl fmt::Display for SequenceRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.first == self.last {
            write!(f, "{}", self.first)
        } else {
            write!(f, "{}-{}", self.first, self.last)
        }
    }
}

fn write_ranges(ranges: &[SequenceRange]) -> String {
    ranges
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(",")
}

fn parse_ranges(text: &str) -> Result<Vec<SequenceRange>, HeaderError> {
    let invalid = |expected| HeaderError::Invalid {
        name: SEQUENCE,
        found: shorten(text),
        expected,
    };
    let mut ranges: Vec<SequenceRange> = Vec::new();
    for part in text.split(',') {
        if ranges.len() == RANGES_MAX {
            return Err(invalid("at most 128 ranges"));
        }
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let number = |text: &str| text.parse().map_err(|_| invalid("ranges like 120-135,140"));
        let range = SequenceRange {
            first: number(first)?,
            last: number(last)?,
        };
        if range.first > range.last
            || ranges
                .last()
                .is_some_and(|before| before.last >= range.first)
        {
            return Err(invalid("rising ranges that do not overlap"));
        }
        ranges.push(range);
    }
    Ok(ranges)
}

fn parse<T: FromStr>(
    name: &'static str,
    text: &str,
    expected: &'static str,
) -> Result<T, HeaderError> {
    text.parse().map_err(|_| HeaderError::Invalid {
        name,
        found: shorten(text),
        expected,
    })
}

fn check_name(name: &'static str, text: &str) -> Result<String, HeaderError> {
    if is_valid_name(text) {
        return Ok(text.to_owned());
    }
    Err(HeaderError::Invalid {
        name,
        found: shorten(text),
        expected: "1 to 200 visible ASCII characters",
    })
}

fn shorten(text: &str) -> String {
    text.chars().take(60).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn headers() -> EdgeHeaders {
        EdgeHeaders {
            edge: "b07".into(),
            epoch: u64::MAX,
            sequences: vec![
                SequenceRange {
                    first: 120,
                    last: 135,
                },
                SequenceRange {
                    first: 140,
                    last: 140,
                },
            ],
            lane: Lane::Backlog,
            scraped_samples: 5000,
            pending_samples: 1200,
            pending_bytes: 3400,
            oldest_pending: Some(Timestamp::from_millis(1_700_000_000_000)),
            evicted_samples: 3,
        }
    }

    fn read(pairs: &[(&'static str, String)]) -> Result<Option<EdgeHeaders>, HeaderError> {
        EdgeHeaders::from_lookup(|name| {
            pairs
                .iter()
                .find(|(n, _)| *n == name)
                .map(|(_, v)| v.as_str())
        })
    }

    #[test]
    fn both_directions() {
        let pairs = headers().to_pairs();
        assert!(pairs.contains(&(SEQUENCE, "120-135,140".into())));
        assert_eq!(read(&pairs), Ok(Some(headers())));
        assert_eq!(read(&[]), Ok(None));
        let idle = EdgeHeaders {
            sequences: Vec::new(),
            oldest_pending: None,
            ..headers()
        };
        assert_eq!(read(&idle.to_pairs()), Ok(Some(idle)));
    }

    #[test]
    fn names_the_bad_header() {
        let check = |name: &'static str, value: Option<&str>, text: &str| {
            let mut pairs = headers().to_pairs();
            pairs.retain(|(n, _)| *n != name);
            pairs.extend(value.map(|value| (name, value.to_owned())));
            let error = read(&pairs).unwrap_err().to_string();
            assert!(error.contains(name) && error.contains(text), "{error}");
        };
        check(EPOCH, None, "is missing");
        check(EPOCH, Some("-1"), "\"-1\" is not a number");
        check(LANE, Some("fast"), "live or backlog");
        check(EDGE, Some(""), "visible ASCII");
        check(EDGE, Some("a b"), "visible ASCII");
        check(SEQUENCE, Some(""), "ranges like");
        check(SEQUENCE, Some("1,"), "ranges like");
        check(SEQUENCE, Some("5-4"), "rising");
        check(SEQUENCE, Some("1-5,5"), "rising");
        check(SEQUENCE, Some(&vec!["1"; 1000].join(",")), "rising");
        check(OLDEST_PENDING, Some("now"), "milliseconds");
    }

    #[test]
    fn the_longest_sequence_header_is_read_back() {
        let sequences: Vec<_> = (0..RANGES_MAX as u64)
            .map(|n| SequenceRange {
                first: u64::MAX - 400 + 3 * n,
                last: u64::MAX - 399 + 3 * n,
            })
            .collect();
        let text = write_ranges(&sequences);
        assert!(text.len() < 8192);
        assert_eq!(parse_ranges(&text), Ok(sequences));
        assert!(
            parse_ranges(
                &(0..200)
                    .map(|n| (2 * n).to_string())
                    .collect::<Vec<_>>()
                    .join(",")
            )
            .is_err()
        );
        assert_eq!(parse_hub("hub-1"), Ok("hub-1".into()));
        assert!(parse_hub("").is_err());
    }

    proptest! {
        #[test]
        fn random_text_does_not_panic(text in ".{0,40}", numbers in "[0-9,-]{0,40}") {
            let _ = parse_ranges(&text);
            if let Ok(ranges) = parse_ranges(&numbers) {
                prop_assert_eq!(parse_ranges(&write_ranges(&ranges)), Ok(ranges));
            }
        }
    }
}
