//! Remote-write requests at the price of a copy: every series is encoded once, with room of a fixed width for one sample, and a
//! scrape only writes eight bytes of value and six of timestamp over the last one's. The client shares the machine with what it
//! measures.
//!
//! ```text
//! 0a LEN                            WriteRequest.timeseries
//!   0a LEN 0a LEN name 12 LEN value   each label
//!   12 10                             sample, 16 bytes
//!     09 8 bytes                        value, little endian
//!     10 6 bytes                        timestamp as a varint: 6 bytes from the year 2004 to 2109
//! ```
//!
//! Messages that stand one after the other are one request, so a request is a stretch of one long buffer.

use crate::data::{
    GENERATION_STEPS, Moving, Pages, Random, Scrape, Shape, TARGET_SERIES, TargetName,
};

/// Samples of one request: four targets.
pub(crate) const REQUEST_TARGETS: usize = 4;

/// From the end of a series back to its value, and to its timestamp.
const VALUE_BACK: usize = 15;
const TIMESTAMP_BACK: usize = 6;

/// A pod's name while nothing has churned, and where in it the generation stands.
const POD: &str = "pod-00000000";
const POD_DIGITS: usize = 8;

/// One target, ready to be scraped again and again.
struct Target {
    name: TargetName,
    series: Vec<Moving>,
    random: Random,
    /// Ends of its series in the buffer.
    ends: Vec<usize>,
    /// Ends of the generations in its series; empty if it does not churn.
    generations: Vec<usize>,
}

/// The targets of one connection.
pub(crate) struct Encoder {
    shape: Shape,
    targets: Vec<Target>,
    /// All series of all targets.
    buffer: Vec<u8>,
    /// Ranges of targets, each one request: never of two branches, as an edge never sends for another.
    requests: Vec<std::ops::Range<usize>>,
    compressor: snap::raw::Encoder,
    compressed: Vec<u8>,
}

/// One request, as it goes over the wire.
pub(crate) struct Request<'a> {
    pub(crate) branch: &'a str,
    pub(crate) samples: usize,
    /// Bytes before compression.
    pub(crate) message: &'a [u8],
    pub(crate) body: &'a [u8],
}

impl Encoder {
    /// For these targets of the data set.
    pub(crate) fn new(shape: Shape, pages: &Pages, targets: std::ops::Range<usize>) -> Self {
        let (mut buffer, mut encoded) = (Vec::new(), Vec::new());
        for index in targets {
            let name = shape.target(index);
            let pod = name.churns.then_some(POD);
            let (series, random) = pages.start(&name);
            let (mut ends, mut generations) = (Vec::new(), Vec::new());
            for labels in pages.labels(&name, pod) {
                let pod_end = append_series(&mut buffer, &labels);
                generations.extend(pod_end);
                ends.push(buffer.len());
            }
            encoded.push(Target {
                name,
                series,
                random,
                ends,
                generations,
            });
        }
        let requests = requests(&encoded);
        Self {
            shape,
            targets: encoded,
            buffer,
            requests,
            compressor: snap::raw::Encoder::new(),
            compressed: Vec::new(),
        }
    }

    /// How many requests a step has.
    pub(crate) fn requests(&self) -> usize {
        self.requests.len()
    }

    /// The targets of a request, counted from the connection's first.
    #[cfg(test)]
    pub(crate) fn targets_of(&self, request: usize) -> std::ops::Range<usize> {
        self.requests[request].clone()
    }

    /// Makes every target a request of its own, as an edge sends what it has just scraped.
    pub(crate) fn one_target_a_request(mut self) -> Self {
        self.requests = (0..self.targets.len()).map(|at| at..at + 1).collect();
        self
    }

