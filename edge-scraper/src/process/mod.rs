//! The edge as a whole: in which order its parts start, reload and stop.

mod api;
mod drain;
mod hubs;
mod kept;
mod metrics;
mod page;

#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use daemon::config::ConfigError;
use daemon::http::{Health, ListenError, listen, serve_web};
use daemon::web::{ListenRefused, Web};
use daemon::{Clock, DataDir, DataDirError, Tasks};
use journal::Disk;
use model::Timestamp;

use crate::buffer::{Buffer, BufferError, BufferOptions, BufferStatus, Counts};
use crate::clock::HubTime;
use crate::collect::Collector;
use crate::collect::node::NodeCollector;
use crate::config::{EdgeConfig, FromDisk, JobConfig, NodeCollectorConfig, TextfileConfig};
use crate::forward::HubStatus;
use crate::kept::Kept;
use crate::push::gateway::Gateway;
use crate::push::textfile::Textfile;
use crate::push::{PushStatus, Pushes};
use crate::scrape::{
    ApplyError, CollectorTarget, Manager, NotKept, PoolStatus, Scrape, ScrapeMetrics, Sink,
};

pub(crate) use api::rfc3339;
pub use drain::Drain;
pub use hubs::{HubError, InProcessHub};

/// Version of the data folder's layout.
const DATA_FORMAT: u32 = 1;
/// How often collectors other than the node collector are scraped if there is none to go by.
const COLLECTOR_INTERVAL: Duration = Duration::from_secs(15);
/// How long a stopping edge tries to ship what is pending to hubs that answer.
const DRAIN_WITHIN: Duration = Duration::from_secs(3);
const DRAIN_LOOK_EVERY: Duration = Duration::from_millis(50);
/// How long each part may take to stop.
const STOP_WITHIN: Duration = Duration::from_secs(5);

/// What an edge is started with.
pub struct EdgeOptions {
    /// Checked configuration.
    pub config: EdgeConfig,
    /// Where the buffer is kept; made if it is not there.
    pub data_dir: PathBuf,
    /// Where to answer; `None`: nowhere, as inside a hub. Port 0 takes a free one.
    pub listen: Option<SocketAddr>,
    /// How that port is protected.
    pub web: Web,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// The disk that the data folder is on.
    pub disk: Arc<dyn Disk>,
    /// Hubs beside those of the configuration, reached without a port.
    pub hubs: Vec<InProcessHub>,
    /// Targets inside this process, beside the node collector.
    pub collectors: Vec<Arc<dyn Collector>>,
}

