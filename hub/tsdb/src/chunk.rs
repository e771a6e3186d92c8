//! One chunk: a run of samples of one series as bytes (drawn in `FORMAT.md`). Used by the write-ahead log, where speed
//! counts and order is that of arrival, and by parts, where size counts and order is that of time.
//!
//! Floats are written in the smallest form that gives back every bit: a constant; scaled integers (most metrics are decimal
//! fractions) with their common divisor taken out; else xor with the value before. Staleness markers, infinities and the
//! like stand beside the integers as exceptions, so that one marker does not spoil a column.

use std::sync::Arc;

use model::{Buckets, Histogram, ResetHint, Span, Value};

use crate::{
    codec::{Decoded, Input, Malformed, put_varint, put_zigzag},
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

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Effort {
    /// Write-ahead log: no search for a better form.
    Fast,
    /// Parts.
    Small,
}

const XOR: u8 = 0;
const DECIMAL: u8 = 1;
const MIXED: u8 = 2;
const CONSTANT: u8 = 3;
const FORM_MASK: u8 = 3;
const HAS_STARTS: u8 = 4;

/// Powers of ten that a double holds exactly, as far as they are of use.
const POWERS: [f64; 13] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12,
];
/// Integers up to here are exact in a double.
const INTEGER_MAX: f64 = 9_007_199_254_740_992.0;

