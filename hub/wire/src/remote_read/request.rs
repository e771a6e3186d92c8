//! What a reader asks: read from bytes that anybody may have sent, and written for those who ask.

use model::{MatchOp, Matcher, MatcherError, Timestamp};
use prost::Message;

use super::proto;
use crate::remote_write::{self, DecodeError, FieldValue, Fields, bad, compress};

/// How much of a request is taken in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Longest body in bytes, and longest message in it. Default 32 MiB, as Prometheus's for the body.
    pub bytes_max: usize,
    /// Queries in a request; Prometheus sends one. Default 1,000.
    pub queries_max: usize,
    /// Matchers of all queries together. Default 1,000.
    pub matchers_max: usize,
    /// Regular expressions among them: ten bytes of one may become megabytes. Default 100.
    pub regexes_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            bytes_max: 32 << 20,
            queries_max: 1000,
            matchers_max: 1000,
            regexes_max: 100,
        }
    }
}

/// A request that can be answered.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    /// In their order.
    pub queries: Vec<Query>,
    /// What the reader wants most of what we have.
    pub response: ResponseType,
}

/// One selection.
#[derive(Clone, Debug, PartialEq)]
pub struct Query {
    /// Earliest time, included.
    pub start: Timestamp,
    /// Latest time, included.
    pub end: Timestamp,
    /// All of them have to fit.
    pub matchers: Vec<Matcher>,
}

impl Query {
    /// Whether a time, in ms since 1970, is in its range.
    pub fn holds(&self, at: i64) -> bool {
        (self.start.millis()..=self.end.millis()).contains(&at)
    }
}

pub use proto::ResponseType;

/// Why a request cannot be answered.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum RequestError {
    /// Longer than [`Limits::bytes_max`], compressed or not.
    #[error(
        "read request is longer than the limit of {limit} bytes: ask with fewer matchers at a time"
    )]
    TooLong {
        /// The limit in force.
        limit: usize,
    },
    /// No Snappy block.
    #[error("body of a read request is not a snappy block: {reason}")]
    NotSnappy {
        /// What is wrong with it.
        reason: String,
    },
    /// No `prometheus.ReadRequest`.
    #[error("bad protobuf in a read request at byte {offset}: expected {expected}")]
    Protobuf {
        /// Where, in the decompressed message.
        offset: usize,
        /// What should have been there.
        expected: &'static str,
    },
    /// More than [`Limits`] say.
    #[error("read request holds more than {limit} {what}: send several requests")]
    TooMany {
        /// Queries, matchers or regular expressions.
        what: &'static str,
        /// The limit in force.
        limit: usize,
    },
    /// A kind of comparison that there is not.
    #[error(
        "query {query} has a matcher of unknown type {found}: 0 to 3 are known (=, !=, =~, !~)"
    )]
    MatcherType {
        /// Which query, from 0.
        query: usize,
        /// What was sent.
        found: i64,
    },
    /// A regular expression that is none.
    #[error("query {query}: {error}")]
    Matcher {
        /// Which query, from 0.
        query: usize,
        /// What is wrong with it.
        error: MatcherError,
    },
    /// Only kinds of answers that we do not have.
    #[error(
        "server does not support any of the requested response types: {accepted:?}; supported: SAMPLES (0), STREAMED_XOR_CHUNKS (1)"
    )]
    ResponseTypes {
        /// What was asked for; of many the first ones.
        accepted: Vec<i64>,
    },
}

impl From<DecodeError> for RequestError {
    fn from(error: DecodeError) -> Self {
        match error {
            DecodeError::BodyTooLong { limit, .. } | DecodeError::ClaimTooLong { limit, .. } => {
                RequestError::TooLong { limit }
            }
            DecodeError::Protobuf { offset, expected } => {
                RequestError::Protobuf { offset, expected }
            }
            DecodeError::NotSnappy { reason } => RequestError::NotSnappy { reason },
            DecodeError::Truncated { found } => RequestError::NotSnappy {
                reason: format!("truncated after {found} bytes"),
            },
            other => RequestError::NotSnappy {
                reason: other.to_string(),
            },
        }
    }
}

/// Unsupported kinds of answers that an error names.
const TYPES_SHOWN: usize = 10;

