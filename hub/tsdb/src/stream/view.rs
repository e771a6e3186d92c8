//! A series as its reader sees it, for as long as one call lasts.

use model::Value;

/// The samples of one series in a range, as columns of equal length.
#[derive(Debug, Clone, Copy)]
pub struct SeriesView<'a> {
    /// Milliseconds since the epoch, strictly rising; not empty.
    pub times: &'a [i64],
    /// The times are known to be equal to those of the series shown before in the same call.
    pub same_times: bool,
    /// What was measured. NaN bits are kept, staleness markers included.
    pub values: ValuesView<'a>,
    /// Start timestamps, [`crate::NO_START`] where none was given; empty when none was given at all.
    pub starts: &'a [i64],
}

/// The values of a series.
#[derive(Debug, Clone, Copy)]
pub enum ValuesView<'a> {
    /// Numbers only: the usual case.
    Floats(&'a [f64]),
    /// At least one native histogram.
    Mixed(&'a [Value]),
}
