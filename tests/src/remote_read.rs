//! Remote read, asked: of our hub and of a real Prometheus alike.

use wire::remote_read::proto::{Chunk, ChunkedReadResponse};
use wire::remote_read::{Query, Request, ResponseType, decode_samples, encode, frame};
use wire::remote_write::proto::TimeSeries;

use crate::http::{self, Response};

/// The headers that Prometheus sends.
const HEADERS: [(&str, &str); 4] = [
    ("Content-Type", "application/x-protobuf"),
    ("Content-Encoding", "snappy"),
    ("Accept-Encoding", "snappy"),
    ("X-Prometheus-Remote-Read-Version", "0.1.0"),
];
/// Longest answer.
const ANSWER_BYTES_MAX: usize = 64 << 20;

/// A series in an answer of chunks.
#[derive(Debug, Clone, PartialEq)]
pub struct ChunkedSeries {
    /// In the order of the answer.
    pub labels: Vec<(String, String)>,
    /// Of all frames.
    pub chunks: Vec<Chunk>,
}

/// Asks `http://host:port/api/v1/read`.
fn ask(url: &str, response: ResponseType, query: &Query) -> Result<Response, String> {
    let body = encode(&Request {
        queries: vec![query.clone()],
        response,
    });
    let answer = http::post(url, &HEADERS, &body).map_err(|error| error.to_string())?;
    match answer.status {
        200 => Ok(answer),
        status => Err(format!("status {status}: {}", answer.text())),
    }
}

fn check_header(answer: &Response, name: &str, expected: Option<&str>) -> Result<(), String> {
    match answer.header(name) == expected {
        true => Ok(()),
        false => Err(format!(
            "{name}: {:?}, not {expected:?}",
            answer.header(name)
        )),
    }
}

/// The samples of one query.
///
/// # Errors
/// The server's message, or what is wrong with its answer.
pub fn samples(url: &str, query: &Query) -> Result<Vec<TimeSeries>, String> {
    let answer = ask(url, ResponseType::Samples, query)?;
    check_header(&answer, "content-type", Some("application/x-protobuf"))?;
    check_header(&answer, "content-encoding", Some("snappy"))?;
    let read = decode_samples(&answer.body, ANSWER_BYTES_MAX).map_err(|error| error.to_string())?;
    match <[_; 1]>::try_from(read.results) {
        Ok([result]) => Ok(result.timeseries),
        Err(results) => Err(format!("{} results of one query", results.len())),
    }
}

/// The chunks of one query.
///
/// # Errors
/// The server's message, or what is wrong with its answer.
pub fn chunks(url: &str, query: &Query) -> Result<Vec<ChunkedSeries>, String> {
    let answer = ask(url, ResponseType::StreamedXorChunks, query)?;
    let expected = "application/x-streamed-protobuf; proto=prometheus.ChunkedReadResponse";
    check_header(&answer, "content-type", Some(expected))?;
    check_header(&answer, "content-encoding", None)?;
    let mut all: Vec<ChunkedSeries> = Vec::new();
    let mut rest = &answer.body[..];
    while let Some((frame, behind)) = frame::decode(rest).map_err(|error| error.to_string())? {
        rest = behind;
        add(&mut all, frame)?;
    }
    Ok(all)
}

fn add(all: &mut Vec<ChunkedSeries>, frame: ChunkedReadResponse) -> Result<(), String> {
    if frame.query_index != 0 {
        return Err(format!("query {} was not asked", frame.query_index));
    }
    for series in frame.chunked_series {
        let labels = series
            .labels
            .into_iter()
            .map(|label| (label.name, label.value));
        let labels: Vec<(String, String)> = labels.collect();
        match all.last_mut().filter(|last| last.labels == labels) {
            Some(last) => last.chunks.extend(series.chunks),
            None => all.push(ChunkedSeries {
                labels,
                chunks: series.chunks,
            }),
        }
    }
    Ok(())
}
