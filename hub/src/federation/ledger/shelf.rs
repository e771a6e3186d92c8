//! All edges' books, and whether each edge is heard: decisions with the time as an argument.

use std::collections::BTreeMap;
use std::time::Duration;

use model::Timestamp;
use wire::edge_headers::SequenceRange;

use super::book::{Account, Book, Section, State};
use super::combine::combine;
use super::disk::{Record, Row};
use crate::line::planted::{self, Planted};

/// A held connection says something every two seconds. After so long without, or at its end, the edge is silent: known
/// within five seconds.
pub(crate) const SILENCE: Duration = Duration::from_millis(4_500);
/// While an edge is heard, what is newer than that is on its way: no gap.
pub(crate) const FRESH_MS: i64 = 10_000;
/// What was said so long ago vouches for the time since. Less than what is fresh by what an edge may take to sync a scrape: only then does it
/// speak of it.
const VOUCHED_MS: i64 = 6_000;
/// While an edge is heard, its watermark may be so far behind and nothing is wrong: where it only scrapes once a minute.
const WATERMARK_BEHIND_MS_MAX: i64 = 90_000;
/// A clock that is further off is wrong, and not only measured badly. The edge's own tolerance is about that.
const CLOCK_OFF_MS: u64 = 2_000;
/// Edges kept: who makes up names cannot take all memory.
const EDGES_MAX: usize = 10_000;

/// What an edge says of itself beside its books: not kept over a restart.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct About {
    pub(crate) version: String,
    pub(crate) config: String,
    pub(crate) buffer_bytes: u64,
    pub(crate) buffer_bytes_max: u64,
    pub(crate) round_trip_us: Option<u64>,
    /// The hub's clock less the edge's.
    pub(crate) clock_offset_ms: Option<i64>,
    /// How much later it stamps than its clock says.
    pub(crate) clock_correction_ms: Option<i64>,
    /// Reports of the last hundred without an answer in time.
    pub(crate) lost_percent: u32,
    /// When it said all this, by the hub's clock; as it came, if that is not known.
    pub(crate) said_at_ms: Option<i64>,
}

/// Whether a branch's edges are heard, and have sent all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum LinkNow {
    /// Heard, and nothing of before the last seconds waits.
    Up,
    /// Heard, and sends what an outage left behind.
    Draining,
    /// Not heard.
    Silent,
}

/// What became of a wish to forget an edge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Forgotten {
    Gone,
    /// There was none.
    Unknown,
    /// It has a connection.
    Connected,
}

#[derive(Debug, Default)]
struct Edge {
    book: Book,
    about: About,
    /// Held connections.
    connections: u32,
    /// Elapsed time at its last word; none since this hub started.
    heard: Option<Duration>,
    heard_at: Timestamp,
    /// It has reported since its last connection began: what it said before says nothing of the time since.
    reported: bool,
    changed: bool,
}

/// An edge as it stands.
#[derive(Clone, Debug)]
pub(crate) struct EdgeNow {
    pub(crate) branch: String,
    pub(crate) edge: String,
    pub(crate) link: LinkNow,
    /// Whether all that was scraped until a moment ago is here, save for what is lost.
    pub(crate) complete: bool,
    pub(crate) heard_at: Timestamp,
    pub(crate) book: Book,
    pub(crate) about: About,
}

/// By branch, by edge.
#[derive(Debug, Default)]
pub(crate) struct Shelf {
    branches: BTreeMap<String, BTreeMap<String, Edge>>,
    edges: usize,
    gone: Vec<(String, String)>,
    refused_edges: u64,
}

/// What time it is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Now {
    pub(crate) at: Timestamp,
    pub(crate) elapsed: Duration,
}

impl Edge {
    /// Whether it holds a connection, or did: of one that only ever sent remote write nothing is known but its records.
    fn speaks(&self) -> bool {
        self.connections > 0 || self.book.watermark().is_some()
    }

