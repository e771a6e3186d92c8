use model::{LabelSet, Metadata, Sample, Timestamp};
use prost::Message;
use prost::encoding::encode_varint;

use super::super::convert::{SeriesRefusal, label_set, metadata_from_proto};
use super::super::walk::{FieldValue, Fields, bad};
use super::super::{DecodeError, Limits, histogram_from_proto, proto as v1};
use super::proto;

/// A reference of one byte can stand for a symbol of megabytes: what labels, help and units of all series come to may be
/// so many times the longest message.
const EXPANSION_MAX: usize = 4;
/// Bytes of an exemplar's labels: Prometheus takes 128 characters.
const EXEMPLAR_BYTES_MAX: usize = 4 * 128;

/// Reads a decompressed request in place: first the symbols, wherever they stand, then series by series.
#[derive(Clone, Debug)]
pub struct WalkV2<'a> {
    symbols: Vec<&'a str>,
    fields: Fields<'a>,
    /// Bytes that references may still stand for.
    room: usize,
    limit: usize,
}

/// One series of a request. Its buffers are used again for the next one.
#[derive(Clone, Debug)]
pub struct SeriesViewV2<'a> {
    labels_refs: Vec<u32>,
    /// The labels as remote write 1.0 writes them; empty when [`SeriesViewV2::refs_fit`] says that they do not.
    label_bytes: Vec<u8>,
    refs_fit: Result<(), RefsRefusal>,
    /// The float samples in the order sent.
    pub samples: Vec<proto::Sample>,
    histograms: Vec<&'a [u8]>,
    exemplars: Vec<&'a [u8]>,
    metadata: Option<proto::Metadata>,
    offset: usize,
    length: usize,
}

/// What is wrong with references.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum RefsRefusal {
    Odd { found: usize },
    Outside { found: u32 },
}

impl Default for SeriesViewV2<'_> {
    fn default() -> Self {
        SeriesViewV2::new()
    }
}

impl<'a> WalkV2<'a> {
    /// Reads the symbols and stands before the first series.
    ///
    /// # Errors
    /// Bytes that are no protobuf, symbols that are not UTF-8, or more of them than [`Limits::messages_max`].
    pub fn new(message: &'a [u8], limits: &Limits) -> Result<Self, DecodeError> {
        let mut symbols = Vec::new();
        let mut fields = Fields::new(message, 0);
        while let Some(field) = fields.next()? {
            match (field.number, field.value) {
                (4, FieldValue::Bytes(bytes)) => {
                    if symbols.len() >= limits.messages_max {
                        return Err(DecodeError::TooManyMessages {
                            limit: limits.messages_max,
                        });
                    }
                    symbols.push(std::str::from_utf8(bytes).map_err(|error| {
                        bad(field.offset + error.valid_up_to(), "UTF-8 in a symbol")
                    })?);
                }
                (5, FieldValue::Bytes(_)) => {}
                (4, _) => return Err(bad(field.offset, "a string in field 4")),
                (5, _) => return Err(bad(field.offset, "a message in field 5")),
                // Skipped like any unknown field, a whole request would be stored as nothing.
                (1..=3, _) => {
                    let expected = "no field 1 to 3: those are remote write 1.0's, which proto= names otherwise";
                    return Err(bad(field.offset, expected));
                }
                _ => {}
            }
        }
        let limit = limits.decompressed_bytes_max.saturating_mul(EXPANSION_MAX);
        Ok(WalkV2 {
            symbols,
            fields: Fields::new(message, 0),
            room: limit,
            limit,
        })
    }

    /// The table of strings.
    pub fn symbols(&self) -> &[&'a str] {
        &self.symbols
    }

