//! One shipper per hub, through reloads.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use daemon::Tasks;

use crate::buffer::{Buffer, BufferError};
use crate::clock::HubTime;
use crate::config::{EdgeConfig, HubConfig};
use crate::forward::{
    ForwardOptions, Forwarder, HttpLink, HttpLinkOptions, HubStatus, LineLink, Link, LinkState,
    ShipperOptions, SocketLink, Wanted,
};

/// How long the shipper of a hub that a reload takes away may finish what is under way.
const LET_GO_WITHIN: Duration = Duration::from_secs(5);

/// A hub in the same process.
pub struct InProcessHub {
    /// Unique among all hubs; what its cursor on disk is named after.
    pub name: String,
    /// The way to it.
    pub link: Arc<dyn Link>,
}

/// Why a hub cannot be shipped to.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum HubError {
    #[error("remote_write {hub:?}: {source}")]
    Link {
        hub: String,
        source: daemon::http::ClientError,
    },
    #[error("remote_write {hub:?}: {source}")]
    Buffer { hub: String, source: BufferError },
}

pub(super) struct Hubs {
    buffer: Arc<Buffer>,
    time: Arc<HubTime>,
    tasks: Tasks,
    in_process: Vec<InProcessHub>,
    running: Mutex<BTreeMap<String, Running>>,
}

struct Running {
    /// `None` for hubs in the same process.
    config: Option<HubConfig>,
    forwarder: Arc<Forwarder>,
    tasks: Tasks,
}

/// What [`Hubs::switch`] will do.
pub(super) struct Plan {
    names: Vec<String>,
    new: Vec<New>,
}

struct New {
    config: Option<HubConfig>,
    options: ForwardOptions,
    link: Arc<dyn Link>,
    line: Option<Arc<dyn LineLink>>,
}

impl Hubs {
    pub(super) fn new(
        buffer: Arc<Buffer>,
        time: Arc<HubTime>,
        tasks: Tasks,
        in_process: Vec<InProcessHub>,
    ) -> Hubs {
        Hubs {
            buffer,
            time,
            tasks,
            in_process,
            running: Mutex::default(),
        }
    }

    /// Makes the links of a configuration, changing nothing.
    pub(super) fn prepare(&self, config: &EdgeConfig) -> Result<Plan, HubError> {
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        let mut plan = Plan {
            names: Vec::new(),
            new: Vec::new(),
        };
        for hub in &self.in_process {
            plan.names.push(hub.name.clone());
            if !running.contains_key(&hub.name) {
                let options = ForwardOptions {
                    edge: config.edge.clone(),
                    hub: hub.name.clone(),
                    shipper: ShipperOptions::default(),
                    write_relabel: Vec::new(),
                    wanted: Wanted::default(),
                    line: config.line.clone(),
                    time: None,
                };
                plan.new.push(New {
                    config: None,
                    options,
                    link: Arc::clone(&hub.link),
                    line: None,
                });
            }
        }
        for hub in &config.hubs {
            plan.names.push(hub.name.clone());
            let same = running
                .get(&hub.name)
                .is_some_and(|running| running.config.as_ref() == Some(hub));
            // Certificates are read when the client is made, so a reload makes a new one.
            let same = same && !hub.http.reads_files();
            if same {
                continue;
            }
            let options = HttpLinkOptions {
                url: hub.url.clone(),
                client: hub.http.client.clone(),
                signer: hub.http.signer(),
                headers: hub.headers.clone(),
            };
            let link = HttpLink::new(options, self.buffer.clock());
            let link = link.map_err(|source| HubError::Link {
                hub: hub.name.clone(),
                source,
            })?;
            let options = ForwardOptions {
                edge: config.edge.clone(),
                hub: hub.name.clone(),
                shipper: shipper_options(hub),
                write_relabel: hub.write_relabel.clone(),
                wanted: Wanted {
                    metadata: hub.send_metadata,
                    exemplars: hub.send_exemplars,
                    native_histograms: hub.send_native_histograms,
                },
                line: config.line.clone(),
                time: Some(Arc::clone(&self.time)),
            };
            let link = Arc::new(link);
            let clock = Arc::clone(self.buffer.clock());
            let line = SocketLink::beside(Arc::clone(&link), clock);
            plan.new.push(New {
                config: Some(hub.clone()),
                options,
                link,
                line: line.map(|line| Arc::new(line) as Arc<dyn LineLink>),
            });
        }
        Ok(plan)
    }

