//! A binary range coder with adaptive probabilities: the entropy stage of the line batch.
//!
//! One trait for both directions: [`Coder::bit`] is told the bit when it writes and ignores it when it reads, and returns
//! the bit in both cases. So each model is one function, and what the two sides remember cannot drift apart by a slip
//! in one of two copies. Such a function decides by *returned* bits only.

/// Probability that a bit is set, and how sure that is: 22 bits and 10 bits. It moves fast while it is new.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bit(u32);

/// After so many bits a probability moves no slower. Short memory follows a series that changes its ways; long memory
/// is more exact. Measured: 60 to 250 differ by under 1 %.
const STEADY: u32 = 150;

/// 2¹³ / (n + 1.5): the step of a probability that has seen n bits.
const RATES: [u32; STEADY as usize + 1] = {
    let mut rates = [0; STEADY as usize + 1];
    let mut n = 0;
    while n < rates.len() {
        rates[n] = (1 << 14) / (2 * n as u32 + 3);
        n += 1;
    }
    rates
};

impl Bit {
    /// Nothing is known.
    pub(super) const EVEN: Bit = Bit(1 << 31);

    /// Of 65,536, never 0 and never all: the other bit must stay possible.
    fn set(self) -> u32 {
        (self.0 >> 16).clamp(24, 65_536 - 24)
    }

    fn update(&mut self, bit: bool) {
        let seen = self.0 & 1023;
        let error = (i64::from(bit) << 22) - i64::from(self.0 >> 10);
        let step = ((error >> 3) * i64::from(RATES[seen as usize])) & !1023;
        // Within 22 bits: the step is smaller than the error.
        let moved = i64::from(self.0 & !1023) + step;
        self.0 = (moved.clamp(0, i64::from(!1023_u32)) as u32 & !1023)
            | (seen + u32::from(seen < STEADY));
    }
}

/// Both directions of a stream of bits.
pub(super) trait Coder {
    /// Whether this one writes.
    const WRITES: bool;
    /// One bit, coded by what was seen before.
    fn bit(&mut self, model: &mut Bit, bit: bool) -> bool;
    /// The low `count` bits of a number, at most 16 of them, as they are.
    fn plain16(&mut self, count: u32, value: u32) -> u32;

    /// The low `count` bits of a number, as they are.
    fn plain(&mut self, count: u32, value: u64) -> u64 {
        let (mut left, mut read) = (count, 0);
        while left > 0 {
            let some = left.min(16);
            left -= some;
            let part = self.plain16(some, (value >> left) as u32 & ((1 << some) - 1));
            read = read << some | u64::from(part);
        }
        read
    }

    /// A number below 2^`bits`, from its highest bit down, each coded by those above it.
    fn tree(&mut self, models: &mut [Bit], bits: u32, value: u32) -> u32 {
        let mut node = 1;
        for at in (0..bits).rev() {
            let set = self.bit(&mut models[node as usize], value >> at & 1 == 1);
            node = node << 1 | u32::from(set);
        }
        node - (1 << bits)
    }
}

/// Below this the range is widened by a byte.
const RANGE_MIN: u32 = 1 << 24;

/// Writes.
#[derive(Debug)]
pub(super) struct Writer {
    /// Below 2³² between calls.
    low: u64,
    range: u32,
    bytes: Vec<u8>,
}

impl Writer {
    pub(super) fn new() -> Self {
        Writer {
            low: 0,
            range: u32::MAX,
            bytes: Vec::new(),
        }
    }

    #[inline]
    fn settle(&mut self) {
        if self.low >> 32 != 0 {
            self.low &= 0xffff_ffff;
            for byte in self.bytes.iter_mut().rev() {
                *byte = byte.wrapping_add(1);
                if *byte != 0 {
                    break;
                }
            }
        }
        while self.range < RANGE_MIN {
            self.bytes.push((self.low >> 24) as u8);
            self.low = (self.low & 0x00ff_ffff) << 8;
            self.range <<= 8;
        }
    }

    /// The bytes so far and one more: the reader takes zeros behind the end.
    pub(super) fn finish(mut self) -> Vec<u8> {
        // The number within the range that ends in 24 zero bits; the range is wider than that.
        self.low = (self.low + u64::from(RANGE_MIN) - 1) & !(u64::from(RANGE_MIN) - 1);
        self.range = RANGE_MIN;
        self.settle();
        self.bytes.push((self.low >> 24) as u8);
        self.bytes
    }
}

impl Coder for Writer {
    const WRITES: bool = true;

    #[inline]
    fn bit(&mut self, model: &mut Bit, bit: bool) -> bool {
        let bound = ((u64::from(self.range) * u64::from(model.set())) >> 16) as u32;
        if bit {
            self.range = bound;
        } else {
            self.low += u64::from(bound);
            self.range -= bound;
        }
        self.settle();
        model.update(bit);
        bit
    }

