//! Records of the write-ahead log and of the catalogue: sections of new series, aliases, samples and metadata
//! (drawn in `FORMAT.md`).

use model::{LabelSet, Metadata, MetricType};

use crate::{
    chunk,
    codec::{Decoded, Input, Malformed, put_bytes, put_varint, put_zigzag},
    rows::Rows,
    runs::{IdRun, Runs, TimeRun},
};

const VERSION: u8 = 1;

const SERIES: u8 = 1;
const ALIAS: u8 = 2;
const ROWS: u8 = 3;
const METADATA: u8 = 4;
const COLUMNS: u8 = 5;

/// One thing a record says.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Entry {
    /// A series seen for the first time.
    Series {
        key: u128,
        id: u32,
        scope: String,
        labels: LabelSet,
    },
    /// Another key of a known series.
    Alias { key: u128, id: u32 },
    /// Samples in the order in which they were written.
    Rows { id: u32, rows: Rows },
    /// Samples of many series in the order in which they were written.
    Columns { runs: Runs, values: Vec<f64> },
    /// What is said of a metric.
    Metadata { metric: String, metadata: Metadata },
}

/// Builds one record.
#[derive(Debug)]
pub(crate) struct Frame(Vec<u8>);

impl Default for Frame {
    fn default() -> Self {
        Self::new()
    }
}

