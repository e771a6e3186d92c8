use std::sync::Arc;

use model::{Buckets, CUSTOM_BUCKETS_SCHEMA, ResetHint, Sample, Span, Timestamp, stale_nan};
use proptest::prelude::*;

use super::*;

fn chunks(samples: &[(i64, Value)]) -> Vec<Chunk> {
    let times: Vec<i64> = samples.iter().map(|(at, _)| *at).collect();
    let values: Vec<Value> = samples.iter().map(|(_, value)| value.clone()).collect();
    let floats: Option<Vec<f64>> = values
        .iter()
        .map(|value| match value {
            Value::Float(value) => Some(*value),
            Value::Histogram(_) => None,
        })
        .collect();
    let mixed: Vec<Chunk> = Chunks::new(&times, Values::Mixed(&values)).collect();
    if let Some(floats) = floats {
        let same: Vec<Chunk> = Chunks::new(&times, Values::Floats(&floats)).collect();
        assert_eq!(mixed, same);
    }
    mixed
}

fn read(chunks: &[Chunk]) -> Vec<Sample> {
    let mut all = Vec::new();
    for chunk in chunks {
        let samples = decode(chunk).expect("a chunk");
        assert_eq!(samples[0].at.millis(), chunk.min_time_ms);
        assert_eq!(samples[samples.len() - 1].at.millis(), chunk.max_time_ms);
        assert!(samples.len() <= 120);
        all.extend(samples);
    }
    all
}

fn histogram(integer: bool, positive: &[(i32, f64)], negative: &[(i32, f64)]) -> Histogram {
    let all = positive.iter().chain(negative);
    Histogram {
        schema: 3,
        zero_threshold: 2_f64.powi(-128),
        zero_count: 2.0,
        count: 2.0 + all.map(|(_, count)| count).sum::<f64>(),
        sum: 18.5,
        positive: Buckets::from_indexed(positive.iter().copied()),
        negative: Buckets::from_indexed(negative.iter().copied()),
        integer,
        ..Histogram::default()
    }
}

fn value(histogram: Histogram) -> Value {
    Value::Histogram(Arc::new(histogram))
}

/// What a histogram shows, whatever its spans are.
fn shown(sample: &Sample) -> String {
    match &sample.value {
        Value::Float(value) => format!("{} {:016x}", sample.at, value.to_bits()),
        Value::Histogram(h) => format!(
            "{} {h} schema {} threshold {:e} bounds {:?} sum {:016x} {}",
            sample.at,
            h.schema,
            h.zero_threshold,
            h.custom_values,
            h.sum.to_bits(),
            h.integer,
        ),
    }
}

fn check(samples: &[(i64, Value)]) -> Vec<Chunk> {
    let chunks = chunks(samples);
    let expected: Vec<String> = samples
        .iter()
        .map(|(at, value)| {
            shown(&Sample {
                at: Timestamp::from_millis(*at),
                start: None,
                value: value.clone(),
            })
        })
        .collect();
    let found: Vec<String> = read(&chunks).iter().map(shown).collect();
    assert_eq!(found, expected);
    chunks
}

/// The chunks' encodings, numbers of samples, and what their flags say.
fn kinds(chunks: &[Chunk]) -> Vec<(i32, usize, ResetHint)> {
    let kind = |chunk: &Chunk| {
        let flags = match chunk.r#type {
            1 => 0,
            _ => chunk.data[2],
        };
        let hint = match flags {
            0b0000_0000 => ResetHint::Unknown,
            0b1000_0000 => ResetHint::Reset,
            0b0100_0000 => ResetHint::NotReset,
            0b1100_0000 => ResetHint::Gauge,
            other => panic!("flags {other:08b}"),
        };
        let samples = u16::from_be_bytes([chunk.data[0], chunk.data[1]]);
        (chunk.r#type, usize::from(samples), hint)
    };
    chunks.iter().map(kind).collect()
}

#[test]
fn no_samples_are_no_chunks() {
    assert_eq!(chunks(&[]), []);
}

#[test]
fn floats_of_every_kind() {
    let values = [
        0.0,
        -0.0,
        1.0,
        1.0,
        f64::NAN,
        stale_nan(),
        f64::INFINITY,
        f64::NEG_INFINITY,
        f64::MAX,
        f64::MIN_POSITIVE,
        0.1,
        12.5,
        12.5,
        -1e300,
    ];
    let times = [
        -5_000_000_000_000,
        0,
        15_000,
        30_000,
        45_001,
        53_193,
        70_000,
        200_000,
        1_000_000,
        1_000_001,
        1_000_002,
        10_000_000_000,
        10_000_015_000,
        i64::MAX,
    ];
    let samples: Vec<_> = times.into_iter().zip(values.map(Value::Float)).collect();
    assert_eq!(kinds(&check(&samples)), [(1, 14, ResetHint::Unknown)]);
    for length in 1..samples.len() {
        check(&samples[..length]);
    }
}

