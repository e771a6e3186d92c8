//! The operators `</` and `>/`: a histogram without its observations above or below a value. A bucket that the value
//! cuts is split by interpolation; the sum is estimated anew from the middles of what is left.

use model::Histogram;

use super::{Bucket, compact, is_custom, side_buckets};

/// Which observations are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Keep {
    Below,
    Above,
}

/// What is left of a bucket: its count and where the middle of it lies.
#[derive(Clone, Copy)]
struct Left {
    count: f64,
    middle: f64,
}

/// The observations on one side of `value`.
pub(crate) fn trim(histogram: &Histogram, value: f64, keep: Keep) -> Histogram {
    let linear = is_custom(histogram);
    let mut result = histogram.clone();
    result.integer = false;
    let (mut count, mut sum, mut trimmed) = (0.0, 0.0, false);
    let mut filled = [false, false];
    for (at, positive) in [true, false].into_iter().enumerate() {
        let buckets = side_buckets(histogram, positive);
        let counts = if positive {
            &mut result.positive.counts
        } else {
            &mut result.negative.counts
        };
        for (bucket, kept) in buckets.iter().zip(counts) {
            if bucket.count == 0.0 {
                continue;
            }
            filled[at] = true;
            let left = trim_bucket(*bucket, value, keep, positive, linear);
            count += left.count;
            sum += left.middle * left.count;
            if *kept != left.count {
                *kept = left.count;
                trimmed = true;
            }
        }
    }
    if histogram.zero_count > 0.0 {
        let left = trim_zero(histogram, value, keep, filled);
        count += left.count;
        sum += left.middle * left.count;
        if result.zero_count != left.count {
            result.zero_count = left.count;
            trimmed = true;
        }
    }
    if trimmed {
        result.count = count;
        result.sum = sum;
        result = compact(result);
    }
    result
}

fn trim_bucket(bucket: Bucket, value: f64, keep: Keep, positive: bool, linear: bool) -> Left {
    let (whole, cut) = match keep {
        Keep::Below => (bucket.upper <= value, bucket.lower < value),
        Keep::Above => (bucket.lower >= value, bucket.upper > value),
    };
    if whole {
        let middle = middle(bucket.lower, bucket.upper, positive, linear);
        return Left {
            count: bucket.count,
            middle,
        };
    }
    if !cut {
        return Left {
            count: 0.0,
            middle: 0.0,
        };
    }
    if bucket.lower == f64::NEG_INFINITY || bucket.upper == f64::INFINITY {
        return trim_infinite(bucket, value, keep);
    }
    let below = if value <= bucket.lower {
        0.0
    } else if value >= bucket.upper {
        bucket.count
    } else {
        bucket.count * bucket.fraction_below(value, linear)
    };
    match keep {
        Keep::Below => Left {
            count: below,
            middle: middle(bucket.lower, value, positive, linear),
        },
        Keep::Above => Left {
            count: bucket.count - below,
            middle: middle(value, bucket.upper, positive, linear),
        },
    }
}

/// A bucket that reaches to infinity and is cut: where it reaches over zero, observations are taken to be positive.
fn trim_infinite(bucket: Bucket, value: f64, keep: Keep) -> Left {
    let finite_or_zero = |bound: f64| if bound.is_infinite() { 0.0 } else { bound };
    let left = |count, middle| Left { count, middle };
    let Bucket {
        lower,
        upper,
        count,
    } = bucket;
    if lower == f64::NEG_INFINITY {
        return match keep {
            Keep::Below if value >= upper => left(count, 0.0),
            Keep::Below if value > 0.0 && upper > 0.0 && upper != f64::INFINITY => {
                left(count * value / upper, value / 2.0)
            }
            Keep::Below if upper <= 0.0 => left(count, value),
            Keep::Above if value <= lower => left(count, 0.0),
            Keep::Above if value >= 0.0 && upper > value && upper != f64::INFINITY => {
                left(count * (1.0 - value / upper), (value + upper) / 2.0)
            }
            _ => left(0.0, finite_or_zero(upper)),
        };
    }
    match keep {
        Keep::Above if value >= lower => left(count, value),
        _ => left(0.0, finite_or_zero(lower)),
    }
}

/// The zero bucket; beside buckets of one sign only, it lies on that side.
fn trim_zero(histogram: &Histogram, value: f64, keep: Keep, filled: [bool; 2]) -> Left {
    let [positive, negative] = filled;
    let mut lower = -histogram.zero_threshold;
    let mut upper = histogram.zero_threshold;
    if negative && !positive {
        upper = 0.0;
    }
    if positive && !negative {
        lower = 0.0;
    }
    let count = histogram.zero_count;
    let left = |part: f64, middle| Left {
        count: count * part,
        middle,
    };
    let whole = left(1.0, (lower + upper) / 2.0);
    match keep {
        Keep::Below if value <= lower => left(0.0, 0.0),
        Keep::Below if value >= upper => whole,
        Keep::Below => left((value - lower) / (upper - lower), (lower + value) / 2.0),
        Keep::Above if value <= lower => whole,
        Keep::Above if value >= upper => left(0.0, 0.0),
        Keep::Above => left((upper - value) / (upper - lower), (value + upper) / 2.0),
    }
}

fn middle(lower: f64, upper: f64, positive: bool, linear: bool) -> f64 {
    if lower.is_infinite() {
        return match upper {
            upper if upper.is_infinite() => 0.0,
            upper if upper > 0.0 => upper / 2.0,
            upper => upper,
        };
    }
    if upper.is_infinite() {
        return lower;
    }
    if linear {
        return (lower + upper) / 2.0;
    }
    let geometric = (lower * upper).abs().sqrt();
    if positive { geometric } else { -geometric }
}