    /// The next scrape of a request's targets. Steps must come in order, each once.
    pub(crate) fn scrape(&mut self, request: usize, step: usize) -> Request<'_> {
        self.scrape_at(request, step, None)
    }

    /// The same at a time of its own (milliseconds since the epoch).
    pub(crate) fn scrape_at(
        &mut self,
        request: usize,
        step: usize,
        at_ms: Option<i64>,
    ) -> Request<'_> {
        let range = self.requests[request].clone();
        let begin = match range.start {
            0 => 0,
            first => *self.targets[first - 1].ends.last().unwrap_or(&0),
        };
        let mut end = begin;
        for target in &mut self.targets[range.clone()] {
            let at = at_ms.unwrap_or_else(|| self.shape.at(step, target.name.offset_ms));
            target.scrape(&mut self.buffer, step, at);
            end = *target.ends.last().unwrap_or(&end);
        }
        let message = &self.buffer[begin..end];
        let room = snap::raw::max_compress_len(message.len());
        if self.compressed.len() < room {
            self.compressed.resize(room, 0);
        }
        let length = self
            .compressor
            .compress(message, &mut self.compressed)
            .expect("the output has the room that the library asks for");
        Request {
            branch: &self.targets[range.start].name.branch,
            samples: range.len() * TARGET_SERIES,
            message,
            body: &self.compressed[..length],
        }
    }
}

impl Target {
    fn scrape(&mut self, buffer: &mut [u8], step: usize, at: i64) {
        let timestamp = varint_of_six(at);
        let mut scrape = Scrape {
            random: &mut self.random,
            at,
            observations: 0,
        };
        for (series, end) in self.series.iter_mut().zip(&self.ends) {
            let value = series.next(&mut scrape).to_le_bytes();
            buffer[end - VALUE_BACK..end - VALUE_BACK + 8].copy_from_slice(&value);
            buffer[end - TIMESTAMP_BACK..*end].copy_from_slice(&timestamp);
        }
        if step.is_multiple_of(GENERATION_STEPS) {
            let generation = format!("{:08}", step / GENERATION_STEPS);
            for end in &self.generations {
                buffer[end - POD_DIGITS..*end].copy_from_slice(generation.as_bytes());
            }
        }
    }
}

fn requests(targets: &[Target]) -> Vec<std::ops::Range<usize>> {
    let mut requests: Vec<std::ops::Range<usize>> = Vec::new();
    for (index, target) in targets.iter().enumerate() {
        match requests.last_mut() {
            Some(last)
                if last.len() < REQUEST_TARGETS
                    && targets[last.start].name.branch == target.name.branch =>
            {
                last.end = index + 1;
            }
            _ => requests.push(index..index + 1),
        }
    }
    requests
}

/// Appends one series with room for a sample; returns where the value of its label `pod` ends, if it has one.
fn append_series(buffer: &mut Vec<u8>, labels: &[(&str, &str)]) -> Option<usize> {
    let mut body = Vec::new();
    let mut pod_back = None;
    for (name, value) in labels {
        let mut label = Vec::new();
        append_field(&mut label, 0x0a, name.as_bytes());
        append_field(&mut label, 0x12, value.as_bytes());
        append_field(&mut body, 0x0a, &label);
        if *name == "pod" {
            pod_back = Some(body.len());
        }
    }
    let labels_end = body.len();
    body.extend([0x12, 16, 0x09, 0, 0, 0, 0, 0, 0, 0, 0, 0x10]);
    body.extend(varint_of_six(1 << 40));
    append_field(buffer, 0x0a, &body);
    let sample = body.len() - labels_end;
    pod_back.map(|at| buffer.len() - sample - (labels_end - at))
}

fn append_field(buffer: &mut Vec<u8>, tag: u8, bytes: &[u8]) {
    buffer.push(tag);
    let mut length = bytes.len();
    while length >= 0x80 {
        buffer.push(low_bits(length as u64) | 0x80);
        length >>= 7;
    }
    buffer.push(low_bits(length as u64));
    buffer.extend_from_slice(bytes);
}

fn varint_of_six(at: i64) -> [u8; 6] {
    let at = at.unsigned_abs();
    std::array::from_fn(|index| {
        let more = if index < 5 { 0x80 } else { 0 };
        low_bits(at >> (7 * index)) | more
    })
}

