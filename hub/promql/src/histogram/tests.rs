use model::CUSTOM_BUCKETS_SCHEMA;

use super::*;

fn exponential(schema: i32, buckets: &[(i32, f64)]) -> Histogram {
    let count = buckets.iter().map(|(_, count)| count).sum();
    Histogram {
        schema,
        count,
        sum: 2.0 * count,
        positive: Buckets::from_indexed(buckets.iter().copied()),
        ..Histogram::default()
    }
}

fn custom(bounds: &[f64], buckets: &[(i32, f64)]) -> Histogram {
    Histogram {
        custom_values: bounds.to_vec(),
        ..exponential(CUSTOM_BUCKETS_SCHEMA, buckets)
    }
}

fn pairs(histogram: &Histogram) -> Vec<(i32, f64)> {
    histogram.positive.iter().collect()
}

#[test]
fn adds_at_the_coarser_resolution() {
    let a = exponential(1, &[(1, 1.0), (2, 2.0), (3, 3.0)]);
    let b = exponential(0, &[(1, 10.0), (5, 20.0)]);
    for sum in [add(&a, &b).unwrap(), add(&b, &a).unwrap()] {
        assert_eq!(sum.histogram.schema, 0);
        assert_eq!(pairs(&sum.histogram), [(1, 13.0), (2, 3.0), (5, 20.0)]);
        assert_eq!(sum.histogram.count, 36.0);
    }
    let difference = sub(&a, &a).unwrap().histogram;
    assert!(compact(difference).positive.is_empty());
}

#[test]
fn wider_zero_bucket_takes_in_narrow_buckets() {
    let mut a = exponential(0, &[(-3, 1.0), (0, 2.0), (2, 4.0)]);
    a.zero_count = 5.0;
    a.zero_threshold = 0.001;
    let mut b = exponential(0, &[(2, 1.0)]);
    b.zero_count = 1.0;
    b.zero_threshold = 0.5;
    let sum = add(&a, &b).unwrap().histogram;
    assert_eq!((sum.zero_threshold, sum.zero_count), (0.5, 7.0));
    assert_eq!(pairs(&sum), [(0, 2.0), (2, 5.0)]);
    assert_eq!(add(&b, &a).unwrap().histogram, sum);
}

#[test]
fn custom_bounds_are_reduced_to_the_common_ones() {
    let a = custom(&[1.0, 2.0, 3.0], &[(0, 1.0), (1, 2.0), (2, 3.0), (3, 4.0)]);
    let b = custom(&[2.0, 3.0, 4.0], &[(0, 10.0), (2, 20.0)]);
    let sum = add(&a, &b).unwrap();
    assert!(sum.reconciled);
    assert_eq!(sum.histogram.custom_values, [2.0, 3.0]);
    assert_eq!(pairs(&sum.histogram), [(0, 13.0), (1, 3.0), (2, 24.0)]);
    assert_eq!(
        add(&a, &exponential(0, &[(0, 1.0)])).unwrap_err(),
        Incompatible
    );
}

#[test]
fn hints_of_sums() {
    use ResetHint::{Gauge, NotReset, Reset, Unknown};
    let check = |a, b, expected, collide| {
        let with = |hint| Histogram {
            reset_hint: hint,
            ..exponential(0, &[(0, 1.0)])
        };
        let sum = add(&with(a), &with(b)).unwrap();
        assert_eq!(
            (sum.histogram.reset_hint, sum.hints_collide),
            (expected, collide)
        );
    };
    check(Unknown, Reset, Unknown, false);
    check(Reset, Reset, Reset, false);
    check(Reset, NotReset, Unknown, true);
    check(Gauge, NotReset, Gauge, false);
    check(NotReset, Gauge, Gauge, false);
    check(Unknown, Gauge, Gauge, false);
}

#[test]
fn resets() {
    let check = |now: &Histogram, before: &Histogram, reset: bool| {
        assert_eq!(detect_reset(now, before), reset, "{now} after {before}");
    };
    let a = exponential(0, &[(0, 1.0), (1, 2.0)]);
    check(&a, &a, false);
    check(&exponential(0, &[(0, 0.0), (1, 9.0)]), &a, true);
    check(&exponential(0, &[(1, 9.0)]), &a, true);
    check(&exponential(0, &[(0, 1.0), (1, 2.0), (7, 1.0)]), &a, false);
    check(&exponential(1, &[(0, 9.0), (1, 9.0), (2, 9.0)]), &a, true);
    check(&exponential(-1, &[(0, 1.0), (1, 2.0)]), &a, false);
    let told = Histogram {
        reset_hint: ResetHint::NotReset,
        ..exponential(0, &[(1, 1.0)])
    };
    check(&told, &a, false);
    let c = custom(&[1.0, 2.0], &[(0, 1.0), (1, 2.0)]);
    check(&custom(&[2.0], &[(0, 3.0)]), &c, false);
    check(&custom(&[2.0], &[(0, 2.0), (1, 5.0)]), &c, true);
    check(&c, &a, true);
    check(&a, &c, true);
}

#[test]
fn quantiles_and_fractions() {
    let a = exponential(0, &[(0, 1.0), (1, 2.0), (2, 1.0)]);
    let check = |q: f64, expected: f64| {
        let (found, _) = quantile::quantile(q, &a);
        assert!(
            (found - expected).abs() < 1e-12 || found == expected,
            "{q}: {found}"
        );
    };
    check(0.0, 0.5);
    check(0.5, std::f64::consts::SQRT_2);
    check(1.0, 4.0);
    check(-0.1, f64::NEG_INFINITY);
    assert_eq!(quantile::fraction(0.0, 1.0, &a).0, 0.25);
    assert_eq!(quantile::fraction(1.0, f64::INFINITY, &a).0, 0.75);
    assert!(quantile::quantile(f64::NAN, &a).0.is_nan());
}

#[test]
fn trims() {
    use trim::{Keep, trim};
    let a = custom(&[1.0, 2.0], &[(0, 2.0), (1, 4.0), (2, 6.0)]);
    let below = trim(&a, 1.5, Keep::Below);
    assert_eq!(pairs(&below), [(0, 2.0), (1, 2.0)]);
    assert_eq!((below.count, below.sum), (4.0, 2.0 * 0.5 + 2.0 * 1.25));
    assert_eq!(trim(&a, f64::INFINITY, Keep::Below).count, 12.0);
    assert_eq!(trim(&a, 2.0, Keep::Above).count, 6.0);
}

/// Spans and counts that do not fit each other come to no panic.
#[test]
fn malformed_histograms_do_no_harm() {
    let mut bad = exponential(8, &[(0, 1.0)]);
    bad.positive.spans = vec![
        Span {
            offset: i32::MAX,
            length: u32::MAX,
        },
        Span {
            offset: i32::MAX,
            length: 3,
        },
    ];
    bad.positive.counts = vec![f64::NAN, f64::INFINITY, -1.0];
    bad.zero_threshold = f64::NAN;
    let good = exponential(-4, &[(0, 1.0), (3, 2.0)]);
    for (a, b) in [(&bad, &good), (&good, &bad), (&bad, &bad)] {
        let _ = add(a, b);
        let _ = detect_reset(a, b);
        let _ = equals(a, b);
    }
    let _ = compact(bad.clone());
    let _ = quantile::quantile(0.5, &bad);
    let _ = quantile::fraction(0.0, 1.0, &bad);
    let _ = trim::trim(&bad, 1.0, trim::Keep::Below);
}
