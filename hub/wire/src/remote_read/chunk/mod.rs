//! Chunks as Prometheus's store writes them: up to 120 samples of one series and of one kind.
//!
//! Constraints: `tsdb/docs/format/chunks.md` of Prometheus describes the bits. In short, all numbers big-endian, in a stream
//! of bits that is filled up to a whole byte at its end:
//!
//! ```text
//! floats      number of samples <u16>, samples
//!   sample 0  time <varint>, value <64 bits>
//!   sample 1  time since the last one <uvarint>, value <xor>
//!   others    change of that since the last one <time class>, value <xor>
//! histograms  number of samples <u16>, flags <u8>, zero threshold, schema, spans, custom bounds, samples
//!   integers  time, count, zero count <varbit>, sum <64 bits>, buckets <varbit>; from sample 1 on their change of
//!             change, the sum <xor>. A bucket is what it has more than the one before it
//!   floats    time <varbit>, everything else <64 bits>; from sample 1 on time as above, everything else <xor>
//! xor         0: as the last one; 10 and the bits inside the last window; 11, leading zeros <5 bits>, length <6 bits>, bits
//! time class  0: none; 10, 110, 1110 and 14, 17, 20 bits; 1111 and 64 bits
//! varbit      0: zero; a class of 3, 6, 9, 12, 18, 25, 56, 64 bits as that many ones and a zero (none behind the last)
//! ```
//!
//! What decides where a chunk of histograms ends is their meaning to a reader: all of a chunk have one layout (schema, zero
//! threshold, bounds, and buckets, of which some may be empty), and within it no counter reset. What a chunk's first histogram
//! is to the one before it stands in the flags; a reader takes all others of the chunk as no reset. Staleness markers stand in
//! chunks of their own.

mod bits;
mod decode;
mod histogram;
mod xor;

pub use decode::{ChunkError, decode};

use model::{Histogram, Value, is_stale};

use super::proto::{Chunk, Encoding};

/// Samples of a chunk, as many as in Prometheus.
const SAMPLES_MAX: usize = 120;

/// The values of a series.
#[derive(Clone, Copy, Debug)]
pub enum Values<'a> {
    /// Numbers only.
    Floats(&'a [f64]),
    /// Histograms too.
    Mixed(&'a [Value]),
}

impl<'a> Values<'a> {
    fn len(&self) -> usize {
        match self {
            Values::Floats(all) => all.len(),
            Values::Mixed(all) => all.len(),
        }
    }

    fn float(&self, index: usize) -> Option<f64> {
        match self {
            Values::Floats(all) => all.get(index).copied(),
            Values::Mixed(all) => match all.get(index)? {
                Value::Float(value) => Some(*value),
                Value::Histogram(_) => None,
            },
        }
    }

    fn histogram(&self, index: usize) -> Option<&'a Histogram> {
        match self {
            Values::Floats(_) => None,
            Values::Mixed(all) => match all.get(index)? {
                Value::Float(_) => None,
                Value::Histogram(histogram) => Some(histogram),
            },
        }
    }
}

/// The chunks of a series, made one at a time.
#[derive(Clone, Debug)]
pub struct Chunks<'a> {
    /// Milliseconds since 1970, strictly rising.
    times: &'a [i64],
    values: Values<'a>,
    /// The first sample that is in no chunk yet.
    next: usize,
}

impl<'a> Chunks<'a> {
    /// `times` rise strictly, and there is a value for each; what is beyond the shorter of both is left out.
    pub fn new(times: &'a [i64], values: Values<'a>) -> Self {
        let times = &times[..times.len().min(values.len())];
        Chunks {
            times,
            values,
            next: 0,
        }
    }

    /// Floats from `next` on.
    fn floats(&self) -> (Encoding, usize, Vec<u8>) {
        let values: Vec<f64> = (self.next..self.times.len())
            .map_while(|index| self.values.float(index))
            .take(SAMPLES_MAX)
            .collect();
        let times = &self.times[self.next..];
        let data = xor::encode(times, &values);
        (Encoding::Xor, values.len(), data)
    }

    /// Histograms from `next` on, of which `first` is the first.
    fn histograms(&self, first: &Histogram) -> (Encoding, usize, Vec<u8>) {
        let alike = |histogram: &&Histogram| {
            histogram.integer == first.integer && is_stale(histogram.sum) == is_stale(first.sum)
        };
        let run: Vec<&Histogram> = (self.next..self.times.len())
            .map_while(|index| self.values.histogram(index).filter(alike))
            .take(SAMPLES_MAX)
            .collect();
        let before = self.next.checked_sub(1);
        let before = before.and_then(|index| self.values.histogram(index));
        let (taken, data) = histogram::encode(&self.times[self.next..], &run, before);
        let encoding = match first.integer {
            true => Encoding::Histogram,
            false => Encoding::FloatHistogram,
        };
        (encoding, taken, data)
    }
}

impl Iterator for Chunks<'_> {
    type Item = Chunk;

    fn next(&mut self) -> Option<Chunk> {
        let min_time_ms = *self.times.get(self.next)?;
        let (encoding, taken, data) = match self.values.histogram(self.next) {
            Some(first) => self.histograms(first),
            None => self.floats(),
        };
        self.next += taken.max(1);
        let max_time_ms = *self.times.get(self.next - 1)?;
        Some(Chunk {
            min_time_ms,
            max_time_ms,
            r#type: encoding as i32,
            data,
        })
    }
}

#[cfg(test)]
mod tests;
