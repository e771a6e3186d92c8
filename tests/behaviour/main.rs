//! What Branchline promises, shown with real programs: one module a theme. `tests/run` builds the binaries and brings the peers.

mod dashboards;
mod peers;
