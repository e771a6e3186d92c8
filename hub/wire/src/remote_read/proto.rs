//! The protobuf messages of remote read, written by hand so that no protoc is needed. Labels and series are those of remote
//! write ([`crate::remote_write::proto`]).

use crate::remote_write::proto::{Label, TimeSeries};

/// What is asked: one or more selections.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ReadRequest {
    /// Answered in this order.
    #[prost(message, repeated, tag = "1")]
    pub queries: Vec<Query>,
    /// See [`ResponseType`], most wanted first; none: samples.
    #[prost(enumeration = "ResponseType", repeated, tag = "2")]
    pub accepted_response_types: Vec<i32>,
}

/// How an answer is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum ResponseType {
    /// One [`ReadResponse`].
    Samples = 0,
    /// Many [`ChunkedReadResponse`]s.
    StreamedXorChunks = 1,
}

/// One selection.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Query {
    /// Milliseconds since 1970, included.
    #[prost(int64, tag = "1")]
    pub start_timestamp_ms: i64,
    /// Milliseconds since 1970, included.
    #[prost(int64, tag = "2")]
    pub end_timestamp_ms: i64,
    /// All of them have to fit.
    #[prost(message, repeated, tag = "3")]
    pub matchers: Vec<LabelMatcher>,
    /// What the samples are for.
    #[prost(message, optional, tag = "4")]
    pub hints: Option<ReadHints>,
}

/// A condition on a label.
#[derive(Clone, PartialEq, prost::Message)]
pub struct LabelMatcher {
    /// See [`MatcherType`].
    #[prost(enumeration = "MatcherType", tag = "1")]
    pub r#type: i32,
    /// The label's name.
    #[prost(string, tag = "2")]
    pub name: String,
    /// The value, or the regular expression.
    #[prost(string, tag = "3")]
    pub value: String,
}

/// How a condition compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum MatcherType {
    /// `=`
    Equal = 0,
    /// `!=`
    NotEqual = 1,
    /// `=~`
    Regex = 2,
    /// `!~`
    NotRegex = 3,
}

/// What the samples of a query are for.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ReadHints {
    /// Of the evaluation.
    #[prost(int64, tag = "1")]
    pub step_ms: i64,
    /// The function or aggregation around the selector.
    #[prost(string, tag = "2")]
    pub func: String,
    /// Of the samples that the evaluation needs, at most as wide as the query.
    #[prost(int64, tag = "3")]
    pub start_ms: i64,
    /// The same.
    #[prost(int64, tag = "4")]
    pub end_ms: i64,
    /// Labels of the aggregation.
    #[prost(string, repeated, tag = "5")]
    pub grouping: Vec<String>,
    /// Whether they are kept or dropped.
    #[prost(bool, tag = "6")]
    pub by: bool,
    /// Of the range selector.
    #[prost(int64, tag = "7")]
    pub range_ms: i64,
}

/// All samples at once.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ReadResponse {
    /// One for each query, in their order.
    #[prost(message, repeated, tag = "1")]
    pub results: Vec<QueryResult>,
}

/// What one query found.
#[derive(Clone, PartialEq, prost::Message)]
pub struct QueryResult {
    /// Series; samples in the order of their times.
    #[prost(message, repeated, tag = "1")]
    pub timeseries: Vec<TimeSeries>,
}

/// A frame of a streamed answer. Series come in the order of their labels; one may go over several frames.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ChunkedReadResponse {
    /// We send one each.
    #[prost(message, repeated, tag = "1")]
    pub chunked_series: Vec<ChunkedSeries>,
    /// Which query of the request this answers, from 0.
    #[prost(int64, tag = "2")]
    pub query_index: i64,
}

/// Chunks of one series.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ChunkedSeries {
    /// Sorted.
    #[prost(message, repeated, tag = "1")]
    pub labels: Vec<Label>,
    /// In the order of their times.
    #[prost(message, repeated, tag = "2")]
    pub chunks: Vec<Chunk>,
}

/// A run of samples.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Chunk {
    /// Of the first sample.
    #[prost(int64, tag = "1")]
    pub min_time_ms: i64,
    /// Of the last one.
    #[prost(int64, tag = "2")]
    pub max_time_ms: i64,
    /// See [`Encoding`].
    #[prost(enumeration = "Encoding", tag = "3")]
    pub r#type: i32,
    /// See [`super::chunk`].
    #[prost(bytes = "vec", tag = "4")]
    pub data: Vec<u8>,
}

/// What is in a chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum Encoding {
    /// Nobody sends it.
    Unknown = 0,
    /// Floats.
    Xor = 1,
    /// Integer histograms.
    Histogram = 2,
    /// Float histograms.
    FloatHistogram = 3,
}
