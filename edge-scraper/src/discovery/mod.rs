//! Which targets are there? Static ones and those in files, job by job, as discovered: before relabelling.

mod file;
pub(crate) mod glob;

use std::collections::BTreeMap;
use std::time::Duration;

use crate::config::{Discovery, TargetGroup};

/// The label that holds a target's address.
pub(crate) const ADDRESS_LABEL: &str = "__address__";

/// Labels of a discovered target, `__address__` among them.
pub(crate) type Discovered = BTreeMap<String, String>;

/// The sources of one job.
#[derive(Debug)]
pub(crate) struct Sources {
    fixed: Vec<TargetGroup>,
    files: Vec<file::Files>,
}

impl Sources {
    pub(crate) fn new(discovery: &[Discovery]) -> Sources {
        let (mut fixed, mut files) = (Vec::new(), Vec::new());
        for source in discovery {
            match source {
                Discovery::Static(groups) => fixed.extend(groups.iter().cloned()),
                Discovery::File { patterns, refresh } => {
                    files.push(file::Files::new(patterns.clone(), *refresh));
                }
            }
        }
        Sources { fixed, files }
    }

    /// How long to wait between two looks; `None` if nothing can change.
    pub(crate) fn look_every(&self) -> Option<Duration> {
        self.files.iter().map(file::Files::look_every).min()
    }

    /// Looks at what can change; true if the targets did. Reads files: not for async threads.
    pub(crate) fn look(&mut self) -> bool {
        self.files
            .iter_mut()
            .fold(false, |changed, files| files.look() | changed)
    }

    /// All targets now. The same one may come more than once.
    pub(crate) fn targets(&self) -> Vec<Discovered> {
        let groups = self
            .fixed
            .iter()
            .chain(self.files.iter().flat_map(file::Files::groups));
        let mut targets = Vec::new();
        for group in groups {
            for address in &group.targets {
                let mut labels = group.labels.clone();
                labels.insert(ADDRESS_LABEL.to_owned(), address.clone());
                targets.push(labels);
            }
        }
        targets
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn static_targets_have_their_groups_labels() {
        let group = TargetGroup {
            targets: vec!["a:1".into(), "b:2".into()],
            labels: BTreeMap::from([("rack".into(), "7".into())]),
        };
        let mut sources = Sources::new(&[Discovery::Static(vec![group])]);
        assert!(!sources.look());
        assert_eq!(sources.look_every(), None);
        let targets = sources.targets();
        assert_eq!(targets.len(), 2);
        assert_eq!(
            (
                targets[1][ADDRESS_LABEL].as_str(),
                targets[1]["rack"].as_str()
            ),
            ("b:2", "7")
        );
    }
}
