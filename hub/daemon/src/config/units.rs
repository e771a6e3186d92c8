use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Deserializer, de};

/// A duration as Prometheus's configuration writes it: `15s`, `1h30m`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct PromDuration(Duration);

impl PromDuration {
    /// The duration.
    pub const fn get(self) -> Duration {
        self.0
    }

    /// From seconds, for defaults.
    pub const fn from_secs(seconds: u64) -> Self {
        PromDuration(Duration::from_secs(seconds))
    }
}

impl FromStr for PromDuration {
    type Err = model::duration::DurationError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        model::duration::parse(text).map(PromDuration)
    }
}

impl fmt::Display for PromDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&model::duration::format(self.0))
    }
}

impl<'de> Deserialize<'de> for PromDuration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(de::Error::custom)
    }
}

/// A number of bytes: `512MiB`, `64KB`, `0`. As in Prometheus all units are powers of 1024, with or without
/// the `i`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteSize(u64);

impl ByteSize {
    /// The number of bytes.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// From bytes, for defaults.
    pub const fn from_bytes(bytes: u64) -> Self {
        ByteSize(bytes)
    }

    /// From mebibytes, for defaults.
    pub const fn from_mib(mebibytes: u64) -> Self {
        ByteSize(mebibytes << 20)
    }
}

/// The text is not a size.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "not a size in bytes: {text:?}: write a number and B, KiB, MiB, GiB or TiB, for example 512MiB"
)]
pub struct ByteSizeError {
    text: String,
}

impl FromStr for ByteSize {
    type Err = ByteSizeError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = || ByteSizeError {
            text: text.to_owned(),
        };
        let split = text
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .unwrap_or(text.len());
        let (number, unit) = text.split_at(split);
        let shift = match unit.trim() {
            "" if number == "0" => 0,
            "B" => 0,
            "KB" | "KiB" => 10,
            "MB" | "MiB" => 20,
            "GB" | "GiB" => 30,
            "TB" | "TiB" => 40,
            "PB" | "PiB" => 50,
            _ => return Err(error()),
        };
        let number: f64 = number.parse().map_err(|_| error())?;
        let bytes = number * (1_u64 << shift) as f64;
        if bytes > i64::MAX as f64 {
            return Err(error());
        }
        Ok(ByteSize(bytes as u64))
    }
}

impl fmt::Display for ByteSize {
    /// In the largest unit that leaves one decimal at most.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [&str; 6] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
        let (mut size, mut unit) = (self.0 as f64, 0);
        while size >= 1024.0 && unit + 1 < UNITS.len() {
            (size, unit) = (size / 1024.0, unit + 1);
        }
        let decimals = usize::from(unit > 0 && size.fract() > 0.05 && size.fract() < 0.95);
        write!(f, "{size:.decimals$}{}", UNITS[unit])
    }
}

impl<'de> Deserialize<'de> for ByteSize {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        let check = |text: &str, bytes: u64, shown: &str| {
            let size: ByteSize = text.parse().unwrap();
            assert_eq!(
                (size.get(), size.to_string().as_str()),
                (bytes, shown),
                "{text}"
            );
        };
        check("0", 0, "0B");
        check("512B", 512, "512B");
        check("1KB", 1024, "1KiB");
        check("64MiB", 64 << 20, "64MiB");
        check("1.5GiB", 3 << 29, "1.5GiB");
        for bad in [
            "",
            "5",
            "MiB",
            "1 parsec",
            "-1MiB",
            "1e3B",
            "99999999999PiB",
        ] {
            assert!(bad.parse::<ByteSize>().is_err(), "{bad:?}");
        }
    }
}
