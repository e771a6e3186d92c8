use std::str::FromStr;

use rustls::SupportedProtocolVersion;
use rustls::version::{TLS12, TLS13};
use serde::{Deserialize, Deserializer, de};

/// A version of TLS, by the names that Prometheus's configuration has: `TLS12`, `TLS13`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TlsVersion {
    /// 1.2, the oldest that is still sound.
    Tls12,
    /// 1.3.
    Tls13,
}

impl FromStr for TlsVersion {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "TLS12" => Ok(TlsVersion::Tls12),
            "TLS13" => Ok(TlsVersion::Tls13),
            "TLS10" | "TLS11" => Err(format!(
                "{text} is broken and not supported: write TLS12 or TLS13, or take the key out"
            )),
            other => Err(format!(
                "{other:?} is no version of TLS: write TLS12 or TLS13"
            )),
        }
    }
}

impl<'de> Deserialize<'de> for TlsVersion {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(de::Error::custom)
    }
}

/// All versions within the bounds; none when they exclude each other.
pub(crate) fn versions(
    min: Option<TlsVersion>,
    max: Option<TlsVersion>,
) -> Vec<&'static SupportedProtocolVersion> {
    let within =
        |version| min.is_none_or(|min| min <= version) && max.is_none_or(|max| version <= max);
    let mut versions = Vec::new();
    if within(TlsVersion::Tls13) {
        versions.push(&TLS13);
    }
    if within(TlsVersion::Tls12) {
        versions.push(&TLS12);
    }
    versions
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds() {
        let (old, new) = (Some(TlsVersion::Tls12), Some(TlsVersion::Tls13));
        assert_eq!(versions(None, None), [&TLS13, &TLS12]);
        assert_eq!(versions(new, None), [&TLS13]);
        assert_eq!(versions(None, old), [&TLS12]);
        assert!(versions(new, old).is_empty());
        assert!("TLS10".parse::<TlsVersion>().unwrap_err().contains("TLS12"));
        assert!("tls".parse::<TlsVersion>().is_err());
    }
}
