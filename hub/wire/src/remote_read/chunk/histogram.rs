//! Histograms, of integers and of floats.

use model::{Buckets, CUSTOM_BUCKETS_SCHEMA, Histogram, ResetHint, Span, is_stale};

use super::bits::BitWriter;
use super::xor::Xor;

/// Two highest bits of the flags: what the first histogram of a chunk is to the one before it.
pub(super) const RESET: u8 = 0b1000_0000;
pub(super) const NOT_RESET: u8 = 0b0100_0000;
pub(super) const GAUGE: u8 = 0b1100_0000;
pub(super) const UNKNOWN: u8 = 0;

/// The zero threshold's first byte when the number itself follows.
pub(super) const THRESHOLD_FOLLOWS: u8 = 255;
/// Between the exponent of a power of two (as a fraction of 0.5) and its byte.
pub(super) const THRESHOLD_BIAS: i32 = 243;
/// Custom bounds are written as thousandths up to here.
const THOUSANDTHS_MAX: f64 = 33_554_430.0;

/// Histograms whose buckets are not the same share a chunk as long as it has no more than so many numbers: the layout of
/// a chunk is what any of them needs.
const CELLS_MAX: usize = 1 << 18;

/// A chunk of the first few of a run of histograms, of one kind and either all stale or none; `before` is the one before them
/// in their series. Says how many have gone into it, at least one.
pub(super) fn encode(
    times: &[i64],
    run: &[&Histogram],
    before: Option<&Histogram>,
) -> (usize, Vec<u8>) {
    let Some(first) = run.first() else {
        return (0, Vec::new());
    };
    let mut header = vec![0, 0, flags(first, before)];
    if is_stale(first.sum) {
        header[..2].copy_from_slice(&(run.len() as u16).to_be_bytes());
        // Nothing but the sum means anything.
        let stale = Histogram {
            sum: first.sum,
            integer: first.integer,
            ..Histogram::default()
        };
        let mut out = layout_header(header, &stale, &[], &[]);
        write_samples(times, &vec![&stale; run.len()], &[], &[], &mut out);
        return (run.len(), out.into_bytes());
    }
    let (mut positive, mut negative) = (Side::of(&first.positive), Side::of(&first.negative));
    let mut taken = 1;
    for pair in run.windows(2) {
        let (last, next) = (pair[0], pair[1]);
        if !goes_on(last, next) {
            break;
        }
        let (up, down) = (positive.with(&next.positive), negative.with(&next.negative));
        let buckets = up.as_ref().unwrap_or(&positive).indexes.len()
            + down.as_ref().unwrap_or(&negative).indexes.len();
        if (up.is_some() || down.is_some()) && buckets * (taken + 1) > CELLS_MAX {
            break;
        }
        positive = up.unwrap_or(positive);
        negative = down.unwrap_or(negative);
        taken += 1;
    }
    header[..2].copy_from_slice(&(taken as u16).to_be_bytes());
    let mut out = layout_header(header, first, &positive.spans, &negative.spans);
    let samples = &run[..taken];
    write_samples(
        times,
        samples,
        &positive.indexes,
        &negative.indexes,
        &mut out,
    );
    (taken, out.into_bytes())
}

fn flags(first: &Histogram, before: Option<&Histogram>) -> u8 {
    match first.reset_hint {
        ResetHint::Gauge => GAUGE,
        ResetHint::Reset => RESET,
        ResetHint::NotReset => NOT_RESET,
        ResetHint::Unknown => {
            let comparable = |before: &&Histogram| {
                let is_gauge = before.reset_hint == ResetHint::Gauge;
                !is_gauge && !is_stale(before.sum) && same_layout(before, first)
            };
            match before.filter(comparable) {
                Some(before) if has_reset(before, first) => RESET,
                Some(_) => NOT_RESET,
                None => UNKNOWN,
            }
        }
    }
}