    /// The next series goes into `view`; false at the end.
    ///
    /// # Errors
    /// [`DecodeError::Protobuf`], with the offset in the decompressed request, or references that stand for too much.
    /// Nothing more can be read then.
    pub fn next_series(&mut self, view: &mut SeriesViewV2<'a>) -> Result<bool, DecodeError> {
        while let Some(field) = self.fields.next()? {
            if let (5, FieldValue::Bytes(bytes)) = (field.number, field.value) {
                view.read(bytes, field.offset, &self.symbols, &mut self.room)
                    .map_err(|error| match error {
                        DecodeError::TooMuchText { .. } => {
                            DecodeError::TooMuchText { limit: self.limit }
                        }
                        other => other,
                    })?;
                return Ok(true);
            }
        }
        Ok(false)
    }
}

impl<'a> SeriesViewV2<'a> {
    /// A view with nothing in it, to pass to [`WalkV2::next_series`].
    pub fn new() -> Self {
        SeriesViewV2 {
            labels_refs: Vec::new(),
            label_bytes: Vec::new(),
            refs_fit: Ok(()),
            samples: Vec::new(),
            histograms: Vec::new(),
            exemplars: Vec::new(),
            metadata: None,
            offset: 0,
            length: 0,
        }
    }

    /// Where the series begins in the decompressed request, and how many bytes of it it takes.
    pub fn place(&self) -> (usize, usize) {
        (self.offset, self.length)
    }

    /// Reads the series again that was found at this place of this message.
    ///
    /// # Errors
    /// As [`WalkV2::next_series`]: none, where that had none.
    pub fn again(
        message: &'a [u8],
        (offset, length): (usize, usize),
        symbols: &[&str],
    ) -> Result<Self, DecodeError> {
        let mut view = SeriesViewV2::new();
        let bytes = message
            .get(offset..offset.saturating_add(length))
            .ok_or_else(|| bad(offset, "as many bytes as the length says"))?;
        let mut room = usize::MAX;
        view.read(bytes, offset, symbols, &mut room)?;
        Ok(view)
    }

    /// The labels as the bytes of remote write 1.0: what the store finds a known series by.
    pub fn label_bytes(&self) -> &[u8] {
        &self.label_bytes
    }

    /// The labels in the order sent, unchecked.
    ///
    /// # Errors
    /// References that are odd in number or outside of the table.
    pub fn raw_labels<'s>(
        &self,
        symbols: &[&'s str],
    ) -> Result<Vec<(&'s str, &'s str)>, SeriesRefusal> {
        self.refs_fit.map_err(|refusal| refusal.of(symbols.len()))?;
        pairs(&self.labels_refs, symbols)
    }

    /// The labels, checked.
    ///
    /// # Errors
    /// The refusal of the series.
    pub fn labels(&self, symbols: &[&str]) -> Result<LabelSet, SeriesRefusal> {
        label_set(&self.raw_labels(symbols)?)
    }

    /// How many native histograms.
    pub fn histogram_count(&self) -> usize {
        self.histograms.len()
    }

    /// Whether there is neither a sample nor a histogram.
    pub fn is_empty(&self) -> bool {
        self.samples.is_empty() && self.histograms.is_empty()
    }

    /// Whether all that there is are floats without start timestamps, the usual case.
    pub fn has_only_plain_samples(&self) -> bool {
        self.histograms.is_empty() && self.samples.iter().all(|s| s.start_timestamp == 0)
    }

