//! Streams of bits, the highest of each byte first.

/// Widths of the classes of a varbit. The class is told by as many ones, closed by a zero; the last needs none.
const VARBIT_WIDTHS: [u32; 8] = [3, 6, 9, 12, 18, 25, 56, 64];

/// Grows at its end.
#[derive(Debug, Default)]
pub(super) struct BitWriter {
    bytes: Vec<u8>,
    /// Unused low bits of the last byte.
    free: u32,
}

impl BitWriter {
    /// Behind whole bytes.
    pub(super) fn after(bytes: Vec<u8>) -> Self {
        BitWriter { bytes, free: 0 }
    }

    /// The `count` lowest bits of a number.
    pub(super) fn bits(&mut self, value: u64, count: u32) {
        let mut left = count;
        while left > 0 {
            if self.free == 0 {
                self.bytes.push(0);
                self.free = 8;
            }
            let take = left.min(self.free);
            let part = (value >> (left - take)) & ((1 << take) - 1);
            if let Some(last) = self.bytes.last_mut() {
                *last |= (part as u8) << (self.free - take);
            }
            self.free -= take;
            left -= take;
        }
    }

    pub(super) fn bit(&mut self, bit: bool) {
        self.bits(u64::from(bit), 1);
    }

    /// Seven bits a byte, the lowest first.
    pub(super) fn uvarint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.bits(value & 0x7f | 0x80, 8);
            value >>= 7;
        }
        self.bits(value, 8);
    }

    /// The same of a number whose sign went to the lowest bit.
    pub(super) fn varint(&mut self, value: i64) {
        self.uvarint((value << 1 ^ value >> 63) as u64);
    }

    pub(super) fn varbit_int(&mut self, value: i64) {
        let class = VARBIT_WIDTHS.iter().position(|width| fits(value, *width));
        self.varbit(value == 0, class, value as u64);
    }

    pub(super) fn varbit_uint(&mut self, value: u64) {
        let bits = u64::BITS - value.leading_zeros();
        let class = VARBIT_WIDTHS.iter().position(|width| bits <= *width);
        self.varbit(value == 0, class, value);
    }

    fn varbit(&mut self, zero: bool, class: Option<usize>, bits: u64) {
        if zero {
            return self.bit(false);
        }
        // Every number is in the last class.
        let class = class.unwrap_or(VARBIT_WIDTHS.len() - 1);
        for _ in 0..=class {
            self.bit(true);
        }
        if class + 1 < VARBIT_WIDTHS.len() {
            self.bit(false);
        }
        self.bits(bits, VARBIT_WIDTHS[class]);
    }

    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }
}

/// Whether a number has its place in so many bits. They hold one positive number more and one negative less than two's
/// complement does: 3 bits hold -3 to 4.
pub(super) fn fits(value: i64, bits: u32) -> bool {
    if bits >= 64 {
        return true;
    }
    let half = 1_i64 << (bits - 1);
    (1 - half..=half).contains(&value)
}

/// Reads what [`BitWriter`] writes. None: the stream is over.
#[derive(Debug)]
pub(super) struct BitReader<'a> {
    bytes: &'a [u8],
    /// In bits.
    at: usize,
}

