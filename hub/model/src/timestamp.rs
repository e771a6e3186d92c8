use std::fmt;
use std::time::Duration;

/// An instant on the timeline: milliseconds since 1970-01-01 00:00 UTC, as Prometheus counts.
///
/// Elapsed time is a [`Duration`]; a bare integer is neither.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

impl Timestamp {
    /// The earliest representable instant; as the start of a range it means "no lower bound".
    pub const MIN: Timestamp = Timestamp(i64::MIN);
    /// The latest representable instant; as the end of a range it means "no upper bound".
    pub const MAX: Timestamp = Timestamp(i64::MAX);

    /// From milliseconds since the epoch.
    pub const fn from_millis(millis: i64) -> Self {
        Timestamp(millis)
    }

    /// From Unix seconds with a fraction, rounded to the nearest millisecond; saturates, NaN is the epoch.
    pub fn from_seconds_f64(seconds: f64) -> Self {
        Timestamp((seconds * 1000.0).round() as i64)
    }

    /// Milliseconds since the epoch.
    pub const fn millis(self) -> i64 {
        self.0
    }

    /// Unix seconds with a fraction.
    pub fn seconds_f64(self) -> f64 {
        self.0 as f64 / 1000.0
    }

    /// Later by `by`, at most [`Timestamp::MAX`].
    #[must_use]
    pub fn saturating_add(self, by: Duration) -> Self {
        Timestamp(self.0.saturating_add(millis_of(by)))
    }

    /// Earlier by `by`, at least [`Timestamp::MIN`].
    #[must_use]
    pub fn saturating_sub(self, by: Duration) -> Self {
        Timestamp(self.0.saturating_sub(millis_of(by)))
    }

    /// How long `earlier` was before this instant; zero when it was not before.
    pub fn saturating_since(self, earlier: Timestamp) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0).max(0) as u64)
    }
}

impl fmt::Display for Timestamp {
    /// Unix seconds, with three decimals unless it is a whole second: the form of the HTTP API.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (sign, millis) = if self.0 < 0 {
            ("-", self.0.unsigned_abs())
        } else {
            ("", self.0 as u64)
        };
        match millis % 1000 {
            0 => write!(f, "{sign}{}", millis / 1000),
            rest => write!(f, "{sign}{}.{rest:03}", millis / 1000),
        }
    }
}

fn millis_of(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_as_the_http_api_does() {
        let check =
            |millis, text: &str| assert_eq!(Timestamp::from_millis(millis).to_string(), text);
        check(1435781451781, "1435781451.781");
        check(1435781451050, "1435781451.050");
        check(1435781451000, "1435781451");
        check(-1, "-0.001");
        check(-1500, "-1.500");
        check(i64::MIN, "-9223372036854775.808");
    }

    #[test]
    fn arithmetic_saturates() {
        let second = Duration::from_secs(1);
        assert_eq!(Timestamp::MAX.saturating_add(second), Timestamp::MAX);
        assert_eq!(Timestamp::MIN.saturating_sub(second), Timestamp::MIN);
        assert_eq!(
            Timestamp::MIN.saturating_since(Timestamp::MAX),
            Duration::ZERO
        );
        assert_eq!(
            Timestamp::from_millis(3000).saturating_since(Timestamp::from_millis(1000)),
            2 * second
        );
        assert_eq!(Timestamp::from_seconds_f64(1.0005).millis(), 1001);
    }
}
