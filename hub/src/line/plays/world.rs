//! A head office and its branches: one clock, one seed, links that are cut, fall silent, break and delay; processes that end.

use std::collections::VecDeque;
use std::time::Duration;

use axum::body::Bytes;
use daemon::{Clock, SimClock};
use edge_scraper::forward::{LineStep, LinkState};
use model::Timestamp;

use super::edge::{EdgePlot, EdgeSide};
use super::hub::{Facts, HubDisk, HubEnd, HubSide};
use super::random::Random;
use crate::federation::ledger::{Section, SectionState};

/// When every play begins.
pub(super) const START: Timestamp = Timestamp::from_millis(1_800_000_000_000);
/// One way.
const TRIP: Duration = Duration::from_millis(30);
/// What some messages take beyond it, at most, ms.
const DELAY_MS_MAX: u64 = 300;
/// A connection on which nothing comes is given up by the hub after that.
const IDLE_MAX: Duration = Duration::from_secs(15);
/// What is newer is on its way, and the ledger does not speak of it.
const FRESH_MS: i64 = 10_000;
/// From the link's return until all is at the hub, at most: a wait for the link, a hub that is silent, and the sending.
const DRAINED_WITHIN: Duration = Duration::from_secs(120);

/// What may happen in a play.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plot {
    pub(super) edges: u64,
    pub(super) edge: EdgePlot,
    /// The hub may come back from an older state.
    pub(super) backups: bool,
    /// Cuts take long enough for a small buffer to become full.
    pub(super) long_cuts: bool,
    /// Steps between two looks at the ledger, on average: each reads all that is stored.
    pub(super) check_one_in: u64,
    /// The hub's disk stalls often.
    pub(super) slow_disk: bool,
}

/// A connection, with what is on its way: what was sent, and when it arrives.
#[derive(Default)]
struct Pipe {
    to_hub: VecDeque<(Duration, Bytes)>,
    to_edge: VecDeque<(Duration, Result<Bytes, &'static str>)>,
}

/// A branch and its link.
struct Branch {
    edge: EdgeSide,
    /// Nothing passes, in both directions. Who has a connection is not told.
    is_cut: bool,
    pipe: Option<Pipe>,
    end: Option<HubEnd>,
    /// Connections that the edge has given up, and the hub does not know it yet.
    left: Option<HubEnd>,
    heard: Duration,
    /// When the edge's machine wants to be asked again.
    edge_wake: Option<Duration>,
}

pub(super) struct World {
    plot: Plot,
    pub(super) random: Random,
    pub(super) clock: SimClock,
    branches: Vec<Branch>,
    /// None only while it restarts.
    hub: Option<HubSide>,
    backup: HubDisk,
    /// What happened in it.
    pub(super) seen: Seen,
}

/// So that tests can tell that their plays were not idle.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) restores: u64,
    pub(super) hub_crashes: u64,
    pub(super) edge_restarts: u64,
    pub(super) samples: u64,
    pub(super) evicted: u64,
    /// Scrapes that the hub had, and lacks since it was restored.
    pub(super) lost: u64,
    /// Sections of time that were called complete, and were.
    pub(super) complete: u64,
    /// The longest drain.
    pub(super) drained: Duration,
}

impl World {
    pub(super) fn new(plot: Plot, seed: u64) -> Result<Self, String> {
        let clock = SimClock::new(START);
        let mut random = Random::new(seed);
        let on_disk = HubDisk::new(random.next());
        let hub = HubSide::open(on_disk, &clock, plot.slow_disk)?;
        let backup = hub.backup(&mut random);
        let branches = (0..plot.edges).map(|n| {
            let edge = EdgeSide::new(&format!("b{n:02}"), plot.edge, random.next(), &clock)?;
            Ok::<Branch, String>(Branch {
                edge,
                is_cut: false,
                pipe: None,
                end: None,
                left: None,
                heard: Duration::ZERO,
                edge_wake: None,
            })
        });
        let branches = branches.collect::<Result<_, _>>()?;
        Ok(World {
            plot,
            random,
            clock,
            branches,
            hub: Some(hub),
            backup,
            seen: Seen::default(),
        })
    }

    fn hub(&self) -> Result<&HubSide, String> {
        self.hub
            .as_ref()
            .ok_or_else(|| "the hub is not there".into())
    }

    pub(super) fn edges(&mut self) -> impl Iterator<Item = &mut EdgeSide> {
        self.branches.iter_mut().map(|branch| &mut branch.edge)
    }

