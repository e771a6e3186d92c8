//! One sender through a day in short: live, cut off, and back on a link of twice what it needs live.

use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use tests::link::Link;

use super::receiver::Receiver;
use super::sender::{Job, Kind, Program, Running};
use super::targets::Targets;
use super::{Plan, Span, now_ms};
use crate::measured::Measured;
use crate::progress::Progress;
use crate::usage;

/// Delays of live samples count from so long after the link's return: promise 2 of the design.
const CURRENT_WITHIN: Duration = Duration::from_secs(10);
/// A drain that takes longer than so many cuts, and a minute, is given up.
const CUTS_TO_DRAIN: u32 = 4;
/// Scrapes at the edges of a span may be counted on one side of it here and on the other there.
const EDGE_SCRAPES: u64 = 2;
/// After the drain, what was scraped last gets so long to arrive.
const LAST_ONES: Duration = Duration::from_secs(3);
const LOOK: Duration = Duration::from_millis(500);

/// Everything that runs while one sender is measured.
struct Stage<'a> {
    plan: &'a Plan,
    targets: Targets,
    receiver: Receiver,
    link: Link,
    sender: Running,
}

/// What has been used up to one moment.
struct Used {
    at: i64,
    cpu: Duration,
    up: u64,
    down: u64,
    disk: u64,
}

pub(super) fn measure(
    program: &Program,
    hub: Option<&Path>,
    plan: &Plan,
    folder: &Path,
    progress: &mut Progress,
) -> anyhow::Result<Measured> {
    let targets = Targets::start(plan.targets, plan.series)?;
    let receiver = match hub {
        Some(hub) if program.kind == Kind::Edge => Receiver::hub(hub, folder)?,
        _ => Receiver::sink()?,
    };
    let link = Link::to(&receiver.address);
    let sender = program.start(&Job {
        folder: &folder.join("sender"),
        targets: &targets.addresses(),
        interval: plan.interval,
        write_to: &link.url("/api/v1/write"),
        write_options: "",
    })?;
    let mut stage = Stage {
        plan,
        targets,
        receiver,
        link,
        sender,
    };
    let mut measured = Measured::default();
    let kind = program.kind;
    progress.phase(format!("{kind}: warming up, {:?}", plan.warm));
    stage.pass(plan.warm, progress)?;
    progress.phase(format!("{kind}: live, {:?}", plan.live));
    let up_a_second = stage.live(&mut measured, progress)?;
    if plan.cut.is_zero() {
        return Ok(measured);
    }
    progress.phase(format!("{kind}: cut off, {:?}", plan.cut));
    let cut = stage.cut(&mut measured, progress)?;
    progress.phase(format!("{kind}: draining"));
    stage.drain(cut, up_a_second, &mut measured, progress)?;
    let memory = usage::memory(stage.sender.pid())?;
    measured.set("edge_memory_peak", memory.peak as f64);
    if stage.receiver.unreadable() > 0 {
        let unreadable = stage.receiver.unreadable();
        progress.note(&format!(
            "{kind}: the sink could not read {unreadable} requests"
        ));
    }
    let (connections, said) = (stage.link.connections(), stage.receiver.said());
    progress.note(&format!("{kind}: {connections} connections, {said}"));
    Ok(measured)
}