    fn is_heard(&self, now: Now) -> bool {
        let heard = self
            .heard
            .is_some_and(|heard| now.elapsed.saturating_sub(heard) <= SILENCE);
        self.connections > 0 && heard
    }

    /// Up to when all is known, as it counts now. What comes late, on a connection that hung for a while, says nothing of
    /// the time since it was sent.
    fn through(&self, now: Now) -> i64 {
        let at = now.at.millis();
        let said_at = self.about.said_at_ms.unwrap_or(at);
        let vouches = self.reported && at.saturating_sub(said_at) <= VOUCHED_MS;
        let vouches = vouches || planted::is(Planted::VouchesForSilence);
        let near = at.saturating_sub(self.book.through) <= WATERMARK_BEHIND_MS_MAX;
        match vouches && self.is_heard(now) && near {
            true => self.book.through.max(at),
            false => self.book.through,
        }
    }

    fn sections(&self, start: i64, end: i64, now: Now) -> Vec<Section> {
        let end = end.min(now.at.millis());
        self.book.sections(start, end, self.through(now))
    }

    fn link(&self, now: Now) -> LinkNow {
        let old = now.at.millis() - FRESH_MS;
        match self.book.oldest_pending() {
            _ if !self.is_heard(now) => LinkNow::Silent,
            Some(oldest) if oldest < old => LinkNow::Draining,
            _ => LinkNow::Up,
        }
    }

    /// Up to where somebody who asks now looks for gaps; None if it is plain that there are none.
    fn looked_at(&self, start: i64, end: i64, now: Now) -> Option<i64> {
        let heard = self.is_heard(now);
        let fresh = if heard { FRESH_MS } else { 0 };
        let end = end.min(now.at.millis() - fresh);
        let is_whole = start >= end || self.book.is_whole() && end <= self.through(now);
        (!is_whole).then_some(end)
    }

    /// Where something may be missing, seen by somebody who asks now.
    fn gaps(&self, start: i64, end: i64, now: Now) -> Vec<Section> {
        let Some(end) = self.looked_at(start, end, now) else {
            return Vec::new();
        };
        let mut sections = self.sections(start, end, now);
        sections.retain(|section| section.state != State::Complete);
        sections
    }
}

impl Shelf {
    pub(crate) fn from_rows(rows: Vec<Row>) -> Self {
        let mut shelf = Shelf::default();
        for ((branch, edge), Record { book, heard_at_ms }) in rows {
            let heard_at = Timestamp::from_millis(heard_at_ms);
            let entry = Edge {
                book,
                heard_at,
                ..Edge::default()
            };
            shelf.edges += 1;
            shelf
                .branches
                .entry(branch)
                .or_default()
                .insert(edge, entry);
        }
        shelf
    }

    fn with(&mut self, branch: &str, edge: &str, change: impl FnOnce(&mut Edge)) {
        let known = self
            .branches
            .get_mut(branch)
            .and_then(|edges| edges.get_mut(edge));
        if let Some(known) = known {
            return change(known);
        }
        if self.edges >= EDGES_MAX {
            self.refused_edges += 1;
            if self.refused_edges.is_power_of_two() {
                tracing::warn!(
                    branch,
                    edge,
                    "more than {EDGES_MAX} edges: this one is stored, but not in the ledger"
                );
            }
            return;
        }
        self.edges += 1;
        self.gone
            .retain(|(b, e)| (b.as_str(), e.as_str()) != (branch, edge));
        change(
            self.branches
                .entry(branch.to_owned())
                .or_default()
                .entry(edge.to_owned())
                .or_default(),
        );
    }

    /// A held connection of the edge begins.
    pub(crate) fn connected(&mut self, branch: &str, edge: &str, now: Now) {
        self.with(branch, edge, |entry| {
            entry.connections += 1;
            entry.reported = false;
            (entry.heard, entry.heard_at, entry.changed) = (Some(now.elapsed), now.at, true);
        });
    }

