//! What is done to a store, and how it is set up: strategies.

use std::time::Duration;

use model::{LabelSet, Sample};
use proptest::prelude::*;

use crate::{
    StoreOptions,
    rows::tests::value,
    tests::{at, labels, options},
};

/// Five partitions of a minute.
pub(super) const TIME_MS: i64 = 300_000;
pub(super) const SCOPES: [&str; 3] = ["", "b01", "b02"];
/// With whether the label `branch` says the scope: equal bytes of two scopes are then two series, otherwise one.
const SERIES: [(&str, bool); 5] = [
    ("up,job=a", true),
    ("up,job=b", true),
    ("up", false),
    ("down,job=a,x=1", true),
    ("down,job=b,x=2", false),
];

pub(super) fn labels_of(series: usize, scope: &str) -> LabelSet {
    let text = match SERIES[series] {
        (text, true) if !scope.is_empty() => format!("{text},branch={scope}"),
        (text, _) => text.to_owned(),
    };
    labels(&text).unwrap_or_default()
}

/// Samples of one series, whose labels are spelled in one of several ways.
#[derive(Debug, Clone)]
pub(super) struct Line {
    pub(super) series: usize,
    pub(super) spelling: u8,
    pub(super) samples: Vec<Sample>,
}

#[derive(Debug, Clone)]
pub(super) enum Op {
    Append(&'static str, Vec<Line>),
    /// Of series with this label, or of all; from, to.
    Delete(Option<(&'static str, &'static str)>, i64, i64),
    Clean,
    Sync,
    Seal,
    /// So much later than the last time.
    Maintain(i64),
    Check(i64, i64),
    /// The process ends, the disk goes on.
    Restart,
    Crash,
    /// And again, after so many changes, while what the first left is repaired.
    CrashTwice(u64),
    CrashAfter(u64),
    /// After so many that work.
    FailSync(u64),
    Capacity(Option<u64>),
}

#[derive(Debug, Clone)]
pub(super) struct Setup {
    pub(super) disk: u64,
    merge_width: usize,
    rows_max: usize,
    segment_bytes: u64,
    block_cache: bool,
    series_max: usize,
    future_max_ms: u64,
    pub(super) age_ms: Option<u64>,
    pub(super) bytes_max: Option<u64>,
}

impl Setup {
    pub(super) fn options(&self) -> StoreOptions {
        let mut options = options();
        options.seal.merge_width = self.merge_width;
        options.seal.rows_max = self.rows_max;
        options.wal.segment_bytes_max = self.segment_bytes;
        if !self.block_cache {
            options.block_cache_bytes_max = 0;
        }
        options.limits.series_per_scope_max = self.series_max;
        options.limits.future_max = Duration::from_millis(self.future_max_ms);
        options.retention.age = self.age_ms.map(Duration::from_millis);
        options.retention.bytes_max = self.bytes_max;
        options
    }
}

pub(super) fn setup() -> impl Strategy<Value = Setup> {
    let kept = prop_oneof![
        3 => Just((None, None)),
        1 => (60_000..300_000_u64).prop_map(|age| (Some(age), None)),
        1 => (500..6_000_u64).prop_map(|bytes| (None, Some(bytes))),
        1 => (60_000..300_000_u64, 500..6_000_u64).prop_map(|(age, bytes)| (Some(age), Some(bytes))),
    ];
    (
        any::<u64>(),
        2..4_usize,
        5..40_usize,
        300..2000_u64,
        any::<bool>(),
        prop_oneof![1 => 1..5_usize, 2 => Just(1000)],
        prop_oneof![1 => Just(100_000), 3 => Just(86_400_000)],
        kept,
    )
        .prop_map(
            |(
                disk,
                merge_width,
                rows_max,
                segment_bytes,
                block_cache,
                series_max,
                future_max_ms,
                (age_ms, bytes_max),
            )| Setup {
                disk,
                merge_width,
                rows_max,
                segment_bytes,
                block_cache,
                series_max,
                future_max_ms,
                age_ms,
                bytes_max,
            },
        )
}

fn sample() -> impl Strategy<Value = Sample> {
    let start = prop_oneof![5 => Just(None), 1 => (0..TIME_MS).prop_map(|t| Some(at(t)))];
    // Few distinct times, so that writes meet.
    let time = prop_oneof![3 => (0..30_i64).prop_map(|t| t * 10_000), 1 => 0..TIME_MS];
    (time, start, value()).prop_map(|(time, start, value)| Sample {
        at: at(time),
        start,
        value,
    })
}

fn append() -> impl Strategy<Value = Op> {
    let line = (
        0..SERIES.len(),
        0..3_u8,
        prop::collection::vec(sample(), 0..8),
    )
        .prop_map(|(series, spelling, samples)| Line {
            series,
            spelling,
            samples,
        });
    (
        prop::sample::select(&SCOPES[..]),
        prop::collection::vec(line, 1..4),
    )
        .prop_map(|(scope, lines)| Op::Append(scope, lines))
}

/// What a healthy machine does.
fn calm() -> impl Strategy<Value = Op> {
    let label = prop_oneof![
        Just(("job", "a")),
        Just(("job", "")),
        Just(("branch", "b01")),
        Just(("branch", "")),
    ];
    prop_oneof![
        16 => append(),
        2 => (prop::option::of(label), 0..TIME_MS, 0..TIME_MS)
            .prop_map(|(label, from, to)| Op::Delete(label, from.min(to), from.max(to))),
        1 => Just(Op::Clean),
        3 => Just(Op::Sync),
        3 => Just(Op::Seal),
        3 => (0..20_000_i64).prop_map(Op::Maintain),
        3 => (0..TIME_MS, 0..TIME_MS).prop_map(|(from, to)| Op::Check(from, to)),
        1 => Just(Op::Restart),
    ]
}

fn fault() -> impl Strategy<Value = Op> {
    prop_oneof![
        2 => Just(Op::Crash),
        2 => (1..20_u64).prop_map(Op::CrashTwice),
        3 => (1..40_u64).prop_map(Op::CrashAfter),
        1 => (0..8_u64).prop_map(Op::FailSync),
        1 => prop::option::of(0..2000_u64).prop_map(Op::Capacity),
    ]
}

pub(super) fn calm_ops(most: usize) -> impl Strategy<Value = Vec<Op>> {
    prop::collection::vec(calm(), 1..most)
}

pub(super) fn ops(most: usize) -> impl Strategy<Value = Vec<Op>> {
    prop::collection::vec(prop_oneof![4 => calm(), 1 => fault()], 1..most)
}

/// Nothing is refused, nothing expires.
pub(super) fn plain(disk: u64) -> Setup {
    Setup {
        disk,
        merge_width: 2,
        rows_max: 25,
        segment_bytes: 600,
        block_cache: true,
        series_max: 1000,
        future_max_ms: 86_400_000,
        age_ms: None,
        bytes_max: None,
    }
}
