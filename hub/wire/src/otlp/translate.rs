//! The walk over a message: resource by resource, metric by metric, one point in memory at a time.

use std::collections::BTreeMap;

use model::{Exemplar, LabelSet, METRIC_NAME, Metadata, MetricType, Sample, Timestamp, Value};
use prost::Message;

use super::Settings;
use super::attributes::Labels;
use super::names::{NameKind, metric_name};
use super::proto::{
    ExponentialPoint, HistogramPoint, NumberPoint, Resource, Scope, SummaryPoint, Temporality,
};
use super::units::unit_words;
use crate::remote_write::{DecodeError, FieldValue, Fields, Limits, SeriesRefusal, bad};

/// Longest point, resource or scope: so much is decoded at a time, and an attribute of two bytes takes fifty in memory.
const PART_BYTES_MAX: usize = 1 << 20;
/// Labels stand with each sample: what they come to may be so many times the longest message.
const EXPANSION_MAX: usize = 4;
/// What a sample takes beside its labels.
const SAMPLE_BYTES: usize = 64;
/// What the metadata of a metric take beside their text.
const METADATA_BYTES: usize = 128;
/// Problems, and warnings, that are told; the others are counted.
const TOLD_MAX: usize = 5;
/// After so many the rest is not looked at: an empty metric takes two bytes, and is a problem.
const PROBLEMS_MAX: usize = 1000;
/// Characters of one of them.
const TOLD_CHARS_MAX: usize = 500;
/// Samples of `target_info` in a request, which a single wrong timestamp could stretch over decades.
const INFO_SAMPLES_MAX: usize = 100_000;
const INFO: &str = "target_info";

/// A sample and its series, as a message gave it.
#[derive(Debug)]
pub struct TranslatedSample {
    /// The series.
    pub labels: LabelSet,
    /// What was measured.
    pub sample: Sample,
    /// Its exemplars, or why one cannot be kept.
    pub exemplars: Vec<Result<Exemplar, SeriesRefusal>>,
}

/// What is to be known of a message beside its samples.
#[derive(Debug, Default)]
pub struct Translated {
    /// By metric family.
    pub metadata: BTreeMap<String, Metadata>,
    /// What refuses the request: the first few, and how many there are.
    pub problems: Vec<String>,
    /// How many.
    pub problem_count: usize,
    /// What the operator should know, though everything was taken.
    pub warnings: Vec<String>,
}

impl Translated {
    fn problem(&mut self, why: impl Into<String>) {
        self.problem_count += 1;
        if self.problems.len() < TOLD_MAX {
            self.problems.push(shorten(why.into()));
        }
    }

    fn warn(&mut self, why: impl Into<String>) {
        if self.warnings.len() < TOLD_MAX {
            self.warnings.push(shorten(why.into()));
        }
    }
}

/// Names may be megabytes.
fn shorten(why: String) -> String {
    match why.char_indices().nth(TOLD_CHARS_MAX) {
        Some((end, _)) => format!("{}…", &why[..end]),
        None => why,
    }
}

/// Gives every sample of a message to `take`. With [`Translated::problems`] none of them should be stored.
///
/// # Errors
/// Bytes that are no such message, or one that stands for more than may be taken at a time.
pub fn translate(
    message: &[u8],
    settings: &Settings,
    limits: &Limits,
    take: &mut dyn FnMut(TranslatedSample),
) -> Result<Translated, DecodeError> {
    let limit = limits.decompressed_bytes_max.saturating_mul(EXPANSION_MAX);
    let mut sink = Sink {
        settings,
        labels: Labels::new(settings),
        take,
        room: limit,
        overdrawn: false,
        earliest: u64::MAX,
        latest: 0,
        infos: 0,
    };
    let mut all = Translated::default();
    let mut fields = Fields::new(message, 0);
    while let Some(field) = fields.next()? {
        match (field.number, field.value) {
            (1, FieldValue::Bytes(bytes)) => {
                resource_metrics(bytes, field.offset, &mut sink, &mut all)?;
            }
            (1, _) => return Err(bad(field.offset, "a message in field 1")),
            _ => {}
        }
        if sink.overdrawn {
            return Err(DecodeError::TooMuchText { limit });
        }
        if all.problem_count >= PROBLEMS_MAX {
            break;
        }
    }
    for collision in std::mem::take(&mut sink.labels.collisions) {
        all.warn(collision);
    }
    Ok(all)
}

