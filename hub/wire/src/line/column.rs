//! The column of one series: what both ends remember of it, and how its next value is coded by that.
//!
//! A value is the same as before, or the staleness marker, or an integer by the series's rule ([`scale`](super::scale)). The
//! integer's step is predicted in four ways, the one that erred least lately is taken, and what is left is coded by how
//! large it usually is.

use super::range::{Bit, Coder};
use super::scale;

/// What both ends remember of a series: 56 bytes.
#[derive(Clone, Debug)]
pub(super) struct Track {
    /// Bits of the last value that was no staleness marker.
    last: u64,
    /// The same as an integer by `rule`.
    whole: i64,
    /// Moving average of the steps, in units of `unit`, times 16.
    drift: i64,
    /// Moving average of the integers, times 16.
    level: i64,
    /// Moving averages of the bits that each prediction is wrong by, times 64.
    errors: [u16; PREDICTIONS],
    /// All steps are multiples of it.
    unit: u32,
    /// The greatest that divides all steps lately; 0: none seen yet.
    common: u32,
    /// How often it changes, of 65,536.
    churn: u16,
    /// Whether it changed, the last eight times; the latest in the lowest bit.
    history: u8,
    rule: u8,
    /// Steps seen by this rule, up to 255.
    seen: u8,
    /// Bit 0: the last step was downwards. Bit 1: the last value needed an escape. Bit 2: absent in the last scrape.
    marks: u8,
}

const PREDICTIONS: usize = 4;
const DOWN: u8 = 1;
const ESCAPED: u8 = 2;
const ABSENT: u8 = 4;

/// A unit is believed after so many steps.
const UNIT_AFTER: u8 = 3;
/// A multiple of eight, far from zero.
const SEEN_AGAIN: u8 = 128;
/// Averages remember about so many steps: 2^3.
const MEMORY: u32 = 3;

impl Default for Track {
    fn default() -> Self {
        Track {
            last: 0,
            whole: 0,
            drift: 0,
            level: 0,
            errors: [0; PREDICTIONS],
            unit: 1,
            common: 0,
            churn: 1 << 14,
            history: 0,
            rule: 0,
            seen: 0,
            marks: 0,
        }
    }
}

/// What the series before this one in the same scrape did: neighbours often do alike.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Neighbour {
    changed: bool,
    stale: bool,
    step: i64,
}

/// Rows by usual size, in half bits, and two more: nothing known, and a unit that broke.
const ROWS: usize = 66;
const ROW_FRESH: usize = 64;
const ROW_BROKEN: usize = 65;
/// A size further from the usual one shares its probability.
const REACH: usize = 12;

/// Probabilities of the sizes of numbers that usually have a certain size.
#[derive(Clone, Debug)]
struct Row {
    larger: Bit,
    up: [Bit; REACH],
    down: [Bit; REACH],
    /// The two bits below the highest, by how far the size is from the usual one.
    top: [[Bit; 3]; 6],
}

const ROW: Row = Row {
    larger: Bit::EVEN,
    up: [Bit::EVEN; REACH],
    down: [Bit::EVEN; REACH],
    top: [[Bit::EVEN; 3]; 6],
};

/// The rows that were used: of most sessions a few, and a hub holds two sessions of each of a thousand edges.
#[derive(Clone, Debug)]
struct Rows {
    made: Vec<Row>,
    /// Where a row is, plus one; 0: not made yet.
    places: [u8; ROWS],
}

impl Default for Rows {
    fn default() -> Self {
        Rows {
            made: Vec::new(),
            places: [0; ROWS],
        }
    }
}

impl Rows {
    fn of(&mut self, number: usize) -> &mut Row {
        if self.places[number] == 0 {
            // Not twice as many: most will not be used.
            self.made.reserve_exact(1);
            self.made.push(ROW);
            self.places[number] = self.made.len() as u8;
        }
        &mut self.made[usize::from(self.places[number]) - 1]
    }
}

/// The probabilities that all series of a session share.
#[derive(Clone, Debug)]
pub(super) struct Models {
    same: [Bit; 256],
    escape: [Bit; 4],
    stale: [Bit; 2],
    rule: [Bit; 32],
    divides: Bit,
    sign: [Bit; 2 * PREDICTIONS],
    rows: Rows,
    pub(super) absent: [Bit; 4],
}

impl Models {
    pub(super) fn new() -> Self {
        Models {
            same: [Bit::EVEN; 256],
            escape: [Bit::EVEN; 4],
            stale: [Bit::EVEN; 2],
            rule: [Bit::EVEN; 32],
            divides: Bit::EVEN,
            sign: [Bit::EVEN; 2 * PREDICTIONS],
            rows: Rows::default(),
            absent: [Bit::EVEN; 4],
        }
    }

