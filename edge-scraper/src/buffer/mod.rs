//! Which scrapes does no hub hold yet? A journal of scrapes on disk, and how far each hub is.
//!
//! A scrape becomes one record (a very large one several): a header and a frame of a line session, about half a byte a sample.
//! The frame crosses the link as it stands here; for foreign endpoints it is decoded to a remote-write message.
//! It counts as *scraped* once it is synced. What a hub has acknowledged is a set of sequence ranges in its
//! cursor, because the newest scrapes are sent before the backlog. Records stay until the byte cap
//! needs their room, also when every hub has them.
//!
//! Not in here: what is sent when, and to whom (`forward`).
//!
//! # What may be lost
//!
//! - A crash of the edge costs what was not synced: at most [`BufferOptions::sync_bound`] of scrapes, which were never
//!   counted as scraped.
//! - A lost save of a cursor means that records are sent again; a hub stores them once (a foreign endpoint may refuse
//!   them: its cursor is saved after every answer). Cursors are saved before anything
//!   is evicted, at the latest [`BufferOptions::save_bound`] after an acknowledgement, and on shutdown.
//! - Over the byte cap, or on a full disk, the oldest segment goes, whole; by an [`EvictionPolicy`] segments are rewritten with less before that
//!   (`thinning`, `store/room.rs`). What a hub had not acknowledged of what goes is counted in that hub's `evicted`, durably, before the
//!   segment is removed or another one takes its place.
//! - Records that were durable and are no longer there (a disk that loses its last writes) are missed: cursors say up to
//!   where everything was durable when they were saved. They count as damaged, and their numbers are not used again.
//! - A record whose bytes are damaged is skipped and counted in `damaged`; the others of its segment are not touched.
//! - A failed fsync refuses every further scrape until the buffer is opened again ([`journal::JournalError::Poisoned`]).
//!
//! # Counting
//!
//! For every hub: `scraped - before = acknowledged + pending + quarantined + evicted + damaged`, where every term is
//! counted on its own: scraped as a running count in the records' headers, acknowledged by adding up what the hub
//! acknowledged, pending by walking the headers of the records on disk, evicted when evicting. (`before` is what was
//! scraped and gone before the hub was known.)

mod books;
mod cursor;
mod entries;
mod eviction;
mod files;
mod history;
mod index;
mod label_fields;
mod line;
mod losses;
mod ranges;
mod record;
mod replay;
mod select;
mod store;
mod thinning;

#[cfg(test)]
mod tests;
#[cfg(test)]
mod thinning_tests;

pub use books::HubCounts;
pub use eviction::EvictionPolicy;
pub use history::Stretch;
pub use index::{Pending, RecordMeta};
pub use line::{FrameFound, FrameReader};
pub use ranges::SequenceSet;
pub use record::Counts;
pub(crate) use select::LIVE_WINDOW;
pub use select::{Batch, BatchLimits, Want};
pub use store::{Buffer, BufferError, BufferOptions, BufferStatus, Following, Place};
