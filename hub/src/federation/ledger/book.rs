//! What is known of one edge's time: pure decisions, no clock, no disk.
//!
//! The edge is the authority. A report says: every scrape due up to its watermark is synced in the buffer; of that, these
//! intervals wait (*pending*), these were given up (*lost*), all the rest is with the hub (*complete*). What no report covers is
//! *unknown*. Of several truths about an instant the worst is shown: lost, then unknown, then pending.
//!
//! Rules that hold whatever the order of events:
//! - Nothing that was lost becomes complete, save when the buffer that it was in comes back and says so itself.
//! - What waited in a buffer that was replaced (another epoch) is lost, with its samples, as "buffer-replaced".
//! - The watermark never goes back within an epoch; an edge whose clock does is behind until the clock has caught up.

use std::collections::BTreeMap;

use edge_scraper::buffer::SequenceSet;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use wire::edge_headers::SequenceRange;
use wire::line::link::{HUB_RESTORED, RANGES_MAX};

use super::spans::{Span, Spans};
use crate::line::planted::{self, Planted};

/// What is known of an instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum State {
    /// All that was scraped is stored here.
    Complete,
    /// Some of it waits at the edge.
    Pending,
    /// No report covers it.
    Unknown,
    /// Some of it will never come.
    Lost,
}

impl State {
    pub(crate) fn name(self) -> &'static str {
        match self {
            State::Complete => "complete",
            State::Pending => "pending",
            State::Unknown => "unknown",
            State::Lost => "lost",
        }
    }
}

/// What an edge counts, since its buffer was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Counts {
    pub(crate) scraped: u64,
    /// Of these, gone before this hub was known to the edge.
    pub(crate) before: u64,
    pub(crate) acknowledged: u64,
    pub(crate) pending: u64,
    pub(crate) pending_bytes: u64,
    pub(crate) quarantined: u64,
    pub(crate) evicted: u64,
    pub(crate) damaged: u64,
}

/// A report, as far as the ledger goes. Times are the edge's corrected ones, ms since 1970.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Account {
    pub(crate) epoch: u64,
    /// Every scrape due up to then is synced.
    pub(crate) complete_through_ms: i64,
    /// Since when the edge knows all that was scraped, if it says: from what it had reported before until then nothing is known.
    pub(crate) since_ms: Option<i64>,
    pub(crate) pending: Vec<Span>,
    /// Samples that never come, and why.
    pub(crate) lost: Vec<(String, Span)>,
    pub(crate) counts: Counts,
}

/// Why samples of a buffer that was replaced are lost.
pub(crate) const REPLACED: &str = "buffer-replaced";
/// Why samples that a hub has refused are counted as lost, as edges say it.
const QUARANTINED: &str = "quarantined";
/// Reasons kept apart for one epoch; what comes beyond counts as the last of them.
const REASONS_MAX: usize = 16;
/// Longest reason.
const REASON_CHARS_MAX: usize = 64;
/// Sequences beyond are none that a buffer gives.
const SEQUENCE_MAX: u64 = u64::MAX / 2;
/// Epochs remembered; older ones keep their losses only.
const EPOCHS_MAX: usize = 8;

/// One edge.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Book {
    /// Of the buffer that reports now.
    pub(crate) epoch: u64,
    /// Where its time begins here.
    pub(crate) since: i64,
    /// Every scrape due up to then is synced at the edge, by its last report.
    pub(crate) through: i64,
    pending: Spans,
    unknown: Spans,
    losses: Vec<Losses>,
    pub(crate) counts: Counts,
    /// What this hub has on disk, by epoch.
    stored: BTreeMap<u64, Holding>,
    /// Whether there was any report.
    reported: bool,
}

/// What this hub has on disk of one buffer.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
struct Holding {
    /// Samples, staleness markers apart.
    samples: u64,
    /// Records of the buffer, all of whose samples were taken.
    #[serde(serialize_with = "write_records", deserialize_with = "read_records")]
    records: SequenceSet,
}

