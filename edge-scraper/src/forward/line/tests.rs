//! The promise "no silent loss" on the line, played through from one seed: scrapes, cuts, silence, crashes of the edge, hubs that
//! restart, forget, store late, refuse, or come back from a backup; over a disk that forgets what was not synced.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use daemon::{Clock, SimClock};
use journal::sim::SimDisk;
use model::Matcher;
use wire::edge_headers::Lane;
use wire::line::link::{Echo, FromEdge, Has, Known, Records, Refused, Reply, UnknownFrame};
use wire::line::{Frame, LineDecoder, LineError, LineLimits, LineSink};

use super::lanes::{Lanes, Ready, resume};
use super::machine::{LineOptions, LineShipper, LineStep};
use crate::buffer::{BatchLimits, Buffer, BufferOptions, Counts, EvictionPolicy};
use crate::buffer::{FrameFound, SequenceSet, Want};
use crate::forward::LinkState;
use crate::forward::tests::{NOW, scrape};
use crate::planted::{self, Planted};
use crate::scrape::Scrape;

const HUB: &str = "hq";
/// A scrape with exactly this many samples is refused in part.
const REFUSED_SAMPLES: u64 = 13;
const TRIP: Duration = Duration::from_millis(30);

#[derive(Clone, Copy)]
pub(super) struct Plot {
    pub(super) bytes_max: u64,
    /// How much the disk holds.
    pub(super) capacity: Option<u64>,
    pub(super) refuses: bool,
    pub(super) disk_lies: bool,
    pub(super) backups: bool,
    pub(super) thin_to_every: Option<u32>,
    /// The first series of each scrape goes last.
    pub(super) keeps: bool,
    /// The power goes, also in the middle of things.
    pub(super) power_fails: bool,
    /// Somebody else fills the disk to the last byte now and then, and makes room again.
    pub(super) others_fill: bool,
}

impl Plot {
    /// Records are given up: scrapes are large, so that it happens soon.
    fn is_small(&self) -> bool {
        self.bytes_max < 1 << 20 || self.capacity.is_some()
    }

    fn eviction(&self) -> EvictionPolicy {
        EvictionPolicy {
            thin_to_every: self.thin_to_every,
            keep: match self.keeps {
                true => [vec![Matcher::equal("n", "0")]].into(),
                false => [].into(),
            },
        }
    }
}

pub(super) const PLAIN: Plot = Plot {
    bytes_max: 1 << 30,
    capacity: None,
    refuses: false,
    disk_lies: false,
    backups: false,
    thin_to_every: None,
    keeps: false,
    power_fails: false,
    others_fill: false,
};

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
}

/// A sample as a fact: its series, its time, its bits.
type Fact = (Vec<u8>, i64, u64);

#[derive(Default)]
struct Taken(Vec<Fact>);

impl LineSink for Taken {
    type Key = Vec<u8>;
    fn series(&mut self, labels: &[u8]) -> Vec<u8> {
        labels.to_vec()
    }
    fn sample(&mut self, key: &Vec<u8>, at: i64, value: f64) {
        self.0.push((key.clone(), at, value.to_bits()));
    }
    fn rest(&mut self, _: Vec<u8>) {}
}

/// What a hub keeps of an edge on its disk.
#[derive(Clone, Default)]
pub(super) struct HubDisk {
    pub(super) stored: BTreeSet<Fact>,
    pub(super) markers: BTreeSet<Fact>,
    records: SequenceSet,
}

/// A hub that does what `wire::line::link` says, in the simplest way.
#[derive(Default)]
pub(super) struct Hub {
    pub(super) disk: HubDisk,
    live: LineDecoder<Vec<u8>>,
    backlog: Vec<LineDecoder<Vec<u8>>>,
    refused: BTreeSet<u64>,
    /// Frames that built on the values of another session.
    carried: u32,
}

impl Hub {
    fn greet(&self, epoch: u64) -> Reply {
        let live = self.live.known(true);
        let others = self
            .backlog
            .iter()
            .filter_map(|decoder| decoder.known(false));
        let ranges = self.disk.records.ranges();
        Reply {
            hub: HUB.into(),
            known: live.into_iter().chain(others).collect::<Vec<Known>>(),
            has: Some(Has {
                epoch,
                records: ranges.map(Records::from).collect(),
                from: 0,
            }),
            ..Reply::default()
        }
    }

