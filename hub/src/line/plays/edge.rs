//! A branch: the edge's real buffer and the real machine of its line, on a disk that forgets what was not synced.

use std::collections::{BTreeMap, VecDeque};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use daemon::{Clock, SimClock};
use edge_scraper::buffer::{
    BatchLimits, Buffer, BufferError, BufferOptions, Counts, FrameFound, HubCounts, Want,
};
use edge_scraper::forward::line_parts::{Lanes, LineFigures, Ready, report, resume};
use edge_scraper::forward::{LineOptions, LineShipper, LineStep, Settled};
use edge_scraper::scrape::{Class, Scrape};
use journal::sim::SimDisk;
use model::{LabelSet, Sample, Timestamp};
use wire::edge_headers::Lane;
use wire::line::link::{FromEdge, Reply};

use super::random::Random;
use crate::federation::ledger::Ledger;

/// What the hub calls itself.
pub(super) const HUB: &str = "hq";
/// Of all buffers.
const EPOCH: u64 = 7;
/// As by default: how long after a scrape it is synced, at the latest.
const SYNC_BOUND: Duration = Duration::from_secs(1);
/// And after an acknowledgement, the cursor.
const SAVE_BOUND: Duration = Duration::from_secs(5);

/// How an edge is kept.
#[derive(Clone, Copy, Debug)]
pub(super) struct EdgePlot {
    /// Room in the buffer.
    pub(super) bytes_max: u64,
    /// Series of a target, at most.
    pub(super) series_max: u64,
    pub(super) targets: u64,
}

/// A scrape, as a fact: what the hub must come to have, bit by bit.
#[derive(Clone, Debug)]
pub(super) struct Fact {
    pub(super) at: i64,
    /// By number of the series: target, and place on its page.
    pub(super) samples: Vec<((u64, u64), u64)>,
    /// The same of what the hub refuses for good.
    pub(super) refused: Vec<((u64, u64), u64)>,
    /// Of all of them, those that are no staleness markers.
    pub(super) counted: u64,
}

/// The series of a page whose label is too long for the hub, and how long it is.
const LONG_SERIES: u64 = 1 << 20;
pub(super) const TOO_LONG: usize = 200;

pub(super) struct EdgeSide {
    pub(super) name: String,
    plot: EdgePlot,
    disk: SimDisk,
    clock: SimClock,
    pub(super) buffer: Buffer,
    pub(super) shipper: LineShipper,
    lanes: Lanes,
    /// In the order of scrapes.
    pub(super) facts: Vec<Fact>,
    /// How many of them were reported as synced.
    pub(super) promised: usize,
    /// When the hub's word came that they are on its disk, by time of the scrape.
    pub(super) acknowledged: BTreeMap<i64, Timestamp>,
    /// Connected, as far as the edge knows.
    pub(super) is_connected: bool,
    save_at: Option<Duration>,
    /// When what was scraped has to be synced.
    sync_at: Option<Duration>,
}

fn text(error: BufferError) -> String {
    error.to_string()
}

fn open(name: &str, plot: &EdgePlot, disk: &SimDisk, clock: &SimClock) -> Result<Buffer, String> {
    let options = BufferOptions {
        eviction: Default::default(),
        bytes_max: plot.bytes_max,
        sync_bound: None,
        epoch_if_new: Some(EPOCH),
        save_bound: SAVE_BOUND,
        edge: name.to_owned(),
        downtime_least: Duration::from_secs(60),
    };
    let disk = Arc::new(disk.clone());
    let buffer = Buffer::open(disk, Path::new("/edge"), options, Arc::new(clock.clone()));
    let buffer = buffer.map_err(text)?;
    buffer.attach(HUB).map_err(text)?;
    Ok(buffer)
}

/// The labels of a series, as the edge sends them.
pub(super) fn labels(target: u64, n: u64) -> LabelSet {
    let (job, number) = (format!("j{target}"), n.to_string());
    let long = "x".repeat(if n == LONG_SERIES { TOO_LONG } else { 0 });
    let all = [
        ("__name__", "m"),
        ("job", &*job),
        ("long", &*long),
        ("n", &*number),
    ];
    let all = all.into_iter().filter(|(_, value)| !value.is_empty());
    LabelSet::from_pairs(all).expect("labels")
}

/// What a series says: some count, some stand still, some are noise, some are gone now and then.
fn value(target: u64, n: u64, at: i64, random: &mut Random) -> f64 {
    match n % 4 {
        // Where pages are long, the buffer is to become full.
        0..3 if n > 100 => random.next() as f64 / 1e9,
        0 => (at / 1_000) as f64,
        1 => (target * 100 + n) as f64,
        2 if random.one_in(20) => model::stale_nan(),
        _ => random.next() as f64 / 1e9,
    }
}

impl EdgeSide {
    pub(super) fn new(
        name: &str,
        plot: EdgePlot,
        seed: u64,
        clock: &SimClock,
    ) -> Result<Self, String> {
        let disk = SimDisk::new(seed);
        Ok(EdgeSide {
            name: name.to_owned(),
            plot,
            buffer: open(name, &plot, &disk, clock)?,
            disk,
            clock: clock.clone(),
            shipper: LineShipper::new(LineOptions::default()),
            lanes: Lanes::default(),
            facts: Vec::new(),
            promised: 0,
            acknowledged: BTreeMap::new(),
            is_connected: false,
            save_at: None,
            sync_at: None,
        })
    }

