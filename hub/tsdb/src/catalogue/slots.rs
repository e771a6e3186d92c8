//! The segments as they are held: keys, which series live, and their labels in the growing or the frozen form.

use std::sync::Arc;

use model::LabelSet;

use super::{
    bits::Bits,
    segment::Segment,
    symbols::SCOPE,
    tail::{PairHasher, Tail},
};

/// Splits an id into the segment's number and the place in it.
pub(super) fn split(id: u32) -> (usize, u16) {
    ((id >> 16) as usize, id as u16)
}

/// The first id of a segment.
pub(super) fn first_id(number: usize) -> u32 {
    (number as u32) << 16
}

#[derive(Clone)]
pub(super) enum Form {
    Open(Arc<Tail>),
    Frozen(Arc<Segment>),
}

pub(super) struct Slot {
    /// By id; 0 where no series lives: a hash of 0 is as good as impossible, and only costs a parse.
    pub(super) keys: Arc<Vec<u128>>,
    pub(super) live: Bits,
    pub(super) count: u32,
    pub(super) form: Form,
    /// Rises with every change.
    pub(super) version: u64,
    /// What the file holds.
    pub(super) saved: Option<SavedSlot>,
}

#[derive(Clone, Copy)]
pub(super) struct SavedSlot {
    pub(super) version: u64,
    pub(super) series: u32,
    pub(super) bytes: u64,
}

impl Slot {
    pub(super) fn empty() -> Self {
        Self {
            keys: Arc::default(),
            live: Bits::new(),
            count: 0,
            form: Form::Open(Arc::default()),
            version: 0,
            saved: None,
        }
    }

    pub(super) fn is_saved(&self) -> bool {
        self.saved
            .is_some_and(|saved| saved.version == self.version)
    }

    /// Whether every label it knows is one of these living series.
    pub(super) fn says_nothing_of_others(&self, wanted: &Bits) -> bool {
        let known = match &self.form {
            Form::Open(tail) => tail.known(),
            Form::Frozen(segment) => segment.draft.series as usize,
        };
        wanted.len() as usize == known
    }

    fn tail(&mut self, hasher: &PairHasher) -> &mut Tail {
        if let Form::Frozen(segment) = &self.form {
            let tail = Tail::thaw(segment, &self.live, hasher);
            self.form = Form::Open(Arc::new(tail));
        }
        match &mut self.form {
            Form::Open(tail) => Arc::make_mut(tail),
            Form::Frozen(_) => unreachable!("it was thawed"),
        }
    }

    /// Adds a series where none lives; the hash of its labels.
    pub(super) fn insert(
        &mut self,
        low: u16,
        key: u128,
        scope: &str,
        labels: &LabelSet,
        hasher: &PairHasher,
    ) -> Option<u64> {
        let mut refill = None;
        if self.form.knows(low) {
            // A dead one stood here.
            refill = Some(self.form.frozen(&self.live, hasher));
        }
        if let Some(segment) = refill {
            self.form = Form::Frozen(segment);
        }
        let hash = self.tail(hasher).insert(low, scope, labels, hasher)?;
        let keys = Arc::make_mut(&mut self.keys);
        if keys.len() <= usize::from(low) {
            keys.resize(usize::from(low) + 1, 0);
        }
        keys[usize::from(low)] = key;
        self.live.insert(low);
        self.count += 1;
        self.version += 1;
        Some(hash)
    }

    /// Takes series away: they stay in the labels' form, and match nothing.
    pub(super) fn kill(&mut self, dead: impl Iterator<Item = u16>) {
        let keys = Arc::make_mut(&mut self.keys);
        for low in dead {
            self.live.remove(low);
            if let Some(key) = keys.get_mut(usize::from(low)) {
                *key = 0;
            }
        }
        self.count = self.live.len();
        self.version += 1;
    }

    /// How many series each scope has here.
    pub(super) fn for_scopes(&self, mut each: impl FnMut(&str, u32)) {
        self.form.for_values(SCOPE, "", &mut |scope, pair| {
            let mut bits = Bits::new();
            self.form.mark(pair, &mut bits);
            let count = bits.common(&self.live);
            if count > 0 {
                each(scope, count);
            }
        });
    }

    pub(super) fn bytes(&self) -> usize {
        let form = match &self.form {
            Form::Open(tail) => tail.bytes(),
            Form::Frozen(segment) => segment.bytes(),
        };
        size_of::<Self>() + self.keys.capacity() * 16 + self.live.bytes() + form
    }
}

impl Form {
    /// Whether it says labels for the id, of a living or a dead series.
    fn knows(&self, low: u16) -> bool {
        match self {
            Self::Open(tail) => tail.pairs_text(low).next().is_some(),
            // Thawing drops the dead.
            Self::Frozen(_) => false,
        }
    }

    /// The frozen form with these series only.
    pub(super) fn frozen(&self, live: &Bits, hasher: &PairHasher) -> Arc<Segment> {
        match self {
            Self::Open(tail) => Arc::new(tail.freeze(live, hasher)),
            Self::Frozen(segment) if segment.draft.series == live.len() => segment.clone(),
            Self::Frozen(segment) => Arc::new(segment.compacted(live, hasher)),
        }
    }

