//! An edge's end and a hub's end talk, over a link that loses what it likes.

use model::{LabelSet, Metadata, Sample, Timestamp};
use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::edge_headers::{Lane, SequenceRange};
use crate::remote_write::convert::{append_metadata, append_series};
use crate::remote_write::{Part, SeriesView, Walk};

/// What the hub's end took: (label bytes, time, bits), in order; and the messages beside it.
#[derive(Debug, Default)]
struct Taken {
    samples: Vec<(Vec<u8>, i64, u64)>,
    described: usize,
    rest: Vec<u8>,
}

impl LineSink for Taken {
    type Key = Vec<u8>;
    fn series(&mut self, labels: &[u8]) -> Vec<u8> {
        self.described += 1;
        labels.to_vec()
    }
    fn sample(&mut self, key: &Vec<u8>, at: i64, value: f64) {
        self.samples.push((key.clone(), at, value.to_bits()));
    }
    fn rest(&mut self, message: Vec<u8>) {
        self.rest.extend(message);
    }
}

impl Taken {
    /// All samples, those beside the columns too, in one order.
    fn sorted(&self) -> Vec<(Vec<u8>, i64, u64)> {
        let mut all = self.samples.clone();
        all.extend(samples_in(&self.rest));
        all.sort();
        all
    }
}

fn samples_in(message: &[u8]) -> Vec<(Vec<u8>, i64, u64)> {
    let (mut walk, mut view, mut all) = (Walk::new(message), SeriesView::new(), Vec::new());
    while let Some(part) = walk.next_part(&mut view).unwrap() {
        if part != Part::Series {
            continue;
        }
        let labels = view.label_bytes().to_vec();
        let samples = view.samples.iter();
        all.extend(samples.map(|(at, value)| (labels.clone(), *at, value.to_bits())));
    }
    all
}

fn sorted(messages: &[Vec<u8>]) -> Vec<(Vec<u8>, i64, u64)> {
    let mut all: Vec<_> = messages
        .iter()
        .flat_map(|message| samples_in(message))
        .collect();
    all.sort();
    all
}

fn message(target: u64, at: i64, values: &[(u16, i64, f64)]) -> Vec<u8> {
    let mut message = Vec::new();
    for (series, late, value) in values {
        let series = format!("s{series}");
        let target = target.to_string();
        let labels = [
            ("__name__", "metric"),
            ("instance", target.as_str()),
            ("series", series.as_str()),
        ];
        let labels = LabelSet::from_pairs(labels).unwrap();
        let sample = Sample::float(Timestamp::from_millis(at + late), *value);
        append_series(&mut message, &labels, &[sample]);
    }
    message
}

fn record(target: u64, seq: u64, at: i64, message: &[u8]) -> LineRecord<'_> {
    LineRecord {
        target,
        seq,
        at,
        message,
    }
}

fn encoder() -> LineEncoder {
    LineEncoder::new(7, "b07", 99, Lane::Live)
}

fn decode(
    decoder: &mut LineDecoder<Vec<u8>>,
    bytes: &[u8],
) -> Result<(LineDecoded, Taken), LineError> {
    let limits = LineLimits::default();
    let mut taken = Taken::default();
    let frame = Frame::read(bytes, &limits)?;
    let decoded = decoder.decode(&frame, &limits, &mut taken)?;
    Ok((decoded, taken))
}

/// A page whose counters run on.
fn page(step: i64) -> Vec<u8> {
    let values: Vec<(u16, i64, f64)> = (0..100_u16)
        .map(|series| {
            let by = i64::from(series) * (step * 100 + step * step % 7);
            (series, 0, by as f64 / 100.0)
        })
        .collect();
    message(1, 1_700_000_000_000 + step * 15_000, &values)
}

fn page_frame(encoder: &mut LineEncoder, step: i64) -> Vec<u8> {
    let page = page(step);
    let at = 1_700_000_000_000 + step * 15_000;
    encoder
        .push(&record(1, 10 + step as u64, at, &page))
        .unwrap();
    encoder.finish(None)
}

