use model::{LabelSet, METRIC_NAME, SortedLabels};
use prost::Message;

use super::DecodeError;
use super::proto;

/// Reads a decompressed request in place, part by part, without allocating per series or sample.
///
/// Structure is checked as far as it is read: the request, each series and each sample. What stands inside the labels
/// is checked by [`SeriesView::labels`], which is only asked for series that the store has not seen.
#[derive(Clone, Debug)]
pub struct Walk<'a> {
    fields: Fields<'a>,
}

/// What [`Walk::next_part`] found.
#[derive(Clone, Debug, PartialEq)]
pub enum Part {
    /// A series; it stands in the view that was passed.
    Series,
    /// Metadata of a metric family.
    Metadata(proto::MetricMetadata),
}

/// One series of a request. Its buffers are used again for the next one.
#[derive(Clone, Debug, Default)]
pub struct SeriesView<'a> {
    labels: &'a [u8],
    /// Label fields that did not stand side by side, joined; empty when they did.
    joined: Vec<u8>,
    /// The float samples in the order sent: milliseconds since 1970 and the value.
    pub samples: Vec<(i64, f64)>,
    histograms: Vec<&'a [u8]>,
    exemplars: Vec<&'a [u8]>,
    offset: usize,
    length: usize,
}

impl<'a> Walk<'a> {
    /// Starts at the front of a decompressed request.
    pub fn new(message: &'a [u8]) -> Self {
        Walk {
            fields: Fields::new(message, 0),
        }
    }

    /// The next part; a series goes into `view`. None at the end.
    ///
    /// # Errors
    /// [`DecodeError::Protobuf`], with the offset in the decompressed request. Nothing more can be read then.
    pub fn next_part(&mut self, view: &mut SeriesView<'a>) -> Result<Option<Part>, DecodeError> {
        while let Some(field) = self.fields.next()? {
            match (field.number, field.value) {
                (1, FieldValue::Bytes(bytes)) => {
                    view.read(bytes, field.offset)?;
                    return Ok(Some(Part::Series));
                }
                (3, FieldValue::Bytes(bytes)) => {
                    let metadata = proto::MetricMetadata::decode(bytes)
                        .map_err(|_| bad(field.offset, "metadata of a metric family"))?;
                    return Ok(Some(Part::Metadata(metadata)));
                }
                (1 | 3, _) => return Err(bad(field.offset, "a message in field 1 or 3")),
                // Skipped like any unknown field, a whole request would be stored as nothing.
                (4 | 5, FieldValue::Bytes(_)) => {
                    let expected = "no field 4 or 5: those are remote write 2.0's, which Content-Type names with proto=io.prometheus.write.v2.Request";
                    return Err(bad(field.offset, expected));
                }
                _ => {}
            }
        }
        Ok(None)
    }

    /// How many structs the `prost` decoder would make of the request, and a check of its structure down to the label.
    pub(super) fn count_messages(message: &[u8]) -> Result<usize, DecodeError> {
        let mut count = 0;
        let mut fields = Fields::new(message, 0);
        while let Some(field) = fields.next()? {
            let FieldValue::Bytes(bytes) = field.value else {
                continue;
            };
            count += 1;
            if field.number != 1 {
                continue;
            }
            let mut inner = Fields::new(bytes, field.offset);
            while let Some(field) = inner.next()? {
                let FieldValue::Bytes(bytes) = field.value else {
                    continue;
                };
                count += 1;
                let mut inner = Fields::new(bytes, field.offset);
                while let Some(field) = inner.next()? {
                    match (field.number, field.value) {
                        // Exemplar labels, bucket spans, packed numbers (at least a byte each, eight when decoded).
                        (_, FieldValue::Bytes(bytes)) => count += 1 + bytes.len() / 8,
                        _ => count += 1,
                    }
                }
            }
        }
        Ok(count)
    }
}