    pub(super) fn labels(&self, low: u16) -> Option<LabelSet> {
        match self {
            Self::Open(tail) => {
                let labels = tail.pairs_text(low).filter(|(name, _)| *name != SCOPE);
                LabelSet::from_pairs(labels).ok()
            }
            Self::Frozen(segment) => segment.labels(low),
        }
    }

    pub(super) fn has_labels(&self, low: u16, labels: &LabelSet) -> bool {
        match self {
            Self::Open(tail) => {
                let own = tail.pairs_text(low).filter(|(name, _)| *name != SCOPE);
                own.eq(labels.iter())
            }
            Self::Frozen(segment) => segment.has_labels(low, labels),
        }
    }

    pub(super) fn scope(&self, low: u16) -> Option<&str> {
        let first = match self {
            Self::Open(tail) => tail.pairs_text(low).next(),
            Self::Frozen(segment) => segment.pairs_text(low).next(),
        };
        first
            .filter(|(name, _)| *name == SCOPE)
            .map(|(_, scope)| scope)
    }

    /// The number of a pair, good for this form only.
    pub(super) fn find(&self, name: &str, value: &str, hasher: &PairHasher) -> Option<u32> {
        match self {
            Self::Open(tail) => tail.find(name, value, hasher),
            Self::Frozen(segment) => segment.draft.symbols.find(name, value),
        }
    }

    /// Names of all its labels, those of dead series too.
    pub(super) fn for_names<'a>(&'a self, mut each: impl FnMut(&'a str)) {
        match self {
            Self::Open(tail) => tail.names().for_each(each),
            Self::Frozen(segment) => {
                let symbols = &segment.draft.symbols;
                (0..symbols.names()).for_each(|name| each(symbols.name(name)));
            }
        }
    }

    /// Calls with value and number of each pair of the name whose value has the prefix.
    pub(super) fn for_values<'a>(
        &'a self,
        name: &str,
        prefix: &str,
        each: &mut dyn FnMut(&'a str, u32),
    ) {
        match self {
            Self::Open(tail) => tail
                .values(name)
                .filter(|(value, _)| value.starts_with(prefix))
                .for_each(|(value, pair)| each(value, pair)),
            Self::Frozen(segment) => {
                let symbols = &segment.draft.symbols;
                let Some(name) = symbols.find_name(name) else {
                    return;
                };
                let pairs = symbols.pairs(name);
                let from = symbols.first_from(pairs.clone(), prefix);
                (from..pairs.end)
                    .map(|pair| (symbols.value(pair), pair))
                    .take_while(|(value, _)| value.starts_with(prefix))
                    .for_each(|(value, pair)| each(value, pair));
            }
        }
    }

    pub(super) fn mark(&self, pair: u32, bits: &mut Bits) {
        match self {
            Self::Open(tail) => tail.mark(pair, bits),
            Self::Frozen(segment) => segment.mark(pair, bits),
        }
    }

    /// Calls with (name, value) of each pair that one of these series has.
    pub(super) fn for_used<'a>(&'a self, wanted: &Bits, mut used: impl FnMut(&'a str, &'a str)) {
        match self {
            Self::Open(tail) => tail.for_used(wanted, |name, pair| used(name, tail.value(pair))),
            Self::Frozen(segment) => segment.for_used(wanted, |name, pair| {
                used(name, segment.draft.symbols.value(pair));
            }),
        }
    }

    pub(super) fn for_hashes(&self, live: &Bits, hasher: &PairHasher, each: impl FnMut(u16, u64)) {
        match self {
            Self::Open(tail) => tail.for_hashes(live, each),
            Self::Frozen(segment) => {
                segment.for_hashes(live, |name, value| hasher.pair(name, value), each);
            }
        }
    }
}

/// All segments, by number.
#[derive(Default)]
pub(super) struct Slots(pub(super) Vec<Option<Slot>>);

impl Slots {
    #[inline]
    pub(super) fn get(&self, number: usize) -> Option<&Slot> {
        self.0.get(number)?.as_ref()
    }

    /// The slot, made if there is none.
    pub(super) fn entry(&mut self, number: usize) -> &mut Slot {
        if self.0.len() <= number {
            self.0.resize_with(number + 1, || None);
        }
        self.0[number].get_or_insert_with(Slot::empty)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (usize, &Slot)> {
        let slots = self.0.iter().enumerate();
        slots.filter_map(|(number, slot)| Some((number, slot.as_ref()?)))
    }

    pub(super) fn contains(&self, id: u32) -> bool {
        let (number, low) = split(id);
        self.get(number).is_some_and(|slot| slot.live.contains(low))
    }

    /// The key of a living series; 0 for any other id.
    #[inline]
    pub(super) fn key(&self, id: u32) -> u128 {
        let (number, low) = split(id);
        let key = self
            .get(number)
            .and_then(|slot| slot.keys.get(usize::from(low)));
        key.copied().unwrap_or(0)
    }

    pub(super) fn has_labels(&self, id: u32, labels: &LabelSet) -> bool {
        let (number, low) = split(id);
        self.get(number)
            .is_some_and(|slot| slot.live.contains(low) && slot.form.has_labels(low, labels))
    }

    pub(super) fn labels(&self, id: u32) -> Option<LabelSet> {
        let (number, low) = split(id);
        let slot = self.get(number)?;
        slot.live.contains(low).then(|| slot.form.labels(low))?
    }
}
