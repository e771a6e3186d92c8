//! The web configuration file as it is written. Values are checked as they are read, so that errors name their line.

use std::collections::BTreeMap;

use serde::de::{Error, IgnoredAny};
use serde::{Deserialize, Deserializer};

use crate::tls::TlsVersion;

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct File {
    pub(super) tls_server_config: Option<TlsServer>,
    pub(super) http_server_config: Option<HttpServer>,
    pub(super) basic_auth_users: Option<BTreeMap<String, BcryptHash>>,
    #[serde(deserialize_with = "refuse_rate_limit")]
    pub(super) rate_limit: Option<IgnoredAny>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct TlsServer {
    pub(super) cert: Option<String>,
    pub(super) key: Option<String>,
    pub(super) client_ca: Option<String>,
    pub(super) cert_file: Option<String>,
    pub(super) key_file: Option<String>,
    pub(super) client_ca_file: Option<String>,
    pub(super) client_auth_type: Option<ClientAuth>,
    pub(super) client_allowed_sans: Option<Vec<String>>,
    pub(super) min_version: Option<TlsVersion>,
    pub(super) max_version: Option<TlsVersion>,
    pub(super) cipher_suites: Option<Vec<Cipher>>,
    pub(super) curve_preferences: Option<Vec<Curve>>,
    /// As in Prometheus since Go 1.17 without effect: the server chooses.
    pub(super) prefer_server_cipher_suites: Option<bool>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct HttpServer {
    /// Whether HTTP/2 is offered, over TLS only. Default: true.
    pub(super) http2: Option<bool>,
    pub(super) headers: Option<Headers>,
}

/// The only ones that may be set, as in Prometheus.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Headers {
    #[serde(rename = "Content-Security-Policy")]
    pub(super) content_security_policy: String,
    #[serde(rename = "X-Frame-Options", deserialize_with = "frame_options")]
    pub(super) frame_options: String,
    #[serde(
        rename = "X-Content-Type-Options",
        deserialize_with = "content_type_options"
    )]
    pub(super) content_type_options: String,
    #[serde(rename = "X-XSS-Protection")]
    pub(super) xss_protection: String,
    #[serde(rename = "Strict-Transport-Security")]
    pub(super) strict_transport_security: String,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum ClientAuth {
    #[default]
    None,
    Request,
    RequireAny,
    VerifyIfGiven,
    RequireAndVerify,
}

impl<'de> Deserialize<'de> for ClientAuth {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match String::deserialize(deserializer)?.as_str() {
            "" | "NoClientCert" => Ok(ClientAuth::None),
            "RequestClientCert" => Ok(ClientAuth::Request),
            "RequireAnyClientCert" | "RequireClientCert" => Ok(ClientAuth::RequireAny),
            "VerifyClientCertIfGiven" => Ok(ClientAuth::VerifyIfGiven),
            "RequireAndVerifyClientCert" => Ok(ClientAuth::RequireAndVerify),
            other => Err(D::Error::custom(format_args!(
                "{other:?} is no client_auth_type: write NoClientCert, RequestClientCert, RequireAnyClientCert, VerifyClientCertIfGiven or RequireAndVerifyClientCert"
            ))),
        }
    }
}

/// A suite by Go's name, which is IANA's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Cipher(pub(super) rustls::CipherSuite);

impl<'de> Deserialize<'de> for Cipher {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        let known = rustls::crypto::ring::ALL_CIPHER_SUITES;
        let found = known
            .iter()
            .map(|suite| suite.suite())
            .find(|suite| go_name(*suite) == name);
        found.map(Cipher).ok_or_else(|| {
            let names: Vec<String> = known.iter().map(|suite| go_name(suite.suite())).collect();
            D::Error::custom(format_args!(
                "{name} is unknown or no longer safe and not supported: take it out; there are {}",
                names.join(", ")
            ))
        })
    }
}

/// rustls marks the suites of TLS 1.3 by their prefix; outside of it they have the one that all have. Go leaves `_SHA256`
/// away from names with ChaCha20 in TLS 1.2, and takes both.
pub(super) fn go_name(suite: rustls::CipherSuite) -> String {
    let name = suite.as_str().unwrap_or_default();
    name.replace("TLS13_", "TLS_")
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Curve(pub(super) rustls::NamedGroup);

impl<'de> Deserialize<'de> for Curve {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match String::deserialize(deserializer)?.as_str() {
            "X25519" => Ok(Curve(rustls::NamedGroup::X25519)),
            "CurveP256" => Ok(Curve(rustls::NamedGroup::secp256r1)),
            "CurveP384" => Ok(Curve(rustls::NamedGroup::secp384r1)),
            other => Err(D::Error::custom(format_args!(
                "{other} is not supported: take it out; there are X25519, CurveP256 and CurveP384"
            ))),
        }
    }
}

/// A password's hash, known to be one. Its text is in no error.
pub(super) struct BcryptHash(pub(super) String);

impl<'de> Deserialize<'de> for BcryptHash {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        match text.parse::<bcrypt::HashParts>() {
            Ok(parts) if (4..=31).contains(&parts.get_cost()) => Ok(BcryptHash(text)),
            _ => Err(D::Error::custom(
                "the password of a user must be a bcrypt hash such as $2y$10$…: make one with `htpasswd -nBC 10 NAME`, and put it in quotes",
            )),
        }
    }
}

fn refuse_rate_limit<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<IgnoredAny>, D::Error> {
    match Option::<IgnoredAny>::deserialize(deserializer)? {
        None => Ok(None),
        Some(_) => Err(D::Error::custom(
            "rate_limit is not supported: take it out, and let a proxy before this port limit requests",
        )),
    }
}

fn frame_options<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    one_of(deserializer, "X-Frame-Options", &["deny", "sameorigin"])
}

fn content_type_options<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    one_of(deserializer, "X-Content-Type-Options", &["nosniff"])
}

fn one_of<'de, D: Deserializer<'de>>(
    deserializer: D,
    name: &str,
    values: &[&str],
) -> Result<String, D::Error> {
    let value = String::deserialize(deserializer)?;
    match value.is_empty() || values.contains(&value.as_str()) {
        true => Ok(value),
        false => Err(D::Error::custom(format_args!(
            "{name} cannot be {value:?}: write {}",
            values.join(" or ")
        ))),
    }
}