    fn frame(&mut self, lane: Lane, bytes: &[u8], refuses: bool) -> Result<Reply, LineError> {
        let limits = LineLimits::default();
        let frame = Frame::read(bytes, &limits)?;
        self.carried += u32::from(frame.carries());
        let mut taken = Taken::default();
        let decoded = match lane {
            Lane::Live => {
                if frame.starts() || frame.follows() {
                    self.retire();
                }
                self.live.decode(&frame, &limits, &mut taken)
            }
            Lane::Backlog => {
                let here = self.backlog.iter_mut().find(|decoder| {
                    decoder.session() == Some(frame.session) && decoder.next() == frame.number
                });
                match here {
                    Some(decoder) => decoder.decode(&frame, &limits, &mut taken),
                    None => {
                        let mut decoder = LineDecoder::new();
                        let decoded = decoder.decode(&frame, &limits, &mut taken);
                        if decoded.is_ok() {
                            self.keep(decoder);
                        }
                        decoded
                    }
                }
            }
        };
        let decoded = match decoded {
            Err(error) if error.is_session_unknown() => {
                let unknown = UnknownFrame {
                    session: frame.session,
                    number: frame.number,
                    live: lane == Lane::Live,
                };
                return Ok(Reply {
                    unknown: vec![unknown],
                    ..Reply::default()
                });
            }
            decoded => decoded?,
        };
        let records = Records {
            first: decoded.seq,
            last: decoded.seq,
        };
        if refuses && decoded.samples == REFUSED_SAMPLES {
            self.refused.insert(decoded.seq);
            return Ok(Reply {
                refused: vec![Refused {
                    records: Some(records),
                    samples: decoded.samples,
                    reason: "series-limit".into(),
                    text: String::new(),
                }],
                ..Reply::default()
            });
        }
        let is_marker = |fact: &Fact| model::is_stale(f64::from_bits(fact.2));
        let (markers, samples): (Vec<Fact>, _) = taken.0.into_iter().partition(is_marker);
        self.disk.stored.extend(samples);
        self.disk.markers.extend(markers);
        self.disk.records.insert(decoded.seq);
        Ok(Reply {
            taken: vec![records],
            ..Reply::default()
        })
    }

    fn retire(&mut self) {
        let live = self.live.clone();
        if live.session().is_some() {
            self.keep(live);
        }
    }

    fn keep(&mut self, decoder: LineDecoder<Vec<u8>>) {
        if self.backlog.len() >= 2 {
            self.backlog.remove(0);
        }
        self.backlog.push(decoder);
    }

    fn forget(&mut self) {
        self.live = LineDecoder::new();
        self.backlog.clear();
    }
}

/// A connection: messages on their way, with the time when they arrive.
struct Pipe {
    to_hub: VecDeque<(Duration, Bytes)>,
    to_edge: VecDeque<(Duration, Reply)>,
    greeted: bool,
    lanes: Lanes,
}

pub(super) struct World {
    pub(super) plot: Plot,
    rng: Rng,
    disk: SimDisk,
    clock: SimClock,
    buffer: Buffer,
    shipper: LineShipper,
    pub(super) hub: Hub,
    backup: HubDisk,
    pipe: Option<Pipe>,
    /// Nothing passes, in both directions; bytes are lost when the connection ends.
    is_cut: bool,
    /// What was scraped, by the order of scrapes.
    appended: Vec<u64>,
    /// How many of them were reported as synced.
    promised: usize,
    pub(super) restores: u32,
    /// The scrapes themselves, when they are thinned.
    pub(super) scrapes: Vec<Scrape>,
    /// Others have filled the disk.
    is_full: bool,
}

