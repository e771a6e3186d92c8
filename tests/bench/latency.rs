//! How long answers took: every one is kept, so that the rare slow ones are not averaged away.

use std::time::Duration;

/// Latencies in any order.
#[derive(Debug, Default, Clone)]
pub(crate) struct Latencies(Vec<Duration>);

impl Latencies {
    pub(crate) fn add(&mut self, latency: Duration) {
        self.0.push(latency);
    }

    pub(crate) fn join(&mut self, others: Self) {
        self.0.extend(others.0);
    }

    /// The least latency that this part of all (0.99: 99 of 100) did not exceed: nearest rank, so always one that was measured.
    pub(crate) fn quantile(&self, part: f64) -> Option<Duration> {
        let mut sorted = self.0.clone();
        sorted.sort_unstable();
        sorted.get(rank(part, sorted.len())?).copied()
    }
}

/// The median of some numbers: the lower of the middle two. None of none.
pub(crate) fn median(numbers: &[f64]) -> Option<f64> {
    let mut sorted = numbers.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    sorted.get(rank(0.5, sorted.len())?).copied()
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "a part of a count lies between 0 and the count"
)]
fn rank(part: f64, count: usize) -> Option<usize> {
    let last = count.checked_sub(1)?;
    // Without the little that is taken off, 0.999 of 1,000 would be 999.0000000000001.
    let rank = (part.clamp(0.0, 1.0) * count as f64 - 1e-9).ceil() as usize;
    Some(rank.saturating_sub(1).min(last))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(millis: impl IntoIterator<Item = u64>, part: f64, expected: Option<u64>) {
        let latencies = Latencies(millis.into_iter().map(Duration::from_millis).collect());
        assert_eq!(
            latencies.quantile(part),
            expected.map(Duration::from_millis)
        );
    }

    #[test]
    fn nearest_rank() {
        check([], 0.5, None);
        check([7], 0.999, Some(7));
        check([3, 1, 2], 0.5, Some(2));
        check(1..=100, 0.99, Some(99));
        check(1..=100, 0.999, Some(100));
        check(1..=1000, 0.999, Some(999));
        check(1..=1000, 1.0, Some(1000));
        check(1..=1000, 0.0, Some(1));
    }

    #[test]
    fn medians() {
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0]), Some(1.0));
    }
}
