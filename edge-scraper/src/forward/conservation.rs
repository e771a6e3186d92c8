//! The promise "no silent loss", played through from one seed: scrapes, cuts, crashes of the edge, lost, refused and
//! doubled answers, requests that come twice, over a disk that forgets what was not synced. A foreign endpoint takes the new samples
//! of a series in their order only.
//!
//! The same play on a disk whose fsync does nothing must fail: that is what the last test shows.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use daemon::{Clock, SimClock};
use journal::sim::SimDisk;
use wire::remote_write::{Limits, compress, decode};

use super::shipper::{Content, Outcome, Shipper, ShipperOptions, Step, Verdict};
use super::tests::{NOW, answer, scrape};
use crate::buffer::{Buffer, BufferOptions, Counts, EvictionPolicy, RecordMeta};

const HUB: &str = "hq";
/// A scrape with exactly this many samples is refused by the hub, whatever stands beside it.
const REFUSED_SAMPLES: u64 = 13;

#[derive(Clone, Copy)]
struct Plot {
    bytes_max: u64,
    own_hub: bool,
    refuses: bool,
    disk_lies: bool,
    thins: bool,
}

impl Plot {
    fn eviction(&self) -> EvictionPolicy {
        EvictionPolicy {
            thin_to_every: self.thins.then_some(3),
            ..EvictionPolicy::default()
        }
    }
}

struct Rng(u64);

impl Rng {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }
}

/// A request on its way.
#[derive(Clone)]
struct Wire {
    id: u64,
    records: Vec<RecordMeta>,
    body: Vec<u8>,
}

struct World {
    plot: Plot,
    rng: Rng,
    disk: SimDisk,
    clock: SimClock,
    buffer: Buffer,
    shipper: Shipper,
    wire: Vec<Wire>,
    /// What the hub has stored: series and time of every sample.
    stored: BTreeSet<(String, i64)>,
    /// The newest of each series.
    newest: BTreeMap<String, i64>,
    /// Requests that something between has sent again, and that are still to come.
    copies: Vec<Wire>,
    /// How many of them came.
    came_twice: u64,
    /// What was appended, in order; of those, how many were reported as synced.
    appended: Vec<u64>,
    promised: usize,
    /// Samples that must not have been acknowledged: refused ones.
    refused: BTreeSet<(String, i64)>,
}

fn open(plot: Plot, disk: &SimDisk, clock: &SimClock) -> Result<Buffer, String> {
    let options = BufferOptions {
        bytes_max: plot.bytes_max,
        eviction: plot.eviction(),
        sync_bound: None,
        edge: "b07".into(),
        downtime_least: Duration::from_secs(60),
        epoch_if_new: Some(7),
        save_bound: Duration::from_secs(3),
    };
    let buffer = Buffer::open(
        Arc::new(disk.clone()),
        Path::new("/edge"),
        options,
        Arc::new(clock.clone()),
    );
    let buffer = buffer.map_err(|error| error.to_string())?;
    buffer.attach(HUB).map_err(|error| error.to_string())?;
    Ok(buffer)
}

impl World {
    fn new(plot: Plot, seed: u64) -> Result<World, String> {
        let disk = SimDisk::new(seed);
        disk.ignore_syncs(plot.disk_lies);
        let clock = SimClock::new(NOW);
        Ok(World {
            plot,
            rng: Rng(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1),
            buffer: open(plot, &disk, &clock)?,
            disk,
            clock,
            shipper: Shipper::new(ShipperOptions::default()),
            wire: Vec::new(),
            stored: BTreeSet::new(),
            newest: BTreeMap::new(),
            copies: Vec::new(),
            came_twice: 0,
            appended: Vec::new(),
            promised: 0,
            refused: BTreeSet::new(),
        })
    }