fn open(plot: Plot, disk: &SimDisk, clock: &SimClock) -> Result<Buffer, String> {
    let options = BufferOptions {
        bytes_max: plot.bytes_max,
        eviction: plot.eviction(),
        sync_bound: None,
        epoch_if_new: Some(7),
        save_bound: Duration::from_secs(3),
        edge: "b07".into(),
        downtime_least: Duration::from_secs(60),
    };
    let buffer = Buffer::open(
        Arc::new(disk.clone()),
        Path::new("/edge"),
        options,
        Arc::new(clock.clone()),
    );
    let buffer = buffer.map_err(|error| format!("opening: {error}"))?;
    buffer.attach(HUB).map_err(|error| error.to_string())?;
    Ok(buffer)
}

impl World {
    pub(super) fn new(plot: Plot, seed: u64) -> Result<World, String> {
        let disk = SimDisk::new(seed);
        disk.ignore_syncs(plot.disk_lies);
        disk.set_capacity(plot.capacity);
        let clock = SimClock::new(NOW);
        Ok(World {
            plot,
            rng: Rng(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1),
            buffer: open(plot, &disk, &clock)?,
            disk,
            clock,
            shipper: LineShipper::new(LineOptions::default()),
            hub: Hub::default(),
            backup: HubDisk::default(),
            pipe: None,
            is_cut: false,
            appended: Vec::new(),
            promised: 0,
            restores: 0,
            scrapes: Vec::new(),
            is_full: false,
        })
    }

    fn step(&mut self) -> Result<(), String> {
        if self.plot.power_fails && self.rng.below(10) == 0 {
            self.disk.crash_after(Some(1 + self.rng.below(60)));
        }
        if self.plot.others_fill && self.rng.below(8) == 0 {
            self.is_full = self.rng.below(3) > 0;
            // Some take what is freed, too.
            let takes_all = self.rng.below(3) == 0;
            let room = self.rng.below(2) * self.rng.below(3_000);
            let full = u64::from(!takes_all) * (self.disk.used_bytes() + room);
            self.disk.set_capacity(self.is_full.then_some(full));
        }
        match self.do_something() {
            Err(_) if self.disk.is_down() => self.restart(false)?,
            done => done?,
        }
        self.check()
    }

    fn do_something(&mut self) -> Result<(), String> {
        match self.rng.below(200) {
            0..60 => {
                self.clock
                    .advance(Duration::from_millis(1 + self.rng.below(3000)));
                let most = if self.plot.is_small() { 600 } else { 40 };
                let samples = 1 + self.rng.below(most);
                let mut scrape = scrape(self.clock.now(), samples as usize);
                scrape.target = self.rng.below(3);
                if self.plot.thin_to_every.is_some() || self.plot.keeps {
                    super::thinning_plays::some_series_end(&mut scrape);
                    self.scrapes.push(scrape.clone());
                }
                // Should the power go meanwhile, it may be there nevertheless.
                self.appended.push(samples);
                match self.buffer.append(&scrape) {
                    Err(_) if self.is_full && !self.disk.is_down() => {
                        self.appended.pop();
                        self.scrapes.pop();
                    }
                    done => done.map_err(|error| error.to_string())?,
                }
                if self.plot.thin_to_every.is_some() && self.rng.below(4) == 0 {
                    self.unless_full(self.buffer.tend())?;
                }
            }
            60..85 => self.sync()?,
            85..160 => {
                let time = Duration::from_millis(self.rng.below(2000));
                self.run(time)?;
            }
            160..168 => self.is_cut = true,
            // A small buffer is to become full of what waits.
            168..184 => self.is_cut &= self.plot.is_small() && self.rng.below(8) > 0,
            184..188 => self.pipe_breaks("reset"),
            188..191 => {
                // A hub that restarts knows no session any more.
                self.pipe_breaks("the hub restarts");
                self.hub.forget();
            }
            191..193 => self.hub.forget(),
            193 if self.plot.backups => self.backup = self.hub.disk.clone(),
            194 if self.plot.backups => {
                self.pipe_breaks("the hub is restored");
                self.hub.forget();
                self.hub.disk = self.backup.clone();
                self.restores += 1;
            }
            195..198 => self.restart(false)?,
            198 => self.restart(true)?,
            _ => self.clock.advance(Duration::from_secs(self.rng.below(40))),
        }
        Ok(())
    }

    fn sync(&mut self) -> Result<(), String> {
        self.buffer.sync().map_err(|error| error.to_string())?;
        self.promised = self.appended.len();
        self.shipper.news();
        Ok(())
    }

