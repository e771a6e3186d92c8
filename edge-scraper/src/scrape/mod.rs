//! Which samples does a target have now? From the target's page to [`Scrape`]s for the buffer.
//!
//! [`Manager`] keeps a loop per target (`target`, `scrape_loop`, `schedule`); a loop fetches the page (`fetch`) and turns it into a
//! scrape (`page`, `labels`, `cache`), all or nothing.

mod cache;
mod failure_log;
mod fetch;
mod labels;
mod manager;
mod page;
mod record;
mod schedule;
mod scrape_loop;
mod status;
mod target;

#[cfg(test)]
mod peer;
#[cfg(test)]
mod peer_mutations;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod told;

pub use manager::{ApplyError, CollectorTarget, Manager};
pub use record::{Class, Scrape};
pub use status::{Count, Health, PoolStatus, ScrapeMetrics, SourceStatus, TargetStatus};

/// Takes scrapes; the buffer does.
pub trait Sink: Send + Sync {
    /// Keeps a scrape. Called off the async threads.
    ///
    /// # Errors
    ///
    /// Why it cannot be kept; the scrape is then lost, and counted as lost by the caller, unless only labels are wanted.
    fn append(&self, scrape: &Scrape) -> Result<(), NotKept>;
}

/// Why a scrape was not kept.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotKept {
    /// Labels that were left out are not known: the scrape is to be handed over again with all labels.
    #[error("{}", wire::line::LabelsWanted)]
    LabelsWanted,
    /// It cannot be kept.
    #[error("{0}")]
    Failed(String),
}
