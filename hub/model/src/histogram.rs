use std::fmt;

/// The schema number of histograms whose bounds are given one by one.
pub const CUSTOM_BUCKETS_SCHEMA: i32 = -53;
/// The coarsest exponential schema: bounds grow by 2^16.
pub const SCHEMA_MIN: i32 = -4;
/// The finest exponential schema that is stored: bounds grow by 2^(1/256).
pub const SCHEMA_MAX: i32 = 8;

/// Buckets a histogram may have, both sides together: a hostile span length must not become memory.
const BUCKETS_MAX: u64 = 100_000;

/// Whether the counts fell since the sample before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum ResetHint {
    /// Not known: compare to find out.
    #[default]
    Unknown,
    /// It is a reset.
    Reset,
    /// It is not a reset.
    NotReset,
    /// The counts may fall: there are no resets.
    Gauge,
}

/// A run of neighbouring buckets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Span {
    /// Gap to the bucket after the last span; in the first span the index of its first bucket.
    pub offset: i32,
    /// How many buckets.
    pub length: u32,
}

/// One side of a histogram: `counts` has one absolute (not cumulative) count per bucket of the spans.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Buckets {
    /// Where the buckets lie.
    pub spans: Vec<Span>,
    /// How many observations each has.
    pub counts: Vec<f64>,
}

impl Buckets {
    /// Each bucket's index and count, in rising order of index.
    pub fn iter(&self) -> impl Iterator<Item = (i32, f64)> + '_ {
        let mut next = 0_i32;
        let indexes = self.spans.iter().flat_map(move |span| {
            let first = next.wrapping_add(span.offset);
            next = first.wrapping_add(span.length as i32);
            (0..span.length).map(move |k| first.wrapping_add(k as i32))
        });
        indexes.zip(self.counts.iter().copied())
    }

    /// From rising (index, count) pairs.
    pub fn from_indexed(pairs: impl IntoIterator<Item = (i32, f64)>) -> Self {
        let mut buckets = Buckets::default();
        let mut next = 0_i32;
        for (index, count) in pairs {
            match buckets.spans.last_mut() {
                Some(span) if index == next => span.length += 1,
                _ => buckets.spans.push(Span {
                    offset: index - next,
                    length: 1,
                }),
            }
            next = index + 1;
            buckets.counts.push(count);
        }
        buckets
    }

    /// The buckets of a schema that is `by` lower, each of which takes in 2^`by` of these: the upper bound 2^(i/2^s) of bucket i decides
    /// where it goes. The spans must be in order, as [`Histogram::validate`] says.
    pub fn coarser(&self, by: u32) -> Self {
        let mut joined: Vec<(i32, f64)> = Vec::new();
        for (index, count) in self.iter() {
            let target = ((i64::from(index) - 1) >> by.min(32)) as i32 + 1;
            match joined.last_mut() {
                Some((last, sum)) if *last == target => *sum += count,
                _ => joined.push((target, count)),
            }
        }
        Buckets::from_indexed(joined)
    }

    /// No buckets at all.
    pub fn is_empty(&self) -> bool {
        self.counts.is_empty()
    }

    fn check(&self, side: &'static str, custom: bool) -> Result<(), HistogramError> {
        let claimed: u64 = self.spans.iter().map(|span| u64::from(span.length)).sum();
        if claimed != self.counts.len() as u64 {
            return Err(HistogramError::SpansDisagree {
                side,
                spans: claimed,
                counts: self.counts.len(),
            });
        }
        let gaps = self.spans.iter().enumerate();
        for (number, span) in gaps {
            if span.offset < 0 && (number > 0 || custom) {
                return Err(HistogramError::NegativeOffset {
                    side,
                    number,
                    offset: span.offset,
                });
            }
        }
        let reach: i64 = self
            .spans
            .iter()
            .map(|s| i64::from(s.offset) + i64::from(s.length))
            .sum();
        if i32::try_from(reach).is_err() {
            return Err(HistogramError::TooManyBuckets {
                found: claimed,
                at_most: BUCKETS_MAX,
            });
        }
        match self.counts.iter().find(|count| **count < 0.0) {
            Some(count) => Err(HistogramError::NegativeCount {
                side,
                count: *count,
            }),
            None => Ok(()),
        }
    }
}