    fn pipe_breaks(&mut self, why: &str) {
        if self.pipe.take().is_some() {
            if planted::is(Planted::AcknowledgesWhatWasLost) {
                let lost = self.shipper.records_under_way();
                let _ = self.buffer.acknowledge(HUB, &lost);
            }
            let random = self.rng.below(1000) as f64 / 1000.0;
            self.shipper.closed(why, self.clock.elapsed(), random);
        }
    }

    /// Lets time pass, with everything that happens in it.
    fn run(&mut self, time: Duration) -> Result<(), String> {
        let until = self.clock.elapsed() + time;
        for _ in 0..20_000 {
            self.deliver()?;
            let wake = match self.shipper.next(self.clock.elapsed()) {
                LineStep::Wait(wake) => wake,
                step => {
                    self.act(step)?;
                    continue;
                }
            };
            let arrivals = self.pipe.iter().filter(|_| !self.is_cut).flat_map(|pipe| {
                let out = pipe.to_hub.front().map(|(at, _)| *at);
                let back = pipe.to_edge.front().map(|(at, _)| *at);
                out.into_iter().chain(back)
            });
            let next = wake.into_iter().chain(arrivals).min().unwrap_or(until);
            let now = self.clock.elapsed();
            if next >= until {
                self.clock.advance(until.saturating_sub(now));
                return Ok(());
            }
            self.clock
                .advance(next.saturating_sub(now).max(Duration::from_micros(1)));
        }
        Err("it does not come to rest".into())
    }

    fn deliver(&mut self) -> Result<(), String> {
        if self.is_cut {
            return Ok(());
        }
        let now = self.clock.elapsed();
        while let Some(pipe) = &mut self.pipe
            && pipe.to_hub.front().is_some_and(|(at, _)| *at <= now)
        {
            let Some((_, message)) = pipe.to_hub.pop_front() else {
                break;
            };
            let message = FromEdge::decode(&message).map_err(|error| error.to_string())?;
            let reply = match message {
                FromEdge::Report(report) => {
                    let mut reply = match pipe.greeted {
                        true => Reply::default(),
                        false => self.hub.greet(report.epoch),
                    };
                    pipe.greeted = true;
                    reply.echo = Some(Echo {
                        number: report.number,
                        sent_at_ms: report.sent_at_ms,
                        received_at_ms: report.sent_at_ms,
                        replied_at_ms: report.sent_at_ms,
                    });
                    reply
                }
                FromEdge::Frame(lane, frame) => self
                    .hub
                    .frame(lane, &frame, self.plot.refuses)
                    .map_err(|error| format!("{lane:?}: {error}"))?,
            };
            pipe.to_edge.push_back((now + TRIP, reply));
        }
        while let Some(pipe) = &mut self.pipe
            && pipe.to_edge.front().is_some_and(|(at, _)| *at <= now)
        {
            let Some((_, reply)) = pipe.to_edge.pop_front() else {
                break;
            };
            let settled = self.shipper.replied(&reply, now);
            let there = &self.hub.disk.records;
            let lacks = |record: &&crate::buffer::RecordMeta| !there.contains(record.seq);
            if let Some(record) = settled.acknowledged.iter().find(lacks) {
                return Err(format!("acknowledged, and not at the hub: {record:?}"));
            }
            let written = self.buffer.acknowledge(HUB, &settled.acknowledged);
            self.unless_full(written)?;
            for (record, _) in settled.quarantined {
                let written = self.buffer.quarantine(HUB, &[record]);
                self.unless_full(written)?;
            }
        }
        Ok(())
    }