    /// A number that usually has `row / 2` bits.
    fn residual<C: Coder>(
        &mut self,
        coder: &mut C,
        row_number: usize,
        sign: usize,
        residual: i64,
    ) -> i64 {
        let usual = match row_number {
            ROW_FRESH => 6,
            ROW_BROKEN => 12,
            row => row.div_ceil(2) as u32,
        };
        let row = self.rows.of(row_number);
        let bits = bits_of(residual);
        let mut found;
        if coder.bit(&mut row.larger, bits > usual) {
            found = usual + 1;
            while found < 64 {
                let place = (found - usual - 1) as usize;
                if coder.bit(&mut row.up[place.min(REACH - 1)], bits == found) {
                    break;
                }
                found += 1;
            }
        } else {
            found = usual;
            while found > 0 {
                let place = (usual - found) as usize;
                if coder.bit(&mut row.down[place.min(REACH - 1)], bits == found) {
                    break;
                }
                found -= 1;
            }
        }
        if found == 0 {
            return 0;
        }
        let negative = coder.bit(&mut self.sign[sign], residual < 0);
        let size = residual.unsigned_abs();
        let mut left = found - 1;
        let mut read = 1_u64;
        let top = &mut row.top[(found + 3).saturating_sub(usual).min(5) as usize];
        let mut node = 0;
        while left > 0 && node < 3 {
            left -= 1;
            let set = coder.bit(&mut top[node], size >> left & 1 == 1);
            read = read << 1 | u64::from(set);
            node = match node {
                0 => 1 + usize::from(set),
                _ => 3,
            };
        }
        if left > 0 {
            read = read << left | coder.plain(left, size & ((1 << left) - 1));
        }
        match negative {
            true => (read as i64).wrapping_neg(),
            false => read as i64,
        }
    }
}

fn bits_of(number: i64) -> u32 {
    64 - number.unsigned_abs().leading_zeros()
}

/// Bytes that are not what an encoder writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct UnknownRule(pub(super) u8);

impl Track {
    /// Whether the last scrape was without it.
    pub(super) fn is_absent(&self) -> bool {
        self.marks & ABSENT != 0
    }

    pub(super) fn set_absent(&mut self, absent: bool) {
        self.marks = self.marks & !ABSENT | if absent { ABSENT } else { 0 };
    }

    /// The next value's bits.
    #[inline]
    pub(super) fn value<C: Coder>(
        &mut self,
        coder: &mut C,
        models: &mut Models,
        neighbour: &mut Neighbour,
        bits: u64,
    ) -> Result<u64, UnknownRule> {
        let context = self.same_context(neighbour.changed);
        let same = coder.bit(&mut models.same[context], bits == self.last);
        let aim = if same { 0 } else { i32::from(u16::MAX) };
        self.churn = (i32::from(self.churn) + ((aim - i32::from(self.churn)) >> 4)) as u16;
        self.history = self.history << 1 | u8::from(!same);
        neighbour.changed = !same;
        if same {
            (neighbour.stale, neighbour.step) = (false, 0);
            return Ok(self.last);
        }
        self.changed(coder, models, neighbour, bits)
    }

    fn changed<C: Coder>(
        &mut self,
        coder: &mut C,
        models: &mut Models,
        neighbour: &mut Neighbour,
        bits: u64,
    ) -> Result<u64, UnknownRule> {
        let is_stale = bits == model::STALE_NAN_BITS;
        let (mut rule, mut whole) = (self.rule, 0);
        if C::WRITES && !is_stale {
            (rule, whole) = self.choose(f64::from_bits(bits));
        }
        let context = usize::from(self.marks & ESCAPED != 0) + 2 * usize::from(self.seen == 0);
        let escape = coder.bit(&mut models.escape[context], is_stale || rule != self.rule);
        self.marks = self.marks & !ESCAPED | if escape { ESCAPED } else { 0 };
        if escape {
            let stale = coder.bit(&mut models.stale[usize::from(neighbour.stale)], is_stale);
            neighbour.stale = stale;
            if stale {
                neighbour.step = 0;
                return Ok(model::STALE_NAN_BITS);
            }
            let rule = coder.tree(&mut models.rule, 5, u32::from(rule)) as u8;
            if !scale::is_known(rule) {
                return Err(UnknownRule(rule));
            }
            *self = Track {
                whole: scale::nearest(rule, f64::from_bits(self.last)),
                rule,
                last: self.last,
                churn: self.churn,
                history: self.history,
                marks: self.marks,
                ..Track::default()
            };
        }
        neighbour.stale = false;
        let whole = self.integer(coder, models, neighbour, whole);
        self.last = match C::WRITES {
            true => bits,
            false => scale::value(self.rule, whole).to_bits(),
        };
        Ok(self.last)
    }

