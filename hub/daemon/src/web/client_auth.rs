//! What a client's certificate must be.

use std::net::IpAddr;
use std::sync::Arc;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, Error, SignatureScheme};
use x509_cert::der::Decode;
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;

#[derive(Debug)]
pub(super) struct ClientCertificates {
    /// Verifies who has signed it. None: anybody may have; only that the client has the key is sure.
    pub(super) chain: Option<Arc<dyn ClientCertVerifier>>,
    pub(super) mandatory: bool,
    /// If there are some, one of its alternative names must be one of these.
    pub(super) allowed_sans: Vec<String>,
    pub(super) provider: Arc<CryptoProvider>,
}

impl ClientCertVerifier for ClientCertificates {
    fn client_auth_mandatory(&self) -> bool {
        self.mandatory
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        match &self.chain {
            Some(chain) => chain.root_hint_subjects(),
            None => &[],
        }
    }

    fn verify_client_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        if let Some(chain) = &self.chain {
            chain.verify_client_cert(certificate, intermediates, now)?;
        }
        if !self.allowed_sans.is_empty() {
            let names = alternative_names(certificate)?;
            if !names.iter().any(|name| self.allowed_sans.contains(name)) {
                tracing::debug!(?names, "a client's certificate has no allowed name");
                return Err(CertificateError::ApplicationVerificationFailure.into());
            }
        }
        Ok(ClientCertVerified::assertion())
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

/// DNS names, mail addresses, IP addresses and URIs of a certificate, as text.
fn alternative_names(certificate: &CertificateDer<'_>) -> Result<Vec<String>, Error> {
    let malformed = |_| Error::from(CertificateError::BadEncoding);
    let parsed = x509_cert::Certificate::from_der(certificate).map_err(malformed)?;
    let found = parsed
        .tbs_certificate()
        .get_extension::<SubjectAltName>()
        .map_err(malformed)?;
    let names = found.map(|(_, names)| names.0).unwrap_or_default();
    Ok(names.iter().filter_map(text).collect())
}

fn text(name: &GeneralName) -> Option<String> {
    match name {
        GeneralName::DnsName(text)
        | GeneralName::Rfc822Name(text)
        | GeneralName::UniformResourceIdentifier(text) => Some(text.to_string()),
        GeneralName::IpAddress(bytes) => {
            let bytes = bytes.as_bytes();
            let four = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
            let sixteen = || <[u8; 16]>::try_from(bytes).map(IpAddr::from);
            four.or_else(|_| sixteen()).ok().map(|ip| ip.to_string())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::SanType;

    #[test]
    fn every_kind_of_name_is_found() {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(["b01.example".to_owned()]).unwrap();
        params.subject_alt_names.extend([
            SanType::IpAddress("10.0.0.1".parse().unwrap()),
            SanType::IpAddress("::1".parse().unwrap()),
            SanType::Rfc822Name("edge@b01.example".try_into().unwrap()),
            SanType::URI("spiffe://example/b01".try_into().unwrap()),
        ]);
        let certificate = params.self_signed(&key).unwrap();
        assert_eq!(
            alternative_names(certificate.der()).unwrap(),
            [
                "b01.example",
                "10.0.0.1",
                "::1",
                "edge@b01.example",
                "spiffe://example/b01"
            ]
        );
        assert!(alternative_names(&CertificateDer::from(vec![1, 2, 3])).is_err());
    }
}