    fn act(&mut self, step: LineStep) -> Result<(), String> {
        let (now, wall) = (self.clock.elapsed(), self.clock.now());
        let text = |error: crate::buffer::BufferError| error.to_string();
        match step {
            LineStep::Connect if self.is_cut => {
                let random = self.rng.below(1000) as f64 / 1000.0;
                self.shipper.closed("no route", now, random);
            }
            LineStep::Connect => {
                self.pipe = Some(Pipe {
                    to_hub: VecDeque::new(),
                    to_edge: VecDeque::new(),
                    greeted: false,
                    lanes: Lanes::default(),
                });
                self.shipper.connected(now);
            }
            LineStep::Close(_) => self.pipe = None,
            LineStep::Report(number) => {
                let line = super::report::LineFigures::of(&self.shipper);
                let report = super::report::report(&self.buffer, HUB, "b07", number, &line);
                let report = report.map_err(text)?;
                let sum = report.before
                    + report.acknowledged
                    + report.pending
                    + report.quarantined
                    + report.evicted
                    + report.damaged;
                if sum != report.scraped {
                    return Err(format!("the report does not add up: {report:?}"));
                }
                self.send(FromEdge::Report(Box::new(report)));
            }
            LineStep::Resume(known, has) => {
                let greeting = self.shipper.greeting(known, has, wall);
                let resumed = resume(&self.buffer, HUB, &greeting).map_err(text)?;
                if let Some(pipe) = &mut self.pipe {
                    pipe.lanes.resumed(&resumed, known);
                }
                self.shipper.resume(resumed.seq);
            }
            LineStep::Live(next) => self.live(next)?,
            LineStep::Choose(before, under_way) => {
                let limits = BatchLimits {
                    records_max: 1 + self.rng.below(20) as usize,
                    ..BatchLimits::default()
                };
                let chosen = self
                    .buffer
                    .select(HUB, Want::Before(before), &under_way, &limits)
                    .map_err(text)?;
                self.shipper.chosen(chosen, now);
            }
            LineStep::Backlog(seq, session) => {
                let Some(pipe) = &mut self.pipe else {
                    return Err("no connection".into());
                };
                let found = pipe.lanes.backlog(&self.buffer, seq, session);
                match found.map_err(text)? {
                    FrameFound::Here(frame) => {
                        let bytes = frame.len() as u64;
                        self.send(FromEdge::Frame(Lane::Backlog, frame.into()));
                        self.shipper.backlog_sent(seq, bytes, now);
                    }
                    FrameFound::Gone => {
                        self.shipper.backlog_unreadable();
                    }
                    FrameFound::Damaged => {
                        let lost = self.shipper.backlog_unreadable();
                        self.buffer.give_up(&lost);
                    }
                }
            }
            LineStep::Wait(_) => {}
        }
        Ok(())
    }

    fn live(&mut self, next: u64) -> Result<(), String> {
        let text = |error: crate::buffer::BufferError| error.to_string();
        let records = self.buffer.records_from(next, 1).map_err(text)?;
        let Some(pipe) = &mut self.pipe else {
            return Err("no connection".into());
        };
        let Some(record) = records.first().copied() else {
            if self.buffer.last_durable() >= next {
                self.shipper.session_broken("gone");
            }
            self.shipper.nothing_live();
            return Ok(());
        };
        let frame = match pipe.lanes.live(&self.buffer, &record).map_err(text)? {
            Ready::Frame(frame) => frame,
            Ready::Not(why) => {
                self.shipper.session_broken(why);
                return Ok(());
            }
        };
        let bytes = frame.len() as u64;
        self.send(FromEdge::Frame(Lane::Live, frame.into()));
        self.shipper.live_sent(record, bytes, self.clock.elapsed());
        Ok(())
    }

    fn send(&mut self, message: FromEdge) {
        // Some take long, and none overtakes another: an answer may come while the next record is still on its way.
        let at = self.clock.elapsed() + TRIP + Duration::from_millis(self.rng.below(300));
        if let Some(pipe) = &mut self.pipe {
            let at = pipe.to_hub.back().map_or(at, |(before, _)| at.max(*before));
            pipe.to_hub.push_back((at, message.encode()));
        }
    }