/// Where samples go, and what all of them have in common.
pub(super) struct Sink<'s, 't> {
    pub(super) settings: &'s Settings,
    pub(super) labels: Labels<'s>,
    take: &'t mut dyn FnMut(TranslatedSample),
    /// Bytes that samples may still take.
    room: usize,
    /// They wanted more: the request will be refused, and nothing more need be made.
    pub(super) overdrawn: bool,
    /// Times of the resource's points, in ns.
    earliest: u64,
    latest: u64,
    infos: usize,
}

impl Sink<'_, '_> {
    pub(super) fn push(
        &mut self,
        labels: LabelSet,
        sample: Sample,
        exemplars: Vec<Result<Exemplar, SeriesRefusal>>,
    ) {
        let histogram = match &sample.value {
            Value::Histogram(h) => {
                let counts = h.positive.counts.len() + h.negative.counts.len();
                16 * counts + 8 * h.custom_values.len() + 256
            }
            Value::Float(_) => 0,
        };
        let bytes = labels.as_bytes().len() + SAMPLE_BYTES + histogram + 512 * exemplars.len();
        if self.spend(bytes) {
            (self.take)(TranslatedSample {
                labels,
                sample,
                exemplars,
            });
        }
    }

    /// Whether so many more bytes may be kept. After the first no nothing may.
    fn spend(&mut self, bytes: usize) -> bool {
        match self.room.checked_sub(bytes) {
            Some(room) if !self.overdrawn => self.room = room,
            _ => self.overdrawn = true,
        }
        !self.overdrawn
    }
}

/// What the points of a metric have in common.
pub(super) struct Metric<'a> {
    /// As Prometheus has it, without the suffixes of histograms and summaries.
    pub(super) name: String,
    pub(super) about: Metadata,
    /// Only points of sums have exemplars that Prometheus takes; gauges do not.
    pub(super) is_sum: bool,
    pub(super) delta: bool,
    /// As it was sent.
    pub(super) unit: &'a str,
}

