//! The segment that grows: labels and postings in the plain form, cheap to add to.
//!
//! Most labels of a new series are those of the series before, so each is first compared with that one's; only the
//! others are looked up.

use std::hash::{BuildHasher as _, Hasher as _};

use hashbrown::{DefaultHashBuilder, HashMap, HashTable};
use model::{LabelSet, encode_label};

use super::{
    bits::Bits,
    lists::{ListsBuilder, put_rising},
    segment::{Draft, Run, Segment},
    symbols::{SCOPE, Symbols, SymbolsBuilder},
};

/// Hashes label pairs, with a key of this process: a sender cannot aim at one place of a table.
#[derive(Clone, Default)]
pub(super) struct PairHasher(DefaultHashBuilder);

impl PairHasher {
    pub(super) fn pair(&self, name: &str, value: &str) -> u64 {
        let mut hasher = self.0.build_hasher();
        hasher.write(name.as_bytes());
        hasher.write_u8(0xff);
        hasher.write(value.as_bytes());
        hasher.finish()
    }

    /// The sum of the pairs' hashes: equal for equal sets, and for a frozen segment found by adding up those of its
    /// sets, without looking at a single label.
    pub(super) fn labels(&self, labels: &LabelSet) -> u64 {
        labels.iter().fold(0, |sum, (name, value)| {
            sum.wrapping_add(self.pair(name, value))
        })
    }

    fn bytes(&self, bytes: &[u8]) -> u64 {
        self.0.hash_one(bytes)
    }
}

/// What the scope's name and the lengths of both add to its text, at most.
const SCOPE_BYTES_MORE: usize = 16;

#[derive(Clone, Default)]
pub(super) struct Tail {
    /// The distinct pairs, each encoded as in a [`LabelSet`], so that one comparison tells whether a label is known.
    text: String,
    names: Vec<Name>,
    name_numbers: HashMap<Box<str>, u32>,
    pairs: Vec<Pair>,
    /// Pairs by their hash.
    numbers: HashTable<u32>,
    /// Pairs of all series, each series' in order of their names, the scope first.
    refs: Vec<u32>,
    /// Where the pairs of each id are; none where there is no series.
    series: Vec<Place>,
    /// The series added last.
    last: Place,
}

#[derive(Clone)]
struct Name {
    text: Box<str>,
    pairs: Vec<u32>,
}

#[derive(Clone)]
struct Pair {
    hash: u64,
    name: u32,
    /// Where it begins in the text, where its value does, and where it ends.
    from: u32,
    value: u32,
    end: u32,
    /// Its series, in the order of coming.
    ids: Vec<u16>,
}

#[derive(Clone, Copy, Default)]
struct Place {
    from: u32,
    pairs: u16,
}

impl Place {
    fn range(self) -> std::ops::Range<usize> {
        let from = self.from as usize;
        from..from + usize::from(self.pairs)
    }
}

impl Tail {
    /// Adds a series under an id that has none; the hash of its labels. `None`: there is no room for its text (never
    /// under sane limits).
    pub(super) fn insert(
        &mut self,
        low: u16,
        scope: &str,
        labels: &LabelSet,
        hasher: &PairHasher,
    ) -> Option<u64> {
        // A label has at least four of these bytes.
        let bytes = labels.as_bytes().len() + scope.len();
        u16::try_from(bytes / 4 + 1).ok()?;
        u32::try_from(self.text.len() + bytes + SCOPE_BYTES_MORE).ok()?;
        let from = u32::try_from(self.refs.len()).ok()?;
        u32::try_from(self.refs.len() + bytes).ok()?;
        let before = self.last.range();
        let (mut guess, end) = (before.start, before.end);
        let known = self.refs.get(guess).filter(|_| guess < end).copied();
        let known = known.filter(|number| self.value(*number) == scope);
        guess = (guess + 1).min(end);
        let number = known.unwrap_or_else(|| self.intern(SCOPE, scope, hasher));
        self.pairs[number as usize].ids.push(low);
        self.refs.push(number);
        let mut hash = 0_u64;
        for label in labels.encoded() {
            let mut known = None;
            while guess < end {
                let number = self.refs[guess];
                let pair = &self.pairs[number as usize];
                if self.encoded(pair) == label.text {
                    known = Some(number);
                    guess += 1;
                    break;
                }
                let guessed = self.name_of(pair);
                if guessed > label.name {
                    break;
                }
                guess += 1;
                if guessed == label.name {
                    break;
                }
            }
            let number = known.unwrap_or_else(|| self.intern(label.name, label.value, hasher));
            let pair = &mut self.pairs[number as usize];
            pair.ids.push(low);
            hash = hash.wrapping_add(pair.hash);
            self.refs.push(number);
        }
        self.last = Place {
            from,
            pairs: (self.refs.len() - from as usize) as u16,
        };
        self.place(low, self.last);
        Some(hash)
    }

