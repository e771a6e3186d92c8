//! The Pushgateway's API: jobs that end before anybody scrapes them push what they have to say under a key, and it is scraped
//! here every interval until it is replaced, deleted or older than `branchline.pushgateway.group_expiry`.
//!
//! As the Pushgateway 1.x answers, but for these: a push is on disk before it is answered; `%2F` in a path is a slash in a value; what is
//! too much for the memory of an edge is refused with 503. While there are native histograms the page is protobuf, which alone has them.
//!
//! `key`: which group a path names; `group`: one group and its file.

mod group;
mod key;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use daemon::Clock;
use journal::{Disk, read_file, write_atomic};
use model::{LabelSet, Timestamp};
use wire::exposition::{DelimitedEncoder, Encoder};

use self::group::Group;
use super::families::{Families, Family, Unfit, other_names};
use crate::collect::{CollectError, Collector, Page};
use crate::config::Histograms;

pub(crate) use key::parse as parse_key;

/// Groups of all jobs.
const GROUPS_MAX: usize = 10_000;
/// Text of all groups: in memory it takes a few times as much.
const BYTES_MAX: usize = 4 << 20;
/// Longest file of a group.
const FILE_BYTES_MAX: u64 = BYTES_MAX as u64 + (64 << 10);
const FILE_PREFIX: &str = "group-";

/// The job of the page's own series.
const JOB: &str = "pushgateway";

/// How a push changes its group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum How {
    /// `PUT`: nothing of before stays.
    Replace,
    /// `POST`: families of other names stay.
    Update,
}

/// Why a push is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PushError {
    #[error("{0}")]
    Format(String),
    #[error("pushed metrics are invalid or inconsistent with existing metrics: {0}")]
    Inconsistent(String),
    #[error("no room: {0}")]
    Full(String),
    #[error("the push cannot be kept on disk: {0}")]
    Disk(String),
}

/// A group as pages show it.
#[derive(Debug, Clone)]
pub struct GroupStatus {
    /// Its key.
    pub labels: LabelSet,
    /// When a push last succeeded.
    pub pushed: Option<Timestamp>,
    /// When one last failed.
    pub failed: Option<Timestamp>,
    /// How many series it has, without the two about pushes.
    pub series: usize,
}

/// All groups, in memory and on disk.
pub(crate) struct Gateway {
    disk: Arc<dyn Disk>,
    folder: PathBuf,
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    groups: BTreeMap<LabelSet, Group>,
    /// Zero: none goes by itself.
    expiry: Duration,
    /// Which form of a histogram that has both is on the page.
    histograms: Histograms,
    bytes: usize,
}

impl Gateway {
    /// Opens what is in `folder`. A file that is damaged is left out, with a word in the log, and stays where it is.
    ///
    /// # Errors
    /// A folder that cannot be made or read.
    pub(crate) fn open(
        disk: Arc<dyn Disk>,
        folder: &Path,
        clock: Arc<dyn Clock>,
    ) -> io::Result<Gateway> {
        disk.create_dir_all(folder)?;
        let mut state = State::default();
        for name in disk.list(folder)? {
            if !name.starts_with(FILE_PREFIX) || name.ends_with(".tmp") {
                continue;
            }
            let path = folder.join(name);
            let read = read_file(&*disk, &path, FILE_BYTES_MAX)
                .map_err(|error| error.to_string())
                .and_then(|bytes| Group::decode(&bytes));
            match read {
                Ok(group) => {
                    state.bytes += group.bytes;
                    state.groups.insert(group.labels.clone(), group);
                }
                Err(why) => {
                    let path = path.display();
                    tracing::error!(%path, why, "a pushed group cannot be read and is left out: push it again");
                }
            }
        }
        Ok(Gateway {
            disk,
            folder: folder.to_owned(),
            clock,
            state: Mutex::new(state),
        })
    }

    /// From now on groups go that were not pushed for so long; zero: none does.
    pub(crate) fn expire_after(&self, expiry: Duration) {
        self.lock().expiry = expiry;
    }

