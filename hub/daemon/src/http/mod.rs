//! HTTP both ways: opening a port with errors that help, the three paths that every service answers, and one
//! place where clients are made.

mod bodies;
mod client;
mod client_tls;
mod oauth2;
mod pieces;
mod proxy;
mod round_robin;
mod server;
mod signer;

pub use bodies::{Bodies, BodyError};
pub use client::{Auth, ClientError, ClientOptions, client};
pub use client_tls::{TlsClientOptions, TlsYaml};
pub use oauth2::{OAuth2Options, Secret, TokenSource};
pub use pieces::{Pieces, ReaderGone, in_pieces};
pub use proxy::ProxyOptions;
pub use server::{Health, ListenError, MetricsText, Peer, common_routes, listen, serve, serve_web};
pub use signer::{ExtraHeader, Signer, SignerOptions};