#[test]
fn a_session_tells_once_what_the_series_are() {
    let (mut encoder, mut decoder) = (encoder(), LineDecoder::new());
    for step in 0..20 {
        let bytes = page_frame(&mut encoder, step);
        let (decoded, taken) = decode(&mut decoder, &bytes).unwrap();
        encoder.taken();
        assert_eq!(taken.sorted(), sorted(&[page(step)]));
        assert_eq!(taken.described, if step == 0 { 100 } else { 0 });
        assert!(
            step < 10 || bytes.len() < 120,
            "{} bytes of step {step}",
            bytes.len()
        );
        let seq = 10 + step as u64;
        let expected = LineDecoded {
            edge: "b07".into(),
            epoch: 99,
            lane: Lane::Live,
            sequences: vec![SequenceRange {
                first: seq,
                last: seq,
            }],
            standing: None,
            samples: 100,
        };
        assert_eq!(decoded, expected);
    }
    assert_eq!((decoder.session(), decoder.series()), (Some(7), 100));
}

#[test]
fn many_scrapes_of_many_targets_in_one_frame() {
    let (mut encoder, mut decoder) = (encoder(), LineDecoder::new());
    let mut sent = Vec::new();
    for scrape in 0..60_i64 {
        for target in 1..4_u64 {
            let at = 1_000 * scrape;
            // The third target's page grows and shrinks.
            let series = if target == 3 {
                5 + scrape as u16 % 4
            } else {
                20
            };
            let values: Vec<_> = (0..series).map(|n| (n, 0, scrape as f64)).collect();
            let bytes = message(target, at, &values);
            let seq = scrape as u64 * 4 + target;
            encoder.push(&record(target, seq, at, &bytes)).unwrap();
            sent.push(bytes);
        }
    }
    assert_eq!(encoder.samples(), sorted(&sent).len());
    let standing = Standing {
        scraped_samples: u64::MAX,
        pending_samples: 3,
        pending_bytes: 1 << 40,
        oldest_pending: Some(1_700_000_000_123),
        evicted_samples: 0,
    };
    let bytes = encoder.finish(Some(&standing));
    let (decoded, taken) = decode(&mut decoder, &bytes).unwrap();
    assert_eq!(taken.sorted(), sorted(&sent));
    assert_eq!(decoded.standing, Some(standing));
    assert_eq!(decoded.sequences.len(), 60);
    assert_eq!(decoded.sequences[1].count(), 3);
}

#[test]
fn what_is_in_no_column_comes_beside_it() {
    let (mut encoder, mut decoder) = (encoder(), LineDecoder::new());
    let at = Timestamp::from_millis(5_000);
    let labels = LabelSet::from_pairs([("__name__", "h")]).unwrap();
    let mut sent = message(1, 5_000, &[(1, 0, 1.0), (2, -70, 2.0), (1, 0, 3.0)]);
    append_metadata(&mut sent, "h", &Metadata::default());
    append_series(
        &mut sent,
        &labels,
        &[Sample::histogram(at, Default::default())],
    );
    append_series(
        &mut sent,
        &labels,
        &[
            Sample::float(at, 1.0),
            Sample::float(Timestamp::from_millis(5_001), 2.0),
        ],
    );
    append_series(&mut sent, &labels, &[]);
    for seq in 1..4 {
        encoder.push(&record(1, seq, 5_000, &sent)).unwrap();
        let (_, taken) = decode(&mut decoder, &encoder.finish(None)).unwrap();
        encoder.taken();
        // The second of one series, and the two that came together.
        assert_eq!((taken.samples.len(), samples_in(&taken.rest).len()), (2, 3));
        assert_eq!(taken.sorted(), sorted(std::slice::from_ref(&sent)));
        let (mut walk, mut view) = (Walk::new(&taken.rest), SeriesView::new());
        let (mut histograms, mut metadata) = (0, 0);
        while let Some(part) = walk.next_part(&mut view).unwrap() {
            match part {
                Part::Series => histograms += view.histogram_count(),
                Part::Metadata(_) => metadata += 1,
            }
        }
        assert_eq!((histograms, metadata), (1, 1));
    }
}

