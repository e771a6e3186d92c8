//! All jobs: discovers their targets and keeps one loop for each, through reloads.
//!
//! A target keeps its loop as long as its identity (job, labels, URL) stays the same, whatever else a reload changes: no scrape
//! is missed and the place in the interval stays. A loop whose target is gone waits for its return for two intervals, then
//! ends its series.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use daemon::{Clock, Tasks};
use model::LabelSet;
use tokio::sync::{Notify, Semaphore, watch};

use super::Sink;
use super::failure_log::{FailureLog, FailureLogs};
use super::fetch::{Clients, Source};
use super::labels::LabelRules;
use super::page::Rules;
use super::scrape_loop::{Orders, STOP_WITHIN, ScrapeLoop, Settings, Shared, readers};
use super::status::{PoolStatus, ScrapeMetrics, TargetState, TargetStatus};
use super::target::{Relabelled, Target};
use crate::collect::Collector;
use crate::config::JobConfig;
use crate::discovery::{Context, Sources};
use crate::kept::Kept;

/// Dropped targets remembered per job without `keep_dropped_targets`.
const DROPPED_MAX: u64 = 10_000;

/// A collector as a target.
#[derive(Clone)]
pub struct CollectorTarget {
    /// Makes the pages; its job is that of the series.
    pub collector: Arc<dyn Collector>,
    /// Label `instance`.
    pub instance: String,
    /// How its pages become series: interval, timeout, relabelling.
    pub job: JobConfig,
}

/// The scraping part of an edge.
pub struct Manager {
    shared: Arc<Shared>,
    tasks: Tasks,
    state: Mutex<State>,
    /// Rung when the pools change.
    changed: Notify,
    discovery: Context,
}

#[derive(Default)]
struct State {
    pools: BTreeMap<String, Pool>,
    /// By target identity; those of targets that are gone until they end by themselves.
    loops: HashMap<u64, Loop>,
    external: LabelSet,
    clients: Clients,
}

struct Pool {
    job: JobConfig,
    source: Arc<Source>,
    targets: Targets,
    active: BTreeSet<u64>,
    dropped: Vec<LabelSet>,
    dropped_count: usize,
}

enum Targets {
    Discovered(Sources),
    Collector(Box<CollectorTarget>),
}

struct Loop {
    orders: watch::Sender<Orders>,
    settings: Arc<Settings>,
    state: Arc<Mutex<TargetState>>,
    leaving: bool,
}

/// A reload that was refused; nothing has changed.
#[derive(Debug, thiserror::Error)]
#[error("scrape job {job:?}: {reason}")]
pub struct ApplyError {
    /// The job that cannot be.
    pub job: String,
    /// Why.
    pub reason: String,
}

impl Manager {
    /// Starts without any job. `edge` moves its scrapes within the interval; in `kept` discovery's results outlast the process.
    pub fn start(
        clock: Arc<dyn Clock>,
        sink: Arc<dyn Sink>,
        edge: &str,
        kept: Kept,
        tasks: &Tasks,
    ) -> Arc<Manager> {
        let tasks = tasks.child();
        let manager = Arc::new(Manager {
            discovery: Context {
                clock: Arc::clone(&clock),
                tasks: tasks.child(),
                found: Arc::new(Notify::new()),
                kept,
            },
            shared: Arc::new(Shared {
                clock,
                sink,
                edge: edge.to_owned(),
                readers: Semaphore::new(readers()),
                metrics: ScrapeMetrics::default(),
                failures: FailureLogs::default(),
            }),
            tasks,
            state: Mutex::default(),
            changed: Notify::new(),
        });
        let discovery = Arc::clone(&manager);
        manager.tasks.spawn(
            "target discovery",
            async move { discovery.discover().await },
        );
        manager
    }

    /// Counts about scraping.
    pub fn metrics(&self) -> &ScrapeMetrics {
        &self.shared.metrics
    }