    fn restart(&mut self, in_order: bool) -> Result<(), String> {
        self.pipe = None;
        if in_order {
            self.sync()?;
            self.unless_full(self.buffer.save())?;
        }
        self.disk.crash();
        self.buffer = open(self.plot, &self.disk, &self.clock)?;
        self.shipper = LineShipper::new(LineOptions::default());
        let scraped = self.books()?.scraped.samples;
        let mut sum = 0;
        let sums = std::iter::once(0).chain(self.appended.iter().map(|samples| {
            sum += samples;
            sum
        }));
        let kept = sums.collect::<Vec<u64>>();
        match kept.iter().rposition(|sum| *sum == scraped) {
            Some(kept) if kept >= self.promised => {
                self.appended.truncate(kept);
                self.scrapes.truncate(kept);
            }
            kept => {
                return Err(format!(
                    "{} scrapes were reported as synced; after the crash {kept:?} are there",
                    self.promised
                ));
            }
        }
        self.promised = self.appended.len();
        Ok(())
    }

    pub(super) fn books(&self) -> Result<crate::buffer::HubCounts, String> {
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
        // Between a restore and the next greeting the hub has less than the edge knows.
        if self.restores == 0 && books.acknowledged.samples > self.hub.disk.stored.len() as u64 {
            let stored = self.hub.disk.stored.len();
            return Err(format!(
                "{} samples acknowledged, the hub has {stored}",
                books.acknowledged.samples
            ));
        }
        Ok(())
    }

    /// On a full disk what cannot be saved is saved later.
    fn unless_full(&self, saved: Result<(), crate::buffer::BufferError>) -> Result<(), String> {
        match saved {
            Err(_) if self.is_full && !self.disk.is_down() => Ok(()),
            saved => saved.map_err(|error| error.to_string()),
        }
    }

    /// The link stays up until nothing is pending; then both sides must have the same.
    fn drain(&mut self) -> Result<(), String> {
        self.is_cut = false;
        self.disk.crash_after(None);
        if std::mem::take(&mut self.is_full) {
            self.disk.set_capacity(None);
        }
        self.sync()?;
        // A restored hub says only to a new connection what it lacks.
        self.pipe_breaks("the play is over");
        for _ in 0..600 {
            self.run(Duration::from_secs(1))?;
            if *self.shipper.link() == LinkState::Up
                && self.books()?.pending.records == 0
                && self.shipper.under_way().0 == 0
            {
                return self.compare();
            }
        }
        Err(format!(
            "not drained: {:?}, {:?}",
            self.books()?,
            self.shipper.link()
        ))
    }

    fn compare(&self) -> Result<(), String> {
        self.check()?;
        let books = self.books()?;
        let stored = self.hub.disk.stored.len() as u64;
        let all: u64 = self.appended.iter().sum();
        if books.scraped.samples != all {
            return Err(format!("{all} samples scraped, the books say {books:?}"));
        }
        // What was evicted or refused after its answer was lost is at the hub and yet not counted as acknowledged.
        let unsure = books.evicted + books.quarantined;
        let known = books.acknowledged.samples..=books.acknowledged.samples + unsure.samples;
        // A restored hub may lack what was evicted meanwhile.
        if !(known.contains(&stored) || self.restores > 0 && self.plot.is_small()) {
            return Err(format!(
                "the hub has {stored} samples, the books say {books:?}"
            ));
        }
        let may_lack = self.restores > 0 && self.plot.is_small();
        if unsure == Counts::default() && stored != all && !may_lack {
            return Err(format!("the hub has {stored} of {all} samples, {books:?}"));
        }
        Ok(())
    }
}

