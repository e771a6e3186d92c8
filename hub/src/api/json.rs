//! The JSON of the Prometheus API, written straight as text: answers can be hundreds of megabytes, and a tree of values would be
//! several times that. What is large leaves in pieces (`stream`).

use std::fmt::Write;

use axum::http::header;
use axum::response::{IntoResponse, Response};
use model::{Histogram, LabelSet, Timestamp};

use super::stream::Pieces;

/// Most warnings (and most infos) that an answer lists; then one entry says how many more there are.
const ANNOTATIONS_MAX: usize = 10;

/// A JSON text under construction.
#[derive(Default)]
pub(crate) struct Json<'p> {
    pub(crate) text: String,
    /// Where the text goes when it gets long.
    pieces: Option<&'p mut Pieces>,
}

impl<'p> Json<'p> {
    /// One that leaves in pieces, but for the last.
    pub(super) fn in_pieces(pieces: &'p mut Pieces) -> Self {
        Json {
            text: String::new(),
            pieces: Some(pieces),
        }
    }

    pub(crate) fn raw(&mut self, text: &str) -> &mut Self {
        self.text.push_str(text);
        self
    }

    /// A string, escaped.
    pub(crate) fn string(&mut self, value: &str) -> &mut Self {
        self.text.push('"');
        let mut clean = 0;
        for (at, byte) in value.bytes().enumerate() {
            if byte >= 0x20 && byte != b'"' && byte != b'\\' {
                continue;
            }
            self.text.push_str(&value[clean..at]);
            clean = at + 1;
            match byte {
                b'"' => self.text.push_str("\\\""),
                b'\\' => self.text.push_str("\\\\"),
                b'\n' => self.text.push_str("\\n"),
                b'\t' => self.text.push_str("\\t"),
                b'\r' => self.text.push_str("\\r"),
                _ => {
                    let _ = write!(self.text, "\\u{byte:04x}");
                }
            }
        }
        self.text.push_str(&value[clean..]);
        self.text.push('"');
        self
    }

    /// `[…]` of items, each written by `item`.
    pub(crate) fn array<T>(
        &mut self,
        items: impl IntoIterator<Item = T>,
        item: impl FnMut(&mut Self, T),
    ) -> &mut Self {
        self.raw("[").list(items, item).raw("]")
    }

    /// `{…}` of items, each, key and all, written by `item`.
    pub(crate) fn object<T>(
        &mut self,
        items: impl IntoIterator<Item = T>,
        item: impl FnMut(&mut Self, T),
    ) -> &mut Self {
        self.raw("{").list(items, item).raw("}")
    }

    fn list<T>(
        &mut self,
        items: impl IntoIterator<Item = T>,
        mut item: impl FnMut(&mut Self, T),
    ) -> &mut Self {
        for (number, each) in items.into_iter().enumerate() {
            if number > 0 {
                self.text.push(',');
            }
            item(self, each);
            if let Some(pieces) = &mut self.pieces {
                pieces.take(&mut self.text);
                if pieces.are_broken() {
                    break;
                }
            }
        }
        self
    }

    /// A label set as an object, sorted by name.
    pub(crate) fn labels(&mut self, labels: &LabelSet) -> &mut Self {
        self.text.push('{');
        for (number, (name, value)) in labels.iter().enumerate() {
            if number > 0 {
                self.text.push(',');
            }
            self.string(name).raw(":").string(value);
        }
        self.text.push('}');
        self
    }

    /// Unix seconds.
    pub(crate) fn time(&mut self, at: Timestamp) -> &mut Self {
        let _ = write!(self.text, "{at}");
        self
    }

    /// A value as a string, in Prometheus's notation.
    pub(crate) fn float(&mut self, value: f64) -> &mut Self {
        self.text.push('"');
        push_float(&mut self.text, value);
        self.text.push('"');
        self
    }

    /// A native histogram.
    pub(crate) fn histogram(&mut self, histogram: &Histogram) -> &mut Self {
        self.raw("{\"count\":")
            .float(histogram.count)
            .raw(",\"sum\":")
            .float(histogram.sum);
        let buckets = histogram.all_buckets();
        if !buckets.is_empty() {
            self.raw(",\"buckets\":").array(buckets, |json, bucket| {
                let rule = match (bucket.lower_inclusive, bucket.upper_inclusive) {
                    (false, true) => 0,
                    (true, false) => 1,
                    (false, false) => 2,
                    (true, true) => 3,
                };
                let _ = write!(json.text, "[{rule},");
                json.float(bucket.lower)
                    .raw(",")
                    .float(bucket.upper)
                    .raw(",")
                    .float(bucket.count);
                json.raw("]");
            });
        }
        self.raw("}")
    }
}

