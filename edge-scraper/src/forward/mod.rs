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
//! - A foreign endpoint gets everything in order, one request at a time.
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
//! Nothing is dropped: what is quarantined stays in the buffer and is counted there. A refusal without `Branchline-Hub`
//! from an address that is known as an own hub is somebody in between, and counts as no answer.

mod classify;
mod http;
mod line;
mod link;
mod rewrite;
mod shipper;
mod status;
mod task;

#[cfg(test)]
mod conservation;
#[cfg(test)]
mod tests;

pub use classify::Answer;
pub use http::{HttpLink, HttpLinkOptions};
pub use line::parts as line_parts;
pub use line::{
    LineConnection, LineLink, LineOptions, LineShipper, LineStep, NoLine, Settled, SocketLink,
};
pub use link::{Link, LinkError, LinkRequest, LinkResponse};
pub use rewrite::Wanted;
pub use shipper::{Ask, Content, Outcome, Peer, Shipper, ShipperOptions, Step, Verdict};
pub use status::{HubStatus, LinkState};
pub use task::{ForwardOptions, Forwarder};
