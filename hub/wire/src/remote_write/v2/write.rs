use std::collections::HashMap;

use model::{Metadata, Timestamp};
use prost::encoding::{WireType, encode_key, encode_varint, encoded_len_varint};

use super::super::convert::{kind_to_proto, put_float};
use super::super::headers::Written;

/// Makes a request series by series. Holds its bytes and the text of its symbols, no structs.
///
/// Labels are written in the order given: sorted by name, no name twice, none empty, is the caller's part. A label with an empty value means
/// that there is no such label, and is left out.
#[derive(Debug)]
pub struct RequestWriter {
    symbols: HashMap<Box<str>, u32>,
    /// The symbols as fields of the request.
    table: Vec<u8>,
    /// The series as fields of the request.
    series: Vec<u8>,
    /// The series that is being written, without key and length.
    body: Vec<u8>,
    /// References that are being packed.
    packed: Vec<u8>,
    written: Written,
}

/// One series of a [`RequestWriter`]. Samples and native histograms must not be in the same one.
#[derive(Debug)]
pub struct SeriesWriter<'w> {
    request: &'w mut RequestWriter,
}

impl Default for RequestWriter {
    fn default() -> Self {
        RequestWriter::new()
    }
}

impl RequestWriter {
    /// A request without series.
    pub fn new() -> RequestWriter {
        let mut request = RequestWriter {
            symbols: HashMap::new(),
            table: Vec::new(),
            series: Vec::new(),
            body: Vec::new(),
            packed: Vec::new(),
            written: Written::default(),
        };
        // Reference 0: nothing is said.
        request.symbol("");
        request
    }

    /// Begins a series; [`SeriesWriter::end`] puts it into the request.
    pub fn series<'l>(
        &mut self,
        labels: impl Iterator<Item = (&'l str, &'l str)>,
    ) -> SeriesWriter<'_> {
        self.body.clear();
        self.refs(labels);
        put_bytes(&mut self.body, 1, &self.packed);
        SeriesWriter { request: self }
    }

    /// What the series hold that were ended.
    pub fn written(&self) -> Written {
        self.written
    }

    /// The request's bytes; [`super::super::compress`] makes a body of them.
    pub fn finish(self) -> Vec<u8> {
        let mut message = self.table;
        drop(self.symbols);
        message.extend_from_slice(&self.series);
        message
    }

    fn symbol(&mut self, text: &str) -> u32 {
        if let Some(reference) = self.symbols.get(text) {
            return *reference;
        }
        // A request has a byte bound far below four billion symbols.
        let reference = self.symbols.len() as u32;
        self.symbols.insert(text.into(), reference);
        put_bytes(&mut self.table, 4, text.as_bytes());
        reference
    }

    fn refs<'l>(&mut self, labels: impl Iterator<Item = (&'l str, &'l str)>) {
        let mut packed = std::mem::take(&mut self.packed);
        packed.clear();
        for (name, value) in labels.filter(|(_, value)| !value.is_empty()) {
            encode_varint(self.symbol(name).into(), &mut packed);
            encode_varint(self.symbol(value).into(), &mut packed);
        }
        self.packed = packed;
    }
}

impl SeriesWriter<'_> {
    /// A float, its bits as they are.
    pub fn sample(&mut self, at: Timestamp, value: f64) {
        put_float(&mut self.request.body, at, value);
        self.request.written.samples += 1;
    }

    /// A native histogram, as the message that is the same in remote write 1.0 and 2.0.
    pub fn histogram(&mut self, message: &[u8]) {
        put_bytes(&mut self.request.body, 3, message);
        self.request.written.histograms += 1;
    }

    /// An exemplar.
    pub fn exemplar<'l>(
        &mut self,
        labels: impl Iterator<Item = (&'l str, &'l str)>,
        value: f64,
        at: i64,
    ) {
        let request = &mut *self.request;
        request.refs(labels);
        let packed = request.packed.len();
        let refs = match packed {
            0 => 0,
            packed => 1 + encoded_len_varint(packed as u64) + packed,
        };
        // By hand, since prost takes -0 for the default and leaves it out.
        let number = if value.to_bits() == 0 { 0 } else { 9 };
        let time = match at {
            0 => 0,
            at => 1 + encoded_len_varint(at as u64),
        };
        let body = &mut request.body;
        encode_key(4, WireType::LengthDelimited, body);
        encode_varint((refs + number + time) as u64, body);
        if packed > 0 {
            put_bytes(body, 1, &request.packed);
        }
        if number > 0 {
            encode_key(2, WireType::SixtyFourBit, body);
            body.extend_from_slice(&value.to_le_bytes());
        }
        if time > 0 {
            encode_key(3, WireType::Varint, body);
            encode_varint(at as u64, body);
        }
        request.written.exemplars += 1;
    }

    /// What is said of the series' family.
    pub fn metadata(&mut self, metadata: &Metadata) {
        let request = &mut *self.request;
        let fields = [
            (1, kind_to_proto(metadata.kind) as u32),
            (3, request.symbol(&metadata.help)),
            (4, request.symbol(&metadata.unit)),
        ];
        let said = || fields.iter().filter(|(_, number)| *number != 0);
        let length: usize = said()
            .map(|(_, number)| 1 + encoded_len_varint((*number).into()))
            .sum();
        let body = &mut request.body;
        encode_key(5, WireType::LengthDelimited, body);
        encode_varint(length as u64, body);
        for (field, number) in said() {
            encode_key(*field, WireType::Varint, body);
            encode_varint((*number).into(), body);
        }
    }

    /// Puts the series into the request.
    pub fn end(self) {
        let request = self.request;
        put_bytes(&mut request.series, 5, &request.body);
    }
}