    fn place(&mut self, low: u16, place: Place) {
        let low = usize::from(low);
        if self.series.len() <= low {
            self.series.resize(low + 1, Place::default());
        }
        self.series[low] = place;
    }

    fn encoded(&self, pair: &Pair) -> &str {
        &self.text[pair.from as usize..pair.end as usize]
    }

    fn text_of(&self, pair: &Pair) -> &str {
        &self.text[pair.value as usize..pair.end as usize]
    }

    fn name_of(&self, pair: &Pair) -> &str {
        &self.names[pair.name as usize].text
    }

    fn lookup(&self, hash: u64, name: &str, value: &str) -> Option<u32> {
        let fits = |number: &u32| {
            let pair = &self.pairs[*number as usize];
            pair.hash == hash && self.text_of(pair) == value && self.name_of(pair) == name
        };
        self.numbers.find(hash, fits).copied()
    }

    /// The number of a pair, new or not.
    fn intern(&mut self, name: &str, value: &str, hasher: &PairHasher) -> u32 {
        let hash = hasher.pair(name, value);
        if let Some(number) = self.lookup(hash, name, value) {
            return number;
        }
        let number = self.pairs.len() as u32;
        let name_number = match self.name_numbers.get(name) {
            Some(number) => *number,
            None => {
                let number = self.names.len() as u32;
                self.names.push(Name {
                    text: name.into(),
                    pairs: Vec::new(),
                });
                self.name_numbers.insert(name.into(), number);
                number
            }
        };
        self.names[name_number as usize].pairs.push(number);
        let from = self.text.len();
        encode_label(&mut self.text, name, value);
        let end = self.text.len();
        self.pairs.push(Pair {
            hash,
            name: name_number,
            from: from as u32,
            value: (end - value.len()) as u32,
            end: end as u32,
            ids: Vec::new(),
        });
        let pairs = &self.pairs;
        self.numbers
            .insert_unique(hash, number, |other| pairs[*other as usize].hash);
        number
    }

    /// Series of each pair among these, by its number.
    pub(super) fn series_by_pair(&self, live: &Bits) -> Vec<u32> {
        let living = |pair: &Pair| pair.ids.iter().filter(|low| live.contains(**low)).count();
        let pairs = self.pairs.iter();
        pairs.map(|pair| living(pair) as u32).collect()
    }

    /// Numbers of a series' pairs, in order of their names.
    pub(super) fn refs_of(&self, low: u16) -> &[u32] {
        let place = self.series.get(usize::from(low));
        place.map_or(&[], |place| &self.refs[place.range()])
    }

    /// Name and value of a series' labels in order, its scope first.
    pub(super) fn pairs_text(&self, low: u16) -> impl Iterator<Item = (&str, &str)> {
        self.refs_of(low).iter().map(|number| {
            let pair = &self.pairs[*number as usize];
            (self.name_of(pair), self.text_of(pair))
        })
    }

    pub(super) fn find(&self, name: &str, value: &str, hasher: &PairHasher) -> Option<u32> {
        self.lookup(hasher.pair(name, value), name, value)
    }

