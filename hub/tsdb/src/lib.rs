//! Which samples were stored?

mod error;
mod types;

pub use error::{AppendError, RefusedReason, SelectError, StoreError};
pub use journal::SyncPolicy;
pub use types::{
    Appended, Batch, BatchSeries, Column, Commit, CreateOptions, LabelsFn, Limits, Maintained, MetadataByMetric, NO_START,
    RefusedSeries, Retention, SealOptions, SelectLimits, Selection, Series, SeriesKey, Stats, StoreOptions, TimeRange,
    WalOptions,
};
