//! Certificates for tests: an authority that exists only here, and what it signs.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};

/// An authority whose certificates lie in a folder.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    folder: PathBuf,
    name: String,
}

impl Authority {
    /// Makes one; its certificate is `NAME.pem` in `folder`.
    ///
    /// # Panics
    /// When a file cannot be written.
    pub fn new(folder: &Path, name: &str) -> Self {
        std::fs::create_dir_all(folder).expect("a folder");
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        // Two certificates of one name look like one that signed itself.
        params
            .distinguished_name
            .push(DnType::CommonName, format!("authority {name}"));
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let issuer = CertifiedIssuer::self_signed(params, key).expect("a certificate");
        let authority = Authority {
            issuer,
            folder: folder.to_owned(),
            name: name.to_owned(),
        };
        std::fs::write(authority.pem(), authority.issuer.pem()).expect("a file");
        authority
    }

    /// The file with its certificate.
    pub fn pem(&self) -> PathBuf {
        self.path(&self.name, "pem")
    }

    /// Signs a certificate for these names or addresses: `NAME.pem` and `NAME.key`, which replace older ones as a renewal
    /// does. Gives both paths.
    ///
    /// # Panics
    /// When a file cannot be written.
    pub fn issue(&self, name: &str, names: &[&str]) -> (PathBuf, PathBuf) {
        self.sign(name, names, None)
    }

    /// As [`Authority::issue`]; valid from so many days from now to so many days from now.
    ///
    /// # Panics
    /// When a file cannot be written.
    pub fn issue_for(&self, name: &str, names: &[&str], days: (i64, i64)) -> (PathBuf, PathBuf) {
        self.sign(name, names, Some(days))
    }

    fn sign(&self, name: &str, names: &[&str], days: Option<(i64, i64)>) -> (PathBuf, PathBuf) {
        let key = KeyPair::generate().expect("a key");
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).expect("names");
        params.distinguished_name.push(DnType::CommonName, name);
        if let Some((from, to)) = days {
            let now = SystemTime::now();
            let at = |days: i64| {
                let by = Duration::from_secs(days.unsigned_abs() * 24 * 3600);
                if days < 0 { now - by } else { now + by }
            };
            (params.not_before, params.not_after) = (at(from).into(), at(to).into());
        }
        let cert = params.signed_by(&key, &self.issuer).expect("a certificate");
        let paths = (self.path(name, "pem"), self.path(name, "key"));
        for (path, text) in [(&paths.1, key.serialize_pem()), (&paths.0, cert.pem())] {
            let new = path.with_extension("new");
            std::fs::write(&new, text).expect("a file");
            std::fs::rename(&new, path).expect("a file takes the place of another");
        }
        paths
    }

    fn path(&self, name: &str, kind: &str) -> PathBuf {
        self.folder.join(format!("{name}.{kind}"))
    }
}