impl<'a> SeriesView<'a> {
    /// A view with nothing in it, to pass to [`Walk::next_part`].
    pub fn new() -> Self {
        SeriesView::default()
    }

    /// The label fields as they stand in the request: equal bytes mean equal labels (different bytes may mean equal
    /// labels too: another order). This is what the store hashes to find a known series.
    pub fn label_bytes(&self) -> &[u8] {
        if self.joined.is_empty() {
            self.labels
        } else {
            &self.joined
        }
    }

    /// The labels in the order sent, unchecked.
    ///
    /// # Errors
    /// Bytes that are no labels, or names or values that are not UTF-8.
    pub fn raw_labels(&self) -> Result<Vec<(&str, &str)>, DecodeError> {
        parse_labels(self.label_bytes(), self.offset)
    }

    /// The labels, if they are as everyone writes them: each shorter than 128 bytes, name before value, in order of
    /// names, the metric's among them.
    pub(super) fn plain_labels(&self) -> Option<LabelSet> {
        let bytes = self.label_bytes();
        // Tags and lengths are ASCII too, so that the text as a whole is UTF-8 if, and only if, each string is.
        let text = std::str::from_utf8(bytes).ok()?;
        let mut labels = SortedLabels::with_capacity(bytes.len());
        let (mut at, mut has_name) = (0, false);
        while at < bytes.len() {
            let &[0x0a, length @ ..0x80, 0x0a, name_length @ ..0x80] =
                bytes.get(at..)?.first_chunk()?
            else {
                return None;
            };
            let end = at + 2 + usize::from(length);
            let name_end = at + 4 + usize::from(name_length);
            let &[0x12, value_length @ ..0x80] = bytes.get(name_end..)?.first_chunk()? else {
                return None;
            };
            if name_end + 2 + usize::from(value_length) != end {
                return None;
            }
            let name = text.get(at + 4..name_end)?;
            if !labels.push(name, text.get(name_end + 2..end)?) {
                return None;
            }
            has_name |= name == METRIC_NAME;
            at = end;
        }
        has_name.then(|| labels.finish())
    }