#[test]
fn a_hundred_and_twenty_samples_a_chunk() {
    let samples: Vec<_> = (0..241)
        .map(|at| (at * 15_000, Value::Float(at as f64)))
        .collect();
    let lengths: Vec<usize> = kinds(&check(&samples)).iter().map(|kind| kind.1).collect();
    assert_eq!(lengths, [120, 120, 1]);
    let samples: Vec<_> = (0..121)
        .map(|at| (at, value(histogram(true, &[(0, at as f64)], &[]))))
        .collect();
    assert_eq!(
        kinds(&check(&samples)),
        [(2, 120, ResetHint::Unknown), (2, 1, ResetHint::NotReset)]
    );
}

/// The first bytes of `up` at 1000, 16000, 31000 ms: 1, 1, 0, worked out by hand from the description of the format.
#[test]
fn the_bits_are_those_of_the_description() {
    let samples = [(1000, 1.0), (16_000, 1.0), (31_000, 0.0)];
    let samples = samples.map(|(at, float)| (at, Value::Float(float)));
    let chunk = &chunks(&samples)[0];
    let mut expected = vec![0, 3];
    expected.extend([0xd0, 0x0f]); // 1000 as signed varint: 2000
    expected.extend(1_f64.to_be_bytes());
    expected.extend([0x98, 0x75]); // 15000 as unsigned varint
    // No change: 0. Then time: 0. Value, changed in ten bits from bit 2 on: 11, 00010, 001010, 1111111111.
    // 0 0 1 1 0 0 0 1 | 0 0 0 1 0 1 0 1 | 1 1 1 1 1 1 1 1 | 1 and padding
    expected.extend([0b0011_0001, 0b0001_0101, 0b1111_1111, 0b1000_0000]);
    assert_eq!(chunk.data, expected);
}