/// Go's shortest form as Prometheus's API writes it: plain notation, exponent form below 1e-6 and from 1e21.
pub(crate) fn push_float(text: &mut String, value: f64) {
    if value.is_nan() {
        text.push_str("NaN");
    } else if value.is_infinite() {
        text.push_str(if value > 0.0 { "+Inf" } else { "-Inf" });
    } else if value != 0.0 && (value.abs() < 1e-6 || value.abs() >= 1e21) {
        let short = format!("{value:e}");
        let (mantissa, exponent) = short.split_once('e').unwrap_or((&short, "0"));
        let (sign, digits) = match exponent.strip_prefix('-') {
            Some(digits) => ('-', digits),
            None => ('+', exponent),
        };
        let _ = write!(text, "{mantissa}e{sign}{digits:0>2}");
    } else {
        let _ = write!(text, "{value}");
    }
}

/// Notes that go with an answer.
#[derive(Clone, Debug, Default)]
pub(crate) struct Annotations {
    pub(crate) warnings: Vec<String>,
    pub(crate) infos: Vec<String>,
}

impl Json<'_> {
    /// The whole of a successful answer, whose `data` is written by `data`.
    pub(super) fn envelope(&mut self, annotations: &Annotations, data: impl FnOnce(&mut Self)) {
        self.raw("{\"status\":\"success\",\"data\":");
        data(self);
        let kinds = [
            ("warnings", "warning", &annotations.warnings),
            ("infos", "info", &annotations.infos),
        ];
        for (key, word, notes) in kinds {
            if notes.is_empty() {
                continue;
            }
            let _ = write!(self.text, ",\"{key}\":");
            let mut shown: Vec<String> = notes.iter().take(ANNOTATIONS_MAX).cloned().collect();
            if notes.len() > ANNOTATIONS_MAX {
                shown.push(format!(
                    "{} more {word} annotations omitted",
                    notes.len() - ANNOTATIONS_MAX
                ));
            }
            self.array(shown, |json, note| {
                json.string(&note);
            });
        }
        self.raw("}");
    }
}

/// A successful answer whose `data` is written by `data`, at once: for what is small.
pub(crate) fn success(annotations: &Annotations, data: impl FnOnce(&mut Json)) -> Response {
    let mut json = Json::default();
    json.envelope(annotations, data);
    ([(header::CONTENT_TYPE, "application/json")], json.text).into_response()
}

/// An instant as Go prints it: RFC 3339, UTC, with as many decimals as it needs, and none for whole seconds.
pub(crate) fn rfc3339(at: Timestamp) -> String {
    let text = wire::alertmanager::format_rfc3339(at);
    match text.strip_suffix('Z') {
        Some(digits) if digits.contains('.') => {
            format!("{}Z", digits.trim_end_matches('0').trim_end_matches('.'))
        }
        _ => text,
    }
}

/// A successful answer whose `data` is a serde value.
pub(crate) fn success_value(value: &serde_json::Value) -> Response {
    success(&Annotations::default(), |json| {
        json.raw(&value.to_string());
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_as_prometheus_writes_them() {
        let check = |value: f64, expected: &str| {
            let mut text = String::new();
            push_float(&mut text, value);
            assert_eq!(text, expected);
        };
        check(0.0, "0");
        check(-0.0, "-0");
        check(1.0, "1");
        check(0.1, "0.1");
        check(1e20, "100000000000000000000");
        check(1e21, "1e+21");
        check(1.5e-7, "1.5e-07");
        check(0.000001, "0.000001");
        check(-2.5e300, "-2.5e+300");
        check(f64::NAN, "NaN");
        check(f64::INFINITY, "+Inf");
        check(f64::NEG_INFINITY, "-Inf");
    }

    #[test]
    fn times_as_go_writes_them() {
        let check = |millis, text: &str| assert_eq!(rfc3339(Timestamp::from_millis(millis)), text);
        check(1_800_000_000_000, "2027-01-15T08:00:00Z");
        check(1_800_000_000_050, "2027-01-15T08:00:00.05Z");
        check(1_800_000_000_120, "2027-01-15T08:00:00.12Z");
        check(1_800_000_010_000, "2027-01-15T08:00:10Z");
    }

    #[test]
    fn strings_are_escaped() {
        let mut json = Json::default();
        json.string("a\"b\\c\nd\u{1}é");
        assert_eq!(json.text, r#""a\"b\\c\nd\u0001é""#);
        assert_eq!(
            serde_json::from_str::<String>(&json.text).unwrap(),
            "a\"b\\c\nd\u{1}é"
        );
    }
}
