//! A column of integers: the first number, then groups of up to 64 bit-packed numbers, each group with the width it needs.
//!
//! What is packed is the numbers themselves, their differences or the differences of these, whichever takes fewest bytes,
//! less a common divisor and less the smallest of them. All arithmetic wraps at 64 bits, so every column is read back.

use super::bits::{GROUP, SHORT, pack, packed_bytes, unpack, width};
use crate::codec::{Decoded, Input, Malformed, put_varint, put_zigzag, zigzag};

/// Numbers of one column at most.
pub(crate) const NUMBERS_MAX: usize = 4096;
const GROUPS_MAX: usize = NUMBERS_MAX / GROUP;

const FORM_MASK: u8 = 3;
const EQUAL: u8 = 0;
const PLAIN: u8 = 1;
const DELTAS: u8 = 2;
const DELTAS_OF_DELTAS: u8 = 3;
const HAS_DIVISOR: u8 = 4;
const ONE_MINIMUM: u8 = 8;
/// What the caller may use of the head's first byte.
pub(crate) const CALLERS_SHIFT: u32 = 4;

/// Smallest and largest number of a group.
#[derive(Clone, Copy)]
struct Bounds {
    min: i64,
    max: i64,
}

impl Bounds {
    const NONE: Self = Self {
        min: i64::MAX,
        max: i64::MIN,
    };

    fn add(&mut self, number: i64) {
        self.min = self.min.min(number);
        self.max = self.max.max(number);
    }

    fn width_over(self, min: i64) -> u32 {
        width(self.max.wrapping_sub(min) as u64)
    }
}

/// What it would take to pack the groups.
#[derive(Clone, Copy)]
struct Plan {
    bytes: usize,
    /// One minimum for all groups, instead of one for each.
    one: Option<i64>,
}

fn plan(groups: &[Bounds], count: usize) -> Plan {
    let length = |index: usize| (count - index * GROUP).min(GROUP);
    if let [group] = groups {
        let bytes = packed_bytes(count, group.width_over(group.min)) + zigzag_bytes(group.min);
        return Plan { bytes, one: None };
    }
    let min = groups.iter().map(|group| group.min).min().unwrap_or(0);
    let (mut each, mut one) = (0, zigzag_bytes(min));
    for (index, group) in groups.iter().enumerate() {
        each += packed_bytes(length(index), group.width_over(group.min)) + zigzag_bytes(group.min);
        one += packed_bytes(length(index), group.width_over(min));
    }
    if one <= each {
        return Plan {
            bytes: one,
            one: Some(min),
        };
    }
    Plan {
        bytes: each,
        one: None,
    }
}

fn zigzag_bytes(number: i64) -> usize {
    (width(zigzag(number)).max(1) as usize).div_ceil(7)
}

