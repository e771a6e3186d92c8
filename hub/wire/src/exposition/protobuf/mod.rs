//! The protobuf format: `io.prometheus.client.MetricFamily` messages, each after its length. The only format of pages with
//! native histograms.
//!
//! [`Families`] walks the bytes in place and decodes one metric at a time, so that memory follows the largest metric (at most
//! [`METRIC_BYTES_MAX`]) and not the page. What a metric says becomes [`Point`]s in the order, and under the names, that
//! Prometheus gives them: `_count`, `_sum` and `_bucket` of histograms, `quantile` of summaries.

mod points;
mod proto;

#[cfg(test)]
mod tests;

pub use points::{HistogramChoice, Point, PointExemplar};

use model::MetricType;
use prost::Message as _;

use crate::remote_write::{FieldValue, Fields};

/// A single metric longer than this is refused: decoded, it would take many times its bytes.
pub const METRIC_BYTES_MAX: usize = 1 << 20;

/// Why bytes are not in the protobuf format.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("bad protobuf at byte {offset}: {reason}")]
pub struct ProtobufError {
    /// Where, from the front of the page.
    pub offset: usize,
    /// What is wrong there.
    pub reason: String,
}

fn bad(offset: usize, reason: impl Into<String>) -> ProtobufError {
    ProtobufError {
        offset,
        reason: reason.into(),
    }
}

/// A page, family by family.
#[derive(Clone, Debug)]
pub struct Families<'a> {
    bytes: &'a [u8],
    at: usize,
}

/// A metric family with at least one metric.
#[derive(Clone, Debug)]
pub struct Family<'a> {
    /// Name of the family, not empty.
    pub name: &'a str,
    /// One line for people; may be empty.
    pub help: &'a str,
    /// Base unit; may be empty.
    pub unit: &'a str,
    /// Its type.
    pub kind: MetricType,
    message: &'a [u8],
    offset: usize,
}

/// One metric of a family.
#[derive(Clone, Debug)]
pub struct Metric {
    inner: proto::Metric,
    offset: usize,
}

/// Field numbers of a family.
const NAME: u32 = 1;
const HELP: u32 = 2;
const TYPE: u32 = 3;
const METRIC: u32 = 4;
const UNIT: u32 = 5;

impl<'a> Families<'a> {
    /// Starts at the front of a page.
    pub fn new(bytes: &'a [u8]) -> Self {
        Families { bytes, at: 0 }
    }

    /// The next family that has metrics; None at the end.
    ///
    /// # Errors
    /// The first place that is not in the format; nothing more can be read then.
    pub fn next_family(&mut self) -> Result<Option<Family<'a>>, ProtobufError> {
        loop {
            let rest = &self.bytes[self.at..];
            if rest.is_empty() {
                return Ok(None);
            }
            let mut after = rest;
            let length = prost::encoding::decode_varint(&mut after)
                .map_err(|_| bad(self.at, "expected the length of a metric family"))?;
            let start = self.at + (rest.len() - after.len());
            let message = usize::try_from(length)
                .ok()
                .and_then(|length| after.get(..length))
                .ok_or_else(|| {
                    bad(
                        self.at,
                        format!(
                            "a metric family of {length} bytes, but only {} follow",
                            after.len()
                        ),
                    )
                })?;
            self.at = start + message.len();
            if let Some(family) = Family::read(message, start)? {
                return Ok(Some(family));
            }
        }
    }
}

impl<'a> Family<'a> {
    /// None for a family without metrics, of which Prometheus takes no notice.
    fn read(message: &'a [u8], offset: usize) -> Result<Option<Family<'a>>, ProtobufError> {
        let (mut name, mut help, mut unit) = ("", "", "");
        let mut kind = 0;
        let mut metrics = false;
        let mut fields = Fields::new(message, offset);
        while let Some(field) = fields
            .next()
            .map_err(|error| bad(offset, error.to_string()))?
        {
            let text = |bytes: &'a [u8], what: &str| {
                std::str::from_utf8(bytes)
                    .map_err(|_| bad(field.offset, format!("{what} is not UTF-8")))
            };
            match (field.number, field.value) {
                (NAME, FieldValue::Bytes(bytes)) => {
                    name = text(bytes, "the name of a metric family")?
                }
                (HELP, FieldValue::Bytes(bytes)) => help = text(bytes, "a help text")?,
                (UNIT, FieldValue::Bytes(bytes)) => unit = text(bytes, "a unit")?,
                (TYPE, FieldValue::Varint(number)) => kind = number,
                (METRIC, FieldValue::Bytes(_)) => metrics = true,
                (NAME | HELP | UNIT | TYPE | METRIC, _) => {
                    return Err(bad(
                        field.offset,
                        "a field of a metric family has the wrong type",
                    ));
                }
                _ => {}
            }
        }
        if !metrics {
            return Ok(None);
        }
        if name.is_empty() {
            return Err(bad(offset, "a metric family without a name"));
        }
        let kind = match kind {
            0 => MetricType::Counter,
            1 => MetricType::Gauge,
            2 => MetricType::Summary,
            3 => MetricType::Unknown,
            4 => MetricType::Histogram,
            5 => MetricType::GaugeHistogram,
            other => {
                return Err(bad(
                    offset,
                    format!("metric {name:?} has the unknown type {other}"),
                ));
            }
        };
        let family = Family {
            name,
            help,
            unit,
            kind,
            message,
            offset,
        };
        family.check_unit()?;
        Ok(Some(family))
    }

    fn check_unit(&self) -> Result<(), ProtobufError> {
        let stem = match self.kind {
            MetricType::Counter => self.name.strip_suffix("_total").unwrap_or(self.name),
            _ => self.name,
        };
        let fits = self.unit.is_empty()
            || stem
                .strip_suffix(self.unit)
                .is_some_and(|rest| rest.ends_with('_'));
        match fits {
            true => Ok(()),
            false => Err(bad(
                self.offset,
                format!(
                    "unit {:?} is not a suffix of metric {:?}",
                    self.unit, self.name
                ),
            )),
        }
    }

    /// Its metrics, one after the other.
    pub fn metrics(&self) -> impl Iterator<Item = Result<Metric, ProtobufError>> + use<'a> {
        let mut fields = Fields::new(self.message, self.offset);
        let mut failed = false;
        let offset = self.offset;
        std::iter::from_fn(move || {
            while !failed {
                match fields.next() {
                    Ok(Some(field)) => {
                        if let (METRIC, FieldValue::Bytes(bytes)) = (field.number, field.value) {
                            let metric = Metric::read(bytes, field.offset);
                            failed = metric.is_err();
                            return Some(metric);
                        }
                    }
                    Ok(None) => return None,
                    Err(error) => {
                        failed = true;
                        return Some(Err(bad(offset, error.to_string())));
                    }
                }
            }
            None
        })
    }
}

impl Metric {
    fn read(bytes: &[u8], offset: usize) -> Result<Metric, ProtobufError> {
        if bytes.len() > METRIC_BYTES_MAX {
            return Err(bad(
                offset,
                format!(
                    "a single metric of {} bytes: at most {METRIC_BYTES_MAX} are read",
                    bytes.len()
                ),
            ));
        }
        let inner = proto::Metric::decode(bytes).map_err(|error| bad(offset, error.to_string()))?;
        Ok(Metric { inner, offset })
    }

    /// Name and value of its labels in the order sent, without the metric name and without `le` and `quantile`.
    pub fn labels(&self) -> impl Iterator<Item = (&str, &str)> {
        let pairs = self.inner.label.iter();
        pairs.map(|pair| (pair.name.as_str(), pair.value.as_str()))
    }
}
