//! What is known of each histogram of a series about the one before it.

use std::sync::Arc;

use model::{Histogram, ResetHint, Value, is_stale};

use super::reset::detect_reset;

/// Finds out for each histogram of a series, in the order of time, whether the counts were reset before it, and notes in its
/// hint where they were not, as Prometheus's chunks do: then nobody has to compare again, and operations can tell when they mix
/// histograms from before and after a reset. The first of a run says nothing; gauges, and resets that the source has told,
/// stay what they are. A source's word that there was no reset is compared again, because samples that it meant may be missing.
pub fn note_resets<'a>(values: impl IntoIterator<Item = &'a mut Value>) {
    let mut before: Option<Arc<Histogram>> = None;
    for value in values {
        let Value::Histogram(histogram) = value else {
            before = None;
            continue;
        };
        if is_stale(histogram.sum) || histogram.reset_hint == ResetHint::Gauge {
            before = None;
            continue;
        }
        if histogram.reset_hint != ResetHint::Reset {
            let runs_on = before.is_some_and(|before| runs_on(&before, histogram));
            let hint = match runs_on {
                true => ResetHint::NotReset,
                false => ResetHint::Unknown,
            };
            if histogram.reset_hint != hint {
                Arc::make_mut(histogram).reset_hint = hint;
            }
        }
        before = Some(histogram.clone());
    }
}

/// Whether `current` counts on where `before` was, in the same layout.
fn runs_on(before: &Histogram, current: &Histogram) -> bool {
    let alike = before.schema == current.schema
        && before.zero_threshold == current.zero_threshold
        && before.custom_values == current.custom_values;
    if !alike {
        return false;
    }
    match current.reset_hint {
        ResetHint::Unknown => !detect_reset(current, before),
        _ => {
            let unmarked = Histogram {
                reset_hint: ResetHint::Unknown,
                ..current.clone()
            };
            !detect_reset(&unmarked, before)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::Buckets;

    #[test]
    fn resets_are_found_and_told() {
        use ResetHint::{Gauge, NotReset, Reset, Unknown};
        let value = |hint: ResetHint, count: f64| {
            Value::Histogram(Arc::new(Histogram {
                count,
                reset_hint: hint,
                positive: Buckets::from_indexed([(0, count)]),
                ..Histogram::default()
            }))
        };
        let check = |sent: &[(ResetHint, f64)], expected: &[ResetHint]| {
            let mut values: Vec<Value> = sent.iter().map(|(h, n)| value(*h, *n)).collect();
            note_resets(&mut values);
            let found: Vec<ResetHint> = values
                .iter()
                .map(|value| match value {
                    Value::Histogram(histogram) => histogram.reset_hint,
                    Value::Float(_) => Unknown,
                })
                .collect();
            assert_eq!(found, expected, "{sent:?}");
        };
        check(
            &[(Unknown, 1.0), (Unknown, 2.0), (Unknown, 2.0)],
            &[Unknown, NotReset, NotReset],
        );
        check(
            &[(Unknown, 2.0), (Unknown, 1.0), (Unknown, 1.0)],
            &[Unknown, Unknown, NotReset],
        );
        // The sample that this one followed is not there.
        check(&[(NotReset, 2.0), (NotReset, 1.0)], &[Unknown, Unknown]);
        check(
            &[(Unknown, 1.0), (Reset, 2.0), (Unknown, 3.0)],
            &[Unknown, Reset, NotReset],
        );
        check(
            &[(Gauge, 1.0), (Gauge, 2.0), (Unknown, 3.0)],
            &[Gauge, Gauge, Unknown],
        );
    }
}