    /// Value and number of each pair of a name.
    pub(super) fn values(&self, name: &str) -> impl Iterator<Item = (&str, u32)> {
        let name = self.name_numbers.get(name);
        let pairs = name.map_or(&[][..], |name| &self.names[*name as usize].pairs);
        pairs
            .iter()
            .map(|number| (self.text_of(&self.pairs[*number as usize]), *number))
    }

    /// How many pairs there are.
    pub(super) fn pairs_len(&self) -> u32 {
        self.pairs.len() as u32
    }

    /// The number of a pair's name, in the order of [`Tail::names`].
    pub(super) fn name_number(&self, pair: u32) -> u32 {
        self.pairs[pair as usize].name
    }

    pub(super) fn name(&self, number: u32) -> &str {
        &self.names[number as usize].text
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.names.iter().map(|name| &*name.text)
    }

    pub(super) fn value(&self, pair: u32) -> &str {
        self.text_of(&self.pairs[pair as usize])
    }

    pub(super) fn mark(&self, pair: u32, bits: &mut Bits) {
        for low in &self.pairs[pair as usize].ids {
            bits.insert(*low);
        }
    }

    pub(super) fn for_used<'a>(&'a self, wanted: &Bits, mut used: impl FnMut(&'a str, u32)) {
        for (number, pair) in self.pairs.iter().enumerate() {
            if pair.ids.iter().any(|low| wanted.contains(*low)) {
                used(self.name_of(pair), number as u32);
            }
        }
    }

    pub(super) fn for_hashes(&self, live: &Bits, mut each: impl FnMut(u16, u64)) {
        for low in live.iter() {
            let pairs = self
                .refs_of(low)
                .iter()
                .map(|pair| &self.pairs[*pair as usize]);
            let hash = pairs
                .filter(|pair| !self.name_of(pair).is_empty())
                .fold(0_u64, |sum, pair| sum.wrapping_add(pair.hash));
            each(low, hash);
        }
    }

    /// Series it says labels of, dead ones too.
    pub(super) fn known(&self) -> usize {
        self.series.iter().filter(|place| place.pairs > 0).count()
    }

    pub(super) fn bytes(&self) -> usize {
        let ids: usize = self.pairs.iter().map(|pair| pair.ids.capacity() * 2).sum();
        self.text.capacity()
            + ids
            + self.pairs.capacity() * size_of::<Pair>()
            + self.numbers.capacity() * 5
            + self
                .names
                .iter()
                .map(|name| 2 * name.text.len() + 80)
                .sum::<usize>()
            + self.refs.capacity() * 4
            + self.series.capacity() * size_of::<Place>()
    }

    pub(super) fn text_bytes(&self) -> usize {
        self.text.len()
    }

    /// The growing form of a frozen segment.
    pub(super) fn thaw(segment: &Segment, live: &Bits, hasher: &PairHasher) -> Self {
        let mut tail = Self::default();
        for low in live.iter() {
            let from = tail.refs.len();
            for (name, value) in segment.pairs_text(low) {
                let number = tail.intern(name, value, hasher);
                tail.pairs[number as usize].ids.push(low);
                tail.refs.push(number);
            }
            tail.last = Place {
                from: from as u32,
                pairs: (tail.refs.len() - from) as u16,
            };
            tail.place(low, tail.last);
        }
        tail
    }

