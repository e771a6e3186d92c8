//! Reading series one after the other, without holding more than one of them.
//!
//! [`Store::open_series`] finds the series and pins what holds their samples: parts, frozen heads, and a view of the active
//! one. So every read of a [`FoundSeries`] sees the same samples, whatever is written, sealed, merged or deleted
//! meanwhile. Reads go by rising id, which is the order of parts and heads; several threads may read at a time, each
//! its own stretch.
//!
//! A thread that reads holds, for each part, a block of about 32 KiB; for each head, the rows of a few series
//! ([`crate::head::Window`]); and the samples of the series at hand.

#[cfg(test)]
mod agreement;
mod groups;
mod merge;
#[cfg(test)]
pub(crate) mod tests;
mod view;

use std::{io, ops::Range, sync::Arc};

use model::{LabelSet, Matcher};
use roaring::RoaringBitmap;

use crate::{
    deletions::PartDeletions,
    error::SelectError,
    head::View,
    part::{Part, PartError},
    store::Store,
    types::{SelectLimits, TimeRange, Wanted},
};

pub use groups::{NO_GROUP, SeriesGroups};
pub use view::{SeriesView, ValuesView};

use merge::Merge;

/// Series between two calls of the caller's `cancel`.
const CANCEL_EVERY: usize = 256;

/// Series that fit, at places `0..len()`, and all that is needed to read their samples in the range. See the module.
pub struct FoundSeries<'s> {
    store: &'s Store,
    range: TimeRange,
    wanted: Wanted,
    /// Samples that one series may have.
    samples_max: u64,
    /// Rising; of the series at each place.
    ids: Vec<u32>,
    /// In the order of (partition, write sequence).
    parts: Vec<(Arc<Part>, PartDeletions)>,
    /// Of the heads, oldest first.
    views: Vec<View>,
    warnings: Vec<String>,
}

impl Store {
    /// Finds the series that fit all matchers and have (or may have, as exact as a part's time allows) samples in the
    /// range. `cancel` is asked now and then whether to stop.
    ///
    /// # Errors
    /// [`SelectError::TooManySeries`], [`SelectError::Canceled`].
    pub fn open_series(
        &self,
        matchers: &[Matcher],
        range: TimeRange,
        wanted: Wanted,
        limits: &SelectLimits,
        cancel: &dyn Fn() -> bool,
    ) -> Result<FoundSeries<'_>, SelectError> {
        let range = self.kept(range);
        let fitting = self.read_catalogue().select(matchers);
        if cancel() {
            return Err(SelectError::Canceled);
        }
        let state = self.read_state();
        let found: RoaringBitmap = state.found(fitting, range);
        if found.len() > limits.series as u64 {
            return Err(SelectError::TooManySeries { max: limits.series });
        }
        let ids: Vec<u32> = found.iter().collect();
        let recent = state.active.view(&ids, range);
        let with_samples =
            |part: &&Arc<Part>| part.overlaps(range) && !part.ids.is_disjoint(&found);
        let parts: Vec<Arc<Part>> = state.parts.iter().filter(with_samples).cloned().collect();
        let (frozen, warnings) = (state.frozen.clone(), state.warnings(range));
        let deletions = state.deletions.clone();
        drop(state);
        let frozen = frozen.iter().map(|head| head.view(&ids, range));
        let views = frozen.chain([recent]).filter(|view| !view.is_empty());
        let views = views.collect();
        let parts = parts.into_iter().map(|part| {
            let deletions = deletions.of(&part);
            (part, deletions)
        });
        Ok(FoundSeries {
            store: self,
            range,
            wanted,
            samples_max: limits.samples,
            parts: parts.collect(),
            ids,
            views,
            warnings,
        })
    }
}

impl FoundSeries<'_> {
    /// How many places there are. Some may turn out to have no samples.
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// None at all.
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    /// The store's number of the series at a place; it stays as long as a sample of the series does, and rises with the place.
    pub fn id(&self, place: usize) -> Option<u32> {
        self.ids.get(place).copied()
    }

    /// The labels of the series at a place; none if it was forgotten since.
    pub fn labels(&self, place: usize) -> Option<LabelSet> {
        self.store.read_catalogue().labels(*self.ids.get(place)?)
    }

    /// What the reader of an answer must know, e.g. that a damaged part is missing from it.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// Shows each series at these places that has samples in the range, by rising place; `visit` says whether to go on.
    /// `cancel` is asked now and then whether to stop.
    ///
    /// A part found damaged is set aside: all that was read is to be forgotten, and the series opened again.
    ///
    /// # Errors
    /// [`SelectError::Changed`], a limit, `cancel`, or a disk that does not answer.
    pub fn read(
        &self,
        places: Range<usize>,
        cancel: &dyn Fn() -> bool,
        visit: &mut dyn FnMut(usize, SeriesView<'_>) -> bool,
    ) -> Result<(), SelectError> {
        let places = places.start..places.end.min(self.ids.len());
        let window_series = self.views.iter().map(View::window_series).min();
        let window_series = window_series.unwrap_or(usize::MAX);
        let mut merge = Merge::new(self);
        let mut window_end = places.start;
        for place in places.clone() {
            if (place - places.start) % CANCEL_EVERY == 0 && cancel() {
                return Err(SelectError::Canceled);
            }
            if place == window_end {
                window_end = place.saturating_add(window_series).min(places.end);
                merge.fill_windows(place..window_end);
            }
            let merged = merge.series(place);
            let view = merged.map_err(|error| self.failed(error))?;
            if let Some(view) = view
                && !visit(place, view)
            {
                break;
            }
        }
        Ok(())
    }

    fn failed(&self, error: merge::Failed) -> SelectError {
        let (part, error) = match error {
            merge::Failed::TooManySamples => {
                let max = self.samples_max;
                return SelectError::TooManySamples { max };
            }
            merge::Failed::Part(index, error) => (&self.parts[index].0, error),
        };
        let reason = match error {
            PartError::Damaged { offset, expected } => {
                format!("at offset {offset}: expected {expected}")
            }
            PartError::Version(found) => format!("unknown version {found}"),
            PartError::Io(source) => {
                let source: Arc<io::Error> = Arc::new(source);
                let path = part.path.clone();
                return SelectError::Io { path, source };
            }
        };
        self.store.quarantine(part.meta.number, reason.clone());
        SelectError::Changed {
            path: part.path.clone(),
            reason,
        }
    }
}