impl Stage<'_> {
    fn used(&self) -> anyhow::Result<Used> {
        Ok(Used {
            at: now_ms(),
            cpu: usage::cpu(self.sender.pid())?,
            up: self.link.bytes_up(),
            down: self.link.bytes_down(),
            disk: usage::disk(self.sender.data()),
        })
    }

    fn pass(&mut self, time: Duration, progress: &mut Progress) -> anyhow::Result<()> {
        let began = Instant::now();
        while let Some(left) = time.checked_sub(began.elapsed()) {
            self.sender.check_alive()?;
            progress.at(began.elapsed().as_secs(), time.as_secs());
            thread::sleep(left.min(LOOK));
        }
        Ok(())
    }

    fn cpu_a_million(&self, before: &Used, after: &Used) -> f64 {
        let samples = self.targets.samples(before.until(after)).max(1.0);
        (after.cpu - before.cpu).as_secs_f64() * 1e6 / samples
    }

    /// Bytes a second that go up live.
    fn live(&mut self, measured: &mut Measured, progress: &mut Progress) -> anyhow::Result<f64> {
        let before = self.used()?;
        self.pass(self.plan.live, progress)?;
        let after = self.used()?;
        let span = before.until(&after);
        let samples = self.targets.samples(span).max(1.0);
        let up = (after.up - before.up) as f64;
        measured.set("edge_cpu_live", self.cpu_a_million(&before, &after));
        measured.set("edge_wire_live", up / samples);
        let down = (after.down - before.down) as f64;
        measured.set("edge_wire_live_back", down / samples);
        let memory = usage::memory(self.sender.pid())?;
        measured.set("edge_memory_rest", memory.resident as f64);
        measured.set("edge_memory_rest_anonymous", memory.anonymous as f64);
        measured.set("edge_memory_peak", memory.peak as f64);
        // What was scraped last is still on its way.
        thread::sleep(LAST_ONES);
        self.receiver.look_back(span.from);
        let delays = self.receiver.arrivals.delays(span);
        for (key, part) in [("edge_live_p50", 0.5), ("edge_live_p99", 0.99)] {
            measured.set_if(key, delays.quantile(part).map(|delay| delay.as_secs_f64()));
        }
        Ok(up / (span.millis() as f64 / 1000.0))
    }

    /// Scrapes go on while nothing gets through.
    fn cut(&mut self, measured: &mut Measured, progress: &mut Progress) -> anyhow::Result<Span> {
        self.link.refuse();
        let before = self.used()?;
        self.pass(self.plan.cut, progress)?;
        let after = self.used()?;
        let span = before.until(&after);
        let samples = self.targets.samples(span).max(1.0);
        measured.set("edge_cpu_cut", self.cpu_a_million(&before, &after));
        let grown = after.disk as f64 - before.disk as f64;
        measured.set("edge_disk", grown / samples);
        let memory = usage::memory(self.sender.pid())?;
        measured.set("edge_memory_cut", memory.resident as f64);
        if let Some(before) = measured.get("edge_memory_rest") {
            let grown = (memory.resident as f64 / before - 1.0) * 100.0;
            measured.set("edge_memory_grown", grown.max(0.0));
        }
        Ok(span)
    }

    fn drain(
        &mut self,
        cut: Span,
        up_a_second: f64,
        measured: &mut Measured,
        progress: &mut Progress,
    ) -> anyhow::Result<()> {
        let rate = (up_a_second * 2.0).max(1000.0);
        self.link.limit_up(Some(rate as u64));
        measured.set("edge_link_rate", rate);
        let before = self.used()?;
        self.link.mend();
        let returned = now_ms();
        let began = Instant::now();
        let scraped = self.targets.pages(cut);
        let within = self.plan.cut * CUTS_TO_DRAIN + Duration::from_secs(60);
        let mut drained = None;
        while drained.is_none() && began.elapsed() < within {
            thread::sleep(LOOK);
            self.sender.check_alive()?;
            let there = self.receiver.count(cut);
            progress.at(there, scraped);
            if there + EDGE_SCRAPES >= scraped {
                drained = Some(self.used()?);
            }
        }
        if let Some(after) = &drained {
            let seconds = (after.at - returned) as f64 / 1000.0;
            measured.set("edge_drain_seconds", seconds);
            let up = (after.up - before.up) as f64;
            let backlog = self.targets.samples(cut).max(1.0);
            // Of what was scraped meanwhile, that which has come: where fresh samples wait behind the backlog, none.
            let came = self.receiver.arrivals.count(before.until(after));
            let fresh = (came * self.plan.series as u64) as f64;
            measured.set("edge_wire_drain", up / (fresh + backlog));
            let wire_live = measured.get("edge_wire_live").unwrap_or(0.0);
            measured.set("edge_wire_backlog", (up - wire_live * fresh) / backlog);
            let cpu = (after.cpu - before.cpu).as_secs_f64();
            measured.set("edge_cpu_drain", cpu * 1e6 / (fresh + backlog));
        }
        let memory = usage::memory(self.sender.pid())?;
        measured.set("edge_memory_drained", memory.resident as f64);
        // Enough scrapes after the ten seconds, even if draining took no longer.
        let least = CURRENT_WITHIN + self.plan.interval * 4;
        self.pass(least.saturating_sub(began.elapsed()), progress)?;
        let last = now_ms();
        self.link.limit_up(None);
        thread::sleep(LAST_ONES);
        self.receiver.look_back(returned);
        self.delays(returned, last, measured);
        let missing = scraped.saturating_sub(self.receiver.count(cut) + EDGE_SCRAPES);
        measured.set("edge_missing", missing as f64);
        if let Some(books) = self.sender.books() {
            measured.set("edge_unbalanced", f64::from(u8::from(!books.is_balanced)));
        }
        Ok(())
    }

    fn delays(&self, returned: i64, last: i64, measured: &mut Measured) {
        let millis = |time: Duration| i64::try_from(time.as_millis()).unwrap_or(i64::MAX);
        let arrivals = Arc::clone(&self.receiver.arrivals);
        let current = Span {
            from: returned + millis(CURRENT_WITHIN),
            to: last,
        };
        let delays = arrivals.delays(current);
        for (key, part) in [("edge_drain_p50", 0.5), ("edge_drain_p99", 0.99)] {
            measured.set_if(key, delays.quantile(part).map(|delay| delay.as_secs_f64()));
        }
        let fresh = arrivals.first_fresh(returned, millis(self.plan.interval));
        let blocked = fresh.map(|at| (at - returned) as f64 / 1000.0);
        measured.set_if("edge_blocked_seconds", blocked);
    }
}

impl Used {
    fn until(&self, later: &Used) -> Span {
        Span {
            from: self.at,
            to: later.at,
        }
    }
}
