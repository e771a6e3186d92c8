//! The hub as a whole: in which order its parts start, reload and stop.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use anyhow::Context;
use axum::Router;
use axum::extract::State;
use axum::middleware;
use axum::response::Response;
use axum::routing::get;
use daemon::http::{Health, common_routes, listen, serve};
use daemon::{Clock, DataDir, Signal, Signals, Tasks};
use journal::Disk;
use promql::{Engine, EngineOptions};
use tokio::sync::mpsc;
use tsdb::{Store, StoreOptions};

use crate::alerts::Alerts;
use crate::api::{self, Queries};
use crate::config::HubConfig;
use crate::federation::{BranchMetrics, Branches};
use crate::ingest::{self, Credentials, Ingest};
use crate::local_edge::{LocalEdge, LocalEdgeOptions};
use crate::metrics::HubMetrics;
use crate::pages::{self, Home};
use crate::ruler::{Ruler, RulerOptions};
use crate::state::{HubState, Loaded, ReloadRequest};
use crate::targets;

/// Version of the data folder's layout.
const DATA_FORMAT: u32 = 1;
/// How often the store seals, merges and drops what is too old.
const MAINTENANCE_INTERVAL: Duration = Duration::from_secs(10);
/// How long each part may take to stop.
const STOP_GRACE: Duration = Duration::from_secs(20);
/// Reloads that wait; more callers wait in line.
const RELOADS_MAX: usize = 4;

/// What a hub is started with.
pub struct HubOptions {
    /// Checked configuration.
    pub config: HubConfig,
    /// Where to listen; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Where everything is kept.
    pub data_dir: PathBuf,
    /// Whether the edge inside runs (if the configuration does not switch it off).
    pub local_edge: bool,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// The disk that the data folder is on.
    pub disk: Arc<dyn Disk>,
    /// The command line's flags, for people who ask the API.
    pub flags: BTreeMap<String, String>,
}

/// A running hub.
pub struct Hub {
    state: Arc<HubState>,
    address: SocketAddr,
    health: Health,
    alerts: Alerts,
    tasks: HubTasks,
    reloads: mpsc::Receiver<ReloadRequest>,
    // The last to go: until then nobody else may open the folder.
    _data_dir: DataDir,
}

/// One node a step of the shutdown.
struct HubTasks {
    root: Tasks,
    edge: Tasks,
    rules: Tasks,
    http: Tasks,
    router: Tasks,
    store: Tasks,
}

