//! The outbox: for every destination, the latest state of everything that it has not acknowledged yet.
//!
//! Not a queue: a newer report of an alert takes the place of the older one, so that a destination that was away for
//! an hour gets one message an alert, the true one. What leaves:
//!
//! - an entry that its destination has acknowledged, if nothing newer has come meanwhile;
//! - a firing alert whose `endsAt` has passed: its source does not keep it alive any more, and an Alertmanager that had
//!   it lets it expire at the same moment. `endsAt` is never moved here;
//! - a resolved alert or a notice that could not be delivered for its whole retention (counted, logged);
//! - an entry that its destination refuses even on its own (counted, logged, shown with the reason).
//!
//! Firing alerts stay known until `endsAt` after they were acknowledged, to be sent again to an Alertmanager that had
//! been away: it forgets its alerts when it restarts.
//!
//! A state machine: [`Event`]s in, [`Action`]s out, time as an argument ([`Now`]). It performs nothing itself.
//! Memory is bounded by [`Limits`]; beyond them, entries that are not known yet are refused and the sender keeps them.

mod lane;
mod record;
mod status;

#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use model::{Alert, LabelSet, Timestamp};
use wire::alertmanager::{Webhook, WebhookAlert};

use lane::Lane;
pub(crate) use lane::{Batch, Content, Outcome};
pub use lane::{DestinationId, DestinationKind};
pub(crate) use record::Record;
pub use status::{DestinationStatus, EntryStatus, LaneState, OutboxStatus};

/// Bounds of the outbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Most alerts and notices known at a time.
    pub entries_max: usize,
    /// Most bytes of them, as they are sent.
    pub bytes_max: usize,
    /// Most alerts in one request to a destination.
    pub batch_alerts_max: usize,
    /// How long a resolved alert or a notice is tried.
    pub retention: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            entries_max: 100_000,
            bytes_max: 256 << 20,
            batch_alerts_max: 256,
            retention: Duration::from_secs(24 * 3600),
        }
    }
}

/// Both times: the wall clock for what alerts say, the monotonic one for waiting.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Now {
    /// Wall clock.
    pub(crate) wall: Timestamp,
    /// Since some fixed start.
    pub(crate) elapsed: Duration,
}

/// What can happen.
#[derive(Debug)]
pub(crate) enum Event {
    /// Alerts were reported, for every Alertmanager.
    Alerts(Vec<Alert>),
    /// An Alertmanager has notified: alerts for one contact each, with what the message says about the group.
    Notice {
        contact: DestinationId,
        message: Box<Webhook>,
    },
    /// A batch has come to its end.
    Outcome {
        destination: DestinationId,
        outcome: Outcome,
    },
    /// The configuration names these destinations from now on.
    Destinations(Vec<DestinationId>),
    /// Time has passed.
    Wake,
}

/// What is to be done.
#[derive(Debug)]
pub(crate) enum Action {
    /// Keep this durably.
    Write(Record),
    /// Deliver this, and report an [`Outcome`].
    Send {
        destination: DestinationId,
        batch: Batch,
    },
}

/// What came of an event.
#[derive(Debug, Default)]
pub(crate) struct Step {
    /// In this order.
    pub(crate) actions: Vec<Action>,
    /// Entries that were not taken because the outbox is full.
    pub(crate) refused: usize,
    /// Entries that left before a destination took them, counted once for every destination.
    pub(crate) expired: usize,
    /// When to come back with [`Event::Wake`] at the latest.
    pub(crate) wake_in: Option<Duration>,
}

/// Identity of an entry.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Key {
    /// An alert, for every Alertmanager.
    Alert(LabelSet),
    /// An alert within a notification, for one contact.
    Notice {
        contact: DestinationId,
        group_key: String,
        labels: BTreeMap<String, String>,
    },
}

/// What is sent.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Payload {
    Alert(Alert),
    /// The alert, and the message it came in without its alerts.
    Notice {
        alert: WebhookAlert,
        frame: Arc<Webhook>,
    },
}

/// Rising number of an entry; also its identity in the journal.
pub(crate) type EntryId = u64;
/// Rising number of a state: a newer one of any entry has a greater number.
pub(crate) type Version = u64;

