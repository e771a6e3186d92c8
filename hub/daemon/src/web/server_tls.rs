//! TLS of a listener, from `tls_server_config`.

use std::path::Path;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::crypto::CryptoProvider;
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;

use super::client_auth::ClientCertificates;
use super::config::Place;
use super::raw::{ClientAuth, TlsServer};
use crate::config::ConfigError;
use crate::tls::{Pem, Reader, TlsVersion, identity, provider, versions};

const SECTION: &str = "tls_server_config";

pub(super) struct Built {
    pub(super) config: ServerConfig,
    /// Nobody gets in without a certificate that is verified.
    pub(super) proves_clients: bool,
}

/// None: the section is empty, which is no TLS.
pub(super) fn build(
    given: TlsServer,
    http2: bool,
    place: &Place<'_>,
    files: &mut Reader,
) -> Result<Option<Built>, ConfigError> {
    let dir = place.path.parent().unwrap_or(Path::new(""));
    let at = |key: &str| format!("{SECTION}.{key}");
    let pem = |key: &str, text: &Option<String>, file: &Option<String>| {
        let full = |given: &Option<String>| given.as_ref().is_some_and(|text| !text.is_empty());
        match full(text) && full(file) {
            true => Err(place.invalid(&at(key), format!("give {key} or {key}_file, not both"))),
            false => Ok(Pem::given(text.clone(), file.clone(), dir)),
        }
    };
    let cert = pem("cert", &given.cert, &given.cert_file)?;
    let key = pem("key", &given.key, &given.key_file)?;
    let client_ca = pem("client_ca", &given.client_ca, &given.client_ca_file)?;
    let auth = given.client_auth_type;
    if cert.is_none() && key.is_none() && client_ca.is_none() && auth.is_none() {
        return Ok(None);
    }
    let Some(cert) = cert else {
        return Err(place.invalid(&at("cert_file"), "missing one of cert or cert_file"));
    };
    let Some(key) = key else {
        return Err(place.invalid(&at("key_file"), "missing one of key or key_file"));
    };
    let provider = Arc::new(algorithms(&given, place)?);
    let identity =
        identity(&cert, &key, files).map_err(|error| place.invalid(&at("cert_file"), error))?;
    let auth = auth.unwrap_or_default();
    let verifier = client_verifier(
        auth,
        client_ca,
        given.client_allowed_sans,
        &provider,
        place,
        files,
    )?;
    let versions = versions(given.min_version, given.max_version);
    if versions.is_empty() {
        return Err(place.invalid(&at("min_version"), "it is above max_version"));
    }
    let builder = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&versions)
        .map_err(|error| place.invalid(&at("cipher_suites"), error))?;
    let builder = match verifier {
        Some(verifier) => builder.with_client_cert_verifier(verifier),
        None => builder.with_no_client_auth(),
    };
    let resolver = rustls::sign::SingleCertAndKey::from(identity);
    let mut config = builder.with_cert_resolver(Arc::new(resolver));
    if http2 {
        config.alpn_protocols.push(b"h2".to_vec());
    }
    config.alpn_protocols.push(b"http/1.1".to_vec());
    Ok(Some(Built {
        config,
        proves_clients: auth == ClientAuth::RequireAndVerify,
    }))
}

/// As in Go, the list of suites is about TLS 1.2: those of 1.3 are all sound and stay.
fn algorithms(given: &TlsServer, place: &Place<'_>) -> Result<CryptoProvider, ConfigError> {
    let mut algorithms = (*provider()).clone();
    let wanted = given.cipher_suites.as_deref().unwrap_or_default();
    if !wanted.is_empty() {
        algorithms.cipher_suites.retain(|suite| {
            suite.tls13().is_some() || wanted.iter().any(|wanted| wanted.0 == suite.suite())
        });
        let none = algorithms
            .cipher_suites
            .iter()
            .all(|suite| suite.tls13().is_some());
        if none && given.max_version == Some(TlsVersion::Tls12) {
            return Err(place.invalid(
                "tls_server_config.cipher_suites",
                "there is none of TLS 1.2, and max_version allows no newer TLS: name one that begins with TLS_ECDHE_",
            ));
        }
    }
    let curves = given.curve_preferences.as_deref().unwrap_or_default();
    if !curves.is_empty() {
        let all = std::mem::take(&mut algorithms.kx_groups);
        let by_name = |curve: &super::raw::Curve| all.iter().find(|group| group.name() == curve.0);
        algorithms.kx_groups = curves.iter().filter_map(by_name).copied().collect();
    }
    // Accepted so that a file of Prometheus's reads; it has had no effect there either since Go 1.17.
    let _ = given.prefer_server_cipher_suites;
    Ok(algorithms)
}

fn client_verifier(
    auth: ClientAuth,
    client_ca: Option<Pem>,
    allowed_sans: Option<Vec<String>>,
    provider: &Arc<CryptoProvider>,
    place: &Place<'_>,
    files: &mut Reader,
) -> Result<Option<Arc<dyn ClientCertVerifier>>, ConfigError> {
    let at = |key: &str| format!("{SECTION}.{key}");
    if let Some(sans) = &allowed_sans {
        if !matches!(auth, ClientAuth::RequireAny | ClientAuth::RequireAndVerify) {
            return Err(place.invalid(
                &at("client_allowed_sans"),
                "it needs client_auth_type RequireAnyClientCert or RequireAndVerifyClientCert",
            ));
        }
        if sans.is_empty() {
            return Err(place.invalid(
                &at("client_allowed_sans"),
                "it names nobody: name somebody, or take it out",
            ));
        }
    }
    let mandatory = matches!(auth, ClientAuth::RequireAny | ClientAuth::RequireAndVerify);
    let chain = match (auth, client_ca) {
        (ClientAuth::None, None) => return Ok(None),
        (ClientAuth::None, Some(_)) => {
            return Err(place.invalid(
                &at("client_ca_file"),
                "authorities of clients without a client_auth_type: say RequireAndVerifyClientCert",
            ));
        }
        (ClientAuth::VerifyIfGiven | ClientAuth::RequireAndVerify, None) => {
            return Err(place.invalid(
                &at("client_auth_type"),
                "it needs client_ca_file: the authorities that sign your clients' certificates",
            ));
        }
        (ClientAuth::VerifyIfGiven | ClientAuth::RequireAndVerify, Some(ca)) => {
            let invalid = |why: String| place.invalid(&at("client_ca_file"), why);
            let roots = ca
                .roots(files)
                .map_err(|error| invalid(error.to_string()))?;
            let builder =
                WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone());
            let chain = builder.build();
            Some(chain.map_err(|error| invalid(error.to_string()))?)
        }
        (ClientAuth::Request | ClientAuth::RequireAny, _) => None,
    };
    Ok(Some(Arc::new(ClientCertificates {
        chain,
        mandatory,
        allowed_sans: allowed_sans.unwrap_or_default(),
        provider: provider.clone(),
    })))
}
