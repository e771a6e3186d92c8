//! The hub as a whole: in which order its parts start, reload and stop.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, RwLock};
use std::time::Duration;

use anyhow::Context;
use axum::Router;
use axum::extract::State;
use axum::middleware;
use axum::response::Response;
use axum::routing::get;
use daemon::http::{Health, MetricsText, common_routes, listen, serve_web};
use daemon::web::Web;
use daemon::{Clock, DataDir, Signal, Signals, Tasks};
use journal::Disk;
use promql::{Engine, EngineOptions};
use tokio::sync::{Notify, mpsc};
use tower_http::compression::CompressionLayer;
use tsdb::{Limits, Store, StoreOptions};

use crate::alerts::Alerts;
use crate::api::{self, CorsOrigin, Queries, RangeCache, RemoteReads};
use crate::config::HubConfig;
use crate::federation::{BranchMetrics, Branches};
use crate::ingest::{self, Credentials, Ingest};
use crate::local_edge::{LocalEdge, LocalEdgeOptions};
use crate::metrics::HubMetrics;
use crate::notifications::{Notifications, STOPPING};
use crate::pages::{self, Home};
use crate::query_log::{LogFile, QueryLog};
use crate::reload::{RELOADS_MAX, Reloader};
use crate::ruler::{Ruler, RulerOptions};
use crate::state::{HubState, Loaded};
use crate::storage::StoreReader;
use crate::targets;

/// Version of the data folder's layout.
const DATA_FORMAT: u32 = 1;
/// How often the store seals, merges and drops what is too old.
const MAINTENANCE_INTERVAL: Duration = Duration::from_secs(10);
/// How long each part may take to stop.
const STOP_GRACE: Duration = Duration::from_secs(20);

/// What a hub is started with.
pub struct HubOptions {
    /// Checked configuration.
    pub config: HubConfig,
    /// Where to listen; port 0 takes a free one.
    pub listen: SocketAddr,
    /// How that port is protected.
    pub web: Web,
    /// Where everything is kept.
    pub data_dir: PathBuf,
    /// Whose pages may read what the API answers.
    pub cors_origin: CorsOrigin,
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
    tasks: HubTasks,
    // The last to go: until then nobody else may open the folder.
    _data_dir: DataDir,
}

