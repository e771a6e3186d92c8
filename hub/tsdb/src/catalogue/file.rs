//! The bytes of a segment's file (drawn in `FORMAT.md`).
//!
//! Keys are random and stand as they are; the sets, the symbols and the column of own sets are packed (`sealed`), and take
//! at most 24 times as much memory while they are read, beside 2 MiB for any segment. Reading is total: whatever the
//! bytes, an answer or [`Malformed`].

use super::{
    bits::{Bits, SPAN},
    lists::{Lists, ListsBuilder},
    segment::{Draft, Run, Segment},
    symbols::{SCOPE, SymbolsBuilder},
};
use crate::{
    codec::{Decoded, Input, Malformed, put_bytes, put_varint},
    sealed::{open_sealed, pack, sealed, unpack},
};

const MAGIC: [u8; 8] = *b"BRLSEGM\n";

/// A segment as its file says it.
pub(crate) struct SegmentFile {
    pub(super) number: u16,
    pub(super) segment: Segment,
    pub(super) live: Bits,
    /// By id; 0 where there is no series.
    pub(super) keys: Vec<u128>,
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
