//! What the hub knows of each branch: is its link up, when was it last heard, how far behind is it, how much
//! waits at the edge?
//!
//! The edge is the authority on what waits; silence is judged here. [`branches`] has all of them, plain remote-write senders
//! too; [`ledger`] the time of those whose edges hold a connection, by intervals; [`metrics`] the series that say so, which
//! [`publish`] writes into the store.

mod branches;
pub(crate) mod ledger;
mod metrics;
mod publish;

pub(crate) use branches::{Branch, Branches, LinkState, Report, Sender};
pub(crate) use metrics::{BranchMetrics, TargetCounts};
pub(crate) use publish::publish;
