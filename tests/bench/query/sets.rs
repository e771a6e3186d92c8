//! Which data is asked, and how far back.

use clap::ValueEnum;

/// A size of the data, all scraped every 15 s.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Set {
    /// 100,000 series × 240 scrapes: the last hour of many machines.
    #[default]
    #[value(name = "1h")]
    Hour,
    /// 10,000 series × 5,760 scrapes: graphs go back a day, and some questions ask about all of it.
    #[value(name = "24h")]
    Day,
}

impl Set {
    /// (series, scrapes).
    pub(super) fn size(self, quick: bool) -> (usize, usize) {
        match (self, quick) {
            (Set::Hour, false) => (100_000, 240),
            (Set::Hour, true) => (8_000, 240),
            (Set::Day, false) => (10_000, 5_760),
            (Set::Day, true) => (4_000, 5_760),
        }
    }
}