/// A native histogram (Prometheus's sparse histogram; <https://prometheus.io/docs/specs/native_histograms/>).
///
/// Counts are floats; `integer` remembers that the source counted whole numbers. Bucket `i` of exponential
/// schema `s` holds (b^(i-1), b^i] with b = 2^(2^-s), on the negative side mirrored; bucket `i` of a
/// custom-bounds histogram holds (`custom_values[i-1]`, `custom_values[i]`].
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Histogram {
    /// -4 to 8, or [`CUSTOM_BUCKETS_SCHEMA`].
    pub schema: i32,
    /// Observations within ± this count as zero.
    pub zero_threshold: f64,
    /// How many did.
    pub zero_count: f64,
    /// All observations, NaN ones too.
    pub count: f64,
    /// Their sum; the staleness marker here makes the sample stale.
    pub sum: f64,
    /// Buckets above zero.
    pub positive: Buckets,
    /// Buckets below zero.
    pub negative: Buckets,
    /// Upper bounds with the custom schema, rising, `+Inf` implied; else empty.
    pub custom_values: Vec<f64>,
    /// What is known about a reset.
    pub reset_hint: ResetHint,
    /// The source counted whole numbers.
    pub integer: bool,
}

/// Why a histogram is not valid (Prometheus `model/histogram` `Validate`).
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum HistogramError {
    #[error("unknown histogram schema {schema}: -4 to 8 and -53 (custom bounds) are known")]
    UnknownSchema { schema: i32 },
    #[error("{side} side: spans need {spans} buckets, have {counts} buckets")]
    SpansDisagree {
        side: &'static str,
        spans: u64,
        counts: usize,
    },
    #[error(
        "{side} side: span number {number} with offset {offset}: only the first span may go back"
    )]
    NegativeOffset {
        side: &'static str,
        number: usize,
        offset: i32,
    },
    #[error("{side} side: bucket with a negative count {count}")]
    NegativeCount { side: &'static str, count: f64 },
    #[error("{found} observations in the buckets, but the count is {count}")]
    CountMismatch { found: f64, count: f64 },
    #[error("{found} buckets: at most {at_most} are taken")]
    TooManyBuckets { found: u64, at_most: u64 },
    #[error("custom bounds must rise and be finite: {before} is followed by {after}")]
    BoundsDoNotRise { before: f64, after: f64 },
    #[error("a histogram with custom bounds has {what}, which only exponential ones have")]
    NotForCustom { what: &'static str },
    #[error("an exponential histogram has custom bounds")]
    NotForExponential,
    #[error("only {bounds} custom bounds for buckets up to number {bucket}")]
    TooFewBounds { bounds: usize, bucket: i64 },
}

/// One bucket with its bounds, as the HTTP API shows it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BucketBound {
    /// Lower bound.
    pub lower: f64,
    /// Upper bound.
    pub upper: f64,
    /// Whether an observation equal to the lower bound is in here.
    pub lower_inclusive: bool,
    /// Whether an observation equal to the upper bound is in here.
    pub upper_inclusive: bool,
    /// Observations.
    pub count: f64,
}

impl Histogram {
    /// Whether the bounds are given one by one.
    pub fn has_custom_buckets(&self) -> bool {
        self.schema == CUSTOM_BUCKETS_SCHEMA
    }

    /// Makes the buckets those of a lower schema. Nothing changes where the bounds are given one by one, or the schema is that or lower.
    pub fn reduce_resolution(&mut self, schema: i32) {
        if self.has_custom_buckets() || schema >= self.schema {
            return;
        }
        let by = self.schema.abs_diff(schema);
        self.positive = self.positive.coarser(by);
        self.negative = self.negative.coarser(by);
        self.schema = schema;
    }

    /// Whether everything fits together.
    ///
    /// # Errors
    /// The first thing that does not.
    pub fn validate(&self) -> Result<(), HistogramError> {
        let custom = self.has_custom_buckets();
        let buckets = (self.positive.counts.len() + self.negative.counts.len()) as u64;
        if buckets > BUCKETS_MAX {
            return Err(HistogramError::TooManyBuckets {
                found: buckets,
                at_most: BUCKETS_MAX,
            });
        }
        if custom {
            self.validate_custom()?;
        } else if !(SCHEMA_MIN..=SCHEMA_MAX).contains(&self.schema) {
            return Err(HistogramError::UnknownSchema {
                schema: self.schema,
            });
        } else if !self.custom_values.is_empty() {
            return Err(HistogramError::NotForExponential);
        }
        self.positive.check("positive", custom)?;
        self.negative.check("negative", custom)?;
        if self.zero_count < 0.0 {
            return Err(HistogramError::NegativeCount {
                side: "zero",
                count: self.zero_count,
            });
        }
        if self.count < 0.0 {
            return Err(HistogramError::NegativeCount {
                side: "whole",
                count: self.count,
            });
        }
        self.validate_count()
    }

