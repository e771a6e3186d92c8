//! The protobuf messages of remote write 1.0, written by hand so that no protoc is needed.
//!
//! Field numbers and types are those of `prometheus.WriteRequest`; unknown fields are skipped, as protobuf asks.

/// One request: series with their samples, and metadata of metric families.
///
/// Encoded requests can be joined by writing their bytes one after the other: the result is the request with the
/// series of all of them in that order. The edge's buffer lives on that.
#[derive(Clone, PartialEq, prost::Message)]
pub struct WriteRequest {
    /// Series; one label set may appear several times.
    #[prost(message, repeated, tag = "1")]
    pub timeseries: Vec<TimeSeries>,
    /// Type, help and unit of metric families.
    #[prost(message, repeated, tag = "3")]
    pub metadata: Vec<MetricMetadata>,
}

/// One series: its labels and what was seen of it.
#[derive(Clone, PartialEq, prost::Message)]
pub struct TimeSeries {
    /// Labels; senders should sort them by name, receivers must not rely on it.
    #[prost(message, repeated, tag = "1")]
    pub labels: Vec<Label>,
    /// Float samples, older before newer.
    #[prost(message, repeated, tag = "2")]
    pub samples: Vec<Sample>,
    /// Exemplars.
    #[prost(message, repeated, tag = "3")]
    pub exemplars: Vec<Exemplar>,
    /// Native histograms, older before newer.
    #[prost(message, repeated, tag = "4")]
    pub histograms: Vec<Histogram>,
}

/// A label name and its value.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message)]
pub struct Label {
    /// Label name.
    #[prost(string, tag = "1")]
    pub name: String,
    /// Label value.
    #[prost(string, tag = "2")]
    pub value: String,
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
}

/// An exemplar: one observation with labels that lead out of the metrics, usually to a trace.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Exemplar {
    /// The exemplar's own labels.
    #[prost(message, repeated, tag = "1")]
    pub labels: Vec<Label>,
    /// The observed value.
    #[prost(double, tag = "2")]
    pub value: f64,
    /// Milliseconds since 1970, UTC.
    #[prost(int64, tag = "3")]
    pub timestamp: i64,
}

/// Type, help and unit of a metric family.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message)]
pub struct MetricMetadata {
    /// The metric's type.
    #[prost(enumeration = "MetricType", tag = "1")]
    pub r#type: i32,
    /// Name of the family.
    #[prost(string, tag = "2")]
    pub metric_family_name: String,
    /// Help text.
    #[prost(string, tag = "4")]
    pub help: String,
    /// Unit.
    #[prost(string, tag = "5")]
    pub unit: String,
}

/// Metric types as remote write numbers them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum MetricType {
    /// Nothing is known.
    Unknown = 0,
    /// Only goes up, or resets.
    Counter = 1,
    /// Goes up and down.
    Gauge = 2,
    /// Cumulative buckets.
    Histogram = 3,
    /// Buckets that may go down.
    GaugeHistogram = 4,
    /// Quantiles computed by the target.
    Summary = 5,
    /// Constant 1 with labels.
    Info = 6,
    /// One series per state.
    StateSet = 7,
}

/// A native histogram, integer or float.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Histogram {
    /// Number of observations.
    #[prost(oneof = "histogram::Count", tags = "1, 2")]
    pub count: Option<histogram::Count>,
    /// Sum of the observations.
    #[prost(double, tag = "3")]
    pub sum: f64,
    /// Resolution; -53 means custom bucket bounds.
    #[prost(sint32, tag = "4")]
    pub schema: i32,
    /// Half-width of the zero bucket.
    #[prost(double, tag = "5")]
    pub zero_threshold: f64,
    /// Observations in the zero bucket.
    #[prost(oneof = "histogram::ZeroCount", tags = "6, 7")]
    pub zero_count: Option<histogram::ZeroCount>,
    /// Spans of the negative buckets.
    #[prost(message, repeated, tag = "8")]
    pub negative_spans: Vec<BucketSpan>,
    /// Integer histograms: each bucket's count minus the one before it.
    #[prost(sint64, repeated, tag = "9")]
    pub negative_deltas: Vec<i64>,
    /// Float histograms: counts.
    #[prost(double, repeated, tag = "10")]
    pub negative_counts: Vec<f64>,
    /// Spans of the positive buckets.
    #[prost(message, repeated, tag = "11")]
    pub positive_spans: Vec<BucketSpan>,
    /// Integer histograms: each bucket's count minus the one before it.
    #[prost(sint64, repeated, tag = "12")]
    pub positive_deltas: Vec<i64>,
    /// Float histograms: counts.
    #[prost(double, repeated, tag = "13")]
    pub positive_counts: Vec<f64>,
    /// Whether a counter reset lies before this histogram.
    #[prost(enumeration = "histogram::ResetHint", tag = "14")]
    pub reset_hint: i32,
    /// Milliseconds since 1970, UTC.
    #[prost(int64, tag = "15")]
    pub timestamp: i64,
    /// Upper bounds of custom buckets, rising, without +Inf.
    #[prost(double, repeated, tag = "16")]
    pub custom_values: Vec<f64>,
    /// Since when it counts, in milliseconds since 1970; 0 when that is not said. Remote write 2.0 only.
    #[prost(int64, tag = "17")]
    pub start_timestamp: i64,
}

/// Parts of [`Histogram`].
pub mod histogram {
    /// Number of observations.
    #[derive(Clone, Copy, PartialEq, prost::Oneof)]
    pub enum Count {
        /// Of an integer histogram.
        #[prost(uint64, tag = "1")]
        Int(u64),
        /// Of a float histogram.
        #[prost(double, tag = "2")]
        Float(f64),
    }

    /// Observations in the zero bucket.
    #[derive(Clone, Copy, PartialEq, prost::Oneof)]
    pub enum ZeroCount {
        /// Of an integer histogram.
        #[prost(uint64, tag = "6")]
        Int(u64),
        /// Of a float histogram.
        #[prost(double, tag = "7")]
        Float(f64),
    }

    /// Whether a counter reset lies between the histogram before and this one.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
    #[repr(i32)]
    pub enum ResetHint {
        /// The reader must compare.
        Unknown = 0,
        /// There was a reset.
        Yes = 1,
        /// There was none.
        No = 2,
        /// A gauge histogram: resets mean nothing.
        Gauge = 3,
    }
}

/// A run of consecutive buckets.
#[derive(Clone, Copy, PartialEq, Eq, Hash, prost::Message)]
pub struct BucketSpan {
    /// Gap to the previous span, or the index of the first bucket for the first span.
    #[prost(sint32, tag = "1")]
    pub offset: i32,
    /// Number of buckets in the run.
    #[prost(uint32, tag = "2")]
    pub length: u32,
}