    /// The final form, with these series only.
    pub(super) fn freeze(&self, live: &Bits, hasher: &PairHasher) -> Segment {
        let plan = self.plan(live);
        let mut contexts = Sets::new(hasher);
        let mut owns = Sets::new(hasher);
        let mut own_of = vec![0; live.iter().last().map_or(0, |low| usize::from(low) + 1)];
        let mut runs: Vec<Run> = Vec::new();
        let (mut context, mut own, mut bytes) = (Vec::new(), Vec::new(), Vec::new());
        let mut last_context = Vec::new();
        for low in live.iter() {
            context.clear();
            own.clear();
            for number in self.refs_of(low) {
                let (number, is_own) = plan.numbers[*number as usize];
                match is_own {
                    true => own.push(number),
                    false => context.push(number),
                }
            }
            if runs.is_empty() || context != last_context {
                bytes.clear();
                put_rising(&mut bytes, context.iter().copied());
                // The first run takes in the ids before it, which have no series.
                let start = if runs.is_empty() { 0 } else { low };
                runs.push(Run {
                    start,
                    context: contexts.number(&bytes),
                });
                last_context.clone_from(&context);
            }
            bytes.clear();
            put_rising(&mut bytes, own.iter().copied());
            own_of[usize::from(low)] = owns.number(&bytes);
        }
        let draft = Draft {
            symbols: plan.symbols,
            contexts: contexts.lists.finish(),
            owns: owns.lists.finish(),
            runs: runs.into(),
            own_of: own_of.into(),
            series: live.len(),
        };
        Segment::new(draft, live)
    }

    /// Chooses the sides of the names, and numbers the pairs in use.
    fn plan(&self, live: &Bits) -> Plan {
        /// A context name's value changes at most once in this many series.
        const CONTEXT_SERIES: usize = 8;
        let mut changes = vec![0_usize; self.names.len()];
        let mut current = vec![(u32::MAX, usize::MAX); self.names.len()];
        let mut used = vec![false; self.pairs.len()];
        let mut series = 0;
        for low in live.iter() {
            for number in self.refs_of(low) {
                let name = self.pairs[*number as usize].name as usize;
                if current[name] != (*number, series) {
                    changes[name] += 1;
                    used[*number as usize] = true;
                }
                current[name] = (*number, series + 1);
            }
            series += 1;
        }
        let mut names: Vec<&Name> = self.names.iter().collect();
        names.sort_unstable_by(|a, b| a.text.cmp(&b.text));
        let mut numbers = vec![(u32::MAX, false); self.pairs.len()];
        let mut symbols = SymbolsBuilder::default();
        let mut next = 0;
        for name in names {
            let in_use = name.pairs.iter().filter(|pair| used[**pair as usize]);
            let mut pairs: Vec<(&str, u32)> =
                in_use.map(|pair| (self.value(*pair), *pair)).collect();
            let Some((_, first)) = pairs.first() else {
                continue;
            };
            let number = self.pairs[*first as usize].name as usize;
            let own = changes[number] * CONTEXT_SERIES > series;
            pairs.sort_unstable();
            symbols.name(&name.text, own);
            for (value, pair) in pairs {
                symbols.value(value);
                numbers[pair as usize] = (next, own);
                next += 1;
            }
        }
        Plan {
            symbols: symbols.finish(),
            numbers,
        }
    }
}

struct Plan {
    symbols: Symbols,
    /// New number of each pair in use, and whether it is an own one.
    numbers: Vec<(u32, bool)>,
}

/// Distinct sets, numbered in the order of coming.
struct Sets<'a> {
    lists: ListsBuilder<u8>,
    numbers: HashTable<u16>,
    hasher: &'a PairHasher,
}

impl<'a> Sets<'a> {
    fn new(hasher: &'a PairHasher) -> Self {
        Self {
            lists: ListsBuilder::new(),
            numbers: HashTable::new(),
            hasher,
        }
    }

    fn number(&mut self, set: &[u8]) -> u16 {
        let hash = self.hasher.bytes(set);
        let lists = &self.lists;
        let found = self
            .numbers
            .find(hash, |number| lists.get(usize::from(*number)) == set);
        if let Some(number) = found {
            return *number;
        }
        // At most one for each of 65,536 series.
        let number = self.lists.len() as u16;
        self.lists.push(set);
        let (lists, hasher) = (&self.lists, self.hasher);
        self.numbers.insert_unique(hash, number, |number| {
            hasher.bytes(lists.get(usize::from(*number)))
        });
        number
    }
}

impl Segment {
    /// Without the series that are not in `live`.
    pub(super) fn compacted(&self, live: &Bits, hasher: &PairHasher) -> Self {
        Tail::thaw(self, live, hasher).freeze(live, hasher)
    }
}
