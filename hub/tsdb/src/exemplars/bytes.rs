//! The bytes of exemplars, in the log and in their file (drawn in `FORMAT.md`). Reading is total.

use model::{Exemplar, LabelSet, Timestamp};

use crate::{
    codec::{Decoded, Input, Malformed, put_bytes, put_varint, put_zigzag},
    sealed::{open_sealed, pack, sealed, unpack},
};

const MAGIC: [u8; 8] = *b"BRLEXEM\n";
/// Id and time of one byte, value, no labels.
const LEAST_BYTES: usize = 11;

/// Writes exemplars, each with the id of its series.
pub(crate) fn put<'a>(
    out: &mut Vec<u8>,
    exemplars: impl ExactSizeIterator<Item = (u32, &'a Exemplar)>,
) {
    put_varint(out, exemplars.len() as u64);
    let mut before = 0;
    for (id, exemplar) in exemplars {
        let at = exemplar.at.millis();
        put_varint(out, u64::from(id));
        put_zigzag(out, at.wrapping_sub(before));
        out.extend_from_slice(&exemplar.value.to_bits().to_le_bytes());
        put_varint(out, exemplar.labels.len() as u64);
        for (name, value) in exemplar.labels.iter() {
            put_bytes(out, name.as_bytes());
            put_bytes(out, value.as_bytes());
        }
        before = at;
    }
}

/// Reads what [`put`] wrote.
pub(crate) fn take(input: &mut Input<'_>) -> Decoded<Vec<(u32, Exemplar)>> {
    let count = input.count()?;
    if count > input.0.len() / LEAST_BYTES {
        return Err(Malformed("as many exemplars as fit the bytes left"));
    }
    let mut exemplars = Vec::with_capacity(count);
    let mut before = 0_i64;
    for _ in 0..count {
        let id = input.varint_u32()?;
        let at = before.wrapping_add(input.zigzag()?);
        let value = input.f64()?;
        let labels = (0..input.count()?).map(|_| Ok((input.str()?, input.str()?)));
        let labels: Vec<(&str, &str)> = labels.collect::<Decoded<_>>()?;
        let labels = LabelSet::from_pairs(labels).map_err(|_| Malformed("a label set"))?;
        let at_time = Timestamp::from_millis(at);
        let exemplar = Exemplar {
            labels,
            value,
            at: at_time,
        };
        exemplars.push((id, exemplar));
        before = at;
    }
    Ok(exemplars)
}

/// The file of a ring that has what the log says up to a write sequence.
pub(super) fn file<'a>(
    through: u64,
    exemplars: impl ExactSizeIterator<Item = (u32, &'a Exemplar)>,
) -> Vec<u8> {
    let mut body = Vec::new();
    put(&mut body, exemplars);
    let mut content = Vec::new();
    put_varint(&mut content, through);
    pack(&mut content, &body);
    sealed(MAGIC, &content)
}

/// Reads what [`file`] wrote.
pub(super) fn read_file(bytes: &[u8]) -> Decoded<(u64, Vec<(u32, Exemplar)>)> {
    let mut input = open_sealed(MAGIC, bytes)?;
    let through = input.varint()?;
    let body = unpack(input, bytes.len())?;
    let mut body = Input(&body);
    let exemplars = take(&mut body)?;
    if !body.is_empty() {
        return Err(Malformed("the end"));
    }
    Ok((through, exemplars))
}

/// For fuzzing: how many exemplars a file says `content` of.
pub(crate) fn probe(content: &[u8]) -> Decoded<usize> {
    read_file(&sealed(MAGIC, content)).map(|(_, exemplars)| exemplars.len())
}
