//! What a page says about its metric families.

use std::collections::BTreeMap;

use model::{Metadata, MetricType};

/// Families of one page whose metadata is kept.
const FAMILIES_MAX: usize = 100_000;

/// Metadata by family.
#[derive(Default)]
pub(super) struct Families {
    known: BTreeMap<String, Metadata>,
}

impl Families {
    pub(super) fn describe(&mut self, family: &str, change: impl FnOnce(&mut Metadata)) {
        if let Some(known) = self.known.get_mut(family) {
            change(known);
        } else if self.known.len() < FAMILIES_MAX {
            let mut new = Metadata {
                kind: MetricType::Unknown,
                help: String::new(),
                unit: String::new(),
            };
            change(&mut new);
            self.known.insert(family.to_owned(), new);
        }
    }

    pub(super) fn into_vec(self) -> Vec<(String, Metadata)> {
        self.known.into_iter().collect()
    }
}
