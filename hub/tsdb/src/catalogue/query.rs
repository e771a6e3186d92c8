//! Which series fit, and which names and values do they have? Answered segment by segment, each of which says a set of
//! at most 65,536 bits; segments that lack a pair asked for are passed over.

use std::collections::BTreeSet;

use hashbrown::HashMap;
use model::{MatchOp, Matcher};
use roaring::RoaringBitmap;

use super::{
    bits::{Bits, SPAN},
    slots::{Slot, Slots, first_id},
    symbols::SCOPE,
    tail::PairHasher,
};

/// Values that one matcher's answers are kept for, in one call.
const REMEMBERED_MAX: usize = 100_000;

/// A matcher, asked once a value and not once a value and segment: a regular expression is dearer than a look-up.
struct Asked<'m, 'v> {
    matcher: &'m Matcher,
    matches_empty: bool,
    answers: HashMap<&'v str, bool>,
}

impl<'v> Asked<'_, 'v> {
    fn matches(&mut self, value: &'v str) -> bool {
        match self.matcher.op() {
            MatchOp::Equal | MatchOp::NotEqual => self.matcher.matches(value),
            MatchOp::Regex | MatchOp::NotRegex => {
                if let Some(answer) = self.answers.get(value) {
                    return *answer;
                }
                let answer = self.matcher.matches(value);
                if self.answers.len() < REMEMBERED_MAX {
                    self.answers.insert(value, answer);
                }
                answer
            }
        }
    }
}

/// The series that fit all matchers; all of them when there is none.
pub(super) fn select(slots: &Slots, matchers: &[Matcher], hasher: &PairHasher) -> RoaringBitmap {
    let mut asked: Vec<Asked<'_, '_>> = matchers
        .iter()
        .map(|matcher| Asked {
            matcher,
            matches_empty: matcher.matches_empty(),
            answers: HashMap::new(),
        })
        .collect();
    // Those first that narrow most, and that fit no series without the label.
    asked.sort_by_key(|asked| (asked.matches_empty, asked.matcher.set_matches().is_none()));
    let mut found = RoaringBitmap::new();
    let (mut fitting, mut scratch) = (Bits::new(), Bits::new());
    for (number, slot) in slots.iter() {
        if slot.select(&mut asked, hasher, &mut fitting, &mut scratch) {
            fitting.append_to(first_id(number), &mut found);
        }
    }
    found
}

impl Slot {
    /// Sets `fitting` to the living series that fit, if there may be any.
    fn select<'v>(
        &'v self,
        asked: &mut [Asked<'_, 'v>],
        hasher: &PairHasher,
        fitting: &mut Bits,
        scratch: &mut Bits,
    ) -> bool {
        fitting.copy_from(&self.live);
        for asked in asked {
            let matcher = asked.matcher;
            // No label has the empty name; a scope must not pass for one.
            let name = Some(matcher.name()).filter(|name| *name != SCOPE);
            if !asked.matches_empty {
                let Some(name) = name else { return false };
                scratch.clear();
                if !self.mark_fitting(name, asked, hasher, scratch) {
                    return false;
                }
                fitting.keep(scratch);
                continue;
            }
            let Some(name) = name else { continue };
            // It fits series without the label too: take away those whose value does not fit.
            scratch.clear();
            let mut any = false;
            if matcher.op() == MatchOp::NotEqual {
                if let Some(pair) = self.form.find(name, matcher.value(), hasher) {
                    self.form.mark(pair, scratch);
                    any = true;
                }
            } else {
                self.form.for_values(name, "", &mut |value, pair| {
                    if !asked.matches(value) {
                        self.form.mark(pair, scratch);
                        any = true;
                    }
                });
            }
            if any {
                fitting.subtract(scratch);
            }
        }
        true
    }

    /// Adds the series that have the label with a fitting value; whether there may be any.
    fn mark_fitting<'v>(
        &'v self,
        name: &str,
        asked: &mut Asked<'_, 'v>,
        hasher: &PairHasher,
        bits: &mut Bits,
    ) -> bool {
        let mut any = false;
        if let Some(literals) = asked.matcher.set_matches() {
            for literal in literals {
                if let Some(pair) = self.form.find(name, literal, hasher) {
                    self.form.mark(pair, bits);
                    any = true;
                }
            }
            return any;
        }
        let prefix = asked.matcher.prefix();
        self.form.for_values(name, prefix, &mut |value, pair| {
            if asked.matches(value) {
                self.form.mark(pair, bits);
                any = true;
            }
        });
        any
    }

    /// Those of the ids that live here.
    fn wanted(&self, number: usize, ids: &RoaringBitmap) -> Option<Bits> {
        let first = first_id(number);
        if ids.range_cardinality(first..=first + (SPAN - 1)) == 0 {
            return None;
        }
        let mut wanted = Bits::of_ids(first, ids);
        wanted.keep(&self.live);
        (wanted.len() > 0).then_some(wanted)
    }
}

/// Names of the labels that the ids have, sorted.
pub(super) fn label_names(slots: &Slots, ids: &RoaringBitmap) -> Vec<String> {
    let mut names: BTreeSet<&str> = BTreeSet::new();
    for (number, slot) in slots.iter() {
        let Some(wanted) = slot.wanted(number, ids) else {
            continue;
        };
        if slot.says_nothing_of_others(&wanted) {
            slot.form.for_names(|name| {
                names.insert(name);
            });
            continue;
        }
        let mut last = SCOPE;
        slot.form.for_used(&wanted, |name, _| {
            if name != last {
                names.insert(name);
                last = name;
            }
        });
    }
    names.remove(SCOPE);
    names.into_iter().map(str::to_owned).collect()
}

/// Values that the ids have for a label, sorted.
pub(super) fn label_values(slots: &Slots, name: &str, ids: &RoaringBitmap) -> Vec<String> {
    if name == SCOPE {
        return Vec::new();
    }
    let mut values: Vec<&str> = Vec::new();
    for (number, slot) in slots.iter() {
        let Some(wanted) = slot.wanted(number, ids) else {
            continue;
        };
        if slot.says_nothing_of_others(&wanted) {
            slot.form
                .for_values(name, "", &mut |value, _| values.push(value));
            continue;
        }
        slot.form.for_used(&wanted, |of, value| {
            if of == name {
                values.push(value);
            }
        });
    }
    values.sort_unstable();
    values.dedup();
    values.into_iter().map(str::to_owned).collect()
}
