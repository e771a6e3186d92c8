//! OTLP's JSON: the messages of protobuf in lowerCamelCase, with whole numbers of 64 bits as text, and ids in hexadecimal.
//!
//! Read into structs of its own and written as the protobuf message, so that there is one translation and not two. What
//! that costs is bounded by the number of values, which is counted first.

use prost::Message;
use serde::Deserialize;
use serde::de::{self, Deserializer};

use super::proto;

/// Braces, brackets and commas that a request may have: each may stand for a struct of some hundred bytes. About 10 MB of
/// what real senders write.
const VALUES_MAX: usize = 500_000;

/// Why JSON is not such a request.
#[derive(Debug, thiserror::Error)]
pub enum JsonError {
    /// More values than are taken at a time.
    #[error(
        "request holds more than {limit} objects and values: send smaller batches, or protobuf"
    )]
    TooManyValues {
        /// The limit.
        limit: usize,
    },
    /// Not JSON, or not such JSON.
    #[error("bad OTLP JSON: {0}")]
    Json(#[from] serde_json::Error),
}

/// The protobuf message that says the same.
///
/// # Errors
/// What is no such JSON.
pub fn to_message(json: &[u8]) -> Result<Vec<u8>, JsonError> {
    let is_mark = |byte: &&u8| matches!(byte, b'{' | b'[' | b',');
    if json.iter().filter(is_mark).count() > VALUES_MAX {
        return Err(JsonError::TooManyValues { limit: VALUES_MAX });
    }
    let request: Request = serde_json::from_slice(json)?;
    Ok(request.into_proto().encode_to_vec())
}

/// A whole number, or the text of one.
fn whole<'de, D: Deserializer<'de>, T>(deserializer: D) -> Result<T, D::Error>
where
    T: TryFrom<i128>,
{
    let number = Whole::deserialize(deserializer)?;
    let out = |_| de::Error::custom(format!("{} is out of range", number.0));
    T::try_from(number.0).map_err(out)
}

fn wholes<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u64>, D::Error> {
    let numbers: Vec<Whole> = Option::deserialize(deserializer)?.unwrap_or_default();
    let fit = |number: Whole| {
        let out = |_| de::Error::custom(format!("{} is out of range", number.0));
        u64::try_from(number.0).map_err(out)
    };
    numbers.into_iter().map(fit).collect()
}

struct Whole(i128);

