//! Answers to range queries are kept, so that a dashboard that asks again has only its newest steps evaluated.
//!
//! What is kept is what a query comes to at some steps, under its text, its step, where its steps lie, and its lookback.
//! The store says which minutes of which series have changed since ([`tsdb::Store::changes`]: late samples, deletions,
//! retention); the steps that depend on those are evaluated again, and so are those that were never asked for. The answer is,
//! byte for byte, what evaluating all of it gives (`nocache=1` does that), because only that is kept of which this is known:
//!
//! - expressions whose value at a step depends on samples near it alone ([`promql::step_reach`]);
//! - answers without annotations and without native histograms: both may depend on more than the step;
//! - steps that only see samples older than the minute before this one. Newer ones change all the time.
//!
//! Nothing is kept while the store is damaged: its answers say so, each for its own times. Every reader sees everything
//! here; a reader who did not would have to be a part of the key. Limits are the one thing that can be told apart: a query
//! that would take too much memory as a whole may be answered in pieces.

mod pieces;

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use model::{Matcher, Timestamp};
use moka::sync::Cache;
use promql::{
    Engine, Expr, QueryError, QueryOptions, QueryResult, QueryStats, ResultValue, StepReach,
    step_reach,
};
use tsdb::{Store, Touched};

use self::pieces::{Grid, Piece, join, overlap, weight, without};
use crate::storage::StoreReader;

/// How far behind now a sample has to be to count as settled, beside what is left of its minute.
const SETTLED_MS: i64 = 60_000;
/// The store notes changes by the minute.
const MINUTE_MS: i64 = 60_000;
/// Times beyond some thirty thousand years are not worth the care.
const TIME_MS_MAX: i64 = 1 << 50;
/// Stretches that one query keeps: what dashboards of different ranges ask.
const EXTENTS_MAX: usize = 4;
/// Stretches that are evaluated one by one; beyond them everything is.
const GAPS_MAX: usize = 8;
/// No answer takes more than this part of the cache.
const PART_MAX: u64 = 4;

/// See the module.
pub(crate) struct RangeCache {
    /// None: nothing is kept.
    entries: Option<Cache<Key, Arc<Entry>>>,
    bytes_max: u64,
    pub(crate) counts: Counts,
}

/// Range queries, by what the cache did for them.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    /// All steps were there.
    pub(crate) hits: AtomicU64,
    /// Some were.
    pub(crate) partial: AtomicU64,
    /// None was.
    pub(crate) misses: AtomicU64,
    /// Nothing could be kept of it, or nothing was to be.
    pub(crate) bypassed: AtomicU64,
}

/// A range query.
pub(crate) struct RangeQuery {
    pub(crate) text: String,
    pub(crate) expr: Arc<Expr>,
    pub(crate) start: Timestamp,
    pub(crate) end: Timestamp,
    /// Above 0.
    pub(crate) step_ms: i64,
}

#[derive(Clone, PartialEq, Eq, Hash)]
struct Key {
    text: String,
    grid: Grid,
    lookback_ms: i64,
}

/// What is kept of a query, as of one change of the store.
struct Entry {
    last_change: u64,
    /// Ascending, none over another.
    extents: Vec<Extent>,
}

/// Some steps of a piece.
#[derive(Clone)]
struct Extent {
    steps: Range<i64>,
    piece: Arc<Piece>,
}

impl Entry {
    fn bytes(&self) -> usize {
        let extents = self.extents.iter();
        extents.map(|extent| extent.piece.bytes()).sum()
    }
}

/// A query that may be answered in pieces.
struct Plan<'a> {
    query: &'a RangeQuery,
    grid: Grid,
    reach: StepReach,
    /// The steps that it asks for.
    steps: Range<i64>,
    /// Those of them that may be kept.
    settled: Range<i64>,
    lookback_ms: i64,
    /// Evaluated from now on, it has all changes up to this one.
    last_change: u64,
}

/// What there is of a query.
struct Found {
    last_change: u64,
    /// Of all that is kept and still so.
    extents: Vec<Extent>,
}

impl RangeCache {
    /// At most so many bytes; 0: nothing is kept.
    pub(crate) fn new(bytes_max: u64) -> Self {
        let weigh = |key: &Key, entry: &Arc<Entry>| {
            let bytes = size_of::<Key>() + key.text.len() + entry.bytes();
            u32::try_from(bytes).unwrap_or(u32::MAX)
        };
        let cache = || Cache::builder().weigher(weigh).max_capacity(bytes_max);
        RangeCache {
            entries: (bytes_max > 0).then(|| cache().build()),
            bytes_max,
            counts: Counts::default(),
        }
    }

    /// Bytes that are kept, about, and how many may be.
    pub(crate) fn bytes(&self) -> (u64, u64) {
        let kept = self.entries.as_ref().map_or(0, |entries| {
            entries.run_pending_tasks();
            entries.weighted_size()
        });
        (kept, self.bytes_max)
    }