    /// The native histograms, decoded.
    pub fn histograms(&self) -> impl Iterator<Item = Result<proto::Histogram, DecodeError>> + '_ {
        self.histograms.iter().map(|bytes| {
            proto::Histogram::decode(*bytes)
                .map_err(|_| bad(self.offset, "a native histogram in this series"))
        })
    }

    /// The native histograms as they stand in the request: the same message in remote write 1.0 and 2.0.
    pub fn raw_histograms(&self) -> &[&'a [u8]] {
        &self.histograms
    }

    /// The exemplars, decoded.
    pub fn exemplars(&self) -> impl Iterator<Item = Result<proto::Exemplar, DecodeError>> + '_ {
        self.exemplars.iter().map(|bytes| {
            proto::Exemplar::decode(*bytes)
                .map_err(|_| bad(self.offset, "an exemplar in this series"))
        })
    }

    /// The exemplars as they stand in the request, for [`read_exemplar`].
    pub fn raw_exemplars(&self) -> &[&'a [u8]] {
        &self.exemplars
    }

    /// [`SeriesView::label_bytes`], for longer than this view is of this series. None where they do not stand side by side.
    pub fn label_bytes_in_place(&self) -> Option<&'a [u8]> {
        self.joined.is_empty().then_some(self.labels)
    }

    /// How many native histograms.
    pub fn histogram_count(&self) -> usize {
        self.histograms.len()
    }

    /// How many exemplars.
    pub fn exemplar_count(&self) -> usize {
        self.exemplars.len()
    }

    /// Whether all that there is are labels and samples, the usual case.
    pub fn has_only_samples(&self) -> bool {
        self.histograms.is_empty() && self.exemplars.is_empty()
    }

    /// Reads the series again that began at [`SeriesView::offset`] of this message and was so many bytes long.
    ///
    /// # Errors
    /// As [`Walk::next_part`]: none, where that had none.
    pub fn again(message: &'a [u8], offset: usize, length: usize) -> Result<Self, DecodeError> {
        let mut view = SeriesView::new();
        let bytes = message
            .get(offset..offset.saturating_add(length))
            .ok_or_else(|| bad(offset, "as many bytes as the length says"))?;
        view.read(bytes, offset)?;
        Ok(view)
    }

    /// How many bytes of the request the series takes.
    pub fn length(&self) -> usize {
        self.length
    }

    /// Where the series begins in the decompressed request.
    pub fn offset(&self) -> usize {
        self.offset
    }

    fn read(&mut self, bytes: &'a [u8], base: usize) -> Result<(), DecodeError> {
        self.labels = &[];
        self.joined.clear();
        self.samples.clear();
        self.histograms.clear();
        self.exemplars.clear();
        self.offset = base;
        self.length = bytes.len();
        let mut fields = Fields::new(bytes, base);
        // Nearly always that is all there is.
        fields.at = skip_short_labels(bytes);
        let (mut start, mut end) = (0, fields.at);
        while let Some((sample, next)) = plain_sample(bytes, fields.at) {
            self.samples.push(sample);
            fields.at = next;
        }
        loop {
            let from = fields.at;
            let Some(field) = fields.next()? else { break };
            match (field.number, field.value) {
                (1, FieldValue::Bytes(_)) => {
                    if self.joined.is_empty() && (start == end || end == from) {
                        if start == end {
                            start = from;
                        }
                        end = fields.at;
                    } else {
                        if self.joined.is_empty() {
                            self.joined.extend_from_slice(&bytes[start..end]);
                        }
                        self.joined.extend_from_slice(&bytes[from..fields.at]);
                    }
                }
                (2, FieldValue::Bytes(sample)) => {
                    self.samples.push(read_sample(sample, field.offset)?)
                }
                (3, FieldValue::Bytes(exemplar)) => self.exemplars.push(exemplar),
                (4, FieldValue::Bytes(histogram)) => self.histograms.push(histogram),
                (1..=4, _) => {
                    return Err(bad(field.offset, "a message in fields 1 to 4 of a series"));
                }
                _ => {}
            }
        }
        self.labels = &bytes[start..end];
        Ok(())
    }
}

/// The labels in label bytes (see [`SeriesView::label_bytes`]) in the order sent.
///
/// # Errors
/// Bytes that are no labels, or names or values that are not UTF-8; offsets count from `base`.
pub(super) fn parse_labels(bytes: &[u8], base: usize) -> Result<Vec<(&str, &str)>, DecodeError> {
    let mut labels = Vec::with_capacity(16);
    let mut fields = Fields::new(bytes, base);
    while let Some(field) = fields.next()? {
        let FieldValue::Bytes(label) = field.value else {
            return Err(bad(field.offset, "a label"));
        };
        let (mut name, mut value) = ("", "");
        let mut inner = Fields::new(label, field.offset);
        while let Some(field) = inner.next()? {
            match (field.number, field.value) {
                (1, FieldValue::Bytes(bytes)) => name = utf8(bytes, field.offset)?,
                (2, FieldValue::Bytes(bytes)) => value = utf8(bytes, field.offset)?,
                (1 | 2, _) => return Err(bad(field.offset, "a string in a label")),
                _ => {}
            }
        }
        labels.push((name, value));
    }
    Ok(labels)
}

/// Decodes one of [`SeriesView::raw_exemplars`].
///
/// # Errors
/// Bytes that are no exemplar.
pub fn read_exemplar(bytes: &[u8]) -> Result<proto::Exemplar, DecodeError> {
    proto::Exemplar::decode(bytes).map_err(|_| bad(0, "an exemplar"))
}

fn utf8(bytes: &[u8], offset: usize) -> Result<&str, DecodeError> {
    std::str::from_utf8(bytes)
        .map_err(|error| bad(offset + error.valid_up_to(), "UTF-8 in a label"))
}

