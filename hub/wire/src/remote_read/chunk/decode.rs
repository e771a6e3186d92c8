//! Chunks read back: for those who ask, and for our own tests.

use model::{
    Buckets, CUSTOM_BUCKETS_SCHEMA, Histogram, ResetHint, Sample, Span, Timestamp, is_stale,
};

use super::bits::BitReader;
use super::histogram::{DoubleDelta, GAUGE, RESET, THRESHOLD_BIAS, THRESHOLD_FOLLOWS};
use super::xor::{self, Xor};
use crate::remote_read::proto::{Chunk, Encoding};

/// Numbers that the histograms of one chunk may have together: a short chunk must not become memory without bound.
const CELLS_MAX: usize = 1 << 20;

/// Why bytes are no chunk.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum ChunkError {
    #[error("chunk ends in the midst of its samples")]
    Truncated,
    #[error("chunk of encoding {found}: 1 to 3 are known (floats, histograms, float histograms)")]
    Encoding { found: i32 },
    #[error("a chunk's layout is none: {what}")]
    Layout { what: &'static str },
    #[error("histograms of a chunk hold more than {CELLS_MAX} numbers")]
    TooLarge,
}

/// The samples of a chunk. Histograms say as much about resets as the chunk does.
///
/// # Errors
/// See [`ChunkError`].
pub fn decode(chunk: &Chunk) -> Result<Vec<Sample>, ChunkError> {
    let (number, rest) = chunk
        .data
        .split_first_chunk()
        .ok_or(ChunkError::Truncated)?;
    let samples = usize::from(u16::from_be_bytes(*number));
    match Encoding::try_from(chunk.r#type) {
        Ok(Encoding::Xor) => {
            let floats = xor::decode(samples, &mut BitReader::new(rest));
            let sample = |(at, value)| Sample::float(Timestamp::from_millis(at), value);
            let floats = floats.ok_or(ChunkError::Truncated)?;
            Ok(floats.into_iter().map(sample).collect())
        }
        Ok(kind @ (Encoding::Histogram | Encoding::FloatHistogram)) => {
            let (flags, rest) = rest.split_first().ok_or(ChunkError::Truncated)?;
            let mut from = BitReader::new(rest);
            let layout = read_layout(&mut from, kind == Encoding::Histogram)?;
            read_samples(samples, *flags, layout, &mut from)
        }
        _ => Err(ChunkError::Encoding {
            found: chunk.r#type,
        }),
    }
}

/// A histogram with all that those of a chunk have in common, its buckets empty.
fn read_layout(from: &mut BitReader<'_>, integer: bool) -> Result<Histogram, ChunkError> {
    let cut = || ChunkError::Truncated;
    let zero_threshold = read_threshold(from).ok_or_else(cut)?;
    let schema = from.varbit_int().ok_or_else(cut)?;
    let schema = i32::try_from(schema).map_err(|_| ChunkError::Layout {
        what: "a schema beyond 32 bits",
    })?;
    let positive = read_spans(from)?;
    let negative = read_spans(from)?;
    let mut custom_values = Vec::new();
    if schema == CUSTOM_BUCKETS_SCHEMA {
        let count = from.varbit_uint().ok_or_else(cut)?;
        for _ in 0..count {
            custom_values.push(read_bound(from).ok_or_else(cut)?);
        }
    }
    Ok(Histogram {
        schema,
        zero_threshold,
        positive,
        negative,
        custom_values,
        integer,
        ..Histogram::default()
    })
}

fn read_threshold(from: &mut BitReader<'_>) -> Option<f64> {
    match from.bits(8)? as u8 {
        0 => Some(0.0),
        THRESHOLD_FOLLOWS => from.float(),
        byte => Some(0.5 * 2_f64.powi(i32::from(byte) - THRESHOLD_BIAS)),
    }
}

/// Each bucket takes a bit at least, so no more can be claimed than there are bits.
fn read_spans(from: &mut BitReader<'_>) -> Result<Buckets, ChunkError> {
    let count = from.varbit_uint().ok_or(ChunkError::Truncated)?;
    let (mut spans, mut buckets) = (Vec::new(), 0_usize);
    for _ in 0..count {
        let length = from.varbit_uint().ok_or(ChunkError::Truncated)?;
        let offset = from.varbit_int().ok_or(ChunkError::Truncated)?;
        let (Ok(length), Ok(offset)) = (u32::try_from(length), i32::try_from(offset)) else {
            return Err(ChunkError::Layout {
                what: "a span beyond 32 bits",
            });
        };
        buckets = buckets.saturating_add(length as usize);
        if buckets > from.left() {
            return Err(ChunkError::Truncated);
        }
        spans.push(Span { offset, length });
    }
    let counts = vec![0.0; buckets];
    Ok(Buckets { spans, counts })
}