/// Whether one histogram may stand behind another in the same chunk.
fn goes_on(last: &Histogram, next: &Histogram) -> bool {
    let is_gauge = |histogram: &Histogram| histogram.reset_hint == ResetHint::Gauge;
    if !same_layout(last, next) || is_gauge(last) != is_gauge(next) {
        return false;
    }
    is_gauge(next) || (next.reset_hint != ResetHint::Reset && !has_reset(last, next))
}

/// But for the buckets.
fn same_layout(a: &Histogram, b: &Histogram) -> bool {
    let bits = |values: &[f64]| values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
    a.schema == b.schema
        && a.zero_threshold.to_bits() == b.zero_threshold.to_bits()
        && (a.custom_values == b.custom_values || bits(&a.custom_values) == bits(&b.custom_values))
}

/// Whether anything was counted less than before, in equal layouts.
fn has_reset(last: &Histogram, next: &Histogram) -> bool {
    next.count < last.count
        || next.zero_count < last.zero_count
        || has_fallen(&last.positive, &next.positive)
        || has_fallen(&last.negative, &next.negative)
}

fn has_fallen(last: &Buckets, next: &Buckets) -> bool {
    let mut next = next.iter().peekable();
    for (index, count) in last.iter() {
        while next.next_if(|(other, _)| *other < index).is_some() {}
        let now = next.next_if(|(other, _)| *other == index);
        if now.map_or(0.0, |(_, now)| now) < count {
            return true;
        }
    }
    false
}

/// The buckets of one side that a chunk has.
struct Side {
    spans: Vec<Span>,
    /// Rising.
    indexes: Vec<i32>,
}

impl Side {
    fn of(buckets: &Buckets) -> Self {
        Side {
            spans: buckets.spans.clone(),
            indexes: buckets.iter().map(|(index, _)| index).collect(),
        }
    }

    /// With those of one more histogram; None if it has no others.
    fn with(&self, buckets: &Buckets) -> Option<Side> {
        if buckets.spans == self.spans {
            return None;
        }
        let mut indexes = Vec::with_capacity(self.indexes.len() + buckets.counts.len());
        let mut known = self.indexes.iter().copied().peekable();
        for (index, _) in buckets.iter() {
            while let Some(smaller) = known.next_if(|other| *other < index) {
                indexes.push(smaller);
            }
            known.next_if_eq(&index);
            indexes.push(index);
        }
        indexes.extend(known);
        if indexes == self.indexes {
            return None;
        }
        let all = Buckets::from_indexed(indexes.iter().map(|index| (*index, 0.0)));
        Some(Side {
            spans: all.spans,
            indexes,
        })
    }
}

fn layout_header(
    header: Vec<u8>,
    histogram: &Histogram,
    positive: &[Span],
    negative: &[Span],
) -> BitWriter {
    let mut out = BitWriter::after(header);
    write_threshold(histogram.zero_threshold, &mut out);
    out.varbit_int(i64::from(histogram.schema));
    for spans in [positive, negative] {
        out.varbit_uint(spans.len() as u64);
        for span in spans {
            out.varbit_uint(u64::from(span.length));
            out.varbit_int(i64::from(span.offset));
        }
    }
    if histogram.schema == CUSTOM_BUCKETS_SCHEMA {
        out.varbit_uint(histogram.custom_values.len() as u64);
        for bound in &histogram.custom_values {
            write_bound(*bound, &mut out);
        }
    }
    out
}

/// 0 and the usual powers of two take a byte.
fn write_threshold(threshold: f64, out: &mut BitWriter) {
    let bits = threshold.to_bits();
    if threshold == 0.0 {
        return out.bits(0, 8);
    }
    // As a fraction from 0.5 to 1, a power of two has an exponent one higher than usual.
    let exponent = (bits >> 52) as i32 - 1022;
    let is_power_of_two = bits << 12 == 0 && threshold > 0.0;
    if is_power_of_two && (1 - THRESHOLD_BIAS..=11).contains(&exponent) {
        return out.bits((exponent + THRESHOLD_BIAS) as u64, 8);
    }
    out.bits(u64::from(THRESHOLD_FOLLOWS), 8);
    out.bits(bits, 64);
}