/// One node a step of the shutdown.
struct HubTasks {
    root: Tasks,
    edge: Tasks,
    reloads: Tasks,
    rules: Tasks,
    http: Tasks,
    /// From the rules to the router.
    alerts: Tasks,
    router: Tasks,
    store: Tasks,
    /// Ends when nobody queries any more.
    query_log: Tasks,
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
            web,
            data_dir,
            cors_origin,
            local_edge,
            clock,
            disk,
            flags,
        } = options;
        config.check_listen(address, &web)?;
        let data_dir = DataDir::open(&data_dir, "hub", DATA_FORMAT)?;
        let hub_id = hub_id(data_dir.path())?;
        let store = open_store(disk.clone(), data_dir.path(), &config).await?;
        let root = Tasks::new();
        let tasks = HubTasks {
            edge: root.child(),
            reloads: root.child(),
            rules: root.child(),
            http: root.child(),
            alerts: root.child(),
            router: root.child(),
            store: root.child(),
            query_log: root.child(),
            root,
        };
        let log_file = config.query_log_file.clone();
        let log_file = daemon::blocking(move || log_file.as_deref().map(LogFile::open).transpose());
        let log_file = log_file.await?;
        let query_log = Arc::new(QueryLog::default());
        let listener = listen(address).await?;
        let address = listener.local_addr()?;

        let alerts = Alerts::start(
            &config,
            data_dir.path(),
            disk.clone(),
            clock.clone(),
            &tasks.alerts,
            &tasks.router,
        )
        .await?;
        // As in Prometheus a subquery without a step takes the evaluation interval's.
        let features = config.features;
        let engine = Engine::new(features.engine_options(EngineOptions {
            subquery_step: config.evaluation_interval,
            memory_max: config.query_memory_bytes_max,
            ..EngineOptions::default()
        }));
        let ruler = Arc::new(Ruler::new(
            Arc::new(engine.clone()),
            features.parse,
            store.clone(),
            clock.clone(),
            alerts.sender(),
            query_log.clone(),
        ));
        let branches = Branches::new(clock.clone());
        let (writers, readers) = (Credentials::default(), Credentials::default());
        let admins = Credentials::default();
        set_credentials(&config, &writers, &readers, &admins)?;
        let ingest = Arc::new(Ingest::new(
            store.clone(),
            branches.clone(),
            writers.clone(),
            clock.clone(),
            hub_id,
            tasks.http.token().clone(),
        ));
        ingest.otlp().set(config.otlp_in_force());
        let seal_due = ingest.seal_due();
        expect_branches(&config, &store, &branches);

        let cache = RangeCache::new(config.query_cache_bytes_max);
        let queries = Arc::new(Queries::new(engine, features.parse, cache));
        let mut registry = daemon::metrics::registry("hub");
        let count = {
            let (queries, clock) = (queries.clone(), clock.clone());
            let reader = StoreReader {
                store: store.clone(),
            };
            Arc::new(move || targets::counts(&reader, queries.engine(), clock.now()))
        };
        registry.register_collector(Box::new(BranchMetrics {
            branches: branches.clone(),
            targets: count,
        }));
        registry.register_collector(Box::new(HubMetrics {
            ingest: ingest.clone(),
            ruler: ruler.clone(),
            store: store.clone(),
            exemplars_max: config.exemplars_max,
            queries: queries.clone(),
            query_log: query_log.clone(),
        }));
        registry.register_collector(alerts.metrics());
        query_log.set(log_file, &tasks.query_log);
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
            queries,
            features,
            remote_reads: RemoteReads::new(tasks.http.token().clone()),
            query_log,
            notifications: Notifications::new(clock.clone(), tasks.http.token().clone()),
            branches,
            ruler,
            writers,
            readers,
            admins,
            otlp: ingest.otlp().clone(),
            started_at: clock.now(),
            clock: clock.clone(),
            flags,
            loaded: RwLock::new(Loaded::new(&config, clock.now())),
            edge,
            reloads,
            web: web.clone(),
        });
        let health = Health::default();
        let router = routes(&state, &ingest, &alerts, &health, own_metrics);
        let router = router.layer(middleware::from_fn_with_state(cors_origin, api::cors));
        serve_web(listener, router, &web, &tasks.http);
        maintain(&state, &tasks.store);
        seal(&state, &tasks.store, seal_due);
        state
            .ruler
            .load(ruler_options(config, address, &web), &tasks.rules)
            .await;
        let reloader = Reloader {
            state: state.clone(),
            alerts,
            rules: tasks.rules.clone(),
            query_log: tasks.query_log.clone(),
            address,
        };
        reloader.run(requests, &tasks.reloads);
        health.set_ready(true);
        tracing::info!("hub ready: {}://{address}/", web.scheme());
        Ok(Hub {
            state,
            address,
            health,
            tasks,
            _data_dir: data_dir,
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    #[cfg(test)]
    pub(crate) fn health(&self) -> &Health {
        &self.health
    }

    pub(crate) fn state(&self) -> &Arc<HubState> {
        &self.state
    }

    /// Runs until a signal asks it to stop, reloading when asked to, and shuts down in order.
    ///
    /// # Errors
    /// A part that failed, or what did not stop.
    pub async fn run_until_stopped(self) -> anyhow::Result<()> {
        let mut signals = Signals::listen().context("listening for signals")?;
        loop {
            tokio::select! {
                signal = signals.next() => match signal {
                    Signal::Stop => break,
                    Signal::Reload => self.state.request_reload(),
                },
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

    /// Stops in order: the edge inside ships what it has, nothing is loaded any more, rules end, requests under way
    /// are answered, what the rules have said reaches the router, which keeps it for the next start, and the store
    /// closes.
    ///
    /// # Errors
    /// What would not stop, or could not be written.
    pub async fn shutdown(self) -> anyhow::Result<()> {
        self.health.set_stopping();
        self.state.notifications.set(STOPPING, true);
        let mut stuck = Vec::new();
        if let Some(edge) = &self.state.edge {
            edge.shutdown().await;
        }
        let HubTasks {
            root,
            edge,
            reloads,
            rules,
            http,
            alerts,
            router,
            store,
            query_log,
        } = &self.tasks;
        for tasks in [edge, reloads, rules, http, alerts, router, store] {
            if let Err(names) = tasks.shutdown(STOP_GRACE).await {
                stuck.extend(names);
            }
        }
        // All is asked: the last lines are written, and the file closed.
        self.state.query_log.set(None, query_log);
        for tasks in [query_log, root] {
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
        limits: Limits {
            series_per_scope_max: config.series_per_branch_max,
            exemplars_max: config.exemplars_max,
            ..Limits::default()
        },
        block_cache_bytes_max: config.block_cache_bytes_max,
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
    admins: &Credentials,
) -> anyhow::Result<()> {
    let load = |tokens| Credentials::load(tokens).map_err(anyhow::Error::msg);
    let (write, read) = (load(&config.branches)?, load(&config.readers)?);
    writers.set(write);
    readers.set(read);
    admins.set(load(&config.admins)?);
    Ok(())
}

/// Branches that are configured, and those that have series here, are listed before they are heard.
pub(crate) fn expect_branches(config: &HubConfig, store: &Store, branches: &Branches) {
    let configured = config.branches.iter().map(|token| token.branch.clone());
    for name in configured.chain(store.label_values(model::BRANCH, &[], tsdb::TimeRange::ALL)) {
        branches.expect(&name);
    }
}

pub(crate) fn ruler_options(config: HubConfig, address: SocketAddr, web: &Web) -> RulerOptions {
    let external_url = match config.external_url.is_empty() {
        true => format!("{}://{address}", web.scheme()),
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

fn routes(
    state: &Arc<HubState>,
    ingest: &Arc<Ingest>,
    alerts: &Alerts,
    health: &Health,
    own_metrics: MetricsText,
) -> Router {
    let common = common_routes("Branchline Hub", health.clone(), own_metrics.clone());
    let pages = Router::new()
        .route("/", get(home))
        .route("/query", get(query))
        // As Prometheus calls it: links in alerts lead there.
        .route("/graph", get(query))
        .route("/query/words", get(words))
        .route("/assets/{version}/{name}", get(pages::asset))
        .with_state(state.clone())
        .layer(CompressionLayer::new());
    common
        .merge(pages)
        .merge(api::routes(state, own_metrics))
        .merge(api::remote_read(state))
        .merge(api::lifecycle(state))
        .merge(api::administration(state))
        .merge(ingest::routes(ingest.clone()))
        .merge(alerts.routes())
        .fallback(api::not_found)
        .layer(middleware::from_fn_with_state(
            health.clone(),
            api::only_when_ready,
        ))
        .layer(middleware::from_fn_with_state(
            state.clone(),
            api::credentials_only,
        ))
}

async fn home(State(state): State<Arc<HubState>>, params: api::Params) -> Response {
    let fragment = params.get("fragment").is_some();
    let home = daemon::blocking(move || {
        let now = state.clock.now();
        let firing = state.ruler.firing().len();
        let reader = StoreReader {
            store: state.store.clone(),
        };
        Home {
            now,
            branches: state.branches.list(),
            targets: targets::by_branch(&reader, state.queries.engine(), now),
            firing,
            checked: state.writers.are_checked(),
        }
    })
    .await;
    pages::home(&home, fragment)
}

async fn query(State(state): State<Arc<HubState>>) -> Response {
    pages::query(state.clock.now())
}

async fn words(State(state): State<Arc<HubState>>) -> Response {
    pages::words(&state.features)
}

/// Seals whenever memory is full enough; not behind `maintain`, whose merges may take seconds.
fn seal(state: &Arc<HubState>, tasks: &Tasks, due: Arc<Notify>) {
    let (state, token) = (state.clone(), tasks.token().clone());
    tasks.spawn("store sealing", async move {
        let store = state.store.clone();
        daemon::blocking(move || store.prepare_writes()).await;
        while token.run_until_cancelled(due.notified()).await.is_some() {
            let (store, now) = (state.store.clone(), state.clock.now());
            if let Err(error) = daemon::blocking(move || store.seal_when_due(now)).await {
                tracing::error!("store sealing: {error}");
                // A full disk is tried again by maintenance; not by every write that comes.
                let pause = state.clock.sleep(MAINTENANCE_INTERVAL);
                if token.run_until_cancelled(pause).await.is_none() {
                    return;
                }
            }
        }
    });
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