/// What was lost for one reason.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Losses {
    epoch: u64,
    reason: String,
    spans: Spans,
}

/// A stretch of time in one state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Section {
    pub(crate) start: i64,
    pub(crate) end: i64,
    pub(crate) state: State,
    /// Samples pending or lost, as far as they are known.
    pub(crate) samples: u64,
    /// Why they are lost.
    pub(crate) reasons: Vec<String>,
}

impl Book {
    /// The edge has reported. Whether anything but the watermark and the counts has changed.
    pub(crate) fn report(&mut self, account: &Account) -> bool {
        let before = (self.epoch, self.shape());
        let lost = account.lost.iter().filter_map(|(reason, span)| {
            let span = match reason == HUB_RESTORED {
                true if planted::is(Planted::OverlooksRestoration) => return None,
                true => self.begin_restored(account, *span)?,
                false => *span,
            };
            Some((reason.clone(), span))
        });
        let lost: Vec<(String, Span)> = lost.collect();
        let held = || {
            account
                .pending
                .iter()
                .chain(lost.iter().map(|(_, span)| span))
        };
        // Where this buffer's time begins, as far as this report tells.
        let begins = held().map(|span| span.start).chain(account.since_ms).min();
        let begins = begins.unwrap_or(i64::MAX).min(account.complete_through_ms);
        let mut since = account.since_ms;
        // Before its first scrape nothing was due.
        let is_new = self.epoch == account.epoch && self.counts.scraped == 0 && self.is_whole();
        if !self.reported || is_new {
            (self.reported, self.epoch) = (true, account.epoch);
            (self.since, self.through) = (begins, begins);
        } else if self.epoch != account.epoch {
            self.replace_buffer(account.epoch);
            since = since.or(Some(begins));
        }
        self.since = self.since.min(begins);
        // What it held from before it was started is known; between that and the start nobody scraped.
        if let Some(since) = since.map(|at| at.min(account.complete_through_ms)) {
            let before = held()
                .filter(|span| span.start < since)
                .map(|span| span.end);
            let covered = before.chain([self.through]).max().unwrap_or(self.through);
            self.unknown.add(Span {
                start: covered,
                end: since,
                samples: 0,
            });
        }
        self.through = self.through.max(account.complete_through_ms);
        if !planted::is(Planted::OverlooksPending) {
            self.pending = Spans::of(account.pending.iter().copied());
        }
        // What is in quarantine is still there, and may be taken yet: the report holds, not the one before.
        self.losses
            .retain(|losses| losses.reason != QUARANTINED || losses.epoch != account.epoch);
        for (reason, span) in &lost {
            self.lose(account.epoch, reason, *span);
        }
        self.counts = account.counts;
        before != (self.epoch, self.shape())
    }

    /// Where a stretch begins in which this hub may have had samples before it came back from an older state: what it knows to be
    /// complete it has. If it knows nothing, as far back as the report goes.
    fn begin_restored(&self, account: &Account, span: Span) -> Option<Span> {
        let known = match self.reported {
            true => Some(
                self.pending
                    .start()
                    .unwrap_or(self.through)
                    .min(self.through),
            ),
            false => {
                let lost = account.lost.iter().filter(|(why, _)| why != HUB_RESTORED);
                let held = account.pending.iter().chain(lost.map(|(_, span)| span));
                held.map(|span| span.start).chain(account.since_ms).min()
            }
        };
        let start = span.start.max(known?);
        (start < span.end).then_some(Span { start, ..span })
    }

    fn replace_buffer(&mut self, epoch: u64) {
        let waiting: Vec<Span> = self.pending.iter().copied().collect();
        for span in waiting {
            self.lose(self.epoch, REPLACED, span);
        }
        self.pending = Spans::default();
        // If this one was here before, its own report says now what became of what it held.
        self.losses
            .retain(|losses| losses.epoch != epoch || losses.reason != REPLACED);
        self.epoch = epoch;
        self.counts = Counts::default();
    }

