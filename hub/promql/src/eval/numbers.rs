//! Operations on numbers as Go's math package has them, where Rust's differ.

/// The smaller of two. Nothing is smaller than negative infinity, not even NaN; else NaN if one is NaN.
pub(crate) fn min(a: f64, b: f64) -> f64 {
    if (a.is_nan() || b.is_nan()) && a != f64::NEG_INFINITY && b != f64::NEG_INFINITY {
        f64::NAN
    } else {
        a.min(b)
    }
}

/// The greater of two. Nothing is greater than infinity, not even NaN; else NaN if one is NaN.
pub(crate) fn max(a: f64, b: f64) -> f64 {
    if (a.is_nan() || b.is_nan()) && a != f64::INFINITY && b != f64::INFINITY {
        f64::NAN
    } else {
        a.max(b)
    }
}

/// `a` to the power of `b`.
pub(crate) fn pow(a: f64, b: f64) -> f64 {
    a.powf(b)
}

/// The `q`-quantile of values, by linear interpolation between neighbours; sorts them. NaN counts as the smallest.
pub(crate) fn quantile(q: f64, values: &mut [f64]) -> f64 {
    if values.is_empty() || q.is_nan() {
        return f64::NAN;
    }
    if q < 0.0 {
        return f64::NEG_INFINITY;
    }
    if q > 1.0 {
        return f64::INFINITY;
    }
    values.sort_unstable_by(nan_first);
    let last = values.len() - 1;
    let rank = q * last as f64;
    let lower = (rank.floor() as usize).min(last);
    let upper = (lower + 1).min(last);
    let weight = rank - rank.floor();
    values[lower] * (1.0 - weight) + values[upper] * weight
}

/// Rising order with NaN before everything.
pub(crate) fn nan_first(a: &f64, b: &f64) -> std::cmp::Ordering {
    match (a.is_nan(), b.is_nan()) {
        (true, true) => std::cmp::Ordering::Equal,
        (true, false) => std::cmp::Ordering::Less,
        (false, true) => std::cmp::Ordering::Greater,
        (false, false) => a.total_cmp(b),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles() {
        let check = |q: f64, values: &[f64], expected: f64| {
            assert_eq!(quantile(q, &mut values.to_vec()), expected);
        };
        check(0.5, &[3.0, 1.0, 2.0], 2.0);
        check(0.75, &[1.0, 2.0], 1.75);
        check(0.0, &[1.0], 1.0);
        check(1.0, &[1.0, 4.0], 4.0);
        check(2.0, &[1.0], f64::INFINITY);
        check(-1.0, &[1.0], f64::NEG_INFINITY);
        assert!(quantile(0.5, &mut []).is_nan());
        assert!(quantile(0.0, &mut [1.0, f64::NAN]).is_nan());
    }
    #[test]
    fn infinities_win_over_nan() {
        let infinity = f64::INFINITY;
        for (a, b) in [(infinity, f64::NAN), (f64::NAN, infinity)] {
            assert_eq!(max(a, b), infinity);
            assert_eq!(min(-a, -b), -infinity);
            assert!(min(a, b).is_nan());
            assert!(max(-a, -b).is_nan());
        }
        assert!(min(1.0, f64::NAN).is_nan());
        assert!(max(f64::NAN, 1.0).is_nan());
        assert_eq!((min(1.0, 2.0), max(1.0, 2.0)), (1.0, 2.0));
    }
}
