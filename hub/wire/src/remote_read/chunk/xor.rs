//! Floats: each as what has changed in its bits since the last one.

use super::bits::{BitReader, BitWriter, fits};

/// Widths of the classes of times, told like those of a varbit.
const TIME_WIDTHS: [u32; 3] = [14, 17, 20];
/// More leading zeros than that have no place in five bits.
const LEADING_MAX: u32 = 31;

/// The last value written or read, and where its changed bits stood.
#[derive(Clone, Copy, Debug)]
pub(super) struct Xor {
    bits: u64,
    /// Leading and trailing zeros of the window; None before the first change.
    window: Option<(u32, u32)>,
}

impl Xor {
    /// The first value goes as it is.
    pub(super) fn write_first(value: f64, out: &mut BitWriter) -> Self {
        out.bits(value.to_bits(), 64);
        Xor {
            bits: value.to_bits(),
            window: None,
        }
    }

    pub(super) fn write(&mut self, value: f64, out: &mut BitWriter) {
        let changed = self.bits ^ value.to_bits();
        self.bits = value.to_bits();
        if changed == 0 {
            return out.bit(false);
        }
        out.bit(true);
        let leading = changed.leading_zeros().min(LEADING_MAX);
        let trailing = changed.trailing_zeros();
        if let Some((lead, trail)) = self.window
            && leading >= lead
            && trailing >= trail
        {
            out.bit(false);
            return out.bits(changed >> trail, 64 - lead - trail);
        }
        self.window = Some((leading, trailing));
        let length = 64 - leading - trailing;
        out.bit(true);
        out.bits(u64::from(leading), 5);
        // 64 has no place in six bits and goes as 0: no change at all is told otherwise.
        out.bits(u64::from(length), 6);
        out.bits(changed >> trailing, length);
    }

    pub(super) fn read_first(from: &mut BitReader<'_>) -> Option<Self> {
        Some(Xor {
            bits: from.bits(64)?,
            window: None,
        })
    }

    pub(super) fn read(&mut self, from: &mut BitReader<'_>) -> Option<f64> {
        if from.bit()? {
            if from.bit()? {
                let leading = from.bits(5)? as u32;
                let length = match from.bits(6)? as u32 {
                    0 => 64,
                    length => length,
                };
                let trailing = 64_u32.checked_sub(leading + length)?;
                self.window = Some((leading, trailing));
            }
            // Writers open a window before they use it; those that have lost theirs use all bits.
            let (leading, trailing) = self.window.unwrap_or((0, 0));
            let changed = from.bits(64 - leading - trailing)?;
            self.bits ^= changed << trailing;
        }
        Some(self.value())
    }

    pub(super) fn value(&self) -> f64 {
        f64::from_bits(self.bits)
    }
}

/// A chunk of floats; `times` has at least as many elements as `values`.
pub(super) fn encode(times: &[i64], values: &[f64]) -> Vec<u8> {
    let mut out = BitWriter::after((values.len() as u16).to_be_bytes().to_vec());
    let (mut last, mut step) = (0_i64, 0_i64);
    let mut value = None;
    for (index, (at, now)) in times.iter().zip(values).enumerate() {
        let since = at.wrapping_sub(last);
        match index {
            0 => out.varint(*at),
            1 => out.uvarint(since as u64),
            _ => write_time(since.wrapping_sub(step), &mut out),
        }
        match &mut value {
            None => value = Some(Xor::write_first(*now, &mut out)),
            Some(value) => value.write(*now, &mut out),
        }
        step = if index == 0 { 0 } else { since };
        last = *at;
    }
    out.into_bytes()
}

fn write_time(change: i64, out: &mut BitWriter) {
    if change == 0 {
        return out.bit(false);
    }
    out.bit(true);
    for width in TIME_WIDTHS {
        if fits(change, width) {
            out.bit(false);
            return out.bits(change as u64, width);
        }
        out.bit(true);
    }
    out.bits(change as u64, 64);
}

fn read_time(from: &mut BitReader<'_>) -> Option<i64> {
    if !from.bit()? {
        return Some(0);
    }
    for width in TIME_WIDTHS {
        if !from.bit()? {
            return from.signed(width);
        }
    }
    from.signed(64)
}

/// So many samples of a chunk of floats.
pub(super) fn decode(samples: usize, from: &mut BitReader<'_>) -> Option<Vec<(i64, f64)>> {
    // Each takes two bits at least.
    let mut all = Vec::with_capacity(samples.min(from.left() / 2));
    if samples == 0 {
        return Some(all);
    }
    let (mut at, mut step) = (from.varint()?, 0_i64);
    let mut value = Xor::read_first(from)?;
    all.push((at, value.value()));
    for index in 1..samples {
        step = match index {
            1 => from.uvarint()? as i64,
            _ => step.wrapping_add(read_time(from)?),
        };
        at = at.wrapping_add(step);
        all.push((at, value.read(from)?));
    }
    Some(all)
}
