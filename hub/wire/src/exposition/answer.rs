use super::negotiate::TextResponse;

/// How we answer a scrape of `/federate`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PageResponse {
    /// Classic text, by [`super::Encoder`].
    Text(TextResponse),
    /// Delimited protobuf, by [`super::DelimitedEncoder`].
    Delimited {
        /// The answer's `Content-Type`.
        content_type: &'static str,
        /// Whether names outside the classic characters may stand as they are; else they are escaped.
        utf8_names: bool,
    },
}

const PROTOBUF: &str = "application/vnd.google.protobuf";
const MESSAGE: &str = "io.prometheus.client.MetricFamily";

impl PageResponse {
    /// The answer for a request's `Accept` header: what the reader likes best of delimited protobuf and classic text; text where it says
    /// neither.
    pub fn for_accept(accept: Option<&str>) -> Self {
        let accept = accept.unwrap_or_default();
        let mut best: Option<(f64, Option<bool>)> = None;
        for choice in accept.split(',') {
            let mut parts = choice.split(';').map(str::trim);
            let media = parts.next().unwrap_or_default();
            let parameters: Vec<(&str, &str)> = parts
                .filter_map(|parameter| parameter.split_once('='))
                .map(|(name, value)| (name.trim(), value.trim().trim_matches('"')))
                .collect();
            let of = |name: &str| {
                let mut found = parameters.iter();
                found
                    .find(|(known, _)| known.eq_ignore_ascii_case(name))
                    .map(|(_, value)| *value)
            };
            let found = if media.eq_ignore_ascii_case(PROTOBUF) {
                if of("proto") != Some(MESSAGE) || of("encoding") != Some("delimited") {
                    continue;
                }
                Some(of("escaping") == Some("allow-utf-8"))
            } else if media.eq_ignore_ascii_case("text/plain") {
                None
            } else {
                continue;
            };
            let quality = of("q").map_or(1.0, |q| q.parse().unwrap_or(0.0));
            // Among equals the first one.
            if quality > best.map_or(0.0, |(best, _)| best) {
                best = Some((quality, found));
            }
        }
        match best {
            Some((_, Some(utf8_names))) => PageResponse::Delimited {
                content_type: match utf8_names {
                    true => {
                        "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited; escaping=allow-utf-8"
                    }
                    false => {
                        "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited"
                    }
                },
                utf8_names,
            },
            _ => PageResponse::Text(TextResponse::for_accept(Some(accept))),
        }
    }

    /// The answer's `Content-Type`.
    pub fn content_type(&self) -> &'static str {
        match self {
            PageResponse::Text(text) => text.content_type,
            PageResponse::Delimited { content_type, .. } => content_type,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_reader_likes_best() {
        let check = |accept: &str, delimited: bool, utf8: bool| {
            let (found, names) = match PageResponse::for_accept(Some(accept)) {
                PageResponse::Text(text) => (false, text.utf8_names),
                PageResponse::Delimited { utf8_names, .. } => (true, utf8_names),
            };
            assert_eq!((found, names), (delimited, utf8), "{accept}");
        };
        let protobuf = "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited";
        check("", false, false);
        check("*/*", false, false);
        check(protobuf, true, false);
        check(&format!("{protobuf};escaping=allow-utf-8"), true, true);
        check(&format!("text/plain;q=0.3,{protobuf};q=0.6"), true, false);
        check(&format!("text/plain,{protobuf}"), false, false);
        check(&format!("{protobuf};q=0,text/plain;q=0.1"), false, false);
        check(
            &format!("{protobuf};q=0.2, text/plain;version=1.0.0;escaping=allow-utf-8;q=0.3"),
            false,
            true,
        );
        check(
            "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=text",
            false,
            false,
        );
        check(
            "application/vnd.google.protobuf;proto=other;encoding=delimited",
            false,
            false,
        );
        assert!(!PageResponse::for_accept(None).content_type().is_empty());
    }
}