#[derive(Clone, Debug)]
struct Entry {
    key: Key,
    payload: Payload,
    version: Version,
    received_at: Timestamp,
    /// When it leaves even if not delivered.
    expires_at: Timestamp,
    /// It fires: it stays known after it was delivered.
    firing: bool,
    bytes: usize,
    /// Destinations that have not acknowledged this version.
    pending: BTreeSet<DestinationId>,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Outbox {
    limits: Limits,
    entries: BTreeMap<EntryId, Entry>,
    by_key: HashMap<Key, EntryId>,
    by_expiry: BTreeSet<(Timestamp, EntryId)>,
    lanes: BTreeMap<DestinationId, Lane>,
    bytes: usize,
    next_id: EntryId,
    next_version: Version,
    random: Random,
}

impl Outbox {
    /// An empty one; `seed` is for the jitter of the back-off.
    pub(crate) fn new(limits: Limits, seed: u64) -> Self {
        Outbox {
            limits,
            entries: BTreeMap::new(),
            by_key: HashMap::new(),
            by_expiry: BTreeSet::new(),
            lanes: BTreeMap::new(),
            bytes: 0,
            next_id: 1,
            next_version: 1,
            random: Random(seed),
        }
    }

    /// What the records of a journal left, oldest first. Alerts that fire are pending everywhere again: nobody knows what
    /// happened to the Alertmanagers meanwhile.
    pub(crate) fn restored(
        limits: Limits,
        seed: u64,
        records: impl IntoIterator<Item = Record>,
        destinations: Vec<DestinationId>,
        now: Now,
    ) -> (Self, Step) {
        let mut outbox = Outbox::new(limits, seed);
        for record in records {
            outbox.replay(record);
        }
        let step = outbox.handle(Event::Destinations(destinations), now);
        for destination in outbox.alertmanagers() {
            outbox.resend_firing(&destination);
        }
        let mut again = outbox.handle(Event::Wake, now);
        again.actions.splice(0..0, step.actions);
        (outbox, again)
    }

    /// Takes an event; see [`Event`] and [`Action`].
    pub(crate) fn handle(&mut self, event: Event, now: Now) -> Step {
        let mut step = Step::default();
        self.expire(now, &mut step);
        match event {
            Event::Alerts(alerts) => {
                for alert in alerts {
                    self.take_alert(alert, now, &mut step);
                }
            }
            Event::Notice { contact, message } => {
                self.take_notice(contact, *message, now, &mut step)
            }
            Event::Outcome {
                destination,
                outcome,
            } => {
                self.outcome(&destination, outcome, now, &mut step);
            }
            Event::Destinations(destinations) => self.set_destinations(destinations),
            Event::Wake => {}
        }
        self.send(now, &mut step);
        step.wake_in = self.wake_in(now);
        step
    }

    fn take_alert(&mut self, alert: Alert, now: Now, step: &mut Step) {
        let key = Key::Alert(alert.labels.clone());
        let resolved = alert.is_resolved(now.wall);
        let until = match alert.ends_at {
            Some(ends_at) if !resolved => ends_at,
            _ => now.wall.saturating_add(self.limits.retention),
        };
        let pending = self.alertmanagers();
        self.put(
            key,
            Payload::Alert(alert),
            !resolved,
            until,
            pending,
            now,
            step,
        );
    }

    fn take_notice(
        &mut self,
        contact: DestinationId,
        mut message: Webhook,
        now: Now,
        step: &mut Step,
    ) {
        let alerts = std::mem::take(&mut message.alerts);
        let until = now.wall.saturating_add(self.limits.retention);
        let frame = Arc::new(message);
        for alert in alerts {
            let key = Key::Notice {
                contact: contact.clone(),
                group_key: frame.group_key.clone(),
                labels: alert.labels.clone(),
            };
            let payload = Payload::Notice {
                alert,
                frame: Arc::clone(&frame),
            };
            self.put(
                key,
                payload,
                false,
                until,
                [contact.clone()].into(),
                now,
                step,
            );
        }
    }

