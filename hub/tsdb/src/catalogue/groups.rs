//! Which series have the same labels, as far as some are kept? Answered segment by segment by the numbers of their pairs, so
//! that a label set is made for each group and not for each series.

use hashbrown::HashMap;
use model::LabelSet;

use super::{
    Catalogue,
    lists::Rising,
    segment::Segment,
    slots::{Form, split},
    symbols::SCOPE,
    tail::Tail,
};

/// The number of a series that is not there.
const NONE: u32 = u32::MAX;
/// Series of a frozen segment that are fewer than it pays to make tables of its sets for.
const FEW: usize = 64;

/// Groups, as they are found.
pub(crate) struct Grouping<'k> {
    keep: &'k dyn Fn(&str) -> bool,
    of: Vec<u32>,
    labels: Vec<LabelSet>,
    numbers: HashMap<LabelSet, u32>,
}

impl<'k> Grouping<'k> {
    /// By the labels that are kept.
    pub(crate) fn new(keep: &'k dyn Fn(&str) -> bool) -> Self {
        Self {
            keep,
            of: Vec::new(),
            labels: Vec::new(),
            numbers: HashMap::new(),
        }
    }

    pub(crate) fn groups(&self) -> usize {
        self.labels.len()
    }

    /// The number of the group of each series in the order of coming, `u32::MAX` for those that are not there; and the
    /// labels of each group.
    pub(crate) fn finish(self) -> (Vec<u32>, Vec<LabelSet>) {
        (self.of, self.labels)
    }

    fn keeps(&self, name: &str) -> bool {
        name != SCOPE && (self.keep)(name)
    }

    fn number<'a>(&mut self, pairs: impl Iterator<Item = (&'a str, &'a str)>) -> u32 {
        // Pairs of a series are of different names.
        let Ok(labels) = LabelSet::from_pairs(pairs) else {
            return NONE;
        };
        if let Some(number) = self.numbers.get(&labels) {
            return *number;
        }
        let number = self.labels.len() as u32;
        self.labels.push(labels.clone());
        self.numbers.insert(labels, number);
        number
    }
}

impl Catalogue {
    /// Sorts series into groups: rising ids of one segment.
    pub(crate) fn group(&self, ids: &[u32], grouping: &mut Grouping<'_>) {
        let slot = ids.first().and_then(|id| self.slots.get(split(*id).0));
        let Some(slot) = slot else {
            grouping.of.extend(ids.iter().map(|_| NONE));
            return;
        };
        let lows = ids.iter().map(|id| {
            let low = split(*id).1;
            slot.live.contains(low).then_some(low)
        });
        match &slot.form {
            Form::Open(tail) => tail.group(lows, grouping),
            Form::Frozen(segment) => segment.group(lows, ids.len(), grouping),
        }
    }

    /// Gives a hash of the kept labels of each of these series that is there: rising ids of one segment.
    pub(crate) fn hash_kept(
        &self,
        ids: &[u32],
        keep: &dyn Fn(&str) -> bool,
        mut each: impl FnMut(u32, u64),
    ) {
        let slot = ids.first().and_then(|id| self.slots.get(split(*id).0));
        let Some(slot) = slot else { return };
        let hash = |name: &str, value: &str| match name != SCOPE && keep(name) {
            true => self.hasher.pair(name, value),
            false => 0,
        };
        let live = ids.iter().filter(|id| slot.live.contains(split(**id).1));
        match &slot.form {
            Form::Open(tail) => {
                let hashes: Vec<u64> = (0..tail.pairs_len())
                    .map(|pair| hash(tail.name(tail.name_number(pair)), tail.value(pair)))
                    .collect();
                for id in live {
                    let pairs = tail.refs_of(split(*id).1).iter();
                    each(
                        *id,
                        pairs.fold(0, |sum: u64, pair| sum.wrapping_add(hashes[*pair as usize])),
                    );
                }
            }
            Form::Frozen(segment) => {
                for id in live {
                    let pairs = segment.pairs_text(split(*id).1);
                    each(
                        *id,
                        pairs.fold(0, |sum: u64, (name, value)| {
                            sum.wrapping_add(hash(name, value))
                        }),
                    );
                }
            }
        }
    }
}