    /// Makes these the jobs, now. Reads files (discovery, TLS): not for async threads.
    ///
    /// # Errors
    ///
    /// A job that cannot be; then nothing has changed.
    pub fn apply(
        &self,
        jobs: &[JobConfig],
        collectors: &[CollectorTarget],
        external: &LabelSet,
    ) -> Result<(), ApplyError> {
        let mut state = self.lock();
        let mut pools = BTreeMap::new();
        let mut clients = std::mem::take(&mut state.clients);
        clients.forget_files();
        for job in jobs {
            let old = state.pools.get(&job.name);
            let source = match old.filter(|pool| pool.job == *job && !job.http.reads_files()) {
                // The same, with its open connections.
                Some(pool) => Arc::clone(&pool.source),
                None => Arc::new(Source::http(job, &mut clients, &self.shared.clock).map_err(
                    |reason| ApplyError {
                        job: job.name.clone(),
                        reason,
                    },
                )?),
            };
            let targets = Targets::Discovered(Sources::new(&job.discovery));
            pools.insert(job.name.clone(), Pool::new(job.clone(), source, targets));
        }
        for target in collectors {
            let old = state
                .pools
                .get(&target.job.name)
                .filter(|pool| match &pool.targets {
                    Targets::Collector(old) => Arc::ptr_eq(&old.collector, &target.collector),
                    Targets::Discovered(_) => false,
                });
            let source = match old {
                Some(pool) => Arc::clone(&pool.source),
                None => Arc::new(Source::collector(Arc::clone(&target.collector))),
            };
            let targets = Targets::Collector(Box::new(target.clone()));
            pools.insert(
                target.job.name.clone(),
                Pool::new(target.job.clone(), source, targets),
            );
        }
        state.external = external.clone();
        state.clients = clients;
        let mut old = std::mem::replace(&mut state.pools, pools);
        let state = &mut *state;
        let mut gone: BTreeSet<u64> = old
            .values()
            .flat_map(|pool| pool.active.iter().copied())
            .collect();
        let mut kept = Vec::new();
        for pool in state.pools.values_mut() {
            // What discovery knows stays: a file that cannot be read just now keeps its targets.
            if let Some(old) = old.get_mut(&pool.job.name)
                && old.job.discovery == pool.job.discovery
                && matches!(
                    (&old.targets, &pool.targets),
                    (Targets::Discovered(_), Targets::Discovered(_))
                )
            {
                std::mem::swap(&mut old.targets, &mut pool.targets);
            }
            if let Targets::Discovered(sources) = &mut pool.targets {
                sources.start(&self.discovery, &pool.job.name);
                sources.look();
                kept.extend(sources.keys(&pool.job.name));
            }
            self.sync(pool, &mut state.loops, &state.external);
            gone.retain(|id| !pool.active.contains(id));
        }
        for id in gone {
            leave(&mut state.loops, id);
        }
        self.discovery.kept.retain_targets(&kept);
        self.shared.failures.reopen();
        self.changed.notify_one();
        Ok(())
    }

    /// All jobs and their targets.
    pub fn status(&self) -> Vec<PoolStatus> {
        let state = self.lock();
        let pool_status = |(name, pool): (&String, &Pool)| {
            let mut active: Vec<TargetStatus> = pool
                .active
                .iter()
                .filter_map(|id| Some(state.loops.get(id)?.status()))
                .collect();
            active.sort_by(|a, b| a.url.as_str().cmp(b.url.as_str()));
            PoolStatus {
                name: name.clone(),
                active,
                dropped: pool.dropped.clone(),
                dropped_count: pool.dropped_count,
                sources: match &pool.targets {
                    Targets::Discovered(sources) => sources.status(),
                    Targets::Collector(_) => Vec::new(),
                },
            }
        };
        state.pools.iter().map(pool_status).collect()
    }

