//! The headers of a remote-write request: what a sender writes and what a receiver accepts.

/// `Content-Type` of remote write 1.0.
pub const CONTENT_TYPE: &str = "application/x-protobuf";
/// `Content-Type` of remote write 2.0.
pub const CONTENT_TYPE_2: &str = "application/x-protobuf;proto=io.prometheus.write.v2.Request";
/// `Content-Encoding` of every remote-write request.
pub const CONTENT_ENCODING: &str = "snappy";
/// Name of the version header.
pub const VERSION_HEADER: &str = "X-Prometheus-Remote-Write-Version";
/// Value of the version header for 1.0.
pub const VERSION_1: &str = "0.1.0";
/// Header of a retried request: 1, 2, …
pub const RETRY_ATTEMPT_HEADER: &str = "Retry-Attempt";
/// Name of the message of remote write 1.0, as it may stand in the content type.
pub const MESSAGE_1: &str = "prometheus.WriteRequest";
/// Value of the version header for 2.0.
pub const VERSION_2: &str = "2.0.0";
/// Samples that a receiver of 2.0 has written.
pub const SAMPLES_WRITTEN: &str = "X-Prometheus-Remote-Write-Samples-Written";
/// Native histograms that it has written.
pub const HISTOGRAMS_WRITTEN: &str = "X-Prometheus-Remote-Write-Histograms-Written";
/// Exemplars that it has written.
pub const EXEMPLARS_WRITTEN: &str = "X-Prometheus-Remote-Write-Exemplars-Written";
/// Name of the message of remote write 2.0.
pub const MESSAGE_2: &str = "io.prometheus.write.v2.Request";

/// Why a request's headers are refused; all of them mean HTTP 415.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeaderRefusal {
    /// Another content type.
    #[error("content type {found:?} is not supported: send {CONTENT_TYPE}")]
    ContentType {
        /// What the request said.
        found: String,
    },
    /// Another message than we read.
    #[error(
        "message {found:?} is not supported: send {MESSAGE_1} (remote write 1.0) or {MESSAGE_2}"
    )]
    Message {
        /// What stood after `proto=`.
        found: String,
    },
    /// Another encoding.
    #[error("content encoding {found:?} is not supported: send {CONTENT_ENCODING}")]
    Encoding {
        /// What the request said.
        found: String,
    },
}

/// Which message a request carries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Version {
    /// `prometheus.WriteRequest`.
    #[default]
    V1,
    /// `io.prometheus.write.v2.Request`.
    V2,
}

impl Version {
    /// What a sender says of itself: content type, and version header.
    pub fn said(self) -> (&'static str, &'static str) {
        match self {
            Version::V1 => (CONTENT_TYPE, VERSION_1),
            Version::V2 => (CONTENT_TYPE_2, VERSION_2),
        }
    }
}

/// How much a request of remote write 2.0 holds, or how much of it its receiver has written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// Floats.
    pub samples: u64,
    /// Native histograms.
    pub histograms: u64,
    /// Exemplars.
    pub exemplars: u64,
}

impl Written {
    /// Reads the headers of an answer; `find` gets names in lower case. None when not one of the three is there: whoever speaks 2.0 sends
    /// them. One that is missing, or no number, counts as 0 beside others.
    pub fn from_lookup<'h>(find: impl Fn(&str) -> Option<&'h str>) -> Option<Written> {
        let [samples, histograms, exemplars] =
            [SAMPLES_WRITTEN, HISTOGRAMS_WRITTEN, EXEMPLARS_WRITTEN]
                .map(|name| find(&name.to_ascii_lowercase()));
        samples.or(histograms).or(exemplars)?;
        let number = |text: Option<&str>| text.and_then(|text| text.trim().parse().ok());
        Some(Written {
            samples: number(samples).unwrap_or(0),
            histograms: number(histograms).unwrap_or(0),
            exemplars: number(exemplars).unwrap_or(0),
        })
    }

    /// Floats and histograms: what a receiver must not lose.
    pub fn values(&self) -> u64 {
        self.samples.saturating_add(self.histograms)
    }
}