    /// The rule and the integer of a value: the rule of before, if that fits.
    fn choose(&self, number: f64) -> (u8, i64) {
        // A series of floats that are no decimals is asked only now and then whether it is one now.
        if self.rule == scale::BITS && !self.seen.is_multiple_of(8) {
            return (scale::BITS, number.to_bits() as i64);
        }
        match scale::whole(self.rule, number) {
            Some(whole) if self.rule != scale::BITS => (self.rule, whole),
            _ => scale::choose(number),
        }
    }

    /// The next integer, by the series's rule.
    pub(super) fn integer<C: Coder>(
        &mut self,
        coder: &mut C,
        models: &mut Models,
        neighbour: &mut Neighbour,
        whole: i64,
    ) -> i64 {
        let step = whole.wrapping_sub(self.whole);
        let mut unit = i64::from(self.unit);
        let broken = unit > 1 && !coder.bit(&mut models.divides, step % unit == 0);
        if broken {
            unit = 1;
        }
        let mut predicted = [0, (self.drift + 8) >> 4, 0, neighbour.step];
        predicted[2] = ((self.level.wrapping_add(8)) >> 4).wrapping_sub(self.whole);
        let mut units = step;
        if unit > 1 {
            units = step / unit;
            predicted[2] /= unit;
        }
        let mut best = 0;
        for way in 1..PREDICTIONS {
            if self.errors[way] < self.errors[best] {
                best = way;
            }
        }
        let row = match () {
            () if broken => ROW_BROKEN,
            () if self.seen == 0 => ROW_FRESH,
            () => usize::from(self.errors[best] / 32).min(ROW_FRESH - 1),
        };
        if broken {
            (predicted, best) = ([0; PREDICTIONS], 0);
        }
        let sign = 2 * best + usize::from(self.marks & DOWN);
        let residual = models.residual(coder, row, sign, units.wrapping_sub(predicted[best]));
        self.marks = self.marks & !DOWN | if residual < 0 { DOWN } else { 0 };
        units = residual.wrapping_add(predicted[best]);
        let step = units.wrapping_mul(unit);
        let pace = MEMORY.min(u32::from(self.seen));
        for (error, predicted) in self.errors.iter_mut().zip(predicted) {
            let wrong = 64 * bits_of(units.wrapping_sub(predicted)) as i32;
            *error = (i32::from(*error) + ((wrong - i32::from(*error)) >> pace)) as u16;
        }
        self.whole = self.whole.wrapping_add(step);
        neighbour.step = units;
        let far = |number: i64| number.wrapping_mul(16);
        if self.seen == 0 {
            // The first step leads from nothing to the value: it says nothing about the next.
            (self.drift, self.level) = (0, far(self.whole));
        } else {
            let pace = MEMORY.min(u32::from(self.seen) - 1);
            self.drift = self
                .drift
                .wrapping_add(far(units).wrapping_sub(self.drift) >> pace);
            self.level = self
                .level
                .wrapping_add(far(self.whole).wrapping_sub(self.level) >> MEMORY);
            self.learn_unit(step, broken);
        }
        // Goes round at its end, so that it stays a count.
        self.seen = self.seen.checked_add(1).unwrap_or(SEEN_AGAIN);
        self.whole
    }

    /// Follows what divides all steps. Both ends see the same steps, so nothing has to be said.
    fn learn_unit(&mut self, step: i64, broken: bool) {
        if broken {
            self.drift = self.drift.wrapping_mul(i64::from(self.unit));
            (self.unit, self.common) = (1, 1);
        }
        if self.common == 1 || step == 0 {
            return;
        }
        let size = step.unsigned_abs();
        self.common = match self.common {
            0 => u32::try_from(size).unwrap_or(1),
            common if size.is_multiple_of(u64::from(common)) => common,
            common => gcd(size % u64::from(common), u64::from(common)) as u32,
        };
        if self.seen == UNIT_AFTER && self.common > 1 {
            self.unit = self.common;
            self.drift /= i64::from(self.unit);
            let less = 64 * (31 - self.unit.leading_zeros()) as u16;
            for error in &mut self.errors {
                *error = error.saturating_sub(less);
            }
        }
        if self.seen >= UNIT_AFTER && self.unit == 1 {
            self.common = 1;
        }
    }

    fn same_context(&self, neighbour: bool) -> usize {
        let rare = self.churn.min(!self.churn);
        let level = (16 - rare.leading_zeros()) * 2 + u32::from(self.churn >> 15);
        (level as usize) << 3 | usize::from(self.history & 3) << 1 | usize::from(neighbour)
    }
}

fn gcd(mut a: u64, mut b: u64) -> u64 {
    while a != 0 {
        (a, b) = (b % a, a);
    }
    b
}
