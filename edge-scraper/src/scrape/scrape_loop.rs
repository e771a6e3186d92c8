//! One target's scrapes, one after the other, until it is told to leave or the process ends.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use daemon::Clock;
use daemon::config::without_passwords;
use model::{LabelSet, Sample, Timestamp};
use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;

use super::cache::Cache;
use super::failure_log::{FailureLog, FailureLogs};
use super::fetch::Source;
use super::page::{self, FetchError, Rules};
use super::schedule::Schedule;
use super::status::{Health, ScrapeMetrics, TargetState};
use super::target::{Target, phase};
use super::{NotKept, Scrape, Sink};

/// What all loops share.
pub(super) struct Shared {
    pub(super) clock: Arc<dyn Clock>,
    pub(super) sink: Arc<dyn Sink>,
    /// Name of the edge: moves its scrapes within the interval, so that many edges do not scrape and ship at once.
    pub(super) edge: String,
    /// Pages being read at the same time: more than there are cores only costs memory.
    pub(super) readers: Semaphore,
    pub(super) metrics: ScrapeMetrics,
    pub(super) failures: FailureLogs,
}

/// How a target is to be scraped.
pub(super) struct Settings {
    pub(super) target: Target,
    pub(super) source: Arc<Source>,
    pub(super) rules: Arc<Rules>,
    /// Every scrape fails for this reason, without asking the target.
    pub(super) refused: Option<String>,
    /// Where failed scrapes are written down.
    pub(super) failure_log: Option<FailureLog>,
}

impl Settings {
    pub(super) fn same_as(&self, other: &Settings) -> bool {
        self.target == other.target
            && Arc::ptr_eq(&self.source, &other.source)
            && self.rules == other.rules
            && self.refused == other.refused
            && self.failure_log == other.failure_log
    }
}

#[derive(Clone)]
pub(super) enum Orders {
    Scrape(Arc<Settings>),
    /// The target is gone. If it does not come back within about two intervals, its series become stale.
    Leave,
}

pub(super) struct ScrapeLoop {
    shared: Arc<Shared>,
    settings: Arc<Settings>,
    schedule: Schedule,
    cache: Option<Cache>,
    /// Series of former settings that the next scrape ends.
    leftover: Vec<LabelSet>,
    state: Arc<Mutex<TargetState>>,
    scraped_once: bool,
}

impl ScrapeLoop {
    pub(super) fn new(
        shared: Arc<Shared>,
        settings: Arc<Settings>,
        state: Arc<Mutex<TargetState>>,
    ) -> ScrapeLoop {
        let schedule = schedule(&shared, &settings.target);
        ScrapeLoop {
            shared,
            settings,
            schedule,
            cache: Some(Cache::new()),
            leftover: Vec::new(),
            state,
            scraped_once: false,
        }
    }

