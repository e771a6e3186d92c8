//! Records of the write-ahead log and of the catalogue: sections of new series, aliases, samples and metadata
//! (drawn in `FORMAT.md`).

use model::{LabelSet, Metadata, MetricType};

use crate::{
    chunk,
    codec::{Decoded, Input, Malformed, put_bytes, put_varint},
    rows::Rows,
};

const VERSION: u8 = 1;

const SERIES: u8 = 1;
const ALIAS: u8 = 2;
const ROWS: u8 = 3;
const METADATA: u8 = 4;

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
    /// What is said of a metric.
    Metadata { metric: String, metadata: Metadata },
}

/// Builds one record.
pub(crate) struct Frame(Vec<u8>);

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

    pub(crate) fn series(&mut self, key: u128, id: u32, scope: &str, labels: &LabelSet) {
        self.0.push(SERIES);
        self.0.extend_from_slice(&key.to_le_bytes());
        put_varint(&mut self.0, u64::from(id));
        put_bytes(&mut self.0, scope.as_bytes());
        put_varint(&mut self.0, labels.len() as u64);
        for (name, value) in labels.iter() {
            put_bytes(&mut self.0, name.as_bytes());
            put_bytes(&mut self.0, value.as_bytes());
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::rows::tests::rows;

    proptest! {
        #[test]
        fn records_are_read_back(rows in rows(-100..100, 1..20), id: u32, key: u128, text in "\\PC{0,8}") {
            let labels = LabelSet::from_pairs([("__name__", "up"), ("x", &*text)]).unwrap();
            let metadata = Metadata { kind: MetricType::GaugeHistogram, help: text.clone(), unit: "s".to_owned() };
            let mut frame = Frame::new();
            prop_assert!(frame.is_empty());
            frame.series(key, id, &text, &labels);
            frame.alias(key ^ 1, id);
            frame.rows(id, &rows, 0, rows.len());
            frame.metadata("up", &metadata);
            let expected = vec![
                Entry::Series { key, id, scope: text, labels },
                Entry::Alias { key: key ^ 1, id },
                Entry::Rows { id, rows },
                Entry::Metadata { metric: "up".to_owned(), metadata },
            ];
            let bytes = frame.into_bytes();
            prop_assert_eq!(decode(&bytes), Ok(expected));
            for cut in 1..bytes.len() {
                // Sections have no length of their own: a cut is an error or falls between two of them.
                let _ = decode(&bytes[..cut]);
            }
        }

        #[test]
        fn garbage_is_refused_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode(&[&[VERSION], &bytes[..]].concat());
        }
    }
}