impl Tail {
    fn group(&self, lows: impl Iterator<Item = Option<u16>>, grouping: &mut Grouping<'_>) {
        let kept: Vec<bool> = self.names().map(|name| grouping.keeps(name)).collect();
        let mut numbers: HashMap<Box<[u32]>, u32> = HashMap::new();
        let (mut pairs, mut last, mut number) = (Vec::new(), Vec::new(), NONE);
        for low in lows {
            let Some(low) = low else {
                grouping.of.push(NONE);
                continue;
            };
            let all = self.refs_of(low).iter().copied();
            pairs.clear();
            pairs.extend(all.filter(|pair| kept[self.name_number(*pair) as usize]));
            // Neighbours are often of one group.
            if number == NONE || pairs != last {
                number = match numbers.get(&*pairs) {
                    Some(number) => *number,
                    None => {
                        let text = pairs.iter();
                        let text = text
                            .map(|pair| (self.name(self.name_number(*pair)), self.value(*pair)));
                        let number = grouping.number(text);
                        numbers.insert(pairs.as_slice().into(), number);
                        number
                    }
                };
                std::mem::swap(&mut pairs, &mut last);
            }
            grouping.of.push(number);
        }
    }
}

/// The sets of one side of a segment, without the pairs that are dropped: equal ones have one number.
struct Projected<'s> {
    /// By set; [`NONE`] until it is asked for.
    numbers: Vec<u32>,
    /// Kept pairs by number.
    pairs: Vec<Box<[u32]>>,
    known: HashMap<Box<[u32]>, u32>,
    of: &'s dyn Fn(usize) -> Vec<u32>,
}

impl<'s> Projected<'s> {
    fn new(sets: usize, of: &'s dyn Fn(usize) -> Vec<u32>) -> Self {
        Self {
            numbers: vec![NONE; sets],
            pairs: Vec::new(),
            known: HashMap::new(),
            of,
        }
    }

    fn number(&mut self, set: usize) -> u32 {
        match self.numbers.get(set) {
            Some(&number) if number != NONE => return number,
            Some(_) => {}
            None => return NONE,
        }
        let pairs = (self.of)(set);
        let number = match self.known.get(&*pairs) {
            Some(number) => *number,
            None => {
                let number = self.pairs.len() as u32;
                self.known.insert(pairs.as_slice().into(), number);
                self.pairs.push(pairs.into());
                number
            }
        };
        self.numbers[set] = number;
        number
    }

    fn pairs(&self, number: u32) -> &[u32] {
        self.pairs.get(number as usize).map_or(&[], |pairs| pairs)
    }
}

impl Segment {
    fn group(
        &self,
        lows: impl Iterator<Item = Option<u16>>,
        count: usize,
        grouping: &mut Grouping<'_>,
    ) {
        let symbols = &self.draft.symbols;
        if count < FEW {
            for low in lows {
                let number = match low {
                    None => NONE,
                    Some(low) => {
                        let keep = grouping.keep;
                        let kept = |(name, _): &(&str, &str)| *name != SCOPE && keep(name);
                        grouping.number(self.pairs_text(low).filter(kept))
                    }
                };
                grouping.of.push(number);
            }
            return;
        }
        let mut kept = vec![false; symbols.len()];
        for name in (0..symbols.names()).filter(|name| grouping.keeps(symbols.name(*name))) {
            let pairs = symbols.pairs(name);
            kept[pairs.start as usize..pairs.end as usize].fill(true);
        }
        let project = |set: &[u8]| {
            let pairs = Rising::new(set);
            pairs.filter(|pair| kept[*pair as usize]).collect()
        };
        let (context_of, own_of) = (
            |set| project(self.draft.contexts.get(set)),
            |set| project(self.draft.owns.get(set)),
        );
        let mut contexts = Projected::new(self.draft.contexts.len(), &context_of);
        let mut owns = Projected::new(self.draft.owns.len(), &own_of);
        let mut numbers: HashMap<(u32, u32), u32> = HashMap::new();
        let (mut last, mut number) = ((NONE, NONE), NONE);
        let mut run = 0;
        for low in lows {
            let Some(low) = low else {
                grouping.of.push(NONE);
                continue;
            };
            let runs = &self.draft.runs;
            while runs.get(run + 1).is_some_and(|next| next.start <= low) {
                run += 1;
            }
            let context = runs.get(run).map(|run| contexts.number(run.context.into()));
            let own = self.draft.own_of.get(usize::from(low));
            let own = own.map(|own| owns.number((*own).into()));
            let sets = (context.unwrap_or(NONE), own.unwrap_or(NONE));
            if number == NONE || sets != last {
                last = sets;
                number =
                    *numbers.entry(sets).or_insert_with(|| {
                        let pairs = [contexts.pairs(sets.0), owns.pairs(sets.1)];
                        let text = pairs.into_iter().flatten();
                        grouping.number(text.map(|pair| {
                            (symbols.name(symbols.name_of(*pair)), symbols.value(*pair))
                        }))
                    });
            }
            grouping.of.push(number);
        }
    }
}
