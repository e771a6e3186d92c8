//! Targets that a server names: a task asks it, and what it said last stays while it does not answer.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use daemon::config::without_passwords;
use daemon::{Clock, Tasks};
use model::Timestamp;
use tokio::sync::Notify;

use super::{Discovered, dns, http, kubernetes};
use crate::config::Discovery;
use crate::kept::Kept;

/// What all sources share.
#[derive(Clone)]
pub(crate) struct Context {
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) tasks: Tasks,
    /// Rung when a source has found other targets.
    pub(crate) found: Arc<Notify>,
    /// Where results outlast the process.
    pub(crate) kept: Kept,
}

/// How a source is doing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceStatus {
    /// What kind: `file`, `http`, `dns` or `kubernetes`.
    pub mechanism: &'static str,
    /// What is asked.
    pub source: String,
    /// Targets that it has now.
    pub targets: usize,
    /// The targets come from the disk: nobody has answered since the start.
    pub from_disk: bool,
    /// When the source last answered.
    pub answered_at: Option<Timestamp>,
    /// Why it did not, if the last attempt failed.
    pub error: Option<String>,
}

/// One source. Its task ends when it is dropped.
pub(super) struct Remote {
    config: Discovery,
    found: Arc<Found>,
    /// The version that the last look saw.
    seen: u64,
    tasks: Option<Tasks>,
}

/// What a task has found.
pub(super) struct Found {
    state: Mutex<State>,
    name: String,
    context: Mutex<Option<(Context, String)>>,
}

#[derive(Default)]
struct State {
    targets: Arc<Vec<Discovered>>,
    version: u64,
    from_disk: bool,
    answered_at: Option<Timestamp>,
    error: Option<String>,
}

impl fmt::Debug for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Remote({})", self.found.name)
    }
}

impl Drop for Remote {
    fn drop(&mut self) {
        if let Some(tasks) = &self.tasks {
            tasks.token().cancel();
        }
    }
}

fn describe(config: &Discovery) -> (&'static str, String) {
    match config {
        Discovery::Http(http) => ("http", without_passwords(http.url.as_str())),
        Discovery::Dns(dns) => ("dns", dns.names.join(", ")),
        Discovery::Kubernetes(kubernetes) => (
            "kubernetes",
            format!(
                "{} ({})",
                kubernetes.role.as_str(),
                kubernetes::describe(kubernetes)
            ),
        ),
        Discovery::Static(_) | Discovery::File { .. } => ("none", String::new()),
    }
}

/// The task, until the source is dropped or the process ends.
fn until_the_end<T: Future<Output = ()>>(
    tasks: &Tasks,
    task: T,
) -> impl Future<Output = ()> + use<T> {
    let end = tasks.token().clone();
    async move {
        end.run_until_cancelled_owned(task).await;
    }
}

/// Without a password.
pub(super) fn shown(url: &reqwest::Url) -> String {
    let mut url = url.clone();
    if url.password().is_some() {
        // Only addresses that cannot have a password refuse.
        let _ = url.set_password(Some("..."));
    }
    url.into()
}

impl Remote {
    pub(super) fn new(config: Discovery) -> Remote {
        let (mechanism, source) = describe(&config);
        Remote {
            found: Arc::new(Found {
                state: Mutex::default(),
                name: format!("{mechanism} discovery of {source}"),
                context: Mutex::new(None),
            }),
            config,
            seen: 0,
            tasks: None,
        }
    }

    /// What it is kept as: the same for as long as the same is asked.
    pub(super) fn key(&self, job: &str) -> String {
        let (mechanism, mut source) = describe(&self.config);
        let more = match &self.config {
            Discovery::Http(http) => {
                // Two pages may differ in what is not told to people.
                source = shown(&http.url);
                String::new()
            }
            Discovery::Dns(dns) => format!("{:?} {}", dns.record, dns.port),
            Discovery::Kubernetes(kubernetes) => format!(
                "{:?} {} {}",
                kubernetes.selectors, kubernetes.attach_node, kubernetes.attach_namespace
            ),
            _ => String::new(),
        };
        format!("{job}\n{mechanism} {source} {more}")
    }

