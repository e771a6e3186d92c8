//! How do scrapes get from the buffer to the hubs? One shipper per `remote_write` target.
//!
//! A hub of ours is asked for a line first (`line/`, with a header of its own). What follows is remote write: to foreign endpoints, to a hub
//! of ours that knows no line, to the hub in the same process, and where series are changed on their way.
//!
//! [`Shipper`] decides and does nothing: answers and time go in, "send this" and "the hub has that" come out, so that a
//! test can replay any run. [`Forwarder`] is the task around it: it reads batches from the buffer,
//! sends them over a [`Link`] and writes what came of it into the hub's cursor.
//!
//! # Who is at the other end
//!
//! The first request is empty. An answer with `Branchline-Hub` shows one of our own hubs; a plain success shows a foreign
//! remote-write endpoint.
//!
//! - An own hub gets two lanes, one request in flight on each: *live*, the newest scrapes first, and *backlog*, the oldest
//!   pending ones with what is left of the link. Batches shrink until a request takes about a second, so that the
//!   backlog never stands in front of a live scrape for long. Without anything to send, an empty request every
//!   5 s is the sign of life.
//! - A foreign endpoint gets everything in order, one request at a time, and no target twice in one: what has to be sent again is then the newest
//!   that it has of those series, which receivers that want order take as what they have.
//!
//! # What an answer means
//!
//! | answer | own hub | foreign endpoint |
//! |---|---|---|
//! | 2xx | acknowledged, if it carries `Branchline-Hub`; else a portal or proxy answered: kept, retried | acknowledged |
//! | no answer in time, network error, 3xx, 408, 425, 429, 5xx | kept, retried | kept, retried |
//! | 401, 403, 404 | kept, retried | quarantined |
//! | 429 with `Branchline-Reason: series-limit` | as 400: the hub stored all other series | kept, retried |
//! | 400, 413, 422 | split until the records are found that it is about; those are quarantined | the same |
//! | other 4xx | quarantined | quarantined |
//!
//! An own hub that refuses even the empty request gets no scrapes at all until it takes one.
//! A batch of which no part was taken is followed by one that is not split: what is wrong then is not a single scrape.
//!
//! # Remote write 2.0
//!
//! Spoken where it is asked for, and understood. Receivers of 1.0 that do not look at the content type (Prometheus before 2.54) find no series in
//! a message of 2.0, answer 2xx and store nothing. Whoever reads 2.0 says with every answer how much was written; Prometheus 3 takes a 2xx that says
//! nothing, or nothing written, for a failure, and drops the samples. Here nothing may be dropped, so the empty request goes first, in 2.0:
//!
//! | answer to it | then |
//! |---|---|
//! | with one of the headers that say how much was written | 2.0 is spoken |
//! | 2xx without them, 400, 422, 415 | 1.0, as long as the process runs |
//! | else, and a web page | asked again after a pause |
//!
//! | answer to samples in 2.0 | then |
//! |---|---|
//! | 415 | the same at once in 1.0, as long as the process runs |
//! | 2xx without the headers | kept; the empty request is asked again after a pause, and decides (no change of version for a 2xx to samples) |
//! | 2xx, nothing was written | quarantined (foreign endpoints) |
//! | 2xx, less was written than was sent | acknowledged, and counted |
//! | 400, all samples and histograms were written | acknowledged (foreign endpoints): it is about exemplars or metadata |
//! | 400, some were written | split as above: the good ones that come again are the newest of their series there |
//!
//! Nothing is dropped: what is quarantined stays in the buffer and is counted there. A refusal without `Branchline-Hub`
//! from an address that is known as an own hub is somebody in between, and counts as no answer.

mod classify;
mod families;
mod http;
mod line;
mod link;
mod message;
mod rewrite;
mod shipper;
mod status;
mod task;

#[cfg(test)]
mod conservation;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod version_tests;

pub use classify::Answer;
pub use http::{HttpLink, HttpLinkOptions};
pub use line::parts as line_parts;
pub use line::{
    LineConnection, LineLink, LineOptions, LineShipper, LineStep, NoLine, Settled, SocketLink,
};
pub use link::{Link, LinkError, LinkRequest, LinkResponse};
pub(crate) use message::probe as probe_second_version;
pub use rewrite::Wanted;
pub use shipper::{Ask, Content, Outcome, Peer, Shipper, ShipperOptions, Step, Verdict};
pub use status::{HubStatus, LinkState};
pub use task::{ForwardOptions, Forwarder};
