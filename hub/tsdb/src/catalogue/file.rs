//! The bytes of a segment's file (drawn in `FORMAT.md`).
//!
//! Keys are random and stand as they are; the sets, the symbols and the column of own sets are compressed. Reading is
//! total: whatever the bytes, an answer or [`Malformed`]. Memory is bounded: what is compressed may be at most
//! [`PACKED_FACTOR`] times the file's size (and 64 KiB), and takes at most 24 times as much memory while it
//! is read, beside 2 MiB for any segment. A writer whose text shrinks more than that writes it uncompressed.

use super::{
    bits::{Bits, SPAN},
    lists::{Lists, ListsBuilder},
    segment::{Draft, Run, Segment},
    symbols::{SCOPE, SymbolsBuilder},
};
use crate::codec::{Decoded, Input, Malformed, put_bytes, put_varint};

pub(super) const VERSION: u32 = 1;
const MAGIC: [u8; 8] = *b"BRLSEGM\n";
const HEADER_BYTES: usize = 16;
const ZSTD_LEVEL: i32 = 1;
/// Fewer bytes are not worth it.
const PACK_FROM: usize = 512;
const PACKED_FACTOR: usize = 16;
const PACKED_FREE: usize = 64 << 10;

/// A segment as its file says it.
pub(crate) struct SegmentFile {
    pub(super) number: u16,
    pub(super) segment: Segment,
    pub(super) live: Bits,
    /// By id; 0 where there is no series.
    pub(super) keys: Vec<u128>,
}

/// A header of 16 bytes and what it checks.
pub(super) fn sealed(magic: [u8; 8], content: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEADER_BYTES + content.len());
    bytes.extend_from_slice(&magic);
    bytes.extend_from_slice(&VERSION.to_le_bytes());
    let checksum = crc32c::crc32c_append(crc32c::crc32c(&bytes), content);
    bytes.extend_from_slice(&checksum.to_le_bytes());
    bytes.extend_from_slice(content);
    bytes
}

fn checksum_passes(bytes: &[u8]) -> bool {
    let mut input = Input(bytes);
    let (Ok(head), Ok(checksum)) = (input.take(HEADER_BYTES - 4), input.u32()) else {
        return false;
    };
    crc32c::crc32c_append(crc32c::crc32c(head), input.0) == checksum
}

/// What stands behind a header, checked.
pub(super) fn open_sealed(magic: [u8; 8], bytes: &[u8]) -> Decoded<Input<'_>> {
    let mut input = Input(bytes);
    if input.take(8)? != magic {
        return Err(Malformed("the magic of such a file"));
    }
    if !checksum_passes(bytes) {
        return Err(Malformed("a file that passes its checksum"));
    }
    if input.u32()? != VERSION {
        return Err(Malformed("version 1"));
    }
    input.u32()?;
    Ok(input)
}

/// The version of a whole file, if it is another one. All versions have version and checksum at this place.
pub(super) fn other_version(bytes: &[u8]) -> Option<u32> {
    let version = Input(bytes.get(8..)?).u32().ok()?;
    (version != VERSION && checksum_passes(bytes)).then_some(version)
}

/// Writes `body` to the end of `out`: compressed, if the reader may unpack that much.
pub(super) fn pack(out: &mut Vec<u8>, body: &[u8]) {
    put_varint(out, body.len() as u64);
    if body.len() >= PACK_FROM {
        let packed = zstd::bulk::compress(body, ZSTD_LEVEL).unwrap_or_default();
        let size = HEADER_BYTES + out.len() + packed.len();
        let readable = body.len() <= size * PACKED_FACTOR + PACKED_FREE;
        if readable && !packed.is_empty() && packed.len() < body.len() {
            out.extend_from_slice(&packed);
            return;
        }
    }
    out.extend_from_slice(body);
}

