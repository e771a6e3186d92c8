//! A frozen segment: which labels have these 65,536 ids, and which of them have a label?
//!
//! Series come target by target, so next to the one before a series has the same instance, job, branch… and another
//! metric. A label name whose value seldom changes from one id to the next is a *context* name here, the others are
//! *own* names; which is which is found by counting when the segment is frozen. A series is then a context set (held
//! once for a run of ids) and an own set (2 bytes, because the next target has the same metrics again): in all 4 bytes
//! where the flat list of labels takes 15 and its postings another 10. Where ids come in no order, all names are own and
//! every set is used once: the flat form.
//!
//! Postings are not held for each pair either: a pair knows the sets that hold it, a set its series. So nothing but the
//! sets need be in the file, and the index is made while reading it.

use std::iter::Peekable;

use model::LabelSet;

use super::{
    bits::{Bits, SPAN},
    lists::{Lists, Rising},
    symbols::{SCOPE, Symbols},
};

/// Ids from `start` to the next run have this context.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Run {
    pub(super) start: u16,
    pub(super) context: u16,
}

/// What says all of a segment: the rest follows. Invariants: numbers are in range, a set holds rising pairs of different
/// names of its side, runs rise from 0.
pub(super) struct Draft {
    pub(super) symbols: Symbols,
    /// Pairs of each set ([`Rising`]).
    pub(super) contexts: Lists<u8>,
    pub(super) owns: Lists<u8>,
    pub(super) runs: Box<[Run]>,
    /// Own set by id; of any value where there is no series.
    pub(super) own_of: Box<[u16]>,
    /// Series there are.
    pub(super) series: u32,
}

pub(super) struct Segment {
    pub(super) draft: Draft,
    series_by_own: Lists<u16>,
    runs_by_context: Lists<u16>,
    /// Context or own sets, as the pair's name says.
    sets_by_pair: Lists<u16>,
}

impl Segment {
    pub(super) fn new(draft: Draft, live: &Bits) -> Self {
        let own_of = &draft.own_of;
        let by_own = live
            .iter()
            .filter_map(|low| Some((usize::from(*own_of.get(usize::from(low))?), low)));
        let by_context = draft.runs.iter().enumerate();
        let by_context =
            by_context.map(|(run, Run { context, .. })| (usize::from(*context), run as u16));
        // A pair stands in sets of one side only, so numbers of sets of both may be in one column.
        let mut pairs: Vec<(u32, u16)> = Vec::new();
        for side in [&draft.contexts, &draft.owns] {
            for (set, refs) in side.iter().enumerate() {
                pairs.extend(Rising::new(refs).map(|pair| (pair, set as u16)));
            }
        }
        let by_pair = pairs.iter().map(|(pair, set)| (*pair as usize, *set));
        let series_by_own = Lists::group(draft.owns.len(), by_own);
        let runs_by_context = Lists::group(draft.contexts.len(), by_context);
        let sets_by_pair = Lists::group(draft.symbols.len(), by_pair);
        Self {
            draft,
            series_by_own,
            runs_by_context,
            sets_by_pair,
        }
    }

    fn run_end(&self, run: usize) -> u32 {
        let next = self.draft.runs.get(run + 1);
        next.map_or(SPAN, |next| u32::from(next.start))
    }

