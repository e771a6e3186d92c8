//! The router as a running thing: one task owns the outbox and its journal; deliveries run beside it; callers hold a
//! [`RouterHandle`].

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use daemon::http::Health;
use daemon::web::{ListenRefused, Web};
use daemon::{Clock, Tasks};
use journal::{Disk, JournalError};
use model::{Alert, Timestamp};
use tokio::sync::{mpsc, oneshot};
use wire::alertmanager::Webhook;

use crate::config::{Destination, RouterConfig};
use crate::deliver::{Deliver, HttpDeliver};
use crate::outbox::{Batch, DestinationId, Event, Now, OutboxStatus, Outcome};
use crate::store::{Performed, Store};
use crate::webhook;

/// Requests to the outbox that may wait; more wait at the caller.
const COMMANDS_MAX: usize = 256;
/// Branches without a contact that are remembered by name; further ones are counted together.
const UNKNOWN_BRANCHES_MAX: usize = 100;
/// At least this often the outbox looks at the time.
const WAKE_MAX: Duration = Duration::from_secs(60);

/// What a router needs.
pub struct RouterOptions {
    /// Where to deliver, and the bounds.
    pub config: RouterConfig,
    /// The outbox's journal is in `outbox` below it. The caller holds the folder's lock.
    pub data_dir: PathBuf,
    /// Where that is.
    pub disk: Arc<dyn Disk>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// A port of its own; None when it is part of the hub, which mounts [`crate::routes`].
    pub listen: Option<SocketAddr>,
    /// How that port is protected.
    pub web: Web,
}

/// Why a router does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The outbox cannot be read or written.
    #[error("outbox in {path}: {source}", path = path.display())]
    Outbox {
        /// The folder.
        path: PathBuf,
        /// The journal's reason.
        source: JournalError,
    },
    /// The port cannot be opened.
    #[error(transparent)]
    Listen(#[from] daemon::http::ListenError),
    /// Beyond loopback, credentials or TLS lack.
    #[error(transparent)]
    Refused(#[from] ListenRefused),
}

/// Why alerts were not taken. The sender is to try again.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// Some were not taken; those that were known before were.
    #[error(
        "the outbox is full: {refused} of {given} entries were not taken; mend the destinations that do not acknowledge (see /api/v1/outbox), or raise limits"
    )]
    Full {
        /// Entries not taken.
        refused: usize,
        /// Entries given.
        given: usize,
    },
    /// They may be delivered, but may be forgotten in a crash.
    #[error("the outbox cannot be written: {0}")]
    NotKept(String),
    /// The router is shutting down.
    #[error("the router is shutting down: try again")]
    Stopping,
}

/// What became of a webhook message's alerts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Forwarded {
    /// On their way to a contact.
    pub forwarded: usize,
    /// Without a contact: the branch is unknown and there is no default contact.
    pub unrouted: usize,
}

/// The state of the router.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RouterStatus {
    /// What is pending, for whom, and why.
    #[serde(flatten)]
    pub outbox: OutboxStatus,
    /// Alerts reported since the start.
    pub alerts_received_total: u64,
    /// Entries refused because the outbox was full, since the start.
    pub full_total: u64,
    /// Alerts of webhook messages that have no contact, since the start, by branch. The empty name: without a branch;
    /// `…`: all branches beyond the first hundred.
    pub unrouted_by_branch: BTreeMap<String, u64>,
    /// Bytes of the outbox's journal.
    pub journal_bytes: u64,
    /// Why nothing more can be kept durably, if so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub journal_error: Option<String>,
}

enum Command {
    Alerts(Vec<Alert>, oneshot::Sender<Result<(), SendError>>),
    Webhook(Box<Webhook>, oneshot::Sender<Result<Forwarded, SendError>>),
    Outcome(DestinationId, Outcome),
    Reload(Box<RouterConfig>, oneshot::Sender<()>),
    Status(oneshot::Sender<RouterStatus>),
    Known(oneshot::Sender<Vec<(Alert, Timestamp)>>),
}

/// Starts routers.
#[derive(Debug)]
pub struct Router;

