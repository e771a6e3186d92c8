use std::fmt;
use std::path::{Path, PathBuf};

use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;

use super::watched::Reader;

/// Certificates or a key, as the configuration gives them.
#[derive(Clone, PartialEq, Eq, Hash)]
pub enum Pem {
    /// In a file, which is read again when it changes.
    File(PathBuf),
    /// In the configuration itself.
    Inline(String),
}

impl fmt::Debug for Pem {
    /// Without what may be a key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Pem::File(path) => path.fmt(f),
            Pem::Inline(_) => f.write_str("<inline>"),
        }
    }
}

/// Why certificates or a key cannot be used.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum PemError {
    #[error("{what} cannot be read: {source}: check the path and its permissions")]
    Unreadable {
        what: String,
        source: std::io::Error,
    },
    #[error("{what}: {reason}: a PEM file is expected")]
    Malformed { what: String, reason: String },
    #[error("{what} has no certificate: it must have lines from -----BEGIN CERTIFICATE----- on")]
    NoCertificate { what: String },
    #[error(
        "{what} has no private key: it must have lines from -----BEGIN PRIVATE KEY----- on, without a passphrase"
    )]
    NoKey { what: String },
    #[error(
        "the key in {key} is not the one of the certificate in {cert}: give the pair that was made together"
    )]
    Mismatch { cert: String, key: String },
    #[error("{what} cannot be used: {reason}")]
    Unusable { what: String, reason: String },
}

impl Pem {
    /// The file's path or the text itself, if there is any; a file wins, which the caller has ruled out.
    pub fn given(text: Option<String>, file: Option<String>, dir: &Path) -> Option<Pem> {
        let full = |text: &String| !text.is_empty();
        let file = file.filter(full).map(|file| Pem::File(dir.join(file)));
        file.or_else(|| text.filter(full).map(Pem::Inline))
    }

    /// Its file, if it is in one.
    pub fn file(&self) -> Option<&Path> {
        match self {
            Pem::File(path) => Some(path),
            Pem::Inline(_) => None,
        }
    }

    /// How messages name it.
    fn what(&self) -> String {
        match self {
            Pem::File(path) => path.display().to_string(),
            Pem::Inline(_) => "the PEM text in the configuration".to_owned(),
        }
    }

    fn bytes(&self, reader: &mut Reader) -> Result<Vec<u8>, PemError> {
        match self {
            Pem::File(path) => reader.read(path).map_err(|source| PemError::Unreadable {
                what: self.what(),
                source,
            }),
            Pem::Inline(text) => Ok(text.clone().into_bytes()),
        }
    }

    fn certificates(&self, reader: &mut Reader) -> Result<Vec<CertificateDer<'static>>, PemError> {
        let found: Result<Vec<_>, _> =
            CertificateDer::pem_slice_iter(&self.bytes(reader)?).collect();
        let found = found.map_err(|error| PemError::Malformed {
            what: self.what(),
            reason: error.to_string(),
        })?;
        match found.is_empty() {
            true => Err(PemError::NoCertificate { what: self.what() }),
            false => Ok(found),
        }
    }

    /// Authorities to trust.
    pub(crate) fn roots(&self, reader: &mut Reader) -> Result<RootCertStore, PemError> {
        let mut roots = RootCertStore::empty();
        for certificate in self.certificates(reader)? {
            roots.add(certificate).map_err(|error| PemError::Unusable {
                what: self.what(),
                reason: error.to_string(),
            })?;
        }
        Ok(roots)
    }
}

/// A certificate with the chain above it, and its key.
pub(crate) fn identity(
    cert: &Pem,
    key: &Pem,
    reader: &mut Reader,
) -> Result<CertifiedKey, PemError> {
    let chain = cert.certificates(reader)?;
    let private = PrivateKeyDer::from_pem_slice(&key.bytes(reader)?)
        .map_err(|_| PemError::NoKey { what: key.what() })?;
    CertifiedKey::from_der(chain, private, &super::provider()).map_err(|error| match error {
        rustls::Error::InconsistentKeys(_) => PemError::Mismatch {
            cert: cert.what(),
            key: key.what(),
        },
        error => PemError::Unusable {
            what: format!("{} with {}", cert.what(), key.what()),
            reason: error.to_string(),
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::Reader;

    #[test]
    fn a_pair_is_checked_and_every_fault_named() {
        let made = |name: &str| rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
        let (one, other) = (made("one"), made("other"));
        let cert = Pem::Inline(one.cert.pem());
        let key = |made: &rcgen::CertifiedKey<rcgen::KeyPair>| {
            Pem::Inline(made.signing_key.serialize_pem())
        };
        let identity = |cert: &Pem, key: &Pem| super::identity(cert, key, &mut Reader::default());
        assert!(identity(&cert, &key(&one)).is_ok());
        let said = |cert: &Pem, key: &Pem| identity(cert, key).unwrap_err().to_string();
        assert!(said(&cert, &key(&other)).contains("is not the one of"));
        assert!(said(&key(&one), &key(&one)).contains("no certificate"));
        assert!(said(&cert, &cert).contains("no private key"));
        let missing = Pem::File("/nonexistent/key.pem".into());
        assert!(said(&cert, &missing).contains("/nonexistent/key.pem cannot be read"));
        assert!(!format!("{:?}", key(&one)).contains("PRIVATE"));
    }
}