/// Appends a column of 1 to [`NUMBERS_MAX`] numbers, which are changed on the way. `callers` goes into the upper four bits of
/// the first byte of the head.
pub(crate) fn put(heads: &mut Vec<u8>, data: &mut Vec<u8>, numbers: &mut [i64], callers: u8) {
    debug_assert!(numbers.len() <= NUMBERS_MAX);
    let callers = callers << CALLERS_SHIFT;
    let &mut [first, ref mut rest @ ..] = numbers else {
        return;
    };
    put_zigzag(data, first);
    let divisor = common_divisor(first, rest);
    if divisor == 0 {
        heads.push(callers | EQUAL);
        return;
    }
    if divisor > 1 {
        rest.iter_mut()
            .for_each(|number| *number = (*number - first) / divisor);
    } else {
        rest.iter_mut()
            .for_each(|number| *number = number.wrapping_sub(first));
    }
    let start = rest.first().copied().unwrap_or(0);
    let mut one_group = [[Bounds::NONE]; 3];
    let mut many_groups;
    // Most columns are short, and room for the most groups takes as long to prepare as a short column to write.
    let [plain, deltas, twice] = if rest.len() <= GROUP {
        one_group.each_mut().map(<[Bounds; 1]>::as_mut_slice)
    } else {
        many_groups = [[Bounds::NONE; GROUPS_MAX]; 3];
        let groups = rest.len().div_ceil(GROUP);
        many_groups.each_mut().map(|bounds| &mut bounds[..groups])
    };
    let (mut last, mut last_delta) = (0_i64, start);
    for (index, group) in rest.chunks(GROUP).enumerate() {
        let (mut p, mut d, mut t) = (Bounds::NONE, Bounds::NONE, Bounds::NONE);
        for &number in group {
            let delta = number.wrapping_sub(last);
            p.add(number);
            d.add(delta);
            t.add(delta.wrapping_sub(last_delta));
            (last, last_delta) = (number, delta);
        }
        (plain[index], deltas[index], twice[index]) = (p, d, t);
    }
    let plain_plan = plan(plain, rest.len());
    let delta_plan = plan(deltas, rest.len());
    let mut twice_plan = plan(twice, rest.len());
    twice_plan.bytes += zigzag_bytes(start);
    let (form, bounds, one) = if twice_plan.bytes < delta_plan.bytes.min(plain_plan.bytes) {
        (DELTAS_OF_DELTAS, twice, twice_plan.one)
    } else if delta_plan.bytes < plain_plan.bytes {
        (DELTAS, deltas, delta_plan.one)
    } else {
        (PLAIN, plain, plain_plan.one)
    };
    let mut head = callers | form;
    if divisor > 1 {
        head |= HAS_DIVISOR;
        put_varint(data, divisor as u64);
    }
    if form == DELTAS_OF_DELTAS {
        put_zigzag(data, start);
    }
    if let Some(min) = one {
        head |= ONE_MINIMUM;
        put_zigzag(data, min);
    }
    heads.push(head);
    let (mut last, mut last_delta) = (0_i64, start);
    for (group, bounds) in rest.chunks(GROUP).zip(bounds) {
        let min = one.unwrap_or(bounds.min);
        let bits = bounds.width_over(min);
        heads.push(bits as u8);
        if one.is_none() {
            put_zigzag(data, min);
        }
        match form {
            PLAIN => {
                let over = group.iter().map(|number| number.wrapping_sub(min) as u64);
                pack(data, over, bits);
            }
            DELTAS => {
                let deltas = group.iter().map(|&number| {
                    let delta = number.wrapping_sub(last);
                    last = number;
                    delta.wrapping_sub(min) as u64
                });
                pack(data, deltas, bits);
            }
            _ => {
                let twice = group.iter().map(|&number| {
                    let delta = number.wrapping_sub(last);
                    let change = delta.wrapping_sub(last_delta);
                    (last, last_delta) = (number, delta);
                    change.wrapping_sub(min) as u64
                });
                pack(data, twice, bits);
            }
        }
    }
}

/// Of all differences to the first number: 0 when there is none but 0, 1 when a difference does not fit 63 bits.
fn common_divisor(first: i64, rest: &[i64]) -> i64 {
    let mut divisor = 0;
    for number in rest {
        let Some(difference) = number.checked_sub(first).and_then(i64::checked_abs) else {
            return 1;
        };
        if difference == 0 || (divisor > 1 && difference % divisor == 0) {
            continue;
        }
        divisor = gcd(divisor, difference);
        if divisor == 1 {
            return 1;
        }
    }
    divisor
}

fn gcd(mut a: i64, mut b: i64) -> i64 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

/// What the head and the first numbers of a column say.
struct Opening {
    form: u8,
    first: i64,
    divisor: i64,
    start: i64,
    one: Option<i64>,
}

fn opening(head: u8, data: &mut Input<'_>) -> Decoded<Opening> {
    let form = head & FORM_MASK;
    let first = data.zigzag()?;
    let divisor = if head & HAS_DIVISOR != 0 {
        data.varint()? as i64
    } else {
        1
    };
    let start = if form == DELTAS_OF_DELTAS {
        data.zigzag()?
    } else {
        0
    };
    let one = if head & ONE_MINIMUM != 0 {
        Some(data.zigzag()?)
    } else {
        None
    };
    Ok(Opening {
        form,
        first,
        divisor,
        start,
        one,
    })
}

/// What the caller put into the head.
pub(crate) fn callers(head: u8) -> u8 {
    head >> CALLERS_SHIFT
}

