//! Native histograms: deltas of whole counts on the wire, absolute counts in the model.

use model::{Buckets, Histogram, HistogramError, ResetHint, SCHEMA_MAX, Span, Timestamp};

use super::proto::{self, histogram};

/// Finest exponential schema that senders may use; above [`SCHEMA_MAX`] buckets are joined until it fits.
const SCHEMA_SENT_MAX: i32 = 52;
/// Buckets one side of a sent histogram may have, before any are made.
const BUCKETS_SENT_MAX: u64 = 100_000;

/// A native histogram in the model's form, checked; exponential schemas from 9 to 52 are reduced to 8.
///
/// # Errors
/// A histogram that contradicts itself.
pub fn histogram_from_proto(sent: &proto::Histogram) -> Result<Histogram, HistogramError> {
    let integer = matches!(sent.count, Some(histogram::Count::Int(_)));
    let mut value = Histogram {
        schema: sent.schema,
        zero_threshold: sent.zero_threshold,
        zero_count: match sent.zero_count {
            Some(histogram::ZeroCount::Int(count)) => count as f64,
            Some(histogram::ZeroCount::Float(count)) => count,
            None => 0.0,
        },
        count: match sent.count {
            Some(histogram::Count::Int(count)) => count as f64,
            Some(histogram::Count::Float(count)) => count,
            None => 0.0,
        },
        sum: sent.sum,
        positive: buckets(
            integer,
            &sent.positive_spans,
            &sent.positive_deltas,
            &sent.positive_counts,
        ),
        negative: buckets(
            integer,
            &sent.negative_spans,
            &sent.negative_deltas,
            &sent.negative_counts,
        ),
        custom_values: sent.custom_values.clone(),
        reset_hint: match sent.reset_hint() {
            histogram::ResetHint::Unknown => ResetHint::Unknown,
            histogram::ResetHint::Yes => ResetHint::Reset,
            histogram::ResetHint::No => ResetHint::NotReset,
            histogram::ResetHint::Gauge => ResetHint::Gauge,
        },
        integer,
    };
    if (SCHEMA_MAX + 1..=SCHEMA_SENT_MAX).contains(&value.schema) {
        let by = (value.schema - SCHEMA_MAX).min(31);
        value.positive = reduce(&value.positive, by)?;
        value.negative = reduce(&value.negative, by)?;
        value.schema = SCHEMA_MAX;
    }
    value.validate()?;
    Ok(value)
}

fn buckets(integer: bool, spans: &[proto::BucketSpan], deltas: &[i64], counts: &[f64]) -> Buckets {
    let counts = if integer {
        let running = deltas.iter().scan(0_i64, |count, delta| {
            *count = count.wrapping_add(*delta);
            Some(*count as f64)
        });
        running.collect()
    } else {
        counts.to_vec()
    };
    Buckets {
        spans: spans
            .iter()
            .map(|s| Span {
                offset: s.offset,
                length: s.length,
            })
            .collect(),
        counts,
    }
}

/// Joins buckets until the schema is `by` lower, where they can be.
fn reduce(fine: &Buckets, by: i32) -> Result<Buckets, HistogramError> {
    let claimed: u64 = fine.spans.iter().map(|span| u64::from(span.length)).sum();
    if claimed != fine.counts.len() as u64 {
        return Err(HistogramError::SpansDisagree {
            side: "one",
            spans: claimed,
            counts: fine.counts.len(),
        });
    }
    if claimed > BUCKETS_SENT_MAX {
        return Err(HistogramError::TooManyBuckets {
            found: claimed,
            at_most: BUCKETS_SENT_MAX,
        });
    }
    if let Some((number, span)) = fine
        .spans
        .iter()
        .enumerate()
        .skip(1)
        .find(|(_, span)| span.offset < 0)
    {
        return Err(HistogramError::NegativeOffset {
            side: "one",
            number,
            offset: span.offset,
        });
    }
    Ok(fine.coarser(by as u32))
}