/// Reads what [`pack`] wrote, up to the end of a file of `file_bytes`.
pub(super) fn unpack(mut input: Input<'_>, file_bytes: usize) -> Decoded<Vec<u8>> {
    let len = input.varint()?;
    let stored = input.0;
    if len == stored.len() as u64 {
        return Ok(stored.to_vec());
    }
    if len > (file_bytes * PACKED_FACTOR + PACKED_FREE) as u64 {
        return Err(Malformed("fewer bytes unpacked"));
    }
    let body = zstd::bulk::decompress(stored, len as usize);
    match body {
        Ok(body) if body.len() as u64 == len => Ok(body),
        _ => Err(Malformed("a zstd frame of the length that is said")),
    }
}

/// The file of a segment all of whose series are live.
pub(super) fn encode(number: u16, segment: &Segment, live: &Bits, keys: &[u128]) -> Vec<u8> {
    let draft = &segment.draft;
    let mut body = Vec::new();
    let stretches = live.stretches();
    put_varint(&mut body, stretches.len() as u64);
    let mut at = 0;
    for (from, to) in stretches {
        put_varint(&mut body, u64::from(from - at));
        put_varint(&mut body, u64::from(to - from));
        at = to;
    }
    let symbols = &draft.symbols;
    put_varint(&mut body, symbols.names() as u64);
    for name in 0..symbols.names() {
        put_bytes(&mut body, symbols.name(name).as_bytes());
        body.push(u8::from(symbols.is_own(name)));
        put_varint(&mut body, symbols.pairs(name).len() as u64);
        for pair in symbols.pairs(name) {
            put_bytes(&mut body, symbols.value(pair).as_bytes());
        }
    }
    for sets in [&draft.contexts, &draft.owns] {
        put_varint(&mut body, sets.len() as u64);
        sets.iter().for_each(|set| put_bytes(&mut body, set));
    }
    put_varint(&mut body, draft.runs.len() as u64);
    let mut at = 0;
    for run in &draft.runs {
        put_varint(&mut body, u64::from(run.start - at));
        put_varint(&mut body, u64::from(run.context));
        at = run.start;
    }
    for low in live.iter() {
        body.extend_from_slice(&draft.own_of[usize::from(low)].to_le_bytes());
    }

    let mut content = Vec::with_capacity(16 * live.len() as usize + body.len() / 2);
    content.extend_from_slice(&u32::from(number).to_le_bytes());
    content.extend_from_slice(&live.len().to_le_bytes());
    for low in live.iter() {
        content.extend_from_slice(&keys[usize::from(low)].to_le_bytes());
    }
    pack(&mut content, &body);
    sealed(MAGIC, &content)
}

/// Reads a segment's file. Total, and bounded: see the module.
pub(crate) fn decode(bytes: &[u8]) -> Decoded<SegmentFile> {
    let mut input = open_sealed(MAGIC, bytes)?;
    let number =
        u16::try_from(input.u32()?).map_err(|_| Malformed("a segment number below 65,536"))?;
    let series = input.u32()?;
    if series == 0 || series > SPAN {
        return Err(Malformed("1 to 65,536 series"));
    }
    let keys = input.take(series as usize * 16)?;
    let body = unpack(input, bytes.len())?;
    let mut input = Input(&body);
    let live = take_live(&mut input, series)?;
    let (draft, live) = take_draft(&mut input, live)?;
    if !input.is_empty() {
        return Err(Malformed("the end"));
    }
    let mut by_id = vec![0; draft.own_of.len()];
    for (low, key) in live.iter().zip(keys.as_chunks().0) {
        by_id[usize::from(low)] = u128::from_le_bytes(*key);
    }
    Ok(SegmentFile {
        number,
        segment: Segment::new(draft, &live),
        live,
        keys: by_id,
    })
}

/// For fuzzing: how many series a segment has of which a file says `content`.
pub(crate) fn probe(content: &[u8]) -> Decoded<u32> {
    decode(&sealed(MAGIC, content)).map(|file| file.live.len())
}