/// Reads a column of `count` numbers whose head began with `head`, in pieces of at most 64.
pub(crate) fn take(
    head: u8,
    heads: &mut Input<'_>,
    data: &mut Input<'_>,
    count: usize,
    mut sink: impl FnMut(&[i64]),
) -> Decoded<()> {
    if count == 0 {
        return Err(Malformed("a column that is not empty"));
    }
    let opening = opening(head, data)?;
    if opening.form == EQUAL {
        let same = [opening.first; GROUP];
        let mut left = count;
        while left > 0 {
            let length = left.min(GROUP);
            sink(&same[..length]);
            left -= length;
        }
        return Ok(());
    }
    sink(&[opening.first]);
    // Most columns are short, and room for a whole group takes as long to prepare as a short column to read.
    if count - 1 <= SHORT {
        take_groups::<SHORT>(&opening, heads, data, count - 1, sink)
    } else {
        take_groups::<GROUP>(&opening, heads, data, count - 1, sink)
    }
}

/// Reads the numbers after the first, which are `left`, in groups of at most `N`.
fn take_groups<const N: usize>(
    opening: &Opening,
    heads: &mut Input<'_>,
    data: &mut Input<'_>,
    mut left: usize,
    mut sink: impl FnMut(&[i64]),
) -> Decoded<()> {
    let &Opening {
        form,
        first,
        divisor,
        start,
        one,
    } = opening;
    // Numbers and differences are kept multiplied by the divisor.
    let (mut last, mut last_delta) = (first, start.wrapping_mul(divisor));
    let mut packed = [0_u64; N];
    let mut numbers = [0_i64; N];
    while left > 0 {
        let length = left.min(N);
        left -= length;
        let bits = group_width(heads)?;
        let min = match one {
            Some(min) => min,
            None => data.zigzag()?,
        };
        unpack(data, bits, &mut packed[..length])?;
        let group = &mut numbers[..length];
        let over = group.iter_mut().zip(&packed);
        if divisor == 1 {
            over.for_each(|(number, over)| *number = min.wrapping_add(*over as i64));
        } else {
            over.for_each(|(number, over)| {
                *number = min.wrapping_add(*over as i64).wrapping_mul(divisor);
            });
        }
        match form {
            PLAIN => {
                for number in &mut *group {
                    *number = number.wrapping_add(first);
                }
            }
            DELTAS => {
                for number in &mut *group {
                    last = last.wrapping_add(*number);
                    *number = last;
                }
            }
            _ => {
                for number in &mut *group {
                    last_delta = last_delta.wrapping_add(*number);
                    last = last.wrapping_add(last_delta);
                    *number = last;
                }
            }
        }
        sink(group);
    }
    Ok(())
}

fn group_width(heads: &mut Input<'_>) -> Decoded<u32> {
    let bits = u32::from(heads.u8()?);
    if bits > u64::BITS {
        return Err(Malformed("a width of at most 64 bits"));
    }
    Ok(bits)
}

