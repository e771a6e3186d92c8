//! The head office: the hub's real store, ledger and line on disks that forget what was not synced; connections are moved by hand.

use std::collections::{BTreeMap, VecDeque};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use daemon::{Clock, SimClock, Tasks};
use journal::JournalError;
use journal::sim::SimDisk;
use tsdb::{Column, SelectLimits, Store, StoreError, StoreOptions, SyncPolicy, TimeRange};

use super::edge::{Fact, HUB, TOO_LONG, labels};
use super::memory_file::MemoryFile;
use super::random::Random;
use super::world::Seen;
use crate::federation::Branches;
use crate::federation::ledger::Ledger;
use crate::ingest::{Credentials, Identity, Ingest};
use crate::line::LineHub;
use crate::line::connection::Ended;
use crate::line::machine::{Machine, Work, first_report};
use crate::line::receiver::Receiver;
use crate::line::work::{Done, Stored, work};

/// As in the ledger.
const WRITE_INTERVAL: Duration = Duration::from_secs(5);
/// About as the hub does it.
const MAINTAIN_INTERVAL: Duration = Duration::from_secs(13);
/// As on the real line.
const TURNS_INTERVAL: Duration = Duration::from_millis(250);
/// How long frames may take into the store, and then to disk, ms.
const STORING_MS_MAX: u64 = 40;
/// The same where a disk is slow, as every so often.
const STALLED_MS_MAX: u64 = 3_000;
const STALLED_ONE_IN: u64 = 20;

/// What survives the hub's process.
#[derive(Clone)]
pub(super) struct HubDisk {
    disk: SimDisk,
    ledger: MemoryFile,
    /// The hub refuses what is longer. Not on its disk, but in the file that configures it.
    label_bytes_max: usize,
}

impl HubDisk {
    pub(super) fn new(seed: u64) -> Self {
        HubDisk {
            disk: SimDisk::new(seed),
            ledger: MemoryFile::default(),
            label_bytes_max: TOO_LONG - 1,
        }
    }

    /// The same for a hub that takes everything.
    pub(super) fn without_limits(self) -> Self {
        HubDisk {
            label_bytes_max: TOO_LONG,
            ..self
        }
    }

    /// As a crash at this moment would leave it.
    fn crashed(&self, random: &mut Random) -> Self {
        let disk = self.disk.copy(random.next());
        disk.crash();
        HubDisk {
            disk,
            ledger: self.ledger.crashed(random),
            label_bytes_max: self.label_bytes_max,
        }
    }
}

fn is_full(error: &StoreError) -> bool {
    matches!(
        error,
        StoreError::DiskFull { .. } | StoreError::Journal(JournalError::DiskFull { .. })
    )
}

/// A process of the hub.
pub(super) struct HubSide {
    on_disk: HubDisk,
    clock: SimClock,
    store: Arc<Store>,
    pub(super) ledger: Arc<Ledger>,
    line: Arc<LineHub>,
    write_at: Duration,
    tick_at: Duration,
    maintain_at: Duration,
    /// Its disk stalls often.
    is_slow: bool,
}

impl HubSide {
    pub(super) fn open(on_disk: HubDisk, clock: &SimClock, is_slow: bool) -> Result<Self, String> {
        let mut options = StoreOptions::default();
        options.wal.sync = SyncPolicy::Manual;
        // So that parts are written and merged.
        options.seal.rows_max = 5_000;
        options.limits.label_bytes_max = on_disk.label_bytes_max;
        let disk = Arc::new(on_disk.disk.clone());
        let store = Store::open(disk, Path::new("/hub/store"), options);
        let store = Arc::new(store.map_err(|error| error.to_string())?);
        let shared: Arc<dyn Clock> = Arc::new(clock.clone());
        let ledger = Ledger::open_on(on_disk.ledger.clone(), shared.clone());
        let ledger = Arc::new(ledger.map_err(|error| format!("{error:#}"))?);
        let branches = Branches::new(shared.clone()).with_ledger(ledger.clone());
        let ingest = Arc::new(Ingest::new(
            store.clone(),
            branches.clone(),
            Credentials::default(),
            shared.clone(),
            HUB.to_owned(),
            Default::default(),
        ));
        let line = LineHub::without_turns(ingest, ledger.clone(), branches, shared, Tasks::new());
        let now = clock.elapsed();
        Ok(HubSide {
            on_disk,
            clock: clock.clone(),
            store,
            ledger,
            line,
            write_at: now + WRITE_INTERVAL,
            tick_at: now + TURNS_INTERVAL,
            maintain_at: now + MAINTAIN_INTERVAL,
            is_slow,
        })
    }

