//! Quantiles and fractions of native histograms, by interpolation inside a bucket.

use model::Histogram;

use super::{Bucket, buckets, is_custom};

/// NaN observations are counted but lie in no bucket; a result may suffer from them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NanEffect {
    /// There are none, or they do not matter.
    None,
    /// The result is NaN because of them.
    Result,
    /// The result is off because of them.
    Skew,
}

/// The `q`-quantile.
pub(crate) fn quantile(q: f64, histogram: &Histogram) -> (f64, NanEffect) {
    if q < 0.0 {
        return (f64::NEG_INFINITY, NanEffect::None);
    }
    if q > 1.0 {
        return (f64::INFINITY, NanEffect::None);
    }
    if histogram.count == 0.0 || q.is_nan() {
        return (f64::NAN, NanEffect::None);
    }
    let has_nan = histogram.sum.is_nan();
    let mut all = buckets(histogram);
    // From the near end, for accuracy; NaN observations count as the highest, so then always from below.
    let upwards = has_nan || q < 0.5;
    let mut rank = if upwards { q } else { 1.0 - q } * histogram.count;
    if !upwards {
        all.reverse();
    }
    let mut bucket = Bucket {
        lower: 0.0,
        upper: 0.0,
        count: 0.0,
    };
    let mut count = 0.0;
    let mut rest = all.iter();
    for one in rest.by_ref() {
        bucket = *one;
        if one.count == 0.0 {
            continue;
        }
        count += one.count;
        if count >= rank {
            break;
        }
    }
    let custom = is_custom(histogram);
    if custom {
        if bucket.lower == f64::NEG_INFINITY {
            if bucket.upper <= 0.0 {
                return (bucket.upper, NanEffect::None);
            }
            bucket.lower = 0.0;
        } else if bucket.upper == f64::INFINITY {
            return (bucket.lower, NanEffect::None);
        }
    } else if bucket.lower < 0.0 && bucket.upper > 0.0 {
        one_sided(&mut bucket, histogram);
    }
    count = count.min(histogram.count);
    if count < rank {
        if has_nan {
            return (f64::NAN, NanEffect::Result);
        }
        return (bucket.upper, NanEffect::None);
    }
    if upwards {
        rank -= count - bucket.count;
    } else {
        rank = count - rank;
    }
    let mut effect = NanEffect::None;
    if has_nan && count + rest.map(|b| b.count).sum::<f64>() < histogram.count {
        effect = NanEffect::Skew;
    }
    let fraction = rank / bucket.count;
    if custom || (bucket.lower <= 0.0 && bucket.upper >= 0.0) {
        return (
            bucket.lower + (bucket.upper - bucket.lower) * fraction,
            effect,
        );
    }
    let (lower, upper) = (bucket.lower.abs().log2(), bucket.upper.abs().log2());
    let value = if bucket.lower > 0.0 {
        (lower + (upper - lower) * fraction).exp2()
    } else {
        -(upper + (lower - upper) * (1.0 - fraction)).exp2()
    };
    (value, effect)
}

/// The zero bucket of a histogram that has buckets on one side only lies on that side.
fn one_sided(bucket: &mut Bucket, histogram: &Histogram) {
    match (
        histogram.negative.counts.is_empty(),
        histogram.positive.counts.is_empty(),
    ) {
        (true, false) => bucket.lower = 0.0,
        (false, true) => bucket.upper = 0.0,
        _ => {}
    }
}

/// The part of all observations between `lower` and `upper`.
pub(crate) fn fraction(lower: f64, upper: f64, histogram: &Histogram) -> (f64, NanEffect) {
    if histogram.count == 0.0 || lower.is_nan() || upper.is_nan() {
        return (f64::NAN, NanEffect::None);
    }
    if lower >= upper {
        return (0.0, NanEffect::None);
    }
    let custom = is_custom(histogram);
    let all = buckets(histogram);
    let (mut lower_rank, mut upper_rank) = (None, None);
    let mut rank = 0.0;
    for bucket in &all {
        let mut bucket = *bucket;
        let zero = bucket.lower <= 0.0 && bucket.upper >= 0.0;
        if zero {
            one_sided(&mut bucket, histogram);
        }
        for (value, found) in [(lower, &mut lower_rank), (upper, &mut upper_rank)] {
            if found.is_some() {
                continue;
            }
            if bucket.lower >= value {
                *found = Some(rank);
            } else if bucket.upper > value {
                let linear = custom || zero;
                *found = Some(if linear && bucket.lower == f64::NEG_INFINITY {
                    bucket.count
                } else {
                    rank + bucket.count * bucket.fraction_below(value, linear)
                });
            }
        }
        if lower_rank.is_some() && upper_rank.is_some() {
            break;
        }
        rank += bucket.count;
    }
    let mut effect = NanEffect::None;
    let mut count = histogram.count;
    if histogram.sum.is_nan() {
        count = all.iter().map(|b| b.count).sum();
        if count < histogram.count {
            effect = NanEffect::Skew;
        }
    }
    let capped = |rank: Option<f64>| rank.filter(|rank| *rank <= count).unwrap_or(count);
    (
        (capped(upper_rank) - capped(lower_rank)) / histogram.count,
        effect,
    )
}

/// Variance of the observations, each taken to lie in the middle of its bucket.
pub(crate) fn variance(histogram: &Histogram) -> f64 {
    let mean = histogram.sum / histogram.count;
    let mut sum = crate::kahan::Sum::default();
    for bucket in buckets(histogram) {
        if bucket.count == 0.0 {
            continue;
        }
        let middle = if is_custom(histogram) {
            (bucket.upper + bucket.lower) / 2.0
        } else if bucket.lower <= 0.0 && bucket.upper >= 0.0 {
            0.0
        } else {
            let middle = (bucket.upper * bucket.lower).sqrt();
            if bucket.upper < 0.0 { -middle } else { middle }
        };
        let delta = middle - mean;
        sum = sum.plus(bucket.count * delta * delta);
    }
    sum.total() / histogram.count
}
