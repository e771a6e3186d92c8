//! Which samples were stored?
//!
//! A [`Store`] keeps samples of series in one folder. Any sample of any age within the retention, in any order, is an
//! ordinary write; the same series and timestamp written twice keeps the later write, and an identical replay changes
//! nothing. [`Store::append`] returns with the samples readable; its [`Commit`] completes when they are durable.
//!
//! Below: a write-ahead log on `journal`; recent samples in memory in the order of writing; immutable columnar *parts* on
//! disk, sealed from memory by row count, merged with their neighbours and dropped by partition of time; a catalogue of
//! series in segments of 65,536. The last exemplars of all series are in memory, and saved before the log is freed. [`Store::maintain`] does the background work when it is called: the store has no thread
//! and no clock of its own (but for the log's syncing thread). Every byte on disk is drawn in `FORMAT.md`.
//!
//! Not in here: the query language, any wire format (series arrive as a key and a way to get their labels), which branch is
//! complete, any lock between processes (the process locks its data folder).
//!
//! # What may be lost, and what each kind of damage means
//!
//! - Nothing whose commit completed, on a disk that keeps what it synced. Torn ends of logs are normal.
//! - A damaged record in the middle of the log: its samples are lost, counted in [`Stats::records_lost`] and said in
//!   [`Selection::warnings`]; the rest is served. So is a damaged file of the catalogue, which costs its own series, or of the exemplars.
//! - A part that does not pass a checksum is *quarantined*: no longer read, kept on disk, named in the warnings of every
//!   selection that overlaps its time.
//! - A failed fsync, or any failed write but a full disk: no more writes ([`AppendError::Poisoned`]), reads go on.
//! - A full disk: the append is refused ([`AppendError::DiskFull`]) and nothing of it kept; reads go on.
//! - A deletion that was acknowledged holds, and so does what was written before it.
//! - A damaged manifest or an unknown version: refused, with the way out.
//!
//! # Example
//!
//! ```
//! use std::{path::Path, sync::Arc};
//! use model::{LabelSet, Matcher, Sample, Timestamp};
//! use tsdb::{Batch, BatchSeries, SelectLimits, Store, StoreOptions, TimeRange};
//!
//! let disk = Arc::new(journal::sim::SimDisk::new(1));
//! let store = Store::open(disk, Path::new("/data/store"), StoreOptions::default())?;
//! let samples = [Sample::float(Timestamp::from_millis(1_000), 1.0)];
//! let labels = || LabelSet::from_pairs([("__name__", "up"), ("branch", "b07")]).map_err(|e| e.to_string());
//! let key = store.series_key("b07", br#"{"__name__":"up"}"#);
//! let series = vec![BatchSeries { key, labels: &labels, samples: &samples }];
//! let appended = store.append(&Batch { scope: "b07", series, metadata: vec![] })?;
//! appended.commit.wait()?; // durable from here on
//!
//! let up = [Matcher::equal("__name__", "up")];
//! let selection = store.select(&up, TimeRange::ALL, &SelectLimits::default(), &|| false)?;
//! assert_eq!(selection.series[0].timestamps, [1_000]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod batch;
#[doc(hidden)]
pub mod catalogue;
mod changes;
mod chunk;
mod codec;
mod columns;
mod compact;
mod deletions;
mod error;
mod exemplars;
mod frame;
mod head;
mod keys;
mod maintain;
mod manifest;
mod open;
mod part;
#[doc(hidden)]
pub mod probe;
mod read;
mod rows;
mod runs;
mod seal;
mod sealed;
mod snapshot;
mod store;
mod stream;
mod types;

#[cfg(test)]
mod faults;
#[cfg(test)]
mod golden;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;

pub use batch::{ColumnBatch, Columns};
pub use catalogue::Cardinality;
pub use changes::{Changes, Touched};
pub use error::{AppendError, RefusedReason, SelectError, StoreError};
pub use exemplars::{
    ExemplarRefusal, ExemplarSelection, ExemplarsAppended, RefusedExemplar, SeriesExemplars,
};
pub use journal::{SyncPolicy, Urgency};
pub use keys::SeriesKeys;
pub use snapshot::SnapshotOf;
pub use store::Store;
pub use stream::{FoundSeries, NO_GROUP, SeriesGroups, SeriesView, ValuesView};
pub use types::{
    Appended, Batch, BatchSeries, Column, Commit, CreateOptions, Deleted, LabelsFn, Limits,
    Maintained, MetadataByMetric, NO_START, PartInfo, RefusedSeries, Retention, SealOptions,
    SelectLimits, Selection, Series, SeriesKey, Stats, StoreOptions, TimeRange, WalOptions, Wanted,
};
