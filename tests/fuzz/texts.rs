//! What is read from text, from headers and from pages.

use std::time::Duration;

use model::Timestamp;
use wire::{
    alertmanager::{PostLimits, Webhook, parse_posted},
    edge_headers::{self, EdgeHeaders},
    exposition::{Entry, Format, Parser, protobuf},
};

/// A counter with an exemplar and a start, a summary, a histogram that is classic and native.
pub(crate) const PROTOBUF: &[u8] = b">\x0a\x07c_total\x12\x04Help\x22-\x0a\x06\x0a\x01a\x12\x01b\x1a#\x09\0\0\0\0\0\0\x08@\x12\x14\x0a\x05\x0a\x01t\x12\0\x11\0\0\0\0\0\0\xf0?\x1a\x02\x08\x05\x1a\x02\x08\x02\
    \x1f\x0a\x01s\x18\x02\x22\x18\x22\x16\x08\x02\x1a\x12\x09\0\0\0\0\0\0\xe0?\x11\0\0\0\0\0\0\x14@\
    A\x0a\x01h\x18\x04\x22::8\x08\x07\x1a!\x08\x03\x11\0\0\0\0\0\0\xf0?\x1a\x14\x0a\x05\x0a\x01t\x12\0\x11\0\0\0\0\0\0\xf0?\x1a\x02\x08\x05(\x021\0\0\0\0\0\0\x10?b\x02\x10\x02h\x06h\x02";

pub(crate) fn exposition_protobuf(bytes: &[u8]) {
    let choice = protobuf::HistogramChoice {
        native: true,
        classic_too: true,
    };
    let mut families = protobuf::Families::new(bytes);
    let mut points = Vec::new();
    while let Ok(Some(family)) = families.next_family() {
        for metric in family.metrics().map_while(Result::ok) {
            if metric.points_into(&family, choice, &mut points).is_err() {
                return;
            }
        }
    }
}

pub(crate) fn exposition(format: Format, text: &[u8]) {
    let mut parser = Parser::new(format, text);
    while let Ok(Some(entry)) = parser.next_entry() {
        if let Entry::Sample(sample) = entry {
            let _ = sample.labels.to_label_set();
        }
    }
}

/// Lines of `name: value`.
pub(crate) fn edge_headers(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let _ = edge_headers::parse_hub(text);
    let lookup = |name: &str| {
        text.lines()
            .filter_map(|line| line.split_once(": "))
            .find(|(found, _)| *found == name)
            .map(|(_, value)| value)
    };
    if let Ok(Some(headers)) = EdgeHeaders::from_lookup(lookup) {
        let pairs = headers.to_pairs();
        let again = EdgeHeaders::from_lookup(|name| {
            let pair = pairs.iter().find(|(found, _)| *found == name);
            pair.map(|(_, value)| &**value)
        });
        assert_eq!(again, Ok(Some(headers)), "written and read again");
    }
}

pub(crate) fn alertmanager(body: &[u8]) {
    let _ = parse_posted(
        body,
        Timestamp::from_millis(1_700_000_000_000),
        Duration::from_secs(300),
        &PostLimits::default(),
    );
    if let Ok(message) = Webhook::parse(body) {
        for alert in &message.alerts {
            let _ = alert.to_alert();
        }
    }
}

/// An expression that is read is written as one that is read as the same.
pub(crate) fn promql(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let options = promql::ParseOptions::all();
    if let Ok(expr) = promql::parse(text, &options) {
        let written = expr.to_string();
        match promql::parse(&written, &options) {
            Ok(again) => assert_eq!(again.to_string(), written, "of {text:?}"),
            Err(error) => panic!("{text:?} is written as {written:?}: {error}"),
        }
    }
}

pub(crate) const CLASSIC: &[u8] = b"# HELP up Whether \\\\ it \\n is\n# TYPE up gauge\nup{job=\"no\\\"de\",x=\"\"} 1 1700000000000\n\
    {\"utf8.name\",\"a b\"=\"c\"} NaN\n# TYPE h histogram\nh_bucket{le=\"+Inf\"} 1e3\nh_sum 0x1p-2\nh_count 3\n\n# a comment\nlast -Inf";

pub(crate) const OPENMETRICS: &[u8] = b"# TYPE a counter\n# HELP a help\n# UNIT a_seconds seconds\na_total{x=\"y\"} 1 1700000000.5 # {trace=\"1\"} 0.5 1.5\n\
    a_created 1.7e9\n# TYPE h histogram\nh_bucket{le=\"1.0\"} 1 # {} 1\nh_count 1\n# EOF\n";

pub(crate) const HEADERS: &[u8] = b"branchline-edge: b07\nbranchline-epoch: 9182736455463728190\nbranchline-sequence: 120-135,140\n\
    branchline-lane: live\nbranchline-scraped-samples: 91827\nbranchline-pending-samples: 1200\nbranchline-pending-bytes: 3400\n\
    branchline-oldest-pending: 1700000000000\nbranchline-evicted-samples: 0\n";

pub(crate) const POSTED: &[u8] = br#"[{"labels":{"alertname":"Down","empty":""},"annotations":{"summary":"s\u00e9"},"startsAt":"2026-01-02T15:04:05.999Z","endsAt":"2026-01-02T16:04:05+01:00","generatorURL":"http://hub/graph"}]"#;

pub(crate) const WEBHOOK: &[u8] = br#"{"version":"4","groupKey":"{}:{}","truncatedAlerts":0,"status":"firing","receiver":"r","groupLabels":{"a":"b"},"commonLabels":{},"commonAnnotations":{},"externalURL":"http://am","alerts":[{"status":"firing","labels":{"alertname":"Down"},"annotations":{},"startsAt":"2026-01-02T15:04:05Z","endsAt":"0001-01-01T00:00:00Z","generatorURL":"","fingerprint":"0123456789abcdef"}]}"#;

pub(crate) const EXPRESSIONS: &[&str] = &[
    r#"sum by (branch) (rate(requests_total{job=~"a|b.*",x!="y"}[5m] offset -1h30m)) / on (branch) group_left (z) up @ end()"#,
    "max_over_time(avg by () (up)[1h:5m] @ 1.5) + -2 ^ 0x1F % NaN or vector(1) unless bool_metric == bool 1",
    r#"label_replace({"utf8.name", a='b\n'}, "x", `$1`, "y", "(.*)") > 1e3 and topk without (a) (3, histogram_quantile(0.9, h))"#,
    "foo[step() * 2 + 5m] smoothed + absent(bar anchored offset (1m))",
];
