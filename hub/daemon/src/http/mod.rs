//! HTTP both ways: opening a port with errors that help, the three paths that every service answers, and one
//! place where clients are made.

mod client;
mod client_tls;
mod server;

pub use client::{Auth, ClientError, ClientOptions, client};
pub use client_tls::{TlsClientOptions, TlsYaml};
pub use server::{Health, ListenError, MetricsText, Peer, common_routes, listen, serve, serve_web};