    #[expect(clippy::too_many_arguments, reason = "the parts of one entry")]
    fn put(
        &mut self,
        key: Key,
        payload: Payload,
        firing: bool,
        expires_at: Timestamp,
        pending: BTreeSet<DestinationId>,
        now: Now,
        step: &mut Step,
    ) {
        let known = self.by_key.get(&key).copied();
        let bytes = record::payload_bytes(&payload);
        let full = match known.and_then(|id| self.entries.get(&id)) {
            // What is known already may change: a full outbox must not keep an alert from being resolved.
            Some(old) => self.bytes - old.bytes + bytes > self.limits.bytes_max.saturating_mul(2),
            None => {
                self.entries.len() >= self.limits.entries_max
                    || self.bytes + bytes > self.limits.bytes_max
            }
        };
        if full {
            step.refused += 1;
            return;
        }
        let id = known.unwrap_or(self.next_id);
        let version = self.next_version;
        let received_at = now.wall;
        let entry = Entry {
            key,
            payload,
            version,
            received_at,
            expires_at,
            firing,
            bytes,
            pending,
        };
        step.actions.push(Action::Write(Record::put(id, &entry)));
        self.insert(id, entry);
    }

    /// Puts an entry in the place of an older one of the same identity, if there is one.
    fn insert(&mut self, id: EntryId, entry: Entry) {
        self.remove(id);
        self.next_id = self.next_id.max(id + 1);
        self.next_version = self.next_version.max(entry.version + 1);
        for destination in &entry.pending {
            let lane = self.lanes.entry(destination.clone()).or_default();
            lane.pending.insert(entry.version, id);
        }
        self.bytes += entry.bytes;
        self.by_key.insert(entry.key.clone(), id);
        self.by_expiry.insert((entry.expires_at, id));
        self.entries.insert(id, entry);
        self.drop_if_done(id);
    }

    fn remove(&mut self, id: EntryId) -> Option<Entry> {
        let entry = self.entries.remove(&id)?;
        for destination in &entry.pending {
            if let Some(lane) = self.lanes.get_mut(destination) {
                lane.pending.remove(&entry.version);
                lane.alone.remove(&id);
            }
        }
        self.bytes -= entry.bytes;
        self.by_key.remove(&entry.key);
        self.by_expiry.remove(&(entry.expires_at, id));
        Some(entry)
    }

    /// A delivered entry leaves, unless it fires.
    fn drop_if_done(&mut self, id: EntryId) {
        if self
            .entries
            .get(&id)
            .is_some_and(|e| e.pending.is_empty() && !e.firing)
        {
            self.remove(id);
        }
    }

    fn settle(&mut self, id: EntryId, version: Version, destination: &DestinationId) -> bool {
        let Some(entry) = self.entries.get_mut(&id).filter(|e| e.version == version) else {
            return false;
        };
        if !entry.pending.remove(destination) {
            return false;
        }
        if let Some(lane) = self.lanes.get_mut(destination) {
            lane.pending.remove(&version);
            lane.alone.remove(&id);
        }
        self.drop_if_done(id);
        true
    }

    fn expire(&mut self, now: Now, step: &mut Step) {
        while let Some((at, id)) = self
            .by_expiry
            .first()
            .copied()
            .filter(|(at, _)| *at <= now.wall)
        {
            let Some(entry) = self.remove(id) else {
                self.by_expiry.remove(&(at, id));
                continue;
            };
            for destination in &entry.pending {
                if let Some(lane) = self.lanes.get_mut(destination) {
                    lane.expired += 1;
                    step.expired += 1;
                }
            }
        }
    }

    fn set_destinations(&mut self, destinations: Vec<DestinationId>) {
        let wanted: BTreeSet<DestinationId> = destinations.into_iter().collect();
        let gone: Vec<_> = self
            .lanes
            .keys()
            .filter(|d| !wanted.contains(*d))
            .cloned()
            .collect();
        for destination in gone {
            let lane = self.lanes.remove(&destination).unwrap_or_default();
            for (version, id) in lane.pending {
                self.settle(id, version, &destination);
            }
        }
        for destination in wanted {
            if self.lanes.contains_key(&destination) {
                continue;
            }
            self.lanes.insert(destination.clone(), Lane::default());
            self.resend_firing(&destination);
        }
    }