    /// Answers a query, all of it evaluated.
    pub(crate) fn bypass(
        &self,
        query: &RangeQuery,
        engine: &Engine,
        reader: &StoreReader,
        options: &QueryOptions,
    ) -> Result<QueryResult, QueryError> {
        self.counts.bypassed.fetch_add(1, Ordering::Relaxed);
        query.evaluate(engine, reader, options)
    }

    /// Answers a query with what is kept, and keeps what comes of it.
    pub(crate) fn answer(
        &self,
        query: &RangeQuery,
        engine: &Engine,
        reader: &StoreReader,
        options: &QueryOptions,
        now: Timestamp,
    ) -> Result<QueryResult, QueryError> {
        let plan = query.plan(engine, &reader.store, options, now);
        let (Some(entries), Some(plan)) = (&self.entries, plan) else {
            return self.bypass(query, engine, reader, options);
        };
        let key = plan.key();
        let found = match entries.get(&key) {
            Some(entry) => plan.still_so(&entry, &reader.store),
            None => Found {
                last_change: plan.last_change,
                extents: Vec::new(),
            },
        };
        let (there, gaps) = plan.split(&found.extents);
        let outcome = match (there.is_empty(), gaps.is_empty()) {
            (true, _) => &self.counts.misses,
            (false, true) => &self.counts.hits,
            (false, false) => &self.counts.partial,
        };
        outcome.fetch_add(1, Ordering::Relaxed);
        let in_pieces = match there.is_empty() || gaps.len() > GAPS_MAX {
            true => None,
            false => plan.put_together(there, &gaps, engine, reader, options)?,
        };
        let result = match in_pieces {
            Some(result) => result,
            None => query.evaluate(engine, reader, options)?,
        };
        if !gaps.is_empty()
            && let Some(entry) = plan.entry(found, &result)
            && entry.bytes() as u64 <= self.bytes_max / PART_MAX
        {
            entries.insert(key, Arc::new(entry));
        }
        Ok(result)
    }
}

impl RangeQuery {
    fn evaluate(
        &self,
        engine: &Engine,
        reader: &StoreReader,
        options: &QueryOptions,
    ) -> Result<QueryResult, QueryError> {
        let step = Duration::from_millis(self.step_ms.unsigned_abs());
        engine.range(reader, &self.expr, self.start, self.end, step, options)
    }

    /// None: nothing of it can be kept.
    fn plan(
        &self,
        engine: &Engine,
        store: &Store,
        options: &QueryOptions,
        now: Timestamp,
    ) -> Option<Plan<'_>> {
        let lookback = options.lookback.unwrap_or(engine.options().lookback);
        let lookback_ms = i64::try_from(lookback.as_millis()).ok()?;
        let reach = step_reach(&self.expr, engine.options(), lookback_ms)?;
        let (start, end) = (self.start.millis(), self.end.millis());
        let sane = |ms: i64| (-TIME_MS_MAX..TIME_MS_MAX).contains(&ms);
        if !sane(start) || !sane(end) || store.is_damaged() {
            return None;
        }
        let (grid, first) = Grid::from(start, self.step_ms);
        let steps = first..first + (end - start) / self.step_ms + 1;
        let minute = now.millis().div_euclid(MINUTE_MS) * MINUTE_MS;
        let through = minute - SETTLED_MS - 1;
        // What the retention does not keep goes sample by sample.
        let oldest = store.accepted_times().start.millis();
        let oldest = oldest.saturating_add(reach.before_ms.max(0));
        let kept = grid.first_from(oldest)..grid.last_until(through - reach.after_ms) + 1;
        let settled = overlap(&steps, &kept);
        if settled.is_empty() {
            return None;
        }
        Some(Plan {
            query: self,
            grid,
            reach,
            steps,
            settled,
            lookback_ms,
            last_change: store.watch(Timestamp::from_millis(through)),
        })
    }
}