/// Appends rows `from..to`, where `to` is at most [`end`].
pub(crate) fn encode(out: &mut Vec<u8>, rows: &Rows, from: usize, to: usize, effort: Effort) {
    let flags_at = out.len();
    out.push(0);
    put_varint(out, (to - from) as u64);
    put_times(out, &rows.times[from..to]);
    let form = match &rows.values {
        Column::Floats(values) => put_floats(out, &values[from..to], effort),
        Column::Mixed(values) => put_mixed(out, &values[from..to]),
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
        XOR => Column::Floats(take_xor(input, count)?),
        DECIMAL => Column::Floats(take_decimal(input, count)?),
        CONSTANT => Column::Floats(vec![input.f64()?; count]),
        _ => Column::Mixed(take_mixed(input, count)?),
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

fn put_floats(out: &mut Vec<u8>, values: &[f64], effort: Effort) -> u8 {
    if let [first, rest @ ..] = values
        && rest.iter().all(|value| value.to_bits() == first.to_bits())
    {
        out.extend_from_slice(&first.to_bits().to_le_bytes());
        return CONSTANT;
    }
    if effort == Effort::Small && put_decimal(out, values).is_some() {
        return DECIMAL;
    }
    put_xor(out, values);
    XOR
}

/// A byte for (zero bytes before, bytes that follow), then these, high byte first; 0 means "as before".
fn put_xor(out: &mut Vec<u8>, values: &[f64]) {
    let mut previous = 0;
    for value in values {
        let bits = value.to_bits();
        let changed = bits ^ previous;
        previous = bits;
        if changed == 0 {
            out.push(0);
            continue;
        }
        let leading = changed.leading_zeros() as usize / 8;
        let trailing = changed.trailing_zeros() as usize / 8;
        let length = 8 - leading - trailing;
        out.push(1 + (leading * 8 + length - 1) as u8);
        out.extend_from_slice(&changed.to_be_bytes()[leading..leading + length]);
    }
}

fn take_xor(input: &mut Input<'_>, count: usize) -> Decoded<Vec<f64>> {
    let mut values = Vec::with_capacity(count);
    let mut previous = 0;
    for _ in 0..count {
        let control = usize::from(input.u8()?);
        if control > 0 {
            let (leading, length) = ((control - 1) / 8, (control - 1) % 8 + 1);
            let mut changed = [0; 8];
            let target = changed
                .get_mut(leading..leading + length)
                .ok_or(Malformed("at most 8 bytes of a float"))?;
            target.copy_from_slice(input.take(length)?);
            previous ^= u64::from_be_bytes(changed);
        }
        values.push(f64::from_bits(previous));
    }
    Ok(values)
}

/// Not finite, or negative zero: no integer gives these back.
fn is_exception(value: f64) -> bool {
    !value.is_finite() || (value == 0.0 && value.is_sign_negative())
}

/// The integer that stands for `value` at a power of ten, if it gives back every bit.
fn scaled(value: f64, power: f64) -> Option<i64> {
    let integer = (value * power).round();
    (integer.abs() < INTEGER_MAX && (integer / power).to_bits() == value.to_bits())
        .then_some(integer as i64)
}

fn put_decimal(out: &mut Vec<u8>, values: &[f64]) -> Option<()> {
    let mut exponent = 0;
    let mut exceptions = 0;
    for &value in values {
        if is_exception(value) {
            exceptions += 1;
            continue;
        }
        while scaled(value, POWERS[exponent]).is_none() {
            exponent += 1;
            if exponent == POWERS.len() {
                return None;
            }
        }
    }
    if exceptions * 4 > values.len() {
        return None;
    }
    let mut integers = Vec::with_capacity(values.len());
    let mut previous = 0;
    for &value in values {
        // An exception repeats its neighbour, which costs next to nothing.
        previous = if is_exception(value) {
            previous
        } else {
            scaled(value, POWERS[exponent])?
        };
        integers.push(previous);
    }
    let first = integers.first().copied().unwrap_or(0);
    let deltas = || integers.windows(2).map(|pair| pair[1] - pair[0]);
    let divisor = deltas()
        .fold(0, |divisor, delta| gcd(divisor, delta.unsigned_abs()))
        .max(1);
    out.push(exponent as u8);
    put_varint(out, exceptions as u64);
    let mut previous_at = 0;
    for (at, value) in values
        .iter()
        .enumerate()
        .filter(|(_, value)| is_exception(**value))
    {
        put_varint(out, (at - previous_at) as u64);
        out.extend_from_slice(&value.to_bits().to_le_bytes());
        previous_at = at;
    }
    put_zigzag(out, first);
    put_varint(out, divisor);
    for delta in deltas() {
        put_zigzag(out, delta / divisor as i64);
    }
    Some(())
}

fn take_decimal(input: &mut Input<'_>, count: usize) -> Decoded<Vec<f64>> {
    let power = *POWERS
        .get(usize::from(input.u8()?))
        .ok_or(Malformed("a power of ten up to 12"))?;
    let mut exceptions = Vec::new();
    let mut at = 0_usize;
    for _ in 0..input.count()? {
        at = at.saturating_add(input.varint()? as usize);
        exceptions.push((at, input.f64()?));
    }
    let mut integer = input.zigzag()?;
    let divisor = input.varint()? as i64;
    let mut values = Vec::with_capacity(count);
    for index in 0..count {
        if index > 0 {
            integer = integer.wrapping_add(input.zigzag()?.wrapping_mul(divisor));
        }
        values.push(integer as f64 / power);
    }
    for (at, value) in exceptions {
        *values
            .get_mut(at)
            .ok_or(Malformed("an exception inside of the column"))? = value;
    }
    Ok(values)
}

fn gcd(mut a: u64, mut b: u64) -> u64 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

fn put_mixed(out: &mut Vec<u8>, values: &[Value]) -> u8 {
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
    MIXED
}

fn take_mixed(input: &mut Input<'_>, count: usize) -> Decoded<Vec<Value>> {
    let value = |_| match input.u8()? {
        0 => Ok(Value::Float(input.f64()?)),
        1 => Ok(Value::Histogram(Arc::new(take_histogram(input)?))),
        _ => Err(Malformed("a float or a histogram")),
    };
    (0..count).map(value).collect()
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
    let whole = |number: &f64| !is_exception(*number) && scaled(*number, 1.0).is_some();
    if numbers.iter().all(whole) {
        out.push(1);
        let mut previous = 0;
        for number in numbers {
            put_zigzag(out, *number as i64 - previous);
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

    fn check(rows: &Rows, effort: Effort) -> usize {
        let mut bytes = Vec::new();
        encode(&mut bytes, rows, 0, rows.len(), effort);
        let mut input = Input(&bytes);
        let back = decode(&mut input).unwrap();
        assert!(input.is_empty());
        assert_eq!(&back, rows);
        bytes.len()
    }

    fn floats(values: impl IntoIterator<Item = f64>) -> Rows {
        let mut rows = Rows::default();
        for (i, value) in values.into_iter().enumerate() {
            rows.push(
                1_700_000_000_000 + 15_000 * i as i64,
                NO_START,
                Value::Float(value),
            );
        }
        rows
    }

    proptest! {
        #[test]
        fn chunks_are_read_back(rows in rows(i64::MIN..i64::MAX, 0..50), small: bool) {
            check(&rows, if small { Effort::Small } else { Effort::Fast });
        }

        #[test]
        fn decimal_columns_are_read_back(integers in prop::collection::vec(-1_000_000..1_000_000_i64, 1..60), exponent in 0..7_usize) {
            check(&floats(integers.iter().map(|i| *i as f64 / POWERS[exponent])), Effort::Small);
        }

        #[test]
        fn garbage_is_refused_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode(&mut Input(&bytes));
        }
    }

    #[test]
    fn usual_columns_are_small() {
        let header = 2 + 6 + 3 + 98;
        assert_eq!(
            check(&floats([1.5; 100]), Effort::Small),
            header + 8,
            "constant"
        );
        let counter = check(
            &floats((0..100).map(|i| f64::from(i * 1000))),
            Effort::Small,
        );
        assert!(counter <= header + 110, "{counter}: divisor taken out");
        let decimal = check(
            &floats((0..100).map(|i| f64::from(i % 7) / 100.0)),
            Effort::Small,
        );
        assert!(decimal <= header + 110, "{decimal}");
        let mut stale: Vec<f64> = (0..100).map(f64::from).collect();
        stale[50] = model::stale_nan();
        let stale = check(&floats(stale), Effort::Small);
        assert!(
            stale <= header + 120,
            "{stale}: one marker does not spoil the column"
        );
    }
}
