//! A column of floats: integers at a scale when that gives back every bit (most metrics are counts or decimal fractions),
//! else each value xor the one before.
//!
//! What no integer gives back (NaN and with it the staleness marker, infinities, -0) stands beside the integers as an exception,
//! so that one marker does not spoil a column.

use super::integers;
use crate::codec::{Decoded, Input, Malformed, put_varint};

/// How the values of a column are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    Integers = 0,
    /// Integers, and some values beside them.
    Exceptions = 1,
    Xor = 2,
    /// One value that no integer gives back.
    Constant = 3,
}

/// Powers of ten that a double holds exactly, as far as they are of use.
const POWERS: [f64; 13] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12,
];
/// Scales 0 to 12 are integer / 10^scale. The others are what exporters compute: integer * 0.001 (node_exporter's disk times),
/// integer / 1000 / 1000 (pressure), and integer / 10^7 with integers that a double rounds (Unix times of that resolution).
const MILLI: u8 = 13;
const TWICE_MILLI: u8 = 14;
const TEN_MILLIONTH: u8 = 15;
/// Integers up to here are exact in a double.
const INTEGER_MAX: f64 = 9_007_199_254_740_992.0;
/// Adding it rounds a number below 2^51 to an integer, which then stands in the low bits.
const ROUNDER: f64 = 6_755_399_441_055_744.0;
const ROUNDED_MAX: f64 = 2_251_799_813_685_248.0;
/// Values that are scaled in one go, without looking at each.
const STRIDE: usize = 8;

/// Working space that columns share.
#[derive(Default)]
pub(crate) struct Scratch {
    integers: Vec<i64>,
    /// Places of the exceptions.
    exceptions: Vec<u32>,
}

/// Appends a column of 1 to [`integers::NUMBERS_MAX`] values.
pub(crate) fn put(
    heads: &mut Vec<u8>,
    data: &mut Vec<u8>,
    values: &[f64],
    scratch: &mut Scratch,
) -> Form {
    let Some(first) = values.first() else {
        return Form::Integers;
    };
    if values
        .iter()
        .all(|value| value.to_bits() == first.to_bits())
    {
        return put_constant(heads, data, *first);
    }
    let Some(scale) = scale_all(values, scratch) else {
        put_xor(data, values);
        return Form::Xor;
    };
    let (heads_at, data_at) = (heads.len(), data.len());
    let form = if scratch.exceptions.is_empty() {
        Form::Integers
    } else {
        put_exceptions(heads, data, values, &scratch.exceptions);
        Form::Exceptions
    };
    integers::put(heads, data, &mut scratch.integers, scale);
    // Integers of many digits without a pattern.
    if data.len() - data_at > values.len() * 5 {
        let integers_end = data.len();
        put_xor(data, values);
        if data.len() - integers_end < integers_end - data_at {
            data.drain(data_at..integers_end);
            heads.truncate(heads_at);
            return Form::Xor;
        }
        data.truncate(integers_end);
    }
    form
}

fn put_constant(heads: &mut Vec<u8>, data: &mut Vec<u8>, value: f64) -> Form {
    for scale in 0..=TEN_MILLIONTH {
        if let Some(integer) = scaled(value, scale) {
            // A long integer is no shorter than the value.
            if integer.unsigned_abs() >= 1 << 54 {
                break;
            }
            integers::put(heads, data, &mut [integer], scale);
            return Form::Integers;
        }
    }
    data.extend_from_slice(&value.to_bits().to_le_bytes());
    Form::Constant
}

/// Not finite, or negative zero: no integer gives these back.
fn is_exception(value: f64) -> bool {
    !value.is_finite() || (value == 0.0 && value.is_sign_negative())
}

/// The value that an integer stands for.
fn unscaled(integer: i64, scale: u8) -> f64 {
    let number = integer as f64;
    match scale {
        MILLI => number * 0.001,
        TWICE_MILLI => number / 1000.0 / 1000.0,
        _ => number / divisor(scale),
    }
}

