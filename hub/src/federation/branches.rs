use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use daemon::Clock;
use model::Timestamp;
use wire::edge_headers::EdgeHeaders;

use super::ledger::{EdgeNow, Ledger, LinkNow};

/// An edge gives a sign of life every five seconds: three missed ones are silence.
const EDGE_SILENCE: Duration = Duration::from_secs(15);
/// Other senders speak when they have something: a scrape interval of a minute is ordinary.
const SENDER_SILENCE: Duration = Duration::from_secs(90);
/// Branches kept, so that a sender that makes up names cannot take all memory.
const BRANCHES_MAX: usize = 10_000;

/// Every branch that was configured or heard.
#[derive(Clone)]
pub(crate) struct Branches {
    clock: Arc<dyn Clock>,
    map: Arc<Mutex<BTreeMap<String, Entry>>>,
    /// What edges with a held connection say.
    ledger: Option<Arc<Ledger>>,
}

/// What kind of sender speaks for a branch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sender {
    /// Our edge, which reports about itself.
    Edge,
    /// A plain remote-write client.
    RemoteWrite,
}

/// Whether a branch is heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LinkState {
    /// Heard within the time that its kind of sender allows.
    Up,
    /// The same, and it sends what an outage left behind.
    Draining,
    /// Not heard since then.
    Silent,
    /// Never heard since this hub started.
    Unknown,
}

/// A branch as it stands now.
#[derive(Clone, Debug)]
pub(crate) struct Branch {
    pub(crate) name: String,
    pub(crate) link: LinkState,
    pub(crate) sender: Option<Sender>,
    /// When it was last heard.
    pub(crate) last_seen: Option<Timestamp>,
    /// How far behind now its newest sample is.
    pub(crate) lag: Option<Duration>,
    /// What waits at the edge, by its last report.
    pub(crate) pending_samples: u64,
    pub(crate) pending_bytes: u64,
    pub(crate) oldest_pending: Option<Timestamp>,
    /// What the edge had to give up, by its last report.
    pub(crate) evicted_samples: u64,
    /// What the hub has refused and the edge keeps.
    pub(crate) quarantined_samples: u64,
    /// What will never come, for whatever reason.
    pub(crate) lost_samples: u64,
    /// Whether all that was scraped until a moment ago is here, save for what is lost; only edges with a held connection say.
    pub(crate) complete: Option<bool>,
    /// The hub's clock less the edge's.
    pub(crate) clock_offset_ms: Option<i64>,
    /// How much later the edge stamps than its clock says.
    pub(crate) clock_correction_ms: Option<i64>,
    pub(crate) round_trip: Option<Duration>,
    /// Its edges with a held connection, now or before.
    pub(crate) edges: Vec<EdgeNow>,
    /// Samples stored since this hub started.
    pub(crate) stored_samples: u64,
    /// Requests refused since this hub started, and why the last one was.
    pub(crate) refused_requests: u64,
    pub(crate) last_refusal: Option<String>,
}

#[derive(Default)]
struct Entry {
    sender: Option<Sender>,
    heard: Option<(Timestamp, Duration)>,
    newest_sample: Option<Timestamp>,
    epoch: u64,
    pending_samples: u64,
    pending_bytes: u64,
    oldest_pending: Option<Timestamp>,
    evicted_samples: u64,
    stored_samples: u64,
    refused_requests: u64,
    last_refusal: Option<String>,
}

/// What one accepted request says about its branch.
#[derive(Clone, Debug, Default)]
pub(crate) struct Report {
    pub(crate) edge: Option<EdgeHeaders>,
    /// Samples stored from this request; once acknowledged they no longer wait at the edge.
    pub(crate) stored_samples: u64,
    pub(crate) newest_sample: Option<Timestamp>,
}

impl Branches {
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Self {
        Branches {
            clock,
            map: Arc::default(),
            ledger: None,
        }
    }

    /// With what edges with a held connection say.
    pub(crate) fn with_ledger(self, ledger: Arc<Ledger>) -> Self {
        Branches {
            ledger: Some(ledger),
            ..self
        }
    }

    /// A branch that is expected though it was not heard yet.
    pub(crate) fn expect(&self, name: &str) {
        self.with(name, |_| {});
    }

    /// A request of the branch was stored.
    pub(crate) fn heard(&self, name: &str, report: &Report) {
        let heard = (self.clock.now(), self.clock.elapsed());
        self.with(name, |entry| {
            entry.heard = Some(heard);
            entry.stored_samples += report.stored_samples;
            entry.newest_sample = entry.newest_sample.max(report.newest_sample);
            match &report.edge {
                Some(edge) => entry.edge_reports(edge, report.stored_samples),
                None => entry.sender = entry.sender.or(Some(Sender::RemoteWrite)),
            }
        });
        // Should it hold a connection one day, it is told what need not be sent again.
        if let Some((ledger, edge)) = self.ledger.as_ref().zip(report.edge.as_ref())
            && !edge.sequences.is_empty()
        {
            ledger.stored(
                name,
                &edge.edge,
                edge.epoch,
                &edge.sequences,
                report.stored_samples,
            );
        }
    }

