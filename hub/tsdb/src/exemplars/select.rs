//! Exemplars, asked for.

use model::{Exemplar, LabelSet, Matcher};
use roaring::RoaringBitmap;

use crate::{store::Store, types::TimeRange};

/// The exemplars of one series, in the order of time.
#[derive(Debug, Clone, PartialEq)]
pub struct SeriesExemplars {
    /// The labels of the series.
    pub labels: LabelSet,
    /// At least one.
    pub exemplars: Vec<Exemplar>,
}

/// The answer of [`Store::select_exemplars`].
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ExemplarSelection {
    /// In the order of their label sets.
    pub series: Vec<SeriesExemplars>,
    /// What the reader of the answer must know, e.g. that a damaged file is missing from it.
    pub warnings: Vec<String>,
}

impl Store {
    /// The exemplars in the range of all series that fit all matchers of any of the selectors. At most
    /// `Limits::exemplars_max`. A series that has no sample any more has no exemplar.
    pub fn select_exemplars(
        &self,
        selectors: &[&[Matcher]],
        range: TimeRange,
    ) -> ExemplarSelection {
        let range = self.kept(range);
        let catalogue = self.read_catalogue();
        let having: RoaringBitmap = self.read_exemplars().newest.keys().copied().collect();
        let mut fitting = RoaringBitmap::new();
        if !having.is_empty() {
            for matchers in selectors {
                fitting |= catalogue.select(matchers) & &having;
            }
        }
        let (found, warnings) = {
            let state = self.read_state();
            let warnings = state.damage.clone();
            (state.found(fitting, TimeRange::ALL), warnings)
        };
        let ring = self.read_exemplars();
        let mut series: Vec<SeriesExemplars> = found
            .iter()
            .map(|id| (id, ring.within(id, range)))
            .filter(|(_, exemplars)| !exemplars.is_empty())
            .filter_map(|(id, exemplars)| {
                let labels = catalogue.labels(id)?;
                Some(SeriesExemplars { labels, exemplars })
            })
            .collect();
        drop((ring, catalogue));
        series.sort_by(|a, b| a.labels.cmp(&b.labels));
        ExemplarSelection { series, warnings }
    }
}