/// Passes over a column.
pub(crate) fn skip(
    head: u8,
    heads: &mut Input<'_>,
    data: &mut Input<'_>,
    count: usize,
) -> Decoded<()> {
    let Opening { form, one, .. } = opening(head, data)?;
    if form == EQUAL {
        return Ok(());
    }
    let mut left = count.saturating_sub(1);
    while left > 0 {
        let length = left.min(GROUP);
        left -= length;
        let bits = group_width(heads)?;
        if one.is_none() {
            data.zigzag()?;
        }
        data.take(packed_bytes(length, bits))?;
    }
    Ok(())
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Columns of every form, with and without a divisor, outliers and the ends of the range.
    pub(crate) fn column() -> impl Strategy<Value = Vec<i64>> {
        let number = prop_oneof![
            20 => -100..100_i64,
            2 => -1_000_000_000..1_000_000_000_i64,
            1 => any::<i64>(),
        ];
        let steps = prop_oneof![
            prop::collection::vec(-100..100_i64, 1..300),
            prop::collection::vec(number, 1..200),
            prop::collection::vec(any::<i64>(), 1..200),
            prop::collection::vec(Just(0), 1..100),
        ];
        let factor = prop_oneof![Just(1), 2..5000_i64, any::<i64>()];
        (steps, factor, any::<i64>(), 0..3).prop_map(|(mut column, factor, first, sums)| {
            for _ in 0..sums {
                let mut sum = 0_i64;
                for number in &mut column {
                    sum = sum.wrapping_add(*number);
                    *number = sum;
                }
            }
            column
                .iter_mut()
                .for_each(|number| *number = number.wrapping_mul(factor).wrapping_add(first));
            column
        })
    }

    fn check(column: &[i64]) -> usize {
        let (mut heads, mut data) = (Vec::new(), Vec::new());
        put(&mut heads, &mut data, &mut column.to_vec(), 9);
        let head = heads[0];
        assert_eq!(callers(head), 9);
        let (mut h, mut d) = (Input(&heads[1..]), Input(&data));
        let mut back = Vec::new();
        take(head, &mut h, &mut d, column.len(), |some| {
            back.extend_from_slice(some);
        })
        .unwrap();
        assert_eq!(back, column);
        assert!(h.is_empty() && d.is_empty());
        let (mut h, mut d) = (Input(&heads[1..]), Input(&data));
        skip(head, &mut h, &mut d, column.len()).unwrap();
        assert!(h.is_empty() && d.is_empty());
        heads.len() + data.len()
    }

    proptest! {
        #[test]
        fn columns_are_read_back(column in column()) {
            check(&column);
        }

        #[test]
        fn cut_columns_are_refused(column in column(), cut in any::<prop::sample::Index>()) {
            let (mut heads, mut data) = (Vec::new(), Vec::new());
            put(&mut heads, &mut data, &mut column.clone(), 0);
            let data = &data[..cut.index(data.len())];
            let result = take(heads[0], &mut Input(&heads[1..]), &mut Input(data), column.len(), |_| {});
            prop_assert!(result.is_err());
            prop_assert!(skip(heads[0], &mut Input(&heads[1..]), &mut Input(data), column.len()).is_err());
        }

        #[test]
        fn garbage_is_refused_without_panic(
            head: u8, heads in prop::collection::vec(any::<u8>(), 0..80), data in prop::collection::vec(any::<u8>(), 0..400), count in 0..300_usize,
        ) {
            let mut read = 0;
            let taken = take(head, &mut Input(&heads), &mut Input(&data), count, |some| read += some.len());
            prop_assert!(read <= count && (taken.is_err() || read == count));
            let _ = skip(head, &mut Input(&heads), &mut Input(&data), count);
        }
    }

    #[test]
    fn usual_columns_are_small() {
        let check = |expected: usize, column: &mut dyn Iterator<Item = i64>| {
            let column: Vec<i64> = column.collect();
            assert_eq!(check(&column), expected, "{column:?}");
        };
        check(1 + 1, &mut [7; 4096].into_iter());
        // A head, the first number, the divisor and one minimum for all; a width each.
        check(1 + 1 + 2 + 1 + 4, &mut (0..241).map(|i| i * 15_000));
        // A minimum and a width for one group of 60 numbers of 3 bits.
        check(1 + 1 + 1 + 1 + 23, &mut (0..61).map(|i| i * 13 % 7));
        // A counter that starts again once: only its group is wide.
        let counter = (0..641).map(|i| {
            if i < 300 {
                i * 1000 + i * 13 % 7
            } else {
                i * 1000 - 300_000
            }
        });
        let column: Vec<i64> = counter.collect();
        assert!(
            super::tests::check(&column) < 640 / 2 + 200,
            "{}",
            super::tests::check(&column)
        );
    }

    #[test]
    fn the_ends_of_the_range_are_read_back() {
        for column in [
            &[i64::MIN, i64::MAX][..],
            &[i64::MAX, i64::MIN, 0],
            &[0, 2, 4, i64::MIN],
            &[i64::MIN, 0, i64::MIN, 0],
            &[-1, i64::MAX, -1],
            &[0, 0, 0, i64::MIN],
            &[i64::MAX],
        ] {
            check(column);
        }
    }
}