/// Holds a running router; clones are the same one. It ends with its tasks.
#[derive(Clone)]
pub struct RouterHandle {
    commands: mpsc::Sender<Command>,
    health: Health,
    clock: Arc<dyn Clock>,
    resolve_timeout_ms: Arc<AtomicU64>,
    address: Option<SocketAddr>,
}

impl Router {
    /// Opens the outbox, starts delivering, and listens if there is an address. Ready when it returns, whether or not any
    /// destination can be reached.
    ///
    /// # Errors
    /// See [`StartError`].
    pub async fn start(options: RouterOptions, tasks: &Tasks) -> Result<RouterHandle, StartError> {
        let http = Arc::new(HttpDeliver::default());
        let on_reload = {
            let http = Arc::clone(&http);
            move || http.forget_clients()
        };
        start_with(options, tasks, Arc::new(http), Box::new(on_reload)).await
    }
}

pub(crate) async fn start_with(
    options: RouterOptions,
    tasks: &Tasks,
    deliver: Arc<dyn Deliver>,
    on_reload: Box<dyn Fn() + Send>,
) -> Result<RouterHandle, StartError> {
    let RouterOptions {
        config,
        data_dir,
        disk,
        clock,
        listen,
        web,
    } = options;
    if let Some(address) = listen {
        web.check_listen(address, None)?;
    }
    let listener = match listen {
        Some(address) => Some(daemon::http::listen(address).await?),
        None => None,
    };
    let path = data_dir.join("outbox");
    let now = now(&*clock);
    let opened = {
        let (path, ids) = (path.clone(), config.ids());
        let seed = now.wall.millis().unsigned_abs();
        daemon::blocking(move || Store::open(disk, &path, config.limits, seed, ids, now)).await
    };
    let (store, first, found) = opened.map_err(|source| StartError::Outbox { path, source })?;
    if let Some(tail) = &found.recovery.torn_tail {
        tracing::info!(
            "outbox: cut {} bytes that an interrupted write had left",
            tail.bytes
        );
    }
    for what in &found.unreadable {
        tracing::error!("outbox: {what}; what it said is lost until its source reports again");
    }
    let (commands, inbox) = mpsc::channel(COMMANDS_MAX);
    let health = Health::default();
    let resolve_timeout_ms = Arc::new(AtomicU64::new(millis(config.resolve_timeout)));
    let address = listener.as_ref().and_then(|l| l.local_addr().ok());
    let handle = RouterHandle {
        commands: commands.clone(),
        health: health.clone(),
        clock: Arc::clone(&clock),
        resolve_timeout_ms: Arc::clone(&resolve_timeout_ms),
        address,
    };
    let mut actor = Actor {
        store: Some(store),
        destinations: by_id(&config),
        deliver,
        on_reload,
        clock,
        deliveries: tasks.child(),
        commands,
        counts: Counts::default(),
        health: health.clone(),
        resolve_timeout_ms,
        failing: BTreeMap::new(),
    };
    let wake = actor.start_deliveries(first.sends, first.step.wake_in);
    if let Err(error) = first.commit {
        tracing::warn!("outbox: {error}");
    }
    let until = tasks.clone();
    tasks.spawn("outbox", async move { actor.run(inbox, wake, until).await });
    if let Some(listener) = listener {
        let router =
            crate::receive::routes(handle.clone()).merge(crate::receive::common(handle.clone()));
        let router = daemon::web::guard(router, &web);
        daemon::http::serve_web(listener, router, &web, tasks);
    }
    health.set_ready(true);
    Ok(handle)
}

impl RouterHandle {
    /// Takes alerts; they are durable and on their way when it returns. One without an end gets the resolve timeout's.
    ///
    /// # Errors
    /// See [`SendError`]. Sending all of them again is always right.
    pub async fn send(&self, mut alerts: Vec<Alert>) -> Result<(), SendError> {
        let timeout = self.now().saturating_add(self.resolve_timeout());
        for alert in &mut alerts {
            alert.ends_at.get_or_insert(timeout);
        }
        self.ask(|reply| Command::Alerts(alerts, reply))
            .await
            .unwrap_or(Err(SendError::Stopping))
    }