pub(super) fn play(plot: Plot, seed: u64, steps: usize) -> Result<World, String> {
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

pub(super) fn seeds(usual: u64) -> std::ops::Range<u64> {
    journal::sim::seeds(1..usual + 1, 50)
}

#[test]
fn nothing_is_lost() {
    let mut carried = 0;
    for seed in seeds(40) {
        carried += play(PLAIN, seed, 400).unwrap().hub.carried;
    }
    assert!(carried > 5, "{carried}");
}

#[test]
fn a_hub_restored_from_a_backup_ends_complete() {
    let mut restores = 0;
    for seed in seeds(30) {
        let plot = Plot {
            backups: true,
            ..PLAIN
        };
        restores += play(plot, seed, 600).unwrap().restores;
    }
    assert!(restores > 10, "{restores}");
}

#[test]
fn refused_records_are_quarantined_and_the_others_arrive() {
    let mut quarantined = 0;
    for seed in seeds(20) {
        let plot = Plot {
            refuses: true,
            ..PLAIN
        };
        let world = play(plot, seed, 400).unwrap();
        quarantined += world.books().unwrap().quarantined.samples;
    }
    assert!(quarantined > 0);
}

#[test]
fn over_the_cap_the_books_still_add_up() {
    let mut evicted = 0;
    for seed in seeds(6) {
        let plot = Plot {
            bytes_max: 256 << 10,
            refuses: seed % 2 == 0,
            backups: seed % 3 == 0,
            ..PLAIN
        };
        let world = play(plot, seed, 600).unwrap();
        evicted += world.books().unwrap().evicted.samples;
    }
    assert!(evicted > 0);
}

#[test]
fn a_full_disk_gives_up_the_oldest_and_goes_on() {
    let mut evicted = 0;
    for seed in seeds(6) {
        let plot = Plot {
            bytes_max: 1 << 20,
            capacity: Some(300 << 10),
            ..PLAIN
        };
        let world = play(plot, seed, 600).unwrap();
        evicted += world.books().unwrap().evicted.samples;
    }
    assert!(evicted > 0);
}

#[test]
fn others_fill_the_disk_and_what_was_kept_arrives() {
    let mut refused = 0;
    for seed in seeds(12) {
        let plot = Plot {
            others_fill: true,
            refuses: seed % 3 == 0,
            power_fails: seed % 2 == 0,
            bytes_max: if seed % 4 < 2 { 1 << 30 } else { 256 << 10 },
            ..PLAIN
        };
        let world = play(plot, seed, 600).unwrap();
        refused += world.buffer.status().refused.samples;
    }
    assert!(refused > 0);
}

#[test]
fn a_disk_that_does_not_sync_is_caught() {
    let plot = Plot {
        disk_lies: true,
        ..PLAIN
    };
    let caught = (1..=20)
        .filter(|seed| play(plot, *seed, 400).is_err())
        .count();
    assert!(
        caught > 15,
        "only {caught} of 20 plays failed without fsync"
    );
}

/// Each of these faults, within the seeds that every run plays.
#[test]
fn planted_faults_are_found() {
    use Planted::*;
    let full = Plot {
        bytes_max: 256 << 10,
        ..PLAIN
    };
    let full_disk = Plot {
        bytes_max: 1 << 20,
        capacity: Some(300 << 10),
        ..PLAIN
    };
    let others = Plot {
        others_fill: true,
        ..PLAIN
    };
    let refuses = Plot {
        refuses: true,
        ..PLAIN
    };
    let backups = Plot {
        backups: true,
        ..PLAIN
    };
    let faults = [
        (AcknowledgesOneMore, PLAIN, 400),
        (AcknowledgesWhatWasLost, PLAIN, 400),
        (AcknowledgesRefused, refuses, 400),
        (BacklogEndsOneTooEarly, PLAIN, 400),
        (SendsBeforeSync, PLAIN, 400),
        (EvictsInSilence, full, 600),
        (EvictsBeforeSaving, full, 600),
        (SegmentNeedsTheOneBefore, full, 600),
        (GoesOnAfterAGap, full_disk, 600),
        (GoesOnAfterARefusal, others, 600),
        (ForgetsWhatWasScraped, PLAIN, 400),
        (BelievesInBackups, backups, 600),
        (IgnoresUnknownSessions, PLAIN, 400),
        (ReportsNoQuarantine, refuses, 400),
    ];
    let missed: Vec<Planted> = faults
        .into_iter()
        .filter(|(fault, plot, steps)| {
            let found =
                |seed| planted::while_planted(*fault, || play(*plot, seed, *steps).is_err());
            !(1..=20).any(found)
        })
        .map(|(fault, ..)| fault)
        .collect();
    assert_eq!(missed, []);
}

#[test]
fn the_same_seed_is_the_same_play() {
    let figures = |seed| {
        let world = play(PLAIN, seed, 300).unwrap();
        (
            world.books().unwrap(),
            world.clock.elapsed(),
            world.hub.disk.records.to_string(),
        )
    };
    assert_eq!(figures(5), figures(5));
    let different: BTreeMap<String, ()> = (1..4).map(|seed| (figures(seed).2, ())).collect();
    assert!(different.len() > 1);
}