    /// Every firing alert is pending for the Alertmanager again.
    fn resend_firing(&mut self, destination: &DestinationId) {
        if destination.kind != DestinationKind::Alertmanager {
            return;
        }
        let lane = self.lanes.entry(destination.clone()).or_default();
        for (id, entry) in self.entries.iter_mut().filter(|(_, e)| e.firing) {
            if entry.pending.insert(destination.clone()) {
                lane.pending.insert(entry.version, *id);
            }
        }
    }

    fn outcome(
        &mut self,
        destination: &DestinationId,
        outcome: Outcome,
        now: Now,
        step: &mut Step,
    ) {
        // A destination that is gone, or an answer that nobody waits for.
        let Some(lane) = self.lanes.get_mut(destination) else {
            return;
        };
        let Some(sent) = lane.in_flight.take() else {
            return;
        };
        match outcome {
            Outcome::Acknowledged => {
                let was_away = lane.succeeded();
                lane.delivered += sent.len() as u64;
                for (id, version) in &sent {
                    self.settle(*id, *version, destination);
                }
                let record = Record::acknowledged(destination.clone(), sent);
                step.actions.push(Action::Write(record));
                if was_away {
                    self.resend_firing(destination);
                }
            }
            Outcome::Refused(reason) => {
                // It is there and has read it: no reason to wait.
                let was_away = lane.succeeded();
                lane.last_refusal = Some((now.wall, reason));
                if let [(id, version)] = sent[..] {
                    lane.refused += 1;
                    self.settle(id, version, destination);
                    let record = Record::acknowledged(destination.clone(), sent);
                    step.actions.push(Action::Write(record));
                } else {
                    // One of them is bad: one by one, so that the others arrive.
                    lane.alone.extend(sent.into_iter().map(|(id, _)| id));
                }
                if was_away {
                    self.resend_firing(destination);
                }
            }
            Outcome::Failed(reason) => {
                let jitter = self.random.unit();
                lane.failed(reason, now, jitter);
            }
        }
    }

    fn send(&mut self, now: Now, step: &mut Step) {
        for (destination, lane) in &mut self.lanes {
            if !lane.may_send(now) {
                continue;
            }
            let ids = lane.next_batch(&self.entries, self.limits.batch_alerts_max);
            let entries: Vec<(EntryId, &Entry)> = ids
                .iter()
                .filter_map(|id| Some((*id, self.entries.get(id)?)))
                .collect();
            let Some(batch) = Batch::new(&entries) else {
                continue;
            };
            lane.in_flight = Some(batch.entries.clone());
            step.actions.push(Action::Send {
                destination: destination.clone(),
                batch,
            });
        }
    }

    fn wake_in(&self, now: Now) -> Option<Duration> {
        let expiry = self
            .by_expiry
            .first()
            .map(|(at, _)| at.saturating_since(now.wall));
        let lanes = self.lanes.values().filter_map(|lane| lane.wake_in(now));
        lanes.chain(expiry).min()
    }

    fn alertmanagers(&self) -> BTreeSet<DestinationId> {
        let is = |d: &&DestinationId| d.kind == DestinationKind::Alertmanager;
        self.lanes.keys().filter(is).cloned().collect()
    }

    /// Takes what a journal has kept.
    fn replay(&mut self, record: Record) {
        match record {
            Record::Put(put) => {
                if let Some((id, entry)) = put.into_entry() {
                    // The same identity may have left and come back under another number.
                    if let Some(old) = self.by_key.get(&entry.key).copied() {
                        self.remove(old);
                    }
                    self.insert(id, entry);
                }
            }
            Record::Acknowledged {
                destination,
                entries,
            } => {
                for (id, version) in entries {
                    self.settle(id, version, &destination);
                }
            }
        }
    }

    /// Everything that is known, as records that restore it.
    pub(crate) fn snapshot(&self) -> impl Iterator<Item = Record> + '_ {
        self.entries
            .iter()
            .map(|(id, entry)| Record::put(*id, entry))
    }

    /// Bytes of everything that is known.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }
}

/// splitmix64: enough for jitter, and the same for the same seed.
#[derive(Debug)]
struct Random(u64);

impl Random {
    /// From 0 up to 1.
    fn unit(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }
}
