//! What is known about targets, for the API, and counts about scraping, for the edge's own metrics.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use model::{LabelSet, Timestamp};
use reqwest::Url;

use super::page::Counts;
pub use crate::discovery::SourceStatus;

/// How a target's last scrape went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Health {
    /// Not scraped yet.
    #[default]
    Unknown,
    /// It went well.
    Up,
    /// It failed.
    Down,
}

impl Health {
    /// `unknown`, `up`, `down`.
    pub fn as_str(self) -> &'static str {
        match self {
            Health::Unknown => "unknown",
            Health::Up => "up",
            Health::Down => "down",
        }
    }
}

/// What a loop says about its target.
#[derive(Debug, Clone, Default)]
pub(super) struct TargetState {
    pub(super) health: Health,
    pub(super) last_error: Option<String>,
    pub(super) last_scrape: Option<Timestamp>,
    pub(super) last_duration: Duration,
}

/// A target that is being scraped.
#[derive(Debug, Clone)]
pub struct TargetStatus {
    /// As discovered, before relabelling.
    pub discovered: LabelSet,
    /// What its series get.
    pub labels: LabelSet,
    /// Where its page is; `collector://` for a collector of this process.
    pub url: Url,
    /// How often it is scraped.
    pub interval: Duration,
    /// How long a scrape may take.
    pub timeout: Duration,
    /// How the last scrape went.
    pub health: Health,
    /// Why it failed.
    pub last_error: Option<String>,
    /// When it was.
    pub last_scrape: Option<Timestamp>,
    /// How long it took.
    pub last_duration: Duration,
}

/// A scrape job and its targets.
#[derive(Debug, Clone)]
pub struct PoolStatus {
    /// The job's name.
    pub name: String,
    /// In the order of their URLs.
    pub active: Vec<TargetStatus>,
    /// Targets that relabelling dropped, as discovered; at most `keep_dropped_targets`.
    pub dropped: Vec<LabelSet>,
    /// How many were dropped in all.
    pub dropped_count: usize,
    /// Where its targets come from, save those in the configuration itself.
    pub sources: Vec<SourceStatus>,
}

/// A count that only rises.
#[derive(Debug, Default)]
pub struct Count(AtomicU64);

impl Count {
    pub(super) fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    /// The count now.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Counts about scraping since the start.
#[derive(Debug, Default)]
pub struct ScrapeMetrics {
    /// Scrapes, failed ones included.
    pub scrapes: Count,
    /// Scrapes that failed.
    pub failed: Count,
    /// Samples on pages.
    pub samples: Count,
    /// Samples left out because their series had one for that time.
    pub duplicates: Count,
    /// Samples left out because their timestamp was too far ahead.
    pub ahead: Count,
    /// Exemplars left out because they cannot be kept.
    pub exemplars_refused: Count,
    /// Scrapes that did not take place because the one before took too long.
    pub missed: Count,
    /// Samples that the buffer refused: lost.
    pub lost: Count,
    /// The last scrape could not be stored.
    not_storing: AtomicBool,
}

impl ScrapeMetrics {
    pub(super) fn scraped(&self, counts: &Counts, failed: bool) {
        self.scrapes.add(1);
        self.failed.add(u64::from(failed));
        self.samples.add(counts.scraped);
        self.duplicates.add(counts.duplicates);
        self.ahead.add(counts.ahead);
        self.exemplars_refused.add(counts.exemplars_refused);
    }

    /// Notes whether storing works; true if that has changed.
    pub(super) fn storing(&self, works: bool) -> bool {
        self.not_storing.swap(!works, Ordering::Relaxed) == works
    }
}
