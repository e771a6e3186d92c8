//! When rule groups run, and what happens with what comes out: samples go to the store, alerts to the router.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, TryLockError};
use std::time::Duration;

use daemon::{Clock, Tasks};
use model::{Alert, LabelSet, Matcher, Sample, Timestamp, Value};
use promql::{
    Cancel, Engine, Expr, ParseOptions, QueryError, QueryOptions, QueryResult, ResultValue,
};
use rules::{
    GroupOptions, GroupView, ReloadOptions, RuleContext, RuleFile, RuleGroup, RuleSample, RuleView,
    StateView,
};
use tokio_util::sync::CancellationToken;
use tsdb::{Batch, BatchSeries, Store, TimeRange};

use crate::api::stats_json;
use crate::query_log::{Entry, QueryLog};
use crate::storage::StoreReader;

/// The scope that samples of rules are stored under. No branch can have this name: parentheses are not
/// allowed in the names of branches.
const RULES_SCOPE: &str = "(rules)";
/// A rule file larger than this is surely not one.
const FILE_BYTES_MAX: u64 = 16 << 20;
/// How long groups under evaluation may take to end before a reload goes on without them.
const STOP_GRACE: Duration = Duration::from_secs(60);
/// When an evaluation is to end because its group stops, its queries are stopped after this.
const LAST_QUERY: Duration = Duration::from_secs(10);

/// Where alerts go. Called off the async threads; must not block for long.
pub(crate) type SendAlerts = Arc<dyn Fn(Vec<Alert>) + Send + Sync>;

/// Runs every group at its times.
pub(crate) struct Ruler {
    engine: Arc<Engine>,
    /// How `query` in templates is parsed; rule files have been parsed so.
    parse: ParseOptions,
    reader: StoreReader,
    clock: Arc<dyn Clock>,
    send: SendAlerts,
    query_log: Arc<QueryLog>,
    running: Mutex<Running>,
    pub(crate) counts: RulerCounts,
}

#[derive(Debug, Default)]
pub(crate) struct RulerCounts {
    pub(crate) evaluations: AtomicU64,
    pub(crate) failures: AtomicU64,
    pub(crate) missed: AtomicU64,
    pub(crate) samples: AtomicU64,
}

#[derive(Default)]
struct Running {
    groups: Vec<Arc<Group>>,
    tasks: Option<Tasks>,
}

/// A group under evaluation, and what it looked like after the last one: who looks at it waits for no evaluation.
struct Group {
    key: String,
    interval: Duration,
    /// None once a reload has taken it over.
    rules: Mutex<Option<RuleGroup>>,
    view: Mutex<Arc<GroupView>>,
}

/// What the configuration says about rules.
#[derive(Debug)]
pub(crate) struct RulerOptions {
    pub(crate) files: Vec<RuleFile>,
    pub(crate) interval: Duration,
    pub(crate) external_labels: LabelSet,
    pub(crate) external_url: String,
    pub(crate) query_offset: Duration,
}

/// Reads the rule files that the patterns name.
///
/// # Errors
/// Everything that is wrong in the files, each with its place.
pub(crate) fn load_files(
    paths: &[PathBuf],
    options: &ParseOptions,
) -> Result<Vec<RuleFile>, String> {
    let (mut files, mut errors) = (Vec::new(), Vec::new());
    for path in paths {
        match read(path).and_then(|text| {
            RuleFile::parse(&path.display().to_string(), &text, options)
                .map_err(|error| error.to_string())
        }) {
            Ok(file) => files.push(file),
            Err(error) => errors.push(error),
        }
    }
    if errors.is_empty() {
        Ok(files)
    } else {
        Err(errors.join("\n"))
    }
}

fn read(path: &Path) -> Result<String, String> {
    let size = std::fs::metadata(path)
        .map_err(|error| format!("{}: {error}", path.display()))?
        .len();
    if size > FILE_BYTES_MAX {
        return Err(format!(
            "{}: {size} bytes, at most {FILE_BYTES_MAX} are read",
            path.display()
        ));
    }
    std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))
}