fn put_bytes(out: &mut Vec<u8>, field: u32, bytes: &[u8]) {
    encode_key(field, WireType::LengthDelimited, out);
    encode_varint(bytes.len() as u64, out);
    out.extend_from_slice(bytes);
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use model::MetricType;
    use proptest::prelude::*;
    use prost::Message;

    use super::super::super::histogram::histogram_to_proto;
    use super::super::super::histogram::tests::histogram;
    use super::super::{decode_message, proto};
    use super::*;

    #[test]
    fn a_request_as_prost_writes_it() {
        let mut request = RequestWriter::new();
        let at = Timestamp::from_millis(1_700_000_000_000);
        let mut series =
            request.series([("__name__", "up"), ("gone", ""), ("job", "up")].into_iter());
        series.sample(at, -0.0);
        series.exemplar([("trace", "job")].into_iter(), -0.0, -5);
        series.exemplar([].into_iter(), 0.0, 0);
        series.metadata(&Metadata {
            kind: MetricType::Gauge,
            help: "job".into(),
            unit: String::new(),
        });
        series.end();
        let mut series = request.series([("__name__", "h")].into_iter());
        let native = histogram_to_proto(&histogram(true), at);
        series.histogram(&native.encode_to_vec());
        series.metadata(&Metadata::default());
        series.end();
        let written = request.written();
        assert_eq!(
            (written.samples, written.histograms, written.exemplars),
            (1, 1, 2)
        );
        let read = decode_message(&request.finish()).unwrap();
        assert_eq!(read.symbols, ["", "__name__", "up", "job", "trace", "h"]);
        let [first, second] = &read.timeseries[..] else {
            panic!("{read:?}")
        };
        assert_eq!(first.labels_refs, [1, 2, 3, 2]);
        assert_eq!(first.samples[0].value.to_bits(), (-0.0_f64).to_bits());
        assert_eq!(first.samples[0].timestamp, at.millis());
        assert_eq!(first.exemplars[0].labels_refs, [4, 3]);
        assert_eq!(first.exemplars[0].value.to_bits(), (-0.0_f64).to_bits());
        assert_eq!(first.exemplars[0].timestamp, -5);
        assert_eq!(first.exemplars[1], proto::Exemplar::default());
        let said = first.metadata.unwrap();
        assert_eq!((said.r#type, said.help_ref, said.unit_ref), (2, 3, 0));
        assert_eq!(second.histograms, [native]);
        assert_eq!(second.metadata, Some(proto::Metadata::default()));
        assert_eq!(RequestWriter::new().finish(), [0x22, 0]);
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(
            series in proptest::collection::vec(
                (
                    proptest::collection::btree_map("[a-c_]{1,3}", ".{0,4}", 0..4),
                    proptest::collection::vec((any::<i64>(), any::<u64>()), 0..3),
                    proptest::collection::vec((any::<i64>(), any::<u64>(), "[a-c]{0,2}"), 0..3),
                ),
                0..6,
            ),
        ) {
            let mut request = RequestWriter::new();
            for (labels, samples, exemplars) in &series {
                let mut one = request.series(labels.iter().map(|(n, v)| (&**n, &**v)));
                for (at, bits) in samples {
                    one.sample(Timestamp::from_millis(*at), f64::from_bits(*bits));
                }
                for (at, bits, trace) in exemplars {
                    one.exemplar([("t", &**trace)].into_iter(), f64::from_bits(*bits), *at);
                }
                one.end();
            }
            let read = decode_message(&request.finish()).unwrap();
            let unique: BTreeSet<&String> = read.symbols.iter().collect();
            prop_assert_eq!(unique.len(), read.symbols.len(), "no symbol twice");
            prop_assert_eq!(&*read.symbols[0], "");
            prop_assert_eq!(read.timeseries.len(), series.len());
            let text = |reference: &u32| read.symbols[*reference as usize].clone();
            for (found, (labels, samples, exemplars)) in read.timeseries.iter().zip(&series) {
                let there = labels.iter().filter(|(_, value)| !value.is_empty());
                let there: Vec<String> = there.flat_map(|(n, v)| [n.clone(), v.clone()]).collect();
                prop_assert_eq!(found.labels_refs.iter().map(text).collect::<Vec<_>>(), there);
                let bits: Vec<(i64, u64)> = found.samples.iter().map(|s| (s.timestamp, s.value.to_bits())).collect();
                prop_assert_eq!(&bits, samples);
                let bits: Vec<(i64, u64, String)> = found.exemplars.iter().map(|e| {
                    let trace = e.labels_refs.get(1).map(text).unwrap_or_default();
                    (e.timestamp, e.value.to_bits(), trace)
                }).collect();
                prop_assert_eq!(&bits, exemplars);
            }
        }
    }
}
