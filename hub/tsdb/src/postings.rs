//! The inverted index: which series have which label value?

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Bound,
};

use model::{LabelSet, Matcher};
use roaring::RoaringBitmap;

type Values = BTreeMap<Box<str>, RoaringBitmap>;

/// Invariant: no empty bitmap and no name without values, so that names and values listed are in use.
#[derive(Debug, Default)]
pub(crate) struct Postings {
    names: BTreeMap<Box<str>, Values>,
    all: RoaringBitmap,
}

impl Postings {
    pub(crate) fn insert(&mut self, id: u32, labels: &LabelSet) {
        self.all.insert(id);
        for (name, value) in labels.iter() {
            if !self.names.contains_key(name) {
                self.names.insert(name.into(), Values::new());
            }
            let Some(values) = self.names.get_mut(name) else {
                continue;
            };
            match values.get_mut(value) {
                Some(ids) => {
                    ids.insert(id);
                }
                None => {
                    values.insert(value.into(), RoaringBitmap::from_iter([id]));
                }
            }
        }
    }

    pub(crate) fn remove(&mut self, id: u32, labels: &LabelSet) {
        self.all.remove(id);
        for (name, value) in labels.iter() {
            let Some(values) = self.names.get_mut(name) else {
                continue;
            };
            if let Some(ids) = values.get_mut(value) {
                ids.remove(id);
                if ids.is_empty() {
                    values.remove(value);
                }
            }
            if values.is_empty() {
                self.names.remove(name);
            }
        }
    }

    /// The series that fit all matchers; all of them when there is none.
    pub(crate) fn resolve(&self, matchers: &[Matcher]) -> RoaringBitmap {
        let mut found: Option<RoaringBitmap> = None;
        for matcher in matchers.iter().filter(|matcher| !matcher.matches_empty()) {
            let fitting = self.with_value(matcher);
            match &mut found {
                Some(found) => *found &= fitting,
                None => found = Some(fitting),
            }
            if found.as_ref().is_some_and(RoaringBitmap::is_empty) {
                return RoaringBitmap::new();
            }
        }
        let mut found = found.unwrap_or_else(|| self.all.clone());
        // These fit series without the label too: take away those whose value does not fit.
        for matcher in matchers.iter().filter(|matcher| matcher.matches_empty()) {
            for (value, ids) in self.names.get(matcher.name()).into_iter().flatten() {
                if !matcher.matches(value) {
                    found -= ids;
                }
            }
        }
        found
    }

    /// The series that have the label with a fitting value.
    fn with_value(&self, matcher: &Matcher) -> RoaringBitmap {
        let mut found = RoaringBitmap::new();
        let Some(values) = self.names.get(matcher.name()) else {
            return found;
        };
        if let Some(literals) = matcher.set_matches() {
            for ids in literals
                .iter()
                .filter_map(|literal| values.get(literal.as_str()))
            {
                found |= ids;
            }
            return found;
        }
        let prefix = matcher.prefix();
        let from = values.range::<str, _>((Bound::Included(prefix), Bound::Unbounded));
        for (value, ids) in from.take_while(|(value, _)| value.starts_with(prefix)) {
            if matcher.matches(value) {
                found |= ids;
            }
        }
        found
    }

    /// Names of the labels that `ids` have, sorted.
    pub(crate) fn label_names(&self, ids: &RoaringBitmap) -> Vec<String> {
        let used = |values: &Values| values.values().any(|with| !with.is_disjoint(ids));
        self.names
            .iter()
            .filter(|(_, values)| used(values))
            .map(|(name, _)| name.to_string())
            .collect()
    }

    /// Values that `ids` have for a label, sorted.
    pub(crate) fn label_values(&self, name: &str, ids: &RoaringBitmap) -> Vec<String> {
        let values = self.names.get(name).into_iter().flatten();
        let used: BTreeSet<&str> = values
            .filter(|(_, with)| !with.is_disjoint(ids))
            .map(|(value, _)| &**value)
            .collect();
        used.into_iter().map(str::to_owned).collect()
    }
}

#[cfg(test)]
mod tests {
    use model::MatchOp;

    use super::*;

    fn index(series: &[&[(&str, &str)]]) -> (Postings, Vec<LabelSet>) {
        let mut postings = Postings::default();
        let sets: Vec<LabelSet> = series
            .iter()
            .map(|pairs| LabelSet::from_pairs(pairs.iter().copied()).unwrap())
            .collect();
        for (id, labels) in sets.iter().enumerate() {
            postings.insert(id as u32, labels);
        }
        (postings, sets)
    }

    #[test]
    fn matchers_find_what_matching_every_series_finds() {
        let (postings, sets) = index(&[
            &[("__name__", "up"), ("job", "node"), ("env", "prod")],
            &[("__name__", "up"), ("job", "nodes")],
            &[("__name__", "up"), ("job", "hub"), ("env", "test")],
            &[("__name__", "down"), ("job", "a.b")],
            &[("__name__", "down")],
        ]);
        let patterns = [
            "",
            "node",
            "node.*",
            "node|hub",
            ".*",
            ".+",
            "nod(e|es)",
            "no.e",
            "prod|",
            "a.b",
            "a\\.b",
            "zzz",
            "(?i)NODE",
        ];
        let mut tested = 0;
        for name in ["__name__", "job", "env", "absent"] {
            for pattern in patterns {
                for op in [
                    MatchOp::Equal,
                    MatchOp::NotEqual,
                    MatchOp::Regex,
                    MatchOp::NotRegex,
                ] {
                    for also in [None, Some(Matcher::equal("__name__", "up"))] {
                        let mut matchers = vec![Matcher::new(op, name, pattern).unwrap()];
                        matchers.extend(also);
                        let expected: Vec<u32> = (0..sets.len() as u32)
                            .filter(|id| {
                                matchers
                                    .iter()
                                    .all(|m| m.matches_labels(&sets[*id as usize]))
                            })
                            .collect();
                        let found: Vec<u32> = postings.resolve(&matchers).into_iter().collect();
                        assert_eq!(found, expected, "{matchers:?}");
                        tested += expected.len();
                    }
                }
            }
        }
        assert!(tested > 100);
        assert_eq!(postings.resolve(&[]).len(), 5);
    }

    #[test]
    fn names_and_values_are_those_in_use() {
        let (mut postings, sets) = index(&[&[("a", "1"), ("b", "x")], &[("a", "2")]]);
        let all = postings.resolve(&[]);
        assert_eq!(postings.label_names(&all), ["a", "b"]);
        assert_eq!(postings.label_values("a", &all), ["1", "2"]);
        assert_eq!(postings.label_values("c", &all), [""; 0]);
        postings.remove(0, &sets[0]);
        assert_eq!(postings.label_names(&all), ["a"]);
        assert_eq!(postings.label_values("a", &all), ["2"]);
        assert_eq!(postings.resolve(&[]).len(), 1);
    }
}
