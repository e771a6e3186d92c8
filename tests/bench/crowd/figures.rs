//! What was measured, and what it has to be.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::latency::Latencies;
use crate::measured::Unit;
use crate::table::{Table, show};

/// The others' p99 may become so many times as long as before, or a tenth of a second, whatever is more: an fsync on a disk that others
/// use, too, takes that long now and then.
const WORSE_MAX: f64 = 1.5;
const P99_MAX_MS: f64 = 100.0;

/// What happens now is in no part: connections that begin.
const NO_PART: u8 = u8::MAX;

/// Parts of the measurement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    Before = 0,
    Storm = 1,
    After = 2,
}

impl Part {
    const ALL: [Part; 3] = [Part::Before, Part::Storm, Part::After];

    fn name(self) -> &'static str {
        match self {
            Part::Before => "before",
            Part::Storm => "storm",
            Part::After => "after",
        }
    }
}

/// What of the others was seen in a part.
#[derive(Debug, Default, Clone)]
pub(super) struct Seen {
    /// How late a thread that only wakes up is: what anything on this machine waits for a core.
    woken: Latencies,
    sent: Latencies,
    acknowledged: Latencies,
    visible: Latencies,
    queries: Latencies,
}

/// What all tasks share.
pub(super) struct Shared {
    pub(super) part: AtomicU8,
    pub(super) stop: CancellationToken,
    /// Edges of the crowd that have nothing left.
    pub(super) drained: AtomicU64,
    pub(super) retries: AtomicU64,
    /// Samples that the hub has called taken.
    pub(super) acknowledged: AtomicU64,
    /// When the last one of the crowd was greeted.
    pub(super) connected_last: Mutex<Duration>,
    came_back: Mutex<Option<Instant>>,
    seen: Mutex<[Seen; 3]>,
    began: Instant,
}

impl Shared {
    pub(super) fn new(began: Instant) -> Self {
        Shared {
            part: AtomicU8::new(NO_PART),
            stop: CancellationToken::new(),
            drained: AtomicU64::new(0),
            retries: AtomicU64::new(0),
            acknowledged: AtomicU64::new(0),
            connected_last: Mutex::default(),
            came_back: Mutex::default(),
            seen: Mutex::default(),
            began,
        }
    }

    pub(super) fn lock<'a, T>(&self, of: &'a Mutex<T>) -> MutexGuard<'a, T> {
        of.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All of the others are connected, and have described their series.
    pub(super) fn settled(&self) {
        self.part.store(Part::Before as u8, Ordering::SeqCst);
    }

    /// The crowd comes back now.
    pub(super) fn storm(&self) {
        *self.lock(&self.came_back) = Some(Instant::now());
        self.part.store(Part::Storm as u8, Ordering::SeqCst);
    }

    pub(super) fn connected(&self) {
        let since = self.lock(&self.came_back).unwrap_or(self.began).elapsed();
        let mut last = self.lock(&self.connected_last);
        *last = last.max(since);
    }

    fn note(&self, note: impl FnOnce(&mut Seen)) {
        let part = usize::from(self.part.load(Ordering::SeqCst));
        if let Some(seen) = self.lock(&self.seen).get_mut(part) {
            note(seen);
        }
    }

    pub(super) fn woken_late(&self, late: Duration) {
        self.note(|seen| seen.woken.add(late));
    }

    /// A scrape of one of the others was written to its socket.
    pub(super) fn live_sent(&self, due: Instant) {
        self.note(|seen| seen.sent.add(due.elapsed()));
    }

    /// A scrape of one of the others is on the hub's disk, as it says.
    pub(super) fn live_acknowledged(&self, due: Instant) {
        self.note(|seen| seen.acknowledged.add(due.elapsed()));
    }

    pub(super) fn live_visible(&self, delay: Duration) {
        self.note(|seen| seen.visible.add(delay));
    }

    pub(super) fn query_took(&self, took: Duration) {
        self.note(|seen| seen.queries.add(took));
    }

    pub(super) fn parts(&self) -> [Seen; 3] {
        self.lock(&self.seen).clone()
    }
}

pub(super) struct Figures {
    pub(super) edges: u64,
    pub(super) drained: u64,
    pub(super) acknowledged: u64,
    pub(super) found: u64,
    pub(super) storm: Duration,
    pub(super) connected: Duration,
    pub(super) retries: u64,
    /// Cores that the hub used, in each part; and what we used during the storm.
    pub(super) cores: [f64; 3],
    pub(super) cores_here: f64,
    /// The hub's memory without mapped files before, and the most during the storm.
    pub(super) memory: [u64; 2],
    pub(super) seen: [Seen; 3],
}