impl Hub {
    /// Starts every part, the listener last but one and readiness last.
    ///
    /// # Errors
    /// Each says what is in the way and what to do; no port is open then.
    pub async fn start(options: HubOptions) -> anyhow::Result<Self> {
        let HubOptions {
            config,
            listen: address,
            data_dir,
            local_edge,
            clock,
            disk,
            flags,
        } = options;
        config.check_listen(address).map_err(anyhow::Error::msg)?;
        let data_dir = DataDir::open(&data_dir, "hub", DATA_FORMAT)?;
        let hub_id = hub_id(data_dir.path())?;
        let store = open_store(disk.clone(), data_dir.path(), &config).await?;
        let root = Tasks::new();
        let tasks = HubTasks {
            edge: root.child(),
            rules: root.child(),
            http: root.child(),
            router: root.child(),
            store: root.child(),
            root,
        };
        let listener = listen(address).await?;
        let address = listener.local_addr()?;

        let alerts = Alerts::start(
            &config,
            data_dir.path(),
            disk.clone(),
            clock.clone(),
            &tasks.router,
        )
        .await?;
        let engine = Engine::new(EngineOptions::default());
        let ruler = Arc::new(Ruler::new(
            Arc::new(engine.clone()),
            store.clone(),
            clock.clone(),
            alerts.sender(),
        ));
        let branches = Branches::new(clock.clone());
        let (writers, readers) = (Credentials::default(), Credentials::default());
        set_credentials(&config, &writers, &readers)?;
        let ingest = Arc::new(Ingest::new(
            store.clone(),
            branches.clone(),
            writers.clone(),
            clock.clone(),
            hub_id,
        ));
        expect_branches(&config, &store, &branches);

        let mut registry = daemon::metrics::registry("hub");
        let count = {
            let (store, clock) = (store.clone(), clock.clone());
            Arc::new(move || targets::counts(&store, clock.now()))
        };
        registry.register_collector(Box::new(BranchMetrics {
            branches: branches.clone(),
            targets: count,
        }));
        registry.register_collector(Box::new(HubMetrics {
            ingest: ingest.clone(),
            ruler: ruler.clone(),
            store: store.clone(),
        }));
        registry.register_collector(alerts.metrics());
        let registry = Arc::new(registry);
        let own_metrics = Arc::new(move || daemon::metrics::encode(&registry));

        let edge = match config.local_edge.clone().filter(|_| local_edge) {
            Some(config) => {
                let options = LocalEdgeOptions {
                    config,
                    data_dir: data_dir.path().join("edge"),
                    ingest: ingest.clone(),
                    metrics: own_metrics.clone(),
                    clock: clock.clone(),
                    disk,
                };
                Some(LocalEdge::start(options, &tasks.edge).await?)
            }
            None => None,
        };
        let (reloads, requests) = mpsc::channel(RELOADS_MAX);
        let state = Arc::new(HubState {
            store,
            queries: Queries::new(engine),
            branches,
            ruler,
            writers,
            readers,
            started_at: clock.now(),
            clock,
            flags,
            loaded: RwLock::new(Loaded::new(&config)),
            edge,
            reloads,
        });
        state.mark_loaded(true);
        let health = Health::default();
        let router = routes(
            &state,
            &ingest,
            &alerts,
            common_routes("Branchline Hub", health.clone(), own_metrics),
        );
        serve(listener, router, &tasks.http);
        maintain(&state, &tasks.store);
        state
            .ruler
            .load(ruler_options(config, address), &tasks.rules)
            .await;
        health.set_ready(true);
        tracing::info!("hub ready: http://{address}/");
        Ok(Hub {
            state,
            address,
            health,
            alerts,
            tasks,
            reloads: requests,
            _data_dir: data_dir,
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn state(&self) -> &Arc<HubState> {
        &self.state
    }

    /// Runs until a signal asks it to stop, reloading when asked to, and shuts down in order.
    ///
    /// # Errors
    /// A part that failed, or what did not stop.
    pub async fn run_until_stopped(mut self) -> anyhow::Result<()> {
        let mut signals = Signals::listen().context("listening for signals")?;
        loop {
            tokio::select! {
                signal = signals.next() => match signal {
                    Signal::Stop => break,
                    // How it went is in the log.
                    Signal::Reload => drop(self.reload().await),
                },
                Some(answer) = self.reloads.recv() => {
                    // Nobody may be waiting any more.
                    let _ = answer.send(self.reload().await);
                }
                failure = self.tasks.root.failure() => {
                    tracing::error!("{failure}: shutting down");
                    self.shutdown().await?;
                    return Err(failure.into());
                }
            }
        }
        tracing::info!("shutting down");
        self.shutdown().await
    }

    /// Reads the configuration file again and puts it in force; on an error everything stays as it was.
    ///
    /// # Errors
    /// What is wrong with the file.
    pub async fn reload(&self) -> anyhow::Result<()> {
        let result = self.try_reload().await;
        self.state.mark_loaded(result.is_ok());
        match &result {
            Ok(()) => tracing::info!("configuration loaded again"),
            Err(error) => tracing::error!("configuration not loaded, the old one stays: {error:#}"),
        }
        result
    }

    async fn try_reload(&self) -> anyhow::Result<()> {
        let Some(path) = self.state.loaded().path else {
            return Ok(());
        };
        let config = daemon::blocking(move || HubConfig::load(&path)).await?;
        config
            .check_listen(self.address)
            .map_err(anyhow::Error::msg)?;
        set_credentials(&config, &self.state.writers, &self.state.readers)?;
        self.alerts.reload(&config).await;
        if let (Some(edge), Some(config)) = (&self.state.edge, &config.local_edge) {
            edge.reload(config.clone()).await?;
        }
        expect_branches(&config, &self.state.store, &self.state.branches);
        *self
            .state
            .loaded
            .write()
            .unwrap_or_else(PoisonError::into_inner) = Loaded::new(&config);
        self.state
            .ruler
            .load(ruler_options(config, self.address), &self.tasks.rules)
            .await;
        Ok(())
    }

    /// Stops in order: the edge inside ships what it has, rules end, requests under way are answered, alerts
    /// are kept for the next start, and the store closes.
    ///
    /// # Errors
    /// What would not stop, or could not be written.
    pub async fn shutdown(self) -> anyhow::Result<()> {
        self.health.set_ready(false);
        let mut stuck = Vec::new();
        if let Some(edge) = &self.state.edge {
            edge.shutdown().await;
        }
        let HubTasks {
            root,
            edge,
            rules,
            http,
            router,
            store,
        } = &self.tasks;
        for tasks in [edge, rules, http, router, store, root] {
            if let Err(names) = tasks.shutdown(STOP_GRACE).await {
                stuck.extend(names);
            }
        }
        let closing = self.state.store.clone();
        daemon::blocking(move || closing.close())
            .await
            .context("closing the store")?;
        if stuck.is_empty() {
            Ok(())
        } else {
            anyhow::bail!("these would not stop: {}", stuck.join(", "))
        }
    }
}

/// The hub's identity, made at the first start: 16 hexadecimal digits.
fn hub_id(data_dir: &Path) -> anyhow::Result<String> {
    use std::hash::{BuildHasher, Hasher};
    let path = data_dir.join("HUB-ID");
    match std::fs::read_to_string(&path) {
        Ok(id) if wire::edge_headers::is_valid_name(id.trim()) => Ok(id.trim().to_owned()),
        // Absent, or cut short by a crash of the first start: nothing refers to it yet.
        _ => {
            let random = std::collections::hash_map::RandomState::new()
                .build_hasher()
                .finish();
            let id = format!("{random:016x}");
            std::fs::write(&path, format!("{id}\n"))
                .with_context(|| format!("cannot write {}", path.display()))?;
            Ok(id)
        }
    }
}

async fn open_store(
    disk: Arc<dyn Disk>,
    data_dir: &Path,
    config: &HubConfig,
) -> anyhow::Result<Arc<Store>> {
    let options = StoreOptions {
        retention: config.retention,
        ..StoreOptions::default()
    };
    let dir = data_dir.join("store");
    let store = daemon::blocking(move || Store::open(disk, &dir, options))
        .await
        .context("opening the store")?;
    for warning in store.stats().warnings {
        tracing::warn!("store: {warning}");
    }
    Ok(Arc::new(store))
}

fn set_credentials(
    config: &HubConfig,
    writers: &Credentials,
    readers: &Credentials,
) -> anyhow::Result<()> {
    let load = |tokens| Credentials::load(tokens).map_err(anyhow::Error::msg);
    let (write, read) = (load(&config.branches)?, load(&config.readers)?);
    writers.set(write);
    readers.set(read);
    Ok(())
}

/// Branches that are configured, and those that have series here, are listed before they are heard.
fn expect_branches(config: &HubConfig, store: &Store, branches: &Branches) {
    let configured = config.branches.iter().map(|token| token.branch.clone());
    for name in configured.chain(store.label_values(model::BRANCH, &[], tsdb::TimeRange::ALL)) {
        branches.expect(&name);
    }
}

fn ruler_options(config: HubConfig, address: SocketAddr) -> RulerOptions {
    let external_url = match config.external_url.is_empty() {
        true => format!("http://{address}"),
        false => config.external_url,
    };
    RulerOptions {
        files: config.rule_files,
        interval: config.evaluation_interval,
        external_labels: config.external_labels,
        external_url,
        query_offset: config.query_offset,
    }
}

fn routes(state: &Arc<HubState>, ingest: &Arc<Ingest>, alerts: &Alerts, common: Router) -> Router {
    let pages = Router::new()
        .route("/", get(home))
        .route("/query", get(|| async { pages::query() }))
        .route("/graph", get(|| async { pages::query() }))
        .with_state(state.clone());
    common
        .merge(pages)
        .merge(api::routes(state))
        .merge(api::lifecycle(state))
        .merge(ingest::routes(ingest.clone()))
        .merge(alerts.routes())
        .layer(middleware::from_fn_with_state(
            state.clone(),
            api::readers_only,
        ))
}

async fn home(State(state): State<Arc<HubState>>, params: api::Params) -> Response {
    let fragment = params.get("fragment").is_some();
    let home = daemon::blocking(move || {
        let now = state.clock.now();
        let firing = state.ruler.firing().len();
        Home {
            now,
            branches: state.branches.list(),
            targets: targets::by_branch(&state.store, now),
            firing,
            checked: state.writers.are_checked(),
        }
    })
    .await;
    pages::home(&home, fragment)
}

/// Seals, merges and ages out, now and then.
fn maintain(state: &Arc<HubState>, tasks: &Tasks) {
    let (state, token) = (state.clone(), tasks.token().clone());
    tasks.spawn("store maintenance", async move {
        loop {
            let (store, now) = (state.store.clone(), state.clock.now());
            if let Err(error) = daemon::blocking(move || store.maintain(now)).await {
                tracing::error!("store maintenance: {error}");
            }
            if token
                .run_until_cancelled(state.clock.sleep(MAINTENANCE_INTERVAL))
                .await
                .is_none()
            {
                return;
            }
        }
    });
}

impl HubState {
    fn mark_loaded(&self, success: bool) {
        let mut loaded = self.loaded.write().unwrap_or_else(PoisonError::into_inner);
        loaded.success = success;
        if success {
            loaded.loaded_at = self.clock.now();
        }
    }
}

impl Loaded {
    fn new(config: &HubConfig) -> Self {
        Loaded {
            path: config.path.clone(),
            yaml_without_secrets: config.yaml_without_secrets.clone(),
            external_labels: config.external_labels.clone(),
            alertmanager_urls: config
                .router
                .alertmanager_urls()
                .map(str::to_owned)
                .collect(),
            retention: config.retention,
            loaded_at: model::Timestamp::default(),
            success: true,
        }
    }
}
