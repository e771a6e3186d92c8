//! Which targets are there? Static ones, those in files, and those that a server names: job by job, as discovered, before
//! relabelling.
//!
//! [`Sources`] are one job's. Files are looked at when the caller asks; each server is asked by a task of its own (`remote`), which
//! keeps what was found last when the server does not answer, in memory and on disk.

mod dns;
mod file;
pub(crate) mod glob;
mod http;
mod kubernetes;
mod remote;

use std::collections::BTreeMap;
use std::time::Duration;

use crate::config::{Discovery, TargetGroup};

pub(crate) use remote::Context;
use remote::Remote;
pub use remote::SourceStatus;

/// The label that holds a target's address.
pub(crate) const ADDRESS_LABEL: &str = "__address__";

/// Labels of a discovered target, `__address__` among them.
pub(crate) type Discovered = BTreeMap<String, String>;

/// The sources of one job.
#[derive(Debug)]
pub(crate) struct Sources {
    fixed: Vec<TargetGroup>,
    files: Vec<file::Files>,
    remote: Vec<Remote>,
}

impl Sources {
    /// Asks nobody yet.
    pub(crate) fn new(discovery: &[Discovery]) -> Sources {
        let mut sources = Sources {
            fixed: Vec::new(),
            files: Vec::new(),
            remote: Vec::new(),
        };
        for source in discovery {
            match source {
                Discovery::Static(groups) => sources.fixed.extend(groups.iter().cloned()),
                Discovery::File { patterns, refresh } => {
                    sources
                        .files
                        .push(file::Files::new(patterns.clone(), *refresh));
                }
                Discovery::Http(_) | Discovery::Dns(_) | Discovery::Kubernetes(_) => {
                    sources.remote.push(Remote::new(source.clone()));
                }
            }
        }
        sources
    }

    /// Takes what is kept on disk, then asks servers until it is dropped. Reads files: not for async threads.
    pub(crate) fn start(&mut self, context: &Context, job: &str) {
        for files in &mut self.files {
            files.restore(&context.kept, job);
        }
        for remote in &mut self.remote {
            remote.start(context, job);
        }
    }

    /// What they are kept as.
    pub(crate) fn keys(&self, job: &str) -> Vec<String> {
        let files = self.files.iter().map(|files| files.key(job));
        files
            .chain(self.remote.iter().map(|remote| remote.key(job)))
            .collect()
    }

    /// How long to wait between two looks; `None` if nothing can change, or what can reports it by itself.
    pub(crate) fn look_every(&self) -> Option<Duration> {
        self.files.iter().map(file::Files::look_every).min()
    }

    /// Looks at what can change; true if the targets did. Reads files: not for async threads.
    pub(crate) fn look(&mut self) -> bool {
        let mut changed = false;
        for files in &mut self.files {
            changed |= files.look();
        }
        for remote in &mut self.remote {
            changed |= remote.look();
        }
        changed
    }

    /// All targets now. The same one may come more than once.
    pub(crate) fn targets(&self) -> Vec<Discovered> {
        let groups = self
            .fixed
            .iter()
            .chain(self.files.iter().flat_map(file::Files::groups));
        let mut targets = Vec::new();
        for group in groups {
            each_target(group, |target| targets.push(target));
        }
        for remote in &self.remote {
            targets.extend(remote.targets().iter().cloned());
        }
        targets
    }

    /// How the servers are doing.
    pub(crate) fn status(&self) -> Vec<SourceStatus> {
        let files = self.files.iter().map(file::Files::status);
        files
            .chain(self.remote.iter().map(Remote::status))
            .collect()
    }
}

/// The targets of a group, each with the group's labels.
fn each_target(group: &TargetGroup, mut take: impl FnMut(Discovered)) {
    for address in &group.targets {
        let mut labels = group.labels.clone();
        labels.insert(ADDRESS_LABEL.to_owned(), address.clone());
        take(labels);
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
