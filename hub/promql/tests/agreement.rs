//! Random expressions over random samples: every query ends in an answer, a range query says at each step what an
//! instant query says there, and the answer does not depend on whether it is asked twice.

use std::collections::BTreeMap;
use std::time::Duration;

use model::{Buckets, Histogram, LabelSet, ResetHint, Sample, Timestamp, Value, stale_nan};
use promql::script::{Load, LoadedSeries, MemoryTarget, Target, engine_options};
use promql::{
    Engine, EngineOptions, ParseOptions, QueryError, QueryOptions, QueryResult, ResultValue, parse,
};
use proptest::prelude::*;

fn histograms() -> impl Strategy<Value = Histogram> {
    let count = prop::sample::select(vec![0.0, 1.0, 2.5, 1e308, f64::NAN, -1.0]);
    let counts = prop::collection::vec(count, 0..4);
    let hint = prop::sample::select(vec![ResetHint::Unknown, ResetHint::Reset, ResetHint::Gauge]);
    let schema = prop::sample::select(vec![-4, 0, 1, 8, model::CUSTOM_BUCKETS_SCHEMA]);
    (schema, counts.clone(), counts, -3_i32..3, hint).prop_map(
        |(schema, positive, negative, offset, reset_hint)| {
            let custom = schema == model::CUSTOM_BUCKETS_SCHEMA;
            let side = |counts: Vec<f64>, from: i32| Buckets::from_indexed((from..).zip(counts));
            let bounds = [0.5, 1.0, 2.0 + f64::from(offset.abs()), 9.0];
            Histogram {
                schema,
                count: positive.iter().sum::<f64>() + 1.0,
                sum: positive.first().copied().unwrap_or(3.0),
                zero_count: if custom { 0.0 } else { 1.0 },
                zero_threshold: if custom {
                    0.0
                } else {
                    f64::from(offset.abs()) / 4.0
                },
                positive: side(positive, if custom { 0 } else { offset }),
                negative: if custom {
                    Buckets::default()
                } else {
                    side(negative, offset)
                },
                custom_values: if custom { bounds.to_vec() } else { Vec::new() },
                reset_hint,
                integer: false,
            }
        },
    )
}

fn values() -> impl Strategy<Value = Option<Value>> {
    let float = prop::sample::select(vec![
        0.0,
        -0.0,
        1.0,
        2.0,
        10.0,
        -3.5,
        1e308,
        f64::NAN,
        f64::INFINITY,
        f64::NEG_INFINITY,
    ]);
    prop_oneof![
        3 => Just(None),
        8 => float.prop_map(|value| Some(Value::Float(value))),
        8 => (0_u32..100).prop_map(|value| Some(Value::Float(f64::from(value)))),
        1 => Just(Some(Value::Float(stale_nan()))),
        2 => histograms().prop_map(|histogram| Some(Value::Histogram(histogram.into()))),
    ]
}

/// Series with samples every 30 seconds, ten minutes long.
fn loads() -> impl Strategy<Value = Load> {
    let name = prop::sample::select(vec!["a_total", "b", "h_bucket", "target_info"]);
    let host = prop::sample::select(vec!["x", "y"]);
    let le = prop::sample::select(vec!["", "0.5", "1", "+Inf", "odd"]);
    let series = (name, host, le, prop::collection::vec(values(), 20));
    prop::collection::vec(series, 1..7).prop_map(|all| {
        let mut load = Load {
            line: 1,
            series: Vec::new(),
        };
        for (name, host, le, values) in all {
            let pairs = [("__name__", name), ("host", host), ("job", "j"), ("le", le)];
            let labels = LabelSet::from_pairs(pairs).unwrap();
            let sample = |(step, value): (i64, Option<Value>)| {
                let at = Timestamp::from_millis(step * 30_000);
                let start =
                    (step % 3 == 0).then_some(Timestamp::from_millis(step * 30_000 - 45_000));
                Some(Sample {
                    at,
                    start,
                    value: value?,
                })
            };
            let samples = (0..).zip(values).filter_map(sample).collect();
            load.series.push(LoadedSeries { labels, samples });
        }
        load
    })
}

