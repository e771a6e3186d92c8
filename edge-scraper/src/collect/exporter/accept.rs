//! Which text format whoever asks would rather have.

use axum::http::{HeaderMap, header};

use wire::exposition::Format;

/// OpenMetrics if it is named, in a version that we write, with a weight not below that of plain text. Everybody else gets the
/// classic format, browsers and curl too.
pub(super) fn format(headers: &HeaderMap) -> Format {
    let (mut open_metrics, mut plain) = (0.0_f64, 0.0_f64);
    let values = headers.get_all(header::ACCEPT).iter();
    let values = values.filter_map(|value| value.to_str().ok());
    for range in values.flat_map(|value| value.split(',')) {
        let mut parts = range.split(';').map(str::trim);
        let kind = parts.next().unwrap_or_default().to_ascii_lowercase();
        let (mut weight, mut version) = (1.0, "1.0.0");
        for parameter in parts {
            match parameter.split_once('=') {
                Some(("q", q)) => weight = q.trim().parse().unwrap_or(0.0),
                Some(("version", given)) => version = given.trim_matches('"'),
                _ => {}
            }
        }
        match kind.as_str() {
            "application/openmetrics-text" if version == "1.0.0" => {
                open_metrics = open_metrics.max(weight);
            }
            "text/plain" | "text/*" => plain = plain.max(weight),
            _ => {}
        }
    }
    if open_metrics > 0.0 && open_metrics >= plain {
        Format::OpenMetrics
    } else {
        Format::Classic
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_prometheus_and_others_send() {
        use Format::{Classic, OpenMetrics};
        for (accept, expected) in [
            ("", Classic),
            ("*/*", Classic),
            ("text/html,application/xhtml+xml,*/*;q=0.8", Classic),
            (
                "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
                OpenMetrics,
            ),
            (
                "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited;q=0.6,application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,text/plain;version=0.0.4;q=0.3",
                OpenMetrics,
            ),
            (
                "text/plain;version=0.0.4;q=0.5,application/openmetrics-text;q=0.4",
                Classic,
            ),
            ("application/openmetrics-text;version=2.0.0", Classic),
            ("application/openmetrics-text;q=0", Classic),
            ("application/openmetrics-text;q=x", Classic),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT, accept.parse().unwrap());
            assert_eq!(format(&headers), expected, "{accept}");
        }
        assert_eq!(format(&HeaderMap::new()), Classic);
    }
}
