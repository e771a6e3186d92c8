//! Whether an answer is what a case expects.

use std::collections::HashMap;
use std::time::Duration;

use model::{BucketBound, Histogram, LabelSet, Timestamp, Value};

use super::answer::{AnswerSeries, AnswerValue, Found, FoundHistogram};
use super::command::step_time;
use super::expect::{Expectation, Expected, ExpectedSeries, Text};
use crate::histogram::classic::almost_equal;
use crate::histogram::compact;
use crate::parser::SeriesValue;
use crate::text::format_histogram;

/// Relative difference that rounding may cause.
const EPSILON: f64 = 1e-6;

/// What differs, in words.
pub(super) type Check = Result<(), String>;

/// Warnings and infos.
pub(super) fn annotations(expected: &Expected, warnings: &[String], infos: &[String]) -> Check {
    of_kind("warning", &expected.warnings, warnings)?;
    of_kind("info", &expected.infos, infos)?;
    for (kind, some, none, found) in [
        (
            "warning",
            expected.some_warning,
            expected.no_warnings,
            warnings,
        ),
        ("info", expected.some_info, expected.no_infos, infos),
    ] {
        if some && found.is_empty() {
            return Err(format!("expected some {kind}, got none"));
        }
        if none && !found.is_empty() {
            return Err(format!("expected no {kind}, got {found:?}"));
        }
    }
    Ok(())
}

fn of_kind(kind: &str, expected: &[Text], found: &[String]) -> Check {
    if expected.is_empty() {
        return Ok(());
    }
    for text in expected {
        if !found.iter().any(|found| text.fits(found)) {
            return Err(format!("expected {kind} {text:?}, got {found:?}"));
        }
    }
    for found in found {
        if !expected.iter().any(|text| text.fits(found)) {
            return Err(format!("unexpected {kind} {found:?}"));
        }
    }
    Ok(())
}

/// The values. `steps`: first time, last time and step of a range vector's values.
pub(super) fn values(
    expected: &Expected,
    found: &AnswerValue,
    steps: Option<(Timestamp, Timestamp, Duration)>,
) -> Check {
    match (&expected.values, found) {
        (Expectation::Scalar(number), AnswerValue::Scalar(found)) => {
            if almost_equal(*number, *found, EPSILON) {
                Ok(())
            } else {
                Err(format!("expected scalar {number}, got {found}"))
            }
        }
        (Expectation::String(text), AnswerValue::String(found)) => {
            if text == found {
                Ok(())
            } else {
                Err(format!("expected string {text:?}, got {found:?}"))
            }
        }
        (Expectation::Series(rows), AnswerValue::Vector(found)) => {
            vector(rows, found, expected.ordered)
        }
        (Expectation::Series(rows), AnswerValue::Matrix(found)) => match steps {
            Some(steps) => matrix(rows, found, steps),
            None => Err("unexpected range vector".to_owned()),
        },
        (expected, found) => Err(format!("expected {expected:?}, got {found:?}")),
    }
}

pub(super) fn vector(rows: &[ExpectedSeries], found: &[(LabelSet, Found)], ordered: bool) -> Check {
    let places: HashMap<&LabelSet, usize> = rows
        .iter()
        .enumerate()
        .map(|(at, row)| (&row.labels, at))
        .collect();
    let mut seen = vec![false; rows.len()];
    for (at, (labels, found)) in found.iter().enumerate() {
        let Some(place) = places.get(labels) else {
            return Err(format!(
                "unexpected series {labels} with {}",
                show_found(found)
            ));
        };
        if ordered && *place != at {
            return Err(format!(
                "expected {labels} at place {place}, got it at {at}"
            ));
        }
        let row = &rows[*place];
        let Some(expected) = row.values.first() else {
            return Err(format!("expected no value for {}", row.labels));
        };
        value(expected, found).map_err(|e| format!("{labels}: {e}"))?;
        seen[*place] = true;
    }
    all_seen(rows, &seen)
}

fn all_seen(rows: &[ExpectedSeries], seen: &[bool]) -> Check {
    match rows.iter().zip(seen).find(|(_, seen)| !**seen) {
        Some((row, _)) => Err(format!("expected series {} is not there", row.labels)),
        None => Ok(()),
    }
}