fn expressions() -> impl Strategy<Value = String> {
    let scalar = prop::sample::select(vec![
        "0",
        "1",
        "-2",
        "0.5",
        "NaN",
        "time()",
        "scalar(b)",
        "Inf",
    ]);
    let selector = prop::sample::select(vec![
        "a_total",
        "b",
        "h_bucket",
        "{job=\"j\"}",
        "b offset 1m",
        "b @ 120",
        "a_total offset -30s",
        "{host=~\"x|y\",le=\"\"}",
        "b smoothed",
        "vector(1)",
        "absent(b)",
        "timestamp(b)",
    ]);
    let range = prop::sample::select(vec![
        "[1m]",
        "[5m]",
        "[2m] offset 30s",
        "[90s] @ 300",
        "[3m:45s]",
        "[1ms]",
    ]);
    let over = prop::sample::select(vec![
        "rate",
        "increase",
        "delta",
        "irate",
        "idelta",
        "resets",
        "changes",
        "sum_over_time",
        "avg_over_time",
        "min_over_time",
        "max_over_time",
        "count_over_time",
        "last_over_time",
        "first_over_time",
        "stddev_over_time",
        "stdvar_over_time",
        "present_over_time",
        "absent_over_time",
        "mad_over_time",
        "deriv",
        "ts_of_max_over_time",
        "ts_of_last_over_time",
    ]);
    let ranged =
        (over, selector.clone(), range).prop_filter_map("a range of a selector", |(f, s, r)| {
            let plain = !s.contains(['(', '@']) && !s.contains("offset") && !s.contains("smoothed");
            plain.then(|| format!("{f}({s}{r})"))
        });
    let extended = prop::sample::select(vec![
        "rate(a_total[2m] anchored)",
        "increase(b[2m] smoothed)",
        "delta(h_bucket[1m] smoothed)",
        "changes(b[2m] anchored)",
        "resets(a_total[2m] anchored)",
    ]);
    let leaf = prop_oneof![
        2 => selector.prop_map(str::to_owned),
        3 => ranged,
        1 => extended.prop_map(str::to_owned),
    ];
    leaf.prop_recursive(3, 12, 2, move |inner| {
        let op = prop::sample::select(vec![
            "+", "-", "*", "/", "%", "^", "atan2", "==", "!= bool", ">", "<= bool", "and", "or", "unless",
            "+ on (host) group_left ()", "* ignoring (le) group_right (le)", "- on (job)", "</", ">/",
            "+ on (host, le, __name__) fill (0)",
        ]);
        let function = prop::sample::select(vec![
            "abs", "sgn", "histogram_count", "histogram_avg", "histogram_stddev", "exp", "ln", "hour",
            "days_in_month", "timestamp", "sort", "acosh", "info",
        ]);
        let aggregation = prop::sample::select(vec![
            "sum", "avg", "min by (host)", "max without (le)", "count by (le)", "stddev", "group by (host)",
            "topk by (host)#2, ", "bottomk#1, ", "quantile#0.5, ", "limitk#1, ", "limit_ratio#0.5, ",
            "count_values#\"v\", ", "sum by (__name__)",
        ]);
        prop_oneof![
            3 => (inner.clone(), op.clone(), inner.clone()).prop_map(|(l, op, r)| format!("({l}) {op} ({r})")),
            2 => (inner.clone(), scalar.clone()).prop_map(|(l, r)| format!("({l}) * {r}")),
            1 => (inner.clone(), scalar.clone()).prop_map(|(l, r)| format!("{r} > ({l})")),
            2 => (function, inner.clone()).prop_map(|(f, e)| format!("{f}({e})")),
            3 => (aggregation, inner.clone()).prop_map(|(a, e)| match a.split_once('#') {
                Some((head, param)) => format!("{head}({param}{e})"),
                None => format!("{a}({e})"),
            }),
            1 => inner.clone().prop_map(|e| format!("-({e})")),
            1 => (inner.clone(), scalar.clone()).prop_map(|(e, q)| format!("histogram_quantile({q}, {e})")),
            1 => inner.clone().prop_map(|e| format!("histogram_fraction(0, 1, {e})")),
            1 => inner.clone().prop_map(|e| format!("max_over_time(({e})[2m:30s])")),
            1 => inner.clone().prop_map(|e| format!("label_replace({e}, \"le\", \"$1\", \"host\", \"(.*)\")")),
            1 => inner.prop_map(|e| format!("clamp({e}, -1, 5)")),
        ]
    })
}

/// Values by series, in a form that compares NaN as equal to itself.
fn by_series(result: &QueryResult, at: Timestamp) -> BTreeMap<String, String> {
    match &result.value {
        ResultValue::Vector(samples) => samples
            .iter()
            .map(|sample| (sample.labels.to_string(), format!("{:?}", sample.value)))
            .collect(),
        ResultValue::Matrix(all) => {
            let mut found = BTreeMap::new();
            for series in all {
                let labels = series.labels.to_string();
                for (_, value) in series.floats.iter().filter(|(t, _)| *t == at) {
                    found.insert(labels.clone(), format!("{:?}", Value::Float(*value)));
                }
                for (_, value) in series.histograms.iter().filter(|(t, _)| *t == at) {
                    found.insert(
                        labels.clone(),
                        format!("{:?}", Value::Histogram(value.clone())),
                    );
                }
            }
            found
        }
        other => panic!("neither vector nor matrix: {other:?}"),
    }
}

fn check(load: &Load, text: &str, delayed: bool) -> Result<(), TestCaseError> {
    let mut target = MemoryTarget::default();
    target.load(load).unwrap();
    let engine = Engine::new(EngineOptions {
        delayed_name_removal: delayed,
        ..engine_options()
    });
    let Ok(expr) = parse(text, &ParseOptions::all()) else {
        return Ok(());
    };
    let options = QueryOptions::default();
    let minute = Duration::from_secs(60);
    let (start, end) = (
        Timestamp::from_millis(60_000),
        Timestamp::from_millis(480_000),
    );
    let range = || engine.range(target.storage(), &expr, start, end, minute, &options);
    let ranged: Result<QueryResult, QueryError> = range();
    if let (Ok(first), Ok(second)) = (&ranged, &range()) {
        prop_assert_eq!(
            format!("{:?}", first.value),
            format!("{:?}", second.value),
            "{}",
            text
        );
    }
    for step in 0..8 {
        let at = Timestamp::from_millis(60_000 * (step + 1));
        let instant = engine.instant(target.storage(), &expr, at, &options);
        if let (Ok(instant), Ok(ranged)) = (&instant, &ranged) {
            let both = (by_series(instant, at), by_series(ranged, at));
            prop_assert_eq!(&both.0, &both.1, "{} at {}", text, at);
        }
        if instant.is_err() && !delayed {
            prop_assert!(ranged.is_err(), "{} at {}: {:?}", text, at, instant);
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(300) })]

    #[test]
    fn range_and_instant_agree(load in loads(), text in expressions()) {
        check(&load, &text, true)?;
        check(&load, &text, false)?;
    }
}