    fn step(&mut self) -> Result<(), String> {
        match self.rng.below(100) {
            0..30 => {
                // No two scrapes at the same time, so that every sample is a fact of its own.
                self.clock
                    .advance(Duration::from_millis(1 + self.rng.below(4000)));
                // A small buffer has to become full.
                let most = if self.plot.bytes_max < 1 << 20 {
                    150
                } else {
                    60
                };
                let samples = 1 + self.rng.below(most);
                self.buffer
                    .append(&scrape(self.clock.now(), samples as usize))
                    .map_err(|e| e.to_string())?;
                self.appended.push(samples);
                self.shipper.news();
            }
            30..45 => self.sync()?,
            45..70 => self.send()?,
            70..92 => {
                let outcome = self.rng.below(10);
                self.answer(outcome)?;
            }
            92..95 => self.clock.advance(Duration::from_secs(self.rng.below(30))),
            95..97 => self.restart(false)?,
            97 => self.restart(true)?,
            _ => {
                // A cut: nothing that is under way comes back.
                while !self.wire.is_empty() {
                    let lost = 5 + self.rng.below(2);
                    self.answer(lost)?;
                }
            }
        }
        self.check()
    }

    fn sync(&mut self) -> Result<(), String> {
        self.buffer.sync().map_err(|error| error.to_string())?;
        self.promised = self.appended.len();
        Ok(())
    }

    fn send(&mut self) -> Result<(), String> {
        let ask = match self.shipper.next(self.clock.elapsed(), self.clock.now()) {
            Step::Ask(ask) => ask,
            Step::Wait(until) => {
                if let Some(until) = until {
                    self.clock
                        .advance(until.saturating_sub(self.clock.elapsed()));
                }
                return Ok(());
            }
        };
        let chosen = match &ask.content {
            Content::Hello => Vec::new(),
            Content::Exactly(records) => records.clone(),
            Content::Choose(want) => self
                .buffer
                .select(HUB, *want, &self.shipper.in_flight(), &ask.limits)
                .map_err(|error| error.to_string())?,
        };
        let batch = self
            .buffer
            .load(&chosen)
            .map_err(|error| error.to_string())?;
        if batch.records.is_empty() && ask.content != Content::Hello {
            self.shipper.nothing(&ask, self.clock.elapsed());
            return Ok(());
        }
        let id = self
            .shipper
            .sent(&ask, batch.records.clone(), self.clock.elapsed());
        self.wire.push(Wire {
            id,
            records: batch.records,
            body: compress(&batch.message),
        });
        Ok(())
    }

    /// What becomes of one of the requests under way: 0 to 4 answered, 5 lost with its answer, 6 lost before the hub,
    /// 7 too much at the moment, 8 answered twice, 9 refused at the door.
    fn answer(&mut self, outcome: u64) -> Result<(), String> {
        if self.wire.is_empty() {
            return Ok(());
        }
        let at = self.rng.below(self.wire.len() as u64) as usize;
        let wire = self.wire.remove(at);
        self.clock
            .advance(Duration::from_millis(self.rng.below(3000)));
        let own = self.plot.own_hub;
        let arrives = !matches!(outcome, 6 | 7 | 9);
        let status = if arrives { self.store(&wire)? } else { 0 };
        if arrives && self.rng.one_in(8) {
            self.copies.push(wire.clone());
        }
        if !self.copies.is_empty() && self.rng.one_in(4) {
            let at = self.rng.below(self.copies.len() as u64) as usize;
            let copy = self.copies.swap_remove(at);
            self.came_twice += 1;
            // Nobody waits for this answer.
            self.store(&copy)?;
        }
        let told = match outcome {
            5 => Outcome::TimedOut(Duration::from_secs(10)),
            6 => Outcome::Failed("connection reset".into()),
            7 => answer(503, own),
            9 if own => answer(401, own),
            9 => answer(429, own),
            _ => answer(status, own),
        };
        self.settle(&wire, &told)?;
        if outcome == 8 {
            self.settle(&wire, &told)?;
        }
        Ok(())
    }

