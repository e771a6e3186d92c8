//! Up to 64 numbers of one width, side by side, low bit first.

use crate::codec::{Decoded, Input};

/// Numbers that share a width.
pub(crate) const GROUP: usize = 64;

/// Numbers that are fewer than it pays to prepare for.
pub(crate) const SHORT: usize = 16;

/// Bits that `number` takes.
pub(crate) fn width(number: u64) -> u32 {
    u64::BITS - number.leading_zeros()
}

/// Bytes that `count` numbers of `width` bits take.
pub(crate) fn packed_bytes(count: usize, width: u32) -> usize {
    (count * width as usize).div_ceil(8)
}

/// Appends numbers, each of at most `width` bits.
pub(crate) fn pack(out: &mut Vec<u8>, numbers: impl Iterator<Item = u64>, width: u32) {
    let (mut word, mut used) = (0_u64, 0);
    for number in numbers {
        word |= number << used;
        used += width;
        if used >= u64::BITS {
            out.extend_from_slice(&word.to_le_bytes());
            used -= u64::BITS;
            // What did not fit; nothing when it ended with the word.
            word = number.checked_shr(width - used).unwrap_or(0);
        }
    }
    let bytes = word.to_le_bytes();
    out.extend_from_slice(&bytes[..used.div_ceil(8) as usize]);
}

/// Fills `numbers`, at most 64 of them, with those of `width <= 64` bits that [`pack`] wrote.
pub(crate) fn unpack(input: &mut Input<'_>, width: u32, numbers: &mut [u64]) -> Decoded<()> {
    let count = numbers.len();
    let bytes = packed_bytes(count, width);
    let step = width as usize;
    let mask = u64::MAX.checked_shr(u64::BITS - width).unwrap_or(0);
    // A few numbers with other bytes behind them: read where they stand.
    if count <= SHORT
        && width <= 57
        && let Some(window) = input.0.get(..bytes + 8)
    {
        for (index, number) in numbers.iter_mut().enumerate() {
            let bit = index * step;
            let word = window[bit >> 3..].first_chunk().copied();
            *number = u64::from_le_bytes(word.unwrap_or_default()) >> (bit & 7) & mask;
        }
        input.take(bytes)?;
        return Ok(());
    }
    // 16 bytes more than a whole group takes, so that a word can be read at each number without looking at the end.
    let mut padded = [0_u8; GROUP * 8 + 16];
    let packed = input.take(bytes)?;
    match padded.get_mut(..packed.len()) {
        Some(front) => front.copy_from_slice(packed),
        None => return Err(crate::codec::Malformed("a group of at most 64 numbers")),
    }
    if width <= 57 {
        for (index, number) in numbers.iter_mut().enumerate() {
            let bit = index * step;
            *number = word_at(&padded, bit >> 3, 0) >> (bit & 7) & mask;
        }
    } else {
        for (index, number) in numbers.iter_mut().enumerate() {
            let bit = index * step;
            let (low, high) = (word_at(&padded, bit >> 3, 0), word_at(&padded, bit >> 3, 8));
            let both = u128::from(low) | u128::from(high) << 64;
            *number = (both >> (bit & 7)) as u64 & mask;
        }
    }
    Ok(())
}

/// The mask changes nothing for places inside of a group; it shows the compiler that none is outside.
fn word_at(bytes: &[u8; GROUP * 8 + 16], at: usize, after: usize) -> u64 {
    let at = (at & 511) + after;
    let word = bytes[at..at + 8].first_chunk().copied();
    u64::from_le_bytes(word.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn numbers_are_read_back(numbers in prop::collection::vec(any::<u64>(), 0..=GROUP), bits in 0..=64_u32) {
            let mask = u64::MAX.checked_shr(64 - bits).unwrap_or(0);
            let numbers: Vec<u64> = numbers.iter().map(|number| number & mask).collect();
            let mut out = Vec::new();
            pack(&mut out, numbers.iter().copied(), bits);
            prop_assert_eq!(out.len(), packed_bytes(numbers.len(), bits));
            let mut back = vec![0; numbers.len()];
            let mut input = Input(&out);
            unpack(&mut input, bits, &mut back).unwrap();
            prop_assert!(input.is_empty());
            prop_assert_eq!(&back, &numbers);
            // With other bytes behind.
            let bytes = out.len();
            out.extend_from_slice(&[0xa5; 20]);
            back.fill(0);
            let mut input = Input(&out);
            unpack(&mut input, bits, &mut back).unwrap();
            prop_assert_eq!(input.0.len(), 20);
            prop_assert_eq!(&back, &numbers);
            out.truncate(bytes);
            prop_assert!(out.is_empty() || unpack(&mut Input(&out[1..]), bits, &mut back).is_err());
        }
    }

    #[test]
    fn widths() {
        assert_eq!(
            [width(0), width(1), width(255), width(u64::MAX)],
            [0, 1, 8, 64]
        );
        assert_eq!(
            [packed_bytes(64, 3), packed_bytes(3, 3), packed_bytes(9, 0)],
            [24, 2, 0]
        );
    }
}