impl Ruler {
    pub(crate) fn new(
        engine: Arc<Engine>,
        parse: ParseOptions,
        store: Arc<Store>,
        clock: Arc<dyn Clock>,
        send: SendAlerts,
        query_log: Arc<QueryLog>,
    ) -> Self {
        let reader = StoreReader { store };
        Ruler {
            engine,
            parse,
            reader,
            clock,
            send,
            query_log,
            running: Mutex::default(),
            counts: RulerCounts::default(),
        }
    }

    /// Puts groups in force: at the start, and again after a reload. Groups that did not change keep their
    /// state; the times of evaluation depend on the group's name and file only, so none is missed.
    pub(crate) async fn load(self: &Arc<Self>, options: RulerOptions, tasks: &Tasks) {
        let (old, old_tasks) = {
            let mut running = lock(&self.running);
            (running.groups.clone(), running.tasks.take())
        };
        let first = old_tasks.is_none();
        if let Some(old_tasks) = old_tasks
            && let Err(names) = old_tasks.shutdown(STOP_GRACE).await
        {
            tracing::warn!(?names, "rule groups still running, their state starts anew");
        }
        // One that still runs has its lock, and keeps it.
        let old = old.iter().filter_map(|group| match group.rules.try_lock() {
            Ok(mut rules) => rules.take(),
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner().take(),
            Err(TryLockError::WouldBlock) => None,
        });
        let reload = ReloadOptions {
            interval: options.interval,
            restore: first,
        };
        let loaded = rules::reload(old, options.files, &reload);
        let parent = tasks;
        let tasks = parent.child();
        let external = rules::ExternalInfo {
            labels: options
                .external_labels
                .iter()
                .map(|(n, v)| (n.to_owned(), v.to_owned()))
                .collect(),
            url: options.external_url.clone(),
        };
        let options = Arc::new(GroupOptions {
            query_offset: options.query_offset,
            external,
            ..GroupOptions::default()
        });
        let groups: Vec<_> = loaded
            .groups
            .into_iter()
            .map(|group| Arc::new(Group::new(group)))
            .collect();
        for group in &groups {
            let (this, group, options) = (self.clone(), group.clone(), options.clone());
            let token = tasks.token().clone();
            tasks.spawn(format!("rule group {}", group.key), async move {
                this.run(&group, &options, &token).await;
            });
        }
        let removed_at = self.clock.now();
        for removed in loaded.removed {
            // Not with the groups: the next reload ends those.
            let (this, token) = (self.clone(), parent.token().clone());
            parent.spawn_brief(format!("removed rule group {}", removed.key), async move {
                if token
                    .run_until_cancelled(this.clock.sleep(removed.wait))
                    .await
                    .is_some()
                {
                    daemon::blocking(move || {
                        let now = this.clock.now();
                        let mut context = Context::new(&this, Cancel::new(), &removed.key);
                        if let Err(error) = removed.mark_stale(removed_at, now, &mut context) {
                            tracing::warn!(
                                group = removed.key,
                                "its series cannot be marked stale: {error}"
                            );
                        }
                    })
                    .await;
                }
            });
        }
        *lock(&self.running) = Running {
            groups,
            tasks: Some(tasks),
        };
    }

