//! Pages of text. A line that stood at its place before costs a hash and its number; see [`cache`](crate::scrape::cache).

use std::hash::Hasher;

use model::{Metadata, MetricType, Value};
use wire::exposition::{Entry, Format, Parser, SampleEntry};

use super::append::{Append, Observation};
use super::buckets::Conversion;
use super::families::Families;
use crate::scrape::cache::{Expected, Key};

/// Comments that are read line by line.
struct Comments {
    /// Where they begin.
    start: usize,
    /// What the last `# TYPE` line among them says.
    said: Option<MetricType>,
}

/// Reads the samples of a page; the result is a hash of what it says about its families.
///
/// # Errors
///
/// The first place that is not in the format, or a series that cannot be.
pub(super) fn read(append: &mut Append<'_>, format: Format, bytes: &[u8]) -> Result<u64, String> {
    let mut parser = Parser::new(format, bytes);
    let mut kind = MetricType::Unknown;
    let mut conversion = Conversion::default();
    let converts = append.rules.histograms.to_custom_buckets;
    let mut described = append.cache.metadata_hasher();
    let mut comments: Option<Comments> = None;
    loop {
        let start = parser.at();
        if bytes.get(start) != Some(&b'#')
            && let Some(comments) = comments.take()
        {
            note(append, &comments, bytes, start, &mut described);
        }
        // Lines that may have to be converted are looked at.
        let expected = append.cache.expected();
        match expected.filter(|_| comments.is_none() && !conversion.is_on()) {
            Some(Expected::Sample(length)) => {
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
            Some(Expected::Comments(length, said)) if !converts => {
                let mut key = Key::default();
                let skipped = parser.skip_known(length, said, |lines| {
                    key = append.cache.key_of_comments(lines);
                    append.cache.is_expected_key(key)
                });
                if skipped && append.cache.take_expected().is_some() {
                    kind = said.unwrap_or(kind);
                    hash_key(&mut described, key);
                    continue;
                }
            }
            _ => {}
        }
        let Some(entry) = parser.next_entry().map_err(|error| error.to_string())? else {
            if let Some(comments) = comments {
                note(append, &comments, bytes, start, &mut described);
            }
            break;
        };
        if let Entry::Sample(sample) = entry {
            if conversion.is_on() && conversion.take(append, &sample)? {
                continue;
            }
            take(append, kind, &sample)?;
            continue;
        }
        let comments = comments.get_or_insert(Comments { start, said: None });
        if let Entry::Type {
            family,
            kind: found,
        } = entry
        {
            kind = found;
            comments.said = Some(found);
            conversion.flush(append)?;
            if converts {
                conversion.begin(&family, kind);
            }
        }
    }
    conversion.flush(append)?;
    Ok(described.finish())
}

/// Comments end: they are known from now on, and what they say of families is part of the page's hash.
fn note(
    append: &mut Append<'_>,
    comments: &Comments,
    bytes: &[u8],
    end: usize,
    described: &mut impl Hasher,
) {
    let lines = &bytes[comments.start..end.min(bytes.len())];
    let key = append.cache.key_of_comments(lines);
    append.cache.comments(key, lines.len(), comments.said);
    hash_key(described, key);
}

fn hash_key(described: &mut impl Hasher, key: Key) {
    key.into_iter().for_each(|half| described.write_u64(half));
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
