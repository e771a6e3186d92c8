//! A head office and its branches: one clock, one seed, links that are cut, fall silent, break and delay; processes that end,
//! disks that are full, tokens that are in force no more.

use std::time::Duration;

use daemon::{Clock, SimClock};
use edge_scraper::forward::LinkState;
use model::Timestamp;
use wire::line::link::HUB_RESTORED;

use super::branch::Branch;
use super::edge::{EdgePlot, EdgeSide, Fact};
use super::hub::{Facts, HubDisk, HubSide};
use super::random::Random;
use crate::federation::ledger::{Section, SectionState};

/// When every play begins.
pub(super) const START: Timestamp = Timestamp::from_millis(1_800_000_000_000);
const A_MS: Duration = Duration::from_millis(1);
/// What is newer is on its way, and the ledger does not speak of it.
const FRESH_MS: i64 = 10_000;
/// From the link's return until all is at the hub, at most: a wait for the link, and a hub that is silent,
const DRAINED_WITHIN: Duration = Duration::from_secs(120);
/// and a second for so many bytes that wait: the least window, 4 KiB, is under way at least, and answers take up to 0.76 s.
const BYTES_A_SECOND: u64 = 5_000;

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
    /// And is full now and then.
    pub(super) full_disks: bool,
    /// Some scrapes have a series that the hub refuses for good.
    pub(super) refusals: bool,
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
    /// Connections that ended because the hub refused their edge.
    pub(super) revoked: u64,
    /// Connections that ended because another one of their edge had begun.
    pub(super) taken_over: u64,
    /// Messages that came to the hub when the edge had given their connection up.
    pub(super) late: u64,
    /// Batches that the hub had no room for.
    pub(super) no_room: u64,
    /// Samples that the hub refused for good, and took later.
    pub(super) refused: u64,
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
            let name = format!("b{n:02}");
            let edge = EdgeSide::new(&name, plot.edge, random.next(), &clock)?;
            Ok::<Branch, String>(Branch::new(edge))
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
        match self.random.below(220) {
            0..60 => {
                let pause = 1 + self.random.below(3_000);
                self.run(Duration::from_millis(pause))?;
                let target = self.random.next();
                let (branch, random) = (&mut self.branches[at], &mut self.random);
                let is_refused = self.plot.refusals && random.one_in(12);
                branch.edge.scrape(target, is_refused, random)?;
            }
            60..90 => self.branches[at].edge.sync()?,
            90..160 => {
                let time = self.random.below(2_000);
                self.run(Duration::from_millis(time))?;
            }
            160..168 => self.cut(at),
            168..182 if self.plot.long_cuts && !self.random.one_in(8) => {}
            168..182 => {
                self.mend(at);
                if self.random.one_in(3) && !self.branches[at].is_held() {
                    self.look_when_back(at)?;
                }
            }
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
            200..202 => self.branches[at].is_refused = true,
            202..208 => self.branches[at].is_refused = false,
            208..211 => self.power_cut_between_syncs()?,
            211..213 if self.plot.full_disks => {
                let room = self.random.below(4_000);
                self.hub()?.fill_disk(room);
            }
            213..218 => self.hub()?.free_disk(),
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

    /// The ledger is asked as soon as an edge is back, before that has told what it holds.
    fn look_when_back(&mut self, at: usize) -> Result<(), String> {
        for _ in 0..1_000 {
            if self.branches[at].is_heard() {
                break;
            }
            self.run(Duration::from_millis(10))?;
        }
        self.check_ledger()
    }

    /// The connection breaks, and both ends hear of it: what was on its way is lost.
    fn reset(&mut self, at: usize, why: &str) -> Result<(), String> {
        let hub = self.hub.as_ref().ok_or("no hub")?;
        self.branches[at].reset(why, hub, &mut self.random)
    }

    pub(super) fn restart_edge(&mut self, at: usize, in_order: bool) -> Result<(), String> {
        let branch = &mut self.branches[at];
        branch.leave(&mut self.random);
        self.seen.edge_restarts += 1;
        branch.edge.restart(in_order)
    }

    /// A hub that restarts knows no session any more.
    pub(super) fn restart_hub(&mut self, in_order: bool) -> Result<(), String> {
        self.end_connections(in_order)?;
        let hub = self.hub.take().ok_or("no hub")?;
        // Whoever starts it again makes room.
        hub.free_disk();
        let on_disk = match in_order {
            true => hub.stop(&mut self.random)?,
            false => hub.crash(&mut self.random),
        };
        self.seen.hub_crashes += u64::from(!in_order);
        self.hub = Some(HubSide::open(on_disk, &self.clock, self.plot.slow_disk)?);
        self.check_records()?;
        self.check_stored()
    }

    /// The power goes at the worst moment: the ledger is on disk as it is, and what was stored last is not yet.
    fn power_cut_between_syncs(&mut self) -> Result<(), String> {
        for _ in 0..200 {
            if self.branches.iter().any(Branch::is_settling) {
                break;
            }
            self.run(Duration::from_millis(10))?;
        }
        self.hub()?.ledger.write(None);
        self.restart_hub(false)
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
            branch.hub_ends(self.hub.as_ref().filter(|_| in_order), now)?;
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
                busy |= branch.go_on(hub, &mut self.seen, &self.clock, &mut self.random)?;
            }
            if busy {
                continue;
            }
            let now = self.clock.elapsed();
            let is_held = self.branches.iter().any(Branch::is_held);
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
            let acknowledged = |fact: &&Fact| edge.acknowledged.contains_key(&fact.at);
            for fact in edge.facts.iter().filter(acknowledged) {
                if let Some(lacks) = stored.lacks(fact) {
                    let name = &edge.name;
                    return Err(format!("{name}: acknowledged, and not at the hub: {lacks}"));
                }
            }
        }
        Ok(())
    }

    /// What the ledger says is on disk is in the store: no edge sends it again.
    fn check_records(&self) -> Result<(), String> {
        let hub = self.hub()?;
        for Branch { edge, .. } in &self.branches {
            let stored = hub.stored(&edge.name)?;
            for at in edge.times_of(&hub.ledger)? {
                let Some(fact) = edge.fact(at) else { continue };
                if let Some(lacks) = stored.lacks(fact) {
                    let name = &edge.name;
                    return Err(format!("{name}: in the ledger, and not stored: {lacks}"));
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
        self.drain_once()?;
        let refused = self.branches.iter().flat_map(|branch| &branch.edge.facts);
        let refused: usize = refused.map(|fact| fact.refused.len()).sum();
        if refused == 0 {
            return Ok(());
        }
        self.seen.refused += refused as u64;
        // Whoever runs the hub raises its limit, and the edges are told to try again.
        self.end_connections(true)?;
        let on_disk = self.hub.take().ok_or("no hub")?.stop(&mut self.random)?;
        let hub = HubSide::open(on_disk.without_limits(), &self.clock, false)?;
        self.hub = Some(hub);
        for edge in self.edges() {
            edge.release()?;
        }
        self.drain_once()
    }

    fn drain_once(&mut self) -> Result<(), String> {
        let began = self.clock.elapsed();
        let mut waiting = 0;
        for Branch { edge, .. } in &self.branches {
            waiting = waiting.max(edge.books()?.pending.bytes);
        }
        let within = DRAINED_WITHIN + Duration::from_secs(waiting / BYTES_A_SECOND);
        self.hub()?.free_disk();
        for at in 0..self.branches.len() {
            self.mend(at);
            self.branches[at].is_refused = false;
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
            if took > within {
                return Err(self.not_drained(within));
            }
        }
        // A report on it, and what is fresh then is not any more.
        self.run(Duration::from_secs(15))?;
        self.check_books()?;
        self.check_ledger()?;
        self.compare()
    }

    fn not_drained(&self, within: Duration) -> String {
        let edges = self.branches.iter().map(|Branch { edge, .. }| {
            let (link, books) = (edge.shipper.link(), edge.books());
            format!("{}: {link:?}, {books:?}", edge.name)
        });
        let edges: Vec<String> = edges.collect();
        format!("not drained in {within:?}: {}", edges.join("; "))
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
            if self.seen.restores == 0 {
                let book = hub
                    .ledger
                    .edges()
                    .into_iter()
                    .find(|now| now.branch == *name);
                let lost = book.map_or(0, |now| now.book.lost_samples());
                if lost != books.evicted.samples + books.quarantined.samples {
                    return Err(format!("{name}: the ledger has {lost} lost, {books:?}"));
                }
            }
            // A restored hub lacks what was gone by then, and the ledger does not call that complete. After a power cut the hub's ledger may lack what its
            // store has, and what is gone at the edge is never said again: the ledger calls that lost, too.
            let sections = hub.ledger.sections(name, START, end);
            let is_lost = |section: &Section| section.reasons.iter().any(|r| r == HUB_RESTORED);
            let crashed = self.seen.hub_crashes > 0 && sections.iter().any(is_lost);
            let is_short = self.plot.long_cuts && (self.seen.restores > 0 || crashed);
            if books.evicted.samples > 0 || is_short {
                // Which ones were evicted the books do not say, only how many.
                let had = |f: &&Fact| edge.acknowledged.contains_key(&f.at);
                let lacks = edge.facts.iter().filter(had);
                let lacks = lacks.filter(|fact| stored.lacks(fact).is_some()).count();
                self.seen.lost += lacks as u64;
                let there = |fact: &&Fact| stored.lacks(fact).is_none();
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
            let quarantined = books.quarantined.samples;
            if sums.1 + quarantined != counted {
                return Err(format!("{name}: {counted} scraped, {books:?}"));
            }
            let (refuses, lifted) = (self.plot.refusals, quarantined == 0);
            if refuses {
                // Of a refused scrape the other samples are stored and counted, each time that it comes.
                let with = |fact: &&Fact| !fact.refused.is_empty();
                let of_refused = edge.facts.iter().filter(with);
                let of_refused: u64 = of_refused.map(|fact| fact.counted).sum();
                if of_refused != quarantined || sums.0 < sums.1 {
                    return Err(format!(
                        "{name}: {of_refused} samples refused, {sums:?} stored and acknowledged, {books:?}"
                    ));
                }
            } else if sums.0 != counted {
                return Err(format!(
                    "{name}: {counted} scraped, {sums:?} stored and acknowledged"
                ));
            }
            if refuses && !lifted {
                let is_complete = |fact: &&Fact| {
                    let at = Timestamp::from_millis(fact.at);
                    let sections = hub.ledger.sections(name, at, at.saturating_add(A_MS));
                    let mut sections = sections.iter();
                    sections.any(|section| section.state == SectionState::Complete)
                };
                let refused = |fact: &&Fact| !fact.refused.is_empty();
                let mut refused = edge.facts.iter().filter(refused);
                if let Some(fact) = refused.find(is_complete) {
                    return Err(format!(
                        "{name}: {} was refused in part, and is called complete",
                        fact.at
                    ));
                }
                continue;
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
