//! What the hub knows of each branch: is its link up, when was it last heard, how far behind is it, how much
//! waits at the edge?
//!
//! The edge is the authority on what waits; silence is judged here. Not here yet: the ledger of intervals,
//! which will be fed by the same reports.

mod branches;
mod metrics;

pub(crate) use branches::{Branch, Branches, LinkState, Report, Sender};
pub(crate) use metrics::{BranchMetrics, TargetCounts};
