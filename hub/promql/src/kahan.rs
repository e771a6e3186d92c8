//! Compensated summation: sums of many floats lose almost nothing to rounding.

/// A running sum and what rounding has lost of it (Kahan, with Neumaier's improvement for large terms).
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Sum {
    /// The sum as far as a float holds it.
    pub(crate) value: f64,
    /// What has to be added at the end.
    pub(crate) lost: f64,
}

impl Sum {
    pub(crate) fn new(value: f64) -> Self {
        Sum { value, lost: 0.0 }
    }

    /// The sum of all values: bit for bit what adding one by one gives, but without a branch per value. An infinite
    /// value has lost nothing.
    pub(crate) fn of(values: &[f64]) -> Self {
        let mut sum = Sum::default();
        for term in values {
            // The rounding error of an addition is a float, and this finds it whichever operand is larger.
            let value = sum.value + term;
            let other = value - sum.value;
            sum.lost += (sum.value - (value - other)) + (term - other);
            sum.value = value;
        }
        if sum.value.is_infinite() {
            sum.lost = 0.0;
        }
        sum
    }

    /// The sum with one more term.
    #[must_use]
    pub(crate) fn plus(self, term: f64) -> Self {
        let value = self.value + term;
        let lost = if value.is_infinite() {
            0.0
        } else if self.value.abs() >= term.abs() {
            self.lost + ((self.value - value) + term)
        } else {
            self.lost + ((term - value) + self.value)
        };
        Sum { value, lost }
    }

    /// Both parts multiplied.
    #[must_use]
    pub(crate) fn times(self, factor: f64) -> Self {
        Sum {
            value: self.value * factor,
            lost: self.lost * factor,
        }
    }

    /// Both parts divided.
    #[must_use]
    pub(crate) fn over(self, divisor: f64) -> Self {
        Sum {
            value: self.value / divisor,
            lost: self.lost / divisor,
        }
    }

    /// The whole.
    pub(crate) fn total(self) -> f64 {
        self.value + self.lost
    }
}

/// The mean of values that come one by one. Summed directly until the sum would overflow, from then on as a running
/// mean.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Mean {
    sum: Sum,
    count: f64,
    incremental: bool,
}

impl Mean {
    pub(crate) fn add(&mut self, value: f64) {
        self.count += 1.0;
        if self.count == 1.0 {
            self.sum = Sum::new(value);
            return;
        }
        if !self.incremental {
            let sum = self.sum.plus(value);
            if !sum.value.is_infinite() {
                self.sum = sum;
                return;
            }
            self.incremental = true;
            self.sum = self.sum.over(self.count - 1.0);
        }
        let kept = (self.count - 1.0) / self.count;
        self.sum = self.sum.times(kept).plus(value / self.count);
    }

    /// Nothing was added.
    pub(crate) fn is_empty(&self) -> bool {
        self.count == 0.0
    }

    /// The mean of these and of later values.
    pub(crate) fn join(&mut self, later: Self) {
        if self.is_empty() || later.is_empty() {
            if self.is_empty() {
                *self = later;
            }
            return;
        }
        let count = self.count + later.count;
        if !self.incremental && !later.incremental {
            let mut sum = self.sum.plus(later.sum.value);
            if sum.value.is_finite() {
                sum.lost += later.sum.lost;
                (self.sum, self.count) = (sum, count);
                return;
            }
        }
        let (mine, theirs) = (self.mean(), later.mean());
        let sum = Sum::new(mine * (self.count / count)).plus(theirs * (later.count / count));
        *self = Mean {
            sum,
            count,
            incremental: true,
        };
    }

    /// The mean of values that are all there.
    pub(crate) fn of(values: &[f64]) -> f64 {
        let sum = Sum::of(values);
        if sum.value.is_finite() {
            return sum.over(values.len() as f64).total();
        }
        let mut mean = Mean::default();
        values.iter().for_each(|value| mean.add(*value));
        mean.mean()
    }

    pub(crate) fn mean(self) -> f64 {
        if self.incremental {
            self.sum.total()
        } else {
            self.sum.over(self.count).total()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loses_nothing_that_a_float_can_hold() {
        let terms = [1.0, 1e100, 1.0, -1e100];
        let sum = terms
            .iter()
            .fold(Sum::default(), |sum, term| sum.plus(*term));
        assert_eq!(sum.total(), 2.0);
    }

    proptest::proptest! {
        #[test]
        fn all_at_once_is_one_by_one(
            values in proptest::collection::vec(proptest::num::f64::NORMAL | proptest::num::f64::ZERO, 0..40),
            scale in proptest::prelude::any::<bool>(),
        ) {
            let values: Vec<f64> = values.iter().map(|v| if scale { v % 1e6 } else { *v }).collect();
            let one_by_one = values.iter().fold(Sum::default(), |sum, term| sum.plus(*term));
            let all = Sum::of(&values);
            if one_by_one.value.is_finite() {
                proptest::prop_assert_eq!(all.value.to_bits(), one_by_one.value.to_bits());
                proptest::prop_assert_eq!(all.total(), one_by_one.total());
            }
        }
    }

    #[test]
    fn mean_survives_sums_beyond_the_greatest_float() {
        let mut mean = Mean::default();
        for _ in 0..3 {
            mean.add(1e308);
        }
        assert!((mean.mean() / 1e308 - 1.0).abs() < 1e-15);
        let mut mean = Mean::default();
        (1..=10).for_each(|value| mean.add(f64::from(value)));
        assert_eq!(mean.mean(), 5.5);
    }
}
