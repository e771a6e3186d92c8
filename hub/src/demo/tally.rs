//! The demo's last word: per branch, what the edge scraped and what became of it, each figure counted on its
//! own: scraped by the edge's buffer, stored by a PromQL query to the hub, pending and evicted by the edge.

use std::fmt;

/// The sums of one branch. Staleness markers are counted apart from samples everywhere, because
/// `count_over_time` does not see them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) branch: String,
    pub(crate) scraped: u64,
    pub(crate) stored: u64,
    pub(crate) pending: u64,
    pub(crate) evicted: u64,
    pub(crate) quarantined: u64,
}

impl Tally {
    /// Whether every scraped sample is accounted for, once.
    pub(crate) fn agrees(&self) -> bool {
        self.scraped == self.stored + self.pending + self.evicted + self.quarantined
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Tally {
            branch,
            scraped,
            stored,
            pending,
            evicted,
            quarantined,
        } = self;
        write!(
            f,
            "{branch}: scraped {scraped} = stored {stored} + pending {pending} + evicted {evicted}"
        )?;
        if *quarantined > 0 {
            write!(f, " + refused {quarantined}")?;
        }
        match self.agrees() {
            true => f.write_str("  ✓ agree"),
            false => {
                let sum = i128::from(stored + pending + evicted + quarantined);
                write!(f, "  ✗ DISAGREE by {}", i128::from(*scraped) - sum)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_sample_is_said() {
        let mut tally = Tally {
            branch: "b01".into(),
            scraped: 10,
            stored: 7,
            pending: 2,
            evicted: 1,
            quarantined: 0,
        };
        assert!(tally.agrees() && tally.to_string().ends_with("agree"));
        tally.stored = 6;
        assert!(tally.to_string().ends_with("DISAGREE by 1"), "{tally}");
        tally.stored = 9;
        assert!(tally.to_string().ends_with("DISAGREE by -2"), "{tally}");
    }
}
