//! Crashes at every write: the outbox on its journal on a disk that forgets what was not synced, with Alertmanagers that
//! come and go. Whatever was confirmed to a sender has to arrive at every Alertmanager, resolved ones included.

use std::collections::BTreeMap;
use std::path::Path;

use journal::sim::SimDisk;

use super::*;
use crate::store::{Performed, Store};

const AMS: [&str; 2] = ["http://am1:9093", "http://am2:9093"];
const ALERTS: usize = 4;
const ROUNDS: usize = 5;

struct Sim {
    disk: SimDisk,
    store: Option<Store>,
    now: Now,
    sends: Vec<(DestinationId, Batch)>,
    random: Random,
    /// What the source was told is kept: the last state of each alert.
    confirmed: BTreeMap<String, bool>,
    /// What each Alertmanager knows: alert to resolved.
    known: BTreeMap<DestinationId, BTreeMap<String, bool>>,
    rewrites: bool,
    /// The journal had lost records.
    damaged: bool,
    crashes: u32,
}

fn name(i: usize) -> String {
    format!("A{i}")
}

impl Sim {
    fn new(seed: u64) -> Self {
        Sim {
            disk: SimDisk::new(seed),
            store: None,
            now: Now {
                wall: Timestamp::from_millis(1_000_000),
                elapsed: Duration::ZERO,
            },
            sends: Vec::new(),
            random: Random(seed),
            confirmed: BTreeMap::new(),
            known: BTreeMap::new(),
            rewrites: seed.is_multiple_of(2),
            damaged: false,
            crashes: 0,
        }
    }

    fn open(&mut self) {
        let destinations = AMS
            .iter()
            .map(|url| DestinationId::alertmanager(*url))
            .collect();
        let disk = std::sync::Arc::new(self.disk.clone());
        let opened = Store::open(
            disk,
            Path::new("/data/outbox"),
            Limits::default(),
            1,
            destinations,
            self.now,
        );
        let Ok((store, performed, found)) = opened else {
            return self.crash();
        };
        self.damaged |= !found.unreadable.is_empty() || !found.recovery.damage.is_empty();
        self.store = Some(store);
        self.take(performed);
    }

    /// The process and everything in its memory is gone, requests under way too.
    fn crash(&mut self) {
        self.store = None;
        self.sends.clear();
        self.crashes += 1;
        self.disk.crash();
    }

    /// Whether it was confirmed.
    fn take(&mut self, performed: Performed) -> bool {
        let kept = match performed.commit {
            Ok(None) => true,
            Ok(Some(commit)) => commit.wait().is_ok(),
            Err(_) => false,
        };
        self.sends.extend(performed.sends);
        if self.disk.is_down() {
            self.crash();
        }
        kept
    }

    fn handle(&mut self, event: Event) -> bool {
        if self.store.is_none() {
            self.open();
        }
        let now = self.now;
        let Some(store) = &mut self.store else {
            return false;
        };
        let performed = store.handle(event, now);
        if self.rewrites && store.rewrite().is_err() {
            assert!(
                self.disk.is_down(),
                "a rewrite fails only when the power does"
            );
        }
        self.take(performed)
    }

    /// The source tells the state of an alert, again and again until it is confirmed.
    fn report(&mut self, alert: usize, resolved: bool) {
        for _ in 0..100 {
            let ends_at = match resolved {
                true => self.now.wall,
                false => self.now.wall.saturating_add(Duration::from_secs(100_000)),
            };
            let report = Alert {
                labels: LabelSet::from_pairs([("alertname", name(alert))]).unwrap(),
                annotations: BTreeMap::new(),
                starts_at: Timestamp::from_millis(0),
                ends_at: Some(ends_at),
                generator_url: String::new(),
            };
            if self.handle(Event::Alerts(vec![report])) {
                self.confirmed.insert(name(alert), resolved);
                return;
            }
        }
        panic!("never confirmed");
    }

    /// Requests that are under way come to their end; `healthy` Alertmanagers take what they get.
    fn answer(&mut self, healthy: bool) {
        let crashes = self.crashes;
        for (destination, batch) in std::mem::take(&mut self.sends) {
            if self.crashes > crashes {
                // These were the dead process's: their connections are gone with it.
                return;
            }
            let up = healthy || self.random.unit() < 0.5;
            let Content::Alerts(alerts) = batch.content else {
                panic!()
            };
            if up {
                let known = self.known.entry(destination.clone()).or_default();
                for alert in alerts {
                    let resolved = alert.is_resolved(self.now.wall);
                    known.insert(alert.labels.get("alertname").unwrap().to_owned(), resolved);
                }
            }
            let outcome = if up {
                Outcome::Acknowledged
            } else {
                Outcome::Failed("away".to_owned())
            };
            self.handle(Event::Outcome {
                destination,
                outcome,
            });
        }
    }

    fn pass(&mut self, seconds: u64) {
        self.now.wall = self.now.wall.saturating_add(Duration::from_secs(seconds));
        self.now.elapsed += Duration::from_secs(seconds);
        self.handle(Event::Wake);
    }
}

/// One run with the power going at the `crash_at`-th change; says what an Alertmanager does not know in the end.
fn run(seed: u64, crash_at: Option<u64>, lying_disk: bool) -> (Result<(), String>, u64) {
    let mut sim = Sim::new(seed);
    sim.disk.ignore_syncs(lying_disk);
    sim.disk.crash_after(crash_at);
    for round in 0..ROUNDS {
        for alert in 0..ALERTS {
            sim.report(alert, (round + alert) % 3 == 2);
            sim.answer(false);
        }
        sim.pass(30);
    }
    let changes = sim.disk.changes();
    if lying_disk {
        // The source has been told that all is kept and says nothing more.
        sim.crash();
    }
    for _ in 0..10 {
        sim.pass(61);
        sim.answer(true);
    }
    if sim.damaged {
        return (Err("the journal is damaged".to_owned()), changes);
    }
    for url in AMS {
        let known = sim
            .known
            .remove(&DestinationId::alertmanager(url))
            .unwrap_or_default();
        if known != sim.confirmed {
            return (
                Err(format!(
                    "{url} knows {known:?}, confirmed is {:?}",
                    sim.confirmed
                )),
                changes,
            );
        }
    }
    (Ok(()), changes)
}

#[test]
fn nothing_confirmed_is_lost_wherever_the_power_goes() {
    for seed in 1..=2 {
        let (result, changes) = run(seed, None, false);
        assert_eq!(result, Ok(()), "seed {seed}, no crash");
        assert!(changes > 40, "{changes}");
        for crash_at in 1..=changes {
            let (result, _) = run(seed, Some(crash_at), false);
            assert_eq!(result, Ok(()), "seed {seed}, crash at change {crash_at}");
        }
    }
}

#[test]
fn without_fsync_the_same_check_fails() {
    let lost = (1..=4)
        .filter(|seed| run(*seed, None, true).0.is_err())
        .count();
    assert!(lost > 0, "a disk that ignores fsync has to be caught");
}
