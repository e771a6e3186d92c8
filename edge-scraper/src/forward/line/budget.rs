//! Bytes a second that a link may take: a token bucket. Live frames are never held back by what the backlog took, only by
//! what they took themselves beyond a few seconds' worth.

use std::time::Duration;

/// What was not used is kept for so long, and live frames may be ahead by as much.
const SECONDS_KEPT: f64 = 2.0;

#[derive(Clone, Debug)]
pub(super) struct Budget {
    bytes_per_second: Option<f64>,
    tokens: f64,
    at: Duration,
}

impl Budget {
    pub(super) fn new(bytes_per_second: Option<u64>) -> Budget {
        let rate = bytes_per_second.map(|rate| rate.max(1) as f64);
        Budget {
            bytes_per_second: rate,
            tokens: rate.unwrap_or(0.0),
            at: Duration::ZERO,
        }
    }

    fn fill(&mut self, now: Duration) {
        if let Some(rate) = self.bytes_per_second {
            let passed = now.saturating_sub(self.at).as_secs_f64();
            self.tokens = (self.tokens + passed * rate).min(rate * SECONDS_KEPT);
            self.at = self.at.max(now);
        }
    }

    /// So many bytes were sent.
    pub(super) fn spend(&mut self, bytes: u64, now: Duration) {
        self.fill(now);
        if self.bytes_per_second.is_some() {
            self.tokens -= bytes as f64;
        }
    }

    pub(super) fn live_may(&mut self, now: Duration) -> bool {
        self.fill(now);
        self.bytes_per_second
            .is_none_or(|rate| self.tokens > -rate * SECONDS_KEPT)
    }

    /// Err: how long to wait.
    pub(super) fn backlog_may(&mut self, now: Duration) -> Result<(), Duration> {
        self.fill(now);
        match self.bytes_per_second {
            Some(rate) if self.tokens <= 0.0 => {
                Err(Duration::from_secs_f64(-self.tokens / rate).max(self.pause()))
            }
            _ => Ok(()),
        }
    }

    /// How soon it is worth asking again.
    pub(super) fn pause(&self) -> Duration {
        Duration::from_millis(50)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_backlog_gets_what_is_left() {
        let mut budget = Budget::new(Some(1000));
        let (mut live, mut backlog) = (0, 0);
        for tick in 0..6000_u64 {
            let now = Duration::from_millis(tick * 10);
            if tick % 100 == 0 && budget.live_may(now) {
                budget.spend(300, now);
                live += 300;
            }
            if budget.backlog_may(now).is_ok() {
                budget.spend(100, now);
                backlog += 100;
            }
        }
        assert_eq!(live, 60 * 300);
        assert!((41_000..=43_000).contains(&backlog), "{backlog}");
        assert!(Budget::new(None).backlog_may(Duration::ZERO).is_ok());
    }
}