    /// Takes an Alertmanager's webhook message, for the contacts of the branches in it.
    ///
    /// # Errors
    /// See [`SendError`].
    pub async fn notify(&self, message: Webhook) -> Result<Forwarded, SendError> {
        let asked = self
            .ask(|reply| Command::Webhook(Box::new(message), reply))
            .await;
        asked.unwrap_or(Err(SendError::Stopping))
    }

    /// What is pending, for whom, and why; None when the router has ended.
    pub async fn status(&self) -> Option<RouterStatus> {
        self.ask(Command::Status).await
    }

    /// The alerts that are known, with when they were last reported.
    pub async fn alerts(&self) -> Vec<(Alert, Timestamp)> {
        self.ask(Command::Known).await.unwrap_or_default()
    }

    /// Takes a new configuration. Destinations that stay keep what is pending for them; limits other than
    /// `resolve_timeout` need a restart.
    pub async fn reload(&self, config: RouterConfig) {
        self.ask(|reply| Command::Reload(Box::new(config), reply))
            .await;
    }

    /// Where it listens, if it does.
    pub fn address(&self) -> Option<SocketAddr> {
        self.address
    }

    /// Whether it takes alerts.
    pub fn health(&self) -> &Health {
        &self.health
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    pub(crate) fn resolve_timeout(&self) -> Duration {
        Duration::from_millis(self.resolve_timeout_ms.load(Ordering::Relaxed))
    }

    /// As [`RouterHandle::status`], for threads that may wait.
    pub(crate) fn status_blocking(&self) -> Option<RouterStatus> {
        let (reply, answer) = oneshot::channel();
        self.commands.blocking_send(Command::Status(reply)).ok()?;
        answer.blocking_recv().ok()
    }

    async fn ask<T>(&self, command: impl FnOnce(oneshot::Sender<T>) -> Command) -> Option<T> {
        let (reply, answer) = oneshot::channel();
        self.commands.send(command(reply)).await.ok()?;
        answer.await.ok()
    }
}

#[derive(Default)]
struct Counts {
    received: u64,
    full: u64,
    unrouted: BTreeMap<String, u64>,
}

struct Actor {
    /// None only while it works off the async threads.
    store: Option<Store>,
    destinations: BTreeMap<DestinationId, Arc<Destination>>,
    deliver: Arc<dyn Deliver>,
    on_reload: Box<dyn Fn() + Send>,
    clock: Arc<dyn Clock>,
    deliveries: Tasks,
    /// For the outcomes of deliveries.
    commands: mpsc::Sender<Command>,
    counts: Counts,
    health: Health,
    resolve_timeout_ms: Arc<AtomicU64>,
    /// Destinations that were said to fail, and since when.
    failing: BTreeMap<DestinationId, Duration>,
}

impl Actor {
    async fn run(mut self, mut inbox: mpsc::Receiver<Command>, wake: Duration, until: Tasks) {
        // A moment, not a length of time: questions that come all the while must not put it off.
        let mut wake_at = self.clock.elapsed() + wake;
        loop {
            let sleep = self
                .clock
                .sleep(wake_at.saturating_sub(self.clock.elapsed()));
            let wake = tokio::select! {
                biased;
                () = until.cancelled() => return,
                () = sleep => Some(self.event(Event::Wake).await.wake),
                Some(command) = inbox.recv() => self.command(command).await,
            };
            if let Some(wake) = wake {
                wake_at = self.clock.elapsed() + wake;
            }
        }
    }

