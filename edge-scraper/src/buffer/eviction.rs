//! What goes first when room is needed: the policy, what it made of a segment, and the choice of the next step.

use std::fmt;
use std::sync::Arc;

use model::{LabelSet, Matcher};

use super::record::Counts;

/// What goes first. Without a policy the oldest segment goes, whole. Segments that every hub has go before anything else, whatever the
/// policy.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct EvictionPolicy {
    /// Before anything goes that a hub lacks: of the scrapes of each target in closed segments every n-th stays. Of a series that is not in
    /// those, at least every n-th scrape's sample stays. 2 at least; None: nothing is thinned.
    pub thin_to_every: Option<u32>,
    /// Series that go last: they are never thinned, and evicted only when closed segments hold nothing else. A series is kept when one of
    /// the selectors fits.
    pub keep: Arc<[Vec<Matcher>]>,
}

impl EvictionPolicy {
    /// Whether anything ever goes in part.
    pub(super) fn rewrites(&self) -> bool {
        self.thin_to_every.is_some() || !self.keep.is_empty()
    }

    /// Whether a series goes last.
    pub(super) fn keeps(&self, labels: &LabelSet) -> bool {
        let fits = |matchers: &Vec<Matcher>| matchers.iter().all(|m| m.matches_labels(labels));
        self.keep.iter().any(fits)
    }
}

impl fmt::Display for EvictionPolicy {
    /// What happens when the buffer is full, in words.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("when it is full ")?;
        if let Some(every) = self.thin_to_every {
            write!(f, "one scrape of {every} stays, then ")?;
        }
        f.write_str("the oldest go")?;
        match self.keep.len() {
            0 => Ok(()),
            1 => f.write_str(", series of 1 selector last"),
            selectors => write!(f, ", series of {selectors} selectors last"),
        }
    }
}

/// What a segment has been through.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Stage {
    /// It is as it was scraped.
    #[default]
    Whole,
    /// Every n-th scrape is left, and the kept series.
    Thinned,
    /// The kept series and the staleness markers are left.
    KeptOnly,
}

impl Stage {
    /// The byte in a record's header; never reused for another meaning.
    pub(super) fn to_byte(self) -> u8 {
        self as u8
    }

    pub(super) fn from_byte(byte: u8) -> Stage {
        match byte {
            0 => Stage::Whole,
            1 => Stage::Thinned,
            _ => Stage::KeptOnly,
        }
    }
}

/// Stands in every record of a segment that was rewritten.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Mark {
    pub(super) stage: Stage,
    /// Tells one rewriting of a segment from another; 0: it was not rewritten.
    pub(super) number: u8,
}

impl Mark {
    pub(super) fn is_rewritten(self) -> bool {
        self.number != 0
    }
}

/// A segment that was rewritten.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Rewritten {
    pub(super) mark: Mark,
    /// What it held when it was scraped and holds no more.
    pub(super) taken: Counts,
}

/// A closed segment, as the choice needs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Candidate {
    pub(super) stage: Stage,
    /// Every hub has all of it, or will never get what it lacks.
    pub(super) is_settled: bool,
}

/// What makes room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// The candidate of this number is rewritten.
    Rewrite(usize, Stage),
    /// The oldest segment goes, whole.
    EvictOldest,
}

/// What to do next for room, given the closed segments from the oldest on.
pub(super) fn choose(policy: &EvictionPolicy, closed: &[Candidate]) -> Step {
    if closed.first().is_none_or(|oldest| oldest.is_settled) {
        return Step::EvictOldest;
    }
    let stages = [
        (policy.thin_to_every.is_some(), Stage::Thinned),
        (!policy.keep.is_empty(), Stage::KeptOnly),
    ];
    for (_, stage) in stages.into_iter().filter(|(is_wanted, _)| *is_wanted) {
        let open = || {
            let numbered = closed.iter().enumerate();
            numbered.filter(|(_, segment)| segment.stage < stage)
        };
        // What no hub lacks first.
        let first = open().find(|(_, segment)| segment.is_settled);
        if let Some((number, _)) = first.or_else(|| open().next()) {
            return Step::Rewrite(number, stage);
        }
    }
    Step::EvictOldest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(policy: (Option<u32>, &[&str]), segments: &str, expected: Step) {
        let keep = policy
            .1
            .iter()
            .map(|text| wire::selector::parse(text).unwrap());
        let policy = EvictionPolicy {
            thin_to_every: policy.0,
            keep: keep.collect(),
        };
        let candidate = |letter: char| Candidate {
            is_settled: letter.is_uppercase(),
            stage: match letter.to_ascii_lowercase() {
                'w' => Stage::Whole,
                't' => Stage::Thinned,
                _ => Stage::KeptOnly,
            },
        };
        let segments: Vec<Candidate> = segments.chars().map(candidate).collect();
        assert_eq!(choose(&policy, &segments), expected, "{segments:?}");
    }

    #[test]
    fn thinning_comes_first_then_what_is_not_kept_then_the_oldest() {
        use Stage::*;
        use Step::*;
        let keep: &[&str] = &[r#"{job="pos"}"#];
        check((None, &[]), "www", EvictOldest);
        check((Some(4), &[]), "www", Rewrite(0, Thinned));
        check((Some(4), &[]), "ttw", Rewrite(2, Thinned));
        check((Some(4), &[]), "ttt", EvictOldest);
        check((Some(4), keep), "ttt", Rewrite(0, KeptOnly));
        check((Some(4), keep), "ktw", Rewrite(2, Thinned));
        check((Some(4), keep), "ktt", Rewrite(1, KeptOnly));
        check((None, keep), "www", Rewrite(0, KeptOnly));
        check((Some(4), keep), "kkk", EvictOldest);
        // What hubs have goes first.
        check((Some(4), keep), "Www", EvictOldest);
        check((Some(4), keep), "wwW", Rewrite(2, Thinned));
        check((Some(4), keep), "", EvictOldest);
    }

    #[test]
    fn a_series_is_kept_when_one_selector_fits() {
        let policy = EvictionPolicy {
            thin_to_every: None,
            keep: [r#"{job="pos"}"#, r#"up{job=~"till.*",zone!="x"}"#]
                .iter()
                .map(|text| wire::selector::parse(text).unwrap())
                .collect(),
        };
        let keeps = |pairs: &[(&str, &str)]| {
            policy.keeps(&LabelSet::from_pairs(pairs.iter().copied()).unwrap())
        };
        assert!(keeps(&[("__name__", "any"), ("job", "pos")]));
        assert!(keeps(&[("__name__", "up"), ("job", "till3")]));
        assert!(!keeps(&[
            ("__name__", "up"),
            ("job", "till3"),
            ("zone", "x")
        ]));
        assert!(!keeps(&[("__name__", "down"), ("job", "till3")]));
        assert!(!EvictionPolicy::default().keeps(&LabelSet::empty()));
    }

    #[test]
    fn a_stage_is_its_byte() {
        for stage in [Stage::Whole, Stage::Thinned, Stage::KeptOnly] {
            assert_eq!(Stage::from_byte(stage.to_byte()), stage);
        }
    }
}
