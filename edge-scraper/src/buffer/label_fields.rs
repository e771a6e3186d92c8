//! The label bytes of a session's series: most of their labels are those of other series too, so each label stands once, and a series is the
//! numbers of its labels. A sixth of what the bytes would take.

use std::hash::{BuildHasher, RandomState};

use hashbrown::HashTable;
use prost::encoding::{decode_varint, encode_varint};

/// See the module.
#[derive(Debug, Default)]
pub(super) struct LabelFields {
    /// Each label as the field that it is in a series of remote write, one behind the other.
    text: Vec<u8>,
    /// Where each ends.
    ends: Vec<u32>,
    /// Numbers of labels by their bytes.
    index: HashTable<u32>,
    hasher: RandomState,
    /// Of each series: how many labels, and their numbers, as varints.
    series: Vec<u8>,
    /// There was a series for which 32 bits were too few.
    is_full: bool,
}

impl LabelFields {
    /// Keeps the label bytes of a series; by what is returned they are found again.
    pub(super) fn add(&mut self, label_bytes: &[u8]) -> u32 {
        let room = |held: usize| u32::try_from(held + 5 * label_bytes.len() + 5).is_ok();
        if !room(self.text.len()) || !room(self.series.len()) {
            self.is_full = true;
            return 0;
        }
        let begins = self.series.len() as u32;
        let fields = Fields(label_bytes);
        encode_varint(fields.count() as u64, &mut self.series);
        for field in Fields(label_bytes) {
            let number = self.number(field);
            encode_varint(number.into(), &mut self.series);
        }
        begins
    }

    /// Whether what was added is no longer what is found.
    pub(super) fn is_full(&self) -> bool {
        self.is_full
    }

    /// Replaces what `out` holds by the label bytes of a series.
    pub(super) fn put(&self, series: u32, out: &mut Vec<u8>) {
        out.clear();
        let mut rest = self.series.get(series as usize..).unwrap_or_default();
        let mut number = || decode_varint(&mut rest).unwrap_or(0) as u32;
        for _ in 0..number() {
            out.extend_from_slice(field(&self.text, &self.ends, number()));
        }
    }

    /// Forgets everything.
    pub(super) fn clear(&mut self) {
        *self = LabelFields::default();
    }

    fn number(&mut self, bytes: &[u8]) -> u32 {
        let LabelFields {
            text,
            ends,
            index,
            hasher,
            ..
        } = self;
        let hash = hasher.hash_one(bytes);
        if let Some(number) = index.find(hash, |number| field(text, ends, *number) == bytes) {
            return *number;
        }
        let number = ends.len() as u32;
        text.extend_from_slice(bytes);
        ends.push(text.len() as u32);
        index.insert_unique(hash, number, |number| {
            hasher.hash_one(field(text, ends, *number))
        });
        number
    }
}

fn field<'t>(text: &'t [u8], ends: &[u32], number: u32) -> &'t [u8] {
    let number = number as usize;
    let begins = number.checked_sub(1).map_or(0, |before| ends[before]);
    &text[begins as usize..ends[number] as usize]
}

/// The labels of a series, each with its key and length; what is none is one as a whole, so that all bytes come back.
#[derive(Clone, Copy)]
struct Fields<'b>(&'b [u8]);

impl<'b> Iterator for Fields<'b> {
    type Item = &'b [u8];

    fn next(&mut self) -> Option<&'b [u8]> {
        let bytes = self.0;
        if bytes.is_empty() {
            return None;
        }
        let mut rest = bytes.get(1..)?;
        let length = decode_varint(&mut rest).ok();
        let end = length.and_then(|length| {
            let begins = bytes.len() - rest.len();
            begins.checked_add(usize::try_from(length).ok()?)
        });
        let end = end.filter(|end| *end <= bytes.len());
        let (field, rest) = bytes.split_at(end.unwrap_or(bytes.len()));
        self.0 = rest;
        Some(field)
    }
}

#[cfg(test)]
mod tests {
    use model::LabelSet;
    use proptest::prelude::*;
    use wire::remote_write::convert::put_label_bytes;

    use super::*;

    #[test]
    fn labels_of_many_series_stand_once() {
        let (mut fields, mut bytes, mut given) = (LabelFields::default(), Vec::new(), 0);
        let mut keys = Vec::new();
        for n in 0..1000 {
            let name = format!("metric_number_{}", n % 40);
            let value = format!("{}", n / 40);
            let pairs = [
                ("__name__", &*name),
                ("device", &*value),
                ("instance", "10.0.0.1:9100"),
                ("job", "node"),
            ];
            let labels = LabelSet::from_pairs(pairs).unwrap();
            put_label_bytes(&labels, &mut bytes);
            given += bytes.len();
            keys.push((fields.add(&bytes), bytes.clone()));
        }
        for (key, expected) in &keys {
            fields.put(*key, &mut bytes);
            assert_eq!(bytes, *expected);
        }
        let held = fields.text.len() + 4 * fields.ends.len() + fields.series.len();
        assert!(held * 8 < given, "{held} of {given}");
        assert!(!fields.is_full());
        fields.clear();
        assert_eq!(fields.series.len(), 0);
    }

    proptest! {
        #[test]
        fn all_bytes_come_back(given in proptest::collection::vec(proptest::collection::vec(prop_oneof![Just(10_u8), 0..5_u8, any::<u8>()], 0..40), 0..30)) {
            let mut fields = LabelFields::default();
            let keys: Vec<u32> = given.iter().map(|bytes| fields.add(bytes)).collect();
            let mut bytes = Vec::new();
            for (key, expected) in keys.iter().zip(&given) {
                fields.put(*key, &mut bytes);
                prop_assert_eq!(&bytes, expected);
            }
        }
    }
}