    /// The names of all hubs that are shipped to.
    pub(super) fn names(&self) -> Vec<String> {
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        running.keys().cloned().collect()
    }

    /// Lets go of hubs that are not in the plan or change, and starts the new ones.
    pub(super) async fn switch(&self, plan: Plan) -> Result<(), HubError> {
        let gone: Vec<Running> = {
            let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
            let changes = |name: &String| plan.new.iter().any(|new| new.options.hub == *name);
            let names: Vec<String> = running
                .keys()
                .filter(|name| changes(name) || !plan.names.contains(name))
                .cloned()
                .collect();
            names
                .iter()
                .filter_map(|name| running.remove(name))
                .collect()
        };
        for running in gone {
            super::said("shipping", running.tasks.shutdown(LET_GO_WITHIN).await);
        }
        let (buffer, names) = (Arc::clone(&self.buffer), plan.names);
        let forgotten = daemon::blocking(move || buffer.retain_hubs(&names)).await;
        if let Err(error) = forgotten {
            tracing::warn!(%error, "the cursor of a hub that is gone could not be removed");
        }
        for new in plan.new {
            let name = new.options.hub.clone();
            let failed = |source| HubError::Buffer {
                hub: name.clone(),
                source,
            };
            // Attaching writes a file; the start after it then finds the hub known.
            let (buffer, hub) = (Arc::clone(&self.buffer), name.clone());
            daemon::blocking(move || buffer.attach(&hub))
                .await
                .map_err(failed)?;
            let tasks = self.tasks.child();
            let forwarder = Forwarder::start(
                new.options,
                Arc::clone(&self.buffer),
                new.link,
                new.line,
                &tasks,
            )
            .map_err(failed)?;
            let running = Running {
                config: new.config,
                forwarder,
                tasks,
            };
            self.running
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .insert(name, running);
        }
        Ok(())
    }

    fn forwarders(&self) -> Vec<Arc<Forwarder>> {
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        running
            .values()
            .map(|running| Arc::clone(&running.forwarder))
            .collect()
    }

    /// Every hub by name, with its books. Reads the disk.
    pub(super) fn status(&self) -> Vec<HubStatus> {
        self.forwarders()
            .iter()
            .map(|forwarder| forwarder.status())
            .collect()
    }

    /// Whether every hub that answers has everything. Reads the disk.
    pub(super) fn drained(&self) -> bool {
        self.status()
            .iter()
            .all(|hub| hub.link != LinkState::Up || hub.counts.pending.records == 0)
    }

    /// Stops shipping; what was acknowledged is saved.
    pub(super) async fn stop(&self, within: Duration) -> Result<(), Vec<String>> {
        self.tasks.shutdown(within).await
    }
}

fn shipper_options(hub: &HubConfig) -> ShipperOptions {
    let mut options = ShipperOptions {
        version: hub.version,
        ..ShipperOptions::default()
    };
    if let Some(timeout) = hub.timeout {
        options.timeout_own = timeout;
        options.timeout_foreign = timeout;
    }
    if let Some(samples) = hub.samples_per_send_max {
        options.samples_max_own = samples;
        options.samples_max_foreign = samples;
    }
    if let Some(first) = hub.backoff_first {
        options.backoff_first = first;
    }
    if let Some(max) = hub.backoff_max {
        options.backoff_max_own = max;
        options.backoff_max_foreign = max;
    }
    options.backoff_max_own = options.backoff_max_own.max(options.backoff_first);
    options.backoff_max_foreign = options.backoff_max_foreign.max(options.backoff_first);
    options
}
