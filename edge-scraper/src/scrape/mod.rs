//! Which samples does a target have now? From the target's page to [`Scrape`]s for the buffer.

mod record;

pub use record::{Class, Scrape};
