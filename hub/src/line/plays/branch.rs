//! A branch, its link, and the connections that it has, or had: what an edge has given up may still live at the hub, and what
//! was on its way may still come.

use std::collections::VecDeque;
use std::time::Duration;

use axum::body::Bytes;
use daemon::{Clock, SimClock};
use edge_scraper::forward::LineStep;

use super::edge::EdgeSide;
use super::hub::{HubEnd, HubSide};
use super::random::Random;
use super::world::Seen;
use crate::line::connection::Ended;

/// One way.
const TRIP: Duration = Duration::from_millis(30);
/// What some messages take beyond it, at most, ms.
const DELAY_MS_MAX: u64 = 300;
/// And what those of a connection that was given up take, whose packets are sent again and again.
const LATE_MS_MAX: u64 = 6_000;
/// A connection on which nothing comes is given up by the hub after that.
const IDLE_MAX: Duration = Duration::from_secs(15);
/// Connections that an edge has left, and the hub does not know it yet.
const LEFT_MAX: usize = 3;

/// A connection, with what is on its way: what was sent, and when it arrives.
#[derive(Default)]
struct Pipe {
    to_hub: VecDeque<(Duration, Bytes)>,
    to_edge: VecDeque<(Duration, Result<Bytes, &'static str>)>,
}

/// A connection that the edge has given up. What is on its way to the hub comes late, or never; what the hub says is lost.
struct Left {
    end: HubEnd,
    to_hub: VecDeque<(Duration, Bytes)>,
    heard: Duration,
}

pub(super) struct Branch {
    pub(super) edge: EdgeSide,
    /// Nothing passes, in both directions. Who has a connection is not told.
    pub(super) is_cut: bool,
    /// The edge's token is in force no more.
    pub(super) is_refused: bool,
    pipe: Option<Pipe>,
    end: Option<HubEnd>,
    left: Vec<Left>,
    /// When the edge's machine wants to be asked again.
    edge_wake: Option<Duration>,
}

impl Branch {
    pub(super) fn new(edge: EdgeSide) -> Self {
        Branch {
            edge,
            is_cut: false,
            is_refused: false,
            pipe: None,
            end: None,
            left: Vec::new(),
            edge_wake: None,
        }
    }

    /// Whether the hub has a connection of it that is not left.
    pub(super) fn is_held(&self) -> bool {
        self.end.is_some()
    }

    /// Whether something has come on it.
    pub(super) fn is_heard(&self) -> bool {
        self.end.as_ref().is_some_and(HubEnd::has_begun)
    }

    /// Whether something of it is stored and, as far as its connections know, not on disk.
    pub(super) fn is_settling(&self) -> bool {
        let left = self.left.iter().map(|left| &left.end);
        self.end.iter().chain(left).any(HubEnd::is_settling)
    }

    /// The connection breaks, and both ends hear of it: what was on its way is lost.
    pub(super) fn reset(
        &mut self,
        why: &str,
        hub: &HubSide,
        random: &mut Random,
    ) -> Result<(), String> {
        if self.pipe.take().is_some() {
            self.edge.disconnected(why, random);
        }
        let left = self.left.drain(..).map(|left| left.end);
        let ends: Vec<HubEnd> = left.chain(self.end.take()).collect();
        ends.into_iter().try_for_each(|end| end.end(hub))
    }

    /// The edge gives its connection up, or ends. Often what it had sent comes nevertheless.
    pub(super) fn leave(&mut self, random: &mut Random) {
        let (Some(pipe), Some(end)) = (self.pipe.take(), self.end.take()) else {
            return;
        };
        let mut to_hub = pipe.to_hub;
        if random.one_in(4) {
            to_hub.clear();
        }
        let late = if random.one_in(2) {
            LATE_MS_MAX
        } else {
            DELAY_MS_MAX
        };
        let late = Duration::from_millis(random.below(late));
        to_hub.iter_mut().for_each(|(at, _)| *at += late);
        let heard = self.edge.now();
        self.left.push(Left { end, to_hub, heard });
    }

