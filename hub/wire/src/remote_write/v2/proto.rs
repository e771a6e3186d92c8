//! The protobuf messages of remote write 2.0, written by hand so that no protoc is needed. Field numbers 1 to 3 of the
//! request are reserved, so that it cannot be mistaken for 1.0's.

pub use super::super::proto::{BucketSpan, Histogram, MetricType, histogram};

/// One request: a table of strings, and series that refer to it.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Request {
    /// All strings; the first is empty.
    #[prost(string, repeated, tag = "4")]
    pub symbols: Vec<String>,
    /// Series; one label set may appear several times.
    #[prost(message, repeated, tag = "5")]
    pub timeseries: Vec<TimeSeries>,
}

/// One series: its labels, what was seen of it, what is said of it.
#[derive(Clone, PartialEq, prost::Message)]
pub struct TimeSeries {
    /// Name, value, name, value…: indexes into the symbols.
    #[prost(uint32, repeated, tag = "1")]
    pub labels_refs: Vec<u32>,
    /// Float samples, older before newer.
    #[prost(message, repeated, tag = "2")]
    pub samples: Vec<Sample>,
    /// Native histograms, older before newer.
    #[prost(message, repeated, tag = "3")]
    pub histograms: Vec<Histogram>,
    /// Exemplars.
    #[prost(message, repeated, tag = "4")]
    pub exemplars: Vec<Exemplar>,
    /// Type, help and unit.
    #[prost(message, optional, tag = "5")]
    pub metadata: Option<Metadata>,
}

/// A float sample.
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub struct Sample {
    /// The value; staleness markers are NaNs with bits of their own.
    #[prost(double, tag = "1")]
    pub value: f64,
    /// Milliseconds since 1970, UTC.
    #[prost(int64, tag = "2")]
    pub timestamp: i64,
    /// Since when it counts; 0 when that is not said.
    #[prost(int64, tag = "3")]
    pub start_timestamp: i64,
}

/// An exemplar.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Exemplar {
    /// Its own labels, as in [`TimeSeries::labels_refs`].
    #[prost(uint32, repeated, tag = "1")]
    pub labels_refs: Vec<u32>,
    /// The observed value.
    #[prost(double, tag = "2")]
    pub value: f64,
    /// Milliseconds since 1970, UTC.
    #[prost(int64, tag = "3")]
    pub timestamp: i64,
}

/// Type, help and unit of a series.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct Metadata {
    /// The metric's type.
    #[prost(enumeration = "MetricType", tag = "1")]
    pub r#type: i32,
    /// Index of the help text.
    #[prost(uint32, tag = "3")]
    pub help_ref: u32,
    /// Index of the unit.
    #[prost(uint32, tag = "4")]
    pub unit_ref: u32,
}