    /// Stops scraping and waits for scrapes that are being stored.
    ///
    /// # Errors
    ///
    /// The names of the tasks that would not stop.
    pub async fn stop(&self) -> Result<(), Vec<String>> {
        self.tasks.shutdown(STOP_WITHIN).await
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks at the sources of all jobs again and again.
    async fn discover(self: Arc<Self>) {
        let stop = self.tasks.token().clone();
        loop {
            let look_every = self
                .lock()
                .pools
                .values()
                .filter_map(Pool::look_every)
                .min();
            let pause = async {
                match look_every {
                    Some(pause) => self.shared.clock.sleep(pause).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                // The next look follows from the new pools.
                () = self.changed.notified() => continue,
                () = self.discovery.found.notified() => {}
                () = pause => {}
            }
            let manager = Arc::clone(&self);
            daemon::blocking(move || manager.look()).await;
        }
    }

    fn look(&self) {
        let mut state = self.lock();
        let state = &mut *state;
        let mut gone = BTreeSet::new();
        for pool in state.pools.values_mut() {
            if let Targets::Discovered(sources) = &mut pool.targets
                && sources.look()
            {
                let before = pool.active.clone();
                self.sync(pool, &mut state.loops, &state.external);
                gone.extend(before.difference(&pool.active).copied());
            }
        }
        for id in gone {
            leave(&mut state.loops, id);
        }
    }

    /// Makes the pool's loops fit its targets: starts new ones, gives changed ones their new settings. Those of targets that
    /// are gone are left to the caller, because another pool may have them now.
    fn sync(&self, pool: &mut Pool, loops: &mut HashMap<u64, Loop>, external: &LabelSet) {
        loops.retain(|_, known| !known.orders.is_closed());
        let targets = pool.relabel();
        let count = targets.len() as u64;
        let refused = pool
            .job
            .limits
            .targets
            .filter(|limit| count > *limit)
            .map(|limit| {
                format!("target_limit exceeded (number of targets: {count}, limit: {limit})")
            });
        pool.active = targets.keys().copied().collect();
        for (id, target) in targets {
            let settings = Arc::new(pool.settings(target, external, refused.clone()));
            match loops.get_mut(&id) {
                Some(known) if !known.leaving && known.settings.same_as(&settings) => {}
                Some(known)
                    if known
                        .orders
                        .send(Orders::Scrape(Arc::clone(&settings)))
                        .is_ok() =>
                {
                    known.settings = settings;
                    known.leaving = false;
                }
                _ => {
                    loops.insert(id, self.start_loop(settings));
                }
            }
        }
    }

    fn start_loop(&self, settings: Arc<Settings>) -> Loop {
        let (orders, receiver) = watch::channel(Orders::Scrape(Arc::clone(&settings)));
        let state = Arc::default();
        let scrape_loop = ScrapeLoop::new(
            Arc::clone(&self.shared),
            Arc::clone(&settings),
            Arc::clone(&state),
        );
        let name = format!("scrape {}", settings.target.url);
        // Ends by itself when its target is gone.
        self.tasks
            .spawn_brief(name, scrape_loop.run(receiver, self.tasks.token().clone()));
        Loop {
            orders,
            settings,
            state,
            leaving: false,
        }
    }
}

fn leave(loops: &mut HashMap<u64, Loop>, id: u64) {
    if let Some(known) = loops.get_mut(&id) {
        known.leaving = true;
        // A loop that has ended already has nothing to leave.
        let _ = known.orders.send(Orders::Leave);
    }
}

impl Loop {
    fn status(&self) -> TargetStatus {
        let state = self
            .state
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let target = &self.settings.target;
        TargetStatus {
            discovered: target.discovered.clone(),
            labels: target.labels.clone(),
            url: target.url.clone(),
            interval: target.interval,
            timeout: target.timeout,
            health: state.health,
            last_error: state.last_error,
            last_scrape: state.last_scrape,
            last_duration: state.last_duration,
        }
    }
}

impl Pool {
    fn new(job: JobConfig, source: Arc<Source>, targets: Targets) -> Pool {
        Pool {
            job,
            source,
            targets,
            active: BTreeSet::new(),
            dropped: Vec::new(),
            dropped_count: 0,
        }
    }

    fn look_every(&self) -> Option<Duration> {
        match &self.targets {
            Targets::Discovered(sources) => sources.look_every(),
            Targets::Collector(_) => None,
        }
    }

    /// The targets that are to be scraped, by identity; notes the dropped ones.
    fn relabel(&mut self) -> BTreeMap<u64, Target> {
        let mut found = BTreeMap::new();
        self.dropped.clear();
        self.dropped_count = 0;
        let sources = match &self.targets {
            Targets::Discovered(sources) => sources,
            Targets::Collector(collector) => {
                let defaults = &self.job.target;
                let target = Target::collector(
                    &self.job.name,
                    &collector.instance,
                    defaults.interval,
                    defaults.timeout,
                );
                return BTreeMap::from([(target.id, target)]);
            }
        };
        let dropped_max = self.job.limits.dropped_targets.unwrap_or(DROPPED_MAX);
        for discovered in sources.targets() {
            match Target::relabel(&self.job, &discovered) {
                Ok(Relabelled::Target(target)) => {
                    found.insert(target.id, *target);
                }
                Ok(Relabelled::Dropped(labels)) => {
                    self.dropped_count += 1;
                    if (self.dropped.len() as u64) < dropped_max {
                        self.dropped.push(labels);
                    }
                }
                Err(error) => {
                    tracing::error!(job = self.job.name, ?discovered, %error, "this is no target");
                }
            }
        }
        found
    }

    fn settings(&self, target: Target, external: &LabelSet, refused: Option<String>) -> Settings {
        let labels = LabelRules {
            target: target.labels.clone(),
            honor: self.job.honor_labels,
            metric_relabel: self.job.metric_relabel.clone(),
            legacy_names: self.job.legacy_names,
            limits: self.job.limits,
            external: external.clone(),
        };
        Settings {
            rules: Rules::new(target.id, labels, &self.job, target.timeout),
            source: Arc::clone(&self.source),
            target,
            refused,
            failure_log: (self.job.failure_log.as_ref()).map(|path| FailureLog {
                path: path.clone(),
                job: self.job.name.clone(),
            }),
        }
    }
}