#[test]
fn a_hub_that_forgot_gets_a_frame_that_stands_alone() {
    let (mut encoder, mut decoder) = (encoder(), LineDecoder::new());
    for step in 0..3 {
        decode(&mut decoder, &page_frame(&mut encoder, step)).unwrap();
        encoder.taken();
    }
    let bytes = page_frame(&mut encoder, 3);
    let mut restarted = LineDecoder::new();
    let error = decode(&mut restarted, &bytes).unwrap_err();
    assert!(error.is_session_unknown(), "{error}");
    encoder.begin(8);
    let (_, taken) = decode(&mut restarted, &page_frame(&mut encoder, 3)).unwrap();
    assert_eq!(taken.sorted(), sorted(&[page(3)]));
    assert_eq!(restarted.session(), Some(8));
}

#[test]
fn a_frame_without_an_answer_costs_values_and_no_descriptions() {
    for heard in [false, true] {
        let (mut encoder, mut decoder) = (encoder(), LineDecoder::new());
        for step in 0..3 {
            decode(&mut decoder, &page_frame(&mut encoder, step)).unwrap();
            encoder.taken();
        }
        let lost = page_frame(&mut encoder, 3);
        if heard {
            decode(&mut decoder, &lost).unwrap();
        }
        encoder.lost(8);
        let (_, taken) = decode(&mut decoder, &page_frame(&mut encoder, 4)).unwrap();
        assert_eq!(taken.sorted(), sorted(&[page(4)]));
        assert_eq!((taken.described, encoder.session()), (0, 7));
        encoder.taken();
        // What was lost may still come, late: it is not taken then.
        let error = decode(&mut decoder, &lost).unwrap_err();
        assert!(error.is_session_unknown(), "{error}");
        let (_, taken) = decode(&mut decoder, &page_frame(&mut encoder, 5)).unwrap();
        assert_eq!(taken.sorted(), sorted(&[page(5)]));
        // A frame with descriptions leaves more in doubt.
        encoder.taken();
        let more = message(2, 5, &[(1, 0, 1.0)]);
        encoder.push(&record(2, 99, 5, &more)).unwrap();
        encoder.finish(None);
        encoder.lost(8);
        assert_eq!(encoder.session(), 8);
    }
}

#[test]
fn frames_in_another_order_are_refused() {
    let (mut encoder, mut decoder) = (encoder(), LineDecoder::new());
    let mut frames = Vec::new();
    for step in 0..4 {
        frames.push(page_frame(&mut encoder, step));
        encoder.taken();
    }
    decode(&mut decoder, &frames[0]).unwrap();
    for wrong in [2, 3] {
        assert!(
            decode(&mut decoder, &frames[wrong])
                .unwrap_err()
                .is_session_unknown()
        );
    }
    // A refusal of that kind changes nothing.
    decode(&mut decoder, &frames[1]).unwrap();
    assert!(
        decode(&mut decoder, &frames[1])
            .unwrap_err()
            .is_session_unknown()
    );
    decode(&mut decoder, &frames[2]).unwrap();
    decode(&mut decoder, &frames[3]).unwrap();
}

#[test]
fn layouts_of_churning_series_do_not_grow_for_ever() {
    let (mut encoder, mut decoder) = (encoder(), LineDecoder::new());
    for step in 0..200_i64 {
        let values: Vec<_> = (0..60).map(|n| (n + 20 * step as u16, 0, 1.0)).collect();
        let sent = message(1, step, &values);
        encoder.push(&record(1, step as u64, step, &sent)).unwrap();
        let (_, taken) = decode(&mut decoder, &encoder.finish(None)).unwrap();
        encoder.taken();
        assert_eq!(taken.sorted(), sorted(&[sent]));
        assert!(decoder.series() <= 3 * 60 + 64 + 60, "{}", decoder.series());
    }
}

#[test]
fn targets_that_are_gone_are_forgotten() {
    let (mut encoder, mut decoder) = (encoder(), LineDecoder::new());
    for hour in 0..30_i64 {
        let at = hour * 1_900_000;
        let sent = message(hour as u64, at, &[(1, 0, 1.0), (2, 0, 2.0)]);
        encoder
            .push(&record(hour as u64, hour as u64, at, &sent))
            .unwrap();
        decode(&mut decoder, &encoder.finish(None)).unwrap();
        encoder.taken();
    }
    assert!(decoder.series() <= 8, "{}", decoder.series());
}

