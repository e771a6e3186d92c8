//! Given now and query results: which samples and alerts come out?
//!
//! Not here, on purpose: clocks and schedules (`now` comes in), storage and queries (a trait answers them), and
//! the way to Alertmanager.

pub mod template;