    /// One thing happens.
    pub(super) fn step(&mut self) -> Result<(), String> {
        let at = self.random.below(self.branches.len() as u64) as usize;
        match self.random.below(200) {
            0..60 => {
                let pause = 1 + self.random.below(3_000);
                self.run(Duration::from_millis(pause))?;
                let target = self.random.next();
                let (branch, random) = (&mut self.branches[at], &mut self.random);
                branch.edge.scrape(target, random)?;
            }
            60..90 => self.branches[at].edge.sync()?,
            90..160 => {
                let time = self.random.below(2_000);
                self.run(Duration::from_millis(time))?;
            }
            160..168 => self.cut(at),
            168..182 if self.plot.long_cuts && !self.random.one_in(8) => {}
            168..182 => self.mend(at),
            182..186 => self.reset(at, "reset")?,
            // What is stored and not on disk yet is to be lost often.
            186..190 if self.plot.slow_disk => self.restart_hub(false)?,
            186..190 => {
                let time = self.random.below(40_000);
                self.run(Duration::from_millis(time))?;
            }
            190..192 => self.restart_hub(true)?,
            192..194 => self.restart_hub(false)?,
            194 if self.plot.backups => self.take_backup()?,
            195 if self.plot.backups => self.restore_hub()?,
            196..198 => self.restart_edge(at, true)?,
            198..200 => self.restart_edge(at, false)?,
            _ => {}
        }
        self.check_books()
    }

    pub(super) fn cut(&mut self, at: usize) {
        self.branches[at].is_cut = true;
    }

    pub(super) fn mend(&mut self, at: usize) {
        self.branches[at].is_cut = false;
    }

    /// The connection breaks, and both ends hear of it: what was on its way is lost.
    fn reset(&mut self, at: usize, why: &str) -> Result<(), String> {
        let branch = &mut self.branches[at];
        if branch.pipe.take().is_some() {
            branch.edge.disconnected(why, &mut self.random);
        }
        let ends = [branch.end.take(), branch.left.take()];
        let hub = self.hub()?;
        ends.into_iter().flatten().try_for_each(|end| end.end(hub))
    }

    pub(super) fn restart_edge(&mut self, at: usize, in_order: bool) -> Result<(), String> {
        let branch = &mut self.branches[at];
        branch.pipe = None;
        if let Some(end) = branch.end.take() {
            branch.left.get_or_insert(end);
        }
        self.seen.edge_restarts += 1;
        branch.edge.restart(in_order)
    }

    /// A hub that restarts knows no session any more.
    pub(super) fn restart_hub(&mut self, in_order: bool) -> Result<(), String> {
        self.end_connections(in_order)?;
        let hub = self.hub.take().ok_or("no hub")?;
        let on_disk = match in_order {
            true => hub.stop(&mut self.random)?,
            false => hub.crash(&mut self.random),
        };
        self.seen.hub_crashes += u64::from(!in_order);
        self.hub = Some(HubSide::open(on_disk, &self.clock, self.plot.slow_disk)?);
        self.check_stored()
    }

    pub(super) fn take_backup(&mut self) -> Result<(), String> {
        let hub = self.hub.as_ref().ok_or("no hub")?;
        self.backup = hub.backup(&mut self.random);
        Ok(())
    }

    pub(super) fn restore_hub(&mut self) -> Result<(), String> {
        self.end_connections(false)?;
        let backup = self.backup.clone();
        let hub = HubSide::open(backup, &self.clock, self.plot.slow_disk)?;
        // What is written to it from now on is not in the backup.
        self.backup = hub.backup(&mut self.random);
        self.hub = Some(hub);
        self.seen.restores += 1;
        Ok(())
    }

    /// All connections end; edges are told when nothing is cut.
    fn end_connections(&mut self, in_order: bool) -> Result<(), String> {
        let now = self.clock.elapsed();
        for branch in &mut self.branches {
            for end in [branch.end.take(), branch.left.take()]
                .into_iter()
                .flatten()
            {
                match (in_order, &self.hub) {
                    (true, Some(hub)) => end.end(hub)?,
                    _ => drop(end),
                }
            }
            if let Some(pipe) = &mut branch.pipe {
                pipe.to_hub.clear();
                pipe.to_edge.push_back((now + TRIP, Err("the hub ended")));
            }
        }
        Ok(())
    }

