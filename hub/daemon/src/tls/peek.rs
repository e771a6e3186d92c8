//! Which certificate does a server show, valid or not? For diagnosis: nothing is sent to it, and nobody relies on what it says.

use std::sync::Arc;
use std::time::Duration;

use model::Timestamp;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, Error, SignatureScheme};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use x509_cert::der::Decode;

use super::provider;

/// For connecting and the handshake.
const WITHIN: Duration = Duration::from_secs(5);

/// What a server's own certificate says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerCertificate {
    /// Who it says that it is.
    pub subject: String,
    /// Who signed it.
    pub issuer: String,
    /// From when on it is valid.
    pub not_before: Timestamp,
    /// Until when.
    pub not_after: Timestamp,
}

/// Shakes hands with `host:port` and looks at the certificate, whoever signed it.
///
/// # Errors
/// Why there is none: no connection, no TLS, or a certificate that is none.
pub async fn server_certificate(host: &str, port: u16) -> Result<ServerCertificate, String> {
    let provider = provider();
    let look = Arc::new(Look(Arc::clone(&provider)));
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .dangerous()
        .with_custom_certificate_verifier(look)
        .with_no_client_auth();
    let bare = host.trim_matches(['[', ']']).to_owned();
    let name = ServerName::try_from(bare.clone())
        .map_err(|_| format!("{host:?} is no host name and no IP address"))?;
    let shake = async {
        let stream = TcpStream::connect((bare.as_str(), port)).await?;
        TlsConnector::from(Arc::new(config))
            .connect(name, stream)
            .await
    };
    let stream = tokio::time::timeout(WITHIN, shake)
        .await
        .map_err(|_| format!("no handshake within {} s", WITHIN.as_secs()))?
        .map_err(|error| error.to_string())?;
    let (_, session) = stream.get_ref();
    let first = session.peer_certificates().and_then(|all| all.first());
    let first = first.ok_or("the server shows no certificate")?;
    read(first)
}

fn read(der: &CertificateDer<'_>) -> Result<ServerCertificate, String> {
    let certificate = x509_cert::Certificate::from_der(der)
        .map_err(|error| format!("the certificate cannot be read: {error}"))?;
    let about = certificate.tbs_certificate();
    let validity = about.validity();
    let at = |time: &x509_cert::time::Time| {
        let since = time.to_unix_duration();
        Timestamp::from_millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
    };
    Ok(ServerCertificate {
        subject: about.subject().to_string(),
        issuer: about.issuer().to_string(),
        not_before: at(&validity.not_before),
        not_after: at(&validity.not_after),
    })
}

/// Believes everything.
#[derive(Debug)]
struct Look(Arc<CryptoProvider>);

impl ServerCertVerifier for Look {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_says_until_when() {
        let mut params = rcgen::CertificateParams::new(vec!["hub.example".to_owned()]).unwrap();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params
            .distinguished_name
            .push(rcgen::DnType::CommonName, "the hub");
        params.not_before = rcgen::date_time_ymd(2020, 1, 2);
        params.not_after = rcgen::date_time_ymd(2021, 3, 4);
        let key = rcgen::KeyPair::generate().unwrap();
        let found = read(params.self_signed(&key).unwrap().der()).unwrap();
        assert_eq!(
            (found.subject.as_str(), found.issuer.as_str()),
            ("CN=the hub", "CN=the hub")
        );
        assert_eq!(
            [found.not_before, found.not_after].map(Timestamp::millis),
            [1_577_923_200_000, 1_614_816_000_000]
        );
        assert!(read(&CertificateDer::from(vec![1, 2, 3])).is_err());
    }
}