    /// How long to sleep after it; None: as long as before.
    async fn command(&mut self, command: Command) -> Option<Duration> {
        match command {
            Command::Alerts(alerts, reply) => {
                let given = alerts.len();
                self.counts.received += given as u64;
                let handled = self.event(Event::Alerts(alerts)).await;
                Some(self.confirm(handled, given, (), reply))
            }
            Command::Webhook(message, reply) => self.webhook(*message, reply).await,
            Command::Outcome(destination, outcome) => {
                self.log_outcome(&destination, &outcome);
                Some(
                    self.event(Event::Outcome {
                        destination,
                        outcome,
                    })
                    .await
                    .wake,
                )
            }
            Command::Reload(config, reply) => {
                self.destinations = by_id(&config);
                self.failing
                    .retain(|id, _| self.destinations.contains_key(id));
                self.resolve_timeout_ms
                    .store(millis(config.resolve_timeout), Ordering::Relaxed);
                (self.on_reload)();
                let handled = self.event(Event::Destinations(config.ids())).await;
                // Nobody waits any more: the configuration is in force all the same.
                let _ = reply.send(());
                Some(handled.wake)
            }
            Command::Status(reply) => {
                let _ = reply.send(self.status());
                None
            }
            Command::Known(reply) => {
                let known = self.store.iter().flat_map(|s| s.outbox.alerts());
                let _ = reply.send(known.map(|(alert, at)| (alert.clone(), at)).collect());
                None
            }
        }
    }

    async fn webhook(
        &mut self,
        message: Webhook,
        reply: oneshot::Sender<Result<Forwarded, SendError>>,
    ) -> Option<Duration> {
        let mut forwarded = Forwarded::default();
        let mut last = None;
        for (branch, part) in webhook::split(&message) {
            let alerts = part.alerts.len();
            let Some(contact) = self.contact_of(&branch) else {
                forwarded.unrouted += alerts;
                self.count_unrouted(branch, alerts);
                continue;
            };
            forwarded.forwarded += alerts;
            let event = Event::Notice {
                contact,
                message: Box::new(part),
            };
            let handled = self.event(event).await;
            last = Some(match last {
                None => handled,
                Some(before) => handled.after(before),
            });
        }
        let given = forwarded.forwarded;
        match last {
            Some(handled) => Some(self.confirm(handled, given, forwarded, reply)),
            None => {
                let _ = reply.send(Ok(forwarded));
                None
            }
        }
    }

    fn contact_of(&self, branch: &str) -> Option<DestinationId> {
        let own = DestinationId::contact(branch);
        let default = DestinationId::contact("");
        [own, default]
            .into_iter()
            .find(|id| self.destinations.contains_key(id))
    }

    fn count_unrouted(&mut self, branch: String, alerts: usize) {
        let unrouted = &mut self.counts.unrouted;
        if !unrouted.contains_key(&branch) {
            let named = if branch.is_empty() {
                "without a branch".to_owned()
            } else {
                format!("of branch {branch:?}")
            };
            tracing::warn!(
                "webhook: alerts {named} have no contact ({alerts} in this message): add one under contacts, or a default_contact; further ones are only counted (branchline_router_unrouted_total)"
            );
        }
        let full = unrouted.len() >= UNKNOWN_BRANCHES_MAX && !unrouted.contains_key(&branch);
        let branch = if full { "…".to_owned() } else { branch };
        *unrouted.entry(branch).or_default() += alerts as u64;
    }

    /// Lets the outbox take an event, off the async threads, and starts what it wants delivered.
    async fn event(&mut self, event: Event) -> Handled {
        let now = now(&*self.clock);
        let Some(mut store) = self.store.take() else {
            // Only a panic in the closure below can have kept it, and that ends this task.
            return Handled {
                wake: WAKE_MAX,
                commit: Err("the outbox is gone".to_owned()),
                refused: 0,
            };
        };
        let (store, performed, rewritten) = daemon::blocking(move || {
            let performed = store.handle(event, now);
            let rewritten = store.rewrite_if_worth();
            (store, performed, rewritten)
        })
        .await;
        if let Err(error) = rewritten {
            tracing::warn!("outbox: its journal cannot be rewritten: {error}");
        }
        if self.health.is_ready()
            && let Some(reason) = store.poisoned()
        {
            tracing::error!(
                "outbox: {reason}: alerts are delivered, but not confirmed to their senders, until a restart"
            );
            self.health.set_ready(false);
        }
        self.store = Some(store);
        let Performed {
            sends,
            step,
            commit,
        } = performed;
        if step.expired > 0 {
            tracing::warn!(
                "outbox: {} entries ended before their destinations took them",
                step.expired
            );
        }
        self.counts.full += step.refused as u64;
        Handled {
            wake: self.start_deliveries(sends, step.wake_in),
            commit: commit.map_err(|error| error.to_string()),
            refused: step.refused,
        }
    }

