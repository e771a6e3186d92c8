//! Sums of many histograms, every count with compensation for rounding.

use model::{Buckets, Histogram, ResetHint};

use super::{Incompatible, bound, coarser_index, is_custom, steps_between};
use crate::kahan::Sum;

/// A running sum of histograms.
#[derive(Clone, Debug)]
pub(crate) struct Accumulator {
    schema: i32,
    zero_threshold: f64,
    zero_count: Sum,
    count: Sum,
    sum: Sum,
    /// By rising index.
    positive: Vec<(i32, Sum)>,
    negative: Vec<(i32, Sum)>,
    custom_values: Vec<f64>,
    reset_hint: ResetHint,
}

/// What an addition met.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Added {
    pub(crate) hints_collide: bool,
    pub(crate) reconciled: bool,
}

impl Accumulator {
    pub(crate) fn new(first: &Histogram) -> Self {
        let side = |side: &Buckets| side.iter().map(|(i, c)| (i, Sum::new(c))).collect();
        Accumulator {
            schema: first.schema,
            zero_threshold: first.zero_threshold,
            zero_count: Sum::new(first.zero_count),
            count: Sum::new(first.count),
            sum: Sum::new(first.sum),
            positive: side(&first.positive),
            negative: side(&first.negative),
            custom_values: first.custom_values.clone(),
            reset_hint: first.reset_hint,
        }
    }

    fn is_custom(&self) -> bool {
        self.schema == model::CUSTOM_BUCKETS_SCHEMA
    }

    /// Adds `sign` times a histogram. After an error the sum is as before.
    pub(crate) fn add(&mut self, other: &Histogram, sign: f64) -> Result<Added, Incompatible> {
        if self.is_custom() != is_custom(other) {
            return Err(Incompatible);
        }
        let hints_collide = self.adjust_hint(other.reset_hint);
        let mut reconciled = false;
        if self.is_custom() {
            if self.custom_values == other.custom_values {
                let terms = other.positive.iter().map(|(i, c)| (i, Sum::new(c)));
                self.positive = merged(&self.positive, terms, sign);
            } else {
                reconciled = true;
                self.add_with_other_bounds(other, sign);
            }
        } else {
            let zero = self.reconcile_zero(other);
            self.zero_count = plus(self.zero_count, zero, sign);
            self.add_exponential(other, sign);
        }
        self.count = self.count.plus(sign * other.count);
        self.sum = self.sum.plus(sign * other.sum);
        Ok(Added {
            hints_collide,
            reconciled,
        })
    }

    /// The hint that the sum of two has; true if they contradict each other.
    fn adjust_hint(&mut self, other: ResetHint) -> bool {
        use ResetHint::{Gauge, Unknown};
        match (self.reset_hint, other) {
            (mine, other) if mine == other => {}
            (Gauge | Unknown, Gauge) => self.reset_hint = Gauge,
            (Gauge | Unknown, _) => {}
            (_, Gauge) => self.reset_hint = Gauge,
            (_, Unknown) => self.reset_hint = Unknown,
            _ => {
                self.reset_hint = Unknown;
                return true;
            }
        }
        false
    }

    /// Widens the zero bucket to that of `other`, and gives `other`'s count in a zero bucket as wide.
    fn reconcile_zero(&mut self, other: &Histogram) -> Sum {
        let mut theirs = (Sum::new(other.zero_count), other.zero_threshold);
        let other_sums = Accumulator::new(other);
        // Each round widens one of the two to a bucket's bound; buckets are finite, and NaN equals nothing.
        for _ in 0..=4 + other.positive.counts.len() + other.negative.counts.len() {
            if theirs.1 == self.zero_threshold {
                break;
            }
            if self.zero_threshold > theirs.1 {
                theirs = other_sums.zero_up_to(self.zero_threshold);
            }
            if theirs.1 > self.zero_threshold {
                (self.zero_count, self.zero_threshold) = self.zero_up_to(theirs.1);
                self.drop_buckets_inside_zero();
            }
        }
        theirs.0
    }