    /// The hub takes a request, whole or not at all.
    fn store(&mut self, wire: &Wire) -> Result<u16, String> {
        let request =
            decode(&wire.body, &Limits::default()).expect("what the edge sends can be read");
        let samples = request.timeseries.iter().map(|series| {
            let name: Vec<&str> = series
                .labels
                .iter()
                .map(|label| label.value.as_str())
                .collect();
            (name.join(","), series.samples[0].timestamp)
        });
        let samples: Vec<(String, i64)> = samples.collect();
        let refused =
            |record: &RecordMeta| self.plot.refuses && record.counts.samples == REFUSED_SAMPLES;
        if wire.records.iter().any(refused) {
            let bad: Vec<i64> = wire
                .records
                .iter()
                .filter(|r| refused(r))
                .map(|record| record.at.millis())
                .collect();
            self.refused
                .extend(samples.into_iter().filter(|(_, at)| bad.contains(at)));
            return Ok(400);
        }
        for (series, at) in samples {
            let newest = self.newest.entry(series.clone()).or_insert(at);
            let is_new = self.stored.insert((series.clone(), at));
            if is_new && at < *newest && !self.plot.own_hub {
                return Err(format!("{series} at {at} comes after that at {newest}"));
            }
            *newest = at.max(*newest);
        }
        Ok(204)
    }

    fn settle(&mut self, wire: &Wire, outcome: &Outcome) -> Result<(), String> {
        let random = self.rng.below(1000) as f64 / 1000.0;
        let written = match self
            .shipper
            .settle(wire.id, outcome, self.clock.elapsed(), random)
        {
            Verdict::Acknowledged(records) => self.buffer.acknowledge(HUB, &records),
            Verdict::Quarantined(records, _) => self.buffer.quarantine(HUB, &records),
            Verdict::Kept => Ok(()),
        };
        written.map_err(|error| error.to_string())
    }

    /// The edge ends, in order or not, and starts again. What is on the wire may still reach the hub.
    fn restart(&mut self, in_order: bool) -> Result<(), String> {
        while let Some(wire) = self.wire.pop() {
            if self.rng.one_in(2) {
                self.store(&wire)?;
            }
        }
        if in_order {
            self.sync()?;
            self.buffer.save().map_err(|error| error.to_string())?;
        }
        self.disk.crash();
        self.buffer = open(self.plot, &self.disk, &self.clock)?;
        self.shipper = Shipper::new(ShipperOptions::default());
        let scraped = self.books()?.scraped.samples;
        let mut sum = 0;
        let kept = std::iter::once(0).chain(self.appended.iter().map(|samples| {
            sum += samples;
            sum
        }));
        let kept = kept
            .collect::<Vec<u64>>()
            .iter()
            .rposition(|sum| *sum == scraped);
        match kept {
            Some(kept) if kept >= self.promised => self.appended.truncate(kept),
            _ => {
                return Err(format!(
                    "{} scrapes were reported as synced; after the crash {kept:?} are there",
                    self.promised
                ));
            }
        }
        self.promised = self.appended.len();
        Ok(())
    }

    fn books(&self) -> Result<crate::buffer::HubCounts, String> {
        self.buffer.counts(HUB).map_err(|error| error.to_string())
    }

    fn check(&self) -> Result<(), String> {
        let books = self.books()?;
        if !books.balance() {
            return Err(format!("the books do not add up: {books:?}"));
        }
        if books.damaged != Counts::default() {
            return Err(format!("records are missing: {books:?}"));
        }
        let synced: u64 = self.appended[..self.promised].iter().sum();
        if books.scraped.samples < synced {
            return Err(format!(
                "{synced} samples were synced, the books say {}",
                books.scraped.samples
            ));
        }
        if books.acknowledged.samples > self.stored.len() as u64 {
            let stored = self.stored.len();
            return Err(format!(
                "{} samples acknowledged, the hub has {stored}",
                books.acknowledged.samples
            ));
        }
        Ok(())
    }

    /// The link stays up until nothing is pending; then both sides must have the same.
    fn drain(&mut self) -> Result<(), String> {
        self.sync()?;
        for round in 0..20_000 {
            // Scrapes move from the live lane's share to the backlog's with time.
            if round % 10 == 0 {
                self.shipper.news();
            }
            self.send()?;
            self.answer(0)?;
            if self.books()?.pending.records == 0 && self.wire.is_empty() {
                return self.compare();
            }
        }
        Err(format!("not drained: {:?}", self.books()?))
    }