    /// A copy of its disks, as a backup takes it while it runs.
    pub(super) fn backup(&self, random: &mut Random) -> HubDisk {
        self.on_disk.crashed(random)
    }

    /// The power goes. What its connections were about is gone with it.
    pub(super) fn crash(self, random: &mut Random) -> HubDisk {
        self.on_disk.crashed(random)
    }

    /// It ends in order: its connections were ended before.
    pub(super) fn stop(self, random: &mut Random) -> Result<HubDisk, String> {
        self.ledger.write(None);
        self.ledger.close();
        match self.store.close() {
            Err(error) if !is_full(&error) => return Err(error.to_string()),
            _ => {}
        }
        Ok(self.on_disk.crashed(random))
    }

    /// What it does by the clock.
    pub(super) fn keep_house(&mut self) -> Result<(), String> {
        let now = self.clock.elapsed();
        if self.write_at <= now {
            self.write_at = now + WRITE_INTERVAL;
            self.ledger.write(None);
        }
        if self.maintain_at <= now {
            self.maintain_at = now + MAINTAIN_INTERVAL;
            match self.store.maintain(self.clock.now()) {
                Err(error) if !is_full(&error) => return Err(error.to_string()),
                _ => {}
            }
        }
        if self.tick_at <= now {
            self.tick_at = now + TURNS_INTERVAL;
            self.line.desk.tick(now);
        }
        Ok(())
    }

    /// From now on there is room for so many bytes.
    pub(super) fn fill_disk(&self, room: u64) {
        let disk = &self.on_disk.disk;
        disk.set_capacity(Some(disk.used_bytes() + room));
        self.on_disk.ledger.set_full(true);
    }

    /// There is room again.
    pub(super) fn free_disk(&self) {
        self.on_disk.disk.set_capacity(None);
        self.on_disk.ledger.set_full(false);
    }

    /// When there is something to do by the clock while edges are connected.
    pub(super) fn wake(&self) -> Duration {
        self.write_at.min(self.tick_at).min(self.maintain_at)
    }

    /// Whether a scrape is stored.
    pub(super) fn has(&self, branch: &str, fact: &Fact) -> Result<bool, String> {
        let at = model::Timestamp::from_millis(fact.at);
        let found = self.stored_in(branch, TimeRange::new(at, at))?;
        Ok(found.lacks(fact).is_none())
    }

    /// All that is stored of a branch: by target and place, by time, the bits.
    pub(super) fn stored(&self, branch: &str) -> Result<Facts, String> {
        self.stored_in(branch, TimeRange::ALL)
    }

    fn stored_in(&self, branch: &str, range: TimeRange) -> Result<Facts, String> {
        let of = [model::Matcher::equal("branch", branch)];
        let limits = SelectLimits::default();
        let found = self.store.select(&of, range, &limits, &|| false);
        let found = found.map_err(|error| error.to_string())?;
        if let Some(warning) = found.warnings.first() {
            return Err(format!("the store is damaged: {warning}"));
        }
        let mut facts = Facts::default();
        for series in found.series {
            let number = |name: &str, skip: usize| {
                let text = series.labels.get(name).unwrap_or_default();
                text.get(skip..)
                    .and_then(|text| text.parse().ok())
                    .unwrap_or(u64::MAX)
            };
            let key = (number("job", 1), number("n", 0));
            let expected = labels(key.0, key.1).builder().set("branch", branch).build();
            if series.labels != expected {
                return Err(format!("an unknown series is stored: {}", series.labels));
            }
            let Column::Floats(values) = series.values else {
                return Err(format!("{} has histograms", series.labels));
            };
            let samples = series.timestamps.into_iter().zip(values);
            let column = facts.0.entry(key).or_default();
            for (at, value) in samples {
                if column.insert(at, value.to_bits()).is_some() {
                    return Err(format!("{:?} is twice there at {at}", series.labels));
                }
            }
        }
        Ok(facts)
    }
}

/// What is stored of a branch.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Facts(pub(super) BTreeMap<(u64, u64), BTreeMap<i64, u64>>);

impl Facts {
    pub(super) fn of<'a>(facts: impl IntoIterator<Item = &'a Fact>) -> Self {
        let mut all = Facts::default();
        for fact in facts {
            for (series, bits) in &fact.samples {
                all.0.entry(*series).or_default().insert(fact.at, *bits);
            }
        }
        all
    }

    /// What of a scrape is not there, or is another.
    pub(super) fn lacks(&self, fact: &Fact) -> Option<String> {
        fact.samples.iter().find_map(|(series, bits)| {
            let found = self.0.get(series).and_then(|column| column.get(&fact.at));
            (found != Some(bits)).then(|| format!("{series:?} at {}: {found:?}", fact.at))
        })
    }

    pub(super) fn samples(&self) -> usize {
        self.0.values().map(BTreeMap::len).sum()
    }
}