/// Why an edge does not start. Each says what to do.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum StartError {
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    #[error("the buffer in {path} cannot be opened: {source}")]
    Buffer { path: String, source: BufferError },
    #[error("the pushed groups in {path} cannot be read: {source}")]
    Gateway {
        path: String,
        source: std::io::Error,
    },
    #[error(transparent)]
    Listen(#[from] ListenError),
    #[error(transparent)]
    Refused(#[from] ListenRefused),
    #[error(transparent)]
    Hub(#[from] HubError),
    #[error(transparent)]
    Scrape(#[from] ApplyError),
}

/// Why a configuration was not put in force. The old one stays.
#[derive(Debug, thiserror::Error)]
pub enum ReloadError {
    /// The file.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A scrape job.
    #[error(transparent)]
    Scrape(#[from] ApplyError),
    /// A hub.
    #[error(transparent)]
    Hub(#[from] HubError),
}

/// Starts edges.
pub struct Edge;

/// A running edge. Clones are of the same one.
#[derive(Clone)]
pub struct EdgeHandle {
    inner: Arc<Inner>,
}

struct Inner {
    /// Follows `time`.
    clock: Arc<dyn Clock>,
    time: Arc<HubTime>,
    started_at: Timestamp,
    address: Option<SocketAddr>,
    health: Health,
    manager: Arc<Manager>,
    /// What outlasts an outage and a restart in it.
    kept: Kept,
    buffer: Arc<Buffer>,
    hubs: hubs::Hubs,
    pushes: Arc<Pushes>,
    drains: drain::Drains,
    /// Time of the oldest record of the oldest stretch of the buffer, by that stretch.
    oldest: Mutex<Option<(u64, Option<Timestamp>)>>,
    collectors: Vec<Arc<dyn Collector>>,
    http: Tasks,
    current: Mutex<Current>,
    /// One reload at a time.
    reloading: tokio::sync::Mutex<()>,
    /// The last to go: until then nobody else may open the folder.
    data_dir: Mutex<Option<DataDir>>,
}

/// The configuration in force.
struct Current {
    config: Arc<EdgeConfig>,
    /// Kept over reloads that do not change it: it remembers counters.
    node: Option<(NodeCollectorConfig, Arc<NodeCollector>)>,
    /// Kept likewise: it remembers which files are broken.
    textfile: Option<(TextfileConfig, Arc<Textfile>)>,
    reload: ReloadState,
}

/// How the last attempt to put a configuration in force went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReloadState {
    /// Whether it worked.
    pub success: bool,
    /// When one last worked.
    pub loaded_at: Timestamp,
}

/// An edge as pages, metrics and the API show it.
#[derive(Debug, Clone)]
pub struct EdgeStatus {
    /// Its name.
    pub edge: String,
    /// When it was started.
    pub started_at: Timestamp,
    /// Jobs and targets.
    pub pools: Vec<PoolStatus>,
    /// The buffer as a whole.
    pub buffer: BufferStatus,
    /// Time of the oldest samples in the buffer.
    pub oldest: Option<Timestamp>,
    /// Every hub with its books.
    pub hubs: Vec<HubStatus>,
    /// When each of them will have what it lacks.
    pub drains: Vec<Drain>,
    /// What is pushed.
    pub push: PushStatus,
    /// How much later scrapes are stamped than the machine's clock says, in milliseconds. None: with the machine's clock.
    pub clock_correction_ms: Option<i64>,
    /// The configuration.
    pub reload: ReloadState,
    /// What of the configuration in force was kept on disk, because its files cannot be used as they are now.
    pub from_disk: Option<FromDisk>,
}

impl Edge {
    /// Starts every part: data folder, buffer, port, shippers, scraping, and at last readiness. All tasks belong to `tasks`.
    ///
    /// # Errors
    ///
    /// What is in the way; nothing is running then but what `tasks` owns.
    pub async fn start(options: EdgeOptions, tasks: &Tasks) -> Result<EdgeHandle, StartError> {
        let EdgeOptions {
            config,
            data_dir,
            listen: address,
            web,
            clock,
            disk,
            hubs,
            collectors,
        } = options;
        if let Some(address) = address {
            web.check_listen(address, None)?;
        }
        let time = Arc::new(HubTime::new(clock, config.clock));
        let clock: Arc<dyn Clock> = time.clone();
        let kept = Kept::of(&data_dir);
        let (data_dir, buffer, gateway) = {
            let (clock, options) = (Arc::clone(&clock), buffer_options(&config));
            daemon::blocking(move || open(data_dir, disk, options, clock)).await?
        };
        let buffer = Arc::new(buffer);
        let listener = match address {
            Some(address) => Some(listen(address).await?),
            None => None,
        };
        let address = listener
            .as_ref()
            .and_then(|listener| listener.local_addr().ok());
        let (scraping, shipping, http) = (tasks.child(), tasks.child(), tasks.child());
        let sink = Arc::new(BufferSink {
            buffer: Arc::clone(&buffer),
        });
        let manager = Manager::start(
            Arc::clone(&clock),
            sink,
            &config.edge,
            kept.clone(),
            &scraping,
        );
        let current = Current {
            reload: ReloadState {
                success: true,
                loaded_at: clock.now(),
            },
            config: Arc::new(config.clone()),
            node: None,
            textfile: None,
        };
        let stopping = http.token().clone();
        let pushes = Pushes::new(Arc::clone(&buffer), gateway, Arc::clone(&clock), stopping);
        let inner = Arc::new(Inner {
            started_at: clock.now(),
            clock,
            address,
            health: Health::default(),
            manager,
            kept,
            hubs: hubs::Hubs::new(Arc::clone(&buffer), Arc::clone(&time), shipping, hubs),
            time,
            buffer,
            pushes: Arc::new(pushes),
            drains: drain::Drains::default(),
            oldest: Mutex::default(),
            collectors,
            http,
            current: Mutex::new(current),
            reloading: tokio::sync::Mutex::default(),
            data_dir: Mutex::new(Some(data_dir)),
        });
        let handle = EdgeHandle { inner };
        handle
            .put_in_force(config)
            .await
            .map_err(|error| match error {
                PutError::Scrape(error) => StartError::Scrape(error),
                PutError::Hub(error) => StartError::Hub(error),
            })?;
        let watch = handle.clone().watch_drains();
        handle.inner.http.spawn("drain estimates", watch);
        let tend = handle.clone().tend_buffer();
        handle.inner.http.spawn("buffer tending", tend);
        if let Some(listener) = listener {
            let routes = daemon::web::guard(api::routes(&handle, web.has_users()), &web);
            serve_web(listener, routes, &web, &handle.inner.http);
        }
        tasks.spawn(
            "kept configuration",
            handle.clone().look_again(tasks.clone()),
        );
        handle.inner.health.set_ready(true);
        if let Some(address) = address {
            let scheme = web.scheme();
            tracing::info!("edge {} ready: {scheme}://{address}/", handle.config().edge);
        }
        Ok(handle)
    }
}

/// A restart that takes less is no time without an edge.
const RESTART_LEAST: Duration = Duration::from_secs(10);
/// How often it is looked at whether the buffer becomes full.
const TEND_EVERY: Duration = Duration::from_secs(5);

enum PutError {
    Scrape(ApplyError),
    Hub(HubError),
}

impl From<PutError> for ReloadError {
    fn from(error: PutError) -> ReloadError {
        match error {
            PutError::Scrape(error) => ReloadError::Scrape(error),
            PutError::Hub(error) => ReloadError::Hub(error),
        }
    }
}

fn buffer_options(config: &EdgeConfig) -> BufferOptions {
    let usual = BufferOptions::default();
    let jobs = config.jobs.iter().map(|job| job.target.interval);
    // Of the job that is scraped most often something is missing then.
    let downtime_least = jobs.min().map(|shortest| RESTART_LEAST.max(2 * shortest));
    BufferOptions {
        bytes_max: config.buffer.bytes_max,
        eviction: config.buffer.eviction.clone(),
        sync_bound: Some(config.buffer.sync_within),
        downtime_least: downtime_least.unwrap_or(usual.downtime_least),
        edge: config.edge.clone(),
        ..usual
    }
}

fn open(
    path: PathBuf,
    disk: Arc<dyn Disk>,
    options: BufferOptions,
    clock: Arc<dyn Clock>,
) -> Result<(DataDir, Buffer, Gateway), StartError> {
    let data_dir = DataDir::open(&path, "edge-scraper", DATA_FORMAT)?;
    let folder = data_dir.path().join("buffer");
    let buffer = Buffer::open(Arc::clone(&disk), &folder, options, Arc::clone(&clock));
    let buffer = buffer.map_err(|source| StartError::Buffer {
        path: folder.display().to_string(),
        source,
    })?;
    let folder = data_dir.path().join("pushgateway");
    let gateway = Gateway::open(disk, &folder, clock).map_err(|source| StartError::Gateway {
        path: folder.display().to_string(),
        source,
    })?;
    Ok((data_dir, buffer, gateway))
}

struct BufferSink {
    buffer: Arc<Buffer>,
}

impl Sink for BufferSink {
    fn append(&self, scrape: &Scrape) -> Result<(), NotKept> {
        self.buffer.append(scrape).map_err(|error| match error {
            BufferError::LabelsWanted => NotKept::LabelsWanted,
            error => NotKept::Failed(error.to_string()),
        })
    }
}

impl EdgeHandle {
    /// Where it answers, if it does.
    pub fn address(&self) -> Option<SocketAddr> {
        self.inner.address
    }

    /// The configuration in force.
    pub fn config(&self) -> Arc<EdgeConfig> {
        Arc::clone(&self.current().config)
    }

    /// Counts about scraping.
    pub fn scrape_metrics(&self) -> &ScrapeMetrics {
        self.inner.manager.metrics()
    }

    /// The scrape jobs, with their targets.
    pub fn pools(&self) -> Vec<PoolStatus> {
        self.inner.manager.status()
    }

    /// Makes pending again what hubs have refused for good, so that it is sent again; how much that is, by hub. Writes to
    /// disk: not for async threads.
    ///
    /// # Errors
    /// The disk's.
    pub fn retry_quarantined(&self) -> Result<Vec<(String, Counts)>, BufferError> {
        let names = self.inner.hubs.names().into_iter();
        let released = names.map(|name| {
            let counts = self.inner.buffer.release_quarantine(&name)?;
            if counts.samples > 0 {
                let samples = counts.samples;
                tracing::info!(hub = name, samples, "what was refused is sent again");
            }
            Ok((name, counts))
        });
        released.collect()
    }

    /// Everything about it. Reads the buffer on disk: not for async threads.
    pub fn status(&self) -> EdgeStatus {
        let (edge, reload, from_disk) = {
            let current = self.current();
            let config = &current.config;
            (
                config.edge.clone(),
                current.reload,
                config.from_disk.clone(),
            )
        };
        let (now, elapsed) = (self.inner.clock.now(), self.inner.clock.elapsed());
        let hubs = self.inner.hubs.status();
        let drain = |hub| self.inner.drains.estimate(elapsed, now, hub);
        EdgeStatus {
            edge,
            started_at: self.inner.started_at,
            pools: self.inner.manager.status(),
            buffer: self.inner.buffer.status(),
            oldest: self.oldest(),
            drains: hubs.iter().map(drain).collect(),
            hubs,
            push: self.inner.pushes.status(),
            clock_correction_ms: self.inner.time.correction_ms(),
            reload,
            from_disk,
        }
    }

    /// Time of the oldest record in the buffer. Reads a stretch of it when another has become the oldest.
    fn oldest(&self) -> Option<Timestamp> {
        let oldest = self.inner.buffer.stretches().into_iter().next()?;
        let mut known = (self.inner.oldest.lock()).unwrap_or_else(PoisonError::into_inner);
        match *known {
            Some((first, at)) if first == oldest.first => at,
            _ => {
                let records = self.inner.buffer.records_of(&oldest).ok()?;
                let at = records.iter().map(|record| record.at).min();
                *known = Some((oldest.first, at));
                at
            }
        }
    }

    /// Looks every few seconds at what is pending, for the estimate of when it will not be.
    async fn watch_drains(self) {
        let stop = self.inner.http.token().clone();
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.inner.clock.sleep(drain::LOOK_EVERY) => {}
            }
            let handle = self.clone();
            daemon::blocking(move || {
                let hubs = handle.inner.hubs.status();
                let elapsed = handle.inner.clock.elapsed();
                handle.inner.drains.look(elapsed, &hubs);
            })
            .await;
        }
    }

    /// Looks every few seconds whether the buffer becomes full.
    async fn tend_buffer(self) {
        let stop = self.inner.http.token().clone();
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.inner.clock.sleep(TEND_EVERY) => {}
            }
            let buffer = Arc::clone(&self.inner.buffer);
            if let Err(error) = daemon::blocking(move || buffer.tend()).await {
                tracing::warn!(%error, "the buffer cannot make room: the oldest scrapes will go whole");
            }
        }
    }

    /// The `data` of Prometheus's `/api/v1/targets`: `state` is `active`, `dropped` or anything else for both, `pool` a job's
    /// name or nothing.
    pub fn targets_json(&self, state: &str, pool: Option<&str>) -> serde_json::Value {
        api::targets_json(
            &self.inner.manager.status(),
            state,
            pool.unwrap_or_default(),
        )
    }

    /// Reads the configuration file again and puts it in force. Without a file there is nothing to do.
    ///
    /// # Errors
    ///
    /// What is wrong; the old configuration stays in force.
    pub async fn reload_file(&self) -> Result<(), ReloadError> {
        let Some(path) = self.config().path.clone() else {
            return Ok(());
        };
        let kept = self.inner.kept.clone();
        match daemon::blocking(move || EdgeConfig::load_with(&path, &kept)).await {
            Ok(config) => self.reload(config).await,
            Err(error) => {
                self.reloaded(Err(&error));
                Err(error.into())
            }
        }
    }

    /// Puts another configuration in force. Targets that stay keep their loop and their place in the interval, hubs that
    /// stay keep shipping. The edge's name and the buffer's bounds change with the next start.
    ///
    /// # Errors
    ///
    /// What is wrong; the old configuration stays in force.
    pub async fn reload(&self, config: EdgeConfig) -> Result<(), ReloadError> {
        let _one_at_a_time = self.inner.reloading.lock().await;
        let old = self.config();
        if old.edge != config.edge || old.buffer != config.buffer {
            tracing::warn!(
                "branchline.edge and branchline.buffer change with the next start, not with a reload"
            );
        }
        let result = self.put_in_force(config).await.map_err(ReloadError::from);
        match &result {
            Ok(()) => self.reloaded(Ok(())),
            Err(error) => self.reloaded(Err(error)),
        }
        result
    }

    fn reloaded(&self, result: Result<(), &dyn std::error::Error>) {
        let mut current = self.current();
        current.reload.success = result.is_ok();
        match result {
            Ok(()) => {
                current.reload.loaded_at = self.inner.clock.now();
                tracing::info!("configuration loaded again");
            }
            Err(error) => tracing::error!("configuration not loaded, the old one stays: {error}"),
        }
    }

    async fn put_in_force(&self, mut config: EdgeConfig) -> Result<(), PutError> {
        for warning in &config.warnings {
            tracing::warn!("{warning}");
        }
        kept::say(&config);
        // What can be refused comes first: links are made, then jobs, and only then hubs are let go of.
        let hubs = self.inner.hubs.prepare(&config).map_err(PutError::Hub)?;
        let node = self.node_collector(&config);
        let textfile = self.textfile(&config);
        let collectors = self.collector_targets(&config, node.as_ref(), textfile.as_ref());
        let handle = self.clone();
        let (result, config) = daemon::blocking(move || {
            let result =
                handle
                    .inner
                    .manager
                    .apply(&config.jobs, &collectors, &config.external_labels);
            (
                result,
                std::mem::replace(&mut config, EdgeConfig::without_file()),
            )
        })
        .await;
        result.map_err(PutError::Scrape)?;
        let first = config.hubs.first().map(|hub| hub.name.clone());
        self.inner.time.set_policy(config.clock, first);
        self.inner.hubs.switch(hubs).await.map_err(PutError::Hub)?;
        self.inner
            .pushes
            .configure(&config, self.inner.hubs.names());
        let config = self.keep(config).await;
        let mut current = self.current();
        current.node = node;
        current.textfile = textfile;
        current.config = Arc::new(config);
        Ok(())
    }

    /// The node collector of a configuration: the running one if nothing about it changes.
    fn node_collector(
        &self,
        config: &EdgeConfig,
    ) -> Option<(NodeCollectorConfig, Arc<NodeCollector>)> {
        let wanted = config.node_collector.as_ref()?;
        let running = self.current().node.clone();
        let same =
            running.filter(|(old, _)| old.options == wanted.options && old.job == wanted.job);
        let collector = match same {
            Some((_, collector)) => collector,
            None => Arc::new(NodeCollector::new(wanted.job.clone(), &wanted.options)),
        };
        Some((wanted.clone(), collector))
    }

    /// The folder of text files of a configuration: the running one if it is the same folder.
    fn textfile(&self, config: &EdgeConfig) -> Option<(TextfileConfig, Arc<Textfile>)> {
        let wanted = config.push.textfile.as_ref()?;
        let running = self.current().textfile.clone();
        let same = running.filter(|(old, _)| {
            old.directory == wanted.directory && old.job.name == wanted.job.name
        });
        let textfile = same.map_or_else(
            || {
                Arc::new(Textfile::new(
                    wanted.job.name.clone(),
                    wanted.directory.clone(),
                ))
            },
            |(_, running)| running,
        );
        Some((wanted.clone(), textfile))
    }

    fn collector_targets(
        &self,
        config: &EdgeConfig,
        node: Option<&(NodeCollectorConfig, Arc<NodeCollector>)>,
        textfile: Option<&(TextfileConfig, Arc<Textfile>)>,
    ) -> Vec<CollectorTarget> {
        let mut targets = Vec::new();
        let mut interval = COLLECTOR_INTERVAL;
        if let Some((config, collector)) = node {
            interval = config.interval;
            let mut job = JobConfig::for_collector(&config.job, config.interval, config.timeout);
            job.metric_relabel = config.metric_relabel.clone();
            targets.push(CollectorTarget {
                collector: Arc::clone(collector) as Arc<dyn Collector>,
                instance: config.instance.clone(),
                job,
            });
        }
        if let Some((config, textfile)) = textfile {
            targets.push(CollectorTarget {
                collector: Arc::clone(textfile) as Arc<dyn Collector>,
                instance: config.instance.clone(),
                job: config.job.clone(),
            });
        }
        if let Some(gateway) = &config.push.gateway {
            targets.push(CollectorTarget {
                collector: Arc::clone(self.inner.pushes.gateway()) as Arc<dyn Collector>,
                instance: config.edge.clone(),
                job: gateway.job.clone(),
            });
        }
        for collector in &self.inner.collectors {
            targets.push(CollectorTarget {
                collector: Arc::clone(collector),
                instance: config.edge.clone(),
                job: JobConfig::for_collector(collector.job(), interval, interval),
            });
        }
        targets
    }

    /// Ends in order: no more scrapes, what is buffered onto disk, one last attempt to ship it, cursors saved, no more
    /// answers, and the data folder is free.
    pub async fn shutdown(&self) {
        let inner = &self.inner;
        inner.health.set_ready(false);
        self.stop_scraping().await;
        self.drain().await;
        said("shipping", inner.hubs.stop(STOP_WITHIN).await);
        let buffer = Arc::clone(&inner.buffer);
        if let Err(error) = daemon::blocking(move || buffer.save()).await {
            tracing::warn!(%error, "acknowledgements could not be saved: some samples will be sent again");
        }
        said("answering", inner.http.shutdown(STOP_WITHIN).await);
        let data_dir = inner
            .data_dir
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        drop(data_dir);
    }

    /// No more scrapes from here on; what was scraped is on disk when this returns, and shipping goes on.
    pub async fn stop_scraping(&self) {
        said("scraping", self.inner.manager.stop().await);
        let buffer = Arc::clone(&self.inner.buffer);
        if let Err(error) = daemon::blocking(move || buffer.sync()).await {
            tracing::error!(%error, "the last scrapes could not be synced");
        }
    }

    /// Waits, within a bound, until hubs that answer have everything.
    async fn drain(&self) {
        let until = self.inner.clock.elapsed() + DRAIN_WITHIN;
        loop {
            let handle = self.clone();
            let drained = daemon::blocking(move || handle.inner.hubs.drained()).await;
            if drained || self.inner.clock.elapsed() >= until {
                return;
            }
            self.inner.clock.sleep(DRAIN_LOOK_EVERY).await;
        }
    }

    fn current(&self) -> std::sync::MutexGuard<'_, Current> {
        self.inner
            .current
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

fn said(part: &str, stopped: Result<(), Vec<String>>) {
    if let Err(tasks) = stopped {
        tracing::warn!(part, ?tasks, "tasks would not stop in time");
    }
}