    fn compare(&self) -> Result<(), String> {
        self.check()?;
        let books = self.books()?;
        // What is left of a scrape that was thinned is another one, which may be refused, or not be refused any more.
        if !self.plot.thins && self.stored.intersection(&self.refused).next().is_some() {
            return Err("a refused sample is stored".into());
        }
        let stored = self.stored.len() as u64;
        let all: u64 = self.appended.iter().sum();
        if books.scraped.samples != all {
            return Err(format!("{all} samples scraped, the books say {books:?}"));
        }
        // What was evicted, or refused together with others, after its answer was lost, is at the hub and yet not counted
        // as acknowledged. Never the other way round.
        let unsure = books.evicted + books.quarantined;
        let known = books.acknowledged.samples..=books.acknowledged.samples + unsure.samples;
        if !known.contains(&stored) {
            return Err(format!(
                "the hub has {stored} samples, the books say {books:?}"
            ));
        }
        if unsure == Counts::default() && stored != all {
            return Err(format!("the hub has {stored} of {all} samples, {books:?}"));
        }
        Ok(())
    }
}

fn play(plot: Plot, seed: u64, steps: usize) -> Result<World, String> {
    let mut world = World::new(plot, seed)?;
    for step in 0..steps {
        world
            .step()
            .map_err(|error| format!("seed {seed}, step {step}: {error}"))?;
    }
    world
        .drain()
        .map_err(|error| format!("seed {seed}, draining: {error}"))?;
    Ok(world)
}

const PLAIN: Plot = Plot {
    bytes_max: 1 << 30,
    own_hub: true,
    refuses: false,
    disk_lies: false,
    thins: false,
};

#[test]
fn nothing_is_lost_towards_an_own_hub() {
    for seed in 1..=20 {
        let world = play(PLAIN, seed, 400).unwrap();
        assert_eq!(
            world.stored.len() as u64,
            world.appended.iter().sum::<u64>()
        );
    }
}

#[test]
fn nothing_is_lost_towards_a_foreign_endpoint() {
    let foreign = Plot {
        own_hub: false,
        ..PLAIN
    };
    let mut came_twice = 0;
    for seed in 1..=20 {
        came_twice += play(foreign, seed, 400).unwrap().came_twice;
    }
    assert!(came_twice > 50, "{came_twice}");
}

#[test]
fn refused_scrapes_are_quarantined_and_the_others_arrive() {
    let mut quarantined = 0;
    for seed in 1..=20 {
        let world = play(
            Plot {
                refuses: true,
                own_hub: seed % 2 == 0,
                ..PLAIN
            },
            seed,
            400,
        )
        .unwrap();
        quarantined += world.books().unwrap().quarantined.samples;
    }
    assert!(quarantined > 0);
}

#[test]
fn over_the_cap_the_books_still_add_up() {
    let mut evicted = 0;
    for seed in 1..=6 {
        let plot = Plot {
            bytes_max: 256 << 10,
            refuses: seed % 2 == 0,
            own_hub: seed % 3 > 0,
            ..PLAIN
        };
        let world = play(plot, seed, 2500).unwrap();
        evicted += world.books().unwrap().evicted.samples;
    }
    assert!(evicted > 0);
}

#[test]
fn thinned_over_the_cap_the_books_still_add_up() {
    let mut thinned = 0;
    for seed in 1..=6 {
        let plot = Plot {
            bytes_max: 256 << 10,
            refuses: seed % 2 == 0,
            own_hub: seed % 3 > 0,
            thins: true,
            ..PLAIN
        };
        let world = play(plot, seed, 2500).unwrap();
        thinned += world.books().unwrap().thinned.samples;
    }
    assert!(thinned > 0);
}

#[test]
fn a_disk_that_does_not_sync_is_caught() {
    let caught = (1..=20)
        .filter(|seed| {
            play(
                Plot {
                    disk_lies: true,
                    ..PLAIN
                },
                *seed,
                400,
            )
            .is_err()
        })
        .count();
    assert!(
        caught > 15,
        "only {caught} of 20 plays failed without fsync"
    );
}
