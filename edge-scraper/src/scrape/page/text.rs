//! Pages of text. A line that stood at its place before costs a hash and its number; see [`cache`](crate::scrape::cache).

use std::hash::Hasher;

use model::{Metadata, MetricType, Value};
use wire::exposition::{Entry, Format, Parser, SampleEntry};

use super::append::{Append, Observation, hash_parts};
use super::buckets::Conversion;
use super::families::Families;

/// Reads the samples of a page; the result is a hash of what it says about its families.
///
/// # Errors
///
/// The first place that is not in the format, or a series that cannot be.
pub(super) fn read(append: &mut Append<'_>, format: Format, bytes: &[u8]) -> Result<u64, String> {
    let mut parser = Parser::new(format, bytes);
    let mut kind = MetricType::Unknown;
    let mut conversion = Conversion::default();
    let mut described = append.cache.metadata_hasher();
    loop {
        // Lines that may have to be converted are looked at.
        if !conversion.is_on()
            && let Some(length) = append.cache.expected_length()
        {
            let known = parser.next_known(length, |line| append.cache.is_expected(kind, line));
            let known = known.map_err(|error| error.to_string())?;
            if let Some(known) = known
                && let Some(line) = append.expected_line()
            {
                let observed = Observation {
                    value: Value::Float(known.value),
                    time: known.timestamp,
                    start: None,
                };
                if let (Some(series), Some(exemplar)) =
                    (append.sample(line, observed), &known.exemplar)
                {
                    append.text_exemplar(series, exemplar);
                }
                continue;
            }
        }
        let Some(entry) = parser.next_entry().map_err(|error| error.to_string())? else {
            break;
        };
        match entry {
            Entry::Sample(sample) => {
                if conversion.is_on() && conversion.take(append, &sample)? {
                    continue;
                }
                take(append, kind, &sample)?;
            }
            Entry::Type {
                family,
                kind: found,
            } => {
                kind = found;
                hash_parts(&mut described, ["type", &family, found.as_str()]);
                conversion.flush(append)?;
                if append.rules.histograms.to_custom_buckets {
                    conversion.begin(&family, kind);
                }
            }
            Entry::Help { family, text } => {
                hash_parts(&mut described, ["help", &family, &text]);
            }
            Entry::Unit { family, unit } => {
                hash_parts(&mut described, ["unit", &family, &unit]);
            }
            Entry::Comment { .. } => {}
        }
    }
    conversion.flush(append)?;
    Ok(described.finish())
}

/// A line that did not stand at this place before, or has to be looked at.
fn take(append: &mut Append<'_>, kind: MetricType, sample: &SampleEntry<'_>) -> Result<(), String> {
    let key = append.cache.key(kind, sample.series);
    let line = append.line(key, sample.series.len(), || sample.labels.iter().collect())?;
    let observed = Observation {
        value: Value::Float(sample.value),
        time: sample.timestamp,
        start: None,
    };
    let stored = append.sample(line, observed);
    if let (Some(series), Some(exemplar)) = (stored, &sample.exemplar) {
        append.text_exemplar(series, exemplar);
    }
    Ok(())
}

/// What a page says about its families.
///
/// # Errors
///
/// None after [`read`], which has read the same page.
pub(super) fn families(format: Format, bytes: &[u8]) -> Result<Vec<(String, Metadata)>, String> {
    let mut families = Families::default();
    let mut parser = Parser::new(format, bytes);
    while let Some(entry) = parser.next_entry().map_err(|error| error.to_string())? {
        match entry {
            Entry::Help { family, text } => {
                families.describe(&family, |known| known.help = text.into_owned());
            }
            Entry::Type { family, kind } => families.describe(&family, |known| known.kind = kind),
            Entry::Unit { family, unit } => {
                families.describe(&family, |known| known.unit = unit.into_owned());
            }
            Entry::Comment { .. } | Entry::Sample(_) => {}
        }
    }
    Ok(families.into_vec())
}