    /// The floats in the model's form.
    pub fn floats(&self) -> impl Iterator<Item = Sample> + '_ {
        self.samples.iter().map(|sample| Sample {
            start: start(sample.start_timestamp, sample.timestamp),
            ..Sample::float(Timestamp::from_millis(sample.timestamp), sample.value)
        })
    }

    /// The native histograms in the model's form. `series` names the series in a refusal and is only called then.
    pub fn histograms<'v>(
        &'v self,
        series: &'v dyn Fn() -> String,
    ) -> impl Iterator<Item = Result<Sample, SeriesRefusal>> + 'v {
        self.histograms.iter().map(move |bytes| {
            let sent = v1::Histogram::decode(*bytes)
                .map_err(|_| bad(self.offset, "a native histogram in this series"))?;
            let at = Timestamp::from_millis(sent.timestamp);
            let value = histogram_from_proto(&sent).map_err(|error| SeriesRefusal::Histogram {
                series: series(),
                at,
                error,
            })?;
            Ok(Sample {
                start: start(sent.start_timestamp, sent.timestamp),
                ..Sample::histogram(at, value)
            })
        })
    }

    /// How many exemplars.
    pub fn exemplar_count(&self) -> usize {
        self.exemplars.len()
    }

    /// The exemplars, each as its labels, value and time.
    pub fn exemplars<'s>(
        &self,
        symbols: &'s [&'s str],
    ) -> impl Iterator<Item = Result<(LabelSet, f64, Timestamp), SeriesRefusal>> + '_
    where
        's: 'a,
    {
        self.exemplars.iter().map(move |bytes| {
            let sent = proto::Exemplar::decode(*bytes)
                .map_err(|_| bad(self.offset, "an exemplar in this series"))?;
            let pairs = pairs(&sent.labels_refs, symbols)?;
            let bytes = pairs.iter().map(|(name, value)| name.len() + value.len());
            if bytes.fold(0, usize::saturating_add) > EXEMPLAR_BYTES_MAX {
                let why = "its labels have more than 128 characters";
                return Err(SeriesRefusal::Exemplar(why.to_owned()));
            }
            let labels = LabelSet::from_pairs(pairs)
                .map_err(|error| SeriesRefusal::Exemplar(error.to_string()))?;
            Ok((labels, sent.value, Timestamp::from_millis(sent.timestamp)))
        })
    }

    /// What is said of the series, under the name of its family; None when nothing is.
    ///
    /// # Errors
    /// References outside of the table.
    pub fn metadata(
        &self,
        name: &str,
        symbols: &[&str],
    ) -> Result<Option<(String, Metadata)>, SeriesRefusal> {
        let Some(sent) = self.metadata else {
            return Ok(None);
        };
        let text = |found: u32| {
            let text = symbols.get(found as usize).copied();
            text.ok_or_else(|| RefsRefusal::Outside { found }.of(symbols.len()))
        };
        let (help, unit) = (text(sent.help_ref)?, text(sent.unit_ref)?);
        let (family, said) = metadata_from_proto(&v1::MetricMetadata {
            r#type: sent.r#type,
            metric_family_name: String::new(),
            help: help.to_owned(),
            unit: unit.to_owned(),
        });
        debug_assert!(family.is_empty());
        Ok((said != Metadata::default()).then(|| (family_name(name, &said).to_owned(), said)))
    }

    fn read(
        &mut self,
        bytes: &'a [u8],
        base: usize,
        symbols: &[&str],
        room: &mut usize,
    ) -> Result<(), DecodeError> {
        self.labels_refs.clear();
        self.label_bytes.clear();
        self.samples.clear();
        self.histograms.clear();
        self.exemplars.clear();
        self.metadata = None;
        self.offset = base;
        self.length = bytes.len();
        let mut fields = Fields::new(bytes, base);
        while let Some(field) = fields.next()? {
            match (field.number, field.value) {
                (1, FieldValue::Varint(reference)) => {
                    self.labels_refs.push(reference_of(reference));
                }
                (1, FieldValue::Bytes(packed)) => {
                    let mut packed = Fields::new(packed, field.offset);
                    while !packed.is_at_end() {
                        let reference = packed.varint("a reference to a symbol")?;
                        self.labels_refs.push(reference_of(reference));
                    }
                }
                (2, FieldValue::Bytes(sample)) => {
                    self.samples.push(read_sample(sample, field.offset)?);
                }
                (3, FieldValue::Bytes(histogram)) => self.histograms.push(histogram),
                (4, FieldValue::Bytes(exemplar)) => self.exemplars.push(exemplar),
                (5, FieldValue::Bytes(metadata)) => {
                    let metadata = proto::Metadata::decode(metadata)
                        .map_err(|_| bad(field.offset, "metadata of a series"))?;
                    self.metadata = Some(metadata);
                }
                (1..=5, _) => {
                    return Err(bad(
                        field.offset,
                        "references, or messages in fields 2 to 5",
                    ));
                }
                _ => {}
            }
        }
        let said = self.metadata.map(|said| [said.help_ref, said.unit_ref]);
        let texts = self.labels_refs.iter().chain(said.iter().flatten());
        // Beside each text stand its key and its length.
        let mut sizes = texts.map(|at| symbols.get(*at as usize).map_or(0, |text| text.len() + 8));
        *room = sizes
            .try_fold(*room, |room, size| room.checked_sub(size))
            .ok_or(DecodeError::TooMuchText { limit: 0 })?;
        self.refs_fit = put_label_bytes(&self.labels_refs, symbols, &mut self.label_bytes);
        Ok(())
    }
}