    /// From now on the page has this form of histograms that were pushed in both.
    pub(crate) fn show(&self, histograms: Histograms) {
        self.lock().histograms = histograms;
    }

    /// Takes a push; it is on disk when this returns. One that is refused leaves the group as it was, but for the time of the failure.
    ///
    /// # Errors
    /// See [`PushError`].
    pub(crate) fn push(
        &self,
        key: &LabelSet,
        pushed: Result<Families, Unfit>,
        how: How,
    ) -> Result<(), PushError> {
        match pushed {
            Ok(families) => self.change(key, Ok(families), how),
            // Nobody knows what that was: it leaves no trace, as in the Pushgateway.
            Err(error @ Unfit::Format(_)) => Err(PushError::Format(error.to_string())),
            Err(Unfit::Content(why)) => self.change(key, Err(why), how),
        }
    }

    fn change(
        &self,
        key: &LabelSet,
        pushed: Result<Families, String>,
        how: How,
    ) -> Result<(), PushError> {
        let mut state = self.lock();
        let now = self.clock.now();
        self.expire(&mut state, now);
        let old = state.groups.get(key).cloned();
        let before = old.clone().unwrap_or_else(|| Group::new(key.clone()));
        let mut new = before.clone();
        let changed = pushed
            .and_then(|families| new.put(families, how == How::Replace))
            .and_then(|()| state.consistent(&new))
            .map_err(PushError::Inconsistent)
            .and_then(|()| state.room(&new));
        let (group, result) = match changed {
            Ok(()) => {
                new.pushed = Some(now);
                (new, Ok(()))
            }
            // A group that nobody pushed before comes to be by its failure too, as the Pushgateway has it, while there is room.
            Err(error) => {
                let room = old.is_some() || state.groups.len() < GROUPS_MAX;
                if matches!(error, PushError::Full(_)) || !room {
                    return Err(error);
                }
                let failed = Some(now);
                (Group { failed, ..before }, Err(error))
            }
        };
        write_atomic(&*self.disk, &self.file(key), &group.encode())
            .map_err(|error| PushError::Disk(error.to_string()))?;
        state.bytes = state.bytes + group.bytes - old.map_or(0, |old| old.bytes);
        state.groups.insert(key.clone(), group);
        result
    }

    /// Forgets a group; one that is not there is forgotten already.
    ///
    /// # Errors
    /// The disk's.
    pub(crate) fn delete(&self, key: &LabelSet) -> Result<(), PushError> {
        let mut state = self.lock();
        self.remove(&mut state, key)
            .map_err(|error| PushError::Disk(error.to_string()))
    }

    /// The groups as pages show them.
    pub(crate) fn status(&self) -> Vec<GroupStatus> {
        let state = self.lock();
        let groups = state.groups.values();
        groups
            .map(|group| GroupStatus {
                labels: group.labels.clone(),
                pushed: group.pushed,
                failed: group.failed,
                series: group.families.values().map(Family::series).sum(),
            })
            .collect()
    }

    /// What a scrape of the Pushgateway shows.
    pub(crate) fn shown(&self) -> Page {
        let mut state = self.lock();
        self.expire(&mut state, self.clock.now());
        // A family stands in one piece, whoever pushed it, with the help text that one of them gave.
        let mut families: BTreeMap<&str, Family> = BTreeMap::new();
        for group in state.groups.values() {
            for (name, family) in &group.families {
                let all = families.entry(name).or_default();
                all.about.kind = family.about.kind;
                if all.about.help.is_empty() {
                    all.about.help.clone_from(&family.about.help);
                }
                all.samples.extend(family.samples.iter().cloned());
                all.natives.extend(family.natives.iter().cloned());
            }
            for (name, labels, value) in group.times() {
                let all = families.entry(name).or_default();
                all.about = group::about_times(name);
                all.samples.push((labels, value));
            }
        }
        families
            .values_mut()
            .for_each(|family| family.choose(&state.histograms));
        if families.values().any(|family| !family.natives.is_empty()) {
            let mut page = DelimitedEncoder::new(true);
            for (name, family) in families {
                page.pushed(name, &family.about, &family.samples, &family.natives);
            }
            return Page::Protobuf(page.finish());
        }
        let mut page = Encoder::new(true);
        for (name, family) in families {
            page.family(name, family.about.kind, &family.about.help);
            for (labels, value) in family.samples {
                page.passed_on(&labels, value);
            }
        }
        Page::Text(page.finish())
    }