    /// Scrapes until `stop`, or until an order to leave has been carried out. Stopping writes no staleness markers: the
    /// process will be back.
    pub(super) async fn run(
        mut self,
        mut orders: watch::Receiver<Orders>,
        stop: CancellationToken,
    ) {
        loop {
            let due = self
                .shared
                .clock
                .sleep(self.schedule.wait(self.shared.clock.elapsed()));
            // Each arm may be dropped at any time: nothing happens in them but waiting.
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                changed = orders.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    let new = orders.borrow_and_update().clone();
                    match new {
                        Orders::Scrape(settings) => self.apply(settings),
                        Orders::Leave => match self.wait_for_return(&mut orders, &stop).await {
                            Return::Back(settings) => self.apply(settings),
                            Return::Stopped => return,
                            Return::Gone(stale_at) => {
                                // From here on the target counts as unknown: if it comes back now, it gets a new loop.
                                drop(orders);
                                self.farewell(stale_at).await;
                                return;
                            }
                        },
                    }
                    continue;
                }
                () = due => {}
            }
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                () = self.scrape() => {}
            }
            let missed = self
                .schedule
                .advance(self.shared.clock.now(), self.shared.clock.elapsed());
            self.shared.metrics.missed.add(missed);
        }
    }

    fn apply(&mut self, new: Arc<Settings>) {
        let old = std::mem::replace(&mut self.settings, new);
        let new = &self.settings;
        if old.rules.labels != new.rules.labels
            && let Some(cache) = &mut self.cache
        {
            cache.forget_lines();
        }
        if self.scraped_once {
            let kept = new.rules.report_labels();
            let gone = old
                .rules
                .report_labels()
                .into_iter()
                .filter(|labels| !kept.contains(labels));
            self.leftover.extend(gone);
        }
        if old.target.interval != new.target.interval {
            self.schedule = schedule(&self.shared, &new.target);
        }
    }

    /// One scrape. If it is dropped half way, nothing is stored: the cache is then gone too, and so is the loop.
    async fn scrape(&mut self) {
        let clock = Arc::clone(&self.shared.clock);
        let at = self.schedule.stamp(clock.now());
        let began = clock.elapsed();
        let settings = Arc::clone(&self.settings);
        let timeout = settings.target.timeout;
        let fetched = match &settings.refused {
            Some(reason) => Err(FetchError::new(reason.clone())),
            None => tokio::select! {
                fetched = settings.source.fetch(&settings.target, timeout) => fetched,
                () = clock.sleep(timeout) => {
                    let timeout = model::duration::format(timeout);
                    Err(FetchError::new(format!("no whole answer within the scrape timeout of {timeout}")))
                }
            },
        };
        let Ok(_permit) = self.shared.readers.acquire().await else {
            return; // never closed
        };
        let mut cache = self.cache.take().unwrap_or_else(Cache::new);
        let leftover = std::mem::take(&mut self.leftover);
        let (shared, how) = (Arc::clone(&self.shared), Arc::clone(&settings));
        let work = daemon::blocking(move || {
            let rules = &how.rules;
            let read = page::read(&mut cache, rules, at, shared.clock.elapsed(), &fetched);
            drop(fetched);
            let (counts, error) = (read.counts.clone(), read.error.clone());
            if let (Some(log), Some(error)) = (&how.failure_log, &error) {
                let target = how.target.url.as_str();
                shared.failures.note(log, shared.clock.now(), target, error);
            }
            let took = shared.clock.elapsed().saturating_sub(began);
            let mut scrape = page::report(rules, at, took, read);
            let ends = leftover
                .into_iter()
                .map(|labels| (labels.into(), Sample::stale(at)));
            scrape.series.extend(ends);
            shared.metrics.scraped(&counts, error.is_some());
            shared.store(scrape, &mut cache);
            (cache, took, error)
        });
        let (cache, took, error) = work.await;
        self.cache = Some(cache);
        self.scraped_once = true;
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let was = state.health;
        state.health = if error.is_none() {
            Health::Up
        } else {
            Health::Down
        };
        if state.health != was {
            let target = settings.target.url.as_str();
            match &error {
                Some(error) => {
                    tracing::warn!(target_url = without_passwords(target), %error, "target is down");
                }
                None => {
                    tracing::debug!(target_url = without_passwords(target), "target is up");
                }
            }
        }
        state.last_error = error;
        state.last_scrape = Some(at);
        state.last_duration = took;
    }

    /// Waits as long as a target may be away without its series becoming stale: until it would have been scraped next, a
    /// whole interval more, and a tenth.
    async fn wait_for_return(
        &mut self,
        orders: &mut watch::Receiver<Orders>,
        stop: &CancellationToken,
    ) -> Return {
        let clock = Arc::clone(&self.shared.clock);
        let interval = self.settings.target.interval;
        let next = self.schedule.wait(clock.elapsed());
        let stale_at = clock.now().saturating_add(next);
        let stale_at = self.schedule.stamp(stale_at);
        if !self.scraped_once {
            return Return::Gone(stale_at);
        }
        let mut over = clock.sleep(next + interval + interval / 10);
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => return Return::Stopped,
                changed = orders.changed() => {
                    if changed.is_err() {
                        return Return::Stopped;
                    }
                    if let Orders::Scrape(settings) = orders.borrow_and_update().clone() {
                        if self.schedule.wait(clock.elapsed()).is_zero() {
                            self.schedule.advance(clock.now(), clock.elapsed());
                        }
                        return Return::Back(settings);
                    }
                }
                () = &mut over => return Return::Gone(stale_at),
            }
        }
    }

    async fn farewell(mut self, at: Timestamp) {
        if !self.scraped_once {
            return;
        }
        let Some(mut cache) = self.cache.take() else {
            return;
        };
        let (shared, rules) = (self.shared, Arc::clone(&self.settings.rules));
        let leftover = self.leftover;
        daemon::blocking(move || {
            let mut scrape = page::farewell(&mut cache, &rules, at);
            let ends = leftover
                .into_iter()
                .map(|labels| (labels.into(), Sample::stale(at)));
            scrape.series.extend(ends);
            shared.store(scrape, &mut cache);
        })
        .await;
    }
}

enum Return {
    Back(Arc<Settings>),
    Gone(Timestamp),
    Stopped,
}

/// Targets are spread over the interval, so that they and the network do not have to answer all at once. A collector
/// of this process is read at once: whoever starts an edge wants to see the machine.
fn schedule(shared: &Shared, target: &Target) -> Schedule {
    let now = shared.clock.now();
    let phase = match target.is_collector() {
        true => {
            Duration::from_millis(now.millis().rem_euclid(target.interval.as_millis() as i64) as u64)
        }
        false => phase(target.id, &shared.edge, target.interval),
    };
    Schedule::new(target.interval, phase, now, shared.clock.elapsed())
}

impl Shared {
    /// Hands a scrape to the buffer. What the buffer refuses is lost, counted and, when that begins, logged.
    fn store(&self, mut scrape: Scrape, cache: &mut Cache) {
        let mut kept = self.sink.append(&scrape);
        if kept == Err(NotKept::LabelsWanted) {
            cache.complete(scrape.series.iter_mut().map(|(series, _)| series));
            // A marker of what the buffer has not heard of for an hour, and the page does not show any more: it ended long ago.
            scrape.series.retain(|(series, _)| series.labels.is_some());
            kept = self.sink.append(&scrape);
        }
        match kept {
            Ok(()) => {
                if self.metrics.storing(true) {
                    tracing::info!("scrapes are stored again");
                }
            }
            Err(error) => {
                cache.forget_handed_over();
                self.metrics.lost.add(scrape.series.len() as u64);
                if self.metrics.storing(false) {
                    tracing::error!(%error, "scrapes cannot be stored and are lost, and counted, until this is mended");
                }
            }
        }
    }
}

/// Readers at the same time.
pub(super) fn readers() -> usize {
    std::thread::available_parallelism()
        .map_or(2, |cores| cores.get())
        .min(4)
}

/// Longest wait for loops to notice that they are to stop.
pub(super) const STOP_WITHIN: Duration = Duration::from_secs(5);
