//! Arithmetic of native histograms: sums, differences, scaling, equality, resets.
//!
//! Operands of different resolution are brought to the coarser one, zero buckets to the wider one, custom buckets to
//! the bounds that both have. Exponential and custom buckets do not mix.

pub(crate) mod classic;
mod hints;
pub(crate) mod quantile;
mod reset;
pub(crate) mod sum;
pub(crate) mod trim;

use model::{Buckets, Histogram, ResetHint, Span};

pub use hints::note_resets;
pub(crate) use reset::detect_reset;
pub(crate) use sum::Accumulator;

/// Exponential and custom buckets met in one operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "cannot apply this operation on histograms with a mix of exponential and custom bucket schemas"
)]
pub(crate) struct Incompatible;

/// What an addition or subtraction gave.
#[derive(Clone, Debug)]
pub(crate) struct Combined {
    pub(crate) histogram: Histogram,
    /// One operand was marked as a counter reset, the other as none.
    pub(crate) hints_collide: bool,
    /// Custom bounds differed, and only the common ones are left.
    pub(crate) reconciled: bool,
}

/// `a + b`.
pub(crate) fn add(a: &Histogram, b: &Histogram) -> Result<Combined, Incompatible> {
    combine(a, b, 1.0)
}

/// `a - b`; the reset hint is left as an addition would leave it.
pub(crate) fn sub(a: &Histogram, b: &Histogram) -> Result<Combined, Incompatible> {
    combine(a, b, -1.0)
}

fn combine(a: &Histogram, b: &Histogram, sign: f64) -> Result<Combined, Incompatible> {
    let mut sum = Accumulator::new(a);
    let added = sum.add(b, sign)?;
    Ok(Combined {
        histogram: sum.total(),
        hints_collide: added.hints_collide,
        reconciled: added.reconciled,
    })
}

/// Every count and the sum multiplied; a negative factor makes it a gauge.
pub(crate) fn mul(histogram: &Histogram, factor: f64) -> Histogram {
    let mut result = map(histogram, |value| value * factor);
    if factor < 0.0 {
        result.reset_hint = ResetHint::Gauge;
    }
    result
}

/// Every count and the sum divided; division by zero leaves no buckets.
pub(crate) fn div(histogram: &Histogram, divisor: f64) -> Histogram {
    let mut result = map(histogram, |value| value / divisor);
    if divisor == 0.0 {
        result.positive = Buckets::default();
        result.negative = Buckets::default();
    } else if divisor < 0.0 {
        result.reset_hint = ResetHint::Gauge;
    }
    result
}

fn map(histogram: &Histogram, change: impl Fn(f64) -> f64) -> Histogram {
    let mut result = histogram.clone();
    result.integer = false;
    for value in [&mut result.zero_count, &mut result.count, &mut result.sum] {
        *value = change(*value);
    }
    for count in result
        .positive
        .counts
        .iter_mut()
        .chain(&mut result.negative.counts)
    {
        *count = change(*count);
    }
    result
}

/// The same histogram without empty buckets, neighbouring spans joined.
pub(crate) fn compact(mut histogram: Histogram) -> Histogram {
    for side in [&mut histogram.positive, &mut histogram.negative] {
        let joined = side.spans.iter().skip(1).any(|span| span.offset == 0)
            || side.spans.iter().any(|span| span.length == 0);
        if joined || side.counts.contains(&0.0) {
            *side = from_indexed(side.iter().filter(|(_, count)| *count != 0.0));
        }
    }
    histogram
}

/// Buckets of rising (index, count) pairs; indexes beyond all bounds wrap, as they do where they are read.
fn from_indexed(pairs: impl IntoIterator<Item = (i32, f64)>) -> Buckets {
    let mut buckets = Buckets::default();
    let mut next = 0_i32;
    for (index, count) in pairs {
        match buckets.spans.last_mut() {
            Some(span) if index == next => span.length += 1,
            _ => buckets.spans.push(Span {
                offset: index.wrapping_sub(next),
                length: 1,
            }),
        }
        next = index.wrapping_add(1);
        buckets.counts.push(count);
    }
    buckets
}

