//! HTTP both ways: opening a port with errors that help, the three paths that every service answers, and one
//! place where clients are made.

mod client;
mod server;

pub use client::{Auth, ClientError, ClientOptions, TlsClientOptions, client};
pub use server::{Health, ListenError, MetricsText, common_routes, listen, serve};