fn divisor(scale: u8) -> f64 {
    match scale {
        TEN_MILLIONTH => 1e7,
        _ => POWERS.get(usize::from(scale)).copied().unwrap_or(1e3),
    }
}

/// The integer that stands for `value`, if it gives back every bit.
fn scaled(value: f64, scale: u8) -> Option<i64> {
    let power = match scale {
        TWICE_MILLI => 1e6,
        _ => divisor(scale),
    };
    if (value * power).abs() < ROUNDED_MAX {
        let integer = (value * power + ROUNDER).to_bits() as i64 - ROUNDER.to_bits() as i64;
        return (unscaled(integer, scale).to_bits() == value.to_bits()).then_some(integer);
    }
    scaled_large(value, power, scale)
}

#[cold]
fn scaled_large(value: f64, power: f64, scale: u8) -> Option<i64> {
    let number = (value * power).round();
    let max = if scale == TEN_MILLIONTH {
        // As the integer is made from a double, it needs no rounding itself.
        INTEGER_MAX * 512.0
    } else {
        INTEGER_MAX
    };
    let integer = number as i64;
    (number.abs() < max && unscaled(integer, scale).to_bits() == value.to_bits()).then_some(integer)
}

/// The first scale from `scale` on that fits `value`.
fn scale_of(value: f64, scale: u8) -> Option<u8> {
    let found = (scale..MILLI).find(|&scale| scaled(value, scale).is_some());
    if let Some(found) = found
        && found < scale + 3
    {
        return Some(found);
    }
    // Many more digits than the values before had: it may be one of the computed ones, which a power of ten fits by chance.
    (scale.max(MILLI)..=TEN_MILLIONTH)
        .find(|&scale| scaled(value, scale).is_some())
        .filter(|&computed| found.is_none() || computed < TEN_MILLIONTH)
        .or(found)
}

/// Fills the scratch with the integers of a column, at the first scale that fits all of it. An exception repeats the integer
/// before it, which costs next to nothing.
fn scale_all(values: &[f64], scratch: &mut Scratch) -> Option<u8> {
    let mut scale = 0;
    let mut after_decimals = None;
    loop {
        match scale_all_at(values, scale, scratch) {
            Ok(()) => return Some(scale),
            Err(Misfit::TooManyExceptions) => return None,
            Err(Misfit::Value(value)) => {
                let next = scale_of(value, scale + 1).or_else(|| after_decimals.take())?;
                if scale < MILLI && next >= MILLI {
                    // Should a computed scale not fit the rest, more digits may.
                    after_decimals = (scale + 1..MILLI).find(|&s| scaled(value, s).is_some());
                }
                scale = next;
            }
        }
    }
}

enum Misfit {
    Value(f64),
    TooManyExceptions,
}

fn scale_all_at(values: &[f64], scale: u8, scratch: &mut Scratch) -> Result<(), Misfit> {
    let Scratch {
        integers,
        exceptions,
    } = scratch;
    integers.clear();
    exceptions.clear();
    let exceptions_max = values.len() / 2;
    let mut one_by_one = |integers: &mut Vec<i64>, some: &[f64]| {
        for &value in some {
            let integer = if is_exception(value) {
                if exceptions.len() == exceptions_max {
                    return Err(Misfit::TooManyExceptions);
                }
                exceptions.push(integers.len() as u32);
                integers.last().copied().unwrap_or(0)
            } else {
                scaled(value, scale).ok_or(Misfit::Value(value))?
            };
            integers.push(integer);
        }
        Ok(())
    };
    let (strides, rest) = values.as_chunks::<STRIDE>();
    for stride in strides {
        let fitting = match scale {
            0 => stride_at(stride, |value| value, |rounded| rounded),
            MILLI => stride_at(stride, |value| value * 1e3, |rounded| rounded * 0.001),
            TWICE_MILLI => stride_at(stride, |value| value * 1e6, |r| r / 1000.0 / 1000.0),
            _ => {
                let power = divisor(scale);
                stride_at(stride, |value| value * power, |rounded| rounded / power)
            }
        };
        match fitting {
            Some(some) => integers.extend_from_slice(&some),
            None => one_by_one(integers, stride)?,
        }
    }
    one_by_one(integers, rest)
}

