use std::sync::Arc;

use crate::{Histogram, Timestamp};

/// The bits of the staleness marker: a NaN that says "this series ended here" (Prometheus
/// `model/value/value.go`). Any other NaN is an ordinary value.
pub const STALE_NAN_BITS: u64 = 0x7ff0_0000_0000_0002;

/// The staleness marker.
pub fn stale_nan() -> f64 {
    f64::from_bits(STALE_NAN_BITS)
}

/// Whether a value is the staleness marker, bit for bit.
pub fn is_stale(value: f64) -> bool {
    value.to_bits() == STALE_NAN_BITS
}

/// What a sample holds.
#[derive(Clone, Debug)]
pub enum Value {
    /// A number; the bits of a NaN are kept.
    Float(f64),
    /// A native histogram; stale when its sum is the staleness marker.
    Histogram(Arc<Histogram>),
}

impl Value {
    /// Whether this marks the end of a series.
    pub fn is_stale(&self) -> bool {
        match self {
            Value::Float(value) => is_stale(*value),
            Value::Histogram(histogram) => is_stale(histogram.sum),
        }
    }
}

impl PartialEq for Value {
    /// Equal bits: a NaN equals itself, and the staleness marker only itself.
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Value::Float(a), Value::Float(b)) => a.to_bits() == b.to_bits(),
            (Value::Histogram(a), Value::Histogram(b)) => a.same_bits(b),
            _ => false,
        }
    }
}

/// One value of a series at one instant.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// When it was measured.
    pub at: Timestamp,
    /// Since when a counter or histogram counts, where the source says so.
    pub start: Option<Timestamp>,
    /// What was measured.
    pub value: Value,
}

impl Sample {
    /// A number at an instant.
    pub fn float(at: Timestamp, value: f64) -> Self {
        Sample {
            at,
            start: None,
            value: Value::Float(value),
        }
    }

    /// A native histogram at an instant.
    pub fn histogram(at: Timestamp, value: Histogram) -> Self {
        Sample {
            at,
            start: None,
            value: Value::Histogram(Arc::new(value)),
        }
    }

    /// The end of a series at an instant.
    pub fn stale(at: Timestamp) -> Self {
        Sample::float(at, stale_nan())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_marker_is_stale() {
        assert!(is_stale(stale_nan()));
        assert!(!is_stale(f64::NAN));
        assert!(stale_nan().is_nan());
        assert_eq!(Value::Float(f64::NAN), Value::Float(f64::NAN));
        assert_ne!(Value::Float(f64::NAN), Value::Float(stale_nan()));
        assert_ne!(Value::Float(0.0), Value::Float(-0.0));
    }
}