    fn validate_custom(&self) -> Result<(), HistogramError> {
        for pair in self.custom_values.windows(2) {
            if pair[0].partial_cmp(&pair[1]) != Some(std::cmp::Ordering::Less) {
                return Err(HistogramError::BoundsDoNotRise {
                    before: pair[0],
                    after: pair[1],
                });
            }
        }
        if let Some(odd) = self.custom_values.iter().find(|bound| !bound.is_finite()) {
            return Err(HistogramError::BoundsDoNotRise {
                before: *odd,
                after: *odd,
            });
        }
        if !self.negative.is_empty() || !self.negative.spans.is_empty() {
            return Err(HistogramError::NotForCustom {
                what: "negative buckets",
            });
        }
        if self.zero_count != 0.0 {
            return Err(HistogramError::NotForCustom {
                what: "a zero bucket",
            });
        }
        let reach: i64 = self
            .positive
            .spans
            .iter()
            .map(|s| i64::from(s.offset) + i64::from(s.length))
            .sum();
        if reach > self.custom_values.len() as i64 + 1 {
            return Err(HistogramError::TooFewBounds {
                bounds: self.custom_values.len(),
                bucket: reach,
            });
        }
        Ok(())
    }

    /// Whole counts must add up; with NaN observations (which are in no bucket) the sum is NaN and the count
    /// may be higher. Float counts are not compared: they carry rounding errors.
    fn validate_count(&self) -> Result<(), HistogramError> {
        if !self.integer {
            return Ok(());
        }
        let found: f64 = self.zero_count
            + self.positive.counts.iter().sum::<f64>()
            + self.negative.counts.iter().sum::<f64>();
        let fits = if self.sum.is_nan() {
            found <= self.count
        } else {
            found == self.count
        };
        if fits {
            Ok(())
        } else {
            Err(HistogramError::CountMismatch {
                found,
                count: self.count,
            })
        }
    }

    /// The upper bound of positive bucket `index`.
    pub fn upper_bound(&self, index: i32) -> f64 {
        if self.has_custom_buckets() {
            return match usize::try_from(index) {
                Ok(at) => self.custom_values.get(at).copied().unwrap_or(f64::INFINITY),
                Err(_) => f64::NEG_INFINITY,
            };
        }
        exponential_bound(self.schema, index)
    }

    /// All buckets that hold something, from the lowest to the highest.
    pub fn all_buckets(&self) -> Vec<BucketBound> {
        let custom = self.has_custom_buckets();
        let mut all: Vec<BucketBound> =
            Vec::with_capacity(self.positive.counts.len() + self.negative.counts.len() + 1);
        for (index, count) in self.negative.iter() {
            all.push(BucketBound {
                lower: -self.upper_bound(index),
                upper: -self.upper_bound(index.wrapping_sub(1)),
                lower_inclusive: true,
                upper_inclusive: false,
                count,
            });
        }
        all.reverse();
        if self.zero_count != 0.0 {
            let (lower, upper) = (-self.zero_threshold, self.zero_threshold);
            all.push(BucketBound {
                lower,
                upper,
                lower_inclusive: true,
                upper_inclusive: true,
                count: self.zero_count,
            });
        }
        for (index, count) in self.positive.iter() {
            let lower = self.upper_bound(index.wrapping_sub(1));
            let upper = self.upper_bound(index);
            let lower_inclusive = custom && lower == f64::NEG_INFINITY;
            all.push(BucketBound {
                lower,
                upper,
                lower_inclusive,
                upper_inclusive: true,
                count,
            });
        }
        all.retain(|bucket| bucket.count != 0.0);
        all
    }

    /// Equal in every bit, NaNs included.
    pub fn same_bits(&self, other: &Self) -> bool {
        let bits = |values: &[f64], others: &[f64]| {
            values.len() == others.len()
                && values
                    .iter()
                    .zip(others)
                    .all(|(a, b)| a.to_bits() == b.to_bits())
        };
        (self.schema, self.reset_hint, self.integer)
            == (other.schema, other.reset_hint, other.integer)
            && bits(
                &[self.zero_threshold, self.zero_count, self.count, self.sum],
                &[
                    other.zero_threshold,
                    other.zero_count,
                    other.count,
                    other.sum,
                ],
            )
            && self.positive.spans == other.positive.spans
            && self.negative.spans == other.negative.spans
            && bits(&self.positive.counts, &other.positive.counts)
            && bits(&self.negative.counts, &other.negative.counts)
            && bits(&self.custom_values, &other.custom_values)
    }
}

impl fmt::Display for Histogram {
    /// As Prometheus prints it: `{count:12, sum:18.4, [-0.001,0.001]:2, (0.5,1]:3}`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{{count:{}, sum:{}", self.count, self.sum)?;
        for b in self.all_buckets() {
            let open = if b.lower_inclusive { '[' } else { '(' };
            let close = if b.upper_inclusive { ']' } else { ')' };
            write!(f, ", {open}{},{}{close}:{}", b.lower, b.upper, b.count)?;
        }
        f.write_str("}")
    }
}