fn ms(latencies: &Latencies, part: f64) -> f64 {
    let quantile = latencies.quantile(part);
    quantile.map_or(f64::NAN, |quantile| quantile.as_secs_f64() * 1_000.0)
}

impl Figures {
    /// The others' p99 of acknowledgements before and in the storm, ms, and whether that is what is wanted.
    fn verdict(&self) -> (f64, f64, bool) {
        let [before, storm, _] = &self.seen;
        let (before, storm) = (
            ms(&before.acknowledged, 0.99),
            ms(&storm.acknowledged, 0.99),
        );
        let fine = storm <= (before * WORSE_MAX).max(P99_MAX_MS);
        (before, storm, fine && self.is_whole())
    }

    fn is_whole(&self) -> bool {
        self.drained == self.edges && self.found >= self.acknowledged
    }

    pub(super) fn text(&self) -> String {
        let mut table = Table::default();
        table.row(
            ["".to_owned()]
                .into_iter()
                .chain(Part::ALL.map(|part| part.name().to_owned())),
        );
        type Of = fn(&Seen) -> &Latencies;
        let rows: [(&str, Of); 5] = [
            ("a thread here that only wakes up: late", |seen| &seen.woken),
            ("others: due to sent", |seen| &seen.sent),
            ("others: due to acknowledged", |seen| &seen.acknowledged),
            ("others: due to visible", |seen| &seen.visible),
            ("query for their newest", |seen| &seen.queries),
        ];
        for (name, of) in rows {
            for (what, part) in [("p50", 0.5), ("p99", 0.99), ("max", 1.0)] {
                let cells = self
                    .seen
                    .iter()
                    .map(|seen| show(ms(of(seen), part), Unit::Millis));
                table.row([format!("{name}, {what}")].into_iter().chain(cells));
            }
        }
        let cores = self.cores.map(|cores| format!("{cores:.2}"));
        table.row(["hub: cores".to_owned()].into_iter().chain(cores));
        let memory = self.memory.map(|bytes| show(bytes as f64, Unit::Bytes));
        table.row(
            ["hub: memory without mapped files".to_owned()]
                .into_iter()
                .chain(memory),
        );
        let (before, storm, fine) = self.verdict();
        let missing = self.acknowledged.saturating_sub(self.found);
        format!(
            "{}\n{} of {} edges drained in {:.1} s; the last one was greeted after {:.1} s, {} attempts failed; the crowd itself took {:.2} cores\n{} samples acknowledged, {missing} of them are not there\n{}: p99 of the others' acknowledgements {} before, {} in the storm (wanted: at most {WORSE_MAX} times as long, or {P99_MAX_MS} ms)\n",
            table.text(),
            self.drained,
            self.edges,
            self.storm.as_secs_f64(),
            self.connected.as_secs_f64(),
            self.retries,
            self.cores_here,
            self.acknowledged,
            if fine { "holds" } else { "DOES NOT HOLD" },
            show(before, Unit::Millis),
            show(storm, Unit::Millis),
        )
    }

    pub(super) fn json(&self) -> Value {
        let parts = Part::ALL.map(|part| {
            let seen = &self.seen[part as usize];
            let of = |latencies: &Latencies| json!({"p50_ms": ms(latencies, 0.5), "p99_ms": ms(latencies, 0.99), "max_ms": ms(latencies, 1.0)});
            json!({
                "part": part.name(),
                "woken": of(&seen.woken),
                "sent": of(&seen.sent),
                "acknowledged": of(&seen.acknowledged),
                "visible": of(&seen.visible),
                "queries": of(&seen.queries),
                "hub_cores": self.cores[part as usize],
            })
        });
        json!({
            "edges": self.edges,
            "drained": self.drained,
            "drained_seconds": self.storm.as_secs_f64(),
            "greeted_seconds": self.connected.as_secs_f64(),
            "failed_attempts": self.retries,
            "samples_acknowledged": self.acknowledged,
            "samples_found": self.found,
            "hub_memory_before": self.memory[0],
            "hub_memory_max": self.memory[1],
            "parts": parts,
            "holds": self.verdict().2,
        })
    }
}
