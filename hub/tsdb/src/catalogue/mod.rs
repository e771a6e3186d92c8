//! Which series are there, and under which keys and labels are they found?
//!
//! A series is its label set: whatever raw bytes or scope it comes from, it gets one id. Ids are given in the order of
//! arrival and never used twice. Its *key* is a hash of the raw label bytes it first came with; hashes of other
//! spellings are *aliases*. Both only spare parsing, so aliases are few and not kept on disk.
//!
//! Everything is in *segments* of 65,536 ids: `slots` holds them, the last one growing (`tail`), the others frozen
//! (`segment`), each with one file (`file`, `save`). Queries (`query`) need nothing else. The two `tables`
//! from keys and labels to ids serve writing only; they are built when first asked for, so after a start queries do not
//! wait for them.
//!
//! Series without samples die in [`Catalogue::retain`]: they match nothing at once, and their segment is written, and
//! held, without them when it is next saved.

mod bits;
mod cardinality;
mod file;
mod groups;
mod lists;
mod metadata;
mod query;
mod save;
mod segment;
mod slots;
mod symbols;
mod tables;
mod tail;

#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, sync::OnceLock};

use hashbrown::HashMap;
use model::{LabelSet, Matcher, Metadata};
use roaring::RoaringBitmap;

use crate::types::{MetadataByMetric, SeriesKey};

use self::{
    metadata::MetadataBook,
    slots::{Form, Slots, first_id, split},
    tables::Tables,
    tail::PairHasher,
};

pub use self::cardinality::Cardinality;
pub(crate) use self::groups::Grouping;
pub(crate) use self::save::file_names;
pub use self::save::{Image, Saved, SegmentMeta, Unsaved, remove_files};
pub(crate) use self::{file::probe as probe_segment, metadata::probe as probe_metadata};

/// Aliases remembered per series: a sender could make up ever new spellings of one label set.
const ALIASES_PER_SERIES_MAX: u8 = 7;
/// And in all: about 40 MB.
const ALIASES_MAX: usize = 1 << 20;
/// A segment with this much label text grows no more, so that one file and its numbers stay of a decent size.
const SEGMENT_TEXT_BYTES: usize = 64 << 20;

/// In the answers of [`Catalogue::resolve`]: a key that is not known.
pub const UNKNOWN: u32 = u32::MAX;

/// See the module.
#[derive(Default)]
pub struct Catalogue {
    slots: Slots,
    /// The next series gets this id, or a higher one.
    next_id: u32,
    len: usize,
    scopes: BTreeMap<Box<str>, usize>,
    tables: OnceLock<Tables>,
    aliases: HashMap<u128, u32>,
    aliases_of: HashMap<u32, u8>,
    hasher: PairHasher,
    metadata: MetadataBook,
    /// Series whose names were lost to damage, by segment.
    lost: BTreeMap<u16, u32>,
    /// Segments whose file is to go.
    removed: Vec<u16>,
    full_unsaved: bool,
    /// See [`Catalogue::series_gone`].
    gone: u64,
}

/// Hashes label sets as this catalogue does.
pub struct LabelHasher(PairHasher);

impl LabelHasher {
    /// With its hash.
    pub fn hash(&self, labels: LabelSet) -> HashedLabels {
        let hash = self.0.labels(&labels);
        HashedLabels { labels, hash }
    }
}

/// A label set and its hash in one catalogue.
#[derive(Clone, PartialEq)]
pub struct HashedLabels {
    /// The set.
    pub labels: LabelSet,
    /// Equal for equal sets.
    pub hash: u64,
}

fn count_scope(scopes: &mut BTreeMap<Box<str>, usize>, scope: &str, series: usize) {
    match scopes.get_mut(scope) {
        Some(count) => *count += series,
        None => {
            scopes.insert(scope.into(), series);
        }
    }
}

impl Catalogue {
    /// Series there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The id that the next series gets; those that follow it are free too.
    pub fn next_id(&self) -> u32 {
        self.next_id
    }