/// b^index with b = 2^(2^-schema), exact where a double can be: the fraction within a power of two is
/// computed once per bucket of it, the power itself by exponent.
fn exponential_bound(schema: i32, index: i32) -> f64 {
    if schema < 0 {
        let exponent = i64::from(index) << (-schema).min(8);
        return match exponent {
            // The greatest finite bound is cut to the greatest double, as Prometheus does.
            1024 => f64::MAX,
            e => power_of_two(e),
        };
    }
    let per_power = 1_i64 << schema.min(8);
    let (whole, part) = (
        i64::from(index).div_euclid(per_power),
        i64::from(index).rem_euclid(per_power),
    );
    if part == 0 && whole == 1024 {
        return f64::MAX;
    }
    let fraction = 2_f64.powf(part as f64 / per_power as f64);
    if whole == 1024 {
        f64::INFINITY
    } else {
        fraction * power_of_two(whole)
    }
}

fn power_of_two(exponent: i64) -> f64 {
    2_f64.powi(exponent.clamp(-1100, 1100) as i32)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(positive: &[(i32, f64)]) -> Histogram {
        let count = positive.iter().map(|(_, c)| c).sum();
        Histogram {
            count,
            sum: 1.0,
            positive: Buckets::from_indexed(positive.iter().copied()),
            integer: true,
            ..Histogram::default()
        }
    }

    #[test]
    fn buckets_there_and_back() {
        let pairs = [(-3, 1.0), (-2, 2.0), (4, 3.0), (5, 0.0), (9, 1.0)];
        let buckets = Buckets::from_indexed(pairs);
        assert_eq!(buckets.iter().collect::<Vec<_>>(), pairs);
        assert_eq!(buckets.spans.len(), 3);
    }

    #[test]
    fn bounds() {
        let check = |schema, index, bound: f64| {
            let found = exponential_bound(schema, index);
            assert!(
                (found - bound).abs() <= bound.abs() * 1e-15,
                "{schema} {index}: {found}"
            );
        };
        check(0, 0, 1.0);
        check(0, 1, 2.0);
        check(0, -1, 0.5);
        check(1, 1, std::f64::consts::SQRT_2);
        check(1, 2, 2.0);
        check(1, -1, std::f64::consts::FRAC_1_SQRT_2);
        check(-1, 1, 4.0);
        check(-4, 1, 65536.0);
        check(0, 1024, f64::MAX);
        check(-4, 64, f64::MAX);
        assert_eq!(exponential_bound(0, 1025), f64::INFINITY);
        assert_eq!(exponential_bound(8, i32::MAX), f64::INFINITY);
    }

    #[test]
    fn validates() {
        let check = |change: &dyn Fn(&mut Histogram), ok: bool| {
            let mut histogram = counted(&[(0, 1.0), (1, 2.0)]);
            change(&mut histogram);
            assert_eq!(histogram.validate().is_ok(), ok, "{histogram:?}");
        };
        check(&|_| {}, true);
        check(&|h| h.count = 4.0, false);
        check(&|h| (h.count, h.sum) = (4.0, f64::NAN), true);
        check(&|h| (h.count, h.integer) = (4.0, false), true);
        check(&|h| h.schema = 9, false);
        check(&|h| h.positive.counts[0] = -1.0, false);
        check(&|h| h.positive.spans[0].length = u32::MAX, false);
        check(&|h| h.positive.spans[0].offset = i32::MAX, false);
        check(&|h| h.custom_values = vec![1.0], false);
        check(
            &|h| (h.schema, h.custom_values) = (CUSTOM_BUCKETS_SCHEMA, vec![1.0]),
            true,
        );
        check(
            &|h| (h.schema, h.custom_values) = (CUSTOM_BUCKETS_SCHEMA, vec![2.0, 1.0]),
            false,
        );
        check(
            &|h| (h.schema, h.custom_values) = (CUSTOM_BUCKETS_SCHEMA, vec![]),
            false,
        );
    }

    #[test]
    fn prints() {
        let mut histogram = counted(&[(0, 1.0), (1, 2.0)]);
        histogram.zero_count = 1.0;
        histogram.zero_threshold = 0.25;
        histogram.negative = Buckets::from_indexed([(0, 1.0), (1, 3.0)]);
        let text = "{count:3, sum:1, [-2,-1):3, [-1,-0.5):1, [-0.25,0.25]:1, (0.5,1]:1, (1,2]:2}";
        assert_eq!(histogram.to_string(), text);
    }
}