/// The seven bits that one byte of a varint carries.
fn low_bits(value: u64) -> u8 {
    (value & 0x7f) as u8
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::STEP_MS;
    use wire::remote_write::proto::WriteRequest;
    use wire::remote_write::{Limits, decode};

    const END: i64 = 1_700_000_010_000;

    fn encoder(churn_percent: usize) -> Encoder {
        let shape = Shape {
            churn_percent,
            ..Shape::new(8_000, 40, END)
        };
        Encoder::new(shape, &Pages::new(), 0..16)
    }

    fn decoded(request: &Request<'_>) -> WriteRequest {
        decode(request.body, &Limits::default()).expect("a request that the hub's decoder reads")
    }

    /// FNV-1a: short, and the same for ever.
    fn hash(bytes: &[u8]) -> u64 {
        bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
        })
    }

    #[test]
    fn the_first_request_is_the_same_for_ever() {
        let mut encoder = encoder(0);
        let first = hash(encoder.scrape(0, 0).message);
        // Another number here means another data set: results from before cannot be compared with those from after.
        assert_eq!(format!("{first:016x}"), "52eb3d204c5b49a4");
    }

    #[test]
    fn decodes_to_what_was_meant() {
        let (mut encoder, pages) = (encoder(0), Pages::new());
        let shape = encoder.shape;
        for step in 0..3 {
            for request in 0..encoder.requests() {
                let targets = encoder.targets_of(request);
                let sent = encoder.scrape(request, step);
                let (samples, got) = (sent.samples, decoded(&sent));
                assert_eq!(got.timeseries.len(), samples);
                for (series, place) in got.timeseries.iter().zip(0..) {
                    let target = shape.target(targets.start + place / TARGET_SERIES);
                    assert_eq!(target.branch, sent.branch);
                    let wanted = pages.labels(&target, None).nth(place % TARGET_SERIES);
                    let labels: Vec<(&str, &str)> = series
                        .labels
                        .iter()
                        .map(|label| (label.name.as_str(), label.value.as_str()))
                        .collect();
                    assert_eq!(Some(labels), wanted);
                    assert_eq!(series.samples.len(), 1);
                    let at = shape.at(step, target.offset_ms);
                    assert_eq!(series.samples[0].timestamp, at);
                    assert!(series.samples[0].value.is_finite());
                }
            }
        }
    }

    #[test]
    fn values_are_those_of_the_generator() {
        let (mut encoder, pages) = (encoder(0), Pages::new());
        let target = encoder.shape.target(0);
        let (mut series, mut random) = pages.start(&target);
        for step in 0..3 {
            let at = encoder.shape.at(step, target.offset_ms);
            let mut scrape = Scrape {
                random: &mut random,
                at,
                observations: 0,
            };
            let wanted: Vec<f64> = series.iter_mut().map(|s| s.next(&mut scrape)).collect();
            let got = decoded(&encoder.scrape(0, step));
            let got: Vec<f64> = got.timeseries.iter().map(|s| s.samples[0].value).collect();
            assert_eq!(got[..TARGET_SERIES], wanted);
        }
    }

    #[test]
    fn a_sample_is_about_as_long_as_a_real_one() {
        let mut encoder = encoder(0);
        let sent = encoder.scrape(1, 0);
        let bytes = sent.message.len() / sent.samples;
        assert!((155..=175).contains(&bytes), "{bytes} bytes a sample");
    }

    #[test]
    fn churn_makes_new_series_of_the_same_length() {
        let mut encoder = encoder(100);
        let pod = |request: &WriteRequest| {
            let labels = &request.timeseries[7].labels;
            let pod = labels.iter().find(|label| label.name == "pod");
            pod.map(|label| label.value.clone())
        };
        let mut pods = Vec::new();
        for step in 0..=GENERATION_STEPS {
            pods.push(pod(&decoded(&encoder.scrape(0, step))).expect("a pod"));
        }
        assert_eq!(pods[0], pods[GENERATION_STEPS - 1]);
        assert_ne!(pods[0], pods[GENERATION_STEPS]);
        assert_eq!(pods[GENERATION_STEPS], "pod-00000001");
    }

    #[test]
    fn timestamps_fill_six_bytes() {
        let mut read = Vec::new();
        append_field(&mut read, 0x10, &[]);
        for at in [1 << 40, END, END + STEP_MS] {
            let bytes = varint_of_six(at);
            let back = bytes
                .iter()
                .rev()
                .fold(0, |sum, byte| (sum << 7) | i64::from(byte & 0x7f));
            assert_eq!(back, at);
            assert!(bytes[..5].iter().all(|byte| byte & 0x80 != 0));
        }
    }
}