    /// No new series gets this id or a lower one.
    pub fn reserve(&mut self, id: u32) {
        let next = id.saturating_add(1);
        if next > self.next_id {
            let crossed = next >> 16 > self.next_id >> 16;
            self.next_id = next;
            self.full_unsaved |= crossed && !self.slots.0.is_empty();
        }
    }

    /// Whether new series may still come into the segment.
    fn grows(&self, number: usize) -> bool {
        number >= (self.next_id >> 16) as usize
    }

    /// Whether there is such a series.
    pub fn contains_id(&self, id: u32) -> bool {
        self.slots.contains(id)
    }

    /// Whether the series with this id has this key (aliases not asked): one load, no hashing.
    #[inline]
    pub fn has_key_at(&self, id: u32, key: SeriesKey) -> bool {
        self.slots.key(id) == key.0 && key.0 != 0
    }

    /// The series with this key or alias.
    pub fn id_of_key(&self, key: SeriesKey) -> Option<u32> {
        let found = self.tables().id_of_key(&self.slots, key.0);
        found.or_else(|| match self.aliases.is_empty() {
            true => None,
            false => self.aliases.get(&key.0).copied(),
        })
    }

    /// The ids of many keys, [`UNKNOWN`] for those that are not known; `out` is replaced.
    ///
    /// Senders repeat their order and ids are given in it, so each key is first compared with that of the id after the
    /// last one. Keys that are elsewhere are looked up; after a few of these in a row all that follow are left for a
    /// second run, where the look-ups wait for memory together and not one after the other.
    pub fn resolve(&self, keys: &[SeriesKey], out: &mut Vec<u32>) {
        /// Look-ups in a row before the rest is put off, and how often the place is looked for again.
        const AT_ONCE: usize = 3;
        const AGAIN: usize = 16;
        out.clear();
        out.reserve(keys.len());
        let mut put_off = Vec::new();
        let (mut misses, mut next) = (0, 0);
        for (index, key) in keys.iter().enumerate() {
            if self.has_key_at(next, *key) {
                misses = 0;
            } else {
                misses += 1;
                if misses > AT_ONCE && misses % AGAIN != 0 {
                    put_off.push(index as u32);
                    out.push(UNKNOWN);
                    continue;
                }
                match self.id_of_key(*key) {
                    Some(id) => next = id,
                    None => {
                        out.push(UNKNOWN);
                        continue;
                    }
                }
            }
            out.push(next);
            next = next.wrapping_add(1);
        }
        self.resolve_put_off(keys, &put_off, out);
    }

    fn resolve_put_off(&self, keys: &[SeriesKey], put_off: &[u32], out: &mut [u32]) {
        /// As many as are looked up at one time: their cache lines stay until they are looked at.
        const TOGETHER: usize = 64;
        if put_off.is_empty() {
            return;
        }
        let tables = self.tables();
        let mut guesses = [UNKNOWN; TOGETHER];
        for some in put_off.chunks(TOGETHER) {
            for (index, guess) in some.iter().zip(&mut guesses) {
                *guess = tables.guess(keys[*index as usize].0).unwrap_or(UNKNOWN);
            }
            for (index, guess) in some.iter().zip(guesses) {
                let key = keys[*index as usize];
                out[*index as usize] = match self.has_key_at(guess, key) {
                    true => guess,
                    false => self.id_of_key(key).unwrap_or(UNKNOWN),
                };
            }
        }
    }

    /// The series with these labels.
    pub fn id_of_labels(&self, labels: &LabelSet) -> Option<u32> {
        let hash = self.hasher.labels(labels);
        self.tables().id_of_labels(&self.slots, hash, labels)
    }

    /// The same, the hash being known.
    pub fn id_of_hashed(&self, labels: &HashedLabels) -> Option<u32> {
        let HashedLabels { labels, hash } = labels;
        self.tables().id_of_labels(&self.slots, *hash, labels)
    }

    /// For [`Catalogue::id_of_hashed`], to be used without holding the catalogue.
    pub fn label_hasher(&self) -> LabelHasher {
        LabelHasher(self.hasher.clone())
    }

