//! Which metadata was handed over. Pages repeat it with every scrape; the hub needs it when it is new or changes, and now and
//! then again.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, Hasher, RandomState};
use std::time::Duration;

use model::Metadata;

/// Metadata is handed over again after this long, for hubs that came later or lost it.
const AGAIN: Duration = Duration::from_secs(3600);

#[derive(Debug, Default)]
pub(super) struct Descriptions {
    /// Hash of all description lines of the last good page, and when the first of what they say has to be handed over again.
    page: Option<(u64, Duration)>,
    families: HashMap<u64, Known>,
    hasher: RandomState,
}

#[derive(Debug)]
struct Known {
    hash: u64,
    handed_over: Duration,
}

impl Descriptions {
    pub(super) fn hasher(&self) -> impl Hasher + use<> {
        self.hasher.build_hasher()
    }

    /// Whether nothing of a page with this hash has to be handed over.
    pub(super) fn knows(&self, page: u64, now: Duration) -> bool {
        self.page
            .is_some_and(|(hash, again)| hash == page && now < again)
    }

    /// What has to be handed over of a page's families.
    pub(super) fn changed(
        &mut self,
        page: u64,
        families: Vec<(String, Metadata)>,
        now: Duration,
    ) -> Vec<(String, Metadata)> {
        let mut known = HashMap::with_capacity(families.len());
        let mut changed = Vec::new();
        let mut again = now + AGAIN;
        for (family, metadata) in families {
            let name = self.hasher.hash_one(&family);
            let about = (metadata.kind.as_str(), &metadata.help, &metadata.unit);
            let hash = self.hasher.hash_one(about);
            let handed_over = match self.families.get(&name) {
                Some(known) if known.hash == hash && now < known.handed_over + AGAIN => {
                    known.handed_over
                }
                _ => {
                    changed.push((family, metadata));
                    now
                }
            };
            again = again.min(handed_over + AGAIN);
            known.insert(name, Known { hash, handed_over });
        }
        self.families = known;
        self.page = Some((page, again));
        changed
    }

    pub(super) fn forget(&mut self) {
        self.families.clear();
        self.page = None;
    }
}

#[cfg(test)]
mod tests {
    use model::MetricType;

    use super::*;

    #[test]
    fn metadata_is_handed_over_when_new_changed_or_old() {
        let mut known = Descriptions::default();
        let page = |help: &str| {
            let metadata = Metadata {
                kind: MetricType::Gauge,
                help: help.into(),
                unit: String::new(),
            };
            vec![("a".to_owned(), metadata)]
        };
        let secs = Duration::from_secs;
        assert!(!known.knows(1, secs(0)));
        assert_eq!(known.changed(1, page("x"), secs(0)).len(), 1);
        assert!(known.knows(1, secs(10)) && !known.knows(2, secs(10)));
        assert_eq!(known.changed(1, page("x"), secs(10)).len(), 0);
        assert_eq!(known.changed(2, page("y"), secs(20)).len(), 1);
        assert!(known.knows(2, secs(3619)) && !known.knows(2, secs(3620)));
        assert_eq!(known.changed(2, page("y"), secs(3619)).len(), 0);
        assert_eq!(known.changed(2, page("y"), secs(3620)).len(), 1);
        known.forget();
        assert!(!known.knows(2, secs(3621)));
        assert_eq!(known.changed(2, page("y"), secs(3621)).len(), 1);
    }
}