    /// It ends.
    pub(crate) fn disconnected(&mut self, branch: &str, edge: &str) {
        self.with(branch, edge, |entry| {
            entry.connections = entry.connections.saturating_sub(1);
            entry.changed = true;
        });
    }

    /// Something came on it.
    pub(crate) fn heard(&mut self, branch: &str, edge: &str, now: Now) {
        self.with(branch, edge, |entry| {
            (entry.heard, entry.heard_at) = (Some(now.elapsed), now.at)
        });
    }

    /// What came was a report.
    pub(crate) fn report(
        &mut self,
        branch: &str,
        edge: &str,
        account: &Account,
        about: About,
        now: Now,
    ) {
        // An edge's clock that is ahead vouches for no time that has not been.
        let account = Account {
            complete_through_ms: account.complete_through_ms.min(now.at.millis()),
            ..account.clone()
        };
        self.with(branch, edge, |entry| {
            entry.book.report(&account);
            entry.reported = true;
            entry.about = about;
            (entry.heard, entry.heard_at, entry.changed) = (Some(now.elapsed), now.at, true);
        });
    }

    /// Records of the edge are on disk here.
    pub(crate) fn stored(
        &mut self,
        branch: &str,
        edge: &str,
        epoch: u64,
        records: &[SequenceRange],
        samples: u64,
        now: Now,
    ) {
        self.with(branch, edge, |entry| {
            entry.book.stored(epoch, records, samples);
            (entry.heard_at, entry.changed) = (now.at, true);
        });
    }

    /// Forgets what was before the horizon, and edges that were not heard since.
    pub(crate) fn forget_before(&mut self, horizon: Timestamp) {
        let gone = &mut self.gone;
        for (branch, edges) in &mut self.branches {
            edges.retain(|edge, entry| {
                let stays = entry.connections > 0 || entry.heard_at >= horizon;
                if stays {
                    entry.book.forget_before(horizon.millis());
                } else {
                    gone.push((branch.clone(), edge.clone()));
                }
                stays
            });
        }
        self.branches.retain(|_, edges| !edges.is_empty());
        self.edges = self.branches.values().map(BTreeMap::len).sum();
    }

    /// Forgets an edge that will not come back.
    pub(crate) fn forget(&mut self, branch: &str, edge: &str) -> Forgotten {
        let Some(edges) = self.branches.get_mut(branch) else {
            return Forgotten::Unknown;
        };
        match edges.get(edge).map(|entry| entry.connections) {
            None => return Forgotten::Unknown,
            Some(0) => {}
            Some(_) => return Forgotten::Connected,
        }
        edges.remove(edge);
        if edges.is_empty() {
            self.branches.remove(branch);
        }
        self.edges -= 1;
        self.gone.push((branch.to_owned(), edge.to_owned()));
        Forgotten::Gone
    }

    /// What is to be written, and what is to go; it counts as done.
    pub(crate) fn take_changed(&mut self) -> (Vec<Row>, Vec<(String, String)>) {
        let mut rows = Vec::new();
        for (branch, edges) in &mut self.branches {
            for (edge, entry) in edges.iter_mut().filter(|(_, entry)| entry.changed) {
                entry.changed = false;
                let record = Record {
                    book: entry.book.clone(),
                    heard_at_ms: entry.heard_at.millis(),
                };
                rows.push(((branch.clone(), edge.clone()), record));
            }
        }
        (rows, std::mem::take(&mut self.gone))
    }

    /// They could not be written: another time.
    pub(crate) fn put_back(&mut self, rows: &[Row], gone: Vec<(String, String)>) {
        for ((branch, edge), _) in rows {
            let entry = self
                .branches
                .get_mut(branch)
                .and_then(|edges| edges.get_mut(edge));
            if let Some(entry) = entry {
                entry.changed = true;
            }
        }
        self.gone.extend(gone);
    }