    /// Rises when series go: what [`Catalogue::resolve`] found holds as long as it stays the same.
    pub fn series_gone(&self) -> u64 {
        self.gone
    }

    /// Makes the tables that writing needs, unless they are there: best called right after loading, on another thread.
    pub fn build_tables(&self) {
        self.tables();
    }

    fn tables(&self) -> &Tables {
        self.tables
            .get_or_init(|| Tables::build(&self.slots, &self.hasher, self.len))
    }

    /// The labels of a series.
    pub fn labels(&self, id: u32) -> Option<LabelSet> {
        self.slots.labels(id)
    }

    /// Adds a series under an id from [`Catalogue::next_id`] on, or one that a log says. For a known id only the key is
    /// taken, as an alias. Of two ids with the same labels (logs of before and after a series died) the later call holds.
    pub fn insert(&mut self, key: SeriesKey, id: u32, scope: &str, labels: &LabelSet) {
        self.reserve(id);
        if self.contains_id(id) {
            self.insert_alias(key, id);
            return;
        }
        self.forget_shadowed();
        let (number, low) = split(id);
        let slot = self.slots.entry(number);
        let Some(hash) = slot.insert(low, key.0, scope, labels, &self.hasher) else {
            if slot.count == 0 {
                self.slots.0[number] = None;
            }
            return;
        };
        if let Form::Open(tail) = &slot.form
            && tail.text_bytes() > SEGMENT_TEXT_BYTES
        {
            self.reserve(first_id(number) | 0xffff);
        }
        self.len += 1;
        count_scope(&mut self.scopes, scope, 1);
        if let Some(tables) = self.tables.get_mut()
            && let Some(old) = tables.insert(&self.slots, (key.0, id), hash, labels)
        {
            tables.remove_key(self.slots.key(old), old);
            self.forget(old);
        }
    }

    /// Remembers another key of a series, if there is room.
    pub fn insert_alias(&mut self, key: SeriesKey, id: u32) {
        if !self.has_key_at(id, key)
            && self.takes_alias(id)
            && self.aliases.insert(key.0, id) != Some(id)
        {
            *self.aliases_of.entry(id).or_default() += 1;
        }
    }

    /// Whether another key of the series would be remembered.
    pub fn takes_alias(&self, id: u32) -> bool {
        let known = self.aliases_of.get(&id).copied().unwrap_or(0);
        known < ALIASES_PER_SERIES_MAX && self.aliases.len() < ALIASES_MAX && self.contains_id(id)
    }

    /// Takes a series that is no longer in the tables out of the rest.
    fn forget(&mut self, id: u32) {
        let (number, low) = split(id);
        let Some(Some(slot)) = self.slots.0.get_mut(number) else {
            return;
        };
        if !slot.live.contains(low) {
            return;
        }
        if let Some(scope) = slot.form.scope(low) {
            uncount_scope(&mut self.scopes, scope, 1);
        }
        slot.kill(std::iter::once(low));
        self.len -= 1;
        self.gone += 1;
        if slot.count == 0 {
            self.drop_slot(number);
        }
        self.forget_aliases();
        self.full_unsaved |= !self.grows(number);
    }

    fn forget_shadowed(&mut self) {
        let tables = self.tables.get_mut();
        let shadowed = tables.map(|tables| std::mem::take(&mut tables.shadowed));
        for id in shadowed.into_iter().flatten() {
            self.forget(id);
        }
    }

    fn forget_aliases(&mut self) {
        let slots = &self.slots;
        self.aliases.retain(|_, id| slots.contains(*id));
        self.aliases_of.retain(|id, _| slots.contains(*id));
    }

    fn drop_slot(&mut self, number: usize) {
        if let Some(slot) = self.slots.0[number].take()
            && slot.saved.is_some()
        {
            self.removed.push(number as u16);
        }
    }

