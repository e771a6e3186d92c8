use std::hash::{BuildHasher as _, RandomState};
use std::sync::LazyLock;

use crate::LabelSet;

/// What a series is called within a process: a hash of its labels, keyed anew by each process, so that no labels can be made to meet. Whoever
/// makes them compares the labels behind two equal ones once, and takes the [next](SeriesId::next) for the second.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SeriesId(u64);

static KEY: LazyLock<RandomState> = LazyLock::new(RandomState::new);

impl SeriesId {
    /// The usual one of these labels.
    pub fn of(labels: &LabelSet) -> SeriesId {
        SeriesId(KEY.hash_one(labels.as_bytes()))
    }

    /// For labels whose usual one is taken.
    #[must_use]
    pub fn next(self) -> SeriesId {
        SeriesId(self.0.wrapping_add(1))
    }
}

/// A series whose samples are handed over again and again: its labels come along when it is new, and may be left out afterwards. Two are
/// equal when their ids are.
#[derive(Clone, Debug)]
pub struct Series {
    /// Its name within the process.
    pub id: SeriesId,
    /// What its labels are, unless whoever takes it was told before.
    pub labels: Option<LabelSet>,
    /// Bytes of its labels' text; those of more than 64 KiB count as so many.
    pub text_bytes: u16,
}

impl Series {
    /// One with its labels.
    pub fn new(id: SeriesId, labels: LabelSet) -> Series {
        Series {
            id,
            text_bytes: Series::text_bytes(&labels),
            labels: Some(labels),
        }
    }

    /// What [`Series::text_bytes`](field@Series::text_bytes) is for these labels.
    pub fn text_bytes(labels: &LabelSet) -> u16 {
        u16::try_from(labels.as_bytes().len()).unwrap_or(u16::MAX)
    }
}

impl From<LabelSet> for Series {
    fn from(labels: LabelSet) -> Series {
        Series::new(SeriesId::of(&labels), labels)
    }
}

impl PartialEq for Series {
    fn eq(&self, other: &Series) -> bool {
        self.id == other.id
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_series_is_its_labels() {
        let labels = |n: u32| LabelSet::from_pairs([("__name__", "a"), ("n", &n.to_string())]);
        let (one, two) = (labels(1).unwrap(), labels(2).unwrap());
        let series = Series::from(one.clone());
        assert_eq!(series, Series::from(labels(1).unwrap()));
        assert_ne!(series, Series::from(two));
        assert_ne!(series.id, series.id.next());
        assert_eq!(usize::from(series.text_bytes), one.as_bytes().len());
        assert_eq!(series.labels, Some(one));
        let long = LabelSet::from_pairs([("a", "x".repeat(70_000))]).unwrap();
        assert_eq!(Series::from(long).text_bytes, u16::MAX);
    }
}
