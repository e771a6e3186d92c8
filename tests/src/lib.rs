//! Does the whole thing work with real programs? This is the harness that the behaviour tests stand on: it finds the checkout,
//! our binaries and the real peers, starts them on free loopback ports with folders of their own, cuts the links between them,
//! asks them over HTTP, and ends them.
//!
//! Everything is blocking and waits with a deadline ([`wait::until`]); nothing sleeps for a fixed time and hopes. A process that a
//! test started dies with the test, by its own pid, and shows the end of its log when the test failed.
//!
//! Not here: tests of one crate (they stand beside its code), and the simulated disk and clock (`journal::sim`, `daemon::clock`).

pub mod api;
pub mod browser;
pub mod certificates;
pub mod checkout;
pub mod dashboards;
pub mod field;
pub mod http;
pub mod https;
pub mod link;
pub mod machine;
pub mod peers;
pub mod process;
pub mod remote_read;
pub mod remote_write;
pub mod server;
pub mod service;
pub mod wait;
