//! What TLS servers and TLS clients share: certificates and keys in PEM, files that are read again when they change, and
//! which versions of TLS there are. One crypto provider, `ring`, for both.

mod peek;
mod pem;
mod version;
mod watched;

use std::sync::Arc;

use rustls::crypto::CryptoProvider;

pub use peek::{ServerCertificate, server_certificate};
pub(crate) use pem::identity;
pub use pem::{Pem, PemError};
pub use version::TlsVersion;
pub(crate) use version::versions;
pub(crate) use watched::{Reader, Watched};

/// The algorithms of every connection.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    // Fails when a provider is installed already, which then is the same one.
    let _ = rustls::crypto::ring::default_provider().install_default();
    Arc::new(rustls::crypto::ring::default_provider())
}
