//! What is handed to this edge instead of being scraped? Metrics of jobs and programs that nobody can scrape come in by remote
//! write and OTLP (`write`, `otlp`: into the buffer at once, and on disk before they are answered), by the Pushgateway's API
//! ([`gateway`]) and as text files ([`textfile`]); the last two are scraped in this process like every other target.
//!
//! Every one is off unless the configuration asks for it. Who may push is who may use the edge's port at all: the users of the web
//! configuration.
//!
//! # What may be lost
//!
//! Nothing that was answered with 2xx, but for what the buffer's own rules give up. While accepting more would push data out of the buffer
//! that a hub still lacks, and while the disk refuses, the answer is 503: the sender keeps it. Exemplars of groups and text files are
//! not taken: their page has no place for them.

mod delivery;
mod families;
pub(crate) mod gateway;
mod otlp;
mod protobuf;
mod refused;
mod routes;
mod sources;
pub(crate) mod textfile;
mod write;

#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use daemon::Clock;
use daemon::http::Bodies;
use model::LabelSet;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use self::gateway::Gateway;
pub use self::gateway::GroupStatus;
use self::refused::{DISK_RETRY_SECONDS, Refused};
use crate::buffer::Buffer;
use crate::config::EdgeConfig;

pub(crate) use routes::routes;
pub use sources::{Kind, PushCounts, SourceStatus};
use sources::{Source, Sources};

/// Samples further ahead are refused: a sender whose clock is that wrong would hide its own later samples.
const AHEAD_MAX: Duration = Duration::from_secs(600);
/// Bodies that are there at a time, before they are decompressed.
const BODIES_BYTES_MAX: usize = 16 << 20;
/// Bodies that are decompressed and stored at a time: an edge has little memory.
const STORING_MAX: usize = 1;
/// The fill is looked at as often: a look may walk what is pending.
const FILL_AGAIN: Duration = Duration::from_secs(1);

/// What pushes need to know of the configuration.
#[derive(Debug, Default)]
struct Settings {
    external: LabelSet,
    remote_write: bool,
    otlp: Option<wire::otlp::Settings>,
    gateway: bool,
    hubs: Vec<String>,
}

/// What is pushed, as pages and metrics show it.
#[derive(Debug, Clone)]
pub struct PushStatus {
    /// What is taken.
    pub receivers: Vec<Kind>,
    /// Who pushed, since the start.
    pub sources: Vec<SourceStatus>,
    /// Counts since the start.
    pub counts: Vec<(Kind, PushCounts)>,
    /// The groups of the Pushgateway.
    pub groups: Vec<GroupStatus>,
}

/// Takes pushes.
pub(crate) struct Pushes {
    buffer: Arc<Buffer>,
    clock: Arc<dyn Clock>,
    gateway: Arc<Gateway>,
    settings: RwLock<Arc<Settings>>,
    sources: Sources,
    bodies: Bodies,
    storing: Semaphore,
    /// When the fill was last looked at, and whether there is room.
    room: Mutex<Option<(Duration, bool)>>,
}

impl Pushes {
    pub(crate) fn new(
        buffer: Arc<Buffer>,
        gateway: Gateway,
        clock: Arc<dyn Clock>,
        stopping: CancellationToken,
    ) -> Pushes {
        Pushes {
            buffer,
            bodies: Bodies::new(BODIES_BYTES_MAX, Arc::clone(&clock), stopping),
            clock,
            gateway: Arc::new(gateway),
            settings: RwLock::default(),
            sources: Sources::default(),
            storing: Semaphore::new(STORING_MAX),
            room: Mutex::default(),
        }
    }

    /// Puts a configuration in force; `hubs` are all that are shipped to.
    pub(crate) fn configure(&self, config: &EdgeConfig, hubs: Vec<String>) {
        let push = &config.push;
        let expiry = push.gateway.as_ref().map(|gateway| gateway.group_expiry);
        self.gateway.expire_after(expiry.unwrap_or_default());
        let histograms = push.gateway.as_ref().map(|gateway| gateway.histograms);
        self.gateway.show(histograms.unwrap_or_default());
        let settings = Settings {
            external: config.external_labels.clone(),
            remote_write: push.remote_write,
            otlp: push.otlp.clone(),
            gateway: push.gateway.is_some(),
            hubs,
        };
        *self
            .settings
            .write()
            .unwrap_or_else(PoisonError::into_inner) = Arc::new(settings);
    }

    /// The groups of the Pushgateway, as a target.
    pub(crate) fn gateway(&self) -> &Arc<Gateway> {
        &self.gateway
    }

    /// Who pushed what.
    pub(crate) fn status(&self) -> PushStatus {
        let settings = self.settings();
        let receivers = [
            (Kind::RemoteWrite, settings.remote_write),
            (Kind::Otlp, settings.otlp.is_some()),
            (Kind::Gateway, settings.gateway),
        ];
        PushStatus {
            receivers: receivers
                .into_iter()
                .filter(|(_, on)| *on)
                .map(|(kind, _)| kind)
                .collect(),
            sources: self.sources.status(),
            counts: self.sources.counts(),
            groups: self.gateway.status(),
        }
    }

    fn settings(&self) -> Arc<Settings> {
        let settings = self.settings.read();
        Arc::clone(&settings.unwrap_or_else(PoisonError::into_inner))
    }

    /// Refuses more while it would push out of the buffer what a hub still lacks: the sender has it, and can wait.
    fn check_room(&self) -> Result<(), Refused> {
        let now = self.clock.elapsed();
        let mut last = self.room.lock().unwrap_or_else(PoisonError::into_inner);
        let room = match *last {
            Some((at, room)) if now < at + FILL_AGAIN => room,
            _ => {
                let room = self.has_room();
                *last = Some((now, room));
                room
            }
        };
        match room {
            true => Ok(()),
            false => Err(Refused::later(
                DISK_RETRY_SECONDS,
                "the edge's buffer is full of samples that a hub does not have yet: keep this and send it again, or raise branchline.buffer.bytes_max",
            )),
        }
    }

    fn has_room(&self) -> bool {
        let status = self.buffer.status();
        // Before the last segment is begun, which is a sixteenth.
        let full = status.bytes_max / 16 * 15;
        if status.bytes < full {
            return true;
        }
        let settings = self.settings();
        // A hub that is not known to the buffer yet is owed nothing.
        let pending = settings
            .hubs
            .iter()
            .filter_map(|hub| self.buffer.counts(hub).ok())
            .map(|counts| counts.pending.bytes);
        pending.max().unwrap_or(0) < full / 10 * 9
    }
}