    /// Samples came on a held connection, and are on disk.
    pub(crate) fn stored_by_line(&self, name: &str, samples: u64, newest: Option<Timestamp>) {
        let heard = (self.clock.now(), self.clock.elapsed());
        self.with(name, |entry| {
            entry.heard = Some(heard);
            entry.sender = Some(Sender::Edge);
            entry.stored_samples += samples;
            entry.newest_sample = entry.newest_sample.max(newest);
        });
    }

    /// A request of the branch was refused.
    pub(crate) fn refused(&self, name: &str, why: &str) {
        let heard = (self.clock.now(), self.clock.elapsed());
        self.with(name, |entry| {
            entry.heard = Some(heard);
            entry.refused_requests += 1;
            entry.last_refusal = Some(why.chars().take(500).collect());
        });
    }

    /// All branches, by name.
    pub(crate) fn list(&self) -> Vec<Branch> {
        self.list_of(|_| true)
    }

    /// Those of these names, by name.
    pub(crate) fn list_of(&self, wanted: impl Fn(&str) -> bool) -> Vec<Branch> {
        let (now, elapsed) = (self.clock.now(), self.clock.elapsed());
        let mut all: BTreeMap<String, Branch> = {
            let map = self.map.lock().unwrap_or_else(PoisonError::into_inner);
            let shown = map
                .iter()
                .filter(|(name, _)| wanted(name))
                .map(|(name, entry)| entry.show(name, now, elapsed));
            shown.map(|branch| (branch.name.clone(), branch)).collect()
        };
        let edges = self.ledger.iter();
        let edges = edges.flat_map(|ledger| ledger.edges_of(&wanted));
        for edge in edges {
            let branch = all.entry(edge.branch.clone());
            let branch =
                branch.or_insert_with_key(|name| Entry::default().show(name, now, elapsed));
            branch.edges.push(edge);
        }
        all.into_values()
            .map(|branch| branch.by_edges(now))
            .collect()
    }

    /// The same in short: branches and whether they are heard.
    pub(crate) fn links(&self) -> BTreeMap<String, LinkState> {
        let elapsed = self.clock.elapsed();
        let mut links: BTreeMap<String, LinkState> = {
            let map = self.map.lock().unwrap_or_else(PoisonError::into_inner);
            map.iter()
                .map(|(name, entry)| (name.clone(), entry.link(elapsed)))
                .collect()
        };
        let mut by_edges: BTreeMap<String, LinkState> = BTreeMap::new();
        for (branch, link) in self.ledger.iter().flat_map(|ledger| ledger.links()) {
            let known = by_edges.get(&branch).copied();
            by_edges.insert(branch, of_edges(known, link));
        }
        links.extend(by_edges);
        links
    }

    fn with(&self, name: &str, change: impl FnOnce(&mut Entry)) {
        let mut map = self.map.lock().unwrap_or_else(PoisonError::into_inner);
        if map.len() >= BRANCHES_MAX && !map.contains_key(name) {
            tracing::warn!(
                branch = name,
                "more than {BRANCHES_MAX} branches: this one is stored, but not listed"
            );
            return;
        }
        change(map.entry(name.to_owned()).or_default());
    }
}

impl Entry {
    fn edge_reports(&mut self, edge: &EdgeHeaders, stored_samples: u64) {
        self.sender = Some(Sender::Edge);
        if self.epoch != edge.epoch {
            // Another buffer: what the old one reported is no longer so.
            (self.epoch, self.evicted_samples) = (edge.epoch, 0);
        }
        // Two lanes report at once; within a request the edge counts what it is sending as pending still.
        self.pending_samples = edge.pending_samples.saturating_sub(stored_samples);
        self.pending_bytes = if self.pending_samples == 0 {
            0
        } else {
            edge.pending_bytes
        };
        self.oldest_pending = edge.oldest_pending.filter(|_| self.pending_samples > 0);
        self.evicted_samples = self.evicted_samples.max(edge.evicted_samples);
    }

    fn link(&self, elapsed: Duration) -> LinkState {
        let silence = match self.sender {
            Some(Sender::Edge) => EDGE_SILENCE,
            _ => SENDER_SILENCE,
        };
        match self.heard {
            None => LinkState::Unknown,
            Some((_, at)) if elapsed.saturating_sub(at) > silence => LinkState::Silent,
            Some(_) => LinkState::Up,
        }
    }

    fn show(&self, name: &str, now: Timestamp, elapsed: Duration) -> Branch {
        Branch {
            name: name.to_owned(),
            link: self.link(elapsed),
            sender: self.sender,
            last_seen: self.heard.map(|(at, _)| at),
            lag: self
                .newest_sample
                .map(|newest| now.saturating_since(newest)),
            pending_samples: self.pending_samples,
            pending_bytes: self.pending_bytes,
            oldest_pending: self.oldest_pending,
            evicted_samples: self.evicted_samples,
            quarantined_samples: 0,
            lost_samples: self.evicted_samples,
            complete: None,
            clock_offset_ms: None,
            clock_correction_ms: None,
            round_trip: None,
            edges: Vec::new(),
            stored_samples: self.stored_samples,
            refused_requests: self.refused_requests,
            last_refusal: self.last_refusal.clone(),
        }
    }
}