impl<'de> Deserialize<'de> for Whole {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = Whole;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a whole number, or the text of one")
            }
            fn visit_u64<E>(self, number: u64) -> Result<Whole, E> {
                Ok(Whole(number.into()))
            }
            fn visit_i64<E>(self, number: i64) -> Result<Whole, E> {
                Ok(Whole(number.into()))
            }
            fn visit_f64<E: de::Error>(self, number: f64) -> Result<Whole, E> {
                match number.fract() == 0.0 && number.abs() < 1e20 {
                    true => Ok(Whole(number as i128)),
                    false => Err(E::custom(format!("{number} is no whole number"))),
                }
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Whole, E> {
                let why = |_| E::custom(format!("{text:?} is no whole number"));
                text.parse().map(Whole).map_err(why)
            }
            fn visit_unit<E>(self) -> Result<Whole, E> {
                Ok(Whole(0))
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

/// A number, or the text of one, which may be `NaN`, `Infinity` and `-Infinity`.
#[derive(Clone, Copy)]
struct Number(f64);

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = Number;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a number, or the text of one")
            }
            fn visit_u64<E>(self, number: u64) -> Result<Number, E> {
                Ok(Number(number as f64))
            }
            fn visit_i64<E>(self, number: i64) -> Result<Number, E> {
                Ok(Number(number as f64))
            }
            fn visit_f64<E>(self, number: f64) -> Result<Number, E> {
                Ok(Number(number))
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Number, E> {
                let why = |_| E::custom(format!("{text:?} is no number"));
                text.parse().map(Number).map_err(why)
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

fn numbers(numbers: Option<Vec<Number>>) -> Vec<f64> {
    let numbers = numbers.unwrap_or_default();
    numbers.into_iter().map(|number| number.0).collect()
}

/// By number, as it should be, or by the name in protobuf.
#[derive(Deserialize)]
#[serde(untagged)]
enum Temporality {
    Number(i32),
    Name(String),
}

fn temporality(said: Option<Temporality>) -> i32 {
    match said {
        Some(Temporality::Number(number)) => number,
        Some(Temporality::Name(name)) => match name.as_str() {
            "AGGREGATION_TEMPORALITY_DELTA" => proto::Temporality::Delta as i32,
            "AGGREGATION_TEMPORALITY_CUMULATIVE" => proto::Temporality::Cumulative as i32,
            _ => 0,
        },
        None => 0,
    }
}

/// Bytes in hexadecimal, with letters of either case.
fn id<E>(text: Option<String>, fail: impl Fn(String) -> E) -> Result<Vec<u8>, E> {
    let text = text.unwrap_or_default();
    let digits: Option<Vec<u8>> = text
        .bytes()
        .map(|digit| char::from(digit).to_digit(16).map(|digit| digit as u8))
        .collect();
    match digits {
        Some(digits) if digits.len().is_multiple_of(2) => Ok(digits
            .chunks_exact(2)
            .map(|pair| pair[0] << 4 | pair[1])
            .collect()),
        _ => Err(fail(format!("{text:?} is no id in hexadecimal"))),
    }
}

macro_rules! messages {
    ($($name:ident { $($(#[$attribute:meta])* $field:ident: $type:ty,)* })*) => {
        $(#[derive(Default, Deserialize)]
        #[serde(rename_all = "camelCase", default)]
        struct $name { $($(#[$attribute])* $field: $type,)* })*
    };
}

messages! {
    Request { resource_metrics: Option<Vec<ResourceMetrics>>, }
    ResourceMetrics { resource: Option<Resource>, scope_metrics: Option<Vec<ScopeMetrics>>, }
    Resource { attributes: Option<Vec<KeyValue>>, }
    ScopeMetrics { scope: Option<Scope>, metrics: Option<Vec<Metric>>, schema_url: Option<String>, }
    Scope { name: Option<String>, version: Option<String>, attributes: Option<Vec<KeyValue>>, }
    Metric {
        name: Option<String>,
        description: Option<String>,
        unit: Option<String>,
        gauge: Option<Numbers>,
        sum: Option<Numbers>,
        histogram: Option<Histogram>,
        exponential_histogram: Option<ExponentialHistogram>,
        summary: Option<Summary>,
    }
    Numbers {
        data_points: Option<Vec<NumberPoint>>,
        aggregation_temporality: Option<Temporality>,
        is_monotonic: Option<bool>,
    }
    Histogram {
        data_points: Option<Vec<HistogramPoint>>,
        aggregation_temporality: Option<Temporality>,
    }
    ExponentialHistogram {
        data_points: Option<Vec<ExponentialPoint>>,
        aggregation_temporality: Option<Temporality>,
    }
    Summary { data_points: Option<Vec<SummaryPoint>>, }
    NumberPoint {
        #[serde(deserialize_with = "whole")]
        start_time_unix_nano: u64,
        #[serde(deserialize_with = "whole")]
        time_unix_nano: u64,
        as_double: Option<Number>,
        as_int: Option<Whole>,
        exemplars: Option<Vec<Exemplar>>,
        attributes: Option<Vec<KeyValue>>,
        #[serde(deserialize_with = "whole")]
        flags: u32,
    }
    HistogramPoint {
        #[serde(deserialize_with = "whole")]
        start_time_unix_nano: u64,
        #[serde(deserialize_with = "whole")]
        time_unix_nano: u64,
        #[serde(deserialize_with = "whole")]
        count: u64,
        sum: Option<Number>,
        #[serde(deserialize_with = "wholes")]
        bucket_counts: Vec<u64>,
        explicit_bounds: Option<Vec<Number>>,
        exemplars: Option<Vec<Exemplar>>,
        attributes: Option<Vec<KeyValue>>,
        #[serde(deserialize_with = "whole")]
        flags: u32,
    }
    ExponentialPoint {
        attributes: Option<Vec<KeyValue>>,
        #[serde(deserialize_with = "whole")]
        start_time_unix_nano: u64,
        #[serde(deserialize_with = "whole")]
        time_unix_nano: u64,
        #[serde(deserialize_with = "whole")]
        count: u64,
        sum: Option<Number>,
        #[serde(deserialize_with = "whole")]
        scale: i32,
        #[serde(deserialize_with = "whole")]
        zero_count: u64,
        positive: Option<Buckets>,
        negative: Option<Buckets>,
        #[serde(deserialize_with = "whole")]
        flags: u32,
        exemplars: Option<Vec<Exemplar>>,
    }
    Buckets {
        #[serde(deserialize_with = "whole")]
        offset: i32,
        #[serde(deserialize_with = "wholes")]
        bucket_counts: Vec<u64>,
    }
    SummaryPoint {
        #[serde(deserialize_with = "whole")]
        start_time_unix_nano: u64,
        #[serde(deserialize_with = "whole")]
        time_unix_nano: u64,
        #[serde(deserialize_with = "whole")]
        count: u64,
        sum: Option<Number>,
        quantile_values: Option<Vec<Quantile>>,
        attributes: Option<Vec<KeyValue>>,
        #[serde(deserialize_with = "whole")]
        flags: u32,
    }
    Quantile { quantile: Option<Number>, value: Option<Number>, }
    KeyValue { key: Option<String>, value: Option<AnyValue>, }
    AnyValue {
        string_value: Option<String>,
        bool_value: Option<bool>,
        int_value: Option<Whole>,
        double_value: Option<Number>,
        array_value: Option<Array>,
        kvlist_value: Option<List>,
        bytes_value: Option<String>,
    }
    Array { values: Option<Vec<AnyValue>>, }
    List { values: Option<Vec<KeyValue>>, }
}

/// An exemplar, its ids read.
#[derive(Default)]
struct Exemplar(proto::Exemplar);

impl<'de> Deserialize<'de> for Exemplar {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Default, Deserialize)]
        #[serde(rename_all = "camelCase", default)]
        struct Sent {
            #[serde(deserialize_with = "whole")]
            time_unix_nano: u64,
            as_double: Option<Number>,
            as_int: Option<Whole>,
            span_id: Option<String>,
            trace_id: Option<String>,
            filtered_attributes: Option<Vec<KeyValue>>,
        }
        let sent = Sent::deserialize(deserializer)?;
        let value = match (sent.as_double, sent.as_int) {
            (Some(number), _) => Some(proto::ExemplarValue::Double(number.0)),
            (None, Some(number)) => Some(proto::ExemplarValue::Int(number.int())),
            (None, None) => None,
        };
        Ok(Exemplar(proto::Exemplar {
            time_unix_nano: sent.time_unix_nano,
            value,
            span_id: id(sent.span_id, de::Error::custom)?,
            trace_id: id(sent.trace_id, de::Error::custom)?,
            filtered_attributes: all(sent.filtered_attributes, KeyValue::into_proto),
        }))
    }
}

impl Whole {
    /// Saturates.
    fn int(&self) -> i64 {
        let clamped = self.0.clamp(i64::MIN.into(), i64::MAX.into());
        clamped as i64
    }
}

fn all<T, P>(values: Option<Vec<T>>, into: impl FnMut(T) -> P) -> Vec<P> {
    values.unwrap_or_default().into_iter().map(into).collect()
}

impl Request {
    fn into_proto(self) -> proto::Request {
        proto::Request {
            resource_metrics: all(self.resource_metrics, |sent| proto::ResourceMetrics {
                resource: sent.resource.map(|resource| proto::Resource {
                    attributes: all(resource.attributes, KeyValue::into_proto),
                }),
                scope_metrics: all(sent.scope_metrics, ScopeMetrics::into_proto),
            }),
        }
    }
}

impl ScopeMetrics {
    fn into_proto(self) -> proto::ScopeMetrics {
        proto::ScopeMetrics {
            scope: self.scope.map(|scope| proto::Scope {
                name: scope.name.unwrap_or_default(),
                version: scope.version.unwrap_or_default(),
                attributes: all(scope.attributes, KeyValue::into_proto),
            }),
            metrics: all(self.metrics, Metric::into_proto),
            schema_url: self.schema_url.unwrap_or_default(),
        }
    }
}

impl Metric {
    fn into_proto(self) -> proto::Metric {
        use proto::metric::Data;
        // As in protobuf the last kind in the order of fields counts, if a sender says more than one.
        let gauge = self.gauge.map(|gauge| {
            Data::Gauge(proto::Gauge {
                data_points: all(gauge.data_points, NumberPoint::into_proto),
            })
        });
        let sum = self.sum.map(|sum| {
            Data::Sum(proto::Sum {
                data_points: all(sum.data_points, NumberPoint::into_proto),
                aggregation_temporality: temporality(sum.aggregation_temporality),
                is_monotonic: sum.is_monotonic.unwrap_or(false),
            })
        });
        let histogram = self.histogram.map(|histogram| {
            Data::Histogram(proto::Histogram {
                data_points: all(histogram.data_points, HistogramPoint::into_proto),
                aggregation_temporality: temporality(histogram.aggregation_temporality),
            })
        });
        let exponential = self.exponential_histogram.map(|histogram| {
            Data::ExponentialHistogram(proto::ExponentialHistogram {
                data_points: all(histogram.data_points, ExponentialPoint::into_proto),
                aggregation_temporality: temporality(histogram.aggregation_temporality),
            })
        });
        let summary = self.summary.map(|summary| {
            Data::Summary(proto::Summary {
                data_points: all(summary.data_points, SummaryPoint::into_proto),
            })
        });
        proto::Metric {
            name: self.name.unwrap_or_default(),
            description: self.description.unwrap_or_default(),
            unit: self.unit.unwrap_or_default(),
            data: summary.or(exponential).or(histogram).or(sum).or(gauge),
        }
    }
}

impl NumberPoint {
    fn into_proto(self) -> proto::NumberPoint {
        proto::NumberPoint {
            start_time_unix_nano: self.start_time_unix_nano,
            time_unix_nano: self.time_unix_nano,
            value: match (self.as_double, self.as_int) {
                (Some(number), _) => Some(proto::Number::Double(number.0)),
                (None, Some(number)) => Some(proto::Number::Int(number.int())),
                (None, None) => None,
            },
            exemplars: all(self.exemplars, |exemplar| exemplar.0),
            attributes: all(self.attributes, KeyValue::into_proto),
            flags: self.flags,
        }
    }
}

impl HistogramPoint {
    fn into_proto(self) -> proto::HistogramPoint {
        proto::HistogramPoint {
            start_time_unix_nano: self.start_time_unix_nano,
            time_unix_nano: self.time_unix_nano,
            count: self.count,
            sum: self.sum.map(|sum| sum.0),
            bucket_counts: self.bucket_counts,
            explicit_bounds: numbers(self.explicit_bounds),
            exemplars: all(self.exemplars, |exemplar| exemplar.0),
            attributes: all(self.attributes, KeyValue::into_proto),
            flags: self.flags,
        }
    }
}

impl ExponentialPoint {
    fn into_proto(self) -> proto::ExponentialPoint {
        let buckets = |buckets: Buckets| proto::ExponentialBuckets {
            offset: buckets.offset,
            bucket_counts: buckets.bucket_counts,
        };
        proto::ExponentialPoint {
            attributes: all(self.attributes, KeyValue::into_proto),
            start_time_unix_nano: self.start_time_unix_nano,
            time_unix_nano: self.time_unix_nano,
            count: self.count,
            sum: self.sum.map(|sum| sum.0),
            scale: self.scale,
            zero_count: self.zero_count,
            positive: self.positive.map(buckets),
            negative: self.negative.map(buckets),
            flags: self.flags,
            exemplars: all(self.exemplars, |exemplar| exemplar.0),
        }
    }
}

impl SummaryPoint {
    fn into_proto(self) -> proto::SummaryPoint {
        let number = |number: Option<Number>| number.map_or(0.0, |number| number.0);
        proto::SummaryPoint {
            start_time_unix_nano: self.start_time_unix_nano,
            time_unix_nano: self.time_unix_nano,
            count: self.count,
            sum: number(self.sum),
            quantile_values: all(self.quantile_values, |sent| proto::QuantileValue {
                quantile: number(sent.quantile),
                value: number(sent.value),
            }),
            attributes: all(self.attributes, KeyValue::into_proto),
            flags: self.flags,
        }
    }
}

impl KeyValue {
    fn into_proto(self) -> proto::KeyValue {
        proto::KeyValue {
            key: self.key.unwrap_or_default(),
            value: self.value.map(AnyValue::into_proto),
        }
    }
}

impl AnyValue {
    /// How deep values lie in each other is bounded by what read them.
    fn into_proto(self) -> proto::AnyValue {
        use base64::Engine;
        use proto::any_value::Value;
        let bytes = |text: String| {
            base64::prelude::BASE64_STANDARD
                .decode(text)
                .unwrap_or_default()
        };
        let value = self
            .string_value
            .map(Value::String)
            .or(self.bool_value.map(Value::Bool))
            .or(self.int_value.map(|number| Value::Int(number.int())))
            .or(self.double_value.map(|number| Value::Double(number.0)))
            .or_else(|| {
                self.array_value.map(|array| {
                    let values = all(array.values, AnyValue::into_proto);
                    Value::Array(proto::ArrayValue { values })
                })
            })
            .or_else(|| {
                self.kvlist_value.map(|list| {
                    let values = all(list.values, KeyValue::into_proto);
                    Value::Map(proto::KeyValueList { values })
                })
            })
            .or_else(|| self.bytes_value.map(|text| Value::Bytes(bytes(text))));
        proto::AnyValue { value }
    }
}