    /// Lets time pass, with everything that happens in it.
    pub(super) fn run(&mut self, time: Duration) -> Result<(), String> {
        let until = self.clock.elapsed() + time;
        for _ in 0..200_000 {
            let mut busy = false;
            let hub = self.hub.as_mut().ok_or("no hub")?;
            hub.keep_house()?;
            for branch in &mut self.branches {
                busy |= branch.go_on(hub, self.seen.restores > 0, &self.clock, &mut self.random)?;
            }
            if busy {
                continue;
            }
            let now = self.clock.elapsed();
            let is_held = self.branches.iter().any(|branch| branch.end.is_some());
            let house = is_held.then(|| hub.wake());
            let wakes = self.branches.iter().filter_map(Branch::wake);
            let next = wakes.chain(house).min().unwrap_or(until);
            if next >= until {
                self.clock.advance(until.saturating_sub(now));
                return Ok(());
            }
            let pause = next.saturating_sub(now).max(Duration::from_micros(1));
            self.clock.advance(pause);
        }
        Err("it does not come to rest".into())
    }

    fn check_books(&mut self) -> Result<(), String> {
        for branch in &self.branches {
            let books = branch.edge.books()?;
            if !books.balance() {
                return Err(format!("the books do not add up: {books:?}"));
            }
            if books.damaged.samples > 0 {
                return Err(format!("records are missing: {books:?}"));
            }
        }
        if self.random.one_in(self.plot.check_one_in) {
            self.check_ledger()?;
        }
        Ok(())
    }

    /// What was acknowledged is at the hub, unless that is an older one.
    fn check_stored(&self) -> Result<(), String> {
        if self.seen.restores > 0 {
            return Ok(());
        }
        let hub = self.hub()?;
        for Branch { edge, .. } in &self.branches {
            let stored = hub.stored(&edge.name)?;
            let acknowledged = |fact: &&super::edge::Fact| edge.acknowledged.contains_key(&fact.at);
            for fact in edge.facts.iter().filter(acknowledged) {
                if let Some(lacks) = stored.lacks(fact) {
                    let name = &edge.name;
                    return Err(format!("{name}: acknowledged, and not at the hub: {lacks}"));
                }
            }
        }
        Ok(())
    }

    /// Time that the ledger calls complete is complete.
    pub(super) fn check_ledger(&mut self) -> Result<(), String> {
        let hub = self.hub.as_ref().ok_or("no hub")?;
        let end = Timestamp::from_millis(self.clock.now().millis() - FRESH_MS);
        for Branch { edge, .. } in &self.branches {
            let sections = hub.ledger.sections(&edge.name, START, end);
            let complete: Vec<Section> = sections
                .into_iter()
                .filter(|section| section.state == SectionState::Complete)
                .collect();
            if complete.is_empty() {
                continue;
            }
            let stored = hub.stored(&edge.name)?;
            for fact in &edge.facts[..edge.promised] {
                let of = complete
                    .iter()
                    .find(|section| section.start <= fact.at && fact.at < section.end);
                let Some(section) = of else { continue };
                if let Some(lacks) = stored.lacks(fact) {
                    return Err(format!(
                        "{}: {section:?} is called complete and is not: {lacks}",
                        edge.name
                    ));
                }
            }
            self.seen.complete += complete.len() as u64;
        }
        Ok(())
    }

    /// The faults stop: within a bound all is at the hub.
    pub(super) fn drain(&mut self) -> Result<(), String> {
        let began = self.clock.elapsed();
        for at in 0..self.branches.len() {
            self.mend(at);
            self.branches[at].edge.sync()?;
            // A restored hub says only to a new connection what it lacks.
            if self.seen.restores > 0 {
                self.reset(at, "the play is over")?;
            }
        }
        loop {
            self.run(Duration::from_secs(1))?;
            self.check_books()?;
            let mut whole = true;
            for Branch { edge, .. } in &self.branches {
                whole &= *edge.shipper.link() == LinkState::Up
                    && edge.books()?.pending.records == 0
                    && edge.shipper.under_way().0 == 0;
            }
            let took = self.clock.elapsed() - began;
            if whole {
                self.seen.drained = self.seen.drained.max(took);
                break;
            }
            if took > DRAINED_WITHIN {
                return Err(self.not_drained());
            }
        }
        // A report on it, and what is fresh then is not any more.
        self.run(Duration::from_secs(15))?;
        self.check_books()?;
        self.check_ledger()?;
        self.compare()
    }