impl Plan<'_> {
    fn key(&self) -> Key {
        Key {
            text: self.query.text.clone(),
            grid: self.grid,
            lookback_ms: self.lookback_ms,
        }
    }

    /// What of an entry no change has touched.
    fn still_so(&self, entry: &Entry, store: &Store) -> Found {
        let selectors = self.query.expr.selectors();
        let selectors: Vec<&[Matcher]> = selectors.iter().map(|s| &*s.matchers).collect();
        let (Some(first), Some(last)) = (entry.extents.first(), entry.extents.last()) else {
            return Found {
                last_change: self.last_change,
                extents: Vec::new(),
            };
        };
        let range = self
            .grid
            .reach(&(first.steps.start..last.steps.end), self.reach);
        let changes = store.changes(entry.last_change, range, &selectors);
        let mut extents = match &changes.touched {
            Touched::Everything => Vec::new(),
            Touched::Times(_) => entry.extents.clone(),
        };
        if let Touched::Times(times) = &changes.touched {
            let mut holes = times
                .iter()
                .map(|times| self.grid.touched(times, self.reach));
            if let Some(mut hole) = holes.next() {
                // Many minutes in a row are one hole.
                for next in holes {
                    if next.start <= hole.end {
                        hole.end = hole.end.max(next.end);
                    } else {
                        cut(&mut extents, &hole);
                        hole = next;
                    }
                }
                cut(&mut extents, &hole);
            }
        }
        Found {
            last_change: changes.last,
            extents,
        }
    }

    /// What is there of the steps that are asked for, and which are not there.
    fn split(&self, extents: &[Extent]) -> (Vec<Extent>, Vec<Range<i64>>) {
        let (mut there, mut gaps) = (Vec::new(), Vec::new());
        let mut next = self.steps.start;
        for extent in extents {
            let steps = overlap(&extent.steps, &self.settled);
            if steps.is_empty() {
                continue;
            }
            if next < steps.start {
                gaps.push(next..steps.start);
            }
            next = steps.end;
            let piece = extent.piece.clone();
            there.push(Extent { steps, piece });
        }
        if next < self.steps.end {
            gaps.push(next..self.steps.end);
        }
        (there, gaps)
    }

    /// The answer, the gaps evaluated. None: it cannot be put together, or not without changing a letter.
    fn put_together(
        &self,
        there: Vec<Extent>,
        gaps: &[Range<i64>],
        engine: &Engine,
        reader: &StoreReader,
        options: &QueryOptions,
    ) -> Result<Option<QueryResult>, QueryError> {
        let held = engine.budget();
        let mut pieces = Vec::new();
        for extent in there {
            let piece = extent.piece.slice(self.grid, extent.steps);
            held.take(weight(&piece.series))?;
            pieces.push(piece);
        }
        let (mut warnings, mut infos) = (Vec::new(), Vec::new());
        let mut stats = QueryStats::default();
        for gap in gaps {
            let part = RangeQuery {
                text: String::new(),
                expr: self.query.expr.clone(),
                start: Timestamp::from_millis(self.grid.time(gap.start)),
                end: Timestamp::from_millis(self.grid.time(gap.end - 1)),
                step_ms: self.query.step_ms,
            };
            let result = match part.evaluate(engine, reader, options) {
                Ok(result) => result,
                Err(stopped @ (QueryError::Canceled | QueryError::Timeout)) => return Err(stopped),
                // Perhaps something else is said of the whole.
                Err(_) => return Ok(None),
            };
            let ResultValue::Matrix(series) = result.value else {
                return Ok(None);
            };
            let says = !result.warnings.is_empty() || !result.infos.is_empty();
            let said = !warnings.is_empty() || !infos.is_empty();
            if says && said || result.stats.histograms_read {
                return Ok(None);
            }
            if says {
                (warnings, infos) = (result.warnings, result.infos);
            }
            stats.queryable_samples += result.stats.queryable_samples;
            stats.samples_read += result.stats.samples_read;
            stats.series_read += result.stats.series_read;
            stats.peak_samples = stats.peak_samples.max(result.stats.peak_samples);
            held.take(weight(&series))?;
            let steps = gap.clone();
            pieces.push(Piece { steps, series });
        }
        pieces.sort_by_key(|piece| piece.steps.start);
        Ok(Some(QueryResult {
            value: ResultValue::Matrix(join(pieces)),
            warnings,
            infos,
            stats,
            held: Arc::new(held),
        }))
    }

    /// What to keep now. None: nothing of this answer, and what was kept stays.
    fn entry(&self, found: Found, result: &QueryResult) -> Option<Entry> {
        let says = !result.warnings.is_empty() || !result.infos.is_empty();
        let ResultValue::Matrix(series) = &result.value else {
            return None;
        };
        if says || result.stats.histograms_read {
            return None;
        }
        let mut extents = found.extents;
        cut(&mut extents, &self.settled);
        // A small rest would hold the whole piece that it is of: a dashboard's window moves on and leaves one every time.
        extents.retain(|extent| {
            let rest = extent.steps.end - extent.steps.start;
            rest * 2 > extent.piece.steps.end - extent.piece.steps.start
        });
        while extents.len() >= EXTENTS_MAX {
            extents.remove(0);
        }
        extents.push(Extent {
            steps: self.settled.clone(),
            piece: Arc::new(Piece::of(series, self.grid, self.settled.clone())),
        });
        extents.sort_by_key(|extent| extent.steps.start);
        Some(Entry {
            last_change: found.last_change,
            extents,
        })
    }
}

/// Takes steps out of extents.
fn cut(extents: &mut Vec<Extent>, hole: &Range<i64>) {
    let left = extents.iter().flat_map(|extent| {
        without(&extent.steps, hole)
            .into_iter()
            .filter(|steps| !steps.is_empty())
            .map(|steps| Extent {
                steps,
                piece: extent.piece.clone(),
            })
    });
    *extents = left.collect();
}