    /// Forgets all series but these; how many went. [`Catalogue::unsaved`] and [`Catalogue::take_removed`] then say what
    /// changes on disk; until that is done, a restart brings them back, without samples and thus unseen.
    pub fn retain(&mut self, live: &RoaringBitmap) -> u64 {
        self.forget_shadowed();
        let dead = self.all() - live;
        let mut numbers: Vec<usize> = Vec::new();
        for number in dead.iter().map(|id| split(id).0) {
            if numbers.last() != Some(&number) {
                numbers.push(number);
            }
        }
        for number in numbers {
            let Some(Some(slot)) = self.slots.0.get_mut(number) else {
                continue;
            };
            slot.for_scopes(|scope, count| uncount_scope(&mut self.scopes, scope, count as usize));
            let first = first_id(number);
            let here = dead.range(first..=first | 0xffff);
            slot.kill(here.map(|id| id as u16));
            slot.for_scopes(|scope, count| count_scope(&mut self.scopes, scope, count as usize));
            if slot.count == 0 {
                self.drop_slot(number);
            }
            self.full_unsaved |= !self.grows(number);
        }
        self.len -= dead.len() as usize;
        self.gone += dead.len();
        if !dead.is_empty() {
            if let Some(tables) = self.tables.get_mut() {
                tables.retain_live(&self.slots);
            }
            self.forget_aliases();
        }
        self.lost.retain(|number, _| {
            let first = first_id(usize::from(*number));
            live.range_cardinality(first..=first | 0xffff) > 0
        });
        dead.len()
    }

    /// How many of the series are not in `live`.
    pub fn count_dead(&self, live: &RoaringBitmap) -> usize {
        (self.all() - live).len() as usize
    }

    /// All series.
    fn all(&self) -> RoaringBitmap {
        let mut all = RoaringBitmap::new();
        for (number, slot) in self.slots.iter() {
            slot.live.append_to(first_id(number), &mut all);
        }
        all
    }

    /// The series that fit all matchers; all of them when there is none.
    pub fn select(&self, matchers: &[Matcher]) -> RoaringBitmap {
        query::select(&self.slots, matchers, &self.hasher)
    }

    /// Names of the labels that `ids` have, sorted.
    pub fn label_names(&self, ids: &RoaringBitmap) -> Vec<String> {
        query::label_names(&self.slots, ids)
    }

    /// Values that `ids` have for a label, sorted.
    pub fn label_values(&self, name: &str, ids: &RoaringBitmap) -> Vec<String> {
        query::label_values(&self.slots, name, ids)
    }

    /// Series first seen in this scope.
    pub fn series_in_scope(&self, scope: &str) -> usize {
        self.scopes.get(scope).copied().unwrap_or(0)
    }

    /// Scopes with their series, sorted.
    pub fn scopes(&self) -> impl Iterator<Item = (&str, usize)> {
        self.scopes.iter().map(|(scope, count)| (&**scope, *count))
    }

    /// What is known of metrics.
    pub fn metadata(&self) -> &MetadataByMetric {
        &self.metadata.known
    }

    /// Whether the metadata is news; a new metric is taken only if there are fewer than `metrics_max`.
    pub fn is_news(&self, metric: &str, metadata: &Metadata, metrics_max: usize) -> bool {
        self.metadata.is_news(metric, metadata, metrics_max)
    }

    /// Takes the metadata if it is news; whether it was.
    pub fn insert_metadata(
        &mut self,
        metric: &str,
        metadata: &Metadata,
        metrics_max: usize,
    ) -> bool {
        self.metadata.insert(metric, metadata, metrics_max)
    }

    /// Memory it takes, about; metadata not counted.
    pub fn bytes(&self) -> usize {
        let slots: usize = self.slots.iter().map(|(_, slot)| slot.bytes()).sum();
        let tables = self.tables.get().map_or(0, Tables::bytes);
        slots + tables + self.aliases.allocation_size() + self.aliases_of.allocation_size()
    }
}

fn uncount_scope(scopes: &mut BTreeMap<Box<str>, usize>, scope: &str, series: usize) {
    if let Some(count) = scopes.get_mut(scope) {
        *count = count.saturating_sub(series);
        if *count == 0 {
            scopes.remove(scope);
        }
    }
}