/// Equal in every bit except reset hints, as `==` and `changes` compare.
pub(crate) fn equals(a: &Histogram, b: &Histogram) -> bool {
    let bits = |x: f64, y: f64| x.to_bits() == y.to_bits();
    let side = |x: &Buckets, y: &Buckets| {
        x.counts.len() == y.counts.len()
            && x.iter()
                .zip(y.iter())
                .all(|((i, c), (j, d))| i == j && bits(c, d))
    };
    a.schema == b.schema
        && bits(a.count, b.count)
        && bits(a.sum, b.sum)
        && a.custom_values == b.custom_values
        && a.zero_threshold == b.zero_threshold
        && bits(a.zero_count, b.zero_count)
        && side(&a.negative, &b.negative)
        && side(&a.positive, &b.positive)
}

/// Whether the buckets have bounds of their own rather than exponential ones.
pub(crate) fn is_custom(histogram: &Histogram) -> bool {
    histogram.schema == model::CUSTOM_BUCKETS_SCHEMA
}

/// How much a histogram weighs against the limit on samples, in samples of 16 bytes each: as much as in Prometheus.
pub(crate) fn weight(histogram: &Histogram) -> u64 {
    let words = |side: &Buckets| side.spans.len() + side.counts.len();
    let words = words(&histogram.positive) + words(&histogram.negative);
    (22 + words + histogram.custom_values.len()) as u64 / 2
}

/// The index that bucket `index` of a schema has in one that is `steps` coarser.
fn coarser_index(index: i32, steps: u32) -> i32 {
    (index.wrapping_sub(1) >> steps.min(31)).wrapping_add(1)
}

/// How many steps coarser `to` is than `from`.
fn steps_between(from: i32, to: i32) -> u32 {
    u32::try_from(i64::from(from) - i64::from(to)).unwrap_or(0)
}

/// Buckets brought to a coarser schema, counts of merged ones added up.
pub(crate) fn at_schema(side: &Buckets, from: i32, to: i32) -> Vec<(i32, f64)> {
    let steps = steps_between(from, to);
    let mut merged: Vec<(i32, f64)> = Vec::with_capacity(side.counts.len());
    for (index, count) in side.iter() {
        let index = coarser_index(index, steps);
        match merged.last_mut() {
            Some((last, sum)) if *last == index => *sum += count,
            _ => merged.push((index, count)),
        }
    }
    merged
}

/// The upper bound of an exponential bucket.
fn bound(schema: i32, index: i32) -> f64 {
    let schema_only = Histogram {
        schema,
        ..Histogram::default()
    };
    schema_only.upper_bound(index)
}

/// A bucket with its bounds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Bucket {
    pub(crate) lower: f64,
    pub(crate) upper: f64,
    pub(crate) count: f64,
}

/// All buckets from the lowest to the highest, empty ones included; where the zero bucket reaches into another
/// bucket, that one begins where the zero bucket ends.
pub(crate) fn buckets(histogram: &Histogram) -> Vec<Bucket> {
    let zero = histogram.zero_threshold;
    let mut all: Vec<Bucket> = side_buckets(histogram, false);
    all.reverse();
    if histogram.zero_count > 0.0 {
        all.push(Bucket {
            lower: -zero,
            upper: zero,
            count: histogram.zero_count,
        });
    }
    all.extend(side_buckets(histogram, true));
    for bucket in &mut all {
        if bucket.upper < 0.0 && bucket.upper > -zero {
            bucket.upper = -zero;
        } else if bucket.lower > 0.0 && bucket.lower < zero {
            bucket.lower = zero;
        }
    }
    all
}

/// The buckets of one side, away from zero.
pub(crate) fn side_buckets(histogram: &Histogram, positive: bool) -> Vec<Bucket> {
    let side = if positive {
        &histogram.positive
    } else {
        &histogram.negative
    };
    side.iter()
        .map(|(index, count)| {
            let near = histogram.upper_bound(index.wrapping_sub(1));
            let far = histogram.upper_bound(index);
            let (lower, upper) = if positive { (near, far) } else { (-far, -near) };
            Bucket {
                lower,
                upper,
                count,
            }
        })
        .collect()
}

impl Bucket {
    /// The part of the bucket below `value`, which lies inside its finite bounds: linear, or on a logarithmic scale.
    pub(crate) fn fraction_below(&self, value: f64, linear: bool) -> f64 {
        if linear {
            return (value - self.lower) / (self.upper - self.lower);
        }
        let lower = self.lower.abs().log2();
        let upper = self.upper.abs().log2();
        let value_log = value.abs().log2();
        if value > 0.0 {
            (value_log - lower) / (upper - lower)
        } else {
            1.0 - (value_log - upper) / (lower - upper)
        }
    }
}

#[cfg(test)]
mod tests;
