//! Remote-write requests as any sender makes them, and as none should.

use std::io;

use wire::remote_write::proto::{Label, Sample, TimeSeries, WriteRequest};
use wire::remote_write::{compress, encode};

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
