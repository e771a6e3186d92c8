//! The line: one held connection to a hub of ours, on which the buffer's frames go as they are on disk.
//!
//! [`LineShipper`] decides and does nothing; [`task`] does what it says: opens connections, reads frames, writes what was
//! acknowledged into the hub's cursor. Bytes and messages: `wire::line`.
//!
//! # Two lanes
//!
//! *Live* goes record by record from where it began. When a connection is new, the hub says which frame of which session it wants
//! next; if that one is a few seconds old the live lane goes on there. Otherwise it begins with what is scraped from now on:
//! the buffer begins a session, and the hub takes over descriptions and values that it knows.
//! *Backlog* is all that is pending before that, the oldest first, with what live leaves of the [window](window), of the
//! hub's credit and of the byte budget. Its frames can be read only after those before them in their session; where the hub lacks
//! these, they are sent again, and stored once.
//!
//! # What an answer means
//!
//! | reply | records |
//! |---|---|
//! | taken | acknowledged |
//! | refused | quarantined: what could be stored of them is |
//! | unknown, live | the connection is made anew, and the live lane begins a session |
//! | unknown, backlog | the session is sent from its beginning |
//! | later | kept; the connection is made anew after the pause |
//! | silence, or the connection ends | kept |
//!
//! A hub restored from a backup says what it has; what it lacks and the buffer still holds becomes pending again.

mod budget;
mod clock;
mod lanes;
mod link;
mod machine;
mod report;
mod socket;
mod task;
mod window;

#[cfg(test)]
mod tests;
#[cfg(test)]
mod thinning_plays;

/// What stands between a [`LineShipper`] and its buffer, without a task around it: for the hub's plays, which drive it together
/// with the hub's own machine.
pub mod parts {
    pub use super::lanes::{Greeting, Lanes, Ready, Resumed, resume};
    pub use super::report::{LineFigures, report};
}

pub use link::{LineConnection, LineLink, NoLine};
pub use machine::{LineOptions, LineShipper, LineStep, Settled};
pub use socket::SocketLink;
pub(super) use task::LineEnd;
