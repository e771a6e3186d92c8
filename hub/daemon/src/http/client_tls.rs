//! TLS of a client, as Prometheus's `tls_config` describes it. Certificates and authorities in files are read again when
//! these change, so that a long-lived process does not outlive its certificate.

use std::path::Path;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ResolvesClientCert, WebPkiServerVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, DigitallySignedStruct, Error, SignatureScheme};
use rustls_platform_verifier::Verifier;
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::ClientError;
use crate::config::ConfigError;
use crate::tls::{Pem, PemError, TlsVersion, Watched, identity, provider, versions};

/// Prometheus's `tls_config` of a client, checked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsClientOptions {
    /// The authorities to trust instead of the system's.
    pub ca: Option<Pem>,
    /// Our certificate.
    pub cert: Option<Pem>,
    /// Its key.
    pub key: Option<Pem>,
    /// The name that the server's certificate must have, if it is not that of the address. The name that the handshake
    /// asks for (SNI) stays that of the address.
    pub server_name: Option<String>,
    /// Takes any certificate. Only for trying things.
    pub insecure_skip_verify: bool,
    /// Oldest version of TLS. Default: 1.2.
    pub min_version: Option<TlsVersion>,
    /// Newest version of TLS. Default: 1.3.
    pub max_version: Option<TlsVersion>,
}

impl TlsClientOptions {
    /// The files that it names.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        [&self.ca, &self.cert, &self.key]
            .into_iter()
            .flatten()
            .filter_map(Pem::file)
    }
}

/// `tls_config` as it is written, for whoever reads a configuration of Prometheus's form.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TlsYaml {
    ca: Option<String>,
    cert: Option<String>,
    key: Option<String>,
    ca_file: Option<String>,
    cert_file: Option<String>,
    key_file: Option<String>,
    server_name: Option<String>,
    insecure_skip_verify: Option<bool>,
    min_version: Option<TlsVersion>,
    max_version: Option<TlsVersion>,
    // Of a secret store that Branchline does not have: refused by name.
    ca_ref: Option<IgnoredAny>,
    cert_ref: Option<IgnoredAny>,
    key_ref: Option<IgnoredAny>,
}

impl std::fmt::Debug for TlsYaml {
    /// Without the key.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("tls_config")
    }
}

impl TlsYaml {
    /// Checks it. `path` is the configuration file, which relative paths start from; `key` is where it stands there.
    ///
    /// # Errors
    /// Keys that exclude or need each other, and those that are not supported. Files are not opened yet.
    pub fn check(self, path: &Path, key: &str) -> Result<TlsClientOptions, ConfigError> {
        let invalid =
            |name: &str, why: &str| Err(ConfigError::invalid(path, format!("{key}.{name}"), why));
        for (name, given) in [
            ("ca_ref", &self.ca_ref),
            ("cert_ref", &self.cert_ref),
            ("key_ref", &self.key_ref),
        ] {
            if given.is_some() {
                return invalid(name, "not supported: put the secret into a file");
            }
        }
        for (name, text, file) in [
            ("ca", &self.ca, &self.ca_file),
            ("cert", &self.cert, &self.cert_file),
            ("key", &self.key, &self.key_file),
        ] {
            let full = |given: &Option<String>| given.as_ref().is_some_and(|text| !text.is_empty());
            if full(text) && full(file) {
                let why = format!("at most one of {name} and {name}_file may be given");
                return invalid(name, &why);
            }
        }
        let dir = path.parent().unwrap_or(Path::new(""));
        let options = TlsClientOptions {
            ca: Pem::given(self.ca, self.ca_file, dir),
            cert: Pem::given(self.cert, self.cert_file, dir),
            key: Pem::given(self.key, self.key_file, dir),
            server_name: self.server_name.filter(|name| !name.is_empty()),
            insecure_skip_verify: self.insecure_skip_verify.unwrap_or(false),
            min_version: self.min_version,
            max_version: self.max_version,
        };
        if options.cert.is_some() != options.key.is_some() {
            return invalid("cert_file", "cert_file and key_file go together: give both");
        }
        if let Some(name) = &options.server_name
            && ServerName::try_from(name.as_str()).is_err()
        {
            return invalid("server_name", "it is no host name and no IP address");
        }
        if versions(options.min_version, options.max_version).is_empty() {
            return invalid("min_version", "it is above max_version");
        }
        Ok(options)
    }
}

