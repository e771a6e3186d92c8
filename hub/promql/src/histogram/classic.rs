//! Quantiles and fractions of classic histograms: cumulative counts by upper bound, one series per bucket.

/// A cumulative bucket.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct ClassicBucket {
    pub(crate) upper: f64,
    pub(crate) count: f64,
}

/// Counts that fell from one bucket to the next and were raised: between which bounds, and by how much at most.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Forced {
    pub(crate) lowest: f64,
    pub(crate) highest: f64,
    pub(crate) greatest: f64,
}

/// The `q`-quantile, interpolated linearly.
pub(crate) fn quantile(q: f64, buckets: &mut Vec<ClassicBucket>) -> (f64, Option<Forced>) {
    if q.is_nan() {
        return (f64::NAN, None);
    }
    if q < 0.0 {
        return (f64::NEG_INFINITY, None);
    }
    if q > 1.0 {
        return (f64::INFINITY, None);
    }
    if !arrange(buckets) {
        return (f64::NAN, None);
    }
    let forced = make_monotonic(buckets);
    let last = buckets.len() - 1;
    let observations = buckets[last].count;
    if last == 0 || observations == 0.0 {
        return (f64::NAN, forced);
    }
    let mut rank = q * observations;
    let at = buckets[..last]
        .iter()
        .position(|bucket| bucket.count >= rank);
    let at = at.unwrap_or(last);
    if at == last {
        return (buckets[last - 1].upper, forced);
    }
    let ClassicBucket {
        upper: end,
        mut count,
    } = buckets[at];
    if at == 0 && end <= 0.0 {
        return (end, forced);
    }
    let mut start = 0.0;
    if at > 0 {
        start = buckets[at - 1].upper;
        count -= buckets[at - 1].count;
        rank -= buckets[at - 1].count;
    }
    (start + (end - start) * (rank / count), forced)
}

/// The part of all observations between `lower` and `upper`.
pub(crate) fn fraction(lower: f64, upper: f64, buckets: &mut Vec<ClassicBucket>) -> f64 {
    if !arrange(buckets) {
        return f64::NAN;
    }
    let count = buckets[buckets.len() - 1].count;
    if count == 0.0 || lower.is_nan() || upper.is_nan() {
        return f64::NAN;
    }
    if lower >= upper {
        return 0.0;
    }
    let mut start = if buckets[0].upper <= 0.0 {
        f64::NEG_INFINITY
    } else {
        0.0
    };
    let (mut lower_rank, mut upper_rank) = (None, None);
    let mut rank = 0.0;
    for bucket in buckets.iter() {
        let end = bucket.upper;
        for (value, found) in [(lower, &mut lower_rank), (upper, &mut upper_rank)] {
            if found.is_some() {
                continue;
            }
            if start >= value {
                *found = Some(rank);
            } else if end > value {
                *found = Some(if start == f64::NEG_INFINITY {
                    bucket.count
                } else {
                    rank + (bucket.count - rank) * (value - start) / (end - start)
                });
            }
        }
        if lower_rank.is_some() && upper_rank.is_some() {
            break;
        }
        rank = bucket.count;
        start = end;
    }
    let capped = |rank: Option<f64>| rank.filter(|rank| *rank <= count).unwrap_or(count);
    (capped(upper_rank) - capped(lower_rank)) / count
}

/// Sorts by bound and joins equal bounds; false without a bucket up to infinity.
fn arrange(buckets: &mut Vec<ClassicBucket>) -> bool {
    buckets.sort_by(|a, b| {
        a.upper
            .partial_cmp(&b.upper)
            .unwrap_or(std::cmp::Ordering::Equal)
    });
    if buckets.last().map(|bucket| bucket.upper) != Some(f64::INFINITY) {
        return false;
    }
    buckets.dedup_by(|next, kept| {
        let same = next.upper == kept.upper;
        if same {
            kept.count += next.count;
        }
        same
    });
    true
}

/// Raises counts that fall, and evens out those that differ only by rounding.
fn make_monotonic(buckets: &mut [ClassicBucket]) -> Option<Forced> {
    /// Relative difference that rounding may cause.
    const ROUNDING: f64 = 1e-12;
    let mut forced: Option<Forced> = None;
    let mut previous = buckets[0].count;
    for bucket in &mut buckets[1..] {
        let current = bucket.count;
        if current == previous {
            continue;
        }
        if almost_equal(previous, current, ROUNDING) {
            bucket.count = previous;
        } else if current < previous {
            bucket.count = previous;
            let drop = previous - current;
            forced = Some(match forced {
                None => Forced {
                    lowest: bucket.upper,
                    highest: bucket.upper,
                    greatest: drop,
                },
                Some(all) => Forced {
                    lowest: all.lowest.min(bucket.upper),
                    highest: all.highest.max(bucket.upper),
                    greatest: all.greatest.max(drop),
                },
            });
        } else {
            previous = current;
        }
    }
    forced
}

/// Whether two numbers differ by less than `epsilon` of the sum of their magnitudes; NaN equals NaN.
pub(crate) fn almost_equal(a: f64, b: f64, epsilon: f64) -> bool {
    if model::is_stale(a) || model::is_stale(b) {
        return model::is_stale(a) && model::is_stale(b);
    }
    if (a.is_nan() && b.is_nan()) || a == b {
        return true;
    }
    let sum = a.abs() + b.abs();
    let difference = (a - b).abs();
    if a == 0.0 || b == 0.0 || sum < f64::MIN_POSITIVE {
        return difference < epsilon * f64::MIN_POSITIVE;
    }
    difference / sum.min(f64::MAX) < epsilon
}
