//! Native histograms: of exponential ones, and of those with given bounds.

use model::{
    Buckets, CUSTOM_BUCKETS_SCHEMA, Histogram, ResetHint, SCHEMA_MAX, SCHEMA_MIN, stale_nan,
};

use super::proto::{ExponentialBuckets, ExponentialPoint, HistogramPoint, NO_RECORDED_VALUE};

/// As Prometheus has it, whatever the point says.
const ZERO_THRESHOLD: f64 = 1e-128;

/// An exponential histogram. A scale above 8 is brought down to it.
///
/// # Errors
/// Too coarse a scale, or what contradicts itself.
pub(super) fn exponential(point: &ExponentialPoint, delta: bool) -> Result<Histogram, String> {
    if point.scale < SCHEMA_MIN {
        return Err(format!(
            "cannot convert exponential to native histogram. Scale must be >= {SCHEMA_MIN}, was {}",
            point.scale
        ));
    }
    let schema = point.scale.min(SCHEMA_MAX);
    let down = i64::from(point.scale) - i64::from(schema);
    if point.flags & NO_RECORDED_VALUE != 0 {
        return Ok(ended(schema, delta));
    }
    let side = |side: &Option<ExponentialBuckets>| match side {
        Some(side) => buckets(&side.bucket_counts, side.offset, down),
        None => Ok(Buckets::default()),
    };
    checked(Histogram {
        schema,
        zero_threshold: ZERO_THRESHOLD,
        zero_count: point.zero_count as f64,
        count: point.count as f64,
        sum: point.sum.unwrap_or(0.0),
        positive: side(&point.positive)?,
        negative: side(&point.negative)?,
        custom_values: Vec::new(),
        reset_hint: hint(delta),
        integer: true,
    })
}

/// A histogram with given bounds, which stay its bounds.
///
/// # Errors
/// What contradicts itself.
pub(super) fn custom(point: &HistogramPoint, delta: bool) -> Result<Histogram, String> {
    if point.flags & NO_RECORDED_VALUE != 0 {
        return Ok(ended(CUSTOM_BUCKETS_SCHEMA, delta));
    }
    // Without buckets all observations are in the one up to +Inf.
    let all = [point.count];
    let counts: &[u64] = match point.bucket_counts.is_empty() && point.explicit_bounds.is_empty() {
        true => &all,
        false => &point.bucket_counts,
    };
    let counts = counts.iter().enumerate();
    let filled = counts.filter(|(_, count)| **count > 0);
    let filled = filled.map(|(index, count)| (index as i32, *count as f64));
    checked(Histogram {
        schema: CUSTOM_BUCKETS_SCHEMA,
        count: point.count as f64,
        sum: point.sum.unwrap_or(0.0),
        positive: Buckets::from_indexed(filled),
        custom_values: point.explicit_bounds.clone(),
        reset_hint: hint(delta),
        integer: true,
        ..Histogram::default()
    })
}

fn ended(schema: i32, delta: bool) -> Histogram {
    Histogram {
        schema,
        zero_threshold: match schema {
            CUSTOM_BUCKETS_SCHEMA => 0.0,
            _ => ZERO_THRESHOLD,
        },
        sum: stale_nan(),
        reset_hint: hint(delta),
        integer: true,
        ..Histogram::default()
    }
}

/// What came since the point before may be less than that: no reset.
fn hint(delta: bool) -> ResetHint {
    match delta {
        true => ResetHint::Gauge,
        false => ResetHint::Unknown,
    }
}

fn checked(histogram: Histogram) -> Result<Histogram, String> {
    histogram.validate().map_err(|error| error.to_string())?;
    Ok(histogram)
}

/// OTLP's bucket i begins where Prometheus's bucket i + 1 does; 2^down neighbours become one.
fn buckets(counts: &[u64], offset: i32, down: i64) -> Result<Buckets, String> {
    let mut joined: Vec<(i32, f64)> = Vec::new();
    // Beyond 63 all bits are gone.
    let down = down.clamp(0, 63);
    for (index, count) in counts.iter().enumerate().filter(|(_, count)| **count > 0) {
        let index = i64::from(offset) + index as i64;
        // Room for the bucket after the last one, which spans are counted from.
        let index = i32::try_from((index >> down) + 1)
            .ok()
            .filter(|i| *i < i32::MAX);
        let Some(index) = index else {
            return Err(format!(
                "buckets from number {offset} on reach further than any number"
            ));
        };
        match joined.last_mut() {
            Some((last, sum)) if *last == index => *sum += *count as f64,
            _ => joined.push((index, *count as f64)),
        }
    }
    Ok(Buckets::from_indexed(joined))
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::Span;

    fn spans(buckets: &Buckets) -> Vec<(i32, u32)> {
        let pair = |span: &Span| (span.offset, span.length);
        buckets.spans.iter().map(pair).collect()
    }

    #[test]
    fn buckets_keep_their_place() {
        let check = |counts: &[u64], offset, down, indexes: &[(i32, f64)]| {
            let made = buckets(counts, offset, down).unwrap();
            assert_eq!(made.iter().collect::<Vec<_>>(), indexes, "{counts:?}");
        };
        check(&[], 3, 0, &[]);
        check(&[4, 2, 3], 0, 0, &[(1, 4.0), (2, 2.0), (3, 3.0)]);
        check(&[4, 0, 3], -2, 0, &[(-1, 4.0), (1, 3.0)]);
        // Two by two: buckets 0 and 1, 2 and 3. The empty ones in front do not move the others.
        check(&[4, 2, 3, 1], 0, 1, &[(1, 6.0), (2, 4.0)]);
        check(&[0, 0, 5, 3], 0, 1, &[(2, 8.0)]);
        // Of odd offset: 1 alone, then 2 and 3; and below zero -3 alone, -2 and -1.
        check(&[4, 2, 3], 1, 1, &[(1, 4.0), (2, 5.0)]);
        check(&[4, 2, 3], -3, 1, &[(-1, 4.0), (0, 5.0)]);
        check(&[1, 1], -1, 1000, &[(0, 1.0), (1, 1.0)]);
        assert!(buckets(&[1], i32::MAX, 0).is_err());
        assert!(buckets(&[1, 1], i32::MAX - 1, 0).is_err());
        let far = buckets(&[2, 0, 0, 0, 1], i32::MIN, 0).unwrap();
        assert_eq!(spans(&far), [(i32::MIN + 1, 1), (3, 1)]);
    }
}