/// The hub's end of a connection.
#[derive(Default)]
pub(super) struct HubEnd {
    /// None before the first message.
    machine: Option<Machine>,
    working: Option<(Duration, Box<Receiver>, Vec<Done>)>,
    settling: VecDeque<(Duration, Stored)>,
}

impl HubEnd {
    /// A message came.
    pub(super) fn take(
        &mut self,
        hub: &HubSide,
        branch: &str,
        message: &Bytes,
        allowed: bool,
    ) -> Result<(), Ended> {
        match &mut self.machine {
            Some(machine) => machine.take(message, &|| allowed),
            None => {
                let report = first_report(Some(message))?;
                let identity = Identity::Branch(branch.to_owned());
                self.machine = Some(Machine::new(&hub.line, identity, &report));
                Ok(())
            }
        }
    }

    pub(super) fn takes_more(&self) -> bool {
        self.machine
            .as_ref()
            .is_none_or(|machine| !machine.is_full())
    }

    /// Whether something is stored, and not settled.
    pub(super) fn is_settling(&self) -> bool {
        self.working.is_some() || !self.settling.is_empty()
    }

    /// Whether anything was read on it.
    pub(super) fn has_begun(&self) -> bool {
        self.machine.is_some()
    }

    /// Does what is due; whether it did anything.
    ///
    /// # Errors
    /// The connection is over.
    pub(super) fn go_on(
        &mut self,
        hub: &HubSide,
        seen: &mut Seen,
        random: &mut Random,
    ) -> Result<bool, Ended> {
        let Some(machine) = &mut self.machine else {
            return Ok(false);
        };
        let now = hub.clock.elapsed();
        let mut busy = false;
        if machine.credit.granted.has_changed().unwrap_or(false) {
            machine.tell_grant();
            busy = true;
        }
        if let Some((_, receiver, done)) = self.working.take_if(|(at, ..)| *at <= now) {
            let later = done.iter().filter(|done| matches!(done, Done::Later(_)));
            seen.no_room += later.count() as u64;
            let (stored, so_far) = machine.worked(receiver, done);
            so_far?;
            for stored in stored {
                let stalls = random.one_in(if hub.is_slow { 2 } else { STALLED_ONE_IN });
                let most = if stalls {
                    STALLED_MS_MAX
                } else {
                    STORING_MS_MAX
                };
                let at = now + Duration::from_millis(random.below(most));
                let at = self.settling.back().map_or(at, |(last, _)| at.max(*last));
                self.settling.push_back((at, stored));
            }
            busy = true;
        }
        while self.settling.front().is_some_and(|(at, _)| *at <= now) {
            let Some((_, stored)) = self.settling.pop_front() else {
                break;
            };
            let synced = hub.store.sync();
            machine.settled(stored, synced)?;
            busy = true;
        }
        if self.working.is_none()
            && let Some(due) = machine.due()
            && let Some(begun) = machine.begin(due)
        {
            let Work {
                hub: line,
                sender,
                mut receiver,
                lane,
                urgency,
                frames,
            } = begun;
            let done = work(&line, &sender, &mut receiver, (lane, urgency), frames);
            let at = now + Duration::from_millis(random.below(STORING_MS_MAX));
            self.working = Some((at, receiver, done));
            busy = true;
        }
        Ok(busy)
    }

    /// What it has to say.
    pub(super) fn reply(&mut self) -> Option<Bytes> {
        let machine = self.machine.as_mut()?;
        machine.has_reply().then(|| machine.take_reply())
    }

    pub(super) fn wake(&self) -> Option<Duration> {
        let working = self.working.as_ref().map(|(at, ..)| *at);
        let settling = self.settling.front().map(|(at, _)| *at);
        working.into_iter().chain(settling).min()
    }

    /// It ends: what was begun is settled, and its sessions are kept.
    pub(super) fn end(mut self, hub: &HubSide) -> Result<(), String> {
        let Some(mut machine) = self.machine.take() else {
            return Ok(());
        };
        if let Some((_, receiver, done)) = self.working.take() {
            let (stored, so_far) = machine.worked(receiver, done);
            so_far.map_err(|ended| ended.to_string())?;
            self.settling
                .extend(stored.into_iter().map(|stored| (Duration::ZERO, stored)));
        }
        let synced = hub.store.sync();
        for (_, stored) in self.settling {
            // Said in the log, and the edge sends it again.
            let _ = machine.settled(stored, synced.clone());
        }
        machine.end(synced.is_ok());
        Ok(())
    }
}