#[test]
fn limits_come_before_memory() {
    let page = page(1);
    let mut encoder = encoder();
    encoder.push(&record(1, 1, 1, &page)).unwrap();
    let bytes = encoder.finish(None);
    let usual = LineLimits::default();
    let check = |limits: LineLimits, text: &str| {
        let frame = Frame::read(&bytes, &limits);
        let read = frame
            .and_then(|frame| LineDecoder::new().decode(&frame, &limits, &mut Taken::default()));
        assert!(read.unwrap_err().to_string().contains(text), "{text}");
    };
    check(
        LineLimits {
            frame_bytes_max: 100,
            ..usual.clone()
        },
        "bytes of a frame",
    );
    check(
        LineLimits {
            section_bytes_max: 100,
            ..usual.clone()
        },
        "bytes of descriptions",
    );
    check(
        LineLimits {
            samples_max: 99,
            ..usual.clone()
        },
        "samples of a frame",
    );
    check(
        LineLimits {
            series_max: 99,
            ..usual.clone()
        },
        "series of a session: 100, the limit is 99",
    );
    check(
        LineLimits {
            layouts_max: 0,
            ..usual.clone()
        },
        "layouts of a session",
    );
    // A few bytes that claim much: descriptions of 60 MB in 30 bytes.
    let mut claim = vec![VERSION, frame::DESCRIBES | frame::STARTS, 1, 0, 0, 0, 0];
    claim.extend([0; 8]);
    claim.extend(*b"\x01e");
    frame::put_number(&mut claim, 60_000_000);
    claim.extend([3, 1, 2, 3]);
    let claim = frame::seal(claim);
    assert_eq!(claim.len(), 29);
    let error = decode(&mut LineDecoder::new(), &claim).unwrap_err();
    assert!(error.to_string().contains("256 to 1"), "{error}");
}

#[test]
fn refusals_say_what_and_where() {
    let check = |bytes: &[u8], text: &str| {
        let error = decode(&mut LineDecoder::new(), bytes)
            .unwrap_err()
            .to_string();
        assert!(error.contains(text), "{error}");
    };
    check(&[], "frame at byte 0: expected a version");
    check(&[2; 30], "version 2, this release reads version 1");
    let mut bytes = page_frame(&mut encoder(), 0);
    let length = bytes.len();
    bytes[20] ^= 1;
    check(&bytes, &format!("frame of {length} bytes: checksum is"));
    check(&frame::seal(vec![1, 64, 0, 0, 0, 0]), "flags of version 1");
    check(
        &frame::seal(vec![1, 0, 5, 0, 0, 0, 3]),
        "frame 3 of session 00000005 does not follow",
    );
    let head = [&[1, 1, 5, 0, 0, 0, 0][..], &[0; 8], b"\x01e"].concat();
    let with = |body: &[u8]| frame::seal([&head[..], body].concat());
    check(&with(&[0, 1]), "the end of a frame without scrapes");
    check(&with(&[1, 0, 0, 0, 0, 0, 0]), "layout was not described");
    assert!(decode(&mut LineDecoder::new(), &with(&[0])).is_ok());
}

/// What a target shows: how its series move, by number.
fn value(kind: u8, step: i64, noise: u64) -> f64 {
    let small = (noise % 1000) as f64;
    match kind % 9 {
        0 => 5.0,
        1 => (step * 4096 * 3) as f64,
        2 => step as f64 * 1.25 + small / 100.0,
        3 => small / 1e9,
        4 => (step * 15 + (noise % 3) as i64) as f64 * 0.001,
        5 => f64::from_bits(noise),
        6 => model::stale_nan(),
        7 => 1.0 / (small + 1.0),
        _ => [f64::NAN, f64::INFINITY, -0.0, f64::MAX, 5e-324, 1e300][(noise % 6) as usize],
    }
}

/// What happens to a frame.
#[derive(Clone, Copy, Debug)]
enum Fate {
    Taken,
    AnswerLost,
    FrameLost,
    HubRestarts,
    Spoiled(u16),
}