/// A reference that no table can hold stays one.
fn reference_of(varint: u64) -> u32 {
    u32::try_from(varint).unwrap_or(u32::MAX)
}

/// 0 means that nothing is said; a start after the sample says nothing either.
fn start(start: i64, at: i64) -> Option<Timestamp> {
    (start != 0 && start <= at).then(|| Timestamp::from_millis(start))
}

fn put_label_bytes(refs: &[u32], symbols: &[&str], out: &mut Vec<u8>) -> Result<(), RefsRefusal> {
    let len = |text: &str| prost::encoding::encoded_len_varint(text.len() as u64) + text.len();
    if !refs.len().is_multiple_of(2) {
        return Err(RefsRefusal::Odd { found: refs.len() });
    }
    for pair in refs.chunks_exact(2) {
        let text = |found: u32| {
            let text = symbols.get(found as usize).copied();
            text.ok_or(RefsRefusal::Outside { found })
        };
        let parts = [(0x0a, text(pair[0])?), (0x12, text(pair[1])?)];
        let there = parts.iter().filter(|(_, text)| !text.is_empty());
        let length: usize = there.map(|(_, text)| 1 + len(text)).sum();
        out.push(0x0a);
        encode_varint(length as u64, out);
        for (key, text) in parts {
            if !text.is_empty() {
                out.push(key);
                encode_varint(text.len() as u64, out);
                out.extend_from_slice(text.as_bytes());
            }
        }
    }
    Ok(())
}

fn pairs<'s>(refs: &[u32], symbols: &[&'s str]) -> Result<Vec<(&'s str, &'s str)>, SeriesRefusal> {
    if !refs.len().is_multiple_of(2) {
        return Err(RefsRefusal::Odd { found: refs.len() }.of(symbols.len()));
    }
    let text = |found: u32| {
        let text = symbols.get(found as usize).copied();
        text.ok_or_else(|| RefsRefusal::Outside { found }.of(symbols.len()))
    };
    refs.chunks_exact(2)
        .map(|pair| Ok((text(pair[0])?, text(pair[1])?)))
        .collect()
}

impl RefsRefusal {
    fn of(self, symbols: usize) -> SeriesRefusal {
        SeriesRefusal::References(match self {
            RefsRefusal::Odd { found } => {
                format!("{found} references, of which names and values must have one each")
            }
            RefsRefusal::Outside { found } => {
                format!("reference {found} is outside of the table of {symbols} symbols")
            }
        })
    }
}

/// The family that a series belongs to: what is said of `x_bucket` is said of the histogram `x`.
fn family_name<'n>(name: &'n str, said: &Metadata) -> &'n str {
    use model::MetricType;
    let suffixes: &[&str] = match said.kind {
        MetricType::Histogram => &["_bucket", "_count", "_sum"],
        MetricType::GaugeHistogram => &["_bucket", "_gcount", "_gsum"],
        MetricType::Summary => &["_count", "_sum"],
        _ => &[],
    };
    let cut = suffixes.iter().find_map(|suffix| name.strip_suffix(suffix));
    cut.filter(|family| !family.is_empty()).unwrap_or(name)
}

