//! Exemplars: an observation, its trace and span, and the attributes that its series does not have.

use model::{Exemplar, Timestamp};

use super::points::millis;
use super::proto::{self, ExemplarValue, KeyValue};
use super::value::text;
use crate::remote_write::SeriesRefusal;
use crate::remote_write::convert;

/// In order of time. One that cannot be kept says why, and refuses nothing else.
///
/// # Errors
/// An exemplar without a value.
pub(super) fn exemplars(
    sent: &[proto::Exemplar],
    at: Timestamp,
) -> Result<Vec<Result<Exemplar, SeriesRefusal>>, String> {
    let mut made = Vec::with_capacity(sent.len());
    for exemplar in sent {
        made.push(one(exemplar, at)?);
    }
    // The store takes them as they come, the older first.
    made.sort_by_key(|exemplar| exemplar.as_ref().map_or(at, |exemplar| exemplar.at));
    Ok(made)
}

fn one(sent: &proto::Exemplar, at: Timestamp) -> Result<Result<Exemplar, SeriesRefusal>, String> {
    let value = match sent.value {
        Some(ExemplarValue::Double(value)) => value,
        Some(ExemplarValue::Int(value)) => value as f64,
        None => return Err("unsupported exemplar value type: Empty".to_owned()),
    };
    let at = match millis(sent.time_unix_nano) {
        0 => at,
        millis => Timestamp::from_millis(millis),
    };
    let mut labels: Vec<(&str, String)> = Vec::new();
    let ids = [("trace_id", &sent.trace_id), ("span_id", &sent.span_id)];
    for (name, id) in ids {
        if id.iter().any(|byte| *byte != 0) {
            labels.push((name, hex(id)));
        }
    }
    let chars = |name: &str, value: &str| name.chars().count() + value.chars().count();
    let ids: usize = labels.iter().map(|(name, id)| chars(name, id)).sum();
    let more = |pair: &KeyValue| (text(pair.value.as_ref()), pair.key.chars().count());
    let more: usize = sent
        .filtered_attributes
        .iter()
        .map(|pair| more(pair).0.chars().count() + more(pair).1)
        .sum();
    // Rather without the attributes than not at all.
    if ids + more <= Exemplar::LABEL_CHARS_MAX {
        let more = sent.filtered_attributes.iter();
        labels.extend(more.map(|pair| (pair.key.as_str(), text(pair.value.as_ref()))));
    }
    let pairs: Vec<(&str, &str)> = labels.iter().map(|(n, v)| (*n, v.as_str())).collect();
    Ok(convert::exemplar(&pairs, value, at.millis()))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