fn fate() -> impl Strategy<Value = Fate> {
    prop_oneof![
        6 => Just(Fate::Taken),
        1 => Just(Fate::AnswerLost),
        1 => Just(Fate::FrameLost),
        1 => Just(Fate::HubRestarts),
        1 => any::<u16>().prop_map(Fate::Spoiled),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    /// Whatever happens to frames, what the hub has acknowledged is what was sent, bit by bit.
    #[test]
    fn random_scrapes_over_a_bad_link(
        kinds in vec(vec((any::<u8>(), prop_oneof![3 => Just(0_i64), 1 => -50_000..50_000_i64]), 0..12), 1..4),
        steps in vec((fate(), vec(any::<u64>(), 12), 0..12_usize, 1..4_usize), 1..30),
    ) {
        let (mut encoder, mut decoder) = (encoder(), LineDecoder::new());
        let (mut seq, mut at, mut session) = (0, 1_700_000_000_000_i64, 100);
        for (step, (fate, noise, gone, scrapes)) in steps.iter().enumerate() {
            let mut sent = Vec::new();
            for _ in 0..*scrapes {
                at += 15_000 + (noise[0] % 3) as i64;
                for (target, kinds) in kinds.iter().enumerate() {
                    let present = kinds.iter().enumerate().filter(|(place, _)| place % 12 != *gone);
                    let values: Vec<_> = present.map(|(place, (kind, late))| {
                        (place as u16, *late, value(*kind, step as i64, noise[place]))
                    }).collect();
                    seq += 1 + noise[1] % 2;
                    sent.push((target as u64, seq, at, message(target as u64, at, &values)));
                }
            }
            let send = |encoder: &mut LineEncoder| {
                for (target, seq, at, message) in &sent {
                    encoder.push(&record(*target, *seq, *at, message)).unwrap();
                }
                encoder.finish(None)
            };
            let mut bytes = send(&mut encoder);
            session += 1;
            match fate {
                Fate::FrameLost => { encoder.lost(session); continue }
                Fate::AnswerLost => { let _ = decode(&mut decoder, &bytes); encoder.lost(session); continue }
                Fate::HubRestarts => decoder = LineDecoder::new(),
                Fate::Spoiled(bit) => {
                    let bit = usize::from(*bit) % (bytes.len() * 8);
                    bytes[bit / 8] ^= 1 << (bit % 8);
                    prop_assert!(decode(&mut decoder, &bytes).is_err());
                    encoder.lost(session);
                    continue;
                }
                Fate::Taken => {}
            }
            let answer = match decode(&mut decoder, &bytes) {
                Err(error) if error.is_session_unknown() => {
                    encoder.begin(session);
                    decode(&mut decoder, &send(&mut encoder))
                }
                answer => answer,
            };
            let (decoded, taken) = answer.unwrap();
            encoder.taken();
            let messages: Vec<Vec<u8>> = sent.iter().map(|(.., message)| message.clone()).collect();
            prop_assert_eq!(taken.sorted(), sorted(&messages));
            let records: u64 = decoded.sequences.iter().map(|range| range.count()).sum();
            prop_assert_eq!(records, sent.len() as u64);
        }
    }

    /// Bytes behind a right checksum, with and without a session.
    #[test]
    fn spoiled_frames_do_no_harm(at in any::<u16>(), with in vec(any::<u8>(), 0..9), follows in any::<bool>()) {
        let (mut encoder, mut decoder) = (encoder(), LineDecoder::new());
        let first = page_frame(&mut encoder, 0);
        encoder.taken();
        let bytes = match follows {
            true => {
                decode(&mut decoder, &first).unwrap();
                page_frame(&mut encoder, 1)
            }
            false => first,
        };
        let mut body = bytes[..bytes.len() - 4].to_vec();
        let at = usize::from(at) % body.len();
        let end = (at + with.len()).min(body.len());
        body.splice(at..end, with);
        let spoiled = frame::seal(body);
        if let Ok((_, taken)) = decode(&mut decoder, &spoiled) {
            // Only what is in no column can have changed: the edge's name, the epoch, the session, labels.
            let sent = samples_in(&page(i64::from(follows)));
            let columns = |samples: &[(Vec<u8>, i64, u64)]| -> Vec<(i64, u64)> {
                samples.iter().map(|(_, at, bits)| (*at, *bits)).collect()
            };
            prop_assert_eq!(columns(&taken.samples), columns(&sent));
        }
    }
}