    /// All its connections end with the hub, in order if there is one; the edge is told if nothing is cut.
    pub(super) fn hub_ends(
        &mut self,
        in_order: Option<&HubSide>,
        now: Duration,
    ) -> Result<(), String> {
        let left = self.left.drain(..).map(|left| left.end);
        for end in left.chain(self.end.take()) {
            match in_order {
                Some(hub) => end.end(hub)?,
                None => drop(end),
            }
        }
        self.tell_end("the hub ended", now);
        Ok(())
    }

    fn tell_end(&mut self, why: &'static str, now: Duration) {
        if let Some(pipe) = &mut self.pipe {
            pipe.to_hub.clear();
            pipe.to_edge.push_back((now + TRIP, Err(why)));
        }
    }

    /// Does what is due now; whether it did anything.
    pub(super) fn go_on(
        &mut self,
        hub: &HubSide,
        seen: &mut Seen,
        clock: &SimClock,
        random: &mut Random,
    ) -> Result<bool, String> {
        let now = clock.elapsed();
        let mut busy = false;
        if !self.is_cut {
            busy |= self.deliver_late(hub, seen, now)?;
            busy |= self.deliver(hub, seen, now)?;
            busy |= self.answer(hub, seen.restores > 0, now, random)?;
        }
        busy |= self.store(hub, seen, now, random)?;
        busy |= self.let_go(hub, now)?;
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
                self.leave(random);
                self.edge.is_connected = false;
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

    /// Has the ends at the hub do what is due.
    fn store(
        &mut self,
        hub: &HubSide,
        seen: &mut Seen,
        now: Duration,
        random: &mut Random,
    ) -> Result<bool, String> {
        let mut busy = false;
        if let Some(mut end) = self.end.take() {
            match end.go_on(hub, seen, random) {
                Ok(more) => {
                    busy |= more;
                    self.end = Some(end);
                }
                // The connection ends, and its edge hears of it.
                Err(Ended::Failed(_)) => {
                    busy = true;
                    end.end(hub)?;
                    self.tell_end("the hub could not store", now);
                }
                Err(ended) => return Err(ended.to_string()),
            }
        }
        for mut left in std::mem::take(&mut self.left) {
            match left.end.go_on(hub, seen, random) {
                Ok(more) => {
                    busy |= more;
                    self.left.push(left);
                }
                Err(Ended::Failed(_)) => left.end.end(hub)?,
                Err(ended) => return Err(ended.to_string()),
            }
        }
        Ok(busy)
    }

    /// What nobody listens to any more ends at the hub, too, after a while.
    fn let_go(&mut self, hub: &HubSide, now: Duration) -> Result<bool, String> {
        let many = self.left.len().saturating_sub(LEFT_MAX);
        let mut gone: Vec<Left> = self.left.drain(..many).collect();
        let (idle, stay): (Vec<Left>, Vec<Left>) = std::mem::take(&mut self.left)
            .into_iter()
            .partition(|left| now.saturating_sub(left.heard) >= IDLE_MAX);
        self.left = stay;
        gone.extend(idle);
        let busy = !gone.is_empty();
        gone.into_iter().try_for_each(|left| left.end.end(hub))?;
        Ok(busy)
    }

    fn connect(&mut self, random: &mut Random) {
        if self.is_cut {
            return self.edge.disconnected("no route", random);
        }
        if self.is_refused {
            return self.edge.disconnected("401 Unauthorized", random);
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

    /// What comes on connections that the edge has given up. Whoever begins takes the edge's place from all others, be it
    /// the one that the edge has now.
    fn deliver_late(
        &mut self,
        hub: &HubSide,
        seen: &mut Seen,
        now: Duration,
    ) -> Result<bool, String> {
        let mut busy = false;
        let mut at = 0;
        while at < self.left.len() {
            let left = &mut self.left[at];
            if !left.end.takes_more() || left.to_hub.front().is_none_or(|(when, _)| *when > now) {
                at += 1;
                continue;
            }
            let Some((_, message)) = left.to_hub.pop_front() else {
                continue;
            };
            busy = true;
            seen.late += 1;
            left.heard = now;
            let mut left = self.left.remove(at);
            if !left.end.has_begun() {
                self.end_all_begun(hub, seen, now)?;
                at = 0;
            }
            match left
                .end
                .take(hub, &self.edge.name, &message, !self.is_refused)
            {
                Ok(()) => self.left.insert(at, left),
                Err(Ended::Revoked) => {
                    seen.revoked += 1;
                    left.end.end(hub)?;
                }
                Err(ended) => return Err(format!("{}: the hub closed: {ended}", self.edge.name)),
            }
        }
        Ok(busy)
    }

    /// What earlier connections brought is settled before another one begins.
    fn end_all_begun(
        &mut self,
        hub: &HubSide,
        seen: &mut Seen,
        now: Duration,
    ) -> Result<(), String> {
        let (begun, stay): (Vec<Left>, Vec<Left>) = std::mem::take(&mut self.left)
            .into_iter()
            .partition(|left| left.end.has_begun());
        self.left = stay;
        for left in begun {
            seen.taken_over += 1;
            left.end.end(hub)?;
        }
        if let Some(end) = self.end.take_if(|end| end.has_begun()) {
            seen.taken_over += 1;
            end.end(hub)?;
            self.tell_end("another connection has begun", now);
        }
        Ok(())
    }

    /// What comes on the edge's connection.
    fn deliver(&mut self, hub: &HubSide, seen: &mut Seen, now: Duration) -> Result<bool, String> {
        let mut busy = false;
        while let (Some(pipe), Some(end)) = (&mut self.pipe, &mut self.end)
            && end.takes_more()
            && pipe.to_hub.front().is_some_and(|(at, _)| *at <= now)
        {
            let Some((_, message)) = pipe.to_hub.pop_front() else {
                break;
            };
            busy = true;
            if !end.has_begun() {
                self.end_all_begun(hub, seen, now)?;
            }
            let Some(mut end) = self.end.take() else {
                break;
            };
            match end.take(hub, &self.edge.name, &message, !self.is_refused) {
                Ok(()) => self.end = Some(end),
                Err(Ended::Revoked) => {
                    seen.revoked += 1;
                    end.end(hub)?;
                    self.tell_end("the credential is in force no more", now);
                }
                Err(ended) => return Err(format!("{}: the hub closed: {ended}", self.edge.name)),
            }
        }
        Ok(busy)
    }

    /// What the hub says on it.
    fn answer(
        &mut self,
        hub: &HubSide,
        is_restored: bool,
        now: Duration,
        random: &mut Random,
    ) -> Result<bool, String> {
        let mut busy = false;
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

    pub(super) fn wake(&self) -> Option<Duration> {
        let takes_more = self.end.as_ref().is_some_and(HubEnd::takes_more);
        let arrivals = self.pipe.iter().filter(|_| !self.is_cut).flat_map(|pipe| {
            let out = pipe.to_hub.front().filter(|_| takes_more);
            let back = pipe.to_edge.front().map(|(at, _)| *at);
            out.map(|(at, _)| *at).into_iter().chain(back)
        });
        let late = self
            .left
            .iter()
            .filter(|left| !self.is_cut && left.end.takes_more());
        let late = late.filter_map(|left| left.to_hub.front().map(|(at, _)| *at));
        let left = self.left.iter().map(|left| &left.end);
        let ends = self.end.iter().chain(left).filter_map(HubEnd::wake);
        let idle = self.left.iter().map(|left| left.heard + IDLE_MAX);
        let edge = self.edge_wake.into_iter().chain(self.edge.wake());
        edge.chain(arrivals)
            .chain(late)
            .chain(ends)
            .chain(idle)
            .min()
    }
}
