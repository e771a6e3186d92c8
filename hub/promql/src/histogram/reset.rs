//! Whether a counter histogram has started anew.

use model::{Histogram, ResetHint};

use super::sum::Accumulator;
use super::{at_schema, bound, is_custom};

/// Whether some count of `current` is below that of `previous`, or its shape can only come from a new start. An
/// explicit hint of `current` decides.
pub(crate) fn detect_reset(current: &Histogram, previous: &Histogram) -> bool {
    match current.reset_hint {
        ResetHint::Reset => return true,
        ResetHint::NotReset => return false,
        ResetHint::Unknown | ResetHint::Gauge => {}
    }
    if current.count < previous.count {
        return true;
    }
    if is_custom(current) {
        if !is_custom(previous) {
            return true;
        }
        if current.custom_values != previous.custom_values {
            return reset_at_common_bounds(current, previous);
        }
    }
    if current.schema > previous.schema || current.zero_threshold < previous.zero_threshold {
        return true;
    }
    let zero = if current.zero_threshold == previous.zero_threshold {
        previous.zero_count
    } else {
        let (zero, reached) = Accumulator::new(previous).zero_up_to(current.zero_threshold);
        if reached != current.zero_threshold {
            // The wider zero bucket would cut a filled bucket.
            return true;
        }
        zero.value
    };
    if current.zero_count < zero {
        return true;
    }
    [
        (&current.positive, &previous.positive),
        (&current.negative, &previous.negative),
    ]
    .into_iter()
    .any(|(now, before)| {
        let inside_zero = |index: i32| {
            !is_custom(current)
                && current.zero_threshold > 0.0
                && bound(current.schema, index) <= current.zero_threshold
        };
        let mut now = now.iter().peekable();
        at_schema(before, previous.schema, current.schema)
            .into_iter()
            .skip_while(|(index, _)| inside_zero(*index))
            .any(|(index, count)| {
                while now.next_if(|(i, _)| *i < index).is_some() {}
                match now.peek() {
                    Some((i, found)) if *i == index => *found < count,
                    _ => count != 0.0,
                }
            })
    })
}

/// Custom bounds differ: counts are compared between the bounds that both have.
fn reset_at_common_bounds(current: &Histogram, previous: &Histogram) -> bool {
    let mut common: Vec<f64> = current
        .custom_values
        .iter()
        .copied()
        .filter(|bound| previous.custom_values.contains(bound))
        .collect();
    common.push(f64::INFINITY);
    let between = |histogram: &Histogram| {
        let mut counts = vec![0.0; common.len()];
        for (index, count) in histogram.positive.iter() {
            let upper = histogram.upper_bound(index);
            let at = common.partition_point(|bound| *bound < upper);
            if let Some(sum) = counts.get_mut(at) {
                *sum += count;
            }
        }
        counts
    };
    let (now, before) = (between(current), between(previous));
    now.iter().zip(&before).any(|(now, before)| now < before)
}
