//! One chunk: a run of samples of one series as bytes, in the order of arrival (drawn in `FORMAT.md`). Used by the
//! write-ahead log, where speed counts; parts use [`columns`](crate::columns), and from here only the bytes of histograms.
//!
//! Floats are a constant, or each xor the value before.

use std::sync::Arc;

use model::{Buckets, Histogram, ResetHint, Span, Value};

use crate::{
    codec::{Decoded, Input, Malformed, put_varint, put_zigzag},
    columns::floats,
    rows::Rows,
    types::{Column, NO_START},
};

/// Rows of one chunk at most: bounds what a reader must hold to look at one sample.
pub(crate) const CHUNK_ROWS_MAX: usize = 4096;

/// Numbers in the histograms of one chunk at most (one more histogram than that): the same bound for wide histograms.
const CHUNK_NUMBERS_MAX: usize = 1 << 20;

/// Where the chunk that starts with row `from` ends (exclusive).
pub(crate) fn end(rows: &Rows, from: usize) -> usize {
    let to = rows.len().min(from + CHUNK_ROWS_MAX);
    let Column::Mixed(values) = &rows.values else {
        return to;
    };
    let mut numbers = 0;
    for (index, value) in values.iter().enumerate().take(to).skip(from) {
        if numbers > CHUNK_NUMBERS_MAX {
            return index;
        }
        if let Value::Histogram(histogram) = value {
            let (positive, negative) = (&histogram.positive, &histogram.negative);
            numbers +=
                positive.counts.len() + negative.counts.len() + histogram.custom_values.len();
            numbers += (positive.spans.len() + negative.spans.len()) * 2;
        }
    }
    to
}

const XOR: u8 = 0;
const MIXED: u8 = 2;
const CONSTANT: u8 = 3;
const FORM_MASK: u8 = 3;
const HAS_STARTS: u8 = 4;

/// Appends rows `from..to`, where `to` is at most [`end`].
pub(crate) fn encode(out: &mut Vec<u8>, rows: &Rows, from: usize, to: usize) {
    let flags_at = out.len();
    out.push(0);
    put_varint(out, (to - from) as u64);
    put_times(out, &rows.times[from..to]);
    let form = match &rows.values {
        Column::Floats(values) => put_floats(out, &values[from..to]),
        Column::Mixed(values) => {
            put_mixed(out, &values[from..to]);
            MIXED
        }
    };
    out[flags_at] = form;
    if !rows.starts.is_empty() {
        out[flags_at] |= HAS_STARTS;
        for index in from..to {
            let start = rows.starts[index];
            out.push(u8::from(start != NO_START));
            if start != NO_START {
                put_zigzag(out, rows.times[index].wrapping_sub(start));
            }
        }
    }
}

/// Reads one chunk, to the rows' end.
pub(crate) fn decode(input: &mut Input<'_>) -> Decoded<Rows> {
    let flags = input.u8()?;
    if flags & !(FORM_MASK | HAS_STARTS) != 0 {
        return Err(Malformed("known chunk flags"));
    }
    let count = input.varint()? as usize;
    if count > CHUNK_ROWS_MAX {
        return Err(Malformed("a chunk of at most 4,096 rows"));
    }
    let times = take_times(input, count)?;
    let values = match flags & FORM_MASK {
        XOR => {
            let mut values = Vec::with_capacity(count);
            floats::take_xor(input, count, &mut values)?;
            Column::Floats(values)
        }
        CONSTANT => Column::Floats(vec![input.f64()?; count]),
        MIXED => {
            let values: Decoded<Vec<Value>> = (0..count).map(|_| take_mixed(input)).collect();
            Column::Mixed(values?)
        }
        _ => return Err(Malformed("a known form of values")),
    };
    let mut starts = Vec::new();
    if flags & HAS_STARTS != 0 {
        for at in &times {
            starts.push(if input.u8()? != 0 {
                at.wrapping_sub(input.zigzag()?)
            } else {
                NO_START
            });
        }
    }
    Ok(Rows::from_columns(times, values, starts))
}

fn put_times(out: &mut Vec<u8>, times: &[i64]) {
    let (mut previous, mut delta) = (0_i64, 0_i64);
    for (index, &at) in times.iter().enumerate() {
        let step = at.wrapping_sub(previous);
        put_zigzag(out, step.wrapping_sub(delta));
        // The first step is the time itself: no pattern for the second.
        delta = if index == 0 { 0 } else { step };
        previous = at;
    }
}

fn take_times(input: &mut Input<'_>, count: usize) -> Decoded<Vec<i64>> {
    let mut times = Vec::with_capacity(count);
    let (mut previous, mut delta) = (0_i64, 0_i64);
    for index in 0..count {
        let step = input.zigzag()?.wrapping_add(delta);
        previous = previous.wrapping_add(step);
        delta = if index == 0 { 0 } else { step };
        times.push(previous);
    }
    Ok(times)
}