impl Frame {
    pub(crate) fn new() -> Self {
        Self(vec![VERSION])
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.len() == 1
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.0
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// Starts anew with the memory of before.
    pub(crate) fn clear(&mut self) {
        self.0.truncate(1);
    }

    pub(crate) fn capacity(&self) -> usize {
        self.0.capacity()
    }

    pub(crate) fn series(&mut self, key: u128, id: u32, scope: &str, labels: &LabelSet) {
        self.0.push(SERIES);
        self.0.extend_from_slice(&key.to_le_bytes());
        put_varint(&mut self.0, u64::from(id));
        put_bytes(&mut self.0, scope.as_bytes());
        // Nearly always the count is one byte, and known when the labels are written.
        let count_at = self.0.len();
        self.0.push(0);
        let mut count = 0_u64;
        for (name, value) in labels.iter() {
            put_bytes(&mut self.0, name.as_bytes());
            put_bytes(&mut self.0, value.as_bytes());
            count += 1;
        }
        if count < 0x80 {
            self.0[count_at] = count as u8;
        } else {
            let mut varint = Vec::new();
            put_varint(&mut varint, count);
            self.0.splice(count_at..=count_at, varint);
        }
    }

    pub(crate) fn alias(&mut self, key: u128, id: u32) {
        self.0.push(ALIAS);
        self.0.extend_from_slice(&key.to_le_bytes());
        put_varint(&mut self.0, u64::from(id));
    }

    /// Rows `from..to` of a series, where `to` is at most [`chunk::end`].
    pub(crate) fn rows(&mut self, id: u32, rows: &Rows, from: usize, to: usize) {
        self.0.push(ROWS);
        put_varint(&mut self.0, u64::from(id));
        chunk::encode(&mut self.0, rows, from, to);
    }

    pub(crate) fn columns(&mut self, runs: &Runs, values: &[f64]) {
        debug_assert!(runs.rows as usize == values.len());
        let out = &mut self.0;
        out.push(COLUMNS);
        put_varint(out, values.len() as u64);
        put_runs(out, runs);
        put_values(out, values);
    }

    pub(crate) fn metadata(&mut self, metric: &str, metadata: &Metadata) {
        self.0.push(METADATA);
        put_bytes(&mut self.0, metric.as_bytes());
        put_bytes(&mut self.0, metadata.kind.as_str().as_bytes());
        put_bytes(&mut self.0, metadata.help.as_bytes());
        put_bytes(&mut self.0, metadata.unit.as_bytes());
    }
}

/// Reads all of a record.
pub(crate) fn decode(bytes: &[u8]) -> Decoded<Vec<Entry>> {
    let mut input = Input(bytes);
    if input.u8()? != VERSION {
        return Err(Malformed("record version 1"));
    }
    let mut entries = Vec::new();
    while !input.is_empty() {
        entries.push(take_entry(&mut input)?);
    }
    Ok(entries)
}

fn take_entry(input: &mut Input<'_>) -> Decoded<Entry> {
    match input.u8()? {
        SERIES => {
            let (key, id, scope) = (input.u128()?, input.varint_u32()?, input.str()?.to_owned());
            let count = input.count()?;
            let mut pairs = Vec::with_capacity(count);
            for _ in 0..count {
                pairs.push((input.str()?, input.str()?));
            }
            let labels = LabelSet::from_pairs(pairs).map_err(|_| Malformed("a label set"))?;
            Ok(Entry::Series {
                key,
                id,
                scope,
                labels,
            })
        }
        ALIAS => Ok(Entry::Alias {
            key: input.u128()?,
            id: input.varint_u32()?,
        }),
        ROWS => {
            let id = input.varint_u32()?;
            let rows = chunk::decode(input)?;
            Ok(Entry::Rows { id, rows })
        }
        COLUMNS => {
            let count = input.varint_u32()?;
            // Each value takes half a byte at least: this bounds what a wrong count can make us allocate.
            if u64::from(count) > input.0.len() as u64 * 2 {
                return Err(Malformed("as many rows as fit the bytes left"));
            }
            let runs = take_runs(input, count)?;
            let values = take_values(input, count as usize)?;
            Ok(Entry::Columns { runs, values })
        }
        METADATA => {
            let metric = input.str()?.to_owned();
            let kind = MetricType::from_word(input.str()?).ok_or(Malformed("a metric type"))?;
            let (help, unit) = (input.str()?.to_owned(), input.str()?.to_owned());
            Ok(Entry::Metadata {
                metric,
                metadata: Metadata { kind, help, unit },
            })
        }
        _ => Err(Malformed("a known section")),
    }
}

fn put_runs(out: &mut Vec<u8>, runs: &Runs) {
    put_varint(out, runs.ids.len() as u64);
    let mut next = 0;
    for (index, run) in runs.ids.iter().enumerate() {
        let len = runs.ids_end(index) - run.row;
        put_zigzag(out, i64::from(run.id).wrapping_sub(next));
        put_varint(out, u64::from(len) << 1 | u64::from(run.step));
        next = runs.id_end(index) as i64;
    }
    put_varint(out, runs.times.len() as u64);
    let mut previous = 0;
    for (index, run) in runs.times.iter().enumerate() {
        put_zigzag(out, run.at.wrapping_sub(previous));
        put_zigzag(out, run.step);
        put_varint(out, u64::from(runs.times_end(index) - run.row));
        previous = run.at;
    }
}

fn take_runs(input: &mut Input<'_>, rows: u32) -> Decoded<Runs> {
    const ROWS: Malformed = Malformed("runs of as many rows as the section has");
    let (mut ids, mut times) = (Vec::new(), Vec::new());
    let (mut row, mut next) = (0_u32, 0_i64);
    for _ in 0..input.count()? {
        let id = u32::try_from(next.wrapping_add(input.zigzag()?))
            .map_err(|_| Malformed("a series id of 32 bits"))?;
        let len_and_step = input.varint()?;
        let step = (len_and_step & 1) as u32;
        let len = u32::try_from(len_and_step >> 1).ok();
        let len = len.filter(|len| *len > 0 && *len <= rows - row);
        let len = len.ok_or(ROWS)?;
        let last = id.checked_add((len - 1) * step);
        next = i64::from(last.ok_or(Malformed("a series id of 32 bits"))?) + 1;
        ids.push(IdRun { row, id, step });
        row += len;
    }
    if row != rows {
        return Err(ROWS);
    }
    row = 0;
    let mut previous = 0_i64;
    for _ in 0..input.count()? {
        let at = previous.wrapping_add(input.zigzag()?);
        let run = TimeRun {
            row,
            at,
            step: input.zigzag()?,
        };
        let len = input.varint_u32()?;
        if len == 0 || len > rows - row || run.checked_time(row + len - 1).is_none() {
            return Err(ROWS);
        }
        times.push(run);
        row += len;
        previous = at;
    }
    if row != rows {
        return Err(ROWS);
    }
    Ok(Runs::from_parts(ids, times, rows))
}

/// For each value how many bytes it has without the zero bytes at its low end (half a byte each, low half first), then
/// these bytes, high byte first. Needs no value before it, so the order of replay does not matter.
fn put_values(out: &mut Vec<u8>, values: &[f64]) {
    let lengths_at = out.len();
    let lengths = values.len().div_ceil(2);
    out.resize(lengths_at + lengths + values.len() * 8, 0);
    let (lengths, bytes) = out[lengths_at..].split_at_mut(lengths);
    let mut at = 0;
    let mut put = |value: f64| {
        let bits = value.to_bits();
        let length = 8 - (bits.trailing_zeros() / 8) as usize;
        // Room for all eight is there; the next value overwrites what is not counted.
        if let Some(room) = bytes[at..].first_chunk_mut::<8>() {
            *room = bits.to_be_bytes();
        }
        at += length;
        length as u8
    };
    for (length, pair) in lengths.iter_mut().zip(values.chunks(2)) {
        *length = put(pair[0]);
        if let Some(second) = pair.get(1) {
            *length |= put(*second) << 4;
        }
    }
    let end = lengths_at + lengths.len() + at;
    out.truncate(end);
}

fn take_values(input: &mut Input<'_>, count: usize) -> Decoded<Vec<f64>> {
    let lengths = input.take(count.div_ceil(2))?;
    let mut values = Vec::with_capacity(count);
    let mut bytes = input.0;
    for index in 0..count {
        let length = usize::from(lengths[index / 2] >> (4 * (index % 2)) & 15);
        let (value, rest) = bytes
            .split_at_checked(length)
            .filter(|_| length <= 8)
            .ok_or(Malformed("a value of at most 8 bytes"))?;
        let mut bits = [0; 8];
        bits[..length].copy_from_slice(value);
        values.push(f64::from_bits(u64::from_be_bytes(bits)));
        bytes = rest;
    }
    input.0 = bytes;
    Ok(values)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::rows::tests::rows;

    proptest! {
        #[test]
        fn records_are_read_back(
            rows in rows(-100..100, 1..20),
            id: u32,
            key: u128,
            text in "\\PC{0,8}",
            columns in prop::collection::vec(
                (prop_oneof![0..9_u32, any::<u32>()], prop_oneof![0..9_i64, any::<i64>()], prop_oneof![0..9_u64, any::<u64>()]),
                0..40,
            ),
        ) {
            let (mut runs, mut values) = (Runs::default(), Vec::new());
            for (id, at, bits) in columns {
                runs.push_id(id, 1);
                runs.push_time(at);
                // Numbers like 3.0, whose low bytes are zero, and any others.
                let value = f64::from_bits(bits);
                values.push(if bits < 9 || value.is_nan() { (bits % 1000) as f64 } else { value });
            }

            let labels = LabelSet::from_pairs([("__name__", "up"), ("x", &*text)]).unwrap();
            let metadata = Metadata { kind: MetricType::GaugeHistogram, help: text.clone(), unit: "s".to_owned() };
            let mut frame = Frame::new();
            prop_assert!(frame.is_empty());
            frame.series(key, id, &text, &labels);
            frame.alias(key ^ 1, id);
            frame.rows(id, &rows, 0, rows.len());
            frame.metadata("up", &metadata);
            frame.columns(&runs, &values);
            let expected = vec![
                Entry::Series { key, id, scope: text, labels },
                Entry::Alias { key: key ^ 1, id },
                Entry::Rows { id, rows },
                Entry::Metadata { metric: "up".to_owned(), metadata },
                Entry::Columns { runs, values },
            ];
            let bytes = frame.into_bytes();
            prop_assert_eq!(decode(&bytes), Ok(expected));
            for cut in 1..bytes.len() {
                // Sections have no length of their own: a cut is an error or falls between two of them.
                let _ = decode(&bytes[..cut]);
            }
        }

        #[test]
        fn every_bit_of_a_value_is_kept(bits in prop::collection::vec((any::<u64>(), 0..64_u32), 0..40)) {
            let values: Vec<f64> = bits.iter().map(|(bits, cut)| f64::from_bits(bits >> cut << cut)).collect();
            let mut bytes = Vec::new();
            put_values(&mut bytes, &values);
            let mut input = Input(&bytes);
            let back = take_values(&mut input, values.len()).unwrap();
            prop_assert!(input.is_empty());
            prop_assert!(values.iter().map(|v| v.to_bits()).eq(back.iter().map(|v| v.to_bits())));
        }

        #[test]
        fn garbage_is_refused_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode(&[&[VERSION], &bytes[..]].concat());
        }
    }
}