/// Reads a request from a body.
///
/// # Errors
/// See [`RequestError`]; each is the sender's fault.
pub fn decode(body: &[u8], limits: &Limits) -> Result<Request, RequestError> {
    let bytes = remote_write::Limits {
        compressed_bytes_max: limits.bytes_max,
        decompressed_bytes_max: limits.bytes_max,
        ..remote_write::Limits::default()
    };
    let message = remote_write::decompress(body, &bytes)?;
    let mut reading = Reading {
        limits,
        matchers: 0,
        regexes: 0,
        queries: Vec::new(),
    };
    let (mut response, mut others, mut any_type) = (None, Vec::new(), false);
    let mut accept = |kind: u64| {
        any_type = true;
        // Enumerations are 32 bits of whatever was sent.
        match ResponseType::try_from(kind as i32) {
            Ok(known) => drop(response.get_or_insert(known)),
            Err(_) if others.len() < TYPES_SHOWN => others.push(i64::from(kind as i32)),
            Err(_) => {}
        }
    };
    let mut fields = Fields::new(&message, 0);
    while let Some(field) = fields.next()? {
        match (field.number, field.value) {
            (1, FieldValue::Bytes(bytes)) => reading.query(bytes, field.offset)?,
            (2, FieldValue::Varint(kind)) => accept(kind),
            (2, FieldValue::Bytes(packed)) => {
                let mut packed = Fields::new(packed, field.offset);
                while !packed.is_at_end() {
                    accept(packed.varint("a response type")?);
                }
            }
            (1 | 2, _) => {
                return Err(bad(
                    field.offset,
                    "queries in field 1, response types in field 2",
                )
                .into());
            }
            _ => {}
        }
    }
    let queries = reading.queries;
    match (response, any_type) {
        (Some(response), _) => Ok(Request { queries, response }),
        (None, false) => Ok(Request {
            queries,
            response: ResponseType::Samples,
        }),
        (None, true) => Err(RequestError::ResponseTypes { accepted: others }),
    }
}

struct Reading<'a> {
    limits: &'a Limits,
    /// So far, of all queries.
    matchers: usize,
    regexes: usize,
    queries: Vec<Query>,
}

impl Reading<'_> {
    fn query(&mut self, bytes: &[u8], base: usize) -> Result<(), RequestError> {
        if self.queries.len() >= self.limits.queries_max {
            return Err(RequestError::TooMany {
                what: "queries",
                limit: self.limits.queries_max,
            });
        }
        let (mut start, mut end, mut matchers) = (0, 0, Vec::new());
        let mut fields = Fields::new(bytes, base);
        while let Some(field) = fields.next()? {
            match (field.number, field.value) {
                (1, FieldValue::Varint(at)) => start = at as i64,
                (2, FieldValue::Varint(at)) => end = at as i64,
                (3, FieldValue::Bytes(bytes)) => {
                    self.matchers += 1;
                    if self.matchers > self.limits.matchers_max {
                        return Err(RequestError::TooMany {
                            what: "matchers",
                            limit: self.limits.matchers_max,
                        });
                    }
                    matchers.push(self.matcher(bytes, field.offset)?);
                }
                (1 | 2, _) => return Err(bad(field.offset, "a varint as time of a query").into()),
                (3, _) => return Err(bad(field.offset, "a message as matcher").into()),
                _ => {}
            }
        }
        self.queries.push(Query {
            start: Timestamp::from_millis(start),
            end: Timestamp::from_millis(end),
            matchers,
        });
        Ok(())
    }

    fn matcher(&mut self, bytes: &[u8], base: usize) -> Result<Matcher, RequestError> {
        let query = self.queries.len();
        let (mut kind, mut name, mut value) = (0, "", "");
        let mut fields = Fields::new(bytes, base);
        while let Some(field) = fields.next()? {
            match (field.number, field.value) {
                (1, FieldValue::Varint(found)) => kind = found as i32,
                (2, FieldValue::Bytes(bytes)) => name = utf8(bytes, field.offset)?,
                (3, FieldValue::Bytes(bytes)) => value = utf8(bytes, field.offset)?,
                (1..=3, _) => {
                    let expected = "a matcher: type, name and value in fields 1 to 3";
                    return Err(bad(field.offset, expected).into());
                }
                _ => {}
            }
        }
        let op = match proto::MatcherType::try_from(kind) {
            Ok(proto::MatcherType::Equal) => MatchOp::Equal,
            Ok(proto::MatcherType::NotEqual) => MatchOp::NotEqual,
            Ok(proto::MatcherType::Regex) => MatchOp::Regex,
            Ok(proto::MatcherType::NotRegex) => MatchOp::NotRegex,
            Err(_) => {
                let found = i64::from(kind);
                return Err(RequestError::MatcherType { query, found });
            }
        };
        if matches!(op, MatchOp::Regex | MatchOp::NotRegex) {
            self.regexes += 1;
            if self.regexes > self.limits.regexes_max {
                return Err(RequestError::TooMany {
                    what: "regular expressions",
                    limit: self.limits.regexes_max,
                });
            }
        }
        Matcher::new(op, name, value).map_err(|error| RequestError::Matcher { query, error })
    }
}

