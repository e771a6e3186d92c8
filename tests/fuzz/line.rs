//! The frames of the line.

use std::sync::LazyLock;

use model::{Sample, Timestamp};
use wire::line;

use crate::decoders::MIB;
use crate::remote::messages;

/// Takes line batches and keeps nothing.
struct Nowhere;

impl line::LineSink for Nowhere {
    type Key = ();
    fn series(&mut self, _: &[u8]) {}
    fn sample(&mut self, (): &(), _: i64, _: f64) {}
    fn rest(&mut self, _: Vec<u8>) {}
}

/// As they come, behind a right checksum, and as the second frame of a session.
pub(crate) fn line_batch(bytes: &[u8]) {
    let limits = line::LineLimits {
        section_bytes_max: MIB,
        samples_max: 10_000,
        series_max: 10_000,
        layouts_max: 1_000,
        ..line::LineLimits::default()
    };
    let mut decoder = line::LineDecoder::new();
    let mut read = |bytes: &[u8]| {
        if let Ok(frame) = line::Frame::read(bytes, &limits) {
            let _ = decoder.decode(&frame, &limits, &mut Nowhere);
        }
    };
    read(bytes);
    let body = bytes
        .split_last_chunk::<4>()
        .map_or(bytes, |(body, _)| body);
    static SESSION: LazyLock<[Vec<u8>; 2]> = LazyLock::new(line_session);
    let [first, second] = &*SESSION;
    read(&line::with_checksum(body.to_vec()));
    read(first);
    read(&line::with_checksum(body.to_vec()));
    read(second);
}

pub(crate) fn line_frames() -> Vec<Vec<u8>> {
    line_session().to_vec()
}

pub(crate) fn line_session() -> [Vec<u8>; 2] {
    let mut encoder = line::LineEncoder::new(7, "b07", 1);
    let beside = messages().concat();
    [1, 2].map(|seq| {
        let series = ["a", "b", "c"].map(|name| {
            let labels = model::LabelSet::from_pairs([("__name__", name)]).unwrap_or_default();
            let at = Timestamp::from_millis(1_700_000_000_000 + seq as i64);
            (labels.into(), Sample::float(at, seq as f64 / 8.0))
        });
        let scrape = line::LineScrape {
            target: 1,
            part: 0,
            seq,
            at: 1_700_000_000_000,
            series: &series,
            beside: &beside,
        };
        encoder.encode(&scrape).unwrap_or_default()
    })
}