/// The usual case for several values at once: none is an exception, none needs more than 51 bits.
#[inline(always)]
fn stride_at(
    values: &[f64; STRIDE],
    up: impl Fn(f64) -> f64,
    down: impl Fn(f64) -> f64,
) -> Option<[i64; STRIDE]> {
    let mut integers = [0; STRIDE];
    let mut wrong = 0;
    for (value, integer) in values.iter().zip(&mut integers) {
        let shifted = up(*value) + ROUNDER;
        let rounded = shifted - ROUNDER;
        *integer = (shifted.to_bits() as i64).wrapping_sub(ROUNDER.to_bits() as i64);
        wrong |= down(rounded).to_bits() ^ value.to_bits();
        // A quiet NaN comes through all of the arithmetic unchanged.
        wrong |= u64::from(rounded.is_nan() || rounded.abs() >= ROUNDED_MAX);
    }
    (wrong == 0).then_some(integers)
}

fn put_exceptions(heads: &mut Vec<u8>, data: &mut Vec<u8>, values: &[f64], exceptions: &[u32]) {
    put_varint(heads, exceptions.len() as u64);
    let mut previous = 0;
    for &at in exceptions {
        put_varint(data, u64::from(at - previous));
        data.extend_from_slice(&values[at as usize].to_bits().to_le_bytes());
        previous = at;
    }
}

/// Passes over the exceptions; returns them, to be read again.
fn skip_exceptions<'a>(heads: &mut Input<'_>, data: &mut Input<'a>) -> Decoded<(u64, Input<'a>)> {
    let count = heads.varint()?;
    let exceptions = data.clone();
    for _ in 0..count {
        data.varint()?;
        data.take(8)?;
    }
    Ok((count, exceptions))
}

