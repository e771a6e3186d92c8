/// The `Accept` header of a scrape, as Prometheus 3.14 sends it without protobuf.
pub const ACCEPT: &str = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,\
    application/openmetrics-text;version=0.0.1;q=0.4,\
    text/plain;version=1.0.0;escaping=allow-utf-8;q=0.3,\
    text/plain;version=0.0.4;q=0.2,*/*;q=0.1";

/// Which text format a scrape's body is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    /// `text/plain`.
    Classic,
    /// `application/openmetrics-text`.
    OpenMetrics,
}

/// Why a `Content-Type` does not say a format.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ContentTypeError {
    /// There is none.
    #[error("target sends no Content-Type and no fallback_scrape_protocol is set for it")]
    Missing,
    /// It is none of ours.
    #[error(
        "unsupported Content-Type {found:?} and no fallback_scrape_protocol is set for the target"
    )]
    Unsupported {
        /// What the target sent, shortened.
        found: String,
    },
}

/// Which format a scrape's body is in, the one that is no text included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PageFormat {
    /// One that [`Parser`](super::Parser) reads.
    Text(Format),
    /// `application/vnd.google.protobuf`, delimited messages: [`super::protobuf`].
    Protobuf,
}

impl PageFormat {
    /// The format that an answer's `Content-Type` names, or the fallback configured for the target.
    ///
    /// # Errors
    /// A missing or foreign content type without a fallback. Like Prometheus 3, never guesses.
    pub fn from_content_type(
        content_type: Option<&str>,
        fallback: Option<PageFormat>,
    ) -> Result<PageFormat, ContentTypeError> {
        let content_type = content_type.unwrap_or_default();
        let media = content_type.split(';').next().unwrap_or_default().trim();
        for (name, format) in [
            ("text/plain", PageFormat::Text(Format::Classic)),
            (
                "application/openmetrics-text",
                PageFormat::Text(Format::OpenMetrics),
            ),
            ("application/vnd.google.protobuf", PageFormat::Protobuf),
        ] {
            if media.eq_ignore_ascii_case(name) {
                return Ok(format);
            }
        }
        fallback.ok_or_else(|| {
            if media.is_empty() {
                return ContentTypeError::Missing;
            }
            ContentTypeError::Unsupported {
                found: content_type.chars().take(100).collect(),
            }
        })
    }
}

/// How we answer a scrape of our own metrics or of `/federate`, in classic text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TextResponse {
    /// The answer's `Content-Type`.
    pub content_type: &'static str,
    /// Whether names outside the classic characters may stand quoted; else they are [escaped](super::Encoder::new).
    pub utf8_names: bool,
}

impl TextResponse {
    /// The answer for a request's `Accept` header: always classic text, with quoted names only for a reader that
    /// accepts `text/plain` with `escaping=allow-utf-8`.
    pub fn for_accept(accept: Option<&str>) -> Self {
        let utf8_names = accept.unwrap_or_default().split(',').any(|choice| {
            let mut parts = choice.split(';').map(str::trim);
            let text = parts
                .next()
                .is_some_and(|media| media.eq_ignore_ascii_case("text/plain"));
            text && parts.any(|parameter| parameter.eq_ignore_ascii_case("escaping=allow-utf-8"))
        });
        let content_type = match utf8_names {
            true => "text/plain; version=1.0.0; charset=utf-8; escaping=allow-utf-8",
            false => "text/plain; version=0.0.4; charset=utf-8",
        };
        TextResponse {
            content_type,
            utf8_names,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_types() {
        let check = |content_type, format| {
            assert_eq!(
                PageFormat::from_content_type(Some(content_type), None).ok(),
                format
            )
        };
        let (classic, open_metrics) = (
            PageFormat::Text(Format::Classic),
            PageFormat::Text(Format::OpenMetrics),
        );
        check("text/plain; version=0.0.4; charset=utf-8", Some(classic));
        check("Text/Plain", Some(classic));
        check(
            "application/openmetrics-text; version=1.0.0",
            Some(open_metrics),
        );
        check(
            "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited",
            Some(PageFormat::Protobuf),
        );
        check("text/html", None);
        check("", None);
        let fallback = PageFormat::from_content_type(Some("text/html"), Some(classic));
        assert_eq!(fallback, Ok(classic));
        assert_eq!(
            PageFormat::from_content_type(None, None),
            Err(ContentTypeError::Missing)
        );
    }

    #[test]
    fn answers() {
        let utf8 = |accept| TextResponse::for_accept(accept).utf8_names;
        assert!(utf8(Some(ACCEPT)));
        assert!(!utf8(None));
        assert!(!utf8(Some("text/plain;version=0.0.4")));
        assert!(!utf8(Some(
            "application/openmetrics-text;escaping=allow-utf-8,*/*"
        )));
    }
}