fn matrix(
    rows: &[ExpectedSeries],
    found: &[AnswerSeries],
    (start, end, step): (Timestamp, Timestamp, Duration),
) -> Check {
    if !found.is_sorted_by(|a, b| a.labels < b.labels) {
        return Err("series are not in the order of their labels".to_owned());
    }
    let places: HashMap<&LabelSet, usize> = rows
        .iter()
        .enumerate()
        .map(|(at, row)| (&row.labels, at))
        .collect();
    let mut seen = vec![false; rows.len()];
    for series in found {
        let labels = &series.labels;
        let Some(place) = places.get(labels) else {
            return Err(format!(
                "unexpected series {labels} with {}",
                show_series(series)
            ));
        };
        seen[*place] = true;
        let mut floats = series.floats.iter();
        let mut histograms = series.histograms.iter();
        for (at, expected) in rows[*place].values.iter().enumerate() {
            let time = start.saturating_add(Duration::from_millis(
                step_time(step, at).millis().unsigned_abs(),
            ));
            if time > end {
                return Err(format!(
                    "{labels}: more values expected than there are steps"
                ));
            }
            let found = match &expected.value {
                None => continue,
                Some(Value::Float(_)) => floats.next().map(|(t, v)| (*t, Found::Float(*v))),
                Some(Value::Histogram(_)) => histograms
                    .next()
                    .map(|(t, h)| (*t, Found::Histogram(h.clone()))),
            };
            let wrong =
                |e: String| format!("{labels} at {time}: {e}, whole: {}", show_series(series));
            match found {
                Some((found_time, found)) if found_time == time => {
                    value(expected, &found).map_err(wrong)?;
                }
                Some((found_time, _)) => {
                    return Err(wrong(format!("next value is at {found_time}")));
                }
                None => return Err(wrong("no value".to_owned())),
            }
        }
        if floats.next().is_some() || histograms.next().is_some() {
            return Err(format!(
                "{labels}: more values than expected: {}",
                show_series(series)
            ));
        }
    }
    all_seen(rows, &seen)
}

fn value(expected: &SeriesValue, found: &Found) -> Check {
    let Some(wanted) = &expected.value else {
        return Err(format!("expected nothing, got {}", show_found(found)));
    };
    let same = match (wanted, found) {
        (Value::Float(a), Found::Float(b)) => almost_equal(*a, *b, EPSILON),
        (Value::Histogram(a), Found::Histogram(FoundHistogram::Whole(b))) => {
            same_histogram(a, b, expected.hint_set)
        }
        (
            Value::Histogram(a),
            Found::Histogram(FoundHistogram::Shown {
                count,
                sum,
                buckets,
            }),
        ) => {
            let near = |a: f64, b: f64| almost_equal(a, b, EPSILON);
            near(a.count, *count) && near(a.sum, *sum) && same_buckets(a, buckets)
        }
        _ => false,
    };
    if same {
        Ok(())
    } else {
        Err(format!(
            "expected {}, got {}",
            show(wanted),
            show_found(found)
        ))
    }
}

fn same_histogram(a: &Histogram, b: &Histogram, with_hint: bool) -> bool {
    let (a, b) = (compact(a.clone()), compact(b.clone()));
    let near = |a: f64, b: f64| almost_equal(a, b, EPSILON);
    let side = |a: &model::Buckets, b: &model::Buckets| {
        a.iter().count() == b.iter().count()
            && a.iter()
                .zip(b.iter())
                .all(|((i, c), (j, d))| i == j && near(c, d))
    };
    a.schema == b.schema
        && near(a.count, b.count)
        && near(a.sum, b.sum)
        && a.custom_values == b.custom_values
        && a.zero_threshold == b.zero_threshold
        && near(a.zero_count, b.zero_count)
        && side(&a.negative, &b.negative)
        && side(&a.positive, &b.positive)
        && (!with_hint || a.reset_hint == b.reset_hint)
}

/// Whether a histogram would be shown with these buckets. Empty ones are left out, also by whoever expects them.
fn same_buckets(a: &Histogram, shown: &[BucketBound]) -> bool {
    let near = |a: f64, b: f64| almost_equal(a, b, EPSILON);
    let expected = a.all_buckets();
    let expected: Vec<&BucketBound> = expected.iter().filter(|b| b.count != 0.0).collect();
    let shown: Vec<&BucketBound> = shown.iter().filter(|b| b.count != 0.0).collect();
    expected.len() == shown.len()
        && expected.iter().zip(shown).all(|(a, b)| {
            (a.lower_inclusive, a.upper_inclusive) == (b.lower_inclusive, b.upper_inclusive)
                && near(a.lower, b.lower)
                && near(a.upper, b.upper)
                && near(a.count, b.count)
        })
}

fn show_found(found: &Found) -> String {
    match found {
        Found::Float(value) => value.to_string(),
        Found::Histogram(FoundHistogram::Whole(histogram)) => {
            show(&Value::Histogram(histogram.clone()))
        }
        Found::Histogram(FoundHistogram::Shown {
            count,
            sum,
            buckets,
        }) => format!("count {count} sum {sum} buckets {buckets:?}"),
    }
}

fn show(value: &Value) -> String {
    match value {
        Value::Float(value) => value.to_string(),
        Value::Histogram(h) => {
            let shown = format_histogram(h);
            format!(
                "{shown} schema {} zero {} custom {:?} hint {:?}",
                h.schema, h.zero_threshold, h.custom_values, h.reset_hint
            )
        }
    }
}

fn show_series(series: &AnswerSeries) -> String {
    let floats = series.floats.iter().map(|(t, v)| format!("{v}@{t}"));
    let histograms = series
        .histograms
        .iter()
        .map(|(t, h)| format!("{}@{t}", show_found(&Found::Histogram(h.clone()))));
    floats.chain(histograms).collect::<Vec<_>>().join(" ")
}