/// Checks content type and encoding; a missing one counts as remote write 1.0's. The version header decides nothing:
/// Prometheus too goes by the content type.
///
/// # Errors
/// What is neither message, as HTTP 415.
pub fn check(
    content_type: Option<&str>,
    content_encoding: Option<&str>,
) -> Result<Version, HeaderRefusal> {
    let mut version = Version::V1;
    if let Some(content_type) = content_type {
        let mut parts = content_type.split(';');
        let media = parts.next().unwrap_or_default().trim();
        if !media.is_empty() && !media.eq_ignore_ascii_case(CONTENT_TYPE) {
            return Err(HeaderRefusal::ContentType {
                found: shorten(content_type),
            });
        }
        for parameter in parts {
            let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            let value = value.trim().trim_matches('"');
            if !name.trim().eq_ignore_ascii_case("proto") {
                continue;
            }
            version = match value {
                MESSAGE_1 => Version::V1,
                MESSAGE_2 => Version::V2,
                other => {
                    return Err(HeaderRefusal::Message {
                        found: shorten(other),
                    });
                }
            };
        }
    }
    match content_encoding.map(str::trim) {
        None | Some("") => Ok(version),
        Some(encoding) if encoding.eq_ignore_ascii_case(CONTENT_ENCODING) => Ok(version),
        Some(encoding) => Err(HeaderRefusal::Encoding {
            found: shorten(encoding),
        }),
    }
}

fn shorten(text: &str) -> String {
    text.chars().take(100).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_what_compliance_asks_for() {
        let check = |content_type, encoding, refused: &str| match check(content_type, encoding) {
            Ok(_) => assert_eq!(refused, ""),
            Err(error) => assert!(
                !refused.is_empty() && error.to_string().contains(refused),
                "{error}"
            ),
        };
        check(None, None, "");
        check(Some("application/x-protobuf"), Some("snappy"), "");
        check(
            Some("application/x-protobuf;proto=prometheus.WriteRequest"),
            Some("snappy"),
            "",
        );
        check(
            Some("Application/X-Protobuf; proto=\"prometheus.WriteRequest\""),
            Some("Snappy"),
            "",
        );
        check(
            Some("application/x-protobuf;proto=io.prometheus.write.v2.Request"),
            Some("snappy"),
            "",
        );
        check(
            Some("application/x-protobuf;proto=unknown"),
            Some("snappy"),
            "\"unknown\"",
        );
        check(Some("application/json"), Some("snappy"), "application/json");
        check(Some("image/png"), None, "image/png");
        check(Some("application/x-protobuf"), Some("gzip"), "gzip");
        check(Some("application/x-protobuf"), Some("deflate"), "deflate");
    }

    #[test]
    fn what_was_written_is_read_from_any_of_the_headers() {
        let read = |headers: &[(&str, &'static str)]| {
            let find = |name: &str| headers.iter().find(|(n, _)| *n == name).map(|(_, v)| *v);
            Written::from_lookup(find).map(|w| (w.samples, w.histograms, w.exemplars))
        };
        assert_eq!(read(&[]), None);
        assert_eq!(
            read(&[("x-prometheus-remote-write-version", "2.0.0")]),
            None
        );
        let exemplars = "x-prometheus-remote-write-exemplars-written";
        assert_eq!(read(&[(exemplars, " 7 ")]), Some((0, 0, 7)));
        let samples = "x-prometheus-remote-write-samples-written";
        assert_eq!(
            read(&[(samples, "many"), (exemplars, "1")]),
            Some((0, 0, 1))
        );
        let histograms = "x-prometheus-remote-write-histograms-written";
        let all = [(histograms, "2"), (samples, "3"), (exemplars, "0")];
        assert_eq!(read(&all), Some((3, 2, 0)));
    }

    #[test]
    fn what_is_said_is_understood() {
        for version in [Version::V1, Version::V2] {
            let (content_type, number) = version.said();
            assert_eq!(check(Some(content_type), None), Ok(version));
            assert!(number == VERSION_1 || number == VERSION_2);
        }
    }

    #[test]
    fn the_content_type_says_which_message() {
        let version = |content_type| super::check(Some(content_type), Some("snappy")).unwrap();
        assert_eq!(version("application/x-protobuf"), Version::V1);
        assert_eq!(
            version("application/x-protobuf;proto=prometheus.WriteRequest"),
            Version::V1
        );
        assert_eq!(
            version("application/x-protobuf; proto=\"io.prometheus.write.v2.Request\""),
            Version::V2
        );
    }
}