/// Whole thousandths as numbers, others as they are.
fn write_bound(bound: f64, out: &mut BitWriter) {
    let thousandths = (bound * 1000.0).round();
    let is_whole = (0.0..=THOUSANDTHS_MAX).contains(&thousandths)
        && (thousandths / 1000.0).to_bits() == bound.to_bits();
    if is_whole {
        return out.varbit_uint(thousandths as u64 + 1);
    }
    out.bit(false);
    out.bits(bound.to_bits(), 64);
}

/// `positive` and `negative` are the buckets of the layout, which has those of all samples.
fn write_samples(
    times: &[i64],
    samples: &[&Histogram],
    positive: &[i32],
    negative: &[i32],
    out: &mut BitWriter,
) {
    let is_integer = samples.first().is_some_and(|first| first.integer);
    let mut time = DoubleDelta::default();
    let mut integers = vec![DoubleDelta::default(); 2 + positive.len() + negative.len()];
    let mut floats: Vec<Xor> = Vec::new();
    let mut counts = Vec::with_capacity(positive.len() + negative.len());
    for (number, (at, sample)) in times.iter().zip(samples).enumerate() {
        counts.clear();
        spread(&sample.positive, positive, &mut counts);
        spread(&sample.negative, negative, &mut counts);
        out.varbit_int(time.next(number, *at));
        if is_integer {
            let (whole, buckets) = integers.split_at_mut(2);
            for (state, count) in whole.iter_mut().zip([sample.count, sample.zero_count]) {
                let change = state.next(number, count as u64 as i64);
                match number {
                    0 => out.varbit_uint(change as u64),
                    _ => out.varbit_int(change),
                }
            }
            write_float(&mut floats, 0, sample.sum, out);
            let sides = [&counts[..positive.len()], &counts[positive.len()..]];
            let steps = sides.into_iter().flat_map(|side| {
                let mut last = 0_i64;
                side.iter().map(move |count| {
                    let step = (*count as i64).wrapping_sub(last);
                    last = *count as i64;
                    step
                })
            });
            for (state, step) in buckets.iter_mut().zip(steps) {
                out.varbit_int(state.next(number, step));
            }
        } else {
            let whole = [sample.count, sample.zero_count, sample.sum];
            for (index, value) in whole.iter().chain(&counts).enumerate() {
                write_float(&mut floats, index, *value, out);
            }
        }
    }
}

fn write_float(states: &mut Vec<Xor>, index: usize, value: f64, out: &mut BitWriter) {
    match states.get_mut(index) {
        Some(state) => state.write(value, out),
        None => states.push(Xor::write_first(value, out)),
    }
}

/// Counts of the buckets of the layout; those that the histogram lacks are empty.
fn spread(buckets: &Buckets, layout: &[i32], counts: &mut Vec<f64>) {
    let mut known = buckets.iter().peekable();
    counts.extend(layout.iter().map(|index| {
        let count = known.next_if(|(other, _)| other == index);
        count.map_or(0.0, |(_, count)| count)
    }));
}

/// A number as what its change has changed.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct DoubleDelta {
    last: i64,
    delta: i64,
}

impl DoubleDelta {
    /// What is written of the sample of this number in its chunk.
    fn next(&mut self, number: usize, value: i64) -> i64 {
        if number == 0 {
            self.last = value;
            return value;
        }
        let delta = value.wrapping_sub(self.last);
        let change = delta.wrapping_sub(self.delta);
        (self.last, self.delta) = (value, delta);
        change
    }

    /// What was written, read back.
    pub(super) fn read(&mut self, number: usize, change: i64) -> i64 {
        if number == 0 {
            self.last = change;
            return change;
        }
        self.delta = self.delta.wrapping_add(change);
        self.last = self.last.wrapping_add(self.delta);
        self.last
    }
}