/// A native histogram as remote write's message.
pub fn histogram_to_proto(value: &Histogram, at: Timestamp) -> proto::Histogram {
    let spans = |buckets: &Buckets| {
        buckets
            .spans
            .iter()
            .map(|s| proto::BucketSpan {
                offset: s.offset,
                length: s.length,
            })
            .collect()
    };
    let deltas = |buckets: &Buckets| -> Vec<i64> {
        let mut before = 0_i64;
        let step = |count: &f64| {
            let count = *count as i64;
            let delta = count.wrapping_sub(before);
            before = count;
            delta
        };
        if value.integer {
            buckets.counts.iter().map(step).collect()
        } else {
            Vec::new()
        }
    };
    let counts = |buckets: &Buckets| {
        if value.integer {
            Vec::new()
        } else {
            buckets.counts.clone()
        }
    };
    let (count, zero_count) = if value.integer {
        (
            histogram::Count::Int(value.count as u64),
            histogram::ZeroCount::Int(value.zero_count as u64),
        )
    } else {
        (
            histogram::Count::Float(value.count),
            histogram::ZeroCount::Float(value.zero_count),
        )
    };
    proto::Histogram {
        count: Some(count),
        sum: value.sum,
        schema: value.schema,
        zero_threshold: value.zero_threshold,
        zero_count: Some(zero_count),
        negative_spans: spans(&value.negative),
        negative_deltas: deltas(&value.negative),
        negative_counts: counts(&value.negative),
        positive_spans: spans(&value.positive),
        positive_deltas: deltas(&value.positive),
        positive_counts: counts(&value.positive),
        reset_hint: match value.reset_hint {
            ResetHint::Unknown => histogram::ResetHint::Unknown,
            ResetHint::Reset => histogram::ResetHint::Yes,
            ResetHint::NotReset => histogram::ResetHint::No,
            ResetHint::Gauge => histogram::ResetHint::Gauge,
        } as i32,
        timestamp: at.millis(),
        custom_values: value.custom_values.clone(),
        start_timestamp: 0,
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A histogram with all its parts.
    pub(in super::super) fn histogram(integer: bool) -> Histogram {
        Histogram {
            schema: 3,
            zero_threshold: 1e-128,
            zero_count: 2.0,
            count: 12.0,
            sum: 18.4,
            positive: Buckets {
                spans: vec![
                    Span {
                        offset: -2,
                        length: 2,
                    },
                    Span {
                        offset: 1,
                        length: 1,
                    },
                ],
                counts: vec![1.0, 4.0, 2.0],
            },
            negative: Buckets {
                spans: vec![Span {
                    offset: 0,
                    length: 1,
                }],
                counts: vec![3.0],
            },
            integer,
            ..Histogram::default()
        }
    }

    #[test]
    fn histograms_both_ways() {
        for integer in [true, false] {
            let value = histogram(integer);
            let sent = histogram_to_proto(&value, Timestamp::from_millis(5));
            assert_eq!(
                sent.positive_deltas,
                if integer { vec![1, 3, -2] } else { vec![] }
            );
            assert_eq!(histogram_from_proto(&sent), Ok(value));
        }
        let mut sent = histogram_to_proto(&histogram(true), Timestamp::from_millis(5));
        sent.count = Some(histogram::Count::Int(13));
        assert!(matches!(
            histogram_from_proto(&sent),
            Err(HistogramError::CountMismatch { .. })
        ));
    }

    #[test]
    fn fine_schemas_are_reduced() {
        let fine = Histogram {
            schema: 9,
            count: 10.0,
            zero_count: 0.0,
            negative: Buckets::default(),
            positive: Buckets {
                // Buckets -1, 0, 1, 2, 3 of schema 9 are 0, 0, 1, 1, 2 of schema 8.
                spans: vec![Span {
                    offset: -1,
                    length: 5,
                }],
                counts: vec![1.0, 3.0, 2.0, 1.0, 3.0],
            },
            ..histogram(true)
        };
        let got =
            histogram_from_proto(&histogram_to_proto(&fine, Timestamp::from_millis(0))).unwrap();
        assert_eq!(
            (got.schema, &got.positive.counts[..]),
            (8, &[4.0, 3.0, 3.0][..])
        );
        assert_eq!(
            got.positive.spans,
            [Span {
                offset: 0,
                length: 3
            }]
        );
        let mut sent = histogram_to_proto(&fine, Timestamp::from_millis(0));
        sent.positive_spans[0].length = u32::MAX;
        assert!(histogram_from_proto(&sent).is_err());
        sent.schema = 53;
        assert!(histogram_from_proto(&sent).is_err());
    }
}