    fn expire(&self, state: &mut State, now: Timestamp) {
        if state.expiry.is_zero() {
            return;
        }
        let oldest = now.saturating_sub(state.expiry);
        let last = |group: &Group| group.pushed.max(group.failed);
        let over: Vec<LabelSet> = state
            .groups
            .values()
            .filter(|group| last(group).is_none_or(|at| at < oldest))
            .map(|group| group.labels.clone())
            .collect();
        for key in over {
            tracing::info!(group = %key, "a pushed group was not pushed for too long and goes");
            if let Err(error) = self.remove(state, &key) {
                tracing::warn!(group = %key, %error, "the file of a group that is too old cannot be removed");
            }
        }
    }

    fn remove(&self, state: &mut State, key: &LabelSet) -> io::Result<()> {
        let Some(group) = state.groups.get(key) else {
            return Ok(());
        };
        let bytes = group.bytes;
        self.disk.remove(&self.file(key))?;
        self.disk.sync_dir(&self.folder)?;
        state.groups.remove(key);
        state.bytes -= bytes;
        Ok(())
    }

    /// A hash, because labels may hold anything.
    fn file(&self, key: &LabelSet) -> PathBuf {
        self.folder
            .join(format!("{FILE_PREFIX}{:016x}", key.fingerprint()))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Whether a family of one name is of one type everywhere, and no name is part of another family.
    fn consistent(&self, new: &Group) -> Result<(), String> {
        let mut kinds = BTreeMap::new();
        for group in self.groups.values().filter(|old| old.labels != new.labels) {
            for (name, family) in &group.families {
                kinds.insert(name.as_str(), family.about.kind);
            }
        }
        for (name, family) in &new.families {
            let kind = family.about.kind;
            if let Some(known) = kinds.get(name.as_str())
                && *known != kind
            {
                return Err(format!(
                    "{name} is a {} here and a {} in another group",
                    kind.as_str(),
                    known.as_str()
                ));
            }
            let taken = |other: &String| {
                kinds.contains_key(other.as_str()) || new.families.contains_key(other)
            };
            if let Some(other) = other_names(name, kind).into_iter().find(taken) {
                return Err(format!("{other} is a metric of its own and one of {name}"));
            }
        }
        for (name, kind) in &kinds {
            let taken = |other: &String| new.families.contains_key(other);
            if let Some(other) = other_names(name, *kind).into_iter().find(taken) {
                return Err(format!("{other} is a metric of its own and one of {name}"));
            }
        }
        Ok(())
    }

    fn room(&self, new: &Group) -> Result<(), PushError> {
        let old = self.groups.get(&new.labels);
        if old.is_none() && self.groups.len() >= GROUPS_MAX {
            return Err(PushError::Full(format!(
                "there are {GROUPS_MAX} groups already: delete some, or set branchline.pushgateway.group_expiry"
            )));
        }
        let others = self.bytes - old.map_or(0, |old| old.bytes);
        if others + new.bytes > BYTES_MAX {
            return Err(PushError::Full(format!(
                "all groups together would have more than {BYTES_MAX} bytes of text: delete some, push less, or set branchline.pushgateway.group_expiry"
            )));
        }
        Ok(())
    }
}

impl Collector for Gateway {
    fn job(&self) -> &str {
        JOB
    }

    fn collect(&self) -> Result<String, CollectError> {
        match self.shown() {
            Page::Text(text) => Ok(text),
            Page::Protobuf(_) => Err(CollectError {
                collector: JOB.to_owned(),
                reason: "text has no native histograms".to_owned(),
            }),
        }
    }

    fn page(&self) -> Result<Page, CollectError> {
        Ok(self.shown())
    }
}

#[cfg(test)]
mod tests;
