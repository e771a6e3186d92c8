//! Which of the found series have the same labels, as far as some labels are kept?

use model::LabelSet;

use super::FoundSeries;
use crate::catalogue::Grouping;

/// In [`SeriesGroups::of`]: the series was forgotten since.
pub const NO_GROUP: u32 = u32::MAX;

/// Which group each of the found series belongs to.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct SeriesGroups {
    /// By place: number of the group, or [`NO_GROUP`].
    pub of: Vec<u32>,
    /// What the series of a group have in common, by number; no label set twice.
    pub labels: Vec<LabelSet>,
}

impl FoundSeries<'_> {
    /// The series sorted into groups of equal labels, as far as `keep` keeps them. Makes one label set a group, not one a
    /// series.
    pub fn groups(&self, keep: &dyn Fn(&str) -> bool) -> SeriesGroups {
        let mut grouping = Grouping::new(keep);
        for ids in self.by_segment() {
            // Writers wait no longer than for one segment.
            self.store.read_catalogue().group(ids, &mut grouping);
        }
        let (of, labels) = grouping.finish();
        SeriesGroups { of, labels }
    }

    /// Whether no two series have equal labels, as far as `keep` keeps them.
    pub fn are_distinct(&self, keep: &dyn Fn(&str) -> bool) -> bool {
        // Series that agree in what is dropped differ in what is kept.
        let dropped = |name: &str| !keep(name);
        let mut grouping = Grouping::new(&dropped);
        let same = self.by_segment().all(|ids| {
            self.store.read_catalogue().group(ids, &mut grouping);
            grouping.groups() <= 1
        });
        if same {
            return true;
        }
        let mut hashes: Vec<(u64, u32)> = Vec::with_capacity(self.len());
        for ids in self.by_segment() {
            self.store
                .read_catalogue()
                .hash_kept(ids, keep, |id, hash| hashes.push((hash, id)));
        }
        hashes.sort_unstable();
        let kept = |id| {
            let labels = self.store.read_catalogue().labels(id);
            labels.map(|labels| labels.retain(keep))
        };
        // Equal hashes of different labels next to never happen.
        let mut alike = hashes
            .chunk_by(|a, b| a.0 == b.0)
            .filter(|run| run.len() > 1);
        alike.all(|run| {
            let mut seen = std::collections::HashSet::new();
            let mut kept = run.iter().filter_map(|(_, id)| kept(*id));
            kept.all(|labels| seen.insert(labels))
        })
    }

    /// The ids, split by the catalogue's segments.
    fn by_segment(&self) -> impl Iterator<Item = &[u32]> {
        self.ids.chunk_by(|a, b| a >> 16 == b >> 16)
    }
}