    pub(crate) fn book(&self, branch: &str, edge: &str) -> Option<&Book> {
        Some(&self.branches.get(branch)?.get(edge)?.book)
    }

    pub(crate) fn branches(&self) -> Vec<String> {
        let speak = self
            .branches
            .iter()
            .filter(|(_, edges)| edges.values().any(Edge::speaks));
        speak.map(|(branch, _)| branch.clone()).collect()
    }

    /// All edges of the branches that are wanted, by branch.
    pub(crate) fn edges(&self, now: Now, wanted: impl Fn(&str) -> bool) -> Vec<EdgeNow> {
        let branches = self.branches.iter().filter(|(branch, _)| wanted(branch));
        let all = branches.flat_map(|(branch, edges)| edges.iter().map(move |edge| (branch, edge)));
        let all = all.filter(|(_, (_, entry))| entry.speaks());
        all.map(|(branch, (edge, entry))| EdgeNow {
            branch: branch.clone(),
            edge: edge.clone(),
            link: entry.link(now),
            complete: entry.link(now) == LinkNow::Up && entry.through(now) >= now.at.millis(),
            heard_at: entry.heard_at,
            book: entry.book.clone(),
            about: entry.about.clone(),
        })
        .collect()
    }

    /// The same without what they hold.
    pub(crate) fn links(&self, now: Now) -> Vec<(String, LinkNow)> {
        let all = self
            .branches
            .iter()
            .flat_map(|(branch, edges)| edges.values().map(move |edge| (branch, edge)))
            .filter(|(_, edge)| edge.speaks());
        all.map(|(branch, edge)| (branch.clone(), edge.link(now)))
            .collect()
    }

    /// The time of a branch between two instants, as far as its edges' time goes.
    pub(crate) fn sections(&self, branch: &str, start: i64, end: i64, now: Now) -> Vec<Section> {
        let edges = self
            .branches
            .get(branch)
            .into_iter()
            .flat_map(BTreeMap::values);
        combine(edges.map(|edge| edge.sections(start, end, now)).collect())
    }

    /// Branches that are heard, and whose edge stamps samples with a clock that is off: by how much, the hub's less its own, ms.
    pub(crate) fn clocks_off(&self, now: Now, wanted: impl Fn(&str) -> bool) -> Vec<(String, i64)> {
        let off = |edge: &Edge| {
            let about = &edge.about;
            let trusted = about.clock_correction_ms.is_none() && edge.link(now) != LinkNow::Silent;
            let offset = about.clock_offset_ms.filter(|_| trusted)?;
            (offset.unsigned_abs() > CLOCK_OFF_MS).then_some(offset)
        };
        let branches = self.branches.iter().filter(|(branch, _)| wanted(branch));
        branches
            .filter_map(|(branch, edges)| Some((branch.clone(), edges.values().find_map(off)?)))
            .collect()
    }

    /// Branches that may miss something between two instants, with where; only those that `wanted` takes.
    pub(crate) fn gaps(
        &self,
        start: i64,
        end: i64,
        now: Now,
        wanted: impl Fn(&str) -> bool,
    ) -> Vec<(String, Vec<Section>)> {
        let mut gaps = Vec::new();
        for (branch, edges) in &self.branches {
            // Cheapest first: all who report wait meanwhile, and a thousand branches may be draining that nobody asks about.
            let mut may_miss = edges.values().map(|edge| edge.looked_at(start, end, now));
            if !may_miss.any(|end| end.is_some()) || !wanted(branch) {
                continue;
            }
            let all = edges.values().map(|edge| edge.gaps(start, end, now));
            let found: Vec<_> = all.filter(|gaps| !gaps.is_empty()).collect();
            if !found.is_empty() {
                gaps.push((branch.clone(), combine(found)));
            }
        }
        gaps
    }
}
