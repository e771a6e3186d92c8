use std::time::Duration;

use model::Timestamp;
use wire::remote_write::headers::Version;

use super::shipper::Peer;
use crate::buffer::HubCounts;

/// How the way to a hub is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum LinkState {
    /// Nobody has answered since the start.
    #[default]
    Connecting,
    /// The last answer was the other end's.
    Up,
    /// Nothing gets through, or the other end does not let us in.
    Down {
        /// The last error, for people.
        error: String,
    },
}

/// One hub as pages and metrics show it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct HubStatus {
    /// Its name in the configuration.
    pub name: String,
    /// Where requests go.
    pub address: String,
    /// Who answers there.
    pub peer: Peer,
    /// How the link is.
    pub link: LinkState,
    /// Since when it is so.
    pub since: Option<Timestamp>,
    /// The last error, of the link or of a single request, and when.
    pub last_error: Option<(Timestamp, String)>,
    /// When the last answer of the other end came.
    pub last_answer: Option<Timestamp>,
    /// Time of the newest scrape that it has acknowledged since the start.
    pub watermark: Option<Timestamp>,
    /// Requests under way.
    pub in_flight_requests: usize,
    /// Samples in them.
    pub in_flight_samples: u64,
    /// Requests sent since the start.
    pub requests: u64,
    /// Of those, failed or refused ones.
    pub failures: u64,
    /// Compressed bytes of bodies sent since the start.
    pub bytes_sent: u64,
    /// How long the last acknowledged request took.
    pub round_trip: Option<Duration>,
    /// The hub's clock less the machine's, in milliseconds; hubs of ours say.
    pub clock_offset_ms: Option<i64>,
    /// The line is spoken, not remote write.
    pub speaks_line: bool,
    /// Which remote write is spoken, where it is.
    pub version: Version,
    /// Why 1.0 is spoken although 2.0 is configured.
    pub instead_of_second: Option<String>,
    /// Samples that were acknowledged although the other end did not say that it wrote all of their request.
    pub unwritten: u64,
    /// Exemplars that were not sent since their series was not in the request.
    pub exemplars_left: u64,
    /// The books.
    pub counts: HubCounts,
}

impl HubStatus {
    /// What is spoken, for people.
    pub fn protocol(&self) -> &'static str {
        match self.version {
            _ if self.speaks_line => "line",
            Version::V1 => "remote write 1.0",
            Version::V2 => "remote write 2.0",
        }
    }

    /// How old the newest acknowledged scrape is.
    pub fn live_lag(&self, now: Timestamp) -> Option<Duration> {
        self.watermark
            .map(|watermark| now.saturating_since(watermark))
    }
}