    async fn run(
        self: &Arc<Self>,
        group: &Arc<Group>,
        options: &Arc<GroupOptions>,
        token: &CancellationToken,
    ) {
        let interval = group.interval;
        let mut next = group.slot(self.clock.now()).saturating_add(interval);
        loop {
            let mut wait = next.saturating_since(self.clock.now());
            if wait > interval {
                // Somebody has set the clock back.
                next = group.slot(self.clock.now()).saturating_add(interval);
                wait = next.saturating_since(self.clock.now());
            }
            if token
                .run_until_cancelled(self.clock.sleep(wait))
                .await
                .is_none()
            {
                return;
            }
            let cancel = Cancel::new();
            let evaluation = {
                let (this, group) = (self.clone(), group.clone());
                let (options, cancel) = (options.clone(), cancel.clone());
                daemon::blocking(move || this.evaluate(&group, next, &options, cancel))
            };
            tokio::pin!(evaluation);
            tokio::select! {
                () = &mut evaluation => {}
                () = async { token.cancelled().await; self.clock.sleep(LAST_QUERY).await } => {
                    cancel.cancel();
                    evaluation.await;
                }
            }
            let newest = group.slot(self.clock.now());
            let missed = newest.saturating_since(next).as_millis() / interval.as_millis().max(1);
            if missed > 0 {
                self.counts
                    .missed
                    .fetch_add(missed as u64, Ordering::Relaxed);
                tracing::warn!(
                    group = group.key,
                    missed,
                    "rule evaluations missed: the group takes longer than its interval"
                );
            }
            next = newest.max(next).saturating_add(interval);
            self.counts.evaluations.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn evaluate(&self, group: &Group, at: Timestamp, options: &GroupOptions, cancel: Cancel) {
        let mut rules = lock(&group.rules);
        let Some(rules) = rules.as_mut() else {
            return;
        };
        let evaluation = rules.evaluate(at, options, &mut Context::new(self, cancel, &group.key));
        *lock(&group.view) = Arc::new(rules.view());
        let counts = &self.counts;
        counts
            .samples
            .fetch_add(evaluation.samples as u64, Ordering::Relaxed);
        counts
            .failures
            .fetch_add(evaluation.failures.len() as u64, Ordering::Relaxed);
        for failure in &evaluation.failures {
            tracing::warn!(
                group = group.key,
                rule = failure.name,
                "rule failed: {}",
                failure.error
            );
        }
        if let Some(error) = &evaluation.restore_error {
            tracing::warn!(
                group = group.key,
                "alert state from before the restart is lost: {error}"
            );
        }
        if !evaluation.alerts.is_empty() {
            let external = &options.external.labels;
            (self.send)(
                evaluation
                    .alerts
                    .into_iter()
                    .map(|alert| with_external(alert, external))
                    .collect(),
            );
        }
    }

    /// The alerts that fire now: name and labels.
    pub(crate) fn firing(&self) -> Vec<LabelSet> {
        let views = self.views();
        let alerting = views
            .iter()
            .flat_map(|view| &view.rules)
            .filter_map(|rule| match rule {
                RuleView::Alerting(rule) => Some(&rule.alerts),
                RuleView::Recording(_) => None,
            });
        let firing = alerting
            .flatten()
            .filter(|alert| alert.state == StateView::Firing);
        firing.map(|alert| alert.labels.clone()).collect()
    }

    /// All groups as the API shows them.
    pub(crate) fn views(&self) -> Vec<Arc<GroupView>> {
        let running = lock(&self.running);
        (running.groups.iter())
            .map(|group| lock(&group.view).clone())
            .collect()
    }
}

impl Group {
    fn new(rules: RuleGroup) -> Self {
        Group {
            key: rules.key(),
            interval: rules.interval(),
            view: Mutex::new(Arc::new(rules.view())),
            rules: Mutex::new(Some(rules)),
        }
    }

    fn slot(&self, now: Timestamp) -> Timestamp {
        lock(&self.rules)
            .as_ref()
            .map_or(now, |rules| rules.slot(now))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// External labels go on alerts that do not have them, as in Prometheus.
fn with_external(mut alert: Alert, external: &BTreeMap<String, String>) -> Alert {
    if external.is_empty() {
        return alert;
    }
    let mut builder = alert.labels.builder();
    for (name, value) in external {
        if alert.labels.get(name).is_none() {
            builder.set(name, value);
        }
    }
    alert.labels = builder.build();
    alert
}

struct Context<'a> {
    ruler: &'a Ruler,
    /// Of the group: its file and name.
    key: &'a str,
    options: QueryOptions,
}

impl<'a> Context<'a> {
    fn new(ruler: &'a Ruler, cancel: Cancel, key: &'a str) -> Self {
        let options = QueryOptions {
            cancel,
            ..QueryOptions::default()
        };
        Context {
            ruler,
            key,
            options,
        }
    }

    fn log(
        &self,
        expr: &Expr,
        at: Timestamp,
        took: Duration,
        result: &Result<QueryResult, QueryError>,
    ) {
        let log = &self.ruler.query_log;
        if !log.is_on() {
            return;
        }
        let (file, name) = self.key.rsplit_once(';').unwrap_or(("", self.key));
        let stats = result.as_ref().map(|result| result.stats.clone());
        log.put(Entry {
            at: self.ruler.clock.now(),
            query: &expr.to_string(),
            start: at,
            end: at,
            step_ms: 0,
            stats: stats_json(&stats.unwrap_or_default(), Duration::ZERO, took),
            error: result.as_ref().err().map(ToString::to_string),
            origin: ("ruleGroup", serde_json::json!({"file": file, "name": name})),
        });
    }
}

impl RuleContext for Context<'_> {
    fn query(&mut self, expr: &Expr, at: Timestamp) -> Result<Vec<(LabelSet, Value)>, String> {
        let began = self.ruler.clock.elapsed();
        let result = self
            .ruler
            .engine
            .instant(&self.ruler.reader, expr, at, &self.options);
        let took = self.ruler.clock.elapsed().saturating_sub(began);
        self.log(expr, at, took, &result);
        let result = result.map_err(|error| error.to_string())?;
        match result.value {
            ResultValue::Vector(all) => Ok(all
                .into_iter()
                .map(|each| (each.labels, each.value))
                .collect()),
            ResultValue::Scalar(_, value) => Ok(vec![(LabelSet::empty(), Value::Float(value))]),
            _ => Err("rule result is not a vector or scalar".to_owned()),
        }
    }

    fn parse_options(&self) -> ParseOptions {
        self.ruler.parse
    }

    fn append(&mut self, samples: Vec<RuleSample>) -> Result<(), String> {
        let store = &self.ruler.reader.store;
        let labels: Vec<_> = samples
            .iter()
            .map(|each| || Ok(each.labels.clone()))
            .collect();
        let series = samples
            .iter()
            .zip(&labels)
            .map(|(each, labels)| BatchSeries {
                key: store.series_key(RULES_SCOPE, each.labels.as_bytes()),
                labels,
                samples: std::slice::from_ref(&each.sample),
            })
            .collect();
        let batch = Batch {
            scope: RULES_SCOPE,
            series,
            metadata: Vec::new(),
        };
        // Readable at once, durable soon after: a crash in between costs the last evaluation, as in Prometheus.
        let appended = store.append(&batch).map_err(|error| error.to_string())?;
        match appended.refused.first() {
            None => Ok(()),
            Some(first) => Err(format!(
                "{} samples were refused: {}",
                appended.refused.len(),
                first.reason
            )),
        }
    }

    fn newest(
        &mut self,
        matchers: &[Matcher],
        from: Timestamp,
        to: Timestamp,
    ) -> Result<Vec<(LabelSet, Sample)>, String> {
        let budget = self.ruler.engine.budget();
        let range = TimeRange::new(from, to);
        let reader = &self.ruler.reader;
        let newest = reader
            .newest(matchers, range, &budget, &self.options.cancel)
            .map_err(|error| error.to_string())?;
        let newest = newest.into_iter().map(|newest| {
            let sample = Sample {
                at: newest.at,
                start: None,
                value: newest.value,
            };
            (newest.labels, sample)
        });
        // By labels.
        let newest: BTreeMap<LabelSet, Sample> = newest.collect();
        Ok(newest.into_iter().collect())
    }

    fn elapsed(&self) -> Duration {
        self.ruler.clock.elapsed()
    }
}
