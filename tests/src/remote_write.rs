//! Remote-write requests as any sender makes them, and as none should.

use std::io;

use wire::remote_write::convert::{Series, append_series, series_from_proto};
use wire::remote_write::proto::{Label, Sample, TimeSeries, WriteRequest};
use wire::remote_write::{compress, encode, encode_message};

use crate::http::{self, Response};

/// The headers of remote write 1.0.
pub const HEADERS: [(&str, &str); 4] = [
    ("Content-Type", "application/x-protobuf"),
    ("Content-Encoding", "snappy"),
    ("X-Prometheus-Remote-Write-Version", "0.1.0"),
    ("User-Agent", "branchline-tests"),
];

/// One series with (milliseconds since the epoch, value).
pub fn series(labels: &[(&str, &str)], samples: &[(i64, f64)]) -> TimeSeries {
    let labels = labels
        .iter()
        .map(|(name, value)| Label {
            name: (*name).to_owned(),
            value: (*value).to_owned(),
        })
        .collect();
    let samples = samples
        .iter()
        .map(|(timestamp, value)| Sample {
            value: *value,
            timestamp: *timestamp,
        })
        .collect();
    TimeSeries {
        labels,
        samples,
        ..TimeSeries::default()
    }
}

/// A whole body: protobuf in one Snappy block.
pub fn body(timeseries: Vec<TimeSeries>) -> Vec<u8> {
    encode(&WriteRequest {
        timeseries,
        ..WriteRequest::default()
    })
}

/// As [`body`], with the sign of -0, which `prost` takes for the default and leaves out.
///
/// # Panics
/// When a series is not valid.
pub fn exact_body(request: &WriteRequest) -> Vec<u8> {
    let mut message = Vec::new();
    for series in &request.timeseries {
        let Series { labels, samples } = series_from_proto(series).expect("a valid series");
        append_series(&mut message, &labels, &samples);
    }
    let exemplars = request
        .timeseries
        .iter()
        .filter(|s| !s.exemplars.is_empty());
    let rest = WriteRequest {
        timeseries: exemplars
            .map(|series| TimeSeries {
                samples: Vec::new(),
                histograms: Vec::new(),
                ..series.clone()
            })
            .collect(),
        metadata: request.metadata.clone(),
    };
    message.extend_from_slice(&encode_message(&rest));
    compress(&message)
}

/// Compresses any bytes as a sender would.
pub fn snappy(message: &[u8]) -> Vec<u8> {
    compress(message)
}

/// Sends a body to a hub's `/api/v1/write`, with a bearer token or without.
///
/// # Errors
/// When no whole answer came.
pub fn send(url: &str, token: Option<&str>, body: &[u8]) -> io::Result<Response> {
    let bearer = token.map(|token| format!("Bearer {token}"));
    let mut headers = HEADERS.to_vec();
    if let Some(bearer) = &bearer {
        headers.push(("Authorization", bearer));
    }
    http::post(url, &headers, body)
}