/// Chunks that Prometheus 2.42 wrote: read, they are the samples that it had been given, and written again the same bytes.
#[test]
fn chunks_of_a_real_prometheus() {
    let check = |kind: i32, hex: &str, expected: &[&str]| {
        let byte = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).expect("hex");
        let data: Vec<u8> = (0..hex.len()).step_by(2).map(byte).collect();
        let chunk = Chunk {
            r#type: kind,
            data: data.clone(),
            ..Chunk::default()
        };
        let samples = decode(&chunk).expect("a chunk");
        let found: Vec<String> = samples
            .iter()
            .map(|sample| match &sample.value {
                Value::Float(value) => format!("{} {value}", sample.at),
                Value::Histogram(h) => format!(
                    "{} {} {} {} {:?} {:?}",
                    sample.at, h.count, h.zero_count, h.sum, h.positive.counts, h.negative.counts
                ),
            })
            .collect();
        assert_eq!(found, expected);
        let samples: Vec<_> = samples
            .into_iter()
            .map(|s| (s.at.millis(), s.value))
            .collect();
        let again = chunks(&samples);
        assert_eq!(again.len(), 1);
        assert_eq!((again[0].r#type, &again[0].data), (kind, &data));
    };
    check(
        1,
        "0005f48e8bbec168c0318ef5e0190ffb9875c00400c5c9de35e7ba1a803e21bcb3d0e1b74ffd390abffab0688bff71c310057301f4",
        &[
            "1795495650.234 -17.558439260596042",
            "1795495665.234 12.60899468208332",
            "1795495680.234 -5.771921477577293",
            "1795495695.234 -1.9292368092661885",
            "1795495710.234 9.341578840784774",
        ],
    );
    let histograms = [
        "1795495650.234 713 261 21.75 [87.0, 174.0, 67.0, 37.0] [87.0]",
        "1795495665.234 722 264 22 [88.0, 176.0, 68.0, 38.0] [88.0]",
        "1795495680.234 731 267 22.25 [89.0, 178.0, 69.0, 39.0] [89.0]",
        "1795495695.234 740 270 22.5 [90.0, 180.0, 70.0, 40.0] [90.0]",
    ];
    check(
        2,
        "0004007494e3bc94a3868c63fc00034417c2c775e2c9e82a01ae00000000000715f8afd95d1715fe0ea63133dc27c6374442011800",
        &histograms,
    );
    check(
        3,
        "0004007494e3bc94a3868c63fc00034417c2c774810c90000000000080e0a00000000000806b80000000000080ab80000000000080cb80000000000080a1800000000000808500000000000080ab800000000001f07531c05df0137709fb84fdc27ef0fef0bdc27a4c70c30c6616f1bf9638e39ed13e30",
        &histograms,
    );
}

#[test]
fn histograms_of_integers_and_floats() {
    for integer in [true, false] {
        let samples: Vec<_> = (0..5)
            .map(|n| {
                let n = n as f64;
                let one = histogram(integer, &[(-3, n), (2, 3.0 * n), (3, 7.0)], &[(1, n * n)]);
                (n as i64 * 15_000, value(one))
            })
            .collect();
        let kind = if integer { 2 } else { 3 };
        assert_eq!(kinds(&check(&samples)), [(kind, 5, ResetHint::Unknown)]);
    }
}

#[test]
fn new_buckets_share_the_chunk_and_lost_ones_end_it() {
    let samples = [
        histogram(true, &[(1, 1.0)], &[]),
        histogram(true, &[(1, 2.0), (5, 1.0)], &[(-2, 1.0)]),
        histogram(true, &[(0, 1.0), (1, 2.0), (5, 1.0)], &[(-2, 1.0)]),
        histogram(true, &[(0, 1.0), (1, 1.0), (5, 9.0)], &[(-2, 1.0)]),
        histogram(true, &[(0, 1.0), (5, 9.0)], &[(-2, 1.0)]),
    ];
    let samples: Vec<_> = (0..).zip(samples.map(value)).collect();
    assert_eq!(
        kinds(&check(&samples)),
        [
            (2, 3, ResetHint::Unknown),
            (2, 1, ResetHint::Reset),
            (2, 1, ResetHint::Reset)
        ]
    );
}

#[test]
fn what_changes_the_layout_ends_the_chunk() {
    let one = histogram(true, &[(1, 1.0)], &[]);
    let others = [
        Histogram {
            schema: 4,
            ..one.clone()
        },
        Histogram {
            zero_threshold: 0.1,
            ..one.clone()
        },
        Histogram {
            zero_threshold: 0.0,
            ..one.clone()
        },
        Histogram {
            integer: false,
            ..one.clone()
        },
        Histogram {
            reset_hint: ResetHint::Gauge,
            ..one.clone()
        },
        Histogram {
            schema: CUSTOM_BUCKETS_SCHEMA,
            custom_values: vec![0.005, 1.0 / 3.0, 2.5, 33_554.43, 33_554.431],
            zero_threshold: 0.0,
            zero_count: 0.0,
            count: 1.0,
            ..one.clone()
        },
    ];
    for other in others {
        let samples: Vec<_> = (0..)
            .zip([one.clone(), other, one.clone()].map(value))
            .collect();
        let lengths: Vec<usize> = kinds(&check(&samples)).iter().map(|kind| kind.1).collect();
        assert_eq!(lengths, [1, 1, 1]);
    }
    let mixed = [value(one.clone()), Value::Float(1.0), value(one)];
    let mixed: Vec<_> = (0..).zip(mixed).collect();
    let kinds: Vec<i32> = check(&mixed).iter().map(|chunk| chunk.r#type).collect();
    assert_eq!(kinds, [2, 1, 2]);
}

#[test]
fn hints_about_resets_stand_in_the_flags() {
    let hinted = |hint: ResetHint, count: f64| Histogram {
        reset_hint: hint,
        ..histogram(false, &[(0, count)], &[])
    };
    let check = |hints: &[(ResetHint, f64)], expected: &[(usize, ResetHint)]| {
        let samples: Vec<_> = (0..)
            .zip(
                hints
                    .iter()
                    .map(|(hint, count)| value(hinted(*hint, *count))),
            )
            .collect();
        let found: Vec<_> = kinds(&check(&samples))
            .iter()
            .map(|kind| (kind.1, kind.2))
            .collect();
        assert_eq!(found, expected);
    };
    use ResetHint::{Gauge, NotReset, Reset, Unknown};
    check(&[(Unknown, 1.0), (NotReset, 2.0)], &[(2, Unknown)]);
    check(&[(NotReset, 1.0), (Unknown, 2.0)], &[(2, NotReset)]);
    check(&[(Reset, 1.0), (Reset, 2.0)], &[(1, Reset), (1, Reset)]);
    check(
        &[(Unknown, 2.0), (Unknown, 1.0)],
        &[(1, Unknown), (1, Reset)],
    );
    check(&[(Gauge, 2.0), (Gauge, 1.0)], &[(2, Gauge)]);
    check(&[(Gauge, 2.0), (Unknown, 3.0)], &[(1, Gauge), (1, Unknown)]);
}

#[test]
fn stale_histograms_stand_apart() {
    let one = histogram(true, &[(1, 1.0)], &[]);
    let stale = Histogram {
        sum: stale_nan(),
        ..one.clone()
    };
    let samples = [one.clone(), stale.clone(), stale, one.clone(), one].map(value);
    let samples: Vec<_> = (0..).zip(samples).collect();
    let chunks = chunks(&samples);
    let lengths: Vec<usize> = kinds(&chunks).iter().map(|kind| kind.1).collect();
    assert_eq!(lengths, [1, 2, 2]);
    let read = read(&chunks);
    let is_stale: Vec<bool> = read.iter().map(|sample| sample.value.is_stale()).collect();
    assert_eq!(is_stale, [false, true, true, false, false]);
    assert_eq!(
        shown(&read[4]).split_once(' ').unwrap().1,
        shown(&read[0]).split_once(' ').unwrap().1
    );
}

#[test]
fn spans_stay_as_they_are_when_all_have_the_same() {
    // Two spans side by side, and an empty one: odd, and allowed.
    let spans = vec![
        Span {
            offset: 1,
            length: 1,
        },
        Span {
            offset: 0,
            length: 1,
        },
        Span {
            offset: 2,
            length: 0,
        },
    ];
    let mut one = histogram(true, &[(1, 1.0), (2, 1.0)], &[]);
    one.positive.spans = spans.clone();
    let chunks = chunks(&[(0, value(one.clone())), (1, value(one))]);
    for sample in read(&chunks) {
        let Value::Histogram(read) = sample.value else {
            panic!("a float")
        };
        assert_eq!(read.positive.spans, spans);
    }
}

#[test]
fn gauges_with_ever_other_buckets_do_not_make_one_huge_layout() {
    let samples: Vec<_> = (0..120)
        .map(|n: i32| {
            let buckets: Vec<(i32, f64)> = (0..200).map(|b| (n * 400 + 2 * b, 1.0)).collect();
            let one = Histogram {
                reset_hint: ResetHint::Gauge,
                ..histogram(true, &buckets, &[])
            };
            (i64::from(n), value(one))
        })
        .collect();
    let chunks = check(&samples);
    assert!(chunks.len() > 1, "{}", chunks.len());
    assert!(chunks.iter().all(|chunk| chunk.data.len() < 200_000));
}

#[test]
fn what_is_no_chunk_is_refused() {
    let chunk = |r#type: i32, data: &[u8]| Chunk {
        r#type,
        data: data.to_vec(),
        ..Chunk::default()
    };
    assert_eq!(decode(&chunk(1, &[0])), Err(ChunkError::Truncated));
    assert_eq!(decode(&chunk(1, &[0, 1, 5])), Err(ChunkError::Truncated));
    assert_eq!(
        decode(&chunk(0, &[0, 1, 5])),
        Err(ChunkError::Encoding { found: 0 })
    );
    assert_eq!(
        decode(&chunk(4, &[0, 1, 5])),
        Err(ChunkError::Encoding { found: 4 })
    );
    assert_eq!(decode(&chunk(1, &[0, 0])), Ok(Vec::new()));
    let good = chunks(&[(0, value(histogram(true, &[(1, 1.0)], &[])))]).remove(0);
    for length in 0..good.data.len() - 1 {
        let cut = chunk(2, &good.data[..length]);
        assert_eq!(decode(&cut), Err(ChunkError::Truncated), "{length}");
    }
}

fn any_value() -> impl Strategy<Value = Value> {
    let counts = proptest::collection::btree_map(-20..20_i32, 0..5_u32, 0..6);
    let hint = prop::sample::select(vec![
        ResetHint::Unknown,
        ResetHint::NotReset,
        ResetHint::Reset,
        ResetHint::Gauge,
    ]);
    let a_histogram = (
        any::<bool>(),
        counts.clone(),
        counts,
        hint,
        0..3_i32,
        any::<f64>(),
    )
        .prop_map(|(integer, positive, negative, reset_hint, schema, sum)| {
            let pairs = |all: std::collections::BTreeMap<i32, u32>| -> Vec<(i32, f64)> {
                all.into_iter()
                    .map(|(index, count)| (index, f64::from(count)))
                    .collect()
            };
            value(Histogram {
                reset_hint,
                schema,
                sum: if sum.is_nan() { 1.0 } else { sum },
                ..histogram(integer, &pairs(positive), &pairs(negative))
            })
        });
    prop_oneof![
        4 => any::<f64>().prop_map(Value::Float),
        4 => (0..3_u8).prop_map(|n| Value::Float(f64::from(n))),
        4 => a_histogram,
    ]
}

proptest! {
    #[test]
    fn there_and_back(values in proptest::collection::vec((1..100_000_i64, any_value()), 0..300)) {
        let mut at = -1000;
        let samples: Vec<_> = values
            .into_iter()
            .map(|(step, value)| {
                at += step;
                (at, value)
            })
            .collect();
        check(&samples);
    }

    #[test]
    fn any_bytes_are_a_chunk_or_none(kind in 0..5_i32, data in proptest::collection::vec(any::<u8>(), 0..100)) {
        let _ = decode(&Chunk { r#type: kind, data, ..Chunk::default() });
    }
}