    /// How long to sleep at most.
    fn start_deliveries(
        &mut self,
        sends: Vec<(DestinationId, Batch)>,
        wake_in: Option<Duration>,
    ) -> Duration {
        for (id, batch) in sends {
            let commands = self.commands.clone();
            let Some(to) = self.destinations.get(&id).cloned() else {
                continue;
            };
            let (deliver, stop) = (Arc::clone(&self.deliver), self.deliveries.clone());
            self.deliveries
                .spawn_brief(format!("delivery to {id}"), async move {
                    let outcome = tokio::select! {
                        outcome = deliver.deliver(to, batch.content) => outcome,
                        // The journal knows that it is pending.
                        () = stop.cancelled() => return,
                    };
                    let _ = commands.send(Command::Outcome(id, outcome)).await;
                });
        }
        // Not a busy loop even if the wall clock has jumped.
        wake_in
            .unwrap_or(WAKE_MAX)
            .clamp(Duration::from_millis(1), WAKE_MAX)
    }

    /// Answers the sender once the event is durable.
    fn confirm<T: Send + 'static>(
        &self,
        handled: Handled,
        given: usize,
        good: T,
        reply: oneshot::Sender<Result<T, SendError>>,
    ) -> Duration {
        let answer = match handled.refused {
            0 => Ok(good),
            refused => Err(SendError::Full { refused, given }),
        };
        // The sender may have given up; it will try again.
        match handled.commit {
            Ok(None) => drop(reply.send(answer)),
            Ok(Some(commit)) => commit.on_done(move |done| {
                let answer = match done {
                    Ok(()) => answer,
                    Err(error) => Err(SendError::NotKept(error.to_string())),
                };
                let _ = reply.send(answer);
            }),
            Err(error) => drop(reply.send(Err(SendError::NotKept(error)))),
        }
        handled.wake
    }

    fn log_outcome(&mut self, id: &DestinationId, outcome: &Outcome) {
        let now = self.clock.elapsed();
        match outcome {
            Outcome::Failed(reason) => {
                if !self.failing.contains_key(id) {
                    tracing::warn!(
                        "{id} does not take alerts: {reason}; trying again until it does (what waits: /api/v1/outbox)"
                    );
                    self.failing.insert(id.clone(), now);
                }
            }
            Outcome::Acknowledged => {
                if let Some(since) = self.failing.remove(id) {
                    let away =
                        model::duration::format(Duration::from_secs((now - since).as_secs()));
                    tracing::info!("{id} takes alerts again, after {away}");
                }
            }
            Outcome::Refused(reason) => tracing::warn!("{id} refuses what it was sent: {reason}"),
        }
    }

    fn status(&self) -> RouterStatus {
        let now = now(&*self.clock);
        let Some(store) = &self.store else {
            return RouterStatus::default();
        };
        RouterStatus {
            outbox: store.outbox.status(now),
            alerts_received_total: self.counts.received,
            full_total: self.counts.full,
            unrouted_by_branch: self.counts.unrouted.clone(),
            journal_bytes: store.log_bytes(),
            journal_error: store.poisoned(),
        }
    }
}

/// What became of an event.
struct Handled {
    wake: Duration,
    commit: Result<Option<journal::Commit>, String>,
    refused: usize,
}

impl Handled {
    /// Two events of one request: the later commit covers the earlier one, an error of either is the request's.
    fn after(self, before: Handled) -> Handled {
        Handled {
            wake: self.wake,
            refused: self.refused + before.refused,
            commit: match (before.commit, self.commit) {
                (Err(error), _) | (_, Err(error)) => Err(error),
                (before, Ok(None)) => before,
                (_, later) => later,
            },
        }
    }
}

fn by_id(config: &RouterConfig) -> BTreeMap<DestinationId, Arc<Destination>> {
    config
        .destinations
        .iter()
        .map(|d| (d.id.clone(), Arc::new(d.clone())))
        .collect()
}

fn now(clock: &dyn Clock) -> Now {
    Now {
        wall: clock.now(),
        elapsed: clock.elapsed(),
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