    /// Begins with what is kept, and asks.
    pub(super) fn start(&mut self, context: &Context, job: &str) {
        if self.tasks.is_some() {
            return;
        }
        let key = self.key(job);
        if let Some(targets) = context.kept.targets(&key) {
            let mut state = self.found.lock();
            state.targets = Arc::new(targets);
            state.from_disk = true;
            state.version += 1;
        }
        let slot = &self.found.context;
        *slot.lock().unwrap_or_else(PoisonError::into_inner) = Some((context.clone(), key));
        let tasks = context.tasks.child();
        let (found, clock) = (Arc::clone(&self.found), Arc::clone(&context.clock));
        let name = self.found.name.clone();
        match &self.config {
            Discovery::Http(config) => {
                let run = http::run((**config).clone(), found, clock);
                tasks.spawn_brief(name, until_the_end(&tasks, run));
            }
            Discovery::Dns(config) => {
                let run = dns::run(config.clone(), found, clock);
                tasks.spawn_brief(name, until_the_end(&tasks, run));
            }
            Discovery::Kubernetes(config) => {
                let run = kubernetes::run((**config).clone(), found, clock, tasks.clone());
                tasks.spawn_brief(name, run);
            }
            Discovery::Static(_) | Discovery::File { .. } => {}
        }
        self.tasks = Some(tasks);
    }

    /// Whether the targets have changed since the last look.
    pub(super) fn look(&mut self) -> bool {
        let version = self.found.lock().version;
        std::mem::replace(&mut self.seen, version) != version
    }

    pub(super) fn targets(&self) -> Arc<Vec<Discovered>> {
        Arc::clone(&self.found.lock().targets)
    }

    pub(super) fn status(&self) -> SourceStatus {
        let (mechanism, source) = describe(&self.config);
        let state = self.found.lock();
        SourceStatus {
            mechanism,
            source,
            targets: state.targets.len(),
            from_disk: state.from_disk,
            answered_at: state.answered_at,
            error: state.error.clone(),
        }
    }
}

impl Found {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn context(&self) -> Option<(Context, String)> {
        let context = self.context.lock().unwrap_or_else(PoisonError::into_inner);
        context.clone()
    }

    /// The source has answered: these are the targets now.
    pub(super) async fn publish(&self, targets: Vec<Discovered>) {
        let Some((context, key)) = self.context() else {
            return;
        };
        let changed = {
            let mut state = self.lock();
            if let Some(error) = state.error.take() {
                tracing::info!(after = error, "{} answers again", self.name);
            }
            state.answered_at = Some(context.clock.now());
            let changed = *state.targets != targets;
            let first = std::mem::take(&mut state.from_disk) || state.version == 0;
            if changed || first {
                state.targets = Arc::new(targets);
                state.version += 1;
            }
            changed.then(|| Arc::clone(&state.targets))
        };
        if let Some(targets) = changed {
            context.found.notify_one();
            daemon::blocking(move || context.kept.keep_targets(&key, &targets)).await;
        }
    }

    /// The source does not answer, or not with targets: those of before stay.
    pub(super) fn failed(&self, error: String) {
        let mut state = self.lock();
        if state.error.as_ref() != Some(&error) {
            let (targets, from_disk) = (state.targets.len(), state.from_disk);
            tracing::warn!(%error, targets, from_disk, "{}: keeping the targets found last", self.name);
        }
        state.error = Some(error);
    }
}

/// The last cause says what happened; what stands before it, only where.
pub(super) fn innermost(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    cause.to_string()
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::time::Duration;

    use daemon::SimClock;

    use super::*;
    use crate::config::{DnsRecord, DnsSd, EdgeConfig};

    #[tokio::test]
    async fn the_task_ends_with_its_source() {
        let folder = tempfile::tempdir().unwrap();
        let tasks = Tasks::new();
        let context = Context {
            clock: Arc::new(SimClock::new(Timestamp::from_millis(0))),
            tasks: tasks.child(),
            found: Arc::new(Notify::new()),
            kept: Kept::of(folder.path()),
        };
        let config = Discovery::Dns(DnsSd {
            names: Vec::new(),
            record: DnsRecord::A,
            port: 80,
            refresh: Duration::from_secs(30),
        });
        let mut remote = Remote::new(config);
        remote.start(&context, "job");
        let own = remote.tasks.clone().unwrap();
        assert_eq!(own.running().len(), 1);
        drop(remote);
        // Nobody else ends it: the process goes on.
        own.shutdown(Duration::from_secs(5)).await.unwrap();
        assert!(!tasks.token().is_cancelled());
    }
    #[test]
    fn a_token_in_an_address_is_told_to_nobody() {
        let with = |token: &str| {
            let http = format!("url: 'http://u:pw@h/sd?access_token={token}&format=json'");
            let text = format!("scrape_configs: [{{job_name: j, http_sd_configs: [{{{http}}}]}}]");
            let config = EdgeConfig::parse(&text, Path::new("/etc/e.yml")).unwrap();
            Remote::new(config.jobs[0].discovery[0].clone())
        };
        let (one, other) = (with("SEKRIT1"), with("SEKRIT2"));
        let shown = one.status().source;
        assert_eq!(shown, "http://u:...@h/sd?access_token=...&format=json");
        assert!(!one.found.name.contains("SEKRIT"), "{}", one.found.name);
        assert_ne!(one.key("j"), other.key("j"), "each keeps its own targets");
    }
}