    fn not_drained(&self) -> String {
        let edges = self.branches.iter().map(|Branch { edge, .. }| {
            let (link, books) = (edge.shipper.link(), edge.books());
            format!("{}: {link:?}, {books:?}", edge.name)
        });
        let edges: Vec<String> = edges.collect();
        format!("not drained in {DRAINED_WITHIN:?}: {}", edges.join("; "))
    }

    /// Both sides have the same, and say the same of it.
    fn compare(&mut self) -> Result<(), String> {
        let hub = self.hub.as_ref().ok_or("no hub")?;
        let end = Timestamp::from_millis(self.clock.now().millis() - FRESH_MS);
        for Branch { edge, .. } in &self.branches {
            let (name, books) = (&edge.name, edge.books()?);
            let counted: u64 = edge.facts.iter().map(|fact| fact.counted).sum();
            if books.scraped.samples != counted {
                return Err(format!("{name}: {counted} samples scraped, {books:?}"));
            }
            let stored = hub.stored(name)?;
            self.seen.samples += stored.samples() as u64;
            self.seen.evicted += books.evicted.samples;
            // A restored hub lacks what was gone by then, and the ledger does not call that complete.
            let is_short = self.plot.long_cuts && self.seen.restores > 0;
            if books.evicted.samples > 0 || is_short {
                // Which ones were evicted the books do not say, only how many.
                let had = |f: &&super::edge::Fact| edge.acknowledged.contains_key(&f.at);
                let lacks = edge.facts.iter().filter(had);
                let lacks = lacks.filter(|fact| stored.lacks(fact).is_some()).count();
                self.seen.lost += lacks as u64;
                let there = |fact: &&super::edge::Fact| stored.lacks(fact).is_none();
                let found: u64 = edge.facts.iter().filter(there).map(|f| f.counted).sum();
                let least = books.acknowledged.samples;
                if found < least && self.seen.restores == 0 {
                    return Err(format!("{name}: {found} samples are there, {books:?}"));
                }
                continue;
            }
            let expected = Facts::of(&edge.facts);
            if stored != expected {
                let lacks = edge.facts.iter().find_map(|fact| stored.lacks(fact));
                let (found, all) = (stored.samples(), expected.samples());
                return Err(format!("{name}: {found} of {all} samples: {lacks:?}"));
            }
            let edges = hub.ledger.edges();
            let book = edges.iter().find(|now| now.branch == *name);
            let Some(book) = book.map(|now| &now.book) else {
                return Err(format!("{name}: the ledger does not know it"));
            };
            // Counted by each on its own.
            let sums = (book.stored_samples(), books.acknowledged.samples);
            if sums.0 != counted || sums.1 != counted {
                return Err(format!(
                    "{name}: {counted} scraped, {sums:?} stored and acknowledged"
                ));
            }
            let Some(first) = edge.facts.first() else {
                continue;
            };
            let start = Timestamp::from_millis(first.at);
            for section in hub.ledger.sections(name, start, end) {
                if section.state != SectionState::Complete
                    && edge
                        .facts
                        .iter()
                        .any(|f| section.start <= f.at && f.at < section.end)
                {
                    return Err(format!(
                        "{name}: all is there, and the ledger says {section:?}"
                    ));
                }
            }
        }
        Ok(())
    }

    /// When the hub had said that a scrape is on its disk: for each that was made from then on, how long after it.
    pub(super) fn delays_from(&self, from: Timestamp) -> Vec<Duration> {
        let delays = self.branches.iter().flat_map(|Branch { edge, .. }| {
            let later = edge.acknowledged.range(from.millis()..);
            later.map(|(at, heard)| heard.saturating_since(Timestamp::from_millis(*at)))
        });
        delays.collect()
    }

    pub(super) fn scrapes(&self) -> usize {
        self.branches.iter().map(|b| b.edge.facts.len()).sum()
    }
}