fn put_floats(out: &mut Vec<u8>, values: &[f64]) -> u8 {
    if let [first, rest @ ..] = values
        && rest.iter().all(|value| value.to_bits() == first.to_bits())
    {
        out.extend_from_slice(&first.to_bits().to_le_bytes());
        return CONSTANT;
    }
    floats::put_xor(out, values);
    XOR
}

/// Appends each value for itself.
pub(crate) fn put_mixed(out: &mut Vec<u8>, values: &[Value]) {
    for value in values {
        match value {
            Value::Float(value) => {
                out.push(0);
                out.extend_from_slice(&value.to_bits().to_le_bytes());
            }
            Value::Histogram(histogram) => {
                out.push(1);
                put_histogram(out, histogram);
            }
        }
    }
}

/// Reads one value of what [`put_mixed`] wrote.
pub(crate) fn take_mixed(input: &mut Input<'_>) -> Decoded<Value> {
    match input.u8()? {
        0 => Ok(Value::Float(input.f64()?)),
        1 => Ok(Value::Histogram(Arc::new(take_histogram(input)?))),
        _ => Err(Malformed("a float or a histogram")),
    }
}

fn put_histogram(out: &mut Vec<u8>, histogram: &Histogram) {
    let hint = match histogram.reset_hint {
        ResetHint::Unknown => 0,
        ResetHint::Reset => 1,
        ResetHint::NotReset => 2,
        ResetHint::Gauge => 3,
    };
    out.push(hint | u8::from(histogram.integer) << 2);
    put_zigzag(out, i64::from(histogram.schema));
    for value in [
        histogram.zero_threshold,
        histogram.zero_count,
        histogram.count,
        histogram.sum,
    ] {
        out.extend_from_slice(&value.to_bits().to_le_bytes());
    }
    for buckets in [&histogram.positive, &histogram.negative] {
        put_varint(out, buckets.spans.len() as u64);
        for span in &buckets.spans {
            put_zigzag(out, i64::from(span.offset));
            put_varint(out, u64::from(span.length));
        }
        put_numbers(out, &buckets.counts);
    }
    put_numbers(out, &histogram.custom_values);
}

fn take_histogram(input: &mut Input<'_>) -> Decoded<Histogram> {
    let flags = input.u8()?;
    let reset_hint = match flags & 3 {
        0 => ResetHint::Unknown,
        1 => ResetHint::Reset,
        2 => ResetHint::NotReset,
        _ => ResetHint::Gauge,
    };
    let narrow = |value: i64| i32::try_from(value).map_err(|_| Malformed("a number of 32 bits"));
    let schema = narrow(input.zigzag()?)?;
    let [zero_threshold, zero_count, count, sum] =
        [input.f64()?, input.f64()?, input.f64()?, input.f64()?];
    let mut sides = [Buckets::default(), Buckets::default()];
    for side in &mut sides {
        for _ in 0..input.count()? {
            side.spans.push(Span {
                offset: narrow(input.zigzag()?)?,
                length: input.varint_u32()?,
            });
        }
        side.counts = take_numbers(input)?;
    }
    let [positive, negative] = sides;
    let custom_values = take_numbers(input)?;
    let integer = flags & 4 != 0;
    Ok(Histogram {
        schema,
        zero_threshold,
        zero_count,
        count,
        sum,
        positive,
        negative,
        custom_values,
        reset_hint,
        integer,
    })
}

/// Bucket counts: whole numbers as differences, else as they are.
fn put_numbers(out: &mut Vec<u8>, numbers: &[f64]) {
    put_varint(out, numbers.len() as u64);
    let whole = |number: &f64| (*number as i64 as f64).to_bits() == number.to_bits();
    if numbers.iter().all(whole) {
        out.push(1);
        let mut previous = 0;
        for number in numbers {
            put_zigzag(out, (*number as i64).wrapping_sub(previous));
            previous = *number as i64;
        }
    } else {
        out.push(0);
        for number in numbers {
            out.extend_from_slice(&number.to_bits().to_le_bytes());
        }
    }
}

fn take_numbers(input: &mut Input<'_>) -> Decoded<Vec<f64>> {
    let count = input.count()?;
    let whole = input.u8()? != 0;
    let mut previous = 0_i64;
    let number = |_| {
        if whole {
            previous = previous.wrapping_add(input.zigzag()?);
            Ok(previous as f64)
        } else {
            input.f64()
        }
    };
    (0..count).map(number).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::rows::tests::rows;

    fn check(rows: &Rows) {
        let mut bytes = Vec::new();
        encode(&mut bytes, rows, 0, rows.len());
        let mut input = Input(&bytes);
        let back = decode(&mut input).unwrap();
        assert!(input.is_empty());
        assert_eq!(&back, rows);
    }

    proptest! {
        #[test]
        fn chunks_are_read_back(rows in rows(i64::MIN..i64::MAX, 0..50)) {
            check(&rows);
        }

        #[test]
        fn garbage_is_refused_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode(&mut Input(&bytes));
        }
    }
}