/// A point that becomes samples.
pub(super) trait Point: Message + Default {
    /// Gives them to the sink.
    ///
    /// # Errors
    /// Why it cannot be taken.
    fn add(&self, metric: &Metric<'_>, sink: &mut Sink<'_, '_>) -> Result<(), String>;
}

fn decode<T: Message + Default>(
    into: &mut T,
    bytes: &[u8],
    offset: usize,
    expected: &'static str,
) -> Result<(), DecodeError> {
    if bytes.len() > PART_BYTES_MAX {
        return Err(bad(
            offset,
            "at most 1 MiB for a point, a resource or a scope",
        ));
    }
    into.merge(bytes).map_err(|_| bad(offset, expected))
}

fn resource_metrics(
    bytes: &[u8],
    base: usize,
    sink: &mut Sink<'_, '_>,
    all: &mut Translated,
) -> Result<(), DecodeError> {
    // Fields may come in any order, and what all have in common must be known first.
    let mut resource = Resource::default();
    let mut fields = Fields::new(bytes, base);
    while let Some(field) = fields.next()? {
        match (field.number, field.value) {
            (1, FieldValue::Bytes(part)) => {
                decode(&mut resource, part, field.offset, "a resource")?;
            }
            (2, FieldValue::Bytes(_)) => {}
            (1 | 2, _) => return Err(bad(field.offset, "messages in fields 1 and 2")),
            _ => {}
        }
    }
    if let Err(why) = sink.labels.enter_resource(&resource) {
        all.problem(why);
        return Ok(());
    }
    (sink.earliest, sink.latest) = (u64::MAX, 0);
    let mut fields = Fields::new(bytes, base);
    while let Some(field) = fields.next()? {
        if let (2, FieldValue::Bytes(part)) = (field.number, field.value) {
            scope_metrics(part, field.offset, sink, all)?;
        }
    }
    if sink.earliest < u64::MAX
        && let Err(why) = target_info(&resource, sink, all)
    {
        all.problem(why);
    }
    Ok(())
}

fn scope_metrics(
    bytes: &[u8],
    base: usize,
    sink: &mut Sink<'_, '_>,
    all: &mut Translated,
) -> Result<(), DecodeError> {
    let (mut scope, mut schema_url) = (Scope::default(), "");
    let mut fields = Fields::new(bytes, base);
    while let Some(field) = fields.next()? {
        match (field.number, field.value) {
            (1, FieldValue::Bytes(part)) => decode(&mut scope, part, field.offset, "a scope")?,
            (3, FieldValue::Bytes(part)) => schema_url = string(part, field.offset)?,
            (2, FieldValue::Bytes(_)) => {}
            (1..=3, _) => return Err(bad(field.offset, "bytes in fields 1 to 3")),
            _ => {}
        }
    }
    if let Err(why) = sink.labels.enter_scope(&scope, schema_url) {
        all.problem(why);
        return Ok(());
    }
    let mut fields = Fields::new(bytes, base);
    while let Some(field) = fields.next()? {
        if let (2, FieldValue::Bytes(part)) = (field.number, field.value) {
            metric(part, field.offset, sink, all)?;
        }
        if sink.overdrawn || all.problem_count >= PROBLEMS_MAX {
            return Ok(());
        }
    }
    Ok(())
}

fn string(bytes: &[u8], offset: usize) -> Result<&str, DecodeError> {
    std::str::from_utf8(bytes).map_err(|error| bad(offset + error.valid_up_to(), "UTF-8"))
}

/// The kinds of points, by the number of their field.
const GAUGE: u32 = 5;
const SUM: u32 = 7;
const HISTOGRAM: u32 = 9;
const EXPONENTIAL: u32 = 10;
const SUMMARY: u32 = 11;

fn metric(
    bytes: &[u8],
    base: usize,
    sink: &mut Sink<'_, '_>,
    all: &mut Translated,
) -> Result<(), DecodeError> {
    let (mut name, mut help, mut unit, mut data) = ("", "", "", None);
    let mut fields = Fields::new(bytes, base);
    while let Some(field) = fields.next()? {
        match (field.number, field.value) {
            (1, FieldValue::Bytes(part)) => name = string(part, field.offset)?,
            (2, FieldValue::Bytes(part)) => help = string(part, field.offset)?,
            (3, FieldValue::Bytes(part)) => unit = string(part, field.offset)?,
            (GAUGE | SUM | HISTOGRAM | EXPONENTIAL | SUMMARY, FieldValue::Bytes(part)) => {
                if data.is_some() {
                    return Err(bad(field.offset, "points of one kind in a metric"));
                }
                data = Some((field.number, part, field.offset));
            }
            (1..=3 | GAUGE | SUM | HISTOGRAM | EXPONENTIAL | SUMMARY, _) => {
                return Err(bad(field.offset, "names, and points of some kind"));
            }
            _ => {}
        }
    }
    let Some((kind, part, offset)) = data else {
        all.problem(format!(
            "could not get aggregation temporality for {name} as it has unsupported metric type Empty"
        ));
        return Ok(());
    };
    let head = Head::read(part, offset)?;
    let said = Temporality::try_from(head.temporality).unwrap_or(Temporality::Unspecified);
    let delta = said == Temporality::Delta;
    let fits = said == Temporality::Cumulative || (delta && sink.settings.native_delta);
    if matches!(kind, SUM | HISTOGRAM | EXPONENTIAL) && !fits {
        all.problem(format!(
            "invalid temporality and type combination for metric {name:?}"
        ));
        return Ok(());
    }
    let kind_of_name = match kind {
        GAUGE => NameKind::Gauge,
        SUM if head.monotonic => NameKind::MonotonicSum,
        _ => NameKind::Other,
    };
    let made = match metric_name(name, unit, kind_of_name, sink.settings.strategy) {
        Ok(made) => made,
        Err(why) => {
            all.problem(why);
            return Ok(());
        }
    };
    if head.points == 0 {
        all.warn(format!("empty data points. {name} is dropped"));
        return Ok(());
    }
    let about = Metadata {
        kind: match kind {
            _ if delta => MetricType::Unknown,
            SUM if head.monotonic => MetricType::Counter,
            GAUGE | SUM => MetricType::Gauge,
            SUMMARY => MetricType::Summary,
            _ => MetricType::Histogram,
        },
        help: help.to_owned(),
        unit: unit_words(unit, false),
    };
    if about != Metadata::default()
        && sink.spend(made.len() + help.len() + unit.len() + METADATA_BYTES)
    {
        all.metadata.insert(made.clone(), about.clone());
    }
    let metric = Metric {
        name: made,
        about,
        is_sum: kind == SUM,
        delta: delta && kind != GAUGE && kind != SUMMARY,
        unit,
    };
    match kind {
        GAUGE | SUM => points::<NumberPoint>(part, offset, &metric, sink, all),
        HISTOGRAM => points::<HistogramPoint>(part, offset, &metric, sink, all),
        EXPONENTIAL => points::<ExponentialPoint>(part, offset, &metric, sink, all),
        _ => points::<SummaryPoint>(part, offset, &metric, sink, all),
    }
}

/// What stands beside the points.
#[derive(Default)]
struct Head {
    points: usize,
    temporality: i32,
    monotonic: bool,
}

impl Head {
    fn read(bytes: &[u8], base: usize) -> Result<Self, DecodeError> {
        let mut head = Head::default();
        let mut fields = Fields::new(bytes, base);
        while let Some(field) = fields.next()? {
            match (field.number, field.value) {
                (1, FieldValue::Bytes(_)) => head.points += 1,
                (2, FieldValue::Varint(number)) => head.temporality = number as i32,
                (3, FieldValue::Varint(number)) => head.monotonic = number != 0,
                (1..=3, _) => return Err(bad(field.offset, "points, and what they count")),
                _ => {}
            }
        }
        Ok(head)
    }
}

fn points<P: Point>(
    bytes: &[u8],
    base: usize,
    metric: &Metric<'_>,
    sink: &mut Sink<'_, '_>,
    all: &mut Translated,
) -> Result<(), DecodeError> {
    let mut fields = Fields::new(bytes, base);
    while let Some(field) = fields.next()? {
        let (1, FieldValue::Bytes(part)) = (field.number, field.value) else {
            continue;
        };
        let at = time_of(part, field.offset)?;
        (sink.earliest, sink.latest) = (sink.earliest.min(at), sink.latest.max(at));
        let mut point = P::default();
        decode(&mut point, part, field.offset, "a point of its kind")?;
        if let Err(why) = point.add(metric, sink) {
            all.problem(why);
        }
        if sink.overdrawn || all.problem_count >= PROBLEMS_MAX {
            return Ok(());
        }
    }
    Ok(())
}

/// In all kinds of points field 3 is the time.
fn time_of(point: &[u8], base: usize) -> Result<u64, DecodeError> {
    let (mut at, mut fields) = (0, Fields::new(point, base));
    while let Some(field) = fields.next()? {
        if let (3, FieldValue::Fixed64(nanos)) = (field.number, field.value) {
            at = nanos;
        }
    }
    Ok(at)
}

/// Says who the resource is, from its first point to its last, so often that every query in between finds it.
fn target_info(
    resource: &Resource,
    sink: &mut Sink<'_, '_>,
    all: &mut Translated,
) -> Result<(), String> {
    let Some(mut labels) = sink.labels.of_info(resource)? else {
        return Ok(());
    };
    let labels = labels.set(METRIC_NAME, INFO).build();
    let millis = |nanos: u64| (nanos as i64).div_euclid(1_000_000);
    let (first, last) = (millis(sink.earliest), millis(sink.latest));
    let interval = i64::try_from(sink.settings.info_interval.as_millis()).unwrap_or(i64::MAX);
    let interval = interval.max(1);
    let count = last.saturating_sub(first).max(0) / interval;
    let count = usize::try_from(count).unwrap_or(usize::MAX);
    sink.infos = sink.infos.saturating_add(count).saturating_add(1);
    if sink.infos > INFO_SAMPLES_MAX {
        return Err(format!(
            "points from {} to {} are too far apart for one request",
            Timestamp::from_millis(first),
            Timestamp::from_millis(last)
        ));
    }
    let mut at = first;
    while at < last {
        let sample = Sample::float(Timestamp::from_millis(at), 1.0);
        sink.push(labels.clone(), sample, Vec::new());
        at = at.saturating_add(interval);
    }
    let sample = Sample::float(Timestamp::from_millis(last), 1.0);
    sink.push(labels, sample, Vec::new());
    let about = Metadata {
        kind: MetricType::Gauge,
        help: "Target metadata".to_owned(),
        unit: String::new(),
    };
    all.metadata.insert(INFO.to_owned(), about);
    Ok(())
}
