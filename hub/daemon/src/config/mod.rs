//! Configuration files: YAML into raw serde structs that deny unknown fields. An error names the file, line,
//! column and key; the services then turn the raw structs into validated types before any port opens.

mod masking;
mod parameters;
mod place;
mod secrets;
mod units;
pub mod yaml;

use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;

pub use masking::{Found, mask_answer, mask_config, mask_text};
pub use parameters::{is_secret_parameter, without_passwords};
pub(crate) use place::line_of;
pub use secrets::without_secrets;
pub use units::{ByteSize, PromDuration};

/// A configuration file larger than this is surely not one.
const FILE_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// Why a configuration file is refused.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// It cannot be read.
    #[error("{path}: cannot be read: {source}: check the path and its permissions", path = path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The operating system's reason.
        source: std::io::Error,
    },
    /// It is not what is expected.
    #[error("{path}:{line}:{column}: {message}", path = path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// From 1.
        line: u64,
        /// From 1.
        column: u64,
        /// What is wrong there, the key included.
        message: String,
    },
    /// It reads well, but a value does not make sense.
    #[error("{path}: {key}: {message}", path = path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// The key, with dots between the levels.
        key: String,
        /// What is wrong and what would be right.
        message: String,
    },
}

impl ConfigError {
    /// A value of `key` that does not make sense.
    pub fn invalid(path: &Path, key: impl Into<String>, message: impl ToString) -> Self {
        ConfigError::Invalid {
            path: path.to_owned(),
            key: key.into(),
            message: message.to_string(),
        }
    }
}

/// Reads a YAML file.
///
/// # Errors
/// [`ConfigError::Unreadable`] and [`ConfigError::Malformed`].
pub fn load_yaml<T: DeserializeOwned>(path: &Path) -> Result<T, ConfigError> {
    let unreadable = |source| ConfigError::Unreadable {
        path: path.to_owned(),
        source,
    };
    let size = std::fs::metadata(path).map_err(unreadable)?.len();
    if size > FILE_BYTES_MAX {
        let too_large = format!("{size} bytes, at most {FILE_BYTES_MAX} are read");
        return Err(unreadable(std::io::Error::other(too_large)));
    }
    let text = std::fs::read_to_string(path).map_err(unreadable)?;
    parse_yaml(&text, path)
}

/// Reads YAML text; `path` is named in errors. Text without any content reads as an empty mapping, so that a
/// file of comments is a configuration of defaults.
///
/// # Errors
/// [`ConfigError::Malformed`].
pub fn parse_yaml<T: DeserializeOwned>(text: &str, path: &Path) -> Result<T, ConfigError> {
    let blank = text.lines().all(|line| {
        let line = line.trim();
        line.is_empty() || line.starts_with('#') || line == "---"
    });
    serde_saphyr::from_str(if blank { "{}" } else { text }).map_err(|error| {
        let error = error.without_snippet();
        let (line, column) = error
            .location()
            .map_or((1, 1), |at| (at.line(), at.column()));
        let message = without_position(&error.to_string());
        // Errors about values do not say whose they are.
        let message = match place::key_at(text, line as usize, column as usize) {
            Some(key) if !message.contains(key) => format!("{key}: {message}"),
            _ => message,
        };
        ConfigError::Malformed {
            path: path.to_owned(),
            line,
            column,
            message,
        }
    })
}

/// The position stands in front already; the parser's own text repeats it.
fn without_position(message: &str) -> String {
    let first = message.lines().next().unwrap_or_default();
    let cut = first.find(" at line ").unwrap_or(first.len());
    first[..cut].trim_end_matches([',', ' ']).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields, default)]
    struct Sample {
        scrape_interval: PromDuration,
        cap: ByteSize,
    }

    impl Default for Sample {
        fn default() -> Self {
            Sample {
                scrape_interval: "15s".parse().unwrap(),
                cap: "1MiB".parse().unwrap(),
            }
        }
    }

    fn error(text: &str) -> String {
        parse_yaml::<Sample>(text, Path::new("edge.yml"))
            .unwrap_err()
            .to_string()
    }

    #[test]
    fn errors_name_file_line_and_key() {
        let unknown = error("scrape_interval: 5s\nscrape_intervall: 5s\n");
        assert!(unknown.starts_with("edge.yml:2:1: "), "{unknown}");
        assert!(unknown.contains("scrape_intervall"), "{unknown}");
        let wrong = error("\nscrape_interval: 5 parsecs\n");
        assert!(
            wrong.starts_with("edge.yml:2:18: scrape_interval: ") && wrong.contains("1h30m"),
            "{wrong}"
        );
        let broken = error("scrape_interval: [\n");
        assert!(broken.starts_with("edge.yml:"), "{broken}");
    }

    #[test]
    fn defaults_where_nothing_is_said() {
        for text in ["", "---\n", "# only a comment\n"] {
            let sample: Sample = parse_yaml(text, Path::new("x")).unwrap();
            assert_eq!(sample.scrape_interval.get().as_secs(), 15);
            assert_eq!(sample.cap.get(), 1024 * 1024);
        }
    }

    #[test]
    fn a_missing_file_is_said() {
        let error = load_yaml::<Sample>(Path::new("/nonexistent/edge.yml"))
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("/nonexistent/edge.yml: cannot be read"),
            "{error}"
        );
    }
}