    /// Records of the edge are on disk here; `samples` of them were not before. Said again of records that are known, it counts
    /// nothing: two frames of one record may have been under way.
    pub(crate) fn stored(&mut self, epoch: u64, records: &[SequenceRange], samples: u64) {
        if !records.is_empty() && self.has_all(epoch, records) {
            return;
        }
        let holding = self.stored.entry(epoch).or_default();
        holding.samples = holding.samples.saturating_add(samples);
        for range in records.iter().filter(|range| range.last <= SEQUENCE_MAX) {
            holding.records.insert_range(range.first, range.last);
        }
        // What lies before the newest ranges is not spoken of: see `Has`.
        while holding.records.range_count() > RANGES_MAX {
            let oldest = holding.records.ranges().next();
            let Some(oldest) = oldest else { break };
            holding.records.remove_range(oldest.first, oldest.last);
        }
        while self.stored.len() > EPOCHS_MAX {
            let mut others = self
                .stored
                .keys()
                .filter(|other| **other != self.epoch && **other != epoch);
            let Some(old) = others.next().copied() else {
                return;
            };
            self.stored.remove(&old);
        }
    }

    /// Samples that this hub has stored of the buffer that reports now.
    pub(crate) fn stored_samples(&self) -> u64 {
        self.stored
            .get(&self.epoch)
            .map_or(0, |holding| holding.samples)
    }

    /// Records of a buffer that are on disk here, rising.
    pub(crate) fn records(&self, epoch: u64) -> Vec<SequenceRange> {
        let holding = self.stored.get(&epoch);
        holding.map_or_else(Vec::new, |holding| holding.records.ranges().collect())
    }

    /// Whether all of these records are on disk here.
    pub(crate) fn has_all(&self, epoch: u64, records: &[SequenceRange]) -> bool {
        self.stored.get(&epoch).is_some_and(|holding| {
            let held = |range: &SequenceRange| {
                range.last <= SEQUENCE_MAX && holding.records.first_gap(range.first) > range.last
            };
            records.iter().all(held)
        })
    }

    fn lose(&mut self, epoch: u64, reason: &str, span: Span) {
        let reason: String = reason.chars().take(REASON_CHARS_MAX).collect();
        let known = self
            .losses
            .iter()
            .position(|l| l.epoch == epoch && l.reason == reason);
        let known =
            known.or_else(|| (self.losses.len() >= REASONS_MAX).then(|| self.losses.len() - 1));
        let Some(at) = known else {
            return self.losses.push(Losses {
                epoch,
                reason,
                spans: Spans::of([span]),
            });
        };
        // An edge joins its oldest intervals: where they are known one by one, that says nothing new.
        let spans = &mut self.losses[at].spans;
        if span.samples == 0 || spans.samples_within(span.start, span.end) != span.samples {
            spans.add(span);
        }
    }

    /// Forgets what was before.
    pub(crate) fn forget_before(&mut self, horizon: i64) {
        self.since = self.since.max(horizon);
        self.through = self.through.max(self.since);
        self.pending.remove(i64::MIN, horizon);
        self.unknown.remove(i64::MIN, horizon);
        for losses in &mut self.losses {
            losses.spans.remove(i64::MIN, horizon);
        }
        self.losses.retain(|losses| !losses.spans.is_empty());
    }

    /// Samples that were lost, for all reasons.
    pub(crate) fn lost_samples(&self) -> u64 {
        self.losses
            .iter()
            .fold(0, |sum, losses| sum.saturating_add(losses.spans.samples()))
    }

    pub(crate) fn oldest_pending(&self) -> Option<i64> {
        self.pending.start()
    }