/// What rustls needs; None where nothing is said, which leaves everything to the HTTP client's defaults.
pub(super) fn config(
    options: &TlsClientOptions,
    http2: bool,
) -> Result<Option<ClientConfig>, ClientError> {
    if *options == TlsClientOptions::default() {
        return Ok(None);
    }
    let provider = provider();
    let other = |error: Error| ClientError::Other {
        reason: error.to_string(),
    };
    let versions = versions(options.min_version, options.max_version);
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&versions)
        .map_err(other)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Server::new(options, &provider)?));
    let mut config = match (&options.cert, &options.key) {
        (Some(cert), Some(key)) => {
            let (cert, key) = (cert.clone(), key.clone());
            let name = format!("client certificate {cert:?}");
            let identity = Watched::new(name, move |files| identity(&cert, &key, files))?;
            builder.with_client_cert_resolver(Arc::new(Identity(identity)))
        }
        (None, None) => builder.with_no_client_auth(),
        (cert, _) => {
            let (has, lacks) = match cert {
                Some(_) => ("cert_file", "key_file"),
                None => ("key_file", "cert_file"),
            };
            return Err(ClientError::HalfIdentity { has, lacks });
        }
    };
    let offered: &[&[u8]] = match http2 {
        true => &[b"h2", b"http/1.1"],
        false => &[b"http/1.1"],
    };
    config.alpn_protocols = offered.iter().map(|protocol| protocol.to_vec()).collect();
    Ok(Some(config))
}

#[derive(Debug)]
struct Identity(Watched<CertifiedKey>);

impl ResolvesClientCert for Identity {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(self.0.current())
    }

    fn has_certs(&self) -> bool {
        true
    }
}

/// Who is believed to be the server.
#[derive(Debug)]
struct Server {
    trusted: Trusted,
    name: Option<ServerName<'static>>,
    provider: Arc<CryptoProvider>,
}

#[derive(Debug)]
enum Trusted {
    Anybody,
    System(Verifier),
    Given(Watched<Arc<WebPkiServerVerifier>>),
}

impl Server {
    fn new(
        options: &TlsClientOptions,
        provider: &Arc<CryptoProvider>,
    ) -> Result<Self, ClientError> {
        let other = |reason: String| ClientError::Other { reason };
        let trusted = match &options.ca {
            _ if options.insecure_skip_verify => Trusted::Anybody,
            None => Trusted::System(
                Verifier::new(provider.clone()).map_err(|error| other(error.to_string()))?,
            ),
            Some(ca) => {
                let (ca, provider) = (ca.clone(), provider.clone());
                Trusted::Given(Watched::new(format!("authorities {ca:?}"), move |files| {
                    let roots = Arc::new(ca.roots(files)?);
                    let builder =
                        WebPkiServerVerifier::builder_with_provider(roots, provider.clone());
                    builder.build().map_err(|error| PemError::Unusable {
                        what: format!("{ca:?}"),
                        reason: error.to_string(),
                    })
                })?)
            }
        };
        let name = match &options.server_name {
            Some(name) => Some(
                ServerName::try_from(name.clone())
                    .map_err(|_| other(format!("server_name {name:?} is no host name")))?,
            ),
            None => None,
        };
        Ok(Server {
            trusted,
            name,
            provider: provider.clone(),
        })
    }
}

impl ServerCertVerifier for Server {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        chain: &[CertificateDer<'_>],
        asked: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let name = self.name.as_ref().unwrap_or(asked);
        match &self.trusted {
            Trusted::Anybody => Ok(ServerCertVerified::assertion()),
            Trusted::System(system) => {
                system.verify_server_cert(certificate, chain, name, ocsp, now)
            }
            Trusted::Given(given) => {
                let given = given.current();
                given.verify_server_cert(certificate, chain, name, ocsp, now)
            }
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let known = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, cert, dss, known)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let known = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, cert, dss, known)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(yaml: &str) -> Result<TlsClientOptions, String> {
        let path = Path::new("/etc/edge.yml");
        crate::config::parse_yaml::<TlsYaml>(yaml, path)
            .and_then(|yaml| yaml.check(path, "tls_config"))
            .map_err(|error| error.to_string())
    }

    #[test]
    fn keys_as_prometheus_has_them() {
        let options = check(
            "{ca_file: ca.pem, cert: C, key: K, server_name: hub.example, min_version: TLS13, max_version: TLS13}",
        )
        .unwrap();
        assert_eq!(options.ca, Some(Pem::File("/etc/ca.pem".into())));
        assert_eq!(options.cert, Some(Pem::Inline("C".into())));
        assert_eq!(options.min_version, Some(TlsVersion::Tls13));
        assert_eq!(
            check("{ca_file: '', server_name: ''}").unwrap(),
            Default::default()
        );
        for (yaml, said) in [
            ("{ca: x, ca_file: y}", "at most one of ca and ca_file"),
            ("{cert_file: x}", "key_file"),
            ("{key_ref: x}", "tls_config.key_ref"),
            (
                "{min_version: TLS13, max_version: TLS12}",
                "above max_version",
            ),
            ("{min_version: TLS10}", "TLS10 is broken"),
            ("{server_name: 'a b'}", "no host name"),
        ] {
            let error = check(yaml).unwrap_err();
            assert!(error.contains(said), "{yaml}: {error}");
        }
    }
}
