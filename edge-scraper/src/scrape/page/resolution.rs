//! Native histograms as coarse as the configuration wants them: `native_histogram_bucket_limit`, `native_histogram_min_bucket_factor`.

use std::sync::Arc;

use model::{Histogram, SCHEMA_MIN};

use crate::config::Histograms;

/// Makes a histogram coarser where it has to be. False if it has too many buckets and cannot be: its bounds are given one by one, or it is as
/// coarse as there is.
pub(super) fn fit(histogram: &mut Arc<Histogram>, wanted: &Histograms) -> bool {
    if let Some(schema) = wanted.schema_max
        && !histogram.has_custom_buckets()
        && histogram.schema > schema
    {
        Arc::make_mut(histogram).reduce_resolution(schema);
    }
    let Some(buckets_max) = wanted.buckets_max else {
        return true;
    };
    let too_many = |histogram: &Histogram| {
        let buckets = histogram.positive.counts.len() + histogram.negative.counts.len();
        buckets as u64 > buckets_max
    };
    while too_many(histogram) {
        if histogram.has_custom_buckets() || histogram.schema <= SCHEMA_MIN {
            return false;
        }
        let schema = histogram.schema - 1;
        Arc::make_mut(histogram).reduce_resolution(schema);
    }
    true
}

#[cfg(test)]
mod tests {
    use model::{Buckets, CUSTOM_BUCKETS_SCHEMA};

    use super::*;

    fn histogram(schema: i32, side: &[(i32, f64)]) -> Histogram {
        Histogram {
            schema,
            count: side.iter().map(|(_, count)| count).sum(),
            positive: Buckets::from_indexed(side.iter().copied()),
            integer: true,
            ..Histogram::default()
        }
    }

    /// What becomes of buckets 1 to 8 of schema 3, each with its number as the count.
    fn check(buckets_max: Option<u64>, schema_max: Option<i32>, schema: i32, left: &[f64]) {
        let side: Vec<(i32, f64)> = (1..=8).map(|k| (k, f64::from(k))).collect();
        let mut given = Arc::new(histogram(3, &side));
        let wanted = Histograms {
            buckets_max,
            schema_max,
            ..Histograms::default()
        };
        assert!(fit(&mut given, &wanted));
        assert_eq!((given.schema, &given.positive.counts[..]), (schema, left));
        assert!(given.validate().is_ok());
    }

    #[test]
    fn finer_ones_become_coarser() {
        let all = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0];
        check(None, None, 3, &all);
        check(Some(8), Some(5), 3, &all);
        check(Some(7), None, 2, &[3.0, 7.0, 11.0, 15.0]);
        check(Some(3), None, 1, &[10.0, 26.0]);
        check(None, Some(0), 0, &[36.0]);
        check(Some(2), Some(2), 1, &[10.0, 26.0]);
    }

    #[test]
    fn what_cannot_be_coarser_is_refused() {
        let wanted = Histograms {
            buckets_max: Some(2),
            ..Histograms::default()
        };
        // Bounds 2^-160, 1 and 2^160 stay apart whatever the schema.
        let far = [(-160, 1.0), (0, 1.0), (160, 1.0)];
        assert!(!fit(&mut Arc::new(histogram(0, &far)), &wanted));
        let mut custom = histogram(CUSTOM_BUCKETS_SCHEMA, &[(0, 1.0), (1, 1.0), (2, 1.0)]);
        custom.custom_values = vec![1.0, 2.0];
        assert!(!fit(&mut Arc::new(custom), &wanted));
    }
}
