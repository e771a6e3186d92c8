//! What one scrape hands to the buffer: its samples, whole or not at all.

use model::{Exemplar, LabelSet, Metadata, Sample, Series, Timestamp};

/// How much a scrape's samples matter when the buffer has to give some up. It is written with every record; this release
/// makes only ordinary ones. Its buffer neither thins a critical one nor takes anything from it while it evicts in part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Class {
    /// Like every other.
    #[default]
    Ordinary,
    /// To be kept longer than ordinary ones.
    Critical,
}

impl Class {
    /// The byte that stands for the class in a buffer record; never reused for another meaning.
    pub fn to_byte(self) -> u8 {
        match self {
            Class::Ordinary => 0,
            Class::Critical => 1,
        }
    }

    /// The class of a record's byte; a byte of a later version counts as [`Class::Critical`], so that it is kept
    /// longest.
    pub fn from_byte(byte: u8) -> Class {
        match byte {
            0 => Class::Ordinary,
            _ => Class::Critical,
        }
    }
}

/// The outcome of one scrape of one target, as it is stored: after relabelling, with `job`, `instance`, `external_labels`,
/// `up` and the `scrape_*` series. A scrape that failed has only those and the staleness markers of what it had before.
#[derive(Debug, Clone, PartialEq)]
pub struct Scrape {
    /// When the scrape began, which is also the timestamp of every sample without one of its own.
    pub at: Timestamp,
    /// Identity of the target: equal over restarts while its labels and its URL stay the same.
    pub target: u64,
    /// Class of the target's job.
    pub class: Class,
    /// Samples in the order of the page, then staleness markers, then `up` and the `scrape_*` series. Every label set
    /// has a metric name, and is there when the target's series is new; a series has more than one sample only if the page gave explicit
    /// timestamps.
    pub series: Vec<(Series, Sample)>,
    /// Exemplars with the labels of their series, only those that are not the ones handed over last. Each series here is one
    /// of [`Scrape::series`]. They are no samples and are not counted as such.
    pub exemplars: Vec<(LabelSet, Exemplar)>,
    /// Type, help and unit by metric family, only those not handed over before or changed since.
    pub metadata: Vec<(String, Metadata)>,
}

impl Scrape {
    /// Samples and, apart, staleness markers among [`Scrape::series`].
    pub fn counts(&self) -> (u64, u64) {
        let markers = self
            .series
            .iter()
            .filter(|(_, s)| s.value.is_stale())
            .count() as u64;
        (self.series.len() as u64 - markers, markers)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_class_is_its_byte() {
        for class in [Class::Ordinary, Class::Critical] {
            assert_eq!(Class::from_byte(class.to_byte()), class);
        }
        assert_eq!(Class::from_byte(200), Class::Critical);
    }

    #[test]
    fn markers_are_counted_apart() {
        let at = Timestamp::from_millis(5);
        let labels = LabelSet::from_pairs([("__name__", "a")]).unwrap();
        let scrape = Scrape {
            at,
            target: 1,
            class: Class::default(),
            series: vec![
                (labels.clone().into(), Sample::float(at, 1.0)),
                (labels.into(), Sample::stale(at)),
            ],
            exemplars: Vec::new(),
            metadata: Vec::new(),
        };
        assert_eq!(scrape.counts(), (1, 1));
    }
}
