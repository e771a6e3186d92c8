//! The distinct label pairs of a segment, sorted by name and value and numbered in this order: so a pair is found by
//! binary search, the values of a name are a stretch of numbers, and rising numbers are labels in order of their names.

use std::ops::Range;

/// The name under which a series' scope stands among its labels. No label has the empty name.
pub(super) const SCOPE: &str = "";

pub(super) struct Symbols {
    name_text: Box<str>,
    value_text: Box<str>,
    names: Box<[Name]>,
    value_ends: Box<[u32]>,
}

#[derive(Clone, Copy)]
struct Name {
    end: u32,
    /// The number of its first pair.
    first: u32,
    /// Whether its pairs stand in the series' own sets; else in contexts.
    own: bool,
}

impl Symbols {
    /// How many pairs.
    pub(super) fn len(&self) -> usize {
        self.value_ends.len()
    }

    pub(super) fn names(&self) -> usize {
        self.names.len()
    }

    pub(super) fn name(&self, name: usize) -> &str {
        let from = name
            .checked_sub(1)
            .map_or(0, |before| self.names[before].end);
        &self.name_text[from as usize..self.names[name].end as usize]
    }

    pub(super) fn value(&self, pair: u32) -> &str {
        let pair = pair as usize;
        let from = pair
            .checked_sub(1)
            .map_or(0, |before| self.value_ends[before]);
        &self.value_text[from as usize..self.value_ends[pair] as usize]
    }

    pub(super) fn is_own(&self, name: usize) -> bool {
        self.names[name].own
    }

    /// The numbers of a name's pairs.
    pub(super) fn pairs(&self, name: usize) -> Range<u32> {
        let to = self.names.get(name + 1).map(|next| next.first);
        self.names[name].first..to.unwrap_or(self.len() as u32)
    }

    pub(super) fn name_of(&self, pair: u32) -> usize {
        self.names.partition_point(|name| name.first <= pair) - 1
    }

    pub(super) fn find_name(&self, name: &str) -> Option<usize> {
        let at = partition(0..self.names(), |at| self.name(at) < name);
        (at < self.names() && self.name(at) == name).then_some(at)
    }

    /// The number of a pair.
    pub(super) fn find(&self, name: &str, value: &str) -> Option<u32> {
        let pairs = self.pairs(self.find_name(name)?);
        let pair = self.first_from(pairs.clone(), value);
        (pairs.contains(&pair) && self.value(pair) == value).then_some(pair)
    }

    /// The first of these pairs of one name whose value is not less.
    pub(super) fn first_from(&self, pairs: Range<u32>, value: &str) -> u32 {
        let pairs = pairs.start as usize..pairs.end as usize;
        partition(pairs, |pair| self.value(pair as u32) < value) as u32
    }

    pub(super) fn bytes(&self) -> usize {
        self.name_text.len()
            + self.value_text.len()
            + size_of_val(&*self.names)
            + size_of_val(&*self.value_ends)
    }
}

/// The first in the range that is not `less`.
fn partition(range: Range<usize>, less: impl Fn(usize) -> bool) -> usize {
    let (mut from, mut to) = (range.start, range.end);
    while from < to {
        let middle = from + (to - from) / 2;
        if less(middle) {
            from = middle + 1;
        } else {
            to = middle;
        }
    }
    from
}

/// Takes names in order, after each its values in order.
#[derive(Default)]
pub(super) struct SymbolsBuilder {
    name_text: String,
    value_text: String,
    names: Vec<Name>,
    value_ends: Vec<u32>,
}

impl SymbolsBuilder {
    pub(super) fn name(&mut self, name: &str, own: bool) {
        self.name_text.push_str(name);
        self.names.push(Name {
            end: self.name_text.len() as u32,
            first: self.value_ends.len() as u32,
            own,
        });
    }

    pub(super) fn value(&mut self, value: &str) {
        self.value_text.push_str(value);
        self.value_ends.push(self.value_text.len() as u32);
    }

    pub(super) fn finish(self) -> Symbols {
        Symbols {
            name_text: self.name_text.into(),
            value_text: self.value_text.into(),
            names: self.names.into(),
            value_ends: self.value_ends.into(),
        }
    }
}