/// A byte for (zero bytes before, bytes that follow), then these, high byte first; 0 means "as before".
pub(crate) fn put_xor(out: &mut Vec<u8>, values: &[f64]) {
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

/// Reads what [`put_xor`] wrote to the end of `values`.
pub(crate) fn take_xor(input: &mut Input<'_>, count: usize, values: &mut Vec<f64>) -> Decoded<()> {
    let mut bits = 0;
    for _ in 0..count {
        bits ^= take_changed(input)?;
        values.push(f64::from_bits(bits));
    }
    Ok(())
}

/// The bits that changed.
fn take_changed(data: &mut Input<'_>) -> Decoded<u64> {
    let control = usize::from(data.u8()?);
    if control == 0 {
        return Ok(0);
    }
    let (leading, length) = ((control - 1) / 8, (control - 1) % 8 + 1);
    let mut changed = [0; 8];
    let target = changed
        .get_mut(leading..leading + length)
        .ok_or(Malformed("at most 8 bytes of a float"))?;
    target.copy_from_slice(data.take(length)?);
    Ok(u64::from_be_bytes(changed))
}

/// Reads a column of `count` values to the end of `values`. After an error some of them may be there.
pub(crate) fn take(
    form: Form,
    heads: &mut Input<'_>,
    data: &mut Input<'_>,
    count: usize,
    values: &mut Vec<f64>,
) -> Decoded<()> {
    let start = values.len();
    match form {
        Form::Integers => take_integers(heads, data, count, values),
        Form::Exceptions => {
            let (exceptions_count, mut exceptions) = skip_exceptions(heads, data)?;
            take_integers(heads, data, count, values)?;
            let mut at = start;
            for _ in 0..exceptions_count {
                at = at.saturating_add(exceptions.varint()? as usize);
                *values
                    .get_mut(at)
                    .ok_or(Malformed("an exception inside of the column"))? = exceptions.f64()?;
            }
            Ok(())
        }
        Form::Xor => take_xor(data, count, values),
        Form::Constant => {
            let value = data.f64()?;
            values.resize(start + count, value);
            Ok(())
        }
    }
}

fn take_integers(
    heads: &mut Input<'_>,
    data: &mut Input<'_>,
    count: usize,
    values: &mut Vec<f64>,
) -> Decoded<()> {
    let head = heads.u8()?;
    values.reserve(count);
    match integers::callers(head) {
        0 => integers::take(head, heads, data, count, |some| {
            values.extend(some.iter().map(|integer| *integer as f64));
        }),
        scale @ (MILLI | TWICE_MILLI) => integers::take(head, heads, data, count, |some| {
            values.extend(some.iter().map(|integer| unscaled(*integer, scale)));
        }),
        scale => {
            let power = divisor(scale);
            integers::take(head, heads, data, count, |some| {
                values.extend(some.iter().map(|integer| *integer as f64 / power));
            })
        }
    }
}

/// Passes over a column.
pub(crate) fn skip(
    form: Form,
    heads: &mut Input<'_>,
    data: &mut Input<'_>,
    count: usize,
) -> Decoded<()> {
    match form {
        Form::Integers => {
            let head = heads.u8()?;
            integers::skip(head, heads, data, count)
        }
        Form::Exceptions => {
            skip_exceptions(heads, data)?;
            let head = heads.u8()?;
            integers::skip(head, heads, data, count)
        }
        Form::Xor => (0..count).try_for_each(|_| take_changed(data).map(|_| ())),
        Form::Constant => data.take(8).map(|_| ()),
    }
}

#[cfg(test)]
mod tests {
    use model::stale_nan;
    use proptest::prelude::*;

    use super::{integers::tests::column, *};

    const FORMS: [Form; 4] = [Form::Integers, Form::Exceptions, Form::Xor, Form::Constant];

    fn bytes_of(values: &[f64]) -> (Form, Vec<u8>, Vec<u8>) {
        let (mut heads, mut data) = (Vec::new(), Vec::new());
        let form = put(&mut heads, &mut data, values, &mut Scratch::default());
        (form, heads, data)
    }

    fn check(values: &[f64]) -> (Form, usize) {
        let (form, heads, data) = bytes_of(values);
        let (mut h, mut d) = (Input(&heads), Input(&data));
        let mut back = vec![1.5];
        take(form, &mut h, &mut d, values.len(), &mut back).unwrap();
        assert!(h.is_empty() && d.is_empty());
        let bits = |values: &[f64]| -> Vec<u64> { values.iter().map(|v| v.to_bits()).collect() };
        assert_eq!(bits(&back[1..]), bits(values), "{values:?}");
        let (mut h, mut d) = (Input(&heads), Input(&data));
        skip(form, &mut h, &mut d, values.len()).unwrap();
        assert!(h.is_empty() && d.is_empty());
        (form, heads.len() + data.len())
    }

    fn value() -> impl Strategy<Value = f64> {
        prop_oneof![
            20 => (-100_000..100_000_i32).prop_map(|v| f64::from(v) / 100.0),
            5 => (-1000..1000_i32).prop_map(f64::from),
            1 => any::<u64>().prop_map(f64::from_bits),
            1 => any::<i64>().prop_map(|v| v as f64),
            1 => prop_oneof![Just(stale_nan()), Just(-0.0), Just(f64::NAN), Just(f64::INFINITY), Just(f64::MIN_POSITIVE)],
        ]
    }

    proptest! {
        #[test]
        fn columns_are_read_back(values in prop::collection::vec(value(), 1..200)) {
            check(&values);
        }

        #[test]
        fn random_floats_are_read_back(values in prop::collection::vec(any::<u64>().prop_map(f64::from_bits), 1..100)) {
            check(&values);
        }

        #[test]
        fn scaled_columns_are_read_back(
            column in column(), scale in 0..=15_u8, bits in 0..60_u32, marker in prop::option::of(any::<prop::sample::Index>()),
        ) {
            let mut values: Vec<f64> = column.iter().map(|integer| unscaled(integer >> bits, scale)).collect();
            if let Some(at) = marker {
                let at = at.index(values.len());
                values[at] = stale_nan();
            }
            check(&values);
        }

        #[test]
        fn cut_columns_are_refused(values in prop::collection::vec(value(), 1..100), cut in any::<prop::sample::Index>()) {
            let (form, heads, data) = bytes_of(&values);
            let data = &data[..cut.index(data.len())];
            prop_assert!(take(form, &mut Input(&heads), &mut Input(data), values.len(), &mut Vec::new()).is_err());
        }

        #[test]
        fn garbage_is_refused_without_panic(
            heads in prop::collection::vec(any::<u8>(), 0..40), data in prop::collection::vec(any::<u8>(), 0..300), count in 1..200_usize,
        ) {
            for form in FORMS {
                let mut values = Vec::new();
                let _ = take(form, &mut Input(&heads), &mut Input(&data), count, &mut values);
                prop_assert!(values.len() <= count);
                let _ = skip(form, &mut Input(&heads), &mut Input(&data), count);
            }
        }
    }

    #[test]
    fn usual_columns_are_small() {
        let is = |form: Form, bytes_max: usize, values: &mut dyn Iterator<Item = f64>| {
            let values: Vec<f64> = values.collect();
            let (found, bytes) = check(&values);
            assert!(
                found == form && bytes <= bytes_max,
                "{found:?} {bytes} {values:?}"
            );
        };
        let noise = |i: u32| f64::from(i.wrapping_mul(2_654_435_761) >> 25);
        is(Form::Integers, 4, &mut [1.5; 240].into_iter());
        is(Form::Integers, 2, &mut [0.0; 240].into_iter());
        is(
            Form::Constant,
            8,
            &mut [std::f64::consts::PI; 240].into_iter(),
        );
        is(Form::Constant, 8, &mut [stale_nan(); 240].into_iter());
        // Memory in pages: 7 bits of noise in a column of 20.
        is(
            Form::Integers,
            240 * 7 / 8 + 16,
            &mut (0..240).map(|i| 4096.0 * (3e5 + noise(i))),
        );
        // A counter by the thousand: a multiple.
        is(
            Form::Integers,
            16,
            &mut (0..240).map(|i| f64::from(i) * 1000.0),
        );
        // A gauge of two decimals.
        is(
            Form::Integers,
            240 * 7 / 8 + 16,
            &mut (0..240).map(|i| (2000.0 + noise(i)) / 100.0),
        );
        // A target that went away for a scrape.
        let counter = |i: u32| {
            if i == 120 {
                stale_nan()
            } else {
                f64::from(i) * 7.0
            }
        };
        is(Form::Exceptions, 40, &mut (0..240).map(counter));
        // The rules of node_exporter: disk seconds, pressure, Unix times.
        is(
            Form::Integers,
            240 + 20,
            &mut (0..240).map(|i| (1e7 + noise(i)) * 0.001),
        );
        is(
            Form::Integers,
            240 + 20,
            &mut (0..240).map(|i| (1e9 + noise(i)) / 1000.0 / 1000.0),
        );
        is(
            Form::Integers,
            240 * 4,
            &mut (0..240).map(|i| 1.7e9 + noise(i) / 1000.0 + 0.123_456_7),
        );
        // True floats.
        is(
            Form::Xor,
            240 * 8,
            &mut (0..240).map(|i| f64::from(i).sqrt()),
        );
    }
}
