//! Exemplars: the last so many of all series, in memory, in the order in which they were written.
//!
//! One ring holds them all, so that its size bounds the memory whatever is sent; the oldest makes room for the newest. As in
//! Prometheus those of one series come in the order of time: what repeats is passed over, what is older than the
//! series's newest is refused.
//!
//! What is acknowledged is in the log, in records of its own. Before the log is freed, the ring is saved (`save`) as it was
//! at the last record that is freed; a restart reads that file and then the log behind it, which gives the same ring. A
//! series that is deleted or forgotten takes its exemplars with it.

pub(crate) mod batch;
pub(crate) mod bytes;
pub(crate) mod save;
mod select;

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;

use hashbrown::HashMap;
use model::{Exemplar, Timestamp};

use crate::types::TimeRange;

pub(crate) use save::{FILE, Loaded};

pub use batch::{ExemplarRefusal, ExemplarsAppended, RefusedExemplar};
pub use select::{ExemplarSelection, SeriesExemplars};

/// Of one series and instant there may be several with different values or labels; so many of the last are compared with a
/// new one.
const SAME_INSTANT_MAX: usize = 16;

/// See the module. *Places* count the exemplars ever added, from 1 on.
pub(crate) struct Exemplars {
    max: usize,
    ring: VecDeque<Slot>,
    /// Place of the ring's first.
    first: u64,
    /// Place of the newest of each series.
    newest: HashMap<u32, u64>,
    /// Rises with every change.
    version: u64,
    /// What the file has, if there is one.
    saved_version: u64,
    is_saved: bool,
    /// What log records up to this one say is in the file, and is not taken from the log again.
    saved_through: u64,
}

struct Slot {
    id: u32,
    /// Of the log record that it came with; 0 when it comes from the file.
    seq: u64,
    /// Place of the one before it of the same series; it may have left the ring.
    before: u64,
    exemplar: Exemplar,
}

/// What is done with a new one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    Stored,
    /// It is there already.
    Repeated,
    /// Older than the newest of its series, which is this.
    OutOfOrder(Timestamp),
}

impl Exemplars {
    pub(crate) fn new(max: usize) -> Self {
        Self {
            max,
            ring: VecDeque::new(),
            first: 1,
            newest: HashMap::new(),
            version: 0,
            saved_version: 0,
            is_saved: false,
            saved_through: 0,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.ring.len()
    }

    /// Series that have any.
    pub(crate) fn series(&self) -> usize {
        self.newest.len()
    }

    /// When the one was made that goes next.
    pub(crate) fn oldest(&self) -> Option<Timestamp> {
        self.ring.front().map(|slot| slot.exemplar.at)
    }

    fn slot(&self, place: u64) -> Option<&Slot> {
        let index = place.checked_sub(self.first)?;
        self.ring.get(usize::try_from(index).ok()?)
    }

    /// Those of a series that are in the ring, the newest first.
    fn of(&self, id: u32) -> impl Iterator<Item = &Exemplar> {
        let newest = self.newest.get(&id).and_then(|place| self.slot(*place));
        let before = |slot: &&Slot| self.slot(slot.before);
        std::iter::successors(newest, before).map(|slot| &slot.exemplar)
    }

    /// What [`Exemplars::insert`] would do now.
    pub(crate) fn verdict(&self, id: u32, new: &Exemplar) -> Verdict {
        let Some(newest) = self.of(id).next() else {
            return Verdict::Stored;
        };
        if *newest == *new {
            return Verdict::Repeated;
        }
        // Of one instant they come in the order of their values, as Prometheus sorts what it scrapes.
        if new.at < newest.at || (new.at == newest.at && new.value < newest.value) {
            return Verdict::OutOfOrder(newest.at);
        }
        let same_instant = self.of(id).take_while(|known| known.at == new.at);
        match same_instant
            .take(SAME_INSTANT_MAX)
            .any(|known| known == new)
        {
            true => Verdict::Repeated,
            false => Verdict::Stored,
        }
    }

    /// Adds one, if it fits, that came with this log record.
    pub(crate) fn insert(&mut self, id: u32, seq: u64, exemplar: Exemplar) -> Verdict {
        let verdict = self.verdict(id, &exemplar);
        if verdict == Verdict::Stored {
            self.push(id, seq, exemplar);
        }
        verdict
    }

    fn push(&mut self, id: u32, seq: u64, exemplar: Exemplar) {
        self.version += 1;
        if self.max == 0 {
            return;
        }
        while self.ring.len() >= self.max {
            if let Some(gone) = self.ring.pop_front()
                && self.newest.get(&gone.id) == Some(&self.first)
            {
                self.newest.remove(&gone.id);
            }
            self.first += 1;
        }
        let place = self.first + self.ring.len() as u64;
        let before = self.newest.insert(id, place).unwrap_or(0);
        self.ring.push_back(Slot {
            id,
            seq,
            before,
            exemplar,
        });
    }

    /// Takes out those for which `keep` says no.
    pub(crate) fn retain(&mut self, mut keep: impl FnMut(u32, u64, &Exemplar) -> bool) {
        let mut keep = |slot: &Slot| keep(slot.id, slot.seq, &slot.exemplar);
        let stay: Vec<bool> = self.ring.iter().map(&mut keep).collect();
        if stay.iter().all(|stays| *stays) {
            return;
        }
        self.version += 1;
        self.first += self.ring.len() as u64;
        self.newest.clear();
        let old = std::mem::take(&mut self.ring);
        for (slot, _) in old.into_iter().zip(stay).filter(|(_, stays)| *stays) {
            self.push(slot.id, slot.seq, slot.exemplar);
        }
    }

    /// Those of a series in a range, in the order of time.
    pub(crate) fn within(&self, id: u32, range: TimeRange) -> Vec<Exemplar> {
        let newer = |exemplar: &&Exemplar| exemplar.at > range.end;
        let wanted = |exemplar: &&Exemplar| exemplar.at >= range.start;
        let found = self.of(id).skip_while(newer).take_while(wanted);
        let mut found: Vec<Exemplar> = found.cloned().collect();
        found.reverse();
        found
    }
}