fn utf8(bytes: &[u8], offset: usize) -> Result<&str, RequestError> {
    std::str::from_utf8(bytes)
        .map_err(|_| bad(offset, "name and value of a matcher in UTF-8").into())
}

/// Writes a request as a body: for those who ask.
pub fn encode(request: &Request) -> Vec<u8> {
    let matcher = |matcher: &Matcher| proto::LabelMatcher {
        r#type: match matcher.op() {
            MatchOp::Equal => proto::MatcherType::Equal,
            MatchOp::NotEqual => proto::MatcherType::NotEqual,
            MatchOp::Regex => proto::MatcherType::Regex,
            MatchOp::NotRegex => proto::MatcherType::NotRegex,
        } as i32,
        name: matcher.name().to_owned(),
        value: matcher.value().to_owned(),
    };
    let query = |query: &Query| proto::Query {
        start_timestamp_ms: query.start.millis(),
        end_timestamp_ms: query.end.millis(),
        matchers: query.matchers.iter().map(matcher).collect(),
        hints: None,
    };
    let message = proto::ReadRequest {
        queries: request.queries.iter().map(query).collect(),
        accepted_response_types: vec![request.response as i32],
    };
    encode_message(&message)
}

/// Writes any message of a request as a body.
pub fn encode_message(message: &proto::ReadRequest) -> Vec<u8> {
    compress(&message.encode_to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(message: &proto::ReadRequest) -> Result<Request, RequestError> {
        decode(&compress(&message.encode_to_vec()), &Limits::default())
    }

    fn matcher(kind: i32, name: &str, value: &str) -> proto::LabelMatcher {
        proto::LabelMatcher {
            r#type: kind,
            name: name.into(),
            value: value.into(),
        }
    }

    fn query(matchers: Vec<proto::LabelMatcher>) -> proto::Query {
        proto::Query {
            start_timestamp_ms: -5,
            end_timestamp_ms: 7,
            matchers,
            hints: Some(proto::ReadHints {
                func: "rate".into(),
                grouping: vec!["a".into()],
                ..proto::ReadHints::default()
            }),
        }
    }

    #[test]
    fn the_first_known_response_type_is_taken() {
        let check = |accepted: &[i32], expected: Option<ResponseType>| {
            let message = proto::ReadRequest {
                queries: Vec::new(),
                accepted_response_types: accepted.to_vec(),
            };
            let got = read(&message);
            assert_eq!(got.clone().ok().map(|r| r.response), expected, "{got:?}");
        };
        check(&[], Some(ResponseType::Samples));
        check(&[1], Some(ResponseType::StreamedXorChunks));
        check(&[0, 1], Some(ResponseType::Samples));
        check(&[1, 0], Some(ResponseType::StreamedXorChunks));
        check(&[7, -1, 1], Some(ResponseType::StreamedXorChunks));
        check(&[7], None);
        // Not packed, as senders of proto2 write it.
        let unpacked = compress(&[0x10, 9, 0x10, 1]);
        let got = decode(&unpacked, &Limits::default()).unwrap();
        assert_eq!(got.response, ResponseType::StreamedXorChunks);
    }

    #[test]
    fn there_and_back() {
        let all = [
            MatchOp::Equal,
            MatchOp::NotEqual,
            MatchOp::Regex,
            MatchOp::NotRegex,
        ];
        let request = Request {
            queries: vec![
                Query {
                    start: Timestamp::MIN,
                    end: Timestamp::MAX,
                    matchers: all
                        .iter()
                        .map(|op| Matcher::new(*op, "é l", "a|b.*").unwrap())
                        .collect(),
                },
                Query {
                    start: Timestamp::from_millis(0),
                    end: Timestamp::from_millis(0),
                    matchers: Vec::new(),
                },
            ],
            response: ResponseType::StreamedXorChunks,
        };
        assert_eq!(decode(&encode(&request), &Limits::default()), Ok(request));
    }

    #[test]
    fn says_what_is_wrong() {
        let check = |body: &[u8], text: &str| {
            let error = decode(body, &Limits::default()).unwrap_err().to_string();
            assert!(error.contains(text), "{error}");
        };
        check(b"", "not a snappy block: truncated after 0 bytes");
        check(b"\xff\x06\x00\x00sNaPpY", "snappy");
        check(
            &[0xff, 0xff, 0xff, 0xff, 0x0f, 0, 0],
            "longer than the limit",
        );
        check(
            &compress(b"\x0a\x05abc"),
            "bad protobuf in a read request at byte 2",
        );
        check(&compress(&[0x08, 1]), "queries in field 1");
        let bad_query = |matchers| proto::ReadRequest {
            queries: vec![query(Vec::new()), query(matchers)],
            accepted_response_types: vec![9],
        };
        let body = |matchers| compress(&bad_query(matchers).encode_to_vec());
        check(
            &body(vec![matcher(4, "a", "b")]),
            "query 1 has a matcher of unknown type 4",
        );
        check(
            &body(vec![matcher(2, "a", "(")]),
            "query 1: error parsing regexp: missing closing ): `(`",
        );
        check(&body(vec![]), "any of the requested response types: [9]");
        // A matcher whose value is not UTF-8: query of 5 bytes, matcher of 3.
        check(&compress(&[0x0a, 5, 0x1a, 3, 0x1a, 1, 0xff]), "UTF-8");
    }

    #[test]
    fn numbers_are_limited() {
        let limits = Limits {
            queries_max: 2,
            matchers_max: 3,
            regexes_max: 1,
            bytes_max: 100,
        };
        let check = |kind: i32, queries: Vec<usize>, fine: bool| {
            let queries = queries
                .into_iter()
                .map(|matchers| proto::Query {
                    matchers: vec![matcher(kind, "a", "b"); matchers],
                    ..proto::Query::default()
                })
                .collect();
            let message = proto::ReadRequest {
                queries,
                accepted_response_types: Vec::new(),
            };
            let got = decode(&compress(&message.encode_to_vec()), &limits);
            assert_eq!(got.is_ok(), fine, "{got:?}");
        };
        check(0, vec![2, 1], true);
        check(0, vec![2, 2], false);
        check(0, vec![0, 0, 0], false);
        check(2, vec![1], true);
        check(3, vec![1, 1], false);
        let long = compress(&[0; 101]);
        let got = decode(&long, &limits);
        assert_eq!(got, Err(RequestError::TooLong { limit: 100 }));
    }

    proptest! {
        /// The decoder by hand and `prost` agree, on what is a request and on what is none.
        #[test]
        fn agrees_with_prost(
            queries in proptest::collection::vec(
                (any::<i64>(), any::<i64>(), proptest::collection::vec((0..4_i32, ".{0,5}", "[a-z|]{0,5}"), 0..4)), 0..3),
            accepted in proptest::collection::vec(0..3_i32, 0..3),
            spoil in proptest::option::of((any::<prop::sample::Index>(), any::<u8>())),
        ) {
            let queries = queries
                .into_iter()
                .map(|(start_timestamp_ms, end_timestamp_ms, matchers)| proto::Query {
                    start_timestamp_ms,
                    end_timestamp_ms,
                    ..query(matchers.iter().map(|(kind, name, value)| matcher(*kind, name, value)).collect())
                })
                .collect();
            let mut bytes = proto::ReadRequest { queries, accepted_response_types: accepted }.encode_to_vec();
            if let Some((at, with)) = spoil && !bytes.is_empty() {
                let at = at.index(bytes.len());
                bytes[at] = with;
            }
            let ours = decode(&compress(&bytes), &Limits::default());
            match (proto::ReadRequest::decode(&bytes[..]), ours) {
                (Ok(theirs), Ok(ours)) => {
                    prop_assert_eq!(theirs.queries.len(), ours.queries.len());
                    for (theirs, ours) in theirs.queries.iter().zip(&ours.queries) {
                        prop_assert_eq!(theirs.start_timestamp_ms, ours.start.millis());
                        prop_assert_eq!(theirs.end_timestamp_ms, ours.end.millis());
                        let theirs: Vec<_> = theirs.matchers.iter().map(|m| (m.name.as_str(), m.value.as_str())).collect();
                        let ours: Vec<_> = ours.matchers.iter().map(|m| (m.name(), m.value())).collect();
                        prop_assert_eq!(theirs, ours);
                    }
                }
                // What prost takes may still be no matcher, or ask for an answer that there is not.
                (Ok(_), Err(error)) => prop_assert!(!matches!(error, RequestError::Protobuf { .. }), "{error}"),
                // prost looks into the hints too.
                (Err(_), _) => {}
            }
        }
    }
}