fn read_sample(bytes: &[u8], base: usize) -> Result<proto::Sample, DecodeError> {
    let mut sample = proto::Sample::default();
    let mut fields = Fields::new(bytes, base);
    while let Some(field) = fields.next()? {
        match (field.number, field.value) {
            (1, FieldValue::Fixed64(bits)) => sample.value = f64::from_bits(bits),
            (2, FieldValue::Varint(millis)) => sample.timestamp = millis as i64,
            (3, FieldValue::Varint(millis)) => sample.start_timestamp = millis as i64,
            (1, _) => return Err(bad(field.offset, "a double as the value of a sample")),
            (2 | 3, _) => return Err(bad(field.offset, "a varint as the time of a sample")),
            _ => {}
        }
    }
    Ok(sample)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::remote_write::{SeriesView, Walk, convert};
    use proptest::prelude::*;

    fn request(symbols: &[&str], timeseries: Vec<proto::TimeSeries>) -> Vec<u8> {
        let symbols = symbols.iter().map(|s| (*s).to_owned()).collect();
        proto::Request {
            symbols,
            timeseries,
        }
        .encode_to_vec()
    }

    fn only(message: &[u8]) -> (WalkV2<'_>, SeriesViewV2<'_>) {
        let mut walk = WalkV2::new(message, &Limits::default()).unwrap();
        let mut view = SeriesViewV2::new();
        assert!(walk.next_series(&mut view).unwrap());
        (walk, view)
    }

    #[test]
    fn label_bytes_are_those_of_the_first_version() {
        let labels = LabelSet::from_pairs([("__name__", "up"), ("job", "a")]).unwrap();
        let mut first = Vec::new();
        convert::append_series(&mut first, &labels, &[]);
        let mut view = SeriesView::new();
        Walk::new(&first).next_part(&mut view).unwrap();
        let second = request(
            &["", "__name__", "up", "job", "a"],
            vec![proto::TimeSeries {
                labels_refs: vec![1, 2, 3, 4],
                ..Default::default()
            }],
        );
        assert_eq!(only(&second).1.label_bytes(), view.label_bytes());
    }

    #[test]
    fn references_refuse_their_series_only() {
        let check = |refs: &[u32], text: &str| {
            let series = proto::TimeSeries {
                labels_refs: refs.to_vec(),
                ..Default::default()
            };
            let message = request(&["", "__name__", "up"], vec![series]);
            let (walk, view) = only(&message);
            match view.labels(walk.symbols()) {
                Ok(labels) => assert_eq!((labels.to_string().as_str(), text), ("up", "up")),
                Err(error) => assert!(error.to_string().contains(text), "{error}"),
            }
        };
        check(&[1, 2], "up");
        check(&[1], "1 references");
        check(&[1, 3], "reference 3 is outside of the table of 3 symbols");
        check(&[], "no metric name");
        check(&[1, 2, 1, 2], "duplicate label name");
        check(&[1, 2, 0, 2], "empty name");
    }

    #[test]
    fn references_may_stand_one_by_one_and_symbols_last() {
        let series = [0x08, 1, 0x08, 2];
        let message = [
            &[0x2a, 4][..],
            &series,
            &[0x22, 0, 0x22, 8],
            b"__name__",
            &[0x22, 2],
            b"up",
        ]
        .concat();
        let (walk, view) = only(&message);
        assert_eq!(view.labels(walk.symbols()).unwrap().to_string(), "up");
    }

    #[test]
    fn metadata_is_its_familys() {
        let series = |kind: proto::MetricType| proto::TimeSeries {
            labels_refs: vec![1, 2],
            metadata: Some(proto::Metadata {
                r#type: kind as i32,
                help_ref: 3,
                unit_ref: 0,
            }),
            ..Default::default()
        };
        let family = |name: &str, kind| {
            let message = request(&["", "__name__", name, "help"], vec![series(kind)]);
            let (walk, view) = only(&message);
            view.metadata(name, walk.symbols()).unwrap().unwrap().0
        };
        assert_eq!(family("x_bucket", proto::MetricType::Histogram), "x");
        assert_eq!(family("x_sum", proto::MetricType::Summary), "x");
        assert_eq!(family("x_sum", proto::MetricType::Gauge), "x_sum");
        assert_eq!(family("x_total", proto::MetricType::Counter), "x_total");
    }

    #[test]
    fn names_the_place_of_the_damage() {
        let check = |message: &[u8], offset, expected: &str| {
            let found = WalkV2::new(message, &Limits::default()).and_then(|mut walk| {
                let mut view = SeriesViewV2::new();
                while walk.next_series(&mut view)? {}
                Ok(())
            });
            match found {
                Err(DecodeError::Protobuf {
                    offset: o,
                    expected: e,
                }) => assert_eq!((o, e), (offset, expected)),
                other => panic!("{other:?}"),
            }
        };
        check(&[0x22, 1, 0xff], 2, "UTF-8 in a symbol");
        check(&[0x28, 1], 1, "a message in field 5");
        check(&[0x2a, 3, 0x0a, 1, 0xff], 4, "a reference to a symbol");
        check(
            &[0x2a, 4, 0x12, 2, 0x08, 1],
            5,
            "a double as the value of a sample",
        );
        let limits = Limits {
            messages_max: 1,
            ..Limits::default()
        };
        // A symbol of 100 bytes, and two series that refer to it four times.
        let much = [
            &[0x22, 100][..],
            &[b'x'; 100],
            &[0x2a, 6, 0x0a, 4, 0, 0, 0, 0],
            &[0x2a, 6, 0x0a, 4, 0, 0, 0, 0],
        ]
        .concat();
        let small = Limits {
            decompressed_bytes_max: much.len(),
            ..Limits::default()
        };
        let (mut walk, mut view) = (WalkV2::new(&much, &small).unwrap(), SeriesViewV2::new());
        assert!(walk.next_series(&mut view).unwrap());
        let limit = 4 * much.len();
        assert_eq!(
            walk.next_series(&mut view).unwrap_err(),
            DecodeError::TooMuchText { limit }
        );
        let two = [0x22, 0, 0x22, 0];
        assert_eq!(
            WalkV2::new(&two, &limits).unwrap_err(),
            DecodeError::TooManyMessages { limit: 1 }
        );
    }

    /// What the walk makes of a message, as the `prost` type, exemplars and histograms undecoded.
    fn walked(message: &[u8]) -> Result<proto::Request, DecodeError> {
        let mut walk = WalkV2::new(message, &Limits::default())?;
        let mut view = SeriesViewV2::new();
        let mut timeseries = Vec::new();
        while walk.next_series(&mut view)? {
            timeseries.push(proto::TimeSeries {
                labels_refs: view.labels_refs.clone(),
                samples: view.samples.clone(),
                metadata: view.metadata,
                ..Default::default()
            });
        }
        let symbols = walk.symbols().iter().map(|s| (*s).to_owned()).collect();
        Ok(proto::Request {
            symbols,
            timeseries,
        })
    }

    proptest! {
        #[test]
        fn both_decoders_agree(
            symbols in proptest::collection::vec(".{0,9}", 0..6),
            series in proptest::collection::vec(
                (proptest::collection::vec(any::<u32>(), 0..5), proptest::collection::vec((any::<f64>(), any::<i64>(), any::<i64>()), 0..4)),
                0..5,
            ),
        ) {
            let timeseries = series.into_iter().map(|(labels_refs, samples)| proto::TimeSeries {
                labels_refs,
                samples: samples.into_iter().map(|(value, timestamp, start_timestamp)| proto::Sample { value, timestamp, start_timestamp }).collect(),
                ..Default::default()
            });
            let message = proto::Request { symbols, timeseries: timeseries.collect() }.encode_to_vec();
            prop_assert_eq!(walked(&message).unwrap().encode_to_vec(), message);
        }

        #[test]
        fn random_bytes_do_not_panic(message in proptest::collection::vec(any::<u8>(), 0..80)) {
            let _ = walked(&message);
        }
    }
}