    /// The scrape of that time.
    pub(super) fn fact(&self, at: i64) -> Option<&Fact> {
        let found = self.facts.binary_search_by_key(&at, |fact| fact.at);
        self.facts.get(found.ok()?)
    }

    pub(super) fn now(&self) -> Duration {
        self.clock.elapsed()
    }

    /// Scrapes a target. Times differ, so that a time says which scrape is meant.
    pub(super) fn scrape(
        &mut self,
        target: u64,
        is_refused: bool,
        random: &mut Random,
    ) -> Result<(), String> {
        let after = self.facts.last().map_or(i64::MIN, |fact| fact.at + 1);
        let at = self.clock.now().millis().max(after);
        let count = 1 + random.below(self.plot.series_max);
        self.put(target % self.plot.targets, at, count, is_refused, random)
    }

    /// The same with all its series.
    pub(super) fn scrape_all(&mut self, target: u64, random: &mut Random) -> Result<(), String> {
        let after = self.facts.last().map_or(i64::MIN, |fact| fact.at + 1);
        let at = self.clock.now().millis().max(after);
        self.put(target, at, self.plot.series_max, false, random)
    }

    fn put(
        &mut self,
        target: u64,
        at: i64,
        count: u64,
        is_refused: bool,
        random: &mut Random,
    ) -> Result<(), String> {
        let time = Timestamp::from_millis(at);
        let (mut series, mut samples) = (Vec::new(), Vec::new());
        for n in 0..count {
            let value = value(target, n, at, random);
            series.push((labels(target, n).into(), Sample::float(time, value)));
            samples.push(((target, n), value.to_bits()));
        }
        let mut refused = Vec::new();
        if is_refused {
            let value = (at / 1_000) as f64;
            let long = labels(target, LONG_SERIES);
            series.push((long.into(), Sample::float(time, value)));
            refused.push(((target, LONG_SERIES), value.to_bits()));
        }
        let stale = model::stale_nan().to_bits();
        let all = samples.iter().chain(&refused);
        let counted = all.filter(|(_, bits)| *bits != stale).count();
        let scrape = Scrape {
            at: time,
            target,
            class: Class::Ordinary,
            series,
            exemplars: Vec::new(),
            metadata: Vec::new(),
        };
        self.buffer.append(&scrape).map_err(text)?;
        self.sync_at
            .get_or_insert(self.clock.elapsed() + SYNC_BOUND);
        let counted = counted as u64;
        self.facts.push(Fact {
            at,
            samples,
            refused,
            counted,
        });
        Ok(())
    }

    pub(super) fn sync(&mut self) -> Result<(), String> {
        self.buffer.sync().map_err(text)?;
        self.promised = self.facts.len();
        self.sync_at = None;
        self.shipper.news();
        Ok(())
    }

    /// Syncs, and saves its cursors, when that is due.
    pub(super) fn keep_house(&mut self) -> Result<(), String> {
        let now = self.clock.elapsed();
        if self.sync_at.is_some_and(|at| at <= now) {
            self.sync()?;
        }
        if self.save_at.take_if(|at| *at <= now).is_some() {
            self.buffer.save().map_err(text)?;
        }
        Ok(())
    }

    pub(super) fn wake(&self) -> Option<Duration> {
        self.sync_at.into_iter().chain(self.save_at).min()
    }

    /// A process that ends, in order or by a power cut, and the next one.
    pub(super) fn restart(&mut self, in_order: bool) -> Result<(), String> {
        if in_order {
            self.sync()?;
            self.buffer.save().map_err(text)?;
        }
        self.disk.crash();
        self.buffer = open(&self.name, &self.plot, &self.disk, &self.clock)?;
        self.shipper = LineShipper::new(LineOptions::default());
        self.lanes = Lanes::default();
        (self.is_connected, self.save_at, self.sync_at) = (false, None, None);
        let scraped = self.books()?.scraped;
        let mut sum = Counts::default();
        let mut kept = (sum == scraped).then_some(0);
        for (number, fact) in self.facts.iter().enumerate() {
            sum += Counts {
                samples: fact.counted,
                markers: (fact.samples.len() + fact.refused.len()) as u64 - fact.counted,
            };
            if sum == scraped {
                kept = Some(number + 1);
            }
        }
        match kept {
            Some(kept) if kept >= self.promised => self.facts.truncate(kept),
            kept => {
                return Err(format!(
                    "{}: {} scrapes were synced, after the crash {kept:?} are there",
                    self.name, self.promised
                ));
            }
        }
        self.promised = self.facts.len();
        Ok(())
    }

    /// What the hub refused is to be sent again: it takes it now.
    pub(super) fn release(&mut self) -> Result<(), String> {
        for fact in &mut self.facts {
            fact.samples.append(&mut fact.refused);
        }
        self.buffer.release_quarantine(HUB).map_err(text)?;
        Ok(())
    }