    #[inline]
    fn plain16(&mut self, count: u32, value: u32) -> u32 {
        self.range >>= count;
        self.low += u64::from(self.range) * u64::from(value);
        self.settle();
        value
    }
}

/// Reads.
#[derive(Debug)]
pub(super) struct Reader<'b> {
    code: u32,
    range: u32,
    rest: &'b [u8],
    /// Bytes taken from behind the end.
    missing: u32,
}

/// What [`Writer::finish`] leaves out.
const MISSING_MAX: u32 = 3;

impl<'b> Reader<'b> {
    pub(super) fn new(bytes: &'b [u8]) -> Self {
        let mut reader = Reader {
            code: 0,
            range: u32::MAX,
            rest: bytes,
            missing: 0,
        };
        for _ in 0..4 {
            reader.code = reader.code << 8 | reader.byte();
        }
        reader
    }

    /// Whether more was read than was written: then nothing that was read counts.
    pub(super) fn is_past_end(&self) -> bool {
        self.missing > MISSING_MAX
    }

    /// Bytes that were not needed.
    pub(super) fn left(&self) -> usize {
        self.rest.len()
    }

    #[inline]
    fn byte(&mut self) -> u32 {
        match self.rest.split_first() {
            Some((byte, rest)) => {
                self.rest = rest;
                u32::from(*byte)
            }
            None => {
                self.missing = self.missing.saturating_add(1);
                0
            }
        }
    }

    #[inline]
    fn settle(&mut self) {
        while self.range < RANGE_MIN {
            self.code = self.code << 8 | self.byte();
            self.range <<= 8;
        }
    }
}

impl Coder for Reader<'_> {
    const WRITES: bool = false;

    #[inline]
    fn bit(&mut self, model: &mut Bit, _: bool) -> bool {
        let bound = ((u64::from(self.range) * u64::from(model.set())) >> 16) as u32;
        let bit = self.code < bound;
        if bit {
            self.range = bound;
        } else {
            self.code -= bound;
            self.range -= bound;
        }
        self.settle();
        model.update(bit);
        bit
    }

    #[inline]
    fn plain16(&mut self, count: u32, _: u32) -> u32 {
        self.range >>= count;
        // Only damaged bytes can reach beyond.
        let value = (self.code / self.range).min((1 << count) - 1);
        self.code = self.code.wrapping_sub(value * self.range);
        self.settle();
        value
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn both_directions(bits in proptest::collection::vec((0..5usize, any::<bool>(), 0..=64u32, any::<u64>()), 0..400)) {
            let mut models = [Bit::EVEN; 5];
            let mut writer = Writer::new();
            for (model, bit, count, value) in &bits {
                writer.bit(&mut models[*model], *bit || *model == 0);
                writer.plain(*count, *value);
            }
            let bytes = writer.finish();
            let mut models = [Bit::EVEN; 5];
            let mut reader = Reader::new(&bytes);
            for (model, bit, count, value) in bits {
                prop_assert_eq!(reader.bit(&mut models[model], false), bit || model == 0);
                let mask = if count == 64 { u64::MAX } else { (1 << count) - 1 };
                prop_assert_eq!(reader.plain(count, 0), value & mask);
            }
            prop_assert!(!reader.is_past_end());
            prop_assert_eq!(reader.left(), 0);
        }

        #[test]
        fn any_bytes_end(bytes in proptest::collection::vec(any::<u8>(), 0..50)) {
            let (mut model, mut reader) = (Bit::EVEN, Reader::new(&bytes));
            for _ in 0..10_000 {
                reader.bit(&mut model, false);
                reader.plain(13, 0);
            }
            prop_assert!(reader.is_past_end());
        }
    }

    #[test]
    fn what_is_sure_costs_nearly_nothing() {
        let (mut model, mut writer) = (Bit::EVEN, Writer::new());
        for _ in 0..100_000 {
            writer.bit(&mut model, true);
        }
        assert!(writer.finish().len() < 16);
    }

    #[test]
    fn a_carry_runs_through() {
        // Low just below a byte's edge again and again: improbable bits of a sure model push it over.
        let mut models = [Bit::EVEN; 2];
        let pattern = |n: u32| n % 97 == 3;
        let mut writer = Writer::new();
        for n in 0..50_000 {
            writer.bit(&mut models[(n & 1) as usize], pattern(n));
        }
        let bytes = writer.finish();
        let (mut models, mut reader) = ([Bit::EVEN; 2], Reader::new(&bytes));
        for n in 0..50_000 {
            assert_eq!(
                reader.bit(&mut models[(n & 1) as usize], false),
                pattern(n),
                "{n}"
            );
        }
    }
}