/// Where labels of fewer than 128 bytes, one after the other, end.
fn skip_short_labels(bytes: &[u8]) -> usize {
    let mut at = 0;
    while let Some(&[0x0a, length @ ..0x80]) = bytes.get(at..at + 2)
        && at + 2 + usize::from(length) <= bytes.len()
    {
        at += 2 + usize::from(length);
    }
    at
}

/// The sample at `at`, and where it ends, if it is written as everyone writes it: value, then time, each unless zero.
/// Anything else is for the general way.
fn plain_sample(bytes: &[u8], at: usize) -> Option<((i64, f64), usize)> {
    let &[0x12, length @ ..0x80] = bytes.get(at..at + 2)? else {
        return None;
    };
    let end = at + 2 + usize::from(length);
    let mut body = bytes.get(at + 2..end)?;
    let mut value = 0.0;
    if let [0x09, rest @ ..] = body {
        let (bits, rest) = rest.split_first_chunk::<8>()?;
        (value, body) = (f64::from_le_bytes(*bits), rest);
    }
    let (&[0x10], varint) = body.split_first_chunk::<1>()? else {
        return None;
    };
    // Nine bytes hold any time from 1970 on.
    let (last, more) = varint.split_last().filter(|(_, more)| more.len() < 9)?;
    let mut millis = u64::from(*last);
    for byte in more.iter().rev() {
        millis = millis << 7 | u64::from(byte & 0x7f);
    }
    let whole = *last < 0x80 && more.iter().all(|byte| *byte >= 0x80);
    whole.then_some(((millis as i64, value), end))
}

fn read_sample(bytes: &[u8], base: usize) -> Result<(i64, f64), DecodeError> {
    let (mut at, mut value) = (0, 0.0);
    let mut fields = Fields::new(bytes, base);
    while let Some(field) = fields.next()? {
        match (field.number, field.value) {
            (1, FieldValue::Fixed64(bits)) => value = f64::from_bits(bits),
            (2, FieldValue::Varint(millis)) => at = millis as i64,
            (1, _) => return Err(bad(field.offset, "a double as the value of a sample")),
            (2, _) => return Err(bad(field.offset, "a varint as the time of a sample")),
            _ => {}
        }
    }
    Ok((at, value))
}

pub(crate) fn bad(offset: usize, expected: &'static str) -> DecodeError {
    DecodeError::Protobuf { offset, expected }
}

/// The fields of one message, one after the other.
#[derive(Clone, Debug)]
pub(crate) struct Fields<'a> {
    bytes: &'a [u8],
    at: usize,
    /// Where `bytes` begins in the whole request, for errors.
    base: usize,
}

#[derive(Clone, Copy)]
pub(crate) struct Field<'a> {
    pub(crate) number: u32,
    /// Where the value begins in the whole request.
    pub(crate) offset: usize,
    pub(crate) value: FieldValue<'a>,
}

#[derive(Clone, Copy)]
pub(crate) enum FieldValue<'a> {
    Varint(u64),
    Fixed64(u64),
    Bytes(&'a [u8]),
    Fixed32,
}

impl<'a> Fields<'a> {
    /// Nothing is left to read.
    pub(crate) fn is_at_end(&self) -> bool {
        self.at >= self.bytes.len()
    }

    pub(crate) fn new(bytes: &'a [u8], base: usize) -> Self {
        Fields { bytes, at: 0, base }
    }