fn take_live(input: &mut Input<'_>, series: u32) -> Decoded<Bits> {
    let mut live = Bits::new();
    let mut at = 0;
    for _ in 0..input.count()? {
        let (gap, ids) = (input.varint_u32()?, input.varint_u32()?);
        let from = gap.checked_add(at).filter(|from| *from < SPAN);
        let from = from.ok_or(Malformed("ids within the segment"))?;
        let to = from.checked_add(ids).filter(|to| *to <= SPAN);
        at = to.ok_or(Malformed("ids within the segment"))?;
        live.insert_range(from, at);
    }
    if live.len() != series {
        return Err(Malformed("as many ids as keys"));
    }
    Ok(live)
}

fn take_draft(input: &mut Input<'_>, live: Bits) -> Decoded<(Draft, Bits)> {
    let mut symbols = SymbolsBuilder::default();
    // Name and side of each pair.
    let mut pairs: Vec<(u32, bool)> = Vec::new();
    let mut last_name: Option<&str> = None;
    for name_number in 0..input.count()? {
        let name = input.str()?;
        if last_name.is_some_and(|last| last >= name) {
            return Err(Malformed("names in order"));
        }
        last_name = Some(name);
        let own = match input.u8()? {
            0 => false,
            1 => true,
            _ => return Err(Malformed("side 0 or 1")),
        };
        symbols.name(name, own);
        let values = input.count()?;
        if values == 0 {
            return Err(Malformed("a value for each name"));
        }
        let mut last: Option<&str> = None;
        for _ in 0..values {
            let value = input.str()?;
            if last.is_some_and(|last| last >= value) || (value.is_empty() && name != SCOPE) {
                return Err(Malformed("values in order, not empty"));
            }
            last = Some(value);
            symbols.value(value);
            pairs.push((name_number as u32, own));
        }
    }
    let contexts = take_sets(input, &pairs, false)?;
    let owns = take_sets(input, &pairs, true)?;
    let count = input.count()?;
    let mut runs: Vec<Run> = Vec::with_capacity(count.min(SPAN as usize));
    for index in 0..count {
        let step = input.varint_u32()?;
        let before = runs.last().map_or(0, |run| u32::from(run.start));
        let start = step.checked_add(before);
        let start = start.and_then(|start| u16::try_from(start).ok());
        let start = start.filter(|_| (step == 0) == (index == 0));
        let context = u16::try_from(input.varint()?).ok();
        let context = context.filter(|set| usize::from(*set) < contexts.len());
        let (Some(start), Some(context)) = (start, context) else {
            return Err(Malformed("runs in order, of known contexts"));
        };
        runs.push(Run { start, context });
    }
    if runs.is_empty() {
        return Err(Malformed("a run"));
    }
    let span = live.stretches().last().map_or(0, |(_, to)| *to as usize);
    let mut own_of = vec![0; span];
    let column = input.take(live.len() as usize * 2)?;
    for (low, own) in live.iter().zip(column.as_chunks().0) {
        let own = u16::from_le_bytes(*own);
        if usize::from(own) >= owns.len() {
            return Err(Malformed("a known own set"));
        }
        own_of[usize::from(low)] = own;
    }
    let draft = Draft {
        symbols: symbols.finish(),
        contexts,
        owns,
        runs: runs.into(),
        own_of: own_of.into(),
        series: live.len(),
    };
    Ok((draft, live))
}

fn take_sets(input: &mut Input<'_>, pairs: &[(u32, bool)], own: bool) -> Decoded<Lists<u8>> {
    let mut sets = ListsBuilder::new();
    let count = input.count()?;
    if count > SPAN as usize {
        return Err(Malformed("at most 65,536 sets"));
    }
    for _ in 0..count {
        let set = input.bytes()?;
        let mut rest = Input(set);
        let (mut least, mut last_name) = (0_u64, None);
        while !rest.is_empty() {
            let number = rest.varint_u32().map(u64::from)? + least;
            least = number + 1;
            let (name, side) = usize::try_from(number)
                .ok()
                .and_then(|number| pairs.get(number))
                .ok_or(Malformed("a known pair"))?;
            if *side != own || last_name == Some(*name) {
                return Err(Malformed("one pair a name, of the right side"));
            }
            last_name = Some(*name);
        }
        sets.push(set);
    }
    Ok(sets.finish())
}
