//! Which exemplar each series had last. Targets show an exemplar until another takes its place; the hub needs it once.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, Hash, RandomState};

#[derive(Debug, Default)]
pub(super) struct Exemplars {
    /// Hash of the last exemplar, only of series that have any.
    last: HashMap<u32, u64>,
    hasher: RandomState,
}

impl Exemplars {
    /// Whether it is another one than the last of the series; it is the last one then.
    pub(super) fn is_new(&mut self, series: u32, exemplar: impl Hash) -> bool {
        let hash = self.hasher.hash_one(exemplar);
        self.last.insert(series, hash) != Some(hash)
    }

    /// The series is gone.
    pub(super) fn forget(&mut self, series: u32) {
        if !self.last.is_empty() {
            self.last.remove(&series);
        }
    }

    pub(super) fn shrink(&mut self) {
        self.last.shrink_to_fit();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exemplar_is_new_once() {
        let mut exemplars = Exemplars::default();
        assert!(exemplars.is_new(1, "a"));
        assert!(!exemplars.is_new(1, "a"));
        assert!(exemplars.is_new(2, "a"));
        assert!(exemplars.is_new(1, "b"));
        assert!(exemplars.is_new(1, "a"));
        exemplars.forget(1);
        assert!(exemplars.is_new(1, "a"));
    }
}