    /// The times of its records that the ledger has, as far as they are in the buffer.
    pub(super) fn times_of(&self, ledger: &Ledger) -> Result<Vec<i64>, String> {
        let mut times = Vec::new();
        for range in ledger.records(&self.name, &self.name, EPOCH) {
            let mut next = range.first;
            while next <= range.last {
                let records = self.buffer.records_from(next, 1_000).map_err(text)?;
                let Some(last) = records.last() else { break };
                next = last.seq + 1;
                let within = records.iter().filter(|record| record.seq <= range.last);
                times.extend(within.map(|record| record.at.millis()));
            }
        }
        Ok(times)
    }

    pub(super) fn books(&self) -> Result<HubCounts, String> {
        self.buffer.counts(HUB).map_err(text)
    }

    /// The connection is open.
    pub(super) fn connected(&mut self) {
        self.is_connected = true;
        self.lanes = Lanes::default();
        self.shipper.connected(self.clock.elapsed());
    }

    /// It broke, or did not come about.
    pub(super) fn disconnected(&mut self, why: &str, random: &mut Random) {
        self.is_connected = false;
        self.shipper
            .closed(why, self.clock.elapsed(), random.fraction());
    }

    /// A message of the hub came; the records that it acknowledges.
    pub(super) fn reply(&mut self, message: &Bytes) -> Result<Vec<i64>, String> {
        let reply = Reply::from_bytes(message).map_err(|error| error.to_string())?;
        let now = self.clock.elapsed();
        let Settled {
            acknowledged,
            quarantined,
            report,
        } = self.shipper.replied(&reply, now);
        if let Some(number) = report {
            self.buffer.told(HUB, number).map_err(text)?;
        }
        self.buffer.acknowledge(HUB, &acknowledged).map_err(text)?;
        self.save_at.get_or_insert(now + SAVE_BOUND);
        for (record, why) in quarantined {
            let fact = self.fact(record.at.millis());
            if fact.is_none_or(|fact| fact.refused.is_empty()) {
                return Err(format!("{}: {record:?} was refused: {why}", self.name));
            }
            self.buffer.quarantine(HUB, &[record]).map_err(text)?;
        }
        let at = self.clock.now();
        let times: Vec<i64> = acknowledged.iter().map(|r| r.at.millis()).collect();
        self.acknowledged.extend(times.iter().map(|t| (*t, at)));
        Ok(times)
    }

    /// Does what the machine says, save for opening and closing connections; what is to be sent.
    pub(super) fn act(
        &mut self,
        step: LineStep,
        random: &mut Random,
    ) -> Result<Option<Bytes>, String> {
        let now = self.clock.elapsed();
        match step {
            LineStep::Report(number) => {
                let figures = LineFigures::of(&self.shipper);
                let report = report(&self.buffer, HUB, &self.name, number, &figures);
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
                return Ok(Some(FromEdge::Report(Box::new(report)).encode()));
            }
            LineStep::Resume(known, has) => {
                let greeting = self.shipper.greeting(known, has, self.clock.now());
                let resumed = resume(&self.buffer, HUB, &greeting).map_err(text)?;
                self.lanes.resumed(&resumed, known);
                self.shipper.resume(resumed.seq);
            }
            LineStep::Live(next) => return self.live(next),
            LineStep::Choose(before, under_way) => {
                let limits = BatchLimits {
                    records_max: 1 + random.below(200) as usize,
                    ..BatchLimits::default()
                };
                let chosen = self
                    .buffer
                    .select(HUB, Want::Before(before), &under_way, &limits);
                self.shipper.chosen(chosen.map_err(text)?, now);
            }
            LineStep::Backlog(seq, session) => match self
                .lanes
                .backlog(&self.buffer, seq, session)
                .map_err(text)?
            {
                FrameFound::Here(frame) => {
                    self.shipper.backlog_sent(seq, frame.len() as u64, now);
                    return Ok(Some(FromEdge::Frame(Lane::Backlog, frame.into()).encode()));
                }
                FrameFound::Gone => {
                    self.shipper.backlog_unreadable();
                }
                FrameFound::Damaged => {
                    return Err(format!("{}: record {seq} cannot be read", self.name));
                }
            },
            LineStep::Connect | LineStep::Close(_) | LineStep::Wait(_) => {}
        }
        Ok(None)
    }

    fn live(&mut self, next: u64) -> Result<Option<Bytes>, String> {
        let records: VecDeque<_> = self.buffer.records_from(next, 1).map_err(text)?.into();
        let Some(record) = records.front().copied() else {
            if self.buffer.last_durable() >= next {
                self.shipper.session_broken("gone");
            }
            self.shipper.nothing_live();
            return Ok(None);
        };
        match self.lanes.live(&self.buffer, &record).map_err(text)? {
            Ready::Frame(frame) => {
                let now = self.clock.elapsed();
                self.shipper.live_sent(record, frame.len() as u64, now);
                Ok(Some(FromEdge::Frame(Lane::Live, frame.into()).encode()))
            }
            Ready::Not(why) => {
                self.shipper.session_broken(why);
                Ok(None)
            }
        }
    }
}