fn read_bound(from: &mut BitReader<'_>) -> Option<f64> {
    match from.varbit_uint()? {
        0 => from.float(),
        thousandths => Some((thousandths - 1) as f64 / 1000.0),
    }
}

/// What the flags say of the sample of this number in its chunk.
fn hint(flags: u8, number: usize) -> ResetHint {
    match (flags & GAUGE, number) {
        (GAUGE, _) => ResetHint::Gauge,
        (_, 1..) => ResetHint::NotReset,
        (RESET, 0) => ResetHint::Reset,
        // That the last chunk ended without a reset does not help who has not got it.
        _ => ResetHint::Unknown,
    }
}

fn read_samples(
    samples: usize,
    flags: u8,
    layout: Histogram,
    from: &mut BitReader<'_>,
) -> Result<Vec<Sample>, ChunkError> {
    let spans = layout.positive.spans.len() + layout.negative.spans.len();
    let buckets = layout.positive.counts.len() + layout.negative.counts.len();
    let cells = 16 + spans + buckets + layout.custom_values.len();
    // Each sample takes four bits at least, and one for each bucket, but for stale ones.
    if cells.saturating_mul(samples.min(from.left() / 4)) > CELLS_MAX {
        return Err(ChunkError::TooLarge);
    }
    let mut reading = Reading {
        layout,
        time: DoubleDelta::default(),
        integers: vec![DoubleDelta::default(); 2 + buckets],
        floats: vec![None; 3 + buckets],
    };
    let mut all = Vec::new();
    for number in 0..samples {
        let (at, histogram) = reading.next(number, from).ok_or(ChunkError::Truncated)?;
        let histogram = Histogram {
            reset_hint: hint(flags, number),
            ..histogram
        };
        all.push(Sample::histogram(Timestamp::from_millis(at), histogram));
    }
    Ok(all)
}

struct Reading {
    layout: Histogram,
    time: DoubleDelta,
    integers: Vec<DoubleDelta>,
    /// None before the first sample.
    floats: Vec<Option<Xor>>,
}

impl Reading {
    fn next(&mut self, number: usize, from: &mut BitReader<'_>) -> Option<(i64, Histogram)> {
        let at = self.time.read(number, from.varbit_int()?);
        let mut histogram = self.layout.clone();
        if self.layout.integer {
            for index in 0..2 {
                let change = match number {
                    0 => from.varbit_uint()? as i64,
                    _ => from.varbit_int()?,
                };
                let count = self.integers[index].read(number, change) as u64 as f64;
                match index {
                    0 => histogram.count = count,
                    _ => histogram.zero_count = count,
                }
            }
            histogram.sum = self.float(0, from)?;
        } else {
            histogram.count = self.float(0, from)?;
            histogram.zero_count = self.float(1, from)?;
            histogram.sum = self.float(2, from)?;
        }
        if is_stale(histogram.sum) {
            // No buckets follow, whatever the layout says.
            let stale = Histogram {
                sum: histogram.sum,
                schema: histogram.schema,
                integer: histogram.integer,
                ..Histogram::default()
            };
            return Some((at, stale));
        }
        let mut index = 0;
        for side in [&mut histogram.positive, &mut histogram.negative] {
            let mut last = 0_i64;
            for count in &mut side.counts {
                *count = if self.layout.integer {
                    let step = self.integers[2 + index].read(number, from.varbit_int()?);
                    last = last.wrapping_add(step);
                    last as f64
                } else {
                    self.float(3 + index, from)?
                };
                index += 1;
            }
        }
        Some((at, histogram))
    }

    fn float(&mut self, index: usize, from: &mut BitReader<'_>) -> Option<f64> {
        match &mut self.floats[index] {
            Some(state) => state.read(from),
            empty => {
                let first = Xor::read_first(from)?;
                *empty = Some(first);
                Some(first.value())
            }
        }
    }
}
