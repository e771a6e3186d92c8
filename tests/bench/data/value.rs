//! How a series moves from scrape to scrape, and which decimals its values have: that, more than anything, decides how well a
//! store can compress it. Values are made as exporters make them, from an integer in the kernel's unit.

use super::random::Random;

/// The kernel's unit of a value, and how an exporter turns it into the metric's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unit {
    /// As it is.
    One,
    /// 0.01: seconds of CPU, load.
    Hundredths,
    /// Multiplied by 0.001, as node_exporter does with milliseconds of disks: not the nearest double of the decimal.
    Millis,
    /// 10⁻⁶: pressure.
    Micros,
    /// 10⁻⁹: the scheduler's times, durations of scrapes.
    Nanos,
    /// 4,096 bytes.
    Pages,
    /// 512 bytes.
    Sectors,
}

impl Unit {
    #[expect(
        clippy::cast_precision_loss,
        reason = "exporters lose it in the same way"
    )]
    fn value(self, units: i64) -> f64 {
        let units = units as f64;
        match self {
            Unit::One => units,
            Unit::Hundredths => units / 100.0,
            Unit::Millis => units * 0.001,
            Unit::Micros => units / 1e6,
            Unit::Nanos => units / 1e9,
            Unit::Pages => units * 4096.0,
            Unit::Sectors => units * 512.0,
        }
    }
}

/// How a series moves.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Motion {
    /// Never: about half of what a real machine shows.
    Constant(f64),
    /// Up by around `rate` units a scrape.
    Counter { rate: u32, unit: Unit },
    /// Up by one, once in `one_in` scrapes.
    Rare { one_in: u32 },
    /// Up or down by at most `step` units, never below zero.
    Walk { step: u32, unit: Unit },
    /// Around its first value by at most `spread` units, with no memory: durations, temperatures.
    Noise { spread: u32, unit: Unit },
    /// The machine's clock in seconds, with seven decimals.
    Clock,
    /// A bucket of the histogram that was counted last: so many of 65,536 observations fall into it or a lower one.
    Bucket { share: u32 },
    /// Begins a histogram: its count goes up by around `rate`.
    Observations { rate: u32 },
}

/// A series that moves.
#[derive(Debug, Clone)]
pub(crate) struct Moving {
    motion: Motion,
    units: i64,
}

/// What the series of one target share while they are asked one after the other.
#[derive(Debug)]
pub(crate) struct Scrape<'a> {
    pub(crate) random: &'a mut Random,
    /// Milliseconds since the epoch.
    pub(crate) at: i64,
    /// The count of the histogram whose buckets come now.
    pub(crate) observations: i64,
}

impl Moving {
    /// A series with its value before the first scrape, in units.
    pub(crate) fn new(motion: Motion, units: i64) -> Self {
        Self { motion, units }
    }

    /// Whether it ever changes.
    #[cfg(test)]
    pub(crate) fn moves(&self) -> bool {
        !matches!(self.motion, Motion::Constant(_))
    }

    /// The value at the next scrape.
    #[expect(clippy::cast_precision_loss, reason = "counts and times far below 2⁵³")]
    pub(crate) fn next(&mut self, scrape: &mut Scrape<'_>) -> f64 {
        let random = &mut *scrape.random;
        match self.motion {
            Motion::Constant(value) => value,
            Motion::Counter { rate, unit } => {
                self.units += around(rate, random);
                unit.value(self.units)
            }
            Motion::Rare { one_in } => {
                self.units += i64::from(random.below(one_in) == 0);
                self.units as f64
            }
            Motion::Walk { step, unit } => {
                self.units =
                    (self.units + i64::from(random.below(2 * step + 1)) - i64::from(step)).max(0);
                unit.value(self.units)
            }
            Motion::Noise { spread, unit } => {
                unit.value(self.units + i64::from(random.below(spread + 1)))
            }
            Motion::Clock => (scrape.at * 10_000 + i64::from(random.below(50_000))) as f64 / 1e7,
            Motion::Observations { rate } => {
                self.units += around(rate, random);
                scrape.observations = self.units;
                self.units as f64
            }
            Motion::Bucket { share } => ((scrape.observations * i64::from(share)) >> 16) as f64,
        }
    }
}

/// Three quarters of the rate to five: traffic is never quite even.
fn around(rate: u32, random: &mut Random) -> i64 {
    i64::from(rate - rate / 4 + random.below(rate / 2 + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(motion: Motion, units: i64, expected: impl Fn(&[f64]) -> bool) {
        let mut series = Moving::new(motion, units);
        let mut random = Random::stream(1);
        let values: Vec<f64> = (0..50)
            .map(|step| {
                series.next(&mut Scrape {
                    random: &mut random,
                    at: 1_700_000_000_000 + step * 15_000,
                    observations: 1000 + step,
                })
            })
            .collect();
        assert!(expected(&values), "{motion:?}: {values:?}");
    }

    #[test]
    fn each_motion_keeps_its_promise() {
        let rises = |values: &[f64]| values.windows(2).all(|pair| pair[0] <= pair[1]);
        check(Motion::Constant(2.5), 0, |v| v.iter().all(|v| *v == 2.5));
        let unit = Unit::Hundredths;
        check(Motion::Counter { rate: 40, unit }, 100, rises);
        check(Motion::Rare { one_in: 10 }, 3, rises);
        check(Motion::Clock, 0, rises);
        check(Motion::Observations { rate: 9 }, 0, rises);
        check(Motion::Bucket { share: 32_768 }, 0, |v| {
            rises(v) && v[0] == 500.0
        });
        let unit = Unit::Pages;
        check(Motion::Walk { step: 9, unit }, 2, |v| {
            v.iter().all(|v| *v >= 0.0 && v % 4096.0 == 0.0)
        });
        let unit = Unit::Millis;
        check(Motion::Noise { spread: 9, unit }, 100, |v| {
            v.iter().all(|v| (0.1..0.11).contains(v))
        });
    }
}