    /// Numbers of a series' pairs, rising.
    fn pairs_of(&self, low: u16) -> Merged<'_> {
        let draft = &self.draft;
        let run = draft.runs.partition_point(|run| run.start <= low);
        let context = run.checked_sub(1).map(|run| draft.runs[run].context);
        let context = context.map_or(&[][..], |set| draft.contexts.get(usize::from(set)));
        let own = draft.own_of.get(usize::from(low));
        let own = own.map_or(&[][..], |set| draft.owns.get(usize::from(*set)));
        Merged {
            a: Rising::new(context).peekable(),
            b: Rising::new(own).peekable(),
        }
    }

    /// Name and value of a series' labels in order, its scope first.
    pub(super) fn pairs_text(&self, low: u16) -> impl Iterator<Item = (&str, &str)> {
        let symbols = &self.draft.symbols;
        let mut name = 0;
        self.pairs_of(low).map(move |pair| {
            while !symbols.pairs(name).contains(&pair) {
                name += 1;
            }
            (symbols.name(name), symbols.value(pair))
        })
    }

    pub(super) fn labels(&self, low: u16) -> Option<LabelSet> {
        LabelSet::from_pairs(self.pairs_text(low).filter(|(name, _)| *name != SCOPE)).ok()
    }

    pub(super) fn has_labels(&self, low: u16, labels: &LabelSet) -> bool {
        let own = self.pairs_text(low).filter(|(name, _)| *name != SCOPE);
        own.eq(labels.iter())
    }

    /// Adds the series that have the pair. May add ids without a series.
    pub(super) fn mark(&self, pair: u32, bits: &mut Bits) {
        let sets = self.sets_by_pair.get(pair as usize);
        if self.draft.symbols.is_own(self.draft.symbols.name_of(pair)) {
            for set in sets {
                for low in self.series_by_own.get(usize::from(*set)) {
                    bits.insert(*low);
                }
            }
            return;
        }
        for set in sets {
            for run in self.runs_by_context.get(usize::from(*set)) {
                let run = usize::from(*run);
                bits.insert_range(u32::from(self.draft.runs[run].start), self.run_end(run));
            }
        }
    }

    /// Calls with (name, pair) for each pair that one of these series has.
    pub(super) fn for_used<'a>(&'a self, wanted: &Bits, mut used: impl FnMut(&'a str, u32)) {
        let draft = &self.draft;
        let mut contexts = vec![false; draft.contexts.len()];
        let mut owns = vec![false; draft.owns.len()];
        let mut run = 0;
        for low in wanted.iter() {
            while self.run_end(run) <= u32::from(low) {
                run += 1;
            }
            if let Some(run) = draft.runs.get(run) {
                contexts[usize::from(run.context)] = true;
            }
            if let Some(own) = draft.own_of.get(usize::from(low)) {
                owns[usize::from(*own)] = true;
            }
        }
        for name in 0..draft.symbols.names() {
            let sets = match draft.symbols.is_own(name) {
                true => &owns,
                false => &contexts,
            };
            for pair in draft.symbols.pairs(name) {
                let with = self.sets_by_pair.get(pair as usize);
                if with.iter().any(|set| sets[usize::from(*set)]) {
                    used(draft.symbols.name(name), pair);
                }
            }
        }
    }

    /// Calls with the hash of each of these series' labels: the sum of its pairs' hashes, without the scope's.
    pub(super) fn for_hashes(
        &self,
        live: &Bits,
        hash: impl Fn(&str, &str) -> u64,
        mut each: impl FnMut(u16, u64),
    ) {
        let draft = &self.draft;
        let mut hashes = Vec::with_capacity(draft.symbols.len());
        for name in 0..draft.symbols.names() {
            let text = draft.symbols.name(name);
            hashes.extend(draft.symbols.pairs(name).map(|pair| match text {
                SCOPE => 0,
                text => hash(text, draft.symbols.value(pair)),
            }));
        }
        let sum = |set: &[u8]| {
            Rising::new(set).fold(0_u64, |sum, pair| sum.wrapping_add(hashes[pair as usize]))
        };
        let contexts: Vec<u64> = draft.contexts.iter().map(sum).collect();
        let owns: Vec<u64> = draft.owns.iter().map(sum).collect();
        let mut run = 0;
        for low in live.iter() {
            while self.run_end(run) <= u32::from(low) {
                run += 1;
            }
            let context = contexts[usize::from(draft.runs[run].context)];
            let own = owns[usize::from(draft.own_of[usize::from(low)])];
            each(low, context.wrapping_add(own));
        }
    }

    /// Series of each pair among these, by its number.
    pub(super) fn series_by_pair(&self, live: &Bits) -> Vec<u32> {
        let draft = &self.draft;
        let mut contexts = vec![0_u32; draft.contexts.len()];
        let mut owns = vec![0_u32; draft.owns.len()];
        let mut run = 0;
        for low in live.iter() {
            while self.run_end(run) <= u32::from(low) {
                run += 1;
            }
            if let Some(run) = draft.runs.get(run) {
                contexts[usize::from(run.context)] += 1;
            }
            if let Some(own) = draft.own_of.get(usize::from(low)) {
                owns[usize::from(*own)] += 1;
            }
        }
        let mut counts = vec![0; draft.symbols.len()];
        for (sets, series) in [(&draft.contexts, contexts), (&draft.owns, owns)] {
            for (set, series) in sets.iter().zip(series) {
                for pair in Rising::new(set) {
                    counts[pair as usize] += series;
                }
            }
        }
        counts
    }

    pub(super) fn bytes(&self) -> usize {
        let draft = &self.draft;
        draft.symbols.bytes()
            + draft.contexts.bytes()
            + draft.owns.bytes()
            + size_of_val(&*draft.runs)
            + size_of_val(&*draft.own_of)
            + self.series_by_own.bytes()
            + self.runs_by_context.bytes()
            + self.sets_by_pair.bytes()
    }
}

/// Two rising sequences without common numbers, as one.
struct Merged<'a> {
    a: Peekable<Rising<'a>>,
    b: Peekable<Rising<'a>>,
}

impl Iterator for Merged<'_> {
    type Item = u32;

    fn next(&mut self) -> Option<u32> {
        match (self.a.peek(), self.b.peek()) {
            (Some(a), Some(b)) if a < b => self.a.next(),
            (_, Some(_)) => self.b.next(),
            _ => self.a.next(),
        }
    }
}