/// Of several edges of a branch one that is heard speaks for it.
fn of_edges(known: Option<LinkState>, edge: LinkNow) -> LinkState {
    match (known, edge) {
        (Some(LinkState::Draining), _) | (_, LinkNow::Draining) => LinkState::Draining,
        (Some(LinkState::Up), _) | (_, LinkNow::Up) => LinkState::Up,
        _ => LinkState::Silent,
    }
}

impl Branch {
    /// Where edges have held connections, what they say holds.
    fn by_edges(self, now: Timestamp) -> Self {
        if self.edges.is_empty() {
            return self;
        }
        let sum = |count: fn(&EdgeNow) -> u64| {
            self.edges
                .iter()
                .fold(0_u64, |sum, edge| sum.saturating_add(count(edge)))
        };
        let heard = |edge: &&EdgeNow| edge.link != LinkNow::Silent;
        let through = self
            .edges
            .iter()
            .filter_map(|edge| edge.book.watermark())
            .max();
        let link = self
            .edges
            .iter()
            .fold(None, |known, edge| Some(of_edges(known, edge.link)));
        let link = link.unwrap_or(LinkState::Unknown);
        Branch {
            link,
            sender: Some(Sender::Edge),
            last_seen: self.edges.iter().map(|edge| edge.heard_at).max(),
            lag: through.map(|through| now.saturating_since(Timestamp::from_millis(through))),
            pending_samples: sum(|edge| edge.book.counts.pending),
            pending_bytes: sum(|edge| edge.book.counts.pending_bytes),
            oldest_pending: self
                .edges
                .iter()
                .filter_map(|edge| edge.book.oldest_pending())
                .min()
                .map(Timestamp::from_millis),
            evicted_samples: sum(|edge| edge.book.counts.evicted),
            quarantined_samples: sum(|edge| edge.book.counts.quarantined),
            lost_samples: sum(|edge| edge.book.lost_samples()),
            complete: Some(self.edges.iter().all(|edge| edge.complete)),
            clock_offset_ms: self
                .edges
                .iter()
                .filter(heard)
                .find_map(|edge| edge.about.clock_offset_ms),
            clock_correction_ms: self
                .edges
                .iter()
                .filter(heard)
                .find_map(|edge| edge.about.clock_correction_ms),
            round_trip: self
                .edges
                .iter()
                .filter(heard)
                .find_map(|edge| edge.about.round_trip_us)
                .map(Duration::from_micros),
            ..self
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use daemon::SimClock;
    use wire::edge_headers::Lane;

    fn edge_report(pending_samples: u64, stored_samples: u64) -> Report {
        let edge = EdgeHeaders {
            edge: "b01".into(),
            epoch: 1,
            sequences: Vec::new(),
            lane: Lane::Live,
            scraped_samples: 100,
            pending_samples,
            pending_bytes: pending_samples * 2,
            oldest_pending: Some(Timestamp::from_millis(5)),
            evicted_samples: 0,
        };
        Report {
            edge: Some(edge),
            stored_samples,
            newest_sample: Some(Timestamp::from_millis(900)),
        }
    }

    #[test]
    fn silence_is_noticed_and_speech_ends_it() {
        let clock = SimClock::new(Timestamp::from_millis(1000));
        let branches = Branches::new(Arc::new(clock.clone()));
        branches.expect("b01");
        let link = || branches.list()[0].link;
        assert_eq!(link(), LinkState::Unknown);
        branches.heard("b01", &edge_report(0, 0));
        assert_eq!(link(), LinkState::Up);
        clock.advance(EDGE_SILENCE);
        assert_eq!(link(), LinkState::Up);
        clock.advance(Duration::from_secs(1));
        assert_eq!(link(), LinkState::Silent);
        branches.heard("b01", &edge_report(0, 0));
        assert_eq!(link(), LinkState::Up);
    }

    #[test]
    fn what_was_stored_waits_no_longer() {
        let clock = SimClock::new(Timestamp::from_millis(1000));
        let branches = Branches::new(Arc::new(clock));
        branches.heard("b01", &edge_report(120, 100));
        let branch = &branches.list()[0];
        assert_eq!((branch.pending_samples, branch.stored_samples), (20, 100));
        assert_eq!(branch.lag, Some(Duration::from_millis(100)));
        branches.heard("b01", &edge_report(20, 20));
        let branch = &branches.list()[0];
        assert_eq!(
            (
                branch.pending_samples,
                branch.pending_bytes,
                branch.oldest_pending
            ),
            (0, 0, None)
        );
    }
}
