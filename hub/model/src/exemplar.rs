use crate::{LabelSet, Timestamp};

/// One observation behind a series, with labels of its own that lead out of the metrics, usually to a trace.
#[derive(Clone, Debug)]
pub struct Exemplar {
    /// Its own labels, not those of the series; may be none.
    pub labels: LabelSet,
    /// What was observed.
    pub value: f64,
    /// When.
    pub at: Timestamp,
}

impl Exemplar {
    /// Characters that the names and values of its labels may have together, as OpenMetrics says.
    pub const LABEL_CHARS_MAX: usize = 128;

    /// Whether its labels keep to [`Exemplar::LABEL_CHARS_MAX`].
    pub fn is_short(&self) -> bool {
        let chars = |(name, value): (&str, &str)| name.chars().count() + value.chars().count();
        let chars = self.labels.iter().map(chars);
        // A character has four bytes at most: where there are more bytes, they need not be counted.
        self.labels.as_bytes().len() <= 8 * Self::LABEL_CHARS_MAX
            && chars.sum::<usize>() <= Self::LABEL_CHARS_MAX
    }
}

impl PartialEq for Exemplar {
    /// Equal bits: a NaN equals itself.
    fn eq(&self, other: &Self) -> bool {
        self.at == other.at
            && self.value.to_bits() == other.value.to_bits()
            && self.labels == other.labels
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn characters_count_and_not_bytes() {
        let exemplar = |value: &str| Exemplar {
            labels: LabelSet::from_pairs([("é", "ö"), ("id", value)]).unwrap(),
            value: f64::NAN,
            at: Timestamp::from_millis(1),
        };
        assert!(exemplar(&"世".repeat(124)).is_short());
        assert!(!exemplar(&"a".repeat(125)).is_short());
        assert!(!exemplar(&"a".repeat(100_000)).is_short());
        assert_eq!(exemplar("a"), exemplar("a"));
        assert_ne!(exemplar("a"), exemplar("b"));
        // As many labels as there can be: each has a name and a value of one character.
        let chars: Vec<String> = (0..64).map(|i| char::from(i + 33).to_string()).collect();
        let many = LabelSet::from_pairs(chars.iter().map(|c| (c, "x"))).unwrap();
        assert!(
            Exemplar {
                labels: many,
                ..exemplar("")
            }
            .is_short()
        );
    }
}
