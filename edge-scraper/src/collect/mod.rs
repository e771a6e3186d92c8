//! Collectors: pages made inside this process, which run as targets like every other.

pub mod exporter;
pub mod node;

/// A source of metrics inside the process. It is scraped as a target of its own: its page goes through parsing,
/// relabelling and limits, and it has `up` and the `scrape_*` series.
pub trait Collector: Send + Sync {
    /// The value of the label `job`.
    fn job(&self) -> &str;

    /// The page now, classic exposition text. Called off the async threads; may block, but not beyond the scrape timeout.
    ///
    /// # Errors
    ///
    /// What makes the whole page worthless; the scrape then counts as failed.
    fn collect(&self) -> Result<String, CollectError>;

    /// The same in whichever format has room for it.
    ///
    /// # Errors
    ///
    /// As [`Collector::collect`].
    fn page(&self) -> Result<Page, CollectError> {
        self.collect().map(Page::Text)
    }
}

/// A collector's page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Page {
    /// Exposition text.
    Text(String),
    /// Delimited protobuf: the only format with native histograms.
    Protobuf(Vec<u8>),
}

/// A collector has no page.
#[derive(Debug, thiserror::Error)]
#[error("collector {collector}: {reason}")]
pub struct CollectError {
    /// The collector's job.
    pub collector: String,
    /// What went wrong.
    pub reason: String,
}