    /// Whether all up to the watermark is complete: the common case, known without looking at any interval.
    pub(crate) fn is_whole(&self) -> bool {
        self.pending.is_empty() && self.unknown.is_empty() && self.losses.is_empty()
    }

    /// The state at an instant; None before its time begins.
    #[cfg(test)]
    pub(crate) fn state_at(&self, at: i64) -> Option<State> {
        (at >= self.since).then(|| self.judge(at, self.through))
    }

    fn judge(&self, at: i64, through: i64) -> State {
        if self.losses.iter().any(|losses| losses.spans.contains(at)) {
            State::Lost
        } else if at >= through || self.unknown.contains(at) {
            State::Unknown
        } else if self.pending.contains(at) {
            State::Pending
        } else {
            State::Complete
        }
    }

    /// Times at which the state may change, between two instants.
    fn edges(&self, start: i64, end: i64, through: i64) -> Vec<i64> {
        let lost = self.losses.iter().flat_map(|losses| losses.spans.iter());
        let spans = self.pending.iter().chain(self.unknown.iter()).chain(lost);
        let mut edges: Vec<i64> = spans.flat_map(|span| [span.start, span.end]).collect();
        edges.push(through);
        edges.retain(|at| start < *at && *at < end);
        edges.sort_unstable();
        edges.dedup();
        edges
    }

    /// All of the time between two instants (the end not included) from where the edge's time begins, in order, without gaps
    /// and overlaps; neighbours differ. `through`: what comes after it is unknown; at least the watermark of the last report.
    pub(crate) fn sections(&self, start: i64, end: i64, through: i64) -> Vec<Section> {
        let through = through.max(self.through);
        let start = start.max(self.since);
        if !self.reported {
            return Vec::new();
        }
        let mut sections: Vec<Section> = Vec::new();
        if start >= end {
            return sections;
        }
        let mut from = start;
        for to in self.edges(start, end, through).into_iter().chain([end]) {
            let state = self.judge(from, through);
            match sections.last_mut() {
                Some(last) if last.state == state => last.end = to,
                _ => sections.push(Section {
                    start: from,
                    end: to,
                    state,
                    samples: 0,
                    reasons: Vec::new(),
                }),
            }
            from = to;
        }
        self.count_into(&mut sections);
        sections
    }

    /// Samples stand with the first section that their span touches in its own state; so they count once.
    fn count_into(&self, sections: &mut [Section]) {
        let mut put = |state: State, span: &Span, reason: Option<&str>| {
            let touches =
                |s: &&mut Section| s.state == state && span.start < s.end && s.start < span.end;
            if let Some(section) = sections.iter_mut().find(touches) {
                section.samples = section.samples.saturating_add(span.samples);
                if let Some(reason) =
                    reason.filter(|reason| section.reasons.iter().all(|r| r != reason))
                {
                    section.reasons.push(reason.to_owned());
                }
            }
        };
        self.pending
            .iter()
            .for_each(|span| put(State::Pending, span, None));
        for losses in &self.losses {
            losses
                .spans
                .iter()
                .for_each(|span| put(State::Lost, span, Some(&losses.reason)));
        }
    }

    /// Every scrape due up to then is synced at the edge; None from an edge that has not said so yet.
    pub(crate) fn watermark(&self) -> Option<i64> {
        self.reported.then_some(self.through)
    }

    /// What intervals there are, to tell whether they have changed.
    fn shape(&self) -> (Spans, Spans, Vec<Losses>) {
        (
            self.pending.clone(),
            self.unknown.clone(),
            self.losses.clone(),
        )
    }
}

fn write_records<S: Serializer>(records: &SequenceSet, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(records)
}

fn read_records<'de, D: Deserializer<'de>>(from: D) -> Result<SequenceSet, D::Error> {
    let text = String::deserialize(from)?;
    text.parse()
        .map_err(|()| serde::de::Error::custom(format!("{text:.60?} are no records")))
}