    #[inline]
    pub(crate) fn next(&mut self) -> Result<Option<Field<'a>>, DecodeError> {
        if self.at >= self.bytes.len() {
            return Ok(None);
        }
        let key_at = self.base + self.at;
        // 32 bits hold the largest field number, 2^29 - 1, and the wire type.
        let key = u32::try_from(self.varint("a field number")?).unwrap_or(0);
        let number = key >> 3;
        if number == 0 {
            return Err(bad(key_at, "a field number from 1 to 536870911"));
        }
        let mut offset = self.base + self.at;
        let value = match key & 7 {
            0 => FieldValue::Varint(self.varint("a varint")?),
            1 => FieldValue::Fixed64(u64::from_le_bytes(self.take()?)),
            2 => {
                let length = self.varint("a length")?;
                offset = self.base + self.at;
                let end = usize::try_from(length)
                    .ok()
                    .and_then(|length| self.at.checked_add(length))
                    .filter(|end| *end <= self.bytes.len())
                    .ok_or_else(|| bad(offset, "as many bytes as the length says"))?;
                let bytes = &self.bytes[self.at..end];
                self.at = end;
                FieldValue::Bytes(bytes)
            }
            5 => {
                self.take::<4>()?;
                FieldValue::Fixed32
            }
            _ => return Err(bad(key_at, "wire type 0, 1, 2 or 5")),
        };
        Ok(Some(Field {
            number,
            offset,
            value,
        }))
    }

    /// What a packed field holds is read with this too.
    #[inline]
    pub(crate) fn varint(&mut self, expected: &'static str) -> Result<u64, DecodeError> {
        let start = self.at;
        let mut value = 0;
        for shift in (0..70).step_by(7) {
            let Some(&byte) = self.bytes.get(self.at) else {
                break;
            };
            // The tenth byte has room for one bit.
            if shift == 63 && byte > 1 {
                break;
            }
            self.at += 1;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(bad(self.base + start, expected))
    }

    #[inline]
    fn take<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let bytes = self
            .bytes
            .get(self.at..)
            .and_then(|rest| rest.first_chunk::<N>());
        let bytes = bytes.ok_or_else(|| bad(self.base + self.at, "a number of fixed width"))?;
        self.at += N;
        Ok(*bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::super::proto::{Label, Sample, TimeSeries, WriteRequest};
    use super::*;
    use proptest::prelude::*;

    fn label(name: &str, value: &str) -> Label {
        Label {
            name: name.into(),
            value: value.into(),
        }
    }

    fn series() -> impl Strategy<Value = TimeSeries> {
        let labels = proptest::collection::vec((".{0,5}", ".{0,20}"), 0..5);
        let samples = proptest::collection::vec((any::<f64>(), any::<i64>()), 0..4);
        (labels, samples).prop_map(|(labels, samples)| TimeSeries {
            labels: labels
                .iter()
                .map(|(name, value)| label(name, value))
                .collect(),
            samples: samples
                .iter()
                .map(|(value, at)| Sample {
                    value: *value,
                    timestamp: *at,
                })
                .collect(),
            ..TimeSeries::default()
        })
    }

    /// What the walk makes of a message, as the `prost` type.
    fn walked(message: &[u8]) -> Result<WriteRequest, DecodeError> {
        let mut walk = Walk::new(message);
        let mut view = SeriesView::new();
        let mut request = WriteRequest::default();
        while let Some(part) = walk.next_part(&mut view)? {
            match part {
                Part::Metadata(metadata) => request.metadata.push(metadata),
                Part::Series => request.timeseries.push(TimeSeries {
                    labels: view
                        .raw_labels()?
                        .iter()
                        .map(|(name, value)| label(name, value))
                        .collect(),
                    samples: view
                        .samples
                        .iter()
                        .map(|(at, v)| Sample {
                            value: *v,
                            timestamp: *at,
                        })
                        .collect(),
                    exemplars: view.exemplars().collect::<Result<_, _>>()?,
                    histograms: view.histograms().collect::<Result<_, _>>()?,
                }),
            }
        }
        Ok(request)
    }

    #[test]
    fn labels_apart_are_joined() {
        let part = |series: TimeSeries| series.encode_to_vec();
        let only = |name: &str| TimeSeries {
            labels: vec![label(name, "1")],
            ..TimeSeries::default()
        };
        let sample = TimeSeries {
            samples: vec![Sample::default()],
            ..TimeSeries::default()
        };
        let apart = [part(only("a")), part(sample), part(only("b"))].concat();
        let whole = [part(only("a")), part(only("b"))].concat();
        let mut view = SeriesView::new();
        view.read(&apart, 0).unwrap();
        assert_eq!(view.label_bytes(), whole);
        assert_eq!(view.raw_labels().unwrap(), [("a", "1"), ("b", "1")]);
        view.read(&whole, 0).unwrap();
        assert_eq!(view.label_bytes(), whole);
        view.read(&[], 0).unwrap();
        assert_eq!(view.label_bytes(), b"");
    }

    #[test]
    fn names_the_place_of_the_damage() {
        let check = |message: &[u8], offset, expected: &str| match walked(message) {
            Err(DecodeError::Protobuf {
                offset: o,
                expected: e,
            }) => assert_eq!((o, e), (offset, expected)),
            other => panic!("{other:?}"),
        };
        check(&[0x0a], 1, "a length");
        check(&[0x0a, 3, 0], 2, "as many bytes as the length says");
        check(&[0x0a, 2, 0x12, 5], 4, "as many bytes as the length says");
        check(
            &[0x0a, 4, 0x12, 2, 0x08, 1],
            5,
            "a double as the value of a sample",
        );
        check(&[0x08, 1], 1, "a message in field 1 or 3");
        let second_version = "no field 4 or 5: those are remote write 2.0's, which Content-Type names with proto=io.prometheus.write.v2.Request";
        check(&[0x22, 0], 2, second_version);
        check(&[0x2a, 0], 2, second_version);
        check(&[0x0b], 0, "wire type 0, 1, 2 or 5");
        check(&[0], 0, "a field number from 1 to 536870911");
        let too_large = [189, 128, 128, 128, 16, 0, 0, 0, 0];
        check(&too_large, 0, "a field number from 1 to 536870911");
        check(&[0x0a, 5, 0x0a, 3, 0x0a, 1, 0xff], 6, "UTF-8 in a label");
        check(&[0xff; 11], 0, "a field number");
    }

    proptest! {
        #[test]
        fn both_decoders_agree(timeseries in proptest::collection::vec(series(), 0..5)) {
            let message = WriteRequest { timeseries, metadata: Vec::new() }.encode_to_vec();
            let walked = walked(&message).unwrap();
            prop_assert_eq!(walked.encode_to_vec(), message);
        }

        #[test]
        fn plain_labels_are_those_of_the_general_way(
            labels in proptest::collection::vec(("[a-d]{0,2}|__name__", "[a-zä]{0,3}|[a-z]{124,130}"), 0..5),
            changed in proptest::option::of((any::<prop::sample::Index>(), any::<u8>())),
        ) {
            let labels = labels.iter().map(|(name, value)| label(name, value)).collect();
            let mut bytes = TimeSeries { labels, ..TimeSeries::default() }.encode_to_vec();
            if let (Some((at, byte)), false) = (changed, bytes.is_empty()) {
                *at.get_mut(&mut bytes) = byte;
            }
            let mut view = SeriesView::new();
            if view.read(&bytes, 0).is_ok() && let Some(plain) = view.plain_labels() {
                let general = super::super::convert::label_set(&view.raw_labels().unwrap()).unwrap();
                prop_assert_eq!(plain, general);
            }
        }

        #[test]
        fn what_the_walk_takes_prost_takes(message in proptest::collection::vec(any::<u8>(), 0..60)) {
            if let (Ok(walked), Ok(_)) = (walked(&message), Walk::count_messages(&message)) {
                let decoded = WriteRequest::decode(message.as_slice());
                prop_assert_eq!(decoded.unwrap().encode_to_vec(), walked.encode_to_vec());
            }
        }
    }
}