impl Branch {
    /// Does what is due now; whether it did anything.
    fn go_on(
        &mut self,
        hub: &HubSide,
        is_restored: bool,
        clock: &SimClock,
        random: &mut Random,
    ) -> Result<bool, String> {
        let now = clock.elapsed();
        let mut busy = self.deliver(hub, is_restored, now, random)?;
        for end in [&mut self.end, &mut self.left].into_iter().flatten() {
            busy |= end.go_on(hub, random)?;
        }
        if let Some(left) = self.left.take() {
            match now.saturating_sub(self.heard) >= IDLE_MAX || !left.has_begun() {
                true => left.end(hub)?,
                false => self.left = Some(left),
            }
        }
        if let (Some(end), Some(pipe)) = (&mut self.end, &mut self.pipe)
            && let Some(reply) = end.reply()
        {
            pipe.to_edge.push_back((now + TRIP, Ok(reply)));
            busy = true;
        }
        self.edge.keep_house()?;
        match self.edge.shipper.next(now) {
            LineStep::Wait(wake) => self.edge_wake = wake,
            LineStep::Connect => {
                busy = true;
                self.connect(random);
            }
            LineStep::Close(_) => {
                busy = true;
                (self.pipe, self.edge.is_connected) = (None, false);
                if let Some(end) = self.end.take() {
                    self.left.get_or_insert(end);
                }
            }
            step => {
                busy = true;
                if let Some(message) = self.edge.act(step, random)? {
                    self.send(message, now, random);
                }
            }
        }
        Ok(busy)
    }

    fn connect(&mut self, random: &mut Random) {
        if self.is_cut {
            return self.edge.disconnected("no route", random);
        }
        (self.pipe, self.end) = (Some(Pipe::default()), Some(HubEnd::default()));
        self.edge.connected();
    }

    fn send(&mut self, message: Bytes, now: Duration, random: &mut Random) {
        // Some take long, and none overtakes another: an answer may come while the next record is still on its way.
        let at = now + TRIP + Duration::from_millis(random.below(DELAY_MS_MAX));
        if let Some(pipe) = &mut self.pipe {
            let at = pipe.to_hub.back().map_or(at, |(before, _)| at.max(*before));
            pipe.to_hub.push_back((at, message));
        }
    }

    fn deliver(
        &mut self,
        hub: &HubSide,
        is_restored: bool,
        now: Duration,
        random: &mut Random,
    ) -> Result<bool, String> {
        let mut busy = false;
        if self.is_cut {
            return Ok(busy);
        }
        while let (Some(pipe), Some(end)) = (&mut self.pipe, &mut self.end)
            && end.takes_more()
            && pipe.to_hub.front().is_some_and(|(at, _)| *at <= now)
        {
            let Some((_, message)) = pipe.to_hub.pop_front() else {
                break;
            };
            if !end.has_begun()
                && let Some(left) = self.left.take()
            {
                // What an earlier connection brought is settled then.
                left.end(hub)?;
            }
            let taken = end.take(hub, &self.edge.name, &message);
            taken.map_err(|ended| format!("{}: the hub closed: {ended}", self.edge.name))?;
            (self.heard, busy) = (now, true);
        }
        while let Some(pipe) = &mut self.pipe
            && pipe.to_edge.front().is_some_and(|(at, _)| *at <= now)
        {
            let Some((_, message)) = pipe.to_edge.pop_front() else {
                break;
            };
            busy = true;
            match message {
                Ok(message) => {
                    let acknowledged = self.edge.reply(&message)?;
                    if let Some(at) = acknowledged.last().filter(|_| !is_restored)
                        && random.one_in(4)
                        && let Some(fact) = self.edge.fact(*at)
                        && !hub.has(&self.edge.name, fact)?
                    {
                        let name = &self.edge.name;
                        return Err(format!("{name}: acknowledged, and not stored: {at}"));
                    }
                }
                Err(why) => {
                    self.pipe = None;
                    self.edge.disconnected(why, random);
                }
            }
        }
        Ok(busy)
    }

    fn wake(&self) -> Option<Duration> {
        let takes_more = self.end.as_ref().is_some_and(HubEnd::takes_more);
        let arrivals = self.pipe.iter().filter(|_| !self.is_cut).flat_map(|pipe| {
            let out = pipe.to_hub.front().filter(|_| takes_more);
            let back = pipe.to_edge.front().map(|(at, _)| *at);
            out.map(|(at, _)| *at).into_iter().chain(back)
        });
        let ends = [&self.end, &self.left].into_iter().flatten();
        let ends = ends.filter_map(HubEnd::wake);
        let idle = self.left.as_ref().map(|_| self.heard + IDLE_MAX);
        let edge = self.edge_wake.into_iter().chain(self.edge.wake());
        edge.chain(arrivals).chain(ends).chain(idle).min()
    }
}