    /// What a zero bucket up to `threshold` holds; one that would cut a filled bucket is widened to that bucket's end.
    pub(super) fn zero_up_to(&self, mut threshold: f64) -> (Sum, f64) {
        'wider: loop {
            let mut zero = self.zero_count;
            for (side, again) in [(&self.positive, false), (&self.negative, true)] {
                for (index, count) in side {
                    if bound(self.schema, index.wrapping_sub(1)) >= threshold {
                        break;
                    }
                    zero = plus(zero, *count, 1.0);
                    let end = bound(self.schema, *index);
                    if end > threshold {
                        if count.value != 0.0 {
                            threshold = end;
                            if again {
                                continue 'wider;
                            }
                        }
                        break;
                    }
                }
            }
            return (zero, threshold);
        }
    }

    fn drop_buckets_inside_zero(&mut self) {
        let (schema, threshold) = (self.schema, self.zero_threshold);
        for side in [&mut self.positive, &mut self.negative] {
            side.retain(|(index, count)| {
                bound(schema, index.wrapping_sub(1)) >= threshold
                    && (count.value != 0.0 || count.lost != 0.0)
            });
        }
    }

    fn add_exponential(&mut self, other: &Histogram, sign: f64) {
        if other.schema < self.schema {
            let steps = steps_between(self.schema, other.schema);
            for side in [&mut self.positive, &mut self.negative] {
                *side = coarser(side, steps);
            }
            self.schema = other.schema;
        }
        let steps = steps_between(other.schema, self.schema);
        let (schema, threshold) = (self.schema, self.zero_threshold);
        for (mine, theirs) in [
            (&mut self.positive, &other.positive),
            (&mut self.negative, &other.negative),
        ] {
            let terms: Vec<(i32, Sum)> = theirs.iter().map(|(i, c)| (i, Sum::new(c))).collect();
            let terms = coarser(&terms, steps);
            // What lies inside the zero bucket is counted there already.
            let outside = terms
                .into_iter()
                .skip_while(|(index, _)| bound(schema, *index) <= threshold);
            *mine = merged(mine, outside, sign);
        }
    }

    /// Only bounds that both have are kept; counts go to the next kept bound above them.
    fn add_with_other_bounds(&mut self, other: &Histogram, sign: f64) {
        let common: Vec<f64> = self
            .custom_values
            .iter()
            .copied()
            .filter(|bound| other.custom_values.contains(bound))
            .collect();
        let mut counts = vec![Sum::default(); common.len() + 1];
        let mut put = |bounds: &[f64], index: i32, count: Sum, sign: f64| {
            let bound = usize::try_from(index).ok().and_then(|at| bounds.get(at));
            let at = match bound {
                Some(bound) => common.partition_point(|kept| kept < bound),
                None => common.len(),
            };
            counts[at] = plus(counts[at], count, sign);
        };
        for (index, count) in &self.positive {
            put(&self.custom_values, *index, *count, 1.0);
        }
        for (index, count) in other.positive.iter() {
            put(&other.custom_values, index, Sum::new(count), sign);
        }
        self.positive = (0..)
            .zip(counts)
            .filter(|(_, count)| count.value != 0.0 || count.lost != 0.0)
            .collect();
        self.custom_values = common;
    }

    /// Everything multiplied.
    pub(crate) fn times(&mut self, factor: f64) {
        self.change(|sum| sum.times(factor));
    }

    /// Everything divided.
    pub(crate) fn over(&mut self, divisor: f64) {
        self.change(|sum| sum.over(divisor));
    }

    fn change(&mut self, change: impl Fn(Sum) -> Sum) {
        for sum in [&mut self.zero_count, &mut self.count, &mut self.sum] {
            *sum = change(*sum);
        }
        for (_, sum) in self.positive.iter_mut().chain(&mut self.negative) {
            *sum = change(*sum);
        }
    }

    /// Whether something has grown beyond the greatest float.
    pub(crate) fn has_overflow(&self) -> bool {
        [self.zero_count, self.count, self.sum]
            .iter()
            .chain(self.positive.iter().map(|(_, sum)| sum))
            .chain(self.negative.iter().map(|(_, sum)| sum))
            .any(|sum| sum.value.is_infinite())
    }

    /// The sum so far.
    pub(crate) fn total(&self) -> Histogram {
        let side = |side: &[(i32, Sum)]| {
            super::from_indexed(side.iter().map(|(i, sum)| (*i, sum.total())))
        };
        Histogram {
            schema: self.schema,
            zero_threshold: self.zero_threshold,
            zero_count: self.zero_count.total(),
            count: self.count.total(),
            sum: self.sum.total(),
            positive: side(&self.positive),
            negative: side(&self.negative),
            custom_values: self.custom_values.clone(),
            reset_hint: self.reset_hint,
            integer: false,
        }
    }
}

/// The mean of histograms that come one by one: summed directly until a count would overflow, from then on as a
/// running mean.
#[derive(Clone, Debug)]
pub(crate) struct HistogramMean {
    sum: Accumulator,
    count: f64,
    incremental: bool,
}

impl HistogramMean {
    pub(crate) fn new(first: &Histogram) -> Self {
        HistogramMean {
            sum: Accumulator::new(first),
            count: 1.0,
            incremental: false,
        }
    }

    pub(crate) fn add(&mut self, histogram: &Histogram) -> Result<Added, Incompatible> {
        let count = self.count + 1.0;
        if !self.incremental {
            let mut sum = self.sum.clone();
            let added = sum.add(histogram, 1.0)?;
            if !sum.has_overflow() {
                self.sum = sum;
                self.count = count;
                return Ok(added);
            }
            self.incremental = true;
            self.sum.over(count - 1.0);
        }
        self.sum.times((count - 1.0) / count);
        self.count = count;
        self.sum.add(&super::div(histogram, count), 1.0)
    }

    pub(crate) fn mean(mut self) -> Histogram {
        if !self.incremental {
            self.sum.over(self.count);
        }
        self.sum.total()
    }
}

fn plus(sum: Sum, term: Sum, sign: f64) -> Sum {
    let sum = sum.plus(sign * term.value);
    if term.lost == 0.0 {
        sum
    } else {
        sum.plus(sign * term.lost)
    }
}

/// Both rows of buckets in one, by rising index.
fn merged(
    mine: &[(i32, Sum)],
    theirs: impl IntoIterator<Item = (i32, Sum)>,
    sign: f64,
) -> Vec<(i32, Sum)> {
    let mut result = Vec::with_capacity(mine.len());
    let mut rest = mine.iter().copied().peekable();
    for (index, count) in theirs {
        while let Some(before) = rest.next_if(|(i, _)| *i < index) {
            result.push(before);
        }
        let own = rest.next_if(|(i, _)| *i == index);
        let own = own.map_or(Sum::default(), |(_, sum)| sum);
        result.push((index, plus(own, count, sign)));
    }
    result.extend(rest);
    result
}

fn coarser(side: &[(i32, Sum)], steps: u32) -> Vec<(i32, Sum)> {
    if steps == 0 {
        return side.to_vec();
    }
    let mut result: Vec<(i32, Sum)> = Vec::with_capacity(side.len());
    for (index, count) in side {
        let index = coarser_index(*index, steps);
        match result.last_mut() {
            Some((last, sum)) if *last == index => *sum = plus(*sum, *count, 1.0),
            _ => result.push((index, *count)),
        }
    }
    result
}