impl<'a> BitReader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        BitReader { bytes, at: 0 }
    }

    /// How many bits are left.
    pub(super) fn left(&self) -> usize {
        self.bytes.len() * 8 - self.at
    }

    pub(super) fn bit(&mut self) -> Option<bool> {
        let byte = *self.bytes.get(self.at / 8)?;
        let bit = byte >> (7 - self.at % 8) & 1;
        self.at += 1;
        Some(bit == 1)
    }

    pub(super) fn bits(&mut self, count: u32) -> Option<u64> {
        let mut value = 0;
        for _ in 0..count {
            value = value << 1 | u64::from(self.bit()?);
        }
        Some(value)
    }

    pub(super) fn float(&mut self) -> Option<f64> {
        self.bits(64).map(f64::from_bits)
    }

    pub(super) fn uvarint(&mut self) -> Option<u64> {
        let mut value = 0;
        for shift in (0..70).step_by(7) {
            let byte = self.bits(8)?;
            value |= (byte & 0x7f).checked_shl(shift)?;
            if byte < 0x80 {
                return Some(value);
            }
        }
        None
    }

    pub(super) fn varint(&mut self) -> Option<i64> {
        let value = self.uvarint()?;
        Some((value >> 1) as i64 ^ -((value & 1) as i64))
    }

    /// A number of so many bits, as [`fits`] has them.
    pub(super) fn signed(&mut self, bits: u32) -> Option<i64> {
        let value = self.bits(bits)?;
        if bits < 64 && value > 1 << (bits - 1) {
            return Some(value as i64 - (1 << bits));
        }
        Some(value as i64)
    }

    fn varbit_width(&mut self) -> Option<u32> {
        if !self.bit()? {
            return Some(0);
        }
        for width in &VARBIT_WIDTHS[..VARBIT_WIDTHS.len() - 1] {
            if !self.bit()? {
                return Some(*width);
            }
        }
        Some(64)
    }

    pub(super) fn varbit_int(&mut self) -> Option<i64> {
        match self.varbit_width()? {
            0 => Some(0),
            width => self.signed(width),
        }
    }

    pub(super) fn varbit_uint(&mut self) -> Option<u64> {
        match self.varbit_width()? {
            0 => Some(0),
            width => self.bits(width),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The bits as text.
    fn written(write: impl FnOnce(&mut BitWriter)) -> String {
        let mut writer = BitWriter::default();
        write(&mut writer);
        let used = writer.bytes.len() * 8 - writer.free as usize;
        let all: String = writer.bytes.iter().map(|b| format!("{b:08b}")).collect();
        all[..used].to_owned()
    }

    #[test]
    fn classes_of_signed_numbers() {
        let check = |value: i64, prefix: &str, width: usize| {
            let found = written(|out| out.varbit_int(value));
            assert!(found.starts_with(prefix), "{value}: {found}");
            assert_eq!(found.len(), prefix.len() + width, "{value}: {found}");
        };
        check(0, "0", 0);
        for (value, prefix, width) in [
            (4, "10", 3),
            (32, "110", 6),
            (256, "1110", 9),
            (2048, "11110", 12),
            (131_072, "111110", 18),
            (16_777_216, "1111110", 25),
            (1 << 55, "11111110", 56),
            (i64::MAX, "11111111", 64),
        ] {
            check(value, prefix, width);
            check(1 - value, prefix, width);
        }
        check(5, "110", 6);
        check(-4, "110", 6);
        check((1 << 55) + 1, "11111111", 64);
        check(i64::MIN, "11111111", 64);
    }

    #[test]
    fn classes_of_unsigned_numbers() {
        let check =
            |value: u64, found: &str| assert_eq!(written(|out| out.varbit_uint(value)), found);
        check(0, "0");
        check(1, "10001");
        check(7, "10111");
        check(8, "110001000");
        check(511, "1110111111111");
        check(u64::MAX, &"1".repeat(72));
    }

    proptest! {
        #[test]
        fn there_and_back(
            all in proptest::collection::vec((any::<u64>(), 0..64_u32, any::<bool>()), 0..50)
        ) {
            let mut out = BitWriter::default();
            let numbers: Vec<(u64, bool)> = all.into_iter().map(|(n, shift, odd)| (n >> shift, odd)).collect();
            for (number, odd) in &numbers {
                out.bit(*odd);
                out.varbit_uint(*number);
                out.varbit_int(*number as i64);
                out.varbit_int((*number as i64).wrapping_neg());
                out.uvarint(*number);
                out.varint(*number as i64);
                out.bits(*number, 64);
            }
            let bytes = out.into_bytes();
            let mut read = BitReader::new(&bytes);
            for (number, odd) in &numbers {
                prop_assert_eq!(read.bit(), Some(*odd));
                prop_assert_eq!(read.varbit_uint(), Some(*number));
                prop_assert_eq!(read.varbit_int(), Some(*number as i64));
                prop_assert_eq!(read.varbit_int(), Some((*number as i64).wrapping_neg()));
                prop_assert_eq!(read.uvarint(), Some(*number));
                prop_assert_eq!(read.varint(), Some(*number as i64));
                prop_assert_eq!(read.bits(64), Some(*number));
            }
            prop_assert!(read.left() < 8);
        }
    }
}
